# SPDX-License-Identifier: Apache-2.0
"""The section of doc/benchmarks.md on availability; tests/bench/availability.py measures."""

from .bench_sessions import printed_by

TITLE = "Cost of availability"


def sections(quick, problems, attempt):
    arguments = ["--quick"] if quick else []
    return attempt(lambda: [printed_by("availability.py", arguments)], TITLE, problems)
