"""The workflows of `gitops ci`: golden files, the systems' own linters, and what must hold in every one of them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gitops.errors import GitopsError
from gitops.render.ci.actions import ACTIONS
from gitops.render.ci.requirements import requirements
from gitops.render.ci.workflow import (
    FOLDERS,
    PATHS,
    Access,
    CiModel,
    System,
    access_of,
    comment_marker,
    marker,
    render_ci,
)
from gitops.spec.ci import Ci, Wheel
from gitops.view.plan_markdown import marker as plan_marker
from gitops.world.files import read_locked
from tests.render.specs import DIGEST, build_spec, project_templates
from tests.support.actionlint import complaints, gitlab_complaints, script_complaints
from tests.support.tools.tool import Unavailable, skip

GOLDEN = Path(__file__).parent / "golden-ci"
SYSTEMS: tuple[System, ...] = ("github", "gitlab")
UUID = "01234567-89ab-cdef-0123-456789abcdef"


def identity(purpose: str) -> dict[str, Any]:
    return {
        "aws": {"role": f"arn:aws:iam::123456789012:role/gitops-{purpose}", "region": "us-east-1"},
        "gcp": {
            "provider": "projects/123456789/locations/global/workloadIdentityPools/ci-pool/providers/repository",
            "serviceAccount": f"gitops-{purpose}@acme.iam.gserviceaccount.com",
        },
        "azure": {"client": UUID, "tenant": UUID, "subscription": UUID},
    }


FULL: dict[str, Any] = {
    "branch": "trunk",
    "plan": "live",
    "install": "pip install 'gitops-models[aws]==9.9.9'",
    "installSecrets": ["PIP_INDEX_URL"],
    "runner": ["self-hosted", "linux"],
    "writeRunner": ["self-hosted", "apply"],
    "forkRunner": None,
    "image": "registry.acme.example/ci/gitops:7",
    "schedule": "15m",
    "applyEnvironment": "gitops-apply",
    "verify": ["dev"],
    "gpu": {"runner": ["self-hosted", "h100"], "serve": "vllm serve \"$(cat 'models/'$MODEL)\" # it's up: soon"},
    "identities": {purpose: identity(purpose) for purpose in ("plan", "build", "apply")},
}
WHEEL = {"wheel": {"uri": "vendor/gitops_models-1.2.3-py3-none-any.whl", "digest": DIGEST}}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("git@github.com:acme/gitops.git", WHEEL),
    "full": ("ssh://git@git.acme.example:2222/gitops.git", FULL),
    "token": ("https://git.acme.example/acme/gitops.git", {**WHEEL, "schedule": "never", "gpu": {"serve": "run"}}),
    "own": ("https://github.com/acme/models.git", {**WHEEL, "ownRepository": True, "kubeconfig": "ci/kubeconfig.yaml"}),
    "path": ("/srv/git/gitops.git", {**WHEEL, "plan": "live", "schedule": "1h", "verify": ["dev"]}),
}


def spec_of(url: str) -> Any:
    model = {
        "version": "1.0.0",
        "artifact": {"uri": "s3://acme/chat/1.0.0", "digest": DIGEST, "format": "safetensors"},
        "serve": {"runtime": "vllm", "gpu": {"type": "L4"}},
        "route": {"hostnames": ["chat.acme.example"], "path": "/v1/"},
        "rollout": "quick",
    }
    pipeline = {
        "apiVersion": "gitops/v1",
        "name": "acme",
        "repository": {"url": url, "branch": "live"},
        "promotion": ["dev", "production"],
        "models": {"chat": model, "search": {**model, "route": None}},
        "rollouts": {"quick": {"strategy": "rolling"}},
    }
    pool = {"l4": {"instance": "g6.xlarge", "max": 2}}
    zones = ["us-east-1a", "us-east-1b"]
    aws = {"provider": "aws", "region": "us-east-1", "availabilityZones": zones, "nodePools": pool}
    dev = {"provider": "existing", "context": "dev"}
    prometheus = {"prometheus": "http://prometheus:9090"}
    return build_spec(
        pipeline,
        {
            "dev": {"apiVersion": "gitops/v1", "clusters": {"dev": dev}, "monitoring": prometheus},
            "production": {"apiVersion": "gitops/v1", "clusters": {"prod": aws}},
        },
    )


def rendered(case: str, system: System) -> str:
    url, written = CASES[case]
    models = [] if case == "plain" else [CiModel("chat", builds=True, validates=True), CiModel("search", builds=True)]
    ci, templates = Ci.model_validate(written), project_templates().sources
    files = render_ci(system, spec_of(url), ci, templates, models, "1.2.3", read_locked())
    assert next(iter(files)) == PATHS[system]
    return files[PATHS[system]].decode()


def github(case: str) -> dict[str, Any]:
    document = yaml.safe_load(rendered(case, "github"))
    document["on"] = document.pop(True)  # YAML 1.1 reads the key `on` as a boolean
    return document  # type: ignore[no-any-return]


def gitlab(case: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The header with the inputs, and the rest, with `extends` resolved."""
    header, document = yaml.safe_load_all(rendered(case, "gitlab"))
    for name, job in document.items():
        if isinstance(job, dict) and "extends" in job:
            document[name] = {**document[job["extends"]], **job}
    return header, document


def gitlab_jobs(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: job for name, job in document.items() if isinstance(job, dict) and "script" in job}


def steps(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for job in document["jobs"].values():
        yield from job["steps"]


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("system", SYSTEMS)
def test_workflows_are_the_expected_ones(case: str, system: System) -> None:
    golden = GOLDEN / f"{case}.{system}.yml"
    text = rendered(case, system)
    if os.environ.get("UPDATE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text()
    assert text.startswith(marker(system))
    assert "\0" not in text


def test_pip_installs_what_builds_gates_and_signatures_need() -> None:
    spec = build_spec(
        {
            "apiVersion": "gitops/v1",
            "name": "acme",
            "repository": {"url": "git@github.com:acme/gitops.git"},
            "promotion": ["dev"],
            "models": {
                "chat": {
                    "version": "1.0.0",
                    "artifact": {"uri": "gs://acme/chat/1.0.0", "digest": DIGEST, "format": "safetensors"},
                    "validate": {"golden": "validation/chat.yaml"},
                    "serve": {"runtime": "custom", "image": "registry.acme.example/chat:1"},
                    "rollout": "quick",
                }
            },
            "rollouts": {"quick": {"strategy": "rolling"}},
            "signatures": {"keys": ["keys/release.pub"]},
        },
        {"dev": {"apiVersion": "gitops/v1", "clusters": {"dev": {"provider": "existing", "context": "dev"}}}},
    )
    models = [CiModel("chat", builds=True, validates=True)]
    ci, templates, locked = Ci.model_validate(WHEEL), project_templates().sources, read_locked()
    texts = {one: render_ci(one, spec, ci, templates, models, "1.2.3", locked) for one in SYSTEMS}
    for system, files in texts.items():
        listed = files[f"{FOLDERS[system]}/requirements.txt"].decode()
        assert listed.startswith(
            f"{marker(system)}\n./vendor/gitops_models-1.2.3-py3-none-any.whl \\\n    --hash={DIGEST}\n"
        )
        names = {re.split("[=;]", line)[0] for line in listed.splitlines()[3:] if not line.startswith(" ")}
        assert {"pydantic", "gcsfs", "cryptography", "scipy", "six"} <= names
        assert not {"s3fs", "adlfs", "sigstore", "gitops-models"} & names
        assert f"--require-hashes --no-deps --no-build-isolation --requirement {FOLDERS[system]}" in str(
            files[PATHS[system]]
        )
    document = yaml.safe_load(texts["github"][PATHS["github"]])
    keys = {name: job for name, job in document["jobs"].items() if "GITOPS_SIGNING_KEY" in str(job)}
    assert list(keys) == ["sign"], "the key is where no model and no training code runs"
    assert keys["sign"]["runs-on"] == ["ubuntu-24.04"]
    assert document["jobs"]["apply"]["needs"] == "sign"
    assert document["jobs"]["register"]["runs-on"] == ["self-hosted", "gpu-register"]


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_package_is_installed_by_its_hash(system: System) -> None:
    locked = read_locked()
    for extras in [[], list(locked.extras)]:
        for data in requirements(Wheel.model_validate(WHEEL["wheel"]), locked, extras).values():
            blocks = re.split(r"\n(?=\S)", data.decode().strip())
            assert [block for block in blocks if "--hash=sha256:" not in block] == []
            assert all("==" in block or ".whl" in block for block in blocks)
    assert set(locked.extras) >= {"", "s3", "gs", "az", "hf", "oci", "mlflow", "sign", "sigstore", "validation"}


def test_nothing_is_installed_by_an_unclaimed_name() -> None:
    with pytest.raises(GitopsError, match="nothing says where the runners get gitops from") as error:
        render_ci(
            "github", spec_of("git@github.com:acme/gitops.git"), Ci(), project_templates().sources, locked=read_locked()
        )
    assert error.value.where == "pipeline.yaml: ci"
    for case in CASES:
        for system in SYSTEMS:
            assert not re.search(
                "pip install (?!--require-hashes)'?gitops", rendered(case, system).replace(FULL["install"], "")
            )


def test_nothing_of_a_fork_runs_on_a_runner_of_yours() -> None:
    same = "head.repo.full_name == github.repository"
    for case in CASES:
        for name, job in github(case)["jobs"].items():
            if "pull_request'" in str(job.get("if", "")) and job["runs-on"] != "ubuntu-24.04":
                assert same in job["if"], (case, name)
        for name, job in gitlab(case)[1].items():
            rules = str(job.get("rules", "")) if isinstance(job, dict) else ""
            if "merge_request_event" in rules and name != "workflow":
                assert "$CI_MERGE_REQUEST_SOURCE_PROJECT_ID == $CI_PROJECT_ID" in rules, (case, name)


def test_what_may_write_runs_on_other_runners_than_pull_requests() -> None:
    jobs = github("full")["jobs"]
    shared = {str(job["runs-on"]) for job in jobs.values() if "WRITE" not in str(job)}
    trusted = {str(job["runs-on"]) for job in jobs.values() if "WRITE" in str(job)}
    assert trusted == {"['self-hosted', 'apply']", "['self-hosted', 'gpu-register']"}
    assert not shared & trusted


# --- GitHub --------------------------------------------------------------------------------------------------


def test_actionlint_and_shellcheck_have_nothing_to_say(case: str, tmp_path: Path) -> None:
    workflow = tmp_path / "gitops.yml"
    workflow.write_text(rendered(case, "github"))
    try:
        assert complaints(workflow) == ""
    except Unavailable as absent:
        skip(absent)


def test_actionlint_is_asked_at_all(tmp_path: Path) -> None:
    workflow = tmp_path / "gitops.yml"
    workflow.write_text(
        rendered("plain", "github").replace("gitops validate", "echo $GITHUB_SHA; echo ${{ github.no }}")
    )
    try:
        said = complaints(workflow)
    except Unavailable as absent:
        skip(absent)
    assert "SC2086" in said
    assert 'property "no" is not defined' in said


WRITERS = ("register", "apply", "reconcile", "forward", "back")
"""Jobs that may write to the GitOps repository."""


def test_what_has_to_be_registered_is_so_before_anything_is_applied(case: str) -> None:
    jobs = github(case)["jobs"]
    assert ("register" in jobs) == ("model" in jobs)
    if "register" in jobs:
        assert jobs["apply"]["needs"] == "register"
        assert jobs["register"]["if"] == jobs["apply"]["if"]
        assert jobs["register"]["runs-on"] != jobs["model"]["runs-on"], "a pull request runs what it likes there"
        assert jobs["register"]["environment"] == jobs["apply"]["environment"]


def test_every_action_is_pinned_by_its_commit(case: str) -> None:
    used = [step["uses"] for step in steps(github(case)) if "uses" in step]
    assert used
    for use in used:
        name, _, commit = use.partition("@")
        assert commit == ACTIONS[name].commit
        assert re.fullmatch(r"[0-9a-f]{40}", commit)
    for line in rendered(case, "github").splitlines():
        assert "uses:" not in line or re.search(r"@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line)


def test_no_script_holds_an_expression(case: str) -> None:
    for step in steps(github(case)):
        assert "${{" not in step.get("run", "")


def test_every_job_says_what_it_may_do_and_for_how_long(case: str) -> None:
    document = github(case)
    assert document["permissions"] == {}
    for name, job in document["jobs"].items():
        assert job["timeout-minutes"] > 0
        allowed = dict(job["permissions"])
        assert (allowed.pop("pull-requests", "") == "write") == (name == "comment")
        assert (allowed.pop("id-token", "") == "write") == any(
            step.get("uses", "").startswith(("aws-actions/", "google-github-actions/", "azure/"))
            for step in job["steps"]
        )
        writes = case == "own" and name in WRITERS
        assert allowed == ({} if name == "comment" else {"contents": "write" if writes else "read"})


def test_what_has_a_token_to_write_checks_nothing_out_of_a_pull_request(case: str) -> None:
    jobs = github(case)["jobs"]
    assert [step.get("uses", "").partition("@")[0] for step in jobs["comment"]["steps"]] == [
        "actions/download-artifact",
        "",
    ]
    for name, job in jobs.items():
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout"):
                assert step["with"]["persist-credentials"] is False
            if "WRITE" in str(step) or ("GITOPS_PROMETHEUS" in str(step) and name != "plan"):
                assert name in WRITERS


def test_nothing_with_secrets_runs_for_a_fork(case: str) -> None:
    document = github(case)
    assert "pull_request_target" not in document["on"]
    for name, job in document["jobs"].items():
        secret = re.findall(r"secrets\.(\w+)", str({**job, "if": ""}))
        if name in ("comment", "model"):
            assert job["needs"] == "plan"
        elif name == "plan":
            assert "head.repo.full_name == github.repository" in job["if"]
            assert "dependabot[bot]" in job["if"]
        elif name == "validate":
            assert set(secret) <= {"PIP_INDEX_URL"}
        else:
            branch = "trunk" if case == "full" else "main"
            assert f"github.ref == 'refs/heads/{branch}'" in job["if"]
            assert "pull_request" not in job["if"]


def test_only_jobs_of_pull_requests_restore_a_cache_and_are_cancelled(case: str) -> None:
    for name, job in github(case)["jobs"].items():
        cached = any("cache" in step.get("with", {}) for step in job["steps"])
        assert not cached or name in ("validate", "plan")
        concurrency = job.get("concurrency", {})
        if name in ("validate", "plan", "comment", "model"):
            assert concurrency["cancel-in-progress"] is True
            assert "pull_request.number" in concurrency["group"]
        elif name in ("register", "apply", "reconcile"):
            assert concurrency == {"group": f"gitops-{name}", "cancel-in-progress": False}
        else:
            assert not concurrency, "a job that waits for its turn can be dropped by the next"


def test_what_plans_against_the_history_of_the_spec_has_it(case: str) -> None:
    for name, job in github(case)["jobs"].items():
        depths = [step["with"].get("fetch-depth", 1) for step in job["steps"] if "checkout" in step.get("uses", "")]
        assert depths == ([] if name == "comment" else [1] if name in ("validate", "model") else [0])


def test_going_back_runs_where_no_reviewer_can_hold_it() -> None:
    jobs = github("full")["jobs"]
    assert jobs["apply"]["environment"] == {"name": "gitops-apply"}
    assert jobs["forward"]["environment"] == {"name": "${{ inputs.environment }}", "deployment": False}
    assert jobs["back"]["environment"] == jobs["reconcile"]["environment"] == {"name": "gitops", "deployment": False}


@pytest.mark.parametrize(
    ("schedule", "cron"),
    [("never", None), ("5m", "2-59/5 * * * *"), ("30m", "2-59/30 * * * *"), ("1h", "2 * * * *")],
)
def test_the_schedule_becomes_a_cron_line(schedule: str, cron: str | None) -> None:
    ci = Ci.model_validate({**WHEEL, "schedule": schedule})
    [data] = list(
        render_ci("github", spec_of("git@h:r"), ci, project_templates().sources, locked=read_locked()).values()
    )[:1]
    found = yaml.safe_load(data)[True].get("schedule")
    assert found == ([{"cron": cron}] if cron else None)


def test_gpu_jobs_exist_for_models_that_declare_them() -> None:
    assert "model" not in github("plain")["jobs"]
    job = github("full")["jobs"]["model"]
    by_name = {step.get("name", ""): step for step in job["steps"]}
    assert '["chat", "search"]' in by_name["Build"]["if"]
    assert '["chat"]' in by_name["Check"]["if"]
    assert by_name["Check"]["env"]["SERVE"] == FULL["gpu"]["serve"]
    assert (
        github("full")["jobs"]["reconcile"]["steps"][-1]["env"]["ENDPOINTS"]
        == '{"dev/chat": "https://chat.acme.example/v1"}'
    )


# --- GitLab --------------------------------------------------------------------------------------------------


def test_gitlabs_own_schema_accepts_both_documents(case: str) -> None:
    try:
        for document in yaml.safe_load_all(rendered(case, "gitlab")):
            assert list(gitlab_complaints(document)) == []
        assert list(gitlab_complaints({"job": {"script": 5}}))
    except Unavailable as absent:
        skip(absent)


def test_shellcheck_accepts_every_gitlab_script(case: str) -> None:
    try:
        for name, job in gitlab_jobs(gitlab(case)[1]).items():
            # The runner joins them into one script, too.
            lines = [*job.get("before_script", []), *job["script"]]
            assert script_complaints("set -eo pipefail\n" + "\n".join(lines)) == "", name
    except Unavailable as absent:
        skip(absent)


def test_gitlab_inputs_reach_scripts_between_quotes_alone(case: str) -> None:
    """Not as variables: whoever runs a pipeline gives it variables, and those outrank a job's."""
    header, document = gitlab(case)
    for job in gitlab_jobs(document).values():
        assert "$[[" not in re.sub(r"'[^'$]*(\$\[\[ inputs\.\w+ \]\][^'$]*)+'", "", str(job["script"]))
        assert "$[[" not in str(job.get("variables", {}))
    for name, declared in header["spec"]["inputs"].items():
        assert "options" in declared or "regex" in declared, name


@pytest.mark.parametrize("value", ["$(id)", "a b", "chat;id", "--yes", "${X}", "chat\nid"])
def test_gitlab_inputs_take_names_only(value: str) -> None:
    inputs = gitlab("plain")[0]["spec"]["inputs"]
    for name in ("model", "version"):
        assert not re.fullmatch(inputs[name]["regex"], value)
    assert re.fullmatch(inputs["model"]["regex"], "support-chat")
    for version in ("2.3.0-rc.1", "2.3.0-R3f2a91"):
        assert re.fullmatch(inputs["version"]["regex"], version)


def test_gitlab_jobs_of_merge_requests_are_not_for_forks_and_the_others_for_the_default_branch(case: str) -> None:
    document = gitlab(case)[1]
    branch = "trunk" if case == "full" else "main"
    for job in gitlab_jobs(document).values():
        assert job["timeout"]
        conditions = [rule["if"] for rule in job["rules"]]
        assert conditions
        for condition in conditions:
            if "merge_request_event" in condition:
                assert "$CI_MERGE_REQUEST_SOURCE_PROJECT_ID == $CI_PROJECT_ID" in condition
                assert "WRITE" not in str(job)
            else:
                assert (
                    f'$CI_COMMIT_BRANCH == "{branch}"' in condition or condition == '$CI_PIPELINE_SOURCE == "schedule"'
                )
                assert "cache" not in job
    assert document["apply"]["resource_group"] == "gitops-apply"
    assert document["reconcile"]["resource_group"] == "gitops-reconcile"


def test_gitlab_identities_are_tokens_of_the_job() -> None:
    jobs = gitlab("full")[1]
    for name, purpose in (("plan", "plan"), ("model chat", "build"), ("apply", "apply"), ("back", "apply")):
        assert set(jobs[name]["id_tokens"]) == {"GITOPS_AWS_TOKEN", "GITOPS_GCP_TOKEN", "GITOPS_AZURE_TOKEN"}
        assert f"role/gitops-{purpose} " in jobs[name]["before_script"][1]
    assert "id_tokens" not in gitlab("plain")[1]["apply"]


def test_gitlab_signs_who_asks_for_what_goes_forward() -> None:
    document = gitlab("plain")[1]
    assert document["forward"]["id_tokens"]["GITOPS_JOB_TOKEN"]["aud"].startswith("gitops-")
    others = {name for name, job in gitlab_jobs(document).items() if "GITOPS_JOB_TOKEN" in job.get("id_tokens", {})}
    assert others == {"forward"}


# --- Both ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "kind", "host"),
    [
        ("git@github.com:acme/gitops.git", "ssh", ""),
        ("ssh://git@host:22/gitops.git", "ssh", ""),
        ("https://github.com/acme/gitops.git", "https", "https://github.com"),
        ("https://user@git.acme.example:8443/x.git", "https", "https://git.acme.example:8443"),
        ("/srv/gitops.git", "path", ""),
        ("file:///srv/gitops.git", "path", ""),
    ],
)
def test_the_repositorys_url_says_how_to_reach_it(url: str, kind: str, host: str) -> None:
    assert access_of(url) == Access(kind, host)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "given_ci", "says"),
    [
        (".gitops/repository.git", {}, "every job of CI would start with an empty one"),
        ("git@github.com:a/b.git", {"ownRepository": True}, "over HTTPS alone"),
        ("https://github.com/a/b.git", {**WHEEL, "ownRepository": True, "branch": "live"}, "every commit is applied"),
        ("git@github.com:a/b.git", {"verify": ["staging"]}, "no environment staging"),
        ("git@github.com:a/b.git", {"verify": ["production"]}, "the model has no route"),
    ],
)
def test_what_cannot_work_in_ci_is_refused_with_what_to_do(url: str, given_ci: dict[str, Any], says: str) -> None:
    models = [CiModel("search", validates=True)]
    with pytest.raises(GitopsError, match=says) as error:
        render_ci("github", spec_of(url), Ci.model_validate(given_ci), project_templates().sources, models)
    assert error.value.where
    assert error.value.hint


def test_commands_hold_no_expression_of_a_ci_system() -> None:
    for command in ("echo ${{ secrets.KEY }}", "echo $[[ inputs.x ]]"):
        with pytest.raises(ValueError, match="does not work here"):
            Ci.model_validate({"install": command})


@given(st.from_regex(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", fullmatch=True))
def test_the_marker_is_that_of_the_plan(name: str) -> None:
    assert comment_marker(name) == plan_marker(name)


@settings(max_examples=25)
@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=60))
def test_any_command_arrives_as_it_was_written(command: str) -> None:
    if "${{" in command or "$[[" in command:
        return
    ci = Ci.model_validate({"install": command, "gpu": {"serve": command}})
    models = [CiModel("chat", validates=True)]
    sources = project_templates().sources
    [data] = render_ci("github", spec_of("git@h:r"), ci, sources, models).values()
    jobs = yaml.safe_load(data)["jobs"]
    assert {step["run"] for step in jobs["model"]["steps"] if step.get("name") == "Install gitops"} == {command}
    assert jobs["model"]["steps"][-1]["env"]["SERVE"] == command
