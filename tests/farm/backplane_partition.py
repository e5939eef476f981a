# SPDX-License-Identifier: Apache-2.0
"""
Eight agents on hosts of their own, whose network is cut: a partition of 3 and 5, a chain that is broken and
mended, a link that loses one direction. Run by test_backplane.py; ends with 77 if namespaces can't be made.
"""

import os
import shutil
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, "..", "..", "scripts"))

import netns  # noqa: E402
from backplane_hosts import Farm, Host  # noqa: E402
from farmlib.part import wait_until  # noqa: E402

TIMES = {"suspect_ms": 1500, "dead_ms": 3000}


class Network:
    def __init__(self, count):
        self.hosts = [netns.Host(f"web{i + 1}", f"10.77.0.{i + 10}") for i in range(count)]

    def only(self, hears):
        """hears(a, b): whether what b sends arrives at a."""
        for i, host in enumerate(self.hosts):
            host.heal()
            deaf = [other for k, other in enumerate(self.hosts) if k != i and not hears(i, k)]
            if deaf:
                host.lose_from(*deaf)

    def heal(self):
        self.only(lambda a, b: True)

    def close(self):
        for host in self.hosts:
            host.close()


def partition(farm, network):
    left, right = farm.hosts[:3], farm.hosts[3:]
    network.only(lambda a, b: (a < 3) == (b < 3))
    wait_until(lambda: left[0].peer(right[0])["state"] == "dead", 30, "the others to be dead")
    answer = left[0].down("left", 3000)
    assert (answer["told"], answer["of"]) == (3, 8), answer
    right[0].down("right", 3000)
    left[1].ask("DELETE", "/v1/notices/shop")
    farm.know(["left"], left)
    farm.know(["right", "shop"], right)
    start = time.monotonic()
    network.heal()
    farm.know(["left", "right"])
    print(f"partition of 3 + 5: both sides have both {time.monotonic() - start:.2f} s after it healed")
    farm.settle(60)


def chain(farm, network):
    hosts = farm.hosts
    network.only(lambda a, b: abs(a - b) == 1)
    wait_until(lambda: hosts[0].peer(hosts[7])["state"] == "dead", 30, "the far end to be dead")
    start = time.monotonic()
    hosts[0].down("along", 0)
    farm.know(["along", "left", "right"])
    print(f"chain of 8: at its end after {time.monotonic() - start:.2f} s")
    network.only(lambda a, b: abs(a - b) == 1 and {a, b} != {3, 4})
    hosts[0].down("before", 0)
    farm.know(["along", "before", "left", "right"], hosts[:4])
    assert "before" not in hosts[4].applications()
    network.only(lambda a, b: abs(a - b) == 1)
    farm.know(["along", "before", "left", "right"])
    network.heal()
    farm.settle(60)


def one_direction(farm, network):
    network.only(lambda a, b: (a, b) != (1, 0))  # web2 hears nothing of web1
    wait_until(lambda: farm.hosts[1].peer(farm.hosts[0])["state"] == "dead", 30, "web1 to be dead")
    start = time.monotonic()
    farm.hosts[0].down("oneway", 0)
    wait_until(lambda: "oneway" in farm.hosts[1].applications(), 30, "web2 to hear it from others")
    print(f"one direction lost: heard from others after {time.monotonic() - start:.2f} s")
    network.heal()
    farm.settle(60)


def main():
    try:
        netns.enter()
        network = Network(8)
    except netns.Unavailable as error:
        print(error)
        return 77
    directory = tempfile.mkdtemp(prefix="fsbp-", dir="/tmp")
    farm = Farm(directory, 0)
    try:
        farm.hosts = [Host(directory, host.name, farm.keys, host.address, host.inside, **TIMES)
                      for host in network.hosts]
        for host in farm.hosts:
            host.peers = farm.hosts
        farm.start()
        farm.hosts[7].down("shop")
        farm.know(["shop"])
        partition(farm, network)
        chain(farm, network)
        one_direction(farm, network)
    finally:
        farm.end()
        network.close()
        shutil.rmtree(directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
