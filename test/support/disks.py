"""Small disks: a tmpfs of a few megabytes that a test mounts, fills up and empties again."""

import contextlib
import os
import subprocess

import pytest
from support import procs

FILLER = "filler"


class Disk:
    """A mounted file system at `path`."""

    def __init__(self, path):
        self.path = path

    def free(self):
        fs = os.statvfs(self.path)
        return fs.f_bavail * fs.f_frsize

    def fill(self, leave=0):
        """Takes all room but `leave` bytes."""
        with open(self.path / FILLER, "ab", buffering=0) as out, contextlib.suppress(OSError):
            while (more := self.free() - leave) > 0:
                out.write(b"x" * min(more, 1 << 20))

    def empty(self):
        (self.path / FILLER).unlink(missing_ok=True)


@contextlib.contextmanager
def mounted(path, size, *options):
    """Mounts a tmpfs of `size` bytes over the folder; skips the test where that is not possible (no privilege)."""
    wanted = ",".join([f"size={size}", "mode=0755", *options])
    done = procs.run(["mount", "-t", "tmpfs", "-o", wanted, "tmpfs", path], check=False)
    if done.returncode != 0:
        pytest.skip(f"cannot mount a file system: {done.stderr.decode().strip()}")
    try:
        yield Disk(path)
    finally:
        # Lazily: a server that a failed test has left may still be in it.
        subprocess.run(["umount", "-l", path], check=False, stdin=subprocess.DEVNULL)
