"""A private Dovecot whose deliver files mail under a directory of the test's.

`deliver -d user@domain` asks Dovecot's auth service for the user, so the master process runs too; it opens no port.
Every user of every domain exists; mail goes to DIRECTORY/mail/<domain>/<user>/Maildir.
"""

import os
import shutil

from support import procs

DELIVER = "/usr/lib/dovecot/deliver"

_COMMON = """\
base_dir = {dir}/run
state_dir = {dir}/state
log_path = {dir}/log
protocols =
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
