"""No room: on the queue's disk, in a mailbox, by a file-size limit. Mail is refused for the moment or waits; nothing that
was accepted is lost; when there is room again everything goes on without a restart."""

import contextlib
import os

import pytest
from support import disks, maildir, procs, setups
from support.load import Load
from support.setups import DOMAIN

MB = 1 << 20
FULL = r"^4\.3\.1 Insufficient system storage$"


@pytest.fixture
def on_small_disk(make_mta, folder, owner):
    """on_small_disk(size, main, …): a hosting server whose queue has a disk of its own; returns (server, disk)."""
    with contextlib.ExitStack() as stack:

        def make(size, main=None, **kwargs):
            settings = {"virtual_mailbox_limit": "0", "message_size_limit": "0"} | (main or {})
            server = setups.hosted_server(make_mta, folder, owner, settings, start=False, **kwargs)
            disk = stack.enter_context(disks.mounted(server.queue, size))
            stack.callback(server.stop)  # before the disk goes
            return server.start(), disk

        yield make


def wait_reply(client, command, code):
    """Repeats a command until it gets this code (free space is looked at once a second), and returns the reply."""

    def tried():
        reply = client.cmd(command)
        if reply.code != code and reply.code == 250:
            client.cmd("RSET", 250)
        return reply if reply.code == code else None

    return procs.wait_for(tried, 20, f"{code} to {command}", interval=0.2)


def big(size):
    return b"From: x@client.example\r\nDate: x\r\nMessage-Id: x\r\nSubject: big\r\n\r\n" + (b"x" * 998 + b"\r\n") * (size // 1000)


def test_refused_at_mail_from(on_small_disk):
    """1.5 times message_size_limit must be free, as Postfix has it."""
    server, disk = on_small_disk(40 * MB, {"message_size_limit": "10240000"})
    with server.connect() as client:
        client.ehlo()
        client.cmd("MAIL FROM:<s@client.example>", 250)
        client.cmd("RSET", 250)
        disk.fill(leave=15 * 10**6)
        reply = wait_reply(client, "MAIL FROM:<s@client.example>", 452)
        assert reply.text == "4.3.1 Insufficient system storage"
        client.cmd(f"RCPT TO:<u1@{DOMAIN}>", 503)
        disk.empty()
        wait_reply(client, "MAIL FROM:<s@client.example>", 250)
        client.cmd(f"RCPT TO:<u1@{DOMAIN}>", 250)
        client.data(b"Subject: x\r\n\r\n")
    maildir.wait_messages(server.maildir("u1"), 1)
    assert server.lines(r"smtpd\[\d+\]: warning: not enough free space in mail queue: \d+ bytes <= 15360000$")
    assert server.lines(r"NOQUEUE: reject: MAIL from localhost\[127\.0\.0\.1\]: 452 4\.3\.1 Insufficient system storage; from=<")


@pytest.mark.parametrize(
    "main, command",
    [
        ({"queue_minfree": str(100 * MB)}, "MAIL FROM:<>"),
        ({"message_size_limit": "100000000"}, "MAIL FROM:<>"),
        ({}, "MAIL FROM:<> SIZE=100000000"),
        ({}, "MAIL FROM:<> SIZE=9223372036854775807"),
    ],
)
def test_what_has_to_be_free(on_small_disk, main, command):
    server, _ = on_small_disk(20 * MB, main)
    with server.connect() as client:
        client.ehlo()
        client.cmd(command, 452, FULL)
        if "SIZE" in command:
            client.cmd("MAIL FROM:<> SIZE=1000", 250)


def test_refused_at_the_end_of_data(on_small_disk):
    """The disk fills up while a message comes in; DATA and BDAT."""
    server, disk = on_small_disk(20 * MB)
    with server.connect() as client:
        client.ehlo()
        first = client.mail("s@client.example", f"u1@{DOMAIN}", b"Subject: before\r\n\r\n")
        disk.fill(leave=3 * MB)
        client.envelope("s@client.example", f"u1@{DOMAIN}")
        client.data(big(3 * MB), 452, FULL)
        client.envelope("s@client.example", f"u1@{DOMAIN}")
        body = big(3 * MB)
        client.send(f"BDAT {len(body)} LAST\r\n".encode() + body)
        client.expect(452, FULL)
        disk.empty()
        second = client.mail("s@client.example", f"u2@{DOMAIN}", big(3 * MB))
        server.wait_removed(first)
        server.wait_removed(second)
    assert maildir.Delivered(maildir.wait_messages(server.maildir("u2"), 1)[0]).rest == maildir.stored(big(3 * MB))
    maildir.wait_messages(server.maildir("u1"), 1)
    server.stop()
    assert server.integrity() == "ok"


def test_file_size_limit(on_small_disk):
    """RLIMIT_FSIZE: no SIGXFSZ, the same answers."""
    server, _ = on_small_disk(40 * MB)
    with server.connect() as client:
        client.ehlo()
        client.mail("s@client.example", f"u1@{DOMAIN}", b"Subject: before\r\n\r\n")
        procs.run(["prlimit", f"--pid={server.child.pid}", f"--fsize={MB}:unlimited"])
        client.envelope("s@client.example", f"u1@{DOMAIN}")
        client.data(big(3 * MB), 452, FULL)
        procs.run(["prlimit", f"--pid={server.child.pid}", "--fsize=unlimited"])
        client.mail("s@client.example", f"u2@{DOMAIN}", big(3 * MB))
    maildir.wait_messages(server.maildir("u2"), 1)
    maildir.wait_messages(server.maildir("u1"), 1)


def test_deliveries_while_the_disk_is_full(on_small_disk, folder, owner):
    """Their results wait in memory until they can be recorded; no command runs twice for a success."""
    command = setups.script(
        folder,
        "command",
        f'cat >/dev/null; echo $1 >>{folder}/runs; while ! test -e {folder}/open; do sleep 0.1; done\n'
        f'case $1 in later*) test -e {folder}/good || exit 75;; esac; echo $1 >>{folder}/done\n',
    )
    (folder / "runs").touch(mode=0o666)
    (folder / "runs").chmod(0o666)
    (folder / "done").touch()
    (folder / "done").chmod(0o666)
    server, disk = on_small_disk(
        8 * MB,
        {"virtual_transport": "command", "virtual_mailbox_maps": "static:x", "command_destination_recipient_limit": "1"},
        transports={"command": setups.pipe(owner, f"{command} ${{user}}")},
    )
    names = [f"now{n}" for n in range(20)] + [f"later{n}" for n in range(20)]
    with server.connect() as client:
        client.ehlo()
        for name in names:
            client.mail("s@client.example", f"{name}@{DOMAIN}", b"Subject: x\r\n\r\n")
    procs.wait_for(lambda: (folder / "runs").read_text().count("\n") >= 20, what="commands to run")
    disk.fill()
    (folder / "open").touch()
    procs.wait_for(lambda: (folder / "done").read_text().count("now") == 20, 60, "the commands to succeed")
    (folder / "good").touch()
    disk.empty()
    procs.wait_for(lambda: server.queued() == 0, 60, "an empty queue")
    assert sorted((folder / "done").read_text().split()) == sorted(names)
    server.stop()
    assert server.integrity() == "ok"


REFUSED = r": 452 4\.3\.1 Insufficient system storage;"


def test_load_on_a_disk_that_fills_up(on_small_disk):
    """Again and again, at any moment: what got 250 is delivered, once, whole."""
    users = [f"u{number}" for number in range(1, 11)]
    server, disk = on_small_disk(6 * MB, {"maximal_backoff_time": "1s"})
    load = Load(server.address(), [f"{user}@{DOMAIN}" for user in users])
    for round_ in range(6):
        seen = load.count()
        procs.wait_for(lambda: load.count() >= seen + 30, 15, "acceptances")
        disk.fill(leave=round_ % 3 * 20_000)
        refused = len(server.lines(REFUSED))
        server.wait_log(REFUSED, count=refused + 3)
        disk.empty()
    seen = load.count()
    procs.wait_for(lambda: load.count() >= seen + 30, 15, "acceptances at the end")
    accepted = load.stop()
    procs.wait_for(lambda: server.queued() == 0, 60, "an empty queue")
    found = {}
    for user in users:
        for raw in maildir.messages(server.maildir(user)):
            number = int(raw.split(b"\nSubject: ", 1)[1].split(b"\n", 1)[0])
            assert number not in found
            found[number] = raw
    assert set(accepted) == set(found)
    for number, (_, body) in accepted.items():
        assert maildir.Delivered(found[number]).rest == maildir.stored(body)
    server.stop()
    assert server.integrity() == "ok"


# ---- the mailboxes' disk


def test_mailbox_disk_full(make_mta, folder, owner):
    """Deferred; nothing in new/, nothing left in tmp/; delivered when there is room."""
    server = setups.hosted_server(make_mta, folder, owner)
    base = server.maildir("u1").parent
    base.mkdir(exist_ok=True)
    os.chown(base, owner.uid, owner.gid)
    with disks.mounted(base, MB, f"uid={owner.uid}", f"gid={owner.gid}") as disk:
        with server.connect() as client:
            client.ehlo()
            client.mail("s@client.example", f"u1@{DOMAIN}", b"Subject: first\r\n\r\n")
            maildir.wait_messages(server.maildir("u1"), 1)
            disk.fill(leave=100_000)
            queue_id = client.mail("s@client.example", f"u1@{DOMAIN}", big(300_000))
        entry = server.wait_deliveries(queue_id, 2)[-1]
        assert (entry["status"], entry["dsn"]) == ("deferred", "4.3.0")
        assert "No space left on device" in entry["text"]
        assert len(maildir.files(server.maildir("u1"))) == 1
        disk.empty()
        server.wait_removed(queue_id)
        assert len(maildir.files(server.maildir("u1"))) == 2
        assert list((server.maildir("u1") / "tmp").iterdir()) == []
        assert maildir.Delivered(maildir.messages(server.maildir("u1"))[-1]).rest == maildir.stored(big(300_000))
        server.stop()


def test_command_disk_full(make_mta, folder, owner):
    """A command that cannot write fails in whatever way it likes: deferred."""
    box = folder / "box"
    box.mkdir()
    script = setups.script(folder, "command", f"cat >{box}/new.$$ && mv {box}/new.$$ {box}/message\n")
    server = setups.hosted_server(
        make_mta,
        folder,
        owner,
        {"virtual_transport": "command", "virtual_mailbox_maps": "static:x"},
        transports={"command": setups.pipe(owner, str(script))},
    )
    with disks.mounted(box, MB, f"uid={owner.uid}", f"gid={owner.gid}") as disk:
        disk.fill()
        with server.connect() as client:
            client.ehlo()
            queue_id = client.mail("s@client.example", f"u1@{DOMAIN}", big(300_000))
        entry = server.wait_deliveries(queue_id, 1)[0]
        assert entry["status"] == "deferred" and "No space left on device" in entry["text"]
        for leftover in box.glob("new.*"):
            leftover.unlink()
        disk.empty()
        server.wait_removed(queue_id)
        assert (box / "message").stat().st_size > 299_000
        server.stop()
