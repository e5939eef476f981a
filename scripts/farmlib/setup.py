# SPDX-License-Identifier: Apache-2.0
"""From a fresh Debian to a built tree: packages, autoreconf, configure, make.

Each step is left out if there is nothing to do. A lock makes it safe to run twice at once, in any
two of scripts/farm, scripts/test and scripts/bench.
"""

import contextlib
import fcntl
import os
import re
import shutil
import subprocess

from . import paths
from .errors import FarmError
from .progress import step

# Debian starts a server as soon as its package is installed. The farm runs its own on its own ports,
# so that is forbidden meanwhile in Debian's way, unless the machine has its own policy.
INSTALL_WITHOUT_STARTING = """
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap 'rm -f $policy' EXIT
    printf '#!/bin/sh\\nexit 101\\n' > $policy && chmod 755 $policy
fi
DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
"""
PACKAGES = os.path.join(paths.REPO, "scripts", "packages.txt")


def listed_packages(path=PACKAGES):
    with open(path, encoding="utf-8") as file:
        lines = [line.split("#")[0].strip() for line in file]
    return [line for line in lines if line]


def missing_packages(names):
    """Those that dpkg doesn't have installed; none at all on a system without dpkg."""
    if not shutil.which("dpkg-query"):
        return []
    answer = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *names],
                            text=True, capture_output=True, check=False)
    present = {line.split()[0] for line in answer.stdout.splitlines()
               if line.endswith(" installed")}
    return [name for name in names if name not in present]


def install_packages(names=None):
    """Installs what is missing, as root or by sudo without a question; else says what to run."""
    missing = missing_packages(names or listed_packages())
    if not missing:
        return
    install = ["sh", "-c", INSTALL_WITHOUT_STARTING, "sh", *missing]
    update = ["apt-get", "update"]
    if os.geteuid() != 0:
        sudo = shutil.which("sudo")
        if not sudo or subprocess.run([sudo, "-n", "true"], capture_output=True,
                                      check=False).returncode != 0:
            raise FarmError("these packages are missing; install them and run this again:\n"
                            "  sudo apt-get install -y --no-install-recommends "
                            + " ".join(missing))
        install, update = [sudo, "-n", *install], [sudo, "-n", *update]
    title = f"Installing {len(missing)} packages"
    if not _run(title, install, quiet=True):
        _run("Reading package lists", update)
        _run(title, install)


def _run(title, command, environment=None, directory=None, quiet=False):
    """Runs a command with its latest line shown; its output is shown whole if it fails."""
    with step(title) as shown:
        lines = []
        with subprocess.Popen(command, cwd=directory, env=environment, text=True, errors="replace",
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT) as process:
            for line in process.stdout:
                lines.append(line)
                shown.say(line)
        if process.returncode == 0:
            return True
    if quiet:
        return False
    raise FarmError(f"{title} failed (exit status {process.returncode}): {' '.join(command)}\n"
                    + "".join(lines[-40:]).rstrip())


@contextlib.contextmanager
def locked(path):
    """Holds an exclusive lock on a file; says so if it has to wait."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with step("Waiting for another build of this tree"):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _autotools_inputs():
    """configure.ac, Makefile.am and every fragment that it includes."""
    found, pending = [os.path.join(paths.REPO, "configure.ac")], ["Makefile.am"]
    while pending:
        path = os.path.join(paths.REPO, pending.pop())
        found.append(path)
        with open(path, encoding="utf-8") as file:
            pending += re.findall(r"^include\s+(\S+)", file.read(), re.MULTILINE)
    return found


def _older(path, inputs):
    """Whether `path` is absent or older than one of the inputs."""
    try:
        made = os.stat(path).st_mtime
    except FileNotFoundError:
        return True
    return any(os.stat(one).st_mtime > made for one in inputs if os.path.exists(one))


def build(directory=paths.BUILD, options=(), targets=("all",), environment=None, title="Building"):
    """
    autoreconf, configure and make, as far as needed. `options` go to configure; a build tree of one's
    own (FARMSYNC_BUILD) is taken as it was configured.
    """
    if os.environ.get("FARMSYNC_BUILD") and directory == paths.BUILD:
        _run(title, ["make", f"-j{os.cpu_count() or 1}", *targets], directory=directory)
        return
    os.makedirs(directory, exist_ok=True)
    with locked(os.path.join(directory, ".lock")):
        _autoreconf()
        wanted = " ".join(options) + "\n" + repr(sorted((environment or {}).items()))
        stamp = os.path.join(directory, ".configured")
        if not os.path.exists(os.path.join(directory, "config.status")) or _text(stamp) != wanted:
            _run("Configuring", [os.path.join(paths.REPO, "configure"), *options],
                 dict(os.environ, **(environment or {})), directory)
            with open(stamp, "w", encoding="utf-8") as file:
                file.write(wanted)
        _run(title, ["make", f"-j{os.cpu_count() or 1}", *targets], directory=directory)


def _autoreconf():
    with locked(os.path.join(paths.REPO, "build-aux", ".lock")):
        if _older(os.path.join(paths.REPO, "configure"), _autotools_inputs()[:1]) or \
                _older(os.path.join(paths.REPO, "Makefile.in"), _autotools_inputs()):
            _run("Making configure", ["autoreconf", "-fi"], directory=paths.REPO)


def _text(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None


def ensure_built():
    """What scripts/farm needs: packages to build and run, and a built tree."""
    if os.environ.get("FARMSYNC_BUILD"):
        return
    install_packages(run_packages())
    build()


def run_packages():
    """The packages that building and running need, without those for tests and benchmarks."""
    names = []
    with open(PACKAGES, encoding="utf-8") as file:
        for line in file:
            if line.startswith("# --- test"):
                break
            name = line.split("#")[0].strip()
            if name:
                names.append(name)
    return names
