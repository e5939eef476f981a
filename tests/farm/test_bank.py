# SPDX-License-Identifier: Apache-2.0
"""
The session bank of datasrv, on real processes: what was confirmed is there after a restart and a kill,
what is expired goes, what finds no room is said, who owns what, and what a server that returns does.
"""

import concurrent.futures
import os
import shutil
import subprocess
import tempfile

import pytest

from bank_client import (ENDED, FENCED, FULL, GRANTED, HAVE, IN_SYNC, MERGE, OFFER, OFFERED, OWNED,
                         PASS, RELEASED, STORED, UNKNOWN, WANTED, ALL, DIFFERS, Key, batch, item,
                         make_banks, new_key)
from farmlib import paths
from farmlib.part import wait_until
from test_datasrv import Database

V1, V2, V3 = (1, 1, 7), (1, 2, 7), (2, 1, 8)
LEASE = 1000  # ms; a server that starts waits for the longest one, 2 s at least


@pytest.fixture(scope="module")
def directory():
    made = tempfile.mkdtemp(prefix="fsbank-", dir="/tmp")
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def database(directory):
    made = Database(directory)
    yield made
    made.server.stop()


@pytest.fixture(scope="module")
def key():
    return Key()


@pytest.fixture
def banks(key):
    """Makes bank servers in a directory of their own."""
    made, directories = [], []

    def make(count=1, start=True, **settings):
        directories.append(tempfile.mkdtemp(prefix="fsbank-", dir="/tmp"))
        made.extend(make_banks(directories[-1], key, count, **settings))
        for bank in made[-count:]:
            if start:
                bank.start()
        return made[-count:]
    yield make
    for bank in made:
        bank.stop()
    for directory in directories:
        shutil.rmtree(directory)


# --- copies -----------------------------------------------------------------------------------------


def test_a_copy_is_taken_once_and_found(banks):
    [bank] = banks()
    session = new_key()
    assert bank.peek(session)["what"] == UNKNOWN
    assert bank.offer("web1", session, V1, b"one")["what"] == STORED
    assert bank.offer("web1", session, V1, b"one")["what"] == HAVE
    found = bank.peek(session)
    assert (found["version"], found["sealed"], found["owner"]) == (V1, b"one", "web1")


def test_only_a_copy_built_on_what_is_held_replaces_it(banks):
    """Compare and swap: nothing that was confirmed is overwritten by who doesn't know it."""
    [bank] = banks()
    session = new_key()
    bank.offer("web1", session, V1, b"one")
    refused = bank.offer("web2", session, V3, b"three")
    assert (refused["what"], refused["version"], refused["sealed"]) == (MERGE, V1, b"one")
    assert bank.offer("web2", session, V3, b"three", base=V1)["what"] == STORED
    assert bank.offer("web1", session, V2, b"two", base=V1)["what"] == MERGE
    assert bank.peek(session)["sealed"] == b"three"


def test_what_has_ended_does_not_live_again(banks):
    [bank] = banks()
    session = new_key()
    bank.offer("web1", session, V1, b"end", flags=ENDED)
    again = bank.offer("web1", session, V2, b"live", base=V1)
    assert again["what"] == MERGE and again["flags"] & ENDED


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_what_was_confirmed_is_there_after_a_restart(banks, how):
    [bank] = banks()
    keys = [new_key() for _ in range(200)]
    items = [item(one, version=V1, expires=2 ** 62, sealed=one * 60) for one in keys]
    answer = bank.ask("web1", "offer", batch(OFFER, items), OFFERED)
    assert [one["what"] for one in answer.items] == [STORED] * 200
    getattr(bank, how)()
    bank.start()
    assert all(bank.peek(one)["sealed"] == one * 60 for one in keys[::10])
    assert bank.renew("web1").instance == answer.instance != 0
    assert bank.renew("web1").boot != answer.boot


def test_many_at_once_are_all_answered(banks):
    """What waits is one transaction; each gets its own answer."""
    [bank] = banks()
    keys = [new_key() for _ in range(400)]
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        whats = list(pool.map(lambda one: bank.offer("web1", one, V1, one)["what"], keys))
        copies = list(pool.map(lambda one: bank.peek(one)["sealed"], keys))
    assert whats == [STORED] * 400
    assert copies == keys


def test_what_has_ended_by_farm_time_goes(banks, database):
    """By the database's clock; without one nothing is thrown away."""
    [bank] = banks(option_file=database.option_file)
    brief, lasting = new_key(), new_key()
    wait_until(lambda: bank.metric("clock_known") == 1, 60, "farm time", bank.log)
    now = int(database.sql("SELECT CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS INT)"))
    bank.offer("web1", brief, V1, expires=now + 500000)
    bank.offer("web1", lasting, V1, expires=now + 3600 * 1000000)
    wait_until(lambda: bank.peek(brief)["what"] == UNKNOWN, 30, "the end")
    wait_until(lambda: bank.metric("bank_expired_total") == 1, 30, "the removal")
    assert bank.peek(lasting)["sealed"] == b"sealed"


# --- owners and leases ------------------------------------------------------------------------------


def test_a_living_owner_keeps_its_session(banks):
    [bank] = banks()
    session = new_key()
    bank.renew("web1", lease=60000)
    bank.offer("web1", session, V1)
    asked = bank.take("web2", session)[0]
    assert (asked["what"], asked["owner"]) == (OWNED, "web1")
    assert 0 < asked["lease"] <= 60000
    assert asked["sealed"] == b"sealed"


def test_the_session_of_a_silent_owner_is_given(banks):
    [bank] = banks()
    session = new_key()
    bank.renew("web1", lease=1)
    bank.offer("web1", session, V1)
    bank.renew("web2", lease=60000)
    wait_until(lambda: bank.take("web2", session)[0]["what"] == GRANTED, 30, "the lease's end")
    renewed = bank.renew("web1", lease=1, boot=bank.renew("web3").boot, mark=0)
    assert [(one["key"], one["owner"]) for one in renewed.items] == [(session, "web2")]
    fenced = bank.offer("web1", session, V2, base=V1)
    assert fenced["flags"] & FENCED and fenced["owner"] == "web2"


def test_one_of_two_who_take_at_once_gets_it(banks):
    [bank] = banks()
    session = new_key()
    for host in ("web2", "web3"):
        bank.renew(host, lease=60000)
    bank.offer("web1", session, V1)
    assert bank.take("web2", session)[0]["what"] == GRANTED
    assert bank.take("web3", session)[0]["what"] == OWNED
    assert bank.take("web2", session)[0]["what"] == GRANTED


def test_what_was_handed_over_is_given_although_the_owner_lives(banks):
    [bank] = banks()
    session = new_key()
    bank.renew("web1", lease=60000)
    bank.renew("web3", lease=60000)
    bank.offer("web1", session, V1)
    assert bank.take("web2", session, owner="web3")[0]["what"] == OWNED
    assert bank.take("web2", session, owner="web1")[0]["what"] == GRANTED


def test_a_living_owner_is_told_who_wants_a_session_and_cannot_reach_it(banks):
    """Until it has let it go, and by name."""
    [bank] = banks()
    session = new_key()
    boot = bank.renew("web1", lease=60000).boot
    bank.offer("web1", session, V1)
    assert bank.take("web2", session, flags=WANTED)[0]["what"] == OWNED
    told = bank.renew("web1", lease=60000, boot=boot).items
    assert [(one["key"], one["owner"], one["flags"]) for one in told] == [(session, "web2", WANTED)]
    assert bank.offer("web1", session, V1, owner="web2")["what"] == HAVE
    assert bank.take("web2", session)[0]["what"] == GRANTED
    assert not [one for one in bank.renew("web1", lease=60000, boot=boot).items
                if one["flags"] & WANTED]


def test_a_released_session_is_nobodys(banks):
    [bank] = banks()
    session = new_key()
    bank.renew("web1", lease=60000)
    bank.offer("web1", session, V1)
    bank.offer("web1", session, V1, flags=RELEASED)
    assert "owner" not in bank.peek(session)
    assert bank.take("web2", session)[0]["what"] == GRANTED


def test_a_host_is_not_taken_for_dead_because_the_bank_restarted(banks):
    [bank] = banks()
    session = new_key()
    bank.renew("web1", lease=60000)
    bank.offer("web1", session, V1)
    bank.kill()
    bank.start()
    assert bank.take("web2", session)[0]["what"] == OWNED


def test_a_comparison_names_what_differs(banks):
    [bank] = banks()
    same, older, foreign, missing = (new_key() for _ in range(4))
    bank.renew("web2", lease=60000)
    bank.offer("web1", same, V1)
    bank.offer("web1", older, V2)
    bank.offer("web2", foreign, V1)
    answer = bank.compare("web1", (same, V1), (older, V1), (foreign, V1), (missing, V1))
    assert [(one["key"], one["what"], one.get("owner")) for one in answer.items] == [
        (older, DIFFERS, "web1"), (foreign, DIFFERS, "web2"), (missing, UNKNOWN, None)]


# --- who may ----------------------------------------------------------------------------------------


def test_only_signed_callers_are_heard(banks):
    [bank] = banks()
    body = batch(OFFER, [item(new_key(), version=V1, expires=1, sealed=b"x")])
    assert bank.call(None, "POST", "/v1/sessions/offer", body)[0] == 401


def test_garbage_is_refused_whole(banks):
    [bank] = banks()
    session = new_key()
    good = batch(OFFER, [item(session, version=V1, expires=2 ** 62, sealed=b"x")])
    for bad in (b"", b"rubbish", good[:-1], good + b"x", good.replace(b"FSB\1", b"FSB\2"),
                batch(OFFER, [item(session, version=V1, expires=1, sealed=b"x"), b"\0" * 20])):
        status, answer = bank.call("web1", "POST", "/v1/sessions/offer", bad)
        assert status == 400 and b"FS1290" in answer
    assert bank.peek(session)["what"] == UNKNOWN


# --- limits -----------------------------------------------------------------------------------------


def test_a_full_bank_says_so_and_keeps_what_it_has(banks):
    [bank] = banks(SessionLimit=10)
    keys = [new_key() for _ in range(12)]
    whats = [bank.offer("web1", one, V1)["what"] for one in keys]
    assert whats == [STORED] * 10 + [FULL] * 2
    assert bank.offer("web1", keys[0], V2, b"more", base=V1)["what"] == STORED
    assert bank.said("FS1409") == 1


@pytest.fixture
def small_disk():
    """A file system of 64 MiB."""
    if os.geteuid():
        pytest.skip("only root can mount one")
    made = tempfile.mkdtemp(prefix="fsbank-", dir="/tmp")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", made], check=False)
    if done.returncode:
        os.rmdir(made)
        pytest.skip("no file system can be mounted here")
    yield made
    subprocess.run(["umount", "-l", made], check=True)
    os.rmdir(made)


def test_a_full_disk_is_told_and_kills_nobody(banks, small_disk):
    """The store's file is mapped: without reserved space, the kernel would answer with a signal."""
    [bank] = banks(SessionDir=os.path.join(small_disk, "sessions"))
    stored, whats = [], set()
    while FULL not in whats and len(stored) < 60000:
        keys = [new_key() for _ in range(1000)]
        items = [item(one, version=V1, expires=2 ** 62, sealed=one * 64) for one in keys]
        answer = bank.ask("web1", "offer", batch(OFFER, items), OFFERED)
        stored += [one["key"] for one in answer.items if one["what"] == STORED]
        whats |= {one["what"] for one in answer.items}
    assert FULL in whats and len(stored) > 5000
    assert bank.said("FS1404") >= 1
    assert bank.peek(stored[-1])["sealed"] == stored[-1] * 64
    bank.kill()
    bank.start()
    assert missing(bank, stored) == []


# --- in sync ----------------------------------------------------------------------------------------


def bring(bank, host):
    """A host that has nothing to bring makes its pass."""
    asked = bank.renew(host, lease=LEASE)
    return bank.renew(host, lease=LEASE, boot=asked.boot, sequence=asked.sequence, flags=PASS)


def test_a_server_that_started_waits_for_the_hosts(banks):
    [bank] = banks()
    first = bank.renew("web1", lease=LEASE)
    assert first.flags & PASS and first.flags & ALL and not first.flags & IN_SYNC
    assert not bring(bank, "web1").flags & PASS


# --- several bank servers ---------------------------------------------------------------------------


def settle(banks, *hosts):
    """Until all say that they are in sync, with hosts that have nothing to bring."""
    def in_sync():
        for bank in banks:
            for host in hosts or ("web1",):
                bring(bank, host)
        return all(bank.state().flags & IN_SYNC for bank in banks)
    wait_until(in_sync, 30, "the bank servers to be in sync", lambda: banks[-1].log())


def fill(banks, count, host="web1", version=V1):
    keys = [new_key() for _ in range(count)]
    items = [item(one, version=version, expires=2 ** 62, sealed=one * 60) for one in keys]
    for bank in banks:
        for at in range(0, count, 200):
            bank.ask(host, "offer", batch(OFFER, items[at:at + 200]), OFFERED)
    return keys


def missing(bank, keys, version=V1):
    found = []
    for at in range(0, len(keys), 1000):
        found += bank.compare("@test", *[(one, version) for one in keys[at:at + 1000]]).items
    return [one["key"] for one in found]


def wipe(bank):
    shutil.rmtree(bank.data)


@pytest.mark.parametrize("how", ["empty", "old"])
def test_a_server_that_returns_is_brought_up_to_date_by_the_other(banks, how):
    """Nothing of hosts that are gone is lost, and it says so only when it has all."""
    one, two = banks(2)
    settle([one, two])
    before = fill((one, two), 300)
    changed = before[:50]
    two.kill()
    after = fill([one], 300)
    items = [item(key, version=V2, base=V1, expires=2 ** 62, sealed=b"new") for key in changed]
    one.ask("web1", "offer", batch(OFFER, items), OFFERED)
    if how == "empty":
        wipe(two)
    two.start()
    assert not two.state().flags & IN_SYNC
    settle([two])
    assert missing(two, before[50:] + after) == []
    assert missing(two, changed, V2) == []
    wanted = 600 if how == "empty" else 350
    assert f"{wanted} copies came" in two.log()
    if how == "old":
        assert "by its changes" in two.log()


def test_an_older_copy_does_not_replace_a_later_one(banks):
    """The server that was away holds what the other never got."""
    one, two = banks(2)
    session = new_key()
    settle([one, two])
    one.offer("web1", session, V1, b"old")
    two.offer("web1", session, V2, b"late")
    two.kill()
    two.start()
    settle([two])
    assert two.peek(session)["sealed"] == b"late"


def test_two_copies_of_different_owners_are_both_kept_until_a_host_merged_them(banks):
    """Two hosts were cut off from each other, and so were the servers they wrote to."""
    one, two = banks(2)
    session = new_key()
    settle([one, two], "web1", "web2")
    one.offer("web1", session, V2, b"left")
    two.offer("web2", session, V3, b"right")
    one.kill()
    one.start()
    settle([one], "web1", "web2")
    found = one.take("web2", session)
    assert sorted(copy["sealed"] for copy in found) == [b"left", b"right"]
    merged = (2, 5, 9)
    answer = one.offer("web2", session, merged, b"both", base=V3)
    assert (answer["what"], answer["sealed"]) == (MERGE, b"left")
    answer = one.offer("web2", session, merged, b"both", base=V2)
    assert (answer["what"], answer["sealed"]) == (MERGE, b"right")
    assert one.offer("web2", session, merged, b"both", base=V3)["what"] == STORED
    assert [copy["sealed"] for copy in one.take("web2", session)] == [b"both"]


def test_a_server_is_not_in_sync_before_a_living_host_has_brought_its_sessions(banks):
    [bank] = banks()
    settle([bank])
    assert bank.renew("web2", lease=LEASE).flags & PASS
    assert not bank.state().flags & IN_SYNC
    bring(bank, "web2")
    assert bank.state().flags & IN_SYNC


def test_the_next_in_rank_gets_what_a_dead_server_kept_of_hosts_that_are_gone(banks):
    """Three servers keep two copies of each session. One server has all of them here, so it keeps
    about a third with the dead one, and these go to the third server; but what a living host owns
    is that host's business."""
    three = banks(3)
    settle(three)
    keys = fill(three[:1], 300)
    living = fill(three[:1], 100, host="web2")
    three[2].kill()

    def copied():
        three[0].renew("web2", lease=LEASE)
        return three[0].said("FS1425")
    wait_until(copied, 30, "the copies", three[0].log)
    there = len(keys) - len(missing(three[1], keys))
    assert 60 < there < 140
    assert len(missing(three[1], living)) == 100


# --- what it says of itself -------------------------------------------------------------------------


def test_metrics_health_and_dashboard_tell_of_the_bank(banks):
    one, two = banks(2)
    settle([one, two])
    fill([one], 20)
    wait_until(lambda: one.metric("bank_sessions") == 20, 30, "the count")
    assert one.metric("bank_stored_total") == 20
    assert one.metric("bank_in_sync") == 1 and one.metric("bank_full") == 0
    assert one.metric("bank_bytes") > 20 * 900
    wait_until(lambda: one.metric(f'bank_peer_up{{peer="{two.address}"}}') == 1, 30, "the peer")
    page = one.call(None, "GET", "/", b"")[1].decode()
    assert "<h2>Sessions</h2>" in page and "<b>20</b> held" in page and two.address in page
    two.kill()
    wait_until(lambda: b"FS1420" in one.call(None, "GET", "/healthz", b"")[1], 30, "the warning")


def test_without_its_bank_a_data_server_still_serves(banks):
    [bank] = banks(start=False, SessionDir="/dev/null/sessions")
    bank.start()
    assert bank.said("FS1400") == 1
    status, answer = bank.call("web1", "POST", "/v1/sessions/renew", b"")
    assert status == 503 and b"FS1406" in answer
    assert bank.metric("bank_up") == 0
    assert bank.call(None, "GET", "/", b"")[0] == 200


def test_two_servers_do_not_share_a_directory(banks):
    one, two = banks(2, start=False)
    one.start()
    two.settings["SessionDir"] = one.data
    two.start()
    assert two.said("FS1401") == 1


@pytest.mark.parametrize("line, remedy", [
    ("Peer 10.0.0.6:4470", "http://HOST:PORT"),
    ("Peer http://10.0.0.6:4470 weight=2", "name=NAME and rack=RACK"),
    ("Peer http://10.0.0.6:4470 name=a name=b", "once each"),
    ("Peer http://10.0.0.6:4470 name=self", "is this data server itself"),
    ("SessionSync perhaps", "on or off"),
    ("SessionMemory 0", "whole number from 1"),
    ("SessionCopies 5", "whole number from 1 to 4"),
])
def test_wrong_settings_are_refused_with_the_remedy(banks, line, remedy):
    [bank] = banks(start=False, SessionName="self", **{line.split()[0]: line.split(" ", 1)[1]})
    bank.write("datasrv.conf", "".join(f"{name} {value}\n" for name, value in bank.settings.items()))
    done = subprocess.run([paths.built("datasrv/datasrv"), "-t", "-c", bank.conf], text=True,
                          capture_output=True, check=False)
    assert done.returncode == 1 and remedy in done.stderr, done.stderr
