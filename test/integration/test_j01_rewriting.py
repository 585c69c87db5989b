"""What becomes of addresses and content on the way in: canonical maps, masquerading, copies, header_checks, body_checks."""

import re

import pytest
from support import maildir, procs, setups
from support.setups import DOMAIN

USERS = ["anna", "bert", "archive", "log"]


@pytest.fixture
def serve(make_mta, folder, owner):
    """A server with these parameters; `inbox(user)` is what a user has."""

    def start(main=None, files=None):
        for name, text in (files or {}).items():
            (folder / name).write_text(text)
        base = setups.mail_folder(folder, owner)
        delivery, transports = setups.maildir_delivery(base, owner)
        tables = setups.text_tables(folder, [f"{user}@{DOMAIN}" for user in USERS], [(f"both@{DOMAIN}", f"anna@{DOMAIN} bert@{DOMAIN}")])
        main = {name: value.replace("DIR", str(folder)) for name, value in (main or {}).items()}
        server = make_mta(tables | delivery | {"myorigin": DOMAIN} | main, transports=transports)
        server.inbox = lambda user: maildir.messages(base / DOMAIN / user)
        return server

    return start


def send(server, body, sender="s@client.example", to=(f"anna@{DOMAIN}",), stranger=True, bdat=0, expect=250):
    with server.connect(stranger=stranger) as client:
        client.ehlo()
        client.envelope(sender, list(to))
        if not bdat:
            reply = client.data(body, code=expect)
        else:
            pieces = [body[at : at + bdat] for at in range(0, len(body), bdat)]
            for number, piece in enumerate(pieces):
                last = number == len(pieces) - 1
                client.send(f"BDAT {len(piece)}{' LAST' if last else ''}\r\n".encode() + piece)
                reply = client.expect(expect if last else 250)
    return reply


def settled(server):
    procs.wait_for(lambda: server.queued() == 0, 30, "an empty queue")


def header(raw, name):
    found = re.search(rb"^" + name.encode() + rb": (.*(?:\n[ \t].*)*)", raw, re.M)
    return found[1].decode() if found else None


def test_canonical_and_masquerade(serve):
    server = serve(
        {
            "canonical_maps": "inline:{{old@client.example = new@client.example}, {@ex.hosted.example = @hosted.example}}",
            "sender_canonical_maps": "inline:{{pseudo@client.example = real@client.example}}",
            "masquerade_domains": "client.example",
            "masquerade_exceptions": "root",
        }
    )
    body = b"From: Old <old@client.example>\r\nTo: x <anna@ex.hosted.example>, root@h.client.example\r\nCc: a@h.client.example\r\nSubject: s\r\n\r\nold@client.example\r\n"
    send(server, body, sender="pseudo@client.example", to=["anna@ex.hosted.example"], stranger=False)
    settled(server)
    (raw,) = server.inbox("anna")
    assert header(raw, "Return-Path") == "<real@client.example>"
    assert header(raw, "Delivered-To") == f"anna@{DOMAIN}"
    assert header(raw, "X-Original-To") == "anna@ex.hosted.example"
    assert header(raw, "From") == "Old <new@client.example>"
    assert header(raw, "To") == f"x <anna@{DOMAIN}>, root@h.client.example"
    assert header(raw, "Cc") == "a@client.example"
    assert raw.endswith(b"\n\nold@client.example\n")
    # The headers of strangers are their own; the envelope is not.
    send(server, body, sender="a@h.client.example")
    settled(server)
    raw = max(server.inbox("anna"), key=lambda text: b"<a@client.example>" in text)
    assert header(raw, "Return-Path") == "<a@client.example>"
    assert header(raw, "From") == "Old <old@client.example>"


def test_incomplete_addresses_in_headers(serve):
    server = serve({"remote_header_rewrite_domain": "stranger.invalid"})
    send(server, b"From: cron (Cron)\r\nTo: anna, \"B\" <bert>\r\n\r\n", stranger=False)
    settled(server)
    (raw,) = server.inbox("anna")
    assert header(raw, "From") == f"cron@{DOMAIN} (Cron)"
    assert header(raw, "To") == f'anna@{DOMAIN}, "B" <bert@{DOMAIN}>'
    send(server, b"From: cron\r\n\r\n", to=[f"bert@{DOMAIN}"])
    settled(server)
    (raw,) = server.inbox("bert")
    assert header(raw, "From") == "cron@stranger.invalid"


def test_copies(serve):
    server = serve(
        {
            "always_bcc": "archive",
            "sender_bcc_maps": f"inline:{{{{s@client.example = log@{DOMAIN}}}}}",
            "recipient_bcc_maps": f"inline:{{{{bert@{DOMAIN} = log@{DOMAIN}}}}}",
        }
    )
    send(server, b"Subject: one\r\n\r\n")
    send(server, b"Subject: two\r\n\r\n", sender="t@client.example", to=[f"bert@{DOMAIN}", f"anna@{DOMAIN}"])
    settled(server)
    subjects = {user: sorted(header(raw, "Subject") for raw in server.inbox(user)) for user in USERS}
    assert subjects == {"anna": ["one", "two"], "bert": ["two"], "archive": ["one", "two"], "log": ["one", "two"]}


def test_relocated(serve):
    server = serve({"relocated_maps": f"inline:{{{{gone@{DOMAIN} = new@elsewhere.example}}}}"})
    with server.connect(stranger=True) as client:
        client.ehlo()
        client.cmd("MAIL FROM:<s@client.example>", 250)
        client.cmd(f"RCPT TO:<gone@{DOMAIN}>", 550, r"5\.1\.6 <gone@hosted\.example>: Recipient address rejected: User has moved to new@elsewhere\.example")


CHECKS = {
    "header_checks": r"""
/^Subject: spam/       REJECT 5.7.1 no spam here
/^Subject: bare/       REJECT
/^Subject: later/      REJECT 4.7.1 come again
/^Subject: hide/       DISCARD never seen
/^Subject: bert/       REDIRECT bert@hosted.example
/^Subject: copy/       BCC bert@hosted.example
/^Subject: hold/       HOLD
/^X-Secret:/           IGNORE
/^X-Old: (.*)$/        REPLACE X-New: $1
/^X-Mark:/             PREPEND X-Above: yes
/^X-Watch:/            WARN seen
/^Received: from client\.example/  IGNORE
/name=.*\.exe/         REJECT no programs
""",
    "body_checks": r"""
/^evil line/           REPLACE good line
/^drop this/           IGNORE
/^refuse this/         REJECT bad words
""",
}


@pytest.fixture
def checked(serve):
    return serve({"header_checks": "pcre:DIR/header_checks", "body_checks": "regexp:DIR/body_checks"}, CHECKS)


@pytest.mark.parametrize("bdat", [0, 1, 10, 100000])
def test_checks_that_change(checked, bdat):
    body = b"X-Secret: a\r\n\tfolded\r\nX-Old: 1\r\nX-Mark: m\r\nX-Watch: w\r\nSubject: copy\r\n\r\nevil line\r\ndrop this\r\nlast\r\n"
    send(checked, body, bdat=bdat)
    settled(checked)
    (raw,), (copy,) = checked.inbox("anna"), checked.inbox("bert")
    assert raw.endswith(b"\nX-New: 1\nX-Above: yes\nX-Mark: m\nX-Watch: w\nSubject: copy\n\ngood line\nlast\n")
    assert copy.endswith(b"\n\ngood line\nlast\n")
    assert b"Received:" not in raw  # the server's own, too
    assert len(checked.lines(r"warning: header X-Watch: w from \S+\[127\.0\.0\.2\]; from=<s@client\.example> to=<anna@hosted\.example> proto=ESMTP helo=<client\.example>: seen")) == 1


@pytest.mark.parametrize(
    "body, code, text, logged",
    [
        (b"Subject: spam\r\n\r\n", 550, "5.7.1 no spam here", "reject: header Subject: spam from "),
        (b"Subject: bare\r\n\r\n", 550, "5.7.1 message content rejected", "reject: header Subject: bare from "),
        (b"Subject: later\r\n\r\n", 450, "4.7.1 come again", "reject: header Subject: later from "),
        (b"Subject: hold\r\n\r\n", 451, "4.3.5 Server configuration error", "HOLD|hold: header Subject: hold from "),
        (b"Subject: fine\r\n\r\nrefuse this\r\n", 550, "5.7.1 bad words", "reject: body refuse this from "),
        (
            b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: a/b;\r\n name=evil.exe\r\n\r\n",
            550,
            "5.7.1 no programs",
            "reject: mime-header Content-Type: a/b;",
        ),
    ],
)
def test_checks_that_refuse(checked, body, code, text, logged):
    reply = send(checked, body, expect=code)
    assert text in reply.text
    assert len(checked.lines(logged)) == 1
    assert checked.queued() == 0
    with checked.connect(stranger=True) as client:  # and the session goes on
        client.ehlo()
        client.envelope("s@client.example", [f"anna@{DOMAIN}"])
        client.data(body, code=code)
        client.envelope("s@client.example", [f"anna@{DOMAIN}"])
        client.data(b"Subject: fine\r\n\r\nafter\r\n")
    settled(checked)
    (raw,) = checked.inbox("anna")
    assert raw.endswith(b"\n\nafter\n")


def test_discard_and_redirect(checked):
    send(checked, b"Subject: hide\r\n\r\n")
    send(checked, b"Subject: bert\r\n\r\n", to=[f"anna@{DOMAIN}", f"both@{DOMAIN}"])
    settled(checked)
    assert checked.inbox("anna") == []
    (raw,) = checked.inbox("bert")
    assert header(raw, "Subject") == "bert"
    assert checked.lines(r"discard: header Subject: hide from ")


def test_large_content_passes_the_checks_unchanged(checked):
    line = b"x" * 70 + b"\r\n"
    body = b"Subject: large\r\n\r\n" + line * 60000
    send(checked, body)
    settled(checked)
    (raw,) = checked.inbox("anna")
    assert raw.endswith(b"\n\n" + (b"x" * 70 + b"\n") * 60000)


def test_checks_that_cannot_be_asked(serve):
    reply = send(serve({"header_checks": "tcp:127.0.0.1:1"}), b"Subject: x\r\n\r\n", expect=451)
    assert "4.3.0" in reply.text


def test_canonical_maps_that_cannot_be_asked(serve):
    server = serve({"canonical_maps": "tcp:127.0.0.1:1"})
    with server.connect(stranger=True) as client:
        client.ehlo()
        client.cmd("MAIL FROM:<s@client.example>", 250)
        client.cmd(f"RCPT TO:<anna@{DOMAIN}>", 451)
