"""Relaying: smtp-source, the server, smtp-sink; from the first connection until the queue is empty.

Settings that say how many connections a destination gets, or how long they are kept, are the defaults of each server.
"""

import contextlib
import time

from support import procs

from bench import clients, sinks
from bench.measures import BIG, certificate, common, most_memory
from bench.server import Setup

REMOTE = ("u@remote.example",)
CELLS = [(f"relay.c{sessions}", sessions, 4096) for sessions in (1, 10, 50, 100)] + [("relay.c50.1k", 50, 1024), ("relay.c50.32k", 50, 32768)]


def _pass_on(target, sink, sessions, messages, size=4096):
    """Seconds until all of them are relayed."""
    had = sink.messages()
    began = time.monotonic()
    clients.send(target, sessions, messages, size, recipients=REMOTE)
    target.wait_empty()
    seconds = time.monotonic() - began
    procs.wait_for(lambda: sink.messages() - had >= messages, 10, f"all mail of {target.name} to be in the sink")
    return seconds


def _to(bench, sink, **more):
    return Setup({**common(bench), "relayhost": f"[127.0.0.1]:{sink.port}", **more})


def _cell(bench, sink, key, sessions, size):
    first = min(bench.messages or 500, max(3 * sessions, 100))
    counts = {target.name: bench.count(first / _pass_on(target, sink, sessions, first, size), sessions) for target in bench.servers}

    def once(target):
        before = target.cpu()
        seconds = _pass_on(target, sink, sessions, counts[target.name], size)
        cpu = target.cpu() - before
        return {key: counts[target.name] / seconds, f"{key}.cpu": cpu / counts[target.name] * 1000}

    bench.in_turns(once)


def _memory(bench, sink):
    for target in bench.servers:
        first = min(bench.messages or 500, 500)
        count = bench.count(first / _pass_on(target, sink, 50, first), 50)
        with clients.Sampler(target.pss, 0.25) as sampler:
            _pass_on(target, sink, 50, count)
        bench.record(target, {"relay.memory": max(sampler.most, target.pss())})


def _big(bench, sink):
    count, size = 20, bench.scaled(BIG, BIG // 20)

    def once(target):
        with most_memory(target) as most:
            seconds = _pass_on(target, sink, count, count, size)
        return {"relay.big": count * size / 1e6 / seconds, "relay.big.memory": most()}

    bench.in_turns(once)


def _tls(bench):
    cert, key = certificate(bench, "p256")
    with sinks.tls(bench.folder, cert, key) as sink, bench.running(_to(bench, sink, smtp_tls_security_level="encrypt")):
        _cell(bench, sink, "relay.tls", 50, 4096)


# ---- many destinations ----

ENOUGH = 60  # seconds, for a server that has come to a standstill


def _host(number, alive, refused, silent):
    """Message 4711 is for destination 711, one of a thousand; those that end in 0 and 5 may be dead."""
    port = {0: refused, 5: silent}.get(number % 10, alive)
    return f"smtp:[127.1.{number % 1000 // 100}.{100 + number % 100}]:{port}"


def _scattered(bench, target, sink, refused, silent):
    """Messages a second to the healthy destinations, while the others are on those two ports."""
    count = bench.messages or bench.scaled(5000, 300)
    healthy = count - count // 5
    table = bench.folder / "destinations"
    table.write_text("".join(f"{number}{REMOTE[0]} {_host(number, sink.port, refused, silent)}\n" for number in range(1, count + 1)))
    had = sink.messages()
    with bench.only_running(target, Setup({**common(bench), "transport_maps": f"texthash:{table}"})):
        began = time.monotonic()
        clients.send(target, 50, count, numbered=True, recipients=REMOTE)
        while sink.messages() - had < healthy and time.monotonic() - began < ENOUGH:
            time.sleep(0.01)
        rate = (sink.messages() - had) / (time.monotonic() - began)
        target.abort()
    target.remove_queue("queue")
    return rate


def _dead(bench):
    with contextlib.ExitStack() as stack:
        sink, others = (stack.enter_context(sinks.plain(bench.folder, "0.0.0.0")) for _ in range(2))
        refused, silent = stack.enter_context(sinks.refusing()), stack.enter_context(sinks.black_hole())

        def once(target):
            alive = _scattered(bench, target, sink, others.port, others.port)
            beside = _scattered(bench, target, sink, refused, silent)
            return {"relay.dead.alone": alive, "relay.dead": beside, "relay.dead.ratio": beside / alive}

        for target in bench.servers:
            target.remove_queue("queue")
        bench.in_turns(once)


def relay(bench):
    cells = [cell for cell in CELLS if bench.wants(cell[0])]
    if cells or bench.wants("relay.memory") or bench.wants("relay.big"):
        with sinks.plain(bench.folder) as sink, bench.running(_to(bench, sink)):
            for cell in cells:
                _cell(bench, sink, *cell)
            if bench.wants("relay.memory"):
                _memory(bench, sink)
            if bench.wants("relay.big"):
                _big(bench, sink)
    if bench.wants("relay.tls"):
        _tls(bench)
    if bench.wants("relay.dead"):
        _dead(bench)
