"""Banner, EHLO and the small commands."""

import pytest
from support.mta import HOSTNAME


@pytest.fixture
def client(hosted):
    with hosted.connect() as connection:
        yield connection


def test_banner(hosted):
    with hosted.connect(greet=False) as client:
        assert client.expect(220).text == f"{HOSTNAME} ESMTP Postfix"


def test_ehlo_keywords(client):
    reply = client.cmd("EHLO client.example", 250)
    assert reply.lines[0] == HOSTNAME
    assert set(reply.lines[1:]) >= {
        "PIPELINING", "SIZE 10240000", "VRFY", "ENHANCEDSTATUSCODES", "8BITMIME", "DSN", "SMTPUTF8", "CHUNKING",
    }  # fmt: skip
    assert not [line for line in reply.lines if line.startswith(("AUTH", "STARTTLS"))]


def test_helo(client):
    assert client.cmd("HELO client.example", 250).lines == [HOSTNAME]


@pytest.mark.parametrize("verb", ["HELO", "EHLO"])
def test_name_is_required(client, verb):
    assert client.cmd(verb, 501).text == f"Syntax: {verb} hostname"


@pytest.mark.parametrize(
    "command, code, text",
    [
        ("NOOP", 250, "2.0.0 Ok"),
        ("NOOP with words", 250, "2.0.0 Ok"),
        ("noop", 250, "2.0.0 Ok"),
        ("RSET", 250, "2.0.0 Ok"),
        ("RSET x", 501, "5.5.4 Syntax: RSET"),
        ("FOO", 500, "5.5.2 Error: command not recognized"),
        ("EXPN list", 500, "5.5.2 Error: command not recognized"),
        ("", 500, "5.5.2 Error: bad syntax"),
        ("   ", 500, "5.5.2 Error: bad syntax"),
    ],
)
def test_simple_replies(client, command, code, text):
    assert client.cmd(command, code).text == text


def test_help(client):
    client.cmd("HELP", 214)


def test_quit(client):
    assert client.cmd("QUIT", 221).text == "2.0.0 Bye"
    client.expect_closed()


@pytest.mark.parametrize("command", ["GET / HTTP/1.1", "CONNECT 127.0.0.1:25 HTTP/1.1", "Subject: hello"])
def test_other_protocols_are_sent_away(hosted, client, command):
    client.cmd("EHLO client.example", 250)
    assert client.cmd(command, 221).text == "2.7.0 Error: I can break rules, too. Goodbye."
    client.expect_closed()
    hosted.wait_log(r"smtpd\[\d+\]: warning: non-SMTP command from \S+\[127\.0\.0\.1\]: " + command.split()[0])
