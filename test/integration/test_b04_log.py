"""The log lines of one message's way, in Postfix's form, and what reads them: fail2ban and pflogsumm."""

import re

import pytest
from support import maildir, procs
from support.mta import HOSTNAME
from support.setups import DOMAIN

# What rsyslog puts before each line: time, host, program.
PREFIX = r"^[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S+ postfix/"
CLIENT = r"(?:localhost|unknown)\[127\.0\.0\.[12]\]"
BODY = b"Message-Id: <mid-1@client.example>\r\nSubject: x\r\n\r\nbody\r\n"


@pytest.fixture(scope="module")
def story(hosted):
    """One accepted and some refused recipients; returns (server, queue id)."""
    with hosted.connect(stranger=True) as client:
        client.ehlo("helo.example")
        client.cmd("MAIL FROM:<s@client.example>", 250)
        client.cmd(f"RCPT TO:<nobody@{DOMAIN}>", 550)
        client.cmd("RCPT TO:<x@remote.example>", 454)
        client.cmd(f"RCPT TO:<u1@{DOMAIN}>", 250)
        queue_id = re.search(r"queued as (\w+)", client.data(BODY).text)[1]
        client.quit()
    hosted.wait_removed(queue_id)
    hosted.wait_log(r"disconnect from .*\bquit=1")
    return hosted, queue_id


def test_every_line_has_the_syslog_prefix(story):
    server, _ = story
    for line in server.log().splitlines():
        assert re.match(PREFIX + r"[a-z]+\[\d+\]: \S", line), line


@pytest.mark.parametrize(
    "line",
    [
        r"smtpd\[\d+\]: connect from CLIENT$",
        r"smtpd\[\d+\]: QID: client=CLIENT$",
        r"cleanup\[\d+\]: QID: message-id=<mid-1@client\.example>$",
        r"qmgr\[\d+\]: QID: from=<s@client\.example>, size=\d+, nrcpt=1 \(queue active\)$",
        r"virtual\[\d+\]: QID: to=<u1@hosted\.example>, relay=mailbox, delay=DELAY, delays=DELAY/DELAY/DELAY/DELAY, "
        r"dsn=2\.0\.0, status=sent \(delivered to maildir\)$",
        r"qmgr\[\d+\]: QID: removed$",
        r"smtpd\[\d+\]: NOQUEUE: reject: RCPT from CLIENT: 550 5\.1\.1 <nobody@hosted\.example>: Recipient address rejected: "
        r"User unknown in virtual mailbox table; from=<s@client\.example> to=<nobody@hosted\.example> proto=ESMTP helo=<helo\.example>$",
        r"smtpd\[\d+\]: NOQUEUE: reject: RCPT from CLIENT: 454 4\.7\.1 <x@remote\.example>: Relay access denied; "
        r"from=<s@client\.example> to=<x@remote\.example> proto=ESMTP helo=<helo\.example>$",
        r"smtpd\[\d+\]: disconnect from CLIENT ehlo=1 mail=1 rcpt=1/3 data=1 quit=1 commands=5/7$",
    ],
    ids=["connect", "client", "message-id", "active", "sent", "removed", "unknown user", "relay", "disconnect"],
)
def test_line(story, line):
    server, queue_id = story
    pattern = line.replace("CLIENT", CLIENT).replace("QID", queue_id).replace("DELAY", r"\d+(?:\.\d+)?")
    found = server.lines(PREFIX + pattern)
    assert found, f"no line like /{pattern}/ in:\n{server.log()}"


def test_size_counts_what_is_stored(story):
    """size= is the message with the headers that we added; its line ends count one or two bytes each."""
    server, queue_id = story
    [size] = server.lines(rf"{queue_id}: from=<.*>, size=(\d+)")
    [path] = maildir.files(server.maildir("u1"))
    message = maildir.Delivered(path.read_bytes())
    stored = message.raw[len(message.top) :]
    assert len(stored) <= int(size[1]) <= len(stored) + stored.count(b"\n")


def test_order(story):
    server, queue_id = story
    parts = [f"{queue_id}: client=", f"{queue_id}: message-id=", "(queue active)", "status=sent", "removed"]
    places = [next(i for i, line in enumerate(server.log().splitlines()) if part in line and queue_id in line) for part in parts]
    assert places == sorted(places)


def test_lost_connection(hosted):
    with hosted.connect() as client:
        client.ehlo()
    hosted.wait_log(rf"smtpd\[\d+\]: lost connection after EHLO from {CLIENT}$")


def test_text_of_strangers_cannot_forge_lines(hosted):
    """Control characters of a client never reach the log as they are."""
    with hosted.connect() as client:
        client.cmd("EHLO evil\x1b[2Jname")
        client.cmd("MAIL FROM:<s@client.example>")
        client.cmd(f"RCPT TO:<x\rNov 1 00:00:00 host postfix/qmgr[1]: FORGED: removed@{DOMAIN}>")
        client.cmd(f"RCPT TO:<nobody@{DOMAIN}>")
    hosted.wait_log(r"nobody@hosted\.example.*helo=<evil")
    assert "\x1b" not in hosted.log() and "\r" not in hosted.log_path.read_bytes().decode(errors="replace")
    assert not hosted.lines(r"^Nov 1 00:00:00 host postfix/qmgr\[1\]")


def test_fail2ban_finds_the_offender(story):
    server, _ = story
    output = procs.run(["fail2ban-regex", "--print-all-matched", server.log_path, "postfix[mode=aggressive]"]).stdout.decode()
    assert re.search(r"<nobody@hosted\.example>: Recipient address rejected", output), output


def test_pflogsumm_counts(story, folder):
    server, _ = story
    report = procs.run(["/usr/sbin/pflogsumm", server.log_path]).stdout.decode()
    counts = {label: number for number, label in re.findall(r"^\s+(\d+)\s{2,}(received|delivered|deferred|bounced|rejected)\b", report, re.M)}
    assert int(counts["received"]) >= 1 and int(counts["delivered"]) >= 1 and int(counts["rejected"]) >= 2, report


def test_syslog_name_and_maillog_file(make_mta, folder, owner):
    """`syslog_name` names the program, also for one listener alone; `maillog_file` takes the lines from stdout."""
    from support import setups

    path = folder / "mail.log"
    server = setups.hosted_server(
        make_mta, folder, owner, {"maillog_file": path, "maillog_file_prefixes": "/tmp"},
        listeners={"smtp": {}, "submission": {"syslog_name": "postfix/submission"}},
    )  # fmt: skip
    for listener in ("smtp", "submission"):
        with server.connect(listener) as client:
            client.ehlo()
            client.mail("s@client.example", f"u1@{DOMAIN}", BODY)
    maildir.wait_messages(server.maildir("u1"), 2)
    text = path.read_text()
    assert re.search(r" postfix/smtpd\[\d+\]: connect from", text)
    assert re.search(r" postfix/submission/smtpd\[\d+\]: [0-9A-Za-z]+: client=", text)
    assert "client=" not in server.log()
    assert HOSTNAME.split(".")[0] in text or re.search(r"^\w{3} [ \d]\d [\d:]{8} \S+ ", text)
