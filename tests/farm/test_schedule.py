# SPDX-License-Identifier: Apache-2.0
"""
A promotion with a beginning and an end, both off the grid, on four servers that are asked 1000 times a second on
one clock: the right price before, between and after, to within the clock bound of each server.
"""

import pytest

from farmlib.clock import ActivationLog
from farmlib.part import http_get, wait_until
from farmlib.prober import Prober, Seen, switch_bounds, violations

INTERVAL_S = 4  # so the lead is 2 s
PATH = "/farmsync/data/prices/cup/price"
US = 1000000
ALWAYS, SALE = 100, 80


@pytest.fixture(scope="module")
def farm(farms):
    farm = farms.create(servers=4, datasrv=2, interval=INTERVAL_S, mpm="event,prefork")
    farm.up()
    farm.sql("CREATE DATABASE shop; GRANT SELECT ON shop.* TO farmsync@localhost; "
             "CREATE TABLE shop.price (sku VARCHAR(32) NOT NULL, price INT NOT NULL, starts DATETIME(6) NULL, "
             "ends DATETIME(6) NULL, KEY (sku, starts)); "
             f"INSERT INTO shop.price VALUES ('cup', {ALWAYS}, NULL, NULL), ('pot', 1, NULL, NULL)", None)
    farm.sql("CALL add_dataset_with('prices', 'shop.price', 'sku', "
             "'{\"activate_column\": \"starts\", \"expire_column\": \"ends\"}')")
    for web in farm.webs:
        wait_until(lambda web=web: price_at(web) == ALWAYS, 30, f"{web.name} to show the price")
    return farm


def price_at(web):
    try:
        status, _, body = http_get(web.url + PATH)
    except OSError:
        return None
    return int(body) if status == 200 else None


def moments(farm):
    """Two moments to come, off the grid, in microseconds: one so soon after a moment of the grid that it has no lead
    of its own, one so soon before one that the latter has none."""
    grid, now = (int(value) for value in farm.sql(
        "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', grid_time), "
        "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) FROM sync WHERE group_name = 'default'")[0])
    step = INTERVAL_S * US
    base = now - (now - grid) % step + 3 * step
    return base + 1234567, base + 2 * step + 2987654


def judge(prober, log, first, second, bounds):
    """What the prober saw of the two switches, against the moments that the table names."""
    offset = log.offset()
    wanted = {SALE: (first, ALWAYS), ALWAYS: (second, SALE)}
    seen = []
    for event in prober.switches:
        moment, before = wanted[event["to"]]
        assert event["from"] == before
        seen.append(Seen(event["server"], event["to"], *(
            event[key] / 1000 - (moment - offset.offset_us) for key in
            ("last_old_sent", "last_old_received", "first_new_sent", "first_new_received"))))
    for one in seen:
        print(f"server {one.server + 1}, price {one.version}: last old request {one.last_old_sent:.0f} us, first new answer "
              f"{one.first_new_received:.0f} us from its moment, bounds {bounds[one.server, one.version]} us")
    print(f"the checker's own bound is {offset.bound_us:.0f} us")
    return seen, violations(seen, bounds, offset.bound_us)


@pytest.mark.limit(180)
def test_a_promotion_begins_and_ends_when_it_says(farm):
    log = ActivationLog(farm.database)
    first, second = moments(farm)
    farm.sql("INSERT INTO shop.price VALUES ('cup', %d, '1970-01-01' + INTERVAL %d MICROSECOND, "
             "'1970-01-01' + INTERVAL %d MICROSECOND)" % (SALE, first, second), None)
    prober = Prober([web.url for web in farm.webs], path=PATH, options=("--body-prefix", ""))
    bounds = {}
    try:
        for price, moment in ((SALE, first), (ALWAYS, second)):
            wait_until(lambda moment=moment: moment in log.activations.values(), 40,
                       f"the change to {price} to be staged for its moment")
            version = next(v for v, t in log.activations.items() if t == moment)
            # An ordinary change in between moves nothing.
            farm.sql("UPDATE shop.price SET price = price + 1 WHERE sku = 'pot'", None)
            wait_until(lambda price=price: len([e for e in prober.switches if e["to"] == price]) == len(farm.webs), 40,
                       f"all servers to show {price}")
            for server, web in enumerate(farm.webs):
                bounds[server, price] = switch_bounds(web, version)
    finally:
        prober.stop()
        log.stop()
    seen, wrong = judge(prober, log, first, second, bounds)
    assert wrong == []
    assert len(seen) == 2 * len(farm.webs)
    assert prober.failures == 0 and prober.errors == []
    assert prober.answers > 4 * 50 * (second - first) / US  # on a machine of its own it is a thousand
    assert farm.sql("SELECT COUNT(*) FROM history WHERE detail LIKE '%FS107%'") == [["0"]]
