# SPDX-License-Identifier: Apache-2.0
"""app_down and app_up: orders that data servers pass on, one at a time and in order, whoever dies."""

import json

import pytest

from ctl_fixtures import make_account, role, PASSWORD  # noqa: F401
from sql_fixtures import Session

pytest_plugins = ["sql_fixtures"]

ORDERS = "SELECT id, act, application, body, state FROM farmsync.notice ORDER BY id"


def take(session, who, seconds=10):
    rows = session.run("CALL farmsync.notice_take(%s, %s)", who, seconds)
    return int(rows[0][0]) if rows else None


def test_app_down_is_an_order_with_what_was_said(db):
    said = db.run("CALL farmsync.app_down('shop', 'planned', '2099-12-01 14:30:00', 'Gleich \"zurück\"')")
    rows = db.run(ORDERS)
    assert len(rows) == 1 and f"notice {rows[0][0]} is ordered" in said[0][0]
    assert rows[0][1:3] == ("down", "shop") and rows[0][4] == "waiting"
    assert json.loads(rows[0][3]) == {"reason": "planned", "until": "2099-12-01T14:30:00.000000Z",
                                      "message": 'Gleich "zurück"'}
    history = db.run("SELECT action, detail, who FROM farmsync.history")
    assert history[0][0] == "app_down" and "shop: planned, until 2099-12-01T14:30" in history[0][1]
    assert history[0][2].startswith("root@")


def test_who_orders_without_a_data_server_is_told_that_nobody_hears_it(db):
    def ordered():
        return db.run("CALL farmsync.app_down('shop', 'outage', NULL, NULL)")[0][0]
    db.run("CALL farmsync.report_members(%s)", json.dumps([{"name": "web1", "kind": "agent", "group": "default"}]))
    assert "NOBODY IS TOLD" in ordered() and "FS1167" in ordered()
    db.run("CALL farmsync.report_members(%s)", json.dumps([{"name": "ds1", "kind": "datasrv", "group": "default"}]))
    assert "FS1167" not in ordered()
    db.run("UPDATE farmsync.member SET seen = seen - INTERVAL 1 MINUTE WHERE name = 'ds1'")
    assert "FS1167" in ordered() and "FS1167" in db.run("CALL farmsync.app_up('shop')")[0][0]


def test_nothing_said_is_nothing_ordered_but_down(db):
    db.run("CALL farmsync.app_down('*', NULL, NULL, '')")
    assert json.loads(db.run(ORDERS)[0][3]) == {"reason": "unknown"}


def test_a_comment_goes_with_the_act(db):
    db.script("SET @farmsync_comment = 'ticket 4711'; CALL farmsync.app_up('shop')")
    assert db.run("SELECT action, comment FROM farmsync.history") == [("app_up", "ticket 4711")]
    assert db.run(ORDERS)[0][1:4] == ("up", "shop", "{}")


@pytest.mark.parametrize("call, number", [
    ("app_down('a b', NULL, NULL, NULL)", "FS1160"),
    ("app_down(NULL, NULL, NULL, NULL)", "FS1160"),
    ("app_up('')", "FS1160"),
    ("app_down('shop', NULL, '2020-01-01', NULL)", "FS1161"),
    ("app_down_with('shop', '[]')", "FS1162"),
    ("app_down_with('shop', NULL)", "FS1162"),
    ("app_down_with('shop', '{\"conditon\": \"x\"}')", "FS1162"),
    ("app_down_with('shop', '{\"role\": \"operator\"}')", "FS1162"),
    ("app_down('shop', 'Not OK', NULL, NULL)", "FS1163"),
    ("app_down('shop', 'x', NULL, REPEAT('m', 4000))", "FS1164"),
    ("app_up_with('shop', '{\"reason\": \"x\"}')", "FS1165"),
    ("app_up_with('shop', '{\"id\": \"../x\"}')", "FS1165"),
    ("notice_told(1, 'ds1', 'done', '')", "FS1166"),
])
def test_bad_input_is_refused_and_changes_nothing(db, call, number):
    assert db.refused(f"CALL farmsync.{call}").startswith(f"{number}: ")
    assert db.run(ORDERS) == [] and db.run("SELECT * FROM farmsync.history") == []


def test_orders_are_passed_on_one_after_the_other(db):
    for call in ("app_down('shop', 'outage', NULL, NULL)", "app_up('shop')", "app_down('mail', NULL, NULL, NULL)"):
        db.run(f"CALL farmsync.{call}")
    ids = [int(row[0]) for row in db.run(ORDERS)]
    for expected in ids:
        assert take(db, "ds1") == expected
        # Another one gets neither this order nor a later one.
        assert take(db, "ds2") is None
        db.run("CALL farmsync.notice_told(%s, 'ds1', 'told', '8 of 8 in 12 ms')", expected)
    assert take(db, "ds1") is None
    rows = db.run("SELECT state, told_by, answer, told_at IS NOT NULL FROM farmsync.notices")
    assert rows == [("told", "ds1", "8 of 8 in 12 ms", "1")] * 3


def test_another_takes_the_order_of_one_that_died(db):
    db.run("CALL farmsync.app_down('shop', 'outage', NULL, NULL)")
    first = take(db, "ds1")
    assert take(db, "ds2") is None
    assert take(db, "ds1") == first  # who comes back has it still
    db.run("UPDATE farmsync.notice SET taken_until = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND")
    assert take(db, "ds2") == first
    # The one that was thought dead has no say any more.
    db.run("CALL farmsync.notice_told(%s, 'ds1', 'refused', 'too late')", first)
    assert db.run(ORDERS)[0][4] == "waiting"
    db.run("CALL farmsync.notice_told(%s, 'ds2', 'told', 'ok')", first)
    assert db.run(ORDERS)[0][4] == "told"


def test_who_could_tell_nobody_gives_the_order_back(db):
    db.run("CALL farmsync.app_down('shop', 'outage', NULL, NULL)")
    first = take(db, "ds1")
    db.run("CALL farmsync.notice_told(%s, 'ds1', 'waiting', 'no agent answers')", first)
    assert take(db, "ds2") == first
    assert db.one("SELECT answer FROM farmsync.notices") == "no agent answers"


def test_two_who_take_at_once(connect):
    one, two = connect(), connect()
    for _ in range(20):
        one.run("CALL farmsync.app_up('shop')")
    taken = []
    for _ in range(20):
        found = [session for session in (one, two)
                 if take(session, "ds1" if session is one else "ds2") is not None]
        assert len(found) == 1
        who = "ds1" if found[0] is one else "ds2"
        number = take(found[0], who)
        taken.append(number)
        found[0].run("CALL farmsync.notice_told(%s, %s, 'told', '')", number, who)
    assert taken == sorted(taken) and len(set(taken)) == 20


def test_until_when_it_may_be_passed_on_is_farm_time(db):
    db.run("CALL farmsync.app_up('shop')")
    row = db.run("CALL farmsync.notice_take('ds1', 10)")[0]
    now = int(db.one("SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))"))
    assert 0 < int(row[5]) - now <= 10_000_000


def test_old_orders_go(db):
    db.run("CALL farmsync.app_up('old')")
    db.run("CALL farmsync.app_up('new')")
    for _ in range(2):
        number = take(db, "ds1")
        db.run("CALL farmsync.notice_told(%s, 'ds1', 'told', '')", number)
        db.run("UPDATE farmsync.notice SET at = at - INTERVAL 91 DAY WHERE application = 'old'")
    assert [row[2] for row in db.run(ORDERS)] == ["new"]


def test_rights(server, connect):
    make_account(server, "a_operator", *role("a_operator", "operator"))
    make_account(server, "a_datasrv", *role("a_datasrv", "datasrv"))
    make_account(server, "a_agent", *role("a_agent", "agent"))
    operator, datasrv, agent = (Session(server, user=name, password=PASSWORD)
                                for name in ("a_operator", "a_datasrv", "a_agent"))
    try:
        operator.run("CALL farmsync.app_down('shop', 'planned', NULL, NULL)")
        assert operator.one("SELECT who FROM farmsync.notices").startswith("a_operator@")
        assert "denied" in operator.refused("CALL farmsync.notice_take('x', 1)")
        assert "denied" in operator.refused("CALL farmsync.order_notice('up', 'shop', '{}', '')")
        assert "denied" in agent.refused("CALL farmsync.app_up('shop')")
        assert "denied" in datasrv.refused("CALL farmsync.app_up('shop')")
        assert take(datasrv, "ds1") is not None
    finally:
        for one in (operator, datasrv, agent):
            one.close()
