# SPDX-License-Identifier: Apache-2.0
"""What clients did to sessions and were told, and what of it must still be there: pure, no network.

Each update of a session sets a mark of its own, which nobody ever takes out again, so that what is
lost can be counted, whatever order updates came in: a session must have every mark that was
acknowledged, may have those that got no answer, and can have no others.
"""

from collections import namedtuple

# server: index of the web server; ok: acknowledged; before: marks that the answer said were there;
# said: the status, or what else was wrong
Update = namedtuple("Update", "mark server sent answered ok before said", defaults=("",))

# A web server was killed, somewhere between these moments.
Death = namedtuple("Death", "server begun done")

Verdict = namedtuple("Verdict", "lost lost_sessions forked resurrected invented stale worst_age")


class Session:
    """The history of one session; used by one client at a time."""

    def __init__(self, name, mode):
        self.name, self.mode = name, mode
        self.cookie = None
        self.updates = []
        self.end_asked = self.end_acknowledged = None  # when
        self.strange_ids = 0  # answers that gave it another id: the server didn't know it
        self.reads = {}  # server: marks at the end, None: no answer
        self.read_at = {}  # server: (when it was asked, how long it took)

    def acknowledged(self):
        return {one.mark: one for one in self.updates if one.ok}

    def attempted(self):
        return {one.mark for one in self.updates}

    def stale_answers(self):
        """Answers that lacked something acknowledged before they were asked for."""
        found = []
        for place, one in enumerate(self.updates):
            if not one.ok or one.before is None:
                continue
            missing = {other.mark for other in self.updates[:place]
                       if other.ok and other.answered <= one.sent} - one.before
            if missing:
                found.append((one, missing))
        return found


def excused(update, deaths, flush):
    """Whether an unconfirmed update may be gone: its server died within a flush time after it."""
    return any(update.server == death.server
               and death.begun - flush <= update.answered <= death.done for death in deaths)


def judge(session, deaths=(), flush=0.0, unconfirmed=False, silences=()):
    """
    A Verdict over a session's final reads. `silences`: moments from which on a web server that lives
    couldn't tell anybody what it had acknowledged unconfirmed. `deaths`: of web servers that were killed; updates that were not confirmed by a bank server before they were acknowledged may be lost for
    `flush` seconds before.
    """
    reads = [marks for marks in session.reads.values() if marks is not None]
    union = set().union(*reads) if reads else set()
    if session.end_asked is not None:
        resurrected = bool(session.end_acknowledged is not None and union)
        return Verdict([], 0, 0, int(resurrected), 0, 0, 0.0)
    acknowledged = session.acknowledged()
    gone = [one for mark, one in acknowledged.items() if mark not in union]
    age = max((death.begun - one.answered for one in gone for death in deaths
               if one.server == death.server and death.done >= one.answered), default=0.0)
    lost = [one for one in gone if not (unconfirmed and excused(one, deaths, flush))]
    whole = bool(acknowledged) and not union and bool(lost)
    forked = len({frozenset(marks) for marks in reads}) > 1
    invented = union - session.attempted()
    stale = [one for one, missing in session.stale_answers()
             if not (unconfirmed and all(excused(acknowledged[mark], [*silences, *deaths], flush)
                                         for mark in missing))]
    return Verdict(lost, int(whole), int(forked), 0, len(invented), len(stale), age)


def silence(sessions):
    """The longest time, in seconds, that a client had to try until one of its requests was answered."""
    worst = 0.0
    for session in sessions:
        since = None
        for one in session.updates:
            if one.ok:
                if since is not None:
                    worst = max(worst, one.answered - since)
                since = None
            elif since is None:
                since = one.sent
        if since is not None:
            worst = max(worst, session.updates[-1].answered - since)
    return worst
