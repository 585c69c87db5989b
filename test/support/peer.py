"""A server on loopback, or on a UNIX socket, that speaks SMTP or LMTP as a test tells it to, and remembers every byte.

Each step has a reply: greeting, ehlo (also LHLO), helo, starttls, auth, mail, rcpt, data, end (of the content), bdat, rset, quit. A reply is
text without its line end, bytes as they are to be sent, HANG, CLOSE (before any reply), or a callable that gets the session and
what was said and answers one of these. A list has one for each time the step comes; its last one stays.
"""

import collections
import os
import re
import socket
import ssl
import threading
import time

from support import procs

HANG = object()  # nothing more is said
CLOSE = object()
PIPELINING, EIGHTBIT, DSN, SMTPUTF8, CHUNKING = "PIPELINING", "8BITMIME", "DSN", "SMTPUTF8", "CHUNKING"
USUAL = (PIPELINING, "SIZE 100000000", EIGHTBIT, DSN, "ENHANCEDSTATUSCODES")

Message = collections.namedtuple("Message", "mail recipients content")
_DEFAULTS = {
    "greeting": "220 peer.example ESMTP",
    "helo": "250 peer.example",
    "starttls": "220 2.0.0 Ready",
    "auth": "504 5.5.4 No",
    "mail": "250 2.1.0 Ok",
    "rcpt": "250 2.1.5 Ok",
    "data": "354 Go ahead",
    "end": "250 2.0.0 Ok: queued as ABC123",
    "bdat": "250 2.0.0 Ok",
    "rset": "250 2.0.0 Ok",
    "quit": "221 2.0.0 Bye",
}


def then_close(reply):
    """The reply, and then the connection is closed."""
    return (reply if isinstance(reply, bytes) else reply.encode() + b"\r\n", CLOSE)


class _Over(Exception):
    pass


class Session:
    """One connection: `commands` as they came, `chunks` what each recv brought, times on the monotonic clock."""

    def __init__(self, peer, sock):
        self.peer, self.sock = peer, sock
        self.secure = False
        self.commands, self.chunks = [], []
        self.buffer = b""
        self.mail, self.recipients, self.content = None, [], b""
        self.rcpts_tried = 0
        self.ended = None  # how the client ended it: "quit", "closed"

    def _fill(self):
        try:
            data = self.sock.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.ended = self.ended or "closed"
            raise _Over
        self.chunks.append(data)
        self.buffer += data

    def start_tls(self):
        """What was said in clear is forgotten."""
        self.buffer = b""
        try:
            self.sock = self.peer.tls.wrap_socket(self.sock, server_side=True)
        except (ssl.SSLError, OSError):
            raise _Over from None
        self.secure = True

    def line(self):
        while b"\n" not in self.buffer:
            self._fill()
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.rstrip(b"\r").decode("utf-8", "surrogateescape")

    def octets(self, count):
        while len(self.buffer) < count:
            self._fill()
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def body(self):
        """Up to the line that is a dot; as it came, dots and all."""
        parts, tail = [], b"\r\n"
        while True:
            while not self.buffer:
                self._fill()
            at = (tail + self.buffer).find(b"\r\n.\r\n")
            if at >= 0:
                end = at + 5 - len(tail)
                parts.append(self.buffer[:end])
                self.buffer = self.buffer[end:]
                return b"".join(parts)[: -len(b".\r\n")]
            parts.append(self.buffer)
            tail = (tail + self.buffer)[-4:]
            self.buffer = b""

    def send(self, reply, said=None):
        """False: the connection is over."""
        if callable(reply):
            reply = reply(self, said)
        for part in reply if isinstance(reply, tuple) else (reply,):
            if part is HANG:
                while True:
                    self._fill()
            if part is CLOSE:
                raise _Over
            self.sock.sendall(part if isinstance(part, bytes) else part.encode() + b"\r\n")


class Peer:
    """Listens from the constructor on. `unix`: the path of a socket; else a loopback port, `address` is "[127.0.0.1]:port".

    tls -- an ssl.SSLContext of a server: STARTTLS is offered; `wrapped`: TLS from the first byte.
    """

    def __init__(self, host="127.0.0.1", port=0, unix=None, lmtp=False, offers=USUAL, tls=None, wrapped=False, **replies):
        self.lmtp, self.offers, self.tls, self.wrapped = lmtp, offers, tls, wrapped
        self.replies = {**_DEFAULTS, **replies}
        self.counts = collections.Counter()
        self.sessions, self.messages, self.clients = [], [], []
        self.lock = threading.Lock()
        if unix is not None:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.bind(str(unix))
            os.chmod(unix, 0o666)
            self.sock.listen(256)
            self.address = f"unix:{unix}"
        else:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self.sock = socket.create_server((host, port), family=family, backlog=256)
            self.port = self.sock.getsockname()[1]
            self.address = f"[{host}]:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        """Nobody can connect any more; sessions go on."""
        self.sock.shutdown(socket.SHUT_RDWR)  # or the thread in accept() would take one more
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _accept(self):
        while True:
            try:
                sock, client = self.sock.accept()
            except OSError:
                return
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.clients.append(client[0] if client else "")
            session = Session(self, sock)
            with self.lock:
                self.sessions.append(session)
            threading.Thread(target=self._serve, args=(session,), daemon=True).start()

    def _serve(self, session):
        try:
            if self.wrapped:
                session.start_tls()
            self._talk(session)
        except (_Over, OSError):
            session.ended = session.ended or "closed"
        session.sock.close()

    def reply(self, step):
        value = self.replies.get(step)
        if not isinstance(value, list):
            return value
        with self.lock:
            self.counts[step] += 1
            return value[min(self.counts[step], len(value)) - 1]

    def _ehlo(self, session):
        custom = self.reply("ehlo")
        if custom is not None:
            return custom
        starttls = ["STARTTLS"] if self.tls and not session.secure else []
        lines = ["peer.example", *self.offers, *starttls]
        return b"".join(f"250{'-' if n < len(lines) - 1 else ' '}{line}\r\n".encode() for n, line in enumerate(lines))

    def _talk(self, session):
        session.send(self.reply("greeting"))
        while True:
            line = session.line()
            session.commands.append(line)
            verb = line.split(" ", 1)[0].upper()
            handler = getattr(self, "_on_" + verb.lower(), None)
            if handler is None:
                session.send("500 5.5.2 What?")
            else:
                handler(session, line)

    def _on_ehlo(self, session, line):
        session.send(self._ehlo(session), line)

    _on_lhlo = _on_ehlo

    def _on_helo(self, session, line):
        session.send(self.reply("helo"), line)

    def _on_starttls(self, session, line):
        reply = self.reply("starttls")
        session.send(reply, line)
        if _text(reply).startswith("2"):
            session.start_tls()

    def _on_auth(self, session, line):
        session.send(self.reply("auth"), line)

    def _on_mail(self, session, line):
        reply = self.reply("mail")
        session.recipients, session.content = [], b""
        session.mail = line
        session.send(reply, line)

    def _on_rcpt(self, session, line):
        reply = self.reply("rcpt")
        if callable(reply):
            reply = reply(session, line)
        if isinstance(reply, str) and reply.startswith("2"):
            session.recipients.append(line)
        session.send(reply, line)

    def _finish(self, session, content):
        with self.lock:
            message = Message(session.mail, list(session.recipients), content)
        count = len(session.recipients) if self.lmtp else 1
        accepted = False
        for _ in range(count):
            reply = self.reply("end")
            if callable(reply):
                reply = reply(session, content)
            if not accepted and re.search("(?m)^2\\d\\d( |$)", _text(reply)):
                accepted = True
                with self.lock:
                    self.messages.append(message)
            session.send(reply, content)

    def _on_data(self, session, line):
        reply = self.reply("data")
        if not session.recipients and reply == _DEFAULTS["data"]:
            reply = "554 5.5.1 No valid recipients"
        session.send(reply, line)
        if _text(reply).startswith("3"):
            self._finish(session, session.body())

    def _on_bdat(self, session, line):
        words = line.split()
        session.content += session.octets(int(words[1]))
        if words[-1].upper() == "LAST":
            self._finish(session, session.content)
        else:
            session.send(self.reply("bdat"), line)

    def _on_rset(self, session, line):
        session.send(self.reply("rset"), line)

    def _on_quit(self, session, line):
        session.ended = "quit"
        session.send(self.reply("quit"), line)
        raise _Over

    # Looking at it

    def wait_messages(self, count, timeout=30):
        return procs.wait_for(lambda: len(self.messages) >= count and list(self.messages), timeout, f"{count} messages at the peer")

    def verbs(self, session=0):
        """What a session said, without arguments."""
        return [command.split(" ", 1)[0].upper() for command in self.sessions[session].commands]


def _text(reply):
    """A reply's first words, whatever its form."""
    if isinstance(reply, tuple):
        reply = reply[0]
    if isinstance(reply, bytes):
        return reply.decode("latin-1")
    return reply if isinstance(reply, str) else ""


def undot(content):
    """Content as it was before its dots were doubled."""
    return re.sub(rb"(?m)^\.", b"", content)


def settle(seconds=0.3):
    """For what must not happen: a moment in which it would."""
    time.sleep(seconds)
