"""The main job's load: 1,000 messages by smtp-source and swaks to 50 mailboxes, each to be found byte for byte."""

import collections

from support import maildir, procs
from support.setups import DOMAIN

USERS = [f"user{number:02d}" for number in range(50)]
SESSIONS = 10
PER_USER = 19  # by smtp-source, in parallel sessions; one more comes by swaks


def content(user, tool):
    """What is sent to a user: different for each, with everything that a mail system may get wrong."""
    head = f"From: <{tool}@client.example>\nDate: Mon, 1 Jan 2024 00:00:00 +0000\nMessage-Id: <{tool}.{user}@client.example>\nSubject: by {tool}\n"
    body = f".leading dot\nFrom the start\n\n..\n.\n \t\ncaf\u00e9 for {user}\n" + "".join(f"line {n} for {user}\n" for n in range(100))
    return f"{head}\n{body}"


def arrived(user, tool):
    """The same as it must arrive: both tools send an empty line after it."""
    return content(user, tool).encode() + b"\n"


def send(server, folder):
    """Sends all of it; returns when the server has accepted everything."""
    host, port = server.address()
    for user in USERS:
        message = folder / f"message.{user}"
        message.write_text(content(user, "source"))
        procs.run(
            ["/usr/sbin/smtp-source", "-s", SESSIONS, "-m", PER_USER, "-F", message, "-f", "source@client.example"]
            + ["-t", f"{user}@{DOMAIN}", "-M", "source.example", f"{host}:{port}"]
        )
        procs.run(
            ["swaks", "--server", f"{host}:{port}", "--from", "swaks@client.example", "--to", f"{user}@{DOMAIN}"]
            + ["--ehlo", "swaks.example", "--local-interface", "127.0.0.2", "--suppress-data", "--data", "-"],
            input=content(user, "swaks").encode(),
        )


def wait(maildir_of):
    """Waits until everything is delivered; `maildir_of(user)` tells where. Returns {user: [raw message, …]}."""
    return {user: maildir.wait_messages(maildir_of(user), PER_USER + 1, 300) for user in USERS}


def check(server, delivered, headers):
    """Every message is there once, as it was sent, under the delivery's own `headers`, and the log tells its way."""
    ids = collections.Counter()
    for user, raws in delivered.items():
        tools = collections.Counter()
        for raw in raws:
            tool = "swaks" if b"\nSubject: by swaks\n" in raw else "source"
            message = maildir.check_delivery(raw, arrived(user, tool), f"{tool}@client.example", f"{user}@{DOMAIN}", headers)
            assert message.received["helo"].decode() == f"{tool}.example"
            tools[tool] += 1
            ids[message.received["qid"].decode()] += 1
        assert tools == {"source": PER_USER, "swaks": 1}
    assert len(ids) == 1000 and set(ids.values()) == {1}
    assert set(ids) <= {match[1] for match in server.lines(r"smtpd\[\d+\]: (\w+): client=")}
    server.wait_log(r"qmgr\[\d+\]: \w+: removed$", count=1000)
    sent = collections.Counter(entry["qid"] for entry in server.deliveries() if entry["status"] == "sent")
    assert all(sent[queue_id] == 1 for queue_id in ids)
