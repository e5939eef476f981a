# SPDX-License-Identifier: Apache-2.0
"""An httpd with some applications, and fs_notice, which publishes what an agent would."""

import datetime
import json
import os
import subprocess

import pytest

from lone_httpd import LoneHttpd, as_httpd_user
from farmlib import paths, ports

SETTINGS = """
LogFormat "%r %>s %b %{farmsync-notice}n %{FARMSYNC_REFUSED}e" avail
CustomLog access.log avail
KeepAliveTimeout 30
FarmSyncApplication shop /shop /cart/
FarmSyncApplication deep /shop/deep
FarmSyncApplication wiki /wiki
FarmSyncApplication site /
FarmSyncApplication status /error /doc
FarmSyncApplicationUses wiki database
FarmSyncAvailable "req('X-Admin') == 'yes'"
FarmSyncAvailDocument "DIR/down.html" application=site
FarmSyncAvailDocument ErrorDocument application=status
FarmSyncAvailStatus 404 deep
FarmSyncAvailRetry 100
FarmSyncAvailBody 1M
Header always set X-Always here
Header set X-Shop "expr=%{farmsync_app:shop}"
SetEnvIf X-Tester "^(.+)$" TESTER=$1
RemoteIPHeader X-Client
RemoteIPInternalProxy 127.0.0.1
ErrorDocument 503 /doc/sorry.txt
<Location "/shop/private">
    AuthType Basic
    AuthName x
    AuthBasicProvider file
    AuthUserFile "DIR/users"
    Require valid-user
</Location>
Listen 127.0.0.1:OTHER
<VirtualHost 127.0.0.1:OTHER>
    DocumentRoot "DIR/htdocs"
    FarmSyncApplication blog /wiki
    FarmSyncAvailLanguage de
    FarmSyncAvailable "%{REMOTE_USER} == 'root'"
</VirtualHost>
"""
DOCUMENT = ("<h1><!--farmsync:title--></h1><p><!--farmsync:message--></p><!--farmsync:until-->"
            "<i><!--farmsync:application--></i><!--farmsync:nonsense--><!-- else -->")


class Teller:
    """tests/tools/fs_notice."""

    def __init__(self, state, *arguments):
        self.process = subprocess.Popen(
            [paths.built("tests/tools/fs_notice"), state, "web1", *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **as_httpd_user())

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def say(self, line):
        answer = self.ask(line)
        assert answer.startswith("ok"), f"{line}: {answer}"
        return answer[3:]

    def now(self):
        return int(self.say("now")) / 1e6

    def tell(self, *notices):
        """Publishes exactly these notices."""
        self.say("clear")
        for notice in notices:
            self.say("put " + json.dumps({"state": "down", **notice}))
        return int(self.say("publish"))

    def close(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait(20)
            self.process.stdout.close()


def when(seconds):
    """RFC 3339 of a farm time."""
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).isoformat()


TLS = """
Protocols h2 http/1.1
Listen 127.0.0.1:TLS https
<VirtualHost 127.0.0.1:TLS>
    DocumentRoot "DIR/htdocs"
    SSLEngine on
    SSLCertificateFile "DIR/tls.pem"
    SSLCertificateKeyFile "DIR/tls.key"
</VirtualHost>
"""


def make(mpm, *arguments, settings=SETTINGS, modules=(), start=True):
    httpd = LoneHttpd(mpm, modules=("remoteip", "auth_basic", "authn_file", "authn_core",
                                    "authz_user", *modules))
    other, tls = ports.take(2)
    httpd.other, httpd.tls = other, tls
    httpd.settings = (settings.replace("OTHER", str(other)).replace("127.0.0.1:TLS", f"127.0.0.1:{tls}")
                      .replace("DIR", httpd.directory))
    if "ssl" in modules:
        subprocess.run([paths.program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes",
                        "-subj", "/CN=127.0.0.1", "-days", "2", "-keyout", httpd.path("tls.key"),
                        "-out", httpd.path("tls.pem")], capture_output=True, check=True)
    with open(httpd.path("down.html"), "w", encoding="utf-8") as file:
        file.write(DOCUMENT)
    with open(httpd.path("users"), "w", encoding="utf-8") as file:
        file.write("anna:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\nroot:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n")
    for name in ("shop/a.txt", "shop/private/a.txt", "shop/deep/a.txt", "cart/a.txt", "wiki/a.txt",
                 "doc/sorry.txt", "doc/a.txt", "a.txt"):
        os.makedirs(os.path.dirname(httpd.path("htdocs", name)), exist_ok=True)
        with open(httpd.path("htdocs", name), "w", encoding="utf-8") as file:
            file.write(f"this is {name}\n")
    with open(httpd.path("htdocs", "a.shtml"), "w", encoding="utf-8") as file:
        file.write('[<!--#include virtual="/shop/a.txt" -->]')
    httpd.configure()
    httpd.teller = Teller(httpd.state, *arguments)
    if start:
        httpd.start()
    return httpd


@pytest.fixture(scope="module", params=["event", "worker", "prefork"])
def every(request):
    httpd = make(request.param)
    yield httpd
    httpd.teller.close()
    httpd.remove()


@pytest.fixture(scope="module", name="web")
def one_httpd():
    httpd = make("event", modules=("http2", "ssl"), settings=SETTINGS + TLS)
    yield httpd
    httpd.teller.close()
    httpd.remove()


@pytest.fixture(autouse=True)
def nothing_is_left(request):
    yield
    for name in ("web", "every"):
        if name in request.fixturenames:
            request.getfixturevalue(name).teller.tell()
