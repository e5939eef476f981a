# SPDX-License-Identifier: Apache-2.0
"""
Ready before it counts, on a farm: a version that waits for servers is put off and they are named; what is
done at the limit; and a server that is cut off after it has the version and before it hears that it counts.
"""

import itertools
import json

import pytest

import agreeing
from farmlib.part import http_get, tail, wait_until

INTERVAL_S = 6
stamps = itertools.count(1000)


@pytest.fixture(scope="module")
def shared(farms):
    farm = farms.create(servers=3, datasrv=1, interval=INTERVAL_S)
    agreeing.put_page(farm)
    farm.write_file("web1/conf/extra/stale.conf", "FarmSyncOnStale refuse\n")
    farm.up()
    agreeing.load(farm)
    agreeing.wait_stamp(farm, 1)
    return farm


@pytest.fixture
def farm(shared):
    """The module's farm with everything up, by time alone, and nothing under way."""
    yield shared
    for part in shared.parts() + [shared.part(web.agent_name) for web in shared.webs]:
        if part.state() == "paused":
            part.resume()
    if column(shared, "state") == "held":
        shared.sql("CALL farmsync.resume('default')")
    shared.sql("CALL farmsync.set_ready('default', 'time', NULL, NULL)")
    wait_until(lambda: column(shared, "staged") is None, 60, "what is staged to be active")


def column(farm, name):
    return farm.sql(f"SELECT {name} FROM farmsync.cycle WHERE group_name = 'default'")[0][0]


def history(farm, action, version):
    return [row[0] for row in farm.sql(
        f"SELECT detail FROM farmsync.history WHERE action = '{action}' AND version = {version} ORDER BY id")]


def policy(farm, percent, limit, on_limit="activate"):
    farm.sql(f"CALL farmsync.set_ready('default', '{percent}', {limit}, '{on_limit}')")


def change(farm):
    """A change that waits; returns (stamp, version)."""
    stamp = next(stamps)
    before = int(farm.sql("SELECT version FROM farmsync.sync WHERE group_name = 'default'")[0][0])
    agreeing.change(farm, stamp)
    wait_until(lambda: int(farm.sql("SELECT version FROM farmsync.sync WHERE group_name = 'default'")[0][0]) > before,
               30, "the change to be staged")
    return stamp, before + 1


def status_of(web):
    return json.loads(http_get(web.url + "/farmsync/status?json")[2])["groups"][0]


def group_metric(farm, name):
    text = http_get(farm.datasrv(1).url + "/metrics")[2].decode()
    return float(next(line for line in text.split("\n") if line.startswith(f'farmsync_{name}{{group="default"}}')).split()[-1])


@pytest.mark.limit(180)
def test_all_is_put_off_names_who_is_missing_and_goes_when_it_is_back(farm):
    policy(farm, "all", 300)
    farm.web(2).pause()
    old = agreeing.stamp_at(farm.web(1))
    stamp, version = change(farm)
    wait_until(lambda: history(farm, "put_off", version), 30, "the activation to be put off")
    assert "2 of 3 servers are ready; not yet: web2 (silent for" in history(farm, "put_off", version)[0]
    assert column(farm, "state") == "waiting" and column(farm, "ready") == "2 of 3"
    assert column(farm, "waits_for").startswith("web2 (silent for")
    assert column(farm, "reason").startswith(f"FS1140: version {version} is put off: 2 of 3 servers are ready; not yet: web2")
    wait_until(lambda: "FS0873" in tail(farm.datasrv(1).log_path(), 200), 30, "the log to say it")
    wait_until(lambda: group_metric(farm, "group_waiting") == 1, 30, "the metrics to say it")
    # Put off again and again, past the first plan.
    wait_until(lambda: int(farm.sql("SELECT put_off FROM farmsync.sync WHERE group_name = 'default'")[0][0]) >= 3, 30,
               "it to be put off again")
    for number in (1, 3):
        group = status_of(farm.web(number))
        assert (group["state"], group["staged_here"], group["stale"]) == ("waiting", True, False)
        assert agreeing.stamp_at(farm.web(number)) == old
    farm.web(2).resume()
    agreeing.wait_stamp(farm, stamp)
    assert history(farm, "ready", version) == ["3 of 3 servers are ready"]
    assert history(farm, "limit", version) == []


@pytest.mark.limit(180)
def test_activated_at_the_limit(farm):
    policy(farm, "all", 4, "activate")
    farm.web(2).pause()
    stamp, version = change(farm)
    agreeing.wait_stamp(farm, stamp, [farm.web(1), farm.web(3)], 60)
    assert history(farm, "limit", version)[0].startswith("activated: 2 of 3 servers are ready; not yet: web2 (silent for")
    assert history(farm, "ready", version) == []
    farm.web(2).resume()
    agreeing.wait_stamp(farm, stamp, [farm.web(2)])


@pytest.mark.limit(180)
def test_held_at_the_limit(farm):
    policy(farm, "all", 4, "hold")
    farm.web(2).pause()
    old = agreeing.stamp_at(farm.web(1))
    stamp, version = change(farm)
    wait_until(lambda: history(farm, "limit", version), 60, "the limit")
    assert history(farm, "limit", version)[0].startswith("held: 2 of 3 servers are ready; not yet: web2 (silent for")
    assert column(farm, "state") == "held" and "web2 (silent for" in column(farm, "reason")
    farm.web(2).resume()
    wait_until(lambda: farm.sql("SELECT COUNT(*) FROM farmsync.readiness WHERE lacks = ''")[0][0] == "3", 30,
               "web2 to be ready")
    assert [agreeing.stamp_at(web) for web in farm.webs] == [old] * 3
    farm.sql("CALL farmsync.resume('default')")
    agreeing.wait_stamp(farm, stamp, seconds=60)
    assert history(farm, "ready", version) == ["3 of 3 servers are ready"]


@pytest.mark.limit(180)
def test_a_percentage_doesnt_wait_for_the_rest(farm):
    policy(farm, "60%", 300)
    farm.web(2).pause()
    stamp, version = change(farm)
    agreeing.wait_stamp(farm, stamp, [farm.web(1), farm.web(3)], 60)
    assert history(farm, "put_off", version) == []
    assert history(farm, "ready", version)[0].startswith("2 of 3 servers are ready; not yet: web2")


@pytest.mark.limit(180)
def test_a_server_cut_off_at_the_worst_moment_refuses_before_others_switch(farm):
    """web1 has the version and hears no more from before the decision on. FarmSyncOnStale refuse: it never
    answers from the old version when another server has answered from the new one."""
    policy(farm, "all", 300)
    farm.web(2).pause()
    stamp, version = change(farm)
    wait_until(lambda: history(farm, "put_off", version), 30, "the activation to be put off")
    agent = farm.part(farm.web(1).agent_name)
    wait_until(lambda: status_of(farm.web(1))["staged_here"], 30, "web1 to have it")
    agent.pause()
    policy(farm, "30%", 300)
    wait_until(lambda: history(farm, "ready", version), 30, "the decision")

    def others_have_it():
        new = agreeing.stamp_at(farm.web(3)) == stamp
        mine = agreeing.stamp_at(farm.web(1))  # asked after web3 answered
        assert mine is None or not new, f"web1 answers {mine} when web3 has {stamp}"
        return new

    wait_until(others_have_it, 60, "web3 to switch", pace=0)
    group = status_of(farm.web(1))
    assert group["stale"] and group["staged_here"]
    assert http_get(farm.web(1).url + "/farmsync/data/ta/k")[0] == 503
    agent.resume()
    farm.web(2).resume()
    agreeing.wait_stamp(farm, stamp)


@pytest.mark.limit(180)
def test_agents_decide_without_a_data_server(farm):
    policy(farm, "all", 300)
    stamp, version = change(farm)
    farm.datasrv(1).pause()
    agreeing.wait_stamp(farm, stamp, seconds=60)
    farm.web(2).pause()
    old, (stamp, version) = stamp, change(farm)
    wait_until(lambda: history(farm, "put_off", version), 60, "the activation to be put off")
    assert agreeing.stamp_at(farm.web(3)) == old
    who = farm.sql(f"SELECT who FROM farmsync.history WHERE action = 'put_off' AND version = {version}")[0][0]
    assert who in ("web1", "web3")
    farm.web(2).resume()
    agreeing.wait_stamp(farm, stamp, seconds=60)
