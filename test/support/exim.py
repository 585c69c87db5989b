"""A peer that is neither Postfix nor ours: Debian's Exim, in the foreground, with a configuration and a queue of its own.

Its package cannot be installed beside Postfix, so that test/setup/packages.sh only unpacks it. Without DSN, as Exim is by
default, and with CHUNKING.
"""

import pathlib
import pwd
import shutil

from support import procs
from support.smtp import Smtp, SmtpError

BINARY = pathlib.Path("/usr/local/lib/mta-test/exim4/usr/sbin/exim4")
_USER = "Debian-exim"  # compiled in

_CONF = """\
exim_path = {binary}
primary_hostname = {name}
spool_directory = {dir}/spool
log_file_path = {dir}/log/%slog
pid_file_path = {dir}/spool/pid
daemon_smtp_ports = {port}
local_interfaces = 127.0.0.1
tls_advertise_hosts =
keep_environment =
add_environment =
rfc1413_query_timeout = 0s
host_lookup =
message_size_limit = 100M
smtp_accept_max = 100
smtp_accept_max_per_connection = 10000
recipients_max = 0
never_users =
acl_smtp_rcpt = rcpt
begin acl
rcpt:
  deny local_parts = ^refused
    message = nobody wants ${{local_part}} here
  defer local_parts = later
    condition = ${{if !exists{{{dir}/open}}}}
    message = ${{local_part}} has no time
  accept
begin routers
mailbox:
  driver = accept
  domains = {domain}
  local_parts = user1 : user2 : later
  transport = mailbox
unknown:
  driver = redirect
  domains = {domain}
  allow_fail
  data = :fail: ${{local_part}} has moved away
away:
  driver = manualroute
  route_list = * "{smarthost}"
  host_find_failed = defer
  self = send
  transport = away
begin transports
mailbox:
  driver = appendfile
  directory = {dir}/mail/${{local_part_data}}
  maildir_format
  user = {user}
away:
  driver = smtp
  port = {smartport}
  interface = {source}
  hosts_try_fastopen =
begin retry
* * F,1h,1s
"""


class Exim:
    """user1, user2 and later @`domain` have a Maildir, later from open() on, before that a 4xx; refused… a 550 at RCPT; all others are taken, and bounced then. What is
    for other domains goes to `smarthost`, (address, port), from the address `source`."""

    def __init__(self, directory, port, domain, smarthost=("127.0.0.1", 1), source="127.0.0.1"):
        _make_user()
        self.directory, self.port, self.domain = directory, port, domain
        directory.mkdir(mode=0o755)
        for name in ("spool", "log", "mail"):
            (directory / name).mkdir(mode=0o755)
            shutil.chown(directory / name, _USER, _USER)
        fields = {"smarthost": smarthost[0], "smartport": smarthost[1], "source": source}
        text = _CONF.format(binary=BINARY, name=f"exim.{domain}", dir=directory, port=port, domain=domain, user=_USER, **fields)
        (directory / "conf").write_text(text)
        self.child = None

    def start(self):
        with open(self.directory / "output", "ab") as output:
            self.child = procs.spawn([BINARY, "-C", self.directory / "conf", "-bdf", "-q5s"], stdout=output, stderr=output)
        procs.wait_for(self._greets, 30, "Exim to greet")
        return self

    def _greets(self):
        assert self.child.poll() is None, (self.directory / "output").read_text()
        try:
            with Smtp(("127.0.0.1", self.port), timeout=10) as smtp:
                smtp.quit()
            return True
        except (ConnectionError, SmtpError):
            return False

    def stop(self):
        if self.child is not None:
            procs.terminate(self.child)
            self.child = None

    def open(self):
        (self.directory / "open").touch()

    def maildir(self, user):
        return self.directory / "mail" / user

    def log(self):
        path = self.directory / "log" / "mainlog"
        return path.read_text(errors="replace") if path.exists() else ""


def _make_user():
    try:
        pwd.getpwnam(_USER)
    except KeyError:
        procs.run(["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", "--home-dir", "/var/spool/exim4", _USER])
