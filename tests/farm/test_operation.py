# SPDX-License-Identifier: Apache-2.0
"""
What operators do to a farm that runs, and what they get wrong: intervals changed in the middle of a
cycle, hold and resume, several groups, a group that doesn't exist, a wrong key, two servers of one name,
an agent that can't be started, farmsync enabled by a reload, many reloads, a graceful stop.

Everything logs at level debug, and at the end no log has a secret in it.
"""

import glob
import json
import os
import re
import secrets
import signal
import time

import pytest

import agreeing
from agreeing import Watched, flows, stamps, sync_row
from farmlib import proc
from farmlib.part import http_get, wait_until
from lone_httpd import crashes

CONF = "FarmSyncGroup default other\nFarmSyncAgentLogLevel debug\nLogLevel debug\n"


@pytest.fixture(scope="module")
def shared(farms):
    farm = farms.create(servers=2, datasrv=1, interval=1, mpm="event,prefork")
    agreeing.put_page(farm, CONF)
    ds1 = farm.datasrv(1).configuration()
    with open(ds1, encoding="utf-8") as file:
        text = file.read()
    farm.write_file("ds1/datasrv.conf", text.replace("LogLevel  info", "LogLevel  debug"))
    farm.up()
    farm.sql("CALL farmsync.add_group('other'); CALL farmsync.set_interval('other', 1)")
    agreeing.load(farm)
    farm.sql("CREATE TABLE agree.fees (zone VARCHAR(8) PRIMARY KEY, fee INT); "
             "INSERT INTO agree.fees VALUES ('de', 1)")
    farm.sql("CALL farmsync.add_dataset_with('fees', 'agree.fees', 'zone', '{\"group\": \"other\"}')")
    agreeing.wait_stamp(farm, 1)
    for web in farm.webs:
        wait_until(lambda web=web: other_fee(web)[0] == "1", 30, f"the other group at {web.name}")
    return farm


@pytest.fixture
def farm(shared):
    """The module's farm with everything up and data flowing."""
    for part in shared.parts():
        if part.pid is None:
            part.start()
    flows(shared)
    return shared


def staged(farm):
    """Changes production and waits until that is staged; returns the stamp."""
    before, stamp = sync_row(farm)["version"], next(stamps)
    agreeing.change(farm, stamp)
    wait_until(lambda: sync_row(farm)["version"] > before, 60, "the change to be staged")
    return stamp


def log_of(part):
    with open(part.log_path(), encoding="utf-8", errors="replace") as file:
        return file.read()


class LogFrom:
    """What a part logs from now on."""

    def __init__(self, part):
        self.part, self.begin = part, len(log_of(part))

    def text(self):
        return log_of(self.part)[self.begin:]

    def wait(self, what, seconds=60):
        wait_until(lambda: what in self.text(), seconds, f"{what} in the log of {self.part.name}",
                   self.text)

    def count(self, what):
        return self.text().count(what)


def status_of(web):
    return json.loads(http_get(web.url + "/farmsync/status?json")[2])


# --- the cycle -------------------------------------------------------------------------------------

def activation(farm):
    return farm.sql("SELECT activation_time FROM sync WHERE group_name = 'default'")[0][0]


def test_interval_is_changed_while_something_is_staged(farm):
    """What is announced is never put off, nobody goes back, and a short interval brings it at once."""
    farm.sql("CALL farmsync.set_interval('default', 8)")
    try:
        with Watched(farm.webs):
            first = staged(farm)
            at = activation(farm)
            farm.sql("CALL farmsync.set_interval('default', 600)")
            assert activation(farm) <= at
            second = next(stamps)
            agreeing.change(farm, second)  # the next promotion stages it, for ten minutes later
            agreeing.wait_stamp(farm, first)
            wait_until(lambda: sync_row(farm)["left"] > 100_000_000, 60, "an activation that is far")
            row = sync_row(farm)
            assert row["version"] > row["active"], "something is staged"
            assert all(agreeing.stamp_at(web) == first for web in farm.webs)
            farm.sql("CALL farmsync.set_interval('default', 1)")
            agreeing.wait_stamp(farm, second)
            flows(farm)
    finally:
        farm.sql("CALL farmsync.set_interval('default', 1)")


def resume(farm):
    if farm.sql("SELECT state FROM sync WHERE group_name = 'default'")[0][0] != "running":
        farm.sql("CALL farmsync.resume('default')")


def test_hold_and_resume(farm):
    farm.sql("CALL farmsync.hold('default')")
    try:
        with Watched(farm.webs):
            wait_until(lambda: sync_row(farm)["left"] < 0, 60, "what was staged to be in force")
            row, stamp = sync_row(farm), next(stamps)
            agreeing.change(farm, stamp)
            wait_until(lambda: sync_row(farm)["left"] < -4_000_000, 60, "four cycles without promotion")
            assert sync_row(farm)["version"] == row["version"]
            assert all(agreeing.stamp_at(web) != stamp for web in farm.webs)
            for web in farm.webs:
                status, _, text = http_get(web.url + "/farmsync/status/health")
                assert status == 200, text
            resume(farm)
            agreeing.wait_stamp(farm, stamp)
    finally:
        resume(farm)


# --- groups ------------------------------------------------------------------------------------------

def other_fee(web):
    status, headers, body = http_get(web.url + "/farmsync/data/fees/de/fee")
    return (body.decode(), headers["FarmSync-Version"]) if status == 200 else (None, None)


def test_two_groups_on_one_server_change_on_their_own(farm):
    farm.sql("CALL farmsync.hold('default')")
    try:
        before = sync_row(farm)["version"]
        farm.sql("UPDATE agree.fees SET fee = 2")
        for web in farm.webs:
            wait_until(lambda web=web: other_fee(web)[0] == "2", 30, f"the change at {web.name}")
            groups = {group["name"]: group for group in status_of(web)["groups"]}
            assert set(groups) == {"default", "other"}
            assert groups["default"]["version"] == before
            assert f'other={groups["other"]["version"]}' in other_fee(web)[1]
        assert sync_row(farm)["version"] == before
    finally:
        resume(farm)
    flows(farm)


def test_a_group_that_does_not_exist_is_named_and_the_others_go_on(farm):
    web = farm.web(2)
    extra = f"{web.name}/conf/extra/agree.conf"
    agreed = open(os.path.join(farm.directory, extra), encoding="utf-8").read()
    log = LogFrom(web)
    farm.write_file(extra, agreed.replace("default other", "default nosuch"))
    web.graceful()
    try:
        log.wait("nosuch")
        wait_until(lambda: any("FarmSyncGroup" in line and "nosuch" in line
                               for line in log.text().splitlines()), 60, "the remedy", log.text)
        flows(farm)
        groups = {group["name"]: group for group in status_of(web)["groups"]}
        assert groups["nosuch"]["version"] == 0 and groups["default"]["version"] > 0
        status, _, text = http_get(web.url + "/farmsync/status/health")
        assert status == 503 and b"nosuch" in text
        assert log.count("FS0601") <= 2
    finally:
        farm.write_file(extra, agreed)
        web.graceful()
    flows(farm)


# --- keys ----------------------------------------------------------------------------------------------

def test_a_wrong_farm_key_is_named_and_the_data_comes_from_the_database(farm):
    """The data server doesn't answer strangers, and a web server doesn't believe them."""
    web, ds1 = farm.web(1), farm.datasrv(1)
    farm.write_secret("etc/wrong.key", f"k1 {secrets.token_hex(32)}\n")
    path = farm.write_file("web1/conf/extra/key.conf",
                           f'FarmSyncKeyFile "{farm.directory}/etc/wrong.key"\n')
    log, theirs = LogFrom(web), LogFrom(ds1)
    try:
        web.graceful()
        log.wait("FS0588")
        told = next(line for line in log.text().splitlines() if "FS0588" in line)
        assert "give all parts of the farm the same key file" in told, told
        theirs.wait("key")
        flows(farm)
        assert log.count("FS0588") == 2, "once a group"
    finally:
        os.unlink(path)
    log = LogFrom(web)
    web.graceful()
    flows(farm)


# --- names ---------------------------------------------------------------------------------------------

def test_two_servers_of_one_name_are_told_apart(farm):
    """Else one row of the farm's view would be now the one and now the other, and nobody the wiser."""
    path = farm.write_file("web2/conf/extra/name.conf", "FarmSyncServer web1\n")
    query = "SELECT problem FROM farmsync.farm WHERE name = 'web1' AND group_name = 'default'"
    try:
        farm.web(2).graceful()
        wait_until(lambda: any("FarmSyncServer" in (row[0] or "") for row in farm.sql(query)), 30,
                   "the view farm to tell", pace=0.1)
        flows(farm)
    finally:
        os.unlink(path)
    farm.web(2).graceful()
    flows(farm)
    wait_until(lambda: not any(row[0] for row in farm.sql(query)), 30, "the problem to be gone")


# --- the agent's program ---------------------------------------------------------------------------------

def test_an_agent_that_cannot_be_started_is_told_and_the_data_stays(farm):
    web, program = farm.web(1), farm.binary("farmsync-agent")
    stamp = agreeing.stamp_at(web)
    os.rename(program, program + ".away")
    log = LogFrom(web)
    try:
        with Watched([web]):
            os.kill(web.agent_process().pid, signal.SIGKILL)
            log.wait("FS0654")
            log.wait("FS0655")
            assert program in log.text()
            assert agreeing.stamp_at(web) >= stamp
    finally:
        os.rename(program + ".away", program)
    flows(farm)
    assert log.count("FS0654") < 12, "ever more seldom"


# --- reloads -----------------------------------------------------------------------------------------------

def agents_of(web):
    return [one for one in web.processes() if web._is_agent(one)]  # noqa: SLF001


def test_farmsync_is_enabled_by_a_reload_of_a_server_that_runs(farm):
    web = farm.web(2)
    whole = web.configuration()
    extra = f"{web.name}/conf/extra/agree.conf"
    agreed = open(os.path.join(farm.directory, extra), encoding="utf-8").read()
    without = "\n".join(line.replace(" farmsync:info", "") for line in whole.splitlines()
                        if not line.lstrip().startswith(("FarmSync", "LoadModule farmsync")))
    web.stop()
    farm.write_file(f"{web.name}/conf/httpd.conf", without)
    farm.write_file(extra, "")
    try:
        web.start()
        assert web.ready() and not agents_of(web)
        farm.write_file(f"{web.name}/conf/httpd.conf", whole)
        farm.write_file(extra, agreed)
        web.graceful()
        flows(farm)
        wait_until(lambda: len(agents_of(web)) == 1, 60, "one agent")
        farm.write_file(f"{web.name}/conf/httpd.conf", without)
        farm.write_file(extra, "")
        web.graceful()
        wait_until(lambda: not agents_of(web), 60, "the agent to end with the module")
    finally:
        farm.write_file(f"{web.name}/conf/httpd.conf", whole)
        farm.write_file(extra, agreed)
        if web.pid is not None:
            web.graceful()
    flows(farm)


@pytest.mark.parametrize("number", [1, 2])
def test_ten_reloads_in_a_row_lose_nothing(farm, number):
    web = farm.web(number)
    log = LogFrom(web)
    with Watched(farm.webs):
        for _ in range(10):
            before = log.count("resuming normal operations")
            proc.send(web.process, signal.SIGUSR1)
            wait_until(lambda b=before: log.count("resuming normal operations") > b, 60, "the restart")
        flows(farm)
    wait_until(lambda: len(agents_of(web)) == 1, 60, "one agent")
    bad = [line for line in log.text().splitlines()
           if any(one in line for one in ("FS0613", "FS0655"))]
    assert not bad and not crashes(log.text())


@pytest.mark.parametrize("number", [1, 2])
def test_a_graceful_stop_ends_everything(farm, number):
    web = farm.web(number)
    everything, log = web.processes(), LogFrom(web)
    assert agents_of(web)
    proc.send(web.process, signal.SIGWINCH)
    assert not proc.wait_gone(everything, 25)
    assert "FS0625" not in log.text(), "the agent was told; it needn't notice"
    web.start()
    flows(farm)


# --- what stays broken doesn't fill the logs -----------------------------------------------------------------

LOUD = ("[error]", "[warning]", "[notice]", ":error]", ":warn]", ":notice]")


def loud(part, begin):
    """Lines of farmsync since then that an operator sees with the default levels."""
    return [line for line in log_of(part)[begin:].splitlines()
            if re.search(r"\bFS\d{4}: ", line) and any(level in line for level in LOUD)]


def wait_quiet(parts, seconds=3):
    """Until nobody has had anything to say for so long: what was before is over and told."""
    state = {"lines": None, "since": 0}

    def quiet():
        lines = [len(loud(part, 0)) for part in parts]
        if lines != state["lines"]:
            state.update(lines=lines, since=time.monotonic())
        return time.monotonic() - state["since"] > seconds
    wait_until(quiet, 60, "the logs to be quiet", pace=0.2)


@pytest.mark.parametrize("what, most", [("database", 24), ("datasrv", 11), ("both", 24)])
def test_an_outage_is_told_when_it_begins_and_ends(farm, what, most):
    """However many cycles it lasts: a handful of lines for each server and group (there are two)."""
    parts = {"database": [farm.database], "datasrv": [farm.datasrv(1)],
             "both": [farm.database, farm.datasrv(1)]}[what]
    wait_quiet([*farm.webs, *farm.datasrvs])
    seen = {part: len(log_of(part)) for part in [*farm.webs, *farm.datasrvs]}
    for part in parts:
        part.kill()
    if what == "datasrv":  # the agents go on: twelve versions
        for _ in range(12):
            flows(farm)
    else:
        since = stale_seconds(farm)
        wait_until(lambda: stale_seconds(farm) > since + 12, 40, "twelve cycles without a word")
    for part in parts:
        part.start()
    flows(farm, seconds=60)
    for part, begin in seen.items():
        lines = loud(part, begin)
        assert len(lines) <= most, f"{part.name}: " + "\n".join(lines)


def stale_seconds(farm):
    """How long ago this server heard something for the last time."""
    text = http_get(farm.web(1).url + "/farmsync/status?metrics")[2].decode()
    return float(re.search(r'farmsync_heard_age_seconds\{group="default"\} (\S+)', text)[1])


# --- secrets -----------------------------------------------------------------------------------------------

def words_of(farm):
    """Every secret of the farm."""
    words = set()
    for path in glob.glob(os.path.join(farm.directory, "etc", "*")):
        with open(path, encoding="utf-8") as file:
            words |= set(re.findall(r"\b[0-9a-f]{32,}\b", file.read()))
    return words


def test_no_secret_is_in_a_log_or_where_others_can_read(farm):
    """After everything above, at level debug, and with an account that the database refuses."""
    words = words_of(farm)
    assert len(words) >= 4
    path = farm.write_secret("etc/refused.cnf", "[farmsync]\nhost=127.0.0.1\n"
                             f"port={farm.database.port}\nuser=nobody\npassword={'ab' * 16}\n")
    conf = farm.write_file("web1/conf/extra/refused.conf", f'FarmSyncDatabase "{path}"\n')
    farm.datasrv(1).stop()
    log = LogFrom(farm.web(1))
    try:
        farm.web(1).graceful()
        log.wait("FS0304")
    finally:
        os.unlink(conf)
        farm.datasrv(1).start()
        farm.web(1).graceful()
    words.add("ab" * 16)
    texts = {part.name: log_of(part) for part in farm.parts()}
    for web in farm.webs:
        for name in ("status", "status?json", "status?metrics", "status/health"):
            texts[f"{web.name} {name}"] = http_get(web.url + "/farmsync/" + name)[2].decode()
        for one in web.processes():
            texts[f"{web.name} {one.pid}"] = command_line(one.pid)
        for file in glob.glob(os.path.join(web.directory, "run", "farmsync", "*.json")):
            with open(file, encoding="utf-8") as opened:
                texts[file] = opened.read()
    for one in farm.datasrv(1).processes():
        texts[f"datasrv {one.pid}"] = command_line(one.pid)
    for name, text in texts.items():
        found = [word for word in words if word in text]
        assert not found, f"{name} has a secret in it"


def command_line(pid):
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""
