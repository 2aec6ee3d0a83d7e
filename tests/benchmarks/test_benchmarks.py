"""The benchmarks run, at a tiny size; how fast anything was plays no part."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import growth
from benchmarks.harness import ROOT, Figure, Setting, environment, run, table
from benchmarks.peers import PEERS
from benchmarks.synthetic import write_project
from tests.support.project import Project


def bench(tmp_path: Path, *arguments: str) -> list[dict[str, object]]:
    out = tmp_path / "figures.json"
    small = ("--models", "20", "--commits", "60", "--objects", "30", "--repeat", "1", "--json", str(out))
    command = [sys.executable, "-m", "benchmarks", *small, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    figures: list[dict[str, object]] = json.loads(out.read_text())["figures"]
    assert all(figure["what"] in done.stdout for figure in figures)
    return figures


def test_plan(tmp_path: Path) -> None:
    found = {figure["what"]: figure for figure in bench(tmp_path, "plan")}
    assert list(found)[2:] == ["everything changed", "nothing changed", "one model changed"]
    assert str(found["everything changed"]["note"]).startswith("486 manifests")


def test_git_and_history(tmp_path: Path) -> None:
    found = [figure["what"] for figure in bench(tmp_path, "git", "history")]
    assert "one model's change, file:// remote" in found
    assert "gitops history support-chat" in found


def test_growth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "SIZES", (0.5, 1))
    found = list(growth.measure(Setting(tmp_path, models=20, repeat=1, report=lambda line: None)))
    assert [figure.what.split(",")[0] for figure in found] == 3 * ["10 models"] + 3 * ["20 models"]


def test_plot_is_the_same_for_the_same_figures(tmp_path: Path) -> None:
    lines = {"everything changed": [(1, 1.0), (2, 2.0)], "nothing changed": [(1, 0.5), (2, 0.6)]}
    pictures = [tmp_path / "one.svg", tmp_path / "two.svg"]
    for picture in pictures:
        growth.draw(lines, picture)
    assert pictures[0].read_bytes() == pictures[1].read_bytes()


def test_unknown_topic(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "plam"]
    done = subprocess.run(command, cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True)
    assert done.returncode == 2
    assert "no topic plam" in done.stderr


def test_spec_is_valid_at_any_size(tmp_path: Path) -> None:
    write_project(tmp_path, 7)
    assert "7 models, 21 releases" in Project(tmp_path).gitops("validate").out


def test_costs_are_those_of_the_command_alone(tmp_path: Path) -> None:
    held = bytearray(200_000_000)
    cost = run([sys.executable, "-I", "-S", "-c", "print('out'); raise SystemExit(3)"], environment(tmp_path))
    assert (cost.status, cost.output) == (3, "out\n")
    assert cost.memory < len(held) / 1e6 / 2


@pytest.mark.controlplane
@pytest.mark.slow
def test_live(tmp_path: Path) -> None:
    found = {figure["what"]: figure for figure in bench(tmp_path, "live")}
    assert str(found["gitops apply, requests counted"]["note"]).endswith("0 dry runs, 0 writes")
    assert "peer: kubectl diff --server-side" in found


def test_peers_have_their_programs() -> None:
    folder = ROOT / "benchmarks/peers"
    assert all((folder / peer.name).is_dir() for peer in PEERS)


def test_table() -> None:
    text = table([Figure("plan", "what", 0.1234, 1.0, goal="0.2 s", note="note")])
    assert text.splitlines()[1].split() == ["plan", "what", "0.123", "1.000", "0.2", "s", "note"]
