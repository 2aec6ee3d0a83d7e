"""The phases of a rollout and every transition between them, with its reason.

`docs/rollouts.md` has the state diagram, the same table and the deadline of every wait; tests hold the diagram, both
tables and the code to one another.

There is no phase for rolling back: it is one decision that gives stable all traffic, and the version that lost it
stays in `RolloutState.kept` until its requests have drained. Nor is there one for keeping the previous version
warm: the next rollout may start meanwhile.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Stage = Literal["waiting-for-capacity", "starting", "baking", "promoting"]
"""Where a candidate stands on its way; a pause interrupts any of them."""

Phase = Literal["idle", "waiting-for-capacity", "starting", "baking", "promoting", "paused"]

Kind = Literal[
    "start",
    "wait",
    "scale",
    "size",
    "advance",
    "pause",
    "resume",
    "promote",
    "roll-back",
    "retire",
    "retry",
    "approve",
    "clear",
]
"""What a decision does; each is one commit. (`hold` does nothing and is none.)"""


class Transition(NamedTuple):
    """One arrow of the diagram."""

    source: Phase
    kind: Kind
    target: Phase
    reason: str


TRANSITIONS: tuple[Transition, ...] = (
    # Nothing is under way
    Transition(
        "idle", "start", "starting", "nothing speaks against the version that the spec names, or a person starts it"
    ),
    Transition("idle", "start", "waiting-for-capacity", "as before, and there is no room for it yet"),
    Transition("idle", "roll-back", "idle", "a person sends all traffic back to a version that is still warm"),
    Transition("idle", "retry", "idle", "a person lifts the rejection of the version that the spec names"),
    Transition("idle", "approve", "idle", "a person approves the version that the spec names"),
    Transition("idle", "clear", "idle", "the spec names another digest than the one that was rejected or approved"),
    Transition("idle", "retire", "idle", "a kept version's time is over"),
    Transition("idle", "size", "idle", "the load grew: the version that is still warm grows with it"),
    # Room for the next weight
    Transition("waiting-for-capacity", "scale", "starting", "there is room now"),
    Transition("waiting-for-capacity", "scale", "promoting", "a person promotes: the other steps are skipped"),
    Transition("waiting-for-capacity", "promote", "idle", "a person promotes, and all capacity is ready already"),
    Transition("waiting-for-capacity", "pause", "paused", "a person pauses, or a gate warns, or nobody can judge"),
    Transition("waiting-for-capacity", "roll-back", "idle", "no room in time, a gate fails, a new target, a person"),
    Transition("waiting-for-capacity", "retire", "waiting-for-capacity", "a kept version gives its room or is over"),
    Transition("waiting-for-capacity", "size", "waiting-for-capacity", "the load grew: every version grows with it"),
    # Ready capacity for the next weight
    Transition("starting", "advance", "baking", "ready capacity covers the next weight"),
    Transition("starting", "promote", "idle", "ready for all traffic: a first deployment, or no steps are left"),
    Transition("starting", "scale", "promoting", "a person promotes: the other steps are skipped"),
    Transition("starting", "pause", "paused", "a person pauses, or a gate warns, or nobody can judge"),
    Transition("starting", "roll-back", "idle", "not ready in time, a gate fails, a new target, a person"),
    Transition("starting", "retire", "starting", "a kept version's time is over"),
    Transition("starting", "size", "starting", "the load grew: every version grows with it"),
    # Watched at a weight
    Transition(
        "baking",
        "advance",
        "baking",
        "all gates pass after the bake, and capacity for the next weight or wave is ready",
    ),
    Transition("baking", "scale", "starting", "all gates pass after the bake; the next weight or wave needs capacity"),
    Transition("baking", "wait", "waiting-for-capacity", "as before, and there is no room for it"),
    Transition("baking", "promote", "idle", "all gates pass after the last bake, or a person promotes"),
    Transition("baking", "scale", "promoting", "a person promotes: the other steps are skipped"),
    Transition("baking", "pause", "paused", "a gate warns, no data in time, a metrics outage, a person"),
    Transition("baking", "roll-back", "idle", "a gate fails, capacity is lost, no data, a new target, a person"),
    Transition("baking", "retire", "baking", "a kept version's time is over"),
    Transition("baking", "size", "baking", "the load grew: every version grows with it"),
    # A person skipped the steps
    Transition("promoting", "promote", "idle", "ready for all traffic"),
    Transition("promoting", "pause", "paused", "a person pauses, or capacity is lost"),
    Transition("promoting", "roll-back", "idle", "not ready in time, a gate fails, a new target, a person"),
    Transition("promoting", "retire", "promoting", "a kept version's time is over"),
    Transition("promoting", "size", "promoting", "the load grew: every version grows with it"),
    # Stopped at the present weight
    Transition("paused", "resume", "baking", "gates pass and capacity is back, or a person resumes: a full bake again"),
    Transition("paused", "resume", "starting", "as before, or replicas can be seen again, before the first traffic"),
    Transition("paused", "resume", "waiting-for-capacity", "a person resumes before the first traffic"),
    Transition("paused", "resume", "promoting", "a person resumes, or capacity is back"),
    Transition("paused", "scale", "promoting", "a person promotes: the other steps are skipped"),
    Transition("paused", "promote", "idle", "a person promotes, and all capacity is ready already"),
    Transition("paused", "pause", "paused", "a person takes over: it no longer resumes by itself"),
    Transition("paused", "roll-back", "idle", "a gate fails, paused too long, a new target, a person"),
    Transition("paused", "retire", "paused", "a kept version's time is over"),
    Transition("paused", "size", "paused", "the load grew: every version grows with it"),
)
