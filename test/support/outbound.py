"""Servers that send mail on: a recipient's domain says by which transport and to which loopback port.

user@s<port>.example goes by smtp to [127.0.0.1]:<port>, user@q<port>.example the same by a client with short time-outs, l<port> by
LMTP over TCP. Everything else is refused. So one server serves all tests of a file, each with peers of its own.
"""

from support.smtp import Smtp, queue_id, stuff

QUICK = {f"smtp_{name}_timeout": "1s" for name in ("helo", "mail", "rcpt", "data_init", "data_xfer", "data_done", "connect")}
_MAP = """\
/@s(\\d+)\\.example$/ smtp:[127.0.0.1]:$1
/@q(\\d+)\\.example$/ quick:[127.0.0.1]:$1
/@l(\\d+)\\.example$/ lmtp:inet:127.0.0.1:$1
/@k(\\d+)\\.example$/ quicklmtp:inet:127.0.0.1:$1
/@m(\\d+)x(\\d+)\\.example$/ quick:[127.0.0.1]:$1,[127.0.0.1]:$2
"""


def server(make, folder, main=None, transports=None, **kwargs):
    """Deferred mail waits for an hour: a test sees one attempt."""
    path = folder / "transport.pcre"
    path.write_text(_MAP)
    main = {
        "transport_maps": f"pcre:{path}",
        "minimal_backoff_time": "1h",
        "maximal_backoff_time": "1h",
        "default_destination_concurrency_limit": "20",
        **(main or {}),
    }
    quick_lmtp = {name.replace("smtp_", "lmtp_").replace("lmtp_helo", "lmtp_lhlo"): value for name, value in QUICK.items()}
    transports = {"quick": {"type": "smtp", **QUICK}, "quicklmtp": {"type": "lmtp", **quick_lmtp}, **(transports or {})}
    return make(main, transports=transports, **kwargs)


def send(mta, recipients, content=b"Subject: x\r\n\r\nbody\r\n", sender="from@client.example", mail="", rcpt=""):
    """A message from a client that takes over; its queue id. `mail` and `rcpt` are parameters of the commands."""
    recipients = [recipients] if isinstance(recipients, str) else recipients
    with Smtp(mta.address()) as client:
        client.ehlo()
        client.cmd(f"MAIL FROM:<{sender}>{mail}", 250)
        for recipient in recipients:
            client.cmd(f"RCPT TO:<{recipient}>{rcpt}", 250)
        client.cmd("DATA", 354)
        client.send(stuff(content))
        return queue_id(client.expect(250))


def attempt(mta, recipients, *args, **kwargs):
    """Sends, waits for one result for each recipient; {recipient's local part: what was logged}."""
    recipients = [recipients] if isinstance(recipients, str) else recipients
    queue = send(mta, recipients, *args, **kwargs)
    results = mta.wait_deliveries(queue, len(recipients))
    assert len(results) == len(recipients), results
    return {result["to"].split("@")[0]: result for result in results}
