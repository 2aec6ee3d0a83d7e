"""The state of every rollout, worked out from the commits alone: what the records must agree with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from gitops.rollout.events import evolve
from gitops.rollout.replay import event_of
from gitops.rollout.state import ModelVersion, RolloutState
from gitops.values import Commit, UnitKey


def states_of(commits: Iterable[Commit]) -> dict[UnitKey, RolloutState]:
    """The state of each unit after these commits, oldest first, beginning with the repository's first.

    Raises GitopsError when somebody broke the trailers of a step.
    """
    states: dict[UnitKey, RolloutState] = {}
    removed: dict[UnitKey, RolloutState] = {}
    for commit in commits:
        event = event_of(commit.trailers)
        if event:
            said = dict(commit.trailers)
            unit = UnitKey(said.get("Environment", ""), said.get("Model", ""))
            before = states.get(unit) or removed.get(unit) or RolloutState()
            states[unit] = evolve(before, event)
            continue
        for key, value in commit.trailers:
            if key == "Release":
                _released(states, removed, value)
            elif key == "Removed" and (state := states.pop(_unit(value), None)):
                # It comes back as it was, with what was rejected.
                removed[_unit(value)] = RolloutState(state.stable, rejected=state.rejected)
    return states


def _released(states: dict[UnitKey, RolloutState], removed: Mapping[UnitKey, RolloutState], value: str) -> None:
    """A first release; a change of configuration leaves the rollout where it is."""
    name, *words = value.split(" ")
    versions = [word for word in words if not word.startswith("sha256:")]
    digest = next((word for word in words if word.startswith("sha256:")), "")
    unit, known = _unit(name), states.get(_unit(name))
    if len(versions) == 1 and (known is None or known.stable is None):
        states[unit] = replace(removed.get(unit, RolloutState()), stable=ModelVersion(versions[0], digest))


def _unit(name: str) -> UnitKey:
    environment, _, model = name.partition("/")
    return UnitKey(environment, model)
