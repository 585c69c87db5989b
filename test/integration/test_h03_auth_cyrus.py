"""smtpd_sasl_type = cyrus: libsasl2 with the real saslauthd, a sasldb and an SQL plug-in."""

import base64
import re
import smtplib
import threading
import time

import pytest

from support import procs, sasl
from support.mta import Mta, command

USER = "jane@example.com"
PASSWORD = "correct horse"
USERS = {USER: PASSWORD, "joe@example.com": 'a"b\\c'}
SETTINGS = {
    "smtpd_sasl_auth_enable": "yes",
    "smtpd_sasl_type": "cyrus",
    "smtpd_sasl_local_domain": "example.com",
    "smtpd_auth_ban_limit": "0",
    "smtpd_relay_restrictions": "permit_sasl_authenticated, reject",
    "mynetworks": "",
}


def plain(user, password):
    return base64.b64encode(f"\0{user}\0{password}".encode()).decode()


def b64(text):
    return base64.b64encode(text.encode()).decode()


def server(folder, options, **settings):
    """An mta whose directory has sasl/smtpd.conf."""
    mta = Mta(folder / "mta", main={**SETTINGS, **settings})
    sasl.write_application(mta.directory / "sasl", options)
    return mta


@pytest.fixture
def saslauthd(folder):
    daemon = sasl.Saslauthd(folder, USERS)
    yield daemon.start()
    daemon.close()


def no_password_in_log(mta):
    """Neither as it is nor as it was sent."""
    log = mta.log() + mta.stderr()
    assert PASSWORD not in log and b64(PASSWORD) not in log and plain(USER, PASSWORD) not in log


def test_saslauthd(folder, saslauthd):
    mta = server(folder, saslauthd.options()).start()
    with mta.connect() as smtp:
        assert smtp.ehlo()["AUTH"] == "PLAIN LOGIN"
        smtp.cmd("AUTH PLAIN " + plain(USER, "wrong"), 535, "^5.7.8 ")
        smtp.cmd("AUTH PLAIN " + plain("nobody@example.com", PASSWORD), 535, "^5.7.8 ")
        smtp.cmd("AUTH PLAIN " + b64("no user in it"), 501)
        smtp.cmd("AUTH CRAM-MD5", 504)
        smtp.cmd("AUTH PLAIN " + plain(USER, PASSWORD), 235, "^2.7.0 ")
        smtp.mail(USER, "someone@elsewhere.example", b"Subject: x\r\n\r\nx\r\n")
        smtp.quit()
    with mta.connect() as smtp:
        smtp.ehlo()
        smtp.cmd("AUTH LOGIN", 334, b64("Username:"))
        smtp.cmd(b64("joe"), 334, b64("Password:"))  # smtpd_sasl_local_domain
        smtp.cmd(b64(USERS["joe@example.com"]), 235)
        smtp.quit()
    mta.wait_log(r"client=localhost\[127.0.0.1\], sasl_method=PLAIN, sasl_username=jane@example.com$")
    mta.wait_log(r"warning: .*\[127.0.0.1\]: SASL PLAIN authentication failed: authentication failure, sasl_username=jane@example.com$")
    mta.wait_log(r"\[127.0.0.1\]: SASL PLAIN authentication failed: authentication failure, sasl_username=nobody@example.com$")
    no_password_in_log(mta)
    mta.stop()


def test_saslauthd_comes_and_goes(folder, saslauthd):
    """454 and not 535 while it is down; nothing has to be restarted."""
    mta = server(folder, saslauthd.options(), smtpd_relay_restrictions="permit_mynetworks, reject", mynetworks="127.0.0.1/32").start()
    saslauthd.stop()
    with mta.connect() as smtp:
        smtp.ehlo()
        smtp.cmd("AUTH PLAIN " + plain(USER, PASSWORD), 454, "^4.7.0 ")
        smtp.mail("a@example.com", "b@elsewhere.example", b"\r\n")  # mail goes on
        saslauthd.start()
        smtp.cmd("AUTH PLAIN " + plain(USER, PASSWORD), 235)
        smtp.quit()
    mta.wait_log(r"warning: SASL authentication failure: cannot connect to saslauthd server")
    mta.stop()


def test_saslauthd_hangs(folder, saslauthd):
    """Each step is bounded, other sessions go on meanwhile, and so does everything when saslauthd does; mta can be stopped."""
    settings = {"smtpd_relay_restrictions": "permit_mynetworks, reject", "mynetworks": "127.0.0.1/32"}
    mta = server(folder, saslauthd.options(), **settings).start()
    stopped = server(folder / "stopped", saslauthd.options()).start()
    saslauthd.pause()
    began = time.monotonic()
    with mta.connect(timeout=60) as waits, mta.connect() as other:
        waits.ehlo()
        waits.send("AUTH PLAIN " + plain(USER, PASSWORD) + "\r\n")
        other.ehlo()
        other.mail("a@example.com", "b@elsewhere.example", b"\r\n")
        assert time.monotonic() - began < 20
        with stopped.connect() as gone:
            gone.ehlo()
            gone.send("AUTH PLAIN " + plain(USER, PASSWORD) + "\r\n")
        with stopped.connect() as still:
            still.ehlo()
            still.send("AUTH PLAIN " + plain(USER, PASSWORD) + "\r\n")
            stopped.stop()
        assert time.monotonic() - began < 28  # not only when a time-out set it free
        waits.expect(454, "^4.7.0 ")
        assert 25 < time.monotonic() - began < 60
        saslauthd.resume()
        waits.cmd("AUTH PLAIN " + plain(USER, PASSWORD), 235)
    mta.stop()


def test_fifty_at_once(folder, saslauthd):
    mta = server(folder, saslauthd.options()).start()
    codes = []

    def login(password):
        with mta.connect() as smtp:
            smtp.ehlo()
            codes.append((password, smtp.cmd("AUTH PLAIN " + plain(USER, password)).code))

    threads = [threading.Thread(target=login, args=(PASSWORD if i % 5 else "wrong",)) for i in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == sorted([(PASSWORD, 235)] * 40 + [("wrong", 535)] * 10)
    mta.stop()


def msmtp(mta, mechanism, password):
    host, port = mta.address()
    return procs.run(
        ["/usr/bin/msmtp", "-C", "/dev/null", f"--host={host}", f"--port={port}", "--tls=off", f"--auth={mechanism}", f"--user={USER}"]
        + [f"--passwordeval=printf '%s' '{password}'", f"--from={USER}", "someone@elsewhere.example"],
        input=b"Subject: x\n\nx\n",
        check=False,
    )


@pytest.mark.parametrize("store", [sasl.sasldb, sasl.sqlite])
def test_passwords_of_its_own(folder, store):
    """A sasldb and SQL: the mechanisms that need the password itself, by smtplib and by msmtp."""
    options = store(folder / "passwords.db", USERS)
    mta = server(folder, options, cyrus_sasl_config_path=folder / "elsewhere")
    sasl.write_application(folder / "elsewhere", options)
    sasl.write_application(mta.directory / "sasl", {"mech_list": "NTLM"})  # is not looked at
    mta.start()
    with mta.connect() as smtp:
        offered = smtp.ehlo()["AUTH"].split()
        assert {"PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-256"} <= set(offered)
        assert not {"ANONYMOUS", "EXTERNAL"} & set(offered)
        smtp.cmd("AUTH ANONYMOUS " + b64("me"), 504)
        smtp.cmd("AUTH PLAIN " + plain("nobody@example.com", PASSWORD), 535)
    for mechanism in "CRAM-MD5", "PLAIN", "LOGIN":
        for password, code in (PASSWORD, 235), ("wrong", 535):
            with smtplib.SMTP(*mta.address(), timeout=30) as smtp:
                smtp.ehlo()
                smtp.user, smtp.password = USER, password
                try:
                    assert smtp.auth(mechanism, getattr(smtp, "auth_" + mechanism.lower().replace("-", "_")))[0] == code
                except smtplib.SMTPAuthenticationError as error:
                    assert error.smtp_code == code
    for mechanism in "scram-sha-256", "scram-sha-1", "digest-md5":
        done = msmtp(mta, mechanism, PASSWORD)
        assert done.returncode == 0, done.stderr
        done = msmtp(mta, mechanism, "wrong")
        assert done.returncode == 77 and b"535" in done.stderr, done.stderr
    no_password_in_log(mta)
    mta.stop()


def test_database_is_gone(folder):
    """A database that cannot be opened is no wrong password."""
    options = {**sasl.sqlite(folder / "passwords.db", USERS), "sql_database": folder / "nowhere" / "passwords.db"}
    mta = server(folder, options).start()
    with mta.connect() as smtp:
        smtp.ehlo()
        smtp.cmd("AUTH PLAIN " + plain(USER, PASSWORD), 454)
    mta.stop()


MISTAKES = [
    (None, 0, r"warning: smtpd_sasl_path: there is no smtpd.conf"),
    ("no option here", 1, r"error: smtpd_sasl_path: libsasl2 cannot use .*/sasl/smtpd.conf: error when parsing"),
    ("mech_list: X-NONE", 1, r"error: smtpd_sasl_type: libsasl2 has no mechanism"),
]


@pytest.mark.parametrize("text, status, complaint", MISTAKES)
def test_mistakes(folder, text, status, complaint):
    mta = Mta(folder / "mta", main=SETTINGS)
    mta.write_config()
    if text is not None:
        (mta.directory / "sasl").mkdir()
        (mta.directory / "sasl" / "smtpd.conf").write_text(text + "\n")
    done = command("-c", mta.conf, "--check-config")
    assert done.returncode == status and re.search(complaint, done.stderr.decode()), done.stderr


def test_one_application(folder):
    """libsasl2 takes one in a process: a second one is a mistake, of which --check-config and a reload speak."""
    options = sasl.sasldb(folder / "passwords.db", USERS)
    mta = Mta(folder / "mta", main=SETTINGS, listeners={"one": {}, "two": {}})
    sasl.write_application(mta.directory / "sasl", options)
    sasl.write_application(mta.directory / "sasl", options, "other")
    mta.start()
    mta.listeners["two"]["smtpd_sasl_path"] = "other"
    mta.write_config()
    for action in "--check-config", "reload":
        done = command("-c", mta.conf, action)
        said = (done.stdout + done.stderr).decode()
        assert done.returncode == 1 and re.search(r'error: smtpd_sasl_path: .*"smtpd".*"other"', said), said
    with mta.connect("two") as smtp:
        smtp.ehlo()
        smtp.cmd("AUTH PLAIN " + plain(USER, PASSWORD), 235)
    del mta.listeners["two"]["smtpd_sasl_path"]
    mta.write_config()
    assert command("-c", mta.conf, "reload").returncode == 0
    with mta.connect("one") as smtp:
        smtp.ehlo()
        smtp.cmd("AUTH PLAIN " + plain(USER, PASSWORD), 235)
    mta.stop()
