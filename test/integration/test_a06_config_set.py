"""mta config set and unset are postconf -e and -#: one rename, everything else in the file as it was, and nothing that would not load."""

import os
import subprocess

import pytest
from support import mta, procs

TEXT = """\
# The host.
myhostname = mail.example.com
mydestination =

#smtpd_timeout = 1s
smtpd_recipient_limit = 10
# a list
mynetworks = 127.0.0.0/8,
    # the other half
    [::1]/128
queue_directory = {folder}/queue

# clients
[listener smtp]
listen = 127.0.0.1:2525

[transport p]
type = discard
"""


@pytest.fixture
def conf(folder):
    (folder / "queue").mkdir()
    path = folder / "mta.conf"
    path.write_text(TEXT.format(folder=folder))
    return path


def change(verb, conf, *args):
    """Runs `mta config set` or `unset`; returns its exit status and what it says on stderr."""
    done = mta.command("config", verb, *args, "-c", conf)
    assert done.stdout == b""
    return done.returncode, done.stderr.decode()


def test_replaces_adds_and_keeps(conf, folder):
    before = conf.read_text()
    assert change("set", conf, "smtpd_recipient_limit=77", "mynetworks=127.0.0.1", "smtpd_timeout = 30s") == (0, "")
    expected = (
        before.replace("limit = 10\n", "limit = 77\n")
        .replace("mynetworks = 127.0.0.0/8,\n    # the other half\n    [::1]/128\n", "mynetworks = 127.0.0.1\n    # the other half\n")
        .replace("/queue\n", "/queue\nsmtpd_timeout = 30s\n")
    )
    assert conf.read_text() == expected
    assert sorted(path.name for path in folder.iterdir()) == ["mta.conf", "queue"], "a temporary file was left"
    shown = mta.command("config", "show", "-c", conf, "smtpd_recipient_limit", "smtpd_timeout").stdout
    assert shown == b"smtpd_recipient_limit = 77\nsmtpd_timeout = 30s\n"


def test_values_are_taken_as_they_are(conf):
    assert change("set", conf, "smtpd_banner=$myhostname ESMTP # = ${stress?{a}:{b}}") == (0, "")
    assert "\nsmtpd_banner = $myhostname ESMTP # = ${stress?{a}:{b}}\n" in conf.read_text()


def test_sections(conf):
    assert change("set", conf, "listener/smtp/smtpd_timeout=5s", "transport/p/maxproc=3", "p_destination_recipient_limit=1") == (0, "")
    text = conf.read_text()
    assert "listen = 127.0.0.1:2525\nsmtpd_timeout = 5s\n\n[transport p]\ntype = discard\nmaxproc = 3\n" in text
    assert "/queue\np_destination_recipient_limit = 1\n\n# clients\n[listener" in text


def test_unset_makes_comments(conf):
    before = conf.read_text()
    assert change("unset", conf, "mynetworks", "smtpd_recipient_limit") == (0, "")
    assert conf.read_text() == before.replace("smtpd_rec", "#smtpd_rec").replace("mynetworks", "#mynetworks").replace("    [::1]", "#    [::1]")
    status, said = change("unset", conf, "mynetworks")
    assert status == 0 and "not set" in said


# Arguments, and a word of what is said.
REFUSED = [
    (["smtpd_recipent_limit=5"], "did you mean smtpd_recipient_limit?"),
    (["qqqqqq=5"], "unknown parameter"),
    (["smtpd_recipient_limit=many"], "not a number"),
    (["smtpd_recipient_limit=0"], "out of range"),
    (["smtpd_recipient_limit"], "="),
    (["=5"], "name"),
    (["smtpd_recipient_limit=5\nx=y"], "more than one line"),
    (["smtpd_recipient_limit=5", "disable_vrfy_command=perhaps"], "neither yes nor no"),
    (["mynetworks=0.0.0.0/0"], "open relay"),
    (["smtpd_banner=${myhostname"], "not closed"),
    (["content_filter=scan:x"], "not supported yet"),
    (["listener/smtp/listen=nowhere:99999"], "port"),
    (["listener/other/smtpd_timeout=5s"], "[listener other]"),
    (["transport/p/argv=/bin/true"], "argv"),
    (["transport/p/typo=5"], "typo"),
    (["section/p/maxproc=5"], "section"),
    (["listener/smtpd_timeout=5"], "listener/NAME"),
]


@pytest.mark.parametrize("args,said", REFUSED)
def test_refused(conf, folder, args, said):
    before, inode = conf.read_bytes(), conf.stat().st_ino
    status, errors = change("set", conf, *args)
    assert status == 1 and said in errors and errors.startswith("mta: error: ")
    assert conf.read_bytes() == before and conf.stat().st_ino == inode
    assert len(list(folder.iterdir())) == 2


def test_unset_is_refused_too(conf):
    assert change("set", conf, "compatibility_level=0", "smtpd_relay_restrictions=permit_mynetworks, reject") == (0, "")
    before = conf.read_text()
    status, errors = change("unset", conf, "smtpd_relay_restrictions")
    assert status == 1 and "open relay" in errors and conf.read_text() == before


def test_a_name_of_ones_own(conf):
    """It may be set when something uses it."""
    assert change("set", conf, "friends=192.0.2.1")[0] == 1
    assert change("set", conf, "friends=192.0.2.1", "mynetworks=127.0.0.1 $friends") == (0, "")


def test_mends_a_broken_file(conf):
    """One error does not keep another from being mended."""
    conf.write_text(conf.read_text().replace("limit = 10", "limit = x\nmessage_size_limit = y"))
    assert change("set", conf, "smtpd_recipient_limit=z")[0] == 1
    assert change("set", conf, "smtpd_recipient_limit=10") == (0, "")
    assert change("set", conf, "message_size_limit=100000") == (0, "")
    assert mta.command("--check-config", "-c", conf).returncode == 0


def test_warns_of_what_has_no_effect(conf):
    status, said = change("set", conf, "best_mx_transport=virtual")
    assert status == 0 and said == "mta: warning: best_mx_transport is not supported yet: it has no effect\n"


def test_owner_and_mode_stay(conf, owner):
    conf.chmod(0o640)
    os.chown(conf, owner.uid, owner.gid)
    assert change("set", conf, "smtpd_timeout=30s") == (0, "")
    status = conf.stat()
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o640, owner.uid, owner.gid)


def test_a_symbolic_link_stays(conf, folder):
    (folder / "real").mkdir()
    target = folder / "real" / "site.conf"
    conf.rename(target)
    conf.symlink_to("real/site.conf")
    assert change("set", conf, "smtpd_timeout=30s") == (0, "")
    assert conf.is_symlink() and not target.is_symlink() and "smtpd_timeout = 30s\n" in target.read_text()


def test_what_is_the_same_already_is_left_alone(conf):
    inode = conf.stat().st_ino
    assert change("set", conf, "smtpd_recipient_limit=10") == (0, "")
    assert conf.stat().st_ino == inode


def test_several_at_the_same_time(conf):
    """Each of them is in the file at the end."""
    limits = {f"unknown_{name}_reject_code": str(400 + i) for i, name in enumerate(("virtual_alias", "virtual_mailbox", "local_recipient", "relay_recipient"))}
    children = [subprocess.Popen([mta.BINARY, "config", "set", f"{name}={value}", "-c", conf]) for name, value in limits.items()]
    assert [procs.wait_end(child, 60) for child in children] == [0] * len(children)
    text = conf.read_text()
    assert all(f"\n{name} = {value}\n" in text for name, value in limits.items())


def test_no_file(folder):
    status, errors = change("set", folder / "none", "smtpd_timeout=30s")
    assert status == 1 and str(folder / "none") in errors and not (folder / "none").exists()


def test_postfix_directory(folder):
    """-c DIR changes its main.cf, as the real postconf -e does."""
    (folder / "main.cf").write_text("compatibility_level = 3.6\n# the host\nmyhostname = a.example\n    \n#mydomain = example\nhopcount_limit =\n 40")
    (folder / "master.cf").write_text("smtp inet n - n - - smtpd\n")
    master = (folder / "master.cf").read_bytes()
    assert change("set", folder, "myhostname=mail.example.com", "hopcount_limit=30", "virtual_maps=") == (0, "")
    assert (folder / "main.cf").read_text() == (
        "compatibility_level = 3.6\n# the host\nmyhostname = mail.example.com\n    \n#mydomain = example\nhopcount_limit = 30\nvirtual_maps =\n"
    )
    assert (folder / "master.cf").read_bytes() == master
    status, errors = change("set", folder, "listener/smtp/smtpd_timeout=5s")
    assert status == 1 and "master.cf" in errors
