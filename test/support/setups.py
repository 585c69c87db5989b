"""Ready-made pieces of configuration: where the hosted domains are listed, and who delivers to them.

Each function returns a dict of main parameters, or of transports, to be merged with `|`.
"""

import collections
import itertools
import os
import shutil

from support import mariadb, procs

DOMAIN = "hosted.example"
_numbers = itertools.count(1)

Owner = collections.namedtuple("Owner", "user group uid gid")

QUERIES = {
    "virtual_mailbox_domains": "SELECT domain FROM domain WHERE domain='%s' AND active = '1'",
    "virtual_mailbox_maps": "SELECT maildir FROM mailbox WHERE username='%s' AND active = '1'",
    "virtual_alias_maps": "SELECT goto FROM alias WHERE address='%s' AND active = '1'",
}


def private_file(path, text):
    """Writes a file that holds a password: not readable by others."""
    path.write_text(text)
    path.chmod(0o640)
    return path


def mysql_source(server, **settings):
    """The first lines of the tutorial's files. `settings` replaces or adds some."""
    lines = {"user": mariadb.USER, "password": mariadb.PASSWORD, "hosts": f"127.0.0.1:{server.port}", "dbname": mariadb.DATABASE}
    return "".join(f"{name} = {value}\n" for name, value in {**lines, **settings}.items())


def mysql_tables(folder, server, **settings):
    """The tutorial's three tables."""
    main = {}
    for parameter, query in QUERIES.items():
        path = private_file(folder / f"{parameter}.cf", f"{mysql_source(server, **settings)}query = {query}\n")
        main[parameter] = f"mysql:{path}"
    return main


def sqlite_tables(folder, domains=(DOMAIN,), mailboxes=(), aliases=()):
    """The same three tables in an SQLite file. `aliases` are (address, goto) pairs."""
    database = folder / "tables.db"
    sql = (
        "CREATE TABLE domain (domain TEXT PRIMARY KEY, active INTEGER DEFAULT 1);"
        "CREATE TABLE mailbox (username TEXT PRIMARY KEY, maildir TEXT, active INTEGER DEFAULT 1);"
        "CREATE TABLE alias (address TEXT PRIMARY KEY, goto TEXT, active INTEGER DEFAULT 1);"
    )
    sql += "".join(f"INSERT INTO domain (domain) VALUES ('{domain}');" for domain in domains)
    sql += "".join(f"INSERT INTO mailbox (username, maildir) VALUES ('{address}', '{maildir_of(address)}');" for address in mailboxes)
    sql += "".join(f"INSERT INTO alias (address, goto) VALUES ('{address}', '{goto}');" for address, goto in aliases)
    procs.run(["sqlite3", database], input=sql.encode())
    main = {}
    for parameter, query in QUERIES.items():
        path = folder / f"{parameter}.cf"
        path.write_text(f"dbpath = {database}\nquery = {query}\n")
        main[parameter] = f"sqlite:{path}"
    return main


def text_tables(folder, mailboxes, aliases=(), domains=(DOMAIN,)):
    """The same in text files; a mailbox may be "@domain" for all of a domain."""
    mailbox, alias = folder / "mailboxes", folder / "aliases"
    mailbox.write_text("".join(f"{address} {maildir_of(address)}\n" for address in mailboxes))
    alias.write_text("".join(f"{address} {goto}\n" for address, goto in aliases))
    return {
        "virtual_mailbox_domains": " ".join(domains),
        "virtual_mailbox_maps": f"texthash:{mailbox}",
        "virtual_alias_maps": f"texthash:{alias}",
    }


def maildir_of(address):
    """The maildir column of an address as PostfixAdmin fills it."""
    user, domain = address.rsplit("@", 1)
    return f"{domain}/{user or 'everybody'}/"


def mail_folder(folder, owner):
    """A folder for mailboxes that belongs to the mail's owner."""
    base = folder / "vmail"
    base.mkdir(mode=0o755)
    if os.geteuid() == 0:
        shutil.chown(base, owner.user, owner.group)
    return base


def maildir_delivery(base, owner):
    """(main, transports) for delivery by mta itself into Maildirs under `base`."""
    main = {
        "virtual_transport": "mailbox",
        "virtual_mailbox_base": base,
        "virtual_uid_maps": f"static:{owner.uid}",
        "virtual_gid_maps": f"static:{owner.gid}",
    }
    return main, {"mailbox": {"type": "maildir"}}


def dovecot_delivery(dovecot, owner):
    """(main, transports) for the tutorial's delivery by Dovecot."""
    main = {"virtual_transport": "dovecot", "dovecot_destination_recipient_limit": "1"}
    return main, {"dovecot": {"type": "pipe", "flags": "DRhu", "user": f"{owner.user}:{owner.group}", "argv": dovecot.argv()}}


def script(folder, name, text):
    """An executable shell script that the mail's owner may run."""
    path = folder / name
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


def pipe(owner, argv, **settings):
    """A pipe transport's settings."""
    return {"type": "pipe", "user": f"{owner.user}:{owner.group}", "argv": argv, **settings}


def hosted_server(make, folder, owner, main=None, **kwargs):
    """A server with mailboxes u1 … u20 in DOMAIN, text tables and Maildirs of its own. `main` adds parameters."""
    folder = folder / f"hosting{next(_numbers)}"
    folder.mkdir(mode=0o755)
    base = mail_folder(folder, owner)
    tables = text_tables(folder, [f"u{number}@{DOMAIN}" for number in range(1, 21)])
    delivery, transports = maildir_delivery(base, owner)
    server = make(tables | delivery | (main or {}), transports=transports | kwargs.pop("transports", {}), **kwargs)
    server.maildir = lambda user: base / maildir_of(f"{user}@{DOMAIN}")
    return server
