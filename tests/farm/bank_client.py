# SPDX-License-Identifier: Apache-2.0
"""Bank servers without a web server: datasrv processes, and what hosts and peers say to them
(lib/session/fs_session_batch.h), signed with a farm key."""

import contextlib
import hashlib
import hmac
import http.client
import os
import re
import secrets
import signal
import struct
import subprocess

from farmlib import paths, ports
from farmlib.part import tail, wait_until

(OFFER, OFFERED, TAKE, TAKEN, VERSIONS, DIFFERING, RENEW, RENEWED, SCAN, DIGEST, LIST, STATE,
 HANDOVER, HANDED, LATE) = range(1, 16)
(NONE, STORED, HAVE, MERGE, FULL, TOO_LARGE, REFUSED, GRANTED, OWNED, UNKNOWN, DIFFERS,
 TAKING) = range(12)
IN_SYNC, PASS, ALL, MORE, IS_FULL = 1, 2, 4, 8, 16
ENDED, ALIAS, URGENT, RELEASED, PEEK, COPY, FENCED, WANTED = 1, 2, 4, 8, 16, 32, 64, 128
FOREVER = 2 ** 63 - 1


# --- batches ----------------------------------------------------------------------------------------


def item(key, what=NONE, flags=0, **parts):
    """Parts: version, expires, base, owner, lease, sealed."""
    names = ("version", "expires", "base", "owner", "lease", "bases", "sealed")
    bits = sum(1 << names.index(name) for name in parts)
    out = [key, struct.pack("<BBH", what, flags, bits)]
    for name in names:
        if name not in parts:
            continue
        value = parts[name]
        if name in ("version", "base"):
            out.append(struct.pack("<IQQ", *value))
        elif name == "expires":
            out.append(struct.pack("<q", value))
        elif name == "owner":
            out.append(bytes([len(value)]) + value.encode())
        elif name == "lease":
            out.append(struct.pack("<I", value))
        else:
            out.append(struct.pack("<I", len(value)) + value)
    return b"".join(out)


def batch(kind, items=(), flags=0, lease=0, copies=0, instance=0, boot=0, sequence=0, mark=0,
          name=""):
    head = struct.pack("<4sBBBBIIIIQQQQ", b"FSB\1", kind, flags, len(name), 0, len(items), lease,
                       copies, 0, instance, boot, sequence, mark)
    return head + name.encode() + b"".join(items)


class Answer:
    def __init__(self, body, kind):
        (magic, got, self.flags, length, _, self.count, self.lease, self.copies, _, self.instance,
         self.boot, self.sequence, self.mark) = struct.unpack_from("<4sBBBBIIIIQQQQ", body)
        assert (magic, got) == (b"FSB\1", kind), (magic, got)
        at = 56
        self.name, at = body[at:at + length].decode(), at + length
        self.items = []
        for _ in range(self.count):
            made, at = self._item(body, at)
            self.items.append(made)
        assert at == len(body)

    @staticmethod
    def _item(body, at):
        made = {"key": body[at:at + 16]}
        made["what"], made["flags"], bits = struct.unpack_from("<BBH", body, at + 16)
        at += 20
        for bit, name in enumerate(("version", "expires", "base", "owner", "lease", "bases",
                                    "sealed")):
            if not bits & 1 << bit:
                continue
            if name in ("version", "base"):
                made[name], at = struct.unpack_from("<IQQ", body, at), at + 20
            elif name == "expires":
                made[name], at = struct.unpack_from("<q", body, at)[0], at + 8
            elif name == "owner":
                made[name] = body[at + 1:at + 1 + body[at]].decode()
                at += 1 + body[at]
            elif name == "lease":
                made[name], at = struct.unpack_from("<I", body, at)[0], at + 4
            else:
                length = struct.unpack_from("<I", body, at)[0]
                made[name], at = body[at + 4:at + 4 + length], at + 4 + length
        return made, at


# --- the key ----------------------------------------------------------------------------------------


class Key:
    def __init__(self):
        self.identifier, self.secret = "k1", secrets.token_bytes(32)

    def line(self):
        return f"{self.identifier} {self.secret.hex()}\n"

    def header(self, origin, method, path, body):
        nonce = secrets.token_hex(16)
        signed = "\n".join(["farmsync-request-1", method, path, origin, "1", nonce,
                            hashlib.sha256(body).hexdigest()])
        mac = hmac.new(self.secret, signed.encode(), "sha256").hexdigest()
        return f"key={self.identifier}, origin={origin}, time=1, nonce={nonce}, mac={mac}"


# --- a bank server ----------------------------------------------------------------------------------


class Bank:
    """A datasrv on a port of its own. Without a database it serves sessions and nothing else."""

    def __init__(self, directory, key, name, port, option_file=None, **settings):
        self.directory = os.path.join(directory, name)
        os.makedirs(self.directory, exist_ok=True)
        self.key, self.name, self.port = key, name, port
        self.address = f"127.0.0.1:{port}"
        self.url = f"http://{self.address}"
        self.log_path = os.path.join(self.directory, "log")
        self.data = os.path.join(self.directory, "images", "sessions")
        self.conf = os.path.join(self.directory, "datasrv.conf")
        self.settings = {"Name": name, "Listen": self.address, "LogLevel": "debug",
                         "LogFile": self.log_path, **settings}
        self.write("key", key.line())
        if not option_file:
            option_file = self.write("none.cnf", "[farmsync]\nhost=127.0.0.1\nport=1\nuser=none\n")
        self.settings.update(Database=option_file, KeyFile=os.path.join(self.directory, "key"),
                             ImageDir=os.path.join(self.directory, "images"))
        self.process = None
        self.peers = []

    def write(self, name, text):
        path = os.path.join(self.directory, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o600)
        return path

    def log(self):
        with contextlib.suppress(FileNotFoundError):
            with open(self.log_path, encoding="utf-8") as file:
                return file.read()
        return ""

    def said(self, number):
        return len(re.findall(rf"\] {number}: ", self.log()))

    def start(self):
        started = self.said("FS0820")
        self.write("datasrv.conf", "".join(
            f"{name} {value}\n" for name, value in self.settings.items()) + "".join(
                f"Peer {peer.url}\n" for peer in self.peers))
        self.process = subprocess.Popen([paths.built("datasrv/datasrv"), "-c", self.conf],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE)
        wait_until(lambda: self.said("FS0820") > started or self.process.poll() is not None, 60,
                   f"{self.name} to be ready", lambda: tail(self.log_path))
        assert self.process.poll() is None, self.process.stderr.read().decode() + self.log()
        return self

    def stop(self):
        process, self.process = self.process, None
        if process is None:
            return
        process.terminate()
        _, words = process.communicate(timeout=60)
        assert (process.returncode, words) == (0, b""), words.decode() + self.log()

    def kill(self):
        process, self.process = self.process, None
        process.send_signal(signal.SIGKILL)
        process.communicate()

    def metric(self, name):
        _, body = self.call(None, "GET", "/metrics", b"")
        found = re.search(rf"^farmsync_{re.escape(name)} (\S+)$", body.decode(), re.MULTILINE)
        return float(found[1]) if found else None

    def call(self, origin, method, path, body):
        """(status, body)"""
        headers = {"FarmSync-Auth": self.key.header(origin, method, path, body)} if origin else {}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def ask(self, origin, resource, body, kind):
        status, answer = self.call(origin, "POST", f"/v1/sessions/{resource}", body)
        assert status == 200, (status, answer, self.log()[-2000:])
        return Answer(answer, kind)

    # What hosts ask, one session at a time unless `many` is meant.

    def offer(self, host, key, version, sealed=b"sealed", base=None, flags=0, expires=FOREVER,
              **more):
        parts = {"version": version, "expires": expires, "sealed": sealed, **more}
        if base:
            parts["base"] = base
        return self.ask(host, "offer", batch(OFFER, [item(key, flags=flags, **parts)]),
                        OFFERED).items[0]

    def take(self, host, key, flags=0, **parts):
        return self.ask(host, "take", batch(TAKE, [item(key, flags=flags, **parts)]), TAKEN).items

    def peek(self, key):
        return self.take("reader", key, flags=PEEK)[0]

    def renew(self, host, lease=300, **more):
        return self.ask(host, "renew", batch(RENEW, lease=lease, **more), RENEWED)

    def compare(self, host, *pairs):
        return self.ask(host, "versions", batch(VERSIONS, [item(key, version=version)
                                                           for key, version in pairs]), DIFFERING)

    def state(self):
        return self.ask("@somebody", "state", batch(STATE), STATE)


def new_key():
    return secrets.token_bytes(16)


def make_banks(directory, key, count, option_file=None, **settings):
    banks = [Bank(directory, key, f"bank{i}", port, option_file, **settings)
             for i, port in enumerate(ports.take(count))]
    for bank in banks:
        bank.peers = [other for other in banks if other is not bank]
    return banks
