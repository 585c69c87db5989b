"""LMTP: over TCP and over a UNIX socket, with a reply for each recipient, and to a real Dovecot."""

import pytest
from support import maildir, outbound
from support.peer import CLOSE, HANG, Peer


@pytest.fixture(scope="module")
def server(make_module_mta, module_folder):
    return outbound.server(make_module_mta, module_folder)


def test_hello_and_log(server):
    with Peer(lmtp=True) as there:
        result = outbound.attempt(server, f"user@l{there.port}.example")["user"]
        assert result["status"] == "sent" and result["agent"] == "lmtp" and result["relay"] == f"127.0.0.1[127.0.0.1]:{there.port}"
        assert there.sessions[0].commands[0] == "LHLO mail.example.com"


def test_a_status_for_each_recipient(server):
    replies = ["250 2.0.0 one", "552 5.2.2 over quota", "451 4.2.0 locked", "250 2.0.0 four"]
    with Peer(lmtp=True, end=replies, rcpt=lambda session, line: "550 5.1.1 no" if "gone" in line else "250 2.1.5 Ok") as there:
        results = outbound.attempt(server, [f"{name}@l{there.port}.example" for name in ("a", "b", "gone", "c", "d")])
        assert {name: (result["status"], result["dsn"]) for name, result in results.items()} == {
            "a": ("sent", "2.0.0"),
            "b": ("bounced", "5.2.2"),
            "gone": ("bounced", "5.1.1"),
            "c": ("deferred", "4.2.0"),
            "d": ("sent", "2.0.0"),
        }
        assert results["d"]["text"] == "250 2.0.0 four"
        assert results["b"]["text"].endswith("said: 552 5.2.2 over quota (in reply to end of DATA command)")


@pytest.mark.parametrize("last", [CLOSE, HANG], ids=["close", "hang"])
def test_lost_between_two_replies(server, last):
    """Who has an answer has it; the others are tried again."""
    with Peer(lmtp=True, end=["250 2.0.0 one", "552 5.2.2 two", last]) as there:
        results = outbound.attempt(server, [f"{name}@k{there.port}.example" for name in "abcd"])
        assert {name: result["status"] for name, result in results.items()} == {"a": "sent", "b": "bounced", "c": "deferred", "d": "deferred"}
        assert results["c"]["text"].endswith("while sending end of data -- message may be sent more than once")


def test_lhlo_refused(server):
    with Peer(lmtp=True, ehlo="500 5.5.1 what") as there:
        result = outbound.attempt(server, f"user@l{there.port}.example")["user"]
        assert (result["status"], result["dsn"]) == ("bounced", "5.5.1") and "HELO" not in there.verbs()


@pytest.mark.parametrize("final, action", [("no", b"relayed"), ("yes", b"delivered")])
def test_assume_final(make_mta, folder, final, action):
    server = outbound.server(make_mta, folder, {"lmtp_assume_final": final})
    with Peer() as home, Peer(lmtp=True, offers=[]) as there:
        outbound.attempt(server, f"user@l{there.port}.example", sender=f"from@s{home.port}.example", rcpt=" NOTIFY=SUCCESS")
        [report] = home.wait_messages(1)
        assert b"\r\nAction: " + action + b"\r\n" in report.content


def unix_server(make_mta, folder, main=None):
    return make_mta({"virtual_mailbox_domains": "hosted.example", "virtual_mailbox_maps": "static:x", "minimal_backoff_time": "1h", **(main or {})}, start=False)


@pytest.mark.parametrize("relative", [True, False])
def test_unix_socket(make_mta, folder, relative):
    server = unix_server(make_mta, folder)
    path = server.queue / "lmtp"
    server.main["virtual_transport"] = "lmtp:unix:lmtp" if relative else f"lmtp:unix:{path}"
    server.start()
    result = outbound.attempt(server, "user@hosted.example")["user"]
    assert (result["status"], result["dsn"], result["relay"]) == ("deferred", "4.4.1", "none")
    assert result["text"] == f"connect to mail.example.com[{path}]: No such file or directory"
    with Peer(unix=path, lmtp=True) as there:
        server.main["minimal_backoff_time"] = "1s"
        server.restart()
        result = outbound.attempt(server, "other@hosted.example")["other"]
        assert result["status"] == "sent" and result["relay"] == f"mail.example.com[{path}]"
        assert any(message.recipients[0].startswith("RCPT TO:<other@hosted.example>") for message in there.messages)


def test_dovecot(make_mta, folder, dovecot, owner):
    """The README's faster alternative to the pipe; what is not there is refused by Dovecot, recipient by recipient."""
    server = unix_server(make_mta, folder, {"virtual_transport": f"lmtp:unix:{dovecot.lmtp}"})
    server.start()
    recipients = [f"lmtp{number}@hosted.example" for number in range(5)]
    results = outbound.attempt(server, recipients, b"Subject: over LMTP\r\n\r\n.\r\n..\r\nlast\r\n")
    assert {result["status"] for result in results.values()} == {"sent"}
    for recipient in recipients:
        [message] = maildir.wait_messages(dovecot.maildir(recipient), 1)
        assert message.replace(b"\r\n", b"\n").endswith(b"\n\n.\n..\nlast\n")
    # Many messages at once, over few connections.
    queues = [outbound.send(server, "many@hosted.example") for _ in range(40)]
    for queue in queues:
        assert server.wait_deliveries(queue, 1)[0]["status"] == "sent"
    maildir.wait_messages(dovecot.maildir("many@hosted.example"), 40)
