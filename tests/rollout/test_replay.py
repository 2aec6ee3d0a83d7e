"""Decisions as trailers of a commit, and the history of trailers as a state."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest

from gitops.errors import GitopsError
from gitops.rollout.events import one_line
from gitops.rollout.machine import trailers
from gitops.rollout.observation import Command
from gitops.rollout.policy import PolicyStep
from gitops.rollout.replay import Trailers, event_of, replay
from tests.rollout.looks import CANARY, NEXT, SHADOW, STABLE, Walk, at_weight, saying


def parsed_by_git(said: Trailers) -> list[tuple[str, str]]:
    """What Git reads back from a commit message that ends in these trailers."""
    message = "rollout: x\n\nwords\n\n" + "".join(f"{key}: {value}\n" for key, value in said)
    command = ["git", "interpret-trailers", "--parse", "--no-divider"]
    done = subprocess.run(command, input=message.encode(), capture_output=True, check=True)
    return [(key, value) for key, _, value in (line.partition(": ") for line in done.stdout.decode().splitlines())]


def test_an_advance_reads_like_a_rollout_commit() -> None:
    decision = at_weight(1).look(1000)
    assert trailers(decision)[:7] == (
        ("Version", "2.3.0"),
        ("Digest", "sha256:2.3.0"),
        ("Previous-Version", "2.2.0"),
        ("Step", "2/4"),
        ("Weight", "10"),
        ("Scale", "10"),
        ("Decision", "advance"),
    )
    assert decision.sentence == "2.3.0 gets 10 % of traffic"


def test_a_hold_is_no_commit() -> None:
    assert trailers(at_weight(1).look(1)) == ()


@pytest.mark.parametrize("policy", [CANARY, SHADOW])
def test_the_history_of_a_whole_rollout_gives_every_state_on_the_way(policy: object) -> None:
    walk = Walk(policy)  # type: ignore[arg-type]
    walk.until("baking")
    walk.look(1, results=saying("warn"))
    walk.say("resume")
    walk.look(1, results=saying("fail"))
    walk.say("retry")
    walk.given(results=saying("pass")).until("baking").until("idle")
    walk.say("rollback", seconds=60)
    walk.look(1, target=NEXT)
    state = STABLE
    for decision in walk.decisions:
        state = replay([trailers(decision)], state)
        assert state == decision.state
    assert replay([trailers(one) for one in walk.decisions], STABLE) == walk.state


@pytest.mark.parametrize(
    "by",
    ["Ada <ada@b>", " two\nlines\tand: colons ", "---", "# x", "naïve ☃\u2028\x00", "Decision: promote\n\nWeight: 100"],
)
def test_git_reads_back_whatever_a_person_is_called(by: str) -> None:
    decision = at_weight(10).look(1, commands=(Command("abort", by),))
    said = trailers(decision)
    assert parsed_by_git(said) == list(said)
    assert event_of(parsed_by_git(said)) == decision.event
    assert dict(said)["By"] == one_line(by)


def test_the_wave_is_told_and_read_back() -> None:
    policy = replace(CANARY, steps=(PolicyStep(10, 60), PolicyStep(100, 60)), waves=2)
    walk = Walk(policy, ready=100, ready_waves=(100, 0))
    states = [walk.state]
    while not walk.state.candidate or walk.state.candidate.stage != "starting" or walk.state.candidate.load < 100:
        walk.look(60)
    walk.given(ready_waves=(100, 10)).look(60)
    said = dict(trailers(walk.decisions[-1]))
    assert {key: said[key] for key in ("Wave", "Step", "Weight", "Scale", "Scale-By-Wave", "Decision")} == {
        "Wave": "2/2",
        "Step": "1/2",
        "Weight": "10",
        "Scale": "100",
        "Scale-By-Wave": "100 10",
        "Decision": "advance",
    }
    walk.look(1, results=saying("fail"))
    for decision in walk.decisions:
        states.append(replay([trailers(decision)], states[-1]))
        assert states[-1] == decision.state
    assert "Wave" not in dict(trailers(at_weight(1).look(1000))), "where all clusters go together there is none"


def test_the_waves_of_the_start_are_told_and_read_back() -> None:
    clusters = (("eu-1",), ("us-1", "us-2"))
    decision = Walk(replace(CANARY, clusters=clusters, waves=2)).look()
    assert dict(trailers(decision))["Clusters"] == "eu-1; us-1 us-2"
    state = replay([trailers(decision)], STABLE)
    assert state == decision.state
    assert state.begun == clusters
    assert replay([[one for one in trailers(decision) if one[0] != "Clusters"]], STABLE).begun == (), "older commits"


def test_a_hotfix_is_told_and_read_back() -> None:
    walk = Walk(freeze="holidays")
    decision = walk.look(1, commands=(Command("promote", "ada", hotfix=True),))
    assert dict(trailers(decision))["Hotfix"] == "yes"
    state = replay([trailers(decision)], STABLE)
    assert state == decision.state
    assert state.candidate
    assert state.candidate.hotfix


def test_other_commits_are_passed_over() -> None:
    release = [("Decision", "release"), ("Release", "dev/chat 2 1")]
    assert replay([release, [], [("Decision", "hold")]], STABLE) == STABLE


@pytest.mark.parametrize(
    "broken",
    [
        [("Decision", "advance")],
        [*trailers(at_weight(1).look(1000)), ("Time", "yesterday")],
        [*trailers(at_weight(1).look(1000)), ("Step", "two")],
        [*trailers(Walk().look()), ("Phase", "flying")],
        [*trailers(Walk().look()), ("Wave", "3/2")],
        [*trailers(Walk().look()), ("Wave", "0/2")],
        [*trailers(Walk().look()), ("Scale-By-Wave", "all")],
        trailers(at_weight(1).look(1000)),
    ],
)
def test_a_history_that_does_not_fit_is_named(broken: Trailers) -> None:
    with pytest.raises(GitopsError):
        replay([broken], STABLE)
