"""A server on loopback that speaks enough of MySQL's protocol to be believed, and then whatever a test wants.

It greets, lets everybody in and answers queries from a dict. A test makes it misbehave by replacing one of its steps
with raw bytes, by cutting the stream after some bytes, or by a generator that never ends.
"""

import re
import socket
import threading


def packet(payload, number=0):
    return len(payload).to_bytes(3, "little") + bytes([number & 255]) + payload


def packets(*payloads, first=1):
    """Numbered as the server's part of a dialogue is."""
    return b"".join(packet(payload, first + index) for index, payload in enumerate(payloads))


def text(value):
    """A length-encoded string; None is NULL."""
    if value is None:
        return b"\xfb"
    value = value.encode() if isinstance(value, str) else value
    if len(value) < 251:
        return bytes([len(value)]) + value
    return b"\xfd" + len(value).to_bytes(3, "little") + value


MORE_RESULTS = 0x0008
_STATUS = 0x0002


def ok(status=0):
    return b"\0\0\0" + (_STATUS | status).to_bytes(2, "little") + b"\0\0"


def eof(status=0):
    return b"\xfe\0\0" + (_STATUS | status).to_bytes(2, "little")


def error(number, message, state="HY000"):
    return b"\xff" + number.to_bytes(2, "little") + b"#" + state.encode() + message.encode()


def column(name="value"):
    fixed = b"\x0c\x2d\0\xff\x03\0\0\xfd\0\0\0\0\0"
    return text("def") + text("d") + text("t") + text("t") + text(name) + text(name) + fixed


def result(*rows, status=0):
    """The payloads of a result set of one column."""
    return [b"\x01", column(), eof(), *(text(row) for row in rows), eof(status)]


GREETING = (
    b"\x0a5.5.5-10.11.0-MariaDB\0" + b"\x07\0\0\0" + b"abcdefgh\0" + b"\xfe\xf7\x2d\x02\0\xff\x81\x15"
    + b"\0" * 10 + b"ijklmnopqrst\0" + b"mysql_native_password\0"
)  # fmt: skip


class _Cut(Exception):
    """As many bytes were sent as the test allows."""


class FakeMysql:
    """`answers` maps a pattern to a list of rows; what matches nothing is an empty result.

    greeting, login, names, query -- what is sent at that step instead, all of it: bytes, or a callable that gives an iterable of bytes
    cut -- how many bytes a connection may carry before it is closed, or, with `stall`, says no more
    """

    def __init__(self, answers):
        self.answers = answers
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.sock.getsockname()[1]
        self.received = []  # the queries
        self.heard = b""  # what came after a replaced step
        self.open = set()
        self.behave()
        threading.Thread(target=self._accept, daemon=True).start()

    def behave(self, **steps):
        """Misbehaves as told, or not at all, on new connections; there are no others left."""
        self.greeting = self.login = self.names = self.query = self.cut = None
        self.stall = False
        for name, value in steps.items():
            assert hasattr(self, name), name
            setattr(self, name, value)
        for sock in list(self.open):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.sock.close()

    def _accept(self):
        while True:
            try:
                connection = self.sock.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, sock):
        with sock:
            self.open.add(sock)
            try:
                self._talk(sock, _Budget(sock, self.cut))
            except _Cut:
                if self.stall:
                    self._listen(sock)
            except OSError:
                pass
            finally:
                self.open.discard(sock)

    def _talk(self, sock, out):
        if self._instead(sock, out, self.greeting):
            return
        out.send(packet(GREETING))
        self._read_packet(sock)
        if self._instead(sock, out, self.login):
            return
        out.send(packet(ok(), 2))
        while True:
            command = self._read_packet(sock)
            if command[:1] == b"\x01":
                return
            sql = command[1:].decode(errors="replace")
            if sql.upper().startswith("SET NAMES"):
                if self._instead(sock, out, self.names):
                    return
                out.send(packets(ok()))
                continue
            self.received.append(sql)
            if self._instead(sock, out, self.query):
                return
            rows = next((rows for pattern, rows in self.answers.items() if re.search(pattern, sql)), [])
            out.send(packets(*result(*rows)))

    def _instead(self, sock, out, step):
        """Sends what replaces a step, and then listens until the client has had enough. False: nothing replaces it."""
        if step is None:
            return False
        for part in [step] if isinstance(step, bytes) else step():
            out.send(part)
        self._listen(sock)
        return True

    def _listen(self, sock):
        sock.settimeout(60)
        while data := sock.recv(65536):
            self.heard = (self.heard + data)[-100_000:]

    @staticmethod
    def _read_packet(sock):
        def exactly(count):
            data = b""
            while len(data) < count:
                part = sock.recv(count - len(data))
                if not part:
                    raise ConnectionError
                data += part
            return data

        return exactly(int.from_bytes(exactly(4)[:3], "little"))


class _Budget:
    def __init__(self, sock, left):
        self.sock = sock
        self.left = left

    def send(self, data):
        if self.left is None:
            self.sock.sendall(data)
            return
        self.sock.sendall(data[: self.left])
        self.left -= len(data)
        if self.left <= 0:
            raise _Cut
