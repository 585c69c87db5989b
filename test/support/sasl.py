"""What libsasl2 checks passwords with: saslauthd, which asks a tiny IMAP server of the test's, a sasldb, an SQLite file.

saslauthd and the plug-ins are Debian's. saslauthd runs in the foreground with its socket in the test's folder; nothing of
the system's own is read.
"""

import re
import signal
import socketserver
import sqlite3
import threading

from support import procs

SASLAUTHD = "/usr/sbin/saslauthd"


class _ImapSession(socketserver.StreamRequestHandler):
    """Just LOGIN, with the two strings quoted as saslauthd does it."""

    def handle(self):
        self.wfile.write(b"* OK [CAPABILITY IMAP4rev1] ready\r\n")
        for line in self.rfile:
            tag, command = line.split(maxsplit=2)[:2]
            if command.upper() != b"LOGIN":
                self.wfile.write(tag + b" OK done\r\n")
                continue
            user, password = (re.sub(r"\\(.)", r"\1", word) for word in re.findall(r'"((?:[^"\\]|\\.)*)"', line.decode()))
            right = self.server.users.get(user) == password
            self.wfile.write(tag + (b" OK in\r\n" if right else b" NO [AUTHENTICATIONFAILED] wrong\r\n"))


class _Imap(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 200


class Saslauthd:
    """A saslauthd whose users are a dict of login and password. One process answers after another."""

    def __init__(self, directory, users):
        self.directory = directory
        self.mux = directory / "mux"
        self.imap = _Imap(("127.0.0.1", 0), _ImapSession)
        self.imap.users = users
        threading.Thread(target=self.imap.serve_forever, daemon=True).start()
        self.child = None

    def start(self):
        host, port = self.imap.server_address
        with open(self.directory / "saslauthd.log", "ab") as log:
            self.child = procs.spawn(
                [SASLAUTHD, "-d", "-n", "1", "-r", "-a", "rimap", "-O", f"{host}/{port}", "-m", self.directory],
                stdout=log,
                stderr=log,
                start_new_session=True,  # at its end it tells its whole process group
            )
        procs.wait_for(self.mux.exists, what="saslauthd's socket")
        return self

    def stop(self):
        if self.child is not None:
            procs.terminate(self.child)
            self.child = None
        self.mux.unlink(missing_ok=True)

    def close(self):
        self.stop()
        self.imap.shutdown()
        self.imap.server_close()

    def pause(self):
        procs.freeze(self.child.pid)

    def resume(self):
        self.child.send_signal(signal.SIGCONT)

    def options(self):
        """For the application's file."""
        return {"pwcheck_method": "saslauthd", "saslauthd_path": self.mux, "mech_list": "PLAIN LOGIN"}


def sasldb(path, users):
    """Makes a sasldb of {"user@realm": password}; answers the options for the application's file."""
    for login, password in users.items():
        user, realm = login.split("@")
        procs.run(["/usr/sbin/saslpasswd2", "-p", "-c", "-f", path, "-u", realm, user], input=password.encode())
    return {"pwcheck_method": "auxprop", "auxprop_plugin": "sasldb", "sasldb_path": path}


def sqlite(path, users):
    """The same with a table in an SQLite file."""
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE login (address TEXT, password TEXT)")
        database.executemany("INSERT INTO login VALUES (?, ?)", users.items())
    return {
        "pwcheck_method": "auxprop",
        "auxprop_plugin": "sql",
        "sql_engine": "sqlite3",
        "sql_database": path,
        "sql_select": "SELECT password FROM login WHERE address = '%u@%r'",
    }


def write_application(directory, options, name="smtpd"):
    """DIRECTORY/NAME.conf."""
    directory.mkdir(exist_ok=True)
    (directory / f"{name}.conf").write_text("".join(f"{option}: {value}\n" for option, value in options.items()))
