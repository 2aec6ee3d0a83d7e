"""What another process did to a unit between a plan and its push: what was asked for, or something else."""

from __future__ import annotations

from gitops.plan.model import ReleaseChange
from gitops.rollout.release import Release
from gitops.spec.pipeline import Model


def other_than_asked(change: ReleaseChange, model: Model | None, release: Release | None) -> str:
    """Why the unit's record, which has moved, is not on the way that the change asked for; empty when it is.

    Then the work is done, or a new plan finds what is left of it. `model` is what the spec says of the unit.
    """
    if release is None:
        return "" if change.action == "delete" else "it was removed"
    if change.action == "delete":
        return f"{release.stable.version} still runs there, and its record changed"
    state, asked = release.state, change.version
    running = [version for version in (state.candidate and state.candidate.version, state.stable) if version]
    if change.decision == "roll-back":
        stays = state.candidate is not None and state.candidate.version.version == asked
        return f"{asked} is still on its way" if stays else ""
    digest = model.artifact.digest if model and model.version == asked else ""
    if any(one.version == asked and digest in ("", one.digest) for one in running):
        return ""
    rejected = next((one for one in state.rejected if one.version.version == asked), None)
    if rejected:
        return f"{asked} was rejected: {rejected.reason}"
    return f"{running[0].version} is there instead of {asked}"
