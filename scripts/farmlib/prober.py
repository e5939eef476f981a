# SPDX-License-Identifier: Apache-2.0
"""Runs tests/tools/prober against the farm and judges what it saw."""

import json
import signal
import subprocess
import threading
from collections import namedtuple

from . import paths
from .errors import FarmError
from .part import http_get, wait_until

# How one server went through one switch; times in us relative to the activation, on one clock.
Seen = namedtuple("Seen", "server version last_old_sent last_old_received first_new_sent "
                          "first_new_received")
# What a server itself says of its farm time at a switch: within how many us it knew it when it served
# the old version for the last time, and when it served the new one first.
Bounds = namedtuple("Bounds", "last_old first_new")
VERSION_PATH = "/farmsync/data"


class Prober:
    """The running program; `on_switch(event)` is called as soon as a server changes its version."""

    def __init__(self, urls, path=VERSION_PATH, rate=1000, duration=3600, on_switch=None,
                 options=()):
        self.urls = list(urls)
        self.switches, self.errors, self.ends = [], [], []
        self._on_switch = on_switch
        self._process = subprocess.Popen(
            [paths.built("tests/tools/prober"), "--path", path, "--rate", str(rate),
             "--duration", str(duration), *options, *self.urls],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        for line in self._process.stdout:
            event = json.loads(line)
            kind = event["event"]
            if kind == "switch":
                self.switches.append(event)
                if self._on_switch:
                    self._on_switch(event)
            elif kind == "error":
                self.errors.append(event)
            elif kind == "end":
                self.ends.append(event)

    def stop(self):
        """Ends it and waits for its summary."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)
        self._thread.join(30)
        self._process.stdout.close()
        if len(self.ends) != len(self.urls):
            raise FarmError(f"the prober ended with status {self._process.returncode} before it "
                            f"had told all it saw")
        return self

    @property
    def failures(self):
        return sum(end["errors"] for end in self.ends)

    @property
    def answers(self):
        return sum(end["answers"] for end in self.ends)

    def seen(self, log):
        """Seen of every switch whose activation time `log` (an ActivationLog) knows."""
        found = []
        for event in self.switches:
            if event["to"] not in log.activations:
                continue
            activation, _ = log.on_own_clock(event["to"])
            found.append(Seen(event["server"], event["to"], *(
                event[key] / 1000 - activation for key in
                ("last_old_sent", "last_old_received", "first_new_sent", "first_new_received"))))
        return found


def switch_bounds(web, version, group="default"):
    """
    Bounds of this server's switch to `version`, which is its newest. The bound of a later moment, or
    of the latest report, says nothing of the switch: the clock is measured anew each second.
    """
    def noted():
        facts = json.loads(http_get(web.url + "/farmsync/status?json")[2])
        one = next(one for one in facts["groups"] if one["name"] == group)
        return one if one["newest_served"] == version else None
    one = wait_until(noted, 60, f"{web.name} to tell of its switch to version {version}")
    return Bounds(one["last_old_bound_us"], one["first_new_bound_us"])


def violations(seen, bounds, own_us):
    """
    What breaks promise 2: an old answer to a request that was sent after activation + bound, a new one
    that was received before activation - bound. As sentences. `bounds` has the Bounds of each
    (server, version), `own_us` is the error of the checker itself.
    """
    found = []
    for one in seen:
        where = f"server {one.server + 1}, version {one.version}"
        late, early = (bound + own_us for bound in bounds[one.server, one.version])
        if one.last_old_sent > late:
            found.append(f"{where}: the old version answered a request that was sent "
                         f"{one.last_old_sent:.0f} us after the activation (bound {late:.0f} us)")
        if one.first_new_received < -early:
            found.append(f"{where}: the new version was here {-one.first_new_received:.0f} us "
                         f"before the activation (bound {early:.0f} us)")
    return found


def spread_us(seen, version):
    """Time between the first new answer of the first and of the last server."""
    firsts = [one.first_new_received for one in seen if one.version == version]
    return max(firsts) - min(firsts) if firsts else 0.0
