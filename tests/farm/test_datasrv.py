# SPDX-License-Identifier: Apache-2.0
"""
datasrv by itself, against a real private database: promotion in time, the HTTP interface, two data servers
racing, the database gone and back, a full disk, reload and stop, keys. No web server takes part.
"""

import concurrent.futures
import contextlib
import hashlib
import hmac
import http.client
import json
import os
import re
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import threading
import time

import pytest

from farmlib import paths
from farmlib.mariadb import MariaDB
from farmlib.part import tail, wait_until

PASSWORD = "not-a-secret"
LONG_CYCLE = 600


# --- what the tests work with -----------------------------------------------------------------------


class Database:
    """A private server with farmsync, the shop's tables and the data server's account."""

    def __init__(self, directory):
        self.server = MariaDB(os.path.join(directory, "db"))
        self.server.start()
        self.server.run_file(os.path.join(paths.SQL_DIR, "install.sql"))
        self.server.sql(
            "CREATE DATABASE shop CHARACTER SET utf8mb4;"
            "CREATE TABLE shop.prices (sku VARCHAR(64) PRIMARY KEY, price DECIMAL(10,2), label TEXT);"
            "INSERT INTO shop.prices VALUES ('sku-1', 10.00, 'one'), ('sku-2', 20.00, 'zwölf €');"
            "CREATE TABLE shop.bulk (id INT PRIMARY KEY, filling LONGTEXT);"
            "GRANT SELECT ON shop.* TO 'farmsync'@'localhost';"
            f"CREATE USER 'ds'@'%' IDENTIFIED BY '{PASSWORD}';"
            "GRANT farmsync_datasrv TO 'ds'@'%'; SET DEFAULT ROLE farmsync_datasrv FOR 'ds'@'%';")
        self.option_file = os.path.join(directory, "datasrv.cnf")
        write(self.option_file, "[farmsync]\nhost=127.0.0.1\n"
              f"port={self.server.port}\nuser=ds\npassword={PASSWORD}\n", 0o600)

    def sql(self, text):
        return self.server.sql(text)

    def number(self, text):
        return int(self.sql(text))

    def rows(self, text):
        return [line.split("\t") for line in self.sql(text).split("\n") if line]


def write(path, text, mode=0o644):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, mode)
    return path


def urlopen(port, method, path, body=None, headers=None, timeout=30):
    """(status, headers, body)"""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def binary():
    return paths.built("datasrv/datasrv")


class Datasrv:
    """A data server in a directory of its own, on a free port."""

    def __init__(self, directory, database, name="ds1", **settings):
        self.directory = os.path.join(directory, name)
        os.makedirs(self.directory, exist_ok=True)
        self.name = name
        self.images = settings.get("ImageDir", os.path.join(self.directory, "images"))
        self.log_path = os.path.join(self.directory, "log")
        self.conf = os.path.join(self.directory, "datasrv.conf")
        self.settings = {"Name": name, "Listen": "127.0.0.1:0", "Database": database.option_file,
                         "ImageDir": self.images, "LogLevel": "debug", "LogFile": self.log_path,
                         "PidFile": os.path.join(self.directory, "pid"), **settings}
        self.process = None
        self.port = 0
        self.configure()

    def configure(self, **settings):
        self.settings.update(settings)
        write(self.conf, "# made by a test\n" + "".join(
            f"{name}   {value}\n" for name, value in self.settings.items() if value is not None))

    def log(self):
        with contextlib.suppress(FileNotFoundError):
            with open(self.log_path, encoding="utf-8") as file:
                return file.read()
        return ""

    def said(self, number):
        return len(re.findall(rf"\] {number}: ", self.log()))

    def start(self, env=None):
        started = self.said("FS0820")
        self.process = subprocess.Popen([binary(), "-c", self.conf], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                        env=dict(os.environ, **(env or {})))
        wait_until(lambda: self.said("FS0820") > started or self.process.poll() is not None, 60,
                   f"{self.name} to be ready", self.log)
        assert self.process.poll() is None, self.process.stderr.read().decode() + self.log()
        self.port = int(re.findall(r"ready at \w+://127\.0\.0\.1:(\d+)", self.log())[-1])
        return self

    def end(self):
        """Stops it; it must end by itself, with 0 and without a word (a sanitizer's, say)."""
        if self.process is None:
            return
        process, self.process = self.process, None
        if process.poll() is None:
            process.terminate()
        try:
            _, words = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        assert (process.returncode, words) in ((0, b""), (-signal.SIGKILL, b"")), words.decode()

    def get(self, path, **more):
        return urlopen(self.port, "GET", path, **more)

    def manifest(self, group="default", query=""):
        status, _, body = self.get(f"/v1/groups/{group}/manifest{query}")
        assert status in (200, 203), body  # 203: the database doesn't stand behind it just now
        return json.loads(body)

    def health(self):
        status, _, body = self.get("/healthz")
        return status, json.loads(body)

    def healthy(self):
        return self.health()[0] == 200

    def metric(self, name):
        _, _, body = self.get("/metrics")
        found = re.search(rf"^farmsync_{re.escape(name)} (\S+)$", body.decode(), re.MULTILINE)
        return float(found[1]) if found else None

    def put(self, member, path_name=None, headers=None):
        return urlopen(self.port, "PUT", f"/v1/members/{path_name or member['name']}",
                       json.dumps(member).encode(), headers)


def member(name, group="default", **more):
    return {"name": name, "kind": "agent", "group": group, "address": "10.0.0.1:80",
            "version_active": 1, "version_staged": 1, "digest": "", "clock_offset_us": 5,
            "clock_bound_us": 77, "clock_source": "127.0.0.1:3306", "problem": "", **more}


def images_of(manifest):
    return {(version["version"], dataset["name"]): dataset["digest"]
            for version in manifest["versions"] for dataset in version["datasets"]}


@pytest.fixture(scope="module")
def directory():
    made = tempfile.mkdtemp(prefix="fsds-", dir="/tmp")
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def database(directory):
    made = Database(directory)
    yield made
    made.server.stop()


@pytest.fixture
def group(database, request):
    """A group of the test's own with one dataset, `prices`-like, and a cycle that doesn't come by."""
    name = "g" + secrets.token_hex(4)
    database.sql(f"CREATE TABLE shop.{name} LIKE shop.prices;"
                 f"INSERT INTO shop.{name} SELECT * FROM shop.prices;"
                 f"CALL farmsync.add_group('{name}');"
                 f"CALL farmsync.set_interval('{name}', {LONG_CYCLE});"
                 f"CALL farmsync.add_dataset_with('{name}', 'shop.{name}', 'sku', "
                 f"'{{\"group\": \"{name}\"}}');")
    yield name
    database.server.start()
    database.sql(f"CALL farmsync.hold('{name}')")


@pytest.fixture
def servers(directory, database):
    """Makes data servers and ends them."""
    made = []

    def make(name=None, **settings):
        server = Datasrv(directory, database, name or "ds" + secrets.token_hex(3), **settings)
        made.append(server)
        return server
    yield make
    for server in made:
        server.end()


@pytest.fixture
def server(servers, group):
    """One data server that serves the test's group, whose first version is here."""
    one = servers(Group=group).start()
    first_version(one, group)
    return one


def first_version(one, group):
    def whole():
        status, _, body = one.get(f"/v1/groups/{group}/manifest")
        return status == 200 and json.loads(body)["version"] == 1 and one.metric(
            f'datasrv_images_missing{{group="{group}"}}') == 0
    wait_until(whole, 60, "the first version", one.log)


def change(database, group, price):
    database.sql(f"UPDATE shop.{group} SET price = {price}")


# --- promotion ----------------------------------------------------------------------------------------


def test_promotes_each_cycle_in_time_and_keeps_the_grid(server, database, group):
    """Promise 4: each due cycle is promoted, soon after its activation; these stay on one grid."""
    database.sql(f"CALL farmsync.set_interval('{group}', 2)")
    versions, activations = [], set()
    for price in range(1, 5):
        before = server.manifest(group)
        change(database, group, price)
        after = wait_until(lambda: (lambda m: m if m["version"] > before["version"] else None)(
            server.manifest(group)), 60, "the change to be staged", server.log)
        versions.append(after["version"])
        activations.add(after["activation_time"])
    assert versions == list(range(versions[0], versions[0] + 4))
    grid = {time % 2_000_000 for time in activations}
    assert len(grid) == 1, activations
    done = [int(at) for at, in database.rows(
        "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', at) FROM farmsync.history WHERE "
        f"action = 'promote' AND group_name = '{group}' AND version >= {versions[0]}")]
    assert len(done) == 4
    # A busy machine may delay some of them; a wrong computation delays all.
    assert min((at - grid.copy().pop()) % 2_000_000 for at in done) < 300_000


def test_unchanged_data_stays_the_same_version(server, database, group):
    before = server.manifest(group)
    database.sql(f"CALL farmsync.set_interval('{group}', 1)")
    after = wait_until(lambda: (lambda m: m if m["epoch"] > before["epoch"] + 3 else None)(
        server.manifest(group)), 60, "some cycles", server.log)
    assert after["version"] == before["version"]
    assert set(images_of(after).values()) == set(images_of(before).values())


def test_two_data_servers_race_and_each_cycle_is_promoted_once(servers, database, group):
    """Promise 4, and that both serve the same images, whoever built them."""
    pair = [servers(Group=group).start(), servers(Group=group).start()]
    for one in pair:
        first_version(one, group)
    database.sql(f"CALL farmsync.set_interval('{group}', 1)")
    for price in range(100, 108):
        version = pair[0].manifest(group)["version"]
        change(database, group, price)
        wait_until(lambda: pair[0].manifest(group)["version"] > version, 60, "the next version",
                   pair[0].log)
    database.sql(f"CALL farmsync.hold('{group}')")
    twice = database.rows("SELECT version, COUNT(*) FROM farmsync.history WHERE action = 'promote' AND "
                          f"group_name = '{group}' GROUP BY version HAVING COUNT(*) <> 1")
    assert twice == []
    wait_until(lambda: pair[0].manifest(group)["epoch"] == pair[1].manifest(group)["epoch"], 30,
               "both to agree")
    digests = set(images_of(pair[0].manifest(group)).values())
    for digest in digests:
        bodies = []
        for one in pair:
            wait_until(lambda: one.get(f"/v1/images/{digest}")[0] == 200, 30, "the image", one.log)
            bodies.append(one.get(f"/v1/images/{digest}")[2])
        assert bodies[0] == bodies[1]
        assert hashlib.sha256(bodies[0]).hexdigest() == digest
    won = [one.metric(f'datasrv_promotions_total{{group="{group}",outcome="staged"}}') for one in pair]
    assert sum(won) == database.number("SELECT COUNT(*) FROM farmsync.history WHERE "
                                       f"action = 'promote' AND group_name = '{group}'")


def test_a_source_that_cannot_be_read_stops_the_promotion_and_says_so(server, database, group):
    """The farm stays on what it has; reason in history, log, manifest and health; then it recovers."""
    before = server.manifest(group)
    database.sql(f"ALTER TABLE shop.{group} DROP COLUMN label")
    database.sql(f"CALL farmsync.set_interval('{group}', 1)")
    wait_until(lambda: server.manifest(group)["state"] == "failed", 60, "the refusal", server.log)
    failed = server.manifest(group)
    assert failed["version"] == before["version"] and failed["reason"]
    assert server.said("FS0852") >= 1
    assert database.number("SELECT COUNT(*) FROM farmsync.history WHERE action = 'refused' AND "
                           f"group_name = '{group}'") >= 1
    status, health = server.health()
    assert status == 200 and [w for w in health["warnings"] if w["group"] == group], health
    database.sql(f"ALTER TABLE shop.{group} ADD COLUMN label TEXT")
    wait_until(lambda: server.manifest(group)["state"] == "running", 60, "recovery", server.log)


# --- the HTTP interface ---------------------------------------------------------------------------------


def test_time_is_the_databases_within_the_bound(server, database):
    ask = ("SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', SYSDATE(6)) "
           "FROM (SELECT 1) AS one")
    before = database.number("SET time_zone = '+00:00';" + ask)
    status, _, body = server.get("/v1/time")
    after = database.number("SET time_zone = '+00:00';" + ask)
    answer = json.loads(body)
    assert status == 200
    assert before - answer["bound"] <= answer["farm_time"] <= after + answer["bound"]
    assert answer["source"] == f"127.0.0.1:{database.server.port}"


def test_image_whole_in_parts_and_not_again(server, group):
    """Range and resume, HEAD, If-None-Match; the parts are the whole."""
    dataset = server.manifest(group)["versions"][0]["datasets"][0]
    path, etag = f"/v1/images/{dataset['digest']}", f'"{dataset["digest"]}"'
    status, headers, whole = server.get(path)
    assert status == 200 and headers["ETag"] == etag and headers["Accept-Ranges"] == "bytes"
    assert len(whole) == dataset["bytes"] == int(headers["Content-Length"])
    assert hashlib.sha256(whole).hexdigest() == dataset["digest"]
    first = server.get(path, headers={"Range": "bytes=0-99"})
    rest = server.get(path, headers={"Range": "bytes=100-", "If-Range": etag})
    assert first[0] == rest[0] == 206
    assert rest[1]["Content-Range"] == f"bytes 100-{len(whole) - 1}/{len(whole)}"
    assert first[2] + rest[2] == whole
    assert server.get(path, headers={"Range": f"bytes={len(whole)}-"})[0] == 416
    assert server.get(path, headers={"If-None-Match": etag})[0] == 304
    status, headers, body = urlopen(server.port, "HEAD", path)
    assert (status, body, int(headers["Content-Length"])) == (200, b"", len(whole))


@pytest.mark.parametrize("path, status, problem", [
    ("/v1/images/" + "0" * 64, 404, "FS0836"),
    ("/v1/images/" + "0" * 63, 404, "FS0836"),
    ("/v1/images/" + "A" * 64, 404, "FS0836"),
    ("/v1/images/../../etc/passwd", 404, None),
    ("/v1/images/..%2f..%2fetc%2fpasswd", 404, None),
    ("/v1/groups/nowhere/manifest", 404, "FS0834"),
    ("/v1/groups/default", 404, "FS0842"),
    ("/v1/groups/GROUP/manifest?epoch=x", 400, "FS0843"),
    ("/v1/groups/GROUP/manifest?epoch=-1", 400, "FS0843"),
    ("/v1/groups/GROUP/manifest?epoch=99999999999999999999", 400, "FS0843"),
    ("/v1/groups/GROUP/manifest?epoch=1&wait=1e3", 400, "FS0843"),
    ("/nowhere", 404, None),
])
def test_bad_requests_get_a_clear_answer(server, group, path, status, problem):
    got, headers, body = server.get(path.replace("GROUP", group))
    assert got == status
    if problem:
        assert headers["Content-Type"] == "application/problem+json"
        assert json.loads(body)["problem"] == problem and len(json.loads(body)["detail"]) > 20


def test_long_polls_are_answered_when_the_epoch_changes(server, database, group):
    """Many wait; one change answers all of them, long before their wait is over."""
    epoch = server.manifest(group)["epoch"]
    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        asked = [pool.submit(server.get, f"/v1/groups/{group}/manifest?epoch={epoch}&wait=25000",
                             timeout=40) for _ in range(100)]
        wait_until(lambda: server.metric("datasrv_waiting") == 100, 60, "all to wait")
        began = time.monotonic()
        database.sql(f"CALL farmsync.set_interval('{group}', {LONG_CYCLE - 1})")
        answers = [one.result() for one in asked]
        took = time.monotonic() - began
    assert {status for status, _, _ in answers} == {200}
    assert all(json.loads(body)["epoch"] > epoch for _, _, body in answers)
    assert took < 24, "they waited to the end"
    assert server.metric("datasrv_waiting") == 0


def test_long_poll_without_a_change_is_304_and_a_client_that_leaves_is_forgotten(server, group):
    epoch = server.manifest(group)["epoch"]
    status, _, body = server.get(f"/v1/groups/{group}/manifest?epoch={epoch}&wait=300")
    assert (status, body) == (304, b"")
    assert server.get(f"/v1/groups/{group}/manifest?epoch={epoch}")[0] == 304
    with socket.create_connection(("127.0.0.1", server.port)) as leaving:
        leaving.sendall(f"GET /v1/groups/{group}/manifest?epoch={epoch}&wait=25000 HTTP/1.1\r\n"
                        "Host: x\r\n\r\n".encode())
        wait_until(lambda: server.metric("datasrv_waiting") == 1, 30, "it to wait")
    wait_until(lambda: server.metric("datasrv_waiting") == 0, 30, "it to be forgotten")


def test_members_are_written_with_statements_that_do_not_grow_with_them(server, database, group):
    """Herd control: queries of the database are independent of the number of agents."""
    def calls():
        return database.number("SELECT variable_value FROM information_schema.global_status WHERE "
                               "variable_name = 'COM_CALL_PROCEDURE'")
    before, began = calls(), time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        done = list(pool.map(lambda n: server.put(member(f"{group}-web{n}", group))[0], range(400)))
    assert set(done) == {204}
    wait_until(lambda: database.number("SELECT COUNT(*) FROM farmsync.member WHERE kind = 'agent' AND "
                                       f"group_name = '{group}'") == 400, 60, "all rows", server.log)
    seconds = time.monotonic() - began
    # One a second, and whatever pruning calls meanwhile: nothing that 400 members could hide in.
    assert calls() - before <= 2 * seconds + 20


def test_newest_word_of_a_member_counts_and_bad_ones_are_refused(server, database, group):
    name = f"{group}-web"
    for version in (1, 2, 3):
        assert server.put(member(name, group, version_active=version, clock_bound_us=None))[0] == 204
    wait_until(lambda: database.rows("SELECT version_active, clock_bound_us FROM farmsync.member WHERE "
                                     f"name = '{name}'") == [["3", "NULL"]], 60, "the row", server.log)
    assert server.put(member(name, group), path_name="somebody")[0] == 400
    assert server.put(member(name, "nowhere"))[0] == 404
    assert urlopen(server.port, "PUT", f"/v1/members/{name}", b"{")[0] == 400
    assert urlopen(server.port, "PUT", f"/v1/members/{name}", b"x" * 40000)[0] == 413


def test_it_is_a_member_itself(server, database, group):
    found = wait_until(lambda: database.rows(
        "SELECT kind, address, version_active, version_staged, clock_bound_us > 0, clock_source "
        f"FROM farmsync.member WHERE name = '{server.name}' AND group_name = '{group}' AND "
        "version_staged = 1"), 60, "its row", server.log)
    assert found[0][:2] == ["datasrv", f"http://127.0.0.1:{server.port}"]
    assert found[0][3:] == ["1", "1", f"127.0.0.1:{database.server.port}"]


def test_dashboard_metrics_and_health(server, database, group):
    assert server.put(member(f"{group}-web", group, problem="<script>alert(1)</script>"))[0] == 204

    def page():
        return server.get("/")[2].decode()
    text = wait_until(lambda: (lambda t: t if f"{group}-web" in t and "version 1" in t else None)(page()),
                      60, "the member and the version in force on the dashboard", server.log)
    assert f"Group {group}" in text and ">promote<" in text
    assert "<script>alert" not in text and "&#60;script&#62;alert" in text
    assert not re.search(r"(src|href)\s*=", text), "nothing from elsewhere"
    assert server.get("/")[1]["Content-Security-Policy"].startswith("default-src 'none'")
    _, headers, metrics = server.get("/metrics")
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    for line in metrics.decode().splitlines():
        assert re.fullmatch(r'# (HELP|TYPE) \w+ .+|farmsync_\w+(\{(\w+="[^"]*",?)+\})? [-+.e\d]+', line), line
    named = re.findall(r"^# TYPE (\w+)", metrics.decode(), re.MULTILINE)
    assert len(named) == len(set(named)) > 25
    assert server.health()[0] == 200


# --- what goes wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["kill", "pause"])
def test_database_gone_and_back(server, database, group, how):
    """What is here is served meanwhile; said once in the log, in health and metrics; then on it goes."""
    before = server.manifest(group)
    digest = before["versions"][0]["datasets"][0]["digest"]
    away, back = server.said("FS0830"), server.said("FS0831")
    getattr(database.server, how)()
    try:
        wait_until(lambda: not server.healthy(), 60, "it to be noticed", server.log)
        wait_until(lambda: server.metric("database_up") == 0, 60, "it to be noticed", server.log)
        assert server.manifest(group) == before
        wait_until(lambda: server.get(f"/v1/groups/{group}/manifest")[0] == 203, 30, "it to be told apart")
        assert server.get(f"/v1/images/{digest}")[0] == 200
        assert server.get("/v1/time")[0] == 200
        bound = json.loads(server.get("/v1/time")[2])["bound"]
        wait_until(lambda: json.loads(server.get("/v1/time")[2])["bound"] > bound, 30,
                   "the bound to grow")
        # Nobody could confirm that nothing newer is there, so "unchanged" would be a lie.
        wait_until(lambda: server.get(f"/v1/groups/{group}/manifest?epoch={before['epoch']}")[0] == 503,
                   60, "the doubt to be told")
        assert server.put(member(f"{group}-{how}", group))[0] == 204
        problems = [p["problem"] for p in server.health()[1]["problems"]]
        assert problems and set(problems) <= {"FS0830", "FS0845"}
    finally:
        database.server.resume() if how == "pause" else database.server.start()
    wait_until(server.healthy, 60, "health", server.log)
    assert server.said("FS0830") == away + 1 and server.said("FS0831") == back + 1
    wait_until(lambda: database.number("SELECT COUNT(*) FROM farmsync.member WHERE "
                                       f"name = '{group}-{how}'") == 1, 60, "what was reported meanwhile")
    database.sql(f"CALL farmsync.set_interval('{group}', 1)")
    change(database, group, 777)
    wait_until(lambda: server.manifest(group)["version"] > before["version"], 60, "the next promotion",
               server.log)


@contextlib.contextmanager
def locked(database, table):
    """A session that has locked this table, as a backup or a careless client does."""
    client = subprocess.Popen(database.server.client("--batch", "--unbuffered", "--skip-column-names"),
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        client.stdin.write(f"LOCK TABLES {table} WRITE; SELECT 'locked';\n".encode())
        client.stdin.flush()
        assert client.stdout.readline() == b"locked\n"
        yield
    finally:
        client.communicate(timeout=60)


def confirmed(server, group):
    """Whoever has what is known is told that there is nothing newer."""
    epoch = server.manifest(group)["epoch"]
    return server.get(f"/v1/groups/{group}/manifest?epoch={epoch}&wait=100")[0] == 304


def test_who_asks_is_not_sent_away_while_members_cannot_be_written(server, database, group):
    """
    A write waits for disks, other nodes, backups. Whether there is anything new is confirmed meanwhile:
    answers of 503 would send all agents to the database, just when it is slow.
    """
    away, hung, name = server.said("FS0830"), server.said("FS0871"), f"{group}-late"
    with locked(database, "farmsync.member"):
        assert server.put(member(name, group))[0] == 204
        wait_until(lambda: server.said("FS0871") > hung or server.said("FS0830") > away, 40,
                   "the writes to be given up", server.log)
        # Long after the write began to wait, and while the next one does.
        wait_until(lambda: confirmed(server, group), 60, "what is known to be confirmed",
                   lambda: f"{server.get(f'/v1/groups/{group}/manifest')}\n{server.log()}")
    assert server.said("FS0830") == away
    wait_until(lambda: database.number("SELECT COUNT(*) FROM farmsync.member WHERE "
                                       f"name = '{name}'") == 1, 60, "what was kept", server.log)
    wait_until(lambda: server.said("FS0877") > 0, 60, "it to be said", server.log)


def test_started_without_the_database_it_waits_for_it(servers, database, group):
    database.server.stop()
    one = servers(Group=group).start()
    assert one.get("/v1/time")[0] == 503
    assert one.get(f"/v1/groups/{group}/manifest")[0] == 503
    assert one.get("/v1/images/" + "0" * 64)[0] == 503
    assert one.health()[0] == 503
    database.server.start()
    first_version(one, group)
    assert one.health()[0] == 200 and one.said("FS0830") == 1


@contextlib.contextmanager
def small_disk(size):
    """A file system of `size` bytes; skips the test where one can't be mounted."""
    where = tempfile.mkdtemp(prefix="fsds-disk-", dir="/tmp")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", where],
                             capture_output=True, check=False).returncode == 0
    try:
        if not mounted:
            pytest.skip("needs the right to mount a tmpfs")
        yield where
    finally:
        if mounted:
            subprocess.run(["umount", "-l", where], check=False)
        os.rmdir(where)


def fill(disk):
    """Leaves no byte free; returns what to remove to have room again."""
    filler = os.path.join(disk, "filler")
    with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    return filler


def test_full_disk_is_said_and_recovers(servers, database, group):
    """The local disk is no reason to refuse the farm's promotion: nothing half done, then it goes on."""
    with small_disk(4 * 1024 * 1024) as disk:
        one = servers(Group=group, ImageDir=disk).start()
        try:
            first_version(one, group)
            filler = fill(disk)
            before = one.manifest(group)
            database.sql(f"CALL farmsync.set_interval('{group}', 1)")
            change(database, group, 4242)
            wait_until(lambda: one.said("FS0853"), 60, "the full disk to be said", one.log)
            assert "No space left" in one.log()
            warnings = wait_until(lambda: one.health()[1]["warnings"], 30, "health to tell")
            assert "FS0853" in [w["problem"] for w in warnings]
            assert one.manifest(group)["version"] == before["version"]
            assert database.rows("SELECT DISTINCT action FROM farmsync.history WHERE "
                                 f"group_name = '{group}' AND action = 'refused'") == []
            assert not [name for name in os.listdir(disk) if name.startswith(".tmp")]
            os.unlink(filler)
            wait_until(lambda: one.manifest(group)["version"] > before["version"], 30, "recovery",
                       one.log)
            wait_until(one.healthy, 30, "health", one.log)
        finally:
            one.end()


def test_full_disk_of_one_server_while_another_promotes(servers, database, group):
    """It can't make its images, says so in /healthz, answers 503 for them, and recovers."""
    with small_disk(4 * 1024 * 1024) as disk:
        full = servers(Group=group, ImageDir=disk).start()
        try:
            first_version(full, group)
            filler = fill(disk)
            well = servers(Group=group).start()
            database.sql(f"CALL farmsync.set_interval('{group}', 1)")
            change(database, group, 4343)
            wait_until(lambda: well.manifest(group)["version"] == 2, 30, "the other's promotion",
                       well.log)
            wait_until(lambda: full.said("FS0855"), 60, "the full disk to be said", full.log)
            status, health = full.health()
            assert status == 503 and "FS0855" in [p["problem"] for p in health["problems"]]
            digest = images_of(full.manifest(group))[2, group]
            status, headers, body = full.get(f"/v1/images/{digest}")
            assert (status, headers["Retry-After"]) == (503, "1")
            assert json.loads(body)["problem"] == "FS0837"
            os.unlink(filler)
            wait_until(full.healthy, 30, "recovery", full.log)
            assert full.get(f"/v1/images/{digest}")[0] == 200
        finally:
            full.end()


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", "none"])
def test_images_left_by_an_earlier_process_are_verified(server, group, damage):
    """Promise 6: nothing altered is served; what is whole is not built again."""
    digest = server.manifest(group)["versions"][0]["datasets"][0]["digest"]
    whole = server.get(f"/v1/images/{digest}")[2]
    path = os.path.join(server.images, digest + ".fsi")
    server.end()
    write(os.path.join(server.images, ".tmp-left"), "by a builder that was killed")
    if damage == "gone":
        os.unlink(path)
    else:
        with open(path, "r+b") as file:
            file.seek(len(whole) // 2)
            file.write(bytes([whole[len(whole) // 2] ^ (1 if damage == "flipped" else 0)]))
            if damage == "cut":
                file.truncate(len(whole) - 1)
    server.start()
    wait_until(lambda: server.get(f"/v1/images/{digest}")[0] == 200, 60, "the image", server.log)
    assert server.get(f"/v1/images/{digest}")[2] == whole
    assert server.said("FS0857") == (1 if damage in ("flipped", "cut") else 0)
    assert server.metric(f'datasrv_builds_total{{group="{group}"}}') == (0 if damage == "none" else 1)
    assert not os.path.exists(os.path.join(server.images, ".tmp-left"))


@pytest.mark.parametrize("harm", ["removed", "cut"])
def test_image_harmed_while_it_runs_is_built_again(server, group, harm):
    digest = server.manifest(group)["versions"][0]["datasets"][0]["digest"]
    whole = server.get(f"/v1/images/{digest}")[2]
    path = os.path.join(server.images, digest + ".fsi")
    os.unlink(path) if harm == "removed" else os.truncate(path, len(whole) // 2)
    status, _, body = server.get(f"/v1/images/{digest}")
    assert status == 503 and json.loads(body)["problem"] == "FS0837"
    assert server.said("FS0859") == 1
    wait_until(lambda: server.get(f"/v1/images/{digest}")[0] == 200, 30, "it to be built", server.log)
    assert server.get(f"/v1/images/{digest}")[2] == whole


def test_images_nobody_names_are_removed(servers, database, group):
    one = servers(Group=group, KeepImages=0).start()
    first_version(one, group)
    database.sql(f"CALL farmsync.set_interval('{group}', 1)")
    old = images_of(one.manifest(group))[1, group]
    for price in (5, 6):
        version = one.manifest(group)["version"]
        change(database, group, price)
        wait_until(lambda: one.manifest(group)["version"] > version, 60, "the next version", one.log)
    database.sql(f"CALL farmsync.set_interval('{group}', {LONG_CYCLE})")
    wait_until(lambda: old + ".fsi" not in os.listdir(one.images), 30, "the old image to go", one.log)
    assert one.get(f"/v1/images/{old}")[0] == 404
    for digest in images_of(one.manifest(group)).values():
        assert one.get(f"/v1/images/{digest}")[0] == 200


# --- keys -----------------------------------------------------------------------------------------------


class Key:
    """Signs as lib/net/fs_key.h says, from its text rather than its code."""

    def __init__(self, identifier="k1"):
        self.identifier, self.secret = identifier, secrets.token_bytes(32)

    def line(self):
        return f"{self.identifier} {self.secret.hex()}\n"

    def headers(self, method, path, origin="web1", body=b""):
        nonce = secrets.token_hex(16)
        signed = "\n".join(["farmsync-request-1", method, path, origin, "1", nonce,
                            hashlib.sha256(body).hexdigest()])
        mac = hmac.new(self.secret, signed.encode(), "sha256").hexdigest()
        return {"FarmSync-Auth":
                f"key={self.identifier}, origin={origin}, time=1, nonce={nonce}, mac={mac}"}, nonce

    def signed_answer(self, headers, status, nonce, body):
        signed = "\n".join(["farmsync-answer-1", str(status), nonce, hashlib.sha256(body).hexdigest()])
        mac = hmac.new(self.secret, signed.encode(), "sha256").hexdigest()
        return headers["FarmSync-Auth"] == f"key={self.identifier}, nonce={nonce}, mac={mac}"


@pytest.fixture
def key():
    return Key()


@pytest.fixture
def keyed(servers, directory, group, key):
    path = write(os.path.join(directory, f"{group}.key"), key.line(), 0o600)
    one = servers(Group=group, KeyFile=path).start()

    def known():
        url = f"/v1/groups/{group}/manifest"
        return one.get(url, headers=key.headers("GET", url)[0])[0] == 200
    wait_until(known, 60, "the group", one.log)
    one.key_file = path
    return one


def test_unsigned_and_forged_requests_are_refused(keyed, group, key):
    """Promise 12. The manifest, images, time and members are for the farm; three pages are for all."""
    url = f"/v1/groups/{group}/manifest"
    good, nonce = key.headers("GET", url)
    status, headers, body = keyed.get(url, headers=good)
    assert status == 200 and key.signed_answer(headers, status, nonce, body)
    digest = json.loads(body)["versions"][-1]["datasets"][0]["digest"] if json.loads(
        body)["versions"] else "0" * 64
    for path in (url, "/v1/time", f"/v1/images/{digest}"):
        assert keyed.get(path)[0] == 401
    forged = {
        "another key": Key().headers("GET", url)[0],
        "another path": key.headers("GET", "/v1/time")[0],
        "another method": key.headers("PUT", url)[0],
        "another query": key.headers("GET", url + "?epoch=1")[0],
        "rubbish": {"FarmSync-Auth": "rubbish"},
        "mac cut short": {"FarmSync-Auth": good["FarmSync-Auth"][:-1]},
    }
    for what, forgery in forged.items():
        status, _, body = keyed.get(url, headers=forgery)
        assert status == 401, what
        assert b"epoch" not in body, what
    for path in ("/healthz", "/metrics", "/"):
        assert keyed.get(path)[0] == 200


def test_a_member_speaks_for_itself_only(keyed, database, group, key):
    body = json.dumps(member(f"{group}-a", group)).encode()
    path = f"/v1/members/{group}-a"

    def put(origin):
        return urlopen(keyed.port, "PUT", path, body,
                       key.headers("PUT", path, origin=origin, body=body)[0])
    assert put(f"{group}-a")[0] == 204
    status, _, answer = put(f"{group}-b")
    assert status == 403 and json.loads(answer)["problem"] == "FS0839"
    changed = body.replace(b'"version_active": 1', b'"version_active": 9')
    headers = key.headers("PUT", path, origin=f"{group}-a", body=body)[0]
    assert urlopen(keyed.port, "PUT", path, changed, headers)[0] == 401


def test_keys_are_replaced_by_a_reload(keyed, key):
    """Rotation: old and new are accepted while both are in the file, then only the new one."""
    new = Key("k2")

    def status(with_key):
        return keyed.get("/v1/time", headers=with_key.headers("GET", "/v1/time")[0])[0]

    def reload_with(text):
        done = keyed.said("FS0824")
        write(keyed.key_file, text, 0o600)
        keyed.process.send_signal(signal.SIGHUP)
        wait_until(lambda: keyed.said("FS0824") > done, 30, "the reload", keyed.log)
    assert (status(key), status(new)) == (200, 401)
    reload_with(key.line() + new.line())
    assert (status(key), status(new)) == (200, 200)
    reload_with(new.line())
    assert (status(key), status(new)) == (401, 200)
    keyed.configure(KeyFile=None)  # never opens itself to everybody while it runs
    keyed.process.send_signal(signal.SIGHUP)
    wait_until(lambda: keyed.log().count("KeyFile was changed") == 1, 30, "the refusal", keyed.log)
    assert keyed.get("/v1/time")[0] == 401


# --- running it -----------------------------------------------------------------------------------------


def run(*arguments, timeout=30):
    return subprocess.run([binary(), *arguments], capture_output=True, text=True, timeout=timeout,
                          check=False)


def test_help_and_version_and_wrong_options():
    assert "--config" in run("--help").stdout
    assert re.fullmatch(r"datasrv \(farmsync\) \d+\.\d+\.\d+\n", run("--version").stdout)
    assert run("--nonsense").returncode == 2
    wrong = run("datasrv.conf")
    assert wrong.returncode == 2 and "--config" in wrong.stderr


BAD = [
    ("Colour blue", "line 1", "Listen"),
    ("\n\nLogLevel loud", "line 3", "warning"),
    ("KeepImages -1", "line 1", "whole number"),
    ("KeepImages 1001", "line 1", "1000"),
    ("MaxConnections 12x", "line 1", "whole number"),
    ("MaxConnections 99999999999999999999", "line 1", "whole number"),
    ("Name a\nName b", "line 2", "line 1"),
    ("Listen", "line 1", "needs a value"),
    ("Listen nowhere", "nowhere", "10.0.0.1:4470"),
    ("Listen 0.0.0.0:0", "key", "127.0.0.1"),
    ("Name two words", "Name", "letters"),
    ("Name " + "n" * 65, "Name", "64"),
    ("Group " + "g" * 65, "line 1", "64"),
    ("Group a b a", "line 1", "once"),
    ("TLSKeyFile /x", "TLSCertificateFile", "both"),
    ("ClientCAFile /x", "ClientCAFile", "TLSCertificateFile"),
    ("TLSKeyFile /nowhere.key\nTLSCertificateFile /nowhere.pem", "/nowhere", "TLS"),
    ("KeyFile /nowhere.key", "/nowhere.key", "KeyFile"),
    ("ImageDir /proc/nowhere", "/proc/nowhere", "ImageDir"),
    ("LogFile /proc/nowhere", "/proc/nowhere", "log file"),
    ("PidFile /proc/nowhere", "/proc/nowhere", "PidFile"),
    ("# nothing", "Database is missing", "my.cnf"),
]


@pytest.mark.parametrize("text, where, remedy", BAD, ids=[repr(text)[:30] for text, _, _ in BAD])
def test_bad_configuration_names_file_place_and_remedy(directory, database, text, where, remedy):
    conf = os.path.join(directory, "bad.conf")
    more = f"\nDatabase {database.option_file}\n" if text != "# nothing" else "\n"
    for name, value in (("Listen", "127.0.0.1:0"), ("ImageDir", os.path.join(directory, "bad"))):
        if name not in text:
            more += f"{name} {value}\n"
    write(conf, text + more)
    done = run("--config", conf)
    assert done.returncode == 1
    assert where in done.stderr, done.stderr
    assert re.search(r"FS\d{4}", done.stderr)
    if remedy not in ("TLS", "KeyFile", "ImageDir"):
        assert remedy in done.stderr, done.stderr


def test_check_says_yes_and_no(server, directory):
    good = run("--check", "--config", server.conf)  # also while it runs
    assert good.returncode == 0 and "fine" in good.stdout
    missing = run("--check", "--config", os.path.join(directory, "nowhere.conf"))
    assert missing.returncode == 1 and "nowhere.conf" in missing.stderr
    option_file = write(os.path.join(directory, "open.cnf"), "[farmsync]\nhost=x\npassword=y\n", 0o644)
    conf = write(os.path.join(directory, "open.conf"), f"Database {option_file}\n")
    assert "FS0303" in run("--check", "--config", conf).stderr


def test_the_sample_configuration_is_in_order(database, directory):
    """As it is, and with every setting's comment sign taken away."""
    with open(os.path.join(paths.REPO, "datasrv", "datasrv.conf.sample"), encoding="utf-8") as file:
        sample = file.read()
    text = re.sub(r"^Database .*$", f"Database {database.option_file}", sample, flags=re.MULTILINE)
    conf = write(os.path.join(directory, "sample.conf"), text)
    assert run("--check", "--config", conf).returncode == 0
    key = write(os.path.join(directory, "sample.key"), Key().line(), 0o600)
    text = re.sub(r"^#([A-Z]\w+ \S)", r"\1", text, flags=re.MULTILINE)
    text = re.sub(r"^KeyFile .*$", f"KeyFile {key}", text, flags=re.MULTILINE)
    done = run("--check", "--config", write(conf, text))
    assert done.returncode == 0, done.stderr
    source = os.path.join(paths.REPO, "datasrv", "settings.c")
    with open(source, encoding="utf-8") as file:
        known = re.findall(r'^\s+\{"(\w+)", ', file.read(), re.MULTILINE)
    assert sorted(known) == sorted(re.findall(r"^#?([A-Z]\w+) \S+$", sample, re.MULTILINE))


def test_sighup_reloads_and_says_what_needs_a_restart(server, database, group):
    other = group + "b"
    database.sql(f"CALL farmsync.add_group('{other}')")
    assert server.get(f"/v1/groups/{other}/manifest")[0] == 404

    def reload(number):
        done = server.said(number)
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: server.said(number) > done, 30, "the reload", server.log)
    os.rename(server.log_path, server.log_path + ".1")
    server.configure(Group=f"{group} {other}", LogLevel="notice", KeepImages=3, Name="other")
    reload("FS0824")
    assert "Name was changed" in server.log() and "KeepImages was changed" not in server.log()
    wait_until(lambda: server.get(f"/v1/groups/{other}/manifest")[0] == 200, 30, "the new group")
    server.configure(Group=group)
    reload("FS0824")
    wait_until(lambda: server.get(f"/v1/groups/{other}/manifest")[0] == 404, 30, "the group to go")
    server.configure(LogLevel="loud")
    reload("FS0825")
    assert server.get(f"/v1/groups/{group}/manifest")[0] == 200
    database.sql(f"CALL farmsync.drop_group('{other}')")


def test_groups_come_and_go_with_the_database(servers, database, group):
    """Without Group in the configuration every group is served, new ones at once."""
    one = servers(Group=None).start()
    first_version(one, group)
    new = group + "n"
    database.sql(f"CALL farmsync.add_group('{new}')")
    wait_until(lambda: one.get(f"/v1/groups/{new}/manifest")[0] == 200, 30, "the new group", one.log)
    database.sql(f"CALL farmsync.drop_group('{new}')")
    wait_until(lambda: one.get(f"/v1/groups/{new}/manifest")[0] == 404, 30, "the group to go", one.log)


def test_a_group_that_the_database_lacks_is_said_once(servers, database, group):
    one = servers(Group=f"{group} {group}_later").start()
    first_version(one, group)
    assert one.get(f"/v1/groups/{group}_later/manifest")[0] == 404
    assert one.said("FS0833") == 1
    database.sql(f"CALL farmsync.add_group('{group}_later')")
    wait_until(lambda: one.get(f"/v1/groups/{group}_later/manifest")[0] == 200, 30, "it", one.log)
    database.sql(f"CALL farmsync.drop_group('{group}_later')")


def test_sigterm_stops_cleanly_and_lets_those_who_wait_know(server, group):
    epoch = server.manifest(group)["epoch"]
    answers = []
    asking = threading.Thread(target=lambda: answers.append(
        server.get(f"/v1/groups/{group}/manifest?epoch={epoch}&wait=25000")))
    asking.start()
    wait_until(lambda: server.metric("datasrv_waiting") == 1, 30, "it to wait")
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(20) == 0
    asking.join(20)
    assert answers[0][0] == 503
    assert server.said("FS0822") == 1 and not os.path.exists(server.settings["PidFile"])


def test_killed_it_starts_again(server, group):
    """A pid file and a lock left by kill -9 are no obstacle."""
    server.process.kill()
    server.process.wait()
    assert os.path.exists(server.settings["PidFile"])
    server.start()
    wait_until(lambda: server.get(f"/v1/groups/{group}/manifest")[0] == 200, 30, "it", server.log)


def test_only_one_runs_with_a_pid_file_and_an_image_directory(server):
    second = run("--config", server.conf)
    assert second.returncode == 1 and f"process {server.process.pid}" in second.stderr
    assert "FS0807" in second.stderr
    conf = server.conf + ".2"
    settings = {**server.settings, "PidFile": None, "LogFile": None}
    write(conf, "".join(f"{name} {value}\n" for name, value in settings.items() if value))
    second = run("--config", conf)
    assert second.returncode == 1 and "FS0809" in second.stderr
    assert server.get("/v1/time")[0] == 200


def pid_in(path):
    with contextlib.suppress(OSError, ValueError):
        with open(path, encoding="ascii") as file:
            return int(file.read())
    return None


def test_daemon_returns_when_it_is_ready(servers, group):
    one = servers(Group=group)
    pid_file = one.settings["PidFile"]
    try:
        started = run("--daemon", "--config", one.conf)
        ready = one.said("FS0820")
        assert (started.returncode, ready) == (0, 1), started.stderr
        one.port = int(re.findall(r"ready at http://127\.0\.0\.1:(\d+)", one.log())[-1])
        first_version(one, group)
        again = run("--daemon", "--config", one.conf)
        assert again.returncode == 1 and f"process {pid_in(pid_file)} " in again.stderr.replace(",", " ")
    finally:
        pid = wait_until(lambda: pid_in(pid_file), 30, "its pid", one.log)
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not os.path.exists(pid_file), 60, "it to end", one.log)


def test_tells_systemd_when_it_is_ready(servers, directory, group):
    path = os.path.join(directory, "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(path)
        supervisor.settimeout(20)

        def heard(what):
            while True:
                text = supervisor.recv(4096).decode()
                if what in text.split("\n"):
                    return True
        one = servers(Group=group).start({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "400000"})
        assert heard("READY=1")
        assert heard("WATCHDOG=1")
        one.process.send_signal(signal.SIGHUP)
        assert heard("RELOADING=1") and heard("READY=1")
        one.end()
        assert heard("STOPPING=1")


def test_files_are_not_for_everybody(server):
    for path in (server.images, server.log_path):
        assert not stat.S_IMODE(os.stat(path).st_mode) & stat.S_IRWXO, tail(server.log_path)
