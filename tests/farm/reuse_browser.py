# SPDX-License-Identifier: Apache-2.0
"""Chromium's own view of FarmSyncReuse: pages of httpd's manual and of a PHP application, each visited twice
over TLS, and what its network log says that it was sent."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import time

from farmlib import ports
from lone_httpd import wait_for

MANUAL = "/usr/share/doc/apache2-doc/manual/en"
ADMINER = "/usr/share/adminer"
MANUAL_PAGES = ("core", "mod_proxy", "mod_rewrite")
APPLICATION = "/adminer/adminer/index.php"
MODULES = ("proxy", "proxy_fcgi")
ADMINER_CONF = """
ProxyFCGIBackendType GENERIC
Alias /adminer "{adminer}"
<Directory "{adminer}">
    Require all granted
    Header always unset Cache-Control
    <FilesMatch "\\.php$">
        SetHandler "proxy:fcgi://127.0.0.1:{php}/"
    </FilesMatch>
</Directory>
"""
DRIVER = """<!doctype html><title>driver</title><pre id="out"></pre><script>
async function visit(url) {{
    const answer = await fetch(url, {{cache: "no-cache"}});
    await answer.text();
    const all = performance.getEntriesByName(new URL(url, location).href);
    const size = all[all.length - 1].encodedBodySize;
    performance.clearResourceTimings();  // there is room for 250
    return [answer.headers.get("content-encoding"), size];
}}
async function run() {{
    const seen = {{}};
    for (const url of {urls}) {{
        const first = await visit(url);
        let second = [null, 0];
        for (let n = 0; n < 200 && second[0] !== "dcz"; n++) {{
            await new Promise(done => setTimeout(done, 50));
            second = await visit(url);
        }}
        seen[url] = [first, second];
    }}
    document.getElementById("out").textContent = "RESULT " + JSON.stringify(seen) + " END";
}}
run();
</script>
"""


@contextlib.contextmanager
def php_server():
    """Debian's PHP, over FastCGI, so that each MPM has it; its port."""
    [port] = ports.take(1)
    process = subprocess.Popen(["php-cgi", "-b", f"127.0.0.1:{port}"], stdin=subprocess.DEVNULL,
                               env={**os.environ, "PHP_FCGI_CHILDREN": "4", "PHP_FCGI_MAX_REQUESTS": "0"},
                               start_new_session=True)

    def listens():
        assert process.poll() is None, "php-cgi has ended"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        except OSError:
            return False
    try:
        wait_for(listens, "php-cgi")
        yield port
    finally:
        process.terminate()
        process.wait(20)


def add_pages(site, php):
    """The manual and Adminer are served by this site from its next start on; their URLs."""
    shutil.copytree(MANUAL, site.path("htdocs", "manual"), symlinks=False)
    site.locations += ADMINER_CONF.format(adminer=ADMINER, php=php)
    site.configure()
    return [f"/manual/mod/{name}.html" for name in MANUAL_PAGES] + [APPLICATION]


class ManualChanger:
    """Appends a line to each page of the manual, as a new edition would."""

    def __init__(self, site):
        self.site, self.number = site, 0

    def change(self):
        self.number += 1
        for name in MANUAL_PAGES:
            path = self.site.path("htdocs", "manual", "mod", name + ".html")
            with open(path, encoding="utf-8") as file:
                text = re.sub(r"\n<!-- edition \d+ -->", "", file.read())
            with open(path + ".new", "w", encoding="utf-8") as file:
                file.write(text + f"\n<!-- edition {self.number} -->")
            os.replace(path + ".new", path)


def trust(certificate, home):
    """Chromium that has this home takes this certificate for good."""
    trusted = os.path.join(home, ".pki", "nssdb")
    os.makedirs(trusted)
    for command in (["-N", "--empty-password"], ["-A", "-t", "C,,", "-n", "test", "-i", certificate]):
        subprocess.run(["certutil", "-d", f"sql:{trusted}", *command], check=True, capture_output=True)


def codings(log):
    """{URL: codings of the bodies that came for it}, as Chromium's network log has them."""
    urls, found = {}, {}
    with open(log, encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                event = json.loads(line.rstrip().rstrip(","))
                params, source = event["params"], event["source"]["id"]
            except (ValueError, KeyError, TypeError):
                continue  # what stands around the events, or one without anything to tell
            if "url" in params:
                urls.setdefault(source, params["url"])
            for field in params.get("headers", ()) if isinstance(params.get("headers"), list) else ():
                name, _, value = field.partition(":")
                if name.lower() == "content-encoding" and source in urls:
                    found.setdefault(urls[source], []).append(value.strip())
    return found


def visit_twice(site, urls, home, change):
    """Each page until it comes as a difference: ({url: [[coding, bytes], [coding, bytes]]}, network log's
    codings). `change` is called again and again meanwhile."""
    with open(site.path("htdocs", "driver.html"), "w", encoding="utf-8") as file:
        file.write(DRIVER.format(urls=json.dumps(urls)))
    trust(site.path("cert.crt"), home)
    log = os.path.join(home, "net.json")
    browser = subprocess.Popen(
        ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
         f"--user-data-dir={os.path.join(home, 'profile')}", f"--log-net-log={log}",
         "--net-log-capture-mode=IncludeSensitive", "--timeout=60000", "--virtual-time-budget=60000",
         "--dump-dom", f"https://localhost:{site.tls}/driver.html"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**os.environ, "HOME": home})
    end = time.monotonic() + 110
    while browser.poll() is None and time.monotonic() < end:
        change()
        time.sleep(0.05)
    if browser.poll() is None:
        browser.kill()
    shown = browser.communicate()[0]
    found = re.search(r"RESULT (.*?) END", shown)
    if not found:
        raise RuntimeError("chromium didn't finish its visits: " + shown[-2000:])
    return json.loads(found[1]), {url.partition(f":{site.tls}")[2]: sent for url, sent in codings(log).items()}
