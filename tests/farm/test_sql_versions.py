# SPDX-License-Identifier: Apache-2.0
"""Versions in SQL: roll_back, pin and unpin in every state of the cycle, how many versions are kept, pruning; with
wrong arguments, without the right, in the middle of a promotion, twice at once on two nodes."""

import threading

import pymysql
import pytest
from sql_fixtures import LOST, Session, Threads
from farmlib.part import wait_until

pytest_plugins = ["sql_fixtures"]

US = 1000000
DATASETS = {"prices": "sku", "ship": "c"}


@pytest.fixture
def shop(db):
    db.script(
        "CREATE TABLE shop.price (sku VARCHAR(32) PRIMARY KEY, price DECIMAL(10,2), seen TIMESTAMP NULL);"
        "INSERT INTO shop.price VALUES ('a', 1, '2026-03-29 00:30:00'), ('b', 2, NULL), ('c', 3, NULL);"
        "CREATE TABLE shop.ship (c CHAR(2) PRIMARY KEY, p INT); INSERT INTO shop.ship VALUES ('DE', 3), ('FR', 4);"
        "CALL farmsync.add_dataset('prices', 'shop.price', 'sku');"
        "CALL farmsync.add_dataset('ship', 'shop.ship', 'c')"
    )
    return db


def content(db, version):
    """What a builder of that version would read."""
    return {
        name: db.run(
            f"SELECT * FROM farmsync.`data_{name}` WHERE fs_from <= %s AND fs_to > %s ORDER BY {key}", version, version)
        for name, key in DATASETS.items()
    }


def rows(db, version):
    """The same without the versions between which a row holds."""
    return {name: [row[2:] for row in kept] for name, kept in content(db, version).items()}


def images(db, version):
    return db.run("SELECT dataset, digest, since, row_count FROM farmsync.image WHERE version = %s ORDER BY 1", version)


def in_force(db):
    return int(db.one("SELECT in_force FROM farmsync.cycle WHERE group_name = 'default'"))


def pass_activation(db):
    """The announced time comes; nobody promotes."""
    db.make_due()


def history(db, count=1):
    return db.run("SELECT action, version, rows_changed, detail FROM farmsync.history ORDER BY id DESC LIMIT %s", count)


@pytest.fixture
def four(shop):
    """Versions 1 to 4: 4 is in force, nothing is staged. What each held is in shop.held."""
    shop.held = {}

    def next_version(*statements):
        for statement in statements:
            shop.run(statement)
        assert shop.cycle() == "staged"
        version = int(shop.one("SELECT version FROM farmsync.sync"))
        shop.held[version] = (rows(shop, version), images(shop, version))

    next_version()
    next_version("UPDATE shop.price SET price = 10 WHERE sku = 'a'", "DELETE FROM shop.price WHERE sku = 'b'")
    next_version("INSERT INTO shop.price VALUES ('d', 4, NULL)", "UPDATE shop.ship SET p = 5 WHERE c = 'FR'")
    next_version("UPDATE shop.price SET price = 99", "INSERT INTO shop.price VALUES ('b', 22, NULL)",
                 "DELETE FROM shop.ship")
    assert shop.cycle() == "unchanged"
    assert in_force(shop) == 4
    return shop


# --- roll back


@pytest.mark.parametrize("version", [1, 2, 3])
def test_roll_back_is_a_new_version_with_the_old_content(four, version):
    before = int(four.one("SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))"))
    four.run("SET time_zone = 'SYSTEM'")  # a client of another time zone, at an hour that is there twice
    answer = four.run("CALL farmsync.roll_back('default', %s)", version)
    assert four.one("SELECT @@time_zone") == "SYSTEM"
    four.run("SET time_zone = '+00:00'")
    assert answer[0][0] == "5" and f"content of version {version}" in answer[0][2]
    assert (rows(four, 5), images(four, 5)) == four.held[version]
    for old in (1, 2, 3, 4):  # nothing that was there has changed
        assert (rows(four, old), images(four, old)) == four.held[old]
    sync = four.sync()
    assert (sync["version"], sync["active_version"], sync["state"], sync["promoting"]) == ("5", "4", "held", "0")
    assert f"rolled back to the content of version {version} by root@localhost" in sync["reason"]
    assert "resume" in sync["reason"]
    activation = int(four.one("SELECT activation_us FROM farmsync.sync_us"))
    assert before + 2 * US <= activation <= before + 8 * US
    assert in_force(four) == 4
    pass_activation(four)
    assert in_force(four) == 5
    assert four.promote() == "lost"  # held: the bad data doesn't come back
    assert four.run("SELECT version, state FROM farmsync.versions WHERE version > 3") == [("4", "old"), ("5", "in force")]
    assert history(four)[0][:2] == ("roll_back", "5")


def test_roll_back_counts_the_rows_and_names_the_datasets(four):
    four.run("SET @farmsync_comment = 'prices were wrong'")
    four.run("CALL farmsync.roll_back('default', 3)")
    # prices: a, c, d changed, b gone; ship: DE and FR are new
    assert history(four)[0] == ("roll_back", "5", "6", "to the content of version 3: prices 4, ship 2")
    assert four.one("SELECT comment FROM farmsync.history ORDER BY id DESC LIMIT 1") == "prices were wrong"


def test_after_resume_production_comes_back_whole(four):
    produced = rows(four, 4)
    four.run("CALL farmsync.roll_back('default', 1)")
    pass_activation(four)
    four.run("CALL farmsync.resume('default')")
    assert four.promote() == "staged"
    assert rows(four, 6) == produced
    sync = four.sync()
    assert (sync["version"], sync["active_version"], sync["state"]) == ("6", "5", "running")
    assert int(four.one("SELECT TIMESTAMPDIFF(MICROSECOND, grid_time, activation_time) % (sync_interval * 1000000) "
                        "FROM farmsync.sync")) == 0  # on the grid again


def test_repaired_production_keeps_the_version(four):
    four.run("CALL farmsync.roll_back('default', 1)")
    pass_activation(four)
    four.script("DELETE FROM shop.price; INSERT INTO shop.price SELECT * FROM farmsync.active_prices;"
                "INSERT INTO shop.ship SELECT * FROM farmsync.active_ship")
    four.run("CALL farmsync.resume('default')")
    assert four.promote() == "unchanged"


def test_roll_back_of_a_roll_back(four):
    four.run("CALL farmsync.roll_back('default', 1)")
    pass_activation(four)
    four.run("CALL farmsync.roll_back('default', 4)")
    assert (rows(four, 6), images(four, 6)) == four.held[4]
    assert four.sync()["active_version"] == "5"
    pass_activation(four)
    assert "FS1121" in four.refused("CALL farmsync.roll_back('default', 6)")
    assert "FS1123" in four.refused("CALL farmsync.roll_back('default', 4)")  # the same content


def test_cheap_ways_to_find_changes_compare_in_full_after_it(db):
    db.script(
        "CREATE TABLE shop.price (sku VARCHAR(32) PRIMARY KEY, price INT, changed_at TIMESTAMP(6) NOT NULL "
        "DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6), KEY (changed_at));"
        "INSERT INTO shop.price (sku, price) VALUES ('a', 1), ('b', 2);"
        "CALL farmsync.add_dataset_with('prices', 'shop.price', 'sku', '{\"changes\": {\"column\": \"changed_at\"}, \"overlap\": 0}');"
        "CREATE TABLE shop.t (k INT PRIMARY KEY, v INT); INSERT INTO shop.t VALUES (1, 1), (2, 1);"
        "CALL farmsync.add_dataset_with('t', 'shop.t', 'k', '{\"changes\": \"triggers\"}')"
    )
    assert db.cycle() == "staged"
    db.script("UPDATE shop.price SET price = 9 WHERE sku = 'a'; UPDATE shop.t SET v = 9 WHERE k = 1")
    assert db.cycle() == "staged"
    assert db.cycle() == "unchanged"
    db.run("CALL farmsync.roll_back('default', 1)")
    pass_activation(db)
    assert db.run("SELECT sku, price FROM farmsync.active_prices ORDER BY 1") == [("a", "1"), ("b", "2")]
    db.run("CALL farmsync.resume('default')")
    assert db.promote() == "staged"  # nothing in production was touched since
    assert db.run("SELECT sku, price FROM farmsync.staged_prices ORDER BY 1") == [("a", "9"), ("b", "2")]
    assert db.run("SELECT k, v FROM farmsync.staged_t ORDER BY 1") == [("1", "9"), ("2", "1")]


def test_datasets_that_came_and_went_since(four):
    four.script("CREATE TABLE shop.tax (c CHAR(2) PRIMARY KEY, p INT); INSERT INTO shop.tax VALUES ('DE', 19);"
                "CALL farmsync.add_dataset('tax', 'shop.tax', 'c'); CALL farmsync.drop_dataset('ship')")
    assert four.cycle() == "staged"
    pass_activation(four)
    four.run("CALL farmsync.roll_back('default', 2)")
    assert [r[0] for r in images(four, 6)] == ["prices", "tax"]
    assert rows(four, 6)["prices"] == four.held[2][0]["prices"]
    assert four.run("SELECT * FROM farmsync.staged_tax") == [("DE", "19")]
    assert history(four)[0][3] == ("to the content of version 2: prices 4; added since and left as they are: tax; "
                                   "dropped since and not brought back: ship")
    pass_activation(four)
    four.run("CALL farmsync.resume('default')")
    assert four.promote() == "staged"
    assert rows(four, 7)["prices"] == four.held[4][0]["prices"]


def test_dataset_that_is_not_promoted_yet_comes_later(four):
    four.script("CREATE TABLE shop.tax (c CHAR(2) PRIMARY KEY, p INT); INSERT INTO shop.tax VALUES ('DE', 19);"
                "CALL farmsync.add_dataset('tax', 'shop.tax', 'c')")
    four.run("CALL farmsync.roll_back('default', 2)")
    assert [r[0] for r in images(four, 5)] == ["prices", "ship"]
    pass_activation(four)
    four.run("CALL farmsync.resume('default')")
    assert four.promote() == "staged"
    assert [r[0] for r in images(four, 6)] == ["prices", "ship", "tax"]


# --- while a version is announced


def announce(db):
    """Version 5 is staged for later, 4 is in force."""
    db.run("UPDATE shop.price SET price = 666")
    assert db.cycle() == "staged"
    db.held[5] = (rows(db, 5), images(db, 5))
    return db.one("SELECT activation_time FROM farmsync.sync")


def test_what_is_announced_is_not_withdrawn(four):
    announced = announce(four)
    answer = four.run("CALL farmsync.roll_back('default', 4)")  # what is in force now
    assert answer[0][0] is None and "version 5 is announced already" in answer[0][2]
    sync = four.sync()
    assert (sync["version"], sync["active_version"], sync["activation_time"]) == ("5", "4", announced)
    assert sync["state"] == "running" and "can't be withdrawn" in sync["reason"]
    assert four.run("SELECT rolls_back_to FROM farmsync.cycle") == [("4",)]
    assert four.promote() == "lost"  # its time hasn't come
    pass_activation(four)
    announced = four.one("SELECT activation_time FROM farmsync.sync")
    assert in_force(four) == 5
    four.run("UPDATE shop.price SET price = 667")  # of no interest: the old content is next
    assert four.promote() == "returned"
    sync = four.sync()
    assert (sync["version"], sync["active_version"], sync["state"]) == ("6", "5", "held")
    assert sync["activation_time"] > announced
    assert "rolled back to the content of version 4 by root@localhost" in sync["reason"]
    assert (rows(four, 6), images(four, 6)) == four.held[4]
    left = float(four.one("SELECT TIMESTAMPDIFF(MICROSECOND, UTC_TIMESTAMP(6), activation_time) / 1e6 FROM farmsync.sync"))
    assert left <= 2  # the lead after that, not the next moment of the grid
    assert [r[0] for r in history(four, 2)] == ["roll_back", "roll_back"]
    assert history(four)[0][1] == "6" and history(four, 2)[1][1] is None
    assert four.run("SELECT COUNT(*) FROM farmsync.versions WHERE version = 6") == [("1",)]
    pass_activation(four)
    assert in_force(four) == 6
    assert four.promote() == "lost"


def test_roll_back_of_a_held_group_with_an_announced_version(four):
    announce(four)
    four.run("CALL farmsync.hold('default')")
    four.run("CALL farmsync.roll_back('default', 4)")
    pass_activation(four)
    assert four.promote() == "returned"
    assert four.sync()["state"] == "held"
    assert rows(four, 6) == four.held[4][0]


def test_ordered_roll_back_is_given_up(four):
    announce(four)
    four.run("CALL farmsync.roll_back('default', 2)")
    assert "FS1128" in four.refused("CALL farmsync.hold('default')")
    assert "FS1127" in four.refused("CALL farmsync.unpin('default')")
    four.run("CALL farmsync.resume('default')")
    sync = four.sync()
    assert (sync["return_to"], sync["state"], sync["reason"]) == (None, "running", "")
    pass_activation(four)
    assert four.promote() == "unchanged"
    four.run("CALL farmsync.set_interval('default', 600)")
    announce_again = four.run("UPDATE shop.price SET price = 5") or four.cycle()
    assert announce_again == "staged"
    four.run("CALL farmsync.pin('default', 2)")
    assert "FS1128" in four.refused("CALL farmsync.hold('default')")
    assert "FS1047" in four.refused("CALL farmsync.resume('default')")
    four.run("CALL farmsync.unpin('default')")
    assert four.sync()["return_to"] is None


def test_second_order_replaces_the_first(four):
    announce(four)
    four.run("CALL farmsync.roll_back('default', 2)")
    four.run("CALL farmsync.roll_back('default', 3)")
    pass_activation(four)
    assert four.promote() == "returned"
    assert rows(four, 6) == four.held[3][0]


def test_ordered_roll_back_that_fails_is_recorded_and_tried_again(four):
    announce(four)
    four.run("CALL farmsync.roll_back('default', 2)")
    four.run("DELETE FROM farmsync.data_prices WHERE fs_to = 4 AND sku = 'c'")
    pass_activation(four)
    text = four.refused_cycle()
    assert "FS1124" in text and "prices" in text
    sync = four.sync()
    assert (sync["state"], sync["version"], sync["return_to"]) == ("failed", "5", "2")
    four.run("CALL farmsync.roll_back('default', 4)")
    assert rows(four, 6) == four.held[4][0]


def test_damaged_version_is_refused_whole(four):
    four.run("DELETE FROM farmsync.data_prices WHERE fs_to = 4 AND sku = 'c'")
    before = four.run("SELECT * FROM farmsync.data_prices"), four.sync(), history(four, 100)
    assert "FS1124" in four.refused("CALL farmsync.roll_back('default', 2)")
    assert (four.run("SELECT * FROM farmsync.data_prices"), four.sync(), history(four, 100)) == before


# --- while a version waits for servers to be ready


def wait_for_servers(db):
    """Version 5 waits: nobody may act on it."""
    db.run("INSERT INTO farmsync.member (name, kind, group_name, seen) VALUES ('web1', 'agent', 'default', UTC_TIMESTAMP(6))")
    db.run("CALL farmsync.set_ready('default', 'all', NULL, NULL)")
    announce(db)
    assert db.sync()["state"] == "waiting" and in_force(db) == 4


def test_what_waits_is_replaced_at_once(four):
    wait_for_servers(four)
    four.run("CALL farmsync.roll_back('default', 4)")  # so that 5 is never in force
    sync = four.sync()
    assert (sync["version"], sync["active_version"], sync["state"], sync["planned_time"]) == ("6", "4", "held", None)
    assert (rows(four, 6), images(four, 6)) == four.held[4]
    assert sync["activation_time"] < "9999"  # what they have had is in force after the lead
    assert four.run("CALL farmsync.decide('default', %s, 'x')", four.epoch())[0][0] == "lost"


def test_pin_while_a_version_waits(four):
    wait_for_servers(four)
    four.run("CALL farmsync.pin('default', 5)")
    assert four.sync()["state"] == "waiting"
    four.run("DELETE FROM farmsync.member")
    assert four.run("CALL farmsync.decide('default', %s, 'x')", four.epoch())[0][0] == "go"
    assert (four.sync()["state"], four.sync()["pinned_version"]) == ("running", "5")
    pass_activation(four)
    assert in_force(four) == 5
    assert four.promote() == "lost"


def test_pin_of_what_is_in_force_while_a_version_waits(four):
    wait_for_servers(four)
    four.run("CALL farmsync.pin('default', 4)")
    sync = four.sync()
    assert (sync["version"], sync["active_version"], sync["state"], sync["pinned_version"]) == ("6", "4", "running", "6")
    assert rows(four, 6) == four.held[4][0]


# --- pin


def test_pin_of_what_is_in_force(four):
    four.run("CALL farmsync.pin('default', 4)")
    sync = four.sync()
    assert (sync["pinned_version"], sync["version"], sync["active_version"]) == ("4", "4", "4")
    assert "pinned to version 4 by root@localhost" in sync["reason"] and "unpin" in sync["reason"]
    assert four.run("SELECT state, pinned, in_force FROM farmsync.cycle") == [("pinned", "4", "4")]
    assert four.run("SELECT version FROM farmsync.versions WHERE pinned = 'pinned'") == [("4",)]
    four.run("UPDATE shop.price SET price = 5")
    for _ in range(2):
        assert four.cycle() == "lost"
    assert four.run("SELECT pinned_version FROM farmsync.sync_us") == [("4",)]
    for act in ("activate_now('default')", "activate_at('default', '2100-01-01')", "roll_back('default', 1)"):
        assert "FS1125" in four.refused("CALL farmsync." + act)
    four.run("CALL farmsync.unpin('default')")
    assert four.promote() == "staged"
    assert [r[0] for r in history(four, 3)] == ["promote", "unpin", "pin"]


def test_pin_between_activation_and_promotion(four):
    announce(four)
    pass_activation(four)
    four.run("CALL farmsync.pin('default', 5)")
    sync = four.sync()
    assert (sync["active_version"], sync["pinned_version"]) == ("5", "5")
    assert in_force(four) == 5


def test_pin_of_what_is_staged(four):
    announced = announce(four)
    four.run("CALL farmsync.pin('default', 5)")
    sync = four.sync()
    assert (sync["active_version"], sync["version"], sync["pinned_version"], sync["activation_time"]) == ("4", "5", "5", announced)
    assert in_force(four) == 4
    pass_activation(four)
    assert in_force(four) == 5
    assert four.promote() == "lost"


def test_pin_of_an_older_version(four):
    four.run("SET @farmsync_comment = 'until Monday'")
    four.run("CALL farmsync.pin('default', 2)")
    sync = four.sync()
    assert (sync["version"], sync["pinned_version"], sync["state"]) == ("5", "5", "running")
    assert "pinned to version 5 (the content of version 2)" in sync["reason"]
    assert (rows(four, 5), images(four, 5)) == four.held[2]
    assert [r[:2] for r in history(four, 2)] == [("pin", "5"), ("roll_back", "5")]
    assert four.one("SELECT comment FROM farmsync.history ORDER BY id DESC LIMIT 1") == "until Monday"
    pass_activation(four)
    assert four.promote() == "lost"
    four.run("CALL farmsync.pin('default', 5)")  # once more is no harm
    four.run("CALL farmsync.pin('default', 3)")  # from pin to pin without a gap
    assert four.sync()["pinned_version"] == "6"
    assert rows(four, 6) == four.held[3][0]
    pass_activation(four)
    four.run("CALL farmsync.unpin('default')")
    assert four.promote() == "staged"
    assert rows(four, 7) == four.held[4][0]


def test_pin_of_what_is_in_force_while_another_is_announced(four):
    announce(four)
    four.run("CALL farmsync.pin('default', 4)")
    assert four.sync()["pinned_version"] is None
    pass_activation(four)
    assert four.promote() == "returned"
    sync = four.sync()
    assert (sync["version"], sync["active_version"], sync["pinned_version"]) == ("6", "5", "6")
    assert rows(four, 6) == four.held[4][0]
    assert four.promote() == "lost"


def test_pin_and_hold(four):
    four.run("CALL farmsync.hold('default')")
    four.run("CALL farmsync.pin('default', 4)")
    four.run("CALL farmsync.unpin('default')")
    assert four.sync()["state"] == "held"
    four.run("CALL farmsync.pin('default', 4)")
    four.run("CALL farmsync.resume('default')")
    assert four.sync()["state"] == "running" and "pinned to" in four.sync()["reason"]
    four.run("CALL farmsync.hold('default')")
    four.run("CALL farmsync.resume('default')")
    four.run("CALL farmsync.unpin('default')")
    assert four.promote() == "lost" or four.sync()["state"] == "running"


# --- wrong arguments, rights


def test_wrong_arguments(four):
    before = four.run("SELECT * FROM farmsync.sync"), history(four, 100)
    for act in ("roll_back", "pin"):
        assert "FS1003" in four.refused(f"CALL farmsync.{act}('x', 1)")
        assert "FS1003" in four.refused(f"CALL farmsync.{act}(NULL, 1)")
        for version in ("NULL", "0", "-1", "99", "9223372036854775807"):
            text = four.refused(f"CALL farmsync.{act}('default', {version})")
            assert "FS1120" in text and "kept are 1 to 4" in text
    assert "FS1121" in four.refused("CALL farmsync.roll_back('default', 4)")
    assert "FS1127" in four.refused("CALL farmsync.unpin('default')")
    assert "FS1003" in four.refused("CALL farmsync.unpin('x')")
    assert "FS1003" in four.refused("CALL farmsync.set_keep_age('x', 1)")
    for age in ("NULL", "-1", "315360001", "1.5"):
        assert "FS1129" in four.refused(f"CALL farmsync.set_keep_age('default', {age})")
    assert (four.run("SELECT * FROM farmsync.sync"), history(four, 100)) == before
    announce(four)
    text = four.refused("CALL farmsync.roll_back('default', 5)")
    assert "FS1121" in text and "not in force yet" in text


def test_group_without_versions(db):
    text = db.refused("CALL farmsync.roll_back('default', 1)")
    assert "FS1120" in text and "nothing was promoted yet" in text


def test_pruned_versions_are_named(four):
    four.run("CALL farmsync.set_keep_versions('default', 2)")
    four.run("CALL farmsync.prune('default', 1000)")
    text = four.refused("CALL farmsync.roll_back('default', 2)")
    assert "FS1120" in text and "kept are 3 to 4" in text
    four.run("CALL farmsync.roll_back('default', 3)")
    assert (rows(four, 5), images(four, 5)) == four.held[3]


def test_rights(four, connect):
    four.script("CREATE USER IF NOT EXISTS t_op@localhost; GRANT farmsync_operator TO t_op@localhost;"
                "CREATE USER IF NOT EXISTS t_ag@localhost; GRANT farmsync_agent TO t_ag@localhost;"
                "CREATE USER IF NOT EXISTS t_ds@localhost; GRANT farmsync_datasrv TO t_ds@localhost;"
                "SET DEFAULT ROLE farmsync_operator FOR t_op@localhost;"
                "SET DEFAULT ROLE farmsync_agent FOR t_ag@localhost;"
                "SET DEFAULT ROLE farmsync_datasrv FOR t_ds@localhost")
    try:
        acts = ("roll_back('default', 1)", "pin('default', 4)", "unpin('default')", "set_keep_age('default', 5)")
        for user in ("t_ag", "t_ds"):
            session = connect(user=user)
            for act in acts:
                assert "denied" in session.refused("CALL farmsync." + act)
        operator = connect(user="t_op")
        for inner in ("return_session('default', 1, 0)", "return_now('default', 1, 0)", "return_ordered('default')",
                      "return_work('default', 1, @a, @b, @c)", "return_keep('default', 1, 1, 0, 'x')"):
            assert "denied" in operator.refused("CALL farmsync." + inner)
        for act in acts[1:] + acts[:1]:
            operator.run("CALL farmsync." + act)
        assert "by t_op@localhost" in four.sync()["reason"]
        # An agent's account carries out what was ordered.
        pass_activation(four)
        four.run("CALL farmsync.resume('default')")
        assert four.promote() == "staged"
        operator.run("CALL farmsync.roll_back('default', 1)")
        pass_activation(four)
        agent = connect(user="t_ag")
        agent.run("START TRANSACTION")
        assert agent.run("CALL farmsync.promote('default', %s, 'web1')", four.epoch())[0][0] == "returned"
        agent.run("COMMIT")
        assert four.run("SELECT who, account FROM farmsync.history ORDER BY id DESC LIMIT 1") == [
            ("t_op@localhost", "t_ag@localhost")]
    finally:
        four.script("DROP USER t_op@localhost; DROP USER t_ag@localhost; DROP USER t_ds@localhost")


# --- in the middle of a promotion, and at once


def test_in_the_middle_of_a_promotion(four, connect):
    """It waits for the promotion and then finds a version announced."""
    promoter, operator = connect(), connect()
    four.run("UPDATE shop.price SET price = 7")
    four.make_due()
    promoter.run("START TRANSACTION")
    assert promoter.run("CALL farmsync.promote('default', %s, 'p')", four.epoch())[0][0] == "staged"
    threads = Threads()
    operator.run("SET innodb_lock_wait_timeout = 50")
    threads.start(operator.run, "CALL farmsync.roll_back('default', 1)")
    promoter.images(5, "p")
    promoter.run("COMMIT")
    threads.join()
    sync = four.sync()
    assert (sync["version"], sync["active_version"]) == ("5", "4")
    assert sync["return_to"] == "1" or rows(four, 5) == four.held[1][0]
    pass_activation(four)
    assert four.promote() == "returned"
    assert rows(four, 6) == four.held[1][0]


EVERY_ACT = ["hold('default')", "activate_now('default')", "activate_at('default', UTC_TIMESTAMP(6) + INTERVAL 1 DAY)",
             "set_interval('default', 300)", "set_lead('default', 1)", "set_keep_versions('default', 5)",
             "set_keep_age('default', 60)", "roll_back('default', 2)", "pin('default', 2)", "pin('default', 5)"]


@pytest.mark.parametrize("act", EVERY_ACT)
def test_every_act_waits_for_a_promotion(four, connect, act):
    """In the middle of one: it is done after it, and breaks nothing of it."""
    promoter, operator = connect(), connect()
    four.run("UPDATE shop.price SET price = 7")
    four.make_due()
    promoter.run("START TRANSACTION")
    promoter.run("CALL farmsync.promote('default', %s, 'p')", four.epoch())
    operator.run("SET innodb_lock_wait_timeout = 50")
    threads = Threads()
    threads.start(operator.run, "CALL farmsync." + act)
    promoter.images(5, "p")
    promoter.run("COMMIT")
    threads.join()
    assert (four.sync()["version"], four.sync()["active_version"]) == ("5", "4")
    assert [r[0] for r in history(four, 2)] == [act.split("(")[0], "promote"]


def test_promotion_that_comes_second_is_lost(four, connect):
    """The roll-back is first: the epoch that the promoter knows is old."""
    epoch = four.epoch()
    four.run("UPDATE shop.price SET price = 7")
    four.run("UPDATE farmsync.sync SET activation_time = UTC_TIMESTAMP(6)")
    four.run("CALL farmsync.roll_back('default', 1)")
    assert connect().promote(epoch=epoch) == "lost"
    assert rows(four, 5) == four.held[1][0]


def test_prune_waits_for_a_roll_back_and_takes_nothing_from_it(four, connect):
    """The version's images stay while a roll-back is under way: so its rows are still there."""
    blocker, operator, pruner = connect(), connect(), connect()
    four.run("CALL farmsync.set_keep_versions('default', 2)")
    operator.run("SET innodb_lock_wait_timeout = 50")
    blocker.run("START TRANSACTION")
    blocker.run("SELECT * FROM farmsync.data_ship WHERE fs_from = 1 FOR UPDATE")
    blocker.run("SELECT * FROM farmsync.data_prices WHERE fs_from = 4 FOR UPDATE")
    threads = Threads()
    threads.start(operator.run, "CALL farmsync.roll_back('default', 2)")
    wait_until(lambda: four.one("SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'") == "1",
               30, "the roll-back to be under way", pace=0.3)  # the table is refreshed only if left alone for 0.1 s
    with pytest.raises(pymysql.MySQLError) as caught:
        pruner.run("CALL farmsync.prune('default', 1000)")
    assert caught.value.args[0] == 1205
    assert (rows(four, 2), images(four, 2)) == four.held[2]
    blocker.run("ROLLBACK")
    threads.join()
    assert (rows(four, 5), images(four, 5)) == four.held[2]


def test_operators_at_once_on_one_server(four, connect):
    """Whatever the order: each act is whole, and each version has the content that its images say."""
    contents = {images(four, v)[0][1]: four.held[v][0]["prices"] for v in (1, 2, 3, 4)}
    threads = Threads()
    start = threading.Barrier(4)

    def operate(session, version):
        start.wait()
        for _ in range(5):
            try:
                session.run("CALL farmsync.roll_back('default', %s)", version)
            except pymysql.MySQLError as error:
                assert error.args[0] in LOST or "FS112" in error.args[1], error

    for version in (1, 2, 3, 4):
        threads.start(operate, connect(), version)
    threads.join()
    for version in range(5, int(four.sync()["version"]) + 1):
        assert rows(four, version)["prices"] == contents[images(four, version)[0][1]]
    pass_activation(four)
    if four.sync()["return_to"]:
        assert four.promote() == "returned"
    assert four.sync()["state"] == "held"


def shop_on(nodes):
    db = Session(nodes[0])
    db.script("CREATE TABLE shop.price (sku VARCHAR(32) PRIMARY KEY, price INT);"
              "INSERT INTO shop.price VALUES ('a', 1), ('b', 1); CALL farmsync.add_dataset('prices', 'shop.price', 'sku')")
    for _ in range(4):
        db.run("UPDATE shop.price SET price = price * 10")
        assert db.cycle() == "staged"
    assert db.cycle() == "unchanged"
    return db


ACTS = [("roll_back('default', 1)", "roll_back('default', 2)"), ("pin('default', 1)", "pin('default', 4)"),
        ("roll_back('default', 1)", "pin('default', 2)"), ("roll_back('default', 1)", "promote")]


@pytest.mark.parametrize("acts", ACTS)
def test_twice_at_once_on_two_nodes(galera, acts):
    """One wins and the other is refused, serial after it, or gets 1213; never half of both."""
    db = shop_on(galera)
    sessions = [Session(galera[0]), Session(galera[1])]
    epoch = db.epoch()
    if "promote" in acts:
        db.run("UPDATE shop.price SET price = 5")
        db.make_due()
        epoch = db.epoch()
    start, done = threading.Barrier(2), [None, None]
    threads = Threads()

    def operate(place):
        session, act = sessions[place], acts[place]
        start.wait()
        if act == "promote":
            done[place] = session.promote(epoch=epoch)
            return
        try:
            session.run("CALL farmsync." + act)
            done[place] = "done"
        except pymysql.MySQLError as error:
            assert error.args[0] in LOST or "FS11" in error.args[1], error
            done[place] = error.args[1]

    for place in (0, 1):
        threads.start(operate, place)
    threads.join()
    assert "done" in done or "staged" in done, done
    sync = db.sync()
    expected = {"1": "10", "2": "100", "3": "1000", "4": "10000"}
    noted = db.run("SELECT version, detail FROM farmsync.history WHERE action = 'roll_back' AND version IS NOT NULL")
    newest = int(sync["version"])
    assert len(noted) == newest - 4 - (done.count("staged"))
    for version, detail in noted:
        price = expected[detail.split("version ")[1][0]]
        assert db.run("SELECT DISTINCT price FROM farmsync.data_prices WHERE fs_from <= %s AND fs_to > %s",
                      version, version) == [(price,)]
        assert db.one("SELECT COUNT(*) FROM farmsync.data_prices WHERE fs_from <= %s AND fs_to > %s", version, version) == "2"
    for session in sessions + [db]:
        session.close()


PAIRS = [("hold('default')", "hold('default')"), ("hold('default')", "pin('default', 4)"),
         ("activate_now('default')", "activate_now('default')"),
         ("activate_at('default', '2100-01-01')", "activate_at('default', '2100-01-02')"),
         ("set_interval('default', 5)", "set_interval('default', 7)"), ("set_lead('default', 1)", "set_lead('default', 2)"),
         ("set_keep_versions('default', 5)", "set_keep_versions('default', 6)"),
         ("set_keep_age('default', 5)", "set_keep_age('default', 6)"), ("pin('default', 4)", "pin('default', 4)"),
         ("pin('default', 4)", "unpin('default')"), ("hold('default')", "resume('default')")]


@pytest.mark.parametrize("acts", PAIRS)
def test_every_act_twice_at_once_on_two_nodes(galera, acts):
    """What was done is in history, once each; what wasn't said why; the nodes agree."""
    db = shop_on(galera)
    sessions = [Session(galera[0]), Session(galera[1])]
    before = int(db.one("SELECT MAX(id) FROM farmsync.history"))
    start, done = threading.Barrier(2), []
    threads = Threads()

    def operate(session, act):
        start.wait()
        try:
            session.run("CALL farmsync." + act)
            done.append(act.split("(")[0])
        except pymysql.MySQLError as error:
            assert error.args[0] in LOST or "FS1" in error.args[1], error

    for session, act in zip(sessions, acts):
        threads.start(operate, session, act)
    threads.join()
    noted = db.run("SELECT action FROM farmsync.history WHERE id > %s", before)
    assert sorted(r[0] for r in noted) == sorted(done) and done
    assert sessions[1].run("SELECT * FROM farmsync.sync") == db.run("SELECT * FROM farmsync.sync")
    for session in sessions + [db]:
        session.close()


# --- versions kept


def grow(db, count):
    for _ in range(count):
        db.run("UPDATE shop.price SET price = price + 1")
        assert db.cycle() == "staged"


def kept(db):
    return [int(r[0]) for r in db.run("SELECT DISTINCT version FROM farmsync.image ORDER BY 1")]


def age(db, version, seconds):
    """As if the version and those before it had been promoted so long ago."""
    db.run("UPDATE farmsync.history SET at = UTC_TIMESTAMP(6) - INTERVAL %s SECOND WHERE version <= %s", seconds, version)


def test_kept_by_number_and_by_age(shop):
    grow(shop, 9)
    shop.run("CALL farmsync.set_keep_versions('default', 3)")
    shop.run("CALL farmsync.set_keep_age('default', 3600)")
    shop.run("CALL farmsync.prune('default', 1000)")
    assert kept(shop) == list(range(1, 10))  # all of the last hour
    age(shop, 4, 4000)
    shop.run("CALL farmsync.prune('default', 1000)")
    # 5 is the first of the last hour; before it 4 may have been staged, and 3 in force.
    assert kept(shop) == list(range(3, 10))
    age(shop, 9, 4000)
    shop.run("CALL farmsync.prune('default', 1000)")
    assert kept(shop) == [7, 8, 9]  # by number
    shop.run("CALL farmsync.set_keep_age('default', 0)")
    shop.run("CALL farmsync.set_keep_versions('default', 2)")
    shop.run("CALL farmsync.prune('default', 1000)")
    assert kept(shop) == [8, 9]


def test_age_counts_from_when_a_version_was_superseded(shop):
    """What was in force for days, until an hour ago, can be rolled back to."""
    grow(shop, 2)
    age(shop, 2, 300000)
    grow(shop, 6)
    shop.run("CALL farmsync.set_keep_versions('default', 2)")
    shop.run("CALL farmsync.set_keep_age('default', 3600)")
    shop.run("CALL farmsync.prune('default', 1000)")
    assert kept(shop)[0] <= 2


def test_what_somebody_needs_stays_whatever_its_age(shop):
    grow(shop, 6)
    shop.run("CALL farmsync.set_keep_versions('default', 2)")
    pass_activation(shop)
    shop.run("CALL farmsync.pin('default', 6)")
    shop.run("CALL farmsync.unpin('default')")
    grow(shop, 1)
    assert 6 in kept(shop)
    shop.run("CALL farmsync.roll_back('default', 2)")  # ordered: 7 is announced
    shop.run("CALL farmsync.prune('default', 1000)")
    assert kept(shop)[0] == 2
    pass_activation(shop)
    assert shop.promote() == "returned"
    shop.run("CALL farmsync.prune('default', 1000)")
    assert kept(shop) == [7, 8]
    assert shop.run("SELECT price FROM farmsync.staged_prices WHERE sku = 'b'") == [("4.00",)]


def test_huge_prune_goes_in_steps_and_blocks_nobody(shop, connect):
    """250 versions and 20,000 rows at once to go: whole versions, rows in steps, and promotions and readers between.
    An open promotion isn't waited for while there is more than a step's rows to go."""
    shop.run("CREATE TABLE shop.many (k INT PRIMARY KEY, v INT)")
    shop.run("INSERT INTO shop.many SELECT seq, 0 FROM seq_1_to_20000")
    shop.run("CALL farmsync.add_dataset('many', 'shop.many', 'k')")
    shop.run("CALL farmsync.set_keep_versions('default', 1000)")
    grow(shop, 1)
    shop.run("UPDATE shop.many SET v = 1")
    grow(shop, 1)
    # Versions without end, as if they had been promoted: unchanged datasets share their images.
    shop.run("INSERT INTO farmsync.image SELECT group_name, version + s.seq, dataset, digest, bytes, row_count, since "
             "FROM farmsync.image JOIN seq_1_to_250 AS s WHERE version = 2")
    shop.run("UPDATE farmsync.sync SET version = 252, active_version = 252, epoch = epoch + 1")
    shop.run("CALL farmsync.set_keep_versions('default', 2)")
    pruner, reader, left, steps = connect(), connect(), 1, 0
    total = None
    while left > 0:
        if steps in (1, 3, 20):
            shop.run("UPDATE shop.many SET v = v + 1 WHERE k <= 10")
            shop.make_due()
            shop.run("START TRANSACTION")
            version = shop.run("CALL farmsync.promote('default', %s, 'test')", shop.epoch())[0][1]
        left = int(pruner.run("CALL farmsync.prune('default', 500)")[0][0])
        if steps in (1, 3, 20):
            shop.images(version)
            shop.run("COMMIT")
            assert reader.one("SELECT COUNT(*) FROM farmsync.staged_many") == "20000"
        steps += 1
        now = int(shop.one("SELECT COUNT(*) FROM farmsync.data_many"))
        assert total is None or total - now <= 500
        total = now
        versions = shop.run("SELECT version, COUNT(*) FROM farmsync.image GROUP BY version HAVING COUNT(*) <> 3")
        assert versions == []  # none is half there
    assert steps >= 40
    assert 20000 <= total <= 20030
    assert len(kept(shop)) <= 3
