# SPDX-License-Identifier: Apache-2.0
"""
Agents of a farm that routes, without httpd; visitors come and go as tests say.
"""

import http.client
import json
import subprocess

from backplane_hosts import SECONDS, Farm
from farmlib import paths, ports
from farmlib.part import wait_until

SUSPECT_MS, DEAD_MS = 1500, 2500
CAPACITY = 1000


class Routing(Farm):
    """A farm whose agents take part in routing."""

    def __init__(self, directory, count, **routing):
        super().__init__(directory, count, suspect_ms=SUSPECT_MS, dead_ms=DEAD_MS)
        for host in self.hosts:
            [host.check_port] = ports.take(1)
            host.more = {**host.more, "routing": {
                "capacity": CAPACITY, "url": f"http://10.0.0.{host.name[3:]}:80", "ramp_s": 0,
                "agent_check": f"127.0.0.1:{host.check_port}", **routing}}

    def start(self):
        super().start()
        for host in self.hosts:
            wait_until(lambda one=host: all(one.peer(other) and one.peer(other)["url"] for other in self.hosts
                                            if other is not one), SECONDS, "all to know where each is",
                       host.backplane)
            for other in self.hosts:
                self.sees(host, other, "alive", "ramping")
        return self

    def sees(self, host, other, *states, seconds=SECONDS):
        wait_until(lambda: state_of(host, other) in states, seconds,
                   f"{host.name} to take {other.name} for {' or '.join(states)}",
                   lambda: f"{json.dumps(servers(host), indent=1)}\n{host.log()[-3000:]}", 0.01)


def route(host):
    status, answer = host.ask("GET", "/v1/route")
    assert status == 200, answer
    return answer


def servers(host):
    try:
        return {server["name"]: server for server in route(host)["servers"]}
    except (OSError, http.client.HTTPException):
        return {}


def state_of(host, other):
    return servers(host).get(other.name, {}).get("state")


class Visitors:
    """tests/tools/fs_route_visitors in the place of a host's request processes."""

    def __init__(self, host):
        self.process = subprocess.Popen([paths.built("tests/tools/fs_route_visitors"), host.state, host.name],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def __call__(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        answer = self.process.stdout.readline().split(None, 1)
        assert answer and answer[0] == "ok", answer
        return answer[1].strip() if len(answer) > 1 else ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(SECONDS)
