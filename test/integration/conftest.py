"""Fixtures of the integration tests: a work folder, the real servers, and mta itself.

Run one file with `MTA_BIN=build/mta /usr/bin/python3 -m pytest -q test/integration/test_b01_receive.py`; as root, since
delivery changes to the mail's owner. MTA_TEST_KEEP=1 keeps the work folder.
"""

import grp
import os
import pathlib
import pwd
import shutil
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
sys.dont_write_bytecode = True
pytest.register_assert_rewrite("support.maildir", "support.smtp", "support.mta")

from support import mariadb as mariadb_support  # noqa: E402
from support import mta as mta_support  # noqa: E402
from support import procs, setups  # noqa: E402
from support.dovecot import Dovecot  # noqa: E402


@pytest.fixture(scope="session")
def workdir():
    """A folder that the mail's owner and the database's user can enter, unlike pytest's own tmp_path."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="mta-test-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    procs.kill_all()
    if not os.environ.get("MTA_TEST_KEEP"):
        shutil.rmtree(path, ignore_errors=True)


_numbers = iter(range(1, 1_000_000))


def _folder(workdir, name):
    path = workdir / f"{next(_numbers):03d}-{name}"
    path.mkdir(mode=0o755)
    return path


@pytest.fixture
def folder(workdir, request):
    """A fresh folder for one test."""
    return _folder(workdir, request.node.name.split("[")[0][:40])


@pytest.fixture(scope="module")
def module_folder(workdir, request):
    """A fresh folder for one file of tests."""
    return _folder(workdir, request.module.__name__)


@pytest.fixture(scope="session")
def owner():
    """Who owns delivered mail: the tutorial's vmail (5000:5000) when we are root, else ourselves."""
    if os.geteuid() != 0:
        return setups.Owner(pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name, os.getuid(), os.getgid())
    try:
        pwd.getpwnam("vmail")
    except KeyError:
        procs.run(["groupadd", "-g", "5000", "vmail"])
        procs.run(["useradd", "-u", "5000", "-g", "vmail", "-s", "/usr/sbin/nologin", "-d", "/var/mail/vmail", "-M", "vmail"])
    entry = pwd.getpwnam("vmail")
    return setups.Owner("vmail", "vmail", entry.pw_uid, entry.pw_gid)


@pytest.fixture(scope="session")
def dovecot(workdir, owner):
    server = Dovecot(workdir / "dovecot", owner.user, owner.group)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def mariadb_template(workdir):
    return mariadb_support.make_template(workdir)


@pytest.fixture(scope="module")
def mariadb(mariadb_template, module_folder):
    """A running server for one file of tests; empty tables. Don't break it: ask make_mariadb for that."""
    server = mariadb_support.MariaDb(module_folder / "mariadb", mariadb_template)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def make_mariadb(mariadb_template, folder):
    """make_mariadb(*options) starts a server of the test's own, which it may stop, kill or freeze."""

    def make(*options):
        server = mariadb_support.MariaDb(folder / f"mariadb{next(_numbers)}", mariadb_template, options)
        server.start()
        return server

    return make


def _mta_factory(folder):
    servers = []

    def make(main=None, listeners=None, transports=None, start=True):
        server = mta_support.Mta(folder / f"mta{len(servers)}", main, listeners, transports)
        servers.append(server)
        if start:
            server.start()
        return server

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def make_mta(folder):
    """make_mta(main, listeners, transports) starts a server; the end of the test stops it and checks that it ends clean."""
    yield from _mta_factory(folder)


@pytest.fixture(scope="module")
def make_module_mta(module_folder):
    """The same for a server that all tests of a file share."""
    yield from _mta_factory(module_folder)


@pytest.fixture(scope="module")
def hosted(make_module_mta, module_folder, owner):
    """A server that all tests of a file share: it hosts u1 … u20@hosted.example in Maildirs of its own and nothing else.
    `hosted.maildir("u1")` is where mail for u1 arrives."""
    return setups.hosted_server(make_module_mta, module_folder, owner)


def pytest_collection_modifyitems(items):
    """Tests marked `long` are for test/run --long; without it a file of nothing else still passes."""
    if os.environ.get("MTA_LONG_TESTS") != "1":
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="long"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test's report shows the log of the servers that were running."""
    report = (yield).get_result()
    if report.failed:
        for server in mta_support.running():
            report.sections.append((f"log of mta in {server.directory}", server.tail()))


def pytest_collection_finish(session):
    """Without the program there is nothing to test: one line instead of an error for each test."""
    if not session.config.option.collectonly and not mta_support.BINARY.exists():
        pytest.exit(f"{mta_support.BINARY} is not there: build it, or set MTA_BIN", returncode=2)
