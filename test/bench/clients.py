"""The clients: smtp-source for load, own ones for what it cannot do."""

import contextlib
import socket
import statistics
import threading
import time

from support import procs
from support.smtp import Smtp

from bench import server as servers

SOURCE = "/usr/sbin/smtp-source"


def send(server, sessions, messages, size=4096, reuse=False, recipients=(f"u1@{servers.DOMAIN}",)):
    """Seconds that smtp-source needs; with several recipients one smtp-source each, which share sessions and messages."""
    share = len(recipients)
    began = time.monotonic()
    children = [
        procs.spawn(
            [SOURCE, "-s", max(1, sessions // share), "-m", max(1, messages // share), "-l", size, "-M", "client.example"]
            + ["-f", "s@client.example", "-t", recipient]
            + (["-d"] if reuse else [])
            + [f"127.0.0.1:{server.port}"]
        )
        for recipient in recipients
    ]
    for child in children:
        if child.wait() != 0:
            raise RuntimeError(f"smtp-source to {server.name} ended with {child.returncode}:\n{server.tail()}")
    return time.monotonic() - began


def dot_latency(server, count):
    """Median milliseconds from the final dot to its 250 over `count` messages of 4 KiB, one at a time."""
    body = b"Subject: latency\r\n\r\n" + b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n" * 62
    times = []
    with Smtp(server.address) as smtp:
        smtp.ehlo()
        for _ in range(count):
            smtp.envelope("s@client.example", f"u1@{servers.DOMAIN}")
            smtp.cmd("DATA", 354)
            smtp.send(body)
            time.sleep(0.005)  # the server has read that, and what was before is done
            began = time.perf_counter()
            smtp.send(b".\r\n")
            smtp.expect(250)
            times.append(time.perf_counter() - began)
        smtp.quit()
    return statistics.median(times) * 1000


@contextlib.contextmanager
def idle_sessions(server, count):
    """That many sessions that have said EHLO and wait."""
    clients = []
    try:
        for _ in range(count):
            client = socket.create_connection(server.address, timeout=60)
            clients.append(client)
            _reply(client)
            client.sendall(b"EHLO client.example\r\n")
            _reply(client)
        yield
    finally:
        for client in clients:
            client.close()


def _reply(client):
    """Reads a whole reply."""
    got = b""
    while not (got.endswith(b"\r\n") and got.rstrip(b"\r\n").rsplit(b"\r\n", 1)[-1][3:4] == b" "):
        data = client.recv(4096)
        if not data:
            raise RuntimeError(f"the server closed: {got!r}")
        got += data
    if got[:1] != b"2":
        raise RuntimeError(f"refused: {got!r}")


class Sampler:
    """Calls `value()` now and then in a thread of its own, and keeps the largest."""

    def __init__(self, value, interval):
        self.value, self.interval, self.most = value, interval, 0.0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        while not self.over.wait(self.interval):
            self.most = max(self.most, self.value())

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
