"""mta --check-config: all that is wrong, with file and line; exit status 0 for clean or warnings only, 1 for errors."""

import pytest
from support import mta, setups
from support.setups import DOMAIN

GOOD = {
    "myhostname": "mail.example.com",
    "mydestination": "",
    "default_transport": "error:no way out of here",
    "relay_transport": "error:no way out of here",
}


@pytest.fixture
def check(folder, owner):
    """check(text or dict) runs the check; returns (exit status, output)."""

    def run(main, listeners=None, transports=None):
        if isinstance(main, dict):
            queue = folder / "queue"
            queue.mkdir(exist_ok=True)
            main = mta.config_text(GOOD | {"queue_directory": queue} | main, listeners or {"smtp": {"listen": "127.0.0.1:2525"}}, transports)
        path = folder / "mta.conf"
        path.write_text(main)
        done = mta.command("--check-config", "-c", path)
        return done.returncode, (done.stdout + done.stderr).decode()

    return run


def test_clean(check, folder, owner):
    base = setups.mail_folder(folder, owner)
    delivery, transports = setups.maildir_delivery(base, owner)
    status, output = check(setups.text_tables(folder, [f"u1@{DOMAIN}"]) | delivery, transports=transports)
    assert status == 0
    assert output.replace("0 errors, 0 warnings", "").count("\n") <= 1 and "warning:" not in output and "error:" not in output


def test_every_error_with_its_line(check, folder):
    status, output = check(
        "# a comment\n"
        "myhostname = mail.example.com\n"
        "smtpd_recipient_limit = many\n"
        "message_size_limit =\n"
        "    12x\n"
        "disable_vrfy_command = perhaps\n"
        "virtual_mailbox_domans = hosted.example\n"
        "[listener smtp]\n"
        "listen = 127.0.0.1:99999\n"
        "[transport broken]\n"
        "type = nonsense\n"
    )
    assert status == 1
    path = folder / "mta.conf"
    for line, word in [(3, "smtpd_recipient_limit"), (4, "message_size_limit"), (6, "disable_vrfy_command"), (9, "99999"), (11, "nonsense")]:
        assert [text for text in output.splitlines() if f"{path}:{line}:" in text and word in text], f"line {line}, {word}, in:\n{output}"
    [unknown] = [text for text in output.splitlines() if "virtual_mailbox_domans" in text]
    assert f"{path}:7:" in unknown and "virtual_mailbox_domains" in unknown, "the nearest known name is missing"


def test_parameters_of_transports_are_known(check, owner):
    """The tutorial's dovecot_destination_recipient_limit is no typo; that of an unknown transport is worth a word."""
    status, output = check(
        {"virtual_transport": "dovecot", "dovecot_destination_recipient_limit": "1", "dovecot_time_limit": "100s"},
        transports={"dovecot": setups.pipe(owner, "/bin/true", flags="DRhu")},
    )
    assert status == 0 and "dovecot" not in output
    _, output = check({"nosuch_destination_recipient_limit": "1"})
    assert "nosuch_destination_recipient_limit" in output


@pytest.mark.parametrize(
    "settings",
    [
        {"mynetworks": "0.0.0.0/0"},
        {"mynetworks": "[::]/0"},
        {"smtpd_relay_restrictions": "permit"},
        {"smtpd_relay_restrictions": "", "smtpd_recipient_restrictions": ""},
    ],
)
def test_open_relay(check, settings):
    status, output = check(settings)
    assert status == 1, output
    assert "relay" in output.lower()


def test_overlapping_classes_are_a_warning(check):
    status, output = check({"mydestination": "hosted.example", "virtual_alias_domains": "hosted.example"})
    assert status == 0
    [line] = [line for line in output.splitlines() if "hosted.example" in line]
    assert "mydestination" in line and "virtual_alias_domains" in line


def test_missing_table_file(check, folder):
    status, output = check({"virtual_mailbox_maps": f"texthash:{folder}/nonexistent", "virtual_alias_maps": f"mysql:{folder}/none.cf"})
    assert status == 1
    assert f"{folder}/nonexistent" in output and f"{folder}/none.cf" in output


def test_bad_table_file(check, folder):
    (folder / "bad.cf").write_text("dbpath = /nonexistent.db\nquery = SELECT '%x'\n")
    status, output = check({"virtual_alias_maps": f"sqlite:{folder}/bad.cf"})
    assert status == 1 and "bad.cf" in output


def test_unknown_table_type(check):
    status, output = check({"virtual_alias_maps": "msyql:/etc/x.cf"})
    assert status == 1 and "msyql" in output


def test_readable_password(check, folder):
    """A file with a password that everybody may read is worth a warning."""
    path = folder / "sql.cf"
    path.write_text("user = u\npassword = secret\nhosts = 127.0.0.1\ndbname = d\nquery = SELECT 1 FROM t WHERE a='%s'\n")
    path.chmod(0o644)
    status, output = check({"virtual_alias_maps": f"mysql:{path}"})
    assert status == 0 and str(path) in output and "secret" not in output
    path.chmod(0o640)
    status, output = check({"virtual_alias_maps": f"mysql:{path}"})
    assert status == 0 and str(path) not in output


def test_host_bits_in_a_network(check):
    status, output = check({"mynetworks": "192.168.1.1/24"})
    assert status == 1 and "192.168.1.0/24" in output


@pytest.mark.parametrize("settings", [{"user": "root"}, {"user": "nosuchuser"}, {"flags": "DRZ"}, {"argv": ""}])
def test_bad_pipe(check, owner, settings):
    status, output = check({}, transports={"command": {**setups.pipe(owner, "/bin/true"), **settings}})
    assert status == 1 and ("command" in output or next(iter(settings)) in output)


def test_no_file(folder):
    done = mta.command("--check-config", "-c", folder / "nonexistent")
    assert done.returncode == 1 and "nonexistent" in (done.stdout + done.stderr).decode()


def test_what_the_check_accepts_starts(make_mta, folder, owner):
    """And what it checked is what runs."""
    server = setups.hosted_server(make_mta, folder, owner)
    done = mta.command("--check-config", "-c", server.conf)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
