# SPDX-License-Identifier: Apache-2.0
"""
What `doctor` looks at. Each module has check(patient), a generator of Finding; a new one is added
to subjects(). A check that can't be made says so and the others go on.
"""

from collections import namedtuple

# level: ok, warning, error, skipped; check: a stable name for programs; remedy: may be ""
Finding = namedtuple("Finding", "level check text remedy")


def ok(check, text):
    return Finding("ok", check, text, "")


def warning(check, text, remedy):
    return Finding("warning", check, text, remedy)


def error(check, text, remedy):
    return Finding("error", check, text, remedy)


def skipped(check, text):
    return Finding("skipped", check, text, "")


class Patient:
    """What the checks get: the database, once reached, and the options."""

    def __init__(self, context):
        self.options = context.options
        self.target = context.target
        self.group = context.options.group
        self.context = context
        self.db = None  # set when a host was reached
        self.farm = None  # facts.Farm, when farmsync is installed


def subjects():
    """In the order in which they build on each other."""
    from . import groups, hosts, local, members, schema, sources, urls
    return (("database", hosts.check), ("schema", schema.check), ("datasets", sources.check),
            ("groups", groups.check), ("servers", members.check), ("http", urls.check),
            ("this host", local.check))
