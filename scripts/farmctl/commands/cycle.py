# SPDX-License-Identifier: Apache-2.0
"""The versions that are kept, and everything that was done."""

import argparse

from .. import facts
from ..command import Command
from ..text import columns, size

VERSION_COLUMNS = (("group_name", "group"), ("version", "version"), ("state", "state"),
                   ("promoted_at", "promoted at"), ("promoted_by", "by"),
                   ("rows_changed", "rows changed"), ("total_rows", "rows"), ("size", "size"),
                   ("detail", "?what"))
HISTORY_COLUMNS = (("id", "id"), ("at", "at"), ("group_name", "group"), ("action", "act"),
                   ("version", "version"), ("who", "who"), ("rows_changed", "rows"),
                   ("detail", "?detail"), ("comment", "?comment"))


def positive(text):
    if not text.isdigit() or not 1 <= int(text) <= 1000000:
        raise argparse.ArgumentTypeError(f'"{text}" is not a number from 1 to 1000000')
    return int(text)


def run_versions(context):
    facts.groups(context.db, context.options.group)
    rows = context.db.rows("SELECT * FROM farmsync.versions ORDER BY group_name, version DESC")
    rows = [row for row in rows if context.options.group in (None, row["group_name"])]
    shown = [{**row, "size": size(row["bytes"])} for row in rows]
    context.show(rows, columns(shown, VERSION_COLUMNS) if rows else ["No version yet."])


def history_arguments(parser):
    parser.add_argument("-n", dest="count", type=positive, default=20, metavar="COUNT",
                        help="how many, newest last (default 20)")
    parser.add_argument("--act", metavar="NAME", help="only such as hold, promote, refused")


def run_history(context):
    chosen = context.options
    where, values = ["TRUE"], []
    if chosen.group:
        facts.groups(context.db, chosen.group)
        where.append("group_name = %s")
        values.append(chosen.group)
    if chosen.act:
        where.append("action = %s")
        values.append(chosen.act)
    rows = context.db.rows("SELECT * FROM farmsync.history WHERE " + " AND ".join(where)
                           + " ORDER BY id DESC LIMIT %s", *values, chosen.count)
    rows.reverse()
    context.show(rows, columns(rows, HISTORY_COLUMNS) if rows else ["Nothing was done yet."])


COMMANDS = [Command("versions", "the versions that are kept, newest first", run_versions),
            Command("history", "promotions, refusals and acts: who, when, what, why", run_history,
                    history_arguments)]
