# SPDX-License-Identifier: Apache-2.0
"""Checks: what is wrong is not staged, and the sentence says what and where; a rule can do nothing but look."""

import pytest

from sql_fixtures import Session, Threads

pytest_plugins = ["sql_fixtures"]


@pytest.fixture
def shop(db):
    """100 prices and 8 articles of stock, in version 1."""
    db.script(
        "CREATE TABLE shop.price (sku VARCHAR(32) PRIMARY KEY, price DECIMAL(10,2), name VARCHAR(100), valid_to DATETIME);"
        "INSERT INTO shop.price (sku, price, name) SELECT CONCAT('s', LPAD(seq, 3, '0')), seq, 'thing' FROM seq_1_to_100;"
        "CREATE TABLE shop.stock (place INT, sku VARCHAR(32), amount INT, PRIMARY KEY (place, sku));"
        "INSERT INTO shop.stock SELECT seq, CONCAT('s', LPAD(seq, 3, '0')), seq FROM seq_1_to_8;"
        "CALL farmsync.add_dataset('prices', 'shop.price', 'sku');"
        "CALL farmsync.add_dataset('stock', 'shop.stock', 'place,sku');"
    )
    assert db.cycle() == "staged"
    return db


def version(db):
    return int(db.one("SELECT version FROM farmsync.sync WHERE group_name = 'default'"))


def dry_run(db, group="default"):
    """{(what, dataset, name): (result, rows, detail)}"""
    return {row[:3]: row[3:] for row in db.run("CALL farmsync.dry_run(%s)", group)}


# --- rules


def test_a_rule_stops_the_promotion_whole(shop):
    shop.run("CALL farmsync.add_check('prices', 'positive', 'price <= 0')")
    shop.run("UPDATE shop.price SET price = 0 WHERE sku IN ('s007', 's003')")
    shop.run("UPDATE shop.price SET price = 5 WHERE sku = 's001'")
    text = shop.refused_cycle()
    assert text == (
        "FS1090: dataset prices: 2 rows break the rule positive (price <= 0): [\"s003\"], [\"s007\"]; "
        "correct production, or CALL farmsync.drop_check('prices', 'positive')"
    )
    assert version(shop) == 1
    assert shop.one("SELECT price FROM farmsync.staged_prices WHERE sku = 's001'") == "1.00"
    row = shop.sync()
    assert (row["state"], row["reason"]) == ("failed", text)
    assert shop.run("SELECT action, detail FROM farmsync.history ORDER BY id DESC LIMIT 1") == [("refused", text)]
    shop.run("UPDATE shop.price SET price = 1 WHERE price = 0")
    assert shop.cycle() == "staged"
    assert shop.sync()["state"] == "running"


def test_of_many_the_first_five_are_named(shop):
    shop.run("CALL farmsync.add_check('stock', 'few', 'amount > 100')")
    shop.run("UPDATE shop.stock SET amount = 1000")
    text = shop.refused_cycle()
    assert '8 rows break the rule few (amount > 100): [1, "s001"], [2, "s002"], [3, "s003"], [4, "s004"], [5, "s005"], ...;' in text


def test_rows_that_were_there_before_the_rule_count_at_the_next_version(shop):
    shop.run("UPDATE shop.price SET price = -1 WHERE sku = 's050'")
    assert shop.cycle() == "staged"
    assert shop.run("CALL farmsync.add_check('prices', 'positive', 'price <= 0')")[0][2] == "1"
    assert shop.cycle() == "unchanged"
    shop.run("UPDATE shop.price SET price = 2 WHERE sku = 's001'")
    assert '1 row breaks the rule positive (price <= 0): ["s050"]' in shop.refused_cycle()
    shop.run("UPDATE shop.price SET price = 2 WHERE sku = 's050'")
    assert shop.cycle() == "staged"


def test_only_what_a_version_brings_is_looked_at(shop):
    shop.run("CALL farmsync.add_check('prices', 'positive', 'price <= 0')")
    shop.run("UPDATE shop.price SET price = 2 WHERE sku = 's001'")
    assert shop.cycle() == "staged"
    assert shop.one("SELECT passed FROM farmsync.dataset_check") == "2"
    shop.run("UPDATE farmsync.data_prices SET price = -1 WHERE sku = 's099'")  # a row that has passed
    shop.run("UPDATE shop.price SET price = -1 WHERE sku = 's099'")
    shop.run("UPDATE shop.price SET price = 3 WHERE sku = 's001'")
    assert shop.cycle() == "staged"
    shop.run("UPDATE farmsync.dataset_check SET passed = 1")  # a version that came in another way
    shop.run("UPDATE shop.price SET price = 4 WHERE sku = 's001'")
    assert "FS1090" in shop.refused_cycle()


def test_a_rule_about_time_looks_at_every_row(shop):
    shop.run("CALL farmsync.add_check('prices', 'fresh', 'valid_to < UTC_TIMESTAMP()')")
    shop.run("UPDATE shop.price SET valid_to = UTC_TIMESTAMP() + INTERVAL 1 HOUR WHERE sku = 's001'")
    assert shop.cycle() == "staged"
    shop.run("UPDATE farmsync.data_prices SET valid_to = '2001-01-01' WHERE sku = 's001'")
    shop.run("UPDATE shop.price SET valid_to = '2001-01-01' WHERE sku = 's001'")
    shop.run("UPDATE shop.price SET price = 4 WHERE sku = 's002'")
    assert '["s001"]' in shop.refused_cycle()


GOOD = [
    "price <= 0",
    "`price` <= 0 or `PRICE` > 1e6",
    "price IS NULL OR NOT (price BETWEEN 0.01 AND 99999)",
    "name NOT REGEXP '^[a-z]+$'",
    "name = 'it''s' OR name = 'a\\'b' OR name = \"x\"",
    "name LIKE '%;--%' OR name = '/* x */' OR name = '@x'",
    "CASE WHEN price > 10 THEN CHAR_LENGTH (name) < 3 ELSE FALSE END",
    "valid_to < NOW() - INTERVAL 1 DAY",
    "price IN (1.5, -2, .5, 2e-3) XOR sku = ''",
    "CAST(price AS DECIMAL(10,1)) <> price AND 1 = 2",
    "name COLLATE utf8mb4_bin <> LOWER(name)",
    "price - -1 < 0 || price<=-5&&name<>''",
    "JSON_VALID(name) AND price < 0",
    "IF(price>5,sku,name)=''",
    "name = 'ä☀' AND (((price))) < 0",
]


@pytest.mark.parametrize("rule", GOOD)
def test_rules_that_compute(shop, rule):
    assert shop.run("CALL farmsync.add_check('prices', 'r', %s)", rule)[0][2] is not None
    shop.run("UPDATE shop.price SET price = 7.5 WHERE sku = 's009'")
    assert shop.cycle() == "staged" or "FS1090" in shop.refused_cycle()


def test_a_rule_means_what_the_database_would_make_of_it(shop):
    shop.script("CREATE TABLE shop.odd (id INT PRIMARY KEY, `a``b` INT, `year` INT, `größe` INT, `select` INT);"
                "INSERT INTO shop.odd VALUES (1, 1, 1990, 5, 2), (2, NULL, 2020, 6, 3), (3, 9, 2021, 7, 1)")
    shop.run("CALL farmsync.add_dataset('odd', 'shop.odd', 'id')")
    assert shop.cycle() == "staged"
    for n, rule in enumerate(["`a``b` > 5", "`a``b` IS NULL", "year < 2000", "größe = 6 OR GRÖSSE IS NULL", "größe >= 6",
                              "`select` * 2 + 1 > 5", "YEAR('2020-01-01') = year", "id DIV 2 = 1 AND MOD(id,2)=1",
                              "id/**/=1", "- id = -2", "NOT id", "id & 1 <=> `select` & 1", "id<<1=4", "~id & 1"]):
        if "GRÖSSE" in rule or "/*" in rule:
            assert "FS109" in shop.refused("CALL farmsync.add_check('odd', %s, %s)", "r%d" % n, rule)
            continue
        expected = shop.one("SELECT COUNT(*) FROM shop.odd WHERE (%s)" % rule)
        assert shop.run("CALL farmsync.add_check('odd', %s, %s)", "r%d" % n, rule)[0][2] == expected, rule


BAD = [
    "price <= 0) OR (SELECT 1",
    "(SELECT COUNT(*) FROM mysql.user) > 0",
    "EXISTS (SELECT 1 FROM shop.stock)",
    "price IN (SELECT price FROM shop.price)",
    "price IN (TABLE shop.stock)",
    "price < 0 UNION SELECT 1",
    "price < 0; DROP TABLE farmsync.sync",
    "price < 0 -- x",
    "price < 0 # x",
    "price < 0 /* x",
    "price < 0 /*! OR 1 */",
    "price < 0 INTO @x",
    "price < 0 INTO OUTFILE '/tmp/x'",
    "@x := price",
    "@farmsync_sql IS NULL",
    "@@version = 1",
    "SLEEP(10)",
    "`SLEEP`(10)",
    "sleep (10) = 0",
    "GET_LOCK('x', 100)",
    "BENCHMARK(1e9, MD5('x'))",
    "LOAD_FILE('/etc/passwd') IS NOT NULL",
    "farmsync.fail('x')",
    "d.price < 0",
    "NEXTVAL(x)",
    "NEXT VALUE FOR x",
    "LAST_INSERT_ID(5)",
    "RAND() > 0.5",
    "SUM(price) > 5",
    "COUNT(*) > 5",
    "ROW_NUMBER() OVER () > 3",
    "price < 0 LIMIT 1",
    "price < 0 FOR UPDATE",
    "price < 0 PROCEDURE ANALYSE()",
    "fs_from > 1",
    "nothing > 1",
    "price <",
    "price < 0)",
    "(price < 0",
    ")price(",
    "'open",
    "\"open",
    "`open",
    "'a\\",
    "{x}",
    "?",
    ":x",
    "price = 'x' 'y' z",
    "USER() = 'x'",
    "VALUES(price)",
    "MATCH(name) AGAINST ('x')",
    "price < 0 WINDOW w AS ()",
    "CONVERT(price, SIGNED) = EXTRACTVALUE('<a/>', '/a')",
    "",
    "   ",
    "\x00",
    "price < 0\x00",
    "x" * 2001,
]


@pytest.mark.parametrize("rule", BAD)
def test_what_else_a_rule_says_is_refused(shop, rule):
    before = shop.one("SELECT COUNT(*) FROM farmsync.history")
    text = shop.refused("CALL farmsync.add_check('prices', 'r', %s)", rule)
    assert text.startswith(("FS1095: ", "FS1096: ")), text
    assert shop.run("SELECT * FROM farmsync.dataset_check") == []
    assert shop.one("SELECT COUNT(*) FROM farmsync.history") == before


def test_a_rule_that_can_no_longer_be_evaluated_stops_the_promotion(shop):
    shop.run("CALL farmsync.add_check('prices', 'r', %s)", "POW(price, 100) < 0")
    shop.run("UPDATE shop.price SET price = 99999 WHERE sku = 's001'")
    text = shop.refused_cycle()
    assert text.startswith("FS1096: dataset prices: rule r can't be evaluated: ") and "drop_check('prices', 'r')" in text
    assert dry_run(shop)["check", "prices", "r"][0] == "failed"
    # A session that keeps no errors has no sentence for it, and is refused all the same.
    shop.run("SET SESSION max_error_count = 0")
    assert dry_run(shop)["outcome", None, "promotion"][0] == "refused"
    shop.make_due()
    assert "can't be evaluated: the session keeps no errors" in shop.refused_cycle()


@pytest.mark.parametrize(
    "call,number",
    [
        ("add_check('none', 'r', 'price < 0')", "FS1029"),
        ("add_check(NULL, 'r', 'price < 0')", "FS1029"),
        ("add_check('prices', 'a b', 'price < 0')", "FS1097"),
        ("add_check('prices', '', 'price < 0')", "FS1097"),
        ("add_check('prices', NULL, 'price < 0')", "FS1097"),
        ("add_check('prices', 'max_gone', 'price < 0')", "FS1097"),
        ("add_check('prices', 'there', 'price < 0')", "FS1097"),
        ("add_check('prices', 'r', NULL)", "FS1095"),
        ("drop_check('prices', 'none')", "FS1097"),
        ("drop_check('prices', NULL)", "FS1097"),
        ("drop_check('none', 'r')", "FS1029"),
        ("add_reference('stock', 'sku', 'none')", "FS1029"),
        ("add_reference('none', 'sku', 'prices')", "FS1029"),
        ("add_reference('stock', 'sku,amount', 'prices')", "FS1099"),
        ("add_reference('stock', 'none', 'prices')", "FS1099"),
        ("add_reference('stock', '', 'prices')", "FS1099"),
        ("add_reference('stock', NULL, 'prices')", "FS1099"),
        ("add_reference('stock', 'amount', 'prices')", "FS1099"),
        ("add_reference('prices', 'sku', 'stock')", "FS1099"),
        ("set_limits('none', '{}')", "FS1029"),
        ("set_limits('prices', '[]')", "FS1098"),
        ("set_limits('prices', 'x')", "FS1098"),
        ("set_limits('prices', '{\"rows\": 1}')", "FS1098"),
        ("set_limits('prices', '{\"min_rows\": -1}')", "FS1098"),
        ("set_limits('prices', '{\"min_rows\": 1.5}')", "FS1098"),
        ("set_limits('prices', '{\"max_gone\": 101}')", "FS1098"),
        ("set_limits('prices', '{\"max_gone\": \"x\"}')", "FS1098"),
        ("set_limits('prices', '{\"max_changed\": []}')", "FS1098"),
        ("set_limits('prices', '{\"small\": true}')", "FS1098"),
        ("allow_once('none')", "FS1003"),
        ("allow_once(NULL)", "FS1003"),
        ("dry_run('none')", "FS1003"),
        ("dry_run(NULL)", "FS1003"),
    ],
)
def test_wrong_arguments_change_nothing(shop, call, number):
    shop.run("CALL farmsync.add_check('prices', 'there', 'price < 0')")
    tables = ("history", "dataset_check", "dataset_limits", "group_gate", "sync")
    before = [shop.run("SELECT * FROM farmsync.%s" % table) for table in tables]
    text = shop.refused("CALL farmsync." + call)
    assert text.startswith(number + ": "), text
    assert [shop.run("SELECT * FROM farmsync.%s" % table) for table in tables] == before


# --- limits


def test_a_truncate_by_mistake_is_not_promoted(shop):
    shop.run("TRUNCATE shop.price")
    text = shop.refused_cycle()
    assert text.startswith("FS1091: dataset prices would have 0 rows, it had 100 (min_rows 1): [\"s001\"], [\"s002\"], ")
    assert "CALL farmsync.allow_once('default')" in text and "(1 more: CALL farmsync.dry_run('default'))" in text
    assert version(shop) == 1 and shop.one("SELECT COUNT(*) FROM farmsync.staged_prices") == "100"


def test_a_small_dataset_is_protected_from_being_emptied(shop):
    shop.run("DELETE FROM shop.stock")
    assert "dataset stock would have 0 rows, it had 8" in shop.refused_cycle()
    shop.run("INSERT INTO shop.stock VALUES (1, 's001', 1)")
    assert shop.cycle() == "staged"
    shop.run("DELETE FROM shop.stock")
    assert shop.cycle() == "staged"


def test_most_rows_gone(shop):
    shop.run("DELETE FROM shop.price WHERE price > 50")
    assert shop.cycle() == "staged"
    shop.run("DELETE FROM shop.price WHERE price > 24")
    assert shop.refused_cycle().startswith("FS1092: dataset prices would lose 26 of its 50 rows (max_gone 50 %): [\"s025\"]")


def test_what_comes_instead_of_rows_that_go_does_not_count(shop):
    shop.run("UPDATE shop.price SET sku = CONCAT('x', sku)")
    assert shop.refused_cycle().startswith("FS1092: dataset prices would lose 100 of its 100 rows")
    shop.run("UPDATE shop.price SET sku = SUBSTRING(sku, 2), price = price + 1")
    assert shop.cycle() == "staged"  # all changed: no limit unless one is set


def test_limits_of_ones_own(shop):
    shop.run("CALL farmsync.set_limits('prices', '{\"min_rows\": 90, \"max_changed\": 2.5, \"max_gone\": 100}')")
    shop.run("UPDATE shop.price SET price = 1 WHERE price BETWEEN 2 AND 4")
    assert shop.refused_cycle().startswith("FS1093: dataset prices would change 3 of its 100 rows (max_changed 2.5 %): [\"s002\"], [\"s003\"]")
    shop.run("UPDATE shop.price SET price = 4 WHERE sku = 's004'")
    assert shop.cycle() == "staged"
    shop.run("DELETE FROM shop.price WHERE price > 89")
    assert "would have 89 rows, it had 100 (min_rows 90)" in shop.refused_cycle()
    shop.run("CALL farmsync.set_limits('prices', '{\"min_rows\": 0, \"max_gone\": 100}')")
    shop.run("TRUNCATE shop.price")
    assert shop.cycle() == "staged"
    rules = dict(shop.run("SELECT name, rule FROM farmsync.checks WHERE dataset = 'prices'"))
    assert rules == {"min_rows": "at least 0 rows", "max_gone": "at most 100 % of the rows gone, from 20 rows on", "max_changed": "no limit"}
    shop.run("CALL farmsync.set_limits('prices', NULL)")
    assert shop.one("SELECT rule FROM farmsync.checks WHERE dataset = 'prices' AND name = 'min_rows'") == "not empty, if it had 5 rows or more"


def test_percentages_count_from_a_size_on(shop):
    shop.run("CALL farmsync.set_limits('prices', '{\"small\": 101}')")
    shop.run("DELETE FROM shop.price WHERE price > 1")
    assert shop.cycle() == "staged"


def test_the_first_version_must_have_the_rows_that_were_asked_for(shop):
    shop.run("CREATE TABLE shop.empty (id INT PRIMARY KEY)")
    shop.run("CALL farmsync.add_dataset('empty', 'shop.empty', 'id')")
    shop.run("CALL farmsync.set_limits('empty', '{\"min_rows\": 1}')")
    assert "dataset empty would have 0 rows, it had 0 (min_rows 1)" in shop.refused_cycle()
    shop.run("CALL farmsync.set_limits('empty', NULL)")
    assert shop.cycle() == "staged"


def test_this_time_it_is_meant(shop):
    shop.run("CALL farmsync.add_check('prices', 'positive', 'price <= 0')")
    shop.run("TRUNCATE shop.price")
    shop.run("INSERT INTO shop.price (sku, price) VALUES ('new', 0)")
    shop.refused_cycle()
    shop.run("SET @farmsync_comment = 'new range'")
    shop.run("CALL farmsync.allow_once('default')")
    assert shop.one("SELECT limits_allowed_by FROM farmsync.approval") == "root@localhost"
    assert "FS1090" in shop.refused_cycle()  # rules aren't allowed with it
    shop.run("UPDATE shop.price SET price = 1")
    assert shop.cycle() == "staged"
    rows = shop.run("SELECT action, comment, detail FROM farmsync.history WHERE action IN ('allow_once', 'limits_passed') ORDER BY id")
    assert rows[0] == ("allow_once", "new range", "")
    assert rows[1][0] == "limits_passed" and rows[1][2].startswith("allowed by root@localhost: FS1092: dataset prices would lose 100")
    shop.run("INSERT INTO shop.price (sku, price) SELECT CONCAT('s', seq), seq FROM seq_1_to_100")
    assert shop.cycle() == "staged"
    shop.run("DELETE FROM shop.price")
    assert "FS1091" in shop.refused_cycle()  # once


def test_an_allowance_ends_after_a_day(shop):
    shop.run("CALL farmsync.allow_once('default')")
    shop.run("UPDATE farmsync.group_gate SET allowed_at = allowed_at - INTERVAL 25 HOUR")
    shop.run("TRUNCATE shop.price")
    assert "FS1091" in shop.refused_cycle()
    assert shop.one("SELECT limits_allowed_by FROM farmsync.approval") is None


@pytest.mark.parametrize("how", ['"triggers"', '{"column": "serial"}'])
def test_limits_where_changes_are_found_cheaply(db, how):
    db.run("CREATE TABLE shop.t (id INT PRIMARY KEY, serial INT, KEY (serial))")
    db.run("INSERT INTO shop.t SELECT seq, seq FROM seq_1_to_30")
    db.run("CALL farmsync.add_dataset_with('t', 'shop.t', 'id', %s)", '{"changes": %s}' % how)
    assert db.cycle() == "staged" and db.cycle() == "unchanged"
    db.run("TRUNCATE shop.t")
    assert "would have 0 rows, it had 30" in db.refused_cycle()
    db.run("INSERT INTO shop.t SELECT seq, seq + 100 FROM seq_1_to_30")
    assert db.cycle() == "staged"


# --- references


def test_references(shop):
    assert shop.run("CALL farmsync.add_reference('stock', 'sku', 'prices')")[0][:3] == ("stock", "refers_prices", "0")
    shop.run("INSERT INTO shop.stock VALUES (9, 'gone', 1)")
    text = shop.refused_cycle()
    assert text.startswith('FS1094: dataset stock: 1 row breaks the reference refers_prices (sku of prices): [9, "gone"]; ')
    shop.run("UPDATE shop.stock SET sku = 'S001' WHERE place = 9")  # found by collation, but not by who reads it
    assert "FS1094" in shop.refused_cycle()
    shop.run("UPDATE shop.stock SET sku = 's100' WHERE place = 9")
    assert shop.cycle() == "staged"
    shop.run("UPDATE shop.price SET price = price + 1")
    assert shop.cycle() == "staged"
    shop.run("DELETE FROM shop.price WHERE sku = 's100'")  # the other side goes
    assert '[9, "s100"]' in shop.refused_cycle()
    shop.run("DELETE FROM shop.stock WHERE place = 9")
    assert shop.cycle() == "staged"


def test_null_refers_to_nothing(db):
    db.script("CREATE TABLE shop.tree (id INT PRIMARY KEY, parent INT); INSERT INTO shop.tree VALUES (1, NULL), (2, 1)")
    db.run("CALL farmsync.add_dataset('tree', 'shop.tree', 'id')")
    assert db.cycle() == "staged"
    db.run("CALL farmsync.add_reference('tree', 'parent', 'tree')")
    db.run("INSERT INTO shop.tree VALUES (3, 4)")
    assert "[3]" in db.refused_cycle()
    db.run("INSERT INTO shop.tree VALUES (4, 3)")
    assert db.cycle() == "staged"
    db.run("CALL farmsync.drop_dataset('tree')")


def test_references_between_character_sets(db):
    db.script("CREATE TABLE shop.a (id VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_german1_ci PRIMARY KEY);"
              "CREATE TABLE shop.b (n INT PRIMARY KEY, a VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin);"
              "INSERT INTO shop.a VALUES ('größe'); INSERT INTO shop.b VALUES (1, 'größe')")
    db.run("CALL farmsync.add_dataset('a', 'shop.a', 'id')")
    db.run("CALL farmsync.add_dataset('b', 'shop.b', 'n')")
    assert db.cycle() == "staged"
    assert db.run("CALL farmsync.add_reference('b', 'a', 'a')")[0][2] == "0"
    db.run("INSERT INTO shop.b VALUES (2, 'grosse'), (3, '☀')")
    assert "2 rows break the reference refers_a (a of a): [2], [3]" in db.refused_cycle()


def test_a_dataset_that_is_referred_to_stays(shop):
    shop.run("CALL farmsync.add_reference('stock', 'sku', 'prices')")
    text = shop.refused("CALL farmsync.drop_dataset('prices')")
    assert text == "FS1107: dataset prices stays: check stock refers_prices refers to it; CALL farmsync.drop_check('stock', 'refers_prices') first"
    shop.run("CALL farmsync.drop_check('stock', 'refers_prices')")
    shop.run("CALL farmsync.drop_dataset('prices')")
    assert shop.cycle() == "staged"


def test_references_stay_in_a_group(shop):
    shop.run("CALL farmsync.add_group('other')")
    shop.run("CREATE TABLE shop.o (sku VARCHAR(32) PRIMARY KEY)")
    shop.run("CALL farmsync.add_dataset_with('o', 'shop.o', 'sku', '{\"group\": \"other\"}')")
    assert shop.refused("CALL farmsync.add_reference('stock', 'sku', 'o')").startswith("FS1099: ")


def test_checks_go_with_their_dataset(shop):
    shop.run("CALL farmsync.add_check('prices', 'positive', 'price <= 0')")
    shop.run("CALL farmsync.set_limits('prices', '{\"min_rows\": 9}')")
    shop.run("CALL farmsync.drop_dataset('prices')")
    assert shop.cycle() == "staged" and shop.cycle() == "unchanged"
    shop.run("CALL farmsync.prune('default', 1000)")
    shop.run("CALL farmsync.add_dataset('prices', 'shop.price', 'sku')")
    assert shop.run("SELECT * FROM farmsync.dataset_check") == [] == shop.run("SELECT * FROM farmsync.dataset_limits")


# --- dry run


def test_a_dry_run_tells_all_and_changes_nothing(shop):
    shop.run("CALL farmsync.add_check('prices', 'positive', 'price <= 0')")
    shop.run("CALL farmsync.add_check('stock', 'some', 'amount < 1')")
    shop.run("UPDATE shop.price SET price = 0 WHERE sku = 's001'")
    shop.run("DELETE FROM shop.stock WHERE place = 8")
    shop.run("INSERT INTO shop.stock VALUES (10, 's010', 10), (11, 's011', 11)")
    shop.run("CALL farmsync.hold('default')")
    tables = ("history", "dataset_check", "group_gate", "sync", "data_prices", "data_stock", "image")
    before = [shop.run("SELECT * FROM farmsync.%s" % table) for table in tables]
    said = dry_run(shop)
    assert [shop.run("SELECT * FROM farmsync.%s" % table) for table in tables] == before
    assert said["change", "prices", "changed"][1] == "1" and said["change", "prices", "new"][1] == "0"
    assert [said["change", "stock", name][1] for name in ("new", "changed", "gone")] == ["2", "0", "1"]
    assert said["check", "prices", "positive"][:2] == ("failed", "1")
    assert said["check", "stock", "some"][:2] == ("ok", "0")
    assert said["check", "stock", "max_gone"][:2] == ("ok", "1")
    assert said["outcome", None, "promotion"][0] == "refused"
    assert said["outcome", None, "promotion"][2].startswith("FS1090: dataset prices: 1 row breaks")
    assert ("outcome", None, "digest") not in said  # that is for groups which need approval
    shop.run("UPDATE shop.price SET price = 1 WHERE sku = 's001'")
    assert dry_run(shop)["outcome", None, "promotion"][:2] == ("staged", "3")
    shop.script("DELETE FROM shop.stock WHERE place > 9; INSERT INTO shop.stock VALUES (8, 's008', 8)")
    assert dry_run(shop)["outcome", None, "promotion"][:2] == ("unchanged", None)


def test_a_dry_run_tells_why_production_cannot_be_read(shop):
    shop.run("RENAME TABLE shop.price TO shop.moved")
    said = dry_run(shop)
    assert said["outcome", None, "promotion"][0] == "refused" and "FS1033" in said["outcome", None, "promotion"][2]
    assert shop.one("SELECT @@SESSION.tx_isolation") == "READ-COMMITTED"


def test_a_dry_run_leaves_the_session_as_it_was(shop, connect):
    user = connect()
    user.run("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    user.run("SET SESSION time_zone = '+02:00', SESSION group_concat_max_len = 5000")
    dry_run(user)
    user.refused("CALL farmsync.dry_run('none')")
    settings = "SELECT @@SESSION.tx_isolation, @@SESSION.time_zone, @@SESSION.group_concat_max_len"
    assert user.run(settings) == [("REPEATABLE-READ", "+02:00", "5000")]


def test_a_dry_run_of_nothing(db):
    assert db.run("CALL farmsync.dry_run('default')") == [("outcome", None, "promotion", "unchanged", None, "")]


# --- rights, and in the middle of a promotion


CALLS = [
    "add_check('prices', 'r', 'price < 0')", "drop_check('prices', 'there')", "add_reference('stock', 'sku', 'prices')",
    "set_limits('prices', '{}')", "allow_once('default')", "dry_run('default')", "show_difference('default', NULL, NULL)",
]


@pytest.mark.parametrize("call", CALLS)
def test_rights(shop, connect, call):
    shop.run("CALL farmsync.add_check('prices', 'there', 'price <= 0')")
    for role in ("farmsync_agent", "farmsync_datasrv", "farmsync_operator"):
        name = role.replace("farmsync_", "u_")
        shop.run("CREATE OR REPLACE USER %s@localhost" % name)
        shop.run("GRANT %s TO %s@localhost" % (role, name))
        shop.run("SET DEFAULT ROLE %s FOR %s@localhost" % (role, name))
        user = connect(user=name)
        if role == "farmsync_operator":
            user.run("CALL farmsync." + call)
        else:
            assert "denied" in user.refused("CALL farmsync." + call)


@pytest.mark.parametrize("call", CALLS[:6])
def test_in_the_middle_of_a_promotion(shop, connect, call):
    """Waits for it: fails by time-out while it lasts, and sees what it has made after that."""
    shop.run("CALL farmsync.add_check('prices', 'there', 'price <= 0')")
    shop.run("UPDATE shop.price SET price = 3 WHERE sku = 's001'")
    shop.make_due()
    other = connect()
    other.run("SET SESSION innodb_lock_wait_timeout = 1")
    epoch = shop.epoch()
    shop.run("START TRANSACTION")
    assert shop.run("CALL farmsync.promote('default', %s, 'test')", epoch)[0][0] == "staged"
    assert "Lock wait timeout" in other.refused("CALL farmsync." + call)
    shop.images(2)
    shop.run("COMMIT")
    other.run("CALL farmsync." + call)


def test_at_once_on_two_nodes(galera):
    """One of two who add the same check is told so, by the database or by a sentence; both see one check."""
    nodes = [Session(node) for node in galera[:2]]
    nodes[0].script("CREATE TABLE shop.price (sku INT PRIMARY KEY, price INT); INSERT INTO shop.price VALUES (1, 1)")
    nodes[0].run("CALL farmsync.add_dataset('prices', 'shop.price', 'sku')")
    for n in range(10):
        said = {}

        def act(i):
            try:
                nodes[i].run("CALL farmsync.add_check('prices', %s, 'price < 0')", "r%d" % n)
                said[i] = "done"
            except Exception as error:  # pylint: disable=broad-except
                said[i] = error.args

        threads = Threads()
        threads.start(act, 0)
        threads.start(act, 1)
        threads.join()
        lost = [text for text in said.values() if text != "done"]
        assert len(lost) == 1 and (lost[0][0] in (1205, 1213) or "FS1097" in lost[0][1]), said
        assert nodes[1].one("SELECT COUNT(*) FROM farmsync.dataset_check") == str(n + 1)
        assert nodes[0].one("SELECT COUNT(*) FROM farmsync.history WHERE action = 'add_check'") == str(n + 1)


@pytest.mark.limit(300)
def test_every_other_act_at_once_on_two_nodes(galera):
    """Each is done, or lost to the other by an error of the database; what was done is in history, on both nodes."""
    nodes = [Session(node) for node in galera[:2]]
    nodes[0].script("CREATE TABLE shop.price (sku INT PRIMARY KEY, price INT); INSERT INTO shop.price VALUES (1, 1);"
                    "CREATE TABLE shop.stock (sku INT PRIMARY KEY); CALL farmsync.add_dataset('prices', 'shop.price', 'sku');"
                    "CALL farmsync.add_dataset('stock', 'shop.stock', 'sku')")
    assert nodes[0].cycle() == "staged"

    def both(call):
        done = []

        def act(node):
            try:
                node.run("CALL farmsync." + call)
                done.append(node)
            except Exception as error:  # pylint: disable=broad-except
                assert error.args[0] in (1205, 1213) or "FS1097" in error.args[1] or "FS1103" in error.args[1], error.args

        threads = Threads()
        for node in nodes:
            threads.start(act, node)
        threads.join()
        assert done
        return len(done)

    for action, call in (
        ("set_limits", "set_limits('prices', '{\"min_rows\": 1}')"), ("allow_once", "allow_once('default')"),
        ("add_reference", "add_reference('stock', 'sku', 'prices')"), ("drop_check", "drop_check('stock', 'refers_prices')"),
        ("set_approval", "set_approval('default', 'on')"), ("dry_run", "dry_run('default')"), (None, "show_difference('default', 0, 1)"),
        ("request_approval", "request_approval('default')"), ("reject", "reject('default')"),
        ("set_approval", "set_approval('default', 'off')"),
    ):
        count = "SELECT COUNT(*) FROM farmsync.history WHERE action = '%s'" % action
        nodes[0].run("UPDATE shop.price SET price = price + 1")
        before = int(nodes[0].one(count))
        done = both(call)
        for node in nodes:
            assert int(node.one(count)) - before == (0 if action in (None, "dry_run") else done), call
    rows = [node.run("SELECT * FROM farmsync.group_gate") + node.run("SELECT * FROM farmsync.dataset_check")
            + node.run("SELECT * FROM farmsync.dataset_limits") for node in nodes]
    assert rows[0] == rows[1]
    assert nodes[1].cycle() == "staged"
