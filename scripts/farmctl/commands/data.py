# SPDX-License-Identifier: Apache-2.0
"""The datasets, and what the next promotion would change of them."""

from .. import facts
from ..command import Command
from ..errors import OK, TROUBLE, Refused
from ..text import columns, plural

DATASET_COLUMNS = (("name", "dataset"), ("group_name", "group"), ("state", "state"),
                   ("source", "source"), ("keys", "key"), ("rows", "rows"),
                   ("changes", "changes by"), ("last_full", "?last full comparison"),
                   ("activate_column", "?activate"), ("expire_column", "?expire"),
                   ("problem", "?problem"))
PENDING_COLUMNS = (("group_name", "group"), ("dataset", "dataset"), ("new_rows", "new"),
                   ("changed_rows", "changed"), ("gone_rows", "gone"), ("problem", "?problem"))


def newest_rows(db):
    """Rows of each dataset's newest image."""
    return {row["dataset"]: row["row_count"] for row in db.rows(
        "SELECT i.dataset, i.row_count FROM farmsync.image i JOIN farmsync.sync s "
        "ON s.group_name = i.group_name AND s.version = i.version")}


def run_datasets(context):
    facts.groups(context.db, context.options.group)
    counts = newest_rows(context.db)
    found = context.db.rows("SELECT * FROM farmsync.datasets ORDER BY group_name, name")
    rows = [row for row in found if context.options.group in (None, row["group_name"])]
    for row in rows:
        row["rows"] = counts.get(row["name"])
    shown = [{**row, "keys": row["key_columns"].strip("[]").replace('"', "")} for row in rows]
    context.show(rows, columns(shown, DATASET_COLUMNS) if rows else
                 ["There are no datasets; CALL farmsync.add_dataset(name, source, key_columns) "
                  "makes a table one."])
    return TROUBLE if any(row["problem"] for row in rows) else OK


def pending(db, group):
    """A row per dataset, also where a source is broken."""
    return db.rows("CALL farmsync.show_pending(%s)", group["group_name"])


def due(group):
    """When what is pending would be promoted, as a sentence."""
    name = group["group_name"]
    if facts.standing(group) in ("held", "pinned"):
        return f"Group {name} is {facts.standing(group)}: none of it is promoted until that ends."
    if group["next_activation"] is None:
        return f"Group {name} waits for its servers: {group['reason'] or 'not all are ready'}."
    return f"Group {name} promotes at {group['next_activation']:%Y-%m-%d %H:%M:%S}."


def run_pending(context):
    groups = facts.groups(context.db, context.options.group)
    rows = [row for group in groups for row in pending(context.db, group)]
    broken = any(row["problem"] for row in rows)
    try:
        scheduled = schedule(context.db, context.options.group)
    except Refused:  # the view is of all datasets that have dates
        if not broken:
            raise
        scheduled = None
    total = sum((row["new_rows"] or 0) + (row["changed_rows"] or 0) + (row["gone_rows"] or 0)
                for row in rows)
    lines = columns(rows, PENDING_COLUMNS) if rows else ["There are no datasets."]
    lines += ["", f"{plural(total, 'row')} would change." if total else "Nothing would change."]
    lines += [due(group) for group in groups if total]
    if scheduled:
        lines += ["", "Scheduled:", *columns(scheduled, [(name, name) for name in scheduled[0]])]
    elif scheduled is None:
        lines += ["", "What is scheduled can't be shown while a source is broken."]
    context.show({"groups": groups, "datasets": rows, "scheduled": scheduled}, lines)
    return TROUBLE if broken else OK


def schedule(db, group):
    """What is dated and when it falls due, if this installation has scheduled data."""
    if not db.value("SELECT COUNT(*) FROM information_schema.views WHERE table_schema = 'farmsync' "
                    "AND table_name = 'scheduled'"):
        return []
    return [row for row in db.rows("SELECT * FROM farmsync.scheduled")
            if group in (None, row.get("group_name"))]


COMMANDS = [Command("datasets", "the datasets, their sources and how their changes are found",
                    run_datasets),
            Command("pending", "what the next promotion would change", run_pending)]
