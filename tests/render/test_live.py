"""How many replicas a version gets, and what of the traffic they can carry or really get."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops.render.live import Live, Share, lives_in, replica_share, replicas_for, replicas_of, share_of
from gitops.spec.pipeline import Model
from tests.render.specs import DIGEST

PERCENT = st.integers(0, 100)
REPLICAS = st.integers(1, 1000)


def model(version: str, least: int = 4, most: int = 8) -> Model:
    raw: dict[str, Any] = {
        "version": version,
        "artifact": {"uri": "s3://a/b", "digest": DIGEST, "format": "onnx"},
        "serve": {"runtime": "custom", "image": "ghcr.io/acme/x:1", "replicas": {"min": least, "max": most}},
        "rollout": "plain",
    }
    return Model.model_validate(raw)


OLD, NEW, KEPT = model("1"), model("2"), model("0")


# --- Sizes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("minimum", "scale", "replicas"),
    [(4, 100, 4), (4, 50, 2), (4, 51, 3), (4, 1, 1), (1, 1, 1), (10, 10, 1), (13, 10, 2), (1, 100, 1), (1000, 0, 0)],
)
def test_a_version_is_sized_for_its_scale(minimum: int, scale: int, replicas: int) -> None:
    assert replicas_for(minimum, scale) == replicas


@pytest.mark.parametrize(
    ("ready", "minimum", "percent"), [(0, 4, 0), (1, 4, 25), (1, 3, 33), (4, 4, 100), (9, 4, 100), (-1, 4, 0)]
)
def test_ready_replicas_carry_their_part(ready: int, minimum: int, percent: int) -> None:
    assert share_of(ready, minimum) == percent


@given(REPLICAS, PERCENT)
def test_a_version_that_is_all_ready_can_carry_what_it_is_sized_for(minimum: int, scale: int) -> None:
    assert share_of(replicas_for(minimum, scale), minimum) >= scale


@given(REPLICAS, st.integers(1, 100))
def test_no_version_is_larger_than_it_must_be(minimum: int, scale: int) -> None:
    replicas = replicas_for(minimum, scale)
    assert replicas == 1 or 100 * (replicas - 1) < minimum * scale


# --- Replicas as weights -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weight", "stable", "expected"),
    [
        (0, 4, (0, 0)),
        (10, 9, (1, 10)),
        (10, 1, (1, 50)),
        (1, 3, (1, 25)),
        (25, 3, (1, 25)),
        (20, 10, (3, 23)),
        (50, 4, (4, 50)),
        (90, 4, (4, 50)),
        (100, 4, (4, 100)),
        (10, 0, (1, 50)),
    ],
)
def test_replicas_stand_for_weights_without_a_gateway(weight: int, stable: int, expected: tuple[int, int]) -> None:
    assert replica_share(weight, stable) == expected


@given(st.integers(1, 99), REPLICAS)
def test_a_share_carries_its_weight_and_never_outgrows_stable(weight: int, stable: int) -> None:
    replicas, percent = replica_share(weight, stable)
    assert 1 <= replicas <= stable
    assert share_of(replicas, stable) >= weight
    assert abs(percent - 100 * replicas / (replicas + stable)) <= 0.5


@given(st.integers(1, 49), REPLICAS)
def test_a_share_is_the_nearest_one_that_carries_its_weight(weight: int, stable: int) -> None:
    replicas, _ = replica_share(weight, stable)
    nearest = min(range(1, stable + 1), key=lambda count: (abs(count - weight * stable / (100 - weight)), -count))
    assert replicas == max(nearest, replicas_for(stable, weight))


def test_with_a_gateway_the_scale_alone_decides() -> None:
    lives = [Live(OLD, 90), Live(NEW, 10, scale=50), Live(KEPT, 0), Live(model("3"), 0, scale=0)]
    assert replicas_of(lives, routed=True) == (4, 2, 4, 0)


def test_without_a_gateway_replicas_are_the_weights_and_the_others_have_none() -> None:
    lives = [Live(OLD, 80), Live(NEW, 20, scale=20), Live(KEPT, 0)]
    assert replicas_of(lives, routed=False) == (4, 1, 0)


def test_without_a_gateway_a_version_still_grows_for_its_next_weight() -> None:
    """Else it would never be ready for it, and the rollout would time out."""
    assert replicas_of([Live(OLD, 90), Live(NEW, 10, scale=75)], routed=False) == (4, 3)


def test_without_a_gateway_versions_are_sized_by_scale_while_one_has_all_traffic() -> None:
    assert replicas_of([Live(OLD, 100), Live(NEW, 0, scale=25), Live(KEPT, 0)], routed=False) == (4, 1, 4)
    assert replicas_of([Live(NEW, 100), Live(OLD, 0)], routed=False) == (4, 4)


def test_no_share_goes_beyond_the_versions_own_maximum() -> None:
    assert replicas_of([Live(model("1", 8, 8), 50), Live(model("2", 1, 3), 50, scale=50)], routed=False) == (8, 3)


# --- Clusters ------------------------------------------------------------------------------------------------


def test_a_cluster_without_numbers_of_its_own_has_the_common_ones() -> None:
    lives = (Live(OLD, 90), Live(NEW, 10, scale=25))
    assert lives_in("eu", lives) == lives_in("eu", lives, {"us": (100, 0)}) == lives


def test_a_weight_alone_replaces_the_weight_alone() -> None:
    here = lives_in("eu", (Live(OLD, 90), Live(NEW, 10, scale=25)), {"eu": (100, 0)})
    assert here == (Live(OLD, 100), Live(NEW, 0, scale=25))


def test_a_version_is_sized_for_what_it_answers_whatever_its_scale() -> None:
    assert lives_in("eu", [Live(OLD, 90), Live(NEW, 10, scale=5)])[1].scale == 10
    assert lives_in("eu", [Live(OLD, 90), Live(NEW, 10, scale=10)], {"eu": (0, 100)})[1].scale == 100


def test_a_wave_that_gives_a_version_traffic_mirrors_nothing_to_it() -> None:
    lives = [Live(OLD, 100), Live(NEW, 0, mirror=20, scale=20)]
    assert [live.mirror for live in lives_in("eu", lives, {"eu": (0, 100)})] == [0, 0]
    assert [live.mirror for live in lives_in("eu", lives, {"eu": (100, 0)})] == [0, 20]


def test_a_share_says_everything() -> None:
    lives = [Live(OLD, 90), Live(NEW, 10, mirror=5, scale=25)]
    assert lives_in("eu", lives, {"eu": (100, Share(0, 0, 0))})[1] == Live(NEW, 0, 0, 0)


@pytest.mark.parametrize("waves", [{"eu": (90, 20)}, {"eu": (90,)}, {"eu": (90, 10, 0)}, {"eu": (50, 0)}])
def test_weights_that_are_none_are_refused(waves: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match=r"add up|shorter|longer"):
        lives_in("eu", [Live(OLD, 90), Live(NEW, 10)], waves)


def test_before_the_first_deployment_nobody_has_traffic() -> None:
    assert lives_in("eu", [Live(NEW, 0)]) == (Live(NEW, 0),)
