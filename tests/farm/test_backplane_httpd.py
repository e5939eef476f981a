# SPDX-License-Identifier: Apache-2.0
"""
The backplane of a real farm that has no FarmSyncPeer: each server finds the others by way of a data
server, or of the database; and nothing is lost by graceful restarts of httpd.
"""

import http.client
import os
import signal
import time

import pytest

from conftest import LONG
from farmlib import httpd, proc
from farmlib.part import wait_until
from notice_farm import agent, notices, prepare, raw, socket_of

SECONDS = 40


@pytest.fixture(scope="module")
def farm(farms):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpd.WebServer, "_peers", lambda web: "")
        farm = prepare(farms.create(servers=3, datasrv=1))
        farm.up()
    return farm


def backplane(web):
    return agent(web).ask("GET", "/v1/backplane")[1]


def is_one(farm):
    try:
        states = [backplane(web) for web in farm.webs]
    except Exception:  # pylint: disable=broad-except
        return False  # an agent starts just now
    return (len({state["digest"] for state in states}) == 1
            and all(sum(peer["state"] == "alive" and peer["same"] for peer in state["peers"])
                    == len(farm.webs) - 1 for state in states))


def settle(farm):
    wait_until(lambda: is_one(farm), SECONDS, "servers that found each other",
               lambda: "\n".join(str(backplane(web)) for web in farm.webs))


def down(web, application):
    """As farmsyncctl does: an agent that ends says 503 and Retry-After, and is asked again."""
    body = b'{"application":"%s","state":"down"}' % application.encode()

    def told():
        try:
            status, answer = raw(web, "POST", "/v1/notices", body)
        except (http.client.RemoteDisconnected, ConnectionResetError):
            return None
        assert status == 200 or answer["problem"] == "FS0252", answer
        return status == 200 and answer
    return wait_until(told, SECONDS, f"{application} to be told")


def state_dir(web):
    return os.path.dirname(socket_of(web))


def test_servers_find_each_other_by_way_of_a_data_server(farm):
    settle(farm)
    assert all(not peer["configured"] for peer in backplane(farm.web(1))["peers"])
    wait_until(lambda: down(farm.web(1), "shop")["told"] == 3, SECONDS, "all to confirm it within the usual second")


def test_servers_find_each_other_in_the_database(farm):
    for part in (*farm.datasrvs, *farm.webs):
        part.stop()
    for web in farm.webs:
        os.unlink(os.path.join(state_dir(web), "backplane"))
    for web in farm.webs:
        web.start()
    settle(farm)
    assert not notices(farm.web(2)), "nobody had anything on disk"
    for part in farm.datasrvs:
        part.start()


@pytest.mark.limit(300)
def test_graceful_restarts_of_httpd_lose_nothing(farm):
    """100 of each at 5 a second (8 in CI), while notices are told to all of them."""
    settle(farm)
    told = set()
    for number in range(100 if LONG else 8):
        due = time.monotonic() + 0.2
        name = f"app{number}"
        wait_until(lambda: os.path.exists(socket_of(farm.web(1))), SECONDS, "agent.sock")
        down(farm.web(1 + number % 3), name)
        told.add(f"{name}/operator")
        for web in farm.webs:
            proc.send(web.process, signal.SIGUSR1)
        wait_until(lambda: time.monotonic() >= due, SECONDS, "the next restart")
    settle(farm)
    for web in farm.webs:
        wait_until(lambda one=web: set(notices(one)) >= told, SECONDS, f"{web.name} to know all",
                   lambda one=web: str(told - set(notices(one))))
