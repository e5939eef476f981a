# SPDX-License-Identifier: Apache-2.0
"""Which server is home to whom, as an agent sees it; servers are emptied and filled again."""

import json
import re
import time

from ..agent import Agent
from ..command import Command
from ..errors import OK, TROUBLE, BadArgument, NoVisitor
from ..notices import who
from ..text import columns, plural, printable, span

PACE_S = 0.2
COLUMNS = (("name", "server"), ("state", "state"), ("primaries", "visitors"), ("capacity", "capacity"),
           ("full", "full"), ("alternates", "stands by for"), ("workers", "?busy workers"),
           ("rack", "?rack"), ("heard", "?heard"), ("order", "?drained by"))
TROUBLED = {"dead": "nothing is heard of it; its visitors go to their alternates",
            "suspect": "nothing is heard of it for a moment; its visitors go to their alternates"}


def where_arguments(parser):
    parser.add_argument("--agent", metavar="WHERE", help="agent.sock of a web server's StateDir, or "
                        "http://HOST:PORT of a FarmSyncListen (default: the agent of this host)")
    parser.add_argument("--key-file", metavar="FILE", help="the farm's key, for an agent elsewhere")


def client_arguments(parser):
    parser.add_argument("visitor", metavar="ID|COOKIE", help="24 hex digits, as logs have them, or the value "
                        "of the affinity cookie")
    where_arguments(parser)


def drain_arguments(parser):
    undrain_arguments(parser)
    parser.add_argument("--wait", action="store_true", help="until nobody is home there any more")
    parser.add_argument("--timeout", type=seconds, default=600.0, metavar="S",
                        help="seconds until --wait gives up (default 600)")


def undrain_arguments(parser):
    parser.add_argument("server", metavar="NAME", help="as FarmSyncServer names it")
    where_arguments(parser)


def seconds(text):
    value = float(text)
    if not 0 <= value <= 86400:
        raise ValueError(text)
    return value


def agent_of(options):
    return Agent(options.agent, options.key_file)


def known(code, answer, missing=None):
    """What was found, or that this is missing; a web server that takes no part in routing has nothing there."""
    if code == 404 and (missing is None or answer.get("problem") != missing):
        raise NoVisitor("this web server takes no part in routing: see FarmSyncRoute")
    return answer


def farm_of(agent):
    return known(*agent.ask("GET", "/v1/route"))


# --- looking -----------------------------------------------------------------------------------


def readable(server):
    """A server for people."""
    order = server.get("order")
    workers = server.get("workers") or 0
    return {**server, "full": f"{100 * server['ratio']:.1f} %",
            "state": server["state"] + (f" {100 * server['ramp']:.0f} %" if server["state"] == "ramping" else ""),
            "workers": f"{server['busy']}/{workers}" if workers else None,
            "heard": span(server["silent_s"]) + " ago" if server.get("silent_s") is not None else None,
            "order": order["who"] if order else None}


def run_servers(context):
    farm = farm_of(agent_of(context.options))
    found = [f"{server['name']} is {server['state']}: {TROUBLED[server['state']]}"
             for server in farm["servers"] if server["state"] in TROUBLED]
    servers = sorted((readable(server) for server in farm["servers"]), key=lambda one: one["name"])
    lines = [*columns(servers, COLUMNS), "",
             f"{plural(farm['visitors'], 'visitor')} in a farm for {farm['capacity']}: "
             f"{100 * farm['mean']:.1f} % full"]
    if found:
        lines += ["", "trouble:", *(f"  {printable(one)}" for one in found)]
    context.show({**farm, "trouble": found}, lines)
    return TROUBLE if found else OK


def run_client(context):
    import urllib.parse
    what = context.options.visitor
    if re.fullmatch(r"[0-9A-Fa-f]{24}", what):
        query = "id=" + what.lower()
    elif re.fullmatch(r"[A-Za-z0-9_-]{40,}(\.[A-Za-z0-9._:-]{1,64})?", what):
        query = "cookie=" + urllib.parse.quote(what, safe="")
    else:
        raise BadArgument("a visitor is 24 hex digits, or the value of its affinity cookie")
    code, value = agent_of(context.options).ask("GET", "/v1/route/visitor?" + query)
    known(code, value, "FS1673")
    if code == 404:
        raise NoVisitor(value.get("detail") or "this visitor isn't known there")
    lines = [f"home:       {printable(value['primary'])} ({printable(value['state'])})",
             f"alternate:  {printable(value['alternate'] or None)}"]
    if value.get("former"):
        lines.append(f"was of:     {printable(value['former'])}")
    lines += [f"id:         {printable(value['id'])}", f"generation: {value['generation']}"]
    if value.get("seen"):
        lines.append(f"last seen:  {printable(value['seen'])}")
    if not value.get("confirmed"):
        lines.append("It has not come back with its cookie yet.")
    cookie = value.get("cookie")
    if cookie and (cookie["generation"], cookie["primary"]) != (value["generation"], value["primary"]):
        lines.append(f"Its cookie is {'older' if cookie['generation'] < value['generation'] else 'newer'}: "
                     f"it says {printable(cookie['primary'])}, generation {cookie['generation']}.")
    context.show(value, lines)
    return OK


# --- acts --------------------------------------------------------------------------------------


def order(context, agent, act):
    """Tells the order; what the agent answers, and sentences of it."""
    body = json.dumps({"server": context.options.server, "who": who()}).encode()
    code, answer = agent.ask("POST", "/v1/route/" + act, body)
    known(code, answer, "FS1667")
    if code == 404:
        raise BadArgument(answer.get("detail") or f'no server is called "{context.options.server}"')
    lines = [f"{printable(name)} not reached, will be told on return" for name in answer["missed"]]
    return answer, lines


def told(answer):
    return f"told to {answer['told']} of {answer['of']} servers in {answer['ms']:.0f} ms"


def left_at(agent, name):
    """(visitors who are at home at that server, whether it is heard)"""
    for server in farm_of(agent)["servers"]:
        if server["name"] == name:
            return server["primaries"], server["state"] != "dead"
    return 0, False


def run_drain(context):
    options = context.options
    agent = agent_of(options)
    answer, lines = order(context, agent, "drain")
    name = printable(options.server)
    deadline = time.monotonic() + options.timeout
    left, is_heard = left_at(agent, options.server)
    shown = None
    while options.wait and left and is_heard and time.monotonic() < deadline:
        if left != shown:
            context.say(f"{plural(left, 'visitor')} at home at {name}")
            shown = left
        time.sleep(PACE_S)
        left, is_heard = left_at(agent, options.server)
    lines.insert(0, f"{name} is drained: {told(answer)}; "
                 + (f"{plural(left, 'visitor')} at home there, who leave as they come" if left else
                    "nobody is at home there"))
    context.show({**answer, "left": left}, lines)
    return TROUBLE if options.wait and left and is_heard else OK


def run_undrain(context):
    answer, lines = order(context, agent_of(context.options), "undrain")
    context.show(answer, [f"{printable(context.options.server)} gets visitors again: {told(answer)}",
                          *lines])
    return OK


COMMANDS = [
    Command("servers", "who is home to how many visitors, and which servers there are", run_servers,
            where_arguments),
    Command("client", "where a visitor is at home", run_client, client_arguments),
    Command("drain", "empty a server: it gets nobody new, and its visitors go to their alternates", run_drain,
            drain_arguments),
    Command("undrain", "a server that was drained gets visitors again", run_undrain, undrain_arguments),
]
