# SPDX-License-Identifier: Apache-2.0
"""
Sessions that are held ahead at the alternate of their visitors, on real agents and bank servers: what is
there when the home is dead, with the bank and without.
"""

import shutil
import signal
import tempfile
import time

import pytest

from bank_client import Key
from farmlib.part import wait_until
from session_hosts import SECONDS, SessionFarm


@pytest.fixture
def farm():
    made, directories = [], []

    def make(banks=2, hosts=3, routing=None, **sessions):
        directories.append(tempfile.mkdtemp(prefix="fssess-", dir="/tmp"))
        made.append(SessionFarm(directories[-1], Key(), banks, hosts, routing={} if routing is None else routing,
                                **{"lease_ms": 1000, **sessions}))
        return made[-1]
    yield make
    for one in made:
        one.end()
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


def new(host, alternate, each, *values):
    host.do("alternate", alternate, each)
    made = host.do("new", *values)
    assert "id" in made, made
    return made["id"]


def ahead(host):
    return host.status()["ahead"]


def wait_carried(host, number):
    wait_until(lambda: ahead(host)["carried"] >= number, SECONDS, f"{number} copies of {host.name} at alternates",
               host.log)


def values(host, session, wait=5000):
    answer = host.load(session, wait)
    assert answer.get("http") == 200, (answer, host.log()[-3000:])
    return answer["values"]


def stop_bank(farm):
    for bank in farm.banks:
        bank.kill()


def test_home_and_bank_are_dead_and_the_alternate_has_all(farm):
    """kill -9 of the home while the whole bank is away: what was acknowledged is at the alternate."""
    farm = farm()
    web1, web2, web3 = farm.hosts
    sessions = [new(web1, "web2", 1, "n=0") for _ in range(50)]
    stop_bank(farm)
    for session in sessions:
        for number in (1, 2):
            web1.do("save", session, "!", f"n={number}")
        answer = web1.do("ack", session, 1, 5000)
        assert answer["http"] == 200, answer
    web1.die()
    for session in sessions:
        assert values(web2, session) == {"n": "2"}
    assert ahead(web2)["served"] == len(sessions)
    assert web2.do("read", sessions[0])["epoch"] == 2 and web2.do("read", sessions[0])["owner"] == "web2"
    assert ahead(web2)["held"] == 0
    # The alternate is a home like any other now; who comes to a third server is not lost either.
    web2.do("save", sessions[0], "n=3")
    assert values(web3, sessions[0]) == {"n": "3"}


def test_another_server_than_the_alternate_finds_it_there(farm):
    farm = farm()
    web1, web2, web3 = farm.hosts
    session = new(web1, "web2", 1, "n=0")
    stop_bank(farm)
    web1.do("save", session, "n=1")
    assert web1.do("ack", session, 1, 5000)["http"] == 200
    web1.die()
    assert values(web3, session) == {"n": "1"}
    assert ahead(web2)["served"] == 0


def test_with_the_bank_nothing_is_brought_that_is_there(farm):
    farm = farm()
    web1, web2, _ = farm.hosts
    session = new(web1, "web2", 1, "n=0", "text=" + "x" * 10000)
    web1.do("save", session, "n=1")
    web1.wait_safe()
    wait_until(lambda: ahead(web2)["took"] >= 1 and ahead(web1)["carried"] >= 1, SECONDS, "the copy at the alternate")
    assert web1.do("ack", session, 2, 5000)["http"] == 200
    web1.die()
    assert values(web2, session)["n"] == "1"
    assert ahead(web2)["served"] == 1
    found = web2.do("read", session)
    assert (found["owner"], found["epoch"]) == ("web2", 2)
    # and the bank knows whose it is
    web2.wait_safe()


@pytest.mark.parametrize("each", [3, 0])
def test_a_copy_that_is_behind_never_wins_over_the_bank(farm, each):
    """At each third change, or at the end: what the bank has is newer, and is what is served."""
    farm = farm()
    web1, web2, _ = farm.hosts
    session = new(web1, "web2", each, "n=0")
    if each:
        wait_carried(web1, 1)  # a new alternate gets a copy at once
    web1.do("save", session, "n=1")
    web1.do("save", session, "n=2")
    web1.wait_safe()
    assert ahead(web1)["carried"] == (1 if each else 0)
    web1.die()
    assert values(web2, session) == {"n": "2"}
    assert ahead(web2)["served"] == 0


def test_at_the_end_it_is_carried_when_the_host_is_drained_or_its_agent_stops(farm):
    farm = farm()
    web1, web2, _ = farm.hosts
    session = new(web1, "web2", 0, "n=0")
    web1.do("save", session, "n=1")
    assert web1.call("POST", "/v1/sessions/drain?self=1")[0] == 200
    wait_carried(web1, 1)
    assert web1.call("POST", "/v1/sessions/undrain?self=1")[0] == 200
    web1.do("save", session, "n=2")
    web1.agent.send_signal(signal.SIGTERM)
    assert web1.agent.wait(20) == 0
    web1.agents = []
    assert ahead(web2)["took"] == 2
    stop_bank(farm)
    web1.die()
    assert values(web2, session) == {"n": "2"}


def test_a_logout_is_at_the_alternate_at_once(farm):
    """Or the session would come back to life there when the bank is away, too."""
    farm = farm()
    web1, web2, _ = farm.hosts
    session = new(web1, "web2", 0, "n=0")
    web1.do("end", session)
    wait_carried(web1, 1)
    stop_bank(farm)
    web1.die()
    answer = web2.load(session)
    assert answer.get("state") != "live" and not answer.get("values"), answer


def test_nobody_waits_for_an_alternate_that_stands_still(farm):
    """The bank confirms; the alternate gets it when it goes on."""
    farm = farm(timeout_ms=5000)
    web1, web2, _ = farm.hosts
    session = new(web1, "web2", 1, "n=0")
    assert web1.do("ack", session, 2, 5000)["http"] == 200
    web2.pause()
    web1.do("save", session, "n=1")
    assert web1.do("ack", session, 2, 20000)["http"] == 200
    assert web1.knows_peers(), "it waited until the alternate was missed"
    web2.go_on()
    numbers = iter(range(2, 1000))

    def waits_for_it_again():
        before = ahead(web1)["carried"]
        web1.do("save", session, f"n={next(numbers)}")
        return web1.do("ack", session, 2, 5000)["http"] == 200 and ahead(web1)["carried"] > before
    wait_until(waits_for_it_again, SECONDS, "acknowledgements to wait for the alternate", web1.log)
    stop_bank(farm)
    number = next(numbers)
    web1.do("save", session, f"n={number}")
    assert web1.do("ack", session, 1, 20000)["http"] == 200, "nobody else can confirm it"
    web1.die()
    assert values(web2, session) == {"n": str(number)}


def test_an_acknowledged_change_is_at_the_alternate(farm):
    """With `change` the acknowledgement waits for the alternate, so that its copy is never older; but for one
    that takes nothing for 150 ms, as a busy machine may not: it gets it afterwards."""
    farm = farm()
    web1, web2, _ = farm.hosts
    session = new(web1, "web2", 1, "n=0")
    wait_carried(web1, 1)
    for number in range(100):
        began = time.monotonic()
        web1.do("save", session, f"n={number}")
        assert web1.do("ack", session, 1, 5000)["http"] == 200
        took = time.monotonic() - began
        if ahead(web1)["carried"] <= number + 1:  # the first copy is of the session as it was made
            assert took > 0.15
            wait_carried(web1, number + 2)
    assert ahead(web2)["took"] >= 100


def test_what_is_held_outlives_the_agent(farm):
    farm = farm()
    web1, web2, _ = farm.hosts
    session = new(web1, "web2", 1, "n=1")
    wait_carried(web1, 1)
    web2.start()  # another agent takes over
    stop_bank(farm)
    web1.die()
    assert values(web2, session) == {"n": "1"}


def test_where_routing_is_off_nothing_is_held(farm):
    farm = farm(hosts=2)
    web1, web2 = farm.hosts
    assert web1.call("POST", "/v1/sessions/ahead", b"garbage")[0] == 400
    web2.stop()
    web2.routing = None
    web2.start()
    assert web2.status()["ahead"] is None
    assert web2.call("POST", "/v1/sessions/ahead", b"")[0] == 404
    session = new(web1, "web2", 1, "n=0")
    wait_until(lambda: ahead(web1)["failed"] >= 1, SECONDS, "the refusal", web1.log)
    assert web1.do("ack", session, 2, 5000)["http"] == 200
    assert web1.said("FS1381") == 1
