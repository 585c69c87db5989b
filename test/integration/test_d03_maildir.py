"""The maildir transport: where files go, whose they are, and what happens when they cannot be written."""

import os
import stat

import pytest
from support import maildir, setups
from support.setups import DOMAIN

HEAD = b"Date: x\r\nFrom: x@x.example\r\nMessage-Id: x\r\n"


@pytest.fixture
def base(folder, owner):
    return setups.mail_folder(folder, owner)


@pytest.fixture
def start(make_mta, folder, base, owner):
    """start(mailboxes, main) with mailboxes as {address: map value}."""

    def run(mailboxes, main=None):
        path = folder / "mailboxes"
        path.write_text("".join(f"{address} {value}\n" for address, value in mailboxes.items()))
        delivery, transports = setups.maildir_delivery(base, owner)
        tables = {"virtual_mailbox_domains": DOMAIN, "virtual_mailbox_maps": f"texthash:{path}"}
        return make_mta(tables | delivery | (main or {}), transports=transports)

    return run


def send(server, user, body=HEAD + b"\r\nbody\r\n"):
    with server.connect() as client:
        client.ehlo()
        return client.mail("s@client.example", f"{user}@{DOMAIN}", body)


def test_file_and_folders(start, base, owner):
    server = start({f"a@{DOMAIN}": "deep/er/box/"})
    server.wait_removed(send(server, "a"))
    box = base / "deep/er/box"
    [path] = maildir.files(box)
    assert path.parent.name == "new" and list((box / "tmp").iterdir()) == []
    assert (box / "cur").is_dir()
    for entry in (box, box / "new", path):
        status = entry.stat()
        assert (status.st_uid, status.st_gid) == (owner.uid, owner.gid)
        assert stat.S_IMODE(status.st_mode) == (0o600 if entry == path else 0o700)
    maildir.check_delivery(
        path.read_bytes(), HEAD + b"\r\nbody\r\n", "s@client.example", f"a@{DOMAIN}", ("Return-Path", "X-Original-To", "Delivered-To")
    )


def test_names_never_meet(start, base):
    """Many at once, from several sessions, and again after a restart: every message has a file of its own."""
    server = start({f"a@{DOMAIN}": "box/"})
    for _ in range(2):
        clients = [server.connect() for _ in range(20)]
        for client in clients:
            client.ehlo()
        for _ in range(3):
            for client in clients:
                client.mail("s@client.example", f"a@{DOMAIN}", HEAD + b"\r\n")
        for client in clients:
            client.close()
        server.restart()
    maildir.wait_messages(base / "box", 120)


def test_owner_by_table(start, base, folder, owner):
    """virtual_uid_maps and virtual_gid_maps are asked for the recipient."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    (folder / "uids").write_text(f"a@{DOMAIN} 5001\nb@{DOMAIN} {owner.uid}\n")
    base.chmod(0o777)
    server = start({f"a@{DOMAIN}": "a/", f"b@{DOMAIN}": "b/"}, {"virtual_uid_maps": f"texthash:{folder / 'uids'}"})
    for user in ("a", "b"):
        server.wait_removed(send(server, user))
    assert maildir.files(base / "a")[0].stat().st_uid == 5001
    assert maildir.files(base / "b")[0].stat().st_uid == owner.uid


@pytest.mark.parametrize("uid", ["0", "99", "nonsense"])
def test_privileged_or_bad_owner_is_refused(start, base, uid):
    """virtual_minimum_uid is 100: mail waits for a better table, nothing is written as root."""
    server = start({f"a@{DOMAIN}": "box/"}, {"virtual_uid_maps": f"static:{uid}"})
    queue_id = send(server, "a")
    [first, *_] = server.wait_deliveries(queue_id, 1)
    assert first["status"] == "deferred" and first["dsn"].startswith("4.3.")
    assert maildir.files(base / "box") == []


@pytest.mark.parametrize("value", ["../outside/", "a/../../outside/"])
def test_no_way_out_of_the_base(start, base, value):
    """A table is input from outside: it cannot name a place above virtual_mailbox_base."""
    server = start({f"a@{DOMAIN}": value})
    queue_id = send(server, "a")
    [first, *_] = server.wait_deliveries(queue_id, 1)
    assert first["status"] in ("deferred", "bounced")
    assert not (base.parent / "outside").exists()


def test_unwritable_then_repaired(start, base):
    """What cannot be written is deferred and delivered once it can."""
    (base / "box").write_text("in the way")
    server = start({f"a@{DOMAIN}": "box/"})
    queue_id = send(server, "a")
    [first, *_] = server.wait_deliveries(queue_id, 1)
    assert (first["status"], first["agent"]) == ("deferred", "virtual")
    assert first["dsn"].startswith("4.")
    (base / "box").unlink()
    server.wait_removed(queue_id)
    assert len(maildir.files(base / "box")) == 1


def test_mailbox_limit(start, base):
    """virtual_mailbox_limit is the size of one file at most."""
    server = start({f"a@{DOMAIN}": "box/"}, {"virtual_mailbox_limit": "20000", "message_size_limit": "20000"})
    server.wait_removed(send(server, "a"))
    assert len(maildir.files(base / "box")) == 1


def test_mailbox_vanished_from_the_table(start, base, folder):
    """A recipient that was accepted and is unknown at delivery is bounced, as Postfix does."""
    server = start({f"a@{DOMAIN}": "box/", f"b@{DOMAIN}": "b/"}, {"smtpd_reject_unlisted_recipient": "no"})
    queue_id = send(server, "nobody")
    [first] = server.wait_deliveries(queue_id, 1)
    assert (first["status"], first["dsn"]) == ("bounced", "5.1.1")
    assert first["text"].startswith("unknown user")


def test_catch_all_mailbox(start, base):
    server = start({f"@{DOMAIN}": "everybody/"})
    for user in ("x", "y+z"):
        server.wait_removed(send(server, user))
    assert len(maildir.files(base / "everybody")) == 2
