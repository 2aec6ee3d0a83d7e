"""The plan on a terminal."""

from __future__ import annotations

import dataclasses
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops.plan.model import Plan
from gitops.view.plan_text import plan_text
from gitops.view.wording import value_words
from tests.plan.strategies import json, patient, plans
from tests.view import goldens
from tests.view.plans import NAMED, bump, drift, first, hostile, large, nothing, offline, rollouts


@pytest.mark.parametrize("name", NAMED)
def test_golden(name: str) -> None:
    goldens.check(f"{name}.txt", plan_text(NAMED[name]()))


def test_golden_with_diffs() -> None:
    goldens.check("bump-diffs.txt", plan_text(bump(), diffs=True))


def test_golden_hostile() -> None:
    goldens.check("hostile.txt", plan_text(hostile(), diffs=True))


@pytest.mark.parametrize(
    ("plan", "last"),
    [
        (bump(), "Plan: 1 release (1 rollout starts), 4 files, 4 objects, 0 infrastructure changes."),
        (offline(), "Plan: 1 release, 1 file. Clusters and infrastructure were not looked at."),
        (
            rollouts(),
            "Plan: 6 releases (1 rollout starts, 1 goes back, 1 rejection lapses, 2 at once, 1 removed), 1 file, "
            "1 object, 0 infrastructure changes. 2 units wait.",
        ),
        (
            dataclasses.replace(nothing(), waiting=rollouts().waiting),
            "No changes. Git, clusters and infrastructure match the spec, except for what waits.",
        ),
        (nothing(), "No changes. Git, clusters and infrastructure match the spec."),
        (
            dataclasses.replace(offline(), releases=(), files=()),
            "No changes. Git matches the spec, except for what is left alone; "
            "clusters and infrastructure were not looked at.",
        ),
    ],
)
def test_last_line_says_what_was_looked_at(plan: Plan, last: str) -> None:
    assert plan_text(plan).splitlines()[-1] == last


def test_colour_changes_nothing_else() -> None:
    coloured = plan_text(drift(), color=True)
    assert "\x1b[33m      ~ Deployment support-chat-2-2-0   (taken over by kubectl-edit)\x1b[0m\n" in coloured
    assert re.sub(r"\x1b\[\d*m", "", coloured) == plan_text(drift())


def test_full_lists_every_resource() -> None:
    assert "and 20 more" in plan_text(first())
    assert "number[79]" in plan_text(first(), full=True)


@patient
@given(plans, st.integers(20, 200), st.booleans(), st.booleans())
def test_nothing_drives_the_terminal(plan: Plan, width: int, diffs: bool, full: bool) -> None:
    text = plan_text(plan, width=width, diffs=diffs, full=full)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
    assert text.splitlines()[-1].startswith(("Plan: ", "No changes. "))


@patient
@given(json, json, st.integers(24, 80))
def test_different_values_look_different(before: object, after: object, limit: int) -> None:
    left, right = value_words(before, after, limit)
    assert max(len(left), len(right)) <= limit
    if left == right:
        assert before == after


def test_large_plan_takes_little_time() -> None:
    plan = large()
    start = time.process_time()
    text = plan_text(plan, diffs=True)
    assert time.process_time() - start < 10
    assert text.endswith("Plan: 3,000 releases, 24,000 files, 24,000 objects, 0 infrastructure changes.\n")
