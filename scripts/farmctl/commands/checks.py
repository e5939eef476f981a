# SPDX-License-Identifier: Apache-2.0
"""The rules that data must keep, and a promotion that isn't done."""

from .. import facts
from ..act import act
from ..command import Command
from ..errors import OK, TROUBLE
from ..text import columns, plural, printable

DRY_RUN = """\
Reads production, brings it into the version tables, runs every check, and rolls it all back. Exit
status 1 if the promotion would be refused, with the reason.
"""


def run_checks(context):
    facts.groups(context.db, context.options.group)
    rows = [row for row in context.db.rows("SELECT * FROM farmsync.checks")
            if context.options.group in (None, row.get("group_name"))]
    context.show(rows, columns(rows, tuple((name, name.replace("_", " ")) for name in rows[0]))
                 if rows else ["There are no checks; CALL farmsync.add_check(dataset, name, "
                               "expression) adds one."])


def run_dry_run(context):
    state = facts.standing(facts.groups(context.db, context.group)[0])
    rows = context.db.rows("CALL farmsync.dry_run(%s)", context.group)
    outcome = next((row for row in rows if row["what"] == "outcome"
                    and row["name"] == "promotion"), None)
    refused = outcome is not None and outcome["result"] == "refused"
    context.show({"group": context.group, "refused": refused, "rows": rows},
                 dry_run_lines(context.group, rows, outcome, state))
    return TROUBLE if refused else OK


def not_before(rows, state):
    """What a promotion waits for beside its time: a sentence's end."""
    ends = {"held": "as soon as the group is resumed (it is held)",
            "pinned": "as soon as the group is unpinned (it is pinned)",
            "waiting": "as soon as what is staged is active (it waits for servers)"}
    waits = [ends[state]] if state in ends else []
    if any(row["name"] == "digest" and row["result"] == "not approved" for row in rows):
        waits.append("when that is approved")
    return "".join(", " + one for one in waits)


def dry_run_lines(group, rows, outcome, state):
    changes = [row for row in rows if row["what"] == "change" and row["row_count"]]
    checks = [row for row in rows if row["what"] == "check"]
    for row in changes:
        yield f"{row['dataset']}: {plural(row['row_count'], 'row')} {row['name']}"
    if checks:
        yield ""
        yield from columns(checks, (("dataset", "dataset"), ("name", "check"), ("result", "result"),
                                    ("row_count", "?rows"), ("detail", "?detail")))
    if changes or checks:
        yield ""
    for row in rows:
        if row["what"] == "outcome" and row["name"] == "digest":
            yield f"digest {row['detail']} ({row['result']})"
    if outcome is None:
        return
    if outcome["result"] == "refused":
        yield f"The promotion of group {group} would be refused:"
        yield "  " + printable(outcome["detail"])
    elif outcome["result"] == "unchanged":
        yield f"Nothing would be promoted in group {group}: production hasn't changed."
    else:
        yield (f"Group {group} would be promoted with {plural(outcome['row_count'] or 0, 'row')} "
               f"changed{not_before(rows, state)}.")


def run_allow_once(context):
    return act(context, "allow_once")


COMMANDS = [
    Command("checks", "the rules, limits and references that data must keep", run_checks),
    Command("dry-run", "everything but promote: what would change, what the checks say",
            run_dry_run, description=DRY_RUN),
    Command("allow-once", "let the next version pass the limits, not the rules", run_allow_once)]
