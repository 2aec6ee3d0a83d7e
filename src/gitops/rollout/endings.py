"""What becomes of a version when its rollout stops: one table of causes, which `docs/rollouts.md` repeats.

One rule stands behind it: a version is rejected for what was seen of it by the look that decides, or by a person.
What could not be seen, or has other causes, takes it back to stable without a verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

Outcome = Literal["rejected", "back, waits for a person", "back, starts again once it can be seen", "back", "paused"]
"""`back` gives stable all traffic, and lets the version start again as soon as nothing else speaks against it."""

Waits = Literal["", "person", "sight"]
"""What a version waits for that went back without a verdict: a person, or clusters and metrics that answer."""

BackCause = Literal[
    "person",
    "gate",
    "only pod",
    "still warned",
    "not ready",
    "crashed",
    "lost capacity",
    "no room",
    "unknown capacity",
    "held",
    "no data",
    "too few samples",
    "unjudged",
    "unseen",
    "frozen",
    "new target",
    "unfounded",
]
PauseCause = Literal["person", "gate", "no data", "capacity", "unseen", "earlier"]
"""Who or what stopped it."""
FOR_A_PERSON: tuple[PauseCause, ...] = ("person", "earlier")
"""Pauses that never end by themselves, but for their deadline."""


class Ending(NamedTuple):
    """A row of the table."""

    when: str
    outcome: Outcome
    because: str

    @property
    def waits(self) -> Waits:
        """What the version waits for afterwards."""
        if self.outcome == "back, waits for a person":
            return "person"
        return "sight" if self.outcome == "back, starts again once it can be seen" else ""


BACK: Mapping[BackCause, Ending] = MappingProxyType(
    {
        "person": Ending("a person aborts, or rolls back", "rejected", "a person says so"),
        "gate": Ending("a gate is beyond `rollback`", "rejected", "it is seen to be bad"),
        "only pod": Ending(
            "the same, by errors or times of its only pod, which served well at this weight before",
            "back, waits for a person",
            "the pod or its node may be to blame",
        ),
        "still warned": Ending(
            "a pause or a weight is over its time, and a gate is beyond `pause` at that look",
            "rejected",
            "it is seen to be worse, and no person accepted it",
        ),
        "not ready": Ending(
            "replicas are seen not to be ready in `readyTimeout`", "rejected", "its own pods do not start"
        ),
        "crashed": Ending(
            "ready replicas stay below the weight, with `lostCapacity: roll-back`, and its pods crash",
            "rejected",
            "its own pods fail",
        ),
        "lost capacity": Ending(
            "the same, and no pod crashes", "back", "a node, an eviction or a full pool is to blame"
        ),
        "no room": Ending(
            "no room in `capacityTimeout`", "back, waits for a person", "that says something of the cluster"
        ),
        "unknown capacity": Ending(
            "`readyTimeout` is over, and nothing shows how much is ready",
            "back, waits for a person",
            "it is not seen to be unready",
        ),
        "held": Ending(
            "a gate holds, with `onHold: roll-back`", "back, waits for a person", "stable is beyond the limit as well"
        ),
        "no data": Ending(
            "no data for `noData.after`, with `noData.then: roll-back`", "back, waits for a person", "nothing was seen"
        ),
        "too few samples": Ending(
            "too few samples for `tooFewSamples.after`, with `tooFewSamples.then: roll-back`",
            "back, waits for a person",
            "too little was seen",
        ),
        "unjudged": Ending(
            "a pause or a weight is over its time, and nothing speaks against the version at that look",
            "back, waits for a person",
            "what stopped it is no verdict",
        ),
        "unseen": Ending(
            "the same, while a cluster or the metrics do not answer, or noticed more than an hour late",
            "back, starts again once it can be seen",
            "an outage is no verdict",
        ),
        "frozen": Ending("a weight is over its time in a freeze", "back", "it starts again after the freeze"),
        "new target": Ending("the spec names another version", "back", "it was overtaken, not judged"),
        "unfounded": Ending(
            "no commit has started it, or one without the approvals that count today",
            "back",
            "it waits like any version",
        ),
    }
)
PAUSED: Mapping[PauseCause, Ending] = MappingProxyType(
    {
        "person": Ending("a person pauses", "paused", "a person says so"),
        "gate": Ending("a gate is beyond `pause`", "paused", "a person has to look; it continues when all gates pass"),
        "no data": Ending(
            "a metrics outage; no data or too few samples in time (default)",
            "paused",
            "there is nothing to judge by; it continues when all gates pass",
        ),
        "capacity": Ending(
            "ready replicas stay below the weight, with `lostCapacity: pause`, or stable cannot carry as much",
            "paused",
            "it continues when they are back and all gates pass",
        ),
        "unseen": Ending(
            "replicas are waited for, and a cluster does not answer in the second half of `readyTimeout`; or its end "
            "is noticed more than an hour late (no pass looked, or the clock jumped)",
            "paused",
            "its pods were not seen; once they are, it waits anew",
        ),
        "earlier": Ending(
            "an earlier environment of `promotion` rejected the version",
            "paused",
            "what was verified there no longer holds; a person decides whether it continues",
        ),
    }
)
