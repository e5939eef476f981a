# SPDX-License-Identifier: Apache-2.0
"""The command line of farmsyncctl: options, the table of commands, exit codes."""

import argparse
import os
import sys

from . import RELEASE, commands, text
from .errors import INTERRUPTED, OK, USAGE, CtlError

DESCRIPTION = "Looks at a farmsync farm and steers it, through its database."

EPILOG = """\
The database is found as the MySQL clients find it: group [farmsync], then [client], of the file
that --defaults-file names, else of ~/.my.cnf or /etc/farmsync/my.cnf. Acts need the role
farmsync_operator. All times are UTC.

exit status: 0 all well; 1 it worked and found trouble; 2 wrong arguments; 3 no database answers;
4 the database refused; 5 farmsync isn't installed there, or in another release.

  farmsyncctl status
  farmsyncctl activate --at "2026-12-01 00:00" --comment "winter prices"
  farmsyncctl --json doctor --datasrv http://ds1:4470
"""


class Context:
    """What a command gets: options, the database (connected at first use), where output goes."""

    def __init__(self, chosen):
        self.options = chosen
        self._database = None
        self._target = None

    @property
    def target(self):
        if self._target is None:
            from . import database, options  # most commands of availability need no database
            database.need_driver()
            self._target = options.target(self.options)
        return self._target

    @property
    def db(self):
        if self._database is None:
            from .database import Database
            self._database = Database(self.target)
        return self._database

    @property
    def group(self):
        """The group of an act."""
        return self.options.group or "default"

    def close(self):
        if self._database is not None:
            self._database.close()

    def show(self, value, lines):
        """The result, once: as JSON if that was asked for, else as lines."""
        if self.options.json:
            print(text.dump(value))
        else:
            for line in lines:
                print(line)

    def say(self, line):
        """What goes on, for people only; never on the standard output."""
        if not self.options.json:
            print(line, file=sys.stderr, flush=True)


def port(value):
    if not value.isdigit() or not 1 <= int(value) <= 65535:
        raise argparse.ArgumentTypeError(f'"{value}" is not a port, 1 to 65535')
    return int(value)


def common_options():
    """Accepted before and after the command; after it they count."""
    parser = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    where = parser.add_argument_group("where the database is")
    where.add_argument("--defaults-file", metavar="FILE",
                       help="MySQL option file (default: ~/.my.cnf, /etc/farmsync/my.cnf)")
    where.add_argument("-h", "--host", metavar="HOST[,HOST...]",
                       help="each with or without :port, tried in order")
    where.add_argument("-P", "--port", type=port)
    where.add_argument("-S", "--socket", metavar="FILE")
    where.add_argument("-u", "--user")
    where.add_argument("-p", "--password", dest="ask_password", action="store_true",
                       help="ask for the password; better it stands in the option file")
    what = parser.add_argument_group("what it is about, and how it is shown")
    what.add_argument("-g", "--group", help="the group (default: \"default\"; where things are "
                      "looked at, all groups)")
    what.add_argument("--comment", metavar="TEXT", help="why; kept in the history with the act")
    what.add_argument("--json", action="store_true", help="for programs")
    what.add_argument("--help", action="help", help="show this and exit")
    return parser


DEFAULTS = {"defaults_file": None, "host": None, "port": None, "socket": None, "user": None,
            "ask_password": False, "group": None, "comment": None, "json": False}


class Parser(argparse.ArgumentParser):
    """Wrong arguments are for programs on the standard output, too; its subparsers are of its class."""

    as_json = False

    def error(self, message):
        if Parser.as_json:
            print(text.dump({"error": {"exit_status": USAGE, "number": "", "text": message}}))
        super().error(message)


def parser(name=None):
    """Of all commands, or, if a command's name comes first, of those beside it."""
    common = common_options()
    top = Parser(prog="farmsyncctl", description=DESCRIPTION, epilog=EPILOG, parents=[common],
                 add_help=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--version", action="version", version=f"farmsyncctl {RELEASE}")
    subparsers = top.add_subparsers(dest="command", metavar="COMMAND", required=True, prog=top.prog)
    for command in commands.find(name):
        sub = subparsers.add_parser(command.name, help=command.summary, add_help=False,
                                    description=command.description or command.summary,
                                    parents=[common],
                                    formatter_class=argparse.RawDescriptionHelpFormatter)
        command.arguments(sub)
        sub.set_defaults(run=command.run)
    return top


def parse(arguments):
    Parser.as_json = "--json" in arguments
    chosen = parser(arguments[0] if arguments else None).parse_args(arguments)
    for name, value in DEFAULTS.items():
        if not hasattr(chosen, name):
            setattr(chosen, name, value)
    return chosen


def report(error, as_json):
    print(text.printable(str(error)), file=sys.stderr)
    if as_json:
        words = str(error).split(":", 1)
        number = words[0] if words[0].startswith("FS") and len(words) > 1 else ""
        print(text.dump({"error": {"exit_status": error.code, "number": number,
                                   "text": words[1].strip() if number else str(error)}}))


def main(arguments=None):
    """Returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        chosen = parse(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else USAGE
    for stream in (sys.stdout, sys.stderr):  # a terminal that has no such letters
        stream.reconfigure(errors="backslashreplace")
    context = Context(chosen)
    try:
        status = chosen.run(context)
        sys.stdout.flush()
        return status if status is not None else OK
    except CtlError as error:
        report(error, chosen.json)
        return error.code
    except BrokenPipeError:  # as in `farmsyncctl history | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        context.close()
