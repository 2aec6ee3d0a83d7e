"""Where each unit stands in its rollout: which version it should run, why not yet, and what Git alone says is due."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from gitops.plan.census import NOTHING_SEEN, Census
from gitops.plan.lives import lives_of, models_of, target_of, waves_of
from gitops.plan.room import Claim, Room, Shortfall
from gitops.plan.stored import Stored
from gitops.render.live import Live, Waves
from gitops.rollout.approvals import Uncounted, decide
from gitops.rollout.load import Loads, grown
from gitops.rollout.machine import Decision, needed, step
from gitops.rollout.observation import Objection, Observation
from gitops.rollout.policy import Policy, policy_of
from gitops.rollout.release import Release, time_of
from gitops.rollout.state import ModelVersion, RolloutState
from gitops.spec.environment import Environment
from gitops.spec.frozen import runs_of
from gitops.spec.pipeline import Model
from gitops.spec.promotion import frozen, pinned, predecessor, waves_since
from gitops.spec.resolved import Spec
from gitops.values import UnitKey, person_key

_STATIC = 4
"""No more steps than that follow from Git alone: lapse, roll back, start."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One released unit at one moment, with everything that is known without looking at live systems."""

    unit: UnitKey
    release: Release
    model: Model
    """What the spec says of it."""
    policy: Policy
    state: RolloutState
    target: ModelVersion
    """What should run here: as long as `entry` holds a new version back, what is under way stays the target."""
    runs: str
    """Digest over everything that a pod of the target runs."""
    entry: str
    manual: bool
    freeze: str
    environment: Environment
    objections: tuple[Objection, ...] = ()
    """Earlier environments in which the candidate, or else the target, is rejected."""
    held: bool = False
    """What the spec names does not count: see `held`."""
    load: Loads = ()
    """How much more all traffic takes now than declared, as far as anything running shows it."""

    def observe(self, now: int, room: Room) -> Observation:
        """What Git alone shows, with the load. Nothing is known to be ready, and no gate has been asked."""
        short = self.shortfall(room)
        return Observation(
            now=now,
            target=self.target,
            runs=self.runs,
            room=short is None,
            behind=tuple(map(str, short.behind)) if short else (),
            entry=self.entry,
            unnamed=self.held,
            objections=self.objections,
            manual=self.manual,
            freeze=self.freeze,
            load=self.load,
        )

    def shortfall(self, room: Room) -> Shortfall | None:
        """Where the clusters have no room for what the next weight needs; None if they have."""
        candidate = self.state.candidate
        if candidate is None and (self.entry or self.target == self.state.stable):
            return None
        waves = zip(self.waves, needed(self.policy, self.state, self.target), strict=False)
        scales = {cluster: scale for clusters, scale in waves for cluster in clusters}
        return room.shortfall(self.unit, self._coming, scales, grown(self.state.load, self.load))

    @property
    def claim(self) -> Claim:
        """What its rollout takes in the end."""
        return Claim(self.unit, self._coming, grown(self.state.load, self.load))

    @property
    def _coming(self) -> Model:
        candidate = self.state.candidate
        return self.models()[candidate.version.version] if candidate else self.model

    @property
    def waves(self) -> tuple[tuple[str, ...], ...]:
        """The clusters in the order in which the rollout reaches them."""
        return waves_since(self.environment, self.state.begun)

    def models(self, *, as_released: bool = False) -> dict[str, Model]:
        """Every version that may run here: those of the record, and the one that the spec names.

        With `as_released` the versions of the record stay as they are, whatever the spec has changed since.
        """
        known = models_of(self.release, None if as_released else self.model)
        return {self.model.version: self.model} | known


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a rollout: the decision, and what runs after it."""

    decision: Decision
    lives: tuple[Live, ...]
    waves: Waves | None


def standings(
    spec: Spec, stored: Stored, now: int, always: Container[UnitKey] = (), census: Census = NOTHING_SEEN
) -> Iterator[Standing]:
    """Every released unit of the spec that is not simply running what the spec names, and those of `always`."""
    freezes = {name: frozen(environment, now) for name, environment in spec.environments.items()}
    for unit, model in spec.models.items():
        release = stored.releases.get(unit)
        if release is not None and (unit in always or not (release.settled and _runs(release, model))):
            yield standing(spec, stored, unit, freezes[unit.environment], census)


def held(here: Standing) -> Standing:
    """The same where what the spec names does not count: what is under way goes on or back, and nothing starts.

    The target is the candidate, or what runs, each as it was released.
    """
    running = here.state.candidate.version if here.state.candidate else here.state.stable
    assert running is not None, "what has a record has been released"
    model = models_of(here.release, None).get(running.version, here.model)
    # The policy is that of the spec: the one that a frozen model names may be gone.
    model = model.model_copy(update={"rollout": here.model.rollout})
    return replace(here, model=model, target=running, runs=runs_of(model), entry="", held=True)


def standing(spec: Spec, stored: Stored, unit: UnitKey, freeze: str, census: Census = NOTHING_SEEN) -> Standing:
    """Where one released unit stands; `census` shows the load."""
    model, release, environment = spec.models[unit], stored.releases[unit], spec.environments[unit.environment]
    state, target = release.state, target_of(model)
    entry = _entry(spec, stored, unit, target)
    if entry and state.candidate:
        # The version on its way goes on: the next one has yet to be verified before it comes here.
        target, entry = state.candidate.version, ""
    asked = model if target == target_of(model) else models_of(release, None)[target.version]
    here = Standing(
        unit=unit,
        release=release,
        model=model,
        policy=policy_of(spec.pipeline.rollouts[model.rollout], environment, _load_time(release, model), state.begun),
        state=state,
        target=target,
        runs=runs_of(asked),
        entry=entry,
        manual=environment.promotion == "manual",
        freeze=freeze,
        environment=environment,
        objections=tuple(_objections(spec, stored, unit, state.candidate.version if state.candidate else target)),
    )
    return replace(here, load=census.load(release, here.models(), environment)) if census.workloads else here


def _load_time(release: Release, model: Model) -> int:
    """Of the version that the spec names, and of one that is on its way: whichever takes longer."""
    going = models_of(release, None).get(release.candidate.version.version) if release.candidate else None
    return max(one.serve.load_time for one in (model, going) if one)


def first_entry(spec: Spec, stored: Stored, unit: UnitKey, uncounted: Uncounted = MappingProxyType({})) -> str:
    """Why a unit without a release may not get its first one yet; empty when it may.

    A model that runs nowhere is released everywhere at once, in promotion order: there is nothing to protect yet.
    Where people approve, they approve the first version too; `uncounted` are approvals that do not count.
    """
    if why := _unapproved(spec, stored, unit, uncounted):
        return why
    if not stored.knows(unit.model):
        return ""
    return _entry(spec, stored, unit, target_of(spec.models[unit]))


def queue(found: Iterable[Standing], now: int) -> list[Claim]:
    """The rollouts in the one order in which they get room: those under way as they started, then those that would
    start now, in the spec's order."""
    found = list(found)
    begun = sorted((here for here in found if here.state.candidate), key=_started)
    return [here.claim for here in (*begun, *(here for here in found if _starts(here, now)))]


def _started(here: Standing) -> tuple[int, UnitKey]:
    assert here.state.candidate, "it is under way"
    return here.state.candidate.started, here.unit


def _starts(here: Standing, now: int) -> bool:
    """Whether it would start if there were room; what else holds it back takes no place in the line."""
    if here.state.candidate or here.entry or here.target == here.state.stable:
        return False
    seen = Observation(now, here.target, runs=here.runs, entry=here.entry, manual=here.manual, freeze=here.freeze)
    return step(here.policy, here.state, seen).kind == "start"


def _unapproved(spec: Spec, stored: Stored, unit: UnitKey, uncounted: Uncounted) -> str:
    rules = spec.environments[unit.environment].approvals
    if rules is None:
        return ""
    model = spec.models[unit]
    about = model.artifact.digest, runs_of(model)
    ours = (one for one in stored.consents.get(unit, ()) if (one.digest, one.runs) == about and one not in uncounted)
    given = {person_key(one.by): one.by for one in ours}
    if len(given) >= rules.required:
        return ""
    named = f" ({', '.join(sorted(given.values()))})" if given else ""
    flaws = ", ".join(f"{one.by} {why}" for one, why in uncounted.items())
    return f"not approved yet, {len(given)} of {rules.required}{named}{f'; not counted: {flaws}' if flaws else ''}"


@dataclass(frozen=True, slots=True)
class Course:
    """What a unit does next: the steps that are due, and what runs when they are done."""

    standing: Standing
    steps: tuple[Step, ...]
    lives: tuple[Live, ...]
    waves: Waves | None
    held: str = ""
    """Why the version that the spec names has not started; empty when it runs or is on its way."""

    @property
    def state(self) -> RolloutState:
        """The state after the steps."""
        return self.steps[-1].decision.state if self.steps else self.standing.state


def course(here: Standing, decisions: Sequence[Decision], *, as_released: bool = False, held: str = "") -> Course:
    """The unit's course when it does these decisions, one after the other.

    With `as_released`, versions that run already stay as they are, whatever the spec has changed of them since.
    """
    models = here.models(as_released=as_released)

    def shown(state: RolloutState) -> tuple[tuple[Live, ...], Waves | None]:
        lives = lives_of(here.release, state, models)
        return lives, waves_of(here.release, state, models, here.environment)

    steps = tuple(Step(decision, *shown(decision.state)) for decision in decisions)
    return Course(here, steps, *shown(decisions[-1].state if decisions else here.state), held)


def courses(
    spec: Spec,
    stored: Stored,
    now: int,
    uncounted: Mapping[UnitKey, Uncounted] = MappingProxyType({}),
    census: Census = NOTHING_SEEN,
) -> dict[UnitKey, Course]:
    """The course of every unit that does not simply run what the spec names, as far as Git alone can say.

    `uncounted` are recorded approvals that do not count; `census` is what runs, where somebody looked.
    """
    found = list(standings(spec, stored, now, census=census))
    room = Room(spec, stored, census, queue(found, now))
    return {here.unit: _due(here, now, room, uncounted.get(here.unit, {})) for here in found}


def _due(here: Standing, now: int, room: Room, uncounted: Uncounted) -> Course:
    """A new version starts, or one that the spec left goes back; anything else needs a look at live systems."""
    decisions: list[Decision] = []
    present = here
    while len(decisions) < _STATIC:
        # Sizes follow with the first pass, before any traffic: what a saved plan does must not depend on how many
        # replicas an autoscaler runs at the moment.
        seen = replace(present.observe(now, room), load=())
        decision = decide(present.policy, present.state, seen, uncounted)
        if not _follows_from_spec(present, decision):
            break
        decisions.append(decision)
        present = replace(present, state=decision.state)
    waits = present.state.candidate is None and present.target != present.state.stable
    return course(here, decisions, held=decision.sentence if waits else "")


def _runs(release: Release, model: Model) -> bool:
    return (release.stable.version, release.stable.digest) == (model.version, model.artifact.digest)


def _entry(spec: Spec, stored: Stored, unit: UnitKey, target: ModelVersion) -> str:
    """A version comes to an environment when the one before it runs it for all traffic, or when it is pinned there."""
    release = stored.releases.get(unit)
    if release and release.state.stable == target:
        return ""
    if release and (digest := other_artifact(release, target)):
        return f"{target.version} runs with artifact {digest[:19]}…, and a version never changes its artifact"
    if pinned(spec, unit):
        return ""
    before = predecessor(spec, unit)
    if before is None:
        return ""
    return "" if _verified(spec, stored, before, target) else f"not verified in {before.environment} yet"


def _objections(spec: Spec, stored: Stored, unit: UnitKey, version: ModelVersion) -> Iterator[Objection]:
    """Where in the order of promotion before this environment the version is rejected now."""
    order = spec.pipeline.promotion
    for name in order[: order.index(unit.environment)]:
        release = stored.releases.get(UnitKey(name, unit.model))
        rejection = release.state.rejection_of(version) if release else None
        if rejection:
            yield Objection(name, rejection.reason, time_of(rejection.at))


def _verified(spec: Spec, stored: Stored, unit: UnitKey, target: ModelVersion) -> bool:
    """Whether the version has all traffic there, and in the revision that the spec asks for there."""
    release, wanted = stored.releases.get(unit), target_of(spec.models[unit])
    stable = release.state.stable if release else None
    return target.same_version(stable) and (stable == wanted or not target.same_version(wanted))


def other_artifact(release: Release, target: ModelVersion) -> str:
    """The digest with which the target's version runs already, when that is another one; else empty."""
    return next((one.digest for one in release.state.versions if target.contradicts(one)), "")


def _follows_from_spec(here: Standing, decision: Decision) -> bool:
    if decision.kind in ("start", "clear"):
        return True
    if decision.kind == "pause":
        # In the same push as what starts in the earlier environment, where the rejection lapses with that.
        return decision.event is not None and decision.event.cause == "earlier"
    candidate = here.state.candidate
    return decision.kind == "roll-back" and candidate is not None and candidate.version != here.target
