# SPDX-License-Identifier: Apache-2.0
"""The groups: are they promoted, and does nobody forget that one is held?"""

from .. import facts
from ..text import printable, span
from . import error, ok, skipped, warning

LONG_S = 24 * 3600
OVERDUE_S = 15
REACH_S = 3600


def check(patient):
    if patient.farm is None:
        yield skipped("groups", "farmsync's database can't be read")
        return
    for row in patient.farm.groups:
        found = list(of_group(patient, row))
        yield from found
        if not any(one.level == "error" for one in found):
            yield ok("group", f"group {row['group_name']} is {facts.standing(row)}"
                     + (f", version {row['in_force']} in force" if row["in_force"] else ""))


def of_group(patient, row):
    name, standing = row["group_name"], facts.standing(row)
    left = row["seconds_left"]
    if standing == "failed":
        times, since = refusals(patient.db, name)
        yield error("promotion", f"group {name}: promotions are refused since {since} ({times} "
                    f"times): {printable(row['reason'])}",
                    "correct what the sentence names; farmsyncctl dry-run says when it is right")
    elif standing in ("held", "pinned"):
        yield from standing_still(patient, row, standing)
    elif standing == "waiting":
        if row.get("waits_for"):
            yield warning("ready", f"group {name} waits for {row['waits_for']}",
                          "see to these servers, or farmsyncctl activate to wait no longer")
    elif row["reason"].startswith("FS"):
        yield warning("promotion", f"group {name}: {printable(row['reason'])}",
                      "do what the sentence says")
    elif left is not None and left < -OVERDUE_S and datasets(patient.db, name):
        yield error("overdue", f"group {name} should have been promoted {span(-left)} ago: nobody "
                               "does it",
                    "start a datasrv that serves the group, or give a web server FarmSyncDatabase; "
                    "see their logs")
    yield from settings(row)


def datasets(db, name):
    return db.value("SELECT COUNT(*) FROM farmsync.dataset WHERE group_name = %s AND dropped = "
                    "0", name)


def refusals(db, name):
    """How often since the last promotion, and since when."""
    row = db.row("SELECT COUNT(*) AS times, MIN(at) AS since FROM farmsync.history WHERE "
                 "group_name = %s AND action = 'refused' AND id > COALESCE((SELECT MAX(id) FROM "
                 "farmsync.history WHERE group_name = %s AND action = 'promote'), 0)", name, name)
    return row["times"], printable(row["since"])


def standing_still(patient, row, standing):
    name = row["group_name"]
    act = "hold" if standing == "held" else "pin"
    since = patient.db.value("SELECT MAX(at) FROM farmsync.history WHERE group_name = %s AND "
                             "action IN (%s, 'roll_back')", name, act)
    long = since is not None and (patient.farm.now - since).total_seconds()
    remedy = f"farmsyncctl -g {name} " + ("resume" if standing == "held" else "unpin") \
        + ", unless it shall stay so"
    text = f"group {name} is {standing}" + (f" for {span(long)}" if long else "") \
        + (f": {printable(row['reason'])}" if row["reason"] else "")
    if long is False or long > LONG_S:
        yield warning("standing-still", text, remedy)
    else:
        yield ok("standing-still", text)


def settings(row):
    name, interval, lead = row["group_name"], float(row["interval_s"]), float(row["lead_s"])
    reach = interval * float(row.get("keep_versions") or 10)
    if max(reach, float(row.get("keep_age") or 0)) < REACH_S:
        yield warning("keep-versions", f"group {name} keeps {row.get('keep_versions')} versions at "
                                       f"an interval of {span(interval)}: it may not be possible "
                                       "to roll back further than "
                                       f"{span(reach)}",
                      f"CALL farmsync.set_keep_versions('{name}', "
                      f"{int(REACH_S // interval) + 1}), or farmsync.set_keep_age('{name}', 86400)")
    if lead < 0.5:
        yield warning("lead", f"group {name} leaves servers {span(lead)} to retrieve a version",
                      "set_lead to 2 s, and an interval of at least twice that")
