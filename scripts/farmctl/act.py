# SPDX-License-Identifier: Apache-2.0
"""An act on a group: call the procedure, then show how the group stands."""

import sys

from . import facts
from .errors import OK
from .text import moment, printable, span, until


def describe(row):
    """How a group stands, as a line."""
    name, state = row["group_name"], facts.standing(row)
    words = [f"group {name}: {state}"]
    if row["in_force"]:
        words.append(f"version {row['in_force']} in force")
    if row["staged"]:
        words.append(f"{row['staged']} staged")
    if row["next_activation"] is not None:
        left = row["seconds_left"]
        when = f"in {span(left)}" if left > 0 else until(left)
        words.append(f"next activation {moment(row['next_activation'])} UTC ({when})")
    if row["reason"]:
        words.append(printable(row["reason"]))
    return "; ".join(words)


def comment_column(db):
    """Whether this installation keeps comments."""
    return any(row["Field"] == "comment" for row in db.rows("SHOW COLUMNS FROM farmsync.history"))


def act(context, procedure, *values):
    """Calls it for the context's group, with the comment, and shows what it answers."""
    comment = context.options.comment
    if comment is not None and len(comment) > 512:
        comment = comment[:512]
        print("The comment was cut to 512 characters.", file=sys.stderr)
    if comment is not None and not comment_column(context.db):
        print("This installation keeps no comments: run install.sql of this release.",
              file=sys.stderr)
    results = context.db.act(procedure, (context.group, *values), comment)
    row = facts.groups(context.db, context.group)[0]
    found = [one for result in results for one in result]
    context.show({"act": procedure, "group": row, "answer": found},
                 [*map(answer, found), describe(row)])
    return OK


def answer(row):
    """What a procedure said, as a line: its sentence, or what has a value."""
    if row.get("result"):
        return printable(row["result"])
    return ", ".join(f"{name} {printable(value)}" for name, value in row.items()
                     if value not in (None, ""))
