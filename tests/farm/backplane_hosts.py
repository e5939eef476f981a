# SPDX-License-Identifier: Apache-2.0
"""
Hosts of the backplane without httpd, a real farmsync-agent each, and a stranger who speaks its protocol
byte by byte (lib/backplane/fs_message.h).
"""

import contextlib
import hashlib
import hmac
import http.client
import json
import os
import secrets
import signal
import struct
import subprocess
import time

from farmlib import paths, ports
from farmlib.part import tail, wait_until
from unix_http import UnixConnection

SECONDS = 30
OPERATOR, MEMBER, MONITOR = range(3)
PING, PUSH = 1, 2
LIMIT = 64 * 1024


class Host:
    """An agent with its state directory; `inside` puts a command on its own network."""

    def __init__(self, directory, name, keys, address="127.0.0.1", inside=None, **more):
        self.name, self.keys, self.address, self.more = name, keys, address, more
        self.inside = inside or (lambda *command: list(command))
        self.state = os.path.join(directory, name)
        self.log_path = os.path.join(directory, f"{name}.log")
        os.makedirs(self.state)
        self.key_file = os.path.join(directory, f"{name}.key")
        [self.port] = ports.take(1) if address == "127.0.0.1" else [4480]
        self.peers = []
        self.agents = []

    @property
    def url(self):
        return f"{self.address}:{self.port}"

    def configure(self):
        with open(self.key_file, "w", encoding="utf-8") as file:
            file.write("".join(f"{name} {secret}\n" for name, secret in self.keys))
        os.chmod(self.key_file, 0o600)
        config = {"server": self.name, "address": f"{self.name}:80", "state_dir": self.state,
                  "groups": ["default"], "database": None, "data_servers": [],
                  "key_file": self.key_file if self.keys else None, "log_level": "debug",
                  "listen": self.url, "peers": [peer.url for peer in self.peers], **self.more}
        path = os.path.join(self.state, "agent.json")
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump(config, file)
        os.rename(path + ".new", path)
        return path

    def begin(self):
        """Starts an agent, beside the one that runs if there is one: it takes over."""
        path = self.configure()
        with open(self.log_path, "ab") as log:
            self.agents.append(subprocess.Popen(
                self.inside(paths.built("farmsync-agent"), "--config", path, "--standalone"),
                stderr=log, stdin=subprocess.DEVNULL))

    def start(self):
        before = self.log().count("FS0626")
        self.begin()
        wait_until(lambda: self.log().count("FS0626") > before and self.answers(), SECONDS,
                   f"the agent of {self.name}", lambda: tail(self.log_path, 40))
        return self

    def answers(self):
        try:
            return self.ask("GET", "/v1/agent")[1]["pid"] == self.pid()
        except OSError:
            return False

    def pid(self):
        with open(os.path.join(self.state, "agent.lock"), encoding="ascii") as file:
            return int(file.read().split()[0])

    def log(self):
        with contextlib.suppress(FileNotFoundError):
            with open(self.log_path, encoding="utf-8", errors="replace") as file:
                return file.read()
        return ""

    def ask(self, method, path, body=None):
        connection = UnixConnection(os.path.join(self.state, "agent.sock"))
        with contextlib.closing(connection):
            connection.request(method, path, body=json.dumps(body) if body is not None else None)
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text else None

    def backplane(self):
        return self.ask("GET", "/v1/backplane")[1]

    def peer(self, other):
        return next((peer for peer in self.backplane()["peers"] if peer["name"] == other.name), None)

    def down(self, application, wait=10000, **more):
        """Told to all within so many ms, of which a busy machine may need many; less if somebody is away."""
        status, answer = self.ask("POST", f"/v1/notices?wait={wait}",
                                  {"application": application, "state": "down", **more})
        assert status == 200, answer
        return answer

    def applications(self):
        """Those that are down, as this server knows it."""
        return sorted(notice["application"] for notice in self.ask("GET", "/v1/notices")[1]["notices"])

    def kill(self):
        for agent in self.agents:
            if agent.poll() is None:
                agent.kill()
            agent.wait()

    def end(self):
        for agent in self.agents:
            if agent.poll() is None:
                agent.terminate()
        for agent in self.agents:
            try:
                agent.wait(SECONDS)
            except subprocess.TimeoutExpired:
                agent.kill()
                agent.wait()

    def pause(self):
        os.kill(self.pid(), signal.SIGSTOP)

    def go_on(self):
        os.kill(self.pid(), signal.SIGCONT)

    def rss_kib(self):
        with open(f"/proc/{self.pid()}/status", encoding="ascii") as file:
            return int(next(line for line in file if line.startswith("VmRSS")).split()[1])


class Farm:
    def __init__(self, directory, count, **more):
        self.keys = [("k1", secrets.token_hex(32))]
        self.hosts = [Host(directory, f"web{i + 1}", self.keys, **more) for i in range(count)]
        for host in self.hosts:
            host.peers = self.hosts

    def start(self):
        for host in self.hosts:
            host.begin()
        self.settle()
        return self

    def living(self):
        return [host for host in self.hosts if host.agents and host.agents[-1].poll() is None]

    def is_one(self):
        """All that live are ready, hear each other and have the same."""
        living = self.living()
        try:
            states = [host.backplane() for host in living]
        except (OSError, http.client.HTTPException):
            return False
        return (len({state["digest"] for state in states}) == 1
                and all(state["state"] == "ready" for state in states)
                and all(sum(peer["state"] == "alive" and peer["same"] for peer in state["peers"])
                        >= len(living) - 1 for state in states))

    def settle(self, seconds=SECONDS):
        wait_until(self.is_one, seconds, "servers that agree",
                   lambda: "\n".join(json.dumps(host.backplane()) for host in self.living()))

    def know(self, applications, hosts=None, seconds=SECONDS):
        """Waits until all have exactly these applications down; returns how long it took, in s."""
        start = time.monotonic()
        for host in hosts or self.living():
            wait_until(lambda one=host: one.applications() == sorted(applications), seconds,
                       f"{host.name} to know of {applications}",
                       lambda one=host: f"{one.applications()}\n{json.dumps(one.backplane())}", 0.002)
        return time.monotonic() - start

    def end(self):
        for host in self.hosts:
            for agent in host.agents:
                if agent.poll() is None:
                    agent.terminate()
        for host in self.hosts:
            host.end()


# --- the protocol -----------------------------------------------------------------------------------


def text(value):
    data = value.encode()
    return struct.pack("<B", len(data)) + data + b"\0"


def record(origin, kind, key, value, priority, when=None, generation=1):
    key = key.encode()
    return (struct.pack("<BBqIQq", 0, priority, when or int(time.time() * 1e6), 0, generation, 0)
            + text(origin) + text(kind) + struct.pack("<H", len(key)) + key + b"\0"
            + struct.pack("<H", len(value)) + value + b"\0")


class Stranger:
    """Speaks to agents by a name of its own, with whatever key it is given."""

    def __init__(self, name, key, generation=None):
        self.name, self.key = name, key
        self.generation = generation or int(time.time() * 1e6)
        self.sequence = 0

    def message(self, to, kind=PING, body=b"", now=None):
        now = now or int(time.time() * 1e6)
        self.sequence += 1
        return (b"FSB1" + struct.pack("<BB", kind, 0) + text(self.name) + text(to)
                + struct.pack("<QQQqIqQIB", self.generation, 0, self.sequence, now, 0, now, 0, 0, 0)
                + body)

    def push(self, to, records, now=None):
        return self.message(to, PUSH, struct.pack("<H", len(records)) + b"".join(records), now)

    def headers(self, body, signer=None):
        moment, nonce = str(int(time.time() * 1e6)), secrets.token_hex(16)
        signed = "\n".join(("farmsync-request-1", "POST", "/v1/exchange", signer or self.name, moment,
                            nonce, hashlib.sha256(body).hexdigest()))
        mac = hmac.new(bytes.fromhex(self.key[1]), signed.encode(), hashlib.sha256).hexdigest()
        return {"FarmSync-Auth": f"key={self.key[0]}, origin={signer or self.name}, time={moment}, "
                                 f"nonce={nonce}, mac={mac}"}

    def send(self, host, body, signer=None, headers=None):
        """(status, body) of the answer."""
        connection = http.client.HTTPConnection(host.address, host.port, timeout=SECONDS)
        with contextlib.closing(connection):
            connection.request("POST", "/v1/exchange", body=body,
                               headers=headers or self.headers(body, signer))
            answer = connection.getresponse()
            return answer.status, answer.read()
