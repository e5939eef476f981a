# SPDX-License-Identifier: Apache-2.0
"""
farmsyncctl: the commands are in commands/, one subject a file; doctor/ has the checks of `doctor`.

Needs Python 3.7 and PyMySQL, nothing else of farmsync, so that it can be put on a workstation.
"""

RELEASE = "0.1.0"
