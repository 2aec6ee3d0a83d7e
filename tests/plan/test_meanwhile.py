"""A record that moved between a plan and its push: the work of another process, or something else."""

from dataclasses import replace

import pytest

from gitops.plan.meanwhile import other_than_asked
from gitops.plan.model import ReleaseChange
from gitops.rollout.release import Release, ReleasedVersion, Rendered
from gitops.rollout.state import Candidate, ModelVersion, Rejection
from gitops.values import Action
from tests.plan.repository import CHAT, digest_of, write_spec

OLD, NEW = ModelVersion("1.0.0", digest_of("a")), ModelVersion("1.1.0", digest_of("b"))
MODEL = write_spec({"chat": ("1.1.0", "b")}).models[CHAT]
STABLE = Release(CHAT, ReleasedVersion(*OLD, "2026-01-01T00:00:00Z"), Rendered("i"))
STARTED = replace(STABLE, candidate=Candidate(NEW, "starting", scale=10, started=0, since=0, entered=0))
PROMOTED = replace(STABLE, stable=ReleasedVersion(*NEW, "2026-01-01T00:00:00Z"))
BACK = replace(STABLE, rejected=(Rejection(NEW, "aborted by bob", 0),))
OTHER = replace(STARTED, candidate=replace(STARTED.candidate, version=ModelVersion("1.2.0", digest_of("c"))))
SWAPPED = replace(STARTED, candidate=replace(STARTED.candidate, version=ModelVersion("1.1.0", digest_of("c"))))


def asked(action: Action = "update", version: str = "1.1.0", decision: str = "start") -> ReleaseChange:
    return ReleaseChange(CHAT, action, version, "1.0.0", "", decision)


@pytest.mark.parametrize("release", [STARTED, PROMOTED])
def test_the_same_was_started(release: Release) -> None:
    assert other_than_asked(asked(), MODEL, release) == ""
    assert other_than_asked(asked(decision=""), MODEL, release) == ""


@pytest.mark.parametrize(
    ("change", "release", "says"),
    [
        (asked(), OTHER, "1.2.0 is there instead"),
        (asked(), SWAPPED, "1.1.0 is there instead"),
        (asked(), BACK, "rejected: aborted by bob"),
        (asked(), STABLE, "1.0.0 is there instead"),
        (asked(), None, "it was removed"),
        (asked("delete", "1.0.0", ""), STARTED, "still runs there"),
        (asked(decision="roll-back"), STARTED, "still on its way"),
    ],
)
def test_something_else_happened(change: ReleaseChange, release: Release | None, says: str) -> None:
    assert says in other_than_asked(change, MODEL, release)


def test_gone_and_gone_back_as_asked() -> None:
    assert other_than_asked(asked("delete", "1.0.0", ""), None, None) == ""
    assert other_than_asked(asked(decision="roll-back"), MODEL, BACK) == ""
