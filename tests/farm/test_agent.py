# SPDX-License-Identifier: Apache-2.0
"""
farmsync-agent by itself: a real database, data servers that a test can make pause, lie and break, and
what children would see, read with fs_peek. Nothing here needs httpd.

Promises of the design: 2, 3, 4, 6, 7, 8, 12.
"""

import fcntl
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

import pymysql
import pytest

from farmlib import mariadb, paths
from farmlib.part import wait_until

SECONDS = 30


# --- a database that all tests share ------------------------------------------------------------


class Data:
    """The database, with one table of the shop's in group default, one second interval."""

    def __init__(self, directory):
        self.server = mariadb.MariaDB(os.path.join(directory, "db1")).start()
        self.options = os.path.join(directory, "my.cnf")
        self.server.run_file(os.path.join(paths.SQL_DIR, "install.sql"))
        self.server.sql(
            "CREATE DATABASE shop; CREATE TABLE shop.prices (sku VARCHAR(32) PRIMARY KEY,"
            " price DECIMAL(10,2), pad TEXT); GRANT SELECT ON shop.* TO 'farmsync'@'localhost';"
            "CREATE USER 'web'@'127.0.0.1' IDENTIFIED BY 'secret';"
            "GRANT farmsync_agent TO 'web'@'127.0.0.1'; SET DEFAULT ROLE farmsync_agent FOR"
            " 'web'@'127.0.0.1'")
        with open(self.options, "w", encoding="utf-8") as file:
            file.write(f"[farmsync]\nhost=127.0.0.1\nport={self.server.port}\nuser=web\n"
                       "password=secret\n")
        os.chmod(self.options, 0o600)
        self.price = 100
        self.server.sql("INSERT INTO shop.prices VALUES ('a', 100, NULL);"
                        "CALL farmsync.set_interval('default', 1);"
                        "CALL farmsync.add_dataset('prices', 'shop.prices', 'sku')")

    def change(self, pad=0):
        """A new price, which every server must show some cycles later."""
        self.price += 1
        filler = f"REPEAT(MD5(RAND()), {pad // 32})" if pad else "NULL"
        self.server.sql(f"UPDATE shop.prices SET price = {self.price}, pad = {filler}")
        return f"{self.price}.00"

    def member(self, name):
        row = self.server.sql("SELECT version_active, version_staged, clock_bound_us, digest,"
                              " problem, TIMESTAMPDIFF(MICROSECOND, seen, UTC_TIMESTAMP(6)) FROM"
                              f" farmsync.member WHERE name = '{name}' AND kind = 'agent'")
        return row.split("\t") if row else None

    def sync(self, column):
        return self.server.sql(f"SELECT {column} FROM farmsync.sync WHERE group_name = 'default'")


@pytest.fixture(scope="module")
def data():
    directory = tempfile.mkdtemp(prefix="fsagent-", dir="/tmp")
    made = Data(directory)
    yield made
    made.server.stop()
    shutil.rmtree(directory, ignore_errors=True)


# --- an agent --------------------------------------------------------------------------------------


class Agent:
    def __init__(self, state, name="web1", **config):
        self.state = state
        self.name = name
        self.log = os.path.join(os.path.dirname(state), f"{name}.log")
        self.config = {"server": name, "state_dir": state, "groups": ["default"],
                       "database": None, "data_servers": [], "log_level": "info", "poll_ms": 100,
                       "address": "127.0.0.1:80", **config}
        self.process = None

    def write(self):
        os.makedirs(self.state, exist_ok=True)
        path = os.path.join(self.state, "agent.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(self.config, file)
        return path

    def command(self, *more):
        return [paths.built("farmsync-agent"), "--config", self.write(), *more]

    def start(self, *more):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command("--standalone", *more), stderr=log,
                                            stdin=subprocess.DEVNULL)
        return self

    def stop(self, number=signal.SIGTERM):
        """Ends it: sooner than anything that it may be waiting for would end."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
            self.process.wait(20)

    def peek(self, *more):
        done = subprocess.run([paths.built("tests/tools/fs_peek"), self.state, *more],
                              capture_output=True, text=True, check=False)
        return json.loads(done.stdout) if done.returncode == 0 and done.stdout else None

    def group(self):
        page = self.peek("--key", "prices", "a", "price")
        return page["groups"].get("default") if page else None

    def value(self):
        """The price that a request would get now; None if there is nothing to serve."""
        group = self.group()
        if not group or not group["serves"]["view"]:
            return None
        for which in ("active", "staged"):
            if which in group and group[which]["id"] == group["serves"]["view"]:
                return group[which]["datasets"]["prices"].get("value")
        return None

    def lines(self, number):
        return [line for line in self.text().splitlines() if f"] {number}: " in line]

    def text(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def wait(self, condition, what, seconds=SECONDS):
        return wait_until(condition, seconds, what, self.evidence)

    def wait_value(self, value, seconds=SECONDS):
        self.wait(lambda: self.value() == value, f"price {value} at {self.name}", seconds)

    def wait_log(self, number, seconds=SECONDS):
        return self.wait(lambda: self.lines(number), f"{number} in the log of {self.name}", seconds)

    def evidence(self):
        return json.dumps(self.peek("--key", "prices", "a", "price"), indent=1) + self.text()[-6000:]


@pytest.fixture
def place():
    directory = tempfile.mkdtemp(prefix="fsagent-", dir="/tmp")
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def agents(place):
    """Makes agents below one directory and ends them."""
    made = []

    def make(name="web1", state=None, **config):
        agent = Agent(state or os.path.join(place, name), name, **config)
        made.append(agent)
        return agent

    yield make
    for agent in made:
        agent.stop(signal.SIGKILL)


# --- a data server that does as it is told -------------------------------------------------------------


class Relay(http.server.ThreadingHTTPServer):
    """
    Serves what an agent has (its kept manifest, its images), as a datasrv would. `mode`: "good";
    "hang" accepts and says nothing; "refuse" answers 503; "garbage" answers with bytes; "edit" lets
    `edit(manifest)` change what is said; "flip" sends images with one wrong bit; "short" breaks
    transfers off.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, source):
        super().__init__(("127.0.0.1", 0), RelayHandler)
        self.source = source
        self.mode = "good"
        self.edit = None
        self.asked = {"time": 0, "manifest": 0, "image": 0, "member": 0}
        self.members = []
        self.released = threading.Event()
        self.thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    @property
    def url(self):
        return "http://127.0.0.1:%d" % self.server_address[1]

    def handle_error(self, request, client_address):
        pass  # clients that go away are part of the tests

    def manifest(self):
        with open(os.path.join(self.source.state, "manifest-default.json"),
                  encoding="utf-8") as file:
            made = json.load(file)
        if self.mode == "edit":
            self.edit(made)
        return made

    def end(self):
        self.mode = "good"
        self.released.set()
        self.shutdown()
        self.server_close()


class RelayHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def send(self, status, body=b"", kind="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked["member"] += 1
        if self.server.mode == "hang":
            self.server.released.wait()
        self.server.members.append(json.loads(body))
        self.send(204)

    def do_GET(self):
        path, query = (self.path + "?").split("?")[:2]
        what = ("time" if path == "/v1/time" else
                "manifest" if path == "/v1/groups/default/manifest" else "image")
        self.server.asked[what] += 1
        if self.server.mode == "hang":
            self.server.released.wait()
        if self.server.mode == "refuse":
            self.send(503)
        elif self.server.mode == "garbage":
            self.send(200, os.urandom(2000))
        elif what == "time":
            self.send(200, json.dumps({"farm_time": int(time.time() * 1e6), "bound": 100,
                                       "source": "relay"}).encode())
        elif what == "manifest":
            self.manifest(dict(urllib.parse.parse_qsl(query)))
        else:
            self.image(path)

    def manifest(self, query):
        until = time.monotonic() + int(query.get("wait", 0)) / 1000
        while True:
            made = self.server.manifest()
            if str(made["epoch"]) != query.get("epoch"):
                self.send(200, json.dumps(made).encode())
                return
            if time.monotonic() >= until:
                self.send(304)
                return
            time.sleep(0.01)
            if self.server.mode == "hang":
                self.server.released.wait()

    def image(self, path):
        file = os.path.join(self.server.source.state, "images", os.path.basename(path) + ".fsi")
        if not os.path.exists(file):
            self.send(404)
            return
        with open(file, "rb") as image:
            body = bytearray(image.read())
        if self.server.mode == "flip":
            body[len(body) // 2] ^= 1
        first = 0
        asked = re.match(r"bytes=(\d+)-$", self.headers.get("Range", ""))
        if asked:
            first = int(asked[1])
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body) - first))
        self.end_headers()
        if self.server.mode == "short":
            self.wfile.write(body[first:first + max(1, (len(body) - first) // 2)])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
        else:
            self.wfile.write(body[first:])


@pytest.fixture
def relays(agents, data):
    """Makes data servers that relay what an agent has that gets it from SQL."""
    made = []
    source = agents("source", database=data.options).start()
    source.wait_value(data.change())

    def make():
        relay = Relay(source)
        made.append(relay)
        return relay

    make.source = source
    yield make
    for relay in made:
        relay.end()


# --- from SQL alone ----------------------------------------------------------------------------------------


def test_sql_alone_promotes_builds_and_reports(agents, data):
    """No datasrv anywhere: the agent promotes, builds, switches and says so in farmsync.member."""
    agent = agents(database=data.options).start()
    agent.wait_value(data.change())
    agent.wait_value(data.change())
    assert agent.peek()["clock"]["state"] == 2
    agent.wait(lambda: 0 < agent.peek()["clock"]["bound"] < 100000, "a good round trip to the database")
    promoted_by = data.sync("promoted_by")
    assert "web1" in promoted_by

    def told():
        row = data.member("web1")
        return row and row[0] == str(agent.group()["serves"]["version"]) and row[4] == ""

    agent.wait(told, "the member row")
    row = data.member("web1")
    assert int(row[2]) > 0 and len(row[3]) == 64
    agent.wait(lambda: int(data.member("web1")[5]) < 2000000, "a fresh member row")


def test_several_agents_promote_once_a_cycle(agents, data):
    """Promise 4: whoever comes first, and everybody serves the same."""
    several = [agents(f"web{i}", database=data.options).start() for i in range(4)]
    value = data.change()
    for agent in several:
        agent.wait_value(value)
    first = int(data.sync("epoch"))
    mark = data.server.sql("SELECT COALESCE(MAX(id), 0) FROM farmsync.history")
    for _ in range(3):
        value = data.change()
        for agent in several:
            agent.wait_value(value)
    assert int(data.sync("epoch")) > first
    doubled = data.server.sql("SELECT version, COUNT(*) FROM farmsync.history WHERE action ="
                              f" 'promote' AND id > {mark} GROUP BY version HAVING COUNT(*) > 1")
    assert doubled == ""


def test_unchanged_cycles_leave_the_images_alone(agents, data):
    agent = agents(database=data.options).start()
    agent.wait_value(data.change())
    epoch = int(data.sync("epoch"))
    wait_until(lambda: int(data.sync("epoch")) >= epoch + 3, SECONDS, "three cycles", agent.evidence)
    agent.wait(lambda: agent.group()["epoch"] >= epoch + 3, "their epochs published")
    assert len(agent.lines("FS0590")) <= 3
    assert agent.value() == f"{data.price}.00"


def test_database_paused_and_back(agents, data):
    """What is published goes on; the beat too; then the agent catches up."""
    agent = agents(database=data.options).start()
    value = data.change()
    agent.wait_value(value)
    data.server.pause()
    try:
        agent.wait_log("FS0603", 40)  # a newer version may be in force
        assert agent.value() == value
        agent.wait(lambda: agent.peek()["beat_age"] < 1000000, "the beat, which goes on")
        assert agent.group()["serves"]["stale"]
    finally:
        data.server.resume()
    agent.wait_value(data.change())
    agent.wait(lambda: not agent.group()["serves"]["stale"], "not stale")


# --- from data servers ---------------------------------------------------------------------------------------


def test_data_server_alone(agents, relays):
    """No database at this host: manifest, images and clock come from a datasrv, reports go to it."""
    relay = relays()
    agent = agents("web2", data_servers=[relay.url]).start()
    agent.wait(lambda: agent.value() == relays.source.value(), "the relay's price")
    agent.wait(lambda: relay.members and relay.members[-1]["version_active"] > 0, "a report")
    assert relay.members[-1]["name"] == "web2"
    agent.wait(lambda: agent.peek()["clock"]["state"] == 2, "the clock")
    assert agent.peek()["clock"]["source"] == "relay"
    asked = relay.asked["manifest"]
    epoch = agent.group()["epoch"]
    agent.wait(lambda: agent.group()["epoch"] > epoch + 1, "two cycles")
    # A long poll, not a busy one: about one request an epoch.
    assert relay.asked["manifest"] - asked < 40


def test_long_polled_server_that_hangs_is_left(agents, relays, data):
    """A paused datasrv is noticed by the clock within seconds although the poll would wait longer."""
    one, two = relays(), relays()
    agent = agents("web2", data_servers=[one.url, two.url]).start()
    agent.wait_value(data.change())
    busy, other = (one, two) if one.asked["manifest"] else (two, one)
    assert other.asked["manifest"] == 0  # stays with a working one
    busy.mode = "hang"
    agent.wait_value(data.change(), 24)  # less than a long poll
    assert other.asked["manifest"] > 0


@pytest.mark.parametrize("mode", ["hang", "refuse"])
def test_agent_goes_back_to_its_own_data_server(agents, relays, data, mode):
    """Or else a whole farm would stay on the survivor of an outage."""
    one, two = relays(), relays()
    agent = agents("web2", data_servers=[one.url, two.url], home_after_ms=300).start()
    agent.wait_value(data.change())
    home, other = (one, two) if one.asked["manifest"] else (two, one)
    home.mode = mode
    agent.wait_value(data.change(), 24)  # less than a long poll
    assert other.asked["manifest"] > 0
    looks = home.asked["time"]
    agent.wait(lambda: home.asked["time"] > looks, "a look at home")
    agent.wait_value(data.change())
    assert not [line for line in agent.lines("FS0577") if home.url in line], \
        "looking at home is no reason to be without farm time"
    home.mode = "good"
    home.released.set()
    agent.wait_log("FS0579")
    other.mode = "refuse"  # whoever is still there would have to move on
    asked = home.asked["manifest"]
    agent.wait_value(data.change())
    assert home.asked["manifest"] > asked
    assert not agent.lines("FS0588")


def test_no_data_server_is_sql_and_back(agents, relays, data):
    relay = relays()
    agent = agents("web2", data_servers=[relay.url], database=data.options).start()
    agent.wait_value(data.change())
    assert relay.asked["manifest"] > 0
    relay.mode = "refuse"
    agent.wait_value(data.change())
    agent.wait_log("FS0588")
    relay.mode = "good"
    agent.wait_log("FS0589", 40)
    agent.wait_value(data.change())


def test_answers_that_are_wrong_change_nothing(agents, relays, data):
    """Promise 12: garbage, another group, an older epoch, other content: kept, and said."""
    relay = relays()
    agent = agents("web2", data_servers=[relay.url]).start()
    agent.wait_value(data.change())

    def older(manifest):
        manifest["epoch"] = 1

    def foreign(manifest):
        manifest["group"] = "other"

    def backwards(manifest):
        manifest["epoch"] += 1000
        for version in manifest["versions"]:
            version["version"] = 1
        manifest["version"] = manifest["active_version"] = 1
        manifest["versions"] = manifest["versions"][:1]

    for edit, number in ((foreign, "FS0560"), (older, "FS0562"), (backwards, "FS0562")):
        before = agent.group()
        relay.edit = edit
        relay.mode = "edit"
        agent.wait(lambda: agent.group()["problem"] == number, f"{number} published")
        held = agent.group()
        assert held["epoch"] >= before["epoch"]
        assert held["active_version"] >= before["active_version"]
        assert held["serves"]["version"] >= before["serves"]["version"]
        relay.mode = "good"
        agent.wait_value(data.change(), 40)
        agent.wait(lambda: agent.group()["problem"] == "", "the problem over")

    relay.mode = "garbage"
    agent.wait(lambda: relay.asked["manifest"], "asked")
    value = agent.value()
    agent.wait(lambda: agent.group()["problem"] == "FS0360", "garbage published as a problem")
    assert agent.value() >= value


def test_older_epoch_is_taken_when_the_operator_allows_it(agents, relays, data):
    relay = relays()
    agent = agents("web2", data_servers=[relay.url]).start()
    agent.wait_value(data.change())

    def older(manifest):
        manifest["epoch"] = 1

    relay.edit = older
    relay.mode = "edit"
    agent.wait(lambda: agent.group()["problem"] == "FS0562", "FS0562 published")
    named = re.search(r"create (\S+) if", agent.group()["detail"])
    assert named, agent.group()["detail"]
    with open(named[1], "w", encoding="utf-8"):
        pass
    agent.wait(lambda: agent.group()["epoch"] == 1, "the older epoch")
    assert not os.path.exists(named[1])
    assert agent.lines("FS0565")


@pytest.mark.parametrize("damage", ["flip", "short"])
def test_damaged_transfer_is_never_published(agents, relays, data, damage):
    """Promise 6. The other data server has it whole; or, with one, it is had once that sends it."""
    relay = relays()
    relay.mode = damage
    agent = agents("web2", data_servers=[relay.url]).start()
    if damage == "flip":
        agent.wait(lambda: (agent.group() or {}).get("problem") == "FS0350", "a problem published")
        assert agent.value() is None
        assert agent.group()["staged_version"] > 0  # the schedule is there all the same
        relay.mode = "good"
    agent.wait_value(data.change())
    agent.wait(lambda: agent.group()["problem"] == "", "the problem over")


def test_version_that_cannot_be_had_leaves_the_old_one(agents, relays, data):
    """The old version goes on, marked as stale, over any number of switches; there is no gap."""
    relay = relays()
    agent = agents("web2", data_servers=[relay.url]).start()
    value = data.change()
    agent.wait_value(value)
    agent.wait(lambda: agent.group()["serves"]["stale"] == 0, "fresh")
    served = agent.group()["serves"]["version"]
    relay.mode = "flip"
    for _ in range(3):
        relays.source.wait_value(data.change())
    agent.wait(lambda: agent.group()["staged_version"] > served + 1, "two switches later")
    assert agent.value() == value
    assert agent.group()["serves"]["stale"] and agent.lines("FS0602")
    agent.stop()
    agent.start()  # ... and over a restart
    agent.wait(lambda: agent.text().count("FS0626") == 2, "the second start")
    assert agent.value() == value
    relay.mode = "good"
    agent.wait_value(data.change())
    agent.wait(lambda: not agent.group()["serves"]["stale"], "fresh again")


# --- start and end ------------------------------------------------------------------------------------------


def quiet(data):
    """Nothing changes while a test looks at what is on disk."""
    data.server.sql("CALL farmsync.hold('default')")


@pytest.fixture
def held(data):
    """hold() in force once whatever is staged is active; resumed afterwards."""
    yield lambda: quiet(data)
    data.server.sql("CALL farmsync.resume('default')")


def settled(agent):
    """What is served is what the newest version says."""
    group = agent.group()
    return (group and group["state"] == 1 and group["serves"]["version"] == group["staged_version"]
            and not group["serves"]["stale"])


def served_image(agent):
    group = agent.group()
    which = next(w for w in ("active", "staged")
                 if w in group and group[w]["id"] == group["serves"]["view"])
    digest = group[which]["datasets"]["prices"]["digest"]
    return os.path.join(agent.state, "images", digest + ".fsi")


def has_bytes(path, expected):
    try:
        with open(path, "rb") as file:
            return file.read() == expected
    except FileNotFoundError:  # a damaged one is taken away before it is fetched
        return False


@pytest.mark.parametrize("cold", [False, True])
@pytest.mark.parametrize("damage", ["cut", "flip", "gone"])
def test_damaged_image_on_disk_is_fetched_anew(agents, data, held, damage, cold):
    """Promise 6, at a start: after a crash of the disk, or of the machine (a page of another boot)."""
    agent = agents(database=data.options).start()
    agent.wait_value(data.change())
    held()
    agent.wait(lambda: settled(agent), "a settled group")
    value = agent.value()
    agent.stop()
    path = served_image(agent)
    with open(path, "rb") as image:
        whole = image.read()
    if damage == "gone":
        os.unlink(path)
    else:
        with open(path, "r+b") as image:
            size = os.path.getsize(path)
            if damage == "cut":
                image.truncate(size // 2)
            else:
                image.seek(size // 2)
                byte = image.read(1)
                image.seek(size // 2)
                image.write(bytes([byte[0] ^ 0x10]))
    if cold:
        os.unlink(os.path.join(agent.state, "control"))
    agent.start()
    # The value alone says nothing: until the new agent has looked, the page and the image are the old
    # ones, and a price is there even when a byte elsewhere isn't.
    agent.wait(lambda: has_bytes(path, whole), "the image whole again")
    agent.wait(lambda: agent.value() == value and agent.group()["problem"] == "", "it to be served")


def test_restart_keeps_what_is_published(agents, data, held):
    """A new agent goes on with the views of the old one: same ids, no gap."""
    agent = agents(database=data.options).start()
    agent.wait_value(data.change())
    held()
    agent.wait(lambda: settled(agent), "a settled group")
    view = agent.group()["serves"]["view"]
    agent.stop()
    assert agent.group()["serves"]["view"] == view
    agent.start()
    agent.wait_log("FS0567")
    agent.wait(lambda: agent.text().count("FS0626") == 2, "the second start")
    assert agent.group()["serves"]["view"] == view


def test_everything_central_down_serves_the_last_good_data(agents, data):
    """Promise 7: also after a reboot, with the clock guessed, saying how old the data is."""
    agent = agents(database=data.options).start()
    value = data.change()
    agent.wait_value(value)
    agent.wait(lambda: os.path.exists(os.path.join(agent.state, "clock.json")), "a kept clock")
    agent.stop()
    data.server.kill()
    try:
        os.unlink(os.path.join(agent.state, "control"))
        agent.start()
        agent.wait_value(value)
        assert agent.peek()["clock"]["state"] == 1
        assert agent.lines("FS0567") and agent.lines("FS0620")
        agent.wait(lambda: agent.group()["problem"] == "FS0304", "the problem published")
        assert len(agent.lines("FS0304")) < 6  # said once for each that it concerns
    finally:
        data.server.start()
    agent.wait_value(data.change())
    agent.wait(lambda: agent.peek()["clock"]["state"] == 2, "the clock measured")


def test_staged_version_is_in_force_after_its_time_with_everything_down(agents, data):
    """A start from disk after the activation time: the guessed clock says that it is due."""
    agent = agents(database=data.options).start()
    agent.wait_value(data.change())
    data.server.sql("CALL farmsync.set_interval('default', 5)")
    try:
        value = data.change()

        def staged():
            group = agent.group()
            return (group["staged_view"] and group["staged_view"] != group["active_view"]
                    and group["staged"]["datasets"]["prices"]["value"] == value)

        agent.wait(staged, "the staged view")
        due = agent.group()["activation_time"]
        agent.stop()
        data.server.kill()
        wait_until(lambda: time.time() * 1e6 > due, SECONDS, "the activation")
        os.unlink(os.path.join(agent.state, "control"))
        agent.start()
        agent.wait_value(value)
    finally:
        data.server.start()
        data.server.sql("CALL farmsync.set_interval('default', 1)")


def test_nothing_at_all_then_something(agents, data):
    """A first start with nothing central: it says so, stays, and serves as soon as it can."""
    data.server.kill()
    try:
        agent = agents(database=data.options).start()
        agent.wait_log("FS0601")
        assert agent.value() is None
        assert agent.process.poll() is None
    finally:
        data.server.start()
    agent.wait_value(data.change())


def test_away_for_three_cycles(agents, data):
    agent = agents(database=data.options).start()
    agent.wait_value(data.change())
    other = agents("web2", database=data.options).start()
    agent.stop()
    for _ in range(3):
        value = data.change()
        other.wait_value(value)
    agent.start()
    agent.wait_value(value)


def test_paused_agent_catches_up(agents, data):
    agent = agents(database=data.options).start()
    other = agents("web2", database=data.options).start()
    agent.wait_value(data.change())
    agent.process.send_signal(signal.SIGSTOP)
    for _ in range(2):
        value = data.change()
        other.wait_value(value)
    agent.process.send_signal(signal.SIGCONT)
    agent.wait_value(value)


def test_takeover_by_a_second_agent(agents, data):
    """A graceful restart: the new one ends the old one; what is served never stops."""
    first = agents(database=data.options).start()
    value = data.change()
    first.wait_value(value)
    second = agents(database=data.options, state=first.state).start()
    gaps = 0
    while first.process.poll() is None:
        gaps += first.value() is None
    second.wait(lambda: second.text().count("FS0626") == 2, "the second agent's start")
    assert first.process.returncode == 0
    assert gaps == 0
    assert second.process.poll() is None
    second.wait_value(data.change())


def test_takeover_of_one_that_hangs(agents, data):
    first = agents(database=data.options).start()
    first.wait_value(data.change())
    first.process.send_signal(signal.SIGSTOP)
    second = agents(database=data.options, state=first.state).start()
    second.wait_log("FS0613")
    first.process.wait(SECONDS)
    second.wait_value(data.change())


def test_a_promotion_that_hangs_keeps_nobody_from_hearing(agents, relays, data):
    """It may take minutes, or as long as a database stands still: meanwhile others are heard, and that
    nobody is to be heard is said."""
    relay = relays()
    agent = agents("web2", data_servers=[relay.url], database=data.options).start()
    agent.wait_value(data.change())
    relays.source.stop()  # so that it is web2 that promotes
    lock = pymysql.connect(unix_socket=data.server.socket, user="root")
    try:
        with lock.cursor() as cursor:
            cursor.execute("LOCK TABLES shop.prices WRITE")
        hanging = ("SELECT COUNT(*) FROM information_schema.processlist "
                   "WHERE state LIKE 'Waiting for table%'")
        agent.wait(lambda: data.server.sql(hanging) == "1", "a promotion that hangs")
        asked = relay.asked["manifest"]
        agent.wait(lambda: relay.asked["manifest"] > asked + 2, "the data server to be asked")
        assert data.server.sql(hanging) == "1"
        relay.mode = "hang"
        data.server.pause()
        try:
            agent.wait(lambda: agent.group()["problem"] != "", "a problem")
            agent.stop()
            assert agent.process.returncode == 0
        finally:
            data.server.resume()
    finally:
        lock.close()


def test_stop_is_quick_whatever_it_waits_for(agents, relays, data):
    """SIGTERM in the middle of a long poll, and with a database that hangs."""
    relay = relays()
    agent = agents("web2", data_servers=[relay.url], database=data.options).start()
    agent.wait_value(data.change())
    agent.stop()
    agent.start()
    agent.wait(lambda: agent.text().count("FS0626") == 2, "the second start")
    relay.mode = "hang"
    data.server.pause()
    try:
        agent.wait(lambda: agent.group()["problem"] != "", "a problem", 40)
        agent.stop()
        assert agent.process.returncode == 0
    finally:
        data.server.resume()


PARENT = """
import subprocess, sys, time
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
print(child.pid, flush=True)
sys.stdin.read()
"""


def start_with_parent(agent):
    """Starts an agent as httpd does, without --standalone. Returns (parent, pid of the agent)."""
    with open(agent.log, "ab") as log:
        parent = subprocess.Popen([sys.executable, "-c", PARENT, *agent.command()], stderr=log,
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return parent, int(parent.stdout.readline())


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_without_a_parent_it_stays_as_long_as_there_are_children(agents, data):
    agent = agents(database=data.options)
    parent, pid = start_with_parent(agent)
    agent.wait_value(data.change())
    with open(os.path.join(agent.state, "children.lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        parent.kill()
        parent.wait()
        agent.wait_log("FS0624")
        agent.wait_value(data.change())  # it works on for the children
        assert alive(pid)
    agent.wait_log("FS0625")
    wait_until(lambda: not alive(pid), SECONDS, "the agent's end", agent.evidence)


def test_two_httpd_must_not_share_a_state_directory(agents, data):
    agent = agents(database=data.options)
    parent, pid = start_with_parent(agent)
    agent.wait_value(data.change())
    other, other_pid = start_with_parent(agent)
    try:
        agent.wait_log("FS0611")
        wait_until(lambda: not alive(other_pid), SECONDS, "the second agent's end")
        assert alive(pid)
    finally:
        for one in (parent, other):
            one.kill()
            one.wait()
    wait_until(lambda: not alive(pid), SECONDS, "the first agent's end", agent.evidence)


@pytest.mark.parametrize("change, number", [
    ({"datasrv": []}, "FS0551"), ({"groups": []}, "FS0552"), ({"database": "/nowhere"}, None)])
def test_configuration_errors(agents, data, change, number):
    """Refused with a remedy; but an option file that can't be read may be mended while it runs."""
    agent = agents(database=data.options)
    agent.config.update(change)
    agent.start()
    if number:
        assert agent.process.wait(SECONDS) == 2
        assert agent.lines(number)
        return
    agent.wait(lambda: (agent.group() or {}).get("problem") == "FS0301", "the problem published")
    assert agent.process.poll() is None


# --- room --------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(place):
    """A tmpfs of 3 MiB."""
    path = os.path.join(place, "small")
    os.makedirs(path)
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", path],
                                           check=False, capture_output=True).returncode:
        pytest.skip("mounting a tmpfs needs root")
    yield path
    subprocess.run(["umount", "-l", path], check=False)


def test_full_disk_keeps_the_old_version(agents, relays, data, small_disk):
    relay = relays()
    agent = agents("web2", state=os.path.join(small_disk, "state"), data_servers=[relay.url]).start()
    value = data.change()
    agent.wait_value(value)
    filler = os.path.join(small_disk, "filler")
    with open(filler, "wb", buffering=0) as file:  # a buffer would be written again by close
        with pytest.raises(OSError):
            while True:
                file.write(bytes(1024))
    newer = data.change(pad=32768)
    agent.wait(lambda: agent.group()["problem"] in ("FS0352", "FS0356", "FS0503"),
               "a full disk as problem")
    agent.wait(lambda: agent.group()["serves"]["stale"], "stale")
    assert agent.value() is not None
    assert not [name for name in os.listdir(os.path.join(agent.state, "images"))
                if name.endswith(".fsi") and os.path.getsize(
                    os.path.join(agent.state, "images", name)) == 0]
    os.unlink(filler)
    agent.wait_value(newer, 40)
    agent.wait(lambda: agent.group()["problem"] == "", "the problem over")
    data.change()


def test_images_that_nobody_needs_are_removed(agents, data):
    """After the minute that views linger a handful is left, whatever number of versions there was."""
    agent = agents(database=data.options).start()
    for _ in range(3):
        agent.wait_value(data.change())
    stray = os.path.join(agent.state, "images", "0" * 64 + ".fsi")
    with open(stray, "wb") as file:
        file.write(b"nobody's")
    agent.wait(lambda: not os.path.exists(stray), "the stray image removed", 40)
    assert agent.value() == f"{data.price}.00"
