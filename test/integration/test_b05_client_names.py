"""Client host names: what an address says counts when the name has that address, and nobody waits long for it."""

import threading
import time

import pytest
from support import maildir, procs, setups
from support.dnsserver import DnsServer, FakeDns
from support.smtp import Smtp

REVERSE = """\
2.0.0 PTR good.client.test.
3.0.0 PTR missing.client.test.
4.0.0 PTR other.client.test.
6.0.0 PTR x.broken.
7.0.0 CNAME 7.0/25.0.0
7.0/25.0.0 PTR delegated.client.test.
8.0.0 PTR bad!name.client.test.
9.0.0 PTR UPPER.client.test.
10.0.0 PTR alias.client.test.
11.0.0 PTR text.client.test.
"""
CLIENTS = """\
good A 127.0.0.2
other A 127.0.0.200
delegated A 127.0.0.1
delegated A 127.0.0.7
upper A 127.0.0.9
alias CNAME real
real A 127.0.0.10
text TXT "no address"
"""


@pytest.fixture(scope="module")
def dns(module_folder):
    server = DnsServer(module_folder / "nsd", {"127.in-addr.arpa": REVERSE, "client.test": CLIENTS, "broken": None}).start()
    yield server
    server.stop()


def settings(resolver, **more):
    return {"resolver": resolver, "smtpd_peername_lookup": "yes", **more}


@pytest.fixture(scope="module")
def server(dns, make_module_mta, module_folder, owner):
    return setups.hosted_server(make_module_mta, module_folder, owner, main=settings(dns.resolver))


def connect(server, address, **kwargs):
    return Smtp(server.address(), source=(address, 0), **kwargs)


@pytest.mark.parametrize(
    "address, name, warning",
    [
        ("127.0.0.1", "localhost", None),
        ("127.0.0.2", "good.client.test", None),
        ("127.0.0.3", "unknown", "hostname missing.client.test does not resolve to address 127.0.0.3: Host not found"),
        ("127.0.0.4", "unknown", "hostname other.client.test does not resolve to address 127.0.0.4"),
        ("127.0.0.5", "unknown", None),
        ("127.0.0.6", "unknown", "hostname x.broken does not resolve to address 127.0.0.6: Host not found, try again"),
        ("127.0.0.7", "delegated.client.test", None),
        ("127.0.0.8", "unknown", None),
        ("127.0.0.9", "upper.client.test", None),
        ("127.0.0.10", "alias.client.test", None),
        ("127.0.0.11", "unknown", "hostname text.client.test does not resolve to address 127.0.0.11: Host found but no data record of requested type"),
    ],
)
def test_names(server, address, name, warning):
    with connect(server, address) as client:
        client.quit()
    server.wait_log(rf" connect from {name}\[{address}\]$")
    warnings = server.lines(rf"smtpd\[\d+\]: warning: hostname .* does not resolve to address {address}(:|$)")
    assert len(warnings) == (warning is not None)
    assert warning is None or warnings[0].string.endswith(f"warning: {warning}")


def test_received(server):
    with connect(server, "127.0.0.2") as client:
        client.ehlo("said.example")
        client.mail("a@b.example", f"u1@{setups.DOMAIN}", b"Subject: x\r\n\r\nx\r\n")
    [raw] = maildir.wait_messages(server.maildir("u1"), 1)
    assert b"Received: from said.example (good.client.test [127.0.0.2])\n" in raw
    server.wait_log(r"client=good\.client\.test\[127\.0\.0\.2\]")
    server.wait_log(r"disconnect from good\.client\.test\[127\.0\.0\.2\]|lost connection after .* from good\.client\.test\[127\.0\.0\.2\]")


def test_a_client_that_talks_first(server):
    with connect(server, "127.0.0.5", greet=False) as client:
        client.send("EHLO early.example\r\nQUIT\r\n")
        client.expect(220)
        client.expect(250)
        client.expect(221)


def test_many_at_once(server):
    clients = [connect(server, f"127.0.1.{number}", greet=False) for number in range(1, 201)]
    for client in clients:
        client.expect(220)
        client.close()


# Without the names


def test_not_looked_up(make_mta):
    with FakeDns(lambda asked: []) as fake:
        server = make_mta({"resolver": fake.resolver}, listeners={"smtp": {"smtpd_peername_lookup": "no"}})
        with connect(server, "127.0.0.2") as client:
            client.quit()
        server.wait_log(r" connect from unknown\[127\.0\.0\.2\]$")
        assert not fake.questions


def test_nobody_answers(make_mta):
    """One client waits some seconds, and others need not wait with it."""
    with FakeDns(lambda asked: []) as fake:
        server = make_mta(settings(fake.resolver, smtpd_client_connection_count_limit="2"))
        start = time.monotonic()
        waiting = [connect(server, "127.0.0.2", greet=False) for _ in range(2)]
        procs.wait_for(lambda: fake.questions, 10, "the question")
        with connect(server, "127.0.0.1") as client:
            client.quit()
        with connect(server, "127.0.0.2", greet=False) as one_too_many:
            one_too_many.expect(421, "too many connections")
        assert time.monotonic() - start < 3 * procs.PATIENCE
        for client in waiting:
            client.expect(220)
            client.close()
        assert 3 < time.monotonic() - start < 12 * procs.PATIENCE
        server.wait_log(r" connect from unknown\[127\.0\.0\.2\]$", 2)


class Held:
    """An `answer` for FakeDns: that there is no such name, but not before it is released."""

    def __init__(self):
        self.released = threading.Event()

    def __call__(self, asked):
        self.released.wait(30)
        return [asked[:2] + b"\x81\x83" + asked[4:10] + b"\0\0" + asked[12 : asked.index(b"\0\0", 12) + 5]]


def test_a_client_that_does_not_wait(make_mta):
    """It is counted until it is gone, and not longer."""
    with FakeDns(held := Held()) as fake:
        server = make_mta(settings(fake.resolver, smtpd_client_connection_count_limit="1"))
        for number in range(3):
            client = connect(server, "127.0.0.2", greet=False)
            procs.wait_for(lambda: fake.questions, 10, "the question")
            client.close()
            held.released.set()
            server.wait_log(r"disconnect from unknown\[127\.0\.0\.2\]", number + 1)
        with connect(server, "127.0.0.2") as client, connect(server, "127.0.0.2", greet=False) as another:
            another.expect(421, "too many connections")
            client.quit()


def test_stop_while_a_name_is_looked_up(make_mta):
    with FakeDns(held := Held()) as fake:
        server = make_mta(settings(fake.resolver))
        with connect(server, "127.0.0.2", greet=False) as client:
            procs.wait_for(lambda: fake.questions, 10, "the question")
            server.ask_to_stop()
            server.wait_log("terminating on signal")
            held.released.set()
            client.expect(421)
        server.stop()


# The cache


def ask_again(dns, server, before):
    """The name that a second connection has once the zone has changed."""
    with connect(server, "127.0.0.50") as client:
        client.quit()
    server.wait_log(rf" connect from {before}\[127\.0\.0\.50\]$")
    dns.change("client.test", "new A 127.0.0.50\n")
    dns.change("127.in-addr.arpa", "50.0.0 PTR new.client.test.\n")
    with connect(server, "127.0.0.50") as client:
        client.quit()
    return server.lines(r" connect from (\S+)\[127\.0\.0\.50\]$")[-1][1]


@pytest.mark.parametrize("ttl, name", [(60, "old.client.test"), (0, "new.client.test")])
def test_a_name_is_kept_for_its_time(make_mta, folder, ttl, name):
    zones = {"127.in-addr.arpa": f"50.0.0 {ttl} PTR old.client.test.\n", "client.test": f"old {ttl} A 127.0.0.50\n"}
    dns = DnsServer(folder / "nsd", zones).start()
    assert ask_again(dns, make_mta(settings(dns.resolver)), "old.client.test") == name
    dns.stop()


@pytest.mark.parametrize("ttl, name", [(60, "unknown"), (0, "new.client.test")])
def test_that_there_is_no_name_is_kept_too(make_mta, folder, ttl, name):
    dns = DnsServer(folder / "nsd", {"127.in-addr.arpa": "", "client.test": ""}, negative_ttl=ttl).start()
    assert ask_again(dns, make_mta(settings(dns.resolver)), "unknown") == name
    dns.stop()


# Reload


def names_of_next(server, address):
    with connect(server, address) as client:
        client.quit()
    server.wait_log(rf"disconnect from \S+\[{address}\]")
    return server.lines(rf" connect from (\S+)\[{address}\]$")[-1][1]


def reload(server, **main):
    server.main.update(main)
    server.write_config()
    over = "reload -- version|the configuration in force stays"
    before = len(server.lines(over))
    server.child.send_signal(1)
    server.wait_log(over, before + 1)


def test_another_resolver(make_mta, dns):
    """Questions under way are asked there."""
    with FakeDns(lambda asked: []) as fake:
        server = make_mta(settings(fake.resolver))
        with connect(server, "127.0.0.2", greet=False) as client:
            procs.wait_for(lambda: fake.questions, 10, "the question")
            reload(server, resolver=dns.resolver)
            client.expect(220)
        server.wait_log(r" connect from good\.client\.test\[127\.0\.0\.2\]$")
        reload(server, resolver="nonsense")
        assert server.lines('resolver: "nonsense" is not an address, or address:port')
        assert names_of_next(server, "127.0.0.9") == "upper.client.test"


def test_reload_while_many_names_are_looked_up(make_mta, dns):
    server = make_mta(settings(dns.resolver))
    stop = threading.Event()

    def reloads():
        while not stop.is_set():
            server.child.send_signal(1)
            time.sleep(0.02)

    thread = threading.Thread(target=reloads)
    thread.start()
    try:
        for number in range(1, 101):
            with connect(server, f"127.0.2.{number}") as client:
                client.quit()
    finally:
        stop.set()
        thread.join()
    assert names_of_next(server, "127.0.0.2") == "good.client.test"
