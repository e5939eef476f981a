# SPDX-License-Identifier: Apache-2.0
"""Progress on whatever takes longer than two seconds.

On a terminal one line is rewritten with the seconds that have passed and the latest thing heard;
elsewhere (a file, a pipe, CI) plain lines are written and no control characters.
"""

import contextlib
import sys
import threading
import time

DELAY_S = 2.0


class Step:
    """One thing that is being done; `say` tells what it is at."""

    def __init__(self, title, stream=None):
        self.title = title
        self.stream = stream or sys.stderr
        self.terminal = self.stream.isatty()
        self.detail = ""
        self.began = time.monotonic()
        self._shown = False
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def say(self, detail):
        self.detail = " ".join(detail.split())

    def _run(self):
        if self._done.wait(DELAY_S):
            return
        self._shown = True
        if not self.terminal:
            self.stream.write(f"{self.title} ...\n")
            self.stream.flush()
        last = time.monotonic()
        while not self._done.wait(0.2 if self.terminal else 1):
            seconds = time.monotonic() - self.began
            if self.terminal:
                self.stream.write(f"\r\033[K{self.title} ... {seconds:.0f} s  {self.detail}"[:110])
                self.stream.flush()
            elif time.monotonic() - last >= 15:
                last = time.monotonic()
                self.stream.write(f"{self.title} ... {seconds:.0f} s  {self.detail}".rstrip() + "\n")
                self.stream.flush()

    def start(self):
        self._thread.start()
        return self

    def stop(self, failed=False):
        self._done.set()
        self._thread.join()
        seconds = time.monotonic() - self.began
        if self._shown:
            clear = "\r\033[K" if self.terminal else ""
            how = "failed after" if failed else "done in"
            self.stream.write(f"{clear}{self.title}: {how} {seconds:.0f} s\n")
            self.stream.flush()


@contextlib.contextmanager
def step(title):
    """with step("Building") as s: ... s.say("lib/base")"""
    current = Step(title).start()
    try:
        yield current
    except BaseException:
        current.stop(failed=True)
        raise
    current.stop()
