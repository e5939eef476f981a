# SPDX-License-Identifier: Apache-2.0
"""add_dataset: every type arrives as it is, and bad input is refused with a sentence that says what to do
and leaves nothing behind (promise 12)."""

import json

import pymysql
import pytest

pytest_plugins = ["sql_fixtures"]


def nothing_left(db):
    assert db.run("SELECT name FROM farmsync.dataset") == []
    assert db.run("SELECT name FROM farmsync.dataset_column") == []
    assert db.run("SHOW TABLES FROM farmsync LIKE 'data\\_%%'") == []


@pytest.fixture
def shop(db):
    db.script(
        """
        CREATE TABLE shop.price (sku VARCHAR(32) PRIMARY KEY, price DECIMAL(10,2), note TEXT);
        INSERT INTO shop.price VALUES ('a', 1.50, 'x'), ('b', 2.50, NULL);
        CREATE TABLE shop.loose (k VARCHAR(10) NULL, n INT, f FLOAT, d DOUBLE, j JSON, t TEXT);
        INSERT INTO shop.loose VALUES ('a', 1, 1, 1, '1', 'x'), ('b', 1, 1, 1, '1', 'x'), ('c', 2, 1, 1, '1', 'x');
        CREATE TABLE shop.holes (k VARCHAR(10) NULL, n INT); INSERT INTO shop.holes VALUES ('a', 1), (NULL, 2);
        CREATE TABLE shop.map (id INT PRIMARY KEY, place GEOMETRY);
        CREATE TABLE shop.clash (id INT PRIMARY KEY, FS_From INT);
        CREATE TABLE shop.wide (id VARCHAR(400), more VARCHAR(400), v INT);
        CREATE VIEW shop.good AS SELECT sku, price * 2 AS twice FROM shop.price;
        CREATE VIEW shop.broken AS SELECT k FROM shop.holes;
        DROP TABLE shop.holes;
        CREATE TABLE shop.holes (k2 VARCHAR(10) NULL, k VARCHAR(10) NULL);
        DROP TABLE shop.holes;
        CREATE TABLE shop.holes (k3 VARCHAR(10) NULL);
        INSERT INTO shop.holes VALUES ('a'), (NULL);
        CREATE DATABASE IF NOT EXISTS secret;
        CREATE TABLE IF NOT EXISTS secret.plans (id INT PRIMARY KEY);
        """
    )
    yield db
    db.script("DROP DATABASE IF EXISTS secret; DROP DATABASE IF EXISTS shop2")


REFUSALS = [
    # name, source, key, options, what the sentence says
    ("a-b", "shop.price", "sku", None, ["FS1010", "letters, digits and _"]),
    ("", "shop.price", "sku", None, ["FS1010"]),
    (None, "shop.price", "sku", None, ["FS1010"]),
    ("x" * 49, "shop.price", "sku", None, ["FS1010", "1 to 48"]),
    ("p`; DROP TABLE x", "shop.price", "sku", None, ["FS1010"]),
    ("p", "shop.nothing", "sku", None, ["FS1016", "`shop`.`nothing`", "schema.table"]),
    ("p", "nowhere.price", "sku", None, ["FS1015", "GRANT SELECT ON `nowhere`.`price`"]),
    ("p", "", "sku", None, ["FS1016"]),
    ("p", None, "sku", None, ["FS1016"]),
    ("p", "nothing", "sku", None, ["FS1016", "write schema.table"]),
    ("p", "shop.", "sku", None, ["FS1016"]),
    ("p", "secret.plans", "id", None, ["FS1015", "GRANT SELECT ON `secret`.`plans` TO 'farmsync'@'localhost'"]),
    ("p", "farmsync.sync", "group_name", None, ["FS1019"]),
    ("p", "shop.broken", "k", None, ["FS1018", "shop"]),
    ("p", "shop.price", "sku,color", None, ["FS1020", "'color'", "name some of: sku, price, note"]),
    ("p", "shop.price", "note", '{"columns": ["sku", "price"]}', ["FS1020", "'note'", "some of: sku, price"]),
    ("p", "shop.price", "sku", '{"json": ["notes"]}', ["FS1020", "'notes'", '"json" some of: sku, note']),
    ("p", "shop.price", "sku", '{"json": ["note", "price"]}', ["FS1020", "'price'", "some of: sku, note"]),
    ("p", "shop.price", "sku", '{"columns": ["sku"], "json": ["note"]}', ["FS1020", "'note'", "some of: sku"]),
    ("p", "shop.price", "sku", '{"columns": ["price"], "json": ["price"]}', ["FS1020", "'price'", "none"]),
    ("p", "shop.price", "", None, ["FS1021", "1 to 16 columns"]),
    ("p", "shop.price", None, None, ["FS1021"]),
    ("p", "shop.price", "sku,sku", None, ["FS1021", "twice"]),
    ("p", "shop.price", "sku,", None, ["FS1021"]),
    ("p", "shop.loose", "f", None, ["FS1022", "f (float)"]),
    ("p", "shop.loose", "d", None, ["FS1022", "d (double)"]),
    ("p", "shop.loose", "t", None, ["FS1022", "t (text)", "CAST"]),
    ("p", "shop.loose", "j", None, ["FS1022"]),
    ("p", "shop.holes", "k3", None, ["FS1023", "NULL"]),
    ("p", "shop.loose", "n", None, ["FS1024", "'1' occurs more than once"]),
    ("p", "shop.map", "id", None, ["FS1025", "place", "geometry", "columns"]),
    ("p", "shop.clash", "id", None, ["FS1026", "FS_From"]),
    ("p", "shop.wide", "id,more", None, ["FS1027", "3064"]),
    ("p", "shop.price", "sku", "{", ["FS1014", "JSON object"]),
    ("p", "shop.price", "sku", "[]", ["FS1014"]),
    ("p", "shop.price", "sku", '{"colums": ["sku"]}', ["FS1014", '"colums"', "group, columns, json, changes"]),
    ("p", "shop.price", "sku", '{"columns": "sku"}', ["FS1014", "arrays"]),
    ("p", "shop.price", "sku", '{"columns": ["sku", "size"]}', ["FS1020", "'size'", '"columns"']),
    ("p", "shop.price", "sku", '{"columns": ["price"]}', ["FS1020", "'sku'"]),
    ("p", "shop.price", "sku", '{"columns": []}', ["FS1020"]),
    ("p", "shop.price", "sku", '{"group": "other"}', ["FS1003", "'other'", "add_group"]),
]


@pytest.mark.parametrize(
    "name,source,key,options,says", REFUSALS, ids=["%s-%d" % (r[4][0], i) for i, r in enumerate(REFUSALS)]
)
def test_refusal_says_what_to_do_and_leaves_nothing(shop, name, source, key, options, says):
    text = shop.refused("CALL farmsync.add_dataset_with(%s, %s, %s, %s)", name, source, key, options)
    for part in says:
        assert part in text
    nothing_left(shop)
    assert shop.epoch() == 1


def test_name_taken(shop):
    shop.run("CALL farmsync.add_dataset('prices', 'shop.price', 'sku')")
    text = shop.refused("CALL farmsync.add_dataset('prices', 'shop.price', 'sku')")
    assert "FS1011" in text and "drop_dataset" in text
    assert "FS1011" in shop.refused("CALL farmsync.add_dataset('PRICES', 'shop.price', 'sku')")
    assert shop.cycle() == "staged"


def test_unfinished_addition_can_be_removed(shop):
    """As a session leaves it that dies in the middle."""
    shop.run(
        "INSERT INTO farmsync.dataset (name, group_name, source, key_columns, `columns`, dropped, added_at) "
        "VALUES ('prices', 'default', '', '[]', '[]', 2, UTC_TIMESTAMP(6))"
    )
    shop.run("CREATE TABLE farmsync.data_prices (x INT)")
    text = shop.refused("CALL farmsync.add_dataset('prices', 'shop.price', 'sku')")
    assert "FS1013" in text and "drop_dataset('prices')" in text
    shop.run("CALL farmsync.drop_dataset('prices')")
    shop.run("CALL farmsync.add_dataset('prices', 'shop.price', 'sku')")
    assert shop.cycle() == "staged"


def test_ways_to_name_the_source(shop):
    for name, source in enumerate(("shop.price", "`shop`.`price`", "shop.`price`", "price", "shop.good")):
        shop.run("CALL farmsync.add_dataset(%s, %s, 'SKU')", "d%d" % name, source)
    sources = [r[0] for r in shop.run("SELECT source FROM farmsync.dataset ORDER BY name")]
    assert sources == ["`shop`.`price`"] * 4 + ["`shop`.`good`"]
    shop.script(
        "CREATE DATABASE shop2; GRANT SELECT ON shop2.* TO 'farmsync'@'localhost';"
        "CREATE TABLE shop2.price (sku INT PRIMARY KEY)"
    )
    assert "FS1017" in shop.refused("CALL farmsync.add_dataset('q', 'price', 'sku')")


def test_names_that_need_quotes(shop):
    shop.script(
        "CREATE TABLE shop.`odd ``t.able'` (`k``1` INT, `k 2` INT, `select` TEXT, PRIMARY KEY (`k``1`, `k 2`));"
        "INSERT INTO shop.`odd ``t.able'` VALUES (1, 2, 'x')"
    )
    shop.run("CALL farmsync.add_dataset('odd', %s, %s)", "`shop`.`odd ``t.able'`", "`k``1`, k 2")
    assert shop.cycle() == "staged"
    assert shop.run("SELECT `k``1`, `k 2`, `select` FROM farmsync.staged_odd") == [("1", "2", "x")]
    columns = json.loads(shop.one("SELECT `columns` FROM farmsync.dataset"))
    assert [c["name"] for c in columns] == ["k`1", "k 2", "select"]
    assert [c["key"] for c in columns] == [1, 2, 0]
    shop.run("UPDATE shop.`odd ``t.able'` SET `select` = 'y'")
    assert shop.cycle() == "staged"


def test_options(shop):
    shop.run("CALL farmsync.add_group('two')")
    shop.run(
        "CALL farmsync.add_dataset_with('p', 'shop.price', 'sku', %s)",
        '{"group": "two", "columns": ["Price", "SKU"]}',
    )
    columns = json.loads(shop.one("SELECT `columns` FROM farmsync.dataset"))
    assert [c["name"] for c in columns] == ["sku", "price"]
    assert shop.promote(group="two") == "staged"
    assert shop.run("SELECT * FROM farmsync.staged_p ORDER BY sku") == [("a", "1.50"), ("b", "2.50")]
    assert shop.cycle() == "unchanged"  # the default group has nothing
    shop.run("UPDATE shop.price SET note = 'not carried'")
    assert shop.cycle(group="two") == "unchanged"


# definition, kind, value in SQL, text in the image, another value that must be seen as a change
TYPES = [
    ("TINYINT", "integer", "-128", "-128", "127"),
    ("TINYINT(1)", "integer", "1", "1", "0"),
    ("SMALLINT UNSIGNED", "integer", "65535", "65535", "0"),
    ("MEDIUMINT", "integer", "-8388608", "-8388608", "8388607"),
    ("INT(5) UNSIGNED ZEROFILL", "integer", "42", "42", "43"),
    ("BIGINT", "integer", "-9223372036854775808", "-9223372036854775808", "9223372036854775807"),
    ("BIGINT UNSIGNED", "integer", "18446744073709551615", "18446744073709551615", "18446744073709551614"),
    ("BIT(1)", "integer", "b'1'", "1", "b'0'"),
    ("BIT(64)", "integer", "0xFFFFFFFFFFFFFFFF", "18446744073709551615", "0"),
    ("DECIMAL(10,2)", "decimal", "'-12345678.90'", "-12345678.90", "'-12345678.91'"),
    ("DECIMAL(65,30)", "decimal", "'1.000000000000000000000000000001'", "1.000000000000000000000000000001", "1"),
    ("DECIMAL(6,2) ZEROFILL", "decimal", "1.5", "1.50", "1.51"),
    ("FLOAT", "float", "0.1", "0.1", "0.10000001"),
    ("FLOAT", "float", "1.2345678", "1.2345677614212036", "1.2345679"),
    ("FLOAT", "float", "16777216", "16777216", "16777214"),
    ("DOUBLE", "float", "0.1", "0.1", "0.1000000000000000055e0 + 1e-17"),
    ("DOUBLE", "float", "1.7976931348623157e308", "1.7976931348623157e308", "1.7976931348623155e308"),
    ("CHAR(5)", "text", "'ab'", "ab", "'AB'"),
    ("VARCHAR(20)", "text", "'ab'", "ab", "'ab '"),
    ("VARCHAR(20)", "text", "''", "", "NULL"),
    ("VARCHAR(20)", "text", "'straße'", "straße", "'strasse'"),
    ("VARCHAR(20)", "text", "_utf8mb4 x'F09F9B92'", "\U0001f6d2", "_utf8mb4 x'F09F9B93'"),
    ("VARCHAR(20) CHARACTER SET latin1", "text", "'é'", "é", "'e'"),
    ("VARCHAR(20) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin", "text", "'é'", "é", "'É'"),
    ("VARCHAR(20) CHARACTER SET ucs2", "text", "'é日'", "é日", "'日'"),
    ("TINYTEXT", "text", "REPEAT('x', 255)", "x" * 255, "REPEAT('x', 254)"),
    ("TEXT", "text", "REPEAT('é', 32000)", "é" * 32000, "CONCAT(REPEAT('é', 31999), 'e')"),
    ("MEDIUMTEXT", "text", "REPEAT('y', 200000)", "y" * 200000, "REPEAT('y', 199999)"),
    ("LONGTEXT", "text", "'a\\nb\\0c'", "a\nb\0c", "'a\\nb'"),
    ("ENUM('x','y')", "text", "'x'", "x", "'y'"),
    ("ENUM('é','y') CHARACTER SET latin1", "text", "'é'", "é", "'y'"),
    ("SET('x','y','z')", "text", "'x,z'", "x,z", "'x'"),
    ("DATE", "time", "'2026-02-28'", "2026-02-28", "'2026-03-01'"),
    ("TIME(3)", "time", "'-838:59:58.999'", "-838:59:58.999", "'-838:59:58.998'"),
    ("DATETIME", "time", "'9999-12-31 23:59:59'", "9999-12-31 23:59:59", "'2000-01-01'"),
    ("DATETIME(6)", "time", "'2026-01-01 00:00:00.000001'", "2026-01-01 00:00:00.000001", "'2026-01-01'"),
    ("YEAR", "time", "2026", "2026", "1901"),
    ("YEAR", "time", "0", "0000", "2000"),
    ("JSON", "json", '\'{"a": [1, "é"]}\'', '{"a": [1, "é"]}', '\'{"a": [1, "e"]}\''),
    ("BINARY(3)", "binary", "x'FF00'", b"\xff\x00\x00", "x'FF01'"),
    ("VARBINARY(10)", "binary", "x'FF00'", b"\xff\x00", "x'FF'"),
    ("BLOB", "binary", "x'00FF80'", b"\x00\xff\x80", "x'00FF81'"),
    ("LONGBLOB", "binary", "REPEAT(x'FF', 70000)", b"\xff" * 70000, "REPEAT(x'FF', 69999)"),
    ("UUID", "text", "'01234567-89ab-4def-8123-456789abcdef'", "01234567-89ab-4def-8123-456789abcdef",
     "'01234567-89ab-4def-8123-456789abcdee'"),
    ("INET6", "text", "'2001:db8::1'", "2001:db8::1", "'2001:db8::2'"),
]


@pytest.mark.parametrize(
    "definition,kind,value,text,other", TYPES, ids=["%s-%d" % (t[0].split(" ")[0], i) for i, t in enumerate(TYPES)]
)
def test_type(db, definition, kind, value, text, other):
    """Carried exactly, printed as UTC or in full, NULL too, and a change of it is noticed."""
    db.run("CREATE TABLE shop.t (id INT PRIMARY KEY, v %s NULL)" % definition)
    db.run("INSERT INTO shop.t VALUES (1, %s), (2, NULL)" % value)
    db.run("CALL farmsync.add_dataset('t', 'shop.t', 'id')")
    assert json.loads(db.one("SELECT `columns` FROM farmsync.dataset"))[1] == {"name": "v", "type": kind, "key": 0}
    assert db.cycle() == "staged"
    got = dict(db.run("SELECT id, v FROM farmsync.staged_t"))
    shown = got["1"].encode("latin1") if isinstance(got["1"], str) and isinstance(text, bytes) else got["1"]
    assert (shown == text) is True  # so that a failure doesn't print 200,000 characters
    assert got["2"] is None
    assert db.cycle() == "unchanged"
    db.run("UPDATE shop.t SET v = %s WHERE id = 1" % other)
    assert db.run("SELECT fs_change, id FROM farmsync.pending_t") == [("changed", "1")]
    assert db.cycle() == "staged"
    assert db.run("SELECT fs_change FROM farmsync.pending_t") == []
    assert db.cycle() == "unchanged"
    if "ZEROFILL" not in definition and definition not in ("FLOAT", "BIT(1)", "BIT(64)"):
        assert db.run("SELECT v FROM farmsync.staged_t ORDER BY id") == db.run("SELECT v FROM shop.t ORDER BY id")


def test_key_types(db):
    """Every type that can be a key, together in one key of twelve columns."""
    db.run(
        "CREATE TABLE shop.k (a INT, b BIGINT UNSIGNED, c DECIMAL(5,2), d DATE, e DATETIME(6), f BIT(8), "
        "g ENUM('x','y'), h VARCHAR(10) CHARACTER SET latin1, i VARBINARY(8), j CHAR(4), k TIME, l YEAR, v INT, "
        "PRIMARY KEY (a, b, c, d, e, f, g, h, i, j, k, l))"
    )
    row = "(%d, 1, 1.5, '2026-01-01', '2026-01-01 01:02:03.4', b'101', 'y', 'é', x'FF', 'ab', '01:00:00', 2026, 1)"
    db.run("INSERT INTO shop.k VALUES " + ",".join(row % i for i in range(50)))
    db.run("CALL farmsync.add_dataset('k', 'shop.k', 'a,b,c,d,e,f,g,h,i,j,k,l')")
    assert db.cycle() == "staged"
    assert db.cycle() == "unchanged"
    db.script("UPDATE shop.k SET v = 2 WHERE a = 7; DELETE FROM shop.k WHERE a = 8; UPDATE shop.k SET a = 99 WHERE a = 9")
    assert db.run("SELECT * FROM farmsync.pending") == [("default", "k", "1", "1", "2", None, "0")]
    assert db.cycle() == "staged"
    assert db.cycle() == "unchanged"


def test_timestamp_is_utc_whatever_the_sessions_zone(db, connect):
    """Also in the hour that the end of summer time has twice."""
    db.script(
        "CREATE TABLE shop.t (id INT PRIMARY KEY, v TIMESTAMP(6) NULL);"
        "INSERT INTO shop.t VALUES (1, '2026-10-25 00:30:00'), (2, '2026-10-25 01:30:00.5')"
    )  # UTC: 02:30 and 02:30 again
    other = connect()
    other.run("SET time_zone = 'SYSTEM'")
    assert other.one("SELECT FROM_UNIXTIME(1792888200)") == "2026-10-25 02:30:00"
    assert other.one("SELECT FROM_UNIXTIME(1792891800)") == "2026-10-25 02:30:00"
    other.run("CALL farmsync.add_dataset('t', 'shop.t', 'id')")
    assert other.cycle() == "staged"
    assert other.one("SELECT @@time_zone") == "SYSTEM"
    assert db.run("SELECT v FROM farmsync.data_t ORDER BY id") == [
        ("2026-10-25 00:30:00.000000",),
        ("2026-10-25 01:30:00.500000",),
    ]
    assert db.cycle() == "unchanged"


def test_generated_invisible_and_defaulted_columns(db):
    db.script(
        "CREATE TABLE shop.g (id INT AUTO_INCREMENT PRIMARY KEY, net DECIMAL(8,2) NOT NULL DEFAULT 1, "
        "gross DECIMAL(8,2) AS (net * 1.19) STORED, twice DECIMAL(8,2) AS (net * 2) VIRTUAL, "
        "hidden INT INVISIBLE DEFAULT 3, ts TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP);"
        "INSERT INTO shop.g (net) VALUES (100)"
    )
    db.run("CALL farmsync.add_dataset('g', 'shop.g', 'id')")
    assert db.cycle() == "staged"
    assert db.run("SELECT id, net, gross, twice FROM farmsync.staged_g") == [("1", "100.00", "119.00", "200.00")]
    names = [c["name"] for c in json.loads(db.one("SELECT `columns` FROM farmsync.dataset"))]
    assert names == ["id", "net", "gross", "twice", "ts"]
    db.run("CALL farmsync.add_dataset_with('h', 'shop.g', 'id', %s)", '{"columns": ["id", "hidden"]}')
    assert db.cycle() == "staged"
    assert db.run("SELECT * FROM farmsync.staged_h") == [("1", "3")]


def test_zero_dates_of_old_tables(db):
    db.script(
        "SET sql_mode = 'ALLOW_INVALID_DATES'; CREATE TABLE shop.z (id INT PRIMARY KEY, d DATE, t DATETIME);"
        "INSERT INTO shop.z VALUES (1, '0000-00-00', '2026-00-00 00:00:00'), (2, '2026-02-31', NULL)"
    )
    db.run("CALL farmsync.add_dataset('z', 'shop.z', 'id')")
    assert db.cycle() == "staged"
    assert db.run("SELECT d FROM farmsync.staged_z ORDER BY id") == [("0000-00-00",), ("2026-02-31",)]
    assert db.cycle() == "unchanged"


def test_json_in_a_view_by_option(db):
    db.script(
        "CREATE TABLE shop.j (id INT PRIMARY KEY, v TEXT); INSERT INTO shop.j VALUES (1, '{\"a\":1}');"
        "CREATE VIEW shop.vj AS SELECT id, v FROM shop.j"
    )
    db.run("CALL farmsync.add_dataset_with('j', 'shop.vj', 'id', %s)", '{"json": ["v"]}')
    assert json.loads(db.one("SELECT `columns` FROM farmsync.dataset"))[1]["type"] == "json"
    assert db.cycle() == "staged"
    db.run("UPDATE shop.j SET v = '{'")
    db.make_due()
    epoch = db.epoch()
    with pytest.raises(pymysql.MySQLError) as caught:
        db.promote(epoch)
    assert "FS1032" in caught.value.args[1]


def test_many_datasets_share_the_columns_of_the_temporary_table(db):
    """40 datasets of 30 text columns: far more columns than a table may have."""
    for i in range(40):
        columns = ", ".join("c%d VARCHAR(50)" % n for n in range(30))
        db.run("CREATE TABLE shop.t%d (id INT PRIMARY KEY, %s)" % (i, columns))
        db.run("INSERT INTO shop.t%d (id, c3) VALUES (1, 'x%d')" % (i, i))
        db.run("CALL farmsync.add_dataset('t%d', 'shop.t%d', 'id')" % (i, i))
    assert db.cycle() == "staged"
    assert db.one("SELECT c3 FROM farmsync.staged_t39") == "x39"
    assert db.cycle() == "unchanged"


def test_drop_and_add_again(shop):
    """A dropped dataset stays in force until a version without it is."""
    shop.run("CALL farmsync.add_dataset('p', 'shop.price', 'sku')")
    shop.run("CALL farmsync.add_dataset('good', 'shop.good', 'sku')")
    assert shop.cycle() == "staged"
    shop.run("CALL farmsync.drop_dataset('p')")
    assert shop.one("SELECT COUNT(*) FROM farmsync.data_p") == "2"
    text = shop.refused("CALL farmsync.add_dataset('p', 'shop.price', 'sku')")
    assert "FS1012" in text and "next activation" in text
    assert "FS1029" in shop.refused("CALL farmsync.drop_dataset('p')")
    assert shop.cycle() == "staged"
    assert shop.one("SELECT detail FROM farmsync.history WHERE action = 'promote' ORDER BY id DESC LIMIT 1") == "p dropped"
    assert shop.run("SELECT dataset FROM farmsync.image WHERE version = 2") == [("good",)]
    assert "FS1012" in shop.refused("CALL farmsync.add_dataset('p', 'shop.price', 'sku')")
    shop.make_due()
    shop.run("CALL farmsync.add_dataset('p', 'shop.good', 'sku')")
    assert shop.promote() == "staged"
    assert shop.run("SELECT * FROM farmsync.staged_p ORDER BY sku") == [("a", "3.00"), ("b", "5.00")]


def test_drop_of_what_was_never_promoted_leaves_nothing(shop):
    shop.run("CALL farmsync.add_dataset('p', 'shop.price', 'sku')")
    shop.run("CALL farmsync.drop_dataset('p')")
    nothing_left(shop)
    assert "FS1029" in shop.refused("CALL farmsync.drop_dataset('nothing')")
    assert shop.run("SELECT * FROM farmsync.pending") == []


def test_pending_counts_and_names_what_is_broken(shop):
    shop.run("CALL farmsync.add_dataset('p', 'shop.price', 'sku')")
    shop.run("CALL farmsync.add_dataset('good', 'shop.good', 'sku')")
    assert shop.run("SELECT * FROM farmsync.pending") == [("default", "good", "2", "0", "0", None, "0"),
                                                          ("default", "p", "2", "0", "0", None, "0")]
    assert shop.cycle() == "staged"
    shop.script("UPDATE shop.price SET price = 9 WHERE sku = 'a'; DELETE FROM shop.price WHERE sku = 'b';"
                "INSERT INTO shop.price VALUES ('c', 3, ''), ('d', 4, '')")
    assert shop.run("SELECT * FROM farmsync.pending WHERE dataset = 'p'") == [("default", "p", "2", "1", "1", None, "0")]
    assert sorted(shop.run("SELECT fs_change, sku FROM farmsync.pending_p")) == [
        ("changed", "a"), ("gone", "b"), ("new", "c"), ("new", "d")]
    shop.run("DROP VIEW shop.good")
    rows = {r[1]: r for r in shop.run("CALL farmsync.show_pending('default')")}
    assert rows["p"][2:6] == ("2", "1", "1", None)
    assert "good" in rows["good"][5]
