# SPDX-License-Identifier: Apache-2.0
"""activate: now, or at a time."""

from .. import times
from ..act import act
from ..command import Command

DESCRIPTION = """\
What is staged becomes active as soon as the servers can have it, and what production holds beyond
that after one more lead; or, with --at, at exactly that time.
"""


def arguments(parser):
    parser.add_argument("--at", metavar="TIME",
                        help='"2026-12-01 00:00" (UTC), "2026-12-01T00:00:00+01:00", +90s, +10m')


def run(context):
    if context.options.at is None:
        return act(context, "activate_now")
    now = context.db.value("SELECT UTC_TIMESTAMP(6)")
    return act(context, "activate_at", times.sql(times.parse(context.options.at, now)))


COMMANDS = [Command("activate", "activate now, or at a time", run, arguments, DESCRIPTION)]
