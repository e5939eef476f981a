# SPDX-License-Identifier: Apache-2.0
"""Applications are down, or up again: told to an agent, which tells the farm."""

import argparse
import datetime
import json
import sys

from .. import notices
from ..agent import Agent
from ..command import Command
from ..errors import OK, TROUBLE, BadArgument
from ..text import clip, plural, printable

ACTS = ("list", "show", "history", "import", "export", "monitors")


def where_arguments(parser):
    parser.add_argument("--agent", metavar="WHERE", help="agent.sock of a web server's StateDir, or "
                        "http://HOST:PORT of a FarmSyncListen or of a data server (default: the agent of "
                        "this host)")
    parser.add_argument("--key-file", metavar="FILE", help="the farm's key, for an agent elsewhere")
    parser.add_argument("--wait", metavar="MS", type=milliseconds, default=1000,
                        help="how long to wait for servers that don't answer (default 1000)")


def milliseconds(text):
    if not text.isdigit() or int(text) > 10000:
        raise ValueError(text)
    return int(text)


def down_arguments(parser):
    parser.add_argument("application", metavar="APP", help="as FarmSyncApplication names it; * for all")
    where_arguments(parser)
    what = parser.add_argument_group("what is said")
    what.add_argument("--until", metavar="T", help="when it will be up again: 14:30, \"2026-12-01 14:30\", "
                      "+30m")
    what.add_argument("--from", dest="begin", metavar="T", help="when it begins; now if it isn't said")
    what.add_argument("--weekly", metavar="RULE", help="every week: \"sun 02:00-04:00\", "
                      "\"mon-fri 22:00-01:00\"")
    what.add_argument("--zone", metavar="NAME", default="", help="time zone of these, such as Europe/Berlin "
                      "(default UTC)")
    what.add_argument("--reason", metavar="R", help="unknown, planned, outage, testing or a word of your own")
    what.add_argument("--when", metavar="EXPR", help="only for requests for which this expression of httpd is "
                      "true: \"%%{REQUEST_METHOD} != 'GET'\"")
    what.add_argument("--message", metavar="TEXT", help="for visitors; --message-de and so on for those of a "
                      "language")
    for language in notices.LANGUAGES:
        what.add_argument(f"--message-{language}", metavar="TEXT", help=argparse.SUPPRESS)
    what.add_argument("--message-in", nargs=2, metavar=("LANGUAGE", "TEXT"), action="append",
                      help="the same for any language, such as pt-BR")
    what.add_argument("--servers", metavar="NAME,...", action="append", help="only on these")
    what.add_argument("--state", choices=("down", "degraded", "up"), default="down",
                      help="degraded: requests are served, and it is said; up: monitors are overruled")
    what.add_argument("--id", metavar="NAME", help="so that several notices stand side by side; without it "
                      "this replaces what was said before")
    what.add_argument("--component", metavar="NAME", help="what failed")
    what.add_argument("--link", metavar="URL", help="where visitors find more")
    what.add_argument("--unchecked", action="store_true", help="tell it though no httpd can check --when")
    what.add_argument("--status", action="store_true", help="say nothing, show how the application is")


def up_arguments(parser):
    parser.add_argument("application", metavar="APP", help="as down named it")
    where_arguments(parser)
    parser.add_argument("--id", metavar="NAME", help="only this notice, also one that is planned")
    parser.add_argument("--force", action="store_true", help="overrule monitors, too, for an hour or --until")
    parser.add_argument("--until", metavar="T", help="how long monitors are overruled")
    parser.add_argument("--zone", metavar="NAME", default="", help="time zone of that (default UTC)")


def notices_arguments(parser):
    parser.add_argument("act", nargs="?", choices=ACTS, default="list", metavar="ACT",
                        help=", ".join(ACTS) + " (default: list)")
    parser.add_argument("what", nargs="?", metavar="APP[/ID]|FILE", help="show: which; import, export: the "
                        "file, - for standard input and output")
    where_arguments(parser)
    parser.add_argument("-n", type=int, default=50, metavar="COUNT", help="history: so many (default 50)")
    parser.add_argument("--application", metavar="APP", help="import: the application of all events")
    parser.add_argument("--zone", metavar="NAME", default="", help="import: time zone of times that have none "
                        "(default UTC)")
    parser.add_argument("--dry-run", action="store_true", help="import: only show what would be told")


# --- telling -----------------------------------------------------------------------------------


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def agent_of(options):
    return Agent(options.agent, options.key_file, timeout=10 + options.wait / 1000)


def tell(agent, value, options):
    query = f"?wait={options.wait}" + ("&unchecked=1" if getattr(options, "unchecked", False) else "")
    _, answer = agent.ask("POST", "/v1/notices" + query, json.dumps(value).encode())
    return answer


def take_back(agent, application, number, options):
    """(status, answer)"""
    import urllib.parse  # here, for who says that an application is down doesn't wait for it
    path = "/v1/notices/" + urllib.parse.quote(application, safe="*")
    if number:
        path += "/" + urllib.parse.quote(number, safe="")
    asked = {"wait": options.wait, "who": notices.who()}
    if options.comment:
        asked["why"] = options.comment
    return agent.ask("DELETE", path + "?" + urllib.parse.urlencode(asked))


def all_told(answer):
    return answer.get("told") == answer.get("of")


def state_line(value):
    words = f"{value['application']} is {value['state']}"
    if value.get("weekly"):
        rule = value["weekly"]
        words = f"{value['application']} will be {value['state']} each {','.join(rule['days'])} " \
                f"{rule['start']}-{rule['end']} {rule.get('zone', 'UTC')}"
    elif value.get("from"):
        words = f"{value['application']} will be {value['state']} from {notices.short(value['from'])} UTC"
    if value.get("until"):
        words += f" until {notices.short(value['until'])} UTC"
    return words


def run_down(context):
    options = context.options
    agent = agent_of(options)
    if options.status:
        return show_status(context, agent)
    value = notices.notice(options, now())
    answer = tell(agent, value, options)
    words, missing = notices.told(answer)
    context.show({"notice": value, **answer}, [f"{printable(state_line(value))}: {words}", *missing])
    return OK if all_told(answer) else TROUBLE


def show_status(context, agent):
    """How the application is: the notices about it."""
    name = context.options.application
    _, answer = agent.ask("GET", "/v1/notices")
    found = [one for one in answer.get("notices", []) if one.get("application") in (name, "*")]
    down = [one for one in found if one.get("in_force") and one.get("state") == "down"
            and one.get("heeded") is not False]
    context.show({"application": name, "state": "down" if down else "up", "notices": found},
                 notices.table(found) if found else [f"Nothing is said about {printable(name)}: it is up."])
    return TROUBLE if down else OK


def run_up(context):
    options = context.options
    agent = agent_of(options)
    status, answer = take_back(agent, options.application, options.id, options)
    if status == 404:
        raise BadArgument(f"there is no notice {options.application}/{options.id}; farmsyncctl notices lists "
                          "them")
    lines = up_lines(options, answer)
    if options.force:
        until = notices.moment_of(options.until or "+1h", options.zone, now())
        value = {"application": options.application, "state": "up", "id": "overrule",
                 "until": notices.rfc3339(until), "who": notices.who()}
        answer = {**tell(agent, value, options), "left": []}
        words, missing = notices.told(answer)
        lines = [f"{printable(options.application)} is up, and monitors are overruled until "
                 f"{notices.short(value['until'])} UTC: {words}", *missing]
    context.show(answer, lines)
    return OK if all_told(answer) and not answer.get("left") else TROUBLE


def up_lines(options, answer):
    keys, left = answer.get("keys", []), answer.get("left", [])
    words, missing = notices.told(answer)
    name = printable(options.application)
    if keys:
        lines = [f"{name}: {plural(len(keys), 'notice')} taken back ({', '.join(map(printable, keys))}): {words}",
                 *missing]
    else:
        lines = [f"No operator says that {name} is down now."]
    if left:
        lines += [f"{name} is still down:", *(f"  {line}" for line in notices.table(left))]
        if any(one.get("role") == "monitor" for one in left):
            lines.append(f"farmsyncctl up {name} --force overrules monitors.")
    return lines


# --- notices -----------------------------------------------------------------------------------


def run_notices(context):
    options = context.options
    if (options.act in ("show", "import")) and options.what is None:
        raise BadArgument(f"notices {options.act} needs " + ("APP[/ID]" if options.act == "show" else "a FILE"))
    if options.act in ("list", "history", "monitors") and options.what is not None:
        raise BadArgument(f'notices {options.act} takes no argument, "{options.what}"')
    return globals()["run_" + options.act](context, agent_of(options))


def run_list(context, agent):
    _, answer = agent.ask("GET", "/v1/notices")
    found = answer.get("notices", [])
    away = [one for one in answer.get("servers", []) if one.get("state") != "alive"]
    lines = notices.table(found) if found else ["Nothing is said: everything is up."]
    lines += [f"no effect on {printable(answer.get('server'))}: {printable(one)}" for one in answer.get("problems", [])]
    lines += [f"{printable(one.get('name'))} is {printable(one.get('state'))}; it will be told on return"
              for one in away]
    context.show(answer, lines)
    return OK


def run_show(context, agent):
    import urllib.parse
    path = "/".join(urllib.parse.quote(part, safe="*") for part in context.options.what.split("/", 1))
    status, answer = agent.ask("GET", "/v1/notices/" + path)
    found = answer.get("notices", []) if status != 404 else []
    if not found:
        raise BadArgument(f"there is no notice {context.options.what}; farmsyncctl notices lists them")
    lines = []
    for one in found:
        lines += ([""] if lines else []) + notices.describe(one)
    context.show(found, lines)
    return OK


def run_history(context, agent):
    _, answer = agent.ask("GET", f"/v1/notices?history={max(1, min(context.options.n, 200))}")
    lines = []
    for one in answer.get("history", []):
        said = one.get("notice") or {}
        why = " ".join(filter(None, (said.get("state"), said.get("reason"), one.get("why"))))
        lines.append(f"{notices.short(one.get('time'))}  {printable(one.get('act')):<10}  "
                     f"{printable(one.get('key'))}  {printable(clip(why, 60))}"
                     + (f"  by {printable(one['by'])}" if one.get("by") else "")
                     + (f" at {printable(one['server'])}" if one.get("server") else ""))
    context.show(answer, lines or ["Nothing was said yet."])
    return OK


def run_monitors(context, agent):
    _, answer = agent.ask("GET", "/v1/monitors")
    found = answer.get("monitors", [])
    lines = [f"{printable(one['name'])}: {printable(one['application'])} is {one['state']}, "
             f"{one['passed']} checks passed, {one['failed']} failed"
             + (f"; {printable(one['said'])}" if one.get("said") else "") for one in found]
    context.show(answer, lines or ["This server has no monitors."])
    return TROUBLE if any(one["state"] == "down" for one in found) else OK


def run_export(context, agent):
    _, body = agent.ask("GET", "/v1/notices.ics", raw=True)
    if context.options.what in (None, "-"):
        sys.stdout.write(body.replace("\r\n", "\n") if sys.stdout.isatty() else body)
        return OK
    try:
        with open(context.options.what, "w", encoding="utf-8", newline="") as file:
            file.write(body)
    except OSError as error:
        raise BadArgument(f"cannot write {context.options.what}: {error.strerror}") from error
    context.show({"file": context.options.what, "events": body.count("BEGIN:VEVENT")},
                 [f"{plural(body.count('BEGIN:VEVENT'), 'event')} written to {context.options.what}"])
    return OK


def read_file(name, limit):
    if name == "-":
        return sys.stdin.buffer.read(limit + 1)
    try:
        with open(name, "rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise BadArgument(f"cannot read {name}: {error.strerror}") from error


def run_import(context, agent):
    """The whole file is understood, or nothing of it is told."""
    from .. import ical
    options = context.options
    found = ical.read(read_file(options.what, ical.LIMIT), options.application, options.zone)
    lines, results, well = [], [], True
    for act, value in found:
        answer = {}
        if not options.dry_run:
            if act == "remove":
                _, answer = take_back(agent, value["application"], value["id"], options)
            else:
                answer = tell(agent, {**value, "who": notices.who()}, options)
        words, missing = notices.told(answer)
        what = f"{value['application']}/{value['id']} is cancelled" if act == "remove" else state_line(value)
        lines += [printable(what) + (f": {words}" if answer.get("of") else ""), *missing]
        results.append({"act": act, "notice": value, **answer})
        well = well and all_told(answer)
    context.show(results, lines)
    return OK if well else TROUBLE


COMMANDS = [
    Command("down", "an application is down: say so on every server", run_down, down_arguments,
            description="""\
Visitors of the application are told at once, on every server of the farm, that it is down; or they will be,
at the time that is planned. Prints who was told (exit status 1 if somebody wasn't; he will be).

  farmsyncctl down shop --until 14:30 --reason planned --message "Back at half past two"
  farmsyncctl down shop --when "%{REQUEST_METHOD} != 'GET'"          read-only
  farmsyncctl down shop --weekly "sun 02:00-04:00" --zone Europe/Berlin --id backup
  farmsyncctl down shop --status"""),
    Command("up", "an application is up again", run_up, up_arguments, description="""\
Takes back what operators say that makes the application unavailable now. What is planned for later stays; of
what recurs every week only the present occurrence is taken back."""),
    Command("notices", "what is said of availability: list, show, history, import, export", run_notices,
            notices_arguments, description="""\
  list                 all notices of the farm, also planned ones and what monitors say
  show APP[/ID]        with everything that they say
  history              what was said when, by whom, as this server learned of it
  import FILE.ics      plan what a calendar has; it is understood whole, or nothing of it is told
  export [FILE.ics]    what is planned, for calendars; also at /v1/notices.ics of every agent
  monitors             what this server's monitors see"""),
]
