"""Delay notices, success reports, postmaster's copies (RFC 3461, RFC 3464, RFC 6533): who hears what, in which words."""

import email.utils
import re

import pytest
from support import dsn, maildir, procs, setups
from support.mta import HOSTNAME
from support.setups import DOMAIN

BODY = b"From: s@hosted.example\r\nDate: x\r\nMessage-Id: <original@x>\r\nSubject: the original\r\n\r\noriginal body\r\n"
ALIASES = [("list", "ok1 ok2"), ("one", "ok1"), ("self", "self"), ("nowhere", "bad1"), ("pm", "pm1"), ("group", "g1 g2")]


@pytest.fixture
def make_server(make_mta, folder, owner):
    """make_server(main): bad… fail, slow… are deferred, cmd… go to a command, everybody else has a Maildir."""

    def make(main=None):
        base = setups.mail_folder(folder, owner)
        delivery, transports = setups.maildir_delivery(base, owner)
        fail = setups.script(folder, "fail", "cat >/dev/null; echo 'no mailbox for '$1; exit 67\n")
        slow = setups.script(folder, "slow", f"cat >/dev/null; test -e {folder}/quick && exit 0; echo 'not now'; exit 75\n")
        maps = folder / "transport"
        ways = {"bad1": "fail", "bad2": "fail", "slow1": "slow", "slow2": "slow", "cmd": "command", "final": "final"}
        maps.write_text("".join(f"{user}@{DOMAIN} {way}:\n" for user, way in ways.items()))
        tables = setups.text_tables(
            folder, [f"@{DOMAIN}"], [(f"{name}@{DOMAIN}", ", ".join(f"{to}@{DOMAIN}" for to in goto.split())) for name, goto in ALIASES]
        )
        # Each in a Maildir of its own.
        (folder / "mailboxes").write_text("".join(f"{user}@{DOMAIN} {user}/\n" for user in [*USERS, *ways, "self"]))
        commands = {"fail": setups.pipe(owner, f"{fail} ${{user}}"), "slow": setups.pipe(owner, str(slow))}
        commands |= {"command": setups.pipe(owner, "/usr/bin/tail -n 0"), "final": setups.pipe(owner, "/usr/bin/tail -n 0", flags="X")}
        server = make_mta(
            tables | delivery | {"transport_maps": f"texthash:{maps}", "myorigin": DOMAIN} | LIMITS | (main or {}),
            transports=transports | commands,
        )
        server.maildir = lambda user: base / user
        server.quick = folder / "quick"
        return server

    return make


USERS = ["s", "ok1", "ok2", "pm1", "g1", "g2", "postmaster"]
LIMITS = {f"{name}_destination_recipient_limit": "1" for name in ("fail", "slow", "command", "final")}


def send(server, sender, recipients, parameters="", body=BODY):
    """`recipients`: "user" or ("user", "NOTIFY=…"). Returns the queue id."""
    with server.connect() as client:
        client.ehlo()
        client.cmd(f"MAIL FROM:<{sender}>{parameters}", 250)
        for recipient in recipients:
            user, wish = recipient if isinstance(recipient, tuple) else (recipient, "")
            client.cmd(f"RCPT TO:<{user}@{DOMAIN}> {wish}".rstrip(), 250)
        return client.data(body).text.split()[-1]


SENDER = f"s@{DOMAIN}"


def only_report(server, user="s"):
    [report] = dsn.reports(server.maildir(user), 1)
    return report


# ---- success ----


def test_success(make_server):
    """Delivered to a mailbox, or handed to a command which may do anything with it; in one report."""
    server = make_server()
    wishes = [(user, "NOTIFY=SUCCESS,FAILURE") for user in ("ok1", "cmd", "final")]
    queue_id = send(server, SENDER, [*wishes, ("ok2", "NOTIFY=FAILURE"), "g1"], " ENVID=my+2Bid RET=FULL")
    server.wait_removed(queue_id)
    report = only_report(server)
    assert report.raw.startswith(b"Return-Path: <>\n") or report.raw.startswith(b"Return-Path: <MAILER-DAEMON>\n")
    assert report.subject == "Successful Mail Delivery Report"
    assert report.actions() == {f"ok1@{DOMAIN}": "delivered", f"cmd@{DOMAIN}": "relayed", f"final@{DOMAIN}": "delivered"}
    assert all(recipient["Status"] == "2.0.0" and "Original-Recipient" not in recipient for recipient in report.recipients)
    assert report.message["Original-Envelope-Id"] in ("my+id", "my+2Bid")
    assert report.types == ("message/delivery-status", "text/rfc822-headers")  # headers, whatever RET said
    assert b"Subject: the original" in report.raw and b"original body" not in report.raw
    assert len(server.lines(rf"bounce\[\d+\]: {queue_id}: sender delivery status notification: \w+$")) == 1


def test_expanded(make_server):
    """An alias is reported when it is expanded, and its members no more; failures of the members still are."""
    server = make_server()
    wish = "NOTIFY=SUCCESS,FAILURE"
    queue_id = send(server, SENDER, [("list", f"{wish} ORCPT=rfc822;first@x.example"), ("one", "NOTIFY=SUCCESS"), ("self", "NOTIFY=SUCCESS"), ("nowhere", wish)])
    server.wait_removed(queue_id)
    by_subject = {report.subject: report for report in dsn.reports(server.maildir("s"), 2)}
    success = by_subject["Successful Mail Delivery Report"]
    assert success.actions() == {f"{user}@{DOMAIN}": "expanded" for user in ("list", "one", "nowhere")} | {f"self@{DOMAIN}": "delivered"}
    assert dsn.address(success.recipient(f"list@{DOMAIN}")["Original-Recipient"]) == "first@x.example"
    assert success.recipient(f"list@{DOMAIN}")["Status"] == "2.0.0"
    failure = by_subject["Undelivered Mail Returned to Sender"]
    assert failure.actions() == {f"bad1@{DOMAIN}": "failed"}
    assert dsn.address(failure.recipient(f"bad1@{DOMAIN}")["Original-Recipient"]) == f"nowhere@{DOMAIN}"
    assert maildir.files(server.maildir("ok1")) and maildir.files(server.maildir("ok2"))


def test_no_success_report_to_nobody(make_server):
    server = make_server({"notify_classes": "bounce, 2bounce, delay"})
    server.wait_removed(send(server, "", [("ok1", "NOTIFY=SUCCESS"), ("list", "NOTIFY=SUCCESS")]))
    assert not server.lines("notification: ")


# ---- delay ----


def test_delay(make_server):
    """One notice for all that wait, once; with the time until which they are tried; then their failure."""
    server = make_server({"delay_warning_time": "2s", "maximal_queue_lifetime": "7s"})
    queue_id = send(server, SENDER, ["slow1", ("slow2", "NOTIFY=DELAY"), ("slow2", "NOTIFY=FAILURE"), "ok1"], " RET=FULL")
    delay = only_report(server)
    assert delay.subject == "Delayed Mail (still being retried)"
    assert delay.actions() == {f"slow1@{DOMAIN}": "delayed", f"slow2@{DOMAIN}": "delayed"}
    fields = delay.recipient(f"slow1@{DOMAIN}")
    assert fields["Status"] == "4.3.0" and "not now" in fields["Diagnostic-Code"]
    arrival, until = (email.utils.parsedate_to_datetime(text) for text in (delay.message["Arrival-Date"], fields["Will-Retry-Until"]))
    assert (until - arrival).total_seconds() == 7
    assert b"original body" not in delay.raw
    server.wait_removed(queue_id)
    failure = dsn.reports(server.maildir("s"), 2)
    assert {report.subject for report in failure} == {"Delayed Mail (still being retried)", "Undelivered Mail Returned to Sender"}
    [failure] = [report for report in failure if report.subject.startswith("Undelivered")]
    assert failure.actions() == {f"slow1@{DOMAIN}": "failed", f"slow2@{DOMAIN}": "failed"}
    assert failure.recipient(f"slow1@{DOMAIN}")["Status"] == "4.3.0"
    assert len(server.lines(rf"{queue_id}: sender delay notification")) == 1
    assert len(server.lines(rf"{queue_id}: sender non-delivery notification")) == 1
    assert server.lines(rf"qmgr\[\d+\]: {queue_id}: from=<{SENDER}>, status=expired, returned to sender$")


def test_no_delay_notice_where_none_is_wanted(make_server):
    """Not with a NOTIFY that leaves it out, not for the null sender; nor at all by default."""
    server = make_server({"delay_warning_time": "1s"})
    ids = [send(server, SENDER, [("slow1", "NOTIFY=FAILURE,SUCCESS")]), send(server, SENDER, [("slow1", "NOTIFY=NEVER")]), send(server, "", ["slow1"])]
    late = send(server, SENDER, ["slow1"])
    server.wait_log(rf"{late}: sender delay notification")
    for queue_id in ids:
        server.wait_deliveries(queue_id, 3)
        assert not server.lines(rf"{queue_id}: \w+ delay notification")
    server.quick.touch()  # SUCCESS of a recipient that was late
    for queue_id in [*ids, late]:
        server.wait_removed(queue_id)
    subjects = sorted(report.subject for report in dsn.reports(server.maildir("s"), 2))
    assert subjects == ["Delayed Mail (still being retried)", "Successful Mail Delivery Report"]


def test_delay_is_told_once_across_restarts(make_server):
    server = make_server({"delay_warning_time": "1s"})
    queue_id = send(server, SENDER, ["slow1"])
    server.wait_log(rf"{queue_id}: sender delay notification")
    for _ in range(2):
        attempts = len(server.deliveries(queue_id))
        server.restart()
        server.wait_deliveries(queue_id, attempts + 2)
    assert len(server.lines(rf"{queue_id}: sender delay notification")) == 1
    only_report(server)


# ---- the postmaster ----


def test_postmaster_copies(make_server):
    """notify_classes = bounce, delay: the header section and all recipients, whatever their NOTIFY."""
    server = make_server({"notify_classes": "bounce, delay", "bounce_notice_recipient": "pm", "delay_notice_recipient": "postmaster", "delay_warning_time": "1s"})
    queue_id = send(server, SENDER, ["bad1", ("bad2", "NOTIFY=NEVER")])
    server.wait_removed(queue_id)
    copy = only_report(server, "pm1")
    assert copy.raw.startswith(b"Return-Path: <double-bounce@" + HOSTNAME.encode() + b">\n")
    assert copy.subject == "Postmaster Copy: Undelivered Mail" and copy.mail["To"].strip("<>") == f"pm@{DOMAIN}"
    assert copy.mail["Auto-Submitted"] == "auto-generated"
    assert copy.actions() == {f"bad1@{DOMAIN}": "failed", f"bad2@{DOMAIN}": "failed"}
    assert b"Subject: the original" in copy.raw and b"original body" not in copy.raw
    assert only_report(server).actions() == {f"bad1@{DOMAIN}": "failed"}
    assert len(server.lines(rf"{queue_id}: postmaster non-delivery notification: \w+$")) == 1
    queue_id = send(server, f"ok2@{DOMAIN}", ["slow1"])
    server.wait_log(rf"{queue_id}: sender delay notification: \w+$")
    server.wait_log(rf"{queue_id}: postmaster delay notification: \w+$")
    warning = only_report(server, "postmaster")
    assert warning.subject == "Postmaster Warning: Delayed Mail" and warning.actions() == {f"slow1@{DOMAIN}": "delayed"}
    server.wait_deliveries(queue_id, len(server.deliveries(queue_id)) + 2)
    assert len(server.lines(rf"{queue_id}: \w+ delay notification")) == 2


def test_double_bounces(make_server):
    """A report that fails goes to 2bounce_notice_recipient, whole; that one's failure goes nowhere."""
    server = make_server({"notify_classes": "2bounce", "2bounce_notice_recipient": f"postmaster@{DOMAIN}"})
    first = send(server, f"bad2@{DOMAIN}", ["bad1"])
    [line] = server.wait_log(rf"bounce\[\d+\]: {first}: sender non-delivery notification: (\w+)$")
    server.wait_removed(line[1])
    double = only_report(server, "postmaster")
    assert double.subject == "Postmaster Copy: Undelivered Mail" and double.actions() == {f"bad2@{DOMAIN}": "failed"}
    assert b"original body" in double.raw  # the report with all that it returned
    assert not server.lines(rf"{first}: postmaster")
    last = send(server, f"double-bounce@{HOSTNAME}", ["bad1"])
    server.wait_removed(last)
    assert server.lines(rf"bounce\[\d+\]: warning: {last}: undeliverable postmaster notification discarded$")
    assert not server.lines(rf"{last}: \w+ non-delivery")


def test_double_bounces_of_a_broken_postmaster(make_server):
    """It ends: original, report, double bounce, nothing."""
    server = make_server({"notify_classes": "bounce, 2bounce", "2bounce_notice_recipient": f"bad1@{DOMAIN}", "bounce_notice_recipient": f"bad1@{DOMAIN}"})
    first = send(server, f"bad2@{DOMAIN}", ["bad1"])
    server.wait_removed(first)
    procs.wait_for(lambda: server.queued() == 0, what="an empty queue")
    assert len(server.lines("sender non-delivery notification: ")) == 1
    assert len(server.lines("postmaster non-delivery notification: ")) == 2
    assert len(server.lines("undeliverable postmaster notification discarded")) == 2


def test_bounce_queue_lifetime(make_server):
    """The reports themselves have a lifetime of their own."""
    server = make_server({"bounce_queue_lifetime": "2s", "maximal_queue_lifetime": "1h"})
    first = send(server, f"slow1@{DOMAIN}", ["bad1"])
    [line] = server.wait_log(rf"{first}: sender non-delivery notification: (\w+)$")
    server.wait_removed(line[1])
    assert server.lines(rf"{line[1]}: from=<>, status=expired, returned to sender$")
    assert not server.lines(rf"{line[1]}: \w+ non-delivery")


# ---- forms ----


def test_sender_is_an_alias(make_server):
    """Reports go the ordinary way."""
    server = make_server()
    server.wait_removed(send(server, f"group@{DOMAIN}", ["bad1"]))
    for user in ("g1", "g2"):
        assert only_report(server, user).mail["To"].strip("<>") == f"group@{DOMAIN}"


@pytest.mark.parametrize("ret, original", [("", "message/global"), (" RET=HDRS", "message/global-headers")])
def test_smtputf8(make_server, ret, original):
    server = make_server()
    body = BODY.replace(b"the original", "Grüße".encode())
    queue_id = send(server, SENDER, [("bad1", "ORCPT=utf-8;bj\\x{F6}rn@x.example"), ("ok1", "NOTIFY=SUCCESS")], f" SMTPUTF8{ret}", body)
    server.wait_removed(queue_id)
    by_subject = {report.subject: report for report in dsn.reports(server.maildir("s"), 2)}
    failure, success = by_subject["Undelivered Mail Returned to Sender"], by_subject["Successful Mail Delivery Report"]
    assert failure.types == ("message/global-delivery-status", original)
    assert success.types == ("message/global-delivery-status", "message/global-headers")
    assert failure.recipient(f"bad1@{DOMAIN}")["Original-Recipient"] == "utf-8; björn@x.example"
    assert "Subject: Grüße".encode() in failure.raw and (b"original body" in failure.raw) == (ret == "")


def test_size_limit(make_server):
    """bounce_size_limit: larger originals come back as their header section."""
    server = make_server({"bounce_size_limit": "2000"})
    server.wait_removed(send(server, SENDER, ["bad1"], " RET=FULL", BODY + b"filler\r\n" * 100))
    assert only_report(server).types[1] == "message/rfc822"
    server.wait_removed(send(server, f"ok1@{DOMAIN}", ["bad1"], " RET=FULL", BODY + b"filler\r\n" * 300))
    big = only_report(server, "ok1")
    assert big.types[1] == "text/rfc822-headers" and b"filler" not in big.raw and b"Subject: the original" in big.raw


# ---- kill -9 ----


def test_kill9_between_reports(make_server):
    """Whenever the server dies, each message's failure, copy and success are told once in the end."""
    server = make_server({"notify_classes": "bounce", "bounce_notice_recipient": f"pm1@{DOMAIN}", "delay_warning_time": "1s"})
    ids = []
    for kill in range(6):
        seen = len(server.lines("notification: ")) + 2 * kill
        for _ in range(5):
            ids.append(send(server, SENDER, ["bad1", ("one", "NOTIFY=SUCCESS"), ("ok2", "NOTIFY=SUCCESS"), "slow1"]))
        procs.wait_for(lambda seen=seen: len(server.lines("notification: ")) >= seen, what="reports")
        server.kill9()
        assert server.integrity() == "ok"
        server.start()
    # In the mailbox, not in the log: a report can be committed, and the server killed before it says so.
    procs.wait_for(lambda: {told[0] for told in told_in(server.maildir("s")) if told[1] == "delayed"} == set(ids), 60, "delay notices", 0.2)
    server.quick.touch()
    procs.wait_for(lambda: server.queued() == 0, 60, "an empty queue")
    server.stop()
    expected = [(queue_id, action) for queue_id in ids for action in ("delayed", "delivered", "expanded", "failed")]
    assert sorted(told[:2] for told in told_in(server.maildir("s"))) == sorted(expected)
    assert sorted(told[:2] for told in told_in(server.maildir("pm1"))) == sorted((queue_id, "failed") for queue_id in ids)


def told_in(folder):
    """What the reports in a Maildir say: {(queue id of the message, action, queue id of the report)}. A report whose
    delivery was cut off may be there twice; that it is one shows in its own queue id."""
    found = [dsn.Report(raw) for raw in maildir.messages(folder)]
    return {
        (report.message["X-Postfix-Queue-ID"], action, OWN_QUEUE_ID.search(report.raw)[1]) for report in found for action in report.actions().values()
    }


OWN_QUEUE_ID = re.compile(rb"^Received: by .*\n\tid (\w+)", re.M)
