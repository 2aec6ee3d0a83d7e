"""Records are read by a pattern when they are exactly as written, and as YAML otherwise: both must agree."""

import itertools
import re
from dataclasses import replace
from fractions import Fraction

import pytest

from gitops.errors import GitopsError
from gitops.rollout.release import (
    Release,
    ReleasedVersion,
    Rendered,
    SpecSource,
    _as_written,
    _as_yaml,
    dump_release,
    parse_release,
)
from gitops.rollout.state import Approval, Candidate, Kept, ModelVersion, Pause, Rejection, Returned
from gitops.values import UnitKey

GPUS = (("", 0), ("L4", 2))
PREVIOUS = ("", "1.0.0")
SOURCES = (SpecSource(), SpecSource("a" * 40), SpecSource("a" * 40, modified=True))
TREES = ({}, {"one": "b" * 40}, {"one": "b" * 40, "two-2": "c" * 40})
ALL = [
    Release(
        UnitKey("dev", "chat"),
        ReleasedVersion("1.2.0", "sha256:12", "2026-11-21T08:00:00Z", gpu, count, 3),
        Rendered("sha256:34", trees),
        source,
        previous,
    )
    for (gpu, count), previous, source, trees in itertools.product(GPUS, PREVIOUS, SOURCES, TREES)
]

CHAT, NEXT = ModelVersion("1.2.0", "sha256:12"), ModelVersion("1.3.0", "sha256:13")
ROLLOUTS = {
    "candidate": Candidate(NEXT, "baking", 10, 1_700_000_000, 1_700_000_060, 1_700_000_060, step=2, weight=10),
    "second wave": Candidate(
        NEXT, "starting", 50, 1, 2, 3, wave=1, scales=(100, 50), hotfix=True, clusters=(("a",), ("b", "c"))
    ),
    "sized": Candidate(NEXT, "baking", 50, 1, 2, 3, weight=50, basis=(("one", Fraction(4, 3)),)),
    "paused": Candidate(
        NEXT,
        "baking",
        1,
        1,
        2,
        3,
        mirror=1,
        pause=Pause("person", 'by hand: "no"', "ann"),
        tolerated=("error-rate",),
        despite=("dev 2026",),
        resumed=4,
    ),
    "third weight": Candidate(NEXT, "baking", 50, 1, 4, 4, step=3, weight=50, earlier=(2, 3)),
}
"""Candidates of every kind that the record has to bring back."""


@pytest.mark.parametrize("candidate", [None, *ROLLOUTS.values()])
@pytest.mark.parametrize("source", SOURCES)
def test_a_rollout_under_way_comes_back(candidate: Candidate | None, source: SpecSource) -> None:
    release = replace(
        ALL[-1],
        source=source,
        candidate=candidate,
        kept=(Kept(ModelVersion("1.1.0", "sha256:11"), 5, 6, True), Kept(CHAT, 7, 8, False, 10, (10, 0))),
        rejected=(Rejection(NEXT, "latency-p99: 2 s", 9),),
        returned=(Returned(NEXT, "no room to carry 10 %", 9, "person"),),
        approvals=(Approval("sha256:13", "ann@acme.example"),),
        load=(("one", Fraction(2)), ("two-2", Fraction(5, 3))),
        rollout_id="01JD0Q",
        models={"1.2.0": '{"version":"1.2.0","serve":{"env":{"A":"\\"b: c\\""}}}', "1.3.0": "{}"},
    )
    data = dump_release(release)
    assert _as_written(data) == _as_yaml(data) == release


@pytest.mark.parametrize("release", ALL)
def test_both_ways_agree(release: Release) -> None:
    data = dump_release(release)
    assert _as_written(data) == _as_yaml(data) == release


@pytest.mark.parametrize("version", ['1"0', "1\\0", "1\n0"])
def test_escaped_text_is_left_to_yaml(version: str) -> None:
    release = Release(UnitKey("dev", "chat"), ReleasedVersion(version, "d", "s"), Rendered("i"))
    data = dump_release(release)
    assert _as_written(data) is None
    assert parse_release(data, "x") == release


def test_names_stay_text_whatever_yaml_takes_them_for() -> None:
    release = Release(UnitKey("dev", "null"), ReleasedVersion("1", "d", "s"), Rendered("i"))
    assert parse_release(dump_release(release), "x") == release


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"kind: Release", b"kind: Other"),
        (b"  replicas: 0\n", b""),
        (b"v1\n", b"v2\n"),
        (b"replicas: 0", b"replicas: .inf"),
        (b"replicas: 0", b"replicas: -5"),
        (b"replicas: 0", b"replicas: 1000000000000000000000"),
    ],
)
def test_edited_records_are_refused(old: bytes, new: bytes) -> None:
    data = dump_release(Release(UnitKey("dev", "chat"), ReleasedVersion("1", "d", "s"), Rendered("i")))
    assert old in data
    with pytest.raises(GitopsError, match="no release record"):
        parse_release(data.replace(old, new), "x")


@pytest.mark.parametrize(
    "edited", ["wave: -7", "step: -3", "step: .inf", "step: 1e300", "weight: .inf", "scale: -1", "scale: 0"]
)
def test_numbers_that_no_step_writes(edited: str) -> None:
    """A wave before the first one ended every command with an error of Python's, also for other units."""
    name = edited.partition(":")[0]
    candidate = replace(ROLLOUTS["second wave"], step=1, weight=10)
    release = Release(UnitKey("dev", "chat"), ReleasedVersion("1", "d", "s"), Rendered("i"), candidate=candidate)
    text = re.sub(rf"\b{name}: \d+", edited, dump_release(release).decode(), count=1)
    assert edited in text
    with pytest.raises(GitopsError, match="no release record"):
        parse_release(text.encode(), "x")
