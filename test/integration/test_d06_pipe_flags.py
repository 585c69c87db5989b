"""What pipe's flags, eol and null_sender make of the message that the command reads."""

import re

import pytest
from support import procs, setups

BODY = b"Date: x\r\nFrom: x@x.example\r\nMessage-Id: x\r\n\r\nhello\r\n.dot\r\nFrom me\r\n>From you\r\n\r\nend\r\n"
LINES = [b"hello", b".dot", b"From me", b">From you", b"", b"end"]
TEXT = b"\n".join(LINES) + b"\n"
FROM_ = rb"From s@client\.example  \w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}\n"

# name: (settings, pattern of what comes before Received:, the body expected)
CASES = {
    "none": ({}, rb"", TEXT),
    "r": ({"flags": "R"}, rb"Return-Path: <s@client\.example>\n", TEXT),
    "d": ({"flags": "D"}, rb"Delivered-To: User\+Ext@d\.example\n", TEXT),
    "o": ({"flags": "O"}, rb"X-Original-To: User\+Ext@o\.example\n", TEXT),
    "f": ({"flags": "F"}, FROM_, TEXT),
    "all": (
        {"flags": "DORXhuF"},
        FROM_ + rb"Return-Path: <s@client\.example>\nX-Original-To: User\+Ext@all\.example\nDelivered-To: User\+Ext@all\.example\n",
        TEXT,
    ),
    "b": ({"flags": "B"}, rb"", TEXT + b"\n"),
    "dot": ({"flags": "."}, rb"", TEXT.replace(b"\n.dot", b"\n..dot")),
    "gt": ({"flags": ">"}, rb"", TEXT.replace(b"\nFrom me", b"\n>From me")),
    "mbox": ({"flags": "FB>"}, FROM_, TEXT.replace(b"\nFrom me", b"\n>From me") + b"\n"),
    "crlf": ({"flags": "R", "eol": r"\r\n"}, rb"Return-Path: <s@client\.example>\r\n", TEXT.replace(b"\n", b"\r\n")),
    "tutorial": ({"flags": "DRhu"}, rb"Return-Path: <s@client\.example>\nDelivered-To: User\+Ext@tutorial\.example\n", TEXT),
    "nulled": ({"flags": "R", "null_sender": ""}, rb"Return-Path: <>\n", TEXT),
    "daemon": ({"flags": "R"}, rb"Return-Path: <MAILER-DAEMON>\n", TEXT),
    "quoted": ({"flags": "DRq"}, rb'Return-Path: <"s t"@client\.example>\nDelivered-To: "a b"@quoted\.example\n', TEXT),
}
SENDERS = {"nulled": "", "daemon": "", "quoted": '"s t"@client.example'}
RECIPIENTS = {"quoted": '"a b"@quoted.example'}


@pytest.fixture(scope="module")
def server(make_module_mta, module_folder, owner):
    out = module_folder / "out"
    out.mkdir()
    out.chmod(0o777)
    save = setups.script(module_folder, "save", f'cat >"{out}/$1.tmp" && mv "{out}/$1.tmp" "{out}/$1"\n')
    maps = module_folder / "transport"
    maps.write_text("".join(f"{name}.example {name}:\n" for name in CASES))
    main = {
        "virtual_mailbox_domains": " ".join(f"{name}.example" for name in CASES),
        "virtual_mailbox_maps": "static:anything",
        "virtual_transport": "none",
        "transport_maps": f"texthash:{maps}",
        "recipient_delimiter": "+",
    } | {f"{name}_destination_recipient_limit": "1" for name in CASES}
    server = make_module_mta(main, transports={name: setups.pipe(owner, f"{save} {name}", **case[0]) for name, case in CASES.items()})
    server.out = out
    return server


@pytest.mark.parametrize("name", CASES)
def test_flags(server, name):
    _, top, text = CASES[name]
    with server.connect() as client:
        client.ehlo()
        client.mail(SENDERS.get(name, "s@client.example"), RECIPIENTS.get(name, f"User+Ext@{name}.example"), BODY)
    procs.wait_for((server.out / name).exists, 30, "the command to have read its input")
    raw = (server.out / name).read_bytes()
    eol = b"\r\n" if name == "crlf" else b"\n"
    start = raw.index(b"Received: ")
    assert re.fullmatch(top, raw[:start]), raw[:start]
    head, body = raw.split(eol + eol, 1)
    assert body == text
    assert re.search(rb"Received: from .*" + eol + rb"\tby .*" + eol + rb"\tfor <.*>; .*" + eol, raw)
    if name == "crlf":
        assert not re.search(rb"[^\r]\n", raw)
    else:
        assert b"\r" not in raw
