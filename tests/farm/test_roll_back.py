# SPDX-License-Identifier: Apache-2.0
"""
Roll back and pin on a farm of four servers and two data servers: under load, the old content on every
server at one instant, without a transfer; what was announced is not withdrawn; whoever starts or was
away gets what is pinned.
"""

import glob
import json
import os
import re
import shutil
import threading

import pytest

import agreeing
from farmlib.clock import ActivationLog
from farmlib.part import http_get, wait_until
from farmlib.prober import Prober, switch_bounds, violations
from test_load import wrk

ROWS = 3000
LOAD_S = 6


@pytest.fixture(scope="module")
def farm(farms):
    made = farms.create(servers=4, datasrv=2, interval=2, mpm="event,prefork")
    agreeing.put_page(made)
    made.up()
    agreeing.load(made, extra_rows=ROWS)
    agreeing.wait_stamp(made, 1)
    return made


def sync(farm):
    names = ("version", "active_version", "activation_us", "now_us", "interval_us", "state", "pinned_version", "reason")
    row = farm.sql(f"SELECT {', '.join(names)} FROM sync_us WHERE group_name = 'default'")[0]
    return {name: value if name in ("state", "reason") else int(value) for name, value in zip(names, row)}


def served(farm, stamp):
    """Brings a stamp into production and waits for it; the version that has it in all three datasets."""
    agreeing.change(farm, stamp)
    agreeing.wait_stamp(farm, stamp)
    return sync(farm)["version"]


def answers(farm, kind):
    """How many answers of this kind the data servers have given."""
    total = 0
    for server in farm.datasrvs:
        text = http_get(server.url + "/metrics")[2].decode()
        total += int(re.search(rf'farmsync_datasrv_answers_total{{kind="{kind}"}} (\d+)', text).group(1))
    return total


def metric(server, path, name):
    found = re.search(rf"^{name}{{[^}}]*}} (\S+)$", http_get(server.url + path)[2].decode(), re.MULTILINE)
    return float(found.group(1)) if found else None


def status(web):
    return json.loads(http_get(web.url + "/farmsync/status?json")[2])["groups"][0]


def fetched(web, version):
    """(at hand, transferred, built) when this server brought the version."""
    with open(web.log_path(), encoding="utf-8", errors="replace") as file:
        found = re.findall(rf"FS0590: group default: version {version} is here: (\d+) images at hand, (\d+) transferred, "
                           r".*?(\d+) built from SQL", file.read())
    return [tuple(map(int, one)) for one in found]


def state_directory(web):
    return os.path.join(web.directory, "run", "farmsync")


def rolled_back(farm, version):
    """The result of the act: the version that has the old content."""
    rows = farm.sql(f"CALL farmsync.roll_back('default', {version})")
    return int(rows[0][0])


def switched(farm, prober, version):
    wait_until(lambda: len([e for e in prober.switches if e["to"] == version]) == len(farm.webs), 30,
               f"all servers to switch to version {version}")
    return {(server, version): switch_bounds(web, version) for server, web in enumerate(farm.webs)}


def nothing_is_promoted(farm, version):
    """Two cycles pass with production different from what is in force."""
    since = sync(farm)["now_us"]
    wait_until(lambda: sync(farm)["now_us"] > since + 2 * sync(farm)["interval_us"], 30, "two cycles to pass")
    assert sync(farm)["version"] == version


@pytest.mark.limit(300)
def test_old_content_everywhere_at_one_instant_without_a_transfer(farm):
    good = served(farm, 100)
    served(farm, 666)
    # Until the good version isn't even lingering any more: only what is in force is published.
    for web in farm.webs:
        wait_until(lambda: len(glob.glob(state_directory(web) + "/views/*")) == 1, 120,
                   f"{web.name} to forget all other versions")
    before = {kind: answers(farm, kind) for kind in ("image", "delta")}
    log = ActivationLog(farm.database)
    prober = Prober([web.url for web in farm.webs], path="/farmsync/data/ta/k")
    pages = []
    load = threading.Thread(target=lambda: pages.append(wrk(farm.web(1).url + agreeing.PAGE, LOAD_S)))
    load.start()
    try:
        asked = sync(farm)["now_us"]
        version = rolled_back(farm, good)
        bounds = switched(farm, prober, version)
    finally:
        load.join()
        prober.stop()
        log.stop()
    seen = [one for one in prober.seen(log) if one.version == version]
    assert len(seen) == len(farm.webs)
    assert violations(seen, bounds, log.offset().bound_us) == []
    assert log.activations[version] >= asked + 1000000  # the lead: half the interval
    assert prober.failures == 0 and prober.errors == []
    answered, failed, mixed, distinct, socket, text = pages[0]
    assert (failed, mixed, socket) == (0, 0, 0) and answered > 0 and distinct == 2, text
    agreeing.wait_stamp(farm, 100)
    assert {kind: answers(farm, kind) for kind in before} == before
    for web in farm.webs:
        assert fetched(web, version) == [(3, 0, 0)]
    assert sync(farm)["state"] == "held" and f"content of version {good}" in sync(farm)["reason"]
    assert [status(web)["state"] for web in farm.webs] == ["held"] * 4
    nothing_is_promoted(farm, version)
    # Repaired, it goes on.
    agreeing.change(farm, 101)
    farm.sql("CALL farmsync.resume('default')")
    agreeing.wait_stamp(farm, 101)


@pytest.mark.limit(180)
def test_announced_version_becomes_active_and_is_followed(farm):
    good = served(farm, 200)
    farm.sql("CALL farmsync.set_interval('default', 60)")
    log = ActivationLog(farm.database)
    prober = Prober([web.url for web in farm.webs], path="/farmsync/data/ta/k")
    try:
        agreeing.change(farm, 777)
        farm.sql("CALL farmsync.activate_now('default')")
        wait_until(lambda: sync(farm)["version"] == good + 1, 30, "the bad version to be announced")
        announced = sync(farm)["activation_us"]
        assert sync(farm)["now_us"] < announced
        rows = farm.sql(f"CALL farmsync.roll_back('default', {good})")
        assert f"version {good + 1} is announced already" in rows[0][2]
        assert sync(farm)["activation_us"] == announced
        bounds = switched(farm, prober, good + 1)
        bounds.update(switched(farm, prober, good + 2))
    finally:
        prober.stop()
        log.stop()
    farm.sql("CALL farmsync.set_interval('default', 2)")
    seen = [one for one in prober.seen(log) if one.version > good]
    assert len(seen) == 2 * len(farm.webs)
    assert violations(seen, bounds, log.offset().bound_us) == []
    assert log.activations[good + 1] == announced
    # The lead after the other, as soon as somebody could do it.
    assert 2000000 <= log.activations[good + 2] - announced <= 12000000
    agreeing.wait_stamp(farm, 200)
    for web in farm.webs:
        assert fetched(web, good + 2) == [(3, 0, 0)]
    said = [open(server.log_path(), encoding="utf-8").read().count("FS0890") for server in farm.datasrvs]
    assert sum(said) == 1
    nothing_is_promoted(farm, good + 2)
    agreeing.change(farm, 201)
    farm.sql("CALL farmsync.resume('default')")
    agreeing.wait_stamp(farm, 201)


@pytest.mark.limit(240)
def test_pin_holds_across_restarts_and_is_seen_everywhere(farm):
    older = served(farm, 300)
    served(farm, 301)
    farm.web(4).stop()  # away while it is pinned
    rows = farm.sql(f"CALL farmsync.pin('default', {older})")
    pinned = int(rows[0][0])
    agreeing.wait_stamp(farm, 300, farm.webs[:3])
    agreeing.change(farm, 302)
    farm.web(4).start()
    agreeing.wait_stamp(farm, 300, [farm.web(4)])
    farm.web(2).stop()
    farm.web(2).start()
    agreeing.wait_stamp(farm, 300, [farm.web(2)])
    # As if it had just been bought.
    farm.web(3).stop()
    for part in glob.glob(state_directory(farm.web(3)) + "/*"):
        shutil.rmtree(part) if os.path.isdir(part) else os.unlink(part)
    farm.web(3).start()
    agreeing.wait_stamp(farm, 300, [farm.web(3)])
    farm.datasrv(1).stop()
    farm.datasrv(1).start()
    nothing_is_promoted(farm, pinned)

    for web in farm.webs:
        wait_until(lambda: status(web)["pinned_version"] == pinned and not status(web)["stale"], 30,
                   f"{web.name} to say that version {pinned} is pinned")
        assert status(web)["state"] == "pinned"
        assert f"to version {pinned}: nothing newer comes" in http_get(web.url + "/farmsync/status")[2].decode()
        assert metric(web, "/farmsync/status?metrics", "farmsync_pinned_version") == pinned
        assert http_get(web.url + "/farmsync/status/health")[0] == 200
    for server in farm.datasrvs:
        wait_until(lambda: metric(server, "/metrics", "farmsync_group_pinned_version") == pinned, 30, "the data server to know")
        health = json.loads(http_get(server.url + "/healthz")[2])
        assert [one["problem"] for one in health["warnings"]] == ["FS0891"]
        assert f"pinned to version {pinned}" in health["warnings"][0]["detail"]
        assert f"Pinned to version {pinned}" in http_get(server.url + "/")[2].decode()
        assert "FS0892" in open(server.log_path(), encoding="utf-8").read()
    assert list(map(list, farm.sql("SELECT state, pinned FROM cycle WHERE group_name = 'default'"))) == [["pinned", str(pinned)]]
    assert {row[0] for row in farm.sql("SELECT pinned FROM farm WHERE kind = 'agent'")} == {str(pinned)}
    farm.sql("CALL farmsync.unpin('default')")
    agreeing.wait_stamp(farm, 302)
    assert "FS0642" in open(farm.web(1).log_path(), encoding="utf-8", errors="replace").read()


@pytest.mark.limit(180)
def test_images_that_nobody_has_any_more_are_built_digest_for_digest(farm):
    """Far back, on data servers and servers that have lost all: from the version tables."""
    old = served(farm, 400)
    digests = farm.sql(f"SELECT dataset, digest FROM image WHERE version = {old} ORDER BY 1")
    served(farm, 401)
    for server in farm.datasrvs:
        server.stop()
        for image in glob.glob(os.path.join(server.directory, "images", "*.fsi")):
            os.unlink(image)
        server.start()
    for part in farm.webs[:2]:
        part.stop()
        for image in glob.glob(state_directory(part) + "/images/*.fsi"):
            os.unlink(image)
        part.start()
    agreeing.wait_stamp(farm, 401)
    version = rolled_back(farm, old)
    agreeing.wait_stamp(farm, 400)
    assert farm.sql(f"SELECT dataset, digest FROM image WHERE version = {version} ORDER BY 1") == digests
    assert sum(sum(fetched(web, version)[0][1:]) for web in farm.webs[:2]) == 6
    for web in farm.webs[2:]:
        assert fetched(web, version) == [(3, 0, 0)]
    farm.sql("CALL farmsync.resume('default')")
    agreeing.wait_stamp(farm, 401)
