# SPDX-License-Identifier: Apache-2.0
"""farmsyncctl check-db: says yes where the locking can be trusted, and no where it can't."""

import shutil
import subprocess
import tempfile

import pytest

from ctl_fixtures import CTL, Ctl, make_account
from farmlib.mariadb import MariaDB
from farmlib.part import wait_until

pytest_plugins = ["sql_fixtures", "ctl_fixtures"]

RIGHT = "GRANT ALL PRIVILEGES ON `farmsync\\_check\\_%`.* TO {}@'%'"


def left_over(server):
    return server.sql("SHOW DATABASES LIKE 'farmsync\\_check%'")


def trusted(ctl, *more):
    return ctl.json("check-db", *more)


def distrusted(ctl, *more):
    said = ctl.json("check-db", *more, status=1)
    assert said["trusted"] is False
    return said["reasons"]


@pytest.fixture
def checker(account):
    return account("ctl_check", RIGHT.format("ctl_check"))


def test_one_server_can_be_trusted(checker, server):
    said = trusted(checker)
    assert said["trusted"] and said["reasons"] == []
    race = said["race"]
    assert (race["promoted"], race["double"], race["broken_off"], race["stale_reads"]) == (100, 0, 10, 0)
    assert said["snapshot"]["reads"] >= 100 and said["snapshot"]["torn"] == 0
    assert said["dropped_transaction"] == 1213
    assert "can be trusted" in checker.ok("check-db", "--cycles", "5", "--connections", "2")
    assert left_over(server) == ""


@pytest.mark.parametrize("engine", ("MyISAM", "Aria"))
def test_tables_without_transactions_cannot_be_trusted(checker, server, engine):
    reasons = distrusted(checker, "--sabotage", engine)
    assert any("rolled back, and its changes stayed" in one for one in reasons)
    assert any("saw half of a transaction" in one for one in reasons)
    assert any(engine in one for one in reasons)
    assert left_over(server) == ""


def test_read_then_write_is_no_lock(checker):
    reasons = distrusted(checker, "--sabotage", "read-then-write")
    assert any("promoted more than once" in one for one in reasons)


def test_an_account_without_the_right_learns_which_one(account, server):
    refused = account("ctl_norights").refused("check-db", status=4)
    assert refused.startswith("FS0909: ") and "GRANT ALL PRIVILEGES ON `farmsync\\_check\\_%`.*" in refused
    assert left_over(server) == ""


def test_a_host_that_is_read_only_or_away_is_left_out(checker, server):
    said = trusted(checker, "--host", f"127.0.0.1:1,127.0.0.1:{server.port},localhost:{server.port}",
                   "--cycles", "10")
    assert said["trusted"] and len(said["hosts"]) == 1
    assert "127.0.0.1:1 can't be reached" in said["notes"][0] and "the same server" in said["notes"][1]
    server.sql("SET GLOBAL read_only = 1")
    try:
        assert "read-only" in checker.refused("check-db", status=4)
    finally:
        server.sql("SET GLOBAL read_only = 0")


def test_a_check_that_is_ended_leaves_nothing(checker, server):
    with subprocess.Popen([CTL, *checker.where, "check-db", "--cycles", "100000"], stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE) as running:
        assert b"Racing" in running.stderr.readline()
        assert running.stderr.readline().startswith(b"20 of")
        running.terminate()
        assert running.wait(60) == 130
    wait_until(lambda: left_over(server) == "", 30, "the scratch schema to be gone")


@pytest.fixture
def stranger():
    """A second server that belongs to nobody's farm and logs statements."""
    directory = tempfile.mkdtemp(prefix="fsctl-", dir="/tmp")
    server = MariaDB(directory, args=["--log-bin=binlog", "--binlog-format=STATEMENT", "--server-id=7",
                                      "--max-allowed-packet=1M"])
    server.start()
    yield server
    server.stop()
    shutil.rmtree(directory, ignore_errors=True)


def test_two_separate_servers_and_a_log_of_statements(checker, server, stranger):
    make_account(stranger, "ctl_check", RIGHT.format("ctl_check"))
    stranger.sql("SET GLOBAL binlog_format = ROW")
    both = Ctl(*checker.where, "--host", f"127.0.0.1:{server.port},127.0.0.1:{stranger.port}")
    assert any("separate databases" in one for one in distrusted(both))
    stranger.sql("SET GLOBAL binlog_format = STATEMENT")
    alone = Ctl(*checker.where, "--host", f"127.0.0.1:{stranger.port}")
    assert any("binlog_format = ROW" in one for one in distrusted(alone))
    assert left_over(server) == "" and left_over(stranger) == ""
    said = alone.json("doctor", status=1)
    found = {one["check"]: one for one in said["findings"] if one["level"] in ("error", "warning")}
    assert "binlog_format = ROW" in found["binlog-format"]["remedy"]
    assert "max_allowed_packet" in found["max-allowed-packet"]["text"]
    assert found["account"]["remedy"] or found["schema"]["remedy"]


@pytest.mark.limit(300)
def test_a_galera_cluster_can_be_trusted(galera):
    galera[0].sql("CREATE OR REPLACE USER ctl_check@'%' IDENTIFIED BY ''; " + RIGHT.format("ctl_check"))
    nodes = Ctl("--user", "ctl_check", "--host", ",".join(f"127.0.0.1:{one.port}" for one in galera))
    said = trusted(nodes)
    assert said["trusted"], said
    assert len(said["hosts"]) == 3 and all(one["galera"] for one in said["hosts"])
    assert said["race"]["promoted"] == 100 and said["race"]["double"] == 0
    assert said["race"]["conflicts"].get("1213", 0) > 0  # the nodes did meet
    assert any("promoted more than once" in one or "are lost" in one or "is there in part" in one
               for one in distrusted(nodes, "--sabotage", "read-then-write"))
    assert left_over(galera[1]) == ""


@pytest.mark.limit(300)
def test_a_node_that_is_not_ready_is_passed_over(galera):
    """As without its cluster, a node that rejects queries answers 1047."""
    galera[0].sql("CREATE OR REPLACE USER ctl_check@'%' IDENTIFIED BY ''; " + RIGHT.format("ctl_check")
                  + "; GRANT farmsync_agent TO ctl_check@'%'; SET DEFAULT ROLE farmsync_agent FOR ctl_check@'%'")
    hosts = [f"127.0.0.1:{one.port}" for one in (galera[2], galera[0], galera[1])]
    nodes = Ctl("--user", "ctl_check", "--host", ",".join(hosts))
    galera[2].sql("SET GLOBAL wsrep_reject_queries = ALL")
    try:
        said = trusted(nodes, "--cycles", "10")
        assert said["trusted"] and len(said["hosts"]) == 2
        assert hosts[0] + " isn't ready" in said["notes"][0]
        assert nodes.json("status")["database"] == hosts[1]
        found = nodes.json("doctor", "--seconds", "0", status=1)["findings"]
        assert any(hosts[0] in one["text"] and one["level"] == "error" for one in found)
    finally:
        galera[2].sql("SET GLOBAL wsrep_reject_queries = NONE")
    found = [one for one in nodes.json("doctor", "--seconds", "0")["findings"] if one["check"] == "galera"]
    assert [one["level"] for one in found] == ["ok"] * 3
