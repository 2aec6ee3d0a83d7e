"""Since when a candidate lacks the replicas that its weight takes, from what its pods show."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from gitops.engine.watching import Sight, Trouble, lost_for
from gitops.plan.chain import recorded
from gitops.plan.observed import Survey, Workload
from gitops.plan.rollouts import standing
from gitops.plan.settled import Sighting
from gitops.plan.stored import Stored
from gitops.rollout.state import Candidate, ModelVersion
from tests.engine.test_load import CLUSTER, begun
from tests.plan.repository import CHAT, digest_of

NOW = 1000
NEW = ModelVersion("2.0.0", digest_of("b"))


@pytest.mark.parametrize(
    ("weight", "load", "ready", "unready", "seconds"),
    [
        # Four carry all traffic. One of four is away since 900, and that is when it fell below.
        (100, 1, 3, (900,), 100),
        # The autoscaler asked for two more long ago; below four it fell with the last one.
        (100, 1, 3, (400, 400, 990), 10),
        (100, 1, 2, (400, 900, 990), 100),
        (50, 1, 2, (400, 900), 0),
        (50, 2, 3, (900,), 100),
        (10, 1, 0, (970,), 30),
        (10, 1, 0, (), 0),
        # Replicas that nothing is known of: since the oldest that is known.
        (100, 1, 0, (950,), 50),
        (100, 1, 3, (1010,), 0),
    ],
)
def test_it_counts_from_when_it_fell_below_its_weight(
    weight: int, load: int, ready: int, unready: tuple[int, ...], seconds: int
) -> None:
    spec, release = begun(4, 12)
    basis = ((CLUSTER, Fraction(load)),) if load > 1 else ()
    candidate = Candidate(NEW, "baking", 100, 0, 0, 0, step=1, weight=weight, basis=basis)
    stored = Stored("0" * 40, {CHAT: release})
    models = standing(spec, stored, CHAT, "").models()
    release = recorded(release, replace(release.state, candidate=candidate), models)
    workload = Workload("dev", "chat", "2.0.0", "acme-dev", "chat-2-0-0", ready + len(unready), ready)
    sight = Sight({CLUSTER: Sighting({(CHAT, "2.0.0"): workload}, Survey(), {})}, {}, {})
    here = standing(spec, Stored("0" * 40, {CHAT: release}), CHAT, "", sight.census)
    assert lost_for(sight, here, Trouble("", False, {CLUSTER: unready}), NOW) == seconds
