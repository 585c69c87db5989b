"""tcp: and socketmap: against Postfix's own client, and against servers that misbehave: a failure in bounded time, never
"not found", and back to work as soon as the server is."""

import concurrent.futures
import threading
import time

import pytest
from support import mta, procs, setups
from support.postmap import Postmap
from support.setups import DOMAIN
from support.tableserver import TableServer, netstring


def lookup(key, table):
    done = mta.command("lookup", key, table)
    return {0: done.stdout.decode().removesuffix("\n"), 1: None}.get(done.returncode, False)


@pytest.fixture(scope="module")
def postmap(module_folder):
    return Postmap(module_folder)


TCP_REPLIES = {
    "plain": b"200 value\n",
    "encoded": b"200 a%20b%25%C3%A9\n",
    "blanks": b"200 two words\n",
    "empty": b"200 \n",
    "missing": b"500 not here\n",
    "other 5": b"599 x\n",
    "later": b"400 busy\n",
    "no text": b"200\n",
    "bad hex": b"200 a%2\n",
    "worse hex": b"200 a%zz\n",
    "no code": b"hello\n",
    "code 300": b"300 x\n",
    "blank line": b"\n",
    "longest": b"200 " + b"x" * 4091 + b"\n",
}
SOCKETMAP_REPLIES = {
    "plain": b"OK value",
    "blanks": b"OK two words ",
    "empty": b"OK ",
    "utf8": "OK jürgen".encode(),
    "missing": b"NOTFOUND ",
    "missing, short": b"NOTFOUND",
    "missing, why": b"NOTFOUND really",
    "temp": b"TEMP later",
    "timeout": b"TIMEOUT x",
    "perm": b"PERM never",
    "unknown": b"WHAT is this",
    "lower case": b"ok value",
    "nothing": b"",
    "longest": b"OK " + b"x" * 99997,
}
KEYS = ["plain", "With Blank", "a%b", "jürgen@exämple.com", "UPPER@Example.COM", "'\"\\;|"]


def compare(postmap, keys, table):
    """Postfix sleeps between attempts at what it does not understand: all keys at the same time."""
    with concurrent.futures.ThreadPoolExecutor(14) as pool:
        theirs = dict(zip(keys, pool.map(lambda key: postmap(key, table), keys)))
    assert {key: lookup(key, table) for key in keys} == theirs


def test_tcp_as_postmap(postmap):
    with TableServer(lambda request: TCP_REPLIES[request.decode()[4:-1].replace("%20", " ")]) as server:
        table = f"tcp:127.0.0.1:{server.port}"
        compare(postmap, TCP_REPLIES, table)


def test_socketmap_as_postmap(postmap, folder):
    with TableServer(lambda request: netstring(SOCKETMAP_REPLIES[request.partition(b" ")[2][:-1].decode()]), folder / "s") as server:
        assert server
        table = f"socketmap:unix:{folder}/s:name"
        compare(postmap, SOCKETMAP_REPLIES, table)
    assert lookup("plain", table) is False


def test_requests_as_postmap(postmap):
    """The bytes that are sent."""
    for kind, reply in (("tcp:127.0.0.1:{}", b"500 x\n"), ("socketmap:inet:127.0.0.1:{}:a name", netstring(b"NOTFOUND "))):
        with TableServer(lambda request, reply=reply: reply) as server:
            table = kind.format(server.port)
            for key in KEYS:
                assert lookup(key, table) is None
                assert postmap(key, table) is None
                assert server.requests[-1] == server.requests[-2], key


def test_names_are_resolved():
    with TableServer(lambda request: b"200 here\n") as server:
        assert lookup("k", f"tcp:localhost:{server.port}") == "here"
        assert lookup("k", f"tcp:[127.0.0.1]:{server.port}") == "here"
    assert lookup("k", f"tcp:no-such-host.invalid:{server.port}") is False


@pytest.mark.parametrize(
    "table, part",
    [
        ("tcp:x", "host:port"),
        ("tcp::25", "host:port"),
        ("tcp:localhost:nosuchservice", "neither a port nor the name of a service"),
        ("tcp:localhost:70000", "neither a port"),
        ("socketmap:x", "written socketmap:inet"),
        ("socketmap:unix:x", "written socketmap:inet"),
        ("socketmap:inet:localhost:x", "host:port"),
        ("socketmap:inet:localhost:nosuchservice:x", "neither a port"),
        ("tpc:localhost:25", "did you mean tcp?"),
    ],
)
def test_malformed(table, part):
    done = mta.command("lookup", "k", table)
    assert done.returncode == 2 and part in done.stderr.decode()


def drip(data):
    for byte in data:
        yield bytes([byte])
        time.sleep(0.01)


def hang(data=b""):
    yield data
    threading.Event().wait(60)


def quickly_wrong():
    tcp, sockmap = b"200 value\n", netstring(b"OK value")
    cases = {f"tcp closed after {n}": ("tcp", lambda _, n=n: [tcp[:n], None]) for n in range(len(tcp))}
    cases |= {f"socketmap closed after {n}": ("socketmap", lambda _, n=n: [sockmap[:n], None]) for n in range(len(sockmap))}
    cases |= {
        "tcp long line": ("tcp", lambda _: b"200 " + b"x" * 4092 + b"\n"),
        "tcp endless line": ("tcp", lambda _: (b"x" * 65536 for _ in range(10000))),
        "tcp NUL": ("tcp", lambda _: b"200 a%00b\n"),
        "tcp latin1": ("tcp", lambda _: b"200 a%E9b\n"),
        "tcp binary": ("tcp", lambda _: bytes(range(256))),
        "socketmap too long": ("socketmap", lambda _: netstring(b"OK " + b"x" * 99998)),
        "socketmap giant": ("socketmap", lambda _: b"99999999:OK "),
        "socketmap overflow": ("socketmap", lambda _: b"18446744073709551617:OK x,"),
        "socketmap no length": ("socketmap", lambda _: b":OK x,"),
        "socketmap no digits": ("socketmap", lambda _: b"OK x\n"),
        "socketmap negative": ("socketmap", lambda _: b"-4:OK x,"),
        "socketmap no comma": ("socketmap", lambda _: b"4:OK x;"),
        "socketmap zeros": ("socketmap", lambda _: b"0" * 100000),
        "socketmap NUL": ("socketmap", lambda _: netstring(b"OK a\0b")),
        "socketmap latin1": ("socketmap", lambda _: netstring(b"OK \xe9")),
        "socketmap OK alone": ("socketmap", lambda _: netstring(b"OK")),
    }
    return cases


WRONG = quickly_wrong()
NEVER = {
    "tcp nothing": ("tcp", lambda _: hang()),
    "tcp half": ("tcp", lambda _: hang(b"200 val")),
    "tcp slow": ("tcp", lambda _: (b"x" for _ in iter(lambda: time.sleep(0.5), 1))),
    "socketmap nothing": ("socketmap", lambda _: hang()),
    "socketmap half": ("socketmap", lambda _: hang(b"8:OK val")),
}


def run_case(case):
    kind, answer = case

    def pieces(request):
        reply = answer(request)
        if isinstance(reply, list):  # then the connection is closed
            yield reply[0]
            raise OSError
        yield from [reply] if isinstance(reply, bytes) else reply

    with TableServer(pieces) as server:
        table = f"tcp:127.0.0.1:{server.port}" if kind == "tcp" else f"socketmap:inet:127.0.0.1:{server.port}:name"
        begun = time.monotonic()
        done = mta.command("lookup", "key", table)
        return done.returncode, done.stdout, time.monotonic() - begun


def test_misbehaving_servers():
    """Each is a failure in bounded time; the address sanitizer looks for leaks in each run."""
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        results = dict(zip([*WRONG, *NEVER], pool.map(run_case, [*WRONG.values(), *NEVER.values()])))
    for name, (status, output, seconds) in results.items():
        assert (status, output) == (2, b""), name
        assert seconds < 40, name
    assert all(results[name][2] > 9 for name in NEVER), "these were waited for"


def test_slow_but_right():
    with TableServer(lambda _: drip(b"200 value\n")) as server:
        assert lookup("k", f"tcp:127.0.0.1:{server.port}") == "value"
    with TableServer(lambda _: drip(netstring(b"OK value"))) as server:
        assert lookup("k", f"socketmap:inet:127.0.0.1:{server.port}:n") == "value"


# In a server


@pytest.fixture
def start(make_mta, folder, owner):
    def run(main):
        delivery, transports = setups.maildir_delivery(setups.mail_folder(folder, owner), owner)
        return make_mta(delivery | {"virtual_mailbox_domains": DOMAIN} | main, transports=transports)

    return run


def rcpt(server, recipient, timeout=60):
    with server.connect(stranger=True, timeout=timeout) as client:
        client.ehlo()
        client.cmd("MAIL FROM:<>", 250)
        return client.cmd(f"RCPT TO:<{recipient}@{DOMAIN}>").code


def known_a(request):
    return b"200 a/\n" if request == f"get a@{DOMAIN}\n".encode() else b"500 no\n"


def test_server_restarts(start):
    """A restart of the table's server between two lookups is not noticed; while it is away: 451, soon and again and again;
    connections are kept."""
    tables = TableServer(known_a)
    port = tables.port
    server = start({"virtual_mailbox_maps": f"tcp:127.0.0.1:{port}"})
    assert (rcpt(server, "a"), rcpt(server, "b"), rcpt(server, "A")) == (250, 550, 550)
    assert tables.connections == 1 and len(tables.requests) >= 3
    tables.stop()
    again = TableServer(known_a, port=port)
    assert (rcpt(server, "a"), rcpt(server, "b")) == (250, 550)
    again.stop()
    begun = time.monotonic()
    for _ in range(5):
        assert rcpt(server, "a") == 451
    assert time.monotonic() - begun < 20
    with TableServer(known_a, port=port):
        procs.wait_for(lambda: rcpt(server, "a") == 250, 30, "the table to be used again", interval=0.2)
        assert rcpt(server, "b") == 550
    server.wait_log(r"warning: tcp:127\.0\.0\.1:\d+: cannot connect to the server: connection refused")
    server.wait_log(r"tcp:127\.0\.0\.1:\d+: works again")


def test_hanging_server(start):
    """One that does not answer: 451 within the time limit, other sessions go on, no more than a few connections."""
    hanging = threading.Event()
    hanging.set()

    def answer(request):
        if hanging.is_set():
            threading.Event().wait(60)
        return known_a(request)

    with TableServer(answer) as tables:
        server = start({"virtual_mailbox_maps": f"tcp:127.0.0.1:{tables.port}"})
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            waiting = [pool.submit(rcpt, server, "a") for _ in range(20)]
            with server.connect(timeout=10) as other:
                other.cmd("NOOP", 250)
            assert [one.result() for one in waiting] == [451] * 20
        assert 1 <= tables.connections <= 20
        hanging.clear()
        procs.wait_for(lambda: rcpt(server, "a") == 250, 30, "the table to be used again", interval=0.2)


def test_many_at_once(start, folder):
    """A slow server of a socketmap: fifty sessions share a few connections and all get their own answer."""

    def answer(request):
        key = request.decode().partition(" ")[2].partition("@")[0]
        time.sleep(0.02)
        return netstring(b"OK x/" if int(key[1:]) % 2 else b"NOTFOUND ")

    with TableServer(answer, folder / "s") as tables:
        server = start({"virtual_mailbox_maps": f"socketmap:unix:{folder}/s:mailboxes"})
        with concurrent.futures.ThreadPoolExecutor(25) as pool:
            codes = list(pool.map(lambda number: rcpt(server, f"u{number}"), range(50)))
        assert codes == [550, 250] * 25
        assert tables.connections <= 8
