#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What one bank server stores and gives a second, beside memcached and redis with the same payload,
the same number of connections and the same client (bench_bank.c).

A request holds one session, or 64: as agents send them when many change, and as pipelined commands.
Signatures are made and checked, and answers are read. Servers are started anew for each measurement
of memory; rates are medians over rounds in a random order.
"""

import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "..", "scripts"))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "farm"))

from farmlib import ending, paths, ports, setup  # noqa: E402
from farmlib.errors import FarmError  # noqa: E402
from farmlib.part import wait_until  # noqa: E402
from farmlib.progress import step  # noqa: E402
import bank_client  # noqa: E402

PROGRAM = "tests/bench/bench_bank"
BYTES, CONNECTIONS, VALUES, BATCH = 1024, 16, 100000, 64


def resident_kib(process):
    """Resident memory of a process, without what it maps of files."""
    with open(f"/proc/{process.pid}/smaps_rollup", encoding="ascii") as file:
        numbers = {line.split(":")[0]: int(line.split()[1]) for line in file if line.endswith("kB\n")}
    return numbers["Anonymous"]


class Rival:
    """memcached or redis on a free port, in memory only."""

    def __init__(self, directory, name):
        self.name, self.directory = name, directory
        [self.port] = ports.take(1)
        self.address, self.key_file, self.process = f"127.0.0.1:{self.port}", None, None

    def start(self):
        command = {
            "memcached": [paths.program("memcached"), "-u", "nobody", "-l", "127.0.0.1", "-p",
                          str(self.port), "-m", "2048", "-t", "1", "-M"],
            "redis": [paths.program("redis-server"), "--port", str(self.port), "--bind", "127.0.0.1",
                      "--save", "", "--appendonly", "no", "--dir", self.directory],
        }[self.name]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        wait_until(lambda: not _connect_fails(self.port), 20, f"{self.name} to listen")
        return self

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait(timeout=20)
        self.process = None

    def used(self):
        return resident_kib(self.process) * 1024


def _connect_fails(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port))


class Ours(bank_client.Bank):
    """datasrv, whose copies are in the page cache and not in its own memory."""

    def __init__(self, directory, key, name):
        [port] = ports.take(1)
        super().__init__(directory, key, name, port, SessionMemory=2048)
        self.name, self.key_file = "farmsync", self.settings["KeyFile"]

    def used(self):
        return self.metric("bank_bytes") + resident_kib(self.process) * 1024

    def start(self):
        shutil.rmtree(self.data, ignore_errors=True)
        return super().start()


def load(servers, batch, values):
    """{stored, fetched}: sessions a second, on one or two servers."""
    first = servers[0]
    command = [paths.built(PROGRAM), first.name,
               ",".join(one.address for one in servers), str(CONNECTIONS), str(values), str(batch),
               str(BYTES)] + ([first.key_file] if first.key_file else [])
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    if done.returncode:
        raise FarmError(f"bench_bank: {done.stderr.strip()}")
    return json.loads(done.stdout)


def fresh(servers):
    """New, empty servers."""
    for one in servers:
        one.stop()
        one.start()


def measure(kinds, rounds, values, shown):
    """{(kind, copies, batch): [result]} and {kind: bytes a session}"""
    found, memory = {}, {}
    for number in range(rounds):
        cases = [(kind, copies, batch) for kind in kinds for copies in (1, 2) for batch in (1, BATCH)]
        random.shuffle(cases)
        for kind, copies, batch in cases:
            shown.say(f"round {number + 1} of {rounds}: {kind}, {copies} copies, {batch} a request")
            servers = kinds[kind][:copies]
            fresh(servers)
            before = servers[0].used()
            count = values if batch > 1 else values // 4
            found.setdefault((kind, copies, batch), []).append(load(servers, batch, count))
            if batch > 1 and kind not in memory:
                wait_until(lambda: not isinstance(servers[0], Ours)
                           or servers[0].metric("bank_sessions") == count, 20, "the count")
                memory[kind] = (servers[0].used() - before) / count
            for one in servers:
                one.stop()
    return found, memory


def table(found, memory):
    lines = ["| server | stored/s, 1 copy | stored/s, 2 copies | fetched/s | one session a request: "
             "stored/s, 1 copy | 2 copies | fetched/s | bytes of memory a session |",
             "|---|---:|---:|---:|---:|---:|---:|---:|"]
    for kind in sorted(memory):
        def rate(what, copies, batch, kind=kind):
            return f"{statistics.median(one[what] for one in found[(kind, copies, batch)]):,.0f}"
        lines.append(f"| {kind} | " + " | ".join(
            part for batch in (BATCH, 1) for part in (
                rate("stored", 1, batch), rate("stored", 2, batch), rate("fetched", 1, batch)))
            + f" | {memory[kind]:,.0f} |")
    return "\n".join(lines)


def section(quick=False, rounds=5, values=VALUES):
    rounds, values = (1, 20000) if quick else (rounds, values)
    setup.build(paths.BUILD, targets=(PROGRAM,), title="Building the session bank's benchmark")
    directory = tempfile.mkdtemp(prefix="fsbench-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    key = bank_client.Key()
    kinds = {"farmsync": [Ours(directory, key, f"bank{i}") for i in range(2)],
             "memcached": [Rival(directory, "memcached") for _ in range(2)],
             "redis": [Rival(directory, "redis") for _ in range(2)]}
    try:
        with step("Measuring the session bank") as shown:
            found, memory = measure(kinds, rounds, values, shown)
    finally:
        for one in (one for servers in kinds.values() for one in servers):
            one.stop()
        shutil.rmtree(directory, ignore_errors=True)
    return (f"## The session bank\n\n{values:,} sessions of {BYTES} bytes over {CONNECTIONS} "
            f"connections, {rounds} rounds, medians; {BATCH} sessions a request (a batch here, pipelined "
            f"commands there), and one (a fourth of the sessions). Client and servers share the machine. "
            "farmsync's requests are signed and checked, each copy is compared with what is held, and "
            "*fetched* means that another web server takes the session over, which is written down; the "
            "others store and give bytes. memcached with one thread. Two copies: the client stores each "
            "session on both servers.\n\n" + table(found, memory))


if __name__ == "__main__":
    ending.by_exception()
    print(section("--quick" in sys.argv))
