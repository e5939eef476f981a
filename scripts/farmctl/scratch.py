# SPDX-License-Identifier: Apache-2.0
"""The scratch schema of check-db: made for one run and dropped; the farm is not touched."""

import secrets
import time

from . import options as my
from .database import DENIED, NOT_READY, connect_host, pymysql, text_of
from .errors import NoScratch

PREFIX = "farmsync_check_"
READ_S = 30
APPEAR_S = 10  # in which a new schema has to be seen on every host
ROWS = 200  # of each table of the snapshot's check

TABLES = """
CREATE TABLE race (name VARCHAR(64) NOT NULL PRIMARY KEY, version BIGINT NOT NULL,
  active_version BIGINT NOT NULL, epoch BIGINT NOT NULL,
  promoted_by VARCHAR(64) NOT NULL) ENGINE={engine};
CREATE TABLE work (epoch BIGINT NOT NULL, who VARCHAR(64) NOT NULL, place INT NOT NULL,
  PRIMARY KEY (epoch, who, place)) ENGINE={engine};
CREATE TABLE left_side (id INT NOT NULL PRIMARY KEY, value BIGINT NOT NULL) ENGINE={engine};
CREATE TABLE right_side (id INT NOT NULL PRIMARY KEY, value BIGINT NOT NULL) ENGINE={engine};
CREATE TABLE ticket (id INT NOT NULL PRIMARY KEY, value BIGINT NOT NULL) ENGINE={engine};
INSERT INTO race VALUES ('race', 0, 0, 1, '');
INSERT INTO ticket VALUES (1, 0), (2, 0)
"""


class Scratch:
    def __init__(self, target, engine="InnoDB"):
        self.target = target
        self.engine = engine
        self.name = PREFIX + secrets.token_hex(4)
        self.hosts = []  # those that can be promoted on
        self.notes = []  # what people should know of the others
        self.facts = []  # of host_facts, one for each of these
        self.reasons = []  # why it can't be trusted, found while setting up
        self.blocked = False  # so that there is no use in racing
        self._owner = None

    def connect(self, host):
        return connect_host(self.target, host, READ_S, self.name)

    # --- set up
    def __enter__(self):
        try:
            self._find_hosts()
            self._look()
            if not self.blocked:
                self._create()
                self._wait_everywhere()
        except BaseException:
            self.drop()
            raise
        return self

    def __exit__(self, *_):
        self.drop()

    def _find_hosts(self):
        """Hosts that answer and can be written on; a server that has two names counts once."""
        identities = {}
        for host in self.target.hosts:
            name = my.host_name(host)
            try:
                connection = connect_host(self.target, host, READ_S)
                facts = host_facts(connection)
                connection.close()
            except pymysql.MySQLError as error:
                why = "isn't ready" if error.args[0] in NOT_READY else "can't be reached"
                self.notes.append(f"{name} {why} and was left out: {text_of(error)}")
                continue
            if facts["read_only"]:
                self.notes.append(f"{name} is read-only and was left out: nobody can promote "
                                  "there; take it out of the list of hosts")
            elif facts["identity"] in identities:
                self.notes.append(f"{name} is the same server as {identities[facts['identity']]}")
            else:
                identities[facts["identity"]] = name
                self.hosts.append(host)
                self.facts.append({"host": name, **facts})
        if not self.hosts:
            raise NoScratch("there is no host to check: " + "; ".join(self.notes))

    def _look(self):
        """What the settings alone say."""
        for one in self.facts:
            if one["statement_log"]:
                self.blocked = True
                self.reasons.append(
                    f"{one['host']} writes its binary log as statements, which InnoDB refuses at "
                    "READ COMMITTED; set binlog_format = ROW")
        if len(self.facts) > 1 and not all(one["galera"] for one in self.facts) \
                and "OFF" not in {one["single_primary"] for one in self.facts}:
            self.reasons.append(
                "the hosts are no Galera cluster and no multi-primary group: name one server that "
                "all promoters use, or the nodes of one cluster")

    def _create(self):
        connection = connect_host(self.target, self.hosts[0], READ_S)
        try:
            with connection.cursor() as cursor:
                cursor.execute(f"CREATE DATABASE `{self.name}`")
                self._owner = connection
                cursor.execute(f"USE `{self.name}`")
                for statement in TABLES.format(engine=self.engine).split(";"):
                    cursor.execute(statement)
                for table in ("left_side", "right_side"):
                    cursor.executemany(f"INSERT INTO {table} VALUES (%s, 1000)",
                                       [(number,) for number in range(ROWS)])
                cursor.execute("SELECT DISTINCT engine FROM information_schema.tables WHERE "
                               "table_schema = %s", (self.name,))
                engines = [row[0] for row in cursor.fetchall()]
        except pymysql.MySQLError as error:
            right = ("; check-db needs an account with the right: GRANT ALL PRIVILEGES ON "
                     "`farmsync\\_check\\_%`.* TO account") if error.args[0] in DENIED else ""
            raise NoScratch(f"the scratch schema {self.name} can't be made: {text_of(error)}"
                            + right) from error
        if engines != ["InnoDB"]:
            self.reasons.append(f"tables are {', '.join(engines)}, which has no transactions that "
                                "can be rolled back; use InnoDB")

    def _wait_everywhere(self):
        """What is made on one host has to be there on the others."""
        for host in self.hosts[1:]:
            deadline = time.monotonic() + APPEAR_S
            while True:
                try:
                    self.connect(host).close()
                    break
                except pymysql.MySQLError as error:
                    if time.monotonic() > deadline:
                        self.blocked = True
                        self.reasons.append(
                            f"what is written on {my.host_name(self.hosts[0])} isn't seen on "
                            f"{my.host_name(host)} within {APPEAR_S} s ({text_of(error)}): these "
                            "are separate databases; name hosts of one cluster only")
                        return
                    time.sleep(0.1)

    def drop(self):
        if self._owner is None:
            return
        try:
            self._drop_with(self._owner)
        except pymysql.MySQLError:
            connection = connect_host(self.target, self.hosts[0], READ_S)
            self._drop_with(connection)
            connection.close()
        self._owner = None

    def _drop_with(self, connection):
        with connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS `{self.name}`")

    def one(self, host, statement):
        """The rows of a statement on a connection of its own."""
        connection = self.connect(host)
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall()
        finally:
            connection.close()


def variables(connection, pattern, what="VARIABLES"):
    with connection.cursor() as cursor:
        cursor.execute(f"SHOW GLOBAL {what} LIKE %s", (pattern,))
        return {row[0].lower(): row[1] for row in cursor.fetchall()}


def host_facts(connection):
    """What check-db and doctor want to know of a server."""
    every = {name: variables(connection, name) for name in (
        "version", "version_comment", "hostname", "port", "server_uuid", "server_uid", "read_only",
        "super_read_only", "log_bin", "binlog_format", "wsrep_on",
        "group_replication_single_primary_mode", "innodb_snapshot_isolation")}
    value = {name: found.get(name, "") for name, found in every.items()}
    galera = value["wsrep_on"] == "ON"
    status = variables(connection, "wsrep_%", "STATUS") if galera else {}
    identity = value["server_uuid"] or value["server_uid"] or value["hostname"]
    if galera:  # nodes that were cloned may share everything else
        identity += status.get("wsrep_gcomm_uuid", "")
    return {"version": value["version"], "comment": value["version_comment"], "galera": galera,
            "identity": (identity, value["port"]),
            "read_only": value["super_read_only"] == "ON"
            or value["read_only"] not in ("", "OFF", "0", "NO_LOCK"),
            "cluster_size": status.get("wsrep_cluster_size"),
            "statement_log": value["log_bin"] == "ON" and value["binlog_format"] == "STATEMENT",
            "single_primary": value["group_replication_single_primary_mode"]}
