# SPDX-License-Identifier: Apache-2.0
"""history: who did what, when and why; nobody of the farm can change what it says."""

import pytest

from sql_fixtures import install

pytest_plugins = ["sql_fixtures"]


def last(db, columns="action, who, account, comment, detail"):
    return db.run("SELECT %s FROM farmsync.history ORDER BY id DESC LIMIT 1" % columns)[0]


def test_every_act_can_carry_a_comment(db):
    db.run("SET @farmsync_comment = 'Sommerschlußverkauf ☀'")
    db.run("CALL farmsync.hold('default')")
    assert last(db) == ("hold", "root@localhost", "root@localhost", "Sommerschlußverkauf ☀", "")


def test_a_comment_belongs_to_one_act(db):
    db.run("SET @farmsync_comment = 'once'")
    db.run("CALL farmsync.hold('default')")
    db.run("CALL farmsync.resume('default')")
    assert last(db, "action, comment") == ("resume", "")


@pytest.mark.parametrize(
    "value,kept",
    [("REPEAT('ä', 600)", "ä" * 512), ("42", "42"), ("NULL", ""), ("1.5", "1.5")],
)
def test_any_comment_is_taken(db, value, kept):
    db.run("SET @farmsync_comment = %s" % value)
    db.run("CALL farmsync.hold('default')")
    action, comment = last(db, "action, comment")
    assert (action, comment) == ("hold", kept)


def test_a_comment_that_is_no_text_changes_nothing(db):
    db.run("SET @farmsync_comment = _binary 0x61ff62")
    assert "Invalid utf8mb4" in db.refused("CALL farmsync.hold('default')")
    assert db.sync()["state"] == "running" and db.run("SELECT * FROM farmsync.history") == []


def test_promotions_name_server_and_account(db):
    db.run("CREATE TABLE shop.price (sku INT PRIMARY KEY, price INT)")
    db.run("CALL farmsync.add_dataset('prices', 'shop.price', 'sku')")
    assert db.cycle(who="web1") == "staged"
    assert last(db, "action, who, account") == ("promote", "web1", "root@localhost")
    db.run("ALTER TABLE shop.price DROP COLUMN price")
    db.refused_cycle()
    assert last(db, "action, who, account") == ("refused", "test", "root@localhost")


def test_an_earlier_installation_gets_the_columns(server, db):
    db.run("CALL farmsync.hold('default')")
    db.run("ALTER TABLE farmsync.history DROP COLUMN comment, DROP COLUMN account")
    install(server)
    db.run("SET @farmsync_comment = 'later'")
    db.run("CALL farmsync.resume('default')")
    assert db.run("SELECT action, comment FROM farmsync.history ORDER BY id") == [("hold", ""), ("resume", "later")]


@pytest.mark.parametrize("role", ["farmsync_agent", "farmsync_datasrv", "farmsync_operator"])
def test_history_cannot_be_altered(server, db, connect, role):
    db.run("CREATE OR REPLACE USER auditor@localhost")
    db.run("GRANT %s TO auditor@localhost" % role)
    db.run("SET DEFAULT ROLE %s FOR auditor@localhost" % role)
    db.run("CALL farmsync.hold('default')")
    before = db.run("SELECT * FROM farmsync.history")
    user = connect(user="auditor")
    for statement in (
        "UPDATE farmsync.history SET who = 'nobody'",
        "DELETE FROM farmsync.history",
        "INSERT INTO farmsync.history (at, group_name, action, who) VALUES (NOW(), 'default', 'hold', 'x')",
        "REPLACE INTO farmsync.history (id, at, group_name, action, who) VALUES (1, NOW(), 'default', 'hold', 'x')",
        "TRUNCATE farmsync.history",
        "DROP TABLE farmsync.history",
        "RENAME TABLE farmsync.history TO farmsync.gone",
        "ALTER TABLE farmsync.history ADD COLUMN x INT",
        "CREATE TRIGGER farmsync.t BEFORE INSERT ON farmsync.history FOR EACH ROW SET NEW.who = 'x'",
        "CREATE INDEX i ON farmsync.history (who)",
        "LOCK TABLES farmsync.history WRITE",
        "CALL farmsync.run_sql('DELETE FROM farmsync.history')",
        "CALL farmsync.note('default', 'hold', 1, 'forged')",
    ):
        assert "denied" in user.refused(statement), statement
    assert db.run("SELECT * FROM farmsync.history") == before


def test_a_session_brings_no_time_of_its_own(db):
    """SET timestamp needs no right: it must neither date history nor promote before the moment."""
    db.run("SET timestamp = 1000000000")
    db.run("CALL farmsync.hold('default')")
    for act in ("resume('default')", "add_group('later')", "dry_run('default')"):
        db.run("SET timestamp = 1000000000")
        db.run("CALL farmsync.%s" % act)
    assert db.one("SELECT COUNT(*) FROM farmsync.history WHERE at < SYSDATE() - INTERVAL 1 HOUR") == "0"

    db.run("CREATE TABLE shop.price (sku INT PRIMARY KEY, price INT)")
    db.run("CALL farmsync.add_dataset('prices', 'shop.price', 'sku')")
    assert db.cycle() == "staged"
    before = db.sync()
    db.run("SET timestamp = UNIX_TIMESTAMP() + 86400")
    db.run("START TRANSACTION")
    assert db.run("CALL farmsync.promote('default', %s, 'x')", db.epoch())[0][0] == "lost"
    db.run("ROLLBACK")
    db.run("SET timestamp = UNIX_TIMESTAMP() + 86400")
    db.run("CALL farmsync.promote_failed('default', %s, 'x', 'x')", db.epoch())
    assert db.sync() == before


def test_who_forgets_a_server_is_known(db):
    db.run("CALL farmsync.add_group('other')")
    db.run("CALL farmsync.report_members(%s)", '[{"name": "web1", "kind": "agent", "group": "default"}, '
           '{"name": "web1", "kind": "agent", "group": "other"}, {"name": "web2", "kind": "agent", "group": "other"}]')
    db.run("SET @farmsync_comment = 'scrapped'")
    db.run("CALL farmsync.forget_member('web1')")
    assert db.run("SELECT name FROM farmsync.member") == [("web2",)]
    assert db.run("SELECT group_name, who, detail, comment FROM farmsync.history WHERE action = 'forget_member' ORDER BY id") == [
        ("default", "root@localhost", "web1", "scrapped"), ("other", "root@localhost", "web1", "scrapped")]
    assert "FS1051" in db.refused("CALL farmsync.forget_member('web1')")
