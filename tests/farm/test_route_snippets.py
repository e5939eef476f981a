# SPDX-License-Identifier: Apache-2.0
"""farmsyncctl snippet: what it writes is read by HAProxy, httpd with mod_proxy_balancer and with mod_jk, and
named-checkzone, and does what it is for. An agent answers GET /v1/route in the words of a farm."""

import http.server
import json
import os
import shutil
import subprocess
import sys
import threading

import pytest

from farmlib import paths
from lone_httpd import LoneHttpd, crashes, wait_for
from route_homes import DEADLINE_S, Home, Wire

NAMES = ("web1.shop.example", "web-2", "web3:8080")


def server(name, url, capacity=10000, **more):
    return {"name": name, "url": url, "public": None, "rack": None, "capacity": capacity, "primaries": 0,
            "alternates": 0, "ratio": 0.0, "state": "alive", **more}


class Agent(http.server.ThreadingHTTPServer):
    """Answers as agents do."""

    daemon_threads = True

    def __init__(self, servers):
        agent = self
        self.farm = {"server": servers[0]["name"], "servers": servers, "visitors": 0,
                     "capacity": 0, "mean": 0.0}

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *unused):
                pass

            def do_GET(self):
                body = json.dumps(agent.farm if self.path == "/v1/route" else {}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def ctl(self, *arguments, status=0):
        done = subprocess.run([sys.executable, os.path.join(paths.REPO, "scripts", "farmsyncctl"), *arguments,
                               "--agent", f"http://127.0.0.1:{self.server_address[1]}"],
                              capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout if status == 0 else done.stderr

    def end(self):
        self.shutdown()
        self.server_close()


@pytest.fixture
def agent():
    made = []

    def make(*servers):
        made.append(Agent(list(servers)))
        return made[-1]
    yield make
    for one in made:
        one.end()


@pytest.fixture
def homes():
    homes = [Home(name) for name in NAMES]
    yield homes
    for home in homes:
        home.end()


def mixed(agent):
    return agent(server(NAMES[0], "http://10.0.0.1:80", 1000), server(NAMES[1], "http://[2001:db8::2]:8080", 2000),
                 server(NAMES[2], "https://10.0.0.3", 8000, public="https://192.0.2.3", state="dead"),
                 server("front", "http://10.0.0.9:80", 0))


# --- they are read -----------------------------------------------------------------------------


def check_haproxy(text, directory, port=1):
    path = directory / "haproxy.cfg"
    path.write_text("global\n    maxconn 100\ndefaults\n    mode http\n    timeout client 20s\n"
                    f"frontend in\n    bind 127.0.0.1:{port}\n    default_backend farm\n{text}")
    return [paths.program("haproxy"), "-f", str(path)]


@pytest.mark.parametrize("more", [(), ("--check-port", "4490")])
def test_haproxy_c(agent, tmp_path, more):
    text = mixed(agent).ctl("snippet", "haproxy", *more)
    done = subprocess.run([*check_haproxy(text, tmp_path), "-c"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stdout + done.stderr + text
    assert "front" not in text.split("backend")[1]
    assert [line.split("weight ")[1].split()[0] for line in text.splitlines() if " weight " in line] == \
        ["2", "1", "8"]  # by name: web-2, web1..., web3
    assert ("agent-port 4490" in text) == bool(more)


def balancer_httpd(text, farmsync):
    proxy = paths.built("mod_farmsync/mod_proxy_farmsync.so")
    return LoneHttpd("event", modules=("slotmem_shm", "proxy", "proxy_http", "proxy_balancer",
                                       "lbmethod_byrequests", "ssl", "socache_shmcb"),
                     settings=(f'LoadModule proxy_farmsync_module "{proxy}"\n' if farmsync else "") + text)


@pytest.mark.parametrize("farmsync", [True, False])
def test_httpd_t(agent, farmsync):
    front = balancer_httpd(mixed(agent).ctl("snippet", "balancer", "--name", "shop"), farmsync)
    try:
        status, said = front.run("-t")
        assert (status, said.strip()) == (0, "Syntax OK"), said
    finally:
        front.remove()


def test_mod_jk(agent, tmp_path):
    text = mixed(agent).ctl("snippet", "jk")
    assert "worker.web_2.route=web-2" in text and "worker.web_2.port=8009" in text
    module = os.path.join(paths.httpd_modules(), "mod_jk.so")
    if not os.path.exists(module):
        pytest.skip("there is no mod_jk")
    tmp_path.joinpath("workers.properties").write_text(text)
    front = LoneHttpd("event", settings=f'LoadModule jk_module "{module}"\nJkWorkersFile '
                                        f'"{tmp_path}/workers.properties"\nJkMount /shop/* farm\n'
                                        'JkLogFile jk.log\nJkShmFile jk.shm')
    try:
        status, said = front.run("-t")
        assert (status, said.strip()) == (0, "Syntax OK"), said
    finally:
        front.remove()


def test_named_checkzone(agent, tmp_path):
    text = mixed(agent).ctl("snippet", "dns", "--name", "shop")
    records = [line.split() for line in text.splitlines() if line and line[0] != ";"]
    assert sorted(words[4] for words in records) == ["10.0.0.1", "192.0.2.3", "2001:db8::2"]
    zone = tmp_path / "zone"
    zone.write_text("$TTL 60\n@ IN SOA ns hostmaster 1 60 60 60 60\n@ IN NS ns\nns IN A 192.0.2.1\n" + text)
    program = shutil.which("named-checkzone", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if not program:
        pytest.skip("there is no named-checkzone")
    done = subprocess.run([program, "example.org", str(zone)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_nothing_foreign_gets_into_a_configuration(agent):
    for bad in (server("web1\nglobal", "http://10.0.0.1"), server("web1", "http://10.0.0.1 x"),
                server("web1", "http://10.0.0.1:99999"), server("web1", "file:///etc"), server("web1", None),
                server("web1", "http://10.0.0.1", public='http://a"b')):
        for kind in ("haproxy", "balancer", "jk", "dns"):
            assert "FarmSyncRouteURL" in agent(bad).ctl("snippet", kind, status=4)
    assert "FarmSyncCapacity" in agent(server("a", "http://10.0.0.1", 0)).ctl("snippet", "dns", status=4)
    one = agent(server("a", "http://10.0.0.1"))
    assert "is no name" in one.ctl("snippet", "haproxy", "--name", "a b", status=2)
    assert json.loads(one.ctl("--json", "snippet", "jk"))["servers"] == ["a"]


# --- they do what they are for -----------------------------------------------------------------


def home_of(port, cookie=None):
    with Wire(port) as wire:
        fields = f"Cookie: a=b; farmsync={cookie}; c=d\r\n" if cookie else ""
        status, _, body = wire.ask("GET", "/x", fields)
        return json.loads(body)["home"] if status == 200 else status


def test_haproxy_STICKINESS(agent, homes, tmp_path):
    """haproxy stickiness/lb-services: by the cookie to its server, else spread; past one that is down."""
    one = agent(*(server(home.name, home.url) for home in homes))
    probe = LoneHttpd("event")  # for a port
    port = probe.port
    probe.remove()
    process = subprocess.Popen([*check_haproxy(one.ctl("snippet", "haproxy"), tmp_path, port), "-db"])
    try:
        wait_for(lambda: reachable(port), "HAProxy to answer")
        for home in homes:
            for _ in range(3):
                assert home_of(port, f"abc-_.{home.name}") == home.name
        assert {home_of(port) for _ in range(12)} == set(NAMES)
        assert home_of(port, "abc.unknown") in NAMES
        homes[0].end()
        for _ in range(6):
            assert home_of(port, f"abc.{homes[0].name}") in NAMES[1:]
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


def reachable(port):
    try:
        return home_of(port) in NAMES
    except OSError:
        return False


@pytest.mark.parametrize("farmsync", [True, False])
def test_mod_proxy_cluster_STICKY(agent, homes, farmsync):
    """mod_proxy_cluster maintests: sticky; a member that ends takes nobody with it."""
    one = agent(*(server(home.name, home.url) for home in homes))
    front = balancer_httpd(one.ctl("snippet", "balancer"), farmsync)
    front.start()
    try:
        for home in homes:
            for _ in range(3):
                assert home_of(front.port, f"abc-_.{home.name}") == home.name
        assert home_of(front.port) in NAMES
        homes[0].end()
        for _ in range(6):
            assert home_of(front.port, f"abc.{homes[0].name}") in NAMES[1:]
        assert not crashes(front.log())
    finally:
        front.remove()
