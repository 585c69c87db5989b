"""Mail that finds its way by DNS: a real name server, and a server on each loopback address that its records name.

All of them listen on the same port, which is the client's smtp_tcp_port.
"""

import contextlib
import re
import socket
import threading
import time

import pytest
from support import dsn, outbound, procs
from support.dnsserver import DnsServer
from support.outbound import send
from support.peer import CHUNKING, SMTPUTF8, USUAL, Peer, settle
from support.smtp import Smtp

HOSTS = 20
ZONE = f"""\
home MX 10 h1
ordered MX 30 h4
ordered MX 10 h2
ordered MX 20 h3
equal MX 10 h2
equal MX 10 h3
six MX 10 unreachable6
unreachable6 AAAA 2001:db8::1
unreachable6 A 127.0.8.2
sixonly MX 10 only6
sixonly MX 20 h2
only6 AAAA 2001:db8::2
plain A 127.0.8.2
alias CNAME ordered
nullmx MX 0 .
noaddress MX 10 nothing
nothing TXT "none"
broken MX 10 host.broken.
self MX 10 mail.example.com.
xn--bcher-kva MX 10 h2
relay MX 10 h5
relay A 127.0.8.6
h5 MX 10 h2
one MX 10 h7
two MX 10 h8
"""
ZONE += "".join(f"h{number} A 127.0.8.{number}\n" for number in range(1, HOSTS))


@pytest.fixture(scope="module")
def port():
    return procs.free_ports(1)[0]


@pytest.fixture(scope="module")
def dns(module_folder):
    server = DnsServer(module_folder / "nsd", {"world": ZONE, "broken": None}).start()
    yield server
    server.stop()


def settings(dns, port, **more):
    """Each connection is one message's, so that each asks for its way; deferred mail waits for an hour."""
    return {
        "resolver": dns.resolver,
        "smtp_tcp_port": port,
        "smtp_connect_timeout": "1s",
        "smtp_address_preference": "ipv6",
        "smtp_connection_cache_on_demand": "no",
        "minimal_backoff_time": "1h",
        "maximal_backoff_time": "1h",
        **more,
    }


@pytest.fixture(scope="module")
def server(make_module_mta, module_folder, dns, port):
    (module_folder / "transport").write_text("self.world to25:\n")
    main = settings(dns, port, transport_maps=f"texthash:{module_folder}/transport")
    return make_module_mta(main, transports={"to25": {"type": "smtp", "smtp_tcp_port": "25"}})


@pytest.fixture
def host(port):
    """host(number, ...) is a server on that host of the zone, for one test."""
    with contextlib.ExitStack() as stack:
        yield lambda number, **replies: stack.enter_context(Peer(f"127.0.8.{number}", port, **replies))


def attempt(server, recipient, **kwargs):
    [result] = outbound.attempt(server, recipient, sender=kwargs.pop("sender", "from@home.world"), **kwargs).values()
    return result


def test_the_best_host(server, host):
    best, second, third = host(2), host(3), host(4)
    for _ in range(5):
        assert attempt(server, "user@ordered.world")["relay"].startswith("h2.world[127.0.8.2]:")
    assert [len(there.messages) for there in (best, second, third)] == [5, 0, 0]


def test_hosts_that_are_as_good_take_turns_by_chance(server, host):
    both = host(2), host(3)
    for _ in range(25):
        attempt(server, "user@equal.world")
    assert all(there.messages for there in both) and sum(len(there.messages) for there in both) == 25


def test_a_host_that_refuses_connections(server, host):
    there = host(3)
    assert attempt(server, "user@ordered.world")["status"] == "sent"
    assert there.messages


@contextlib.contextmanager
def black_hole(address):
    """Its queue of connections is full, so the kernel answers no more of them."""
    with socket.create_server(address, backlog=0) as hole, contextlib.ExitStack() as stack:
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(hole.getsockname())
        yield


def test_a_host_that_says_nothing(server, host, port):
    there = host(3)
    with black_hole(("127.0.8.2", port)):
        start = time.monotonic()
        assert attempt(server, "user@ordered.world")["status"] == "sent"
        assert there.messages and time.monotonic() - start > 0.9


@pytest.mark.parametrize("greeting", ["421 4.3.2 not now", "554 5.7.1 not you", "hello?"])
def test_a_host_that_is_unfriendly(server, host, greeting):
    bad, good = host(2, greeting=greeting), host(3)
    assert attempt(server, "user@ordered.world")["status"] == "sent"
    assert bad.sessions and len(good.messages) == 1


def test_the_last_host_is_told_of(server, host):
    """Of three, since smtp_mx_session_limit is 2."""
    there = [host(number, greeting=f"421 4.3.2 host {number} is tired") for number in (2, 3, 4)]
    result = attempt(server, "user@ordered.world")
    assert result["status"] == "deferred" and "host 3 is tired" in result["text"]
    assert [len(peer.sessions) for peer in there] == [1, 1, 0]


@pytest.mark.parametrize("domain", ["six", "sixonly"])
def test_ipv6_leads_nowhere_and_ipv4_is_fine(server, host, domain):
    there = host(2)
    assert attempt(server, f"user@{domain}.world")["status"] == "sent"
    assert there.messages


@pytest.mark.parametrize("domain", ["plain", "xn--bcher-kva", "[127.0.8.2]"])
def test_other_ways_to_a_host(server, host, domain):
    there = host(2)
    assert attempt(server, f"user@{domain if '[' in domain else domain + '.world'}")["status"] == "sent"
    assert there.messages


def test_an_alias(server, host):
    there = host(2)
    assert attempt(server, "user@alias.world")["status"] == "sent"
    assert "<user@alias.world>" in there.messages[0].recipients[0]


def test_a_name_that_is_not_ascii(server, host):
    there = host(2, offers=[*USUAL, SMTPUTF8, CHUNKING])
    assert attempt(server, "user@bücher.world", mail=" SMTPUTF8")["status"] == "sent"
    assert there.messages


@pytest.mark.parametrize(
    "domain, code, words",
    [
        ("nullmx.world", "5.1.10", "does not accept mail"),
        ("missing.world", "5.4.4", "Host not found"),
        ("noaddress.world", "5.4.4", "Host found but no data record of requested type"),
        ("self.world", "5.4.6", "mail for self.world loops back to myself"),
    ],
)
def test_no_way_at_all(server, host, domain, code, words):
    """The sender gets it back, by DNS too."""
    home = host(1)
    result = attempt(server, f"user@{domain}")
    assert (result["status"], result["dsn"]) == ("bounced", code) and words in result["text"]
    [message] = home.wait_messages(1)
    report = dsn.Report(message.content)
    fields = report.recipient(f"user@{domain}")
    assert (fields["Action"], fields["Status"]) == ("failed", code) and words in " ".join(fields["Diagnostic-Code"].split())
    assert message.mail.startswith("MAIL FROM:<>")


@pytest.mark.parametrize("domain", ["broken", "broken.world", "refused.test"])
def test_no_answer_is_not_no(server, domain):
    result = attempt(server, f"user@{domain}")
    assert (result["status"], result["dsn"]) == ("deferred", "4.4.3")


# relayhost and tables


@pytest.mark.parametrize("relayhost, number", [("relay.world", 5), ("[relay.world]", 6), ("h5.world", 2), ("[h5.world]", 5), ("[127.0.8.9]", 9), ("[h10.world]:PORT", 10)])
def test_relayhost(make_mta, dns, port, host, relayhost, number):
    """With brackets its address, without them its mail hosts."""
    there = host(number)
    own = settings(dns, port, relayhost=relayhost.replace("PORT", str(port)), sender_dependent_relayhost_maps="inline:{{vip@home.world = [h11.world]}, {@plain.world = h5.world}}")
    server = make_mta(own)
    assert attempt(server, "user@nowhere.at.all")["status"] == "sent"
    assert len(there.messages) == 1
    if number == 5:
        vip, alike = host(11), host(2)
        attempt(server, "user@nowhere.at.all", sender="vip@home.world")
        attempt(server, "user@nowhere.at.all", sender="any@plain.world")
        assert (len(vip.messages), len(alike.messages), len(there.messages)) == (1, 1, 1)


def test_transport_table(make_mta, dns, port, folder, host):
    [other] = procs.free_ports(1)
    (folder / "transport").write_text(f"a.test smtp:[h2.world]\nb.test smtp:relay.world\nc.test :[127.0.8.3]:{other}\n.d.test smtp:[h4.world]\n")
    server = make_mta(settings(dns, port, transport_maps=f"texthash:{folder}/transport"))
    there = {"a.test": host(2), "b.test": host(5), "x.d.test": host(4)}
    with Peer("127.0.8.3", other) as third:
        for domain, peer in {**there, "c.test": third}.items():
            assert attempt(server, f"user@{domain}")["status"] == "sent"
            assert len(peer.messages) == 1


# Attempts after the first


RETRY = {"minimal_backoff_time": "1s", "maximal_backoff_time": "1s"}


def test_the_way_is_looked_for_at_each_attempt(make_mta, dns, port, folder, host):
    """Both in DNS and in the table of transports."""
    table = folder / "transport"
    table.write_text("table.test smtp:[h12.world]\n")
    dns.change("world", ZONE + "moving 1 IN MX 10 h12\n")
    server = make_mta(settings(dns, port, **RETRY, transport_maps=f"texthash:{table}"))
    by_dns, by_table = send(server, "user@moving.world"), send(server, "user@table.test")
    for queue in (by_dns, by_table):
        assert server.wait_deliveries(queue, 1)[0]["status"] == "deferred"
    there = host(13)
    dns.change("world", ZONE + "moving 1 IN MX 10 h13\n")
    table.write_text("table.test smtp:[h13.world]\n")
    for queue in (by_dns, by_table):
        server.wait_removed(queue)
    assert len(there.messages) == 2


def test_greylisting(make_mta, dns, port, host):
    there = host(2, rcpt=["450 4.2.0 come again"] * 2 + ["250 2.1.5 Ok"])
    server = make_mta(settings(dns, port, **RETRY))
    queue = send(server, "user@plain.world")
    server.wait_removed(queue)
    assert [result["status"] for result in server.deliveries(queue)] == ["deferred", "deferred", "sent"]
    assert len(there.messages) == 1


def test_a_dead_destination_is_left_alone(make_mta, dns, port, host):
    """Others go on; when its time is over it is tried again."""
    healthy = host(7)
    server = make_mta(settings(dns, port, minimal_backoff_time="4s", maximal_backoff_time="4s", initial_destination_concurrency="1"))
    first = send(server, "user@two.world")
    assert "Connection refused" in server.wait_deliveries(first, 1)[0]["text"]
    dead_since = time.monotonic()
    there = host(8)
    second = send(server, "user@two.world")
    text = server.wait_deliveries(second, 1)[0]["text"]
    assert text.startswith("delivery temporarily suspended: connect to h8.world[127.0.8.8]")
    for _ in range(5):
        assert attempt(server, "user@one.world")["status"] == "sent"
    assert len(healthy.messages) == 5 and (not there.sessions or time.monotonic() - dead_since > 4)
    there.wait_messages(2)
    assert time.monotonic() - dead_since > 3.5
    settle()
    assert len(there.messages) == 2


def test_one_message_does_not_make_a_destination_dead(server, host):
    there = host(2, mail=["451 4.3.0 not this one", "250 2.1.0 Ok"])
    assert attempt(server, "user@plain.world")["status"] == "deferred"
    assert attempt(server, "user@plain.world")["status"] == "sent"
    assert len(there.messages) == 1


# Limits, as the other side sees them


class Busy:
    """For the reply to the content: takes a while, and knows how many were there at once, and when each came."""

    def __init__(self, seconds):
        self.seconds, self.lock, self.now, self.most, self.times = seconds, threading.Lock(), 0, 0, []

    def __call__(self, session, content):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
            self.times.append(time.monotonic())
        time.sleep(self.seconds)
        with self.lock:
            self.now -= 1
        return "250 2.0.0 Ok"


def send_many(server, recipients):
    with Smtp(server.address()) as client:
        client.ehlo()
        for recipient in recipients:
            client.mail("from@home.world", recipient, b"Subject: x\r\n\r\nbody\r\n")


def test_concurrency(make_mta, dns, port, host):
    """Each destination has its own."""
    busy = {7: Busy(0.1), 8: Busy(0.1)}
    peers = {number: host(number, end=reply) for number, reply in busy.items()}
    server = make_mta(settings(dns, port, smtp_destination_concurrency_limit="3", initial_destination_concurrency="2"))
    send_many(server, ["user@one.world", "user@two.world"] * 25)
    for number, peer in peers.items():
        peer.wait_messages(25)
        assert busy[number].most == 3


def test_concurrency_begins_small_and_grows(make_mta, dns, port, host):
    busy = Busy(0.2)
    there = host(7, end=busy)
    server = make_mta(settings(dns, port, initial_destination_concurrency="2", default_destination_concurrency_limit="8", smtp_destination_concurrency_positive_feedback="1"))
    send_many(server, ["user@one.world"] * 40)
    there.wait_messages(40)
    assert busy.most == 8
    # Two at first: the third comes after the first reply.
    assert busy.times[2] - busy.times[0] > 0.15


def test_rate_delay(make_mta, dns, port, host):
    busy, other = Busy(0), Busy(0)
    slow, quick = host(7, end=busy), host(8, end=other)
    server = make_mta(
        settings(dns, port, slow_destination_rate_delay="1s", transport_maps="inline:{{one.world = slow:}}"),
        transports={"slow": {"type": "smtp"}},
    )
    send_many(server, ["user@one.world", "user@two.world"] * 4)
    quick.wait_messages(4)
    slow.wait_messages(4)
    assert all(later - earlier > 0.9 for earlier, later in zip(busy.times, busy.times[1:]))
    assert other.times[-1] - other.times[0] < 2
    assert busy.most == 1


def test_recipients_are_split(make_mta, dns, port, host):
    there = host(7)
    server = make_mta(settings(dns, port, smtp_destination_recipient_limit="7"))
    send(server, [f"u{number}@one.world" for number in range(20)])
    there.wait_messages(3)
    settle()
    assert sorted(len(message.recipients) for message in there.messages) == [6, 7, 7]
    assert len({re.search(r"<(\S+)>", rcpt)[1] for message in there.messages for rcpt in message.recipients}) == 20
