"""What is measured, what is to be reached, and how that is printed."""

import collections
import statistics

# better: "more" or "less". least and aim: a ratio mta : Postfix with against="Postfix", else a value of mta's own.
Row = collections.namedtuple("Row", "key label unit better least aim against", defaults=(None, None, "Postfix"))


def _accept(key, label, least=None, aim=None):
    return [Row(f"accept.{key}", f"accepted, {label}", "/s", "more", least, aim)]


def _cpu(key, label, least=None, aim=None):
    return [Row(f"accept.{key}.cpu", f"CPU for 1,000, {label}", "s", "less", least, aim)]


def _relay(key, label, least=None, aim=None, cpu_least=None, cpu_aim=None):
    return [
        Row(f"relay.{key}", f"relayed, {label}", "/s", "more", least, aim),
        Row(f"relay.{key}.cpu", f"CPU for 1,000 relayed, {label}", "s", "less", cpu_least, cpu_aim),
    ]


ROWS = (
    _accept("c1", "1 connection", 1.5, 2)
    + _accept("c10", "10 connections", 3, 6)
    + _accept("c50", "50 connections", 5, 8)
    + _accept("c100", "100 connections", 5, 8)
    + _accept("c200", "200 connections, 250 processes")
    + _accept("c1.1k", "1 connection, 1 KiB")
    + _accept("c10.1k", "10 connections, 1 KiB")
    + _accept("c50.1k", "50 connections, 1 KiB")
    + _accept("c100.1k", "100 connections, 1 KiB")
    + _accept("c1.32k", "1 connection, 32 KiB")
    + _accept("c10.32k", "10 connections, 32 KiB")
    + _accept("c50.32k", "50 connections, 32 KiB")
    + _accept("c100.32k", "100 connections, 32 KiB")
    + _accept("c1.reused", "1 reused session")
    + _accept("c10.reused", "10 reused sessions", 3, 6)
    + _accept("c50.reused", "50 reused sessions", 3, 6)
    + _accept("c100.reused", "100 reused sessions")
    + _cpu("c1", "1 connection")
    + _cpu("c10", "10 connections")
    + _cpu("c50", "50 connections", 1 / 6, 1 / 12)
    + _cpu("c100", "100 connections")
    + _cpu("c50.reused", "50 reused sessions")
    + [
        Row("flushes", "cache flushes a message, 50 connections", "", "less", 0.3, 0.1, "value"),
        Row("latency", "final dot to 250, idle, median", "ms", "less", 0.7, 0.5),
        Row("maildir", "delivered to Maildir, 50 connections", "/s", "more", 3, 6),
        Row("maildir.cpu", "CPU for 1,000 to Maildir", "s", "less"),
        Row("deliver", "delivered through Dovecot deliver", "/s", "more", 1.1, 1.3),
        Row("deliver.cpu", "CPU for 1,000 through deliver", "s", "less"),
        Row("command", "delivered to a trivial command", "/s", "more"),
        Row("command.cpu", "CPU for 1,000 to a command", "s", "less"),
        Row("big", "20 × 20 MB at once", "MB/s", "more", 1, 1.5),
        Row("big.memory", "20 × 20 MB at once, peak memory", "MiB", "less", 32, 16, "value"),
        Row("memory.idle", "memory (PSS), idle", "MiB", "less", 7, 4, "value"),
        Row("memory.load", "memory at load, 100 connections", "MiB", "less", 20, 12, "value"),
        Row("memory.s1000", "memory, 1,000 sessions", "MiB", "less", 20, 12, "value"),
        Row("memory.s5000", "memory, 5,000 sessions", "MiB", "less", 64, 40, "value"),
        Row("queued.start", "start to first 250, 100,000 queued", "s", "less", 1, 0.2, "value"),
        Row("queued.memory", "memory, 100,000 queued", "MiB", "less", 32, 16, "value"),
        Row("queued.rate", "accepted beside 100,000 queued : beside none", "", "more", 0.9, 1, "value"),
        Row("queued.list", "listing 100,000", "s", "less", 0.5, 0.2, "value"),
        Row("tls.full.p256", "full TLS handshakes, P-256", "/s", "more"),
        Row("tls.full.p256.cpu", "CPU for 1,000 full, P-256", "s", "less", 1, 0.8),
        Row("tls.resumed.p256", "resumed TLS handshakes, P-256", "/s", "more"),
        Row("tls.resumed.p256.cpu", "CPU for 1,000 resumed, P-256", "s", "less"),
        Row("tls.full.rsa", "full TLS handshakes, RSA-2048", "/s", "more"),
        Row("tls.full.rsa.cpu", "CPU for 1,000 full, RSA-2048", "s", "less", 1 / 0.7, 1),
        Row("tls.resumed.rsa", "resumed TLS handshakes, RSA-2048", "/s", "more"),
        Row("tls.resumed.rsa.cpu", "CPU for 1,000 resumed, RSA-2048", "s", "less"),
        Row("tls.submit", "submitted over TLS with AUTH, 64 connections", "/s", "more"),
        Row("tls.submit.cpu", "CPU for 1,000 submitted", "s", "less"),
        Row("tls.idle", "memory of an idle TLS session", "KiB", "less", 40, 32, "value"),
        Row("tls.delay.p256", "reply beside 200 handshakes at once, P-256, at the most", "ms", "less", 20, 10, "value"),
        Row("tls.delay.p256.p99", "the same, 99 of 100 replies", "ms", "less"),
        Row("tls.delay.rsa", "reply beside 200 handshakes at once, RSA-2048, at the most", "ms", "less", 20, 10, "value"),
        Row("tls.delay.rsa.p99", "the same, 99 of 100 replies", "ms", "less"),
    ]
    + _relay("c1", "1 connection")
    + _relay("c10", "10 connections")
    + _relay("c50", "50 connections", 5, 8, 1 / 6, 1 / 10)
    + _relay("c100", "100 connections")
    + _relay("c50.1k", "50 connections, 1 KiB")
    + _relay("c50.32k", "50 connections, 32 KiB")
    + _relay("tls", "50 connections, TLS to the next host")
    + [
        Row("relay.memory", "memory at load, relaying, 50 connections", "MiB", "less"),
        Row("relay.big", "20 × 20 MB relayed", "MB/s", "more", 1, 1.5),
        Row("relay.big.memory", "20 × 20 MB relayed, peak memory", "MiB", "less", 32, 16, "value"),
        Row("relay.dead.alone", "relayed to 800 of 1,000 hosts, all alive", "/s", "more"),
        Row("relay.dead", "relayed to 800 of 1,000 hosts, the others dead", "/s", "more"),
        Row("relay.dead.ratio", "the second : the first", "", "more", 0.8, 1, "value"),
    ]
)


def number(value):
    """Three digits or so."""
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _target(row, value):
    if value is None:
        return ""
    if row.against == "value":
        return f"{number(value)} {row.unit}".strip()
    return f"1/{1 / value:.0f}" if value < 0.4 else f"{value:.3g}×"


def verdict(row, mta, ratio):
    """"aim", "yes" or "no": is what was asked for reached? Empty when nothing was asked or it cannot be told."""
    reached = mta if row.against == "value" else ratio
    if row.least is None or reached is None:
        return ""
    sign = 1 if row.better == "more" else -1
    if sign * reached >= sign * row.aim:
        return "aim"
    return "yes" if sign * reached >= sign * row.least else "no"


def lines(results):
    """Rows of text for what was measured. results: {(row key, server name): [a value for each round]}."""
    heading = ["", "mta", "Postfix", "mta : Postfix", "at the least", "aim", "reached"]
    body = []
    for row in ROWS:
        mta, postfix = (results.get((row.key, name)) for name in ("mta", "Postfix"))
        mta, postfix = (statistics.median(values) if values else None for values in (mta, postfix))
        if mta is None and postfix is None:
            continue
        ratio = mta / postfix if mta is not None and postfix else None
        unit = f" {row.unit}" if row.unit else ""
        body.append(
            [row.label]
            + [number(value) + unit if value is not None else "" for value in (mta, postfix)]
            + [number(ratio), _target(row, row.least), _target(row, row.aim), verdict(row, mta, ratio)]
        )
    return heading, body


def text(results):
    """The table for a terminal."""
    heading, body = lines(results)
    widths = [max(len(line[column]) for line in [heading, *body]) for column in range(len(heading))]
    return "\n".join(
        "  ".join(cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in enumerate(zip(line, widths))).rstrip()
        for line in [heading, *body]
    )


def markdown(results):
    """The table for README.md."""
    heading, body = lines(results)
    heading[0] = "what"
    rule = ["---"] + ["---:"] * (len(heading) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in [heading, rule, *body]) + "\n"
