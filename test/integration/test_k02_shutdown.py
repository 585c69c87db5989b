"""SIGTERM and SIGINT: sessions are told, deliveries finish within a bound, everything else stays queued."""

import signal
import socket
import time

import pytest
from support import maildir, procs, setups, smtp
from support.mta import HOSTNAME
from support.setups import DOMAIN


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle(make_mta, folder, owner, number):
    server = setups.hosted_server(make_mta, folder, owner)
    server.ask_to_stop(number)
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(server.address(), timeout=5)


def test_sessions_get_421(make_mta, folder, owner):
    server = setups.hosted_server(make_mta, folder, owner)
    fresh, greeted, enveloped = (server.connect() for _ in range(3))
    greeted.ehlo()
    enveloped.ehlo()
    enveloped.envelope("s@client.example", f"u1@{DOMAIN}")
    server.ask_to_stop()
    for client in (fresh, greeted, enveloped):
        reply = client.expect(421)
        assert reply.text.startswith(f"4.3.2 {HOSTNAME} ")
        client.expect_closed()
        client.close()
    server.stop()
    assert maildir.files(server.maildir("u1")) == []


def test_a_message_on_its_way_in_is_finished_or_refused(make_mta, folder, owner):
    """A client in the middle of DATA gets one answer, and what it says is true."""
    server = setups.hosted_server(make_mta, folder, owner)
    with server.connect() as client:
        client.ehlo()
        client.envelope("s@client.example", f"u1@{DOMAIN}")
        client.cmd("DATA", 354)
        client.send(b"Subject: x\r\n\r\nhalf")
        server.ask_to_stop()
        try:
            client.send(b" and half\r\n.\r\n")
            code = client.reply().code
        except (OSError, smtp.SmtpError):
            code = None
    server.stop()
    assert code in (250, 421, None)
    server.start()
    if code == 250:
        maildir.wait_messages(server.maildir("u1"), 1)
    with server.connect() as client:
        client.cmd("NOOP", 250)
    assert code == 250 or maildir.files(server.maildir("u1")) == []


@pytest.fixture
def commanded(make_mta, folder, owner):
    """A server whose command waits until FOLDER/open exists, and notes each run and each end."""
    script = setups.script(
        folder, "command", f"cat >/dev/null; echo run >>{folder}/runs; while ! test -e {folder}/open; do sleep 0.1; done; echo end >>{folder}/ends\n"
    )
    for name in ("runs", "ends"):
        (folder / name).touch()
        (folder / name).chmod(0o666)
    return make_mta(
        {"virtual_mailbox_domains": DOMAIN, "virtual_mailbox_maps": "static:anything", "virtual_transport": "command"},
        transports={"command": setups.pipe(owner, str(script))},
    )


def send(server, user="u1"):
    with server.connect() as client:
        client.ehlo()
        return client.mail("s@client.example", f"{user}@{DOMAIN}", b"Subject: x\r\n\r\n")


def test_a_running_delivery_may_finish(commanded, folder):
    queue_id = send(commanded)
    procs.wait_for(lambda: (folder / "runs").read_text(), what="the command to run")
    commanded.ask_to_stop()
    (folder / "open").touch()
    commanded.stop()
    assert [entry["status"] for entry in commanded.deliveries(queue_id)] == ["sent"]
    commanded.start()
    commanded.wait_removed(queue_id) if not commanded.lines(f"{queue_id}: removed") else None
    other = send(commanded, "u2")
    commanded.wait_removed(other)
    assert (folder / "runs").read_text().count("run") == 2


def test_a_stuck_delivery_does_not_hold_up_the_end(commanded, folder):
    """The message stays queued and is delivered by the next start."""
    queue_id = send(commanded)
    procs.wait_for(lambda: (folder / "runs").read_text(), what="the command to run")
    started = time.monotonic()
    commanded.stop()
    assert time.monotonic() - started < 30
    (folder / "open").touch()
    commanded.start()
    commanded.wait_removed(queue_id)
    assert commanded.deliveries(queue_id)[-1]["status"] == "sent"


def test_deferred_mail_stays(make_mta, folder, owner):
    script = setups.script(folder, "command", f"cat >/dev/null; test -e {folder}/open || exit 75\n")
    server = make_mta(
        {"virtual_mailbox_domains": DOMAIN, "virtual_mailbox_maps": "static:anything", "virtual_transport": "command"},
        transports={"command": setups.pipe(owner, str(script))},
    )
    ids = [send(server, f"u{number}") for number in range(20)]
    for queue_id in ids:
        server.wait_deliveries(queue_id, 1)
    server.stop()
    assert server.integrity() == "ok"
    (folder / "open").touch()
    server.start()
    for queue_id in ids:
        server.wait_removed(queue_id)


def test_start_and_end_are_logged(make_mta, folder, owner):
    server = setups.hosted_server(make_mta, folder, owner)
    assert server.lines(r"/master\[\d+\]: .*started")
    server.stop()
    assert len(server.lines(r"/master\[\d+\]: ")) >= 2
