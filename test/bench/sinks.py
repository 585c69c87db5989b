"""Where mail is relayed to: smtp-sink, one of our own that speaks TLS, and hosts that do not answer."""

import contextlib
import pathlib
import re
import socket

from support import procs

SINK = "/usr/sbin/smtp-sink"
TLS_SINK = pathlib.Path(__file__).with_name("tls_sink.c")
_SESSIONS = 5000


class Sink:
    """A process that takes every message on that port, and prints how many there were."""

    def __init__(self, folder, argv, port):
        self.port = port
        self.path = folder / f"sink-{port}"
        with open(self.path, "wb") as output:
            self.child = procs.spawn(argv, stdout=output)
        procs.wait_for(self._listens, 30, "the sink to listen")

    def _listens(self):
        if self.child.poll() is not None:
            raise RuntimeError(f"the sink ended with {self.child.returncode}")
        with contextlib.suppress(ConnectionError):
            socket.create_connection(("127.0.0.1", self.port), timeout=10).close()
            return True
        return False

    def messages(self):
        """How many it took."""
        with open(self.path, "rb") as output:
            output.seek(max(output.seek(0, 2) - 200, 0))
            found = re.findall(rb"mesg=(\d+)\r", output.read())
        return int(found[-1]) if found else 0

    def stop(self):
        self.child.kill()
        self.child.wait()


@contextlib.contextmanager
def _stopped(sink):
    try:
        yield sink
    finally:
        sink.stop()


def plain(folder, host="127.0.0.1"):
    """smtp-sink, for as long as the context lasts; on that address."""
    (port,) = procs.free_ports(1, host)
    return _stopped(Sink(folder, [SINK, "-u", "nobody", "-c", "-m", _SESSIONS, f"{host}:{port}", "1000"], port))


def tls(folder, cert, key):
    """The same that takes mail only after STARTTLS, with that certificate."""
    program = folder / "tls_sink"
    procs.run(["cc", "-O2", "-std=c17", "-D_GNU_SOURCE", "-pthread", "-o", program, TLS_SINK, "-lssl", "-lcrypto"])
    (port,) = procs.free_ports(1)
    return _stopped(Sink(folder, [program, port, cert, key], port))


@contextlib.contextmanager
def refusing():
    """A port of every address of this host that refuses connections."""
    with socket.socket() as taken:
        taken.bind(("", 0))
        yield taken.getsockname()[1]


@contextlib.contextmanager
def black_hole():
    """A port of every address of this host where a connection attempt has no answer: its backlog is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        for _ in range(10):
            client = stack.enter_context(socket.socket())
            client.settimeout(0.3)
            try:
                client.connect(("127.0.0.1", port))
            except TimeoutError:
                yield port
                return
        raise RuntimeError("the backlog does not fill")
