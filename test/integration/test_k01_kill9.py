"""kill -9 at any moment: what got its 250 is delivered after the restart, and the queue database is sound.

Mail comes in over several sessions while commands and Maildir deliveries run; the server is killed after so many
acceptances, or at random moments, several times over.
"""

import collections
import email
import random
import re
import time

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


PIPED = "piped.example"


@pytest.fixture
def mixed_server(make_mta, folder, owner):
    """Maildirs (u0 …, and `sender` for the reports) and a command (p…@piped.example; bad… fails there), aliases to both."""
    out = folder / "piped"
    out.mkdir()
    out.chmod(0o777)
    command = setups.script(
        folder,
        "command",
        f"case $1 in bad*) cat >/dev/null; echo 5.1.1 no such person; exit 67;; esac\n"
        f"cat >{out}/tmp.$$ && mv {out}/tmp.$$ {out}/$1.$$.$(date +%N)\n",
    )
    delivery, transports = setups.maildir_delivery(setups.mail_folder(folder, owner), owner)
    tables = setups.text_tables(
        folder,
        [f"{user}@{DOMAIN}" for user in [*USERS, "sender"]] + [f"@{PIPED}"],
        [(f"both{n}@{DOMAIN}", f"u{n}@{DOMAIN} p{n}@{PIPED}") for n in range(3)],
        domains=(DOMAIN, PIPED),
    )
    server = make_mta(
        tables | delivery | {"transport_maps": f"inline:{{{{{PIPED} = command:}}}}", "command_destination_recipient_limit": "1"},
        transports=transports | {"command": setups.pipe(owner, f"{command} ${{user}}")},
    )
    server.maildir = lambda user: folder / "vmail" / DOMAIN / user
    server.piped = lambda: [(path.name.split(".")[0], path.read_bytes()) for path in out.iterdir() if not path.name.startswith("tmp.")]
    return server


# What one message is sent to, and who of it must get it in the end; the last one fails, which is to be reported.
ENVELOPES = [
    ([f"u0@{DOMAIN}"], {"u0"}),
    ([f"p7@{PIPED}"], {"p7"}),
    ([f"both1@{DOMAIN}"], {"u1", "p1"}),
    ([f"u2@{DOMAIN}", f"p8@{PIPED}", f"both2@{DOMAIN}"], {"u2", "p8", "p2"}),
    ([f"bad1@{PIPED}"], set()),
    ([f"u3@{DOMAIN}", f"bad1@{PIPED}", f"bad2@{PIPED}"], {"u3"}),
]


@pytest.mark.parametrize("kills", [8, pytest.param(100, marks=pytest.mark.long)])
def test_random_moments(mixed_server, kills):
    server = mixed_server
    seed = time.time_ns()
    print(f"seed {seed}")
    dice = random.Random(seed)
    load = Load(server.address(), [recipients for recipients, _ in ENVELOPES], sender=f"sender@{DOMAIN}")
    for _ in range(kills):
        seen = load.count()
        procs.wait_for(lambda: load.count() > seen, 60, "an acceptance")
        time.sleep(dice.random() * 0.4)
        server.kill9()
        assert server.integrity() == "ok"
        server.start()
    seen = load.count()
    procs.wait_for(lambda: load.count() >= seen + 20, 60, "acceptances after the last restart")
    accepted = load.stop()
    procs.wait_for(lambda: server.queued() == 0, 120, "an empty queue", interval=0.3)
    server.stop()
    assert server.integrity() == "ok"

    copies = whole_copies(server, load.sent)
    for number, (recipients, _) in accepted.items():
        missing = dict(map(lambda e: (tuple(e[0]), e[1]), ENVELOPES))[tuple(recipients)] - copies[number]
        assert not missing, f"message {number} was not delivered to {missing}"
    check_reports(server, load.sent, accepted)


def whole_copies(server, sent):
    """{number: who has it}. In a Maildir each file is whole; a command whose input was cut off by the kill may have left the
    beginning of a message, or nothing, beside what the next attempt gave it."""
    copies = collections.defaultdict(set)
    for user in USERS:
        for raw in maildir.messages(server.maildir(user)):
            number = int(SUBJECT.search(raw)[1])
            assert maildir.Delivered(raw).rest == maildir.stored(sent[number][1])
            copies[number].add(user)
    for user, raw in server.piped():
        if not (subject := SUBJECT.search(raw)):
            continue
        number, rest = int(subject[1]), maildir.Delivered(raw).rest
        if rest == maildir.stored(sent[number][1]):
            copies[number].add(user)
        assert maildir.stored(sent[number][1]).startswith(rest)
    return copies


def check_reports(server, sent, accepted):
    """One report for each message with recipients that failed, however often it was delivered, naming each of them."""
    reports = collections.defaultdict(dict)
    for raw in maildir.messages(server.maildir("sender")):
        report = email.message_from_bytes(raw)
        assert report.get_content_type() == "multipart/report"
        reports[int(re.search(rb"^Subject: (\d+)$", raw, re.M)[1])][report["Message-Id"]] = raw
    for number, (recipients, _) in sent.items():
        bad = [recipient for recipient in recipients if recipient.startswith("bad")]
        assert len(reports[number]) <= (1 if bad else 0), f"reports about message {number}: {list(reports[number])}"
        if number in accepted and bad:
            (raw,) = reports[number].values()
            assert sorted(re.findall(rb"^Final-Recipient: rfc822; ?(\S+)$", raw, re.M)) == sorted(r.encode() for r in bad)


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
