#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Counts what is lost of sessions when servers fail: real processes, hosts in network namespaces.

    tests/farm/session_harness.py [--seeds N] [--first S] [--faults NAME,...] [--json FILE] [--keep]

For each seed a fresh farm of web servers and bank servers is started; visitors update sessions in all
modes of acknowledgement and note what they were told; at a random moment something happens to a
server, or to two; after that the visitors go on for a while, and then each session is read from a
server that isn't the one that answered last, and from all others. A seed gives the same faults at the
same moments again, and the same choices of the visitors, though not the same timing of processes.

Exit status: 0 as promised, 1 something was lost, forked, resurrected or invented, 2 usage, 77 this
machine doesn't permit namespaces. FARMSYNC_BUILD is the build directory.
"""

import argparse
import json
import os
import random
import re
import shutil
import sys
import tempfile
import threading
import time
import traceback

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts"))

import netns  # noqa: E402
import session_report  # noqa: E402
from farmlib import ending  # noqa: E402
from farmlib.part import tail, wait_until  # noqa: E402
from lone_httpd import crashes  # noqa: E402
from loss_hosts import FLUSH_MS, MODES, WEB_PORT, Ground, HostFarm  # noqa: E402
from session_clients import Flood, Visitor, Wire, read  # noqa: E402
from session_history import Death, judge, silence  # noqa: E402

VISITORS, PER_MODE = 4, 3
ANSWER_S = 10.0  # a read at the end that isn't answered by then counts as no answer
LEASE_S = 0.3  # so long it may go on without being heard
# Between the end of a flush interval and the copy's arrival; more where other tests keep the machine busy.
SLACK_S = float(os.environ.get("FARMSYNC_TEST_SLACK_S", "0.1"))


# --- what can happen -------------------------------------------------------------------------


class Fault:
    """`begin` and `end` get the run; between them are `seconds` (0: there is no end)."""

    def __init__(self, name, begin, end=None):
        self.name, self.begin, self.end = name, begin, end


def kill_web(run):
    web = run.pick_web()
    began = time.monotonic()
    run.dead.add(web)
    web.kill()
    run.deaths.append(Death(run.farm.webs.index(web), began, time.monotonic()))


def return_web(run, empty=False):
    web = run.pick_web()
    run.dead.discard(web)
    if empty:
        web.wipe()
    web.start()


def silence_web(run, how):
    """From now on nobody hears of it what it had answered a moment ago."""
    began = time.monotonic()
    how()
    run.silences.append(Death(run.farm.webs.index(run.pick_web()), began,
                              time.monotonic() + LEASE_S + SLACK_S))


def kill_bank(run):
    run.pick_bank().kill()


def return_bank(run, empty=False, old=False):
    bank = run.pick_bank()
    if empty:
        bank.wipe()
    if old:
        bank.forget()
    bank.start()


def fill_disk(run, server, reached_by):
    """No room is left, and much comes in."""
    server.fill_disk()
    run.flood = Flood([run.addresses()[run.farm.webs.index(one)] for one in reached_by])
    run.flood.start()


def room_again(run, server):
    run.flood.over.set()
    run.flood.join(10)
    server.heal()


FAULTS = [
    Fault("nothing", lambda run: None),
    Fault("web server dies", kill_web),
    Fault("web server dies, returns with its store", kill_web, return_web),
    Fault("web server dies, returns empty", kill_web, lambda run: return_web(run, empty=True)),
    Fault("web server stands still", lambda run: silence_web(run, run.pick_web().pause),
          lambda run: run.pick_web().resume()),
    Fault("web server hears no other", lambda run: silence_web(run, run.pick_web().isolate),
          lambda run: run.pick_web().heal()),
    Fault("bank doesn't hear a web server",
          lambda run: silence_web(run, lambda: [one.host.lose_from(run.pick_web().host)
                                                for one in run.farm.datasrvs]),
          lambda run: [one.heal() for one in run.farm.datasrvs]),
    Fault("web server doesn't hear another",
          lambda run: run.pick_web().host.lose_from(run.other_web().host),
          lambda run: run.pick_web().heal()),
    Fault("web server's disk is full",
          lambda run: fill_disk(run, run.pick_web(), [run.pick_web()]),
          lambda run: room_again(run, run.pick_web())),
    Fault("bank server dies", kill_bank),
    Fault("bank server restarts", kill_bank, return_bank),
    Fault("bank server returns empty", kill_bank, lambda run: return_bank(run, empty=True)),
    Fault("bank server returns old", kill_bank, lambda run: return_bank(run, old=True)),
    Fault("bank server stands still", lambda run: run.pick_bank().pause(),
          lambda run: run.pick_bank().resume()),
    Fault("bank server hears nobody", lambda run: run.pick_bank().isolate(),
          lambda run: run.pick_bank().heal()),
    Fault("bank server's disk is full", lambda run: fill_disk(run, run.pick_bank(), run.farm.webs),
          lambda run: room_again(run, run.pick_bank())),
]
BY_NAME = {one.name: one for one in FAULTS}
# What happens to a bank server and, while it lasts or right after, to a web server.
DOUBLE = ("bank server dies", "bank server returns empty", "bank server returns old",
          "bank server stands still")


class Run:
    """One seed."""

    def __init__(self, ground, seed, only=None):
        self.seed, self.random = seed, random.Random(seed)
        self.ground = ground
        self.directory = os.path.join(ground.directory, f"seed{seed}")
        self.farm = HostFarm(ground, self.directory)
        self.deaths, self.silences, self.dead = [], [], set()
        faults = [BY_NAME[name] for name in only] if only else FAULTS
        self.fault = faults[seed % len(faults)]
        self.second = None
        if not only and self.fault.name in DOUBLE and self.random.random() < 0.5:
            self.second = BY_NAME["web server dies"]
        self.web = self.random.randrange(len(self.farm.webs))
        self.bank = self.random.randrange(len(self.farm.datasrvs))
        self.moment = self.random.uniform(0.5, 2.0)
        self.seconds = self.random.uniform(0.2, 3.0)
        self.again = self.random.uniform(0.0, self.seconds + 1.0)
        self.after = self.random.uniform(0.3, 2.0)
        self.visitors = []
        self.flood = None
        self.no_answer = 0
        self.said = ""

    @property
    def name(self):
        return self.fault.name + (", and a web server dies" if self.second else "")

    def pick_web(self):
        return self.farm.webs[self.web]

    def other_web(self):
        return self.farm.webs[(self.web + 1) % len(self.farm.webs)]

    def pick_bank(self):
        return self.farm.datasrvs[self.bank]

    # --- the run
    def execute(self):
        self.farm.up()
        self.wait_ready()
        self.start_visitors()
        try:
            self.happen()
        finally:
            for one in self.visitors:
                one.over.set()
            for one in self.visitors:
                one.join(30)
        self.read_all()
        return self.result()

    def wait_ready(self):
        """Until each web server gets a session confirmed twice: agents know the bank."""
        wire = Wire(self.addresses())
        for number in range(len(self.farm.webs)):
            wait_until(lambda number=number: wire.get(number, "/ack2/mark?ready", None)[0] == 200, 30,
                       f"web{number + 1} to have a session confirmed by two bank servers",
                       evidence=lambda number=number: self.evidence(self.farm.webs[number]))
        wire.close()

    @staticmethod
    def evidence(part):
        return f"--- end of {part.log_path()}\n{tail(part.log_path())}"

    def addresses(self):
        return [(web.host.address, WEB_PORT) for web in self.farm.webs]

    def start_visitors(self):
        self.visitors = [Visitor(number, self.addresses(), MODES, PER_MODE,
                                 random.Random(f"{self.seed}.{number}"))
                         for number in range(VISITORS)]
        for one in self.visitors:
            one.start()

    def happen(self):
        old = self.random.uniform(0.1, self.moment)
        time.sleep(old)
        if "returns old" in self.fault.name:
            self.pick_bank().remember()
        time.sleep(self.moment - old)
        began = time.strftime("%H:%M:%S", time.gmtime()) + f"{time.time() % 1:.3f}"[1:]
        self.fault.begin(self)
        second = threading.Timer(self.again, self.happen_again) if self.second else None
        if second:
            second.start()
        if self.fault.end:
            time.sleep(self.seconds)
            self.fault.end(self)
            self.said = f"from {began} for {self.seconds:.3f} s"
        else:
            self.said = f"at {began}"
        if second:
            second.join()
        time.sleep(self.after)

    def happen_again(self):
        self.second.begin(self)

    def read_all(self):
        """Each session from a server that did not answer last, then from all others."""
        wire = Wire(self.addresses(), timeout=ANSWER_S)
        living = [number for number, web in enumerate(self.farm.webs) if web not in self.dead]
        for session in self.sessions():
            last = next((one.server for one in reversed(session.updates) if one.ok), None)
            order = sorted(living, key=lambda one, last=last: (one == last, self.random.random()))
            for server in order:
                asked = time.time()
                marks = read(wire, server, session, ANSWER_S)
                session.reads[server] = marks
                session.read_at[server] = (asked, time.time() - asked)
                self.no_answer += marks is None
        wire.close()

    def sessions(self):
        return [session for one in self.visitors for session in one.sessions
                if session.cookie is not None]

    # --- what came of it
    def result(self):
        modes = {}
        for mode in MODES:
            sessions = [one for one in self.sessions() if one.mode == mode]
            verdicts = [judge(one, self.deaths, FLUSH_MS / 1000 + SLACK_S, mode == "ack0",
                              self.silences)
                        for one in sessions]
            plain = [judge(one, self.deaths) for one in sessions]
            modes[mode] = {
                "sessions": len(sessions),
                "updates": sum(len(one.acknowledged()) for one in sessions),
                "unanswered": sum(1 for one in sessions for update in one.updates if not update.ok),
                "lost": sum(len(one.lost) for one in verdicts),
                "within_flush": sum(len(one.lost) for one in plain)
                - sum(len(one.lost) for one in verdicts),
                "oldest_lost_ms": max((round(one.worst_age * 1000) for one in plain), default=0),
                "lost_sessions": sum(one.lost_sessions for one in verdicts),
                "forked": sum(one.forked for one in verdicts),
                "resurrected": sum(one.resurrected for one in verdicts),
                "invented": sum(one.invented for one in verdicts),
                "stale": sum(one.stale for one in verdicts),
                "strange_ids": sum(one.strange_ids for one in sessions),
                "details": [line for one, verdict in zip(sessions, verdicts)
                            if verdict.lost or verdict.forked or verdict.resurrected or verdict.stale
                            for line in self.story(one, verdict)],
            }
        return {"seed": self.seed, "fault": self.name, "modes": modes,
                "deaths": len(self.deaths), "crashes": self.crashes(),
                "flood": self.flood and self.flood.answers,
                "silence_s": round(silence(self.sessions()), 2),
                "no_answer": self.no_answer}


    def crashes(self):
        """What ended by itself, as the logs say."""
        found = []
        for one in self.farm.servers():
            with open(one.log_path(), encoding="utf-8", errors="replace") as file:
                log = file.read()
            found += [f"{one.name}: {line.strip()}" for line in
                      crashes(log) + re.findall(r"^.*(?:FS0655|FS1211|FS1215).*$", log, re.MULTILINE)]
        return found

    def story(self, session, verdict):
        """What is known of a session that came to grief, for who mends it."""
        offset = time.time() - time.monotonic()

        def clock(moment):
            return time.strftime("%H:%M:%S", time.gmtime(moment)) + f"{moment % 1:.3f}"[1:]
        yield (f"{session.name} {session.cookie}: lost "
               + (", ".join(f"{one.mark} (web{one.server + 1}, {clock(one.answered + offset)})"
                            for one in verdict.lost) or "nothing")
               + (", forked" if verdict.forked else "")
               + (f", ended at {clock(session.end_acknowledged + offset)} and back"
                  if verdict.resurrected else ""))
        yield f"  fault at web{self.web + 1}, ds{self.bank + 1}: {self.said}"
        for one, missing in session.stale_answers():
            yield f"  {one.mark} from web{one.server + 1} was answered without " + ", ".join(
                f"{other.mark} (web{other.server + 1}, {clock(other.answered + offset)})"
                for other in session.updates if other.mark in missing)
        for one in session.updates[-6:]:
            yield (f"  {clock(one.sent + offset)} {one.mark} web{one.server + 1} "
                   f"{'acknowledged' if one.ok else one.said} after {one.answered - one.sent:.3f} s")
        for server, (asked, took) in session.read_at.items():
            marks = session.reads[server]
            yield (f"  {clock(asked)} read from web{server + 1}: "
                   f"{'no answer' if marks is None else len(marks)} after {took:.3f} s")


def broken(result):
    """Promises that this run did not keep."""
    found = []
    double = ", and " in result["fault"]
    for mode, counts in result["modes"].items():
        for what in ("forked", "resurrected", "invented"):
            if counts[what]:
                found.append(f"{mode}: {counts[what]} {what}")
        promised = mode == "ack2" or not double
        if counts["lost"] and promised:
            found.append(f"{mode}: {counts['lost']} updates lost")
        if not promised or (mode == "ack0" and result["deaths"]):
            continue
        if counts["strange_ids"]:
            found.append(f"{mode}: {counts['strange_ids']} answers from another session")
        if counts["stale"]:
            found.append(f"{mode}: {counts['stale']} stale answers")
    if result["crashes"]:
        found.append("; ".join(result["crashes"]))
    if result["no_answer"]:
        found.append(f"{result['no_answer']} reads without an answer within {ANSWER_S:g} s")
    return found


def one_seed(ground, seed, options):
    run = Run(ground, seed, options.faults)
    began = time.monotonic()
    try:
        result = run.execute()
    except Exception as error:  # pylint: disable=broad-except
        traceback.print_exc()
        result = {"seed": seed, "fault": run.name, "modes": {}, "silence_s": 0, "no_answer": 0,
                  "error": str(error)}
    finally:
        run.farm.down()
    result["broken"] = ["the run failed: " + result["error"]] if "error" in result else broken(result)
    result["seconds"] = round(time.monotonic() - began, 1)
    print(f"seed {seed}: {result['fault']}: "
          + ("; ".join(result["broken"]) or "as promised") + f" ({result['seconds']} s)",
          file=sys.stderr, flush=True)
    if result.get("flood"):
        print(f"    answers to the flood: {result['flood']}", file=sys.stderr)
    for counts in result["modes"].values():
        for line in counts["details"]:
            print("    " + line, file=sys.stderr)
    if result["broken"] and options.keep:
        print(f"    kept: {run.directory}", file=sys.stderr)
    else:
        shutil.rmtree(run.directory, ignore_errors=True)
    return result


def parser():
    top = argparse.ArgumentParser(description=__doc__,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--seeds", type=int, default=16)
    top.add_argument("--first", type=int, default=0)
    top.add_argument("--faults", type=lambda text: [one.replace(";", ",") for one in text.split(",")],
                     help="only these, with ; for a comma in a name")
    top.add_argument("--webs", type=int, default=3)
    top.add_argument("--datasrvs", type=int, default=3)
    top.add_argument("--json", metavar="FILE")
    top.add_argument("--keep", action="store_true", help="logs and stores of runs that broke a promise")
    top.add_argument("--list", action="store_true", help="the names of the faults")
    return top


def main():
    options = parser().parse_args()
    ending.by_exception()
    if options.list:
        print("\n".join(BY_NAME))
        return 0
    for name in options.faults or ():
        if name not in BY_NAME:
            print(f'there is no fault "{name}"; --list shows them', file=sys.stderr)
            return 2
    directory = tempfile.mkdtemp(prefix="fsloss-", dir="/tmp")
    ground, results = None, []
    try:
        try:
            netns.enter()
            ground = Ground(directory, options.webs, options.datasrvs)
        except netns.Unavailable as error:
            print(f"session_harness: {error}", file=sys.stderr)
            return 77
        results = [one_seed(ground, seed, options)
                   for seed in range(options.first, options.first + options.seeds)]
    finally:
        if ground:
            ground.close()
        if not options.keep or not any(one["broken"] for one in results):
            shutil.rmtree(directory, ignore_errors=True)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)
    print(session_report.table(results))
    return 1 if any(one["broken"] for one in results) else 0


if __name__ == "__main__":
    sys.exit(main())
