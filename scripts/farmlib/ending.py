# SPDX-License-Identifier: Apache-2.0
"""Programs that start servers end them, also when a signal ends the program itself: their processes and
directories would stay."""

import atexit
import ctypes
import os
import signal
import subprocess
import sys

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PR_SET_CHILD_SUBREAPER = 36


def by_exception():
    """From here on a signal that ends the program is SystemExit, so that what it does at its end is done."""
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
            signal.signal(number, _end)


def _end(number, _frame):
    for one in SIGNALS:
        signal.signal(one, signal.SIG_IGN)  # once is enough: a second one would break off the clean-up
    # Whose parent ends first becomes a child of this one, where it is found.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    atexit.register(_kill_children)
    sys.exit(128 + number)


def _kill_children():
    """What was just being started when the signal came, and nobody knew yet."""
    while True:
        try:
            with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
                children = [int(pid) for pid in file.read().split()]
            for pid in children:
                os.kill(pid, signal.SIGKILL)
            os.wait()
        except OSError:  # there is none any more
            return


def run(command, **arguments):
    """subprocess.run() of such a program. If this one is to end, that one gets the time to clean up."""
    with subprocess.Popen(command, **arguments) as process:
        try:
            output, _ = process.communicate()
        except BaseException:
            process.terminate()
            process.wait()
            raise
    return subprocess.CompletedProcess(command, process.returncode, output)
