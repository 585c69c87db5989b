"""AUTH with Dovecot's real auth service, whose users are in MariaDB with the tutorial's SHA512-CRYPT passwords: the
mechanisms, wrong passwords, many at once over one connection, and a service that is away, comes back, or hangs."""

import base64
import hmac
import smtplib
import time

import pytest
from support import mta, procs, setups
from support.dovecot import DovecotAuth, hash_password
from support.setups import DOMAIN

PASSWORD = "Ge heim&%"
ELSEWHERE = "somebody@far.example"
CLIENTS = 200
USERS = [f"u{number}@{DOMAIN}" for number in range(1, 21)]
AWAY = r"smtpd\[\d+\]: warning: SASL: Connect to Dovecot auth socket '\S+' failed: "


def plain(user, password=PASSWORD):
    return base64.b64encode(f"\0{user}\0{password}".encode()).decode()


def add_users(database):
    hashed = hash_password(PASSWORD)
    assert hashed.startswith("{SHA512-CRYPT}$6$")
    rows = [f"('{user}', '{hashed}', 'x/', '', 1)" for user in USERS]
    rows += [
        f"('readable@{DOMAIN}', '{{PLAIN}}{PASSWORD}', 'x/', '', 1)",
        f"('utf8@{DOMAIN}', '{hash_password('geheim-ß-ü')}', 'x/', '', 1)",
        f"('nologin@{DOMAIN}', '{hashed}', 'x/', 'nologin', 1)",
        f"('inactive@{DOMAIN}', '{hashed}', 'x/', '', 0)",
        # as PostfixAdmin writes it: without the name of the scheme
        f"('bare@{DOMAIN}', '{hashed.split('}')[1]}', 'x/', '', 1)",
    ]
    database.sql("INSERT INTO mailbox (username, password, maildir, name, active) VALUES " + ", ".join(rows))


@pytest.fixture(scope="module")
def users(mariadb):
    add_users(mariadb)
    return mariadb


@pytest.fixture(scope="module")
def shared(module_folder, users):
    service = DovecotAuth(module_folder / "auth", users).start()
    yield service
    service.stop()


@pytest.fixture
def own(folder, users):
    """A service that the test may stop."""
    service = DovecotAuth(folder / "auth", users).start()
    yield service
    service.stop()


def server_for(make, folder, owner, path):
    """Port 25 for everybody, and a submission port for those who log in."""
    main = {
        "smtpd_sasl_type": "dovecot",
        "smtpd_sasl_path": path,
        "mynetworks": "127.0.0.1/32",
        "default_process_limit": "300",
        # what the tests do is not to be taken for guessing
        "smtpd_auth_ban_limit": "0",
    }
    submission = {
        "smtpd_sasl_auth_enable": "yes",
        "mynetworks": "",
        "smtpd_relay_restrictions": "permit_sasl_authenticated, reject",
        "smtpd_recipient_restrictions": "permit_sasl_authenticated, reject",
        "smtpd_client_connection_count_limit": "0",
    }
    return setups.hosted_server(make, folder, owner, main, listeners={"smtp": {}, "submission": submission})


@pytest.fixture(scope="module")
def server(make_module_mta, module_folder, owner, shared):
    server = server_for(make_module_mta, module_folder, owner, shared.socket)
    wait_offered(server)
    return server


def offered(server):
    with server.connect("submission") as client:
        lines = client.cmd("EHLO c.example", 250).lines
        return {word for line in lines if line.startswith("AUTH ") for word in line.split()[1:]}


def wait_offered(server):
    return procs.wait_for(lambda: offered(server), what="AUTH to be offered")


def log_in(server, user, password=PASSWORD, method="auth_plain"):
    """smtplib's own way; returns the connection, or what the server said instead."""
    client = smtplib.SMTP(*server.address("submission"), timeout=60)
    client.ehlo("c.example")
    client.user, client.password = user, password
    mechanism = {"auth_plain": "PLAIN", "auth_login": "LOGIN", "auth_cram_md5": "CRAM-MD5"}[method]
    try:
        assert client.auth(mechanism, getattr(client, method))[0] == 235
    except smtplib.SMTPAuthenticationError as error:
        client.close()
        return error
    return client


def connections(server):
    """How many connections mta has at UNIX sockets."""
    inodes = {text[8:-1] for text in procs.descriptors(server.child.pid).values() if text.startswith("socket:[")}
    with open("/proc/net/unix") as table:
        rows = [line.split() for line in table]
    return sum(1 for row in rows if row[6] in inodes and row[5] == "03")


# ---- who gets in ----


def test_mechanisms(server):
    assert offered(server) == {"PLAIN", "LOGIN", "CRAM-MD5"}
    with server.connect("smtp") as client:
        assert "AUTH" not in client.cmd("EHLO c.example", 250).text
        client.cmd(f"AUTH PLAIN {plain(USERS[0])}", 503)


@pytest.mark.parametrize(
    "method, user",
    [("auth_plain", USERS[0]), ("auth_login", USERS[1]), ("auth_login", f"bare@{DOMAIN}"), ("auth_plain", f"readable@{DOMAIN}")],
)
def test_right_password(server, method, user):
    """Who has logged in may send to other hosts; nobody else may use the port."""
    client = log_in(server, user, method=method)
    assert client.mail("s@client.example")[0] == 250
    assert client.rcpt(ELSEWHERE)[0] == 250
    client.quit()
    with server.connect("submission") as stranger:
        stranger.cmd("EHLO c.example", 250)
        stranger.cmd("MAIL FROM:<s@client.example>", 250)
        stranger.cmd(f"RCPT TO:<{ELSEWHERE}>", 554)


def test_cram_md5(server):
    """It needs a password that Dovecot can read. (smtplib takes PASSWORD for it.)"""
    with server.connect("submission") as client:
        client.cmd("EHLO c.example", 250)
        challenge = base64.b64decode(client.cmd("AUTH CRAM-MD5", 334).text)
        digest = hmac.new(PASSWORD.encode(), challenge, "md5").hexdigest()
        client.cmd(base64.b64encode(f"readable@{DOMAIN} {digest}".encode()).decode(), 235)
    with server.connect("submission") as client:
        client.cmd("EHLO c.example", 250)
        client.cmd("AUTH CRAM-MD5", 334)
        client.cmd(base64.b64encode(f"readable@{DOMAIN} {'0' * 32}".encode()).decode(), 535)


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_swaks(server, mechanism):
    host, port = server.address("submission")
    argv = ["swaks", "--server", f"{host}:{port}", "--auth", mechanism, "--auth-user", f"readable@{DOMAIN}", "--quit-after", "AUTH"]
    assert b"<-  235 2.7.0" in procs.run([*argv, "--auth-password", PASSWORD]).stdout
    assert b"<** 535 5.7.8" in procs.run([*argv, "--auth-password", "wrong"], check=False).stdout


@pytest.mark.parametrize(
    "user, password",
    [(USERS[0], "wrong-guess"), (USERS[0], ""), (f"nobody@{DOMAIN}", "wrong-guess"), (f"inactive@{DOMAIN}", PASSWORD), ("x' OR '1'='1", "wrong-guess")],
)
def test_wrong_password(server, user, password):
    """A user that is not there is a wrong password like any other."""
    error = log_in(server, user, password, "auth_plain")
    assert (error.smtp_code, error.smtp_error) == (535, b"5.7.8 Error: authentication failed: (reason unavailable)")
    with server.connect("submission") as client:
        client.cmd("EHLO c.example", 250)
        client.cmd(f"AUTH PLAIN {plain(user, password)}", 535)
        client.cmd(f"AUTH PLAIN {plain(USERS[3])}", 235)  # and another attempt in the same session


def test_failure_is_logged_without_the_password(server):
    log_in(server, USERS[4], "wrong-guess", "auth_plain")
    log_in(server, USERS[4], "wrong-guess", "auth_login")
    for mechanism in ("PLAIN", "LOGIN"):
        server.wait_log(rf"smtpd\[\d+\]: warning: \S+\[127\.0\.0\.1\]: SASL {mechanism} authentication failed: .*, sasl_username={USERS[4]}$")
    log = server.log()
    for secret in ("wrong-guess", PASSWORD, plain(USERS[4], "wrong-guess"), base64.b64encode(b"wrong-guess").decode()):
        assert secret not in log


def test_password_is_right_but_nologin(server):
    """Dovecot says OK to these, and that they must not be let in."""
    error = log_in(server, f"nologin@{DOMAIN}")
    assert error.smtp_code == 535
    server.wait_log(r"authentication failed: Dovecot says that the user may not log in here .*sasl_username=nologin@")


def test_abort_and_garbage(server):
    with server.connect("submission") as client:
        client.cmd("EHLO c.example", 250)
        client.cmd("AUTH LOGIN", 334)
        client.cmd("*", 501)
        client.cmd("AUTH PLAIN nonsense\tuser=root", 501)
        client.cmd("AUTH PLAIN", 334)
        client.cmd("=not=base64=", 501)
        client.cmd("AUTH PLAIN =", 535)
        client.cmd("AUTH SCRAM-SHA-1", 504)
        client.cmd(f"AUTH PLAIN {'A' * 11000}", 535)
        client.cmd(f"AUTH PLAIN {plain(USERS[0])}", 235)


# ---- the socket ----


def test_socket_below_the_queue_directory(make_mta, folder, owner, shared):
    """smtpd_sasl_path = private/auth, as everybody has it."""
    server = server_for(make_mta, folder, owner, "private/auth")
    (server.queue / "private").mkdir(exist_ok=True)
    (server.queue / "private" / "auth").symlink_to(shared.socket)
    wait_offered(server)
    log_in(server, USERS[0]).quit()


def test_tcp_and_reload(make_mta, folder, owner, own):
    """After a reload that names another socket the connection to the old one closes."""
    server = server_for(make_mta, folder, owner, own.socket)
    wait_offered(server)
    assert connections(server) == 1
    server.main["smtpd_sasl_path"] = f"inet:127.0.0.1:{own.port}"
    server.write_config()
    mta.command("-c", server.conf, "reload", check=True)
    procs.wait_for(lambda: connections(server) == 0, what="the old connection to close")
    wait_offered(server)
    log_in(server, USERS[0]).quit()


def test_wrong_socket(make_mta, folder, owner, shared):
    server = server_for(make_mta, folder, owner, shared.master_socket)
    server.wait_log(AWAY + r".*wrong socket \(auth-master\?\)")
    assert offered(server) == set()


# ---- many at once ----


def ask_all(server):
    """CLIENTS sessions that all send their AUTH before any looks at its answer."""
    clients = [server.connect("submission") for _ in range(CLIENTS)]
    for client in clients:
        client.cmd("EHLO c.example", 250)
    for number, client in enumerate(clients):
        client.send(f"AUTH PLAIN {plain(USERS[number % len(USERS)])}\r\n")
    return clients


def test_two_hundred_at_once_over_one_connection(make_mta, folder, owner, own):
    server = server_for(make_mta, folder, owner, own.socket)
    wait_offered(server)
    clients = ask_all(server)
    assert connections(server) == 1
    for client in clients:
        client.expect(235)
        client.close()
    assert connections(server) == 1
    assert not server.lines(AWAY)


def test_restart_in_the_middle(make_mta, folder, owner, own):
    """Nobody is told that the password is wrong, nobody waits for ever, and it goes on as before."""
    server = server_for(make_mta, folder, owner, own.socket)
    wait_offered(server)
    clients = ask_all(server)
    answers = [clients[0].reply().code]
    own.restart()
    answers += [client.reply().code for client in clients[1:]]
    for client in clients:
        client.close()
    assert set(answers) <= {235, 454}
    wait_offered(server)
    log_in(server, USERS[0]).quit()
    assert connections(server) == 1


def test_restart_while_nothing_happens(make_mta, folder, owner, own):
    """The old process keeps its connections for half a minute and answers nothing: that is not what a user sees."""
    server = server_for(make_mta, folder, owner, own.socket)
    wait_offered(server)
    log_in(server, USERS[0]).quit()
    own.restart()
    for user in USERS[:3]:
        log_in(server, user).quit()
    assert not server.lines(AWAY)


# ---- away ----


def receives(server):
    """Does port 25 take mail?"""
    with server.connect("smtp", timeout=10) as client:
        client.cmd("EHLO c.example", 250)
        client.cmd("MAIL FROM:<s@client.example>", 250)
        client.cmd(f"RCPT TO:<u1@{DOMAIN}>", 250)
        client.cmd("DATA", 354)
        client.cmd("Subject: x\r\n\r\nx\r\n.", 250)


def test_stopped_and_started(make_mta, folder, owner, own):
    server = server_for(make_mta, folder, owner, own.socket)
    wait_offered(server)
    with server.connect("submission") as client:
        client.cmd("EHLO c.example", 250)
        own.stop()
        client.cmd(f"AUTH PLAIN {plain(USERS[0])}", 454, r"^4\.7\.0 ")
        server.wait_log(AWAY)
        assert offered(server) == set()
        receives(server)
        client.cmd(f"AUTH PLAIN {plain(USERS[0])}", 454, r"^4\.7\.0 ")
        own.start()
        wait_offered(server)
        client.cmd(f"AUTH PLAIN {plain(USERS[0])}", 235)  # the session goes on
    assert len(server.lines(AWAY)) == 1
    assert len(server.lines(r"SASL: Dovecot auth socket '\S+' is back$")) == 1


def test_not_there_at_the_start(make_mta, folder, owner, users):
    service = DovecotAuth(folder / "auth", users)
    server = server_for(make_mta, folder, owner, service.socket)
    server.wait_log(AWAY + "no such file or directory$")
    assert offered(server) == set()
    receives(server)
    service.start()
    wait_offered(server)
    log_in(server, USERS[0]).quit()
    service.stop()


def test_its_database_fails(make_mta, make_mariadb, folder, owner):
    """Dovecot is there and cannot know: not a wrong password, which a client would ask its user for again."""
    database = make_mariadb()
    add_users(database)
    service = DovecotAuth(folder / "auth", database).start()
    server = server_for(make_mta, folder, owner, service.socket)
    wait_offered(server)
    with server.connect("submission") as client:
        client.cmd("EHLO c.example", 250)
        database.sql("RENAME TABLE mailbox TO elsewhere")
        client.cmd(f"AUTH PLAIN {plain(USERS[1])}", 454, r"^4\.7\.0 ")
        database.sql("RENAME TABLE elsewhere TO mailbox")
        client.cmd(f"AUTH PLAIN {plain(USERS[1])}", 235)
    assert not server.lines(AWAY)
    service.stop()


def test_frozen(make_mta, folder, owner, own):
    """Connections to it still succeed, but nobody is there: 454 in bounded time, and AUTH is not offered until it is back."""
    server = server_for(make_mta, folder, owner, own.socket)
    wait_offered(server)
    own.pause()
    begun = time.monotonic()
    with server.connect("submission", timeout=90) as client:
        client.cmd("EHLO c.example", 250)
        client.send(f"AUTH PLAIN {plain(USERS[0])}\r\n")
        receives(server)
        client.expect(454, r"^4\.7\.0 ")
    assert time.monotonic() - begun < 40
    server.wait_log(AWAY + "it does not greet$")
    assert offered(server) == set()
    own.resume()
    wait_offered(server)
    log_in(server, USERS[0]).quit()
