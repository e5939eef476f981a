# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the farm tests: real farms through scripts/farmlib, one a module.

A module says what farm it wants in a constant FARM = dict(servers=2, mpm="event", ...), the arguments
of Farm.create. Waiting is always for a condition with a deadline (farmlib.part.wait_until), and every
test has a limit of its own: 300 s, or what @pytest.mark.limit(seconds) says if that is more. When it is passed, all
stacks are printed and the test fails. When a test fails, the ends of the farm's logs are shown; of a
long error its beginning and its end.
"""

import faulthandler
import os
import shutil
import signal
import sys
import tempfile

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from farmlib import mariadb, setup  # noqa: E402
from farmlib.farm import Farm  # noqa: E402
from farmlib.part import tail  # noqa: E402

LIMIT_S = 300  # for what hangs: a busy machine must not come near it
LINES = 40  # of an error that are shown
LONG = os.environ.get("FARMSYNC_TEST_LONG") == "1"  # the durations that the issue names


class TooLong(BaseException):
    """Not an Exception, so that no test can swallow it."""


def pytest_configure(config):
    config.addinivalue_line("markers", "limit(seconds): fail the test after so long")


def _too_long(_number, _frame):
    faulthandler.dump_traceback(file=sys.__stderr__)
    raise TooLong("the test took longer than its limit")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item, nextitem):
    """The limit covers the fixtures, too, so that a farm that hangs at its start ends the test."""
    marker = item.get_closest_marker("limit")
    previous = signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(max(LIMIT_S, marker.args[0] if marker else 0))
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def _shorten(report):
    """A page or a log in an assertion hides all that comes after it."""
    for entry in getattr(getattr(report.longrepr, "reprtraceback", None), "reprentries", []):
        if len(entry.lines) > LINES:
            entry.lines[LINES // 2:-LINES // 2] = [f"E   ... ({len(entry.lines) - LINES} lines)"]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        _shorten(report)
    if not report.failed or call.when not in ("setup", "call"):
        return
    for farm in item.session.__dict__.get("_farms", []):
        for part in farm.parts():
            if part.kind != "db":
                report.sections.append((f"end of the log of {part.name} ({part.state()})",
                                        tail(part.log_path(), 30)))
        farm.failed = True
    for server in mariadb.started:
        if server.running():
            report.sections.append((f"end of the log of {server.name} in {server.dir}",
                                    server.log_tail(40)))


@pytest.fixture(scope="session", autouse=True)
def _built():
    setup.ensure_built()


class FarmFactory:
    """Makes farms below one short-named directory (socket paths are limited) and ends them."""

    def __init__(self, session):
        self.farms = session.__dict__.setdefault("_farms", [])
        self.own = []

    def create(self, **options):
        """Lays out a farm without starting it."""
        directory = tempfile.mkdtemp(prefix="fsfarm-", dir="/tmp")
        farm = Farm(directory)
        farm.failed = False
        options = {"servers": 2, "datasrv": 1, "interval": 1, **options}
        try:
            farm.create(**options)
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise
        self.farms.append(farm)
        self.own.append(farm)
        return farm

    def up(self, **options):
        farm = self.create(**options)
        farm.up()
        return farm

    def end(self):
        for farm in self.own:
            self.farms.remove(farm)
            try:
                farm.down()
            finally:
                keep = os.environ.get("FARMSYNC_TEST_KEEP") == "1"
                if farm.failed and keep:
                    print(f"kept: {farm.directory}")
                else:
                    shutil.rmtree(farm.directory, ignore_errors=True)


@pytest.fixture(scope="module")
def farms(request):
    factory = FarmFactory(request.session)
    yield factory
    factory.end()


@pytest.fixture(scope="module")
def farm(request, farms):
    """The module's farm, up, without data."""
    return farms.up(**getattr(request.module, "FARM", {}))
