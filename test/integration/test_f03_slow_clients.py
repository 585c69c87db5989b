"""Clients that say little, read nothing or just sit there: their time runs out, they cost a few KiB each, and nobody else
notices."""

import contextlib
import fcntl
import resource
import socket
import struct
import termios
import threading
import time

import pytest
from support import procs, setups
from support.mta import sanitized
from support.setups import DOMAIN
from support.smtp import Smtp

IDLE = 5000


@pytest.fixture(scope="module")
def files():
    """Enough descriptors for the clients here and, since it inherits the limit, for the server."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * IDLE + 1000
    if hard != resource.RLIM_INFINITY and hard < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
        except (ValueError, OSError):
            pytest.skip(f"no more than {hard} descriptors here")
    else:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def server(files, make_module_mta, module_folder, owner):
    listeners = {
        "smtp": {},
        "impatient": {"smtpd_timeout": "2s", "smtpd_junk_command_limit": "1000000", "smtpd_hard_error_limit": "1000000"},
        "lenient": {"smtpd_junk_command_limit": "1000000"},
    }
    return setups.hosted_server(make_module_mta, module_folder, owner, listeners=listeners)


@contextlib.contextmanager
def crowd(server, count, listener=None, before=None):
    """`count` connections, each client address with no more than it may have. before(sock): ahead of connecting."""
    sockets = []
    try:
        for number in range(count):
            sock = socket.socket()
            if before:
                before(sock)
            sock.bind((f"127.0.1.{1 + number // 50}", 0))
            sock.settimeout(30)
            sock.connect(server.address(listener))
            sockets.append(sock)
        yield sockets
    finally:
        for sock in sockets:
            sock.close()


def read_lines(sock, count):
    """The next replies' lines; whole replies only."""
    data = b""
    while data.count(b"\r\n") < count:
        part = sock.recv(65536)
        assert part, f"closed after {data!r}"
        data += part
    return data


def lets_others_work(server, listener=None):
    """A message from an ordinary client goes through without delay."""
    waits = []
    for _ in range(5):
        started = time.monotonic()
        with server.connect(listener) as client:
            client.ehlo()
            client.mail("s@client.example", f"u1@{DOMAIN}", b"Subject: x\r\n\r\nbody\r\n")
            client.quit()
        waits.append(time.monotonic() - started)
    assert sorted(waits)[2] < 1


def descriptors(server):
    return len(procs.descriptors(server.child.pid))


# What sessions cost, in bytes: as they wait for a command, in a transaction, and within a message. The sanitizer's
# share is not ours.
STAGES = {
    "greeted": (b"", 1, 6_000),
    "ehlo": (b"EHLO client.example\r\n", 10, 6_000),
    "rcpt": (f"EHLO client.example\r\nMAIL FROM:<s@client.example>\r\nRCPT TO:<u2@{DOMAIN}>\r\n".encode(), 12, 9_000),
    "data": (
        f"EHLO client.example\r\nMAIL FROM:<s@client.example>\r\nRCPT TO:<u2@{DOMAIN}>\r\nDATA\r\nSubject: x\r\n\r\nhalf a".encode(), 13, 16_000
    ),
}  # fmt: skip


@pytest.mark.parametrize("stage, count", [("greeted", 1000), ("ehlo", IDLE), ("rcpt", 1000), ("data", 1000)])
def test_idle_sessions_cost_little(files, make_mta, folder, owner, stage, count):
    dialogue, lines, limit = STAGES[stage]
    server = setups.hosted_server(make_mta, folder, owner)
    pid = server.child.pid
    lets_others_work(server)
    open_before, before = descriptors(server), procs.pss(pid)
    with crowd(server, count) as sockets:
        for sock in sockets:
            sock.sendall(dialogue)
        for sock in sockets:
            assert not [line for line in read_lines(sock, lines).split(b"\r\n") if line[:1] in b"45" and line]
        lets_others_work(server)
        each = (procs.pss(pid) - before) / count
        print(f"{stage}: {each:.0f} bytes a session")
        assert each < limit * (8 if sanitized() else 1)
    procs.wait_for(lambda: descriptors(server) <= open_before, 30, "the sessions to be gone")
    lets_others_work(server)


def test_a_byte_at_a_time_is_no_command_in_time(server):
    """A line must be complete in time, however many bytes come."""
    with crowd(server, 100, "impatient") as sockets, server.connect() as reference:
        started = time.monotonic()
        alive, text = list(sockets), {sock: b"" for sock in sockets}
        for sock in sockets:
            sock.settimeout(0)
        while alive:
            assert time.monotonic() - started < 15
            for sock in list(alive):
                try:
                    sock.send(b"N")
                    part = sock.recv(1000)
                    text[sock] += part
                    if not part:
                        alive.remove(sock)
                except BlockingIOError:
                    pass
                except ConnectionError:
                    alive.remove(sock)
            asked = time.monotonic()
            reference.cmd("NOOP", 250) if not int(asked * 3) % 9 else None
            assert time.monotonic() - asked < 1
            time.sleep(0.3)
    assert all(b"421 4.4.2" in said and said.startswith(b"220") for said in text.values())


def test_a_byte_at_a_time_of_content_hurts_nobody(server):
    """Content may go on as long as it comes (as in Postfix); many such clients slow nobody down."""
    with crowd(server, 200, "impatient") as sockets:
        for sock in sockets:
            sock.sendall(STAGES["rcpt"][0] + b"DATA\r\n")
        for sock in sockets:
            read_lines(sock, 13)
        started, cpu = time.monotonic(), procs.cpu_seconds(server.child.pid)
        while time.monotonic() - started < 5:
            for sock in sockets:
                sock.sendall(b"x")
            time.sleep(0.5)
        assert procs.cpu_seconds(server.child.pid) - cpu < 2.5
        lets_others_work(server)
        for sock in sockets:
            sock.sendall(b"\r\n.\r\n")
        for sock in sockets:
            assert read_lines(sock, 1).startswith(b"250 ")


def fill(sockets, data):
    """Sends until nothing moves for a second any more."""
    total, moved = 0, time.monotonic()
    for sock in sockets:
        sock.settimeout(0)
    alive = list(sockets)
    while alive and time.monotonic() - moved < 1:
        for sock in list(alive):
            try:
                total += sock.send(data)
                moved = time.monotonic()
            except BlockingIOError:
                pass
            except ConnectionError:
                alive.remove(sock)
        time.sleep(0.01)
    return total


COMMANDS = {
    "ehlo": b"EHLO x\r\n",
    "rcpt": f"MAIL FROM:<s@client.example>\r\nRCPT TO:<nobody@{DOMAIN}>\r\nRSET\r\n".encode(),
    "unknown": b"FOO\r\n",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_who_does_not_read_is_not_answered_for_ever(server, command):
    """Replies that nobody reads: the server stops to work for that client, keeps little, and hangs up in time."""
    pid, count = server.child.pid, 20

    def small(sock):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)

    lets_others_work(server)
    open_before, before = descriptors(server), procs.pss(pid)
    with crowd(server, count, "impatient", small) as sockets:
        fill(sockets, COMMANDS[command] * (65536 // len(COMMANDS[command])))
        lets_others_work(server)
        assert (procs.pss(pid) - before) / count < (2_000_000 if sanitized() else 300_000)
        procs.wait_for(lambda: descriptors(server) <= open_before, 30, "the server to hang up")
    lets_others_work(server)


def test_who_reads_late_gets_everything(server):
    """A client that begins to read when all buffers are full loses nothing."""
    count = 50_000
    with Smtp(server.address("lenient"), greet=False) as client:
        sender = threading.Thread(target=client.send, args=(b"EHLO x\r\n" * count + b"QUIT\r\n",), daemon=True)
        sender.start()
        procs.wait_for(lambda: is_stuck(client.sock), 30, "full buffers", interval=0.5)
        client.expect(220)
        for _ in range(count):
            client.expect(250)
        client.expect(221)
        client.expect_closed()
        sender.join(10)


def is_stuck(sock):
    """Is there something to read, and has nothing more come or gone for a while?"""

    def queues():
        return [struct.unpack("i", fcntl.ioctl(sock, number, b"    "))[0] for number in (termios.FIONREAD, termios.TIOCOUTQ)]

    before = queues()
    time.sleep(0.5)
    return before[0] > 0 and queues() == before
