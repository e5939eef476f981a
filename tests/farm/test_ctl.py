# SPDX-License-Identifier: Apache-2.0
"""farmsyncctl on a private database: each command in text and JSON, every exit status, who may what."""

import json
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import tempfile
import termios
import time

import fcntl
import pymysql
import pytest

from farmctl import commands as table, database, options, text, times
from farmctl.cli import parser
from farmctl.database import TRIES, Database
from farmctl.errors import BadArgument, BadOption, Busy, Refused, Sentence, Unknown
from farmlib import paths
from farmlib.mariadb import MariaDB
from farmlib.part import wait_until
from ctl_fixtures import CTL, PASSWORD, Ctl, make_account, option_file, role
from sql_fixtures import install

pytest_plugins = ["sql_fixtures", "ctl_fixtures"]

COMPLETION = os.path.join(paths.REPO, "scripts", "completion", "farmsyncctl")
LOOKING = ("status", "watch", "datasets", "pending", "diff", "versions", "history", "checks", "dry-run",
           "approve")
ACTS = (("hold",), ("resume",), ("activate",), ("activate", "--at", "+1h"), ("roll-back", "1"),
        ("pin", "1"), ("unpin",), ("allow-once",), ("request-approval",), ("approve", "0" * 64),
        ("reject",))


# --- looking -----------------------------------------------------------------------------------


def test_looking_in_text_and_json(ctl, shop):
    shop.run("INSERT INTO shop.price VALUES ('sku-4', 4, 'four')")
    for command in LOOKING:
        assert ctl.ok(command).strip(), command
        assert json.loads(ctl.ok("--json", command)) is not None
        assert ctl.ok(command, "-g", "default").strip()
        assert "nix" in ctl.refused(command, "-g", "nix", status=2)


def test_status_shows_what_is_wrong(ctl, shop):
    assert "default  running" in ctl.ok("status")
    shop.run("CALL farmsync.report_members(%s)", json.dumps([
        {"name": "web1", "kind": "agent", "group": "default", "version_active": 2, "version_staged": 2,
         "problem": "FS0999: a \x1b[31mred one"}]))
    said = ctl.json("status", status=1)
    assert said["trouble"] == ["web1 (default): FS0999: a \\x1b[31mred one"]
    assert said["servers"][0]["name"] == "web1"
    lines = ctl.ok("status", status=1)
    assert "problem" in lines and "\x1b" not in lines
    shop.run("UPDATE farmsync.member SET problem = '', seen = seen - INTERVAL 1 HOUR")
    assert re.search(r"web1 \(default\): silent for 36\d\d", ctl.ok("status", status=1))
    shop.run("CALL farmsync.forget_member('web1')")
    shop.run("UPDATE farmsync.sync SET state = 'failed', reason = 'FS1030: a key is NULL'")
    assert "was refused: FS1030: a key is NULL" in ctl.ok("status", status=1)


def test_diff_of_versions_and_of_what_is_pending(ctl, shop):
    lines = ctl.ok("diff", "1", "2")
    assert "~ prices/sku-1\n" in lines and "price: 1.00 → 1.50" in lines and "note: NULL → new" in lines
    assert re.search(r"^- prices/sku-3 .*price=3.00", lines, re.MULTILINE)
    assert ctl.ok("diff", "1") == lines  # to the newest
    assert "note: new → NULL" in ctl.ok("diff", "2", "1")
    assert json.loads(ctl.ok("diff", "--json"))["differences"] == []
    shop.run("INSERT INTO shop.price VALUES ('sku-9', 9, 'a\nb')")
    assert re.search(r"^\+ prices/sku-9 .*note=a\\nb", ctl.ok("diff"), re.MULTILINE)
    shop.run("INSERT INTO shop.price SELECT CONCAT('more-', seq), 1, NULL FROM seq_1_to_30")
    assert "5 of 31 keys are shown" in ctl.ok("diff", "-n", "5")
    assert ctl.refused("diff", "1", "99", status=4).startswith("FS1100: version 99")
    assert "no version, one or two" in ctl.refused("diff", "1", "2", "3", status=2)


def test_pending_tells_of_a_broken_source(ctl, shop):
    shop.run("UPDATE shop.price SET price = 7")
    assert "2 rows would change" in ctl.ok("pending")
    shop.run("ALTER TABLE shop.price DROP COLUMN note")
    said = ctl.json("pending", status=1)
    assert said["datasets"][0]["problem"]
    text = ctl.refused("diff", status=4)
    assert text.startswith("FS1033: the production data can't be read: ") and "dry_run('default')" in text


def test_scheduled_data_is_in_pending(ctl, db):
    db.script("CREATE TABLE shop.deal (sku VARCHAR(20), at DATETIME NULL, price INT, UNIQUE KEY (sku, at));"
              "INSERT INTO shop.deal VALUES ('a', NULL, 1), ('a', '2099-01-01 00:00:00', 2)")
    db.run("CALL farmsync.add_dataset_with('deals', 'shop.deal', 'sku', '{\"activate_column\": \"at\"}')")
    assert "2099-01-01 00:00:00" in ctl.ok("pending")
    assert ctl.json("pending")["scheduled"][0]["at"].startswith("2099-01-01T00:00:00")
    db.run("DROP TABLE shop.deal")
    assert "can't be shown while a source is broken" in ctl.ok("pending", status=1)
    said = ctl.json("pending", status=1)
    assert said["scheduled"] is None and said["datasets"][0]["problem"]


def test_history_says_who_and_why(ctl, shop):
    ctl.ok("hold", "--comment", "inventory, März")
    rows = ctl.json("history")
    assert rows[-1]["action"] == "hold" and rows[-1]["comment"] == "inventory, März"
    assert rows[-1]["account"].startswith("ctl_oper@")
    assert len(ctl.json("history", "-n", "1")) == 1
    assert {row["action"] for row in ctl.json("history", "--act", "promote")} == {"promote"}
    assert "inventory, März" in ctl.ok("history")


# --- acts --------------------------------------------------------------------------------------


def test_hold_and_resume(ctl, shop):
    assert "group default: held" in ctl.ok("hold")
    assert shop.sync()["state"] == "held"
    assert ctl.refused("activate", status=4) == \
        "FS1048: group default is held; CALL farmsync.resume('default') first"
    said = json.loads(ctl.run("activate", "--json").stdout)["error"]
    assert said["exit_status"] == 4 and said["number"] == "FS1048"
    assert ctl.json("resume")["group"]["state"] == "running"
    assert ctl.refused("resume", status=4).startswith("FS1047: ")


def test_activate_now_and_at_a_time(ctl, shop):
    ctl.ok("activate", "--at", "+30s")
    left = shop.one("SELECT TIMESTAMPDIFF(MICROSECOND, UTC_TIMESTAMP(6), wanted_time) / 1000000 FROM farmsync.sync")
    assert 20 < float(left) <= 30
    ctl.ok("activate", "--at", "2099-01-01T01:00:00+01:00")
    assert shop.sync()["wanted_time"] == "2099-01-01 00:00:00.000000"
    assert ctl.refused("activate", "--at", "2001-01-01 00:00", status=4).startswith("FS1045: ")
    assert "2026-12-01 00:00" in ctl.refused("activate", "--at", "tomorrow", status=2)
    ctl.ok("activate")
    assert shop.one("SELECT activation_time <= UTC_TIMESTAMP(6) FROM farmsync.sync") == "1"


def test_roll_back_pin_and_unpin(ctl, shop):
    assert "group default" in ctl.ok("roll-back", "1", "--comment", "VAT was missing")
    last = ctl.json("history")[-1]
    assert last["action"] == "roll_back" and last["comment"] == "VAT was missing"
    assert int(shop.sync()["version"]) == 3
    assert ctl.refused("roll-back", "77", status=4).startswith("FS112")
    assert "farmsyncctl versions" in ctl.refused("roll-back", "none", status=2)
    shop.run("UPDATE farmsync.sync SET activation_time = UTC_TIMESTAMP(6), active_version = version, "
             "epoch = epoch + 1")
    ctl.ok("resume")
    ctl.ok("pin", "3")
    assert ctl.json("status")["groups"][0]["state"] == "pinned"
    assert "pinned" in ctl.ok("status")
    ctl.ok("unpin")
    assert ctl.refused("unpin", status=4).startswith("FS1127: ")


def test_an_act_of_another_group(ctl, shop):
    shop.run("CALL farmsync.add_group('other')")
    ctl.ok("hold", "-g", "other")
    assert shop.sync("other")["state"] == "held" and shop.sync()["state"] == "running"
    assert ctl.refused("hold", "-g", "none", status=4).startswith("FS1003: ")


def test_a_promotion_that_would_be_refused(ctl, shop):
    shop.run("CALL farmsync.add_check('prices', 'positive', 'price <= 0')")
    assert "positive" in ctl.ok("checks")
    shop.run("UPDATE shop.price SET price = 0 WHERE sku = 'sku-2'")
    lines = ctl.ok("dry-run", status=1)
    assert "would be refused" in lines and "positive" in lines and "sku-2" in lines
    assert ctl.json("dry-run", status=1)["refused"] is True
    shop.run("UPDATE shop.price SET price = 8 WHERE sku = 'sku-2'")
    assert "would be promoted with 1 row changed." in ctl.ok("dry-run")
    shop.run("CALL farmsync.hold('default')")
    assert "with 1 row changed, as soon as the group is resumed (it is held)." in ctl.ok("dry-run")
    shop.run("CALL farmsync.set_approval('default', 'on')")
    assert "(it is held), when that is approved." in ctl.ok("dry-run")
    shop.run("CALL farmsync.resume('default')")
    shop.run("CALL farmsync.set_approval('default', 'off')")
    assert int(shop.sync()["version"]) == 2
    ctl.ok("allow-once", "--comment", "clearance")
    assert ctl.json("history")[-1]["comment"] == "clearance"


def test_approval_by_a_second_account(ctl, account, shop):
    second = account("ctl_second", *role("ctl_second", "operator"))
    assert "No group needs approval" in ctl.ok("approve")
    assert ctl.refused("request-approval", status=4).startswith("FS1105: ")
    shop.run("CALL farmsync.set_approval('default', 'on')")
    shop.run("UPDATE shop.price SET price = 8 WHERE sku = 'sku-2'")
    ctl.ok("request-approval", "--comment", "please")
    digest = re.search(r"approve ([0-9a-f]{64})", second.ok("approve"))[1]
    assert ctl.refused("approve", digest, status=4).startswith("FS1104: ")
    assert "64 hex digits" in second.refused("approve", "12ab", status=2)
    second.ok("approve", digest)
    assert "approved by ctl_second" in ctl.ok("approve")
    ctl.ok("reject")
    assert ctl.refused("reject", status=4).startswith("FS1103: ")


def test_an_act_waits_for_a_promotion_under_way(ctl, shop, connect):
    promoter = connect()
    shop.make_due()
    promoter.run("START TRANSACTION")
    promoter.run("CALL farmsync.promote('default', %s, 'slow')", shop.epoch())
    with subprocess.Popen([CTL, *ctl.where, "hold"], stdout=subprocess.PIPE) as act:
        # InnoDB's tables are made anew only for who hasn't looked for a tenth of a second.
        wait_until(lambda: int(shop.one("SELECT COUNT(*) FROM information_schema.innodb_lock_waits")), 60,
                   "the act to wait", pace=0.25)
        promoter.run("COMMIT")
        assert act.wait(30) == 0
    assert shop.sync()["state"] == "held"


# --- who may, and what isn't there ---------------------------------------------------------------


def test_an_account_without_the_role_is_refused(account, shop):
    nobody = account("ctl_nobody")
    looker = account("ctl_looker", *role("ctl_looker", "agent"))
    before = shop.sync()
    for act in ACTS:
        for one in (nobody, looker):
            assert "farmsync_operator" in one.refused(*act, status=4), act
    assert looker.run("status").returncode == 0
    assert "farmsync_operator" in nobody.refused("status", status=4)
    assert shop.sync() == before


def test_no_database_that_answers(server, account, ctl):
    closed = Ctl("--host", "127.0.0.1:1,[::1]:1", "--user", "root")
    for command in ("status", "watch", "hold", "check-db"):
        done = closed.run(command, "--json")
        assert done.returncode in (3, 4) and json.loads(done.stdout)["error"]["text"]
        assert "127.0.0.1:1" in done.stderr and "[::1]:1" in done.stderr
    assert closed.refused("status", status=3).startswith("FS0900: ")
    ctl.ok("status", "--host", f"127.0.0.1:1,127.0.0.1:{server.port}")
    server.sql("ALTER USER ctl_oper@'%' ACCOUNT LOCK")
    try:
        assert "ctl_oper" in ctl.refused("status", status=3)
    finally:
        server.sql("ALTER USER ctl_oper@'%' ACCOUNT UNLOCK")


@pytest.fixture
def tls_server(tmp_path):
    """A server with a certificate for the name localhost, and another authority's."""
    for name in ("good", "other"):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                        "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout",
                        tmp_path / f"{name}.key", "-out", tmp_path / f"{name}.pem"], check=True,
                       capture_output=True)
    directory = tempfile.mkdtemp(prefix="fstls-", dir="/tmp")
    server = MariaDB(directory, args=[f"--ssl-cert={tmp_path}/good.pem", f"--ssl-key={tmp_path}/good.key"])
    server.start()
    install(server)
    make_account(server, "ctl_tls", *role("ctl_tls", "agent"), "ALTER USER ctl_tls@'%' REQUIRE SSL")
    yield server
    server.stop()
    shutil.rmtree(directory, ignore_errors=True)


def test_tls_is_a_must_where_it_is_asked_for(tls_server, server, tmp_path):
    def connect(port=tls_server.port, **more):
        return Ctl(option_file(tmp_path / "tls.cnf", user="ctl_tls", password="'" + PASSWORD + "'",
                               **{"host": f"localhost:{port}", **more})).run("status")
    good, other = tmp_path / "good.pem", tmp_path / "other.pem"
    assert connect().returncode == 3  # the account demands it
    assert connect(**{"ssl-ca": good, "ssl-verify-server-cert": "1"}).returncode == 0
    assert connect(host=f"127.0.0.1:{tls_server.port}", **{"ssl-ca": good}).returncode == 0
    refused = connect(host=f"127.0.0.1:{tls_server.port}", **{"ssl-ca": good, "ssl-verify-server-cert": "1"})
    assert refused.returncode == 3 and "certificate" in refused.stderr.lower()
    assert connect(**{"ssl-ca": other}).returncode == 3
    assert connect(**{"ssl-verify-server-cert": "1"}).returncode == 3  # nobody's authority
    make_account(server, "ctl_tls", *role("ctl_tls", "agent"))
    assert connect(port=server.port).returncode == 0
    assert "offers no TLS" in connect(port=server.port, **{"ssl-ca": good}).stderr


def test_an_older_installation(ctl, root, server, db):
    db.run("DROP PROCEDURE farmsync.hold")
    try:
        assert root.refused("hold", status=5).startswith("FS0905: ")
        assert "install.sql" in ctl.refused("hold", status=4)
        db.run("RENAME TABLE farmsync.history TO farmsync.history_away")
        assert ctl.refused("history", status=5).startswith("FS0905: ")
        db.run("RENAME TABLE farmsync.history_away TO farmsync.history")
    finally:
        install(server)


def test_an_account_that_logs_in_by_its_socket(server, db):
    me = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    db.script(f"CREATE USER IF NOT EXISTS '{me}'@localhost; ALTER USER '{me}'@localhost IDENTIFIED VIA "
              f"unix_socket; GRANT farmsync_agent TO '{me}'@localhost; "
              f"SET DEFAULT ROLE farmsync_agent FOR '{me}'@localhost")
    try:
        assert Ctl("--socket", server.socket).ok("status")  # the account is called like the user
    finally:
        db.run("SET DEFAULT ROLE NONE FOR %s@localhost", me)
        db.run("ALTER USER %s@localhost IDENTIFIED BY ''", me)


class Answers:
    """A connection whose statements end as they are told to."""

    def __init__(self, *errors):
        self.errors, self.statements = list(errors), []

    def cursor(self, _kind):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    description = None

    def execute(self, statement, _values):
        self.statements.append(statement)
        error = self.errors.pop(0) if self.errors else None
        if error:
            raise pymysql.err.OperationalError(error, "told to")

    def nextset(self):
        return False

    def close(self):
        pass


@pytest.mark.parametrize("errors, wanted, acts", [
    ((None, 1213, None, 1213, None), None, 3),  # each act is two statements: the comment and the call
    ((None, 1205), Busy, 1), ((None, 1213) * 9, Busy, TRIES + 1), ((None, 1047), None, 2),
    ((None, 2013), Unknown, 1), ((None, 1044), Refused, 1), ((None, 1644), Sentence, 1)])
def test_what_an_act_does_about_errors(monkeypatch, errors, wanted, acts):
    values = {"host": "db1,db2", "user": "u"}
    db = Database(options.Target(values, "a test"))
    answers = Answers(*errors)
    monkeypatch.setattr(database, "connect_host", lambda *_: answers)
    if wanted:
        with pytest.raises(wanted):
            db.act("hold", ("default",), "why")
    else:
        db.act("hold", ("default",), "why")
    assert answers.statements == ["SET @farmsync_comment = %s", "CALL farmsync.`hold`(%s)"] * acts
    if 1047 in errors:
        assert db.peer == "db2:3306"


# --- arguments, option files ---------------------------------------------------------------------


@pytest.mark.parametrize("arguments, word", [
    ((), "required"), (("frobnicate",), "invalid choice"), (("roll-back",), "required"),
    (("history", "-n", "0"), "not a number"), (("check-db", "--connections", "1"), "from 2 to 64"),
    (("watch", "--interval", "0"), "0.1 to 3600"), (("status", "--port", "70000"), "not a port"),
    (("status", "--host", "a,,b"), "separated by commas"), (("status", "--host", "a:b"), "1 to 65535"),
    (("status", "--defaults-file", "/nonexistent/my.cnf"), "check the path"),
    (("status", "--password=x"), "explicit argument"), (("doctor", "--seconds", "-1"), "0 to 600")])
def test_wrong_arguments(arguments, word):
    assert word in Ctl().refused(*arguments, status=2)


def test_help_and_version():
    assert "farmsyncctl status" in Ctl().ok("--help")
    assert "--at TIME" in Ctl().ok("activate", "--help")
    with open(os.path.join(paths.REPO, "configure.ac"), encoding="utf-8") as file:
        release = re.search(r"AC_INIT\(\[farmsync\],\[([^\]]+)\]", file.read())[1]
    assert Ctl().ok("--version") == f"farmsyncctl {release}\n"


def test_option_files(tmp_path):
    included = tmp_path / "more.d"
    included.mkdir()
    (included / "a.cnf").write_text("[farmsync]\nport=3307\n[mysqld]\nuser=mysql\n", encoding="utf-8")
    (included / "ignored.txt").write_text("[farmsync]\nport=1\n", encoding="utf-8")
    path = tmp_path / "my.cnf"
    path.write_text("# a comment\n[client]\nuser = c\npassword=\"with # and \\\" quotes\" # a comment\n"
                    "host=away\n[mysql]\nport=1\n[farmsync]\nhost = db1, db2:3308, [2001:db8::3]:3306, ::1\n"
                    f"ssl_verify_server_cert\n!includedir {included}\n", encoding="utf-8")
    target = options.Target(options.read_file(str(path)), str(path))
    assert (target.user, target.password, target.verify) == ("c", 'with # and " quotes', True)
    assert [tuple(host) for host in target.hosts] == [
        ("db1", 3307, None), ("db2", 3308, None), ("2001:db8::3", 3306, None), ("::1", 3307, None)]
    path.write_text("[mysqld]\nport=1\n", encoding="utf-8")
    assert options.read_file(str(path)) is None
    with pytest.raises(BadOption, match=r"\[farmsync\]"):
        options.from_files(str(path))
    path.write_text(f"!include {path}\n", encoding="utf-8")
    with pytest.raises(BadOption, match="without end"):
        options.read_file(str(path))


def test_times_that_people_give():
    now = times.parse("2026-03-01 12:00", None)
    for given, wanted in (("+90", "2026-03-01 12:01:30.000000"), ("+2h", "2026-03-01 14:00:00.000000"),
                          ("+1d", "2026-03-02 12:00:00.000000"), ("+1.5s", "2026-03-01 12:00:01.500000"),
                          ("2026-03-01T00:30:00+01:00", "2026-02-28 23:30:00.000000"),
                          ("2026-03-01 00:00:00.25Z", "2026-03-01 00:00:00.250000")):
        assert times.sql(times.parse(given, now)) == wanted
    for given in ("", "noon", "12:00", "2026-13-01 00:00", "2026-02-30 00:00", "+", "+99999999h", "-5m",
                  "0001-01-01T00:00:00+14:00"):
        with pytest.raises(BadArgument):
            times.parse(given, now)


def test_what_is_printed_can_do_nothing_to_a_terminal():
    assert text.printable("a\x1b[2J\r\n\x07\u202e") == "a\\x1b[2J\\r\\n\\x07\\u202e"
    assert text.clip("价格价格", 5) == "价格…"
    assert text.table([["价", 1]], ["a", "b"]) == ["a   b", "价  1"]
    assert [text.span(value) for value in (4.24, 200, 7500, 273600, -1, None)] == \
        ["4.2 s", "3 min 20 s", "2 h 5 min", "3 d 4 h", "-1.0 s", "-"]


def test_a_command_is_found_in_its_file_and_loads_no_other():
    for module, names in table.MODULES.items():
        for name in names:
            assert tuple(one.name for one in table.find(name)) == names, module
    assert {one.name for one in table.find("no-such")} == {name for names in table.MODULES.values()
                                                           for name in names}
    script = "import sys; from farmctl.cli import main; print(main(sys.argv[1:]), *sys.modules)"
    status, *loaded = subprocess.run(
        ["/usr/bin/python3", "-B", "-c", script, "down", "shop", "--agent", "/nonexistent"], text=True, check=True,
        capture_output=True, cwd=os.path.join(paths.REPO, "scripts")).stdout.split()
    assert status == "3" and "farmctl.commands.avail" in loaded
    assert not {"pymysql", "http.client", "farmctl.database", "farmctl.commands.status"} & set(loaded)


def test_completion_knows_every_command_and_option():
    commands = next(action for action in parser()._actions if action.dest == "command").choices
    with open(COMPLETION, encoding="utf-8") as file:
        script = file.read()
    listed = re.search(r'commands="([^"]+)"', script)[1].split()
    assert listed == sorted(commands)

    def complete(*words):
        line = " ".join(f"'{word}'" for word in ("farmsyncctl", *words))
        done = subprocess.run(["bash", "-c", f"source '{COMPLETION}'; COMP_WORDS=({line}); "
                               f"COMP_CWORD={len(words)}; _farmsyncctl; printf '%s\\n' \"${{COMPREPLY[@]}}\""],
                              text=True, capture_output=True, check=True)
        return done.stdout.split()
    assert complete("ro") == ["roll-back"]
    assert complete("--host", "db1", "doc") == ["doctor"]
    for name, sub in commands.items():
        known = {option for action in sub._actions for option in action.option_strings
                 if option.startswith("--") and option != "--sabotage"}
        assert known == {one for one in complete(name, "-") if one.startswith("--")}, name


# --- watch ---------------------------------------------------------------------------------------


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, command, rows=24, width=80):
        self.output = ""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, width, 0, 0))
        self.before = termios.tcgetattr(slave)
        self.master, self.slave = master, slave
        environment = {key: value for key, value in os.environ.items() if key not in ("LINES", "COLUMNS")}
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave,
                                        env={**environment, "TERM": "xterm"}, start_new_session=True)

    def until(self, pattern, limit=30):
        """Reads until the pattern is in what has come since the last picture began."""
        deadline = time.monotonic() + limit
        while not re.search(pattern, self.output):
            assert time.monotonic() < deadline, f"{pattern} not in {self.output[-3000:]!r}"
            if select.select([self.master], [], [], 0.2)[0]:
                self.output += os.read(self.master, 65536).decode(errors="replace")
        return self.output

    def send(self, keys):
        os.write(self.master, keys.encode())

    def end(self):
        status = self.process.wait(20)
        while select.select([self.master], [], [], 0.2)[0]:
            self.output += os.read(self.master, 65536).decode(errors="replace")
        assert termios.tcgetattr(self.slave) == self.before
        os.close(self.slave)
        os.close(self.master)
        return status


def test_watch_is_live_and_leaves_the_terminal_as_it_was(ctl, shop):
    shop.run("UPDATE farmsync.sync SET activation_time = UTC_TIMESTAMP(6) + INTERVAL 1 HOUR")
    terminal = Terminal([CTL, *ctl.where, "watch", "--interval", "0.2"], width=60)
    terminal.until(r"59 min \d+ s")
    shop.run("CALL farmsync.hold('default')")
    terminal.until(r"held by root@localhost")
    terminal.until(r"q quits")
    terminal.send("q")
    assert terminal.end() == 0
    assert terminal.output.startswith("\x1b[?1049h\x1b[?25l")
    assert terminal.output.rstrip().endswith("\x1b[?25h\x1b[?1049l")
    for line in re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", terminal.output).splitlines():
        assert text.width(line) <= 60


def test_watch_ends_at_a_signal_and_restores_the_terminal(ctl, shop):
    terminal = Terminal([CTL, *ctl.where, "watch"])
    terminal.until("q quits")
    terminal.process.terminate()
    assert terminal.end() == 0
    assert terminal.output.rstrip().endswith("\x1b[?25h\x1b[?1049l")


def test_watch_without_a_terminal_is_one_picture(ctl, shop):
    lines = ctl.ok("watch")
    assert "\x1b" not in lines and "default" in lines
    assert ctl.json("watch")["history"]


def test_a_screen_that_is_too_small_shows_the_worst_servers(ctl, shop):
    shop.run("CALL farmsync.report_members(%s)", json.dumps(
        [{"name": f"web{number}", "kind": "agent", "group": "default", "version_active": 2,
          "version_staged": 2, "problem": "FS0999: ill" if number == 77 else ""} for number in range(100)]))
    terminal = Terminal([CTL, *ctl.where, "watch"], rows=16)
    terminal.until("q quits")
    terminal.send("q")
    terminal.end()
    assert "web77" in terminal.output and re.search(r"and \d+ more servers", terminal.output)


def test_watch_goes_on_while_the_database_is_away(sql_server, ctl, shop):
    shop.run("UPDATE farmsync.sync SET activation_time = UTC_TIMESTAMP(6) + INTERVAL 1 HOUR")
    terminal = Terminal([CTL, *ctl.where, "watch", "--interval", "0.2"])
    terminal.until("q quits")
    sql_server.pause()
    try:
        terminal.until(r"\d s old: FS090\d: ")
    finally:
        sql_server.resume()
    terminal.output = ""
    terminal.until("q quits")
    terminal.send("q")
    assert terminal.end() == 0


# --- Galera ----------------------------------------------------------------------------------------


@pytest.mark.limit(300)
def test_acts_at_once_on_two_nodes(galera):
    """Each act is done or refused with its sentence; none is lost, none is done in part."""
    galera[0].sql("CREATE OR REPLACE USER ctl_twin@'%' IDENTIFIED BY '';"
                  + ";".join(role("ctl_twin", "operator")) + "; CALL farmsync.add_group('other')")
    nodes = [Ctl("--user", "ctl_twin", "--host", f"127.0.0.1:{node.port}") for node in galera[:2]]
    done = {"hold": 0, "resume": 0}
    for number in range(12):
        act = ("hold", "resume")[number % 2]
        both = [subprocess.Popen([CTL, *node.where, act, "--comment", f"round {number}"],
                                 stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) for node in nodes]
        said = [one.communicate(timeout=60)[1] for one in both]
        assert {one.returncode for one in both} <= {0, 4} and 0 in {one.returncode for one in both}, said
        assert all(one.returncode == 0 or text_.startswith("FS1047: ") for one, text_ in zip(both, said)), said
        done[act] += sum(one.returncode == 0 for one in both)
    rows = json.loads(nodes[1].ok("history", "-n", "100", "-g", "default", "--json"))
    for act, count in done.items():
        assert sum(row["action"] == act for row in rows) == count
    assert all(row["comment"].startswith("round ") for row in rows if row["action"] in done)


def test_wrong_arguments_for_programs(ctl):
    for arguments in (("nonsense",), ("roll-back", "abc"), ("pin",), ("watch", "--interval", "0")):
        done = ctl.run("--json", *arguments)
        error = json.loads(done.stdout)["error"]
        assert done.returncode == error["exit_status"] == 2 and error["text"] in done.stderr
