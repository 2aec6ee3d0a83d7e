"""What a stage cost: the accuracy on labelled samples before and after it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from gitops.stages.build import graph, processor
from gitops.stages.build.task import Task
from gitops.stages.results import Check, GateResult


class Before(NamedTuple):
    """The accuracy before the stage, in percent, and the number of labelled samples."""

    accuracy: float
    rows: int


def before(task: Task, model: Path) -> Before | None:
    """Measured first, so that samples that do not fit are found at once; None without `labelled` samples."""
    if "labelled" not in task.files:
        return None
    task.say("measuring the accuracy before")
    return Before(*graph.accuracy(model, task.files["labelled"], task.parameters["output"]))


Judged = tuple[tuple[GateResult, ...], dict[str, float], tuple[str, ...]]


def after(task: Task, was: Before | None, model: Path) -> Judged:
    """The gate `accuracy`, its figures in percent, and on which processor they were measured; none of them without
    labelled samples.

    Without `maxAccuracyDrop` the figures are only recorded. A drop of one sample in n is 100/n points: with few
    samples a limit means little, so their number is among the figures.
    """
    if was is None:
        return (), {}, ()
    task.say("measuring the accuracy after")
    now, _ = graph.accuracy(model, task.files["labelled"], task.parameters["output"])
    figures = {
        "accuracy-before-percent": was.accuracy,
        "accuracy-percent": now,
        "labelled-samples": float(was.rows),
    }
    place = f"the accuracy was measured on {processor.features()}"
    limit = task.parameters["maxAccuracyDrop"]
    if limit is None:
        return (), figures, (place,)
    allowed, drop = float(str(limit).removesuffix("%")), was.accuracy - now
    expected = f"at most {allowed:g} points below {was.accuracy:.2f} %"
    got = f"{now:.2f} % ({drop:.2f} points lower, {was.rows} samples)"
    # Room for the arithmetic, and not for a sample.
    check = Check(task.stage, drop <= allowed + 1e-9, expected, got)
    return (GateResult("accuracy", (check,), figures, place),), figures, (place,)
