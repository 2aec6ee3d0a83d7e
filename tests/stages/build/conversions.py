"""Runs `convert` on one source after the other in one process: `python conversions.py SOURCE PROJECT RESULTS`.

Importing torch and exporting for the first time take seconds, and each further export a fraction of one.
"""

import io
import json
import pickle
import sys
import zipfile
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
    "torch-export": ("iris.pt2", "torch-export", {**WHOLE, "trusted": True}),
    "program-refused": ("iris.pt2", "torch-export", WHOLE),
    "pickled-weights": ("pickled.pt2", "torch-export", {**WHOLE, "trusted": True}),
    "pickled-samples": ("samples.pt2", "torch-export", {**WHOLE, "trusted": True}),
    "compiled": ("compiled.pt2", "torch-export", {**WHOLE, "trusted": True}),
    "pickle-refused": ("whole.pt", "pytorch", WHOLE),
    "pickle-as-state-dict": ("whole.pt", "pytorch", {}),
    "pickle-allowed": ("whole.pt", "pytorch", {**WHOLE, "code": "training", "trusted": True}),
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
    facts = {"trustedCode": changes.get("trusted", False)}
    parameters = {**PLAIN, **{key: value for key, value in changes.items() if key != "trusted"}}
    output, scratch = RESULTS / name / "output", RESULTS / name / "scratch"
    output.mkdir(parents=True)
    scratch.mkdir()
    given = PROJECT / "checkpoints" / file if (PROJECT / "checkpoints" / file).exists() else RESULTS / file
    files = {"code": PROJECT / "training"} if parameters["code"] else {}
    task = Task("convert", parameters, given, form, output, scratch, files, facts, say=lambda _: None)
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


class Evil:
    """Unpickled, it says so in a file."""

    def __reduce__(self) -> Any:
        return Path.write_text, (RESULTS / "ran", "the checkpoint ran this")


def poison() -> None:
    """The same program, with code in the parts that torch.export.load unpickles, and in a library that it loads."""
    with zipfile.ZipFile(RESULTS / "iris.pt2") as archive:
        parts = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    root = next(iter(parts)).partition("/")[0]
    config, samples = f"{root}/data/weights/model_weights_config.json", f"{root}/data/sample_inputs/model.pt"
    pickled = json.loads(parts[config])
    for entry in pickled["config"].values():
        entry["use_pickle"] = True
    weights = {name: pickle.dumps(Evil()) for name in parts if "/weights/weight_" in name}
    write("pickled.pt2", {**parts, **weights, config: json.dumps(pickled).encode()})
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as made:
        made.writestr("archive/data.pkl", pickle.dumps(Evil(), 2))
        made.writestr("archive/version", "3")
    write("samples.pt2", {**parts, samples: inner.getvalue()})
    write("compiled.pt2", {**parts, f"{root}/data/aotinductor/model/model.so": b"\x7fELF"})


def write(name: str, parts: dict[str, bytes]) -> None:
    with zipfile.ZipFile(RESULTS / name, "w") as archive:
        for entry, content in parts.items():
            archive.writestr(entry, content)


export()
poison()
(RESULTS / "results.json").write_text(json.dumps({name: run(name, *case) for name, case in CASES.items()}))
