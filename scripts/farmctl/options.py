# SPDX-License-Identifier: Apache-2.0
"""How the database is reached: MySQL option files and what the command line says instead.

The files are those of the other parts and of the MySQL clients: `host` may be a list, "db1,
db2:3307, [2001:db8::3]:3306", tried in order; localhost without a port means the Unix socket.
"""

import getpass
import glob
import os
import re
import ssl
from collections import namedtuple

from .errors import BadOption

DEFAULT_FILES = ("~/.my.cnf", "/etc/farmsync/my.cnf")
GROUPS = ("client", "farmsync")  # the later one counts more
SOCKETS = ("/run/mysqld/mysqld.sock", "/var/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock",
           "/tmp/mysql.sock")
KNOWN = {"host", "port", "socket", "user", "password", "ssl-ca", "ssl-cert", "ssl-key",
         "ssl-verify-server-cert"}
DEFAULT_PORT = 3306
MAX_HOSTS = 16
MAX_DEPTH = 10  # of files that include files

Host = namedtuple("Host", "name port socket")


class Target:
    """Hosts and account. Never shown whole: it has the password."""

    def __init__(self, values, source):
        self.source = source  # for messages: where the settings came from
        self.user = values.get("user") or getpass.getuser()
        self.password = values.get("password", "")
        self.hosts = hosts(values)
        self.ca, self.cert, self.key = (values.get(f"ssl-{one}") for one in ("ca", "cert", "key"))
        self.verify = truth(values.get("ssl-verify-server-cert", "0"))

    def tls(self):
        if not self.ca and not self.cert and not self.verify:
            return None
        return {key: value for key, value in (
            # PyMySQL compares the name in a certificate only where it is given authorities.
            ("ca", self.ca or (ssl.get_default_verify_paths().cafile if self.verify else None)),
            ("cert", self.cert), ("key", self.key),
            ("check_hostname", self.verify), ("verify_mode", bool(self.ca or self.verify)))
            if value is not None}


def truth(text):
    return text.strip().lower() not in ("0", "off", "false", "no", "disabled")


def number(text, what):
    if not re.fullmatch(r"\d{1,5}", text) or not 1 <= int(text) <= 65535:
        raise BadOption(f"{what} must be a number from 1 to 65535, not {text!r}")
    return int(text)


def parse_host(text, port, socket):
    found = re.fullmatch(r"\[([^\[\]]+)\](?::(.*))?|([^:\[\]]+)(?::(.*))?|([0-9A-Fa-f:.]+)", text)
    if not found:
        raise BadOption('host must be a list like "db1, db2:3307, [2001:db8::3]:3306", '
                        f"not {text!r}")
    name = found[1] or found[3] or found[5]
    own = found[2] if found[1] else found[4]
    if own is not None:
        return Host(name, number(own, "the port of a host"), None)
    if name == "localhost":
        return Host(name, None, socket or default_socket())
    return Host(name, port or DEFAULT_PORT, None)


def default_socket():
    return next((path for path in SOCKETS if os.path.exists(path)), SOCKETS[0])


def hosts(values):
    port = number(values["port"], "port") if values.get("port") else None
    names = [one.strip() for one in values.get("host", "localhost").split(",")]
    if "" in names or len(names) > MAX_HOSTS:
        raise BadOption(f"host must name 1 to {MAX_HOSTS} hosts, separated by commas")
    return [parse_host(name, port, values.get("socket")) for name in names]


def host_name(host):
    """As messages and the clock's source name it."""
    if host.socket:
        return host.socket
    return f"[{host.name}]:{host.port}" if ":" in host.name else f"{host.name}:{host.port}"


# --- option files ----------------------------------------------------------------------------


def unquote(text):
    """A value as the MySQL clients read it: quotes around it, escapes in it."""
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1]
    special = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "s": " ", "\\": "\\", '"': '"',
               "'": "'"}
    return re.sub(r"\\(.)", lambda found: special.get(found[1], found[0]), text)


def without_comment(text):
    """`#` begins a comment unless it stands in quotes."""
    quote = None
    for place, letter in enumerate(text):
        if quote:
            quote = None if letter == quote and text[place - 1] != "\\" else quote
        elif letter in "'\"":
            quote = letter
        elif letter == "#" and (place == 0 or text[place - 1].isspace()):
            return text[:place].rstrip()
    return text.rstrip()


def read_lines(path, depth=0):
    """The file's lines with those of the files that it includes."""
    if depth > MAX_DEPTH:
        raise BadOption(f"{path}: files include each other without end")
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError as error:
        raise BadOption(f"cannot read {path}: {error.strerror}; check the path and its rights, or "
                        "give --defaults-file") from error
    for line in lines:
        words = line.strip().split(None, 1)
        if words and words[0] == "!include" and len(words) == 2:
            yield from read_lines(words[1], depth + 1)
        elif words and words[0] == "!includedir" and len(words) == 2:
            for one in sorted(glob.glob(os.path.join(glob.escape(words[1]), "*.cnf"))):
                yield from read_lines(one, depth + 1)
        else:
            yield line.strip()


def read_file(path):
    """What the groups [client] and [farmsync] say; None if the file has neither."""
    found, group = {}, None
    for line in read_lines(path):
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            group = line[1:].split("]")[0].strip()
            if group in GROUPS:
                found.setdefault(group, {})
            continue
        if group not in GROUPS:
            continue
        name, equals, value = line.partition("=")
        name = name.strip().lower().replace("_", "-")
        if name in KNOWN:
            # An option without a value, such as ssl-verify-server-cert, is switched on.
            found[group][name] = unquote(without_comment(value.strip())) if equals else "1"
    if not found:
        return None
    return {name: value for group in GROUPS for name, value in found.get(group, {}).items()}


def from_files(asked):
    """Settings and the name of the file that they are from."""
    if asked:
        values = read_file(os.path.expanduser(asked))
        if values is None:
            raise BadOption(f"{asked} has neither a group [farmsync] nor [client]; add [farmsync] "
                            "with at least host and user")
        return values, asked
    for path in map(os.path.expanduser, DEFAULT_FILES):
        if os.path.exists(path) and os.access(path, os.R_OK):
            values = read_file(path)
            if values is not None:
                return values, path
    return {}, "no option file"


def target(options):
    """From the command line's options, which count more than the file."""
    values, source = from_files(options.defaults_file)
    given = {"host": options.host, "user": options.user, "socket": options.socket,
             "port": options.port and str(options.port)}
    if options.socket and not options.host:
        given["host"] = "localhost"
    values.update({name: value for name, value in given.items() if value})
    if options.ask_password:
        values["password"] = getpass.getpass("Password: ")
    return Target(values, source)
