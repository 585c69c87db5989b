"""Addresses that mean something else to somebody: none relays, none becomes an option or a path, none gets through in two
readings. The replies are Postfix 3.7's (tried with it) except where mta is stricter on purpose."""

import pytest
from support import procs, setups
from support.setups import DOMAIN
from support.smtp import SmtpError

OTHER = "other.example"
LOCAL = "mail.example.com"

# What asks us, in a roundabout way, to send mail elsewhere: nobody outside mynetworks may.
RELAY = [
    f"user@{OTHER}",
    f"user%{OTHER}@{DOMAIN}",
    f"user%{OTHER}%{DOMAIN}@{DOMAIN}",
    f"user%{OTHER}@{LOCAL}",
    f"user%{OTHER}",
    f'"user@{OTHER}"@{DOMAIN}',
    f'"user%{OTHER}"@{DOMAIN}',
    f'"{OTHER}!user"@{DOMAIN}',
    f'"user@{OTHER}"@{LOCAL}',
    f"user@{OTHER}@{DOMAIN}",
    f"user@{OTHER}@{LOCAL}",
    f"user\\@{OTHER}@{DOMAIN}",
    f"@{DOMAIN}:user@{OTHER}",
    f"@{DOMAIN},@{LOCAL}:user@{OTHER}",
    f"@{LOCAL}:user%{OTHER}@{DOMAIN}",
    f"{OTHER}!user",
    f"{OTHER}!user@{DOMAIN}",
    f"{DOMAIN}!{OTHER}!user",
    f"u1@{DOMAIN}@{OTHER}",
    f"u1@{DOMAIN}%{OTHER}@{OTHER}",
    f"postmaster@{OTHER}",
    f"postmaster%{OTHER}@{DOMAIN}",
    f"u1@{DOMAIN}.{OTHER}",
    f"u1@@{DOMAIN}",
    "user@[192.0.2.1]",
    "user@[IPv6:2001:db8::1]",
]

# No mail address, or not one that all readers read alike.
BAD = [
    f"-u1@{DOMAIN}",
    f'"-u1"@{DOMAIN}',
    f"\\-u1@{DOMAIN}",
    f'"\\-u1"@{DOMAIN}',
    f"@{DOMAIN}:-u1@{DOMAIN}",
    "-",
    "--help",
    f"-oQ/tmp/x@{DOMAIN}",
    f"-Uroot@{DOMAIN}",
    "",
    "@",
    f"@{DOMAIN}",
    f"@{DOMAIN}:",
    f"@@{DOMAIN}",
    f"u1@",
    f"u1@-{DOMAIN}",
    f"u1@.{DOMAIN}",
    f"u1@{DOMAIN}..",
    f"u1@hosted..example",
    f"u1@[{DOMAIN}]",
    "u1@[999.1.1.1]",
    "u1@[1.2.3.4",
    "u1@1.2.3.4]",
    "u1@[IPv6:zz]",
    "u1@[IPv6:1.2.3.4]",
    "u1@[]",
    "u1@1234",
    f"u1@{DOMAIN}:25",
    f"u1@{DOMAIN}/x",
    f"u1@{'a' * 64}.example",
    f"u1@{'a.' * 130}example",
    f"{'a' * 1100}@{DOMAIN}",
    f'"{"a" * 1100}"@{DOMAIN}',
    f"u1@{DOMAIN},u2@{DOMAIN}",
    f"u1;u2@{DOMAIN}",
    f"<u1@{DOMAIN}>",
    f"u1@{DOMAIN}> <u2@{DOMAIN}",
    f"u1 @{DOMAIN}",
    f"u1@ {DOMAIN}",
    f"u 1@{DOMAIN}",
    f"(comment)u1@{DOMAIN}",
    f"u1(comment)@{DOMAIN}",
    f"u1@{DOMAIN}(comment)",
    f'"u1@{DOMAIN}',
    f'"u1"x@{DOMAIN}',
    f'x"u1"@{DOMAIN}',
    f'"u1""u2"@{DOMAIN}',
    f'"u1\\"@{DOMAIN}',
    f'"u1@{DOMAIN}"',
    f"u1\\@{DOMAIN}",
    f"u\x011@{DOMAIN}",
    f"u\x7f1@{DOMAIN}",
    f'"u\x1b1"@{DOMAIN}',
    f"u1@hosted\x01.example",
    f"u1@hosted\\.example",
    f"u1@$(id).example",
    f":include:/etc/passwd@{DOMAIN}",
]

# Well-formed, but nobody's: above all no file, no command, no other mailbox.
NOBODY = [
    f"|/bin/sh@{DOMAIN}",
    f'"|/bin/sh"@{DOMAIN}',
    f'":include:/etc/passwd"@{DOMAIN}',
    f"/etc/passwd@{DOMAIN}",
    f"../../x@{DOMAIN}",
    f'"../u1"@{DOMAIN}',
    f'"u1/../u2"@{DOMAIN}',
    f'" u1"@{DOMAIN}',
    f'"u1 "@{DOMAIN}',
    f'"u1,u2"@{DOMAIN}',
    f'"u1@"@x.{DOMAIN}',
    f'"u1\\\\"@{DOMAIN}',
    f'"u1\'; --"@{DOMAIN}',
    f"'@{DOMAIN}",
    f'"$(id)"@{DOMAIN}',
    f"%s@{DOMAIN}",
    f"*@{DOMAIN}",
]

# All of them u1.
SAME = [f"u1@{DOMAIN}", f'"u1"@{DOMAIN}', f'"u\\1"@{DOMAIN}', f"u\\1@{DOMAIN}", f"U1@{DOMAIN.upper()}", f"u1@{DOMAIN}.", f"@x.example,@[192.0.2.1]:u1@{DOMAIN}"]


@pytest.fixture(scope="module")
def server(make_module_mta, module_folder, owner):
    main = {"mydestination": LOCAL, "local_recipient_maps": "inline:{ {root = x} }", "local_transport": "discard", "default_transport": "discard"}
    lenient = {"smtpd_hard_error_limit": "100000", "smtpd_soft_error_limit": "100000"}
    return setups.hosted_server(make_module_mta, module_folder, owner, main | lenient)


@pytest.fixture(scope="module")
def client(server):
    with server.connect(stranger=True) as connection:
        connection.ehlo()
        yield connection


def name_of(address):
    return address[:40].encode("ascii", "backslashreplace").decode()


def rcpt(client, address):
    client.cmd("RSET", 250)
    client.cmd("MAIL FROM:<s@client.example>", 250)
    return client.cmd(f"RCPT TO:<{address}>")


@pytest.mark.parametrize("address", RELAY, ids=name_of)
def test_no_relay(client, address):
    """Refused as relaying, or as unknown or no address at all; accepted in no case."""
    reply = rcpt(client, address)
    assert (reply.code, reply.lines[0][:5]) in ((454, "4.7.1"), (550, "5.1.1"), (501, "5.1.3")), reply
    client.cmd("DATA", 554)


@pytest.mark.parametrize("address", RELAY, ids=name_of)
def test_no_relay_by_verify(client, address):
    assert client.cmd(f"VRFY <{address}>").code in (454, 550, 501)


@pytest.mark.parametrize("address", BAD, ids=name_of)
def test_bad_address(client, address):
    reply = rcpt(client, address)
    assert reply.code in (501, 555) and len(reply.text) < 600, reply
    client.cmd("DATA", 554)


@pytest.mark.parametrize("address", NOBODY, ids=name_of)
def test_nobody(client, address):
    reply = rcpt(client, address)
    assert reply.code in (550, 454), reply
    client.cmd("DATA", 554)


@pytest.mark.parametrize("address", SAME, ids=name_of)
def test_other_spellings_of_one_address(client, address):
    assert rcpt(client, address).code == 250


@pytest.mark.parametrize("address", [address for address in BAD if address], ids=name_of)
def test_bad_sender(client, address):
    client.cmd("RSET", 250)
    assert client.cmd(f"MAIL FROM:<{address}>").code in (501, 555)


def test_operators_of_routing_are_no_harm_in_a_sender(client):
    for address in (f"user%{OTHER}@{DOMAIN}", f'"user@{OTHER}"@{DOMAIN}', f"@{DOMAIN}:user@{OTHER}", f"{OTHER}!user"):
        client.cmd("RSET", 250)
        client.cmd(f"MAIL FROM:<{address}>", 250)


@pytest.mark.parametrize("where", ["MAIL FROM:<{}@client.example>", f"RCPT TO:<{{}}@{DOMAIN}>", "MAIL FROM:<a@{}.example>"])
@pytest.mark.parametrize(
    "text, declared, plain",
    [
        (b"\xc3\xa9", (250, 550), 553),  # e with an accent
        (b"\xff", (501,), 501),
        (b"\xc3", (501,), 501),
        (b"\xc0\xaf", (501,), 501),  # '/' in two bytes
        (b"\xed\xa0\x80", (501,), 501),  # half of a pair
        (b"\xf8\x88\x80\x80\x80", (501,), 501),
        (b"\xf4\x90\x80\x80", (501,), 501),  # beyond the last character
        (b"\xc2\x80", (501,), 501),  # a control character
        (b"\xc2\x9b", (501,), 501),
    ],
    ids=lambda value: value.hex() if isinstance(value, bytes) else "",
)
def test_eight_bits(client, where, text, declared, plain):
    """With SMTPUTF8 well-formed UTF-8 only, without it none."""
    head, tail = where.encode().split(b"{}")
    for parameter, allowed in ((b" SMTPUTF8", declared), (b"", (plain, 553))):
        client.cmd("RSET", 250)
        if where.startswith("RCPT"):
            client.cmd(b"MAIL FROM:<s@client.example>" + parameter, 250)
            code = client.cmd(head + text + tail).code
        else:
            code = client.cmd(head + text + tail + parameter).code
        assert code in allowed, code


def test_long_addresses_in_long_messages(client):
    """Replies and log lines stay of a bearable length."""
    for length in (64, 65, 200, 900, 1010, 1023, 1024, 1025, 2000, 60_000):
        reply = rcpt(client, "x" * length + f"@{DOMAIN}")
        assert reply.code in (501, 550) and max(map(len, reply.lines)) < 520


# Commands

ALIASES = {"dash": "-x@sender.example", "dashed": '"-x"@sender.example'}


@pytest.fixture(scope="module")
def commands(make_module_mta, module_folder, owner):
    """Every user exists; four transports give the message's words to a command, as an argument of its own or after an option."""
    out = module_folder / "out"
    out.mkdir()
    out.chmod(0o777)
    script = setups.script(module_folder, "show", f'cat >/dev/null; printf "%s\\n" "$@" >{out}/$$.tmp; mv {out}/$$.tmp {out}/$$\n')
    argv = {
        "sender": f"{script} ${{sender}} -- ${{recipient}}",
        "extension": f"{script} ${{extension}} ${{user}}",
        "helo": f"{script} ${{client_helo}}",
        "behind": f"{script} --ext=${{extension}} --helo=${{client_helo}}",
    }
    main = {
        "virtual_mailbox_domains": " ".join(f"{name}.example" for name in argv),
        "virtual_mailbox_maps": "static:anything",
        "virtual_alias_maps": "inline:{ " + " ".join(f"{{{name}@sender.example = {to}}}" for name, to in ALIASES.items()) + " }",
        "transport_maps": "inline:{ " + " ".join(f"{{{name}.example = {name}:}}" for name in argv) + " }",
        "recipient_delimiter": "+",
    }
    main |= {f"{name}_destination_recipient_limit": "1" for name in argv}
    server = make_module_mta(main, transports={name: setups.pipe(owner, text) for name, text in argv.items()})
    server.out = out
    return server


def run(server, recipient, sender="s@client.example", helo="client.example"):
    """Sends; answers the first delivery and the command's arguments, None when it did not run."""
    for path in server.out.iterdir():
        path.unlink()
    with server.connect() as client:
        client.ehlo(helo)
        queue_id = client.mail(sender, recipient, b"Subject: x\r\n\r\n")
    delivery = server.wait_deliveries(queue_id, 1)[0]
    files = [path for path in server.out.iterdir() if path.suffix != ".tmp"]
    return delivery, files[0].read_text().splitlines() if files else None


@pytest.mark.parametrize("recipient, helo", [("u+-x@extension.example", "x"), ("u+--config=x@extension.example", "x"), ("u@helo.example", "-x")])
def test_no_word_of_a_message_becomes_an_option(commands, recipient, helo):
    delivery, arguments = run(commands, recipient, sender="", helo=helo)
    assert (delivery["status"], delivery["dsn"], arguments) == ("bounced", "5.1.3", None)
    assert 'begins with "-"' in delivery["text"]


def test_behind_an_option_it_is_harmless(commands):
    delivery, arguments = run(commands, "u+-x@behind.example", helo="-h")
    assert (delivery["status"], arguments) == ("sent", ["--ext=-x", "--helo=-h"])


@pytest.mark.parametrize("alias", ["dash", "dashed"])
def test_no_alias_becomes_an_option(commands, alias):
    delivery, arguments = run(commands, f"{alias}@sender.example", sender="")
    assert (delivery["to"], delivery["status"], delivery["dsn"], arguments) == ("-x@sender.example", "bounced", "5.1.3", None)


@pytest.mark.parametrize("sender", ["-x@client.example", '"-x"@client.example', "-", '"--config=x"@y.example'])
def test_no_sender_becomes_an_option(commands, sender):
    with commands.connect() as client:
        client.ehlo()
        assert str(client.cmd(f"MAIL FROM:<{sender}>")) == "501 5.1.7 Bad sender address syntax"


def test_allow_min_user(make_mta, folder, owner):
    """Whoever says so gets them, everywhere."""
    server = make_mta(
        {"virtual_mailbox_domains": DOMAIN, "virtual_mailbox_maps": "static:x", "virtual_transport": "command", "allow_min_user": "yes"}
        | {"command_destination_recipient_limit": "1"},
        transports={"command": setups.pipe(owner, "/bin/echo ${sender} ${recipient}")},
    )
    with server.connect() as client:
        client.ehlo()
        queue_id = client.mail("-s@client.example", f"-u@{DOMAIN}", b"Subject: x\r\n\r\n")
    assert server.wait_deliveries(queue_id, 1)[0]["text"] == f"delivered via command service (-s@client.example -u@{DOMAIN})"


@pytest.mark.parametrize("user", ["a b", "a;b", "$(id)", "`id`", "a|b", "a>b", "a\\'b", "*", "${nexthop}", "%s%n"])
def test_shell_characters_stay_characters(commands, user):
    delivery, arguments = run(commands, f'"{user}"@sender.example')
    assert delivery["status"] == "sent"
    assert arguments == ["s@client.example", "--", f"{user.replace(chr(92), '')}@sender.example"]


def test_a_log_line_cannot_be_forged(server):
    """Whatever an address, HELO or parameter holds, each event is one line and reads as ours."""
    lines = [
        b"EHLO x\x0bNov  1 00:00:00 host postfix/smtpd[1]: FORGED",
        b"MAIL FROM:<a\xc2\x85b@x.example> SMTPUTF8",
        b"MAIL FROM:<s@client.example> SMTPUTF8",
        "RCPT TO:<x\u2028FORGED@hosted.example>".encode(),
        b"RCPT TO:<\"x> status=sent (FORGED\"@hosted.example>",
        b"GET /\x1b]0;FORGED\x07 HTTP/1.0",
    ]
    with server.connect(stranger=True) as client:
        for line in lines:
            client.send(line + b"\r\n")
            try:
                client.reply()
            except SmtpError:
                pass
    server.wait_log(r"non-SMTP command from")
    text = server.log_path.read_bytes().decode("utf-8")
    for line in text.split("\n"):
        assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in line), line
        assert not line.startswith("FORGED")
    procs.wait_for(lambda: server.queued() == 0, 30, "an empty queue")
