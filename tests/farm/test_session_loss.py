# SPDX-License-Identifier: Apache-2.0
"""What is lost of sessions when servers fail: some faults of the loss harness, and the checker itself.

`scripts/bench loss --seeds 100` runs all of them often. FARMSYNC_TEST_LONG=1: each fault once here, too.
"""

import json
import os
import subprocess
import sys

import pytest

from conftest import LONG
from session_history import Death, Session, Update, judge, silence

HARNESS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "session_harness.py")
# In CI: one of each kind, in one run of the harness.
FAULTS = ("web server dies", "web server dies, returns with its store", "web server stands still",
          "bank server returns empty", "bank server returns old", "bank doesn't hear a web server")


# --- the checker ------------------------------------------------------------------------------


def session(*updates, **reads):
    """Updates as (mark, server, time, acknowledged, marks before); reads as s0={"m1"}."""
    made = Session("test", "ack0")
    made.cookie = "session=x"
    for mark, server, when, ok, before in updates:
        made.updates.append(Update(mark, server, when - 0.01, when, ok, before))
    made.reads = {int(name[1:]): marks for name, marks in reads.items()}
    return made


def test_what_is_there_is_well():
    verdict = judge(session(("m1", 0, 1, True, set()), ("m2", 1, 2, False, None),
                            s0={"m1"}, s1={"m1"}))
    assert not any(verdict)
    assert not any(judge(session(("m1", 0, 1, True, set()), ("m2", 1, 2, False, None),
                                 s0={"m1", "m2"}, s1={"m1", "m2"}))), "without an answer: may be there"


def test_a_lost_update_a_lost_session_a_fork_and_an_invention_are_seen():
    updates = (("m1", 0, 1, True, set()), ("m2", 0, 2, True, {"m1"}))
    assert [one.mark for one in judge(session(*updates, s0={"m1"}, s1={"m1"})).lost] == ["m2"]
    assert judge(session(*updates, s0={"m1"}, s1={"m1"})).lost_sessions == 0
    assert judge(session(*updates, s0=set(), s1=set())).lost_sessions == 1
    assert judge(session(*updates, s0={"m1", "m2"}, s1={"m1"})).forked == 1
    assert judge(session(*updates, s0={"m1", "m2"}, s1=None)).forked == 0, "no answer is no fork"
    assert judge(session(*updates, s0={"m1", "m2", "m9"})).invented == 1


def test_an_ended_session_that_comes_back_is_seen():
    one = session(("m1", 0, 1, True, set()), s0={"m1"})
    one.end_asked = 2
    assert judge(one).resurrected == 0, "the logout was not acknowledged"
    one.end_acknowledged = 2.1
    assert judge(one).resurrected == 1
    one.reads = {0: set(), 1: set()}
    assert not any(judge(one))


def test_stale_answers_are_seen():
    assert judge(session(("m1", 0, 1, True, set()), ("m2", 1, 2, True, set()),
                         s0={"m1", "m2"})).stale == 1
    assert judge(session(("m1", 0, 1, True, set()), ("m2", 1, 2, True, {"m1"}),
                         s0={"m1", "m2"})).stale == 0


def test_only_the_last_flush_interval_of_a_killed_server_is_excused_and_only_unconfirmed():
    one = session(("m1", 0, 1.0, True, set()), ("m2", 0, 1.9, True, {"m1"}), s1=set())
    lost = judge(one, [Death(0, 2.0, 2.1)], flush=0.2, unconfirmed=True)
    assert [update.mark for update in lost.lost] == ["m1"] and lost.worst_age == 1.0
    assert len(judge(one, [Death(1, 2.0, 2.1)], flush=0.2, unconfirmed=True).lost) == 2, "another server died"
    assert len(judge(one, [Death(0, 2.0, 2.1)], flush=0.2).lost) == 2, "they were confirmed"


def test_silence_is_until_the_next_answer():
    one = session(("m1", 0, 1, True, set()), ("m2", 0, 2, False, None), ("m3", 0, 3, False, None),
                  ("m4", 0, 5, True, {"m1"}))
    assert abs(silence([one]) - 3.01) < 1e-6
    assert silence([session(("m1", 0, 1, True, set()))]) == 0


# --- real processes ---------------------------------------------------------------------------


@pytest.mark.limit(900 if LONG else 240)
def test_nothing_confirmed_is_lost_whatever_happens(tmp_path):
    out = tmp_path / "loss.json"
    choice = ["--seeds", "22"] if LONG else ["--seeds", str(len(FAULTS)), "--faults", ",".join(
        name.replace(",", ";") for name in FAULTS)]
    done = subprocess.run([sys.executable, HARNESS, *choice, "--json", str(out)], text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, check=False,
                          env=os.environ if LONG else {**os.environ, "FARMSYNC_TEST_SLACK_S": "1"})
    if done.returncode == 77:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr + done.stdout
    results = json.loads(out.read_text(encoding="utf-8"))
    assert len(results) == int(choice[1])
    assert all(counts["updates"] > 20 for one in results for counts in one["modes"].values())
