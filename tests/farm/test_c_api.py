# SPDX-License-Identifier: Apache-2.0
"""The optional functions of mod_farmsync.h, from a module that is built with apxs and that header alone."""

import os
import shutil
import subprocess

import pytest

from farmlib import paths
from lone_httpd import LoneHttpd, Publisher, crashes, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
PRICES = ["sku-1|9.99|first|\\x00\\xff", "a/b|1|\\N|", "|0|empty|"]


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """The built module."""
    apxs = shutil.which("apxs") or shutil.which("apxs2")
    if not apxs:
        pytest.skip("there is no apxs")
    directory = tmp_path_factory.mktemp("foreign")
    shutil.copy(os.path.join(HERE, "mod_foreign.c"), directory)
    shutil.copy(os.path.join(paths.REPO, "mod_farmsync", "mod_farmsync.h"), directory)
    done = subprocess.run([apxs, "-c", "-Wc,-Wall -Wextra -Wno-unused-parameter -Werror", "mod_foreign.c"],
                          cwd=directory, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return os.path.join(directory, ".libs", "mod_foreign.so")


@pytest.fixture(params=["event", "prefork"])
def server(request, foreign):
    # before farmsync, as the alphabet may have it
    server = LoneHttpd(request.param, settings=f'LoadModule foreign_module "{foreign}"',
                       locations='<Location "/foreign">\n    SetHandler foreign\n</Location>\n'
                                 '<Location "/foreign/strict">\n    FarmSyncOnStale refuse\n</Location>')
    server.start()
    yield server
    log = server.log()
    server.remove()
    assert not crashes(log), log


@pytest.fixture
def publisher(server):
    publisher = Publisher(server.state)
    publisher.say("dataset prices 1 sku:text,price:decimal,note:text,raw:binary")
    publisher.say("dataset zones 2 country:text,zone:integer,fee:decimal")
    publisher.say("clock measured")
    yield publisher
    publisher.close()


def ask(server, query, where="/foreign"):
    answer = server.get(f"{where}?{query}")
    assert answer.status == 200
    return answer.text


def publish(server, publisher, number):
    view = publisher.version(number, {"prices": PRICES, "zones": ["de|1|4.90"]})
    publisher.say(f"group default {number} {view} {number} {view} -1000")
    wait_for(lambda: ask(server, "version=default") == str(number), f"version {number}")
    return view


def test_values_rows_and_versions(server, publisher):
    assert ask(server, "version=default") == "0"
    assert ask(server, "get=prices/sku-1/price") == "2 null 0 "
    publish(server, publisher, 7)
    assert ask(server, "version=default") == "7" and ask(server, "version=other") == "0"

    assert ask(server, "get=prices/sku-1/price") == "0 value 4 9.99 0"
    assert ask(server, "get=prices/a%2Fb/price") == "0 value 1 1 0"
    assert ask(server, "get=prices/a%2Fb/note") == "0 null 0 "
    assert ask(server, "get=prices//note") == "0 value 5 empty 0"
    assert ask(server, "get=zones/de/1").startswith('0 value')
    assert '{"country":"de","zone":1,"fee":4.90}' in ask(server, "get=zones/de/1")
    for missing in ("prices/none/price", "none/x/y", "prices/sku-1/none"):
        assert ask(server, "get=" + missing) == "1 null 0 ", missing
    for bad in ("prices", "prices/%zz/price", "zones/de", "prices/sku-1/price/x"):
        assert ask(server, "get=" + bad) == "3 null 0 ", bad

    assert ask(server, "value=prices,price,sku-1") == "0 value 4 9.99 0"
    assert ask(server, "value=prices,price,a/b") == "0 value 1 1 0", "nothing is encoded here"
    assert ask(server, "value=prices,note,a/b") == "0 null 0 "
    assert ask(server, "value=zones,fee,de,1") == "0 value 4 4.90 0"
    assert ask(server, "value=prices,price,none") == "1 null 0 "
    assert ask(server, "value=zones,fee,de") == "3 null 0 "
    assert ask(server, "value=zones,fee," + ",".join("k" * 25)) == "3 null 0 "
    assert ask(server, "value=prices,price," + "k" * 5000) == "3 null 0 "
    assert server.get("/foreign?value=prices,raw,sku-1").body == b"0 value 2 \x00\xff 0"

    assert ask(server, "row=prices,sku-1") == "sku=sku-1;price=9.99;note=first;0", "until it says stop"
    assert ask(server, "row=zones,de,1") == "country=de;zone=1;fee=4.90;0"
    assert ask(server, "row=prices,none") == "1" and ask(server, "row=prices,sku-1,price") == "3"


def test_stale_data_is_refused_where_the_place_says_so(server, publisher):
    view = publish(server, publisher, 8)
    publisher.say(f"group default 8 {view} 8 {view} -1000 -500")
    wait_for(lambda: ask(server, "get=prices/sku-1/price", "/foreign/strict") == "2 null 0 ",
             "the refusal")
    assert ask(server, "get=prices/sku-1/price") == "0 value 4 9.99 0"


def test_without_farmsync_the_module_works(foreign):
    server = LoneHttpd("event", settings=f'LoadModule foreign_module "{foreign}"',
                       locations='<Location "/foreign">\n    SetHandler foreign\n</Location>')
    with open(server.path("httpd.conf"), encoding="utf-8") as file:
        text = file.read()
    with open(server.path("httpd.conf"), "w", encoding="utf-8") as file:
        file.write("\n".join(line for line in text.replace("farmsync:debug", "").splitlines()
                             if not line.startswith(("LoadModule farmsync", "FarmSync"))))
    try:
        server.start()
        assert ask(server, "get=prices/sku-1/price") == "no farmsync"
    finally:
        server.remove()


STOPS = "[mpm_event:notice] [pid 7:tid 7] AH00491: caught SIGTERM, shutting down"


@pytest.mark.parametrize("how, after, told", [
    ("Segmentation fault (11)", [STOPS], 0), ("Segmentation fault (11)", [], 1), ("Aborted (6)", [STOPS], 1),
    ("Segmentation fault (11)", ["[farmsync:info] [pid 7:tid 7] FS0656: started", STOPS], 1),
    ("Segmentation fault (11)", [STOPS.replace("pid 7", "pid 8")], 1)])
def test_only_a_crash_of_httpds_own_is_overlooked(how, after, told):
    line = f"[core:notice] [pid 7:tid 7] AH00052: child pid 9 exit signal {how}"
    assert len(crashes("\n".join(["[core:notice] [pid 7:tid 7] AH00094", line, *after]))) == told
