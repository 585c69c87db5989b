"""The program under test: writes its mta.conf, starts it, reads its log, stops it.

MTA_BIN names the binary (default: build/mta of this tree). With MTA_VALGRIND=1 it runs under valgrind, and a test fails
when memory was lost, was read before it was written, or a descriptor that mta opened is open at its end. For that the
binary must be one without sanitizers.
"""

import os
import pathlib
import re
import signal
import ssl
import subprocess
import tempfile
import time

from support import procs
from support.smtp import Smtp, SmtpError

BINARY = pathlib.Path(os.environ.get("MTA_BIN", pathlib.Path(__file__).parents[2] / "build" / "mta"))
HOSTNAME = "mail.example.com"
QID = r"[0-9A-Za-z]{6,}"

# The tests' mynetworks holds only 127.0.0.1, so that a client that binds to this address is a stranger.
STRANGER = ("127.0.0.2", 0)

_DEFAULTS = {
    "myhostname": HOSTNAME,
    "mydestination": "",
    "mynetworks": "127.0.0.1/32",
    # Nobody is there, which is told at once: the tests ask no name server of the machine's.
    "resolver": "127.0.0.1:1",
    "smtpd_peername_lookup": "no",
    # Errors cost a test no time; the test of that delay sets its own.
    "smtpd_error_sleep_time": "0",
    # Retries come fast enough to be waited for.
    "queue_run_delay": "1s",
    "minimal_backoff_time": "1s",
    "maximal_backoff_time": "2s",
}
_SANITIZER = re.compile(r"WARNING: ThreadSanitizer|ERROR: \w+Sanitizer|runtime error:|SUMMARY: \w+Sanitizer|Assertion|assertion failed")
_SANITIZER_OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=1:quarantine_size_mb=8",
    "LSAN_OPTIONS": "print_suppressions=0",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": f"halt_on_error=1:suppressions={pathlib.Path(__file__).parents[1] / 'tsan.supp'}",
}
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C",
    "TZ": "UTC",
    # What test/run sets for the sanitizers holds here too.
    **{name: os.environ.get(name, default) + ":exitcode=99:allocator_may_return_null=1" for name, default in _SANITIZER_OPTIONS.items()},
}

_VALGRIND = os.environ.get("MTA_VALGRIND") == "1"
_VALGRIND_STATUS = 97
_VALGRIND_COMMAND = [
    "valgrind",
    "--quiet",
    "--leak-check=full",
    "--errors-for-leak-kinds=definite,possible",
    "--show-leak-kinds=definite,possible",
    f"--error-exitcode={_VALGRIND_STATUS}",
    "--track-fds=yes",
    "--child-silent-after-fork=yes",  # a child is a copy until it has become the delivery command
]
# Descriptors that are open at the end: valgrind says where they came from.
_OPEN_DESCRIPTOR = re.compile(r"Open (?:file descriptor|\S+ socket).*\n==\d+== +at ")

_running = []


def argv(*args, log=None):
    """The command line that runs the binary; `log` is where valgrind writes."""
    return [*(_VALGRIND_COMMAND + [f"--log-file={log}"] if _VALGRIND else []), BINARY, *args]


def config_text(main=None, listeners=None, transports=None):
    """mta.conf from dicts: {"parameter": value} and {"section": {"parameter": value}}."""
    lines = [f"{name} = {value}" for name, value in (main or {}).items()]
    for kind, sections in (("listener", listeners), ("transport", transports)):
        for section, settings in (sections or {}).items():
            lines.append(f"[{kind} {section}]")
            lines += [f"{name} = {value}" for name, value in settings.items()]
    return "\n".join(lines) + "\n"


def command(*args, timeout=60, check=False, **kwargs):
    """Runs the binary as a command-line tool."""
    with tempfile.NamedTemporaryFile(prefix="mta-test-") as log:
        done = procs.run(argv(*args, log=log.name), timeout=timeout, check=check, env=_ENVIRONMENT, **kwargs)
        text = done.stderr.decode(errors="replace") + log.read().decode(errors="replace")
    assert not _SANITIZER.search(text) and done.returncode != _VALGRIND_STATUS, text
    assert not _OPEN_DESCRIPTOR.search(text), text
    return done


def _anyone():
    """A TLS client that trusts every server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class Mta:
    """One server with a queue directory and a data directory of its own.

    main, listeners, transports -- as for config_text(); every listener gets a loopback port unless it says `listen`.
    """

    def __init__(self, directory, main=None, listeners=None, transports=None):
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.directory = directory
        self.queue, self.data = directory / "queue", directory / "data"
        self.queue.mkdir(mode=0o700)
        self.data.mkdir(mode=0o700)
        self.conf = directory / "mta.conf"
        self.main = {**_DEFAULTS, "queue_directory": self.queue, "data_directory": self.data, **(main or {})}
        self.listeners = {name: dict(settings) for name, settings in (listeners or {"smtp": {}}).items()}
        for settings, port in zip(self.listeners.values(), procs.free_ports(len(self.listeners))):
            settings.setdefault("listen", f"127.0.0.1:{port}")
        self.transports = transports or {}
        self.log_path = directory / "log"
        self.stderr_path = directory / "stderr"
        self.valgrind_path = directory / "valgrind"
        self.child = None
        self.asked = False

    def write_config(self):
        self.conf.write_text(config_text(self.main, self.listeners, self.transports))

    def address(self, listener=None):
        """(host, port) of a listener; of the first one without a name."""
        host, port = self.listeners[listener or next(iter(self.listeners))]["listen"].rsplit(":", 1)
        return host, int(port)

    # Running

    def start(self):
        """Writes the configuration, starts the server and waits until every listener greets."""
        self.write_config()
        self.asked = False
        with open(self.log_path, "ab") as log, open(self.stderr_path, "ab") as errors:
            self.child = procs.spawn(argv("-c", self.conf, log=self.valgrind_path), stdout=log, stderr=errors, env=_ENVIRONMENT)
        _running.append(self)
        for name in self.listeners:
            procs.wait_for(lambda: self._greets(name), 30, f"the listener {name} to greet")
        return self

    def _greets(self, name):
        if self.child.poll() is not None:
            status, self.child = self.child.returncode, None
            _running.remove(self)
            raise AssertionError(f"mta ended with {status}:\n{self.tail()}")
        try:
            with Smtp(self.address(name), timeout=5, tls=_anyone() if self.listeners[name].get("smtpd_tls_wrappermode") == "yes" else None) as smtp:
                smtp.quit()
            return True
        except (ConnectionError, ssl.SSLError, SmtpError):
            return False

    def ask_to_stop(self, number=signal.SIGTERM):
        """Sends the signal, once; stop() waits for what comes of it."""
        self.child.send_signal(number)
        self.asked = True

    def stop(self):
        """Asks, unless that was done; asserts a clean end in bounded time and that no sanitizer complained."""
        if self.child is None:
            return
        if not self.asked:
            self.ask_to_stop()
        child, self.child = self.child, None
        _running.remove(self)
        status = procs.wait_end(child, 30)
        assert status == 0, f"exit status {status}:\n{self.tail()}"
        assert not _SANITIZER.search(self.stderr()), self.tail()
        assert not _OPEN_DESCRIPTOR.search(self.valgrind()), self.tail()

    def kill9(self):
        child, self.child = self.child, None
        _running.remove(self)
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert not _SANITIZER.search(self.stderr()), self.tail()

    def restart(self):
        self.stop()
        self.start()

    # Looking at it

    def connect(self, listener=None, stranger=False, **kwargs):
        """An SMTP connection, greeting read. `stranger`: from an address outside mynetworks."""
        return Smtp(self.address(listener), source=STRANGER if stranger else None, **kwargs)

    def log(self):
        return self.log_path.read_text(errors="replace")

    def stderr(self):
        return self.stderr_path.read_text(errors="replace")

    def valgrind(self):
        return self.valgrind_path.read_text(errors="replace") if self.valgrind_path.exists() else ""

    def tail(self, lines=60):
        """What to look at after a failure: what a sanitizer said comes first, since reports of a run get cut at the end."""
        said = self.stderr()
        start = match.start() if (match := _SANITIZER.search(said)) else max(0, len(said) - 6000)
        return said[max(0, start - 200) : start + 6000] + self.valgrind()[-6000:] + "\n-- log --\n" + "\n".join(self.log().splitlines()[-lines:])

    def lines(self, pattern):
        """The matches of a regular expression in the log, one a line at most, once what was logged before is written."""
        self._settle()
        return self._lines(pattern)

    def _settle(self):
        """The log's thread gathers lines for some milliseconds: waits until it has written none for longer than that."""
        size, before = self.log_path.stat().st_size, -1
        while self.child is not None and size != before:
            time.sleep(0.03)
            before, size = size, self.log_path.stat().st_size

    def _lines(self, pattern):
        return [match for match in (re.search(pattern, line) for line in self.log().splitlines()) if match]

    def wait_log(self, pattern, count=1, timeout=30):
        """Waits until at least `count` log lines match; returns the matches."""
        return procs.wait_for(
            lambda: (found := self._lines(pattern)) and len(found) >= count and found, timeout, f"{count} log lines like /{pattern}/"
        )

    def wait_removed(self, queue_id, timeout=30):
        """Waits until a message has left the queue."""
        self.wait_log(rf"/qmgr\[\d+\]: {queue_id}: removed$", timeout=timeout)

    def deliveries(self, queue_id=QID):
        """What was logged of delivery attempts: dicts with to, orig_to, relay, dsn, status, text, …"""
        pattern = (
            rf"/(?P<agent>[a-z]+)\[\d+\]: (?P<qid>{queue_id}): to=<(?P<to>.*?)>, (?:orig_to=<(?P<orig_to>.*?)>, )?relay=(?P<relay>\S+), "
            r"(?:conn_use=(?P<conn_use>\d+), )?delay=(?P<delay>\S+), delays=(?P<delays>\S+), dsn=(?P<dsn>\d\.\d+\.\d+), status=(?P<status>\w+) \((?P<text>.*?)\)?$"
        )
        return [match.groupdict() for match in self._lines(pattern)]

    def wait_deliveries(self, queue_id, count, timeout=30):
        """Waits for `count` delivery attempts of a message; returns all of them."""
        return procs.wait_for(
            lambda: (found := self.deliveries(queue_id)) and len(found) >= count and found, timeout, f"{count} deliveries of {queue_id}"
        )

    def database(self):
        return self.queue / "queue.db"

    def queued(self):
        """How many messages are in the queue."""
        done = procs.run(["sqlite3", "-cmd", ".timeout 10000", f"file:{self.database()}?mode=ro", "SELECT COUNT(*) FROM message"])
        return int(done.stdout)

    def integrity(self):
        """SQLite's verdict about the queue database, "ok" when it is sound. Only while the server is down."""
        return procs.run(["sqlite3", self.database(), "PRAGMA integrity_check"]).stdout.decode().strip()


def sanitized():
    """Is the program built with a sanitizer, or run by valgrind? Then its memory and its speed say little."""
    return _VALGRIND or any(name in BINARY.read_bytes() for name in (b"__asan_init", b"__tsan_init"))


def running():
    """The servers that run now, for the report of a failed test."""
    return list(_running)
