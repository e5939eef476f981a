# SPDX-License-Identifier: Apache-2.0
"""scripts/farm as a person uses it: two farms at once through the command line, and nothing left."""

import os
import re
import shutil
import subprocess
import tempfile

import pytest

from farmlib import paths, proc
from farmlib.part import http_get, wait_until

SCRIPT = os.path.join(paths.REPO, "scripts", "farm")


def run(*arguments, check=True):
    environment = {key: value for key, value in os.environ.items() if key != "FARM_DIR"}
    done = subprocess.run([SCRIPT, *arguments], text=True, capture_output=True, env=environment,
                          stdin=subprocess.DEVNULL, check=False, timeout=280)
    assert not check or done.returncode == 0, done.stderr
    return done


def variables(directory):
    """What `env` prints, as a shell understands it."""
    script = f'eval "$({SCRIPT} env --dir "$1")" && set'
    text = subprocess.run(["sh", "-c", script, "sh", directory], text=True, capture_output=True,
                          check=True).stdout
    return dict(re.findall(r"^(FARM_\w+)='?(.*?)'?$", text, re.MULTILINE))


@pytest.fixture(scope="module")
def farms_by_hand():
    made = []
    for options in (("--servers", "2", "--mpm", "event,prefork", "--interval", "2"),
                    ("--servers", "1", "--datasrv", "0", "--mpm", "worker", "--interval", "1")):
        directory = tempfile.mkdtemp(prefix="fscli-", dir="/tmp")
        made.append(directory)
        run("up", "--dir", directory, *options)
    yield made
    for directory in made:
        run("down", "--dir", directory, "--purge", check=False)
        shutil.rmtree(directory, ignore_errors=True)


def test_env_is_ready_for_a_shell(farms_by_hand):
    first, second = map(variables, farms_by_hand)
    assert first["FARM_DIR"] == farms_by_hand[0]
    assert {"FARM_WEB_1", "FARM_WEB_2", "FARM_DATASRV_1", "FARM_DATASRV_2", "FARM_PID_WEB_1",
            "FARM_PID_DS_2", "FARM_PID_DB_1", "FARM_PID_AGENT_1"} <= set(first)
    assert "FARM_DATASRV_1" not in second and "FARM_WEB_2" not in second
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", first["FARM_WEB_1"])
    assert http_get(first["FARM_WEB_1"] + "/farmsync/status")[0] == 200

    def members():
        return int(subprocess.run(["sh", "-c", first["FARM_SQL"] + " -N -e 'SELECT COUNT(*) FROM member'"],
                                  text=True, capture_output=True, check=True).stdout)
    wait_until(lambda: members() >= 4, 60, "two agents and two data servers to have reported")
    for name in ("FARM_PID_WEB_1", "FARM_PID_DS_1", "FARM_PID_DB_1", "FARM_PID_AGENT_1"):
        assert proc.identify(int(first[name]))


def test_the_mpms_are_those_that_were_asked_for(farms_by_hand):
    def mpm(url):
        return re.search(r"ServerMPM: (\w+)", http_get(url + "/server-status?auto")[2].decode())[1]
    first, second = map(variables, farms_by_hand)
    assert [mpm(first["FARM_WEB_1"]), mpm(first["FARM_WEB_2"]), mpm(second["FARM_WEB_1"])] == \
        ["event", "prefork", "worker"]


def test_kill_start_pause_continue(farms_by_hand):
    directory = farms_by_hand[0]
    for name in ("web1", "ds1", "db1"):
        variable = "FARM_PID_" + name.upper().rstrip("123") + "_1"
        before = variables(directory)[variable]
        assert "dead" in run("kill", name, "--dir", directory).stdout
        assert variables(directory)[variable] == ""
        assert "running" in run("start", name, "--dir", directory).stdout
        assert variables(directory)[variable] not in ("", before)
        assert "paused" in run("pause", name, "--dir", directory).stdout
        assert "running" in run("continue", name, "--dir", directory).stdout
    assert "running" in run("graceful", "web1", "ds1", "--dir", directory).stdout
    broken = os.path.join(directory, "web1", "conf", "extra", "broken.conf")
    os.makedirs(os.path.dirname(broken), exist_ok=True)
    with open(broken, "w", encoding="utf-8") as file:
        file.write("FarmSyncNonsense on\n")
    assert "FarmSyncNonsense" in run("graceful", "web1", "--dir", directory, check=False).stderr
    os.unlink(broken)
    assert re.search(r"web1 +running", run("status", "--dir", directory).stdout)
    assert "can't be restarted gracefully" in run("graceful", "db1", "--dir", directory,
                                                  check=False).stderr
    assert "already" in run("start", "web1", "--dir", directory, check=False).stderr
    assert "it has db1" in run("kill", "web9", "--dir", directory, check=False).stderr


def test_status_sql_and_log(farms_by_hand):
    directory = farms_by_hand[0]
    text = run("status", "--dir", directory).stdout
    for word in ("db1", "ds2", "web2", "agent2", "running"):
        assert word in text
    assert "\033" not in text and "\r" not in text
    assert "1" in run("sql", "SELECT 1", "--dir", directory).stdout
    assert "resuming normal operations" in run("log", "web1", "--dir", directory).stdout
    bad = run("sql", "SELECT * FROM nothing", "--dir", directory, check=False)
    assert bad.returncode != 0 and "doesn't exist" in bad.stderr


def test_up_again_starts_what_is_down(farms_by_hand):
    directory = farms_by_hand[1]
    before = variables(directory)
    run("stop", "web1", "--dir", directory)
    run("up", "--dir", directory, "--servers", "1", "--datasrv", "0")
    after = variables(directory)
    assert after["FARM_PID_WEB_1"] not in ("", before["FARM_PID_WEB_1"])
    assert after["FARM_PID_DB_1"] == before["FARM_PID_DB_1"]
    assert "is up in" in run("up", "--dir", directory, "--servers", "3", check=False).stderr


def test_down_leaves_nothing(farms_by_hand):
    """Last: the farm goes down and up again with its data, then away."""
    directory = farms_by_hand[1]
    run("sql", "CREATE TABLE kept (a INT)", "--dir", directory)
    run("down", "--dir", directory)
    marks = [pid for pid in proc.snapshot() if (proc._part_of(pid) or "").startswith(directory)]
    assert marks == []
    run("up", "--dir", directory, "--servers", "1", "--datasrv", "0")
    assert "kept" in run("sql", "SHOW TABLES", "--dir", directory).stdout
    run("down", "--purge", "--dir", directory)
    assert not os.path.exists(directory)
