# SPDX-License-Identifier: Apache-2.0
"""scripts/test: installs what is missing, builds, runs every test, and counts.

    unit    make check, warnings as errors
    san     the same under the address and undefined-behaviour sanitizers
    clang   everything compiled by the second compiler, warnings as errors
    check   the guard scripts tests/check_*.sh
    farm    pytest on real processes: tests/farm
    dist    make distcheck

Each stage has its own build tree (build-test, build-san, build-clang), so that nothing is rebuilt
for nothing and a farm that is up is not disturbed. What failed is said again at the end, in few lines.
"""

import argparse
import fnmatch
import glob
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import namedtuple

from . import paths, setup
from .errors import FarmError
from .progress import step

STAGES = ("unit", "san", "clang", "check", "farm", "dist")
GROUPS = {"all": STAGES, "quick": ("unit", "check")}

Count = namedtuple("Count", "passed failed skipped")
Failure = namedtuple("Failure", "name lines")

LINES_OF_ALL = 60  # that the lines of all failures may be together at the end
WIDTH = 240

failures = []  # of all stages


def tree(name):
    return os.path.join(paths.REPO, f"build-{name}")


def add(counts):
    return Count(*(sum(column) for column in zip(*counts))) if counts else Count(0, 0, 0)


def count_check(directory):
    """
    Counts of `make check`, from its .trs and .log files: single tests where the program is one of
    Check ("Checks: 7, Failures: 0, Errors: 0"), else one a program.
    """
    counts = []
    for path in glob.glob(os.path.join(directory, "tests", "**", "*.trs"), recursive=True):
        result = re.search(r"^:test-result: (\w+)", _text(path), re.MULTILINE)
        word = result[1] if result else "ERROR"
        log = _text(path[:-len(".trs")] + ".log")
        sums = re.findall(r"Checks: (\d+), Failures: (\d+), Errors: (\d+)", log)
        failed = sum(int(one[1]) + int(one[2]) for one in sums)
        total = sum(int(one[0]) for one in sums)
        if word in ("PASS", "XFAIL"):
            counts.append(Count(max(total, 1), 0, 0))
        elif word == "SKIP":
            counts.append(Count(0, 0, 1))
        else:  # a program that crashed after good tests failed, too
            counts.append(Count(total - failed, max(failed, 1), 0))
            print(f"--- {path[:-len('.trs')]}.log\n" + "\n".join(log.splitlines()[-60:]))
            said = [line for line in log.splitlines()
                    if re.search(r":[FE]:|ERROR: |runtime error:|SUMMARY: ", line)]
            failures.append(Failure(os.path.relpath(path[:-len(".trs")], directory),
                                    said or log.splitlines()[-6:]))
    return add(counts)


def count_junit(path):
    """Counts of pytest's JUnit file."""
    counts = []
    for suite in ElementTree.parse(path).getroot().iter("testsuite"):
        for case in suite.iter("testcase"):
            name = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
            failures.extend(Failure(name, told_by(one.text or one.get("message", "")))
                            for one in case if one.tag in ("failure", "error"))
        tests, failed, errors, skipped = (int(suite.get(key, 0)) for key in
                                          ("tests", "failures", "errors", "skipped"))
        counts.append(Count(tests - failed - errors - skipped, failed + errors, skipped))
    return add(counts)


def told_by(text):
    """The lines of pytest's report that tell the cause: where it was, and what the error says."""
    lines = [line.rstrip() for line in text.splitlines()]
    errors = [number for number, line in enumerate(lines) if line.startswith("E ")]
    if not errors:
        return lines
    where = [line for line in lines[:errors[0]] if re.match(r"\S+:\d+: ", line)][-1:]
    return where + [lines[number][1:].strip() for number in errors if lines[number][1:].strip()]


def excerpt(lines, room):
    """As many lines as there is room for, of the beginning and of the end, which both tell much."""
    if len(lines) > room:
        ahead = (room + 1) // 2
        lines = [*lines[:ahead], f"... ({len(lines) - room} lines)", *lines[ahead - room or len(lines):]]
    return [line if len(line) <= WIDTH else line[:WIDTH - 3] + "..." for line in lines]


def show_failures(found):
    """The cause of each failure in few lines, for whoever sees only a part of the output."""
    if not found:
        return
    room = min(8, max(2, LINES_OF_ALL // len(found)))
    print(f"=== FAILURES ({len(found)})")
    for one in found:
        print(f"FAILED {one.name}")
        for line in excerpt(one.lines, room):
            print(f"    {line}")
    sys.stdout.flush()


def _text(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def make_check(directory, title):
    """Runs make check and counts what it left."""
    for path in glob.glob(os.path.join(directory, "tests", "**", "*.trs"), recursive=True):
        os.unlink(path)
    log = os.path.join(directory, "check.out")
    with step(title), open(log, "wb") as output:
        done = subprocess.run(["make", f"-j{os.cpu_count() or 1}", "-k", "check"], cwd=directory,
                              stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                              check=False)
    count = count_check(directory)
    if done.returncode != 0 and count.failed == 0:
        print(f"--- {log}\n" + "\n".join(_text(log).splitlines()[-60:]))
        failures.append(Failure(title, _text(log).splitlines()[-6:]))
        count = Count(count.passed, 1, count.skipped)
    return count


def stage_unit(_):
    setup.build(tree("test"), ("--enable-werror",), title="Building (gcc, warnings are errors)")
    return make_check(tree("test"), "make check")


def stage_san(_):
    setup.build(tree("san"), ("--enable-werror", "--enable-sanitizers"),
                title="Building with sanitizers")
    return make_check(tree("san"), "make check with sanitizers")


def stage_clang(_):
    environment = {"CC": "clang"}
    setup.build(tree("clang"), ("--enable-werror",), environment=environment,
                title="Building with clang")
    setup.build(tree("clang"), ("--enable-werror",), ("check", "TESTS="), environment,
                "Building the tests with clang")
    return Count(1, 0, 0)


def stage_check(_):
    counts = []
    for path in sorted(glob.glob(os.path.join(paths.REPO, "tests", "check_*.sh"))):
        done = subprocess.run(["sh", path], cwd=paths.REPO, text=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        skipped = done.returncode == 77  # as automake has it
        if done.returncode and not skipped:
            print(f"--- {os.path.relpath(path, paths.REPO)}\n{done.stdout}")
            failures.append(Failure(os.path.relpath(path, paths.REPO), done.stdout.splitlines()[-6:]))
        counts.append(Count(int(done.returncode == 0), int(done.returncode != 0 and not skipped), int(skipped)))
    return add(counts)


def pytest_python():
    """Debian's Python, which has pytest; or whatever has it."""
    for python in ("/usr/bin/python3", sys.executable):
        if subprocess.run([python, "-c", "import pytest"], capture_output=True,
                          check=False).returncode == 0:
            return python
    raise FarmError("pytest is missing; install python3-pytest")


# Each about a third of the tests, by the time they take, in processes side by side: farms mostly wait.
# What isn't named is in a third one.
BESIDE = {"whole": ("switch", "load", "failures", "clock", "cli", "valgrind", "module", "ready",
                    "operation", "roll_back"),
          "visitors": ("session*", "bank", "reuse*", "avail*", "backplane*", "notices", "monitors",
                       "calendar", "route*")}


def split_farm(paths_of_tests):
    """{name: paths} of the processes."""
    groups = {"parts": [], **{name: [] for name in BESIDE}}
    for path in paths_of_tests:
        name = os.path.basename(path)[len("test_"):-len(".py")]
        chosen = [group for group, patterns in BESIDE.items()
                  if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
        groups[chosen[0] if chosen else "parts"].append(path)
    return groups


def run_pytest(name, arguments, output=None):
    """Starts pytest; returns the process and the path of its JUnit file."""
    results = os.path.join(tree("test"), f"farm-{name}.xml")
    if os.path.exists(results):
        os.unlink(results)
    command = [pytest_python(), "-m", "pytest", "-p", "no:cacheprovider", "-ra", "--tb=short",
               "--durations=15", f"--junitxml={results}", *arguments]
    environment = dict(os.environ, FARMSYNC_BUILD=tree("test"), PYTHONDONTWRITEBYTECODE="1")
    environment.pop("FARM_DIR", None)
    return subprocess.Popen(command, cwd=paths.REPO, env=environment, stdin=subprocess.DEVNULL,
                            stdout=output, stderr=output), results


def stage_farm(options):
    setup.build(tree("test"), ("--enable-werror",), title="Building (gcc, warnings are errors)")
    chosen = [*(["-k", options.k] if options.k else []), *(["-x"] if options.x else [])]
    if chosen or options.paths:
        runs = [("", *run_pytest("chosen", [*chosen, *(options.paths or ["tests/farm"])]))]
    else:
        runs = []
        for name, files in split_farm(sorted(glob.glob(os.path.join(paths.REPO, "tests", "farm",
                                                                    "test_*.py")))).items():
            log = os.path.join(tree("test"), f"farm-{name}.out")
            with open(log, "wb") as output:
                runs.append((log, *run_pytest(name, files, output)))
    wait_for_farm(runs)
    counts, before = [], len(failures)
    for log, process, results in runs:
        if not os.path.exists(results):
            print(_text(log) if log else "", end="", flush=True)
            raise FarmError(f"pytest ended with status {process.returncode} and left no result")
        counts.append(count_junit(results))
    show_failures(failures[before:])
    for log, _, _ in runs:
        print(_text(log) if log else "", end="", flush=True)
    return add(counts)


def wait_for_farm(runs):
    """Until all have ended; meanwhile the file that each is at is told."""
    if not runs[0][0]:  # it shows its output itself
        runs[0][1].wait()
        return
    with step("Farm tests") as shown:
        while any(process.poll() is None for _, process, _ in runs):
            shown.say(", ".join((re.findall(r"^tests/farm/test_(\w+)\.py", _text(log), re.MULTILINE)
                                 or ["?"])[-1] for log, _, _ in runs))
            time.sleep(0.5)


def stage_dist(_):
    setup.build(tree("test"), ("--enable-werror",), title="Building (gcc, warnings are errors)")
    log = os.path.join(tree("test"), "distcheck.out")
    with step("make distcheck"), open(log, "wb") as output:
        done = subprocess.run(["make", f"-j{os.cpu_count() or 1}", "distcheck"], cwd=tree("test"),
                              stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                              check=False)
    if done.returncode:
        print(f"--- {log}\n" + "\n".join(_text(log).splitlines()[-40:]))
        failures.append(Failure("make distcheck", [line for line in _text(log).splitlines()
                                                   if re.search(r"error|Error|FAIL|\*\*\*", line)]))
    return Count(int(done.returncode == 0), int(done.returncode != 0), 0)


def parser():
    top = argparse.ArgumentParser(prog="scripts/test", formatter_class=argparse.
                                  RawDescriptionHelpFormatter, description=__doc__)
    top.add_argument("stages", metavar="STAGE", nargs="*", default=["all"],
                     help="all (default), quick (unit and check), or some of " + ", ".join(STAGES))
    top.add_argument("-k", metavar="EXPRESSION", help="only these farm tests, as for pytest")
    top.add_argument("-x", action="store_true", help="farm tests: stop at the first failure")
    top.add_argument("--paths", nargs="+", help="farm tests: these files only")
    return top


def run(options):
    wanted = []
    for name in options.stages:
        if name not in STAGES and name not in GROUPS:
            raise FarmError(f'there is no stage "{name}"; give all, quick, or some of '
                            + ", ".join(STAGES))
        wanted += [one for one in GROUPS.get(name, (name,)) if one not in wanted]
    setup.install_packages()
    results = {}
    for name in wanted:
        began = time.monotonic()
        print(f"=== {name}", flush=True)
        try:
            results[name] = globals()["stage_" + name](options)
        except FarmError as error:
            print(error)
            failures.append(Failure(name, str(error).splitlines()))
            results[name] = Count(0, 1, 0)
        count = results[name]
        print(f"=== {name}: {count.passed} passed, {count.failed} failed, {count.skipped} skipped, "
              f"{time.monotonic() - began:.0f} s", flush=True)
    total = add(list(results.values()))
    show_failures(failures)
    print(f"{total.passed} passed, {total.failed} failed")
    return 1 if total.failed else 0


def main():
    try:
        return run(parser().parse_args())
    except FarmError as error:
        print(f"scripts/test: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
