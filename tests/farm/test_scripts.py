# SPDX-License-Identifier: Apache-2.0
"""scripts/farm itself: its command line, and that it only ever signals what it started."""

import glob
import os
import signal
import socket
import subprocess
import sys

import pytest

from farmlib import catalogue, paths, ports, proc
from farmlib.database import unescape
from farmlib.errors import FarmError
from farmlib.farm import Farm
from farmlib.prober import Bounds, Seen, violations
from farmlib.testing import split_farm

SCRIPT = os.path.join(paths.REPO, "scripts", "farm")


def run(*arguments):
    environment = {key: value for key, value in os.environ.items() if key != "FARM_DIR"}
    return subprocess.run([SCRIPT, *arguments], text=True, capture_output=True, env=environment,
                          check=False, timeout=60)


@pytest.mark.parametrize("arguments, remedy", [
    (("up", "--servers", "0"), "whole number from 1"),
    (("up", "--interval", "-1"), "whole number"),
    (("up", "--mpm", "threads"), "event, prefork, worker"),
    (("up", "--base-port", "65530"), "give one between"),
    (("frobnicate",), "invalid choice"),
    (("status", "--dir", "/nonexistent/farm"), "scripts/farm up starts one"),
    ((), "required"),
])
def test_bad_arguments_name_the_remedy(arguments, remedy):
    done = run(*arguments)
    assert done.returncode != 0
    assert remedy in done.stderr
    assert "Traceback" not in done.stderr


def test_a_base_port_in_use_is_refused():
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        with pytest.raises(FarmError, match="in use"):
            ports.take(1, busy.getsockname()[1])


def test_ports_are_free_and_different():
    assert ports.take(0) == []
    taken = ports.take(20)
    assert len(set(taken)) == 20
    ports.release(taken)


def test_a_port_that_was_taken_is_nobody_elses_until_its_server_is_up():
    taken = ports.take(1)
    assert ports.is_free(taken[0])
    try:
        with socket.socket() as other, pytest.raises(OSError):
            other.bind(("127.0.0.1", taken[0]))
        with socket.create_server(("127.0.0.1", taken[0])) as server:  # sets SO_REUSEADDR
            with socket.create_connection(server.getsockname()):
                pass
    finally:
        ports.release(taken)


def test_a_recycled_pid_is_not_signalled():
    with subprocess.Popen(["sleep", "60"]) as child:
        real = proc.identify(child.pid)
        earlier = proc.Process(real.pid, real.start - 1)
        assert not proc.alive(earlier)
        assert not proc.send(earlier, signal.SIGKILL)
        assert proc.alive(real)
        assert proc.send(real, signal.SIGKILL)
    assert not proc.alive(real)


def test_a_killed_tree_leaves_no_orphan():
    mark = f"test:{os.getpid()}"
    script = "import subprocess,time; subprocess.Popen(['sleep','60']); print(1,flush=True); " \
             "time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE,
                          env={**os.environ, proc.PART_VARIABLE: mark}) as child:
        assert child.stdout.readline()
        root = proc.identify(child.pid)
        tree = proc.members(mark, root)
        assert len(tree) == 2
        os.kill(child.pid, signal.SIGKILL)  # the parent alone: its child is an orphan now
        child.wait()
        assert len(proc.members(mark, root)) == 1
        proc.kill_tree(mark, None)
        assert not proc.wait_gone(tree, 30)


def test_a_paused_tree_continues():
    with subprocess.Popen(["sleep", "60"]) as child:
        root = proc.identify(child.pid)
        assert proc.pause_tree("none", root) == 1
        assert proc.paused(root)
        proc.continue_tree("none", root)
        assert not proc.paused(root)
        child.kill()


def test_client_output_is_read_back():
    assert unescape("NULL") is None
    assert unescape(r"a\tb\\n\n") == "a\tb\\n\n"


def test_the_catalogue_keeps_one_record_a_name():
    lines = ["Package: a", "Version: 2", "Size: 12", "Section: web", "Description: one", " more", " .",
             " end", "", "Package: a", "Version: 1", "", "Package: b"]
    assert list(catalogue.parse(lines)) == [("a", "2", "web", 12, "one\nmore\n\nend"),
                                            ("b", "", "", 0, "")]
    assert catalogue.quote("it's \\") == "'it\\'s \\\\'"


@pytest.mark.parametrize("last_old, first_new, broken", [
    (-100, 50, 0), (99, 150, 0), (101, 150, 1), (-300, -151, 1), (101, -151, 2), (0, -149, 0)])
def test_the_judge_of_a_switch_can_say_no(last_old, first_new, broken):
    seen = [Seen(0, 7, last_old, last_old + 10, first_new - 10, first_new)]
    assert len(violations(seen, {(0, 7): Bounds(90, 140)}, 10)) == broken


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has httpd change its account")
def test_a_directory_that_httpd_cannot_enter_is_kept_elsewhere(tmp_path):
    """Such as the default one in a source tree below /root."""
    tmp_path.chmod(0o700)
    farm = Farm(str(tmp_path / "farm"))
    with farm.lock():
        assert farm.directory.startswith("/var/tmp/farmsync-")
        assert os.path.realpath(tmp_path / "farm") == farm.directory
        assert Farm(str(tmp_path / "farm")).directory == farm.directory
    farm.remove()
    assert not os.path.lexists(tmp_path / "farm") and not os.path.exists(farm.directory)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(FarmError, match="isn't empty"):
        Farm(str(tmp_path / "full")).check_place()


def test_every_farm_test_runs_in_one_of_the_processes():
    found = sorted(glob.glob(os.path.join(paths.REPO, "tests", "farm", "test_*.py")))
    groups = split_farm(found)
    assert sorted(one for group in groups.values() for one in group) == found and all(groups.values())
