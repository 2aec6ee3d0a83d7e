"""A rollout before it runs: the state machine as it is, with replicas ready as declared and every gate passing.

What comes out is the shortest way to the end, or to the deadline that makes it impossible: each commit with what runs
after it, and with the GPUs that takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from gitops.plan.lives import lives_of, waves_of
from gitops.plan.rollouts import Course, Standing
from gitops.plan.room import Place, Pools
from gitops.render.live import Live, Waves, replicas_for, share_of
from gitops.rollout.events import Event
from gitops.rollout.load import grown
from gitops.rollout.machine import step
from gitops.rollout.observation import Observation
from gitops.rollout.policy import Policy
from gitops.rollout.state import ModelVersion, RolloutState
from gitops.rollout.verdicts import Verdict
from gitops.spec.pipeline import Model

_MOST = 1000
"""Looks after which a rehearsal is given up; the longest policy takes a few for each step and wave."""
_STABLE, _TARGET = ModelVersion("stable", "stable"), ModelVersion("target", "target")
"""Names in rehearsals that many units share."""


class Scene(NamedTuple):
    """One commit. `at` is in seconds since the rehearsal began."""

    at: int
    event: Event
    state: RolloutState
    """The state after it."""


class Moment(NamedTuple):
    """A scene of one unit, with what runs then."""

    at: int
    event: Event
    lives: tuple[Live, ...]
    waves: Waves | None
    gpus: Mapping[Place, int]
    """What all versions of the unit take."""
    needed: Mapping[Place, int]
    """The same without versions that are kept: they make room for a rollout that waits for it."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What one unit has before it, from the state that it is in when the plan's own steps are done."""

    standing: Standing
    starts: bool
    """It starts with this very plan; otherwise it waits for something, or is under way."""
    moments: tuple[Moment, ...]

    @property
    def begins(self) -> bool:
        """Whether a version starts, now or once it may."""
        return any(moment.event.kind == "start" for moment in self.moments)

    @property
    def target(self) -> Model:
        """The version that it is about."""
        return self.standing.model

    @property
    def duration(self) -> int:
        """Seconds until the version is stable, when nothing is in its way."""
        return next((moment.at for moment in self.moments if moment.event.kind == "promote"), 0)

    @property
    def end(self) -> Moment | None:
        """The moment at which it is rolled back, since a deadline comes before what it waits for; None if none does."""
        return next((moment for moment in self.moments if moment.event.kind == "roll-back"), None)

    def advances(self, wave: int | None = None) -> Iterator[Moment]:
        """The moments at which the version gets another weight; with `wave`, in that wave."""
        found = (moment for moment in self.moments if moment.event.kind == "advance")
        return (moment for moment in found if wave in (None, moment.event.wave))

    def goal(self, number: int) -> str:
        """What the moment of this number gets the version ready for, or does: `step 2 (10 %)`."""
        following = (moment for moment in self.moments[number:] if moment.event.kind in ("advance", "promote"))
        moment = next(following, None)
        return step_words(moment) if moment and moment.event.kind == "advance" else "all traffic"


def step_words(moment: Moment) -> str:
    """A step by its number and weight: `step 2 (10 %)`."""
    event = moment.event
    weight = f"{event.mirror} % mirrored" if event.mirror else f"{event.weight} %"
    return f"step {event.step} ({weight})" if event.waves < 2 else f"wave {event.wave + 1} step {event.step} ({weight})"


def rehearse(pools: Pools, course: Course, now: int) -> Rehearsal:
    """Rehearse the rest of a unit's course; a version that is held back starts as if it were not."""
    here, starts = course.standing, False
    state = course.state
    if course.steps and course.steps[-1].decision.kind == "start":
        # Its start is rehearsed too, as if there were room.
        starts, state = True, course.steps[-2].decision.state if course.steps[1:] else here.state
    moments = () if _is_barred(here, state) else tuple(_moments(pools, here, state, now))
    return Rehearsal(here, starts, moments)


def _is_barred(here: Standing, state: RolloutState) -> bool:
    """Whether the version that the spec names never starts: rejected, or another artifact has its name."""
    target, running = here.target, (state.stable, *(one.version for one in state.kept))
    if state.candidate:
        return False
    return state.rejection(target.digest, here.runs) is not None or any(target.contradicts(one) for one in running)


def _moments(pools: Pools, here: Standing, state: RolloutState, now: int) -> Iterator[Moment]:
    models, names = here.models(), dict[ModelVersion, ModelVersion]()
    policy, serve = replace(here.policy, approvals=0), here.model.serve
    size = serve.replicas.min, serve.load_time
    if state.stable and not (state.candidate or state.kept):
        # Nothing but names differs from other units that have the same policy.
        models = {_STABLE.version: models[state.stable.version], _TARGET.version: here.model}
        names = {_STABLE: state.stable, _TARGET: here.target}
        scenes = _fresh(policy, *size) if here.target != state.stable else ()
    else:
        if state.candidate:
            chosen = models[state.candidate.version.version].serve
            size = chosen.replicas.min, chosen.load_time
        scenes = tuple(_walk(policy, _going(state), here.target, now, *size))
    for at, event, after in scenes:
        if after.candidate or after.kept:
            after = replace(after, load=grown(after.load, here.load))
        lives, waves = _running(here, after, models)
        gpus = needed = pools.taken(here.unit, lives, waves)
        if after.kept:
            needed = pools.taken(here.unit, *_running(here, replace(after, kept=()), models))
        about = replace(event, version=names.get(event.version, event.version))
        yield Moment(at, about, lives, waves, gpus, needed)


def _running(here: Standing, state: RolloutState, models: Mapping[str, Model]) -> tuple[tuple[Live, ...], Waves | None]:
    return lives_of(here.release, state, models), waves_of(here.release, state, models, here.environment)


def _going(state: RolloutState) -> RolloutState:
    """As if somebody had resumed it."""
    candidate = state.candidate
    return replace(state, candidate=replace(candidate, pause=None)) if candidate and candidate.pause else state


@lru_cache(maxsize=1000)
def _fresh(policy: Policy, minimum: int, load_time: int) -> tuple[Scene, ...]:
    return tuple(_walk(policy, RolloutState(_STABLE), _TARGET, 0, minimum, load_time))


def _walk(
    policy: Policy, state: RolloutState, target: ModelVersion, now: int, minimum: int, load_time: int
) -> Iterator[Scene]:
    """Decide, and jump to when the next decision is due, until nothing is left to do.

    `minimum` replicas carry all traffic; new ones are ready `load_time` seconds after they were asked for.
    """
    begin, waves = now, max(1, policy.waves)
    passes = tuple(Verdict(gate, "pass", "") for gate in policy.gates)
    before, due = (0,) * waves, now
    if state.candidate and state.candidate.stage in ("starting", "promoting"):
        carried = (max(one.candidate, one.mirror) for one in state.weights(waves))
        before, due = tuple(replicas_for(minimum, load) for load in carried), state.candidate.entered + load_time
    for _ in range(_MOST):
        candidate = state.candidate
        sizes = tuple(replicas_for(minimum, scale) for scale in state.scales(waves))
        ready = tuple(share_of(count, minimum) for count in (sizes if now >= due else before))
        wave = min(candidate.wave, waves - 1) if candidate else 0
        results = passes if candidate and candidate.load else ()
        seen = Observation(now, target, ready=ready[wave], ready_waves=ready, results=results)
        decision = step(policy, state, seen)
        if decision.event is None:
            later = [at for at in (due, *_times(policy, state)) if at > now]
            if not later:
                return
            now = min(later)
            continue
        state = decision.state
        grown = tuple(replicas_for(minimum, scale) for scale in state.scales(waves))
        if any(new > old for new, old in zip(grown, sizes, strict=True)):
            before, due = sizes, now + load_time
        yield Scene(now - begin, decision.event, state)


def _times(policy: Policy, state: RolloutState) -> Iterator[int]:
    """When something may be due."""
    if one := state.candidate:
        bake = policy.bake(one.load)
        yield from (one.since + policy.settling + bake, one.entered + bake)
        if one.stage in ("starting", "promoting"):
            yield one.entered + policy.ready_timeout
    for kept in state.kept:
        yield from (kept.drained, kept.until)
