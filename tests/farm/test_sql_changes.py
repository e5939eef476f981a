# SPDX-License-Identifier: Apache-2.0
"""How changes are found: each way finds what it promises, misses what doc/sql.md says it misses and repairs
that at the next full comparison; the cheap ways read in proportion to what changed; in every way a
version holds the shop's transactions whole; and a long promotion delays nobody else."""

import json
import threading
import time

import pytest
from sql_fixtures import Threads
from test_sql_promotion import check_versions

pytest_plugins = ["sql_fixtures"]

COLUMN = {"changes": {"column": "changed_at"}}
COUNTER = {"changes": {"column": "serial"}, "overlap": 5}
TRIGGERS = {"changes": "triggers"}
WAYS = pytest.mark.parametrize("options", [COLUMN, COUNTER, TRIGGERS], ids=["column", "counter", "triggers"])
FULL_IS_DUE = "UPDATE farmsync.dataset_changes SET full_at = full_at - INTERVAL full_every SECOND"


def make_shop(db, rows=20):
    db.script(
        "CREATE TABLE shop.price (sku VARCHAR(32) PRIMARY KEY, price DECIMAL(10,2), pad VARCHAR(100), "
        "changed_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6), "
        "serial BIGINT NOT NULL DEFAULT 0, KEY changed (changed_at), KEY serial (serial, price));"
        "INSERT INTO shop.price (sku, price, pad) SELECT CONCAT('s', seq), seq, REPEAT('x', 60) FROM seq_1_to_%d" % rows
    )


def add(db, options, name="prices", source="shop.price", key="sku"):
    db.run("CALL farmsync.add_dataset_with(%s, %s, %s, %s)", name, source, key, json.dumps(options))


def same(db):
    return db.run("SELECT * FROM farmsync.staged_prices ORDER BY sku") == db.run("SELECT * FROM shop.price ORDER BY sku")


def age(db):
    """As if all rows had been written long ago; the newest one an hour ago."""
    db.run("UPDATE shop.price SET changed_at = UTC_TIMESTAMP(6) - INTERVAL 2 DAY, serial = 0")
    db.run("UPDATE shop.price SET changed_at = UTC_TIMESTAMP(6) - INTERVAL 1 HOUR, serial = 1000 WHERE sku = 's1'")


def ready(db, options):
    """A first version, made by a full comparison."""
    make_shop(db)
    age(db)
    add(db, options)
    db.run("CALL farmsync.set_limits('prices', '{\"min_rows\": 0, \"max_gone\": 100}')")
    assert db.cycle() == "staged" and same(db)
    assert db.cycle() == "unchanged"


def write(db, what):
    """A write of the shop, which keeps its counter."""
    db.run("UPDATE shop.price SET %s, serial = (SELECT m FROM (SELECT MAX(serial) + 1 AS m FROM shop.price) AS x) %s"
           % tuple(what.split(" WHERE ")[0:1] + ["WHERE " + what.split(" WHERE ")[1]]))


# --- what each way finds


@WAYS
def test_new_and_changed_rows(db, options):
    ready(db, options)
    write(db, "price = 7 WHERE sku = 's3'")
    db.run("INSERT INTO shop.price (sku, price, serial) VALUES ('new', 1, 1002)")
    db.run("REPLACE INTO shop.price (sku, price, serial) VALUES ('s4', 9, 1003)")
    db.run("INSERT INTO shop.price (sku, serial) VALUES ('s5', 1004) ON DUPLICATE KEY UPDATE pad = NULL, serial = 1004")
    assert db.cycle() == "staged" and same(db)
    assert db.one("SELECT rows_changed FROM farmsync.history ORDER BY id DESC LIMIT 1") == "4"
    assert db.cycle() == "unchanged"


def test_triggers_find_gone_rows_and_changed_keys(db):
    ready(db, TRIGGERS)
    db.run("DELETE FROM shop.price WHERE sku IN ('s2', 's3')")
    db.run("UPDATE shop.price SET sku = 'other' WHERE sku = 's4'")
    db.run("UPDATE shop.price SET sku = 'S5' WHERE sku = 's5'")
    db.run("INSERT INTO shop.price (sku) VALUES ('brief')")
    db.run("DELETE FROM shop.price WHERE sku = 'brief'")
    assert db.cycle() == "staged" and same(db)
    assert db.cycle() == "unchanged"
    assert db.run("SELECT * FROM farmsync.changed_prices") == []


def test_triggers_with_a_key_of_several_columns(db):
    db.script("CREATE TABLE shop.t (a INT, b TIMESTAMP(3) DEFAULT '2020-01-01 00:00:00', c VARCHAR(9) CHARACTER SET latin1, "
              "`d``d` BIT(3), v INT, PRIMARY KEY (c, a, b, `d``d`));"
              "INSERT INTO shop.t (a, c, `d``d`, v) SELECT seq, 'x', seq % 8, 1 FROM seq_1_to_50")
    add(db, TRIGGERS, "t", "shop.t", "a,b,c,d`d")
    assert db.cycle() == "staged"
    db.run("UPDATE shop.t SET v = 2, b = b + INTERVAL 1000 MICROSECOND WHERE a = 3")
    db.run("DELETE FROM shop.t WHERE a = 4")
    db.run("UPDATE shop.t SET v = 5 WHERE a = 5")
    assert db.cycle() == "staged"
    assert db.one("SELECT rows_changed FROM farmsync.history ORDER BY id DESC LIMIT 1") == "4"
    assert db.run("SELECT * FROM farmsync.staged_t ORDER BY a") == db.run("SELECT a, b, c, `d``d` + 0, v FROM shop.t ORDER BY a")


@WAYS
def test_truncate_is_noticed_at_once(db, options):
    ready(db, options)
    db.run("TRUNCATE shop.price")
    assert db.cycle() == "staged" and same(db)
    assert db.cycle() == "unchanged"
    db.run("INSERT INTO shop.price (sku, price, serial) VALUES ('a', 1, 2000)")
    assert db.cycle() == "staged" and same(db)


def test_deleted_to_the_last_row(db):
    ready(db, TRIGGERS)
    db.run("DELETE FROM shop.price")
    assert db.cycle() == "staged" and same(db)
    assert db.one("SELECT rows_changed FROM farmsync.history ORDER BY id DESC LIMIT 1") == "20"


# --- what it misses, and when that is repaired

MISSED = [
    (COLUMN, "DELETE FROM shop.price WHERE sku = 's3'"),
    (COLUMN, "UPDATE shop.price SET price = 9, changed_at = changed_at WHERE sku = 's3'"),
    (COUNTER, "DELETE FROM shop.price WHERE sku = 's3'"),
    (COUNTER, "UPDATE shop.price SET price = 9 WHERE sku = 's3'"),
    (TRIGGERS, "TRUNCATE shop.price; INSERT INTO shop.price (sku) VALUES ('a')"),
]


@pytest.mark.parametrize("options,statement", MISSED)
def test_missed_until_the_full_comparison(db, options, statement):
    ready(db, options)
    db.script(statement)
    db.cycle()
    assert not same(db)
    db.run(FULL_IS_DUE)
    assert db.cycle() == "staged" and same(db)
    assert int(db.one("SELECT TIMESTAMPDIFF(SECOND, last_full, UTC_TIMESTAMP(6)) FROM farmsync.datasets")) < 30
    assert db.cycle() == "unchanged"


def test_foreign_key_cascades_are_missed_by_triggers(db):
    db.script("CREATE TABLE shop.maker (id INT PRIMARY KEY); INSERT INTO shop.maker VALUES (1), (2);"
              "CREATE TABLE shop.price (sku INT PRIMARY KEY, maker INT, FOREIGN KEY (maker) REFERENCES shop.maker (id) "
              "ON DELETE CASCADE) AS SELECT seq AS sku, 1 + seq % 2 AS maker FROM seq_1_to_10")
    add(db, TRIGGERS)
    assert db.cycle() == "staged"
    db.run("DELETE FROM shop.maker WHERE id = 2")
    assert db.cycle() == "unchanged" and not same(db)
    db.run(FULL_IS_DUE)
    assert db.cycle() == "staged" and same(db)


@pytest.mark.parametrize("inside", [True, False])
def test_late_commit(db, connect, inside):
    """Within the overlap nothing is lost; beyond it the full comparison repairs."""
    ready(db, dict(COLUMN, overlap=3600))
    late = connect()
    late.run("START TRANSACTION")
    late.run("UPDATE shop.price SET price = 77, changed_at = UTC_TIMESTAMP(6) - INTERVAL %s MINUTE WHERE sku = 's3'",
             50 if inside else 70)
    db.run("UPDATE shop.price SET price = 1 WHERE sku = 's9'")
    assert db.cycle() == "staged"
    late.run("COMMIT")
    assert db.cycle() == ("staged" if inside else "unchanged")
    assert same(db) == inside
    db.run(FULL_IS_DUE)
    db.cycle()
    assert same(db)


def test_counter_overlap(db):
    ready(db, COUNTER)
    db.run("UPDATE shop.price SET price = 77, serial = 995 WHERE sku = 's3'")
    assert db.cycle() == "staged"
    db.run("UPDATE shop.price SET price = 78, serial = 994 WHERE sku = 's3'")
    assert db.cycle() == "unchanged"


@pytest.mark.parametrize("kind", ["TIMESTAMP", "DATETIME"])
def test_time_in_the_future_hides_nothing(db, kind):
    make_shop(db)
    db.run("ALTER TABLE shop.price MODIFY changed_at %s NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP" % kind)
    db.run("UPDATE shop.price SET changed_at = '2037-01-01' WHERE sku = 's1'")
    add(db, COLUMN)
    assert db.cycle() == "staged" and same(db)
    db.run("SET time_zone = 'SYSTEM'")  # as the shop does
    db.run("UPDATE shop.price SET price = 5 WHERE sku = 's2'")
    db.run("SET time_zone = '+00:00'")
    assert db.cycle() == "staged" and same(db)


# --- what a promotion does with the notes


def test_notes_committed_while_a_promotion_runs_stay(db, connect):
    ready(db, TRIGGERS)
    db.run("UPDATE shop.price SET price = 5 WHERE sku = 's2'")
    db.make_due()
    writer = connect()
    writer.run("SET SESSION innodb_lock_wait_timeout = 0")
    open_one = connect()
    open_one.run("START TRANSACTION")
    open_one.run("UPDATE shop.price SET price = 88 WHERE sku = 's8'")
    db.run("START TRANSACTION")
    assert db.run("CALL farmsync.promote('default', %s, 'test')", db.epoch())[0][2] == "1"
    writer.run("UPDATE shop.price SET price = 6 WHERE sku = 's2'")  # without waiting
    writer.run("DELETE FROM shop.price WHERE sku = 's3'")
    db.images(2)
    db.run("COMMIT")
    open_one.run("COMMIT")
    assert db.cycle() == "staged" and same(db)
    assert db.one("SELECT rows_changed FROM farmsync.history ORDER BY id DESC LIMIT 1") == "3"


@WAYS
def test_promotion_that_fails_forgets_nothing(db, options):
    ready(db, options)
    write(db, "price = 7 WHERE sku = 's3'")
    write(db, "price = 7 WHERE sku = 's1'")
    db.make_due()
    before = db.run("SELECT * FROM farmsync.dataset_changes")
    db.run("START TRANSACTION")
    assert db.run("CALL farmsync.promote('default', %s, 'test')", db.epoch())[0][0] == "staged"
    db.run("ROLLBACK")
    assert db.run("SELECT * FROM farmsync.dataset_changes") == before
    assert db.promote() == "staged" and same(db)


# --- when it can't be relied on


def test_index_or_triggers_gone_means_full(db):
    ready(db, COLUMN)
    add(db, TRIGGERS, "more")
    assert db.cycle() == "staged"
    db.run("ALTER TABLE shop.price DROP KEY changed")
    db.run("DROP TRIGGER shop.farmsync_more_del")
    db.run("DELETE FROM shop.price WHERE sku = 's3'")
    assert db.cycle() == "staged" and same(db)
    assert db.one("SELECT COUNT(*) FROM farmsync.staged_more") == "19"
    problems = dict(db.run("SELECT name, problem FROM farmsync.datasets"))
    assert "FS1064" in problems["prices"] and "FS1065" in problems["more"]


def test_doubles_are_found_when_the_unique_index_is_gone(db):
    ready(db, TRIGGERS)
    db.run("ALTER TABLE shop.price DROP PRIMARY KEY, ADD KEY (sku)")
    db.run("INSERT INTO shop.price SELECT * FROM shop.price WHERE sku = 's3'")
    assert "FS1031" in db.refused_cycle()


def test_dropped_dataset_leaves_no_triggers(db):
    ready(db, TRIGGERS)
    db.run("CALL farmsync.drop_dataset('prices')")
    assert db.run("SHOW TRIGGERS FROM shop") == []
    db.cycle()
    db.cycle()
    db.run("CALL farmsync.prune('default', 10)")
    assert db.run("SHOW TABLES FROM farmsync LIKE 'changed\\_%%'") == []
    assert db.run("SELECT * FROM farmsync.dataset_changes") == []


def test_triggers_that_cant_be_dropped_are_named_and_never_hinder_the_shop(db):
    ready(db, TRIGGERS)
    db.run("REVOKE TRIGGER ON shop.* FROM 'farmsync'@'localhost'")
    db.run("DELETE FROM farmsync.image")
    text = db.one("CALL farmsync.drop_dataset('prices')")
    assert text.count("DROP TRIGGER IF EXISTS `shop`.`farmsync_prices_") == 3
    assert db.run("SHOW TABLES FROM farmsync LIKE 'changed\\_%%'") == []
    db.run("GRANT TRIGGER ON shop.* TO 'farmsync'@'localhost'")
    db.run("UPDATE shop.price SET price = 1")
    db.run("DELETE FROM shop.price WHERE sku = 's1'")
    for statement in text.split("; "):
        db.run(statement)
    assert db.run("SHOW TRIGGERS FROM shop") == []


def test_triggers_made_by_hand(db, server):
    """As where a procedure can't make them."""
    make_shop(db)
    server.sql(server.sql("CALL farmsync.show_triggers('prices', 'shop.price', ' sku ')"))
    assert len(db.run("SHOW TRIGGERS FROM shop")) == 3
    db.run("UPDATE shop.price SET price = 3 WHERE sku = 's1'")  # without a table of notes
    before = db.run("SELECT trigger_name, created FROM information_schema.triggers WHERE trigger_schema = 'shop'")
    add(db, TRIGGERS)
    assert db.run("SELECT trigger_name, created FROM information_schema.triggers WHERE trigger_schema = 'shop'") == before
    assert db.cycle() == "staged"
    db.run("UPDATE shop.price SET price = 4 WHERE sku = 's1'")
    assert db.cycle() == "staged" and same(db)
    assert "FS1010" in db.refused("CALL farmsync.show_triggers('a-b', 'shop.price', 'sku')")
    assert "FS1016" in db.refused("CALL farmsync.show_triggers('a', '', 'sku')")


REFUSALS = [
    ("shop.price", "sku", {"changes": "sometimes"}, ["FS1068", "triggers"]),
    ("shop.price", "sku", {"changes": 1}, ["FS1068"]),
    ("shop.price", "sku", {"changes": {}}, ["FS1068"]),
    ("shop.price", "sku", {"changes": {"column": 1}}, ["FS1068"]),
    ("shop.price", "sku", {"changes": {"column": "serial", "more": 1}}, ["FS1068"]),
    ("shop.price", "sku", {"changes": {"column": "serial"}, "overlap": -1}, ["FS1068", "overlap"]),
    ("shop.price", "sku", {"overlap": 1}, ["FS1068", "overlap"]),
    ("shop.price", "sku", {"changes": "triggers", "full_every": 0}, ["FS1068", "31536000"]),
    ("shop.price", "sku", {"changes": "triggers", "full_every": "x"}, ["FS1068"]),
    ("shop.view", "sku", {"changes": "triggers"}, ["FS1061", "no base table"]),
    ("shop.view", "sku", COLUMN, ["FS1061"]),
    ("shop.nokey", "sku", {"changes": "triggers"}, ["FS1062", "unique index"]),
    ("shop.price", "sku,price", {"changes": "triggers"}, ["FS1062", "NOT NULL"]),
    ("shop.price", "sku", {"changes": {"column": "nothing"}}, ["FS1020", "nothing"]),
    ("shop.price", "sku", {"changes": {"column": "pad"}}, ["FS1063", "varchar"]),
    ("shop.nokey", "id", COLUMN, ["FS1064", "CREATE INDEX changes ON `shop`.`nokey` (`changed_at`)"]),
    ("locked.t", "id", TRIGGERS, ["FS1066", "GRANT TRIGGER ON `locked`.`t` TO 'farmsync'@'localhost'"]),
]


@pytest.mark.parametrize("source,key,options,says", REFUSALS)
def test_refusals(db, source, key, options, says):
    make_shop(db)
    db.script("CREATE VIEW shop.view AS SELECT * FROM shop.price;"
              "CREATE TABLE shop.nokey (id INT PRIMARY KEY, sku INT NOT NULL, changed_at TIMESTAMP NOT NULL, KEY (sku, changed_at));"
              "CREATE DATABASE IF NOT EXISTS locked; CREATE TABLE IF NOT EXISTS locked.t (id INT PRIMARY KEY);"
              "GRANT SELECT ON locked.* TO 'farmsync'@'localhost'")
    text = db.refused("CALL farmsync.add_dataset_with('prices', %s, %s, %s)", source, key, json.dumps(options))
    db.script("DROP DATABASE locked; REVOKE SELECT ON locked.* FROM 'farmsync'@'localhost'")
    for part in says:
        assert part in text
    assert db.run("SELECT name FROM farmsync.dataset UNION ALL SELECT dataset FROM farmsync.dataset_changes") == []
    assert db.run("SHOW TABLES FROM farmsync LIKE 'changed\\_%%'") == [] == db.run("SHOW TRIGGERS FROM shop")


# --- the cost


def reads(db):
    return sum(int(r[1]) for r in db.run("SHOW SESSION STATUS LIKE 'Handler_read%%'"))


@pytest.mark.limit(300)
@WAYS
def test_reads_in_proportion_to_the_changes(db, options):
    """100,000 rows, 100 of them changed; a full comparison reads several times 100,000."""
    make_shop(db, 100000)
    age(db)
    add(db, options)
    db.make_due()
    cost = {}
    for kind in ("first", "changed", "nothing", "full"):
        if kind == "changed":
            db.run("UPDATE shop.price SET price = price + 1, serial = 1001 WHERE sku BETWEEN 's1' AND 's1008'")
        if kind == "full":
            db.run(FULL_IS_DUE)
        db.make_due()
        epoch = db.epoch()
        before = reads(db)
        db.run("START TRANSACTION")
        outcome, version, rows = db.run("CALL farmsync.promote('default', %s, 'test')", epoch)[0]
        if outcome == "staged":
            db.run("CALL farmsync.promote_image('default', %s, 'prices', REPEAT('0', 64), 1, 1)", version)
            db.run("CALL farmsync.promote_done('default', %s, 'test')", version)
        db.run("COMMIT")
        cost[kind] = (reads(db) - before, int(rows))
    print(cost)
    changed = cost["changed"][1]
    assert 5 <= changed <= 1000 and cost["nothing"][1] == cost["full"][1] == 0
    assert cost["changed"][0] < 2000 + 20 * changed
    assert cost["nothing"][0] < 2000 + 20 * changed  # those within the overlap, again
    assert cost["full"][0] > 200000
    assert same(db)


# --- whole transactions


def two_tables(db, options, node=None):
    db.script("CREATE TABLE shop.one (id INT PRIMARY KEY, v BIGINT, changed_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) "
              "ON UPDATE CURRENT_TIMESTAMP(6), KEY (changed_at)); CREATE TABLE shop.two LIKE shop.one;"
              "INSERT INTO shop.one (id, v) SELECT seq, 0 FROM seq_1_to_200; INSERT INTO shop.two SELECT * FROM shop.one;"
              "CREATE VIEW shop.sum AS SELECT 1 AS id, SUM(v) AS total FROM shop.one")
    options = dict(options, columns=["id", "v"])
    if node and options["changes"] == "triggers":
        # With a binary log, and so on Galera, triggers take a right that the definer hasn't.
        assert "FS1065" in db.refused("CALL farmsync.add_dataset_with('one', 'shop.one', 'id', '{\"changes\": \"triggers\"}')")
        for name in ("one", "two"):
            node.sql(node.sql("CALL farmsync.show_triggers('%s', 'shop.%s', 'id')" % (name, name)))
    add(db, options, "one", "shop.one", "id")
    add(db, options, "two", "shop.two", "id")
    add(db, {}, "total", "shop.sum", "id")


def both_tables(n):
    """In either order, by turns."""
    return ("one", "two") if n % 2 else ("two", "one")


def writes(session, stop, first, counts):
    """Rows come and change; a change column doesn't see that one is gone."""
    n = 0
    while not stop.is_set():
        n += 1
        write = "INSERT INTO shop.%%s (id, v) VALUES (%d, %d) ON DUPLICATE KEY UPDATE v = VALUES(v)" % (
            first + n % 50 + 100 * (n % 9), n)
        session.transact([write % table for table in both_tables(n)])
        counts[first] = n


def keeps_transactions_whole(db, promoters, writers, options, node=None):
    two_tables(db, options, node)
    stop = threading.Event()
    threads = Threads()
    counts = {}
    work = moves if options is TRIGGERS else writes
    for i, session in enumerate(writers):
        threads.start(work, session, stop, 1 + 1000 * i, counts)
    versions = 0
    try:
        end = time.monotonic() + 8
        while versions <= 5 or versions < 40 and time.monotonic() < end:
            versions += promoters[versions % len(promoters)].cycle() == "staged"
    finally:
        stop.set()
    threads.join()
    assert versions > 5 and sum(counts.values()) > versions
    fulls = db.run("SELECT dataset FROM farmsync.dataset_changes WHERE full_at > "
                   "(SELECT MIN(at) FROM farmsync.history WHERE action = 'promote' AND version = 2)")
    assert fulls == []  # all but the first were cheap ones
    check_versions(db, versions)


def moves(session, stop, first, counts):
    """Rows come, change and go."""
    session.run("SET SESSION sql_mode = ''")
    session.transact(["INSERT IGNORE INTO shop.%s (id, v) SELECT %d + seq, 0 FROM seq_1_to_50" % (table, first)
                      for table in ("one", "two")])
    n = 0
    while not stop.is_set():
        n += 1
        row = first + n % 50
        write = ("DELETE FROM shop.%%s WHERE id = %d" % row if n % 7 == 0 else
                 "REPLACE INTO shop.%%s (id, v) VALUES (%d, %d)" % (row, n))
        session.transact([write % table for table in both_tables(n)])
        counts[first] = n


BOTH = pytest.mark.parametrize("options", [COLUMN, TRIGGERS], ids=["column", "triggers"])


@pytest.mark.limit(300)
@BOTH
def test_versions_hold_transactions_whole(db, connect, options):
    keeps_transactions_whole(db, [db], [connect() for _ in range(3)], options)


@pytest.mark.limit(400)
@BOTH
def test_versions_hold_transactions_whole_on_galera(galera, connect, options):
    db = connect(server=galera[0])
    keeps_transactions_whole(db, [connect(server=n) for n in galera], [connect(server=n) for n in galera], options,
                             galera[0])
    if options is TRIGGERS:
        db.cycle()
        for node in galera:
            assert connect(server=node).run("SELECT id FROM farmsync.changed_one") == []


# --- a long promotion delays nobody else


def test_long_promotion_delays_nobody_else(db, connect):
    make_shop(db)
    db.run("CREATE TABLE shop.other (id INT PRIMARY KEY, v INT)")
    db.run("INSERT INTO shop.other VALUES (1, 1), (2, 2)")
    db.run("CALL farmsync.add_group('other')")
    add(db, TRIGGERS)
    for name in ("others", "others2"):
        add(db, {"group": "other", "changes": "triggers"}, name, "shop.other", "id")
    assert db.cycle() == "staged" and db.cycle(group="other") == "staged"
    db.run("UPDATE shop.price SET price = 9")
    db.make_due()
    db.run("START TRANSACTION")
    assert db.run("CALL farmsync.promote('default', %s, 'long')", db.epoch())[0][0] == "staged"
    db.run("CALL farmsync.promote_image('default', 2, 'prices', REPEAT('0', 64), 1, 20)")

    other = connect()  # any wait at all is an error
    other.run("SET SESSION innodb_lock_wait_timeout = 0, SESSION lock_wait_timeout = 0")
    assert len(other.run("SELECT s.*, i.* FROM farmsync.sync_us s LEFT JOIN farmsync.image i ON i.group_name = s.group_name "
                         "AND i.version IN (s.version, s.active_version) ORDER BY s.group_name")) == 3
    for view in ("farm", "cycle", "versions", "pending", "datasets", "history"):
        other.run("SELECT * FROM farmsync." + view)
    for name, group in (("web1", "default"), ("web1", "other"), ("web2", "default")):
        other.run("CALL farmsync.report_members(%s)", json.dumps([{"name": name, "kind": "agent", "group": group}]))
    assert {r[1] for r in other.run("SELECT sku, price FROM farmsync.staged_prices")} != {"9.00"}
    assert len(other.run("SELECT * FROM farmsync.active_prices")) in (0, 20)
    for act in ("set_interval('other', 7)", "set_lead('other', 1)", "hold('other')", "resume('other')",
                "activate_now('other')", "set_keep_versions('other', 2)", "show_pending('other')", "prune('other', 10)",
                "add_group('third')", "drop_group('third')", "drop_dataset('others2')", "forget_member('web2')"):
        other.run("CALL farmsync." + act)
    other.run("SET SESSION lock_wait_timeout = 50")  # of the server's own making, not of the promotion's
    add(other, {"group": "other"}, "others3", "shop.other", "id")
    other.run("UPDATE shop.other SET v = 5")
    for _ in range(3):
        other.make_due("other")
        assert other.promote(group="other") in ("staged", "unchanged")
    other.run("CALL farmsync.prune('other', 10)")
    other.run("UPDATE shop.price SET price = 10 WHERE sku = 's1'")

    db.images(2, "long")
    db.run("COMMIT")
    assert db.cycle() == "staged" and same(db)
