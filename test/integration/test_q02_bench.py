"""test/bench/run works: a table comes out of it. How fast anything is does not matter here."""

import json
import os
import pathlib
import sys

import pytest
from support import mta, procs

from bench import table

RUN = pathlib.Path(__file__).parents[1] / "bench" / "run"


def bench(folder, *args, timeout=120):
    """Runs it; (the table as lines of cells, {(row, server): [value, …]})."""
    if os.geteuid() != 0:
        pytest.skip("Postfix needs root")
    done = procs.run(
        [sys.executable, RUN, "--mta", mta.BINARY, "--quick", "--dir", folder, "--markdown", folder / "table", "--json", folder / "json", *args],
        timeout=timeout,
    )
    assert b"mta : Postfix" in done.stdout
    assert list(folder.glob("mta-bench-*")) == []
    rows = [line.strip("| \n").split(" | ") for line in (folder / "table").read_text().splitlines() if line.startswith("|")]
    values = {(entry["row"], entry["server"]): entry["values"] for entry in json.loads((folder / "json").read_text())["results"]}
    return rows, values


def test_accept(folder):
    rows, values = bench(folder, "--only", "accept.c10", "--messages", "50")
    assert [row[0] for row in rows[2:]] == ["accepted, 10 connections", "CPU for 1,000, 10 connections"]
    assert set(values) == {(row, server) for row in ("accept.c10", "accept.c10.cpu") for server in ("mta", "Postfix")}
    assert all(len(found) == 1 and found[0] > 0 for found in values.values())


def test_tls(folder):
    _, values = bench(folder, "--only", "tls.resumed.p256", "--only", "tls.submit", "--messages", "64")
    assert set(values) == {(row + cpu, server) for row in ("tls.resumed.p256", "tls.submit") for cpu in ("", ".cpu") for server in ("mta", "Postfix")}
    assert all(len(found) == 1 and found[0] > 0 for found in values.values())


def test_relay(folder):
    _, values = bench(folder, "--only", "relay.c10", "--only", "relay.dead", "--messages", "200")
    rows = {"relay.c10", "relay.c10.cpu", "relay.dead", "relay.dead.alone", "relay.dead.ratio"}
    assert set(values) == {(row, server) for row in rows for server in ("mta", "Postfix")}
    assert all(len(found) == 1 and found[0] > 0 for found in values.values())


@pytest.mark.long
def test_everything(folder):
    _, values = bench(folder, "--full", timeout=900)
    rows = {row.key for row in table.ROWS}
    assert rows <= {row for row, server in values if server == "mta"}
    assert rows - {row for row, server in values if server == "Postfix"} == {"memory.s5000"}


@pytest.mark.parametrize(
    "key, mta_value, ratio, wanted",
    [
        ("accept.c50", None, 8.0, "aim"),
        ("accept.c50", None, 7.9, "yes"),
        ("accept.c50", None, 4.9, "no"),
        ("accept.c50", None, None, ""),
        ("accept.c50.cpu", None, 0.08, "aim"),
        ("accept.c50.cpu", None, 0.1, "yes"),
        ("accept.c50.cpu", None, 0.2, "no"),
        ("memory.idle", 4.0, 99, "aim"),
        ("memory.idle", 7.1, 0.1, "no"),
        ("command", 100, 9, ""),
    ],
)
def test_verdict(key, mta_value, ratio, wanted):
    (row,) = (row for row in table.ROWS if row.key == key)
    assert table.verdict(row, mta_value, ratio) == wanted


def test_medians():
    results = {("accept.c50", "mta"): [900.0, 5000.0, 1000.0], ("accept.c50", "Postfix"): [100.0, 99.0, 101.0], ("memory.s5000", "mta"): [41.0]}
    assert table.markdown(results).splitlines()[2:] == [
        "| accepted, 50 connections | 1,000 /s | 100 /s | 10.0 | 5× | 8× | aim |",
        "| memory, 5,000 sessions | 41.0 MiB |  |  | 64.0 MiB | 40.0 MiB | yes |",
    ]
