# SPDX-License-Identifier: Apache-2.0
"""Everything one can keep sessions of an httpd farm in, set up in a private directory on free ports.

A Site is one of them: what it is called, its web servers (all that serve the same visitors), and the
paths of the application, which is the same for all: mod_counter.c over mod_session, counter.php under
mod_php. Sites share servers where they can (one httpd with PHP serves all handlers of PHP).
"""

import http.client
import os
import re
import shutil
import sqlite3
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "..", "scripts"))
sys.dont_write_bytecode = True

from farmlib import counter, paths, ports, proc  # noqa: E402
from farmlib.farm import Farm  # noqa: E402
from farmlib.httpd import LIMITS, MIME_TYPES  # noqa: E402
from farmlib.mariadb import MariaDB  # noqa: E402
from farmlib.part import Part, http_get, wait_until  # noqa: E402
from farmlib.user import RunAs  # noqa: E402

HERE = os.path.dirname(os.path.realpath(__file__))
PAGE = "x" * 1024
MODULES = ("authz_core", "alias", "dir", "mime", "env")

CONF = """\
ServerRoot "{root}"
DefaultRuntimeDir run
PidFile run/httpd.pid
{listen}
ServerName 127.0.0.1
ErrorLog logs/error.log
LogLevel warn
{user}
{modules}
ServerLimit {server_limit}
{limits}
MaxConnectionsPerChild 0
GracefulShutdownTimeout 5
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 60
TypesConfig "{root}/mime.types"
DocumentRoot "{root}/htdocs"
<Directory "{root}/htdocs">
    Require all granted
</Directory>
{more}
"""

# What httpd's own configuration has, too.
STOCK = """\
<Directory "/">
    AllowOverride None
</Directory>
CustomLog logs/access.log "%h %l %u %t \\"%r\\" %>s %b"
"""

SESSION = """\
LoadModule session_module "{modules}/mod_session.so"
LoadModule request_module "{modules}/mod_request.so"
LoadModule counter_module "{counter}"
<Location "/counter">
    SetHandler counter
</Location>
"""


class Place:
    """The directory of a run: what parts need of a farm, without being one."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="fsbench-", dir="/tmp")
        os.chmod(self.directory, 0o755)
        self.user = RunAs()
        self.parts = []
        self.counter = counter.build(self.directory)
        self.sites = []

    def save(self):
        """Parts call it when they were started; nothing is kept."""

    def path(self, *names):
        return os.path.join(self.directory, *names)

    def own_directory(self, *names):
        """A directory that belongs to the account that the servers run as."""
        path = self.path(*names)
        os.makedirs(path, exist_ok=True)
        self.user.give(path, 0o755)
        return path

    def add(self, part):
        self.parts.append(part)
        part.start()
        return part

    def end(self):
        for site in reversed(self.sites):
            site.end()
        for part in reversed(self.parts):
            if part.processes():
                proc.end_tree(part.mark, part.process)
            ports.release([part.port])
        shutil.rmtree(self.directory, ignore_errors=True)


class Program(Part):
    """A server that answers on a port: memcached, redis, haproxy."""

    kind = "program"

    def __init__(self, place, name, arguments):
        super().__init__(place, name, {"port": ports.take(1)[0]})
        place.own_directory(name)
        self._arguments = arguments

    def command(self):
        return self._arguments(self)

    def popen_arguments(self):
        return self.farm.user.popen_arguments()

    def ready(self):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1)
            connection.connect()
            connection.close()
        except OSError:
            return False
        return True


class Httpd(Part):
    """One httpd; `more` is configuration after the common part."""

    kind = "web"

    def __init__(self, place, name, mpm="event", more="", listen=1):
        numbers = ports.take(listen)
        super().__init__(place, name, {"port": numbers[0]})
        self.ports = numbers
        for part in ("htdocs", "logs", "run"):
            place.own_directory(name, part)
        for path, text in (("htdocs/page.txt", PAGE), ("mime.types", MIME_TYPES)):
            with open(place.path(name, path), "w", encoding="utf-8") as file:
                file.write(text)
        server_limit, limits = LIMITS[mpm]
        modules = paths.httpd_modules()
        loads = "\n".join(f'LoadModule {one}_module "{modules}/mod_{one}.so"'
                          for one in (f"mpm_{mpm}", *MODULES))
        user = f"User {place.user.name}\nGroup {place.user.group}" if place.user.is_root else ""
        fields = {"root": self.directory, "modules": modules, "counter": place.counter}
        for number, one in enumerate(numbers, 1):
            fields[f"port{number}"] = one
        more = re.sub(r"@(\w+)@", lambda found: str(fields[found[1]]), more)
        with open(self.configuration(), "w", encoding="utf-8") as file:
            file.write(CONF.format(
                root=self.directory, user=user, modules=loads, server_limit=server_limit,
                limits=limits, more=STOCK + more,
                listen="\n".join(f"Listen 127.0.0.1:{one}" for one in numbers)))

    def configuration(self):
        return os.path.join(self.directory, "httpd.conf")

    def command(self):
        return [paths.program("apache2", "httpd"), "-d", self.directory, "-f",
                self.configuration(), "-DFOREGROUND"]

    def ready(self):
        try:
            return http_get(self.url + "/page.txt", timeout=2)[0] == 200
        except OSError:
            return False


class Site:
    """`servers`: the ports of its web servers; `extra`: other parts whose processor time is its cost."""

    follow = False  # the client must take a new cookie with each answer

    def __init__(self, name, servers, mpm, read, write, application, parts, extra=()):
        self.name, self.servers, self.mpm = name, servers, mpm
        self.read, self.write, self.application = read, write, application
        self.parts, self.extra = parts, extra

    def add(self, key, hold):
        """Path of a request that adds one to a key, reading `hold` ms before it writes."""
        return f"{self.application}/add?{key}&{hold}"

    def all(self):
        return f"{self.application}/all"

    def stored(self):
        """How many sessions there are now, if that can be asked; else None."""
        return None

    def end(self):
        pass


# --- mod_session's own providers

COOKIE = SESSION + """\
LoadModule session_cookie_module "{modules}/mod_session_cookie.so"
Session On
SessionCookieName session path=/
"""

DBD = SESSION + """\
LoadModule session_dbd_module "{modules}/mod_session_dbd.so"
LoadModule dbd_module "{modules}/mod_dbd.so"
DBDriver {driver}
DBDParams "{parameters}"
DBDMin 8
DBDKeep 25
DBDMax 25
DBDPrepareSQL "delete from session where `key` = %s" deletesession
DBDPrepareSQL "update session set value = %s, expiry = %lld, `key` = %s where `key` = %s" updatesession
DBDPrepareSQL "insert into session (value, expiry, `key`) values (%s, %lld, %s)" insertsession
DBDPrepareSQL "select value from session where `key` = %s and (expiry = 0 or expiry > %lld)" selectsession
DBDPrepareSQL "delete from session where expiry != 0 and expiry < %lld" cleansession
Session On
SessionDBDCookieName session path=/
"""
TABLE = "CREATE TABLE session (`key` VARCHAR(64) PRIMARY KEY, value VARCHAR(8000), expiry BIGINT)"


def _fields(place):
    return {"modules": paths.httpd_modules(), "counter": place.counter}


def _over_mod_session(place, name, title, text, count):
    webs = [place.add(Httpd(place, f"{name}{number}", more=text)) for number in range(1, count + 1)]
    return Site(title, [web.port for web in webs], "event", "/page.txt?read", "/page.txt?write",
                "/counter", webs)


def cookie(place, count=1):
    return _over_mod_session(place, "cookie", "mod_session_cookie",
                             COOKIE.format(**_fields(place)), count)


class DbdSqlite(Site):
    follow = True

    def stored(self):
        with sqlite3.connect(self.file, timeout=10) as database:
            return database.execute("SELECT COUNT(*) FROM session").fetchone()[0]


def dbd_sqlite(place):
    file = os.path.join(place.own_directory("sqlite"), "sessions.db")
    database = sqlite3.connect(file)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute(TABLE)
    database.commit()
    database.close()
    place.user.give(file, 0o600)
    site = _over_mod_session(place, "sqlite-web", "mod_session_dbd, SQLite", DBD.format(
        **_fields(place), driver="sqlite3", parameters=file), 1)
    site.__class__ = DbdSqlite
    site.file = file
    return site


class DbdMariaDB(Site):
    follow = True

    def stored(self):
        return int(self.database.sql("SELECT COUNT(*) FROM session", "sessions").split()[-1])

    def end(self):
        self.database.stop()


def dbd_mariadb(place, count=1):
    database = MariaDB(place.path("db"))
    database.start()
    database.sql("CREATE DATABASE sessions; CREATE USER bench@'%' IDENTIFIED BY 'bench';"
                 f"GRANT ALL ON sessions.* TO bench@'%'; USE sessions; {TABLE};")
    site = _over_mod_session(place, "mariadb-web", "mod_session_dbd, MariaDB", DBD.format(
        **_fields(place), driver="mysql", parameters=f"host=127.0.0.1 port={database.port} "
        "user=bench pass=bench dbname=sessions"), count)
    site.__class__ = DbdMariaDB
    site.database = database
    return site


# --- PHP

PHP = """\
LoadModule php_module "{modules}/libphp8.2.so"
AliasMatch "^/(none|files|memcached|memcached-free|redis|redis-lock)/" "{here}/counter.php"
<Directory "{here}">
    Require all granted
</Directory>
<LocationMatch "^/(none|files|memcached|memcached-free|redis|redis-lock)/">
    SetHandler application/x-httpd-php
    php_value session.name session
    php_admin_value session.gc_probability 0
</LocationMatch>
<Location "/files/">
    php_value session.save_handler files
    php_value session.save_path "@root@/run"
</Location>
<LocationMatch "^/memcached(-free)?/">
    php_value session.save_handler memcached
    php_value session.save_path "127.0.0.1:{memcached}"
</LocationMatch>
<Location "/memcached-free/">
    php_value memcached.sess_locking Off
</Location>
<LocationMatch "^/redis(-lock)?/">
    php_value session.save_handler redis
    php_value session.save_path "tcp://127.0.0.1:{redis}"
</LocationMatch>
<Location "/redis-lock/">
    php_value redis.session.locking_enabled 1
</Location>
"""

PHP_SITES = (("none", "mod_php, no session"), ("files", "PHP files"),
             ("memcached", "PHP memcached (locks: default)"),
             ("memcached-free", "PHP memcached, locks off"),
             ("redis", "PHP redis (no locks: default)"), ("redis-lock", "PHP redis, locks on"))


def php(place, count=1):
    """All handlers of PHP; they share the web servers, one memcached and one redis."""
    memcached = place.add(Program(place, "memcached", lambda part: [
        paths.program("memcached"), "-l", "127.0.0.1", "-p", str(part.port), "-U", "0", "-m", "256"]
        + (["-u", place.user.name] if place.user.is_root else [])))
    redis = place.add(Program(place, "redis", lambda part: [
        paths.program("redis-server"), "--bind", "127.0.0.1", "--port", str(part.port),
        "--save", "", "--appendonly", "no", "--dir", part.directory]))
    here = place.own_directory("php")
    shutil.copy(os.path.join(HERE, "counter.php"), here)
    text = PHP.format(modules=paths.httpd_modules(), here=here, memcached=memcached.port,
                      redis=redis.port)
    webs = [place.add(Httpd(place, f"php{number}", "prefork", text))
            for number in range(1, count + 1)]
    extra = {"memcached": [memcached], "redis": [redis]}
    return [Site(title, [web.port for web in webs], "prefork", f"/{name}/read", f"/{name}/write",
                 f"/{name}", webs, extra.get(name.split("-")[0], ()))
            for name, title in PHP_SITES]


# --- ours

OURS = """\
LoadModule counter_module "{counter}"
Session On
SessionFarmSyncCookieName session path=/
SessionFarmSyncOnUnknown 503
<Location "/counter">
    SetHandler counter
</Location>
"""

MODES = """\
<Location "/exclusive">
    SetHandler counter
    SessionFarmSyncLock exclusive 30000
</Location>
<Location "/ack1">
    SetHandler counter
    SessionFarmSyncAck 1
</Location>
<Location "/ack2">
    SetHandler counter
    SessionFarmSyncAck 2
</Location>
"""


def _with_what_others_have(farm, web):
    """A farm's web server has more for its sample pages, which the others don't pay for either."""
    own = "|".join(("mpm_\\w+", *MODULES, "session", "request", "\\w*farmsync"))
    text = re.sub(rf"^LoadModule (?!({own})_module ).*\n|^LuaMapHandler .*\n|"
                  r"^FarmSync(Application|VersionHeader) .*\n|"
                  r'^<Location "/(?!farmsync/status).*">\n(.*\n)*?</Location>\n', "",
                  web.configuration(), flags=re.M)
    farm.write_file(f"{web.name}/conf/httpd.conf", text)


class Ours(Site):
    def end(self):
        self.farm.down()
        self.farm.remove()


def ours(place, count=1, mpm="event", datasrv=2, modes=True):
    """farmsync: a farm of its own, with two data servers as the bank; one site for each of its modes."""
    farm = Farm(tempfile.mkdtemp(prefix="fsbench-", dir="/tmp"))
    try:
        farm.create(servers=count, datasrv=datasrv, interval=60, mpm=mpm, sessions=True)
        for web in farm.webs:
            _with_what_others_have(farm, web)
            farm.write_file(f"{web.name}/conf/extra/counter.conf",
                            STOCK + OURS.format(counter=place.counter) + (MODES if modes else ""))
            farm.write_file(f"{web.name}/htdocs/page.txt", PAGE)
        farm.up()
    except BaseException:
        if farm.state:
            farm.down()
            farm.remove()
        raise
    sites = [Ours(title, [web.port for web in farm.webs], mpm, "/page.txt?read", "/page.txt?write",
                  path, farm.webs, farm.datasrvs)
             for title, path in (("farmsync", "/counter"), ("farmsync, exclusive", "/exclusive"))]
    sites[0].farm = farm
    sites[1].end = lambda: None
    return sites if modes else sites[:1]


# --- what stands before them

HAPROXY = """\
global
    maxconn 200
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
{sites}
"""


def balancer(place, sites):
    """An HAProxy that gives each request to the next server, without stickiness: {site: port}."""
    numbers = dict(zip(sites, ports.take(len(sites))))
    blocks = []
    for index, (site, port) in enumerate(numbers.items()):
        servers = "\n".join(f"    server s{n} 127.0.0.1:{one}" for n, one in enumerate(site.servers))
        blocks.append(f"listen l{index}\n    bind 127.0.0.1:{port}\n    balance roundrobin\n{servers}")
    part = Program(place, "haproxy", lambda one: [paths.program("haproxy"), "-f",
                                                  os.path.join(one.directory, "haproxy.cfg")])
    ports.release([part.port])
    part.record["port"] = next(iter(numbers.values()))
    with open(os.path.join(part.directory, "haproxy.cfg"), "w", encoding="utf-8") as file:
        file.write(HAPROXY.format(sites="\n".join(blocks)))
    place.add(part)
    return numbers


def wait_ready(port):
    wait_until(lambda: _answers(port), 20, f"port {port} to answer")


def _answers(port):
    try:
        return http_get(f"http://127.0.0.1:{port}/page.txt", timeout=2)[0] == 200
    except OSError:
        return False


# --- what the benchmarks of failures need of ours


def unprotected(socket):
    """How many sessions of a web server are not on the bank yet, as its agent says."""
    from farmctl.agent import Agent
    return Agent(socket).ask("GET", "/v1/sessions/status")[1].get("unprotected")


def wipe_bank(datasrv):
    """Everything that a data server had of sessions is gone."""
    shutil.rmtree(os.path.join(datasrv.directory, "images", "sessions"), ignore_errors=True)
