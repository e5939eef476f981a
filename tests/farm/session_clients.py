# SPDX-License-Identifier: Apache-2.0
"""Visitors of the loss harness: each has some sessions, and notes what it was told (session_history.py).

Behind a balancer as there are: a session has its server, some requests go to another one all the same,
and a server that doesn't answer is left alone for a moment.
"""

import http.client
import threading
import time

from session_history import Session, Update

TIMEOUT_S = 2.0  # a visitor's patience
AVOID_S = 0.5
ASTRAY = 0.1  # requests that go to another server than the session's


def cookie_of(answer):
    for header in answer.headers.get_all("Set-Cookie", []):
        pair = header.split(";")[0].strip()
        if pair.startswith("session="):
            return pair
    return None


class Wire:
    """Kept connections of one client to all servers."""

    def __init__(self, servers, timeout=TIMEOUT_S):
        self.servers, self.timeout = servers, timeout
        self.connections = {}

    def get(self, server, path, cookie):
        """(status, text, cookie that was set); (0, "", None) if there was no answer."""
        connection = self.connections.get(server)
        if connection is None:
            host, port = self.servers[server]
            connection = http.client.HTTPConnection(host, port, timeout=self.timeout)
            self.connections[server] = connection
        try:
            connection.request("GET", path, headers={"Cookie": cookie} if cookie else {})
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
            return answer.status, text, cookie_of(answer)
        except (OSError, http.client.HTTPException):
            self.connections.pop(server).close()
            return 0, "", None

    def close(self):
        for one in self.connections.values():
            one.close()


class Visitor(threading.Thread):
    """Updates its sessions in turn until it is told to stop; sometimes it logs out."""

    def __init__(self, number, servers, modes, per_mode, random, pace=0.01):
        super().__init__(daemon=True)
        self.random, self.pace, self.servers = random, pace, servers
        self.sessions = [Session(f"{number}.{mode}.{one}", mode)
                         for one in range(per_mode) for mode in modes]
        self.home = {session: random.randrange(len(servers)) for session in self.sessions}
        self.avoid = {}
        self.over = threading.Event()
        self.wire = Wire(servers)
        self.marks = 0

    def run(self):
        while not self.over.is_set():
            session = self.random.choice(self.sessions)
            if session.end_asked is None:
                if session.cookie and len(session.updates) > 10 and self.random.random() < 0.005:
                    self.log_out(session)
                else:
                    self.update(session)
            self.over.wait(self.pace * self.random.random() * 2)
        self.wire.close()

    def choose(self, session):
        """As a balancer would."""
        now = time.monotonic()
        living = [one for one in range(len(self.servers)) if self.avoid.get(one, 0) <= now]
        home = self.home[session]
        if home in living and self.random.random() >= ASTRAY:
            return home
        return self.random.choice(living or range(len(self.servers)))

    def update(self, session):
        server = self.choose(session)
        self.marks += 1
        mark = f"m{self.marks}"
        sent = time.monotonic()
        status, text, cookie = self.wire.get(server, f"/{session.mode}/mark?{mark}", session.cookie)
        answered = time.monotonic()
        ok, said = status == 200, status or "no answer"
        before = None
        if ok:
            before = {line for line in text.split() if line.startswith("m")}
            if session.cookie is None:
                session.cookie = cookie
                ok = cookie is not None
            elif cookie and cookie != session.cookie:
                session.strange_ids += 1  # the update went into another session
                ok, said = False, "another session"
        if status == 0 or status >= 500:
            self.avoid[server] = answered + AVOID_S
        session.updates.append(Update(mark, server, sent, answered, ok, before, said))

    def log_out(self, session):
        server = self.choose(session)
        session.end_asked = time.monotonic()
        status, _, _ = self.wire.get(server, f"/{session.mode}/end", session.cookie)
        if status == 200:
            session.end_acknowledged = time.monotonic()


FLOOD = 500


class Flood(threading.Thread):
    """New sessions of 7 KB each, as fast as they are answered, so that a disk without room is felt."""

    def __init__(self, servers):
        super().__init__(daemon=True)
        self.wire, self.over = Wire(servers), threading.Event()
        self.answers = {}  # status: how often

    def run(self):
        number = 0
        while not self.over.is_set() and number < FLOOD:
            number += 1
            server = number % len(self.wire.servers)
            status, _, _ = self.wire.get(server, "/ack0/put?k=" + "x" * 7000, None)
            self.answers[status] = self.answers.get(status, 0) + 1
            if status != 200:
                self.over.wait(0.005)
        self.wire.close()


def read(wire, server, session, seconds):
    """What a server says is in a session; asked again for so long until it answers. None if it doesn't."""
    deadline = time.monotonic() + seconds
    while True:
        status, text, _ = wire.get(server, "/ack0/all", session.cookie)
        if status == 200:
            return {line.partition("=")[0] for line in text.split() if line.startswith("m")}
        if time.monotonic() > deadline:
            return None
        time.sleep(0.02)
