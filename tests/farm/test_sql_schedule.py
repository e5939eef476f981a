# SPDX-License-Identifier: Apache-2.0
"""Scheduled data in SQL: of the rows of a key the newest that is due counts; activations are moved to the moment at
which something comes due or ends; what can't be in force in time is said; and operators' acts put nothing in force
before its time."""

import json
import threading

import pymysql
import pytest
from sql_fixtures import LOST, Threads

pytest_plugins = ["sql_fixtures"]

US = 1000000
BOTH = {"activate_column": "starts", "expire_column": "ends"}
SHORT = dict(BOTH, columns=["sku", "price"])  # the tests move the times of rows
KINDS = pytest.mark.parametrize("kind", ["DATETIME(6)", "TIMESTAMP(6)"])
TIMES = (
    "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', activation_time), TIMESTAMPDIFF(MICROSECOND, '1970-01-01', grid_time), "
    "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)), sync_interval FROM farmsync.sync WHERE group_name = 'default'"
)


def make_shop(db, kind="DATETIME(6)", options=None, base=True):
    db.script(
        "CREATE TABLE shop.price (sku VARCHAR(32) NOT NULL, price INT, starts %s NULL, ends %s NULL, KEY (sku, starts));"
        % (kind, kind)
    )
    if base:
        db.run("INSERT INTO shop.price VALUES ('cup', 100, NULL, NULL)")
    add(db, SHORT if options is None else options)


def add(db, options, name="prices", source="shop.price", key="sku"):
    db.run("CALL farmsync.add_dataset_with(%s, %s, %s, %s)", name, source, key, json.dumps(options))


def at(db, seconds):
    """The moment so many seconds from now, as the database writes it; a number of microseconds that tests can compare."""
    return db.one("SELECT UTC_TIMESTAMP(6) + INTERVAL %s MICROSECOND", int(seconds * US))


def us(db, moment):
    return int(db.one("SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', %s)", moment))


def put(db, price, starts=None, ends=None, sku="cup"):
    db.run("INSERT INTO shop.price VALUES (%s, %s, %s, %s)", sku, price, starts, ends)


def settle(db, interval=600, lead="2"):
    """A first version in force since long, the next activation due now, the grid `interval` ahead."""
    db.write("UPDATE farmsync.sync SET sync_interval = %s, min_lead = %s", interval, lead)
    assert db.cycle() == "staged"
    due(db)


def due(db, ago=0.0):
    """As if the activation had come, and the grid with it; what was staged was right then."""
    db.write("UPDATE farmsync.sync SET epoch = epoch + 1, activation_time = UTC_TIMESTAMP(6) - INTERVAL %s MICROSECOND, "
             "grid_time = activation_time, content_time = activation_time", int(ago * US))


def pass_to(db, moment):
    """As if the clock had come to this moment: everything else moves back by the time until then."""
    db.run("SET @gone = GREATEST(0, TIMESTAMPDIFF(MICROSECOND, UTC_TIMESTAMP(6), %s))", moment)
    db.run("UPDATE shop.price SET starts = starts - INTERVAL @gone MICROSECOND, ends = ends - INTERVAL @gone MICROSECOND")
    if db.run("SHOW TABLES FROM shop LIKE 'sign'"):
        db.run("UPDATE shop.sign SET starts = starts - INTERVAL @gone MICROSECOND")
    db.run("UPDATE farmsync.sync SET epoch = epoch + 1, activation_time = activation_time - INTERVAL @gone MICROSECOND, "
           "grid_time = grid_time - INTERVAL @gone MICROSECOND, content_time = content_time - INTERVAL @gone MICROSECOND, "
           "promoted_at = promoted_at - INTERVAL @gone MICROSECOND, wanted_time = wanted_time - INTERVAL @gone MICROSECOND")


def next_cycle(db):
    """The clock comes to the activation, and the promotion of then is done."""
    pass_to(db, db.sync()["activation_time"])
    return db.promote()


def staged(db):
    return db.run("SELECT sku, price FROM farmsync.staged_prices ORDER BY sku")


def price(db):
    return [row[1] for row in staged(db)]


def activation(db):
    return us(db, db.sync()["activation_time"])


def on_grid(db):
    a, g, _, i = (int(x) for x in db.run(TIMES)[0])
    return (a - g) % (i * US) == 0


def history(db, action="promote"):
    return db.run("SELECT detail FROM farmsync.history WHERE action = %s ORDER BY id DESC LIMIT 1", action)[0][0]


# --- which row counts


@KINDS
def test_the_newest_that_is_due_counts(db, kind):
    make_shop(db, kind)
    put(db, 90, at(db, -3000), at(db, -1000))  # has ended
    put(db, 80, at(db, -2000), at(db, 5000))
    put(db, 70, at(db, -1500), None)
    put(db, 60, at(db, 5000), None)  # isn't due
    put(db, 1, at(db, -1), at(db, -2))  # ends before it begins
    put(db, 5, None, at(db, 9000), "pot")
    put(db, 6, at(db, 9000), None, "jug")
    assert db.cycle() == "staged"
    assert staged(db) == [("cup", "70"), ("pot", "5")]


def test_an_older_row_comes_back_when_the_newer_one_has_ended(db):
    make_shop(db)
    t1, t2, t3 = at(db, 100), at(db, 200), at(db, 250)
    settle(db)
    put(db, 80, t1, t3)
    put(db, 70, at(db, 150), t2)
    seen = []
    for _ in range(4):
        assert next_cycle(db) == "staged"
        seen.append(price(db)[0])
    assert seen == ["80", "70", "80", "100"]
    assert next_cycle(db) == "unchanged"


def test_only_an_activate_column(db):
    make_shop(db, options={"activate_column": "starts"})
    put(db, 80, at(db, -10), at(db, -5))  # the other column is data
    assert db.cycle() == "staged" and price(db) == ["80"]


def test_only_an_expire_column(db):
    make_shop(db, options={"expire_column": "ends"}, base=False)
    put(db, 80, at(db, 500), at(db, -5))
    put(db, 70, at(db, 500), at(db, 300))
    settle(db)
    assert price(db) == ["70"]
    assert next_cycle(db) == "staged" and price(db) == []


@KINDS
def test_the_columns_are_data_unless_others_are_listed(db, kind):
    make_shop(db, kind, BOTH)
    add(db, SHORT, "short")
    assert db.cycle() == "staged"
    assert len(db.run("SELECT * FROM farmsync.staged_prices")[0]) == 4
    assert len(db.run("SELECT * FROM farmsync.staged_short")[0]) == 2
    put(db, 80, at(db, -10))
    assert db.cycle() == "staged"
    assert db.run("SELECT * FROM farmsync.staged_short") == [("cup", "80")]


def test_types_pass_through_unharmed(db):
    db.script(
        "CREATE TABLE shop.t (k INT NOT NULL, b BIT(5), f FLOAT, d DOUBLE, j JSON, e ENUM('x','y'), v VARBINARY(9), c CHAR(3) "
        "CHARACTER SET latin1, u UUID, z DECIMAL(20,6), tm TIME(3), starts DATETIME, KEY (k));"
        "INSERT INTO shop.t VALUES (1, 5, 1.1, -0e0, '{\"a\": 1}', 'y', x'00ff', 'ä', UUID(), 1.5, '12:00:01.5', NULL), "
        "(1, 6, 1.2, 3, '[]', 'x', x'ff', 'ö', UUID(), 2, '01:00:00', '2020-01-01')"
    )
    add(db, {"activate_column": "starts"}, "t", "shop.t", "k")
    assert db.cycle() == "staged"
    columns = "k, b + 0, CAST(f AS CHAR) + 0e0, d, j, e, v, c, u, z, tm, starts"
    assert db.run("SELECT * FROM farmsync.staged_t") == db.run("SELECT %s FROM shop.t WHERE starts IS NOT NULL" % columns)
    assert db.cycle() == "unchanged"


def test_view_as_source(db):
    db.script(
        "CREATE TABLE shop.price (sku VARCHAR(32) NOT NULL, price INT, starts TIMESTAMP(6) NULL, ends TIMESTAMP(6) NULL);"
        "CREATE VIEW shop.v AS SELECT sku, price, CAST(starts AS DATETIME(6)) AS starts, ends FROM shop.price")
    add(db, BOTH, source="shop.v")
    put(db, 80, at(db, 100), at(db, 200))
    put(db, 100)
    settle(db)
    assert next_cycle(db) == "staged" and price(db) == ["80"]
    assert next_cycle(db) == "staged" and price(db) == ["100"]


def test_key_of_several_columns(db):
    db.script("CREATE TABLE shop.price (country CHAR(2) NOT NULL, sku VARCHAR(9) NOT NULL, price INT, starts DATETIME NULL, "
              "ends DATETIME NULL, PRIMARY KEY (sku, country, price))")
    db.run("INSERT INTO shop.price VALUES ('DE', 'a', 1, NULL, NULL), ('DE', 'a', 2, '2020-01-01', NULL), ('FR', 'a', 3, NULL, NULL)")
    add(db, BOTH, key="country,sku")
    assert db.cycle() == "staged"
    assert db.run("SELECT country, price FROM farmsync.staged_prices ORDER BY country") == [("DE", "2"), ("FR", "3")]


def test_empty_table(db):
    make_shop(db, base=False)
    settle(db)
    assert price(db) == []
    assert db.promote() == "unchanged" and on_grid(db)
    put(db, 80, at(db, 1), None)
    due(db)
    assert db.promote() == "staged" and price(db) == ["80"]


# --- when the activation is


@KINDS
def test_activation_is_moved_to_the_moment(db, kind):
    """Within the interval, off the grid; the grid itself stays."""
    make_shop(db, kind)
    settle(db)
    t1, t2 = at(db, 123.456789), at(db, 400)
    put(db, 80, t1, t2)
    grid = db.sync()["grid_time"]
    assert db.promote() == "staged"
    assert db.sync()["activation_time"] == t1 and price(db) == ["80"]
    assert db.run("SELECT price FROM farmsync.active_prices") == [("100",)]
    assert db.sync()["grid_time"] == grid
    pass_to(db, t1)
    assert db.promote() == "staged" and price(db) == ["100"]
    assert activation(db) == us(db, t2) - int(float(db.one("SELECT @gone")))
    assert next_cycle(db) == "unchanged" and on_grid(db)
    assert db.sync()["reason"] == ""


def test_a_change_in_production_goes_with_it(db):
    make_shop(db)
    settle(db)
    t1 = at(db, 100)
    put(db, 80, t1)
    put(db, 7, None, None, "pot")
    assert db.promote() == "staged"
    assert db.sync()["activation_time"] == t1
    assert staged(db) == [("cup", "80"), ("pot", "7")]


def test_beyond_the_interval_nothing_is_moved(db):
    make_shop(db)
    settle(db)
    put(db, 80, at(db, 700))
    assert db.promote() == "unchanged" and on_grid(db)
    assert next_cycle(db) == "staged" and price(db) == ["80"] and not on_grid(db)


def test_just_after_the_grid(db):
    """So soon after a moment of the grid that there would be no lead: the grid gives way."""
    make_shop(db)
    settle(db)
    put(db, 80, at(db, 601))
    put(db, 7, None, None, "pot")
    assert db.promote() == "staged"
    assert staged(db) == [("cup", "80"), ("pot", "7")] and not on_grid(db)


def test_changes_closer_than_the_lead(db):
    """The first one is exact; the second one comes as soon as the lead allows, and that is said."""
    make_shop(db)
    settle(db)
    t1, t2 = at(db, 100), at(db, 101)
    put(db, 80, None, t1, "old")
    put(db, 80, t1)
    put(db, 70, t2)
    assert db.promote() == "staged" and db.sync()["activation_time"] == t1 and price(db) == ["80"]
    pass_to(db, t1)
    assert db.promote() == "staged" and price(db) == ["70"]
    assert activation(db) - us(db, db.one("SELECT MAX(starts) FROM shop.price")) >= 1 * US
    assert activation(db) - us(db, at(db, 0)) <= 2 * US
    for text in (db.sync()["reason"], history(db)):
        assert "FS1077: prices" in text and "lead" in text
    assert db.sync()["state"] == "running"
    assert next_cycle(db) == "unchanged" and on_grid(db)
    assert db.sync()["reason"] == ""


def test_entered_too_late(db):
    """Due sooner than the lead, or already: with the next regular activation, and said so."""
    make_shop(db)
    settle(db)
    assert db.promote() == "unchanged"
    put(db, 80, at(db, 50))
    pass_to(db, at(db, 100))
    assert db.promote() == "lost"  # nothing woke up for it
    assert next_cycle(db) == "staged" and price(db) == ["80"] and on_grid(db)
    assert "FS1077" in history(db) and "FS1077" in db.sync()["reason"]


def test_dated_in_the_past(db):
    """A row with an old date is an ordinary change."""
    make_shop(db)
    settle(db)
    put(db, 80, "2020-01-01")
    assert db.promote() == "staged" and price(db) == ["80"] and on_grid(db)
    assert "FS1077" not in history(db) and db.sync()["reason"] == ""


def test_due_sooner_than_the_lead(db):
    make_shop(db)
    settle(db)
    put(db, 80, at(db, 1))
    assert db.promote() == "staged" and price(db) == ["80"]
    assert activation(db) - us(db, at(db, 0)) < 2 * US  # as soon as the lead allows
    assert "FS1077" in history(db)


def test_an_end_that_changes_nothing_moves_nothing(db):
    make_shop(db)
    put(db, 80, at(db, -100), at(db, 100))
    put(db, 70, at(db, -50), None)
    settle(db)
    assert db.promote() == "unchanged" and on_grid(db)
    put(db, 60, at(db, 200), at(db, 150))  # never due
    assert next_cycle(db) == "unchanged" and on_grid(db)


def test_moment_at_which_nothing_differs(db):
    """The same content from another row: nothing is staged, but the cycle looks again then."""
    make_shop(db, options=SHORT)
    settle(db)
    t1 = at(db, 100)
    put(db, 100, t1)
    put(db, 70, at(db, 103))
    assert db.promote() == "unchanged" and db.sync()["activation_time"] == t1
    assert next_cycle(db) == "staged" and price(db) == ["70"] and not on_grid(db)


def test_several_datasets_of_a_group(db):
    make_shop(db)
    db.script("CREATE TABLE shop.sign (id INT PRIMARY KEY, starts DATETIME(6)); CREATE TABLE shop.plain (id INT PRIMARY KEY)")
    add(db, {"activate_column": "starts", "columns": ["id"]}, "signs", "shop.sign", "id")
    add(db, {}, "plain", "shop.plain", "id")
    settle(db)
    t1, t2 = at(db, 100), at(db, 90)
    put(db, 80, t1)
    db.run("INSERT INTO shop.sign VALUES (1, %s)", t2)
    db.run("INSERT INTO shop.plain VALUES (1)")
    assert db.promote() == "staged" and db.sync()["activation_time"] == t2
    assert price(db) == ["100"] and len(db.run("SELECT * FROM farmsync.staged_signs")) == 1
    assert next_cycle(db) == "staged" and price(db) == ["80"]
    assert len(db.run("SELECT * FROM farmsync.staged_signs")) == 1


def test_first_version(db):
    make_shop(db)
    put(db, 80, at(db, -10), at(db, 300))
    put(db, 70, at(db, 200))
    assert db.promote() == "staged" and price(db) == ["80"]
    assert activation(db) - us(db, at(db, 0)) <= 2 * US
    assert next_cycle(db) == "staged" and price(db) == ["70"]
    assert db.sync()["reason"] == ""


def test_promotion_that_takes_too_long(db):
    """The exact time can't be kept: as soon as the lead allows instead of the next moment of the grid, and said so."""
    make_shop(db)
    settle(db)
    put(db, 80, at(db, 4))
    db.run("START TRANSACTION")
    assert db.run("CALL farmsync.promote('default', %s, 'test')", db.epoch())[0][0] == "staged"
    db.run("UPDATE farmsync.sync SET min_lead = 5")
    db.images(2)
    db.run("COMMIT")
    left = activation(db) - us(db, at(db, 0))
    assert 4 * US < left <= 5 * US
    assert "FS1076" in history(db, "late") and "FS1076" in db.sync()["reason"]


def test_slow_promotion_without_a_change_ahead_keeps_the_grid(db):
    make_shop(db)
    settle(db, interval=10)
    put(db, 7, None, None, "pot")
    db.run("START TRANSACTION")
    assert db.run("CALL farmsync.promote('default', %s, 'test')", db.epoch())[0][0] == "staged"
    db.run("UPDATE farmsync.sync SET min_lead = 5, grid_time = grid_time - INTERVAL 7 SECOND, "
           "activation_time = activation_time - INTERVAL 7 SECOND")
    db.images(2)
    db.run("COMMIT")
    assert on_grid(db) and db.sync()["reason"] == ""


# --- what is refused


def test_the_same_key_and_time_twice(db):
    make_shop(db)
    settle(db)
    when = at(db, 5000)
    put(db, 80, when, None)
    put(db, 70, when, at(db, 9000))
    text = db.refused_cycle()
    for part in ("FS1075", "prices", "'cup'", "starts"):
        assert part in text
    assert db.sync()["state"] == "failed" and price(db) == ["100"]
    db.run("DELETE FROM shop.price WHERE price = 70")
    assert db.cycle() == "unchanged"


def test_twice_always(db):
    make_shop(db)
    settle(db)
    put(db, 80)
    assert "FS1075" in db.refused_cycle()


def test_what_has_ended_may_be_there_twice(db):
    make_shop(db)
    put(db, 1, "2020-01-01", "2021-01-01")
    put(db, 2, "2020-01-01", "2021-01-01")
    assert db.cycle() == "staged" and price(db) == ["100"]


def test_expire_alone_allows_one_that_has_not_ended(db):
    make_shop(db, options={"expire_column": "ends"})
    put(db, 80, None, at(db, 500))
    assert "haven't expired" in db.refused_cycle()


def test_null_key(db):
    make_shop(db)
    db.run("ALTER TABLE shop.price MODIFY sku VARCHAR(32) NULL")
    put(db, 1, None, None, None)
    assert "FS1030" in db.refused_cycle()


def test_twice_when_it_is_added(db):
    make_shop(db)
    put(db, 80)
    text = db.refused("CALL farmsync.add_dataset_with('more', 'shop.price', 'sku', %s)", json.dumps(BOTH))
    assert "FS1075" in text and "'cup'" in text
    assert db.run("SELECT name FROM farmsync.dataset") == [("prices",)]


REFUSALS = [
    (dict(BOTH, activate_column=1), "sku", ["FS1070"]),
    (dict(BOTH, expire_column=["ends"]), "sku", ["FS1070"]),
    ({"activate_column": "starts", "expire_column": "Starts"}, "sku", ["FS1070", "both"]),
    (dict(BOTH, changes="triggers"), "sku", ["FS1071", "leave out"]),
    (dict(BOTH, changes={"column": "starts"}), "sku", ["FS1071"]),
    ({"activate_column": "day"}, "sku", ["FS1072", "date", "starts, ends"]),
    ({"expire_column": "price"}, "sku", ["FS1072", "int"]),
    ({"expire_column": "nothing"}, "sku", ["FS1072", "no column 'nothing'", "starts, ends"]),
    (BOTH, "sku,starts", ["FS1073", "starts"]),
    (BOTH, "other", ["FS1074", "CREATE INDEX schedule ON `shop`.`t` (`other`, `starts`)"]),
]


@pytest.mark.parametrize("options,key,says", REFUSALS)
def test_refusals(db, options, key, says):
    db.script("CREATE TABLE shop.t (sku VARCHAR(9) NOT NULL, other INT NOT NULL, price INT, day DATE, starts DATETIME, "
              "ends TIMESTAMP NULL, KEY (sku))")
    text = db.refused("CALL farmsync.add_dataset_with('prices', 'shop.t', %s, %s)", key, json.dumps(options))
    for part in says:
        assert part in text
    assert db.run("SELECT name FROM farmsync.dataset") == []


def test_a_full_comparison_may_be_asked_for(db):
    make_shop(db, options=dict(BOTH, changes="full"))
    assert db.cycle() == "staged"


# --- hold, failure, operators' acts


def test_hold_and_resume(db):
    """What is announced becomes active; what comes due meanwhile as soon as the lead allows after resume."""
    make_shop(db)
    settle(db)
    t1 = at(db, 100)
    put(db, 80, t1, at(db, 200))
    assert db.promote() == "staged"
    db.run("CALL farmsync.hold('default')")
    pass_to(db, at(db, 300))
    assert db.promote() == "lost"
    assert db.run("SELECT price FROM farmsync.active_prices") == [("80",)]
    db.run("CALL farmsync.resume('default')")
    assert db.promote() == "staged" and price(db) == ["100"]
    assert activation(db) - us(db, at(db, 0)) <= 2 * US
    assert "FS1077" in history(db)


def test_after_a_failure_it_is_looked_at_again_before_the_change(db):
    make_shop(db)
    settle(db)
    put(db, 80, at(db, 100))
    put(db, 1, None, None, "pot")
    put(db, 2, None, None, "pot")
    assert "FS1075" in db.refused_cycle()
    assert us(db, db.one("SELECT MAX(starts) FROM shop.price")) - activation(db) == 4 * US
    db.run("DELETE FROM shop.price WHERE sku = 'pot'")
    t1 = None
    pass_to(db, db.sync()["activation_time"])
    t1 = db.one("SELECT starts FROM shop.price WHERE price = 80")
    assert db.promote() == "staged" and db.sync()["activation_time"] == t1


def test_failure_that_nobody_can_read_is_recorded(db):
    make_shop(db)
    settle(db)
    db.run("DROP TABLE shop.price")
    assert "FS1033" in db.refused_cycle()
    assert db.sync()["state"] == "failed" and on_grid(db)
    db.run("CALL farmsync.drop_dataset('prices')")


def test_activate_now_puts_nothing_in_force_before_its_time(db):
    make_shop(db)
    settle(db)
    t1 = at(db, 100)
    put(db, 80, t1)
    assert db.promote() == "staged"
    db.run("CALL farmsync.activate_now('default')")
    assert db.sync()["activation_time"] == t1
    assert t1[:19] in history(db, "activate_now")
    assert next_cycle(db) == "unchanged"


def test_activate_now_before_a_change(db):
    """What production holds now, at once; the change at its time."""
    make_shop(db)
    settle(db)
    assert db.promote() == "unchanged"
    put(db, 80, at(db, 60))
    put(db, 7, None, None, "pot")
    db.run("CALL farmsync.activate_now('default')")
    assert db.promote() == "staged" and staged(db) == [("cup", "100"), ("pot", "7")]
    assert activation(db) - us(db, at(db, 0)) <= 2 * US
    assert next_cycle(db) == "staged" and price(db) == ["80", "7"]
    assert activation(db) == us(db, db.one("SELECT MAX(starts) FROM shop.price"))


def test_activate_at_keeps_to_the_operators_time(db):
    make_shop(db)
    settle(db)
    wanted = at(db, 100)
    put(db, 80, at(db, 101))
    put(db, 7, None, None, "pot")
    db.run("CALL farmsync.activate_at('default', %s)", wanted)
    assert db.promote() == "staged"
    assert db.sync()["activation_time"] == wanted and price(db) == ["100", "7"]
    assert next_cycle(db) == "staged" and price(db) == ["80", "7"] and "FS1077" in history(db)


def test_activate_at_around_a_change(db):
    make_shop(db)
    settle(db)
    t1, wanted = at(db, 100), at(db, 200)
    put(db, 80, t1)
    db.run("CALL farmsync.activate_at('default', %s)", wanted)
    assert db.promote() == "staged" and db.sync()["activation_time"] == t1
    text = db.refused("CALL farmsync.activate_at('default', UTC_TIMESTAMP(6) + INTERVAL 50 SECOND)")
    assert "FS1078" in text and t1[:19] in text
    assert db.sync()["wanted_time"] == wanted
    put(db, 7, None, None, "pot")
    assert next_cycle(db) == "staged"
    assert db.sync()["activation_time"] < wanted  # the clock was moved back by 100 s
    assert abs(activation(db) - us(db, at(db, 100))) < 5 * US


def test_set_interval_moves_nothing_before_its_time(db):
    make_shop(db)
    settle(db)
    t1 = at(db, 500)
    put(db, 80, t1)
    assert db.promote() == "staged"
    db.run("CALL farmsync.set_interval('default', 60)")
    assert db.sync()["activation_time"] == t1


def test_set_interval_misses_no_change(db):
    make_shop(db)
    settle(db, interval=60)
    put(db, 80, at(db, 200))
    assert db.promote() == "unchanged"
    db.run("CALL farmsync.set_interval('default', 3600)")
    assert abs(activation(db) - us(db, at(db, 196))) < 3 * US
    assert next_cycle(db) == "staged" and price(db) == ["80"]
    assert activation(db) == us(db, db.one("SELECT MAX(starts) FROM shop.price"))


def test_roll_back_has_no_time_of_its_own(db):
    make_shop(db)
    settle(db)
    put(db, 80, at(db, -1))
    assert db.promote() == "staged"
    due(db)
    db.run("CALL farmsync.roll_back('default', 1)")
    assert db.sync()["content_time"] is None and price(db) == ["100"]


def test_what_comes_due_is_approved_and_in_force_in_time(db, connect):
    make_shop(db)
    settle(db)
    db.run("CALL farmsync.set_approval('default', 'on')")
    for name in ("alice@localhost", "bob@localhost"):
        db.script("CREATE OR REPLACE USER %s; GRANT farmsync_operator TO %s; SET DEFAULT ROLE farmsync_operator FOR %s"
                  % (name, name, name))
    put(db, 80, at(db, 700), at(db, 800))
    assert db.promote() == "unchanged"
    digest = connect(user="alice").run("CALL farmsync.request_approval('default')")[0][0]
    connect(user="bob").run("CALL farmsync.approve('default', %s)", digest)
    assert next_cycle(db) == "staged" and price(db) == ["80"]
    assert activation(db) == us(db, db.one("SELECT MAX(starts) FROM shop.price"))
    # Its end hasn't been approved in advance; the cycle looks again just before it.
    assert next_cycle(db) == "unchanged" and "FS1106" in db.sync()["reason"]
    digest = connect(user="alice").run("CALL farmsync.request_approval('default')")[0][0]
    connect(user="bob").run("CALL farmsync.approve('default', %s)", digest)
    assert next_cycle(db) == "staged" and price(db) == ["100"]
    assert activation(db) == us(db, db.one("SELECT MAX(ends) FROM shop.price"))


def test_dry_run_shows_what_the_next_promotion_will_stage(db):
    make_shop(db)
    settle(db)
    assert db.promote() == "unchanged"
    put(db, 80, at(db, 700))
    before = db.sync()
    assert "prices" in repr(db.run("CALL farmsync.dry_run('default')"))
    assert db.sync() == dict(before, epoch=db.sync()["epoch"])
    assert db.run("SELECT changed_rows FROM farmsync.pending") == [("0",)]


def test_a_group_that_waits_for_its_servers_plans_for_the_moment(db):
    make_shop(db)
    settle(db)
    db.run("CALL farmsync.set_ready('default', 'all', 60, NULL)")
    t1 = at(db, 100)
    put(db, 80, t1)
    assert db.promote() == "staged"
    row = db.sync()
    assert (row["state"], row["planned_time"], row["content_time"]) == ("waiting", t1, t1)
    assert db.run("SELECT state FROM farmsync.scheduled") == [("staged",)]
    text = db.refused("CALL farmsync.activate_at('default', UTC_TIMESTAMP(6) + INTERVAL 50 SECOND)")
    assert "FS1078" in text
    db.run("CALL farmsync.activate_now('default')")
    assert db.sync()["activation_time"] == t1


# --- what people see


@KINDS
@pytest.mark.parametrize("zone", ["+00:00", "SYSTEM", "-09:30"])
def test_views(db, kind, zone):
    make_shop(db, kind)
    settle(db)
    t1, t2, t3 = at(db, 100), at(db, 400), at(db, 401)
    put(db, 80, t1, t2)
    put(db, 5, t3, None, "pot")
    put(db, 5, None, t2, "jug")
    assert db.promote() == "staged"
    assert db.run("SELECT activate_column, expire_column FROM farmsync.datasets") == [("starts", "ends")]
    db.run("SET time_zone = %s", zone)
    assert db.run("SELECT at, starts, ends, state FROM farmsync.scheduled ORDER BY at") == [
        (t1, "1", "0", "staged"), (t2, "0", "2", "waiting"), (t3, "1", "0", "waiting")]
    assert db.run("SELECT * FROM farmsync.pending") == [("default", "prices", "0", "0", "0", t1, "4")]
    assert db.run("CALL farmsync.show_pending('default')") == [("default", "prices", "0", "0", "0", None, t1, "4")]
    db.run("SET time_zone = '+00:00'")
    put(db, 9, None, None, "mug")
    db.run("DELETE FROM shop.price WHERE sku = 'jug'")
    assert sorted(db.run("SELECT fs_change, sku FROM farmsync.pending_prices")) == [("gone", "jug"), ("new", "mug")]


def test_what_will_be_late_is_visible(db):
    make_shop(db)
    settle(db)
    assert db.promote() == "unchanged"
    put(db, 80, at(db, 300))
    assert db.run("SELECT state FROM farmsync.scheduled") == [("late",)]
    db.run("CALL farmsync.activate_at('default', (SELECT MAX(starts) FROM shop.price))")
    assert next_cycle(db) == "staged"
    assert db.run("SELECT state FROM farmsync.scheduled") == [("staged",)]
    assert activation(db) == us(db, db.one("SELECT MAX(starts) FROM shop.price"))


def test_entered_for_a_moment_before_what_is_staged(db):
    """Nothing announced can be changed any more: it is late, and seen to be."""
    make_shop(db)
    settle(db)
    t1 = at(db, 300)
    put(db, 80, t1)
    assert db.promote() == "staged"
    put(db, 7, at(db, 100), None, "pot")
    assert db.run("SELECT at = %s, state FROM farmsync.scheduled ORDER BY at", t1) == [("0", "late"), ("1", "staged")]
    assert db.run("SELECT sku FROM farmsync.pending_prices") == [("pot",)]
    assert next_cycle(db) == "staged" and price(db) == ["80", "7"] and on_grid(db)
    assert "FS1077" in history(db)


def test_views_without_a_schedule(db):
    db.script("CREATE TABLE shop.plain (id INT PRIMARY KEY)")
    add(db, {}, "plain", "shop.plain", "id")
    assert db.run("SELECT * FROM farmsync.scheduled") == []
    assert db.run("SELECT * FROM farmsync.pending") == [("default", "plain", "0", "0", "0", None, "0")]


# --- the promises of a promotion hold


def test_no_writer_waits(db, connect):
    make_shop(db)
    settle(db)
    put(db, 80, at(db, 100))
    writer = connect()
    writer.run("SET SESSION innodb_lock_wait_timeout = 0")
    db.run("START TRANSACTION")
    assert db.run("CALL farmsync.promote('default', %s, 'test')", db.epoch())[0][0] == "staged"
    writer.run("UPDATE shop.price SET price = price + 1")
    writer.run("DELETE FROM shop.price WHERE price = 81")
    put(writer, 5, None, None, "pot")
    db.images(2)
    db.run("COMMIT")
    assert price(db) == ["80"]


@pytest.mark.limit(240)
def test_many_rows_are_read_with_the_index(db):
    db.script(
        "CREATE TABLE shop.price (sku INT NOT NULL, price INT, starts DATETIME NULL, ends DATETIME NULL, KEY (sku, starts), "
        "KEY (starts), KEY (ends));"
        "INSERT INTO shop.price SELECT seq, 1, NULL, NULL FROM seq_1_to_5000;"
        "INSERT INTO shop.price SELECT seq, 2, UTC_TIMESTAMP() + INTERVAL 100 SECOND, UTC_TIMESTAMP() + INTERVAL 200 SECOND "
        "FROM seq_1_to_5000"
    )
    add(db, BOTH)
    settle(db)
    before = sum(int(r[1]) for r in db.run("SHOW SESSION STATUS LIKE 'Handler_read%%'"))
    assert db.promote() == "staged"
    assert db.one("SELECT SUM(price) FROM farmsync.staged_prices") == "10000"
    assert sum(int(r[1]) for r in db.run("SHOW SESSION STATUS LIKE 'Handler_read%%'")) - before < 50 * 10000


@pytest.mark.limit(300)
def test_on_galera_one_promotion_with_one_time(galera, connect):
    first = connect(server=galera[0])
    make_shop(first)
    settle(first)
    t1 = at(first, 100)
    put(first, 80, t1)
    epoch = first.epoch()
    sessions = [connect(server=node) for node in galera]
    barrier = threading.Barrier(len(sessions))
    outcomes = []

    def promote(session, who):
        barrier.wait()
        outcomes.append(session.promote(epoch, who))

    threads = Threads()
    for number, session in enumerate(sessions):
        threads.start(promote, session, "node%d" % number)
    threads.join()
    assert sorted(outcomes) == ["lost", "lost", "staged"]
    for session in sessions:
        assert session.sync()["activation_time"] == t1 and price(session) == ["80"]


@pytest.mark.limit(300)
def test_on_galera_an_act_beside_a_promotion(galera, connect):
    """activate_now on one node, the promotion on another: whoever is second sees what the first has done."""
    first, other = connect(server=galera[0]), connect(server=galera[1])
    make_shop(first)
    settle(first)
    t1 = at(first, 100)
    put(first, 80, t1)
    put(first, 7, None, None, "pot")
    first.run("START TRANSACTION")
    assert first.run("CALL farmsync.promote('default', %s, 'test')", first.epoch())[0][0] == "staged"
    other.run("CALL farmsync.activate_now('default')")
    with pytest.raises(pymysql.MySQLError) as caught:
        first.images(2)
        first.run("COMMIT")
    assert caught.value.args[0] in LOST
    first.run("ROLLBACK")
    assert first.promote() == "staged" and price(first) == ["100", "7"]
    assert next_cycle(first) == "staged" and price(first) == ["80", "7"]
    assert activation(first) == us(first, first.one("SELECT MAX(starts) FROM shop.price"))
