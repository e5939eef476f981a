# SPDX-License-Identifier: Apache-2.0
"""
The farm's clock: a host whose wall clock runs an hour wrong, stands in another time zone, or whose
monotonic clock runs 200 ppm fast, switches with the others within the published bound.
"""

import glob

import pytest

import agreeing
from farmlib.clock import ActivationLog
from farmlib.prober import Prober, violations

SWITCHES = 3
FAKETIME = next(iter(glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")), None)


def wrong_clocks():
    found = {"zone": {"TZ": "Pacific/Kiritimati"}, "fast": {"FARMSYNC_TEST_CLOCK_PPM": "200"}}
    if FAKETIME:
        for name, offset in (("ahead", "+1h"), ("behind", "-1h")):
            found[name] = {"LD_PRELOAD": FAKETIME, "FAKETIME": offset,
                           "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
                           "FAKETIME_NO_CACHE": "1"}
    return found


@pytest.fixture(scope="module")
def farm(farms):
    """web1 is right; each of the others is wrong in its own way."""
    clocks = wrong_clocks()
    farm = farms.create(servers=1 + len(clocks), datasrv=1, interval=2)
    agreeing.put_page(farm)
    for web, name in zip(farm.webs[1:], clocks):
        web.record["environment"] = clocks[name]
    farm.save()
    farm.up()
    agreeing.load(farm)
    agreeing.wait_stamp(farm, 1)
    return farm


@pytest.mark.skipif(not FAKETIME, reason="libfaketime is not installed")
def test_the_wrong_clock_is_really_wrong(farm):
    """Else the test below shows nothing: httpd's own Date header is an hour off."""
    from email.utils import parsedate_to_datetime
    from farmlib.part import http_get

    def date(web):
        return parsedate_to_datetime(http_get(web.url + "/index.html")[1]["Date"])
    names = list(wrong_clocks())
    ahead = farm.webs[1 + names.index("ahead")]
    behind = farm.webs[1 + names.index("behind")]
    assert abs((date(ahead) - date(farm.webs[0])).total_seconds() - 3600) < 60
    assert abs((date(behind) - date(farm.webs[0])).total_seconds() + 3600) < 60


def test_wrong_clocks_switch_with_the_others(farm):
    log = ActivationLog(farm.database)
    prober = Prober([web.url for web in farm.webs], path="/farmsync/data/ta/k", rate=500)
    bounds = {}
    try:
        for number in range(SWITCHES):
            bounds.update(agreeing.switch(farm, log, prober, 100 + number))
    finally:
        prober.stop()
        log.stop()
    print(bounds)
    # Without the one that was still staged when the prober began, if there was.
    seen = [one for one in prober.seen(log) if (one.server, one.version) in bounds]
    assert len(seen) == SWITCHES * len(farm.webs)
    assert violations(seen, bounds, log.offset().bound_us) == []
    assert prober.failures == 0 and prober.errors == []


def test_the_published_offset_tells_the_wrong_wall_clock(farm):
    """clock_offset_us is the farm's time less the host's wall clock, for people."""
    rows = dict(farm.sql("SELECT name, clock_offset_us FROM member WHERE kind = 'agent'"))
    assert abs(int(rows["web1"])) < 5_000_000
    for web, name in zip(farm.webs[1:], wrong_clocks()):
        expected = {"ahead": -3600e6, "behind": 3600e6}.get(name, 0)
        assert abs(int(rows[web.name]) - expected) < 60e6, name
