# SPDX-License-Identifier: Apache-2.0
"""The sessions of a web server, as its agent sees them: looked at, ended, moved, protected."""

import datetime
import re
import time
import urllib.parse

from ..agent import Agent
from ..command import Command
from ..errors import OK, TROUBLE, BadArgument, NoSession
from ..text import columns, plural, printable, size, span

PACE_S = 0.1
ACTS = ("status", "count", "list", "show", "end", "end-user", "bank", "drain", "undrain", "alone", "wait")
NEED = {"show": "ID or KEY", "end": "ID or KEY", "end-user": "NAME"}
BANK_COLUMNS = (("name", "bank server"), ("state", "state"), ("in_sync", "in sync"),
                ("waiting", "waiting"), ("confirmed", "confirmed"), ("heard", "heard"),
                ("rack", "?rack"), ("problem", "?problem"))
LIST_COLUMNS = (("key", "key"), ("state", "state"), ("user", "?user"), ("owner", "owner"),
                ("used", "last used"), ("ends", "?ends"), ("bytes", "bytes"), ("copies", "copies"),
                ("protected", "protected"))
SHOWN = (("key", "key"), ("state", "state"), ("user", "user"), ("owner", "owner"),
         ("version", "version"), ("created", "began"), ("used", "last used"), ("idle_s", "idle limit"),
         ("ends", "ends"), ("bytes", "bytes"), ("entries", "entries"), ("copies", "copies"),
         ("protected", "protected"))


def arguments(parser):
    parser.add_argument("act", nargs="?", choices=ACTS, default="status", metavar="ACT",
                        help=", ".join(ACTS) + " (default: status)")
    parser.add_argument("what", nargs="?", metavar="ID|KEY|NAME",
                        help="the session (its id, or its key from list) of show and end; the user "
                        "of end-user")
    parser.add_argument("--agent", metavar="WHERE", help="agent.sock of the web server's StateDir, or "
                        "http://HOST:PORT of its FarmSyncListen (default: the agent of this host)")
    parser.add_argument("--key-file", metavar="FILE", help="the farm's key, for an agent elsewhere")
    parser.add_argument("--server", metavar="NAME", help="drain, undrain: this bank server; without it "
                        "the web server itself")
    parser.add_argument("-n", type=whole, default=100, metavar="COUNT",
                        help="list: at most so many (default 100)")
    parser.add_argument("--timeout", type=seconds, default=60.0, metavar="S",
                        help="wait: seconds until it gives up (default 60)")


def whole(text):
    if not text.isdigit() or not 1 <= int(text) <= 10000000:
        raise ValueError(text)
    return int(text)


def seconds(text):
    value = float(text)
    if not 0 <= value <= 86400:
        raise ValueError(text)
    return value


def run(context):
    options = context.options
    if (options.act in NEED) != (options.what is not None):
        raise BadArgument(f"sessions {options.act} needs {NEED[options.act]}" if options.act in NEED
                          else f'sessions {options.act} takes no argument, "{printable(options.what)}"')
    if options.server is not None and options.act not in ("drain", "undrain"):
        raise BadArgument("--server is for drain and undrain")
    agent = Agent(options.agent, options.key_file)
    return globals()["run_" + options.act.replace("-", "_")](context, agent)


# --- looking -----------------------------------------------------------------------------------


def status_of(agent):
    code, value = agent.ask("GET", "/v1/sessions/status")
    if code == 404 or not isinstance(value, dict) or "sessions" not in value:
        raise NoSession("this web server keeps no sessions: load mod_session_farmsync and name "
                        "the cookie with SessionFarmSyncCookieName")
    return value


def troubles(status):
    """What is not as it should be, one sentence each."""
    found = []
    for one in status.get("bank", []):
        if one.get("state") == "down":
            found.append(f"bank server {one['name']} doesn't answer"
                         + (f": {one['problem']}" if one.get("problem") else ""))
        elif one.get("problem"):
            found.append(f"bank server {one['name']}: {one['problem']}")
        elif one.get("in_sync") is False:
            found.append(f"bank server {one['name']} is being brought up to date")
    if status.get("alone"):
        found.append("no bank server answers: sessions are on this host alone")
    return found


def counts(status):
    limit = f" of at most {status['limit_sessions']}" if status.get("limit_sessions") else ""
    line = f"{plural(status['sessions'], 'session')}{limit}"
    if status.get("bytes") is not None:
        line += f", {size(status['bytes'])}"
        line += f" of {size(status['limit_bytes'])}" if status.get("limit_bytes") else ""
    waiting = status.get("unprotected") or 0
    if waiting:
        since = (status.get("oldest_unprotected_ms") or 0) / 1000
        return f"{line}; {waiting} not protected yet, the oldest for {span(since)}"
    return f"{line}; all protected"


def ahead_lines(status):
    """Of sessions that alternates hold ahead, where routing is on."""
    ahead = status.get("ahead")
    if not ahead:
        return []
    again = f", {ahead['failed']} not taken and sent again" if ahead["failed"] else ""
    return [f"Held ahead for other servers: {plural(ahead['held'], 'session')}, {size(ahead['held_bytes'])}; "
            f"{ahead['served']} taken over as they were held.",
            f"Copies carried to alternates: {ahead['carried']}{again}."]


def bank_lines(status):
    rows = [{**one, "heard": span(one["last_heard_ms"] / 1000) + " ago"
             if one.get("last_heard_ms") is not None else None} for one in status.get("bank", [])]
    return columns(rows, BANK_COLUMNS) if rows else ["No bank server is configured."]


def run_status(context, agent):
    status = status_of(agent)
    found = troubles(status)
    lines = [counts(status), *(["This web server is drained."] if status.get("draining") else []),
             *ahead_lines(status), "", *bank_lines(status)]
    if found:
        lines += ["", "trouble:", *(f"  {printable(one)}" for one in found)]
    context.show({**status, "trouble": found}, lines)
    return TROUBLE if found else OK


def run_count(context, agent):
    status = status_of(agent)
    value = {"sessions": status["sessions"], "unprotected": status.get("unprotected")}
    context.show(value, [str(value["sessions"])])
    return OK


def run_bank(context, agent):
    status = status_of(agent)
    context.show(status.get("bank", []), bank_lines(status))
    return TROUBLE if troubles(status) else OK


def moment(value):
    return value and datetime.datetime.fromtimestamp(int(value), datetime.timezone.utc)\
        .strftime("%Y-%m-%d %H:%M:%S")


def readable(session):
    """A session for people."""
    return {**session, **{name: moment(session.get(name)) for name in ("created", "used", "ends")}}


def run_list(context, agent):
    status_of(agent)
    found, after = [], ""
    while len(found) < context.options.n:
        room = min(context.options.n - len(found), 1000)
        _, value = agent.ask("GET", f"/v1/sessions?after={after}&limit={room}")
        found += value.get("sessions", [])
        after = value.get("next")
        if not after:
            break
    context.show({"sessions": found, "next": after or None},
                 [*columns([readable(one) for one in found], LIST_COLUMNS),
                  *(["… and more; -n shows more of them"] if after else [])]
                 if found else ["There are no sessions."])
    return OK


def path_of(what):
    """A key is 32 hex digits, an id is 32 characters of base64url: what could be both is a key."""
    if re.fullmatch(r"[0-9A-Fa-f]{32}", what):
        return f"/v1/sessions/key/{what.lower()}"
    if re.fullmatch(r"[A-Za-z0-9_-]{32}", what):
        return f"/v1/sessions/id/{what}"
    raise BadArgument("a session's id has 32 characters A-Z a-z 0-9 _ -, its key 32 hex digits")


def run_show(context, agent):
    code, value = agent.ask("GET", path_of(context.options.what))
    if code == 404:
        raise NoSession("this web server doesn't have that session; another one may")
    shown = readable(value)
    if value.get("idle_s") is not None:
        shown["idle_s"] = span(value["idle_s"])
    context.show(value, [f"{title + ':':<12} {printable(shown[name])}"
                         for name, title in SHOWN if shown.get(name) is not None])
    return OK


# --- acts --------------------------------------------------------------------------------------


def run_end(context, agent):
    code, value = agent.ask("DELETE", path_of(context.options.what))
    if code == 404:
        raise NoSession("that session isn't known on this web server nor at the bank: it has ended")
    context.show(value, ["The session is ended, on all servers."])
    return OK


def run_end_user(context, agent):
    status_of(agent)
    _, value = agent.ask("DELETE", "/v1/sessions/user/"
                         + urllib.parse.quote(context.options.what, safe=""))
    context.show(value, [f"{plural(value.get('ended', 0), 'session')} of "
                         f"{printable(context.options.what)} ended."])
    return OK


def query(options):
    return "server=" + urllib.parse.quote(options.server, safe="") if options.server else "self=1"


def run_drain(context, agent):
    code, value = agent.ask("POST", "/v1/sessions/drain?" + query(context.options))
    known(code, context, agent)
    status = status_of(agent)
    name = context.options.server
    context.show(value, [
        f"Bank server {printable(name)} is drained: its sessions are copied to others." if name else
        "This web server keeps no sessions any more than until they are protected, and gives them to "
        "whoever asks.", counts(status),
        "farmsyncctl sessions wait tells when all are protected."])
    return OK


def run_undrain(context, agent):
    code, value = agent.ask("POST", "/v1/sessions/undrain?" + query(context.options))
    known(code, context, agent)
    name = context.options.server
    context.show(value, [f"Bank server {printable(name)} keeps sessions again." if name else
                         "This web server keeps sessions again."])
    return OK


def run_alone(context, agent):
    status_of(agent)
    _, value = agent.ask("POST", "/v1/sessions/alone")
    context.show(value, ["This web server works on with the sessions that it has, until a bank server answers."])
    return OK


def known(code, context, agent):
    """A bank server that isn't there is named with those that are."""
    if code == 404:
        names = ", ".join(printable(one["name"]) for one in status_of(agent).get("bank", []))
        raise BadArgument(f'there is no bank server "{printable(context.options.server)}"; '
                          f"there is {names or 'none'}")


def run_wait(context, agent):
    deadline = time.monotonic() + context.options.timeout
    while True:
        status = status_of(agent)
        done = not status.get("unprotected")
        if done or time.monotonic() >= deadline:
            break
        time.sleep(PACE_S)
    context.show({"protected": done, **status}, [counts(status)])
    return OK if done else TROUBLE


COMMANDS = [Command("sessions", "the sessions of a web server: look, end, drain, wait", run, arguments,
                    description="""\
The sessions of a web server and how they are protected, through its agent; values are never shown.

  status               counts and bank servers (1 if one is in trouble)
  count                how many sessions this web server has
  list                 one a line
  show ID|KEY          one of them
  end ID|KEY           end it, on all servers
  end-user NAME        end all of a user
  bank                 the bank servers
  drain, undrain       this web server, or with --server a bank server
  alone                the bank is away and nobody else has it: work on with what is here
  wait                 until all sessions are protected (1 if --timeout comes first)""")]
