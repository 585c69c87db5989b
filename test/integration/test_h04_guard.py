"""Guessing passwords becomes slow, then impossible for a while; who knows the password is not shut out by it; `mta status`
shows who is banned, and ends a ban."""

import base64
import json
import socket
import time

import pytest
from support import mta, procs, setups
from support.setups import DOMAIN
from support.smtp import Smtp

USER, PASSWORD = f"u1@{DOMAIN}", "secret"
BAD = "wrong-password"
PREFIX = "smtpd_auth_ban"


@pytest.fixture
def start(make_mta, folder, owner):
    """start(main): a server with port 25, and a submission port where u1 … u3 may authenticate."""

    def make(main=None):
        passwords = setups.private_file(folder / "passwords", "".join(f"u{n}@{DOMAIN} {{PLAIN}}{PASSWORD}\n" for n in range(1, 4)))
        submission = {"smtpd_sasl_auth_enable": "yes", "smtpd_sasl_type": "table", "smtpd_sasl_password_maps": f"texthash:{passwords}"}
        return setups.hosted_server(
            make_mta,
            folder,
            owner,
            {f"{PREFIX}_limit": "4", f"{PREFIX}_time": "1h"} | (main or {}),
            listeners={"smtp": {}, "submission": submission},
        )

    return make


def connect(server, address="127.0.0.2", **kwargs):
    client = Smtp(server.address("submission"), source=(address, 0), **kwargs)
    client.ehlo()
    return client


def auth(client, user=USER, password=PASSWORD, code=None):
    return client.cmd("AUTH PLAIN " + base64.b64encode(f"\0{user}\0{password}".encode()).decode(), code)


def guess(server, count, address="127.0.0.2", user=USER):
    """So many wrong passwords over one connection; the codes of the replies."""
    with connect(server, address) as client:
        return [auth(client, user, BAD).code for _ in range(count)]


def status(server, *args):
    return mta.command("-c", server.conf, "status", *args)


def bans(server):
    found = json.loads(status(server, "--json").stdout)["failed_authentications"]
    assert found["banned"] == len(found["bans"])
    return {ban.get("address") or ban.get("login"): ban for ban in found["bans"]}


def refused(server, address="127.0.0.2"):
    with Smtp(server.address("submission"), source=(address, 0), greet=False) as client:
        client.expect(421)
        client.expect_closed()


def test_guessing(start):
    """Slower, 421, refused; also after a restart; until the administrator ends it."""
    server = start()
    with connect(server) as client:
        for _ in range(2):
            auth(client, "u9", BAD, 535)
        began = time.monotonic()
        auth(client, USER, BAD, 535)
        assert time.monotonic() - began >= 0.99
        auth(client, "u9", BAD, 421)
        client.expect_closed()
    server.wait_log(r"smtpd\[\d+\]: warning: address 127.0.0.2 banned for 3600 s after 4 failed authentications")
    refused(server)
    guess(server, 1, "127.0.0.3")
    assert list(bans(server)) == ["127.0.0.2"]
    ban = bans(server)["127.0.0.2"]
    assert ban["failures"] == 4 and 3500 < ban["seconds"] <= 3600
    assert b"  address 127.0.0.2 banned for 3" in status(server).stdout

    server.restart()
    refused(server)
    done = status(server, "--unban", "127.0.0.2")
    assert (done.returncode, done.stdout) == (0, b"127.0.0.2 is no longer banned\n")
    with connect(server) as client:
        auth(client, code=235)
    done = status(server, "--unban", "127.0.0.2")
    assert (done.returncode, done.stderr) == (1, b"mta: 127.0.0.2 is not banned\n")
    assert bans(server) == {}


def test_who_sends_no_more_waits_too(start):
    line = "AUTH PLAIN " + base64.b64encode(f"\0{USER}\0{BAD}".encode()).decode() + "\r\n"
    server = start()
    with connect(server) as client:
        began = time.monotonic()
        client.send(line * 3)
        client.sock.shutdown(socket.SHUT_WR)
        for _ in range(3):
            client.expect(535)
        client.expect_closed()
        assert time.monotonic() - began >= 0.99


def test_shutdown_does_not_wait_for_delays(start):
    server = start({f"{PREFIX}_limit": "100"})
    clients = [connect(server) for _ in range(8)]
    line = "AUTH PLAIN " + base64.b64encode(f"\0{USER}\0{BAD}".encode()).decode() + "\r\n"
    for client in clients:
        client.send(line)
    server.wait_log("SASL PLAIN authentication failed", len(clients))
    server.ask_to_stop()
    for client in clients:
        client.expect(535)
        client.expect(421)
        client.close()
    server.stop()


def test_survives_kill9(start):
    """What was some seconds ago is in the file."""
    server = start()
    guess(server, 4)
    path = server.data / "auth_guard"
    procs.wait_for(lambda: path.exists() and "address 127.0.0.2 4 " in path.read_text(), 60, "the state to be written")
    server.kill9()
    server.start()
    refused(server)


def test_other_ports_are_not_affected(start):
    """Who is banned may still deliver mail to the domains here."""
    server = start()
    assert guess(server, 4) == [535, 535, 535, 421]
    with server.connect("smtp", stranger=True) as client:
        client.ehlo()
        client.mail("s@client.example", USER, b"Subject: x\r\n\r\n")


def test_success_forgives_the_login(start):
    server = start()
    with connect(server) as client:
        for _ in range(3):
            auth(client, password=BAD, code=535)
        auth(client, code=235)
    assert guess(server, 1, "127.0.0.3") == [535], "one of the login, not the fourth"


def test_login_attacked_from_everywhere(start):
    """It is banned, but not where its owner has been."""
    server = start()
    with connect(server, "127.0.0.9") as client:
        auth(client, code=235)
    codes = [code for number in range(10, 14) for code in guess(server, 1, f"127.0.0.{number}", USER.upper())]
    assert codes == [535, 535, 535, 421]
    with connect(server, "127.0.0.20") as client:
        auth(client, code=421)
        client.expect_closed()
    assert list(bans(server)) == [USER]
    server.restart()
    with connect(server, "127.0.0.9") as client:
        auth(client, code=235)
    with connect(server, "127.0.0.20") as client:
        auth(client, user=f"u2@{DOMAIN}", code=235)
    assert status(server, "--unban", USER.upper()).returncode == 0
    with connect(server, "127.0.0.20") as client:
        auth(client, code=235)


def test_mynetworks_are_exempt(start):
    server = start()
    began = time.monotonic()
    assert guess(server, 8, "127.0.0.1") == [535] * 8
    assert time.monotonic() - began < 10, "not 0 + 0 + 1 + 2 + 4 + 8 + 15 s"
    assert bans(server) == {}


def test_exceptions_in_tables(make_mta, folder):
    """Nobody waits for a table there, which is said; where the list is mynetworks the session has asked it already."""
    (folder / "nets").write_text("127.0.0.2 x\n")
    table = f"texthash:{folder}/nets"
    for settings, said in (({"mynetworks": table}, False), ({f"{PREFIX}_exceptions": f"127.0.0.1, {table}"}, True), ({"smtpd_sasl_exceptions_networks": table}, True)):
        server = make_mta(settings, start=False)
        server.write_config()
        done = mta.command("-c", server.conf, "--check-config")
        assert done.returncode == 0 and (b"tables are not asked here" in done.stderr) == said, done


def test_no_limit(start):
    server = start({f"{PREFIX}_limit": "0"})
    began = time.monotonic()
    assert guess(server, 8) == [535] * 8
    assert time.monotonic() - began < 10
    assert bans(server) == {}


def test_window(start):
    """What is longer ago does not count."""
    server = start({f"{PREFIX}_window": "1s"})
    assert guess(server, 3) == [535] * 3
    time.sleep(1.1)  # not a synchronisation: the window has to pass
    assert guess(server, 3) == [535] * 3


def test_status(start):
    server = start()
    with connect(server, "127.0.0.1") as client, connect(server), server.connect("smtp"):
        auth(client, code=235)
        found = json.loads(status(server, "--json").stdout)
        assert found["uptime"] < 600
        assert found["configuration"] == str(server.conf)
        shown = {one["name"]: (one["listen"], one["sessions"], one["tls"], one["authenticated"]) for one in found["listeners"]}
        assert shown == {
            "smtp": ([server.listeners["smtp"]["listen"]], 1, 0, 0),
            "submission": ([server.listeners["submission"]["listen"]], 2, 0, 1),
        }
        assert found["queue"] == {"messages": 0, "recipients": 0, "active_messages": 0, "active_recipients": 0, "deliveries": 0}
        assert found["waiting"] == []
        text = status(server).stdout.decode()
        assert text.startswith(f"mta {found['version']}, up for 0 d 0 h ") and f"configuration {server.conf}" in text
        assert f"submission {server.listeners['submission']['listen']}: 2 sessions, 0 with TLS, 1 authenticated" in text


def test_status_says_what_is_waited_for(make_mta, folder, owner):
    """A delivery whose command does not end, and a table that does not answer."""
    command = setups.script(folder, "command", f"cat >/dev/null; while ! test -e {folder}/open; do sleep 0.1; done\n")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        main = {"virtual_transport": "command", "smtpd_recipient_restrictions": "permit"}
        main["virtual_mailbox_maps"] = f"inline:{{{USER}=x}}, tcp:127.0.0.1:{silent.getsockname()[1]}"
        server = setups.hosted_server(make_mta, folder, owner, main, transports={"command": setups.pipe(owner, str(command))})
        with server.connect() as client, server.connect() as other:
            client.ehlo()
            queue_id = client.mail("s@client.example", USER, b"Subject: x\r\n\r\n")
            other.ehlo()
            other.cmd("MAIL FROM:<s@client.example>", 250)
            other.send(f"RCPT TO:<u2@{DOMAIN}>\r\n")
            queue = {"messages": 1, "recipients": 1, "active_messages": 1, "active_recipients": 1, "deliveries": 1}

            def found():
                answer = json.loads(status(server, "--json").stdout)
                return answer["queue"] == queue and answer["waiting"]

            waiting = procs.wait_for(found, 30, "the status to show both")
            assert "tcp" in " ".join(one["for"] for one in waiting) and all(one["count"] == 1 for one in waiting), waiting
            assert "1 messages, 1 recipients to be tried" in status(server).stdout.decode()
    (folder / "open").touch()
    server.wait_removed(queue_id)


def test_status_needs_a_server(start):
    server = start()
    server.stop()
    done = status(server)
    assert (done.returncode, done.stdout) == (1, b"") and done.stderr.startswith(b"mta: no server is running on the queue in ")
    assert status(server, "--what").returncode == 2
    assert status(server, "--unban").returncode == 2
