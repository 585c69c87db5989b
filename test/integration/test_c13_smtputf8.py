"""SMTPUTF8 (RFC 6531): addresses outside ASCII in commands, tables and mailboxes; broken UTF-8."""

import pytest
from support import maildir, setups
from support.setups import DOMAIN

USER = "j\u00fcrgen"
IDN = "b\u00fccher.example"


@pytest.fixture(scope="module")
def server(make_module_mta, module_folder, owner):
    base = setups.mail_folder(module_folder, owner)
    delivery, transports = setups.maildir_delivery(base, owner)
    tables = setups.text_tables(module_folder, [f"{USER}@{DOMAIN}", f"a@{IDN}", f"u1@{DOMAIN}"], domains=(DOMAIN, IDN))
    server = make_module_mta(tables | delivery, transports=transports)
    server.base = base
    return server


@pytest.fixture
def client(server):
    with server.connect() as connection:
        assert "SMTPUTF8" in connection.ehlo()
        yield connection


def test_announced_addresses(server, client):
    client.cmd("MAIL FROM:<\u00fcser@client.example> SMTPUTF8", 250)
    client.cmd(f"RCPT TO:<{USER}@{DOMAIN}>", 250)
    client.data("Subject: gr\u00fc\u00dfe\r\n\r\nbody\r\n".encode())
    [raw] = maildir.wait_messages(server.base / DOMAIN / USER, 1)
    assert "Return-Path: <\u00fcser@client.example>\n".encode() in raw
    assert f"Delivered-To: {USER}@{DOMAIN}\n".encode() in raw
    assert "\nSubject: gr\u00fc\u00dfe\n".encode() in raw
    assert b" with UTF8SMTP id " in raw


def test_internationalized_domain(server, client):
    client.cmd("MAIL FROM:<> SMTPUTF8", 250)
    client.cmd(f"RCPT TO:<a@{IDN}>", 250)
    client.data(b"Subject: x\r\n\r\n")
    maildir.wait_messages(server.base / IDN / "a", 1)


def test_parameter_takes_no_value(client):
    assert client.cmd("MAIL FROM:<s@client.example> SMTPUTF8=yes").code in (501, 555)


@pytest.mark.parametrize("address", [b"\xff@b.example", b"\xc3@b.example", b"\xc0\xaf@b.example", b"\xed\xa0\x80@b.example"])
def test_broken_utf8_is_refused(client, address):
    assert client.cmd(b"MAIL FROM:<" + address + b"> SMTPUTF8").code in (500, 501)
    client.cmd("NOOP", 250)


def test_unknown_user_is_named_in_utf8(client):
    client.cmd("MAIL FROM:<s@client.example> SMTPUTF8", 250)
    reply = client.cmd(f"RCPT TO:<n\u00f6@{DOMAIN}>", 550)
    assert reply.text.startswith(f"5.1.1 <n\u00f6@{DOMAIN}>: Recipient address rejected: User unknown")


def test_vrfy_with_parameter(client):
    assert client.cmd(f"VRFY {USER}@{DOMAIN} SMTPUTF8").code == 252
