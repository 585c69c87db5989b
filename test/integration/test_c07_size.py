"""message_size_limit: announced, checked at MAIL, and enforced on what really comes."""

import pytest
from support import maildir, setups
from support.setups import DOMAIN

LIMIT = 20_000


@pytest.fixture(scope="module")
def small(make_module_mta, module_folder, owner):
    return setups.hosted_server(make_module_mta, module_folder, owner, {"message_size_limit": str(LIMIT)})


@pytest.fixture
def client(small):
    with small.connect() as connection:
        keywords = connection.ehlo()
        assert keywords["SIZE"] == str(LIMIT)
        yield connection


def test_declared_size(small, client):
    reply = client.cmd(f"MAIL FROM:<s@client.example> SIZE={LIMIT + 1}", 552)
    assert reply.text == "5.3.4 Message size exceeds fixed limit"
    small.wait_log(r"NOQUEUE: reject: MAIL from \S+\[127\.0\.0\.1\]: 552 5\.3\.4 Message size exceeds fixed limit; from=<s@client\.example>")
    client.cmd("MAIL FROM:<s@client.example> SIZE=99999999999999999999999", 552)
    client.cmd(f"MAIL FROM:<s@client.example> SIZE={LIMIT}", 250)


def test_real_size(small, client):
    """The rest of a message that is too big is read and dropped; the session goes on."""
    client.envelope("s@client.example", f"u1@{DOMAIN}")
    assert client.data(b"x" * 70 * 1000 + b"\r\n", 552).text == "5.3.4 Error: message file too big"
    client.mail("s@client.example", f"u1@{DOMAIN}", b"Subject: small\r\n\r\n")
    [raw] = maildir.wait_messages(small.maildir("u1"), 1)
    assert b"Subject: small\n" in raw


def test_much_too_big(small, client):
    client.envelope("s@client.example", f"u2@{DOMAIN}")
    client.data((b"y" * 998 + b"\r\n") * 20_000, 552)
    client.cmd("NOOP", 250)
    assert maildir.files(small.maildir("u2")) == []


def test_lies_about_the_size_are_found_out(small, client):
    client.cmd("MAIL FROM:<s@client.example> SIZE=10", 250)
    client.cmd(f"RCPT TO:<u3@{DOMAIN}>", 250)
    client.data(b"x" * LIMIT + b"\r\n", 552)


def test_no_limit(make_mta, folder, owner):
    server = setups.hosted_server(make_mta, folder, owner, {"message_size_limit": "0", "virtual_mailbox_limit": "0"})
    with server.connect() as client:
        assert client.ehlo()["SIZE"] in ("", "0")
        client.cmd("MAIL FROM:<s@client.example> SIZE=30000000", 250)  # more than the default limit; more than the disk holds gets 452
        client.cmd(f"RCPT TO:<u1@{DOMAIN}>", 250)
        client.data((b"z" * 998 + b"\r\n") * 12_000)
    [path] = maildir.wait_messages(server.maildir("u1"), 1)
    assert len(path) > 11_900_000
