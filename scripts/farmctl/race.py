# SPDX-License-Identifier: Apache-2.0
"""
The promotion race of check-db: several connections, over all hosts, want to promote the same epoch
at the same moment, by compare-and-swap in the transaction of the work, as `promote` does. In some
cycles the first winner breaks off, as a promotion does that finds a broken row: then it must be as
if it had never been, and another one must win.

What the clients believe is compared with what every host holds afterwards.
"""

import threading
from collections import Counter, defaultdict

from . import options as my
from .database import CONFLICTS, LOST, NOT_READY, TOO_LONG, pymysql, text_of

WORK_ROWS = 20
BREAK_OFF_EVERY = 10
ROUNDS = 30  # attempts at one cycle before it counts as stuck
BARRIER_S = 120

SWAP = ("UPDATE race SET epoch = epoch + 1, active_version = version, promoted_by = %s "
        "WHERE name = 'race' AND epoch = %s")
# For the tests: what looks like a lock and is none.
READ_THEN_WRITE = ("UPDATE race SET epoch = %s + 1, active_version = version, promoted_by = %s "
                   "WHERE name = 'race'")


class Race:
    def __init__(self, scratch, connections, cycles, sabotage=None):
        self.scratch = scratch
        self.cycles = cycles
        self.sabotage = sabotage
        self.hosts = [scratch.hosts[number % len(scratch.hosts)] for number in range(connections)]
        self.barrier = threading.Barrier(connections, timeout=BARRIER_S)
        self.lock = threading.Lock()
        self.committed = defaultdict(list)  # epoch: who was told that it committed
        self.unsure = defaultdict(list)  # epoch: whose connection ended at the commit
        self.broken_off = {}  # epoch: who rolled back its won promotion
        self.conflicts = Counter()
        self.stale = 0
        self.failures = []

    def run(self, say=lambda line: None):
        """Returns the reasons why it can't be trusted; none if it can."""
        threads = [threading.Thread(target=self._guarded, args=(number, say), daemon=True)
                   for number in range(len(self.hosts))]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        return self.failures[:1] + self._judge()

    # --- one racer
    def _guarded(self, number, say):
        try:
            self._racer(number, say)
        except threading.BrokenBarrierError:
            with self.lock:
                if not self.failures:
                    self.failures.append(f"a connection hung for {BARRIER_S} s")
        except Exception as error:  # pylint: disable=broad-except
            text = text_of(error) if isinstance(error, pymysql.MySQLError) else repr(error)
            with self.lock:
                self.failures.append(f"{my.host_name(self.hosts[number])}: {text}")
            self.barrier.abort()

    def _racer(self, number, say):
        who = f"racer{number}"
        connection = self._connect(number)
        for cycle in range(1, self.cycles + 1):
            for _ in range(ROUNDS):
                self.barrier.wait()
                if self.committed[cycle]:
                    break
                epoch = self._read_epoch(connection, cycle)
                if epoch > cycle and self.unsure[cycle]:
                    break
                self.barrier.wait()
                if epoch == cycle:
                    connection = self._attempt(connection, number, who, epoch)
                self.barrier.wait()
            else:
                self.barrier.wait()  # nobody looks while another still writes
                if not self.committed[cycle]:
                    self._stuck(cycle)
                    return
            if number == 0 and cycle % 20 == 0:
                say(f"{cycle} of {self.cycles} cycles")
        connection.close()

    def _stuck(self, cycle):
        with self.lock:
            reason = f"cycle {cycle} found no winner in {ROUNDS} attempts"
            if cycle in self.broken_off:
                reason += "; in it a promotion was rolled back, and its changes stayed"
            if not self.failures:
                self.failures.append(reason)

    def _connect(self, number):
        connection = self.scratch.connect(self.hosts[number])
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION innodb_lock_wait_timeout = 2")
        return connection

    def _read_epoch(self, connection, cycle):
        """A read that is older than a commit that was reported is stale."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT epoch FROM race WHERE name = 'race'")
            epoch = cursor.fetchone()[0]
        if epoch < cycle:
            with self.lock:
                self.stale += 1
        return epoch

    def _attempt(self, connection, number, who, epoch):
        """One promotion as promote does it; the connection to go on with."""
        committing = False
        try:
            with connection.cursor() as cursor:
                cursor.execute("START TRANSACTION")
                if self._swap(cursor, who, epoch):
                    cursor.executemany("INSERT INTO work VALUES (%s, %s, %s)",
                                       [(epoch, who, place) for place in range(WORK_ROWS)])
                    cursor.execute("UPDATE race SET version = version + 1 WHERE name = 'race'")
                    if self._breaks_off(epoch, who):
                        cursor.execute("ROLLBACK")
                        return connection
                    committing = True
                    cursor.execute("COMMIT")
                    with self.lock:
                        self.committed[epoch].append(who)
                else:
                    cursor.execute("ROLLBACK")
        except pymysql.MySQLError as error:
            return self._after_error(connection, number, who, epoch, error, committing)
        return connection

    def _after_error(self, connection, number, who, epoch, error, committing):
        code = error.args[0] if error.args else 0
        with self.lock:
            self.conflicts[code] += 1
        if code in LOST:
            if committing:
                with self.lock:
                    self.unsure[epoch].append(who)
            return self._connect(number)
        if code in CONFLICTS or code in NOT_READY or code == TOO_LONG:
            with connection.cursor() as cursor:
                cursor.execute("ROLLBACK")
            return connection
        raise error

    def _swap(self, cursor, who, epoch):
        if self.sabotage == "read-then-write":
            cursor.execute("SELECT epoch FROM race WHERE name = 'race'")
            return cursor.fetchone()[0] == epoch and cursor.execute(READ_THEN_WRITE, (epoch, who))
        return cursor.execute(SWAP, (who, epoch)) == 1

    def _breaks_off(self, epoch, who):
        with self.lock:
            if epoch % BREAK_OFF_EVERY == 0 and epoch not in self.broken_off:
                self.broken_off[epoch] = who
                return True
            return False

    # --- the verdict
    def _judge(self):
        reasons = []
        double = sorted(epoch for epoch, who in self.committed.items() if len(who) > 1)
        if double:
            reasons.append(f"{len(double)} of {self.cycles} cycles were promoted more than once "
                           f"(cycle {double[0]} by {', '.join(self.committed[double[0]])})")
        if self.stale:
            reasons.append(f"{self.stale} reads were older than a commit that had been confirmed; "
                           "on Galera wsrep_sync_wait must work")
        for host in dict.fromkeys(self.hosts):
            try:
                reasons += [f"{my.host_name(host)}: {one}" for one in self._differences(host)]
            except pymysql.MySQLError as error:
                reasons.append(f"{my.host_name(host)} can't be read after the race: "
                               f"{text_of(error)}")
        return reasons

    def _differences(self, host):
        """What one host holds against what the clients were told."""
        done = sorted(epoch for epoch, who in self.committed.items() if who)
        held = defaultdict(dict)
        for epoch, who, rows in self.scratch.one(
                host, "SELECT epoch, who, COUNT(*) FROM work GROUP BY epoch, who"):
            held[epoch][who] = rows
        lost = [epoch for epoch in done
                if any(who not in held[epoch] for who in self.committed[epoch])]
        if lost:
            yield f"{len(lost)} promotions were confirmed and are lost (cycle {lost[0]})"
        extra = [epoch for epoch in held if any(
            who not in self.committed[epoch] + self.unsure[epoch] for who in held[epoch])]
        if extra:
            yield (f"{len(extra)} promotions were rolled back or refused, yet left their work "
                   f"(cycle {min(extra)})")
        part = [epoch for epoch in held if any(rows != WORK_ROWS for rows in held[epoch].values())]
        if part:
            yield f"{len(part)} promotions are there in part (cycle {min(part)})"
        if any(self.unsure.values()):
            return
        epoch, version = self.scratch.one(host, "SELECT epoch, version FROM race")[0]
        wanted = sum(len(who) for who in self.committed.values())
        if version != wanted or epoch != len(done) + 1:
            yield (f"after {wanted} confirmed promotions the epoch is {epoch}, the version "
                   f"{version}")

    def as_json(self):
        return {"connections": len(self.hosts), "cycles": self.cycles,
                "promoted": sum(1 for who in self.committed.values() if who),
                "double": sum(1 for who in self.committed.values() if len(who) > 1),
                "broken_off": len(self.broken_off), "stale_reads": self.stale,
                "conflicts": {str(code): count for code, count in sorted(self.conflicts.items())}}
