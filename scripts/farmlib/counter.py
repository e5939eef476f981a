# SPDX-License-Identifier: Apache-2.0
"""tests/bench/mod_counter.c, the application of benchmarks and tests of sessions, built with apxs."""

import os
import shutil
import subprocess

from . import paths
from .errors import FarmError


def build(directory):
    """mod_counter.so below a directory that is there, built as any module of somebody else would be."""
    work = os.path.join(directory, "counter")
    os.makedirs(work, exist_ok=True)
    shutil.copy(os.path.join(paths.REPO, "tests", "bench", "mod_counter.c"), work)
    done = subprocess.run([paths.program("apxs", "apxs2"), "-c", "mod_counter.c"], cwd=work,
                          text=True, capture_output=True, check=False)
    if done.returncode:
        raise FarmError(f"apxs can't build mod_counter.c:\n{done.stdout}{done.stderr}")
    module = os.path.join(work, "mod_counter.so")
    shutil.copy(os.path.join(work, ".libs", "mod_counter.so"), module)
    return module
