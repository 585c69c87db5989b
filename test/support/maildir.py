"""Reading Maildirs, and comparing what was delivered with what was sent."""

import re

from support import procs


def files(maildir):
    """The files in new/ and cur/, oldest name first."""
    return sorted((path for name in ("new", "cur") for path in (maildir / name).glob("*")), key=lambda path: path.name)


def messages(maildir):
    """The messages there now, as bytes."""
    return [path.read_bytes() for path in files(maildir)]


def wait_messages(maildir, count, timeout=30):
    """Waits until at least `count` messages are there, asserts that there are no more, and returns them."""
    procs.wait_for(lambda: len(files(maildir)) >= count, timeout, f"{count} messages in {maildir}")
    found = messages(maildir)
    assert len(found) == count, f"{len(found)} messages in {maildir}, expected {count}"
    return found


# What the server itself puts on top of a message from these tests.
_RECEIVED = re.compile(
    rb"Received: from (?P<helo>\S+) \((?P<client>[^\s()]+ \[[0-9A-Fa-f.:]+\])\)\n"
    rb"\tby (?P<by>\S+) \((?P<name>[^()\n]+)\) with (?P<proto>\S+) id (?P<qid>[0-9A-Za-z]+)(?:;\n\t|\n\tfor <(?P<rcpt>[^>\n]+)>; )"
    rb"(?P<date>\w{3}, [ \d]\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4} \([A-Z0-9+-]+\))\n"
)


class Delivered:
    """One delivered message taken apart: `top` (headers that the delivery put before Received:), `received` (the match of
    the server's own Received: header) and `rest`, which should be what was sent."""

    def __init__(self, raw):
        start = raw.find(b"Received: ")
        self.received = _RECEIVED.match(raw, start) if start >= 0 else None
        assert self.received, f"no Received: header of this server in {raw[:500]!r}"
        self.raw = raw
        self.top = raw[:start]
        self.rest = raw[self.received.end() :]


def stored(body):
    """How a message that was sent with CRLF looks in a mailbox."""
    return body.replace(b"\r\n", b"\n")


def check_delivery(raw, body, sender, recipient, headers=("Return-Path", "Delivered-To")):
    """Asserts that `raw` is `body`, byte for byte, below the server's Received: and exactly the delivery headers named."""
    values = {"Return-Path": f"<{sender}>", "Delivered-To": recipient, "X-Original-To": recipient}
    message = Delivered(raw)
    assert message.top.decode() == "".join(f"{name}: {values[name]}\n" for name in headers)
    assert message.rest == stored(body)
    return message
