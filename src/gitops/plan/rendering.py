"""What is rendered for units, environments and clusters, and what cannot be: a template that fails for one of them
stops that one, and nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from gitops.errors import GitopsError
from gitops.plan.model import Refusal
from gitops.plan.rollouts import Course
from gitops.plan.stored import CLUSTERS, TERRAFORM, owner_of
from gitops.render.check import check_manifests
from gitops.render.renderer import Renderer
from gitops.spec.placement import is_managed
from gitops.spec.problems import listed
from gitops.spec.resolved import Spec
from gitops.values import UnitKey

RULE = "does-not-render"
SHOWN = 4
"""So many units of a refusal are named."""
HINT = "correct the template that renders it"


@dataclass(slots=True)
class Files:
    """Everything that rendered into what a cluster may get, and for everything else, why it did not."""

    desired: dict[str, bytes] = field(default_factory=dict)
    units: dict[UnitKey, GitopsError] = field(default_factory=dict)
    environments: dict[str, GitopsError] = field(default_factory=dict)
    """Environments of which what their models share does not render."""
    clusters: dict[str, GitopsError] = field(default_factory=dict)
    """Clusters of which the Terraform root does not render."""

    def check_some(self, units: Iterable[UnitKey]) -> None:
        """Raise the error of the first of these units if not one of them renders: then it is about the run."""
        if self.units and all(unit in self.units for unit in units):
            raise next(iter(self.units.values()))

    def keeps(self, path: str) -> bool:
        """Whether a file that is there stays as it is, because nobody can say what it should be."""
        parts = path.split("/")
        if parts[0] == CLUSTERS:
            return len(parts) == 4 and parts[2] in self.environments
        return parts[0] == TERRAFORM and parts[1] in self.clusters

    def refusals(self, spec: Spec) -> Iterator[Refusal]:
        """One for everything that does not render for the same reason: it is left as it is."""
        units: dict[str, list[str]] = defaultdict(list)
        for unit, error in self.units.items():
            units[str(error)].append(str(unit))
        for why, names in units.items():
            yield Refusal(RULE, f"{listed(names, limit=SHOWN)}: {why}", units=tuple(names))
        for name, error in self.environments.items():
            within = tuple(str(unit) for unit in spec.models if unit.environment == name)
            yield Refusal(RULE, f"environment {name}: {error}", units=within)
        for name, error in self.clusters.items():
            yield Refusal(RULE, f"cluster {name}: {error}", units=(name,))


def render_units(renderer: Renderer, units: Iterable[UnitKey], doing: Mapping[UnitKey, Course]) -> Files:
    """The files of these units as they will be when each has done its course."""
    files = Files()
    for unit in units:
        try:
            files.desired.update(_unit(renderer, unit, doing.get(unit)))
        except GitopsError as error:
            files.units[unit] = _hinted(error)
    _check(files)
    return files


def render_all(spec: Spec, renderer: Renderer, units: Iterable[UnitKey], doing: Mapping[UnitKey, Course]) -> Files:
    """These units, with the base of every environment and the Terraform root of every cluster that has one."""
    shared, environments, clusters = dict[str, bytes](), dict[str, GitopsError](), dict[str, GitopsError]()
    for environment in spec.environments:
        try:
            base = renderer.base(environment)
            _checked(base)
            shared.update(base)
        except GitopsError as error:
            environments[environment] = _hinted(error)
    for name in (name for name, cluster in spec.clusters.items() if is_managed(cluster)):
        try:
            shared.update(renderer.root(name))
        except GitopsError as error:
            clusters[name] = _hinted(error)
    files = render_units(renderer, [unit for unit in units if unit.environment not in environments], doing)
    return Files({**files.desired, **shared}, files.units, environments, clusters)


def _unit(renderer: Renderer, unit: UnitKey, there: Course | None) -> dict[str, bytes]:
    if there is None:
        return renderer.unit(unit)
    for step in there.steps[:-1]:
        _checked(renderer.unit(unit, step.lives, step.waves))
    return renderer.unit(unit, there.lives, there.waves)


def _checked(files: Mapping[str, bytes]) -> None:
    for error in check_manifests(files):
        raise error


def _check(files: Files) -> None:
    """Take out the units whose manifests no cluster may get, or which are in another one's way."""
    found: dict[str, GitopsError] = {}
    for error in check_manifests(files.desired):
        found.setdefault(owner_of(error.where.partition(":")[0]), error)
    if found:
        files.units |= {UnitKey(*unit.split("/", 1)): _hinted(error) for unit, error in found.items()}
        files.desired = {path: content for path, content in files.desired.items() if owner_of(path) not in found}


def _hinted(error: GitopsError) -> GitopsError:
    return error if error.hint else GitopsError(error.what, where=error.where, hint=HINT)
