"""What a client may do too much of: errors, junk, recipients, long lines, hops."""

import pytest
from support import maildir, procs, setups, smtp
from support.mta import HOSTNAME
from support.setups import DOMAIN


@pytest.fixture(scope="module")
def limited(make_module_mta, module_folder, owner):
    return setups.hosted_server(
        make_module_mta,
        module_folder,
        owner,
        {
            "smtpd_hard_error_limit": "4",
            "smtpd_soft_error_limit": "2",
            "smtpd_junk_command_limit": "5",
            "smtpd_recipient_limit": "3",
            "hopcount_limit": "10",
        },
    )


@pytest.fixture
def client(limited):
    with limited.connect() as connection:
        connection.ehlo()
        yield connection


def expect_too_many_errors(client):
    assert client.expect(421).text == f"4.7.0 {HOSTNAME} Error: too many errors"
    client.expect_closed()


def test_errors(limited, client):
    for _ in range(4):
        client.cmd("FOO", 500)
    client.send("FOO\r\n")
    expect_too_many_errors(client)
    limited.wait_log(r"smtpd\[\d+\]: too many errors after \S+ from \S+\[127\.0\.0\.1\]")


def test_refused_recipients_are_errors(client):
    client.cmd("MAIL FROM:<s@client.example>", 250)
    for _ in range(4):
        client.cmd(f"RCPT TO:<nobody@{DOMAIN}>", 550)
    client.send(f"RCPT TO:<nobody@{DOMAIN}>\r\n")
    expect_too_many_errors(client)


def test_pipelined_errors(client):
    client.send("FOO\r\n" * 100)
    assert [client.reply().code for _ in range(5)] == [500, 500, 500, 500, 421]


def test_junk(client):
    """EHLO, NOOP, RSET, VRFY and the like beyond their limit count as errors, one each. The first EHLO was one of them."""
    for _ in range(8):
        client.cmd("NOOP", 250)
    client.send("NOOP\r\n")
    expect_too_many_errors(client)


def test_a_delivered_message_resets_the_junk_count(client):
    for _ in range(3):
        for _ in range(4):
            client.cmd("NOOP", 250)
        client.mail("s@client.example", f"u1@{DOMAIN}", b"")


def test_recipients(limited, client):
    client.envelope("s@client.example", [f"u{number}@{DOMAIN}" for number in (2, 3, 4)])
    assert client.cmd(f"RCPT TO:<u5@{DOMAIN}>", 452).text == "4.5.3 Error: too many recipients"
    client.data(b"Subject: x\r\n\r\n")
    for user in ("u2", "u3", "u4"):
        maildir.wait_messages(limited.maildir(user), 1)
    assert maildir.files(limited.maildir("u5")) == []


@pytest.mark.parametrize("hops, code", [(8, 250), (9, 554), (30, 554)])
def test_hops(client, hops, code):
    """hopcount_limit counts the Received: that we add."""
    client.envelope("s@client.example", f"u6@{DOMAIN}")
    reply = client.data(b"Received: from x\r\n\tby y\r\n" * hops + b"\r\n" + b"Received: in the body\r\n" * 20, code)
    assert code == 250 or reply.text == "5.4.0 Error: too many hops"


def test_long_lines_of_content_stay_whole(hosted):
    body = b"Date: x\r\nFrom: x@x.example\r\nMessage-Id: x\r\n\r\n" + b"x" * 300_000 + b"\r\n" + b"." * 10_000 + b"\r\n"
    smtp.send_mail(hosted.address(), "s@client.example", f"u1@{DOMAIN}", body)
    [raw] = maildir.wait_messages(hosted.maildir("u1"), 1)
    assert maildir.Delivered(raw).rest == maildir.stored(body)


def test_huge_header_does_no_harm_to_the_body(hosted):
    """Above header_size_limit a header may lose its end, the body may not."""
    body = b"X-Huge: start\r\n" + b"\tfolded text\r\n" * 20_000 + b"Subject: after\r\n\r\nthe body\r\n"
    smtp.send_mail(hosted.address(), "s@client.example", f"u2@{DOMAIN}", body)
    [raw] = maildir.wait_messages(hosted.maildir("u2"), 1)
    assert b"X-Huge: start\n" in raw and raw.endswith(b"\n\nthe body\n") and b"\nSubject: after\n" in raw


def test_long_command(hosted):
    """A command line over the limit gets one reply, and the session goes on."""
    with hosted.connect() as client:
        client.ehlo()
        assert client.cmd("NOOP " + "x" * 100_000).code in (250, 500)
        client.cmd("NOOP", 250)


def test_endless_command_is_not_buffered(hosted):
    """50 MB without a line end don't end up in memory."""

    def resident():
        with open(f"/proc/{hosted.child.pid}/statm") as statm:
            return int(statm.read().split()[1]) * 4096

    before = resident()
    with hosted.connect() as client:
        client.ehlo()
        try:
            for _ in range(50):
                client.send(b"x" * 1_000_000)
        except OSError:
            pass
        assert resident() - before < 20_000_000
    procs.wait_for(lambda: hosted.lines("lost connection after|too many errors|disconnect"), what="the end of the session")
    with hosted.connect() as client:
        client.cmd("NOOP", 250)


def test_error_sleep(make_mta, folder, owner):
    """From the soft error limit on, each error reply is late by smtpd_error_sleep_time; other sessions don't notice."""
    import time

    server = setups.hosted_server(make_mta, folder, owner, {"smtpd_error_sleep_time": "1s", "smtpd_soft_error_limit": "2"})
    with server.connect() as client, server.connect() as other:
        client.ehlo()
        started = time.monotonic()
        client.cmd("FOO", 500)
        client.cmd("FOO", 500)
        assert time.monotonic() - started < 0.9
        client.send("FOO\r\n")
        asked = time.monotonic()
        other.cmd("NOOP", 250)
        assert time.monotonic() - asked < 0.5
        client.expect(500)
        assert time.monotonic() - asked >= 0.9
