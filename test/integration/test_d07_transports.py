"""Which transport a recipient gets: classes, transport_maps, and the transports discard, error and retry."""

import pytest
from support import maildir, procs, setups
from support.setups import DOMAIN

TRANSPORT_MAPS = {
    "discarded.example": "discard:",
    "failing.example": "error:5.7.1 not here",
    "plainly-failing.example": "error:closed for good",
    "later.example": "retry:4.7.1 come back later",
    f"special@{DOMAIN}": "discard:",
    f"ext+only@{DOMAIN}": "discard:",
    "missing.example": "nosuch:",
}


@pytest.fixture(scope="module")
def server(make_module_mta, module_folder, owner):
    maps = module_folder / "transport"
    maps.write_text("".join(f"{key} {value}\n" for key, value in TRANSPORT_MAPS.items()))
    base = setups.mail_folder(module_folder, owner)
    delivery, transports = setups.maildir_delivery(base, owner)
    domains = [DOMAIN, "discarded.example", "failing.example", "plainly-failing.example", "later.example", "missing.example"]
    server = make_module_mta(
        setups.text_tables(
            module_folder,
            [f"@{domain}" for domain in domains],
            [(f"to-{domain.split('.')[0]}@{DOMAIN}", f"x@{domain}") for domain in domains],
            domains,
        )
        | delivery
        | {
            "transport_maps": f"texthash:{maps}",
            "relay_domains": "relay.example",
            "relay_transport": "discard:",
            "default_transport": "discard:",
            "recipient_delimiter": "+",
            "minimal_backoff_time": "1h",
            "maximal_backoff_time": "1h",
        },
        transports=transports,
    )
    server.base = base
    return server


def first_delivery(server, recipient, sender=""):
    with server.connect() as client:
        client.ehlo()
        queue_id = client.mail(sender, recipient, b"Subject: x\r\n\r\n")
    return server.wait_deliveries(queue_id, 1)[0]


@pytest.mark.parametrize(
    "recipient, agent, relay, status, dsn, text",
    [
        ("x@discarded.example", "discard", "none", "sent", "2.0.0", None),
        (f"special@{DOMAIN}", "discard", "none", "sent", "2.0.0", None),
        (f"special+ext@{DOMAIN}", "discard", "none", "sent", "2.0.0", None),
        (f"ext+only@{DOMAIN}", "discard", "none", "sent", "2.0.0", None),
        (f"ext@{DOMAIN}", "virtual", "mailbox", "sent", "2.0.0", None),
        ("x@relay.example", "discard", "none", "sent", "2.0.0", None),
        ("x@anywhere.example", "discard", "none", "sent", "2.0.0", None),
        (f"to-failing@{DOMAIN}", "error", "none", "bounced", "5.7.1", "not here"),
        (f"to-plainly-failing@{DOMAIN}", "error", "none", "bounced", "5.0.0", "closed for good"),
        (f"to-later@{DOMAIN}", "retry", "none", "deferred", "4.7.1", "come back later"),
    ],
)
def test_transport(server, recipient, agent, relay, status, dsn, text):
    entry = first_delivery(server, recipient)
    assert (entry["agent"].replace("retry", "error"), entry["relay"], entry["status"], entry["dsn"]) == (
        agent.replace("retry", "error"), relay, status, dsn,
    )  # fmt: skip
    assert text is None or entry["text"] == text


def test_missing_transport_waits(server):
    """A name that no section defines: mail is kept, the log says what is missing."""
    entry = first_delivery(server, "x@missing.example")
    assert (entry["status"], entry["dsn"]) == ("deferred", "4.3.0")
    assert "mail transport unavailable" in entry["text"]


def test_a_message_with_many_fates(server):
    """One message, five recipients, five transports: each has its own result, none holds up another."""
    recipients = ["x@discarded.example", f"to-failing@{DOMAIN}", f"to-later@{DOMAIN}", f"fate@{DOMAIN}", "x@anywhere.example"]
    with server.connect() as client:
        client.ehlo()
        queue_id = client.mail("", recipients, b"Subject: fates\r\n\r\n")
    found = server.wait_deliveries(queue_id, 5)
    assert sorted(entry["status"] for entry in found) == ["bounced", "deferred", "sent", "sent", "sent"]


def test_configuration_reaches_queued_mail(make_mta, folder, owner):
    """The queue keeps a transport's name; what it means is looked up at each attempt, after a restart too."""
    base = setups.mail_folder(folder, owner)
    delivery, transports = setups.maildir_delivery(base, owner)
    server = make_mta(
        setups.text_tables(folder, [f"u1@{DOMAIN}"]) | delivery, transports={"mailbox": setups.pipe(owner, "/bin/sh -c { exit 75 }")}
    )
    with server.connect() as client:
        client.ehlo()
        queue_id = client.mail("s@client.example", f"u1@{DOMAIN}", b"Subject: x\r\n\r\n")
    assert server.wait_deliveries(queue_id, 1)[0]["status"] == "deferred"
    server.transports = transports
    server.restart()
    server.wait_removed(queue_id)
    maildir.wait_messages(base / DOMAIN / "u1", 1)


def test_transport_map_changes_without_restart(make_mta, folder, owner):
    server = setups.hosted_server(make_mta, folder, owner, {"transport_maps": f"texthash:{folder}/transport"}, start=False)
    (folder / "transport").write_text("nothing.example discard:\n")
    server.start()
    (folder / "transport").write_text(f"u1@{DOMAIN} discard:\n")

    def discarded():
        return first_delivery(server, f"u1@{DOMAIN}")["agent"] == "discard"

    procs.wait_for(discarded, 30, "the changed table to be noticed", interval=0.3)
