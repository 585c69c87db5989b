"""mta queue list and mta queue show: what waits, read from the database with and without a running server."""

import json
import os
import pathlib
import re
import subprocess

import pytest
from support import mta, procs
from support.setups import DOMAIN

BODY = b"From: s@client.example\r\nDate: x\r\nMessage-Id: <1@client.example>\r\nSubject: caf\xc3\xa9\r\n\r\n.dot\r\nend\r\n"
HEADING = "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------\n"


@pytest.fixture
def server(make_mta):
    """Mail for other hosts waits in its queue; mail for DOMAIN is discarded."""
    return make_mta(
        {
            "virtual_mailbox_domains": DOMAIN,
            "virtual_mailbox_maps": "static:anything",
            "virtual_transport": "discard",
            "transport_maps": "inline:{{far.example = nowhere:}}",
            "minimal_backoff_time": "1h",
            "maximal_backoff_time": "1h",
        }
    )


def queue(server, *args):
    """Standard output of `mta queue …`, which must work."""
    done = mta.command("-c", server.conf, "queue", *args)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b""
    return done.stdout.decode()


def refused(server, *args, status=1):
    """The one line that `mta queue …` says when it does not work."""
    done = mta.command("-c", server.conf, "queue", *args)
    assert done.returncode == status, done
    assert done.stdout == b""
    assert done.stderr.count(b"\n") == 1
    return done.stderr.decode()


def send(server, recipients, sender="s@client.example", body=BODY, parameters=""):
    with server.connect() as client:
        client.ehlo()
        client.cmd(f"MAIL FROM:<{sender}>{parameters}", 250)
        for recipient in recipients:
            client.cmd(f"RCPT TO:<{recipient}>", 250)
        return client.data(body).text.rsplit(" ", 1)[1]


def sql(server, text):
    return procs.run(["sqlite3", "-cmd", ".timeout 10000", server.database()], input=text.encode()).stdout.decode()


def entry(server, queue_id):
    """The first line of a message in the list, but for its sender."""
    size, when = sql(server, f"SELECT size, arrival_us / 1000000 FROM message WHERE qid = {int(queue_id, 16)};").strip().split("|")
    arrival = procs.run(["date", "-u", "-d", f"@{when}", "+%a %b %e %H:%M:%S"], env={"LANG": "C"}).stdout.decode().strip()
    return f"{queue_id:17} {int(size):8} {arrival} "


def test_empty(server):
    assert queue(server, "list") == "Mail queue is empty\n"
    assert queue(server, "list", "--json") == ""


def test_text(server):
    first = send(server, ["a@far.example", "b@far.example"])
    second = send(server, ["c@far.example"], sender="")
    server.wait_deliveries(first, 2)
    server.wait_deliveries(second, 1)
    reason, column = " " * 50 + "(mail transport unavailable)\n", " " * 47
    wanted = HEADING + (
        f"{entry(server, first)}s@client.example\n{reason}{column}a@far.example\n{column}b@far.example\n\n"
        f"{entry(server, second)}MAILER-DAEMON\n{reason}{column}c@far.example\n\n-- 0 Kbytes in 2 Requests.\n"
    )
    assert queue(server, "list") == wanted
    server.stop()
    assert queue(server, "list") == wanted
    server.start()
    assert queue(server, "list") == wanted
    server.kill9()
    assert queue(server, "list") == wanted
    assert server.integrity() == "ok"


def test_json(server):
    queue_id = send(server, ["a@far.example"])
    server.wait_deliveries(queue_id, 1)
    (line,) = queue(server, "list", "--json").splitlines()
    message = json.loads(line)
    (recipient,) = message.pop("recipients")
    assert abs(recipient.pop("next_attempt") - message["arrival_time"] - 3600) < 120
    assert message == {
        "queue_id": queue_id,
        "queue_name": "deferred",
        "arrival_time": int(sql(server, "SELECT arrival_us / 1000000 FROM message")),
        "message_size": int(sql(server, "SELECT size FROM message")),
        "sender": "s@client.example",
    }
    assert recipient == {
        "address": "a@far.example",
        "orig_address": None,
        "delay_reason": "mail transport unavailable",
        "dsn": "4.3.0",
        "attempts": 1,
        "report": None,
    }


def test_hostile_addresses(server):
    """What a client can make us queue, and what a damaged database could hold."""
    queue_id = send(server, ['"a\\"b c\\\\"@far.example', "käse@far.example"], parameters=" SMTPUTF8", sender='"]}\\" {"@client.example')
    server.wait_deliveries(queue_id, 2)
    text = queue(server, "list")
    assert ' "]}\\" {"@client.example\n' in text
    assert ' "a\\"b c\\\\"@far.example\n' in text and " käse@far.example\n" in text
    message = json.loads(queue(server, "list", "--json"))
    assert message["sender"] == ']}" {@client.example'
    assert [recipient["address"] for recipient in message["recipients"]] == ['a"b c\\@far.example', "käse@far.example"]
    sql(server, "UPDATE rcpt SET addr = char(27) || '[2J' || CAST(X'0AFFC3' AS TEXT) || '@far.example', text = CAST(X'0D80' AS TEXT) WHERE id = 1;")
    text = queue(server, "list")
    assert ' "?[2J???"@far.example\n' in text and " (??)\n" in text
    line = queue(server, "list", "--json")
    assert line.count("\n") == 1
    first = json.loads(line)["recipients"][0]
    assert first["address"] == "\x1b[2J\n\ufffd\ufffd@far.example" and first["delay_reason"] == "\r\ufffd"


def test_show(server):
    large = BODY + b"".join(b"line %d\r\n" % number for number in range(30000))
    small_id = send(server, ["a@far.example"])
    large_id = send(server, ["b@far.example"], body=large)
    for queue_id, body in ((small_id, BODY), (large_id, large)):
        server.wait_deliveries(queue_id, 1)
        head, _, content = queue(server, "show", queue_id).partition("\n\n")
        assert head.startswith(HEADING + entry(server, queue_id))
        received, _, rest = content.partition("From: ")
        assert re.match(rf"Received: from (?s:.*)id {queue_id}", received)
        assert rest.encode() == body.partition(b": ")[2].replace(b"\r\n", b"\n")
    assert refused(server, "show", "00000000000FF") == "mta: there is no message 00000000FF in the queue\n"
    assert "is not a queue id" in refused(server, "show", "nonsense")


def test_usage(server):
    for args in ([], ["list", "--xml"], ["list", "--json", "x"], ["show"], ["purge"]):
        assert refused(server, *args, status=2).startswith("usage: mta queue")


def test_what_cannot_be_read(server):
    server.stop()
    version = sql(server, "PRAGMA user_version;").strip()
    sql(server, "PRAGMA user_version = 99;")
    assert "schema 99" in refused(server, "list")
    sql(server, f"PRAGMA user_version = {version};")
    assert queue(server, "list") == "Mail queue is empty\n"
    server.database().rename(server.queue / "kept")
    assert "No such file or directory" in refused(server, "list")
    assert not server.database().exists()
    server.database().write_bytes(b"this is not SQLite" * 1000)
    assert "cannot be read" in refused(server, "list")
    server.database().unlink()
    (server.queue / "kept").rename(server.database())


def test_a_reader_that_goes_away(server):
    """`mta queue list | head -1` ends without a complaint."""
    server.stop()
    fill(server, 20000)
    done = procs.run(["sh", "-c", f"'{mta.BINARY}' -c '{server.conf}' queue list | head -1"])
    assert done.stdout.decode() == HEADING and done.stderr == b""


def fill(server, count):
    """Puts messages into the database of a server that does not run."""
    sql(
        server,
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})"
        " INSERT INTO message(qid, arrival_us, queued_us, size, pieces, flags, ret, sender)"
        " SELECT 1700000000000000 + i, 1700000000000000 + i, 1, 1024, 0, 0, 0, 's' || i || '@client.example' FROM n;"
        "INSERT INTO rcpt(qid, id, next_us, attempts, notify, addr, dsn, text)"
        " SELECT qid, 1, 9000000000000000, 3, 0, 'u@far.example', '4.4.1', 'connection timed out' FROM message;",
    )


def measured(server, *args):
    """(lines of output, peak memory in KiB) of `mta queue …`."""
    environment = {**os.environ, "ASAN_OPTIONS": "quarantine_size_mb=1"}
    lines, peak = 0, None
    child = subprocess.Popen([mta.BINARY, "-c", server.conf, "queue", *args], stdout=subprocess.PIPE, env=environment)
    for line in child.stdout:
        lines += 1
        # One of the last that leave it waiting for us to read: it still runs.
        if b"s99000@" in line or b"s9000@" in line and peak is None:
            peak = int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{child.pid}/status").read_text())[1])
    child.stdout.close()
    assert child.wait() == 0
    return lines, peak


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_hundred_thousand(server, form):
    """They take seconds at the most (a release: 0.2 s) and no more memory than a few do."""
    server.stop()
    fill(server, 10_000)
    _, few = measured(server, "list", *form)
    sql(server, "DELETE FROM message; DELETE FROM rcpt;")
    fill(server, 100_000)
    assert mta.command("-c", server.conf, "queue", "list", *form, timeout=30).returncode == 0
    lines, many = measured(server, "list", *form)
    assert lines == (100_000 if form else 4 * 100_000 + 2)
    assert many - few < 8 * 1024, (few, many)
