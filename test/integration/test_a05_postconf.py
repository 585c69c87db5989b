"""Every parameter of Postfix 3.7 is known by name, and those that are honoured have Postfix's defaults, as the real postconf prints them."""

import shutil

import pytest
from support import mta, procs

MASTER = "/usr/share/postfix/master.cf.dist"

# What differs on purpose.
DIFFERENCES = {
    "alias_maps": "there is no NIS here, and no alias file on a machine without /etc/aliases",
    "compatibility_level": "a configuration of our own has nothing to be compatible with",
    "config_directory": "ours is another one",
    "data_directory": "ours is another one",
    "queue_directory": "ours is another one",
    "mail_version": "ours is another one",
    "smtpd_forbid_bare_newline": "the default of Postfix 3.9, which keeps smuggled mail out",
    "tls_preempt_cipherlist": "the strongest cipher that both sides have, whatever order a client has them in",
    "smtpd_sasl_type": "with smtpd_sasl_password_maps, which is ours, it is table",
}
# The default is the machine's networks or addresses, by mynetworks_style and so by compatibility_level.
FOLLOWS_LEVEL = {"mynetworks"}


def postfix_release():
    if shutil.which("postconf") is None:
        return "none"
    return procs.run(["postconf", "-d", "-h", "mail_version"], check=False).stdout.decode().strip()


pytestmark = pytest.mark.skipif(not postfix_release().startswith("3.7."), reason="the tables are about Postfix 3.7")


def as_dict(output):
    """NAME = VALUE lines."""
    return {name: value.strip() for name, equals, value in (line.partition(" =") for line in output.decode().splitlines()) if equals}


@pytest.fixture(scope="module")
def directory(module_folder):
    """An /etc/postfix that says nothing, with Debian's services."""
    path = module_folder / "postfix"
    path.mkdir()
    shutil.copy(MASTER, path / "master.cf")
    (path / "main.cf").write_text("")
    return path


@pytest.fixture(scope="module")
def defaults(directory):
    """name -> default, of all parameters that Postfix has."""
    found = as_dict(procs.run(["postconf", "-c", directory, "-d"]).stdout)
    assert len(found) > 1000
    return found


def show(*args):
    done = mta.command("config", "show", *args)
    assert done.returncode == 0, done.stderr.decode()
    return as_dict(done.stdout), done.stderr.decode()


def test_every_name_is_known(directory, defaults):
    _, complaints = show("-c", directory, *defaults)
    assert [line for line in complaints.splitlines() if "unknown parameter" in line] == []


def test_defaults(defaults):
    ours, _ = show("-d")
    both = set(ours) & set(defaults)
    assert len(both) > 100
    same = {name for name in both if ours[name] == defaults[name]}
    assert both - same - FOLLOWS_LEVEL == set(DIFFERENCES)


def test_defaults_of_transports(directory, defaults):
    """With Postfix's own services its parameters of each of them have its defaults too."""
    ours, _ = show("-c", directory, *(name for name in defaults if "_destination_" in name or name.endswith("_time_limit")))
    assert len(ours) > 40 and "local_destination_concurrency_limit" in ours and "maildrop_time_limit" in ours
    assert {name: (ours[name], defaults[name]) for name in ours if ours[name] != defaults[name]} == {}


def test_what_is_no_default_is_unknown():
    _, complaints = show("-d", "smtpd_banana", "smtpd_recipient_limt", "dovecot_destination_rate_delay")
    assert complaints.splitlines() == [
        "mta: warning: smtpd_banana: unknown parameter; did you mean smtpd_banner?",
        "mta: warning: smtpd_recipient_limt: unknown parameter; did you mean smtpd_recipient_limit?",
        "mta: warning: dovecot_destination_rate_delay: unknown parameter",
    ]


def test_defaults_are_never_complained_about(directory, defaults, tmp_path):
    """A main.cf that sets each parameter to what it is anyway is not worth a word."""
    lines = [f"{name} = {value}" for name, value in defaults.items() if name not in DIFFERENCES and name not in FOLLOWS_LEVEL]
    shutil.copy(MASTER, tmp_path / "master.cf")
    (tmp_path / "main.cf").write_text("\n".join(["compatibility_level = 3.6", *lines]) + "\n")
    done = mta.command("--check-config", "-c", tmp_path)
    output = (done.stdout + done.stderr).decode()
    assert [line for line in output.splitlines() if "main.cf" in line] == []
    assert "master.cf" in output, "nothing was checked"
