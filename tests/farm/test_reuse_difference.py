# SPDX-License-Identifier: Apache-2.0
"""Differences by RFC 9842 over TLS: who gets one, who doesn't, and that it is right."""

import base64
import gzip
import hashlib
import http.client
import json
import os
import re
import shutil
import ssl
import subprocess

import pytest

from lone_httpd import LoneHttpd, wait_for
from farmlib import ports

HEAD = bytes.fromhex("5e2a4d1820000000")
TEXT = "".join(f"<p>Paragraph {n} of a page: {hashlib.sha256(str(n).encode()).hexdigest()}</p>\n"
               for n in range(400))

LOCATIONS = """
Listen 127.0.0.1:{tls}
<VirtualHost 127.0.0.1:{tls}>
    ServerName localhost
    SSLEngine on
    SSLCertificateFile "{dir}/cert.pem"
    DocumentRoot "{dir}/htdocs"
</VirtualHost>
<Location "/">
    FarmSyncReuse On
    SetOutputFilter DEFLATE
    Header set Cache-Control "private, max-age=60"
</Location>
<LocationMatch "secret">
    FarmSyncReuseDifferences Off
</LocationMatch>
<LocationMatch "section">
    FarmSyncReuseMatch /section/*
</LocationMatch>
<LocationMatch "nostore">
    Header set Cache-Control "no-store"
</LocationMatch>
AddType text/html .html .shtml
AddType text/css .css
AddType image/png .png
"""


def make_certificate(directory):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                    "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout",
                    os.path.join(directory, "cert.key"), "-out", os.path.join(directory, "cert.crt")],
                   check=True, capture_output=True)
    with open(os.path.join(directory, "cert.pem"), "w", encoding="ascii") as file:
        for name in ("cert.key", "cert.crt"):
            with open(os.path.join(directory, name), encoding="ascii") as part:
                file.write(part.read())


def write(server, name, text):
    path = server.path("htdocs", name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.utime(path, (1600000000, 1600000000))


def make_server(mpm="event", extra=""):
    server = LoneHttpd(mpm, modules=("ssl", "socache_shmcb", "http2"))
    server.tls = ports.take(1)[0]
    make_certificate(server.directory)
    server.locations = LOCATIONS.format(tls=server.tls, dir=server.directory)
    server.configure(extra)
    return server


@pytest.fixture(scope="module", params=["event", "prefork"])
def server(request):
    server = make_server(request.param)
    server.start()
    yield server
    log = server.log()
    server.remove()
    assert "exit signal" not in log, log


class Client:
    """What a browser holds."""

    def __init__(self, server, tls=True, host="localhost"):
        self.server, self.tls, self.host = server, tls, host
        self.held = None

    def connection(self):
        if not self.tls:
            return http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        context = ssl.create_default_context(cafile=self.server.path("cert.crt"))
        return http.client.HTTPSConnection("127.0.0.1", self.server.tls, timeout=20, context=context)

    def get(self, path, method="GET", encodings="gzip, deflate, br, zstd", available=None, **more):
        headers = {"Host": self.host, "Accept-Encoding": encodings}
        if available:
            headers["Available-Dictionary"] = available
        headers.update({name.replace("_", "-"): value for name, value in more.items()})
        connection = self.connection()
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        answer.content = answer.read()
        connection.close()
        return answer


def name_of(body):
    return ":" + base64.b64encode(hashlib.sha256(body).digest()).decode() + ":"


def plain(answer):
    coding = answer.getheader("Content-Encoding")
    assert coding in (None, "gzip"), coding
    return gzip.decompress(answer.content) if coding else answer.content


def apply(difference, held, tmp_path):
    """As a client does it: the header names what it holds, the rest is zstd with that before it."""
    assert difference[:8] == HEAD and difference[8:40] == hashlib.sha256(held).digest()
    (tmp_path / "held").write_bytes(held)
    (tmp_path / "coded.zst").write_bytes(difference[40:])
    done = subprocess.run(["zstd", "-q", "-d", "-c", f"--patch-from={tmp_path / 'held'}",
                           str(tmp_path / "coded.zst")], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


DCZ = "gzip, deflate, br, zstd, dcb, dcz"


@pytest.mark.parametrize("name", ["page.html", "page.shtml", "style.css"])
def test_a_second_visit_gets_the_difference(server, tmp_path, name):
    client = Client(server)
    write(server, name, TEXT)
    first = client.get(f"/{name}")
    held = plain(first)
    assert held.decode() == TEXT
    assert first.getheader("Use-As-Dictionary") == f'match="/{name}"'
    assert {"accept-encoding", "available-dictionary"} <= {
        word.strip().lower() for word in first.getheader("Vary").split(",")}

    changed = TEXT.replace("Paragraph 7 of", "Paragraph seven of")
    write(server, name, changed)
    second = client.get(f"/{name}", encodings=DCZ, available=name_of(held))
    assert second.getheader("Content-Encoding") == "dcz"
    assert len(second.content) < 300 < len(first.content)
    assert int(second.getheader("Content-Length")) == len(second.content)
    assert apply(second.content, held, tmp_path).decode() == changed
    assert second.getheader("ETag").endswith('-dcz"')
    assert "available-dictionary" in second.getheader("Vary").lower()
    # the new page is the base of the next difference
    assert second.getheader("Use-As-Dictionary") == f'match="/{name}"'
    write(server, name, changed + "more")
    third = client.get(f"/{name}", encodings=DCZ, available=name_of(changed.encode()))
    assert third.getheader("Content-Encoding") == "dcz"
    assert apply(third.content, changed.encode(), tmp_path).decode() == changed + "more"
    # and who holds it is told so by its tag
    again = client.get(f"/{name}", encodings=DCZ, available=name_of(changed.encode()),
                       If_None_Match=third.getheader("ETag"))
    assert again.status == 304 and again.content == b""


@pytest.fixture(scope="module")
def visited(server):
    """A page that the server knows, and what a client that holds it says."""
    write(server, "known.html", TEXT)
    held = plain(Client(server).get("/known.html"))
    write(server, "known.html", TEXT + "changed")
    return {"encodings": DCZ, "available": name_of(held)}


def test_only_who_can_use_a_difference_gets_one(server, visited):
    assert Client(server).get("/known.html", **visited).getheader("Content-Encoding") == "dcz"
    unknown = name_of(b"something that this server never had")
    for change in ({"available": unknown}, {"available": None}, {"available": "nonsense"},
                   {"available": visited["available"][:-2] + ":"}, {"encodings": "gzip"},
                   {"encodings": "*"}, {"encodings": "gzip, dcz;q=0"}, {"encodings": ""},
                   {"Range": "bytes=0-99"}):
        answer = Client(server).get("/known.html", **{**visited, **change})
        assert answer.getheader("Content-Encoding") in (None, "gzip"), change
        if answer.status == 200:
            assert plain(answer).decode() == TEXT + "changed"


def test_a_dictionary_is_of_one_site_only(server, visited):
    answer = Client(server, host="other.example").get("/known.html", **visited)
    assert answer.status == 200 and answer.getheader("Content-Encoding") == "gzip"


def test_never_without_tls(server, visited):
    answer = Client(server, tls=False).get("/known.html", **visited)
    assert answer.getheader("Content-Encoding") == "gzip"
    assert answer.getheader("Use-As-Dictionary") is None
    assert "dictionary" not in (answer.getheader("Vary") or "").lower()


def test_head_has_no_difference(server, visited):
    answer = Client(server).get("/known.html", method="HEAD", **visited)
    assert answer.status == 200 and answer.getheader("Content-Encoding") != "dcz"


@pytest.mark.parametrize("name", ["secret.html", "nostore.html", "picture.png"])
def test_what_is_no_base_of_a_difference(server, name):
    text = TEXT.replace("Paragraph", name)  # of which no other page has made the server know
    write(server, name, text)
    held = plain(Client(server).get(f"/{name}"))
    write(server, name, text + "changed")
    answer = Client(server).get(f"/{name}", encodings=DCZ, available=name_of(held))
    assert answer.getheader("Use-As-Dictionary") is None
    assert answer.getheader("Content-Encoding") in (None, "gzip")


def test_a_page_helps_its_neighbours(server, tmp_path):
    write(server, "section/a.html", TEXT)
    write(server, "section/b.html", TEXT.replace("Paragraph 9", "Another 9"))
    first = Client(server).get("/section/a.html")
    assert first.getheader("Use-As-Dictionary") == 'match="/section/*"'
    answer = Client(server).get("/section/b.html", encodings=DCZ, available=name_of(plain(first)))
    assert answer.getheader("Content-Encoding") == "dcz" and len(answer.content) < 300
    assert "Another 9" in apply(answer.content, plain(first), tmp_path).decode()


def test_another_page_is_no_help(server, visited):
    """A difference that isn't worth it isn't sent."""
    write(server, "other.html", "".join(hashlib.sha512(str(n).encode()).hexdigest() for n in range(300)))
    answer = Client(server).get("/other.html", **visited)
    assert answer.getheader("Content-Encoding") == "gzip"


def test_patterns_of_strange_paths(server):
    for name, pattern in (("a+b.html", '"/a\\\\+b.html"'), ("c(d).html", '"/c\\\\(d\\\\).html"'),
                          ("e*f.html", '"/e\\\\*f.html"'), ("g h.html", '"/g%20h.html"')):
        write(server, name, TEXT)
        answer = Client(server).get("/" + name.replace(" ", "%20") + "?x=y")
        assert answer.getheader("Use-As-Dictionary") == "match=" + pattern


def test_many_clients_that_claim_what_they_have_not(server):
    before = server.get("/farmsync/status?json").json["reuse"]["dictionaries_unknown"]
    write(server, "claimed.html", TEXT)
    for n in range(50):
        answer = Client(server).get("/claimed.html", encodings=DCZ, available=name_of(str(n).encode()))
        assert answer.getheader("Content-Encoding") == "gzip"
    assert server.get("/farmsync/status?json").json["reuse"]["dictionaries_unknown"] == before + 50


def test_the_store_is_bounded_and_survives_restarts():
    server = make_server(extra="FarmSyncReuseStore 2M")
    server.start()
    try:
        path = os.path.join(server.state, "reuse")
        write(server, "page.html", TEXT)
        client = Client(server)
        held = plain(client.get("/page.html"))
        size = os.path.getsize(path)
        assert size == 2 << 20
        server.graceful()
        write(server, "page.html", TEXT + "changed")
        assert client.get("/page.html", encodings=DCZ,
                          available=name_of(held)).getheader("Content-Encoding") == "dcz"
        for n in range(100):  # 4 MB of other pages
            write(server, "other.html", f"{n}" + TEXT)
            assert client.get("/other.html").status == 200
        answer = client.get("/page.html", encodings=DCZ, available=name_of(held))
        assert answer.getheader("Content-Encoding") == "gzip"
        assert plain(answer).decode() == TEXT + "changed"
        assert os.path.getsize(path) == size
        server.configure("FarmSyncReuseStore 0")
        server.graceful()
        wait_for(lambda: client.get("/page.html").getheader("Use-As-Dictionary") is None, "no differences")
    finally:
        server.remove()


def test_directives(server):
    for line, number in (("FarmSyncReuseStore 1000", "FS1704"), ("FarmSyncReuseStore 1T", "FS1704"),
                         ("FarmSyncReuseStore x", "FS1704"), ("FarmSyncReuseMatch x", "FS1705"),
                         ('FarmSyncReuseMatch "/a b"', "FS1705"), ("FarmSyncReuseMatch /(x)", "FS1705")):
        server.configure(line)
        status, text = server.run("-t")
        assert status and number in text, line
    server.configure()


CHROMIUM = shutil.which("chromium") and shutil.which("certutil")
DRIVER = """<!doctype html><title>driver</title><pre id="out"></pre><script>
async function visit(url) {
    const answer = await fetch(url, {cache: "no-cache"});
    return [(await answer.text()).length, answer.headers.get("content-encoding")];
}
async function run() {
    const first = await visit("/browser.shtml");
    await fetch("/change.shtml", {cache: "no-store"});
    let second = [0, null];
    for (let n = 0; n < 200 && second[1] !== "dcz"; n++) {
        await new Promise(done => setTimeout(done, 50));
        second = await visit("/browser.shtml");
    }
    const entries = performance.getEntriesByName(location.origin + "/browser.shtml");
    document.getElementById("out").textContent = "RESULT " + JSON.stringify(
        {first, second, sizes: entries.map(e => e.encodedBodySize)}) + " END";
}
run();
</script>
"""


@pytest.mark.skipif(not CHROMIUM, reason="there is no chromium")
def test_a_real_browser(server, tmp_path):
    """Chromium, two visits of a page that changes a little each time: its own log says dcz."""
    write(server, "driver.html", DRIVER)
    write(server, "browser.shtml", '<!--#echo var="UNIQUE_ID" --><!--#echo var="REMOTE_PORT" -->' + TEXT)
    write(server, "change.shtml", "x")
    log = tmp_path / "net.json"
    home = tmp_path / "home"
    trusted = home / ".pki" / "nssdb"
    trusted.mkdir(parents=True)
    for command in (["-N", "--empty-password"],
                    ["-A", "-t", "C,,", "-n", "test", "-i", server.path("cert.crt")]):
        subprocess.run(["certutil", "-d", f"sql:{trusted}", *command], check=True, capture_output=True)
    done = subprocess.run(
        ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu",
         f"--user-data-dir={home / 'profile'}", "--no-first-run", f"--log-net-log={log}",
         "--net-log-capture-mode=IncludeSensitive", "--virtual-time-budget=60000", "--timeout=60000",
         "--dump-dom", f"https://localhost:{server.tls}/driver.html"],
        capture_output=True, text=True, timeout=120, check=False, env={**os.environ, "HOME": str(home)})
    found = re.search(r"RESULT (.*?) END", done.stdout)
    assert found, done.stdout + done.stderr[-2000:]
    seen = json.loads(found[1])
    print(f"a page of {seen['second'][0]} bytes: {seen['sizes'][0]} sent at first, {seen['sizes'][-1]} then")
    assert seen["second"][1] == "dcz" and seen["sizes"][-1] < 1000 < seen["sizes"][0], found[1]
    assert re.search(r"content-encoding: dcz", log.read_text(errors="replace"), re.IGNORECASE)
