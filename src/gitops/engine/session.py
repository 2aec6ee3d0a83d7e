"""What every recipe starts from: options, the loaded spec, and the world it works on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from gitops.plan.refusals import Allowances
from gitops.plan.registered import Registered, asked_for, may_wait, registered
from gitops.render.renderer import Renderer
from gitops.render.templates import templates_of
from gitops.spec.load import load_spec
from gitops.spec.resolved import Spec
from gitops.world.files import Project, own_templates, read_modules, read_project, read_templates
from gitops.world.gather import read_registrations
from gitops.world.places import Kind
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
    stopped: Callable[[], bool] = lambda: False
    """Asked while waiting: whether to stop."""


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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.world.close()

    def root_files(self, cluster: str) -> dict[str, bytes]:
        """The Terraform root of a cluster with the modules that it calls."""
        return {**self.renderer.root(cluster), **self.modules}

    def cluster(self, name: str) -> Cluster:
        """A connection to a cluster. Raises GitopsError when it cannot be reached or does not exist yet."""

        def access() -> Mapping[str, str] | None:
            infrastructure = self.world.infrastructure(name)
            return infrastructure.access(self.root_files(name)) if infrastructure else None

        return self.world.cluster(name, access)


def open_session(options: Options) -> Session:
    """Read and check the spec, and make its world ready. Raises SpecError with every problem at once."""
    project = read_project(options.project)
    spec = load_spec(project.pipeline, project.environments)
    templates = templates_of(read_templates(options.project), own_templates(options.project))
    world = World(spec, options.project, options.kind, options.progress, options.stopped)
    try:
        found = _registered(spec, world)
    except BaseException:
        world.close()
        raise
    return Session(
        options=options,
        project=project,
        spec=found.spec,
        renderer=Renderer(found.spec, templates),
        modules=read_modules(options.project),
        engine=templates.digest,
        world=world,
        registered=found,
    )


def _registered(spec: Spec, world: World) -> Registered:
    if not may_wait(spec):
        return Registered(spec)
    stored = world.stored()
    asked = asked_for(spec, stored)
    return registered(spec, stored, *read_registrations(world.repository(), stored.head, asked))
