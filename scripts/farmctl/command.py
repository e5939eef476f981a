# SPDX-License-Identifier: Apache-2.0
"""What a command is made of."""


class Command:
    """
    `run(context)` returns the exit status (None for 0); `arguments(parser)` adds what the command
    takes beside the common options.
    """

    def __init__(self, name, summary, run, arguments=None, description=None):
        self.name = name
        self.summary = summary
        self.run = run
        self.arguments = arguments or (lambda parser: None)
        self.description = description
