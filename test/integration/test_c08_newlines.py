"""Only CRLF.CRLF ends DATA: every known way to smuggle a second message, under each smtpd_forbid_bare_newline."""

import pytest
from support import maildir, setups
from support.mta import HOSTNAME
from support.setups import DOMAIN

# What some other server might take, or send, for the end of data.
ENDS = {
    "LF.LF": b"\n.\n",
    "LF.CRLF": b"\n.\r\n",
    "CRLF.LF": b"\r\n.\n",
    "CR.CR": b"\r.\r",
    "CR.CRLF": b"\r.\r\n",
    "CRLF.CR": b"\r\n.\r",
    "LF.CR": b"\n.\r",
    "CR.LF": b"\r.\n",
    "NUL": b"\r\n\x00.\r\n",
}
WITH_BARE_LF = ["LF.LF", "LF.CRLF", "CRLF.LF", "LF.CR", "CR.LF"]
HEAD = b"Message-Id: x\r\nDate: x\r\nFrom: x\r\n"


@pytest.fixture(scope="module")
def server(make_module_mta, module_folder, owner):
    return setups.hosted_server(
        make_module_mta,
        module_folder,
        owner,
        listeners={
            "default": {},
            "normalize": {"smtpd_forbid_bare_newline": "normalize"},
            "reject": {"smtpd_forbid_bare_newline": "reject"},
            "no": {"smtpd_forbid_bare_newline": "no"},
        },
    )


def attack(end):
    """A message that hides a second one behind `end`."""
    return (
        HEAD + b"Subject: outer\r\n\r\nouter body" + end + f"MAIL FROM:<evil@evil.example>\r\nRCPT TO:<u20@{DOMAIN}>\r\nDATA\r\n".encode()
        + b"Subject: smuggled\r\n\r\nsmuggled body\r\n.\r\n"
    )  # fmt: skip


def send(server, listener, user, wire):
    """Sends DATA content as it is; returns the reply, after proof that exactly one came."""
    with server.connect(listener, stranger=True) as client:
        client.ehlo()
        client.envelope("s@client.example", f"{user}@{DOMAIN}")
        client.cmd("DATA", 354)
        client.send(wire)
        reply = client.reply()
        if reply.code == 250:
            assert client.cmd("HELP alive").code in (214, 500, 501)  # the next reply is that of the next command
        return reply


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("listener", ["default", "normalize", "no"])
def test_nothing_is_smuggled_in(server, listener, end):
    user = f"u{1 + ['default', 'normalize', 'no'].index(listener)}"
    before = len(maildir.files(server.maildir(user)))
    assert send(server, listener, user, attack(ENDS[end])).code == 250
    raw = maildir.wait_messages(server.maildir(user), before + 1)[-1]
    assert b"MAIL FROM:<evil@evil.example>\n" in raw and raw.endswith(b"\nsmuggled body\n")
    assert maildir.files(server.maildir("u20")) == []


@pytest.mark.parametrize("end", WITH_BARE_LF)
def test_reject(server, end):
    with server.connect("reject", stranger=True) as client:
        client.ehlo()
        client.envelope("s@client.example", f"u4@{DOMAIN}")
        client.cmd("DATA", 354)
        client.send(attack(ENDS[end]))
        reply = client.reply()
        assert str(reply) == f"550 5.5.2 {HOSTNAME} Error: bare <LF> received"
    server.wait_log(r"reject: END-OF-MESSAGE from \S+\[127\.0\.0\.2\]: .*bare <LF> received; from=<s@client\.example>")
    assert maildir.files(server.maildir("u4")) == [] and maildir.files(server.maildir("u20")) == []


def test_reject_mode_takes_clean_mail(server):
    send(server, "reject", "u5", HEAD + b"\r\nclean\r\n.\r\n")
    maildir.wait_messages(server.maildir("u5"), 1)


def test_bare_lf_is_a_line_end_when_normalized(server):
    """Lines that ended in LF come out like all others."""
    send(server, "normalize", "u6", HEAD + b"\r\na\nb\r\nc\n\nd\r\n.\r\n")
    [raw] = maildir.wait_messages(server.maildir("u6"), 1)
    assert raw.endswith(b"\n\na\nb\nc\n\nd\n")


@pytest.mark.parametrize("listener, user", [("normalize", "u7"), ("no", "u8")])
def test_bare_cr_does_not_end_a_line(server, listener, user):
    """A bare CR may be kept or replaced, but no agent may see a line end where we saw none."""
    send(server, listener, user, HEAD + b"\r\nbefore\r.\rafter\r\n.\r\n")
    [raw] = maildir.wait_messages(server.maildir(user), 1)
    assert raw.count(b"\n.") == 0
    assert b"before" in raw and b"after\n" in raw


def test_dot_after_bare_lf_keeps_its_dots(server):
    """A line that begins with a dot after a bare LF must not lose the dot twice or end the message."""
    send(server, "no", "u9", HEAD + b"\r\na\n..b\r\n..c\r\n.\r\n")
    [raw] = maildir.wait_messages(server.maildir("u9"), 1)
    assert raw.endswith(b"\n.c\n") and b"b\n" in raw


@pytest.mark.parametrize("listener", ["default", "normalize", "no"])
def test_bare_lf_ends_a_command_unless_rejected(server, listener):
    with server.connect(listener) as client:
        client.send("NOOP\n")
        client.expect(250)


def test_bare_lf_in_a_command_rejected(server):
    with server.connect("reject", stranger=True) as client:
        client.send("EHLO client.example\n")
        reply = client.reply()
        assert (reply.code, reply.text) == (550, f"5.5.2 {HOSTNAME} Error: bare <LF> received")


def test_bdat_with_bare_lf(server):
    with server.connect("reject", stranger=True) as client:
        client.ehlo()
        client.envelope("s@client.example", f"u10@{DOMAIN}")
        client.send(b"BDAT 6 LAST\r\nhi\nyo\n")
        assert client.reply().code == 550
    with server.connect("normalize", stranger=True) as client:
        client.ehlo()
        client.envelope("s@client.example", f"u11@{DOMAIN}")
        client.send(b"BDAT 17 LAST\r\nFrom: x\r\n\r\nhi\nyo\n")
        client.expect(250)
    [raw] = maildir.wait_messages(server.maildir("u11"), 1)
    assert raw.endswith(b"From: x\n\nhi\nyo\n")
    assert maildir.files(server.maildir("u10")) == []


def test_exclusions(make_mta, folder, owner):
    """smtpd_forbid_bare_newline_exclusions is mynetworks by default: our own clients may go on as they did."""
    server = setups.hosted_server(make_mta, folder, owner, {"smtpd_forbid_bare_newline": "reject"})
    with server.connect() as client:
        client.send("EHLO client.example\n")
        client.expect(250)
