# SPDX-License-Identifier: Apache-2.0
"""
The agent of a web server: by its socket on that host, or signed with the farm key from elsewhere.

On the host itself nothing is loaded that isn't needed there: visitors wait for it.
"""

import json
import os
import re
import socket
import time

from .errors import AgentRefused, AgentUnreachable, BadOption
from .text import clip, printable

SOCKETS = ("/run/apache2/farmsync/agent.sock", "/var/run/apache2/farmsync/agent.sock",
           "/run/httpd/farmsync/agent.sock", "/usr/local/apache2/logs/farmsync/agent.sock")
ORIGIN = "farmsyncctl"
REMEDY = ("run it on a web server as root or as httpd's user, or say where the agent is with "
          "--agent STATEDIR/agent.sock, or --agent http://HOST:PORT and --key-file")


LIMIT = 64 << 20


def connect_unix(path, timeout):
    """A Unix socket, whose path may be longer than the kernel's addresses are."""
    directory = os.open(os.path.dirname(path) or ".", os.O_PATH | os.O_DIRECTORY)
    try:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(timeout)
            connection.connect(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
        except BaseException:
            connection.close()
            raise
    finally:
        os.close(directory)
    return connection


def read_answer(file):
    """(status, body) of an HTTP answer as agents give it: always with its length. OSError if it is none."""
    words = file.readline(1024).split(None, 2)
    length = None
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not re.fullmatch(rb"[2-5]\d\d", words[1]):
        raise OSError("what it says isn't HTTP" if words else "it ended the connection")
    for line in iter(lambda: file.readline(65536), b"\r\n"):
        name, colon, value = line.partition(b":")
        if not colon:
            raise OSError("its answer was cut off")
        if name.lower() == b"content-length" and value.strip().isdigit():
            length = int(value)
    if words[1] in (b"204", b"304"):
        length = 0
    if length is None or length > LIMIT:
        raise OSError("its answer has no length that is believed")
    body = file.read(length)
    if len(body) < length:
        raise OSError("its answer was cut off")
    return int(words[1]), body


def exchange_unix(path, timeout, request):
    """One request over a Unix socket: (status, body)."""
    with connect_unix(path, timeout) as connection:
        try:
            connection.sendall(request)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it may have answered before it had read all
        with connection.makefile("rb") as file:
            return read_answer(file)


def read_key(path):
    """(id, secret) of the key that signs."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            lines = [line.split("#")[0].split() for line in file]
    except OSError as error:
        raise BadOption(f"cannot read the key file {path}: {error.strerror}") from error
    words = next((line for line in lines if line), [])
    if len(words) != 2 or not re.fullmatch(r"(?:[0-9A-Fa-f]{2}){32,64}", words[1]):
        raise BadOption(f'{path} has no key: give a line "ID HEX" with at least 64 hex digits')
    return words[0], bytes.fromhex(words[1])


def signature(key, method, path, body):
    """The value of FarmSync-Auth, as lib/net/fs_key.h says."""
    import hashlib
    import hmac
    import secrets
    moment, nonce = str(int(time.time() * 1e6)), secrets.token_hex(16)
    text = "\n".join(("farmsync-request-1", method, path, ORIGIN, moment, nonce,
                      hashlib.sha256(body).hexdigest()))
    mac = hmac.new(key[1], text.encode(), hashlib.sha256).hexdigest()
    return f"key={key[0]}, origin={ORIGIN}, time={moment}, nonce={nonce}, mac={mac}"


class Agent:
    """One agent; a connection for each request."""

    def __init__(self, where=None, key_file=None, timeout=10):
        self.where = where or next(filter(os.path.exists, SOCKETS), SOCKETS[0])
        self.timeout = timeout
        self.url = None
        if self.where.startswith(("http://", "https://")):
            import urllib.parse
            self.url = urllib.parse.urlsplit(self.where)
            if not self.url.hostname:
                raise BadOption(f"{self.where} names no host; give http://HOST:PORT")
        elif "://" in self.where:
            raise BadOption(f"{self.where} is neither a path of agent.sock nor http://HOST:PORT")
        self.key = read_key(key_file) if key_file else None

    def _exchange(self, method, path, body, headers):
        """(status, body); OSError if there is no answer."""
        if self.url is None:
            lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close",
                     *(f"{name}: {value}" for name, value in headers.items())]
            if body:
                lines.append(f"Content-Length: {len(body)}")
            head = "\r\n".join([*lines, "", ""]).encode("latin-1")
            return exchange_unix(self.where, self.timeout, head + body)
        import http.client
        kind = http.client.HTTPSConnection if self.url.scheme == "https" \
            else http.client.HTTPConnection
        try:
            connection = kind(self.url.hostname, self.url.port, timeout=self.timeout)
        except ValueError as error:
            raise BadOption(f"{self.where}: {error}") from error
        try:
            connection.request(method, path, body=body or None, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read(LIMIT)
        except http.client.HTTPException as error:
            raise OSError(str(error) or type(error).__name__) from error
        finally:
            connection.close()

    def ask(self, method, path, body=b"", raw=False):
        """(status, what the JSON says, or the text if `raw`); AgentUnreachable or AgentRefused otherwise."""
        headers = {"FarmSync-Auth": signature(self.key, method, path, body)} if self.key else {}
        if body:
            headers["Content-Type"] = "application/json"
        try:
            status, text = self._exchange(method, path, body, headers)
        except OSError as error:
            raise AgentUnreachable(f"the agent at {printable(self.where)} doesn't answer: "
                                   f"{printable(error)}; {REMEDY}") from error
        text = text.decode("utf-8", "replace")
        if status in (401, 403):
            raise AgentRefused(f"the agent at {printable(self.where)} refuses: "
                               f"{said(text)}; give the farm's key with --key-file")
        if raw and status == 200:
            return status, text
        try:
            value = json.loads(text) if text else {}
        except ValueError as error:
            if status == 404:
                return 404, {}
            raise AgentRefused(f"{printable(self.where)} is no agent: {status} "
                               f"{said(text)}") from error
        if status >= 400 and status != 404:
            raise AgentRefused(said(text))
        return status, value


def said(text):
    """The sentence of an answer that isn't well."""
    try:
        value = json.loads(text)
        text = value.get("problem") or value.get("error") or text
        if value.get("detail"):
            text += ": " + value["detail"]
    except (ValueError, AttributeError):
        pass
    return clip(printable(" ".join(str(text).split())), 400) or "no reason was given"
