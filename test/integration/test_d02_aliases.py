"""virtual_alias_maps: expansion with Postfix's rules and limits, seen in who receives what."""

import pytest
from support import maildir, setups
from support.setups import DOMAIN

ALIAS_DOMAIN = "aliases.example"
USERS = ["anna", "bert", "carl", "dora", "anna+keep", "all"]

ALIASES = {
    f"one@{DOMAIN}": f"anna@{DOMAIN}",
    f"two@{DOMAIN}": f"anna@{DOMAIN},bert@{DOMAIN}",
    f"spaces@{DOMAIN}": f"anna@{DOMAIN} ,  bert@{DOMAIN}",
    f"chain@{DOMAIN}": f"two@{DOMAIN}, carl@{DOMAIN}",
    f"copy@{DOMAIN}": f"copy@{DOMAIN}, anna@{DOMAIN}",
    f"Upper@{DOMAIN}".lower(): f"Anna@{DOMAIN.title()}",
    f"doubled@{DOMAIN}": f"anna@{DOMAIN}, ANNA@{DOMAIN}, one@{DOMAIN}",
    f"bare@{DOMAIN}": "anna",
    f"exact+ext@{DOMAIN}": f"bert@{DOMAIN}",
    f"exact@{DOMAIN}": f"anna@{DOMAIN}",
    f"a@{ALIAS_DOMAIN}": f"anna@{DOMAIN}",
    f"@{ALIAS_DOMAIN}": f"all@{DOMAIN}",
    "@whole.example": f"@{DOMAIN}",
    f"loop1@{DOMAIN}": f"loop2@{DOMAIN}",
    f"loop2@{DOMAIN}": f"loop1@{DOMAIN}",
    f"many@{DOMAIN}": ",".join(f"m{number}@{DOMAIN}" for number in range(20)),
}


@pytest.fixture(scope="module")
def server(make_module_mta, module_folder, mariadb, owner):
    mariadb.add_domain(DOMAIN)
    mariadb.add_mailboxes([f"{user}@{DOMAIN}" for user in USERS] + [f"copy@{DOMAIN}"])
    for address, goto in ALIASES.items():
        mariadb.add_alias(address, goto)
    base = setups.mail_folder(module_folder, owner)
    delivery, transports = setups.maildir_delivery(base, owner)
    main = {
        "virtual_alias_domains": f"{ALIAS_DOMAIN} whole.example",
        "myorigin": DOMAIN,
        "recipient_delimiter": "+",
        "virtual_alias_expansion_limit": "10",
    }
    return make_module_mta(setups.mysql_tables(module_folder, mariadb) | delivery | main, transports=transports)


def deliver(server, recipients):
    """Sends to the recipients; returns who got it and for whom, as a set of (to, orig_to)."""
    with server.connect(stranger=True) as client:
        client.ehlo()
        queue_id = client.mail("s@client.example", recipients, b"Subject: x\r\n\r\n")
    server.wait_removed(queue_id)
    found = server.deliveries(queue_id)
    assert {entry["status"] for entry in found} == {"sent"}
    pairs = [(entry["to"].lower().removesuffix("@" + DOMAIN), entry["orig_to"]) for entry in found]
    assert len(pairs) == len(set(pairs)), pairs
    return {to: orig for to, orig in pairs}


@pytest.mark.parametrize(
    "recipient, expected",
    [
        (f"one@{DOMAIN}", {"anna"}),
        (f"ONE@{DOMAIN}", {"anna"}),
        (f"two@{DOMAIN}", {"anna", "bert"}),
        (f"spaces@{DOMAIN}", {"anna", "bert"}),
        (f"chain@{DOMAIN}", {"anna", "bert", "carl"}),
        (f"copy@{DOMAIN}", {"copy", "anna"}),
        (f"upper@{DOMAIN}", {"anna"}),
        (f"doubled@{DOMAIN}", {"anna"}),
        (f"bare@{DOMAIN}", {"anna"}),
        (f"exact+ext@{DOMAIN}", {"bert"}),
        (f"exact+other@{DOMAIN}", {"anna+other"}),
        (f"one+ext@{DOMAIN}", {"anna+ext"}),
        (f"two+ext@{DOMAIN}", {"anna+ext", "bert+ext"}),
        (f"a@{ALIAS_DOMAIN}", {"anna"}),
        (f"a+ext@{ALIAS_DOMAIN}", {"anna+ext"}),
        (f"anything@{ALIAS_DOMAIN}", {"all"}),
        ("carl@whole.example", {"carl"}),
        ("two@whole.example", {"anna", "bert"}),
    ],
)
def test_expansion(server, recipient, expected):
    result = deliver(server, recipient)
    assert set(result) == expected
    for to, orig in result.items():
        assert orig == recipient or to == recipient.lower().removesuffix("@" + DOMAIN)


def test_no_alias_no_orig_to(server):
    assert deliver(server, f"dora@{DOMAIN}") == {"dora": None}


def test_several_recipients_that_meet(server):
    """The same mailbox once for each original address, as Postfix does with enable_original_recipient."""
    with server.connect(stranger=True) as client:
        client.ehlo()
        queue_id = client.mail("s@client.example", [f"one@{DOMAIN}", f"two@{DOMAIN}", f"anna@{DOMAIN}", f"anna@{DOMAIN}"], b"")
    server.wait_removed(queue_id)
    pairs = sorted((entry["to"].split("@")[0], entry["orig_to"] or "") for entry in server.deliveries(queue_id))
    assert pairs == [("anna", ""), ("anna", f"one@{DOMAIN}"), ("anna", f"two@{DOMAIN}"), ("bert", f"two@{DOMAIN}")]
    assert server.lines(rf"{queue_id}: from=<s@client\.example>, size=\d+, nrcpt=4 \(queue active\)")


def test_inactive_alias(server, mariadb):
    mariadb.add_alias(f"sleeping@{DOMAIN}", f"anna@{DOMAIN}")
    mariadb.sql(f"UPDATE alias SET active = 0 WHERE address = 'sleeping@{DOMAIN}'")
    with server.connect(stranger=True) as client:
        client.ehlo()
        client.cmd("MAIL FROM:<>", 250)
        client.cmd(f"RCPT TO:<sleeping@{DOMAIN}>", 550)


def test_new_rows_work_at_once(server, mariadb):
    mariadb.add_alias(f"fresh@{DOMAIN}", f"bert@{DOMAIN}")
    assert set(deliver(server, f"fresh@{DOMAIN}")) == {"bert"}
    mariadb.sql(f"UPDATE alias SET goto = 'carl@{DOMAIN}' WHERE address = 'fresh@{DOMAIN}'")
    assert set(deliver(server, f"fresh@{DOMAIN}")) == {"carl"}


def test_loop_is_named(server):
    """Two addresses that name each other: never delivered, never accepted for good, and the log says which."""
    with server.connect(stranger=True) as client:
        client.ehlo()
        client.envelope("s@client.example", f"loop1@{DOMAIN}")
        reply = client.data(b"Subject: x\r\n\r\n", 451)
        assert "4.6.0" in reply.text or "4.3.0" in reply.text
    server.wait_log(rf"cleanup\[\d+\]: .*warning: .*loop[12]@{DOMAIN}")


def test_expansion_limit(server):
    """Too many addresses: the whole message is deferred, nobody gets a part of it."""
    with server.connect(stranger=True) as client:
        client.ehlo()
        client.envelope("s@client.example", [f"dora@{DOMAIN}", f"many@{DOMAIN}"])
        client.data(b"Subject: x\r\n\r\n", 451)
    server.wait_log(rf"cleanup\[\d+\]: .*warning: .*many@{DOMAIN}")
    assert not [entry for entry in server.deliveries() if entry["orig_to"] == f"many@{DOMAIN}"]
