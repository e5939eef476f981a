# SPDX-License-Identifier: Apache-2.0
"""Configuration of balancers for this farm."""

import argparse
import re

from ..cli import port
from ..command import Command
from ..errors import OK
from ..snippets import KINDS, servers_of
from .routing import agent_of, farm_of, where_arguments


def word(text):
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", text):
        raise argparse.ArgumentTypeError(f'"{text}" is no name: letters, digits, "_", "." and "-"')
    return text


def arguments(parser):
    parser.add_argument("kind", choices=sorted(KINDS), metavar="KIND",
                        help="haproxy, balancer (mod_proxy_balancer), jk (mod_jk) or dns (a zone's lines)")
    parser.add_argument("--name", type=word, default=None,
                        help="of the backend or balancer (default farm), or of the site in the zone (default www)")
    parser.add_argument("--cookie", type=word, default="farmsync", help="FarmSyncRouteCookie (default farmsync)")
    parser.add_argument("--check-port", type=port, default=None, metavar="PORT",
                        help="haproxy: port of FarmSyncAgentCheck on all servers; jk: of the Tomcats (8009)")
    where_arguments(parser)


def run(context):
    options = context.options
    options.name = options.name or ("www" if options.kind == "dns" else "farm")
    servers = servers_of(farm_of(agent_of(options)))
    lines = KINDS[options.kind](servers, options)
    context.show({"kind": options.kind, "servers": [one.name for one in servers],
                  "snippet": "\n".join(lines) + "\n"}, lines)
    return OK


COMMANDS = [Command("snippet", "configuration of a balancer for this farm: haproxy, balancer, jk or dns",
                    run, arguments)]
