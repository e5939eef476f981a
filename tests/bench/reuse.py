#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What FarmSyncReuse costs and spares; prints a section of doc/benchmarks.md.

Two places of one httpd, one with FarmSyncReuse and one without, in rounds of another order each; each
measurement is paired with one of the place without right before or after it. A figure is the median
of these ratios, with the middle half beside it. Then Chromium visits pages of the httpd manual and
an application in PHP twice, over TLS.
"""

import argparse
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "..", "scripts"), os.path.join(HERE, "..", "farm")]

from availability import median_and_half  # noqa: E402
from farmlib import ending, paths, ports  # noqa: E402
import reuse_browser  # noqa: E402
from lone_httpd import LoneHttpd, wait_for  # noqa: E402
from test_reuse_difference import make_server  # noqa: E402

SIZES = (1, 30, 300)
LUA = """require "string"
function handle(r)
    r.content_type = "text/html"
    r.headers_out["FarmSync-Depends"] = "shop"
    local rows = {{}}
    for n = 1, {rows} do rows[n] = string.format("<tr><td>article %06d</td><td>%.2f</td></tr>\\n", n, n * 1.19) end
    r:puts(table.concat(rows))
    return apache2.OK
end
"""
CONF = """
FarmSyncListen 127.0.0.1:{agent}
LogLevel warn
ThreadsPerChild 16
MaxKeepAliveRequests 0
Alias /on "{dir}/htdocs"
Alias /off "{dir}/htdocs"
<Location "/on">
    FarmSyncReuse On
</Location>
LuaMapHandler ^/(on|off)/made$ "{dir}/made.lua" handle
<Directory "{dir}/htdocs">
    SetOutputFilter INCLUDES
</Directory>
"""


def make_site():
    site = LoneHttpd("event", agent=paths.built("farmsync-agent"))
    site.settings = CONF.format(dir=site.directory, agent=ports.take(1)[0])
    for size in SIZES:
        with open(site.path("htdocs", f"{size}.shtml"), "w", encoding="ascii") as file:
            file.write("A page that is made, line by line, of so many bytes.\n" * (size * 1024 // 53))
    with open(site.path("made.lua"), "w", encoding="ascii") as file:
        file.write(LUA.format(rows=700))
    site.configure()
    return site


def load(site, path, tag, seconds):
    """(requests a second, processor time a request in us)"""
    headers = ["-H", f"If-None-Match: {tag}"] if tag else []
    before = site.processor_seconds()
    done = subprocess.run([paths.program("wrk"), "-t1", "-c8", f"-d{seconds}s", *headers,
                           f"http://127.0.0.1:{site.port}{path}"], text=True, capture_output=True,
                          check=False)
    if "Socket errors" in done.stdout or "Non-2xx" in done.stdout and not tag:
        raise RuntimeError(done.stdout + done.stderr)
    count = int(re.search(r"(\d+) requests in", done.stdout)[1])
    return (float(re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)[1]),
            (site.processor_seconds() - before) / count * 1e6)


def variants(site):
    """(text, path, tag, path to compare with)"""
    for size in SIZES:
        path = f"/{size}.shtml"
        tag = site.get("/on" + path).headers["ETag"]
        yield f"page of {size} KB, sent whole", "/on" + path, None, "/off" + path
        yield f"page of {size} KB, 304 by the filter", "/on" + path, tag, "/off" + path
    tag = site.get("/on/made").headers["ETag"]
    wait_for(lambda: early(site, tag), "a 304 before the page is made")
    yield "made by Lua, 35 KB, sent whole", "/on/made", None, "/off/made"
    yield "the same, 304 before it is made", "/on/made", tag, "/off/made"


def early(site, tag):
    count = site.get("/farmsync/status?json").json["reuse"]["not_modified_early"]
    site.get("/on/made")
    site.get("/on/made", {"If-None-Match": tag})
    return site.get("/farmsync/status?json").json["reuse"]["not_modified_early"] > count


def cost(rounds, seconds):
    site = make_site()
    try:
        site.start()
        order = list(variants(site))
        found = {one[0]: [] for one in order}
        shown = list(found)
        for number in range(rounds):
            random.shuffle(order)
            for text, path, tag, other in order:
                pair = [(path, tag), (other, None)]
                rates = [load(site, *one, seconds) for one in (pair if number % 2 else pair[::-1])]
                found[text].append(rates if number % 2 else rates[::-1])
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
    finally:
        site.remove()
    lines = ["| | requests/s | ratio to the same page without FarmSyncReuse | processor time a request | "
             "ratio |", "|---|---:|---|---:|---|"]
    for text in shown:
        pairs = found[text]
        lines.append(f"| {text} | {statistics.median(own[0] for own, _ in pairs):,.0f} | "
                     f"{median_and_half([own[0] / other[0] for own, other in pairs])} | "
                     f"{statistics.median(own[1] for own, _ in pairs):,.1f} us | "
                     f"{median_and_half([own[1] / other[1] for own, other in pairs])} |")
    return "\n".join(lines)


# --- a browser --------------------------------------------------------------------------------------

def browser():
    if not shutil.which("chromium") or not shutil.which("certutil") or not os.path.isdir(reuse_browser.MANUAL):
        return "chromium, certutil or the manual (apache2-doc) isn't there."
    home = tempfile.mkdtemp(prefix="fsbench-")
    with reuse_browser.php_server() as php:
        site = make_server(modules=reuse_browser.MODULES)
        try:
            urls = reuse_browser.add_pages(site, php)
            site.start()
            seen, logged = reuse_browser.visit_twice(site, urls, home, reuse_browser.ManualChanger(site).change)
            plain = {url: len(site.get(url).body) for url in urls}
        finally:
            site.remove()
            shutil.rmtree(home, ignore_errors=True)
    lines = ["| page | bytes | first visit | second visit, after a change |", "|---|---:|---:|---:|"]
    for url in urls:
        (first, size), (second, less) = seen[url]
        if second not in logged[url]:
            raise RuntimeError(f"{url}: Chromium's network log has no {second}")
        lines.append(f"| {url} | {plain[url]:,} | {size:,} ({first or 'plain'}) | {less:,} "
                     f"({second or 'plain'}) |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="2 rounds")
    options = parser.parse_args()
    rounds = 2 if options.quick else options.rounds
    print("## Reuse\n\nwrk, 1 thread, 8 keep-alive connections, event MPM, pages made by SSI and by Lua, "
          f"{rounds} rounds of {options.seconds} s for each measurement.\n")
    print(cost(rounds, options.seconds))
    print("\nChromium, headless, over TLS: bytes of each page's body by its own timing, codings by its network log:\n")
    print(browser())


if __name__ == "__main__":
    ending.by_exception()
    main()
