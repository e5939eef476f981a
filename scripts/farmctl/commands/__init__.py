# SPDX-License-Identifier: Apache-2.0
"""
The table of commands. A new one gets a file here that has COMMANDS, a list of Command, and its name
in MODULES with what the list has: who says that an application is down waits for that file only.
"""

import importlib

MODULES = {"status": ("status",), "watch": ("watch",), "data": ("datasets", "pending"),
           "diff": ("diff",), "checks": ("checks", "dry-run", "allow-once"),
           "activate": ("activate",), "cycle": ("versions", "history"),
           "acts": ("hold", "resume", "roll-back", "pin", "unpin"),
           "approve": ("request-approval", "approve", "reject"),
           "avail": ("down", "up", "notices"), "reuse": ("invalidate",),
           "routing": ("servers", "client", "drain", "undrain"),
           "sessions": ("sessions",), "snippet": ("snippet",), "check_db": ("check-db",), "diagnosis": ("doctor",)}


def find(name=None):
    """The commands of the file that has the command of this name; all, if none has."""
    chosen = [module for module, names in MODULES.items() if name in names] or MODULES
    return [command for module in chosen
            for command in importlib.import_module(f"{__name__}.{module}").COMMANDS]
