# SPDX-License-Identifier: Apache-2.0
"""
Two more things that a promotion relies on, for check-db: one statement at READ COMMITTED reads
several tables as of one moment, and a transaction that the server drops (1213) is gone whole.
"""

import threading
import time

from . import options as my
from .database import CONFLICTS, TOO_LONG, pymysql, text_of
from .scratch import ROWS

READS = 150
WRITES_BEFORE = 20  # so that reads and writes overlap from the first one on
READ = ("INSERT INTO seen SELECT 'left', value FROM left_side UNION ALL "
        "SELECT 'right', value FROM right_side")


class Snapshot:
    """A writer moves amounts between two tables; each read must see the same sum."""

    def __init__(self, scratch):
        self.scratch = scratch
        self.stop = threading.Event()
        self.running = threading.Event()
        self.failure = None
        self.writes = 0
        self.reads = 0
        self.torn = 0

    def run(self):
        """Reasons why it can't be trusted."""
        writer = threading.Thread(target=self._write, daemon=True)
        writer.start()
        try:
            self.running.wait(30)
            for host in self.scratch.hosts:
                self._read(host, READS // len(self.scratch.hosts) + 1)
        except pymysql.MySQLError as error:
            self.failure = self.failure or text_of(error)
        finally:
            self.stop.set()
            writer.join()
        reasons = []
        if self.failure:
            reasons.append(f"the check of snapshots failed: {self.failure}")
        if self.torn:
            reasons.append(f"{self.torn} of {self.reads} statements over two tables saw half of a "
                           "transaction")
        return reasons

    def _write(self):
        try:
            connection = self.scratch.connect(self.scratch.hosts[-1])
            with connection.cursor() as cursor:
                while not self.stop.is_set():
                    self._move(cursor, self.writes % ROWS)
                    self.writes += 1
                    if self.writes == WRITES_BEFORE:
                        self.running.set()
            connection.close()
        except pymysql.MySQLError as error:
            self.failure = text_of(error)
        finally:
            self.running.set()

    @staticmethod
    def _move(cursor, number):
        try:
            cursor.execute("START TRANSACTION")
            cursor.execute("UPDATE left_side SET value = value - 7 WHERE id = %s", (number,))
            cursor.execute("UPDATE right_side SET value = value + 7 WHERE id = %s", (number,))
            cursor.execute("COMMIT")
        except pymysql.MySQLError as error:
            if error.args[0] not in CONFLICTS:
                raise

    def _read(self, host, count):
        connection = self.scratch.connect(host)
        with connection.cursor() as cursor:
            cursor.execute("CREATE TEMPORARY TABLE seen (side CHAR(5), value BIGINT) "
                           f"ENGINE={self.scratch.engine}")
            for _ in range(count):
                cursor.execute("START TRANSACTION")
                cursor.execute("DELETE FROM seen")
                cursor.execute(READ)
                cursor.execute("SELECT SUM(value), COUNT(*) FROM seen")
                total, rows = cursor.fetchone()
                cursor.execute("COMMIT")
                self.reads += 1
                self.torn += total != 2000 * ROWS or rows != 2 * ROWS
        connection.close()


def dropped(scratch):
    """
    Two transactions that want each other's row: the one that is dropped says so, and nothing of it
    stays. Reasons why it can't be trusted, and the error number.
    """
    first = scratch.connect(scratch.hosts[0])
    second = scratch.connect(scratch.hosts[-1])
    results = [None, None]

    def other():
        results[1] = _two_rows(second, 2, 1, 20, together)
    together = threading.Barrier(2, timeout=60)
    thread = threading.Thread(target=other, daemon=True)
    thread.start()
    results[0] = _two_rows(first, 1, 2, 10, together)
    thread.join()
    reasons = [f"{my.host_name(host)}: {one}" for host, one in
               zip((scratch.hosts[0], scratch.hosts[-1]), results) if isinstance(one, str)]
    code = next((one for one in results if isinstance(one, int) and one), 0)
    first.close()
    second.close()
    if not reasons:
        reasons = list(_left_over(scratch, results))
    return reasons, code


def _two_rows(connection, one, other, amount, together):
    """0 if committed, the error number if dropped, a sentence if anything else went wrong."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION innodb_lock_wait_timeout = 5")
            cursor.execute("START TRANSACTION")
            cursor.execute("UPDATE ticket SET value = value + %s WHERE id = %s", (amount, one))
            together.wait()
            cursor.execute("UPDATE ticket SET value = value + %s WHERE id = %s", (amount, other))
            cursor.execute("COMMIT")
        return 0
    except pymysql.MySQLError as error:
        if error.args[0] in CONFLICTS or error.args[0] == TOO_LONG:
            with connection.cursor() as cursor:
                cursor.execute("ROLLBACK")
            return error.args[0]
        return text_of(error)
    except threading.BrokenBarrierError:
        return "the other transaction didn't come"


def _left_over(scratch, results):
    wanted = sum(amount for amount, one in zip((10, 20), results) if one == 0)
    deadline = time.monotonic() + 5
    for host in scratch.hosts:
        while True:
            values = [row[0] for row in scratch.one(host, "SELECT value FROM ticket ORDER BY id")]
            if values == [wanted, wanted] or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        if values != [wanted, wanted]:
            yield (f"{my.host_name(host)}: of transactions that the server dropped or kept, the "
                   f"rows are {values} instead of {[wanted, wanted]}: one is there in part")
