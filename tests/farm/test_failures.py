# SPDX-License-Identifier: Apache-2.0
"""
What may fail, at any moment of the cycle: database, data server, agent, httpd child and parent killed,
paused, restarted; images cut short, altered or foreign; a full disk; a server that was away.

Throughout: a server that isn't touched answers every request, nobody goes back to an older version
(promise 3), a staged version becomes active on time even with everything central gone, and when the
trouble is over the next change arrives everywhere.
"""

import os
import random
import shutil
import signal
import subprocess

import pytest

import agreeing
from agreeing import Watched, flows, stamps, sync_row
from farmlib import proc
from farmlib.part import http_get, wait_until


@pytest.fixture(scope="module")
def shared(farms):
    return agreeing.up(farms, servers=2, datasrv=1, interval=1, mpm="event,prefork")


@pytest.fixture
def farm(shared):
    """The module's farm with everything up and data flowing, whatever the test before did."""
    for part in shared.parts():
        if part.state() == "paused":
            part.resume()
        if part.pid is None:
            part.start()
    flows(shared)
    return shared


def stage(farm):
    """Has a change staged on all servers, not yet active; returns (stamp, version)."""
    before = sync_row(farm)["version"]
    stamp = next(stamps)
    agreeing.change(farm, stamp)
    wait_until(lambda: sync_row(farm)["version"] > before, 60, "the change to be staged")
    version = sync_row(farm)["version"]
    wait_until(lambda: int(farm.sql(
        f"SELECT COUNT(*) FROM member WHERE kind = 'agent' AND version_staged >= {version}")[0][0])
        == len(farm.webs), 60, "all agents to have retrieved it")
    return stamp, version


# --- the database ----------------------------------------------------------------------------------

@pytest.mark.parametrize("act", ["kill", "stop", "pause"])
def test_the_database_is_away(farm, act):
    with Watched(farm.webs):
        getattr(farm.database, act)()
        assert all(agreeing.stamp_at(web) for web in farm.webs)
        if act == "pause":
            farm.database.resume()
        else:
            farm.database.start()
        flows(farm)


def test_a_staged_version_becomes_active_without_anything_central(farm):
    farm.sql("CALL farmsync.set_interval('default', 4)")
    try:
        with Watched(farm.webs):
            stamp, _ = stage(farm)
            farm.database.pause()
            farm.datasrv(1).pause()
            agreeing.wait_stamp(farm, stamp)
            farm.database.resume()
            farm.datasrv(1).resume()
            flows(farm)
    finally:
        farm.sql("CALL farmsync.set_interval('default', 1)")


def test_the_database_dies_at_any_moment_of_the_cycle(farm):
    """Five kills at random moments within the cycle; whatever was being promoted is whole or not."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    moments = random.Random(seed)
    with Watched(farm.webs):
        for _ in range(5):
            agreeing.change(farm, next(stamps))
            wait_left = moments.uniform(0, 1e6)
            wait_until(lambda: sync_row(farm)["left"] <= wait_left, 30, "the moment", pace=0)
            farm.database.kill()
            farm.database.start()
        flows(farm)
    active = farm.sql("SELECT a.stamp = b.stamp AND b.stamp = c.stamp FROM active_ta a, "
                      "active_tb b, active_tc c WHERE a.k = 'k' AND b.k = 'k' AND c.k = 'k'")
    assert active == [["1"]]


# --- datasrv ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("act", ["kill", "stop", "pause"])
def test_without_data_server_the_agents_do_it_themselves(farm, act):
    with Watched(farm.webs):
        getattr(farm.datasrv(1), act)()
        # Frozen in the middle of a promotion it holds the row until the database ends its transaction.
        flows(farm, seconds=80)
        if act == "pause":
            farm.datasrv(1).resume()
        else:
            farm.datasrv(1).start()
        flows(farm)


def test_the_data_server_reloads(farm):
    with Watched(farm.webs):
        farm.datasrv(1).graceful()
        flows(farm)


# --- the agent ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("act", ["kill", "stop"])
def test_a_dead_agent_is_replaced(farm, act):
    with Watched(farm.webs):
        agent = farm.part("agent1")
        before = agent.pid
        getattr(agent, act)()
        wait_until(lambda: agent.pid not in (None, before), 60, "httpd to start another agent")
        flows(farm)


def test_a_paused_agent_delays_its_own_server_only(farm):
    with Watched(farm.webs):
        farm.part("agent1").pause()
        flows(farm, [farm.web(2)])
        farm.part("agent1").resume()
        flows(farm)


# --- httpd --------------------------------------------------------------------------------------------

@pytest.mark.parametrize("number", [1, 2])
def test_a_dead_child_is_replaced(farm, number):
    web = farm.web(number)
    with Watched([farm.web(3 - number)]):
        victims = web.children()
        assert victims
        for child in victims:
            proc.send(child, signal.SIGKILL)
        wait_until(lambda: [one for one in web.children() if one not in victims], 60,
                   "httpd to start another child")
        flows(farm)


@pytest.mark.parametrize("number", [1, 2])
def test_a_dead_parent_leaves_nothing_in_the_way(farm, number):
    web = farm.web(number)
    with Watched([farm.web(3 - number)]):
        proc.send(web.process, signal.SIGKILL)
        proc.wait_gone([web.process], 10)
        web.start()
        flows(farm)


def test_the_whole_tree_is_killed(farm):
    web = farm.web(1)
    tree = web.processes()
    assert len(tree) >= 3  # parent, child, agent
    with Watched([farm.web(2)]):
        web.kill()
        assert not [one for one in tree if proc.alive(one)]
        web.start()
        flows(farm)


@pytest.mark.parametrize("number", [1, 2])
def test_graceful_keeps_the_data(farm, number):
    with Watched([farm.web(3 - number)]):
        stamp = flows(farm)
        farm.web(number).graceful()
        assert agreeing.stamp_at(farm.web(number)) == stamp
        flows(farm)


def test_a_server_that_was_away_for_three_cycles(farm):
    web = farm.web(2)
    web.stop()
    for _ in range(3):
        stamp = flows(farm, [farm.web(1)])
    web.start()
    wait_until(lambda: agreeing.stamp_at(web) is not None, 60, "web2 to have data")
    agreeing.wait_stamp(farm, stamp, [web])
    flows(farm)


def test_a_server_that_was_frozen_for_three_cycles(farm):
    web = farm.web(2)
    web.pause()
    for _ in range(3):
        stamp = flows(farm, [farm.web(1)])
    web.resume()
    agreeing.wait_stamp(farm, stamp, [web])
    flows(farm)


def test_everything_central_is_down_at_the_start(farm):
    """Promise 7: the last good images, and their age."""
    stamp = flows(farm)
    farm.web(1).stop()
    farm.datasrv(1).stop()
    farm.database.stop()
    farm.web(1).start()
    agreeing.wait_stamp(farm, stamp, [farm.web(1)])
    status, _, body = http_get(farm.web(1).url + "/farmsync/status?json")
    assert status == 200 and b"default" in body
    farm.database.start()
    farm.datasrv(1).start()
    flows(farm)


# --- images -------------------------------------------------------------------------------------------

def images_of(web):
    """The image files in a server's StateDir (without what an earlier test left of one)."""
    directory = os.path.join(web.directory, "run", "farmsync", "images")
    paths = [os.path.join(directory, name) for name in sorted(os.listdir(directory))]
    return [path for path in paths if path.endswith(".fsi") and os.path.getsize(path) > 64]


def cut(path, _others):
    os.truncate(path, os.path.getsize(path) // 2)


def empty(path, _others):
    os.truncate(path, 0)


def flip(path, _others):
    with open(path, "r+b") as file:
        file.seek(os.path.getsize(path) - 9)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


def flip_head(path, _others):
    with open(path, "r+b") as file:
        file.seek(17)
        byte = file.read(1)
        file.seek(17)
        file.write(bytes([byte[0] ^ 0x40]))


def foreign(path, others):
    """A sound image, but of something else."""
    other = next(one for one in others if one != path)
    shutil.copyfile(other, path)


@pytest.mark.parametrize("damage", [cut, empty, flip, flip_head, foreign])
def test_a_damaged_image_is_never_served(farm, damage):
    """Promise 6, at a start from damaged files: they are noticed, and retrieved again."""
    web = farm.web(1)
    stamp = flows(farm)
    web.stop()
    paths = images_of(web)
    assert paths
    copies = [shutil.copyfile(path, path + ".copy") for path in paths]
    for path, others in zip(paths, [copies[1:] + copies[:1]] * len(paths)):
        damage(path, others)
    for copy in copies:
        os.unlink(copy)
    web.start()
    wait_until(lambda: agreeing.stamp_at(web) is not None, 30, "web1 to have data again")
    assert agreeing.stamp_at(web) == stamp
    flows(farm)


@pytest.mark.parametrize("damage", [cut, flip, foreign])
def test_damaged_images_and_nobody_to_ask(farm, damage):
    """Then there is no data, requests that need it get 503, and httpd itself runs."""
    web = farm.web(1)
    flows(farm)
    web.stop()
    farm.datasrv(1).stop()
    farm.database.stop()
    paths = images_of(web)
    for number, path in enumerate(paths):
        damage(path, paths[number + 1:] + paths[:number])
    web.start()
    wait_until(lambda: farm.part("agent1").pid, 60, "the agent to run")
    assert http_get(web.url + "/index.html")[0] == 200
    for _ in range(20):
        assert http_get(web.url + "/farmsync/data/ta/k")[0] == 503
    assert http_get(web.url + "/farmsync/status/health")[0] == 503
    farm.database.start()
    farm.datasrv(1).start()
    flows(farm)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs needs root")
def test_a_full_disk_stops_one_server_and_nothing_is_half_there(farm):
    web = farm.web(1)
    web.stop()
    state = os.path.join(web.directory, "run", "farmsync")
    shutil.rmtree(state)
    os.mkdir(state)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=755", "tmpfs", state],
                             check=False, capture_output=True)
    if mounted.returncode:
        farm.user.give(state, 0o750)
        pytest.skip("this system doesn't allow mounting a tmpfs")
    try:
        farm.user.give(state, 0o750)
        web.start()
        stamp = flows(farm)
        with Watched(farm.webs):
            farm.sql("INSERT INTO agree.ta SELECT CONCAT('big-', seq), seq FROM seq_1_to_300000", "agree")
            newer = flows(farm, [farm.web(2)])
            assert newer > stamp
            assert agreeing.stamp_at(web) == stamp  # the old version stays
            wait_until(lambda: farm.sql(
                "SELECT COUNT(*) FROM member WHERE name = 'web1' AND problem <> ''") == [["1"]],
                60, "web1 to report its problem")
            subprocess.run(["mount", "-o", "remount,size=64m", state], check=True)
            flows(farm)
        farm.sql("DELETE FROM agree.ta WHERE k LIKE 'big-%'", None)
        farm.sql("CALL allow_once('default')")  # nearly all rows go, and that is meant
        flows(farm)
    finally:
        if web.pid:
            web.stop()
        subprocess.run(["umount", state], check=True)
        farm.user.give(state, 0o750)
