"""VRFY, and switching it and other things off."""

import pytest
from support import setups
from support.mta import HOSTNAME
from support.setups import DOMAIN


@pytest.mark.parametrize(
    "argument, code, text",
    [
        (f"u1@{DOMAIN}", 252, f"2.0.0 u1@{DOMAIN}"),
        (f"<u1@{DOMAIN}>", 252, None),
        (f"nobody@{DOMAIN}", 550, f"5.1.1 <nobody@{DOMAIN}>: Recipient address rejected: User unknown in virtual mailbox table"),
        ("x@remote.example", 454, "4.7.1 <x@remote.example>: Relay access denied"),
        ("a b", 501, "5.1.3 Bad recipient address syntax"),
        ("", 501, "5.5.4 Syntax: VRFY address [SMTPUTF8]"),
    ],
)
def test_vrfy(hosted, argument, code, text):
    with hosted.connect(stranger=True) as client:
        client.ehlo()
        reply = client.cmd(f"VRFY {argument}".rstrip(), code)
        assert text in (None, reply.text)


@pytest.fixture(scope="module")
def strict(make_module_mta, module_folder, owner):
    return setups.hosted_server(
        make_module_mta,
        module_folder,
        owner,
        {
            "disable_vrfy_command": "yes",
            "smtpd_helo_required": "yes",
            "smtpd_banner": "$myhostname ESMTP hello ${undefined?{no}:{world}}",
            "smtpd_discard_ehlo_keywords": "chunking, DSN silent-discard",
        },
        listeners={"smtp": {}, "other": {"smtpd_banner": "other.example here", "smtpd_helo_required": "no"}},
    )


def test_vrfy_disabled(strict):
    with strict.connect() as client:
        assert "VRFY" not in client.ehlo()
        assert client.cmd(f"VRFY u1@{DOMAIN}", 502).text == "5.5.1 VRFY command is disabled"


def test_helo_required(strict):
    with strict.connect() as client:
        assert client.cmd("MAIL FROM:<s@client.example>", 503).text == "5.5.1 Error: send HELO/EHLO first"
        client.ehlo()
        client.cmd("MAIL FROM:<s@client.example>", 250)


def test_banner(strict):
    with strict.connect(greet=False) as client:
        assert client.expect(220).text == f"{HOSTNAME} ESMTP hello world"


def test_listener_overrides(strict):
    with strict.connect("other", greet=False) as client:
        assert client.expect(220).text == "other.example here"
        client.cmd("MAIL FROM:<s@client.example>", 250)


def test_discarded_keywords(strict):
    with strict.connect() as client:
        keywords = client.ehlo()
        assert "CHUNKING" not in keywords and "DSN" not in keywords
        assert {"PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"} <= set(keywords)
        client.envelope("s@client.example", f"u1@{DOMAIN}")
        client.send("BDAT 6 LAST\r\nNOOP\r\n")
        assert client.reply().code in (502, 521)
