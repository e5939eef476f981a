# SPDX-License-Identifier: Apache-2.0
"""Acts that are one procedure each."""

import argparse

from ..act import act
from ..command import Command


def version(text):
    if not text.isdigit() or not 1 <= int(text) < 1 << 63:
        raise argparse.ArgumentTypeError(f'"{text}" is not a version; farmsyncctl versions lists '
                                         'them')
    return int(text)


def version_argument(parser):
    parser.add_argument("version", type=version, metavar="VERSION",
                        help="farmsyncctl versions lists them")


def run_hold(context):
    return act(context, "hold")


def run_resume(context):
    return act(context, "resume")


def run_roll_back(context):
    return act(context, "roll_back", context.options.version)


def run_pin(context):
    return act(context, "pin", context.options.version)


def run_unpin(context):
    return act(context, "unpin")


COMMANDS = [
    Command("hold", "promote nothing until resume; what is announced still becomes active",
            run_hold),
    Command("resume", "go on after hold or roll-back", run_resume),
    Command("roll-back", "a new version with the content of an older one", run_roll_back,
            version_argument),
    Command("pin", "keep the group at a version until unpin", run_pin, version_argument),
    Command("unpin", "let a pinned group go on", run_unpin),
]
