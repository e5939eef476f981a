# SPDX-License-Identifier: Apache-2.0
"""Connections to the database, and what its errors mean for the one who gave the command."""

import datetime
import importlib.util
import ssl
import sys

from . import options as my
from .errors import (USAGE, BadOption, Busy, CtlError, NotInstalled, Refused, Sentence, Unknown,
                     Unreachable)


def _when_used(name):
    """A module that is read when it is first used: who says that an application is down doesn't wait for it."""
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.find_spec(name)
    if spec is None:  # said by need_driver, so that --help works without it
        return None
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


pymysql = _when_used("pymysql")

CONNECT_S = 3
READ_S = 600  # a comparison of large tables takes its time
LOCK_WAIT_S = 60  # for a promotion that is under way
CONFLICTS = (1020, 1213, 3101)  # rolled back whole because of somebody else: may be done again
NOT_READY = (1047, 1053)  # a node without its cluster, or on its way down: another one will do
LOST = (2006, 2013, 2055, 1927)
SIGNAL = 1644
TOO_LONG = 1205
MISSING = (1049, 1054, 1109, 1146, 1305, 1318)
DENIED = (1044, 1142, 1143, 1227, 1370, 1698)
TRIES = 5


class _SocketAuth:
    """Accounts that log in by who they are on this host: there is nothing to send."""

    def __init__(self, connection):
        self.connection = connection

    def authenticate(self, _packet):
        self.connection.write_packet(b"")
        answer = self.connection._read_packet()  # pylint: disable=protected-access
        answer.check_error()
        return answer


class _NoClearText:
    """PyMySQL would send the password readable to any server that asks for it."""

    def __init__(self, connection):
        self.connection = connection

    def authenticate(self, _packet):
        raise pymysql.err.OperationalError(
            2059, "the server wants the password in clear text, which is not sent")


def need_driver():
    if pymysql is None:
        raise CtlError(USAGE, "FS0902", "the Python module pymysql is missing; install the package "
                       "python3-pymysql (or: pip install PyMySQL)")


def connect_host(target, host, read_timeout=READ_S, database=None):
    """One connection, with the settings that the other parts of farmsync use."""
    try:
        connection = pymysql.connect(
            host=None if host.socket else host.name, port=host.port or my.DEFAULT_PORT,
            unix_socket=host.socket, user=target.user, password=target.password,
            database=database, charset="utf8mb4", autocommit=True, connect_timeout=CONNECT_S,
            read_timeout=read_timeout, write_timeout=30, local_infile=False,
            ssl=None if host.socket else target.tls(),
            client_flag=pymysql.constants.CLIENT.MULTI_RESULTS,
            auth_plugin_map={"auth_socket": _SocketAuth, "unix_socket": _SocketAuth,
                             "mysql_clear_password": _NoClearText})
    except (OSError, ValueError) as error:  # a CA file that is none, say
        raise BadOption(f"cannot connect to {my.host_name(host)}: {error}") from error
    try:
        settle(connection, target, host)
    except BaseException:
        connection.close()
        raise
    return connection


def settle(connection, target, host):
    """The session's settings; an error here is one of connecting, while there is another host."""
    # PyMySQL goes on without TLS where the server offers none.
    if target.tls() and not host.socket and not isinstance(
            connection._sock, ssl.SSLSocket):  # pylint: disable=protected-access
        raise pymysql.err.OperationalError(2026, "the server offers no TLS, which the option file "
                                                 "asks for")
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION time_zone = '+00:00', SESSION innodb_lock_wait_timeout = "
                       f"{LOCK_WAIT_S}")
        cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        cursor.execute("SHOW VARIABLES LIKE 'wsrep_on'")
        if (cursor.fetchone() or ("", "OFF"))[1] == "ON":
            cursor.execute("SET SESSION wsrep_sync_wait = 1")
            cursor.execute("DO 1")  # a node without its cluster refuses all but SET and SHOW


class Database:
    """The first host that answers; the next one when that doesn't any more."""

    def __init__(self, target, read_timeout=READ_S):
        self.target = target
        self.read_timeout = read_timeout
        self.connection = None
        self.host = None

    @property
    def peer(self):
        return my.host_name(self.host) if self.host else ""

    def connect(self):
        """Connects if there is no connection; Unreachable names every host and cause."""
        if self.connection is not None:
            return self.connection
        causes = []
        for host in self.target.hosts:
            try:
                self.connection = connect_host(self.target, host, self.read_timeout)
                self.host = host
                return self.connection
            except pymysql.MySQLError as error:
                causes.append(f"{my.host_name(host)}: {text_of(error)}")
        raise Unreachable(f"no database can be reached as {self.target.user} "
                          f"({self.target.source}): {'; '.join(causes)}; check host, user and "
                          "password, or give --host, --user, --defaults-file")

    def close(self):
        if self.connection is not None:
            try:
                self.connection.close()
            except pymysql.MySQLError:
                pass
        self.connection = None

    # --- reading
    def rows(self, statement, *values):
        """Rows of the first result as dictionaries. Read again on another host if this one goes."""
        return self._with_next_host(lambda: self._run(statement, values), acts=False)

    def row(self, statement, *values):
        found = self.rows(statement, *values)
        return found[0] if found else None

    def value(self, statement, *values):
        found = self.row(statement, *values)
        return next(iter(found.values())) if found else None

    def results(self, statement, *values):
        """All results of a CALL, each a list of dictionaries."""
        return self._with_next_host(lambda: self._run(statement, values, every=True), acts=False)

    # --- acts
    def act(self, procedure, values, comment=None):
        """
        Calls a procedure that changes something; all its results. What a conflict has rolled back
        is done again, with its comment: an act that was rolled back has used that up, too.
        """
        marks = ", ".join(["%s"] * len(values))
        statement = f"CALL farmsync.`{procedure}`({marks})"

        def once():
            self._run("SET @farmsync_comment = %s", (comment,))
            return self._run(statement, values, every=True)
        return self._with_next_host(once, acts=True)

    # --- errors
    def _with_next_host(self, work, acts):
        conflicts, hosts = 0, 0
        while True:
            self.connect()
            try:
                return work()
            except pymysql.MySQLError as error:
                code = error.args[0] if error.args else 0
                if code in CONFLICTS and conflicts < TRIES:
                    conflicts += 1
                elif code in NOT_READY and hosts < len(self.target.hosts):
                    hosts += 1
                    self._next_host()
                elif code in LOST and not acts and hosts < len(self.target.hosts):
                    hosts += 1
                    self.close()
                else:
                    raise self._meaning(error, acts) from error

    def _next_host(self):
        """Tries this host last from now on."""
        self.close()
        rest = [host for host in self.target.hosts if host != self.host]
        self.target.hosts = rest + [self.host] if self.host else rest

    def _run(self, statement, values, every=False):
        with self.connection.cursor(pymysql.cursors.DictCursor) as cursor:
            cursor.execute(statement, values or None)
            results = [plain(cursor.fetchall())] if cursor.description else []
            while cursor.nextset():
                if cursor.description:
                    results.append(plain(cursor.fetchall()))
        return results if every else (results[0] if results else [])

    def _meaning(self, error, acts):
        code, text = (error.args[0] if error.args else 0), text_of(error)
        if code == SIGNAL:
            return Sentence(error.args[1])
        if code in LOST or code == 0:
            self.close()
            if acts:
                return Unknown(f"the connection to {self.peer} ended during the act, so it isn't "
                               f"known whether it was done ({text}); farmsyncctl history tells")
            return Unreachable(f"{self.peer} doesn't answer any more: {text}")
        if code in NOT_READY:
            return Unreachable(f"{self.peer} can't serve: {text}; see to the node or its cluster")
        if code in CONFLICTS or code == TOO_LONG:
            return Busy("another promotion or act holds the group; nothing was done: give the "
                        f"command again ({text})")
        if code in DENIED:
            return Refused(f"{text}; the account needs the role farmsync_operator: GRANT "
                           "farmsync_operator TO account, SET DEFAULT ROLE farmsync_operator FOR "
                           "account (MySQL: TO); if it has that, run install.sql of this release")
        if code in MISSING:
            return NotInstalled(f"{text}; farmsync isn't installed on {self.peer}, or in an older "
                                "release: run install.sql of this release there")
        return Refused(text)


def text_of(error):
    if len(error.args) > 1:
        return f"{error.args[1]} ({error.args[0]})"
    return str(error) or type(error).__name__


def plain(rows):
    """Without bytes: what is no text is shown as hex."""
    return [{name: _plain(value) for name, value in row.items()} for row in rows]


def _plain(value):
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return "0x" + value.hex()
    if isinstance(value, datetime.datetime):
        return value.replace(tzinfo=datetime.timezone.utc)
    return value
