# SPDX-License-Identifier: Apache-2.0
"""A web server of the farm: Debian's httpd, run directly with its own ServerRoot and our module.

    FARM_DIR/web1/conf/httpd.conf     written anew at each `up`
                  conf/extra/*.conf   yours; kept (tests put theirs here)
                  htdocs/             pages
                  logs/error.log
                  run/                pid file, and run/farmsync: the agent's StateDir
"""

import glob
import os
import signal
import subprocess

from . import paths, proc
from .errors import FarmError
from .part import Part, http_get, wait_until

MPMS = ("event", "prefork", "worker")
MODULES = ("authz_core", "alias", "dir", "mime", "headers", "setenvif", "rewrite", "include",
           "status", "env", "lua")

CONF = """\
# Written by scripts/farm; put your own lines into conf/extra/*.conf and run
#   scripts/farm graceful {name}
ServerRoot "{root}"
DefaultRuntimeDir run
PidFile run/httpd.pid
Listen 127.0.0.1:{port}
ServerName 127.0.0.1:{port}
ErrorLog logs/error.log
LogLevel notice farmsync:info
{user}
{modules}
LoadModule farmsync_module "{module}"
{session_modules}
# {mpm} MPM, for one small machine
ServerLimit {server_limit}
{limits}
MaxConnectionsPerChild 0
GracefulShutdownTimeout 10
Timeout 30
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 15

TypesConfig conf/mime.types
DocumentRoot "{root}/htdocs"
<Directory "{root}/htdocs">
    Options +Includes
    Require all granted
    AddOutputFilter INCLUDES .shtml
    DirectoryIndex index.html
</Directory>

# --- the farm
FarmSyncServer        {name}
FarmSyncAgent         "{agent}"
FarmSyncStateDir      run/farmsync
FarmSyncDatabase      "{etc}/agent.cnf"
{data_servers}
FarmSyncAgentLogLevel info
FarmSyncKeyFile       "{etc}/farm.key"
FarmSyncListen        127.0.0.1:{agent_port}
{peers}
FarmSyncVersionHeader On
FarmSyncApplication   sample-shop /shop.shtml
# The page depends on nothing but the farm's data, which it reads through farmsync.
<Location "/shop.shtml">
    FarmSyncReuse On
    FarmSyncReuseWait 1000
    Header set FarmSync-Depends ""
</Location>
<Location "/farmsync/status">
    SetHandler farmsync-status
</Location>
<Location "/farmsync/data">
    SetHandler farmsync-data
</Location>
<Location "/server-status">
    SetHandler server-status
</Location>

{session_places}
{routing}
IncludeOptional conf/extra/*.conf
"""

SESSION_MODULES = """\
LoadModule session_module "{modules}/mod_session.so"
LoadModule request_module "{modules}/mod_request.so"
LoadModule session_farmsync_module "{module}"
"""

# A page that counts a visitor's visits in his session; any language can do it by these two.
VISITS = "/visits"
SESSION_PLACES = """\
LuaMapHandler "^/visits$" "{root}/htdocs/visits.lua"
<Location "/visits">
    Session On
    SessionEnv On
    SessionHeader X-Replace-Session
    SessionFarmSyncCookieName visitor path=/
    SessionFarmSyncAck {ack}
</Location>
"""

# A visitor who reaches another server than his home is sent on to it through mod_proxy.
ROUTING = """\
LoadModule proxy_module "{modules}/mod_proxy.so"
LoadModule proxy_http_module "{modules}/mod_proxy_http.so"
LoadModule proxy_farmsync_module "{module}"
{switch}
FarmSyncRouteBy       proxy
FarmSyncCapacity      {capacity}
FarmSyncRouteURL      http://127.0.0.1:{port}
"""

LIMITS = {
    "event": (4, "StartServers 2\nThreadsPerChild 25\nMinSpareThreads 25\nMaxSpareThreads 75\n"
                 "MaxRequestWorkers 100"),
    "worker": (4, "StartServers 2\nThreadsPerChild 25\nMinSpareThreads 25\nMaxSpareThreads 75\n"
                  "MaxRequestWorkers 100"),
    "prefork": (100, "StartServers 8\nMinSpareServers 8\nMaxSpareServers 32\n"
                     "MaxRequestWorkers 100"),
}

MIME_TYPES = "text/html html htm shtml\ntext/plain txt\ntext/css css\napplication/json json\n"

PAGES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "htdocs")


class WebServer(Part):
    kind = "web"

    @property
    def number(self):
        return int(self.name[len("web"):])

    @property
    def agent_name(self):
        return f"agent{self.number}"

    # --- files
    def write(self):
        """Lays out the server's directory and writes its configuration."""
        user = self.farm.user
        for part in ("conf/extra", "htdocs", "logs", "run"):
            os.makedirs(os.path.join(self.directory, part), exist_ok=True)
        os.makedirs(os.path.join(self.directory, "run", "farmsync"), exist_ok=True)
        user.give(os.path.join(self.directory, "run", "farmsync"), 0o750)
        self.farm.write_file(f"{self.name}/conf/mime.types", MIME_TYPES)
        self.farm.write_file(f"{self.name}/conf/httpd.conf", self.configuration())
        for page in sorted(os.listdir(PAGES)):
            with open(os.path.join(PAGES, page), encoding="utf-8") as file:
                self.farm.write_file(f"{self.name}/htdocs/{page}",
                                     file.read().replace("@SERVER@", self.name))

    def configuration(self):
        user = self.farm.user
        mpm = self.record["mpm"]
        server_limit, limits = LIMITS[mpm]
        modules = self._load_modules(mpm)
        return CONF.format(
            name=self.name, root=self.directory, port=self.port, mpm=mpm,
            etc=os.path.join(self.farm.directory, "etc"),
            user=f"User {user.name}\nGroup {user.group}" if user.is_root else "",
            modules=modules, module=self.farm.binary("mod_farmsync.so"),
            agent=self.farm.binary("farmsync-agent"), server_limit=server_limit, limits=limits,
            data_servers=self._data_servers(), session_modules=self._session_modules(),
            agent_port=self.record["agent_port"], peers=self._peers(),
            session_places=self._session_places(modules), routing=self._routing())

    def _routing(self):
        if not self.farm.routing:
            return ""
        capacities, place = self.farm.routing, self.farm.state.get("routed")
        switch = "FarmSyncRoute         On" if not place else \
            f'<Location "{place}">\n    FarmSyncRoute On\n</Location>'
        return ROUTING.format(modules=paths.httpd_modules(), port=self.port, switch=switch,
                              module=self.farm.binary("mod_proxy_farmsync.so"),
                              capacity=capacities[(self.number - 1) % len(capacities)])

    def _session_modules(self):
        if not self.farm.sessions:
            return ""
        return SESSION_MODULES.format(modules=paths.httpd_modules(),
                                      module=self.farm.binary("mod_session_farmsync.so"))

    def _session_places(self, modules):
        if not self.farm.sessions or "lua_module" not in modules:
            return ""
        return SESSION_PLACES.format(root=self.directory, ack=min(1, len(self.farm.datasrvs)))

    def _peers(self):
        """The agents of all other web servers."""
        return "\n".join(f"FarmSyncPeer          127.0.0.1:{other.record['agent_port']}"
                         for other in self.farm.webs if other.name != self.name)

    def _data_servers(self):
        """Each server begins with another one, so that they share the work."""
        urls = [one.url for one in self.farm.datasrvs]
        first = (self.number - 1) % len(urls) if urls else 0
        return "\n".join(f"FarmSyncDataServer    {url}" for url in urls[first:] + urls[:first])

    @staticmethod
    def _load_modules(mpm):
        directory = paths.httpd_modules()
        lines = []
        for name in (f"mpm_{mpm}", *MODULES):
            path = os.path.join(directory, f"mod_{name}.so")
            if os.path.exists(path):
                lines.append(f'LoadModule {name}_module "{path}"')
            elif name != "lua":
                raise FarmError(f"httpd's {path} is missing; install the package apache2")
        return "\n".join(lines)

    def log_path(self):
        return os.path.join(self.directory, "logs", "error.log")

    # --- processes
    def httpd(self, *arguments):
        return [paths.program("apache2", "httpd"), "-d", self.directory, "-f",
                os.path.join(self.directory, "conf", "httpd.conf"), *arguments]

    def command(self):
        return self.httpd("-D", "FOREGROUND")

    def spawn(self):
        # A pid file left by kill -9 would make httpd warn, or refuse if the pid is in use again.
        for path in glob.glob(os.path.join(self.directory, "run", "httpd.pid")):
            os.unlink(path)
        super().spawn()

    def ready(self):
        """
        Its own page: one of the application would make whoever asks a visitor of the farm. There is none
        while the module isn't loaded.
        """
        try:
            return http_get(self.url + "/farmsync/status?json", timeout=2)[0] in (200, 404)
        except OSError:
            return False

    def graceful(self):
        self._need_process()
        self._check_configuration()
        before = self._generation()
        proc.send(self.process, signal.SIGUSR1)
        wait_until(lambda: self._generation() != before, 60,
                   f"{self.name} to restart gracefully")

    def _check_configuration(self):
        """As apachectl does: httpd ends when it is restarted with a configuration that is wrong."""
        done = subprocess.run(self.httpd("-t"), cwd=self.directory, env=self.environment(),
                              text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            raise FarmError(f"{self.name} goes on with its old configuration; correct the new one:\n"
                            + done.stdout.strip())

    def _generation(self):
        """httpd's restart counter, as mod_status gives it."""
        try:
            body = http_get(self.url + "/server-status?auto", timeout=5)[2].decode()
        except OSError:
            return None
        for line in body.splitlines():
            if line.startswith("ParentServerConfigGeneration:"):
                return line
        return None

    def children(self):
        """The request processes (the agent is not one of them)."""
        return [one for one in proc.children(self.process) if not self._is_agent(one)]

    @staticmethod
    def _is_agent(process):
        stat = proc.read_stat(process.pid)
        return stat is not None and stat.name.startswith("farmsync-agent"[:15])

    def agent_process(self):
        """The agent's process, or None; it is a child of the httpd parent, or an orphan of one."""
        for one in self.processes():
            if self._is_agent(one):
                return one
        return None

    def version(self):
        """The farm's version that a request gets here, as FarmSync-Version says; None if none."""
        value = http_get(self.url + "/farmsync/data")[1].get("FarmSync-Version", "")
        for item in value.split(","):
            group, _, version = item.strip().partition("=")
            if group == "default" and version.isdigit():
                return int(version)
        return None


class Agent(Part):
    """The agent of a web server, by its own name. The httpd parent starts it, nobody else."""

    kind = "agent"

    def __init__(self, web):
        super().__init__(web.farm, web.agent_name, {})
        self.web = web

    @property
    def process(self):
        return self.web.agent_process()

    @property
    def mark(self):
        return f"{self.farm.directory}:{self.name} is known by its process only"

    def state(self):
        if self.pid is None:
            return "stopped" if self.web.pid is None else "dead"
        return "paused" if proc.paused(self.process) else "running"

    def log_path(self):
        return self.web.log_path()

    def start(self, seconds=30):
        raise FarmError(f"{self.name} is started by {self.web.name}'s httpd and by nobody else; "
                        f"scripts/farm start {self.web.name}, or continue {self.name} if it is "
                        f"paused")

    def stop(self):
        """SIGTERM; the httpd parent starts a new one."""
        self._need_process()
        process = self.process
        proc.send(process, signal.SIGTERM)
        proc.send(process, signal.SIGCONT)
        if proc.wait_gone([process], 10):
            proc.send(process, signal.SIGKILL)

    def kill(self):
        self._need_process()
        process = self.process
        proc.send(process, signal.SIGKILL)
        proc.wait_gone([process], 5)
        return 1
