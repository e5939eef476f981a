# SPDX-License-Identifier: Apache-2.0
"""Availability told to a real farm: by farmsyncctl, SQL, HTTP and calendars, with servers that are away."""

import http.client
import json
import os
import random
import subprocess
import threading

import pytest

from notice_farm import (CTL, agent, as_monitor, as_monitors, ctl, notices, over_tcp, prepare, raw, run_ctl, socket_of,
                            status, url_of, wait_status)
from conftest import LONG
from farmctl.agent import Agent
from farmlib.part import http_get, wait_until

SERVERS = 8 if LONG else 3


@pytest.fixture(scope="module")
def farm(farms):
    farm = prepare(farms.create(servers=SERVERS, datasrv=2))
    farm.up()
    whole(farm)
    # Processes that were there before their agent look for what it publishes once a second, at first.
    ctl(farm.web(1), "down", "shop")
    wait_status(farm.webs, 503)
    ctl(farm.web(1), "up", "shop")
    return farm


def whole(farm):
    """Each server reaches all others, and nothing is said."""
    def reaches_all(web):
        try:
            code, answer = raw(web, "POST", "/v1/notices", b'{"application":"mail","state":"degraded","id":"hello"}')
        except (OSError, http.client.HTTPException):  # its agent is just starting
            return False
        return code == 200 and answer["told"] == len(farm.webs)  # one that is just ending says 503
    for web in farm.webs:
        wait_until(lambda: reaches_all(web), 60, f"{web.name} to reach all others")
    wait_until(lambda: taken_back(farm.web(1), "mail/hello"), 60, "an agent that takes it back")


@pytest.fixture(autouse=True)
def nothing_said(farm):
    yield
    for web in farm.webs:
        if web.state() == "paused":
            web.resume()
    first = farm.web(1)
    wait_until(lambda: agent_answers(first), 60, "the agent of web1, which may be a new one")
    for key in notices(first):
        wait_until(lambda key=key: taken_back(first, key.replace("*", "%2A")), 60, f"an agent that takes {key} back")
    for web in farm.webs:
        wait_until(lambda: agent_answers(web) and not notices(web), 60, f"{web.name} to have no notices")


def taken_back(web, key):
    try:
        return raw(web, "DELETE", "/v1/notices/" + key)[0] in (200, 404)
    except (OSError, http.client.HTTPException):
        return False


def agent_answers(web):
    try:
        return raw(web, "GET", "/v1/monitors")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


# --- farmsyncctl -------------------------------------------------------------------------------


def test_down_and_up_on_all_servers(farm):
    """When the command is back, every server that it names answers accordingly."""
    done = run_ctl(farm.web(1), "down", "shop", "--until", "+30m", "--reason", "planned", "--message", "Back soon")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{SERVERS} of {SERVERS} servers in " in done.stdout and done.stdout.startswith("shop is down until ")
    for web in farm.webs:
        code, headers, body = http_get(web.url + "/shop/")
        assert code == 503 and 1700 < int(headers["Retry-After"]) < 2000
        assert b"Back soon" in body or b"Back soon" in http_get(web.url + "/shop/", headers={"Accept": "text/plain"})[2]
        assert status(web, "/mail/") == 200
    done = run_ctl(farm.web(2), "up", "shop")  # another server than the one that was told
    assert done.returncode == 0, done.stdout + done.stderr
    for web in farm.webs:
        assert status(web) == 200


def test_json_says_who_was_told(farm):
    answer = ctl(farm.web(1), "down", "shop")
    assert answer["told"] == answer["of"] == SERVERS and answer["saved"]
    assert sorted(one["name"] for one in answer["servers"]) == sorted(web.name for web in farm.webs)
    assert all(one["told"] and one["ms"] >= 0 for one in answer["servers"])
    assert answer["keys"] == ["shop/operator"]


def test_a_server_that_is_away_is_named_and_told_on_return(farm):
    away = farm.web(SERVERS)
    away.pause()
    done = run_ctl(farm.web(1), "down", "shop", "--wait", "3000")
    assert done.returncode == 1
    assert f"{SERVERS - 1} of {SERVERS} servers" in done.stdout
    assert f"{away.name} not reached" in done.stdout and "told on return" in done.stdout
    away.resume()
    wait_status([away], 503)


def test_a_server_that_was_killed_is_told_on_return(farm):
    away = farm.web(SERVERS)
    away.kill()
    ctl(farm.web(1), "down", "shop", "--wait", "200", code=1)
    away.start()
    wait_status([away], 503)
    whole(farm)
    away.kill()
    ctl(farm.web(1), "up", "shop", "--wait", "200", code=1)
    away.start()
    wait_status([away], 200)
    whole(farm)


def test_agents_death_changes_nothing(farm):
    ctl(farm.web(1), "down", "shop")
    web = farm.web(2)
    before = web.agent_process()
    farm.part("agent2").kill()
    for _ in range(20):
        assert status(web) == 503
    wait_until(lambda: web.agent_process() not in (None, before), 60, "a new agent")
    wait_until(lambda: os.path.exists(socket_of(web)) and "shop/operator" in try_notices(web), 60, "its notices")
    assert status(web) == 503
    whole(farm)


def try_notices(web):
    try:
        return notices(web)
    except Exception:  # noqa: BLE001  # it is being replaced
        return {}


def test_processes_that_start_later_know(farm):
    ctl(farm.web(1), "down", "shop")
    web = farm.web(1)
    web.graceful()
    for _ in range(50):
        assert status(web) == 503
    wait_until(lambda: "shop/operator" in try_notices(web), 60, "the new agent")
    whole(farm)


def test_all_at_once_restarted(farm):
    """Every agent comes back with what it knew, whoever is first."""
    ctl(farm.web(1), "down", "shop")
    for web in farm.webs:
        web.kill()
    for web in farm.webs:
        web.spawn()
    for web in farm.webs:
        wait_until(web.ready, 30, f"{web.name} to be back")
        assert status(web) == 503
    whole(farm)
    assert all("shop/operator" in notices(web) for web in farm.webs)


def test_only_some_servers(farm):
    ctl(farm.web(1), "down", "shop", "--servers", "web2")
    assert [status(web) for web in farm.webs[:3]] == [200, 503, 200]


def test_a_condition_is_checked_and_kept(farm):
    ctl(farm.web(1), "down", "shop", "--when", "%{REQUEST_METHOD} != 'GET'")
    for web in farm.webs:
        assert status(web) == 200
        code = subprocess.run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-d", "x=1", web.url + "/shop/"],
                              capture_output=True, text=True, check=False).stdout
        assert code == "503"
    done = run_ctl(farm.web(1), "down", "shop", "--when", "%{REQUEST_METHOD} !=")
    assert done.returncode == 4 and "FS1508" in done.stderr
    assert notices(farm.web(1))["shop/operator"]["condition"] == "%{REQUEST_METHOD} != 'GET'"


def test_planned_windows_begin_and_end_without_a_word(farm):
    """The servers are told before; nobody speaks to them when it begins."""
    ctl(farm.web(1), "down", "shop", "--id", "soon", "--from", "+8s", "--until", "+1h")
    for web in farm.webs:
        assert notices(web)["shop/soon"]["in_force"] is False and status(web) == 200
    wait_status(farm.webs, 503)
    ctl(farm.web(1), "down", "shop", "--id", "soon", "--until", "+1s")
    wait_status(farm.webs, 200)
    assert "shop/soon" in notices(farm.web(1))


def test_of_what_recurs_only_the_present_goes(farm):
    ctl(farm.web(1), "down", "shop", "--weekly", "mon-sun 00:00-24:00", "--id", "always")
    wait_status(farm.webs, 503)
    answer = ctl(farm.web(1), "up", "shop")
    assert answer["keys"] == ["shop/always"] and answer["left"] == []
    for web in farm.webs:
        assert status(web) == 200
        assert notices(web)["shop/always"]["in_force"] is False


def test_up_says_what_is_still_down(farm):
    ctl(farm.web(1), "down", "*", "--reason", "outage")
    assert status(farm.web(2)) == 503
    answer = ctl(farm.web(1), "up", "shop", code=1)
    assert answer["keys"] == [] and [one["key"] for one in answer["left"]] == ["*/operator"]
    ctl(farm.web(1), "up", "*")
    assert status(farm.web(2)) == 200


def test_status_list_show_and_history(farm):
    web = farm.web(1)
    ctl(web, "down", "shop", "--reason", "testing", "--message-de", "Gleich zurück")
    done = run_ctl(web, "down", "shop", "--status")
    assert done.returncode == 1 and "testing" in done.stdout
    assert "shop" in run_ctl(web, "notices").stdout
    shown = run_ctl(web, "notices", "show", "shop/operator").stdout
    assert "message (de): Gleich zurück" in shown and "told by:" in shown
    ctl(web, "up", "shop", "--comment", "ticket 4711")
    assert run_ctl(web, "down", "shop", "--status").returncode == 0
    history = ctl(web, "notices", "history")["history"]
    mine = [one for one in history if one["key"] == "shop/operator"]
    assert [one["act"] for one in mine[-3:]] == ["told", "taken back", "over"]
    assert mine[-2]["why"] == "ticket 4711" and "@" in mine[-2]["by"]
    # The others know who said it as well.
    other = ctl(farm.web(2), "notices", "history")["history"]
    assert any(one["act"] == "told" and one["key"] == "shop/operator" and one["server"] == web.name for one in other)


@pytest.mark.parametrize("arguments, number", [
    (("down", "a b"), "FS1500"), (("down", "shop", "--reason", "Not OK"), "FS1500"),
    (("down", "shop", "--until", "2020-01-01 00:00"), "FS1572"), (("up", "shop", "--id", "none"), "FS0906"),
    (("down", "shop", "--id", "monitor.x"), "FS1573"), (("down", "shop", "--until", "soon"), "FS0906"),
    (("notices", "show", "shop/none"), "FS0906"),
])
def test_bad_input_is_refused_and_changes_nothing(farm, arguments, number):
    done = run_ctl(farm.web(1), *arguments)
    assert done.returncode in (2, 4) and number in done.stderr
    assert notices(farm.web(1)) == {}


# --- HTTP --------------------------------------------------------------------------------------


DOWN = json.dumps({"application": "shop", "state": "down", "reason": "outage"}).encode()


def test_signed_at_any_agent_and_data_server(farm):
    key = os.path.join(farm.directory, "etc", "farm.key")
    for url in (url_of(farm.web(2)), farm.datasrv(1).url, farm.datasrv(2).url):
        where = Agent(url, key)
        wait_until(lambda: try_ask(where, "POST", "/v1/notices", DOWN) == 200, 60, f"{url} to pass it on")
        for web in farm.webs:
            assert status(web) == 503
        assert notices(farm.web(1))["shop/operator"]["who"].startswith("farmsyncctl")
        assert "BEGIN:VCALENDAR" in where.ask("GET", "/v1/notices.ics", raw=True)[1]
        assert where.ask("DELETE", "/v1/notices/shop")[0] == 200
        assert status(farm.web(1)) == 200


def try_ask(where, *arguments):
    try:
        return where.ask(*arguments)[0]
    except Exception:  # noqa: BLE001  # it doesn't know an agent yet
        return None


def test_unsigned_is_refused(farm):
    for url in (url_of(farm.web(1)), farm.datasrv(1).url):
        assert over_tcp(url, "POST", "/v1/notices", DOWN)[0] == 401
        assert over_tcp(url, "DELETE", "/v1/notices/shop")[0] == 401
    assert notices(farm.web(1)) == {}


def test_httpds_account_is_a_monitor(farm):
    if not farm.user.is_root:
        pytest.skip("httpd and the operator are the same account")
    web = farm.web(1)
    ctl(web, "down", "shop", "--id", "db")
    code, answer = as_monitor(farm, web, "POST", "/v1/notices",
                              json.dumps({"application": "mail", "state": "down", "id": "db", "servers": ["web1"]}).encode())
    assert code == 200 and answer["keys"] == ["mail/monitor.db"]
    assert notices(web)["mail/monitor.db"]["role"] == "monitor"
    # Not cleared, not replaced, not overruled.
    assert as_monitor(farm, web, "DELETE", "/v1/notices/shop")[0] == 403
    assert as_monitor(farm, web, "DELETE", "/v1/notices/shop/db")[0] == 404
    code, answer = as_monitor(farm, web, "POST", "/v1/notices", b'{"application":"shop","state":"up","id":"db"}')
    assert code == 403 and answer["problem"] == "FS1571"
    assert status(web) == 503
    assert as_monitor(farm, web, "DELETE", "/v1/notices/mail/db")[0] == 200
    assert list(notices(web)) == ["shop/db"]


def test_a_flood_of_monitors_and_an_operator(farm):
    """Whoever tells too much is slowed down; an operator isn't."""
    if not farm.user.is_root:
        pytest.skip("httpd and the operator are the same account")
    web = farm.web(1)
    flood = [("POST", "/v1/notices?wait=0", json.dumps({"application": "mail", "state": "degraded", "id": "f",
                                                        "servers": ["web1"]}))] * 500
    results = []
    thread = threading.Thread(target=lambda: results.extend(as_monitors(farm, web, flood)))
    thread.start()
    assert ctl(web, "down", "shop")["told"] == SERVERS
    thread.join()
    codes = [code for code, _ in results]
    assert set(codes) == {200, 429} and codes[:20] == [200] * 20
    assert next(answer for code, answer in results if code == 429)["problem"] == "FS1579"
    assert all(status(one) == 503 for one in farm.webs)


@pytest.mark.limit(900)
def test_an_operator_is_first_in_a_flood(farm):
    """Tools with the farm key tell thousands of monitors' notices; an operator's goes by them all."""
    key = os.path.join(farm.directory, "etc", "farm.key")
    count, threads = (100_000, 8) if LONG else (6_000, 4)
    distinct = 1000 if LONG else 50
    stop, told = threading.Event(), [0] * threads

    def flood(number):
        where = Agent(url_of(farm.webs[number % len(farm.webs)]), key)
        for one in range(count // threads):
            body = {"application": "mail", "state": "degraded", "role": "monitor", "id": f"f{number}.{one % distinct}",
                    "servers": ["web1"]}
            where.ask("POST", "/v1/notices?wait=0", json.dumps(body).encode())
            told[number] += 1
            if stop.is_set():
                break

    workers = [threading.Thread(target=flood, args=(number,)) for number in range(threads)]
    for one in workers:
        one.start()
    times = []
    try:
        while any(one.is_alive() for one in workers):
            answer = ctl(farm.web(1), "down", "shop", "--wait", "10000")
            assert answer["told"] == SERVERS
            times.append(answer["ms"])
            assert all(status(one) == 503 for one in farm.webs)
            ctl(farm.web(2), "up", "shop", "--wait", "10000")
            assert all(status(one) == 200 for one in farm.webs)
    finally:
        stop.set()
        for one in workers:
            one.join()
    sizes = [resident_mb(web.agent_process().pid) for web in farm.webs]
    print(f"{sum(told)} notices of monitors; {len(times)} of an operator told in {sorted(times)[len(times) // 2]:.0f} ms "
          f"(median), {max(times):.0f} ms (worst); agents have {max(sizes):.0f} MB")
    assert max(sizes) < 400
    for number in range(threads):
        for one in range(distinct):
            raw(farm.web(1), "DELETE", f"/v1/notices/mail/monitor.f{number}.{one}?wait=0")


def resident_mb(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024


@pytest.mark.limit(900)
def test_garbage_is_refused_and_nothing_breaks(farm):
    """Whatever is sent: an answer, nothing told, the agent alive."""
    web = farm.web(1)
    before = web.agent_process()
    chance = random.Random(6)
    good = bytearray(json.dumps({"application": "shop", "state": "down", "reason": "x", "message": "m",
                                 "from": "2026-11-21T14:00:00Z", "until": "2099-11-21T14:00:00Z",
                                 "weekly": {"days": ["sun"], "start": "02:00", "end": "04:00"},
                                 "servers": ["web1"]}).encode())
    for number in range(20000 if LONG else 400):
        body = bytearray(good)
        for _ in range(chance.randint(1, 8)):
            where = chance.randrange(len(body))
            body[where:where + chance.randint(0, 4)] = bytes(chance.randrange(256) for _ in range(chance.randint(0, 4)))
        code, answer = raw(web, "POST", "/v1/notices?wait=0&unchecked=1", bytes(body))
        assert code in (200, 400, 411, 413), (code, answer, bytes(body))
        if code == 200:
            for key in answer["keys"]:
                raw(web, "DELETE", "/v1/notices/" + key.replace("*", "%2A") + "?wait=0")
    for path in ("/v1/notices/", "/v1/notices//", "/v1/notices/%00", "/v1/notices/" + "x" * 3000, "/v1/notices/shop/" + "y" * 300,
                 "/v1/notices/%ff/%fe"):
        assert raw(web, "DELETE", path)[0] in (400, 404, 431)
        assert raw(web, "GET", path)[0] in (200, 400, 404, 431)
    assert web.agent_process() == before


def test_too_late_is_refused(farm):
    code, answer = raw(farm.web(1), "POST", "/v1/notices?before=1000000", DOWN)
    assert code == 409 and answer["problem"] == "FS1587" and notices(farm.web(1)) == {}


# --- SQL ---------------------------------------------------------------------------------------


def order(farm):
    """The newest order: (state, answer, told_by)."""
    return tuple(farm.sql("SELECT state, answer, told_by FROM farmsync.notices LIMIT 1")[0])


def wait_told(farm, state="told"):
    wait_until(lambda: order(farm)[0] == state, 30, f"the order to be {state}", evidence=lambda: str(order(farm)))
    return order(farm)


def test_sql_reaches_every_server(farm):
    farm.sql("CALL farmsync.app_down('shop', 'planned', UTC_TIMESTAMP(6) + INTERVAL 1 HOUR, 'Bald wieder da')")
    answer = wait_told(farm)[1]
    assert answer.startswith(f"{SERVERS} of {SERVERS} servers in ")
    for web in farm.webs:
        assert status(web) == 503
    notice = notices(farm.web(1))["shop/operator"]
    assert notice["reason"] == "planned" and notice["who"].startswith("root@")
    farm.sql("CALL farmsync.app_up('shop')")
    wait_told(farm)
    for web in farm.webs:
        assert status(web) == 200


def test_sql_with_options_and_what_is_wrong_with_them(farm):
    farm.sql("CALL farmsync.app_down_with('shop', '{\"id\": \"x\", \"servers\": [\"web2\"]}')")
    wait_told(farm)
    assert status(farm.web(2)) == 503 and status(farm.web(1)) == 200
    farm.sql("CALL farmsync.app_down_with('shop', '{\"condition\": \"%{REQUEST_METHOD} !=\"}')")
    assert "FS1508" in wait_told(farm, "refused")[1]
    farm.sql("CALL farmsync.app_up_with('shop', '{\"id\": \"x\"}')")
    wait_told(farm)
    assert status(farm.web(2)) == 200 and notices(farm.web(1)) == {}


def test_orders_are_told_in_order(farm):
    for _ in range(5):
        farm.sql("CALL farmsync.app_down('shop', 'outage', NULL, NULL); CALL farmsync.app_up('shop');")
    wait_until(lambda: farm.sql("SELECT COUNT(*) FROM farmsync.notice WHERE state = 'waiting'")[0][0] == "0", 30,
               "all orders to be told")
    assert farm.sql("SELECT COUNT(*) FROM farmsync.notice n JOIN farmsync.notice m ON m.id > n.id AND "
                    "m.told_at < n.told_at")[0][0] == "0"
    for web in farm.webs:
        assert status(web) == 200


def test_another_data_server_passes_on_what_a_dead_one_took(farm):
    """One is stopped; the order that it had taken is told by the other when its time is over."""
    farm.datasrv(1).kill()
    try:
        farm.sql("INSERT INTO farmsync.notice (at, who, act, application, body, taken_by, taken_until) VALUES "
                 "(UTC_TIMESTAMP(6), 'x@y', 'down', 'shop', '{}', 'ds1', UTC_TIMESTAMP(6) + INTERVAL 2 SECOND);"
                 "CALL farmsync.app_down('mail', 'outage', NULL, NULL)")
        assert wait_told(farm)[2] == "ds2"
        for web in farm.webs:
            assert status(web) == 503 and status(web, "/mail/") == 503
    finally:
        farm.datasrv(1).start()


def test_without_the_database(farm):
    """Agents tell each other whatever becomes of everything central."""
    farm.database.pause()
    try:
        assert ctl(farm.web(1), "down", "shop")["told"] == SERVERS
        for web in farm.webs:
            assert status(web) == 503
        key = os.path.join(farm.directory, "etc", "farm.key")
        assert Agent(farm.datasrv(2).url, key).ask("DELETE", "/v1/notices/shop")[0] == 200
        for web in farm.webs:
            assert status(web) == 200
    finally:
        farm.database.resume()


# --- calendars ---------------------------------------------------------------------------------


def test_a_calendar_there_and_back(farm, tmp_path):
    web = farm.web(1)
    ctl(web, "down", "shop", "--id", "backup", "--weekly", "sun 02:00-04:00", "--zone", "Europe/Berlin", "--reason",
        "backup", "--message-de", "Sicherung, bis vier; dann wieder", "--servers", "web1,web2")
    ctl(web, "down", "mail", "--id", "move", "--from", "2099-12-01 14:00", "--until", "2099-12-01 14:30", "--when",
        "%{REQUEST_METHOD} != 'GET'")
    before = notices(web)
    path = tmp_path / "windows.ics"
    assert ctl(web, "notices", "export", str(path))["events"] == 2
    assert path.read_bytes().startswith(b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\n")
    ctl(web, "up", "shop", "--id", "backup")
    ctl(web, "up", "mail", "--id", "move")
    assert notices(web) == {}
    assert len(ctl(web, "notices", "import", str(path))) == 2
    after = notices(farm.web(2))
    kept = ("application", "id", "state", "reason", "messages", "weekly", "condition", "servers", "until", "role")
    for key, notice in before.items():
        assert {name: after[key].get(name) for name in kept} == {name: notice.get(name) for name in kept}
    # The next release of the calendar cancels one of them.
    text = path.read_text().replace("STATUS:CONFIRMED", "STATUS:CANCELLED", 1)
    path.write_text(text)
    ctl(web, "notices", "import", str(path))
    assert len(notices(web)) == 1


def test_a_calendar_that_is_wrong_tells_nothing(farm, tmp_path):
    path = tmp_path / "wrong.ics"
    path.write_text("BEGIN:VCALENDAR\nVERSION:2.0\nBEGIN:VEVENT\nUID:shop/a\nDTSTART:20991201T140000Z\n"
                    "DTEND:20991201T150000Z\nEND:VEVENT\nBEGIN:VEVENT\nUID:shop/b\nDTSTART:20991201T140000Z\n"
                    "DTEND:20991201T150000Z\nRRULE:FREQ=MONTHLY\nEND:VEVENT\nEND:VCALENDAR\n")
    done = run_ctl(farm.web(1), "notices", "import", str(path))
    assert done.returncode == 2 and 'event "shop/b"' in done.stderr
    assert notices(farm.web(1)) == {}


def test_no_agent_no_traceback():
    done = subprocess.run([CTL, "down", "shop", "--agent", "/nonexistent/agent.sock"], text=True, capture_output=True,
                          check=False)
    assert done.returncode == 3 and "FS0910" in done.stderr and "Traceback" not in done.stderr
