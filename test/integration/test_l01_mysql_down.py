"""MariaDB gone and back: 451 meanwhile, within bounded time, recovery by itself, nothing lost."""

import time

import pytest
from support import maildir, procs, setups
from support.load import Load
from support.setups import DOMAIN

TEMPORARY = f"4.3.0 <u1@{DOMAIN}>: Temporary lookup failure"


@pytest.fixture
def start(make_mta, folder, owner):
    """start(server, **settings) starts mta on that MariaDB, u1 … u9@hosted.example in it."""

    def run(database, hosts=None, mailboxes=True, **settings):
        if mailboxes:
            database.add_domain(DOMAIN)
            database.add_mailboxes(f"u{number}@{DOMAIN}" for number in range(1, 10))
        base = setups.mail_folder(folder, owner)
        delivery, transports = setups.maildir_delivery(base, owner)
        if hosts:
            settings["hosts"] = hosts
        mta = make_mta(setups.mysql_tables(folder, database, **settings) | delivery, transports=transports)
        mta.maildir = lambda user: base / DOMAIN / user
        return mta

    return run


def rcpt(mta, recipient=f"u1@{DOMAIN}", timeout=90):
    """The reply to RCPT TO, and how long it took."""
    with mta.connect(stranger=True, timeout=timeout) as client:
        client.ehlo()
        client.cmd("MAIL FROM:<s@client.example>", 250)
        started = time.monotonic()
        return client.cmd(f"RCPT TO:<{recipient}>"), time.monotonic() - started


def wait_accepted(mta):
    procs.wait_for(lambda: rcpt(mta)[0].code == 250, 60, "recovery", interval=0.2)


def expect_temporary(mta):
    reply, seconds = rcpt(mta)
    assert (reply.code, reply.text) == (451, TEMPORARY)
    assert seconds < 60


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_down_and_up_again(start, make_mariadb, how):
    database = make_mariadb()
    mta = start(database)
    assert rcpt(mta)[0].code == 250
    getattr(database, how)()
    expect_temporary(mta)
    mta.wait_log(r"warning: .*(mysql|MySQL|table)")
    database.start()
    wait_accepted(mta)


def test_down_at_the_start(start, make_mariadb):
    """The server starts without its database and works once that is there."""
    database = make_mariadb()
    database.add_domain(DOMAIN)
    database.add_mailboxes([f"u1@{DOMAIN}"])
    database.stop()
    mta = start(database, mailboxes=False)
    expect_temporary(mta)
    database.start()
    wait_accepted(mta)


def test_nothing_lost_in_the_middle_of_a_load(start, make_mariadb):
    database = make_mariadb()
    mta = start(database)
    load = Load(mta.address(), [f"u{number}@{DOMAIN}" for number in range(1, 10)], sessions=4)
    procs.wait_for(lambda: load.count() >= 40, 60, "40 acceptances")
    database.kill()
    expect_temporary(mta)
    before = load.count()
    database.start()
    procs.wait_for(lambda: load.count() >= before + 40, 60, "acceptances after the restart")
    accepted = load.stop()

    def delivered():
        return sum(len(maildir.files(mta.maildir(f"u{number}"))) for number in range(1, 10))

    procs.wait_for(lambda: delivered() >= len(accepted), 60, "everything that was accepted", interval=0.2)
    assert not [entry for entry in mta.deliveries() if entry["status"] == "bounced"]


def test_between_rcpt_and_the_end_of_data(start, make_mariadb):
    """Alias expansion after DATA fails for the moment: the message is not accepted, and not lost when sent again."""
    database = make_mariadb()
    mta = start(database)
    with mta.connect(stranger=True, timeout=90) as client:
        client.ehlo()
        client.envelope("s@client.example", f"u1@{DOMAIN}")
        client.cmd("DATA", 354)
        database.stop()
        client.send(b"Subject: x\r\n\r\n.\r\n")
        assert client.expect(451).text.startswith("4.3.0 ")
        database.start()
        wait_accepted(mta)
        client.mail("s@client.example", f"u1@{DOMAIN}", b"Subject: again\r\n\r\n")
    [raw] = maildir.wait_messages(mta.maildir("u1"), 1)
    assert b"Subject: again\n" in raw


def test_frozen(start, make_mariadb):
    """A server that accepts and never answers: 451 in bounded time; who needs no table is not kept waiting."""
    database = make_mariadb()
    mta = start(database)
    assert rcpt(mta)[0].code == 250
    database.pause()
    with mta.connect(stranger=True, timeout=90) as waiting, mta.connect() as other:
        waiting.ehlo()
        waiting.cmd("MAIL FROM:<s@client.example>", 250)
        waiting.send(f"RCPT TO:<u1@{DOMAIN}>\r\n")
        started = time.monotonic()
        for _ in range(10):
            asked = time.monotonic()
            other.cmd("NOOP", 250)
            assert time.monotonic() - asked < 1
        assert waiting.expect(451).text == TEMPORARY
        assert time.monotonic() - started < 60
        waiting.cmd("NOOP", 250)
    database.resume()
    wait_accepted(mta)


def test_client_leaves_while_the_database_is_frozen(start, make_mariadb):
    database = make_mariadb()
    mta = start(database)
    database.pause()
    for _ in range(20):
        with mta.connect(stranger=True) as client:
            client.send(f"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<u1@{DOMAIN}>\r\n")
    database.resume()
    wait_accepted(mta)


def test_wrong_password(start, make_mariadb):
    database = make_mariadb()
    mta = start(database, password="not-the-password")
    expect_temporary(mta)
    mta.wait_log(r"warning: .*(Access denied|denied)")
    assert "not-the-password" not in mta.log()
    for host in ("%", "localhost"):
        database.sql(f"ALTER USER 'postfix'@'{host}' IDENTIFIED BY 'not-the-password'")
    wait_accepted(mta)


def test_server_closes_idle_connections(start, make_mariadb):
    """wait_timeout passed: the next query goes over a new connection and the client sees nothing of it."""
    database = make_mariadb("--wait-timeout=1")
    mta = start(database)
    for _ in range(3):
        assert rcpt(mta)[0].code == 250
        procs.wait_for(lambda: database.connections() == 0, 30, "the server to close the idle connections")
    assert rcpt(mta)[0].code == 250


def test_killed_connections(start, make_mariadb):
    database = make_mariadb()
    mta = start(database)
    assert rcpt(mta)[0].code == 250
    database.kick()
    assert rcpt(mta)[0].code == 250


def test_restart_between_queries(start, make_mariadb):
    """Seen from here every connection is dead: no 451 for that once the server is back."""
    database = make_mariadb()
    mta = start(database)
    assert rcpt(mta)[0].code == 250
    database.stop()
    database.start()
    assert rcpt(mta)[0].code == 250


def test_no_connections_left(start, make_mariadb):
    """"Too many connections" is temporary."""
    database = make_mariadb("--max-connections=10")
    mta = start(database)
    assert rcpt(mta)[0].code == 250
    database.kick()
    client = ["mariadb", "--no-defaults", "-h127.0.0.1", f"-P{database.port}", "-upostfix", "-ppostfix-db-password", "-e"]

    def full():
        if b"Too many connections" in procs.run([*client, "SELECT 1"], check=False).stderr:
            return True
        procs.spawn([*client, "SELECT SLEEP(300)"], stdout=-3, stderr=-3)
        return False

    procs.wait_for(full, 30, "the server to be full", 0.1)
    expect_temporary(mta)
    database.kick()
    wait_accepted(mta)


@pytest.mark.parametrize("statement", ["DROP TABLE mailbox", "ALTER TABLE mailbox DROP COLUMN maildir"])
def test_query_that_fails(start, make_mariadb, statement):
    """A broken schema is no unknown user."""
    database = make_mariadb()
    mta = start(database)
    database.sql(statement)
    expect_temporary(mta)


def test_several_hosts(start, make_mariadb):
    """A dead host is passed over; when the live one goes, the other takes its place."""
    first, second = make_mariadb(), make_mariadb()
    for database in (first, second):
        database.add_domain(DOMAIN)
        database.add_mailboxes([f"u1@{DOMAIN}"])
    dead = procs.free_ports(1)[0]
    hosts = f"127.0.0.1:{dead} inet:127.0.0.1:{first.port}, 127.0.0.1:{second.port}"
    mta = start(first, hosts, mailboxes=False, retry_interval="1")
    for _ in range(5):
        assert rcpt(mta)[0].code == 250
    first.stop()
    for _ in range(5):
        assert rcpt(mta)[0].code == 250
    first.start()
    second.stop()
    wait_accepted(mta)


@pytest.mark.parametrize("hosts", ["unix:{socket}", "inet:127.0.0.1:{port}", "127.0.0.1:{port}", "localhost:{port} unix:{socket}"])
def test_ways_to_connect(start, make_mariadb, hosts):
    database = make_mariadb()
    mta = start(database, hosts.format(socket=database.socket, port=database.port))
    assert rcpt(mta)[0].code == 250
    assert rcpt(mta, f"nobody@{DOMAIN}")[0].code == 550
