"""nodemailer, a mail client that web applications use: STARTTLS and TLS from the first byte, both of TLS's versions, AUTH."""

import json

import pytest
from support import certs, maildir, mta, procs, setups
from support.setups import DOMAIN

PASSWORD = "correct horse"
USER = f"u1@{DOMAIN}"
CLIENT = """
const nodemailer = require("/usr/share/nodejs/nodemailer");
const wanted = JSON.parse(process.argv[2]);
const transport = nodemailer.createTransport(wanted.transport);
const mail = (number) => transport.sendMail({from: wanted.user, to: wanted.user, subject: "mail " + number, text: "Grüße\\n.\\n"});
const answer = (text) => { console.log(JSON.stringify(text)); transport.close(); };
const numbers = [...Array(wanted.count).keys()];
Promise.all(numbers.map(mail)).then((all) => answer(all.map((info) => info.response)),
                                    (error) => answer({code: error.code, response: error.response}));
"""


@pytest.fixture(scope="module")
def server(make_module_mta, module_folder, owner):
    done = mta.command("passwd", input=PASSWORD.encode() + b"\n", check=True)
    (module_folder / "passwords").write_text(f"{USER} {done.stdout.decode().strip()}\n")
    authority = certs.Authority(module_folder / "ca")
    certificate, key = authority.issue("server", ["localhost"])
    users = {"smtpd_client_restrictions": "permit_sasl_authenticated,reject"}
    main = {
        "smtpd_tls_cert_file": str(certificate),
        "smtpd_tls_key_file": str(key),
        "smtpd_tls_security_level": "may",
        "smtpd_sasl_auth_enable": "yes",
        "smtpd_sasl_password_maps": f"texthash:{module_folder / 'passwords'}",
        "smtpd_tls_auth_only": "yes",
    }
    listeners = {
        "smtp": {},
        "submission": {"smtpd_tls_security_level": "encrypt", **users},
        "smtps": {"smtpd_tls_wrappermode": "yes", **users},
    }
    started = setups.hosted_server(make_module_mta, module_folder, owner, main, listeners=listeners)
    started.authority = authority
    return started


def run(server, folder, listener, count=1, password=PASSWORD, **tls):
    script = folder / "client.js"
    script.write_text(CLIENT)
    host, port = server.address(listener)
    transport = {
        "host": host,
        "port": port,
        "secure": listener == "smtps",
        "requireTLS": listener != "smtps",
        "auth": {"user": USER, "pass": password},
        "tls": {"servername": "localhost", "ca": server.authority.certificate.read_text(), **tls},
        "pool": count > 1,
        "maxConnections": 3,
    }
    done = procs.run(["node", script, json.dumps({"transport": transport, "user": USER, "count": count})], timeout=60)
    return json.loads(done.stdout)


@pytest.mark.parametrize("listener", ["smtp", "submission", "smtps"])
@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_mail_comes_in(server, folder, listener, version):
    before = len(maildir.files(server.maildir("u1")))
    responses = run(server, folder, listener, minVersion=version, maxVersion=version)
    assert [text.split(" ")[0] for text in responses] == ["250"], responses
    raw = maildir.wait_messages(server.maildir("u1"), before + 1)[-1]
    assert b"\nSubject: mail 0\n" in raw and b"with ESMTPSA id" in raw


def test_many_over_few_connections(server, folder):
    before = len(maildir.files(server.maildir("u1")))
    responses = run(server, folder, "submission", count=30)
    assert [text.split(" ")[0] for text in responses] == ["250"] * 30, responses
    maildir.wait_messages(server.maildir("u1"), before + 30)


def test_a_wrong_password(server, folder):
    answer = run(server, folder, "smtps", password="wrong")
    assert answer["code"] == "EAUTH" and answer["response"].startswith("535 5.7.8"), answer
