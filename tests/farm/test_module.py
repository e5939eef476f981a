# SPDX-License-Identifier: Apache-2.0
"""mod_farmsync alone: no agent, no database; fs_publish publishes what an agent would."""

import itertools
import json
import os
import signal
import threading
import time

import pytest

from lone_httpd import LoneHttpd, Publisher, crashes, wait_for

NUMBERS = itertools.count(1000, 100)  # versions only grow, as in a farm

LOCATIONS = """
RewriteEngine On
RewriteMap farm int:farmsync
RewriteMap part int:farmsync_part
RewriteCond %{QUERY_STRING} ^sku=(.*)
RewriteRule ^/any$ /new/${farm:prices/${part:%1}/price|none}? [R,L]
RewriteRule ^/old/(.*)$ /new/${farm:prices/$1/price|none} [R,L]
RewriteRule ^/note/(.*)$ /new/${farm:prices/$1/note|none} [R,L]
<Location "/long.txt">
    Header set Note "expr=[%{farmsync:prices/long/note}]"
    Header set Most "expr=%{farmsync:prices/most/note}"
    Header set Row "expr=[%{farmsync:prices/long}]"
    Header set Why "expr=%{note:farmsync-unavailable}"
</Location>
<Location "/plain.txt">
    Header set Price "%{farmsync:prices/sku-1/price}e" "expr=true"
    Header set Price "expr=%{farmsync:prices/sku-1/price}"
    Header set Row "expr=%{farmsync:prices/sku-1}"
    Header set Missing "expr=[%{farmsync:prices/none/price}]"
    Header set Null "expr=[%{farmsync:prices/sku-2/note}]"
    Header set Version "expr=%{farmsync_version:default}"
    SetEnv KEY "a/b"
    Header set Nested "expr=[%{farmsync:prices/%{reqenv:KEY}/price}]"
</Location>
<Location "/part.txt">
    SetEnv KEY "a/b"
    Header set Part "expr=%{farmsync_part:%{reqenv:KEY}}"
    SetEnvIfExpr "farmsync('prices/' . farmsync_part(%{QUERY_STRING}) . '/price') =~ /(.+)/" PRICE=$1
    Header set Price "%{PRICE}e"
</Location>
<Location "/allowed.txt">
    Require expr "%{farmsync:prices/sku-1/price} == '9.99'"
</Location>
<Location "/denied.txt">
    Require expr "%{farmsync:prices/sku-1/price} == '1.00'"
</Location>
<Location "/header">
    FarmSyncVersionHeader On
</Location>
<Location "/header/data">
    SetHandler farmsync-data
</Location>
<Location "/strict/data">
    SetHandler farmsync-data
    FarmSyncOnStale refuse
</Location>
<Location "/strict/status">
    SetHandler farmsync-status
    FarmSyncOnStale refuse
</Location>
Alias "/script" "{htdocs}/script.lua"
<Files "*.lua">
    SetHandler lua-script
</Files>
<Directory "{htdocs}">
    RewriteEngine On
    RewriteCond expr "%{farmsync:prices/sku-1/price} =~ /^[0-9]/"
    RewriteRule ^redirected$ /waiting.shtml
    RewriteCond expr "%{farmsync:prices/sku-1/price} =~ /^[0-9]/"
    RewriteRule ^redirected-page$ /page.shtml
</Directory>
AllowEncodedSlashes NoDecode
"""

# Tells that it has begun, and waits until the test writes to the named pipe.
WAITING = """
function handle(r)
  io.open("DIR/begun", "w"):close()
  local pipe = io.open("DIR/go")
  r:puts(pipe:read("a"))
  pipe:close()
  return apache2.OK
end
"""

PRICES = ["sku-1|9.99|first \\x22one\\x22 &<|{\"a\": [1, 2]}|\\x00\\xff",
          "sku-2|10.50|\\N|not json|", "a/b|1|slash|null|x", "ä ö|2|umlaut|3|y",
          "%41|3|percent|4|z"]
ZONES = ["de|1|4.90", "de|2|5.90", "fr|1|7.00"]


def lay_out(server):
    htdocs = server.path("htdocs")
    for name in ("plain.txt", "part.txt", "allowed.txt", "denied.txt", "long.txt"):
        with open(os.path.join(htdocs, name), "w", encoding="utf-8") as file:
            file.write("text\n")
    with open(os.path.join(htdocs, "page.shtml"), "w", encoding="utf-8") as file:
        file.write('<!--#if expr="%{farmsync:prices/sku-1/price} == \'9.99\'" -->yes'
                   '<!--#else -->no<!--#endif -->;'
                   '<!--#include virtual="/farmsync/data/prices/sku-1/price" -->;'
                   '<!--#include virtual="/farmsync/data/prices/sku-1/price" -->')
    with open(os.path.join(htdocs, "waiting.shtml"), "w", encoding="utf-8") as file:
        file.write('<!--#include virtual="/farmsync/data/prices/sku-1/price" -->;'
                   '<!--#include virtual="/waiting.lua" -->;'
                   '<!--#include virtual="/farmsync/data/prices/sku-1/price" -->;'
                   '<!--#if expr="%{farmsync:prices/sku-1/price} == \'9.99\'" -->old'
                   '<!--#else -->new<!--#endif -->')
    with open(os.path.join(htdocs, "waiting.lua"), "w", encoding="utf-8") as file:
        file.write(WAITING.replace("DIR", server.state))
    with open(os.path.join(htdocs, "script.lua"), "w", encoding="utf-8") as file:
        file.write("function handle(r)\n"
                   "  r:puts(tostring(r:expr(\"%{farmsync:prices/sku-1/price} == '9.99'\")))\n"
                   "  return apache2.OK\nend\n")


@pytest.fixture(scope="module", params=["event", "prefork"])
def server(request):
    server = LoneHttpd(request.param)
    server.locations = LOCATIONS.replace("{htdocs}", server.path("htdocs"))
    server.configure()
    lay_out(server)
    server.start()
    yield server
    log = server.log()
    server.remove()
    assert not crashes(log), log


def describe(publisher):
    publisher.say("dataset prices 1 sku:text,price:decimal,note:text,extra:json,raw:binary")
    publisher.say("dataset zones 2 country:text,zone:integer,fee:decimal")


@pytest.fixture(scope="module")
def publisher(server):
    publisher = Publisher(server.state)
    describe(publisher)
    yield publisher
    publisher.close()


@pytest.fixture
def data(server, publisher):
    """A new version is active, nothing is staged, the clock is good. Gives the view's id."""
    return settle(server, publisher, next(NUMBERS))


def settle(server, publisher, number, price="9.99"):
    publisher.say("clock measured")
    prices = [PRICES[0].replace("9.99", price)] + PRICES[1:]
    view = publisher.version(number, {"prices": prices, "zones": ZONES})
    publisher.say(f"group default {number} {view} {number} {view} -1000")
    wait_for(lambda: served(server) == number, f"version {number}")
    return view


def served(server):
    return server.get("/farmsync/status?json").json["groups"][0]["version"]


# --- reading -------------------------------------------------------------------------------------

def test_row_is_json_with_the_types_of_its_columns(server, data):
    row = server.get("/farmsync/data/prices/sku-1")
    assert row.status == 200
    assert row.headers["Content-Type"] == "application/json"
    assert row.json == {"sku": "sku-1", "price": 9.99, "note": 'first "one" &<',
                        "extra": {"a": [1, 2]}, "raw": "AP8="}
    assert '"price":9.99' in row.text
    second = server.get("/farmsync/data/prices/sku-2").json
    assert second["note"] is None and second["extra"] == "not json" and second["raw"] == ""
    assert second["price"] == 10.5
    assert '"price":10.50' in server.get("/farmsync/data/prices/sku-2").text


def test_one_value_is_given_as_it_is(server, data):
    price = server.get("/farmsync/data/prices/sku-2/price")
    assert price.text == "10.50" and price.headers["Content-Type"].startswith("text/plain")
    raw = server.get("/farmsync/data/prices/sku-1/raw")
    assert raw.body == b"\x00\xff" and raw.headers["Content-Type"] == "application/octet-stream"
    assert server.get("/farmsync/data/prices/sku-2/note").status == 204


@pytest.mark.parametrize("path, sku", [("a%2Fb", "a/b"), ("%C3%A4%20%C3%B6", "ä ö"),
                                       ("%2541", "%41"), ("%73ku-1", "sku-1")])
def test_keys_are_percent_encoded(server, data, path, sku):
    assert server.get(f"/farmsync/data/prices/{path}").json["sku"] == sku


def test_key_of_several_columns(server, data):
    assert server.get("/farmsync/data/zones/de/2").json == {"country": "de", "zone": 2, "fee": 5.9}
    assert server.get("/farmsync/data/zones/de/2/fee").text == "5.90"
    assert server.get("/farmsync/data/zones/de").status == 404


@pytest.mark.parametrize("path", ["none", "none/x", "prices/none", "prices/sku-1/none",
                                  "prices/sku-1/price/x",
                                  "zones/de", "prices/" + "x" * 4000, "prices/" + "/".join("abc" * 9),
                                  "prices/%00", "prices/../prices/sku-1x"])
def test_what_is_not_there_is_404_with_a_reason(server, data, path):
    answer = server.get("/farmsync/data/" + path)
    assert answer.status == 404, answer.text
    if "%00" not in path:
        assert answer.headers["Content-Type"] == "application/problem+json", answer.text
        assert answer.json["status"] == 404 and answer.json["detail"]


def test_only_reading_is_allowed(server, data):
    for method in ("POST", "PUT", "DELETE", "PROPFIND"):
        answer = server.get("/farmsync/data/prices/sku-1", method=method)
        assert answer.status == 405 and answer.headers.get_all("Allow") == ["GET, HEAD"]
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json["status"] == 405 and "database" in answer.json["detail"]
    options = server.get("/farmsync/data/prices/sku-1", method="OPTIONS")
    assert options.status == 200 and options.headers["Allow"] == "GET, HEAD"
    assert options.body == b""
    head = server.get("/farmsync/data/prices/sku-1", method="HEAD")
    whole = server.get("/farmsync/data/prices/sku-1")
    assert head.status == 200 and head.body == b""
    assert head.headers["Content-Length"] == str(len(whole.body))


def test_etag_is_honoured_and_changes_with_the_row_only(server, publisher, data):
    first = server.get("/farmsync/data/prices/sku-1").headers["ETag"]
    other = server.get("/farmsync/data/prices/sku-2").headers["ETag"]
    assert first.startswith('"') and first != other
    for sent in (first, f'"x", {first}', first[:-1] + '-gzip"', "*"):
        answer = server.get("/farmsync/data/prices/sku-1", {"If-None-Match": sent})
        assert answer.status == 304 and answer.body == b"", sent
    settle(server, publisher, next(NUMBERS), price="8.88")
    assert server.get("/farmsync/data/prices/sku-1").headers["ETag"] != first
    assert server.get("/farmsync/data/prices/sku-2").headers["ETag"] == other


def test_list_goes_through_all_rows_in_pages(server, data):
    seen, query = [], ""
    for _ in range(9):
        page = server.get(f"/farmsync/data/prices?limit=2{query}").json
        assert page["dataset"] == "prices" and page["total"] == 5 and len(page["rows"]) <= 2
        seen += [row["sku"] for row in page["rows"]]
        if page["next"] is None:
            break
        query = "&after=" + page["next"].replace("%", "%25")
    assert seen == sorted(["sku-1", "sku-2", "a/b", "ä ö", "%41"], key=lambda s: s.encode())


def test_list_by_prefix(server, data):
    def skus(query):
        return [row["sku"] for row in server.get("/farmsync/data/prices?" + query).json["rows"]]
    assert skus("prefix=sku") == ["sku-1", "sku-2"]
    assert skus("prefix=sku-2") == ["sku-2"]
    assert skus("prefix=sku&after=sku-1") == ["sku-2"]
    assert skus("prefix=zzz") == []
    zones = server.get("/farmsync/data/zones?prefix=de/").json["rows"]
    assert [zone["zone"] for zone in zones] == [1, 2]
    assert server.get("/farmsync/data/zones?prefix=de&limit=1").json["next"] == "de/1"


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "limit=", "after=a/b/c",
                                   "prefix=a/b/c", "after=%25z", "limit=-1"])
def test_bad_list_query_is_400_with_a_reason(server, data, query):
    answer = server.get("/farmsync/data/prices?" + query)
    assert answer.status == 400 and answer.json["detail"]


def with_rows(server, publisher, prices, zones):
    number = next(NUMBERS)
    view = publisher.version(number, {"prices": prices, "zones": zones})
    publisher.say(f"group default {number} {view} {number} {view} -1000")
    wait_for(lambda: served(server) == number, f"version {number}")


def test_keys_that_no_path_can_carry_are_given_in_the_query(server, publisher, data):
    """The empty key above all: httpd makes one slash of two, and none of the last."""
    with_rows(server, publisher, ["|1.00|empty||", "..|2.00|dots||", "a/b|3.00|slash||"],
              ["de||4.90", "|2|5.90", "||7.00"])

    def get(query):
        return server.get("/farmsync/data/" + query)
    assert get("prices?key=").json["note"] == "empty"
    assert get("prices?key=&column=price").text == "1.00"
    assert get("prices/?key=").json["note"] == "empty"
    assert get("prices?key=..").json["note"] == "dots"
    assert get("prices?key=a%252Fb&column=note").text == "slash"
    assert get("prices?key=none").status == 404
    assert get("prices?key=&column=none").json["title"] == "No such column"
    assert [get(f"zones?key={key}&column=fee").text for key in ("de/", "/2", "/")] == [
        "4.90", "5.90", "7.00"]
    for bad in ("key=%25z", "key=&limit=1", "column=price", "key=" + "/".join("abc" * 9)):
        answer = get("prices?" + bad)
        assert answer.status == 400 and "percent-encoded" in answer.json["detail"], bad


def test_list_goes_on_after_an_empty_key(server, publisher, data):
    with_rows(server, publisher, ["|1.00|||", "a|2.00|||"], ZONES)
    page = server.get("/farmsync/data/prices?limit=1").json
    assert page["next"] == "" and page["rows"][0]["sku"] == ""
    page = server.get("/farmsync/data/prices?limit=1&after=" + page["next"]).json
    assert page["next"] is None and page["rows"][0]["sku"] == "a"
    assert len(server.get("/farmsync/data/zones?after=").json["rows"]) == 3


def test_no_header_and_no_url_is_made_of_a_value_of_any_length(server, publisher, data):
    """Up to LimitRequestFieldSize; beyond that there is none, and the log says why, once."""
    with_rows(server, publisher, ["long|1.00|" + "x" * 8191 + "||", "most|2.00|" + "y" * 8190 + "||",
                                  "huge|3.00|" + "z" * 900000 + "||"], ZONES)
    answer = server.get("/long.txt")
    assert answer.headers["Note"] == "[]" and answer.headers["Row"] == "[]"
    assert answer.headers["Most"] == "y" * 8190
    assert answer.headers["Why"] == "too long"
    for _ in range(20):
        server.get("/long.txt")
    assert server.get("/note/huge").headers["Location"].endswith("/new/none")
    assert 0 < server.log().count("FS0671") <= len(server.children())
    assert "LimitRequestFieldSize (8190)" in server.log()
    with_rows(server, publisher, ["most|1.00|a\\x0aSet-Cookie: b||"], ZONES)
    broken = server.get("/long.txt")
    assert broken.status == 500 and "Set-Cookie" not in broken.headers
    with_rows(server, publisher, ["huge|3.00|" + "z" * 900000 + "||"], ZONES)
    assert len(server.get("/farmsync/data/prices/huge/note").text) == 900000
    assert len(server.get("/farmsync/data/prices/huge").json["note"]) == 900000


def test_datasets_are_listed(server, data):
    datasets = server.get("/farmsync/data").json["datasets"]
    assert [d["name"] for d in datasets] == ["prices", "zones"]
    assert datasets[1]["rows"] == 3
    assert datasets[1]["version"] == served(server)
    assert datasets[0]["columns"][0] == {"name": "sku", "type": "text", "key": 1}
    assert server.get("/farmsync/data/").json == server.get("/farmsync/data").json


def test_expressions(server, data):
    answer = server.get("/plain.txt")
    assert answer.headers["Price"] == "9.99"
    assert json.loads(answer.headers["Row"])["sku"] == "sku-1"
    assert answer.headers["Missing"] == "[]" and answer.headers["Null"] == "[]"
    assert int(answer.headers["Version"]) >= 42
    assert answer.headers["Nested"] == "[]", "a slash separates parts"
    part = server.get("/part.txt?a/b")
    assert part.headers["Part"] == "a%2Fb" and part.headers["Price"] == "1"
    assert server.get("/allowed.txt").status == 200
    assert server.get("/denied.txt").status == 403


def test_rewrite_map(server, data):
    assert server.get("/old/sku-1").headers["Location"].endswith("/new/9.99")
    assert server.get("/any?sku=a/b").headers["Location"].endswith("/new/1")
    assert server.get("/any?sku=../%25").headers["Location"].endswith("/new/none")
    assert server.get("/old/none").headers["Location"].endswith("/new/none")


def test_server_side_includes_and_lua(server, data):
    assert server.get("/page.shtml").text == "yes;9.99;9.99"
    lua = server.get("/script")
    if lua.status == 200:
        assert lua.text == "true"


def test_version_header_where_it_is_asked_for(server, data):
    version = served(server)
    for path in ("/header/data/prices/sku-1", "/header/data/prices/none"):
        assert server.get(path).headers["FarmSync-Version"] == f"default={version}"
    assert server.get("/farmsync/data/prices/sku-1").headers["FarmSync-Version"] is None


# --- the switch ----------------------------------------------------------------------------------

def price(server):
    return server.get("/farmsync/data/prices/sku-1/price").text


def test_staged_version_is_served_from_its_time_on(server, publisher, data):
    number = served(server)
    staged = publisher.version(number + 1, {"prices": ["sku-1|7.77|||"], "zones": ZONES})
    at = int(publisher.say(f"group default {number} {data} {number + 1} {staged} 700"))
    while True:
        before = int(publisher.say("now"))
        value = price(server)
        after = int(publisher.say("now"))
        assert value == "9.99" or after >= at, f"{at - after} us too early"
        assert value == "7.77" or before < at, f"{before - at} us too late"
        if value == "7.77":
            break
    facts = server.get("/farmsync/status?json").json["groups"][0]
    assert facts["newest_served"] == number + 1 and facts["first_new_us"] >= at
    assert 0 < facts["last_old_us"] < at


def test_clock_that_goes_back_does_not_bring_the_old_version_back(server, publisher, data):
    number = served(server)
    staged = publisher.version(number + 1, {"prices": ["sku-1|7.77|||"], "zones": ZONES})
    publisher.say(f"group default {number} {data} {number + 1} {staged} -100")
    wait_for(lambda: price(server) == "7.77", "the staged version")
    publisher.say(f"group default {number} {data} {number + 1} {staged} 60000")
    assert price(server) == "7.77"
    publisher.say("clock none")
    assert price(server) == "7.77"


def test_stale_data_is_served_or_refused(server, publisher, data):
    number = served(server)
    publisher.say(f"group default {number} {data} {number} {data} -1000 -500")
    assert price(server) == "9.99"
    refused = server.get("/strict/data/prices/sku-1")
    assert refused.status == 503 and refused.json["title"] == "Stale data"
    assert refused.headers["Retry-After"] == "1"
    assert server.get("/farmsync/status/health").status == 200
    assert "may be in force" in server.get("/farmsync/status/health").text
    assert server.get("/strict/status/health").status == 503
    wait_for(lambda: "FS0651" in server.log(), "the log entry")
    told = server.log().count("FS0651")
    for _ in range(20):
        price(server)
    assert server.log().count("FS0651") == told, "logged once per change, not per request"


def test_unknown_clock_keeps_the_active_version_and_says_so(server, publisher, data):
    number = served(server)
    staged = publisher.version(number + 1, {"prices": ["sku-1|7.77|||"], "zones": ZONES})
    publisher.say("clock none")
    publisher.say(f"group default {number} {data} {number + 1} {staged} -60000")
    assert price(server) == "9.99"
    assert server.get("/strict/data/prices/sku-1").status == 503
    assert "farm time is not known" in server.get("/farmsync/status/health").text


def test_pinned_group_stays(server, publisher, data):
    number = served(server)
    staged = publisher.version(number + 1, {"prices": ["sku-1|7.77|||"], "zones": ZONES})
    publisher.say(f"group default {number} {data} {number + 1} {staged} -1000 0 pinned")
    assert price(server) == "9.99"


def test_nothing_in_force_is_503(server, publisher, data):
    number = served(server)
    publisher.say("group default 0 0 0 0 1000")
    answer = server.get("/farmsync/data/prices/sku-1")
    assert answer.status == 503 and answer.json["title"] == "No data"
    assert server.get("/farmsync/data").status == 503
    assert server.get("/plain.txt").headers["Price"] in (None, "")
    assert server.get("/allowed.txt").status == 403
    health = server.get("/farmsync/status/health")
    assert health.status == 503 and "no version is in force" in health.text


def switch_while_waiting(server, publisher, data):
    wait_for(lambda: os.path.exists(os.path.join(server.state, "begun")), "the request to begin")
    number = served(server)
    staged = publisher.version(number + 1, {"prices": ["sku-1|7.77|||"], "zones": ["x|1|1"]})
    publisher.say(f"group default {number} {data} {number + 1} {staged} 0")
    wait_for(lambda: price(server) == "7.77", "the switch")
    publisher.say(f"group default {number + 1} {staged} {number + 1} {staged} 0")


@pytest.mark.parametrize("path", ["/waiting.shtml", "/redirected"])
def test_a_request_keeps_its_version_to_its_end(server, publisher, data, path):
    """Subrequests and what follows an internal redirect included; then the old images go."""
    if server.get("/script").status != 200:
        pytest.skip("httpd has no mod_lua")
    for name in ("begun", "go"):
        if os.path.exists(os.path.join(server.state, name)):
            os.unlink(os.path.join(server.state, name))
    os.mkfifo(os.path.join(server.state, "go"))
    os.chmod(os.path.join(server.state, "go"), 0o644)
    old = set(image_paths(server, data))

    def holders():
        return [pid for pid in server.children() if maps(pid, ".fsi") & old]
    answers = []
    reader = threading.Thread(target=lambda: answers.append(server.get(path)))
    reader.start()
    try:
        switch_while_waiting(server, publisher, data)
        wait_for(lambda: len(holders()) == 1, "all but the one that reads to let go")
    finally:
        with open(os.path.join(server.state, "go"), "w", encoding="utf-8") as pipe:
            pipe.write("waited")
        reader.join()
    assert answers[0].text == "9.99;waited;9.99;old"
    wait_for(lambda: not holders(), "the last one to let go")


def image_paths(server, view):
    with open(os.path.join(server.state, "views", str(view)), encoding="utf-8") as file:
        return [os.path.join(server.state, "images", line.split()[1] + ".fsi")
                for line in file if line.startswith("dataset")]


@pytest.mark.parametrize("damage", ["cut", "gone", "view", "foreign"])
def test_damaged_staged_version_is_not_mapped(server, publisher, data, damage):
    """The version before goes on, is called stale, and the reason is in the log."""
    number = served(server)
    staged = publisher.version(number + 1, {"prices": [f"sku-1|7.77|{damage}||"], "zones": ZONES})
    image = [path for path in image_paths(server, staged) if path not in image_paths(server, data)]
    if damage == "cut":
        os.truncate(image[0], 100)
    elif damage == "gone":
        os.unlink(image[0])
    elif damage == "foreign":
        with open(image[0], "r+b") as file:
            file.write(b"\x7fELF")
    else:
        os.truncate(os.path.join(server.state, "views", str(staged)), 30)
    publisher.say(f"group default {number} {data} {number + 1} {staged} -100")
    assert price(server) == "9.99"
    assert server.get("/strict/data/prices/sku-1").status == 503
    assert server.get("/farmsync/status/health").status == 200
    assert server.get("/strict/status/health").status == 503
    told = os.path.basename(image[0]) if damage != "view" else f"views/{staged}"
    wait_for(lambda: told in server.log(), "the reason in the log")


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_health_is_bad_when_what_is_in_force_cannot_be_mapped(server, publisher, data, damage):
    """The agent may not have found out yet; requests are answered 503, and so a balancer is told."""
    number = served(server)
    view = publisher.version(number + 1, {"prices": [f"sku-1|8.88|{damage}, in force||"], "zones": ZONES})
    image = [path for path in image_paths(server, view) if path not in image_paths(server, data)]
    os.truncate(image[0], 100) if damage == "cut" else os.unlink(image[0])
    publisher.say(f"group default {number + 1} {view} {number + 1} {view} 0")
    health = server.get("/farmsync/status/health")
    assert health.status == 503 and f"version {number + 1} can't be read here" in health.text
    assert server.get("/farmsync/data/prices/sku-1").status == 503


def maps(pid, what):
    with open(f"/proc/{pid}/maps", encoding="utf-8") as file:
        return {line.split()[-1] for line in file if what in line}


def test_old_images_are_unmapped_by_idle_processes_too(server, publisher, data):
    number = served(server)
    between = settle(server, publisher, number + 1, price="6.66")
    old = set(image_paths(server, data)) | set(image_paths(server, between))
    view = settle(server, publisher, number + 2, price="5.55")
    old -= set(image_paths(server, view))
    assert old
    pids = [pid for pid in server.children() if maps(pid, ".fsi")]
    assert pids
    for pid in pids:
        wait_for(lambda pid=pid: not maps(pid, ".fsi") & old, f"process {pid} to let go")
        wait_for(lambda pid=pid: maps(pid, ".fsi"), f"process {pid} to map what is new")
    new = {os.path.basename(path) for path in image_paths(server, view)}
    for pid in pids:
        assert new == {os.path.basename(path) for path in maps(pid, ".fsi")}


# --- status --------------------------------------------------------------------------------------

def test_status_page_escapes_what_it_shows(server, publisher, data):
    publisher.say("problem default FS0999 <script>alert(1)</script> & more")
    page = server.get("/farmsync/status")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "<script>" not in page.text and "&lt;script&gt;" in page.text
    assert "web1" in page.text and "prices" in page.text
    assert server.get("/farmsync/status?json").json["groups"][0]["problem"] == "FS0999"


def test_metrics_are_in_prometheus_format(server, data):
    price(server)
    answer = server.get("/farmsync/status?metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    typed, helped, samples = set(), set(), {}
    for line in answer.text.splitlines():
        if line.startswith("# HELP "):
            helped.add(line.split()[2])
        elif line.startswith("# TYPE "):
            typed.add(line.split()[2])
            assert line.split()[3] in ("gauge", "counter")
        else:
            name, value = line.rsplit(" ", 1)
            samples[name] = float(value)
            assert name.split("{")[0] in typed & helped
    assert samples['farmsync_version{group="default"}'] >= 42
    assert samples['farmsync_requests_total{group="default"}'] >= 1
    assert samples["farmsync_clock_bound_seconds"] >= 0.00025
    assert samples['farmsync_rows{group="default"}'] == 8


def test_counters_count(server, publisher, data):
    def facts():
        return server.get("/farmsync/status?json").json["groups"][0]
    before = facts()
    server.get("/farmsync/data/prices/sku-1")
    server.get("/farmsync/data/prices/none")
    server.get("/page.shtml")
    wait_for(lambda: facts()["requests"] == before["requests"] + 3, "three requests")
    assert facts()["lookups"] == before["lookups"] + 5
    assert server.get("/redirected-page").text == "yes;9.99;9.99"
    wait_for(lambda: facts()["requests"] == before["requests"] + 4, "one more")
    assert facts()["requests"] == before["requests"] + 4, "a redirected request is one request"
    assert facts()["misses"] == before["misses"] + 1


def test_server_status_has_a_section(server, data):
    page = server.get("/server-status").text
    assert "farmsync: web1, healthy" in page
    auto = server.get("/server-status?auto").text
    lines = [line for line in auto.splitlines() if line.startswith("FarmSync")]
    assert len(lines) >= 8 and all(": " in line for line in lines)
    assert "FarmSyncServer: web1" in lines
    assert any(line.startswith("FarmSyncGroup[default]Version: ") for line in lines)


# --- life of the processes -----------------------------------------------------------------------

def agreeing(server, stop, failures, counts):
    while not stop.is_set():
        try:
            rows = server.get("/farmsync/data/prices?limit=1000").json["rows"]
            values = {row["price"] for row in rows}
            if len(values) != 1 or len(rows) != 50:
                failures.append(f"mixed: {values}")
            counts.append(1)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a failed request
            failures.append(repr(error))


def test_versions_and_gracefuls_under_load_lose_nothing(server, publisher, data):
    number = served(server)
    stop, failures, counts = threading.Event(), [], []

    def publish(version):
        rows = [f"sku-{i}|{version}|||" for i in range(50)]
        return publisher.version(version, {"prices": rows, "zones": ZONES})
    active = publish(number + 1)
    publisher.say(f"group default {number + 1} {active} {number + 1} {active} -1000")
    wait_for(lambda: served(server) == number + 1, "the first version")
    threads = [threading.Thread(target=agreeing, args=(server, stop, failures, counts))
               for _ in range(4)]
    for thread in threads:
        thread.start()
    for version in range(number + 2, number + 42):
        staged = publish(version)
        publisher.say(f"group default {version - 1} {active} {version} {staged} 50")
        active = staged
        if version % 8 == 0:
            server.graceful()
        wait_for(lambda v=version: served(server) == v, f"version {version}")
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures, failures[:5]
    assert len(counts) > 100


def test_repeated_gracefuls_leave_nothing_behind(server, data):
    """Memory of the parent doesn't grow, no process stays, the data is there at once."""
    def parent_kib():
        with open(f"/proc/{server.process.pid}/status", encoding="utf-8") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
    for _ in range(3):
        server.graceful()
    before = parent_kib()
    for _ in range(10):
        server.graceful()
        assert price(server) == "9.99"
    assert parent_kib() < before + 2048
    assert not crashes(server.log())


def test_killed_child_is_replaced_and_the_data_is_there(server, data):
    victim = next(iter(server.children()))
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: victim not in server.children(), "the child's end")
    for _ in range(20):
        try:
            assert price(server) == "9.99"
        except OSError:
            continue  # this one went down with the child


def test_lost_control_page_is_made_anew_and_found(server, publisher, data):
    number = served(server)
    view = data
    os.unlink(os.path.join(server.state, "control"))
    assert price(server) == "9.99"  # the old page stays mapped
    again = Publisher(server.state)
    try:
        describe(again)
        again.say("clock measured")
        again.say(f"group default {number + 5} {view} {number + 5} {view} -1000")
        wait_for(lambda: served(server) == number + 5, "the new page")
    finally:
        again.close()
    # Back to the page of the other tests' publisher is not possible: they come after in new servers.


def test_stop_is_quick(server):
    begin = time.monotonic()
    server.stop()
    assert time.monotonic() - begin < 20
    assert server.process.returncode == 0
