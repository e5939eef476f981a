# SPDX-License-Identifier: Apache-2.0
"""Where things are in the source tree and on the machine."""

import os
import shutil
import subprocess

from .errors import FarmError

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SQL_DIR = os.path.join(REPO, "sql")
# An out-of-tree build of one's own can be used instead of the one that the scripts make.
BUILD = os.path.abspath(os.environ.get("FARMSYNC_BUILD") or os.path.join(REPO, "build"))


def program(*names):
    """The first of these programs that is there; sbin is searched also for ordinary users."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin",
                            "/usr/local/bin", "/usr/bin", "/bin"])
    for name in names:
        found = shutil.which(name, path=path)
        if found:
            return found
    raise FarmError(f"the program {' or '.join(names)} was not found; "
                    f"install the packages in scripts/packages.txt")


def httpd_modules():
    """The directory of httpd's own modules, as apxs says."""
    answer = subprocess.run([program("apxs", "apxs2"), "-q", "LIBEXECDIR"], text=True,
                            capture_output=True, check=False)
    directory = answer.stdout.strip()
    if answer.returncode != 0 or not os.path.isdir(directory):
        raise FarmError("apxs did not say where httpd's modules are: "
                        + (answer.stderr.strip() or "install apache2-dev"))
    return directory


def built(relative):
    """A program or module of ours in the build tree; libtool keeps the real one in .libs."""
    directory, name = os.path.split(os.path.join(BUILD, relative))
    for candidate in (os.path.join(directory, ".libs", name), os.path.join(directory, name)):
        if os.path.isfile(candidate):
            return candidate
    raise FarmError(f"{relative} was not built; run scripts/farm build (or make -C {BUILD})")
