"""A small SMTP client for scripted dialogues: it sends exactly the bytes it is given and reads whole replies.

Unlike smtplib it hides nothing: a test decides what goes into one segment, may leave a line unfinished, and sees every
reply line. Every read has a time limit.
"""

import re
import socket
import ssl
import time

from support import procs

READ_TIMEOUT = 30.0 * procs.PATIENCE


class SmtpError(AssertionError):
    """The server closed, stayed silent or did not speak SMTP."""


class Reply:
    """One SMTP reply: `code`, the text of its `lines`, and the whole as `text`."""

    def __init__(self, code, lines):
        self.code = code
        self.lines = lines

    @property
    def text(self):
        return "\n".join(self.lines)

    def __str__(self):
        return f"{self.code} {self.text}"

    __repr__ = __str__


class Smtp:
    """A connection to an SMTP server. Use it as a context manager. `tls`: the ssl.SSLContext of TLS from the first byte."""

    def __init__(self, address, greet=True, timeout=READ_TIMEOUT, source=None, tls=None):
        self.timeout = timeout
        self.buffer = b""
        self.sock = socket.create_connection(address, timeout=timeout, source_address=source)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.handshake(tls)
        if greet:
            self.expect(220)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    # TLS

    def handshake(self, context, name="mail.example.com", session=None):
        self.sock = context.wrap_socket(self.sock, server_hostname=name, session=session)

    def starttls(self, context, **kwargs):
        self.cmd("STARTTLS", 220, r"^2\.0\.0 Ready to start TLS$")
        assert self.buffer == b"", "something follows the reply to STARTTLS in clear"
        self.handshake(context, **kwargs)

    # Raw input and output

    def send(self, data):
        """Sends these bytes (a str goes as UTF-8) as they are."""
        self.sock.sendall(data.encode() if isinstance(data, str) else data)

    def read_line(self):
        deadline = time.monotonic() + self.timeout
        while b"\n" not in self.buffer:
            self._fill(deadline)
        line, self.buffer = self.buffer.split(b"\n", 1)
        if not line.endswith(b"\r"):
            raise SmtpError(f"reply line does not end in CRLF: {line!r}")
        return line[:-1]

    def _fill(self, deadline):
        self.sock.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            data = self.sock.recv(65536)
        except socket.timeout:
            raise SmtpError(f"no reply within {self.timeout} s; so far {self.buffer!r}") from None
        except (ConnectionError, ssl.SSLError) as error:
            raise SmtpError(f"connection lost: {error}; so far {self.buffer!r}") from None
        if not data:
            raise SmtpError(f"server closed the connection; so far {self.buffer!r}")
        self.buffer += data

    # Replies

    def reply(self):
        """Reads one reply, all its lines."""
        lines, code = [], None
        while True:
            line = self.read_line().decode("utf-8", "surrogateescape")
            match = re.fullmatch(r"([2-5]\d\d)([ -])(.*)", line)
            if not match or code not in (None, match[1]):
                raise SmtpError(f"malformed reply line {line!r} after {lines!r}")
            code = match[1]
            lines.append(match[3])
            if match[2] == " ":
                return Reply(int(code), lines)

    def expect(self, code, pattern=None):
        """Reads one reply and asserts its code and, when given, that `pattern` is found in its text."""
        reply = self.reply()
        assert reply.code == code, f"expected {code}, got: {reply}"
        assert pattern is None or re.search(pattern, reply.text), f"expected /{pattern}/, got: {reply}"
        return reply

    def cmd(self, line, code=None, pattern=None):
        """Sends one command line and returns its reply, asserted like expect() when `code` is given."""
        self.send(line.encode() + b"\r\n" if isinstance(line, str) else line + b"\r\n")
        return self.reply() if code is None else self.expect(code, pattern)

    def expect_closed(self):
        """Asserts that the server sends nothing more and closes."""
        deadline = time.monotonic() + self.timeout
        try:
            while True:
                self._fill(deadline)
        except SmtpError as error:
            if "closed" not in str(error) and "lost" not in str(error):
                raise AssertionError(f"server did not close: {error}") from None
        assert self.buffer == b"", f"unexpected data before the close: {self.buffer!r}"

    # The usual steps

    def ehlo(self, name="client.example"):
        """Says EHLO and returns the announced keywords: {"SIZE": "10240000", "PIPELINING": "", …}."""
        reply = self.cmd("EHLO " + name, 250)
        pairs = (line.partition(" ") for line in reply.lines[1:])
        return {keyword: value for keyword, _, value in pairs}

    def envelope(self, sender, recipients):
        """MAIL FROM and RCPT TO, all of them accepted."""
        self.cmd(f"MAIL FROM:<{sender}>", 250)
        for recipient in [recipients] if isinstance(recipients, str) else recipients:
            self.cmd(f"RCPT TO:<{recipient}>", 250)

    def data(self, body, code=250, pattern=None):
        """DATA with dot-stuffing and the final CRLF.CRLF. `body` is bytes whose lines end in CRLF."""
        self.cmd("DATA", 354)
        self.send(stuff(body))
        return self.expect(code, pattern)

    def mail(self, sender, recipients, body):
        """A whole transaction; returns the queue id of the 250 reply."""
        self.envelope(sender, recipients)
        return queue_id(self.data(body))

    def quit(self):
        self.cmd("QUIT", 221)
        self.expect_closed()


def stuff(body):
    """The bytes that carry `body` after DATA, the final dot included."""
    if body and not body.endswith(b"\r\n"):
        body += b"\r\n"
    return re.sub(rb"(?m)^\.", b"..", body) + b".\r\n"


def queue_id(reply):
    match = re.fullmatch(r"2\.0\.0 Ok: queued as ([0-9A-Za-z]+)", reply.text)
    assert match, f"not an acceptance: {reply}"
    return match[1]


def send_mail(address, sender, recipients, body):
    """Connects, delivers one message, quits. Returns the queue id."""
    with Smtp(address) as smtp:
        smtp.ehlo()
        queue = smtp.mail(sender, recipients, body)
        smtp.quit()
        return queue
