# SPDX-License-Identifier: Apache-2.0
"""304 before the page is made, while nothing has changed that it depends on: datasets of the farm, and
names that applications invalidate on all servers."""

import http.client
import json
import os
import signal
import subprocess
import threading
import urllib.parse

import pytest

import agreeing
from conftest import LONG
from farmlib import paths
from farmlib.part import http_get, wait_until
from unix_http import UnixConnection

CGI = """#!/bin/sh
echo x >>"$COUNT_FILE"
if [ -p "$GATE_FILE" ] && [ "$QUERY_STRING" = gate ]; then read line <"$GATE_FILE"; fi
printf 'Content-Type: text/html\\r\\nCache-Control: private, no-cache\\r\\n'
case "$QUERY_STRING" in
    undeclared) ;;
    bad) printf 'FarmSync-Depends: a//b\\r\\n' ;;
    cookie) printf 'Vary: Cookie\\r\\nFarmSync-Depends: cart/17\\r\\n' ;;
    star) printf 'Vary: *\\r\\nFarmSync-Depends: cart/17\\r\\n' ;;
    data) printf 'FarmSync-Depends: \\r\\n' ;;
    row) printf 'FarmSync-Depends: tb/row-7\\r\\n' ;;
    *) printf 'FarmSync-Depends: cart/17, shipping\\r\\n' ;;
esac
printf '\\r\\nstamp %s of %s' "$HTTP_X_TA" "$QUERY_STRING"
"""
CONF = """
LoadModule cgi_module "{modules}/mod_cgi.so"
SetEnv COUNT_FILE "{dir}/count"
SetEnv GATE_FILE "{dir}/gate"
ScriptAlias /page "{dir}/page.sh"
<Location "/page">
    Require all granted
    FarmSyncReuse On
    FarmSyncReuseWait 5000
</Location>
<Location "/page">
    RequestHeader set X-Ta "expr=%{{farmsync:ta/k/stamp}}" "expr=%{{QUERY_STRING}} == 'data'"
</Location>
"""


@pytest.fixture(scope="module")
def farm(farms):
    farm = farms.create(servers=2, datasrv=1, interval=1, mpm="prefork")
    for web in farm.webs:
        directory = os.path.join(farm.directory, web.name)
        farm.write_file(f"{web.name}/page.sh", CGI, 0o755)
        farm.write_file(f"{web.name}/count", "", 0o666)
        farm.write_file(f"{web.name}/conf/extra/page.conf", CONF.format(
            modules=paths.httpd_modules(), dir=directory))
        os.mkfifo(os.path.join(directory, "gate"))
        os.chmod(os.path.join(directory, "gate"), 0o666)
    farm.up()
    agreeing.load(farm, extra_rows=20)
    wait_until(lambda: all(agreeing.stamp_at(web) == 1 for web in farm.webs), 30, "data")
    return farm


def made(farm, web):
    """How often the page was made."""
    return os.path.getsize(os.path.join(farm.directory, web.name, "count")) // 2


def get(web, query, **headers):
    status, fields, body = http_get(web.url + "/page?" + query, headers={
        name.replace("_", "-"): value for name, value in headers.items()})
    return status, fields, body.decode()


def visit(farm, web, query="", tag=None, **headers):
    """(status, tag, was the page made)"""
    before = made(farm, web)
    if tag:
        headers["If_None_Match"] = tag
    status, fields, _ = get(web, query, **headers)
    assert "FarmSync-Depends" not in fields
    return status, fields.get("ETag"), made(farm, web) > before


def settle(farm, web, query, **headers):
    """Until the page is known: its tag."""
    def known():
        status, tag, _ = visit(farm, web, query, **headers)
        assert status == 200
        known.tag = tag
        return visit(farm, web, query, tag, **headers) == (304, tag, False)
    wait_until(known, 60, "a 304 before the page is made")
    return known.tag


def ctl(farm, web, *arguments):
    done = subprocess.run([os.path.join(paths.REPO, "scripts", "farmsyncctl"), "invalidate", "--agent",
                           os.path.join(farm.directory, web.name, "run", "farmsync", "agent.sock"),
                           *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_held_page_is_not_made_again(farm):
    web = farm.webs[0]
    tag = settle(farm, web, "one")
    for _ in range(5):
        assert visit(farm, web, "one", tag) == (304, tag, False)
    assert visit(farm, web, "one", '"other", W/' + tag[:-1] + '-gzip"')[::2] == (304, False)
    status, fields, _ = get(web, "one", If_None_Match=tag)
    assert fields["Cache-Control"] == "private, no-cache" and "Accept-Encoding" in fields["Vary"]
    # another tag, another page, or none at all: it is made
    assert visit(farm, web, "one", '"other"')[::2] == (200, True)
    assert visit(farm, web, "two", tag)[::2] == (200, True)
    assert visit(farm, web, "one")[::2] == (200, True)


@pytest.mark.parametrize("query", ["undeclared", "bad", "star"])
def test_pages_of_which_nothing_is_known(farm, query):
    web = farm.webs[0]
    _, tag, _ = visit(farm, web, query)
    for _ in range(3):
        assert visit(farm, web, query, tag) == (304, tag, True)


@pytest.mark.parametrize("name", ["cart/17", "cart", "shipping"])
def test_a_name_is_invalidated_on_every_server(farm, name):
    tags = [settle(farm, web, name) for web in farm.webs]
    status, text = ctl(farm, farm.webs[0], name)
    assert status == 0 and "told to 2 of 2 servers" in text, text
    for web, tag in zip(farm.webs, tags):
        assert visit(farm, web, name, tag) == (304, tag, True), web.name
        assert visit(farm, web, name, tag) == (304, tag, False), web.name
    status, text = ctl(farm, farm.webs[0], "cart/1", "car", "other")
    assert status == 0, text
    for web, tag in zip(farm.webs, tags):
        assert visit(farm, web, name, tag) == (304, tag, False), web.name


def test_bad_names_are_refused(farm):
    for name in ("", "a b", "/a", "x" * 129):
        status, text = ctl(farm, farm.webs[0], name)
        assert status != 0 and "FS1720" in text, text


def test_what_is_no_list_of_names_is_refused(farm):
    path = os.path.join(farm.directory, farm.webs[0].name, "run", "farmsync", "agent.sock")
    for body in ("", "x", "{}", '{"names": []}', '{"names": "a"}', '{"names": ["a", 1]}',
                 json.dumps({"names": [f"n{n}" for n in range(201)]}), '{"names": ["a\\u0000b"]}'):
        connection = UnixConnection(path)
        connection.request("POST", "/v1/invalidate", body)
        answer = connection.getresponse()
        assert answer.status == 400 and b"FS1720" in answer.read(), body
        connection.close()


def test_what_vary_names_and_the_page_belong_together(farm):
    web = farm.webs[0]
    tag = settle(farm, web, "cookie", Cookie="a=1")
    assert visit(farm, web, "cookie", tag, Cookie="a=2") == (304, tag, True)
    assert visit(farm, web, "cookie", tag, Cookie="a=2") == (304, tag, False)
    assert visit(farm, web, "cookie", tag, Cookie="a=1") == (304, tag, True)


def test_a_name_that_changes_while_the_page_is_made(farm):
    """What was begun before the change isn't taken for what is made after it."""
    web = farm.webs[0]
    settle(farm, web, "one")
    answers = []
    thread = threading.Thread(target=lambda: answers.append(get(web, "gate")))
    before = made(farm, web)
    thread.start()
    wait_until(lambda: made(farm, web) > before, 60, "the page to be begun")
    assert ctl(farm, web, "shipping")[0] == 0
    with open(os.path.join(farm.directory, web.name, "gate"), "w", encoding="ascii") as gate:
        gate.write("\n")
    thread.join()
    status, fields, _ = answers[0]
    assert status == 200
    with_gate = threading.Thread(target=lambda: answers.append(get(web, "gate",
                                                                   If_None_Match=fields["ETag"])))
    before = made(farm, web)
    with_gate.start()
    wait_until(lambda: made(farm, web) > before, 60, "the page to be made again")
    with open(os.path.join(farm.directory, web.name, "gate"), "w", encoding="ascii") as gate:
        gate.write("\n")
    with_gate.join()
    assert answers[1][0] == 304


def test_a_switch_of_data_is_never_answered_with_the_old_page(farm):
    """Datasets that were read are dependencies by themselves; the page of a row follows that row."""
    web = farm.webs[0]
    row = settle(farm, web, "row")
    old = settle(farm, web, "data")
    agreeing.change(farm, 500)
    wait_until(lambda: agreeing.stamp_at(web) == 500, 30, "the switch")
    status, tag, was_made = visit(farm, web, "data", old)
    assert (status, was_made) == (200, True) and tag != old
    assert visit(farm, web, "data", tag) == (304, tag, False)
    # of tb only row k has changed
    assert visit(farm, web, "row", row) == (304, row, False)
    farm.sql("UPDATE agree.tb SET stamp = 4711 WHERE k = 'row-7'", None)
    wait_until(lambda: visit(farm, web, "row", row)[2], 30, "the row to change")


def test_after_the_agent_was_away_everything_is_made_anew(farm):
    web = farm.webs[1]
    tag = settle(farm, web, "away")
    os.kill(farm.part("agent2").pid, signal.SIGKILL)
    wait_until(lambda: visit(farm, web, "away", tag) == (304, tag, True), 60, "the page to be made")
    assert settle(farm, web, "away") == tag
    assert json.loads(http_get(web.url + "/farmsync/status?json")[2])["reuse"]["not_modified_early"] > 0


class Reader(threading.Thread):
    """Asks again and again for a page that it holds, and before each time for the data in force."""

    def __init__(self, web, count):
        super().__init__()
        self.web, self.count = web, count
        self.stale, self.held, self.failed = [], 0, 0

    def run(self):
        host, port = urllib.parse.urlsplit(self.web.url).netloc.split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=20)
        tag, stamp = None, 0

        def ask(path, headers):
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer, answer.read().decode()

        for _ in range(self.count):
            answer, text = ask("/farmsync/data/ta/k/stamp", {})
            if answer.status != 200:
                self.failed += 1
                continue
            in_force = int(text)
            answer, text = ask("/page?data", {"If-None-Match": tag} if tag else {})
            if answer.status == 200:
                tag, stamp = answer.getheader("ETag"), int(text.split()[1])
            elif answer.status == 304:
                self.held += 1
            else:
                self.failed += 1
            if stamp < in_force:
                self.stale.append((stamp, in_force))
        connection.close()


@pytest.mark.limit(600 if LONG else 120)
def test_no_answer_is_stale_while_data_changes_each_second(farm):
    count = 100000 if LONG else 4000
    readers = [Reader(web, count // 4) for web in farm.webs for _ in range(2)]
    before = [json.loads(http_get(web.url + "/farmsync/status?json")[2])["reuse"] for web in farm.webs]
    for reader in readers:
        reader.start()
    stamp = 1000
    while any(reader.is_alive() for reader in readers) or stamp < 1003:
        stamp += 1
        agreeing.change(farm, stamp)
        wait_until(lambda: agreeing.stamp_at(farm.webs[0]) == stamp, 30, "the switch")
    for reader in readers:
        reader.join()
    early = sum(json.loads(http_get(web.url + "/farmsync/status?json")[2])["reuse"]["not_modified_early"]
                - then["not_modified_early"] for web, then in zip(farm.webs, before))
    held = sum(reader.held for reader in readers)
    print(f"{count} answers over {stamp - 1000} changes: {held} were 304, {early} of them before the page was "
          f"made, {sum(len(reader.stale) for reader in readers)} stale")
    assert [reader.stale for reader in readers] == [[]] * 4
    assert sum(reader.failed for reader in readers) == 0
    assert early > held / 2
