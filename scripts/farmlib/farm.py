# SPDX-License-Identifier: Apache-2.0
"""The farm: its directory, its state file, its parts.

    FARM_DIR/farm.json   what was started: names, ports, pids with their start times
             bin/        copies of what was built, so that a new build doesn't disturb a running farm
             etc/        accounts (option files) and the farm key
             db1/ ds1/ web1/ ...   one directory a part
             log/        standard output of each part

Everything is below FARM_DIR; removing it after `down` leaves nothing behind.
"""

import concurrent.futures
import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import weakref

from . import paths, ports, proc
from .balancer import Balancer
from .database import Database
from .dataserver import DataServer
from .errors import FarmError
from .httpd import MPMS, Agent, WebServer
from .part import tail, wait_until
from .progress import step
from .user import RunAs

FORMAT = 1
DEFAULT_DIR = os.path.join(paths.REPO, ".farm")
DEFAULT_INTERVAL_S = 10  # to play with; farmsync's own default is 600
BINARIES = {"mod_farmsync.so": "mod_farmsync/mod_farmsync.so",
            "farmsync-agent": "farmsync-agent",
            "datasrv": "datasrv/datasrv"}
SESSION_BINARIES = {"mod_session_farmsync.so": "mod_farmsync/mod_session_farmsync.so"}
ROUTING_BINARIES = {"mod_proxy_farmsync.so": "mod_farmsync/mod_proxy_farmsync.so"}


class Farm:
    def __init__(self, directory=None):
        self.user = RunAs()
        self.asked = os.path.abspath(directory or os.environ.get("FARM_DIR") or DEFAULT_DIR)
        self.directory = os.path.realpath(self.asked)
        self.state = None
        self.webs, self.datasrvs, self.database, self.balancer = [], [], None, None

    # --- state file
    @property
    def state_path(self):
        return os.path.join(self.directory, "farm.json")

    @classmethod
    def existing(cls, directory=None):
        """The farm in this directory; FarmError if there is none."""
        farm = cls(directory)
        if not farm.load():
            raise FarmError(f"there is no farm in {farm.directory}; scripts/farm up starts one "
                            f"(--dir names another directory)")
        return farm

    def load(self):
        try:
            with open(self.state_path, encoding="utf-8") as file:
                state = json.load(file)
        except FileNotFoundError:
            return False
        except (ValueError, PermissionError) as error:
            raise FarmError(f"{self.state_path} can't be read ({error}); is it another user's "
                            f"farm?") from error
        if state.get("format") != FORMAT:
            raise FarmError(f"{self.state_path} is not of this version of scripts/farm; "
                            f"remove {self.directory}")
        self._take(state)
        return True

    def _take(self, state):
        self.state = state
        self.database = Database(self, "db1", state["parts"]["db1"])
        self.datasrvs = [DataServer(self, name, record) for name, record in state["parts"].items()
                         if name.startswith("ds")]
        self.webs = [WebServer(self, name, record) for name, record in state["parts"].items()
                     if name.startswith("web")]
        self.balancer = Balancer(self, "lb1", state["parts"]["lb1"]) if "lb1" in state["parts"] \
            else None

    def save(self):
        temporary = f"{self.state_path}.{os.getpid()}"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(self.state, file, indent=1)
            file.write("\n")
        os.replace(temporary, self.state_path)

    @contextlib.contextmanager
    def lock(self):
        """One command at a time changes a farm."""
        self._make_directory()
        with open(os.path.join(self.directory, ".lock"), "a", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                with step("Waiting for another scripts/farm on this farm"):
                    fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @property
    def sessions(self):
        """Whether its web servers keep sessions, and its data servers the bank."""
        return bool(self.state and self.state.get("sessions"))

    @property
    def routing(self):
        """How many visitors each web server can be home to; None if they don't route."""
        return self.state.get("routing") if self.state else None

    # --- parts
    def parts(self):
        return [self.database, *self.datasrvs, *self.webs,
                *([self.balancer] if self.balancer else [])]

    def part(self, name):
        """By name: db1, ds1, web1, agent1 (the agent of web1), ..."""
        for one in self.parts():
            if one.name == name:
                return one
        for web in self.webs:
            if web.agent_name == name:
                return Agent(web)
        names = [one.name for one in self.parts()] + [web.agent_name for web in self.webs]
        raise FarmError(f'this farm has no part "{name}"; it has ' + ", ".join(names))

    def web(self, number):
        return self.part(f"web{number}")

    def datasrv(self, number):
        return self.part(f"ds{number}")

    def running(self):
        return [one for one in self.parts() if one.processes()] if self.state else []

    def sql(self, statements, database="farmsync"):
        """Runs SQL as the farm's administrator; rows as lists of text (None for NULL)."""
        return self.database.sql(statements, database)

    # --- files
    def write_file(self, relative, text, mode=0o644):
        path = os.path.join(self.directory, relative)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path + ".new", mode)
        os.replace(path + ".new", path)
        return path

    def write_secret(self, relative, text):
        """A file that only root and the farm's account can read."""
        path = self.write_file(relative, text, 0o600)
        self.user.give(path, 0o600)
        return path

    def binary(self, name):
        return os.path.join(self.directory, "bin", name)

    def copy_binaries(self):
        os.makedirs(os.path.join(self.directory, "bin"), exist_ok=True)
        wanted = {**BINARIES, **(SESSION_BINARIES if self.sessions else {}),
                  **(ROUTING_BINARIES if self.routing else {})}
        for name, relative in wanted.items():
            source, target = paths.built(relative), self.binary(name)
            if os.path.exists(target) and _same(source, target):
                continue
            shutil.copy2(source, target + ".new")
            os.chmod(target + ".new", 0o755)
            os.replace(target + ".new", target)

    # --- up and down
    def create(self, servers=3, datasrv=2, interval=DEFAULT_INTERVAL_S, base_port=None,
               mpm="event", sessions=False, routing=None, routed=None):
        """
        Lays out a farm that isn't started yet, or takes up the one that is in the directory.
        `mpm` may be a list, given to the servers in turn; so is `routing`, the visitors that a
        server can be home to, with a balancer before them that knows nothing of it; `routed` is
        the path below which visitors have homes, everywhere if it is None.
        """
        mpms = checked_mpms(mpm)
        self.check_place()
        self._make_directory()
        self.load()
        kept = self.state["parts"] if self.state else {}
        names = [*(f"web{n}" for n in range(1, servers + 1)),
                 *(f"ds{n}" for n in range(1, datasrv + 1)), "db1",
                 *(["lb1"] if routing else [])]
        agents = [f"agent{n}" for n in range(1, servers + 1)]
        numbers = self._numbers([*names, *agents], kept, base_port)
        parts = {}
        for name in names:
            parts[name] = {**kept.get(name, {}), "port": numbers[name]}
            if name.startswith("web"):
                parts[name]["mpm"] = mpms[(int(name[3:]) - 1) % len(mpms)]
                parts[name]["agent_port"] = numbers["agent" + name[3:]]
        self._take({"format": FORMAT, "interval": interval, "sessions": sessions,
                    "routing": routing, "routed": routed, "parts": parts})
        self._write_all()
        self.save()

    def _numbers(self, names, kept, base_port):
        """Ports by name: those that it had, if they are free, and new ones."""
        if base_port is not None:
            return dict(zip(names, ports.take(len(names), base_port)))
        had = {name: part["port"] for name, part in kept.items()}
        had.update((f"agent{name[3:]}", part["agent_port"]) for name, part in kept.items()
                   if "agent_port" in part)
        own = {name for part in self.running() for name in (part.name, f"agent{part.name[3:]}")}
        new = [name for name in names
               if name not in had or (name not in own and not ports.is_free(had[name]))]
        taken = ports.take(len(new))
        weakref.finalize(self, ports.release, taken)
        return {**had, **dict(zip(new, taken))}

    def check_place(self):
        """Says what is wrong with the directory that was asked for."""
        if any(one in self.directory for one in '"\n$#\\'):
            raise FarmError(f"the directory {self.directory!r} has a character in its name that "
                            f"configuration files can't carry; give another --dir")
        if not os.path.exists(self.directory):
            return
        if os.stat(self.directory).st_uid != os.geteuid():
            raise FarmError(f"{self.directory} belongs to another user; give another --dir")
        blocked = self.user.blocked_at(self.directory)
        if blocked and os.listdir(self.directory):
            raise FarmError(
                f"{blocked} can't be entered by {self.user.name}, the account that httpd runs as "
                f"when root starts it, and {self.directory} isn't empty; give another --dir (such "
                f"as /var/tmp/farm), or run scripts/farm as an ordinary user")

    def _make_directory(self):
        """
        The farm's directory. Where httpd's account can't get at the one that was asked for (in
        /root, say), it becomes a symbolic link to one below /var/tmp.
        """
        if self.user.blocked_at(self.directory):
            name = hashlib.sha256(self.asked.encode()).hexdigest()[:12]
            elsewhere = f"/var/tmp/farmsync-{name}"
            os.makedirs(elsewhere, mode=0o755, exist_ok=True)
            if os.path.islink(elsewhere) or os.stat(elsewhere).st_uid != os.geteuid():
                raise FarmError(f"{elsewhere} belongs to another user; give another --dir")
            if os.path.isdir(self.asked):
                os.rmdir(self.asked)
            os.makedirs(os.path.dirname(self.asked), exist_ok=True)
            os.symlink(elsewhere, self.asked)
            self.directory = elsewhere
        os.makedirs(self.directory, exist_ok=True)
        os.chmod(self.directory, 0o755)

    def _write_all(self):
        etc = os.path.join(self.directory, "etc")
        os.makedirs(etc, exist_ok=True)
        os.chmod(etc, 0o755)
        if not os.path.exists(os.path.join(etc, "farm.key")):
            self.write_secret("etc/farm.key", f"k1 {secrets.token_hex(32)}\n")
        self.copy_binaries()
        for part in self.parts():
            part.write()

    def up(self, progress=step):
        """Starts everything that doesn't run; ready when every server knows the farm's time."""
        with progress("Starting the database"):
            if self.database.pid is None:
                self.database.start()
                self.database.record["prepared"] = False
            if not self.database.record.get("prepared"):  # never under the feet of a running farm
                self.database.prepare()
                self.database.record["prepared"] = True
        if self.state["interval"]:
            self.sql(f"CALL farmsync.set_interval('default', {int(self.state['interval'])})")
        with progress("Starting the data servers"):
            for one in self.datasrvs:
                if one.pid is None:
                    one.start()
        with progress("Starting the web servers"):
            for one in self.webs:
                if one.pid is None:
                    one.start()
            for one in self.webs:
                self.wait_member(one.name)
        if self.balancer and self.balancer.pid is None:
            with progress("Starting the balancer"):
                self.balancer.start()

    def wait_member(self, name, seconds=60):
        """Waits until a server has reported its clock to the database."""
        query = (f"SELECT COUNT(*) FROM farmsync.member WHERE name = '{name}' "
                 f"AND clock_bound_us IS NOT NULL AND seen > UTC_TIMESTAMP(6) - INTERVAL 10 SECOND")
        part = self.part(name)
        wait_until(lambda: self.sql(query)[0][0] != "0", seconds,
                   f"{name} to report to the farm", pace=0.1,
                   evidence=lambda: f"--- end of {part.log_path()}\n{tail(part.log_path())}")

    def down(self):
        """Stops everything; a recycled pid is never touched. Ends what was lost sight of as well."""
        for group in ([self.balancer] if self.balancer else [], self.webs, self.datasrvs,
                      [self.database]):
            with concurrent.futures.ThreadPoolExecutor() as pool:
                list(pool.map(self._end, group))
        self.save()

    @staticmethod
    def _end(part):
        part.record["stopped"] = True
        if part.process is not None or part.processes():
            proc.end_tree(part.mark, part.process, part.stop_seconds)

    def remove(self):
        """Removes the directory of a farm that is down."""
        if self.running():
            raise FarmError(f"the farm in {self.directory} is up; scripts/farm down stops it")
        shutil.rmtree(self.directory)
        if os.path.islink(self.asked):
            os.unlink(self.asked)


def checked_mpms(mpm):
    """A list of MPMs from a list or a text with commas."""
    mpms = mpm.split(",") if isinstance(mpm, str) else list(mpm)
    for one in mpms:
        if one not in MPMS:
            raise FarmError(f'there is no MPM "{one}"; give one of ' + ", ".join(MPMS))
    return mpms


def _same(one, other):
    first, second = os.stat(one), os.stat(other)
    return first.st_size == second.st_size and first.st_mtime == second.st_mtime
