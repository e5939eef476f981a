# SPDX-License-Identifier: Apache-2.0
"""One httpd with mod_farmsync and no agent: tests/tools/fs_publish stands in for it.

httpd runs as httpd's own user when the tests are run as root, so that ownership is tested too.
"""

import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts"))

from farmlib import paths, ports, proc  # noqa: E402

MODULES = ("authz_core", "alias", "dir", "mime", "headers", "setenvif", "rewrite", "include",
           "status", "env", "lua", "deflate", "filter")
DEADLINE_S = 40
USER = "www-data" if os.geteuid() == 0 else None


def as_httpd_user():
    """Arguments of Popen for a process that runs as httpd does."""
    if not USER:
        return {}
    entry = pwd.getpwnam(USER)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def wait_for(condition, what):
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, f"waited {DEADLINE_S} s in vain for {what}"
        time.sleep(0.02)


def crashes(log):
    """
    Lines of processes of httpd that ended by a signal. But for those that its own event MPM ends so, seldom, as
    it stops or restarts at once: the main thread aborts the sockets that workers have, and reads one that its
    worker has just given back (apr_os_sock_get, called by close_worker_sockets).
    """
    found, before = [], {}
    for line in log.splitlines():
        parent = re.search(r"\[pid (\d+)", line)
        parent = parent and parent.group(1)
        if "Segmentation fault" in line and parent:
            before.setdefault(parent, []).append(line)
        elif "exit signal" in line or "Segmentation" in line:
            found.append(line)
        elif parent in before:
            lines = before.pop(parent)
            found += [] if "mpm_event" in line and re.search(r"AH00491|AH00494", line) else lines
    return found + sum(before.values(), [])


class Publisher:
    """tests/tools/fs_publish: answers are checked."""

    def __init__(self, state_dir):
        self.process = subprocess.Popen([paths.built("tests/tools/fs_publish"), state_dir],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        **as_httpd_user())

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        assert answer.startswith("ok"), f"{line}: {answer}"
        return answer[3:]

    def version(self, number, rows, group="default"):
        """Publishes a version whose datasets have these rows: {"prices": ["sku-1|9.99", ...]}."""
        for name, lines in rows.items():
            for line in lines:
                self.say(f"row {name} {line}")
        return int(self.say(f"version {group} {number}"))

    def close(self):
        self.process.stdin.close()
        self.process.wait(DEADLINE_S)
        self.process.stdout.close()


class Answer:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def text(self):
        return self.body.decode()

    @property
    def json(self):
        return json.loads(self.body)


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *unused):
        return None


def exchange(request):
    """(status, headers, body) of whatever is answered."""
    opener = urllib.request.build_opener(NoRedirect, urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=DEADLINE_S) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


class LoneHttpd:
    def __init__(self, mpm, settings="", locations="", modules=(), agent="none"):
        self.directory = tempfile.mkdtemp(prefix="farmsync-httpd-")
        os.chmod(self.directory, 0o755)
        self.state = os.path.join(self.directory, "state")
        os.mkdir(self.state)
        if USER:
            shutil.chown(self.state, USER, USER)
        self.mpm, self.settings, self.locations, self.agent = mpm, settings, locations, agent
        self.modules = modules
        self.port = ports.take(1)[0]
        os.mkdir(os.path.join(self.directory, "htdocs"))
        self.process = None
        self.configure()

    def path(self, *names):
        return os.path.join(self.directory, *names)

    def configure(self, extra=""):
        where = paths.httpd_modules()
        loads = []
        for name in (f"mpm_{self.mpm}",) + MODULES + tuple(self.modules):
            path = os.path.join(where, f"mod_{name}.so")
            if os.path.exists(path):
                loads.append(f'LoadModule {name}_module "{path}"')
        # before the modules that it works with, as Debian's alphabetical order has it
        loads.insert(1, f'LoadModule farmsync_module "{paths.built("mod_farmsync/mod_farmsync.so")}"')
        user = f"User {USER}\nGroup {USER}\n" if USER else ""
        with open(self.path("httpd.conf"), "w", encoding="utf-8") as file:
            file.write(f"""
ServerRoot "{self.directory}"
ServerName 127.0.0.1
Listen 127.0.0.1:{self.port}
DefaultRuntimeDir "{self.directory}"
PidFile httpd.pid
TypesConfig /dev/null
ErrorLog error.log
LogLevel notice farmsync:debug
{user}{chr(10).join(loads)}
StartServers 2
MaxConnectionsPerChild 0
GracefulShutdownTimeout 5
DocumentRoot "{self.directory}/htdocs"
<Directory "{self.directory}/htdocs">
    Require all granted
    Options +Includes
    AddOutputFilter INCLUDES .shtml
</Directory>
FarmSyncServer web1
FarmSyncStateDir "{self.state}"
FarmSyncAgent "{self.agent}"
{self.settings}
<Location "/farmsync/data">
    SetHandler farmsync-data
</Location>
<Location "/farmsync/status">
    SetHandler farmsync-status
</Location>
<Location "/server-status">
    SetHandler server-status
</Location>
{self.locations}
{extra}
""")

    def arguments(self, *more):
        return [paths.program("apache2", "httpd"), "-d", self.directory, "-f",
                self.path("httpd.conf"), *more]

    def environment(self):
        return dict(os.environ, **getattr(self, "env", {}))

    def run(self, *arguments):
        """httpd with arguments such as -t: its output and exit status."""
        done = subprocess.run(self.arguments(*arguments), text=True, capture_output=True,
                              timeout=DEADLINE_S, check=False, env=self.environment())
        return done.returncode, done.stdout + done.stderr

    def start(self, how="-DFOREGROUND"):
        before = self.runs()
        with open(self.path("stderr"), "ab") as stderr:
            # A session of its own: prefork ends its whole process group when it stops.
            self.process = subprocess.Popen(self.arguments(how), stderr=stderr,
                                            env=self.environment(), start_new_session=True)
        wait_for(self.answers, "httpd to answer: " + self.log())
        if how != "-X":  # it listens before it minds signals: one that comes between ends it at once
            wait_for(lambda: self.answers() and self.runs() > before, "httpd to run: " + self.log())

    def runs(self):
        """How often it has begun to run, restarts included."""
        return self.log().count("resuming normal operations")

    def answers(self):
        assert self.process.poll() is None, self.log()
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False

    def log(self):
        text = ""
        for name in ("stderr", "error.log"):
            if os.path.exists(self.path(name)):
                with open(self.path(name), encoding="utf-8", errors="replace") as file:
                    text += file.read()
        return text

    def get(self, path, headers=None, method="GET"):
        return Answer(*exchange(urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method,
                                                       headers=headers or {})))

    def children(self):
        """Process ids of the request processes."""
        pid = self.process.pid
        with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as file:
            found = file.read().split()
        return {int(pid) for pid in found}

    def processor_seconds(self):
        """Processor time that the request processes have used so far."""
        ticks = 0
        for pid in self.children():
            with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                fields = file.read().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def graceful(self):
        """A graceful restart, done when children of the new generation are there."""
        before = self.runs()
        self.process.send_signal(signal.SIGUSR1)
        wait_for(lambda: self.runs() > before, "the restart")

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(DEADLINE_S)

    def kill(self):
        """All its processes at once, without a word. A child that is still ending has the port."""
        group = self.process.pid
        os.killpg(group, signal.SIGKILL)
        self.process.wait(DEADLINE_S)
        wait_for(lambda: not proc.group(group), "the processes of httpd to end")

    def remove(self):
        self.stop()
        ports.release([self.port])
        wait_for(self._removed, "the agent to end, which still writes to its directory")

    def _removed(self):
        try:
            shutil.rmtree(self.directory)
        except FileNotFoundError:
            return not os.path.exists(self.directory)
        except OSError:
            return False
        return True
