# SPDX-License-Identifier: Apache-2.0
"""A whole farm by deltas: servers get what changed, not the image, and serve the same as ever."""

import re

import pytest

import agreeing
from farmlib.part import wait_until

ROWS = 3000


@pytest.fixture(scope="module")
def farm(farms):
    made = farms.create(servers=2, datasrv=1, interval=1)
    agreeing.put_page(made)
    made.up()
    agreeing.load(made, extra_rows=ROWS)
    agreeing.wait_stamp(made, 1)
    return made


def fetched(web):
    """(transferred, of them as deltas, bytes) of each version that this server fetched."""
    with open(web.log_path(), encoding="utf-8", errors="replace") as file:
        return [tuple(map(int, found)) for found in re.findall(
            r"FS0590: .*?(\d+) transferred, (\d+) of them as deltas \((\d+) bytes in all\)", file.read())]


def test_servers_receive_what_changed(farm):
    for stamp in range(100, 104):
        agreeing.change(farm, stamp)
        agreeing.wait_stamp(farm, stamp)
    for web in farm.webs:
        whole = max(size for _, _, size in fetched(web))
        later = fetched(web)[-4:]
        assert all(transferred == deltas == 3 for transferred, deltas, _ in later), fetched(web)
        assert all(size < whole / 20 for _, _, size in later), fetched(web)


def test_server_that_was_away_gets_one_delta(farm):
    """Several versions behind, but not more than datasrv keeps: one delta from what it had."""
    away = farm.web(2)
    away.stop()
    before = len(fetched(away))
    for stamp in (200, 201):
        agreeing.change(farm, stamp)
        agreeing.wait_stamp(farm, stamp, [farm.web(1)])
    away.start()
    agreeing.wait_stamp(farm, 201, [away])
    wait_until(lambda: len(fetched(away)) > before, 60, "the version to be fetched")
    transferred, deltas, _ = fetched(away)[before]
    assert (transferred, deltas) == (3, 3), fetched(away)[before:]
