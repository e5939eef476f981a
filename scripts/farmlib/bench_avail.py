# SPDX-License-Identifier: Apache-2.0
"""The sections of doc/benchmarks.md on availability, reuse and routing;
tests/bench/{availability,down,reuse,route_home,route_proxy}.py measure."""

from .bench_sessions import printed_by

TITLE = "Cost of availability"
DOWN_TITLE = "Time until a whole farm knows"
HOME_TITLE = "Requests at their home"
ROUTE_TITLE = "Requests that are passed on"


def sections(quick, problems, attempt):
    arguments = ["--quick"] if quick else []
    return (attempt(lambda: [printed_by("availability.py", arguments)], TITLE, problems)
            + attempt(lambda: [printed_by("down.py", arguments)], DOWN_TITLE, problems))


def reuse_sections(quick, problems, attempt):
    return attempt(lambda: [printed_by("reuse.py", ["--quick"] if quick else [])], "Reuse", problems)


def route_sections(quick, problems, attempt):
    arguments = ["--quick"] if quick else []
    return (attempt(lambda: [printed_by("route_home.py", arguments)], HOME_TITLE, problems)
            + attempt(lambda: [printed_by("route_proxy.py", arguments)], ROUTE_TITLE, problems))
