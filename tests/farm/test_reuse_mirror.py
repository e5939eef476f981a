# SPDX-License-Identifier: Apache-2.0
""""Use what you have": by the client's check value, by the mirror in its session; the clients of the manual."""

import http.server
import os
import re
import stat
import subprocess
import sys
import threading

import pytest

from farmlib import paths
from lone_httpd import LoneHttpd, crashes

PAGE = "Prices of the day, line by line.\n" * 40
LOCATIONS = """
ScriptAlias /login "{dir}/login.sh"
<Location "/">
    FarmSyncReuse On
    FarmSyncReuseWait 5000
    FarmSyncReuseMirror On
    Session On
    SessionCookieName visitor path=/
    SessionHeader X-Session
    Require all granted
</Location>
<LocationMatch "^/deaf">
    FarmSyncReuseMirror Off
</LocationMatch>
Alias /deaf.shtml "{dir}/htdocs/page.shtml"
"""
LOGIN = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\nX-Session: user=alice\\r\\n\\r\\nwelcome'\n"


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 & -(crc & 1))
    return crc ^ 0xffffffff


@pytest.fixture(scope="module", params=["event", "prefork"])
def server(request):
    cgi = "cgid" if request.param == "event" else "cgi"
    server = LoneHttpd(request.param, modules=("session", "session_cookie", "request", cgi))
    server.locations = LOCATIONS.format(dir=server.directory)
    if cgi == "cgid":
        server.locations += f'ScriptSock "{server.path("cgid.sock")}"\n'
    with open(server.path("login.sh"), "w", encoding="ascii") as file:
        file.write(LOGIN)
    os.chmod(server.path("login.sh"), stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
    server.configure()
    write(server, PAGE)
    server.start()
    yield server
    log = server.log()
    server.remove()
    assert not crashes(log), log


def write(server, text):
    for name in ("page.shtml", "page.txt"):
        with open(server.path("htdocs", name), "w", encoding="ascii") as file:
            file.write(text)
        os.utime(server.path("htdocs", name), (1600000000, 1600000000 + len(text)))


class Visitor:
    def __init__(self, server):
        self.server, self.cookie = server, None

    def get(self, path, have=None, **more):
        headers = {name.replace("_", "-"): value for name, value in more.items()}
        if have:
            headers["FarmSync-Have"] = have
        if self.cookie:
            headers["Cookie"] = self.cookie
        answer = self.server.get(path, headers)
        for field in answer.headers.get_all("Set-Cookie") or []:
            self.cookie = field.split(";")[0]
        return answer

    def login(self):
        assert self.get("/login").text == "welcome" and self.cookie
        return self


def is_used(answer):
    if answer.status == 304:
        assert answer.headers["FarmSync-Use"] == "?1" and answer.body == b""
        return True
    assert answer.status == 200 and answer.headers["FarmSync-Use"] is None and answer.body
    return False


@pytest.mark.parametrize("path", ["/page.shtml", "/page.txt", "/deaf.shtml"])
def test_by_the_clients_check_value(server, path):
    write(server, PAGE)
    held = server.get(path).body
    visitor = Visitor(server)
    assert is_used(visitor.get(path, f"?1;crc32c={crc32c(held):08x}"))
    for have in (f"?1;crc32c={crc32c(held) ^ 1:08x}", f"?0;crc32c={crc32c(held):08x}", "?1", "nonsense"):
        assert not is_used(visitor.get(path, have)), have
    write(server, PAGE + "changed")
    assert not is_used(visitor.get(path, f"?1;crc32c={crc32c(held):08x}"))


@pytest.mark.parametrize("path", ["/page.shtml", "/page.txt"])
def test_by_the_mirror_in_the_session(server, path):
    write(server, PAGE)
    visitor = Visitor(server).login()
    assert not is_used(visitor.get(path, "?1")), "it was never sent to this client"
    assert is_used(visitor.get(path, "?1"))
    assert is_used(visitor.get(path, "?1"))
    assert not is_used(visitor.get(path)), "who doesn't say that it has a page gets it"
    write(server, PAGE + "changed")
    assert not is_used(visitor.get(path, "?1"))
    assert is_used(visitor.get(path, "?1"))
    other = Visitor(server).login()
    assert not is_used(other.get(path, "?1"))
    # what the client says itself counts more than the mirror
    assert not is_used(visitor.get(path, "?1;crc32c=00000000"))


def test_who_has_no_session_has_no_mirror(server):
    visitor = Visitor(server)
    for _ in range(2):
        assert not is_used(visitor.get("/page.shtml", "?1"))
    assert visitor.cookie is None
    deaf = Visitor(server).login()
    for _ in range(2):
        assert not is_used(deaf.get("/deaf.shtml", "?1"))


def test_the_mirror_is_bounded(server):
    write(server, PAGE)
    visitor = Visitor(server).login()
    for n in range(40):
        visitor.get(f"/page.shtml?{n}", "?0")
    assert len(visitor.cookie) < 1000
    assert is_used(visitor.get("/page.shtml?39", "?1"))
    assert not is_used(visitor.get("/page.shtml?1", "?1"))


def test_who_never_says_what_it_has_has_no_mirror(server):
    write(server, PAGE)
    visitor = Visitor(server).login()
    cookie = visitor.cookie
    visitor.get("/page.shtml")
    assert visitor.cookie == cookie
    assert not is_used(visitor.get("/page.shtml", "?0"))
    assert visitor.cookie != cookie
    # from then on all that it is sent counts, but not what it was sent a part of
    write(server, PAGE + "changed")
    assert visitor.get("/page.shtml", Range="bytes=0-9").status in (200, 206)
    assert not is_used(visitor.get("/page.shtml", "?1"))
    visitor.get("/page.shtml")
    assert is_used(visitor.get("/page.shtml", "?1"))


def example(language):
    with open(os.path.join(paths.REPO, "doc", "reuse.md"), encoding="utf-8") as file:
        return re.search(rf"```{language}\n(.*?)```", file.read(), re.DOTALL)[1]


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def test_the_client_in_c(server, tmp_path):
    (tmp_path / "have.c").write_text(example("c"))
    flags = run("pkg-config", "--cflags", "--libs", "libcurl").split()
    run("cc", "-Wall", "-o", str(tmp_path / "have"), str(tmp_path / "have.c"), *flags)
    url, copy = f"http://127.0.0.1:{server.port}/page.shtml", tmp_path / "copy"
    for text in (PAGE, PAGE + "changed"):
        write(server, text)
        assert run(str(tmp_path / "have"), url, str(copy)) == "new"
        assert copy.read_text() == text
        assert run(str(tmp_path / "have"), url, str(copy)) == "kept"
        assert copy.read_text() == text


def test_the_client_in_python(server, tmp_path):
    (tmp_path / "have.py").write_text(example("python"))
    url, copy = f"http://127.0.0.1:{server.port}/page.shtml", tmp_path / "copy"
    write(server, PAGE)
    visitor = Visitor(server).login()
    visitor.get("/page.shtml", "?0")  # with mod_session_cookie the mirror is in the cookie
    copy.write_text(PAGE)
    command = (sys.executable, str(tmp_path / "have.py"), url, visitor.cookie, str(copy))
    assert run(*command) == "kept"
    write(server, PAGE + "changed")
    assert run(*command) == "new"
    assert copy.read_text() == PAGE + "changed"


def test_the_client_in_python_whose_answer_was_cut_off(tmp_path):
    """The server takes it for sent, so this client may not say that it has what it was sent last."""
    said = []

    class CutOff(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            said.append(self.headers["FarmSync-Have"])
            self.send_response(200)
            self.send_header("Content-Length", str(len(PAGE)))
            self.end_headers()
            self.wfile.write(PAGE.encode() if len(said) > 1 else b"Prices")

        def log_message(self, *unused):
            pass

    (tmp_path / "have.py").write_text(example("python"))
    copy = tmp_path / "copy"
    copy.write_text("an older page")
    with http.server.HTTPServer(("127.0.0.1", 0), CutOff) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        command = (sys.executable, str(tmp_path / "have.py"), f"http://127.0.0.1:{server.server_port}/page", "a=b",
                   str(copy))
        try:
            assert subprocess.run(command, capture_output=True, check=False, timeout=60).returncode
            assert run(*command) == "new"
        finally:
            server.shutdown()
            thread.join()
    assert said == ["?1", "?0"] and copy.read_text() == PAGE
