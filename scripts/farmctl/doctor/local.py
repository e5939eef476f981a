# SPDX-License-Identifier: Apache-2.0
"""The httpd of this host, if it has mod_farmsync: its configuration, files and their owners."""

import os
import re
import shlex
import shutil
import stat
import subprocess

from ..text import clip, printable
from . import error, ok, skipped, warning

PROGRAMS = ("apachectl", "apache2ctl", "httpd")
PLACES = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/apache2/bin"
LOAD = "LoadModule farmsync_module modules/mod_farmsync.so"
TIMEOUT_S = 30


def find():
    path = os.environ.get("PATH", "") + ":" + PLACES
    return next(filter(None, (shutil.which(name, path=path) for name in PROGRAMS)), None)


def ask(command, *arguments):
    """(status, output) of httpd; OSError if it can't be run."""
    done = subprocess.run([*command, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=TIMEOUT_S, check=False)
    return done.returncode, done.stdout.decode("utf-8", "replace")


def check(patient):
    given = patient.options.apachectl
    command = shlex.split(given) if given else [find()]
    if not command or not command[0]:
        yield skipped("httpd", "there is no httpd on this host")
        return
    try:
        status, text = ask(command, "-t", "-D", "DUMP_FARMSYNC")
        _, run = ask(command, "-t", "-D", "DUMP_RUN_CFG")
    except (OSError, subprocess.SubprocessError) as failure:
        yield skipped("httpd", f"{command[0]} can't be run: {failure}")
        return
    if status != 0:
        words = clip(printable(" ".join(text.split())), 400)
        if given or "farmsync" in text.lower():
            yield error("httpd-configuration", f"httpd's configuration is wrong: {words}",
                        "correct it; apachectl configtest says when it is right")
        else:
            yield skipped("httpd", f"httpd's configuration can't be read here: {words}")
        return
    settings = dict(re.findall(r"^ {2}(FarmSync\w+) +(.+)$", text, re.MULTILINE))
    if not settings:
        if given:
            yield error("httpd-module", "httpd doesn't load mod_farmsync", f"add: {LOAD}")
        else:
            yield skipped("httpd", "the httpd of this host doesn't load mod_farmsync")
        return
    yield ok("httpd-module", "httpd loads mod_farmsync, as "
                             f"{printable(settings.get('FarmSyncServer'))}")
    yield from hints(text)
    yield from files(settings, account(run))


def hints(text):
    """What the module itself says of its settings."""
    for number, sentence in re.findall(r"^ {2}(FS\d{4}): (.+)$", text, re.MULTILINE):
        yield error("httpd-configuration", f"{number}: {printable(sentence)}", "do what it says")
    for sentence in re.findall(r"^ {2}hint: (.+)$", text, re.MULTILINE):
        yield warning("httpd-configuration", "httpd's configuration could be better",
                      printable(sentence))


def account(text):
    """(uid, gid) that httpd's children run as, or None if that isn't changed."""
    user = re.search(r'^User: .*?id=(\d+)', text, re.MULTILINE)
    group = re.search(r'^Group: .*?id=(\d+)', text, re.MULTILINE)
    if "not_used" in text or not user or not group:  # httpd isn't started by root
        return None
    return int(user[1]), int(group[1])


def files(settings, who):
    state = settings.get("FarmSyncStateDir", "")
    if os.path.isdir(state):
        owner = os.stat(state).st_uid
        if who is not None and owner not in (who[0],):
            yield error("state-directory", f"{state} belongs to the user {owner}, httpd runs as "
                                           f"{who[0]}",
                        f"chown -R {who[0]}:{who[1]} {state}")
        else:
            yield ok("state-directory", f"{state} belongs to httpd's user")
    else:
        yield warning("state-directory", f"{state} isn't there", "start httpd, which makes it")
    for name, secret in (("FarmSyncDatabase", True), ("FarmSyncKeyFile", True),
                         ("FarmSyncCAFile", False), ("FarmSyncCertificateFile", True)):
        path = settings.get(name, "(")
        if not path.startswith("("):
            yield from one_file(name, path, secret, who)
    agent = settings.get("FarmSyncAgent", "none")
    if agent != "none" and not os.access(agent, os.X_OK):
        yield error("agent", f"the agent's program {agent} isn't there or can't be run",
                    "make install, or name it with FarmSyncAgent")


def one_file(name, path, secret, who):
    try:
        found = os.stat(path)
    except OSError as failure:
        yield error("file", f"{name} {path}: "
                            f"{failure.strerror}", "correct the path, or make the file")
        return
    if who is not None and not readable(found, who):
        yield error("file", f"{name} {path} can't be read by httpd's user",
                    f"chgrp {who[1]} {path} && chmod 0640 {path}")
    elif secret and found.st_mode & (stat.S_IROTH | stat.S_IWOTH):
        yield error("file", f"{name} {path} holds a secret, and every user of this host can read "
                            "or change it", f"chmod 0640 {path}")
    else:
        yield ok("file", f"{name} {path}: right owner and mode")


def readable(found, who):
    if found.st_uid == who[0]:
        return bool(found.st_mode & stat.S_IRUSR)
    if found.st_gid == who[1]:
        return bool(found.st_mode & stat.S_IRGRP)
    return bool(found.st_mode & stat.S_IROTH)
