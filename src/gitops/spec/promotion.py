"""How a version travels through the environments: from where, when not, and through which clusters first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from gitops.spec.freezes import end_of, in_words
from gitops.spec.problems import listed
from gitops.values import UnitKey

if TYPE_CHECKING:  # commands that only read history do without pydantic
    from gitops.spec.environment import Environment, Freeze
    from gitops.spec.resolved import Spec
    from gitops.spec.rollouts import Rollout

_LINKS = 100
"""So many windows in a row are followed; daily windows without a gap never end."""


def predecessor(spec: Spec, unit: UnitKey) -> UnitKey | None:
    """The same model in the nearest earlier environment of `promotion` that runs it; None in its first one."""
    order = spec.pipeline.promotion
    earlier = reversed(order[: order.index(unit.environment)])
    return next((key for name in earlier if (key := UnitKey(name, unit.model)) in spec.models), None)


def pinned(spec: Spec, unit: UnitKey) -> bool:
    """Whether the environment itself names the version, which then waits for no other environment."""
    overlay = spec.environments[unit.environment].models.get(unit.model) or {}
    return overlay.get("version") is not None


def wave_of(environment: Environment) -> tuple[tuple[str, ...], ...]:
    """The clusters in the order in which rollouts reach them: as declared, else all at once."""
    return environment.waves or (tuple(environment.clusters),)


def waves_since(environment: Environment, begun: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """The same for a rollout that began with these waves: an edit meanwhile moves no cluster to another weight.

    What left the environment is left out of its wave; what has come since is a wave of its own, the last. Without
    `begun` (nothing is under way, or the record is an older one) they are as declared.
    """
    declared = wave_of(environment)
    present = [name for wave in declared for name in wave]
    known = {name for wave in begun for name in wave}
    if not known & set(present):
        return declared
    kept = tuple(tuple(name for name in wave if name in present) for wave in begun)
    new = tuple(name for name in present if name not in known)
    return (*kept, new) if new else kept


def strategy_rollout(spec: Spec, unit: UnitKey) -> Rollout:
    """The rollout that the spec's present model of the unit names."""
    return spec.pipeline.rollouts[spec.models[unit].rollout]


def frozen(environment: Environment, now: int) -> str:
    """Why nothing moves forward at this second of the epoch, and until when; empty when it may.

    Windows that follow one another without a gap count as one:
    `weekend and end of year, until Mon 2027-01-04 06:00 UTC`.
    """
    links = _links(environment, now)
    if not links:
        return ""
    reasons = listed(dict.fromkeys(link.freeze.reason for link in links))
    if len(links) == _LINKS:
        return f"{reasons}, without an end"
    return f"{reasons}, until {in_words(links[-1].freeze, links[-1].end)}"


def frozen_until(environment: Environment, now: int) -> int | None:
    """When the freezes end that hold at this second; None when none does. One without an end counts as far as known."""
    links = _links(environment, now)
    return links[-1].end if links else None


class _Link(NamedTuple):
    """A freeze that holds, and when it ends."""

    freeze: Freeze
    end: int


def _links(environment: Environment, now: int) -> list[_Link]:
    """The freezes that hold from this second on without a gap, at most so many."""
    links: list[_Link] = []
    while link := _holding(environment.freeze, links[-1].end if links else now):
        links.append(link)
        if len(links) == _LINKS:
            break
    return links


def _holding(freezes: tuple[Freeze, ...], at: int) -> _Link | None:
    """Of the freezes that hold at this instant, the one that ends last."""
    held = (_Link(freeze, end) for freeze in freezes if (end := end_of(freeze, at)) is not None)
    return max(held, key=lambda link: link.end, default=None)
