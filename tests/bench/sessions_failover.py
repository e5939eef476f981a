#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What becomes of sessions when the server that keeps copies of them fails and returns.

The same four scenarios for PHP with two memcached servers (without and with a replica on the other one)
and for farmsync with two data servers. Each session has a counter; afterwards each is read once by a web
server that didn't have it: that is every one with PHP; of farmsync the web server that had them all is
killed first.
"""

import concurrent.futures
import http.client
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

import sessions_sites as sites  # noqa: E402
from farmlib import ending, paths, proc  # noqa: E402
from farmlib.part import wait_until  # noqa: E402
from farmlib.progress import step  # noqa: E402

SESSIONS, UPDATED, WORKERS, TIMEOUT_S = 1000, 50, 25, 30
PATIENCE_S = 5  # reads that fail are repeated for so long, all together

PHP = """\
LoadModule php_module "{modules}/libphp8.2.so"
AliasMatch "^/counter/" "{here}/counter.php"
<Directory "{here}">
    Require all granted
</Directory>
<Location "/counter/">
    SetHandler application/x-httpd-php
    php_value session.name session
    php_admin_value session.gc_probability 0
    php_value session.save_handler memcached
    php_value session.save_path "{servers}"
    php_value memcached.sess_number_of_replicas {replicas}
    php_value memcached.sess_remove_failed_servers 1
    php_value memcached.sess_locking {locks}
</Location>
"""


def request(port, path, cookie=None):
    """(status, text, the cookie that was given); status 0 without an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path, headers={"Cookie": cookie} if cookie else {})
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
        given = answer.headers.get("Set-Cookie")
        return answer.status, text, given.split(";")[0] if given else None
    except (OSError, http.client.HTTPException):
        return 0, "", None
    finally:
        connection.close()


def each(work, items):
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as workers:
        return list(workers.map(work, items))


class System:
    """Sessions and their counters; `keepers` are the two servers that keep copies."""

    path = "/counter"

    def __init__(self, place):
        self.place = place
        self.cookies = []
        self.expected = {}

    def add(self, cookie=None):
        status, text, given = request(self.first(), self.path + "/add?n&0", cookie)
        return status == 200 and text, given

    def fill(self):
        self.cookies = [given for _, given in each(lambda _: self.add(), range(SESSIONS))]
        self.expected = dict.fromkeys(self.cookies, "1")

    def update(self, cookies):
        """Returns how many updates failed."""
        failed = 0
        for cookie, (value, _) in zip(cookies, each(self.add, cookies)):
            failed += not value
            if value:
                self.expected[cookie] = value
        return failed

    def end(self, cookies):
        done = each(lambda cookie: request(self.first(), self.path + "/end", cookie)[0] == 200, cookies)
        return [cookie for cookie, ended in zip(cookies, done) if ended]

    def read_all(self, cookies):
        """
        The counters as another web server sees them; None for no answer, although it was asked again for
        some seconds.
        """
        port = self.other()
        deadline = time.monotonic() + PATIENCE_S

        def look(cookie):
            while True:
                status, text, _ = request(port, self.path + "/all", cookie)
                if status == 200:
                    return text.partition("n=")[2].strip()
                if time.monotonic() > deadline:
                    return None
                time.sleep(0.1)
        return dict(zip(cookies, each(look, cookies)))

    def count(self):
        """(unreadable or empty, stale)"""
        found = self.read_all(self.cookies)
        return (sum(1 for value in found.values() if not value),
                sum(1 for cookie, value in found.items()
                    if value and value != self.expected[cookie]))

    def first(self):
        raise NotImplementedError

    def other(self):
        raise NotImplementedError

    def settle(self):
        """Until copies are where they should be."""

    def close(self):
        pass


class PhpMemcached(System):
    def __init__(self, place, locks):
        super().__init__(place)
        self.name = "PHP memcached, one replica" + ("" if locks else ", locks off")
        self.keepers = [place.add(sites.Program(place, f"copy{number}", lambda part: [
            paths.program("memcached"), "-l", "127.0.0.1", "-p", str(part.port), "-U", "0"]
            + (["-u", place.user.name] if place.user.is_root else []))) for number in (1, 2)]
        here = place.own_directory("php")
        with open(os.path.join(sites.HERE, "counter.php"), encoding="utf-8") as source, \
                open(os.path.join(here, "counter.php"), "w", encoding="utf-8") as target:
            target.write(source.read())
        text = PHP.format(modules=paths.httpd_modules(), here=here, replicas=1,
                          locks="On" if locks else "Off",
                          servers=",".join(f"127.0.0.1:{one.port}" for one in self.keepers))
        self.webs = [place.add(sites.Httpd(place, f"php{number}", "prefork", text))
                     for number in (1, 2)]

    def first(self):
        return self.webs[0].port

    def other(self):
        return self.webs[1].port

    def return_empty(self, keeper):
        keeper.start()


class Ours(System):
    name = "farmsync"  # answers before an update is on the bank, as is the default

    def __init__(self, place):
        super().__init__(place)
        self.site = sites.ours(place, 2)[0]
        place.sites.append(self.site)
        self.farm = self.site.farm
        self.keepers = self.farm.datasrvs

    def first(self):
        return self.farm.webs[0].port

    def other(self):
        if self.farm.webs[0].pid:
            self.farm.webs[0].kill()
        return self.farm.webs[1].port

    def settle(self):
        socket = os.path.join(self.farm.webs[0].directory, "run", "farmsync", "agent.sock")
        wait_until(lambda: sites.unprotected(socket) == 0, 30, "all sessions to be protected")

    def return_empty(self, keeper):
        sites.wipe_bank(keeper)
        keeper.start()


class OursConfirmed(Ours):
    name = "farmsync, SessionFarmSyncAck 1"
    path = "/ack1"


# --- scenarios: each returns what its column says


def dies(system):
    system.keepers[0].kill()
    return system.count()[0]


def returns_empty(system):
    system.keepers[0].kill()
    system.return_empty(system.keepers[0])
    return system.count()[0]


def stands_still(system):
    proc.pause_tree(system.keepers[0].mark, system.keepers[0].process)
    failed = system.update(system.cookies[:UPDATED])
    proc.continue_tree(system.keepers[0].mark, system.keepers[0].process)
    empty, stale = system.count()
    return f"{stale}; {empty}; {failed}"


def logout_while_still(system):
    proc.pause_tree(system.keepers[0].mark, system.keepers[0].process)
    ended = system.end(system.cookies[:UPDATED])
    proc.continue_tree(system.keepers[0].mark, system.keepers[0].process)
    found = system.read_all(ended)
    return f"{sum(1 for value in found.values() if value)}; {UPDATED - len(ended)}"


SCENARIOS = ((f"one of two is killed: unreadable of {SESSIONS}", dies),
             (f"it returns empty: unreadable of {SESSIONS}", returns_empty),
             (f"it stands still while {UPDATED} are updated: stale afterwards; unreadable; updates refused",
              stands_still),
             (f"it stands still while {UPDATED} log out: logged in again; logouts refused",
              logout_while_still))


REMARK = """\
*Stale*: without an update that was acknowledged. With `SessionFarmSyncAck 0`, the default, a web server that is killed takes what it
acknowledged within its last flush interval (0.2 s) with it; here it is killed right after the updates. With 1 each update is on the bank
before it is answered, as it is with memcached."""


def measure(make, shown):
    """One fresh system for each scenario."""
    results = []
    for title, scenario in SCENARIOS:
        place = sites.Place()
        try:
            system = make(place)
            shown.say(f"{system.name}: {title}")
            system.fill()
            system.settle()
            results.append(scenario(system))
        finally:
            place.end()
    return system.name, results


def section(with_ours=True):
    makes = [lambda place: PhpMemcached(place, True), lambda place: PhpMemcached(place, False)]
    if with_ours:
        makes += [Ours, OursConfirmed]
    with step("A server that keeps copies fails and returns") as shown:
        found = [measure(make, shown) for make in makes]
    lines = ["| one of two servers that keep copies | " + " | ".join(name for name, _ in found) + " |",
             "|---|" + "---:|" * len(found)]
    for number, (title, _) in enumerate(SCENARIOS):
        lines.append(f"| {title} | " + " | ".join(str(results[number]) for _, results in found) + " |")
    return (f"## A server that keeps copies fails and returns\n\n{SESSIONS} sessions; two memcached servers "
            "(PHP, `sess_remove_failed_servers=1`), two data servers (farmsync; the web server that had all "
            "sessions is killed before they are read, right after the data server is back). Reads that fail are repeated for "
            f"{PATIENCE_S} s.\n\n" + "\n".join(lines) + "\n\n" + REMARK)


if __name__ == "__main__":
    ending.by_exception()
    print(section("--rivals" not in sys.argv))
