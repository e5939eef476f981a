# SPDX-License-Identifier: Apache-2.0
"""Promises 4 and 5 at the database: one promotion per cycle whatever the number of promoters, and each
version holds the shop's transactions whole, without ever making the shop wait."""

import shutil
import tempfile
import threading
import time

import pymysql
import pytest
from sql_fixtures import LOST, MariaDB, Threads, empty, install

from farmlib.part import wait_until

pytest_plugins = ["sql_fixtures"]

CYCLES = 100
PROMOTERS = 10


def race(first, sessions, cycles):
    """All sessions try to promote each of `cycles` cycles; returns who won them."""
    gate = threading.Barrier(len(sessions) + 1)
    epochs = [0]
    wins = []
    threads = Threads()

    def promoter(session, who):
        try:
            for _ in range(cycles):
                gate.wait(60)
                outcome = session.promote(epochs[0], who)
                assert outcome in ("staged", "lost")
                if outcome == "staged":
                    wins.append(who)
                gate.wait(60)
        except BaseException:
            gate.abort()
            raise

    for i, session in enumerate(sessions):
        threads.start(promoter, session, "p%d" % i)
    try:
        for cycle in range(cycles):
            first.run("UPDATE shop.price SET price = price + 1")
            first.make_due()
            epochs[0] = first.epoch()
            gate.wait(60)
            gate.wait(60)
            assert len(wins) == cycle + 1, "cycle %d had %d winners" % (cycle, len(wins) - cycle)
    except threading.BrokenBarrierError:
        pass
    except BaseException:
        gate.abort()
        raise
    threads.join()
    return wins


def check_race(db, wins, cycles):
    assert len(wins) == cycles
    rows = db.run("SELECT version, who FROM farmsync.history WHERE action = 'promote' ORDER BY version")
    assert [int(r[0]) for r in rows] == list(range(1, cycles + 1))
    assert sorted(r[1] for r in rows) == sorted(wins)
    row = db.sync()
    assert (row["version"], row["promoting"], row["state"]) == (str(cycles), "0", "running")
    images = db.run("SELECT version, COUNT(*) FROM farmsync.image GROUP BY version ORDER BY version")
    assert images == [(str(v), "1") for v in range(1, cycles + 1)]
    # Each version is one generation of the prices.
    for version in range(1, cycles + 1):
        prices = db.run("SELECT DISTINCT price FROM farmsync.data_prices WHERE fs_from <= %s AND fs_to > %s",
                        version, version)
        assert prices == [("%d.00" % (version + 1),)]


def make_prices(db):
    db.script(
        "CREATE TABLE shop.price (sku VARCHAR(32) PRIMARY KEY, price DECIMAL(10,2));"
        "INSERT INTO shop.price SELECT CONCAT('s', seq), 1 FROM seq_1_to_20;"
        "CALL farmsync.add_dataset('prices', 'shop.price', 'sku')"
    )


@pytest.mark.limit(300)
def test_race_on_one_server(db, connect):
    make_prices(db)
    check_race(db, race(db, [connect() for _ in range(PROMOTERS)], CYCLES), CYCLES)


@pytest.mark.limit(400)
def test_race_on_galera(galera, connect):
    sessions = [connect(server=galera[i % 3]) for i in range(PROMOTERS)]
    db = connect(server=galera[1])
    make_prices(db)
    wins = race(db, sessions, CYCLES)
    for node in galera:
        check_race(connect(server=node), wins, CYCLES)


@pytest.mark.limit(300)
def test_two_add_the_same_name_on_two_galera_nodes(galera, connect):
    db = connect(server=galera[0])
    db.run("CREATE TABLE shop.price (sku VARCHAR(32) PRIMARY KEY, price DECIMAL(10,2))")
    for round_ in range(5):
        results = []
        threads = Threads()

        def add(session, name):
            try:
                session.run("CALL farmsync.add_dataset(%s, 'shop.price', 'sku')", name)
                results.append("added")
            except pymysql.MySQLError as error:
                results.append(error.args[0] if error.args[0] in LOST else error.args[1][:6])

        for node in galera:
            threads.start(add, connect(server=node), "n%d" % round_)
        threads.join()
        assert results.count("added") == 1, results
        assert set(results) <= {"added", "FS1011", "FS1013", *LOST}
    assert db.cycle() == "staged"


def two_tables(db):
    db.script(
        "CREATE TABLE shop.one (id INT PRIMARY KEY, v BIGINT); CREATE TABLE shop.two (id INT PRIMARY KEY, v BIGINT);"
        "INSERT INTO shop.one SELECT seq, 0 FROM seq_1_to_200; INSERT INTO shop.two SELECT seq, 0 FROM seq_1_to_200;"
        "CREATE VIEW shop.sum AS SELECT 1 AS id, SUM(v) AS total FROM shop.one;"
        "CALL farmsync.add_dataset('two', 'shop.two', 'id'); CALL farmsync.add_dataset('one', 'shop.one', 'id');"
        "CALL farmsync.add_dataset('total', 'shop.sum', 'id')"
    )


def hammer(session, stop, first, counts):
    """Transactions over both tables, which always agree: moves, inserts and deletes too."""
    n = 0
    while not stop.is_set():
        n += 1
        row = first + n % 50
        write = "DELETE FROM shop.%%s WHERE id = %d" % row if n % 7 == 0 else "REPLACE INTO shop.%%s VALUES (%d, %d)" % (row, n)
        session.transact([write % table for table in (("one", "two") if n % 2 else ("two", "one"))])
        counts[first] = n


def check_versions(db, versions):
    for version in range(1, versions + 1):
        held = "fs_from <= %d AND fs_to > %d" % (version, version)
        one = db.run("SELECT id, v FROM farmsync.data_one WHERE %s ORDER BY id" % held)
        two = db.run("SELECT id, v FROM farmsync.data_two WHERE %s ORDER BY id" % held)
        assert one == two, "version %d mixes transactions" % version
        total = db.one("SELECT total FROM farmsync.data_total WHERE " + held)
        assert int(total) == sum(int(r[1]) for r in one)


@pytest.mark.limit(300)
def test_versions_hold_transactions_whole(db, connect):
    two_tables(db)
    stop = threading.Event()
    threads = Threads()
    counts = {}
    for i in range(3):
        threads.start(hammer, connect(), stop, 1 + 50 * i, counts)
    try:
        versions = 0
        end = time.monotonic() + 15
        while versions <= 10 or versions < 60 and time.monotonic() < end:
            versions += db.cycle() == "staged"
    finally:
        stop.set()
    threads.join()
    assert versions > 10 and sum(counts.values()) > versions
    check_versions(db, versions)


@pytest.mark.limit(300)
def test_versions_hold_transactions_whole_on_galera(galera, connect):
    db = connect(server=galera[0])
    two_tables(db)
    stop = threading.Event()
    threads = Threads()
    counts = {}
    for i in range(3):  # rows of their own, so that the writers don't conflict among themselves
        threads.start(hammer, connect(server=galera[i]), stop, 1 + 50 * i, counts)
    promoters = [connect(server=node) for node in galera]
    try:
        versions = 0
        end = time.monotonic() + 15
        while versions <= 5 or versions < 30 and time.monotonic() < end:
            versions += promoters[versions % 3].cycle() == "staged"
    finally:
        stop.set()
    threads.join()
    assert versions > 5
    check_versions(db, versions)


def test_promotion_takes_no_lock_on_the_shops_rows(db, connect):
    """A writer that can't wait at all writes what an open promotion has read, and adds rows between."""
    make_prices(db)
    db.run("CREATE VIEW shop.v AS SELECT LEFT(sku, 2) AS k, SUM(price) AS p FROM shop.price GROUP BY LEFT(sku, 2)")
    db.run("CALL farmsync.add_dataset('v', 'shop.v', 'k')")
    assert db.cycle() == "staged"
    db.run("UPDATE shop.price SET price = 5")
    db.make_due()
    writer = connect()
    writer.run("SET SESSION innodb_lock_wait_timeout = 0")
    epoch = db.epoch()
    db.run("START TRANSACTION")
    assert db.run("CALL farmsync.promote('default', %s, 'test')", epoch)[0][0] == "staged"
    writer.run("UPDATE shop.price SET price = 6")
    writer.run("DELETE FROM shop.price WHERE sku = 's3'")
    writer.run("INSERT INTO shop.price VALUES ('s21', 7), ('a', 1), ('z', 1)")
    db.images(2)
    db.run("COMMIT")
    assert db.run("SELECT DISTINCT price FROM farmsync.staged_prices") == [("5.00",)]
    assert db.cycle() == "staged"
    assert db.one("SELECT COUNT(*) FROM farmsync.staged_prices") == "22"


def test_open_transaction_of_the_shop_doesnt_stop_a_promotion(db, connect):
    make_prices(db)
    shop = connect()
    shop.run("START TRANSACTION")
    shop.run("UPDATE shop.price SET price = 9")
    assert db.cycle() == "staged"
    assert db.run("SELECT DISTINCT price FROM farmsync.staged_prices") == [("1.00",)]
    shop.run("COMMIT")
    assert db.cycle() == "staged"
    assert db.run("SELECT DISTINCT price FROM farmsync.staged_prices") == [("9.00",)]


def test_killed_promoter_leaves_nothing(db, connect):
    """As when datasrv dies in the middle; the next one does the cycle."""
    make_prices(db)
    victim = connect()
    number = victim.one("SELECT CONNECTION_ID()")
    db.make_due()
    before = db.sync()
    victim.run("START TRANSACTION")
    victim.run("CALL farmsync.promote('default', %s, 'victim')", db.epoch())
    db.run("KILL " + number)
    assert db.sync() == before
    assert db.run("SELECT * FROM farmsync.data_prices") == []
    end = time.monotonic() + 30
    while db.promote() == "lost":  # until the server has rolled it back
        assert time.monotonic() < end
    assert db.sync()["promoted_by"] == "test"


def test_second_promoter_doesnt_wait_long(db, connect):
    """It gives up after its lock wait, and knows that it lost."""
    make_prices(db)
    db.make_due()
    other = connect()
    other.run("SET SESSION innodb_lock_wait_timeout = 0")
    epoch = db.epoch()
    db.run("START TRANSACTION")
    db.run("CALL farmsync.promote('default', %s, 'test')", epoch)
    assert other.promote(epoch) == "lost"
    db.images(1)
    db.run("COMMIT")
    assert other.promote(epoch) == "lost"
    assert db.sync()["version"] == "1"


@pytest.mark.limit(200)
def test_large_dataset(db):
    """60,000 rows: the statements use the keys (a scan for each row would take hours)."""
    db.script(
        "CREATE TABLE shop.pkg (name VARCHAR(190) PRIMARY KEY, version VARCHAR(64), size BIGINT, description TEXT);"
        "INSERT INTO shop.pkg SELECT CONCAT('pkg-', seq), '1.2-3', seq, REPEAT('about it ', 28) FROM seq_1_to_60000;"
        "CALL farmsync.add_dataset('pkg', 'shop.pkg', 'name')"
    )
    db.make_due()
    for changes in (60000, 0, 3):
        started = time.monotonic()
        db.make_due()
        epoch = db.epoch()
        db.run("START TRANSACTION")
        outcome, version, rows = db.run("CALL farmsync.promote('default', %s, 'test')", epoch)[0]
        print("%s changes: %.2f s" % (rows, time.monotonic() - started))
        assert (outcome, int(rows)) == ("staged" if changes else "unchanged", changes)
        if changes:
            db.run("CALL farmsync.promote_image('default', %s, 'pkg', REPEAT('0', 64), 1, 1)", version)
            db.run("CALL farmsync.promote_done('default', %s, 'test')", version)
        db.run("COMMIT")
        if not changes:
            db.script("UPDATE shop.pkg SET size = 0 WHERE name = 'pkg-77'; DELETE FROM shop.pkg WHERE name = 'pkg-78';"
                      "INSERT INTO shop.pkg VALUES ('pkg-new', '1', 1, '')")
    plan = db.run("EXPLAIN SELECT * FROM farmsync.pending_pkg")
    assert [r[5] for r in plan if r[2] == "d"][0] == "PRIMARY"


def test_sources_without_an_index_on_the_key(db):
    """As a view that groups or a table without a key: found missing rows by a hash, not by a scan for each."""
    db.script(
        "CREATE TABLE shop.heap (name VARCHAR(64) NOT NULL, v INT);"
        "INSERT INTO shop.heap SELECT CONCAT('n', seq), seq FROM seq_1_to_20000;"
        "CALL farmsync.add_dataset('heap', 'shop.heap', 'name')"
    )
    assert db.cycle() == "staged"
    db.run("DELETE FROM shop.heap WHERE v = 77")
    started = time.monotonic()
    assert db.cycle() == "staged"
    print("without an index: %.2f s" % (time.monotonic() - started))
    assert db.one("SELECT COUNT(*) FROM farmsync.staged_heap") == "19999"


def test_case_and_spaces_in_keys_and_values(db):
    """What a collation calls equal is still a change; a key that differs in case only stays one row."""
    db.script(
        "CREATE TABLE shop.t (k VARCHAR(20) COLLATE utf8mb4_general_ci PRIMARY KEY, v VARCHAR(20) COLLATE utf8mb4_general_ci);"
        "INSERT INTO shop.t VALUES ('Key', 'Value');"
        "CALL farmsync.add_dataset('t', 'shop.t', 'k')"
    )
    assert db.cycle() == "staged"
    for change in ("v = 'value'", "v = 'value '", "v = 'valüe'", "k = 'KEY'", "k = 'KEY '", "v = NULL", "v = ''"):
        db.run("UPDATE shop.t SET " + change)
        assert db.cycle() == "staged", change
        assert db.run("SELECT k, v FROM farmsync.staged_t") == db.run("SELECT k, v FROM shop.t")
        assert db.cycle() == "unchanged", change


@pytest.fixture(scope="module")
def logging_server():
    directory = tempfile.mkdtemp(prefix="fslog-", dir="/tmp")
    server = MariaDB(directory, args=["--log-bin=%s/binlog" % directory, "--server-id=1"])
    server.start()
    install(server)
    empty(server)
    yield server
    server.stop()
    shutil.rmtree(directory, ignore_errors=True)


def test_binary_log(logging_server, connect):
    """Rows and mixed work; statements are refused with what to do."""
    db = connect(server=logging_server)
    assert db.one("SELECT @@log_bin") == "1"
    make_prices(db)
    for form in ("ROW", "MIXED"):
        db.run("SET SESSION binlog_format = " + form)
        db.run("UPDATE shop.price SET price = price + 1")
        assert db.cycle() == "staged"
        assert db.cycle() == "unchanged"
    db.run("SET SESSION binlog_format = STATEMENT")
    db.run("START TRANSACTION")
    text = db.refused("CALL farmsync.promote('default', %s, 'test')", db.epoch())
    assert "FS1008" in text and "binlog_format = ROW" in text
    db.run("ROLLBACK")


def test_a_refusal_is_entered_before_those_who_wait_do_the_same_in_vain(db, connect):
    """Else nobody would ever enter it, when a try takes longer than a lock is waited for."""
    db.script("CREATE TABLE shop.price (sku INT PRIMARY KEY); INSERT INTO shop.price SELECT seq FROM shop.seq_1_to_100")
    db.run("CALL farmsync.add_dataset('prices', 'shop.price', 'sku')")
    assert db.promote() == "staged"
    db.run("DELETE FROM shop.price")
    db.make_due()
    epoch = db.epoch()
    db.run("START TRANSACTION")
    assert "FS1091" in db.refused("CALL farmsync.promote('default', %s, 'first')", epoch)
    second, watcher = connect(), connect()
    second.run("SET SESSION innodb_lock_wait_timeout = 60")
    outcomes, threads = [], Threads()
    threads.start(lambda: outcomes.append(second.promote(epoch, "second")))
    wait_until(lambda: watcher.one("SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'") == "1",
               30, "the second promoter to wait for the first", pace=0.3)  # refreshed only if left alone for 0.1 s
    db.run("ROLLBACK TO SAVEPOINT farmsync_refused")
    db.run("CALL farmsync.promote_failed('default', %s, 'first', 'no')", epoch)
    threads.join()
    assert outcomes == ["lost"]
    assert watcher.run("SELECT who, detail FROM farmsync.history WHERE action = 'refused'") == [("first", "no")]
    row = watcher.sync()
    assert (row["state"], row["version"], int(row["epoch"])) == ("failed", "1", epoch + 1)
