"""`reconcile`: one look at everything, one decision for each rollout, one commit for each decision, then the clusters.

A CI schedule, `gitops run` and `gitops apply --wait` all call the same function. Nothing is kept between two passes
but Git and the clusters; a process killed anywhere leaves what the next pass finishes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from gitops.engine.approving import decide, permitted
from gitops.engine.contention import push_attempts
from gitops.engine.delivering import Delivery, deliver, settle
from gitops.engine.firsts import approve_first
from gitops.engine.judging import Memory, judge
from gitops.engine.planning import foreign_commits, new_rollout_id
from gitops.engine.rerouting import routes_for
from gitops.engine.session import Session
from gitops.engine.unseen import unseen
from gitops.engine.watching import Key, Sight, Trouble, look, lost_for, troubles
from gitops.errors import GitopsError, Moved
from gitops.plan.desired import changes, render_steps
from gitops.plan.model import PlannedStep
from gitops.plan.rollouts import Course, Standing, course, held, queue, standings
from gitops.plan.room import Room
from gitops.plan.stored import Stored, damaged_units, is_fresh
from gitops.rollout.machine import Decision
from gitops.rollout.observation import Command, Observation
from gitops.rollout.release import SpecSource, time_of
from gitops.values import UnitKey
from gitops.world.converge import Failure
from gitops.world.gather import read_existing

Commands = Mapping[UnitKey, Command]


@dataclass(frozen=True)
class Pass:
    """What one pass saw, decided and did."""

    now: int
    standings: Mapping[UnitKey, Standing]
    """Units that do not simply run what the spec names, as they were before the pass."""
    decisions: Mapping[UnitKey, Decision]
    """Holds included."""
    observations: Mapping[UnitKey, Observation] = field(default_factory=dict)
    """What each decision was made from."""
    commits: tuple[str, ...] = ()
    """A commit for each decision that is no hold, in their order."""
    settled: Mapping[UnitKey, tuple[str, ...]] = field(default_factory=dict)
    """Units that had to be brought to where Git says, with the clusters."""
    blind: Mapping[str, str] = field(default_factory=dict)
    """Clusters that could not be asked, and why."""
    left_alone: Mapping[UnitKey, str] = field(default_factory=dict)
    damaged: Mapping[UnitKey, str] = field(default_factory=dict)
    """Those of them whose records cannot be read or whose files do not render, and why."""
    failures: tuple[Failure, ...] = ()

    @property
    def moved(self) -> bool:
        """Whether anything was decided."""
        return any(decision.event for decision in self.decisions.values())


@dataclass(frozen=True)
class _View:
    """What the decisions of one pass are made from."""

    stored: Stored
    now: int
    standings: Mapping[UnitKey, Standing]
    sight: Sight
    observations: Mapping[UnitKey, Observation]


def reconcile(session: Session, memory: Memory | None = None, only: Collection[UnitKey] | None = None) -> Pass:
    """One pass; with `only`, over these units. Raises GitopsError when Git cannot be read or written."""
    return _pass(session, memory or Memory(), {}, only)


def command(session: Session, unit: UnitKey, asked: Command) -> Pass:
    """Do what a person asks for one unit. Going back needs no look at anything but Git.

    Raises GitopsError when there is no such release, or when they may not ask for that there (`approving`); any other
    refusal is said by the decision.
    """
    stored = session.world.stored()
    if why := stored.damage(unit):
        what, _, hint = why.partition(" — ")
        raise GitopsError(f"the record of {unit} cannot be read: {what}", hint=hint)
    if asked.kind == "approve" and unit in session.spec.models and unit not in stored.releases:
        decision, message = approve_first(session, unit, asked)
        return Pass(int(session.world.clock.now()), {}, {unit: decision}, commits=(message,) if message else ())
    if unit not in stored.releases or unit not in session.spec.models:
        known = ", ".join(map(str, stored.releases)) or "nothing has been released yet"
        raise GitopsError(f"{unit} has no release", hint=f"one of: {known}" if stored.releases else known)
    return _pass(session, Memory(), {unit: permitted(session, stored, unit, asked)}, {unit})


def _pass(session: Session, memory: Memory, commands: Commands, only: Collection[UnitKey] | None) -> Pass:
    for attempt in push_attempts(session.world.clock.sleep):
        if attempt:
            session.options.progress("the repository moved; looking again")
        stored = session.world.stored()
        session = session.at(stored)
        view = _view(session, stored, memory, commands, only)
        decisions = decide(session, view.stored, view.standings, view.observations)
        settling = settle(session, view.stored, view.sight.astray) if not commands else Delivery()
        left = _newer(session, view, decisions)
        view, decisions = _back_only(session, view, decisions, left)
        flawed: dict[UnitKey, str] = {}
        try:
            steps = _commit(session, view, {unit: one for unit, one in decisions.items() if unit not in left}, flawed)
        except Moved:
            continue
        delivered, damaged = _deliver(session, view, steps), {**_damaged(session, view.stored, only), **flawed}
        stepped = {one.unit for one in steps}
        return Pass(
            now=view.now,
            standings=view.standings,
            decisions={u: d for u, d in decisions.items() if not d.event or str(u) in stepped},
            observations=view.observations,
            commits=tuple(one.message for one in steps),
            settled=view.sight.astray if not commands else {},
            blind=view.sight.blind,
            left_alone={**damaged, **left},
            damaged=damaged,
            failures=(*settling.failures, *delivered.failures),
        )
    raise AssertionError("the last attempt raises")


def _damaged(session: Session, stored: Stored, only: Collection[UnitKey] | None) -> dict[UnitKey, str]:
    found = damaged_units(session.spec, stored)
    return found if only is None else {unit: why for unit, why in found.items() if unit in only}


# --- Looking -------------------------------------------------------------------------------------------------

_NOTHING_SEEN = Sight({}, {}, {})
_BLIND: Collection[str] = ("abort", "rollback", "pause", "retry", "approve")
"""Commands that need no look at clusters and metrics."""
BACK: Collection[str] = ("abort", "rollback", "pause")
"""Commands that go back or stand still: they need no valid spec either."""
_BACKWARDS: Collection[str] = ("roll-back", "pause")
"""The decisions that do the same."""


def _view(
    session: Session, stored: Stored, memory: Memory, commands: Commands, only: Collection[UnitKey] | None
) -> _View:
    now = int(session.world.clock.now())
    blindly = bool(commands) and all(asked.kind in _BLIND for asked in commands.values())
    sight = _NOTHING_SEEN if blindly or not stored.releases else look(session, stored)
    census = sight.census
    found = {here.unit: here for here in standings(session.spec, stored, now, commands, census)}
    if session.broken:
        found = {unit: held(here) for unit, here in found.items()}
    room = Room(session.spec, stored, census, queue(found.values(), now))
    if only is not None:
        found = {unit: here for unit, here in found.items() if unit in only}
        astray = {unit: clusters for unit, clusters in sight.astray.items() if unit in only}
        sight = Sight(sight.clusters, sight.blind, astray)
    results = {}
    if not blindly:
        watched = [here for unit, here in found.items() if _has_traffic(here) and unit not in sight.astray]
        results = judge(session, stored, watched, now, memory)
    blocked = {} if blindly else unseen(session, stored, found, sight, now)
    said = troubles(session, sight, _getting_ready(found))
    observations = {}
    for unit, here in found.items():
        seen = replace(_troubled(here.observe(now, room), here, sight, said), unseen=blocked.get(unit, ""))
        if here.state.candidate is None and not blindly:
            seen = replace(seen, entry=seen.entry or _out_of_sight(here, sight))
        observations[unit] = _observed(
            seen, here, sight, results.get(unit, ()), commands.get(unit), unit in sight.astray
        )
    return _View(stored, now, found, sight, observations)


def _out_of_sight(here: Standing, sight: Sight) -> str:
    """Why nothing starts now: where nobody sees whether a version gets ready, it would be rejected for that."""
    away = [name for name in here.environment.clusters if name in sight.blind]
    return f"{', '.join(away)} cannot be reached" if away else ""


def _getting_ready(found: Mapping[UnitKey, Standing]) -> list[Key]:
    """The candidates, those with requests first, then those that have been at it the longest: they are the next to lose
    patience with."""
    under_way = [(here.state.candidate, unit) for unit, here in found.items() if here.state.candidate]
    order = sorted(under_way, key=lambda pair: (not pair[0].load, pair[0].entered))
    return [(unit, one.version.version) for one, unit in order]


def _troubled(seen: Observation, here: Standing, sight: Sight, said: Mapping[Key, Trouble]) -> Observation:
    candidate = here.state.candidate
    trouble = said.get((here.unit, candidate.version.version)) if candidate else None
    if trouble is None:
        return seen
    lost = lost_for(sight, here, trouble, seen.now)
    return replace(seen, trouble=trouble.words, crashed=trouble.crashed, lost_for=lost)


def _has_traffic(here: Standing) -> bool:
    candidate = here.state.candidate
    return candidate is not None and candidate.load > 0


def _observed(
    seen: Observation, here: Standing, sight: Sight, results: Sequence[object], asked: Command | None, astray: bool
) -> Observation:
    """What Git shows, with what the clusters and the metrics say. A unit that is astray shows nothing to go by."""
    changed: dict[str, object] = {"results": tuple(results), "commands": (asked,) if asked else ()}
    candidate, stable = here.state.candidate, here.state.stable
    if candidate and sight.clusters and not astray:
        ready = sight.ready(here, candidate.version)
        changed["ready"] = ready[min(candidate.wave, len(ready) - 1)]
        changed["ready_waves"] = ready if len(ready) > 1 else ()
        changed["held"] = sight.ready(here, candidate.version, candidate.basis)
    if stable and sight.clusters:
        known = [one for one in sight.ready(here, stable) if one is not None]
        changed |= {"stable_ready": min(known) if known else None}
    return replace(seen, **changed)  # type: ignore[arg-type]


# --- Doing ---------------------------------------------------------------------------------------------------


def _newer(session: Session, view: _View, decisions: Mapping[UnitKey, Decision]) -> dict[UnitKey, str]:
    """Units that were changed from a spec that this checkout does not contain, as far as can be told.

    An old checkout must not take back what a newer one started. A person's command is done from any checkout.
    """
    asked = [unit for unit, one in decisions.items() if one.event and view.observations[unit].command is None]
    recorded = {unit: commit for unit in asked if (commit := view.stored.releases[unit].source.commit)}
    if not recorded:
        return {}
    try:
        foreign = foreign_commits(session, session.source, recorded.values())
    except GitopsError as error:  # which commits it contains cannot be told: a shallow clone
        return dict.fromkeys(recorded, str(error))
    return {
        unit: f"last changed from spec commit {commit[:10]}, which this checkout does not contain"
        for unit, commit in recorded.items()
        if commit in foreign
    }


def _back_only(
    session: Session, view: _View, decisions: Mapping[UnitKey, Decision], left: dict[UnitKey, str]
) -> tuple[_View, dict[UnitKey, Decision]]:
    """The decisions without what the spec of this checkout says about the units of `left`.

    They are judged all the same: those that go back or stop are done, and taken from `left`.
    """
    if not left:
        return view, dict(decisions)
    there = {unit: held(view.standings[unit]) for unit in left}
    seen = {unit: replace(view.observations[unit], target=here.target, entry="") for unit, here in there.items()}
    again = decide(session, view.stored, there, seen)
    back = {unit: one for unit, one in again.items() if one.event and one.kind in _BACKWARDS}
    for unit in back:
        del left[unit]
    view = replace(
        view,
        standings={**view.standings, **{unit: there[unit] for unit in back}},
        observations={**view.observations, **{unit: seen[unit] for unit in back}},
    )
    return view, {**decisions, **back}


def _commit(
    session: Session, view: _View, decisions: Mapping[UnitKey, Decision], flawed: dict[UnitKey, str]
) -> tuple[PlannedStep, ...]:
    """Commit and push every decision; the steps. Units that have to be rendered for that and cannot are `flawed`."""
    doing = {
        unit: course(view.standings[unit], [decision], as_released=True)
        for unit, decision in decisions.items()
        if decision.event
    }
    if not doing:
        return ()
    partial = [unit for unit in doing if not _is_fresh(session, view, unit)]
    wanted = render_steps(session.spec, session.renderer, view.stored, doing, partial)
    if unrendered := wanted.files.units:
        back = {unit: doing[unit] for unit in unrendered if decisions[unit].kind in _BACKWARDS}
        routes, missing = routes_for(session, view.stored, back)
        forward = {unit: str(error) for unit, error in unrendered.items() if unit not in back}
        flawed |= forward | {unit: f"{unrendered[unit]}; {why}" for unit, why in missing.items()}
        for unit in (one for one, files in routes.items() if files):
            why = f"{unrendered[unit].where}: {unrendered[unit].what}"
            session.options.progress(f"{unit}: going back by the route that Git has, since {why}")
        doing = {unit: there for unit, there in doing.items() if unit not in flawed}
        wanted = render_steps(session.spec, session.renderer, view.stored, doing, partial, routes)
    repository = session.world.repository(create=True)
    existing, contents = read_existing(repository, view.stored, wanted, loose=False)
    found = changes(
        session.spec,
        view.stored,
        session.renderer,
        wanted,
        existing,
        contents,
        now=time_of(view.now),
        source=_source(session, doing),
        new_id=new_rollout_id,
        known=session.registered.known,
    )
    repository.commit_all(view.stored.head, [(dict(one.files), one.message) for one in found.steps])
    return found.steps


def _source(session: Session, doing: Mapping[UnitKey, Course]) -> SpecSource:
    """The spec commit; going back does not wait for a checkout that cannot be read."""
    try:
        return session.source
    except GitopsError:
        if all(step.decision.kind in _BACKWARDS for there in doing.values() for step in there.steps):
            return SpecSource()
        raise


def _is_fresh(session: Session, view: _View, unit: UnitKey) -> bool:
    """Whether a step renders nothing but itself: else an edit that nobody applied yet would ride along."""
    before = course(view.standings[unit], (), as_released=True)
    return is_fresh(unit, session.spec, session.renderer, view.stored, before)


def _deliver(session: Session, view: _View, steps: Sequence[PlannedStep]) -> Delivery:
    if not steps:
        return Delivery()
    return deliver(session, steps, view.stored, session.world.stored())
