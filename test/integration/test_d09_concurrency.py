"""How many deliveries run at once: limits per destination and per transport."""

import pytest
from support import procs, setups
from support.setups import DOMAIN

# Counts itself while it runs: the number of runs at this moment is appended to FOLDER/seen.
SCRIPT = """\
cat >/dev/null
me=$RUN/$$
: >"$me"
sleep 0.1
ls "$RUN" | wc -l >>"$SEEN"
sleep 0.1
rm -f "$me"
exit ${1:-0}
"""


@pytest.fixture
def measure(make_mta, folder, owner):
    """measure(main, messages) delivers and returns how many commands were seen running at once, in order."""
    run, seen = folder / "run", folder / "seen"
    run.mkdir()
    run.chmod(0o777)
    seen.touch()
    seen.chmod(0o666)
    script = setups.script(folder, "command", SCRIPT.replace("$RUN", str(run)).replace("$SEEN", str(seen)))

    def go(main, messages, recipients=1):
        server = make_mta(
            {"virtual_mailbox_domains": DOMAIN, "virtual_mailbox_maps": "static:anything", "virtual_transport": "command"} | main,
            transports={"command": setups.pipe(owner, str(script))},
        )
        with server.connect() as client:
            client.ehlo()
            for number in range(messages):
                client.mail("s@client.example", [f"u{number}.{n}@{DOMAIN}" for n in range(recipients)], b"Subject: x\r\n\r\n")
        procs.wait_for(lambda: len(server.lines(r"qmgr\[\d+\]: \w+: removed$")) == messages, 90, "all messages to be delivered")
        return [int(line) for line in seen.read_text().split()]

    return go


def test_limit_per_destination(measure):
    counts = measure({"command_destination_concurrency_limit": "3"}, 24)
    assert len(counts) == 24 and max(counts) == 3


def test_one_at_a_time(measure):
    counts = measure({"command_destination_concurrency_limit": "1", "command_initial_destination_concurrency": "1"}, 8)
    assert set(counts) == {1}


def test_grows_from_the_initial_value(measure):
    counts = measure({"command_initial_destination_concurrency": "1", "command_destination_concurrency_limit": "20"}, 40)
    assert counts[0] <= 2 and max(counts) >= 4


def test_process_limit(measure):
    """default_process_limit bounds the commands of a transport, whatever the destinations allow."""
    main = {"default_process_limit": "2", "command_destination_recipient_limit": "1", "command_destination_concurrency_limit": "20"}
    counts = measure(main, 12)
    assert max(counts) == 2


@pytest.mark.parametrize("limit, runs", [("1", 10), ("3", 4), ("50", 1)])
def test_recipients_of_one_delivery(measure, limit, runs):
    """TRANSPORT_destination_recipient_limit cuts a message's recipients into deliveries."""
    assert len(measure({"command_destination_recipient_limit": limit}, 1, recipients=10)) == runs
