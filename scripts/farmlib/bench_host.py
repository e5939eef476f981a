# SPDX-License-Identifier: Apache-2.0
"""What data costs a host, on a real farm: an httpd with eight children, an agent and a datasrv.

- a million rows of 100 bytes: the image built from SQL, a thousand rows changed and taken over as a
  delta, and how long it takes from the manifest until a child has the new version mapped
- an image of 200 MB in eight children: how much memory that is
"""

import glob
import json
import os
import re
import statistics
import subprocess
import tempfile
import threading
import time

from . import paths, setup
from .errors import FarmError
from .farm import Farm
from .part import http_get, tail, wait_until
from .progress import step

CHILDREN = 8
CHANGED = 1000
OPTIONS = '{"columns": ["id", "filling"], "changes": {"column": "changed"}, "overlap": 2}'
CYCLES = 5
INTERVAL_S = 10
LEAD_S = 4
DELTA_BENCHMARK = "tests/bench/bench_image"

# Text that doesn't compress well: of each row 90 bytes, with an INT key and a few bytes more 100.
FILLING = "CONCAT(SHA2(CONCAT({0}), 256), LEFT(SHA2(CONCAT({0}, 'x'), 256), 26))"


def memory(pid, field):
    """Of /proc/PID/status, in MiB."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        return int(re.search(rf"^{field}:\s+(\d+) kB", file.read(), re.MULTILINE)[1]) / 1024


def mappings(pid, ending):
    """{file: (Pss, Rss, huge pages)} in KiB of a process's mapped files whose names end so."""
    fields = ("Pss:", "Rss:", "FilePmdMapped:")
    found, current = {}, None
    try:
        with open(f"/proc/{pid}/smaps", encoding="utf-8", errors="replace") as file:
            for line in file:
                words = line.split()
                if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                    current = words[5] if len(words) > 5 and words[5].endswith(ending) else None
                elif current and words[0] in fields:
                    sizes = found.setdefault(current, [0] * len(fields))
                    sizes[fields.index(words[0])] += int(words[1])
    except OSError:
        pass  # it ended
    return found


def maps(pid, name):
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:
            return name in file.read()
    except OSError:
        return False


def log_numbers(part, pattern):
    with open(part.log_path(), encoding="utf-8", errors="replace") as file:
        return [tuple(map(int, found.groups())) for found in re.finditer(pattern, file.read())]


class Host:
    def __init__(self, farm, quick):
        self.farm = farm
        self.rows = 20000 if quick else 1000000
        self.large_rows = 4000 if quick else 205000
        self.cycles = 2 if quick else CYCLES
        self.figures = {"rows": self.rows}
        self.web, self.datasrv = farm.web(1), farm.datasrv(1)

    # --- data
    def load(self, name, rows, filling):
        """
        Changes are found by a change column: it isn't promotion that is measured here. Its values
        differ, as those of rows that came one by one; what has the newest one is read each time.
        """
        self.farm.sql(
            f"CREATE TABLE bench.{name} (id INT PRIMARY KEY,"
            " filling TEXT CHARACTER SET ascii NOT NULL,"
            " changed TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)"
            " ON UPDATE CURRENT_TIMESTAMP(6), INDEX (changed));"
            f"INSERT INTO bench.{name} SELECT seq, {filling}, FROM_UNIXTIME(1500000000 + seq)"
            f" FROM bench.seq_1_to_{rows};", None)
        self.farm.sql(f"CALL farmsync.add_dataset_with('{name}', 'bench.{name}', 'id', "
                      f"'{OPTIONS}');")

    def image_of(self, name):
        """Digest of the dataset's image in the staged version."""
        rows = self.farm.sql("SELECT i.digest FROM farmsync.image i JOIN farmsync.sync s "
                             f"USING (group_name, version) WHERE i.dataset = '{name}'")
        return rows[0][0] if rows else None

    def wait_answer(self, path, seconds=300):
        wait_until(lambda: http_get(self.web.url + path)[0] == 200, seconds, f"{path} to be active",
                   pace=0.1, evidence=lambda: tail(self.datasrv.log_path()))

    # --- a million rows
    def million(self):
        figures = self.figures
        self.load("million", self.rows, FILLING.format("seq"))
        self.wait_answer("/farmsync/data/million/77")
        figures["image_mb"] = os.path.getsize(self.datasrv_image(self.image_of("million"))) / 1e6
        self.build()
        self.changes()
        figures["agent_peak_mib"] = memory(self.web.agent_process().pid, "VmHWM")
        figures["datasrv_peak_mib"] = memory(self.datasrv.pid, "VmHWM")

    def datasrv_image(self, digest):
        return os.path.join(self.datasrv.directory, "images", digest + ".fsi")

    def build(self):
        """A datasrv that has lost its images makes them from SQL: time and memory of that alone."""
        self.datasrv.stop()
        for path in glob.glob(os.path.join(self.datasrv.directory, "images", "*")):
            if os.path.isfile(path):
                os.unlink(path)
        before = len(self.built())
        self.datasrv.start()
        wait_until(lambda: len(self.built()) > before, 120, "the image to be built from SQL",
                   evidence=lambda: tail(self.datasrv.log_path()))
        self.figures["build_ms"] = self.built()[-1][0]
        self.figures["build_peak_mib"] = memory(self.datasrv.pid, "VmHWM")
        self.figures["build_own_mib"] = memory(self.datasrv.pid, "RssAnon")

    def built(self):
        return log_numbers(self.datasrv, r"FS0854: .*dataset million: .* in (\d+) ms")

    def changes(self):
        """Some cycles in each of which a thousand rows change."""
        mapped, older, before = [], None, len(self.fetched())
        for number in range(self.cycles):
            old = self.image_of("million")
            older = self.keep(old)
            filling = FILLING.format(f"CONCAT(id, '-{number}')")
            self.farm.sql(f"UPDATE bench.million SET filling = {filling} "
                          f"WHERE id % {self.rows // CHANGED} = {number}", None)
            mapped.append(self.until_mapped(old))
        # An agent that promoted by itself, as while there was no data server, fetches nothing.
        deltas = [one for one in self.fetched()[before:] if one[1]]
        if len(deltas) < self.cycles / 2:
            raise FarmError(f"{len(deltas)} of {self.cycles} changes were taken as deltas\n"
                            + tail(self.web.log_path()))
        self.figures["taken_ms"] = statistics.median(ms for _, _, ms in deltas)
        self.figures["taken_bytes"] = statistics.median(size for size, _, _ in deltas)
        self.figures["staged_to_mapped_ms"] = statistics.median(mapped) * 1e3
        self.figures["staged_to_mapped_worst_ms"] = max(mapped) * 1e3
        self.apply(older, self.keep(self.image_of("million")))

    def fetched(self):
        """(bytes, deltas, ms) of each version that the agent fetched."""
        return [(size, deltas, ms) for deltas, size, ms in log_numbers(
            self.web, r"FS0590: .*?(\d+) of them as deltas \((\d+) bytes in all\).* (\d+) ms")]

    def until_mapped(self, old):
        """Seconds from a new image's appearance in the manifest until a child has it mapped."""
        over = threading.Event()
        children = [one.pid for one in self.web.children()]

        def visit():  # pages are asked for all the time, as on any farm
            while not over.wait(0.005):
                http_get(self.web.url + "/farmsync/data/million/77/id")
        visitor = threading.Thread(target=visit)
        visitor.start()
        try:
            wait_until(lambda: self.image_of("million") != old, 120, "the next version", pace=0.005,
                       evidence=lambda: tail(self.datasrv.log_path()))
            since, digest = time.monotonic(), self.image_of("million")
            wait_until(lambda: any(maps(pid, digest) for pid in children), 60, "a child to map it",
                       pace=0.005, evidence=lambda: tail(self.web.log_path()))
            return time.monotonic() - since
        finally:
            over.set()
            visitor.join()

    def keep(self, digest):
        """A second name for an image, which outlives the farm's cleaning."""
        path = os.path.join(self.farm.directory, "kept", digest + ".fsi")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if not os.path.exists(path):
            os.link(self.datasrv_image(digest), path)
        return path

    def apply(self, old, new):
        """Applying the last change's delta, by itself, on a machine that does nothing else."""
        self.datasrv.stop()
        out = os.path.join(self.farm.directory, "delta.json")
        done = subprocess.run([paths.built(DELTA_BENCHMARK), "-a", "-j", out,
                               "-d", self.farm.directory, old, new],
                              text=True, capture_output=True, check=False)
        self.datasrv.start()
        if done.returncode:
            raise FarmError(f"{DELTA_BENCHMARK}: {done.stdout}{done.stderr}")
        with open(out, encoding="utf-8") as file:
            self.figures.update(json.load(file))
        self.figures["applied_of_build"] = (self.figures["delta_applied_ms"]
                                            / self.figures["build_ms"])

    # --- memory
    def large(self):
        self.load("large", self.large_rows, "CONCAT(" + ",".join(
            f"SHA2(CONCAT(seq, '{n}'), 256)" for n in range(15)) + ")")
        self.wait_answer("/farmsync/data/large/77")
        self.visit_all()
        digest = self.image_of("large")
        path = self.datasrv_image(digest)
        size = os.path.getsize(path)
        pids = [one.pid for one in self.web.processes()]
        shares = [mappings(pid, digest + ".fsi") for pid in pids]
        pss = sum(p for one in shares for p, _, _ in one.values()) * 1024
        resident = [sum(r for _, r, _ in one.values()) * 1024 for one in shares if one]
        huge = [sum(h for _, _, h in one.values()) * 1024 for one in shares if one]
        self.figures.update({
            "large_mb": size / 1e6, "large_pss": pss / size, "large_processes": len(resident),
            "large_children": len(self.web.children()), "large_touched": min(resident) / size,
            "large_huge": min(huge) / size})

    def visit_all(self):
        """Rows all over the image are read in each child."""
        script = self.farm.write_file("random.lua", f"""\
request = function()
    return wrk.format("GET", "/farmsync/data/large/" .. math.random(1, {self.large_rows}) .. "/id")
end
""")
        done = subprocess.run([paths.program("wrk"), "-t1", f"-c{CHILDREN}", "-d6s", "-s", script,
                               self.web.url], text=True, capture_output=True, check=False)
        if done.returncode or "Non-2xx" in done.stdout:
            raise FarmError(f"wrk: {done.stdout}{done.stderr}")


def measure(quick):
    """{figure: number}"""
    setup.build(paths.BUILD, targets=(DELTA_BENCHMARK,), title="Building the image benchmark")
    farm = Farm(tempfile.mkdtemp(prefix="fsbench-", dir="/tmp"))
    try:
        with step("Measuring a million rows on a host") as shown:
            farm.create(servers=1, datasrv=1, interval=INTERVAL_S, mpm="prefork")
            farm.database.start()
            farm.database.prepare()
            farm.sql("CREATE DATABASE bench; GRANT SELECT ON bench.* TO farmsync@localhost;"
                     f"CALL farmsync.set_interval('default', {INTERVAL_S});"
                     f"CALL farmsync.set_lead('default', {LEAD_S});", None)
            host = Host(farm, quick)
            farm.write_file("web1/conf/extra/bench.conf", f"ServerLimit {CHILDREN}\n"
                            f"MaxRequestWorkers {CHILDREN}\nMaxSpareServers {CHILDREN}\n")
            for one in (host.datasrv, host.web):
                one.start()
            host.million()
            shown.say("200 MB in eight children")
            farm.sql("CALL farmsync.drop_dataset('million')")
            host.large()
    finally:
        farm.down()
        farm.remove()
    return host.figures
