"""Builds with the real tools: from a PyTorch checkpoint to a Triton repository, refused, repeated, killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gitops.errors import GitopsError
from gitops.stages.build.runner import BuildRejected, BuildResult
from gitops.stages.build.workspace import DIRECTORY
from gitops.stages.digest import digest_path
from tests.stages.build.projects import CONVERT, INT8, TRITON, Project

ROOT = Path(__file__).parents[3]
PRUNE = {"stage": "prune", "sparsity": 0.2}


def test_a_checkpoint_becomes_a_triton_repository(built: tuple[Project, BuildResult]) -> None:
    _, result = built
    files = sorted(path.relative_to(result.path).as_posix() for path in result.path.rglob("*") if path.is_file())
    assert files == ["iris/1/model.onnx", "iris/config.pbtxt"]
    assert digest_path(result.path).digest == result.digest
    assert [stage.stage for stage in result.stages] == ["convert", "prune", "quantize", "triton"]
    assert not any(stage.cached for stage in result.stages)
    convert, prune, quantize, _ = result.stages
    assert 0 <= convert.figures["max-difference-scores"] < 1e-4
    assert convert.tools["torch"] == "2.15.0"
    assert convert.figures["peak-memory-bytes"] > 50e6
    assert 0.19 < prune.figures["sparsity"] <= 0.2
    assert quantize.figures["quantized-nodes"] >= 3
    assert quantize.figures["accuracy-percent"] > 70
    assert quantize.figures["labelled-samples"] == 500


def test_done_says_what_was_made(built: tuple[Project, BuildResult]) -> None:
    project, result = built
    for stage in result.stages:
        done = json.loads((project.path / DIRECTORY / stage.key / "done.json").read_text())
        assert done["digest"] == digest_path(stage.path).digest == stage.digest
    log = (project.path / DIRECTORY / f"{result.stages[0].key}.log").read_text()
    assert "torch" in log  # what the tools print is kept, and not shown


def test_a_second_build_runs_nothing(built: tuple[Project, BuildResult], tmp_path: Path) -> None:
    before, first = built
    project = before.copy(tmp_path / "project")
    told: list[str] = []
    second = project.build(CONVERT, PRUNE, INT8, TRITON, say=told.append)
    assert second.cached
    assert second.digest == first.digest
    assert [line.rpartition(": ")[2] for line in told] == ["was finished before"] * 4


def test_a_change_runs_what_depends_on_it(built: tuple[Project, BuildResult], tmp_path: Path) -> None:
    project = built[0].copy(tmp_path / "project")
    changed = project.build(CONVERT, PRUNE, INT8, {**TRITON, "maxBatchSize": 16})
    assert [stage.cached for stage in changed.stages] == [True, True, True, False]
    (project.path / "training" / "__pycache__").mkdir(exist_ok=True)
    (project.path / "training" / "__pycache__" / "nets.cpython-311.pyc").write_bytes(b"other")
    (project.path / "training" / "notes.md").write_text("not code")
    assert project.build(CONVERT, PRUNE).cached


def test_a_damaged_result_is_made_again(built: tuple[Project, BuildResult], tmp_path: Path) -> None:
    project = built[0].copy(tmp_path / "project")
    damaged = project.path / DIRECTORY / built[1].stages[1].key / "output" / "model.onnx"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    again = project.build(CONVERT, PRUNE)
    assert [stage.cached for stage in again.stages] == [True, False]
    assert again.digest == built[1].stages[1].digest  # and the tools make the same bytes of it


def test_a_loss_of_accuracy_stops_the_build(built: tuple[Project, BuildResult], tmp_path: Path) -> None:
    project = built[0].copy(tmp_path / "project")
    before = {path.name for path in (project.path / DIRECTORY).iterdir() if (path / "done.json").exists()}
    prune = {"stage": "prune", "sparsity": 0.97, "labelled": "samples/iris.npz", "maxAccuracyDrop": "1%"}
    with pytest.raises(BuildRejected) as caught:
        project.build(CONVERT, prune, TRITON)
    assert caught.value.where == "iris: 2 prune"
    assert "accuracy: fail (0 of 1)" in caught.value.what
    assert "expected at most 1 points below" in caught.value.what
    assert "points lower, 500 samples" in caught.value.what
    after = {path.name for path in (project.path / DIRECTORY).iterdir() if (path / "done.json").exists()}
    assert after == before


def test_dynamic_quantization(built: tuple[Project, BuildResult], tmp_path: Path) -> None:
    project = built[0].copy(tmp_path / "project")
    dynamic = {**INT8, "method": "dynamic-int8", "calibration": None}
    result = project.build(CONVERT, {name: value for name, value in dynamic.items() if value is not None})
    assert result.stages[1].figures["quantized-nodes"] == 2
    assert result.stages[1].figures["accuracy-percent"] > 70


def test_samples_that_do_not_fit_are_named(built: tuple[Project, BuildResult], tmp_path: Path) -> None:
    project = built[0].copy(tmp_path / "project")
    shutil.copy(project.path / "samples" / "typical.npz", project.path / "samples" / "iris.npz")
    with pytest.raises(GitopsError, match=r"2 quantize.*there is no array 'labels'"):
        project.build(CONVERT, INT8)


def test_another_checkpoint_is_refused(trained: Project) -> None:
    source = {"uri": "file://checkpoints/loop.pt", "digest": "sha256:" + "1" * 64, "format": "pytorch"}
    with pytest.raises(GitopsError, match="the source has the digest sha256:") as caught:
        trained.build(CONVERT, source=source)
    assert digest_path(trained.path / "checkpoints" / "loop.pt").digest in caught.value.hint


def test_a_python_without_the_tools_says_so(trained: Project, tmp_path: Path) -> None:
    project = trained.copy(tmp_path / "project")
    # This Python has numpy, and neither torch nor ONNX.
    with pytest.raises(GitopsError, match=r"1 convert: the Python of the build does not have (torch|onnx)"):
        project.build(CONVERT, python=sys.executable)


SERVER = {
    "stage": "package",
    "as": "image",
    "server": "custom",
    "base": "python:3.12-slim@sha256:" + "2" * 64,
    "image": "registry.acme.ai/iris",
    "code": "server",
    "command": ["python3", "main.py"],
    "push": True,
}
BUILDCTL = """\
#!/bin/sh
[ "$1" = build ] || exit 0
echo "$SOURCE_DATE_EPOCH $*" > RECORD
for argument in "$@"; do
  case "$argument" in --metadata-file=*) echo '{"containerimage.digest": "sha256:feed"}' > "${argument#*=}" ;; esac
done
"""


def test_an_image_is_built_where_there_is_a_builder(
    built: tuple[Project, BuildResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = built[0].copy(tmp_path / "project")
    (project.path / "server").mkdir()
    (project.path / "server" / "main.py").write_text("print('serving')\n")
    programs, record = tmp_path / "bin", tmp_path / "record"
    programs.mkdir()
    for name, value in (("PATH", programs), ("GITOPS_COMMIT", "c0ffee"), ("SOURCE_DATE_EPOCH", 7)):
        monkeypatch.setenv(name, str(value))
    context = project.build(CONVERT, SERVER).stages[1]
    assert context.notes == (
        "no BuildKit and no docker here: registry.acme.ai/iris:c0ffee was not built, its context was",
    )
    assert {"Dockerfile", "model", "server", "sbom.cdx.json"} <= {path.name for path in context.path.iterdir()}
    assert not record.exists()

    (programs / "buildctl").write_text(BUILDCTL.replace("RECORD", str(record)))
    (programs / "buildctl").chmod(0o755)
    image = project.build(CONVERT, SERVER).stages[1]
    assert not image.cached
    assert image.notes == ("registry.acme.ai/iris:c0ffee is sha256:feed",)
    assert image.digest == context.digest
    assert record.read_text().startswith("7 build --frontend=dockerfile.v0 --local=context=")
    assert "name=registry.acme.ai/iris:c0ffee,push=true" in record.read_text()
    assert project.build(CONVERT, SERVER).cached


BUILD = """\
import sys
from pathlib import Path
from tests.stages.build.projects import CONVERT, INT8, Project
Project(Path(sys.argv[1]), Path(sys.argv[2])).build(CONVERT, INT8, say=lambda line: print(line, flush=True))
"""


def processes_of(project: Path) -> list[int]:
    """Processes whose command line names the project."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(project).encode() in command:
                found.append(int(entry.name))
    return found


def test_a_killed_build_goes_on_where_it_was(built: tuple[Project, BuildResult], tmp_path: Path) -> None:
    project = built[0].copy(tmp_path / "project")
    command = [sys.executable, "-c", BUILD, str(project.path), str(project.python)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT) as process:
        assert process.stdout
        for line in process.stdout:
            if "2 quantize: quantizing" in line:
                process.kill()
                break
    assert process.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while processes_of(project.path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_of(project.path) == []  # the stage ended with the build
    left = [path.name for path in (project.path / DIRECTORY).glob(".*.work")]
    assert len(left) == 1
    again = project.build(CONVERT, INT8)
    assert [stage.cached for stage in again.stages] == [True, False]
    assert not list((project.path / DIRECTORY).glob(".*.work"))
