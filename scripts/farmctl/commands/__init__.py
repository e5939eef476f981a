# SPDX-License-Identifier: Apache-2.0
"""
The table of commands. A new one gets a file here that has COMMANDS, a list of Command, and its name
in MODULES.
"""

from . import (acts, activate, approve, avail, checks, check_db, cycle, data, diff, diagnosis, reuse,
               sessions, status, watch)

MODULES = (status, watch, data, diff, checks, activate, cycle, acts, approve, avail, reuse, sessions, check_db,
           diagnosis)
COMMANDS = [command for module in MODULES for command in module.COMMANDS]
