"""What every recipe starts from: options, the loaded spec, and the world it works on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Self

from gitops.errors import GitopsError
from gitops.plan.refusals import Allowances
from gitops.plan.registered import Registered, asked_for, may_wait, registered
from gitops.plan.revisions import revised
from gitops.plan.stored import TERRAFORM, Stored
from gitops.render.renderer import Renderer
from gitops.render.templates import Compiled, Templates, templates_of
from gitops.rollout.registration import Registration
from gitops.rollout.release import SpecSource
from gitops.spec.load import load_spec
from gitops.spec.resolved import Spec
from gitops.world.files import (
    Project,
    own_templates,
    read_modules,
    read_project,
    read_templates,
    with_own_templates,
)
from gitops.world.gather import read_files, read_registrations
from gitops.world.git.checkout import spec_source
from gitops.world.past import pasts, remember
from gitops.world.places import Kind, state_directory
from gitops.world.ports import Cluster, Progress
from gitops.world.worlds import World


def silent(line: str) -> None:
    """A Progress that says nothing."""


@dataclass(frozen=True)
class Options:
    """How a command was asked to work."""

    project: Path
    kind: Kind = "real"
    offline: bool = False
    replace_newer: bool = False
    allowed: Allowances = field(default_factory=Allowances)
    progress: Progress = silent
    acts: bool = False
    """It changes what runs: a valid spec is kept for a day on which the present one is broken."""
    stopped: Callable[[], bool] = lambda: False
    """Asked while waiting: whether to stop."""


@dataclass(frozen=True)
class Broken:
    """The present spec is not valid: what is under way goes on by an earlier one, and nothing starts."""

    why: str
    """What is wrong, a line each."""
    goes_by: str
    """Which spec it goes by instead, in words."""
    source: SpecSource
    """The commit of that."""


def told(broken: Broken) -> str:
    """What is said of a broken spec, whoever goes on."""
    return (
        f"error: the spec, or a template, is not valid:\n{broken.why}\n"
        f"  next: correct it; until then rollouts under way go on by {broken.goes_by}, and nothing new starts"
    )


@dataclass(frozen=True)
class Session:
    """A loaded spec with everything that planning it needs."""

    options: Options
    project: Project
    spec: Spec
    renderer: Renderer
    modules: Mapping[str, bytes]
    engine: str
    world: World
    registered: Registered
    """`spec` with what was built in the place of what has to be; and what has to be registered first."""
    broken: Broken | None = None

    @cached_property
    def source(self) -> SpecSource:
        """The spec commit that this session works by. Raises GitopsError when Git refuses to look."""
        return self.broken.source if self.broken else spec_source(self.options.project, self.project.paths())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.world.close()

    def root_files(self, cluster: str) -> dict[str, bytes]:
        """The Terraform root of a cluster with the modules that it calls."""
        return {**self.renderer.root(cluster), **self.modules}

    def _root_to_ask(self, cluster: str) -> Mapping[str, bytes]:
        """The root's files; those that Git has where a template fails, for going back has to reach the cluster too."""
        try:
            return self.root_files(cluster)
        except GitopsError:
            stored = self.world.stored()
            known = read_files(self.world.repository(), stored.head, [f"{TERRAFORM}/{cluster}", f"{TERRAFORM}/modules"])
            if not known:
                raise
            return known

    def at(self, stored: Stored) -> Session:
        """The same, with every model called as it is where it runs (`plan.revisions`): what is decided from the
        records has to know the revisions of their versions.
        """
        spec = revised(self.spec, stored)
        return self if spec is self.spec else replace(self, spec=spec, renderer=self.renderer.of(spec))

    def cluster(self, name: str) -> Cluster:
        """A connection to a cluster. Raises GitopsError when it cannot be reached or does not exist yet."""

        def access() -> Mapping[str, str] | None:
            infrastructure = self.world.infrastructure(name)
            return infrastructure.access(self._root_to_ask(name)) if infrastructure else None

        return self.world.cluster(name, access)


def open_session(options: Options) -> Session:
    """Read and check the spec, and make its world ready. Raises SpecError with every problem at once."""
    return _session(options, _present(options))


def open_anyway(options: Options, last: Session | None = None) -> Session:
    """The same for what has to go on when the spec is broken: then with the last valid one, and `broken` says so.

    That is the spec of `last` where it is given (its world goes on as well), else of an earlier commit of the checkout,
    else of the command that acted here last. Raises the error of the present spec when there is none.
    """
    try:
        found = _present(options)
    except GitopsError as error:
        if last is not None:
            return replace(last, broken=_broken(last, str(error)))
        return _session(options, _past(options, error))
    return _session(options, found)


def _broken(last: Session, why: str) -> Broken:
    if last.broken:
        return replace(last.broken, why=why)
    source = SpecSource()
    with suppress(GitopsError):
        source = last.source
    return Broken(why, "the last valid one", source)


@dataclass(frozen=True)
class _Read:
    """A project that was read and is valid."""

    project: Project
    spec: Spec
    templates: Templates
    modules: Mapping[str, bytes]
    broken: Broken | None = None


def _present(options: Options) -> _Read:
    project = read_project(options.project)
    spec = load_spec(project.pipeline, project.environments)
    sources, own = read_templates(options.project), own_templates(options.project)
    if options.acts:
        Compiled(sources).check(own)
        state = state_directory(options.project, options.kind)
        remember(project, {name: sources[name] for name in own}, state)
    templates = templates_of(sources, own)
    return _Read(project, spec, templates, read_modules(options.project))


def _past(options: Options, error: GitopsError) -> _Read:
    """The newest earlier project that is valid."""
    for past in pasts(options.project, state_directory(options.project, options.kind)):
        try:
            spec = load_spec(past.project.pipeline, past.project.environments)
            sources = with_own_templates(options.project, past.templates)
            Compiled(sources).check(past.templates)
        except GitopsError:
            continue
        modules: Mapping[str, bytes] = {}
        with suppress(GitopsError):  # only infrastructure asks for them
            modules = read_modules(options.project)
        broken = Broken(str(error), past.words, SpecSource(past.commit))
        return _Read(past.project, spec, templates_of(sources, frozenset(past.templates)), modules, broken)
    raise error


def _session(options: Options, read: _Read) -> Session:
    world = World(read.spec, options.project, options.kind, options.progress, options.stopped)
    try:
        # What is broken starts nothing, so that nothing is waited for either.
        found = Registered(read.spec) if read.broken else _registered(read.spec, world, options.project)
    except BaseException:
        world.close()
        raise
    return Session(
        options=options,
        project=read.project,
        spec=found.spec,
        renderer=Renderer(found.spec, read.templates),
        modules=read.modules,
        engine=read.templates.digest,
        world=world,
        registered=found,
        broken=read.broken,
    )


def _registered(spec: Spec, world: World, project: Path) -> Registered:
    if not may_wait(spec):
        return Registered(spec)
    stored = world.stored()
    asked = asked_for(spec, stored)
    known, damaged = read_registrations(world.repository(), stored.head, asked)
    return registered(spec, stored, known, damaged, lambda one: _flaw(spec, one, project))


def _flaw(spec: Spec, one: Registration, project: Path) -> str:
    """Why what a registration keeps of signatures does not hold by the policy and its keys as they are now."""
    from gitops.stages.verification import flaw_of, policy_trust

    policy = spec.pipeline.signatures
    assert policy is not None, "asked only where a policy wants signatures"
    try:
        return flaw_of(one.proofs, one.digest, policy_trust(policy, project))
    except GitopsError as error:
        # A key that cannot be read, or a package that is missing: no reason to stop what asks for no signature.
        return f"it cannot be verified here: {error}"
