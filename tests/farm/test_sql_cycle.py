# SPDX-License-Identifier: Apache-2.0
"""The cycle in SQL: grid, lead, interval, hold, exact times, refusals, pruning, rights, members."""

import json
import os
import re
import shutil
import threading
import time

import pymysql
import pytest
from sql_fixtures import SQL_DIR, SqlError, Threads, install

pytest_plugins = ["sql_fixtures"]

US = 1000000
ROW = (
    "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', activation_time), "
    "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', grid_time), sync_interval, "
    "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)), version, active_version "
    "FROM farmsync.sync WHERE group_name = 'default'"
)


@pytest.fixture
def shop(db):
    db.script(
        "CREATE TABLE shop.price (sku VARCHAR(32) PRIMARY KEY, price DECIMAL(10,2));"
        "INSERT INTO shop.price VALUES ('a', 1), ('b', 2);"
        "CALL farmsync.add_dataset('prices', 'shop.price', 'sku')"
    )
    return db


def times(db):
    """activation, grid, interval (all in microseconds), now, version, active_version."""
    a, g, i, n, v, w = (int(x) for x in db.run(ROW)[0])
    return a, g, i * US, n, v, w


def set_times(db, activation=0, grid=0, interval=600, lead="2"):
    """Sets the row as if it had come about; times are seconds from now."""
    db.run(
        "UPDATE farmsync.sync SET epoch = epoch + 1, activation_time = UTC_TIMESTAMP(6) + INTERVAL %s MICROSECOND, "
        "grid_time = UTC_TIMESTAMP(6) + INTERVAL %s MICROSECOND, sync_interval = %s, min_lead = %s",
        int(activation * US), int(grid * US), interval, lead,
    )


def change(db):
    db.run("UPDATE shop.price SET price = price + 1 WHERE sku = 'a'")


def staged(db):
    """Something is staged for later: active 1, staged 2."""
    assert db.cycle() == "staged"
    change(db)
    assert db.cycle() == "staged"


# --- promotion and grid


def test_first_version_waits_for_the_lead_only(shop):
    assert shop.promote() == "staged"
    activation, grid, _, now, version, active = times(shop)
    assert (version, active) == (1, 0)
    assert now < activation <= now + 2 * US
    assert grid == activation
    assert shop.run("SELECT * FROM farmsync.active_prices") == []
    assert len(shop.run("SELECT * FROM farmsync.staged_prices")) == 2


@pytest.mark.parametrize("interval,lead,late", [(600, "2", 0.01), (600, "2", 1500), (1, "2", 0.3), (1, "2", 0.6), (1, "0.1", 0.3),
                                                (10, "2", 8.5), (7, "2", 7 * 1000 + 0.5), (86400, "3600", 86399)])
def test_next_activation_is_on_the_grid_and_leaves_the_lead(shop, interval, lead, late):
    """However late the promotion comes, also after missed cycles: previous + k * interval."""
    assert shop.cycle() == "staged"
    change(shop)
    set_times(shop, activation=-late, grid=-late, interval=interval, lead=lead)
    previous, grid, _, before, _, _ = times(shop)
    assert shop.promote() == "staged"
    activation, grid_after, step, now, version, active = times(shop)
    assert (version, active) == (2, 1)
    assert grid_after == grid
    assert (activation - previous) % step == 0
    least = min(float(lead) * US, step // 2)
    assert activation >= before + least
    # The smallest k: one step earlier would not have left the lead at the end of the promotion.
    assert activation - step < now + least


def test_unchanged_production_keeps_the_version(shop):
    assert shop.cycle() == "staged"
    digest = shop.run("SELECT digest, since FROM farmsync.image")
    epoch = shop.epoch()
    for _ in range(3):
        assert shop.cycle() == "unchanged"
    _, _, _, _, version, active = times(shop)
    assert (version, active) == (1, 1)
    assert shop.epoch() > epoch
    assert shop.run("SELECT digest, since FROM farmsync.image") == digest
    assert shop.one("SELECT COUNT(*) FROM farmsync.history WHERE action = 'promote'") == "1"


def test_only_the_changed_dataset_gets_a_new_image(shop):
    shop.script("CREATE TABLE shop.ship (c CHAR(2) PRIMARY KEY, p INT); INSERT INTO shop.ship VALUES ('DE', 3);"
                "CALL farmsync.add_dataset('ship', 'shop.ship', 'c')")
    assert shop.cycle() == "staged"
    change(shop)
    assert shop.cycle() == "staged"
    rows = shop.run("SELECT version, dataset, since FROM farmsync.image ORDER BY version, dataset")
    assert rows == [("1", "prices", "1"), ("1", "ship", "1"), ("2", "prices", "2"), ("2", "ship", "1")]
    history = shop.run("SELECT version, rows_changed, detail, who FROM farmsync.history WHERE action = 'promote' ORDER BY id")
    assert history == [("1", "3", "prices 2, ship 1", "test"), ("2", "1", "prices 1", "test")]
    assert shop.run("SELECT version, state, datasets, total_rows FROM farmsync.versions ORDER BY version") == [
        ("1", "in force", "2", "3"), ("2", "staged", "2", "3")]


def test_old_versions_stay_readable(shop):
    seen = []
    for i in range(5):
        shop.script("DELETE FROM shop.price WHERE sku = 'x%d'; INSERT INTO shop.price VALUES ('x%d', 1);" % (i - 1, i))
        change(shop)
        assert shop.cycle() == "staged"
        seen.append(shop.run("SELECT * FROM shop.price ORDER BY sku"))
    for version, rows in enumerate(seen, 1):
        assert shop.run("SELECT sku, price FROM farmsync.data_prices WHERE fs_from <= %s AND fs_to > %s ORDER BY sku",
                        version, version) == rows


def test_group_without_datasets_has_its_cycle(db):
    assert db.cycle() == "unchanged"
    activation, _, step, now, version, _ = times(db)
    assert version == 0 and now < activation <= now + step


def test_dropping_the_last_dataset_makes_an_empty_version(shop):
    assert shop.cycle() == "staged"
    shop.run("CALL farmsync.drop_dataset('prices')")
    assert shop.cycle() == "staged"
    assert shop.run("SELECT dataset FROM farmsync.image WHERE version = 2") == []
    assert shop.cycle() == "unchanged"


def test_not_due_held_or_other_epoch_is_lost_and_changes_nothing(shop):
    before = shop.sync()
    assert shop.promote(epoch=shop.epoch() - 1) == "lost"
    assert shop.promote(group="nothing", epoch=1) == "lost"
    set_times(shop, activation=60)
    assert shop.promote() == "lost"
    shop.make_due()
    shop.run("CALL farmsync.hold('default')")
    held = shop.sync()
    assert shop.promote() == "lost"
    shop.run("CALL farmsync.promote_failed('default', %s, 'x', 'no')", shop.epoch())
    assert shop.sync() == held
    assert held["version"] == before["version"] == "0"
    assert shop.run("SELECT * FROM farmsync.data_prices") == []


# --- what the procedures of a promotion refuse


def test_promote_outside_a_transaction(shop):
    text = shop.refused("CALL farmsync.promote('default', %s, 'x')", shop.epoch())
    assert "FS1001" in text and "START TRANSACTION" in text
    assert shop.epoch() == 2 and shop.sync()["version"] == "0"
    shop.run("SET autocommit = 0")  # a transaction by another name
    assert shop.run("CALL farmsync.promote('default', %s, 'x')", shop.epoch())[0][0] == "staged"
    shop.run("ROLLBACK")
    assert shop.sync()["version"] == "0"


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE", "READ UNCOMMITTED"])
def test_promote_with_another_isolation(shop, level):
    shop.run("SET SESSION TRANSACTION ISOLATION LEVEL " + level)
    shop.run("START TRANSACTION")
    text = shop.refused("CALL farmsync.promote('default', %s, 'x')", shop.epoch())
    assert "FS1002" in text and "READ COMMITTED" in text
    shop.run("ROLLBACK")


def test_session_settings_are_given_back(shop):
    shop.run("SET time_zone = '+02:00', group_concat_max_len = 4000")
    query = "SELECT @@time_zone, @@group_concat_max_len, @@sql_mode"
    before = shop.run(query)
    assert shop.promote() == "staged"
    assert shop.run(query) == before
    shop.run("DROP TABLE shop.price")
    shop.make_due()
    with pytest.raises(pymysql.MySQLError):
        shop.promote()
    assert shop.run(query) == before


def test_images_only_inside_the_promotion(shop):
    digest = "a" * 64
    call = "CALL farmsync.promote_image('default', %s, %s, %s, %s, %s)"
    assert "FS1004" in shop.refused(call, 0, "prices", digest, 1, 1)
    assert "FS1004" in shop.refused("CALL farmsync.promote_done('default', 0, 'x')")
    shop.run("START TRANSACTION")
    shop.run("CALL farmsync.promote('default', %s, 'x')", shop.epoch())
    assert "FS1004" in shop.refused(call, 2, "prices", digest, 1, 1)
    assert "FS1006" in shop.refused(call, 1, "other", digest, 1, 1)
    assert "FS1007" in shop.refused(call, 1, "prices", "zz", 1, 1)
    assert "FS1007" in shop.refused(call, 1, "prices", digest, -1, 1)
    text = shop.refused("CALL farmsync.promote_done('default', 1, 'x')")
    assert "FS1005" in text and "prices" in text
    shop.run(call, 1, "prices", digest, 1, 2)
    assert "FS1004" in shop.refused("CALL farmsync.promote_done('default', 1, 'y')")
    shop.run("CALL farmsync.promote_done('default', 1, 'x')")
    assert "FS1004" in shop.refused("CALL farmsync.promote_done('default', 1, 'x')")
    shop.run("COMMIT")
    assert "FS1004" in shop.refused(call, 1, "prices", digest, 1, 1)


def test_version_whose_images_were_never_entered_is_repeated(shop):
    """A promoter that commits half a promotion (none of ours does) is put right by the next cycle."""
    shop.run("START TRANSACTION")
    shop.run("CALL farmsync.promote('default', %s, 'x')", shop.epoch())
    shop.run("COMMIT")
    assert shop.cycle() == "staged"
    assert shop.run("SELECT version, dataset FROM farmsync.image") == [("2", "prices")]


def test_long_work_moves_the_activation_on_along_the_grid(shop):
    assert shop.cycle() == "staged"
    change(shop)
    set_times(shop, activation=-0.1, grid=-0.1, interval=1, lead="2")
    previous = times(shop)[0]
    shop.run("START TRANSACTION")
    shop.run("CALL farmsync.promote('default', %s, 'test')", shop.epoch())
    assert times(shop)[0] == previous + US
    shop.run("SELECT SLEEP(0.6)")
    shop.images(2)
    shop.run("COMMIT")
    activation, _, _, now, _, _ = times(shop)
    assert (activation - previous) % US == 0
    assert activation >= previous + 2 * US and activation >= now + US // 2 - 100000


# --- refused promotions

BREAKS = [
    ("dup", "duplicates", ["FS1031", "prices", "key"]),
    ("same", "identical", ["FS1031", "prices"]),
    ("null", "null", ["FS1030", "prices", "NULL in the key `sku`"]),
    ("gone", "dropped", ["FS1033", "shop.price_t", "drop_dataset"]),
    ("view", "broken view", ["FS1033", "shop.extra"]),
    ("long", "longer", ["FS1032", "prices", "sku", "add_dataset"]),
    ("right", "revoked", ["FS1033", "SELECT"]),
]


@pytest.mark.parametrize("kind,_why,says", BREAKS, ids=[b[0] for b in BREAKS])
def test_broken_production_stops_the_promotion_whole(db, server, kind, _why, says):
    db.script(
        "CREATE TABLE shop.price_t (sku VARCHAR(8), price INT); INSERT INTO shop.price_t VALUES ('a', 1), ('b', 2);"
        "CREATE TABLE shop.extra (sku VARCHAR(8), price INT); CREATE TABLE shop.other (id INT PRIMARY KEY, v INT);"
        "INSERT INTO shop.other VALUES (1, 1);"
        "CREATE VIEW shop.price AS SELECT sku, price FROM shop.price_t UNION ALL SELECT sku, price FROM shop.extra;"
        "CALL farmsync.add_dataset('other', 'shop.other', 'id');"
    )
    source = "shop.price_t" if kind in ("gone", "long", "null", "right") else "shop.price"
    db.run("CALL farmsync.add_dataset('prices', %s, 'sku')", source)
    assert db.cycle() == "staged"
    before = db.run("SELECT * FROM farmsync.staged_prices ORDER BY sku")
    db.run("UPDATE shop.other SET v = 2")
    db.script({
        "dup": "INSERT INTO shop.extra VALUES ('a', 9)",
        "same": "INSERT INTO shop.extra VALUES ('a', 1)",
        "null": "INSERT INTO shop.price_t VALUES (NULL, 9)",
        "gone": "DROP TABLE shop.price_t",
        "view": "DROP TABLE shop.extra",
        "long": "ALTER TABLE shop.price_t MODIFY sku VARCHAR(200); INSERT INTO shop.price_t VALUES (REPEAT('x', 100), 1)",
        "right": "REVOKE SELECT ON shop.* FROM 'farmsync'@'localhost'",
    }[kind])
    db.make_due()
    epoch = db.epoch()
    row = db.sync()
    with pytest.raises(pymysql.MySQLError) as caught:
        db.promote(epoch)
    text = caught.value.args[1]
    for part in says:
        assert part in text
    # Everything is as it was, the other dataset too.
    assert db.sync() == row
    assert db.run("SELECT * FROM farmsync.staged_prices ORDER BY sku") == before
    assert db.one("SELECT v FROM farmsync.staged_other") == "1"
    assert db.one("SELECT COUNT(*) FROM farmsync.image") == "2"
    # The refusal is recorded and the cycle goes on.
    db.run("CALL farmsync.promote_failed('default', %s, 'me', %s)", epoch, text)
    after = db.sync()
    assert (after["state"], after["version"], after["active_version"]) == ("failed", "1", "1")
    assert after["reason"] == text[:512]
    assert after["activation_time"] > row["activation_time"]
    assert db.run("SELECT action, version, who, detail FROM farmsync.history ORDER BY id DESC LIMIT 1") == [
        ("refused", "1", "me", text)]
    db.run("CALL farmsync.promote_failed('default', %s, 'me', 'again')", epoch)  # another's late word
    assert db.sync() == after
    # Repaired, the next cycle takes everything.
    db.script({
        "dup": "DELETE FROM shop.extra", "same": "DELETE FROM shop.extra",
        "null": "DELETE FROM shop.price_t WHERE sku IS NULL",
        "gone": "CREATE TABLE shop.price_t (sku VARCHAR(8), price INT); INSERT INTO shop.price_t VALUES ('a', 1)",
        "view": "CREATE TABLE shop.extra (sku VARCHAR(8), price INT)",
        "long": "DELETE FROM shop.price_t WHERE price = 1 AND CHAR_LENGTH(sku) > 8",
        "right": "GRANT SELECT ON shop.* TO 'farmsync'@'localhost'",
    }[kind])
    assert db.cycle() == "staged"
    assert (db.sync()["state"], db.sync()["reason"]) == ("running", "")
    assert db.one("SELECT v FROM farmsync.staged_other") == "2"


# --- operators


def test_interval_shorter_moves_the_activation_forward(shop):
    staged(shop)
    set_times(shop, activation=500, grid=-100, interval=600)
    epoch = shop.epoch()
    shop.run("CALL farmsync.set_interval('default', 1)")
    activation, grid, step, now, version, active = times(shop)
    assert version != active and step == US
    assert now + 300000 < activation <= now + 2 * US
    assert (activation - grid) % US == 0
    assert shop.epoch() > epoch


def test_interval_longer_never_puts_off_what_is_announced(shop):
    staged(shop)
    set_times(shop, activation=5, grid=-5, interval=10)
    announced = times(shop)[0]
    shop.run("CALL farmsync.set_interval('default', 3600)")
    assert times(shop)[0] == announced


def test_interval_longer_with_nothing_staged_counts_from_the_last_grid_time(shop):
    assert shop.cycle() == "staged"
    assert shop.cycle() == "unchanged"
    set_times(shop, activation=5, grid=-25, interval=10)
    grid = times(shop)[1]
    shop.run("CALL farmsync.set_interval('default', 3600)")
    activation, grid_after, step, _, _, _ = times(shop)
    assert grid_after == grid + 20 * US
    assert activation == grid_after + step


def test_interval_leaves_a_due_promotion_alone(shop):
    assert shop.cycle() == "staged"
    set_times(shop, activation=-1, grid=-1, interval=600)
    due = times(shop)[0]
    shop.run("CALL farmsync.set_interval('default', 60)")
    assert times(shop)[0] == due
    assert shop.promote() == "unchanged"


@pytest.mark.parametrize("seconds", [0, -1, None, 31536001])
def test_interval_out_of_range(shop, seconds):
    before = shop.sync()
    assert "FS1040" in shop.refused("CALL farmsync.set_interval('default', %s)", seconds)
    assert shop.sync() == before


@pytest.mark.parametrize("seconds, remedy", [("1.5", "1.5 s is no whole number; give 1 or 2"),
                                             ("59.0000001", "59.0000001 s"), ("0.5", "give 1 to 31536000")])
def test_interval_is_not_rounded(shop, seconds, remedy):
    before = shop.sync()
    text = shop.refused(f"CALL farmsync.set_interval('default', {seconds})")
    assert "FS1040" in text and remedy in text
    assert shop.sync() == before
    shop.run("CALL farmsync.set_interval('default', 60.0)")
    assert shop.sync()["sync_interval"] == "60"
    assert shop.one("SELECT detail FROM farmsync.history WHERE action = 'set_interval'") == "60 s"


def test_no_such_group(shop):
    for call in ("set_interval('x', 1)", "set_lead('x', 1)", "set_keep_versions('x', 5)", "hold('x')", "resume('x')",
                 "activate_now('x')", "activate_at('x', '2100-01-01')", "drop_group('x')", "prune('x', 1)",
                 "hold(NULL)"):
        assert "FS1003" in shop.refused("CALL farmsync." + call)


def test_ranges(shop):
    assert "FS1041" in shop.refused("CALL farmsync.set_lead('default', 0)")
    assert "FS1041" in shop.refused("CALL farmsync.set_lead('default', NULL)")
    assert "FS1042" in shop.refused("CALL farmsync.set_keep_versions('default', 1)")
    assert "give 2 or 3" in shop.refused("CALL farmsync.set_keep_versions('default', 2.5)")
    shop.run("CALL farmsync.set_lead('default', 0.25)")
    assert shop.run("SELECT lead_us FROM farmsync.sync_us") == [("250000",)]


def test_groups(shop):
    assert "FS1043" in shop.refused("CALL farmsync.add_group('a b')")
    assert "FS1043" in shop.refused("CALL farmsync.add_group('default')")
    assert "FS1044" in shop.refused("CALL farmsync.drop_group('default')")
    shop.run("CALL farmsync.add_group('two')")
    shop.run("CALL farmsync.add_dataset_with('p2', 'shop.price', 'sku', '{\"group\": \"two\"}')")
    assert "FS1044" in shop.refused("CALL farmsync.drop_group('two')")
    shop.run("CALL farmsync.drop_dataset('p2')")
    shop.run("CALL farmsync.drop_group('two')")
    assert shop.run("SELECT group_name FROM farmsync.cycle") == [("default",)]


def test_hold_and_resume(shop):
    staged(shop)
    activation = times(shop)[0]
    shop.run("CALL farmsync.hold('default')")
    assert times(shop)[0] == activation  # what is announced still comes
    assert "held by root@localhost" in shop.one("SELECT reason FROM farmsync.cycle")
    assert "FS1048" in shop.refused("CALL farmsync.activate_now('default')")
    shop.make_due()
    assert shop.promote() == "lost"
    assert shop.one("SELECT in_force FROM farmsync.cycle") == "2"
    shop.run("CALL farmsync.resume('default')")
    assert shop.promote() == "unchanged"
    assert "FS1047" in shop.refused("CALL farmsync.resume('default')")
    actions = [r[0] for r in shop.run("SELECT action FROM farmsync.history WHERE who = 'root@localhost' ORDER BY id")]
    assert actions == ["add_dataset", "hold", "resume"]


def test_activate_now_with_something_staged(shop):
    staged(shop)
    set_times(shop, activation=500, grid=-100)
    shop.run("CALL farmsync.activate_now('default')")
    activation, grid, _, now, _, _ = times(shop)
    assert now + 1 * US < activation <= now + 2 * US
    # What production holds beyond that follows one lead later, then the grid goes on.
    change(shop)
    shop.make_due()
    assert shop.promote() == "staged"
    activation, _, _, now, version, active = times(shop)
    assert (version, active) == (3, 2) and now < activation <= now + 2 * US
    assert shop.cycle() == "unchanged"
    activation, grid_after, step, _, _, _ = times(shop)
    assert grid_after == grid and (activation - grid) % step == 0


def test_activate_now_with_nothing_staged_promotes_at_once(shop):
    assert shop.cycle() == "staged"
    assert shop.cycle() == "unchanged"
    set_times(shop, activation=500, grid=-100)
    change(shop)
    assert shop.promote() == "lost"
    shop.run("CALL farmsync.activate_now('default')")
    assert shop.promote() == "staged"
    activation, _, _, now, _, _ = times(shop)
    assert now < activation <= now + 2 * US


def at(db, seconds):
    return db.one("SELECT UTC_TIMESTAMP(6) + INTERVAL %s MICROSECOND", int(seconds * US))


def test_activate_at_brings_the_staged_version_forward(shop):
    staged(shop)
    set_times(shop, activation=500, grid=-100)
    moment = at(shop, 30)
    shop.run("CALL farmsync.activate_at('default', %s)", moment)
    assert shop.sync()["activation_time"] == moment


def test_activate_at_with_nothing_staged_is_staged_just_before(shop):
    assert shop.cycle() == "staged"
    assert shop.cycle() == "unchanged"
    set_times(shop, activation=500, grid=-100)
    moment = at(shop, 30)
    shop.run("CALL farmsync.activate_at('default', %s)", moment)
    activation, _, _, now, _, _ = times(shop)
    assert now + 25 * US < activation < now + 27 * US
    change(shop)
    shop.make_due()
    assert shop.promote() == "staged"
    row = shop.sync()
    assert (row["activation_time"], row["wanted_time"]) == (moment, None)


def test_activate_at_after_the_next_cycle(shop):
    """The version of the cycle before it is the one that starts then."""
    staged(shop)
    set_times(shop, activation=20, grid=20 - 600)
    moment = at(shop, 300)
    shop.run("CALL farmsync.activate_at('default', %s)", moment)
    announced = shop.sync()
    assert announced["wanted_time"] == moment and announced["activation_time"] < moment
    change(shop)
    set_times(shop, activation=-0.01, grid=-0.01)
    assert shop.promote() == "staged"
    assert shop.sync()["activation_time"] == moment


def test_activate_at_too_soon(shop):
    assert shop.cycle() == "staged"
    before = shop.sync()
    for moment in (at(shop, 1), at(shop, -10), None):
        assert "FS1045" in shop.refused("CALL farmsync.activate_at('default', %s)", moment)
    assert shop.sync() == before


# --- views


def test_active_view_follows_the_database_clock(shop):
    assert shop.cycle() == "staged"
    assert shop.cycle() == "unchanged"
    change(shop)
    shop.run("CALL farmsync.set_lead('default', 3)")
    shop.run("CALL farmsync.activate_now('default')")
    assert shop.promote() == "staged"
    end = time.monotonic() + 30
    old = new = 0
    while time.monotonic() < end and not new:
        # One statement, so that clock and view are read at the same time.
        past, price = shop.run(
            "SELECT UTC_TIMESTAMP(6) >= s.activation_time, a.price FROM farmsync.sync s, farmsync.active_prices a "
            "WHERE a.sku = 'a'")[0]
        assert price == ("2.00" if past == "1" else "1.00")
        old, new = old + (past == "0"), new + (past == "1")
    assert old and new


def test_sync_us_doesnt_depend_on_the_sessions_zone(shop):
    assert shop.cycle() == "staged"
    first = shop.run("SELECT activation_us, now_us FROM farmsync.sync_us")[0]
    shop.run("SET time_zone = '-07:00'")
    second = shop.run("SELECT activation_us, now_us FROM farmsync.sync_us")[0]
    assert first[0] == second[0]
    assert 0 <= int(second[1]) - int(first[1]) < 60 * US
    assert abs(int(second[1]) / US - time.time()) < 60


def member(name, **more):
    return {"name": name, "kind": "agent", "group": "default", "address": "10.0.0.1:4480", "version_active": 1,
            "version_staged": 1, "digest": "d", "clock_offset_us": -1500, "clock_bound_us": 250,
            "clock_source": "db1", "problem": "", **more}


def test_members(shop):
    assert shop.cycle() == "staged"
    shop.make_due()
    report = [member("web1"), member("web2", version_active=0, version_staged=0), member("web3", problem="FS0600: full"),
              member("web4", clock_offset_us=None, clock_bound_us=None), {"name": "ds1", "kind": "datasrv", "group": "default"}]
    shop.run("CALL farmsync.report_members(%s)", json.dumps(report))
    states = dict(shop.run("SELECT name, state FROM farmsync.farm"))
    assert states == {"web1": "ok", "web2": "late", "web3": "problem", "web4": "ok", "ds1": "ok"}
    assert shop.run("SELECT clock_offset_ms, clock_bound_ms FROM farmsync.farm WHERE name = 'web1'") == [("-1.500", "0.250")]
    shop.run("CALL farmsync.report_members(%s)", json.dumps([member("web2", version_active=1, problem="x" * 1000)]))
    assert shop.one("SELECT COUNT(*) FROM farmsync.member") == "5"
    assert shop.run("SELECT version_active, LENGTH(problem) FROM farmsync.member WHERE name = 'web2'") == [("1", "256")]
    shop.run("UPDATE farmsync.member SET seen = seen - INTERVAL 1 HOUR WHERE name = 'web1'")
    assert shop.one("SELECT state FROM farmsync.farm WHERE name = 'web1'") == "silent"
    shop.run("CALL farmsync.forget_member('web1')")
    assert "FS1051" in shop.refused("CALL farmsync.forget_member('web1')")


@pytest.mark.parametrize("text", ["", "{", "{}", "null", None, "[1]", '[{"kind": "agent"}]'])
def test_bad_member_reports(shop, text):
    assert shop.refused("CALL farmsync.report_members(%s)", text)
    assert shop.one("SELECT COUNT(*) FROM farmsync.member") == "0"


# --- pruning


def test_prune_keeps_what_is_asked_for_and_goes_in_steps(shop):
    shop.run("CALL farmsync.set_keep_versions('default', 3)")
    contents = {}
    for version in range(1, 9):
        shop.run("UPDATE shop.price SET price = price + 1")
        assert shop.cycle() == "staged"
        contents[version] = shop.run("SELECT * FROM shop.price ORDER BY sku")
    assert int(shop.one("SELECT COUNT(*) FROM farmsync.data_prices")) == 16
    left = int(shop.run("CALL farmsync.prune('default', 4)")[0][0])
    assert left == 6
    for expected in (2, 0, 0):
        assert int(shop.run("CALL farmsync.prune('default', 4)")[0][0]) == expected
    assert [r[0] for r in shop.run("SELECT DISTINCT version FROM farmsync.image ORDER BY 1")] == ["6", "7", "8"]
    for version in (6, 7, 8):
        assert shop.run("SELECT sku, price FROM farmsync.data_prices WHERE fs_from <= %s AND fs_to > %s ORDER BY sku",
                        version, version) == contents[version]
    assert shop.cycle() == "unchanged"


def test_prune_removes_a_dropped_dataset_when_nobody_needs_it(shop):
    shop.script("CREATE TABLE shop.x (id INT PRIMARY KEY); CALL farmsync.add_dataset('x', 'shop.x', 'id')")
    assert shop.cycle() == "staged"
    shop.run("CALL farmsync.drop_dataset('x')")
    shop.run("CALL farmsync.prune('default', 100)")
    assert shop.one("SELECT COUNT(*) FROM farmsync.data_x") == "0"
    assert shop.cycle() == "staged"
    shop.run("CALL farmsync.prune('default', 100)")  # still active_version
    assert shop.one("SELECT COUNT(*) FROM farmsync.data_x") == "0"
    shop.make_due()
    shop.run("CALL farmsync.prune('default', 100)")
    assert shop.run("SHOW TABLES FROM farmsync LIKE '%%\\_x'") == []
    assert shop.run("SELECT name FROM farmsync.dataset") == [("prices",)]


# --- installation and rights


def test_installing_again_keeps_everything(shop, sql_server):
    staged(shop)
    tables = ("sync", "dataset", "dataset_column", "image", "history", "data_prices")
    before = {t: shop.run("SELECT * FROM farmsync." + t) for t in tables}
    install(sql_server)
    assert {t: shop.run("SELECT * FROM farmsync." + t) for t in tables} == before
    assert len(shop.run("SELECT * FROM farmsync.staged_prices")) == 2
    change(shop)
    assert shop.run("SELECT changed_rows FROM farmsync.pending") == [("1",)]
    assert shop.cycle() == "staged"


def test_installing_again_with_a_source_that_is_gone(shop, sql_server):
    assert shop.cycle() == "staged"
    shop.run("DROP TABLE shop.price")
    install(sql_server)
    assert len(shop.run("SELECT * FROM farmsync.staged_prices")) == 2


def test_incomplete_installation_is_an_error(sql_server, tmp_path):
    """The client itself goes on after an error in a sourced file."""
    copy = tmp_path / "sql"
    shutil.copytree(SQL_DIR, copy)
    operators = copy / "procedures" / "operators.sql"
    operators.write_text(operators.read_text().replace("CREATE DEFINER", "CREATE DEFINIR", 1))
    with pytest.raises(SqlError) as caught:
        sql_server.run_file(copy / "install.sql")
    assert "FS1060" in str(caught.value) and "DEFINIR" in str(caught.value)
    install(sql_server)


def test_installation_checks_every_procedure(db):
    with open(os.path.join(SQL_DIR, "install.sql"), encoding="utf-8") as f:
        text = f.read()
    for (name,) in db.run("SELECT routine_name FROM information_schema.routines WHERE routine_schema = 'farmsync'"):
        assert re.search(r"[,']%s[,']" % name, text), name


def test_sample_shop(db, sql_server):
    for _ in range(2):
        sql_server.run_file(os.path.join(SQL_DIR, "sample", "shop.sql"))
    db.script("CALL farmsync.add_dataset('prices', 'shop.price', 'sku');"
              "CALL farmsync.add_dataset('shipping', 'shop.shipping', 'country,service');"
              "CALL farmsync.add_dataset('promotions', 'shop.promotion', 'code')")
    assert db.promote() == "staged"
    assert int(db.one("SELECT COUNT(*) FROM farmsync.staged_prices")) > 5


@pytest.fixture
def accounts(db):
    for role in ("agent", "datasrv", "operator"):
        db.script("CREATE USER IF NOT EXISTS 't_%s'@'localhost' IDENTIFIED BY 'x'; GRANT farmsync_%s TO 't_%s'@'localhost';"
                  "SET DEFAULT ROLE farmsync_%s FOR 't_%s'@'localhost'" % ((role,) * 5))
    yield
    for role in ("agent", "datasrv", "operator"):
        db.run("DROP USER 't_%s'@'localhost'" % role)


def test_least_privilege(shop, connect, accounts):
    agent = connect(user="t_agent", password="x")
    datasrv = connect(user="t_datasrv", password="x")
    operator = connect(user="t_operator", password="x")
    assert agent.promote() == "staged"
    agent.run("CALL farmsync.report_members(%s)", json.dumps([member("web1")]))
    for session in (agent, datasrv, operator):
        assert len(session.run("SELECT * FROM farmsync.staged_prices")) == 2
        for text in ("UPDATE farmsync.sync SET epoch = 1", "DELETE FROM farmsync.history", "DROP TABLE farmsync.data_prices",
                     "INSERT INTO farmsync.data_prices VALUES (1, 2, 'x', 1)", "SELECT * FROM shop.price",
                     "UPDATE farmsync.staged_prices SET price = 1", "CALL farmsync.run_sql('SELECT 1')",
                     "CALL farmsync.purge_dataset('prices', @x)", "CALL farmsync.promote_work('default', 1, 'x')",
                     "CREATE TABLE farmsync.x (i INT)", "CREATE TEMPORARY TABLE farmsync.sync (i INT)"):
            assert "denied" in session.refused(text)
    for text in ("CALL farmsync.hold('default')", "CALL farmsync.prune('default', 1)",
                 "CALL farmsync.add_dataset('x', 'shop.price', 'sku')"):
        assert "denied" in agent.refused(text)
    assert "denied" in operator.refused("CALL farmsync.promote('default', 1, 'x')")
    datasrv.run("CALL farmsync.prune('default', 10)")
    operator.run("CALL farmsync.add_dataset('more', 'shop.price', 'sku')")
    operator.run("CALL farmsync.set_interval('default', 5)")
    assert shop.one("SELECT who FROM farmsync.history ORDER BY id DESC LIMIT 1") == "t_operator@localhost"
    assert len(operator.run("SELECT * FROM farmsync.pending")) == 2
    operator.run("CALL farmsync.drop_dataset('more')")


# --- many at once


def test_operators_and_promoters_at_once(shop, connect):
    """Acts of operators in the middle of promotions: none is lost, none breaks a promotion."""
    shop.run("CALL farmsync.set_interval('default', 1)")
    stop = threading.Event()
    done = {"promote": 0}
    threads = Threads()

    def promoter(session):
        while not stop.is_set():
            change(session)
            session.make_due()
            done["promote"] += session.promote() == "staged"

    acts = {"n": 0}

    def operate(session):
        end = time.monotonic() + 60
        while (done["promote"] < 10 or acts["n"] < 30) and time.monotonic() < end:
            session.run("CALL farmsync.set_interval('default', %s)", 1 + acts["n"] % 5)
            session.run("CALL farmsync.activate_now('default')")
            acts["n"] += 1
            time.sleep(0.02)  # each act makes a promoter's epoch stale: leave it a moment
        stop.set()

    threads.start(promoter, connect())
    threads.start(operate, connect())
    threads.join()
    assert shop.one("SELECT COUNT(*) FROM farmsync.history WHERE action = 'set_interval'") == str(acts["n"] + 1)
    assert shop.one("SELECT COUNT(*) FROM farmsync.history WHERE action = 'activate_now'") == str(acts["n"])
    assert int(shop.one("SELECT COUNT(*) FROM farmsync.history WHERE action = 'promote'")) == done["promote"] >= 10


def test_two_add_the_same_name_at_once(shop, connect):
    for round_ in range(5):
        threads = Threads()
        results = []

        def add(session, name):
            try:
                session.run("CALL farmsync.add_dataset(%s, 'shop.price', 'sku')", name)
                results.append("added")
            except pymysql.MySQLError as error:
                results.append(error.args[1][:6])

        for _ in range(4):
            threads.start(add, connect(), "n%d" % round_)
        threads.join()
        assert results.count("added") == 1
        assert set(results) <= {"added", "FS1011", "FS1013"}
    assert shop.cycle() == "staged"
    assert len(shop.run("SELECT * FROM farmsync.pending")) == 6
