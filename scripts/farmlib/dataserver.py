# SPDX-License-Identifier: Apache-2.0
"""A data server of the farm.

    FARM_DIR/ds1/datasrv.conf   written anew at each `up`
             images/            its images
             logs/datasrv.log
"""

import os
import signal

from . import proc
from .part import Part, http_get

CONF = """\
# Written by scripts/farm.
Name      {name}
Listen    127.0.0.1:{port}
Database  {etc}/datasrv.cnf
KeyFile   {etc}/farm.key
ImageDir  {directory}/images
PidFile   {directory}/datasrv.pid
LogFile   {directory}/logs/datasrv.log
LogLevel  info
{peers}
"""


class DataServer(Part):
    kind = "datasrv"

    def write(self):
        for part in ("", "images", "logs"):
            path = os.path.join(self.directory, part)
            os.makedirs(path, exist_ok=True)
            self.farm.user.give(path, 0o755)
        self.farm.write_file(f"{self.name}/datasrv.conf", CONF.format(
            name=self.name, port=self.port, directory=self.directory,
            etc=os.path.join(self.farm.directory, "etc"), peers=self._peers()))

    def _peers(self):
        """The other servers of the bank, if sessions are kept."""
        if not self.farm.sessions:
            return ""
        return "\n".join(f"Peer      {other.url}" for other in self.farm.datasrvs
                         if other.name != self.name)

    def configuration(self):
        return os.path.join(self.directory, "datasrv.conf")

    def command(self):
        return [self.farm.binary("datasrv"), "-c", self.configuration()]

    def popen_arguments(self):
        return self.farm.user.popen_arguments()

    def log_path(self):
        return os.path.join(self.directory, "logs", "datasrv.log")

    def ready(self):
        """It answers; whether it is healthy depends on the database, too."""
        try:
            return http_get(self.url + "/healthz", timeout=2)[0] in (200, 503)
        except OSError:
            return False

    def graceful(self):
        """Reloads its configuration."""
        self._need_process()
        proc.send(self.process, signal.SIGHUP)
