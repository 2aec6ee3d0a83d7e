"""How far back the looks at a rollout count, for candidate and stable."""

from __future__ import annotations

from typing import NamedTuple

from gitops.rollout.measuring import NOISE_LOOKS
from gitops.rollout.policy import Policy
from gitops.rollout.state import Candidate

MOST = 120
"""Looks: no gate looks back further at the candidate."""
RENEWED = MOST // 2
"""Looks after which the evidence of a weight is gathered anew, over the last `RENEWED` looks at least."""
FIRST = 0.8
"""The part of alpha for the evidence from the begin of the weight on; nearly all rollouts go on before it is renewed.

The n-th renewal has (1 - FIRST) / (n (n + 1)) of alpha: over a wait without end that adds up to all of it.
"""


class Horizon(NamedTuple):
    """From which seconds of the epoch on looks are asked for, and until when stable's are of its own traffic."""

    candidate: int
    stable: int
    lost: int
    """When stable lost its traffic, if it has none now; looks at it that ended later say nothing of it."""
    part: float = 1.0
    """Of alpha, for evidence since `candidate`."""


def horizon(policy: Policy, candidate: Candidate, look: int, now: int, *, past: bool) -> Horizon:
    """What counts now, with looks of this length. `past`: stable has no traffic any more.

    Evidence begins with the present weight once the warm-up is over, and anew when the rollout is resumed: what
    stopped it was looked at by then, or is over. In a long wait it begins anew again and again, so that no gate
    remembers more than `MOST` looks, and each beginning pays for itself. What stable was before it lost its traffic
    never slides away, however long the rollout is held: the record says when that was.
    """
    origin = max(candidate.since + policy.settling, candidate.resumed)
    renewals = max(0, (now - origin) // (RENEWED * look) - 1)
    begin = origin + renewals * RENEWED * look
    until = candidate.since if past else begin
    part = (1 - FIRST) / (renewals * (renewals + 1)) if renewals else FIRST
    return Horizon(begin, until - NOISE_LOOKS * look, until, part)
