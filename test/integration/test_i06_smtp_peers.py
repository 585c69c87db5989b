"""Real servers at the other end: Debian's Postfix, and smtp-sink in its moods."""

import contextlib
import os
import pathlib
import re
import socket
import sys

import pytest
from support import maildir, outbound, procs
from support.smtp import Smtp

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from bench.postfix import Postfix  # noqa: E402
from bench.server import Setup  # noqa: E402


@pytest.fixture(scope="module")
def server(make_module_mta, module_folder):
    return outbound.server(make_module_mta, module_folder, {"message_size_limit": "50000000"})


@pytest.fixture(scope="module")
def postfix(module_folder, owner):
    """Delivers to a few users' Maildirs, refuses everybody else, has no SMTPUTF8."""
    if os.geteuid() != 0:
        pytest.skip("Postfix wants to be started by root")
    port, tls_port = procs.free_ports(2)
    peer = Postfix(module_folder / "postfix", port, tls_port)
    vmail = module_folder / "vmail"
    vmail.mkdir(mode=0o777)
    vmail.chmod(0o777)
    main = {
        "myhostname": "postfix.example",
        "mydestination": "",
        "virtual_mailbox_domains": "static:all",
        "virtual_mailbox_maps": f"texthash:{module_folder}/mailboxes",
        "virtual_mailbox_base": vmail,
        "virtual_uid_maps": f"static:{owner.uid}",
        "virtual_gid_maps": f"static:{owner.gid}",
        "message_size_limit": "50000000",
        "mailbox_size_limit": "0",
        "virtual_mailbox_limit": "0",
        "smtpd_recipient_limit": "20",
        "smtputf8_enable": "no",
    }
    users = ["first", "second", "large", "many", *(f"r{number}" for number in range(50))]
    (module_folder / "mailboxes").write_text("".join(f"{user}@s{port}.example {user}/\n" for user in users))
    peer.start(Setup(main))
    peer.maildir = lambda user: vmail / user
    yield peer
    peer.stop()


def test_postfix(server, postfix):
    domain = f"s{postfix.port}.example"
    results = outbound.attempt(server, [f"first@{domain}", f"unknown1@{domain}", f"second@{domain}"], b"Subject: x\r\n\r\n.\r\n..a\r\n\r\n")
    assert {name: (result["status"], result["dsn"]) for name, result in results.items()} == {
        "first": ("sent", "2.0.0"),
        "second": ("sent", "2.0.0"),
        "unknown1": ("bounced", "5.1.1"),
    }
    assert re.fullmatch(r"250 2\.0\.0 Ok: queued as \w+", results["first"]["text"])
    assert "550 5.1.1 <unknown1@" in results["unknown1"]["text"] and results["unknown1"]["text"].endswith("(in reply to RCPT TO command)")
    for user in ("first", "second"):
        [message] = maildir.wait_messages(postfix.maildir(user), 1)
        assert message.endswith(b"\n\n.\n..a\n\n")


def test_postfix_takes_20_mb_by_chunks(server, postfix):
    body = b"".join(b"%075d\r\n" % number for number in range(20_000_000 // 77))
    result = outbound.attempt(server, f"large@s{postfix.port}.example", b"Subject: x\r\n\r\n" + body)["large"]
    assert result["status"] == "sent"
    [message] = maildir.wait_messages(postfix.maildir("large"), 1)
    assert message.endswith(b"\n\n" + body.replace(b"\r\n", b"\n"))


def test_postfix_limits_recipients(server, postfix):
    """It says 452 4.5.3 after 20: three transactions."""
    names = [f"r{number}" for number in range(50)]
    results = outbound.attempt(server, [f"{name}@s{postfix.port}.example" for name in names])
    assert {result["status"] for result in results.values()} == {"sent"}
    for name in names:
        maildir.wait_messages(postfix.maildir(name), 1)


def test_postfix_many(server, postfix):
    with Smtp(server.address()) as client:
        client.ehlo()
        for _ in range(200):
            client.mail("from@client.example", f"many@s{postfix.port}.example", b"Subject: x\r\n\r\nbody\r\n")
    maildir.wait_messages(postfix.maildir("many"), 200, timeout=60)
    assert len(server.lines(rf"relay=\S+:{postfix.port}, conn_use=\d+, ")) > 100


@contextlib.contextmanager
def sink(*options):
    [port] = procs.free_ports(1)
    user = ["-u", "postfix"] if os.geteuid() == 0 else []
    child = procs.spawn(["smtp-sink", *user, *options, f"127.0.0.1:{port}", "100"])

    def listens():
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
            return True
        except ConnectionError:
            return False

    procs.wait_for(listens, 30, "smtp-sink to listen")
    try:
        yield port
    finally:
        procs.terminate(child)


@pytest.mark.parametrize(
    "options, status, dsn",
    [
        ((), "sent", "2.0.0"),
        (("-8",), "sent", "2.0.0"),
        (("-e",), "sent", "2.0.0"),
        (("-E",), "sent", "2.0.0"),
        (("-p",), "sent", "2.0.0"),
        (("-F",), "sent", "2.0.0"),
        (("-f", "mail"), "bounced", "5.3.0"),
        (("-f", "rcpt"), "bounced", "5.3.0"),
        (("-f", "data"), "bounced", "5.3.0"),
        (("-f", "."), "bounced", "5.3.0"),
        (("-r", "rcpt"), "deferred", "4.3.0"),
        (("-r", "."), "deferred", "4.3.0"),
        (("-q", "mail"), "deferred", "4.4.2"),
        (("-q", "data"), "deferred", "4.4.2"),
        (("-q", "."), "deferred", "4.4.2"),
    ],
    ids=lambda value: "".join(value) if isinstance(value, tuple) else None,
)
def test_sink(server, options, status, dsn):
    with sink("-c", *options) as port:
        result = outbound.attempt(server, f"user@s{port}.example")["user"]
        assert (result["status"], result["dsn"]) == (status, dsn), result


def test_lmtp_sink(server):
    with sink("-L") as port:
        results = outbound.attempt(server, [f"u{number}@l{port}.example" for number in range(10)])
        assert {result["status"] for result in results.values()} == {"sent"}
