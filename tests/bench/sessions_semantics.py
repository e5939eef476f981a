#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What becomes of parallel updates of one session: farmsync beside what else one could take.

Eight clients with one common cookie jar, as the frames of one page have, add one to counters in the
session, each 50 times, as fast as they are answered; the application reads, waits some milliseconds,
and writes. Run for different keys (each client has its own) and for the same key (an application that
needs the lock), on one server and on two behind a balancer that gives each request to the next one.

What the answers said was done (status 200) is compared with what is there afterwards.
"""

import http.client
import os
import sys
import threading
import time
from collections import namedtuple

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

import sessions_sites as sites  # noqa: E402
from farmlib import ending  # noqa: E402
from farmlib.progress import step  # noqa: E402

CLIENTS, TIMES, HOLD_MS = 8, 50, 5

Outcome = namedtuple("Outcome", "lost failed sessions seconds")


class Jar:
    """The cookie that all clients share, and every one that was ever given out."""

    def __init__(self):
        self.cookie = None
        self.seen = set()
        self.lock = threading.Lock()

    def headers(self):
        return {"Cookie": self.cookie} if self.cookie else {}

    def take(self, answer):
        for header in answer.headers.get_all("Set-Cookie", []):
            pair = header.split(";")[0].strip()
            if "=" in pair:
                with self.lock:
                    self.cookie = pair
                    self.seen.add(pair)


def ask(connection, path, jar):
    """(status, text) over a kept connection; status 0 if there was no answer."""
    try:
        connection.request("GET", path, headers=jar.headers())
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
        jar.take(answer)
        return answer.status, text
    except (OSError, http.client.HTTPException):
        connection.close()
        return 0, ""


def content(port, site, jar):
    """The numbers in the session, as the server at this port says; a failed look is repeated."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for _ in range(50):
        status, text = ask(connection, site.all(), jar)
        if status == 200:
            connection.close()
            return {line.partition("=")[0]: int(line.partition("=")[2])
                    for line in text.splitlines() if line.partition("=")[2].isdigit()}
        time.sleep(0.1)
    return {}


def run(site, port, same_key, hold=HOLD_MS):
    """One run of all clients against a port; an Outcome."""
    jar = Jar()
    first = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    before = site.stored()
    for _ in range(2):  # the session is there before the clients come
        ask(first, site.add("start", 0), jar)
    first.close()
    done, failed = [0] * CLIENTS, [0] * CLIENTS

    def client(number):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for _ in range(TIMES):
            status, _ = ask(connection, site.add("n" if same_key else f"n{number}", hold), jar)
            if status == 200:
                done[number] += 1
            else:
                failed[number] += 1
        connection.close()
    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    began = time.monotonic()
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    seconds = time.monotonic() - began
    after = site.stored()
    found = [content(one, site, jar) for one in site.servers]
    kept = min(sum(value for key, value in one.items() if key != "start") for one in found)
    if after is not None:
        sessions = after - before
    else:
        sessions = max(len({one.partition("=")[2] for one in jar.seen}) if site.has_id else 1,
                       len({tuple(sorted(one.items())) for one in found}))
    return Outcome(sum(done) - kept, sum(failed), sessions, seconds)


def everything(place, count, with_ours=True):
    found = [sites.cookie(place, count), sites.dbd_mariadb(place, count)]
    if count == 1:
        found.append(sites.dbd_sqlite(place))
    found += sites.php(place, count)[1:]
    if with_ours:
        found += sites.ours(place, count)
    for site in found:
        site.has_id = site.name != "mod_session_cookie"
    place.sites = found
    return found


def measure(count, with_ours=True, rounds=3):
    """{(site, same key): [outcome]} on so many servers."""
    place, results = sites.Place(), {}
    try:
        with step(f"Parallel updates of one session, {count} server" + "s" * (count > 1)) as shown:
            found = everything(place, count, with_ours)
            balancers = sites.balancer(place, found) if count > 1 else {}
            for site in found:
                port = balancers.get(site, site.servers[0])
                sites.wait_ready(port)
                for same in (False, True):
                    for number in range(rounds):
                        shown.say(f"{site.name}, {'same key' if same else 'different keys'}, "
                                  f"round {number + 1}")
                        results.setdefault((site.name, same), []).append(run(site, port, same))
    finally:
        place.end()
    return results


def _span(values, form="{:d}"):
    low, high = min(values), max(values)
    return form.format(low) if low == high else f"{form.format(low)} to {form.format(high)}"


def table(results, same_key):
    lines = ["| sessions kept by | servers | lost of 400 | failed requests | sessions afterwards | "
             "seconds |", "|---|---:|---:|---:|---:|---:|"]
    for (name, same, count), outcomes in results.items():
        if same != same_key:
            continue
        lines.append(f"| {name} | {count} | {_span([one.lost for one in outcomes])} | "
                     f"{_span([one.failed for one in outcomes])} | "
                     f"{_span([one.sessions for one in outcomes])} | "
                     f"{_span([one.seconds for one in outcomes], '{:.1f}')} |")
    return "\n".join(lines)


def section(quick=False, with_ours=True):
    rounds = 1 if quick else 3
    results = {}
    for count in (1, 2):
        for (name, same), outcomes in measure(count, with_ours, rounds).items():
            results[name, same, count] = outcomes
    results = dict(sorted(results.items(), key=lambda item: (item[0][2], not item[0][0].startswith("farmsync"))))
    return (f"## Parallel updates of one session\n\n{CLIENTS} clients with one cookie jar, {TIMES} increments each, "
            f"{HOLD_MS} ms between reading and writing; {rounds} rounds, least to most. Two servers "
            "stand behind HAProxy, round robin without stickiness. *Lost* are increments that were answered with 200 "
            "and are not there afterwards. PHP's files are of one server, as they are without a "
            "network file system.\n\n"
            f"Different keys, one for each client:\n\n{table(results, False)}\n\n"
            "The same key, which only a lock over the whole request can do:\n\n"
            f"{table(results, True)}")


if __name__ == "__main__":
    ending.by_exception()
    print(section("--quick" in sys.argv, "--rivals" not in sys.argv))
