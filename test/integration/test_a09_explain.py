"""`mta explain`: what would happen to mail for an address, and why; the same with a running server and without."""

import json
import signal
import socket

import pytest
from support import mta, procs, setups
from support.setups import DOMAIN


@pytest.fixture(params=["running", "stopped"])
def explain(request, make_mta, folder, owner):
    """explain(address, ...) -> the JSON answer; .text(...) -> the text; .server"""
    tables = setups.sqlite_tables(
        folder,
        mailboxes=[f"u1@{DOMAIN}", f"u2@{DOMAIN}"],
        aliases=[(f"all@{DOMAIN}", f"u1@{DOMAIN}, more@{DOMAIN}"), (f"more@{DOMAIN}", f"u2@{DOMAIN}, x@else.example"), (f"loop1@{DOMAIN}", f"loop2@{DOMAIN}"), (f"loop2@{DOMAIN}", f"loop1@{DOMAIN}")],
    )
    argv = "/usr/lib/dovecot/deliver -f ${sender} -d ${user}@${nexthop} {a b}"
    main = {"virtual_transport": "dovecot", "dovecot_destination_recipient_limit": "1", "recipient_delimiter": "+", "mydestination": "local.example"}
    listeners = {"smtp": {}, "strict": {"smtpd_sender_restrictions": "reject"}}
    server = make_mta(tables | main, listeners=listeners, transports={"dovecot": setups.pipe(owner, argv, flags="DRhu")})
    if request.param == "stopped":
        server.stop()

    def run(*args, code=0):
        done = mta.command("-c", server.conf, "explain", *args)
        assert done.returncode == code, done.stderr
        return (done.stdout if code == 0 else done.stderr).decode()

    def answer(*args):
        return json.loads(run(*args, "--json"))

    answer.text = run
    answer.server = server
    return answer


def keys(stage):
    return [(lookup["table"].split(":")[0], lookup["key"], lookup["result"]) for lookup in stage["lookups"]]


def test_a_mailbox(explain):
    answer = explain(f"U1+ext@{DOMAIN}")
    assert answer["class"] == "virtual mailbox (virtual_mailbox_domains)"
    assert answer["session"]["rcpt"] == "250 2.1.5 Ok"
    found = [lookup for lookup in answer["session"]["lookups"] if lookup["key"] == f"u1@{DOMAIN}" and lookup["result"] == "found"]
    assert found[0]["query"] == f"SELECT maildir FROM mailbox WHERE username='u1@{DOMAIN}' AND active = '1'"
    assert found[0]["value"] == f"{DOMAIN}/u1/"
    assert answer["recipients"][0]["transport"] == "dovecot"
    assert answer["recipients"][0]["nexthop"] == DOMAIN
    assert answer["recipients"][0]["command"] == f"/usr/lib/dovecot/deliver -f MAILER-DAEMON -d u1@{DOMAIN} 'a b'"


def test_the_alias_tree(explain):
    answer = explain(f"all@{DOMAIN}", "--from", "s@client.example")
    assert answer["aliases"]["expansions"] == [
        {"address": f"all@{DOMAIN}", "results": [f"u1@{DOMAIN}", f"more@{DOMAIN}"]},
        {"address": f"more@{DOMAIN}", "results": [f"u2@{DOMAIN}", "x@else.example"]},
    ]
    assert [r["address"] for r in answer["recipients"]] == [f"u1@{DOMAIN}", f"u2@{DOMAIN}", "x@else.example"]
    assert [r["transport"] for r in answer["recipients"]] == ["dovecot", "dovecot", "smtp"]
    assert "-f s@client.example " in answer["recipients"][0]["command"]
    assert ("sqlite", f"all@{DOMAIN}", "found") in keys(answer["aliases"])


def test_an_alias_loop(explain):
    answer = explain(f"loop1@{DOMAIN}")
    assert "alias loop: " in answer["aliases"]["error"]
    assert answer["recipients"] == []


def test_who_may_relay(explain):
    stranger = explain("x@else.example")
    assert stranger["session"]["rcpt"].startswith("454 4.7.1 ")
    assert stranger["session"]["restrictions"][-1] == {"list": "smtpd_relay_restrictions", "restriction": "defer_unauth_destination", "verdict": "defer"}
    friend = explain("x@else.example", "--client", "127.0.0.1")
    assert friend["session"]["rcpt"].startswith("250 ")
    assert friend["session"]["restrictions"][0] == {"list": "smtpd_relay_restrictions", "restriction": "permit_mynetworks", "verdict": "permit"}


def test_listeners_differ(explain):
    assert explain(f"u1@{DOMAIN}", "--listener", "strict")["session"]["rcpt"].startswith("554 5.7.1 ")
    assert explain(f"u1@{DOMAIN}", "--listener", "smtp")["session"]["rcpt"].startswith("250 ")
    assert explain.text(f"u1@{DOMAIN}", "--listener", "nonsense", code=1) == 'mta: there is no listener "nonsense"\n'


def test_unknown_and_hostile_addresses(explain):
    assert "User unknown in virtual mailbox table" in explain(f"nobody@{DOMAIN}")["session"]["rcpt"]
    for address in (f"o'brien@{DOMAIN}", f"a\\b@{DOMAIN}", f"a b@{DOMAIN}", f'a"b@{DOMAIN}', f"u1%else.example@{DOMAIN}", "@", "x" * 900, f"a>b@{DOMAIN}", f"ü@{DOMAIN}"):
        assert explain(address)["session"]["rcpt"][0] in "45", address
    for address in ("", "a\nb@c", f"x{'y' * 1000}@{DOMAIN}"):
        explain.text(address, code=2)
    explain.text(f"u1@{DOMAIN}", "--client", "nonsense", code=2)
    explain.text(f"u1@{DOMAIN}", "--nonsense", code=2)


def test_a_broken_table_is_named(explain, folder):
    (folder / "virtual_alias_maps.cf").write_text(f"dbpath = {folder}/missing.db\nquery = SELECT '%s'\n")
    answer = procs.wait_for(lambda: (a := explain(f"u1@{DOMAIN}"))["session"]["rcpt"].startswith("451 4.3.0 ") and a, 20, "the table to fail")
    failed = [lookup for lookup in answer["session"]["lookups"] if lookup["result"] == "failed"]
    assert failed[0]["table"] == f"sqlite:{folder}/virtual_alias_maps.cf"
    assert "missing.db" in failed[0]["why"] or "unable to open" in failed[0]["why"]


def test_the_text_reads(explain):
    text = explain.text(f"all@{DOMAIN}")
    assert text.startswith(f"all@{DOMAIN}\n  from <>, client 192.0.2.1, helo client.example, listener smtp\n")
    assert f"aliases\n  all@{DOMAIN} -> u1@{DOMAIN}, more@{DOMAIN}\n" in text
    assert f"\nrecipient u2@{DOMAIN}\n" in text


def test_the_server_stops_meanwhile(make_mta):
    """A table that never answers, and a server that does not wait for it: what was traced is not told any more."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        main = {"virtual_mailbox_domains": DOMAIN, "virtual_alias_maps": f"tcp:127.0.0.1:{silent.getsockname()[1]}"}
        server = make_mta(main)
        asking = procs.spawn([mta.BINARY, "-c", server.conf, "explain", f"u1@{DOMAIN}"], stdout=-3, stderr=-3)
        silent.settimeout(20)
        with silent.accept()[0]:
            server.ask_to_stop(signal.SIGINT)
            server.wait_log("terminating on signal")
            server.ask_to_stop(signal.SIGINT)
            server.stop()
        assert procs.wait_end(asking) == 1


def test_nothing_is_left_behind(explain):
    """No message, no log line that fail2ban would count, and the server still works."""
    server = explain.server
    for number in range(5):
        explain("x@else.example", "--client", "198.51.100.7")
    assert not server.lines(r"198\.51\.100\.7|client\.example")
    if server.child is not None:
        assert server.queued() == 0
        with server.connect() as client:
            client.ehlo()
