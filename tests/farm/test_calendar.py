# SPDX-License-Identifier: Apache-2.0
"""Calendars into notices: what a window of the farm can say is said exactly, the rest is refused by name."""

import datetime
import random

import pytest

from conftest import LONG
from farmctl import ical, notices, times, zones
from farmctl.errors import CtlError

UTC = datetime.timezone.utc


def calendar(*lines, method=None):
    head = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//test//EN"] + ([f"METHOD:{method}"] if method else [])
    return "\r\n".join([*head, *lines, "END:VCALENDAR", ""]).encode()


def event(*lines, uid="UID:shop/db-move"):
    return ["BEGIN:VEVENT", uid, "DTSTAMP:20261121T000000Z", *lines, "END:VEVENT"]


def one(*lines, application=None, zone="", **more):
    found = ical.read(calendar(*event(*lines, **more)), application, zone)
    assert len(found) == 1
    return found[0]


def test_a_window_in_utc():
    act, value = one("DTSTART:20261201T140000Z", "DTEND:20261201T143000Z", "SUMMARY:anything",
                     "DESCRIPTION:Back at half past two\\, promised\\nSorry", "CATEGORIES:planned")
    assert act == "down"
    assert value == {"application": "shop", "id": "db-move", "state": "down", "reason": "planned",
                     "message": "Back at half past two, promised\nSorry",
                     "from": "2026-12-01T14:00:00Z", "until": "2026-12-01T14:30:00Z"}


def test_a_duration_is_an_end():
    _, value = one("DTSTART:20261201T140000Z", "DURATION:PT1H30M")
    assert value["until"] == "2026-12-01T15:30:00Z"


def test_a_time_zone_is_heeded():
    _, value = one("DTSTART;TZID=Europe/Berlin:20260701T140000", "DTEND;TZID=Europe/Berlin:20260701T150000")
    assert value["from"] == "2026-07-01T12:00:00Z"


def test_a_time_without_zone_is_in_the_one_that_is_given():
    lines = ("DTSTART:20260701T140000", "DTEND:20260701T150000")
    assert one(*lines)[1]["from"] == "2026-07-01T14:00:00Z"
    assert one(*lines, zone="America/New_York")[1]["from"] == "2026-07-01T18:00:00Z"


def test_a_whole_day():
    _, value = one("DTSTART;VALUE=DATE:20261224", zone="Europe/Berlin")
    assert (value["from"], value["until"]) == ("2026-12-23T23:00:00Z", "2026-12-24T23:00:00Z")


def test_every_week_in_its_zone():
    _, value = one("DTSTART;TZID=Europe/Berlin:20261122T020000", "DTEND;TZID=Europe/Berlin:20261122T040000",
                   "RRULE:FREQ=WEEKLY;BYDAY=SU,WE")
    assert value["weekly"] == {"days": ["wed", "sun"], "start": "02:00", "end": "04:00",
                               "zone": "CET-1CEST,M3.5.0,M10.5.0/3"}
    assert value["from"] == "2026-11-22T01:00:00Z" and "until" not in value


def test_every_week_for_so_long():
    lines = ("DTSTART:20261122T230000Z", "DTEND:20261123T010000Z")
    _, value = one(*lines, "RRULE:FREQ=WEEKLY;UNTIL=20261213T230000Z")
    assert value["until"] == "2026-12-14T01:00:00Z" and value["weekly"]["days"] == ["sun"]
    assert (value["weekly"]["start"], value["weekly"]["end"]) == ("23:00", "01:00")
    _, value = one(*lines, "RRULE:FREQ=WEEKLY;BYDAY=SU,MO;COUNT=4")
    assert value["until"] == "2026-12-01T01:00:00Z"


def test_whole_days_of_the_week():
    _, value = one("DTSTART;VALUE=DATE:20261121", "RRULE:FREQ=WEEKLY;BYDAY=SA,SU")
    assert (value["weekly"]["start"], value["weekly"]["end"]) == ("00:00", "24:00")


def test_cancelled_is_taken_back():
    lines = ("DTSTART:20261201T140000Z", "DTEND:20261201T143000Z")
    assert one(*lines, "STATUS:CANCELLED") == ("remove", {"application": "shop", "id": "db-move",
                                                         "state": "down"})
    assert ical.read(calendar(*event(*lines), method="CANCEL"), None, "")[0][0] == "remove"


def test_the_latest_of_several_versions_counts():
    old = event("SEQUENCE:1", "DTSTART:20261201T140000Z", "DTEND:20261201T143000Z")
    new = event("SEQUENCE:2", "DTSTART:20261201T150000Z", "DTEND:20261201T153000Z")
    for order in (old + new, new + old):
        found = ical.read(calendar(*order), None, "")
        assert [value["from"] for _, value in found] == ["2026-12-01T15:00:00Z"]


def test_events_of_others_have_an_id_that_stays():
    lines = ("DTSTART:20261201T140000Z", "DTEND:20261201T143000Z")
    first = one(*lines, uid="UID:b4f1 / x@calendar.example.org", application="shop")[1]
    assert first["id"].startswith("ics.") and len(first["id"]) == 20
    assert first["id"] == one(*lines, uid="UID:b4f1 / x@calendar.example.org", application="mail")[1]["id"]
    assert first["id"] != one(*lines, uid="UID:other", application="shop")[1]["id"]


def test_ids_of_monitors_cannot_be_had():
    assert one("DTSTART:20261201T140000Z", "DTEND:20261201T143000Z", uid="UID:shop/monitor.x",
               application="shop")[1]["id"].startswith("ics.")


def test_folded_lines_and_what_we_add():
    json = '{"application":"shop"\\,"state":"degraded"\\,"condition":"%{REQUEST_METHOD} != \'GET\'"\\,' \
           '"messages":{"de":"Gleich zurück"}}'
    line = "X-FARMSYNC-NOTICE:" + json
    folded = line[:40] + "\r\n " + line[40:90] + "\r\n " + line[90:]
    _, value = one("DTSTART:20261201T140000Z", "DTEND:20261201T143000Z", folded)
    assert value["state"] == "degraded" and value["condition"] == "%{REQUEST_METHOD} != 'GET'"
    assert value["messages"] == {"de": "Gleich zurück"}


@pytest.mark.parametrize("lines, word", [
    ((), "DTSTART"),
    (("DTSTART:20261201T140000Z",), "end"),
    (("DTSTART:20261201T140000Z", "DTEND:20261201T130000Z"), "end"),
    (("DTSTART:20261201T140000Z", "DTEND:20261201T143000Z", "RRULE:FREQ=DAILY"), "every week"),
    (("DTSTART:20261201T140000Z", "DTEND:20261201T143000Z", "RRULE:FREQ=WEEKLY;INTERVAL=2"), "every week"),
    (("DTSTART:20261201T140000Z", "DTEND:20261201T143000Z", "RRULE:FREQ=WEEKLY;BYMONTH=3"), "every week"),
    (("DTSTART:20261201T140000Z", "DTEND:20261201T143000Z", "RRULE:FREQ=WEEKLY", "EXDATE:20261208T140000Z"),
     "EXDATE"),
    (("DTSTART:20261201T140000Z", "DTEND:20261204T143000Z", "RRULE:FREQ=WEEKLY"), "a day long"),
    (("DTSTART;TZID=Nowhere/Town:20261201T140000", "DTEND;TZID=Nowhere/Town:20261201T143000",
      "RRULE:FREQ=WEEKLY"), "Nowhere"),
    (("DTSTART:2026-12-01", "DTEND:20261201T143000Z"), ""),
    (("DTSTART:20261201T140000Z", "DTEND:20261201T143000Z", "X-FARMSYNC-NOTICE:{"), "JSON"),
])
def test_what_cannot_be_said_is_refused_by_name(lines, word):
    with pytest.raises(CtlError) as caught:
        one(*lines)
    assert word in str(caught.value) and "FS0906" in str(caught.value)


def test_no_application_no_notice():
    with pytest.raises(CtlError, match="--application"):
        one("DTSTART:20261201T140000Z", "DTEND:20261201T143000Z", uid="UID:x")


@pytest.mark.parametrize("data", [b"", b"hello", b"\x00\xff" * 100, b"BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n",
                                  b"BEGIN:VEVENT\r\nEND:VEVENT\r\n", b"x" * (5 << 20)])
def test_what_is_no_calendar(data):
    with pytest.raises(CtlError):
        ical.read(data, "shop", "")


def test_damaged_calendars_give_an_error_or_a_notice():
    """Whatever somebody's tool writes: a sentence, never a traceback."""
    whole = calendar(*event("DTSTART;TZID=Europe/Berlin:20261122T020000", "DTEND:20261122T040000Z",
                            "SEQUENCE:3", "RRULE:FREQ=WEEKLY;BYDAY=SU;COUNT=3", "CATEGORIES:a,b",
                            "DURATION:PT1H", "URL:http://x/", "STATUS:CONFIRMED"))
    chance = random.Random(6)
    for _ in range(60000 if LONG else 2000):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            where = chance.randrange(len(data))
            act = chance.randrange(3)
            if act == 0:
                data[where] = chance.choice(b"0123456789:;,=-TZ\r\n\\\"ABC\xff")
            elif act == 1:
                del data[where:where + chance.randint(1, 20)]
            else:
                data[where:where] = data[where:where + chance.randint(1, 20)]
            if not data:
                break
        try:
            ical.read(bytes(data), "shop", "")
        except CtlError:
            pass


# --- times and zones of the command line -------------------------------------------------------


NOW = datetime.datetime(2026, 7, 1, 13, 0, tzinfo=UTC)


@pytest.mark.parametrize("text, zone, expected", [
    ("14:30", "", "2026-07-01T14:30:00Z"),
    ("12:30", "", "2026-07-02T12:30:00Z"),
    ("16:30", "Europe/Berlin", "2026-07-01T14:30:00Z"),
    ("14:30", "Europe/Berlin", "2026-07-02T12:30:00Z"),
    ("2026-12-01 14:30", "Europe/Berlin", "2026-12-01T13:30:00Z"),
    ("2026-12-01 14:30", "", "2026-12-01T14:30:00Z"),
    ("2026-12-01T14:30:00+02:00", "Europe/Berlin", "2026-12-01T12:30:00Z"),
    ("+30m", "Europe/Berlin", "2026-07-01T13:30:00Z"),
])
def test_times_of_people(text, zone, expected):
    assert notices.rfc3339(notices.moment_of(text, zone, NOW)) == expected


@pytest.mark.parametrize("text", ["25:00", "tomorrow", "2026-13-01 00:00", "14:60"])
def test_no_times(text):
    with pytest.raises(CtlError):
        notices.moment_of(text, "Europe/Berlin", NOW)


def test_weekly_windows_of_people():
    assert notices.weekly("sun 02:00-04:00", "Europe/Berlin") == {
        "days": ["sun"], "start": "02:00", "end": "04:00", "zone": "CET-1CEST,M3.5.0,M10.5.0/3"}
    assert notices.weekly("fri-mon 22:00-01:00", "")["days"] == ["mon", "fri", "sat", "sun"]
    for text in ("sun", "sunday 02:00-04:00", "sun 2-4", "sun,xyz 02:00-04:00"):
        with pytest.raises(CtlError):
            notices.weekly(text, "")


def test_zones():
    assert zones.rule_of("America/New_York") == "EST5EDT,M3.2.0,M11.1.0"
    assert zones.rule_of("UTC") == "" and zones.rule_of("<+0330>-3:30") == "<+0330>-3:30"
    for name in ("../../etc/passwd", "Mars/Olympus", "x"):
        with pytest.raises(CtlError):
            zones.rule_of(name)


def test_absolute_times_are_as_everywhere():
    assert times.parse("2026-12-01 00:00", NOW).isoformat() == "2026-12-01T00:00:00+00:00"
