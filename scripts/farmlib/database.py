# SPDX-License-Identifier: Apache-2.0
"""The farm's database as a part of the farm: a private MariaDB with farmsync's schema and accounts.

    FARM_DIR/db1/              see mariadb.py
    FARM_DIR/etc/agent.cnf     option files of the accounts, with random passwords
             etc/datasrv.cnf
             etc/operator.cnf
"""

import os
import re
import secrets

from . import mariadb, paths, proc
from .errors import FarmError
from .part import Part, wait_until

ACCOUNTS = ("agent", "datasrv", "operator")
ESCAPES = {"n": "\n", "t": "\t", "\\": "\\", "0": "\0"}


def unescape(value):
    """One column of the client's batch output."""
    if value == "NULL":
        return None
    return re.sub(r"\\(.)", lambda found: ESCAPES.get(found[1], found[1]), value)


class Database(Part):
    kind = "db"
    stop_seconds = 60

    def __init__(self, farm, name, record):
        super().__init__(farm, name, record)
        self._server = None

    @property
    def server(self):
        """The server itself; made at first use, because its directory comes with it."""
        if self._server is None:
            self._server = mariadb.MariaDB(self.directory, port=self.port, name=self.name)
            if self._server.port != self.port:
                raise FarmError(f"{self.directory} is a database on port {self._server.port}; "
                                f"use that port, or remove the farm's directory")
        return self._server

    def write(self):
        """The option files; a password that is there already is kept."""
        for account in ACCOUNTS:
            relative = f"etc/{account}.cnf"
            path = os.path.join(self.farm.directory, relative)
            old = _password_in(path)
            self.farm.write_secret(relative, (
                "# Written by scripts/farm.\n[farmsync]\n"
                f"host=127.0.0.1\nport={self.port}\nuser=farm_{account}\n"
                f"password={old or secrets.token_hex(16)}\n"))

    def log_path(self):
        return self.server.log

    def where(self):
        return f"127.0.0.1:{self.port}"

    def client_command(self):
        """Of a client that is the database's administrator and starts in farmsync."""
        return [*self.server.client(), "--database=farmsync"]

    # --- processes
    def start(self, seconds=90):
        if self.pid is not None:
            raise FarmError(f"{self.name} is {self.state()} already (pid {self.pid})")
        self.spawn()
        try:
            self.server.wait_ready(seconds)
        except RuntimeError as error:
            raise FarmError(str(error)) from error

    def spawn(self):
        try:
            self.server.init()
            os.environ[proc.PART_VARIABLE] = self.mark
            self.server.start(wait=False)
        except (RuntimeError, FileNotFoundError) as error:
            raise FarmError(str(error)) from error
        finally:
            os.environ.pop(proc.PART_VARIABLE, None)
        # Between fork and exec it can't be told from this very process yet.
        started = wait_until(lambda: proc.identify(self.server.pid()), 60, f"{self.name} to start",
                             self.server.log_tail, pace=0.005)
        self.record.update(pid=started.pid, start=started.start, stopped=False)
        self.farm.save()

    def ready(self):
        return True

    # --- contents
    def prepare(self):
        """Loads schema and accounts. Everything is written so that it may be run again."""
        self.run_file(os.path.join(paths.SQL_DIR, "install.sql"))
        # A database to play with: whatever is made in it may become a dataset without a GRANT first.
        lines = ["GRANT SELECT ON *.* TO farmsync@localhost;"]
        for account in ACCOUNTS:
            password = _password_in(os.path.join(self.farm.directory, "etc", f"{account}.cnf"))
            user = f"'farm_{account}'@'%'"
            lines += [f"CREATE USER IF NOT EXISTS {user};",
                      f"ALTER USER {user} IDENTIFIED BY '{password}';",
                      f"GRANT farmsync_{account} TO {user};",
                      f"SET DEFAULT ROLE farmsync_{account} FOR {user};"]
        self.sql("\n".join(lines), None)

    def run_file(self, path):
        try:
            self.server.run_file(path)
        except mariadb.SqlError as error:
            raise FarmError(f"{os.path.relpath(path, paths.REPO)}: {error}") from error

    def sql(self, statements, database="farmsync", timeout=300):
        """Runs statements; the rows of all results as lists of text. FarmError with its text."""
        try:
            text = self.server.sql(statements, database=database, raw=False, timeout=timeout)
        except mariadb.SqlError as error:
            raise FarmError(str(error)) from error
        return [[unescape(value) for value in line.split("\t")] for line in text.split("\n")
                if line]


def _password_in(path):
    try:
        with open(path, encoding="utf-8") as file:
            found = re.search(r"^password=(\S+)$", file.read(), re.MULTILINE)
    except FileNotFoundError:
        return None
    return found and found[1]
