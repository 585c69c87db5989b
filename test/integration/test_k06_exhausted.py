"""No more file descriptors, no more processes: new connections wait, deliveries wait, what was accepted is safe, nothing
spins, and everything goes on when there are some again."""

import os
import select
import time

import pytest
from support import maildir, procs, setups
from support.setups import DOMAIN
from support.smtp import Smtp

MESSAGE = b"Subject: x\r\n\r\n"


def limit(server, what, value):
    procs.run(["prlimit", f"--pid={server.child.pid}", f"--{what}={value}:"])


def greeted(clients):
    """Those that have something to read; a connection that was closed fails the test."""
    ready = select.select([client.sock for client in clients], [], [], 0)[0]
    found = [client for client in clients if client.sock in ready]
    for client in found:
        client.expect(220)
    return found


def assert_quiet(server, seconds=2):
    """It does not spin: hardly any CPU time goes by."""
    before = procs.cpu_seconds(server.child.pid)
    time.sleep(seconds)
    used = procs.cpu_seconds(server.child.pid) - before
    assert used < 0.1 * seconds, f"{used} s of CPU time in {seconds} s"


def test_more_clients_than_descriptors(make_mta, folder, owner):
    server = setups.hosted_server(make_mta, folder, owner, {"smtpd_client_connection_count_limit": "0"})
    limit(server, "nofile", 100)
    waiting = [Smtp(server.address(), greet=False) for _ in range(150)]
    server.wait_log(r"smtpd\[\d+\]: warning: file descriptors are running out: new connections wait$")
    inside = greeted(waiting)
    assert 20 < len(inside) <= 76, "a quarter is left to deliveries and tables"
    waiting = [client for client in waiting if client not in inside]
    assert_quiet(server)
    # Those inside are served, and what they send is delivered.
    for client in inside[:10]:
        client.ehlo()
        client.mail("s@client.example", f"u1@{DOMAIN}", MESSAGE)
    maildir.wait_messages(server.maildir("u1"), 10)
    assert greeted(waiting) == []
    # Who goes makes room for those who wait; nobody was sent away.
    while waiting:
        for client in inside:
            client.quit()
        inside = []
        most = min(len(waiting), 40)
        procs.wait_for(lambda: inside.extend(greeted([c for c in waiting if c not in inside])) or len(inside) >= most, what="a greeting")
        waiting = [client for client in waiting if client not in inside]
    server.wait_log(r"warning: file descriptors are free again: connections go on$")
    assert len(server.lines("descriptors are running out")) < 10
    for client in inside:
        client.quit()


@pytest.fixture
def both(make_mta, folder, owner):
    """u… in Maildirs, p… by a command."""
    command = setups.script(folder, "command", f"cat >{folder}/out/$$\n")
    (folder / "out").mkdir()
    (folder / "out").chmod(0o777)
    server = setups.hosted_server(
        make_mta,
        folder,
        owner,
        {
            "virtual_mailbox_maps": f"static:{DOMAIN}/u1/",
            "transport_maps": f"inline:{{{{p1@{DOMAIN} = command:}}, {{p2@{DOMAIN} = command:}}}}",
        },
        transports={"command": setups.pipe(owner, str(command))},
    )
    server.out = lambda: [path for path in (folder / "out").iterdir() if path.stat().st_size]  # the shell may make empty ones
    return server


def test_no_descriptor_left(both):
    """Not one: mail on connections that are there is accepted and kept; deliveries are tried again."""
    with both.connect() as client:
        client.ehlo()
        used = max(procs.descriptors(both.child.pid)) + 1
        limit(both, "nofile", used)
        first = [client.mail("s@client.example", [f"u1@{DOMAIN}", f"p1@{DOMAIN}"], MESSAGE) for _ in range(20)]
        for queue_id in first:
            entries = both.wait_deliveries(queue_id, 2)
            assert {entry["status"] for entry in entries} == {"deferred"}
        assert any("Too many open files" in entry["text"] or "too many open files" in entry["text"] for entry in both.deliveries())
        more = []
        for _ in range(10):  # these have nowhere to go
            more.append(Smtp(both.address(), greet=False))
        assert_quiet(both)
        limit(both, "nofile", 1024)
        for queue_id in first:
            both.wait_removed(queue_id)
        for late in more:
            late.close()
    maildir.wait_messages(both.maildir("u1"), 20)
    assert len(both.out()) == 20
    with both.connect() as client:
        client.cmd("NOOP", 250)


def test_no_process_left(both):
    """The command's user may start nothing more; Maildirs are served meanwhile."""
    limit(both, "nproc", 0)
    with both.connect() as client:
        client.ehlo()
        ids = [client.mail("s@client.example", f"p1@{DOMAIN}", MESSAGE) for _ in range(20)]
        other = client.mail("s@client.example", f"u1@{DOMAIN}", MESSAGE)
    both.wait_removed(other)
    for queue_id in ids:
        entry = both.wait_deliveries(queue_id, 1)[0]
        assert entry["status"] == "deferred"
    assert any("temporarily unavailable" in entry["text"] for entry in both.deliveries())
    assert_quiet(both)
    assert both.out() == []
    limit(both, "nproc", 1000)
    for queue_id in ids:
        both.wait_removed(queue_id)
    assert len(both.out()) == 20


def test_threads_are_there_from_the_start(both):
    """None has to be made when there may be none to be had."""
    threads = lambda: len(os.listdir(f"/proc/{both.child.pid}/task"))  # noqa: E731
    before = threads()
    with both.connect() as client:
        client.ehlo()
        for _ in range(30):
            client.mail("s@client.example", [f"u1@{DOMAIN}", f"p1@{DOMAIN}"], MESSAGE)
    procs.wait_for(lambda: both.queued() == 0, what="an empty queue")
    assert threads() == before
