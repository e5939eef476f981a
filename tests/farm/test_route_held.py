# SPDX-License-Identifier: Apache-2.0
"""
What the alternate has when a visitor's home is dead: his session, though the whole bank is away, and the
mirror of what he was sent. Two web servers with their agents, and two bank servers.
"""

import json
import os
import shutil
import struct
import subprocess
import tempfile

import pytest

from bank_client import Bank, Key
from farmlib import paths, ports
from lone_httpd import crashes, wait_for
from route_httpd import Affinity
from session_httpd import build_module
from session_webs import Web
from unix_http import UnixConnection

PAGE = "Prices of the day, line by line.\n" * 40
PLACES = """
<Location "/app">
    SetHandler counter
    Session On
    SessionFarmSyncCookieName session
    SessionFarmSyncTimeout 5s
    SessionFarmSyncAck 1
</Location>
<LocationMatch "^/(change|three|end)/">
    FarmSyncReuse On
    FarmSyncReuseWait 5000
</LocationMatch>
<Location "/change/">
    FarmSyncReuseMirror change
</Location>
<Location "/three/">
    FarmSyncReuseMirror 3
</Location>
<Location "/end/">
    FarmSyncReuseMirror end
</Location>
"""


class RouteWeb(Web):
    def __init__(self, name, application, key, banks, port, peers, sync):
        self.name, self.sync, self.others = name, sync, peers[1:]
        super().__init__(name, application, key, banks, port, peers[0])

    def configure(self, extra=""):
        loads, _, locations = self.own
        lines = [*self.lines, *(f"FarmSyncPeer 127.0.0.1:{port}" for port in self.others), "FarmSyncRoute On", "FarmSyncRouteBy serve", f"FarmSyncAlternateSync {self.sync}",
                 f"FarmSyncRouteURL http://127.0.0.1:{self.port}", "FarmSyncRouteRamp 0"]
        self.own = (loads, "\n".join(lines), PLACES)
        super().configure(extra)
        self.own = (loads, self.own[1], locations)
        for place in ("change", "three", "end"):
            os.makedirs(self.path("htdocs", place), exist_ok=True)
        self.write(PAGE)

    def write(self, text):
        for place in ("change", "three", "end"):
            for name in ("page", "other", "third"):
                path = self.path("htdocs", place, name + ".shtml")
                with open(path, "w", encoding="ascii") as file:
                    file.write(text)
                os.utime(path, (1600000000, 1600000000 + len(text)))

    def ask_agent(self, method, path, body=None):
        connection = UnixConnection(os.path.join(self.state, "agent.sock"))
        try:
            connection.request(method, path, body and json.dumps(body))
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def sees_alive(self):
        servers = self.ask_agent("GET", "/v1/route")[1]["servers"]
        return sum(server["state"] == "alive" for server in servers)

    def ahead(self):
        return self.ask_agent("GET", "/v1/sessions/status")[1]["ahead"]

    def mirrors(self, visitor):
        """The version of the mirror that is here of this visitor, and that may be used here; 0 none."""
        with open(os.path.join(self.state, "reuse-mirrors"), "rb") as file:
            _, found, behind = file.read().partition(visitor.affinity.id)
        if not found:
            return 0
        _, _, _, outdated, _, version = struct.unpack_from("@IIIiiQ", behind)
        return 0 if outdated else version


class Farm:
    def __init__(self, application, webs=2, sync="change"):
        self.directory = tempfile.mkdtemp(prefix="fsheld-", dir="/tmp")
        self.banks, self.webs = [], []
        key = Key()
        try:
            self.banks = [Bank(self.directory, key, f"bank{i}", port) for i, port in enumerate(ports.take(2))]
            for bank in self.banks:
                bank.peers = [other for other in self.banks if other is not bank]
                bank.start()
            agents = ports.take(webs)
            for i, port in enumerate(agents):
                peers = [other for other in agents if other != port]
                self.webs.append(RouteWeb(f"web{i + 1}", application, key, self.banks, port, peers, sync))
            for web in self.webs:
                web.up()
            for web in self.webs:
                wait_for(lambda web=web: web.sees_alive() == len(self.webs), "all servers to see each other")
        except BaseException:
            self.end()
            raise

    def web(self, name):
        return next(web for web in self.webs if web.name == name)

    def stop_bank(self):
        for bank in self.banks:
            bank.kill()

    def end(self):
        logs = "".join(web.log() for web in self.webs)
        for web in self.webs:
            web.remove()
        for bank in self.banks:
            bank.stop()
        shutil.rmtree(self.directory)
        assert not crashes(logs), logs


class Visitor:
    """Has the cookies that a browser would have."""

    def __init__(self):
        self.jar = {}

    def ask(self, web, path, have=None):
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.jar.items())} if self.jar else {}
        if have:
            headers["FarmSync-Have"] = have
        answer = web.get(path, headers)
        for field in answer.headers.get_all("Set-Cookie") or []:
            name, value = field.split(";")[0].split("=", 1)
            self.jar[name] = value
        return answer

    @property
    def affinity(self):
        return Affinity.read(self.jar["farmsync"])

    def settle(self, web, path):
        """At home there, with an alternate."""
        def has_alternate():
            self.ask(web, path)
            return self.affinity.alternate
        wait_for(has_alternate, "an alternate")
        assert self.affinity.primary == "web1"
        return self


def settled(visitor, web, alternate):
    """Only reads; whether he stands there now, with that alternate."""
    visitor.ask(web, "/app/get?n")
    return (visitor.affinity.primary, visitor.affinity.alternate) == (web.name, alternate)


def is_used(answer):
    if answer.status == 304:
        assert answer.headers["FarmSync-Use"] == "?1" and answer.body == b""
        return True
    assert answer.status == 200 and answer.headers["FarmSync-Use"] is None and answer.body
    return False


@pytest.fixture(scope="module")
def application():
    return build_module(os.path.join(paths.REPO, "tests", "bench", "mod_counter.c"))


@pytest.fixture
def farm(application):
    made = []

    def make(**more):
        made.append(Farm(application, **more))
        return made[-1]
    yield make
    for one in made:
        one.end()


def test_home_and_bank_die_and_the_visitor_misses_nothing(farm):
    """FarmSyncAlternateSync change: sessions and mirrors of 20 visitors, while the whole bank is away; then the
    next home dies, too, at which they have only read."""
    farm = farm(webs=3)
    web1, web2, web3 = farm.webs
    visitors = [Visitor().settle(web1, "/app/get?n") for _ in range(20)]
    farm.stop_bank()
    for visitor in visitors:
        for number in range(3):
            assert visitor.ask(web1, "/app/add?n").text == str(number + 1)
        assert not is_used(visitor.ask(web1, "/change/page.shtml", "?0"))
        assert is_used(visitor.ask(web1, "/change/page.shtml", "?1"))
    second = {visitor: farm.web(visitor.affinity.alternate) for visitor in visitors}
    assert set(second.values()) <= {web2, web3}
    for visitor in visitors:
        wait_for(lambda visitor=visitor: second[visitor].mirrors(visitor), "the mirror at the alternate")
    web1.die()
    served = [web.ahead()["served"] for web in (web2, web3)]
    for visitor in visitors:
        assert visitor.ask(second[visitor], "/app/get?n").text == "3"
        assert visitor.affinity.primary == second[visitor].name
        assert is_used(visitor.ask(second[visitor], "/change/page.shtml", "?1"))
    assert sum(web.ahead()["served"] for web in (web2, web3)) == sum(served) + len(visitors)
    said = subprocess.run([os.path.join(paths.REPO, "scripts", "farmsyncctl"), "sessions", "status", "--agent",
                           os.path.join(web2.state, "agent.sock")], capture_output=True, text=True, check=False)
    assert f"{web2.ahead()['served']} taken over as they were held." in said.stdout, said.stdout + said.stderr
    # once more, to those whom the second homes chose
    moved = [visitor for visitor in visitors if second[visitor] is web2]
    assert moved
    wait_for(lambda: all(settled(visitor, web2, "web3") for visitor in moved), "web3 to be the alternate of all")
    wait_for(lambda: all(web3.mirrors(visitor) for visitor in moved), "the mirrors at web3")
    wait_for(lambda: web2.ahead()["carried"] >= len(moved), "the sessions at web3")
    web2.die()
    for visitor in moved:
        assert visitor.ask(web3, "/app/add?n").text == "4"
    web3.write(PAGE + "changed")
    assert not is_used(moved[0].ask(web3, "/change/page.shtml", "?1"))
    assert is_used(moved[0].ask(web3, "/change/page.shtml", "?1"))


def test_mirrors_go_each_third_change_or_at_the_end(farm):
    """... and one that is behind says nothing."""
    farm = farm(sync="end")
    web1, web2 = farm.webs
    third, late, drained = (Visitor().settle(web1, "/app/get?n") for _ in range(3))
    for name in ("page", "other", "third"):
        assert not is_used(third.ask(web1, f"/three/{name}.shtml", "?0"))
        assert not is_used(late.ask(web1, f"/three/{name}.shtml", "?0"))
    wait_for(lambda: web2.mirrors(third) and web2.mirrors(late), "the mirrors at the alternate")
    # one is sent another page, which the alternate doesn't know; then the page is as it was
    web1.write(PAGE + "changed")
    assert not is_used(late.ask(web1, "/three/page.shtml", "?1"))
    assert is_used(late.ask(web1, "/three/page.shtml", "?1"))
    wait_for(lambda: not web2.mirrors(late), "the word that this mirror is outdated")
    assert not is_used(late.ask(web2, "/three/page.shtml", "?1"))
    assert is_used(late.ask(web2, "/three/page.shtml", "?1"))
    # what was to be carried at the end is carried when this server is drained
    web1.write(PAGE)
    assert not is_used(drained.ask(web1, "/end/page.shtml", "?0"))
    assert drained.ask(web1, "/app/add?n").text == "1"
    assert not web2.mirrors(drained)
    assert web1.ask_agent("POST", "/v1/route/drain", {"server": "web1", "who": "test"})[0] == 200
    wait_for(lambda: web2.mirrors(drained), "the mirror at the alternate")
    wait_for(lambda: web2.ahead()["took"] > 0, "the session at the alternate")
    farm.stop_bank()
    web1.die()
    assert is_used(third.ask(web2, "/three/other.shtml", "?1"))
    assert is_used(drained.ask(web2, "/end/page.shtml", "?1"))
    assert drained.ask(web2, "/app/get?n").text == "1"


def test_a_forged_cookie_has_no_mirror(farm):
    farm = farm()
    web1, _ = farm.webs
    visitor, thief = Visitor().settle(web1, "/app/get?n"), Visitor()
    assert not is_used(visitor.ask(web1, "/change/page.shtml", "?0"))
    assert is_used(visitor.ask(web1, "/change/page.shtml", "?1"))
    thief.jar["farmsync"] = visitor.affinity.text("6" * 64)  # signed by somebody else
    assert not is_used(thief.ask(web1, "/change/page.shtml", "?1"))
    assert thief.affinity.id != visitor.affinity.id
