# SPDX-License-Identifier: Apache-2.0
"""
The agent's part in sessions, on real agents and real bank servers, without httpd: copies on the bank,
sessions that change hands, bank servers and hosts that die, stand still and return.
"""

import shutil
import tempfile

import pytest

from bank_client import Key
from farmlib.part import wait_until
from session_hosts import SECONDS, SessionFarm


@pytest.fixture
def farm():
    """Makes farms of hosts and bank servers."""
    made, directories = [], []

    def make(banks=2, hosts=2, **sessions):
        directories.append(tempfile.mkdtemp(prefix="fssess-", dir="/tmp"))
        made.append(SessionFarm(directories[-1], Key(), banks, hosts, **sessions))
        return made[-1]
    yield make
    for one in made:
        one.end()
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


def new(host, *values):
    made = host.do("new", *values)
    assert "id" in made, made
    return made["id"], bytes.fromhex(made["key"])


def values(host, session, wait=5000):
    answer = host.load(session, wait)
    assert answer.get("http") == 200, (answer, host.log()[-3000:])
    return answer["values"]


# --- to the bank and back ---------------------------------------------------------------------------


def test_a_change_is_on_two_bank_servers_and_found_by_another_host(farm):
    farm = farm(banks=3, hosts=2)
    web1, web2 = farm.hosts
    session, key = new(web1, "a=1", "b=2")
    web1.wait_safe()
    assert len(farm.holders(key)) == 2
    assert web1.do("read", session)["copies"] == 2
    web1.die()
    assert values(web2, session) == {"a": "1", "b": "2"}
    assert web2.do("read", session)["owner"] == "web2"
