# SPDX-License-Identifier: Apache-2.0
"""httpds that route, without agents: tests/tools/fs_route_table tells each what the servers are."""

import base64
import hmac
import json
import os
import re
import shutil
import struct
import subprocess
import time
import urllib.request

from farmlib import paths, ports
from lone_httpd import DEADLINE_S, LoneHttpd, USER, exchange, wait_for

SECRET = "7" * 64
COOKIE = "farmsync"
ECHO = """
require "apache2"
function handle(r)
    r.content_type = "application/json"
    local said = {
        server = r.subprocess_env["WHO"], method = r.method, args = r.args, uri = r.uri,
        request = r.the_request, address = r.useragent_ip, body = r:requestbody(),
        token = r.headers_in["FarmSync-Route"], route = r.subprocess_env["FARMSYNC_ROUTE"],
        alternate = r.subprocess_env["FARMSYNC_ALTERNATE"],
        changed = r.subprocess_env["FARMSYNC_ROUTE_CHANGED"], scheme = r.is_https and "https" or "http",
    }
    if r.args == "slow" then
        r.usleep(1600000)
    end
    local parts = {}
    for name, value in pairs(said) do
        parts[#parts + 1] = string.format('"%s":"%s"', name,
                                          (tostring(value):gsub('[%c"\\\\\\\\]', "?")))
    end
    r:puts("{" .. table.concat(parts, ",") .. "}")
    return apache2.OK
end
"""


# --- what visitors carry, made and read as lib/route does

def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def signed(data, secret=SECRET):
    """`data` with its kind first; the second byte is filled in."""
    key = hmac.digest(bytes.fromhex(secret), b"farmsync-route-1", "sha256")
    mark = hmac.digest(key, b"farmsync-route-key", "sha256")[:1]
    data = data[:1] + mark + data[2:]
    return base64.urlsafe_b64encode(data + hmac.digest(key, data, "sha256")[:16]).decode().rstrip("=")


def named(*names):
    return b"".join(bytes([len(name)]) + name.encode() for name in names)


class Affinity:
    """What an affinity cookie says."""

    def __init__(self, visitor=None, generation=1, made=None, primary="web1", alternate="web2"):
        self.id = visitor or os.urandom(12)
        self.generation, self.primary, self.alternate = generation, primary, alternate
        self.made = int(time.time() / 60) if made is None else made

    @classmethod
    def read(cls, value):
        text, _, behind = value.partition(".")
        data = decode(text)
        assert data[0] == 1
        visitor, generation, made = struct.unpack(">12sII", data[2:22])
        first = data[22]
        second = data[23 + first]
        one = cls(visitor, generation, made, data[23:23 + first].decode(),
                  data[24 + first:24 + first + second].decode())
        assert len(data) == 24 + first + second + 16
        assert behind == one.primary
        return one

    def text(self, secret=SECRET):
        data = (b"\x01\x00" + struct.pack(">12sII", self.id, self.generation, self.made)
                + named(self.primary, self.alternate))
        return signed(data, secret) + "." + self.primary

    def __repr__(self):
        return f"{self.id.hex()} at {self.primary}/{self.alternate} generation {self.generation}"


def token(kind="redirect", sender="web1", to="web2", visitor=None, generation=0, hops=1, flags=1,
          lives=9, primary="", alternate="", address="", secret=SECRET, nonce=None):
    return signed(bytes([{"redirect": 2, "proxy": 3}[kind], 0]) + (visitor or os.urandom(12))
                  + struct.pack(">IBBq", generation, hops, flags, int((time.time() + lives) * 1e6))
                  + (nonce or os.urandom(12)) + named(sender, to, primary, alternate, address), secret)


def session_id(number):
    """A session id of this farm: 20 bytes and a tag."""
    random = number.to_bytes(20, "big")
    key = hmac.digest(bytes.fromhex(SECRET), b"farmsync-session-id-1", "sha256")
    return base64.urlsafe_b64encode(random + hmac.digest(key, random, "sha256")[:4]).decode()


# --- servers

class Table:
    """tests/tools/fs_route_table at the state directory of one httpd."""

    def __init__(self, state):
        self.process = subprocess.Popen([paths.built("tests/tools/fs_route_table"), state],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        assert answer.startswith("ok"), f"{line}: {answer}"
        return answer[3:]

    def close(self):
        self.process.stdin.close()
        self.process.wait(DEADLINE_S)
        self.process.stdout.close()


class RouteHttpd(LoneHttpd):
    def __init__(self, name, mpm="event", settings="", locations="", modules=(), route="serve"):
        self.name, self.route = name, route
        self.own_settings = settings
        self.agent_port = ports.take(1)[0]
        self.table = None
        self.servers = {}
        super().__init__(mpm, modules=("authz_host", "proxy", "proxy_http", *modules), locations=locations)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def configure(self, extra=""):
        for name, text in (("farm.key", f"k1 {SECRET}\n"), ("echo.lua", ECHO)):
            with open(self.path(name), "w", encoding="utf-8") as file:
                file.write(text)
        os.chmod(self.path("farm.key"), 0o640)
        if USER:
            shutil.chown(self.path("farm.key"), "root", "root")
        self.settings = f"""
FarmSyncServer {self.name}
FarmSyncKeyFile farm.key
FarmSyncListen 127.0.0.1:{self.agent_port}
FarmSyncRoute On
FarmSyncRouteBy {self.route}
FarmSyncRouteURL {self.url} {self.url}
SetEnv WHO {self.name}
LuaMapHandler ^/(echo|off|redirect|proxy|serve)$ {self.path("echo.lua")}
LogFormat "%r|%{{farmsync-route}}n|%{{FARMSYNC_ROUTE}}e" route
CustomLog access.log route
<Location "/off">
    FarmSyncRoute Off
</Location>
<Location "/redirect">
    FarmSyncRouteBy redirect
</Location>
<Location "/serve">
    FarmSyncRouteBy serve
</Location>
{self.own_settings}
"""
        super().configure(extra)

    def start(self, how="-DFOREGROUND"):
        super().start(how)
        assert ask(self, "/off").status == 200, self.log()  # it is served, so all is prepared
        self.table = Table(self.state)

    def stop(self):
        if self.table:
            self.table.close()
            self.table = None
        super().stop()

    def publish(self, servers):
        """`servers`: {name: {...}} of the whole farm, in this order; self is `self.name`."""
        self.servers = servers
        for name, one in servers.items():
            self.table.say(f"server {name} {one['url']} {one.get('public', one['url'])} {one.get('rack', '-')} "
                           f"{one.get('capacity', 100)} {one.get('primaries', 0)} {one.get('state', 'alive')} "
                           f"{one.get('busy', 0)} {one.get('workers', 100)} {one.get('shed', 0)}")
        self.table.say(f"publish {list(servers).index(self.name)}")

    def count(self, what):
        return int(self.table.say(f"count {what}"))

    def known(self, visitor):
        """(primary, alternate, generation, confirmed, former) as the store has it; None."""
        said = self.table.say(f"visitor {visitor.hex()}").split()
        if said == ["-"]:
            return None
        return (said[0], said[1], int(said[2]), said[3] == "1", said[4])

    def logged(self, line):
        """Whether the access log has that line; it is written after the answer."""
        def has():
            with open(self.path("access.log"), encoding="utf-8") as file:
                return line in file.read().splitlines()
        wait_for(has, f"the access log to have {line}")


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body
        self.cookies = [re.match(rf"{COOKIE}=([^;]*)(.*)", value) for value in
                        headers.get_all("Set-Cookie") or [] if value.startswith(COOKIE + "=")]
        assert len(self.cookies) <= 1, headers

    @property
    def said(self):
        assert self.status == 200, (self.status, self.body)
        return json.loads(self.body)

    @property
    def cookie(self):
        """The affinity cookie that was set, as text; None."""
        return self.cookies[0][1] if self.cookies else None

    @property
    def affinity(self):
        return Affinity.read(self.cookie) if self.cookies else None

    @property
    def location(self):
        return self.headers["Location"]


def ask(web, path="/echo", cookie=None, headers=None, method="GET", body=None):
    sent = dict(headers or {})
    if isinstance(cookie, Affinity):
        cookie = cookie.text()
    if cookie:
        sent["Cookie"] = f"{COOKIE}={cookie}"
    return Reply(*exchange(urllib.request.Request(web.url + path, body, sent, method=method)))

