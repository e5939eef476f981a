# SPDX-License-Identifier: Apache-2.0
"""
Routing in real agents, without httpd: what each server says of itself arrives at the others, who dies is
noticed, who returns ramps up, an operator's orders outlive restarts, and HAProxy understands the
agent-check.
"""

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import pytest

from backplane_hosts import SECONDS, Farm
from farmlib import paths
from farmlib.part import wait_until
from route_agents import CAPACITY, DEAD_MS, Routing, Visitors, route, servers, state_of

NOBODY = "0" * 24


@pytest.fixture
def directory():
    made = tempfile.mkdtemp(prefix="fsrt-", dir="/tmp")
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def farm(directory):
    made = []

    def make(count=3, **routing):
        made.append(Routing(directory, count, **routing).start())
        return made[-1]
    yield make
    for one in made:
        one.end()


def order(host, act, name, expected=200):
    status, answer = host.ask("POST", f"/v1/route/{act}", {"server": name, "who": "anna"})
    assert status == expected, answer
    return answer


def order_all(host, act, name):
    """Given again until all have confirmed it within the second that it waits for them."""
    def told():
        answer = order(host, act, name)
        return answer["told"] == answer["of"] and answer
    return wait_until(told, SECONDS, f"all to confirm {act}", lambda: route(host))


def line_of(host):
    """What HAProxy would read."""
    with socket.create_connection(("127.0.0.1", host.check_port), timeout=SECONDS) as client:
        with client.makefile("r", encoding="ascii") as file:
            return file.read()


def says(host, line):
    def same():
        with contextlib.suppress(ConnectionError):
            return line_of(host) == line
    wait_until(same, SECONDS, f"{host.name} to answer {line!r}", lambda: route(host), 0.02)


def ctl(host, *arguments):
    done = subprocess.run([sys.executable, os.path.join(paths.REPO, "scripts", "farmsyncctl"), *arguments,
                           "--agent", os.path.join(host.state, "agent.sock")],
                          capture_output=True, text=True, timeout=SECONDS, check=False)
    return done.returncode, done.stdout, done.stderr


# --- status -----------------------------------------------------------------------------------------


def test_what_a_server_says_arrives_everywhere_and_digests_agree(farm):
    farm = farm(3, rack="r1", public="https://www.example")
    for host in farm.hosts:
        seen = servers(host)
        assert sorted(seen) == ["web1", "web2", "web3"]
        for name, server in seen.items():
            assert server["url"] == f"http://10.0.0.{name[3:]}:80"
            assert server["public"] == "https://www.example" and server["rack"] == "r1"
            assert server["capacity"] == CAPACITY and server["primaries"] == 0 and server["ready"]
            assert server["self"] == (name == host.name)
    assert route(farm.hosts[0])["capacity"] == 3 * CAPACITY and route(farm.hosts[0])["willing"]
    # They say it anew each second or two, and still what they have counts as the same all the time.
    seen = {host.name: host.backplane()["digest"] for host in farm.hosts}
    before = farm.hosts[0].backplane()["taken"]
    wait_until(lambda: farm.hosts[0].backplane()["taken"] >= before + 6, SECONDS, "statuses to come")
    assert {host.name: host.backplane()["digest"] for host in farm.hosts} == seen


def test_visitors_and_workers_are_counted_and_told(farm):
    farm = farm(2)
    first, second = farm.hosts
    with Visitors(first) as visitors:
        last = visitors("come", 250, "web2")
        wait_until(lambda: servers(second)["web1"]["primaries"] == 250, SECONDS, "web2 to know",
                   lambda: servers(second))
        assert servers(second)["web1"]["ratio"] == 0.25
        says(first, "ready up 75%\n")
        wait_until(lambda: servers(first)["web2"]["given"] == 250, SECONDS, "web1 to count whom web2 stands by for")
        status, visitor = first.ask("GET", f"/v1/route/visitor?id={last}")
        assert status == 200 and (visitor["primary"], visitor["alternate"]) == ("web1", "web2"), visitor
        status, out, errors = ctl(first, "client", last)
        assert status == 0 and "web1 (alive)" in out, out + errors
        assert route(second)["visitors"] == 250
        assert ctl(second, "servers")[1].splitlines()[1].split()[2:6] == ["250", str(CAPACITY), "25.0", "%"]
        visitors("leave", 200, "web2")
        wait_until(lambda: servers(second)["web1"]["primaries"] == 50, SECONDS, "web2 to know who left")


def test_an_httpd_that_stands_still_is_not_ready(farm):
    farm = farm(2)
    first, second = farm.hosts
    with Visitors(first) as visitors:
        visitors("workers", 31, 400)
        wait_until(lambda: servers(second)["web1"]["workers"] == 400, SECONDS, "web2 to know of workers")
        assert servers(second)["web1"]["busy"] == 31
        farm.sees(second, first, "starting")  # nobody counts any more
        assert first.peer(second)["state"] == "alive" and "FS1676" in first.log()
        says(first, "ready down#not ready\n")
        visitors("workers", 30, 400)
        farm.sees(second, first, "alive")
        says(first, "ready up 100%\n")


def test_who_is_killed_is_dead_in_time_and_ramps_up_on_return(farm):
    farm = farm(3, ramp_s=5)
    first, _, third = farm.hosts
    since = servers(first)["web3"]["since"]
    third.kill()
    start = time.monotonic()
    farm.sees(first, third, "suspect")
    suspected = time.monotonic() - start
    farm.sees(first, third, "dead")
    print(f"suspected after {suspected:.2f} s, dead after {time.monotonic() - start:.2f} s")
    wait_until(lambda: time.monotonic() - start > DEAD_MS / 1000, SECONDS, "an agent after that to be another")
    third.begin()
    farm.sees(first, third, "ramping")
    back = servers(first)["web3"]
    assert back["since"] > since and 0.1 <= back["ramp"] < 1, back
    farm.sees(first, third, "alive")
    assert servers(first)["web3"]["ramp"] == 1


def test_a_restart_that_nobody_notices_changes_nothing(farm):
    farm = farm(2, ramp_s=1)
    first, second = farm.hosts
    farm.sees(first, second, "alive")
    before = first.log().count("FS1660: routing: web2")
    since = servers(first)["web2"]["since"]
    for _ in range(3):
        second.start()  # takes over, as at a graceful restart of httpd
    wait_until(lambda: servers(second).get("web1", {}).get("state") == "alive", SECONDS, "web2 to see web1")
    statuses = first.backplane()["taken"]
    wait_until(lambda: first.backplane()["taken"] > statuses + 1, SECONDS, "web2 to say something")
    assert servers(first)["web2"]["since"] == since
    assert servers(first)["web2"]["state"] == "alive"
    assert first.log().count("FS1660: routing: web2") == before


def test_a_paused_server_compares_before_it_takes_part(farm):
    farm = farm(2, ramp_s=5)
    first, second = farm.hosts
    since = servers(first)["web2"]["since"]
    second.pause()
    try:
        farm.sees(first, second, "dead")
    finally:
        second.go_on()
    farm.sees(first, second, "ramping")
    assert "FS1665" in second.log()
    assert servers(first)["web2"]["since"] > since


# --- orders -----------------------------------------------------------------------------------------


def test_drain_is_known_everywhere_and_taken_back(farm):
    farm = farm(3)
    first, second, third = farm.hosts
    answer = order_all(first, "drain", "web3")
    assert answer["of"] == 3 and answer["saved"] and not answer["missed"], answer
    for host in farm.hosts:
        farm.sees(host, third, "draining")
    assert servers(second)["web3"]["order"]["who"] == "anna"
    says(third, "up drain\n")
    order(second, "undrain", "web3")
    for host in farm.hosts:
        farm.sees(host, third, "alive")
    says(third, "ready up 100%\n")


def test_drain_survives_restarts_and_reaches_who_was_away(farm):
    farm = farm(3)
    first, second, third = farm.hosts
    order(first, "drain", "web2")
    for host in (first, third):
        farm.sees(host, second, "draining")
    second.start()
    farm.sees(second, second, "draining")
    assert state_of(first, second) == "draining"
    third.kill()
    farm.sees(first, third, "dead")
    answer = order(first, "drain", "web3")
    assert answer["missed"] == ["web3"], answer
    third.start()
    farm.sees(third, third, "draining")
    farm.sees(first, third, "draining")
    for host in farm.hosts:  # all at once: it is on disk
        host.kill()
    for host in farm.hosts:
        host.begin()
    for host in farm.hosts:
        farm.sees(host, second, "draining")
        farm.sees(host, first, "alive")


def test_a_name_that_no_server_has_is_refused(farm):
    farm = farm(2)
    answer = order(farm.hosts[0], "drain", "web9", 404)
    assert answer["problem"] == "FS1667" and "web1" in answer["detail"] and "web2" in answer["detail"]
    assert order(farm.hosts[0], "undrain", "web9", 404)["problem"] == "FS1667"
    status, answer = farm.hosts[0].ask("POST", "/v1/route/drain", {"servr": "web1"})
    assert (status, answer["problem"]) == (400, "FS1668")
    connection = http.client.HTTPConnection("127.0.0.1", farm.hosts[0].port, timeout=SECONDS)
    with contextlib.closing(connection):  # from elsewhere, without the farm's key
        connection.request("POST", "/v1/route/drain", body='{"server": "web1"}')
        assert connection.getresponse().status == 401
    assert all(state_of(farm.hosts[0], host) == "alive" for host in farm.hosts)


def test_farmsyncctl(farm):
    farm = farm(2)
    first, second = farm.hosts
    status, out, errors = ctl(first, "servers")
    assert status == 0, errors
    lines = out.splitlines()
    assert lines[0].split()[:4] == ["server", "state", "visitors", "capacity"]
    assert [line.split()[:2] for line in lines[1:3]] == [["web1", "alive"], ["web2", "alive"]], out
    order_all(first, "drain", "web2")
    status, out, errors = ctl(first, "drain", "web2", "--wait")
    assert status == 0 and "of 2 servers" in out and "nobody is at home there" in out, out + errors
    farm.sees(second, second, "draining")
    status, out, _ = ctl(second, "servers", "--json")
    assert {one["name"]: one["state"] for one in json.loads(out)["servers"]} == {"web1": "alive",
                                                                                "web2": "draining"}
    status, out, errors = ctl(second, "undrain", "web2")
    assert status == 0 and "gets visitors again" in out, out + errors
    farm.sees(first, second, "alive")
    status, _, errors = ctl(first, "drain", "web9")
    assert status == 2 and "web1, web2" in errors, errors
    status, _, errors = ctl(first, "client", NOBODY)
    assert status == 1 and "isn't known" in errors, errors
    status, _, errors = ctl(first, "client", "x")
    assert status == 2, errors
    second.kill()
    farm.sees(first, second, "dead")
    status, out, _ = ctl(first, "servers")
    assert status == 1 and "web2 is dead" in out, out


def test_drain_waits_until_nobody_is_left(farm):
    farm = farm(2)
    first, second = farm.hosts
    with Visitors(second) as visitors:
        visitors("come", 3, "web1")
        wait_until(lambda: servers(first)["web2"]["primaries"] == 3, SECONDS, "web1 to know")
        status, out, _ = ctl(first, "drain", "web2")
        assert status == 0 and "3 visitors at home there, who leave" in out, out
        status, out, _ = ctl(first, "drain", "web2", "--wait", "--timeout", "0.3")
        assert status == 1 and "3 visitors" in out, out
        waiting = subprocess.Popen([sys.executable, os.path.join(paths.REPO, "scripts", "farmsyncctl"), "drain",
                                    "web2", "--wait", "--agent", os.path.join(first.state, "agent.sock")],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with waiting:
            assert waiting.stderr.readline() == "3 visitors at home at web2\n"
            visitors("leave", 2, "web1")
            assert waiting.stderr.readline() == "1 visitor at home at web2\n"
            visitors("leave", 1, "web1")
            out, errors = waiting.communicate(timeout=SECONDS)
        assert waiting.returncode == 0 and "nobody is at home there" in out, out + errors


def test_without_routing_the_agent_has_none_of_it(directory):
    farm = Farm(directory, 1)
    farm.hosts[0].start()
    try:
        assert farm.hosts[0].ask("GET", "/v1/route")[0] == 404
        status, _, errors = ctl(farm.hosts[0], "servers")
        assert status == 1 and "takes no part in routing" in errors, errors
    finally:
        farm.end()


# --- agent-check ------------------------------------------------------------------------------------


def test_agent_check_is_bounded_and_cuts_who_is_slow(farm):
    farm = farm(2)
    host = farm.hosts[0]
    says(host, "ready up 100%\n")
    idle = [socket.create_connection(("127.0.0.1", host.check_port), timeout=SECONDS) for _ in range(100)]
    try:
        got = [client.recv(64) for client in idle]
        assert got.count(b"ready up 100%\n") >= 64 and set(got) <= {b"ready up 100%\n", b""}, got
        assert host.ask("GET", "/v1/agent")[0] == 200
        says(host, "ready up 100%\n")  # those who linger are cut
    finally:
        for client in idle:
            client.close()
    with socket.create_connection(("127.0.0.1", host.check_port), timeout=SECONDS) as client:
        with pytest.raises(ConnectionError):  # who sends without end
            until = time.monotonic() + SECONDS
            while time.monotonic() < until:
                client.sendall(b"x" * 1024)
    says(host, "ready up 100%\n")


class Haproxy:
    """A real one, with the agent-check of each host and no other check; `workers` are servers for it."""

    def __init__(self, directory, hosts):
        self.admin = os.path.join(directory, "haproxy.sock")
        self.web = [socket.create_server(("127.0.0.1", 0)) for _ in hosts]
        config = os.path.join(directory, "haproxy.cfg")
        with open(config, "w", encoding="ascii") as file:
            file.write(f"global\n  stats socket {self.admin} level admin\ndefaults\n  mode tcp\n"
                       "  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\nbackend farm\n")
            for host, web in zip(hosts, self.web):
                file.write(f"  server {host.name} 127.0.0.1:{web.getsockname()[1]} weight 100 check inter 100ms "
                           f"agent-check agent-addr 127.0.0.1 agent-port {host.check_port} agent-inter 100ms\n")
        self.process = subprocess.Popen(["haproxy", "-db", "-f", config], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)

    def stats(self):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(SECONDS)
            client.connect(self.admin)
            client.sendall(b"show stat\n")
            with client.makefile("r", encoding="utf-8") as file:
                header, *lines = file.read().lstrip("# ").splitlines()
        names = header.split(",")
        rows = [dict(zip(names, line.split(","))) for line in lines if line]
        return {row["svname"]: (row["status"].split()[0], row["weight"], row["agent_desc"] or row["last_agt"])
                for row in rows if row["pxname"] == "farm"}

    def shows(self, host, status, weight=None):
        def same():
            with contextlib.suppress(OSError):
                seen = self.stats()[host.name]
                return seen[0] == status and weight in (None, seen[1])
        wait_until(same, SECONDS, f"HAProxy to show {host.name} as {status} {weight or ''}", self.stats, 0.05)

    def end(self):
        self.process.terminate()
        self.process.wait(SECONDS)
        for web in self.web:
            web.close()


@pytest.mark.skipif(not shutil.which("haproxy"), reason="haproxy isn't installed")
def test_haproxy_follows_the_agent_check(farm, directory):
    farm = farm(2)
    first, second = farm.hosts
    haproxy = Haproxy(directory, farm.hosts)
    try:
        haproxy.shows(first, "UP", "100")
        haproxy.shows(second, "UP", "100")
        order(first, "drain", "web2")
        haproxy.shows(second, "DRAIN")
        order(first, "undrain", "web2")
        haproxy.shows(second, "UP", "100")
        first.down("*", servers=["web2"])
        haproxy.shows(second, "MAINT")
        haproxy.shows(first, "UP", "100")
        status, answer = first.ask("DELETE", "/v1/notices/*")
        assert status == 200, answer
        haproxy.shows(second, "UP", "100")
        first.down("*")  # all are: visitors are to read why, so somebody must be asked
        wait_until(lambda: second.applications() == ["*"], SECONDS, "web2 to know of the notice")
        says(second, "ready up 100%\n")
        haproxy.shows(second, "UP", "100")
    finally:
        haproxy.end()
