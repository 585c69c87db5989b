"""The clients: smtp-source for load, own ones for what it cannot do."""

import contextlib
import os
import pathlib
import socket
import statistics
import subprocess
import threading
import time

from support import procs
from support.smtp import Smtp

from bench import server as servers

SOURCE = "/usr/sbin/smtp-source"
TLS_SOURCE = pathlib.Path(__file__).with_name("tls_client.c")


def send(server, sessions, messages, size=4096, reuse=False, recipients=(f"u1@{servers.DOMAIN}",), numbered=False):
    """Seconds that smtp-source needs; with several recipients one smtp-source each, which share sessions and messages.

    `numbered`: 1, 2, 3 … stand before the recipient.
    """
    share = len(recipients)
    began = time.monotonic()
    children = [
        procs.spawn(
            [SOURCE, "-s", max(1, sessions // share), "-m", max(1, messages // share), "-l", size, "-M", "client.example"]
            + ["-f", "s@client.example", "-t", recipient]
            + (["-d"] if reuse else [])
            + (["-N"] if numbered else [])
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


def build_tls(folder):
    """Makes the program of tls_client.c in that folder, which says what it can do."""
    program = folder / "tls_client"
    procs.run(["cc", "-O2", "-std=c17", "-D_GNU_SOURCE", "-o", program, TLS_SOURCE, "-lssl", "-lcrypto"])
    return program


def tls_sessions(program, server, mode, count, processes):
    """Seconds that so many take; those of mode "resume" were all resumed, others none."""
    done = procs.run([program, mode, server.tls_port, count, processes], timeout=300, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{mode} with {server.name}: {done.stderr.decode(errors='replace')}\n{server.tail()}")
    seconds, resumed = done.stdout.split()
    if int(resumed) != (count if mode == "resume" else 0):
        raise RuntimeError(f"{mode} with {server.name}: {int(resumed)} of {count} sessions were resumed")
    return float(seconds)


@contextlib.contextmanager
def _tls_client(program, server, mode, count):
    """One that says when it is ready and then waits for us."""
    child = procs.spawn(["nice", "-n", "5", program, mode, server.tls_port, count, "1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        if not child.stdout.readline():
            raise RuntimeError(f"{mode} with {server.name} failed:\n{server.tail()}")
        yield child
    finally:
        child.stdin.close()
        child.stdout.close()
        child.wait()
    if child.returncode != 0:
        raise RuntimeError(f"{mode} with {server.name} ended with {child.returncode}:\n{server.tail()}")


def idle_tls_sessions(program, server, count):
    """That many TLS sessions that have said EHLO and wait."""
    return _tls_client(program, server, "idle", count)


def delays_beside_handshakes(program, server, count):
    """Milliseconds that each NOOP of another session, in clear, takes while `count` clients shake hands at once."""
    delays = []
    with Smtp(server.address) as smtp, _tls_client(program, server, "burst", count) as child:
        smtp.ehlo()
        os.setpriority(os.PRIO_PROCESS, 0, -10)  # what is measured is not that our own process has to wait
        try:
            child.stdin.write(b"\n")
            child.stdin.flush()
            while child.poll() is None or len(delays) < 10:
                began = time.perf_counter()
                smtp.cmd("NOOP", 250)
                delays.append((time.perf_counter() - began) * 1000)
                time.sleep(0.002)
        finally:
            os.setpriority(os.PRIO_PROCESS, 0, 0)
        smtp.quit()
    return delays


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
