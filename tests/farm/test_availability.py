# SPDX-License-Identifier: Apache-2.0
"""Applications that are down, on a real httpd; fs_notice publishes what an agent would."""

import datetime
import email.utils
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

from lone_httpd import LoneHttpd, as_httpd_user, wait_for
from farmlib import paths
from test_valgrind import own_errors

LONG = os.environ.get("FARMSYNC_TEST_LONG") == "1"

SETTINGS = """
LogFormat "%r %>s %b %{farmsync-notice}n %{FARMSYNC_REFUSED}e" avail
CustomLog access.log avail
KeepAliveTimeout 30
FarmSyncApplication shop /shop /cart/
FarmSyncApplication deep /shop/deep
FarmSyncApplication wiki /wiki
FarmSyncApplication site /
FarmSyncApplication status /error /doc
FarmSyncApplicationUses wiki database
FarmSyncAvailable "req('X-Admin') == 'yes'"
FarmSyncAvailable "%{REMOTE_USER} == 'root'"
FarmSyncAvailDocument "DIR/down.html" application=site
FarmSyncAvailDocument ErrorDocument application=status
FarmSyncAvailStatus 404 deep
FarmSyncAvailRetry 100
FarmSyncAvailBody 1M
Header always set X-Always here
Header set X-Shop "expr=%{farmsync_app:shop}"
SetEnvIf X-Tester "^(.+)$" TESTER=$1
RemoteIPHeader X-Client
RemoteIPInternalProxy 127.0.0.1
ErrorDocument 503 /doc/sorry.txt
<Location "/shop/private">
    AuthType Basic
    AuthName x
    AuthBasicProvider file
    AuthUserFile "DIR/users"
    Require valid-user
</Location>
Listen 127.0.0.1:OTHER
<VirtualHost 127.0.0.1:OTHER>
    DocumentRoot "DIR/htdocs"
    FarmSyncApplication blog /wiki
    FarmSyncAvailLanguage de
</VirtualHost>
"""
DOCUMENT = ("<h1><!--farmsync:title--></h1><p><!--farmsync:message--></p><!--farmsync:until-->"
            "<i><!--farmsync:application--></i><!--farmsync:nonsense--><!-- else -->")


class Teller:
    """tests/tools/fs_notice."""

    def __init__(self, state, *arguments):
        self.process = subprocess.Popen(
            [paths.built("tests/tools/fs_notice"), state, "web1", *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **as_httpd_user())

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def say(self, line):
        answer = self.ask(line)
        assert answer.startswith("ok"), f"{line}: {answer}"
        return answer[3:]

    def now(self):
        return int(self.say("now")) / 1e6

    def tell(self, *notices):
        """Publishes exactly these notices."""
        self.say("clear")
        for notice in notices:
            self.say("put " + json.dumps({"state": "down", **notice}))
        return int(self.say("publish"))

    def close(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait(20)
            self.process.stdout.close()


def when(seconds):
    """RFC 3339 of a farm time."""
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).isoformat()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


TLS = """
Protocols h2 http/1.1
Listen 127.0.0.1:TLS https
<VirtualHost 127.0.0.1:TLS>
    DocumentRoot "DIR/htdocs"
    SSLEngine on
    SSLCertificateFile "DIR/tls.pem"
    SSLCertificateKeyFile "DIR/tls.key"
</VirtualHost>
"""


def make(mpm, *arguments, settings=SETTINGS, modules=(), start=True):
    other, tls = free_port(), free_port()
    httpd = LoneHttpd(mpm, modules=("remoteip", "auth_basic", "authn_file", "authn_core",
                                    "authz_user", *modules))
    httpd.other, httpd.tls = other, tls
    httpd.settings = (settings.replace("OTHER", str(other)).replace("127.0.0.1:TLS", f"127.0.0.1:{tls}")
                      .replace("DIR", httpd.directory))
    if "ssl" in modules:
        subprocess.run([paths.program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes",
                        "-subj", "/CN=127.0.0.1", "-days", "2", "-keyout", httpd.path("tls.key"),
                        "-out", httpd.path("tls.pem")], capture_output=True, check=True)
    with open(httpd.path("down.html"), "w", encoding="utf-8") as file:
        file.write(DOCUMENT)
    with open(httpd.path("users"), "w", encoding="utf-8") as file:
        file.write("anna:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\nroot:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n")
    for name in ("shop/a.txt", "shop/private/a.txt", "shop/deep/a.txt", "cart/a.txt", "wiki/a.txt",
                 "doc/sorry.txt", "doc/a.txt", "a.txt"):
        os.makedirs(os.path.dirname(httpd.path("htdocs", name)), exist_ok=True)
        with open(httpd.path("htdocs", name), "w", encoding="utf-8") as file:
            file.write(f"this is {name}\n")
    with open(httpd.path("htdocs", "a.shtml"), "w", encoding="utf-8") as file:
        file.write('[<!--#include virtual="/shop/a.txt" -->]')
    httpd.configure()
    httpd.teller = Teller(httpd.state, *arguments)
    if start:
        httpd.start()
    return httpd


@pytest.fixture(scope="module", params=["event", "worker", "prefork"])
def every(request):
    httpd = make(request.param)
    yield httpd
    httpd.teller.close()
    httpd.remove()


@pytest.fixture(scope="module", name="web")
def one_httpd():
    httpd = make("event", modules=("http2", "ssl"), settings=SETTINGS + TLS)
    yield httpd
    httpd.teller.close()
    httpd.remove()


@pytest.fixture(autouse=True)
def nothing_is_left(request):
    yield
    for name in ("web", "every"):
        if name in request.fixturenames:
            request.getfixturevalue(name).teller.tell()


def states(httpd):
    status = httpd.get("/farmsync/status?json").json["availability"]
    return {one["name"]: one["state"] for one in status["applications"]}


BASIC = {"Authorization": "Basic cm9vdDpwYXNzd29yZA=="}  # root:password
ANNA = {"Authorization": "Basic YW5uYTpwYXNzd29yZA=="}


# --- in every MPM --------------------------------------------------------------------------------

def test_down_and_up_are_seen_by_the_next_request(every):
    for number in range(20):
        every.teller.tell({"application": "shop", "message": f"number {number}"})
        answer = every.get("/shop/a.txt")
        assert answer.status == 503 and f"number {number}\n" in answer.text
        assert every.get("/wiki/a.txt").status == 200
        every.teller.tell()
        assert every.get("/shop/a.txt").status == 200


def test_the_connection_stays_open_and_the_log_has_the_status(every):
    every.teller.tell({"application": "shop", "message": "later"})
    connection = http.client.HTTPConnection("127.0.0.1", every.port, timeout=20)
    connection.connect()
    used = connection.sock.getsockname()
    for method, path, body, wanted in (
            ("GET", "/shop/a.txt?log1", None, 503), ("HEAD", "/shop/a.txt", None, 503),
            ("GET", "/wiki/a.txt", None, 200), ("POST", "/shop/a.txt", b"x" * 100000, 503),
            ("POST", "/shop/a.txt", iter([b"chunk"] * 1000), 503), ("GET", "/a.txt", None, 200)):
        connection.request(method, path, body, encode_chunked=not isinstance(body, bytes))
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == wanted, (method, path)
        assert answer.headers.get("Connection") != "close"
        assert bool(text) == (method != "HEAD")
        assert connection.sock.getsockname() == used
    connection.close()

    def logged():
        with open(every.path("access.log"), encoding="utf-8") as file:
            return [line for line in file if "?log1" in line]

    wait_for(logged, "the access log")
    assert "HTTP/1.1 503 " in logged()[0] and logged()[0].endswith("shop/operator shop/operator\n")


def test_restarts_forget_nothing_and_need_no_agent(every):
    every.teller.tell({"application": "shop"})
    every.teller.close()
    every.graceful()
    for _ in range(20):
        assert every.get("/shop/a.txt").status == 503
    every.stop()
    every.start()
    assert every.get("/shop/a.txt").status == 503
    every.teller = Teller(every.state)
    every.teller.tell()
    assert every.get("/shop/a.txt").status == 200


# --- the answer ----------------------------------------------------------------------------------

@pytest.mark.parametrize("headers, kind", [
    ({}, "text/plain"), ({"Accept": "*/*"}, "text/plain"),
    ({"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, "text/html"),
    ({"Accept": "application/json"}, "application/problem+json"),
    ({"Accept": "application/problem+json, text/html;q=0.5"}, "application/problem+json"),
    ({"Accept": "application/json;q=0.3, text/html ; level=1; q=0.4"}, "text/html"),
    ({"Accept": "text/plain, text/html;q=0.9"}, "text/plain"),
    ({"Accept": "text/html;q=0"}, "text/plain"),
    ({"Accept": "*/*", "Content-Type": "application/json"}, "application/problem+json"),
    ({"Accept": ",;q=,;;q"}, "text/plain")])
def test_the_form_is_what_the_request_asks_for(web, headers, kind):
    web.teller.tell({"application": "shop", "message": "m"})
    answer = web.get("/shop/a.txt", headers)
    assert answer.status == 503
    assert answer.headers.get_content_type() == kind


def test_headers_say_when_to_come_back_and_that_nothing_may_keep_it(web):
    until = web.teller.now() + 1000
    web.teller.tell({"application": "shop", "until": when(until),
                     "link": "https://status.example.org/"})
    waits = {int(web.get("/shop/a.txt").headers["Retry-After"]) for _ in range(30)}
    assert len(waits) > 3 and min(waits) > 900 and max(waits) <= 1101
    answer = web.get("/shop/a.txt")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Link"] == '<https://status.example.org/>; rel="status"'
    assert answer.headers["X-Always"] == "here"
    assert email.utils.parsedate(answer.headers["Date"])
    web.teller.tell({"application": "shop"})
    assert 100 <= int(web.get("/shop/a.txt").headers["Retry-After"]) <= 110


def test_problem_json_has_the_facts(web):
    until = web.teller.now() + 1000
    web.teller.tell({"application": "shop", "id": "db-move", "reason": "planned", "who": "anna",
                     "component": "db1", "message": 'say "hi"\n<b>', "until": when(until),
                     "link": "https://s.example.org/"})
    answer = web.get("/shop/a.txt", {"Accept": "application/json"})
    facts = answer.json
    assert facts["type"] == "about:blank" and facts["status"] == 503
    assert facts["title"] == "Service Unavailable"
    assert facts["detail"] == 'say "hi"\n<b>'
    assert facts["processed"] is False
    assert (facts["application"], facts["notice"]) == ("shop", "shop/db-move")
    assert (facts["reason"], facts["reason_code"]) == ("planned", 1)
    assert facts["component"] == "db1" and facts["link"] == "https://s.example.org/"
    assert facts["ends"].startswith(when(until)[:19])
    assert facts["retry_after"] == int(answer.headers["Retry-After"])
    assert "anna" not in answer.text  # who told it is not the visitors' business


def test_visitors_read_their_language_and_nothing_gets_out_of_its_place(web):
    web.teller.tell({"application": "shop", "messages": {
        "en": "<script>alert('&\"')</script>\nsecond", "de": "Gleich zurück"}})
    html = {"Accept": "text/html"}
    answer = web.get("/shop/a.txt", {**html, "Accept-Language": "en-GB"})
    assert "&lt;script&gt;" in answer.text and "<script>" not in answer.text
    assert "<br>\nsecond" in answer.text and '<html lang="en">' in answer.text
    assert "Your request was not processed" in answer.text
    answer = web.get("/shop/a.txt", {**html, "Accept-Language": "fr;q=0.1, de-AT;q=0.5"})
    assert "Gleich zurück" in answer.text and "nicht bearbeitet" in answer.text
    assert answer.headers["Content-Language"] == "de" and '<p lang="de">' in answer.text
    web.teller.tell({"application": "shop", "reason": "planned"})
    answer = web.get("/shop/a.txt", {"Accept-Language": "fr"})
    assert "maintenance planifiée" in answer.text


def test_the_administrators_document_is_filled_in(web):
    web.teller.tell({"application": "site", "message": "a <b>\nc", "until": "2099-01-01T10:00:30Z"})
    answer = web.get("/a.txt", {"Accept": "text/html"})
    assert answer.status == 503
    assert answer.text == (
        "<h1>Temporarily unavailable</h1><p>a &lt;b&gt;<br>\nc</p>"
        '<time datetime="2099-01-01T10:00:30.000000Z">2099-01-01 10:01 UTC</time>'
        "<i>site</i><!-- else -->")


def test_an_error_document_answers_and_is_not_refused_itself(web):
    web.teller.tell({"application": "status"}, {"application": "site"})
    answer = web.get("/doc/a.txt")
    assert answer.status == 503
    assert answer.text == "this is doc/sorry.txt\n"
    assert answer.headers["Retry-After"] and answer.headers["Cache-Control"] == "no-store"


def test_another_status_can_be_configured_for_an_application(web):
    web.teller.tell({"application": "deep"}, {"application": "shop"})
    assert web.get("/shop/deep/a.txt").status == 404
    assert web.get("/shop/a.txt").status == 503


def test_the_status_page_is_never_refused(web):
    web.teller.tell({"application": "*", "message": "all down"})
    assert web.get("/a.txt").status == 503
    assert web.get("/farmsync/status").status == 200
    assert web.get("/farmsync/status/health").status in (200, 503)
    assert "all down" not in web.get("/farmsync/status/health").text
    assert "all down" not in web.get("/farmsync//x/../%73tatus").text
    assert web.get("/farmsync/data/x").status == 503
    assert "all down" in web.get("/farmsync/data/x").text


# --- bodies --------------------------------------------------------------------------------------

def read_all(client):
    text = b""
    while True:
        data = client.recv(65536)
        if not data:
            return text
        text += data


def test_who_asks_before_sending_is_told_at_once(web):
    web.teller.tell({"application": "shop", "message": "no"})
    with socket.create_connection(("127.0.0.1", web.port), 20) as client:
        client.sendall(b"POST /shop/a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n"
                       b"Expect: 100-continue\r\n\r\n")
        text = read_all(client)
    assert text.startswith(b"HTTP/1.1 503 ") and b"100 Continue" not in text
    assert b"Connection: close" in text and b"no\n" in text


@pytest.mark.parametrize("how", [[], ["-H", "Transfer-Encoding: chunked"]])
@pytest.mark.parametrize("size", [3000, 900_000, 8_000_000])
def test_who_sends_much_sees_the_answer_and_no_reset(web, tmp_path, how, size):
    """1 MiB is read before the answer; more is dropped while the connection is closed."""
    web.teller.tell({"application": "shop", "message": "no"})
    body = tmp_path / "body"
    body.write_bytes(b"x" * size)
    done = subprocess.run(
        [paths.program("curl"), "-sS", "-m", "30", "-H", "Expect:", "--data-binary", f"@{body}",
         "-w", "%{http_code} %{num_connects}", *how, f"http://127.0.0.1:{web.port}/shop/a.txt",
         f"http://127.0.0.1:{web.port}/wiki/a.txt"], text=True, capture_output=True, check=False)
    assert "no\n" in done.stdout and "503 1" in done.stdout, done
    if size < 1_000_000:
        assert done.stdout.rstrip().endswith(" 0"), "the connection was not kept: " + done.stdout


def test_requests_in_one_packet_are_all_answered(web):
    web.teller.tell({"application": "shop"})
    with socket.create_connection(("127.0.0.1", web.port), 20) as client:
        client.sendall(b"POST /shop/a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nabcd"
                       b"GET /wiki/a.txt HTTP/1.1\r\nHost: x\r\n\r\n"
                       b"GET /shop/a.txt HTTP/1.1\r\nHost: x\r\nRange: bytes=0-3\r\n"
                       b"If-None-Match: *\r\nConnection: close\r\n\r\n")
        text = read_all(client)
    assert text.count(b"HTTP/1.1 503 ") == 2 and text.count(b"HTTP/1.1 200 ") == 1
    assert b"504" not in text.replace(b"Content-Length", b"")


def test_http_1_0_and_close_are_as_asked(web):
    web.teller.tell({"application": "shop"})
    for request in (b"GET /shop/a.txt HTTP/1.0\r\n\r\n",
                    b"GET /shop/a.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", web.port), 20) as client:
            client.sendall(request)
            text = read_all(client)
        assert text.startswith(b"HTTP/1.1 503 ") and b"Connection: close" in text


def test_http2_streams_go_on(web, tmp_path):
    body = tmp_path / "body"
    body.write_bytes(b"x" * 3_000_000)
    web.teller.tell({"application": "shop", "message": "no"})
    url = f"https://127.0.0.1:{web.tls}"
    curl = [paths.program("curl"), "-sSk", "-m", "30", "-w",
            "=%{http_code} %{http_version} %{num_connects};"]
    done = subprocess.run([*curl, f"{url}/shop/a.txt", f"{url}/wiki/a.txt", f"{url}/shop/a.txt"],
                          text=True, capture_output=True, check=False)
    assert "=503 2 1;" in done.stdout and "=200 2 0;" in done.stdout, done
    assert done.stdout.endswith("=503 2 0;") and "no\n" in done.stdout, done
    # more than is read: the stream is ended with its answer, the connection stays
    done = subprocess.run([*curl, "--data-binary", f"@{body}", f"{url}/shop/a.txt",
                           f"{url}/shop/a.txt"], text=True, capture_output=True, check=False)
    assert done.stdout.count("no\n") == 2 and done.stdout.endswith("=503 2 0;"), done


# --- which requests ------------------------------------------------------------------------------

def test_the_longest_path_counts_however_it_is_written(web):
    web.teller.tell({"application": "shop"})
    for path in ("/shop", "/shop/", "/shop/a.txt", "//shop/a.txt", "/./shop/a.txt",
                 "/x/../shop/a.txt", "/%73hop/a.txt", "/cart/a.txt", "/cart", "/shop?x=1"):
        assert web.get(path).status == 503, path
    for path in ("/shop/deep/a.txt", "/a.txt", "/wiki/a.txt"):
        assert web.get(path).status == 200, path
    for path in ("/shopping", "/wiki/shop"):
        assert web.get(path).status == 404, path


def test_what_an_application_uses_takes_it_along(web):
    web.teller.tell({"application": "database", "message": "db"})
    assert "db\n" in web.get("/wiki/a.txt").text
    assert web.get("/shop/a.txt").status == 200


def test_virtual_hosts_have_their_own_and_the_main_servers(web):
    def get(path):
        connection = http.client.HTTPConnection("127.0.0.1", web.other, timeout=20)
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    web.teller.tell({"application": "wiki"})
    assert get("/wiki/a.txt")[0] == 200
    assert web.get("/wiki/a.txt").status == 503
    web.teller.tell({"application": "blog"}, {"application": "shop"})
    assert get("/wiki/a.txt")[0] == 503
    assert web.get("/wiki/a.txt").status == 200
    status, text = get("/shop/a.txt")
    assert status == 503 and "nicht bearbeitet" in text


def test_only_this_servers_notices_count(web):
    web.teller.tell({"application": "shop", "servers": ["web2"]})
    assert web.get("/shop/a.txt").status == 200
    web.teller.tell({"application": "shop", "servers": ["web2", "web1"]})
    assert web.get("/shop/a.txt").status == 503


def test_a_page_that_is_served_is_served_whole(web):
    """Subrequests belong to the request, which was let through."""
    web.teller.tell({"application": "shop"})
    assert web.get("/a.shtml").text == "[this is shop/a.txt\n]"


def test_conditions_choose_the_requests(web):
    web.teller.tell({"application": "shop", "condition": "%{REQUEST_METHOD} != 'GET'"})
    assert web.get("/shop/a.txt").status == 200
    assert web.get("/shop/a.txt", method="DELETE").status == 503
    web.teller.tell({"application": "shop", "condition": "%{HTTP_COOKIE} !~ /tester=1/"})
    assert web.get("/shop/a.txt").status == 503
    passed = web.get("/shop/a.txt", {"Cookie": "a=b; tester=1"})
    assert passed.status == 200 and "Vary" not in passed.headers
    web.teller.tell({"application": "shop", "condition": "! -R '10.0.0.0/8'"})
    assert web.get("/shop/a.txt").status == 503
    assert web.get("/shop/a.txt", {"X-Client": "10.1.2.3"}).status == 200
    web.teller.tell({"application": "shop", "condition": "reqenv('TESTER') != 'tom'"})
    assert web.get("/shop/a.txt").status == 503
    assert web.get("/shop/a.txt", {"X-Tester": "tom"}).status == 200


def test_a_condition_that_asks_who_it_is_waits_for_the_password(web):
    web.teller.tell({"application": "shop", "condition": "%{REMOTE_USER} == 'anna'"})
    assert web.get("/shop/private/a.txt").status == 401
    assert web.get("/shop/private/a.txt", ANNA).status == 503
    assert web.get("/shop/private/a.txt", BASIC).status == 200
    assert web.get("/shop/a.txt").status == 200


def test_the_administrators_exceptions_are_always_let_through(web):
    before = web.get("/farmsync/status?json").json["availability"]["applications"][0]
    web.teller.tell({"application": "shop"})
    assert web.get("/shop/a.txt").status == 503
    assert web.get("/shop/a.txt", {"X-Admin": "yes"}).status == 200
    assert web.get("/shop/private/a.txt", BASIC).status == 200
    assert web.get("/shop/private/a.txt", ANNA).status == 503
    after = web.get("/farmsync/status?json").json["availability"]["applications"][0]
    assert after["name"] == "shop"
    assert after["refused"] - before["refused"] == 2
    assert after["passed"] - before["passed"] == 2


def test_the_agents_own_look_passes(web):
    web.teller.say("probe c0ffee")
    web.teller.tell({"application": "shop"})
    try:
        assert web.get("/shop/a.txt", {"FarmSync-Probe": "c0ffee"}).status == 200
        assert web.get("/shop/a.txt", {"FarmSync-Probe": "c0ffef"}).status == 503
        assert web.get("/shop/a.txt", {"FarmSync-Probe": ""}).status == 503
        assert "c0ffee" not in web.get("/farmsync/status").text
    finally:
        web.teller.say("probe")
    web.teller.tell({"application": "shop", "message": "x"})
    assert web.get("/shop/a.txt", {"FarmSync-Probe": "c0ffee"}).status == 503


def test_an_operators_word_stands_before_a_monitors_and_a_later_one_before_an_earlier(web):
    now = web.teller.now()
    monitor = {"application": "shop", "role": "monitor", "message": "monitor", "time": when(now)}
    operator = {"application": "shop", "message": "operator", "time": when(now - 50)}
    web.teller.tell(monitor, operator)
    assert "operator\n" in web.get("/shop/a.txt").text
    web.teller.tell(monitor, {**operator, "state": "up"})
    assert web.get("/shop/a.txt").status == 200
    web.teller.tell(operator, {**operator, "id": "testers", "state": "up", "time": when(now),
                               "condition": "req('X-Tester') == 'tom'"})
    assert web.get("/shop/a.txt").status == 503
    assert web.get("/shop/a.txt", {"X-Tester": "tom"}).status == 200
    web.teller.tell({**operator, "time": when(now)},
                    {**operator, "id": "b", "state": "up", "time": when(now - 60)})
    assert web.get("/shop/a.txt").status == 503


def test_the_end_is_that_of_the_last_of_several(web):
    now = web.teller.now()
    web.teller.tell({"application": "shop", "until": when(now + 100)},
                    {"application": "shop", "id": "b", "until": when(now + 5000)})
    assert int(web.get("/shop/a.txt").headers["Retry-After"]) > 4000
    web.teller.tell({"application": "shop", "until": when(now + 100)},
                    {"application": "shop", "id": "b", "time": when(now - 10)})
    assert 100 <= int(web.get("/shop/a.txt").headers["Retry-After"]) <= 110
    assert "again:" not in web.get("/shop/a.txt").text


def test_degraded_is_said_and_refuses_nothing(web):
    web.teller.tell({"application": "shop", "state": "degraded"})
    answer = web.get("/shop/a.txt")
    assert answer.status == 200 and answer.headers["X-Shop"] == "degraded"
    web.teller.tell({"application": "shop", "id": "a", "state": "degraded"},
                    {"application": "shop", "id": "b", "time": when(web.teller.now() - 100)})
    assert web.get("/shop/a.txt").status == 503
    assert web.get("/wiki/a.txt").headers["X-Shop"] == "down"
    web.teller.tell()
    assert web.get("/wiki/a.txt").headers["X-Shop"] == "up"


# --- time ----------------------------------------------------------------------------------------

def test_a_window_begins_and_ends_with_no_message(web):
    now = web.teller.now()
    number = web.teller.tell({"application": "shop", "from": when(now + 1), "until": when(now + 2)})
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=20)
    seen = []
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and (len(seen) < 3 or seen[-1][0] != 200):
        before = web.teller.now()
        connection.request("GET", "/shop/a.txt")
        answer = connection.getresponse()
        answer.read()
        after = web.teller.now()
        if before >= now + 1 and after < now + 2:
            assert answer.status == 503, before - now
        if after < now + 1 or before >= now + 2:
            assert answer.status == 200, before - now
        if not seen or seen[-1][0] != answer.status:
            seen.append((answer.status, before - now))
    connection.close()
    assert [status for status, _ in seen] == [200, 503, 200], seen
    assert web.get("/farmsync/status?json").json["availability"]["publication"] == number


def test_a_weekly_window_follows_the_local_clock():
    """Farm time is a Sunday of spring in Berlin, two seconds before 01:59:60 becomes 03:00."""
    start = datetime.datetime(2026, 3, 29, 0, 59, 58, tzinfo=datetime.timezone.utc).timestamp()
    offset = int(start - time.clock_gettime(time.CLOCK_MONOTONIC))
    httpd = make("event", str(offset))
    try:
        weekly = {"days": ["sun"], "start": "02:30", "end": "04:00",
                  "zone": "CET-1CEST,M3.5.0,M10.5.0/3"}
        httpd.teller.tell({"application": "shop", "weekly": weekly},
                          {"application": "wiki", "weekly": {**weekly, "start": "03:00"}})
        wait_for(lambda: httpd.get("/wiki/a.txt").status == 503, "the window to begin")
        assert httpd.teller.now() >= start + 2
        assert httpd.get("/shop/a.txt").status == 200  # 02:30 is half past three by the new time
        facts = httpd.get("/wiki/a.txt", {"Accept": "application/json"}).json
        assert facts["starts"].startswith("2026-03-29T01:00:00")
        assert facts["ends"].startswith("2026-03-29T02:00:00")
    finally:
        httpd.teller.close()
        httpd.remove()


# --- what goes wrong -----------------------------------------------------------------------------

def test_a_condition_is_checked_by_httpd_before_it_counts(web):
    web.teller.say("check 20000 %{REQUEST_METHOD} != 'GET' && -R '10.0.0.0/8'")
    answer = web.teller.ask("check 20000 %{REQUEST_METHOD != 'GET'")
    assert answer.startswith("error FS1508: httpd doesn't understand the condition")
    answer = web.teller.ask("check 20000 file('/etc/passwd') == 'x'")
    assert "FS1508" in answer and "restricted" in answer
    answer = web.teller.ask("check 20000 unheard_of('a') == 'x'")
    assert "FS1508" in answer and "unheard_of" in answer


def test_a_condition_that_does_not_compile_has_no_effect_and_is_seen(web):
    web.teller.tell({"application": "shop", "id": "bad", "condition": "unheard_of('x') == 'y'"},
                    {"application": "wiki"})
    assert web.get("/shop/a.txt").status == 200
    assert web.get("/wiki/a.txt").status == 503
    wait_for(lambda: "FS1521: notice shop/bad has no effect" in web.log(), "the log")
    notices = web.get("/farmsync/status?json").json["availability"]["notices"]
    assert "unheard_of" in [one for one in notices if one["notice"] == "shop/bad"][0]["trouble"]
    assert "unheard_of" in web.get("/farmsync/status").text
    assert "farmsync_notices_without_effect 1" in web.get("/farmsync/status?metrics").text
    assert "shop/bad: " in web.teller.say("problems")


def test_damage_changes_nothing(web):
    web.teller.tell({"application": "shop", "message": "before"})
    assert web.get("/shop/a.txt").status == 503
    number = web.teller.tell({"application": "wiki"})
    path = os.path.join(web.state, "notices", str(number))
    with open(path, "r+b") as file:
        file.seek(30)
        file.write(b"\xff")
    web.graceful()  # new processes know only the files
    wait_for(lambda: "before" in web.get("/shop/a.txt").text, "the last good notices")
    assert web.get("/wiki/a.txt").status == 200
    status = web.get("/farmsync/status?json").json["availability"]
    assert f"publication {number} of the notices is damaged" in status["trouble"]
    assert "FS1511" in web.log()
    assert "farmsync_notices_damaged 1" in web.get("/farmsync/status?metrics").text
    web.teller.tell({"application": "wiki", "message": "again"})
    assert web.get("/wiki/a.txt").status == 503
    assert web.get("/shop/a.txt").status == 200


def resident(httpd):
    """Most kilobytes of any request process."""
    most = 0
    for pid in httpd.children():
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            sizes = [int(line.split()[1]) for line in file if line.startswith("VmRSS")]
        most = max([most, *sizes])
    return most


def test_memory_does_not_grow_with_changes(web):
    rounds = 3000 if LONG else 400
    stop = threading.Event()

    def ask():
        connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=20)
        while not stop.is_set():
            connection.request("GET", "/shop/a.txt", headers={"X": "y"})
            connection.getresponse().read()
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        web.teller.say(f"many {rounds} shop")
        before = resident(web)
        for _ in range(4):
            web.teller.say(f"many {rounds} shop")
        after = resident(web)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    print(f"resident: {before} kB, after {4 * rounds} more changes {after} kB")
    assert after - before < 4096


def test_the_farms_state_is_on_the_status_page(web):
    web.teller.say("peers syncing web2 alive yes web3 dead no web4 suspect unknown")
    backplane = web.get("/farmsync/status?json").json["availability"]["backplane"]
    assert backplane["state"] == "syncing"
    assert [(one["server"], one["state"], one["same"]) for one in backplane["peers"]] == [
        ("web2", "alive", True), ("web3", "dead", False), ("web4", "suspect", None)]
    assert all(one["age_us"] >= 0 for one in backplane["peers"])
    metrics = web.get("/farmsync/status?metrics").text
    assert 'farmsync_peer_same_state{peer="web3"} 0' in metrics
    assert "farmsync_backplane_ready 0" in metrics
    assert "web3" in web.get("/farmsync/status").text
    assert "FarmSyncPeer[web3]State: dead" in web.get("/server-status?auto").text


def test_every_status_page_tells_the_state_of_applications(web):
    web.teller.tell({"application": "shop", "reason": "planned", "who": "<anna>"})
    assert states(web) == {"shop": "down", "deep": "up", "wiki": "up", "site": "up", "status": "up",
                           "blog": "up"}
    metrics = web.get("/farmsync/status?metrics").text
    assert 'farmsync_application_up{application="shop"} 0' in metrics
    assert 'farmsync_application_up{application="wiki"} 1' in metrics
    page = web.get("/farmsync/status").text
    assert "&lt;anna&gt;" in page and "<anna>" not in page
    assert "<h2>availability</h2>" in web.get("/server-status").text
    assert "FarmSyncApplication[shop]State: down" in web.get("/server-status?auto").text
    wait_for(lambda: "FS1522: application shop is down here (planned)" in web.log(), "the log")
    web.teller.tell()
    wait_for(lambda: "FS1523: application shop is up here again" in web.log(), "the log")


def test_graceful_restarts_under_load_lose_no_notice_and_no_request(web):
    """At 5 a second, as often as FARMSYNC_TEST_LONG says."""
    web.teller.tell({"application": "shop"})
    stop, wrong, done = threading.Event(), [], []

    def ask():
        while not stop.is_set():
            answer = web.get("/shop/a.txt")
            done.append(answer.status)
            if answer.status != 503:
                wrong.append(answer.status)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for _ in range(100 if LONG else 10):
            asked = len(done)
            web.process.send_signal(signal.SIGUSR1)
            pause = time.monotonic() + 0.2
            wait_for(lambda: time.monotonic() > pause and len(done) > asked, "requests")  # noqa: B023
    finally:
        stop.set()
        thread.join()
    assert not wrong and len(done) > 10


# --- configuration -------------------------------------------------------------------------------

@pytest.mark.parametrize("line, problem", [
    ("FarmSyncApplication", "FS1530"),
    ("FarmSyncApplication sh/op /x", "FS1530"),
    ("FarmSyncApplication other shop", "FS1530"),
    ("FarmSyncApplication other /x%20y", "FS1530"),
    ("FarmSyncApplication other /wiki", "FS1530"),
    ("FarmSyncApplicationUses shop a/b", "FS1531"),
    ("FarmSyncAvailable \"%{X\"", "FS1532"),
    ("FarmSyncAvailable", "FS1532"),
    ("FarmSyncAvailDocument no-such-file.html", "FS1533"),
    ("FarmSyncAvailDocument ErrorDocument for=shop", "FS1533"),
    ("FarmSyncAvailStatus 200", "FS1534"),
    ("FarmSyncAvailStatus 401", "FS1534"),
    ("FarmSyncAvailLanguage d_e", "FS1535"),
    ("FarmSyncAvailRetry 0", "FS1536"),
    ("FarmSyncAvailBody 16X", "FS1537")])
def test_configtest_finds_what_is_wrong(web, line, problem):
    try:
        web.configure(line)
        status, output = web.run("-t")
        assert status != 0 and problem in output
    finally:
        web.configure()


def test_the_dump_shows_the_settings(web):
    status, output = web.run("-t", "-DDUMP_FARMSYNC")
    assert status == 0
    for line in ("FarmSyncApplication      shop /shop", "FarmSyncApplication      shop /cart",
                 "FarmSyncApplicationUses  wiki database", "FarmSyncAvailRetry       100 s",
                 "FarmSyncAvailBody        1048576 bytes", "FarmSyncAvailDocument    ErrorDocument"):
        assert line in output, output


# --- valgrind ------------------------------------------------------------------------------------

@pytest.mark.limit(300)
@pytest.mark.skipif(not shutil.which("valgrind"), reason="valgrind is not installed")
def test_a_child_is_clean_under_valgrind():
    httpd = make("event", start=False)
    teller = httpd.teller
    log = httpd.path("valgrind.%p")
    with open(httpd.path("stderr"), "ab") as stderr:
        httpd.process = subprocess.Popen(
            ["valgrind", "--leak-check=full", "--show-leak-kinds=definite", "--num-callers=30",
             "--child-silent-after-fork=yes", f"--log-file={log}", *httpd.arguments("-X")],
            stderr=stderr, start_new_session=True)
    try:
        deadline = time.monotonic() + 150
        while not httpd.answers():
            assert time.monotonic() < deadline, httpd.log()
            time.sleep(0.2)
        for notice in ({"application": "shop", "message": "a <b>"},
                       {"application": "*", "until": "2099-01-01T00:00:00Z"},
                       {"application": "shop", "condition": "%{REMOTE_USER} == 'anna'"},
                       {"application": "site", "condition": "nonsense("},
                       {"application": "wiki", "from": "2099-01-01T00:00:00Z"}):
            teller.tell(notice)
            for headers in ({}, {"Accept": "text/html", "Accept-Language": "de"},
                            {"Accept": "application/json"}):
                httpd.get("/shop/a.txt", headers)
                httpd.get("/a.txt", headers, "POST")
        for page in ("", "?json", "?metrics"):
            assert httpd.get("/farmsync/status" + page).status == 200
        teller.say("check 60000 req('X') == 'y'")
    finally:
        httpd.stop()
        teller.close()
    text = ""
    for name in os.listdir(httpd.directory):
        if name.startswith("valgrind."):
            with open(httpd.path(name), encoding="utf-8") as file:
                text += file.read()
    httpd.remove()
    assert "ERROR SUMMARY" in text
    assert own_errors(text) == [], "\n\n".join(own_errors(text))
