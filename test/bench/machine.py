"""What /proc tells: CPU and memory of a server's processes, and whether somebody else kept the machine busy."""

import os
import pathlib
import platform
import time

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_KERNEL = 0x00200000  # PF_KTHREAD


class _Process:
    """One line of /proc/PID/stat."""

    def __init__(self, pid):
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
        fields = text[text.rindex(")") + 2 :].split()
        self.pid = pid
        self.zombie = fields[0] == "Z"
        self.parent = int(fields[1])
        self.kernel = bool(int(fields[6]) & _KERNEL)
        self.own = (int(fields[11]) + int(fields[12])) / _TICK
        self.reaped = (int(fields[13]) + int(fields[14])) / _TICK  # its children that have ended

    def cpu(self):
        """CPU seconds of the process itself. stat counts in hundredths; schedstat in nanoseconds, without threads that ended."""
        total = 0
        try:
            for task in os.listdir(f"/proc/{self.pid}/task"):
                total += int(pathlib.Path(f"/proc/{self.pid}/task/{task}/schedstat").read_text().split()[0])
        except (OSError, IndexError):
            pass
        return max(total / 1e9, self.own)


def _processes():
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                found[int(name)] = _Process(int(name))
            except (OSError, ValueError):
                pass  # it has just ended
    return found


def _descendants(processes, root):
    """`root` and all below it."""
    children = {}
    for process in processes.values():
        children.setdefault(process.parent, []).append(process.pid)
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        if pid in processes:
            found.append(processes[pid])
        waiting += children.get(pid, [])
    return found


def tree(pid):
    """The ids of a process and all below it."""
    return [process.pid for process in _descendants(_processes(), pid)]


def tree_cpu(pid):
    """CPU seconds that a process and all its children, ended ones too, have used."""
    return sum(process.cpu() + process.reaped for process in _descendants(_processes(), pid))


def _smaps(pid, field):
    try:
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0


def tree_pss(pid):
    """Proportional set size of a process and all below it, in MiB: what is shared is counted once."""
    return sum(_smaps(process, "Pss") for process in tree(pid))


def peak(pid):
    """The most memory one process has had since reset_peak(), in MiB."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def reset_peak(pid):
    pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")


class Watch:
    """From its making until others(): did processes that are not ours, or other guests of the host, use the CPU?"""

    def __init__(self):
        self.began = time.monotonic()
        self.before = self._foreign()
        self.stolen = self._steal()

    @staticmethod
    def _foreign():
        """CPU seconds of all user processes that are not below this one: one that ended is in its parent's account."""
        processes = _processes()
        ours = {process.pid for process in _descendants(processes, os.getpid())}
        return sum(process.own + process.reaped for process in processes.values() if process.pid not in ours and not process.kernel)

    @staticmethod
    def _steal():
        return int(pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[8]) / _TICK

    def others(self):
        """The share of the machine's CPU time that went elsewhere, 0 to 1."""
        used = self._foreign() - self.before + self._steal() - self.stolen
        return max(0.0, used / max(time.monotonic() - self.began, 0.001) / os.cpu_count())


def fdatasyncs(folder, seconds=0.5):
    """How often a second 4 KiB can be appended and synchronised, one after the other."""
    path = folder / "fdatasync"
    done, fd = 0, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    began = time.monotonic()
    try:
        while time.monotonic() - began < seconds:
            os.write(fd, b"x" * 4096)
            os.fdatasync(fd)
            done += 1
        return done / (time.monotonic() - began)
    finally:
        os.close(fd)
        path.unlink()


def filesystem(folder):
    """The type of the file system that a folder is on."""
    best = ("", "?")
    for line in pathlib.Path("/proc/mounts").read_text().splitlines():
        _, place, kind = line.split()[:3]
        if (str(folder) + "/").startswith(place.rstrip("/") + "/") and len(place) > len(best[0]):
            best = (place, kind)
    return best[1]


def describe(folder):
    """One line about the machine."""
    cpus = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in cpus if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PHYS_PAGES") * _PAGE / 2**30
    return (
        f"{os.cpu_count()} × {model}, {memory:.0f} GiB, Linux {platform.release()}, {filesystem(folder)}, "
        f"{fdatasyncs(folder):.0f} fdatasync/s in series"
    )
