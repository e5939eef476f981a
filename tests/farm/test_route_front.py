# SPDX-License-Identifier: Apache-2.0
"""httpds that route, with mod_proxy_farmsync: a front of capacity 0 that passes everything on, and one whose
mod_proxy_balancer has the farm's servers as members. tests/tools/fs_route_table stands in for the agents.

Names in capitals are of scenarios of other products' test suites.
"""

import contextlib
import http.client
import itertools
import json
import os
import signal
import subprocess
import threading

import pytest

from farmlib import paths, proc
from lone_httpd import DEADLINE_S, LoneHttpd, crashes, wait_for
from route_httpd import Affinity, RouteHttpd, ask, token

LONG = os.environ.get("FARMSYNC_TEST_LONG") == "1"
SHOP = ("web2", "web3", "web4")
LOAD = (f'LoadModule proxy_farmsync_module "{paths.built("mod_farmsync/mod_proxy_farmsync.so")}"\n'
        "LogLevel proxy_farmsync:info\n")


def make(name, mpm="event", settings="", modules=(), route="proxy", locations=""):
    web = RouteHttpd(name, mpm, LOAD + settings, locations, modules, route)
    web.configure()
    return web


def table(*webs, **more):
    return {web.name: {"url": web.url, "capacity": 0 if web.name == "front" else 100,
                       **more.get(web.name, {})} for web in webs}


class Shop:
    """A front and three servers of the farm."""

    def __init__(self, mpm="event", front="", modules=(), route="proxy"):
        self.homes = [make(name) for name in SHOP]
        members = "".join(f'    BalancerMember "{home.url}" route={home.name}\n' for home in self.homes)
        self.front = make("front", mpm, "FarmSyncCapacity 0\n" + front.replace("MEMBERS", members), modules, route)
        self.webs = [self.front, *self.homes]
        for web in self.webs:
            web.start()
        self.publish()

    def publish(self, **more):
        for web in self.webs:
            if web.table:
                web.publish(table(*self.webs, **more))

    def home(self, name):
        return self.homes[SHOP.index(name)]

    def mend(self):
        """As at first."""
        for web in self.webs:
            if not web.process or web.process.poll() is not None:
                web.start()
        self.publish()
        if self.front.route == "proxy":  # it suspects for a second who was away
            for home in self.homes:
                wait_for(lambda: self.reaches(home), f"{home.name} to be suspected no more")

    def reaches(self, home):
        other = next(name for name in SHOP if name != home.name)
        reply = ask(self.front, cookie=Affinity(primary=home.name, alternate=other))
        return reply.status == 200 and reply.said["server"] == home.name

    def end(self):
        logs = [web.log() for web in self.webs]
        for web in self.webs:
            web.remove()
        for log in logs:
            assert not crashes(log), log


@pytest.fixture(scope="module", params=["event", "prefork"])
def passing(request):
    shop = Shop(request.param)
    yield shop
    shop.end()


@pytest.fixture
def shop(passing):
    passing.mend()
    return passing


def from_address(web, address, path="/echo"):
    """A client with an address of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=DEADLINE_S,
                                            source_address=(address, 0))
    connection.request("GET", path)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return json.loads(text)


# --- a front of capacity 0 that passes on ----------------------------------------------------------


def test_a_front_is_nobody_s_home(shop):
    for _ in range(12):
        reply = ask(shop.front)
        assert reply.said["server"] == reply.affinity.primary in SHOP
        assert reply.affinity.alternate in SHOP and reply.affinity.alternate != reply.affinity.primary
        again = ask(shop.front, cookie=reply.cookie)
        assert again.said["server"] == reply.affinity.primary
        assert again.said["route"] == reply.affinity.primary


def test_the_home_sees_the_visitor_and_not_the_front(shop):
    said = from_address(shop.front, "127.0.0.77")
    assert said["server"] in SHOP and said["address"] == "127.0.0.77"
    assert "token" not in said


def test_mod_proxy_cluster_MAINTESTS_stop_a_node(shop):
    """The home dies: its visitors, and only they, are with their alternates at once."""
    replies = [ask(shop.front) for _ in range(9)]
    gone = replies[0].affinity.primary
    shop.home(gone).stop()
    for reply in replies:
        after = ask(shop.front, cookie=reply.cookie)
        if reply.affinity.primary == gone:
            assert after.said["server"] == reply.affinity.alternate == after.affinity.primary
            assert after.affinity.generation > reply.affinity.generation
            assert ask(shop.front, cookie=after.cookie).said["server"] == after.affinity.primary
        else:
            assert after.said["server"] == reply.affinity.primary


def test_mod_proxy_cluster_BASETESTS_a_node_is_stopped_and_started(shop):
    """Again and again: its visitors are always served, and new ones come to it again."""
    for _ in range(25 if LONG else 2):
        home, other = shop.homes[1:]
        cookie = Affinity(primary=home.name, alternate=other.name)
        home.stop()
        assert ask(shop.front, cookie=cookie).said["server"] == other.name
        assert ask(shop.front, "/missing", cookie=cookie).status == 404
        shop.mend()


def test_mod_proxy_cluster_MAINTESTS_sticky_over_two_applications(shop):
    """On one connection, with one cookie."""
    home = ask(shop.front).affinity
    connection = http.client.HTTPConnection("127.0.0.1", shop.front.port, timeout=DEADLINE_S)
    for path in ("/echo", "/proxy") * 3:
        connection.request("GET", path, headers={"Cookie": f"farmsync={home.text()}"})
        answer = connection.getresponse()
        assert json.loads(answer.read())["server"] == home.primary
    connection.close()


def test_a_home_that_takes_its_time_is_waited_for(shop):
    reply, before = ask(shop.front), shop.front.log().count("FS1646")
    after = ask(shop.front, "/echo?slow", cookie=reply.cookie)
    assert after.said["server"] == reply.affinity.primary and shop.front.log().count("FS1646") == before


@contextlib.contextmanager
def standing_still(web):
    """kill -STOP of a whole machine: connections are made, nobody answers."""
    stopped = []

    def stop(*pids):
        living = [one for one in map(proc.identify, pids) if one]
        stopped.extend(living)
        for one in living:
            proc.send(one, signal.SIGSTOP)
        wait_for(lambda: all(proc.paused(one) or not proc.alive(one) for one in living), f"{web.name} to stand still")
    try:
        stop(web.process.pid)  # first, or it might make another child meanwhile
        stop(*web.children())
        yield
    finally:
        for one in stopped:
            proc.send(one, signal.SIGCONT)


def test_mod_proxy_cluster_HANGINGTESTS_a_node_is_suspended(shop):
    """Whoever waits gets his answer from the alternate, once the farm knows; but not what might be done twice."""
    reply = ask(shop.front)
    home = shop.home(reply.affinity.primary)
    found, posted = [], []
    before = shop.front.log().count("FS1646")
    post = threading.Thread(target=lambda: posted.append(ask(shop.front, cookie=reply.cookie, method="POST",
                                                             body=b"once")))
    with standing_still(home):
        waiting = [threading.Thread(target=lambda: found.append(ask(shop.front, cookie=reply.cookie)))
                   for _ in range(2)]
        for one in [post, *waiting]:
            one.start()
        wait_for(lambda: waits_at(home) >= 3, "three who wait")
        assert not found, [(one.status, one.body) for one in found]
        for web in shop.webs:
            if web is not home:
                web.publish(table(*shop.webs, **{home.name: {"state": "suspect"}}))
        for one in waiting:
            one.join(DEADLINE_S)
        assert [one.said["server"] for one in found] == [reply.affinity.alternate] * 2
        assert not posted
    post.join(DEADLINE_S)
    assert (posted[0].said["server"], posted[0].said["body"]) == (home.name, "once")
    assert shop.front.log().count("FS1646") == before + 2  # it isn't asked a second time


def test_mod_proxy_cluster_HANGINGTESTS_the_only_node_is_suspended(shop):
    """503, and all is well when it goes on."""
    home, *others = shop.homes
    gone = {other.name: {"state": "dead"} for other in others}
    cookie, found = Affinity(primary=home.name, alternate=others[0].name), []
    shop.publish(**gone)
    with standing_still(home):
        waiting = threading.Thread(target=lambda: found.append(ask(shop.front, cookie=cookie)))
        waiting.start()
        wait_for(lambda: waits_at(home), "somebody who waits")
        shop.front.publish(table(*shop.webs, **gone, **{home.name: {"state": "suspect"}}))
        waiting.join(DEADLINE_S)
        assert found[0].status == 503
    shop.publish(**gone)
    wait_for(lambda: shop.reaches(home), "it to serve again")


def waits_at(home):
    """How many requests it hasn't read."""
    said = subprocess.run(["ss", "-Htn", "state", "established", "sport", f"= :{home.port}"], text=True,
                          capture_output=True, check=True).stdout
    return sum(line.split()[0] != "0" for line in said.splitlines())


def test_nobody_there_is_503(shop):
    reply = ask(shop.front)
    for home in shop.homes:
        home.stop()
    for cookie in (None, reply.cookie):
        after = ask(shop.front, cookie=cookie)
        assert after.status == 503 and after.cookie is None


def test_LOOP_of_two_that_send_to_each_other(shop):
    """One takes the other for the home, which is drained and takes the first one for it."""
    web2, web3, mark = shop.home("web2"), shop.home("web3"), f"turn={next(MARKS)}"
    web3.publish(table(*shop.webs, web3={"state": "draining"}))
    reply = ask(web2, f"/echo?{mark}", cookie=Affinity(primary="web3", alternate="web2"))
    assert reply.said["server"] == "web2"
    ask(web2, f"/echo?{mark}-after", cookie=Affinity(primary="web2", alternate="web3"))
    web2.logged(f"GET /echo?{mark}-after HTTP/1.1|home|web2")
    with open(web2.path("access.log"), encoding="utf-8") as log:
        assert sum(f"?{mark} " in line for line in log) <= 2


def test_LOOP_of_two_that_are_full(shop):
    full = {name: {"primaries": 100} for name in SHOP}
    for name in SHOP:  # each knows itself, and takes the others for empty
        shop.home(name).publish(table(*shop.webs, **{name: full[name]}))
    for _ in range(6):
        reply = ask(shop.home("web2"))
        assert reply.said["server"] in SHOP and reply.affinity.primary == reply.said["server"]


def test_a_forged_header_is_ignored_and_counted(shop):
    home = shop.home("web2")
    cookie = ask(home).cookie
    where = ask(home, cookie=cookie).said["server"]
    forged = [token("proxy", "front", "web2", address="192.0.2.1", secret="8" * 64), "x", "."]
    before = home.count("token_forged")
    for text in forged:
        reply = ask(home, cookie=cookie, headers={"FarmSync-Route": text})
        assert reply.said["address"] == "127.0.0.1" and "token" not in reply.said
        assert reply.said["server"] in ("web2", where)
    assert home.count("token_forged") - before == len(forged)


def test_a_client_s_own_header_goes_nowhere(shop):
    reply = ask(shop.front, headers={"FarmSync-Route": "abc", "Connection": "FarmSync-Route"})
    assert reply.status in (200, 503)  # a front doesn't serve, and doesn't pass on what went round
    if reply.status == 200:
        assert "token" not in reply.said


# --- a front with mod_proxy_balancer -----------------------------------------------------------------

BALANCER = """
CustomLog members.log "%{BALANCER_WORKER_ROUTE}e %q"
FarmSyncRouteVisitor "%{HTTP:X-Who}"
<Proxy "balancer://shop">
MEMBERS
    ProxySet lbmethod=farmsync
</Proxy>
<Proxy "balancer://sticky">
MEMBERS
    ProxySet lbmethod=byrequests stickysession=farmsync
</Proxy>
ProxyPreserveHost On
ProxyPass "/sticky/" "balancer://sticky/"
ProxyPass "/shop/" "balancer://shop/"
"""


@pytest.fixture(scope="module")
def balancing():
    shop = Shop(front=BALANCER, route="balancer",
                modules=("slotmem_shm", "proxy_balancer", "lbmethod_byrequests"))
    yield shop
    shop.end()


@pytest.fixture
def members(balancing):
    balancing.mend()
    return balancing


PATHS = ("/shop/echo", "/sticky/echo")


@pytest.mark.parametrize("path", PATHS)
def test_a_member_is_chosen_by_the_cookie(members, path):
    for name in SHOP:
        for _ in range(4):
            reply = ask(members.front, path, cookie=Affinity(primary=name, alternate="web2"))
            assert reply.said["server"] == name


@pytest.mark.parametrize("path", PATHS)
def test_the_member_of_a_dead_home_is_the_alternate(members, path):
    members.publish(web3={"state": "dead"})
    for alternate in ("web2", "web4"):
        for _ in range(4):
            cookie = Affinity(primary="web3", alternate=alternate)
            sent = {name: members.home(name).count("proxied") for name in SHOP}
            reply = ask(members.front, path, cookie=cookie)
            assert reply.said["server"] == reply.affinity.primary == alternate
            assert sent == {name: members.home(name).count("proxied") for name in SHOP}


@pytest.mark.parametrize("path", PATHS)
def test_a_forged_cookie_chooses_nobody_and_arrives(members, path):
    """What a client writes behind the dot is believed by nobody; what it sends gets to the member."""
    forged = {name: members.home(name).count("cookie_forged") for name in SHOP}
    served = {ask(members.front, path, cookie=f"{'A' * 90}.web3").said["server"] for _ in range(12)}
    assert len(served) > 1
    assert sum(members.home(name).count("cookie_forged") - forged[name] for name in SHOP) >= 12


@pytest.mark.parametrize("path", PATHS)
def test_other_cookies_arrive(members, path):
    affinity = Affinity(primary="web3", alternate="web2")
    reply = ask(members.front, path, headers={"Cookie": f"a=1; farmsync={affinity.text()}; b=2"})
    assert reply.said["server"] == "web3" and reply.cookie is None  # it was believed there


def test_haproxy_BALANCE_by_the_lowest_ratio(members):
    members.publish(web2={"primaries": 50}, web3={"primaries": 10}, web4={"primaries": 40})
    first = [ask(members.front, "/shop/echo").said["server"] for _ in range(20)]
    assert first.count("web3") >= 18
    members.publish(web2={"capacity": 10000}, web3={"primaries": 10}, web4={"primaries": 10})
    assert [ask(members.front, "/shop/echo").said["server"] for _ in range(5)] == ["web2"] * 5


MARKS = itertools.count()


def turns(front, count, path="/shop/echo"):
    """Which members mod_proxy_balancer chooses for so many new visitors; all of them are served."""
    mark = f"?turn={next(MARKS)}"
    for _ in range(count):
        assert front.get(path + mark).status == 200
    wait_for(lambda: len(logged(front, mark)) == count, "the log")
    return logged(front, mark)


def logged(front, mark):
    with open(front.path("members.log"), encoding="utf-8") as file:
        lines = [line.split() for line in file if line.endswith("\n")]
    return [words[0] for words in lines if words[1:] == [mark] and words[0] != "-"]


def test_equal_members_take_turns(members):
    """What was sent to a member counts before it says so itself."""
    found = turns(members.front, 12)
    assert [found.count(name) for name in SHOP] == [4, 4, 4]


@pytest.mark.parametrize("state", ["dead", "suspect", "draining"])
def test_haproxy_DRAIN_nobody_new_goes_there(members, state):
    members.publish(web2={"state": state}, web4={"state": state})
    assert {ask(members.front, "/shop/echo").said["server"] for _ in range(6)} == {"web3"}
    assert turns(members.front, 6) == ["web3"] * 6  # and nobody had to be sent on from there
    members.publish(**{name: {"state": state} for name in SHOP})  # rather there than nowhere
    assert ask(members.front, "/shop/echo").status in (200, 503)


def test_mod_proxy_cluster_MODCLUSTER_785_a_member_is_killed(members):
    cookie = Affinity(primary="web3", alternate="web4")
    members.home("web3").stop()
    for _ in range(4):  # the front has not heard of it yet
        assert ask(members.front, "/shop/echo", cookie=cookie).said["server"] in ("web2", "web4")
        assert ask(members.front, "/shop/echo").status == 200
    members.mend()


def test_mod_proxy_cluster_MODCLUSTER_755_five_hundred_members(members):
    more = {f"node{number}": {"url": f"http://127.0.0.1:{number + 1}", "state": "draining"} for number in range(497)}
    names = "".join(f'    BalancerMember "{one["url"]}" route={name}\n' for name, one in more.items())
    front = make("front", settings="FarmSyncCapacity 0\n" + BALANCER.replace(
        "MEMBERS", names + "".join(f'    BalancerMember "{home.url}" route={home.name}\n' for home in members.homes)),
        modules=("slotmem_shm", "proxy_balancer", "lbmethod_byrequests"), route="balancer")
    front.start()
    try:
        front.publish({**more, **table(front, *members.homes)})
        for name in SHOP:
            assert ask(front, "/shop/echo", cookie=Affinity(primary=name, alternate="node1")).said["server"] == name
            assert ask(front, "/shop/echo", cookie=Affinity(primary="node7", alternate=name)).said["server"] == name
        found = turns(front, 9)
        assert [found.count(name) for name in SHOP] == [3, 3, 3]
    finally:
        front.remove()


def test_a_farm_that_nothing_is_known_of(members):
    """Without a table, as without the agent, members take turns."""
    front = LoneHttpd("event", modules=("slotmem_shm", "proxy", "proxy_http", "proxy_balancer"), settings=LOAD +
                      'CustomLog members.log "%{BALANCER_WORKER_ROUTE}e %q"\n'
                      '<Proxy "balancer://shop">\n' + "".join(f'BalancerMember "{home.url}" route={home.name}\n'
                                                              for home in members.homes)
                      + 'ProxySet lbmethod=farmsync\n</Proxy>\nProxyPass "/" "balancer://shop/"\n')
    front.start()
    try:
        found = turns(front, 12, "/echo")
        assert [found.count(name) for name in SHOP] == [4, 4, 4]
    finally:
        front.remove()
