"""The state of every rollout, worked out from the commits alone: what the records must agree with."""

from __future__ import annotations

from collections.abc import Iterable

from gitops.rollout.events import evolve
from gitops.rollout.replay import event_of
from gitops.rollout.state import ModelVersion, RolloutState
from gitops.values import Commit, UnitKey


def states_of(commits: Iterable[Commit]) -> dict[UnitKey, RolloutState]:
    """The state of each unit after these commits, oldest first, beginning with the repository's first.

    Raises GitopsError when somebody broke the trailers of a step.
    """
    states: dict[UnitKey, RolloutState] = {}
    for commit in commits:
        event = event_of(commit.trailers)
        if event:
            said = dict(commit.trailers)
            unit = UnitKey(said.get("Environment", ""), said.get("Model", ""))
            states[unit] = evolve(states.get(unit, RolloutState()), event)
            continue
        for key, value in commit.trailers:
            if key == "Release":
                _released(states, value)
            elif key == "Removed":
                states.pop(_unit(value), None)
    return states


def _released(states: dict[UnitKey, RolloutState], value: str) -> None:
    """A first release; a change of configuration leaves the rollout where it is."""
    name, *words = value.split(" ")
    versions = [word for word in words if not word.startswith("sha256:")]
    digest = next((word for word in words if word.startswith("sha256:")), "")
    if _unit(name) not in states and len(versions) == 1:
        states[_unit(name)] = RolloutState(ModelVersion(versions[0], digest))


def _unit(name: str) -> UnitKey:
    environment, _, model = name.partition("/")
    return UnitKey(environment, model)
