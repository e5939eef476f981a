# SPDX-License-Identifier: Apache-2.0
"""
Visitors of a farm that routes, behind a balancer without stickiness.

Each puts marks into his session, and notes what he sees: an answer that isn't one, a mark that was
acknowledged and isn't there, another home than before.
"""

import http.client
import random
import re
import threading
import time
from collections import Counter, namedtuple

COOKIE = re.compile(r"^(?P<name>[^=;]+)=(?P<value>[^;]*)")
PATIENCE_S = 12

Trouble = namedtuple("Trouble", "visitor kind text when")
Move = namedtuple("Move", "visitor source target when took")


class Visitor:
    def __init__(self, number):
        self.number = number
        self.cookies = {}
        self.attempts = 0
        self.acknowledged = set()  # marks
        self.home = None
        self.moves = []

    def header(self):
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    def take(self, headers):
        for header in headers.get_all("Set-Cookie", []):
            found = COOKIE.match(header)
            self.cookies[found["name"]] = found["value"]

    def named_home(self):
        """As a balancer reads it from the affinity cookie."""
        return self.cookies.get("farmsync", "").partition(".")[2]


class Crowd:
    """Visitors, and some threads that bring their requests one after the other."""

    def __init__(self, port, visitors, threads=6, seed=1):
        self.port = port
        self.visitors = [Visitor(number) for number in range(visitors)]
        self.troubles, self.moves = [], []
        self.requests = 0
        self.expected_to_leave = set()  # servers whose visitors may be found elsewhere
        self.random = random.Random(seed)
        self.over = threading.Event()
        self.threads = []
        self.thread_count = threads
        self.lock = threading.Lock()

    # --- one request
    def visit(self, connection, visitor):
        visitor.attempts += 1
        now = time.monotonic()
        try:
            connection.request("GET", f"/counter/mark?m{visitor.attempts}",
                               headers={"Cookie": visitor.header()} if visitor.cookies else {})
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace").strip()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return self._trouble(visitor, "no answer", repr(error), now)
        if answer.status != 200:
            return self._trouble(visitor, f"status {answer.status}", text[:200], now)
        visitor.take(answer.headers)
        self._check_session(visitor, text, now)
        self._check_home(visitor, answer.headers.get("X-Server"), now)
        return answer

    def _check_session(self, visitor, text, now):
        lost = visitor.acknowledged - set(text.split())
        if lost:
            self._trouble(visitor, "session", f"{sorted(lost)} of {len(visitor.acknowledged)} marks "
                          "are lost", now)
        visitor.acknowledged.add(f"m{visitor.attempts}")

    def _check_home(self, visitor, server, now):
        if visitor.home is not None and server != visitor.home:
            move = Move(visitor.number, visitor.home, server, now, time.monotonic() - now)
            visitor.moves.append(move)
            with self.lock:
                self.moves.append(move)
            if visitor.home not in self.expected_to_leave:
                self._trouble(visitor, "moved", f"from {visitor.home} to {server}", now)
        visitor.home = server

    def _trouble(self, visitor, kind, text, when):
        with self.lock:
            self.troubles.append(Trouble(visitor.number, kind, text, when))

    # --- all of them
    def each_once(self, visitors=None):
        """Every visitor (or each of some) comes once, in any order, shared by the threads."""
        order = list(self.visitors if visitors is None else visitors)
        self.random.shuffle(order)
        parts = [order[index::self.thread_count] for index in range(self.thread_count)]
        threads = [threading.Thread(target=self._run_list, args=(part,)) for part in parts]
        for one in threads:
            one.start()
        for one in threads:
            one.join()

    def _connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)

    def _run_list(self, visitors):
        connection = self._connect()
        for one in visitors:
            self.visit(connection, one)
            with self.lock:
                self.requests += 1
        connection.close()

    def begin(self):
        """They come again and again until `end`; a visitor is brought by one thread only."""
        self.over.clear()
        for index in range(self.thread_count):
            own = self.visitors[index::self.thread_count]
            thread = threading.Thread(target=self._run_on, args=(own, random.Random(index)),
                                      daemon=True)
            self.threads.append(thread)
            thread.start()

    def _run_on(self, visitors, chance):
        connection = self._connect()
        while not self.over.is_set():
            self.visit(connection, chance.choice(visitors))
            with self.lock:
                self.requests += 1
        connection.close()

    def end(self):
        self.over.set()
        for one in self.threads:
            one.join(2 * PATIENCE_S)
            assert not one.is_alive(), "a visitor waits for ever"
        self.threads = []

    # --- what became of them
    def homes(self):
        return Counter(one.home for one in self.visitors if one.home)

    def forget_troubles(self):
        self.troubles, self.moves = [], []

    def assert_well(self, allowed=()):
        """Nobody saw anything but what is allowed, kinds of trouble."""
        bad = [one for one in self.troubles if one.kind not in allowed]
        assert not bad, f"{len(bad)} of {self.requests}: " + "; ".join(
            f"{one.kind}: {one.text} (visitor {one.visitor})" for one in bad[:8])
