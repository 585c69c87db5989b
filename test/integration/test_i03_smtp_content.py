"""What becomes of a message's content on its way to a server: nothing, but where SMTP demands it."""

import email
import email.policy
import hashlib
import random

import pytest
from support import outbound, peer
from support.peer import Peer


@pytest.fixture(scope="module")
def server(make_module_mta, module_folder):
    return outbound.server(make_module_mta, module_folder, {"message_size_limit": "100000000"})


def carried(server, there, content, **kwargs):
    """The body as the peer got it, with its dots as on the wire."""
    assert outbound.attempt(server, f"user@s{there.port}.example", b"Subject: x\r\n\r\n" + content, **kwargs)["user"]["status"] == "sent"
    [message] = there.messages
    head, body = message.content.split(b"\r\n\r\n", 1)
    return body


@pytest.mark.parametrize(
    "body, wire",
    [
        (b"", b""),
        (b".\r\n", b"..\r\n"),
        (b"..\r\n", b"...\r\n"),
        (b".\r\n.\r\n", b"..\r\n..\r\n"),
        (b"a\r\n.\r\n", b"a\r\n..\r\n"),
        (b".QUIT\r\n", b"..QUIT\r\n"),
        (b"a.\r\n.b\r\n", b"a.\r\n..b\r\n"),
        (b"\r\n.\r\n\r\n", b"\r\n..\r\n\r\n"),
        (b"x" * 998 + b"\r\n", b"x" * 998 + b"\r\n"),
        (b"x" * 999 + b"\r\n", b"x" * 998 + b"\r\n x\r\n"),
        (b"x" * 998 + b".\r\n", b"x" * 998 + b"\r\n .\r\n"),
        (b"\t lead and trail \t\r\n", b"\t lead and trail \t\r\n"),
        (b"gr\xc3\xbc\xc3\x9fe\r\n", b"gr\xc3\xbc\xc3\x9fe\r\n"),
        (b"\xff\x00\x7f\r\n", b"\xff\x00\x7f\r\n"),
    ],
)
def test_bodies(server, body, wire):
    with Peer() as there:
        assert carried(server, there, body) == wire


def awkward(size):
    """Dots, empty lines and line ends at every place of the pieces that the queue keeps."""
    chance = random.Random(6)
    parts, total = [], 0
    while total < size:
        line = b"." * chance.randrange(3) + b"x" * chance.choice((0, 1, 2, 60, 76, 900)) + b"\r\n"
        parts.append(line)
        total += len(line)
    return b"".join(parts)


@pytest.mark.parametrize("offers", [peer.USUAL, (*peer.USUAL, peer.CHUNKING)], ids=["data", "bdat"])
def test_large(server, offers):
    body = awkward(2_000_000)
    with Peer(offers=offers) as there:
        got = carried(server, there, body)
        verbs = there.verbs()
        assert ("BDAT" in verbs) == (peer.CHUNKING in offers) and ("DATA" in verbs) != ("BDAT" in verbs)
        assert (got if "BDAT" in verbs else peer.undot(got)) == body
        assert sum("LAST" in command for command in there.sessions[0].commands) == (1 if "BDAT" in verbs else 0)


def test_small_mail_needs_no_chunks(server):
    with Peer(offers=(*peer.USUAL, peer.CHUNKING)) as there:
        carried(server, there, b"small\r\n")
        assert "DATA" in there.verbs() and "BDAT" not in there.verbs()


@pytest.mark.parametrize("step, count", [("bdat", 1), ("end", 1)])
def test_a_chunk_refused(server, step, count):
    with Peer(offers=(*peer.USUAL, peer.CHUNKING), **{step: "552 5.3.4 enough"}) as there:
        result = outbound.attempt(server, f"user@s{there.port}.example", awkward(500_000))["user"]
        assert (result["status"], result["dsn"]) == ("bounced", "5.3.4") and "552 5.3.4 enough" in result["text"]
        assert there.messages == []


def test_20_mb(server):
    body = b"".join(b"%075d\r\n" % number for number in range(20_000_000 // 77))
    with Peer() as there:
        got = carried(server, there, body)
        assert hashlib.sha256(got).digest() == hashlib.sha256(body).digest()


EIGHT = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\ngrüße . = \r\n.\r\n".encode()


@pytest.mark.parametrize("offered", [True, False])
def test_8bit(server, offered):
    content = b"MIME-Version: 1.0\r\n" + EIGHT
    with Peer(offers=[peer.EIGHTBIT] if offered else []) as there:
        result = outbound.attempt(server, f"user@s{there.port}.example", content, mail=" BODY=8BITMIME")["user"]
        [message] = there.messages
        assert result["status"] == "sent" and (" BODY=8BITMIME" in message.mail) == offered
        parsed = email.message_from_bytes(peer.undot(message.content), policy=email.policy.default)
        assert parsed.get_content().splitlines() == ["grüße . = ", "."]
        assert parsed["Content-Transfer-Encoding"] == ("8bit" if offered else "quoted-printable")
        assert offered or message.content.isascii()


def test_8bit_in_parts(server):
    content = (
        b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="=_b"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n'
        b"--=_b\r\n" + EIGHT + b"--=_b\r\nContent-Transfer-Encoding: base64\r\n\r\nYWJj\r\n--=_b--\r\n"
    )
    with Peer(offers=[peer.PIPELINING]) as there:
        outbound.attempt(server, f"user@s{there.port}.example", content, mail=" BODY=8BITMIME")
        parsed = email.message_from_bytes(peer.undot(there.messages[0].content), policy=email.policy.default)
        first, second = parsed.iter_parts()
        assert there.messages[0].content.isascii() and parsed["Content-Transfer-Encoding"] == "7bit"
        assert first.get_content().splitlines() == ["grüße . = ", "."] and second.get_payload() == "YWJj"


def test_8bit_as_it_is(make_mta, folder):
    server = outbound.server(make_mta, folder, {"disable_mime_output_conversion": "yes"})
    with Peer(offers=[]) as there:
        outbound.attempt(server, f"user@s{there.port}.example", EIGHT, mail=" BODY=8BITMIME")
        assert "grüße".encode() in there.messages[0].content


@pytest.mark.parametrize(
    "offered, sender, subject, status",
    [
        (True, "grüße@client.example", "x", "sent"),
        (False, "grüße@client.example", "x", "bounced"),
        (False, "from@client.example", "grüße", "bounced"),
        (False, "from@client.example", "x", "sent"),
        (True, "from@client.example", "grüße", "sent"),
    ],
)
def test_smtputf8(server, offered, sender, subject, status):
    with Peer(offers=[peer.PIPELINING, peer.EIGHTBIT] + [peer.SMTPUTF8] * offered) as there:
        content = f"Subject: {subject}\r\n\r\nbody grüße\r\n".encode()
        result = outbound.attempt(server, f"user@s{there.port}.example", content, sender=sender, mail=" BODY=8BITMIME SMTPUTF8")["user"]
        assert result["status"] == status
        if status == "bounced":
            assert result["dsn"] == "5.6.7" and result["text"].startswith("SMTPUTF8 is required, but was not offered by host ")
            assert "MAIL" not in there.verbs()
        else:
            assert (" SMTPUTF8" in there.messages[0].mail) == offered


def test_quoting(server):
    with Peer() as there:
        queue = outbound.send(server, f'"a b"@s{there.port}.example', sender='"x,y"@client.example')
        assert server.wait_deliveries(queue, 1)[0]["status"] == "sent"
        assert there.messages[0].mail.startswith('MAIL FROM:<"x,y"@client.example>')
        assert there.messages[0].recipients[0].startswith(f'RCPT TO:<"a b"@s{there.port}.example>')
