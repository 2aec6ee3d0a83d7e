"""What has to be built and validated first stays what it is until that is done."""

from __future__ import annotations

from gitops.plan.registered import Registrations, VersionKey, gates_of, registered, work_of
from gitops.plan.stored import Stored
from gitops.rollout.registration import Registration
from gitops.rollout.release import Release, ReleasedVersion, Rendered
from gitops.spec.frozen import dump_model
from gitops.spec.load import load_spec
from gitops.spec.resolved import SourceFile, Spec
from gitops.spec.unbuilt import UNBUILT
from gitops.values import UnitKey

PIPELINE = """\
apiVersion: gitops/v1
name: acme
promotion: [dev]
rollouts: {plain: {strategy: canary, steps: [{weight: 100}]}}
models:
  iris:
    version: VERSION
    build:
      source: {uri: file://checkpoints/iris.onnx, digest: "sha256:SOURCE", format: onnx}
      stages: [{stage: prune, sparsity: 0.5}, {stage: quantize, method: dynamic-int8}]
      output: {uri: s3://models/iris/VERSION}
    validate: {golden: validation/iris.yaml}
    serve: {runtime: custom, image: "registry.acme.example/server:1"}
    rollout: plain
  chat:
    version: 1.0.0
    artifact: {uri: s3://models/chat/1.0.0, digest: "sha256:DIGEST", format: safetensors}
    validate: {golden: validation/chat.yaml, benchmark: {maxLatencyP99: 2s}, server: {command: [serve, "{artifact}"]}}
    serve: {runtime: custom, image: "registry.acme.example/server:1"}
    rollout: plain
  plain:
    version: 1.0.0
    artifact: {uri: s3://models/plain/1.0.0, digest: "sha256:DIGEST", format: onnx}
    serve: {runtime: custom, image: "registry.acme.example/server:1"}
    rollout: plain
"""
DEV = "apiVersion: gitops/v1\nclusters: {laptop: {provider: embedded, nodePools: {}}}\n"
IRIS, CHAT, PLAIN = (UnitKey("dev", name) for name in ("iris", "chat", "plain"))
MADE = f"sha256:{'e' * 64}"


def spec(version: str = "1.0.0", *, source: str = "a", digest: str = "d") -> Spec:
    text = PIPELINE.replace("VERSION", version).replace("SOURCE", source * 64).replace("DIGEST", digest * 64)
    return load_spec(SourceFile("pipeline.yaml", text.encode()), [SourceFile("environments/dev.yaml", DEV.encode())])


def known(version: str = "1.0.0") -> Registrations:
    iris = Registration(
        "iris", version, "s3://models/iris/built", MADE, "onnx", "2026-01-01T00:00:00Z", source=f"sha256:{'a' * 64}"
    )
    chat = Registration("chat", "1.0.0", "s3://models/chat/1.0.0", f"sha256:{'d' * 64}", "safetensors", "t")
    return {VersionKey("iris", version): iris, VersionKey("chat", "1.0.0"): chat}


def released(wanted: Spec) -> Stored:
    """iris runs as this spec has it."""
    model = wanted.models[IRIS]
    stable = ReleasedVersion(model.version, model.artifact.digest, "2026-01-01T00:00:00Z")
    record = Release(IRIS, stable, Rendered("sha256:0"), models={model.version: dump_model(model)})
    return Stored("head", {IRIS: record})


def test_what_was_never_released_stays_away() -> None:
    found = registered(spec(), Stored(None), {})
    assert list(found.spec.models) == [PLAIN]
    assert found.waiting == {
        IRIS: "1.0.0 is not built and validated yet",
        CHAT: "1.0.0 is not validated yet",
    }
    assert list(found.missing) == [("iris", "1.0.0"), ("chat", "1.0.0")]


def test_what_was_built_is_what_is_served() -> None:
    wanted = spec()
    assert wanted.models[IRIS].artifact.digest == UNBUILT
    found = registered(wanted, Stored(None), known())
    artifact = found.spec.models[IRIS].artifact
    assert (artifact.uri, artifact.digest, artifact.format) == ("s3://models/iris/built", MADE, "onnx")
    assert found.spec.models[CHAT] == wanted.models[CHAT]
    assert not found.waiting
    assert not found.missing


def test_a_running_version_runs_on_while_the_next_is_built() -> None:
    stored = released(registered(spec(), Stored(None), known()).spec)
    found = registered(spec("1.1.0", source="b"), stored, known())
    assert found.spec.models[IRIS].version == "1.0.0"
    assert found.spec.models[IRIS].artifact.digest == MADE
    assert found.waiting == {IRIS: "1.1.0 is not built and validated yet"}
    assert list(found.missing) == [("iris", "1.1.0")]


def test_a_version_never_changes_its_source_or_artifact() -> None:
    found = registered(spec(source="b", digest="c"), Stored(None), known())
    assert found.contradicted == {
        ("iris", "1.0.0"): "1.0.0 is registered with the source sha256:aaaaaaaaaaaa…, "
        "and the spec says sha256:bbbbbbbbbbbb…",
        ("chat", "1.0.0"): "1.0.0 is registered with the artifact sha256:dddddddddddd…, "
        "and the spec says sha256:cccccccccccc…",
    }
    assert not found.missing
    assert set(found.waiting) == {IRIS, CHAT}


def test_a_spec_without_builds_and_gates_is_itself() -> None:
    text = PIPELINE[: PIPELINE.index("  iris:")] + PIPELINE[PIPELINE.index("  plain:") :].replace("DIGEST", "d" * 64)
    plain = load_spec(SourceFile("pipeline.yaml", text.encode()), [SourceFile("environments/dev.yaml", DEV.encode())])
    assert registered(plain, Stored(None), {}).spec is plain


def test_the_work_in_words() -> None:
    wanted = spec()
    assert list(work_of(wanted.models[IRIS])) == ["build: prune, quantize", "gates: golden"]
    validation = wanted.models[CHAT].validation
    assert validation
    assert list(gates_of(validation)) == ["loads", "golden", "benchmark"]
