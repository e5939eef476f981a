# SPDX-License-Identifier: Apache-2.0
"""The command line of scripts/farm."""

import argparse
import json
import os
import shlex
import subprocess
import sys
import time

from . import paths, ports, setup
from .errors import FarmError
from .farm import DEFAULT_INTERVAL_S, Farm, checked_mpms
from .httpd import VISITS
from .part import http_get
from .progress import step

CAPACITIES = (100, 100, 200)  # visitors that a server can be home to, in turn

DESCRIPTION = """\
A whole farm on this machine: a private database, data servers, web servers with their agents, and
a balancer (HAProxy) before them, all below one directory and on 127.0.0.1 only. A system Apache or
MariaDB is left alone.
"""

EPILOG = """\
NAME is db1, ds1, ds2, ..., web1, web2, ..., lb1 (the balancer before them), or agent1 (the agent of web1).

examples:
  scripts/farm demo                              see it happen
  scripts/farm up --servers 4 --mpm event,prefork
  eval "$(scripts/farm env)"; curl -i $FARM_WEB_1/farmsync/status
  eval "$(scripts/farm env)"; $FARM_CTL watch
  scripts/farm sql "SELECT * FROM farm"
  scripts/farm kill ds1; scripts/farm start ds1
"""


def whole(least, most):
    def convert(text):
        if not text.isdigit() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f'"{text}" is not a whole number from {least} to '
                                             f'{most}')
        return int(text)
    return convert


def parser():
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--dir", metavar="D", default=argparse.SUPPRESS,
                        help="the farm's directory (default: $FARM_DIR, else .farm in the source)")
    top = argparse.ArgumentParser(prog="scripts/farm", description=DESCRIPTION, epilog=EPILOG,
                                  parents=[common],
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(name, text, **more):
        return commands.add_parser(name, help=text, description=text, parents=[common], **more)

    for name, text in (("up", "build what is missing and start a farm, or what of it is down"),
                       ("demo", "start a farm and show in a minute what it does")):
        command = add(name, text)
        command.add_argument("--servers", metavar="N", type=whole(1, 32), default=3)
        command.add_argument("--datasrv", metavar="M", type=whole(0, 16), default=2)
        command.add_argument("--interval", metavar="S", type=whole(1, 86400),
                             default=DEFAULT_INTERVAL_S, help="seconds between two activations "
                             f"(default {DEFAULT_INTERVAL_S}; farmsync's own default is 600)")
        command.add_argument("--base-port", metavar="P", type=whole(1, 65535),
                             help="web servers get P, P+1, ..., then the data servers, the "
                             "database, the balancer, and the agents (default: free ports)")
        command.add_argument("--mpm", default="event", help="event, prefork or worker; a list "
                             "(event,prefork) gives them to the servers in turn")
    add("build", "install what is missing and build, without starting anything")
    add("env", "shell assignments: FARM_DIR, FARM_SQL, FARM_CTL, FARM_WEB_1, FARM_BALANCER, "
        "FARM_PID_WEB_1, ...")
    add("status", "what runs where, and what each server has")
    command = add("sql", "run SQL as the farm's administrator")
    command.add_argument("statement", nargs="?", help="without it: the client, interactive or "
                         "reading standard input")
    command = add("log", "the log of a part")
    command.add_argument("name", metavar="NAME")
    command.add_argument("-n", type=whole(1, 1000000), default=200, metavar="LINES")
    command.add_argument("-f", action="store_true", help="follow")
    for name, text in (("stop", "stop cleanly"), ("start", "start again"),
                       ("kill", "kill -9 of the whole process tree"),
                       ("pause", "SIGSTOP for the whole process tree"),
                       ("continue", "SIGCONT after a pause"),
                       ("graceful", "restart a web server gracefully; reload a datasrv")):
        command = add(name, text)
        command.add_argument("names", metavar="NAME", nargs="+")
    command = add("down", "stop everything; data and logs stay")
    command.add_argument("--purge", action="store_true", help="remove the farm's directory, too")
    return top


def assignments(farm):
    """Name and value of what `env` prints."""
    yield "FARM_DIR", farm.directory
    yield "FARM_SQL", shlex.join(farm.database.client_command())
    yield "FARM_CTL", shlex.join([
        os.path.join(paths.REPO, "scripts", "farmsyncctl"),
        f"--defaults-file={os.path.join(farm.directory, 'etc', 'operator.cnf')}"])
    for word, parts in (("WEB", farm.webs), ("DATASRV", farm.datasrvs)):
        for number, part in enumerate(parts, 1):
            yield f"FARM_{word}_{number}", part.url
    for word, parts in (("WEB", farm.webs), ("DS", farm.datasrvs), ("DB", [farm.database])):
        for number, part in enumerate(parts, 1):
            yield f"FARM_PID_{word}_{number}", str(part.pid or "")
    if farm.balancer:
        yield "FARM_BALANCER", farm.balancer.url
    for number, web in enumerate(farm.webs, 1):
        agent = web.agent_process()
        yield f"FARM_PID_AGENT_{number}", str(agent.pid if agent else "")


def table(rows, header):
    """Columns of text, aligned; header in the first line."""
    rows = [[str(value) if value is not None else "-" for value in row] for row in [header, *rows]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    return "\n".join("  ".join(value.ljust(width) for value, width in zip(row, widths)).rstrip()
                     for row in rows)


def _health(part):
    """What the part says of itself, in a word or two."""
    if part.state() != "running":
        return "-"
    try:
        if part.kind == "web":
            status, _, body = http_get(part.url + "/farmsync/status/health", timeout=2)
        elif part.kind == "datasrv":
            status, _, body = http_get(part.url + "/healthz", timeout=2)
        else:
            return "-"
    except OSError as error:
        return f"no answer ({getattr(error, 'reason', error)})"
    try:
        said = json.loads(body)
        text = said.get("reason") or said.get("problem") or said.get("status") or ""
    except (ValueError, AttributeError):
        text = " ".join(body.decode(errors="replace").split())
    return f"{status} {text}"[:76].rstrip()


def show_status(farm):
    rows = []
    for part in farm.parts():
        where = part.url if part.kind in ("web", "datasrv", "lb") else part.where()
        rows.append([part.name, part.state(), part.pid, where, _health(part)])
        if part.kind == "web":
            agent = farm.part(part.agent_name)
            rows.append([agent.name, agent.state(), agent.pid, f"of {part.name}", "-"])
    print(f"farm in {farm.directory}\n")
    print(table(rows, ["name", "state", "pid", "where", "health"]))
    if farm.database.state() != "running":
        print("\nThe database is not running, so there is no more to say.")
        return
    for view in ("cycle", "farm"):
        print()
        sys.stdout.flush()
        subprocess.run([*farm.database.client_command(), "--table", "-e",
                        f"SELECT * FROM farmsync.{view}"], check=False)


def show_log(farm, options):
    path = farm.part(options.name).log_path()
    if not os.path.exists(path):
        raise FarmError(f"{options.name} has not written a log yet ({path})")
    command = ["tail", "-n", str(options.n), *(["-F"] if options.f else []), path]
    os.execvp(command[0], command)


def run_sql(farm, options):
    command = farm.database.client_command()
    if options.statement is not None:
        command += ["--table" if sys.stdout.isatty() else "--batch", "-e", options.statement]
    os.execvp(command[0], command)


def act(farm, verb, names):
    parts = [farm.part(name) for name in names]
    method = {"continue": "resume"}.get(verb, verb)
    if verb == "start":
        farm.copy_binaries()
    for part in parts:
        with step(f"{verb} {part.name}"):
            getattr(part, method)()
        print(f"{part.name}: {part.state()}"
              + (f", pid {part.pid}" if part.pid else ""))


def dir_option(farm):
    """What a command for this farm needs besides its name."""
    return "" if farm.directory == Farm().directory else " --dir " + shlex.quote(farm.asked)


def print_urls(farm):
    print(f"\nThe farm is up in {farm.directory}:")
    for part in farm.webs:
        print(f"  {part.name}  {part.url}/  (status: {part.url}/farmsync/status)")
    for part in farm.datasrvs:
        print(f"  {part.name}   {part.url}/healthz")
    if farm.balancer:
        print(f"  {farm.balancer.name}   {farm.balancer.url}/  (HAProxy before the web servers, each in turn)")
    option = dir_option(farm)
    print(f"  db1   {farm.database.where()}  (scripts/farm sql{option})")
    print(f"scripts/farm status{option} shows it, scripts/farm down{option} stops it.")


def bring_up(options):
    """Builds, lays out and starts; used by up and demo."""
    farm = Farm(getattr(options, "dir", None))
    _check(farm, options)
    setup.ensure_built()
    with farm.lock():
        farm.load()
        if farm.running():
            _same_or_refuse(farm, options)
        else:
            farm.create(options.servers, options.datasrv, options.interval, options.base_port,
                        options.mpm, sessions=True,
                        routing=CAPACITIES if options.servers > 1 else None, routed=VISITS)
        farm.up()
    return farm


def _check(farm, options):
    """Finds what is wrong with the arguments before minutes are spent on building."""
    checked_mpms(options.mpm)
    farm.check_place()
    farm.load()
    if options.base_port is not None and not farm.running():
        ports.take(2 * options.servers + options.datasrv + 1 + (options.servers > 1),
                   options.base_port)


def _same_or_refuse(farm, options):
    """A farm that is up stays as it is; what is down of it is started."""
    if len(farm.webs) != options.servers or len(farm.datasrvs) != options.datasrv:
        raise FarmError(f"a farm of {len(farm.webs)} web servers and {len(farm.datasrvs)} data "
                        f"servers is up in {farm.directory}; scripts/farm down stops it, --dir "
                        f"starts another beside it")
    farm.state["interval"] = options.interval
    farm.copy_binaries()


def down(farm, options):
    with step("Stopping the farm"):
        farm.down()
    if options.purge:
        farm.remove()
    print(f"The farm in {farm.directory} is down"
          + (" and removed." if options.purge else "; its data and logs are kept "
             "(scripts/farm up starts it again, down --purge removes it)."))


def run(arguments):
    options = parser().parse_args(arguments)
    if options.command == "build":
        setup.ensure_built()
        return
    if options.command == "up":
        began = time.monotonic()
        farm = bring_up(options)
        print_urls(farm)
        print(f"Ready after {time.monotonic() - began:.1f} s.")
        return
    if options.command == "demo":
        from .demo import demo
        demo(options)
        return
    farm = Farm.existing(getattr(options, "dir", None))
    if options.command == "env":
        for name, value in assignments(farm):
            print(f"{name}={shlex.quote(value)}")
    elif options.command == "status":
        show_status(farm)
    elif options.command == "sql":
        run_sql(farm, options)
    elif options.command == "log":
        show_log(farm, options)
    elif options.command == "down":
        with farm.lock():
            down(farm, options)
    else:
        with farm.lock():
            act(farm, options.command, options.names)


def main():
    try:
        run(sys.argv[1:])
    except FarmError as error:
        print(f"scripts/farm: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
