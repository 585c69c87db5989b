"""The real postmap, to compare answers with."""

import re
import shutil

from support import procs

PROGRAM = shutil.which("postmap", path="/usr/sbin:/usr/bin")


class Postmap:
    def __init__(self, folder):
        self.etc = folder / "postmap-etc"
        self.etc.mkdir()
        (self.etc / "main.cf").write_text("compatibility_level = 3.6\n")

    def __call__(self, key, table):
        """What `postmap -q` says: a value, None, or False when the table fails."""
        done = procs.run([PROGRAM, "-c", self.etc, "-q", key, table], check=False)
        assert not re.search(rb" line \d+: (?!no replacement text)", done.stderr), f"postmap leaves out a rule: {done.stderr}"
        if done.returncode == 0:
            return done.stdout.decode().removesuffix("\n")
        return False if b"fatal" in done.stderr else None
