# SPDX-License-Identifier: Apache-2.0
"""A part of the demo: an application is down, and every server says so at once."""

import time

from .demo_ctl import command, wait_reached
from .part import http_get, wait_until

APPLICATION = "sample-shop"  # of httpd.py's configuration
PAGE = "/shop.shtml"


def answers(farm, wanted):
    return all(http_get(web.url + PAGE)[0] == wanted for web in farm.webs)


def show(farm):
    wait_reached(farm)
    print("\nThe shop must be closed for a moment. One command, on one server:\n")
    command(farm.webs[0], "down", APPLICATION, "--until", "+10m", "--reason", "planned", "--message",
            "We are counting our stock.")
    began = time.monotonic()
    wait_until(lambda: answers(farm, 503), 30, "every server to say that the shop is closed")
    print(f"\n{len(farm.webs)} servers answer 503, as seen {(time.monotonic() - began) * 1000:.0f} ms after the "
          f"command; {farm.webs[-1].name} to a visitor without a browser:\n")
    _, headers, body = http_get(farm.webs[-1].url + PAGE, headers={"Accept": "text/plain"})
    for line in [f"Retry-After: {headers['Retry-After']}", "", *body.decode(errors="replace").strip().splitlines()]:
        print(f"  {line}".rstrip())
    print()
    command(farm.webs[0], "up", APPLICATION)
    wait_until(lambda: answers(farm, 200), 30, "every server to serve the shop")
    print(f"\n{len(farm.webs)} servers serve it again.", flush=True)
