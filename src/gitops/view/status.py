"""From release records and live states to the rows of the status board."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gitops.plan.observed import Readiness
from gitops.plan.stored import Stored
from gitops.spec.resolved import Spec
from gitops.values import UnitKey
from gitops.view.board import BoardRow, Cell

States = Mapping[tuple[str, UnitKey], Readiness]
"""By cluster and unit; empty when live systems were not looked at."""


def board_rows(spec: Spec, stored: Stored, states: States) -> list[BoardRow]:
    """A row for each model of the spec, then for each that only the repository still knows."""
    known = dict.fromkeys((*spec.pipeline.models, *(unit.model for unit in stored.releases)))
    live: dict[UnitKey, list[tuple[str, Readiness]]] = {}
    for (cluster, unit), state in states.items():
        live.setdefault(unit, []).append((cluster, state))
    return [
        BoardRow(model, tuple(_cell(UnitKey(name, model), spec, stored, live) for name in spec.environments))
        for model in known
    ]


def _cell(unit: UnitKey, spec: Spec, stored: Stored, live: Mapping[UnitKey, Sequence[tuple[str, Readiness]]]) -> Cell:
    release, model, states = stored.releases.get(unit), spec.models.get(unit), live.get(unit, ())
    unready = [f"{cluster}: {state.message}" for cluster, state in states if not state.ready]
    return Cell(
        environment=unit.environment,
        model=unit.model,
        released=release.stable.version if release else "",
        target=model.version if model else "",
        since=release.stable.since if release else "",
        ready=not unready if states else None,
        message="; ".join(unready),
    )
