"""mta --check-config --deep: everything that the configuration names is tried, and each thing has its line.

The twelve traps of the tutorial are found, by --check-config or by --deep.
"""

import contextlib
import re
import socket
import time

import pytest
from support import certs, mta, postfix, procs, setups
from support.setups import DOMAIN

HOST = "mail.example.com"
NAME = f"myhostname = {HOST}\n"


@contextlib.contextmanager
def listening(path=None):
    """Somebody who listens and says nothing; the port, for a path nothing."""
    with socket.socket(socket.AF_UNIX if path else socket.AF_INET) as server:
        server.bind(str(path) if path else ("127.0.0.1", 0))
        server.listen(16)
        yield None if path else server.getsockname()[1]


class Deep:
    """What one run printed."""

    def __init__(self, conf, timeout=60):
        began = time.monotonic()
        done = mta.command("--check-config", "--deep", "-c", conf, timeout=timeout)
        self.seconds = time.monotonic() - began
        self.status = done.returncode
        self.errors = done.stderr.decode()
        self.output = done.stdout.decode()
        self.lines = []
        for line in self.output.splitlines():
            match = re.fullmatch(r"(ok  |warn|FAIL) +(\d+) ms  (\w+ .*?): (.*)", line)
            assert match, line
            self.lines.append((match[1].strip(), match[3], match[4]))
            assert int(match[2]) <= 20000

    def find(self, what):
        """(verdict, what was found) of the one line about something whose name begins so."""
        found = [(verdict, text) for verdict, name, text in self.lines if name.startswith(what)]
        assert len(found) == 1, (what, self.output, self.errors)
        return found[0]

    def all(self, verdict):
        return [f"{name}: {text}" for found, name, text in self.lines if found == verdict]


@pytest.fixture
def deep(folder, owner):
    """deep(main, listeners, transports) -> Deep. What is not given is a server that hosts DOMAIN in Maildirs."""

    def run(main=None, listeners=None, transports=None, before=lambda queue: None, **kwargs):
        base = folder / "vmail"
        if not base.exists():
            setups.mail_folder(folder, owner)
        delivery, delivery_transports = setups.maildir_delivery(base, owner)
        server = mta.Mta(
            folder / f"mta{time.monotonic_ns()}",
            setups.text_tables(folder, [f"u1@{DOMAIN}"]) | delivery | (main or {}),
            listeners,
            delivery_transports | (transports or {}),
        )
        server.write_config()
        before(server.queue)
        return Deep(server.conf, **kwargs)

    return run


# ---- tables ----


def test_a_server_that_runs(make_mta, folder, owner, mariadb):
    """Everything answers, nothing is changed, and the server does not notice."""
    mariadb.add_domain(DOMAIN)
    mariadb.add_mailboxes([f"u1@{DOMAIN}"])
    base = setups.mail_folder(folder, owner)
    delivery, transports = setups.maildir_delivery(base, owner)
    server = make_mta(setups.mysql_tables(folder, mariadb) | delivery | {"mydomain": DOMAIN}, transports=transports)
    found = Deep(server.conf)
    assert (found.status, found.all("FAIL")) == (0, []), found.output
    assert found.all("warn") == [f"host {HOST} (myhostname, {server.conf}:1): " + found.find("host")[1]]
    for parameter in setups.QUERIES:
        assert found.find(f"table mysql:{folder}/{parameter}.cf") == ("ok", 'answered "not found"')
    assert found.find(f"table static:{owner.uid}") == ("ok", f'answered "{owner.uid}"')
    assert found.find(f"domain {DOMAIN} (mydomain, {server.conf}:")[1] == "its mail is for here, by virtual_mailbox_domains"
    assert found.find(f"directory {server.queue}")[0] == "ok"
    assert found.find(f"directory {base}") == ("ok", f"uid {owner.uid} can enter it")
    for client in ("192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1"):
        verdict, text = found.find(f"relaying by listener smtp for {client}")
        assert verdict == "ok" and text.startswith("refused, all 21 recipients elsewhere; MAIL FROM:<>, RCPT TO:<mta-probe@example.net>: 454 4.7.1 ")
    assert re.search(r": 0 errors, \d warnings?; of \d+ things that were tried, 0 failed, 1 with a warning$", found.errors.strip()), found.errors
    assert not server.lines(r"192\.0\.2\.1|client\.example|mta-probe") and server.queued() == 0
    with server.connect() as client:
        client.ehlo()


def test_tables_that_fail(deep, folder, mariadb):
    """Refused, the wrong password, a column that is not there, a server that says nothing: at once, in the table's words."""
    queries = setups.QUERIES["virtual_alias_maps"]

    def table(name, query=queries, **settings):
        return f"mysql:{setups.private_file(folder / name, setups.mysql_source(mariadb, **settings) + f'query = {query}' + chr(10))}"

    [refused] = procs.free_ports(1)
    with listening() as silent:
        tables = {
            "refused": table("refused", hosts=f"127.0.0.1:{refused}"),
            "password": table("password", password="wrong"),
            "column": table("column", "SELECT nothing FROM alias WHERE address='%s'"),
            "silent": table("silent", hosts=f"127.0.0.1:{silent}", timeout=2),
        }
        found = deep({"virtual_alias_maps": ", ".join(["inline:{mta-probe@mail.example.com=first}", *tables.values()])})
    assert found.status == 1 and found.seconds < 15
    for name, words in {"refused": "111", "password": "Access denied for user", "column": "Unknown column", "silent": "no answer|timed out|time"}.items():
        verdict, text = found.find(f"table {tables[name]}")
        assert verdict == "FAIL" and re.search(words, text), text
    assert found.find("table inline:") == ("ok", 'answered "first"')
    assert " 4 failed" in found.errors, found.output


@pytest.mark.long
def test_everything_hangs(deep, folder, mariadb):
    """It ends all the same."""
    with listening() as silent:
        path = setups.private_file(folder / "hangs", setups.mysql_source(mariadb, hosts=f"127.0.0.1:{silent}", timeout=100) + "query = SELECT '%s'\n")
        found = deep({"virtual_alias_maps": f"mysql:{path}", "virtual_mailbox_domains": f"mysql:{path}"})
    assert found.status == 1 and 14 < found.seconds < 25
    assert found.find(f"table mysql:{path}")[0] == "FAIL"
    assert found.find("relaying is tried")[0] == "FAIL" and "there was no end to it in 15 seconds" in found.output


# ---- sockets ----


def test_sockets(deep):
    """Each that is named is connected to, once; who names it is said."""
    [refused] = procs.free_ports(1)
    with listening() as milter, listening() as policy, listening() as relay, contextlib.ExitStack() as stack:
        main = {
            "smtpd_milters": f"inet:127.0.0.1:{milter}, {{ inet:127.0.0.1:{refused}, connect_timeout=5s }}, unix:/nonexistent/milter",
            "non_smtpd_milters": f"inet:127.0.0.1:{milter}",
            "milter_default_action": "accept",
            "smtpd_sasl_auth_enable": "yes",
            "smtpd_sasl_type": "dovecot",
            "smtpd_sasl_path": "private/auth",
            "smtpd_recipient_restrictions": f"reject_unauth_destination, check_policy_service inet:localhost:{policy}",
            "relayhost": f"[127.0.0.1]:{relay}",
            "smtp_fallback_relay": "remote.example",
            "virtual_transport": "lmtp:unix:private/dovecot-lmtp",
        }
        listeners = {"smtp": {}, "own": {"smtpd_milters": f"inet:127.0.0.1:{relay}, nonsense", "smtpd_sasl_path": "inet:127.0.0.1:nonsense"}}

        def before(queue):
            (queue / "private").mkdir()
            stack.enter_context(listening(queue / "private" / "auth"))

        found = deep(main, listeners, before=before)
    sockets = [(verdict, name, text) for verdict, name, text in found.lines if name.startswith(("socket", "server"))]
    assert found.status == 1
    by_name = {re.sub(r", /\S+:\d+\)$", ")", name): (verdict, text) for verdict, name, text in sockets}
    assert len(by_name) == len(sockets)
    [auth] = [name for name in by_name if name.endswith("/queue/private/auth (smtpd_sasl_path)")]
    [lmtp] = [name for name in by_name if name.endswith("/queue/private/dovecot-lmtp (virtual_transport)")]
    assert by_name.pop(auth) == ("ok", "connected")
    assert by_name.pop(lmtp) == ("FAIL", "no such file or directory")
    malformed = ("FAIL", "this is no socket: one is written inet:HOST:PORT or unix:PATH")
    assert by_name == {
        f"socket inet:127.0.0.1:{milter} (smtpd_milters)": ("ok", "connected"),
        f"socket inet:127.0.0.1:{refused} (smtpd_milters)": ("FAIL", "connection refused"),
        "socket unix:/nonexistent/milter (smtpd_milters)": ("FAIL", "no such file or directory"),
        f"socket inet:localhost:{policy} (smtpd_recipient_restrictions)": ("ok", "connected"),
        f"socket inet:127.0.0.1:{relay} (smtpd_milters)": ("ok", "connected"),
        "socket nonsense (smtpd_milters)": malformed,
        "socket 127.0.0.1:nonsense (smtpd_sasl_path)": malformed,
        "server remote.example (smtp_fallback_relay)": ("warn", "not tried: only mail finds out about MX records; a host is written [remote.example]"),
    }
    assert re.search(r"^FAIL +\d+ ms  socket inet:127\.0\.0\.1:\d+ \(smtpd_milters, /\S+/mta\.conf:\d+\): connection refused$", found.output, re.M)


# ---- certificates ----


@pytest.fixture(scope="module")
def authority(module_folder):
    return certs.Authority(module_folder / "certs")


def test_certificates(deep, authority):
    """Each listener's own, and the client's."""
    files = {
        "good": authority.issue("good", [HOST]),
        "wild": authority.issue("wild", ["*.example.com"]),
        "expired": authority.issue("expired", [HOST], days=(-30, -10)),
        "future": authority.issue("future", [HOST], days=(10, 100)),
        "soon": authority.issue("soon", [HOST], days=(-1, 20)),
        "name": authority.issue("name", ["www.example.org"]),
    }
    files["mismatch"] = (files["good"][0], files["wild"][1])
    listeners = {name: {"smtpd_tls_cert_file": cert, "smtpd_tls_key_file": key} for name, (cert, key) in files.items() if name != "good"}
    listeners["same"] = {}
    chain = authority.folder / "chain.pem"
    chain.write_text(files["wild"][1].read_text() + files["wild"][0].read_text())
    chain.chmod(0o600)
    main = {
        "smtpd_tls_cert_file": files["good"][0],
        "smtpd_tls_key_file": files["good"][1],
        "smtp_tls_CAfile": authority.certificate,
        "smtp_tls_chain_files": chain,
        "smtp_tls_cert_file": authority.folder / "nonexistent.pem",
    }
    found = deep(main, listeners)
    assert found.status == 1
    lines = [(verdict, re.sub(r"certificate \S+/(\S+) .*", r"\1", name), text) for verdict, name, text in found.lines if name.startswith("certificate")]
    wanted = {
        ("ok", "good.pem"): rf"for {HOST}, 2 certificates; expires in (89|90) days",
        ("ok", "wild.pem"): r"for \*\.example\.com, 2 certificates; expires in (89|90) days",
        ("FAIL", "expired.pem"): rf"for {HOST}, 2 certificates; expired 10 days ago",
        ("FAIL", "future.pem"): rf"for {HOST}, 2 certificates; expires in (99|100) days; not valid yet, for another (9|10) days",
        ("warn", "soon.pem"): rf"for {HOST}, 2 certificates; expires in (19|20) days",
        ("warn", "name.pem"): rf"for www\.example\.org, 2 certificates; expires in (89|90) days; not for {HOST} \(myhostname\)",
        ("FAIL", "good.pem"): r"the key in \S+/wild\.key is not that of the certificate",
        ("ok", "authority.pem"): r"1 authority",
        ("ok", "chain.pem"): r"for \*\.example\.com, 2 certificates; expires in (89|90) days",
        ("FAIL", "nonexistent.pem"): r"\S+/nonexistent\.pem cannot be read: No such file or directory",
    }
    assert sorted((verdict, name) for verdict, name, _ in lines) == sorted(wanted), found.output
    for verdict, name, text in lines:
        assert re.fullmatch(wanted[(verdict, name)], text), (name, text)


# ---- strangers ----


def test_an_open_relay(deep, folder):
    """What no look at the configuration can see: a table that trusts everyone, at one of two listeners."""
    (folder / "trusted").write_text("0.0.0.0/0 ok\n")
    (folder / "every").write_text("/./ x\n")
    found = deep(listeners={"smtp": {}, "inside": {"mynetworks": f"127.0.0.1/32, cidr:{folder}/trusted"}})
    assert found.status == 1 and " 0 errors" in found.errors
    for client in ("192.0.2.1", "198.51.100.1", "203.0.113.1"):
        assert found.find(f"relaying by listener smtp for {client}")[0] == "ok"
        verdict, text = found.find(f"relaying by listener inside for {client}")
        assert verdict == "FAIL" and re.match(r"open relay: \d+ of 21 recipients elsewhere were accepted; MAIL FROM:<>, RCPT TO:<mta-probe@example.net>: 250 ", text), text
    assert found.find("relaying by listener inside for 2001:db8::1")[0] == "ok"
    found = deep({"relay_domains": f"regexp:{folder}/every"})
    assert found.status == 1
    assert all(found.find(f"relaying by listener smtp for {client}")[1].startswith("open relay: ") for client in ("192.0.2.1", "2001:db8::1"))


def test_strangers_who_are_turned_away_early(deep):
    """Before RCPT, or after the first error: still no doubt about any recipient."""
    found = deep(
        {"smtpd_soft_error_limit": "1", "smtpd_hard_error_limit": "2", "smtpd_error_sleep_time": "20s"},
        {"strict": {"smtpd_client_restrictions": "permit_mynetworks, reject", "smtpd_delay_reject": "no"}, "curt": {}, "trusting": {"mynetworks": "192.0.2.1/32, 127.0.0.1/32"}},
    )
    assert found.status == 0, found.output
    for client in ("192.0.2.1", "198.51.100.1"):
        for listener in ("strict", "curt"):
            verdict, text = found.find(f"relaying by listener {listener} for {client}")
            assert verdict == "ok" and text.startswith("refused, all 21 recipients elsewhere; ")
    assert "example.net" in found.find("relaying by listener curt for 192.0.2.1")[1]
    assert not any("trusting for 192.0.2.1" in name for _, name, _ in found.lines)


# ---- files ----


def test_directories_and_commands(deep, folder, owner):
    secret = folder / "secret"
    secret.mkdir(mode=0o700)
    command = setups.script(secret, "command", "exit 0\n")
    found = deep({"queue_directory": folder / "none", "virtual_transport": "run"}, transports={"run": setups.pipe(owner, f"{command} a b")})
    assert found.status == 1
    assert found.find(f"directory {folder}/none") == ("FAIL", "No such file or directory")
    assert found.find(f"command {command}")[1] == ("can be run" if owner.uid == 0 else f"{owner.user}:{owner.group} cannot run it: Permission denied")
    secret.chmod(0o755)
    (folder / "queue").mkdir()
    (folder / "queue").chmod(0o777)
    found = deep({"queue_directory": folder / "queue", "virtual_transport": "run"}, transports={"run": setups.pipe(owner, f"{command} a b")})
    assert found.find(f"directory {folder}/queue") == ("FAIL", "everyone on this machine can write to it")
    assert found.find(f"command {command}") == ("ok", "can be run")
    (folder / "queue").chmod(0o700)
    found = deep({"queue_directory": folder / "queue", "virtual_mailbox_base": secret / "gone", "queue_minfree": str(2**52)})
    assert re.fullmatch(r"\d+ MB are free, and message_size_limit and queue_minfree need 4294967297", found.find(f"directory {folder}/queue")[1])
    assert found.find(f"directory {secret}/gone") == ("FAIL", f"uid {owner.uid} cannot enter it: No such file or directory")


def test_nothing_is_tried_with_errors(deep):
    found = deep({"smtpd_timeout": "never"})
    assert found.status == 1 and found.lines == []
    assert found.errors.strip().endswith("; nothing was tried")


def test_the_option(folder):
    assert mta.command("--check-config", "--depe").returncode == 2
    assert b"--check-config [--deep]" in mta.command("--help").stdout


# ---- the traps of the tutorial ----


def test_the_twelve_traps(folder, mariadb, owner):
    """Typed in as the tutorial has it, but for paths and who runs the command; its database has mytuto.com."""
    mariadb.add_domain("mytuto.com")
    postfix.sql_files(folder, setups.mysql_source(mariadb), setups.QUERIES)
    replacements = postfix.tutorial_replacements(folder) + [("user=vmail:vmail", f"user={owner.user}:{owner.group}")]
    main, master = postfix.tutorial_texts(replacements)
    (folder / "queue").mkdir()
    directory = postfix.write(folder / "postfix", f"{main}queue_directory = {folder}/queue\n", master)
    found = Deep(directory)
    assert found.status == 1
    lines = {"main.cf": (directory / "main.cf").read_text().splitlines(), "master.cf": (directory / "master.cf").read_text().splitlines()}

    def said(file, begins, pattern):
        """A complaint at the (last) line of the file that begins so."""
        number = max(at for at, line in enumerate(lines[file], 1) if line.strip().startswith(begins))
        return re.search(rf"/{re.escape(file)}:{number}: warning: {pattern}", found.errors)

    traps = [
        said("main.cf", "virtual_alias_domains", "virtual_alias_domains: mail.hoppr.in is in mydestination too"),
        said("main.cf", "smtpd_recipient_restrictions", r"smtpd_recipient_restrictions: hash:/etc/postfix/custom_replies: No such file"),
        said("main.cf", "smtp_sasl_type", "smtp_sasl_type: this is a type for servers"),
        found.find("domain hoppr.in (mydomain, ")[1].startswith("its mail goes to other servers: it is in none of mydestination"),
        said("main.cf", "smtpd_sasl_local_domain", "smtpd_sasl_local_domain: .* means nothing, and nothing asks saslauthd"),
        said("main.cf", "smtpd_use_tls", "smtpd_use_tls: this is obsolete")
        and said("main.cf", "smtp_use_tls", "smtp_use_tls: this is obsolete")
        and said("main.cf", "smtpd_tls_session_cache_database", "smtpd_tls_session_cache_database: this is obsolete"),
        said("main.cf", "milter_default_action", "milter_default_action: with accept, mail goes on unsigned"),
        said("main.cf", "milter_protocol", "milter_protocol: milters of today speak 6"),
        said("master.cf", "smtps ", "listener smtps: the same user meets another policy here than at listener submission, by smtpd_recipient_restrictions"),
        said("main.cf", "smtp_tls_cert_file", "smtp_tls_cert_file: every server that mail goes to is shown this certificate"),
        said("master.cf", "flags=DRhu", "transport dovecot: flags: without O")
        and said("master.cf", "flags=DRhu", r"transport dovecot: argv: \$\{user\} is without the extension"),
        said("master.cf", "flags=DRhu", "transport dovecot: argv: without -e"),
    ]
    assert len(traps) == 12
    assert [number for number, trap in enumerate(traps, 1) if not trap] == [], found.errors
    assert found.find("socket inet:127.0.0.1:8891 (smtpd_milters")[0] in ("ok", "FAIL")
    assert found.find(f"socket unix:{folder}/queue/private/auth (smtpd_sasl_path") == ("FAIL", "no such file or directory")
    assert found.find("relaying by listener smtp for 192.0.2.1")[0] == "ok"
