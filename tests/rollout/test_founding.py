"""A candidate is one only if the history has started it, and as the environment asks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gitops.rollout.approvals import Given, Said, Signature
from gitops.rollout.founding import unapproved, unfounded
from gitops.rollout.machine import Decision, step, trailers
from gitops.rollout.observation import Command, CommandKind, Observation
from gitops.rollout.policy import Policy, PolicyStep
from gitops.rollout.state import Candidate, Consent, RolloutState
from gitops.spec.environment import Approvals
from gitops.values import UnitKey
from tests.rollout.looks import NEW, NEXT, STABLE

CHAT, OTHER = UnitKey("production", "chat"), UnitKey("staging", "chat")
ANN, BOB = "ann@acme.example", "bob@acme.example"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI"
POLICY = Policy("canary", (PolicyStep(10, 60), PolicyStep(100, 60)))
RUNS = "sha256:r"
RULES = Approvals(required=2, identity="signature", signers=dict.fromkeys((ANN, BOB), KEY))


def decided(state: RolloutState, *asked: Command, runs: str = RUNS, policy: Policy = POLICY) -> Decision:
    return step(policy, state, Observation(now=0, target=NEW, runs=runs, commands=asked))


def said(decision: Decision, commit: str, unit: UnitKey = CHAT) -> Said:
    return Said(commit, "", (("Model", unit.model), ("Environment", unit.environment), *trailers(decision)))


def approved(by: str) -> Said:
    command = Command("approve", by, consent=Consent(f"nonce-{by}", "s"))
    return said(decided(STABLE, command, policy=replace(POLICY, approvals=2)), f"by-{by}")


STARTED = said(decided(STABLE), "start")
GOING = replace(STABLE, candidate=Candidate(NEW, "starting", scale=10, started=0, since=0, entered=0))


def ended(kind: CommandKind) -> Said:
    return said(decided(GOING, Command(kind, ANN)), kind)


def test_a_candidate_has_a_start_behind_it() -> None:
    assert unfounded([STARTED], CHAT, NEW, RUNS) == ""
    assert unfounded([said(decided(GOING, Command("pause", ANN)), "pause"), STARTED], CHAT, NEW, RUNS) == ""


@pytest.mark.parametrize(
    ("history", "what"),
    [
        ([], "no commit has started it"),
        ([said(decided(STABLE), "start", OTHER)], "no commit has started it"),
        ([ended("abort"), STARTED], "no commit has started it"),
        ([Said("x", "", (("Removed", str(CHAT)),)), STARTED], "no commit has started it"),
        ([approved(ANN)], "no commit has started it"),
    ],
)
def test_what_is_written_by_hand_is_none(history: list[Said], what: str) -> None:
    assert unfounded(history, CHAT, NEW, RUNS) == what


def test_it_is_what_was_started() -> None:
    assert unfounded([STARTED], CHAT, NEXT, RUNS).startswith("the commit that started a version names")
    assert unfounded([STARTED], CHAT, NEW, "sha256:x") == "the record runs something else than what was started"
    old = said(decided(STABLE, runs=""), "start")
    assert unfounded([old], CHAT, NEW, RUNS) == "", "an older gitops did not say what pods run"


def by_themselves(one: Given) -> Signature:
    return Signature(one.by)


def test_a_start_needs_the_approvals_of_today() -> None:
    history = [STARTED, approved(BOB), approved(ANN)]
    assert unapproved(history, CHAT, RULES, by_themselves) == ""
    for few in ([STARTED], [STARTED, approved(ANN)], [approved(BOB), STARTED, approved(ANN)]):
        assert unapproved(few, CHAT, RULES, by_themselves).endswith("of 2 approvals that count")
    forged = unapproved(history, CHAT, RULES, lambda one: Signature(flaw="carries no signed approval"))
    assert forged == "it was started with 0 of 2 approvals that count"
    alone = RULES.model_copy(update={"signers": {ANN: KEY}})
    assert unapproved(history, CHAT, alone, by_themselves) == "it was started with 1 of 2 approvals that count"
    assert unapproved([STARTED], CHAT, Approvals(required=2, identity="any"), None) == ""


def test_the_machine_sends_it_back_and_rejects_nothing() -> None:
    seen = Observation(now=0, target=NEW, unfounded="no commit has started it", ready=100)
    decision = step(POLICY, GOING, seen)
    assert (decision.kind, decision.sentence) == ("roll-back", "not a rollout: no commit has started it")
    assert decision.state.rejected == ()
    promoted = step(POLICY, GOING, replace(seen, commands=(Command("promote", ANN),)))
    assert promoted.kind == "roll-back"
