"""What the two servers have in common for a measurement, and mta itself.

A Server lives in a folder of its own. `start` takes a Setup, which both understand: their parameters have the same
names. Several queue directories may exist side by side; `start` says which one is used.
"""

import collections
import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import time

from support import procs
from support.smtp import Smtp, SmtpError

from bench import machine

DOMAIN = "hosted.example"  # hosted here
FAR = "far.example"  # nobody answers there: its mail waits

# main: parameters of both. own: {server name: parameters of only that one}. pipes: {transport: (flags, user, argv)}. smtps:
# parameters of a second listener where TLS begins with the first byte, None: there is none.
Setup = collections.namedtuple("Setup", "main own pipes smtps", defaults=({}, {}, {}, None))


class Server:
    name = ""

    def __init__(self, folder, port, tls_port):
        self.folder = folder
        self.port = port
        self.tls_port = tls_port
        self.conf = folder / "conf"
        self.log = folder / "log"
        self.queue = None
        self.child = None
        folder.mkdir(mode=0o755)

    @property
    def address(self):
        return ("127.0.0.1", self.port)

    def start(self, setup, queue="queue", trace=None):
        """Starts with the queue directory of that name, and waits for the greeting. `trace`: argv to run it under."""
        self.queue = self.folder / queue
        self.queue.mkdir(mode=0o755, exist_ok=True)
        self.write_config({**setup.main, **setup.own.get(self.name, {})}, setup.pipes, setup.smtps)
        with open(self.folder / "output", "ab") as output:
            self.child = procs.spawn([*(trace or []), *self.argv()], stdout=output, stderr=output)
        procs.wait_for(self._greets, 120, f"{self.name} to greet", interval=0.002)

    def _greets(self):
        if self.child.poll() is not None:
            raise RuntimeError(f"{self.name} ended with {self.child.returncode}:\n{self.tail()}")
        try:
            with Smtp(self.address, timeout=60) as smtp:
                smtp.quit()
            return True
        except (ConnectionError, SmtpError, socket.timeout):
            return False

    def stop(self):
        if self.child is None:
            return
        try:
            self.ask_to_stop()
            procs.wait_end(self.child, 120)
        finally:
            self.child = None

    def abort(self):
        """Before stop(), when the queue is of no more use: it need not wait for what it is doing."""

    def tail(self):
        """What it said last."""
        said = b"".join(path.read_bytes()[-2000:] for path in (self.folder / "output", self.log) if path.exists())
        return said.decode(errors="replace")

    def remove_queue(self, queue):
        """The log too, which becomes long."""
        shutil.rmtree(self.folder / queue, ignore_errors=True)
        self.log.unlink(missing_ok=True)

    def wait_empty(self, timeout=600):
        """Until everything is delivered."""
        procs.wait_for(self.is_empty, timeout, f"{self.name}'s queue to be empty", interval=0.01)

    def root(self):
        """The id of the process that all others of the server are below of."""
        return self.child.pid

    def cpu(self):
        return machine.tree_cpu(self.root())

    def pss(self):
        return machine.tree_pss(self.root())


class Mta(Server):
    name = "mta"

    def __init__(self, folder, port, tls_port, binary):
        super().__init__(folder, port, tls_port)
        self.binary = binary
        self.database = (None, None)  # path, connection

    def write_config(self, main, pipes, smtps):
        settings = {"queue_directory": self.queue, "maillog_file": self.log, **main}
        lines = [f"{name} = {value}" for name, value in settings.items()]
        lines += ["[listener smtp]", f"listen = 127.0.0.1:{self.port}"]
        if smtps is not None:
            lines += ["[listener smtps]", f"listen = 127.0.0.1:{self.tls_port}"] + [f"{name} = {value}" for name, value in smtps.items()]
        for name, (flags, user, argv) in pipes.items():
            lines += [f"[transport {name}]", "type = pipe", f"flags = {flags}", f"user = {user}", f"argv = {argv}"]
        self.conf.write_text("\n".join(lines) + "\n")

    def argv(self):
        return [self.binary, "-c", self.conf]

    def list_argv(self):
        return [self.binary, "-c", self.conf, "queue", "list"]

    def root(self):
        """The process itself, also when it runs under a tracer."""
        for pid in machine.tree(self.child.pid):
            with contextlib.suppress(OSError):
                if os.path.samefile(f"/proc/{pid}/exe", self.binary):
                    return pid
        raise RuntimeError(f"mta has ended:\n{self.tail()}")

    def ask_to_stop(self):
        if self.child.poll() is None:
            os.kill(self.root(), signal.SIGTERM)
        if self.database[1] is not None:
            self.database[1].close()
            self.database = (None, None)

    def abort(self):
        self.child.kill()
        self.child.wait()

    def _query(self, sql):
        path = self.queue / "queue.db"
        if self.database[0] != path:
            self.database = (path, sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30, isolation_level=None))
        return self.database[1].execute(sql).fetchone()[0]

    def is_empty(self):
        return not self._query("SELECT EXISTS(SELECT 1 FROM message)")

    def untried(self):
        """How many recipients had no attempt yet."""
        return self._query("SELECT COUNT(*) FROM rcpt WHERE attempts = 0")


def first_250(server, setup, queue, recipient):
    """Starts the server; seconds until it has accepted a message."""
    began = time.monotonic()
    server.start(setup, queue)
    with Smtp(server.address) as smtp:
        smtp.ehlo()
        smtp.envelope("s@client.example", recipient)
        smtp.data(b"Subject: first\r\n\r\nfirst\r\n")
        seconds = time.monotonic() - began
        smtp.quit()
    return seconds
