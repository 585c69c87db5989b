"""AUTH over the table back end: every reply, who may relay then, what is logged and what never is, real clients."""

import base64
import re
import smtplib
import subprocess

import pytest
from support import certs, maildir, mta, procs, setups
from support.setups import DOMAIN

PASSWORD = "Tr0ub4dor&3-xyzzy"
USER = f"u1@{DOMAIN}"
REMOTE = "somebody@remote.example"
BODY = b"Subject: x\r\n\r\nbody\r\n"
PEER = r"(?:localhost|unknown)\[127\.0\.0\.[0-9]+\]"


def b64(text):
    return base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


def plain(user=USER, password=PASSWORD):
    return b64(f"\0{user}\0{password}")


def hash_of(password):
    done = mta.command("passwd", input=password.encode() + b"\n", check=True)
    return done.stdout.decode().strip()


def passwords(folder, **users):
    """A table of logins: `users` are name=value at DOMAIN."""
    path = folder / "passwords"
    path.write_text("".join(f"{name}@{DOMAIN} {value}\n" for name, value in users.items()))
    return f"texthash:{path}"


def auth_settings(folder, **more):
    table = passwords(folder, u1=hash_of(PASSWORD), u2="{PLAIN}secret", odd="{CRAM-MD5}xxxx")
    return {
        "smtpd_sasl_auth_enable": "yes",
        "smtpd_sasl_type": "table",
        "smtpd_sasl_password_maps": table,
        "smtpd_auth_ban_limit": "0",
        **more,
    }


@pytest.fixture(scope="module")
def server(make_module_mta, module_folder, owner):
    listeners = {
        "smtp": {},
        "submission": {"smtpd_client_restrictions": "permit_sasl_authenticated,reject", "smtpd_sasl_authenticated_header": "yes"},
        "tlsonly": {"smtpd_tls_auth_only": "yes"},
        "none": {"smtpd_sasl_auth_enable": "no"},
        "odd": {
            "broken_sasl_auth_clients": "yes",
            "smtpd_sasl_exceptions_networks": "127.0.0.2",
            "smtpd_sasl_mechanism_filter": "login",
            "smtpd_helo_required": "yes",
        },
        "silent": {"smtpd_discard_ehlo_keywords": "auth"},
        "broken": {"smtpd_sasl_password_maps": "fail:out-of-order"},
    }
    return setups.hosted_server(make_module_mta, module_folder, owner, auth_settings(module_folder), listeners=listeners)


# What EHLO offers


@pytest.mark.parametrize(
    "listener, stranger, expected",
    [
        ("smtp", False, {"AUTH": "PLAIN LOGIN"}),
        ("smtp", True, {"AUTH": "PLAIN LOGIN"}),
        ("tlsonly", False, {}),
        ("none", False, {}),
        ("odd", False, {"AUTH": "LOGIN", "AUTH=LOGIN": ""}),
        ("odd", True, {}),
        ("silent", False, {}),
        ("broken", False, {"AUTH": "PLAIN LOGIN"}),
    ],
)
def test_what_is_offered(server, listener, stranger, expected):
    with server.connect(listener, stranger=stranger) as client:
        keywords = client.ehlo()
    assert {word: value for word, value in keywords.items() if word.startswith("AUTH")} == expected


# Every reply

REPLIES = [
    ("plain", ["AUTH PLAIN " + plain()], "235 2.7.0 Authentication successful"),
    ("plain in two steps", ["AUTH PLAIN", plain()], "235 2.7.0 Authentication successful"),
    ("lower case", ["auth plain " + plain(USER.upper())], "235 2.7.0 Authentication successful"),
    ("login", ["AUTH LOGIN", b64(USER), b64(PASSWORD)], "235 2.7.0 Authentication successful"),
    ("login with a name", ["AUTH LOGIN " + b64(USER), b64(PASSWORD)], "235 2.7.0 Authentication successful"),
    ("wrong password", ["AUTH PLAIN " + plain(password="wrong")], "535 5.7.8 Error: authentication failed: (reason unavailable)"),
    ("unknown user", ["AUTH PLAIN " + plain("nobody@x")], "535 5.7.8 Error: authentication failed: (reason unavailable)"),
    ("wrong in login", ["AUTH LOGIN", b64(USER), b64("no")], "535 5.7.8 Error: authentication failed: (reason unavailable)"),
    ("as somebody else", ["AUTH PLAIN " + b64(f"root\0{USER}\0{PASSWORD}")], "535 5.7.8 Error: authentication failed: nobody may act as somebody else"),
    ("abort", ["AUTH LOGIN", "*"], "501 5.7.0 Authentication aborted"),
    ("abort later", ["AUTH LOGIN", b64(USER), "*"], "501 5.7.0 Authentication aborted"),
    ("no base64", ["AUTH PLAIN !!!!"], "501 5.5.2 Error: authentication failed: malformed response"),
    ("no base64 later", ["AUTH PLAIN", "QUIT"], "501 5.5.2 Error: authentication failed: malformed response"),
    ("a NUL in it", ["AUTH PLAIN", plain() + "\0x"], "501 5.5.2 Error: authentication failed: malformed response"),
    ("padding that hides bits", ["AUTH PLAIN", "AB=="], "501 5.5.2 Error: authentication failed: malformed response"),
    ("empty", ["AUTH PLAIN ="], "501 5.5.2 Error: authentication failed: malformed response"),
    ("empty later", ["AUTH PLAIN", ""], "501 5.5.2 Error: authentication failed: malformed response"),
    ("unknown mechanism", ["AUTH FOO"], "504 5.5.4 Error: authentication mechanism not supported"),
    ("a very long mechanism", ["AUTH " + "F" * 1000], "504 5.5.4 Error: authentication mechanism not supported"),
    ("no mechanism", ["AUTH"], "501 5.5.4 Syntax: AUTH mechanism"),
    ("too many words", ["AUTH PLAIN a b"], "501 5.5.4 Syntax: AUTH mechanism"),
    ("a scheme we lack", ["AUTH PLAIN " + plain(f"odd@{DOMAIN}")], "454 4.7.0 Temporary authentication failure: Connection lost to authentication server"),
    ("too long", ["AUTH PLAIN", "A" * 12288], "500 5.5.6 SASL response limit exceeded"),
    ("much too long", ["AUTH PLAIN", "A" * 100000], "500 5.5.6 SASL response limit exceeded"),
    ("too long at once", ["AUTH PLAIN " + "A" * 12288], "500 5.5.6 SASL response limit exceeded"),
    ("just not too long", ["AUTH PLAIN", "A" * 12284], "501 5.5.2 Error: authentication failed: malformed response"),
    ("in a transaction", ["MAIL FROM:<a@b.example>", "AUTH PLAIN " + plain()], "503 5.5.1 Error: MAIL transaction in progress"),
    ("twice", ["AUTH PLAIN " + plain(), "AUTH PLAIN " + plain()], "503 5.5.1 Error: already authenticated"),
    ("twice after EHLO", ["AUTH PLAIN " + plain(), "EHLO x", "AUTH LOGIN"], "503 5.5.1 Error: already authenticated"),
    ("again after a failure", ["AUTH PLAIN " + plain(password="no"), "AUTH PLAIN " + plain()], "235 2.7.0 Authentication successful"),
    ("again after an abort", ["AUTH PLAIN", "*", "AUTH PLAIN " + plain()], "235 2.7.0 Authentication successful"),
    ("with MAIL", ["AUTH PLAIN " + plain(), "MAIL FROM:<a@b.example> AUTH=c+2Bd@b.example"], "250 2.1.0 Ok"),
    ("MAIL of a stranger", ["MAIL FROM:<a@b.example> AUTH=<>"], "250 2.1.0 Ok"),
    ("bad xtext", ["MAIL FROM:<a@b.example> AUTH=a+2xb"], "501 5.5.4 Bad AUTH parameter syntax"),
]  # fmt: skip


@pytest.mark.parametrize("lines, expected", [row[1:] for row in REPLIES], ids=[row[0] for row in REPLIES])
def test_reply(server, lines, expected):
    with server.connect() as client:
        client.ehlo()
        for line in lines:
            reply = client.cmd(line)
        assert str(reply) == expected
        client.cmd("NOOP", 250)  # a line too long was read to its end
        client.quit()


@pytest.mark.parametrize(
    "listener, lines, expected",
    [
        ("tlsonly", ["EHLO x", "AUTH PLAIN " + plain()], "503 5.5.1 Error: authentication not enabled"),
        ("none", ["EHLO x", "AUTH PLAIN " + plain()], "503 5.5.1 Error: authentication not enabled"),
        ("none", ["EHLO x", "MAIL FROM:<a@b.example> AUTH=<>"], "555 5.5.4 Unsupported option: AUTH=<>"),
        ("silent", ["EHLO x", "AUTH PLAIN " + plain()], "503 5.5.1 Error: authentication not enabled"),
        ("odd", ["AUTH PLAIN " + plain()], "503 5.5.1 Error: send HELO/EHLO first"),
        ("odd", ["EHLO x", "AUTH PLAIN " + plain()], "504 5.5.4 Error: authentication mechanism not supported"),
        ("smtp", ["AUTH PLAIN " + plain()], "235 2.7.0 Authentication successful"),
        ("smtp", ["HELO x", "AUTH PLAIN " + plain()], "235 2.7.0 Authentication successful"),
        ("broken", ["EHLO x", "AUTH PLAIN " + plain()], "454 4.7.0 Temporary authentication failure: Connection lost to authentication server"),
    ],
)
def test_reply_elsewhere(server, listener, lines, expected):
    with server.connect(listener) as client:
        for line in lines:
            reply = client.cmd(line)
        assert str(reply) == expected


def test_challenges(server):
    with server.connect() as client:
        client.ehlo()
        assert str(client.cmd("AUTH LOGIN")) == "334 " + b64("Username:")
        assert str(client.cmd(b64(USER))) == "334 " + b64("Password:")
        client.cmd("*", 501)
        assert str(client.cmd("AUTH PLAIN")) == "334 "


# How it comes


def test_in_one_segment(server):
    """Everything at once: the lines after AUTH are what the exchange needs, then commands."""
    with server.connect() as client:
        client.send(f"EHLO x\r\nAUTH LOGIN\r\n{b64(USER)}\r\n{b64(PASSWORD)}\r\nMAIL FROM:<{USER}>\r\nRCPT TO:<{REMOTE}>\r\nQUIT\r\n")
        codes = [client.reply().code for _ in range(7)]
        assert codes == [250, 334, 334, 235, 250, 250, 221]


def test_byte_by_byte(server):
    with server.connect() as client:
        for byte in f"EHLO x\r\nAUTH PLAIN\r\n{plain()}\r\n".encode():
            client.send(bytes([byte]))
        assert [client.reply().code for _ in range(3)] == [250, 334, 235]


def test_bare_newlines(server):
    with server.connect() as client:
        client.send(f"EHLO x\nAUTH PLAIN\n{plain()}\n")
        assert [client.reply().code for _ in range(3)] == [250, 334, 235]


def test_client_that_leaves(server):
    with server.connect() as client:
        client.ehlo("leaver.example")
        client.cmd("AUTH LOGIN", 334)
    server.wait_log(rf"lost connection after AUTH from {PEER}$")


def test_client_that_leaves_while_its_password_is_checked(server):
    for _ in range(5):
        with server.connect() as client:
            client.ehlo()
            client.send("AUTH PLAIN " + plain() + "\r\n")
    with server.connect() as client:
        client.ehlo()
        client.cmd("AUTH PLAIN " + plain(), 235)


def test_many_at_once(server):
    clients = [server.connect() for _ in range(40)]
    for number, client in enumerate(clients):
        client.send("EHLO x\r\nAUTH PLAIN " + (plain() if number % 2 else plain(password="no")) + "\r\n")
    for number, client in enumerate(clients):
        client.expect(250)
        client.expect(235 if number % 2 else 535)
        client.close()


def test_timeout(make_mta, folder, owner):
    server = setups.hosted_server(make_mta, folder, owner, auth_settings(folder, smtpd_timeout="1s"))
    with server.connect() as client:
        client.ehlo()
        client.cmd("AUTH LOGIN", 334)
        client.expect(421, "4.4.2")
        client.expect_closed()
    server.wait_log(rf"timeout after AUTH from {PEER}$")


def test_shutdown(make_mta, folder, owner):
    server = setups.hosted_server(make_mta, folder, owner, auth_settings(folder))
    with server.connect() as client:
        client.ehlo()
        client.cmd("AUTH LOGIN", 334)
        server.ask_to_stop()
        client.expect(421, "4.3.2")
        client.expect_closed()


# What it is good for


def test_relay_needs_it(server):
    with server.connect(stranger=True) as client:
        client.ehlo()
        client.cmd("MAIL FROM:<x@client.example> AUTH=" + USER, 250)
        client.cmd(f"RCPT TO:<{REMOTE}>", 454, "Relay access denied")
        client.cmd("RSET", 250)
        client.cmd("AUTH PLAIN " + plain(password="wrong"), 535)
        client.cmd("MAIL FROM:<x@client.example>", 250)
        client.cmd(f"RCPT TO:<{REMOTE}>", 454, "Relay access denied")
        client.cmd("RSET", 250)
        client.cmd("AUTH PLAIN " + plain(), 235)
        client.cmd("MAIL FROM:<x@client.example>", 250)
        client.cmd(f"RCPT TO:<{REMOTE}>", 250)
    with server.connect(stranger=True) as client:  # it was that session's
        client.ehlo()
        client.cmd("MAIL FROM:<x@client.example>", 250)
        client.cmd(f"RCPT TO:<{REMOTE}>", 454, "Relay access denied")


def test_submission_is_for_users(server):
    with server.connect("submission") as client:
        client.ehlo()
        client.cmd("MAIL FROM:<x@client.example>", 250)
        client.cmd(f"RCPT TO:<{USER}>", 554, rf"^5\.7\.1 <{PEER}>: Client host rejected: Access denied$")
        client.cmd("RSET", 250)
        client.cmd("AUTH PLAIN " + plain(), 235)
        client.mail(USER, USER, BODY)
    [message] = maildir.wait_messages(server.maildir("u1"), 1)
    assert re.search(
        rf"^Received: from client\.example \({PEER.replace(chr(92) + '[', ' ' + chr(92) + '[', 1)}\)\n"
        rf"\t\(Authenticated sender: {USER}\)\n\tby \S+ \(Postfix\) with ESMTPA id \w+\n\tfor <{USER}>; ",
        message.decode(), re.M,
    ), message.decode()  # fmt: skip


def test_header_does_not_tell(server):
    before = len(maildir.files(server.maildir("u2")))
    with server.connect() as client:
        client.ehlo()
        client.cmd("AUTH PLAIN " + plain(), 235)
        client.cmd(f"MAIL FROM:<{USER}> SMTPUTF8", 250)
        client.cmd(f"RCPT TO:<u2@{DOMAIN}>", 250)
        client.data(BODY)
    message = maildir.wait_messages(server.maildir("u2"), before + 1)[-1]
    text = message.decode()
    assert " with UTF8SMTPA id " in text and "Authenticated" not in text


def test_protocol_of_helo(server):
    before = len(maildir.files(server.maildir("u3")))
    with server.connect() as client:
        client.cmd("HELO x", 250)
        client.cmd("AUTH PLAIN " + plain(), 235)
        client.mail(USER, f"u3@{DOMAIN}", BODY)
    assert " with SMTP id " in maildir.wait_messages(server.maildir("u3"), before + 1)[-1].decode()


def test_missing_headers_of_users(make_mta, folder, owner):
    server = setups.hosted_server(
        make_mta, folder, owner, auth_settings(folder, mynetworks="192.0.2.1", local_header_rewrite_clients="permit_sasl_authenticated")
    )
    for name, login in (("u4", False), ("u5", True)):
        with server.connect() as client:
            client.ehlo()
            if login:
                client.cmd("AUTH PLAIN " + plain(), 235)
            client.mail(USER, f"{name}@{DOMAIN}", BODY)
        [message] = maildir.wait_messages(server.maildir(name), 1)
        assert (b"\nMessage-Id: " in message) == login


# Sender addresses and their owners

OWNERS = f"inline:{{ {{{USER}={USER}}}, {{shared@{DOMAIN}=u9@{DOMAIN}, {USER.upper()}}}, {{u2@{DOMAIN}=u2@{DOMAIN}}} }}"
CHECKS = {
    "reject_sender_login_mismatch": {"login": "own none", "none": "owned"},
    "reject_known_sender_login_mismatch": {"login": "own", "none": "owned"},
    "reject_authenticated_sender_login_mismatch": {"login": "own none", "none": ""},
    "reject_unauthenticated_sender_login_mismatch": {"login": "", "none": "owned"},
}


@pytest.fixture(scope="module")
def owners(make_module_mta, module_folder, owner):
    folder = module_folder / "owners"
    folder.mkdir()
    listeners = {name: {"smtpd_sender_restrictions": name, "smtpd_sender_login_maps": OWNERS} for name in CHECKS}
    listeners["broken"] = {"smtpd_sender_restrictions": "reject_sender_login_mismatch", "smtpd_sender_login_maps": "fail:out-of-order"}
    listeners["off"] = {"smtpd_sender_restrictions": "reject_sender_login_mismatch", "smtpd_sender_login_maps": OWNERS, "smtpd_sasl_auth_enable": "no"}
    return setups.hosted_server(make_module_mta, folder, owner, auth_settings(folder, recipient_delimiter="+"), listeners=listeners)


def ask_sender(server, listener, sender, login):
    with server.connect(listener) as client:
        client.ehlo()
        if login:
            client.cmd("AUTH PLAIN " + plain(), 235)
        client.cmd(f"MAIL FROM:<{sender}>", 250)
        return str(client.cmd(f"RCPT TO:<{USER}>"))


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("login", [False, True], ids=["stranger", "user"])
def test_sender_login(owners, check, login):
    refused = CHECKS[check]["login" if login else "none"]
    own = {USER, f"U1@{DOMAIN.upper()}", f"u1+x@{DOMAIN}", f"shared@{DOMAIN}"}
    for sender in [*own, f"u2@{DOMAIN}", f"u3@{DOMAIN}", ""]:
        kind = "" if sender == "" else "none" if sender.startswith("u3") else "owned"
        expected = "250 2.1.5 Ok"
        if login and kind and sender not in own and ("none" in refused if kind == "none" else "own" in refused):
            expected = f"553 5.7.1 <{sender}>: Sender address rejected: not owned by user {USER}"
        if not login and kind == "owned" and refused:
            expected = f"553 5.7.1 <{sender}>: Sender address rejected: not logged in"
        assert ask_sender(owners, check, sender, login) == expected, sender


def test_sender_login_table_fails(owners):
    for login in (False, True):
        assert ask_sender(owners, "broken", USER, login) == f"451 4.3.0 <{USER}>: Temporary lookup failure"


def test_sender_login_without_auth(owners):
    assert ask_sender(owners, "off", USER, False) == "250 2.1.5 Ok"


# The log


def test_log(make_mta, folder, owner):
    server = setups.hosted_server(make_mta, folder, owner, auth_settings(folder))
    with server.connect() as client:
        client.ehlo()
        client.cmd("AUTH PLAIN " + plain(password="wr0ng-guess"), 535)
        client.cmd("AUTH LOGIN", 334)
        client.cmd(b64(b"somebody\x85@x"), 501)
        client.cmd("AUTH LOGIN", 334)
        client.cmd(b64(USER), 334)
        client.cmd(b64("wr0ng-guess"), 535)
        client.cmd("AUTH Foo\x1b[2J", 504)
        client.cmd("AUTH LOGIN", 334)
        client.cmd("*", 501)
        client.cmd("AUTH PLAIN " + plain(f"odd@{DOMAIN}"), 454)
        client.cmd("AUTH PLAIN " + plain(), 235)
        client.cmd(PASSWORD, 500)
        client.cmd(plain(), 500)
        queue_id = client.mail(USER, USER, BODY)
        client.quit()
    server.wait_log(r"disconnect from .*\bquit=1")
    for line in (
        rf"smtpd\[\d+\]: warning: {PEER}: SASL PLAIN authentication failed: \(reason unavailable\), sasl_username={USER}$",
        rf"smtpd\[\d+\]: warning: {PEER}: SASL LOGIN authentication failed: \(reason unavailable\), sasl_username={USER}$",
        rf"smtpd\[\d+\]: warning: {PEER}: SASL LOGIN authentication failed: not a login, sasl_username=\(unavailable\)$",
        rf"smtpd\[\d+\]: warning: {PEER}: SASL FOO\?\[2J authentication failed: Invalid authentication mechanism, sasl_username=\(unavailable\)$",
        rf"smtpd\[\d+\]: warning: {PEER}: SASL LOGIN authentication aborted$",
        rf"smtpd\[\d+\]: warning: {PEER}: SASL PLAIN authentication failed: Connection lost to authentication server: "
        rf"the stored password of odd@{DOMAIN} has the scheme CRAM-MD5, which is not supported, sasl_username=odd@{DOMAIN}$",
        rf"smtpd\[\d+\]: {queue_id}: client={PEER}, sasl_method=PLAIN, sasl_username={USER}$",
        rf"smtpd\[\d+\]: disconnect from {PEER} ehlo=1 auth=1/7 mail=1 rcpt=1 data=1 quit=1 unknown=0/2 commands=6/14$",
    ):
        assert server.lines(line), f"no line like /{line}/ in:\n{server.log()}"
    for word in ("wr0ng-guess", PASSWORD):
        for form in (word, b64(word), b64(word)[:-4], plain(password=word), plain(password=word)[-20:]):
            assert form not in server.log() and form not in server.stderr(), form


def test_fail2ban(make_mta, folder, owner):
    """Its own filter finds those who guess, and nobody who met a broken server."""
    server = setups.hosted_server(make_mta, folder, owner, auth_settings(folder))
    for source, user, password, code in (("127.0.0.7", USER, "no", 535), ("127.0.0.8", f"odd@{DOMAIN}", "x", 454), ("127.0.0.9", USER, PASSWORD, 235)):
        for _ in range(2):
            with mta.Smtp(server.address(), source=(source, 0)) as client:
                client.ehlo()
                client.cmd("AUTH PLAIN " + plain(user, password), code)
                client.cmd("AUTH FOO", 503 if code == 235 else 504)
                client.quit()
    server.wait_log("disconnect from", 6)
    output = procs.run(["fail2ban-regex", "--print-all-matched", server.log_path, "postfix[mode=auth]"]).stdout.decode()
    matched = output[output.index("Matched line(s)") :]
    assert matched.count("127.0.0.7") == 2 and "127.0.0.8" not in matched and "127.0.0.9" not in matched, output


# Reload


def test_reload(make_mta, folder, owner):
    server = setups.hosted_server(make_mta, folder, owner, auth_settings(folder))
    with server.connect() as client, server.connect() as other:
        client.ehlo()
        client.cmd("AUTH LOGIN", 334)
        other.ehlo()
        table = server.main["smtpd_sasl_password_maps"]
        for change, offered in (
            ({"smtpd_sasl_auth_enable": "no"}, None),
            ({"smtpd_sasl_auth_enable": "yes", "smtpd_sasl_mechanism_filter": "plain"}, "PLAIN"),
            ({"smtpd_sasl_password_maps": ""}, "PLAIN"),  # refused: what is in force stays
        ):
            server.main.update(change)
            server.write_config()
            done = mta.command("-c", server.conf, "reload")
            assert (done.returncode == 0) == ("smtpd_sasl_password_maps" not in change), done.stderr
            with server.connect() as fresh:
                assert fresh.ehlo().get("AUTH") == offered
        # sessions go on with what they began with, in the middle of it too
        client.cmd(b64(USER), 334)
        client.cmd(b64(PASSWORD), 235)
        other.cmd("AUTH PLAIN " + plain(), 235)
        server.main["smtpd_sasl_password_maps"] = table


# Real clients


def test_smtplib(server):
    host, port = server.address()
    with smtplib.SMTP(host, port, timeout=30) as client:
        client.login(USER, PASSWORD)
    with smtplib.SMTP(host, port, timeout=30) as client:
        client.ehlo()
        client.user, client.password = USER, PASSWORD
        assert client.auth("LOGIN", client.auth_login)[0] == 235
    with smtplib.SMTP(host, port, timeout=30) as client, pytest.raises(smtplib.SMTPAuthenticationError):
        client.login(USER, "wrong")


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_swaks(server, mechanism):
    host, port = server.address("submission")
    command = ["swaks", "--server", f"{host}:{port}", "--from", USER, "--to", f"u6@{DOMAIN}", "--auth", mechanism, "--auth-user", USER]
    assert subprocess.run([*command, "--auth-password", PASSWORD], capture_output=True, timeout=60).returncode == 0
    wrong = subprocess.run([*command, "--auth-password", "wrong"], capture_output=True, timeout=60)
    assert wrong.returncode == 28 and b"535 5.7.8" in wrong.stdout, wrong.stdout


@pytest.mark.parametrize("mechanism", ["plain", "login"])
def test_msmtp(server, mechanism):
    host, port = server.address("submission")

    def send(password):
        options = [f"--host={host}", f"--port={port}", f"--auth={mechanism}", f"--user={USER}", f"--passwordeval=echo '{password}'"]
        return procs.run(["msmtp", *options, "--tls=off", f"--from={USER}", f"u7@{DOMAIN}"], input=BODY, check=False, timeout=60).returncode

    assert send(PASSWORD) == 0
    assert send("wrong") == 77  # EX_NOPERM


# Under TLS


@pytest.fixture(scope="module")
def authority(module_folder):
    return certs.Authority(module_folder / "ca")


@pytest.fixture(scope="module")
def secure(make_module_mta, module_folder, owner, authority):
    folder = module_folder / "secure"
    folder.mkdir()
    certificate, key = authority.issue("server", [mta.HOSTNAME])
    main = auth_settings(
        folder,
        smtpd_tls_cert_file=certificate,
        smtpd_tls_key_file=key,
        smtpd_tls_security_level="may",
        smtpd_sasl_security_options="noplaintext, noanonymous",
        smtpd_sasl_tls_security_options="noanonymous",
    )
    users = {"smtpd_client_restrictions": "permit_sasl_authenticated,reject"}
    listeners = {
        "smtp": {"smtpd_tls_auth_only": "yes"},
        "open": {"smtpd_sasl_security_options": "noanonymous"},
        "options": {},
        "submission": {"smtpd_tls_security_level": "encrypt", **users},
        "smtps": {"smtpd_tls_wrappermode": "yes", **users},
    }
    return setups.hosted_server(make_module_mta, folder, owner, main, listeners=listeners)


@pytest.mark.parametrize(
    "listener, refusal",
    [
        ("smtp", "503 5.5.1 Error: authentication not enabled"),
        ("options", "504 5.5.4 Error: authentication mechanism not supported"),
        ("submission", "530 5.7.0 Must issue a STARTTLS command first"),
    ],
)
def test_only_under_tls(secure, authority, listener, refusal):
    with secure.connect(listener) as client:
        assert "AUTH" not in client.ehlo()
        assert str(client.cmd("AUTH PLAIN " + plain())) == refusal
        client.starttls(authority.context())
        assert client.ehlo()["AUTH"] == "PLAIN LOGIN"
        client.cmd("AUTH PLAIN " + plain(), 235)
        client.cmd(f"MAIL FROM:<{USER}>", 250)
        client.cmd(f"RCPT TO:<{REMOTE}>", 250)


def test_from_the_first_byte(secure, authority):
    before = len(maildir.files(secure.maildir("u8")))
    with secure.connect("smtps", tls=authority.context()) as client:
        assert client.ehlo()["AUTH"] == "PLAIN LOGIN"
        client.cmd("AUTH LOGIN " + b64(USER), 334)
        client.cmd(b64(PASSWORD), 235)
        client.mail(USER, f"u8@{DOMAIN}", BODY)
    assert " with ESMTPSA id " in maildir.wait_messages(secure.maildir("u8"), before + 1)[-1].decode()


def test_starttls_begins_anew(secure, authority):
    """What was proved in clear, which somebody else may have done, does not count under TLS."""
    with secure.connect("open", stranger=True) as client:
        client.ehlo()
        client.cmd("AUTH PLAIN " + plain(), 235)
        client.starttls(authority.context())
        client.ehlo()
        client.cmd(f"MAIL FROM:<{USER}>", 250)
        client.cmd(f"RCPT TO:<{REMOTE}>", 454, "Relay access denied")
        client.cmd("RSET", 250)
        client.cmd("AUTH PLAIN " + plain(), 235)
        client.cmd(f"MAIL FROM:<{USER}>", 250)
        client.cmd(f"RCPT TO:<{REMOTE}>", 250)


@pytest.mark.parametrize("listener, how", [("submission", "--tls"), ("smtps", "--tls-on-connect")])
def test_swaks_under_tls(secure, listener, how):
    host, port = secure.address(listener)
    command = ["swaks", "--server", f"{host}:{port}", "--from", USER, "--to", f"u9@{DOMAIN}", how, "--auth", "--auth-user", USER]
    assert subprocess.run([*command, "--auth-password", PASSWORD], capture_output=True, timeout=60).returncode == 0
    assert subprocess.run([*command, "--auth-password", "wrong"], capture_output=True, timeout=60).returncode == 28


@pytest.mark.parametrize("listener, starttls", [("submission", "on"), ("smtps", "off")])
def test_msmtp_under_tls(secure, authority, listener, starttls):
    host, port = secure.address(listener)
    tls = ["--tls=on", f"--tls-starttls={starttls}", f"--tls-trust-file={authority.certificate}", f"--tls-host-override={mta.HOSTNAME}"]
    options = [f"--host={host}", f"--port={port}", "--auth=plain", f"--user={USER}", f"--passwordeval=echo '{PASSWORD}'", f"--from={USER}"]
    procs.run(["msmtp", *options, *tls, f"u9@{DOMAIN}"], input=BODY, timeout=60)


# mta passwd


def test_passwd():
    one, two = hash_of("secret"), hash_of("secret")
    assert one.startswith("{SHA512-CRYPT}$6$") and one != two
    assert mta.command("passwd", input=b"").returncode == 1
    assert mta.command("passwd", input=b"\n").returncode == 1
    assert mta.command("passwd", input=b"x" * 600 + b"\n").returncode == 1
    assert mta.command("passwd", "secret").returncode == 2


def test_passwd_fits_dovecot():
    verdict = procs.run(["doveadm", "pw", "-t", hash_of("secret"), "-p", "secret"]).stdout
    assert b"verified" in verdict
