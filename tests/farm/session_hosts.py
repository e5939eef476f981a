# SPDX-License-Identifier: Apache-2.0
"""
Hosts of sessions without httpd: a real farmsync-agent each, and fs_session in the place of the request
processes. With the bank servers of bank_client.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading

from bank_client import Bank
from farmlib import paths, ports
from farmlib.part import tail, wait_until
from unix_http import UnixConnection

SECONDS = 30


class Relay:
    """Stands between a host and a bank server; a network that can be cut."""

    def __init__(self, bank):
        self.bank, self.address = bank, bank.address
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.is_cut = False
        self.sockets = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            if self.is_cut:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self.bank.port))
            except OSError:
                client.close()
                continue
            self.sockets += [client, server]
            for a, b in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(a, b), daemon=True).start()

    @staticmethod
    def _pump(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def cut(self):
        self.is_cut = True
        for one in self.sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self.sockets = []

    def mend(self):
        self.is_cut = False

    def close(self):
        self.cut()
        self.listener.close()


class Child:
    """Stands for a request process: it has the store open and does what it is told."""

    def __init__(self, state, name, key_file):
        self.process = subprocess.Popen([paths.built("tests/tools/fs_session"), state, name,
                                         key_file], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)

    def do(self, *words):
        self.process.stdin.write(" ".join(str(word) for word in words) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "fs_session has died"
        return json.loads(line)

    def end(self):
        self.process.kill()
        self.process.communicate()


class Host:
    def __init__(self, directory, name, key, banks, **sessions):
        self.name, self.key = name, key
        self.directory = os.path.join(directory, name)
        self.state = os.path.join(self.directory, "state")
        self.log_path = os.path.join(self.directory, "log")
        os.makedirs(self.state, exist_ok=True)
        self.key_file = os.path.join(self.directory, "key")
        with open(self.key_file, "w", encoding="utf-8") as file:
            file.write(key.line())
        os.chmod(self.key_file, 0o600)
        [self.port] = ports.take(1)
        self.banks = banks
        self.sessions = sessions
        self.routing = None  # or its settings, {}: as they are
        self.peers = []
        self.agents = []
        self.children = []

    def config(self):
        bank = [{"url": one.url, "name": one.address, "rack": None} for one in self.banks]
        return {"server": self.name, "state_dir": self.state, "groups": ["default"],
                "database": None, "data_servers": [], "key_file": self.key_file,
                "log_level": "debug", "listen": f"127.0.0.1:{self.port}",
                "peers": [f"http://127.0.0.1:{peer.port}" for peer in self.peers],
                **({} if self.routing is None else {"routing": self.routing}),
                "sessions": {"bank": bank, "lease_ms": 1000, "timeout_ms": 5000, **self.sessions}}

    def start(self):
        """Starts an agent, beside the one that runs if there is one: it takes over."""
        path = os.path.join(self.state, "agent.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(self.config(), file)
        before = self.said("FS0626")
        with open(self.log_path, "ab") as log:
            self.agents.append(subprocess.Popen(
                [paths.built("farmsync-agent"), "--config", path, "--standalone"], stderr=log,
                stdin=subprocess.DEVNULL))
        wait_until(lambda: self.said("FS0626") > before and self.answers(), SECONDS,
                   f"the agent of {self.name}", lambda: tail(self.log_path, 40))
        return self

    def answers(self):
        try:
            return self.get("/v1/sessions/status")[0] == 200
        except OSError:
            return False

    def log(self):
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def said(self, number):
        return self.log().count(f"] {number}: ")

    @property
    def agent(self):
        return self.agents[-1]

    def signal(self, number):
        """The agent and those who use its store, as a host that stands still."""
        for process in self.agents + [child.process for child in self.children]:
            if process.poll() is None:
                process.send_signal(number)

    def pause(self):
        self.signal(signal.SIGSTOP)

    def go_on(self):
        self.signal(signal.SIGCONT)

    def kill(self):
        """The agent alone."""
        for agent in self.agents:
            if agent.poll() is None:
                agent.kill()
            agent.wait()
        self.agents = []

    def die(self):
        """All of the host."""
        self.kill()
        for child in self.children:
            child.end()
        self.children = []

    def stop(self):
        self.go_on()
        for child in self.children:
            child.end()
        self.children = []
        for agent in self.agents:
            if agent.poll() is None:
                agent.send_signal(signal.SIGTERM)
            status = agent.wait(60)
            assert status in (0, -signal.SIGKILL), (status, self.log()[-3000:])
        self.agents = []
        assert "Sanitizer" not in self.log(), self.log()[-6000:]

    def child(self):
        child = Child(self.state, self.name, self.key_file)
        self.children.append(child)
        return child

    def do(self, *words):
        """In the place of a request process, the same one for all."""
        if not self.children:
            self.child()
        return self.children[0].do(*words)

    def knows_peers(self):
        """Each is alive, and has said its name."""
        peers = self.get("/v1/backplane")[1]["peers"]
        alive = {peer["name"] for peer in peers if peer["state"] == "alive"}
        return {peer.name for peer in self.peers} <= alive

    def call(self, method, path, body=None):
        connection = UnixConnection(os.path.join(self.state, "agent.sock"))
        try:
            connection.request(method, path, body=body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def get(self, path):
        status, body = self.call("GET", path)
        return status, json.loads(body) if body else None

    def status(self):
        status, body = self.get("/v1/sessions/status")
        assert status == 200, body
        return body

    def wait_safe(self):
        """All that changed is on the bank."""
        wait_until(lambda: self.do("count")["dirty"] == 0, SECONDS,
                   f"{self.name} to have sent everything", lambda: tail(self.log_path, 30))

    def wait_protected(self):
        """... and where it belongs."""
        wait_until(lambda: self.status()["unprotected"] == 0, SECONDS,
                   f"the sessions of {self.name} to be protected",
                   lambda: json.dumps(self.status()) + tail(self.log_path, 30))

    def wait_bank(self):
        """All bank servers are heard: before that a session is where it belongs if those that are have it."""
        wait_until(lambda: all(bank["state"] != "down" for bank in self.status()["bank"]), SECONDS,
                   f"{self.name} to hear the bank", lambda: tail(self.log_path, 30))

    def load(self, session, wait=5000):
        return self.do("load", session, wait)


class SessionFarm:
    """Hosts and bank servers."""

    def __init__(self, directory, key, banks, hosts, routing=None, **sessions):
        self.directory, self.key = directory, key
        self.banks = [Bank(directory, key, f"bank{i}", port)
                      for i, port in enumerate(ports.take(banks))]
        for bank in self.banks:
            bank.peers = [other for other in self.banks if other is not bank]
            bank.start()
        self.hosts = [Host(directory, f"web{i + 1}", key, self.banks, **sessions)
                      for i in range(hosts)]
        for host in self.hosts:
            host.peers = [other for other in self.hosts if other is not host]
            host.routing = routing
        for host in self.hosts:
            host.start()
        for host in self.hosts:
            host.wait_bank()

        for host in self.hosts:
            wait_until(host.knows_peers, SECONDS, f"{host.name} to know the others", host.log)

    def holders(self, session_key):
        """Bank servers that hold a session, by its key."""
        return [bank for bank in self.banks
                if bank.process and bank.peek(session_key)["what"] in (7, 8)]

    def end(self):
        for host in self.hosts:
            host.stop()
        for bank in self.banks:
            if bank.process:
                bank.process.send_signal(signal.SIGCONT)
            bank.stop()
