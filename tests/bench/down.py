#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How long it takes from "shop is down" to the last server of a farm that answers 503, and back.

A farm of real httpd and agents on this machine; each round says down, waits until every server answers
503 to a visitor, says up, and waits for 200. Visitors ask again and again on connections of their own.
Times are given, of which the median and the worst: until the agent that was told answers that all
have confirmed; until the last visitor sees it; and the same for farmsyncctl as a command, with its start.

  FARMSYNC_BUILD=DIR tests/bench/down.py [--servers 8] [--rounds 50 | --quick]
"""

import argparse
import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "scripts"))
sys.path.insert(0, os.path.join(HERE, "..", "farm"))
sys.dont_write_bytecode = True

from farmlib import ending, paths, setup  # noqa: E402
from farmlib.farm import Farm  # noqa: E402
from notice_farm import agent, prepare, socket_of, wait_until  # noqa: E402

PACE_S = 0.002
LIMIT_S = 20
DOWN = {"application": "shop", "state": "down", "reason": "planned"}


class Visitor(threading.Thread):
    """Asks one server on one connection and notes when its answer became another."""

    def __init__(self, web):
        super().__init__(daemon=True)
        self.port = web.port
        self.wanted, self.seen = None, threading.Event()
        self.when = 0.0
        self.stopping = False

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT_S)
        while not self.stopping:
            if self.wanted is None:
                time.sleep(PACE_S)
                continue
            try:
                connection.request("GET", "/shop/")
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                continue
            if answer.status == self.wanted:
                self.when = time.monotonic()
                self.wanted = None
                self.seen.set()
            else:
                time.sleep(PACE_S)
        connection.close()


def change(visitors, wanted, act):
    """(act's own result, seconds until the last visitor saw it)."""
    for one in visitors:
        one.seen.clear()
        one.wanted = wanted
    began = time.monotonic()
    result = act()
    for one in visitors:
        if not one.seen.wait(LIMIT_S):
            raise SystemExit(f"a server did not answer {wanted} within {LIMIT_S} s")
    return result, max(one.when for one in visitors) - began


def ms(values):
    ordered = sorted(values)
    chosen = (statistics.median(ordered), ordered[int(len(ordered) * 0.9)], ordered[-1])
    return " | ".join(f"{one * 1000:.1f} ms" for one in chosen)


def install_ctl(directory):
    """farmsyncctl as it is installed, where Python has compiled it."""
    for name in ("farmsyncctl", "farmctl"):
        source, target = os.path.join(paths.REPO, "scripts", name), os.path.join(directory, name)
        (shutil.copytree if os.path.isdir(source) else shutil.copy)(source, target)
    subprocess.run(["/usr/bin/python3", "-m", "compileall", "-q", os.path.join(directory, "farmctl")], check=True)
    return os.path.join(directory, "farmsyncctl")


def measure(farm, rounds, ctl):
    visitors = [Visitor(web) for web in farm.webs]
    for one in visitors:
        one.start()
    told, seen, back, command = [], [], [], []
    for number in range(rounds):
        where = agent(farm.webs[number % len(farm.webs)])
        body = json.dumps(DOWN).encode()
        (_, answer), span = change(visitors, 503, lambda: where.ask("POST", "/v1/notices", body))
        if answer["told"] != len(farm.webs):
            raise SystemExit(f"{answer['told']} of {len(farm.webs)} were told")
        told.append(answer["ms"] / 1000)
        seen.append(span)
        _, span = change(visitors, 200, lambda: where.ask("DELETE", "/v1/notices/shop"))
        back.append(span)
    for number in range(max(3, rounds // 5)):
        path = socket_of(farm.webs[number % len(farm.webs)])
        for act, wanted in (("down", 503), ("up", 200)):
            _, span = change(visitors, wanted, lambda: subprocess.run(
                [ctl, act, "shop", "--agent", path], check=True, stdout=subprocess.DEVNULL))
            command.append(span)
    for one in visitors:
        one.stopping = True
    return told, seen, back, command


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--quick", action="store_true", help="10 rounds")
    options = parser.parse_args()
    options.rounds = 10 if options.quick else options.rounds
    setup.ensure_built()
    directory = tempfile.mkdtemp(prefix="fsdown-", dir="/tmp")
    farm = Farm(directory)
    try:
        farm.create(servers=options.servers, datasrv=1, interval=600)
        prepare(farm).up()
        for web in farm.webs:
            wait_until(lambda: sum(one["state"] == "alive" for one in agent(web).ask("GET", "/v1/notices")[1]["servers"])
                       == len(farm.webs), 60, "the servers to know each other")
        os.mkdir(os.path.join(directory, "ctl"))
        told, seen, back, command = measure(farm, options.rounds, install_ctl(os.path.join(directory, "ctl")))
    finally:
        farm.down()
        shutil.rmtree(directory, ignore_errors=True)
    rows = (("down: all servers have confirmed to the one that was told", told),
            ("down: the last visitor sees 503", seen), ("up: the last visitor sees 200", back),
            ("`farmsyncctl`, from its start to the last visitor", command))
    print(f"## Time until a whole farm knows\n\n{options.servers} httpd with their agents on this machine, {options.rounds} "
          "rounds, a visitor at each server who asks again every 2 ms (`tests/bench/down.py`). The command's time is mostly "
          "that of Python's start.\n\n| | median | 90 % | worst |\n|---|---|---|---|")
    for title, values in rows:
        print(f"| {title} | {ms(values)} |")


if __name__ == "__main__":
    ending.by_exception()
    main()
