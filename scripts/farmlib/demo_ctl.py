# SPDX-License-Identifier: Apache-2.0
"""farmsyncctl as an operator would type it, shown with what it answers."""

import os
import subprocess

from farmctl.agent import Agent
from farmctl.errors import CtlError

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


def asked(web, path):
    """What its agent answers (GET); FarmError if it doesn't."""
    try:
        return Agent(agent_socket(web)).ask("GET", path)[1]
    except CtlError as error:
        raise FarmError(f"the agent of {web.name}: {error}") from error
