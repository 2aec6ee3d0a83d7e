"""The gate `served-accuracy`: the labelled samples of a build, asked again where its model is served.

What a stage measured holds for the processor of the build; int8 products and fused kernels differ between processors,
and so may answers. Tensors are asked by Triton's protocol.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gitops.errors import GitopsError
from gitops.spec.build import Build, Prune, Quantize, judged
from gitops.stages.endpoints import HttpEndpoint, Target, missing
from gitops.stages.protocols.base import AskFailed, Description, Question, Tensor
from gitops.stages.results import Check, GateResult

if TYPE_CHECKING:
    from numpy.typing import NDArray

GATE = "served-accuracy"
LABELS = "labels"
MOST = 5_000
"""Rows that are asked, from the first on."""
_AT_A_TIME = 8
_BEFORE = "accuracy-before-percent"


@dataclass(frozen=True, slots=True)
class Labelled:
    """Samples with the class of each row, and what share of right answers, in percent, is enough."""

    path: Path
    output: str | None
    """Which output scores the classes; by default the first."""
    least: float


def labelled(project: Path, build: Build, measured: Sequence[Mapping[str, float]]) -> Labelled | None:
    """The samples by which a build judged its model at last, and the accuracy that it may not fall below; None where
    no stage bounds it. `measured` are the figures of the stages, as the build or its registration has them.
    """
    place = judged(build)
    if place is None or place >= len(measured) or _BEFORE not in measured[place]:
        return None
    stage = build.stages[place]
    assert isinstance(stage, Quantize | Prune)
    assert stage.labelled
    return Labelled(project / stage.labelled, stage.output, measured[place][_BEFORE] - (stage.max_accuracy_drop or 0.0))


def run_served(target: Target, labelled: Labelled) -> GateResult:
    """Ask every row. An answer that does not come is a wrong one.

    Raises GitopsError for samples that cannot be read, and where none of the answers comes.
    """
    arrays, labels = _samples(labelled.path)
    return asyncio.run(_served(target, labelled, arrays, labels))


async def _served(
    target: Target, labelled: Labelled, arrays: Mapping[str, NDArray[Any]], labels: NDArray[Any]
) -> GateResult:
    rows = min(len(labels), MOST)
    turn = asyncio.Semaphore(_AT_A_TIME)
    failed: list[AskFailed] = []
    async with HttpEndpoint(target) as endpoint:
        description = await _described(endpoint, arrays, labelled)

        async def right(row: int) -> bool:
            question = Question(inputs={name: arrays[name][row : row + 1].tolist() for name in description.inputs})
            async with turn:
                try:
                    answer = await endpoint.ask(question)
                except AskFailed as error:
                    failed.append(error)
                    return False
            return _class_of(answer.content.tensors, labelled.output) == int(labels[row])

        good = sum(await asyncio.gather(*(right(row) for row in range(rows))))
    if len(failed) == rows:
        raise GitopsError(f"no sample was answered: {failed[0]}", where=target.url, hint="look into the server's log")
    share = good / rows * 100
    got = f"{share:.2f} % ({rows} samples{f', {len(failed)} without an answer' if failed else ''})"
    # Room for the arithmetic, and not for a sample.
    check = Check("labelled samples", share >= labelled.least - 1e-9, f"at least {labelled.least:.2f} %", got)
    return GateResult(GATE, (check,), {"accuracy-percent": share, "labelled-samples": float(rows)}, target.url)


async def _described(endpoint: HttpEndpoint, arrays: Mapping[str, Any], labelled: Labelled) -> Description:
    try:
        description = await endpoint.describe()
    except AskFailed as error:
        hint = "see what the gate `loads` says"
        raise GitopsError(f"the model does not describe itself: {error}", where=GATE, hint=hint) from None
    if absent := [name for name in description.inputs if name not in arrays]:
        hint = f"it has {', '.join(sorted(arrays)) or 'none'}; name them as the inputs of the model"
        raise GitopsError(f"there is no array {absent[0]!r}", where=str(labelled.path), hint=hint)
    return description


def _class_of(tensors: Mapping[str, Tensor], output: str | None) -> int:
    """The place of the largest score; -1 where there are none."""
    tensor = tensors.get(output) if output else next(iter(tensors.values()), None)
    scores = tensor.data if tensor else ()
    return max(range(len(scores)), key=lambda place: scores[place], default=-1)


def _samples(path: Path) -> tuple[dict[str, NDArray[Any]], NDArray[Any]]:
    try:
        import numpy as np
    except ImportError:
        raise missing("numpy") from None
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        labels = arrays.pop(LABELS).ravel()
    except (OSError, ValueError, KeyError, EOFError) as error:
        what = f"these are no labelled samples: {error}"
        raise GitopsError(what, where=str(path), hint="write it with numpy.savez: the inputs, and labels") from None
    if not len(labels) or any(len(array) < len(labels) for array in arrays.values()):
        raise GitopsError("there is not a sample for each label", where=str(path), hint="save as many rows as labels")
    return arrays, labels
