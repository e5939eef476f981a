# SPDX-License-Identifier: Apache-2.0
"""Approval by a second account, by what is pending; and what differs, key by key."""

import json
import re

import pytest

from sql_fixtures import Session, Threads

pytest_plugins = ["sql_fixtures"]

DIGEST = re.compile("[0-9a-f]{64}")


@pytest.fixture
def shop(db, connect):
    """Three prices in version 1; approval is on; accounts alice and bob are operators."""
    db.script(
        "CREATE TABLE shop.price (sku VARCHAR(32) PRIMARY KEY, price DECIMAL(10,2), name VARCHAR(100));"
        "INSERT INTO shop.price VALUES ('a', 1, 'A'), ('b', 2, NULL), ('c', 3, 'C');"
        "CALL farmsync.add_dataset('prices', 'shop.price', 'sku');"
    )
    assert db.cycle() == "staged"
    db.run("CALL farmsync.set_approval('default', 'on')")
    for name in ("alice@localhost", "bob@localhost", "alice@'%'"):
        db.script("CREATE OR REPLACE USER %s; GRANT farmsync_operator TO %s; SET DEFAULT ROLE farmsync_operator FOR %s"
                  % (name, name, name))
    db.alice, db.bob = connect(user="alice"), connect(user="bob")
    return db


def version(db):
    return int(db.one("SELECT version FROM farmsync.sync WHERE group_name = 'default'"))


def request(db):
    return db.run("CALL farmsync.request_approval('default')")[0][0]


def waits(db):
    """A cycle that goes on without a promotion; the reason that is shown."""
    newest = version(db)
    assert db.cycle() == "unchanged"
    row = db.sync()
    assert version(db) == newest and row["state"] == "running"
    assert db.one("SELECT activation_time > UTC_TIMESTAMP(6) FROM farmsync.sync WHERE group_name = 'default'") == "1"
    return row["reason"]


def test_nothing_is_promoted_before_another_account_has_approved_it(shop):
    shop.run("UPDATE shop.price SET price = 5 WHERE sku = 'a'")
    reason = waits(shop)
    assert reason.startswith("FS1106: waits for approval of digest ") and "CALL farmsync.request_approval('default')" in reason
    digest = request(shop.alice)
    assert digest == DIGEST.search(reason).group()
    assert "requested by alice@localhost; another account: CALL farmsync.approve('default', '%s')" % digest in waits(shop)
    assert shop.alice.refused("CALL farmsync.approve('default', %s)", digest).startswith("FS1104: alice@localhost has requested")
    assert "requested by alice" in waits(shop)
    shop.bob.run("SET @farmsync_comment = 'looks right'")
    shop.bob.run("CALL farmsync.approve('default', %s)", digest)
    assert shop.sync()["reason"] == ""
    assert shop.cycle() == "staged" and version(shop) == 2
    rows = shop.run("SELECT h.action, h.who, h.comment FROM farmsync.history h WHERE h.id > "
                    "(SELECT MAX(id) FROM farmsync.history WHERE action = 'set_approval') ORDER BY h.id")
    assert rows == [
        ("waits", "test", ""),
        ("request_approval", "alice@localhost", ""),
        ("approve", "bob@localhost", "looks right"),
        ("promote", "test", "approved by bob@localhost, requested by alice@localhost"),
    ]
    shop.run("UPDATE shop.price SET price = 6 WHERE sku = 'a'")
    assert "request_approval" in waits(shop)  # an approval is for one version


def test_an_account_is_the_same_from_every_host(shop, connect):
    digest = None
    shop.run("UPDATE shop.price SET price = 5 WHERE sku = 'a'")
    digest = request(shop.alice)
    shop.run("UPDATE farmsync.group_gate SET requested_by = 'alice@10.1.2.3'")
    assert "FS1104" in shop.alice.refused("CALL farmsync.approve('default', %s)", digest)


def test_production_that_is_changed_afterwards_is_not_approved(shop):
    shop.run("UPDATE shop.price SET price = 5 WHERE sku = 'a'")
    first = request(shop.alice)
    shop.bob.run("CALL farmsync.approve('default', %s)", first)
    shop.run("UPDATE shop.price SET price = 500 WHERE sku = 'a'")
    reason = waits(shop)
    assert "production has changed since bob@localhost approved another; CALL farmsync.request_approval" in reason
    assert first not in reason
    second = request(shop.alice)
    assert second != first
    assert "FS1103" in shop.bob.refused("CALL farmsync.approve('default', %s)", first)
    shop.bob.run("CALL farmsync.approve('default', %s)", second)
    assert shop.cycle() == "staged"
    assert shop.one("SELECT price FROM farmsync.staged_prices WHERE sku = 'a'") == "500.00"


def test_history_tells_once_of_what_waits(shop):
    count = "SELECT COUNT(*) FROM farmsync.history WHERE action = 'waits'"
    shop.run("UPDATE shop.price SET price = 5 WHERE sku = 'a'")
    for _ in range(3):
        waits(shop)
    assert shop.one(count) == "1"
    shop.run("UPDATE shop.price SET price = 6 WHERE sku = 'a'")
    for _ in range(3):
        waits(shop)
    assert shop.one(count) == "2"


def test_what_is_rejected_is_not_promoted(shop):
    shop.run("UPDATE shop.price SET price = 5 WHERE sku = 'a'")
    digest = request(shop.alice)
    shop.bob.run("CALL farmsync.approve('default', %s)", digest)
    shop.bob.run("CALL farmsync.reject('default')")
    assert "bob@localhost rejected digest " + digest in shop.sync()["reason"]
    assert "request_approval" in waits(shop)
    assert "FS1103" in shop.bob.refused("CALL farmsync.approve('default', %s)", digest)
    assert "FS1103" in shop.bob.refused("CALL farmsync.reject('default')")


def test_nothing_pending_needs_nobody(shop):
    assert waits(shop) == ""
    assert shop.alice.refused("CALL farmsync.request_approval('default')").startswith("FS1102: ")


def test_what_fails_a_check_cannot_be_requested(shop):
    shop.run("CALL farmsync.add_check('prices', 'positive', 'price <= 0')")
    shop.run("UPDATE shop.price SET price = 0 WHERE sku = 'a'")
    assert "FS1090" in shop.alice.refused("CALL farmsync.request_approval('default')")
    assert shop.one("SELECT requested FROM farmsync.approval") is None
    assert shop.one("SELECT COUNT(*) FROM farmsync.data_prices") == "3"


def test_datasets_that_come_or_go_need_approval(shop):
    shop.run("CREATE TABLE shop.empty (id INT PRIMARY KEY)")
    shop.run("CALL farmsync.add_dataset('empty', 'shop.empty', 'id')")
    assert "waits for approval" in waits(shop)
    first = request(shop.alice)
    shop.run("CALL farmsync.drop_dataset('prices')")
    second = request(shop.alice)
    assert first != second
    shop.bob.run("CALL farmsync.approve('default', %s)", second)
    assert shop.cycle() == "staged"
    assert shop.run("SELECT dataset FROM farmsync.image WHERE version = 2") == [("empty",)]


def test_a_group_without_a_version_needs_approval(shop):
    shop.run("CALL farmsync.add_group('new')")
    shop.run("CALL farmsync.set_approval('new', 'on')")
    shop.run("CREATE TABLE shop.n (id INT PRIMARY KEY)")
    shop.run("CALL farmsync.add_dataset_with('n', 'shop.n', 'id', '{\"group\": \"new\"}')")
    assert shop.cycle(group="new") == "unchanged"
    digest = shop.alice.run("CALL farmsync.request_approval('new')")[0][0]
    shop.bob.run("CALL farmsync.approve('new', %s)", digest)
    assert shop.cycle(group="new") == "staged"


def test_a_dry_run_says_what_is_approved(shop):
    def said():
        return [row[3:] for row in shop.alice.run("CALL farmsync.dry_run('default')") if row[2] == "digest"]

    assert said() == []
    shop.run("UPDATE shop.price SET price = 5 WHERE sku = 'a'")
    digest = request(shop.alice)
    assert said() == [("not approved", None, digest)]
    shop.bob.run("CALL farmsync.approve('default', %s)", digest)
    assert said() == [("approved", None, digest)]
    shop.run("CALL farmsync.set_approval('default', 'off')")
    assert said() == []
    assert shop.cycle() == "staged"


@pytest.mark.parametrize("how", ["triggers", {"column": "serial"}])
def test_what_is_found_cheaply_is_compared_in_full(shop, how):
    """Else a row that the cheap way misses would be in what is requested, and not in what is promoted, or reverse."""
    shop.run("CALL farmsync.set_approval('default', 'off')")
    shop.run("CREATE TABLE shop.t (id INT PRIMARY KEY, v INT, serial INT, KEY (serial))")
    shop.run("INSERT INTO shop.t SELECT seq, seq, seq FROM seq_1_to_30")
    shop.run("CALL farmsync.add_dataset_with('t', 'shop.t', 'id', %s)", json.dumps({"changes": how}))
    assert shop.cycle() == "staged" and shop.cycle() == "unchanged"
    shop.run("CALL farmsync.set_approval('default', 'on')")
    shop.run("TRUNCATE shop.t")
    shop.run("INSERT INTO shop.t SELECT seq, seq, seq FROM seq_1_to_29")
    reason = waits(shop)
    assert "1 row changed" in reason
    digest = request(shop.alice)
    shop.bob.run("CALL farmsync.approve('default', %s)", digest)
    assert shop.cycle() == "staged" and shop.one("SELECT COUNT(*) FROM farmsync.staged_t") == "29"


def test_the_digest_is_of_content(shop):
    """The same content in another order has the same digest; whatever differs has another."""
    def digest(script):
        shop.script("DELETE FROM shop.price; INSERT INTO shop.price VALUES ('a', 1, 'A'), ('b', 2, NULL), ('c', 3, 'C');" + script)
        return request(shop.alice)

    same = "INSERT INTO shop.price SELECT CONCAT('n', seq), seq, 'x' FROM seq_1_to_500 ORDER BY seq %s"
    assert digest(same % "ASC") == digest(same % "DESC")
    seen = {
        digest(script)
        for script in (
            same % "ASC",
            "INSERT INTO shop.price VALUES ('x', 1, '')", "INSERT INTO shop.price VALUES ('x', 1, NULL)",
            "INSERT INTO shop.price VALUES ('x', 1, 'N')", "INSERT INTO shop.price VALUES ('x', NULL, 'N')",
            "INSERT INTO shop.price VALUES ('x', NULL, '1:N')", "INSERT INTO shop.price VALUES ('x', 1, '0:')",
            "INSERT INTO shop.price VALUES ('x', 1, 'n ')", "INSERT INTO shop.price VALUES ('x', 1, 'n')",
            "UPDATE shop.price SET name = 'a' WHERE sku = 'a'", "UPDATE shop.price SET name = 'A ' WHERE sku = 'a'",
            "UPDATE shop.price SET sku = 'A' WHERE sku = 'a'",
            "DELETE FROM shop.price WHERE sku = 'a'", "DELETE FROM shop.price WHERE sku = 'b'",
            "UPDATE shop.price SET price = 2.01 WHERE sku = 'b'", "UPDATE shop.price SET price = NULL WHERE sku = 'b'",
            "UPDATE shop.price SET name = REPEAT('x', 90)", "UPDATE shop.price SET name = REPEAT('x', 91)",
            "UPDATE shop.price SET name = REPEAT('☀', 90)", "UPDATE shop.price SET name = CONCAT(REPEAT('☀', 89), '☁')",
        )
    }
    assert len(seen) == 20
    one = digest("INSERT INTO shop.price VALUES ('x', 1, 'y')")
    shop.run("UPDATE farmsync.sync SET version = 2")
    shop.run("INSERT INTO farmsync.image SELECT group_name, 2, dataset, digest, bytes, row_count, since FROM farmsync.image")
    assert request(shop.alice) != one  # from another version


def test_the_digest_covers_every_type(shop):
    shop.script(
        "CREATE TABLE shop.k (id BINARY(4) PRIMARY KEY, i INT, u BIGINT UNSIGNED, b BIT(8), f FLOAT, d DOUBLE, t TIMESTAMP(6) NULL,"
        " dt DATETIME(6), da DATE, ti TIME(6), y YEAR, j JSON, bl LONGBLOB, e ENUM('x','y'), l CHAR(5) CHARACTER SET latin1,"
        " lt LONGTEXT, dc DECIMAL(30,10));"
        "INSERT INTO shop.k (id) VALUES (1);"
        "CALL farmsync.add_dataset('k', 'shop.k', 'id');"
    )
    seen = {request(shop.alice)}
    changes = ["i=1", "u=18446744073709551615", "b=b'101'", "f=0.1", "d=0.1", "d=0.10000000000000002", "d=0", "d=-0.1",
               "t='2020-01-01 00:00:00.000001'", "dt='2020-01-01'", "da='2020-01-01'", "ti='-1:00:00.5'", "y=2020", "j='{}'",
               "bl=0x00", "bl=0x0000", "bl=REPEAT(0x00, 3000000)", "bl=CONCAT(REPEAT(0x00, 2999999), 0x01)", "e='y'", "l='ä'",
               "lt=REPEAT('ä', 1000)", "lt=CONCAT(REPEAT('ä', 999), 'ö')", "dc=1.0000000001"]
    for change in changes:
        shop.run("UPDATE shop.k SET " + change)
        seen.add(request(shop.alice))
        shop.run("UPDATE shop.k SET " + change.split("=")[0] + " = NULL")
    assert len(seen) == 1 + len(changes)


@pytest.mark.parametrize(
    "call,number",
    [
        ("set_approval('default', 'yes')", "FS1101"), ("set_approval('default', NULL)", "FS1101"),
        ("set_approval('none', 'on')", "FS1003"), ("set_approval(NULL, 'on')", "FS1003"),
        ("request_approval('none')", "FS1003"), ("request_approval(NULL)", "FS1003"), ("request_approval('other')", "FS1105"),
        ("approve('none', '')", "FS1003"), ("approve('other', '')", "FS1105"), ("approve('default', '00')", "FS1103"),
        ("approve('default', NULL)", "FS1103"), ("reject('none')", "FS1003"), ("reject(NULL)", "FS1003"),
        ("reject('other')", "FS1105"),
        ("show_difference('none', 1, 2)", "FS1003"), ("show_difference(NULL, 1, 2)", "FS1003"),
        ("show_difference('default', 7, 1)", "FS1100"), ("show_difference('default', 1, 7)", "FS1100"),
        ("show_difference('default', 1, -1)", "FS1100"), ("show_difference('default', 0, NULL)", "FS1100"),
        ("show_difference('other', NULL, NULL)", "FS1109"),
    ],
)
def test_wrong_arguments_change_nothing(shop, call, number):
    shop.run("CALL farmsync.add_group('other')")
    shop.run("UPDATE shop.price SET price = 9")
    request(shop.alice)
    tables = ("history", "group_gate", "sync")
    before = [shop.run("SELECT * FROM farmsync.%s" % table) for table in tables]
    text = shop.refused("CALL farmsync." + call)
    assert text.startswith(number + ": "), text
    assert [shop.run("SELECT * FROM farmsync.%s" % table) for table in tables] == before


@pytest.mark.parametrize("call", ["request_approval('default')", "approve('default', 'x')", "reject('default')"])
def test_rights(shop, connect, call):
    shop.run("UPDATE shop.price SET price = 9")
    for role in ("farmsync_agent", "farmsync_datasrv"):
        shop.run("CREATE OR REPLACE USER other@localhost")
        shop.run("GRANT %s TO other@localhost" % role)
        shop.run("SET DEFAULT ROLE %s FOR other@localhost" % role)
        assert "denied" in connect(user="other").refused("CALL farmsync." + call)


def test_nobody_is_rid_of_it_by_making_the_group_anew(shop):
    shop.run("CALL farmsync.add_group('new')")
    shop.run("CALL farmsync.set_approval('new', 'on')")
    assert "FS1044: group new stays: it needs approval" in shop.alice.refused("CALL farmsync.drop_group('new')")
    shop.run("CALL farmsync.set_approval('new', 'off')")
    shop.alice.run("CALL farmsync.drop_group('new')")


def test_operators_cannot_switch_approval_off(shop):
    """Else one person would need nobody."""
    assert "denied" in shop.alice.refused("CALL farmsync.set_approval('default', 'off')")
    assert "denied" in shop.alice.refused("UPDATE farmsync.group_gate SET approval = 0")


@pytest.mark.parametrize("call", ["request_approval('default')", "approve('default', '{digest}')", "reject('default')",
                                  "set_approval('default', 'off')"])
def test_in_the_middle_of_a_promotion(shop, connect, call):
    """An act waits for a promotion that is under way, and can't change what that one has been granted."""
    shop.run("UPDATE shop.price SET price = 3 WHERE sku = 'a'")
    digest = request(shop.alice)
    shop.bob.run("CALL farmsync.approve('default', %s)", digest)
    shop.make_due()
    other = connect()
    other.run("SET SESSION innodb_lock_wait_timeout = 1")
    epoch = shop.epoch()
    shop.run("START TRANSACTION")
    assert shop.run("CALL farmsync.promote('default', %s, 'test')", epoch)[0][0] == "staged"
    assert "Lock wait timeout" in other.refused("CALL farmsync." + call.format(digest=digest))
    shop.run("ROLLBACK")
    assert shop.one("SELECT approved_by FROM farmsync.approval") == "bob@localhost"  # it has not been used
    assert shop.cycle() == "staged"


def test_at_once_on_two_nodes(galera):
    """Two request, then two approve: whoever is told that it was done, history has it; one promotion comes of it."""
    nodes = [Session(node) for node in galera[:2]]
    nodes[0].script("CREATE TABLE shop.price (sku INT PRIMARY KEY, price INT); INSERT INTO shop.price VALUES (1, 1);"
                    "CALL farmsync.add_dataset('prices', 'shop.price', 'sku'); CALL farmsync.set_approval('default', 'on');"
                    "CREATE OR REPLACE USER bob@localhost; GRANT farmsync_operator TO bob@localhost;"
                    "SET DEFAULT ROLE farmsync_operator FOR bob@localhost")
    bobs = [Session(node, user="bob") for node in galera[:2]]

    def both(sessions, call, *values):
        done, lost = [], []

        def act(session):
            try:
                done.append(session.run("CALL farmsync." + call, *values))
            except Exception as error:  # pylint: disable=broad-except
                lost.append(error.args)

        threads = Threads()
        for session in sessions:
            threads.start(act, session)
        threads.join()
        assert done and all(error[0] in (1205, 1213) for error in lost), lost
        return done

    for n in range(2, 6):
        nodes[0].run("UPDATE shop.price SET price = %s", n)
        digests = {rows[0][0] for rows in both(nodes, "request_approval('default')")}
        assert len(digests) == 1
        both(bobs, "approve('default', %s)", digests.pop())
        assert nodes[1].cycle() == "staged"
        assert nodes[0].one("SELECT price FROM farmsync.staged_prices") == str(n)


# --- what differs


def differences(db, first="NULL", second="NULL"):
    return sorted(db.run("CALL farmsync.show_difference('default', %s, %s)" % (first, second)), key=repr)


def test_what_the_next_promotion_would_change(shop):
    shop.script("UPDATE shop.price SET price = 5, name = 'ä☀' WHERE sku = 'b'; DELETE FROM shop.price WHERE sku = 'c';"
                "INSERT INTO shop.price VALUES ('d\"', 4, NULL)")
    assert differences(shop) == [
        ("prices", '["b"]', "changed", "name", None, "ä☀"),
        ("prices", '["b"]', "changed", "price", "2.00", "5.00"),
        ("prices", '["c"]', "removed", None, '{"price": "3.00", "name": "C"}', None),
        ("prices", '["d\\""]', "added", None, None, '{"price": "4.00", "name": null}'),
    ]


def test_between_versions_both_ways(shop):
    shop.run("CALL farmsync.set_approval('default', 'off')")
    shop.script("UPDATE shop.price SET price = 5 WHERE sku = 'b'; DELETE FROM shop.price WHERE sku = 'c'")
    assert shop.cycle() == "staged"
    shop.script("UPDATE shop.price SET price = 2 WHERE sku = 'b'; INSERT INTO shop.price VALUES ('e', 1, 'E'), ('f', 1, 'F')")
    assert shop.cycle() == "staged"
    shop.script("DELETE FROM shop.price WHERE sku = 'f'; UPDATE shop.price SET name = 'B' WHERE sku = 'b'")
    assert shop.cycle() == "staged"
    c, e = '{"price": "3.00", "name": "C"}', '{"price": "1.00", "name": "E"}'
    assert differences(shop, 1, 2) == [("prices", '["b"]', "changed", "price", "2.00", "5.00"), ("prices", '["c"]', "removed", None, c, None)]
    assert differences(shop, 2, 1) == [("prices", '["b"]', "changed", "price", "5.00", "2.00"), ("prices", '["c"]', "added", None, None, c)]
    assert differences(shop, 1, 4) == [
        ("prices", '["b"]', "changed", "name", None, "B"),
        ("prices", '["c"]', "removed", None, c, None),
        ("prices", '["e"]', "added", None, None, e),
    ]
    assert [row[2] for row in differences(shop, 4, 1)] == ["changed", "added", "removed"]
    assert differences(shop, 3, 3) == [] == differences(shop, "NULL", 4) == differences(shop)
    assert len(differences(shop, 0, 1)) == 3 and {row[2] for row in differences(shop, 1, 0)} == {"removed"}


def test_counts_are_of_all_and_keys_up_to_the_limit(shop):
    shop.run("INSERT INTO shop.price SELECT CONCAT('n', LPAD(seq, 4, '0')), seq, 'x' FROM seq_1_to_1500")
    shop.run("UPDATE shop.price SET name = 'same'")

    def both_tables(limit):
        shop.run("SET @farmsync_limit = %s" % limit)
        tables = []
        with shop.connection.cursor() as cursor:
            cursor.execute("CALL farmsync.show_difference('default', NULL, NULL)")
            while cursor.description:
                tables.append(list(cursor.fetchall()))
                cursor.nextset()
        return tables

    rows, counts = both_tables("NULL")
    assert counts == [("prices", "1500", "0", "3")] and len(rows) == 1003
    rows, counts = both_tables("2")
    assert counts == [("prices", "1500", "0", "3")]
    assert [row[1] for row in rows] == ['["n0001"]', '["n0002"]', '["a"]', '["b"]']
    shop.run("SET @farmsync_limit = 'x'")
    assert "FS1108" in shop.refused("CALL farmsync.show_difference('default', NULL, NULL)")


def test_differences_of_every_type(shop):
    shop.run("CALL farmsync.set_approval('default', 'off')")
    shop.script(
        "CREATE TABLE shop.k (id BINARY(2), n INT, b BIT(8), f FLOAT, d DOUBLE, t TIMESTAMP(3) NULL, j JSON, bl BLOB, `a``'\"b` INT,"
        " l CHAR(5) CHARACTER SET latin1, lt LONGTEXT, PRIMARY KEY (id, n));"
        "INSERT INTO shop.k (id, n) VALUES (0x00ff, 7);"
        "CALL farmsync.add_dataset('k', 'shop.k', 'id,n');"
    )
    assert shop.cycle() == "staged"
    shop.run("UPDATE shop.k SET b = 5, f = 0.1, d = 0.1, t = '2020-01-01 00:00:00.5', j = '{\"a\": [1]}', bl = 0x0001, `a``'\"b` = 1,"
             " l = 'ä', lt = REPEAT('ä', 70000)")
    expected = {"b": "5", "f": "0.1", "d": "0.1", "t": "2020-01-01 00:00:00.500", "j": '{"a": [1]}', "bl": "0001", "a`'\"b": "1",
                "l": "ä", "lt": "ä" * 70000}
    pending = differences(shop)
    assert {row[1] for row in pending} == {'["00FF", 7]'}
    assert {row[3]: row[5] for row in pending} == expected
    assert shop.cycle() == "staged"
    assert {row[3]: row[5] for row in differences(shop, 2, 3)} == expected
    assert {row[3]: row[4] for row in differences(shop, 3, 2)} == expected


def test_a_table_of_keys_alone(shop):
    shop.run("CALL farmsync.set_approval('default', 'off')")
    shop.script("CREATE TABLE shop.k (id INT PRIMARY KEY); INSERT INTO shop.k VALUES (1); CALL farmsync.add_dataset('k', 'shop.k', 'id')")
    assert shop.cycle() == "staged"
    shop.script("INSERT INTO shop.k VALUES (2); DELETE FROM shop.k WHERE id = 1")
    assert differences(shop) == [("k", "[1]", "removed", None, "{}", None), ("k", "[2]", "added", None, None, "{}")]
