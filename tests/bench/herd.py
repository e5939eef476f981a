#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What one datasrv bears: simulated agents follow it through cycles in which a part of a large dataset changes.

Starts a private database and a datasrv, runs tests/bench/bench_agents against it with few and with many
agents, and prints rows of a Markdown table. Exit status 1 if an agent was late, or if what the database
is asked grows with the agents.

    tests/bench/herd.py [--agents 1000] [--few 10,100] [--cycles 10] [--rows 1000000] [--interval 18] [--json FILE]

The group keeps the default lead. Changes are found by a change column, so that a version is staged soon after the
activation before and agents have most of the interval, as in a farm with the default interval of 600 s.

FARMSYNC_BENCH_QUICK=1 makes everything small. FARMSYNC_BUILD is the build directory.
"""

import argparse
import json
import os
import re
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "..", "scripts"))
sys.dont_write_bytecode = True

from farmlib import ending, paths, ports  # noqa: E402
from farmlib.mariadb import MariaDB  # noqa: E402
from farmlib.part import http_get, tail, wait_until  # noqa: E402

FILLING = "CONCAT(SHA2(CONCAT({}), 256), LEFT(SHA2(CONCAT({}, 'x'), 256), 26))"  # 90 bytes that don't compress well
OPTIONS = '{"columns": ["id", "filling"], "changes": {"column": "changed"}, "overlap": 2}'
GROWTH = 1.2  # queries of a cycle with many agents, against those with few


class Database:
    """A private server that counts what it is asked by others than this program."""

    def __init__(self, directory, rows):
        self.server = MariaDB(os.path.join(directory, "db"), args=[
            "--innodb-buffer-pool-size=1G", "--innodb-log-file-size=512M", "--max-connections=300"])
        self.asked = 0
        self.server.start()
        self.server.run_file(os.path.join(paths.SQL_DIR, "install.sql"))
        filling = FILLING.format("seq", "seq")
        self.server.sql(
            "CREATE DATABASE shop CHARACTER SET utf8mb4; GRANT SELECT ON shop.* TO 'farmsync'@'localhost';"
            "CREATE TABLE shop.herd (id INT PRIMARY KEY, filling CHAR(90) CHARACTER SET ascii,"
            " changed TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6), INDEX (changed));"
            f"INSERT INTO shop.herd SELECT seq, {filling}, FROM_UNIXTIME(1500000000 + seq)"
            f" FROM shop.seq_1_to_{rows};"
            "CREATE USER 'ds'@'%' IDENTIFIED BY 'not-a-secret';"
            "GRANT farmsync_datasrv TO 'ds'@'%'; SET DEFAULT ROLE farmsync_datasrv FOR 'ds'@'%';", timeout=900)
        self.option_file = os.path.join(directory, "datasrv.cnf")
        write(self.option_file, f"[farmsync]\nhost=127.0.0.1\nport={self.server.port}\nuser=ds\n"
              "password=not-a-secret\n", 0o600)

    def change(self, number):
        """Other rows each time: one in a hundred."""
        filling = FILLING.format(f"id, '-{number}'", f"id, '-{number}'")
        self.server.sql(f"UPDATE shop.herd SET filling = {filling} WHERE id % 100 = {number % 100}")
        self.asked += 1

    def questions(self):
        """Statements of the others so far."""
        text = self.server.sql("SHOW GLOBAL STATUS LIKE 'Questions'")
        self.asked += 1
        return int(text.split("\t")[1]) - self.asked


class Datasrv:
    def __init__(self, directory, database):
        self.port = ports.take(1)[0]
        self.log = os.path.join(directory, "datasrv.log")
        self.key = os.path.join(directory, "farm.key")
        self.config = os.path.join(directory, "datasrv.conf")
        write(self.key, f"k1 {secrets.token_hex(32)}\n", 0o600)
        write(self.config, f"Name ds1\nListen 127.0.0.1:{self.port}\nDatabase {database.option_file}\n"
              f"KeyFile {self.key}\nImageDir {directory}/images\nLogFile {self.log}\nLogLevel info\n"
              "MaxConnections 8192\n")
        self.process = None

    def start(self):
        self.process = subprocess.Popen([paths.built("datasrv/datasrv"), "-c", self.config])
        wait_until(lambda: self.metrics() is not None, 30, "datasrv to answer")

    def stop(self):
        self.process.terminate()
        if self.process.wait(60):
            raise RuntimeError(f"datasrv ended with {self.process.returncode}: {tail(self.log)}")

    def metrics(self):
        try:
            status, _, body = http_get(f"http://127.0.0.1:{self.port}/metrics", timeout=10)[:3]
        except OSError:
            return None
        return body if status == 200 else None

    def metric(self, name):
        body = self.metrics() or b""
        found = re.search(rf"^farmsync_{name}(?:{{[^}}]*}})? (\S+)$",
                          body if isinstance(body, str) else body.decode(), re.MULTILINE)
        return float(found[1]) if found else 0.0

    def staged(self):
        return int(self.metric("group_staged_version"))

    def status(self, field):
        """Of /proc, in MiB."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return int(re.search(rf"^{field}:\s+(\d+) kB", file.read(), re.MULTILINE)[1]) / 1024

    def processor_seconds(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def write(path, text, mode=0o644):
    with open(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, mode), "w", encoding="utf-8") as file:
        file.write(text)


class Run:
    """bench_agents with so many agents, while a part of the data changes in each cycle."""

    number = 0

    def __init__(self, options, database, datasrv, agents, cycles):
        self.options, self.database, self.datasrv = options, database, datasrv
        self.agents, self.cycles = agents, cycles
        self.summary = None
        self.queries = []  # in an interval, as each cycle had them
        self.over = False

    def _drive(self):
        version, asked, then = self.datasrv.staged(), self.database.questions(), time.monotonic()
        Run.number += 1
        self.database.change(Run.number)
        while not self.over:
            if self.datasrv.staged() == version:
                time.sleep(0.2)
                continue
            count, now = self.database.questions(), time.monotonic()
            self.queries.append((count - asked) * self.options.interval / (now - then))
            version, asked, then = self.datasrv.staged(), count, now
            Run.number += 1
            self.database.change(Run.number)

    def measure(self, directory):
        out = os.path.join(directory, f"agents-{self.agents}.json")
        seconds = (self.cycles + 4) * self.options.interval + 60
        before = time.monotonic(), self.datasrv.processor_seconds()
        driver = threading.Thread(target=self._drive)
        driver.start()
        try:
            done = subprocess.run(
                [paths.built("tests/bench/bench_agents"), "--datasrv", f"http://127.0.0.1:{self.datasrv.port}",
                 "--agents", str(self.agents), "--cycles", str(self.cycles), "--seconds", str(seconds),
                 "--key", self.datasrv.key, "--out", out], text=True, capture_output=True, check=False)
        finally:
            self.over = True
            driver.join()
        sys.stderr.write(done.stdout + done.stderr)
        with open(out, encoding="utf-8") as file:
            self.summary = json.load(file)
        self.failed = done.returncode != 0
        self.busy = (self.datasrv.processor_seconds() - before[1]) / (time.monotonic() - before[0])
        return self

    def complete(self):
        """Cycles that all agents went through."""
        return [c for c in self.summary["cycles"] if c["staged"] == self.agents]


def queries(run):
    """In an interval: cycles that a slow promotion made longer count by their time. The first began before the
    agents did."""
    return statistics.median(run.queries[1:] or run.queries or [0])


def ms(values):
    return f"{max(values) / 1000:,.0f} ms" if values else "-"


def summary(options, few, many, datasrv):
    """The figures that are judged."""
    cycles = many.complete()[:options.cycles]
    return {
        "agents": many.agents, "cycles": len(cycles), "wanted": many.agents * options.cycles,
        "in_time": sum(c["staged"] - c["late"] for c in cycles),
        "p99_ms": max((c["p99_us"] for c in cycles), default=0) / 1000,
        "peak_mib": datasrv.status("VmHWM"),
        "queries": {str(one.agents): queries(one) for one in (*few, many)}}


def table(options, few, many, datasrv, figures):
    cycles = many.complete()[:options.cycles]
    size = datasrv.metric("datasrv_images_bytes") / max(1, datasrv.metric("datasrv_images"))
    rows = [
        (f"{many.agents} agents, {len(cycles)} cycles of {options.interval} s, 1 % of {options.rows:,} rows of "
         "100 bytes changed: staged before the activation", f"{figures['in_time']} of {figures['wanted']}"),
        ("from the manifest's change to staged, p50 (worst cycle)", ms([c["p50_us"] for c in cycles])),
        ("the same, p99", ms([c["p99_us"] for c in cycles])),
        ("the same, last agent", ms([c["max_us"] for c in cycles])),
        ("left until the activation at the least",
         f"{min((c['least_left_us'] for c in cycles), default=0) / 1000:,.0f} ms"),
        ("received by an agent in a cycle",
         f"{statistics.median([c['bytes'] / many.agents for c in cycles] or [0]) / 1e6:.2f} MB"
         f" (image: {size / 1e6:.1f} MB)"),
        ("of which came as deltas", f"{sum(c['deltas'] for c in cycles)} of {sum(c['staged'] for c in cycles)}"),
        ("told to come again", f"{sum(c['told_to_come_back'] for c in cycles)}"),
        ("errors", f"{many.summary['errors']}"),
        ("datasrv: peak memory (VmHWM, mapped images included)", f"{figures['peak_mib']:,.0f} MiB"),
        ("datasrv: its own memory at the end (RssAnon)", f"{datasrv.status('RssAnon'):,.0f} MiB"),
        ("datasrv: processor time", f"{100 * many.busy:.0f} % of one"),
        *((f"database: queries a cycle, {one.agents} agents", f"{queries(one):.0f}") for one in (*few, many)),
    ]
    return "| figure | measured |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in rows)


def run(options):
    directory = tempfile.mkdtemp(prefix="fsherd-", dir="/tmp")
    database = datasrv = None
    try:
        database = Database(directory, options.rows)
        datasrv = Datasrv(directory, database)
        database.server.sql(f"CALL farmsync.set_interval('default', {options.interval});"
                            f"CALL farmsync.add_dataset_with('herd', 'shop.herd', 'id', '{OPTIONS}');"
                            "UPDATE farmsync.sync SET activation_time = UTC_TIMESTAMP(6)")
        database.asked += 3
        datasrv.start()
        wait_until(lambda: datasrv.staged() > 0 and not datasrv.metric("datasrv_images_missing"), 600,
                   "the first version", pace=0.2)
        few = [Run(options, database, datasrv, count, max(2, options.cycles // 5)).measure(directory)
               for count in options.few]
        many = Run(options, database, datasrv, options.agents, options.cycles).measure(directory)
        figures = summary(options, few, many, datasrv)
        text = table(options, few, many, datasrv, figures)
        grew = any(queries(many) > GROWTH * queries(one) + 5 for one in few)
        bad = any(one.failed for one in (*few, many)) or grew
        if options.json:
            figures["failed"] = bad
            write(options.json, json.dumps(figures))
        if grew:
            print("the database is asked more with more agents", file=sys.stderr)
        datasrv.stop()
        datasrv.process = None
        if options.keep_log:
            shutil.copy(datasrv.log, options.keep_log)
        return text, bad
    finally:
        if datasrv and datasrv.process:
            datasrv.process.kill()
            datasrv.process.wait()
        if database:
            database.server.stop()
        shutil.rmtree(directory, ignore_errors=True)


def main(argv):
    quick = os.environ.get("FARMSYNC_BENCH_QUICK") == "1"
    parser = argparse.ArgumentParser(prog="herd.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=200 if quick else 1000)
    parser.add_argument("--few", type=lambda text: [int(one) for one in text.split(",")], default=[10, 100],
                        help="numbers of agents to compare with")
    parser.add_argument("--json", help="where to write the figures")
    parser.add_argument("--cycles", type=int, default=3 if quick else 10)
    parser.add_argument("--rows", type=int, default=20000 if quick else 1000000)
    parser.add_argument("--interval", type=int, default=5 if quick else 18, help="seconds")
    parser.add_argument("--keep-log", help="where to copy datasrv's log")
    text, bad = run(parser.parse_args(argv))
    print(text)
    return 1 if bad else 0


if __name__ == "__main__":
    ending.by_exception()
    sys.exit(main(sys.argv[1:]))
