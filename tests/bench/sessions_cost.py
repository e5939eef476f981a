#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a session costs a request: farmsync beside what else one could take.

All serve the same page of 1 KiB. *Read* looks at an entry of the session, *write* replaces one of
1 KiB by something new. wrk sends requests of 64 visitors over 8 kept connections. Variants are
measured in rounds of a random order, and each measurement is paired with one of a bare httpd with the
same MPM right before or after it; a figure is the median of these ratios, with its 95 % interval, so
that whatever else the machine does hits both alike. farmsync and the bare httpd are measured in more
rounds than the others, for the question is one of a few per cent.
"""

import http.client
import json
import math
import os
import random
import statistics
import subprocess
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

import sessions_sites as sites  # noqa: E402
from farmlib import ending, paths  # noqa: E402
from farmlib.bench import processor_seconds  # noqa: E402
from farmlib.errors import FarmError  # noqa: E402
from farmlib.progress import step  # noqa: E402

VISITORS, CONNECTIONS = 64, 8
ROUNDS, ROUNDS_OF_OTHERS = 17, 2

# Each visitor's requests are made beforehand; with FOLLOW the answer's cookie makes the next request.
SCRIPT = """\
local cookies = {{ {cookies} }}
local requests, place, path = {{}}, 0, "{path}"
function init()
    for number, one in ipairs(cookies) do
        requests[number] = wrk.format("GET", path, {{ Cookie = one }})
    end
end
request = function()
    place = place % #requests + 1
    return requests[place]
end
"""

FOLLOW = """\
local cookies = {{ {cookies} }}
local path = "{path}"
local first, last = 1, #cookies
request = function()
    local cookie = cookies[first]
    if cookie == nil then
        return wrk.format("GET", path)
    end
    cookies[first] = nil
    first = first + 1
    return wrk.format("GET", path, {{ Cookie = cookie }})
end
response = function(status, headers)
    for name, value in pairs(headers) do
        if name:lower() == "set-cookie" then
            last = last + 1
            cookies[last] = value:match("^[^;]*")
            return
        end
    end
end
"""


class Variant:
    """One line of the table: a site with reading or writing requests."""

    def __init__(self, place, site, write, bare):
        self.site, self.write, self.bare = site, write, bare
        self.name = f"{site.name}, {'write' if write else 'read'}" if site is not bare else site.name
        self.path = site.write if write else site.read
        self.script = os.path.join(place.directory, f"{abs(hash((site.name, write)))}.lua")
        self.prepare()

    @property
    def follows(self):
        return self.site.follow and self.write

    def prepare(self):
        """Visitors that have a session with 1 KiB in it, and their requests for wrk."""
        cookies = [self._visitor() for _ in range(VISITORS)]
        text = FOLLOW if self.follows else SCRIPT
        with open(self.script, "w", encoding="utf-8") as file:
            file.write(text.format(cookies=", ".join(map(json.dumps, cookies)), path=self.path))

    def _visitor(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.site.servers[0], timeout=10)
        connection.request("GET", self.site.write)
        answer = connection.getresponse()
        answer.read()
        given = answer.headers.get_all("Set-Cookie", [])
        connection.close()
        if answer.status != 200:
            raise FarmError(f"{self.site.name}: {self.site.write} answered {answer.status}")
        return given[0].split(";")[0] if given else "session=none"

    def processor_seconds(self):
        return sum(processor_seconds(part) for part in [*self.site.parts, *self.site.extra])

    def measure(self, seconds, connections=CONNECTIONS):
        """(requests a second, processor time of all server processes a request in us)"""
        if self.follows:
            self.prepare()
        before = self.processor_seconds()
        answer = subprocess.run(
            [paths.program("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "-s", self.script,
             f"http://127.0.0.1:{self.site.servers[0]}"], text=True, capture_output=True, check=False)
        rate = re.search(r"Requests/sec:\s+([\d.]+)", answer.stdout)
        bad = re.search(r"Non-2xx or 3xx responses: (\d+)", answer.stdout)
        if not rate or bad or "Socket errors" in answer.stdout:
            raise FarmError(f"wrk, {self.name}: {answer.stdout}{answer.stderr}")
        rate = float(rate[1])
        return rate, (self.processor_seconds() - before) / (rate * seconds) * 1e6


# What a farm's web server has beside its sessions: as soon as there is one <Location>, httpd looks at
# each request twice for it.
PLACES = """\
<Location "/status">
    SetHandler none
</Location>
<Location "/counter">
    SetHandler none
</Location>
"""


def bare_sites(place):
    """{mpm: a httpd with nothing but as many <Location> as the others}"""
    found = {}
    for mpm in ("event", "prefork"):
        web = place.add(sites.Httpd(place, f"bare-{mpm}", mpm, PLACES))
        found[mpm] = sites.Site(f"bare httpd ({mpm} MPM)", [web.port], mpm, "/page.txt", "/page.txt",
                                "", [web])
    return found


def variants_of(place, with_ours):
    bare = bare_sites(place)
    rivals = [sites.cookie(place), sites.dbd_sqlite(place), sites.dbd_mariadb(place),
              *sites.php(place)]
    place.sites = list(rivals)
    own = []
    if with_ours:
        for mpm in ("event", "prefork"):
            own += sites.ours(place, 1, mpm, modes=False)
            own[-1].name = f"farmsync ({mpm} MPM)"
            place.sites.append(own[-1])
    found = [Variant(place, one, False, one) for one in bare.values()]
    for site in own + rivals:
        for write in (False, True):
            if site.name == "mod_php, no session" and write:
                continue
            found.append(Variant(place, site, write, bare[site.mpm]))
    return found


def _is_close(one):
    """Is its ratio to be told from 1?"""
    return one.site is one.bare or one.site.name.startswith("farmsync")


def in_rounds(variants, rounds, seconds, shown):
    """{variant: [(own, of the bare httpd)]}"""
    bare = {one.site: one for one in variants if one.site is one.bare}
    found = {one: [] for one in variants}
    order = list(variants)
    for number in range(rounds):
        random.shuffle(order)
        for one in order:
            if number >= ROUNDS_OF_OTHERS and not _is_close(one):
                continue
            shown.say(f"round {number + 1} of {rounds}: {one.name}")
            pair = [one, bare[one.bare]]
            if number % 2:
                pair.reverse()
            results = {which: which.measure(seconds) for which in pair} if pair[0] is not pair[1] \
                else {one: one.measure(seconds)}
            again = one.measure(seconds) if one.site is one.bare else results[bare[one.bare]]
            found[one].append((results[one], again))
    return found


def scaling(variants, rounds, seconds, shown):
    """{variant: [requests/s with one, two, eight connections]} of those that have a fast store."""
    chosen = [one for one in variants if _is_close(one) or one.site.name == "PHP files"]
    found = {one: [] for one in chosen}
    for number in range(rounds):
        for one in random.sample(chosen, len(chosen)):
            shown.say(f"scaling, round {number + 1} of {rounds}: {one.name}")
            found[one].append([one.measure(seconds, count)[0] for count in (1, 2, 8)])
    return found


def _median(values):
    """The median and its 95 % interval, from the values' order; of a few values it is their range."""
    values = sorted(values)
    reach = 1.96 * math.sqrt(len(values)) / 2
    low = max(0, math.floor(len(values) / 2 - reach))
    high = min(len(values) - 1, math.ceil(len(values) / 2 + reach))
    return f"{statistics.median(values):.3f} ({values[low]:.3f} to {values[high]:.3f})"


WANTED = {False: 0.95, True: 0.88}


def table(found):
    lines = ["| variant | requests/s | ratio to bare httpd | processor time a request | "
             "ratio to bare httpd | wanted |", "|---|---:|---|---:|---|---|"]
    for one, pairs in found.items():
        ratios = [own[0] / bare[0] for own, bare in pairs]
        wanted = ""
        if one.site.name.startswith("farmsync"):
            least = WANTED[one.write]
            met = statistics.median(ratios) >= least
            wanted = f"≥ {least}: {'ok' if met else '**not met**'}"
        lines.append(
            f"| {one.name} | {statistics.median(own[0] for own, _ in pairs):,.0f} | "
            f"{_median(ratios)} | "
            f"{statistics.median(own[1] for own, _ in pairs):.1f} us | "
            f"{_median([own[1] / max(bare[1], 0.1) for own, bare in pairs])} | {wanted} |")
    return "\n".join(lines)


def scaling_table(found):
    lines = ["| variant | 1 connection | 2 connections | 8 connections | 2 of 1 |",
             "|---|---:|---:|---:|---|"]
    for one, rows in found.items():
        columns = [statistics.median(row[index] for row in rows) for index in range(3)]
        lines.append(f"| {one.name} | " + " | ".join(f"{rate:,.0f}" for rate in columns)
                     + f" | {_median([row[1] / row[0] for row in rows])} |")
    return "\n".join(lines)


def section(quick=False, with_ours=True, rounds=ROUNDS, seconds=1):
    rounds = 2 if quick else rounds
    place = sites.Place()
    try:
        with step("Measuring what a session costs") as shown:
            variants = variants_of(place, with_ours)
            for one in variants:
                one.measure(1)  # warm up, and see that each answers
            found = in_rounds(variants, rounds, seconds, shown)
            scaled = scaling(variants, 2, seconds, shown)
    finally:
        place.end()
    return (f"## Cost of a session\n\nwrk, 1 thread, {CONNECTIONS} kept connections, {VISITORS} "
            f"visitors, a static page of 1 KiB, {rounds} rounds of {seconds} s for farmsync and the bare "
            f"httpd ({min(rounds, ROUNDS_OF_OTHERS)} for the others); each ratio is the median of those to a "
            "bare httpd with the same MPM and as many `<Location>`s right before or after, with its 95 % "
            "interval. *Read* looks at an "
            "entry of the session, *write* replaces 1 KiB of it. Processor time is of httpd and of "
            "what it keeps sessions in (MariaDB's is not counted), agent and data servers included.\n\n"
            f"{table(found)}\n\n"
            "What a second processor brings (wrk itself needs a part of it, on this machine):\n\n"
            f"{scaling_table(scaled)}")


if __name__ == "__main__":
    ending.by_exception()
    print(section("--quick" in sys.argv, "--rivals" not in sys.argv))
