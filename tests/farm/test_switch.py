# SPDX-License-Identifier: Apache-2.0
"""
Promise 2: no answer from the old version to a request that arrives at or after the activation, none
from the new one before it, within the published bound. Ten switches, four servers of both kinds of
MPM, each asked 1000 times a second on one clock.
"""

import time

import pytest

import agreeing
from farmlib.clock import ActivationLog
from farmlib.prober import Prober, spread_us, violations

SWITCHES = 10
INTERVAL_S = 2


@pytest.fixture(scope="module")
def farm(farms):
    return agreeing.up(farms, servers=4, datasrv=2, interval=INTERVAL_S, mpm="event,prefork")


@pytest.mark.limit(180)
def test_ten_switches_on_one_clock(farm):
    log = ActivationLog(farm.database)
    prober = Prober([web.url for web in farm.webs], path="/farmsync/data/ta/k")
    bounds = {}
    try:
        first = log.look().version
        for number in range(SWITCHES):
            bounds.update(agreeing.switch(farm, log, prober, 100 + number))
        time.sleep(0.1)
    finally:
        prober.stop()
        log.stop()
    seen = prober.seen(log)
    versions = sorted({one.version for one in seen})
    for version in versions:
        print(f"version {version}: first new answers within {spread_us(seen, version):.0f} us, "
              f"earliest {min(o.first_new_received for o in seen if o.version == version):.0f} us, "
              f"latest old request "
              f"{max(o.last_old_sent for o in seen if o.version == version):.0f} us "
              f"relative to the activation")
    print(f"widest bound of a switch {max(max(both) for both in bounds.values())} us, checker's own "
          f"{log.offset().bound_us:.0f} us, {prober.answers} answers")
    assert violations(seen, bounds, log.offset().bound_us) == []
    assert versions[0] > first
    assert len(versions) == SWITCHES
    assert len(seen) == SWITCHES * len(farm.webs)
    assert prober.failures == 0 and prober.errors == []
    # Each version was active on all servers: nobody skipped one and nobody went back.
    for server in range(len(farm.webs)):
        steps = [(e["from"], e["to"]) for e in prober.switches if e["server"] == server]
        assert all(new > old for old, new in steps)
    assert prober.answers > 4 * 50 * SWITCHES  # it did ask often, if not as often as on a machine of its own
