"""fp8, AWQ and GPTQ of a language model by llm-compressor: a script of its own, so that one can read what was done.

Written against llm-compressor 0.14, whose AWQModifier is a transform that a QuantizationModifier follows. Needs a GPU.
Reference: https://docs.vllm.ai/projects/llm-compressor
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from gitops.errors import GitopsError
from gitops.stages.build.task import Outcome, Task, tool

SCHEMES = {"fp8": "FP8_DYNAMIC", "awq": "W4A16_ASYM", "gptq": "W4A16"}
"""What each method uses where nothing is said."""
_LAST_LINES = 3


def run(task: Task) -> Outcome:
    """Quantize the directory of a Hugging Face model. Raises GitopsError with what llm-compressor says."""
    if not (task.given / "config.json").is_file():
        what = "this is no directory of a Hugging Face model: config.json is missing"
        raise GitopsError(what, where=str(task.given))
    tool("llmcompressor")
    calibration = task.files.get("calibration")
    text = script(task.parameters, str(task.given), str(task.output), str(calibration) if calibration else "")
    path = task.scratch / "quantize.py"
    path.write_text(text)
    task.say(f"quantizing by llm-compressor: {task.parameters['method']}")
    done = subprocess.run([sys.executable, str(path)], stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    sys.stderr.write(text + done.stderr)
    if done.returncode:
        last = " / ".join(done.stderr.strip().splitlines()[-_LAST_LINES:]) or f"exit code {done.returncode}"
        raise GitopsError(f"llm-compressor failed: {last}", hint="see the log")
    before, after = (
        sum(file.stat().st_size for file in path.rglob("*.safetensors")) for path in (task.given, task.output)
    )
    return Outcome(figures={"bytes-before": float(before), "bytes": float(after)})


def script(parameters: Mapping[str, Any], model: str, output: str, calibration: str) -> str:
    """The Python program that quantizes `model` (a directory) into `output`; every value is a literal."""
    method = parameters["method"]
    scheme = parameters["scheme"] or SCHEMES[method]
    choice = f"targets=['Linear'], scheme={scheme!r}, ignore={list(parameters['ignore'])!r}"
    modifiers = {
        "fp8": f"QuantizationModifier({choice})",
        "awq": f"AWQModifier(), QuantizationModifier({choice})",
        "gptq": f"GPTQModifier({choice})",
    }
    length, count = parameters["maxSequenceLength"], parameters["calibrationSamples"]
    if calibration:
        data = _DATA.format(calibration=calibration, count=count, length=length)
        asked = f", dataset=data, max_seq_length={length!r}, num_calibration_samples=len(data)"
    else:
        data, asked = "", ""
    return _SCRIPT.format(
        model=model, output=output, imports=_IMPORTS[method], data=data, recipe=modifiers[method], asked=asked
    )


_IMPORTS = {
    "fp8": "from llmcompressor.modifiers.quantization import QuantizationModifier",
    "awq": "from llmcompressor.modifiers.quantization import QuantizationModifier\n"
    "from llmcompressor.modifiers.transform.awq import AWQModifier",
    "gptq": "from llmcompressor.modifiers.gptq import GPTQModifier",
}

_DATA = """
data = load_dataset("json", data_files={calibration!r}, split="train").shuffle(seed=0)
data = data.select(range(min({count!r}, len(data))))
data = data.map(
    lambda row: tokenizer(row["text"], max_length={length!r}, truncation=True, add_special_tokens=False),
    remove_columns=data.column_names,
)
"""

_SCRIPT = """\
from datasets import load_dataset
from llmcompressor import oneshot
{imports}
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained(
    {model!r}, dtype="auto", device_map="auto", local_files_only=True, use_safetensors=True, trust_remote_code=False
)
tokenizer = AutoTokenizer.from_pretrained({model!r}, local_files_only=True, trust_remote_code=False)
{data}
oneshot(model=model, recipe=[{recipe}]{asked})
model.save_pretrained({output!r}, save_compressed=True)
tokenizer.save_pretrained({output!r})
"""
