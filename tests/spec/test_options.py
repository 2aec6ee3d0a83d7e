"""The options of vLLM that are known here: whose version they are, and what of them the spec may set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gitops.spec.check_options import vllm_options
from gitops.spec.draft import Subject
from gitops.spec.images import DEFAULTS
from gitops.spec.pipeline import Model
from gitops.spec.server_options import _FORMS, OURS
from gitops.spec.vllm_options import CHOICES, IMAGE, OPTIONS, VERSION
from gitops.spec.vllm_options import DIGEST as VLLM_DIGEST
from tests.render.specs import DIGEST

GOOD: dict[str, list[Any]] = {
    "enforce-eager": [True, False],
    "headless": [],
    "disable-log-stats": [True],
    "max-num-seqs": [16, "16", -1],
    "max-model-len": [8192, "8192", "8k", "8K", "25.6k", "2M", "1T", "auto", -1],
    "max-num-batched-tokens": [8192, "8k"],
    "gpu-memory-utilization": [0.9, 1, "0.9", "1e-1"],
    "dtype": ["bfloat16", "auto"],
    "block-size": [16, "16"],
    "kv-cache-dtype": ["fp8", "None"],
    "max-lora-rank": [16, "16"],
    "quantization": ["fp8", "a-plugins-own"],
    "tokenizer": ["/models/tokenizer", 7],
    "speculative-config": ['{"method": "ngram"}'],
    "allowed-origins": ['["*"]'],
    "hf-overrides": ['{"a": 1}', "module.function"],
    "cudagraph-capture-sizes": [8, [1, 2, 4]],
    "lora-modules": ["a=/models/a", ["a=/models/a", "b=/models/b"], [{"name": "a", "path": "/models/a"}]],
    "tensor-parallel-size": [2],
    "seed": ["None"],
    "limit-mm-per-prompt": [{"image": 2}],
    "allowed-headers": [["*"], []],
    "model-loader-extra-config": [{"concurrency": 16}],
    "ignore-patterns": [["original/**", "*.bin"]],
    "logits-processors": [["acme.Processor"]],
    "middleware": ["acme.Auth", ["acme.Auth", "acme.Limit"]],
}
BAD: dict[str, list[Any]] = {
    "enforce-eager": ["yes", "true", 1, [True]],
    "disable-log-stats": [False, "yes"],
    "max-num-seqs": ["many", 1.5, True, "16k", [1], {"a": 1}],
    "max-model-len": ["8P", "25.6K", "8 k", "none", -2, True],
    "max-num-batched-tokens": ["auto", -1],
    "gpu-memory-utilization": ["90%", True],
    "dtype": ["bf16", True, ["auto"]],
    "max-lora-rank": [17],
    "rope-scaling": [{"factor": 2}],
    "cuda-graph-sizes": [[1, 2]],
    "tokenizer": [True],
    "speculative-config": ["ngram", "[1]", "{a: 1}", "[" * 100_000],
    "allowed-origins": ["*", '{"a": 1}', {"a": 1}],
    "hf-overrides": ["{a}"],
    "cudagraph-capture-sizes": ["1,2,4", ["1"], [True], [], {"a": 1}],
    "lora-modules": [{"name": "a"}, [], ["--port"], [["a"]], [None]],
    "middleware": [[{"a": 1}], [""]],
    "limit-mm-per-prompt": [["image"], "image=2"],
    "no-such-option": [[1], {"a": 1}],
    "tensor-parallel-size": [4, "4", True],
    "enforce-eagerly": [True],
    "no-enforce-eager": [True],
    **{name: ["x"] for name in OURS},
}


def said(args: dict[str, Any], image: str | None = None) -> Iterator[str]:
    serve = {"runtime": "vllm", "gpu": {"type": "L4", "count": 2}, "parallelism": {"tensor": 2}, "args": args}
    artifact = {"uri": "s3://models/chat", "digest": DIGEST, "format": "safetensors"}
    raw = {"version": "1", "artifact": artifact, "rollout": "r", "serve": serve | ({"image": image} if image else {})}
    for finding in vllm_options(Subject("chat", Model.model_validate(raw), None)):
        yield f"{finding.message} — {finding.hint}"


def cases(table: dict[str, list[Any]]) -> list[tuple[str, Any]]:
    return [(name, value) for name, values in table.items() for value in values]


def test_they_are_those_of_the_default_image() -> None:
    assert DEFAULTS["vllm"] == f"{IMAGE}:v{VERSION}@{VLLM_DIGEST}"


def test_every_kind_has_words_and_every_choice_its_values() -> None:
    assert {name for name, kind in OPTIONS.items() if kind == "choice"} == set(CHOICES)
    assert set(OPTIONS.values()) - {"choice"} == set(_FORMS)
    assert len(OPTIONS) > 170
    assert set(OURS) <= set(OPTIONS)


@pytest.mark.parametrize(("name", "value"), cases(GOOD))
def test_what_fits(name: str, value: Any) -> None:
    assert list(said({name: value})) == []


@pytest.mark.parametrize(("name", "value"), cases(BAD))
def test_what_does_not(name: str, value: Any) -> None:
    assert len(list(said({name: value}))) == 1


@pytest.mark.parametrize("image", ["acme/vllm:1", "vllm/vllm-openai:v0.14.0", "vllm/vllm-openai:v0.14.0@" + DIGEST])
def test_another_image_may_have_other_options(image: str) -> None:
    assert list(said({"brand-new": 1, "dtype": "fp4", "enforce-eager": "graph"}, image)) == []
    assert list(said({"brand-new": {"a": [1]}, "lora-modules": ["a=/a"]}, image)) == []
    assert len(list(said({"brand-new": ["a"]}, image))) == 1, "as words, as JSON or again and again?"
    assert list(said({"cuda-graph-sizes": [1, 2]}, image)) == []
    assert len(list(said({"enforce-eager": "yes", "port": 9000, "tensor-parallel-size": 4}, image))) == 3


def test_the_same_image_by_digest_is_known() -> None:
    assert len(list(said({"brand-new": 1}, f"docker.io/{IMAGE}:v{VERSION}@{DIGEST}"))) == 1
    assert len(list(said({"brand-new": 1}, f"mirror.acme.example/vllm:of-the-year@{VLLM_DIGEST}"))) == 1
