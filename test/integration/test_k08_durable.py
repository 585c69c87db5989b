"""250 means on disk: what the server does between the last byte of a message and its answer, as strace sees it."""

import re
import shutil
import subprocess

import pytest
from support import procs, setups
from support.setups import DOMAIN

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")


@pytest.fixture
def traced(make_mta, folder, owner):
    """A server under strace; traced.calls() is what was seen so far, in order: (call, descriptor's path, text)."""
    # Nothing else writes to the queue meanwhile: deliveries do not end.
    command = setups.script(folder, "command", f"cat >/dev/null; while ! test -e {folder}/open; do sleep 0.1; done\n")
    server = setups.hosted_server(
        make_mta,
        folder,
        owner,
        {"virtual_transport": "command", "virtual_mailbox_maps": "static:x"},
        transports={"command": setups.pipe(owner, str(command))},
    )
    out = folder / "trace"
    calls = "trace=write,writev,sendto,sendmsg,pwrite64,pwritev,fdatasync,fsync,sync_file_range"
    child = procs.spawn(["strace", "-f", "-y", "-s", "200", "-e", calls, "-o", out, "-p", server.child.pid], stderr=subprocess.DEVNULL)
    # The main thread is among the last it takes hold of: a call of its own shows that it sees everything.
    procs.wait_for(lambda: noop(server) and out.exists() and "2.0.0 Ok" in out.read_text(), what="strace to see the server")

    server.calls = lambda: list(parse(out.read_text()))
    yield server
    # No longer traced, which the leak check at the end would mind.
    child.kill()
    child.wait()
    (folder / "open").touch()


def noop(server):
    with server.connect() as client:
        client.cmd("NOOP", 250)
    return True


def parse(text):
    """One for each call, where it ended (a write of ours is of interest when it begins, but that is no later)."""
    begun = {}
    for line in text.splitlines():
        pid, rest = line.split(None, 1)
        if (match := re.match(r"<\.\.\. (\w+) resumed>", rest)) and pid in begun:
            yield begun.pop(pid)
        elif match := re.match(r"(\w+)\(\d+<([^>]*)>(.*)", rest):
            seen = (match[1], match[2], match[3])
            if rest.endswith("<unfinished ...>") and match[1].startswith("f"):
                begun[pid] = seen
            else:
                yield seen


ANSWER = re.compile(r"^(TCP|socket)").search


@pytest.mark.parametrize("size", [1, 300], ids=["small", "in pieces"])
def test_250_comes_after_fdatasync(traced, size):
    with traced.connect() as client:
        client.ehlo()
        for n in range(5):
            client.mail("s@client.example", f"u1@{DOMAIN}", b"Subject: x\r\n\r\n" + b"x" * 998 * size + b"\r\n")
    procs.wait_for(lambda: sum("queued as" in text for _, path, text in traced.calls() if ANSWER(path)) == 5, what="strace")
    synced, written, answers = True, False, 0
    for call, path, text in traced.calls():
        if path.endswith("queue.db-wal"):
            if call in ("fdatasync", "fsync"):
                synced = True
            else:
                synced, written = False, True
        elif "queued as" in text and ANSWER(path):
            assert written and synced, f"answer {answers} before the log was on the disk"
            written, answers = False, answers + 1
    assert answers == 5


def test_settings(hosted):
    """What SQLite promises only with these."""
    one = lambda pragma: procs.run(["sqlite3", hosted.database(), f"PRAGMA {pragma}"]).stdout.decode().strip()  # noqa: E731
    assert one("journal_mode") == "wal"
    assert one("page_size") == "4096"
