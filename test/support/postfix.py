"""Directories with Postfix's main.cf and master.cf: the tutorial's on top of Debian's, and what the real postconf says of one."""

import pathlib

from support import certs, mta, procs

STOCK = pathlib.Path("/usr/share/postfix")  # where Debian's package has the files that a new installation begins with
TUTORIAL = pathlib.Path(__file__).parent / "tutorial"  # what the tutorial has its reader type into the two files

# What Debian's postinst adds to main.cf.debian and main.cf.tls by postconf -e.
_POSTINST = "smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated defer_unauth_destination\n"


def write(directory, main, master):
    """A directory with these two files."""
    directory.mkdir(mode=0o755, exist_ok=True)
    (directory / "main.cf").write_text(main)
    (directory / "master.cf").write_text(master)
    return directory


def tutorial_texts(replacements=()):
    """(main.cf, master.cf): Debian's, then the tutorial's lines; `replacements` are (old, new) pairs, each needed."""
    main = (STOCK / "main.cf.debian").read_text() + (STOCK / "main.cf.tls").read_text() + _POSTINST
    texts = [main + (TUTORIAL / "main.cf").read_text(), (STOCK / "master.cf.dist").read_text() + (TUTORIAL / "master.cf").read_text()]
    for old, new in replacements:
        assert old in texts[0] + texts[1], old
        texts = [text.replace(old, str(new)) for text in texts]
    return texts


def tutorial_replacements(folder):
    """The paths of the tutorial that a test cannot have: files are below `folder`; writes those that must be there."""
    (folder / "mailname").write_text("mail.hoppr.in\n")
    (folder / "aliases").write_text("postmaster: root\n")
    certificate, key = certs.Authority(folder / "ca").issue("tutorial", ["mail.hoppr.in"])
    live = folder / "letsencrypt"
    live.mkdir()
    certificate.rename(live / "fullchain.pem")
    key.rename(live / "privkey.pem")
    return [("/etc/letsencrypt/live/mail.hoppr.in", live), ("/etc/mailname", folder / "mailname"), ("/etc/aliases", folder / "aliases"), ("/etc/postfix/sql", folder / "sql")]


def sql_files(folder, source, queries):
    """The tutorial's three query files: `source` is what they have in common."""
    sql = folder / "sql"
    sql.mkdir(mode=0o755)
    names = {"virtual_mailbox_domains": "domains", "virtual_mailbox_maps": "mailbox", "virtual_alias_maps": "alias"}
    for parameter, name in names.items():
        path = sql / f"mysql_virtual_{name}_maps.cf"
        path.write_text(f"{source}query = {queries[parameter]}\n")
        path.chmod(0o640)


def postconf(directory, *args, check=True):
    """The output of Postfix's own postconf about this directory."""
    done = procs.run(["/usr/sbin/postconf", "-c", directory, *args], check=False)
    assert not check or done.returncode == 0, done.stderr.decode()
    return done.stdout.decode() if done.returncode == 0 else None


class Server(mta.Mta):
    """The program with such a directory. `address`: where its smtp listener is, "127.0.0.1:port"."""

    def __init__(self, folder, main, master, address):
        super().__init__(folder, listeners={"smtp": {"listen": address}})
        self.conf = write(folder / "postfix", f"{main}queue_directory = {self.queue}\nsmtpd_peername_lookup = no\n", master)

    def write_config(self):
        """It has been written."""
