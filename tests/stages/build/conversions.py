"""Runs `convert` on one source after the other in one process: `python conversions.py SOURCE PROJECT RESULTS`.

Importing torch and exporting for the first time take seconds, and each further export a fraction of one.
"""

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, sys.argv[1])

from gitops.errors import GitopsError
from gitops.stages.build import convert
from gitops.stages.build.task import Task

PROJECT, RESULTS = Path(sys.argv[2]), Path(sys.argv[3])
TWO = {"petals": {"shape": ["batch", 2], "dtype": "float32"}, "sepals": {"shape": ["batch", 2], "dtype": "float32"}}
DIGITS = {
    "image": {"shape": ["batch", 1, "height", "width"], "dtype": "float32"},
    "style": {"shape": ["batch"], "dtype": "int64"},
}
PLAIN: dict[str, Any] = {
    "module": "nets:Iris",
    "code": "training",
    "arguments": {},
    "allowPickle": False,
    "inputs": TWO,
    "outputs": ["scores"],
    "opset": 18,
    "random": {"seed": 3, "rows": 9, "below": 10},
    "tolerance": {"absolute": 1e-4, "relative": 1e-3},
    "sameClass": True,
}
WHOLE = {"module": None, "code": None}
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "state-dict": ("iris.pt", "pytorch", {}),
    "again": ("iris.pt", "pytorch", {}),
    "training-loop": ("loop.pt", "pytorch", {}),
    "safetensors": ("iris.safetensors", "safetensors", {}),
    "torch-export": ("iris.pt2", "torch-export", WHOLE),
    "pickle-refused": ("whole.pt", "pytorch", WHOLE),
    "pickle-as-state-dict": ("whole.pt", "pytorch", {}),
    "pickle-allowed": ("whole.pt", "pytorch", {**WHOLE, "code": "training", "allowPickle": True}),
    "other-arguments": ("iris.pt", "pytorch", {"arguments": {"hidden": 8}}),
    "no-such-class": ("iris.pt", "pytorch", {"module": "nets:Rose"}),
    "tolerance-zero": ("iris.pt", "pytorch", {"tolerance": {"absolute": 0.0, "relative": 0.0}}),
    "restless": ("iris.pt", "pytorch", {"module": "nets:Restless"}),
    "several-outputs": (
        "digits.pt",
        "pytorch",
        {"module": "nets:Digits", "inputs": DIGITS, "outputs": ["seen", "score"], "sameClass": False},
    ),
}


def run(name: str, file: str, form: str, changes: dict[str, Any]) -> dict[str, Any]:
    parameters = {**PLAIN, **changes}
    output, scratch = RESULTS / name / "output", RESULTS / name / "scratch"
    output.mkdir(parents=True)
    scratch.mkdir()
    given = PROJECT / "checkpoints" / file if (PROJECT / "checkpoints" / file).exists() else RESULTS / file
    files = {"code": PROJECT / "training"} if parameters["code"] else {}
    task = Task("convert", parameters, given, form, output, scratch, files, say=lambda _: None)
    try:
        return convert.run(task).document()
    except GitopsError as error:
        return {"error": str(error)}


def export() -> None:
    """The classifier as a program of torch.export."""
    import torch  # type: ignore

    sys.path.insert(0, str(PROJECT / "training"))
    import nets  # type: ignore

    model = nets.Iris()
    model.load_state_dict(torch.load(PROJECT / "checkpoints" / "iris.pt"))
    example, batch = (torch.zeros(4, 2), torch.zeros(4, 2)), torch.export.Dim("batch")
    program = torch.export.export(model.eval(), example, dynamic_shapes=({0: batch}, {0: batch}))
    torch.export.save(program, RESULTS / "iris.pt2")


export()
(RESULTS / "results.json").write_text(json.dumps({name: run(name, *case) for name, case in CASES.items()}))
