"""SIGHUP and `mta reload`: parse, check, exchange; what is under way goes on with what it began with."""

import pathlib
import re
import signal
import socket
import stat

import pytest
from support import maildir, mta, procs, setups
from support.setups import DOMAIN
from support.smtp import Smtp


def reload(server, *args):
    """`mta reload` with the configuration as it is written now."""
    server.write_config()
    return mta.command("-c", server.conf, "reload", *args)


def rcpt(client, address):
    """The reply to RCPT in a transaction of its own."""
    client.cmd("RSET", 250)
    client.cmd("MAIL FROM:<s@client.example>", 250)
    return client.cmd(f"RCPT TO:<{address}>")


def children(pid):
    """The processes that this one started."""
    return pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@pytest.fixture
def server(make_mta, folder, owner):
    return setups.hosted_server(make_mta, folder, owner)


def ask(server):
    done = reload(server)
    assert (done.returncode, done.stderr) == (0, b"")


def hang_up(server):
    server.write_config()
    server.child.send_signal(signal.SIGHUP)
    server.wait_log(r"postfix/master\[\d+\]: reload -- version ")


@pytest.mark.parametrize("way", [ask, hang_up])
def test_new_values_are_for_new_sessions(server, way):
    with server.connect(stranger=True) as before:
        before.ehlo()
        assert rcpt(before, "u1@second.example").code == 454
        server.main["virtual_mailbox_domains"] = f"{DOMAIN} second.example"
        server.main["virtual_mailbox_maps"] = "inline:{u1@second.example=second/u1/}"
        server.main["smtpd_banner"] = "$myhostname ESMTP anew"
        way(server)
        assert rcpt(before, "u1@second.example").code == 454
        assert rcpt(before, f"u1@{DOMAIN}").code == 250
        with Smtp(server.address(), greet=False) as after:
            after.expect(220, "ESMTP anew")
            after.ehlo()
            assert rcpt(after, "u1@second.example").code == 250
            assert rcpt(after, f"u1@{DOMAIN}").code == 550


def test_a_message_on_its_way_in_goes_on(server):
    with server.connect() as client:
        client.ehlo()
        client.envelope("s@client.example", f"u1@{DOMAIN}")
        client.cmd("DATA", 354)
        client.send(b"Subject: half\r\n\r\n")
        server.main["message_size_limit"] = "20"
        assert reload(server).returncode == 0
        client.send(b"and half, which is more than is allowed by now\r\n.\r\n")
        client.expect(250)
    assert len(maildir.wait_messages(server.maildir("u1"), 1)) == 1


def test_listeners_open_and_close(server):
    first, second = procs.free_ports(2)
    old = server.address()
    with server.connect() as client:
        client.ehlo()
        server.listeners = {"one": {"listen": f"127.0.0.1:{first}"}, "two": {"listen": f"127.0.0.1:{second}", "smtpd_banner": "$myhostname two"}}
        assert reload(server).returncode == 0
        with Smtp(("127.0.0.1", second), greet=False) as two:
            two.expect(220, "two$")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(old, timeout=5)
        assert rcpt(client, f"u1@{DOMAIN}").code == 250  # the session is still there
    # A listener keeps its socket and changes what it says; nobody who connects meanwhile is refused.
    server.listeners["two"]["smtpd_banner"] = "$myhostname changed"
    assert reload(server).returncode == 0
    with Smtp(("127.0.0.1", second), greet=False) as two:
        two.expect(220, "changed$")
    assert not server.lines(rf"listening on 127\.0\.0\.1:{second} .*\n.*listening on 127\.0\.0\.1:{second} ")


@pytest.mark.parametrize(
    "main, complaint",
    [
        ({"message_size_limit": "much"}, r"mta\.conf:\d+: error: message_size_limit"),
        ({"mynetworks": "0.0.0.0/0"}, r"mta\.conf:\d+: error: .*open relay"),
        ({"smtpd_recipient_restrictions": "reject_nonsense"}, r"mta\.conf:\d+: error: .*reject_nonsense"),
        ({"virtual_alias_maps": "nonsense:x"}, r"mta\.conf:\d+: error: virtual_alias_maps.*nonsense"),
        ({"virtual_transport": "${"}, r"mta\.conf:\d+: error: virtual_transport"),
    ],
)
def test_a_bad_file_leaves_the_old_configuration_in_force(server, main, complaint):
    server.main.update(main)
    done = reload(server)
    assert done.returncode == 1
    text = done.stderr.decode()
    assert [line for line in text.splitlines() if re.search(complaint, line)], text
    assert text.endswith("mta: the configuration in force stays as it was\n")
    server.wait_log(r"has \d+ errors?: the configuration in force stays as it was$")
    with server.connect() as client:
        client.ehlo()
        client.mail("s@client.example", f"u1@{DOMAIN}", b"Subject: x\r\n\r\n")
    maildir.wait_messages(server.maildir("u1"), 1)


def test_a_bad_transport_leaves_the_old_ones(server, owner):
    server.transports["broken"] = {"type": "pipe", "user": f"{owner.user}", "argv": "/bin/true", "flags": "Z"}
    assert b"flag" in reload(server).stderr
    with server.connect() as client:
        client.ehlo()
        client.mail("s@client.example", f"u1@{DOMAIN}", b"Subject: x\r\n\r\n")
    maildir.wait_messages(server.maildir("u1"), 1)


def test_an_address_in_use_leaves_everything_as_it_was(server):
    old = dict(server.listeners)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        fresh = procs.free_ports(1)[0]
        server.listeners = {"a": {"listen": f"127.0.0.1:{fresh}"}, "b": {"listen": f"127.0.0.1:{taken.getsockname()[1]}"}}
        done = reload(server)
    assert done.returncode == 1
    assert b"listener b: cannot listen on 127.0.0.1:" in done.stderr
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", fresh), timeout=5)
    server.listeners = old
    with server.connect() as client:
        client.ehlo()
        assert rcpt(client, f"u1@{DOMAIN}").code == 250


def test_a_delivery_that_runs_ends_as_it_began(make_mta, folder, owner):
    go = folder / "go"
    out = folder / "out"
    out.mkdir()
    out.chmod(0o777)
    slow = setups.script(folder, "slow", f"while [ ! -e {go} ]; do sleep 0.05; done\ncat >/dev/null\necho $1 >>{out}/calls\n")
    main = {"virtual_mailbox_domains": DOMAIN, "virtual_transport": "slow"}
    server = make_mta(main, transports={"slow": setups.pipe(owner, f"{slow} one")})
    with server.connect() as client:
        client.ehlo()
        client.mail("s@client.example", f"u1@{DOMAIN}", b"Subject: x\r\n\r\n")
        procs.wait_for(lambda: children(server.child.pid), 10, "the command to run")
        server.transports["slow"]["argv"] = f"{slow} two"
        assert reload(server).returncode == 0
        client.mail("s@client.example", f"u2@{DOMAIN}", b"Subject: x\r\n\r\n")
    go.touch()
    procs.wait_for(lambda: (out / "calls").exists() and sorted((out / "calls").read_text().split()) == ["one", "two"], 20, "both deliveries")


def test_queued_mail_follows_the_new_configuration(make_mta, folder, owner):
    base = setups.mail_folder(folder, owner)
    delivery, transports = setups.maildir_delivery(base, owner)
    tables = setups.text_tables(folder, [f"u1@{DOMAIN}"])
    transports["broken"] = setups.pipe(owner, setups.script(folder, "broken", "exit 75\n"))
    server = make_mta(tables | delivery | {"virtual_transport": "broken"}, transports=transports)
    with server.connect() as client:
        client.ehlo()
        queue_id = client.mail("s@client.example", f"u1@{DOMAIN}", b"Subject: x\r\n\r\n")
    server.wait_deliveries(queue_id, 1)
    server.main["virtual_transport"] = "mailbox"
    assert reload(server).returncode == 0
    server.wait_removed(queue_id)
    assert len(maildir.wait_messages(base / setups.maildir_of(f"u1@{DOMAIN}"), 1)) == 1


def test_what_only_a_restart_changes_is_said(server, folder):
    old = server.main["queue_directory"]
    server.main["data_directory"] = folder
    done = reload(server)
    assert done.returncode == 0
    assert b"warning: data_directory has changed: that takes effect when the server is started again" in done.stdout
    assert old.exists()


def test_many_reloads_under_load_leak_nothing(server):
    """Sessions come and go while the configuration is exchanged; sanitizers and the clean end say the rest."""
    for number in range(10):
        server.main["smtpd_recipient_limit"] = str(100 + number)
        with server.connect() as client:
            client.ehlo()
            client.envelope("s@client.example", f"u{number + 1}@{DOMAIN}")
            assert reload(server).returncode == 0
            client.data(b"Subject: x\r\n\r\n")
    for number in range(10):
        maildir.wait_messages(server.maildir(f"u{number + 1}"), 1)


def test_nobody_there(server):
    server.stop()
    done = mta.command("-c", server.conf, "reload")
    assert done.returncode == 1
    assert done.stderr.decode() == f"mta: no server is running on the queue in {server.queue}\n"
    server.start()


def test_the_control_socket_is_private_and_survives_nonsense(server):
    path = server.queue / "control"
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for request in (b"", b"x", b"99999999999999\n", b"0\n", b"65\n" + b"a\0" * 65, b"1\nnothing\0", b"2\nreload", b"1\n" + b"x" * 100000, b"-1\n"):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(15)
            client.connect(str(path))
            try:
                client.sendall(request)
                client.shutdown(socket.SHUT_WR)
                answer = client.recv(1000)
            except ConnectionError:
                answer = b""
            assert answer == b"" or answer.startswith(b"2\nmta: "), (request, answer)
    assert reload(server).returncode == 0
    server.stop()
    assert not path.exists()
