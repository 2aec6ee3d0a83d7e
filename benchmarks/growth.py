"""Plans of growing specs, and a plot of them: the time grows in proportion to the spec."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.harness import ROOT, Figure, Setting
from benchmarks.plan import plans
from benchmarks.synthetic import write_project

SIZES = (0.25, 0.5, 1, 2, 4)
PLOT = ROOT / "docs/images/growth.svg"


def measure(setting: Setting) -> Iterator[Figure]:
    """Sizes around the one that was asked for; the plot is redrawn for 1,000 models only."""
    lines: dict[str, list[tuple[int, float]]] = {}
    quick = replace(setting, repeat=min(setting.repeat, 3))
    for size in SIZES:
        models = max(int(setting.models * size), 5)
        setting.report(f"growth: {models:,} models")
        project = setting.directory / str(models)
        write_project(project, models)
        for figure in plans(quick, project):
            lines.setdefault(figure.what, []).append((models, figure.cpu))
            each = f"{figure.cpu / models * 1e3:.2f} ms a model"
            yield replace(figure, topic="growth", what=f"{models:,} models, {figure.what}", goal="", note=each)
    if setting.models == 1000:
        draw(lines, PLOT)


def draw(lines: Mapping[str, Sequence[tuple[int, float]]], path: Path) -> None:
    """One line for each kind of plan; the same figures give the same bytes."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "gitops", "font.family": "sans-serif"})
    from matplotlib import pyplot

    figure, (full, small) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for what, points in lines.items():
        axes = full if what.startswith("everything") else small
        axes.plot(*zip(*points, strict=True), marker="o", label=what)
    for axes in (full, small):
        axes.set(xlabel="models (in 3 environments)", ylabel="CPU seconds")
        axes.set_xlim(0)
        axes.set_ylim(0)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.suptitle("gitops plan --offline")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
