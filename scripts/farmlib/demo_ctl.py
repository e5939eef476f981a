# SPDX-License-Identifier: Apache-2.0
"""farmsyncctl as an operator would type it, shown with what it answers."""

import json
import os
import subprocess

from . import paths
from .errors import FarmError

CTL = os.path.join(paths.REPO, "scripts", "farmsyncctl")


def agent_socket(web):
    return os.path.join(web.directory, "run", "farmsync", "agent.sock")


def command(web, *words, shown=None):
    """Runs and shows farmsyncctl at this server's agent; `shown` in place of long words."""
    line = shown or " ".join(f'"{one}"' if " " in one else one for one in words)
    print(f"  $ farmsyncctl {line}", flush=True)
    done = subprocess.run([CTL, *words, "--agent", agent_socket(web)], text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    for text in done.stdout.strip().splitlines():
        print(f"  {text}".rstrip(), flush=True)
    if done.returncode:
        raise FarmError(f"farmsyncctl {words[0]} was not well; scripts/farm log {web.name} may say why")


def asked(web, *words):
    """What farmsyncctl says there, for programs."""
    done = subprocess.run([CTL, "--json", *words, "--agent", agent_socket(web)], text=True, capture_output=True,
                          stdin=subprocess.DEVNULL, check=False)
    try:
        return json.loads(done.stdout)
    except ValueError as error:
        raise FarmError(f"farmsyncctl {words[0]} was not well: {done.stderr.strip()}") from error
