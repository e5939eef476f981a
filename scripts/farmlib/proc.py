# SPDX-License-Identifier: Apache-2.0
"""Processes by identity.

A pid alone says nothing: after a process has ended the kernel gives its number to another. A process
is therefore known by its pid and its start time (field 22 of /proc/PID/stat), and whatever is about
to be signalled is compared with both first.

The processes of one component (an httpd parent, its children and its agent) are found in two ways:
as descendants of the process that was started, and by the environment variable FARMSYNC_PART that
was given to it, which also finds those whose parent is gone.
"""

import os
import signal
import time
from collections import namedtuple

from .errors import FarmError

PART_VARIABLE = "FARMSYNC_PART"

Process = namedtuple("Process", "pid start")
Stat = namedtuple("Stat", "pid state ppid group start name threads")


def read_stat(pid):
    """What /proc says of a pid, or None if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    name = text[text.index("(") + 1:text.rindex(")")]
    fields = text[text.rindex(")") + 2:].split()
    return Stat(int(pid), fields[0], int(fields[1]), int(fields[2]), int(fields[19]), name,
                int(fields[17]))


def _ended(stat):
    """A zombie has ended once its last thread has; until then it holds its files and ports."""
    return stat.state in "Xx" or (stat.state == "Z" and stat.threads <= 1)


def identify(pid):
    """The identity of a living process, or None; one that ended but was not waited for is dead."""
    stat = read_stat(pid)
    if stat is None or _ended(stat):
        return None
    return Process(stat.pid, stat.start)


def alive(process):
    return process is not None and identify(process.pid) == process


def paused(process):
    stat = read_stat(process.pid)
    return stat is not None and stat.start == process.start and stat.state in "Tt"


def snapshot():
    """All processes that live now, by pid."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            stat = read_stat(entry)
            if stat is not None and not _ended(stat):
                found[stat.pid] = stat
    return found


def group(number):
    """The processes of a process group that haven't ended."""
    return [Process(stat.pid, stat.start) for stat in snapshot().values() if stat.group == number]


def _part_of(pid):
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            data = file.read()
    except OSError:
        return None
    prefix = PART_VARIABLE.encode() + b"="
    for item in data.split(b"\0"):
        if item.startswith(prefix):
            return item[len(prefix):].decode(errors="replace")
    return None


def members(part, root=None):
    """Every process of a component: `root`, what descends from it, and what carries its mark."""
    table = snapshot()
    chosen = {pid for pid in table if _part_of(pid) == part}
    if root is not None and root.pid in table and table[root.pid].start == root.start:
        chosen.add(root.pid)
    grew = True
    while grew:
        more = {pid for pid, stat in table.items() if stat.ppid in chosen} - chosen
        chosen |= more
        grew = bool(more)
    chosen.discard(os.getpid())
    return [Process(pid, table[pid].start) for pid in sorted(chosen)]


def children(process, name=None):
    """The direct children of a process, optionally only those of a command name."""
    if process is None:
        return []
    return [Process(stat.pid, stat.start) for stat in snapshot().values()
            if stat.ppid == process.pid and (name is None or stat.name == name[:15])]


def send(process, number):
    """Signals a process if it still is the one that was meant. Returns whether it was."""
    if not alive(process):
        return False
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return False
    except PermissionError as error:
        raise FarmError(f"no permission to signal process {process.pid}; "
                        f"run the command as the user who started the farm") from error
    return True


def pause_tree(part, root):
    """SIGSTOP for the whole tree; repeated until nothing new has been forked meanwhile."""
    stopped = set()
    while True:
        fresh = [process for process in members(part, root) if process not in stopped]
        if not fresh:
            return len(stopped)
        for process in fresh:
            send(process, signal.SIGSTOP)
            stopped.add(process)
        _wait_for(lambda: all(paused(one) or not alive(one) for one in fresh))


def continue_tree(part, root):
    """SIGCONT, leaves first, so that a parent never sees a child that hangs."""
    processes = members(part, root)
    for process in reversed(processes):
        send(process, signal.SIGCONT)
    _wait_for(lambda: not any(paused(one) for one in processes))


def _wait_for(condition, seconds=5):
    """A signal takes effect when the process gets to it, which may be a moment later."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.002)


def kill_tree(part, root):
    """kill -9 of the whole tree. It is stopped first, so that no parent replaces a dead child."""
    pause_tree(part, root)
    victims = members(part, root)
    for process in victims:
        send(process, signal.SIGKILL)
    wait_gone(victims, 10)
    return len(victims)


def reap(pid):
    """Waits for a child of our own that has ended; harmless for anything else."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except (ChildProcessError, OSError):
        pass


def wait_gone(processes, seconds):
    """Waits until all have ended; returns those that have not after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        for process in processes:
            reap(process.pid)
        left = [process for process in processes if alive(process)]
        if not left or time.monotonic() >= deadline:
            return left
        time.sleep(0.02)


def end_tree(part, root, seconds=30, number=signal.SIGTERM):
    """Asks the first process to end, waits, and kills what is left of the tree."""
    if root is not None and send(root, number):
        continue_tree(part, root)
        wait_gone([root], seconds)
    left = wait_gone(members(part, root), 10)
    if left:
        kill_tree(part, root)
