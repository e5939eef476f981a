# SPDX-License-Identifier: Apache-2.0
"""farmsyncctl sessions on a farm whose web servers keep sessions: it looks, ends, drains and waits."""

import json
import os
import re
import urllib.request

import pytest

from ctl_fixtures import Ctl
from farmlib import counter
from farmlib.part import http_get, wait_until

FARM = dict(servers=2, datasrv=2, interval=600, sessions=True)

PLACES = """\
LoadModule counter_module "{module}"
<Location "/counter">
    SetHandler counter
    Session On
    SessionFarmSyncCookieName session path=/
</Location>
"""


@pytest.fixture(scope="module")
def shop(farms):
    farm = farms.create(**FARM)
    module = counter.build(farm.directory)
    for web in farm.webs:
        farm.write_file(f"{web.name}/conf/extra/counter.conf", PLACES.format(module=module))
    farm.up()
    ctl = at(farm, 1)
    wait_until(lambda: all(one["state"] == "up" and one["in_sync"]
                           for one in ctl.json("bank", status=None)), 30, "the bank to be there")
    return farm


class Sessions(Ctl):
    """farmsyncctl sessions of one web server."""

    def run(self, *arguments, **more):
        return super().run("sessions", *arguments, **more)

    def json(self, *arguments, status=0, **more):
        done = self.run(*arguments, *self.agent, "--json", **more)
        assert status in (None, done.returncode), done.stdout + done.stderr
        return json.loads(done.stdout)

    def says(self, *arguments, status=0):
        done = self.run(*arguments, *self.agent)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr


def at(farm, number, *where):
    ctl = Sessions()
    ctl.agent = where or ("--agent", os.path.join(farm.web(number).directory, "run", "farmsync",
                                                  "agent.sock"))
    return ctl


def visit(web, path, cookie=None):
    """(text, cookie)"""
    request = urllib.request.Request(web.url + "/counter/" + path,
                                     headers={"Cookie": cookie} if cookie else {})
    with urllib.request.urlopen(request, timeout=30) as answer:
        given = answer.headers.get("Set-Cookie")
        return answer.read().decode(), given.split(";")[0] if given else cookie


def begin(web, user="alice"):
    """A session of a user; its cookie."""
    _, cookie = visit(web, f"put?shop-user={user}")
    visit(web, "add?n", cookie)
    return cookie


def count(ctl):
    return ctl.json("count")["sessions"]


@pytest.fixture
def ctl(shop):
    """Of web1, without sessions of tests before."""
    ctl = at(shop, 1)
    for one in ctl.json("list")["sessions"]:
        if one["state"] == "live":
            ctl.says("end", one["key"])
    wait_until(lambda: not living(ctl), 30, "no session to be left")
    return ctl


def living(ctl):
    return [one for one in ctl.json("list", "-n", "1000")["sessions"] if one["state"] == "live"]


def test_counts_lists_and_shows_without_values(shop, ctl):
    cookies = [begin(shop.web(1), user) for user in ("alice", "bob", "secret-name")]
    ctl.says("wait")
    assert len(living(ctl)) == 3
    wait_until(lambda: not ctl.json("status", status=None)["trouble"], 60, "all to be well")
    status = ctl.json("status")
    assert status["unprotected"] == 0 and status["trouble"] == []
    assert re.search(r"\d+ sessions.*; all protected", ctl.says("status"))
    assert {one["name"] for one in ctl.json("bank")} == {f"127.0.0.1:{one.port}"
                                                        for one in shop.datasrvs}
    shown = ctl.json("show", cookies[0].partition("=")[2])
    assert shown["state"] == "live" and shown["owner"] == "web1" and shown["protected"]
    assert ctl.json("show", shown["key"]) == shown
    text = ctl.says("list") + ctl.says("show", shown["key"]) + json.dumps(ctl.json("list"))
    assert shown["key"] in text and all(one.partition("=")[2] not in text for one in cookies)
    assert "n=1" not in text
    assert len(ctl.json("list", "-n", "2")["sessions"]) == 2 and "more" in ctl.says("list", "-n", "2")


def test_ends_one_on_all_servers(shop, ctl):
    cookie = begin(shop.web(1))
    assert visit(shop.web(2), "get?n", cookie)[0] == "1", "web2 has it now"
    ctl.says("end", cookie.partition("=")[2])
    assert visit(shop.web(2), "get?n", cookie)[0] == "-"
    assert visit(shop.web(1), "get?n", cookie)[0] == "-"


def test_ends_all_of_a_user_on_all_servers(shop, ctl):
    alice = [begin(shop.web(number)) for number in (1, 1, 2)]
    bob = begin(shop.web(1), "bob")
    assert ctl.json("end-user", "alice")["ended"] == 3
    assert [visit(shop.web(1), "get?n", one)[0] for one in alice] == ["-"] * 3
    assert visit(shop.web(1), "get?n", bob)[0] == "1"
    assert ctl.json("end-user", "alice")["ended"] == 0
    assert ctl.json("end-user", "nobody / \x1b[31m")["ended"] == 0


def test_what_isnt_there_is_refused_with_a_sentence(ctl, shop):
    assert "FS0912" in ctl.says("show", "0" * 32, status=1)
    assert "32 hex digits" in ctl.says("end", "xyz", status=2)
    assert "needs ID or KEY" in ctl.says("show", status=2)
    assert "no bank server" in ctl.says("drain", "--server", "nix", status=2)
    assert shop.datasrvs[0].url.partition("//")[2] in ctl.says("drain", "--server", "nix", status=2)
    nobody = at(shop, 1, "--agent", "/nonexistent/agent.sock")
    assert "FS0910" in nobody.says("status", status=3)
    assert json.loads(nobody.run("count", "--json", *nobody.agent).stdout)["error"]["number"] == "FS0910"


def test_a_bank_server_that_dies_is_trouble_and_sessions_go_on(shop, ctl):
    begin(shop.web(1))
    ctl.says("wait")
    shop.datasrv(1).kill()
    try:
        wait_until(lambda: ctl.json("status", status=None)["trouble"], 60, "the death to be told")
        assert shop.datasrvs[0].url.partition("//")[2] in ctl.says("status", status=1)
    finally:
        shop.datasrv(1).start()
    wait_until(lambda: not ctl.json("status", status=None)["trouble"], 30, "all to be well again")
    ctl.says("wait")


def test_wait_gives_up(shop, ctl):
    for one in shop.datasrvs:
        one.pause()
    try:
        begin(shop.web(1))
        assert "not protected yet" in ctl.says("wait", "--timeout", "0.3", status=1)
    finally:
        for one in shop.datasrvs:
            one.resume()
    assert "all protected" in ctl.says("wait", "--timeout", "30")


def test_a_drained_bank_server_gets_nothing_and_its_sessions_are_elsewhere(shop, ctl):
    first = shop.datasrvs[0].url.partition("//")[2]
    cookies = [begin(shop.web(1)) for _ in range(5)]
    ctl.says("wait")
    ctl.says("drain", "--server", first)
    try:
        assert {one["name"]: one["state"] for one in ctl.json("bank", status=None)}[first] == "draining"
        ctl.says("wait")
        shop.datasrv(1).kill()
        visit(shop.web(1), "add?n", cookies[0])
        ctl.says("wait")
        shop.datasrv(1).start()
    finally:
        ctl.says("undrain", "--server", first)
    wait_until(lambda: all(one["state"] == "up" for one in ctl.json("bank", status=None)), 30,
               "it to be used again")
    assert visit(shop.web(2), "get?n", cookies[0])[0] == "2"


def test_a_drained_web_server_can_be_switched_off_without_loss(shop, ctl):
    cookies = [begin(shop.web(1)) for _ in range(20)]
    ctl.says("drain")
    ctl.says("wait")
    shop.web(1).kill()
    try:
        assert [visit(shop.web(2), "get?n", one)[0] for one in cookies] == ["1"] * 20
    finally:
        shop.web(1).start()
    wait_until(lambda: http_get(shop.web(1).url + "/counter/get?n")[0] == 200, 60, "web1 to be back")
    wait_until(lambda: ctl.run("count", *ctl.agent).returncode == 0, 60, "its agent, which may be later")
    ctl.says("undrain")


def test_nobody_works_on_alone_while_the_bank_answers(ctl):
    assert "FS1376" in ctl.says("alone", status=4)


def test_an_agent_elsewhere_wants_the_farms_key(shop):
    url = f"http://127.0.0.1:{shop.web(1).record['agent_port']}"
    key = os.path.join(shop.directory, "etc", "farm.key")
    assert at(shop, 1, "--agent", url, "--key-file", key).json("count")["sessions"] >= 0
    assert "FS0911" in at(shop, 1, "--agent", url).says("count", status=4)
    assert "http://HOST:PORT" in at(shop, 1, "--agent", "ftp://x").says("count", status=2)
