"""What is changed of a message on its way to a server, and by which way it goes: addresses (generic), headers and lines (checks),
fallback relays, transports that wait. The queue keeps the message as it came."""

import email
import email.policy
import hashlib
import socket
import time

import pytest
from support import mta, outbound, peer, procs
from support.peer import CLOSE, Peer
from support.tableserver import TableServer

GENERIC = """\
local@inside.example outside@example.net
plain@inside.example outside@example.net
user outside.user@example.net
@host.inside.example @example.org
@s{port}.example @mapped.example
two@inside.example one@example.net, two@example.net
"""
HEADERS = """\
/^X-Secret:/ IGNORE
/^X-Gone:/ STRIP internal
/^X-Old: (.*)/ REPLACE X-New: $1
/^X-First:/ PREPEND X-Before: put here
/^X-Warn:/ WARN look at this
/^X-Info:/ INFO just so
/^X-Reject:/ REJECT not here
/^X-Hold:/ HOLD
/^X-Wrong:/ BLAH
/^X-Fine:/ DUNNO
/^Content-Type:/ REPLACE X-Wrong-Table: yes
"""


@pytest.fixture(scope="module")
def there():
    with Peer() as there:
        yield there


@pytest.fixture(scope="module")
def server(make_module_mta, module_folder, there):
    files = {
        "generic": GENERIC.format(port=there.port),
        "headers.pcre": HEADERS,
        "mime.pcre": "/^Content-Disposition:/ IGNORE\n",
        "nested.pcre": "/^Received:/ IGNORE\n/^X-Secret:/ DUNNO\n",
        "body.pcre": "/^secret/ IGNORE\n/^old (.*)/ REPLACE new $1\n/^first/ PREPEND before\n/^dot/ REPLACE .\n/^wide/ REPLACE gr\u00fc\u00dfe\n",
    }
    for name, text in files.items():
        (module_folder / name).write_text(text)
    main = {
        "mydestination": "inside.example",
        "myorigin": "inside.example",
        "recipient_delimiter": "+",
        "propagate_unmatched_extensions": "canonical, virtual, generic",
        "smtp_generic_maps": f"texthash:{module_folder}/generic",
        "message_size_limit": "100000000",
        "notify_classes": "",
        "local_header_rewrite_clients": "static:all",
    }
    checks = {f"smtp_{name}_checks": f"pcre:{module_folder}/{file}" for name, file in
              [("header", "headers.pcre"), ("mime_header", "mime.pcre"), ("nested_header", "nested.pcre"), ("body", "body.pcre")]}
    return outbound.server(make_module_mta, module_folder, {**main, **checks, "lmtp_generic_maps": "inline:{{local@inside.example=box@inside.example}}"})


def send(server, there, content=b"Subject: x\r\n\r\nbody\r\n", **kwargs):
    """What the peer got: (message, its parsed content)."""
    before = len(there.messages)
    result = outbound.attempt(server, f"user@s{there.port}.example", content, **kwargs)["user"]
    assert result["status"] == "sent", result
    message = there.messages[before]
    return message, email.message_from_bytes(peer.undot(message.content), policy=email.policy.default)


# ---- addresses


@pytest.mark.parametrize(
    "sender, mapped",
    [
        ("local@inside.example", "outside@example.net"),
        ("LOCAL@Inside.Example", "outside@example.net"),
        ("local+list@inside.example", "outside+list@example.net"),
        ("user@inside.example", "outside.user@example.net"),
        ("user+x@inside.example", "outside.user+x@example.net"),
        ("user@other.example", "user@other.example"),
        ("anybody@host.inside.example", "anybody@example.org"),
        ("any+body@host.inside.example", "any+body@example.org"),
        ("two@inside.example", "two@inside.example"),
        ("", ""),
    ],
)
def test_sender(server, there, sender, mapped):
    message, _ = send(server, there, sender=sender)
    assert message.mail.split()[1] == f"FROM:<{mapped}>"
    assert [recipient.split()[1] for recipient in message.recipients] == ["TO:<user@mapped.example>"]


def test_not_one_address_is_logged(server, there):
    send(server, there, sender="two@inside.example")
    assert server.wait_log("generic: .one@example.net, two@example.net. of two@inside.example is not one address")


def test_log_and_reports_keep_the_address(server, there):
    queue = outbound.send(server, f"user@s{there.port}.example", sender="local@inside.example")
    [result] = server.wait_deliveries(queue, 1)
    assert result["to"] == f"user@s{there.port}.example" and result["status"] == "sent"
    assert server.lines(f"{queue}: from=<local@inside.example>")


def test_header_addresses(server, there):
    content = (
        b"From: Local User <local+x@inside.example>\r\nTo: two@inside.example, user@inside.example (me),\r\n"
        b' "A, B" <any@host.inside.example>\r\nCc: undisclosed:;\r\nReply-To: other@example.com\r\nSubject: local@inside.example\r\n'
        b"\r\nlocal@inside.example\r\n"
    )
    message, parsed = send(server, there, content)
    assert parsed["From"] == "Local User <outside+x@example.net>"
    assert [a.addr_spec for a in parsed["To"].addresses] == ["two@inside.example", "outside.user@example.net", "any@example.org"]
    assert b'(me),\r\n "A, B" <any@example.org>\r\n' in message.content and b"Cc: undisclosed:;\r\n" in message.content
    assert parsed["Reply-To"] == "other@example.com" and parsed["Subject"] == "local@inside.example"
    assert parsed.get_content() == "local@inside.example\r\n"


def test_without_propagation(make_mta, folder):
    server = outbound.server(
        make_mta, folder, {"recipient_delimiter": "+", "smtp_generic_maps": "inline:{local@inside.example=outside@example.net}"}
    )
    with Peer() as there:
        message, parsed = send(server, there, b"From: local+x@inside.example\r\n\r\n", sender="local+x@inside.example")
        assert message.mail.startswith("MAIL FROM:<outside@example.net>") and parsed["From"] == "outside@example.net"


def test_lmtp_has_its_own(server):
    with Peer(lmtp=True) as there:
        result = outbound.attempt(server, f"user@l{there.port}.example", sender="local@inside.example")["user"]
        assert result["status"] == "sent" and there.messages[0].mail.startswith("MAIL FROM:<box@inside.example>")


# ---- headers and lines


def test_headers(server, there):
    content = b"".join(
        b"X-%s: value\r\n" % name
        for name in (b"Secret", b"Gone", b"Old", b"First", b"Warn", b"Info", b"Reject", b"Hold", b"Wrong", b"Fine")
    )
    queue = outbound.send(server, f"user@s{there.port}.example", content + b"Subject: x\r\n\r\nbody\r\n")
    assert server.wait_deliveries(queue, 1)[0]["status"] == "sent"
    head = there.messages[-1].content.split(b"\r\n\r\n")[0]
    assert head.endswith(
        b"X-New: value\r\nX-Before: put here\r\nX-First: value\r\nX-Warn: value\r\nX-Info: value\r\nX-Reject: value\r\nX-Hold: value\r\n"
        b"X-Wrong: value\r\nX-Fine: value\r\nSubject: x"
    )
    for line in (
        "strip: header X-Gone: value: internal",
        "replace: header X-Old: value: X-New: value",
        "prepend: header X-First: value: X-Before: put here",
        "warning: header X-Warn: value: look at this",
        "info: header X-Info: value: just so",
        "unsupported command in header checks of outgoing mail: REJECT not here",
        "unsupported command in header checks of outgoing mail: HOLD",
        "unsupported command in header checks of outgoing mail: BLAH",
    ):
        assert server.lines(f"smtp.*{queue}: .*{line}"), line
    assert not server.lines(f"{queue}: .*Secret")


def test_parts_and_body(server, there):
    content = (
        b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\nX-Secret: 1\r\n\r\n--b\r\nContent-Type: text/plain\r\n"
        b"Content-Disposition: inline\r\nX-Secret: kept\r\n\r\nsecret\r\nold text\r\nfirst\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"
        b"Received: hop\r\nX-Secret: nested\r\nSubject: inner\r\n\r\nold X-Secret: mail\r\n--b--\r\n"
    )
    message, _ = send(server, there, content)
    assert message.content.split(b"\r\n\r\n--b", 1)[1] == (
        b"\r\nContent-Type: text/plain\r\nX-Secret: kept\r\n\r\nnew text\r\nbefore\r\nfirst\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"
        b"X-Secret: nested\r\nSubject: inner\r\n\r\nnew X-Secret: mail\r\n--b--\r\n"
    )
    assert b"X-Secret: 1" not in message.content and b"\r\nX-Wrong-Table" not in message.content


def test_the_queue_keeps_the_original(server):
    """What a server did not take is changed anew for the next one, from what came."""
    content = b"From: local@inside.example\r\nX-First: 1\r\n\r\nold text\r\n"
    with Peer(end="450 4.3.0 not now") as first, Peer() as second:
        result = outbound.attempt(server, f"user@m{first.port}x{second.port}.example", content)["user"]
        assert result["status"] == "sent"
        [message] = second.messages
        assert message.content.count(b"X-Before") == 1 and b"From: outside@example.net" in message.content and b"new text" in message.content
    with Peer(end="550 5.0.0 never") as there, Peer() as home:
        result = outbound.attempt(server, f"user@s{there.port}.example", content, sender=f"sender@s{home.port}.example")["user"]
        [report] = home.wait_messages(1)
        assert result["status"] == "bounced" and b"From: local@inside.example\r\nX-First: 1\r\n" in report.content


@pytest.mark.parametrize("parameter", ["smtp_generic_maps", "smtp_header_checks", "smtp_body_checks", "smtp_discard_ehlo_keyword_address_maps"])
def test_a_table_that_fails(make_mta, folder, parameter):
    server = outbound.server(make_mta, folder, {parameter: "fail:it", "notify_classes": ""})
    with Peer() as there:
        result = outbound.attempt(server, f"user@s{there.port}.example")["user"]
        assert (result["status"], result["dsn"]) == ("deferred", "4.3.0") and there.messages == []
        assert server.lines("warning: .*(generic_maps|content|discard_ehlo_keyword_address_maps): ")


def test_slow_tables(make_mta, folder):
    """A table of a program's makes the message wait, and each piece of it."""
    with TableServer(lambda request: b"500 none\n") as table, Peer() as there:
        server = outbound.server(
            make_mta, folder, {"smtp_body_checks": f"tcp:127.0.0.1:{table.port}", "smtp_generic_maps": f"tcp:127.0.0.1:{table.port}"}
        )
        body = b"".join(b"line %d\r\n" % number for number in range(200))
        message, _ = send(server, there, b"From: a@b.example\r\nSubject: x\r\n\r\n" + body)
        assert message.content.endswith(b"\r\n\r\n" + body) and len(table.requests) > 200


# ---- together with the rest


def test_dots(server, there):
    message, _ = send(server, there, b"Subject: x\r\n\r\n.\r\ndot\r\n..two\r\n")
    assert message.content.endswith(b"\r\n\r\n..\r\n..\r\n...two\r\n")


def test_8bit_is_converted_after_it(server):
    content = (
        b"MIME-Version: 1.0\r\nX-Old: x\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        b"first gr\xc3\xbc\xc3\x9fe\r\nwide\r\n"
    )
    with Peer(offers=[]) as there:
        message, parsed = send(server, there, content, mail=" BODY=8BITMIME")
        assert message.content.isascii() and parsed["X-New"] == "x"
        assert parsed.get_content().splitlines() == ["before", "first grüße", "grüße"]


@pytest.mark.parametrize("offers", [peer.USUAL, (*peer.USUAL, peer.CHUNKING)], ids=["data", "bdat"])
def test_large(server, offers):
    lines = [b"line %d\r\n" % number + b"." * (number % 3) + b"\r\n" for number in range(100_000)]
    body = b"old start\r\n" + b"".join(lines)
    with Peer(offers=offers) as there:
        message, _ = send(server, there, b"From: local@inside.example\r\nX-Secret: x\r\n\r\n" + body)
        assert ("BDAT" in there.verbs()) == (peer.CHUNKING in offers)
        got = message.content if "BDAT" in there.verbs() else peer.undot(message.content)
        head, got = got.split(b"\r\n\r\n", 1)
        assert head.endswith(b"From: outside@example.net")
        assert hashlib.sha256(got).digest() == hashlib.sha256(body.replace(b"old", b"new", 1)).digest()


# ---- by which way


def fallback(make, folder, port, **main):
    return outbound.server(make, folder, {"smtp_fallback_relay": f"[127.0.0.1]:{port}", "notify_classes": "", **main})


def test_fallback_relay(make_mta, folder):
    with Peer() as relay:
        server = fallback(make_mta, folder, relay.port)
        for moods in ({"greeting": "421 4.3.2 busy"}, {"rcpt": "450 4.2.0 later"}, {"end": "451 4.3.0 later"}, {"mail": CLOSE}):
            before = len(relay.messages)
            with Peer(**moods) as there:
                assert outbound.attempt(server, f"user@s{there.port}.example")["user"]["status"] == "sent"
            assert len(relay.messages) == before + 1
        [port] = procs.free_ports(1)
        result = outbound.attempt(server, f"user@s{port}.example")["user"]
        assert result["status"] == "sent" and f"[127.0.0.1]:{relay.port}" in result["relay"]


@pytest.mark.parametrize("step", ["mail", "rcpt", "data", "end"])
def test_no_fallback_for_a_refusal(make_mta, folder, step):
    with Peer() as relay, Peer(**{step: "550 5.7.1 no"}) as there:
        result = outbound.attempt(fallback(make_mta, folder, relay.port), f"user@s{there.port}.example", sender="")["user"]
        assert (result["status"], result["dsn"]) == ("bounced", "5.7.1") and relay.sessions == []


def test_fallback_after_the_session_limit(make_mta, folder):
    with Peer(mail="450 4.3.0 a") as first, Peer(mail="450 4.3.0 b") as second, Peer() as relay:
        server = fallback(make_mta, folder, relay.port, smtp_mx_session_limit="1")
        assert outbound.attempt(server, f"user@m{first.port}x{second.port}.example")["user"]["status"] == "sent"
        assert len(relay.messages) == 1


def test_fallback_fails_too(make_mta, folder):
    with Peer(mail="450 4.3.1 a") as there, Peer(mail="450 4.3.2 b") as relay:
        result = outbound.attempt(fallback(make_mta, folder, relay.port), f"user@s{there.port}.example")["user"]
        assert (result["status"], result["dsn"]) == ("deferred", "4.3.2")


def test_keywords_by_address(make_mta, folder):
    main = {"smtp_discard_ehlo_keyword_address_maps": "inline:{{127.0.0.1=pipelining,dsn}}", "smtp_discard_ehlo_keywords": "8bitmime"}
    with Peer() as there:
        message, _ = send(outbound.server(make_mta, folder, main), there, mail=" BODY=8BITMIME RET=HDRS")
        assert " BODY=8BITMIME" in message.mail and " RET=" not in message.mail
        assert not any(b"MAIL" in chunk and b"RCPT" in chunk for chunk in there.sessions[0].chunks)


def test_transports_that_wait(make_mta, folder):
    soon = {name: "1s" for name in ("minimal_backoff_time", "maximal_backoff_time", "queue_run_delay")}
    server = outbound.server(make_mta, folder, {"defer_transports": "other, smtp", **soon})
    with Peer() as there:
        queue = outbound.send(server, [f"user@s{there.port}.example", f"user@q{there.port}.example"])
        results = {result["to"]: result for result in server.wait_deliveries(queue, 2)[:2]}
        waiting, sent = results[f"user@s{there.port}.example"], results[f"user@q{there.port}.example"]
        assert (waiting["status"], waiting["dsn"], waiting["text"]) == ("deferred", "4.3.2", "deferred transport")
        assert waiting["relay"] == "none" and sent["status"] == "sent"
        del server.main["defer_transports"]
        server.write_config()
        assert mta.command("-c", server.conf, "reload").returncode == 0
        there.wait_messages(2)


def slowly(session, _):
    """Takes content for two seconds, without a pause that is long, and hangs up."""
    session.sock.sendall(b"354 Go ahead\r\n")
    for _ in range(100):
        session.sock.recv(65536)
        time.sleep(0.02)
    return CLOSE


@pytest.mark.parametrize("deadline, rate, text", [("no", "500", "lost connection"), ("yes", "100", "lost connection"), ("yes", "100000000", "timed out")])
def test_a_deadline_for_the_content(make_mta, folder, deadline, rate, text):
    main = {"smtp_per_request_deadline": deadline, "smtp_min_data_rate": rate, "smtp_data_xfer_timeout": "1s", "message_size_limit": "20000000"}
    server = outbound.server(make_mta, folder, main)
    with Peer(data=slowly) as there:
        there.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        result = outbound.attempt(server, f"user@s{there.port}.example", b"Subject: x\r\n\r\n" + (b"x" * 98 + b"\r\n") * 120_000)["user"]
        assert result["status"] == "deferred" and text in result["text"] and result["text"].endswith("while sending message body")
