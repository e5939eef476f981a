# SPDX-License-Identifier: Apache-2.0
"""Time zones: what people call Europe/Berlin is a rule on the farm, "CET-1CEST,M3.5.0,M10.5.0/3".

A notice carries the rule, so that servers with different releases of the zone database, or with none,
begin its windows at the same moment. It is that of today; the last line of a zone's file has it (RFC
9636, 3.3).
"""

import os
import re

from .errors import BadArgument

RULE_SIZE = 79


def place(name):
    """The file of a zone, or None."""
    if not re.fullmatch(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*", name):
        return None
    import zoneinfo  # here, for most notices name no zone
    return next((path for path in (os.path.join(one, name) for one in zoneinfo.TZPATH)
                 if os.path.isfile(path)), None)


def rule_of(name):
    """The rule of a zone by its name; a rule is its own. "" is UTC."""
    if name in ("", "UTC", "Z"):
        return ""
    path = place(name)
    if path:
        with open(path, "rb") as file:
            data = file.read(1 << 20)
        lines = data.split(b"\n")
        if data[:4] == b"TZif" and len(lines) > 2 and lines[-1] == b"" and lines[-2]:
            return lines[-2].decode("ascii", "replace")
    elif re.match(r"(<[A-Za-z0-9+-]{3,}>|[A-Za-z]{3,})[+-]?\d", name) and len(name) <= RULE_SIZE:
        return name
    raise BadArgument(f"{name!r} is no time zone that is known here; give a name such as Europe/Berlin "
                      'or a rule such as "CET-1CEST,M3.5.0,M10.5.0/3"')


def zone_of(name):
    """For times of one day: a tzinfo. Rules have none."""
    import zoneinfo
    if name in ("", "UTC", "Z"):
        return zoneinfo.ZoneInfo("UTC") if place("UTC") else None
    try:
        return zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError) as error:
        raise BadArgument(f"{name!r} is no time zone that is known here; give a name such as "
                          "Europe/Berlin, or times in UTC") from error
