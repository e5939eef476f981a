# SPDX-License-Identifier: Apache-2.0
"""Monitors of a real farm: what they see becomes a notice, theirs alone, of no more than their share."""

import os
import socket
import subprocess

import pytest

from notice_farm import ctl, notices, prepare, raw, run_ctl, status, wait_status
from farmlib import ports
from farmlib.part import tail, wait_until

FAST = "interval=500ms timeout=500ms rise=2 fall=3"  # a busy machine may take 200 ms to start a script, time and again
SCRIPT = """#!/bin/sh
echo "$1 is not there"
exec test -e "$1"
"""


@pytest.fixture(scope="module")
def farm(farms):
    """Each server looks whether the file DIR/WEB.ok is there; web1 also at its own pages and a port."""
    farm = farms.create(servers=4, datasrv=1)
    script = farm.write_file("check", SCRIPT, 0o755)
    prepare(farm)
    for web in farm.webs:
        farm.write_file(f"{web.name}.ok", "")
        farm.write_file(f"{web.name}/conf/extra/monitors.conf",
                        f'FarmSyncMonitor file shop script "{script} {farm.directory}/{web.name}.ok" {FAST}\n'
                        + (f"FarmSyncMonitor page mail http {web.url}/mail/ {FAST} text=mail\n"
                           if web.name == "web1" else ""))
    farm.up()
    return farm


def path_of(farm, web):
    return os.path.join(farm.directory, f"{web.name}.ok")


def breaks(farm, web):
    os.unlink(path_of(farm, web))


def works(farm, web):
    farm.write_file(f"{web.name}.ok", "")


@pytest.fixture(autouse=True)
def all_well(farm):
    yield
    for web in farm.webs:
        works(farm, web)
        farm.write_file(f"{web.name}/htdocs/mail/index.html", f"mail on {web.name}\n")
    first = farm.web(1)
    wait_until(lambda: monitors(first), 60, "the agent of web1, which may be a new one")
    for key in [key for key, one in notices(first).items() if one["role"] == "operator"]:
        raw(first, "DELETE", "/v1/notices/" + key)
    for web in farm.webs:
        wait_until(lambda: not notices(web), 30, f"{web.name} to have no notices")


def test_down_on_this_server_and_back(farm):
    web = farm.web(2)
    breaks(farm, web)
    wait_status([web], 503)
    assert [status(one) for one in farm.webs] == [200, 503, 200, 200]
    wait_until(lambda: "shop/monitor.file.web2" in notices(farm.web(1)), 60, "the others to know")
    notice = notices(farm.web(1))["shop/monitor.file.web2"]
    assert notice["role"] == "monitor" and notice["servers"] == ["web2"] and "not there" in notice["who"]
    assert "FS1580" in tail(web.log_path(), 200)
    works(farm, web)
    wait_status([web], 200)


def test_its_own_page_is_looked_at_though_it_is_down(farm):
    """The check passes by the notice that it has caused, or it could never be taken back."""
    web = farm.web(1)
    farm.write_file(f"{web.name}/htdocs/mail/index.html", "broken\n")
    wait_status([web], 503, "/mail/")
    assert notices(web)["mail/monitor.page.web1"]["state"] == "down"
    farm.write_file(f"{web.name}/htdocs/mail/index.html", "mail is back\n")
    wait_status([web], 200, "/mail/")


def test_visitors_cannot_pass_as_checks(farm):
    web = farm.web(1)
    ctl(web, "down", "mail")
    assert status(web, "/mail/", **{"FarmSync-Probe": "0" * 32}) == 503
    assert status(web, "/mail/", **{"FarmSync-Probe": ""}) == 503


def heeded(web):
    return {key for key, one in notices(web).items() if one["heeded"]}


def test_no_more_than_the_share(farm):
    """All four say that it is down: two of them are heeded, alike on all servers."""
    for web in farm.webs:
        breaks(farm, web)
    wait_until(lambda: len(notices(farm.web(1))) == 4, 60, "all monitors to have spoken")
    wait_until(lambda: sorted(status(web) for web in farm.webs) == [200, 200, 503, 503], 60, "two of four")
    wait_until(lambda: len(heeded(farm.web(1))) == 2 and all(heeded(web) == heeded(farm.web(1)) for web in farm.webs), 60,
               "all to agree")
    down = [web for web in farm.webs if status(web) == 503]
    works(farm, down[0])  # makes room for the next one
    wait_until(lambda: status(down[0]) == 200 and sorted(status(web) for web in farm.webs) == [200, 200, 503, 503],
               60, "the next one's turn")


def test_an_operator_is_above(farm):
    """down stays whatever monitors find; up --force serves whatever they find; up doesn't take theirs back."""
    web = farm.web(3)
    breaks(farm, web)
    # What the test before left has been taken back, and this one counts.
    wait_until(lambda: heeded(web) == {"shop/monitor.file.web3"}, 60, "this monitor alone to be heeded")
    wait_status([web], 503)
    ctl(web, "up", "shop", code=1)
    assert status(web) == 503
    done = run_ctl(web, "up", "shop", "--force")
    assert done.returncode == 0 and "monitors are overruled" in done.stdout
    assert status(web) == 200
    ctl(web, "down", "shop")
    for one in farm.webs:
        assert status(one) == 503
    works(farm, web)
    wait_until(lambda: "shop/monitor.file.web3" not in notices(web), 60, "the monitor to take its word back")
    assert status(web) == 503


def test_an_agent_that_starts_again_keeps_to_what_it_told(farm):
    web = farm.web(4)
    breaks(farm, web)
    wait_status([web], 503)
    since = notices(web)["shop/monitor.file.web4"]["from"]
    before = web.agent_process()
    farm.part("agent4").kill()
    wait_until(lambda: web.agent_process() not in (None, before), 60, "a new agent")
    assert status(web) == 503
    wait_until(lambda: "shop/monitor.file.web4" in quiet(web), 60, "its notice")
    assert notices(web)["shop/monitor.file.web4"]["from"] == since
    works(farm, web)
    wait_status([web], 200)


def quiet(web):
    try:
        return notices(web)
    except Exception:  # noqa: BLE001  # it is being replaced
        return {}


def test_what_the_monitors_see_is_shown(farm):
    web = farm.web(1)
    answer = ctl(web, "notices", "monitors")
    assert {one["name"]: one["state"] for one in answer["monitors"]} == {"file": "up", "page": "up"}
    assert all(one["passed"] > 0 for one in answer["monitors"])


def zombies(web):
    """The agent's children that have ended and aren't reaped."""
    lines = subprocess.run(["ps", "--ppid", str(web.agent_process().pid), "-o", "pid=,stat="], text=True,
                           capture_output=True, check=False).stdout.splitlines()
    return {line.split()[0] for line in lines if line.split()[1].startswith("Z")}


def test_scripts_leave_no_zombies(farm):
    """One that has ended this moment is reaped by the next."""
    for web in farm.webs:
        seen = zombies(web)
        wait_until(lambda: not seen & zombies(web), 60, f"the agent of {web.name} to reap {seen}")


@pytest.mark.parametrize("line, number", [
    ("FarmSyncMonitor a", "FS1560"),
    ("FarmSyncMonitor a shop ftp ftp://x/", "FS1560"),
    ("FarmSyncMonitor a shop http /shop", "FS1560"),
    ("FarmSyncMonitor a shop tcp db1", "FS1560"),
    ("FarmSyncMonitor a shop script /nonexistent/check", "FS1560"),
    ("FarmSyncMonitor a shop script /etc/passwd", "FS1560"),
    ("FarmSyncMonitor a shop tcp db1:3306 fall=0", "FS1560"),
    ("FarmSyncMonitor a shop tcp db1:3306 intervall=5s", "FS1560"),
    ("FarmSyncMonitor a shop tcp db1:3306 interval=1s timeout=2s", "FS1560"),
    ("FarmSyncMonitor a shop tcp db1:3306 status=200", "FS1560"),
    ("FarmSyncMonitor file shop tcp db1:3306", "FS1560"),
    ("FarmSyncMonitor a shop tcp db1:3306 scope=farm", "FS1561"),
    ("FarmSyncMonitorShare 0", "FS1563"),
    ("FarmSyncMonitorShare half", "FS1563"),
])
def test_configtest_names_what_is_wrong(farm, line, number):
    web = farm.web(1)
    path = farm.write_file("web1/conf/extra/zz-wrong.conf", line + "\n")
    try:
        done = subprocess.run(web.httpd("-t"), text=True, capture_output=True, cwd=web.directory,
                              env=web.environment(), check=False)
    finally:
        os.unlink(path)
    assert done.returncode != 0 and number in done.stderr, done.stderr


def test_tcp_and_the_whole_farm(farm):
    """A port that all look at, with the whole share: down everywhere."""
    web = farm.web(2)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", ports.take(1)[0]))
        listener.listen()
        for one in farm.webs:
            farm.write_file(f"{one.name}/conf/extra/share.conf", "FarmSyncMonitorShare 100\n"
                            + (f"FarmSyncMonitor port mail tcp 127.0.0.1:{listener.getsockname()[1]} scope=farm {FAST}\n"
                               if one is web else ""))
            one.graceful()
        wait_until(lambda: any(one["name"] == "port" and one["passed"] > 1 for one in monitors(web)), 60,
                   "the port to be seen")
    wait_status(farm.webs, 503, "/mail/")
    for one in farm.webs:
        os.unlink(os.path.join(one.directory, "conf", "extra", "share.conf"))
        one.graceful()
    wait_until(lambda: taken_back(web, "mail/monitor.port.web2"), 60, "an agent that takes it back")
    wait_status(farm.webs, 200, "/mail/")


def taken_back(web, key):
    try:
        return raw(web, "DELETE", "/v1/notices/" + key)[0] in (200, 404)
    except Exception:  # noqa: BLE001  # it is being replaced
        return False


def monitors(web):
    try:
        return raw(web, "GET", "/v1/monitors")[1]["monitors"]
    except Exception:  # noqa: BLE001  # it is being replaced
        return []
