"""Delivery commands that misbehave in every way: bounded in time and output, killed with all they started, and the mail
is there for another try. Nobody else waits, and nothing is left of them."""

import os
import re
import signal
import time

import pytest
from support import procs, setups
from support.mta import sanitized
from support.setups import DOMAIN
from support.smtp import send_mail

LIMIT = 2  # seconds; SIGKILL comes 5 later
TIME_IS_UP = ("deferred", "4.3.0", "Command time limit exceeded")
SENT = ("sent", "2.0.0", "delivered via command service")

# What the command does, and what becomes of the message. $PIDS is a folder where it leaves the ids of its processes.
COMMANDS = {
    "hangs": ("sleep 300", TIME_IS_UP),
    "hangs-after-reading": ("cat >/dev/null; exec sleep 300", TIME_IS_UP),
    "reads-slowly": ("while dd bs=100 count=1 of=/dev/null; do sleep 0.1; done", TIME_IS_UP),
    "ignores-term": ("trap '' TERM; while :; do sleep 1; done", TIME_IS_UP),
    "child-ignores-term": ("(trap '' TERM; note child; while :; do sleep 1; done) <&- >&- 2>&- & cat >/dev/null; wait", TIME_IS_UP),
    "stops-itself": ("kill -STOP $$; exit 0", TIME_IS_UP),
    "stops-after-output": ("echo 5.1.1 not the end; kill -STOP $$; exit 67", TIME_IS_UP),
    "many-children": ("for n in 1 2 3 4 5 6 7 8 9 10; do (note $n; exec sleep 300) & done; wait", TIME_IS_UP),
    "says-failed-then-hangs": ("echo 5.1.1 no such user; cat >/dev/null; sleep 300", TIME_IS_UP),
    "endless-stdout": ("exec yes 'a line of output'", TIME_IS_UP),
    "endless-stderr": ("exec yes 'a line of output' >&2", TIME_IS_UP),
    "endless-zeros": ("exec cat /dev/zero", TIME_IS_UP),
    "closes-output-then-hangs": ("exec >&- 2>&-; cat >/dev/null; exec sleep 300", TIME_IS_UP),
    "much-output": ("head -c 50000000 /dev/zero; cat >/dev/null; exit 0", ("sent", "2.0.0", None)),
    "much-output-and-fails": ("head -c 50000000 /dev/zero; exit 75", ("deferred", "4.3.0", "temporary failure")),
    "binary-output": ("head -c 3000 /dev/urandom; exit 70", ("bounced", "5.3.0", "internal software error")),
    "binary-output-and-fine": ("cat >/dev/null; head -c 3000 /dev/urandom; exit 0", ("sent", "2.0.0", None)),
    "dsn-in-binary": (r"printf '4.2.2 \000\377\033[2J\r\n\n'; exit 67", ("deferred", "4.2.2", None)),
    # Success is the command's to tell, whether or not it has read the message.
    "exits-at-once": ("exit 0", SENT),
    "closes-stdin": ("exec <&-; sleep 0.3; exit 0", SENT),
    "closes-stdin-and-fails": ("exec <&-; sleep 0.3; exit 75", ("deferred", "4.3.0", "temporary failure")),
    "closes-everything": ("exec <&- >&- 2>&-; sleep 0.3; exit 0", SENT),
    "reads-a-little": ("dd bs=10 count=1 of=/dev/null 2>&-; exit 0", SENT),
    # A daemon of its own keeps our output open: it is over when the command is.
    "daemon": ("cat >/dev/null; (setsid sleep 300 & note daemon $!)", SENT),
    "daemon-and-fails": ("(setsid sleep 300 & note daemon $!); exit 75", ("deferred", "4.3.0", "temporary failure")),
    "background": ("cat >/dev/null; sleep 300 & note child $!", SENT),
    "daemon-hangs": ("setsid sleep 300 & note daemon $!; cat >/dev/null; wait", TIME_IS_UP),
    "daemon-holds-stdin": ("(setsid sleep 300 & note daemon $!) 2>&- >&-; exit 0", SENT),
    "kills-its-group": ("kill -KILL 0; sleep 300", ("deferred", "4.3.0", "Command died with signal 9")),
    "aborts": ("ulimit -c 0; kill -ABRT $$", ("deferred", "4.3.0", "Command died with signal 6")),
}
SCRIPT = """\
note() { echo "${2:-$(exec sh -c 'echo $PPID')}" >"$PIDS/$user.$1"; }
user=$1
case $1 in
"""
BODY = b"Subject: x\r\n\r\n" + (b"y" * 70 + b"\r\n") * 10_000  # more than a pipe holds


def make_command(folder):
    pids = folder / "pids"
    pids.mkdir()
    pids.chmod(0o777)
    cases = "".join(f"{name}) {text} ;;\n" for name, (text, _) in COMMANDS.items())
    return setups.script(folder, "command", SCRIPT.replace("$PIDS", str(pids)) + cases + "esac\n"), pids


def noted(pids, user):
    return [int(path.read_text()) for path in pids.glob(f"{user}.*") if path.read_text().strip()]


def config(command, owner):
    main = {
        "virtual_mailbox_domains": f"{DOMAIN} fine.example",
        "virtual_mailbox_maps": "static:anything",
        "virtual_transport": "command",
        "transport_maps": "inline:{ fine.example=fine: }",
        "command_destination_recipient_limit": "1",
        "command_destination_concurrency_limit": "100",
        "default_destination_concurrency_failed_cohort_limit": "0",
        "command_time_limit": f"{LIMIT}s",
        "minimal_backoff_time": "1h",
        "maximal_backoff_time": "1h",
    }
    return main, {"command": setups.pipe(owner, f"{command} ${{user}}"), "fine": setups.pipe(owner, "/bin/cat")}


@pytest.fixture(scope="module")
def results(make_module_mta, module_folder, owner):
    """One message to all of them; returns (server, folder of ids, {user: delivery}, descriptors before, seconds that others waited)."""
    command, pids = make_command(module_folder)
    main, transports = config(command, owner)
    server = make_module_mta(main, transports=transports)
    server.wait_removed(send_mail(server.address(), "", "u@fine.example", BODY))
    before = procs.descriptors(server.child.pid)
    with server.connect() as client:
        client.ehlo()
        queue_id = client.mail("", [f"{user}@{DOMAIN}" for user in COMMANDS], BODY)
    waits = []
    for _ in range(5):
        started = time.monotonic()
        server.wait_removed(send_mail(server.address(), "", "u@fine.example", b"Subject: y\r\n\r\n"))
        waits.append(time.monotonic() - started)
    found = server.wait_deliveries(queue_id, len(COMMANDS), 60)
    yield server, pids, {entry["to"].split("@")[0]: entry for entry in found}, before, waits
    for user in COMMANDS:
        for pid in noted(pids, user):
            if procs.is_alive(pid):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("user", COMMANDS)
def test_outcome(results, user):
    entry = results[2][user]
    status, dsn, text = COMMANDS[user][1]
    assert (entry["status"], entry["dsn"], entry["relay"]) == (status, dsn, "command"), entry
    assert text is None or entry["text"].startswith(text), entry
    assert not re.search(r"[\0-\x1f\x7f-\x9f]", entry["text"]) and len(entry["text"]) < 2000
    if COMMANDS[user][1] == TIME_IS_UP:
        assert LIMIT <= float(entry["delay"]) < LIMIT + 20
    else:
        assert float(entry["delay"]) < 15


@pytest.mark.parametrize("user", ["child-ignores-term", "many-children", "background"])
def test_what_it_started_is_gone(results, user):
    pids = noted(results[1], user)
    assert len(pids) == (10 if user == "many-children" else 1)
    procs.wait_for(lambda: not any(procs.is_alive(pid) for pid in pids), 15, "the children to be gone")


def test_who_left_the_group_lives_on(results):
    """A daemon is on its own, as after a delivery by hand: it neither delays the result nor is it killed."""
    for user in ("daemon", "daemon-and-fails", "daemon-holds-stdin"):
        [pid] = noted(results[1], user)
        assert procs.is_alive(pid)


def test_nobody_else_waits(results):
    assert max(results[4]) < 5


def test_nothing_is_left(results):
    """No process, no zombie, no descriptor."""
    server, before = results[0], results[3]
    pid = server.child.pid
    procs.wait_for(lambda: not procs.children(pid), 15, "all children to be reaped")
    procs.wait_for(lambda: len(procs.descriptors(pid)) <= len(before), 15, f"as many descriptors as before, {before}")


def test_memory_does_not_grow_with_output(make_mta, folder, owner):
    """Gigabytes of output for seconds: what is kept is a few KiB."""
    transports = {"command": setups.pipe(owner, "/bin/cat /dev/zero"), "errors": setups.pipe(owner, "/bin/sh -c {exec cat /dev/zero >&2}")}
    server = make_mta(
        {
            "virtual_mailbox_domains": f"{DOMAIN} errors.example",
            "virtual_mailbox_maps": "static:anything",
            "virtual_transport": "command",
            "transport_maps": "inline:{ errors.example=errors: }",
            "command_time_limit": "3s",
            "errors_time_limit": "3s",
            "minimal_backoff_time": "1h",
            "maximal_backoff_time": "1h",
        },
        transports=transports,
    )
    pid = server.child.pid
    send_mail(server.address(), "", f"warm@{DOMAIN}", b"Subject: x\r\n\r\n")
    memory = procs.pss(pid)
    procs.forget_peak(pid)
    peak = procs.peak(pid)
    queue_id = send_mail(server.address(), "", "u@errors.example", b"Subject: x\r\n\r\n")
    with server.connect() as client:
        for _ in range(20):
            asked = time.monotonic()
            client.cmd("NOOP", 250)
            assert time.monotonic() - asked < 1
            time.sleep(0.1)
    server.wait_deliveries(queue_id, 1)
    room = 32_000_000 if sanitized() else 2_000_000
    assert procs.pss(pid) - memory < room and procs.peak(pid) - peak < room
