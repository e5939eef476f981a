# SPDX-License-Identifier: Apache-2.0
"""
What the farm's views say, and what of it is trouble. Columns that a release doesn't have yet are
simply not there: everything is asked for by name.
"""

import datetime

from .errors import BadArgument
from .text import plural, printable

NO_TIME = datetime.datetime(9999, 1, 1, tzinfo=datetime.timezone.utc)
BAD_STATES = ("late", "silent", "problem")


class Farm:
    """One look at everything."""

    def __init__(self, db, group=None):
        self.now = db.value("SELECT UTC_TIMESTAMP(6)")
        self.groups = groups(db, group)
        self.servers = servers(db, group)
        self.peer = db.peer

    def trouble(self):
        """Sentences, one for each thing that somebody should see to."""
        return list(group_trouble(self.groups)) + list(server_trouble(self.servers))

    def as_json(self):
        return {"database": self.peer, "now": self.now, "groups": self.groups,
                "servers": self.servers, "trouble": self.trouble()}


def groups(db, group=None):
    """Rows of `cycle` with what else `sync` knows of the group."""
    found = db.rows("SELECT * FROM farmsync.cycle ORDER BY group_name")
    names = [row["group_name"] for row in found]
    if group is not None and group not in names:
        raise BadArgument(f"there is no group {group!r}; there are " + ", ".join(names))
    more = {row["group_name"]: row for row in db.rows("SELECT * FROM farmsync.sync")}
    for row in found:
        sync = more.get(row["group_name"], {})
        for name in ("pinned_version", "keep_versions", "keep_age", "return_to"):
            if name in sync:
                row.setdefault(name, sync[name])
        if row["next_activation"] is not None and row["next_activation"] >= NO_TIME:
            row["next_activation"] = row["seconds_left"] = None
    return [row for row in found if group in (None, row["group_name"])]


def servers(db, group=None):
    """Rows of `farm`."""
    found = db.rows("SELECT * FROM farmsync.farm ORDER BY kind, name, group_name")
    return [row for row in found if group in (None, row["group_name"]) or row["kind"] != "agent"]


def standing(row):
    """A group's state in a word, as people see it."""
    return "pinned" if row.get("pinned_version") is not None else row["state"]


def group_trouble(rows):
    for row in rows:
        if row["state"] == "failed":
            yield f"group {row['group_name']}: the last promotion was refused: {row['reason']}"


def server_trouble(rows):
    for row in rows:
        if row["state"] not in BAD_STATES:
            continue
        yield f"{row['name']} ({row['group_name']}): {server_problem(row)}"


def server_problem(row):
    """Why a server's state isn't ok."""
    if row["state"] == "silent":
        return f"silent for {row['seen_s_ago']} s"
    if row["state"] == "problem":
        return printable(row["problem"])
    if row["state"] == "late":
        return f"late: it has version {row['version_active']}, {row['in_force']} is in force"
    return ""


def behind(row):
    """How many versions a server lacks of what is in force."""
    if row["kind"] != "agent" or row["in_force"] is None:
        return None
    newest = max(row["version_active"], min(row["version_staged"], row["in_force"]))
    return max(0, row["in_force"] - newest)


def summary(farm):
    bad = sum(row["state"] in BAD_STATES for row in farm.servers)
    return (f"{plural(len(farm.groups), 'group')}, {plural(len(farm.servers), 'server')}"
            + (f", {bad} not well" if bad else ""))
