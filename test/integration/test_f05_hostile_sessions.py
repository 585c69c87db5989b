"""Sessions that want to break the server or to use it up: the right reply, bounded memory and time, and a session that
is in its right state afterwards: an ordinary message goes through it, and nothing else does."""

import itertools
import threading
import time

import pytest
from support import maildir, procs, setups
from support.mta import sanitized
from support.setups import DOMAIN
from support.smtp import Smtp, stuff

ROOM = 24_000_000 if sanitized() else 4_000_000  # bytes of memory that an attack may cost
HEAD = b"Message-Id: x\r\nDate: x\r\nFrom: x\r\n"


@pytest.fixture(scope="module")
def server(make_module_mta, module_folder, owner):
    """Errors are allowed, so that a session lives to be looked at; "strict" has the limits as they are by default."""
    many = {"smtpd_hard_error_limit": "100000", "smtpd_soft_error_limit": "100000", "smtpd_junk_command_limit": "100000"}
    return setups.hosted_server(make_module_mta, module_folder, owner, listeners={"lenient": many, "strict": {}, "short": {"smtpd_timeout": "3s"}})


class Attack:
    """Runs an attack and then proves that the server is as it was: memory, and that others were served meanwhile."""

    def __init__(self, server, seconds=20):
        self.server = server
        self.seconds = seconds

    def __enter__(self):
        pid = self.server.child.pid
        procs.forget_peak(pid)
        self.before = procs.peak(pid)
        self.started = time.monotonic()
        self.slowest = None
        self.over = threading.Event()
        self.watcher = threading.Thread(target=self._watch, daemon=True)
        self.watcher.start()
        return self

    def _watch(self):
        slowest = 0
        with self.server.connect("lenient", stranger=True, timeout=60) as other:
            while not self.over.wait(0.1):
                asked = time.monotonic()
                other.cmd("RSET", 250)
                slowest = max(slowest, time.monotonic() - asked)
        self.slowest = slowest

    def __exit__(self, kind, *_):
        self.over.set()
        self.watcher.join(60)
        if kind is None:
            assert time.monotonic() - self.started < self.seconds
            assert procs.peak(self.server.child.pid) - self.before < ROOM
            assert self.slowest is not None and self.slowest < 2


_numbers = itertools.count(1)


@pytest.fixture
def user():
    """A mailbox that no other test of this file uses."""
    number = next(_numbers)
    assert number < 19
    return f"u{number}"


@pytest.fixture
def box(server):
    """A mailbox that is empty again."""
    for path in maildir.files(server.maildir("u20")):
        path.unlink()
    return "u20"


def ordinary(server, client, user):
    """A message through this very session; it and no other arrives."""
    body = HEAD + b"Subject: afterwards\r\n\r\n.dots\r\nbody\r\n"
    client.cmd("RSET", 250)
    client.mail("s@client.example", f"{user}@{DOMAIN}", body)
    raws = maildir.wait_messages(server.maildir(user), 1)
    assert maildir.Delivered(raws[0]).rest == maildir.stored(body)


@pytest.fixture
def client(server):
    with server.connect("lenient", stranger=True) as connection:
        connection.ehlo()
        yield connection


def codes(client, count):
    return [client.reply().code for _ in range(count)]


# Before and between commands


def test_commands_before_the_greeting(server, user):
    """Taken or refused, each gets one reply, in order."""
    with Smtp(server.address("lenient"), greet=False, source=("127.0.0.2", 0)) as client:
        client.send(f"EHLO x\r\nMAIL FROM:<s@client.example>\r\nRCPT TO:<{user}@{DOMAIN}>\r\nVRFY\r\n")
        assert codes(client, 5) == [220, 250, 250, 250, 501]
        ordinary(server, client, user)


def test_garbage_before_the_greeting(server, user):
    with Smtp(server.address("lenient"), greet=False, source=("127.0.0.2", 0)) as client:
        client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\0\0\0\r\n\r\n")
        assert codes(client, 4) == [220, 500, 500, 500]
        ordinary(server, client, user)


@pytest.mark.parametrize("line", [b"GET / HTTP/1.1", b"POST /x HTTP/1.0", b"CONNECT a:25 HTTP/1.1", b"Subject: x", b"Host: x"])
def test_other_protocols_end_the_session(server, line):
    """A browser that was sent here carries commands in its body: none of them is worked on."""
    with server.connect("lenient", stranger=True) as client:
        client.send(line + f"\r\nMAIL FROM:<s@client.example>\r\nRCPT TO:<u20@{DOMAIN}>\r\nDATA\r\n\r\n.\r\n".encode())
        client.expect(221)
        client.expect_closed()


def test_pipelined_garbage(server, client, user):
    """Each line has its reply; what is no command changes nothing."""
    client.send(f"MAIL FROM:<s@client.example>\r\nRCPT TO:<{user}@{DOMAIN}>\r\n")
    assert codes(client, 2) == [250, 250]
    junk = [b"\xff\xfe\xfd", b"", b" ", b"DAT", b"DATAA", b"RCPT", b"RCPT TO", b"MAIL", b"\0\0", b"x" * 5000, b"EHLO", b"DATA x", b"  DATA  x", b"BDATA 5", b".", b".."]
    with Attack(server):
        for _ in range(200):
            client.send(b"\r\n".join(junk) + b"\r\n")
            assert all(code in (500, 501, 503) for code in codes(client, len(junk)))
    client.cmd("DATA", 354)
    client.send(stuff(HEAD + b"\r\nstill the first transaction\r\n"))
    client.expect(250)
    [raw] = maildir.wait_messages(server.maildir(user), 1)
    assert raw.endswith(b"\nstill the first transaction\n")


def test_strict_limits_end_it_soon(server):
    """With the limits as they are, garbage is answered a few times and not for ever."""
    for line in (b"\xff\xff", b"", b"DATA", b"VRFY x y z", b"EHLO x", b"RSET", b"BDAT 0", f"RCPT TO:<nobody@{DOMAIN}>".encode()):
        with server.connect("strict", stranger=True) as client:
            client.send((line + b"\r\n") * 1000)
            replies = []
            while not replies or replies[-1] != 421:
                replies.append(client.reply().code)
            client.expect_closed()
            assert len(replies) < 200


# Size


def long_line(server, megabytes, user):
    with server.connect("lenient", stranger=True, timeout=120) as client:
        client.ehlo()
        with Attack(server, 20 + megabytes / 10):
            client.send(b"MAIL FROM:<")
            block = b"x" * 1_000_000
            for _ in range(megabytes):
                client.send(block)
            client.send(b"@x.example>\r\n")
            assert client.reply().code == 501
        ordinary(server, client, user)


def test_a_line_of_100_mb(server, user):
    long_line(server, 100, user)


@pytest.mark.long
def test_a_line_of_1_gb(server, user):
    long_line(server, 1000, user)


def test_a_line_without_end_must_end_in_time(server):
    """smtpd_timeout is for the whole line."""
    with server.connect("short", stranger=True, timeout=60) as client, Attack(server):
        try:
            while True:
                client.send(b"x" * 100_000)
        except OSError:
            pass
    server.wait_log(r"timeout after CONNECT")


def content_of_one_line(server, megabytes, user):
    """A line of content has no limit but the message's."""
    with server.connect("lenient", stranger=True, timeout=120) as client:
        client.ehlo()
        client.envelope("s@client.example", f"{user}@{DOMAIN}")
        client.cmd("DATA", 354)
        with Attack(server, 20 + megabytes / 10):
            block = b"x" * 1_000_000
            for _ in range(megabytes):
                client.send(block)
            client.send(b"\r\n.\r\n")
            client.expect(552, "Message size exceeds|too big|size")
        ordinary(server, client, user)


def test_content_of_one_line_of_100_mb(server, user):
    content_of_one_line(server, 100, user)


@pytest.mark.long
def test_content_of_one_line_of_1_gb(server, user):
    content_of_one_line(server, 1000, user)


def pour(client, data, count):
    """Sends `data` `count` times from a thread, since the replies have to be read meanwhile."""

    def run():
        try:
            for _ in range(count):
                client.send(data)
        except OSError:
            pass  # the server has had enough

    threading.Thread(target=run, daemon=True).start()


def many_recipients(server, client, count, user):
    """The limit's worth is taken, all others get 452; memory does not grow with them."""
    client.cmd("MAIL FROM:<s@client.example>", 250)
    line, batch = f"RCPT TO:<{user}@{DOMAIN}>\r\n".encode(), 1000
    with Attack(server, 30 + count / 5000):
        pour(client, line * batch, count // batch)
        taken, limit = 0, 0
        for _ in range(count):
            code = client.reply().code
            if code == 250:
                taken += 1
                assert limit == 0
            elif code == 452:
                limit += 1
            else:
                assert code == 421
                break
        assert taken == 1000 and limit > 0
    return limit


def test_a_hundred_thousand_recipients(server, client, user):
    assert many_recipients(server, client, 100_000, user) == 99_000
    client.cmd("RSET", 250)
    ordinary(server, client, user)


@pytest.mark.long
def test_ten_million_recipients(server, client, user):
    """In transactions of a thousand, none of which is finished: what one took, the next has again."""
    transaction = b"MAIL FROM:<>\r\n" + f"RCPT TO:<{user}@{DOMAIN}>\r\n".encode() * 1000 + b"RSET\r\n"
    with Attack(server, 1000):
        pour(client, transaction, 10_000)
        replies = 0
        while replies < 10_000 * 1002:
            data = client.sock.recv(1_000_000)
            assert data
            replies += data.count(b"\r\n")
    ordinary(server, client, user)


def test_too_many_recipients_end_the_session(server, user):
    """With the limits as they are: a thousand may be too many, more is an error each."""
    with server.connect("strict", stranger=True) as client:
        client.ehlo()
        assert many_recipients(server, client, 10_000, user) == 1020
        client.expect_closed()


@pytest.mark.parametrize(
    "size, code",
    [("0", 250), ("10240000", 250), ("10240001", 552), ("9223372036854775807", 552), ("9223372036854775808", 552), ("18446744073709551616", 552)]
    + [("9" * 500, 552), ("-1", 501), ("+1", 501), ("1e3", 501), ("0x10", 501), ("1.0", 501), ("", 501), ("0" * 500 + "5", 250), ("٣", 501)],
    ids=lambda value: str(value)[:22],
)
def test_declared_size(client, size, code):
    client.cmd(f"MAIL FROM:<s@client.example> SIZE={size}".encode(), code)
    client.cmd("VRFY", 501)


def test_more_than_declared(server, client, user):
    """SIZE is a hint (RFC 1870 section 6.3): a message that is larger is taken, up to the limit."""
    client.cmd("MAIL FROM:<s@client.example> SIZE=10", 250)
    client.cmd(f"RCPT TO:<{user}@{DOMAIN}>", 250)
    client.data(HEAD + b"\r\n" + b"x" * 70 + b"\r\n")
    maildir.wait_messages(server.maildir(user), 1)


# Headers

BOMBS = {
    "a million headers": (b"X-A: b\r\n", 1_000_000, 250),
    "a million names": (b"a:\r\n", 1_000_000, 250),
    "a million Received": (b"Received: x\r\n", 700_000, 554),
    "folds": (b"\tx\r\n", 1_500_000, 250),
    "spaces before the colon": (b"X" + b" " * 5000 + b": y\r\n", 1000, 250),
    "a name of megabytes": (b"N" * 1000, 9000, 250),
    "colons": (b"::::\r\n", 1_000_000, 250),
    "Bcc": (b"Bcc: a@b.example\r\n", 500_000, 250),
    "Message-Id": (b"Message-Id: <" + b"x" * 1000 + b">\r\n", 9000, 250),
    "a header of 100 MB": (b"x" * 10_000, 10_000, 552),
    "NULs": (b"X-N\0: \0\r\n", 500_000, 250),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_header_bombs(server, client, box, bomb):
    part, count, code = BOMBS[bomb]
    client.envelope("s@client.example", f"{box}@{DOMAIN}")
    client.cmd("DATA", 354)
    with Attack(server, 60):
        client.send(HEAD + b"X-First: ")
        block = max(1, 100_000 // len(part))
        for start in range(0, count, block):
            client.send(part * min(block, count - start))
        client.send(b"\r\nX-Last: y\r\n\r\nthe body\r\n.\r\n")
        assert client.reply().code == code
        if code == 250:
            raw = maildir.wait_messages(server.maildir(box), 1)[0]
            assert raw.endswith(b"\nthe body\n") and b"\nX-First: " in raw
            maildir.files(server.maildir(box))[0].unlink()
    ordinary(server, client, box)


# BDAT


def test_a_megabyte_in_chunks_of_one_byte(server, client, user):
    body = HEAD + b"\r\n" + b"0123456789abcde\r\n" * 3000
    client.envelope("s@client.example", f"{user}@{DOMAIN}")
    with Attack(server, 60):
        for start in range(0, len(body), 1000):
            part = body[start : start + 1000]
            client.send(b"".join(b"BDAT 1\r\n" + part[at : at + 1] for at in range(len(part))))
            for _ in part:
                client.expect(250, r"^2\.0\.0 Ok: 1 bytes$")
        client.cmd("BDAT 0 LAST", 250)
    [raw] = maildir.wait_messages(server.maildir(user), 1)
    assert maildir.Delivered(raw).rest == maildir.stored(body)


def test_after_a_failed_chunk(server, client, box):
    """All following chunks are read and refused, and are never commands; RSET ends that."""
    client.envelope("s@client.example", f"{box}@{DOMAIN}")
    client.cmd("BDAT 0", 551, "Null BDAT request")
    for _ in range(3):
        client.send(b"BDAT 6\r\nQUIT\r\n")
        assert client.expect(551).text.startswith("5.")
    client.cmd(f"RCPT TO:<{box}@{DOMAIN}>", 503)
    client.cmd("DATA", 503)
    client.send(b"BDAT 6 LAST\r\nQUIT\r\n")
    client.expect(551)
    client.cmd("VRFY", 501)
    ordinary(server, client, box)


@pytest.mark.parametrize("command", ["DATA", f"RCPT TO:<u19@{DOMAIN}>", "MAIL FROM:<>"])
def test_other_commands_within_bdat(server, client, box, command):
    """They are refused, and the message is what its chunks are."""
    client.envelope("s@client.example", f"{box}@{DOMAIN}")
    client.send(b"BDAT %d\r\n%s" % (len(HEAD), HEAD))
    client.expect(250)
    client.cmd(command, 503)
    client.send(b"BDAT 9 LAST\r\n\r\n.\r\nend.")
    client.expect(250, "queued as")
    [raw] = maildir.wait_messages(server.maildir(box), 1)
    assert maildir.Delivered(raw).rest == HEAD.replace(b"\r\n", b"\n") + b"\n.\nend.\n"
    assert maildir.files(server.maildir("u19")) == []


@pytest.mark.parametrize("size", ["9223372036854775808", "18446744073709551615", "18446744073709551617", "4294967296000000000000", "-1", "- 1", "1-", "１"])
def test_impossible_chunk_sizes(server, client, size):
    client.envelope("s@client.example", f"u19@{DOMAIN}")
    client.send(f"BDAT {size} LAST\r\nMAIL FROM:<x@y.example>\r\n".encode())
    client.expect(521)
    client.expect_closed()


def test_leading_zeros(server, client, box):
    client.envelope("s@client.example", f"{box}@{DOMAIN}")
    client.send(b"BDAT 0000000000000000000000000000000000%d\r\n%s" % (len(HEAD), HEAD))
    assert client.expect(250).text == f"2.0.0 Ok: {len(HEAD)} bytes"
    client.cmd("BDAT 000 LAST", 250)
    maildir.wait_messages(server.maildir(box), 1)


def test_the_largest_chunk_of_all(server, user):
    """2^63 - 1 bytes: read and thrown away as long as the client likes; nothing is kept."""
    with server.connect("lenient", stranger=True) as client:
        client.ehlo()
        client.envelope("s@client.example", f"{user}@{DOMAIN}")
        with Attack(server):
            client.send(b"BDAT 9223372036854775807 LAST\r\n")
            for _ in range(100):
                client.send(b"x" * 1_000_000)
    server.wait_log(r"lost connection after BDAT \(\d+ bytes\)")
    procs.wait_for(lambda: server.queued() == 0, 30, "an empty queue")
    assert maildir.files(server.maildir(user)) == []


def test_chunk_beyond_the_message_size(server, client, box):
    client.envelope("s@client.example", f"{box}@{DOMAIN}")
    with Attack(server):
        client.send(b"BDAT 20000000\r\n" + b"x" * 20_000_000)
        client.expect(552)
    client.send(b"BDAT 5 LAST\r\nhello")
    client.expect(551)
    ordinary(server, client, box)


def test_a_thousand_sessions_die_in_the_middle_of_content(server):
    """Their halves leave nothing in memory, on disk or in a mailbox."""
    pid = server.child.pid
    with Attack(server, 60):
        for number in range(1000):
            with server.connect("lenient") as client:
                ending = (b"DATA\r\n" + HEAD + b"x" * (number * 100)) if number % 2 else b"BDAT 100000 LAST\r\n" + HEAD + b"x" * (number * 90)
                client.send(f"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<u19@{DOMAIN}>\r\n".encode() + ending)
    procs.wait_for(lambda: len(procs.descriptors(pid)) < 40, 30, "the sessions to be gone")
    procs.wait_for(lambda: server.queued() == 0, 30, "an empty queue")
    assert maildir.files(server.maildir("u19")) == []
