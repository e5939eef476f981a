# SPDX-License-Identifier: Apache-2.0
"""One httpd with mod_session_farmsync, without agent and bank; and visitors with a cookie jar."""

import atexit
import http.client
import os
import re
import shutil
import subprocess
import tempfile
import urllib.parse

from farmlib import paths
from lone_httpd import LoneHttpd, USER

KEY = "k1 " + "5" * 64 + "\n"
COOKIE = "session"
TIMEOUT_S = 20


def build_module(source):
    """A module built with apxs; its path."""
    directory = tempfile.mkdtemp(prefix="farmsync-apxs-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    shutil.copy(source, directory)
    apxs = shutil.which("apxs") or shutil.which("apxs2")
    name = os.path.basename(source)
    done = subprocess.run([apxs, "-c", name], cwd=directory, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return os.path.join(directory, ".libs", name[:-2] + ".so")


class SessionHttpd(LoneHttpd):
    """LoneHttpd with the modules of sessions; `settings` and `locations` may say {dir} and {htdocs}."""

    key_text = KEY

    def __init__(self, mpm, application=None, settings="", locations="", modules=(), **options):
        loads = [f'LoadModule session_farmsync_module "{paths.built("mod_farmsync/mod_session_farmsync.so")}"']
        if application:
            loads.append(f'LoadModule counter_module "{application}"')
        self.own = (loads, settings, locations)
        super().__init__(mpm, modules=("session", "request", "authn_core", "authn_file", "authz_user", "authz_host",
                                       "auth_form") + tuple(modules), **options)

    def configure(self, extra=""):
        loads, settings, locations = self.own
        key = self.path("farm.key")
        with open(key, "w", encoding="utf-8") as file:
            file.write(self.key_text)
        os.chmod(key, 0o640)
        if USER:
            shutil.chown(key, "root", USER)
        replace = {"{dir}": self.directory, "{htdocs}": self.path("htdocs")}
        for old, new in replace.items():
            settings, locations = settings.replace(old, new), locations.replace(old, new)
        self.settings = "\n".join([*loads, f'FarmSyncKeyFile "{key}"',
                                   "LogLevel notice farmsync:debug session_farmsync:debug", settings])
        self.locations = locations
        super().configure(extra)

    def visitor(self, cookie=None):
        return Visitor(self.port, cookie)


class Reply:
    def __init__(self, response, body):
        self.status, self.text = response.status, body.decode(errors="replace")
        self.headers = response.headers
        self.cookies = [value for value in response.headers.get_all("Set-Cookie") or []
                        if value.startswith(COOKIE + "=") or value.startswith("__Host-" + COOKIE + "=")]

    @property
    def id(self):
        """The id that was set: None if none was, "" if it was taken back."""
        return self.cookies[-1].split("=", 1)[1].split(";")[0] if self.cookies else None


class Visitor:
    """Keeps the session's cookie as a browser does, and a connection."""

    def __init__(self, port, cookie=None):
        self.port, self.cookie, self.connection = port, cookie, None

    def ask(self, path, method="GET", body=None, cookie=True, headers=None, once=False):
        """`cookie`: True the jar's, None none, or a text for the header. `once`: never sent again."""
        sent = dict(headers or {})
        if cookie is True and self.cookie:
            sent["Cookie"] = f"{COOKIE}={self.cookie}"
        elif isinstance(cookie, str):
            sent["Cookie"] = cookie
        if isinstance(body, dict):
            body = urllib.parse.urlencode(body)
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        for fresh in (False, True):
            if fresh or not self.connection:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
            try:
                self.connection.request(method, path, body, sent)
                response = self.connection.getresponse()
                reply = Reply(response, response.read())
                break
            except (http.client.BadStatusLine, ConnectionError):
                # a kept connection that the server has closed, as it may at any time
                self.close()
                if fresh or once:
                    raise
        if cookie is True and reply.id is not None:
            self.cookie = reply.id or None
        return reply

    def get(self, path, **options):
        return self.ask(path, **options).text

    def close(self):
        if self.connection:
            self.connection.close()
            self.connection = None


def attributes(set_cookie):
    """The attributes of a Set-Cookie header, in lower case, as sent."""
    return [part.strip().lower() for part in set_cookie.split(";")[1:]]


def counter(server, name):
    """A counter of the status page."""
    found = re.search(rf"^farmsync_sessions_{name}_total (\d+)$", server.get("/farmsync/status?metrics").text, re.M)
    return int(found.group(1))
