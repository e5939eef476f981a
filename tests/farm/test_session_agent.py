# SPDX-License-Identifier: Apache-2.0
"""
The agent's part in sessions, on real agents and real bank servers, without httpd: copies on the bank,
sessions that change hands, bank servers and hosts that die, stand still and return.
"""

import concurrent.futures as futures
import http.client
import json
import shutil
import signal
import tempfile
import time

import pytest

from bank_client import HANDOVER, IN_SYNC, LATE, Key, batch, item
from farmlib.part import wait_until
from session_hosts import SECONDS, Child, Relay, SessionFarm


@pytest.fixture
def farm():
    """Makes farms of hosts and bank servers."""
    made, directories = [], []

    def make(banks=2, hosts=2, **sessions):
        directories.append(tempfile.mkdtemp(prefix="fssess-", dir="/tmp"))
        made.append(SessionFarm(directories[-1], Key(), banks, hosts, **sessions))
        return made[-1]
    yield make
    for one in made:
        one.end()
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


def new(host, *values):
    made = host.do("new", *values)
    assert "id" in made, made
    return made["id"], bytes.fromhex(made["key"])


def values(host, session, wait=5000):
    answer = host.load(session, wait)
    assert answer.get("http") == 200, (answer, host.log()[-3000:])
    return answer["values"]


# --- to the bank and back ---------------------------------------------------------------------------


def test_a_change_is_on_two_bank_servers_and_found_by_another_host(farm):
    farm = farm(banks=3, hosts=2)
    web1, web2 = farm.hosts
    session, key = new(web1, "a=1", "b=2")
    web1.wait_safe()
    assert len(farm.holders(key)) >= 2
    assert web1.do("read", session)["copies"] == 2
    web1.die()
    assert values(web2, session) == {"a": "1", "b": "2"}
    assert web2.do("read", session)["owner"] == "web2"


def test_a_living_owner_hands_over_and_nothing_is_lost(farm):
    """The session goes to and fro; each host's changes are there at the other at once."""
    farm = farm(hosts=2)
    web1, web2 = farm.hosts
    session, _ = new(web1, "n=0")
    for number in range(1, 9):
        host = farm.hosts[number % 2]
        assert values(host, session)["n"] == str(number - 1)
        saved = host.do("save", session, f"n={number}", f"k{number}=x")
        assert saved.get("values", {}).get("n") == str(number), saved
    found = values(web2, session)
    assert found["n"] == "8" and len(found) == 9
    assert web1.do("read", session) == {"error": "NOTFOUND"}


def test_a_session_that_changes_all_the_time_rests_between_its_copies(farm):
    """Not each change is sent; what is sent last is what was saved last."""
    farm = farm(hosts=1, flush_ms=2000)
    [web1] = farm.hosts
    session, _ = new(web1, "n=0")
    web1.wait_safe()
    before, begun = copies(web1), time.monotonic()
    for number in range(1, 2001):
        web1.do("save", session, f"n={number}")
    web1.wait_safe()
    rests = (time.monotonic() - begun) / 0.25
    assert 2 <= copies(web1) - before <= 2 * (rests + 2)
    web1.kill()
    web1.start()
    assert values(web1, session)["n"] == "2000"


def copies(host):
    """That bank servers have confirmed, one of each of two."""
    return sum(bank["confirmed"] for bank in host.status()["bank"])


def test_an_owner_that_died_is_waited_out(farm):
    farm = farm(hosts=2)
    web1, web2 = farm.hosts
    session, _ = new(web1, "a=1")
    web1.wait_safe()
    web1.kill()
    assert values(web2, session) == {"a": "1"}
    assert web2.do("read", session)["epoch"] == 2


def in_sync(bank):
    return bank.state().flags & IN_SYNC


def test_what_nobody_knows_is_said_to_be_unknown(farm):
    """404 needs all: bank servers that are in sync, and the other hosts. Then it is remembered."""
    farm = farm(hosts=2)
    web1, web2 = farm.hosts
    elsewhere = farm_of_another_time(farm)
    for bank in farm.banks:
        wait_until(lambda bank=bank: in_sync(bank), SECONDS, "the bank to be in sync")
    assert web2.load(elsewhere)["http"] == 404
    taken = [bank.metric('session_requests_total{resource="take"}') for bank in farm.banks]
    assert web2.load(elsewhere)["http"] == 404
    assert taken == [bank.metric('session_requests_total{resource="take"}') for bank in farm.banks]


def farm_of_another_time(farm):
    """An id of this farm, of a session that is nowhere."""
    directory = tempfile.mkdtemp(prefix="fssess-", dir="/tmp")
    child = Child(directory, "nobody", farm.hosts[0].key_file)
    session = child.do("new", "a=1")["id"]
    child.end()
    shutil.rmtree(directory)
    return session


def test_without_an_answer_it_is_not_said_to_be_unknown(farm):
    """The whole bank is away: 503 when the time is over, never 404."""
    farm = farm(hosts=2)
    _, web2 = farm.hosts
    elsewhere = farm_of_another_time(farm)
    for bank in farm.banks:
        bank.stop()
    assert web2.load(elsewhere, 300)["http"] == 503


def test_a_login_and_a_logout_are_seen_by_other_hosts(farm):
    farm = farm(hosts=2)
    web1, web2 = farm.hosts
    before, _ = new(web1, "a=1")
    after = web1.do("move", before)["id"]
    assert web2.load(before)["state"] == "alias"
    assert values(web2, after) == {"a": "1"}
    web2.do("end", after)
    assert web1.load(after)["state"] == "ended"


# --- confirmed before the visitor is answered -------------------------------------------------------


def test_an_ack_waits_for_the_copies(farm):
    farm = farm(hosts=1)
    [web1] = farm.hosts
    session, key = new(web1, "a=1")
    asked = web1.do("ack", session, 2)
    assert (asked["http"], asked["answer"]) == (200, {"copies": 2, "possible": 2})
    assert len(farm.holders(key)) == 2
    assert web1.do("ack", session, 1)["answer"]["copies"] == 2


def test_an_ack_is_bounded(farm):
    """A server stands still: who waits for it is told when his time is over, or that no more can be
    had as soon as it doesn't count any more."""
    farm = farm(hosts=1, lease_ms=3000)
    [web1] = farm.hosts
    wait_until(lambda: all(one["state"] == "up" for one in web1.status()["bank"]), SECONDS, "up")
    farm.banks[0].process.send_signal(signal.SIGSTOP)
    session, _ = new(web1, "a=1")
    assert web1.do("ack", session, 1)["http"] == 200
    late = web1.do("ack", session, 2, 200)
    assert (late["http"], late["answer"]["copies"]) == (504, 1)
    less = web1.do("ack", session, 2, 20000)
    assert (less["http"], less["answer"]) == (200, {"copies": 1, "possible": 1})


# --- bank servers die and return --------------------------------------------------------------------


def fill(host, count):
    return [new(host, f"n={number}") for number in range(count)]


def placed(farm, sessions, copies=2):
    """A server that stood still for a moment has had its place taken by another: more are fine."""
    return all(len(farm.holders(key)) >= copies for _, key in sessions)


def test_the_next_in_rank_gets_what_a_dead_bank_server_had(farm):
    farm = farm(banks=3, hosts=1)
    [web1] = farm.hosts
    sessions = fill(web1, 30)
    web1.wait_safe()
    assert placed(farm, sessions)
    farm.banks[0].kill()
    wait_until(lambda: placed(farm, sessions), SECONDS, "all to have two copies again", web1.log)
    web1.wait_protected()


def test_a_bank_server_that_returns_empty_is_brought_everything(farm):
    farm = farm(banks=2, hosts=1)
    [web1] = farm.hosts
    sessions = fill(web1, 30)
    web1.wait_safe()
    farm.banks[0].kill()
    shutil.rmtree(farm.banks[0].data)
    more = fill(web1, 10)
    wait_until(lambda: web1.status()["bank"][0]["state"] == "down", SECONDS, "it to be missed")
    farm.banks[0].start()
    wait_until(lambda: placed(farm, sessions + more), SECONDS, "both to have all", web1.log)
    wait_until(lambda: in_sync(farm.banks[0]), SECONDS, "it to be in sync", web1.log)
    web1.wait_protected()


def test_a_bank_server_that_returns_old_is_brought_up_to_date(farm):
    farm = farm(banks=2, hosts=2)
    web1, web2 = farm.hosts
    sessions = fill(web1, 20)
    web1.wait_safe()
    farm.banks[0].process.send_signal(signal.SIGSTOP)
    wait_until(lambda: web1.status()["bank"][0]["state"] == "down", SECONDS, "it to be missed")
    for session, _ in sessions:
        web1.do("save", session, "n=new")
    web1.wait_safe()
    farm.banks[0].process.send_signal(signal.SIGCONT)
    wait_until(lambda: in_sync(farm.banks[0]) and web1.status()["unprotected"] == 0, SECONDS,
               "it to be in sync", web1.log)
    web1.die()
    farm.banks[1].kill()
    assert [values(web2, session)["n"] for session, _ in sessions] == ["new"] * 20


def test_the_whole_bank_is_away_and_back(farm):
    """Everyone works on with what he has; then all that changed is sent."""
    farm = farm(banks=2, hosts=1)
    [web1] = farm.hosts
    sessions = fill(web1, 10)
    web1.wait_safe()
    for bank in farm.banks:
        bank.kill()
    wait_until(lambda: web1.status()["alone"], SECONDS, "the host to be alone")
    for session, _ in sessions:
        assert values(web1, session)
        web1.do("save", session, "m=1")
    sessions += fill(web1, 10)
    assert web1.status()["unprotected"] == 20
    assert web1.do("ack", sessions[0][0], 1)["answer"] == {"copies": 0, "possible": 0}
    for bank in farm.banks:
        bank.start()
    web1.wait_bank()
    web1.wait_protected()
    assert placed(farm, sessions)


def pause(*processes):
    """Its machine is off, as others see it: nothing is answered, and nothing refused."""
    for one in processes:
        one.process.send_signal(signal.SIGSTOP)


def test_the_other_of_two_machines_is_off_and_nobody_listens_where_the_bank_was(farm):
    """So nobody else can have it, and this host goes on by itself."""
    farm = farm(hosts=2)
    web1, web2 = farm.hosts
    session, _ = new(web1, "a=1")
    web1.wait_protected()
    web2.pause()
    for bank in farm.banks:
        bank.kill()
    wait_until(lambda: web1.status()["alone"], SECONDS, "the host to be alone")
    assert values(web1, session) == {"a": "1"}
    web1.do("save", session, "b=2")
    for bank in farm.banks:
        bank.start()
    web2.go_on()
    web1.wait_protected()
    assert values(web2, session) == {"a": "1", "b": "2"}


def test_a_host_to_which_nobody_answers_works_on_by_order(farm):
    """It can't know whether others have the bank, and took its sessions: an operator has to say that they don't."""
    farm = farm(hosts=2)
    web1, web2 = farm.hosts
    session, _ = new(web1, "a=1")
    web1.wait_protected()
    assert web1.call("POST", "/v1/sessions/alone")[0] == 409, "the bank answers"
    web2.pause()
    pause(*farm.banks)
    wait_until(lambda: not any(bank["state"] == "up" for bank in web1.status()["bank"]), SECONDS,
               "the bank to be out of reach")
    assert web1.load(session, 300)["http"] == 503
    assert not web1.status()["alone"]
    assert web1.call("POST", "/v1/sessions/alone")[0] == 200
    wait_until(lambda: web1.status()["alone"], SECONDS, "the order to count")
    assert values(web1, session) == {"a": "1"}
    web1.do("save", session, "b=2")
    for bank in farm.banks:
        bank.process.send_signal(signal.SIGCONT)
    web1.wait_protected()
    assert not web1.status()["alone"]
    web2.go_on()
    assert values(web2, session) == {"a": "1", "b": "2"}
    web2.pause()
    pause(*farm.banks)
    wait_until(lambda: not any(bank["state"] == "up" for bank in web1.status()["bank"]), SECONDS,
               "the bank to be out of reach again")
    assert web1.load(session, 300)["http"] == 503, "the order ended when the bank answered"
    for bank in farm.banks:
        bank.process.send_signal(signal.SIGCONT)
    web2.go_on()


def test_a_bank_server_is_drained_and_used_again(farm):
    farm = farm(banks=3, hosts=1)
    [web1] = farm.hosts
    sessions = fill(web1, 30)
    web1.wait_safe()
    name = farm.banks[0].address
    assert web1.call("POST", f"/v1/sessions/drain?server={name}")[0] == 200
    assert web1.call("POST", "/v1/sessions/drain?server=nobody")[0] == 404
    web1.wait_protected()
    farm.banks[0].kill()
    assert placed(farm, sessions)
    web1.stop()
    web1.start()
    assert web1.status()["bank"][0]["state"] == "draining"
    farm.banks[0].start()
    assert web1.call("POST", f"/v1/sessions/undrain?server={name}")[0] == 200
    wait_until(lambda: web1.status()["bank"][0]["state"] == "up", SECONDS, "it to be used")
    web1.wait_protected()


# --- hosts stand still, their agents die ------------------------------------------------------------


def test_an_owner_that_stood_still_is_fenced(farm):
    """Its session went on elsewhere: what it had is not served, what it had changed is merged."""
    farm = farm(hosts=2)
    web1, web2 = farm.hosts
    session, _ = new(web1, "a=1")
    web1.wait_safe()
    web1.pause()
    assert values(web2, session) == {"a": "1"}
    web2.do("save", session, "b=2")
    web2.wait_safe()
    web1.go_on()
    assert values(web1, session) == {"a": "1", "b": "2"}
    web1.do("save", session, "c=3")
    assert values(web2, session) == {"a": "1", "b": "2", "c": "3"}


def test_an_owner_whom_only_the_bank_does_not_hear_is_asked(farm):
    """The bank gives his session away; his newest changes are had from himself."""
    farm = farm(hosts=2)
    web1, web2 = farm.hosts
    web1.banks = [Relay(bank) for bank in farm.banks]
    web1.start()
    wait_until(lambda: web2.knows_peers() and web1.knows_peers(), SECONDS, "them to meet again")
    session, _ = new(web1, "a=1")
    web1.wait_protected()
    for relay in web1.banks:
        relay.cut()
    wait_until(lambda: not any(bank["state"] == "up" for bank in web1.status()["bank"]), SECONDS,
               "the bank to be out of reach")
    assert values(web1, session) == {"a": "1"}, "web2 says that it doesn't have it"
    assert not web1.status()["alone"], "web2 has the bank"
    web1.do("save", session, "b=2")
    assert values(web2, session) == {"a": "1", "b": "2"}
    assert web1.do("read", session) == {"error": "NOTFOUND"}
    web2.do("save", session, "c=3")
    for relay in web1.banks:
        relay.mend()
    wait_until(lambda: all(bank["state"] == "up" for bank in web1.status()["bank"]), SECONDS,
               "the bank to be back")
    assert values(web1, session) == {"a": "1", "b": "2", "c": "3"}
    web1.wait_protected()
    web2.wait_protected()
    for relay in web1.banks:
        relay.close()


def test_two_that_were_cut_off_from_each_other_lose_nothing(farm):
    """Neither bank nor hosts reach one of them: both work on; afterwards all changes are there."""
    farm = farm(hosts=2)
    web1, web2 = farm.hosts
    web1.banks = [Relay(bank) for bank in farm.banks]
    web1.start()
    session, _ = new(web1, "a=1")
    web1.wait_protected()
    for relay in web1.banks:
        relay.cut()
    web1.do("save", session, "b=1")
    web1.agent.send_signal(signal.SIGSTOP)
    assert values(web2, session) == {"a": "1"}
    web2.do("save", session, "c=2")
    web2.wait_safe()
    web1.agent.send_signal(signal.SIGCONT)
    for relay in web1.banks:
        relay.mend()
    wait_until(lambda: web2.do("read", session).get("values") == {"a": "1", "b": "1", "c": "2"},
               SECONDS, "both changes", lambda: web1.log()[-3000:] + web2.log()[-3000:])
    assert values(web1, session) == {"a": "1", "b": "1", "c": "2"}
    for relay in web1.banks:
        relay.close()


def test_late_changes_of_a_fenced_owner_are_not_lost(farm):
    """It changed something just before it stood still, and had not sent it yet."""
    farm = farm(hosts=2, flush_ms=60000)
    web1, web2 = farm.hosts
    session, _ = new(web1, "a=1")
    web1.wait_safe()
    web1.do("hold", session)
    web1.do("save", session, "late=1")
    web1.pause()
    assert values(web2, session) == {"a": "1"}
    web2.do("save", session, "b=2")
    web1.go_on()
    web1.do("done", session)
    wait_until(lambda: web2.do("read", session)["values"] == {"a": "1", "b": "2", "late": "1"},
               SECONDS, "the late change", lambda: web1.log()[-3000:] + web2.log()[-3000:])


def test_what_was_let_go_is_kept_until_it_has_all_its_copies(farm):
    """Who has it next dies, and so does the only bank server that could be told: the others return."""
    farm = farm(banks=3, hosts=2)
    web1, web2 = farm.hosts
    session, key = new(web1, "a=1")
    web1.wait_protected()
    places = farm.holders(key)[:2]
    [other] = [bank for bank in farm.banks if bank not in places]
    pause(*places)
    wait_until(lambda: sum(bank["state"] == "down" for bank in web1.status()["bank"]) == 2, SECONDS,
               "two bank servers to be missed", web1.log)
    web1.do("save", session, "late=1")
    web1.wait_safe()
    assert values(web2, session) == {"a": "1", "late": "1"}
    web2.wait_safe()
    time.sleep(3)  # what has them is forgotten after 2 s
    assert web1.do("count")["sessions"] == 1, web1.log()[-3000:]
    web2.die()
    other.kill()
    for bank in places:
        bank.process.send_signal(signal.SIGCONT)
    assert values(web1, session, 20000) == {"a": "1", "late": "1"}


def test_requests_that_are_under_way_are_waited_for(farm):
    """A hand-over comes after what a request has begun, for the flush time at most."""
    farm = farm(hosts=2, flush_ms=3000)
    web1, web2 = farm.hosts
    session, _ = new(web1, "a=1")
    web1.wait_safe()
    web1.do("hold", session)
    with futures.ThreadPoolExecutor(1) as pool:
        loading = pool.submit(values, web2, session)
        wait_until(lambda: web1.said("FS1374"), SECONDS, "the question to be there")
        web1.do("save", session, "b=2")
        web1.do("done", session)
        assert loading.result() == {"a": "1", "b": "2"}


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_an_agent_that_is_started_anew_loses_nothing(farm, how):
    farm = farm(hosts=1)
    [web1] = farm.hosts
    sessions = fill(web1, 10)
    if how == "kill":
        web1.kill()
    else:
        web1.agent.terminate()
        web1.agent.wait(20)
    for session, _ in sessions:
        web1.do("save", session, "m=1")
    web1.start()
    web1.wait_bank()
    web1.wait_protected()
    assert placed(farm, sessions)
    assert [values(web1, session)["m"] for session, _ in sessions] == ["1"] * 10


def test_one_agent_takes_over_from_another(farm):
    """As at a graceful restart, with another list of bank servers."""
    farm = farm(banks=3, hosts=1)
    [web1] = farm.hosts
    web1.banks = farm.banks[:2]
    web1.start()
    sessions = fill(web1, 20)
    web1.wait_safe()
    web1.banks = farm.banks[1:]
    web1.start()
    web1.agents[-2].wait(20)
    web1.wait_bank()
    web1.wait_protected()
    farm.banks[0].kill()
    assert placed(farm, sessions)
    assert values(web1, sessions[0][0])


# --- in the crowd -----------------------------------------------------------------------------------


def test_parallel_requests_for_one_session_fetch_it_once(farm):
    farm = farm(hosts=2)
    web1, web2 = farm.hosts
    session, _ = new(web1, "a=1")
    web1.wait_safe()
    web1.die()
    children = [web2.child() for _ in range(12)]
    with futures.ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda child: child.do("load", session, 5000), children))
    assert [one["values"] for one in found] == [{"a": "1"}] * 12
    assert {one["epoch"] for one in found} == {2}


def test_two_hosts_that_want_a_session_at_once_agree(farm):
    """Its owner died; both are asked for it by turns while it is being taken."""
    farm = farm(hosts=3)
    web1, web2, web3 = farm.hosts
    sessions = fill(web1, 10)
    web1.wait_safe()
    web1.die()
    with futures.ThreadPoolExecutor(2) as pool:
        for session, _ in sessions:
            a = pool.submit(values, web2, session)
            b = pool.submit(values, web3, session)
            assert a.result() == b.result()
    for session, _ in sessions:
        values(web2, session)
        assert "values" in web2.do("save", session, "x=2")
        values(web3, session)
        assert web3.do("save", session, "y=3")["values"]["x"] == "2"


def test_many_sessions_move_when_a_host_dies(farm):
    farm = farm(banks=3, hosts=2)
    web1, web2 = farm.hosts
    sessions = fill(web1, 300)
    web1.wait_safe()
    web1.die()
    children = [web2.child() for _ in range(8)]

    def load(number):
        return [children[number].do("load", session, 5000)["values"]["n"]
                for session, _ in sessions[number::8]]
    with futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(load, range(8)))
    for number in range(8):
        assert found[number] == [str(n) for n in range(number, 300, 8)]


# --- what operators and strangers ask ---------------------------------------------------------------


def test_sessions_are_listed_without_values(farm):
    farm = farm(hosts=2)
    web1, web2 = farm.hosts
    session, key = new(web1, "site-user=joe", "secret=pssst")
    for number in range(4):
        new(web1, f"site-user=ann{number % 2}")
    web1.wait_safe()
    first = web1.get("/v1/sessions?limit=3")[1]
    rest = web1.get(f"/v1/sessions?limit=3&after={first['next']}")[1]
    listed = first["sessions"] + rest["sessions"]
    assert len({one["key"] for one in listed}) == 5 and rest["next"] is None
    assert "pssst" not in json.dumps(listed) and session not in json.dumps(listed)
    status, one = web1.get(f"/v1/sessions/id/{session}")
    assert (status, one["key"], one["user"], one["protected"]) == (200, key.hex(), "joe", True)
    assert web1.get(f"/v1/sessions/key/{key.hex()}")[1] == one
    assert web2.get(f"/v1/sessions/key/{key.hex()}")[0] == 404
    assert web1.get("/v1/sessions/key/xyz")[0] == 400
    assert web1.get("/v1/sessions/id/" + "A" * 32)[0] == 400


def test_sessions_are_ended_wherever_they_are(farm):
    farm = farm(hosts=2)
    web1, web2 = farm.hosts
    joe = [new(host, "site-user=joe")[0] for host in farm.hosts]
    ann, key = new(web1, "site-user=ann")
    status, body = web2.call("DELETE", "/v1/sessions/user/joe")
    assert (status, json.loads(body)) == (200, {"ended": 2})
    for session in joe:
        assert web1.load(session)["state"] == web2.load(session)["state"] == "ended"
    assert values(web1, ann)
    assert web2.call("DELETE", f"/v1/sessions/key/{key.hex()}")[0] == 200
    assert web1.load(ann)["state"] == "ended"


def test_garbage_is_refused(farm):
    """From whoever, signed or not: nothing happens to sessions, and the agent goes on."""
    farm = farm(hosts=1)
    [web1] = farm.hosts
    session, key = new(web1, "a=1")
    web1.wait_safe()
    good = batch(HANDOVER, [item(key)])

    def post(path, body, origin="web9"):
        connection = http.client.HTTPConnection("127.0.0.1", web1.port, timeout=30)
        headers = {"FarmSync-Auth": farm.key.header(origin, "POST", path, body)} if origin else {}
        connection.request("POST", path, body=body, headers=headers)
        return connection.getresponse().status
    assert post("/v1/sessions/handover", good, origin=None) == 401
    late = batch(LATE, [item(key, version=(9, 9, 9), expires=2 ** 62, sealed=b"x" * 100)])
    for path in ("/v1/sessions/handover", "/v1/sessions/late"):
        for body in (b"", b"garbage", good[:-3], late[:-1], good + b"x", bytes(4096)):
            assert post(path, body) == 400, (path, body)
    assert post("/v1/sessions/late", late) == 200
    assert post("/session/fetch", bytes(48)) in (404, 405)
    assert web1.call("POST", "/session/fetch", b"short")[0] == 400
    assert web1.call("POST", "/session/fetch?wait=-1", bytes(48))[0] == 400
    assert web1.call("POST", "/session/ack", bytes(35))[0] == 400
    assert web1.call("POST", "/session/ack?copies=99", bytes(36))[0] == 400
    assert values(web1, session) == {"a": "1"}
    assert post("/v1/sessions/handover", good) == 200
    assert web1.do("read", session) == {"error": "NOTFOUND"}
