"""A database that hangs, talks nonsense or never stops talking: 451 in time, nobody else hurt, nothing leaked, and back
to work without a restart."""

import random
import time

import pytest
from support import fakemysql, procs, setups
from support.fakemysql import MORE_RESULTS, FakeMysql, column, eof, error, ok, packet, packets, result, text
from support.mta import sanitized
from support.setups import DOMAIN
from support.smtp import Smtp, send_mail

TEMPORARY = f"4.3.0 <u1@{DOMAIN}>: Temporary lookup failure"
ANSWERS = {r"FROM domain WHERE domain='hosted\.example'": [DOMAIN], rf"FROM mailbox WHERE username='u\d+@{DOMAIN}'": [f"{DOMAIN}/u/"]}
TIMEOUT = 2  # seconds that a lookup may take


@pytest.fixture(scope="module")
def fake():
    server = FakeMysql(ANSWERS)
    yield server
    server.close()


@pytest.fixture(scope="module")
def server(make_module_mta, module_folder, owner, fake):
    """Asks the fake database about DOMAIN, and none about other.example."""
    main = {}
    for parameter, query in setups.QUERIES.items():
        path = setups.private_file(
            module_folder / f"{parameter}.cf",
            f"user = u\npassword = p\nhosts = 127.0.0.1:{fake.port}\ndbname = d\ntimeout = {TIMEOUT}\nquery = {query}\n",
        )
        main[parameter] = f"mysql:{path}"
    return make_module_mta(main | {"mydestination": "other.example", "local_transport": "discard", "local_recipient_maps": ""})


@pytest.fixture(autouse=True)
def healthy_again(request):
    """After each test the database behaves, and is used again at once."""
    yield
    if "fake" in request.fixturenames:
        request.getfixturevalue("fake").behave()
        procs.wait_for(lambda: ask(request.getfixturevalue("server")).code == 250, 30, "recovery")


def ask(server, user="u1", timeout=30):
    with server.connect(stranger=True, timeout=timeout) as client:
        client.ehlo()
        client.cmd("MAIL FROM:<s@client.example>", 250)
        return client.cmd(f"RCPT TO:<{user}@{DOMAIN}>")


def expect_temporary(server):
    """451 in time; and a session that needs no database waits for nothing meanwhile."""
    started = time.monotonic()
    with server.connect(stranger=True) as client, server.connect(stranger=True) as other:
        client.ehlo()
        client.cmd("MAIL FROM:<s@client.example>", 250)
        client.send(f"RCPT TO:<u1@{DOMAIN}>\r\n")
        asked = time.monotonic()
        other.cmd("NOOP", 250)
        assert time.monotonic() - asked < 1
        assert str(client.reply()) == f"451 {TEMPORARY}"
        client.cmd("NOOP", 250)
    assert time.monotonic() - started < TIMEOUT + 5


def forever(*parts):
    """Sends the first parts, then the last one again and again."""

    def stream():
        yield from parts[:-1]
        while True:
            yield parts[-1] * (1 + 65536 // len(parts[-1]))

    return stream


def slowly(data):
    def stream():
        for byte in data:
            yield bytes([byte])
            time.sleep(0.3)

    return stream


noise = random.Random(1)
GREETINGS = {
    "http": b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n",
    "smtp": b"220 mail.example.com ESMTP\r\n",
    "noise": noise.randbytes(5000),
    "zeros": bytes(5000),
    "ones": b"\xff" * 5000,
    "empty packet": packet(b""),
    "huge length": b"\xff\xff\xff\0" + fakemysql.GREETING,
    "endless": forever(b"\xff\xff\xff\0", b"x"),
    "old protocol": packet(b"\x09" + fakemysql.GREETING[1:]),
    "version without end": packet(b"\x0a" + b"5" * 300),
    "nothing after the version": packet(b"\x0a5.5.5\0"),
    "error": packet(error(1040, "Too many connections")),
    "error packet of one byte": packet(b"\xff"),
    "error packet with half a code": packet(b"\xff\x10"),
    "one byte a while": slowly(packet(fakemysql.GREETING)),
}
LOGINS = {
    "error": packet(error(1045, "Access denied", "28000"), 2),
    "other method": packet(b"\xfenonsense_auth\0" + b"x" * 20 + b"\0", 2),
    "old method": packet(b"\xfe", 2),
    "plug-in as a path": packet(b"\xfe../../../tmp/x\0" + b"y" * 20 + b"\0", 2),
    "methods for ever": forever(packet(b"\xfemysql_native_password\0" + b"x" * 20 + b"\0", 2)),
    "wrong number": packet(ok(), 77),
    "noise": noise.randbytes(5000),
    "empty packet": packet(b"", 2),
}
NAMES = {
    "error": packets(error(1115, "Unknown character set")),
    "result": packets(*result("x")),
    "wants a file": packets(b"\xfb/etc/passwd"),
    "noise": noise.randbytes(5000),
}
QUERIES = {
    "error": packets(error(1146, "Table 'd.t' doesn't exist", "42S02")),
    "error of one byte": packets(b"\xff"),
    "error that is not ended": packets(b"\xff\x10\x04#"),
    "noise": noise.randbytes(5000),
    "text": b"SELECT is not what I do\r\n" * 100,
    "empty packet": packets(b""),
    "wants a file": packets(b"\xfb/etc/passwd"),
    "wants a file for ever": forever(packets(b"\xfb/etc/passwd")),
    "too many columns": packets(b"\xfe" + b"\xff" * 7 + b"\x7f", column(), eof()),
    "columns without end": forever(packets(b"\xfd\xff\xff\xff"), packet(column(), 2)),
    "half a column": packets(b"\x01", column()[:9], eof()),
    "column of lies": packets(b"\x01", b"\x03def\xfe" + b"\xff" * 8 + b"xxxx", eof()),
    "fewer columns": packets(b"\x05", column(), eof(), text("a"), eof()),
    "value longer than its packet": packets(b"\x01", column(), eof(), b"\xfd\xff\xff\0abc", eof()),
    "value of 2^63 bytes": packets(b"\x01", column(), eof(), b"\xfe\x07" + b"\0" * 6 + b"\x80abc", eof()),
    "value of 2^64 bytes": packets(b"\x01", column(), eof(), b"\xfe" + b"\xff" * 8 + b"abc", eof()),
    "row of nothing": packets(b"\x01", column(), eof(), b"", eof()),
    "huge value": packets(b"\x01", column(), eof(), text("x" * 2_000_000), eof()),
    "huge packet": packets(b"\x01", column(), eof()) + b"\xff\xff\xff\x04" + b"x" * (16 << 20),
    "endless packet": forever(packets(b"\x01", column(), eof()), b"\xff\xff\xff\x04", b"x" * 65536),
    "rows without end": forever(packets(b"\x01", column(), eof()), packet(text("x@y.example"), 4)),
    "empty rows without end": forever(packets(b"\x01", column(), eof()), packet(text(""), 4)),
    "NULLs without end": forever(packets(b"\x01", column(), eof()), packet(text(None), 4)),
    "results without end": forever(packets(*result(status=MORE_RESULTS))),
    "statuses without end": forever(packets(ok(MORE_RESULTS))),
    "error after a row": packets(b"\x01", column(), eof(), text("a"), error(1317, "Query execution was interrupted")),
    "one byte a while": slowly(packets(*result("x"))),
    "more than one result": packets(*result("x", status=MORE_RESULTS)) + packets(*result("y"), first=6),
}


@pytest.mark.parametrize("what", GREETINGS)
def test_greeting(server, fake, what):
    fake.behave(greeting=GREETINGS[what])
    misbehave(server)


@pytest.mark.parametrize("what", LOGINS)
def test_login(server, fake, what):
    fake.behave(login=LOGINS[what])
    misbehave(server)


@pytest.mark.parametrize("what", NAMES)
def test_names(server, fake, what):
    fake.behave(names=NAMES[what])
    misbehave(server)
    assert b"root:" not in fake.heard


@pytest.mark.parametrize("what", QUERIES)
def test_query(server, fake, what):
    fake.behave(query=QUERIES[what])
    misbehave(server)
    assert b"root:" not in fake.heard


def misbehave(server):
    """The database does what the test said, on new connections. Twice: the second time must not be worse."""
    memory = procs.pss(server.child.pid)
    for _ in range(2):
        expect_temporary(server)
    assert procs.pss(server.child.pid) < memory + 100_000_000


# A dialogue that is cut


def dialogue_length():
    """More bytes than a connection carries for one recipient: greeting, login, SET NAMES, three answers."""
    return len(packet(fakemysql.GREETING)) + 2 * len(packet(ok())) + 3 * len(packets(*result(DOMAIN * 3)))


def test_closed_after_each_byte(server, fake):
    """Whatever is missing: accepted or "try again later", never "unknown" or "relay access denied"."""
    codes = set()
    for length in range(dialogue_length()):
        fake.behave(cut=length)
        code = ask(server).code
        assert code in (250, 451), f"{code} when the database closes after {length} bytes"
        codes.add(code)
    assert codes == {250, 451}


def test_silent_after_some_bytes(server, fake):
    for length in (0, 3, 4, 50, len(packet(fakemysql.GREETING)), 100, 130, 160):
        fake.behave(cut=length, stall=True)
        started = time.monotonic()
        assert ask(server).code in (250, 451)
        assert time.monotonic() - started < TIMEOUT + 5


def test_nothing_is_left_of_many_failures(server, fake):
    """A thousand broken connections: no descriptor more, and no memory to speak of."""

    def break_connections(count):
        for number in range(count):
            fake.behave(cut=number * 7 % dialogue_length())
            ask(server)
        fake.behave()
        procs.wait_for(lambda: ask(server).code == 250, 30, "recovery")
        return len(procs.descriptors(server.child.pid)), procs.pss(server.child.pid)

    descriptors, memory = break_connections(100)
    descriptors_after, memory_after = break_connections(1000)
    assert descriptors_after <= descriptors + 8  # the pool may have grown to its size
    assert memory_after - memory < (16_000_000 if sanitized() else 1_000_000)


# Many who wait


def envelopes(server, count):
    """Sessions that have said MAIL FROM, from several clients."""
    clients = [Smtp(server.address(), source=(f"127.0.0.{2 + number % 20}", 0), timeout=60) for number in range(count)]
    for number, client in enumerate(clients):
        client.send("EHLO client.example\r\nMAIL FROM:<s@client.example>\r\n")
        assert [client.reply().code for _ in range(2)] == [250, 250]
    return clients


@pytest.mark.parametrize("how", ["frozen", "killed"])
def test_two_hundred_sessions_wait(make_mta, make_mariadb, folder, owner, how):
    """Each asks another question, so none shares another's answer."""
    database = make_mariadb()
    database.add_domain(DOMAIN)
    database.add_mailboxes(f"u{number}@{DOMAIN}" for number in range(400))
    tables = setups.mysql_tables(folder, database, timeout="4") | {"virtual_alias_maps": ""}
    settings = {"mydestination": "other.example", "local_transport": "discard", "local_recipient_maps": ""}
    server = make_mta(tables | settings)
    pid = server.child.pid
    descriptors = len(procs.descriptors(pid)) + 8  # as many connections to the database there may be

    def round_of(users, expected):
        clients = envelopes(server, len(users))
        if expected == 451:
            database.pause()
        for client, user in zip(clients, users):
            client.send(f"RCPT TO:<u{user}@{DOMAIN}>\r\n")
        started = time.monotonic()
        if expected == 451:
            with server.connect(stranger=True) as other:
                other.ehlo()
                for number in range(5):
                    asked = time.monotonic()
                    other.mail("", "somebody@other.example", b"Subject: x\r\n\r\n")
                    assert time.monotonic() - asked < 1.5
            if how == "killed":
                database.kill()
        codes = [client.reply().code for client in clients]
        seconds = time.monotonic() - started
        for client in clients:
            client.cmd("NOOP", 250)
            client.close()
        assert set(codes) == {expected}
        return seconds

    assert round_of(range(200), 250) < 30
    procs.wait_for(lambda: len(procs.descriptors(pid)) <= descriptors, 30, "the sessions to end")
    memory = procs.pss(pid)
    assert round_of(range(200, 400), 451) < 15
    database.resume() if how == "frozen" else database.start()
    procs.wait_for(lambda: ask(server).code == 250, 30, "recovery")
    round_of(range(200), 250)
    procs.wait_for(lambda: len(procs.descriptors(pid)) <= descriptors, 30, "as many descriptors as before")
    assert procs.pss(pid) - memory < (16_000_000 if sanitized() else 2_000_000)


def test_the_clients_time_is_its_own(make_mta, make_mariadb, folder):
    """What the server waits for does not count as the client's silence."""
    database = make_mariadb()
    server = make_mta(setups.mysql_tables(folder, database, timeout="4") | {"smtpd_timeout": "1s"})
    database.pause()
    assert str(ask(server)) == f"451 {TEMPORARY}"
    database.resume()
    with server.connect() as client:
        client.expect(421, "timeout exceeded")


def test_threads_are_not_held(make_mta, folder, owner, fake):
    """A server that is named (as 127.1 counts) is connected to on a thread. One that sends a byte now and then for ever must
    not keep that, or there are soon none left for anything."""

    def trickle():
        yield b"\xff\xff\x0f\0"
        while True:
            yield b"x"
            time.sleep(0.2)

    fake.behave(greeting=trickle)
    base = setups.mail_folder(folder, owner)
    main, transports = setups.maildir_delivery(base, owner)
    path = setups.private_file(folder / "sql.cf", f"user = u\npassword = p\ndbname = d\nhosts = 127.1:{fake.port}\ntimeout = 2\nquery = {setups.QUERIES['virtual_mailbox_domains']}\n")
    tables = {"virtual_mailbox_domains": f"other.example mysql:{path}", "virtual_mailbox_maps": "static:box/"}
    server = make_mta(main | tables, transports=transports)
    for _ in range(3):
        assert ask(server).code == 451
    procs.wait_for(lambda: len(fake.open) <= 1, 10, "the server to give up")
    started = time.monotonic()
    server.wait_removed(send_mail(server.address(), "", "u@other.example", b"Subject: x\r\n\r\n"))
    assert time.monotonic() - started < 5
    fake.behave()
