#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What availability costs a request; prints a section of doc/benchmarks.md.

One httpd each without farmsync, and with 0, 10 and 1,000 applications; tests/tools/fs_notice tells
them the notices. All variants are measured in one run, in rounds of another order each, and each
measurement is paired with one of a page of the bare httpd right before or after it. A figure is the
median of these ratios, with the middle half beside it; the processor time of httpd's own processes
says the same on a machine that isn't quiet.
"""

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "..", "scripts"), os.path.join(HERE, "..", "farm")]

from farmlib import ending, paths  # noqa: E402
from lone_httpd import LoneHttpd, as_httpd_user  # noqa: E402

PAGE = "x" * 1024
SMALL = "y" * 96  # as long as a refusal in text
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
FAR = "2099-01-01T00:00:00Z"
DOWN = {"application": "app7", "state": "down", "message": "Back soon"}

# name, server, notices, path, headers, what it is compared with, text
VARIANTS = [
    ("bare", "bare", [], "/app3/page.txt", [], "/app3/page.txt", "bare httpd, no farmsync"),
    ("apps0", "apps0", [], "/app3/page.txt", [], "/app3/page.txt", "farmsync, no application"),
    ("apps10", "apps10", [], "/app3/page.txt", [], "/app3/page.txt", "10 applications, none down"),
    ("apps1000", "apps1000", [], "/app3/page.txt", [], "/app3/page.txt",
     "1,000 applications, none down"),
    ("future", "apps1000", [{**DOWN, "from": FAR}], "/app3/page.txt", [], "/app3/page.txt",
     "the same, a window planned for one of them"),
    ("other", "apps1000", [DOWN], "/app3/page.txt", [], "/app3/page.txt",
     "the same, another one is down"),
    ("readonly", "apps1000", [{**DOWN, "condition": "%{REQUEST_METHOD} != 'GET'"}],
     "/app7/page.txt", [], "/app7/page.txt", "it is read-only, and this is a GET"),
    ("refused", "apps1000", [DOWN], "/app7/page.txt", [], "/small.txt",
     "refused, as text; compared with a static file of the same size"),
    ("condition", "apps1000", [{**DOWN, "condition": "%{HTTP_COOKIE} !~ /tester=1/"}],
     "/app7/page.txt", [], "/small.txt", "refused by a condition on a cookie"),
    ("html", "apps1000", [DOWN], "/app7/page.txt", ["-H", f"Accept: {BROWSER}"], "/small.txt",
     "refused, as HTML of 790 bytes; compared with the file of 96 bytes"),
]


class Site:
    def __init__(self, name, applications):
        self.httpd = LoneHttpd("event")
        self.httpd.settings = "\n".join(f"FarmSyncApplication app{n} /app{n}"
                                        for n in range(applications)) + """
LogLevel warn
ThreadsPerChild 16
MaxKeepAliveRequests 0
"""
        for path, text in (("page.txt", PAGE), ("small.txt", SMALL), ("app3/page.txt", PAGE),
                           ("app7/page.txt", PAGE)):
            place = self.httpd.path("htdocs", path)
            os.makedirs(os.path.dirname(place), exist_ok=True)
            with open(place, "w", encoding="utf-8") as file:
                file.write(text)
        self.httpd.configure()
        if name == "bare":
            self.strip()
        self.teller = subprocess.Popen(
            [paths.built("tests/tools/fs_notice"), self.httpd.state, "web1"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **as_httpd_user())
        self.told = None
        self.tell([])
        self.httpd.start()

    def strip(self):
        """Takes farmsync out of the configuration."""
        with open(self.httpd.path("httpd.conf"), encoding="utf-8") as file:
            text = file.read()
        text = re.sub(r"^(FarmSync|LoadModule farmsync).*\n", "",
                      text.replace(" farmsync:debug", ""), flags=re.M)
        text = re.sub(r'<Location "/farmsync/\w+">\n.*\n</Location>\n', "", text)
        with open(self.httpd.path("httpd.conf"), "w", encoding="utf-8") as file:
            file.write(text)

    def say(self, line):
        self.teller.stdin.write(line + "\n")
        self.teller.stdin.flush()
        answer = self.teller.stdout.readline()
        if not answer.startswith("ok"):
            raise RuntimeError(f"{line}: {answer}")

    def tell(self, notices):
        if notices == self.told:
            return
        self.say("clear")
        for notice in notices:
            self.say("put " + json.dumps(notice))
        self.say("publish")
        self.told = notices

    def remove(self):
        self.teller.stdin.close()
        self.teller.wait()
        self.httpd.remove()


def one_measurement(site, notices, path, headers, seconds, wanted):
    """(requests a second, processor time a request in us)"""
    site.tell(notices)
    status = site.httpd.get(path).status
    if status != wanted:
        raise RuntimeError(f"{path} gave {status}, not {wanted}")
    before = site.httpd.processor_seconds()
    done = subprocess.run([paths.program("wrk"), "-t1", "-c8", f"-d{seconds}s", *headers,
                           f"http://127.0.0.1:{site.httpd.port}{path}"], text=True,
                          capture_output=True, check=False)
    count = int(re.search(r"(\d+) requests in", done.stdout)[1])
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", done.stdout)
    if "Socket errors" in done.stdout or bool(bad) != (wanted >= 400):
        raise RuntimeError(done.stdout + done.stderr)
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)[1])
    return rate, (site.httpd.processor_seconds() - before) / count * 1e6


def measure(sites, rounds, seconds):
    found = {one[0]: [] for one in VARIANTS}
    order = list(VARIANTS)
    for number in range(rounds):
        random.shuffle(order)
        for name, server, notices, path, headers, rival, _ in order:
            wanted = 503 if rival == "/small.txt" else 200
            pair = [(sites[server], notices, path, headers, seconds, wanted),
                    (sites["bare"], [], rival, [], seconds, 200)]
            results = [one_measurement(*one) for one in (pair if number % 2 else reversed(pair))]
            found[name].append(results if number % 2 else results[::-1])
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return found


def median_and_half(values):
    values = sorted(values)
    quarters = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    return f"{statistics.median(values):.3f} ({quarters[0]:.3f} to {quarters[2]:.3f})"


def table(found):
    lines = ["| variant | requests/s | ratio to bare httpd | processor time a request | "
             "ratio to bare httpd |", "|---|---:|---|---:|---|"]
    for name, *_, text in VARIANTS:
        pairs = found[name]
        lines.append(
            f"| {text} | {statistics.median(own[0] for own, _ in pairs):,.0f} | "
            f"{median_and_half([own[0] / bare[0] for own, bare in pairs])} | "
            f"{statistics.median(own[1] for own, _ in pairs):.1f} us | "
            f"{median_and_half([own[1] / bare[1] for own, bare in pairs])} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="2 rounds")
    options = parser.parse_args()
    sites = {}
    try:
        for name, applications in (("bare", 0), ("apps0", 0), ("apps10", 10), ("apps1000", 1000)):
            sites[name] = Site(name, applications)
        found = measure(sites, 2 if options.quick else options.rounds, options.seconds)
    finally:
        for site in sites.values():
            site.remove()
    print("## Cost of availability\n\nwrk, 1 thread, 8 keep-alive connections, event MPM, a static "
          f"page of 1 KiB, {2 if options.quick else options.rounds} rounds of {options.seconds} s "
          "for each measurement. A refusal is compared with a small static file of the bare httpd: "
          "above 1 it is answered faster.\n")
    print(table(found))


if __name__ == "__main__":
    ending.by_exception()
    main()
