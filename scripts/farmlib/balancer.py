# SPDX-License-Identifier: Apache-2.0
"""A balancer before the web servers: HAProxy that gives each request to the next one, without
stickiness, and tries once again elsewhere. What it knows of the farm is a list of ports. Its answers say
in X-Reached which server it took.

    FARM_DIR/lb1/haproxy.cfg
"""

import os
import socket

from . import paths
from .part import Part, http_get

CONF = """\
# Written by scripts/farm
global
    maxconn 2000
defaults
    mode http
    timeout connect 2s
    timeout client 30s
    timeout server 10s
    option redispatch 1
    retries 1
    retry-on conn-failure empty-response response-timeout 503
listen farm
    bind 127.0.0.1:{port}
    balance roundrobin
    option httpchk GET /farmsync/status?json
    http-check expect status 200
    http-response set-header X-Reached %s
{servers}
"""


class Balancer(Part):
    kind = "lb"

    def write(self):
        """Writes its configuration, with all web servers that the farm has."""
        servers = "\n".join(f"    server {web.name} 127.0.0.1:{web.port} check inter 500 fall 2 rise 1"
                            for web in self.farm.webs)
        os.makedirs(os.path.join(self.directory, "logs"), exist_ok=True)
        self.farm.write_file(f"{self.name}/haproxy.cfg",
                             CONF.format(port=self.port, servers=servers))

    def command(self):
        return [paths.program("haproxy"), "-db", "-f",
                os.path.join(self.directory, "haproxy.cfg")]

    def popen_arguments(self):
        return self.farm.user.popen_arguments()

    def log_path(self):
        return os.path.join(self.farm.directory, "log", self.name + ".out")

    def ready(self):
        try:
            return http_get(self.url + "/farmsync/status?json", timeout=2)[0] == 200
        except (OSError, socket.timeout):
            return False
