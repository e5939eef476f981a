# SPDX-License-Identifier: Apache-2.0
"""Differences by RFC 9842 over TLS: who gets one, who doesn't, and that it is right."""

import base64
import gzip
import hashlib
import http.client
import os
import ssl
import subprocess

import pytest

import reuse_browser
from farmlib import ports
from lone_httpd import LoneHttpd, crashes, wait_for

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
    FarmSyncReuseWait 5000
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


def make_server(mpm="event", extra="", modules=()):
    server = LoneHttpd(mpm, modules=("ssl", "socache_shmcb", "http2", *modules))
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
    assert not crashes(log), log


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
    before = server.get("/farmsync/status?json").json["reuse"]
    write(server, "claimed.html", TEXT + "which nobody has")
    for n in range(50):
        answer = Client(server).get("/claimed.html", encodings=DCZ, available=name_of(str(n).encode()))
        assert answer.getheader("Content-Encoding") == "gzip"
    after = server.get("/farmsync/status?json").json["reuse"]
    assert after["dictionaries_unknown"] == before["dictionaries_unknown"] + 50
    assert after["bodies_kept"] == before["bodies_kept"] + 1


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


def test_a_real_browser(tmp_path):
    """Chromium, which visits pages of httpd's manual, an application in PHP and a page made by SSI twice, while
    they change: its own network log says that it was sent differences."""
    with reuse_browser.php_server() as php:
        server = make_server(modules=reuse_browser.MODULES)
        try:
            urls = reuse_browser.add_pages(server, php) + ["/browser.shtml"]
            write(server, "browser.shtml", '<!--#echo var="REQUEST_TIME_US" --><!--#echo var="REMOTE_PORT" -->' + TEXT)
            server.start()
            seen, logged = reuse_browser.visit_twice(server, urls, str(tmp_path),
                                                     reuse_browser.ManualChanger(server).change)
        finally:
            server.remove()
    for url in urls:
        (first, size), (second, less) = seen[url]
        print(f"{url}: {size} bytes ({first}) at first, {less} ({second}) after a change")
        assert (first, second) == ("gzip", "dcz"), seen
        assert less < 300 < size
        assert logged[url][0] == "gzip" and "dcz" in logged[url], logged
