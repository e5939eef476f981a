# SPDX-License-Identifier: Apache-2.0
"""Exit codes, and the one exception whose text is meant for people."""

OK = 0
TROUBLE = 1  # the command worked and found something wrong
USAGE = 2
UNREACHABLE = 3
REFUSED = 4
NOT_INSTALLED = 5
INTERRUPTED = 130


class CtlError(Exception):
    """What failed and what to do; `number` is that of the message, "" if the text has its own."""

    def __init__(self, code, number, text):
        super().__init__(text)
        self.code = code
        self.number = number

    def __str__(self):
        text = super().__str__()
        return f"{self.number}: {text}" if self.number else text


class Unreachable(CtlError):
    def __init__(self, text):
        super().__init__(UNREACHABLE, "FS0900", text)


class BadOption(CtlError):
    def __init__(self, text):
        super().__init__(USAGE, "FS0901", text)


class Unknown(CtlError):
    """The connection ended in the middle of an act."""

    def __init__(self, text):
        super().__init__(UNREACHABLE, "FS0903", text)


class Refused(CtlError):
    """The database said no, in its own words."""

    def __init__(self, text):
        super().__init__(REFUSED, "FS0904", text)


class Sentence(CtlError):
    """A refusal of farmsync's procedures: with its own number and remedy, passed on as it is."""

    def __init__(self, text):
        super().__init__(REFUSED, "", text)


class NotInstalled(CtlError):
    def __init__(self, text):
        super().__init__(NOT_INSTALLED, "FS0905", text)


class BadArgument(CtlError):
    def __init__(self, text):
        super().__init__(USAGE, "FS0906", text)


class Busy(CtlError):
    """Somebody else holds or won the group; nothing was done."""

    def __init__(self, text):
        super().__init__(REFUSED, "FS0908", text)


class NoScratch(CtlError):
    def __init__(self, text):
        super().__init__(REFUSED, "FS0909", text)


class AgentUnreachable(CtlError):
    def __init__(self, text):
        super().__init__(UNREACHABLE, "FS0910", text)


class AgentRefused(CtlError):
    """The agent said no, in its own words."""

    def __init__(self, text):
        super().__init__(REFUSED, "FS0911", text)


class NoVisitor(CtlError):
    """There is no routing, or not that visitor."""

    def __init__(self, text):
        super().__init__(TROUBLE, "FS0914", text)


class NoSession(CtlError):
    """There are no sessions, or not that one."""

    def __init__(self, text):
        super().__init__(TROUBLE, "FS0912", text)
