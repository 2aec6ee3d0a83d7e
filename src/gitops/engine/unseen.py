"""Why versions cannot be judged now: clusters that do not answer, and metrics that do not."""

from __future__ import annotations

from collections.abc import Mapping

from gitops.engine.judging import unanswered
from gitops.engine.session import Session
from gitops.engine.watching import Sight
from gitops.plan.rollouts import Standing
from gitops.plan.stored import Stored
from gitops.values import UnitKey


def unseen(
    session: Session, stored: Stored, found: Mapping[UnitKey, Standing], sight: Sight, now: int
) -> dict[UnitKey, str]:
    """What does not answer, of units for which that matters.

    The metrics are only asked for a version that went back because they did not answer: the gates of one that is under
    way are asked anyhow, and say so themselves.
    """
    waiting = [here for here in found.values() if _waits_for_sight(here)]
    silent = unanswered(session, stored, waiting, now) if waiting else {}
    clusters = {unit: _blind(here, sight) for unit, here in found.items()}
    said = {unit: "; ".join(filter(None, (clusters[unit], silent.get(unit, "")))) for unit in found}
    return {unit: words for unit, words in said.items() if words}


def _waits_for_sight(here: Standing) -> bool:
    back = here.state.returned_as(here.target)
    return here.state.candidate is None and back is not None and back.waits == "sight"


def _blind(here: Standing, sight: Sight) -> str:
    names = [name for wave in here.waves for name in wave if name in sight.blind]
    return "; ".join(f"{name}: {sight.blind[name]}" for name in names)
