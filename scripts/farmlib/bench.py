# SPDX-License-Identifier: Apache-2.0
"""scripts/bench: what farmsync costs a request, beside what one would take instead.

All variants are measured in one run, in rounds of another order each, and each measurement is
paired with one of the bare httpd right before or after it. A figure is the median of these
ratios, so that whatever else the machine does meanwhile hits both alike; the middle half is
printed beside. The processor time of httpd's own processes is given, too: it says the same on a
machine that isn't quiet. The first line, the bare httpd against itself, shows how far the machine
can be trusted.

Then the benchmarks of the image, of a host and of a thousand agents (bench_image.py, bench_host.py,
tests/bench), and of sessions (bench_sessions.py, tests/bench/sessions_*.py). Everything is written to doc/benchmarks.md.
"""

import argparse
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time

from . import bench_avail, bench_image, bench_sessions, ending, paths, setup
from .errors import FarmError
from .farm import Farm
from .part import http_get, wait_until
from .progress import step

BENCH_PACKAGES = os.path.join(paths.REPO, "scripts", "packages-bench.txt")
ROWS = 10000
PAGE = "x" * 1024

# path: what it measures. All serve the same static page of 1 KiB.
VARIANTS = [
    ("bare", "/page.txt", "bare httpd, no farmsync"),
    ("unused", "/page.txt", "farmsync loaded and running, not used by the request"),
    ("expr1", "/expr1", "one look-up in an expression"),
    ("expr10", "/expr10", "ten look-ups in expressions"),
    ("plain", "/plain", "RewriteRule without a map"),
    ("int", "/map-int", "RewriteMap int:farmsync"),
    ("txt", "/map-txt", "RewriteMap txt:"),
    ("dbm", "/map-dbm", "RewriteMap dbm:"),
    ("dbd", "/map-dbd", "RewriteMap dbd: (MariaDB on the same host)"),
]

COMMON = """\
RewriteEngine on
RewriteMap txt "txt:{files}/prices.txt"
RewriteMap dbm "dbm=sdbm:{files}/prices.dbm"
RewriteMap dbd "dbd:SELECT price FROM bench.prices WHERE sku = %s"
RewriteRule ^/plain$ /page.txt [L]
RewriteCond ${{txt:sku-77}} .
RewriteRule ^/map-txt$ /page.txt [L]
RewriteCond ${{dbm:sku-77}} .
RewriteRule ^/map-dbm$ /page.txt [L]
RewriteCond ${{dbd:sku-77}} .
RewriteRule ^/map-dbd$ /page.txt [L]
DBDriver mysql
DBDParams "host=127.0.0.1 port={port} user=bench pass=bench dbname=bench"
DBDMin 8
DBDKeep 25
DBDMax 25
"""

WITH_FARMSYNC = """\
FarmSyncVersionHeader Off
RewriteMap farm int:farmsync
RewriteCond ${{farm:prices/sku-77/price}} .
RewriteRule ^/map-int$ /page.txt [L]
Alias /expr10 "{docs}/page.txt"
Alias /expr1 "{docs}/page.txt"
<Location "/expr1">
    Header set X-Price "expr=%{{farmsync:prices/sku-77/price}}"
</Location>
<Location "/expr10">
{ten}
</Location>
"""


def configure(farm):
    """web1 has farmsync; web2 is the same httpd without it."""
    files = os.path.join(farm.directory, "bench")
    os.makedirs(files, exist_ok=True)
    with open(os.path.join(files, "prices.txt"), "w", encoding="utf-8") as file:
        file.writelines(f"sku-{n} {n % 100}.50\n" for n in range(ROWS))
    subprocess.run([paths.program("httxt2dbm"), "-f", "SDBM", "-i",
                    os.path.join(files, "prices.txt"), "-o", os.path.join(files, "prices.dbm")],
                   check=True, capture_output=True)
    for web in farm.webs:
        docs = os.path.join(web.directory, "htdocs")
        farm.write_file(f"{web.name}/htdocs/page.txt", PAGE)
        text = f'LoadModule dbd_module "{paths.httpd_modules()}/mod_dbd.so"\n'
        text += COMMON.format(files=files, port=farm.database.port)
        if web.name == "web1":
            ten = "\n".join(f'    Header set X-Price-{n} "expr=%{{farmsync:prices/sku-{n}/price}}"'
                            for n in range(10))
            text += WITH_FARMSYNC.format(docs=docs, ten=ten)
        farm.write_file(f"{web.name}/conf/extra/bench.conf", text)
    _remove_farmsync(farm, farm.web(2))


def _remove_farmsync(farm, web):
    text = web.configuration().replace(" farmsync:info", "")
    text = re.sub(r"^(FarmSync|LoadModule farmsync).*\n", "", text, flags=re.M)
    text = re.sub(r'<Location "/farmsync/\w+">\n.*\n</Location>\n', "", text)
    farm.write_file(f"{web.name}/conf/httpd.conf", text)


def load(farm):
    values = ",".join(f"('sku-{n}', {n % 100}.50)" for n in range(ROWS))
    farm.sql("CREATE DATABASE IF NOT EXISTS bench; CREATE TABLE IF NOT EXISTS bench.prices ("
             "sku VARCHAR(32) PRIMARY KEY, price DECIMAL(10,2) NOT NULL);"
             f"REPLACE INTO bench.prices VALUES {values};"
             "CREATE USER IF NOT EXISTS bench@'%' IDENTIFIED BY 'bench';"
             "GRANT SELECT ON bench.* TO bench@'%';"
             "GRANT SELECT ON bench.* TO farmsync@localhost;"
             "CALL farmsync.add_dataset('prices', 'bench.prices', 'sku');", None)


def requests_per_second(url, seconds, connections=8):
    answer = subprocess.run([paths.program("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", url],
                            text=True, capture_output=True, check=False)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", answer.stdout)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", answer.stdout)
    if not rate or bad or "Socket errors" in answer.stdout:
        raise FarmError(f"wrk {url}: {answer.stdout}{answer.stderr}")
    return float(rate[1])


def processor_seconds(web):
    """Processor time that a web server's processes have used so far."""
    ticks = 0
    for process in web.processes():
        try:
            with open(f"/proc/{process.pid}/stat", encoding="utf-8", errors="replace") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def one_measurement(farm, name, path, seconds):
    """(requests a second, processor time a request in us)"""
    web = farm.web(2 if name == "bare" else 1)
    before = processor_seconds(web)
    rate = requests_per_second(web.url + path, seconds)
    return rate, (processor_seconds(web) - before) / (rate * seconds) * 1e6


def measure(farm, rounds, seconds):
    """{variant: [(its measurement, that of the bare httpd right before or after)]}"""
    found = {name: [] for name, _, _ in VARIANTS}
    order = list(VARIANTS)
    with step("Measuring requests") as shown:
        for number in range(rounds):
            random.shuffle(order)
            for name, path, _ in order:
                shown.say(f"round {number + 1} of {rounds}: {name}")
                pair = [(name, path), VARIANTS[0][:2]]
                results = [one_measurement(farm, *one, seconds)
                           for one in (pair if number % 2 else reversed(pair))]
                found[name].append(tuple(results if number % 2 else reversed(results)))
    return found


def _url(farm, name, path):
    return farm.web(2 if name == "bare" else 1).url + path


def _median_and_half(values):
    """The median and the middle half, as text."""
    values = sorted(values)
    quarters = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    return f"{statistics.median(values):.3f} ({quarters[0]:.3f} to {quarters[2]:.3f})"


def table(found):
    """Markdown rows: medians, and medians of the ratios to bare httpd with their middle half."""
    lines = ["| variant | requests/s | ratio to bare httpd | processor time a request | "
             "ratio to bare httpd |", "|---|---:|---|---:|---|"]
    for name, _, text in VARIANTS:
        pairs = found[name]
        lines.append(
            f"| {text} | {statistics.median(own[0] for own, _ in pairs):,.0f} | "
            f"{_median_and_half([own[0] / bare[0] for own, bare in pairs])} | "
            f"{statistics.median(own[1] for own, _ in pairs):.1f} us | "
            f"{_median_and_half([own[1] / bare[1] for own, bare in pairs])} |")
    return "\n".join(lines)


def machine():
    """What was measured on, in a line."""
    model = re.search(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+)", _read("/proc/meminfo"), re.MULTILINE)
    system = re.search(r'^PRETTY_NAME="(.+)"$', _read("/etc/os-release"), re.MULTILINE)
    return (f"{os.cpu_count()} × {model[1] if model else platform.machine()}, "
            f"{int(memory[1]) // 1048576 if memory else '?'} GiB, "
            f"{system[1] if system else platform.system()}, Linux {platform.release()}")


def versions():
    def first(command, pattern):
        text = subprocess.run(command, text=True, capture_output=True, check=False).stdout
        found = re.search(pattern, text)
        return found[1] if found else "?"
    commit = first(["git", "-C", paths.REPO, "rev-parse", "--short", "HEAD"], r"(\S+)")
    httpd = first([paths.program("apache2", "httpd"), "-v"], r"Apache/(\S+)")
    server = first([paths.program("mariadbd", "mysqld"), "--version"], r"Ver (\S+)")
    compiler = first(["cc", "--version"], r"(.+)")
    return f"farmsync {commit}, Apache httpd {httpd}, MariaDB {server}, {compiler}"


def _read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def requests_section(options):
    directory = tempfile.mkdtemp(prefix="fsbench-", dir="/tmp")
    farm = Farm(directory)
    try:
        farm.create(servers=2, datasrv=1, interval=1)
        farm.database.start()
        farm.database.prepare()
        load(farm)
        configure(farm)
        for one in [*farm.datasrvs, *farm.webs]:
            one.start()
        wait_until(lambda: http_get(farm.web(1).url + "/farmsync/data/prices/sku-77")[0] == 200, 60,
                   "the data to be active", pace=0.1)
        # From here on nothing changes, and the farm's own work is what it always is.
        farm.sql("CALL farmsync.set_interval('default', 10)")
        for name, path, _ in VARIANTS:  # warm up, and see that each answers
            requests_per_second(_url(farm, name, path), 1)
        found = measure(farm, options.rounds, options.seconds)
    finally:
        farm.down()
        farm.remove()
    return (f"## Cost of a request\n\nwrk, 1 thread, 8 keep-alive connections, event MPM, a static "
            f"page of 1 KiB, {options.rounds} rounds of {options.seconds} s for each measurement, "
            f"{ROWS} rows.\n\n"
            + table(found))


def attempt(measure, title, problems):
    """What measure() returns; if it fails a section that says so: the others aren't lost."""
    try:
        return measure()
    except FarmError as error:
        problems.append(f"{title}: {error}")
        return [f"## {title}\n\nCould not be measured in this run."]


def page(sections):
    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    return (f"# Benchmarks\n\nWritten by `scripts/bench` on {when} UTC: {machine()}; "
            f"{versions()}.\n"
            "Ratios of one run on one machine are comparable; absolute figures are of that "
            "machine.\nSections that begin with *By hand* are of other days and say where they come from."
            "\n\n" + "\n\n".join(sections) + "\n")


def kept_sections(old, sections):
    """Sections of the page that no run writes: what was measured by hand."""
    written = {one.split("\n", 1)[0] for one in sections}
    return [f"## {one.rstrip()}\n" for one in re.split(r"^## ", old, flags=re.MULTILINE)[1:]
            if "## " + one.split("\n", 1)[0] not in written and "*By hand*" in one]


def with_sections(old, sections):
    """The page with some sections replaced by those of this run, or added; they say when it was."""
    parts = re.split(r"^(?=## )", old, flags=re.MULTILINE)
    said = f"Measured on {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC: {versions()}.\n\n"
    for section in sections:
        title, _, rest = section.partition("\n")
        text = f"{title}\n\n{said}{rest.strip()}\n\n"
        place = next((n for n, one in enumerate(parts) if one.split("\n", 1)[0] == title), None)
        if place is None:
            by_hand = (n for n, one in enumerate(parts) if n and "*By hand*" in one)
            parts.insert(next(by_hand, len(parts)), text)
        else:
            parts[place] = text
    return "".join(parts)


def parser():
    top = argparse.ArgumentParser(prog="scripts/bench", description=__doc__,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--rounds", type=int, default=11)
    top.add_argument("--seconds", type=int, default=1, help="of each measurement")
    top.add_argument("--quick", action="store_true", help="2 rounds of 1 s; nothing is written")
    top.add_argument("part", nargs="?", choices=("loss",), help="loss: instead of measuring, count "
                     "what is lost of sessions when servers fail, over so many --seeds")
    top.add_argument("--seeds", type=int, default=100, metavar="N")
    top.add_argument("--only", metavar="PART", choices=(
        "requests", "image", "availability", "reuse", "routing", "sessions",
        *(f"sessions-{part}" for part in bench_sessions.PARTS)),
        help="this part alone: %(choices)s; its sections of doc/benchmarks.md are replaced")
    return top


def _wants(options, part):
    return not options.only or options.only.partition("-")[0] == part


def main():
    options = parser().parse_args()
    if options.quick:
        options.rounds, options.seconds = 2, 1
    ending.by_exception()
    try:
        if not os.environ.get("FARMSYNC_BUILD"):
            setup.install_packages()
            if _wants(options, "sessions") or _wants(options, "reuse"):
                setup.install_packages(setup.listed_packages(BENCH_PACKAGES))
            setup.build()
    except FarmError as error:
        print(f"scripts/bench: {error}", file=sys.stderr)
        return 1
    sections, problems = [], []
    if options.part == "loss":
        options.only = "loss"
        sections += attempt(lambda: [bench_sessions.loss_section(options.seeds, problems)],
                            bench_sessions.LOSS_TITLE, problems)
    if options.only in (None, "requests"):
        sections += attempt(lambda: [requests_section(options)], "Cost of a request", problems)
    if options.only in (None, "image"):
        sections += bench_image.sections(options.quick, problems)
    if options.only in (None, "availability"):
        sections += bench_avail.sections(options.quick, problems, attempt)
    if options.only in (None, "reuse"):
        sections += bench_avail.reuse_sections(options.quick, problems, attempt)
    if options.only in (None, "routing"):
        sections += bench_avail.route_sections(options.quick, problems, attempt)
    if _wants(options, "sessions"):
        one = options.only.partition("-")[2] if options.only else None
        sections += bench_sessions.sections(options.quick, problems, attempt, one)
    text = page(sections)
    print(text)
    if not options.quick:
        path = os.path.join(paths.REPO, "doc", "benchmarks.md")
        if options.only:
            text = with_sections(_read(path), sections)
        else:
            text += "".join("\n" + one for one in kept_sections(_read(path), sections))
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    for problem in problems:
        print(f"scripts/bench: {problem}", file=sys.stderr)
    return 1 if problems else 0
