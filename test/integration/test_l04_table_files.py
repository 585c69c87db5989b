"""Tables in files: a change is noticed without a restart; a missing or broken file is a temporary failure."""

import os

import pytest
from support import procs, setups
from support.setups import DOMAIN


@pytest.fixture
def start(make_mta, folder, owner):
    """start(main) with maildir delivery."""

    def run(main):
        delivery, transports = setups.maildir_delivery(setups.mail_folder(folder, owner), owner)
        return make_mta(delivery | {"virtual_mailbox_domains": DOMAIN} | main, transports=transports)

    return run


def rcpt(server, recipient):
    with server.connect(stranger=True) as client:
        client.ehlo()
        client.cmd("MAIL FROM:<>", 250)
        return client.cmd(f"RCPT TO:<{recipient}@{DOMAIN}>").code


def wait_code(server, recipient, code):
    procs.wait_for(lambda: rcpt(server, recipient) == code, 30, f"{code} for {recipient}", interval=0.2)


@pytest.mark.parametrize("kind", ["texthash", "hash", "lmdb"])
def test_edited_in_place(start, folder, kind):
    path = folder / "mailboxes"
    path.write_text(f"a@{DOMAIN} a/\n")
    server = start({"virtual_mailbox_maps": f"{kind}:{path}"})
    assert (rcpt(server, "a"), rcpt(server, "b")) == (250, 550)
    path.write_text(f"b@{DOMAIN} b/\n")
    wait_code(server, "b", 250)
    assert rcpt(server, "a") == 550


def test_replaced_by_rename(start, folder):
    """As editors and deployment tools write; the same size and a time in the past don't hide it."""
    path = folder / "mailboxes"
    path.write_text(f"a@{DOMAIN} a/\n")
    server = start({"virtual_mailbox_maps": f"texthash:{path}"})
    assert rcpt(server, "a") == 250
    status = path.stat()
    (folder / "new").write_text(f"b@{DOMAIN} b/\n")
    os.utime(folder / "new", ns=(status.st_atime_ns, status.st_mtime_ns))
    (folder / "new").rename(path)
    wait_code(server, "b", 250)
    assert rcpt(server, "a") == 550


def test_edited_within_the_same_second(start, folder):
    path = folder / "mailboxes"
    path.write_text(f"a@{DOMAIN} a/\n")
    server = start({"virtual_mailbox_maps": f"texthash:{path}"})
    for number in range(5):
        path.write_text(f"n{number}@{DOMAIN} a/\n")
        wait_code(server, f"n{number}", 250)


def test_missing_then_there(start, folder):
    """No file is a temporary failure, never an unknown user; once it is there it is used."""
    path = folder / "aliases"
    path.write_text("")
    server = start({"virtual_mailbox_maps": f"inline:{{a@{DOMAIN}=a/}}", "virtual_alias_maps": f"texthash:{path}"})
    assert rcpt(server, "a") == 250
    path.unlink()
    procs.wait_for(lambda: rcpt(server, "al") in (451, 550), 10)
    assert rcpt(server, "a") in (250, 451)
    path.write_text(f"al@{DOMAIN} a@{DOMAIN}\n")
    wait_code(server, "al", 250)
    assert rcpt(server, "a") == 250


@pytest.mark.parametrize("kind", ["mysql", "sqlite"])
def test_query_file_edited(start, folder, mariadb, kind):
    if kind == "mysql":
        source = setups.mysql_source(mariadb)
    else:
        procs.run(["sqlite3", folder / "t.db", "CREATE TABLE t (x)"])
        source = f"dbpath = {folder}/t.db\n"

    def write(name):
        setups.private_file(folder / "q.cf", source + f"query = SELECT 'x/' FROM (SELECT '%s' AS k) AS one WHERE k = '{name}@{DOMAIN}'\n")

    write("a")
    server = start({"virtual_mailbox_maps": f"{kind}:{folder}/q.cf"})
    assert (rcpt(server, "a"), rcpt(server, "b")) == (250, 550)
    write("b")
    wait_code(server, "b", 250)
    assert rcpt(server, "a") == 550


def test_sqlite_rows_and_replacement(start, folder):
    tables = setups.sqlite_tables(folder, mailboxes=[f"a@{DOMAIN}"])
    server = start(tables)
    assert (rcpt(server, "a"), rcpt(server, "b")) == (250, 550)
    database = folder / "tables.db"
    procs.run(["sqlite3", database, f"INSERT INTO mailbox (username, maildir) VALUES ('b@{DOMAIN}', 'b/')"])
    assert rcpt(server, "b") == 250
    procs.run(["cp", database, folder / "copy.db"])
    procs.run(["sqlite3", folder / "copy.db", f"DELETE FROM mailbox; INSERT INTO mailbox (username, maildir) VALUES ('c@{DOMAIN}', 'c/')"])
    (folder / "copy.db").rename(database)
    wait_code(server, "c", 250)
    assert rcpt(server, "a") == 550


def test_sqlite_locked(start, folder):
    """A writer that holds the database: 451 in bounded time, no other session is held up, then as before."""
    import sqlite3

    server = start(setups.sqlite_tables(folder, mailboxes=[f"a@{DOMAIN}"]))
    assert rcpt(server, "a") == 250
    lock = sqlite3.connect(folder / "tables.db", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    with server.connect(stranger=True, timeout=60) as waiting, server.connect(timeout=2) as other:
        waiting.ehlo()
        waiting.cmd("MAIL FROM:<>", 250)
        waiting.send(f"RCPT TO:<a@{DOMAIN}>\r\n")
        other.cmd("NOOP", 250)
        waiting.expect(451, "Temporary lookup failure")
    lock.execute("ROLLBACK")
    lock.close()
    wait_code(server, "a", 250)


def test_lists_with_several_tables(start, folder):
    """Each key is tried in all tables of the list before the next, less specific one."""
    (folder / "first").write_text(f"@{DOMAIN} all/\n")
    (folder / "second").write_text(f"a@{DOMAIN} a/\n")
    server = start({"virtual_mailbox_maps": f"texthash:{folder}/first, texthash:{folder}/second"})
    with server.connect() as client:
        client.ehlo()
        client.mail("s@client.example", f"a@{DOMAIN}", b"Subject: x\r\n\r\n")
    server.wait_log("status=sent")
    assert list((folder / "vmail" / "a" / "new").iterdir())


def test_domain_lists(start, folder):
    """A list takes names, tables, files, and patterns that begin with !."""
    (folder / "domains").write_text("c.example d.example\n# e.example\n")
    (folder / "table").write_text("f.example anything\n")
    server = start(
        {
            "virtual_mailbox_domains": f"!no.example, a.example b.example, {folder}/domains texthash:{folder}/table",
            "virtual_mailbox_maps": "static:all/",
        }
    )
    with server.connect(stranger=True) as client:
        client.ehlo()
        client.cmd("MAIL FROM:<>", 250)
        for domain in "abcdf":
            client.cmd(f"RCPT TO:<x@{domain}.example>", 250)
        for domain in ("no.example", "e.example", "x.a.example"):
            client.cmd(f"RCPT TO:<x@{domain}>", 454)
