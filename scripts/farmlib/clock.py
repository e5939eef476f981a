# SPDX-License-Identifier: Apache-2.0
"""Farm time on the checker's own clock.

Measured here independently of farmsync's own clock code: the database is asked for its time over and
over, the exchange with the shortest round trip counts, and half of that round trip is the bound.
"""

import subprocess
import threading
import time
from collections import namedtuple

from .errors import FarmError

QUERY = b"SELECT TIMESTAMPDIFF(MICROSECOND,'1970-01-01 00:00:00',SYSDATE(6));\n"

# farm time in us = monotonic time in us + offset_us, give or take bound_us
Offset = namedtuple("Offset", "offset_us bound_us")


class DatabaseClock:
    """A client that stays connected, so that an exchange costs no more than a round trip."""

    def __init__(self, database):
        self._client = subprocess.Popen(
            [*database.client_command(), "--batch", "--skip-column-names", "--unbuffered",
             "--init-command=SET time_zone='+00:00'"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self._lock = threading.Lock()

    def close(self):
        self._client.stdin.close()
        self._client.stdout.close()
        self._client.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def ask(self, line):
        """One statement on one line with one row as answer: (sent_us, received_us, columns)."""
        with self._lock:
            sent = time.monotonic_ns()
            self._client.stdin.write(line)
            self._client.stdin.flush()
            answer = self._client.stdout.readline()
            received = time.monotonic_ns()
        if not answer:
            raise FarmError("the database closed the checker's connection")
        return sent / 1000, received / 1000, answer.decode().rstrip("\n").split("\t")

    def measure(self, samples=40):
        best = None
        for _ in range(samples):
            sent, received, columns = self.ask(QUERY)
            bound = (received - sent) / 2 + 1
            if best is None or bound < best.bound_us:
                best = Offset(int(columns[0]) - (sent + received) / 2, bound)
        return best


SYNC_QUERY = (b"SELECT version, active_version, activation_us, interval_us, epoch, state, now_us "
              b"FROM farmsync.sync_us WHERE group_name='default';\n")

Sync = namedtuple("Sync", "version active activation_us interval_us epoch state now_us")


class ActivationLog:
    """Watches the sync row and keeps the activation time of every version that gets staged."""

    def __init__(self, database, pace_s=0.05):
        self.clock = DatabaseClock(database)
        self.offsets = [self.clock.measure()]
        self.activations = {}  # version: farm time in us
        self.latest = None
        self._pace = pace_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def look(self):
        row = self.clock.ask(SYNC_QUERY)[2]
        sync = Sync(*(int(value) if index != 5 else value for index, value in enumerate(row)))
        if sync.version != sync.active:
            self.activations[sync.version] = sync.activation_us
        self.latest = sync
        return sync

    def _run(self):
        rounds = 0
        while not self._stop.wait(self._pace):
            try:
                self.look()
                rounds += 1
                if rounds % 20 == 0:
                    self.offsets.append(self.clock.measure(8))
            except (FarmError, OSError, ValueError):
                return  # the database was taken away; what was seen until then counts

    def stop(self):
        self._stop.set()
        self._thread.join()
        self.clock.close()
        return self

    def offset(self):
        """The best measurement; its bound covers what the clocks drifted while watching."""
        best = min(self.offsets, key=lambda one: one.bound_us)
        apart = max(max(0.0, abs(one.offset_us - best.offset_us) - one.bound_us - best.bound_us)
                    for one in self.offsets)
        return Offset(best.offset_us, best.bound_us + apart)

    def on_own_clock(self, version):
        """Activation of a version on this checker's monotonic clock in us, and the bound of that."""
        offset = self.offset()
        return self.activations[version] - offset.offset_us, offset.bound_us
