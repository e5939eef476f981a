# SPDX-License-Identifier: Apache-2.0
"""One httpd process under valgrind: no error with a frame of farmsync's own in it."""

import os
import re
import shutil
import signal
import subprocess

import pytest

import agreeing
from farmlib import proc
from farmlib.part import http_get, wait_until

START_S = 150  # valgrind is some thirty times slower, and machines are shared


def own_errors(text):
    """Valgrind's reports with a frame of farmsync in them."""
    blocks = re.split(r"\n==\d+== *\n", text)
    return [block for block in blocks if re.search(r"(mod_farmsync\.so|\bfs_\w+ \()", block)
            and re.search(r"Invalid|uninitialised|definitely lost|Mismatched|overlap", block)]


def test_the_judge_finds_our_frames_only():
    ours = "==7== Invalid read of size 4\n==7==    at 0x1: fs_image_find (fs_image_find.c:9)"
    theirs = "==7== Invalid read of size 4\n==7==    at 0x1: ap_run_handler (config.c:9)"
    assert own_errors(f"==7== Memcheck\n==7== \n{ours}\n==7== \n{theirs}\n==7== \n") == [ours]


@pytest.mark.limit(420)
@pytest.mark.skipif(not shutil.which("valgrind"), reason="valgrind is not installed")
def test_a_child_is_clean_under_valgrind(farms):
    farm = agreeing.up(farms, servers=1, datasrv=1, interval=1)
    web = farm.web(1)
    web.stop()
    log = os.path.join(farm.directory, "valgrind.%p")
    command = ["valgrind", "--leak-check=full", "--show-leak-kinds=definite", "--num-callers=30",
               "--child-silent-after-fork=yes", f"--log-file={log}", *web.httpd("-X")]
    with open(os.path.join(farm.directory, "log", "valgrind.out"), "wb") as output:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                 cwd=web.directory, env=web.environment(), start_new_session=True)
    root = proc.identify(child.pid)
    web.record.update(pid=root.pid, start=root.start, stopped=False)
    try:
        wait_until(web.ready, START_S, "httpd to answer under valgrind", pace=0.2)
        wait_until(lambda: agreeing.stamp_at(web) is not None, START_S, "data under valgrind",
                   pace=0.2)
        for stamp in (20, 21, 22):
            agreeing.change(farm, stamp)
            wait_until(lambda: agreeing.stamp_at(web) == stamp, START_S, f"stamp {stamp}",
                       pace=0.05)
            for path in (agreeing.PAGE, "/farmsync/data/ta", "/farmsync/data/ta/none",
                         "/farmsync/data/%zz", "/farmsync/status", "/farmsync/status?json",
                         "/farmsync/status?metrics", "/farmsync/status/health"):
                http_get(web.url + path, timeout=30)
    finally:
        os.kill(child.pid, signal.SIGTERM)
        try:
            child.wait(30)
        finally:
            proc.kill_tree(web.mark, web.process)
    text = ""
    for name in os.listdir(farm.directory):
        if name.startswith("valgrind."):
            with open(os.path.join(farm.directory, name), encoding="utf-8") as file:
                text += file.read()
    assert "ERROR SUMMARY" in text
    assert own_errors(text) == [], "\n\n".join(own_errors(text))
