#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What routing costs a request that arrives at its home; prints a section of doc/benchmarks.md.

Two httpds with the same modules and places: in one FarmSyncRoute is On and knows a farm of six, in the
other it is nowhere. Both get the same requests of 64 visitors with their cookies, who are at home there.
A figure is the median of ratios of two measurements right one after the other, their order changed each
time, with the middle half beside it; so whatever else the machine does hits both alike.

--null compares two httpds without routing: how far from 1 the machine alone brings a ratio.
--instructions counts the processor's instructions instead (user space, valgrind), which nothing disturbs.
"""

import argparse
import http.client
import os
import re
import statistics
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "..", "scripts"), os.path.join(HERE, "..", "farm")]

from availability import median_and_half  # noqa: E402
from farmlib import ending, paths, proc  # noqa: E402
from farmlib.bench import processor_seconds  # noqa: E402
from lone_httpd import LoneHttpd  # noqa: E402
from route_httpd import Affinity, RouteHttpd, ask  # noqa: E402

SIZES = {"1 KB": 1, "30 KB": 30}
VISITORS = 64
SERVERS = 6
FEW, MANY = 200, 1200  # requests whose instructions are compared
LIMIT = 0.98          # requests a second at home, by those without routing: what is promised
COMMON = """
LogLevel warn
MaxKeepAliveRequests 0
"""
SCRIPT = """\
local cookies, requests, place = {{ {cookies} }}, {{}}, 0
function init()
    for number, one in ipairs(cookies) do
        requests[number] = wrk.format("GET", "{path}", {{ Cookie = "farmsync=" .. one }})
    end
end
request = function()
    place = place % #requests + 1
    return requests[place]
end
"""


class Site(RouteHttpd):
    """A httpd; without routing, what speaks of it is taken out of its configuration."""

    def __init__(self, name, routes):
        self.routes = routes
        super().__init__(name)
        self.own_settings = COMMON
        for text, size in SIZES.items():
            with open(self.path("htdocs", f"{size}.txt"), "wb") as file:
                file.write(b"x" * (size << 10))

    def configure(self, extra="ThreadsPerChild 16\nMaxRequestWorkers 64\n"):
        super().configure(extra)
        path = self.path("httpd.conf")
        with open(path, encoding="utf-8") as file:
            text = file.read().replace("CustomLog access.log route", "CustomLog access.log common")
        if not self.routes:
            text = re.sub(r"(?m)^\s*FarmSync(Route|Capacity).*\n", "", text)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def start(self, how="-DFOREGROUND"):
        (super() if self.routes else super(RouteHttpd, self)).start(how)

    def know_farm(self):
        self.publish({f"web{number}": {"url": self.url, "capacity": 10000}
                      for number in range(1, SERVERS + 1)})

    def processes(self):
        return proc.group(self.process.pid)


def visitors_of(home, count=VISITORS):
    """Cookies of visitors who are at home there, and have come back."""
    cookies = [ask(home, "/1.txt").cookie for _ in range(count)]
    for one in cookies:
        assert ask(home, "/1.txt", cookie=one).cookie is None
    return cookies


def load(site, script, seconds):
    """(requests a second, processor time a request in us)"""
    before = processor_seconds(site)
    done = subprocess.run([paths.program("wrk"), "-t1", "-c4", f"-d{seconds}s", "-s", script, site.url],
                          text=True, capture_output=True, check=False)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    if "Socket errors" in done.stdout or "Non-2xx" in done.stdout or not rate:
        raise RuntimeError(done.stdout + done.stderr)
    rate = float(rate[1])
    return rate, (processor_seconds(site) - before) / (rate * seconds) * 1e6


def measure(rounds, seconds, routes=True):
    home, plain = Site("web1", routes), Site("web2", False)
    found = {text: [] for text in SIZES}
    try:
        for site in (home, plain):
            site.configure()
            site.start()
        if routes:
            home.know_farm()
        known = visitors_of(home) if routes else [Affinity().text()] * VISITORS
        cookies = ", ".join(f'"{one}"' for one in known)
        with tempfile.TemporaryDirectory(prefix="farmsync-bench-") as directory:
            scripts = {}
            for text, size in SIZES.items():
                scripts[text] = os.path.join(directory, f"{size}.lua")
                with open(scripts[text], "w", encoding="ascii") as file:
                    file.write(SCRIPT.format(cookies=cookies, path=f"/{size}.txt"))
            for number in range(rounds):
                for text, script in scripts.items():
                    pair = [load(site, script, seconds) for site in ((home, plain) if number % 2 else (plain, home))]
                    found[text].append(pair if number % 2 else pair[::-1])
                print(f"round {number + 1} of {rounds}", file=sys.stderr)
        if routes:
            assert home.count("home") > 0
            assert not sum(home.count(what) for what in
                           ("proxied", "redirected", "adopted", "cookie_forged", "cookie_stale"))
    finally:
        home.remove()
        plain.remove()
    return found


def table(found):
    lines = ["| | without routing, requests/s | at home, requests/s | ratio | processor time a request, ratio |",
             "|---|---:|---:|---|---|"]
    for text, pairs in found.items():
        lines.append(f"| GET of {text} | {statistics.median(plain[0] for _, plain in pairs):,.0f} | "
                     f"{statistics.median(own[0] for own, _ in pairs):,.0f} | "
                     f"{median_and_half([own[0] / plain[0] for own, plain in pairs])} | "
                     f"{median_and_half([own[1] / plain[1] for own, plain in pairs])} |")
    return "\n".join(lines)


def short_of(found):
    """What is below the promise."""
    return [text for text, pairs in found.items()
            if statistics.median(own[0] / plain[0] for own, plain in pairs) < LIMIT]


# --- instructions

class Counted(Site):
    """httpd as one process in valgrind, which counts."""

    def configure(self, extra=""):
        super().configure("StartServers 1\nThreadsPerChild 1\nMinSpareThreads 1\nMaxRequestWorkers 1\n")

    def arguments(self, *more):
        return ["valgrind", "--tool=callgrind", f"--callgrind-out-file={self.path('htdocs', 'callgrind')}",
                *LoneHttpd.arguments(self, *more)]


def total_of(routes, count):
    """Instructions of a whole run with so many requests, and where they were."""
    site = Counted("web1", routes)
    try:
        site.configure()
        os.chmod(site.path("htdocs"), 0o777)
        site.start("-X")
        os.chmod(site.path("htdocs", "callgrind"), 0o666)  # httpd's user will write what was counted
        if routes:
            site.know_farm()
        ask_often(site, visitors_of(site, 1)[0] if routes else Affinity().text(), count)
        site.process.terminate()
        site.process.wait(60)
        with open(site.path("htdocs", "callgrind"), encoding="ascii", errors="replace") as file:
            total = int(re.search(r"(?m)^(?:totals|summary): (\d+)", file.read())[1])
        return total, annotate(site.path("htdocs", "callgrind"))
    finally:
        site.remove()


def annotate(path):
    """{function: instructions in it and what it calls}"""
    done = subprocess.run(["callgrind_annotate", "--inclusive=yes", "--threshold=100", path], text=True,
                          capture_output=True, check=True)
    found = {}
    for line in done.stdout.splitlines():
        match = re.match(r"\s*([\d,]+) \([^)]*\)\s+\S*?:(\S+)", line)
        if match:
            found[match[2]] = int(match[1].replace(",", ""))
    return found


def ask_often(site, cookie, count):
    """One visitor over one kept connection."""
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
    for _ in range(count):
        connection.request("GET", "/1.txt", headers={"Cookie": "farmsync=" + cookie})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
    connection.close()


def difference(few, many):
    """Instructions a request of each function, what it calls included."""
    return {name: (many[name] - few.get(name, 0)) / (MANY - FEW) for name in many}


def instructions():
    a_request, where = {}, {}
    for routes in (False, True):
        (few, before), (many, after) = total_of(routes, FEW), total_of(routes, MANY)
        a_request[routes] = (many - few) / (MANY - FEW)
        where = difference(before, after)
    print(f"{a_request[False]:,.0f} instructions a request without routing, {a_request[True]:,.0f} at home: "
          f"{a_request[True] - a_request[False]:+,.0f}")
    for name, count in sorted(where.items(), key=lambda one: -one[1]):
        if count >= 5 and re.match(r"fs_|farmsync|header_parser|next_cookie|take_", name):
            print(f"{count:8,.0f}  {name}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--seconds", type=int, default=2, help="of each measurement")
    parser.add_argument("--quick", action="store_true", help="to see that it works")
    parser.add_argument("--null", action="store_true", help="compare two without routing")
    parser.add_argument("--instructions", action="store_true", help="count instructions instead")
    options = parser.parse_args()
    if options.instructions:
        instructions()
        return 0
    if options.quick:
        options.rounds, options.seconds = 2, 1
    found = measure(options.rounds, options.seconds, not options.null)
    print("## Requests at their home\n")
    print(table(found))
    print(f"\n{VISITORS} visitors with their cookies, 4 connections, a farm of {SERVERS} servers; without routing: the same "
          "httpd and requests, with FarmSyncRoute nowhere.")
    for text in [] if options.null else short_of(found):
        print(f"GET of {text}: less than {LIMIT}, which is promised", file=sys.stderr)
    return 0


if __name__ == "__main__":
    ending.by_exception()
    sys.exit(main())
