"""The main job: the tutorial's three tables in MariaDB, 1,000 messages to 50 mailboxes through Dovecot's deliver.

smtp-source sends most of them over parallel sessions, swaks some; each is found byte for byte in its Maildir.
"""

import pytest
from support import mainjob, maildir, setups
from support.mainjob import PER_USER, USERS
from support.setups import DOMAIN


@pytest.fixture(scope="module")
def server(make_module_mta, module_folder, mariadb, dovecot, owner):
    mariadb.add_domain(DOMAIN)
    mariadb.add_mailboxes(f"{user}@{DOMAIN}" for user in USERS)
    delivery, transports = setups.dovecot_delivery(dovecot, owner)
    tables = setups.mysql_tables(module_folder, mariadb)
    return make_module_mta(tables | delivery | {"recipient_delimiter": "+"}, transports=transports)


@pytest.fixture(scope="module")
def delivered(server, dovecot, module_folder):
    mainjob.send(server, module_folder)
    return mainjob.wait(lambda user: dovecot.maildir(f"{user}@{DOMAIN}"))


def test_a_thousand_messages_byte_for_byte(delivered, server):
    """With the headers that flags D and R ask for, which deliver keeps as they are."""
    mainjob.check(server, delivered, ("Return-Path", "Delivered-To"))


def test_how_deliveries_are_logged(delivered, server):
    sent = [entry for entry in server.deliveries() if entry["status"] == "sent"]
    assert {(entry["relay"], entry["dsn"], entry["agent"], entry["text"]) for entry in sent} == {
        ("dovecot", "2.0.0", "pipe", "delivered via dovecot service")
    }


def test_unknown_user_and_relay(server):
    with server.connect(stranger=True) as client:
        client.ehlo()
        client.cmd("MAIL FROM:<s@client.example>", 250)
        reply = client.cmd(f"RCPT TO:<nobody@{DOMAIN}>", 550)
        assert reply.text == f"5.1.1 <nobody@{DOMAIN}>: Recipient address rejected: User unknown in virtual mailbox table"
        reply = client.cmd("RCPT TO:<x@remote.example>", 454)
        assert reply.text == "4.7.1 <x@remote.example>: Relay access denied"


def test_case_and_extension(server, dovecot, delivered):
    """Keys are folded; deliver is asked for the lower-case user without the extension; headers keep what was given."""
    body = b"Subject: case\r\n\r\n"
    with server.connect(stranger=True) as client:
        client.ehlo()
        client.mail("Sender@Client.Example", f"User00+Tag@{DOMAIN.upper()}", body)
    raws = maildir.wait_messages(dovecot.maildir(f"user00@{DOMAIN}"), PER_USER + 2)
    [raw] = [raw for raw in raws if b"\nSubject: case\n" in raw]
    maildir.check_delivery(raw, body, "Sender@Client.Example", f"User00+Tag@{DOMAIN.upper()}")


def test_null_sender(server, dovecot, delivered):
    """The null sender is MAILER-DAEMON for pipe, in the header and on the command line."""
    with server.connect(stranger=True) as client:
        client.ehlo()
        client.mail("", f"user01@{DOMAIN}", b"Subject: null\r\n\r\n")
    raws = maildir.wait_messages(dovecot.maildir(f"user01@{DOMAIN}"), PER_USER + 2)
    [raw] = [raw for raw in raws if b"\nSubject: null\n" in raw]
    maildir.check_delivery(raw, b"Subject: null\r\n\r\n", "MAILER-DAEMON", f"user01@{DOMAIN}")


def test_one_message_to_all(server, dovecot, delivered):
    """Fifty recipients of one message, one deliver each."""
    body = b"Subject: to all\r\n\r\nhello everybody\r\n"
    with server.connect(stranger=True) as client:
        client.ehlo()
        queue_id = client.mail("s@client.example", [f"{user}@{DOMAIN}" for user in USERS], body)
    server.wait_removed(queue_id)
    assert len(server.deliveries(queue_id)) == 50
    for user in USERS:
        [raw] = [raw for raw in maildir.messages(dovecot.maildir(f"{user}@{DOMAIN}")) if b"\nSubject: to all\n" in raw]
        maildir.check_delivery(raw, body, "s@client.example", f"{user}@{DOMAIN}")


def test_dovecot_down_then_up(server, dovecot, delivered):
    """Without Dovecot's auth service deliver exits 75: the message waits and is delivered when it is back."""
    dovecot.stop()
    with server.connect() as client:
        client.ehlo()
        queue_id = client.mail("s@client.example", f"user02@{DOMAIN}", b"Subject: waits\r\n\r\n")
    [first, *_] = server.wait_deliveries(queue_id, 1)
    assert (first["status"], first["dsn"]) == ("deferred", "4.3.0")
    assert first["text"].startswith("temporary failure")
    dovecot.start()
    server.wait_removed(queue_id)
    assert server.deliveries(queue_id)[-1]["status"] == "sent"
