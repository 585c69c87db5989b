"""One message stays one message: every mixture of CR, LF and NUL that some server somewhere takes for the end of data or
of a command, in every cut, in DATA and around BDAT."""

import itertools
import re
import time

import pytest
from support import maildir, procs, setups
from support.setups import DOMAIN
from support.smtp import stuff

LINE_ENDS = {"CRLF": b"\r\n", "LF": b"\n", "CR": b"\r", "CRCRLF": b"\r\r\n", "LFCR": b"\n\r", "CRNULLF": b"\r\0\n", "NUL": b"\0"}
ENDS = {f"{a}.{b}": before + b"." + after for (a, before), (b, after) in itertools.product(LINE_ENDS.items(), repeat=2)} | {
    "NUL before the dot": b"\r\n\0.\r\n",
    "NUL after the dot": b"\r\n.\0\r\n",
    "NUL after the end": b"\r\n.\r\0\n",
    "CRLFNUL.": b"\r\n\0\r\n.\0",
    "space after the dot": b"\r\n. \r\n",
    "space before the dot": b"\r\n .\r\n",
    "tab after the dot": b"\r\n.\t\r\n",
    "backspace": b"\r\n.x\x08\r\n",
    "vertical tab": b"\x0b.\x0b",
    "form feed": b"\r\n.\x0c\r\n",
    "next line": b"\x85.\x85",
    "line separator": b"\xe2\x80\xa8.\xe2\x80\xa8",
    "high bit": b"\x8d\x8a.\x8d\x8a",
    "two dots": b"\r\n..\r\n",
    "dot and two CR": b"\r\n.\r\r\n",
    "dots and LF": b"\r\n..\n..\r\n",
    "dot, LF, dot, CRLF": b"\r\n.\n.\r\n",
    "escaped": b"\\r\\n.\\r\\n",
}
ENDS = {name: end for name, end in ENDS.items() if b"\r\n.\r\n" not in end}  # that one is no trick
HEAD = b"Message-Id: x\r\nDate: x\r\nFrom: x\r\n"
MODES = ["normalize", "no", "reject"]


@pytest.fixture(scope="module")
def server(make_module_mta, module_folder, owner):
    return setups.hosted_server(
        make_module_mta, module_folder, owner, listeners={mode: {"smtpd_forbid_bare_newline": mode} for mode in MODES}
    )


def attack(name, end):
    """A message that hides a second one behind `end`."""
    return (
        HEAD + f"Subject: {name}\r\n\r\nouter body".encode() + end + f"MAIL FROM:<evil@evil.example>\r\nRCPT TO:<u20@{DOMAIN}>\r\nDATA\r\n".encode()
        + b"Subject: smuggled\r\n\r\nsmuggled body\r\n.\r\n"
    )  # fmt: skip


def send(server, listener, user, wire, cuts):
    """One message, sent in the pieces between `cuts`; answers the reply and proves that it is the only one."""
    with server.connect(listener, stranger=True) as client:
        client.ehlo()
        client.envelope("s@client.example", f"{user}@{DOMAIN}")
        client.cmd("DATA", 354)
        for start, stop in itertools.pairwise([0, *cuts, len(wire)]):
            client.send(wire[start:stop])
            if cuts:
                time.sleep(0.002)
        reply = client.reply()
        if reply.code == 250:
            assert client.cmd("VRFY", 501).text.startswith("5.5.4 Syntax: VRFY")
        return reply


def has_bare_lf(wire):
    return re.search(rb"(?<!\r)\n", wire) is not None


@pytest.mark.parametrize("mode", MODES)
def test_no_end_of_data(server, mode):
    """In one piece, byte by byte, and cut once at each place."""
    user = f"u{1 + MODES.index(mode)}"
    expected = 0
    for name, end in ENDS.items():
        wire = attack(name, end)
        at = wire.index(end)
        whole = range(at, at + len(end) + 1)
        for cuts in ([], list(whole), *([cut] for cut in whole)):
            reply = send(server, mode, user, wire, cuts)
            refused = mode == "reject" and has_bare_lf(wire)
            assert reply.code == (550 if refused else 250), f"{name}, cut at {cuts}: {reply}"
            expected += not refused
    for raw in maildir.wait_messages(server.maildir(user), expected):
        name = re.search(rb"\nSubject: (.*)\n", raw)[1].decode()
        assert raw.endswith(b"\nsmuggled body\n") and b"MAIL FROM:<evil@evil.example>\n" in raw, name
        assert b"\r" not in raw, f"{name}: a CR is left that somebody may take for a line end"
        assert not re.search(rb"\n\.\n", raw) or name in ("two dots", "dots and LF", "escaped"), name
    assert maildir.files(server.maildir("u20")) == []


def test_the_true_end_in_every_cut(server):
    """What is behind it is the next command, wherever the packets end."""
    body = HEAD + b"Subject: cut\r\n\r\n.dot\r\nlast"
    wire = stuff(body) + b"VRFY\r\n"
    count = 0
    for cuts in ([], *([cut] for cut in range(len(wire) - 14, len(wire))), list(range(len(wire) - 14, len(wire)))):
        with server.connect("normalize", stranger=True) as client:
            client.ehlo()
            client.envelope("s@client.example", f"u4@{DOMAIN}")
            client.cmd("DATA", 354)
            for start, stop in itertools.pairwise([0, *cuts, len(wire)]):
                client.send(wire[start:stop])
                time.sleep(0.002)
            client.expect(250, "queued")
            client.expect(501, "Syntax: VRFY")
            count += 1
    for raw in maildir.wait_messages(server.maildir("u4"), count):
        assert raw.endswith(b"\n\n.dot\nlast\n")


# Commands

JOINED = [b"\r", b"\0", b"\r\0", b"\0\r", b"\r\r", b"\x0b", b"\x85", b"\xe2\x80\xa8"]


@pytest.mark.parametrize("end", JOINED, ids=[end.hex() for end in JOINED])
def test_no_end_of_a_command(server, end):
    """A line is over at its LF: what stands between two is one command, and gets one reply."""
    with server.connect("normalize", stranger=True) as client:
        client.ehlo()
        evil = f"MAIL FROM:<evil@evil.example>\r\nRCPT TO:<u20@{DOMAIN}>\r\nDATA\r\n".encode().replace(b"\r\n", end)
        client.send(b"NOOP" + end + evil + b"\r\n")
        first = client.reply()
        assert first.code in (250, 500, 501), first
        assert client.cmd("VRFY", 501).text.startswith("5.5.4 Syntax: VRFY")
        client.cmd("DATA", 503)
        client.cmd(b"MAIL FROM:<a@b.example>" + end + b" SIZE=1" if end != b"\x0b" else b"MAIL FROM:<a@b.example>\x0bSIZE=1", None)
        client.cmd("VRFY", 501)


@pytest.mark.parametrize("command", [b"MAIL FROM:<a\0b@c.example>", b"MAIL FROM:<a@b.example>\0", b"NOOP\0", b"\0NOOP", b"EHLO a\rb", b"RSET\r", b"\0", b"\r", b"\r\r"])
def test_cr_and_nul_in_a_command(server, command):
    with server.connect("normalize", stranger=True) as client:
        client.ehlo()
        assert client.cmd(command).code in (500, 501)
        client.cmd("VRFY", 501)


def test_replies_do_not_echo_line_ends(server):
    """What a client says comes back in no form that splits a reply."""
    with server.connect("normalize", stranger=True) as client:
        client.ehlo()
        for line in (b"MAIL FROM:<a@b.example> X\x0bY\x85", b"MAIL FROM:<a@b.example> \xff\xfe=", b"VRFY \xe2\x80\xa8x", b"RCPT TO:<\x01@x>"):
            reply = client.cmd(line)
            assert reply.code >= 500 and not re.search(r"[\0-\x1f\x7f]", reply.text)


# BDAT

SECRET = f"\r\n.\r\nMAIL FROM:<evil@evil.example>\r\nRCPT TO:<u20@{DOMAIN}>\r\nBDAT 5 LAST\r\nhello\r\n".encode()


@pytest.mark.parametrize("end", ["\r\n.\r\n", "\n.\n", "\r.\r", "\0", "\r\n.\r\nQUIT\r\n"])
def test_a_chunk_ends_by_its_size_only(server, end):
    body = HEAD + b"Subject: chunk\r\n\r\nouter" + end.encode() + SECRET
    before = len(maildir.files(server.maildir("u5")))
    with server.connect("no", stranger=True) as client:
        client.ehlo()
        client.envelope("s@client.example", f"u5@{DOMAIN}")
        client.send(b"BDAT %d LAST\r\n" % len(body) + body + b"VRFY\r\n")
        client.expect(250, "queued")
        client.expect(501)
    raw = maildir.wait_messages(server.maildir("u5"), before + 1)[-1]
    assert b"MAIL FROM:<evil@evil.example>\n" in raw and raw.endswith(b"\nhello\n") and b"\r" not in raw
    assert maildir.files(server.maildir("u20")) == []


def test_line_end_on_both_sides_of_a_chunks_end(server):
    """CR is the last byte of the last chunk: the LF behind it belongs to the commands, not to the content."""
    with server.connect("no", stranger=True) as client:
        client.ehlo()
        client.envelope("s@client.example", f"u6@{DOMAIN}")
        body = HEAD + b"Subject: half\r\n\r\nend\r"
        client.send(b"BDAT %d LAST\r\n" % len(body) + body + b"\nVRFY\r\n")
        client.expect(250, "queued")
        client.expect(500)
        client.expect(501)
    [raw] = maildir.wait_messages(server.maildir("u6"), 1)
    assert raw.endswith(b"\n\nend \n") or raw.endswith(b"\n\nend\n")


def test_dots_of_a_chunk_are_not_the_end_of_the_next_data(server):
    """State of one content is not in the next: BDAT that ends in CRLF, a dot, or within a line; then DATA."""
    for last in (b"\r\n", b"\r\n.", b"\r\n.\r", b".", b"\r"):
        with server.connect("no", stranger=True) as client:
            client.ehlo()
            client.envelope("s@client.example", f"u7@{DOMAIN}")
            body = HEAD + b"\r\nchunk" + last
            client.send(b"BDAT %d LAST\r\n" % len(body) + body)
            client.expect(250)
            client.envelope("s@client.example", f"u7@{DOMAIN}")
            client.cmd("DATA", 354)
            client.send(b".\r\n")
            client.expect(250)
            client.cmd("VRFY", 501)
    maildir.wait_messages(server.maildir("u7"), 10)


@pytest.mark.parametrize("size", [b"5", b"5 LAST"])
@pytest.mark.parametrize("end", [b"\r", b"\0", b"\n", b"\r\r\n", b" \r\n", b"\t\r\n"])
def test_where_a_chunk_begins(server, size, end):
    """Right behind the LF of the command; with anything odd in the command the session is over."""
    with server.connect("normalize", stranger=True) as client:
        client.ehlo()
        client.envelope("s@client.example", f"u8@{DOMAIN}")
        client.send(b"BDAT " + size + end + b"QUIT\r\n")
        reply = client.reply()
        client.send(b"VRFY\r\n")
        if end in (b"\n", b" \r\n", b"\t\r\n"):
            # QUIT and CR are the chunk; the LF is an empty command
            assert reply.code == 250
            client.expect(500)
            client.expect(501)
        else:
            # Content or commands: nobody can tell what follows.
            assert reply.code == 521
            client.expect_closed()


def test_a_size_that_is_cut_off_is_no_size(server):
    """A command line beyond line_length_limit loses its end, where the rest of the number may be."""
    with server.connect("normalize", stranger=True) as client:
        client.ehlo()
        client.envelope("s@client.example", f"u8@{DOMAIN}")
        client.send(b"BDAT " + b"0" * 3000 + b"6\r\nQUIT\r\n")
        client.expect(521)
        client.expect_closed()


def test_pipelined_behind_data(server):
    """Commands sent right behind the end of data are commands; those sent ahead of the 354 are content."""
    with server.connect("normalize", stranger=True) as client:
        client.ehlo()
        client.send(f"MAIL FROM:<s@client.example>\r\nRCPT TO:<u9@{DOMAIN}>\r\nDATA\r\nVRFY\r\nMAIL FROM:<x@y.example>\r\n.\r\nVRFY\r\nRSET\r\n")
        assert [client.reply().code for _ in range(6)] == [250, 250, 354, 250, 501, 250]
    [raw] = maildir.wait_messages(server.maildir("u9"), 1)
    assert raw.endswith(b"VRFY\nMAIL FROM:<x@y.example>\n")
    procs.wait_for(lambda: server.queued() == 0, 30, "an empty queue")
    assert maildir.files(server.maildir("u20")) == []
