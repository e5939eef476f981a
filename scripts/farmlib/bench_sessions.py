# SPDX-License-Identifier: Apache-2.0
"""The sessions' sections of doc/benchmarks.md: farmsync beside what else keeps sessions for httpd.

The measuring is in tests/bench/sessions_*.py, each of which prints a section and can be run alone.
"""

import os
import subprocess
import sys
import tempfile

from . import ending, paths
from .errors import FarmError

LOSS_TITLE = "Sessions when servers fail"
LOSS_TEXT = """\
`scripts/bench loss --seeds {seeds}`: three web servers and three bank servers, each on a host of its own (network
namespaces), two copies of each session, flush time 200 ms. Visitors, each with sessions in all modes of acknowledgement, set marks
that nobody takes out again; at a random moment something happens to a server, or to two; then each session is read from a server
that didn't answer last, and from all others. *Lost*: acknowledged updates that are gone. *Of the last flush interval*: updates with
`SessionFarmSyncAck 0` that a web server had acknowledged right before it was killed, which that mode gives away. *Stale answers*: answers
while it happened that lacked something acknowledged before; *longest without answer*: from a visitor's first failed try to his next answer.
"""

# part: the section that tests/bench/sessions_PART.py prints
PARTS = {"semantics": "Parallel updates of one session",
         "failover": "A server that keeps copies fails and returns",
         "cost": "Cost of a session",
         "bank": "The session bank"}


def printed_by(name, arguments=()):
    """What a program of tests/bench prints; its progress goes where ours goes."""
    program = os.path.join(paths.REPO, "tests", "bench", name)
    done = ending.run([sys.executable, program, *arguments], text=True, stdout=subprocess.PIPE,
                      env=dict(os.environ, FARMSYNC_BUILD=paths.BUILD))
    if done.returncode:
        raise FarmError(f"{name} ended with status {done.returncode}")
    return done.stdout.strip()


def sections(quick, problems, attempt, only=None):
    arguments = ["--quick"] if quick else []
    found = []
    for part in [only] if only else PARTS:
        found += attempt(lambda: [printed_by(f"sessions_{part}.py", arguments)], PARTS[part], problems)
    return found


def loss_section(seeds, problems):
    """The loss harness over many seeds; what it found broken is a problem, not an error."""
    program = os.path.join(paths.REPO, "tests", "farm", "session_harness.py")
    with tempfile.TemporaryDirectory(prefix="fsbench-") as directory:
        out = os.path.join(directory, "loss.json")
        done = ending.run([sys.executable, program, "--seeds", str(seeds), "--json", out],
                          text=True, stdout=subprocess.PIPE, env=dict(os.environ, FARMSYNC_BUILD=paths.BUILD))
        if not os.path.exists(out):
            raise FarmError(f"the loss harness ended with status {done.returncode}")
    if done.returncode:
        problems.append("a promise of sessions was not kept; the seeds are above")
    return f"## {LOSS_TITLE}\n\n{LOSS_TEXT.format(seeds=seeds)}\n{done.stdout.strip()}"
