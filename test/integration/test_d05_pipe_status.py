"""What a pipe command's end means: exit status, D.S.N text, signals, time limit, output."""

import pytest
from support import setups
from support.setups import DOMAIN

# Exit status: (status, dsn, text). Where Postfix bounces on an unknown status, mta defers: a documented deviation.
EXITS = {
    0: ("sent", "2.0.0", "delivered via command service"),
    1: ("deferred", "4.3.0", None),
    2: ("deferred", "4.3.0", None),
    89: ("deferred", "4.3.0", None),
    127: ("deferred", "4.3.0", None),
    64: ("bounced", "5.3.0", "command line usage error"),
    65: ("bounced", "5.6.0", "data format error"),
    66: ("bounced", "5.3.0", "cannot open input"),
    67: ("bounced", "5.1.1", "user unknown"),
    68: ("bounced", "5.1.2", "host name unknown"),
    69: ("bounced", "5.3.0", "service unavailable"),
    70: ("bounced", "5.3.0", "internal software error"),
    71: ("deferred", "4.3.0", "system resource problem"),
    72: ("bounced", "5.3.0", "critical OS file missing"),
    73: ("bounced", "5.2.0", "can't create user output file"),
    74: ("bounced", "5.3.0", "input/output error"),
    75: ("deferred", "4.3.0", "temporary failure"),
    76: ("bounced", "5.5.0", "remote error in protocol"),
    77: ("bounced", "5.7.0", "permission denied"),
    78: ("bounced", "5.3.5", "local configuration error"),
}

# What the command prints and how it ends, by user: (status, dsn, text)
OUTPUTS = {
    "out-4.2.2": ("deferred", "4.2.2", "some text here"),
    "out-5.7.9": ("bounced", "5.7.9", "some text here"),
    "out-0": ("sent", "2.0.0", "delivered via command service (4.2.1 fine)"),
    "words": ("bounced", "5.1.1", "user unknown. Command output: no such user here"),
    "lines": ("deferred", "4.3.0", "temporary failure. Command output: line one line two"),
}

SCRIPT = r"""
cat >/dev/null
case $1 in
exit*) exit "${1#exit}" ;;
out-0) echo "4.2.1 fine"; exit 0 ;;
out-*) echo "${1#out-} some text here"; exit 67 ;;
words) echo "no such user here"; exit 67 ;;
lines) printf 'line one\nline two'; exit 75 ;;
nasty) printf 'a\001\033[31m\377\r\nNov  1 00:00:00 host postfix/qmgr[1]: FORGED: removed\n'; exit 75 ;;
long) head -c 100000 /dev/zero | tr '\0' x; exit 70 ;;
sig*) kill "-${1#sig}" $$; sleep 20 ;;
esac
"""


@pytest.fixture(scope="module")
def results(make_module_mta, module_folder, owner):
    """One message to all the special users; returns (server, {user: first delivery})."""
    command = setups.script(module_folder, "command", SCRIPT)
    users = [f"exit{status}" for status in EXITS] + [*OUTPUTS, "nasty", "long", "sig9", "sig15", "sig11"]
    server = make_module_mta(
        {
            "virtual_mailbox_domains": DOMAIN,
            "virtual_mailbox_maps": "static:anything",
            "virtual_transport": "command",
            "command_destination_recipient_limit": "1",
            "minimal_backoff_time": "1h",
            "maximal_backoff_time": "1h",
        },
        transports={"command": setups.pipe(owner, f"{command} ${{user}}")},
    )
    with server.connect() as client:
        client.ehlo()
        queue_id = client.mail("", [f"{user}@{DOMAIN}" for user in users], b"Subject: x\r\n\r\n" + b"some content\r\n" * 5000)
    found = server.wait_deliveries(queue_id, len(users))
    return server, {entry["to"].split("@")[0]: entry for entry in found}


def check(entry, expected):
    status, dsn, text = expected
    assert (entry["status"], entry["dsn"], entry["relay"], entry["agent"]) == (status, dsn, "command", "pipe")
    assert text is None or entry["text"].strip() == text


@pytest.mark.parametrize("code", EXITS)
def test_exit_status(results, code):
    check(results[1][f"exit{code}"], EXITS[code])


@pytest.mark.parametrize("code", [1, 2, 89, 127])
def test_unknown_status_is_named(results, code):
    assert f"status {code}" in results[1][f"exit{code}"]["text"]


@pytest.mark.parametrize("user", OUTPUTS)
def test_output(results, user):
    check(results[1][user], OUTPUTS[user])


def test_output_is_escaped(results):
    server, found = results
    text = found["nasty"]["text"]
    assert (found["nasty"]["status"], found["nasty"]["dsn"]) == ("deferred", "4.3.0")
    assert text.isprintable() and "FORGED" in text
    assert not server.lines(r"^Nov  1 00:00:00")


def test_output_is_cut(results):
    _, found = results
    assert (found["long"]["status"], found["long"]["dsn"]) == ("bounced", "5.3.0")
    assert "xxxx" in found["long"]["text"] and len(found["long"]["text"]) < 5000


@pytest.mark.parametrize("number", [9, 11, 15])
def test_killed_by_a_signal(results, number):
    entry = results[1][f"sig{number}"]
    check(entry, ("deferred", "4.3.0", None))
    assert f"signal {number}" in entry["text"]


@pytest.fixture
def broken(make_mta, folder, owner):
    """broken(settings, main) starts a server with one pipe transport and sends it a message; returns the first delivery."""

    def run(settings, main=None, body=b"Subject: x\r\n\r\n", recipients=1, sender=""):
        server = make_mta(
            {"virtual_mailbox_domains": DOMAIN, "virtual_mailbox_maps": "static:anything", "virtual_transport": "command"} | (main or {}),
            transports={"command": {**setups.pipe(owner, "/bin/true"), **settings}},
        )
        with server.connect() as client:
            client.ehlo()
            queue_id = client.mail(sender, [f"u{number}@{DOMAIN}" for number in range(recipients)], body)
        return server.wait_deliveries(queue_id, recipients)[0]

    return run


def test_time_limit(broken, folder):
    """The command and its children are killed; the message waits: a documented deviation, Postfix bounces."""
    pid_file = folder / "pid"
    pid_file.touch()
    pid_file.chmod(0o666)
    script = setups.script(folder, "slow", f"sleep 300 & echo $! >{pid_file}; wait\n")
    entry = broken({"argv": f"{script}"}, {"command_time_limit": "1s"})
    check(entry, ("deferred", "4.3.0", None))
    assert "time limit" in entry["text"].lower()
    from support import procs

    child = int(pid_file.read_text())
    procs.wait_for(lambda: not procs.is_alive(child), 10, "the command's child to be gone")


def test_command_is_missing(broken, folder):
    entry = broken({"argv": f"{folder}/nonexistent ${{recipient}}"})
    check(entry, ("deferred", "4.3.0", None))


def test_command_is_not_executable(broken, folder):
    (folder / "text").write_text("hello")
    check(broken({"argv": f"{folder}/text"}), ("deferred", "4.3.0", None))


def test_directory_is_missing(broken):
    check(broken({"directory": "/nonexistent"}), ("deferred", "4.3.0", None))


def test_command_that_reads_nothing(broken, folder):
    """It may close its input early: its exit status decides."""
    big = b"Subject: big\r\n\r\n" + b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * 20_000
    check(broken({"argv": "/bin/true"}, body=big), ("sent", "2.0.0", "delivered via command service"))


def test_command_that_reads_nothing_and_fails(broken, folder):
    script = setups.script(folder, "fail", "exit 67\n")
    big = b"Subject: big\r\n\r\n" + (b"y" * 70 + b"\r\n") * 20_000
    check(broken({"argv": f"{script}"}, body=big), ("bounced", "5.1.1", "user unknown"))


def test_command_that_writes_a_lot_before_it_reads(broken, folder):
    """Full pipes in both directions must not lock up."""
    script = setups.script(folder, "chatty", "head -c 1000000 /dev/zero | tr '\\0' x; cat >/dev/null; exit 0\n")
    big = b"Subject: big\r\n\r\n" + (b"y" * 70 + b"\r\n") * 20_000
    assert broken({"argv": f"{script}"}, body=big)["status"] == "sent"


def test_size_limit(broken):
    check(broken({"size": "100"}, body=b"Subject: x\r\n\r\n" + b"y" * 200 + b"\r\n"), ("bounced", "5.2.3", None))


def test_loop_by_delivered_to(broken):
    """Flag D and a Delivered-To: of the same address, in any case: the message has been here."""
    entry = broken({"flags": "D"}, {"command_destination_recipient_limit": "1"}, body=f"Delivered-To: U0@{DOMAIN}\r\n\r\n".encode())
    check(entry, ("bounced", "5.4.6", f"mail forwarding loop for u0@{DOMAIN}"))


def test_delivered_to_in_the_body_is_no_loop(broken):
    entry = broken({"flags": "D"}, {"command_destination_recipient_limit": "1"}, body=f"Subject: x\r\n\r\nDelivered-To: u0@{DOMAIN}\r\n".encode())
    assert entry["status"] == "sent"


@pytest.mark.parametrize("flag", ["D", "O"])
def test_flags_for_one_recipient_with_several(broken, flag):
    """D and O need TRANSPORT_destination_recipient_limit = 1; without it the mail waits for a better configuration."""
    entry = broken({"flags": flag}, {"command_destination_recipient_limit": "10"}, recipients=2)
    check(entry, ("deferred", "4.3.5", "mail system configuration error"))
