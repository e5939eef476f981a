# SPDX-License-Identifier: Apache-2.0
"""watch: the farm live, like top. Without a terminal it shows one frame and ends."""

import argparse
import contextlib
import select
import shutil
import signal
import sys
import time

from .. import facts
from ..command import Command
from ..errors import OK, TROUBLE, Unreachable
from ..text import clip, columns, moment, printable, span

try:
    import termios
    import tty
except ImportError:  # not a Unix; then one frame
    termios = None

ENTER, LEAVE = "\033[?1049h\033[?25l", "\033[?25h\033[?1049l"
HOME, CLEAR_LINE, CLEAR_REST = "\033[H", "\033[K", "\033[J"
BOLD, RED, YELLOW, GREEN, PLAIN = "\033[1m", "\033[31m", "\033[33m", "\033[32m", "\033[0m"
COLOURS = {"ok": GREEN, "running": GREEN, "failed": RED, "late": RED, "silent": RED, "problem": RED,
           "held": YELLOW, "pinned": YELLOW, "waiting": YELLOW, "retrieving": YELLOW}
READ_S = 5
MIN_SERVERS = 3
BAR = 30
BESIDE_BAR = 66  # columns that the rest of a group's line takes
HISTORY = 5


def seconds(text):
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0.1 <= value <= 3600:
        raise argparse.ArgumentTypeError(f'"{text}" is not a time from 0.1 to 3600 seconds')
    return value


def arguments(parser):
    parser.add_argument("--interval", type=seconds, default=1.0, metavar="SECONDS",
                        help="between two looks (default 1)")


# --- one frame -------------------------------------------------------------------------------


def left_now(row, age):
    """Seconds to the activation, `age` seconds after the row was read."""
    return None if row["seconds_left"] is None else float(row["seconds_left"]) - age


def countdown(row, age, bar):
    left = left_now(row, age)
    if left is None:
        return "waits"
    if left <= 0:
        return "due"
    whole = float(row["interval_s"] or 1)
    done = int(bar * max(0.0, min(1.0, 1 - left / whole)))
    return f"{span(left):>11}" + (f" [{'#' * done}{'.' * (bar - done)}]" if bar > 0 else "")


def group_rows(groups, age, bar):
    rows = []
    for row in groups:
        in_force, staged = row["in_force"], row["staged"]
        left = left_now(row, age)
        if staged and left is not None and left <= 0:
            in_force, staged = staged, None
        rows.append({"group": row["group_name"], "state": facts.standing(row), "in force": in_force,
                     "staged": staged, "ready": row.get("ready"),
                     "at": row["next_activation"] and f"{row['next_activation']:%H:%M:%S}",
                     "activation": countdown(row, age, bar)})
    return columns(rows, (("group", "group"), ("state", "state"), ("in force", "in force"),
                          ("staged", "staged"), ("ready", "?ready"), ("at", "at"),
                          ("activation", "activation")))


def notes(groups):
    for row in groups:
        if row["reason"]:
            yield f"{row['group_name']}: {printable(row['reason'])}"
        if row.get("waits_for"):
            yield f"{row['group_name']} waits for {printable(row['waits_for'])}"


def server_rows(servers):
    """The worst first, so that they are seen on a small screen."""
    order = {"problem": 0, "late": 0, "silent": 1, "retrieving": 2}
    rows = [{"server": row["name"], "kind": row["kind"], "group": row["group_name"],
             "state": row["state"], "active": row["version_active"],
             "staged": row["version_staged"],
             "behind": facts.behind(row), "seen": span(row["seen_s_ago"]),
             "bound ms": row["clock_bound_ms"], "problem": row["problem"]}
            for row in sorted(servers, key=lambda one: (order.get(one["state"], 3), one["kind"],
                                                        one["name"]))]
    return columns(rows, (("server", "server"), ("kind", "kind"), ("group", "group"),
                          ("state", "state"), ("active", "active"), ("staged", "staged"),
                          ("behind", "behind"), ("seen", "seen ago"), ("bound ms", "bound ms"),
                          ("problem", "?problem")))


def history_lines(rows):
    for row in rows:
        yield (f"{moment(row['at'])[:19]}  {row['group_name']}  {row['action']}"
               + (f" {row['version']}" if row["version"] else "")
               + f"  {printable(row['who'])}  {printable(row['detail'])}").rstrip()


def frame(farm, history, age=0.0, height=None, width=80):
    """The lines of one picture, the servers and the bar cut to the room there is."""
    lines = [f"farmsync  {farm.peer}  {moment(farm.now)[:19]} UTC  {facts.summary(farm)}", ""]
    lines += group_rows(farm.groups, age, min(BAR, width - BESIDE_BAR))
    lines += notes(farm.groups)
    servers = server_rows(farm.servers) if farm.servers else ["No server has reported yet."]
    past = list(history_lines(history))
    if height is not None:
        room = height - len(lines) - 2
        if len(servers) + len(past) + 1 > room:
            past = past[-max(0, room - len(servers) - 1):] if room - len(servers) > 1 else []
        if len(servers) > max(room, MIN_SERVERS):
            hidden = len(servers) - max(room, MIN_SERVERS) + 1
            servers = servers[:-hidden] + [f"... and {hidden} more servers"]
    lines += ["", *servers]
    if past:
        lines += ["", *past]
    return lines if height is None else lines[:height]


def look(context):
    farm = facts.Farm(context.db, context.options.group)
    history = context.db.rows("SELECT * FROM farmsync.history WHERE %s IS NULL OR group_name = %s "
                              "ORDER BY id DESC LIMIT %s", context.options.group,
                              context.options.group, HISTORY)
    history.reverse()
    return farm, history


# --- the terminal ----------------------------------------------------------------------------


class Ended(Exception):
    pass


@contextlib.contextmanager
def screen():
    """The other screen without a cursor, keys without return; all as it was at the end."""
    def end(_number, _frame):
        raise Ended
    keys = sys.stdin.fileno() if sys.stdin.isatty() and termios else None
    before = termios.tcgetattr(keys) if keys is not None else None
    handlers = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        if keys is not None:
            tty.setcbreak(keys)
        sys.stdout.write(ENTER)
        yield keys
    except Ended:
        pass
    finally:
        sys.stdout.write(LEAVE)
        sys.stdout.flush()
        if before is not None:
            termios.tcsetattr(keys, termios.TCSADRAIN, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def paint(lines, size):
    """Over what is there, so that nothing flickers."""
    out = [HOME]
    for number, line in enumerate(lines[:size.lines - 1]):
        text = clip(line, size.columns)
        out.append((BOLD + text + PLAIN if number == 0 else coloured(text)) + CLEAR_LINE + "\n")
    sys.stdout.write("".join(out) + CLEAR_REST)
    sys.stdout.flush()


def coloured(line):
    words = line.split("  ")
    return "  ".join(COLOURS[word.strip()] + word + PLAIN if word.strip() in COLOURS else word
                     for word in words)


def wait_key(keys, timeout):
    """True if the user wants to go."""
    if keys is None:
        time.sleep(timeout)
        return False
    if not select.select([keys], [], [], max(0, timeout))[0]:
        return False
    return sys.stdin.read(1) in ("q", "Q", "\x03", "\x04", "")


def live(context):
    """Looks each interval, counts down between, and goes on when the database is away."""
    farm, history = look(context)
    context.db.read_timeout = READ_S
    context.db.close()
    taken, problem = time.monotonic(), None
    with screen() as keys:
        while True:
            size = shutil.get_terminal_size()
            lines = frame(farm, history, time.monotonic() - taken, size.lines - 2, size.columns)
            last = problem or "q quits"
            paint([*lines[:size.lines - 2], last], size)
            if wait_key(keys, min(1.0, context.options.interval)):
                break
            if time.monotonic() - taken < context.options.interval:
                continue
            try:
                (farm, history), problem = look(context), None
                taken = time.monotonic()
            except Unreachable as error:
                problem = f"{span(time.monotonic() - taken)} old: {printable(str(error))}"
    return OK


def run(context):
    if sys.stdout.isatty() and not context.options.json and termios is not None:
        with contextlib.suppress(KeyboardInterrupt):
            return live(context)
        return OK
    farm, history = look(context)
    context.show({**farm.as_json(), "history": history}, frame(farm, history))
    return TROUBLE if farm.trouble() else OK


COMMANDS = [Command("watch", "the farm live, like top; q quits", run, arguments)]
