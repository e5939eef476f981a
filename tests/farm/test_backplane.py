# SPDX-License-Identifier: Apache-2.0
"""
The backplane on real agents: what is told arrives everywhere, whatever is killed, restarted, cut off or
flooded meanwhile, and what isn't of the farm is refused, counted and changes nothing.
"""

import http.client
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import pytest

from backplane_hosts import (LIMIT, MONITOR, OPERATOR, SECONDS, Farm, Host, Stranger, record)
from farmlib.part import wait_until

LONG = os.environ.get("FARMSYNC_TEST_LONG")
HERE = os.path.dirname(os.path.abspath(__file__))


@pytest.fixture
def directory():
    made = tempfile.mkdtemp(prefix="fsbp-", dir="/tmp")
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def farm(directory):
    made = []

    def make(count=4, **more):
        made.append(Farm(directory, count, **more).start())
        return made[-1]
    yield make
    for one in made:
        one.end()


# --- telling ----------------------------------------------------------------------------------------


def test_a_change_is_everywhere_and_everybody_confirms_it(farm):
    farm = farm(8)
    took = []
    for number in range(20 if LONG else 5):
        answer = farm.hosts[number % 8].down(f"app{number}")
        assert answer["told"] == answer["of"] == 8 and answer["saved"], answer
        took.append(max(server["ms"] for server in answer["servers"]))
        farm.know([f"app{one}" for one in range(number + 1)])
    print(f"until the last of 8 servers had confirmed: median {statistics.median(took):.1f} ms, "
          f"max {max(took):.1f} ms")
    farm.settle()


def test_who_is_not_reached_is_named_and_told_on_return(farm):
    farm = farm(4, suspect_ms=1500, dead_ms=2500)
    *others, dead = farm.hosts
    dead.kill()
    answer = farm.hosts[0].down("shop", 3000)
    assert answer["told"] == 3 and answer["of"] == 4
    assert [server["name"] for server in answer["servers"] if not server["told"]] == ["web4"]
    farm.know(["shop"], others)
    wait_until(lambda: others[1].peer(dead)["state"] == "dead", SECONDS, "web4 to count as dead")
    dead.start()
    farm.know(["shop"])
    farm.settle()
    assert others[1].peer(dead)["state"] == "alive"


def test_a_paused_server_catches_up_and_accuses_nobody(farm):
    farm = farm(3, suspect_ms=1500, dead_ms=2500)
    paused = farm.hosts[2]
    paused.pause()
    try:
        farm.hosts[0].down("shop", 0)
        wait_until(lambda: farm.hosts[0].peer(paused)["state"] == "dead", SECONDS, "web3 to be dead")
    finally:
        paused.go_on()
    farm.know(["shop"])
    assert all(peer["state"] == "alive" for peer in paused.backplane()["peers"])
    farm.settle()


# --- lives ------------------------------------------------------------------------------------------


def test_all_killed_at_once_come_back_with_everything(farm):
    farm = farm(4)
    for number, host in enumerate(farm.hosts):
        assert host.down(f"app{number}")["saved"]
    for host in farm.hosts:
        host.kill()
    for host in farm.hosts:
        host.begin()
    farm.settle()
    farm.know(["app0", "app1", "app2", "app3"])


def test_a_server_without_its_disk_gets_everything_from_the_others(farm):
    farm = farm(3)
    farm.hosts[0].down("shop")
    lost = farm.hosts[2]
    lost.kill()
    with open(os.path.join(lost.state, "backplane"), "r+b") as file:
        file.seek(40)
        file.write(b"damage")
    lost.start()
    assert "FS1475" in lost.log() and os.path.exists(os.path.join(lost.state, "backplane.damaged"))
    farm.know(["shop"])
    farm.settle()


def test_graceful_restarts_lose_nothing_and_no_connection(farm):
    """100 at 5 a second (10 in CI), while others tell and a client connects all the time."""
    farm = farm(3)
    host, told, failed, done = farm.hosts[0], [], [], threading.Event()

    def connect():
        stranger = Stranger("watcher", farm.keys[0])
        while not done.is_set():
            try:
                with socket.create_connection(("127.0.0.1", host.port), timeout=SECONDS):
                    pass
                status, _ = stranger.send(host, stranger.message("web1"))
                if status not in (200, 503):
                    failed.append(status)
            except http.client.RemoteDisconnected:
                pass  # kept alive by the agent that ends: asked again
            except OSError as error:
                failed.append(repr(error))

    watcher = threading.Thread(target=connect)
    watcher.start()
    try:
        for number in range(100 if LONG else 10):
            due = time.monotonic() + 0.2
            told.append(f"app{number}")
            assert farm.hosts[1 + number % 2].down(told[-1], 1000)["act"] == "told"
            host.begin()
            wait_until(lambda: time.monotonic() >= due, SECONDS, "the next restart")
    finally:
        done.set()
        watcher.join()
    wait_until(host.answers, SECONDS, "the last agent")
    farm.know(told)
    farm.settle()
    assert not failed, failed[:10]


# --- partitions -------------------------------------------------------------------------------------


def test_partition_of_3_and_5_heals_with_what_both_sides_said():
    """And a chain, and a link that loses one direction: in network namespaces of the helper's own."""
    done = subprocess.run([sys.executable, os.path.join(HERE, "backplane_partition.py")], text=True,
                          capture_output=True, timeout=240, check=False,
                          env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    if done.returncode == 77:
        pytest.skip(done.stdout.strip())
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr


# --- floods -----------------------------------------------------------------------------------------


def told_to_all(host, application):
    """A peer whose connection was just lost isn't waited for: it is told again."""
    answer = host.down(application)
    return answer if answer["told"] == answer["of"] == 3 else None


def test_an_operator_is_through_first_in_a_flood_of_monitors(farm):
    """100,000 records of monitors (20,000 in CI) at one server; memory is bounded."""
    farm = farm(3)
    flooded, *others = farm.hosts
    count, stranger = 100_000 if LONG else 20_000, Stranger("flood", farm.keys[0])
    before, took, done = flooded.rss_kib(), [], threading.Event()
    sent = []

    def flood():
        records = []
        for number in range(count):
            records.append(record("flood", "test", f"app{number}/monitor", b"x" * 120, MONITOR))
            if len(records) == 290 or number == count - 1:
                message = stranger.push("web1", records)
                assert len(message) <= LIMIT
                sent.append(stranger.send(flooded, message)[0])
                records = []
        done.set()

    flooder = threading.Thread(target=flood)
    flooder.start()
    number = 0
    while not done.is_set() or not number:
        answer = wait_until(lambda n=number: told_to_all(flooded, f"op{n}"), SECONDS, "all to be told", flooded.backplane)
        took.append(max(server["ms"] for server in answer["servers"]))
        number += 1
    flooder.join()
    assert set(sent) == {200}
    state = flooded.backplane()
    print(f"{count} records of monitors in {len(sent)} messages, {state['records']} kept in "
          f"{state['bytes']} bytes, {state['refused']['full']} refused; an operator's notice was "
          f"everywhere in {statistics.median(took):.0f} ms (median of {len(took)}, max "
          f"{max(took):.0f}); RSS {before} -> {flooded.rss_kib()} KiB")
    assert state["bytes"] <= state["bytes_limit"] / 2 + 65536
    assert flooded.rss_kib() - before < 64 * 1024
    farm.know([f"op{one}" for one in range(number)])
    # The flood arrives everywhere, too, after what matters.
    wait_until(lambda: len({host.backplane()["digest"] for host in farm.hosts}) == 1, 120,
               "the flood to be everywhere")
    assert others[0].rss_kib() < before + 64 * 1024


# --- who isn't of the farm --------------------------------------------------------------------------


def counts(host):
    return host.backplane()["refused"]


def expect(host, cause, act):
    """act() is refused for this cause, and for no other, and changes nothing."""
    before, digest = counts(host), host.backplane()["digest"]
    act()
    after = counts(host)
    assert {name: after[name] - before[name] for name in after if after[name] != before[name]} \
        == {cause: 1}, (cause, before, after)
    assert host.backplane()["digest"] == digest


def test_forged_replayed_cut_oversized_and_early_messages_are_refused_and_counted(farm):
    farm = farm(2)
    host = farm.hosts[0]
    friend = Stranger("web9", farm.keys[0])
    forger = Stranger("web9", ("k1", "00" * 32))
    retired = Stranger("web9", ("k0", farm.keys[0][1]))
    bad = record("web9", "notice", "shop/operator", b"{}", OPERATOR)

    expect(host, "foreign", lambda: forger.send(host, forger.push("web1", [bad])))
    expect(host, "retired_key", lambda: retired.send(host, retired.push("web1", [bad])))
    expect(host, "foreign", lambda: friend.send(host, b"", headers={"X": "y"}))
    expect(host, "foreign", lambda: friend.send(host, friend.push("web1", [bad]), signer="web8"))
    expect(host, "foreign", lambda: friend.send(host, friend.push("web7", [bad])))
    expect(host, "oversized", lambda: friend.send(host, b"x" * (LIMIT + 1)))
    expect(host, "malformed", lambda: friend.send(host, friend.push("web1", [bad])[:40]))
    expect(host, "malformed", lambda: friend.send(host, b"no message"))
    expect(host, "malformed", lambda: friend.send(host, friend.push("web1", [bad[:-30]])))
    hour = int((time.time() + 3600) * 1e6)
    expect(host, "future", lambda: friend.send(host, friend.push("web1", [bad], now=hour)))
    expect(host, "past", lambda: friend.send(host, friend.push(
        "web1", [bad], now=hour - 7_200_000_000)))
    expect(host, "future", lambda: friend.send(host, friend.push(
        "web1", [record("web9", "test", "k", b"", OPERATOR, when=hour)])))
    # A message that is good, again; and of an earlier life of its sender.
    message = friend.message("web1")
    headers = friend.headers(message)
    assert friend.send(host, message, headers=headers)[0] == 200
    expect(host, "replayed", lambda: friend.send(host, message, headers=headers))
    ghost = Stranger("web9", farm.keys[0], generation=friend.generation - 1)
    expect(host, "generation", lambda: ghost.send(host, ghost.push("web1", [bad])))
    # Nobody may come with a message by way of the unix socket, which isn't signed.
    status, answer = host.ask("POST", "/v1/exchange", {})
    assert status == 403 and answer["problem"] == "FS1481"
    assert farm.hosts[1].applications() == []
    farm.settle()


def test_many_random_bytes_harm_nobody(farm):
    farm = farm(2)
    host, friend = farm.hosts[0], Stranger("web9", farm.keys[0])
    whole = friend.push("web1", [record("web9", "test", f"k{i}", b"v" * i, MONITOR)
                                 for i in range(20)])
    for cut in range(0, len(whole), 37):
        friend.send(host, whole[:cut])
        friend.send(host, whole[:cut] + b"\xff" + whole[cut + 1:])
    farm.hosts[1].down("shop")
    farm.know(["shop"])


def test_keys_are_replaced_one_by_one_without_a_gap(farm):
    """memberlist's keyring: both are taken, then the new one signs, then the old one is gone."""
    farm = farm(3)
    old, new = farm.keys[0], ("k2", "17" * 32)
    number = 0
    for keys in ([old, new], [new, old], [new]):
        for host in farm.hosts:
            host.keys = keys
            host.start()
            answer = farm.hosts[number % 3].down(f"app{number}")
            assert answer["act"] == "told"
            number += 1
            farm.know([f"app{one}" for one in range(number)])
    farm.settle()
    late = Stranger("web9", old)
    expect(farm.hosts[0], "retired_key", lambda: late.send(farm.hosts[0], late.message("web1")))


# --- protection -------------------------------------------------------------------------------------


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def certificate(directory, name, ca=None):
    """A key and certificate in one file; signed by `ca`, else by itself."""
    key, cert, both = (os.path.join(directory, f"{name}.{end}") for end in ("key", "crt", "pem"))
    extra = ["-addext", "subjectAltName=IP:127.0.0.1"]
    if ca:
        extra += ["-CA", os.path.join(directory, f"{ca}.crt"),
                  "-CAkey", os.path.join(directory, f"{ca}.key")]
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-days", "2", "-subj", f"/CN={name}", "-keyout", key, "-out", cert, *extra)
    with open(both, "w", encoding="ascii") as file:
        for part in (cert, key):
            with open(part, encoding="ascii") as source:
                file.write(source.read())
    return both


def test_with_certificates_both_sides_prove_themselves(farm, directory):
    certificate(directory, "ca")
    both = certificate(directory, "host", "ca")
    stranger = certificate(directory, "stranger")
    farm = farm(2, cert_file=both, ca_file=os.path.join(directory, "ca.crt"))
    assert farm.hosts[0].down("shop")["told"] == 2
    farm.know(["shop"])
    host = farm.hosts[0]
    assert host.backplane()["url"].startswith("https://")
    url = f"https://127.0.0.1:{host.port}/v1/agent"
    for client in ([], ["--cert", stranger]):
        refused = subprocess.run(["curl", "-sk", "-m", "10", *client, url], capture_output=True,
                                 check=False)
        assert refused.returncode != 0 and not refused.stdout
    plain = subprocess.run(["curl", "-s", "-m", "10", url.replace("https", "http")],
                           capture_output=True, check=False)
    assert b"FS" not in plain.stdout and plain.returncode != 0


def test_without_a_key_only_loopback_is_listened_on(directory):
    host = Host(directory, "web1", [], listen="0.0.0.0:0")
    host.peers = []
    try:
        host.start()
        log = host.log()
        assert "FS1452" in log and "FS0231" in log
        assert host.backplane()["state"] != "ready"
    finally:
        host.end()


def test_a_port_that_is_taken_is_waited_for(directory):
    host = Host(directory, "web1", [("k1", "11" * 32)])
    blocker = socket.socket()
    blocker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    blocker.bind(("127.0.0.1", host.port))
    blocker.listen()
    try:
        host.start()
        assert "FS1452" in host.log()
        blocker.close()
        wait_until(lambda: "FS1453" in host.log(), SECONDS, "the port")
        stranger = Stranger("web9", host.keys[0])
        assert stranger.send(host, stranger.message("web1"))[0] == 200
    finally:
        blocker.close()
        host.end()


def test_its_state_is_shown(farm):
    farm = farm(2)
    state = farm.hosts[0].backplane()
    assert state["server"] == "web1" and state["state"] == "ready" and state["records"] == 2

    def well():
        [peer] = farm.hosts[0].backplane()["peers"]
        return (peer["name"] == "web2" and peer["state"] == "alive" and peer["same"] and peer["age_ms"] < 3000
                and peer["waiting"] == 0 and not peer["problem"])
    wait_until(well, SECONDS, "web2 to be heard", lambda: json.dumps(farm.hosts[0].backplane()))
    path = os.path.join(farm.hosts[0].state, "notices", "peers")
    wait_until(lambda: os.path.exists(path) and "peer web2 alive" in open(path, encoding="ascii").read(),
               SECONDS, "what children are told")
    assert json.dumps(state)
