# SPDX-License-Identifier: Apache-2.0
"""Data servers and web servers over HTTP, where their addresses are given."""

import json
import urllib.error
import urllib.request

from ..text import clip, printable
from . import error, ok, warning

TIMEOUT_S = 5


def get(url):
    """(status, text); OSError or ValueError if there is no answer."""
    if not url.startswith(("http://", "https://")):
        raise ValueError("give http://host:port or https://host:port")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            return answer.status, answer.read(1 << 20).decode("utf-8", "replace")
    except urllib.error.HTTPError as failure:
        with failure:
            return failure.code, failure.read(1 << 20).decode("utf-8", "replace")


def check(patient):
    for url in patient.options.datasrv:
        yield from datasrv(url.rstrip("/"))
    for url in patient.options.web:
        yield from web(patient, url.rstrip("/"))


def no_answer(check_name, url, failure):
    return error(check_name, f"{url} doesn't answer: {getattr(failure, 'reason', failure)}",
                 "check that it runs, its port and the firewall")


def datasrv(url):
    try:
        status, body = get(url + "/healthz")
        said = json.loads(body)
        problems, hints = said.get("problems", []), said.get("warnings", [])
    except (OSError, ValueError, AttributeError) as failure:
        yield no_answer("datasrv-http", url, failure) if isinstance(failure, OSError) else \
            error("datasrv-http", f"{url} isn't a data server: "
                                  f"{failure}", "give the URL of a datasrv")
        return
    for one in problems:
        yield error("datasrv-http", f"{url}: {one.get('problem')}: {printable(one.get('detail'))}",
                    "doc/messages.md explains the number; see its log")
    for one in hints:
        yield warning("datasrv-http", f"{url}: {one.get('problem')}: "
                                      f"{printable(one.get('detail'))}",
                      "doc/messages.md explains the number")
    if status == 200:
        yield ok("datasrv-http", f"{url} ({printable(said.get('name'))}) is healthy")
    elif not problems:
        yield error("datasrv-http", f"{url} answers {status}", "see its log")


def web(patient, url):
    path = url if "/" in url.split("://", 1)[-1] else url + "/farmsync/status"
    try:
        status, body = get(path + "/health")
    except (OSError, ValueError) as failure:
        yield no_answer("web-http", path, failure)
        return
    text = clip(printable(" ".join(body.split())), 200)
    if status == 200:
        if text == "ok":
            yield ok("web-http", f"{path}/health: {text}")
        else:
            yield warning("web-http", f"{path}/health: {text}", f"see the server's error log and {path}")
        yield from known(patient, path)
    elif status == 404:
        yield error("web-http", f"{path}/health isn't "
                                "there", "give httpd <Location \"/farmsync/status\"> "
                    "SetHandler farmsync-status, or give --web the whole path")
    elif status in (401, 403):
        yield warning("web-http", f"{path}/health may not be read from here ({status})",
                      "allow this host by the Require lines of its <Location>")
    else:
        yield error("web-http", f"{path}/health answers {status}: {text}",
                    "see the server's error log and " + path)


def known(patient, path):
    """Is the server that answers there one of the farm that this database knows?"""
    try:
        status, body = get(path + "?json")
        name = json.loads(body).get("server") if status == 200 else None
    except (OSError, ValueError, AttributeError):
        name = None
    name = name.get("name") if isinstance(name, dict) else name
    if name and patient.farm and not any(row["name"] == name for row in patient.farm.servers):
        yield error("web-http", f"{path} is {printable(name)}, which this database doesn't know",
                    "its FarmSyncDatabase or FarmSyncDataServer belongs to another farm")
