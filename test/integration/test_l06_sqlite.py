"""The main job on embedded parts: sqlite: tables, Maildirs written by mta itself. What ./quickstart shows, at full load."""

import pytest
from support import mainjob, setups
from support.setups import DOMAIN


@pytest.fixture(scope="module")
def base(module_folder, owner):
    return setups.mail_folder(module_folder, owner)


@pytest.fixture(scope="module")
def server(make_module_mta, module_folder, base, owner):
    delivery, transports = setups.maildir_delivery(base, owner)
    tables = setups.sqlite_tables(
        module_folder,
        mailboxes=[f"{user}@{DOMAIN}" for user in mainjob.USERS],
        aliases=[(f"team@{DOMAIN}", f"user00@{DOMAIN}, user01@{DOMAIN}"), ("@other.example", f"user02@{DOMAIN}")],
    )
    return make_module_mta(tables | delivery | {"virtual_alias_domains": "other.example"}, transports=transports)


@pytest.fixture(scope="module")
def delivered(server, base, module_folder):
    mainjob.send(server, module_folder)
    return mainjob.wait(lambda user: base / DOMAIN / user)


def test_a_thousand_messages_byte_for_byte(delivered, server):
    mainjob.check(server, delivered, ("Return-Path", "X-Original-To", "Delivered-To"))


@pytest.mark.parametrize(
    "recipient, expected",
    [(f"team@{DOMAIN}", {"user00", "user01"}), ("anybody@other.example", {"user02"}), (f"USER03@{DOMAIN.upper()}", {"USER03"})],
)
def test_aliases(delivered, server, recipient, expected):
    with server.connect(stranger=True) as client:
        client.ehlo()
        queue_id = client.mail("s@client.example", recipient, b"Subject: x\r\n\r\n")
    server.wait_removed(queue_id)
    assert {entry["to"].split("@")[0] for entry in server.deliveries(queue_id)} == expected


def test_unknown_user_and_relay(server):
    with server.connect(stranger=True) as client:
        client.ehlo()
        client.cmd("MAIL FROM:<s@client.example>", 250)
        client.cmd(f"RCPT TO:<nobody@{DOMAIN}>", 550, r"^5\.1\.1 .*User unknown in virtual mailbox table$")
        client.cmd("RCPT TO:<x@remote.example>", 454, r"^4\.7\.1 .*Relay access denied$")
