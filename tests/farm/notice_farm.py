# SPDX-License-Identifier: Apache-2.0
"""Farms with applications, and what tells them about those: farmsyncctl and plain HTTP."""

import http.client
import json
import os
import subprocess

from farmctl.agent import Agent
from farmlib import paths
from farmlib.part import http_get, wait_until
from unix_http import UnixConnection

CTL = os.path.join(paths.REPO, "scripts", "farmsyncctl")
APPLICATIONS = "FarmSyncApplication shop /shop\nFarmSyncApplication mail /mail\n"


def prepare(farm, settings=""):
    """Before the farm is started: applications on each server, with a page each."""
    for web in farm.webs:
        for name in ("shop", "mail"):
            farm.write_file(f"{web.name}/htdocs/{name}/index.html", f"{name} on {web.name}\n")
        farm.write_file(f"{web.name}/conf/extra/avail.conf", APPLICATIONS + settings)
    return farm


def socket_of(web):
    return os.path.join(web.directory, "run", "farmsync", "agent.sock")


def url_of(web):
    return f"http://127.0.0.1:{web.record['agent_port']}"


def status(web, path="/shop/", **headers):
    return http_get(web.url + path, headers=headers)[0]


def wait_status(webs, wanted, path="/shop/", seconds=60):
    for web in webs:
        wait_until(lambda: status(web, path) == wanted, seconds,
                   f"{web.name} to answer {wanted} for {path}")


def ctl(web, *arguments, code=0):
    """farmsyncctl at this server's agent; its JSON."""
    done = run_ctl(web, *arguments, "--json")
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def run_ctl(web, command, *arguments):
    if command in ("down", "up") and "--wait" not in arguments:
        arguments = (*arguments, "--wait", "10000")  # a busy machine may let a server stand still for more than the usual
    done = subprocess.run([CTL, command, "--agent", socket_of(web), *arguments], text=True,
                          capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def agent(web):
    return Agent(socket_of(web))


def notices(web):
    """{key: notice} as this server knows them."""
    return {one["key"]: one for one in agent(web).ask("GET", "/v1/notices")[1]["notices"]}


def raw(web, method, path, body=b"", headers=None):
    """(status, JSON or text) without farmsyncctl's manners."""
    connection = UnixConnection(socket_of(web), 30)
    try:
        connection.request(method, path, body=body or None, headers=headers or {})
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", "replace")
    finally:
        connection.close()
    try:
        return answer.status, json.loads(text)
    except ValueError:
        return answer.status, text


def over_tcp(url, method, path, body=b"", headers=None):
    host, port = url.split("//")[1].split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    try:
        connection.request(method, path, body=body or None, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace")
    finally:
        connection.close()


MONITOR = """
import sys, json
sys.path[:0] = sys.argv[1:3]
from notice_farm import raw
class Web: directory = sys.argv[3]
print(json.dumps([raw(Web, method, path, body.encode()) for method, path, body in json.load(sys.stdin)]))
"""


def as_monitors(farm, web, requests):
    """What a program of httpd's account gets over the socket: [(status, JSON)] of (method, path, body)."""
    done = subprocess.run(["/usr/bin/python3", "-c", MONITOR, os.path.join(paths.REPO, "scripts"),
                           os.path.dirname(os.path.abspath(__file__)), web.directory],
                          input=json.dumps(requests), text=True, capture_output=True, check=True, cwd="/",
                          env=dict(os.environ, PYTHONDONTWRITEBYTECODE="1"), **farm.user.popen_arguments())
    return [tuple(one) for one in json.loads(done.stdout)]


def as_monitor(farm, web, method, path, body=b""):
    return as_monitors(farm, web, [(method, path, body.decode())])[0]
