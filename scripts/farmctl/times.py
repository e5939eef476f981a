# SPDX-License-Identifier: Apache-2.0
"""Times that people give: absolute (UTC unless said), or from now on by the database's clock."""

import datetime
import re

from .errors import BadArgument

UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
UTC = datetime.timezone.utc


def parse(text, now):
    """`now` is the database's; the result is in UTC."""
    text = text.strip()
    found = re.fullmatch(r"\+(\d+(?:\.\d+)?)\s*(s|m|min|h|d)?", text)
    if found:
        seconds = float(found[1]) * UNITS[found[2] or "s"]
        if seconds > 10 * 366 * 86400:
            raise BadArgument(f"{text} is more than ten years ahead")
        return now + datetime.timedelta(seconds=seconds)
    found = re.fullmatch(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d)(:\d\d)?(\.\d{1,6})?"
                         r"\s*(Z|UTC|[+-]\d\d:?\d\d)?", text)
    if not found:
        raise BadArgument(f"{text!r} is no time; give one like \"2026-12-01 00:00\" (UTC), "
                          "\"2026-12-01T00:00:00+01:00\" or +90s, +10m, +2h")
    zone = found[5] if found[5] not in (None, "Z", "UTC") else "+0000"
    whole = found[1] + " " + found[2] + (found[3] or ":00") + (found[4] or ".0")
    try:
        return datetime.datetime.strptime(whole + zone.replace(":", ""),
                                          "%Y-%m-%d %H:%M:%S.%f%z").astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise BadArgument(f"{text!r} is no time: {error}") from error


def sql(moment):
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")
