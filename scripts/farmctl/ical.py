# SPDX-License-Identifier: Apache-2.0
"""iCalendar (RFC 5545): planned windows out of a file. The agents write it, at /v1/notices.ics.

An event becomes a notice of its application: its UID the id, its times the window, RRULE a weekly
window in the time zone of DTSTART. What a window of the farm can't say is refused with the event's
name, rather than rounded: an exception date that is overlooked would be an outage.
"""

import datetime
import hashlib
import json
import re

from . import zones
from .errors import BadArgument, CtlError, REFUSED
from .notices import DAYS, UTC, rfc3339

LIMIT = 4 << 20
NAME = r"[A-Za-z0-9._:-]{1,64}"
WEEKDAYS = dict(zip(("MO", "TU", "WE", "TH", "FR", "SA", "SU"), DAYS))
SINGLE = ("DTSTART", "DTEND", "DURATION", "RRULE", "STATUS", "SUMMARY", "DESCRIPTION", "URL",
          "X-FARMSYNC-NOTICE")
KEPT = ("state", "reason", "component", "messages", "message", "condition", "servers", "link")


class NoLibrary(CtlError):
    def __init__(self):
        super().__init__(REFUSED, "FS0913", "reading calendars needs the Python module icalendar; on Debian: "
                         "apt-get install python3-icalendar")


def refuse(event, why):
    name = str(event.get("UID") or event.get("SUMMARY") or "an event without UID")
    raise BadArgument(f'event "{name[:80]}": {why}')


def read(data, application, zone):
    """[(act, notice)] of a file's bytes; act is "down" or "remove". BadArgument names the event."""
    try:
        import icalendar  # only here: the other commands do without
    except ImportError as error:
        raise NoLibrary() from error
    if len(data) > LIMIT:
        raise BadArgument("the calendar is larger than 4 MiB")
    try:
        calendar = icalendar.Calendar.from_ical(data)
        events = list(calendar.walk("VEVENT"))
        cancels = str(calendar.get("METHOD", "")).upper() == "CANCEL"
        broken = [one for one in (calendar, *events) if one.errors]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise BadArgument(f"this is no calendar (iCalendar, RFC 5545): {error}") from error
    if broken:
        refuse(broken[0], f"{broken[0].errors[0][0]}: {broken[0].errors[0][1]}")
    if not events:
        raise BadArgument("the calendar has no event (VEVENT)")
    newest = {}
    for event in events:
        uid = str(event.get("UID", "")) or refuse(event, "it has no UID, by which it could be changed later")
        rank = event.get("SEQUENCE", 0)
        if not isinstance(rank, int):
            refuse(event, "SEQUENCE is no number")
        if uid not in newest or rank >= newest[uid][0]:
            newest[uid] = (rank, event)
    return [understood(event, application, zone, cancels) for _, event in newest.values()]


def understood(event, application, zone, cancels):
    """What the library made of a damaged event may be of any type."""
    twice = [name for name in SINGLE if isinstance(event.get(name), list)]
    if twice:
        refuse(event, f"it has {twice[0]} more than once")
    try:
        return one_event(event, application, zone, cancels)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError) as error:
        return refuse(event, f"it can't be understood: {error}")


def one_event(event, application, zone, cancels):
    known = own_fields(event)
    value = {"application": application or known.get("application") or from_uid(event)[0],
             "id": from_uid(event)[1], "state": known.get("state", "down")}
    if not value["application"]:
        refuse(event, "it doesn't say which application it is about: give --application")
    if cancels or str(event.get("STATUS", "")).upper() == "CANCELLED":
        return "remove", value
    value.update({name: known[name] for name in KEPT if name in known})
    value.setdefault("reason", reason(event))
    if "messages" not in value and "message" not in value and event.get("DESCRIPTION"):
        value["message"] = str(event["DESCRIPTION"])[:1024]
    if "link" not in value and str(event.get("URL", "")).startswith(("http://", "https://")):
        value["link"] = str(event["URL"])
    value.update(window(event, known, zone))
    return "down", value


def own_fields(event):
    """What a calendar of ours says beside the times."""
    try:
        value = json.loads(str(event.get("X-FARMSYNC-NOTICE", "{}")))
        return value if isinstance(value, dict) else {}
    except ValueError as error:
        return refuse(event, f"X-FARMSYNC-NOTICE isn't JSON: {error}")


def from_uid(event):
    """(application, id): of our own, as it was; of others, a name that stays the same."""
    uid = str(event["UID"])
    found = re.fullmatch(rf"({NAME}|\*)/({NAME})", uid)
    if found and not found[2].startswith("monitor."):
        return found[1], found[2]
    return None, "ics." + hashlib.sha256(uid.encode()).hexdigest()[:16]


def reason(event):
    words = event.get("CATEGORIES")
    words = [str(one) for one in getattr(words, "cats", [words] if words else [])]
    word = words[0].lower() if words else ""
    return word if re.fullmatch(r"[a-z0-9_-]{1,32}", word) else "planned"


# --- times -------------------------------------------------------------------------------------


def moment(event, name, zone):
    """A property's time, with its zone; a date is midnight."""
    value = event.get(name)
    value = getattr(value, "dt", None)
    if value is None:
        return None
    if not isinstance(value, datetime.datetime):
        value = datetime.datetime.combine(value, datetime.time())
    if value.tzinfo is None:
        value = value.replace(tzinfo=zones.zone_of(zone) or UTC)
    return value


def bounds(event, zone):
    start = moment(event, "DTSTART", zone) or refuse(event, "it has no DTSTART")
    end = moment(event, "DTEND", zone)
    length = getattr(event.get("DURATION"), "dt", None)
    if end is None and isinstance(length, datetime.timedelta):
        end = (start.astimezone(UTC) + length).astimezone(start.tzinfo)
    if end is None and not isinstance(event["DTSTART"].dt, datetime.datetime):
        end = start + datetime.timedelta(days=1)
    if end is None or end <= start:
        refuse(event, "it has no end (DTEND or DURATION) after its start")
    return start, end


def window(event, known, zone):
    start, end = bounds(event, zone)
    for name in ("EXDATE", "RDATE", "RECURRENCE-ID", "EXRULE"):
        if event.get(name):
            refuse(event, f"{name}: a window of the farm has no exceptions; make single events of it")
    rule = event.get("RRULE")
    if not rule:
        return {"from": rfc3339(start), "until": rfc3339(end)}
    return recurring(event, rule, start, end, known, zone)


def recurring(event, rule, start, end, known, zone):
    allowed = {"FREQ", "BYDAY", "UNTIL", "COUNT", "INTERVAL", "WKST"}
    other = sorted(set(map(str.upper, rule)) - allowed)
    if [str(one).upper() for one in rule.get("FREQ", [])] != ["WEEKLY"] or other or \
            [int(one) for one in rule.get("INTERVAL", [1])] != [1]:
        refuse(event, "a window of the farm recurs every week (RRULE:FREQ=WEEKLY;BYDAY=...), not otherwise")
    if end - start > datetime.timedelta(days=1):
        refuse(event, "a weekly window is a day long at most")
    days = [WEEKDAYS.get(str(one).upper()) for one in rule.get("BYDAY", [])] or [DAYS[start.weekday()]]
    if None in days:
        refuse(event, "BYDAY has days of the week only")
    value = {"weekly": {"days": sorted(set(days), key=DAYS.index), "start": start.strftime("%H:%M"),
                        "end": clock_end(start, end)}, "from": rfc3339(start)}
    posix = rule_of_event(event, known, zone)
    if posix:
        value["weekly"]["zone"] = posix
    last = last_start(rule, start, days)
    if last:
        value["until"] = rfc3339(last + (end - start))
    return value


def clock_end(start, end):
    text = end.astimezone(start.tzinfo).strftime("%H:%M")
    return "24:00" if text == "00:00" and start.strftime("%H:%M") == "00:00" else text


def last_start(rule, start, days):
    """When the last occurrence begins; None if there is always one more."""
    if rule.get("COUNT"):
        left, day = int(rule["COUNT"][0]), start
        if not 1 <= left <= 10000:
            raise BadArgument(f"COUNT={left} is out of range")
        while True:
            left -= DAYS[day.weekday()] in days
            if left == 0:
                return day
            day += datetime.timedelta(days=1)
    if not rule.get("UNTIL"):
        return None
    value = rule["UNTIL"][0]
    if not isinstance(value, datetime.datetime):
        value = datetime.datetime.combine(value, datetime.time(23, 59, 59))
    return value if value.tzinfo else value.replace(tzinfo=start.tzinfo)


def rule_of_event(event, known, zone):
    """The zone of a weekly window, as a rule."""
    name = event["DTSTART"].params.get("TZID")
    if name is None:
        is_utc = getattr(event["DTSTART"].dt, "tzinfo", None) is not None
        return "" if is_utc else zones.rule_of(zone)
    own = known.get("weekly") if isinstance(known.get("weekly"), dict) else {}
    posix = str(own.get("zone", ""))
    if name == "farmsync-" + re.sub(r'[,;:"\\<>/]', "_", posix):
        return posix
    try:
        return zones.rule_of(name)
    except BadArgument:
        import icalendar
        windows = getattr(icalendar.windows_to_olson, "WINDOWS_TO_OLSON", {})
        if name in windows:
            return zones.rule_of(windows[name])
        return refuse(event, f'the time zone "{name}" isn\'t known here; use a name such as Europe/Berlin')
