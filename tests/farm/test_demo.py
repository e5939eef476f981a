# SPDX-License-Identifier: Apache-2.0
"""scripts/farm demo, as the first thing that somebody tries: all of it is shown, and is as it says."""

import os
import re
import shutil
import subprocess
import tempfile

import pytest

from farmlib import paths, proc
from farmlib.part import http_get

SCRIPT = os.path.join(paths.REPO, "scripts", "farm")


def run(*arguments):
    environment = {key: value for key, value in os.environ.items() if key != "FARM_DIR"}
    return subprocess.run([SCRIPT, *arguments], text=True, capture_output=True, env=environment,
                          stdin=subprocess.DEVNULL, check=False, timeout=280)


@pytest.fixture(scope="module")
def directory():
    made = tempfile.mkdtemp(prefix="fsdemo-", dir="/tmp")
    yield made
    run("down", "--dir", made, "--purge")
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def said(directory):
    done = run("demo", "--dir", directory, "--interval", "3")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    return done.stdout


@pytest.mark.limit(300)
def test_everything_is_shown(said):
    for sentence in (
            r"version \d+ is active\.",
            r"answers, 0 failed requests\.",
            r"No old answer to a request that was sent after the activation",
            r"web2 +\d+ bytes +304: what you hold is right",
            r"sample-shop is down until .*: 3 of 3 servers",
            r"3 servers answer 503",
            r"3 servers serve it again\.",
            r"24 requests reached another server",
            r"8 visitors in a farm for 400",
            r"(web\d), alice's home, is killed",
            r"alice +web\d +5 +\d+ ms",
            r"was of: +web\d",
            r"web\d is back\.",
            r"web\d is drained: told to \d of 3 servers",
            r"web\d +draining +0 ",
            r"web\d gets visitors again",
            r"8 visitors, 64 visits: every one was answered",
            r"The demo took \d+ s\."):
        assert re.search(sentence, said), f"{sentence!r} isn't in:\n{said}"


def test_it_is_read_on_any_terminal(said):
    assert max(map(len, said.splitlines())) <= 140 and "\033" not in said and " \n" not in said


def metrics_of(urls, place):
    told = {}
    for url in urls:
        status, _, text = http_get(url + place, timeout=10)
        assert status == 200, text
        told |= dict(re.findall(r"(?m)^# TYPE (\S+) (\S+)$", text.decode()))
    return told


def test_every_metric_is_documented(said):
    with open(os.path.join(paths.REPO, "doc", "metrics.md"), encoding="utf-8") as file:
        web, datasrv = (dict(re.findall(r"(?m)^\| `(farmsync_\w+)[^`]*` \| (\w+) \|", part))
                        for part in file.read().split("## Data server\n"))
    assert metrics_of(re.findall(r"(http://\S+/farmsync/status)\)", said), "?metrics") == web
    assert metrics_of(re.findall(r"(http://\S+)/healthz", said), "/metrics") == datasrv


def test_everything_is_up_afterwards_and_goes_at_once(said, directory):
    assert "The farm is up in " + directory in said
    table = run("status", "--dir", directory).stdout
    for name in ("db1", "ds1", "ds2", "web1", "web2", "web3", "agent1", "agent2", "agent3", "lb1"):
        assert re.search(rf"^{name} +running", table, re.MULTILINE), table
    done = run("down", "--dir", directory, "--purge")
    assert done.returncode == 0, done.stderr
    assert not os.path.exists(directory) and not proc.members(directory + ":", None)
