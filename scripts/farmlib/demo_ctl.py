# SPDX-License-Identifier: Apache-2.0
"""farmsyncctl as an operator would type it, shown with what it answers."""

import os
import subprocess

from farmctl.agent import Agent
from farmctl.errors import CtlError

from . import paths
from .errors import FarmError
from .part import wait_until

CTL = os.path.join(paths.REPO, "scripts", "farmsyncctl")


def agent_socket(web):
    return os.path.join(web.directory, "run", "farmsync", "agent.sock")


def command(web, *words, shown=None):
    """Runs and shows farmsyncctl at this server's agent; `shown` in place of long words."""
    line = shown or " ".join(f'"{one}"' if " " in one else one for one in words)
    print(f"  $ farmsyncctl {line}", flush=True)
    # On a machine that stands still for a moment, a server may need more than the usual second to confirm.
    patience = ("--wait", "10000") if words[0] in ("down", "up") else ()
    done = subprocess.run([CTL, *words, *patience, "--agent", agent_socket(web)], text=True, stdin=subprocess.DEVNULL,
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


def unreached(web):
    """What keeps this server's agent from telling all others that run at once; None if nothing does."""
    running = {one.name for one in web.farm.webs if one.pid and one is not web}
    try:
        peers = {one["name"]: one for one in asked(web, "/v1/backplane")["peers"]}
    except FarmError as error:
        return str(error)
    bad = [f"{name} ({peers[name]['state']})" if name in peers else name for name in sorted(running)
           if name not in peers or peers[name]["failures"] or peers[name]["state"] != "alive"]
    return f"{web.name} doesn't reach {', '.join(bad)}" if bad else None


def wait_reached(farm):
    """Until the agents of all servers that run reach each other: a command tells all of them then."""
    running = [web for web in farm.webs if web.pid]
    wait_until(lambda: not any(map(unreached, running)), 60, "the agents to reach each other",
               lambda: "; ".join(filter(None, map(unreached, running))), pace=0.1)
