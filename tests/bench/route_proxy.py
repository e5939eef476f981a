#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a request costs that is passed on to its home; prints a section of doc/benchmarks.md.

A front httpd passes requests on to a server of the farm: by FarmSyncRouteBy proxy, with the visitor's
cookie read on both, and by its mod_proxy_balancer, with the same cookie as stickysession, to a place of
the same server that knows nothing of routing. Rounds of another order each; each measurement is
paired with one of mod_proxy_balancer right before or after it. A figure is the median of these ratios,
with the middle half beside it.
"""

import argparse
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "..", "scripts"), os.path.join(HERE, "..", "farm")]

from availability import median_and_half  # noqa: E402
from farmlib import ending, paths  # noqa: E402
from route_httpd import RouteHttpd, ask  # noqa: E402

SIZES = {"1 KB": 1, "100 KB": 100}
COMMON = """
LogLevel warn
ThreadsPerChild 16
MaxRequestWorkers 64
MaxKeepAliveRequests 0
<Directory "/">
    AllowOverride None
    Options FollowSymLinks
</Directory>
LuaMapHandler ^/plain/echo$ "{dir}/echo.lua"
<Location "/plain">
    FarmSyncRoute Off
</Location>
"""
FRONT = """
LoadModule proxy_farmsync_module "{module}"
FarmSyncCapacity 0
<Proxy "balancer://shop">
    BalancerMember "{home}" route=web2
    ProxySet stickysession=farmsync lbmethod=byrequests
</Proxy>
ProxyPreserveHost On
ProxyPass "/balancer/" "balancer://shop/plain/"
ProxyPass "/balancer-routed/" "balancer://shop/"
<LocationMatch "^/balancer">
    FarmSyncRoute Off
</LocationMatch>
"""
POST = """wrk.method = "POST"
wrk.body = string.rep("x", 1000)
"""


def make_sites():
    module = paths.built("mod_farmsync/mod_proxy_farmsync.so")
    home = RouteHttpd("web2", route="serve")
    home.own_settings = COMMON.format(dir=home.directory)
    os.makedirs(home.path("htdocs", "plain"))
    for where in ("", "plain"):
        for size in SIZES.values():
            with open(home.path("htdocs", where, f"{size}.txt"), "wb") as file:
                file.write(b"x" * (size << 10))
    front = RouteHttpd("front", route="proxy",
                       modules=("slotmem_shm", "proxy_balancer", "lbmethod_byrequests"))
    front.own_settings = COMMON.format(dir=front.directory) + FRONT.format(module=module, home=home.url)
    return front, home


def start(front, home):
    for site in (home, front):
        site.configure()
        site.start()
    servers = {"front": {"url": front.url, "capacity": 0}, "web2": {"url": home.url, "capacity": 10000}}
    for site in (home, front):
        site.publish(servers)


def load(site, path, cookie, script, seconds):
    """(requests a second, median latency in microseconds)"""
    more = ["-s", script] if script else []
    done = subprocess.run([paths.program("wrk"), "-t1", "-c4", f"-d{seconds}s", "--latency", *more, "-H",
                           f"Cookie: farmsync={cookie}", f"http://127.0.0.1:{site.port}{path}"],
                          text=True, capture_output=True, check=False)
    if "Socket errors" in done.stdout or "Non-2xx" in done.stdout or done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    number, unit = re.search(r"50%\s+([\d.]+)(us|ms|s)", done.stdout).groups()
    return (float(re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)[1]),
            float(number) * {"us": 1, "ms": 1e3, "s": 1e6}[unit])


def variants(front, home, directory):
    """(text, [site, path], script, path of mod_proxy_balancer to compare with)"""
    script = os.path.join(directory, "post.lua")
    with open(script, "w", encoding="ascii") as file:
        file.write(POST)
    for text, size in SIZES.items():
        path = f"/{size}.txt"
        yield f"GET of {text}, passed on to its home", (front, path), None, "/balancer" + path
        yield f"GET of {text} by mod_proxy_balancer, routing On at the member", (front, "/balancer-routed" + path), \
            None, "/balancer" + path
    yield "GET of 1 KB, at home", (home, "/1.txt"), None, "/balancer/1.txt"
    yield "POST of 1 KB, passed on to its home", (front, "/echo"), script, "/balancer/echo"


def measure(rounds, seconds):
    front, home = make_sites()
    try:
        start(front, home)
        with tempfile.TemporaryDirectory(prefix="farmsync-bench-") as directory:
            cookie = ask(home, "/1.txt").cookie
            ask(home, "/1.txt", cookie=cookie)
            order = list(variants(front, home, directory))
            found = {one[0]: [] for one in order}
            shown = list(found)
            for number in range(rounds):
                random.shuffle(order)
                for text, (site, path), script, other in order:
                    pair = [(site, path), (front, other)]
                    rates = [load(*one, cookie, script, seconds) for one in (pair if number % 2 else pair[::-1])]
                    found[text].append(rates if number % 2 else rates[::-1])
                print(f"round {number + 1} of {rounds}", file=sys.stderr)
        assert front.count("proxied") > 0 and home.count("home") > 0
    finally:
        front.remove()
        home.remove()
    lines = ["| | requests/s | median latency | requests/s, ratio to mod_proxy_balancer |", "|---|---:|---:|---|"]
    for text in shown:
        pairs = found[text]
        lines.append(f"| {text} | {statistics.median(own[0] for own, _ in pairs):,.0f} | "
                     f"{statistics.median(own[1] for own, _ in pairs):,.0f} us | "
                     f"{median_and_half([own[0] / other[0] for own, other in pairs])} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=2, help="of each measurement")
    parser.add_argument("--quick", action="store_true", help="to see that it works")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 2, 1
    print("## Requests that are passed on\n")
    print(measure(options.rounds, options.seconds))
    print("\n4 connections, front and home on one machine; the balancer's member has routing Off where "
          "nothing else is said.")


if __name__ == "__main__":
    ending.by_exception()
    main()
