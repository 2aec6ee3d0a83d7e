"""The program for llm-compressor: run against stand-ins that record what they are asked (the real one needs a GPU)."""

import sys
import types
from typing import Any

import pytest

from gitops.stages.build.llm import script
from tests.stages.build.projects import parsed

SOURCE = {"uri": "s3://acme/llama", "digest": "sha256:" + "3" * 64, "format": "safetensors"}


def parameters(method: str, **changes: Any) -> dict[str, Any]:
    stage = {"stage": "quantize", "method": method, "gpu": {"type": "H100"}, "calibration": "c.jsonl", **changes}
    return parsed(stage, source=SOURCE).stages[0].model_dump(mode="json")


class Recorder:
    """Anything: its calls are written down, and answer with another."""

    def __init__(self, name: str, calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]]) -> None:
        self.name, self.calls = name, calls

    def __call__(self, *args: Any, **kwargs: Any) -> "Recorder":
        self.calls.append((self.name, args, kwargs))
        return Recorder(f"{self.name}()", self.calls)

    def __getattr__(self, name: str) -> "Recorder":
        return Recorder(f"{self.name}.{name}", self.calls)

    def __len__(self) -> int:
        return 3


MODULES = {
    "datasets": ("load_dataset",),
    "llmcompressor": ("oneshot",),
    "llmcompressor.modifiers": (),
    "llmcompressor.modifiers.quantization": ("QuantizationModifier",),
    "llmcompressor.modifiers.gptq": ("GPTQModifier",),
    "llmcompressor.modifiers.transform": (),
    "llmcompressor.modifiers.transform.awq": ("AWQModifier",),
    "transformers": ("AutoModelForCausalLM", "AutoTokenizer"),
}
"""Names as llm-compressor 0.14 has them."""


def played(text: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[tuple[Any, ...], dict[str, Any]]]:
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
    for module, names in MODULES.items():
        stand_in = types.ModuleType(module)
        for name in names:
            setattr(stand_in, name, Recorder(name, calls))
        monkeypatch.setitem(sys.modules, module, stand_in)
    exec(compile(text, "quantize.py", "exec"), {})
    return {name: (args, kwargs) for name, args, kwargs in calls}


@pytest.mark.parametrize(
    ("method", "modifiers", "scheme"),
    [
        ("fp8", ["QuantizationModifier"], "FP8_DYNAMIC"),
        ("awq", ["AWQModifier", "QuantizationModifier"], "W4A16_ASYM"),
        ("gptq", ["GPTQModifier"], "W4A16"),
    ],
)
def test_each_method_has_its_recipe(
    monkeypatch: pytest.MonkeyPatch, method: str, modifiers: list[str], scheme: str
) -> None:
    calls = played(script(parameters(method), "/in", "/out", "" if method == "fp8" else "/c.jsonl"), monkeypatch)
    assert [name for name in calls if name.endswith("Modifier")] == modifiers
    assert calls[modifiers[-1]][1] == {"targets": ["Linear"], "scheme": scheme, "ignore": ["lm_head"]}
    asked = calls["oneshot"][1]
    assert len(asked["recipe"]) == len(modifiers)
    assert ("dataset" in asked) == (method != "fp8")
    assert calls["AutoModelForCausalLM.from_pretrained"][0] == ("/in",)
    assert calls["AutoModelForCausalLM.from_pretrained().save_pretrained"][0] == ("/out",)


def test_calibration_is_cut_to_what_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    text = script(
        parameters("gptq", calibrationSamples=2, maxSequenceLength=64, scheme="W8A8"), "/in", "/out", "/c.jsonl"
    )
    calls = played(text, monkeypatch)
    assert calls["load_dataset"] == (("json",), {"data_files": "/c.jsonl", "split": "train"})
    assert calls["load_dataset().shuffle().select"][0] == (range(2),)
    assert calls["oneshot"][1]["max_seq_length"] == 64
    assert calls["GPTQModifier"][1]["scheme"] == "W8A8"


def test_paths_cannot_break_out_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = "/in/'\"\\\n{x}__import__('os')"
    calls = played(script(parameters("awq"), odd, odd, odd), monkeypatch)
    assert calls["AutoTokenizer.from_pretrained"][0] == (odd,)
    assert calls["load_dataset"][1]["data_files"] == odd
