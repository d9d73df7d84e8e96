"""The processes below a child, what memory they use, and their end: for whoever runs code that is not trusted."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time

LINUX = sys.platform.startswith("linux")


def adopt_orphans(yes: bool) -> None:
    """On Linux: a descendant whose parent ends becomes this process's child, so that it is still found (PR_SET_CHILD_SUBREAPER)."""
    if LINUX:
        ctypes.CDLL(None).prctl(36, int(yes), 0, 0, 0)


def parents() -> dict[int, int]:
    """The parent of every process, by id."""
    if not LINUX:
        said = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=False).stdout
        return {int(line.split()[0]): int(line.split()[1]) for line in said.splitlines()}
    out = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                out[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
    return out


def below(roots: set[int]) -> set[int]:
    """`roots` that are alive, and all their descendants."""
    of = parents()
    children: dict[int, list[int]] = {}
    for pid, parent in of.items():
        children.setdefault(parent, []).append(pid)
    found, todo = set(), [pid for pid in roots if pid in of]
    while todo:
        pid = todo.pop()
        if pid not in found:
            found.add(pid)
            todo += children.get(pid, [])
    return found


def children_of_mine() -> set[int]:
    """Direct children of this process."""
    me = os.getpid()
    return {pid for pid, parent in parents().items() if parent == me}


def memory_of(pids: set[int]) -> float:
    """MiB of memory that is the processes' own, on Linux: anonymous and shared pages, one that n processes share counted 1/n
    for each, not files mapped from disk. Elsewhere: resident memory.
    """
    total = 0
    if not LINUX:
        said = subprocess.run(["ps", "-o", "rss=", "-p", ",".join(map(str, pids))], capture_output=True, text=True, check=False)
        return sum(int(word) for word in said.stdout.split()) / 1024
    for pid in pids:
        for name, wanted in (("smaps_rollup", ("Pss_Anon", "Pss_Shmem")), ("status", ("RssAnon", "RssShmem"))):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/{name}") as file:
                found = [int(line.split()[1]) for line in file if line.startswith(wanted)]
                if found:
                    total += sum(found)
                    break
    return total / 1024


def cpu_of(pids: set[int]) -> float:
    """CPU seconds that the processes and the children they waited for have used; 0 where there is no /proc."""
    ticks = 0
    for pid in pids if LINUX else ():
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
            ticks += sum(map(int, file.read().rpartition(b")")[2].split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def end(root: subprocess.Popen[bytes], before: set[int]) -> None:
    """Kill a child, its group, its descendants, and orphans adopted since `before`; return when none is left.

    Args:
        before: the children that this process had when `root` was started; they are left alone.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if root.poll() is None:
            os.killpg(root.pid, signal.SIGKILL)
    root.kill()
    root.wait()
    deadline, quiet = time.monotonic() + 10, 0
    while (
        quiet < 3 and time.monotonic() < deadline
    ):  # a list of processes is not a snapshot: one look may miss who changes parents
        left = below(children_of_mine() - before) - before
        quiet = 0 if left else quiet + 1
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.01)
