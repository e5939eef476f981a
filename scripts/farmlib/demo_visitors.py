# SPDX-License-Identifier: Apache-2.0
"""The demo's last part: visitors and their sessions have a home and an alternate, whatever the balancer
does; the home is killed, comes back, another one is emptied, and nobody loses anything."""

import http.client
import json
import os
import time

from .cli import table
from .demo_ctl import asked, command, wait_reached
from .errors import FarmError
from .part import http_get, wait_until

PAGE = "/visits"
NAMES = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi")


class Visitor:
    """A browser that keeps its cookies and always comes by way of the balancer."""

    def __init__(self, name):
        self.name = name
        self.cookies = {}
        self.visits = 0
        self.home = self.alternate = self.reached = None
        self.took_ms = 0.0

    def visit(self, balancer):
        """Comes once; FarmError if the farm has lost count of him."""
        connection = http.client.HTTPConnection("127.0.0.1", balancer.port, timeout=10)
        began = time.monotonic()
        connection.request("GET", PAGE if self.visits else f"{PAGE}?user={self.name}",
                           headers={"Cookie": "; ".join("=".join(one) for one in self.cookies.items())})
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace").strip()
        self.took_ms = (time.monotonic() - began) * 1000
        connection.close()
        self.visits += 1
        self.home, _, said = text.partition(": ")
        if answer.status != 200 or said != f"{self.name}, visit {self.visits}":
            raise FarmError(f"{self.name} comes the {self.visits}th time and is answered {answer.status}: {text}")
        for field in answer.headers.get_all("Set-Cookie", []):
            name, _, value = field.partition(";")[0].partition("=")
            self.cookies[name] = value
        self.reached = answer.headers.get("X-Reached")
        self.alternate = answer.headers.get("X-Alternate")


def possible(farm):
    """Whether this farm was laid out for it."""
    return bool(farm.balancer and farm.sessions and farm.datasrvs
                and os.path.exists(os.path.join(farm.webs[0].directory, "htdocs", "visits.lua")))


def states(web):
    try:
        said = json.loads(http_get(web.url + "/farmsync/status?json")[2])
        return {one["name"]: one["state"] for one in said["routing"]["servers"]}
    except (OSError, ValueError, LookupError, TypeError):
        return {}  # it has only just been started


def wait_states(farm, wanted, of=None):
    """Until the request processes of every server that runs take each of them, or `of`, for one of `wanted`."""
    running = [web for web in farm.webs if web.pid]
    names = [of.name] if of else [web.name for web in running]
    wait_until(lambda: all(states(web).get(name) in wanted for web in running for name in names), 60,
               f"every server to know that {', '.join(names)} is {' or '.join(wanted)}",
               lambda: str([states(web) for web in running]), pace=0.1)


class Counts:
    """What a server knows of how many visitors each has, beside what was there before the demo's came."""

    def __init__(self, web):
        self.web = web
        self.before = self.known()

    def known(self):
        return {one["name"]: (one["primaries"], one["alternates"]) for one in asked(self.web, "/v1/route")["servers"]}

    def expected(self, visitors):
        return {name: (primaries + sum(one.home == name for one in visitors),
                       alternates + sum(one.alternate == name for one in visitors))
                for name, (primaries, alternates) in self.before.items()}

    def wait(self, visitors):
        """Until it knows of these. Those of before may leave at any time: then it isn't waited for ever."""
        deadline = time.monotonic() + 10
        while self.known() != self.expected(visitors) and time.monotonic() < deadline:
            time.sleep(0.05)


def all_come(farm, visitors):
    for one in visitors:
        one.visit(farm.balancer)


def taken_over(farm):
    """How many sessions servers went on with that they had held for others."""
    return sum(asked(web, "/v1/sessions/status").get("ahead", {}).get("served", 0) for web in farm.webs if web.pid)


def homes(visitors):
    return {one.name: one.home for one in visitors}


def arrive(farm, counts):
    visitors = [Visitor(name) for name in NAMES]
    all_come(farm, visitors)
    first = [[one.name, one.reached, one.home, one.alternate] for one in visitors]
    before, elsewhere = homes(visitors), 0
    for _ in range(3):
        all_come(farm, visitors)
        elsewhere += sum(one.reached != one.home for one in visitors)
    print("\nVisitors come through a balancer that sends each request to the next server. Whom a server can't be "
          "home to, it\nsends on; everybody gets a home and an alternate:\n")
    print("  " + table(first, ["visitor", "came in at", "home", "alternate"]).replace("\n", "\n  "))
    if homes(visitors) != before:
        raise FarmError(f"visitors didn't stay at home: {before}, {homes(visitors)}")
    print(f"\nEach comes three times more. {elsewhere} of these {3 * len(visitors)} requests reached another server, "
          "and were passed on to the\nvisitor's home, where his session is in memory:\n")
    counts.wait(visitors)
    command(farm.webs[0], "servers")
    return visitors


def kill(farm, visitors):
    alice = visitors[0]
    home, alternate = farm.part(alice.home), farm.part(alice.alternate)
    before = homes(visitors)
    print(f"\n{home.name}, alice's home, is killed (kill -9 of all its processes, the agent too).", flush=True)
    home.kill()
    had = taken_over(farm)
    all_come(farm, visitors)
    moved = [one for one in visitors if before[one.name] == home.name]
    if any(one.home == home.name for one in moved) or any(
            one.home != before[one.name] for one in visitors if one not in moved):
        raise FarmError(f"the wrong visitors moved: {before}, {homes(visitors)}")
    rows = [[one.name, one.home, one.visits, f"{one.took_ms:.0f} ms", one.alternate or "-"] for one in moved]
    print(f"Its visitors, and nobody else, are at home at their alternates with their next request; {taken_over(farm) - had} of "
          f"{len(moved)}\nsessions {'was' if len(moved) == 1 else 'were'} held there already:\n")
    print("  " + table(rows, ["visitor", "served by", "visit", "took", "new alternate"]).replace("\n", "\n  "))
    print(f"\nWhoever comes first waits until the bank's lease of {home.name} is over (0.3 s), so that nothing is lost or told twice\n"
          "even if that server isn't dead and only stands still.\n")
    command(alternate, "client", alice.cookies["farmsync"],
            shown=f"client {alice.cookies['farmsync'][:12]}….{alice.home}")
    home.start()
    wait_states(farm, ("alive", "ramping"))
    wait_reached(farm)
    all_come(farm, visitors)
    print(f"\n{home.name} is back. Before it took part it compared with the others, who was taken over meanwhile; it "
          "gets its share\nof new visitors little by little.", flush=True)


def drain(farm, visitors, counts):
    web = farm.part(visitors[0].home)
    left = [one.name for one in visitors if one.home == web.name]
    print(f"\n{web.name} is to be emptied for maintenance:\n")
    command(farm.webs[0], "drain", web.name)
    wait_states(farm, ("draining",), web)
    all_come(farm, visitors)
    if any(one.home == web.name for one in visitors):
        raise FarmError(f"{web.name} is still home to somebody: {homes(visitors)}")
    print(f"\n{' and '.join([', '.join(left[:-1]), left[-1]] if len(left) > 1 else left)} came again and "
          f"{'are' if len(left) > 1 else 'is'} at home elsewhere, with nothing lost:\n")
    counts.wait(visitors)
    command(farm.webs[0], "servers")
    print()
    command(farm.webs[0], "undrain", web.name)
    wait_states(farm, ("alive", "ramping"))
    all_come(farm, visitors)
    print(f"\n{len(visitors)} visitors, {sum(one.visits for one in visitors)} visits: every one was answered, by a "
          "server that had counted all before.", flush=True)


def show(farm):
    if not possible(farm):
        print("\nThis farm has no balancer, or no sessions, so there is no more to show.", flush=True)
        return
    wait_states(farm, ("alive", "ramping"))
    wait_reached(farm)
    counts = Counts(farm.webs[0])
    visitors = arrive(farm, counts)
    kill(farm, visitors)
    drain(farm, visitors, counts)
