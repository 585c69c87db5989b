"""Arguments of MAIL and RCPT: what is taken and what is refused, with Postfix's replies."""

import pytest
from support.setups import DOMAIN

MAIL = [
    ("MAIL", 501, "5.5.4 Syntax: MAIL FROM:<address>"),
    ("MAIL FROM", 501, "5.5.4 Syntax: MAIL FROM:<address>"),
    ("MAIL FROM:", 501, "5.5.4 Syntax: MAIL FROM:<address>"),
    ("MAIL TO:<a@b.example>", 501, "5.5.4 Syntax: MAIL FROM:<address>"),
    ("MAIL FROM:<a@b.example>", 250, "2.1.0 Ok"),
    ("mail from:<a@b.example>", 250, "2.1.0 Ok"),
    ("MAIL FROM:<>", 250, "2.1.0 Ok"),
    ("MAIL FROM: <a@b.example>", 250, "2.1.0 Ok"),
    ("MAIL FROM:a@b.example", 250, "2.1.0 Ok"),
    ("MAIL FROM:<@x.example,@y.example:a@b.example>", 250, "2.1.0 Ok"),
    ('MAIL FROM:<"a b"@c.example>', 250, "2.1.0 Ok"),
    ("MAIL FROM:<a@[127.0.0.1]>", 250, "2.1.0 Ok"),
    ("MAIL FROM:<a@[IPv6:::1]>", 250, "2.1.0 Ok"),
    ("MAIL FROM:<a@b.example", 501, "5.1.7 Bad sender address syntax"),
    ("MAIL FROM:<a b@c.example>", 501, "5.1.7 Bad sender address syntax"),
    ("MAIL FROM:<a@[1.2.3]>", 501, "5.1.7 Bad sender address syntax"),
    ("MAIL FROM:<a@.b>", 501, "5.1.7 Bad sender address syntax"),
    ("MAIL FROM:<a@b.example> FOO", 555, "5.5.4 Unsupported option: FOO"),
    ("MAIL FROM:<a@b.example> FOO=bar", 555, "5.5.4 Unsupported option: FOO=bar"),
    ("MAIL FROM:<a@b.example> SIZE=x", 501, "5.5.4 Bad message size syntax"),
    ("MAIL FROM:<a@b.example> SIZE=", 501, "5.5.4 Bad message size syntax"),
    ("MAIL FROM:<a@b.example> SIZE=1000", 250, "2.1.0 Ok"),
    ("MAIL FROM:<a@b.example> size=1000 body=8bitmime", 250, "2.1.0 Ok"),
    ("MAIL FROM:<a@b.example> BODY=7BIT", 250, "2.1.0 Ok"),
    ("MAIL FROM:<a@b.example> BODY=BINARYMIME", 555, "5.5.4 Unsupported option: BODY=BINARYMIME"),
    ("MAIL FROM:<" + "a" * 3000 + "@b.example>", 501, None),
]

RCPT = [
    ("RCPT", 501, "5.5.4 Syntax: RCPT TO:<address>"),
    ("RCPT TO:", 501, "5.5.4 Syntax: RCPT TO:<address>"),
    ("RCPT FROM:<a@b.example>", 501, "5.5.4 Syntax: RCPT TO:<address>"),
    ("RCPT TO:<>", 501, "5.1.3 Bad recipient address syntax"),
    ("RCPT TO:<u1@" + "a" * 70 + ".example>", 501, "5.1.3 Bad recipient address syntax"),
    (f"RCPT TO:<-u1@{DOMAIN}>", 501, "5.1.3 Bad recipient address syntax"),
    (f"RCPT TO:<u1@{DOMAIN}> FOO", 555, "5.5.4 Unsupported option: FOO"),
    (f"RCPT TO:<u1@{DOMAIN}> <u2@{DOMAIN}>", 555, f"5.5.4 Unsupported option: <u2@{DOMAIN}>"),
    (f"RCPT TO:<u1@{DOMAIN}>", 250, "2.1.5 Ok"),
    (f"rcpt to:<u1@{DOMAIN}>", 250, "2.1.5 Ok"),
    (f"RCPT TO: u1@{DOMAIN}", 250, "2.1.5 Ok"),
    (f"RCPT TO:<U1@{DOMAIN.upper()}>", 250, "2.1.5 Ok"),
    (f'RCPT TO:<"u1"@{DOMAIN}>', 250, "2.1.5 Ok"),
    (f"RCPT TO:<@a.example,@b.example:u1@{DOMAIN}>", 250, "2.1.5 Ok"),
    (f"RCPT TO:<u1@{DOMAIN}.>", 250, "2.1.5 Ok"),
]


@pytest.mark.parametrize("command, code, text", MAIL, ids=[command[:45] for command, *_ in MAIL])
def test_mail(hosted, command, code, text):
    with hosted.connect() as client:
        client.ehlo()
        reply = client.cmd(command, code)
        assert text in (None, reply.text)
        client.cmd("NOOP", 250)


@pytest.mark.parametrize("command, code, text", RCPT, ids=[command[:45] for command, *_ in RCPT])
def test_rcpt(hosted, command, code, text):
    with hosted.connect() as client:
        client.ehlo()
        client.cmd("MAIL FROM:<s@client.example>", 250)
        reply = client.cmd(command, code)
        assert text in (None, reply.text)
        client.cmd("NOOP", 250)


def test_extension_parameters_need_ehlo_or_not(hosted):
    """Postfix takes the parameters after HELO too; so must we, for clients that rely on it."""
    with hosted.connect() as client:
        client.cmd("HELO client.example", 250)
        client.cmd("MAIL FROM:<s@client.example> SIZE=100 BODY=8BITMIME", 250)
