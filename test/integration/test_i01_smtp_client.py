"""The SMTP client with a server that does all right: what it says, what it logs, what the content becomes."""

import re

import pytest
from support import outbound, peer
from support.peer import Peer


@pytest.fixture(scope="module")
def server(make_module_mta, module_folder):
    return outbound.server(make_module_mta, module_folder)


def test_a_message(server):
    with Peer() as there:
        result = outbound.attempt(server, f"user@s{there.port}.example")["user"]
        [message] = there.wait_messages(1)
        assert (result["status"], result["dsn"], result["text"]) == ("sent", "2.0.0", "250 2.0.0 Ok: queued as ABC123")
        assert result["relay"] == f"127.0.0.1[127.0.0.1]:{there.port}" and result["agent"] == "smtp"
        assert re.fullmatch(r"MAIL FROM:<from@client\.example> SIZE=\d+", message.mail)
        assert [rcpt.split(" ORCPT")[0] for rcpt in message.recipients] == [f"RCPT TO:<user@s{there.port}.example>"]
        assert message.content.startswith(b"Received: from client.example") and message.content.endswith(b"\r\n\r\nbody\r\n")
        assert b"Return-Path" not in message.content
        server.wait_removed(result["qid"])
        assert there.verbs() == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]
        assert there.sessions[0].commands[0] == "EHLO mail.example.com"


def test_pipelining_is_one_write_a_group(server):
    with Peer() as there:
        domain = f"s{there.port}.example"
        outbound.attempt(server, [f"u{number}@{domain}" for number in range(20)])
        [session] = there.sessions
        chunks = [chunk for chunk in session.chunks if b"RCPT TO" in chunk]
        assert len(chunks) == 1 and chunks[0].startswith(b"MAIL FROM") and chunks[0].endswith(b"DATA\r\n")
        assert len(there.messages[0].recipients) == 20


def test_without_pipelining_every_reply_is_waited_for(server):
    with Peer(offers=["SIZE"]) as there:
        outbound.attempt(server, [f"u{number}@s{there.port}.example" for number in range(5)])
        assert all(chunk.count(b"\r\n") == 1 for chunk in there.sessions[0].chunks[:8])
        assert there.verbs()[:8] == ["EHLO", "MAIL"] + ["RCPT"] * 5 + ["DATA"]


def test_no_parameters_where_none_are_offered(server):
    with Peer(offers=[]) as there:
        outbound.attempt(server, f"user@s{there.port}.example", mail=" RET=FULL ENVID=abc", rcpt=" NOTIFY=FAILURE ORCPT=rfc822;a+2Bb@c.example")
        [message] = there.messages
        assert (message.mail, message.recipients) == ("MAIL FROM:<from@client.example>", [f"RCPT TO:<user@s{there.port}.example>"])


def test_dsn_parameters(server):
    with Peer() as there:
        domain = f"s{there.port}.example"
        outbound.attempt(
            server, f"user@{domain}", mail=" RET=HDRS ENVID=a+2Bb+3Dc", rcpt=" NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;a+2Bb@c.example"
        )
        [message] = there.messages
        assert message.mail.endswith(" RET=HDRS ENVID=a+2Bb+3Dc")
        assert message.recipients == [f"RCPT TO:<user@{domain}> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;a+2Bb@c.example"]
    with Peer() as there:
        outbound.attempt(server, f"user@s{there.port}.example", rcpt=" NOTIFY=NEVER")
        assert " NOTIFY=NEVER" in there.messages[0].recipients[0]


@pytest.mark.parametrize("offers, reports", [(peer.USUAL, 0), ([peer.PIPELINING], 1)])
def test_who_reports_success(server, offers, reports):
    """The next system, if it says it does; else we say that the mail was relayed."""
    with Peer() as home, Peer(offers=offers) as there:
        sender = f"from@s{home.port}.example"
        result = outbound.attempt(server, f"user@s{there.port}.example", sender=sender, rcpt=" NOTIFY=SUCCESS")["user"]
        server.wait_removed(result["qid"])
        peer.settle()
        assert len(home.messages) == reports
        assert all(b"\r\nAction: relayed\r\n" in message.content for message in home.messages)


@pytest.mark.parametrize("greeting, hello", [("220 peer ESMTP", "EHLO"), ("220 peer", "EHLO")])
def test_hello(server, greeting, hello):
    with Peer(greeting=greeting) as there:
        outbound.attempt(server, f"user@s{there.port}.example")
        assert there.verbs()[0] == hello


def test_helo_where_ehlo_is_refused(server):
    with Peer(ehlo="502 5.5.1 What?") as there:
        assert outbound.attempt(server, f"user@s{there.port}.example")["user"]["status"] == "sent"
        assert there.verbs() == ["EHLO", "HELO", "MAIL", "RCPT", "DATA", "QUIT"]


def test_replies_of_many_lines_in_many_pieces(server):
    def slowly(session, said):
        for byte in b"250-2.1.0 first\r\n250 2.1.0 last\r\n":
            session.sock.sendall(bytes([byte]))
        return b""

    with Peer(greeting=b"220-one\r\n220-two\r\n220 three\r\n", mail=slowly, end=b"250-2.0.0 Ok:\r\n250 2.0.0 all there\r\n") as there:
        result = outbound.attempt(server, f"user@s{there.port}.example")["user"]
        assert result["text"] == "250-2.0.0 Ok: 250 2.0.0 all there"


def test_own_settings_of_a_transport(make_mta, folder):
    server = outbound.server(
        make_mta,
        folder,
        {"smtp_helo_name": "everybody.example"},
        {"own": {"type": "smtp", "smtp_helo_name": "own.example", "syslog_name": "postfix/own", "smtp_discard_ehlo_keywords": "pipelining, SIZE"}},
    )
    (folder / "transport.pcre").write_text("/@o(\\d+)\\.example$/ own:[127.0.0.1]:$1\n/@s(\\d+)\\.example$/ smtp:[127.0.0.1]:$1\n")
    server.restart()
    with Peer() as there, Peer() as other:
        result = outbound.attempt(server, f"user@o{there.port}.example")["user"]
        outbound.attempt(server, f"user@s{other.port}.example")
        assert there.sessions[0].commands[0] == "EHLO own.example" and other.sessions[0].commands[0] == "EHLO everybody.example"
        assert there.messages[0].mail == "MAIL FROM:<from@client.example>"
        server.wait_log(rf" postfix/own/smtp\[\d+\]: {result['qid']}: to=")


def test_source_address(make_mta, folder):
    server = outbound.server(make_mta, folder, {"smtp_bind_address": "127.0.0.9"})
    with Peer() as there:
        outbound.attempt(server, f"user@s{there.port}.example")
        assert there.clients == ["127.0.0.9"]
