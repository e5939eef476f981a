# SPDX-License-Identifier: Apache-2.0
"""
What is wrong in production doesn't reach the farm: a rule that fails, and a dataset emptied by mistake with
the limits that every dataset has. The servers go on with the old data, and the reason, with rule and first keys, is
in every place where somebody may look: history, the view cycle, datasrv's log, metrics, dashboard and health, and the
web servers' log and status. A group that waits for approval is as healthy as any.
"""

import html
import json
import re

import pytest

from farmlib.part import http_get, wait_until

ROWS = 100


@pytest.fixture(scope="module")
def farm(farms):
    made = farms.up(servers=2, datasrv=1, interval=1)
    made.sql("CREATE DATABASE shop2; GRANT SELECT ON shop2.* TO farmsync@localhost", None)
    made.sql("CREATE TABLE shop2.price (sku VARCHAR(32) PRIMARY KEY, price DECIMAL(10,2) NOT NULL); INSERT INTO shop2.price "
             f"SELECT CONCAT('sku-', LPAD(seq, 3, '0')), 5 FROM seq_1_to_{ROWS}")
    made.sql("CALL farmsync.add_dataset('prices', 'shop2.price', 'sku'); "
             "CALL farmsync.add_check('prices', 'positive', 'price <= 0')")
    wait_price(made, "sku-001", "5.00")
    return made


def price(web, sku):
    status, _, body = http_get(web.url + f"/farmsync/data/prices/{sku}/price")
    return body.decode().strip() if status == 200 else status


def wait_price(farm, sku, wanted):
    for web in farm.webs:
        wait_until(lambda web=web: price(web, sku) == wanted, 30, f"{web.name} to show {wanted} for {sku}")


def log_of(part):
    with open(part.log_path(), encoding="utf-8", errors="replace") as file:
        return file.read()


def group(web):
    return json.loads(http_get(web.url + "/farmsync/status?json")[2])["groups"][0]


def get(server, path):
    return http_get(server.url + path)[2].decode()


def row(farm, *names):
    columns = ", ".join(f"CONCAT('=', {name})" for name in names)  # an empty line is none for the client
    return tuple(value[1:] for value in farm.sql(f"SELECT {columns} FROM cycle WHERE group_name = 'default'")[0])


def told_everywhere(farm, *words):
    """All of `words` in each place; and both servers still serve, as healthy as before."""
    def has(text):
        return all(word in html.unescape(text) for word in words)

    wait_until(lambda: row(farm, "state")[0] == "failed" and has(row(farm, "reason")[0]), 60, "the view cycle to tell")
    assert row(farm, "reason")[0].startswith(words[0])
    action, detail = farm.sql("SELECT action, detail FROM history ORDER BY id DESC LIMIT 1")[0]
    assert action == "refused" and has(detail), detail
    ds1 = farm.datasrv(1)
    wait_until(lambda: has(log_of(ds1)), 30, "datasrv's log")
    wait_until(lambda: has(get(ds1, "/metrics").replace('\\"', '"')), 30, "the metrics", lambda: get(ds1, "/metrics"))
    assert re.search(r'^farmsync_group_failed{group="default"} 1$', get(ds1, "/metrics"), re.MULTILINE)
    wait_until(lambda: has(get(ds1, "/")), 30, "the dashboard", lambda: get(ds1, "/"))
    status, _, body = http_get(ds1.url + "/healthz")
    warnings = json.loads(body)["warnings"]
    assert status == 200 and [w for w in warnings if w["problem"] == "FS0847" and has(w["detail"])], warnings
    for web in farm.webs:
        wait_until(lambda web=web: has(log_of(web)), 30, f"the log of {web.name}")
        wait_until(lambda web=web: has(group(web)["reason"] or ""), 30, f"the status of {web.name}", lambda web=web: group(web))
        assert group(web)["state"] == "failed"
        assert has(get(web, "/farmsync/status")) and "the last promotion was refused" in get(web, "/farmsync/status")
        assert 'farmsync_promotion_failed{group="default"} 1' in get(web, "/farmsync/status?metrics")
        assert http_get(web.url + "/farmsync/status/health")[0] == 200


def told_no_more(farm):
    wait_until(lambda: row(farm, "state", "reason") == ("running", ""), 60, "the group to be as usual")
    ds1 = farm.datasrv(1)
    wait_until(lambda: "farmsync_group_reason{" not in get(ds1, "/metrics"), 30, "no reason in the metrics")
    for web in farm.webs:
        wait_until(lambda web=web: not group(web)["reason"] and group(web)["state"] == "running", 30, f"{web.name} to be as usual")
        assert 'farmsync_promotion_failed{group="default"} 0' in get(web, "/farmsync/status?metrics")


def test_a_rule_that_fails(farm):
    farm.sql("UPDATE shop2.price SET price = 0 WHERE sku IN ('sku-007', 'sku-009'); "
             "UPDATE shop2.price SET price = 6 WHERE sku = 'sku-001'", None)
    told_everywhere(farm, "FS1090", "prices", "positive (price <= 0)", '["sku-007"], ["sku-009"]')
    version = row(farm, "in_force")
    before = farm.sql("SELECT next_activation FROM cycle")[0]
    wait_until(lambda: farm.sql("SELECT next_activation FROM cycle")[0] > before, 30, "the cycle to go on")
    assert row(farm, "in_force") == version
    assert [price(web, sku) for web in farm.webs for sku in ("sku-001", "sku-007")] == ["5.00"] * 4
    farm.sql("UPDATE shop2.price SET price = 7 WHERE sku IN ('sku-007', 'sku-009')", None)
    wait_price(farm, "sku-007", "7.00")
    wait_price(farm, "sku-001", "6.00")
    told_no_more(farm)


def test_a_dataset_emptied_by_mistake(farm):
    farm.sql("CREATE TABLE shop2.saved AS SELECT * FROM shop2.price; TRUNCATE shop2.price", None)
    told_everywhere(farm, "FS1091: dataset prices would have 0 rows, it had 100", '["sku-001"], ["sku-002"]')
    assert [price(web, sku) for web in farm.webs for sku in ("sku-007", "sku-100")] == ["7.00", "5.00"] * 2
    farm.sql("INSERT INTO shop2.price SELECT * FROM shop2.saved; UPDATE shop2.price SET price = 8 WHERE sku = 'sku-100'", None)
    wait_price(farm, "sku-100", "8.00")
    told_no_more(farm)


def test_this_time_it_is_meant(farm):
    farm.sql("DELETE FROM shop2.price WHERE sku > 'sku-010'", None)
    told_everywhere(farm, "FS1092: dataset prices would lose 90 of its 100 rows", '["sku-011"]')
    farm.sql("SET @farmsync_comment = 'the season is over'; CALL farmsync.allow_once('default')")
    for web in farm.webs:
        wait_until(lambda web=web: price(web, "sku-100") == 404, 30, f"{web.name} without the rows that went")
    told_no_more(farm)
    assert farm.sql("SELECT comment FROM history WHERE action = 'allow_once'") == [["the season is over"]]


def test_waiting_for_approval(farm):
    """Nothing is promoted, the cycle goes on, everybody is healthy; then it comes as approved."""
    farm.sql("CREATE USER second@localhost; GRANT farmsync_operator TO second@localhost; "
             "SET DEFAULT ROLE farmsync_operator FOR second@localhost", None)
    farm.sql("CALL farmsync.set_approval('default', 'on')")
    farm.sql("UPDATE shop2.price SET price = 9 WHERE sku = 'sku-001'", None)
    wait_until(lambda: "FS1106: waits for approval" in row(farm, "reason")[0], 60, "the group to wait")
    assert row(farm, "state")[0] == "running"
    before = farm.sql("SELECT next_activation FROM cycle")[0]
    wait_until(lambda: farm.sql("SELECT next_activation FROM cycle")[0] > before, 30, "the cycle to go on")
    for web in farm.webs:
        wait_until(lambda web=web: "waits for approval" in (group(web)["reason"] or ""), 30, f"the status of {web.name}")
        assert http_get(web.url + "/farmsync/status/health")[0] == 200
        assert price(web, "sku-001") == "6.00"
    ds1 = farm.datasrv(1)
    assert "waits for approval" in get(ds1, "/") and http_get(ds1.url + "/healthz")[0] == 200
    digest = farm.sql("CALL farmsync.request_approval('default')")[0][0]
    farm.sql("UPDATE farmsync.group_gate SET requested_by = 'second@localhost'", None)  # as if that one had asked
    farm.sql(f"CALL farmsync.approve('default', '{digest}')")
    wait_price(farm, "sku-001", "9.00")
    assert farm.sql("SELECT COUNT(*) FROM history WHERE action = 'waits'") == [["1"]]
    told_no_more(farm)
