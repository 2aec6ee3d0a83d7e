"""How far back the looks at a rollout count, for candidate and stable."""

from __future__ import annotations

from typing import NamedTuple

from gitops.rollout.measuring import NOISE_LOOKS
from gitops.rollout.policy import Policy
from gitops.rollout.state import Candidate

MOST = 120
"""Looks: no gate looks back further at the candidate."""


class Horizon(NamedTuple):
    """From which seconds of the epoch on looks are asked for, and until when stable's are of its own traffic."""

    candidate: int
    stable: int
    lost: int
    """When stable lost its traffic, if it has none now; looks at it that ended later say nothing of it."""


def horizon(policy: Policy, candidate: Candidate, look: int, now: int, *, past: bool) -> Horizon:
    """What counts now, with looks of this length. `past`: stable has no traffic any more.

    Evidence begins with the present weight once the warm-up is over, and anew when the rollout is resumed: what
    stopped it was looked at by then, or is over. What stable was before it lost its traffic never slides away,
    however long the rollout is held: the record says when that was.
    """
    begin = max(candidate.since + policy.settling, candidate.resumed, now - MOST * look)
    until = candidate.since if past else begin
    return Horizon(begin, until - NOISE_LOOKS * look, until)
