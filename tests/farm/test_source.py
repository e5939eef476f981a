# SPDX-License-Identifier: Apache-2.0
"""
The database as source, on real servers: promoters that race, images that anybody builds alike, rows
that can't be encoded. tests/tools/fs_promote does what datasrv and agents do with the database.

Promise 4: one promotion per cycle, whatever the number of promoters, on one server and on Galera.
"""

import collections
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time

import pytest

from farmlib import mariadb, paths
from farmlib.part import wait_until

PROMOTERS = 10
CYCLES = 100
ACCOUNTS = ("agent", "datasrv")
WAIT_S = 60


class Source:
    """One or several servers with one farmsync in them, and accounts as on a farm."""

    def __init__(self, servers, directory):
        self.servers = servers
        self.dir = directory
        self.options = {}
        servers[0].run_file(os.path.join(paths.SQL_DIR, "install.sql"))
        for account in ACCOUNTS:
            servers[0].sql(f"""
                CREATE USER '{account}'@'%' IDENTIFIED BY 'secret';
                GRANT farmsync_{account} TO '{account}'@'%';
                SET DEFAULT ROLE farmsync_{account} FOR '{account}'@'%';""")
            for number, server in enumerate(servers):
                path = os.path.join(directory, f"{account}{number}.cnf")
                with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "w",
                          encoding="utf-8") as file:
                    file.write(f"[farmsync]\nhost=127.0.0.1\nport={server.port}\n"
                               f"user={account}\npassword=secret\n")
                self.options[account, number] = path
        self.sql("CREATE DATABASE shop CHARACTER SET utf8mb4;"
                 "GRANT SELECT ON shop.* TO 'farmsync'@'localhost';")

    def sql(self, text, server=0):
        """Again if somebody else was faster, which on Galera may happen to anybody."""
        for _ in range(50):
            try:
                return self.servers[server].sql(text)
            except mariadb.SqlError as error:
                if not re.search(r"^ERROR (1213|1205) ", str(error), re.MULTILINE):
                    raise
        raise AssertionError("lost fifty races: " + text)

    def group(self, name, interval=86400):
        """A group of its own for each test, so that they don't disturb one another."""
        self.sql(f"CALL farmsync.add_group('{name}'); CALL farmsync.set_interval('{name}', {interval})")

    def make_due(self, group, server=0):
        self.sql(f"UPDATE farmsync.sync SET epoch = epoch + 1, activation_time = UTC_TIMESTAMP(6)"
                 f" WHERE group_name = '{group}'", server)

    def value(self, column, group, server=0):
        return self.sql(f"SELECT {column} FROM farmsync.sync WHERE group_name = '{group}'", server)

    def tool(self, *arguments, check=True):
        done = subprocess.run([paths.built("tests/tools/fs_promote"), *arguments], text=True,
                              capture_output=True, check=False, timeout=WAIT_S)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout.rstrip("\n").split("\t")

    def directory(self, name):
        path = os.path.join(self.dir, name)
        os.makedirs(path, exist_ok=True)
        return path

    def promote(self, group, who="ds1", account="datasrv", directory=None):
        """Makes the group due and promotes it: outcome, problem, detail."""
        self.make_due(group)
        return self.tool("once", self.options[account, 0], group, who,
                         directory or self.directory("images"))[1:]

    def manifest(self, group, server=0):
        return json.loads("\t".join(self.tool("manifest", self.options["agent", server], group)))

    def build(self, group, dataset, version, account="agent", server=0):
        return self.tool("build", self.options[account, server], group, dataset, str(version),
                         self.directory(f"built-{account}{server}"))


@pytest.fixture(scope="module")
def single():
    directory = tempfile.mkdtemp(prefix="fssource-", dir="/tmp")
    # A row of 17 MiB needs room in the redo log.
    server = mariadb.MariaDB(os.path.join(directory, "db"),
                             args=["--innodb-log-file-size=320M", "--max-allowed-packet=64M"])
    try:
        server.start()
        yield Source([server], directory)
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def cluster():
    directory = tempfile.mkdtemp(prefix="fssource-", dir="/tmp")
    os.chmod(directory, 0o711)  # started by root, the nodes run as another account
    nodes = []
    try:
        nodes = mariadb.start_galera(3, directory)
        yield Source(nodes, directory)
    finally:
        mariadb.stop_all(nodes)
        shutil.rmtree(directory, ignore_errors=True)


# --- racing ---------------------------------------------------------------------------------------


class Racer:
    """A promoter that tries whenever the group is due, as an agent or a datasrv, on one of the nodes."""

    def __init__(self, source, number, group):
        account = ACCOUNTS[number % len(ACCOUNTS)]
        node = number % len(source.servers)
        self.tries = []  # (epoch, outcome)
        self.problems = []
        self._process = subprocess.Popen(
            [paths.built("tests/tools/fs_promote"), "race", source.options[account, node], group,
             f"{account}{number}", source.directory(f"racer{number}")],
            text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout.readline() == "ready\n"
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        for line in self._process.stdout:
            epoch, outcome, *problem = line.rstrip("\n").split("\t")
            self.tries.append((int(epoch), outcome))
            if outcome in ("error", "refused"):
                self.problems.append(problem)

    def end(self):
        self._process.stdin.close()
        self._reader.join(WAIT_S)
        assert self._process.wait(WAIT_S) == 0


def wait_version(source, group, version, server):
    wait_until(lambda: int(source.value("version", group, server)) >= version, WAIT_S, "a promotion")


def run_race(source, group):
    """CYCLES changes of production, each made on one node and then promoted by whoever is first."""
    nodes = len(source.servers)
    before = int(source.value("version", group))
    racers = [Racer(source, number, group) for number in range(PROMOTERS)]
    try:
        for cycle in range(CYCLES):
            node = cycle % nodes
            source.sql("UPDATE shop.race SET price = price + 1 WHERE sku = 'sku-7'", node)
            source.make_due(group, node)
            wait_version(source, group, before + cycle + 1, node)
    finally:
        for racer in racers:
            racer.end()
    return racers


def check_race(source, group):
    source.group(group)
    source.sql("""CREATE TABLE shop.race (sku VARCHAR(32) PRIMARY KEY, price DECIMAL(10,2));
                  INSERT INTO shop.race SELECT CONCAT('sku-', seq), seq FROM shop.seq_1_to_200""")
    source.sql(f"CALL farmsync.add_dataset_with('race', 'shop.race', 'sku',"
               f" '{{\"group\":\"{group}\"}}')")
    assert source.promote(group)[0] == "staged"
    assert source.promote(group)[0] == "unchanged"  # from now on due only when the race makes it so
    source.sql("DELETE FROM farmsync.history")
    racers = run_race(source, group)

    # A node may drop a connection under such a load (error 2013); its promotion may have been made.
    lost = [problem for racer in racers for problem in racer.problems
            if len(source.servers) > 1 and "error 2013" in problem[-1]]
    assert [problem for racer in racers for problem in racer.problems if problem not in lost] == []
    tries = [one for racer in racers for one in racer.tries]
    outcomes = collections.Counter(outcome for _, outcome in tries)
    # A second promotion in a cycle would find nothing changed and activate what is staged too early.
    assert outcomes["unchanged"] == 0, outcomes
    staged = [epoch for epoch, outcome in tries if outcome == "staged"]
    assert CYCLES - len(lost) <= len(staged) <= CYCLES, outcomes
    assert len(set(staged)) == len(staged)
    rows = source.sql(f"SELECT version, COUNT(*) FROM farmsync.history WHERE action = 'promote'"
                      f" AND group_name = '{group}' GROUP BY version").split("\n")
    assert len(rows) == CYCLES and all(row.endswith("\t1") for row in rows)
    # It was a race: as a rule several tried for the same epoch, and the winners were not always one.
    crowded = [n for n in collections.Counter(epoch for epoch, _ in tries).values() if n > 1]
    winners = [sum(outcome == "staged" for _, outcome in racer.tries) for racer in racers]
    print(f"{len(tries)} tries for {CYCLES} promotions, won by each: {winners}")
    assert len(crowded) > CYCLES // 2
    assert sum(n > 0 for n in winners) > 1
    # What is staged is production, on every node, and any node builds the image that was recorded.
    for node in range(len(source.servers)):
        assert source.sql("SELECT COUNT(*) FROM shop.race p JOIN farmsync.staged_race s"
                          " USING (sku) WHERE p.price = s.price", node) == "200"
        version = source.manifest(group, node)["versions"][-1]
        assert version["version"] == CYCLES + 1
        assert source.build(group, "race", version["version"], "agent", node)[0] \
            == version["datasets"][0]["digest"]


@pytest.mark.limit(300)
def test_ten_promoters_promote_each_cycle_once(single):
    check_race(single, "race")


@pytest.mark.limit(600)
def test_ten_promoters_promote_each_cycle_once_on_galera(cluster):
    check_race(cluster, "race")


# --- images -----------------------------------------------------------------------------------------

TYPES = [  # column type, values as SQL, how the text of a value is had from SQL
    ("TINYINT", "-128", "CAST({} AS CHAR)"),
    ("BIGINT UNSIGNED", "18446744073709551615", "CAST({} AS CHAR)"),
    ("INT(6) ZEROFILL", "42", "CAST({} + 0 AS CHAR)"),  # a number, not how it is displayed
    ("DECIMAL(65,30)", "-12345678901234567890.123456789", "CAST({} AS CHAR)"),
    ("FLOAT", "1.5", "CAST({} AS CHAR)"),
    ("DOUBLE", "-2.5e-300", "CAST({} AS CHAR)"),
    ("DATE", "'2026-02-28'", "CAST({} AS CHAR)"),
    ("TIME(6)", "'-838:59:59.000001'", "CAST({} AS CHAR)"),
    ("DATETIME(6)", "'9999-12-31 23:59:59.999999'", "CAST({} AS CHAR)"),
    ("TIMESTAMP(6) NULL", "'2026-10-25 01:30:00.5'", "CAST({} AS CHAR)"),
    ("YEAR", "2026", "CAST({} AS CHAR)"),
    ("CHAR(10)", "'abc  '", "{}"),
    ("VARCHAR(100)", "'gr\u00fc\u00df \U0001F418  '", "{}"),
    ("VARCHAR(100) CHARACTER SET latin1", "'stra\u00dfe'", "CONVERT({} USING utf8mb4)"),
    ("LONGTEXT", "REPEAT('lang \u20ac ', 100000)", "{}"),
    ("JSON", "'{\"a\": [1, null, \"\u00e4\"]}'", "{}"),
    ("ENUM('one','two')", "'two'", "CAST({} AS CHAR)"),
    ("SET('x','y','z')", "'x,z'", "CAST({} AS CHAR)"),
    ("BINARY(4)", "x'00ff0a00'", "{}"),
    ("VARBINARY(10)", "x'0027005c'", "{}"),
    ("LONGBLOB", "REPEAT(x'00ff', 100000)", "{}"),
]


def typed_table(source):
    columns = ", ".join(f"c{i} {kind}" for i, (kind, _, _) in enumerate(TYPES))
    values = ", ".join(value for _, value, _ in TYPES)
    nulls = ", ".join("NULL" for _ in TYPES)
    source.sql(f"""SET time_zone = '+00:00';
        CREATE TABLE shop.types (id INT, part VARBINARY(8), {columns}, PRIMARY KEY (id, part));
        INSERT INTO shop.types VALUES (1, x'00ff', {values}), (2, '', {nulls})""")


def test_every_sql_type_arrives_as_it_is(single):
    typed_table(single)
    single.group("types")
    single.sql("CALL farmsync.add_dataset_with('types', 'shop.types', 'id, part',"
               " '{\"group\":\"types\"}')")
    assert single.promote("types")[0] == "staged"
    digest = single.manifest("types")["versions"][-1]["datasets"][0]["digest"]
    rows = subprocess.run([paths.built("tests/tools/fs_promote"), "dump",
                           os.path.join(single.dir, "images", digest + ".fsi")],
                          text=True, capture_output=True, check=True).stdout.rstrip("\n").split("\n")
    wanted = ", ".join(f"LOWER(HEX({text.format(f'c{i}')}))"
                       for i, (_, _, text) in enumerate(TYPES))
    expected = single.sql("SET time_zone = '+00:00'; SELECT '31', '00ff', " + wanted
                          + " FROM shop.types WHERE id = 1").split("\t")
    found = dict(zip(["id", "part"] + [kind for kind, _, _ in TYPES], rows[0].split("\t")))
    assert found == dict(zip(found, expected))
    assert rows[1].split("\t") == ["32", ""] + ["NULL"] * len(TYPES)


def test_every_builder_gets_the_same_image(single):
    """Also later, when versions have come and gone, and for a dataset that did not change."""
    single.group("twins")
    single.sql("""CREATE TABLE shop.still (id INT PRIMARY KEY, v TEXT);
                  CREATE TABLE shop.moving (id INT PRIMARY KEY, v TEXT);
                  INSERT INTO shop.still VALUES (1, 'a'), (2, NULL);
                  INSERT INTO shop.moving SELECT seq, seq FROM shop.seq_1_to_1000""")
    for name in ("still", "moving"):
        single.sql(f"CALL farmsync.add_dataset_with('{name}', 'shop.{name}', 'id',"
                   " '{\"group\":\"twins\"}')")
    recorded = {}
    for change in ("DO 1", "UPDATE shop.moving SET v = 'x' WHERE id = 5",
                   "DELETE FROM shop.moving WHERE id > 900", "INSERT INTO shop.moving VALUES (-1, '')"):
        single.sql(change)
        assert single.promote("twins")[0] == "staged"
        newest = single.manifest("twins")["versions"][-1]
        recorded[newest["version"]] = {d["name"]: d["digest"] for d in newest["datasets"]}
    assert len({r["still"] for r in recorded.values()}) == 1
    assert len({r["moving"] for r in recorded.values()}) == 4
    for version, digests in recorded.items():
        for dataset, digest in digests.items():
            for account in ACCOUNTS:
                assert single.build("twins", dataset, version, account)[0] == digest


def test_unchanged_production_keeps_version_and_image(single):
    single.group("calm")
    single.sql("""CREATE TABLE shop.calm (id INT PRIMARY KEY); INSERT INTO shop.calm VALUES (1);
        CALL farmsync.add_dataset_with('calm', 'shop.calm', 'id', '{"group":"calm"}')""")
    assert single.promote("calm")[0] == "staged"
    before = single.manifest("calm")
    assert single.promote("calm")[0] == "unchanged"
    after = single.manifest("calm")
    assert after["version"] == before["version"] == after["active_version"]
    assert after["epoch"] > before["epoch"]
    assert after["activation_time"] > before["activation_time"]
    assert after["versions"][-1] == before["versions"][-1]


def test_group_that_is_not_due_or_held_is_lost(single):
    single.group("early")
    single.sql("""CREATE TABLE shop.early (id INT PRIMARY KEY); INSERT INTO shop.early VALUES (1);
        CALL farmsync.add_dataset_with('early', 'shop.early', 'id', '{"group":"early"}')""")
    assert single.promote("early")[0] == "staged"
    once = ("once", single.options["datasrv", 0], "early", "ds1", single.directory("images"))
    assert single.tool(*once)[1] == "lost"
    single.sql("CALL farmsync.hold('early')")
    assert single.promote("early")[0] == "lost"
    assert single.value("version", "early") == "1"


# --- refusals -----------------------------------------------------------------------------------------


def check_refusal(source, group, problem, *words):
    """The promotion is refused whole, once, with its reason where people look, and then goes on."""
    version = source.value("version", group)
    outcome, number, detail = source.promote(group, "ds7")
    assert (outcome, number) == ("refused", problem)
    for word in words:
        assert word in detail
    assert source.value("state", group) == "failed"
    assert source.value("version", group) == version
    reason = source.value("reason", group)
    # A sentence of the procedures is recorded without the connection that it came by.
    assert reason.startswith("FS1" if problem == "FS0305" else problem + ": ")
    history = source.sql(f"SELECT action, who, detail FROM farmsync.history WHERE group_name ="
                         f" '{group}' ORDER BY id DESC LIMIT 1").split("\t")
    assert history[0] == "refused" and history[1] == "ds7"
    for word in words:
        assert word in reason and word in history[2]
    # The cycle goes on: the next activation is ahead, and nobody tries again before it.
    assert source.value("activation_time > UTC_TIMESTAMP(6)", group) == "1"
    assert source.manifest(group)["state"] == "failed"


def check_recovery(source, group):
    assert source.promote(group)[0] == "staged"
    assert source.value("state", group) == "running"
    assert source.value("reason", group) == ""


def test_row_too_large_refuses_the_promotion_whole(single):
    single.group("large")
    single.sql("""CREATE TABLE shop.large (id VARCHAR(20) PRIMARY KEY, a LONGTEXT, b LONGTEXT);
        CREATE TABLE shop.beside (id INT PRIMARY KEY);
        INSERT INTO shop.large VALUES ('good', 'x', 'y'); INSERT INTO shop.beside VALUES (1);
        CALL farmsync.add_dataset_with('large', 'shop.large', 'id', '{"group":"large"}');
        CALL farmsync.add_dataset_with('beside', 'shop.beside', 'id', '{"group":"large"}')""")
    assert single.promote("large")[0] == "staged"
    single.sql("""INSERT INTO shop.beside VALUES (2);
        INSERT INTO shop.large VALUES ('too-big', REPEAT('x', 9 << 20), REPEAT('y', 9 << 20))""")
    check_refusal(single, "large", "FS0104", "large", "too-big")
    # Nothing of the other dataset came through, either.
    assert single.sql("SELECT COUNT(*) FROM farmsync.staged_beside") == "1"
    assert single.sql("SELECT COUNT(*) FROM farmsync.image WHERE group_name = 'large'") == "2"
    single.sql("DELETE FROM shop.large WHERE id = 'too-big'")
    check_recovery(single, "large")
    assert single.sql("SELECT COUNT(*) FROM farmsync.staged_beside") == "2"


def test_row_refused_long_before_the_last_is_recorded(single):
    """Too many rows are left to be read and dropped: the connection is closed, and a new one records."""
    single.group("long")
    single.sql("""CREATE TABLE shop.`long` (id VARCHAR(20) PRIMARY KEY, a LONGTEXT, b LONGTEXT);
        INSERT INTO shop.`long` SELECT CONCAT('k', seq), 'a', 'b' FROM shop.seq_1_to_150000;
        CALL farmsync.add_dataset_with('long', 'shop.long', 'id', '{"group":"long"}');
        INSERT INTO shop.`long` VALUES ('a', REPEAT('x', 9 << 20), REPEAT('y', 9 << 20))""")
    check_refusal(single, "long", "FS0104", "long")
    single.sql("DELETE FROM shop.`long` WHERE id = 'a'")
    check_recovery(single, "long")


def test_source_that_is_gone_refuses_the_promotion(single):
    single.group("gone")
    single.sql("""CREATE TABLE shop.gone (id INT PRIMARY KEY); INSERT INTO shop.gone VALUES (1);
        CALL farmsync.add_dataset_with('gone', 'shop.gone', 'id', '{"group":"gone"}')""")
    assert single.promote("gone")[0] == "staged"
    single.sql("RENAME TABLE shop.gone TO shop.away")
    check_refusal(single, "gone", "FS0305", "shop.gone")
    single.sql("RENAME TABLE shop.away TO shop.gone; INSERT INTO shop.gone VALUES (2)")
    check_recovery(single, "gone")


def test_refusal_is_recorded_once_whoever_tries(single):
    """All promoters meet the same fault; each cycle has one line about it, and the farm stays."""
    cycles = 10
    single.group("faulty")
    single.sql("""CREATE TABLE shop.faulty (id INT PRIMARY KEY); INSERT INTO shop.faulty VALUES (1);
        CALL farmsync.add_dataset_with('faulty', 'shop.faulty', 'id', '{"group":"faulty"}')""")
    assert [single.promote("faulty")[0] for _ in range(2)] == ["staged", "unchanged"]
    single.sql("RENAME TABLE shop.faulty TO shop.mended")
    refusals = ("SELECT COUNT(*) FROM farmsync.history WHERE group_name = 'faulty'"
                " AND action = 'refused'")
    racers = [Racer(single, number, "faulty") for number in range(5)]
    try:
        for cycle in range(cycles):
            single.make_due("faulty")
            wait_until(lambda number=cycle: int(single.sql(refusals)) > number, WAIT_S,
                       "the refusal to be recorded")
    finally:
        for racer in racers:
            racer.end()
    assert single.sql(refusals) == str(cycles)
    assert {outcome for racer in racers for _, outcome in racer.tries} <= {"refused", "lost"}
    assert single.value("version", "faulty") == "1"
    assert single.value("state", "faulty") == "failed"
    single.sql("RENAME TABLE shop.mended TO shop.faulty; INSERT INTO shop.faulty VALUES (2)")
    check_recovery(single, "faulty")


def test_promoter_that_cannot_write_leaves_it_to_another(single):
    """Its own disk is no reason to refuse the farm a promotion."""
    single.group("disk")
    single.sql("""CREATE TABLE shop.disk (id INT PRIMARY KEY); INSERT INTO shop.disk VALUES (1);
        CALL farmsync.add_dataset_with('disk', 'shop.disk', 'id', '{"group":"disk"}')""")
    outcome, problem, _ = single.promote("disk", directory=os.path.join(single.dir, "no-such"))
    assert (outcome, problem) == ("error", "FS0102")
    assert single.value("state", "disk") == "running"
    assert single.value("version", "disk") == "0"
    once = ("once", single.options["agent", 0], "disk", "web1", single.directory("images"))
    assert single.tool(*once)[1] == "staged"


KILLS = 15


def check_whole(source, group, datasets):
    """Whatever died: each version has all its images, and one promotion in history."""
    assert source.value("promoting", group) == "0"
    version = source.value("version", group)
    assert source.sql(f"SELECT COUNT(*) FROM farmsync.image WHERE group_name = '{group}'"
                      f" AND version = {version}") == str(datasets)
    assert source.sql(f"SELECT COUNT(*) FROM farmsync.history WHERE group_name = '{group}'"
                      f" AND action = 'promote'") == version
    return int(version)


def test_promoter_killed_at_any_moment_leaves_nothing_half_done(single):
    single.group("killed")
    single.sql("""CREATE TABLE shop.killed (id INT PRIMARY KEY, v INT, w VARCHAR(200));
        INSERT INTO shop.killed SELECT seq, 0, REPEAT('x', 200) FROM shop.seq_1_to_4000;
        CREATE TABLE shop.bystander (v INT PRIMARY KEY); INSERT INTO shop.bystander VALUES (0)""")
    for name, key in (("killed", "id"), ("bystander", "v")):
        single.sql(f"CALL farmsync.add_dataset_with('{name}', 'shop.{name}', '{key}',"
                   " '{\"group\":\"killed\"}')")
    began = time.monotonic()
    assert single.promote("killed")[0] == "staged"
    whole = time.monotonic() - began
    died = 0
    for number in range(KILLS):
        before = check_whole(single, "killed", 2)
        single.sql(f"START TRANSACTION; UPDATE shop.killed SET v = {number + 1};"
                   f" UPDATE shop.bystander SET v = {number + 1}; COMMIT")
        single.make_due("killed")
        with subprocess.Popen([paths.built("tests/tools/fs_promote"), "once",
                               single.options["datasrv", 0], "killed", "ds1",
                               single.directory("images")], stdout=subprocess.DEVNULL) as promoter:
            time.sleep(whole * number / KILLS)  # where it dies is what is varied here
            promoter.kill()
        died += promoter.returncode != 0
        if promoter.returncode == 0:
            whole *= 0.8  # it was measured while the machine was busier
        # Its transaction ends when the server notices; then whoever comes next does all of it.
        deadline = time.monotonic() + WAIT_S
        while single.value("version", "killed") == str(before):
            once = ("once", single.options["agent", 0], "killed", "web1", single.directory("images"))
            assert single.tool(*once)[1] in ("staged", "lost")
            assert time.monotonic() < deadline
        assert check_whole(single, "killed", 2) == before + 1
        assert single.sql("SELECT DISTINCT k.v, b.v FROM farmsync.staged_killed k,"
                          " farmsync.staged_bystander b") == f"{number + 1}\t{number + 1}"
    assert died > KILLS // 3, "the promoter was too quick to be killed"


# --- clock --------------------------------------------------------------------------------------------


def test_clock_is_the_databases_whatever_the_zones(single):
    zone = single.sql("SELECT @@GLOBAL.time_zone")
    try:
        single.sql("SET GLOBAL time_zone = '+11:00'")
        before = time.time()
        remote, trip = single.tool("clock", single.options["agent", 0])
        after = time.time()
    finally:
        single.sql(f"SET GLOBAL time_zone = '{zone}'")
    assert before - 1 < int(remote) / 1e6 < after + 1
    assert 0 <= int(trip) < 10_000_000
