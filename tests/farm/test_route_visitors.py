# SPDX-License-Identifier: Apache-2.0
"""
Who is home where, as real agents tell each other: all come to know the same, after losses too, and a server
that was away gives up whom others took over before it takes part.
"""

import os
import shutil
import tempfile
import time

import pytest

from backplane_hosts import SECONDS
from farmlib.part import wait_until
from route_agents import Routing, Visitors, route

LONG = bool(os.environ.get("FARMSYNC_TEST_LONG"))
MANY = 100_000 if LONG else 3000
IDLE_S = 32
LONG_SECONDS = 120


class Homes:
    """Three agents, and who stands in for the request processes of each."""

    def __init__(self, directory, **routing):
        self.farm = Routing(directory, 3, **routing).start()
        self.visitors = {host.name: Visitors(host) for host in self.farm.hosts}

    def __getitem__(self, number):
        return self.farm.hosts[number - 1]

    def at(self, number):
        return self.visitors[f"web{number}"]

    def close(self, number):
        self.visitors.pop(f"web{number}").__exit__()

    def open(self, number):
        self.visitors[f"web{number}"] = Visitors(self[number])

    def counts(self, number):
        """{server: how many are home there}, as that host knows it."""
        return {name: int(count) for name, count, _ in
                (one.split(":") for one in self.at(number)("digests").split())}

    def agree(self, expected, seconds=SECONDS):
        """Waits until all know the same, so many of each server; returns how long it took."""
        start = time.monotonic()

        def same():
            known = {visitors("digests") for visitors in self.visitors.values()}
            return len(known) == 1 and self.counts(int(next(iter(self.visitors))[3:])) == expected
        wait_until(same, seconds, f"all to know {expected}",
                   lambda: {name: visitors("digests") for name, visitors in self.visitors.items()}, 0.01)
        return time.monotonic() - start

    def waits_for(self, condition, what, seconds=SECONDS):
        wait_until(condition, seconds, what, lambda: self.farm.hosts[0].log()[-3000:], 0.02)

    def end(self):
        for visitors in self.visitors.values():
            visitors.__exit__()
        self.farm.end()


@pytest.fixture
def homes():
    directory = tempfile.mkdtemp(prefix="fsrv-", dir="/tmp")
    made = []

    def make(**routing):
        made.append(Homes(directory, **routing))
        return made[-1]
    yield make
    for one in made:
        one.end()
    shutil.rmtree(directory, ignore_errors=True)


def home_of(host, visitor):
    status, answer = host.ask("GET", f"/v1/route/visitor?id={visitor}")
    return answer["primary"] if status == 200 else None


def test_changes_are_known_everywhere(homes):
    homes = homes(capacity=200_000)
    before = {number: homes[number].rss_kib() for number in (1, 2, 3)}
    homes.at(1)("come", MANY, "web2")
    last = homes.at(2)("come", 500, "web3")
    took = homes.agree({"web1": MANY, "web2": 500}, LONG_SECONDS)
    grown = max(homes[number].rss_kib() - before[number] for number in (1, 2, 3))
    print(f"{MANY + 500} visitors known to all {took:.2f} s after the last one came; "
          f"an agent has grown by {grown} KiB")
    assert {home_of(homes[number], last) for number in (1, 2, 3)} == {"web2"}
    # One change, when nothing else is going on.
    start = time.monotonic()
    last = homes.at(3)("come", 1, "web1")
    homes.waits_for(lambda: home_of(homes[1], last) == home_of(homes[2], last) == "web3", "the others to know of one")
    print(f"one visitor known to all after {1000 * (time.monotonic() - start):.0f} ms")


def test_who_was_taken_over_is_given_up_before_the_return(homes):
    homes = homes(idle_s=IDLE_S)
    last = homes.at(3)("come", 400, "web1")
    homes.agree({"web3": 400})
    homes[3].kill()
    homes.farm.sees(homes[1], homes[3], "dead")
    assert homes.at(1)("take", 300, "web3") == "300"
    homes[3].begin()
    # Its own store still says that all are home there; when it takes part, it knows better.
    homes.farm.sees(homes[1], homes[3], "alive", "ramping")
    assert homes.counts(3) == {"web1": 300, "web3": 100}, "\n".join(host.log() for host in homes.farm.hosts)
    homes.agree({"web1": 300, "web3": 100})
    assert home_of(homes[3], last) in ("web1", "web3")
    assert "FS1689: routing: 300 visitors" in homes[3].log()
    assert "FS1686" in homes[3].log()
    # Those who aren't seen for a while go back, by and by.
    start = time.monotonic()
    homes.agree({"web3": 400}, 2 * IDLE_S)
    print(f"300 idle visitors were home at web3 again after {time.monotonic() - start:.1f} s")
    assert time.monotonic() - start >= IDLE_S / 4 - 5


def test_a_lost_store_is_filled_by_the_others(homes):
    homes = homes()
    homes.at(2)("come", 700, "web1")
    homes.at(1)("come", 50, "web2")
    homes.agree({"web1": 50, "web2": 700})
    homes.close(2)
    homes[2].kill()
    homes.farm.sees(homes[1], homes[2], "dead")
    shutil.rmtree(os.path.join(homes[2].state, "route", "visitors"))
    homes[2].begin()
    homes.farm.sees(homes[1], homes[2], "alive", "ramping")
    homes.open(2)
    assert homes.counts(2) == {"web1": 50, "web2": 700}
    homes.agree({"web1": 50, "web2": 700})
    homes.at(2)("come", 10, "web3")
    homes.agree({"web1": 50, "web2": 710})


def test_what_was_told_to_nobody_is_made_up_for(homes):
    """More changes than the log holds, while one doesn't hear."""
    homes = homes(capacity=200_000)
    homes.at(1)("come", 10, "web2")
    homes.agree({"web1": 10})
    homes[3].pause()
    try:
        homes.farm.sees(homes[1], homes[3], "dead")
        homes.at(1)("come", 70_000, "web2")
    finally:
        homes[3].go_on()
    took = homes.agree({"web1": 70_010}, LONG_SECONDS)
    print(f"70,010 visitors copied in {took:.1f} s")
    homes.farm.sees(homes[1], homes[3], "alive", "ramping")


def test_who_is_idle_is_forgotten_everywhere(homes):
    homes = homes(idle_s=IDLE_S if LONG else 8)
    homes.at(1)("come", 200, "web2")
    homes.agree({"web1": 200})
    homes.agree({}, 3 * IDLE_S)
    homes.waits_for(lambda: route(homes[2])["visitors"] == 0, "a server to say so")


def test_a_stranger_tells_and_learns_nothing(homes):
    homes = homes()
    status, answer = homes[1].ask("GET", "/v1/route/visitors?of=web1&after=x")
    assert (status, answer["problem"]) == (400, "FS1692")
    status, answer = homes[1].ask("POST", "/v1/route/changes", {"visitors": []})
    assert (status, answer["problem"]) == (400, "FS1618")
