# SPDX-License-Identifier: Apache-2.0
"""FarmSyncReuse: check values of made pages and 304 by the rules of RFC 9110, however the page is made and sent."""

import base64
import gzip
import hashlib
import http.client
import http.server
import os
import re
import socket
import stat
import threading

import pytest

import reuse_browser
from farmlib import ports
from lone_httpd import LoneHttpd, crashes

PAGE = "A page of some length, said again and again. " * 60
CGI = """#!/bin/sh
printf 'Content-Type: text/html\\r\\n'
case "$QUERY_STRING" in
    own) printf 'ETag: "own"\\r\\n' ;;
    modified) printf 'Last-Modified: Sat, 01 Jan 2022 00:00:00 GMT\\r\\n' ;;
    nostore) printf 'Cache-Control: private, no-store\\r\\n' ;;
    private) printf 'Cache-Control: private, max-age=5\\r\\nVary: Cookie\\r\\nSet-Cookie: a=b\\r\\n' ;;
    events) printf 'Content-Type: text/event-stream\\r\\n' ;;
    status) printf 'Status: 404 Not Found\\r\\n' ;;
esac
printf '\\r\\n'
case "$QUERY_STRING" in
    empty) ;;
    large) head -c 300000 /dev/zero | tr '\\0' x ;;
    pause) printf 'first'; read line <"$FIFO"; printf 'second' ;;
    *) cat "$PAGE_FILE" ;;
esac
"""


def settings():
    return """
PassEnv PAGE_FILE FIFO
ScriptAlias /cgi/ "{dir}/cgi/"
<Directory "{dir}/cgi">
    Require all granted
    Options +ExecCGI
</Directory>
<Location "/">
    FarmSyncReuse On
    FarmSyncReuseWait 10000
    FarmSyncReuseLimit 200K
</Location>
<LocationMatch "^/(?!now|soon|bare)">
    SetOutputFilter DEFLATE
</LocationMatch>
<LocationMatch "/br/">
    SetOutputFilter BROTLI_COMPRESS
</LocationMatch>
<LocationMatch "/off/">
    FarmSyncReuse Off
</LocationMatch>
<LocationMatch "/now/">
    FarmSyncReuseWait 0
</LocationMatch>
<LocationMatch "/soon/">
    FarmSyncReuseWait 20
</LocationMatch>
Alias /br/page.shtml "{dir}/htdocs/page.shtml"
Alias /br/page.html "{dir}/htdocs/page.html"
Alias /off/page.shtml "{dir}/htdocs/page.shtml"
ScriptAlias /now/cgi/ "{dir}/cgi/"
ScriptAlias /soon/cgi/ "{dir}/cgi/"
ScriptAlias /bare/cgi/ "{dir}/cgi/"
ProxyPass /proxy/ "http://127.0.0.1:{backend}/"
ProxyFCGIBackendType GENERIC
<Files "page.php">
    SetHandler "proxy:fcgi://127.0.0.1:{php}/"
</Files>
ProxyPass /flushed/ "fcgi://localhost:{php}{dir}/htdocs/" flushpackets=on
"""


class Backend(http.server.BaseHTTPRequestHandler):
    """What is proxied: the page with its length, and in a chunk."""
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        page = PAGE.encode()
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(page), page))
        else:
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(page)

    do_HEAD = do_GET

    def log_message(self, *unused):
        pass


@pytest.fixture(scope="module")
def backend():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def php():
    with reuse_browser.php_server() as port:
        yield port


@pytest.fixture(scope="module", params=["event", "prefork"])
def server(request, backend, php):
    cgi = "cgid" if request.param == "event" else "cgi"
    server = LoneHttpd(request.param, modules=("brotli", cgi, "proxy", "proxy_http", "proxy_fcgi"))
    server.locations = settings().format(dir=server.directory, backend=backend, php=php)
    if cgi == "cgid":
        server.locations += f'\nScriptSock "{server.path("cgid.sock")}"\n'
    os.mkdir(server.path("cgi"))
    script = server.path("cgi", "page")
    with open(script, "w", encoding="ascii") as file:
        file.write(CGI)
    os.chmod(script, stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
    with open(server.path("htdocs", "page.html"), "w", encoding="ascii") as file:
        file.write(PAGE)
    with open(server.path("htdocs", "page.shtml"), "w", encoding="ascii") as file:
        file.write('<!--#set var="a" value="b" --><!--#include virtual="/page.html" -->')
    for name in ("page.html", "page.shtml"):  # httpd gives files of the last second weak tags only
        os.utime(server.path("htdocs", name), (1600000000, 1600000000))
    os.mkfifo(server.path("fifo"))
    os.chmod(server.path("fifo"), 0o666)
    with open(server.path("htdocs", "page.php"), "w", encoding="ascii") as file:
        file.write(PHP_PAGE.format(page=server.path("htdocs", "page.html"), fifo=server.path("fifo")))
    server.env = {"PAGE_FILE": server.path("htdocs", "page.html"), "FIFO": server.path("fifo")}
    server.configure()
    server.start()
    yield server
    log = server.log()
    server.remove()
    assert not crashes(log), log


PHP_PAGE = """<?php
header("Content-Type: text/html");
if ($_SERVER["QUERY_STRING"] == "flush") {{ while (ob_get_level()) ob_end_flush(); echo "first"; flush(); fgets(fopen("{fifo}", "r")); echo "second"; }}
else readfile("{page}");
"""


@pytest.mark.parametrize("mirror", [False, True])
def test_on_in_a_virtual_host_only(mirror):
    """Nothing of the main server's says so; it is prepared for all the same."""
    other = ports.take(1)[0]
    server = LoneHttpd("event")
    try:
        server.locations = f"""
Listen 127.0.0.1:{other}
<VirtualHost 127.0.0.1:{other}>
    DocumentRoot "{server.directory}/htdocs"
    {"FarmSyncReuseMirror On" if mirror else ""}
    <Location "/">
        FarmSyncReuse On
        FarmSyncReuseWait 5000
    </Location>
</VirtualHost>
"""
        with open(server.path("htdocs", "page.shtml"), "w", encoding="ascii") as file:
            file.write('<!--#set var="a" value="b" -->' + PAGE)
        server.configure()
        server.start()
        assert "ETag" not in server.get("/page.shtml").headers
        server.port = other
        tag = tag_of(server, "/page.shtml")
        assert tag and ask(server, "/page.shtml", If_None_Match=tag).status == 304
        assert os.path.exists(os.path.join(server.state, "reuse"))
        assert os.path.exists(os.path.join(server.state, "reuse-mirrors")) == mirror
    finally:
        server.remove()
        ports.release([other])


MADE = ["/page.shtml", "/page.php", "/cgi/page", "/bare/cgi/page", "/proxy/page", "/proxy/chunked",
        "/br/page.shtml"]


def ask(server, path, encoding=None, method="GET", **headers):
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    if encoding:
        fields["Accept-Encoding"] = encoding
    return server.get(path, fields, method)


def tag_of(server, path, encoding=None):
    answer = ask(server, path, encoding)
    assert answer.status == 200, server.log()
    return answer.headers["ETag"]


def bare(tag):
    return re.sub(r'(-gzip|-br)"$', '"', tag.removeprefix("W/"))


@pytest.mark.parametrize("path", MADE)
@pytest.mark.parametrize("encoding", [None, "gzip", "br"])
def test_a_made_page_has_one_check_value_and_is_not_sent_twice(server, path, encoding):
    plain = tag_of(server, "/bare/cgi/page")
    assert re.fullmatch(r'"[A-Za-z0-9_-]{22}"', plain)
    answer = ask(server, path, encoding)
    tag = answer.headers["ETag"]
    assert bare(tag) == plain
    body = gzip.decompress(answer.body) if answer.headers["Content-Encoding"] == "gzip" else answer.body
    if answer.headers["Content-Encoding"] != "br":
        assert body.decode() == PAGE
    again = ask(server, path, encoding, If_None_Match=tag)
    assert again.status == 304 and again.body == b""
    assert bare(again.headers["ETag"]) == plain
    # what the client stored is found by the tag that it has
    assert again.headers["ETag"].removeprefix("W/") == tag.removeprefix("W/")


# If-None-Match with T for the page's tag, by RFC 9110 §13.1.2: (field, status).
CASES = [
    ("T", 304), ("W/T", 304), ('"x", T', 304), ('T, "x"', 304), ('"x",,W/T ,', 304), ("*", 304),
    ('"x"', 200), ('W/"x"', 200), ("", 200), ('"x", "y"', 200), ("T'", 200), ("nonsense", 200),
    ('T"', 200), ("T T", 200), ("w/T", 200),
]


@pytest.mark.parametrize("path", ["/page.shtml", "/cgi/page", "/proxy/page", "/page.php", "/br/page.shtml"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("encoding", [None, "gzip", "br"])
def test_if_none_match(server, path, method, encoding):
    if path in ("/proxy/page", "/page.php") and method == "HEAD":  # there is nothing of which a tag could be made
        assert ask(server, path, encoding, method).headers["ETag"] is None
        return
    plain = tag_of(server, "/bare/cgi/page")
    for field, status in CASES:
        for suffix in ("", "-gzip", "-br"):
            tag = plain[:-1] + suffix + '"'
            answer = ask(server, path, encoding, method, If_None_Match=field.replace("T", tag))
            assert answer.status == status, (field, suffix)
            if status == 304 or method == "HEAD":
                assert answer.body == b""
            if status == 200:
                assert bare(answer.headers["ETag"]) == plain


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("encoding", [None, "gzip", "br"])
@pytest.mark.parametrize("path", ["/page.html", "/br/page.html"])
def test_if_none_match_of_files(server, path, method, encoding):
    """What httpd answers itself, with what FarmSyncReuse adds: the suffixes of compression."""
    plain = bare(ask(server, path).headers["ETag"])
    for field, status in CASES:
        if field in ("nonsense", "T'", 'T"', "T T", "w/T"):
            continue  # httpd takes these in its own way
        for suffix in ("", "-gzip", "-br"):
            answer = ask(server, path, encoding, method,
                         If_None_Match=field.replace("T", plain[:-1] + suffix + '"'))
            assert answer.status == status, (field, suffix)


def test_a_flush_of_php_is_not_kept_back(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("GET", "/flushed/page.php?flush")
    answer = connection.getresponse()
    assert answer.getheader("ETag") is None and answer.read(5) == b"first"
    writer = threading.Thread(target=lambda: open(server.path("fifo"), "w").write("\n"))
    writer.start()
    assert answer.read() == b"second"
    writer.join()
    connection.close()


def same(one, other):
    """Compression may cut a page in other pieces."""
    if one.headers["Content-Encoding"] == "gzip" == other.headers["Content-Encoding"] and one.body:
        return gzip.decompress(one.body) == gzip.decompress(other.body)
    return one.headers["Content-Encoding"] == other.headers["Content-Encoding"] and one.body == other.body


@pytest.mark.parametrize("path", MADE + ["/page.html"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("encoding", [None, "gzip", "br"])
def test_if_none_match_comes_before_range(server, path, method, encoding):
    """RFC 9110 §13.2.2: who holds the page gets 304 whatever part of it he asked for; else If-Range decides."""
    plain = bare(tag_of(server, path))
    for suffix in ("", "-gzip", "-br"):
        tag = plain[:-1] + suffix + '"'
        whole = ask(server, path, encoding, method)
        if method == "HEAD" and not whole.headers["ETag"]:
            return  # whoever makes it makes nothing of which a tag could be made
        part = ask(server, path, encoding, method, Range="bytes=2-5", If_None_Match=tag)
        assert (part.status, part.body) == (304, b"")
        other = ask(server, path, encoding, method, Range="bytes=2-5", If_None_Match='"x"')
        assert other.status in (200, 206)
        if method == "GET":
            assert other.body == whole.body[2:6] if other.status == 206 else same(other, whole)
        changed = ask(server, path, encoding, method, Range="bytes=2-5", If_Range='"x"')
        assert changed.status == 200 and same(changed, whole)


def test_static_files_get_their_304_although_they_are_compressed(server):
    answer = ask(server, "/page.html", "gzip")
    assert answer.headers["Content-Encoding"] == "gzip" and answer.headers["ETag"].endswith('-gzip"')
    for tag in (answer.headers["ETag"], bare(answer.headers["ETag"]), "W/" + answer.headers["ETag"]):
        again = ask(server, "/page.html", "gzip", If_None_Match=tag)
        assert again.status == 304, tag
        assert bare(again.headers["ETag"]) == bare(answer.headers["ETag"])
    assert ask(server, "/page.html", "gzip", If_None_Match='"x-gzip"').status == 200


@pytest.mark.parametrize("path", ["/page.shtml", "/bare/cgi/page"])
def test_ranges(server, path):
    tag = tag_of(server, path)
    part = ask(server, path, Range="bytes=2-5")
    assert part.status == 206 and part.text == PAGE[2:6] and part.headers["ETag"] == tag
    assert ask(server, path, Range="bytes=2-5", If_Range=tag).status == 206
    for other in ('"x"', "W/" + tag):
        whole = ask(server, path, Range="bytes=2-5", If_Range=other)
        assert whole.status == 200 and whole.text == PAGE
    assert ask(server, path, Range="bytes=2-5", If_None_Match=tag).status == 304
    assert ask(server, path, Range=f"bytes={len(PAGE)}-").status == 416


def test_a_304_keeps_what_belongs_to_it(server):
    answer = ask(server, "/cgi/page?private")
    again = ask(server, "/cgi/page?private", If_None_Match=answer.headers["ETag"])
    assert again.status == 304
    for name in ("Cache-Control", "Vary", "Set-Cookie"):
        assert again.headers[name] == answer.headers[name], name
    for name in ("Content-Type", "Content-Length", "Content-Encoding"):
        assert again.headers[name] is None, name


@pytest.mark.parametrize("query", ["own", "modified", "nostore", "events", "status", "large"])
def test_what_is_none_of_ours_passes_untouched(server, query):
    answer = ask(server, f"/bare/cgi/page?{query}", If_None_Match='"x"')
    assert answer.headers["ETag"] == ('"own"' if query == "own" else None)
    assert answer.status == (404 if query == "status" else 200)
    if query == "large":
        assert answer.body == b"x" * 300000
    elif answer.status == 200:
        assert answer.text == PAGE


def test_off_and_other_methods(server):
    assert tag_of(server, "/off/page.shtml") is None
    answer = ask(server, "/cgi/page", method="POST")
    assert answer.status == 200 and answer.headers["ETag"] is None


def test_an_empty_page_and_head_have_the_same_tag(server):
    assert tag_of(server, "/bare/cgi/page?empty")
    head = ask(server, "/bare/cgi/page", method="HEAD")
    assert head.headers["ETag"] in (None, tag_of(server, "/bare/cgi/page"))


@pytest.mark.parametrize("place", ["now", "soon"])
def test_a_page_in_pieces_is_not_kept_back(server, place):
    """What was made is seen before the rest of it exists; it may be kept back for 20 ms, or not at all."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("GET", f"/{place}/cgi/page?pause", headers={"If-None-Match": '"x"'})
    answer = connection.getresponse()
    assert answer.status == 200 and answer.getheader("ETag") is None
    assert answer.read(5) == b"first"
    writer = threading.Thread(target=lambda: open(server.path("fifo"), "w").write("\n"))
    writer.start()
    assert answer.read() == b"second"
    writer.join()
    connection.close()


def test_the_tag_is_the_same_on_servers_with_one_key(server, tmp_path):
    """... and another one on a server with another key."""
    tags = []
    for secret in ("11" * 32, "11" * 32, "22" * 32):
        key = tmp_path / "farm.key"
        key.write_text(f"k1 {secret}\n")
        key.chmod(0o640)
        other = LoneHttpd("event", settings=f'FarmSyncKeyFile "{key}"\nFarmSyncReuse On\nFarmSyncReuseWait 5000\n')
        with open(other.path("htdocs", "page.shtml"), "w", encoding="ascii") as file:
            file.write(PAGE)
        other.start()
        try:
            tags.append(tag_of(other, "/page.shtml"))
        finally:
            other.remove()
    assert tags[0] == tags[1] != tags[2]
    assert tag_of(server, "/bare/cgi/page") not in tags


def test_directives(server):
    for line, number in (("FarmSyncReuseLimit 0", "FS1701"), ("FarmSyncReuseLimit 65M", "FS1701"),
                         ("FarmSyncReuseLimit 1Kx", "FS1701"), ("FarmSyncReuseLimit x", "FS1701"),
                         ("FarmSyncReuseWait -1", "FS1702"), ("FarmSyncReuseWait 11s", "FS1702")):
        server.configure(line)
        status, text = server.run("-t")
        assert status and number in text, line
    server.configure()
    assert server.run("-t")[0] == 0


def test_what_was_spared_is_counted_and_shown(server):
    tag = tag_of(server, "/page.shtml")
    before = server.get("/farmsync/status?json").json["reuse"]
    assert ask(server, "/page.shtml", If_None_Match=tag).status == 304
    after = server.get("/farmsync/status?json").json["reuse"]
    assert after["not_modified"] == before["not_modified"] + 1
    assert after["bytes_not_sent"] == before["bytes_not_sent"] + len(PAGE)
    metrics = server.get("/farmsync/status?metrics").text
    assert f"farmsync_reuse_not_modified_total {after['not_modified']}\n" in metrics
    assert "Reuse" in server.get("/farmsync/status").text
    assert "FarmSync reuse" in server.get("/server-status").text
    assert "FarmSyncReuse_not_modified: " in server.get("/server-status?auto").text
    assert "FarmSyncReuseLimit" in server.run("-t", "-D", "DUMP_FARMSYNC")[1]


@pytest.mark.parametrize("path", ["/page.shtml", "/page.html", "/bare/cgi/page", "/br/page.shtml"])
@pytest.mark.parametrize("encoding", [None, "gzip", "br"])
def test_digests_for_who_wants_them(server, path, encoding):
    answer = ask(server, path, encoding, Want_Content_Digest="sha-512=3, sha-256=10")
    digest = "sha-256=:" + base64.b64encode(hashlib.sha256(answer.body).digest()).decode() + ":"
    assert answer.headers["Content-Digest"] == digest and answer.headers["Repr-Digest"] is None
    assert ask(server, path, encoding, Want_Repr_Digest="sha-256=1").headers["Repr-Digest"] == digest
    for field in ("sha-256=0", "sha-512=1", "nonsense", "sha-256"):
        assert ask(server, path, encoding, Want_Content_Digest=field).headers["Content-Digest"] is None
    if not encoding:
        part = ask(server, path, Range="bytes=5-9", Want_Content_Digest="sha-256=1",
                   Want_Repr_Digest="sha-256=1")
        assert part.status == 206 and part.headers["Content-Digest"] is None
        assert part.headers["Repr-Digest"] == digest


def test_a_page_in_pieces_has_no_digest(server):
    answer = ask(server, "/bare/cgi/page?large", Want_Content_Digest="sha-256=1")
    assert answer.body == b"x" * 300000 and answer.headers["Content-Digest"] is None


def test_a_slow_client_holds_nobody_up(server):
    """It takes its page when it likes, whole and right; all others are served meanwhile."""
    text = "".join(f"line {n} of a page that is too long for the buffers on the way\n" for n in range(2900))
    assert 150000 < len(text) < 200 << 10
    with open(server.path("htdocs", "long.shtml"), "w", encoding="ascii") as file:
        file.write(text)
    slow = []
    for _ in range(8):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(20)
        client.connect(("127.0.0.1", server.port))
        client.sendall(b"GET /long.shtml HTTP/1.0\r\nHost: x\r\n\r\n")
        slow.append(client)
    tag = tag_of(server, "/long.shtml")
    for _ in range(40):
        assert ask(server, "/long.shtml", If_None_Match=tag).status == 304
    for client in slow:
        with client, client.makefile("rb") as stream:
            head, _, body = stream.read().partition(b"\r\n\r\n")
        assert f"ETag: {tag}".encode() in head and body.decode() == text
