# SPDX-License-Identifier: Apache-2.0
"""mod_session_farmsync on two web servers with their agents and two bank servers."""

import os
import signal
import threading

import pytest

from farmlib import paths
from lone_httpd import crashes, wait_for
from session_httpd import COOKIE, build_module, counter
from session_webs import Servers
from test_session import entries, together

LONG = os.environ.get("FARMSYNC_TEST_LONG") == "1"
CLIENTS, STEPS = (8, 50) if LONG else (8, 8)

@pytest.fixture(scope="module")
def application():
    return build_module(os.path.join(paths.REPO, "tests", "bench", "mod_counter.c"))


@pytest.fixture(scope="module")
def servers(application):
    servers = Servers(application)
    yield servers
    logs = servers.end()
    assert not crashes(logs), logs


@pytest.fixture
def own(application):
    """Servers that the test may break."""
    servers = Servers(application)
    yield servers
    servers.end()


def both(servers, cookie):
    return [web.visitor(cookie) for web in servers.webs]


def test_a_session_follows_its_visitor(servers):
    visitor = servers.webs[0].visitor()
    visitor.get("/app/put?a=1")
    clients = both(servers, visitor.cookie)
    for number in range(6):
        assert clients[number % 2].get("/app/add?n") == str(number + 1)
    for client in clients:
        assert entries(client.get("/app/all")) == {"a": "1", "n": "6"}


def test_parallel_changes_behind_a_round_robin_are_all_kept(servers):
    visitor = servers.webs[0].visitor()
    visitor.get("/app/put?begin=1")

    def work(number):
        clients = both(servers, visitor.cookie)
        for step in range(STEPS):
            answer = clients[(number + step) % 2].ask(f"/app/add?k{number}")
            assert (answer.status, answer.text, answer.cookies) == (200, str(step + 1), [])

    together([lambda number=number: work(number) for number in range(CLIENTS)])
    for client in both(servers, visitor.cookie):
        found = entries(client.get("/app/all"))
        assert {name: int(value) for name, value in found.items() if name != "begin"} == \
            {f"k{number}": STEPS for number in range(CLIENTS)}


def test_exclusive_requests_count_right_on_two_servers(servers):
    visitor = servers.webs[0].visitor()
    visitor.get("/app/put?n=0")

    def work(number):
        clients = both(servers, visitor.cookie)
        for step in range(STEPS):
            answer = clients[(number + step) % 2].ask("/alone/add?n")
            assert (answer.status, answer.cookies) == (200, []), answer.text

    together([lambda number=number: work(number) for number in range(CLIENTS)])
    for client in both(servers, visitor.cookie):
        assert client.get("/alone/get?n") == str(CLIENTS * STEPS)


def test_a_login_and_a_logout_count_everywhere(servers):
    web1, web2 = servers.webs
    visitor = web1.visitor()
    visitor.get("/app/put?cart=3")
    old = visitor.cookie
    visitor.get("/app/put?shop-user=alice")
    assert visitor.cookie != old
    assert web2.visitor(visitor.cookie).get("/app/get?shop-user") == "alice"
    late = web2.visitor(old)
    assert late.get("/app/add?late") == "1"  # the old id, for some seconds, on the other server
    assert web1.visitor(visitor.cookie).get("/app/get?late") == "1"
    assert web2.visitor(visitor.cookie).ask("/app/end").id == ""
    for web in servers.webs:
        for cookie in (old, visitor.cookie):
            assert web.visitor().ask("/app/all", cookie=f"{COOKIE}={cookie}").text == ""


def test_the_resource_fetches_too(servers):
    web1, web2 = servers.webs
    visitor = web1.visitor()
    visitor.get("/app/put?a=1")
    answer = web2.visitor().ask(f"/farmsync/session/{visitor.cookie}")
    assert (answer.status, answer.text) == (200, '{"a":"1"}\n')
    assert web1.visitor(visitor.cookie).get("/app/get?a") == "1"


def test_an_id_that_nobody_knows_is_no_session(servers):
    web1, web2 = servers.webs
    visitor = web1.visitor()
    visitor.get("/app/put?a=1")
    visitor.ask("/app/end")
    answer = web2.visitor().ask("/app/get?a", cookie=f"{COOKIE}={visitor.cookie}")
    assert (answer.status, answer.text) == (200, "-")


def test_an_agent_that_dies_is_missed_by_nobody(servers):
    web = servers.webs[0]
    visitor = web.visitor()
    visitor.get("/app/put?n=0")
    stop, answers = threading.Event(), []

    def work():
        client = web.visitor(visitor.cookie)
        while not stop.is_set():
            answers.append(client.get("/app/add?n"))

    worker = threading.Thread(target=work)
    worker.start()
    for _ in range(2):
        before = web.agent_pid()
        os.kill(before, signal.SIGKILL)
        wait_for(lambda: web.agent_pid() not in (None, before), "another agent")
        count = len(answers)
        wait_for(lambda: len(answers) > count + 5, "answers")
    web.graceful()
    count = len(answers)
    wait_for(lambda: len(answers) > count + 5, "answers")
    stop.set()
    worker.join()
    assert answers == [str(number + 1) for number in range(len(answers))]
    wait_for(lambda: web.metric("farmsync_sessions_unprotected") == 0, "everything to be on the bank")


def test_what_was_acknowledged_survives_the_death_of_its_server(own):
    web1, web2 = own.webs
    visitor = web1.visitor()
    for number in range(5):
        assert visitor.get("/sure/add?n") == str(number + 1)
    assert counter(web1, "unconfirmed") == 0
    web1.die()
    assert web2.visitor(visitor.cookie).get("/app/add?n") == "6"
    # one of the two bank servers is enough
    own.banks[0].kill()
    own.banks[0].start()
    assert web2.visitor(visitor.cookie).get("/app/get?n") == "6"


def test_without_the_bank_everybody_is_answered(own):
    web1, web2 = own.webs
    visitor = web1.visitor()
    assert visitor.get("/sure/add?n") == "1"
    for bank in own.banks:
        bank.process.send_signal(signal.SIGSTOP)
    for number in range(5):
        assert visitor.get("/app/add?n") == str(number + 2)
    # but who was promised copies isn't told that all is well
    refused = visitor.ask("/hasty/add?n")
    assert refused.status == 503 and refused.headers["Retry-After"] == "1" and refused.text != "7"
    assert counter(web1, "unconfirmed") >= 1 and "FS1310" in web1.log()
    # a session of a server that is away, too: nobody can say
    web1.die()
    refused = web2.visitor(visitor.cookie).ask("/strict/get?n")
    assert refused.status == 503 and refused.headers["Retry-After"]
    assert refused.cookies == [], "the page that says so must not take his session's place"
    assert web2.visitor().ask("/hasty/get?n", cookie=f"{COOKIE}={visitor.cookie}").text == "-"
    assert counter(web2, "unanswered") >= 2
    for bank in own.banks:
        bank.process.send_signal(signal.SIGCONT)
    wait_for(lambda: web2.visitor(visitor.cookie).ask("/strict/get?n").status == 200, "the bank's answer")
