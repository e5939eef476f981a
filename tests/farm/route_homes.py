# SPDX-License-Identifier: Apache-2.0
"""Servers that requests are forwarded to, written so that each can misbehave on demand; a client
that speaks HTTP by hand; and a small WebSocket echo."""

import base64
import hashlib
import http.server
import json
import os
import socket
import struct
import threading

DEADLINE_S = 40
PIECE = 65536


class HomeHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "home"
    timeout = DEADLINE_S
    disable_nagle_algorithm = True

    def log_message(self, *unused):
        pass

    def setup(self):
        super().setup()
        self.count = 0
        with self.server.lock:
            self.server.connections += 1
            self.server.open.add(self.connection)

    def finish(self):
        with self.server.lock:
            self.server.open.discard(self.connection)
        super().finish()

    def handle_expect_100(self):
        if self.path.startswith("/refuse"):
            self.send_error(413)
            self.close_connection = True
            return False
        if self.path.startswith("/stale") and self.count:
            self.note()
            self.close_connection = True
            return False
        return super().handle_expect_100()

    def pieces(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while True:
                size = int(self.rfile.readline().split(b";")[0], 16)
                if not size:
                    while self.rfile.readline().strip():
                        pass
                    return
                yield self.rfile.read(size)
                self.rfile.readline()
        left = int(self.headers.get("Content-Length", 0))
        while left:
            piece = self.rfile.read1(min(left, PIECE))
            if not piece:
                raise ConnectionError("the body ended early")
            left -= len(piece)
            yield piece

    def note(self):
        with self.server.lock:
            self.server.seen.append((self.command, self.path, list(self.headers.items()),
                                     self.count))

    def do_any(self):
        self.note()
        self.count += 1
        what = self.path.split("?")[0].strip("/").split("/")[0]
        if what == "die" or (what == "stale" and self.count > 1):
            self.close_connection = True
            return
        if what == "silent":
            self.server.ended.wait(DEADLINE_S)
            self.close_connection = True
            return
        digest, length = hashlib.sha256(), 0
        for piece in self.pieces():
            digest.update(piece)
            length += len(piece)
            self.server.received = length
        if what in ("big", "broken"):
            self.big(what)
            return
        self.answer(json.dumps({
            "home": self.server.name, "length": length, "digest": digest.hexdigest(),
            "method": self.command, "path": self.path,
            "headers": [[key, value] for key, value in self.headers.items()]}).encode())

    def answer(self, body):
        self.send_response(int(self.headers.get("X-Want", 200)))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Set-Cookie", "farmsync=abc.home; HttpOnly")
        self.send_header("Set-Cookie", "other=1")
        self.send_header("Keep-Alive", "timeout=77")
        self.send_header("X-Hop", "for the next only")
        self.send_header("Connection", "X-Hop, keep-alive")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def big(self, what):
        """Ten megabytes in chunks; `broken` ends in the middle."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for first in range(0, 160, 16):
            self.wfile.write(b"".join(b"%x\r\n" % PIECE + bytes([number]) * PIECE + b"\r\n"
                                      for number in range(first, first + 16)))
            if what == "broken":
                self.close_connection = True
                return
        self.wfile.write(b"0\r\n\r\n")

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_any


class Home(http.server.ThreadingHTTPServer):
    """A home whose connections are counted."""

    daemon_threads = True
    request_queue_size = 100

    def __init__(self, name, port=0):
        super().__init__(("127.0.0.1", port), HomeHandler)
        self.name = name
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self.connections, self.received = 0, 0
        self.open, self.seen = set(), []
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *unused):
        pass

    def end(self):
        self.ended.set()
        self.shutdown()
        self.server_close()
        with self.lock:
            for connection in self.open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass


def free_port():
    """A port that nobody listens on, as long as the socket is kept."""
    probe = socket.socket()
    probe.bind(("127.0.0.1", 0))
    return probe, probe.getsockname()[1]


class Wire:
    """A client that sends what it is told and reads answers one by one."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), DEADLINE_S)
        self.file = self.socket.makefile("rb")

    def send(self, *parts):
        for part in parts:
            self.socket.sendall(part if isinstance(part, bytes) else part.encode())

    def head(self):
        """Status and header fields."""
        line = self.file.readline()
        if not line:
            return 0, {}
        fields = {}
        while True:
            text = self.file.readline().strip().decode()
            if not text:
                return int(line.split()[1]), fields
            key, value = text.split(":", 1)
            fields.setdefault(key.lower(), []).append(value.strip())

    def body(self, fields):
        if "chunked" in fields.get("transfer-encoding", [""])[0]:
            body = b""
            while True:
                line = self.file.readline()
                if not line.strip():
                    raise ConnectionError("the answer broke off")
                size = int(line, 16)
                piece = self.file.read(size)
                if len(piece) < size or not self.file.readline():
                    raise ConnectionError("the answer broke off")
                if not size:
                    return body
                body += piece
        return self.file.read(int(fields.get("content-length", ["0"])[0]))

    def ask(self, method, path, fields="", body=b"", host="shop.example"):
        length = f"Content-Length: {len(body)}\r\n" if body or method in ("POST", "PUT") else ""
        self.send(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{length}{fields}\r\n", body)
        status, found = self.head()
        return status, found, b"" if method == "HEAD" else self.body(found)

    def close(self):
        self.file.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()


# --- WebSocket (RFC 6455), as much as an echo needs ----------------------------------------------

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept_of(key):
    return base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()


def frame(text, mask=None):
    data = text.encode()
    head = bytes([0x81, (0x80 if mask else 0) | (126 if len(data) > 125 else len(data))])
    if len(data) > 125:
        head += struct.pack(">H", len(data))
    if mask:
        data = bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))
        head += mask
    return head + data


def read_frame(file):
    head = file.read(2)
    if len(head) < 2:
        return None
    length = head[1] & 127
    if length == 126:
        [length] = struct.unpack(">H", file.read(2))
    mask = file.read(4) if head[1] & 128 else None
    data = file.read(length)
    if mask:
        data = bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))
    return data.decode()


class EchoHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *unused):
        pass

    def do_GET(self):
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept_of(self.headers["Sec-WebSocket-Key"]))
        self.end_headers()
        self.wfile.write(frame(f"token {self.headers['FarmSync-Route']}"))
        while (text := read_frame(self.rfile)) is not None:
            self.wfile.write(frame("echo " + text))
        self.close_connection = True


class Echo(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), EchoHandler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def address(self):
        return f"127.0.0.1:{self.server_address[1]}"

    def end(self):
        self.shutdown()
        self.server_close()


class WebSocket:
    def __init__(self, port, path, fields=""):
        self.wire = Wire(port)
        key = base64.b64encode(os.urandom(16)).decode()
        self.wire.send(f"GET {path} HTTP/1.1\r\nHost: shop.example\r\nUpgrade: websocket\r\n"
                       f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
                       f"Sec-WebSocket-Version: 13\r\n{fields}\r\n")
        self.status, self.fields = self.wire.head()
        if self.status == 101:
            assert self.fields["sec-websocket-accept"] == [accept_of(key)]

    def say(self, text):
        self.wire.send(frame(text, os.urandom(4)))

    def hear(self):
        return read_frame(self.wire.file)

    def close(self):
        self.wire.close()
