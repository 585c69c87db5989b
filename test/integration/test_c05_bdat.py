"""CHUNKING (RFC 3030): BDAT in all its sequences, and that an error in one leaves nothing behind."""

import re

import pytest
from support import maildir
from support.setups import DOMAIN

BODY = b"Subject: chunked\r\n\r\n.\r\n..dots stay\r\nlast\r\n"


@pytest.fixture
def client(hosted):
    with hosted.connect(stranger=True) as connection:
        connection.ehlo()
        yield connection


def chunk(client, data, last=False):
    client.send(b"BDAT %d%s\r\n%s" % (len(data), b" LAST" if last else b"", data))


def test_one_chunk(hosted, client):
    client.envelope("s@client.example", f"u1@{DOMAIN}")
    chunk(client, BODY, last=True)
    reply = client.expect(250)
    assert re.fullmatch(rf"2\.0\.0 Ok: {len(BODY)} bytes queued as \w+", reply.text)
    [raw] = maildir.wait_messages(hosted.maildir("u1"), 1)
    assert maildir.Delivered(raw).rest == maildir.stored(BODY)


def test_chunks_cut_anywhere(hosted, client):
    for cut in range(1, len(BODY)):
        client.envelope("s@client.example", f"u2@{DOMAIN}")
        chunk(client, BODY[:cut])
        assert client.expect(250).text == f"2.0.0 Ok: {cut} bytes"
        chunk(client, BODY[cut:], last=True)
        client.expect(250, "queued as")
    for raw in maildir.wait_messages(hosted.maildir("u2"), len(BODY) - 1):
        assert maildir.Delivered(raw).rest == maildir.stored(BODY)


def test_empty_last_chunk(hosted, client):
    client.envelope("s@client.example", f"u3@{DOMAIN}")
    chunk(client, BODY)
    client.expect(250)
    client.cmd("BDAT 0 LAST", 250, "queued as")
    [raw] = maildir.wait_messages(hosted.maildir("u3"), 1)
    assert maildir.Delivered(raw).rest == maildir.stored(BODY)


def test_pipelined_with_the_envelope(hosted, client):
    client.send(f"MAIL FROM:<s@client.example>\r\nRCPT TO:<u4@{DOMAIN}>\r\nBDAT {len(BODY)} LAST\r\n".encode() + BODY + b"NOOP\r\n")
    assert [client.reply().code for _ in range(4)] == [250, 250, 250, 250]
    maildir.wait_messages(hosted.maildir("u4"), 1)


def test_many_tiny_chunks(hosted, client):
    body = BODY * 20
    client.envelope("s@client.example", f"u5@{DOMAIN}")
    for at in range(len(body)):
        chunk(client, body[at : at + 1])
    assert all(client.reply().code == 250 for _ in range(len(body)))
    client.cmd("BDAT 0 LAST", 250)
    [raw] = maildir.wait_messages(hosted.maildir("u5"), 1)
    assert maildir.Delivered(raw).rest == maildir.stored(body)


def test_no_mix_with_data_or_rcpt(client):
    client.envelope("s@client.example", f"u6@{DOMAIN}")
    chunk(client, b"Subject: x\r\n")
    client.expect(250)
    assert client.cmd(f"RCPT TO:<u7@{DOMAIN}>", 503).text == "5.5.1 Error: RCPT after BDAT"
    assert client.cmd("DATA", 503).text == "5.5.1 Error: DATA after BDAT"
    client.cmd("MAIL FROM:<>", 503)
    client.cmd("NOOP", 250)
    client.cmd("RSET", 250)
    client.cmd("MAIL FROM:<>", 250)


def test_without_recipient_the_content_is_swallowed(client):
    """The chunk of a refused BDAT is content all the same, never commands."""
    client.cmd("MAIL FROM:<s@client.example>", 250)
    chunk(client, b"RSET\r\nQUIT\r\n", last=True)
    client.expect(554, "no valid recipients")
    client.cmd("NOOP", 250)


def test_without_mail_the_content_is_swallowed(client):
    chunk(client, b"QUIT\r\n", last=True)
    client.expect(503)
    client.cmd("NOOP", 250)


def test_error_in_a_chunk_spoils_the_message(client):
    """After a failed chunk the following ones fail too, and DATA finds no transaction (a crash in Postfix once)."""
    client.envelope("s@client.example", f"u8@{DOMAIN}")
    chunk(client, b"Received: x\r\n" * 60 + b"\r\n", last=True)
    client.expect(554, "too many hops")
    client.cmd("DATA", 503)
    chunk(client, b"x\r\n", last=True)
    assert client.reply().code >= 500
    client.cmd("RSET", 250)
    client.mail("s@client.example", f"u8@{DOMAIN}", BODY)


@pytest.mark.parametrize("argument", ["", " x", " -1", " 4 FOO", " 99999999999999999999 LAST"])
def test_bad_syntax_ends_the_session_or_is_refused(hosted, client, argument):
    """What follows cannot be told from content: Postfix says 521 and hangs up."""
    client.envelope("s@client.example", f"u9@{DOMAIN}")
    reply = client.cmd("BDAT" + argument)
    assert reply.code in (501, 521, 552, 554), reply
    with hosted.connect() as other:
        other.cmd("NOOP", 250)


def test_size_limit(make_mta, folder, owner):
    from support import setups

    server = setups.hosted_server(make_mta, folder, owner, {"message_size_limit": "10000"})
    with server.connect() as client:
        client.ehlo()
        client.envelope("s@client.example", f"u1@{DOMAIN}")
        chunk(client, b"x" * 4998 + b"\r\n")
        client.expect(250)
        chunk(client, b"y" * 5998 + b"\r\n", last=True)
        client.expect(552, r"^5\.3\.4 ")
        client.cmd("NOOP", 250)
        client.cmd("RSET", 250)
        client.mail("s@client.example", f"u1@{DOMAIN}", BODY)
    maildir.wait_messages(server.maildir("u1"), 1)


def test_connection_lost_in_a_chunk(hosted):
    with hosted.connect() as client:
        client.ehlo()
        client.envelope("s@client.example", f"u10@{DOMAIN}")
        client.send(b"BDAT 100 LAST\r\nonly a part")
    hosted.wait_log(r"lost connection after BDAT")
    assert maildir.files(hosted.maildir("u10")) == []
