"""What a stage is asked, and what it answers: plain JSON between our process and the one with the heavy tools."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from gitops.errors import GitopsError
from gitops.stages.results import Check, GateResult

Signature = Mapping[str, list[dict[str, Any]]]
"""`inputs` and `outputs` of a model, in order: name, dtype as numpy calls it, shape with names for open sizes."""


@dataclass(frozen=True, slots=True)
class Task:
    """One stage's work. Paths are absolute."""

    stage: str
    parameters: Mapping[str, Any]
    """The stage as the spec has it, with its own keys (`maxAccuracyDrop`)."""
    given: Path
    """A file, or a directory of files."""
    form: str
    """The format of what is given: `safetensors`, `onnx`, …"""
    output: Path
    """An empty directory for what the stage makes."""
    scratch: Path
    """An empty directory for what is not kept."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """Other inputs: `samples`, `labelled`, `calibration`, `code`, `requirements`."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What is known of the build: `model`, `version`, `commit`, `source`, `signature`."""
    say: Callable[[str], None] = print

    @classmethod
    def parse(cls, document: Mapping[str, Any], say: Callable[[str], None]) -> Task:
        """A task from its JSON."""
        fields: dict[str, Any] = {name: document[name] for name in ("stage", "parameters", "form", "facts")}
        fields |= {name: Path(document[name]) for name in ("given", "output", "scratch")}
        files = {name: Path(path) for name, path in document["files"].items()}
        return cls(**fields, files=files, say=say)

    def document(self) -> dict[str, Any]:
        """The task as JSON values."""
        paths = {name: str(getattr(self, name)) for name in ("given", "output", "scratch")}
        files = {name: str(path) for name, path in self.files.items()}
        plain = {name: getattr(self, name) for name in ("stage", "parameters", "form", "facts")}
        return {**plain, **paths, "files": files}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a stage. It failed when one of its gates did."""

    gates: tuple[GateResult, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    signature: Signature | None = None

    def document(self) -> dict[str, Any]:
        """The outcome as JSON values."""
        gates = [
            {
                "gate": gate.gate,
                "figures": dict(gate.figures),
                "note": gate.note,
                "checks": [[check.name, check.passed, check.expected, check.got] for check in gate.checks],
            }
            for gate in self.gates
        ]
        return {
            "gates": gates,
            "figures": dict(self.figures),
            "notes": list(self.notes),
            "signature": self.signature,
        }

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Outcome:
        """An outcome from its JSON."""
        gates = tuple(
            GateResult(gate["gate"], tuple(Check(*check) for check in gate["checks"]), gate["figures"], gate["note"])
            for gate in document["gates"]
        )
        return cls(gates, document["figures"], tuple(document["notes"]), document["signature"])


def tool(name: str) -> Any:
    """A module of a heavy tool. Raises GitopsError when the Python of the build does not have it."""
    try:
        return import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.partition(".")[0] != name.partition(".")[0]:
            raise
        package = name.partition(".")[0]
        hint = f"install {package} there, or name another with `build.python`"
        raise GitopsError(f"the Python of the build does not have {package}", hint=hint) from None


def only_file(given: Path, suffixes: tuple[str, ...]) -> Path:
    """The one file with such a name: itself, or in the directory. Raises GitopsError when there is none or several."""
    if given.is_file():
        return given
    found = sorted(path for path in given.iterdir() if path.suffix in suffixes)
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} files" if found else "no file"
    hint = "the source is one file, or a directory with one"
    raise GitopsError(f"{what} with the suffix {' or '.join(suffixes)}", where=str(given), hint=hint)
