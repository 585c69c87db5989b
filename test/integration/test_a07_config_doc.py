"""mta config doc: the reference of all parameters as a manual page, as Markdown, and as mta.conf.example."""

import pathlib
import re
import shutil

import pytest
from support import certs, mta, procs

TREE = pathlib.Path(__file__).parents[2]


def doc(form):
    done = mta.command("config", "doc", form)
    assert done.returncode == 0 and done.stderr == b""
    return done.stdout.decode()


@pytest.fixture(scope="module")
def names():
    """All parameters, but for those of single transports."""
    shown = mta.command("config", "show", "-d").stdout.decode()
    found = [line.split(" =")[0] for line in shown.splitlines()]
    return [name for name in found if not re.match(r"(discard|error|lmtp|relay|retry|smtp|virtual)_(destination_|initial_|time_limit|transport_rate)", name)]


def test_the_example_is_committed():
    assert doc("--example") == (TREE / "mta.conf.example").read_text(), "mta config doc --example > mta.conf.example"


def test_the_example_is_a_configuration(folder, owner):
    """With the users and places of this machine nothing is wrong with it, and nothing is said but what is not supported yet."""
    text = (TREE / "mta.conf.example").read_text()
    deliver = folder / "deliver"
    deliver.write_text("#!/bin/sh\n")
    deliver.chmod(0o755)
    certificate, key = certs.Authority(folder / "ca").issue("example", ["mail.example.com"])
    for old, new in [
        ("/var/spool/mta", folder / "queue"),
        ("vmail:vmail", f"{owner.user}:{owner.group}"),
        ("/usr/lib/dovecot/deliver", deliver),
        ("/etc/mta/sql", folder),
        ("/etc/letsencrypt/live/mail.example.com/fullchain.pem", certificate),
        ("/etc/letsencrypt/live/mail.example.com/privkey.pem", key),
    ]:
        assert old in text
        text = text.replace(old, str(new))
    (folder / "queue").mkdir()
    for table in set(re.findall(rf"^virtual_\w+ = mysql:({folder}/\S+)$", text, re.M)):
        path = pathlib.Path(table)
        path.write_text("user = u\npassword = p\nhosts = 127.0.0.1\ndbname = d\nquery = SELECT a FROM t WHERE a='%s'\n")
        path.chmod(0o640)
    (folder / "mta.conf").write_text(text)
    done = mta.command("--check-config", "-c", folder / "mta.conf")
    output = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, output
    assert [line for line in output.splitlines() if "warning:" in line and "not supported yet" not in line] == []


def test_the_example_has_every_default(folder, names):
    """Its comments, made lines, are the defaults, word by word."""
    text = (TREE / "mta.conf.example").read_text()
    reference = text[text.index("# ---- All parameters") : text.index("# ---- Parameters of each transport")]
    lines = re.findall(r"^#(\w+ =.*)$", reference, re.M)
    assert sorted(line.split(" =")[0] for line in lines) == names
    (folder / "mta.conf").write_text("\n".join(lines) + "\n")
    defaults = mta.command("config", "show", "-d", *names).stdout
    shown = mta.command("config", "show", "-c", folder / "mta.conf", *names).stdout
    found_out = [name for name in names if re.search(rf"^# By default: .*\n#{name} =$", reference, re.M)]
    assert 0 < len(found_out) < 10

    def rest(output):
        return [line for line in output.decode().splitlines() if line.split(" =")[0] not in found_out]

    assert rest(shown) == rest(defaults)


@pytest.mark.parametrize("form", ["--man", "--md", "--example"])
def test_every_parameter_is_in_it(form, names):
    text = doc(form).replace("\\-", "-")
    missing = [name for name in [*names, "listen", "type", "argv", "<transport>_time_limit"] if name.replace("<", "&lt;") not in text and name not in text]
    assert missing == []
    if form != "--example":
        known = ["smtpd_milters", "smtp_mx_session_limit", "lmtp_mx_session_limit", "2bounce_notice_recipient", "biff", "content_filter", "alias_database"]
        assert [name for name in known if name not in text] == []


@pytest.mark.skipif(shutil.which("groff") is None, reason="no groff")
def test_the_manual_page_has_no_mistake():
    page = doc("--man")
    for device in ("utf8", "ascii"):
        done = procs.run(["groff", "-ww", "-Wbreak", "-man", f"-T{device}", "-P-cbou"], input=page.encode())
        assert done.stderr == b""
    text = " ".join(done.stdout.decode().split())
    assert "smtpd_relay_before_recipient_restrictions (default: ${{$compatibility_level}" in text
    assert "mta.conf - configuration of the mail transfer agent" in text
    assert "\\n" in text, "the backslash of eol's default is gone"


def test_markdown_tables_are_whole():
    """In each table every row has as many cells as its head; no | in a value ends one."""
    cells = None
    rows = 0
    for line in doc("--md").splitlines():
        if not line.startswith("|"):
            cells = None
            continue
        count = len(re.findall(r"(?<!\\)\|", line))
        cells = cells or count
        assert count == cells, line
        rows += 1
    assert rows > 150


@pytest.mark.parametrize("args", [[], ["--html"], ["--man", "--md"]])
def test_usage(args):
    done = mta.command("config", "doc", *args)
    assert done.returncode == 2 and b"usage" in done.stderr and done.stdout == b""
