"""kill -9 at any moment: what got its 250 is delivered after the restart, and the queue database is sound.

Mail comes in over several sessions while commands and Maildir deliveries run; the server is killed after so many
acceptances, several times over.
"""

import re

import pytest
from support import maildir, procs, setups
from support.load import Load
from support.setups import DOMAIN

USERS = [f"u{number}" for number in range(10)]
KILLS = [15, 40, 90, 150]  # after so many acceptances


@pytest.fixture
def dovecot_server(make_mta, folder, mariadb, dovecot, owner):
    mariadb.add_domain(DOMAIN)
    mariadb.add_mailboxes(f"{user}@{DOMAIN}" for user in USERS)
    delivery, transports = setups.dovecot_delivery(dovecot, owner)
    server = make_mta(setups.mysql_tables(folder, mariadb) | delivery, transports=transports)
    server.maildir = lambda user: dovecot.maildir(f"{user}@{DOMAIN}")
    return server


@pytest.fixture
def maildir_server(make_mta, folder, owner):
    base = setups.mail_folder(folder, owner)
    delivery, transports = setups.maildir_delivery(base, owner)
    server = make_mta(setups.sqlite_tables(folder, mailboxes=[f"{user}@{DOMAIN}" for user in USERS]) | delivery, transports=transports)
    server.maildir = lambda user: base / DOMAIN / user
    return server


@pytest.mark.parametrize("kind", ["dovecot_server", "maildir_server"])
def test_nothing_accepted_is_lost(request, kind):
    server = request.getfixturevalue(kind)
    load = Load(server.address(), [f"{user}@{DOMAIN}" for user in USERS])
    for accepted in KILLS:
        procs.wait_for(lambda: load.count() >= accepted, 60, f"{accepted} acceptances")
        server.kill9()
        assert server.integrity() == "ok"
        server.start()
    procs.wait_for(lambda: load.count() >= KILLS[-1] + 20, 60, "acceptances after the last restart")
    accepted = load.stop()

    def delivered():
        return {int(number[1]): raw for user in USERS for raw in maildir.messages(server.maildir(user)) if (number := SUBJECT.search(raw))}

    procs.wait_for(lambda: set(accepted) <= set(delivered()), 120, "everything that was accepted", interval=0.3)
    for number, raw in delivered().items():
        if number in accepted:
            assert maildir.Delivered(raw).rest == maildir.stored(accepted[number][1])
    # Idle at the end: nothing is left behind, nothing is delivered over and over.
    procs.wait_for(lambda: server.queued() == 0, 60, "an empty queue")
    before = sum(len(maildir.files(server.maildir(user))) for user in USERS)
    server.stop()
    assert server.integrity() == "ok"
    assert sum(len(maildir.files(server.maildir(user))) for user in USERS) == before
    # A delivery under way at the kill may be repeated; no more than those.
    assert before - len(delivered()) <= len(KILLS) * 100


SUBJECT = re.compile(rb"^Subject: (\d+)$", re.M)


def test_kill_while_one_delivery_runs(make_mta, folder, owner):
    """Delivered again after the restart, never forgotten; the attempt that was cut off leaves no result."""
    out = folder / "out"
    out.mkdir()
    out.chmod(0o777)
    script = setups.script(folder, "command", f"cat >{out}/$$; test -e {folder}/quick || sleep 30\n")
    server = make_mta(
        {"virtual_mailbox_domains": DOMAIN, "virtual_mailbox_maps": "static:anything", "virtual_transport": "command"},
        transports={"command": setups.pipe(owner, str(script))},
    )
    with server.connect() as client:
        client.ehlo()
        queue_id = client.mail("s@client.example", f"u1@{DOMAIN}", b"Subject: x\r\n\r\nbody\r\n")
    procs.wait_for(lambda: any(path.stat().st_size for path in out.iterdir()), what="the command to run")
    server.kill9()
    assert not server.deliveries(queue_id)
    (folder / "quick").touch()
    server.start()
    server.wait_removed(queue_id)
    assert [entry["status"] for entry in server.deliveries(queue_id)] == ["sent"]
    assert len(list(out.iterdir())) == 2


def test_kill_while_a_message_comes_in(make_mta, folder, owner):
    """What had no 250 is not there after the restart, and takes no room in the database."""
    server = setups.hosted_server(make_mta, folder, owner, {"message_size_limit": "0", "virtual_mailbox_limit": "0"})
    with server.connect() as client:
        client.ehlo()
        client.envelope("s@client.example", f"u1@{DOMAIN}")
        client.cmd("DATA", 354)
        client.send((b"x" * 998 + b"\r\n") * 5000)
        procs.wait_for(lambda: sum(path.stat().st_size for path in server.queue.iterdir()) > 1_000_000, what="content in the database")
        server.kill9()
    server.start()
    with server.connect() as client:
        client.ehlo()
        client.mail("s@client.example", f"u2@{DOMAIN}", b"Subject: after\r\n\r\n")
    maildir.wait_messages(server.maildir("u2"), 1)
    server.stop()
    assert server.integrity() == "ok"
    assert maildir.files(server.maildir("u1")) == []
    tables = [line.split("|") for line in procs.run(["sqlite3", server.database(), ROW_COUNTS]).stdout.decode().splitlines()]
    assert tables
    for table, in tables:
        count = procs.run(["sqlite3", server.database(), f"SELECT COUNT(*) FROM {table}"]).stdout.decode().strip()
        assert int(count) <= 1, f"{count} rows left in {table}"


ROW_COUNTS = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
