# SPDX-License-Identifier: Apache-2.0
"""Notices of availability: from the command line's options, and to lines for people."""

import datetime
import os
import pwd
import re
import socket

from . import times, zones
from .errors import BadArgument
from .text import columns, printable, span

UTC = datetime.timezone.utc
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
LANGUAGES = ("ar", "bg", "ca", "cs", "da", "de", "el", "en", "es", "et", "fi", "fr", "he", "hr", "hu", "it",
             "ja", "ko", "lt", "lv", "nb", "nl", "pl", "pt", "ro", "ru", "sk", "sl", "sv", "tr", "uk", "zh")
LIST_COLUMNS = (("application", "application"), ("id", "id"), ("state", "state"), ("when", "when"),
                ("reason", "reason"), ("role", "role"), ("where", "?servers"),
                ("condition", "?condition"), ("who", "who"))


# --- times -------------------------------------------------------------------------------------


def moment_of(text, zone, now):
    """A time that people give: 14:30 is the next one, in the zone; else as everywhere."""
    found = re.fullmatch(r"(\d{1,2}):(\d\d)", text.strip())
    local = zones.zone_of(zone) or UTC
    try:
        if found:
            today = now.astimezone(local)
            at = today.replace(hour=int(found[1]), minute=int(found[2]), second=0, microsecond=0)
            if at <= today:
                at = (today + datetime.timedelta(days=1)).replace(hour=at.hour, minute=at.minute,
                                                                  second=0, microsecond=0)
            return at.astimezone(UTC)
        found = re.fullmatch(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d(?::\d\d)?)", text.strip())
        if found and zone:
            at = datetime.datetime.fromisoformat(f"{found[1]} {found[2]}")
            return at.replace(tzinfo=local).astimezone(UTC)
    except ValueError as error:
        raise BadArgument(f"{text!r} is no time: {error}") from error
    return times.parse(text, now)


def rfc3339(moment):
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f").rstrip("0").rstrip(".") + "Z"


def from_rfc3339(text):
    try:
        return datetime.datetime.fromisoformat(re.sub(r"Z$", "+00:00", text)) if text else None
    except ValueError:
        return None


def weekly(text, zone):
    """ "sun 02:00-04:00", "mon,wed 22:00-01:00", "mon-fri 00:00-24:00" """
    found = re.fullmatch(r"([a-z,-]+) (\d\d:\d\d)-(\d\d:\d\d)", text.strip().lower())
    days = set()
    for part in found[1].split(",") if found else ():
        first, _, last = part.partition("-")
        if first not in DAYS or (last and last not in DAYS):
            found = None
            break
        begin, end = DAYS.index(first), DAYS.index(last or first)
        days |= {(begin + one) % 7 for one in range((end - begin) % 7 + 1)}
    if not found:
        raise BadArgument(f'{text!r} is no weekly window; give days and times such as "sun 02:00-04:00" '
                          'or "mon-fri 22:00-01:00"')
    rule = {"days": [DAYS[one] for one in sorted(days)], "start": found[2], "end": found[3]}
    posix = zones.rule_of(zone)
    if posix:
        rule["zone"] = posix
    return rule


# --- from options ------------------------------------------------------------------------------


def who():
    """Who runs the command: behind sudo, the one who called it."""
    name = next(filter(None, map(os.environ.get, ("SUDO_USER", "LOGNAME", "USER"))), None)
    try:
        name = name or pwd.getpwuid(os.getuid()).pw_name
    except (KeyError, OSError):
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"[:128]


def messages(options):
    """{language: text} of --message, --message-de, --message-in."""
    found = {}
    if options.message is not None:
        found["*"] = options.message
    for language in LANGUAGES:
        text = getattr(options, f"message_{language}", None)
        if text is not None:
            found[language] = text
    for language, text in options.message_in or ():
        found[language] = text
    return found


def notice(options, now):
    """The notice that `farmsyncctl down` is to tell."""
    value = {"application": options.application, "state": options.state, "who": who()}
    for name in ("id", "reason", "component", "link"):
        if getattr(options, name):
            value[name] = getattr(options, name)
    if options.when:
        value["condition"] = options.when
    for name, text in (("from", options.begin), ("until", options.until)):
        if text:
            value[name] = rfc3339(moment_of(text, options.zone, now))
    if options.weekly:
        value["weekly"] = weekly(options.weekly, options.zone)
    found = messages(options)
    if found:
        value["messages"] = found
    if options.servers:
        value["servers"] = [one.strip() for part in options.servers for one in part.split(",")]
    return value


# --- for people --------------------------------------------------------------------------------


def short(text):
    """A time without what says nothing: 2026-11-21 14:30."""
    moment = from_rfc3339(text)
    if moment is None:
        return None
    moment = moment.astimezone(UTC)
    return moment.strftime("%Y-%m-%d %H:%M" + ("" if moment.second == 0 else ":%S"))


def when(one):
    """When a notice is in force."""
    words = []
    rule = one.get("weekly")
    if rule:
        zone = rule.get("zone") or "UTC"
        words.append(f"{','.join(rule['days'])} {rule['start']}-{rule['end']} {zone}")
    if one.get("in_force"):
        words.insert(0, "now")
        end = one.get("ends") or one.get("until")
        if end:
            words.append(f"until {short(end)}")
    else:
        if one.get("starts") or one.get("from"):
            words.append(f"from {short(one.get('starts') or one.get('from'))}")
        if one.get("until"):
            words.append(f"until {short(one['until'])}")
    return " ".join(words)


def rows(found):
    out = []
    for one in found:
        state = one.get("state", "")
        if one.get("heeded") is False:
            state += " (not heeded)"
        out.append({**one, "state": state, "when": when(one), "id": one.get("id") or one.get("role"),
                    "where": ",".join(one.get("servers", [])) or None,
                    "reason": one.get("reason", "unknown")})
    return sorted(out, key=lambda one: (one["application"], not one.get("in_force"), one["when"]))


def table(found):
    return columns(rows(found), LIST_COLUMNS)


def describe(one):
    """A notice whole, a fact a line."""
    titles = (("application", "application"), ("id", "id"), ("state", "state"), ("reason", "reason"),
              ("component", "component"), ("condition", "where"), ("link", "link"), ("who", "told by"),
              ("role", "role"), ("server", "at server"), ("time", "at"))
    lines = [f"{title + ':':<13} {printable(one[name])}" for name, title in titles
             if one.get(name) is not None]
    lines.insert(3, f"{'when:':<13} {when(one) or 'always'}")
    if one.get("servers"):
        lines.append(f"{'servers:':<13} {', '.join(map(printable, one['servers']))}")
    texts = one.get("messages") or ({"*": one["message"]} if one.get("message") else {})
    for language, text in texts.items():
        lines.append(f"message ({printable(language)}): {printable(text)}")
    if one.get("heeded") is False:
        lines.append("not heeded:   monitors may not take the application down on so many servers")
    return lines


def told(answer):
    """Who was told, as the end of a sentence, and the lines about those who weren't."""
    missing = [one for one in answer.get("servers", []) if not one.get("told")]
    words = f"{answer.get('told', 0)} of {answer.get('of', 0)} servers in {answer.get('ms', 0):.0f} ms"
    lines = []
    for one in missing:
        silent = f", silent for {span(one['silent_s'])}" if one.get("silent_s") is not None else ""
        lines.append(f"  {printable(one.get('name') or one.get('url'))} not reached{silent}; it will be told "
                     "on return")
    return words, lines
