"""Private Dovecots.

Dovecot's deliver files mail under a directory of the test's. `deliver -d user@domain` asks Dovecot's auth service for
the user, so the master process runs too; it opens no port. Every user of every domain exists; mail goes to
DIRECTORY/mail/<domain>/<user>/Maildir.

DovecotAuth is an auth service that checks passwords for an SMTP server, the users being in MariaDB as in the tutorial.
"""

import os
import pathlib
import shutil
import signal

from support import mariadb, procs

DELIVER = "/usr/lib/dovecot/deliver"

_COMMON = """\
base_dir = {dir}/run
state_dir = {dir}/state
log_path = {dir}/log
protocols = lmtp
ssl = no
first_valid_uid = 1
mail_fsync = never
auth_mechanisms = plain
default_internal_user = {internal}
default_internal_group = {internal_group}
default_login_user = {login}
service auth {{
  unix_listener auth-userdb {{
    mode = 0666
  }}
}}
service lmtp {{
  unix_listener lmtp {{
    mode = 0666
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
"""

# Debian 12
_CONF_2_3 = (
    _COMMON
    + """\
mail_location = maildir:~/Maildir
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = static
  args = uid={user} gid={group} home={dir}/mail/%d/%n allow_all_users=yes
}}
"""
)

# Debian 13
_CONF_2_4 = (
    "dovecot_config_version = 2.4.0\ndovecot_storage_version = 2.4.0\n"
    + _COMMON
    + """\
mail_driver = maildir
mail_path = ~/Maildir
passdb static {{
  fields {{
    nopassword = yes
  }}
}}
userdb static {{
  allow_all_users = yes
  fields {{
    uid = {user}
    gid = {group}
    home = {dir}/mail/%{{user | domain}}/%{{user | username}}
  }}
}}
"""
)


def _version():
    words = procs.run(["dovecot", "--version"]).stdout.decode().split(".")
    return int(words[0]), int(words[1])


class Dovecot:
    """Started by the constructor. `user` and `group` own the mail."""

    def __init__(self, directory, user, group):
        self.directory = directory
        self.conf = directory / "dovecot.conf"
        self.mail = directory / "mail"
        self.lmtp = directory / "run" / "lmtp"  # a socket
        directory.mkdir(mode=0o755)
        for name in ("run", "state", "mail"):
            (directory / name).mkdir(mode=0o755)
        log = directory / "log"
        log.touch()
        log.chmod(0o666)  # deliver logs there too, as the mail's owner
        names = {"internal": user, "internal_group": group, "login": user}
        if os.geteuid() == 0:
            names = {"internal": "dovecot", "internal_group": "dovecot", "login": "dovenull"}
            shutil.chown(self.mail, user, group)
        template = _CONF_2_4 if _version() >= (2, 4) else _CONF_2_3
        self.conf.write_text(template.format(dir=directory, user=user, group=group, **names))
        self.child = None
        self.start()

    def start(self):
        self.child = procs.spawn(["dovecot", "-F", "-c", self.conf])
        # The pid file comes after the sockets.
        procs.wait_for((self.directory / "run" / "master.pid").exists, 30, f"Dovecot to start; see {self.directory}/log")

    def stop(self):
        procs.terminate(self.child)

    def argv(self, sender="${sender}", recipient="${user}@${nexthop}"):
        """The tutorial's command line, pointed at this instance."""
        return f"{DELIVER} -c {self.conf} -f {sender} -d {recipient}"

    def maildir(self, address):
        user, domain = address.rsplit("@", 1)
        return self.mail / domain / user / "Maildir"


_AUTH_COMMON = """\
base_dir = {dir}/run
state_dir = {dir}/state
log_path = {dir}/log
protocols =
ssl = no
first_valid_uid = 1
auth_mechanisms = {mechanisms}
auth_failure_delay = 0
default_internal_user = {internal}
default_internal_group = {internal}
default_login_user = {login}
service auth {{
  unix_listener {socket} {{
    mode = 0666
  }}
  unix_listener auth-master {{
    mode = 0666
  }}
  inet_listener {inet} {{
    {listen} = 127.0.0.1
    port = {port}
  }}
}}
# A client that guesses wrong is not answered slower and slower.
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
"""
# What the database has more than passwords: `name` is "nologin" for those who may not log in.
_PASSWORD_QUERY = "SELECT username AS user, password, IF(name = 'nologin', 'y', NULL) AS nologin FROM mailbox WHERE username = '{user}' AND active = '1'"

_AUTH_2_3 = (
    _AUTH_COMMON
    + """\
passdb {{
  driver = sql
  args = {dir}/sql.conf
}}
"""
)
_SQL_2_3 = """\
driver = mysql
connect = host=127.0.0.1 port={database_port} dbname={database} user={database_user} password={database_password}
default_pass_scheme = SHA512-CRYPT
password_query = {query}
"""
_AUTH_2_4 = (
    "dovecot_config_version = 2.4.0\ndovecot_storage_version = 2.4.0\n"
    + _AUTH_COMMON
    + """\
auth_allow_cleartext = yes
sql_driver = mysql
mysql 127.0.0.1 {{
  port = {database_port}
  dbname = {database}
  user = {database_user}
  password = {database_password}
}}
passdb sql {{
  default_password_scheme = SHA512-CRYPT
  query = {query}
}}
"""
)


def hash_password(password, scheme="SHA512-CRYPT"):
    """As `doveadm pw` writes it, with its {SCHEME}."""
    return procs.run(["doveadm", "-c", "/dev/null", "pw", "-s", scheme, "-p", password]).stdout.decode().strip()


class DovecotAuth:
    """An auth service at `socket` and at 127.0.0.1:`port`, which asks the database `server`. Started by start()."""

    def __init__(self, directory, server, mechanisms="plain login cram-md5"):
        self.directory = directory
        directory.mkdir(mode=0o755)
        for name in ("run", "state"):
            (directory / name).mkdir(mode=0o755)
        self.socket = directory / "auth"
        self.master_socket = directory / "run" / "auth-master"
        self.port = procs.free_ports(1)[0]
        self.conf = directory / "dovecot.conf"
        new = _version() >= (2, 4)
        ourselves = procs.run(["id", "-un"]).stdout.decode().strip()
        values = {
            "dir": directory,
            "socket": self.socket,
            "port": self.port,
            "mechanisms": mechanisms,
            "internal": "dovecot" if os.geteuid() == 0 else ourselves,
            "login": "dovenull" if os.geteuid() == 0 else ourselves,
            "inet": "auth" if new else "",
            "listen": "listen" if new else "address",
            "database_port": server.port,
            "database": mariadb.DATABASE,
            "database_user": mariadb.USER,
            "database_password": mariadb.PASSWORD,
            "query": _PASSWORD_QUERY.format(user="%{user}" if new else "%u"),
        }
        self.conf.write_text((_AUTH_2_4 if new else _AUTH_2_3).format(**values))
        if not new:
            (directory / "sql.conf").write_text(_SQL_2_3.format(**values))
        self.child = None

    def start(self):
        # A master process that was killed leaves these.
        (self.directory / "run" / "master.pid").unlink(missing_ok=True)
        self.child = procs.spawn(["dovecot", "-F", "-c", self.conf])
        procs.wait_for(self._is_up, 30, f"Dovecot to start; see {self.directory}/log")
        return self

    def _is_up(self):
        assert self.child.poll() is None, self.log()[-3000:]
        return (self.directory / "run" / "master.pid").exists()

    def stop(self):
        if self.child is not None and self.child.poll() is None:
            self.resume()
            procs.terminate(self.child)
        self.child = None

    def restart(self):
        self.stop()
        self.start()

    def log(self):
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def processes(self):
        """The auth processes that clients talk to."""
        found = []
        for pid in procs.children(self.child.pid):
            try:
                words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except FileNotFoundError:
                continue
            if words[0] == b"dovecot/auth" and b"-w" not in words:
                found.append(pid)
        return found

    def pause(self):
        """Freezes the service: connections are accepted by the kernel, nothing is answered."""
        for pid in self.processes():
            procs.freeze(pid)

    def resume(self):
        for pid in self.processes():
            os.kill(pid, signal.SIGCONT)
