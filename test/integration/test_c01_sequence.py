"""Commands out of order, and what resets a transaction."""

import pytest
from support import maildir
from support.setups import DOMAIN

SENDER = "MAIL FROM:<s@client.example>"


@pytest.fixture
def client(hosted):
    with hosted.connect() as connection:
        connection.ehlo()
        yield connection


def test_rcpt_needs_mail(client):
    assert client.cmd(f"RCPT TO:<u1@{DOMAIN}>", 503).text == "5.5.1 Error: need MAIL command"


def test_data_needs_rcpt(client):
    assert client.cmd("DATA", 503).text == "5.5.1 Error: need RCPT command"
    client.cmd(SENDER, 250)
    assert client.cmd("DATA", 554).text == "5.5.1 Error: no valid recipients"


def test_data_after_refused_recipients_only(client):
    client.cmd(SENDER, 250)
    client.cmd(f"RCPT TO:<nobody@{DOMAIN}>", 550)
    assert client.cmd("DATA", 554).text == "5.5.1 Error: no valid recipients"


def test_data_takes_no_argument(client):
    client.envelope("s@client.example", f"u1@{DOMAIN}")
    assert client.cmd("DATA now", 501).text == "5.5.4 Syntax: DATA"


def test_nested_mail(client):
    client.cmd(SENDER, 250)
    assert client.cmd(SENDER, 503).text == "5.5.1 Error: nested MAIL command"


@pytest.mark.parametrize("reset", ["RSET", "HELO again.example", "EHLO again.example"])
def test_reset_forgets_the_envelope(client, reset):
    client.envelope("s@client.example", f"u1@{DOMAIN}")
    client.cmd(reset, 250)
    client.cmd(f"RCPT TO:<u1@{DOMAIN}>", 503)
    client.cmd("DATA", 503)
    client.cmd(SENDER, 250)


def test_mail_without_helo(hosted):
    """smtpd_helo_required is off by default."""
    with hosted.connect() as client:
        client.mail("s@client.example", f"u2@{DOMAIN}", b"Subject: x\r\n\r\n")
    maildir.wait_messages(hosted.maildir("u2"), 1)


def test_a_refused_message_leaves_a_fresh_transaction(client):
    """After a message was refused at its end nothing of it is left: neither sender nor recipients."""
    client.envelope("s@client.example", f"u1@{DOMAIN}")
    client.data(b"Received: x\r\n" * 60 + b"\r\n", 554, "too many hops")
    client.cmd("DATA", 503)
    client.cmd(f"RCPT TO:<u1@{DOMAIN}>", 503)
    client.cmd(SENDER, 250)


def test_many_messages_on_one_connection(hosted, client):
    for number in range(20):
        client.mail("s@client.example", f"u3@{DOMAIN}", b"Subject: %d\r\n\r\n" % number)
    bodies = {line for raw in maildir.wait_messages(hosted.maildir("u3"), 20) for line in raw.split(b"\n") if line.startswith(b"Subject")}
    assert bodies == {b"Subject: %d" % number for number in range(20)}
