"""What is seen of one unit at one moment: the only input of the state machine besides policy and state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from gitops.rollout.state import ModelVersion
from gitops.rollout.verdicts import Result

CommandKind = Literal["abort", "rollback", "pause", "retry", "approve", "resume", "promote"]

CAUTION: tuple[CommandKind, ...] = ("abort", "rollback", "pause", "retry", "approve", "resume", "promote")
"""Of several commands at once the first of this order is answered: the most cautious one."""


class Command(NamedTuple):
    """What a person asks for. `version` is where `rollback` should go; empty means the version before."""

    kind: CommandKind
    by: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class Observation:
    """One look at one unit. Whatever could not be seen is None or absent, and never counts as good."""

    now: int
    """Seconds of an epoch. A clock that steps back delays decisions and changes none."""
    target: ModelVersion
    """What the spec (or the environment before) says should run."""
    ready: int | None = None
    """Percent of all traffic that the candidate's ready replicas can carry; None when unknown."""
    stable_ready: int | None = None
    """The same of stable; for the reader only, since a rollback waits for nothing."""
    room: bool = True
    """Whether the cluster has, or may grow, room for what the next weight needs."""
    results: tuple[Result, ...] = ()
    """Gates, over requests since the present weight was set and the warm-up was over."""
    commands: tuple[Command, ...] = ()
    """Each is shown once. Others than the most cautious one are not answered."""
    approvals: tuple[str, ...] = ()
    """People whose approval of the target is known from elsewhere (a review, a CI identity)."""
    freeze: str = ""
    """Why nothing may start, grow or be promoted now; empty when it may. Going back is always allowed."""

    @property
    def command(self) -> Command | None:
        """The command to answer."""
        return min(self.commands, key=lambda one: CAUTION.index(one.kind), default=None)
