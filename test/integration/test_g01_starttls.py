"""STARTTLS and TLS from the first byte: what is offered, refused, logged and written into Received:, as Postfix has it.

The texts are those of a real Postfix 3.7, which was asked.
"""

import re
import socket
import ssl

import pytest
from support import certs, maildir, mta, setups
from support.smtp import SmtpError

HOST = mta.HOSTNAME
BODY = b"From: s@client.example\r\nSubject: t\r\n\r\nhello\r\n"
REFUSED_IN_CLEAR = ("RSET", "VRFY x", "AUTH PLAIN", "MAIL FROM:<s@client.example>", "RCPT TO:<x@hosted.example>", "DATA", "BDAT 0")


@pytest.fixture(scope="module")
def authority(module_folder):
    return certs.Authority(module_folder / "ca")


@pytest.fixture(scope="module")
def context(authority):
    return authority.context()


@pytest.fixture(scope="module")
def server(make_module_mta, module_folder, owner, authority):
    certificate, key = authority.issue("server", [HOST])
    main = {
        "smtpd_tls_cert_file": certificate,
        "smtpd_tls_key_file": key,
        "smtpd_tls_CAfile": authority.certificate,
        "smtpd_tls_loglevel": "1",
        "smtpd_tls_received_header": "yes",
        "smtpd_soft_error_limit": "100",
        "smtpd_hard_error_limit": "100",
    }
    listeners = {
        "smtp": {"smtpd_tls_security_level": "may"},
        "submission": {"smtpd_tls_security_level": "encrypt", "smtpd_tls_ask_ccert": "yes"},
        "smtps": {"smtpd_tls_wrappermode": "yes"},
        "plain": {},
        "old": {"smtpd_use_tls": "yes"},
        "bare": {"smtpd_tls_security_level": "may", "smtpd_tls_cert_file": "", "smtpd_tls_key_file": ""},
        "quiet": {"smtpd_tls_security_level": "may", "smtpd_discard_ehlo_keywords": "starttls"},
        "strict": {"smtpd_tls_security_level": "encrypt", "smtpd_tls_req_ccert": "yes"},
        "hasty": {"smtpd_tls_security_level": "may", "smtpd_starttls_timeout": "1s"},
    }
    return setups.hosted_server(make_module_mta, module_folder, owner, main, listeners=listeners)


# ---- what is offered ----


def test_the_order_of_keywords(server, context):
    with server.connect("smtp") as client:
        assert list(client.ehlo()) == ["PIPELINING", "SIZE", "VRFY", "STARTTLS", "ENHANCEDSTATUSCODES", "8BITMIME", "DSN", "SMTPUTF8", "CHUNKING"]
        client.starttls(context)
        assert list(client.ehlo()) == ["PIPELINING", "SIZE", "VRFY", "ENHANCEDSTATUSCODES", "8BITMIME", "DSN", "SMTPUTF8", "CHUNKING"]
        client.quit()


@pytest.mark.parametrize("listener", ["plain", "bare", "quiet"])
def test_where_it_is_not_offered(server, listener):
    with server.connect(listener) as client:
        assert "STARTTLS" not in client.ehlo()
        if listener == "bare":
            client.cmd("STARTTLS", 454, r"^4\.7\.0 TLS not available due to local problem$")
        else:
            client.cmd("STARTTLS", 502, r"^5\.5\.1 Error: command not implemented$")
        client.cmd("MAIL FROM:<s@client.example>", 250)


def test_the_old_parameter(server, context):
    with server.connect("old") as client:
        assert "STARTTLS" in client.ehlo()
        client.starttls(context)
        client.quit()


def test_what_the_check_says(folder):
    """No certificate: a warning where TLS is only offered (here with nowhere to log in), an error where it is mandatory; and what contradicts itself."""
    certificate, key = certs.Authority(folder / "ca").issue("check", [HOST])
    good = {"smtpd_tls_cert_file": certificate, "smtpd_tls_key_file": key, "smtpd_tls_security_level": "encrypt"}
    relay = {"smtpd_relay_restrictions": "permit_tls_all_clientcerts, reject_unauth_destination"}
    for settings, status, pattern in (
        ({"smtpd_tls_security_level": "may", "smtpd_tls_cert_file": "none"}, 0, r"warning: smtpd_tls_security_level: no certificate, so that STARTTLS is not offered"),
        ({"smtpd_tls_auth_only": "yes", "smtpd_sasl_auth_enable": "yes", "smtpd_sasl_type": "dovecot"}, 0, r"warning: smtpd_tls_auth_only: there is no TLS here, so that AUTH is never offered"),
        ({"smtpd_tls_security_level": "encrypt"}, 1, r"error: smtpd_tls_security_level: TLS is mandatory, and there is no certificate"),
        ({"smtpd_tls_wrappermode": "yes"}, 1, r"error: smtpd_tls_wrappermode: TLS is mandatory, and there is no certificate"),
        ({"smtpd_tls_wrappermode": "yes", "smtpd_tls_cert_file": folder / "none.pem"}, 1, r"error: smtpd_tls_cert_file: .*none\.pem"),
        ({"tls_server_sni_maps": f"nosuch:{folder}/x"}, 1, r"error: tls_server_sni_maps: "),
        ({"relay_clientcerts": f"nosuch:{folder}/x"}, 1, r"error: relay_clientcerts: "),
        ({**good, "smtpd_discard_ehlo_keywords": "starttls"}, 0, r"warning: smtpd_discard_ehlo_keywords: TLS is mandatory, and without STARTTLS nobody"),
        ({**good, **relay, "tls_append_default_CA": "yes"}, 0, r"warning: smtpd_relay_restrictions: permit_tls_all_clientcerts together with tls_append_default_CA permits everybody"),
        ({"smtpd_sender_restrictions": "reject_sender_login_mismatch"}, 0, r"warning: smtpd_sender_restrictions: reject_sender_login_mismatch does nothing without smtpd_sasl_auth_enable"),
    ):
        (folder / "mta.conf").write_text(mta.config_text({"myhostname": HOST, "mydestination": "", **settings}))
        done = mta.command("--check-config", "-c", folder / "mta.conf")
        assert done.returncode == status, done
        assert re.search(pattern, done.stderr.decode()), (pattern, done.stderr.decode())
    (folder / "mta.conf").write_text(mta.config_text({"myhostname": HOST, "mydestination": "", **good, **relay}))
    assert b"permit_tls_all_clientcerts" not in mta.command("--check-config", "-c", folder / "mta.conf").stderr


# ---- the command ----


def test_argument_twice_transaction(server, context):
    with server.connect("smtp") as client:
        client.ehlo()
        client.cmd("STARTTLS now", 501, r"^5\.5\.4 Syntax: STARTTLS$")
        client.cmd("MAIL FROM:<s@client.example>", 250)
        client.cmd("STARTTLS", 503, r"^5\.5\.1 Error: MAIL transaction in progress$")
        client.cmd("RSET", 250)
        client.starttls(context)
        client.cmd("STARTTLS", 554, r"^5\.5\.1 Error: TLS already active$")
        client.cmd("STARTTLS now", 501)
        client.quit()
    server.wait_log(r"disconnect from localhost\[127\.0\.0\.1\] ehlo=1 starttls=1/5 mail=1 rset=1 quit=1 commands=5/9")


def test_the_session_begins_anew(server, context):
    """HELO is forgotten: RFC 3207 section 4.2."""
    with server.connect("smtp") as client:
        client.ehlo("before.example")
        client.starttls(context)
        client.cmd("RCPT TO:<u1@hosted.example>", 503, "need MAIL")
        client.cmd("MAIL FROM:<s@client.example>", 250)
        queue_id = client.cmd("RCPT TO:<u1@hosted.example>", 250) and client.data(BODY).text.split()[-1]
    server.wait_removed(queue_id)
    [raw] = [raw for raw in maildir.wait_messages(server.maildir("u1"), 1)]
    assert b"before.example" not in raw
    assert re.search(rb"by mail\.example\.com \(Postfix\) with SMTP id", raw)


def test_injection(server, context):
    """What a third party put behind STARTTLS in the clear part is neither worked on nor answered."""
    evil = b"STARTTLS\r\nEHLO evil.example\r\nMAIL FROM:<evil@client.example>\r\nRCPT TO:<u1@hosted.example>\r\n"
    for tail in (b"", b"MAIL FR", b"X" * 3000 + b"\r\n"):
        with server.connect("smtp") as client:
            client.ehlo()
            client.send(evil + tail)
            client.expect(220)
            assert client.buffer == b""
            client.handshake(context)
            client.cmd("RCPT TO:<u2@hosted.example>", 503, "need MAIL")
            client.cmd("NOOP", 250)
            client.quit()
    assert not server.lines("evil")


def test_injection_that_comes_late(server, context):
    """Read when the handshake has begun: no TLS, and no command either."""
    with server.connect("smtp") as client:
        client.ehlo()
        client.cmd("STARTTLS", 220)
        client.send("MAIL FROM:<late@client.example>\r\nRCPT TO:<u1@hosted.example>\r\nQUIT\r\n")
        with pytest.raises(SmtpError):
            client.reply()
    server.wait_log(r"SSL_accept error from localhost\[127\.0\.0\.1\]: \S")
    assert not server.lines("late@client")


# ---- where TLS is mandatory ----


def test_mandatory(server, context):
    with server.connect("submission") as client:
        for command in REFUSED_IN_CLEAR:
            client.cmd(command, 530, r"^5\.7\.0 Must issue a STARTTLS command first$")
        client.send("BDAT 6 LAST\r\nNOOP\r\n")  # the chunk is no command
        client.expect(530)
        client.cmd("NOOP", 250)
        client.cmd("FOO", 500)
        client.cmd("HELP", 214)
        client.cmd("HELO x", 250)
        assert "AUTH" not in client.ehlo()
        client.cmd("MAIL FROM:<s@client.example>", 530)
        client.starttls(context)
        client.ehlo()
        client.mail("s@client.example", "u3@hosted.example", BODY)
        client.quit()
    with server.connect("submission") as client:
        client.cmd("QUIT", 221)


def test_from_the_first_byte(server, context):
    with server.connect("smtps", tls=context) as client:
        assert "STARTTLS" not in client.ehlo()
        client.cmd("STARTTLS", 554, "TLS already active")
        client.mail("s@client.example", "u4@hosted.example", BODY)
        client.quit()
    with server.connect("smtps", greet=False) as client:
        client.send("EHLO clear.example\r\n")
        client_saw = client.sock.recv(1000)
        assert b"220" not in client_saw and b"250" not in client_saw
    server.wait_log(r"lost connection after CONNECT from localhost\[127\.0\.0\.1\]")


# ---- client certificates ----


def test_client_certificates(server, authority, module_folder):
    """Asked for and not required: everybody comes in, and the log says who."""
    known = authority.issue("client", ["client.example"])
    stranger = certs.Authority(module_folder / "other").issue("stranger", ["client.example"])
    for client_certificate, word, header in (
        ((), "Anonymous", r"\(Client did not present a certificate\)"),
        (known, "Trusted", r'\(Client CN "client", Issuer "authority" \(verified OK\)\)'),
        (stranger, "Untrusted", r'\(Client CN "stranger", Issuer "authority" \(not verified\)\)'),
    ):
        before = len(server.lines("TLS connection established"))
        with server.connect("submission") as client:
            client.starttls(authority.context(*client_certificate))
            client.ehlo()
            queue_id = client.mail("s@client.example", "u5@hosted.example", BODY)
            client.quit()
        server.wait_removed(queue_id)
        said = server.wait_log(r"(\w+) TLS connection established from localhost\[127\.0\.0\.1\]: (TLSv1\.3) with cipher (\S+) \((\d+)/(\d+) bits\)", before + 1)
        assert said[before][1] == word
        raw = next(raw for raw in maildir.messages(server.maildir("u5")) if queue_id.encode() in raw).decode()
        assert re.search(rf"\n\t\(using TLSv1\.3 with cipher \S+ \(\d+/\d+ bits\)\)\n\t{header}\n\tby mail\.example\.com \(Postfix\) with ESMTPS id {queue_id}\n", raw), raw


def test_required_certificate(server, authority, module_folder):
    known = authority.issue("wanted", ["client.example"])
    stranger = certs.Authority(module_folder / "another").issue("stranger", ["client.example"])
    for client_certificate, text in (((), "No client certificate presented"), (stranger, "Client certificate not trusted")):
        with server.connect("strict") as client:
            client.ehlo()
            client.starttls(authority.context(*client_certificate))
            client.cmd("EHLO x", 421, rf"^4\.7\.1 mail\.example\.com Error: {text}$")
            client.expect_closed()
        server.wait_log(rf"NOQUEUE: abort: TLS from localhost\[127\.0\.0\.1\]: {text}")
    with server.connect("strict") as client:
        client.starttls(authority.context(*known))
        client.ehlo()
        client.quit()


def test_required_certificate_from_the_first_byte(make_mta, authority):
    """The refusal takes the place of the greeting. (The server that starts must greet: a reload makes it strict.)"""
    certificate, key = authority.issue("wrapped", [HOST])
    main = {"smtpd_tls_cert_file": certificate, "smtpd_tls_key_file": key, "smtpd_tls_CAfile": authority.certificate}
    server = make_mta(main, {"smtps": {"smtpd_tls_wrappermode": "yes"}})
    server.main["smtpd_tls_req_ccert"] = "yes"
    server.write_config()
    mta.command("reload", "-c", server.conf, check=True)
    with server.connect(tls=authority.context(), greet=False) as client:
        client.expect(421, r"^4\.7\.1 mail\.example\.com Error: No client certificate presented$")
        client.expect_closed()
    with server.connect(tls=authority.context(*authority.issue("inside", ["client.example"]))) as client:
        client.ehlo()
        client.quit()


# ---- what goes wrong ----


def test_time_out(server):
    with server.connect("hasty") as client:
        client.cmd("STARTTLS", 220)
        client.sock.settimeout(60)
        assert client.sock.recv(1000)[:1] in (b"", b"\x15")
    server.wait_log(r"SSL_accept error from localhost\[127\.0\.0\.1\]: timed out")
    server.wait_log(r"lost connection after STARTTLS from localhost\[127\.0\.0\.1\]")


def test_a_client_that_has_ended_already(make_mta, authority):
    """Nobody waits for a ClientHello that cannot come: the end of input was there before STARTTLS was worked on."""
    certificate, key = authority.issue("ended", [HOST])
    main = {"smtpd_tls_cert_file": certificate, "smtpd_tls_key_file": key, "smtpd_tls_security_level": "may", "smtpd_soft_error_limit": "1", "smtpd_error_sleep_time": "1s"}
    server = make_mta(main)
    with server.connect() as client:
        client.send("X\r\nX\r\nSTARTTLS\r\n")
        client.sock.shutdown(socket.SHUT_WR)
        for code in (500, 500, 220):
            client.expect(code)
        client.expect_closed()
    server.wait_log(r"SSL_accept error from localhost\[127\.0\.0\.1\]: lost connection")


def test_failure_is_counted(server):
    with server.connect("smtp") as client:
        client.ehlo()
        client.cmd("STARTTLS", 220)
        client.send(b"GET / HTTP/1.0\r\n\r\n" + b"x" * 500)
        with pytest.raises(SmtpError):
            client.reply()
    server.wait_log(r"disconnect from localhost\[127\.0\.0\.1\] ehlo=1 starttls=0/1 commands=1/2")


def test_a_server_that_stops(make_mta, authority):
    """Handshakes under way do not hold it up; a session gets its 421 in TLS."""
    certificate, key = authority.issue("stops", [HOST])
    server = make_mta({"smtpd_tls_cert_file": certificate, "smtpd_tls_key_file": key, "smtpd_tls_security_level": "may"}, {"smtp": {}, "smtps": {"smtpd_tls_wrappermode": "yes"}})
    with server.connect() as half, server.connect("smtps", greet=False) as silent, server.connect() as whole:
        half.cmd("STARTTLS", 220)
        half.send(b"\x16\x03\x01\x02\x00")
        whole.starttls(authority.context())
        whole.ehlo()
        server.ask_to_stop()
        whole.expect(421, "shutting down")
        whole.close()
        for client in (half, silent):
            client.sock.settimeout(5)
            try:
                assert not client.sock.recv(100).startswith(b"2")
            except ConnectionError:
                pass
        server.stop()


def test_too_many_connections(make_mta, authority):
    """The limit counts sessions before their handshake, so that it cannot be passed by never ending one."""
    certificate, key = authority.issue("many", [HOST])
    server = make_mta({"smtpd_tls_cert_file": certificate, "smtpd_tls_key_file": key, "smtpd_client_connection_count_limit": "2", "smtpd_client_event_limit_exceptions": ""}, {"smtps": {"smtpd_tls_wrappermode": "yes"}})
    server.wait_log("disconnect from")
    held = [socket.create_connection(server.address()) for _ in range(2)]
    server.wait_log("connect from", 3)
    with server.connect(greet=False) as client:
        assert client.sock.recv(100).startswith(b"421 4.7.0 ")
    for one in held:
        one.close()
    server.wait_log("lost connection after CONNECT", 2)
    with server.connect(tls=authority.context()) as client:
        client.ehlo()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_protocol_that_is_not_spoken(server, authority):
    with server.connect("smtp") as client:
        client.ehlo()
        with pytest.raises(ssl.SSLError):
            old = authority.context()
            old.set_ciphers("ALL:@SECLEVEL=0")
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
            client.starttls(old)
    server.wait_log(r"SSL_accept error from localhost\[127\.0\.0\.1\]: .*(version|protocol)")
