"""Child processes of the tests: started here, known by pid, gone at the end whatever happens.

Each child is told to die with this process (PR_SET_PDEATHSIG) and is in a registry that the session empties.
"""

import ctypes
import errno
import os
import pwd
import signal
import socket
import subprocess
import time

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
_children = []


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
        return child.wait(timeout)
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
    done = subprocess.run([str(arg) for arg in argv], capture_output=True, timeout=timeout, **kwargs)
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
    deadline = time.monotonic() + timeout
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
