# SPDX-License-Identifier: Apache-2.0
"""diff: keys added, removed and changed, per column old → new."""

import json

from .. import facts
from ..command import Command
from ..database import Database
from ..text import columns, plural, printable
from .acts import version
from .cycle import positive

DESCRIPTION = """\
Without versions: what the next promotion would change. With two: what differs from the first to
the second; with one: from that version to the newest.
"""

SIGNS = {"added": "+", "removed": "-", "changed": "~"}


def arguments(parser):
    parser.add_argument("versions", nargs="*", type=version, metavar="VERSION",
                        help="none, one or two; farmsyncctl versions lists them")
    parser.add_argument("-n", dest="count", type=positive, default=100, metavar="COUNT",
                        help="keys of each dataset and kind that are shown (default 100)")


def chosen_versions(context):
    given = context.options.versions
    if len(given) > 2:
        raise facts.BadArgument("diff takes no version, one or two")
    if len(given) == 1:
        newest = context.db.value("SELECT version FROM farmsync.sync WHERE group_name = %s",
                                  context.group)
        return given[0], newest
    return tuple(given) if given else (None, None)


def differences(db: Database, group, first, second, count):
    """Two lists: what differs, and how many there are of each dataset."""
    db.rows("SET @farmsync_limit = %s", count)
    results = db.results("CALL farmsync.show_difference(%s, %s, %s)", group, first, second)
    return (results + [[], []])[:2]


def key_text(key):
    """A key as a path shows it: sku-1, or DE/express."""
    try:
        parts = json.loads(key)
    except (TypeError, ValueError):
        return printable(key)
    parts = parts if isinstance(parts, list) else list(parts.values()) if isinstance(parts, dict) \
        else [parts]
    return printable("/".join("NULL" if part is None else str(part) for part in parts))


def value_text(value):
    return "NULL" if value is None else printable(value)


def row_text(text):
    """A whole row as name=value."""
    try:
        row = json.loads(text)
        return ", ".join(f"{printable(name)}={value_text(value)}" for name, value in row.items())
    except (TypeError, ValueError, AttributeError):
        return printable(text)


def lines(rows):
    """A line a key; of a changed one a line a column."""
    shown = None
    for row in rows:
        here = (row["dataset"], row["op"], row["key"])
        sign = SIGNS.get(row["op"], "?")
        head = f"{sign} {row['dataset']}/{key_text(row['key'])}"
        if row["op"] == "added":
            yield f"{head}  {row_text(row['new_value'])}"
        elif row["op"] == "removed":
            yield f"{head}  {row_text(row['old_value'])}"
        else:
            if here != shown:
                yield head
            yield (f"    {printable(row['column_name'])}: {value_text(row['old_value'])} → "
                   f"{value_text(row['new_value'])}")
        shown = here


def run(context):
    facts.groups(context.db, context.group)
    first, second = chosen_versions(context)
    rows, counts = differences(context.db, context.group, first, second, context.options.count)
    total = sum(row["added"] + row["removed"] + row["changed"] for row in counts)
    shown = len({(row["dataset"], row["op"], row["key"]) for row in rows})
    text = list(lines(rows))
    text += [""] if text else []
    text += columns(counts, tuple((name, name) for name in ("dataset", "added", "removed",
                                                            "changed")))
    if shown < total:
        text += [f"{shown} of {plural(total, 'key')} are shown; -n shows more"]
    context.show({"group": context.group, "from": first, "to": second, "differences": rows,
                  "counts": counts}, text)


COMMANDS = [Command("diff", "what differs between versions, or will with the next promotion", run,
                    arguments, DESCRIPTION)]
