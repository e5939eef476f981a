# SPDX-License-Identifier: Apache-2.0
"""The sessions' sections of doc/benchmarks.md: farmsync beside what else keeps sessions for httpd.

The measuring is in tests/bench/sessions_*.py, each of which prints a section and can be run alone.
"""

import os
import subprocess
import sys

from . import paths
from .errors import FarmError

PROGRAMS = (("sessions_semantics.py", "Parallel updates of one session"),
            ("sessions_cost.py", "Cost of a session"))


def printed_by(name, arguments=()):
    """What a program of tests/bench prints; its progress goes where ours goes."""
    program = os.path.join(paths.REPO, "tests", "bench", name)
    done = subprocess.run([sys.executable, program, *arguments], text=True, stdout=subprocess.PIPE,
                          env=dict(os.environ, FARMSYNC_BUILD=paths.BUILD), check=False)
    if done.returncode:
        raise FarmError(f"{name} ended with status {done.returncode}")
    return done.stdout.strip()


def sections(quick, problems, attempt):
    arguments = ["--quick"] if quick else []
    found = []
    for name, title in PROGRAMS:
        found += attempt(lambda: [printed_by(name, arguments)], title, problems)
    return found
