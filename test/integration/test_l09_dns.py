"""Where mail for a domain goes: `mta mx`, which asks as the SMTP client does, against a real name server, and against one
that answers wrongly, late, or never."""

import struct
import time

import pytest
from support import mta as mta_support
from support.dnsserver import DnsServer, FakeDns

LONG_NAME = "l" * 64

ZONE = f"""\
mx1 A 192.0.2.1
mx2 A 192.0.2.2
mx3 A 192.0.2.3
both A 192.0.2.4
both AAAA 2001:db8::4
six AAAA 2001:db8::6
ordered MX 30 mx3
ordered MX 10 mx1
ordered MX 20 mx2
equal MX 10 mx1
equal MX 10 mx2
equal MX 5 mx3
dual MX 10 both
mixed MX 10 both
mixed MX 10 six
mixed MX 10 mx1
mixed MX 20 mx2
host A 192.0.2.10
nullmx MX 0 .
nullmx A 192.0.2.11
nothing TXT "only text"
noaddress MX 10 nothing
noaddress MX 20 missing
halfbroken MX 10 mx.broken.
halfbroken MX 20 mx2
allbroken MX 10 mx.broken.
allbroken MX 20 missing
brokenonly MX 10 missing
brokenonly MX 20 mx.broken.
alias CNAME ordered
aliashost MX 10 nickname
nickname CNAME mx1
elsewhere CNAME mail.other.
hostelsewhere MX 10 away
away CNAME mail.other.
into CNAME nowhere.other.
loop1 CNAME loop2
loop2 CNAME loop1
outloop CNAME inloop.other.
self MX 10 own
own A 127.0.0.1
second MX 10 mx1
second MX 20 own
second MX 20 mx2
second MX 30 mx3
shared MX 10 mx1
shared MX 10 own
named MX 10 mx1
named MX 20 mail.example.com.
primary MX 10 nothing
primary MX 20 own
ownhost A 127.0.0.1
numeric MX 10 192.0.2.99.
badname MX 10 {chr(92)}@{chr(92)}(x
partbad MX 10 {chr(92)}@{chr(92)}(x
partbad MX 20 mx2
xn--bcher-kva MX 10 mx1
under_score MX 10 mx1
"""
ZONE += "\n".join(f"chain{i} CNAME chain{i + 1}" for i in range(20)) + "\nchain20 A 192.0.2.14\n"
ZONE += "\n".join(f"many MX {i} a-rather-long-name-for-a-host-{i}\na-rather-long-name-for-a-host-{i} A 198.51.100.{i}" for i in range(1, 101)) + "\n"
ZONE += "\n".join(f"manyaddresses A 203.0.113.{i}" for i in range(1, 21)) + "\n"
ZONE += "\n".join(f"manyaddresses AAAA 2001:db8:1::{i}" for i in range(1, 3)) + "\n"
OTHER = "mail MX 10 mail\nmail A 192.0.2.20\ninloop CNAME outloop.example.\n"
FLOOD = "*.zone MX 10 mx\nmx A 192.0.2.30\n"


@pytest.fixture(scope="module")
def dns(module_folder):
    server = DnsServer(module_folder / "nsd", {"example": ZONE, "other": OTHER, "flood": FLOOD, "broken": None}).start()
    yield server
    server.stop()


class Answer:
    def __init__(self, done):
        self.status = done.returncode
        self.hosts = [tuple(line.split(" ")) for line in done.stdout.decode().splitlines()]
        self.error = done.stderr.decode().removeprefix("mta: ").strip()
        self.addresses = [host[-1] for host in self.hosts]


@pytest.fixture
def ask(dns, folder):
    """ask(domain, parameter=value) is what `mta mx` says."""

    def ask(*domains, lines=None, **settings):
        conf = folder / "mta.conf"
        main = {"myhostname": "mail.example.com", "mydestination": "", "inet_interfaces": "127.0.0.1", "resolver": dns.resolver, **settings}
        conf.write_text(mta_support.config_text(main))
        kwargs = {"input": lines.encode()} if lines else {}
        return Answer(mta_support.command("-c", conf, "mx", *domains, **kwargs))

    return ask


NOT_FOUND = "Host or domain name not found. Name service error for name={} type={}: {}"
TRY_AGAIN = "Host not found, try again"
NO_DATA = "Host found but no data record of requested type"


# Which hosts, and their order


def test_by_preference(ask):
    assert ask("ordered.example").hosts == [
        ("10", "mx1.example", "192.0.2.1"), ("20", "mx2.example", "192.0.2.2"), ("30", "mx3.example", "192.0.2.3")
    ]  # fmt: skip


def test_random_among_equals(ask):
    seen = {tuple(ask("equal.example").addresses) for _ in range(40)}
    assert seen == {("192.0.2.3", "192.0.2.1", "192.0.2.2"), ("192.0.2.3", "192.0.2.2", "192.0.2.1")}


def test_case_does_not_matter(ask):
    assert ask("OrDered.EXAMPLE").addresses == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]


def test_no_mx_is_the_host_itself(ask):
    assert ask("host.example").hosts == [("0", "host.example", "192.0.2.10")]
    assert ask("six.example").hosts == [("0", "six.example", "2001:db8::6")]


def test_a_host_in_brackets_has_no_mx(ask):
    assert ask("[mx1.example]").hosts == [("0", "mx1.example", "192.0.2.1")]
    assert ask("[ordered.example]").error == "[ordered.example]: 5.4.4 " + NOT_FOUND.format("ordered.example", "AAAA", NO_DATA)


@pytest.mark.parametrize(
    "domain, address",
    [("192.0.2.7", "192.0.2.7"), ("[192.0.2.7]", "192.0.2.7"), ("[IPv6:2001:DB8::7]", "2001:db8::7"), ("[2001:db8::7]", "2001:db8::7")],
)
def test_addresses(ask, domain, address):
    assert ask(domain).addresses == [address]


def test_an_address_of_a_version_that_is_not_in_use(ask):
    assert ask("[2001:db8::7]", inet_protocols="ipv4").error.endswith("5.4.4 Name service error for 2001:db8::7: invalid host or domain name")


def test_a_numeric_mx(ask):
    """Against the standard, and Postfix takes it."""
    assert ask("numeric.example").addresses == ["192.0.2.99"]


def test_a_hundred_hosts_come_over_tcp(ask):
    answer = ask("many.example", smtp_mx_address_limit="0")
    assert answer.addresses == [f"198.51.100.{i}" for i in range(1, 101)]
    assert ask("many.example").addresses == [f"198.51.100.{i}" for i in range(1, 6)]


@pytest.mark.parametrize("preference, first", [("ipv4", "192.0.2.4"), ("ipv6", "2001:db8::4")])
def test_preferred_ip_version(ask, preference, first):
    for _ in range(5):
        assert ask("dual.example", smtp_address_preference=preference).addresses[0] == first


def test_any_ip_version_may_come_first(ask):
    assert {ask("dual.example").addresses[0] for _ in range(40)} == {"192.0.2.4", "2001:db8::4"}


def test_preference_goes_before_ip_version(ask):
    addresses = ask("mixed.example", smtp_address_preference="ipv6").addresses
    assert set(addresses[:2]) == {"2001:db8::4", "2001:db8::6"} and addresses[4] == "192.0.2.2"


@pytest.mark.parametrize("protocols, addresses", [("ipv4", ["192.0.2.4"]), ("ipv6", ["2001:db8::4"])])
def test_ip_versions_in_use(ask, protocols, addresses):
    assert ask("dual.example", inet_protocols=protocols, inet_interfaces="all").addresses == addresses


def test_only_ipv6_and_no_ipv6_here(ask):
    assert ask("six.example", inet_protocols="ipv4").error.endswith("5.4.4 " + NOT_FOUND.format("six.example", "A", NO_DATA))


def test_a_cut_list_has_both_ip_versions(ask):
    for _ in range(10):
        addresses = ask("manyaddresses.example").addresses
        assert len(addresses) == 5 and sum(":" in address for address in addresses) == 2
    assert len(ask("manyaddresses.example", smtp_mx_address_limit="0").addresses) == 22


def test_a_list_that_is_not_balanced(ask):
    addresses = ask("manyaddresses.example", smtp_address_preference="ipv4", smtp_balance_inet_protocols="no").addresses
    assert len(addresses) == 5 and not [address for address in addresses if ":" in address]


# Domains that take no mail


def test_null_mx(ask):
    answer = ask("nullmx.example")
    assert (answer.status, answer.error) == (1, "nullmx.example: 5.1.10 Domain nullmx.example does not accept mail (nullMX)")


def test_no_such_domain(ask):
    answer = ask("missing.example")
    assert answer.status == 1
    assert answer.error == "missing.example: 5.4.4 " + NOT_FOUND.format("missing.example", "AAAA", "Host not found")


def test_a_name_without_addresses(ask):
    assert ask("nothing.example").error == "nothing.example: 5.4.4 " + NOT_FOUND.format("nothing.example", "AAAA", NO_DATA)


def test_mx_hosts_without_addresses(ask):
    answer = ask("noaddress.example")
    assert (answer.status, answer.error) == (1, "noaddress.example: 5.4.4 " + NOT_FOUND.format("missing.example", "AAAA", "Host not found"))
    answer = ask("noaddress.example", smtp_defer_if_no_mx_address_found="yes")
    assert (answer.status, answer.error) == (2, "noaddress.example: 4.4.4 " + NOT_FOUND.format("missing.example", "AAAA", "Host not found"))


@pytest.mark.parametrize("name", ["a..example", ".example", "example.", "-a.example", "a b.example", LONG_NAME + ".example", "12345", "x" * 300])
def test_names_that_no_host_can_have(ask, name):
    answer = ask(name)
    assert (answer.status, answer.error) == (1, f"{name}: 5.4.4 Name service error for {name}: invalid host or domain name")


def test_mx_hosts_that_no_host_can_be(ask):
    answer = ask("badname.example")
    assert (answer.status, answer.error) == (1, "badname.example: 5.4.4 Name service error for name=badname.example type=MX: Malformed or unexpected name server reply")
    assert ask("partbad.example").addresses == ["192.0.2.2"]


@pytest.mark.parametrize("name", ["bücher.example", "BÜCHER.example", "bu\u0308cher.example", "xn--bcher-kva.example", "bücher。example"])
def test_internationalised_names(ask, name):
    assert ask(name).addresses == ["192.0.2.1"]


@pytest.mark.parametrize("name", ["b\u200bücher .example", "\u00ad.example", "ü" * 70 + ".example", "xn--a-ecp.ru\u0301 "])
def test_internationalised_names_that_there_cannot_be(ask, name):
    answer = ask(name)
    assert answer.status == 1 and "5.4.4" in answer.error and "invalid host or domain name" in answer.error


def test_underscores(ask):
    assert ask("under_score.example").addresses == ["192.0.2.1"]


# Aliases


def test_aliases(ask):
    assert ask("alias.example").addresses == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    assert ask("aliashost.example").hosts == [("10", "nickname.example", "192.0.2.1")]


def test_aliases_that_the_server_does_not_follow(ask):
    """It knows both zones, and leaves it to the asker to look into the other one."""
    assert ask("elsewhere.example").hosts == [("10", "mail.other", "192.0.2.20")]
    assert ask("hostelsewhere.example").hosts == [("10", "away.example", "192.0.2.20")]


def test_an_alias_of_nothing(ask):
    answer = ask("into.example")
    assert (answer.status, answer.error) == (1, "into.example: 5.4.4 " + NOT_FOUND.format("into.example", "AAAA", "Host not found"))


@pytest.mark.parametrize("domain", ["loop1.example", "outloop.example", "chain0.example"])
def test_aliases_without_end(ask, domain):
    answer = ask(domain)
    assert (answer.status, answer.error) == (1, f"{domain}: 5.4.4 Name service error for name={domain} type=MX: Name server loop")


def test_a_chain_that_is_just_short_enough(ask):
    assert ask("[chain4.example]").addresses == ["192.0.2.14"]


# Ourselves


def test_our_own_address_is_the_best(ask):
    answer = ask("self.example")
    assert (answer.status, answer.error) == (1, "self.example: 5.4.6 mail for self.example loops back to myself")
    assert "5.4.6 mail for ownhost.example loops back to myself" in ask("ownhost.example").error
    assert "5.4.6" in ask("ordered.example", proxy_interfaces="192.0.2.1").error


def test_only_hosts_that_are_better_than_we(ask):
    assert ask("second.example").addresses == ["192.0.2.1"]
    assert ask("named.example").addresses == ["192.0.2.1"]
    assert ask("ordered.example", proxy_interfaces="192.0.2.3").addresses == ["192.0.2.1", "192.0.2.2"]


def test_not_even_a_host_as_good_as_we(ask):
    assert "5.4.6 mail for shared.example loops back to myself" in ask("shared.example").error


def test_no_better_host_has_an_address(ask):
    answer = ask("primary.example")
    assert (answer.status, answer.error) == (2, "primary.example: 4.4.4 unable to find primary relay for primary.example")


# Servers that fail


@pytest.mark.parametrize("domain, why", [("x.broken", TRY_AGAIN), ("refused.test", TRY_AGAIN)])
def test_no_answer_is_not_no(ask, domain, why):
    answer = ask(domain)
    assert (answer.status, answer.error) == (2, f"{domain}: 4.4.3 " + NOT_FOUND.format(domain, "MX", why))


def test_one_host_fails_and_another_is_fine(ask):
    assert ask("halfbroken.example").addresses == ["192.0.2.2"]


def test_a_failure_among_hosts_without_address(ask):
    answer = ask("brokenonly.example")
    assert (answer.status, answer.error) == (2, "brokenonly.example: 4.4.3 " + NOT_FOUND.format("mx.broken", "AAAA", TRY_AGAIN))
    answer = ask("allbroken.example")
    assert (answer.status, answer.error) == (2, "allbroken.example: 4.4.4 " + NOT_FOUND.format("missing.example", "AAAA", "Host not found"))


def test_nobody_listens(ask):
    start = time.monotonic()
    assert ask("ordered.example", resolver="127.0.0.1:1").status == 2
    assert time.monotonic() - start < 10


def test_a_dead_server_before_a_good_one(ask, dns):
    assert ask("host.example", resolver=f"127.0.0.1:1, {dns.resolver}").addresses == ["192.0.2.10"]


def test_ignore_mx_lookup_error(ask):
    def answer(asked):
        if asked[-4:-2] == struct.pack(">H", 15):
            return [reply(asked, rcode=2)]
        return [reply(asked, [record(1, bytes([192, 0, 2, 50]))] if asked[-4:-2] == struct.pack(">H", 1) else [])]

    with FakeDns(strip_edns(answer)) as fake:
        assert ask("x.test", resolver=fake.resolver).status == 2
        assert ask("x.test", resolver=fake.resolver, ignore_mx_lookup_error="yes").addresses == ["192.0.2.50"]


def test_the_systems_names(ask):
    """smtp_host_lookup: a name of /etc/hosts that DNS does not know."""
    with open("/etc/hosts") as hosts:
        lines = [line.split("#")[0].split() for line in hosts]
    names = [line[1] for line in lines if len(line) > 1 and line[1] != "localhost"]
    if not names:
        pytest.skip("no name but localhost in /etc/hosts")
    plain = {"inet_interfaces": "192.0.2.200"}  # so that its address is not our own
    assert ask(f"[{names[0]}]", **plain).status != 0
    assert ask(f"[{names[0]}]", smtp_host_lookup="native", **plain).addresses
    assert ask(f"[{names[0]}]", smtp_host_lookup="dns, native", **plain).addresses


def test_a_resolver_that_is_none(folder):
    for value, word in (("localhost", "localhost"), ("127.0.0.1:0", "127.0.0.1:0"), ("127.0.0.1:dns", "127.0.0.1:dns"), ("::1:x [::1", "::1:x")):
        conf = folder / "mta.conf"
        conf.write_text(f"myhostname = mail.example.com\nmydestination =\nresolver = {value}\n")
        done = mta_support.command("-c", conf, "--check-config")
        assert done.returncode == 1 and f'mta.conf:3: error: resolver: "{word}" is not an address, or address:port' in done.stderr.decode()


# Replies that are none. The fake server's own:


def record(kind, data, ttl=60, name=b"\xc0\x0c"):
    return name + struct.pack(">HHIH", kind, 1, ttl, len(data)) + data


def reply(asked, answers=(), rcode=0, flags=0x8180, ident=None):
    """To `asked`, a question without more behind it."""
    head = struct.pack(">HHHHHH", int.from_bytes(asked[:2], "big") if ident is None else ident, flags | rcode, 1, len(answers), 0, 0)
    return head + asked[12:] + b"".join(answers)


def strip_edns(answer):
    """`answer` gets the question without its OPT record."""
    return lambda asked: answer(asked[: asked.index(b"\0\0", 12) + 5])


def mail_answer(asked):
    """An MX and an A record for everything."""
    kinds = {15: b"\0\x0a\x02mx\xc0\x0c", 1: bytes([192, 0, 2, 77])}
    kind = int.from_bytes(asked[-4:-2], "big")
    return reply(asked, [record(kind, kinds[kind])] if kind in kinds else [])


def wrong_ident(asked):
    return [reply(asked, [record(15, b"\0\0\0")], ident=(int.from_bytes(asked[:2], "big") + 1) % 65536), mail_answer(asked)]


def wrong_question(asked):
    other = asked[:13] + b"y" + asked[14:]
    return [reply(other, [record(15, b"\0\0\0")]), mail_answer(asked)]


def other_names(asked):
    """The records of the question, and more of another name, which nobody asked about."""
    kind = int.from_bytes(asked[-4:-2], "big")
    good = mail_answer(asked)
    count = int.from_bytes(good[6:8], "big")
    more = record(kind, b"\0\x01\x04evil\0" if kind == 15 else b"\xc6\x33\x64\x01", name=b"\x05other\x04test\0")
    return [good[:6] + struct.pack(">H", count + 1) + good[8:] + more] if count else [good]


@pytest.mark.parametrize("answer", [wrong_ident, wrong_question, other_names])
def test_replies_to_something_else(ask, answer):
    with FakeDns(strip_edns(answer)) as fake:
        assert ask("x.test", resolver=fake.resolver).hosts == [("10", "mx.x.test", "192.0.2.77")]


def test_garbage_and_then_a_reply(ask):
    seen = []

    def answer(asked):
        seen.append(asked)
        return [b"", b"x", b"\xff" * 600, asked[:11]] if len(seen) == 1 else [mail_answer(asked)]

    with FakeDns(strip_edns(answer)) as fake:
        assert ask("x.test", resolver=fake.resolver).addresses == ["192.0.2.77"]


@pytest.mark.parametrize(
    "answers",
    [
        [record(15, b"\0\x0a\xc0\x0c")[:-2]],  # cut off
        [record(15, b"\0\x0a\x02mx\xff\xff")],  # a pointer to nowhere
        [record(15, b"\0\x0a\x02mx"), record(15, b"\0\x0a\x02mx")],
    ],
)
def test_records_that_are_none(ask, answers):
    with FakeDns(strip_edns(lambda asked: [reply(asked, answers)])) as fake:
        answer = ask("x.test", resolver=fake.resolver)
        assert answer.status > 0 and not answer.hosts


def test_cut_off_and_nobody_listens_for_tcp(ask):
    with FakeDns(strip_edns(lambda asked: [reply(asked, flags=0x8380)])) as fake:
        assert ask("x.test", resolver=fake.resolver).status == 2


def test_a_silent_server_before_a_good_one(ask, dns):
    with FakeDns(lambda asked: []) as silent:
        assert ask("host.example", resolver=f"{silent.resolver} {dns.resolver}").addresses == ["192.0.2.10"]


@pytest.mark.long
def test_silence_is_waited_for_in_bounds(ask):
    with FakeDns(lambda asked: []) as fake, FakeDns(lambda asked: []) as another:
        start = time.monotonic()
        answer = ask("x.test", resolver=f"{fake.resolver} {another.resolver}")
        assert answer.status == 2 and time.monotonic() - start < 35


# Many


def test_a_thousand_questions_at_once(ask):
    lines = "".join(f"d{i}.zone.flood\n" for i in range(1000))
    answer = ask("-", lines=lines, smtp_host_lookup="dns")
    assert answer.status == 0 and len(answer.hosts) == 1000
    assert {host[0] for host in answer.hosts} == {f"d{i}.zone.flood\t10" for i in range(1000)}


def test_the_same_question_is_asked_once(ask):
    with FakeDns(strip_edns(lambda asked: [mail_answer(asked)])) as fake:
        answer = ask("-", lines="x.test\n" * 200, resolver=fake.resolver, inet_protocols="ipv4")
        assert len(answer.hosts) == 200 and len(fake.questions) == 2
