#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What FarmSyncReuse costs and spares; prints a section of doc/benchmarks.md.

Two places of one httpd, one with FarmSyncReuse and one without, in rounds of another order each; each
measurement is paired with one of the place without right before or after it. A figure is the median
of these ratios, with the middle half beside it. Then Chromium visits pages of the httpd manual and
an application in PHP twice, over TLS.
"""

import argparse
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "..", "scripts"), os.path.join(HERE, "..", "farm")]

from availability import median_and_half  # noqa: E402
from farmlib import paths, ports  # noqa: E402
from lone_httpd import LoneHttpd, wait_for  # noqa: E402

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
    site.start()
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

MANUAL = "/usr/share/doc/apache2-doc/manual/en"
ADMINER = "/usr/share/adminer"
PHP = "/usr/lib/apache2/modules/libphp8.2.so"
DRIVER = """<!doctype html><pre id="out"></pre><script>
async function visit(url) {{
    const answer = await fetch(url, {{cache: "no-cache"}});
    await answer.text();
    const all = performance.getEntriesByName(new URL(url, location).href);
    return [answer.headers.get("content-encoding"), all[all.length - 1].encodedBodySize];
}}
async function run() {{
    const seen = {{}};
    for (const url of {urls}) {{
        const first = await visit(url);
        let second = [null, 0];
        for (let n = 0; n < 100 && second[0] !== "dcz"; n++) {{
            await new Promise(done => setTimeout(done, 50));
            second = await visit(url);
        }}
        seen[url] = [first, second];
    }}
    document.getElementById("out").textContent = "RESULT " + JSON.stringify(seen) + " END";
}}
run();
</script>
"""


def browser_site():
    """httpd's manual and Adminer, over TLS."""
    from test_reuse_difference import make_server
    site = make_server("prefork")
    shutil.copytree(MANUAL, site.path("htdocs", "manual"), symlinks=False)
    more = ""
    urls = ["/manual/mod/core.html", "/manual/mod/mod_proxy.html", "/manual/mod/mod_rewrite.html"]
    if os.path.isdir(ADMINER) and os.path.exists(PHP):
        more += f"""LoadModule php_module "{PHP}"
AddHandler application/x-httpd-php .php
Alias /adminer "{ADMINER}"
<Directory "{ADMINER}">
    Require all granted
    DirectoryIndex index.php
</Directory>
"""
        urls.append("/adminer/adminer/index.php")
    with open(site.path("htdocs", "driver.html"), "w", encoding="utf-8") as file:
        file.write(DRIVER.format(urls=json.dumps(urls)))
    site.locations += more
    site.configure()
    return site, urls


class Changer:
    """Appends a line to each page of the manual now and then, as a new release would."""

    def __init__(self, site):
        self.site, self.number = site, 0

    def change(self):
        self.number += 1
        for name in ("core", "mod_proxy", "mod_rewrite"):
            path = self.site.path("htdocs", "manual", "mod", name + ".html")
            with open(path, encoding="utf-8") as file:
                text = re.sub(r"\n<!-- edition \d+ -->", "", file.read())
            with open(path + ".new", "w", encoding="utf-8") as file:
                file.write(text + f"\n<!-- edition {self.number} -->")
            os.replace(path + ".new", path)


def visit(site, home):
    """What Chromium's page found: {url: [[encoding, bytes], [encoding, bytes]]}"""
    trusted = os.path.join(home, ".pki", "nssdb")
    os.makedirs(trusted)
    for command in (["-N", "--empty-password"],
                    ["-A", "-t", "C,,", "-n", "bench", "-i", site.path("cert.crt")]):
        subprocess.run(["certutil", "-d", f"sql:{trusted}", *command], check=True, capture_output=True)
    browser = subprocess.Popen(
        ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
         f"--user-data-dir={os.path.join(home, 'profile')}", "--timeout=60000",
         "--virtual-time-budget=60000", "--dump-dom", f"https://localhost:{site.tls}/driver.html"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**os.environ, "HOME": home})
    changer = Changer(site)
    end = time.monotonic() + 90
    while browser.poll() is None and time.monotonic() < end:
        changer.change()
        time.sleep(0.05)
    if browser.poll() is None:
        browser.kill()
    found = re.search(r"RESULT (.*?) END", browser.stdout.read())
    if not found:
        raise RuntimeError("chromium didn't finish its visits")
    return json.loads(found[1])


def browser():
    if not shutil.which("chromium") or not shutil.which("certutil") or not os.path.isdir(MANUAL):
        return "chromium, certutil or the manual (apache2-doc) isn't there."
    site, urls = browser_site()
    home = tempfile.mkdtemp(prefix="fsbench-")
    try:
        site.start()
        seen = visit(site, home)
        plain = {url: len(site.get(url).body) for url in urls}
    finally:
        site.remove()
        shutil.rmtree(home, ignore_errors=True)
    lines = ["| page | bytes | first visit | second visit, after a change |", "|---|---:|---:|---:|"]
    for url in urls:
        (first, size), (second, less) = seen[url]
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
    print("\nChromium, headless, over TLS; what its own timing says of each page's body:\n")
    print(browser())


if __name__ == "__main__":
    main()
