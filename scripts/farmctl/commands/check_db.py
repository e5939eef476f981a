# SPDX-License-Identifier: Apache-2.0
"""check-db: can the locking of this database or cluster be trusted?"""

import argparse
import signal

from ..command import Command
from ..errors import OK, TROUBLE
from ..race import Race
from ..scratch import Scratch
from ..snapshot import Snapshot, dropped
from ..text import plural, printable

DESCRIPTION = """\
Runs the race of promotions on the database that the options name, in a scratch schema that is made
for it and dropped, with connections to all hosts: name every node of a cluster with --host. The
farm's own data isn't touched. Takes some seconds and needs an account with
  GRANT ALL PRIVILEGES ON `farmsync\\_check\\_%`.* TO account
"""


def number(least, most):
    def convert(text):
        if not text.isdigit() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f'"{text}" is not a number from {least} to {most}')
        return int(text)
    return convert


def arguments(parser):
    parser.add_argument("--connections", type=number(2, 64), default=6, metavar="N",
                        help="how many race, over all hosts (default 6)")
    parser.add_argument("--cycles", type=number(1, 100000), default=100, metavar="N",
                        help="how many promotions (default 100)")
    # For the tests: makes the locking bad, to see that it is found.
    parser.add_argument("--sabotage", choices=("MyISAM", "Aria", "read-then-write"),
                        help=argparse.SUPPRESS)


def run(context):
    chosen = context.options
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the schema is dropped
    engine = chosen.sabotage if chosen.sabotage in ("MyISAM", "Aria") else "InnoDB"
    with Scratch(context.target, engine) as scratch:
        reasons = list(scratch.reasons)
        race = Race(scratch, max(chosen.connections, len(scratch.hosts)), chosen.cycles,
                    chosen.sabotage)
        snapshot, code = Snapshot(scratch), 0
        if not scratch.blocked:
            context.say(f"Racing in the scratch schema {scratch.name} with "
                        f"{plural(len(race.hosts), 'connection')} ...")
            reasons += race.run(context.say)
            reasons += snapshot.run()
            more, code = dropped(scratch)
            reasons += more
        notes = scratch.notes
    trusted = not reasons
    result = {"trusted": trusted, "reasons": reasons, "notes": notes, "raced": not scratch.blocked,
              "hosts": [{key: value for key, value in one.items() if key != "identity"}
                        for one in scratch.facts],
              "race": race.as_json(), "snapshot": {"reads": snapshot.reads, "torn": snapshot.torn},
              "dropped_transaction": code}
    context.show(result, lines(result))
    return OK if trusted else TROUBLE


def lines(result):
    for one in result["hosts"]:
        kind = f"Galera, {one['cluster_size']} nodes" if one["galera"] else "one server"
        yield f"{one['host']}: {printable(one['version'])} ({kind})"
    for note in result["notes"]:
        yield "note: " + printable(note)
    if result["raced"]:
        yield from race_lines(result)
    if result["trusted"]:
        yield "The locking of this database can be trusted."
        return
    yield "The locking of this database cannot be trusted:"
    for reason in result["reasons"]:
        yield "  " + printable(reason)


def race_lines(result):
    race = result["race"]
    conflicts = ", ".join(f"{count} × {code}"
                          for code, count in race["conflicts"].items()) or "none"
    yield (f"race: {race['promoted']} of {race['cycles']} cycles promoted, {race['double']} of "
           f"them more than once; {race['broken_off']} broken off; conflicts: {conflicts}")
    yield (f"snapshots: {result['snapshot']['reads']} statements over two tables, "
           f"{result['snapshot']['torn']} saw half of a transaction")


COMMANDS = [Command("check-db", "run the promotion race here: can the locking be trusted?", run,
                    arguments, DESCRIPTION)]
