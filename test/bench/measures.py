"""The measurements, in groups: each starts both servers alike and lets them run in turns, A B A B.

A group is a function of the Bench; its name is what `--only` selects, and the first word of its rows in table.py.
"""

import contextlib
import os
import re
import time

from support import procs
from support.dovecot import Dovecot

from bench import clients, machine, server
from bench.auth import AuthDovecot
from bench.server import DOMAIN, FAR, Setup

USERS = [f"u{number}@{DOMAIN}" for number in range(1, 11)]
SIZES = {"": 4096, ".1k": 1024, ".32k": 32768}
OWNER = ("nobody", "nogroup", 65534, 65534)
BIG = 20_000_000


def common(bench, limit=100):
    """What both servers are told."""
    mailboxes = bench.folder / "mailboxes"
    mailboxes.write_text("".join(f"u{number}@{DOMAIN} u{number}/\n" for number in range(1, 101)))
    transports = bench.folder / "transports"
    # A port that nobody listens on: that mail waits.
    transports.write_text(f"{FAR} smtp:[127.0.0.1]:1\n")
    return {
        "myhostname": "mail.example.com",
        "mydestination": "",
        "mynetworks": "127.0.0.0/8",
        "virtual_mailbox_domains": DOMAIN,
        "virtual_mailbox_maps": f"texthash:{mailboxes}",
        "virtual_transport": "discard",
        "transport_maps": f"texthash:{transports}",
        "smtpd_client_connection_count_limit": "0",
        "smtpd_peername_lookup": "no",
        "smtpd_junk_command_limit": "1000000",
        "default_process_limit": limit,
        "message_size_limit": "50000000",
        "minimal_backoff_time": "1h",
        "maximal_backoff_time": "1h",
    }


def _warm_up(bench, target, sessions, **kwargs):
    """A little load that nobody counts; messages a second."""
    messages = min(bench.messages or 1000, max(3 * sessions, 100))
    rate = messages / clients.send(target, sessions, messages, **kwargs)
    target.wait_empty()
    return rate


# ---- receiving ----


def _accept_cell(bench, key, sessions, size, reuse):
    counts = {target.name: bench.count(_warm_up(bench, target, sessions, size=size, reuse=reuse), sessions) for target in bench.servers}

    def once(target):
        before = target.cpu()
        seconds = clients.send(target, sessions, counts[target.name], size, reuse)
        target.wait_empty()
        cpu = target.cpu() - before
        return {key: counts[target.name] / seconds, f"{key}.cpu": cpu / counts[target.name] * 1000}

    bench.in_turns(once)


def accept(bench):
    cells = [(f"accept.c{n}{suffix}", n, size, False) for suffix, size in SIZES.items() for n in (1, 10, 50, 100)]
    cells += [(f"accept.c{n}.reused", n, 4096, True) for n in (1, 10, 50, 100)]
    always = re.compile(r"accept\.c(1|10|50|100|(10|50)\.reused|50\.(1k|32k))")
    usual = {cell[0] for cell in cells if bench.full or always.fullmatch(cell[0])}
    cells = [cell for cell in cells if bench.named(cell[0]) or (cell[0] in usual and bench.wants(cell[0]))]
    if cells:
        with bench.running(Setup(common(bench))):
            for cell in cells:
                _accept_cell(bench, *cell)
    if bench.wants("accept.c200"):
        with bench.running(Setup(common(bench, limit=250))):
            _accept_cell(bench, "accept.c200", 200, 4096, False)


def latency(bench):
    with bench.running(Setup(common(bench))):
        bench.in_turns(lambda target: {"latency": clients.dot_latency(target, bench.scaled(200, 20))})


def flushes(bench):
    """With strace, which slows nothing but the flushes themselves; once, since a count hardly varies."""
    messages = bench.scaled(2000, 100)
    for target in bench.servers:
        trace = bench.folder / "flushes"
        prefix = ["strace", "-f", "-qq", "--seccomp-bpf", "-e", "trace=fsync,fdatasync,sync_file_range,msync", "-e", "signal=none", "-o", trace]
        with bench.only_running(target, Setup(common(bench)), trace=prefix):
            _warm_up(bench, target, 50)
            before = _flushes(trace)
            clients.send(target, 50, messages)
            target.wait_empty()
            bench.record(target, {"flushes": (_flushes(trace) - before) / messages})


def _flushes(trace):
    return len(re.findall(r"(?m)^\d+ +(?:fsync|fdatasync|sync_file_range|msync)\(", trace.read_text()))


@contextlib.contextmanager
def most_memory(target):
    """What it needs in this context, in MiB, to be called after it: of one process its peak, of several the largest sum seen."""
    if target.name == "mta":
        machine.reset_peak(target.root())
        yield lambda: machine.peak(target.root())
    else:
        with clients.Sampler(target.pss, 0.2) as sampler:
            yield lambda: sampler.most


def big(bench):
    count, size = 20, bench.scaled(BIG, BIG // 20)

    def once(target):
        with most_memory(target) as most:
            seconds = clients.send(target, count, count, size)
        target.wait_empty()
        return {"big": count * size / 1e6 / seconds, "big.memory": most()}

    with bench.running(Setup(common(bench))):
        bench.in_turns(once)


def memory(bench):
    _memory_at_load(bench)
    sessions = Setup(common(bench), {"mta": {"default_process_limit": 6000}, "Postfix": {"default_process_limit": 1100}})
    for count in (1000, 5000):
        for target in bench.servers:
            if bench.wants(f"memory.s{count}") and (count == 1000 or target.name == "mta"):
                with bench.only_running(target, sessions), clients.idle_sessions(target, bench.scaled(count, count // 20)):
                    bench.record(target, {f"memory.s{count}": target.pss()})


def _memory_at_load(bench):
    if not bench.wants("memory.idle") and not bench.wants("memory.load"):
        return
    with bench.running(Setup(common(bench))):
        for target in bench.servers:
            clients.send(target, 1, 1)
            target.wait_empty()
            bench.record(target, {"memory.idle": target.pss()})
        for target in bench.servers:
            count = bench.count(_warm_up(bench, target, 100), 100)
            with clients.Sampler(target.pss, 0.25) as sampler:
                clients.send(target, 100, count)
            target.wait_empty()
            bench.record(target, {"memory.load": max(sampler.most, target.pss())})


# ---- delivering ----


def _delivery(bench, key, setup, clear=None):
    """50 connections to 10 mailboxes: from the first connection until the queue is empty."""

    def deliver(target, messages):
        began = time.monotonic()
        clients.send(target, 50, messages, recipients=USERS)
        target.wait_empty()
        return time.monotonic() - began

    def once(target):
        before = target.cpu()
        seconds = deliver(target, counts[target.name])
        cpu = target.cpu() - before
        if clear is not None:
            clear(target)
        return {key: counts[target.name] / seconds, f"{key}.cpu": cpu / counts[target.name] * 1000}

    with bench.running(setup):
        first = min(bench.messages or 200, 200)
        counts = {target.name: bench.count(first / deliver(target, first), 50) // 10 * 10 for target in bench.servers}
        bench.in_turns(once)


def _mail_folder(folder):
    folder.mkdir(exist_ok=True)
    os.chown(folder, OWNER[2], OWNER[3])


def maildir(bench):
    base = {target.name: target.folder / "mail" for target in bench.servers}
    for folder in base.values():
        _mail_folder(folder)

    def clear(target):
        # Not deleted: ext4 passes over the inodes of what was deleted in the last minute, one by one, and who comes next
        # would pay for it. No mail server deletes all mail before it delivers some.
        folder = base[target.name]
        folder.rename(f"{folder}.{time.monotonic_ns()}")
        _mail_folder(folder)

    main = {"virtual_transport": "virtual", "virtual_uid_maps": f"static:{OWNER[2]}", "virtual_gid_maps": f"static:{OWNER[3]}"}
    own = {name: {"virtual_mailbox_base": folder} for name, folder in base.items()}
    _delivery(bench, "maildir", Setup({**common(bench), **main}, own), clear)


def _pipe(bench, name, flags, argv):
    main = {"virtual_transport": name, f"{name}_destination_recipient_limit": "1"}
    return Setup({**common(bench), **main}, {}, {name: (flags, f"{OWNER[0]}:{OWNER[1]}", argv)})


def deliver(bench):
    dovecot = Dovecot(bench.folder / "dovecot", OWNER[0], OWNER[1])
    try:
        _delivery(bench, "deliver", _pipe(bench, "dovecot", "DRhu", dovecot.argv(recipient="${user}@${domain}")))
    finally:
        dovecot.stop()


def command(bench):
    """It reads all of the message and says nothing."""
    _delivery(bench, "command", _pipe(bench, "command", "R", "/bin/dd of=/dev/null bs=65536 status=none"))


# ---- a long queue ----


def _fill(bench, setup, count):
    """A queue directory of each server's with `count` messages in it that wait."""
    for target in bench.servers:
        with bench.only_running(target, setup, queue="queue-full"):
            if target.name == "mta":
                clients.send(target, 50, count, reuse=True, recipients=[f"u1@{FAR}"])
                procs.wait_for(lambda t=target: t.untried() == 0, 600, "all messages to be deferred", interval=0.2)
            else:
                clients.send(target, 1, 1, recipients=[f"u1@{FAR}"])
                procs.wait_for(lambda t=target: re.search("status=deferred", t.log.read_text()), 60, "a message to be deferred")
        if target.name == "Postfix":
            target.multiply(count)


def _rate(bench, target):
    clients.send(target, 50, bench.scaled(200, 50))
    count = bench.scaled(bench.count(1000 if target.name == "Postfix" else 6000, 50), 50)
    return count / clients.send(target, 50, count)


def queued(bench):
    count, setup = bench.scaled(100_000, 2000), Setup(common(bench))
    _fill(bench, setup, count)

    def once(target):
        with bench.only_running(target, setup):
            alone = _rate(bench, target)
            target.wait_empty()
        try:
            values = {"queued.start": server.first_250(target, setup, "queue-full", USERS[0])}
            values["queued.rate"] = _rate(bench, target) / alone
            values["queued.memory"] = target.pss()
            began = time.monotonic()
            listed = procs.run(target.list_argv(), timeout=600).stdout
            values["queued.list"] = time.monotonic() - began
            if listed.count(b"@" + FAR.encode()) != count:
                raise RuntimeError(f"{target.name} listed {listed.count(b'@' + FAR.encode())} messages of {count}")
            return values
        finally:
            target.stop()

    bench.in_turns(once)
    for target in bench.servers:
        target.remove_queue("queue-full")


# ---- TLS and AUTH ----

KEYS = {"p256": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"], "rsa": ["-newkey", "rsa:2048"]}


def certificate(bench, key):
    """Paths of a certificate and its private key, of that kind of KEYS."""
    cert, private = (bench.folder / f"{key}.{end}" for end in ("pem", "key"))
    if not cert.exists():
        argv = ["openssl", "req", "-x509", "-nodes", "-days", "90", "-subj", "/CN=mail.example.com", *KEYS[key], "-keyout", private, "-out", cert]
        procs.run(argv)
    return cert, private


def _smtps(bench, key, dovecot=None):
    """The second listener, with a certificate of that key."""
    cert, private = certificate(bench, key)
    smtps = {
        "smtpd_tls_security_level": "encrypt",
        "smtpd_tls_wrappermode": "yes",
        "smtpd_tls_cert_file": cert,
        "smtpd_tls_key_file": private,
    }
    if dovecot is not None:
        smtps |= {"smtpd_sasl_auth_enable": "yes", "smtpd_sasl_type": "dovecot", "smtpd_sasl_path": dovecot.auth_path()}
    return smtps


def _tls_cell(bench, row, program, mode, processes=64):
    def once(target):
        count = counts[target.name]
        before = target.cpu()
        seconds = clients.tls_sessions(program, target, mode, count, processes)
        target.wait_empty()
        return {row: count / seconds, f"{row}.cpu": (target.cpu() - before) / count * 1000}

    few = bench.scaled(300, 64)
    counts = {target.name: bench.count(few / clients.tls_sessions(program, target, mode, few, processes), processes) for target in bench.servers}
    bench.in_turns(once)


def tls(bench):
    program = clients.build_tls(bench.folder)
    dovecot = AuthDovecot(bench.folder / "dovecot-auth", OWNER[0], OWNER[1])
    try:
        for key in KEYS:
            with bench.running(Setup(common(bench, limit=250), {}, {}, _smtps(bench, key, dovecot))):
                for kind, mode in (("full", "new"), ("resumed", "resume")):
                    if bench.wants(f"tls.{kind}.{key}"):
                        _tls_cell(bench, f"tls.{kind}.{key}", program, mode)
                if bench.wants("tls.submit") and key == "p256":
                    _tls_cell(bench, "tls.submit", program, "mail")
                if bench.wants(f"tls.delay.{key}"):
                    bench.in_turns(lambda target: _delays(bench, target, program, f"tls.delay.{key}"))
    finally:
        dovecot.stop()
    if bench.wants("tls.idle"):
        _idle_tls(bench, program)


def _delays(bench, target, program, row):
    found = sorted(clients.delays_beside_handshakes(program, target, bench.scaled(200, 20)))
    return {row: found[-1], f"{row}.p99": found[len(found) * 99 // 100]}


def _idle_tls(bench, program):
    count = bench.scaled(1000, 50)
    for target in bench.servers:
        with bench.only_running(target, Setup(common(bench, limit=1100), {}, {}, _smtps(bench, "p256"))):
            clients.tls_sessions(program, target, "new", 50, 5)
            before = target.pss()
            with clients.idle_tls_sessions(program, target, count):
                bench.record(target, {"tls.idle": (target.pss() - before) / count * 1024})


GROUPS = {group.__name__: group for group in (accept, latency, flushes, maildir, deliver, command, big, memory, queued, tls)}
