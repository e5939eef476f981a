# SPDX-License-Identifier: Apache-2.0
"""Hosts in network namespaces of their own, on a bridge in a namespace of this process's own.

The process that calls enter() leaves the machine's network and mounts behind: what it makes is seen by
nobody else, and goes away with it. A host's namespace is held by a process that dies with its parent.
Needs the rights to make namespaces (root has them); Unavailable says what is missing.
"""

import ctypes
import os
import signal
import subprocess
import time

NEWNET, NEWNS = 0x40000000, 0x00020000
SET_PDEATHSIG = 1
HUB = "10.77.0.1"

libc = ctypes.CDLL(None, use_errno=True)


class Unavailable(Exception):
    """What this machine doesn't permit or doesn't have."""


def run(*command):
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    if done.returncode:
        raise Unavailable(f"{' '.join(command)}: {done.stdout}{done.stderr}".strip())


def enter():
    """This process gets a network of its own with a bridge, and mounts of its own."""
    if libc.unshare(NEWNET | NEWNS):
        raise Unavailable("network namespaces are not permitted here: "
                          + os.strerror(ctypes.get_errno()))
    run("mount", "--make-rprivate", "/")
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "br0", "type", "bridge")
    run("ip", "address", "add", f"{HUB}/24", "dev", "br0")
    run("ip", "link", "set", "br0", "up")


def _die_with_parent():
    libc.prctl(SET_PDEATHSIG, signal.SIGKILL)


class Host:
    """A namespace with one interface on the bridge."""

    def __init__(self, name, address):
        self.name, self.address = name, address
        own = os.stat("/proc/self/ns/net").st_ino
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"],
                                       preexec_fn=_die_with_parent)  # pylint: disable=W1509
        deadline = time.monotonic() + 10
        while os.stat(f"/proc/{self.holder.pid}/ns/net").st_ino == own:
            if self.holder.poll() is not None or time.monotonic() > deadline:
                raise Unavailable("unshare --net made no namespace")
            time.sleep(0.002)
        run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns",
            str(self.holder.pid))
        run("ip", "link", "set", name, "master", "br0", "up")
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "address", "add", f"{address}/24", "dev", "eth0")
        self.run("ip", "link", "set", "eth0", "up")
        self.run("nft", "add table ip faults; add chain ip faults input "
                 "{ type filter hook input priority 0; }")

    def inside(self, *command):
        """The command line of a program that runs on this host."""
        return ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", *command]

    def run(self, *command):
        run(*self.inside(*command))

    def lose_from(self, *others):
        """Packets that these hosts send to this one get lost; the other way they arrive."""
        for other in others:
            self.run("nft", f"add rule ip faults input ip saddr {other.address} drop")

    def heal(self):
        self.run("nft", "flush chain ip faults input")

    def close(self):
        self.holder.kill()
        self.holder.wait()


def small_disk(path, megabytes, uid, gid):
    """A file system of a limited size, seen by this process and its children only."""
    os.makedirs(path, exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0750,uid={uid},gid={gid}", "tmpfs",
        path)


def fill(path):
    """Takes all the space that is left; returns the file."""
    name = os.path.join(path, "filler")
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    os.write(descriptor, b"x" * size)
            except OSError:
                continue
    finally:
        os.close(descriptor)
    return name


def unmount(path):
    subprocess.run(["umount", "-l", path], check=False, capture_output=True)
