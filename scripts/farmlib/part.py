# SPDX-License-Identifier: Apache-2.0
"""What web servers, datasrv and the database have in common: a name, a process tree, a log."""

import os
import subprocess
import time
import urllib.error
import urllib.request

from . import proc
from .errors import FarmError


def http_get(url, timeout=20, headers=None):
    """(status, headers, body); an error status is an answer too. OSError if there is none."""
    request = urllib.request.Request(url, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def tail(path, lines=25):
    """The last lines of a file, or a note that it isn't there."""
    try:
        with open(path, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 65536))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return f"({path} was not written)"
    return "\n".join(text.splitlines()[-lines:])


def wait_until(condition, seconds, what, evidence=None, pace=0.02):
    """
    Waits until condition() is true and returns its value; FarmError naming `what` after `seconds`.
    `evidence()`, if given, is appended to the error, e.g. the end of a log.
    """
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            more = "\n" + evidence() if evidence else ""
            raise FarmError(f"waited {seconds:g} s in vain for {what}{more}")
        time.sleep(pace)


class Part:
    """One component. Subclasses say how it is started and when it is ready."""

    kind = ""
    stop_seconds = 30  # what it gets to end by itself

    def __init__(self, farm, name, record):
        self.farm = farm
        self.name = name
        self.record = record  # what farm.json keeps: port, pid, start, ...
        self.directory = os.path.join(farm.directory, name)

    # --- to be overridden
    def command(self):
        raise NotImplementedError

    def ready(self):
        raise NotImplementedError

    def log_path(self):
        return os.path.join(self.directory, "logs", "error.log")

    def popen_arguments(self):
        return {}

    # --- identity
    @property
    def mark(self):
        return f"{self.farm.directory}:{self.name}"

    @property
    def port(self):
        return self.record["port"]

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def process(self):
        if not self.record.get("pid"):
            return None
        return proc.Process(self.record["pid"], self.record["start"])

    @property
    def pid(self):
        """The pid of the living first process, or None."""
        return self.process.pid if proc.alive(self.process) else None

    def state(self):
        if self.pid is None:
            return "stopped" if self.record.get("stopped", True) else "dead"
        return "paused" if proc.paused(self.process) else "running"

    def processes(self):
        return proc.members(self.mark, self.process)

    # --- acts
    def environment(self):
        kept = {key: value for key, value in os.environ.items()
                if key in ("PATH", "HOME", "USER", "TZ", "TMPDIR") or key.startswith("FARMSYNC_TEST")}
        kept.setdefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        return {**kept, "LC_ALL": "C.UTF-8", **self.record.get("environment", {}),
                proc.PART_VARIABLE: self.mark}

    def start(self, seconds=60):
        """Starts it and waits until it answers."""
        if self.pid is not None:
            raise FarmError(f"{self.name} is {self.state()} already (pid {self.pid})")
        left = self.processes()
        if left:  # orphans of a parent that was killed alone hold the port
            proc.kill_tree(self.mark, None)
        self.spawn()
        wait_until(self._ready_or_dead, seconds, f"{self.name} to answer",
                   lambda: f"--- end of {self.log_path()}\n{tail(self.log_path())}")

    def spawn(self):
        """Starts it without waiting."""
        out = os.path.join(self.farm.directory, "log", self.name + ".out")
        os.makedirs(os.path.dirname(out), exist_ok=True)
        with open(out, "ab") as output:
            child = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=output,
                                     stderr=subprocess.STDOUT, start_new_session=True,
                                     env=self.environment(), cwd=self.directory,
                                     **self.popen_arguments())
        started = proc.identify(child.pid)
        child.returncode = 0  # it outlives this command; its end is seen through /proc
        self.record.update(pid=child.pid, start=started.start if started else 0, stopped=False)
        self.farm.save()

    def _ready_or_dead(self):
        if self.pid is None:
            out = os.path.join(self.farm.directory, "log", self.name + ".out")
            raise FarmError(f"{self.name} ended at once\n--- {out}\n{tail(out)}\n"
                            f"--- end of {self.log_path()}\n{tail(self.log_path())}")
        return self.ready()

    def stop(self):
        self._need_process()
        self.record["stopped"] = True
        self.farm.save()
        proc.end_tree(self.mark, self.process)

    def kill(self):
        self._need_process()
        count = proc.kill_tree(self.mark, self.process)
        self.record["stopped"] = False
        self.farm.save()
        return count

    def pause(self):
        self._need_process()
        proc.pause_tree(self.mark, self.process)

    def resume(self):
        self._need_process()
        proc.continue_tree(self.mark, self.process)

    def graceful(self):
        raise FarmError(f"{self.name} can't be restarted gracefully; only web servers and datasrv "
                        f"can (web1, ds1, ...)")

    def _need_process(self):
        if self.pid is None and not self.processes():
            raise FarmError(f"{self.name} is not running; scripts/farm start {self.name} starts it")
