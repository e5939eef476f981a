# SPDX-License-Identifier: Apache-2.0
"""status: the cycle of each group, and each server."""

from .. import facts
from ..command import Command
from ..errors import OK, TROUBLE
from ..text import columns, printable, until

GROUP_COLUMNS = (("group_name", "group"), ("standing", "state"), ("in_force", "in force"),
                 ("staged", "staged"), ("next_activation", "next activation"), ("left", "in"),
                 ("interval_s", "interval s"), ("lead_s", "lead s"),
                 ("wanted_activation", "?wanted"), ("ready", "?ready"),
                 ("last_promotion_by", "?promoted by"))
SERVER_COLUMNS = (("name", "server"), ("kind", "kind"), ("group_name", "group"),
                  ("state", "state"), ("version_active", "active"), ("version_staged", "staged"),
                  ("seen_s_ago", "seen s ago"), ("clock_offset_ms", "wall clock off ms"),
                  ("clock_bound_ms", "bound ms"), ("address", "?address"), ("problem", "?problem"))


def group_lines(groups):
    """The table of groups, and a line for each that has something to say."""
    rows = [{**row, "standing": facts.standing(row), "left": until(row["seconds_left"])}
            for row in groups]
    yield from columns(rows, GROUP_COLUMNS)
    for row in groups:
        if row.get("pinned_version") is not None:
            yield (f"group {row['group_name']} is pinned to version {row['pinned_version']}; "
                   "farmsyncctl unpin lets it go on")
        if row["reason"] and row["state"] != "failed":
            yield f"group {row['group_name']}: {printable(row['reason'])}"
        if row.get("waits_for"):
            yield f"group {row['group_name']} waits for {printable(row['waits_for'])}"


def run(context):
    farm = facts.Farm(context.db, context.options.group)
    lines = list(group_lines(farm.groups))
    lines += ["", *columns(farm.servers, SERVER_COLUMNS)] if farm.servers else \
        ["", "No server has reported yet."]
    trouble = farm.trouble()
    if trouble:
        lines += ["", *("trouble: " + one for one in trouble)]
    context.show(farm.as_json(), lines)
    return TROUBLE if trouble else OK


COMMANDS = [Command("status", "each group's cycle, and what each server has", run)]
