"""Connections that serve more than one message: when they do, and what happens when they died in between."""

import re
import threading
import time

import pytest
from support import outbound, peer, procs
from support.peer import CLOSE, Peer
from support.smtp import Smtp


@pytest.fixture(scope="module")
def server(make_module_mta, module_folder):
    always = " ".join(f"[127.0.0.{number}]" for number in range(10, 30))
    server = outbound.server(
        make_module_mta,
        module_folder,
        {"smtp_connection_cache_destinations": always, "smtp_connection_cache_time_limit": "30s"},
        {"thrice": {"type": "smtp", "smtp_connection_reuse_count_limit": "3"}, "hurried": {"type": "smtp", "smtp_connection_cache_time_limit": "1s"}},
    )
    (module_folder / "transport.pcre").write_text(
        "/@c(\\d+)x(\\d+)\\.example$/ smtp:[127.0.0.$1]:$2\n/@t(\\d+)x(\\d+)\\.example$/ thrice:[127.0.0.$1]:$2\n"
        "/@h(\\d+)x(\\d+)\\.example$/ hurried:[127.0.0.$1]:$2\n/@s(\\d+)\\.example$/ smtp:[127.0.0.1]:$1\n"
    )
    server.restart()
    return server


_hosts = iter(range(10, 30))


@pytest.fixture
def kept():
    """A peer whose connections are always kept, and the part of a domain that leads to it."""
    number = next(_hosts)

    def make(**replies):
        there = Peer(host=f"127.0.0.{number}", **replies)
        there.domain = f"{number}x{there.port}.example"
        return there

    return make


def test_one_connection_for_many_messages(server, kept):
    with kept() as there:
        for number in range(5):
            result = outbound.attempt(server, f"user@c{there.domain}")["user"]
            assert result["status"] == "sent" and result["conn_use"] == (None if number == 0 else str(number + 1))
        assert len(there.sessions) == 1 and there.verbs() == ["EHLO"] + ["MAIL", "RCPT", "DATA"] * 5


def test_an_idle_connection_is_closed_in_order(server, kept):
    with kept() as there:
        outbound.attempt(server, f"user@h{there.domain}")
        assert there.sessions[0].ended is None
        procs.wait_for(lambda: there.sessions[0].ended, 10, "the end of the session")
        assert there.sessions[0].ended == "quit"


def test_reuse_count(server, kept):
    with kept() as there:
        for _ in range(7):
            outbound.attempt(server, f"user@t{there.domain}")
        assert [there.verbs(session).count("MAIL") for session in range(3)] == [3, 3, 1]


def test_on_demand(server):
    """One message: no reason to keep the connection. Many at once: few connections."""
    gate = threading.Event()
    gate.set()
    with Peer(end=lambda session, said: gate.wait(60) and "250 2.0.0 Ok") as there:
        domain = f"s{there.port}.example"
        outbound.attempt(server, f"user@{domain}")
        procs.wait_for(lambda: there.sessions[0].ended, 10, "the end of the session")
        gate.clear()  # until all wait, so that each has company
        with Smtp(server.address()) as client:
            client.ehlo()
            for number in range(100):
                client.mail("from@client.example", f"u{number}@{domain}", b"x\r\n")
        gate.set()
        there.wait_messages(101)
        assert len(there.sessions) <= 1 + 20
        recipients = [re.search("<(.*?)@", message.recipients[0])[1] for message in there.messages[1:]]
        assert sorted(recipients) == sorted(f"u{number}" for number in range(100))


@pytest.mark.parametrize("how", ["closed", "421", "421 at mail", "close at mail", "reset"])
def test_a_dead_connection_is_replaced_in_silence(server, kept, how):
    """Whatever the server did meanwhile, the second message goes over a fresh connection, and nothing is logged about that."""
    with kept() as there:
        if how == "421 at mail":
            there.replies["mail"] = ["250 Ok", peer.then_close("421 4.4.2 idle"), "250 Ok"]
        elif how == "close at mail":
            there.replies["mail"] = ["250 Ok", CLOSE, "250 Ok"]
        outbound.attempt(server, f"user@c{there.domain}")
        [first] = there.sessions
        if how == "closed":
            first.sock.shutdown(2)
        elif how == "reset":
            first.sock.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER of 0 s
            first.sock.shutdown(0)
        elif how == "421":
            first.sock.sendall(b"421 4.4.2 idle for too long\r\n")
        result = outbound.attempt(server, f"user@c{there.domain}")["user"]
        assert result["status"] == "sent" and result["conn_use"] in (None, "2")
        assert len(there.messages) == 2
        assert not server.lines(rf"{result['qid']}: (host|lost|conversation)")


def test_after_a_refusal_the_session_goes_on(server, kept):
    with kept(rcpt=["550 5.1.1 no", "250 Ok"]) as there:
        assert outbound.attempt(server, f"user@c{there.domain}")["user"]["status"] == "bounced"
        assert outbound.attempt(server, f"user@c{there.domain}")["user"]["status"] == "sent"
        assert len(there.sessions) == 1 and there.verbs() == ["EHLO", "MAIL", "RCPT", "DATA", "RSET", "MAIL", "RCPT", "DATA"]


def test_a_reload_ends_what_is_kept(server, kept):
    with kept() as there:
        outbound.attempt(server, f"user@c{there.domain}")
        server.child.send_signal(1)
        procs.wait_for(lambda: there.sessions[0].ended, 10, "the end of the session")
        assert there.sessions[0].ended == "quit"
        assert outbound.attempt(server, f"user@c{there.domain}")["user"]["conn_use"] is None


def test_deferred_over_a_kept_connection(server, kept):
    """The server says 4xx: no endless round of kept connections."""
    with kept(rcpt=["250 Ok", "450 4.2.1 later"]) as there:
        outbound.attempt(server, f"user@c{there.domain}")
        result = outbound.attempt(server, f"user@c{there.domain}")["user"]
        assert (result["status"], result["dsn"]) == ("deferred", "4.2.1")
        peer.settle()
        assert sum(verbs.count("RCPT") for verbs in map(there.verbs, range(len(there.sessions)))) <= 3


def test_kill9_in_the_middle(make_mta, folder):
    """50 deliveries are under way when the server is killed: after it comes back each message has arrived, none was lost."""
    stopped = threading.Event()

    def end(session, content):
        if not stopped.is_set():
            stopped.wait(30)
            return CLOSE
        return "250 2.0.0 Ok"

    server = outbound.server(make_mta, folder, {"default_destination_concurrency_limit": "60", "initial_destination_concurrency": "60"})
    with Peer(end=end) as there:
        with Smtp(server.address()) as client:
            client.ehlo()
            for number in range(60):
                client.mail("from@client.example", f"u{number}@s{there.port}.example", b"x\r\n")
        procs.wait_for(lambda: sum("DATA" in there.verbs(session) for session in range(len(there.sessions))) >= 50, 30, "50 deliveries")
        server.kill9()
        stopped.set()
        server.start()
        procs.wait_for(lambda: len({message.recipients[0] for message in there.messages}) == 60, 60, "all messages")
        procs.wait_for(lambda: server.queued() == 0, 30, "an empty queue")
        time.sleep(0.2)
        assert len(there.messages) == 60


def test_shutdown_with_kept_connections(make_mta, folder):
    server = outbound.server(make_mta, folder, {"smtp_connection_cache_destinations": "[127.0.0.1]"})
    with Peer() as there:
        outbound.attempt(server, f"user@s{there.port}.example")
        server.stop()
        procs.wait_for(lambda: there.sessions[0].ended, 10, "the end of the session")
