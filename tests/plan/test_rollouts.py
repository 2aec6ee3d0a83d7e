"""Which version should run where, why not yet, and what follows from Git alone."""

from __future__ import annotations

from typing import Any

import pytest

from gitops.plan.rollouts import courses, first_entry, held
from gitops.plan.room import Room
from gitops.rollout.machine import step
from gitops.rollout.observation import Command
from gitops.rollout.verdicts import Verdict
from gitops.spec.resolved import Spec
from gitops.values import UnitKey
from tests.plan.repository import CANARY, CHAT, LATER, Tree, write_spec

ONE, TWO, THREE = ("1.0.0", "a"), ("2.0.0", "b"), ("3.0.0", "c")


def spec(version: tuple[str, str], **prod: Any) -> Spec:
    return write_spec({"chat": version}, {"dev": {}, "prod": prod}, rollout=CANARY)


@pytest.fixture
def tree() -> Tree:
    """Both environments run 1.0.0."""
    made = Tree()
    made.release_spec(spec(ONE))
    return made


def decisions(tree: Tree, wanted: Spec) -> dict[str, list[str]]:
    """What is due in each environment, by what Git alone shows."""
    found = courses(wanted, tree.stored(), tree.now)
    return {unit.environment: [step.decision.kind for step in course.steps] for unit, course in found.items()}


def finish(tree: Tree, wanted: Spec, unit: UnitKey = CHAT) -> None:
    for _ in range(10):
        tree.now += 600
        tree.look(wanted, unit, ready=100)
    assert tree.release(unit).stable.version == wanted.models[unit].version


def reject(tree: Tree, wanted: Spec, unit: UnitKey = CHAT) -> None:
    decision = tree.look(wanted, unit, commands=(Command("abort", "ada"),))
    assert decision
    assert decision.kind == "roll-back"


# --- Entry ---------------------------------------------------------------------------------------------------


def test_a_model_that_runs_nowhere_is_released_everywhere() -> None:
    assert first_entry(spec(ONE), Tree().stored(), LATER) == ""
    found = Tree().plan(spec(ONE))
    assert [str(change.unit) for change in found.releases] == ["dev/chat", "prod/chat"]


def test_a_version_enters_the_first_environment(tree: Tree) -> None:
    assert decisions(tree, spec(TWO)) == {"dev": ["start"], "prod": []}
    assert tree.waiting(spec(TWO)) == {LATER: "2.0.0 waits: not verified in dev yet"}


def test_it_enters_the_next_when_the_one_before_runs_it(tree: Tree) -> None:
    tree.release_spec(spec(TWO))
    tree.look(spec(TWO), CHAT, ready=100)
    assert tree.release(CHAT).candidate
    assert decisions(tree, spec(TWO))["prod"] == []
    finish(tree, spec(TWO))
    assert decisions(tree, spec(TWO))["prod"] == ["start"]
    assert LATER not in tree.waiting(spec(TWO))


def test_what_an_earlier_environment_rolls_back_pauses_in_a_later_one_until_a_person_says_so(tree: Tree) -> None:
    tree.release_spec(spec(TWO))
    while tree.release(CHAT).stable.version != "2.0.0":
        tree.now += 600
        tree.look(spec(TWO), CHAT, ready=100)
    tree.release_spec(spec(TWO))
    tree.now += 600
    tree.look(spec(TWO), LATER, ready=100)
    assert tree.release(LATER).candidate
    back = tree.look(spec(TWO), CHAT, commands=(Command("rollback", "ada"),))
    assert back
    assert back.kind == "roll-back"
    tree.now += 60
    decision = tree.look(spec(TWO), LATER, ready=100)
    assert decision
    assert decision.kind == "pause"
    assert decision.sentence.startswith("2.0.0 is rejected in dev since ")
    assert decision.sentence.endswith(": rolled back by ada")
    resumed = tree.look(spec(TWO), LATER, ready=100, commands=(Command("resume", "bob"),))
    assert resumed
    assert resumed.kind == "resume"
    finish(tree, spec(TWO), LATER)


def test_a_roll_back_of_what_the_spec_names_no_more_reaches_later_environments(tree: Tree) -> None:
    """2.0.0 is on its way in prod, and the spec names the next one when a person rolls dev back from it."""
    tree.release_spec(spec(TWO))
    while tree.release(CHAT).stable.version != "2.0.0":
        tree.now += 600
        tree.look(spec(TWO), CHAT, ready=100)
    tree.release_spec(spec(TWO))
    assert tree.release(LATER).candidate
    tree.look(spec(THREE), CHAT, commands=(Command("rollback", "ada"),))
    assert decisions(tree, spec(THREE)) == {"dev": ["clear", "start"], "prod": ["pause"]}
    tree.release_spec(spec(THREE))
    paused = tree.release(LATER).candidate
    assert paused
    assert paused.pause
    assert (paused.version.version, paused.pause.cause) == ("2.0.0", "earlier")


def test_a_rejection_does_not_lapse_while_nobody_knows_what_the_spec_names(tree: Tree) -> None:
    """A spec that is broken for an hour, or an old checkout, names no other version."""
    tree.release_spec(spec(TWO))
    reject(tree, spec(TWO))
    here = held(tree.standings(spec(TWO))[CHAT])
    decision = step(here.policy, here.state, here.observe(tree.now + 60, Room(spec(TWO), tree.stored())))
    assert decision.kind == "hold"
    assert decision.state.rejected == tree.release(CHAT).rejected != ()


def test_a_pinned_version_waits_for_no_other_environment(tree: Tree) -> None:
    pin = {"models": {"chat": {"version": TWO[0], "artifact": {"uri": "s3://a/b", "digest": f"sha256:{TWO[1] * 64}"}}}}
    assert decisions(tree, spec(ONE, **pin)) == {"prod": ["start"]}


def test_an_environment_that_left_out_the_model_is_passed_by() -> None:
    tree, places = Tree(), {"dev": {}, "staging": {"exclude": ["chat"]}, "prod": {}}
    models = {"chat": ONE, "rank": ONE}
    tree.release_spec(write_spec(models, places))
    wanted = write_spec(models | {"chat": TWO}, places)
    assert tree.waiting(wanted) == {LATER: "2.0.0 waits: not verified in dev yet"}


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"promotion": "manual"}, "2.0.0 waits for a person to promote it"),
        ({"approvals": {"required": 2, "identity": "any"}}, "2.0.0 waits for approval: 0 of 2"),
        ({"freeze": [{"reason": "fair", "from": "2025-12-01T00:00:00Z", "until": "2026-12-01T00:00:00Z"}]}, "frozen"),
    ],
)
def test_what_an_environment_asks_for(tree: Tree, said: dict[str, Any], why: str) -> None:
    tree.release_spec(spec(TWO, **said))
    finish(tree, spec(TWO, **said))
    assert decisions(tree, spec(TWO, **said))["prod"] == []
    assert why in tree.waiting(spec(TWO, **said))[LATER]


def test_a_hotfix_goes_past_entry_and_is_a_decision_like_any_other(tree: Tree) -> None:
    wanted = spec(TWO, hotfix="allowed")
    tree.release_spec(wanted)
    decision = tree.look(wanted, LATER, commands=(Command("promote", "ada", hotfix=True),))
    assert decision
    assert decision.kind == "start"
    candidate = tree.release(LATER).candidate
    assert candidate
    assert candidate.hotfix
    # It goes on, whatever dev does.
    assert decisions(tree, wanted)["prod"] == []
    assert LATER not in tree.waiting(wanted)


# --- Other targets -------------------------------------------------------------------------------------------


def test_a_new_target_takes_the_place_of_a_candidate(tree: Tree) -> None:
    tree.release_spec(spec(TWO))
    tree.look(spec(TWO), CHAT, ready=100)
    found = tree.release_spec(spec(THREE))
    assert [step.message.splitlines()[0] for step in found.steps] == [
        "rollout(dev/chat): roll back 2.0.0 to 1.0.0",
        "rollout(dev/chat): start 3.0.0 beside 1.0.0",
    ]
    state = tree.release(CHAT).state
    assert state.candidate
    assert state.candidate.version.version == "3.0.0"
    assert [one.version.version for one in state.kept] == ["2.0.0"]
    assert state.rejected == ()


def test_a_spec_that_returns_to_stable_ends_the_rollout(tree: Tree) -> None:
    tree.release_spec(spec(TWO))
    tree.look(spec(TWO), CHAT, ready=100)
    found = tree.release_spec(spec(ONE))
    assert len(found.steps) == 1
    assert found.steps[0].goes_back
    assert tree.release(CHAT).candidate is None
    assert tree.waiting(spec(ONE)) == {}


def test_what_is_under_way_goes_on_while_the_next_version_is_not_verified_yet(tree: Tree) -> None:
    for wanted in (spec(TWO),):
        tree.release_spec(wanted)
        finish(tree, wanted)
        tree.release_spec(wanted)
    assert tree.release(LATER).candidate
    tree.release_spec(spec(THREE))
    candidate = tree.release(LATER).candidate
    assert candidate
    assert candidate.version.version == "2.0.0"
    # It would be promoted, and only then 3.0.0 has to wait.
    tree.look(spec(THREE), LATER, ready=100)
    for _ in range(4):
        tree.now += 600
        tree.look(spec(THREE), LATER, ready=100)
    assert tree.release(LATER).stable.version == "2.0.0"
    assert tree.waiting(spec(THREE))[LATER] == "3.0.0 waits: not verified in dev yet"


def test_a_rejected_version_stays_away_until_the_spec_names_another(tree: Tree) -> None:
    tree.release_spec(spec(TWO))
    reject(tree, spec(TWO))
    assert decisions(tree, spec(TWO))["dev"] == []
    assert tree.waiting(spec(TWO))[CHAT] == "2.0.0 is rejected: aborted by ada"
    assert tree.plan(spec(TWO)).files == ()
    assert decisions(tree, spec(THREE))["dev"] == ["clear", "start"]
    found = tree.release_spec(spec(THREE))
    assert len(found.steps) == 2
    assert tree.release(CHAT).rejected == ()


def test_a_rejected_version_may_be_retried(tree: Tree) -> None:
    tree.release_spec(spec(TWO))
    reject(tree, spec(TWO))
    tree.look(spec(TWO), CHAT, commands=(Command("retry", "ada"),))
    assert decisions(tree, spec(TWO))["dev"] == ["start"]


def test_what_needs_a_look_is_not_due_by_git_alone(tree: Tree) -> None:
    wanted = write_spec({"chat": TWO}, rollout={**CANARY, "gates": [{"metric": "error-rate", "rollback": "1%"}]})
    tree.release_spec(wanted)
    tree.look(wanted, CHAT, ready=100)
    tree.now += 10_000
    assert decisions(tree, wanted) == {"dev": []}
    failed = Verdict("error-rate", "fail", "error-rate 3 %: fail")
    decision = tree.look(wanted, CHAT, ready=100, results=(failed,))
    assert decision
    assert decision.kind == "roll-back"


def test_settled_units_cost_nothing(tree: Tree) -> None:
    assert tree.standings(spec(ONE)) == {}
    assert tree.standings(spec(ONE), [CHAT]).keys() == {CHAT}
