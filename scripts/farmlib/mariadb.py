# SPDX-License-Identifier: Apache-2.0
"""A private MariaDB server, and a Galera cluster of them, for the farm and the tests.

Everything of a server lies below one directory (data, socket, log, pid file, settings), so that any
process may take hold of it again with MariaDB(directory): `scripts/farm` is a new process for each
command. It reads no option file of the system, listens on 127.0.0.1 only, on a port of its own, and
runs as whoever starts it. The only account of a new server is root, through the socket, which lies in
a directory that nobody else may enter.
"""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import time
import weakref

from . import ports

GALERA_PROVIDERS = (
    "/usr/lib/galera/libgalera_smm.so",
    "/usr/lib/libgalera_smm.so",
    "/usr/lib64/galera-4/libgalera_smm.so",
    "/usr/lib64/galera/libgalera_smm.so",
)
SOCKET_PATH_MAX = 100  # sun_path holds 107 bytes and a NUL
READY_TIMEOUT = 120
# Settings that a test machine wants; durable against the death of the process, not of the machine.
SERVER_ARGS = [
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--skip-log-bin",
    "--character-set-server=utf8mb4",
    "--innodb-buffer-pool-size=256M",
    "--innodb-log-file-size=96M",
    "--innodb-flush-log-at-trx-commit=2",
    "--max-connections=300",
    "--performance-schema=OFF",
]

started = weakref.WeakSet()  # by this process, whose tests show the ends of their logs


class SqlError(Exception):
    """What the client said; `code` is the server's error number, 0 if it gave none."""

    def __init__(self, text):
        super().__init__(text)
        self.code = 0
        words = text.split()
        if len(words) > 1 and words[0] == "ERROR" and words[1].isdigit():
            self.code = int(words[1])


def find_program(*names):
    """First of the names that is installed, also where ordinary users' PATH doesn't look."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin:/usr/libexec"
    for name in names:
        found = shutil.which(name, path=path)
        if found:
            return found
    raise FileNotFoundError("%s is not installed (Debian: mariadb-server)" % " or ".join(names))


def find_galera():
    for path in GALERA_PROVIDERS:
        if os.path.exists(path):
            return path
    raise FileNotFoundError("libgalera_smm.so is not installed (Debian: galera-4)")


class MariaDB:
    """One server. `directory` is made if it isn't there; an existing one is taken over as it is."""

    def __init__(self, directory, port=0, args=(), name="db1"):
        self.dir = os.path.abspath(directory)
        self.datadir = os.path.join(self.dir, "data")
        self.log = os.path.join(self.dir, "error.log")
        self.pidfile = os.path.join(self.dir, "mariadbd.pid")
        self._settings = os.path.join(self.dir, "server.json")
        # A server removes all temporary tables from its directory for them when it starts: also those of
        # other servers, if they share it.
        self.tmpdir = os.path.join(self.dir, "tmp")
        self._child = None
        os.makedirs(self.tmpdir, mode=0o700, exist_ok=True)
        os.chmod(self.dir, 0o700)
        if os.path.exists(self._settings):
            with open(self._settings, encoding="utf-8") as f:
                kept = json.load(f)
            self.name, self.port = kept["name"], kept["port"]
            self.socket, self.args = kept["socket"], kept["args"]
        else:
            self.name = name
            self.port = port or self._take_port()
            self.socket = os.path.join(self.dir, "mariadb.sock")
            if len(self.socket) > SOCKET_PATH_MAX:
                self.socket = os.path.join(tempfile.mkdtemp(prefix="farmsync-db-"), "s")
            self.args = list(args)
            self._save()

    def _take_port(self):
        taken = ports.take(1)
        weakref.finalize(self, ports.release, taken)
        return taken[0]

    def _save(self):
        with open(self._settings, "w", encoding="utf-8") as f:
            json.dump(
                {
                    "name": self.name,
                    "port": self.port,
                    "socket": self.socket,
                    "args": self.args,
                },
                f,
                indent=1,
            )

    # --- life ---------------------------------------------------------------------------------

    def _user_args(self):
        """Root's servers run as root, so that they may lie anywhere; but the rsync of a Galera state
        transfer gives root's rights away, so the nodes run as the account of Debian's own server."""
        if os.geteuid() != 0:
            return []
        return ["--user=mysql" if self.is_galera() else "--user=root"]

    def _own(self):
        """Hands the directory to the account that the server runs as."""
        if os.geteuid() == 0 and self.is_galera():
            shutil.chown(self.dir, "mysql", "mysql")
            shutil.chown(self.tmpdir, "mysql", "mysql")
            above = os.path.dirname(self.dir)
            while above != os.sep:
                if not os.stat(above).st_mode & stat.S_IXOTH:
                    raise PermissionError("%s must be open (o+x) for the account mysql" % above)
                above = os.path.dirname(above)

    def init(self):
        """Makes the data directory unless it is there. Takes some seconds."""
        self._own()
        if os.path.isdir(os.path.join(self.datadir, "mysql")):
            return self
        with open(os.path.join(self.dir, "install.log"), "wb") as log:
            done = subprocess.run(
                [
                    find_program("mariadb-install-db", "mysql_install_db"),
                    "--no-defaults",
                    "--datadir=" + self.datadir,
                    "--tmpdir=" + self.tmpdir,
                    "--auth-root-authentication-method=normal",
                    "--skip-test-db",
                ]
                + self._user_args(),
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if done.returncode:
            raise RuntimeError("mariadb-install-db failed; see %s/install.log" % self.dir)
        # Only root through the socket: no anonymous accounts, no root without a password over TCP.
        subprocess.run(
            [find_program("mariadbd", "mysqld"), "--no-defaults", "--bootstrap"]
            + ["--datadir=" + self.datadir, "--log-error=" + self.log, "--tmpdir=" + self.tmpdir]
            + self._user_args(),
            input=b"USE mysql;\nDELETE FROM global_priv WHERE User='' OR "
            b"(User='root' AND Host<>'localhost');\n",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        return self

    def start(self, extra=(), wait=True):
        """Starts the server; `extra` are arguments for this start only."""
        if self.running():
            return self
        started.add(self)
        self._child = None
        self.init()
        command = (
            [find_program("mariadbd", "mysqld"), "--no-defaults"]
            + [
                "--datadir=" + self.datadir,
                "--socket=" + self.socket,
                "--port=%d" % self.port,
                "--pid-file=" + self.pidfile,
                "--log-error=" + self.log,
                "--tmpdir=" + self.tmpdir,
            ]
            + SERVER_ARGS
            + self._user_args()
            + self.args
            + list(extra)
            + self._start_position()
        )
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd=self.dir,
        )
        # The server writes its pid file only when it is up; ours says whom to end before that.
        with open(self.pidfile + ".start", "w", encoding="utf-8") as f:
            f.write("%d\n" % self._child.pid)
        return self.wait_ready() if wait else self

    def wait_ready(self, timeout=READY_TIMEOUT):
        """Until it answers SQL (a Galera node: until it is synced)."""
        deadline = time.monotonic() + timeout
        query = "SELECT 1"
        if self.is_galera():
            query = (
                "SELECT 1 FROM information_schema.global_status WHERE "
                "variable_name='wsrep_local_state_comment' AND variable_value='Synced'"
            )
        while time.monotonic() < deadline:
            if not self.running():
                raise RuntimeError("%s ended at its start:\n%s" % (self.name, self.log_tail()))
            try:
                if self.sql(query) == "1":
                    return self
            except SqlError:
                pass
            time.sleep(0.05)
        raise RuntimeError("%s isn't ready after %d s:\n%s" % (self.name, timeout, self.log_tail()))

    def log_tail(self, lines=20):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as f:
                return "".join(f.readlines()[-lines:])
        except OSError:
            return "(no log)"

    def pid(self):
        """Process id of the running server, 0 if it isn't running. Never somebody else's process."""
        if self._child is not None and self._child.poll() is None:
            return self._child.pid
        for path in (self.pidfile, self.pidfile + ".start"):
            try:
                with open(path, encoding="utf-8") as f:
                    pid = int(f.read().strip() or 0)
                with open("/proc/%d/cmdline" % pid, "rb") as f:
                    if b"--datadir=" + self.datadir.encode() in f.read().split(b"\0"):
                        return pid
            except (OSError, ValueError):
                continue
        return 0

    def running(self):
        return self.pid() != 0

    def _signal(self, number):
        pid = self.pid()
        if pid:
            os.kill(pid, number)
        return pid

    def _wait_gone(self, timeout):
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if not self.running():
                return True
            time.sleep(0.02)
        return False

    def stop(self, timeout=60):
        """Ends it cleanly; what doesn't end in time is killed."""
        if self._signal(signal.SIGCONT):
            self._signal(signal.SIGTERM)
            if not self._wait_gone(timeout):
                self.kill()

    def kill(self):
        """kill -9: a crash of the database."""
        if self._signal(signal.SIGKILL):
            self._wait_gone(10)

    def pause(self):
        """SIGSTOP: connections stay open and nothing answers, as on a machine that hangs."""
        self._signal(signal.SIGSTOP)

    def resume(self):
        self._signal(signal.SIGCONT)

    # --- SQL ------------------------------------------------------------------------------------

    def client(self, *more):
        """Command of a client that is logged in as root, as a list."""
        return [
            find_program("mariadb", "mysql"),
            "--no-defaults",
            "--socket=" + self.socket,
            "--user=root",
            "--default-character-set=utf8mb4",
        ] + list(more)

    def sql(self, text, database=None, raw=True, timeout=300):
        """Runs statements; returns the rows as lines of tab-separated values. Raises SqlError."""
        more = ["--batch", "--skip-column-names"] + (["--raw"] if raw else [])
        if database:
            more.append("--database=" + database)
        done = subprocess.run(
            self.client(*more),
            input=text.encode(),
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            raise SqlError(done.stderr.decode(errors="replace").strip())
        return done.stdout.decode().rstrip("\n")

    def run_file(self, path, timeout=300):
        """Runs an SQL file with the client as a person would, in the file's directory (for SOURCE)."""
        path = os.path.abspath(path)
        with open(path, "rb") as f:
            done = subprocess.run(
                self.client("--batch"),
                stdin=f,
                capture_output=True,
                cwd=os.path.dirname(path),
                timeout=timeout,
                check=False,
            )
        if done.returncode:
            raise SqlError(done.stderr.decode(errors="replace").strip())
        return done.stdout.decode()

    # --- Galera -----------------------------------------------------------------------------------

    def is_galera(self):
        return "--wsrep-on=ON" in self.args

    def make_empty(self):
        """A data directory for a node that gets everything from the others."""
        self._own()
        os.makedirs(os.path.join(self.datadir, "mysql"), mode=0o700, exist_ok=True)
        if os.geteuid() == 0:
            shutil.chown(self.datadir, "mysql", "mysql")
            shutil.chown(os.path.join(self.datadir, "mysql"), "mysql", "mysql")

    def _start_position(self):
        """A node that died asks InnoDB how far it was, as galera_recovery does under systemd."""
        try:
            with open(os.path.join(self.datadir, "grastate.dat"), encoding="utf-8") as f:
                if not re.search(r"^seqno:\s*-1$", f.read(), re.MULTILINE):
                    return []
        except FileNotFoundError:
            return []
        log = os.path.join(self.dir, "recover.log")
        subprocess.run(
            [find_program("mariadbd", "mysqld"), "--no-defaults", "--wsrep-recover"]
            + ["--datadir=" + self.datadir, "--log-error=" + log, "--socket=" + self.socket]
            + ["--tmpdir=" + self.tmpdir]
            + self._user_args()
            + self.args,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        with open(log, encoding="utf-8", errors="replace") as f:
            found = re.findall(r"Recovered position:\s*(\S+)", f.read())
        return ["--wsrep-start-position=" + found[-1]] if found else []


def galera_args(listen, peers, ist_port, sst_port, incoming, cluster="farmsync"):
    """Arguments of one node; `peers` are the listen ports of all nodes."""
    options = (
        "gmcast.listen_addr=tcp://127.0.0.1:%d;base_host=127.0.0.1;ist.recv_addr=127.0.0.1:%d;"
        # A node that a busy machine lets stand still for some seconds is no dead one.
        "gcache.size=64M;evs.install_timeout=PT5S;evs.suspect_timeout=PT30S;evs.inactive_timeout=PT60S"
        % (listen, ist_port)
    )
    return [
        "--wsrep-on=ON",
        "--wsrep-provider=" + find_galera(),
        "--wsrep-provider-options=" + options,
        "--wsrep-cluster-name=" + cluster,
        "--wsrep-cluster-address=gcomm://" + ",".join("127.0.0.1:%d" % p for p in peers),
        "--wsrep-node-address=127.0.0.1",
        "--wsrep-node-name=db-%d" % listen,
        "--wsrep-node-incoming-address=127.0.0.1:%d" % incoming,
        "--wsrep-sst-method=rsync",
        "--wsrep-sst-receive-address=127.0.0.1:%d" % sst_port,
        "--wsrep-slave-threads=2",
        "--binlog-format=ROW",
        "--innodb-autoinc-lock-mode=2",
    ]


def start_galera(count, directory):
    """Starts a cluster of `count` nodes below `directory`; returns them, all synced."""
    find_program("rsync")
    numbers = ports.take(4 * count)
    listen = numbers[:count]
    nodes = []
    try:
        for i in range(count):
            sql, ist, sst = numbers[count + 3 * i : count + 3 * i + 3]
            node = MariaDB(
                os.path.join(directory, "node%d" % (i + 1)),
                port=sql,
                args=galera_args(listen[i], listen, ist, sst, sql),
                name="db%d" % (i + 1),
            )
            nodes.append(node)
            if i == 0:
                weakref.finalize(node, ports.release, numbers)
            else:
                node.make_empty()  # the state transfer fills it
            node.start(extra=["--wsrep-new-cluster"] if i == 0 else [])
    except BaseException:
        stop_all(nodes)
        raise
    return nodes


def stop_all(nodes):
    for node in reversed(nodes):
        node.stop()
