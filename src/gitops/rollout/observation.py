"""What is seen of one unit at one moment: the only input of the state machine besides policy and state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from gitops.rollout.load import Loads
from gitops.rollout.state import UNSIGNED, Consent, ModelVersion
from gitops.rollout.verdicts import Result

CommandKind = Literal["abort", "rollback", "pause", "retry", "approve", "resume", "promote"]

CAUTION: tuple[CommandKind, ...] = ("abort", "rollback", "pause", "retry", "approve", "resume", "promote")
"""Of several commands at once the first of this order is answered: the most cautious one."""


class Command(NamedTuple):
    """What a person asks for.

    `version` is where `rollback` should go; empty means the version before. `hotfix` is for a `promote` while nothing
    is under way: it starts the target although `Observation.entry` or a freeze speaks against it. `consent` is what an
    `approve` is signed with.
    """

    kind: CommandKind
    by: str
    version: str = ""
    hotfix: bool = False
    consent: Consent = UNSIGNED


class Objection(NamedTuple):
    """An earlier environment rejected the version since it was let through there. `since` is RFC 3339."""

    environment: str
    reason: str
    since: str

    @property
    def key(self) -> str:
        """What a person accepts who lets the version go on: this very rejection, and no later one."""
        return f"{self.environment} {self.since}"


@dataclass(frozen=True, slots=True)
class Observation:
    """One look at one unit. Whatever could not be seen is None or absent, and never counts as good."""

    now: int
    """Seconds of an epoch. A clock that steps back delays decisions and changes none."""
    target: ModelVersion
    """What the spec says should run here, whether it may start yet or not."""
    runs: str = ""
    """Digest over everything that a pod of the target runs: what people approve, and what is rejected."""
    unfounded: str = ""
    """Why the candidate is none: nothing in the history has started it, or not as the rules ask."""
    ready: int | None = None
    """Percent of all traffic that the candidate's ready replicas can carry in the clusters of the present wave (the
    least of them); None when unknown."""
    ready_waves: tuple[int | None, ...] = ()
    """The same for each wave, where there are several: the next one begins only with capacity, and the earlier ones
    may lose theirs. A wave that is not told is unknown."""
    held: tuple[int | None, ...] = ()
    """What `ready` and `ready_waves` say, wave by wave, measured by the load of when the present weight was set: what
    may not be lost. Empty where that is the same."""
    load: Loads = ()
    """How much more all traffic takes than what is declared, by the ready replicas that carry it now; empty when that
    is not known, or no more."""
    trouble: str = ""
    """What the candidate's pods say while they are not ready; for the reader only."""
    lost_for: int = 0
    """Seconds for which the candidate has had fewer ready replicas than its weight takes; 0 as long as it has enough,
    and where nothing tells since when."""
    crashed: bool = False
    """Its pods end by themselves, or for want of memory: losing them is the version's own doing."""
    stable_ready: int | None = None
    """The same of stable, in every cluster: traffic goes back only where something takes it."""
    room: bool = True
    """Whether the clusters have, or may grow, room for what the next weight needs (`machine.needed`)."""
    unseen: str = ""
    """Why a version could not be judged now (a cluster or the metrics do not answer); empty when it could."""
    behind: tuple[str, ...] = ()
    """The rollouts that this one leaves the room to, when there would be enough without them."""
    results: tuple[Result, ...] = ()
    """Gates, over requests since the present weight was set and the warm-up was over."""
    commands: tuple[Command, ...] = ()
    """Each is shown once. Others than the most cautious one are not answered."""
    approvals: tuple[str, ...] = ()
    """People whose approval of the target is known from elsewhere (a review, a CI identity)."""
    freeze: str = ""
    """Why nothing may start, grow or be promoted now; empty when it may. Going back is always allowed, and a
    hotfix goes on."""
    unnamed: bool = False
    """What the spec names is not known: the target is what runs or is on its way, and nothing starts or lapses."""
    entry: str = ""
    """Why the target may not start here yet, such as "2.4.0 is not verified in staging yet"; empty when it may.
    It stops nothing that is under way."""
    objections: tuple[Objection, ...] = ()
    """Earlier environments in which the candidate, or else the target, is rejected."""
    manual: bool = False
    """The environment waits for a person to start what the spec names: by the approvals that the policy asks for,
    or where it asks for none by `promote`."""

    @property
    def command(self) -> Command | None:
        """The command to answer."""
        return min(self.commands, key=lambda one: CAUTION.index(one.kind), default=None)
