# SPDX-License-Identifier: Apache-2.0
"""Free TCP ports on loopback.

They are taken from below the range from which the kernel takes ports for outgoing connections, so
that a server which is stopped for a while finds its port still free when it comes back. A port that
was taken is held until it is released or this process ends, so that nobody else who takes ports here
gets it before its server is up: a socket without SO_REUSEADDR is bound to it, which excludes every
other one, and gets the option afterwards, with which servers (they all set it) may bind and listen.
"""

import random
import socket

from .errors import FarmError

LOWEST, HIGHEST = 12000, 32000

_held = {}  # port: the socket that holds it


def is_free(port):
    """Whether a server could bind to it; a port that is held here can be."""
    for address in ("127.0.0.1", "0.0.0.0"):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True


def _hold(port):
    """Whether it was free, of everybody who holds it, too."""
    holder = socket.socket()
    try:
        holder.bind(("0.0.0.0", port))
    except OSError:
        holder.close()
        return False
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _held[port] = holder
    return True


def release(numbers):
    for port in numbers:
        if port in _held:
            _held.pop(port).close()


def take(count, base=None):
    """
    `count` free ports: base, base + 1, ... if a base is given, else any, which are then held until
    they are released.
    """
    if base is not None:
        if not 1 <= base <= 65535 - count:
            raise FarmError(f"--base-port {base} leaves no room for {count} ports; "
                            f"give one between 1 and {65535 - count}")
        wanted = list(range(base, base + count))
        busy = [port for port in wanted if not is_free(port)]
        if busy:
            raise FarmError(f"port {busy[0]} is in use; give another --base-port "
                            f"({count} ports from it on are needed) or none at all")
        return wanted
    chosen = []
    for port in random.SystemRandom().sample(range(LOWEST, HIGHEST), 2000):
        if len(chosen) == count:
            return chosen
        if _hold(port):
            chosen.append(port)
    release(chosen)
    raise FarmError(f"no {count} free ports between {LOWEST} and {HIGHEST}; give --base-port")
