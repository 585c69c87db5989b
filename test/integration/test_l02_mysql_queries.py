"""What reaches MariaDB: escaping, folding, which keys are asked, and how often."""

import pytest
from support import procs, setups
from support.setups import DOMAIN


@pytest.fixture(scope="module")
def server(make_module_mta, module_folder, mariadb, owner):
    mariadb.add_domain(DOMAIN)
    mariadb.add_mailboxes([f"u1@{DOMAIN}"])
    mariadb.sql(f"""INSERT INTO mailbox (username, maildir) VALUES ('o''brien@{DOMAIN}', 'x/'), ('back\\\\slash@{DOMAIN}', 'x/')""")
    delivery, transports = setups.maildir_delivery(setups.mail_folder(module_folder, owner), owner)
    main = setups.mysql_tables(module_folder, mariadb) | delivery | {"recipient_delimiter": "+", "smtpd_client_event_limit_exceptions": "127.0.0.0/8"}
    return make_module_mta(main, transports=transports)


def rcpt(server, recipient):
    with server.connect(stranger=True) as client:
        client.ehlo()
        client.cmd("MAIL FROM:<> SMTPUTF8", 250)
        return client.cmd(f"RCPT TO:<{recipient}>").code


@pytest.mark.parametrize("mode", ["", "NO_BACKSLASH_ESCAPES", "ANSI_QUOTES"])
def test_escaping(server, mariadb, mode):
    """No recipient can become SQL, whatever the server's quoting rules are."""
    mariadb.sql(f"SET GLOBAL sql_mode = '{mode}'", "")
    mariadb.kick()  # the mode holds for new connections
    procs.wait_for(lambda: rcpt(server, f"u1@{DOMAIN}") == 250, what="new connections")
    try:
        assert rcpt(server, f"o'brien@{DOMAIN}") == 250
        for user in ("x'or'1'='1", "x' or 1=1 -- ", "x\\", "x\\' or 1=1 -- ", 'x" or 1=1 -- ', "%", "_1", "u_", "u%"):
            quoted = user.replace("\\", "\\\\").replace('"', '\\"')
            assert rcpt(server, f'"{quoted}"@{DOMAIN}') in (550, 454, 501), user
        assert rcpt(server, f'"back\\\\slash"@{DOMAIN}') == 250
    finally:
        mariadb.sql("SET GLOBAL sql_mode = DEFAULT", "")
        mariadb.kick()
        procs.wait_for(lambda: rcpt(server, f"u1@{DOMAIN}") == 250, what="new connections")


def test_case_is_folded(server, mariadb):
    mariadb.sql("ALTER TABLE mailbox MODIFY username VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL")
    assert rcpt(server, f"U1@{DOMAIN.upper()}") == 250


def test_utf8(server, mariadb):
    mariadb.add_mailboxes([f"m\u00fcller@{DOMAIN}", f"\U0001f600@{DOMAIN}"])
    assert rcpt(server, f"m\u00fcller@{DOMAIN}") == 250
    assert rcpt(server, f"\U0001f600@{DOMAIN}") == 250
    assert rcpt(server, f"M\u00dcLLER@{DOMAIN}") == 250


def test_null_and_empty_values(server, mariadb):
    """An empty column is not found; a number is a value."""
    mariadb.sql(f"INSERT INTO mailbox (username, maildir) VALUES ('empty@{DOMAIN}', ''), ('zero@{DOMAIN}', '0')")
    assert rcpt(server, f"empty@{DOMAIN}") == 550
    assert rcpt(server, f"zero@{DOMAIN}") == 250


def test_identical_queries_share_one_answer(server, mariadb):
    """Eighty sessions ask the same while the server is slow: a handful of queries reach it."""
    assert rcpt(server, f"u1@{DOMAIN}") == 250
    clients = [server.connect(stranger=True) for _ in range(80)]
    for client in clients:
        client.ehlo()
        client.cmd("MAIL FROM:<s@client.example>", 250)
    before = mariadb.query_count()
    mariadb.pause()
    try:
        for client in clients:
            client.send(f"RCPT TO:<u1+shared@{DOMAIN}>\r\n")
    finally:
        mariadb.resume()
    for client in clients:
        client.expect(250)
        client.close()
    assert mariadb.query_count() - before < 80


def test_connections_are_few(server, mariadb):
    """A hundred sessions with different questions use a small pool."""
    clients = [server.connect(stranger=True) for _ in range(100)]
    for number, client in enumerate(clients):
        client.send(f"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<u1+{number}@{DOMAIN}>\r\n")
    seen = []
    for client in clients:
        assert [client.reply().code for _ in range(3)] == [250, 250, 250]
        client.close()
        if len(seen) < 3:
            seen.append(mariadb.connections())
    assert max(seen) <= 20


def test_idle_connections_are_closed(make_mta, folder, mariadb, owner, server):
    """idle_interval: after it nothing is kept open."""
    delivery, transports = setups.maildir_delivery(setups.mail_folder(folder, owner), owner)
    server.stop()
    other = make_mta(setups.mysql_tables(folder, mariadb, idle_interval="1") | delivery, transports=transports)
    assert rcpt(other, f"u1@{DOMAIN}") == 250
    procs.wait_for(lambda: mariadb.connections() == 0, 30, "idle connections to be closed")
    assert rcpt(other, f"u1@{DOMAIN}") == 250
    server.start()
