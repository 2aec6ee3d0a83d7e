"""How far back looks count."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gitops.rollout.horizon import MOST, RENEWED, Earlier, horizon
from gitops.rollout.measuring import NOISE_LOOKS
from gitops.rollout.series import LADDER, look_of
from tests.rollout.looks import CANARY, at_weight

LOOK = 60


def test_evidence_begins_after_the_warm_up_and_anew_at_a_resume() -> None:
    candidate = at_weight(10).state.candidate
    assert candidate
    begin = candidate.since + CANARY.warm_up
    assert horizon(CANARY, candidate, LOOK, begin + 600, past=False).candidate == begin
    resumed = replace(candidate, resumed=begin + 300)
    assert horizon(CANARY, resumed, LOOK, begin + 600, past=False).candidate == begin + 300
    early = replace(candidate, resumed=candidate.since + 1)
    assert horizon(CANARY, early, LOOK, begin + 600, past=False).candidate == begin, "never into the warm-up"


@pytest.mark.parametrize("hours", [1, 4, 48])
def test_what_stable_was_before_it_lost_its_traffic_does_not_slide_away(hours: int) -> None:
    candidate = at_weight(100).state.candidate
    assert candidate
    now = candidate.since + hours * 3600
    found = horizon(CANARY, replace(candidate, resumed=now - 60), LOOK, now, past=True)
    assert (found.stable, found.lost) == (candidate.since - NOISE_LOOKS * LOOK, candidate.since)
    beside = horizon(CANARY, candidate, LOOK, now, past=False)
    begin = candidate.since + CANARY.warm_up
    assert beside.candidate == begin or RENEWED <= (now - beside.candidate) // LOOK <= MOST
    assert (beside.candidate - begin) % (RENEWED * LOOK) == 0, "it stands still between two renewals"
    assert beside.stable == beside.first - NOISE_LOOKS * LOOK


def test_looks_at_earlier_weights_count_but_those_of_their_warm_up() -> None:
    candidate = at_weight(50).state.candidate
    assert candidate
    first, second = candidate.earlier
    now = candidate.since + 1200
    found = horizon(CANARY, candidate, LOOK, now, past=False)
    spans = tuple((at, at + CANARY.warm_up) for at in (second, candidate.since))
    assert found.earlier == Earlier(first + CANARY.warm_up, spans, 0.8)
    assert found.first == first + CANARY.warm_up
    assert found.candidate == candidate.since + CANARY.warm_up, "values are of the present weight"
    assert horizon(CANARY, candidate, LOOK, now, past=True).earlier is None, "nothing of stable is to be seen"
    older = replace(candidate, earlier=())
    assert horizon(CANARY, older, LOOK, now, past=False).earlier is None, "a record that does not say when they were"
    one = at_weight(1).state.candidate
    assert one
    assert horizon(CANARY, one, LOOK, one.since + 600, past=False).earlier == Earlier(one.since + 60, (), 0.8)


def test_weights_that_are_left_behind_have_had_their_part() -> None:
    candidate = at_weight(50).state.candidate
    assert candidate
    begins = [at + CANARY.warm_up for at in (*candidate.earlier, candidate.since)]
    moments = range(candidate.since, candidate.since + (MOST + 1) * LOOK, LOOK)
    seen = [horizon(CANARY, candidate, LOOK, at, past=False).earlier for at in moments]
    parts = {one.begin: one.part for one in seen if one}
    assert list(parts) == begins
    assert 0.8 < sum(parts.values()) <= 1


@pytest.mark.parametrize("bake", [0, 60, 900, 3600, 9060, 24 * 3600, 7 * 24 * 3600])
@pytest.mark.parametrize("interval", [5, 15, 30])
def test_looks_are_short_for_any_bake(interval: int, bake: int) -> None:
    look = look_of(interval, bake)
    assert 4 * interval <= look <= max(LADDER[-1], 4 * interval)
    assert 2 * look <= 300, "half of what noData.after is by default"
    assert look_of(60, bake) == 240, "at least four scrapes"


def test_all_evidence_of_a_weight_together_has_its_alpha_once() -> None:
    candidate = at_weight(50).state.candidate
    assert candidate
    begin = candidate.since + CANARY.warm_up
    moments = range(begin, begin + 30 * 24 * 3600, RENEWED * LOOK)
    parts = {one.candidate: one.part for one in (horizon(CANARY, candidate, LOOK, at, past=False) for at in moments)}
    assert len(parts) > 700, "a month of renewals"
    assert 0.99 < sum(parts.values()) <= 1
    assert parts[begin] == 0.8, "a usual bake hardly pays for longer ones"
