# SPDX-License-Identifier: Apache-2.0
"""What is down on a real httpd, over time, restarts, damage and thousands of changes."""

import contextlib
import datetime
import http.client
import os
import shutil
import signal
import subprocess
import threading
import time

import pytest

from avail_fixtures import (Teller, every, make, nothing_is_left, one_httpd,  # noqa: F401
                            when)
from lone_httpd import wait_for
from test_valgrind import own_errors

LONG = os.environ.get("FARMSYNC_TEST_LONG") == "1"


def states(httpd):
    status = httpd.get("/farmsync/status?json").json["availability"]
    return {one["name"]: one["state"] for one in status["applications"]}


# --- in every MPM --------------------------------------------------------------------------------

def test_down_and_up_are_seen_by_the_next_request(every):
    for number in range(20):
        every.teller.tell({"application": "shop", "message": f"number {number}"})
        answer = every.get("/shop/a.txt")
        assert answer.status == 503 and f"number {number}\n" in answer.text
        assert every.get("/wiki/a.txt").status == 200
        every.teller.tell()
        assert every.get("/shop/a.txt").status == 200


def test_the_connection_stays_open_and_the_log_has_the_status(every):
    every.teller.tell({"application": "shop", "message": "later"})
    connection = http.client.HTTPConnection("127.0.0.1", every.port, timeout=20)
    connection.connect()
    used = connection.sock.getsockname()
    for method, path, body, wanted in (
            ("GET", "/shop/a.txt?log1", None, 503), ("HEAD", "/shop/a.txt", None, 503),
            ("GET", "/wiki/a.txt", None, 200), ("POST", "/shop/a.txt", b"x" * 100000, 503),
            ("POST", "/shop/a.txt", iter([b"chunk"] * 1000), 503), ("GET", "/a.txt", None, 200)):
        connection.request(method, path, body, encode_chunked=not isinstance(body, bytes))
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == wanted, (method, path)
        assert answer.headers.get("Connection") != "close"
        assert bool(text) == (method != "HEAD")
        assert connection.sock.getsockname() == used
    connection.close()

    def logged():
        with open(every.path("access.log"), encoding="utf-8") as file:
            return [line for line in file if "?log1" in line]

    wait_for(logged, "the access log")
    assert "HTTP/1.1 503 " in logged()[0] and logged()[0].endswith("shop/operator shop/operator\n")


def test_restarts_forget_nothing_and_need_no_agent(every):
    every.teller.tell({"application": "shop"})
    every.teller.close()
    every.graceful()
    for _ in range(20):
        assert every.get("/shop/a.txt").status == 503
    every.stop()
    every.start()
    assert every.get("/shop/a.txt").status == 503
    every.teller = Teller(every.state)
    every.teller.tell()
    assert every.get("/shop/a.txt").status == 200


# --- time ----------------------------------------------------------------------------------------

def test_a_window_begins_and_ends_with_no_message(web):
    now = web.teller.now()
    number = web.teller.tell({"application": "shop", "from": when(now + 2), "until": when(now + 5)})
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=20)
    seen = []
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (len(seen) < 3 or seen[-1][0] != 200):
        before = web.teller.now()
        connection.request("GET", "/shop/a.txt")
        answer = connection.getresponse()
        answer.read()
        after = web.teller.now()
        if before >= now + 2 and after < now + 5:
            assert answer.status == 503, before - now
        if after < now + 2 or before >= now + 5:
            assert answer.status == 200, before - now
        if not seen or seen[-1][0] != answer.status:
            seen.append((answer.status, before - now))
    connection.close()
    assert [status for status, _ in seen] == [200, 503, 200], seen
    assert web.get("/farmsync/status?json").json["availability"]["publication"] == number


def test_a_weekly_window_follows_the_local_clock():
    """Farm time is a Sunday of spring in Berlin, two seconds before 01:59:60 becomes 03:00."""
    start = datetime.datetime(2026, 3, 29, 0, 59, 58, tzinfo=datetime.timezone.utc).timestamp()
    offset = int(start - time.clock_gettime(time.CLOCK_MONOTONIC))
    httpd = make("event", str(offset))
    try:
        weekly = {"days": ["sun"], "start": "02:30", "end": "04:00",
                  "zone": "CET-1CEST,M3.5.0,M10.5.0/3"}
        httpd.teller.tell({"application": "shop", "weekly": weekly},
                          {"application": "wiki", "weekly": {**weekly, "start": "03:00"}})
        wait_for(lambda: httpd.get("/wiki/a.txt").status == 503, "the window to begin")
        assert httpd.teller.now() >= start + 2
        assert httpd.get("/shop/a.txt").status == 200  # 02:30 is half past three by the new time
        facts = httpd.get("/wiki/a.txt", {"Accept": "application/json"}).json
        assert facts["starts"].startswith("2026-03-29T01:00:00")
        assert facts["ends"].startswith("2026-03-29T02:00:00")
    finally:
        httpd.teller.close()
        httpd.remove()


# --- what goes wrong -----------------------------------------------------------------------------

def test_a_condition_is_checked_by_httpd_before_it_counts(web):
    web.teller.say("check 20000 %{REQUEST_METHOD} != 'GET' && -R '10.0.0.0/8'")
    answer = web.teller.ask("check 20000 %{REQUEST_METHOD != 'GET'")
    assert answer.startswith("error FS1508: httpd doesn't understand the condition")
    answer = web.teller.ask("check 20000 file('/etc/passwd') == 'x'")
    assert "FS1508" in answer and "restricted" in answer
    answer = web.teller.ask("check 20000 unheard_of('a') == 'x'")
    assert "FS1508" in answer and "unheard_of" in answer


def test_a_condition_that_does_not_compile_has_no_effect_and_is_seen(web):
    web.teller.tell({"application": "shop", "id": "bad", "condition": "unheard_of('x') == 'y'"},
                    {"application": "wiki"})
    assert web.get("/shop/a.txt").status == 200
    assert web.get("/wiki/a.txt").status == 503
    wait_for(lambda: "FS1521: notice shop/bad has no effect" in web.log(), "the log")
    notices = web.get("/farmsync/status?json").json["availability"]["notices"]
    assert "unheard_of" in [one for one in notices if one["notice"] == "shop/bad"][0]["trouble"]
    assert "unheard_of" in web.get("/farmsync/status").text
    assert "farmsync_notices_without_effect 1" in web.get("/farmsync/status?metrics").text
    assert "shop/bad: " in web.teller.say("problems")


def test_damage_changes_nothing(web):
    web.teller.tell({"application": "shop", "message": "before"})
    assert web.get("/shop/a.txt").status == 503
    number = web.teller.tell({"application": "wiki"})
    path = os.path.join(web.state, "notices", str(number))
    with open(path, "r+b") as file:
        file.seek(30)
        file.write(b"\xff")
    web.graceful()  # new processes know only the files
    wait_for(lambda: "before" in web.get("/shop/a.txt").text, "the last good notices")
    assert web.get("/wiki/a.txt").status == 200
    status = web.get("/farmsync/status?json").json["availability"]
    assert f"publication {number} of the notices is damaged" in status["trouble"]
    assert "FS1511" in web.log()
    assert "farmsync_notices_damaged 1" in web.get("/farmsync/status?metrics").text
    web.teller.tell({"application": "wiki", "message": "again"})
    assert web.get("/wiki/a.txt").status == 503
    assert web.get("/shop/a.txt").status == 200


def resident(httpd):
    """Most kilobytes of any request process."""
    most = 0
    for pid in httpd.children():
        with contextlib.suppress(OSError):  # of the generation before, which ends
            with open(f"/proc/{pid}/status", encoding="utf-8") as file:
                most = max([most, *(int(line.split()[1]) for line in file if line.startswith("VmRSS"))])
    return most


def test_memory_does_not_grow_with_changes(web):
    rounds = 3000 if LONG else 400
    stop = threading.Event()

    def ask():
        connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=20)
        while not stop.is_set():
            connection.request("GET", "/shop/a.txt", headers={"X": "y"})
            connection.getresponse().read()
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        web.teller.say(f"many {rounds} shop")
        before = resident(web)
        for _ in range(4):
            web.teller.say(f"many {rounds} shop")
        after = resident(web)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    print(f"resident: {before} kB, after {4 * rounds} more changes {after} kB")
    assert after - before < 4096


def test_the_farms_state_is_on_the_status_page(web):
    web.teller.say("peers syncing web2 alive yes web3 dead no web4 suspect unknown")
    backplane = web.get("/farmsync/status?json").json["availability"]["backplane"]
    assert backplane["state"] == "syncing"
    assert [(one["server"], one["state"], one["same"]) for one in backplane["peers"]] == [
        ("web2", "alive", True), ("web3", "dead", False), ("web4", "suspect", None)]
    assert all(one["age_us"] >= 0 for one in backplane["peers"])
    metrics = web.get("/farmsync/status?metrics").text
    assert 'farmsync_peer_same_state{peer="web3"} 0' in metrics
    assert "farmsync_backplane_ready 0" in metrics
    assert "web3" in web.get("/farmsync/status").text
    assert "FarmSyncPeer[web3]State: dead" in web.get("/server-status?auto").text


def test_every_status_page_tells_the_state_of_applications(web):
    web.teller.tell({"application": "shop", "reason": "planned", "who": "<anna>"})
    assert states(web) == {"shop": "down", "deep": "up", "wiki": "up", "site": "up", "status": "up",
                           "blog": "up"}
    metrics = web.get("/farmsync/status?metrics").text
    assert 'farmsync_application_up{application="shop"} 0' in metrics
    assert 'farmsync_application_up{application="wiki"} 1' in metrics
    page = web.get("/farmsync/status").text
    assert "&lt;anna&gt;" in page and "<anna>" not in page
    assert "<h2>availability</h2>" in web.get("/server-status").text
    assert "FarmSyncApplication[shop]State: down" in web.get("/server-status?auto").text
    wait_for(lambda: "FS1522: application shop is down here (planned)" in web.log(), "the log")
    web.teller.tell()
    wait_for(lambda: "FS1523: application shop is up here again" in web.log(), "the log")


def test_graceful_restarts_under_load_lose_no_notice_and_no_request(web):
    """At 5 a second, as often as FARMSYNC_TEST_LONG says."""
    web.teller.tell({"application": "shop"})
    stop, wrong, done = threading.Event(), [], []

    def ask():
        while not stop.is_set():
            answer = web.get("/shop/a.txt")
            done.append(answer.status)
            if answer.status != 503:
                wrong.append(answer.status)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for _ in range(100 if LONG else 10):
            asked = len(done)
            web.process.send_signal(signal.SIGUSR1)
            pause = time.monotonic() + 0.2
            wait_for(lambda: time.monotonic() > pause and len(done) > asked, "requests")  # noqa: B023
    finally:
        stop.set()
        thread.join()
    assert not wrong and len(done) > 10


# --- configuration -------------------------------------------------------------------------------

@pytest.mark.parametrize("line, problem", [
    ("FarmSyncApplication", "FS1530"),
    ("FarmSyncApplication sh/op /x", "FS1530"),
    ("FarmSyncApplication other shop", "FS1530"),
    ("FarmSyncApplication other /x%20y", "FS1530"),
    ("FarmSyncApplication other /wiki", "FS1530"),
    ("FarmSyncApplicationUses shop a/b", "FS1531"),
    ("FarmSyncAvailable \"%{X\"", "FS1532"),
    ("FarmSyncAvailable", "FS1532"),
    ("FarmSyncAvailDocument no-such-file.html", "FS1533"),
    ("FarmSyncAvailDocument ErrorDocument for=shop", "FS1533"),
    ("FarmSyncAvailStatus 200", "FS1534"),
    ("FarmSyncAvailStatus 401", "FS1534"),
    ("FarmSyncAvailLanguage d_e", "FS1535"),
    ("FarmSyncAvailRetry 0", "FS1536"),
    ("FarmSyncAvailBody 16X", "FS1537")])
def test_configtest_finds_what_is_wrong(web, line, problem):
    try:
        web.configure(line)
        status, output = web.run("-t")
        assert status != 0 and problem in output
    finally:
        web.configure()


def test_the_dump_shows_the_settings(web):
    status, output = web.run("-t", "-DDUMP_FARMSYNC")
    assert status == 0
    for line in ("FarmSyncApplication      shop /shop", "FarmSyncApplication      shop /cart",
                 "FarmSyncApplicationUses  wiki database", "FarmSyncAvailRetry       100 s",
                 "FarmSyncAvailBody        1048576 bytes", "FarmSyncAvailDocument    ErrorDocument"):
        assert line in output, output


# --- valgrind ------------------------------------------------------------------------------------

@pytest.mark.limit(300)
@pytest.mark.skipif(not shutil.which("valgrind"), reason="valgrind is not installed")
def test_a_child_is_clean_under_valgrind():
    httpd = make("event", start=False)
    teller = httpd.teller
    log = httpd.path("valgrind.%p")
    with open(httpd.path("stderr"), "ab") as stderr:
        httpd.process = subprocess.Popen(
            ["valgrind", "--leak-check=full", "--show-leak-kinds=definite", "--num-callers=30",
             "--child-silent-after-fork=yes", f"--log-file={log}", *httpd.arguments("-X")],
            stderr=stderr, start_new_session=True)
    try:
        deadline = time.monotonic() + 150
        while not httpd.answers():
            assert time.monotonic() < deadline, httpd.log()
            time.sleep(0.2)
        for notice in ({"application": "shop", "message": "a <b>"},
                       {"application": "*", "until": "2099-01-01T00:00:00Z"},
                       {"application": "shop", "condition": "%{REMOTE_USER} == 'anna'"},
                       {"application": "site", "condition": "nonsense("},
                       {"application": "wiki", "from": "2099-01-01T00:00:00Z"}):
            teller.tell(notice)
            for headers in ({}, {"Accept": "text/html", "Accept-Language": "de"},
                            {"Accept": "application/json"}):
                httpd.get("/shop/a.txt", headers)
                httpd.get("/a.txt", headers, "POST")
        for page in ("", "?json", "?metrics"):
            assert httpd.get("/farmsync/status" + page).status == 200
        teller.say("check 60000 req('X') == 'y'")
    finally:
        httpd.stop()
        teller.close()
    text = ""
    for name in os.listdir(httpd.directory):
        if name.startswith("valgrind."):
            with open(httpd.path(name), encoding="utf-8") as file:
                text += file.read()
    httpd.remove()
    assert "ERROR SUMMARY" in text
    assert own_errors(text) == [], "\n\n".join(own_errors(text))
