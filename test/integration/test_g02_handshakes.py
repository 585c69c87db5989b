"""TLS with real clients: versions, certificates by choice, name and renewal, resumption; and handshakes that go wrong."""

import os
import re
import shutil
import smtplib
import socket
import ssl
import threading

import pytest
from support import certs, maildir, mta, procs, setups
from support.smtp import Smtp, SmtpError

HOST = mta.HOSTNAME
BODY = b"From: s@client.example\r\nSubject: t\r\n\r\nhello\r\n"


@pytest.fixture(scope="module")
def authority(module_folder):
    return certs.Authority(module_folder / "ca")


@pytest.fixture(scope="module")
def server(make_module_mta, module_folder, owner, authority):
    rsa, rsa_key = authority.issue("rsa", [HOST], rsa=True)
    ecdsa, ecdsa_key = authority.issue("ecdsa", [HOST])
    other, other_key = authority.issue("other", ["mail.other.example"])
    chain = authority.folder / "other.chain"
    chain.write_text(other_key.read_text() + other.read_text())
    chain.chmod(0o600)
    names = authority.folder / "names"
    names.write_text(f"mail.other.example {chain}\n.wild.example {chain}\nbroken.example {authority.folder}/none.pem\n")
    prints = authority.folder / "prints"
    prints.write_text("")
    main = {
        "smtpd_tls_cert_file": rsa,
        "smtpd_tls_key_file": rsa_key,
        "smtpd_tls_eccert_file": ecdsa,
        "smtpd_tls_eckey_file": ecdsa_key,
        "smtpd_tls_CAfile": authority.certificate,
        "tls_server_sni_maps": f"texthash:{names}",
        "relay_clientcerts": f"texthash:{prints}",
        "smtpd_tls_security_level": "may",
        "smtpd_tls_loglevel": "1",
        "smtpd_client_connection_count_limit": "0",
    }
    listeners = {
        "smtp": {},
        "submission": {"smtpd_tls_security_level": "encrypt"},
        "smtps": {"smtpd_tls_wrappermode": "yes"},
        "new": {"smtpd_tls_protocols": ">=TLSv1.3", "smtpd_tls_security_level": "may"},
        "old": {"smtpd_tls_mandatory_protocols": "!SSLv2, !SSLv3, !TLSv1.3", "smtpd_tls_security_level": "encrypt"},
        "by_print": {"smtpd_tls_ask_ccert": "yes", "smtpd_relay_restrictions": "permit_tls_clientcerts, reject_unauth_destination"},
        "by_chain": {"smtpd_tls_ask_ccert": "yes", "smtpd_relay_restrictions": "permit_tls_all_clientcerts, reject_unauth_destination"},
    }
    running = setups.hosted_server(make_module_mta, module_folder, owner, main, listeners=listeners)
    running.prints = prints
    return running


# ---- clients ----


def s_client(server, listener, *args, text=b"QUIT\r\n"):
    """What openssl s_client says; the dialogue is `text`."""
    starttls = [] if "wrappermode" in str(server.listeners[listener]) else ["-starttls", "smtp"]
    host, port = server.address(listener)
    done = procs.run(["openssl", "s_client", "-connect", f"{host}:{port}", "-crlf", "-ign_eof", *starttls, *args], input=text.replace(b"\r", b""), check=False)
    return (done.stdout + done.stderr).decode(errors="replace")


@pytest.mark.parametrize("listener", ["smtp", "submission", "smtps"])
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_one_version_only(server, listener, version):
    said = s_client(server, listener, version)
    assert re.search(rf"Protocol *: TLSv1\.{version[-1]}|New, TLSv1\.{version[-1]}", said), said
    assert "221 2.0.0 Bye" in said


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_versions_that_are_too_old(server, version):
    assert "221 2.0.0 Bye" not in s_client(server, "smtp", version, "-cipher", "ALL:@SECLEVEL=0")


def test_the_listeners_own_versions(server):
    """smtpd_tls_protocols counts where TLS is offered, smtpd_tls_mandatory_protocols where it is mandatory."""
    taken = {(listener, version): "221 2.0.0 Bye" in s_client(server, listener, version) for listener in ("new", "old") for version in ("-tls1_2", "-tls1_3")}
    assert taken == {("new", "-tls1_2"): False, ("new", "-tls1_3"): True, ("old", "-tls1_2"): True, ("old", "-tls1_3"): False}


def test_by_smtplib(server, authority):
    for listener, connect in (("submission", smtplib.SMTP), ("smtps", smtplib.SMTP_SSL)):
        context = authority.context(check_hostname=False)  # it has no other name for the server than the address
        host, port = server.address(listener)
        with connect(host, port, timeout=60, **({"context": context} if connect is smtplib.SMTP_SSL else {})) as client:
            if connect is smtplib.SMTP:
                client.starttls(context=context)
            client.sendmail("s@client.example", [f"u1@{setups.DOMAIN}"], BODY)
    maildir.wait_messages(server.maildir("u1"), 2)


def test_by_swaks(server, authority):
    for listener, how in (("smtp", "-tls"), ("submission", "-tls"), ("smtps", "-tlsc")):
        host, port = server.address(listener)
        done = procs.run(["swaks", "--server", host, "--port", str(port), how, "--tls-sni", HOST, "--to", f"u2@{setups.DOMAIN}", "--from", "s@client.example"], check=False)
        said = (done.stdout + done.stderr).decode(errors="replace")
        assert done.returncode == 0 and "queued as" in said, said
    maildir.wait_messages(server.maildir("u2"), 3)


def test_pipelining_and_a_large_message(server, authority):
    body = b"Subject: large\r\n\r\n" + (b"x" * 998 + b"\r\n") * 10_000
    with server.connect("smtps", tls=authority.context()) as client:
        client.send(f"EHLO x\r\nMAIL FROM:<s@client.example>\r\nRCPT TO:<u3@{setups.DOMAIN}>\r\nRCPT TO:<u4@{setups.DOMAIN}>\r\nDATA\r\n")
        assert [client.reply().code for _ in range(5)] == [250, 250, 250, 250, 354]
        client.send(body + b".\r\nQUIT\r\n")
        client.expect(250)
        client.expect(221)
        client.expect_closed()
    for user in ("u3", "u4"):
        [raw] = maildir.wait_messages(server.maildir(user), 1)
        assert raw.partition(b"\n\n")[2] == body.replace(b"\r\n", b"\n").partition(b"\n\n")[2]


# ---- certificates by choice and by name ----


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_rsa_or_ecdsa(server, version):
    for algorithms, name in (("RSA+SHA256:RSA-PSS+SHA256", "CN = rsa"), ("ECDSA+SHA256", "CN = ecdsa"), ("ECDSA+SHA256:RSA+SHA256:RSA-PSS+SHA256", "CN = ecdsa")):
        said = s_client(server, "smtp", version, "-sigalgs", algorithms)
        assert f"subject={name}" in said, said
        assert "221 2.0.0 Bye" in said


def test_server_names(server, authority):
    for asked, name in (("mail.other.example", "other"), ("MAIL.Other.Example", "other"), ("a.wild.example", "other"), ("a.b.wild.example", "other"), ("wild.example", "ecdsa"), (HOST, "ecdsa")):
        said = s_client(server, "smtps", "-servername", asked)
        assert f"subject=CN = {name}\n" in said, (asked, said)
    server.wait_log(r"Anonymous TLS connection established from localhost\[127\.0\.0\.1\] to mail\.other\.example: TLSv1\.3 with cipher ")
    assert "no peer certificate available" in s_client(server, "smtps", "-servername", "broken.example")
    server.wait_log(r"SSL_accept error from localhost\[127\.0\.0\.1\]: .*none\.pem")


def test_relaying_by_certificate(server, authority, module_folder):
    """permit_tls_clientcerts knows fingerprints, of the certificate or its key, whoever signed it; the other one chains."""
    known = authority.issue("known", ["client.example"])
    foreign = certs.Authority(module_folder / "foreign").issue("foreign", ["client.example"])

    def may_relay(listener, *certificate):
        with server.connect(listener, stranger=True) as client:
            client.starttls(authority.context(*certificate))
            client.ehlo()
            client.cmd("MAIL FROM:<s@client.example>", 250)
            return client.cmd("RCPT TO:<x@elsewhere.example>").code == 250

    def fingerprint(*command):
        return procs.run(["sh", "-c", " | ".join(command)]).stdout.decode().split("=")[-1].strip()

    assert [may_relay("by_print", *who) for who in ((), known, foreign)] == [False, False, False]
    assert [may_relay("by_chain", *who) for who in ((), known, foreign)] == [False, True, False]
    of_key = fingerprint(f"openssl x509 -in {known[0]} -pubkey -noout", "openssl pkey -pubin -outform DER", "openssl dgst -sha256 -c").upper()
    of_foreign = fingerprint(f"openssl x509 -in {foreign[0]} -noout -fingerprint -sha256")
    server.prints.write_text(f"{of_key} known\n{of_foreign} foreign\n")
    procs.wait_for(lambda: may_relay("by_print", *known), 30, "the table to be read again")
    assert [may_relay("by_print", *who) for who in ((), known, foreign)] == [False, True, True]


# ---- resumption ----


def resume(server, authority, version, first, second):
    """A session of one listener, at another: is it resumed?"""
    context = authority.context(minimum_version=version, maximum_version=version)
    with server.connect(first) as client:
        client.starttls(context)
        client.ehlo()
        client.quit()
        session = client.sock.session
    with server.connect(second) as client:
        client.starttls(context, session=session)
        client.ehlo()
        client.mail("s@client.example", f"u5@{setups.DOMAIN}", BODY)
        return client.sock.session_reused


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_resumption(server, authority, version):
    """By tickets; those of one listener are no good at another."""
    assert resume(server, authority, version, "smtp", "smtp")
    assert not resume(server, authority, version, "smtp", "submission")


# ---- handshakes that go wrong ----


def client_hello(context):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        context.wrap_bio(incoming, outgoing, server_hostname=HOST).do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()


def test_cut_at_every_byte(server, authority):
    hello = client_hello(authority.context())
    procs.wait_for(lambda: not server.child.poll(), 1)
    before = len(procs.descriptors(server.child.pid))
    lost = len(server.lines("lost connection after CONNECT"))
    for size in range(len(hello) + 1):
        with socket.create_connection(server.address("smtps")) as client:
            client.sendall(hello[:size])
    server.wait_log("lost connection after CONNECT", lost + len(hello) + 1, timeout=120)
    with server.connect("smtps", tls=authority.context()) as client:
        client.quit()
    procs.wait_for(lambda: len(procs.descriptors(server.child.pid)) <= before, 30, "the descriptors to be closed")


def test_changed_in_every_byte(server, authority):
    """A ClientHello with one byte turned over: refused or not, the server goes on."""
    hello = client_hello(authority.context())
    for at in range(0, len(hello)):
        with socket.create_connection(server.address("smtps")) as client:
            client.settimeout(60)
            client.sendall(hello[:at] + bytes([hello[at] ^ 0x55]) + hello[at + 1 :])
            client.shutdown(socket.SHUT_WR)
            try:
                while client.recv(65536):
                    pass
            except ConnectionError:
                pass
    with server.connect("smtps", tls=authority.context()) as client:
        client.quit()


@pytest.mark.parametrize("garbage", [b"EHLO x\r\n" * 40, b"\x16\x03\x01\xff\xff" + b"\x00" * 65535, b"\x15\x03\x01\x00\x02\x02\x28", b"\x80\x2e\x01\x00\x02" + b"\x00" * 60, os.urandom(5000)])
def test_garbage(server, garbage):
    with server.connect("smtp") as client:
        client.cmd("STARTTLS", 220)
        try:
            client.send(garbage)
            client.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        with pytest.raises((SmtpError, UnicodeError)):
            client.reply()
    with server.connect("smtp") as client:
        client.quit()


# ---- renewal ----


def test_renewed_under_load(make_mta, authority, folder):
    """Let's Encrypt's way: links that are turned to new files, while clients come and go; none of them fails."""
    live = folder / "live"
    live.mkdir()

    def turn(name):
        certificate, key = authority.issue(name, [HOST])
        for link, target in (("fullchain.pem", certificate), ("privkey.pem", key)):
            (live / "new").symlink_to(target)
            os.replace(live / "new", live / link)

    turn("first")
    main = {"smtpd_tls_cert_file": live / "fullchain.pem", "smtpd_tls_key_file": live / "privkey.pem", "smtpd_client_connection_count_limit": "0", "tls_certificate_check_interval": "1s"}
    server = make_mta(main, {"smtps": {"smtpd_tls_wrappermode": "yes"}})
    stop, seen, failures = threading.Event(), [], []

    def client():
        context = authority.context()
        while not stop.is_set():
            try:
                with Smtp(server.address(), tls=context) as one:
                    one.ehlo()
                    subject = dict(pair[0] for pair in one.sock.getpeercert()["subject"])["commonName"]
                    one.quit()
                seen.append(subject)
            except (OSError, AssertionError) as error:
                failures.append(error)

    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for name in ("first", "second", "third"):
            if name != "first":
                turn(name)
            procs.wait_for(lambda: name in seen[-8:], 60, f"the certificate {name}")
        shutil.copy(authority.issue("mismatch", [HOST])[1], live / "other.key")
        (live / "new").symlink_to(live / "other.key")
        os.replace(live / "new", live / "privkey.pem")
        server.wait_log(r"warning: .*(key|certificate)", timeout=60)
        count = len(seen)
        procs.wait_for(lambda: len(seen) > count + 20, 60, "more sessions")
        assert set(seen[-8:]) == {"third"}
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []


def test_reload_with_a_broken_certificate(make_mta, authority, folder):
    certificate, key = authority.issue("reloaded", [HOST])
    _, wrong = authority.issue("wrong", [HOST])
    server = make_mta({"smtpd_tls_cert_file": certificate, "smtpd_tls_key_file": key, "smtpd_tls_security_level": "may"})
    server.main["smtpd_tls_key_file"] = wrong
    server.main["smtpd_banner"] = "$myhostname ESMTP after"
    server.write_config()
    done = mta.command("reload", "-c", server.conf)
    assert done.returncode == 1
    assert re.search(rb"mta\.conf:\d+: error: smtpd_tls_(key|cert)_file: ", done.stdout + done.stderr), done
    with server.connect(greet=False) as client:
        assert "after" not in client.expect(220).text
        client.starttls(authority.context())
        client.quit()
    server.main["smtpd_tls_key_file"] = key
    server.write_config()
    assert mta.command("reload", "-c", server.conf).returncode == 0
    with server.connect(greet=False) as client:
        assert "after" in client.expect(220).text
        client.starttls(authority.context())
        client.quit()


# ---- a table of names that does not answer ----


def test_a_silent_table_of_names(make_mta, authority):
    """Clients wait no longer than smtpd_starttls_timeout; one that leaves, and a reload meanwhile, do no harm."""
    certificate, key = authority.issue("silent", [HOST])
    with socket.create_server(("127.0.0.1", 0)) as silent:
        main = {"smtpd_tls_cert_file": certificate, "smtpd_tls_key_file": key, "tls_server_sni_maps": f"tcp:127.0.0.1:{silent.getsockname()[1]}", "smtpd_starttls_timeout": "2s"}
        server = make_mta({**main, "smtpd_tls_security_level": "may"})
        hello = client_hello(authority.context())
        with server.connect() as leaving, server.connect() as staying:
            for client in (leaving, staying):
                client.cmd("STARTTLS", 220)
                client.send(hello)
            silent.settimeout(30)
            with silent.accept()[0]:
                leaving.close()
                server.main["tls_server_sni_maps"] = ""
                server.write_config()
                assert mta.command("reload", "-c", server.conf).returncode == 0
                with server.connect() as client:
                    client.starttls(authority.context())
                    client.quit()
                staying.sock.settimeout(60)
                assert not staying.sock.recv(1000).startswith(b"\x16")
        server.wait_log("SSL_accept error from .*: timed out")
        server.wait_log("lost connection after STARTTLS from ", 2)


def test_stopped_while_a_table_of_names_is_asked(make_mta, authority):
    certificate, key = authority.issue("stopped", [HOST])
    with socket.create_server(("127.0.0.1", 0)) as silent:
        main = {"smtpd_tls_cert_file": certificate, "smtpd_tls_key_file": key, "tls_server_sni_maps": f"tcp:127.0.0.1:{silent.getsockname()[1]}", "smtpd_tls_security_level": "may"}
        server = make_mta(main)
        with server.connect() as client:
            client.cmd("STARTTLS", 220)
            client.send(client_hello(authority.context()))
            silent.settimeout(30)
            with silent.accept()[0]:
                server.ask_to_stop()
                client.sock.settimeout(30)
                assert client.sock.recv(1000) == b""
        server.stop()
