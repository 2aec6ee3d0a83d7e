"""`plan`, `diff`, `rendered`: gather what is there, decide what would change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from gitops.engine.approving import uncounted
from gitops.engine.foreseeing import with_outlook
from gitops.engine.observing import with_live
from gitops.engine.session import Session
from gitops.engine.watching import census
from gitops.errors import GitopsError
from gitops.plan.census import NOTHING_SEEN
from gitops.plan.desired import Changes, changes, render_stale, without_clusters
from gitops.plan.leaving import out_of_reach, without
from gitops.plan.model import Base, LeftAlone, Making, Plan, Refusal
from gitops.plan.refusals import departures, refusals
from gitops.plan.registered import VersionKey
from gitops.plan.stored import Stored
from gitops.render.check import check_manifests
from gitops.render.images import unpinned
from gitops.rollout.history import spec_commit
from gitops.rollout.message import Released, commit_message
from gitops.rollout.registration import Registration, told
from gitops.rollout.release import SpecSource, time_of
from gitops.spec.autoscaling import unscaled
from gitops.values import base_version
from gitops.world.gather import read_existing
from gitops.world.git.checkout import contains, is_shallow

_LOOKS = 10
"""How often a plan is made while others push: what then is refused, or deleted, is decided when it is applied."""


class _Names:
    """Names for rollouts and commits: those of a plan that is made again, else new ones. Remembers what it gave."""

    def __init__(self, given: Sequence[str] = ()) -> None:
        self._left = list(reversed(given))
        self.given: list[str] = []

    def __call__(self) -> str:
        self.given.append(self._left.pop() if self._left else new_rollout_id())
        return self.given[-1]


def plan(session: Session, only: frozenset[str] | None = None, again: Plan | None = None) -> Plan:
    """Everything that would change; with `only`, what would change for these units and clusters.

    `again` is a saved plan to be made again: from its time, its names and its tfplans, which are read, not made.
    Raises GitopsError when something cannot be read, or when what was rendered is not what a cluster may get.
    """
    for _ in range(_LOOKS - 1):
        found = _plan(session, only, again)
        if again or not _overtaken(session, found):
            return found
        session.options.progress("the repository moved; planning again")
    return _plan(session, only, again)


def _overtaken(session: Session, found: Plan) -> bool:
    """Whether somebody pushed while this plan looked at clusters: what that commit created there would be deleted, or
    refused, because the commit that was read before does not have it. Other changes are compared again by the push.
    """
    doubtful = found.stopped or any(change.action == "delete" for change in found.objects)
    return bool(doubtful) and found.base.live and session.world.repository().head() != found.base.head


def _plan(session: Session, only: frozenset[str] | None, again: Plan | None) -> Plan:
    repository = session.world.repository()
    stored, now = session.world.stored(), again.making.now if again else int(session.world.clock.now())
    names = _Names(again.making.ids if again else ())
    commit = names()
    stored = stored.returning(session.spec.models)
    session = session.at(stored)
    spec, options = session.spec, session.options
    running = NOTHING_SEEN if options.offline else census(session, stored)
    approved = uncounted(session, stored)
    wanted = render_stale(spec, session.renderer, stored, session.modules, now, approved, running)
    existing, contents = read_existing(repository, stored, wanted)
    source = session.source
    units = (*wanted.stale, *wanted.courses, *wanted.gone)
    recorded = {stored.releases[unit].source.commit for unit in units if unit in stored.releases}
    foreign = foreign_commits(session, source, recorded)
    found = changes(
        spec,
        stored,
        session.renderer,
        wanted,
        existing,
        contents,
        now=time_of(now),
        source=source,
        foreign_commits=foreign,
        new_id=names,
        known=session.registered.known,
    )
    if only is not None:
        found = _restrict(found, only)
    found = without_clusters(found, _newer_clusters(session, found, source))
    draft = _draft(session, stored, _base(session, stored, source), found, Making(now, (commit,)))
    held = {**wanted.waiting, **session.registered.waiting}
    waiting = (LeftAlone(str(unit), why) for unit, why in held.items())
    draft = replace(draft, waiting=tuple(one for one in waiting if only is None or one.unit in only))
    told = (*unscaled(spec.models, spec.environments), *unpinned(spec))
    draft = replace(draft, warnings=(*draft.warnings, *told))
    if not options.offline:
        draft = with_live(session, draft, only, tfplans=_tfplans(again) if again else None)
        draft = leave(session, draft, out_of_reach(spec, draft))
    draft = with_outlook(session, stored, wanted, draft, now, only, running, (existing, contents))
    draft = replace(draft, registrations=tuple(_to_register(session))) if only is None else draft
    refused = (*draft.refusals, *_contradicted(session), *refusals(draft, stored, options.allowed))
    return replace(draft, refusals=refused, making=Making(now, tuple(names.given)))


def _tfplans(again: Plan) -> Mapping[str, bytes]:
    return {one.cluster: one.saved for one in again.infrastructure}


def leave(session: Session, whole: Plan, reasons: Mapping[str, str]) -> Plan:
    """The plan without these units, which it says to leave alone."""
    left = without(whole, reasons)
    return replace(left, message=_message(session, left)) if reasons else whole


def _to_register(session: Session) -> Iterator[LeftAlone]:
    for key in session.registered.missing:
        yield LeftAlone(f"{key.model} {key.version}", "; ".join(session.registered.work(key)))


def _contradicted(session: Session) -> Iterator[Refusal]:
    for key, said in session.registered.contradicted.items():
        waiting = session.registered.waiting.items()
        units = tuple(str(unit) for unit, why in waiting if (unit.model, why) == (key.model, said))
        message = f"{key.model}: {said}; a version never changes what it is, give it a new one"
        yield Refusal("artifact-changed", message, units=units)


def diff(session: Session) -> Plan:
    """How live objects differ from what the repository's head says; the spec's models play no part."""
    stored = session.world.stored()
    source = session.source
    draft = _draft(session, stored, _base(session, stored, source), Changes((), (), (), (), {}), Making())
    return with_live(session, draft, None, infrastructure=False)


def rendered(session: Session, only: str = "") -> dict[str, bytes]:
    """The files that the repository would hold, without looking at it; with `only`, those of one unit."""
    units = [unit for unit in session.spec.models if only in ("", str(unit))]
    if only and not units:
        raise GitopsError(f"no unit {only}", where="--unit", hint=f"one of: {', '.join(map(str, session.spec.models))}")
    files: dict[str, bytes] = {}
    for unit in units:
        files.update(session.renderer.unit(unit))
    if not only:
        for environment in session.spec.environments:
            files.update(session.renderer.base(environment))
        for cluster in session.spec.clusters:
            files.update(session.renderer.root(cluster))
    check_rendered(files)
    return dict(sorted(files.items()))


def check_rendered(files: Mapping[str, bytes]) -> None:
    """Raise GitopsError when a rendered file is not what a cluster may get: the templates are at fault."""
    found = check_manifests(files)
    if found:
        first, more = found[0], len(found) - 1
        hint = " — ".join(part for part in (first.hint, f"{more} more files are wrong" if more else "") if part)
        raise GitopsError(first.what, where=first.where, hint=hint or "correct the template that rendered it")


def _base(session: Session, stored: Stored, source: SpecSource) -> Base:
    return Base(
        pipeline=session.spec.pipeline.name,
        head=stored.head,
        spec=session.spec.digest,
        engine=session.engine,
        world=session.options.kind,
        live=not session.options.offline,
        spec_commit=source.commit,
        spec_modified=source.modified,
    )


def _draft(session: Session, stored: Stored, base: Base, found: Changes, making: Making) -> Plan:
    refused, warnings = departures(session.spec, stored)
    plan = Plan(
        base=base,
        releases=found.releases,
        files=found.files,
        steps=found.steps,
        left_alone=found.left_alone,
        warnings=tuple(warnings),
        refusals=(*found.refusals, *refused),
        seen=found.seen,
        models=len(session.spec.pipeline.models),
        environments=tuple(session.spec.environments),
        making=making,
    )
    return replace(plan, message=_message(session, plan))


def _message(session: Session, plan: Plan) -> str:
    """The message of the commit of everything that happens at once."""
    if not plan.at_once:
        return ""
    clusters = list(dict.fromkeys(change.unit for change in plan.at_once if "/" not in change.unit))
    at_once = [change for change in plan.releases if not change.decision]
    base = plan.base
    released = [
        Released(change.unit, change.version, change.previous, change.digest)
        for change in at_once
        if change.action != "delete"
    ]
    removed = [change.unit for change in at_once if change.action == "delete"]
    source = SpecSource(base.spec_commit, base.spec_modified)
    found = {VersionKey(one.unit.model, base_version(one.version)) for one in released if one.decision == "release"}
    notes = [line for key, one in session.registered.known.items() if key in found for line in _notes(one)]
    return commit_message(released, removed, clusters, plan.making.ids[0], source, notes, time_of(plan.making.now))


def _notes(one: Registration) -> Iterator[str]:
    yield from (f"{one.model} {one.version}: {line}" for line in told(one))


def new_rollout_id() -> str:
    """A name for a rollout: they sort by time."""
    from ulid import ULID

    return str(ULID())


def foreign_commits(session: Session, source: SpecSource, recorded: Iterable[str]) -> set[str]:
    """Those of these spec commits that this checkout does not contain: what they changed is newer than what is here.

    Empty when the spec is not kept in Git, and when the user overrules newer commits.
    """
    asked = {commit for commit in recorded if commit and commit != source.commit}
    if session.options.replace_newer or not source.commit or not asked:
        return set()
    foreign = asked - contains(session.options.project, asked)
    if foreign and is_shallow(session.options.project):
        raise GitopsError(
            f"this checkout is shallow, so it cannot be told whether it contains spec commit {min(foreign)[:10]}",
            where=str(session.options.project),
            hint="fetch the whole history (git fetch --unshallow; fetch-depth: 0 in CI)",
        )
    return foreign


def _newer_clusters(session: Session, found: Changes, source: SpecSource) -> dict[str, str]:
    """Clusters whose files would change although they were last changed from a spec commit that is not here."""
    if session.options.replace_newer or not source.commit:
        return {}
    last: dict[str, str] = {}
    for name in found.clusters:
        for commit in session.world.repository().log(clusters=[name], limit=1):
            last[name] = spec_commit(commit)
    foreign = foreign_commits(session, source, last.values())
    return {name: commit for name, commit in last.items() if commit in foreign}


def _restrict(found: Changes, only: frozenset[str]) -> Changes:
    return Changes(
        releases=tuple(change for change in found.releases if str(change.unit) in only),
        files=tuple(change for change in found.files if change.unit in only),
        left_alone=found.left_alone,
        refusals=found.refusals,
        seen=found.seen,
        steps=tuple(step for step in found.steps if step.unit in only),
    )
