# SPDX-License-Identifier: Apache-2.0
"""mod_session_farmsync alone: one httpd, no agent, no bank; the application is tests/bench/mod_counter.c."""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time

import pytest

from farmlib import paths
from lone_httpd import crashes, wait_for
from session_httpd import COOKIE, SessionHttpd, attributes, build_module, counter

LONG = os.environ.get("FARMSYNC_TEST_LONG") == "1"
CLIENTS, STEPS = (8, 50) if LONG else (8, 15)
MPMS = ("event", "worker", "prefork")

LOCATIONS = """
<Location "/app">
    SetHandler counter
    Session On
    SessionFarmSyncCookieName session
</Location>
<Location "/other">
    SetHandler counter
    Session On
    SessionFarmSyncCookieName session
</Location>
<Location "/alone">
    SetHandler counter
    Session On
    SessionFarmSyncCookieName session
    SessionFarmSyncLock exclusive 20s
</Location>
<Location "/hasty">
    SetHandler counter
    Session On
    SessionFarmSyncCookieName session
    SessionFarmSyncLock exclusive 1ms
</Location>
<Location "/strict">
    SetHandler counter
    Session On
    SessionFarmSyncCookieName session "Path=/strict; SameSite=Strict;!HttpOnly"
</Location>
<Location "/host">
    SetHandler counter
    Session On
    SessionFarmSyncCookieName __Host-session
</Location>
<Location "/lasting">
    SetHandler counter
    Session On
    SessionMaxAge 100
    SessionFarmSyncCookieName session Max-Age=100
</Location>
<Location "/aged">
    SetHandler counter
    Session On
    SessionMaxAge 1000
    SessionFarmSyncCookieName session
</Location>
<Location "/brief">
    SetHandler counter
    Session On
    SessionFarmSyncIdle 1
    SessionFarmSyncCookieName session
</Location>
<Location "/short">
    SetHandler counter
    Session On
    SessionFarmSyncLifetime 1
    SessionFarmSyncCookieName session
</Location>
<Location "/unalias">
    SetHandler counter
    Session On
    SessionFarmSyncAlias 0
    SessionFarmSyncCookieName session
</Location>
<Location "/secret">
    SetHandler counter
    Session On
    SessionFarmSyncCookieName secret
    SessionCryptoPassphrase correct-horse-battery
</Location>
<Location "/page">
    Session On
    SessionEnv On
    SessionHeader X-Replace-Session
    SessionFarmSyncCookieName session
</Location>
<Location "/lua">
    SetHandler lua-script
</Location>
<LocationMatch "^/(app|other)/renew">
    <If "true">
        Header always set FarmSync-Session renew
    </If>
</LocationMatch>
SetEnvIfExpr "%{QUERY_STRING} == 'wish=end'" farmsync-session=end
<Location "/login">
    SetHandler form-login-handler
    AuthFormLoginSuccessLocation /private/all
    AuthFormProvider file
    AuthUserFile "{dir}/users"
    AuthType form
    AuthName realm
    Session On
    SessionFarmSyncCookieName session
</Location>
<Location "/logout">
    SetHandler form-logout-handler
    AuthType form
    AuthName realm
    Session On
    SessionFarmSyncCookieName session
</Location>
<Location "/private">
    SetHandler counter
    AuthFormProvider file
    AuthUserFile "{dir}/users"
    AuthType form
    AuthName realm
    AuthFormSitePassphrase much-faster
    Session On
    SessionFarmSyncCookieName session
    Require valid-user
</Location>
<Location "/farmsync/session">
    SetHandler farmsync-session
    Require local
</Location>
Alias "/page/lua" "{htdocs}/session.lua"
<Files "session.lua">
    SetHandler lua-script
</Files>
<Directory "{htdocs}">
    RewriteEngine On
    RewriteRule ^moved$ /app/add?moved [PT]
    DirectoryIndex index.shtml
</Directory>
ErrorDocument 404 /app/add?missing
"""

LUA = """
function handle(r)
  local session = r.subprocess_env["HTTP_SESSION"] or ""
  local number = tonumber(session:match("lua=(%d+)") or "0") + 1
  r.headers_out["X-Replace-Session"] = "lua=" .. number
  r:puts(session)
  return apache2.OK
end
"""


@pytest.fixture(scope="module")
def application():
    path = build_module(os.path.join(paths.REPO, "tests", "bench", "mod_counter.c"))
    yield path


def make(mpm, application, **options):
    server = SessionHttpd(mpm, application, locations=options.pop("locations", LOCATIONS),
                          modules=("session_crypto",), **options)
    done = subprocess.run(["htpasswd", "-bcs", server.path("users"), "alice", "secret"],
                          capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    with open(server.path("htdocs", "index.shtml"), "w", encoding="utf-8") as file:
        file.write('<!--#include virtual="/app/add?first" -->;<!--#include virtual="/app/add?second" -->;'
                   '<!--#include virtual="/app/all" -->')
    os.mkdir(server.path("htdocs", "page"))
    for name in ("session.lua", "page/plain.txt"):
        with open(server.path("htdocs", name), "w", encoding="utf-8") as file:
            file.write(LUA if name.endswith("lua") else "text\n")
    return server


@pytest.fixture(scope="module", params=MPMS)
def server(request, application):
    server = make(request.param, application)
    server.start()
    yield server
    log = server.log()
    server.remove()
    assert not crashes(log), log


@pytest.fixture(scope="module")
def event(application):
    """For what doesn't depend on the MPM."""
    server = make("event", application)
    server.start()
    yield server
    log = server.log()
    server.remove()
    assert not crashes(log), log


def entries(text):
    return dict(line.split("=", 1) for line in text.splitlines() if line)


def session_of(server, **values):
    """A visitor with a session."""
    visitor = server.visitor()
    for name, value in values.items():
        visitor.get(f"/app/put?{name}={value}")
    return visitor


def together(functions):
    threads, failures = [], []

    def run(function):
        try:
            function()
        except Exception as problem:  # noqa: BLE001: shown by the test
            failures.append(problem)

    for function in functions:
        threads.append(threading.Thread(target=run, args=(function,)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    assert not failures, failures


# --- a session -------------------------------------------------------------------------------------


def test_what_one_request_writes_the_next_one_reads(server):
    visitor = server.visitor()
    first = visitor.ask("/app/put?name=value")
    assert len(first.cookies) == 1 and re.fullmatch(r"[A-Za-z0-9_-]{32}", first.id)
    second = visitor.ask("/app/get?name")
    assert second.text == "value"
    assert second.cookies == []  # the id is stable, and sent once
    assert visitor.ask("/app/put?name=other").cookies == []
    assert visitor.get("/other/get?name") == "other"
    assert server.visitor().get("/app/get?name") == "-"


def test_nothing_is_stored_for_anonymous_visitors(server):
    held = json.loads(server.get("/farmsync/status?json").text)["sessions"]["held"]
    for path in ("/app/get?name", "/app/none", "/aged/get?name", "/page/plain.txt", "/aged/none"):
        assert server.visitor().ask(path).cookies == [], path
    assert json.loads(server.get("/farmsync/status?json").text)["sessions"]["held"] == held


def test_caches_are_told_what_depends_on_the_session(event):
    assert event.visitor().ask("/page/plain.txt").headers["Vary"] == "Cookie"
    visitor = session_of(event, a=1)
    assert visitor.ask("/page/plain.txt").headers["Cache-Control"] == "no-cache, private"


def test_cookie_attributes_are_safe_by_default_and_sent_once(event):
    def sent(path):
        return attributes(event.visitor().ask(path).cookies[0])

    assert sorted(sent("/app/put?a=1")) == ["httponly", "path=/", "samesite=lax"]
    assert sorted(sent("/strict/put?a=1")) == ["path=/strict", "samesite=strict"]
    assert sorted(sent("/host/put?a=1")) == ["httponly", "path=/", "samesite=lax", "secure"]


def test_a_lasting_cookie_is_sent_again_with_a_change(event):
    visitor = event.visitor()
    assert "max-age=100" in attributes(visitor.ask("/lasting/put?a=1").cookies[0])
    again = visitor.ask("/lasting/put?a=2")
    assert len(again.cookies) == 1 and again.id == visitor.cookie


def test_cookie_is_also_sent_with_errors(event):
    visitor = event.visitor()
    answer = visitor.ask("/nowhere")  # ErrorDocument, an internal redirect
    assert answer.status == 404 and answer.text == "1" and len(answer.cookies) == 1
    assert visitor.get("/app/get?missing") == "1"


def test_foreign_ids_are_refused_without_a_look_and_never_adopted(event):
    own = session_of(event, a=1).cookie
    flipped = own[:5] + ("A" if own[5] != "A" else "B") + own[6:]
    for cookie in (flipped, "A" * 32, own[:31], own + "A", "", "../../etc/passwd", "%00", own.lower()):
        before = counter(event, "unknown"), counter(event, "foreign")
        visitor = event.visitor()
        answer = visitor.ask("/app/get?a", cookie=f"{COOKIE}={cookie}")
        assert answer.text == "-" and answer.cookies == [], cookie
        assert counter(event, "unknown") == before[0], "it was looked up"
        assert counter(event, "foreign") == before[1] + 1
        assert visitor.ask("/app/put?a=2", cookie=f"{COOKIE}={cookie}").id not in (cookie, own)


def test_the_right_cookie_is_found_among_others(event):
    own = session_of(event, a=7).cookie
    for header in (f"x=1; {COOKIE}={own}; y=2", f"{COOKIE}=bad; {COOKIE}={own}", f'{COOKIE}="{own}"',
                   f"x{COOKIE}=1;{COOKIE}={own}", f"a=1, {COOKIE} = {own} ", f";;{COOKIE}={own};"):
        assert event.visitor().ask("/app/get?a", cookie=header).text == "7", header
    for header in (f"x{COOKIE}={own}", f"{COOKIE}x={own}", f"Session={own}", f"{COOKIE}", f"{COOKIE}{own}"):
        assert event.visitor().ask("/app/get?a", cookie=header).text == "-", header


def test_subrequests_and_internal_redirects_share_one_session(server):
    visitor = server.visitor()
    answer = visitor.ask("/index.shtml")
    assert answer.text.startswith("1;1;") and entries(answer.text.split(";")[2]) == {"first": "1", "second": "1"}
    assert len(answer.cookies) <= 1
    visitor = session_of(server, a=1)
    answer = visitor.ask("/index.shtml")
    assert answer.text.startswith("1;1;") and answer.cookies == []
    # what the second subrequest changed after the response had begun isn't lost either
    assert entries(visitor.get("/app/all")) == {"a": "1", "first": "1", "second": "1"}
    assert visitor.ask("/moved").text == "1"
    assert visitor.get("/app/get?moved") == "1"


# --- parallel updates ------------------------------------------------------------------------------


def test_parallel_changes_of_different_keys_are_all_kept(server):
    visitor = session_of(server, begin=1)
    clients = [server.visitor(visitor.cookie) for _ in range(CLIENTS)]

    def work(number):
        for _ in range(STEPS):
            clients[number].get(f"/app/add?k{number}&{number % 3}")

    together([lambda number=number: work(number) for number in range(CLIENTS)])
    found = entries(visitor.get("/app/all"))
    assert {name: int(value) for name, value in found.items() if name != "begin"} == \
        {f"k{number}": STEPS for number in range(CLIENTS)}


def test_exclusive_requests_count_right(server):
    visitor = session_of(server, n=0)
    clients = [server.visitor(visitor.cookie) for _ in range(CLIENTS)]
    together([lambda client=client: [client.get("/alone/add?n&1") for _ in range(STEPS)] for client in clients])
    assert visitor.get("/app/get?n") == str(CLIENTS * STEPS)


def test_who_waits_in_vain_for_his_turn_is_told_to_come_back(server):
    visitor = session_of(server, n=0)
    holder = threading.Thread(target=lambda: server.visitor(visitor.cookie).get("/alone/add?n&3000"))
    before = counter(server, "turns")
    holder.start()
    wait_for(lambda: counter(server, "turns") > before, "the turn to be taken")
    answer = server.visitor(visitor.cookie).ask("/hasty/add?n")
    assert answer.status == 503 and answer.headers["Retry-After"]
    assert "FS1262" in server.log()
    holder.join()
    assert visitor.get("/app/get?n") == "1"


def test_a_killed_child_passes_its_turn_on(server):
    visitor = session_of(server, n=0)
    before = counter(server, "turns")

    def hold():
        try:
            server.visitor(visitor.cookie).ask("/alone/add?n&9000", once=True)
        except Exception:  # noqa: BLE001: its server is killed
            pass

    holder = threading.Thread(target=hold)
    holder.start()
    wait_for(lambda: counter(server, "turns") > before, "the turn to be taken")
    for child in server.children():
        os.kill(child, signal.SIGKILL)
    holder.join()
    client, answers = server.visitor(visitor.cookie), []

    def answered():
        try:
            answers.append(client.get("/alone/add?n"))
        except OSError:  # a child that was killed had accepted it
            client.close()
        return answers

    wait_for(answered, "a turn")
    assert answers == ["1"]


# --- login -----------------------------------------------------------------------------------------


def login(visitor, **options):
    return visitor.ask("/login", "POST", {"httpd_username": "alice", "httpd_password": "secret"}, **options)


def test_login_gives_a_new_id_and_keeps_the_entries(server):
    visitor = session_of(server, cart=3)
    before = visitor.cookie
    answer = login(visitor)
    assert answer.status == 302 and len(answer.cookies) == 1
    assert visitor.cookie and visitor.cookie != before
    inside = visitor.ask("/private/all")
    assert inside.status == 200 and inside.cookies == []
    assert entries(inside.text)["cart"] == "3" and entries(inside.text)["realm-user"] == "alice"
    assert server.visitor().ask("/private/all").status == 401


def test_login_without_a_session_before(server):
    visitor = server.visitor()
    assert login(visitor).status == 302
    assert visitor.ask("/private/all").status == 200


def test_parallel_requests_with_the_old_id_lose_nothing_at_a_login(server):
    visitor = session_of(server, cart=3)
    old = visitor.cookie
    clients = [server.visitor(old) for _ in range(6)]
    assert login(visitor).status == 302
    wrong = []

    def work(number):
        client = clients[number]
        for _ in range(5):
            answer = client.ask("/private/add?k%d" % number, cookie=f"{COOKIE}={old}")
            if answer.status != 200 or answer.cookies:
                wrong.append((answer.status, answer.cookies))

    together([lambda number=number: work(number) for number in range(6)])
    assert wrong == [], "logged out, or given another session"
    found = entries(visitor.get("/private/all"))
    assert [found[f"k{number}"] for number in range(6)] == ["5"] * 6
    assert found["realm-user"] == "alice" and found["cart"] == "3"


def test_without_alias_the_old_id_is_unknown_at_once(event):
    visitor = session_of(event, cart=3)
    old = visitor.cookie
    visitor.ask("/unalias/put?x-user=bob")
    assert visitor.cookie != old
    assert event.visitor().ask("/app/all", cookie=f"{COOKIE}={old}").text == ""
    assert visitor.get("/app/get?cart") == "3"


def test_login_of_another_user_and_logout_change_the_id_too(event):
    visitor = session_of(event, cart=3)
    ids = {visitor.cookie}
    login(visitor)
    ids.add(visitor.cookie)
    visitor.get("/app/put?realm-user=bob")
    ids.add(visitor.cookie)
    assert visitor.ask("/logout").status == 200
    ids.add(visitor.cookie)
    assert len(ids) == 4
    assert entries(visitor.get("/app/all")) == {"cart": "3"}
    assert visitor.ask("/private/all").status == 401


def test_logout_of_a_session_with_nothing_else_ends_it(event):
    visitor = event.visitor()
    login(visitor)
    old = visitor.cookie
    answer = visitor.ask("/logout")
    assert answer.id == "" and "max-age=0" in attributes(answer.cookies[0])
    assert event.visitor().ask("/private/all", cookie=f"{COOKIE}={old}").status == 401
    assert event.visitor().ask("/app/add?n", cookie=f"{COOKIE}={old}").id not in (old, None)


def test_an_application_asks_for_a_new_id_or_for_the_end(event):
    visitor = session_of(event, a=1)
    old = visitor.cookie
    answer = visitor.ask("/app/renew")  # a header of the response, which isn't sent on
    assert visitor.cookie != old and "FarmSync-Session" not in answer.headers
    assert visitor.get("/app/get?a") == "1"
    answer = visitor.ask("/app/put?wish=end")  # the environment
    assert answer.id == ""
    assert event.visitor().ask("/app/all", cookie=f"{COOKIE}={old}").text == ""


# --- the end ---------------------------------------------------------------------------------------


def test_an_emptied_session_is_ended_and_stays_so(server):
    late = False
    while not late:  # a machine that is busy elsewhere for so long shows nothing
        visitor = session_of(server, a=1)
        old = visitor.cookie
        slow = threading.Thread(target=lambda: server.visitor(old).get("/app/add?late&1500"))
        before = counter(server, "hits")
        slow.start()
        wait_for(lambda: counter(server, "hits") > before, "the slow request to have read its session")
        assert visitor.ask("/app/end").id == ""
        late = slow.is_alive()
        slow.join()
    assert counter(server, "dropped") >= 1
    assert server.visitor().ask("/app/all", cookie=f"{COOKIE}={old}").text == ""
    fresh = server.visitor().ask("/app/add?n", cookie=f"{COOKIE}={old}")
    assert fresh.text == "1" and fresh.id not in ("", None, old)


def passes(condition, what):
    wait_for(condition, what)


def test_a_session_ends_when_it_isnt_used(event):
    rest = 2
    while rest > 0.9:  # a machine that is busy elsewhere for so long shows nothing
        visitor, rest = event.visitor(), 0
        begin = last = time.monotonic()
        visitor.get("/brief/put?a=1")
        seen = set()
        while last - begin < 1.2:  # each use puts the end off
            seen.add(visitor.get("/brief/get?a"))
            time.sleep(0.1)
            now = time.monotonic()
            rest, last = max(rest, now - last), now
    assert seen == {"1"}
    time.sleep(1.1)  # the time itself is what is tested
    assert visitor.get("/brief/get?a") == "-"
    answer = visitor.ask("/brief/put?a=2")
    assert answer.id  # the first write after that isn't lost
    passes(lambda: visitor.get("/brief/get?a") == "2" or not visitor.ask("/brief/put?a=2"), "it read within its time")


def test_a_session_ends_however_much_it_is_used(event):
    visitor = event.visitor()
    visitor.get("/short/put?a=1")
    passes(lambda: visitor.get("/short/get?a") == "-", "the absolute end")
    assert visitor.get("/app/get?a") == "-"


def test_session_max_age_is_honoured(application):
    locations = """
<Location "/app">
    SetHandler counter
    Session On
    SessionMaxAge 4
    SessionExpiryUpdateInterval 1
    SessionFarmSyncCookieName session
</Location>
"""
    server = make("event", application, locations=locations)
    try:
        server.start()
        visitor = server.visitor()
        visitor.get("/app/put?a=1")
        saved, begin = counter(server, "saved"), time.monotonic()
        for _ in range(20):
            assert visitor.get("/app/get?a") == "1"
        # notes of use, one a second, not one for each request
        assert counter(server, "saved") - saved <= 2 + time.monotonic() - begin
        passes(lambda: server.visitor().ask("/app/get?a", cookie=f"{COOKIE}={visitor.cookie}").text == "1",
               "a look")
        time.sleep(4.2)
        assert visitor.get("/app/get?a") == "-"
        visitor.get("/app/put?a=2")
        assert visitor.get("/app/get?a") == "2"
    finally:
        server.remove()


# --- other modules ---------------------------------------------------------------------------------


def test_session_env_and_session_header(event):
    visitor = event.visitor()
    assert visitor.get("/page/lua") == ""
    assert visitor.get("/page/lua") == "lua=1"
    assert "X-Replace-Session" not in visitor.ask("/page/lua").headers
    assert visitor.get("/app/get?lua") == "3"
    session = session_of(event, b="x")
    assert "b=x" in session.get("/page/lua")


def test_with_mod_session_crypto_nothing_is_stored_in_clear_and_nothing_lost(event):
    def ask(path, cookie):
        return event.visitor().ask(path, cookie=cookie)

    set_cookie = ask("/secret/put?name=visible-text", None).headers.get_all("Set-Cookie")
    cookie = [value for value in set_cookie if value.startswith("secret=")][0].split(";")[0]
    assert ask("/secret/get?name", cookie).text == "visible-text"
    with open(os.path.join(event.state, "sessions", "data.mdb"), "rb") as file:
        assert b"visible-text" not in file.read(64 << 20)
    together([lambda number=number: [ask(f"/secret/add?k{number}", cookie) for _ in range(4)]
              for number in range(4)])
    found = entries(ask("/secret/all", cookie).text)
    assert [found[f"k{number}"] for number in range(4)] == ["4"] * 4 and found["name"] == "visible-text"
    answer = ask("/secret/end", cookie)
    assert any(value.startswith("secret=;") for value in answer.headers.get_all("Set-Cookie"))
    assert ask("/secret/all", cookie).text == ""


# --- limits ----------------------------------------------------------------------------------------


def test_limits_are_logged_and_counted_and_the_visitor_is_answered(application):
    server = make("event", application,
                  settings="SessionFarmSyncMaxSize 1k\nSessionFarmSyncMaxSessions 5")
    try:
        server.start()
        visitor = session_of(server, a=1)
        answer = visitor.ask("/app/put?a=" + "x" * 2000)
        assert answer.status == 200 and answer.cookies == []
        assert visitor.get("/app/get?a") == "1"  # as it was
        assert counter(server, "too_large") == 1 and "FS1214" in server.log()
        for _ in range(4):
            assert server.visitor().ask("/app/put?a=1").id
        answer = server.visitor().ask("/app/put?a=1")
        assert answer.status == 200 and answer.cookies == []
        assert counter(server, "full") == 1 and "FS1213" in server.log()
        assert visitor.get("/app/get?a") == "1"
    finally:
        server.remove()


# --- survival --------------------------------------------------------------------------------------


def test_sessions_survive_killed_children_and_restarts(server):
    visitor = session_of(server, a=1)
    stop = threading.Event()
    confirmed = {}

    def work(number):
        client = server.visitor(visitor.cookie)
        while not stop.is_set():
            try:
                answer = client.ask(f"/app/add?k{number}", once=True)
            except Exception:  # noqa: BLE001: its child was killed
                client.close()
                continue
            if answer.status == 200:
                confirmed[number] = int(answer.text)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for worker in workers:
        worker.start()
    for _ in range(3):
        before = dict(confirmed)
        wait_for(lambda: confirmed and all(confirmed.get(n, 0) > before.get(n, 0) + 3 for n in range(3)),
                 "requests to be answered")
        for child in server.children():
            os.kill(child, signal.SIGKILL)
    before = dict(confirmed)
    wait_for(lambda: all(confirmed.get(n, 0) > before.get(n, 0) + 3 for n in range(3)), "new children")
    server.graceful()
    before = dict(confirmed)
    wait_for(lambda: all(confirmed.get(n, 0) > before.get(n, 0) + 3 for n in range(3)), "the new generation")
    stop.set()
    for worker in workers:
        worker.join()
    found = entries(visitor.get("/app/all"))
    assert found["a"] == "1"
    assert all(int(found[f"k{number}"]) >= confirmed[number] for number in range(3))


def test_sessions_survive_a_stop_which_settles_the_store(application):
    server = make("event", application)
    try:
        server.start()
        visitor = session_of(server, a=1)
        server.stop()
        with open(os.path.join(server.state, "sessions", "boot"), encoding="utf-8") as file:
            assert file.read().endswith(" settled\n")
        server.start()
        assert visitor.get("/app/get?a") == "1"
        server.kill()  # no time to settle
        server.start()
        assert visitor.get("/app/get?a") == "1"  # still the same boot of the host
    finally:
        server.remove()


@pytest.mark.skipif(os.geteuid() != 0, reason="httpd must not be the owner of what it can't open")
def test_a_process_that_cant_open_the_store_takes_nobodys_session(application):
    server = make("event", application)
    store = os.path.join(server.state, "sessions")

    def renew_children():
        before = server.children()
        for child in before:
            os.kill(child, signal.SIGKILL)
        wait_for(lambda: server.children() and not server.children() & before, "new children")

    def status(cookie):
        try:
            return server.visitor().ask("/app/get?a", cookie=cookie, once=True).status
        except Exception:  # noqa: BLE001: a child that was killed had accepted it
            return None

    try:
        server.start()
        visitor = session_of(server, a=1)
        cookie = f"{COOKIE}={visitor.cookie}"
        os.chown(store, 0, 0)
        os.chmod(store, 0o700)
        renew_children()
        wait_for(lambda: status(cookie) == 503, "a refusal")
        wait_for(lambda: status(None) == 200, "an answer for who has no session")
        assert "FS1309" in server.log()
        os.chmod(store, 0o755)
        renew_children()
        wait_for(lambda: status(cookie) == 200, "the session")
        assert visitor.get("/app/get?a") == "1"
    finally:
        server.remove()


# --- configuration and status ----------------------------------------------------------------------


@pytest.mark.parametrize("lines, number", [
    ("SessionFarmSyncCookieName session Path=/;Path=/a", "FS1300"),
    ("SessionFarmSyncCookieName session SameSite=None;!Secure", "FS1300"),
    ("SessionFarmSyncCookieName __Host-x Domain=a.example", "FS1300"),
    ('SessionFarmSyncCookieName "a b"', "FS1300"),
    ("SessionFarmSyncAck 3", "FS1301"),
    ("SessionFarmSyncTimeout 0", "FS1301"),
    ("SessionFarmSyncIdle never", "FS1301"),
    ("SessionFarmSyncLock shared", "FS1302"),
    ("SessionFarmSyncLock exclusive 0", "FS1301"),
    ("SessionFarmSyncOnUnknown 404", "FS1303"),
    ("SessionFarmSyncMaxSize 1", "FS1304"),
    ("SessionFarmSyncMemory 9T", "FS1304"),
    ("SessionFarmSyncBank ftp://a", "FS1305"),
    ("SessionFarmSyncBank http://a:1 color=red", "FS1305"),
    ("SessionFarmSyncBank http://a:1\nSessionFarmSyncBank http://b:1 name=a:1", "FS1305"),
])
def test_wrong_settings_are_refused_with_a_remedy(event, lines, number):
    event.configure(lines)
    try:
        status, output = event.run("-t")
        assert status != 0 and number in output, output
    finally:
        event.configure()


def test_settings_are_shown(event):
    event.configure("SessionFarmSyncBank http://b1:4470 name=one rack=r1\nSessionFarmSyncCopies 1")
    try:
        status, output = event.run("-t", "-DDUMP_FARMSYNC")
    finally:
        event.configure()
    assert status == 0, output
    assert re.search(r"SessionFarmSyncBank +http://b1:4470 name=one rack=r1\n", output)
    assert re.search(r"SessionFarmSyncCopies +1\n", output)


def test_a_key_is_needed_and_mod_farmsync_too(event):
    with open(event.path("httpd.conf"), encoding="utf-8") as file:
        text = file.read()
    try:
        for gone, number in (("FarmSyncKeyFile", "FS1307"), ("farmsync_module", None)):
            with open(event.path("httpd.conf"), "w", encoding="utf-8") as file:
                file.write("\n".join(line for line in text.split("\n")
                                     if gone not in line or "session_farmsync_module" in line))
            status, output = event.run("-t")
            assert status != 0 and (number is None or number in output), output
    finally:
        event.configure()


def test_status_tells_of_sessions(event):
    session_of(event, a=1)
    told = json.loads(event.get("/farmsync/status?json").text)["sessions"]
    assert told["held"] >= 1 and told["created"] >= 1 and told["problem"] is None
    assert "<h2>sessions</h2>" in event.get("/farmsync/status").text
    assert "\nFarmSyncSessions: " in event.get("/server-status?auto").text
    assert "<h3>sessions</h3>" in event.get("/server-status").text
    metrics = event.get("/farmsync/status?metrics").text
    for name in ("farmsync_sessions", "farmsync_sessions_unprotected", "farmsync_sessions_hits_total"):
        assert re.search(rf"^# TYPE {name} \w+\n{name} [0-9.e+]+$", metrics, re.M), name


# --- the resource ----------------------------------------------------------------------------------

REST = "/farmsync/session"


def rest(server, method, path="", body=None, **headers):
    data = json.dumps(body) if isinstance(body, dict) else body
    return server.visitor().ask(REST + path, method, data, headers={
        "Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}})


def test_rest_reads_and_changes_the_visitors_session(event):
    visitor = session_of(event, a=1, b=2)
    where = "/" + visitor.cookie
    got = rest(event, "GET", where)
    assert got.status == 200 and json.loads(got.text) == {"a": "1", "b": "2"}
    assert got.headers["Content-Type"] == "application/json" and got.headers["Cache-Control"] == "no-store"
    patched = rest(event, "PATCH", where, {"b": None, "c": "ü\"\n"})
    assert patched.status == 200 and json.loads(patched.text) == {"a": "1", "c": "ü\"\n"}
    assert patched.headers["ETag"] != got.headers["ETag"]
    assert rest(event, "GET", where).headers["ETag"] == patched.headers["ETag"]
    assert entries(visitor.get("/app/all"))["a"] == "1"
    put = rest(event, "PUT", where, {"d": "4"})
    assert put.status == 200 and json.loads(put.text) == {"d": "4"}
    assert visitor.get("/app/all") == "d=4\n"
    assert rest(event, "DELETE", where).status == 204
    assert rest(event, "GET", where).status == 404
    assert visitor.get("/app/get?d") == "-"


def test_rest_begins_and_renews(event):
    begun = rest(event, "POST", "", {"a": "1"})
    told = json.loads(begun.text)
    assert begun.status == 201 and begun.headers["Location"].endswith(REST + "/" + told["id"])
    assert told["session"] == {"a": "1"}
    visitor = event.visitor(told["id"])
    assert visitor.get("/app/get?a") == "1"
    renewed = json.loads(rest(event, "POST", "/" + told["id"], {"site-user": "bob"}).text)
    assert renewed["id"] != told["id"] and renewed["session"] == {"a": "1", "site-user": "bob"}
    assert event.visitor(renewed["id"]).get("/app/get?site-user") == "bob"
    assert visitor.get("/app/get?site-user") == "bob"  # the old id, for some seconds


def test_rest_if_match(event):
    visitor = session_of(event, n=0)
    where = "/" + visitor.cookie
    tag = rest(event, "GET", where).headers["ETag"]
    visitor.get("/app/add?n")
    for method, body in (("PUT", {"n": "9"}), ("PATCH", {"n": "9"}), ("DELETE", None)):
        assert rest(event, method, where, body, If_Match=tag).status == 412, method
    assert visitor.get("/app/get?n") == "1"

    def count():
        for _ in range(STEPS):
            while True:
                got = rest(event, "GET", where)
                number = int(json.loads(got.text)["n"]) + 1
                done = rest(event, "PATCH", where, {"n": str(number)}, If_Match=f'"x", {got.headers["ETag"]}')
                if done.status == 200:
                    break
                assert done.status == 412

    together([count] * 3)
    assert visitor.get("/app/get?n") == str(1 + 3 * STEPS)
    tag = rest(event, "GET", where).headers["ETag"]
    assert rest(event, "DELETE", where, If_Match=tag).status == 204
    assert rest(event, "GET", where).status == 404


def test_rest_refuses_what_it_cant_do(event):
    visitor = session_of(event, a=1)
    where = "/" + visitor.cookie
    assert rest(event, "GET", "/" + "A" * 32).status == 404
    assert rest(event, "PUT", "/" + "A" * 32, {}).status == 404
    assert rest(event, "GET").status == 405
    assert rest(event, "OPTIONS", where).status in (200, 405)
    for body in ("{", "[]", '{"a":1}', '{"":"x"}', '{"a":"1","a":"2"}', '{"a":"\\u0000"}',
                 '{"%s":"x"}' % ("k" * 1025), "{\"a\":\"\xff\"}".encode("latin-1")):
        answer = rest(event, "PATCH", where, body)
        assert answer.status == 400 and json.loads(answer.text)["problem"], body
    assert rest(event, "PATCH", where, {"a": "x" * (3 << 20)}).status == 413
    assert rest(event, "PATCH", where, {"a": "x" * (1 << 20)}).status == 413
    assert json.loads(rest(event, "GET", where).text) == {"a": "1"}
    assert event.visitor().ask(REST + where, "GET", headers={"Host": "x"}).status == 200


def example(language):
    """A program of doc/session-module.md."""
    with open(os.path.join(paths.REPO, "doc", "session-module.md"), encoding="utf-8") as file:
        found = re.findall(rf"^```{language}\n(.*?)^```", file.read(), re.M | re.S)
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("language, program, expected", [
    ("sh", ["sh"], {"language": "de"}),
    ("python", ["/usr/bin/python3"], {"visits": "1"}),
    ("php", ["php"], {"seen": "1"}),
])
def test_examples_of_the_manual_work(event, tmp_path, language, program, expected):
    script = tmp_path / "example"
    script.write_text(example(language), encoding="utf-8")
    visitor = session_of(event, a=1)
    environment = dict(os.environ, FARMSYNC_SESSIONS=f"http://127.0.0.1:{event.port}{REST}")
    done = subprocess.run([*program, str(script), visitor.cookie], env=environment, text=True,
                          capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert entries(visitor.get("/app/all")) == {"a": "1", **expected}
    if language == "sh":
        assert json.loads(done.stdout.splitlines()[-1]) == {"a": "1", **expected}
    else:
        assert done.stdout == "1\n"


# --- memory ----------------------------------------------------------------------------------------


def own_errors(text):
    """Valgrind's reports with a frame of ours in them."""
    return [block for block in re.split(r"\n==\d+== *\n", text)
            if re.search(r"(mod_session_farmsync\.so|mod_farmsync\.so|\bsession_\w+\.c:|\bfs_\w+ \()", block)
            and re.search(r"Invalid|uninitialised|definitely lost|Mismatched|overlap", block)]


@pytest.mark.limit(420)
@pytest.mark.skipif(not shutil.which("valgrind"), reason="valgrind is not installed")
def test_a_child_is_clean_under_valgrind(application):
    server = make("event", application)
    log = server.path("valgrind.%p")
    os.chmod(server.directory, 0o777)  # the process that writes the log has become httpd's user by then
    try:
        command = ["valgrind", "--leak-check=full", "--show-leak-kinds=definite", "--num-callers=30",
                   "--child-silent-after-fork=yes", f"--log-file={log}", *server.arguments("-X")]
        with open(server.path("stderr"), "ab") as stderr:
            server.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr,
                                              env=server.environment(), start_new_session=True)
        end = time.monotonic() + 150  # some thirty times slower, and machines are shared
        while not server.answers():
            assert time.monotonic() < end, server.log()
            time.sleep(0.2)
        visitor = session_of(server, a=1, b=2)
        for path in ("/app/get?a", "/app/add?n", "/index.shtml", "/moved", "/nowhere", "/alone/add?n", "/page/lua",
                     "/app/renew", "/aged/get?a", "/lasting/put?a=1", "/app/put?a=" + "x" * 9000,
                     "/farmsync/status?json", "/farmsync/status?metrics", "/farmsync/status", "/server-status?auto",
                     "/server-status"):
            visitor.ask(path)
        visitor.ask("/app/all", cookie=f"{COOKIE}=xyz; {COOKIE}={'A' * 32}; {COOKIE}=\"{visitor.cookie}\"")
        login(visitor)
        visitor.ask("/private/all")
        where = "/" + visitor.cookie
        tag = rest(server, "GET", where).headers["ETag"]
        for method, body in (("PATCH", {"a": None, "c": "ü"}), ("PUT", {"d": "4"}), ("POST", {"x-user": "bob"}),
                             ("PATCH", "{"), ("DELETE", None)):
            rest(server, method, where, body)
        rest(server, "PUT", where, {"e": "1"}, If_Match=tag)
        rest(server, "POST", "", {"f": "1"})
        visitor.ask("/app/end")
        secret = server.visitor().ask("/secret/put?a=1").headers["Set-Cookie"].split(";")[0]
        for path in ("/secret/add?a", "/secret/all", "/secret/end"):
            server.visitor().ask(path, cookie=secret)
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(60)
        text = ""
        for name in os.listdir(server.directory):
            if name.startswith("valgrind."):
                with open(server.path(name), encoding="utf-8") as file:
                    text += file.read()
        assert "ERROR SUMMARY" in text
        assert own_errors(text) == [], "\n\n".join(own_errors(text))
    finally:
        server.remove()
