# SPDX-License-Identifier: Apache-2.0
"""Applications that are down, on a real httpd: who is refused, and what he gets."""

import email.utils
import http.client
import socket
import subprocess

import pytest

from avail_fixtures import nothing_is_left, one_httpd, when  # noqa: F401
from farmlib import paths

BASIC = {"Authorization": "Basic cm9vdDpwYXNzd29yZA=="}  # root:password
ANNA = {"Authorization": "Basic YW5uYTpwYXNzd29yZA=="}


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
        client.sendall(b"POST /shop/a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n"
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
                 "/x/../shop/a.txt", "/x/%2e%2e/shop/a.txt", "/%73hop/a.txt", "/cart/a.txt", "/cart", "/shop?x=1"):
        assert web.get(path).status == 503, path
    for path in ("/shop/deep/a.txt", "/a.txt", "/wiki/a.txt"):
        assert web.get(path).status == 200, path
    for path in ("/shopping", "/wiki/shop"):
        assert web.get(path).status == 404, path


def test_what_an_application_uses_takes_it_along(web):
    web.teller.tell({"application": "database", "message": "db"})
    assert "db\n" in web.get("/wiki/a.txt").text
    assert web.get("/shop/a.txt").status == 200


def on_other(web, path, headers=None):
    """Status and text from the other virtual host."""
    connection = http.client.HTTPConnection("127.0.0.1", web.other, timeout=20)
    connection.request("GET", path, headers=headers or {})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def test_virtual_hosts_have_their_own_and_the_main_servers(web):
    web.teller.tell({"application": "wiki"})
    assert on_other(web, "/wiki/a.txt")[0] == 200
    assert web.get("/wiki/a.txt").status == 503
    web.teller.tell({"application": "blog"}, {"application": "shop"})
    assert on_other(web, "/wiki/a.txt")[0] == 503
    assert web.get("/wiki/a.txt").status == 200
    status, text = on_other(web, "/shop/a.txt")
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
    web.teller.tell({"application": "shop", "condition": "%{REMOTE_USER} != 'anna'"})
    assert web.get("/shop/private/a.txt").status == 401
    assert web.get("/shop/private/a.txt", ANNA).status == 200
    assert web.get("/shop/a.txt").status == 503


def test_the_administrators_exceptions_are_always_let_through(web):
    before = web.get("/farmsync/status?json").json["availability"]["applications"][0]
    web.teller.tell({"application": "shop"})
    assert web.get("/shop/a.txt").status == 503
    assert web.get("/shop/a.txt", {"X-Admin": "yes"}).status == 200
    assert on_other(web, "/shop/private/a.txt", BASIC)[0] == 200  # asked after log-in
    assert on_other(web, "/shop/private/a.txt", ANNA)[0] == 503
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
