"""The SMTP and LMTP client with TLS and AUTH: which servers it trusts with what, and what it does when they are not right."""

import base64
import os
import pathlib
import re
import ssl
import sys

import pytest
from support import certs, outbound, peer, procs, sasl
from support.dnsserver import DnsServer
from support.peer import CLOSE, HANG, USUAL, Peer

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from bench.postfix import Postfix  # noqa: E402
from bench.server import Setup  # noqa: E402

HOST = "mx.tls.example"
SECRET = "s3cret horse"
CERTIFICATES = {
    "good": {"hosts": [HOST]},
    "domain": {"hosts": ["tls.example"]},
    "expired": {"hosts": [HOST], "days": (-20, -1)},
    "other": {"hosts": ["mx.other.example"]},
    "selfsigned": {"hosts": [HOST], "by": None},
}
# user@<transport><port>.example goes by that transport to the name of 127.0.0.1, or with a "-" between to the address.
_MAP = f"/@two(\\d+)x(\\d+)\\.example$/ may:[127.0.0.1]:$1,[127.0.0.1]:$2\n/@([a-z]+)-(\\d+)\\.example$/ $1:[127.0.0.1]:$2\n/@([a-z]+)(\\d+)\\.example$/ $1:[{HOST}]:$2\n"
QUICK = {name: "1s" for name in ("smtp_helo_timeout", "smtp_starttls_timeout")}
TRANSPORTS = {
    "may": {"smtp_tls_security_level": "may", **QUICK},
    "none": {"smtp_tls_security_level": "none", "smtp_tls_note_starttls_offer": "yes"},
    "old": {"smtp_use_tls": "yes"},
    "older": {"smtp_enforce_tls": "yes"},
    "encrypt": {"smtp_tls_security_level": "encrypt", **QUICK},
    "verify": {"smtp_tls_security_level": "verify"},
    "secure": {"smtp_tls_security_level": "secure", "smtp_tls_secure_cert_match": "nexthop, dot-nexthop"},
    "loose": {"smtp_tls_security_level": "secure", "smtp_tls_secure_cert_match": "tls.example"},
    "wrap": {"smtp_tls_security_level": "encrypt", "smtp_tls_wrappermode": "yes"},
    "sni": {"smtp_tls_security_level": "encrypt", "smtp_tls_servername": "hostname"},
    "broken": {"smtp_tls_security_level": "may", "smtp_tls_policy_maps": "fail:nothing"},
    "bad": {"smtp_tls_security_level": "may", "smtp_tls_policy_maps": "static:{encrypt match=x}"},
    "pol": {"smtp_tls_policy_maps": "pcre:POLICY"},
    "lm": {"type": "lmtp", "lmtp_tls_security_level": "encrypt"},
}
TRANSPORTS_AGEING = {
    "may": {"smtp_tls_security_level": "may", **QUICK},
    "encrypt": {"smtp_tls_security_level": "encrypt", **QUICK},
    "password": {"smtp_tls_security_level": "may", **QUICK, "smtp_sasl_auth_enable": "yes", "smtp_sasl_password_maps": "static:user:pass"},
}


@pytest.fixture(scope="module")
def authority(module_folder):
    return certs.Authority(module_folder / "ca")


@pytest.fixture(scope="module")
def contexts(authority):
    """Servers' contexts by the name of the certificate."""
    made = {}
    for name, how in CERTIFICATES.items():
        made[name] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made[name].load_cert_chain(*authority.issue(name, **how))
    return made


@pytest.fixture(scope="module")
def dns(module_folder):
    zone = "mx A 127.0.0.1\nd MX 10 mx\nsub.d MX 10 mx\nother MX 10 mx\ntwo MX 10 mx\n"
    server = DnsServer(module_folder / "dns", {"tls.example": zone}).start()
    yield server
    server.stop()


def make_server(make, folder, dns, authority, transports, **main):
    path = folder / "transport.pcre"
    path.write_text(_MAP)
    main = {
        "transport_maps": f"pcre:{path}",
        "resolver": dns.resolver,
        "minimal_backoff_time": "1h",
        "maximal_backoff_time": "1h",
        "smtp_tls_CAfile": authority.certificate,
        "lmtp_tls_CAfile": authority.certificate,
        "smtp_tls_loglevel": "1",
        "lmtp_tls_loglevel": "1",
        **main,
    }
    return make(main, transports={name: {"type": "smtp", **settings} for name, settings in transports.items()})


@pytest.fixture(scope="module")
def server(make_module_mta, module_folder, dns, authority):
    (module_folder / "policy").write_text(
        "/^\\[127\\.0\\.0\\.1\\]:\\d+$/ none\n" f"/^\\[{re.escape(HOST)}\\]:\\d+$/ secure match={HOST} protocols=TLSv1.2\n"
    )
    transports = {
        name: {key: value.replace("POLICY", f"{module_folder}/policy") for key, value in settings.items()} for name, settings in TRANSPORTS.items()
    }
    return make_server(make_module_mta, module_folder, dns, authority, transports)


def attempt(server, transport, there, sender="from@client.example"):
    return outbound.attempt(server, f"user@{transport}{there.port}.example", sender=sender)["user"]


def verdict(result):
    return result["status"], result["dsn"], result["text"]


# ---- TLS ----


@pytest.mark.parametrize("transport", ["may", "old", "encrypt"])
def test_whoever_it_is(server, contexts, transport):
    """STARTTLS, EHLO again, everything else within TLS."""
    with Peer(tls=contexts["selfsigned"]) as there:
        result = attempt(server, transport, there)
        assert result["status"] == "sent" and result["relay"] == f"{HOST}[127.0.0.1]:{there.port}"
        assert there.verbs() == ["EHLO", "STARTTLS", "EHLO", "MAIL", "RCPT", "DATA", "QUIT"]
        assert there.sessions[0].secure
        server.wait_log(
            rf"/smtp\[\d+\]: Untrusted TLS connection established to {HOST}\[127\.0\.0\.1\]:{there.port}: "
            r"TLSv1\.3 with cipher TLS_\w+ \(\d+/\d+ bits\)$"
        )


@pytest.mark.parametrize(
    "transport, certificate, wrong",
    [
        ("verify", "good", None),
        ("older", "good", None),
        ("verify", "selfsigned", "trusted"),
        ("verify", "expired", "trusted"),
        ("verify", "other", "verified"),
        ("secure", "good", None),
        ("secure", "domain", "verified"),
        ("secure", "other", "verified"),
        ("loose", "domain", None),
        ("loose", "good", "verified"),
        ("encrypt", "expired", None),
        ("may", "other", None),
    ],
)
def test_certificates(server, contexts, transport, certificate, wrong):
    with Peer(tls=contexts[certificate]) as there:
        result = attempt(server, transport, there)
        if wrong is None:
            assert result["status"] == "sent", result
            word = "Verified" if transport not in ("encrypt", "may") else "Untrusted" if certificate == "expired" else "Trusted"
            server.wait_log(rf"{word} TLS connection established to {HOST}\[127\.0\.0\.1\]:{there.port}: ")
        else:
            assert verdict(result) == ("deferred", "4.7.5", f"Server certificate not {wrong}")
            assert there.verbs() == ["EHLO", "STARTTLS", "QUIT"] and not there.messages
            server.wait_log(rf"certificate verification failed for {HOST}\[127\.0\.0\.1\]:{there.port}: \S")


def test_fingerprint(make_mta, folder, dns, authority, contexts):
    pem = (authority.folder / "selfsigned.pem").read_text()
    der = ssl.PEM_cert_to_DER_cert(pem)
    digest = procs.run(["openssl", "dgst", "-sha256", "-c"], input=der).stdout.decode().split()[-1].upper()
    transports = {
        "right": {"smtp_tls_security_level": "fingerprint", "smtp_tls_fingerprint_cert_match": f"AA:BB, {digest}"},
        "wrong": {"smtp_tls_security_level": "fingerprint", "smtp_tls_fingerprint_cert_match": digest.replace(digest[:2], "00" if digest[:2] != "00" else "01", 1)},
    }
    mta = make_server(make_mta, folder, dns, authority, transports, smtp_tls_fingerprint_digest="sha256")
    with Peer(tls=contexts["selfsigned"]) as there:
        assert attempt(mta, "right", there)["status"] == "sent"
        assert verdict(attempt(mta, "wrong", there)) == ("deferred", "4.7.5", "Server certificate not verified")


def test_not_offered(server):
    with Peer() as there:
        result = attempt(server, "encrypt", there)
        assert verdict(result) == ("deferred", "4.7.4", f"TLS is required, but was not offered by host {HOST}[127.0.0.1]")
        assert there.verbs() == ["EHLO", "QUIT"]
        assert attempt(server, "may", there)["status"] == "sent"
    with Peer(ehlo="502 no") as there:
        assert attempt(server, "verify", there)["dsn"] == "4.7.4"
        assert there.verbs() == ["EHLO", "HELO", "QUIT"]


@pytest.mark.parametrize("reply, dsn", [("454 4.3.0 TLS not available", "4.3.0"), ("554 5.7.3 no", "4.7.3")])
def test_starttls_refused(server, contexts, reply, dsn):
    """Where TLS must be the mail waits; else it goes in clear, in the same session."""
    with Peer(tls=contexts["good"], starttls=reply) as there:
        result = attempt(server, "encrypt", there)
        assert verdict(result) == ("deferred", dsn, f"TLS is required, but host {HOST}[127.0.0.1] refused to start TLS: {reply}")
        assert attempt(server, "may", there)["status"] == "sent"
        assert there.verbs(1) == ["EHLO", "STARTTLS", "MAIL", "RCPT", "DATA", "QUIT"]


def test_level_none(server, contexts):
    with Peer(tls=contexts["good"]) as there:
        assert attempt(server, "none", there)["status"] == "sent"
        assert "STARTTLS" not in there.verbs()
        server.wait_log(rf"/smtp\[\d+\]: Host offered STARTTLS: \[{HOST}\]$")


def garbage(session, _):
    """220, and then no TLS."""
    session.sock.sendall(b"220 go\r\n")
    session.sock.recv(1)
    return (b"this is no TLS at all\r\n" * 20, CLOSE)


FAULTS = {
    "garbage": (garbage, "Cannot start TLS: handshake failure"),
    "close": (CLOSE, "lost connection with {} while receiving the STARTTLS response"),
    "close after 220": (peer.then_close("220 go"), "Cannot start TLS: handshake failure"),
    "hang": (HANG, "conversation with {} timed out while receiving the STARTTLS response"),
    "hang after 220": ((b"220 go\r\n", HANG), "Cannot start TLS: handshake failure"),
    "no reply": ("nonsense", "remote protocol error in reply from {} while receiving the STARTTLS response"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("transport", ["may", "encrypt"])
def test_handshake_fails(server, contexts, fault, transport):
    """A young message is never sent in clear instead."""
    reply, text = FAULTS[fault]
    with Peer(tls=contexts["good"], starttls=reply) as there:
        result = attempt(server, transport, there)
        assert result["status"] == "deferred" and result["text"] == text.format(f"{HOST}[127.0.0.1]"), result
        assert len(there.sessions) == 1 and not there.messages


def test_another_host_is_tried_first(server, contexts):
    with Peer(tls=contexts["good"], starttls=peer.then_close("220 go")) as bad, Peer(tls=contexts["good"]) as good:
        result = outbound.attempt(server, f"user@two{bad.port}x{good.port}.example")["user"]
        assert result["status"] == "sent" and result["relay"].endswith(f":{good.port}")
        assert good.sessions[0].secure and len(bad.sessions) == 1
        server.wait_log(rf"/smtp\[\d+\]: {result['qid']}: Cannot start TLS: handshake failure$")


@pytest.mark.parametrize("fault", ["garbage", "close", "hang after 220"])
def test_an_old_message_goes_in_clear(make_mta, folder, dns, authority, contexts, fault):
    mta = make_server(make_mta, folder, dns, authority, TRANSPORTS_AGEING, minimal_backoff_time="2s", maximal_backoff_time="2s", queue_run_delay="1s")
    with Peer(tls=contexts["good"], starttls=FAULTS[fault][0]) as there:
        queue = outbound.send(mta, [f"user@{transport}{there.port}.example" for transport in TRANSPORTS_AGEING])
        procs.wait_for(lambda: "sent" in [result["status"] for result in mta.deliveries(queue)], 30, "the message to be sent")
        statuses = {name: [] for name in TRANSPORTS_AGEING}
        for result in mta.wait_deliveries(queue, 6):
            statuses[re.search("@([a-z]+)", result["to"])[1]].append(result["status"])
        assert {name: attempts[:2] for name, attempts in statuses.items()} == {
            "may": ["deferred", "sent"],
            "encrypt": ["deferred", "deferred"],
            "password": ["deferred", "deferred"],  # it would be refused without one
        }
        [session] = [session for session in there.sessions if session.mail]
        assert not session.secure and [command.split()[0] for command in session.commands] == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]


def test_what_was_said_in_clear_is_forgotten(server, contexts):
    """A third party's words behind the 220, and extensions that are offered only in clear."""
    injected = b"220 go\r\n250-peer.example\r\n250 X-INJECTED\r\n250 2.1.0 Ok\r\n"
    ehlo = [b"250-peer.example\r\n250-SIZE 1\r\n250-DSN\r\n250 STARTTLS\r\n", "250 peer.example"]
    with Peer(tls=contexts["good"], starttls=injected, ehlo=ehlo) as there:
        result = attempt(server, "verify", there)
        if result["status"] == "sent":
            assert there.verbs() == ["EHLO", "STARTTLS", "EHLO", "MAIL", "RCPT", "DATA", "QUIT"]
            assert "SIZE" not in there.messages[0].mail and there.sessions[0].secure
        else:  # it came in two pieces
            assert result["text"] == "Cannot start TLS: handshake failure"


def test_tls_from_the_first_byte(server, contexts):
    with Peer(tls=contexts["good"], wrapped=True) as there:
        assert attempt(server, "wrap", there)["status"] == "sent"
        assert there.verbs()[:2] == ["EHLO", "MAIL"]
    with Peer() as there:  # it greets in clear
        assert attempt(server, "wrap", there)["text"] == "Cannot start TLS: handshake failure"


def test_server_name(server, authority, contexts):
    seen = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.folder / "good.pem", authority.folder / "good.key")
    context.sni_callback = lambda sock, name, _: seen.append(name)
    with Peer(tls=context) as there:
        assert attempt(server, "sni", there)["status"] == attempt(server, "encrypt", there)["status"] == "sent"
        assert seen == [HOST, None]


def test_lmtp(server, contexts):
    with Peer(tls=contexts["good"], lmtp=True) as there:
        result = attempt(server, "lm", there)
        assert result["status"] == "sent" and result["agent"] == "lmtp"
        assert there.verbs()[:4] == ["LHLO", "STARTTLS", "LHLO", "MAIL"]
        server.wait_log(rf"/lmtp\[\d+\]: Trusted TLS connection established to {HOST}\[127\.0\.0\.1\]:{there.port}: ")


# ---- policies ----


def test_policy(server, contexts):
    with Peer(tls=contexts["other"]) as there:
        assert verdict(attempt(server, "pol", there)) == ("deferred", "4.7.5", "Server certificate not verified")
        assert attempt(server, "pol-", there)["status"] == "sent"
        assert not there.sessions[1].secure
    with Peer(tls=contexts["good"]) as there:
        assert attempt(server, "pol", there)["status"] == "sent"
        server.wait_log(rf"Verified TLS connection established to \S+:{there.port}: TLSv1\.2 ")


@pytest.mark.parametrize("transport", ["broken", "bad"])
def test_a_policy_that_is_none_defers(server, transport):
    with Peer() as there:
        assert verdict(attempt(server, transport, there)) == ("deferred", "4.7.5", "client TLS configuration problem")
        assert not there.sessions
        server.wait_log(rf"/smtp\[\d+\]: warning: \w+: smtp_tls_policy_maps, \[{HOST}\]:{there.port}: \S")


def test_parent_domains(make_mta, folder, dns, authority, contexts):
    """A domain, then those it is in with a dot."""
    (folder / "policy").write_text(".tls.example may\n.d.tls.example verify match=wrong.example\nother.tls.example encrypt\n")
    with Peer() as plain, Peer(tls=contexts["good"]) as there:
        main = {"smtp_tls_policy_maps": f"texthash:{folder}/policy", "smtp_tls_security_level": "none"}
        mta = make_server(make_mta, folder, dns, authority, {}, **main, smtp_tcp_port=there.port, transport_maps="")
        results = outbound.attempt(mta, ["a@d.tls.example", "b@sub.d.tls.example", "c@other.tls.example"])
        assert {name: result["status"] for name, result in results.items()} == {"a": "sent", "b": "deferred", "c": "sent"}
        assert results["b"]["text"] == "Server certificate not verified" and not plain.sessions
        assert all(session.secure for session in there.sessions)


@pytest.mark.parametrize(
    "settings, complaint",
    [
        ({"smtp_tls_wrappermode": "yes", "smtp_tls_security_level": "may"}, r"smtp_tls_wrappermode = yes needs smtp_tls_security_level = encrypt"),
        ({"smtp_tls_security_level": "may", "smtp_tls_CAfile": "/nowhere.pem"}, r"smtp_tls_CAfile"),
        ({"smtp_sasl_auth_enable": "yes", "smtp_sasl_type": "dovecot", "smtp_sasl_password_maps": "static:a:b"}, r"smtp_sasl_type = dovecot is a type for servers"),
        ({"smtp_sasl_auth_enable": "yes"}, r"smtp_sasl_auth_enable = yes needs smtp_sasl_password_maps"),
        ({"smtp_tls_policy_maps": "nosuch:x"}, r"smtp_tls_policy_maps: \S"),
        (
            {"smtp_sasl_auth_enable": "yes", "smtp_sasl_password_maps": "static:a:b", "smtp_sasl_security_options": "nonsense"},
            r"smtp_sasl_security_options: a word in the security options is unknown",
        ),
    ],
)
def test_what_does_not_start(make_mta, settings, complaint):
    mta = make_mta({}, transports={"x": {"type": "smtp", **settings}}, start=False)
    with pytest.raises(AssertionError):
        mta.start()
    assert re.search(rf"mta\.conf:\d+: transport x: {complaint}", mta.stderr() + mta.log()), mta.tail()


def test_the_tutorials_lines_are_harmless(make_mta):
    make_mta({"smtp_sasl_type": "dovecot", "smtp_sasl_path": "private/auth", "smtp_sasl_security_options": "noanonymous", "smtp_use_tls": "yes"})


def test_postfix(server, module_folder, owner, authority, contexts):
    """The real one, which requires TLS and shows who we are in its log."""
    if os.geteuid() != 0:
        pytest.skip("Postfix wants to be started by root")
    port, tls_port = procs.free_ports(2)
    there = Postfix(module_folder / "postfix", port, tls_port)
    main = {
        "myhostname": HOST,
        "mydestination": "",
        "virtual_mailbox_domains": "static:all",
        "virtual_mailbox_maps": "static:all",
        "virtual_transport": "discard",
        "smtpd_tls_security_level": "encrypt",
        "smtpd_tls_cert_file": authority.folder / "good.pem",
        "smtpd_tls_key_file": authority.folder / "good.key",
    }
    there.start(Setup(main))
    try:
        results = outbound.attempt(server, [f"a@verify{port}.example", f"b@encrypt{port}.example", f"c@none-{port}.example"])
        assert {name: result["status"] for name, result in results.items()} == {"a": "sent", "b": "sent", "c": "bounced"}
        assert "530 5.7.0 Must issue a STARTTLS command first" in results["c"]["text"]
    finally:
        there.stop()


# ---- AUTH ----


def plain(user, password=SECRET):
    return base64.b64encode(f"\0{user}\0{password}".encode()).decode()


def b64(text):
    return base64.b64encode(text.encode()).decode()


def auth_server(make, folder, passwords, transports=None, **main):
    """`passwords`: lines of the table. Transports have no TLS unless they say so."""
    (folder / "passwords").write_text("".join(line + "\n" for line in passwords))
    (folder / "transport.pcre").write_text("/@([a-z]+)(\\d+)\\.example$/ $1:[127.0.0.1]:$2\n")
    common = {
        "type": "smtp",
        "smtp_sasl_auth_enable": "yes",
        "smtp_sasl_password_maps": f"texthash:{folder}/passwords",
        "smtp_sasl_security_options": "noanonymous",
    }
    transports = {name: {**common, **settings} for name, settings in {"auth": {}, **(transports or {})}.items()}
    defaults = {"transport_maps": f"pcre:{folder}/transport.pcre", "minimal_backoff_time": "1h", "maximal_backoff_time": "1h"}
    return make({**defaults, **main}, transports=transports)


def auth_peer(mechanisms="PLAIN LOGIN", auth="235 2.7.0 in", **kwargs):
    return Peer(offers=(*USUAL, f"AUTH {mechanisms}"), auth=auth, **kwargs)


def auth_lines(there):
    return [command for session in there.sessions for command in session.commands if command.startswith("AUTH")]


def silent(mta):
    log = mta.log() + mta.stderr()
    assert SECRET not in log and b64(SECRET) not in log and plain("joe") not in log


def test_a_password(make_mta, folder):
    """By host, and by next hop as it is written; without an entry there is no AUTH."""
    with auth_peer() as by_host, auth_peer("PLAIN") as stranger:
        mta = auth_server(make_mta, folder, [f"[127.0.0.1]:{by_host.port} joe:{SECRET}"])
        assert attempt(mta, "auth", by_host)["status"] == attempt(mta, "auth", stranger)["status"] == "sent"
        assert by_host.verbs() == ["EHLO", "AUTH", "MAIL", "RCPT", "DATA", "QUIT"]
        assert auth_lines(stranger) == []
        assert auth_lines(by_host) == ["AUTH PLAIN " + plain("joe")]
        silent(mta)


def test_the_host_comes_before_the_next_hop(make_mta, folder):
    with auth_peer("PLAIN") as there, Peer() as without:
        mta = auth_server(make_mta, folder, ["127.0.0.1 host:a:b", f"[127.0.0.1]:{there.port} hop:{SECRET}"])
        assert attempt(mta, "auth", there)["status"] == "sent"
        assert auth_lines(there) == ["AUTH PLAIN " + plain("host", "a:b")]
        assert attempt(mta, "auth", without)["status"] == "sent"  # it offers none


@pytest.mark.parametrize("soft, expected", [("yes", ("deferred", "4.7.8")), ("no", ("bounced", "5.7.8"))])
def test_wrong_password(make_mta, folder, soft, expected):
    with auth_peer("PLAIN", "535 5.7.8 wrong") as there:
        mta = auth_server(make_mta, folder, [f"127.0.0.1 joe:{SECRET}"], {"auth": {"smtp_sasl_auth_soft_bounce": soft}})
        result = attempt(mta, "auth", there)
        assert (result["status"], result["dsn"]) == expected
        assert result["text"] == "SASL authentication failed; server 127.0.0.1[127.0.0.1] said: 535 5.7.8 wrong"
        assert there.verbs() == ["EHLO", "AUTH", "QUIT"] and not there.messages
        silent(mta)


def test_what_defers(make_mta, folder):
    """A table that fails, no mechanism in common, words that make no sense."""
    transports = {
        "broken": {"smtp_sasl_password_maps": "fail:x"},
        "nameless": {"smtp_sasl_password_maps": "static::x"},
        "safe": {"smtp_sasl_security_options": "noplaintext, noanonymous"},
        "filter": {"smtp_sasl_mechanism_filter": "!plain, static:all"},
    }
    with auth_peer("PLAIN") as there:
        mta = auth_server(make_mta, folder, [f"127.0.0.1 joe:{SECRET}"], transports)
        for transport in ("broken", "nameless"):
            assert verdict(attempt(mta, transport, there)) == ("deferred", "4.3.0", "local data error while talking to 127.0.0.1[127.0.0.1]")
        text = "SASL authentication failed: server 127.0.0.1[127.0.0.1] offered no compatible authentication mechanisms for this type of connection security"
        for transport in ("safe", "filter"):
            assert verdict(attempt(mta, transport, there)) == ("deferred", "4.7.0", text)
        assert not there.messages and auth_lines(there) == []


@pytest.mark.parametrize(
    "answer, dsn, text",
    [
        ("334 !!", "4.7.0", r"cannot authenticate to server 127\.0\.0\.1\[127\.0\.0\.1\]: \S"),
        ("334 ", "4.7.0", r"cannot authenticate to server 127\.0\.0\.1\[127\.0\.0\.1\]: \S"),
        (CLOSE, "4.4.2", r"^lost connection with \S+ while performing the AUTH handshake$"),
        (HANG, "4.4.2", r"^conversation with \S+ timed out while performing the AUTH handshake$"),
        ("nonsense", "4.5.0", r"^remote protocol error in reply from \S+ while performing the AUTH handshake$"),
        ("454 4.7.0 later", "4.7.0", r"^SASL authentication failed; server \S+ said: 454 4\.7\.0 later$"),
        ("421 4.3.2 bye", "4.3.2", r"^SASL authentication failed; server \S+ said: 421 4\.3\.2 bye$"),
    ],
)
def test_odd_answers(make_mta, folder, answer, dsn, text):
    with auth_peer("PLAIN", answer) as there:
        mta = auth_server(make_mta, folder, [f"127.0.0.1 joe:{SECRET}"], {"auth": {"smtp_helo_timeout": "1s"}})
        result = attempt(mta, "auth", there)
        assert (result["status"], result["dsn"]) == ("deferred", dsn) and re.search(text, result["text"]), result
        assert not there.messages
        silent(mta)


def test_unasked_replies(make_mta, folder):
    """Replies that come before anything was asked are nobody's success."""
    with Peer(ehlo=b"250-peer.example\r\n250 AUTH CRAM-MD5\r\n235 2.7.0 in\r\n235 2.7.0 in\r\n", auth="535 5.7.8 no") as there:
        mta = auth_server(make_mta, folder, [f"127.0.0.1 joe:{SECRET}"])
        assert attempt(mta, "auth", there)["text"].startswith("remote protocol error in reply from 127.0.0.1")
        assert not there.messages


def test_scram_needs_the_servers_proof(make_mta, folder):
    """Success without it may be anybody's."""
    with auth_peer("SCRAM-SHA-256") as there:
        mta = auth_server(make_mta, folder, [f"127.0.0.1 joe:{SECRET}"])
        result = attempt(mta, "auth", there)
        assert (result["status"], result["dsn"]) == ("deferred", "4.7.0")
        assert result["text"] == (
            "SASL authentication failed; cannot authenticate to server 127.0.0.1[127.0.0.1]: the server has not proved that it knows the password"
        )
        assert not there.messages


def test_login(make_mta, folder):
    def login(session, _):
        session.send("334 " + b64("Username:"))
        user = session.line()
        session.send("334 " + b64("Password:"))
        return "235 in" if (user, session.line()) == (b64("joe"), b64(SECRET)) else "535 wrong"

    with auth_peer("LOGIN", login) as there:
        mta = auth_server(make_mta, folder, [f"127.0.0.1 joe:{SECRET}"])
        assert attempt(mta, "auth", there)["status"] == "sent"


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256"])
def test_our_own_server(make_mta, folder, mechanism):
    """Both sides; within TLS, with a password that only its owner knows."""
    database = sasl.sasldb(folder / "sasldb", {"joe@example.com": SECRET})
    authority = certs.Authority(folder / "ca")
    certificate, key = authority.issue("here", ["127.0.0.1"])
    settings = {
        "smtpd_sasl_auth_enable": "yes",
        "smtpd_sasl_type": "cyrus",
        "smtpd_tls_security_level": "may",
        "smtpd_tls_auth_only": "yes",
        "smtpd_tls_cert_file": certificate,
        "smtpd_tls_key_file": key,
        "smtpd_relay_restrictions": "permit_sasl_authenticated, reject",
        "default_transport": "discard",
        "mynetworks": "",
    }
    there = make_mta(settings, start=False)
    sasl.write_application(there.directory / "sasl", {**database, "mech_list": mechanism})
    there.start()
    there.port = there.address()[1]
    passwords = [f"[127.0.0.1]:{there.port} joe@example.com:{SECRET}"]
    tls = {"smtp_tls_security_level": "encrypt", "smtp_sasl_tls_security_options": "noanonymous"}
    mta = auth_server(make_mta, folder, passwords, {"auth": tls, "wrong": {**tls, "smtp_sasl_password_maps": "static:joe@example.com:wrong"}})
    result = attempt(mta, "auth", there)
    assert result["status"] == "sent", result
    there.wait_log(rf"sasl_method={mechanism}, sasl_username=joe@example\.com")
    result = attempt(mta, "wrong", there)
    assert result["status"] == "deferred" and "SASL authentication failed" in result["text"], result
    silent(mta)


def test_smtps(make_mta, folder):
    authority = certs.Authority(folder / "ca")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("here", ["127.0.0.1"]))
    with auth_peer("PLAIN", tls=context, wrapped=True) as there:
        tls = {"smtp_tls_security_level": "encrypt", "smtp_tls_wrappermode": "yes"}
        mta = auth_server(make_mta, folder, [f"127.0.0.1 joe:{SECRET}"], {"auth": tls})
        assert attempt(mta, "auth", there)["status"] == "sent"
        assert there.verbs()[:3] == ["EHLO", "AUTH", "MAIL"]


def test_options_with_tls(make_mta, folder):
    """Plain text only where the server is who it should be."""
    authority = certs.Authority(folder / "ca")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("here", ["here.example"]))
    options = {
        "smtp_sasl_tls_security_options": "noplaintext, noanonymous",
        "smtp_sasl_tls_verified_security_options": "noanonymous",
        "smtp_tls_CAfile": authority.certificate,
    }
    secure = {"smtp_tls_security_level": "secure", "smtp_tls_secure_cert_match": "here.example"}
    with auth_peer("PLAIN", tls=context) as there:
        transports = {"auth": {**options, **secure}, "less": {**options, "smtp_tls_security_level": "encrypt"}}
        mta = auth_server(make_mta, folder, [f"127.0.0.1 joe:{SECRET}"], transports)
        assert attempt(mta, "auth", there)["status"] == "sent"
        assert "no compatible authentication mechanisms" in attempt(mta, "less", there)["text"]


def test_senders_have_their_own(make_mta, folder):
    """And a connection is never used by another sender, nor kept ones by another transport."""
    lines = ["a@client.example a:1", "b@client.example b:2", "@third.example c:3", f"127.0.0.1 rest:{SECRET}"]
    settings = {"smtp_sender_dependent_authentication": "yes", "smtp_connection_cache_destinations": "[127.0.0.1]", "smtp_connection_cache_time_limit": "30s"}
    with auth_peer("PLAIN") as there:
        mta = auth_server(make_mta, folder, lines, {"auth": settings})
        users = {"a@client.example": "a:1", "b@client.example": "b:2", "x@third.example": "c:3", "y@else.example": f"rest:{SECRET}", "": f"rest:{SECRET}"}
        for _ in range(2):
            for sender in users:
                assert attempt(mta, "auth", there, sender)["status"] == "sent"
        assert len(there.sessions) == len(users)
        for session in there.sessions:
            login = base64.b64decode(session.commands[1].split()[2]).decode().split("\0", 1)[1].replace("\0", ":")
            senders = re.findall(r"MAIL FROM:<(.*?)>", "\n".join(session.commands))
            assert len(senders) == 2 and all(users[sender] == login for sender in senders)
        silent(mta)


def test_tls_connections_are_kept(make_mta, folder):
    """With their policy: who wants a server's certificate checked does not get a connection of somebody who did not."""
    authority = certs.Authority(folder / "ca")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("here", ["here.example"]))
    (folder / "transport.pcre").write_text("/@([a-z]+)(\\d+)\\.example$/ $1:[127.0.0.1]:$2\n")
    keep = {"type": "smtp", "smtp_connection_cache_destinations": "[127.0.0.1]", "smtp_connection_cache_time_limit": "30s"}
    transports = {"one": {**keep, "smtp_tls_security_level": "encrypt"}, "two": {**keep, "smtp_tls_security_level": "verify"}}
    with Peer(tls=context) as there:
        mta = make_mta({"transport_maps": f"pcre:{folder}/transport.pcre", "minimal_backoff_time": "1h"}, transports=transports)
        assert [attempt(mta, "one", there)["conn_use"] for _ in range(3)] == [None, "2", "3"]
        assert attempt(mta, "two", there)["status"] == "deferred"
        assert len(there.sessions) == 2


# ---- tokens ----


def bearer(text):
    return base64.b64decode(text).decode()


@pytest.mark.parametrize("mechanism, shape", [("XOAUTH2", "user={user}\1auth=Bearer {token}\1\1"), ("OAUTHBEARER", "auth=Bearer {token}\1")])
def test_tokens(make_mta, folder, mechanism, shape):
    with auth_peer(mechanism) as there:
        mta = auth_server(make_mta, folder, ["127.0.0.1 joe@example.com:tok.en-1"])
        assert attempt(mta, "auth", there)["status"] == "sent"
        [line] = auth_lines(there)
        assert line.startswith(f"AUTH {mechanism} ") and shape.format(user="joe@example.com", token="tok.en-1") in bearer(line.split()[2])
        assert "tok.en-1" not in mta.log()


def test_token_command(make_mta, folder):
    """Asked once, until a server refuses what it said."""
    command = folder / "token"
    command.write_text(f'#!/bin/sh\necho run >>{folder}/runs\n[ "$3" = joe@example.com ] || exit 1\necho "token-$(wc -l <{folder}/runs)$1$2"\n')
    command.chmod(0o755)
    replies = ["235 in", "235 in", "535 5.7.8 expired", "235 in"]
    transports = {
        "auth": {"smtp_sasl_token_command": f"{command} -a {{b c}}"},
        "fails": {"smtp_sasl_token_command": "/bin/false"},
        "gone": {"smtp_sasl_token_command": "/nowhere/at/all"},
    }
    with auth_peer("XOAUTH2", replies) as there:
        mta = auth_server(make_mta, folder, ["127.0.0.1 joe@example.com:"], transports)
        assert [attempt(mta, "auth", there)["status"] for _ in range(4)] == ["sent", "sent", "deferred", "sent"]
        tokens = [re.search("Bearer (.*?)\1", bearer(line.split()[2])).group(1) for line in auth_lines(there)]
        assert tokens == ["token-1-ab c"] * 3 + ["token-2-ab c"]
        for transport in ("fails", "gone"):
            result = attempt(mta, transport, there)
            assert (result["status"], result["dsn"]) == ("deferred", "4.7.0") and "there is no token" in result["text"]
        mta.wait_log(r"warning: \w+: the command /bin/false for a token of joe@example\.com: its exit status is 1$")
        assert "token-1" not in mta.log()


def test_the_server_goes_while_the_command_runs(make_mta, folder):
    """What the command says comes too late, and harms nobody."""
    command = folder / "token"
    command.write_text(f"#!/bin/sh\ntouch {folder}/running\nsleep 1\necho token\n")
    command.chmod(0o755)

    def close(session, _):
        session.send(b"250-peer.example\r\n250 AUTH XOAUTH2\r\n")
        procs.wait_for((folder / "running").exists, 10, "the command")
        return CLOSE

    with Peer(ehlo=close) as there:
        mta = auth_server(make_mta, folder, ["127.0.0.1 joe@example.com:"], {"auth": {"smtp_sasl_token_command": command}})
        assert attempt(mta, "auth", there)["text"] == "lost connection with 127.0.0.1[127.0.0.1] while performing the AUTH handshake"
        assert not there.messages


def test_a_refused_token(make_mta, folder):
    """The server says why in a challenge, which is acknowledged."""

    def refuse(session, _):
        session.send("334 " + b64('{"status":"401"}'))
        session.said = session.line()
        return "535 5.7.8 no"

    with auth_peer("XOAUTH2", refuse) as there:
        mta = auth_server(make_mta, folder, ["127.0.0.1 joe:expired"])
        assert attempt(mta, "auth", there)["text"].endswith("said: 535 5.7.8 no")
        assert there.sessions[0].said == ""
        mta.wait_log(r"warning: \w+: 127\.0\.0\.1\[127\.0\.0\.1\] refuses the token: .*401")
