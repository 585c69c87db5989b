"""RFC 3461 parameters: checked when they come, kept with the message."""

import pytest
from support import procs, setups
from support.setups import DOMAIN

BAD_RET = "5.5.4 Bad RET parameter syntax"
BAD_ENVID = "5.5.4 Bad ENVID parameter syntax"
BAD_NOTIFY = "5.5.4 Error: Bad NOTIFY parameter syntax"
BAD_ORCPT = "5.5.4 Error: Bad ORCPT parameter syntax"

MAIL = [
    ("RET=FULL ENVID=xx", 250, "2.1.0 Ok"),
    ("RET=HDRS", 250, "2.1.0 Ok"),
    ("ret=full", 250, "2.1.0 Ok"),
    ("ENVID=a+2Bb", 250, "2.1.0 Ok"),
    ("RET=foo", 501, BAD_RET),
    ("RET=", 501, BAD_RET),
    ("RET=FULL RET=HDRS", 501, BAD_RET),
    ("ENVID=+zz", 501, BAD_ENVID),
    ("ENVID=", 501, BAD_ENVID),
    ("ENVID=a ENVID=b", 501, BAD_ENVID),
]

RCPT = [
    ("NOTIFY=NEVER", 250, "2.1.5 Ok"),
    ("NOTIFY=SUCCESS,FAILURE,DELAY", 250, "2.1.5 Ok"),
    ("notify=success", 250, "2.1.5 Ok"),
    ("NOTIFY=NEVER,SUCCESS", 501, BAD_NOTIFY),
    ("NOTIFY=FOO", 501, BAD_NOTIFY),
    ("NOTIFY=", 501, BAD_NOTIFY),
    ("NOTIFY=NEVER NOTIFY=NEVER", 501, BAD_NOTIFY),
    ("ORCPT=rfc822;somebody+40else.example", 250, "2.1.5 Ok"),
    ("ORCPT=u1", 501, BAD_ORCPT),
    ("ORCPT=rfc822;+zz", 501, BAD_ORCPT),
    ("ORCPT=rfc822;a ORCPT=rfc822;b", 501, BAD_ORCPT),
]


@pytest.mark.parametrize("parameters, code, text", MAIL)
def test_mail(hosted, parameters, code, text):
    with hosted.connect() as client:
        client.ehlo()
        assert client.cmd(f"MAIL FROM:<s@client.example> {parameters}", code).text == text


@pytest.mark.parametrize("parameters, code, text", RCPT)
def test_rcpt(hosted, parameters, code, text):
    with hosted.connect() as client:
        client.ehlo()
        client.cmd("MAIL FROM:<s@client.example>", 250)
        assert client.cmd(f"RCPT TO:<u1@{DOMAIN}> {parameters}", code).text == text


def test_kept_in_the_queue(make_mta, folder, owner):
    """What was given is in the queue database, decoded, while the message waits."""
    refuse = setups.script(folder, "refuse", "cat >/dev/null; exit 75\n")
    server = make_mta(
        setups.text_tables(folder, [f"u1@{DOMAIN}"]) | {"virtual_transport": "refuse", "minimal_backoff_time": "1h", "maximal_backoff_time": "1h"},
        transports={"refuse": setups.pipe(owner, str(refuse))},
    )
    with server.connect() as client:
        client.ehlo()
        client.cmd("MAIL FROM:<s@client.example> RET=HDRS ENVID=id+2Bplus", 250)
        client.cmd(f"RCPT TO:<u1@{DOMAIN}> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;First+40origin.example", 250)
        client.data(b"Subject: x\r\n\r\n")
    server.wait_log("status=deferred")
    server.stop()
    dump = procs.run(["sqlite3", server.database(), ".dump"]).stdout.decode()
    assert "id+plus" in dump and "rfc822;First@origin.example" in dump
