# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the SQL tests: one private MariaDB for the whole session, emptied before each test, and a
Galera cluster for the tests that want one. A test module takes them with

    pytest_plugins = ["sql_fixtures"]
"""

import hashlib
import os
import shutil
import sys
import tempfile
import threading

import pymysql
import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "scripts"))

from farmlib.mariadb import MariaDB, SqlError, start_galera, stop_all  # noqa: E402

SQL_DIR = os.path.join(HERE, "..", "..", "sql")
LOST = (1020, 1047, 1205, 1213, 3101)  # errors that mean: somebody else was first


class Session:
    """One connection with the settings that the promoters use. Rows are tuples."""

    def __init__(self, server, database="farmsync", user="root", password=""):
        self.connection = pymysql.connect(
            unix_socket=server.socket,
            user=user,
            password=password,
            database=database,
            charset="utf8mb4",
            autocommit=True,
            conv=dict(pymysql.converters.encoders),  # every value comes as the server prints it
            client_flag=pymysql.constants.CLIENT.MULTI_STATEMENTS,
        )
        self.run("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        self.run("SET SESSION time_zone='+00:00', SESSION innodb_lock_wait_timeout=2")
        self.galera = server.is_galera()
        if self.galera:
            self.run("SET SESSION wsrep_sync_wait=1")

    def run(self, text, *values):
        """Runs a statement; returns the rows of its first result."""
        with self.connection.cursor() as cursor:
            cursor.execute(text, values or None)
            rows = list(cursor.fetchall())
            while cursor.nextset():
                pass
            return rows

    def script(self, text):
        """Several statements at once; results are thrown away."""
        with self.connection.cursor() as cursor:
            cursor.execute(text)
            while cursor.nextset():
                pass

    def transact(self, statements):
        """A writer's transaction. On Galera, where another node's rows go before one's own locks, it is tried
        again as every client there must; on one server nothing may stand in a writer's way."""
        while True:
            try:
                self.run("START TRANSACTION")
                for statement in statements:
                    self.run(statement)
                self.run("COMMIT")
                return
            except pymysql.MySQLError as error:
                if not self.galera or error.args[0] not in LOST:
                    raise
                self.run("ROLLBACK")

    def write(self, text, *values):
        """A statement that is a transaction of its own, where nothing is to be seen but that it was done: tried
        again on Galera, as transact()."""
        while True:
            try:
                return self.run(text, *values)
            except pymysql.MySQLError as error:
                if not self.galera or error.args[0] not in LOST:
                    raise

    def one(self, text, *values):
        """First value of the first row."""
        rows = self.run(text, *values)
        return rows[0][0] if rows else None

    def refused(self, text, *values):
        """Runs what must fail; returns the message."""
        with pytest.raises(pymysql.MySQLError) as caught:
            self.run(text, *values)
        return caught.value.args[1]

    def close(self):
        self.connection.close()

    # --- what the tests do all the time

    def make_due(self, group="default"):
        """Moves the activation to this moment, as if the cycle had passed."""
        self.write(
            "UPDATE farmsync.sync SET activation_time = UTC_TIMESTAMP(6), epoch = epoch + 1 "
            "WHERE group_name = %s",
            group,
        )

    def epoch(self, group="default"):
        return int(self.one("SELECT epoch FROM farmsync.sync WHERE group_name = %s", group))

    def sync(self, group="default"):
        """The group's row as a dictionary."""
        names = [r[0] for r in self.run("SHOW COLUMNS FROM farmsync.sync")]
        row = self.run("SELECT * FROM farmsync.sync WHERE group_name = %s", group)[0]
        return dict(zip(names, row))

    def images(self, version, who="test", group="default"):
        """Enters the images of a version as the C code does, with a digest of the rows for the image."""
        missing = self.run(
            "SELECT d.name, d.`columns` FROM farmsync.dataset d LEFT JOIN farmsync.image i "
            "ON i.group_name = d.group_name AND i.dataset = d.name AND i.version = %s "
            "WHERE d.group_name = %s AND d.dropped = 0 AND i.dataset IS NULL",
            version,
            group,
        )
        for name, _ in missing:
            rows = self.run(
                "SELECT * FROM farmsync.`data_%s` WHERE fs_from <= %s AND fs_to > %s"
                % (name, version, version)
            )
            digest = hashlib.sha256(repr(sorted(r[2:] for r in rows)).encode()).hexdigest()
            self.run(
                "CALL farmsync.promote_image(%s, %s, %s, %s, %s, %s)",
                group,
                version,
                name,
                digest,
                1,
                len(rows),
            )
        self.run("CALL farmsync.promote_done(%s, %s, %s)", group, version, who)

    def promote(self, epoch=None, who="test", group="default"):
        """One attempt at a promotion; the outcome, 'lost' also when the database says so. Other errors are
        raised after ROLLBACK."""
        if epoch is None:
            epoch = self.epoch(group)
        try:
            self.run("START TRANSACTION")
            rows = self.run("CALL farmsync.promote(%s, %s, %s)", group, epoch, who)
            outcome, version = rows[0][0], rows[0][1]
            if outcome == "staged":
                self.images(version, who, group)
            self.run("COMMIT")
            return outcome
        except pymysql.MySQLError as error:
            self.run("ROLLBACK")
            if error.args[0] in LOST:
                return "lost"
            raise

    def refused_cycle(self, group="default"):
        """A promotion that must be refused; the sentence, which is recorded as the C code does it."""
        self.make_due(group)
        with pytest.raises(pymysql.MySQLError) as caught:
            self.promote(group=group)
        text = caught.value.args[1]
        self.run("CALL farmsync.promote_failed(%s, %s, 'test', %s)", group, self.epoch(group), text)
        return text

    def cycle(self, who="test", group="default"):
        """Makes the group due and promotes it."""
        self.make_due(group)
        return self.promote(who=who, group=group)


def install(server):
    server.run_file(os.path.join(SQL_DIR, "install.sql"))


DROPS = """
SELECT CONCAT('DROP ', IF(table_type = 'VIEW', 'VIEW', 'TABLE'), ' farmsync.`', table_name, '`;')
FROM information_schema.tables
WHERE table_schema = 'farmsync' AND table_name REGEXP '^(data|changed|staged|active|pending)_'
"""
RESET = """
SET FOREIGN_KEY_CHECKS = 0;
DELETE FROM farmsync.sync; DELETE FROM farmsync.dataset; DELETE FROM farmsync.dataset_column; DELETE FROM farmsync.dataset_changes;
DELETE FROM farmsync.dataset_check; DELETE FROM farmsync.dataset_limits; DELETE FROM farmsync.group_gate;
DELETE FROM farmsync.image; DELETE FROM farmsync.member; DELETE FROM farmsync.history; DELETE FROM farmsync.notice;
INSERT INTO farmsync.sync (group_name, activation_time, grid_time)
  VALUES ('default', UTC_TIMESTAMP(6), UTC_TIMESTAMP(6));
CALL farmsync.make_pending();
DROP DATABASE IF EXISTS shop; CREATE DATABASE shop CHARACTER SET utf8mb4;
GRANT SELECT, TRIGGER ON shop.* TO 'farmsync'@'localhost';
"""


def empty(server):
    """As after the installation, with an empty database `shop`."""
    while True:
        try:
            server.sql(server.sql(DROPS) + RESET)
            return
        except SqlError as error:  # another node's last rows came first
            if not server.is_galera() or not any(f"ERROR {number} " in str(error) for number in LOST):
                raise


@pytest.fixture(scope="session")
def sql_server():
    """Its system time zone has summer time, whatever this machine's is."""
    directory = tempfile.mkdtemp(prefix="fssql-", dir="/tmp")
    server = MariaDB(directory)
    zone = os.environ.get("TZ")
    os.environ["TZ"] = "CET-1CEST,M3.5.0,M10.5.0/3"
    try:
        server.start()
    finally:
        if zone is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = zone
    install(server)
    yield server
    server.stop()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def server(sql_server):
    empty(sql_server)
    return sql_server


@pytest.fixture
def connect(server):
    """Makes more sessions: connect(), connect(user='...')."""
    sessions = []

    def make(**options):
        sessions.append(Session(options.pop("server", server), **options))
        return sessions[-1]

    yield make
    for session in sessions:
        session.close()


@pytest.fixture
def db(connect):
    return connect()


@pytest.fixture(scope="session")
def galera_nodes():
    directory = tempfile.mkdtemp(prefix="fsgal-", dir="/tmp")
    os.chmod(directory, 0o755)
    nodes = start_galera(3, directory)
    install(nodes[0])
    yield nodes
    stop_all(nodes)
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def galera(galera_nodes):
    empty(galera_nodes[0])
    return galera_nodes


class Threads:
    """Runs functions at once; an exception in one of them fails the test."""

    def __init__(self):
        self.failures = []
        self.threads = []

    def start(self, function, *values):
        def guarded():
            try:
                function(*values)
            except BaseException as error:  # pylint: disable=broad-except
                self.failures.append(error)

        thread = threading.Thread(target=guarded, daemon=True)
        self.threads.append(thread)
        thread.start()

    def join(self):
        for thread in self.threads:
            thread.join()
        if self.failures:
            raise self.failures[0]
