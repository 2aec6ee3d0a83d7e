"""Whose approvals count: forged entries, used-up commits, identities, and the words for what does not count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from gitops.rollout.approvals import (
    Given,
    Said,
    Signature,
    Subject,
    Uncounted,
    asked_in,
    decide,
    given,
    people_of,
    uncounted,
    words_of,
)
from gitops.rollout.machine import Decision, step, trailers
from gitops.rollout.observation import Command, CommandKind, Observation
from gitops.rollout.policy import Policy, PolicyStep
from gitops.rollout.state import Approval, Candidate, Consent, ModelVersion, RolloutState
from gitops.spec.environment import Approvals
from gitops.values import UnitKey
from tests.rollout.looks import NEW, NEXT, OLD, STABLE

CHAT, OTHER = UnitKey("production", "chat"), UnitKey("staging", "chat")
ANN, BOB, CAT = "ann@acme.example", "bob@acme.example", "cat@acme.example"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI"
SIGNED = Approvals(
    required=2, approvers=(ANN, BOB, CAT), identity="signature", signers=dict.fromkeys((ANN, BOB, CAT), KEY)
)
IN_CI = Approvals(required=1, identity="ci")
POLICY = Policy("canary", (PolicyStep(10, 60), PolicyStep(100, 60)), approvals=2)


def approval(by: str, version: ModelVersion = NEW) -> Approval:
    return Approval(version.digest, by)


def flaws(by: str, rules: Approvals, *found: Given, **signatures: Signature) -> str:
    """Why this person's approval of NEW does not count; empty when it does."""
    return uncounted([approval(by)], NEW.digest, rules, found, signatures).get(approval(by), "")


# --- Rules ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("identity", ["any", "ci", "signature"])
def test_only_listed_people_count_whatever_proves_who_they_are(identity: str) -> None:
    rules = Approvals.model_validate({"identity": identity, "approvers": [ANN], "signers": {ANN: KEY, BOB: KEY}})
    proof = Given("c1", BOB, job=True)
    assert flaws(BOB, rules, proof, c1=Signature(BOB)) == "is none of the approvers"
    assert flaws(ANN, rules, Given("c1", ANN, job=True), c1=Signature(ANN)) == ""


def test_without_approvers_everybody_counts_whose_identity_holds() -> None:
    assert people_of(Approvals(identity="any")) == people_of(IN_CI) == ()
    assert people_of(Approvals(identity="signature", signers={ANN: KEY})) == (ANN,)
    assert flaws("whoever", Approvals(identity="any")) == ""
    assert flaws(BOB, Approvals(identity="signature", signers={ANN: KEY})) == "is none of the approvers"


@pytest.mark.parametrize("rules", [SIGNED, IN_CI], ids=["signature", "ci"])
def test_an_entry_without_a_commit_was_written_by_hand(rules: Approvals) -> None:
    others = Given("c1", BOB, job=True)
    assert flaws(ANN, rules, others, c1=Signature(BOB)) == "has approved by no commit: the record was edited by hand"


def test_a_signature_counts_for_the_owner_of_the_key_alone() -> None:
    commit = Given("0123456789abcdef", ANN, job=False)
    signed = {commit.commit: Signature(BOB)}
    assert flaws(ANN, SIGNED, commit, **signed) == f"approved by commit 0123456789, which is signed by {BOB}"
    unsigned = {commit.commit: Signature(flaw="is not signed by an SSH key")}
    assert flaws(ANN, SIGNED, commit, **unsigned) == "approved by commit 0123456789, which is not signed by an SSH key"
    assert "was not verified" in flaws(ANN, SIGNED, commit)
    assert flaws(ANN, SIGNED, commit, **{commit.commit: Signature(ANN)}) == ""
    # A forged commit takes nothing away from a real one, whichever is newer.
    forged = Given("f", ANN, job=False)
    for order in ((forged, commit), (commit, forged)):
        assert flaws(ANN, SIGNED, *order, f=Signature(flaw="x"), **{commit.commit: Signature(ANN)}) == ""


def test_an_approver_without_a_key_cannot_sign() -> None:
    rules = SIGNED.model_copy(update={"signers": {BOB: KEY}})
    assert flaws(ANN, rules, Given("c", ANN, job=False), c=Signature(BOB)) == "has no key in approvals.signers"


def test_in_ci_the_commit_has_to_name_the_job_of_that_person() -> None:
    assert flaws("ann", IN_CI, Given("0123456789ab", "ann", job=False)) == "approved outside CI, by commit 0123456789"
    assert flaws("ann", IN_CI, Given("c", "ann", job=True)) == ""


def test_approvals_of_other_digests_are_nobodys_business() -> None:
    assert uncounted([approval(ANN, OLD)], NEW.digest, SIGNED) == {}


# --- What the commits say ------------------------------------------------------------------------------------


def said(decision: Decision, unit: UnitKey = CHAT, body: str = "", commit: str = "c") -> Said:
    where = (("Model", unit.model), ("Environment", unit.environment))
    return Said(commit, body, (*where, *trailers(decision)))


def ask(state: RolloutState, kind: CommandKind, by: str = ANN, now: int = 0) -> Decision:
    return step(POLICY, state, Observation(now=now, target=NEW, commands=(Command(kind, by),)))


def test_the_commit_has_to_be_about_this_unit_and_this_digest() -> None:
    here = said(ask(STABLE, "approve"))
    assert list(given([here], CHAT, NEW.digest)) == [Given("c", ANN, job=False)]
    assert not list(given([here], CHAT, NEXT.digest))
    assert not list(given([here], OTHER, NEW.digest))
    assert not list(given([said(ask(STABLE, "approve"), OTHER)], CHAT, NEW.digest))


def test_the_job_has_to_be_the_approvers_own() -> None:
    url = "https://github.com/acme/models/actions/runs/7/attempts/1"
    for person, own in ((ANN, True), (BOB, False)):
        body = f"{ANN} approves\n{asked_in('GitHub Actions', person, url)}\n"
        assert list(given([said(ask(STABLE, "approve"), body=body)], CHAT, NEW.digest)) == [Given("c", ANN, job=own)]
    elsewhere = said(ask(STABLE, "approve"), body=f"asked in My Laptop by {ANN}: {url}")
    assert not next(given([elsewhere], CHAT, NEW.digest)).job


def test_the_job_may_spell_the_approver_otherwise() -> None:
    asked = said(ask(STABLE, "approve", "Ann@ACME.example"), body=asked_in("GitLab CI", ANN, "https://ci/1"))
    assert [one.job for one in given([asked], CHAT, NEW.digest)] == [True]


def test_a_signature_counts_where_it_was_given_first() -> None:
    """A copy of one that was used up, or of one that still counts, in a commit of today gives nothing."""
    signed = Command("approve", ANN, consent=Consent("n1", "s1"))
    first = said(step(POLICY, STABLE, Observation(now=0, target=NEW, commands=(signed,))), commit="first")
    copy = first._replace(commit="copy")
    assert [one.commit for one in given([copy, first], CHAT, NEW.digest)] == ["first"]
    rejected = Candidate(NEW, "starting", scale=0, started=0, since=0, entered=0)
    aborted = said(ask(replace(STABLE, candidate=rejected), "abort"))
    assert not list(given([copy, aborted, first], CHAT, NEW.digest))
    other = copy._replace(trailers=tuple((k, "n2" if k == "Nonce" else v) for k, v in copy.trailers))
    assert [one.commit for one in given([other, aborted, first], CHAT, NEW.digest)] == ["copy"]


def test_an_approval_of_another_configuration_is_none() -> None:
    asked = (Command("approve", ANN),)
    here = said(step(POLICY, STABLE, Observation(now=0, target=NEW, runs="sha256:r", commands=asked)))
    assert list(given([here], CHAT, NEW.digest, "sha256:r"))
    assert not list(given([here], CHAT, NEW.digest, "sha256:x"))
    assert not list(given([here], CHAT, NEW.digest))
    one = Approval(NEW.digest, ANN, "sha256:r")
    assert uncounted([one], NEW.digest, Approvals(identity="any"), runs="sha256:r") == {}
    assert uncounted([one], NEW.digest, Approvals(identity="any"), runs="sha256:x") == {
        one: "approved another revision"
    }


def test_what_is_signed_has_one_line_for_each_thing() -> None:
    """No value can pretend to be another line."""
    hostile = Subject("f", "acme", UnitKey("a\nby: eve", "chat"), "1\r\n", "d", "r")
    lines = words_of(hostile, "ann\u2028nonce: x", "n").splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        *("purpose", "repository", "pipeline", "unit", "version", "digest", "runs", "by", "nonce"),
    ]


def test_commits_with_broken_trailers_say_nothing() -> None:
    good = said(ask(STABLE, "approve"))
    broken = Said("b", "", tuple(pair for pair in good.trailers if pair[0] != "Time"))
    assert [one.commit for one in given([broken, good], CHAT, NEW.digest)] == ["c"]


def test_a_removed_model_has_to_be_approved_again() -> None:
    gone = Said("g", "", (("Decision", "remove"), ("Removed", str(CHAT))))
    assert not list(given([gone, said(ask(STABLE, "approve"))], CHAT, NEW.digest))
    elsewhere = Said("g", "", (("Decision", "remove"), ("Removed", str(OTHER))))
    assert list(given([elsewhere, said(ask(STABLE, "approve"))], CHAT, NEW.digest))


def test_an_approval_is_used_up_by_a_rejection() -> None:
    """Else whoever may push could write it into the record again, with a good signature still to be found."""
    history = [said(ask(STABLE, "approve"))]
    started = step(Policy("canary", POLICY.steps), STABLE, Observation(now=0, target=NEW))
    history.append(said(started))
    assert list(given(reversed(history), CHAT, NEW.digest)), "a start uses nothing up"
    history.append(said(ask(started.state, "abort")))
    assert not list(given(reversed(history), CHAT, NEW.digest))


ACTIONS = st.sampled_from(["look", "hurry", "approve ann", "approve bob", "abort", "retry", "promote", "next", "back"])


@drawn(st.lists(ACTIONS, max_size=30))
def test_the_commits_give_exactly_the_approvals_of_the_record(actions: list[str]) -> None:
    """For whatever was done by `gitops` alone: nothing of the record is missed, and nothing used up comes back."""
    state, target, now, history = STABLE, NEW, 0, list[Said]()
    for number, action in enumerate(actions):
        now += 3600 if action == "hurry" else 10
        target = {"next": NEXT, "back": NEW}.get(action, target)
        kind, _, by = action.partition(" ")
        commands = (Command(kind, by or "cat"),) if kind in ("approve", "abort", "retry", "promote") else ()  # type: ignore[arg-type]
        seen = Observation(now=now, target=target, ready=100, stable_ready=100, commands=commands)
        decision = step(POLICY, state, seen)
        state = decision.state
        if decision.event:
            history.append(said(decision, commit=str(number)))
        for version in (NEW, NEXT):
            recorded = {one.by for one in state.approvals if one.digest == version.digest}
            assert {one.by for one in given(reversed(history), CHAT, version.digest)} == recorded


# --- What follows --------------------------------------------------------------------------------------------


def look(state: RolloutState, discounted: Uncounted, *commands: Command, policy: Policy = POLICY) -> Decision:
    return decide(policy, state, Observation(now=0, target=NEW, commands=commands), discounted)


def recorded(*people: str) -> RolloutState:
    return RolloutState(stable=OLD, approvals=tuple(map(approval, people)))


def test_the_hold_says_who_does_not_count_and_why() -> None:
    decision = look(recorded(ANN, BOB), {approval(ANN): "is none of the approvers"})
    assert decision.kind == "hold"
    assert decision.sentence == f"2.3.0 waits for approval: 1 of 2 ({BOB}); not counted: {ANN} is none of the approvers"
    asked = look(recorded(ANN, BOB), {approval(ANN): "is none of the approvers"}, Command("promote", CAT))
    assert asked.refused == decision.sentence
    assert look(recorded(ANN, BOB), {}).kind == "start"
    assert look(recorded(ANN, BOB, CAT), {approval(ANN): "x"}).kind == "start"


def test_one_person_counts_once() -> None:
    assert look(recorded(ANN, ANN), {}).sentence == f"2.3.0 waits for approval: 1 of 2 ({ANN})"
    assert look(recorded(ANN), {}, Command("approve", ANN)).refused == f"{ANN} cannot approve 2.3.0 (again)"


SHOUTED = "Ann@ACME.example"


def test_one_person_counts_once_in_any_spelling() -> None:
    assert look(recorded(ANN, SHOUTED), {}).sentence == f"2.3.0 waits for approval: 1 of 2 ({ANN})"
    assert look(recorded(ANN), {}, Command("approve", SHOUTED)).refused == f"{SHOUTED} cannot approve 2.3.0 (again)"
    again = look(recorded(ANN), {approval(ANN): "x"}, Command("approve", SHOUTED))
    assert again.sentence == f"{SHOUTED} approves 2.3.0 (1 of 2)"


@pytest.mark.parametrize("identity", ["any", "ci", "signature"])
def test_an_approver_may_write_their_address_in_any_spelling(identity: str) -> None:
    rules = Approvals.model_validate({"identity": identity, "approvers": [ANN], "signers": {SHOUTED: KEY}})
    assert flaws(SHOUTED, rules, Given("c1", ANN, job=True), c1=Signature(ANN)) == ""


def test_the_record_keeps_what_does_not_count() -> None:
    """The history in Git must go on to give the state that the record has."""
    state = recorded(ANN)
    assert look(state, {approval(ANN): "x"}).state == state
    approved = look(state, {approval(ANN): "x"}, Command("approve", BOB))
    assert approved.state == recorded(ANN, BOB)
    assert approved.sentence == f"{BOB} approves 2.3.0 (1 of 2)"
    assert approved.event
    assert approved.event.reason == f"{BOB} approves 2.3.0"


def test_an_approval_that_does_not_count_can_be_given_again() -> None:
    approved = look(recorded(ANN), {approval(ANN): "x"}, Command("approve", ANN))
    assert not approved.refused
    assert approved.state == recorded(ANN, ANN)


@drawn(st.sets(st.sampled_from([ANN, BOB, CAT])), st.sets(st.sampled_from([ANN, BOB, CAT])))
def test_what_does_not_count_never_starts_anything(people: set[str], bad: set[str]) -> None:
    decision = look(recorded(*sorted(people)), {approval(one): "x" for one in people & bad})
    assert (decision.kind == "start") == (len(people - bad) >= POLICY.approvals)


def everything(state: RolloutState) -> Iterator[Decision]:
    for kind in ("abort", "rollback", "pause", "retry", "approve", "resume", "promote"):
        yield look(state, {}, Command(kind, ANN))


def test_without_anything_to_discount_it_is_the_plain_machine() -> None:
    for state in (STABLE, recorded(BOB), look(recorded(ANN, BOB), {}).state):
        for decision in everything(state):
            assert decision.answered
            plain = step(POLICY, state, Observation(now=0, target=NEW, commands=(decision.answered,)))
            assert (decision.state, decision.event, decision.refused) == (plain.state, plain.event, plain.refused)
