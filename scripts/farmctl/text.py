# SPDX-License-Identifier: Apache-2.0
"""How things are printed: for people as aligned columns, for programs as JSON."""

import datetime
import json

MISSING = "-"


def printable(value):
    """A value as text on one line that can do nothing to a terminal."""
    if value is None:
        return MISSING
    if isinstance(value, datetime.datetime):
        return moment(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "".join(letter if letter.isprintable() else _escape(letter) for letter in str(value))


def _escape(letter):
    if letter in "\n\r\t":
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}[letter]
    return f"\\x{ord(letter):02x}" if ord(letter) < 256 else f"\\u{ord(letter):04x}"


def width(text):
    """Columns on a terminal."""
    if text.isascii():
        return len(text)
    import unicodedata  # what few texts need is read when it is needed
    return sum(0 if unicodedata.combining(letter) else
               2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def clip(text, room):
    """At most so many columns; what is cut is marked."""
    if width(text) <= room:
        return text
    out = ""
    for letter in text:
        if width(out + letter) > room - 1:
            break
        out += letter
    return out + "…" if room > 0 else ""


def table(rows, header, gap="  "):
    """Lines of aligned columns; header in the first one."""
    rows = [[printable(value) for value in row] for row in [header, *rows]]
    widths = [max(width(row[column]) for row in rows) for column in range(len(header))]
    return [gap.join(value + " " * (room - width(value))
                     for value, room in zip(row, widths)).rstrip() for row in rows]


def columns(rows, pairs, all_columns=False):
    """
    A table of some columns of dictionaries: pairs of name and header. A column that this
    installation doesn't have is left out, and so is one that is empty everywhere if its header
    begins with '?'.
    """
    chosen = []
    for name, header in pairs:
        optional = header.startswith("?")
        if not rows or name not in rows[0]:
            continue
        if optional and not all_columns and all(row[name] in (None, "") for row in rows):
            continue
        chosen.append((name, header.lstrip("?")))
    return table([[row[name] for name, _ in chosen] for row in rows], [one for _, one in chosen])


def moment(value):
    """A time without digits that say nothing: 2026-11-21 06:00:10.25."""
    if value is None:
        return MISSING
    text = value.strftime("%Y-%m-%d %H:%M:%S")
    fraction = f"{value.microsecond:06d}".rstrip("0")
    return f"{text}.{fraction}" if fraction else text


def span(seconds):
    """How long: 4.2 s, 3 min 20 s, 2 h 5 min, 3 d 4 h."""
    if seconds is None:
        return MISSING
    seconds = float(seconds)
    sign, seconds = ("-" if seconds < 0 else ""), abs(seconds)
    if seconds < 60:
        return f"{sign}{seconds:.1f} s"
    whole = int(seconds)
    for size, unit, small, below in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"),
                                     (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // small
            return f"{sign}{whole // size} {unit}" + (f" {rest} {below}" if rest else "")
    return f"{sign}{whole} s"


def until(seconds):
    """How long until something that is due at 0."""
    if seconds is None or seconds > 0:
        return span(seconds)
    return "due" if seconds > -10 else f"{span(-seconds)} ago"


def size(count):
    if count is None:
        return MISSING
    count = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return MISSING


def plural(count, word):
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def to_json(value):
    if isinstance(value, datetime.datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    import decimal
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, (datetime.date, datetime.timedelta)):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no place in JSON")


def dump(value):
    return json.dumps(value, default=to_json, ensure_ascii=False, indent=1)
