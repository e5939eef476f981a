# SPDX-License-Identifier: Apache-2.0
"""A part of the demo: an application is down, and every server says so at once."""

import os
import subprocess
import time

from . import paths
from .errors import FarmError
from .part import http_get, wait_until

APPLICATION = "sample-shop"  # of httpd.py's configuration
PAGE = "/shop.shtml"
CTL = os.path.join(paths.REPO, "scripts", "farmsyncctl")


def command(farm, *words):
    """Runs and shows farmsyncctl at the first server's agent."""
    socket = os.path.join(farm.webs[0].directory, "run", "farmsync", "agent.sock")
    shown = " ".join(f'"{one}"' if " " in one else one for one in words)
    print(f"  $ farmsyncctl {shown}", flush=True)
    done = subprocess.run([CTL, *words, "--agent", socket], text=True, capture_output=True,
                          stdin=subprocess.DEVNULL, check=False)
    print("  " + (done.stdout + done.stderr).strip().replace("\n", "\n  "), flush=True)
    if done.returncode:
        raise FarmError(f"farmsyncctl {words[0]} was not well; scripts/farm log {farm.webs[0].name} "
                        "may say why")


def answers(farm, wanted):
    return all(http_get(web.url + PAGE)[0] == wanted for web in farm.webs)


def show(farm):
    print("\nThe shop must be closed for a moment. One command, on one server:\n")
    command(farm, "down", APPLICATION, "--until", "+10m", "--reason", "planned", "--message",
            "We are counting our stock.")
    began = time.monotonic()
    wait_until(lambda: answers(farm, 503), 10, "every server to say that the shop is closed")
    print(f"\n{len(farm.webs)} servers answer 503, as seen {(time.monotonic() - began) * 1000:.0f} ms after the "
          f"command; {farm.webs[-1].name} to a visitor without a browser:\n")
    _, headers, body = http_get(farm.webs[-1].url + PAGE, headers={"Accept": "text/plain"})
    for line in [f"Retry-After: {headers['Retry-After']}", "", *body.decode(errors="replace").strip().splitlines()]:
        print(f"  {line}".rstrip())
    print()
    command(farm, "up", APPLICATION)
    wait_until(lambda: answers(farm, 200), 10, "every server to serve the shop")
