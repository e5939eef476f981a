# SPDX-License-Identifier: Apache-2.0
"""The one exception whose text is meant for people: what failed and what to do about it."""


class FarmError(Exception):
    """Shown without a traceback by the commands; says the remedy."""
