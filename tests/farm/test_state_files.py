# SPDX-License-Identifier: Apache-2.0
"""The files that httpd's processes and the agent have mapped: there before the agent starts, and removed or
replaced while all run."""

import contextlib
import json
import os
import signal
import subprocess

import pytest

from farmlib import paths, ports
from lone_httpd import wait_for
from route_httpd import Affinity
from session_httpd import SessionHttpd
from unix_http import UnixConnection

AGENT = """#!/bin/sh
ls "{state}" "{state}"/* >"{state}/prepared.new"
mv "{state}/prepared.new" "{state}/prepared"
exec "{agent}" "$@"
"""
CGI = """#!/bin/sh
echo x >>"{dir}/count"
printf 'Content-Type: text/html\\r\\nCache-Control: no-cache\\r\\nFarmSync-Depends: cart\\r\\n\\r\\nthe page'
"""
PLACES = """
ScriptAlias /page "{dir}/page.sh"
<Location "/page">
    Require all granted
    FarmSyncReuse On
</Location>
<Location "/mirror">
    FarmSyncReuse On
    FarmSyncReuseMirror change
</Location>
<Location "/app">
    SetHandler farmsync-session
    Session On
    SessionFarmSyncCookieName session
    Require local
</Location>
"""
UNUSABLE = ("FS1711", "FS1712")


class Server(SessionHttpd):
    """One web server with all that has files, and its agent."""

    def __init__(self):
        self.listen = ports.take(1)[0]
        super().__init__("prefork", modules=("cgi",), settings=f"FarmSyncListen 127.0.0.1:{self.listen}\n"
                         "FarmSyncRoute On\nFarmSyncRouteBy serve\nFarmSyncRouteRamp 0\nFarmSyncAgentLogLevel info\n"
                         f"FarmSyncPeer 127.0.0.1:{self.listen}\nStartServers 3\nMinSpareServers 3",
                         locations=PLACES)
        self.agent = self.script("agent.sh", AGENT)
        self.script("page.sh", CGI)
        self.write("count", "")
        os.chmod(self.path("count"), 0o666)
        os.mkdir(self.path("htdocs", "mirror"))
        self.configure()

    def configure(self, extra=""):
        loads, settings, locations = self.own
        if "FarmSyncRouteURL" not in settings:
            settings += f"\nFarmSyncRouteURL http://127.0.0.1:{self.port}"
        self.own = (loads, settings, locations)
        super().configure(extra)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="ascii") as file:
            file.write(text)

    def script(self, name, text):
        self.write(name, text.format(dir=self.directory, state=self.state, agent=paths.built("farmsync-agent")))
        os.chmod(self.path(name), 0o755)
        return self.path(name)

    def processes(self):
        """Those that answer requests."""
        found = set()
        for pid in self.children():
            with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", encoding="ascii") as file:
                if file.read().startswith(("apache2", "httpd")):
                    found.add(pid)
        return found

    def remapped(self):
        return json.loads(self.get("/farmsync/status?json").text)["reuse"]["files_remapped"]

    def invalidate(self, name):
        connection = UnixConnection(os.path.join(self.state, "agent.sock"))
        connection.request("POST", "/v1/invalidate", json.dumps({"names": [name]}))
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        assert answer.status == 200, text

    def visit(self, tag=None):
        """The tag, and whether the page was made."""
        before = os.path.getsize(self.path("count"))
        answer = self.get("/page", {"If-None-Match": tag} if tag else {})
        assert answer.status == (304 if tag else 200), answer.text
        return answer.headers["ETag"], os.path.getsize(self.path("count")) > before

    def settle(self):
        """Until clients are told that they have the page before it is made: its tag."""
        tag, _ = self.visit()
        wait_for(lambda: not self.visit(tag)[1], "a 304 before the page is made")
        return tag


@pytest.fixture(scope="module")
def server():
    server = Server()
    server.start()
    yield server
    server.remove()
    ports.release([server.listen])


def remove(path):
    os.unlink(path)


def damage(path):
    with open(path + ".new", "w", encoding="ascii") as file:
        file.write("no such file")
    os.rename(path + ".new", path)


def exchange(path):
    """By a copy: a good one, of which the others know nothing."""
    subprocess.run(["cp", "-p", path, path + ".new"], check=True)
    os.rename(path + ".new", path)


ACTS = [remove, damage, exchange]


def test_all_is_prepared_before_the_agent_starts(server):
    wait_for(lambda: os.path.exists(os.path.join(server.state, "prepared")), "the agent to start")
    with open(os.path.join(server.state, "prepared"), encoding="utf-8") as file:
        prepared = file.read().split()
    for name in ("agent.json", "images", "views", "reuse", "reuse-names", "reuse-pages", "reuse-mirrors", "route",
                 "servers", "counts", "data.mdb", "boot"):
        assert name in prepared, (name, prepared)


@pytest.mark.parametrize("act", ACTS)
def test_names_are_followed(server, act):
    tag, names = server.settle(), os.path.join(server.state, "reuse-names")
    before, said = server.remapped(), server.log().count("FS1725")
    act(names)
    server.settle()
    wait_for(lambda: server.log().count("FS1725") > said, "the agent to say so")
    wait_for(lambda: server.visit(tag) and server.remapped() > before, "the processes to follow")
    server.invalidate("cart")
    assert server.visit(tag)[1]
    wait_for(lambda: not server.visit(tag)[1], "a 304 before the page is made")


@pytest.mark.parametrize("act", ACTS)
def test_nothing_is_stale_while_names_are_replaced(server, act):
    """What was invalidated is made again, whichever of the files a process reads."""
    names = os.path.join(server.state, "reuse-names")
    for number in range(8):
        tag = server.settle()
        wait_for(lambda: os.path.exists(names), "the agent to make it again")
        if number % 2:
            act(names)
        server.invalidate("cart")
        assert server.visit(tag)[1], number
        if not number % 2:
            act(names)


@pytest.mark.parametrize("act", ACTS)
def test_mirrors_are_followed(server, act):
    """No process says of a client what he was sent long ago."""
    mirrors = os.path.join(server.state, "reuse-mirrors")
    jar = {}

    def ask(have="?1"):
        headers = {"FarmSync-Have": have, "Cookie": "; ".join(f"{name}={value}" for name, value in jar.items())}
        answer = server.get("/mirror/page.shtml", headers)
        for field in answer.headers.get_all("Set-Cookie") or []:
            name, value = field.split(";")[0].split("=", 1)
            jar[name] = value
        return answer.status == 304

    def write(text):
        server.write("htdocs/mirror/page.shtml", text)

    write("first")
    ask("?0")
    assert Affinity.read(jar["farmsync"]).primary == "web1"
    before = server.remapped()
    for number in range(6):
        wait_for(ask, "the client to be told that he has the page")
        act(mirrors)
        write(f"second {number}")
        ask()
        write("first" if number % 2 else f"third {number}")
        assert not ask(), number
        assert ask(), number
        write("first")
        ask()
    assert server.remapped() > before


def test_an_agent_whose_page_is_removed_is_followed_by_another(server):
    for name in ("control", "marks"):
        server.settle()
        said = server.log().count("FS0626")
        os.unlink(os.path.join(server.state, name))
        wait_for(lambda said=said: server.log().count("FS0626") > said, "another agent")
        assert os.path.exists(os.path.join(server.state, name))
    server.settle()
    server.invalidate("cart")


def test_a_process_that_starts_makes_what_is_missing(server):
    said = len(server.log())
    for name in ("reuse", "reuse-names", "reuse-pages", "reuse-mirrors"):
        os.unlink(os.path.join(server.state, name))
    former = server.processes()
    for pid in former:
        os.kill(pid, signal.SIGTERM)
    wait_for(lambda: server.processes() and not server.processes() & former, "other processes")
    server.settle()
    for name in ("reuse", "reuse-names", "reuse-pages", "reuse-mirrors"):
        assert os.path.exists(os.path.join(server.state, name)), name
    log = server.log()[said:]
    assert not [number for number in UNUSABLE if number in log], log
