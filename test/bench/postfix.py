"""The peer: a private Postfix with a configuration, a queue and a log of its own, on a loopback port.

Programs are Debian's, nothing of /etc/postfix but its list of files is used. Runs as root, as Postfix must.
"""

import os
import pathlib
import pwd
import shutil
import time

from support import procs

from bench import server

_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
tlsmgr    unix  -       -       n       1000?   1       tlsmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       1       verify
flush     unix  n       -       n       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
proxywrite unix -       -       n       -       1       proxymap
smtp      unix  -       -       n       -       -       smtp
relay     unix  -       -       n       -       -       smtp
showq     unix  n       -       n       -       -       showq
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
discard   unix  -       -       n       -       -       discard
virtual   unix  -       n       n       -       -       virtual
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
postlog   unix-dgram n  -       n       -       1       postlogd
"""
_QUEUES = ("incoming", "active", "deferred")  # in the order in which a message moves


class Postfix(server.Server):
    name = "Postfix"

    def write_config(self, main, pipes, smtps):
        data = self.folder / "data"
        if not data.exists():
            data.mkdir(mode=0o700)
            shutil.chown(data, "postfix", "postfix")
        settings = {
            "compatibility_level": "3.6",
            "queue_directory": self.queue,
            "data_directory": data,
            "maillog_file": self.log,
            "maillog_file_prefixes": self.folder,
            "smtpd_peername_lookup": "no",
            "disable_dns_lookups": "yes",
            "alias_maps": "",
            "alias_database": "",
            "local_recipient_maps": "",
            "inet_interfaces": "loopback-only",
            "smtpd_tls_security_level": "none",
            **main,
        }
        self.conf.mkdir(exist_ok=True)
        (self.conf / "main.cf").write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
        lines = [_MASTER.format(port=self.port)]
        if smtps is not None:
            lines.append(f"127.0.0.1:{self.tls_port} inet n - n - - smtpd\n" + "".join(f"  -o {name}={value}\n" for name, value in smtps.items()))
        for name, (flags, user, argv) in pipes.items():
            lines.append(f"{name} unix - n n - - pipe\n  flags={flags} user={user} argv={argv}\n")
        (self.conf / "master.cf").write_text("".join(lines))

    def argv(self):
        return ["postfix", "-c", self.conf, "start-fg"]

    def root(self):
        """The master, without the script that waits for it."""
        return int((self.queue / "pid" / "master.pid").read_text())

    def ask_to_stop(self):
        procs.run(["postfix", "-c", self.conf, "stop"], timeout=120, check=False)

    def is_empty(self):
        # In this order a message that moves on in the meantime is not missed.
        return not any(_any_file(self.queue / name) for name in _QUEUES)

    def list_argv(self):
        return ["postqueue", "-c", self.conf, "-p"]

    def multiply(self, count):
        """Makes `count` of the one deferred message there is: files named as Postfix names them, due in a day."""
        deferred, owner, due = self.queue / "deferred", pwd.getpwnam("postfix"), time.time() + 86400
        (sample,) = (pathlib.Path(folder) / name for folder, _, names in os.walk(deferred) for name in names)
        content = sample.read_bytes()
        for number in range(1, count):
            fresh = deferred / "fresh"
            fresh.write_bytes(content)
            os.chown(fresh, owner.pw_uid, owner.pw_gid)
            fresh.chmod(0o700)
            os.utime(fresh, (due, due))
            name = f"{number:05X}{fresh.stat().st_ino:X}"  # microseconds and inode
            folder = deferred / name[0]
            if not folder.exists():
                folder.mkdir(mode=0o700)
                os.chown(folder, owner.pw_uid, owner.pw_gid)
            fresh.rename(folder / name)


def _any_file(folder):
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_dir() or _any_file(entry.path):
                return True
    return False
