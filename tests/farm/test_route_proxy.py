# SPDX-License-Identifier: Apache-2.0
"""Forwarding to another server of the farm (mod_proxy_farmsync): what gets there, what comes back,
and what happens when the other server fails. tests/farm/mod_try_forward.c stands in for routing, and
says where each location goes.

Names in capitals are of scenarios of other products' test suites.
"""

import hashlib
import json
import os
import shutil
import subprocess
import threading

import pytest

from farmlib import paths
from lone_httpd import LoneHttpd, crashes, wait_for
from route_homes import DEADLINE_S, Echo, Home, WebSocket, Wire, free_port

HERE = os.path.dirname(os.path.abspath(__file__))
BODY = hashlib.sha256(b"body").digest() * (10 * 1024 * 1024 // 32)


@pytest.fixture(scope="module")
def try_forward(tmp_path_factory):
    apxs = shutil.which("apxs") or shutil.which("apxs2")
    if not apxs:
        pytest.skip("there is no apxs")
    directory = tmp_path_factory.mktemp("forward")
    shutil.copy(os.path.join(HERE, "mod_try_forward.c"), directory)
    done = subprocess.run([apxs, "-c", "-I" + os.path.join(paths.REPO, "mod_farmsync"),
                           "-Wc,-Wall -Wextra -Wno-unused-parameter -Werror",
                           "mod_try_forward.c"],
                          cwd=directory, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return os.path.join(directory, ".libs", "mod_try_forward.so")


class Front(LoneHttpd):
    def ask(self, method, path, fields="", body=b""):
        with Wire(self.port) as wire:
            return wire.ask(method, path, fields, body)

    def json(self, method, path, fields="", body=b""):
        status, found, text = self.ask(method, path, fields, body)
        assert status == 200, (status, text, self.log()[-3000:])
        return json.loads(text)


class Stage:
    """A front, two homes, a port where nobody is, a home that is an httpd with an echo behind it."""

    def __init__(self, mpm, module):
        self.one, self.two, self.echo = Home("one"), Home("two"), Echo()
        self.nobody, port = free_port()
        dead = f"http://127.0.0.1:{port}"
        self.web = LoneHttpd(
            "event", modules=("proxy", "proxy_http", "proxy_wstunnel"),
            locations=f'ProxyPass /old ws://{self.echo.address}/\n'
                      f'ProxyPass /new http://{self.echo.address}/ upgrade=websocket\n')
        self.web.start()
        web = f"http://127.0.0.1:{self.web.port}"
        places = {"": [self.one.url],
                  "/second": [dead, self.two.url], "/none": [dead, dead],
                  "/admin": [dead], "/old": [web], "/new": [web], "/die": [self.one.url, web],
                  "/silent": [self.one.url, self.two.url]}
        locations = "".join(
            f'<Location "{path or "/"}">\n'
            + "".join(f"    TryForward home{i + 1} {url}\n" for i, url in enumerate(urls))
            + "</Location>\n" for path, urls in places.items())
        proxy = paths.built("mod_farmsync/mod_proxy_farmsync.so")
        self.front = Front(
            mpm, modules=("proxy", "proxy_http", "http2"),
            settings=f'LoadModule proxy_farmsync_module "{proxy}"\n'
                     f'LoadModule try_forward_module "{module}"\n'
                     "FarmSyncForward answer=6s\nProtocols h2c http/1.1\nMaxKeepAliveRequests 500\n"
                     "RewriteEngine on\nRewriteRule ^/rewritten/(.*) /other/$1?added=1 [PT]\n"
                     "LogLevel proxy:warn",
            locations=locations + f'<Location "/none">\n    SetHandler try-body\n</Location>\n'
                      f"ProxyPass /admin {self.two.url}/admin\n")
        self.front.start()

    def end(self):
        log = self.front.log()
        for server in (self.front, self.web):
            server.remove()
        for home in (self.one, self.two, self.echo):
            home.end()
        self.nobody.close()
        assert not crashes(log), log


@pytest.fixture(scope="module", params=["event", "prefork"])
def stage(request, try_forward):
    stage = Stage(request.param, try_forward)
    yield stage
    stage.end()


@pytest.fixture
def front(stage):
    stage.one.seen, stage.two.seen = [], []
    return stage.front


def field(answer, name):
    return [value for key, value in answer["headers"] if key.lower() == name.lower()]


# --- what gets there, and what comes back --------------------------------------------------------


def test_a_request_arrives_as_it_was_sent(front):
    answer = front.json("GET", "/a%20b/%7Ex?q=1%20&z",
                        "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n"
                        "Cookie: a=1; farmsync=x\r\n")
    assert answer["path"] == "/a%20b/%7Ex?q=1%20&z"
    assert field(answer, "Host") == ["shop.example"]
    assert field(answer, "FarmSync-Route") == ["token-of-home1"]
    assert field(answer, "X-Forwarded-For") == ["192.0.2.7"]
    assert field(answer, "X-Forwarded-Proto") == ["https"]
    assert field(answer, "X-Forwarded-Host") == [] == field(answer, "X-Forwarded-Server")
    assert field(answer, "Cookie") == ["a=1; farmsync=x"]


def test_rewriting_is_left_to_the_home(front):
    assert front.json("GET", "/rewritten/x?y=2")["path"] == "/rewritten/x?y=2"
    assert front.json("GET", "http://shop.example/abs?y=2")["path"] == "/abs?y=2"


def test_connection_can_not_take_the_token_out(front):
    answer = front.json("GET", "/x", "Connection: FarmSync-Route, X-Mine\r\nX-Mine: 1\r\n"
                                     "Keep-Alive: 5\r\nTE: trailers\r\n")
    assert field(answer, "FarmSync-Route") == ["token-of-home1"]
    assert field(answer, "X-Mine") == [] == field(answer, "Keep-Alive") == field(answer, "TE")


def test_the_answer_passes_through(front):
    status, found, _ = front.ask("GET", "/x", "X-Want: 404\r\n")
    assert status == 404
    assert found["set-cookie"] == ["farmsync=abc.home; HttpOnly", "other=1"]
    assert found["server"][0].startswith("home")
    assert "x-hop" not in found and "timeout=77" not in str(found.get("keep-alive"))
    assert front.ask("GET", "/x", "X-Want: 503\r\n")[0] == 503
    assert front.ask("HEAD", "/x")[0] == 200
    assert "x-failed" not in found


def test_the_limit_of_requests_on_a_connection_holds(front):
    """The trick that makes mod_proxy tell of lost connections must not be seen."""
    with Wire(front.port) as wire:
        said = [wire.ask("GET", path, "Connection: keep-alive\r\n")[1] for path in ("/x", "/none", "/x")]
    left = [one["keep-alive"][0].split("max=")[1] for one in said]
    assert left == ["500", "499", "498"]


def test_ten_megabytes_both_ways(front, stage):
    answer = front.json("POST", "/up", body=BODY)
    assert (answer["length"], answer["digest"]) == (len(BODY), hashlib.sha256(BODY).hexdigest())
    # in a process of its own: the home runs in this one
    done = subprocess.run(["curl", "-sS", f"http://127.0.0.1:{front.port}/big"], capture_output=True, check=False,
                          timeout=DEADLINE_S)
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(
        b"".join(bytes([n]) * 65536 for n in range(160))).digest(), done.stderr


def test_a_body_streams(front, stage):
    """The home reads the first of it before the last was sent."""
    stage.one.received = 0
    half = len(BODY) // 2
    with Wire(front.port) as wire:
        wire.send(f"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: {len(BODY)}\r\n\r\n", BODY[:half])
        wait_for(lambda: stage.one.received > half // 2, "the home to get what was sent")
        wire.send(BODY[half:])
        status, found = wire.head()
        assert (status, json.loads(wire.body(found))["length"]) == (200, len(BODY))


def test_a_chunked_body(front, stage):
    stage.one.received = 0
    with Wire(front.port) as wire:
        wire.send("POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for start in range(0, 1 << 20, 1 << 16):
            wire.send(b"10000\r\n", BODY[start:start + (1 << 16)], b"\r\n")
        wait_for(lambda: stage.one.received > 1 << 18, "the home to get what was sent")
        wire.send("0\r\n\r\n")
        status, found = wire.head()
        answer = json.loads(wire.body(found))
    assert (status, answer["length"]) == (200, 1 << 20)
    assert answer["digest"] == hashlib.sha256(BODY[:1 << 20]).hexdigest()
    assert field(answer, "Transfer-Encoding") == ["chunked"]


def test_100_continue_is_the_home_s(front):
    head = "Host: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    with Wire(front.port) as wire:
        wire.send("POST /up HTTP/1.1\r\n" + head)
        assert wire.head()[0] == 100
        wire.send("12345")
        status, found = wire.head()
        assert (status, json.loads(wire.body(found))["length"]) == (200, 5)
    with Wire(front.port) as wire:
        wire.send("POST /refuse HTTP/1.1\r\n" + head)
        assert wire.head()[0] == 413


@pytest.mark.parametrize("tunnel", ["old", "new"])
def test_mod_proxy_cluster_WEBSOCKET(front, stage, tunnel):
    """... behind the home's mod_proxy_wstunnel, and behind its mod_proxy_http."""
    socket = WebSocket(front.port, f"/{tunnel}")
    assert socket.status == 101, front.log()[-3000:]
    assert socket.hear() == "token token-of-home1"
    for text in ("hello", "x" * 1000):
        socket.say(text)
        assert socket.hear() == "echo " + text
    socket.close()


def test_connections_are_kept(front, stage):
    """At most one for each process that was ever asked, and one more where one was being given up."""
    before = stage.one.connections
    with Wire(front.port) as wire:
        for _ in range(50):
            assert wire.ask("GET", "/x")[0] == 200
        for _ in range(50):
            assert wire.ask("POST", "/x", body=b"123")[0] == 200
    assert stage.one.connections - before <= 5


def test_over_http2(front):
    done = subprocess.run(
        ["curl", "-sS", "--http2-prior-knowledge", "--data-binary", "@-", "-o", "-", "-w",
         "\n%{http_version} %{http_code}", f"http://127.0.0.1:{front.port}/up"],
        input=BODY[:1 << 20], capture_output=True, check=False, timeout=DEADLINE_S)
    body, last = done.stdout.decode().rsplit("\n", 1)
    assert last == "2 200", done.stderr.decode() + front.log()[-2000:]
    assert json.loads(body)["length"] == 1 << 20


# --- when a server fails -------------------------------------------------------------------------


def test_nobody_there_next_server(front):
    """mod_proxy_cluster maintests: a node that is stopped costs nobody an answer."""
    status, found, body = front.ask("GET", "/second/x")
    assert (status, json.loads(body)["home"]) == (200, "two")
    assert found["x-failed"] == ["home1"]
    assert field(json.loads(body), "FarmSync-Route") == ["token-of-home2"]
    answer = front.json("POST", "/second/x", body=BODY)
    assert (answer["home"], answer["digest"]) == ("two", hashlib.sha256(BODY).hexdigest())


@pytest.mark.parametrize("size", [0, 5, 9000, 1 << 20])
def test_nobody_there_at_all_served_here(front, size):
    """With all of the body, also of what had been read ahead."""
    status, found, body = front.ask("POST", "/none", body=BODY[:size])
    assert (status, body) == (200, f"here {size} {sum(BODY[:size])}".encode())
    assert found["x-failed"] == ["home1, home2"]
    with Wire(front.port) as wire:
        wire.send("POST /none HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                  "5\r\n12345\r\n", "0\r\n\r\n")
        status, found = wire.head()
        assert (status, wire.body(found)) == (200, f"here 5 {sum(b'12345')}".encode())
        assert wire.ask("GET", "/x")[0] == 200  # nothing of it is taken for the next request


@pytest.mark.parametrize("size", [0, 5, 1 << 20])
def test_served_here_by_the_administrator_s_proxy(front, size):
    answer = front.json("POST", "/admin/x", body=BODY[:size])
    assert (answer["home"], answer["length"]) == ("two", size)
    assert answer["digest"] == hashlib.sha256(BODY[:size]).hexdigest()
    assert field(answer, "FarmSync-Route") == []
    assert field(answer, "X-Forwarded-For") == ["127.0.0.1"]  # as his ProxyPass says


def test_a_home_that_dies_with_a_request(front, stage):
    """It is repeated where that harms nobody."""
    status, found, _ = front.ask("GET", "/die")
    assert (status, found["x-failed"]) == (404, ["home1"])  # the second one has no such page
    for body in (b"", b"12345"):
        status, found, _ = front.ask("POST", "/die", body=body)
        assert (status, found.get("x-failed")) == (502, ["home1"]), front.log()[-3000:]
    asked = [seen[0] for seen in stage.one.seen]
    assert asked[:-2] in (["GET"], ["GET", "GET"])  # a kept connection isn't trusted
    assert asked[-2:] == ["POST", "POST"]
    assert "FS1644" in front.log()


@pytest.mark.parametrize("method, body", [("GET", b""), ("POST", b"12345"), ("POST", b"")])
def test_haproxy_SET_RETRIES_a_connection_that_was_just_ending(front, stage, method, body):
    """The home ends a connection that it had kept, with the request on its way."""
    with Wire(front.port) as wire:
        for _ in range(12):
            status, found, text = wire.ask(method, "/stale", body=body)
            assert (status, json.loads(text)["length"]) == (200, len(body))
            assert "x-failed" not in found
    ended = [seen for seen in stage.one.seen if seen[3] > 0]
    if method == "POST" and not body:
        assert not ended  # what can't be repeated goes over a fresh connection
    else:
        assert ended


def test_graceful_restarts_of_the_home_are_seen_by_nobody(try_forward):
    """Connections that end while a request is on its way, for real: not one of these may fail."""
    module = f'LoadModule try_forward_module "{try_forward}"\n'
    home = LoneHttpd("event", settings=module + "KeepAliveTimeout 1\nMaxKeepAliveRequests 7",
                     locations='<Location "/x">\n    SetHandler try-body\n</Location>')
    home.start()
    front = Front("event", modules=("proxy", "proxy_http"),
                  settings="LoadModule proxy_farmsync_module "
                           f'"{paths.built("mod_farmsync/mod_proxy_farmsync.so")}"\nMaxKeepAliveRequests 0\n' + module,
                  locations=f'<Location "/">\n    TryForward home http://127.0.0.1:{home.port}\n</Location>')
    front.start()
    bad, stop = [], threading.Event()

    def visit(number):
        with Wire(front.port) as wire:
            while not stop.is_set():
                for method, body in (("GET", b""), ("POST", b"12345"), ("POST", b"")):
                    status, found, text = wire.ask(method, "/x", body=body)
                    if (status, text) != (200, b"here %d %d" % (len(body), sum(body))) or "x-failed" in found:
                        bad.append((method, status, text))
                        return

    visitors = [threading.Thread(target=visit, args=(number,)) for number in range(4)]
    try:
        for one in visitors:
            one.start()
        for _ in range(int(os.environ.get("FARMSYNC_TEST_LONG", 0)) and 30 or 4):
            home.graceful()
        stop.set()
        for one in visitors:
            one.join(DEADLINE_S)
        assert not bad and not any(one.is_alive() for one in visitors), (bad, front.log()[-3000:])
    finally:
        stop.set()
        front.remove()
        home.remove()


def test_an_answer_that_breaks_off_does_so_for_the_client(front):
    with pytest.raises(ConnectionError):
        front.ask("GET", "/broken")


def test_mod_proxy_cluster_HANGINGTESTS(front, stage):
    """A server that says nothing: 504, no second server is tried, and others are served on."""
    status, found, _ = front.ask("GET", "/silent/x")
    assert status == 504 and "x-failed" not in found
    assert not stage.two.seen
    assert front.ask("GET", "/x")[0] == 200


def test_mod_proxy_cluster_MODCLUSTER_785(try_forward):
    """A node is killed and comes back."""
    home = Home("back")
    port = home.server_address[1]
    front = Front("event", modules=("proxy", "proxy_http"),
                  settings="LoadModule proxy_farmsync_module "
                           f'"{paths.built("mod_farmsync/mod_proxy_farmsync.so")}"\n'
                           f'LoadModule try_forward_module "{try_forward}"',
                  locations=f'<Location "/">\n    TryForward back http://127.0.0.1:{port}\n</Location>')
    front.start()
    try:
        assert front.json("GET", "/x")["home"] == "back"
        home.end()
        status, found, _ = front.ask("GET", "/x")
        assert (status, found["x-failed"]) == (404, ["back"])
        home = Home("back", port)
        assert front.json("GET", "/x")["home"] == "back"  # at once: it isn't held against it
    finally:
        front.remove()
        home.end()


# --- TLS between servers -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secure(tmp_path_factory):
    """A home that speaks TLS only, and its certificate."""
    directory = tmp_path_factory.mktemp("tls")
    key, certificate = str(directory / "key.pem"), str(directory / "cert.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-subj", "/CN=shop.example", "-addext", "subjectAltName=DNS:shop.example", "-days", "2",
                    "-keyout", key, "-out", certificate], check=True, capture_output=True)
    home = LoneHttpd("event", modules=("ssl", "socache_shmcb"),
                     settings=f"SSLEngine on\nSSLCertificateFile {certificate}\nSSLCertificateKeyFile {key}\n"
                              "SSLSessionCache none",
                     locations='<Location "/x">\n    Header set X-Token "expr=%{req:FarmSync-Route}"\n'
                               "    SetHandler none\n</Location>")
    os.makedirs(home.path("htdocs"), exist_ok=True)
    with open(home.path("htdocs", "x"), "w", encoding="utf-8") as file:
        file.write("secure")
    home.start()
    home.certificate = certificate
    yield home
    home.remove()


@pytest.mark.parametrize("settings, status, said", [
    ("SSLProxyEngine on\nSSLProxyVerify require\nSSLProxyCACertificateFile CERTIFICATE", 200, None),
    ("SSLProxyEngine on\nSSLProxyVerify require\nSSLProxyCACertificateFile /etc/ssl/certs/ca-certificates.crt", 404,
     "FS1644"),
    ("", 404, "FS164")])
def test_over_tls(try_forward, secure, settings, status, said):
    """What is no server of this farm, as its certificate shows, gets nothing."""
    front = Front("event", modules=("proxy", "proxy_http", "ssl", "socache_shmcb"),
                  settings="LoadModule proxy_farmsync_module "
                           f'"{paths.built("mod_farmsync/mod_proxy_farmsync.so")}"\n'
                           f'LoadModule try_forward_module "{try_forward}"\n'
                           + settings.replace("CERTIFICATE", secure.certificate),
                  locations=f'<Location "/">\n    TryForward home https://127.0.0.1:{secure.port}\n</Location>')
    front.start()
    try:
        for _ in range(3):
            found = front.ask("GET", "/x")
            assert found[0] == status, front.log()[-3000:]
        if status == 200:
            assert (found[1]["x-token"], found[2]) == (["token-of-home"], b"secure")
        else:
            assert found[1]["x-failed"] == ["home"] and said in front.log()
    finally:
        front.remove()


# --- configuration -------------------------------------------------------------------------------


@pytest.mark.parametrize("text, good", [
    ("FarmSyncForward connect=500ms answer=30s idle=2s", True), ("FarmSyncForward idle=2", True),
    ("FarmSyncForward", False), ("FarmSyncForward connect=0", False),
    ("FarmSyncForward connect=2min", False), ("FarmSyncForward wait=3", False),
    ("FarmSyncForward answer=x", False)])
def test_configtest(stage, text, good):
    stage.front.configure(text)
    try:
        status, said = stage.front.run("-t")
        assert (status == 0) == good, said
        assert good or "FarmSyncForward" in said
        if "connect=500ms" in text:
            dump = stage.front.run("-DDUMP_FARMSYNC", "-t")[1]
            assert "FarmSyncForward" in dump and "connect=500ms answer=30000ms idle=2000ms" in dump
    finally:
        stage.front.configure()
