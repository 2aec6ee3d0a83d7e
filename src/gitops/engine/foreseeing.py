"""What a plan says of rollouts before they run: rehearsed, with the traffic that the metrics show now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gitops.engine.session import Session
from gitops.plan.capacity import Ahead, free_gpus, loads, pool_use, stalls
from gitops.plan.census import NOTHING_SEEN, Census
from gitops.plan.desired import Wanted
from gitops.plan.model import Plan
from gitops.plan.observed import Entry
from gitops.plan.rehearsal import rehearse
from gitops.plan.replacing import replacing
from gitops.plan.room import Pools
from gitops.plan.stored import Stored

Present = tuple[Mapping[str, Entry], Mapping[str, bytes]]
"""Files of the repository by path, and the contents by blob id."""
_NOTHING: Present = {}, {}


def with_outlook(
    session: Session,
    stored: Stored,
    wanted: Wanted,
    draft: Plan,
    now: int,
    only: frozenset[str] | None,
    census: Census = NOTHING_SEEN,
    present: Present = _NOTHING,
) -> Plan:
    """The draft with what its pools carry, what is ahead of its rollouts, and what will be in their way.

    `present` is what the repository holds of the files that change.
    """
    spec, pools = session.spec, Pools(session.spec)
    alone = {item.unit for item in draft.left_alone}
    courses = {unit: course for unit, course in wanted.courses.items() if str(unit) not in alone}
    ahead = {unit: rehearse(pools, course, now) for unit, course in courses.items()}
    in_place = replacing(spec, pools, draft.files, *present)
    changing = {change.unit for change in draft.releases}
    found = loads(spec, stored, pools, ahead, changing, alone, census, in_place.surges())
    free = free_gpus(pools, found)
    draft = replace(
        draft,
        capacity=tuple(pool_use(stored, pools, found, census)),
        warnings=(*draft.warnings, *in_place.sentences(free)),
        refusals=(*draft.refusals, *in_place.refusals(free)),
    )
    shown = {unit: one for unit, one in ahead.items() if only is None or str(unit) in only}
    draft = replace(draft, warnings=(*draft.warnings, *stalls(pools, shown, found, census)))
    return _with_rollouts(session, draft, pools, shown, now) if any(one.begins for one in shown.values()) else draft


def _with_rollouts(session: Session, draft: Plan, pools: Pools, ahead: Ahead, now: int) -> Plan:
    # Most plans start nothing, and do without these modules.
    from gitops.engine.sampling import traffic
    from gitops.plan.outlook import outlooks, unanswerable

    return replace(
        draft,
        outlook=outlooks(session.spec, pools, ahead, traffic(session, ahead, now), now),
        warnings=(*draft.warnings, *unanswerable(session.spec, ahead)),
    )
