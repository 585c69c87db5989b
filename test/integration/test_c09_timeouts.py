"""Silence ends a session, wherever it is."""

import time

import pytest
from support import maildir, setups
from support.mta import HOSTNAME
from support.setups import DOMAIN


@pytest.fixture(scope="module")
def impatient(make_module_mta, module_folder, owner):
    return setups.hosted_server(make_module_mta, module_folder, owner, {"smtpd_timeout": "2s"})


def expect_timeout(client):
    started = time.monotonic()
    assert client.expect(421).text == f"4.4.2 {HOSTNAME} Error: timeout exceeded"
    client.expect_closed()
    assert 1 < time.monotonic() - started < 10


def test_between_commands(impatient):
    with impatient.connect() as client:
        client.ehlo()
        expect_timeout(client)
    impatient.wait_log(r"smtpd\[\d+\]: timeout after EHLO from \S+\[127\.0\.0\.1\]$")


def test_before_the_first_command(impatient):
    with impatient.connect() as client:
        expect_timeout(client)


def test_within_a_line(impatient):
    """Half a command, then nothing."""
    with impatient.connect() as client:
        client.send("EH")
        expect_timeout(client)


@pytest.mark.parametrize("content", [b"", b"Subject: x\r\n\r\nhalf a message"])
def test_within_data(impatient, content):
    with impatient.connect() as client:
        client.ehlo()
        client.envelope("s@client.example", f"u1@{DOMAIN}")
        client.cmd("DATA", 354)
        client.send(content)
        expect_timeout(client)
    impatient.wait_log(r"smtpd\[\d+\]: timeout after DATA \(\d+ bytes\) from")
    assert maildir.files(impatient.maildir("u1")) == []


def test_within_bdat(impatient):
    with impatient.connect() as client:
        client.ehlo()
        client.envelope("s@client.example", f"u2@{DOMAIN}")
        client.send(b"BDAT 100 LAST\r\nhalf")
        expect_timeout(client)
    assert maildir.files(impatient.maildir("u2")) == []


def test_a_slow_but_steady_client_is_served(impatient):
    """The limit is per wait, not per session."""
    with impatient.connect() as client:
        started = time.monotonic()
        while time.monotonic() - started < 4:
            client.cmd("NOOP", 250)
            time.sleep(0.5)
