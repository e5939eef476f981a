# SPDX-License-Identifier: Apache-2.0
"""As whom the parts of a farm run, and that they can reach their files.

As an ordinary user everything runs as that user. Started as root, httpd's children, the agents and
datasrv run as www-data (as they would in production), so the farm's directory must be reachable
for that account.
"""

import grp
import os
import pwd
import stat

from .errors import FarmError

SERVICE_USERS = ("www-data", "apache", "nobody")


class RunAs:
    """The account of the farm's parts; `drop` is None unless root has to give up rights."""

    def __init__(self):
        self.is_root = os.geteuid() == 0
        entry = self._service_user() if self.is_root else pwd.getpwuid(os.geteuid())
        self.uid, self.gid = entry.pw_uid, entry.pw_gid
        self.name = entry.pw_name
        self.group = grp.getgrgid(entry.pw_gid).gr_name

    @staticmethod
    def _service_user():
        for name in SERVICE_USERS:
            try:
                return pwd.getpwnam(name)
            except KeyError:
                continue
        raise FarmError("started as root, httpd needs an account to run as, and there is none of "
                        + ", ".join(SERVICE_USERS) + "; run scripts/farm as an ordinary user")

    def popen_arguments(self):
        """For subprocess.Popen: start as the service account."""
        if not self.is_root:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def give(self, path, mode):
        """Hands a file or directory to the service account."""
        if self.is_root:
            os.chown(path, self.uid, self.gid)
        os.chmod(path, mode)

    def share(self, path, mode):
        """Keeps it root's, readable for the service account through its group."""
        if self.is_root:
            os.chown(path, 0, self.gid)
        os.chmod(path, mode)

    def blocked_at(self, path):
        """The first directory above `path` that the service account can't pass, or None."""
        if not self.is_root:
            return None
        parts = os.path.abspath(path).split(os.sep)
        for count in range(1, len(parts)):
            directory = os.sep.join(parts[:count]) or os.sep
            try:
                entry = os.stat(directory)
            except FileNotFoundError:
                return None
            bit = stat.S_IXOTH
            if entry.st_uid == self.uid:
                bit = stat.S_IXUSR
            elif entry.st_gid == self.gid:
                bit = stat.S_IXGRP
            if not entry.st_mode & bit:
                return directory
        return None
