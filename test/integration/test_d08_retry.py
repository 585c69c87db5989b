"""Deferred mail: back-off, the end of patience, and that one bad destination does not hold up another."""

import datetime
import re

import pytest
from support import procs, setups
from support.setups import DOMAIN


@pytest.fixture
def failing(make_mta, folder, owner):
    """failing(main) starts a server whose command fails with 75 until FOLDER/open exists."""
    script = setups.script(folder, "command", f"cat >/dev/null; test -e {folder}/open || exit 75\n")

    def run(main=None, **extra):
        return make_mta(
            {
                "virtual_mailbox_domains": f"{DOMAIN} other.example",
                "virtual_mailbox_maps": "static:anything",
                "virtual_transport": "command",
                "transport_maps": "inline:{ {other.example = discard:} {s@hosted.example = discard:} }",
            }
            | (main or {}),
            transports={"command": setups.pipe(owner, str(script))},
            **extra,
        )

    return run


def send(server, recipient=f"u1@{DOMAIN}", sender="s@client.example"):
    with server.connect() as client:
        client.ehlo()
        return client.mail(sender, recipient, b"Subject: x\r\n\r\n")


def attempt_times(server, queue_id):
    """When each attempt was logged, in seconds."""
    lines = [line for line in server.log().splitlines() if f"{queue_id}: to=" in line]
    return [datetime.datetime.strptime("2024 " + line[:15], "%Y %b %d %H:%M:%S").timestamp() for line in lines]


def test_back_off_grows_between_its_bounds(failing, folder):
    server = failing({"queue_run_delay": "1s", "minimal_backoff_time": "1s", "maximal_backoff_time": "4s"})
    queue_id = send(server)
    server.wait_deliveries(queue_id, 4, timeout=60)
    times = attempt_times(server, queue_id)
    gaps = [after - before for before, after in zip(times, times[1:])]
    assert all(0 <= gap <= 8 for gap in gaps), gaps
    assert gaps[2] >= gaps[0], gaps
    (folder / "open").touch()
    server.wait_removed(queue_id, timeout=30)
    assert [entry["status"] for entry in server.deliveries(queue_id)].count("sent") == 1


def test_no_attempt_before_its_time(failing):
    server = failing({"minimal_backoff_time": "1h", "maximal_backoff_time": "1h"})
    queue_id = send(server)
    server.wait_deliveries(queue_id, 1)
    other = send(server, "x@other.example")
    server.wait_removed(other)
    server.restart()
    again = send(server, "y@other.example")
    server.wait_removed(again)
    assert len(server.deliveries(queue_id)) == 1


def test_lifetime(failing):
    """Too old mail goes back to its sender."""
    server = failing({"maximal_queue_lifetime": "2s", "bounce_queue_lifetime": "2s"})
    queue_id = send(server, sender=f"s@{DOMAIN}")
    server.wait_removed(queue_id, timeout=30)
    assert server.lines(rf"qmgr\[\d+\]: {queue_id}: from=<s@{DOMAIN}>, status=expired, returned to sender$")
    assert server.lines(rf"bounce\[\d+\]: {queue_id}: sender non-delivery notification: \w+$")
    assert {entry["status"] for entry in server.deliveries(queue_id)} == {"deferred"}


def test_expired_bounces_leave_no_trace(failing):
    """Mail from the null sender that expires makes no report."""
    server = failing({"maximal_queue_lifetime": "1h", "bounce_queue_lifetime": "2s"})
    queue_id = send(server, sender="")
    server.wait_removed(queue_id, timeout=30)
    assert not server.lines("sender non-delivery notification")


def test_a_stuck_destination_holds_up_nobody_else(make_mta, folder, owner):
    """A hundred messages hang in one command; mail for another destination goes through at once."""
    script = setups.script(folder, "hang", f"cat >/dev/null; while ! test -e {folder}/open; do sleep 0.2; done\n")
    server = make_mta(
        {
            "virtual_mailbox_domains": f"{DOMAIN} other.example",
            "virtual_mailbox_maps": "static:anything",
            "virtual_transport": "hang",
            "transport_maps": "inline:{ {other.example = discard:} }",
        },
        transports={"hang": setups.pipe(owner, str(script))},
    )
    with server.connect() as client:
        client.ehlo()
        stuck = [client.mail("s@client.example", f"u{number}@{DOMAIN}", b"Subject: x\r\n\r\n") for number in range(100)]
        free = client.mail("s@client.example", "x@other.example", b"Subject: x\r\n\r\n")
    server.wait_removed(free, timeout=10)
    assert not [entry for entry in server.deliveries() if entry["qid"] in stuck]
    (folder / "open").touch()
    procs.wait_for(lambda: len(server.lines(r"qmgr\[\d+\]: \w+: removed$")) == 101, 60, "all messages to be delivered")


def test_log_of_a_deferred_message(failing):
    server = failing()
    queue_id = send(server)
    server.wait_log(
        rf"pipe\[\d+\]: {queue_id}: to=<u1@hosted\.example>, relay=command, delay=[\d.]+, delays=[\d.]+/[\d.]+/[\d.]+/[\d.]+, "
        r"dsn=4\.3\.0, status=deferred \(temporary failure\)$"
    )
    later = server.wait_deliveries(queue_id, 2)[1]
    assert float(later["delay"]) >= 0.9
    parts = [float(part) for part in later["delays"].split("/")]
    assert abs(sum(parts) - float(later["delay"])) <= 1.1
    assert re.fullmatch(r"\d+(\.\d+)?", later["delay"])
