"""Where a version comes from, when nothing moves, and which clusters come first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops.spec.environment import Environment
from gitops.spec.freezes import DAYS, zone
from gitops.spec.load import load_spec
from gitops.spec.promotion import frozen, pinned, predecessor, strategy_rollout, wave_of, waves_since
from gitops.spec.resolved import Spec
from gitops.spec.rollouts import Canary
from gitops.values import UnitKey
from tests.spec.conftest import sources

DEV = """
apiVersion: gitops/v1
clusters:
  local: {provider: embedded, nodePools: {l4: {gpu: {type: L4}, max: 9}}}
"""


def three(base: dict[str, bytes], **environments: str) -> Spec:
    order = b"promotion: [dev, staging, production]"
    files = {"pipeline.yaml": base["pipeline.yaml"].replace(b"promotion: [dev]", order)}
    for name in ("dev", "staging", "production"):
        files[f"environments/{name}.yaml"] = (DEV + environments.get(name, "")).encode()
    return load_spec(*sources(files))


def test_a_version_comes_from_the_nearest_environment_that_runs_the_model(base: dict[str, bytes]) -> None:
    everywhere = three(base)
    assert predecessor(everywhere, UnitKey("dev", "chat")) is None
    assert predecessor(everywhere, UnitKey("staging", "chat")) == UnitKey("dev", "chat")
    assert predecessor(everywhere, UnitKey("production", "chat")) == UnitKey("staging", "chat")
    without = three(base, staging="exclude: [chat]")
    assert predecessor(without, UnitKey("production", "chat")) == UnitKey("dev", "chat")
    assert predecessor(three(base, dev="exclude: [chat]"), UnitKey("staging", "chat")) is None


def test_an_environment_that_names_the_version_is_pinned(base: dict[str, bytes]) -> None:
    older = f"models: {{chat: {{version: 0.9.0, artifact: {{uri: s3://m/0, digest: 'sha256:{'a' * 64}'}}}}}}"
    spec = three(base, staging=older, production="models: {chat: {owner: search}}")
    found = {name: pinned(spec, UnitKey(name, "chat")) for name in spec.environments}
    assert found == {"dev": False, "staging": True, "production": False}


def test_the_rollout_is_the_one_that_the_model_names_there(base: dict[str, bytes]) -> None:
    spec = three(base)
    assert isinstance(strategy_rollout(spec, UnitKey("dev", "chat")), Canary)
    assert strategy_rollout(spec, UnitKey("dev", "chat")) is spec.pipeline.rollouts["careful"]


def environment(*freeze: dict[str, Any], clusters: str = "abc", **more: Any) -> Environment:
    kept = {name: {"provider": "embedded"} for name in clusters}
    return Environment.model_validate(
        {"apiVersion": "gitops/v1", "clusters": kept, "freeze": [{"reason": "sale"} | one for one in freeze], **more}
    )


def test_waves_are_all_clusters_at_once_or_as_declared() -> None:
    assert wave_of(environment()) == (("a", "b", "c"),)
    assert wave_of(environment(waves=[["c"], ["a", "b"]])) == (("c",), ("a", "b"))


# --- Freezes -------------------------------------------------------------------------------------------------


def test_a_rollout_keeps_to_the_waves_with_which_it_began() -> None:
    began = (("a",), ("b", "c"))
    assert waves_since(environment(), began) == began, "joined meanwhile"
    assert waves_since(environment(waves=[["c"], ["b"], ["a"]]), began) == began, "split, and turned around"
    assert waves_since(environment(clusters="abcd", waves=[["d"], ["a", "b", "c"]]), began) == (*began, ("d",))
    assert waves_since(environment(clusters="bc"), began) == ((), ("b", "c")), "what is left keeps its place"
    assert waves_since(environment(), ()) == waves_since(environment(), (("x",),)) == (("a", "b", "c"),)


def at(text: str, where: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone(where)).timestamp())


YEAR_END = {"reason": "end of year", "from": "2026-12-19T00:00:00Z", "until": "2027-01-04T08:00:00+02:00"}
WEEKEND = {"reason": "weekend", "days": ["fri", "sat"], "from": "16:00", "until": "08:00", "timezone": "Europe/Berlin"}
WHOLE_DAYS = {"reason": "closed", "days": ["sat", "sun"], "from": "00:00", "until": "24:00"}


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ("2026-12-18T23:59:59", ""),
        ("2026-12-19T00:00:00", "end of year, until Mon 2027-01-04 06:00 UTC"),
        ("2027-01-04T05:59:59", "end of year, until Mon 2027-01-04 06:00 UTC"),
        ("2027-01-04T06:00:00", ""),
    ],
)
def test_between_two_instants(now: str, said: str) -> None:
    assert frozen(environment(YEAR_END), at(now)) == said


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ("2026-11-27T15:59:59", ""),
        ("2026-11-27T16:00:00", "weekend, until Sat 2026-11-28 08:00 Europe/Berlin"),
        ("2026-11-28T07:59:59", "weekend, until Sat 2026-11-28 08:00 Europe/Berlin"),
        ("2026-11-28T08:00:00", ""),
        ("2026-11-28T23:00:00", "weekend, until Sun 2026-11-29 08:00 Europe/Berlin"),
        ("2026-11-29T16:00:00", ""),
    ],
)
def test_every_week_across_midnight(now: str, said: str) -> None:
    assert frozen(environment(WEEKEND), at(now, "Europe/Berlin")) == said


def test_windows_without_a_gap_are_one() -> None:
    assert frozen(environment(WHOLE_DAYS), at("2026-11-28T10:00:00")) == "closed, until Mon 2026-11-30 00:00 UTC"
    equal = {**WHOLE_DAYS, "from": "06:00", "until": "06:00"}
    assert frozen(environment(equal), at("2026-11-28T10:00:00")) == "closed, until Mon 2026-11-30 06:00 UTC"
    both = environment({**WHOLE_DAYS, "days": ["fri"]}, YEAR_END)
    assert frozen(both, at("2026-12-18T10:00:00")) == "closed and end of year, until Mon 2027-01-04 06:00 UTC"


def test_a_freeze_without_a_gap_never_ends() -> None:
    assert (
        frozen(environment({**WHOLE_DAYS, "days": list(DAYS)}), at("2026-11-28T10:00:00")) == "closed, without an end"
    )


def test_seconds_are_shown_where_there_are_any() -> None:
    odd = {"from": "2026-01-01T00:00:00Z", "until": "2026-01-01T00:00:07Z"}
    assert frozen(environment(odd), at("2026-01-01T00:00:03")) == "sale, until Thu 2026-01-01 00:00:07 UTC"


def test_clocks_that_are_set_never_shorten_a_freeze() -> None:
    """In Berlin 02:30 came twice on 2026-10-25, and not at all on 2026-03-29."""
    until = {"days": ["sun"], "from": "01:00", "until": "02:30", "timezone": "Europe/Berlin"}
    assert frozen(environment(until), at("2026-10-25T01:29:59")) != ""
    assert frozen(environment(until), at("2026-10-25T01:30:00")) == ""
    since = {"days": ["sun"], "from": "02:30", "until": "06:00", "timezone": "Europe/Berlin"}
    assert frozen(environment(since), at("2026-10-25T00:29:59")) == ""
    assert frozen(environment(since), at("2026-10-25T00:30:00")) != ""
    assert frozen(environment(since), at("2026-03-29T00:30:00")) != ""
    assert frozen(environment(until), at("2026-03-29T01:29:59")) != ""


times = st.integers(0, 24 * 60 - 1)
weekly = st.fixed_dictionaries(
    {
        "days": st.lists(st.sampled_from(DAYS), min_size=1, max_size=6, unique=True),
        "from": times,
        "until": st.integers(0, 24 * 60),
        "timezone": st.sampled_from(("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Apia")),
    }
)
moments = st.integers(at("2026-01-01T00:00:00"), at("2027-12-31T00:00:00"))


def holds(freeze: dict[str, Any], now: int) -> bool:
    """The same by the clock on the wall."""
    local = datetime.fromtimestamp(now, ZoneInfo(freeze["timezone"]))
    minute, start, stop = local.hour * 60 + local.minute, freeze["from"], freeze["until"]
    today, yesterday = (DAYS[day.weekday()] in freeze["days"] for day in (local, local - timedelta(days=1)))
    if stop > start:
        return today and start <= minute < stop
    return (today and minute >= start) or (yesterday and minute < stop)


def written(freeze: dict[str, Any]) -> dict[str, Any]:
    clock = {key: f"{freeze[key] // 60:02d}:{freeze[key] % 60:02d}" for key in ("from", "until")}
    return {**freeze, **clock}


def is_quiet(where: str, now: int) -> bool:
    """Whether no clock was set within two days."""
    around = (datetime.fromtimestamp(now + hours * 3600, ZoneInfo(where)).utcoffset() for hours in range(-50, 51, 5))
    return len(set(around)) == 1


@given(weekly, moments)
def test_weekly_windows_are_what_the_clock_on_the_wall_says(freeze: dict[str, Any], now: int) -> None:
    said = frozen(environment(written(freeze)), now)
    if holds(freeze, now) or is_quiet(freeze["timezone"], now):
        assert bool(said) == holds(freeze, now)


@given(st.lists(weekly, max_size=3), moments)
def test_a_freeze_ends_when_it_says(freezes: list[dict[str, Any]], now: int) -> None:
    here = environment(*map(written, freezes))
    said = frozen(here, now)
    if not said or said.endswith("without an end"):
        return
    day, clock, name = said.rpartition(", until ")[2].split(" ", 1)[1].split(" ")
    readings = [datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=ZoneInfo(name), fold=fold) for fold in (0, 1)]
    end = max(int(reading.astimezone(UTC).timestamp()) for reading in readings)
    assert end > now
    assert frozen(here, end) == ""
    assert frozen(here, end - 1) == said


@pytest.mark.parametrize("name", ["Europe", "Nowhere/Town", "Europe/Berlin/"])
def test_unknown_timezones_are_value_errors(name: str) -> None:
    with pytest.raises(ValueError, match="timezone"):
        zone(name)
