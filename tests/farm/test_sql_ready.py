# SPDX-License-Identifier: Apache-2.0
"""Ready before it counts, in SQL: policies, decisions, the limit, and what operators do meanwhile."""

import hashlib
import json
import random
import subprocess

import pymysql
import pytest
from sql_fixtures import Threads, install

from farmlib import paths
from farmlib.part import wait_until

pytest_plugins = ["sql_fixtures"]

US = 1000000
NEVER = "9999-12-31 00:00:00.000000"


@pytest.fixture
def shop(db):
    db.script(
        "CREATE TABLE shop.price (sku VARCHAR(32) PRIMARY KEY, price DECIMAL(10,2));"
        "INSERT INTO shop.price VALUES ('a', 1), ('b', 2);"
        "CREATE TABLE shop.stock (sku VARCHAR(32) PRIMARY KEY, n INT);"
        "INSERT INTO shop.stock VALUES ('a', 1);"
        "CALL farmsync.add_dataset('prices', 'shop.price', 'sku');"
        "CALL farmsync.add_dataset('Stock', 'shop.stock', 'sku');"
    )
    assert db.cycle() == "staged"
    db.make_due()
    return db


def digest_of(db, version):
    """As fs_manifest_version_digest."""
    rows = sorted((n.encode(), d) for n, d in db.run(
        "SELECT dataset, digest FROM farmsync.image WHERE version = %s", version))
    return hashlib.sha256(b"".join(n + b"\0" + bytes.fromhex(d) for n, d in rows)).hexdigest()


def member(name, **values):
    return {"name": name, "kind": "agent", "group": "default", "clock_bound_us": 500, **values}


def report(db, *members):
    db.write("CALL farmsync.report_members(%s)", json.dumps(members))


def ready(db, name, **values):
    version = int(db.sync()["version"])
    report(db, member(name, **{"version_staged": version, "digest_staged": digest_of(db, version), **values}))


def stage(db, policy="all", limit=60, on_limit="activate"):
    """Stages a change under a policy; returns the row."""
    db.write("CALL farmsync.set_ready('default', %s, %s, %s)", policy, limit, on_limit)
    db.run("UPDATE shop.price SET price = price + 1")
    assert db.cycle() == "staged"
    return db.sync()


def decide(db, epoch=None):
    return db.run("CALL farmsync.decide('default', %s, 'ds1')", db.epoch() if epoch is None else epoch)[0]


def plan(db, seconds, until=60):
    """Moves the plan, as if time had passed."""
    db.write("UPDATE farmsync.sync SET epoch = epoch + 1, planned_time = UTC_TIMESTAMP(6) + INTERVAL %s MICROSECOND, "
             "ready_until = UTC_TIMESTAMP(6) + INTERVAL %s MICROSECOND", int(seconds * US), int(until * US))


def clock(db):
    return db.one("SELECT UTC_TIMESTAMP(6)")


def leaves(db, column, seconds, since):
    """Whether an act after `since` left so much time, neither less nor more, however long the test itself took."""
    told = int(db.one(f"SELECT TIMESTAMPDIFF(MICROSECOND, %s, {column}) FROM farmsync.sync", since)) / US
    return left(db, column) <= seconds <= told


def left(db, column):
    return int(db.one(f"SELECT TIMESTAMPDIFF(MICROSECOND, UTC_TIMESTAMP(6), {column}) FROM farmsync.sync")) / US


def history(db, action):
    return [d for (d,) in db.run("SELECT detail FROM farmsync.history WHERE action = %s ORDER BY id", action)]


# --- by time alone


def test_time_is_the_default_and_waits_for_nobody(shop):
    report(shop, member("web1"))
    shop.run("UPDATE shop.price SET price = price + 1")
    assert shop.cycle() == "staged"
    row = shop.sync()
    assert row["state"] == "running" and row["planned_time"] is None
    assert row["activation_time"] < NEVER
    assert decide(shop)[0] == "lost"


# --- waiting


def test_a_version_that_waits_has_no_activation_time(shop):
    report(shop, member("web1"))
    row = stage(shop)
    assert (row["state"], row["activation_time"]) == ("waiting", NEVER)
    assert left(shop, "planned_time") > 4.5
    # Nobody promotes, nothing changes in what is in force, whatever the plan says.
    plan(shop, -5)
    assert shop.promote() == "lost"
    in_force, staged, state = shop.run("SELECT in_force, staged, state FROM farmsync.cycle")[0]
    assert (int(in_force), int(staged), state) == (1, 2, "waiting")
    assert shop.run("SELECT DISTINCT price FROM farmsync.active_prices WHERE sku = 'a'") == [("1.00",)]
    state, activation, planned = shop.run(
        "SELECT u.state, u.activation_us, TIMESTAMPDIFF(MICROSECOND, '1970-01-01', s.planned_time) "
        "FROM farmsync.sync_us u JOIN farmsync.sync s ON s.group_name = u.group_name")[0]
    assert (state, activation) == ("waiting", planned)


def test_go_as_soon_as_all_are_ready_and_in_force_at_the_planned_time(shop):
    report(shop, member("web1"), member("web2"))
    row = stage(shop)
    ready(shop, "web1")
    assert decide(shop) == ("wait", "1 of 2 servers are ready; not yet: web2 (retrieving)")
    assert shop.epoch() == int(row["epoch"])
    assert shop.run("SELECT ready, waits_for FROM farmsync.cycle") == [("1 of 2", "web2 (retrieving)")]
    ready(shop, "web2")
    assert decide(shop) == ("go", "2 of 2 servers are ready")
    after = shop.sync()
    assert (after["state"], after["activation_time"]) == ("running", row["planned_time"])
    assert int(after["epoch"]) == int(row["epoch"]) + 1
    assert history(shop, "ready") == ["2 of 2 servers are ready"]
    assert shop.run("SELECT ready FROM farmsync.cycle") == [(None,)]


def test_an_order_always_leaves_time_to_hear_of_it(shop):
    report(shop, member("web1"))
    stage(shop)
    ready(shop, "web1")
    plan(shop, 0.5)
    since = clock(shop)
    assert decide(shop)[0] == "go"
    assert leaves(shop, "activation_time", 3, since)


@pytest.mark.parametrize("change,lacks", [
    ({"digest_staged": "0" * 64}, "retrieving"),
    ({"version_staged": 1}, "retrieving"),
    ({"clock_bound_us": None}, "doesn't know farm time"),
    ({"problem": "FS0562: refuses what it hears"}, "has problem FS0562"),
    ({"problem": "FS0602: what is in force isn't here"}, ""),
])
def test_what_ready_means(shop, change, lacks):
    report(shop, member("web1"))
    stage(shop)
    ready(shop, "web1", **change)
    assert shop.run("SELECT name, lacks FROM farmsync.readiness") == [("web1", lacks)]
    assert decide(shop)[0] == ("wait" if lacks else "go")


def test_silence_counts_until_the_limit_is_over(shop):
    report(shop, member("web1"))
    stage(shop, limit=60)
    ready(shop, "web1")
    shop.run("UPDATE farmsync.member SET seen = UTC_TIMESTAMP(6) - INTERVAL 20 SECOND")
    assert decide(shop) == ("wait", "0 of 1 servers are ready; not yet: web1 (silent for 20 s)")
    shop.run("UPDATE farmsync.member SET seen = UTC_TIMESTAMP(6) - INTERVAL 61 SECOND")
    assert decide(shop) == ("go", "0 of 0 servers are ready")


def test_a_server_that_is_forgotten_is_not_waited_for(shop):
    report(shop, member("web1"), member("web2"))
    stage(shop)
    ready(shop, "web1")
    assert decide(shop)[0] == "wait"
    shop.run("CALL farmsync.forget_member('web2')")
    assert decide(shop)[0] == "go"


@pytest.mark.parametrize("policy,needed", [("1", 1), ("25%", 1), ("26", 2), ("50", 2), ("75%", 3), ("100", 4), ("all", 4)])
def test_percentage(shop, policy, needed):
    report(shop, *(member(f"web{n}") for n in range(4)), member("ds9", kind="datasrv"))
    stage(shop, policy)
    for n in range(needed):
        assert decide(shop)[0] == "wait"
        ready(shop, f"web{n}")
    assert decide(shop)[0] == "go"


# --- put off, and the limit


def test_put_off_in_steps_of_the_lead_and_named(shop):
    shop.run("CALL farmsync.set_lead('default', 2)")
    report(shop, member("web1"), member("web2"))
    stage(shop)
    ready(shop, "web1")
    plan(shop, 2.9)
    before = shop.sync()
    text = "1 of 2 servers are ready; not yet: web2 (retrieving)"
    assert decide(shop) == ("put off", text)
    row = shop.sync()
    assert shop.one("SELECT TIMESTAMPDIFF(MICROSECOND, %s, %s)", before["planned_time"], row["planned_time"]) == "2000000"
    assert (row["state"], row["activation_time"], row["put_off"]) == ("waiting", NEVER, "1")
    assert int(row["epoch"]) == int(before["epoch"]) + 1
    assert row["reason"] == "FS1140: version 2 is put off: " + text
    assert history(shop, "put_off") == [text]
    # Late by several steps: as many as leave the notice.
    plan(shop, -3.1)
    since = clock(shop)
    assert decide(shop)[0] == "put off"
    assert left(shop, "planned_time") < 5
    assert int(shop.one("SELECT TIMESTAMPDIFF(MICROSECOND, %s, planned_time) FROM farmsync.sync", since)) >= 3 * US
    assert history(shop, "put_off") == [text]  # the first says it
    ready(shop, "web2")
    ready(shop, "web1")
    assert decide(shop)[0] == "go"
    assert shop.sync()["reason"] == ""


def test_activated_at_the_limit(shop):
    report(shop, member("web1"), member("web2"))
    stage(shop, on_limit="activate")
    ready(shop, "web1")
    plan(shop, 2, 2)
    text = "1 of 2 servers are ready; not yet: web2 (retrieving)"
    since = clock(shop)
    assert decide(shop) == ("activated", text)
    row = shop.sync()
    assert row["state"] == "running" and leaves(shop, "activation_time", 3, since)
    assert row["reason"] == "FS1141: version 2 is activated at the limit: " + text
    assert history(shop, "limit") == ["activated: " + text]


def test_held_at_the_limit_resumed_and_held_again(shop):
    report(shop, member("web1"))
    stage(shop, limit=30, on_limit="hold")
    plan(shop, 2, 2)
    assert decide(shop)[0] == "held"
    row = shop.sync()
    assert (row["state"], row["activation_time"]) == ("held", NEVER)
    assert row["reason"].startswith("FS1142: version 2 is held at the limit")
    assert history(shop, "limit")[0].startswith("held: 0 of 1 servers are ready; not yet: web1")
    assert decide(shop)[0] == "lost" and shop.promote() == "lost"
    ready(shop, "web1")
    assert decide(shop)[0] == "lost"  # held is held
    assert "FS1048" in shop.refused("CALL farmsync.activate_now('default')")
    shop.run("CALL farmsync.resume('default')")
    row = shop.sync()
    assert (row["state"], row["activation_time"], row["reason"]) == ("waiting", NEVER, "")
    assert left(shop, "planned_time") > 12  # whoever is cut off knows by then that it is
    ready(shop, "web1")
    assert decide(shop)[0] == "go"
    assert left(shop, "activation_time") > 11


def test_nothing_is_put_off_with_a_limit_of_nought(shop):
    report(shop, member("web1"))
    stage(shop, limit=0)
    shop.run("UPDATE farmsync.sync SET epoch = epoch + 1, planned_time = UTC_TIMESTAMP(6) + INTERVAL 2 SECOND, "
             "ready_until = planned_time")
    assert decide(shop)[0] == "activated"


# --- what operators do meanwhile


def test_hold_and_resume_while_it_waits(shop):
    report(shop, member("web1"))
    stage(shop)
    ready(shop, "web1")
    shop.run("CALL farmsync.hold('default')")
    assert decide(shop)[0] == "lost"
    assert shop.sync()["activation_time"] == NEVER
    shop.run("CALL farmsync.resume('default')")
    assert shop.sync()["state"] == "waiting"
    ready(shop, "web1")
    assert decide(shop)[0] == "go"


def test_activate_now_waits_for_nobody(shop):
    report(shop, member("web1"))
    stage(shop)
    since = clock(shop)
    shop.run("CALL farmsync.activate_now('default')")
    row = shop.sync()
    assert row["state"] == "running" and leaves(shop, "activation_time", 3, since)
    assert history(shop, "activate_now") == ["0 of 1 servers are ready; not yet: web1 (retrieving)"]


def test_activate_at_moves_the_plan(shop):
    report(shop, member("web1"))
    stage(shop)
    when = shop.one("SELECT UTC_TIMESTAMP(6) + INTERVAL 100 SECOND")
    assert "FS1045" in shop.refused("CALL farmsync.activate_at('default', UTC_TIMESTAMP(6) + INTERVAL 2500000 MICROSECOND)")
    shop.run("CALL farmsync.activate_at('default', %s)", when)
    row = shop.sync()
    assert (row["state"], row["planned_time"], row["activation_time"]) == ("waiting", when, NEVER)
    ready(shop, "web1")
    assert decide(shop)[0] == "go"
    assert shop.sync()["activation_time"] == when


@pytest.mark.parametrize("act", ["set_interval('default', 1)", "set_interval('default', 86400)", "set_lead('default', 1)",
                                 "add_dataset('again', 'shop.price', 'sku')", "drop_dataset('Stock')"])
def test_nothing_else_makes_it_count(shop, act):
    report(shop, member("web1"))
    stage(shop)
    shop.run(f"CALL farmsync.{act}")
    row = shop.sync()
    assert (row["state"], row["activation_time"]) == ("waiting", NEVER)
    ready(shop, "web1")
    assert decide(shop)[0] == "go"


@pytest.mark.parametrize("held", [False, True])
def test_a_roll_back_replaces_what_waits(shop, held):
    report(shop, member("web1"))
    stage(shop, on_limit="hold")
    if held:
        plan(shop, 2, 2)
        assert decide(shop)[0] == "held"
    shop.run("CALL farmsync.roll_back('default', 1)")
    row = shop.sync()
    assert row["state"] == "held" and row["activation_time"] < NEVER and int(row["version"]) >= 3
    assert decide(shop)[0] == "lost"
    shop.make_due()
    assert shop.run("SELECT DISTINCT price FROM farmsync.active_prices WHERE sku = 'a'") == [("1.00",)]
    shop.run("CALL farmsync.resume('default')")
    assert shop.sync()["state"] == "running"
    assert shop.promote() == "staged"
    assert shop.sync()["state"] == "waiting"


def test_a_refusal_that_comes_late_changes_nothing(shop):
    report(shop, member("web1"))
    row = stage(shop)
    shop.run("CALL farmsync.promote_failed('default', %s, 'test', 'too late')", row["epoch"])
    assert shop.sync()["epoch"] == row["epoch"]


def test_to_time_while_it_waits(shop):
    report(shop, member("web1"))
    stage(shop)
    shop.run("CALL farmsync.set_ready('default', 'time', NULL, NULL)")
    assert decide(shop)[0] == "go"


@pytest.mark.parametrize("values,number", [
    (("most", 60, "hold"), "FS1143"), ((None, 60, "hold"), "FS1143"), (("0", 60, "hold"), "FS1143"),
    (("101", 60, "hold"), "FS1143"), (("all", -1, "hold"), "FS1144"), (("all", 604801, "hold"), "FS1144"), (("all", "1.5", "hold"), "FS1144"),
    (("all", 60, "wait"), "FS1145"),
])
def test_wrong_arguments(shop, values, number):
    before = shop.sync()
    assert number in shop.refused("CALL farmsync.set_ready('default', %s, %s, %s)", *values)
    assert shop.sync() == before
    assert "FS1003" in shop.refused("CALL farmsync.set_ready('none', 'all', 60, 'hold')")


def test_defaults_of_set_ready(shop):
    shop.run("CALL farmsync.set_ready('default', 'all', NULL, NULL)")
    row = shop.sync()
    assert (row["ready_percent"], row["ready_limit"], row["ready_on_limit"]) == ("100", "300", "activate")
    assert history(shop, "set_ready") == ["all, at the limit of 300 s activate"]


def test_rights(shop, connect):
    for role in ("agent", "datasrv", "operator"):
        shop.script(f"DROP USER IF EXISTS r_{role}@localhost; CREATE USER r_{role}@localhost;"
                    f"GRANT farmsync_{role} TO r_{role}@localhost; SET DEFAULT ROLE farmsync_{role} FOR r_{role}@localhost")
        session = connect(user=f"r_{role}")
        if role == "operator":
            session.run("CALL farmsync.set_ready('default', 'all', 60, 'hold')")
            assert "denied" in session.refused("CALL farmsync.decide('default', 1, 'x')")
        else:
            assert session.run("CALL farmsync.decide('default', 1, 'x')")[0][0] == "lost"
            assert "denied" in session.refused("CALL farmsync.set_ready('default', 'all', 60, 'hold')")
        assert "denied" in session.refused("CALL farmsync.ready_go('default', '')")


# --- one decision


def decide_at_once(sessions):
    """All decide about the same epoch; the outcomes."""
    epoch = sessions[0].epoch()
    outcomes, threads = [], Threads()

    def one(session):
        try:
            outcomes.append(decide(session, epoch)[0])
        except pymysql.MySQLError as error:
            assert error.args[0] in (1020, 1047, 1205, 1213), error
            session.connection.rollback()
            outcomes.append("lost")

    for session in sessions:
        threads.start(one, session)
    threads.join()
    return outcomes


def test_one_decision_however_many_decide(shop, connect):
    sessions = [shop] + [connect() for _ in range(7)]
    report(shop, member("web1"))
    stage(shop)
    ready(shop, "web1")
    outcomes = decide_at_once(sessions)
    assert sorted(outcomes) == ["go"] + ["lost"] * 7
    assert len(history(shop, "ready")) == 1


def test_one_decision_on_galera(galera, connect):
    db = connect(server=galera[0])
    sessions = [connect(server=node) for node in galera for _ in range(2)]
    db.script("CREATE TABLE shop.price (sku VARCHAR(32) PRIMARY KEY, price DECIMAL(10,2));"
              "INSERT INTO shop.price VALUES ('a', 1); CALL farmsync.add_dataset('prices', 'shop.price', 'sku')")
    assert db.cycle() == "staged"
    db.make_due()
    report(db, member("web1"))
    for outcome in ("put off", "go"):
        if outcome == "put off":
            stage(db)
            plan(db, 1)
        else:
            ready(db, "web1")
        wait_until(lambda: len({s.epoch() for s in sessions}) == 1, 60, "the nodes to agree")
        outcomes = decide_at_once(sessions)
        assert sorted(outcomes) == sorted([outcome] + ["lost"] * (len(sessions) - 1))
    assert len(history(db, "ready")) == 1 and len(history(db, "put_off")) == 1


def test_an_act_and_a_decision_at_once(shop, connect):
    """Whoever comes second works on what the first one left; never an order that is half one and half the other."""
    other = connect()
    for act in ("hold", "activate_now"):
        report(shop, member("web1"))
        stage(shop)
        ready(shop, "web1")
        threads = Threads()
        threads.start(lambda: decide_at_once([other]))
        threads.start(lambda: shop.run(f"CALL farmsync.{act}('default')"))
        threads.join()
        row = shop.sync()
        if row["state"] == "held":
            assert act == "hold"
            shop.run("CALL farmsync.resume('default')")
            ready(shop, "web1")
            decide(shop)
        assert shop.sync()["activation_time"] < NEVER or shop.sync()["state"] == "waiting"
        shop.make_due()
        shop.run("UPDATE farmsync.sync SET state = 'running', planned_time = NULL")


def test_a_pin_of_the_version_that_waits_stays_visible(shop):
    """It waits on; that it is pinned, and by whom, isn't written over by what is decided."""
    report(shop, member("web1"), member("web2"))
    row = stage(shop, limit=60, on_limit="hold")
    version, in_force_from, result = shop.run("CALL farmsync.pin('default', %s)", row["version"])[0]
    assert (version, in_force_from) == (row["version"], None) and "waits for servers to be ready and then stays" in result
    plan(shop, 0)
    assert decide(shop)[0] == "put off"
    assert shop.sync()["reason"].startswith(f"pinned to version {version} by root@localhost")
    assert shop.run("SELECT state, waits_for FROM farmsync.cycle") == [("pinned", "web1 (retrieving); web2 (retrieving)")]
    plan(shop, 0, 0)
    assert decide(shop)[0] == "held"
    assert shop.sync()["reason"].startswith("FS1142")
    shop.run("CALL farmsync.unpin('default')")
    assert shop.sync()["state"] == "held" and shop.sync()["reason"].startswith("FS1142")
    shop.run("CALL farmsync.resume('default')")
    shop.run("CALL farmsync.pin('default', %s)", version)
    ready(shop, "web1")
    ready(shop, "web2")
    assert decide(shop)[0] == "go"
    assert shop.sync()["reason"].startswith(f"pinned to version {version} by root@localhost")


# --- the model that the unit tests use


def test_the_model_decides_as_the_database(server, shop):
    """tests/unit/ready_model.h, which the simulated farm of test_ready.c runs on, decides alike: random rows."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    stage(shop)
    content = digest_of(shop, 2)
    now = 1790000000 * US
    cases = []
    for _ in range(300):
        interval, lead = chance.choice((1, 2, 10, 600)), chance.choice((100, 500, 2000, 5000, 60000))
        planned = now + chance.randrange(-10 * US, 10 * US)
        members = [(chance.choice((0, 1, 4, 5, 6, 50, 70, 100)) * US + chance.randrange(-2, 3) % US, chance.randrange(2))
                   for _ in range(chance.randrange(6))]
        cases.append((now, chance.choice((1, 34, 50, 67, 100)), chance.randrange(2), interval * US, lead * 1000,
                      chance.choice((0, 10, 90)) * US, planned, planned + chance.choice((0, 0, 1, 30)) * US, members))
    text = "".join(" ".join(map(str, case[:-1])) + "".join(f" {s} {lacks}" for s, lacks in case[-1]) + "\n" for case in cases)
    answers = subprocess.run([paths.built("tests/tools/fs_ready")], input=text, capture_output=True, text=True,
                             check=True).stdout.split("\n")
    seen = set()
    shop.run("CREATE OR REPLACE PROCEDURE farmsync.true_time() BEGIN END")  # or it would be now
    for case, answer in zip(cases, answers):
        percent, hold, interval, lead, limit, planned, until, members = case[1:]
        shop.run(f"SET TIMESTAMP = {now // US}")
        shop.run("UPDATE farmsync.sync SET state = 'waiting', epoch = epoch + 1, activation_time = '9999-12-31', "
                 "ready_percent = %s, ready_on_limit = %s, sync_interval = %s, min_lead = %s, ready_limit = %s, "
                 "planned_time = FROM_UNIXTIME(0) + INTERVAL %s MICROSECOND, "
                 "ready_until = FROM_UNIXTIME(0) + INTERVAL %s MICROSECOND", percent, ("activate", "hold")[hold],
                 interval // US, lead / US, limit // US, planned, until)
        shop.run("DELETE FROM farmsync.member")
        report(shop, *(member(f"web{n}", version_staged=2, digest_staged="" if lacks else content)
                       for n, (_, lacks) in enumerate(members)))
        for n, (silent, _) in enumerate(members):
            shop.run("UPDATE farmsync.member SET seen = FROM_UNIXTIME(0) + INTERVAL %s MICROSECOND WHERE name = %s",
                     now - silent, f"web{n}")
        outcome = decide(shop)[0]
        row = shop.run("SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', planned_time), "
                       "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', activation_time) FROM farmsync.sync")[0]
        model = answer.split(",")
        if outcome in ("go", "activated"):
            assert (outcome, row[1]) == (model[0], model[2]), case
        else:
            assert (outcome, row[0]) == (model[0], model[1]), case
        seen.add(outcome)
    shop.run("SET TIMESTAMP = DEFAULT")
    install(server)
    assert seen == {"go", "wait", "put off", "activated", "held"}
