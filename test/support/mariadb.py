"""A private MariaDB with the tutorial's schema: its own data directory, a loopback port and a socket.

The data directory is made once per test session (`template`) and copied for each server, so that a test can have a
server of its own to stop, kill or freeze.
"""

import os
import shutil
import signal
import subprocess

from support import procs

USER = "postfix"
PASSWORD = "postfix-db-password"
DATABASE = "postfix"

# PostfixAdmin's tables, in the columns that the tutorial's queries and people's variations of them use.
SCHEMA = f"""
CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4;
CREATE USER '{USER}'@'%' IDENTIFIED BY '{PASSWORD}';
CREATE USER '{USER}'@'localhost' IDENTIFIED BY '{PASSWORD}';
GRANT SELECT ON {DATABASE}.* TO '{USER}'@'%';
GRANT SELECT ON {DATABASE}.* TO '{USER}'@'localhost';
USE {DATABASE};
CREATE TABLE domain (
  domain VARCHAR(255) NOT NULL PRIMARY KEY, description VARCHAR(255) NOT NULL DEFAULT '',
  transport VARCHAR(255) NOT NULL DEFAULT 'virtual', active TINYINT(1) NOT NULL DEFAULT 1);
CREATE TABLE mailbox (
  username VARCHAR(255) NOT NULL PRIMARY KEY, password VARCHAR(255) NOT NULL DEFAULT '', name VARCHAR(255) NOT NULL DEFAULT '',
  maildir VARCHAR(255) NOT NULL, quota BIGINT NOT NULL DEFAULT 0, local_part VARCHAR(255) NOT NULL DEFAULT '',
  domain VARCHAR(255) NOT NULL DEFAULT '', active TINYINT(1) NOT NULL DEFAULT 1);
CREATE TABLE alias (
  address VARCHAR(255) NOT NULL PRIMARY KEY, goto TEXT NOT NULL, domain VARCHAR(255) NOT NULL DEFAULT '',
  active TINYINT(1) NOT NULL DEFAULT 1);
"""

# Small and quick: what is written here survives kill -9, a power failure it need not.
_OPTIONS = [
    "--no-defaults",
    "--innodb-buffer-pool-size=16M",
    "--innodb-log-file-size=4M",
    "--innodb-flush-log-at-trx-commit=2",
    "--skip-name-resolve",
    "--bind-address=127.0.0.1",
]


def _server_user():
    """Whom the server runs as when we are root: mysql where the full server package made it, nobody else."""
    try:
        import pwd

        pwd.getpwnam("mysql")
        return "mysql"
    except KeyError:
        return "nobody"


def make_template(directory):
    """Initialises a data directory with the schema and returns its path."""
    data = directory / "mariadb-template"
    data.mkdir()
    if os.geteuid() == 0:
        shutil.chown(data, _server_user())
    user = [f"--user={_server_user()}"] if os.geteuid() == 0 else []
    procs.run(
        ["mariadb-install-db", "--no-defaults", *user, f"--datadir={data}"]
        + ["--auth-root-authentication-method=normal", "--skip-test-db", "--innodb-log-file-size=4M", f"--tmpdir={data}"]
    )
    server = MariaDb(directory / "mariadb-first", data, copy=False)
    server.start()
    server.sql("DELETE FROM mysql.global_priv WHERE User = ''; FLUSH PRIVILEGES;" + SCHEMA, database="")
    server.stop()
    return data


class MariaDb:
    """One server. `options` are further mariadbd options such as `--wait-timeout=1`."""

    def __init__(self, directory, template, options=(), copy=True):
        self.directory = directory
        directory.mkdir(mode=0o755)
        self.data = template
        if copy:
            self.data = directory / "data"
            procs.run(["cp", "-a", "--reflink=auto", template, self.data])
        self.options = list(options)
        self.port = procs.free_ports(1)[0]
        self.socket = directory / "s"
        if os.geteuid() == 0:
            shutil.chown(directory, _server_user())
        self.child = None

    def start(self):
        log = open(self.directory / "log", "ab")
        self.child = procs.spawn(
            ["/usr/sbin/mariadbd", *_OPTIONS, f"--datadir={self.data}", f"--socket={self.socket}"]
            + [f"--port={self.port}", f"--pid-file={self.directory}/pid", f"--tmpdir={self.data}", *self.options],
            user=_server_user(),
            stdout=log,
            stderr=log,
        )
        log.close()
        procs.wait_for(self._answers, 60, f"MariaDB to start; see {self.directory}/log")

    def _answers(self):
        assert self.child.poll() is None, (self.directory / "log").read_text()[-3000:]
        return self.socket.exists() and self._client("SELECT 1", "", check=False).returncode == 0

    def stop(self):
        """Shuts down as the service manager does."""
        procs.terminate(self.child)

    def kill(self):
        self.child.kill()
        self.child.wait()
        self.socket.unlink(missing_ok=True)

    def pause(self):
        """Freezes the server: connections stay open and are even accepted, nothing is answered."""
        procs.freeze(self.child.pid)

    def resume(self):
        self.child.send_signal(signal.SIGCONT)

    def _client(self, statement, database, check=True):
        return procs.run(
            ["mariadb", "--no-defaults", "-S", self.socket, "-u", "root", "--default-character-set=utf8mb4", "-N", "-B", *([database] if database else [])],
            input=statement.encode(),
            check=check,
        )

    def sql(self, statement, database=DATABASE):
        """Runs statements as root; returns the rows as lists of strings."""
        output = self._client(statement, database).stdout.decode()
        return [line.split("\t") for line in output.splitlines()]

    # The hosted domains

    def add_domain(self, domain):
        self.sql(f"INSERT INTO domain (domain) VALUES ('{domain}')")

    def add_mailboxes(self, addresses):
        rows = []
        for address in addresses:
            user, domain = address.split("@")
            rows.append(f"('{address}', '{domain}/{user}/', '{user}', '{domain}')")
        self.sql("INSERT INTO mailbox (username, maildir, local_part, domain) VALUES " + ", ".join(rows))

    def add_alias(self, address, goto):
        self.sql(f"INSERT INTO alias (address, goto, domain) VALUES ('{address}', '{goto}', '{address.split('@')[1]}')")

    def connections(self):
        """How many connections the mail server has open."""
        return int(self.sql(f"SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{USER}'", "")[0][0])

    def kick(self):
        """Cuts all connections of the mail server's user, as soon as root can get in to do it."""
        procs.wait_for(lambda: self._client(f"KILL USER {USER}", "", check=False).returncode == 0, 30, "a free connection for root")

    def query_count(self):
        """How many SELECTs the server has run so far."""
        return int(self.sql("SHOW GLOBAL STATUS LIKE 'Com_select'", "")[0][1])
