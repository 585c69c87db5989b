"""mta config import DIR: the mta.conf that means the same, and what becomes of each line."""

import re

import pytest
from support import mta, postfix, setups
from test_a03_postfix_directory import check

SOURCE = "user = postfix\npassword = x\nhosts = 127.0.0.1\ndbname = postfix\n"


@pytest.fixture
def tutorial(folder):
    postfix.sql_files(folder, SOURCE, setups.QUERIES)
    return postfix.write(folder / "postfix", *postfix.tutorial_texts(postfix.tutorial_replacements(folder)))


def imported(directory, name="mta.conf"):
    """(path of what was printed, the report's lines)"""
    done = mta.command("config", "import", directory)
    assert done.returncode == 0, done.stderr.decode()
    path = directory.parent / name
    path.write_bytes(done.stdout)
    return path, done.stderr.decode().splitlines()


def show(path):
    done = mta.command("config", "show", "-n", "-c", path)
    assert done.returncode == 0
    return done.stdout


def test_tutorial_means_the_same(tutorial):
    before = {path.name: path.read_bytes() for path in tutorial.iterdir()}
    path, _ = imported(tutorial)
    again, _ = imported(tutorial, "again.conf")
    assert path.read_bytes() == again.read_bytes()
    assert {file.name: file.read_bytes() for file in tutorial.iterdir()} == before
    assert show(path) == show(tutorial)
    status, ours = check(path)
    there_status, theirs = check(tutorial)
    assert (status, there_status) == (0, 0)
    # Nothing is said about the mta.conf that is not said about the directory.
    assert {text for *_, text in ours} - {text for *_, text in theirs} <= {
        f"{name}_transport: {transport} is not supported yet: mail for {whose} is deferred"
        for name, transport, whose in (("local", "local", "$mydestination"),)
    }
    assert len(ours) <= len(theirs)


def test_what_is_printed(tutorial):
    path, _ = imported(tutorial)
    text = path.read_text()
    main = (tutorial / "main.cf").read_text()
    assert text.startswith(main)
    assert "\n[listener smtp]\nlisten = smtp\n\n" in text
    assert (
        "\n[transport dovecot]\ntype = pipe\nflags = DRhu\nuser = vmail:vmail\n"
        "argv = /usr/lib/dovecot/deliver -f ${sender} -d ${user}@${nexthop}\n"
    ) in text
    assert "\n[listener submission]\nlisten = submission\nsyslog_name = postfix/submission\nsmtpd_tls_security_level = encrypt\n" in text
    assert re.findall(r"^\[listener (\S+)\]", text, re.M) == ["smtp", "submission", "smtps"]


def test_report(tutorial):
    """Every assignment and every service has exactly one verdict, at its line."""
    _, report = imported(tutorial)
    verdicts = {}
    for line in report:
        match = re.fullmatch(r"\S+/(main|master)\.cf:(\d+): (service (\S+ \S+) \(\S+\)|(-o )?\w+): (honoured|equivalent|harmless|not supported|not supported yet)(: .*)?", line)
        if match:
            assert verdicts.setdefault((match[1], int(match[2]), match[4] or match[3]), match[6]) == match[6]
    found = {(name, what): verdict for (name, _, what), verdict in verdicts.items()}
    assert found[("main", "virtual_mailbox_maps")] == "honoured"
    assert found[("main", "biff")] == "harmless"
    assert found[("main", "smtpd_sasl_auth_enable")] == "honoured"
    assert found[("main", "smtpd_tls_cert_file")] == "honoured"
    assert found[("main", "smtpd_milters")] == "not supported yet"
    assert found[("master", "smtp inet")] == "honoured"
    assert found[("master", "qmgr unix")] == "harmless"
    assert found[("master", "dovecot unix")] == "honoured"
    assert found[("master", "submission inet")] == "honoured"
    assert found[("master", "smtpd_tls_wrappermode")] == "honoured"
    assert found[("master", "milter_macro_daemon_name")] == "not supported yet"
    for name in ("main", "master"):
        lines = (tutorial / f"{name}.cf").read_text().splitlines()
        for number, line in enumerate(lines, 1):
            if re.match(r"\w", line):
                what = line.partition("=")[0].strip() if name == "main" else " ".join(line.split()[:2])
                again = f"{name}.cf:{number}: {what} is set again"
                assert (name, number, what) in verdicts or any(again in said for said in report), line
    counts = [int(count) for count in re.findall(r"(\d+) (?:honoured|equivalent|harmless|not supported)", report[-1])]
    assert len(counts) == 5 and sum(counts) == len(verdicts)


MASTER = """\
smtp inet n - n - 1 postscreen
smtpd pass - - n - - smtpd
submission inet n - n - - smtpd -o syslog_name=other -o content_filter=scan:x
cleanup unix n - n - 0 cleanup -o header_checks=regexp:/x
policy unix - n n - 0 spawn user=nobody argv=/bin/true
custom unix - n n - 3 pipe
  null_sender= user=nobody argv=/bin/cat { a b } ${recipient}
gone unix - n n - - pipe user=no-such-user argv=/bin/true
"""


def test_what_has_no_equal(folder):
    """No port becomes open by the import; what main.cf means without saying it is said."""
    path, report = imported(postfix.write(folder / "postfix", "sql = $config_directory/sql\nvirtual_alias_maps = inline:{a=$sql}\nsmtpd_relay_restrictions = reject\n", MASTER))
    text = path.read_text()
    assert f"\nconfig_directory = {folder}/postfix\n" in text
    assert "\ncompatibility_level = 0\n" in text
    assert re.findall(r"^\[listener \S+\]\nlisten = (.*)", text, re.M) == ["127.0.0.1:25"]
    # Not opened, so not there, but easy to bring back.
    assert "\n# [listener submission]\n# listen = submission\n# syslog_name = other\n" in text
    assert "[transport custom]\ntype = pipe\nmaxproc = 3\nnull_sender =\nuser = nobody\nargv = /bin/cat { a b } ${recipient}\n" in text
    assert '\n# there is no user "no-such-user"\n# [transport gone]\n' in text
    said = "\n".join(report)
    for pattern in (
        r"master\.cf:1: service smtp inet \(postscreen\): not supported: postscreen is not supported",
        r"master\.cf:2: service smtpd pass \(smtpd\): not supported: ",
        r"master\.cf:4: service cleanup: -o header_checks is not supported",
        r"master\.cf:5: service policy unix \(spawn\): not supported: ",
        r'master\.cf:8: service gone unix \(pipe\): not supported: there is no user "no-such-user"',
    ):
        assert re.search(pattern, said), (pattern, said)


def test_errors_are_told_and_nothing_is_printed(folder):
    directory = postfix.write(folder / "postfix", "no equals sign\n", "smtp inet n - n - - smptd\n")
    done = mta.command("config", "import", directory)
    assert (done.returncode, done.stdout) == (1, b"")
    assert re.search(r"main\.cf:1: error: .*\n(.*\n)*.*master\.cf:1: error: ", done.stderr.decode())
    assert mta.command("config", "import").returncode == 2
    (folder / "mta.conf").write_text("myhostname = a.example\n")
    assert mta.command("config", "import", folder / "mta.conf").returncode == 1
