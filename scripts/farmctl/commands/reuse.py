# SPDX-License-Identifier: Apache-2.0
"""What pages depend on has changed: told to an agent, which tells the farm."""

import json

from ..agent import Agent
from ..command import Command
from ..errors import OK, TROUBLE
from ..text import plural, printable


def invalidate_arguments(parser):
    parser.add_argument("names", metavar="NAME", nargs="+", help="as pages name it in FarmSync-Depends; "
                        "prices means prices/sku-1, too")
    parser.add_argument("--agent", metavar="WHERE", help="agent.sock of a web server's StateDir, or "
                        "http://HOST:PORT of a FarmSyncListen (default: the agent of this host)")
    parser.add_argument("--key-file", metavar="FILE", help="the farm's key, for an agent elsewhere")


def invalidate(context):
    options = context.options
    body = json.dumps({"names": options.names}).encode()
    _, answer = Agent(options.agent, options.key_file).ask("POST", "/v1/invalidate", body)
    lines = [f"{plural(answer['names'], 'name')} told to {answer['told']} of {answer['of']} servers "
             f"in {answer['ms']:.0f} ms"]
    lines += [f"{printable(name)} not reached, will be told on return" for name in answer["missed"]]
    context.show(answer, lines)
    return TROUBLE if answer["missed"] else OK


COMMANDS = [
    Command("invalidate", "pages that depend on these names are made anew, on every server", invalidate,
            invalidate_arguments),
]
