# SPDX-License-Identifier: Apache-2.0
"""Web servers with mod_session_farmsync and their agents, and two bank servers."""

import os
import shutil
import signal
import tempfile

from bank_client import Bank, Key
from farmlib import paths, ports
from lone_httpd import wait_for
from session_httpd import SessionHttpd

PLACES = """
<Location "/app">
    SetHandler counter
    Session On
    SessionFarmSyncCookieName session
    SessionFarmSyncTimeout 10s
</Location>
<Location "/sure">
    SetHandler counter
    Session On
    SessionFarmSyncCookieName session
    SessionFarmSyncTimeout 10s
    SessionFarmSyncAck 2
</Location>
<Location "/alone">
    SetHandler counter
    Session On
    SessionFarmSyncCookieName session
    SessionFarmSyncTimeout 10s
    SessionFarmSyncLock exclusive 30s
</Location>
<Location "/hasty">
    SetHandler counter
    Session On
    SessionFarmSyncCookieName session
    SessionFarmSyncTimeout 100ms
    SessionFarmSyncAck 2
    SessionFarmSyncOnUnknown new
</Location>
<Location "/strict">
    SetHandler counter
    Session On
    SessionFarmSyncCookieName session
    SessionFarmSyncTimeout 100ms
</Location>
ErrorDocument 503 /strict/add?page
<Location "/farmsync/session">
    SetHandler farmsync-session
    SessionFarmSyncTimeout 10s
    Require local
</Location>
"""


class Web(SessionHttpd):
    def __init__(self, name, application, key, banks, port, peer):
        self.lines = [f"FarmSyncServer {name}", f"FarmSyncListen 127.0.0.1:{port}", f"FarmSyncPeer 127.0.0.1:{peer}",
                      "FarmSyncAgentLogLevel info", "SessionFarmSyncLease 1s"]
        self.lines += [f"SessionFarmSyncBank {bank.url}" for bank in banks]
        self.key_text = key.line()
        super().__init__("event", application, settings="\n".join(self.lines), locations=PLACES,
                         agent=paths.built("farmsync-agent"))

    def agent_pid(self):
        """The agent that runs: the holder of the socket is the youngest child of httpd of that name."""
        found = []
        for pid in self.children():
            with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
                if file.read().startswith("farmsync-agent"):
                    found.append(pid)
        return max(found) if found else None

    def metric(self, name):
        for line in self.get("/farmsync/status?metrics").text.splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
        return None

    def remove(self):
        agent = self.agent_pid() if self.process and self.process.poll() is None else None
        self.stop()
        if agent:
            wait_for(lambda: not os.path.exists(f"/proc/{agent}"), "the agent to end")
        super().remove()

    def up(self):
        self.start()
        try:
            wait_for(lambda: self.metric("farmsync_sessions_bank_reached") == 1, "a lease at the bank")
        except AssertionError:
            print(self.log())
            raise

    def die(self):
        """The whole host, without a word."""
        self.kill()


class Servers:
    def __init__(self, application):
        self.directory = tempfile.mkdtemp(prefix="fsweb-", dir="/tmp")
        self.banks, self.webs = [], []
        try:
            self.begin(application, Key())
        except BaseException:
            self.end()
            raise

    def begin(self, application, key):
        self.banks = [Bank(self.directory, key, f"bank{number}", port) for number, port in enumerate(ports.take(2))]
        for bank in self.banks:
            bank.peers = [other for other in self.banks if other is not bank]
            bank.start()
        one, two = ports.take(2)
        self.webs = [Web("web1", application, key, self.banks, one, two),
                     Web("web2", application, key, self.banks, two, one)]
        for web in self.webs:
            web.up()

    def end(self):
        for bank in self.banks:
            if bank.process:
                bank.process.send_signal(signal.SIGCONT)
        logs = "".join(web.log() for web in self.webs)
        for web in self.webs:
            web.remove()
        for bank in self.banks:
            bank.stop()
        shutil.rmtree(self.directory)
        return logs
