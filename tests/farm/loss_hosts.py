# SPDX-License-Identifier: Apache-2.0
"""A farm of web and bank servers as real processes, each on a host of its own (netns.py).

web1, web2, ... are httpd with its agent, ds1, ds2, ... are datasrv; the database is on the clients'
side of the bridge. What is done to them is what happens to servers: they die, stand still, come back
empty or with what they had long ago, don't hear somebody, run out of disk.
"""

import contextlib
import os
import secrets
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts"))

from farmlib import counter, paths, proc  # noqa: E402
from farmlib.mariadb import MariaDB  # noqa: E402
from farmlib.part import Part, http_get, tail, wait_until  # noqa: E402
from farmlib.user import RunAs  # noqa: E402

import netns  # noqa: E402

WEB_PORT, AGENT_PORT, DATASRV_PORT = 8080, 4480, 4470
DISK_MB = 200
FLUSH_MS = 200
MODES = ("ack0", "ack1", "ack2")

WEB_CONF = """\
ServerRoot "{root}"
DefaultRuntimeDir run
PidFile run/httpd.pid
Listen {address}:{port}
ServerName {address}
ErrorLog logs/error.log
LogLevel notice farmsync:info session_farmsync:info
User {user}
Group {group}
{modules}
ServerLimit 2
StartServers 2
ThreadsPerChild 16
MinSpareThreads 16
MaxSpareThreads 32
MaxRequestWorkers 32
GracefulShutdownTimeout 2
Timeout 10
KeepAlive On
DocumentRoot "{root}/htdocs"
<Directory "{root}/htdocs">
    Require all granted
</Directory>
FarmSyncServer        {name}
FarmSyncAgent         "{agent}"
FarmSyncStateDir      "{root}/state"
FarmSyncDatabase      "{etc}/agent.cnf"
{data_servers}
FarmSyncAgentLogLevel info
FarmSyncKeyFile       "{etc}/farm.key"
FarmSyncListen        {address}:{agent_port}
{peers}
SessionFarmSyncFlush  {flush}
<Location "/">
    Session On
    SessionFarmSyncCookieName session path=/
    SessionFarmSyncOnUnknown 503
</Location>
{modes}
<Location "/farmsync/status">
    SetHandler farmsync-status
    Session Off
</Location>
"""

MODE = """\
<Location "/ack{copies}">
    SetHandler counter
    SessionFarmSyncAck {copies}
</Location>
"""

DATASRV_CONF = """\
Name      {name}
Listen    {address}:{port}
Database  {etc}/datasrv.cnf
KeyFile   {etc}/farm.key
ImageDir  {directory}/images
SessionDir {directory}/bank
{peers}
PidFile   {directory}/logs/datasrv.pid
LogFile   {directory}/logs/datasrv.log
LogLevel  info
"""


class Ground:
    """What outlives the farms of a run: directory, database, namespaces, programs."""

    def __init__(self, directory, webs, datasrvs):
        self.directory = directory
        self.user = RunAs()
        self.hosts = {}
        self.database = None
        os.chmod(directory, 0o755)
        for number in range(1, webs + 1):
            self._host(f"web{number}", f"10.77.0.{10 + number}")
        for number in range(1, datasrvs + 1):
            self._host(f"ds{number}", f"10.77.0.{100 + number}")
        self.etc = os.path.join(directory, "etc")
        os.makedirs(self.etc)
        self.counter = counter.build(directory)
        self._start_database()
        self.secret("farm.key", f"k1 {secrets.token_hex(32)}\n")

    def _host(self, name, address):
        self.hosts[name] = netns.Host(name, address)

    def secret(self, name, text):
        path = os.path.join(self.etc, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        self.user.give(path, 0o600)

    def _start_database(self):
        self.database = MariaDB(os.path.join(self.directory, "db"), args=["--bind-address=0.0.0.0"])
        self.database.start()
        self.database.run_file(os.path.join(paths.SQL_DIR, "install.sql"))
        for account in ("agent", "datasrv"):
            password = secrets.token_hex(16)
            self.database.sql(f"CREATE USER farm_{account}@'%' IDENTIFIED BY '{password}';"
                              f"GRANT farmsync_{account} TO farm_{account}@'%';"
                              f"SET DEFAULT ROLE farmsync_{account} FOR farm_{account}@'%';")
            self.secret(f"{account}.cnf", f"[farmsync]\nhost={netns.HUB}\nport={self.database.port}\n"
                        f"user=farm_{account}\npassword={password}\n")

    def save(self):
        """Parts call it; nothing of them is kept."""

    def close(self):
        if self.database:
            self.database.stop()
        for host in self.hosts.values():
            host.close()


class Server(Part):
    """A part on a host of its own."""

    disk = ""  # the directory whose file system can be filled

    def __init__(self, farm, name):
        super().__init__(farm, name, {"port": self.number_of_port})
        self.host = farm.ground.hosts[name]
        for one in ("logs", *self.directories):
            path = os.path.join(self.directory, one)
            os.makedirs(path, exist_ok=True)
            farm.user.give(path, 0o755)
        self.mount()

    def mount(self):
        netns.small_disk(os.path.join(self.directory, self.disk), DISK_MB, self.farm.user.uid,
                         self.farm.user.gid)

    def unmount(self):
        netns.unmount(os.path.join(self.directory, self.disk))

    @property
    def url(self):
        return f"http://{self.host.address}:{self.port}"

    # --- what happens to it
    def wipe(self):
        """Everything that it had on its disk is gone."""
        self.unmount()
        self.mount()

    def fill_disk(self):
        return netns.fill(os.path.join(self.directory, self.disk))

    def isolate(self):
        """It hears nobody but clients; what it says is heard."""
        self.host.lose_from(*(one.host for one in self.farm.servers() if one is not self))

    def heal(self):
        self.host.heal()
        filler = os.path.join(self.directory, self.disk, "filler")
        if os.path.exists(filler):
            os.unlink(filler)


class Web(Server):
    kind = "web"
    number_of_port = WEB_PORT
    directories = ("htdocs", "run", "state")
    disk = "state"

    def write(self):
        farm = self.farm
        modules = paths.httpd_modules()
        loads = [f'LoadModule {one}_module "{modules}/mod_{one}.so"'
                 for one in ("mpm_event", "authz_core", "session", "request")]
        loads += [f'LoadModule farmsync_module "{paths.built("mod_farmsync/mod_farmsync.so")}"',
                  "LoadModule session_farmsync_module "
                  f'"{paths.built("mod_farmsync/mod_session_farmsync.so")}"',
                  f'LoadModule counter_module "{farm.ground.counter}"']
        text = WEB_CONF.format(
            root=self.directory, name=self.name, address=self.host.address, port=WEB_PORT,
            user=farm.user.name, group=farm.user.group, modules="\n".join(loads),
            agent=paths.built("farmsync-agent"), etc=farm.ground.etc, agent_port=AGENT_PORT,
            data_servers="\n".join(f"FarmSyncDataServer {one.url}" for one in farm.datasrvs),
            peers="\n".join(f"FarmSyncPeer {one.host.address}:{AGENT_PORT}"
                            for one in farm.webs if one is not self),
            flush=FLUSH_MS, modes="".join(MODE.format(copies=mode[3:]) for mode in MODES))
        with open(os.path.join(self.directory, "httpd.conf"), "w", encoding="utf-8") as file:
            file.write(text)
        with open(os.path.join(self.directory, "htdocs", "index.html"), "w",
                  encoding="utf-8") as file:
            file.write(self.name)

    def command(self):
        return self.host.inside(paths.program("apache2", "httpd"), "-d", self.directory, "-f",
                                os.path.join(self.directory, "httpd.conf"), "-DFOREGROUND")

    def spawn(self):
        pid_file = os.path.join(self.directory, "run", "httpd.pid")
        if os.path.exists(pid_file):
            os.unlink(pid_file)
        super().spawn()

    def ready(self):
        try:
            return http_get(self.url + "/index.html", timeout=2)[0] == 200
        except OSError:
            return False

    def agent_socket(self):
        return os.path.join(self.directory, "state", "agent.sock")


class DataSrv(Server):
    kind = "datasrv"
    number_of_port = DATASRV_PORT
    directories = ("images", "bank")
    disk = "bank"

    def write(self):
        peers = "\n".join(f"Peer {one.url}" for one in self.farm.datasrvs if one is not self)
        with open(os.path.join(self.directory, "datasrv.conf"), "w", encoding="utf-8") as file:
            file.write(DATASRV_CONF.format(
                name=self.name, address=self.host.address, port=DATASRV_PORT,
                etc=self.farm.ground.etc, directory=self.directory, peers=peers))

    def command(self):
        user = self.farm.user
        return self.host.inside("-S", str(user.uid), "-G", str(user.gid), "--",
                                paths.built("datasrv/datasrv"), "-c",
                                os.path.join(self.directory, "datasrv.conf"))

    def log_path(self):
        return os.path.join(self.directory, "logs", "datasrv.log")

    def ready(self):
        try:
            return http_get(self.url + "/healthz", timeout=2)[0] in (200, 503)
        except OSError:
            return False

    def remember(self):
        """Keeps a copy of its bank as it is now, to come back with."""
        self.pause()
        copy(os.path.join(self.directory, "bank"), os.path.join(self.directory, "old"))
        self.resume()

    def forget(self):
        """Its bank becomes what it was when it last had to remember."""
        self.wipe()
        copy(os.path.join(self.directory, "old"), os.path.join(self.directory, "bank"))


def copy(source, target):
    """All files with their owners; holes stay holes."""
    os.makedirs(target, exist_ok=True)
    subprocess.run(["cp", "-a", "--sparse=always", source + "/.", target], check=True)


class HostFarm:
    """One farm, fresh; below a directory of its own, on the ground's hosts."""

    def __init__(self, ground, directory):
        self.ground, self.user, self.directory = ground, ground.user, directory
        os.makedirs(directory)
        os.chmod(directory, 0o755)
        self.webs = [Web(self, name) for name in ground.hosts if name.startswith("web")]
        self.datasrvs = [DataSrv(self, name) for name in ground.hosts if name.startswith("ds")]
        for one in self.servers():
            one.write()

    def save(self):
        """Parts call it; nothing of them is kept."""

    def servers(self):
        return [*self.webs, *self.datasrvs]

    def up(self):
        for one in self.servers():
            one.spawn()
        for one in self.servers():
            wait_until(one._ready_or_dead, 60, f"{one.name} to answer",
                       lambda one=one: tail(one.log_path()))

    def down(self):
        for one in self.servers():
            if one.processes():
                proc.kill_tree(one.mark, one.process)
            one.unmount()
            with contextlib.suppress(netns.Unavailable):  # its namespace may be gone
                one.host.heal()
