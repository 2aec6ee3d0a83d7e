"""`gitops check`: gates against a real endpoint, what is printed, what is written, and the exit code."""

import hashlib
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import yaml

from gitops.cli.check import check
from gitops.errors import GitopsError
from gitops.plan.stored import Stored
from gitops.rollout.registration import BuiltStage, Registration, dump_registration, registration_path
from gitops.spec.load import load_spec
from gitops.spec.resolved import Spec
from gitops.values import UnitKey
from gitops.world.files import example_files, read_project
from gitops.world.places import repository_at
from tests.cli.small import DEV
from tests.stages.endpoint import MODEL, Server
from tests.stages.test_served import samples
from tests.support.project import ROOT

UNIT = f"dev/{MODEL}"
CASES = """apiVersion: gitops/v1
cases:
  capital: {prompt: the capital, expect: {contains: [Paris]}}
"""
BENCHMARK = {"concurrency": 2, "warmUp": "0s", "duration": "1s", "maxLatencyP99": "30s"}


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(answers={"capital": "It is Paris."}, token_delay=0.01) as running:
        yield running


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The example, whose model has a golden file."""
    for path, data in example_files().items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    (tmp_path / "validation").mkdir(exist_ok=True)
    (tmp_path / "validation/cases.yaml").write_text(CASES)
    declare(tmp_path, {"golden": "validation/cases.yaml"})
    return tmp_path


def declare(project: Path, validate: dict[str, Any] | None) -> None:
    path = project / "pipeline.yaml"
    spec = yaml.safe_load(path.read_text())
    spec["models"][MODEL].pop("validate", None)
    if validate is not None:
        spec["models"][MODEL]["validate"] = validate
    path.write_text(yaml.safe_dump(spec))


def test_all_gates_pass(project: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    declare(project, {"golden": "validation/cases.yaml", "benchmark": BENCHMARK})
    assert check(project, UNIT, server.url, output=project / "out") == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == ["loads: pass (2 of 2)", "golden: pass (1 of 1)", "benchmark: pass (2 of 2)"]
    data = (project / "out/report.json").read_bytes()
    assert f"sha256:{hashlib.sha256(data).hexdigest()}" in printed.err
    document = json.loads(data)
    assert document["passed"] is True
    assert document["subject"]["unit"] == UNIT
    assert document["benchmark"]["timeline"][0]["answers"] > 0
    assert (project / "out/latency.svg").read_bytes().startswith(b"<?xml")


def test_a_gate_says_no(project: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.answers["capital"] = "It is\x1b[31m Rome."
    assert check(project, UNIT, server.url) == 2
    out = capsys.readouterr().out
    assert 'capital: expected "Paris", got "It is' in out
    assert "\x1b" not in out
    assert not (project / "out").exists()


def test_as_json(project: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(project, UNIT, server.url, only=["golden"], form="json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["kind"] == "ValidationReport"
    assert [gate["gate"] for gate in document["gates"]] == ["golden"]


def test_a_model_that_is_not_ready_is_asked_nothing_else(
    project: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.healthy = False
    assert check(project, UNIT, server.url) == 2
    assert "golden: nothing was checked" in capsys.readouterr().out
    assert not server.questions


def test_nothing_listens(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(project, UNIT, "http://127.0.0.1:1") == 1
    printed = capsys.readouterr()
    assert "nothing answers there: Connection refused" in printed.err
    assert "loads: nothing was checked" in printed.out


def test_a_baseline_is_saved_and_held_to(project: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    declare(project, {"golden": "validation/cases.yaml", "benchmark": BENCHMARK})
    saved = project / "base.json"
    assert check(project, UNIT, server.url, only=["benchmark"], save_baseline=saved) == 0
    document = json.loads(saved.read_bytes())
    for factor, codes in ((1000, {0}), (0.001, {1, 2})):
        figures = {
            name: value / factor if name.endswith("per-second") else value * factor
            for name, value in document["figures"].items()
        }
        saved.write_text(json.dumps({**document, "figures": figures}))
        # Worse than what nobody reaches; on a busy machine the generator may have to take the blame for it.
        assert check(project, UNIT, server.url, only=["benchmark"], baseline=saved) in codes
    document["load"]["concurrency"] = 99
    saved.write_text(json.dumps(document))
    assert check(project, UNIT, server.url, only=["benchmark"], baseline=saved) == 1
    assert "concurrency 99 instead of 2" in capsys.readouterr().err


def test_a_failed_run_is_no_baseline(project: Path, server: Server) -> None:
    declare(project, {"golden": "validation/cases.yaml", "benchmark": BENCHMARK})
    server.fault = "500"
    assert check(project, UNIT, server.url, only=["benchmark"], save_baseline=project / "base.json") == 2
    assert not (project / "base.json").exists()


def test_gates_on_data_need_no_endpoint(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "validation/labelled.csv").write_text("label,prediction\n" + "a,a\n" * 150)
    declare(project, {"data": {"accuracy": {"data": "validation/labelled.csv", "min": 0.9}}})
    assert check(project, UNIT) == 0
    assert capsys.readouterr().out.startswith("accuracy: pass")


@pytest.mark.parametrize(
    ("unit", "options", "said"),
    [
        ("dev/nobody", {}, "there is no such release"),
        (UNIT, {}, "need an endpoint"),
        (UNIT, {"endpoint": "http://u:p@h/"}, "must not hold a user or a password"),
        (UNIT, {"endpoint": "http://h", "only": ["speed"]}, "there is no gate speed"),
        (UNIT, {"endpoint": "http://h", "only": ["parity"]}, "does not declare parity"),
        (UNIT, {"endpoint": "http://h", "wait": "soon"}, "is not a duration"),
        (UNIT, {"endpoint": "http://h", "tolerance": 200.0}, "is no percentage"),
    ],
)
def test_what_cannot_be_asked(project: Path, unit: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(GitopsError, match=said):
        check(project, unit, **options)


def test_a_model_without_gates(project: Path) -> None:
    declare(project, None)
    with pytest.raises(GitopsError, match="declares no gates"):
        check(project, UNIT, "http://127.0.0.1:1")


def test_files_do_not_lead_out_of_the_project(project: Path) -> None:
    (project / "validation/cases.yaml").unlink()
    (project / "validation/cases.yaml").symlink_to("/etc/hostname")
    with pytest.raises(GitopsError, match="outside of the project"):
        check(project, UNIT, "http://127.0.0.1:1")


JUDGED = f"""\
apiVersion: gitops/v1
name: acme
promotion: [dev]
rollouts: {{plain: {{strategy: canary, steps: [{{weight: 100}}]}}}}
models:
  {MODEL}:
    version: 1.0.0
    build:
      source: {{uri: file://net.onnx, digest: "sha256:{"a" * 64}", format: onnx}}
      stages:
        - {{stage: quantize, method: dynamic-int8, labelled: samples.npz, maxAccuracyDrop: 3%}}
        - {{stage: package, as: triton, maxBatchSize: 8, instances: {{device: cpu}}}}
      output: {{uri: file://artifacts/net/1.0.0}}
    validate: {{endpoint: {{protocol: triton}}, job: {{image: "registry.acme.example/checker:4"}}}}
    serve: {{runtime: triton, gpu: {{type: L4}}}}
    rollout: plain
"""


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that a build quantized, of which nothing is registered yet."""
    monkeypatch.setenv("GITOPS_EMBEDDED", "1")
    (tmp_path / "environments").mkdir()
    (tmp_path / "environments/dev.yaml").write_text(DEV)
    (tmp_path / "pipeline.yaml").write_text(JUDGED)
    samples(tmp_path, wrong=4)
    return tmp_path


def registered(project: Path, accuracy: float, source: str = "a") -> None:
    """As `gitops build --register` commits it."""
    stages = (
        BuiltStage("quantize", "key", MappingProxyType({"accuracy-before-percent": accuracy})),
        BuiltStage("package", "key"),
    )
    at, digest = "2026-01-01T00:00:00Z", "sha256:" + "b" * 64
    uri, path = "file://artifacts/net/1.0.0", registration_path(MODEL, "1.0.0")
    one = Registration(MODEL, "1.0.0", uri, digest, "triton", at, source=f"sha256:{source * 64}", stages=stages)
    repository = repository_at("", "main", project, "embedded", create=True)
    repository.commit(repository.head(), {path: dump_registration(one)}, "Register it")


def test_what_is_served_is_held_to_what_was_registered(
    built: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """90 % of the samples are right where it is served, and the build may lose 3 % of what was right before."""
    assert check(built, UNIT, server.url) == 0
    assert f"served-accuracy is not asked: {MODEL} 1.0.0 is not registered" in capsys.readouterr().err
    registered(built, 93.0)
    assert check(built, UNIT, server.url) == 0
    assert capsys.readouterr().out.splitlines() == ["loads: pass (2 of 2)", "served-accuracy: pass (1 of 1)"]
    registered(built, 93.1)
    assert check(built, UNIT, server.url, only=["served-accuracy"]) == 2
    assert "labelled samples" in capsys.readouterr().out
    assert check(built, UNIT, server.url, only=["loads"]) == 0
    assert "served-accuracy is not asked: --only names other gates" in capsys.readouterr().err
    registered(built, 93.1, source="c")
    assert check(built, UNIT, server.url) == 0
    assert "is registered with another source" in capsys.readouterr().err


def test_a_job_leaves_out_what_only_git_knows(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(built, UNIT, job=True) == 0
    said = capsys.readouterr()
    assert "served-accuracy is not asked: a Job does not reach the GitOps repository" in said.err
    assert "--only=loads" in said.out


# --- As a Job ------------------------------------------------------------------------------------------------

JOB = {"image": "registry.acme.example/checker:4"}
GATES: dict[str, Any] = {"golden": "validation/cases.yaml", "job": JOB}


def printed(project: Path, capsys: pytest.CaptureFixture[str], **options: Any) -> list[dict[str, Any]]:
    assert check(project, UNIT, job=True, **options) == 0
    return list(yaml.safe_load_all(capsys.readouterr().out))


def test_a_job_is_printed_and_asks_the_same(project: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """What the pod runs is run here, at the endpoint of the test, and its log is read as the documentation says."""
    declare(project, GATES)
    *policies, job = printed(project, capsys, only=["golden"], wait="5s")
    assert not server.questions
    assert [(one["kind"], one["metadata"]["namespace"]) for one in policies] == [
        ("NetworkPolicy", "acme-inference-dev"),
        ("NetworkPolicy", "acme-inference-dev"),
    ]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    there = {"project": project, "output": project / "work", "endpoint": server.url}
    arguments = [f"--{name}={there[name]}" if (name := _option(one)) in there else one for one in container["args"]]
    assert {_option(one) for one in container["args"]} >= there.keys()
    [shell] = [line for line in (ROOT / "docs/validation.md").read_text().splitlines() if " logs job/" in line]
    _, reading = shell.split(" | ")
    for answer, code in (("It is Paris.", 0), ("It is Rome.", 2)):
        server.answers["capital"] = answer
        command = [sys.executable, "-m", "gitops", *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT / "src")
        assert done.returncode == code, done.stdout
        assert done.stdout.startswith(b"golden: asking\n")
        report = subprocess.run(shlex.split(reading), input=done.stdout, stdout=subprocess.PIPE, check=True)
        document = json.loads(report.stdout)
        assert document["subject"]["unit"] == UNIT
        assert document["passed"] is (code == 0)
        assert document["gates"] == json.loads((project / "work/report.json").read_bytes())["gates"]


def _option(argument: str) -> str:
    return argument.removeprefix("--").partition("=")[0]


def test_a_job_asks_the_revision_that_runs(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it is called follows from the release records."""
    declare(project, GATES)

    def revision(spec: Spec, stored: object) -> Spec:
        assert isinstance(stored, Stored)
        name = f"{spec.models[UnitKey('dev', MODEL)].version}-Rabcdef"
        model = spec.models[UnitKey("dev", MODEL)].model_copy(update={"version": name})
        return replace(spec, models={**spec.models, UnitKey("dev", MODEL): model})

    monkeypatch.setattr("gitops.plan.revisions.revised", revision)
    *_, job = printed(project, capsys)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert any("-rabcdef." in arg for arg in container["args"] if arg.startswith("--endpoint="))


def test_a_job_reaches_what_the_golden_file_asks(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = project / "validation/cases.yaml"
    embeddings = "embeddings: {url: 'https://embeddings.acme.example:8443', model: m, apiKeyEnv: EMBEDDINGS_KEY}\n"
    path.write_text(CASES + embeddings)
    declare(project, GATES)
    with pytest.raises(
        GitopsError, match=r"cases\.yaml: the Job has to get `EMBEDDINGS_KEY` for embeddings from a Secret"
    ):
        check(project, UNIT, job=True)
    reference = {"secret": "embeddings", "key": "token"}
    declare(project, {**GATES, "job": {**JOB, "env": {"EMBEDDINGS_KEY": reference}}})
    *_, egress, job = printed(project, capsys)
    assert {"port": 8443, "protocol": "TCP"} in [p for rule in egress["spec"]["egress"] for p in rule["ports"]]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert [one["name"] for one in container["env"] if "valueFrom" in one] == ["EMBEDDINGS_KEY"]


def test_the_key_of_an_endpoint_is_asked_for_where_the_job_is_said(project: Path) -> None:
    endpoint = {"protocol": "openai-chat", "apiKeyEnv": "CHAT_API_KEY"}
    declare(project, {**GATES, "endpoint": endpoint})
    with pytest.raises(GitopsError, match=r"pipeline\.yaml:\d+:\d+: .*`CHAT_API_KEY` from a Secret — add `env: "):
        check(project, UNIT, job=True)


@pytest.mark.parametrize(
    ("validate", "options", "said"),
    [
        (None, {}, "do not say how they run as a Job — add `validate: "),
        ({"golden": "validation/cases.yaml"}, {}, "do not say how they run as a Job — add `validate: "),
        (GATES, {"output": Path("out")}, "--output: a Job keeps no files.*kubectl logs"),
        (GATES, {"save_baseline": Path("base.json")}, "--save-baseline: a Job keeps no files"),
        (
            GATES,
            {"baseline": Path("base.json")},
            r"--baseline: a Job reads the files of its image .*benchmark\.baseline",
        ),
        (GATES, {"only": ["benchmark"]}, "does not declare benchmark — it declares loads and golden"),
        (GATES, {"wait": "soon"}, "is not a duration"),
        (GATES, {"tolerance": 200.0}, "is no percentage"),
        (GATES, {"endpoint": "http://u:p@h/"}, "must not hold a user or a password"),
        (GATES, {"endpoint": "models.acme.example"}, "this is no URL"),
        (GATES, {"endpoint": "http://localhost:8000"}, "the Job's own pod — leave `--endpoint` out"),
        ({**GATES, "golden": "validation/missing.yaml"}, {}, "missing.yaml: not found"),
    ],
)
def test_what_cannot_be_a_job(
    project: Path, validate: dict[str, Any] | None, options: dict[str, Any], said: str
) -> None:
    declare(project, validate)
    with pytest.raises(GitopsError, match=said):
        check(project, UNIT, job=True, **options)


# --- The documentation ---------------------------------------------------------------------------------------

FRAGMENTS = ("models:", "validate:", "build:")
"""How a block of the documentation begins that shows a part of the spec."""


def _blocks(path: str, language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / path).read_text(), re.MULTILINE | re.DOTALL)
    return [body for kind, body in found if kind == language]


@pytest.mark.parametrize("path", ["docs/validation.md", "docs/builds.md"])
def test_no_part_of_the_spec_hides_in_the_documentation(path: str) -> None:
    for language in ("", "console"):
        assert not [body for body in _blocks(path, language) if body.startswith((*FRAGMENTS, "- stage:"))]
    rest = [body for body in _blocks(path, "yaml") if not body.startswith(FRAGMENTS)]
    # Golden files and single stages are read by tests of their own.
    assert all(body.startswith(("apiVersion:", "- stage:")) for body in rest)


@pytest.mark.parametrize(
    "body",
    [
        body
        for path in ("docs/validation.md", "docs/builds.md")
        for body in _blocks(path, "yaml")
        if body.startswith(FRAGMENTS)
    ],
    ids=lambda body: " ".join(body.split())[:40],
)
def test_the_documentation_shows_specs_that_load(project: Path, body: str) -> None:
    """Each part in its place in the example, loaded as `gitops validate` would."""
    said = yaml.safe_load(body.replace("sha256:…", f"sha256:{'0' * 64}"))
    path = project / "pipeline.yaml"
    spec = yaml.safe_load(path.read_text())
    for name, model in said.get("models", {MODEL: said}).items():
        spec["models"][name] = {**spec["models"].get(name, {}), **model}
    path.write_text(yaml.safe_dump(spec))
    sources = read_project(project)
    load_spec(sources.pipeline, sources.environments)
