"""What a server says at each step, and what becomes of the mail: each recipient exactly its outcome, nobody's mail twice."""

import threading

import pytest
from support import outbound, peer
from support.peer import CLOSE, HANG, Peer

STEPS = {
    "greeting": None,
    "ehlo": "performing the EHLO handshake",
    "mail": "MAIL FROM command",
    "rcpt": "RCPT TO command",
    "data": "DATA command",
    "end": "end of DATA command",
}
WHILE = {
    "greeting": "receiving the initial server greeting",
    "ehlo": "performing the EHLO handshake",
    "mail": "sending MAIL FROM",
    "rcpt": "sending RCPT TO",
    "data": "sending DATA command",
    "end": "sending end of data -- message may be sent more than once",
}


@pytest.fixture(scope="module")
def server(make_module_mta, module_folder):
    return outbound.server(make_module_mta, module_folder, {"notify_classes": "", "message_size_limit": "100000000"})


def once(server, there, kind="s"):
    result = outbound.attempt(server, f"user@{kind}{there.port}.example")["user"]
    return result["status"], result["dsn"], result["text"].replace(f"127.0.0.1[127.0.0.1]:{there.port}", "PEER").replace("127.0.0.1[127.0.0.1]", "PEER")


@pytest.mark.parametrize("offers", [peer.USUAL, ()], ids=["pipelining", "plain"])
@pytest.mark.parametrize("step", ["mail", "rcpt", "data", "end"])
@pytest.mark.parametrize(
    "reply, status, dsn",
    [
        ("450 4.7.1 come back", "deferred", "4.7.1"),
        ("451 come back", "deferred", "4.0.0"),
        ("550 5.7.1 no", "bounced", "5.7.1"),
        ("554 no", "bounced", "5.0.0"),
        ("554-5.7.9 no\r\n554 5.7.9 never", "bounced", "5.7.9"),
        ("550 4.1.1 no", "bounced", "5.0.0"),
    ],
)
def test_refused(server, offers, step, reply, status, dsn):
    with Peer(offers=offers, **{step: reply}) as there:
        assert once(server, there) == (status, dsn, f"host PEER said: {' '.join(reply.split())} (in reply to {STEPS[step]})")
        assert there.messages == [] and len(there.sessions) == 1
        assert there.sessions[0].ended == "quit" or (step, offers) in [("mail", peer.USUAL), ("rcpt", peer.USUAL), ("data", peer.USUAL)]


@pytest.mark.parametrize(
    "step, reply",
    [(step, reply) for step in ("mail", "rcpt", "data", "end") for reply in ("354 go on", "250 fine") if (step == "data") != reply.startswith("3")],
)
def test_a_reply_that_makes_no_sense_defers(server, step, reply):
    with Peer(offers=(), **{step: reply}) as there:
        status, dsn, text = once(server, there)
        assert (status, dsn) == ("deferred", "4.5.0") and text.startswith(f"Protocol error: host PEER said: {reply} (in reply to")
        assert there.messages == []


@pytest.mark.parametrize(
    "replies, status, dsn, text",
    [
        ({"greeting": "421 4.3.2 busy"}, "deferred", "4.3.2", "host PEER refused to talk to me: 421 4.3.2 busy"),
        ({"greeting": "554 5.7.1 go away"}, "deferred", "4.7.1", "host PEER refused to talk to me: 554 5.7.1 go away"),
        ({"greeting": "354 what"}, "deferred", "4.5.0", "host PEER refused to talk to me: 354 what"),
        ({"ehlo": "421 4.3.2 busy"}, "deferred", "4.3.2", "host PEER refused to talk to me: 421 4.3.2 busy"),
        ({"ehlo": "502 no", "helo": "450 later"}, "deferred", "4.0.0", "host PEER refused to talk to me: 450 later"),
        ({"ehlo": "502 no", "helo": "550 5.7.1 who"}, "bounced", "5.7.1", "host PEER refused to talk to me: 550 5.7.1 who"),
    ],
)
def test_unwelcome(server, replies, status, dsn, text):
    with Peer(**replies) as there:
        assert once(server, there) == (status, dsn, text)


def test_a_5xx_greeting_counts_where_it_is_not_skipped(make_mta, folder):
    server = outbound.server(make_mta, folder, {"smtp_skip_5xx_greeting": "no"})
    with Peer(greeting="554 5.7.1 go away") as there:
        assert once(server, there)[:2] == ("bounced", "5.7.1")


@pytest.mark.parametrize(
    "step, offers",
    [(step, offers) for step in WHILE for offers in (peer.USUAL, ()) if offers or step not in ("greeting", "ehlo")],
    ids=lambda value: value if isinstance(value, str) else "pipelining" if value else "plain",
)
@pytest.mark.parametrize("how", ["close", "half", "garbage", "nothing", "flood"])
def test_lost(server, step, how, offers):
    reply, text, dsn = {
        "close": (CLOSE, "lost connection with PEER while ", "4.4.2"),
        "half": ((b"25", CLOSE), "lost connection with PEER while ", "4.4.2"),
        "garbage": (peer.then_close(b"hello\r\n"), "remote protocol error in reply from PEER while ", "4.5.0"),
        "nothing": (peer.then_close(b"\r\n"), "remote protocol error in reply from PEER while ", "4.5.0"),
        "flood": (peer.then_close(b"250-" + b"x" * 200_000), "remote protocol error in reply from PEER while ", "4.5.0"),
    }[how]
    with Peer(offers=offers, **{step: reply}) as there:
        assert once(server, there, "q") == ("deferred", dsn, text + WHILE[step])
        assert there.messages == [] and len(there.sessions) == 1


def test_hangs(server):
    """All at once, since each takes its time-out."""
    peers = [(step, Peer(offers=offers, **{step: HANG})) for step in WHILE for offers in (peer.USUAL, ())]
    queues = [outbound.send(server, f"user@q{there.port}.example") for _, there in peers]
    for (step, there), queue in zip(peers, queues):
        [result] = server.wait_deliveries(queue, 1)
        assert result["status"] == "deferred" and result["dsn"] == "4.4.2" and there.messages == []
        assert result["text"] == f"conversation with 127.0.0.1[127.0.0.1] timed out while {WHILE[step]}"
        there.close()


def test_a_reply_cut_at_each_byte(server):
    """Whatever the client has when the connection ends, the message is sent once or deferred, never both, never returned."""
    whole = b"250-2.0.0 Ok\r\n250 2.0.0 queued\r\n"
    for size in range(len(whole) + 1):
        with Peer(end=(whole[:size], CLOSE)) as there:
            status, dsn, _ = once(server, there, "q")
            assert (status, dsn) == (("sent", "2.0.0") if size == len(whole) else ("deferred", "4.4.2")), size
            assert len(there.sessions) == 1


def test_each_recipient_its_own_outcome(server):
    answers = {"good1": "250 2.1.5 Ok", "gone": "550 5.1.1 unknown", "later": "450 4.2.2 full", "good2": "250 2.1.5 Ok", "odd": "551 try there"}

    def rcpt(session, line):
        return answers[line.split("<")[1].split("@")[0]]

    for offers in (peer.USUAL, ()):
        with Peer(offers=offers, rcpt=rcpt) as there:
            results = outbound.attempt(server, [f"{name}@s{there.port}.example" for name in answers])
            assert {name: (result["status"], result["dsn"]) for name, result in results.items()} == {
                "good1": ("sent", "2.0.0"),
                "good2": ("sent", "2.0.0"),
                "gone": ("bounced", "5.1.1"),
                "later": ("deferred", "4.2.2"),
                "odd": ("bounced", "5.0.0"),
            }
            [message] = there.messages
            assert len(message.recipients) == 2 and len(there.sessions) == 1


def test_nobody_left_means_no_data(server):
    with Peer(rcpt="550 5.1.1 unknown", offers=()) as there:
        results = outbound.attempt(server, [f"u{number}@s{there.port}.example" for number in range(3)])
        assert all(result["status"] == "bounced" for result in results.values())
        assert "DATA" not in there.verbs()


def test_data_accepted_for_nobody(server):
    """With PIPELINING a server may say 354 although all recipients are refused: it gets no message all the same."""
    with Peer(rcpt="550 5.1.1 unknown", data=b"354 so what\r\n") as there:
        assert once(server, there)[:2] == ("bounced", "5.1.1")
        assert there.messages == [] and there.sessions[0].commands[-1] == "DATA"


def test_421_in_the_middle(server):
    for step in ("mail", "rcpt", "data", "end"):
        with Peer(**{step: peer.then_close("421 4.3.2 shutting down")}) as there:
            status, dsn, _ = once(server, there)
            assert status == "deferred" and dsn == "4.3.2" and there.messages == []


@pytest.mark.parametrize("offers", [peer.USUAL, ()], ids=["pipelining", "plain"])
def test_too_many_recipients(server, offers):
    """452 after two of them: the rest goes in other transactions of the same session."""

    def rcpt(session, line):
        return "250 2.1.5 Ok" if len(session.recipients) < 2 else "452 4.5.3 Too many recipients"

    with Peer(offers=offers, rcpt=rcpt) as there:
        results = outbound.attempt(server, [f"u{number}@s{there.port}.example" for number in range(7)])
        assert {result["status"] for result in results.values()} == {"sent"}
        assert [len(message.recipients) for message in there.messages] == [2, 2, 2, 1] and len(there.sessions) == 1
        assert sorted(rcpt for message in there.messages for rcpt in message.recipients) == sorted(
            {rcpt for message in there.messages for rcpt in message.recipients}
        )


def test_452_about_a_mailbox_is_no_reason_for_another_transaction(server):
    def rcpt(session, line):
        return "452 4.2.2 Mailbox full" if "u1@" in line else "250 2.1.5 Ok"

    with Peer(rcpt=rcpt) as there:
        results = outbound.attempt(server, [f"u{number}@s{there.port}.example" for number in range(3)])
        assert {name: result["status"] for name, result in results.items()} == {"u0": "sent", "u1": "deferred", "u2": "sent"}
        assert len(there.messages) == 1


def test_nobody_listens(server):
    with Peer() as there:
        port = there.port
    result = outbound.attempt(server, f"user@s{port}.example")["user"]
    assert result["status"] == "deferred" and result["relay"] == "none" and result["dsn"] == "4.4.1"
    assert result["text"] == f"connect to 127.0.0.1[127.0.0.1]:{port}: Connection refused"


def test_smaller_than_the_message(server):
    with Peer(offers=["SIZE 1000"]) as there:
        result = outbound.attempt(server, f"user@s{there.port}.example", b"x" * 2000)["user"]
        assert result["status"] == "bounced" and result["dsn"] == "5.3.4" and "exceeds size limit 1000 of server" in result["text"]
        assert "MAIL" not in there.verbs()


@pytest.mark.parametrize("size", ["SIZE 0", "SIZE", "SIZE -1", "SIZE 99999999999999999999999"])
def test_a_size_that_says_nothing(server, size):
    with Peer(offers=[size]) as there:
        assert once(server, there)[0] == "sent"


def test_refused_while_the_content_is_on_its_way(server):
    """The server knows early: its verdict counts, and nothing is left hanging."""

    def data(session, said):
        session.sock.sendall(b"354 go on\r\n")
        session.octets(100_000)
        session.sock.sendall(b"552 5.3.4 enough\r\n")
        return HANG

    with Peer(data=data) as there:
        result = outbound.attempt(server, f"user@s{there.port}.example", (b"x" * 76 + b"\r\n") * 100_000)["user"]
        assert (result["status"], result["dsn"]) == ("bounced", "5.3.4") and "552 5.3.4 enough" in result["text"]


def test_content_that_is_not_taken(server):
    """The server reads nothing after 354: smtp_data_xfer_timeout ends it."""

    def data(session, said):
        session.sock.sendall(b"354 go on\r\n")
        released.wait(60)
        return CLOSE

    released = threading.Event()
    with Peer(data=data) as there:
        result = outbound.attempt(server, f"user@q{there.port}.example", (b"x" * 76 + b"\r\n") * 250_000)["user"]
        released.set()
        assert result["status"] == "deferred" and result["text"].endswith("timed out while sending message body")


# Several hosts


def two(server, first, second):
    recipient = f"user@m{first.port}x{second.port}.example"
    result = outbound.attempt(server, recipient)["user"]
    return result["status"], result["relay"].endswith(f":{second.port}")


@pytest.mark.parametrize(
    "replies",
    [
        {"greeting": "421 busy"},
        {"greeting": "554 go away"},
        {"greeting": HANG},
        {"greeting": CLOSE},
        {"ehlo": "421 no"},
        {"ehlo": "502 no", "helo": "550 no"},
        {"mail": "451 later"},
        {"mail": CLOSE},
        {"rcpt": "451 later"},
        {"rcpt": HANG},
        {"data": "451 later"},
        {"data": CLOSE},
        {"end": "451 later"},
    ],
    ids=str,
)
def test_another_host_takes_it(server, replies):
    with Peer(**replies) as first, Peer() as second:
        assert two(server, first, second) == ("sent", True)
        assert len(second.messages) == 1 and first.messages == []


@pytest.mark.parametrize("replies", [{"mail": "550 no"}, {"rcpt": "550 no"}, {"data": "554 no"}, {"end": "554 no"}], ids=str)
def test_a_refusal_for_good_is_not_tried_elsewhere(server, replies):
    with Peer(**replies) as first, Peer() as second:
        assert two(server, first, second) == ("bounced", False)
        assert second.sessions == []


@pytest.mark.parametrize("end", [HANG, CLOSE, peer.then_close(b"garbage\r\n")], ids=["hang", "close", "garbage"])
def test_no_other_host_when_the_message_may_have_arrived(server, end):
    with Peer(end=end) as first, Peer() as second:
        assert two(server, first, second) == ("deferred", False)
        assert second.sessions == []


def test_only_those_that_the_first_host_deferred_go_to_the_second(server):
    def rcpt(session, line):
        return "450 4.2.1 later" if "later" in line else "550 5.1.1 no" if "gone" in line else "250 2.1.5 Ok"

    with Peer(rcpt=rcpt) as first, Peer() as second:
        domain = f"m{first.port}x{second.port}.example"
        results = outbound.attempt(server, [f"{name}@{domain}" for name in ("good", "later1", "gone", "later2")])
        assert {name: result["status"] for name, result in results.items()} == {"good": "sent", "later1": "sent", "gone": "bounced", "later2": "sent"}
        assert len(first.messages) == len(second.messages) == 1
        assert [rcpt.split("@")[0] for rcpt in first.messages[0].recipients] == ["RCPT TO:<good"]
        assert [rcpt.split("@")[0] for rcpt in second.messages[0].recipients] == ["RCPT TO:<later1", "RCPT TO:<later2"]
        server.wait_log(rf"{results['good']['qid']}: host .* said: 450 4\.2\.1 later \(in reply to RCPT TO command\)")


def test_the_last_host_counts(server):
    with Peer(mail="451 4.1.1 one") as first, Peer(mail="451 4.1.2 two") as second:
        assert two(server, first, second) == ("deferred", True)
