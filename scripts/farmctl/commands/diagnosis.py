# SPDX-License-Identifier: Apache-2.0
"""doctor: the usual mistakes of a set-up, each with its remedy."""

import argparse
import os
import sys

from .. import doctor
from ..command import Command
from ..errors import OK, TROUBLE, UNREACHABLE, CtlError
from ..text import plural, printable

DESCRIPTION = """\
Looks at the database and its hosts, the installation and this account, the datasets, groups and
servers; with --datasrv and --web also over HTTP, and at the httpd of this host if it has
mod_farmsync. Exit status 1 if there is an error; warnings alone leave it 0. Changes nothing.
"""

MARKS = {"ok": "ok      ", "warning": "warning ", "error": "ERROR   ", "skipped": "skipped "}
COLOURS = {"ok": "\033[32m", "warning": "\033[33m", "error": "\033[31m"}


def moment(text):
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 600:
        raise argparse.ArgumentTypeError(f'"{text}" is not a time from 0 to 600 seconds')
    return value


def arguments(parser):
    parser.add_argument("--datasrv", action="append", default=[], metavar="URL",
                        help="a data server to ask, http://host:4470; may be repeated")
    parser.add_argument("--web", action="append", default=[], metavar="URL",
                        help="a web server to ask, http://host or the URL of its farmsync-status; "
                             "may be repeated")
    parser.add_argument("--apachectl", metavar="COMMAND",
                        help="how the httpd of this host is asked (default: apachectl, apache2ctl "
                             "or httpd, if there)")
    parser.add_argument("--seconds", type=moment, default=3.0, metavar="S",
                        help="how long servers of one name are looked for (default 3)")
    parser.add_argument("--quiet", action="store_true", help="only what isn't ok")


def findings(patient):
    """(subject, finding), as they are found. What breaks a subject off is a finding, too."""
    for subject, check in doctor.subjects():
        try:
            for one in check(patient):
                yield subject, one
        except CtlError as failure:
            yield subject, doctor.error("doctor", str(failure), "see the findings above")


def run(context):
    patient = doctor.Patient(context)
    found, shown = [], None
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    for subject, one in findings(patient):
        found.append((subject, one))
        if context.options.json or context.options.quiet and one.level in ("ok", "skipped"):
            continue
        if subject != shown:
            print(("\n" if shown else "") + subject)
            shown = subject
        for line in lines(one, colour):
            print(line, flush=True)
    errors = sum(one.level == "error" for _, one in found)
    warnings = sum(one.level == "warning" for _, one in found)
    result = {"errors": errors, "warnings": warnings,
              "findings": [{"subject": subject, **one._asdict()} for subject, one in found]}
    context.show(result, ([""] if shown else []) + [
        f"{plural(errors, 'error')}, {plural(warnings, 'warning')}."])
    if patient.db is None:
        return UNREACHABLE
    return TROUBLE if errors else OK


def lines(one, colour):
    mark = MARKS[one.level]
    if colour and one.level in COLOURS:
        mark = COLOURS[one.level] + mark + "\033[0m"
    yield f"  {mark} {printable(one.text)}"
    if one.remedy:
        yield f"             → {printable(one.remedy)}"


COMMANDS = [Command("doctor", "find the usual mistakes of a set-up, and the remedy", run, arguments,
                    DESCRIPTION)]
