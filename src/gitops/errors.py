"""The one error type for things that a user can cause or mend.

It is raised anywhere and printed once, by the command line. Everything else that escapes is a bug of ours
and is reported as one.
"""

from __future__ import annotations


class GitopsError(Exception):
    """Something a person can act on: what is wrong, where, and what to do next.

    `what` is one sentence without a full stop, `where` a place (`file:line`, a cluster, an object, a URL) and
    `hint` the next step. Secrets never belong into any of them.
    """

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        line = f"{self.where}: {self.what}" if self.where else self.what
        return f"{line} — {self.hint}" if self.hint else line


class Moved(GitopsError):
    """The branch moved between reading and pushing; the caller reads again and recomputes."""


class StalePlan(GitopsError):
    """A saved plan was computed from a state that is no longer the present one."""


class Refused(GitopsError):
    """A safety rule stops the work; the hint names the flag that overrules it, where one does."""
