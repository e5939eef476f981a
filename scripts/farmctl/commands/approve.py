# SPDX-License-Identifier: Apache-2.0
"""Approval: one account asks, another confirms exactly that, by the digest of what is pending."""

import argparse
import re

from .. import facts
from ..act import act
from ..command import Command
from ..text import moment

APPROVE = """\
With a digest: confirms what another account has asked for, if it is still that. Without: shows what
waits for approval.
"""


def digest(text):
    if not re.fullmatch(r"[0-9A-Fa-f]{64}", text):
        raise argparse.ArgumentTypeError("a digest is 64 hex digits; farmsyncctl approve shows it")
    return text.lower()


def approve_arguments(parser):
    parser.add_argument("digest", nargs="?", type=digest, metavar="DIGEST")


def run_approve(context):
    if context.options.digest:
        return act(context, "approve", context.options.digest)
    facts.groups(context.db, context.options.group)
    rows = [row for row in context.db.rows("SELECT * FROM farmsync.group_gate ORDER BY group_name")
            if row["approval"] and context.options.group in (None, row["group_name"])]
    context.show(rows, [request_line(row) for row in rows] or ["No group needs approval."])
    return None


def request_line(row):
    name = row["group_name"]
    if row["requested"] is None:
        waits = f"; {row['waits_for']} waits for it" if row["waits_for"] else ""
        return (f"group {name}: nobody has asked for approval{waits} "
                f"(farmsyncctl -g {name} request-approval)")
    asked = f"{row['requested_by']} asked at {moment(row['requested_at'])}"
    if row["approved_by"]:
        return f"group {name}: {row['requested']}: {asked}; approved by {row['approved_by']}"
    return (f"group {name}: {asked}; look at farmsyncctl -g {name} diff, then\n"
            f"  farmsyncctl -g {name} approve {row['requested']}")


def run_request(context):
    return act(context, "request_approval")


def run_reject(context):
    return act(context, "reject")


COMMANDS = [
    Command("request-approval", "ask for the approval of what is pending", run_request),
    Command("approve", "confirm what another account has asked for", run_approve,
            approve_arguments, APPROVE),
    Command("reject", "take a request, or an approval that was given, back", run_reject)]
