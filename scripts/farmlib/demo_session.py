# SPDX-License-Identifier: Apache-2.0
"""The demo's last part: a visitor's session goes on although the server that had it is killed."""

import os
import time

from .errors import FarmError
from .part import http_get, wait_until

PAGE = "/visits"


class Visitor:
    """A browser that keeps one cookie."""

    def __init__(self):
        self.cookie = None

    def visit(self, web, query=""):
        """(what the page says, milliseconds); FarmError if it isn't well."""
        began = time.monotonic()
        status, headers, body = http_get(web.url + PAGE + query, timeout=10,
                                         headers={"Cookie": self.cookie} if self.cookie else {})
        took = (time.monotonic() - began) * 1000
        text = body.decode(errors="replace").strip()
        if status != 200:
            raise FarmError(f"{web.name} answers {status} to a visitor: {text}")
        if headers.get("Set-Cookie"):
            self.cookie = headers["Set-Cookie"].split(";")[0]
        return text, took


def show(farm):
    if not farm.sessions or len(farm.webs) < 2 or not farm.datasrvs \
            or not os.path.exists(os.path.join(farm.webs[0].directory, "htdocs", "visits.lua")):
        return
    first, second = farm.webs[0], farm.webs[1]
    wait_until(lambda: _visited(first), 20, f"{first.name} to keep sessions that the bank confirms")
    print(f"\nA visitor's session lives in the memory of {first.name}, with a copy on the bank. He logs in "
          "and comes back:\n")
    visitor = Visitor()
    for query in ("?user=alice", "", ""):
        print("  " + visitor.visit(first, query)[0])
    first.kill()
    print(f"\n{first.name} is killed (kill -9 of all its processes, the agent too); the balancer would send "
          f"him to {second.name}:\n")
    try:
        text, took = visitor.visit(second)
        print(f"  {text}   (answered after {took:.0f} ms: it asked the bank)")
        if not text.endswith("alice, visit 4"):
            raise FarmError(f"the session was lost: {text}")
        text, took = visitor.visit(second)
        print(f"  {text}   ({took:.1f} ms: from its own memory)")
    finally:
        first.start()
    text, took = visitor.visit(first)
    print(f"\n{first.name} is back, with what it had when it died; it asks {second.name} first "
          f"({took:.0f} ms):\n\n  {text}", flush=True)
    if not text.endswith("alice, visit 6"):
        raise FarmError(f"{first.name} served an old copy of the session: {text}")


def _visited(web):
    try:
        Visitor().visit(web)
    except (FarmError, OSError):
        return False
    return True
