# SPDX-License-Identifier: Apache-2.0
"""
Promises 1 and 11: under load, with a switch every second, no page mixes versions and no request
fails; also while httpd is restarted gracefully every five seconds.
"""

import os
import re
import subprocess
import threading
import time

import pytest

import agreeing
from conftest import LONG
from farmlib import paths
from farmlib.prober import Prober

SECONDS = 60 if LONG else 12
SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "agree.lua")


@pytest.fixture(scope="module", params=["event", "prefork"])
def farm(farms, request):
    # prefork needs a child for each connection at once, also right after a restart; spawning them one,
    # two, four a second would let a connection wait for longer than the prober does.
    conf = "StartServers 32\nMinSpareServers 16\nMaxSpareServers 64\n"
    return agreeing.up(farms, servers=1, datasrv=1, interval=1, mpm=request.param,
                       conf=conf if request.param == "prefork" else "")


class Changer:
    """Changes the three tables ten times a second until it is stopped."""

    def __init__(self, farm):
        self.farm, self.count, self.error = farm, 0, None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def _run(self):
        try:
            while not self._stop.wait(0.1):
                self.count += 1
                agreeing.change(self.farm, 1000 + self.count)
        except Exception as error:  # pylint: disable=broad-except
            self.error = error

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        assert self.error is None


def wrk(url, seconds, connections=16):
    """Runs wrk with the checking script: (answers, failed, mixed, versions, text)."""
    answer = subprocess.run([paths.program("wrk"), "-t2", f"-c{connections}", f"-d{seconds}s",
                             "--timeout", "10s", "-s", SCRIPT, url], text=True,
                            capture_output=True, check=True, timeout=seconds + 60)
    found = re.search(r"answers=(\d+) failed=(\d+) mixed=(\d+) distinct=(\d+) socket=(\d+)",
                      answer.stdout)
    assert found, answer.stdout + answer.stderr
    return (*map(int, found.groups()), answer.stdout)


@pytest.mark.limit(60 + 2 * SECONDS)
def test_no_page_mixes_versions_and_none_fails(farm):
    with Changer(farm):
        answers, failed, mixed, distinct, socket, text = wrk(
            farm.web(1).url + agreeing.PAGE, SECONDS)
    print(text)
    assert mixed == 0
    assert failed == 0 and socket == 0
    assert answers > 20 * SECONDS
    assert distinct > 2  # there were switches, or the test shows nothing


@pytest.mark.limit(90 + 2 * SECONDS)
def test_graceful_restarts_lose_nothing(farm):
    """
    A restart closes idle connections, which a client may meet with its next request; the prober asks
    such a request again once (RFC 9110 9.2.2), as browsers do, and counts it apart.
    """
    web = farm.web(1)
    restarts = 0
    with Changer(farm):
        prober = Prober([web.url] * 16, path=agreeing.PAGE, rate=100,
                        options=["--agree", agreeing.AGREE])
        try:
            end = time.monotonic() + SECONDS
            while time.monotonic() < end or restarts < 2:
                time.sleep(min(5, SECONDS / 3))
                web.graceful()
                restarts += 1
        finally:
            prober.stop()
    print(f"{prober.answers} answers, {restarts} graceful restarts, "
          f"{sum(end['reconnects'] for end in prober.ends)} reconnects")
    assert prober.errors == []
    assert sum(end["mixed"] for end in prober.ends) == 0
    assert prober.failures == 0
    assert restarts >= 2
    assert prober.answers > 20 * SECONDS
