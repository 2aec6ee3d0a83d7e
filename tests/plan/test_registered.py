"""What has to be built and validated first stays what it is until that is done."""

from __future__ import annotations

from dataclasses import replace

from gitops.plan.registered import Registrations, VersionKey, gates_of, registered, work_of
from gitops.plan.stored import Stored
from gitops.rollout.registration import Registration
from gitops.rollout.release import Release, ReleasedVersion, Rendered
from gitops.spec.frozen import dump_model
from gitops.spec.load import load_spec
from gitops.spec.resolved import SourceFile, Spec
from gitops.spec.unbuilt import UNBUILT
from gitops.values import Proof, UnitKey

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


SIGNED = "signatures: {keys: [keys/release.pub]}\n"


def signing(text: str = SIGNED, *, digest: str = "d") -> Spec:
    """Only `plain`, which is neither built nor validated, under a policy."""
    models = PIPELINE[: PIPELINE.index("  iris:")] + PIPELINE[PIPELINE.index("  plain:") :]
    whole = text + models.replace("DIGEST", digest * 64)
    return load_spec(SourceFile("pipeline.yaml", whole.encode()), [SourceFile("environments/dev.yaml", DEV.encode())])


def signed(by: str = "SHA256:x", *, digest: str = "d") -> Registrations:
    one = Registration("plain", "1.0.0", "s3://models/plain/1.0.0", f"sha256:{digest * 64}", "onnx", "t")
    return {VersionKey("plain", "1.0.0"): replace(one, proofs=(Proof("detached", by, b"x"),) if by else ())}


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


# --- Signatures ----------------------------------------------------------------------------------------------


def test_what_nobody_has_signed_stays_away() -> None:
    found = registered(signing(), Stored(None), {})
    assert not found.spec.models
    assert found.waiting == {PLAIN: "1.0.0 has no verified signature yet"}
    assert found.withheld == found.unsigned == {("plain", "1.0.0")}
    assert list(found.work(VersionKey("plain", "1.0.0"))) == ["signature: by keys/release.pub"]


def test_what_is_signed_is_released() -> None:
    found = registered(signing(), Stored(None), signed())
    assert list(found.spec.models) == [PLAIN]
    assert (found.waiting, found.missing, found.unsigned, found.withheld) == ({}, {}, frozenset(), frozenset())


def test_a_registration_without_signatures_is_asked_again() -> None:
    found = registered(signing(), Stored(None), signed(by=""))
    assert found.waiting == {PLAIN: "1.0.0 has no verified signature yet: none is recorded"}
    assert list(found.missing) == [("plain", "1.0.0")]


def test_what_is_recorded_of_signatures_is_verified_each_time() -> None:
    """By the keys of today; who the record says that it was by counts for nothing."""
    asked: list[Registration] = []

    def flaw(one: Registration) -> str:
        asked.append(one)
        return "no trusted key has signed this"

    found = registered(signing(), Stored(None), signed(), flaw=flaw)
    assert found.waiting == {PLAIN: "1.0.0 has no verified signature yet: no trusted key has signed this"}
    assert (list(found.missing), found.unsigned) == ([("plain", "1.0.0")], {("plain", "1.0.0")})
    assert asked == list(signed().values())
    assert not registered(signing(), running(), signed(), flaw=flaw).waiting


def running() -> Stored:
    """What runs already is asked for no signature."""
    model = signing().models[PLAIN]
    stable = ReleasedVersion(model.version, model.artifact.digest, "2026-01-01T00:00:00Z")
    return Stored("head", {PLAIN: Release(PLAIN, stable, Rendered("sha256:0"), models={"1.0.0": dump_model(model)})})


def test_a_signature_of_another_artifact_is_a_contradiction() -> None:
    found = registered(signing(digest="e"), Stored(None), signed(digest="d"))
    assert list(found.contradicted) == [("plain", "1.0.0")]
    assert not found.missing
    assert not found.spec.models


def test_an_environment_cannot_bring_another_artifact_along() -> None:
    """As the version that is signed, validated or built already."""
    other = DEV + f"models: {{plain: {{artifact: {{uri: 's3://a/b', digest: 'sha256:{'e' * 64}'}}}}}}\n"
    text = SIGNED + PIPELINE[: PIPELINE.index("  iris:")] + PIPELINE[PIPELINE.index("  plain:") :]
    spec = load_spec(
        SourceFile("pipeline.yaml", text.replace("DIGEST", "d" * 64).replace("[dev]", "[dev, production]").encode()),
        [
            SourceFile("environments/dev.yaml", DEV.encode()),
            SourceFile("environments/production.yaml", other.replace("laptop", "server").encode()),
        ],
    )
    found = registered(spec, Stored(None), signed())
    assert list(found.contradicted) == [("plain", "1.0.0")]
    assert not found.spec.models


def test_a_new_policy_stops_nothing_that_runs() -> None:
    model = signing().models[PLAIN]
    stable = ReleasedVersion(model.version, model.artifact.digest, "2026-01-01T00:00:00Z")
    record = Release(PLAIN, stable, Rendered("sha256:0"), models={model.version: dump_model(model)})
    stored = Stored("head", {PLAIN: record})
    assert list(registered(signing(), stored, {}).spec.models) == [PLAIN]
    changed = registered(signing(digest="e"), stored, {})
    assert changed.spec.models[PLAIN].artifact.digest == model.artifact.digest
    assert changed.withheld == {("plain", "1.0.0")}


def test_environments_that_the_policy_leaves_out() -> None:
    text = "signatures: {sigstore: {identity: ada@acme.example, issuer: https://id.example}, environments: [dev]}\n"
    found = registered(signing(text), Stored(None), {})
    assert list(found.work(VersionKey("plain", "1.0.0"))) == ["signature: by ada@acme.example"]
    policy = found.spec.pipeline.signatures
    assert policy
    assert (policy.cover("dev"), policy.cover("production")) == (True, False)
