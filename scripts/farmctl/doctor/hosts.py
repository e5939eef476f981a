# SPDX-License-Identifier: Apache-2.0
"""The database hosts: do they answer, can they promote, do their clocks agree?"""

import re
import time

from .. import options as my
from ..database import connect_host, pymysql, text_of
from ..scratch import host_facts, variables
from . import error, ok, skipped, warning

LEAST = {"MariaDB": (10, 6), "MySQL": (8, 0)}
PACKET = 16 << 20
CLOCKS_MS = 10  # that hosts may differ
SAMPLES = 12


def check(patient):
    clocks = {}
    for host in patient.target.hosts:
        name = my.host_name(host)
        try:
            connection = connect_host(patient.target, host, 10)
        except pymysql.MySQLError as failure:
            yield unreached(name, failure, patient)
            continue
        try:
            yield from of_host(name, connection)
            clocks[name] = clock(connection)
        except pymysql.MySQLError as failure:
            yield error("host", f"{name}: {text_of(failure)}", "see the database's error log")
        finally:
            connection.close()
        if patient.db is None:
            patient.db = patient.context.db
    yield from compare(clocks)


def unreached(name, failure, patient):
    code = failure.args[0] if failure.args else 0
    remedy = {
        1045: f"check user and password in {patient.target.source}; the account must be allowed to "
              "come from this host",
        1698: "this account logs in through the Unix socket only; give another one",
        1040: "raise max_connections, or find who holds so many",
        1130: "let the account come from this host: CREATE USER name@'host'",
        1047: "the node has no cluster: see SHOW STATUS LIKE 'wsrep_cluster_status' there",
        2003: "check that the database runs there, its bind_address, its port and the firewall",
        2059: "give the account a password of mysql_native_password or ed25519, or use TLS",
    }.get(code, "check host, port and that the database runs there")
    what = "doesn't answer" if code in (2002, 2003) else f"doesn't let {patient.target.user} in"
    return error("host", f"{name} {what}: {text_of(failure)}", remedy)


def of_host(name, connection):
    facts = host_facts(connection)
    yield from release(name, facts)
    if facts["statement_log"]:
        yield error("binlog-format", f"{name} writes its binary log as statements, so every "
                                     "promotion is refused "
                                     "(FS1008)", "set binlog_format = ROW in its configuration")
    else:
        yield ok("binlog-format", f"{name}: the binary log is off or not of statements")
    if facts["read_only"]:
        yield error("read-only", f"{name} is read-only: nobody can promote there",
                    "take replicas out of the lists of hosts, or SET GLOBAL read_only = OFF")
    packet = int(variables(connection, "max_allowed_packet")["max_allowed_packet"])
    if packet < PACKET:
        yield warning("max-allowed-packet", f"{name} has max_allowed_packet {packet}; rows and "
                                            "lists of columns beyond it "
                                            "fail", f"set max_allowed_packet = {4 * PACKET}")
    else:
        yield ok("max-allowed-packet", f"{name}: max_allowed_packet is {packet}")
    yield from connections(name, connection)
    if facts["galera"]:
        yield from galera(name, connection)


def release(name, facts):
    kind = "MariaDB" if "mariadb" in facts["version"].lower() else "MySQL"
    found = re.match(r"(?:5\.5\.5-)?(\d+)\.(\d+)", facts["version"])
    if found and (int(found[1]), int(found[2])) < LEAST[kind]:
        yield error("release", f"{name} is {kind} {facts['version']}",
                    "farmsync needs MariaDB 10.6 or MySQL 8.0, or later")
    else:
        yield ok("release", f"{name}: {kind} {facts['version']}"
                 + (f", Galera with {facts['cluster_size']} nodes" if facts["galera"] else ""))


def connections(name, connection):
    most = int(variables(connection, "max_connections")["max_connections"])
    now = int(variables(connection, "Threads_connected", "STATUS").get("threads_connected", 0))
    if now > 0.8 * most:
        yield warning("connections", f"{name} has {now} of {most} connections in use",
                      "raise max_connections, or run data servers, who ask in place of the web "
                      "servers")


def galera(name, connection):
    status = variables(connection, "wsrep_%", "STATUS")
    settings = variables(connection, "wsrep_%")
    if status.get("wsrep_cluster_status") != "Primary" or status.get("wsrep_ready") != "ON":
        yield error("galera", f"{name} isn't ready: {status.get('wsrep_cluster_status')}, "
                    f"{status.get('wsrep_local_state_comment')}",
                    "bring the node back to its cluster; see its error log")
    else:
        yield ok("galera", f"{name} is {status.get('wsrep_local_state_comment')} in a cluster of "
                 f"{status.get('wsrep_cluster_size')}, and reads wait for what is committed "
                 "(wsrep_sync_wait can be set)")
    if status.get("wsrep_cluster_size") == "2":
        yield warning("galera-quorum", f"{name}: two nodes: the death of one stops the other",
                      "add a third node or an arbitrator (garbd)")
    if settings.get("wsrep_osu_method", "TOI") != "TOI":
        yield warning("galera-ddl", f"{name} has wsrep_OSU_method {settings['wsrep_osu_method']}: "
                      "datasets that are added there come to no other node",
                      "SET GLOBAL wsrep_OSU_method = 'TOI'")
    if int(settings.get("wsrep_max_ws_rows", "0")) > 0:
        yield warning("galera-certification", f"{name} refuses transactions of more than "
                      f"{settings['wsrep_max_ws_rows']} rows, so a promotion of many fails",
                      "SET GLOBAL wsrep_max_ws_rows = 0")
    flush = variables(connection, "innodb_flush_log_at_trx_commit")
    if flush.get("innodb_flush_log_at_trx_commit") == "0":
        yield warning("galera-durability", f"{name} has innodb_flush_log_at_trx_commit 0: a crash "
                                           "of all nodes loses promotions that were confirmed",
                      "set innodb_flush_log_at_trx_commit to 1, or at least 2")


def clock(connection):
    """The server's clock against this host's monotonic one: offset and bound in seconds."""
    best = None
    with connection.cursor() as cursor:
        for _ in range(SAMPLES):
            before = time.monotonic()
            cursor.execute("SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', SYSDATE(6))")
            value = cursor.fetchone()[0]
            after = time.monotonic()
            bound = (after - before) / 2
            if best is None or bound < best[1]:
                best = (value / 1e6 - (before + after) / 2, bound)
    return best


def compare(clocks):
    if len(clocks) < 2:
        if clocks:
            yield skipped("host-clocks", "one database host was reached, so there is nothing to "
                                         "compare")
        return
    first, last = (choose(clocks, key=lambda name: clocks[name][0]) for choose in (min, max))
    apart = 1000 * (clocks[last][0] - clocks[first][0])
    unsure = 1000 * (clocks[last][1] + clocks[first][1])
    if apart - unsure > CLOCKS_MS:
        yield warning("host-clocks", f"the clocks of {first} and {last} are {apart:.1f} ms apart "
                                     f"(give or take {unsure:.1f}): web servers that ask different "
                                     "ones switch as far apart",
                      "run chrony on the database hosts, with one common source")
    else:
        yield ok("host-clocks", f"the database hosts' clocks lie within {apart:.1f} ms (give or "
                                f"take {unsure:.1f})")
