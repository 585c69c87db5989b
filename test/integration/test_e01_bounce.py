"""Reports about failed recipients (RFC 3464): one for a message, to its sender, and none where none is due."""

import email
import email.policy

import pytest
from support import maildir, procs, setups
from support.mta import HOSTNAME
from support.setups import DOMAIN

BODY = b"From: s@hosted.example\r\nDate: x\r\nMessage-Id: <original@x>\r\nSubject: the original\r\n\r\noriginal body\r\n"


@pytest.fixture(scope="module")
def server(make_module_mta, module_folder, owner):
    """bad1 … bad3 fail, s has a mailbox."""
    base = setups.mail_folder(module_folder, owner)
    delivery, transports = setups.maildir_delivery(base, owner)
    fail = setups.script(module_folder, "fail", "cat >/dev/null; echo 'no mailbox for '$1; exit 67\n")
    maps = module_folder / "transport"
    maps.write_text("".join(f"bad{number}@{DOMAIN} fail:\n" for number in range(1, 4)))
    users = ["bad1", "bad2", "bad3", *(f"s{number}" for number in range(10))]
    server = make_module_mta(
        setups.text_tables(module_folder, [f"{user}@{DOMAIN}" for user in users], [(f"alias@{DOMAIN}", f"bad1@{DOMAIN}")])
        | delivery
        | {"transport_maps": f"texthash:{maps}", "fail_destination_recipient_limit": "1"},
        transports=transports | {"fail": setups.pipe(owner, f"{fail} ${{user}}")},
    )
    server.maildir = lambda user: base / DOMAIN / user
    return server


def bounce(server, sender, recipients, body=BODY, mail_parameters="", rcpt_parameters=""):
    """Sends, waits until the message is gone; returns the report in the sender's mailbox, parsed."""
    with server.connect() as client:
        client.ehlo()
        client.cmd(f"MAIL FROM:<{sender}@{DOMAIN}>{mail_parameters}", 250)
        for recipient in recipients:
            client.cmd(f"RCPT TO:<{recipient}@{DOMAIN}>{rcpt_parameters}", 250)
        queue_id = client.data(body).text.split()[-1]
    server.wait_removed(queue_id)
    [raw] = maildir.wait_messages(server.maildir(sender), 1)
    return queue_id, raw, email.message_from_bytes(raw, policy=email.policy.default)


def test_the_report(server):
    queue_id, raw, report = bounce(server, "s0", ["bad1", "bad2"])
    assert raw.startswith(b"Return-Path: <>\n") or raw.startswith(b"Return-Path: <MAILER-DAEMON>\n")
    assert report["To"].strip("<>") == f"s0@{DOMAIN}"
    assert "MAILER-DAEMON@" in report["From"]
    assert report["Auto-Submitted"] == "auto-replied"
    assert report["Message-Id"] and report["Date"] and report["Subject"]
    assert report.get_content_type() == "multipart/report" and report.get_param("report-type") == "delivery-status"
    text, status, original = report.iter_parts()
    assert text.get_content_type() == "text/plain" and f"bad1@{DOMAIN}" in text.get_content()
    assert status.get_content_type() == "message/delivery-status"
    message, *recipients = status.get_payload()
    assert message["Reporting-MTA"] == f"dns; {HOSTNAME}"
    assert message["Arrival-Date"]
    assert {recipient["Final-Recipient"].replace(" ", "") for recipient in recipients} == {f"rfc822;bad{n}@{DOMAIN}" for n in (1, 2)}
    for recipient in recipients:
        assert recipient["Action"] == "failed" and recipient["Status"] == "5.1.1"
        assert "no mailbox for bad" in recipient["Diagnostic-Code"]
    assert original.get_content_type() == "message/rfc822"
    assert b"Subject: the original" in raw and b"original body" in raw
    [line] = server.lines(rf"bounce\[\d+\]: {queue_id}: sender non-delivery notification: (\w+)$")
    assert server.lines(rf"qmgr\[\d+\]: {line[1]}: from=<>, size=\d+, nrcpt=1 \(queue active\)$")


def test_original_recipient_and_envelope_id(server):
    _, _, report = bounce(server, "s1", ["alias"], mail_parameters=" ENVID=my+2Bid RET=HDRS")
    message, recipient = list(report.iter_parts())[1].get_payload()
    assert message["Original-Envelope-Id"] == "my+id" or message["Original-Envelope-Id"] == "my+2Bid"
    assert recipient["Final-Recipient"].replace(" ", "") == f"rfc822;bad1@{DOMAIN}"
    assert recipient["Original-Recipient"].replace(" ", "") == f"rfc822;alias@{DOMAIN}"


def test_headers_only_when_asked(server):
    _, raw, report = bounce(server, "s2", ["bad1"], mail_parameters=" RET=HDRS")
    assert list(report.iter_parts())[2].get_content_type() == "text/rfc822-headers"
    assert b"Subject: the original" in raw and b"original body" not in raw


def test_original_recipient_of_the_client(server):
    _, _, report = bounce(server, "s3", ["bad1"], rcpt_parameters=" ORCPT=rfc822;else+2Bwhere@x.example NOTIFY=FAILURE")
    _, recipient = list(report.iter_parts())[1].get_payload()
    assert recipient["Original-Recipient"].replace(" ", "") == "rfc822;else+where@x.example"


def test_the_others_get_their_mail(server):
    bounce(server, "s4", ["bad1", "s5", "bad2"])
    maildir.wait_messages(server.maildir("s5"), 1)


@pytest.mark.parametrize("sender, parameters", [("", ""), (f"s6@{DOMAIN}", " NOTIFY=NEVER"), (f"s6@{DOMAIN}", " NOTIFY=SUCCESS")])
def test_no_report_where_none_is_due(server, sender, parameters):
    with server.connect() as client:
        client.ehlo()
        client.cmd(f"MAIL FROM:<{sender}>", 250)
        client.cmd(f"RCPT TO:<bad1@{DOMAIN}>{parameters}", 250)
        queue_id = client.data(BODY).text.split()[-1]
    server.wait_removed(queue_id)
    assert not server.lines(rf"{queue_id}: sender non-delivery notification")
    assert maildir.files(server.maildir("s6")) == []


def test_a_report_that_fails_makes_no_report(server):
    """From a sender whose own mailbox fails: one report, no report about the report."""
    with server.connect() as client:
        client.ehlo()
        queue_id = client.mail(f"bad3@{DOMAIN}", f"bad1@{DOMAIN}", BODY)
    [line] = server.wait_log(rf"bounce\[\d+\]: {queue_id}: sender non-delivery notification: (\w+)$")
    server.wait_removed(line[1])
    assert not server.lines(rf"{line[1]}: sender non-delivery notification")


def test_big_originals_are_cut(server, make_mta):
    """bounce_size_limit (50000) bounds what of the original comes back."""
    big = BODY + b"x" * 70 + b"\r\n" + b"filler line of the original message\r\n" * 20_000
    _, raw, _ = bounce(server, "s7", ["bad1"], big)
    assert len(raw) < 100_000


def test_many_failures_one_report(server):
    queue_id, _, _ = bounce(server, "s8", ["bad1", "bad2", "bad3"])
    procs.wait_for(lambda: server.lines(rf"{queue_id}: removed"), what="the end of the message")
    assert len(server.lines(rf"{queue_id}: sender non-delivery notification")) == 1
