"""One message from DATA to the Maildir: what is stored is what was sent."""

import pytest
from support import maildir, smtp
from support.mta import HOSTNAME, QID
from support.setups import DOMAIN

HEAD = b"From: a@client.example\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\nMessage-Id: <1@client.example>\r\n\r\n"

BODIES = {
    "plain": b"hello\r\nworld\r\n",
    "empty": b"",
    "dots": b".\r\n..\r\n.leading\r\nmiddle.\r\n...\r\n",
    "eight bit": "caf\u00e9 \u65e5\u672c\r\n".encode() + b"\x80\xfe\xff\r\n",
    "empty lines": b"\r\n\r\n\r\ntext\r\n\r\n\r\n",
    "from line": b"From somebody\r\n>From quoted\r\n",
    "nul and controls": b"a\x00b\x01\x1b[31m\x7f\tc\r\n",
    "trailing space": b"text  \t \r\n   \r\n",
    "long header-like line": b"X: " + b"y" * 900 + b"\r\n",
    "many lines": b"".join(b"line %d\r\n" % number for number in range(20000)),
    "one chunk boundary": b"z" * 70 + b"\r\n" + (b"x" * 62 + b"\r\n") * 2048,
}


@pytest.mark.parametrize("name", BODIES)
def test_content_arrives_byte_for_byte(hosted, name):
    user = f"u{1 + list(BODIES).index(name)}"
    body = HEAD + BODIES[name]
    smtp.send_mail(hosted.address(), "a@client.example", f"{user}@{DOMAIN}", body)
    [raw] = maildir.wait_messages(hosted.maildir(user), 1)
    maildir.check_delivery(raw, body, "a@client.example", f"{user}@{DOMAIN}", ("Return-Path", "X-Original-To", "Delivered-To"))


def test_five_megabytes_in_odd_pieces(hosted):
    """Content may come in any pieces, split inside CRLF and inside the final dot."""
    body = HEAD + b"".join(b"%07d.%s\r\n" % (number, b"abc." * 16) for number in range(70000))
    wire = smtp.stuff(body)
    with hosted.connect() as client:
        client.ehlo()
        client.envelope("a@client.example", f"u15@{DOMAIN}")
        client.cmd("DATA", 354)
        step, at = 99991, 0
        while at < len(wire):
            client.send(wire[at : at + step])
            at += step
        client.expect(250)
    [raw] = maildir.wait_messages(hosted.maildir("u15"), 1)
    assert maildir.Delivered(raw).rest == maildir.stored(body)


def test_end_of_data_split_at_every_byte(hosted):
    body = HEAD + b"split\r\n"
    wire = smtp.stuff(body)
    with hosted.connect() as client:
        client.ehlo()
        for cut in range(len(wire) - 8, len(wire)):
            client.envelope("a@client.example", f"u16@{DOMAIN}")
            client.cmd("DATA", 354)
            client.send(wire[:cut])
            # A command in flight proves that the first part was read before the second.
            client.send(wire[cut:])
            client.expect(250)
    for raw in maildir.wait_messages(hosted.maildir("u16"), 8):
        assert maildir.Delivered(raw).rest == maildir.stored(body)


def test_message_sent_byte_by_byte(hosted):
    body = HEAD + b".dot\r\n\r\n..\r\nend\r\n"
    with hosted.connect() as client:
        for byte in b"EHLO client.example\r\n":
            client.send(bytes([byte]))
        client.expect(250)
        client.envelope("a@client.example", f"u17@{DOMAIN}")
        client.cmd("DATA", 354)
        for byte in smtp.stuff(body):
            client.send(bytes([byte]))
        client.expect(250)
    [raw] = maildir.wait_messages(hosted.maildir("u17"), 1)
    assert maildir.Delivered(raw).rest == maildir.stored(body)


def test_received_header(hosted):
    """RFC 5321 section 4.4; `for` only when there is one recipient."""
    with hosted.connect() as client:
        client.ehlo("my-name.example")
        queue_id = client.mail("a@client.example", f"u18@{DOMAIN}", HEAD)
        client.mail("a@client.example", [f"u19@{DOMAIN}", f"u20@{DOMAIN}"], HEAD)
    with hosted.connect() as client:
        client.cmd("HELO other.example", 250)
        client.mail("a@client.example", f"u18@{DOMAIN}", HEAD)
    one, other = (maildir.Delivered(raw).received for raw in maildir.wait_messages(hosted.maildir("u18"), 2))
    if one["proto"] == b"SMTP":
        one, other = other, one
    assert (one["helo"], one["by"], one["proto"]) == (b"my-name.example", HOSTNAME.encode(), b"ESMTP")
    assert one["client"].endswith(b"[127.0.0.1]")
    assert one["qid"].decode() == queue_id
    assert one["rcpt"].decode() == f"u18@{DOMAIN}"
    assert (other["helo"], other["proto"]) == (b"other.example", b"SMTP")
    for user in ("u19", "u20"):
        [raw] = maildir.wait_messages(hosted.maildir(user), 1)
        assert maildir.Delivered(raw).received["rcpt"] is None


def test_queue_ids_differ(hosted):
    with hosted.connect() as client:
        client.ehlo()
        ids = {client.mail("", f"u14@{DOMAIN}", HEAD) for _ in range(50)}
    assert len(ids) == 50
    assert all(smtp.re.fullmatch(QID, queue_id) for queue_id in ids)
    maildir.wait_messages(hosted.maildir("u14"), 50)
