# SPDX-License-Identifier: Apache-2.0
"""Configuration of balancers, written from what a farm says of its servers."""

import math
import re
import socket
import urllib.parse

from .errors import AgentRefused

NAME = re.compile(r"[A-Za-z0-9._:-]{1,64}")
HOST = re.compile(r"[A-Za-z0-9._:-]{1,253}")
CA_FILE = "/etc/ssl/certs/ca-certificates.crt"


class Server:
    """A server that can be home to visitors, as the balancers need it."""

    def __init__(self, said):
        self.name = said["name"]
        self.capacity = int(said["capacity"])
        url = urllib.parse.urlsplit(said.get("url") or "")
        public = urllib.parse.urlsplit(said.get("public") or "")
        try:
            self.tls = url.scheme == "https"
            self.host, self.port = url.hostname, url.port or (443 if self.tls else 80)
            self.public = public.hostname or url.hostname
        except ValueError:
            self.host = None
        # It is written into files that programs obey.
        if not NAME.fullmatch(self.name) or url.scheme not in ("http", "https") or \
                not self.host or not HOST.fullmatch(self.host) or not HOST.fullmatch(self.public):
            raise AgentRefused(f'the server "{self.name}" has no name and URL that can be written '
                               "into a configuration; look at its FarmSyncRouteURL")

    @property
    def netloc(self):
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def servers_of(farm):
    """Those who can be home to somebody, by name, also if they are away at the moment."""
    found = [Server(one) for one in farm["servers"] if one["capacity"] > 0]
    if not found:
        raise AgentRefused("no server of this farm can be home to visitors; see FarmSyncCapacity")
    return sorted(found, key=lambda one: one.name)


def weights(servers, most):
    """Whole numbers up to `most` in proportion to the capacities, as small as they can be."""
    common = math.gcd(*(one.capacity for one in servers))
    greatest = max(one.capacity for one in servers)
    if greatest // common <= most:
        return [one.capacity // common for one in servers]
    return [max(1, round(one.capacity * most / greatest)) for one in servers]


def head(servers, how, comment="#"):
    return [f"{comment} Written by farmsyncctl snippet {how}, for {len(servers)} servers: "
            "again when one joins or leaves,",
            f"{comment} or has another URL or FarmSyncCapacity."]


def haproxy(servers, options):
    check = f" agent-check agent-port {options.check_port} agent-inter 1s" if options.check_port else ""
    lines = [*head(servers, "haproxy"),
             f"backend {options.name}",
             "    mode http",
             "    # Whom no cookie sends anywhere: the farm spreads them by itself.",
             "    balance leastconn",
             "    option forwardfor",
             "    option redispatch 1",
             "    retries 2",
             "    retry-on conn-failure empty-response",
             "    timeout connect 2s",
             "    timeout server 60s",
             "    option httpchk",
             "    http-check send meth GET uri /farmsync/status/health",
             "    http-check expect status 200",
             "    # The home that the affinity cookie names behind its first dot. Nobody must believe it:",
             "    # a request that arrives at another server is sent home from there.",
             f"    http-request set-var(txn.home) req.cook({options.cookie}),field(2,.,0)"]
    lines += [f"    use-server {one.name} if {{ var(txn.home) -m str {one.name} }}" for one in servers]
    for one, weight in zip(servers, weights(servers, 256)):
        tls = f" ssl verify required ca-file {CA_FILE} sni req.hdr(host)" if one.tls else ""
        lines.append(f"    server {one.name} {one.netloc} weight {weight} check inter 1s fall 2 rise 1{check}{tls}")
    if not check:
        lines += ["    # With --check-port PORT each server says how much it takes, drain and maint: "
                  "FarmSyncAgentCheck."]
    return lines


def balancer(servers, options):
    members = []
    for one, weight in zip(servers, weights(servers, 100)):
        scheme = "https" if one.tls else "http"
        members.append(f'    BalancerMember "{scheme}://{one.netloc}" route={one.name} loadfactor={weight} '
                       "connectiontimeout=1 retry=2")
    tls = ["SSLProxyEngine on"] if any(one.tls for one in servers) else []
    return [*head(servers, "balancer"),
            "# mod_proxy_balancer in front of the farm. With mod_farmsync and mod_proxy_farmsync beside it, and",
            "# what is commented out, it knows where visitors are home, who is drained, and who is busy.",
            f'<Proxy "balancer://{options.name}">',
            *members,
            f"    ProxySet stickysession={options.cookie}",
            "    <IfModule proxy_farmsync_module>",
            "        ProxySet lbmethod=farmsync",
            "    </IfModule>",
            "    <IfModule !proxy_farmsync_module>",
            "        ProxySet lbmethod=byrequests",
            "    </IfModule>",
            "</Proxy>",
            *tls,
            "ProxyPreserveHost On",
            'ProxyPass "/farmsync/" "!"',
            f'ProxyPass "/" "balancer://{options.name}/"',
            "#FarmSyncCapacity 0",
            "#FarmSyncRoute    On",
            "#FarmSyncRouteBy  balancer",
            "# On the farm's servers, so that they see the visitor's address (mod_remoteip):",
            "#RemoteIPHeader        X-Forwarded-For",
            "#RemoteIPInternalProxy ADDRESS-OF-THIS-SERVER"]


def jk(servers, options):
    port = options.check_port or 8009
    names = [re.sub(r"[^A-Za-z0-9_]", "_", one.name) for one in servers]
    if len(set(names)) < len(names):
        names = [f"{name}_{number}" for number, name in enumerate(names)]
    lines = [*head(servers, "jk"),
             "# workers.properties of mod_jk in front of the Tomcats beside the farm's servers.",
             f"worker.list={options.name}",
             f"worker.{options.name}.type=lb",
             f"worker.{options.name}.balance_workers={','.join(names)}",
             f"worker.{options.name}.sticky_session=True",
             f"worker.{options.name}.session_cookie={options.cookie}"]
    for name, one, weight in zip(names, servers, weights(servers, 100)):
        lines += [f"worker.{name}.type=ajp13", f"worker.{name}.host={one.host}", f"worker.{name}.port={port}",
                  f"worker.{name}.route={one.name}", f"worker.{name}.lbfactor={weight}"]
    return lines


def addresses(host):
    """[(type, address)] of a host; none if its name isn't known here."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return sorted({("AAAA" if family == socket.AF_INET6 else "A", address[0].split("%")[0])
                   for family, _, _, _, address in found})


def dns(servers, options):
    lines = [*head(servers, "dns", ";"),
             "; All servers get new visitors alike; those of little FarmSyncCapacity pass them on. A server",
             "; that is drained or dead is asked on until this is changed, for at least its 60 seconds."]
    for one in servers:
        found = addresses(one.public)
        lines += [f"{options.name}\t60\tIN\t{kind}\t{address}\t; {one.name}" for kind, address in found]
        if not found:
            lines.append(f"; {one.name}: {one.public} has no address here")
    return lines


KINDS = {"haproxy": haproxy, "balancer": balancer, "jk": jk, "dns": dns}
