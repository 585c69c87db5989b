"""The wall clock is set ahead or back by a day while mail waits: nothing is stuck, nothing is returned too early, no queue
id comes twice."""

import struct

import pytest
from support import maildir, mta, procs, setups
from support.setups import DOMAIN

DAY = 86400


@pytest.fixture(scope="module")
def shim(module_folder):
    path = module_folder / "clock_shim.so"
    procs.run(["gcc", "-shared", "-fPIC", "-O1", "-o", path, mta.pathlib.Path(mta.__file__).with_name("clock_shim.c")])
    return path


class Clock:
    """The servers' wall clock, in seconds from the real one."""

    def __init__(self, path):
        self.path = path
        path.write_bytes(struct.pack("=q", 0))

    def set(self, seconds):
        with open(self.path, "r+b") as out:
            out.write(struct.pack("=q", seconds))


@pytest.fixture
def clock(folder, shim, monkeypatch):
    """Every server that the test starts has this clock."""
    clock = Clock(folder / "clock")
    monkeypatch.setitem(mta._ENVIRONMENT, "LD_PRELOAD", str(shim))
    monkeypatch.setitem(mta._ENVIRONMENT, "CLOCK_SHIM", str(clock.path))
    # The sanitizer wants to be the first library; this one does no harm before it.
    monkeypatch.setitem(mta._ENVIRONMENT, "ASAN_OPTIONS", mta._ENVIRONMENT["ASAN_OPTIONS"] + ":verify_asan_link_order=0")
    return clock


@pytest.fixture
def retrying(make_mta, folder, owner):
    """retrying(main): a server whose command defers until FOLDER/open exists."""
    command = setups.script(folder, "command", f"cat >/dev/null; test -e {folder}/open || exit 75\n")

    def make(main=None):
        return setups.hosted_server(
            make_mta,
            folder,
            owner,
            {"virtual_transport": "command", "virtual_mailbox_maps": f"inline:{{u1@{DOMAIN}=x}}"} | (main or {}),
            transports={"command": setups.pipe(owner, str(command))},
        )

    return make


def send(server, user="u1"):
    with server.connect() as client:
        client.ehlo()
        return client.mail("s@client.example", f"{user}@{DOMAIN}", b"Subject: x\r\n\r\n")


@pytest.mark.parametrize("by", [DAY, -DAY], ids=["ahead", "back"])
def test_mail_that_waits_is_tried_again(clock, retrying, folder, by):
    """By the ordinary back-off, not a day later; and new mail is taken and delivered meanwhile."""
    server = retrying({"maximal_queue_lifetime": "1h"})
    waiting = send(server)
    server.wait_deliveries(waiting, 2)
    clock.set(by)
    seen = len(server.deliveries(waiting))
    server.wait_deliveries(waiting, seen + 3)
    server.wait_log(f"warning: the clock was set {'ahead' if by > 0 else 'back'} by {abs(by)} s|by {abs(by) - 1} s")
    later = send(server)
    server.wait_deliveries(later, 2)
    assert {entry["status"] for entry in server.deliveries()} == {"deferred"}, "an hour has not passed"
    (folder / "open").touch()
    server.wait_removed(waiting)
    server.wait_removed(later)
    for entry in server.deliveries():
        assert float(entry["delay"]) < DAY + 3600


@pytest.mark.parametrize("by", [DAY, -DAY], ids=["ahead", "back"])
def test_after_a_restart(clock, retrying, folder, by):
    """With the lifetime of five days: a day ahead does not end it, a day back does not hold it up."""
    server = retrying()
    waiting = send(server)
    server.wait_deliveries(waiting, 1)
    server.stop()
    clock.set(by)
    server.start()
    server.wait_deliveries(waiting, 3)
    (folder / "open").touch()
    server.wait_removed(waiting)
    assert [entry["status"] for entry in server.deliveries(waiting)][-1] == "sent"


def test_lifetime_goes_on(clock, retrying):
    """After a jump mail still expires, when its time has really passed."""
    server = retrying({"maximal_queue_lifetime": "4s"})
    clock.set(DAY)
    waiting = send(server)
    server.wait_deliveries(waiting, 1)
    clock.set(2 * DAY)
    server.wait_log(rf"{waiting}: from=<s@client\.example>, status=expired", timeout=60)
    assert len(server.deliveries(waiting)) >= 3


@pytest.mark.parametrize("end", ["stop", "kill9"])
def test_queue_ids_are_never_used_again(clock, make_mta, folder, owner, end):
    """Nor those of mail that is gone, when the clock goes through the same time once more."""
    server = setups.hosted_server(make_mta, folder, owner)
    ids = []
    for offset in (0, -DAY, -2 * DAY, 0, -DAY):
        clock.set(offset)
        ids += [send(server) for _ in range(3)]
        for queue_id in ids[-3:]:
            server.wait_removed(queue_id)
        assert ids == sorted(set(ids))
        getattr(server, end)()
        clock.set(offset - 60)
        server.start()
        ids += [send(server) for _ in range(3)]
        assert ids == sorted(set(ids))
    maildir.wait_messages(server.maildir("u1"), len(ids))


def test_timers_and_sessions(clock, hosted_clock):
    """Time-outs of sessions are measured by the other clock."""
    server = hosted_clock
    with server.connect() as client:
        client.ehlo()
        for offset in (DAY, -DAY, 0):
            clock.set(offset)
            client.cmd("NOOP", 250)
        client.mail("s@client.example", f"u1@{DOMAIN}", b"Subject: x\r\n\r\n")
        clock.set(DAY)
        reply = client.expect(421)
        assert "timeout" in reply.text


@pytest.fixture
def hosted_clock(clock, make_mta, folder, owner):
    return setups.hosted_server(make_mta, folder, owner, {"smtpd_timeout": "3s"})
