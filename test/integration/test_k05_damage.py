"""A queue that is damaged, of another program or version, or not ours to write: the server does not start, with status 1
and one line that says what to do. Damage that shows while it runs: a line in the log, no crash, no mail lost unsaid."""

import os
import pathlib
import random
import shutil

import pytest
from support import disks, maildir, mta, procs, setups
from support.setups import DOMAIN

RESTORE = r"restore it from a backup, or move it and its -wal and -shm files away"


@pytest.fixture
def waiting(make_mta, folder, owner):
    """A stopped server with mail in its queue; `waiting.ids`."""
    command = setups.script(folder, "command", f"cat >{folder}/out/$$; test -e {folder}/open || exit 75\n")
    (folder / "out").mkdir()
    (folder / "out").chmod(0o777)
    server = setups.hosted_server(
        make_mta,
        folder,
        owner,
        {"virtual_transport": "command", "virtual_mailbox_maps": "static:x"},
        transports={"command": setups.pipe(owner, str(command))},
    )
    with server.connect() as client:
        client.ehlo()
        server.ids = [
            client.mail("s@client.example", f"u{n}@{DOMAIN}", b"Subject: %d\r\n\r\n" % n + b"some text\r\n" * 500) for n in range(100)
        ]
    return server


def refused(server, pattern, **kwargs):
    done = mta.command("-c", server.conf, timeout=30, **kwargs)
    text = (done.stdout + done.stderr).decode()
    assert done.returncode == 1, text
    lines = [line for line in text.splitlines() if "warning: " not in line]
    assert len(lines) == 1 and mta.re.search(pattern, lines[0]), f"expected one line like /{pattern}/:\n{text}"
    assert "fatal: " in lines[0]


def overwrite(path, at, data):
    with open(path, "r+b") as out:
        out.seek(at)
        out.write(data)


def random_page(server):
    dice = random.Random(5)
    pages = server.database().stat().st_size // 4096
    assert pages > 50
    overwrite(server.database(), 4096 * dice.randrange(1, pages), dice.randbytes(4096))


DAMAGES = {
    "random page": random_page,
    "header": lambda server: overwrite(server.database(), 0, b"\0" * 100),
    "page size": lambda server: overwrite(server.database(), 16, b"\x7b\x7b"),
    "truncated": lambda server: os.truncate(server.database(), server.database().stat().st_size // 2 // 4096 * 4096),
    "cut inside a page": lambda server: os.truncate(server.database(), server.database().stat().st_size - 1000),
    "one page only": lambda server: os.truncate(server.database(), 4096),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_database(waiting, kind):
    waiting.stop()
    DAMAGES[kind](waiting)
    before = waiting.database().read_bytes()
    refused(waiting, rf"queue database {waiting.database()} is damaged \(.*\): {RESTORE}")
    assert waiting.database().read_bytes() == before, "left as it is"


LOG_DAMAGES = {
    "log overwritten": lambda server: overwrite(f"{server.database()}-wal", 0, b"garbage!" * 100),
    "database emptied": lambda server: os.truncate(server.database(), 0),
    "database gone": lambda server: server.database().unlink(),
}


@pytest.mark.parametrize("kind", LOG_DAMAGES)
def test_damage_after_a_crash(waiting, kind):
    """The log holds mail that is not in the database yet: it must not be thrown away with it."""
    waiting.kill9()
    log = server_log(waiting)
    assert log.stat().st_size > 100_000
    LOG_DAMAGES[kind](waiting)
    before = log.read_bytes()
    refused(waiting, rf"queue database {waiting.database()} is damaged \(.*\): {RESTORE}")
    assert log.read_bytes() == before


def server_log(server):
    return server.database().with_name("queue.db-wal")


def test_other_versions_and_programs(waiting, folder):
    """What is refused is left alone: it starts where it belongs."""
    waiting.stop()
    version = procs.run(["sqlite3", waiting.database(), "PRAGMA user_version"]).stdout.decode().strip()
    procs.run(["sqlite3", waiting.database(), "PRAGMA user_version = 99"])
    refused(waiting, r"has schema 99, this mta knows up to \d+: run the newer mta that wrote it")
    procs.run(["sqlite3", waiting.database(), f"PRAGMA user_version = {version}; PRAGMA application_id = 7"])
    refused(waiting, r"queue\.db is not a queue of mta: move it away, or set queue_directory")
    procs.run(["sqlite3", waiting.database(), f"PRAGMA application_id = {0x6D746171}"])
    (folder / "open").touch()
    waiting.start()
    for queue_id in waiting.ids:
        waiting.wait_removed(queue_id)
    waiting.stop()
    waiting.database().unlink()
    procs.run(["sqlite3", waiting.database(), "CREATE TABLE recipes(name)"])
    refused(waiting, r"queue\.db is not a queue of mta: move it away, or set queue_directory")


def test_read_only_file_system(waiting):
    waiting.stop()
    copy = waiting.directory / "copy"
    shutil.copytree(waiting.queue, copy)
    with disks.mounted(waiting.queue, 16 << 20):
        for path in copy.iterdir():
            shutil.copy(path, waiting.queue)
        procs.run(["mount", "-o", "remount,ro", waiting.queue])
        refused(waiting, rf"queue_directory {waiting.queue} cannot be written \(Read-only file system\): give it to the user")


@pytest.mark.skipif(os.geteuid() != 0, reason="starts the server as another user")
@pytest.mark.parametrize("what", ["directory", "database", "unreadable"])
def test_not_ours(waiting, what, folder, monkeypatch):
    waiting.stop()
    # Where anybody may run it: the tree may be in root's home.
    monkeypatch.setattr(mta, "BINARY", pathlib.Path(shutil.copy(mta.BINARY, folder / "mta")))
    mta.BINARY.chmod(0o755)
    for path in [waiting.queue, *waiting.queue.iterdir()]:
        shutil.chown(path, "nobody")
    for path in [waiting.conf, waiting.directory, *waiting.conf.parent.iterdir()]:
        path.chmod(0o755)
    wanted = r"give it (and its directory )?to the user that mta runs as"
    if what == "directory":
        (waiting.queue / "lock").unlink()
        waiting.queue.chmod(0o555)
        wanted = rf"queue_directory {waiting.queue} cannot be written \(Permission denied\): {wanted}"
    else:
        waiting.database().chmod(0o444 if what == "database" else 0)
        wanted = rf"queue database {waiting.database()} (is read-only|cannot be written).*: {wanted}"
    refused(waiting, wanted, user="nobody", group="nogroup", extra_groups=[])


def test_missing_directory_and_second_instance(waiting):
    done = mta.command("-c", waiting.conf, timeout=30)
    assert done.returncode == 1
    assert f"another mta (process {waiting.child.pid}) uses the queue in {waiting.queue}: stop it first" in done.stdout.decode()
    waiting.stop()
    shutil.rmtree(waiting.queue)
    refused(waiting, rf"queue_directory {waiting.queue} does not exist: create it and give it to the user that mta runs as")


@pytest.mark.parametrize("seed", range(4))
def test_damage_while_it_runs(waiting, folder, seed):
    """Pages are overwritten under the running server. Mail that can still be read is delivered; of the rest none leaves the
    queue, and the log says what is the matter; new mail gets 250 or 4xx."""
    waiting.restart()  # everything is in the database, and little of it in a cache
    for queue_id in waiting.ids[:5]:
        waiting.wait_deliveries(queue_id, 1)
    dice = random.Random(seed)
    pages = waiting.database().stat().st_size // 4096
    for page in range(1, pages):
        if dice.random() < 0.7:
            overwrite(waiting.database(), page * 4096, dice.randbytes(4096))
    (folder / "open").touch()
    new = []
    for n in range(20):
        with waiting.connect() as client:
            client.ehlo()
            client.envelope("s@client.example", f"n{n}@{DOMAIN}")
            client.cmd("DATA", 354)
            client.send(b"Subject: new\r\n\r\n" + b"x" * 990 * (n % 2) * 100 + b"\r\n.\r\n")
            reply = client.reply()
            assert reply.code in (250, 451), reply
            if reply.code == 250:
                new.append(reply.text.split()[-1])
    waiting.wait_log(r"qmgr\[\d+\]: error: (queue database in .*malformed|\w+: this message is damaged)", timeout=60)
    with waiting.connect() as client:
        client.cmd("NOOP", 250)
    waiting.stop()
    sent = {entry["qid"] for entry in waiting.deliveries() if entry["status"] == "sent"}
    for queue_id in waiting.ids + new:
        assert queue_id in sent or not waiting.lines(f"{queue_id}: removed")
