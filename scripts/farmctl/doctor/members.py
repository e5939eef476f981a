# SPDX-License-Identifier: Apache-2.0
"""The servers: all there, none twice, their clocks known."""

import random
import time
from collections import defaultdict

from .. import facts
from ..text import plural, printable, span
from . import error, ok, skipped, warning

BOUND_MS = 100
WALL_MS = 1000
FORGET_S = 24 * 3600
PACE_S = 0.02, 0.2
TWINS = ("FS0899", "FS1052")  # what datasrv and the database say of two servers of one name
ONE_NAME = "give each server its own FarmSyncServer (data servers: Name)"


def check(patient):
    if patient.farm is None:
        yield skipped("servers", "farmsync's database can't be read")
        return
    rows = patient.farm.servers
    agents = [row for row in rows if row["kind"] == "agent"]
    yield from present(patient, rows, agents)
    well = 0
    for row in rows:
        found = list(of_server(row))
        well += not found
        yield from found
    if well:
        yield ok("servers", f"{plural(well, 'server')} well")
    yield from names(patient, rows)


def present(patient, rows, agents):
    if not agents:
        yield warning("agents", "no web server has reported",
                      "load mod_farmsync in httpd and give it FarmSyncDatabase or "
                      "FarmSyncDataServer; apachectl -t -D DUMP_FARMSYNC shows what it has")
    for group in patient.farm.groups:
        if agents and not any(row["group_name"] == group["group_name"] for row in agents):
            yield warning("agents", f"no web server has the group {group['group_name']}",
                          "add it to FarmSyncGroup, or CALL "
                          f"farmsync.drop_group('{group['group_name']}')")
    alive = {row["name"] for row in rows if row["kind"] == "datasrv" and row["state"] != "silent"}
    if not alive and agents:
        yield warning("datasrv", "no data server is there: each web server builds its images from "
                                 "SQL",
                      "run datasrv on one or two hosts; see datasrv(8)")
    elif len(alive) == 1:
        yield ok("datasrv", f"one data server ({', '.join(alive)}); web servers do without it if "
                            "it dies")
    elif alive:
        yield ok("datasrv", f"{len(alive)} data servers")


def of_server(row):
    name = f"{row['name']} ({row['group_name']})"
    if row["state"] == "silent":
        ago = float(row["seen_s_ago"])
        remedy = f"CALL farmsync.forget_member('{row['name']}') if it is no more" \
            if ago > FORGET_S else "see whether httpd (or datasrv) runs there and reaches the " \
            "database or a datasrv"
        yield error("server", f"{name} was last heard of {span(ago)} ago", remedy)
        return
    if row["problem"].startswith(TWINS):
        yield error("server-name", f"{name}: {printable(row['problem'])}", ONE_NAME)
    elif row["state"] in facts.BAD_STATES:
        yield error("server", f"{name}: {facts.server_problem(row)}",
                    "see its error log; doc/messages.md explains the number"
                    if row["state"] == "problem" else "see its error log: it can't retrieve in "
                                                      "time")
    bound, offset = row["clock_bound_ms"], row["clock_offset_ms"]
    if bound is not None and bound > BOUND_MS:
        yield warning("clock-bound", f"{name} knows farm time to within {bound} ms only",
                      "look at the network between it and the data servers, and at its load")
    if offset is not None and abs(offset) > WALL_MS:
        yield warning("clock-wall", f"the wall clock of {name} is {offset} ms off; switching "
                                    "doesn't depend on it, logs and certificates "
                                    "do", "run chrony there")


def names(patient, rows):
    """Two servers with one name take turns in its row; two names of one address are one server."""
    where = defaultdict(set)
    for row in rows:
        if row["address"] and row["state"] != "silent":
            where[(row["kind"], row["address"])].add(row["name"])
    for (_, address), found in where.items():
        if len(found) > 1:
            yield warning("server-address", f"{' and '.join(sorted(found))} have one address, "
                                            f"{address}",
                          "CALL farmsync.forget_member for the name that is no longer used")
    known = {row["name"] for row in rows if row["problem"].startswith(TWINS)}
    turns = {name: found for name, found in changing(patient).items() if name not in known}
    for name, found in turns.items():
        yield error("server-name", f"two servers are called {printable(name)}: its reports come "
                                   "from "
                    + " and ".join(sorted(map(printable, found))), ONE_NAME)
    if rows and not turns and not known:
        yield ok("server-name", "no two servers have one name")


def changing(patient):
    """
    Names whose address changed to and fro while it was looked at: each reports once a second. It is
    looked at irregularly: who keeps step with those that report sees always the same one of them.
    """
    seen = defaultdict(list)
    deadline = time.monotonic() + patient.options.seconds
    while True:
        for row in patient.db.rows("SELECT name, group_name, kind, address, ROUND(clock_offset_us "
                                   "/ 1000000) AS wall FROM farmsync.member"):
            key = (row["name"], row["group_name"])
            value = f"{row['address'] or 'an unknown address'}, wall clock off {row['wall']} s"
            if not seen[key] or seen[key][-1] != value:
                seen[key].append(value)
        if time.monotonic() >= deadline:
            break
        time.sleep(random.uniform(*PACE_S))
    return {name: set(values) for (name, _), values in seen.items()
            if len(values) >= 3 and len(set(values)) > 1}
