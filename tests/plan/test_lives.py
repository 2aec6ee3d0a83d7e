"""From a record's state to what rendering takes: who runs, for which weight and at which size, on each cluster."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops.errors import GitopsError
from gitops.plan.lives import lives_of, models_of, target_of, waves_of
from gitops.render.live import lives_in
from gitops.rollout.release import Release, ReleasedVersion, Rendered
from gitops.rollout.state import Candidate, Kept, ModelVersion, RolloutState
from gitops.spec.frozen import dump_model
from gitops.spec.pipeline import Model
from tests.plan.repository import CHAT, write_spec

WAVES = {
    "dev": {
        "clusters": {name: {"provider": "embedded"} for name in ("eu", "us", "asia")},
        "waves": [["eu"], ["us", "asia"]],
    }
}
MODELS: dict[str, Model] = {
    version: write_spec({"chat": (version, letter)}).models[CHAT]
    for version, letter in (("1.0.0", "a"), ("2.0.0", "b"), ("0.9.0", "c"))
}
ENVIRONMENT = write_spec({"chat": ("1.0.0", "a")}).environments["dev"]
IN_WAVES = write_spec({"chat": ("1.0.0", "a")}, WAVES).environments["dev"]
STABLE, CANDIDATE, OLD = (target_of(MODELS[version]) for version in ("1.0.0", "2.0.0", "0.9.0"))
RELEASE = Release(
    CHAT,
    ReleasedVersion("1.0.0", STABLE.digest, "2026-01-01T00:00:00Z"),
    Rendered("sha256:0"),
    models=MappingProxyType({version: dump_model(model) for version, model in MODELS.items()}),
)


def candidate(**said: object) -> Candidate:
    return replace(Candidate(CANDIDATE, "baking", scale=10, started=0, since=0, entered=0), **said)  # type: ignore[arg-type]


def numbers(state: RolloutState) -> list[tuple[str, int, int, int]]:
    return [(live.model.version, *live[1:4]) for live in lives_of(RELEASE, state, MODELS)]


def test_stable_alone_has_everything() -> None:
    assert numbers(RolloutState(STABLE)) == [("1.0.0", 100, 0, 100)]
    assert waves_of(RELEASE, RolloutState(STABLE), MODELS, IN_WAVES) is None


def test_a_candidate_has_its_weight_and_its_size() -> None:
    state = RolloutState(STABLE, candidate(weight=10, scale=50))
    assert numbers(state) == [("1.0.0", 90, 0, 100), ("2.0.0", 10, 0, 50)]


def test_mirrored_requests_take_nothing_from_stable() -> None:
    state = RolloutState(STABLE, candidate(mirror=25, scale=25))
    assert numbers(state) == [("1.0.0", 100, 0, 100), ("2.0.0", 0, 25, 25)]


def test_what_waits_for_room_does_not_run() -> None:
    assert numbers(RolloutState(STABLE, candidate(stage="waiting-for-capacity", scale=0))) == [("1.0.0", 100, 0, 100)]


def test_what_is_kept_runs_without_traffic_at_its_size() -> None:
    state = RolloutState(STABLE, None, (Kept(OLD, 0, 0, previous=True), Kept(CANDIDATE, 0, 0, scale=10)))
    assert numbers(state) == [("1.0.0", 100, 0, 100), ("0.9.0", 0, 0, 100), ("2.0.0", 0, 0, 10)]


@pytest.mark.parametrize("edited", [(), (("asia", "us"), ("eu",))])
def test_an_edit_of_the_waves_moves_no_cluster_back(edited: tuple[tuple[str, ...], ...]) -> None:
    """Joined, they gave wave one the weight of wave two: 1 % instead of everything."""
    second = candidate(weight=1, wave=1, scale=100, scales=(100, 1), clusters=(("eu",), ("us", "asia")))
    state = RolloutState(STABLE, second)
    environment = IN_WAVES.model_copy(update={"waves": edited})
    waves = waves_of(RELEASE, state, MODELS, environment)
    assert waves is not None
    lives = lives_of(RELEASE, state, MODELS)
    weights = {name: lives_in(name, lives, waves)[1].weight for name in ("eu", "us", "asia")}
    assert weights == {"eu": 100, "us": 1, "asia": 1}


def test_waves_before_have_everything_and_waves_after_nothing() -> None:
    state = RolloutState(STABLE, candidate(wave=1, weight=10, scale=100, scales=(100, 10)))
    waves = waves_of(RELEASE, state, MODELS, IN_WAVES)
    assert waves is not None
    here = lives_of(RELEASE, state, MODELS)
    assert [live[1:4] for live in lives_in("eu", here, waves)] == [(0, 0, 100), (100, 0, 100)]
    for cluster in ("us", "asia"):
        assert [live[1:4] for live in lives_in(cluster, here, waves)] == [(90, 0, 100), (10, 0, 10)]
    first = RolloutState(STABLE, candidate(weight=10, scale=10, scales=(10, 0)))
    waves = waves_of(RELEASE, first, MODELS, IN_WAVES)
    assert [live[1:4] for live in lives_in("us", lives_of(RELEASE, first, MODELS), waves)] == [(100, 0, 100), (0, 0, 0)]


scales = st.integers(0, 100)


@given(scales, scales, st.integers(0, 1), st.tuples(scales, scales), st.booleans())
def test_weights_add_up_on_every_cluster(
    weight: int, mirror: int, wave: int, sizes: tuple[int, int], old: bool
) -> None:
    one = candidate(weight=weight, mirror=mirror, wave=wave, scale=max(1, *sizes), scales=sizes)
    state = RolloutState(STABLE, one, (Kept(OLD, 0, 0),) if old else ())
    lives, waves = lives_of(RELEASE, state, MODELS), waves_of(RELEASE, state, MODELS, IN_WAVES)
    for cluster in IN_WAVES.clusters:
        here = lives_in(cluster, lives, waves)
        assert len(here) == (3 if old else 2)
        assert sum(live.weight for live in here) == 100
        assert all(live.scale >= live.weight for live in here)
    assert waves_of(RELEASE, state, MODELS, ENVIRONMENT) is None


# --- Frozen models -------------------------------------------------------------------------------------------


def test_versions_are_as_they_were_released_but_the_specs_own() -> None:
    edited = write_spec({"chat": ("1.0.0", "a")}, owner="somebody").models[CHAT]
    assert models_of(RELEASE, None) == MODELS
    assert models_of(RELEASE, edited)["1.0.0"].owner == "somebody"
    assert models_of(RELEASE, edited)["0.9.0"] == MODELS["0.9.0"]


def test_another_artifact_of_the_same_name_is_not_what_runs() -> None:
    other = write_spec({"chat": ("1.0.0", "d")}).models[CHAT]
    assert models_of(RELEASE, other)["1.0.0"] == MODELS["1.0.0"]


def test_a_version_that_the_record_does_not_describe_is_an_error() -> None:
    state = RolloutState(ModelVersion("3.0.0", "sha256:0"))
    with pytest.raises(GitopsError, match=r"does not say how 3\.0\.0 was released") as caught:
        lives_of(RELEASE, state, MODELS)
    assert caught.value.where == "releases/dev/chat.yaml"


def test_a_damaged_model_names_the_record() -> None:
    damaged = replace(RELEASE, models=MappingProxyType({"1.0.0": '{"version":1}'}))
    with pytest.raises(GitopsError) as caught:
        models_of(damaged, None)
    assert caught.value.where == "releases/dev/chat.yaml"


def test_a_load_sizes_every_version_on_its_cluster() -> None:
    load = (("us", Fraction(2)),)
    for state in (
        RolloutState(STABLE, candidate(weight=10, scale=10, basis=load), load=load),
        RolloutState(STABLE, None, (Kept(OLD, 0, 0, previous=True),), load=load),
    ):
        waves = waves_of(RELEASE, state, MODELS, IN_WAVES)
        lives = lives_of(RELEASE, state, MODELS)
        assert {live.load for live in lives_in("us", lives, waves)} == {Fraction(2)}
        assert {live.load for live in lives_in("eu", lives, waves)} == {Fraction(1)}
