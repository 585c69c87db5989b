"""mta config show is postconf: all parameters, those set (-n), the defaults (-d), or some by name."""

import pytest
from support import mta

TEXT = """\
myhostname = mail.example.com
mydomain = example.com
smtpd_banner = $myhostname ESMTP
    and more
# a comment
smtpd_recipient_limit = 77
myhostname = other.example.com
[listener smtp]
listen = 127.0.0.1:2525
"""


@pytest.fixture
def show(folder):
    (folder / "mta.conf").write_text(TEXT)

    def run(*args):
        done = mta.command("config", "show", "-c", folder / "mta.conf", *args)
        assert done.returncode == 0, done.stderr.decode()
        lines = [line.partition(" =") for line in done.stdout.decode().splitlines()]
        return {name: value.strip() for name, _, value in lines if not name.startswith(("[", " ", "#")) and name != "listen"}

    return run


def test_set_ones(show):
    assert show("-n") == {
        "myhostname": "other.example.com",
        "mydomain": "example.com",
        "smtpd_banner": "$myhostname ESMTP and more",
        "smtpd_recipient_limit": "77",
    }


def test_defaults(show):
    defaults = show("-d")
    assert defaults["smtpd_recipient_limit"] == "1000"
    assert defaults["smtpd_banner"].startswith("$myhostname ESMTP")
    assert len(defaults) > 50


def test_all(show):
    everything = show()
    assert everything["smtpd_recipient_limit"] == "77" and everything["smtpd_timeout"]
    assert set(show("-n")) <= set(everything)


def test_by_name(show):
    assert show("smtpd_recipient_limit", "mydomain") == {"smtpd_recipient_limit": "77", "mydomain": "example.com"}
    assert show("-d", "smtpd_recipient_limit") == {"smtpd_recipient_limit": "1000"}


# Postfix's documented defaults.
DEFAULTS = {
    "message_size_limit": "10240000",
    "header_size_limit": "102400",
    "hopcount_limit": "50",
    "line_length_limit": "2048",
    "smtpd_hard_error_limit": "20",
    "smtpd_soft_error_limit": "10",
    "smtpd_error_sleep_time": "1s",
    "smtpd_junk_command_limit": "100",
    "smtpd_client_connection_count_limit": "50",
    "smtpd_helo_required": "no",
    "disable_vrfy_command": "no",
    "smtpd_delay_reject": "yes",
    "smtpd_forbid_bare_newline": "normalize",
    "virtual_alias_expansion_limit": "1000",
    "virtual_alias_recursion_limit": "1000",
    "queue_run_delay": "300s",
    "minimal_backoff_time": "300s",
    "maximal_backoff_time": "4000s",
    "maximal_queue_lifetime": "5d",
    "default_process_limit": "100",
    "default_destination_recipient_limit": "50",
    "default_destination_concurrency_limit": "20",
    "initial_destination_concurrency": "5",
    "virtual_mailbox_limit": "51200000",
    "syslog_name": "postfix",
}


def test_documented_defaults(show):
    def plain(value):
        """Values written as ${name?{a}:{b}}, with a name that is not set by default, count as b."""
        return value.rsplit(":{", 1)[1].rstrip("}") if value.startswith("${") else value

    shown = show("-d")
    assert {name: plain(shown[name]) for name in DEFAULTS} == DEFAULTS
