# SPDX-License-Identifier: Apache-2.0
"""farmsyncctl doctor: each mistake is made, found, and gone when it is mended."""

import http.server
import json
import threading

import pytest

from farmlib.part import wait_until

pytest_plugins = ["sql_fixtures", "ctl_fixtures"]


class Doctor:
    def __init__(self, ctl):
        self.ctl = ctl

    def findings(self, *more):
        done = self.ctl.run("doctor", "--json", "--seconds", "0", "--apachectl", "/nonexistent/apachectl", *more)
        said = json.loads(done.stdout)
        levels = [one["level"] for one in said["findings"]]
        assert (said["errors"], said["warnings"]) == (levels.count("error"), levels.count("warning"))
        assert done.returncode == (1 if said["errors"] else 0)
        return said["findings"]

    def wrong(self, check, *more):
        """The one finding of this check that isn't ok: its level, text and remedy."""
        found = [one for one in self.findings(*more) if one["check"] == check and
                 one["level"] in ("error", "warning")]
        assert len(found) == 1, found
        assert found[0]["remedy"]
        return found[0]["level"], found[0]["text"], found[0]["remedy"]

    def well(self, check, *more):
        found = [one["level"] for one in self.findings(*more) if one["check"] == check]
        return all(level in ("ok", "skipped") for level in found)


@pytest.fixture
def doctor(ctl):
    return Doctor(ctl)


def member(name, **more):
    return {"name": name, "kind": "agent", "group": "default", "version_active": 2, "version_staged": 2,
            "address": f"{name}:80", "clock_offset_us": 100, "clock_bound_us": 300, **more}


def report(db, *members):
    db.run("CALL farmsync.report_members(%s)", json.dumps(members))


def test_a_farm_that_is_well(doctor, shop):
    shop.run("UPDATE farmsync.sync SET activation_time = UTC_TIMESTAMP(6) + INTERVAL 1 HOUR")
    report(shop, member("web1"), member("web2"), member("ds1", kind="datasrv"))
    found = doctor.findings()
    assert {one["level"] for one in found} == {"ok", "skipped"}
    assert {one["check"] for one in found if one["level"] == "ok"} >= {
        "release", "binlog-format", "max-allowed-packet", "account", "schema", "engine", "datasets", "group",
        "servers", "server-name", "datasrv"}
    lines = doctor.ctl.ok("doctor", "--seconds", "0")
    assert "0 errors, 0 warnings." in lines and "\x1b" not in lines
    assert doctor.ctl.ok("doctor", "--seconds", "0", "--quiet") == "0 errors, 0 warnings.\n"


def test_sources(doctor, shop, server):
    server.sql("REVOKE SELECT, TRIGGER ON shop.* FROM farmsync@localhost")
    level, text, remedy = doctor.wrong("dataset-source")
    assert level == "error" and "prices" in text
    assert "GRANT SELECT ON `shop`.`price` TO 'farmsync'@'localhost'" in remedy
    server.sql("GRANT SELECT, TRIGGER ON shop.* TO farmsync@localhost")
    assert doctor.well("dataset-source")
    shop.run("RENAME TABLE shop.price TO shop.away")
    assert doctor.wrong("dataset-source")[0] == "error"
    shop.run("RENAME TABLE shop.away TO shop.price")
    server.sql("GRANT SELECT ON shop.* TO ctl_oper@'%'")
    shop.run("ALTER TABLE shop.price ENGINE = MyISAM")
    assert "ENGINE = InnoDB" in doctor.wrong("source-engine")[2]
    shop.run("UPDATE farmsync.dataset SET dropped = 2")
    assert "drop_dataset('prices')" in doctor.wrong("dataset")[2]


def test_no_dataset_yet(doctor, db):
    assert "add_dataset" in doctor.wrong("datasets")[2]


def test_groups(doctor, shop):
    shop.run("UPDATE shop.price SET price = 5")
    shop.run("CREATE TABLE shop.keep AS SELECT * FROM shop.price")
    shop.run("ALTER TABLE shop.price DROP PRIMARY KEY, ADD KEY (sku)")
    shop.run("INSERT INTO shop.price SELECT * FROM shop.keep")
    said = shop.refused_cycle()
    level, text, _ = doctor.wrong("promotion")
    assert level == "error" and said[:30] in text and "(1 times)" in text
    shop.run("TRUNCATE shop.price")
    shop.run("INSERT INTO shop.price SELECT * FROM shop.keep")
    assert shop.cycle() == "staged"
    assert doctor.well("promotion")

    doctor.ctl.ok("hold")
    assert doctor.well("standing-still")
    shop.run("UPDATE farmsync.history SET at = at - INTERVAL 3 DAY")
    level, text, remedy = doctor.wrong("standing-still")
    assert level == "warning" and "held for 3 d" in text and "resume" in remedy
    doctor.ctl.ok("resume")

    shop.run("UPDATE farmsync.sync SET activation_time = UTC_TIMESTAMP(6) - INTERVAL 20 MINUTE")
    level, text, remedy = doctor.wrong("overdue")
    assert level == "error" and "20 min" in text and "datasrv" in remedy
    shop.run("CALL farmsync.set_interval('default', 1)")
    assert "set_keep_versions('default', 3601)" in doctor.wrong("keep-versions")[2]
    assert doctor.well("lead") and doctor.wrong("keep-versions", "-g", "default")
    shop.run("CALL farmsync.set_lead('default', 0.2)")
    assert doctor.wrong("lead")[0] == "warning"


def test_servers(doctor, shop):
    assert "DUMP_FARMSYNC" in doctor.wrong("agents")[2]
    report(shop, member("web1"), member("web2", problem="FS0590: bad image"))
    assert doctor.wrong("datasrv")[0] == "warning"
    assert "FS0590: bad image" in doctor.wrong("server")[1]
    report(shop, member("web2", version_active=1, version_staged=1))
    assert "late" in doctor.wrong("server")[1]
    report(shop, member("web2", clock_bound_us=2000000))
    assert "2000" in doctor.wrong("clock-bound")[1]
    report(shop, member("web2", clock_offset_us=-3600000000))
    assert "chrony" in doctor.wrong("clock-wall")[2]
    report(shop, member("web2", address="web1:80"))
    assert "web1 and web2 have one address" in doctor.wrong("server-address")[1]
    shop.run("UPDATE farmsync.member SET seen = seen - INTERVAL 2 DAY WHERE name = 'web2'")
    assert "forget_member('web2')" in doctor.wrong("server")[2]
    shop.run("CALL farmsync.forget_member('web2')")
    assert doctor.well("server")
    shop.run("CALL farmsync.add_group('lonely')")
    assert "lonely" in doctor.wrong("agents")[1]


@pytest.mark.parametrize("twins", (
    [{"address": "host0:80"}, {"address": "host1:80"}],
    [{"address": "", "clock_offset_us": 0}, {"address": "", "clock_offset_us": 50000000}]),
    ids=("address", "clock"))
def test_two_servers_of_one_name(ctl, shop, connect, twins):
    report(shop, member("web1"), member("web2"))
    reporter, stop = connect(), threading.Event()

    def take_turns():
        turn = 0
        while not stop.wait(0.05):
            turn += 1
            report(reporter, member("web1", **twins[turn % 2]))

    def found():
        said = json.loads(ctl.run("doctor", "--json", "--seconds", "2").stdout)["findings"]
        return any(one["check"] == "server-name" and one["level"] == "error" and "web1" in one["text"]
                   and "FarmSyncServer" in one["remedy"] for one in said)
    thread = threading.Thread(target=take_turns)
    thread.start()
    try:
        wait_until(found, 60, "the twins to be found")
    finally:
        stop.set()
        thread.join()


def test_accounts_and_installation(account, root, shop, server):
    nobody = Doctor(account("ctl_nobody"))
    assert "GRANT farmsync_operator" in nobody.wrong("account")[2]
    looker = Doctor(account("ctl_looker", "GRANT farmsync_agent TO ctl_looker@'%'",
                            "SET DEFAULT ROLE farmsync_agent FOR ctl_looker@'%'"))
    level, text, _ = looker.wrong("account")
    assert level == "warning" and "act on nothing" in text
    server.sql("CREATE DATABASE farmsync_check_0123abcd; RENAME TABLE farmsync.image TO farmsync.image_away")
    try:
        assert "DROP DATABASE" in Doctor(root).wrong("scratch")[2]
        shop.run("CREATE TABLE farmsync.image (a INT) ENGINE = MyISAM")
        assert "image (MyISAM)" in Doctor(root).wrong("engine")[1]
    finally:
        server.sql("DROP DATABASE farmsync_check_0123abcd; DROP TABLE IF EXISTS farmsync.image; "
                   "RENAME TABLE farmsync.image_away TO farmsync.image")


def test_a_host_that_does_not_answer_beside_one_that_does(ctl, shop, server):
    two = f"127.0.0.1:1,127.0.0.1:{server.port}"
    level, text, remedy = Doctor(ctl).wrong("host", "--host", two)
    assert level == "error" and "127.0.0.1:1 doesn't answer" in text and "bind_address" in remedy
    assert ctl.run("doctor", "--host", "127.0.0.1:1").returncode == 3


def test_hosts_whose_clocks_differ():
    from farmctl.doctor import hosts
    assert [one.level for one in hosts.compare({"a": (1.0, 0.0001), "b": (1.005, 0.0001)})] == ["ok"]
    found = list(hosts.compare({"a": (1.0, 0.001), "b": (1.05, 0.001), "c": (0.99, 0.001)}))
    assert [one.level for one in found] == ["warning"] and "c and b are 60.0 ms" in found[0].text
    assert [one.level for one in hosts.compare({"a": (1.0, 0.1), "b": (1.05, 0.1)})] == ["ok"]


# --- HTTP --------------------------------------------------------------------------------------


class Page(http.server.BaseHTTPRequestHandler):
    answers = {}

    def do_GET(self):  # pylint: disable=invalid-name
        status, body = self.answers.get(self.path, (404, "not here"))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def page():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as listener:
        thread = threading.Thread(target=listener.serve_forever)
        thread.start()
        Page.answers = {}
        yield f"http://127.0.0.1:{listener.server_port}", Page.answers
        listener.shutdown()
        thread.join()


def test_data_servers_over_http(doctor, shop, page):
    url, answers = page
    assert "isn't a data server" in doctor.wrong("datasrv-http", "--datasrv", url)[1]
    answers["/healthz"] = (200, '{"status": "ok", "name": "ds1", "problems": [], "warnings": []}')
    assert doctor.well("datasrv-http", "--datasrv", url + "/")
    answers["/healthz"] = (503, json.dumps({"status": "failing", "name": "ds1", "problems": [
        {"problem": "FS0830", "detail": "the database is \x1baway"}]}))
    level, text, _ = doctor.wrong("datasrv-http", "--datasrv", url)
    assert level == "error" and "FS0830: the database is \\x1baway" in text
    answers["/healthz"] = (200, '{"name": "ds1", "warnings": [{"problem": "FS0847", "detail": "late"}]}')
    assert doctor.wrong("datasrv-http", "--datasrv", url)[0] == "warning"
    assert "doesn't answer" in doctor.wrong("datasrv-http", "--datasrv", "http://127.0.0.1:1")[1]
    assert "http://host:port" in doctor.wrong("datasrv-http", "--datasrv", "ds1:4470")[1]


def test_web_servers_over_http(doctor, shop, page):
    url, answers = page
    report(shop, member("web1"))
    assert "SetHandler farmsync-status" in doctor.wrong("web-http", "--web", url)[2]
    answers["/farmsync/status/health"] = (200, "ok\n")
    answers["/farmsync/status?json"] = (200, '{"server": "web1"}')
    assert doctor.well("web-http", "--web", url)
    answers["/farmsync/status/health"] = (200, "ok; but farmsync-agent doesn't answer, so that nothing new will come\n")
    level, text, _ = doctor.wrong("web-http", "--web", url)
    assert level == "warning" and "farmsync-agent doesn't answer" in text
    answers["/farmsync/status/health"] = (200, "ok\n")
    answers["/farmsync/status?json"] = (200, '{"server": "web9"}')
    assert "another farm" in doctor.wrong("web-http", "--web", url)[2]
    answers["/farmsync/status/health"] = (503, "default: no data\n")
    assert "default: no data" in doctor.wrong("web-http", "--web", url)[1]
    answers["/elsewhere/health"] = (403, "no")
    assert "Require" in doctor.wrong("web-http", "--web", url + "/elsewhere")[2]
