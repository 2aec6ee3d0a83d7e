"""How far back the looks at a rollout count, for candidate and stable."""

from __future__ import annotations

from typing import NamedTuple

from gitops.rollout.measuring import NOISE_LOOKS
from gitops.rollout.policy import Policy
from gitops.rollout.state import Candidate
from gitops.rollout.windows import Whole

MOST = 120
"""Looks: no gate looks back further at the candidate."""
RENEWED = MOST // 2
"""Looks after which the evidence of a weight is gathered anew, over the last `RENEWED` looks at least."""
FIRST = 0.8
"""The part of alpha for the evidence from the begin of the weight on; nearly all rollouts go on before it is renewed.

The n-th renewal has (1 - FIRST) / (n (n + 1)) of alpha: over a wait without end that adds up to all of it.
"""


class Earlier(NamedTuple):
    """Looks at earlier weights that count as well: since when, without which spans, and for which part of alpha."""

    begin: int
    left_out: tuple[tuple[int, int], ...]
    part: float


class Horizon(NamedTuple):
    """From which seconds of the epoch on looks count, and until when stable's are of its own traffic."""

    candidate: int
    """Since when looks are of the present weight."""
    look: int
    lost: int
    """When stable lost its traffic, if it has none now; looks at it that ended later say nothing of it."""
    part: float = 1.0
    """Of alpha, for evidence since `candidate`."""
    earlier: Earlier | None = None

    def whole(self, level: float) -> Whole | None:
        """What is asked of all weights together, at such a level."""
        if not (self.earlier and level > 0):
            return None
        return Whole(self.earlier.begin, self.earlier.left_out, self.earlier.part * level)

    @property
    def first(self) -> int:
        """From when on looks at the candidate are asked for."""
        return min(self.candidate, self.earlier.begin) if self.earlier else self.candidate

    @property
    def stable(self) -> int:
        """From when on looks at stable are asked for: those before show how noisy it is."""
        return min(self.first, self.lost) - NOISE_LOOKS * self.look


def horizon(policy: Policy, candidate: Candidate, look: int, now: int, *, past: bool) -> Horizon:
    """What counts now, with looks of this length. `past`: stable has no traffic any more.

    Evidence begins with the present weight once the warm-up is over, and anew when the rollout is resumed: what
    stopped it was looked at by then, or is over. In a long wait it begins anew again and again, so that no gate
    remembers more than `MOST` looks, and each beginning pays for itself. What stable was before it lost its traffic
    never slides away, however long the rollout is held: the record says when that was. The same version was compared
    with the same stable at earlier weights of the wave, so that all of them together are evidence, too.
    """
    origin = max(candidate.since + policy.settling, candidate.resumed)
    renewals = max(0, (now - origin) // (RENEWED * look) - 1)
    begin = origin + renewals * RENEWED * look
    lost = candidate.since if past else begin
    earlier = None if past else _earlier(policy, candidate, look, now)
    return Horizon(begin, look, lost, _part(renewals), earlier)


def _earlier(policy: Policy, candidate: Candidate, look: int, now: int) -> Earlier | None:
    """As many weights as `MOST` looks reach back to. With each that is left behind the evidence is another one."""
    if not candidate.earlier and candidate.step > 1:
        return None
    since = max(candidate.since, candidate.resumed - policy.settling)
    begins = [at + policy.settling for at in (*candidate.earlier, since)]
    known = [at for at in begins if now - at <= MOST * look]
    if not known:
        return None
    changes = [at for at in (*candidate.earlier, candidate.since) if at + policy.settling > known[0]]
    return Earlier(known[0], tuple((at, at + policy.settling) for at in changes), _part(len(begins) - len(known)))


def _part(nth: int) -> float:
    """Of alpha, for evidence that begins for the n-th time."""
    return (1 - FIRST) / (nth * (nth + 1)) if nth else FIRST
