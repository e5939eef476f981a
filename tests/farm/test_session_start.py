# SPDX-License-Identifier: Apache-2.0
"""
Requests that come while a web server starts, before its agent runs, knows the others and has a lease at the
bank. Each visitor raises a counter of his session, one request after the other: the numbers that he is answered
say whether anything was lost, or a copy served that is behind.
"""

import http.client
import os
import signal
import threading
import time

import pytest

from farmlib import paths
from lone_httpd import crashes, wait_for
from session_httpd import COOKIE, build_module
from session_webs import Servers

VISITORS = 6
ENOUGH = 10  # right answers of each visitor after the start
# /app waits for 10 s: nobody notices. /strict for 100 ms: 503 with Retry-After until the agent can say.
PLACES = pytest.mark.parametrize("place", ["/app/add", "/strict/add"])
MAY_REFUSE = ["/strict/add"]


@pytest.fixture(scope="module")
def application():
    return build_module(os.path.join(paths.REPO, "tests", "bench", "mod_counter.c"))


@pytest.fixture
def servers(application):
    servers = Servers(application)
    yield servers
    logs = servers.end()
    assert not crashes(logs), logs


class Load:
    """Visitors of one web server, each with a session; they don't mind that nobody listens yet."""

    def __init__(self, web, place, cookies):
        self.web, self.place = web, place
        self.stop = threading.Event()
        self.known = {cookie: int(number) for cookie, number in cookies.items()}
        self.right = dict.fromkeys(cookies, 0)
        self.wrong, self.refused, self.longest, self.first = [], 0, 0.0, None
        self.threads = [threading.Thread(target=self.visit, args=(cookie,)) for cookie in cookies]
        for thread in self.threads:
            thread.start()

    def visit(self, cookie):
        visitor = self.web.visitor(cookie)
        while not self.stop.is_set():
            began = time.monotonic()
            try:
                # asked once: of a request that broke off nobody knows whether it was done
                reply = visitor.ask(self.place + "?n", once=True)
            except (OSError, http.client.HTTPException):
                visitor.close()
                time.sleep(0.001)
                continue
            self.longest = max(self.longest, time.monotonic() - began)
            self.note(cookie, reply)

    def note(self, cookie, reply):
        self.first = self.first or (reply.status, reply.text)
        if reply.status == 503 and reply.headers["Retry-After"] and not reply.cookies:
            self.refused += 1
        elif reply.status == 200 and reply.text == str(self.known[cookie] + 1) and not reply.cookies:
            self.known[cookie] += 1
            self.right[cookie] += 1
        else:
            self.wrong.append((cookie, self.known[cookie], reply.status, reply.text, reply.cookies))
            self.stop.set()

    def enough(self, since=None):
        before = since or dict.fromkeys(self.right, 0)
        return self.wrong or all(self.right[cookie] - before[cookie] >= ENOUGH for cookie in self.right)

    def wait(self, since=None):
        wait_for(lambda: self.enough(since), "answers")

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        assert not self.wrong, self.wrong
        print(f"{self.place}: {sum(self.right.values())} answers, {self.refused} were 503, "
              f"the longest took {self.longest:.3f} s, the first one was {self.first}")


def sessions(web, count=VISITORS):
    """Sessions that begin there: cookie and the number that was answered last."""
    made = {}
    for _ in range(count):
        visitor = web.visitor()
        for _ in range(3):
            number = visitor.get("/sure/add?n")
        made[visitor.cookie] = number
    return made


def check_everywhere(servers, load):
    """The same on all that run: nothing was lost, none has a session of its own."""
    for web in servers.webs:
        if web.process.poll() is None:
            for cookie, number in load.known.items():
                assert web.visitor(cookie).get("/app/get?n") == str(number)


def check_start(servers, place, made):
    """The second server starts while their visitors ask it."""
    web = servers.webs[1]
    load = Load(web, place, made)
    web.start()
    load.wait()
    load.end()
    assert place in MAY_REFUSE or not load.refused
    check_everywhere(servers, load)


@PLACES
def test_sessions_of_a_living_server_are_asked_for_at_a_start(servers, place):
    servers.webs[1].stop()
    check_start(servers, place, sessions(servers.webs[0]))


@PLACES
def test_sessions_that_only_the_bank_has_are_found_at_a_start(servers, place):
    servers.webs[1].stop()
    made = sessions(servers.webs[0])
    servers.webs[0].die()
    check_start(servers, place, made)


@pytest.mark.parametrize("how", ["stop", "die"])
@PLACES
def test_what_a_server_has_from_its_former_life_is_not_served_before_somebody_vouches_for_it(servers, place, how):
    web1, web2 = servers.webs
    made = sessions(web2)
    getattr(web2, how)()
    for cookie in made:  # others went on with them
        for _ in range(5):
            made[cookie] = web1.visitor(cookie).get("/app/add?n")
    check_start(servers, place, made)


def test_its_own_sessions_go_on_when_a_server_is_restarted(servers):
    made = sessions(servers.webs[1])
    servers.webs[1].stop()
    check_start(servers, "/app/add", made)


def test_a_server_whose_agent_does_not_come_vouches_for_nothing(servers):
    """Not even for what it has: another one may have gone on with it."""
    web1, web2 = servers.webs
    made = sessions(web2, 1)
    cookie = next(iter(made))
    web2.stop()
    made[cookie] = web1.visitor(cookie).get("/app/add?n")
    web2.agent = "/bin/false"
    web2.configure()
    web2.start()
    refused = web2.visitor(cookie).ask("/strict/add?n")
    assert refused.status == 503 and refused.headers["Retry-After"] and refused.cookies == []
    # this place has it that who isn't known gets a new session
    assert web2.visitor().ask("/hasty/get?n", cookie=f"{COOKIE}={cookie}").text == "-"
    assert web1.visitor(cookie).get("/app/add?n") == str(int(made[cookie]) + 1)


@pytest.mark.parametrize("times", [3])
def test_nobody_notices_a_graceful_restart(servers, times):
    web1, web2 = servers.webs
    made = sessions(web1, VISITORS // 2) | sessions(web2, VISITORS // 2)
    load = Load(web2, "/app/add", made)
    load.wait()
    for _ in range(times):
        since = dict(load.right)
        agent = web2.agent_pid()
        web2.graceful()
        wait_for(lambda before=agent: web2.agent_pid() not in (None, before), "the new agent")
        load.wait(since)
    load.end()
    assert not load.refused, web2.log()
    check_everywhere(servers, load)


def test_a_start_while_one_bank_server_stands_still(servers):
    web1, web2 = servers.webs
    web2.stop()
    made = sessions(web1)
    servers.banks[0].process.send_signal(signal.SIGSTOP)
    load = Load(web2, "/strict/add", made)
    web2.start()
    load.wait()
    load.end()
    servers.banks[0].process.send_signal(signal.SIGCONT)
    check_everywhere(servers, load)
