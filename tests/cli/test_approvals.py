"""Who may approve, promote and hotfix: real commits, real keys, forged records, and what CI says of a job."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gitops.cli import rollout
from gitops.errors import GitopsError
from gitops.rollout.approvals import Subject, words_of
from gitops.rollout.release import dump_release, parse_release
from gitops.rollout.state import Approval, Candidate, ModelVersion
from gitops.spec.frozen import dump_model, runs_of
from gitops.spec.load import load_spec
from gitops.values import UnitKey
from gitops.world.files import read_project
from gitops.world.git.signatures import sign
from tests.cli.small import DEV, release_chat, repository, small_project
from tests.support import gitlab
from tests.support.project import Outcome, Project, run_git
from tests.world.git.repositories import need, sh

ANN, BOB, CAT = "ann@acme.example", "bob@acme.example", "cat@acme.example"
RECORD = "releases/dev/chat.yaml"
DIGEST = f"sha256:{'c' * 64}"
OUTSIDE = {"GITHUB_ACTIONS": "", "GITLAB_CI": ""}
GITHUB = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_ACTOR": "ann",
    "GITHUB_TRIGGERING_ACTOR": "ann",
    "GITHUB_EVENT_NAME": "workflow_dispatch",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "acme/models",
    "GITHUB_RUN_ID": "4711",
    "GITHUB_RUN_ATTEMPT": "2",
}
GITLAB = {
    "GITLAB_CI": "true",
    "GITLAB_USER_LOGIN": "ann",
    "CI_PIPELINE_SOURCE": "web",
    "CI_JOB_URL": "https://gitlab.com/acme/models/-/jobs/4711",
}


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose models are released, with keys of three people; to be copied."""
    need("ssh-keygen")
    project = small_project(tmp_path_factory.mktemp("approvals") / "project", production=False)
    keys = project.path / "keys"
    keys.mkdir()
    for name in ("ann", "bob", "cat"):
        sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"{name}@laptop", "-f", keys / name)
    project.gitops("apply", "--yes")
    return project.path


@pytest.fixture
def project(released: Path, tmp_path: Path) -> Project:
    """A copy in which the spec names a new version of chat."""
    shutil.copytree(released, tmp_path / "project")
    project = Project(tmp_path / "project", OUTSIDE)
    release_chat(project)
    return project


def rules(project: Project, text: str, more: str = "") -> None:
    """Give dev these approvals."""
    (project.path / "environments" / "dev.yaml").write_text(f"{DEV}approvals: {text}\n{more}")


def signers(project: Project, *names: str, required: int = 1) -> None:
    """Only signed approvals of these people count."""
    people = [f"{name}@acme.example" for name in names]
    keys = [(project.path / "keys" / f"{name}.pub").read_text().strip() for name in names]
    signed = "".join(f"\n    {person}: {key}" for person, key in zip(people, keys, strict=True))
    who = ", ".join(people)
    rules(project, f"\n  required: {required}\n  approvers: [{who}]\n  identity: signature\n  signers:{signed}")


def sign_with(project: Project, name: str) -> None:
    """From now on commits are signed with this person's key."""
    text = (project.path / "pipeline.yaml").read_text()
    if "signing" not in text:
        text += "repository: {signing: {sshKey: keys/me}}\n"
        (project.path / "pipeline.yaml").write_text(text)
    shutil.copy(project.path / "keys" / name, project.path / "keys" / "me")


def act(project: Project, *command: str, by: str = "", expect: int = 0, env: Mapping[str, str] = OUTSIDE) -> Outcome:
    """Run a command about dev/chat as this person of Git, with these variables."""
    whoever = {"GIT_AUTHOR_EMAIL": by} if by else {}
    return Project(project.path, {**OUTSIDE, **whoever, **env}).gitops(*command, "dev/chat", expect=expect)


def passed(project: Project, env: Mapping[str, str] = OUTSIDE) -> Any:
    """What one pass decides about dev/chat."""
    document = Project(project.path, env).gitops("reconcile", "--format", "json").json
    return next((one for one in document["decisions"] if one["unit"] == "dev/chat"), None)


def holds(project: Project) -> str:
    """The sentence of dev/chat's hold, which there must be."""
    decision = passed(project)
    assert decision["decision"] == "hold", decision
    return str(decision["sentence"])


class Clone:
    """Somebody who may push, with plain git."""

    def __init__(self, project: Project) -> None:
        self.project, self.path = project, project.path / "clone"
        self.keys = project.path / "keys"
        run_git(project.path, "clone", "-q", str(repository(project, embedded=False)), str(self.path))

    def write_approval(self, by: str, digest: str = DIGEST, *, rejected: bool = True) -> None:
        """Write an approval into the record; without `rejected`, take back that the version is rejected."""
        record = self.path / RECORD
        release = parse_release(record.read_bytes(), RECORD)
        kept = release.rejected if rejected else ()
        record.write_bytes(
            dump_release(
                replace(
                    release, approvals=(*release.approvals, Approval(digest, by, runs(self.project))), rejected=kept
                )
            )
        )

    def write_candidate(self) -> None:
        """Write into the record that the version of the spec is on its way."""
        record, path = self.path / RECORD, self.project.path
        release, read = parse_release((self.path / RECORD).read_bytes(), RECORD), read_project(path)
        model = load_spec(read.pipeline, read.environments).models[UnitKey("dev", "chat")]
        going = Candidate(ModelVersion("1.1.0", DIGEST), "starting", scale=100, started=0, since=0, entered=0)
        models = {**release.models, "1.1.0": dump_model(model)}
        record.write_bytes(dump_release(replace(release, candidate=going, kept=(), models=models)))

    def push(self, message: str, key: str = "") -> str:
        """Commit whatever changed, signed with somebody's key if one is named, and push; the commit."""
        signing = ("-c", "gpg.format=ssh", "-c", f"user.signingkey={self.keys / key}") if key else ()
        run_git(self.path, *signing, "commit", "-q", "-a", "--allow-empty", "-m", message, *(("-S",) if key else ()))
        run_git(self.path, "push", "-q")
        return run_git(self.path, "rev-parse", "HEAD").strip()


def runs(project: Project) -> str:
    """The digest over everything that pods of the spec's chat run."""
    read = read_project(project.path)
    return runs_of(load_spec(read.pipeline, read.environments).models[UnitKey("dev", "chat")])


def signed_words(project: Project, key: str, repository: str = "") -> dict[str, str]:
    """The trailers of a signed approval of ann's by this key; by default for this repository."""
    where = project.path / "clone"
    root = repository or run_git(where, "rev-list", "--max-parents=0", "HEAD").strip()
    about = Subject(root, "acme", UnitKey("dev", "chat"), "1.1.0", DIGEST, runs(project))
    nonce = f"{key}-{repository}"
    return {"Nonce": nonce, "Signed": sign(words_of(about, ANN, nonce), project.path / "keys" / key)}


def approval_message(project: Project, by: str, **more: str) -> str:
    """Exactly what `gitops approve` would write."""
    words = {"Rollout": "01HX", "Model": "chat", "Environment": "dev", "Version": "1.1.0", "Digest": DIGEST}
    words["Runs"] = runs(project)
    words |= {"Previous-Version": "1.0.0", "Weight": "0", "Decision": "approve", "By": by, "Reason": "approves"}
    trailers = "\n".join(f"{key}: {value}" for key, value in {**words, **more, "Time": "2026-01-01T00:00:00Z"}.items())
    return f"rollout(dev/chat): {by} approves 1.1.0\n\napproves\n\n{trailers}"


# --- Signatures ----------------------------------------------------------------------------------------------


def test_two_signed_approvals_start_a_version(project: Project) -> None:
    signers(project, "ann", "bob", "cat", required=2)
    assert holds(project) == "1.1.0 waits for approval: 0 of 2"
    sign_with(project, "ann")
    # The name in Git's configuration is nobody's proof: the key says who it is.
    assert f"{ANN} approves 1.1.0 (1 of 2)" in act(project, "approve", by=CAT).out
    assert "cannot approve 1.1.0 (again)" in act(project, "approve", expect=1).err
    assert holds(project) == f"1.1.0 waits for approval: 1 of 2 ({ANN})"
    sign_with(project, "bob")
    assert f"{BOB} approves 1.1.0 (2 of 2)" in act(project, "approve").out
    # Whoever makes the pass needs no key of an approver.
    sign_with(project, "cat")
    assert passed(project)["decision"] == "start"


def test_what_is_forged_does_not_count_and_the_hold_says_why(project: Project) -> None:
    signers(project, "ann", "bob")
    thief = Clone(project)
    thief.write_approval(ANN)
    thief.push("release: nothing to see here")
    by_hand = f"1.1.0 waits for approval: 0 of 1; not counted: {ANN} has approved by no commit"
    assert holds(project) == f"{by_hand}: the record was edited by hand"
    unsigned = thief.push(approval_message(project, ANN))
    assert f"{ANN} approved by commit {unsigned[:10]}, which carries no signed approval" in holds(project)
    # Ann's key under a commit that somebody else has written: she signed the commit, and nothing of what is in it.
    picked = thief.push(approval_message(project, ANN), key="ann")
    assert f"{ANN} approved by commit {picked[:10]}, which carries no signed approval" in holds(project)
    elsewhere = signed_words(project, "ann", repository="0" * 40)
    other = thief.push(approval_message(project, ANN, **elsewhere))
    assert f"commit {other[:10]}, which is signed for something else" in holds(project)
    by_bob = thief.push(approval_message(project, ANN, **signed_words(project, "bob")))
    assert f"{ANN} approved by commit {by_bob[:10]}, which is signed by {BOB}" in holds(project)
    by_cat = thief.push(approval_message(project, ANN, **signed_words(project, "cat")))
    assert f"commit {by_cat[:10]}, which is signed by a key that approvals.signers does not have" in holds(project)
    # What the record holds stays as it is, and the real approval counts beside it.
    sign_with(project, "ann")
    act(project, "approve")
    assert passed(project)["decision"] == "start"


def test_plan_apply_and_status_believe_nothing_that_was_forged(project: Project) -> None:
    signers(project, "ann")
    thief = Clone(project)
    thief.write_approval(ANN)
    thief.push("release: nothing to see here")
    project.gitops("apply", "--yes")
    assert "the record was edited by hand" in holds(project)
    (waiting,) = project.gitops("plan", "--format", "json").json["waiting"]
    assert "the record was edited by hand" in waiting["reason"]
    assert "waits for approval: 0 of 1; not counted" in project.gitops("status").out
    sign_with(project, "ann")
    act(project, "approve")
    project.gitops("apply", "--yes")
    assert passed(project)["decision"] != "hold"


def test_apply_starts_no_forged_successor_of_what_is_under_way(project: Project) -> None:
    """One apply goes back from the version that the spec has left, and would start the next one as well."""
    signers(project, "ann")
    sign_with(project, "ann")
    act(project, "approve")
    assert passed(project)["decision"] == "start"
    project.edit("pipeline.yaml", "version: 1.1.0", "version: 1.2.0")
    project.edit("pipeline.yaml", DIGEST, f"sha256:{'d' * 64}")
    thief = Clone(project)
    thief.write_approval(ANN, f"sha256:{'d' * 64}")
    thief.push("release: nothing to see here")
    project.gitops("apply", "--yes")
    assert "1.2.0 waits for approval: 0 of 1" in holds(project)


def test_a_candidate_that_is_written_into_the_record_goes_back(project: Project) -> None:
    """With a block as the machine writes it; and with the commit that starts it, but without an approval."""
    signers(project, "ann")
    thief = Clone(project)
    thief.write_candidate()
    thief.push("release: nothing to see here")
    decision = passed(project)
    assert decision["decision"] == "roll-back"
    assert "no commit has started it" in decision["sentence"]
    assert holds(project).startswith("1.1.0 waits for approval: 0 of 1")
    run_git(thief.path, "pull", "-q")
    thief.write_candidate()
    words = {"Scale": "100", "Phase": "starting", "Decision": "start", "Reason": "1.1.0 to replace 1.0.0"}
    thief.push(approval_message(project, ANN, **words))
    decision = passed(project)
    assert decision["decision"] == "roll-back"
    assert "0 of 1 approvals that count" in decision["sentence"]


def test_a_hand_made_approval_that_is_signed_is_as_good_as_ours(project: Project) -> None:
    """The signature over the words is what counts: neither the program that asked for it nor who made the commit."""
    signers(project, "ann")
    ann = Clone(project)
    ann.write_approval(ANN)
    ann.push(approval_message(project, ANN, **signed_words(project, "ann")))
    assert passed(project)["decision"] == "start"


def test_an_approval_is_counted_by_the_rules_of_today(project: Project) -> None:
    signers(project, "ann", "bob")
    sign_with(project, "ann")
    act(project, "approve")
    signers(project, "bob")
    assert holds(project).endswith(f"0 of 1; not counted: {ANN} is none of the approvers")
    signers(project, "ann")
    project.edit("environments/dev.yaml", (project.path / "keys/ann.pub").read_text().strip(), public(project, "cat"))
    assert "signed by a key that approvals.signers does not have" in holds(project)


def public(project: Project, name: str) -> str:
    return (project.path / "keys" / f"{name}.pub").read_text().strip()


def test_an_approval_that_was_used_up_cannot_be_written_back(project: Project) -> None:
    signers(project, "ann")
    sign_with(project, "ann")
    act(project, "approve")
    assert passed(project)["decision"] == "start"
    act(project, "abort")
    thief = Clone(project)
    thief.write_approval(ANN, rejected=False)
    thief.push("as if nothing had happened")
    assert holds(project).endswith(f"{ANN} has approved by no commit: the record was edited by hand")


RANK = """  rank:
    version: 1.0.0
    artifact: {{uri: s3://acme-models/rank/1.0.0, digest: "sha256:{digest}", format: onnx}}
    serve: {{runtime: custom, image: "registry.acme.ai/rank:1.0.0", resources: {{cpu: 1, memory: 1Gi}}, loadTime: 3s}}
    rollout: quick
"""


def test_a_first_release_waits_for_a_signed_approval(project: Project) -> None:
    signers(project, "ann")
    text = (project.path / "pipeline.yaml").read_text()
    (project.path / "pipeline.yaml").write_text(text.replace("models:\n", f"models:\n{RANK.format(digest='e' * 64)}"))
    project.gitops("apply", "--yes", expect=(0, 2))
    assert "1.0.0 waits: not approved yet, 0 of 1 (gitops approve dev/rank" in project.gitops("status").out
    assert "no key is set to sign with" in project.gitops("approve", "dev/rank", expect=1).err
    sign_with(project, "ann")
    assert f"{ANN} approves 1.0.0 (1 of 1)" in project.gitops("approve", "dev/rank").out
    assert "cannot approve 1.0.0 (again)" in project.gitops("approve", "dev/rank", expect=1).err
    project.gitops("apply", "--yes", expect=(0, 2))
    there = run_git(repository(project, embedded=False), "ls-tree", "-r", "--name-only", "main").split()
    assert "releases/dev/rank.yaml" in there
    assert not [path for path in there if path.startswith("approvals/")]


def test_without_a_usable_key_nobody_approves(project: Project) -> None:
    signers(project, "ann", "bob")
    refused = act(project, "approve", by=ANN, expect=1).err
    assert "repository.signing.sshKey" in refused
    assert "no key is set to sign with" in refused
    sign_with(project, "cat")
    refused = act(project, "approve", by=ANN, expect=1).err
    assert "this key belongs to nobody in approvals.signers" in refused
    assert f"sign with the key of one of {ANN}, {BOB}" in refused
    (project.path / "keys" / "me").unlink()
    assert "the signing key cannot be read" in act(project, "approve", expect=1).err
    assert holds(project) == "1.1.0 waits for approval: 0 of 1"


def test_the_embedded_world_has_no_keys_and_believes_git(project: Project) -> None:
    release = (project.path / "pipeline.yaml").read_text()
    (project.path / "pipeline.yaml").write_text(release.replace("1.1.0", "1.0.0").replace("c" * 64, "a" * 64))
    project.gitops("apply", "--yes", "--embedded")
    (project.path / "pipeline.yaml").write_text(release)
    signers(project, "ann")
    embedded = {"GITOPS_EMBEDDED": "1"}
    refused = act(project, "approve", by=CAT, expect=1, env=embedded).err
    assert f"{CAT} may not approve dev/chat" in refused
    assert "in the embedded world you are who Git says" in refused
    act(project, "approve", by=ANN, env=embedded)
    assert passed(project, embedded)["decision"] == "start"


# --- CI ------------------------------------------------------------------------------------------------------


def test_a_job_of_github_approves_for_the_one_who_started_it(project: Project) -> None:
    rules(project, "{required: 2, identity: ci}")
    again = GITHUB | {"GITHUB_TRIGGERING_ACTOR": "bob"}
    assert "ann approves 1.1.0 (1 of 2)" in act(project, "approve", env=GITHUB).out
    assert holds(project) == "1.1.0 waits for approval: 1 of 2 (ann)"
    # Who runs a job again asks for themselves, not for whoever started it first.
    act(project, "approve", env=again)
    message = run_git(repository(project, embedded=False), "log", "-1", "--format=%B", "main")
    assert "asked in GitHub Actions by bob: https://github.com/acme/models/actions/runs/4711/attempts/2" in message
    assert passed(project)["decision"] == "start"


def test_a_job_of_gitlab_approves_for_the_one_whom_gitlab_names(project: Project) -> None:
    """GITLAB_USER_LOGIN and all the other variables are what whoever runs the pipeline says."""
    rules(project, "{identity: ci, approvers: [ann]}")
    refused = act(project, "approve", expect=1, env=GITLAB).err
    assert "say nothing of who asks" in refused
    assert "pipeline.yaml: ci.gitlab" in refused
    with gitlab.served() as instance:
        (project.path / "pipeline.yaml").write_text(
            f"{(project.path / 'pipeline.yaml').read_text()}"
            f"ci: {{gitlab: {{url: '{instance.url}', project: acme/models}}}}\n"
        )
        for claims, says in (
            ({"user_login": "bob"}, "bob may not approve dev/chat"),
            ({"project_path": "bob/models"}, "this job is of bob/models"),
            ({"pipeline_source": "schedule"}, "nobody asked for this"),
            ({"user_login": "project_7_bot_0a1b"}, "is no person"),
        ):
            token = instance.token(**claims)
            assert says in act(project, "approve", expect=1, env=GITLAB | {"GITOPS_JOB_TOKEN": token}).err
        act(project, "approve", env=GITLAB | {"GITOPS_JOB_TOKEN": instance.token()})
    assert passed(project)["decision"] == "start"


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({}, "no job of GitHub Actions or GitLab CI"),
        ({"GITHUB_ACTOR": "ann", "GITLAB_USER_LOGIN": "ann", "CI": "true"}, "no job of GitHub Actions or GitLab CI"),
        (GITHUB | {"GITHUB_RUN_ID": ""}, "no job of GitHub Actions or GitLab CI"),
        (GITHUB | {"GITHUB_EVENT_NAME": "schedule"}, "nobody asked for this"),
        (GITHUB | {"GITHUB_TRIGGERING_ACTOR": "dependabot[bot]"}, "dependabot[bot] is no person"),
    ],
    ids=["laptop", "half a job", "no run", "schedule", "bot"],
)
def test_outside_of_a_job_that_a_person_started_nobody_approves(
    project: Project, env: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules(project, "{identity: ci}")
    for name in (*GITHUB, *GITLAB):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(GitopsError, match=re.escape(message)) as raised:
        rollout.act(project.path, False, rollout.Asked("approve", "dev/chat"))
    assert raised.value.where.startswith("environments/dev.yaml: approvals.")
    assert "by hand" in raised.value.hint, "it says what to do"


def test_an_approval_from_a_laptop_does_not_count_when_ci_has_to_vouch(project: Project) -> None:
    rules(project, "{identity: any}")
    act(project, "approve", by="ann")
    rules(project, "{identity: ci}")
    assert "0 of 1; not counted: ann approved outside CI, by commit " in holds(project)
    act(project, "approve", env=GITHUB)
    assert passed(project)["decision"] == "start"


# --- Who may go forward --------------------------------------------------------------------------------------


def test_going_forward_is_for_approvers_and_going_back_for_everybody(project: Project) -> None:
    rules(project, f"{{identity: any, approvers: [{ANN}]}}")
    assert f"{BOB} may not approve dev/chat" in act(project, "approve", by=BOB, expect=1).err
    assert f"{BOB} may not promote dev/chat" in act(project, "promote", by=BOB, expect=1).err
    assert "waits for approval: 0 of 1" in act(project, "promote", by=ANN, expect=1).err
    act(project, "approve", by=ANN)
    assert passed(project)["decision"] == "start"
    act(project, "pause", by=BOB)
    assert f"{BOB} may not resume dev/chat" in act(project, "resume", by=BOB, expect=1).err
    act(project, "resume", by=ANN)
    act(project, "abort", by=BOB)
    assert f"{BOB} may not retry dev/chat" in act(project, "retry", by=BOB, expect=1).err
    act(project, "retry", by=ANN)
    assert holds(project) == "1.1.0 waits for approval: 0 of 1", "the version was rejected with its approval"


def test_a_manual_promotion_is_for_approvers(project: Project) -> None:
    rules(project, f"{{identity: any, approvers: [{ANN}]}}", "promotion: manual\n")
    act(project, "approve", by=ANN)
    assert passed(project)["decision"] == "start"
    act(project, "promote", by=ANN)


def test_without_approvers_everybody_goes_forward(project: Project) -> None:
    (project.path / "environments" / "dev.yaml").write_text(f"{DEV}promotion: manual\n")
    assert holds(project) == "1.1.0 waits for a person to promote it"
    assert f"started by {BOB}" in act(project, "promote", by=BOB).out


def test_a_hotfix_has_to_be_allowed(project: Project) -> None:
    refused = act(project, "promote", "--hotfix", by=ANN, expect=1).err
    assert "environments/dev.yaml: hotfix" in refused
    assert "dev takes no hotfixes" in refused
    rules(project, f"{{identity: any, approvers: [{ANN}]}}", "hotfix: allowed\n")
    assert f"{BOB} may not promote dev/chat" in act(project, "promote", "--hotfix", by=BOB, expect=1).err
    # A hotfix goes past other environments, never past the people who have to agree.
    assert "waits for approval: 0 of 1" in act(project, "promote", "--hotfix", by=ANN, expect=1).err
