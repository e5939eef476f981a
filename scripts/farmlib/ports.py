# SPDX-License-Identifier: Apache-2.0
"""Free TCP ports on loopback.

They are taken from below the range from which the kernel takes ports for outgoing connections, so
that a server which is stopped for a while finds its port still free when it comes back.
"""

import random
import socket

from .errors import FarmError

LOWEST, HIGHEST = 12000, 32000


def is_free(port):
    for address in ("127.0.0.1", "0.0.0.0"):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True


def take(count, base=None):
    """`count` free ports: base, base + 1, ... if a base is given, else any."""
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
        if is_free(port):
            chosen.append(port)
    raise FarmError(f"no {count} free ports between {LOWEST} and {HIGHEST}; give --base-port")
