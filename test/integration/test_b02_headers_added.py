"""Missing Message-Id, Date and From are added for local clients only; what is there stays as it is."""

import re

import pytest
from support import maildir
from support.mta import HOSTNAME
from support.setups import DOMAIN


def deliver(hosted, user, body, stranger=False, sender="s@client.example"):
    with hosted.connect(stranger=stranger) as client:
        client.ehlo()
        queue_id = client.mail(sender, f"{user}@{DOMAIN}", body)
    [raw] = maildir.wait_messages(hosted.maildir(user), 1)
    return queue_id, maildir.Delivered(raw).rest


def test_all_missing(hosted):
    queue_id, rest = deliver(hosted, "u1", b"Subject: x\r\n\r\nbody\r\n")
    head, body = rest.decode().split("\n\n", 1)
    assert body == "body\n"
    lines = head.split("\n")
    assert lines[0] == "Subject: x"
    assert re.fullmatch(rf"Message-Id: <\d{{14}}\.{queue_id}@{re.escape(HOSTNAME)}>", lines[1])
    assert re.fullmatch(r"Date: \w{3}, [ \d]\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4} \(\w+\)", lines[2])
    assert lines[3:] == ["From: s@client.example"]


def test_no_header_at_all(hosted):
    _, rest = deliver(hosted, "u2", b"\r\nbody only\r\n")
    assert rest.endswith(b"\nFrom: s@client.example\n\nbody only\n")


def test_body_without_an_empty_line(hosted):
    """Text that is no header begins the body, even without an empty line before it."""
    _, rest = deliver(hosted, "u3", b"this is no header\r\n")
    assert rest.endswith(b"\nFrom: s@client.example\n\nthis is no header\n")


def test_null_sender(hosted):
    _, rest = deliver(hosted, "u4", b"Subject: x\r\n\r\n", sender="")
    assert b"\nFrom: MAILER-DAEMON" in rest


@pytest.mark.parametrize(
    "user, head",
    [("u5", b"From: A <a@client.example>\r\nDATE: now\r\nmessage-id: <x@y>\r\n"), ("u6", b"from:\r\n a@client.example\r\nDate: x\r\nMessage-ID: x\r\n")],
)
def test_present_ones_stay(hosted, user, head):
    body = head + b"\r\ntext\r\n"
    assert deliver(hosted, user, body)[1] == maildir.stored(body)


def test_strangers_mail_stays_as_it_is(hosted):
    body = b"Subject: from afar\r\n\r\nbody\r\n"
    assert deliver(hosted, "u7", body, stranger=True)[1] == maildir.stored(body)


def test_other_headers(hosted):
    """They pass unchanged, in their order, folded as they were."""
    body = b"Subject: a\r\n\tb\r\nX-A: 1\r\nx-a: 2\r\nDate: x\r\nMessage-Id: x\r\nFrom: x\r\n\r\n"
    assert deliver(hosted, "u8", body, stranger=True)[1] == maildir.stored(body)


def test_dropped_headers(hosted):
    """message_drop_headers: Bcc would tell the others, Return-Path is ours to write; whatever the case, folded or not."""
    kept = b"Subject: x\r\nX-Bcc: stays\r\nFrom: x\r\nDate: x\r\nMessage-Id: x\r\n"
    body = b"BCC: a@x.example,\r\n b@x.example\r\n" + kept + b"Return-Path: <forged@x.example>\r\nresent-bcc: c@x.example\r\n\r\nBcc: in the body\r\n"
    assert deliver(hosted, "u9", body, stranger=True)[1] == maildir.stored(kept + b"\r\nBcc: in the body\r\n")
