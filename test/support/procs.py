"""Child processes of the tests: started here, known by pid, gone at the end whatever happens.

Each child is told to die with this process (PR_SET_PDEATHSIG) and is in a registry that the session empties.
"""

import ctypes
import errno
import os
import pathlib
import pwd
import signal
import socket
import subprocess
import time

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
_children = []

# Under valgrind (see support/mta.py) everything takes longer: time limits are multiplied by this.
PATIENCE = 8 if os.environ.get("MTA_VALGRIND") == "1" else 1


def _die_with_parent():
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def spawn(argv, user=None, **kwargs):
    """Popen with stdin closed; as another user when we are root and `user` is given."""
    if user and os.geteuid() == 0:
        entry = pwd.getpwnam(user)
        kwargs.update(user=entry.pw_uid, group=entry.pw_gid, extra_groups=[])
    kwargs.setdefault("stdin", subprocess.DEVNULL)
    # preexec_fn runs after the change of user, which would have cleared the death signal.
    child = subprocess.Popen([str(arg) for arg in argv], preexec_fn=_die_with_parent, **kwargs)
    _children.append(child)
    return child


def kill_all():
    """Kills, by pid, every child that is still there."""
    for child in _children:
        if child.poll() is None:
            child.send_signal(signal.SIGCONT)
            child.kill()
            child.wait()
    _children.clear()


def wait_end(child, timeout=20):
    """Waits for a child's end and returns its exit status; kills it and fails when it does not end in time."""
    try:
        return child.wait(timeout * PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        raise AssertionError(f"pid {child.pid} did not end within {timeout} s") from None


def terminate(child):
    """Asks a child to end and waits for that."""
    child.terminate()
    return wait_end(child)


def run(argv, timeout=60, check=True, **kwargs):
    """Runs a command to its end; returns CompletedProcess with bytes. On failure its output is in the message."""
    if "input" not in kwargs:
        kwargs["stdin"] = subprocess.DEVNULL
    done = subprocess.run([str(arg) for arg in argv], capture_output=True, timeout=timeout * PATIENCE, **kwargs)
    if check and done.returncode != 0:
        raise AssertionError(f"{argv} exited {done.returncode}: {(done.stdout + done.stderr)[-3000:].decode(errors='replace')}")
    return done


def free_ports(count, host="127.0.0.1"):
    """Loopback ports that nobody listens on now, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for sock in sockets:
            sock.bind((host, 0))
        return [sock.getsockname()[1] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


def wait_for(condition, timeout=30, what="the condition", interval=0.02):
    """Polls until `condition()` is true and returns its value."""
    deadline = time.monotonic() + timeout * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"timed out after {timeout} s waiting for {what}")
        time.sleep(interval)


def is_alive(pid):
    """True while a process of that id exists."""
    try:
        os.kill(pid, 0)
    except OSError as error:
        return error.errno == errno.EPERM
    return True


# What a process holds


def descriptors(pid):
    """What its open descriptors are, by number."""
    found = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
        except FileNotFoundError:
            pass
    return found


def pss(pid):
    """Its memory in bytes, what it shares with others counted in part."""
    with open(f"/proc/{pid}/smaps_rollup") as smaps:
        return next(int(line.split()[1]) * 1024 for line in smaps if line.startswith("Pss:"))


def peak(pid):
    """The most memory in bytes that it had resident (VmHWM) since forget_peak()."""
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


def forget_peak(pid):
    with open(f"/proc/{pid}/clear_refs", "w") as clear:
        clear.write("5")


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def children(pid):
    """The states ("S", "Z", ...) of its children, by pid."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as stat:
                    state, parent = stat.read().rsplit(")", 1)[1].split()[:2]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(parent) == pid:
                found[int(name)] = state
    return found


def freeze(pid):
    """Stops a process; returns when none of its threads runs any more. SIGCONT lets it go on."""

    def is_frozen():
        stats = [path.read_text() for path in pathlib.Path(f"/proc/{pid}/task").glob("*/stat")]
        return all(text.rsplit(")", 1)[1].split()[0] in "Tt" for text in stats)

    os.kill(pid, signal.SIGSTOP)
    wait_for(is_frozen, 30, f"every thread of process {pid} to stop", interval=0.005)
