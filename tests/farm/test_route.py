# SPDX-License-Identifier: Apache-2.0
"""
Routing in the request processes: three httpds, each of which is told by a tool what the servers are.
"""

import http.client
import json
import os
import shutil
import subprocess
import threading
import time

import pytest

from avail_fixtures import Teller
from farmlib import paths
from route_httpd import Affinity, RouteHttpd, Table, ask, session_id, token

DAY = 24 * 60
NAMES = ("web1", "web2", "web3")
LOCATIONS = """
ErrorDocument 404 /gone.shtml
"""


@pytest.fixture(scope="module")
def farm():
    webs = {name: RouteHttpd(name, "prefork" if name == "web3" else "event", locations=LOCATIONS,
                             settings='FarmSyncRouteVisitor "%{HTTP:X-User}"\nFarmSyncApplication shop /redirect /echo')
            for name in NAMES}
    for web in webs.values():
        with open(web.path("htdocs", "gone.shtml"), "w", encoding="ascii") as file:
            file.write('gone <!--#include virtual="/part.html" -->')
        with open(web.path("htdocs", "part.html"), "w", encoding="ascii") as file:
            file.write("part")
        with open(web.path("htdocs", "page.shtml"), "w", encoding="ascii") as file:
            file.write('page <!--#include virtual="/part.html" -->')
        web.configure()
        web.teller = Teller(web.state)
        web.start()
    yield webs
    for web in webs.values():
        web.teller.close()
        web.remove()


@pytest.fixture
def webs(farm):
    """The three, all alive and empty."""
    tell(farm)
    return [farm[name] for name in NAMES]


def tell(farm, **told):
    """Each server gets the same table: tell(farm, web1={"primaries": 90})."""
    farm = farm if isinstance(farm, dict) else dict(zip(NAMES, farm))
    servers = {name: {"url": farm[name].url, **told.get(name, {})} for name in NAMES}
    for web in farm.values():
        web.publish(servers)


def follow(webs, reply, cookie=None, **options):
    """Goes where the redirect leads to: (server, reply)."""
    assert reply.status == 307, (reply.status, reply.body)
    web = next(one for one in webs if reply.location.startswith(one.url + "/"))
    return web, ask(web, reply.location[len(web.url):], cookie, **options)


def arrive(webs, web, path, cookie=None):
    """Goes to a server, and from there where it may send: (server that serves, reply)."""
    reply = ask(web, path, cookie)
    return follow(webs, reply, cookie) if reply.status == 307 else (web, reply)


def minutes():
    return int(time.time() / 60)


def counted(web, what):
    """What is counted from here on."""
    before = web.count(what)
    return lambda: web.count(what) - before


# --- a new visitor

def test_a_new_visitor_is_at_home_where_he_came(webs):
    new = counted(webs[0], "new")
    reply = ask(webs[0])
    home = reply.affinity
    assert (home.primary, home.generation) == ("web1", 1)
    assert home.alternate in ("web2", "web3")
    assert home.made in (minutes(), minutes() - 1)
    assert reply.said["route"] == "web1" and reply.said["alternate"] == home.alternate
    assert reply.said["changed"] == "1"
    assert "private" in reply.headers["Cache-Control"]
    assert webs[0].known(home.id) == ("web1", home.alternate, 1, False, "-")
    assert new() == 1
    again = ask(webs[0], cookie=home)
    assert again.cookie is None and "changed" not in again.said
    assert again.said["route"] == "web1"
    assert webs[0].known(home.id)[3], "he came back, so he is one who keeps cookies"
    assert new() == 1


def test_the_alternate_is_in_another_rack(webs):
    """Although it is fuller than the one in the same rack; without one, any other will do."""
    tell(webs, web1={"rack": "a"}, web2={"rack": "a"}, web3={"rack": "b", "primaries": 60})
    assert {ask(webs[0]).affinity.alternate for _ in range(5)} == {"web3"}
    tell(webs, web1={"rack": "a"}, web2={"rack": "a"}, web3={"rack": "b", "state": "dead"})
    assert ask(webs[0]).affinity.alternate == "web2"


def test_cookie_attributes_are_safe(webs):
    attributes = ask(webs[0]).cookies[0][2]
    assert "HttpOnly" in attributes and "SameSite=Lax" in attributes and "Path=/" in attributes


def test_requests_at_home_are_known_without_a_look(webs):
    home = ask(webs[0]).affinity
    at_home = counted(webs[0], "home")
    for _ in range(20):
        reply = ask(webs[0], cookie=home)
        assert reply.cookie is None and reply.said["route"] == "web1"
    assert at_home() == 20


def test_who_has_enough_sends_a_new_visitor_on_once(webs):
    tell(webs, web1={"primaries": 60}, web2={"primaries": 70}, web3={"primaries": 10})
    out, new, bounced = counted(webs[0], "bounces_out"), counted(webs[2], "new"), counted(webs[2], "bounces_in")
    sent = ask(webs[0], "/redirect?a=1&b=2")
    assert sent.cookie is None and "no-store" in sent.headers["Cache-Control"]
    web, reply = follow(webs, sent)
    assert web is webs[2]
    assert reply.said["args"] == "a=1&b=2" and "farmsync-route" not in reply.said["request"]
    assert reply.affinity.primary == "web3"
    assert (out(), bounced(), new()) == (1, 1, 1)
    web.logged("GET /redirect?a=1&b=2 HTTP/1.1|new|web3")  # without a token


def test_who_gets_the_last_bounce_keeps_the_visitor(webs):
    tell(webs, web1={"primaries": 60}, web2={"primaries": 10}, web3={"primaries": 60})
    sent = ask(webs[0], "/redirect")
    tell(webs, web2={"primaries": 70})  # meanwhile
    web, reply = follow(webs, sent)
    assert web is webs[1] and reply.status == 200 and reply.affinity.primary == "web2"


def test_two_that_bounce_to_each_other(webs):
    """Each thinks that it is the other one that has room."""
    servers = {name: {"url": web.url} for name, web in zip(NAMES[:2], webs)}
    for web in webs[:2]:
        web.publish({**servers, web.name: {"url": web.url, "primaries": 79}})
    sent = ask(webs[0], "/redirect")
    web, reply = follow(webs, sent)
    assert web is webs[1] and reply.status == 200 and reply.affinity.primary == "web2"


def test_where_nothing_is_sent_on_whoever_comes_stays(webs):
    tell(webs, web1={"primaries": 90})
    assert ask(webs[0], "/serve").affinity.primary == "web1"


def test_off_means_off(webs):
    reply = ask(webs[0], "/off")
    assert reply.cookie is None and "route" not in reply.said


def test_a_server_without_a_table_serves(webs):
    web = RouteHttpd("web9", route="redirect")
    try:
        web.start()
        assert ask(web).status == 200
        assert ask(web, cookie=Affinity(primary="web1")).status == 200
    finally:
        web.remove()


# --- a request that reaches another server

def test_serve_adopts(webs):
    home = ask(webs[0]).affinity
    adopted = counted(webs[1], "adopted")
    reply = ask(webs[1], "/serve", home)
    now = reply.affinity
    assert (now.id, now.primary, now.generation) == (home.id, "web2", 2)
    assert now.alternate != "web2"
    assert webs[1].known(home.id) == ("web2", now.alternate, 2, True, "web1")
    assert adopted() == (home.alternate != "web2")
    assert ask(webs[1], "/serve", now).cookie is None


def test_redirect_leads_home(webs):
    home = ask(webs[0]).affinity
    sent = ask(webs[2], "/redirect?x=y", home)
    web, reply = follow(webs, sent, home)
    assert web is webs[0] and reply.cookie is None
    assert reply.said["route"] == "web1" and reply.said["args"] == "x=y"


def test_redirect_carries_who_it_is_where_the_cookie_isnt_sent(webs):
    home = ask(webs[0]).affinity
    web, reply = follow(webs, ask(webs[1], "/redirect", home))
    assert web is webs[0]
    assert (reply.affinity.id, reply.affinity.generation, reply.affinity.primary) == (home.id, 1, "web1")


def test_a_home_that_nobody_knows_the_way_to_keeps_its_visitor(webs):
    """It lives, so neither its alternate nor who was reached takes him over."""
    home = Affinity(primary="web1", alternate="web3", generation=4)
    tell(webs, web1={"url": "-", "public": "-"})
    adopted = counted(webs[1], "adopted")
    reply = ask(webs[1], "/redirect", home)
    assert reply.status == 200 and reply.cookie is None and reply.said["server"] == "web2"
    assert (webs[1].known(home.id), adopted()) == (None, 0)
    assert "FS1656" in webs[1].log()


def test_redirect_keeps_method_and_body(webs):
    home = ask(webs[0]).affinity
    sent = ask(webs[1], "/redirect", home, method="POST", body=b"x" * 100000)
    _, reply = follow(webs, sent, home, method="POST", body=b"hello=world")
    assert reply.said["method"] == "POST" and reply.said["body"] == "hello=world"


def test_connection_goes_on_after_a_redirect(webs):
    home = ask(webs[0]).affinity
    connection = http.client.HTTPConnection("127.0.0.1", webs[1].port, timeout=20)
    headers = {"Cookie": f"farmsync={home.text()}"}
    for body in (b"a" * 50000, b"b" * 10, None):
        connection.request("POST" if body else "GET", "/redirect", body, headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 307
    used = connection.sock
    connection.request("GET", "/off", headers=headers)
    assert connection.getresponse().status == 200 and connection.sock is used
    connection.close()


# --- whose home can't be reached

@pytest.mark.parametrize("state", ["dead", "suspect", "draining"])
def test_the_alternate_takes_over(webs, state):
    home = Affinity(primary="web1", alternate="web2", generation=5)
    tell(webs, web1={"state": state})
    took = counted(webs[1], "taken_over")
    reply = ask(webs[1], cookie=home)
    now = reply.affinity
    assert (now.primary, now.alternate, now.generation, now.id) == ("web2", "web3", 6, home.id)
    assert webs[1].known(home.id) == ("web2", "web3", 6, True, "web1")
    assert took() == 1


def test_a_third_server_sends_to_the_alternate_which_believes_it(webs):
    """The alternate has not heard yet that the home is gone."""
    home = Affinity(primary="web1", alternate="web2", generation=1)
    tell(webs, web1={"state": "dead"})
    sent = ask(webs[2], "/redirect", home)
    tell(webs)
    web, reply = follow(webs, sent, home)
    assert web is webs[1]
    assert (reply.affinity.primary, reply.affinity.generation) == ("web2", 2)


def test_both_are_gone(webs):
    home = Affinity(primary="web1", alternate="web2", generation=3)
    tell(webs, web1={"state": "dead"}, web2={"state": "dead"})
    now = ask(webs[2], "/redirect", home).affinity
    assert (now.id, now.primary, now.generation) == (home.id, "web3", 4)


def test_only_visitors_of_the_dead_one_move(webs):
    stays = ask(webs[1]).affinity
    tell(webs, web1={"state": "dead"})
    reply = ask(webs[1], cookie=stays)
    if stays.alternate == "web1":
        assert reply.affinity.alternate == "web3", "somebody else stands by now"
    else:
        assert reply.cookie is None
    assert reply.said["route"] == "web2"


def test_a_draining_server_gives_its_visitors_away(webs):
    home = ask(webs[0]).affinity
    tell(webs, web1={"state": "draining"})
    web, reply = follow(webs, ask(webs[0], "/redirect", home), home)
    assert web.name == home.alternate
    assert (reply.affinity.primary, reply.affinity.generation) == (web.name, 2)


def test_busy_workers_move_nobody_who_has_a_home(webs):
    """A burst keeps new visitors away and nobody else, wherever he arrives."""
    home = ask(webs[0]).affinity
    tell(webs, web1={"busy": 100, "workers": 100})
    for web in webs:
        reached, reply = arrive(webs, web, "/redirect", home)
        assert (reached.name, reply.cookie) == ("web1", None)
    reached, _ = arrive(webs, webs[0], "/redirect")
    assert reached.name != "web1"


def test_a_server_over_its_limit_for_long_gives_visitors_away(webs):
    homes = [ask(webs[0]).affinity for _ in range(16)]
    for shed in (4, 8):
        tell(webs, web1={"shed": shed})
        left = [home for home in homes if int.from_bytes(home.id[4:8], "little") % 8 < shed]
        for home in homes:
            web, reply = arrive(webs, webs[0], "/redirect", home)
            assert web.name == (home.alternate if home in left else "web1")
            assert (reply.affinity.generation == 2 if home in left else reply.cookie is None)
        homes = [home for home in homes if home not in left]
    assert not homes


# --- cookies

def test_a_forged_cookie_is_as_if_it_werent_there(webs):
    forged = counted(webs[0], "cookie_forged")
    reply = ask(webs[0], cookie=Affinity(primary="web2").text(secret="8" * 64))
    assert reply.affinity.primary == "web1" and forged() == 1
    for text in ("x", "", ".web2", "A" * 4000, "%00", Affinity().text()[:-30]):
        assert ask(webs[0], cookie=text or "farmsync=").affinity.primary == "web1"


def test_a_good_cookie_behind_a_forged_one_counts(webs):
    home = ask(webs[0]).affinity
    reply = ask(webs[0], headers={"Cookie": f"farmsync=forged.web2; a=b; farmsync={home.text()}"})
    assert reply.cookie is None and reply.said["route"] == "web1"


def test_an_older_cookie_is_replaced(webs):
    first = ask(webs[0]).affinity
    tell(webs, web1={"state": "dead"})
    second = ask(webs[1], "/serve", first).affinity
    tell(webs)
    stale = counted(webs[1], "cookie_stale")
    reply = ask(webs[1], cookie=first)
    assert reply.said["route"] == "web2"
    assert (reply.affinity.generation, reply.affinity.primary) == (second.generation, "web2")
    assert stale() == 1


def test_a_newer_cookie_than_what_is_known_counts(webs):
    first = ask(webs[0]).affinity
    newer = Affinity(first.id, 9, primary="web1", alternate="web3")
    assert ask(webs[0], cookie=newer).cookie is None
    assert webs[0].known(first.id)[:3] == ("web1", "web3", 9)


def test_cookie_of_a_server_that_no_longer_exists(webs):
    unknown = counted(webs[1], "cookie_unknown")
    home = Affinity(primary="web8", alternate="web2", generation=4)
    assert (ask(webs[1], cookie=home).affinity.primary, unknown()) == ("web2", 1)
    nobody = Affinity(primary="web8", alternate="web9", generation=4)
    reply = ask(webs[0], cookie=nobody)
    assert (reply.affinity.id, reply.affinity.primary, reply.affinity.generation) == (nobody.id, "web1", 5)


def test_returning_after_a_day(webs):
    """Nobody knows him any more: he is new, with his id; at his old home if that would take anybody."""
    expired = counted(webs[0], "cookie_expired")
    old = Affinity(primary="web1", made=minutes() - DAY, generation=2)
    reply = ask(webs[0], cookie=old)
    assert (reply.affinity.id, reply.affinity.primary, reply.affinity.generation) == (old.id, "web1", 3)
    assert expired() == 1
    there = Affinity(primary="web1", made=minutes() - DAY)
    assert follow(webs, ask(webs[1], "/redirect", there), there)[0] is webs[0]
    tell(webs, web1={"primaries": 70}, web2={"primaries": 40}, web3={"primaries": 40})
    full = Affinity(primary="web1", made=minutes() - DAY, generation=2)
    assert ask(webs[1], "/redirect", full).affinity.primary == "web2"


def test_a_server_that_lost_its_store_knows_its_visitors_by_their_cookies(webs):
    home = Affinity(primary="web1", alternate="web2", generation=7)
    assert ask(webs[0], cookie=home).cookie is None
    assert webs[0].known(home.id) == ("web1", "web2", 7, True, "-")


# --- tokens

def test_a_token_counts_once(webs):
    tell(webs, web1={"primaries": 60})
    sent = ask(webs[0], "/redirect")
    web, first = follow(webs, sent)
    replayed = counted(web, "token_replayed")
    _, second = follow(webs, sent)
    assert replayed() == 1
    assert second.affinity is None or second.affinity.id != first.affinity.id


def test_forged_and_expired_tokens(webs):
    forged, expired = counted(webs[1], "token_forged"), counted(webs[1], "token_expired")
    visitor = os.urandom(12)
    for text in (token(secret="8" * 64, visitor=visitor), "x", "A" * 5000, token("proxy", visitor=visitor)):
        reply = ask(webs[1], f"/serve?a=1&farmsync-route={text}")
        assert reply.affinity.id != visitor and reply.said["args"] == "a=1"
    assert forged() == 4
    reply = ask(webs[1], f"/serve?farmsync-route={token(visitor=visitor, lives=-1)}")
    assert expired() == 1 and reply.affinity.id != visitor and "args" not in reply.said
    ask(webs[1], f"/serve?farmsync-route={token(visitor=visitor, lives=3600)}")
    assert expired() == 2


def test_a_token_for_another_server_says_nothing_but_that_it_goes_round(webs):
    visitor = os.urandom(12)
    text = token(to="web3", visitor=visitor, hops=9)
    tell(webs, web2={"primaries": 90})
    reply = ask(webs[1], f"/redirect?farmsync-route={text}")
    assert reply.status == 200 and reply.affinity.id != visitor and reply.affinity.primary == "web2"
    home = Affinity(primary="web1", generation=1)
    loops = counted(webs[1], "loops")
    reply = ask(webs[1], f"/redirect?farmsync-route={token(to='web3', hops=2)}", home)
    assert reply.status == 200 and reply.affinity.primary == "web2" and loops() == 1


def test_the_parameter_is_taken_out_wherever_it_stands(webs):
    for sent, left in (("farmsync-route=x", None), ("a=1&farmsync-route=x", "a=1"), ("farmsync-route=x&b=2", "b=2"),
                       ("a=1&farmsync-route=x&b=2", "a=1&b=2"), ("a-farmsync-route=x", "a-farmsync-route=x"),
                       ("farmsync-route=x&farmsync-route=y&c=3", "c=3"), ("farmsync-route=", None)):
        said = ask(webs[0], f"/serve?{sent}").said
        assert said.get("args") == left, sent
        assert said["request"] == f"GET /serve{'?' + left if left else ''} HTTP/1.1"


def test_a_passed_on_request_brings_its_client(webs):
    visitor = os.urandom(12)
    text = token("proxy", sender="web1", to="web2", visitor=visitor, address="192.0.2.7", flags=1 | 4)
    reply = ask(webs[1], "/redirect", headers={"FarmSync-Route": text})
    assert reply.affinity.id == visitor and reply.affinity.primary == "web2"
    assert reply.said["address"] == "192.0.2.7" and "token" not in reply.said
    assert "; Secure" in reply.cookies[0][2], "the client speaks TLS with the server that it reached"


def test_a_passed_on_request_with_a_bad_token_stays(webs):
    home = Affinity(primary="web1", generation=1)
    for text in ("x", token("proxy", secret="8" * 64, address="192.0.2.7")):
        reply = ask(webs[1], "/redirect", home, headers={"FarmSync-Route": text})
        assert reply.said["server"] == "web2" and reply.said["address"] == "127.0.0.1"
        assert reply.cookie is None


# --- clients without cookies

def test_known_by_an_expression(webs):
    user = {"X-User": f"anna{time.time()}"}
    first = ask(webs[0], headers=user)
    assert first.affinity.primary == "web1"
    for _ in range(3):
        reply = ask(webs[0], headers=user)
        assert reply.said["route"] == "web1" and reply.cookie is None
    assert webs[0].known(first.affinity.id)[3]
    tell(webs, web1={"state": "draining"})
    web, reply = follow(webs, ask(webs[0], "/redirect", headers=user), headers=user)
    assert web.name == first.affinity.alternate
    assert reply.affinity.id == first.affinity.id


def test_first_requests_at_the_same_moment_agree_on_one_home(webs):
    """A browser sends several at once before it has a cookie; who is known without one is one visitor."""
    for index in range(3):
        user, replies, together = {"X-User": f"all{index}{time.time()}"}, [], threading.Barrier(12)

        def come(user=user, replies=replies, together=together):
            together.wait()
            replies.append(ask(webs[0], headers=user))

        threads = [threading.Thread(target=come) for _ in range(12)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        [visitor] = {reply.affinity.id for reply in replies if reply.affinity}
        assert {reply.said["route"] for reply in replies} == {"web1"}
        home = webs[0].known(visitor)
        assert home[0] == "web1" and home[2] == 1
        later = ask(webs[0], headers=user)
        assert later.said["route"] == "web1" and webs[0].known(visitor)[:3] == home[:3]


# --- all are full

def test_full_farm_serves_or_refuses_politely(webs):
    full = {name: {"primaries": 95} for name in NAMES}
    tell(webs, **full)
    assert ask(webs[0], "/redirect").affinity.primary == "web1"
    web = RouteHttpd("web1", settings="FarmSyncRouteFull refuse\nErrorDocument 503 /busy.html")
    try:
        with open(web.path("htdocs", "busy.html"), "w", encoding="ascii") as file:
            file.write("come back later")
        web.start()
        web.publish({"web1": {"url": web.url, "primaries": 85}, "web2": {"url": webs[1].url, "primaries": 85}})
        reply = ask(web)
        assert reply.status == 503 and reply.headers["Retry-After"] == "10" and reply.cookie is None
        assert b"come back later" in reply.body
        home = Affinity(primary="web1", alternate="web2")
        assert ask(web, cookie=home).status == 200, "who has a home here is served"
        assert web.count("refused") == 1
    finally:
        web.remove()


def test_robin_goes_round_by_capacity(webs):
    web = RouteHttpd("web1", settings="FarmSyncRouteAssign robin", route="redirect")
    try:
        web.start()
        web.publish({"web1": {"url": web.url, "capacity": 100}, "web2": {"url": webs[1].url, "capacity": 200},
                     "web3": {"url": webs[2].url, "capacity": 300}})
        went = {name: 0 for name in NAMES}
        for _ in range(12):
            reply = ask(web)
            went["web1" if reply.status == 200 else "web2" if webs[1].url in reply.location else "web3"] += 1
        assert went == {"web1": 2, "web2": 4, "web3": 6}
    finally:
        web.remove()


# --- what isn't routed

def test_pages_about_this_server_are_its_own(webs):
    home = Affinity(primary="web2", generation=1)
    tell(webs, web1={"primaries": 90})
    for path in ("/farmsync/status", "/farmsync/status?json", "/server-status?auto", "/farmsync/data"):
        reply = ask(webs[0], path, home)
        assert reply.status in (200, 503) and reply.cookie is None, path


def test_what_is_down_is_refused_before_it_is_sent_on(webs):
    web, other, _ = webs
    sent, new, home = counted(web, "redirected"), counted(web, "new"), Affinity(primary="web2")
    web.teller.tell({"application": "shop", "message": "at three"})
    try:
        for path, cookie in (("/redirect", home), ("/redirect", None), ("/echo", None)):
            reply = ask(web, path, cookie)
            assert reply.status == 503 and b"at three" in reply.body and reply.cookie is None
        assert (sent(), new()) == (0, 0)
    finally:
        web.teller.tell()
    assert follow(webs, ask(web, "/redirect", home), home)[0] is other
    assert sent() == 1


def test_haproxy_CHECKS_who_only_asks_is_no_visitor(webs):
    """A balancer that looks each second, a monitor, a browser before a request to another site."""
    new, home = counted(webs[0], "new"), counted(webs[0], "home")
    tell(webs, web1={"primaries": 90})  # nor are they sent on
    for method, path in (("HEAD", "/redirect"), ("OPTIONS", "/redirect"), ("GET", "/farmsync/status/health"),
                         ("GET", "/off")):
        for _ in range(20):
            reply = ask(webs[0], path, method=method)
            assert reply.status in (200, 503) and reply.cookie is None, (method, path, reply.status)
    assert new() == 0
    visitor = Affinity(primary="web1", alternate="web2")
    assert ask(webs[0], "/redirect", visitor, method="HEAD").status == 200
    assert home() == 1, "who is known is a visitor, whatever he asks for"


def test_subrequests_and_error_documents_belong_to_their_request(webs):
    new = counted(webs[0], "new")
    reply = ask(webs[0], "/page.shtml")
    assert reply.body == b"page part" and reply.affinity
    reply = ask(webs[0], "/missing")
    assert reply.status == 404 and reply.body.startswith(b"gone") and reply.affinity
    assert new() == 2


def over_http2(url, *options):
    return subprocess.run(["curl", "-sS", "--http2-prior-knowledge", "-o", os.devnull, "-w",
                           "%{http_version} %{http_code} %header{location} %header{set-cookie}", *options, url],
                          text=True, capture_output=True, timeout=60, check=True).stdout


def test_http2(webs):
    web = RouteHttpd("web1", modules=("http2",), settings="Protocols h2c http/1.1", route="redirect")
    if "http2_module" not in web.run("-M")[1] or not shutil.which("curl"):
        web.remove()
        pytest.skip("mod_http2 or curl isn't here")
    try:
        web.start()
        web.publish({"web1": {"url": web.url}, "web2": {"url": webs[1].url}})
        home = Affinity(primary="web2", alternate="web1")
        said = over_http2(web.url + "/echo?q", "-H", f"Cookie: farmsync={home.text()}")
        assert said.startswith(f"2 307 {webs[1].url}/echo?q&farmsync-route="), said
        said = over_http2(web.url + "/echo")
        assert said.startswith("2 200  farmsync="), said
    finally:
        web.remove()


# --- restarts, status, configuration

def test_graceful_restart_keeps_homes(webs):
    home = ask(webs[0]).affinity
    assert ask(webs[0], cookie=home).cookie is None
    for _ in range(200 if os.environ.get("FARMSYNC_TEST_LONG") == "1" else 1):
        webs[0].graceful()
    at_home = counted(webs[0], "home")
    assert ask(webs[0], cookie=home).said["route"] == "web1"
    assert at_home() == 1 and webs[0].known(home.id)[0] == "web1"


@pytest.mark.parametrize("used", [False, True])
def test_homes_outlive_a_reboot_if_nobody_had_the_store_open(used):
    """... for what is written to it then is on no disk when the host goes down."""
    web = RouteHttpd("web1")
    web.configure()
    web.start()
    try:
        web.publish({"web1": {"url": web.url}})
        home = ask(web).affinity
        assert ask(web, cookie=home).said["route"] == "web1"
        agent = Table(web.state) if used else None
        web.stop()
        if agent:
            agent.close()
        with open(os.path.join(web.state, "route", "visitors", "boot"), "r+", encoding="ascii") as file:
            said = file.read().split()[1]
            file.seek(0)
            file.truncate()
            file.write(f"another-boot {said}\n")
        web.start()
        web.publish({"web1": {"url": web.url}})
        assert (web.known(home.id) is None) == used and ("FS1615" in web.log()) == used
    finally:
        web.remove()


def test_status_tells_who_is_home_where(webs):
    tell(webs, web2={"primaries": 7, "capacity": 70, "rack": "b", "state": "draining"})
    routing = json.loads(webs[0].get("/farmsync/status?json").body)["routing"]
    assert routing["server"] == "web1"
    two = next(one for one in routing["servers"] if one["name"] == "web2")
    assert (two["state"], two["primaries"], two["capacity"], two["rack"]) == ("draining", 7, 70, "b")
    assert routing["counts"]["new"] >= 1
    metrics = webs[0].get("/farmsync/status?metrics").text
    assert 'farmsync_route_primaries{server="web2"} 7\n' in metrics
    assert 'farmsync_route_alive{server="web2"} 0\n' in metrics
    assert "<td>web1 (this one)</td>" in webs[0].get("/farmsync/status").text
    assert "FarmSyncRoute[web2]Primaries: 7\n" in webs[0].get("/server-status?auto").text


PROBLEMS = {
    "FarmSyncCapacity many": "FS1625", "FarmSyncBounces 9": "FS1625", "FarmSyncBusy 0": "FS1625",
    "FarmSyncSlack 0.9": "FS1626", "FarmSyncRouteIdle 1": "FS1627", "FarmSyncRouteRamp x": "FS1627",
    "FarmSyncRouteFull maybe": "FS1628", "FarmSyncRouteAssign x": "FS1628", "FarmSyncRouteURL ftp://x": "FS1629",
    "FarmSyncRouteURL http://x/path": "FS1629", 'FarmSyncRack "a b"': "FS1630", "FarmSyncRouteReturn soon": "FS1631",
    "FarmSyncRouteReturn idle 0": "FS1631", "FarmSyncAlternateSync never": "FS1632", "FarmSyncAgentCheck 99": "FS1633",
    'FarmSyncRouteCookie "a b"': "FS1623", 'FarmSyncRouteCookie a "Path=/; Path=/"': "FS1623",
    'FarmSyncRouteVisitor "%{nonsense:"': "FS1624", "FarmSyncRouteBy magic": "FS1622",
    "FarmSyncRouteBy proxy": "FS1634",
}


@pytest.fixture(scope="module")
def unstarted():
    web = RouteHttpd("web1", route="redirect")
    yield web
    web.remove()


@pytest.mark.parametrize("setting", PROBLEMS)
def test_configtest_names_the_remedy(unstarted, setting):
    unstarted.own_settings = setting
    unstarted.configure()
    code, said = unstarted.run("-t")
    assert code != 0 and PROBLEMS[setting] in said, said


def test_configtest_finds_what_is_missing(unstarted):
    unstarted.own_settings = ""
    unstarted.configure()
    assert unstarted.run("-t")[0] == 0
    path = unstarted.path("httpd.conf")
    with open(path, encoding="utf-8") as file:
        text = file.read()
    for directive, number in (("FarmSyncKeyFile", "FS1620"), ("FarmSyncListen", "FS1621"),
                              ("FarmSyncRouteURL", "FS1635")):
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(line for line in text.splitlines()
                                 if not line.startswith(directive)
                                 and not (directive == "FarmSyncKeyFile" and line.startswith("FarmSyncListen"))))
        code, said = unstarted.run("-t")
        assert code != 0 and number in said, said


def test_known_by_the_session(webs):
    """Who keeps the session's cookie only; a session id that isn't the farm's tells nobody apart."""
    module = paths.built("mod_farmsync/mod_session_farmsync.so")
    web = RouteHttpd("web1", modules=("session", "request"),
                     settings=f'LoadModule session_farmsync_module "{module}"\n<Location "/serve">\nSession On\n'
                     'SessionFarmSyncCookieName session path=/\n</Location>')
    try:
        web.start()
        web.publish({"web1": {"url": web.url}, "web2": {"url": webs[1].url}})
        visitors = []
        for session in (session_id(1), session_id(1), session_id(2), "A" * 32):
            visitors.append(ask(web, "/serve", headers={"Cookie": f"session={session}"}).affinity)
        assert visitors[0] and visitors[1] is None, "he was known"
        assert visitors[2] and visitors[2].id != visitors[0].id
        assert ask(web, "/serve", headers={"Cookie": f"session={session_id(1)}"}).affinity is None
        assert ask(web, "/serve", headers={"Cookie": "session=" + "A" * 32}).affinity.id != visitors[3].id
    finally:
        web.remove()
