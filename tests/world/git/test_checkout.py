"""Facts of the checkout that holds the spec, from real repositories."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from gitops.errors import GitopsError
from gitops.rollout.release import SpecSource
from gitops.world.git.checkout import contains, earlier_files, is_shallow, project_commit, spec_source, tracked

SPEC, ENVIRONMENT = Path("pipeline.yaml"), Path("environments/dev.yaml")


def git(*arguments: str, cwd: Path) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    done = subprocess.run(["git", *identity, *arguments], cwd=cwd, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(checkout: Path, message: str) -> str:
    git("add", "-A", cwd=checkout)
    git("commit", "-q", "--allow-empty", "-m", message, cwd=checkout)
    return git("rev-parse", "HEAD", cwd=checkout)


@pytest.fixture(autouse=True)
def _nobodys_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project in a folder of a larger checkout."""
    project = tmp_path / "checkout" / "serving"
    (project / "environments").mkdir(parents=True)
    git("init", "-q", "-b", "main", cwd=tmp_path / "checkout")
    (project / SPEC).write_text("name: x\n")
    (project / ENVIRONMENT).write_text("gpu: 1\n")
    return project


def test_a_clean_checkout(project: Path) -> None:
    head = commit(project, "first")
    (project / "notes.txt").write_text("of no concern")
    assert spec_source(project, [SPEC, project / ENVIRONMENT]) == SpecSource(head)
    assert spec_source(project, []) == SpecSource(head)


@pytest.mark.parametrize("staged", [False, True])
def test_a_modified_file(project: Path, staged: bool) -> None:
    head = commit(project, "first")
    (project / ENVIRONMENT).write_text("gpu: 2\n")
    if staged:
        git("add", "-A", cwd=project)
    assert spec_source(project, [SPEC, ENVIRONMENT]) == SpecSource(head, modified=True)
    assert spec_source(project, [SPEC]) == SpecSource(head)


def test_files_that_the_commit_does_not_have(project: Path, tmp_path: Path) -> None:
    (project.parent / ".gitignore").write_text("*.local.yaml\nignored/\n")
    head = commit(project, "first")
    (project / "ignored").mkdir()
    outside = tmp_path / "outside.yaml"
    for other in (Path("new.yaml"), Path("environments/x.local.yaml"), Path("ignored/x.yaml"), outside):
        (project / other).write_text("x")
        assert spec_source(project, [SPEC, other]) == SpecSource(head, modified=True), other
    assert spec_source(project, [SPEC]) == SpecSource(head)
    (project / SPEC).unlink()
    assert spec_source(project, [SPEC]).modified


def test_names_are_taken_literally(project: Path) -> None:
    head = commit(project, "first")
    (project / SPEC).write_text("changed")
    assert spec_source(project, [Path("*.yaml"), Path(":(glob)**")]) == SpecSource(head)


def test_no_git(tmp_path: Path, project: Path) -> None:
    (tmp_path / "plain").mkdir()
    assert spec_source(tmp_path / "plain", [SPEC]) == SpecSource()
    assert contains(tmp_path / "plain", ["1" * 40]) == set()
    assert not is_shallow(tmp_path / "plain")
    assert spec_source(project, [SPEC]) == SpecSource(), "no commit yet"
    assert contains(project, ["1" * 40]) == set()


def test_line_endings_as_the_user_set_them(project: Path) -> None:
    git("config", "--global", "core.autocrlf", "true", cwd=project)
    (project / SPEC).write_bytes(b"name: x\r\n")
    head = commit(project, "first")
    os.utime(project / SPEC, (1, 1))
    assert spec_source(project, [SPEC]) == SpecSource(head)


def test_in_a_hook(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = commit(project, "first")
    monkeypatch.setenv("GIT_DIR", ".git")
    monkeypatch.setenv("GIT_INDEX_FILE", "elsewhere")
    assert spec_source(project, [SPEC]) == SpecSource(head)


def test_contains(project: Path) -> None:
    first = commit(project, "first")
    second = commit(project, "second")
    git("checkout", "-q", "-b", "side", first, cwd=project)
    side = commit(project, "side")
    merged_later = commit(project, "side 2")
    git("checkout", "-q", "main", cwd=project)
    git("-c", "commit.gpgSign=false", "merge", "-q", "--no-ff", "-m", "merge", side, cwd=project)
    blob = git("rev-parse", "HEAD:serving/pipeline.yaml", cwd=project)
    asked = [first, second, side, merged_later, blob, "1" * 40, "HEAD", "--all", ""]
    assert contains(project, asked) == {first, second, side}
    assert contains(project, []) == set()
    assert contains(project, [merged_later]) == set()


def test_shallow(project: Path, tmp_path: Path) -> None:
    first = commit(project, "first")
    second = commit(project, "second")
    git("clone", "-q", "--depth=1", project.parent.as_uri(), str(tmp_path / "clone"), cwd=tmp_path)
    assert is_shallow(tmp_path / "clone")
    assert not is_shallow(project)
    assert contains(tmp_path / "clone", [first, second]) == {second}


def test_a_checkout_that_git_refuses(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(project, "first")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(GitopsError, match="belongs to another user"):
        spec_source(project, [SPEC])


def test_it_is_quick(project: Path) -> None:
    commit(project, "first")
    times = []
    for _ in range(10):
        started = time.perf_counter()
        spec_source(project, [SPEC, ENVIRONMENT])
        times.append(time.perf_counter() - started)
    assert min(times) < 0.05, "0.005 s expected, with room for a busy machine"


# --- A checkout that somebody else has configured ---------------------------------------------------------------------

PROGRAM = "touch {ran}; cat"


@pytest.fixture
def planted(project: Path, tmp_path: Path) -> Path:
    """A file that is made by whichever program of the checkout's configuration runs."""
    ran = tmp_path / "ran"
    program = PROGRAM.format(ran=ran)
    (project.parent / ".gitattributes").write_text("* filter=theirs diff=theirs\n")
    commit(project, "first")
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("post-index-change", "reference-transaction", "post-checkout"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {ran}\n")
        (hooks / name).chmod(0o755)
    settings = {
        "core.fsmonitor": program,
        "core.hooksPath": str(hooks),
        "filter.theirs.clean": program,
        "filter.theirs.smudge": program,
        "filter.theirs.required": "true",
        "diff.theirs.textconv": program,
        "diff.theirs.command": program,
        "diff.external": program,
        "core.pager": program,
        "gpg.program": program,
        "log.showSignature": "true",
    }
    for name, value in settings.items():
        git("config", name, value, cwd=project)
    return ran


def test_no_program_of_the_checkout_runs(project: Path, planted: Path) -> None:
    head = git("rev-parse", "HEAD", cwd=project)
    planted.unlink(missing_ok=True)
    os.utime(project / SPEC, (1, 1))  # looks changed, so that its content is compared
    assert spec_source(project, [SPEC, ENVIRONMENT]) == SpecSource(head)
    (project / SPEC).write_text("name: y\n")
    assert spec_source(project, [SPEC]) == SpecSource(head, modified=True)
    assert project_commit(project)[0] == f"{head}-dirty"
    assert [files[str(SPEC)] for _, files in earlier_files(project, [str(SPEC)], 5)] == [b"name: x\n"]
    assert contains(project, [head]) == {head}
    assert not is_shallow(project)
    assert not planted.exists()


def test_what_is_missing_is_not_fetched_by_a_program_of_the_checkout(project: Path, tmp_path: Path) -> None:
    head = commit(project, "first")
    blob = git("rev-parse", f"{head}:serving/pipeline.yaml", cwd=project)
    (project.parent / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    settings = {
        "core.repositoryFormatVersion": "1",
        "extensions.partialClone": "theirs",
        "remote.theirs.url": str(project.parent),
        "remote.theirs.promisor": "true",
        "remote.theirs.uploadpack": f"touch {tmp_path / 'ran'};",
    }
    for name, value in settings.items():
        git("config", name, value, cwd=project)
    with pytest.raises(GitopsError):
        list(earlier_files(project, [str(SPEC)], 5))
    assert not (tmp_path / "ran").exists()


def test_filters_of_the_user_stay(project: Path, tmp_path: Path) -> None:
    (tmp_path / "gitconfig").write_text('[filter "mine"]\n\tclean = sed s/secret/plain/\n\trequired = true\n')
    (project.parent / ".gitattributes").write_text("* filter=mine\n")
    (project / SPEC).write_text("name: secret\n")
    head = commit(project, "first")
    os.utime(project / SPEC, (1, 1))
    assert spec_source(project, [SPEC]) == SpecSource(head)


def test_files_of_a_commit_below_a_directory_are_counted(project: Path) -> None:
    commit(project, "first")
    assert tracked(project, ".gitops") == 0
    (project / ".gitops" / "cache").mkdir(parents=True)
    (project / ".gitops" / "cache" / "config").write_text("x")
    assert tracked(project, ".gitops") == 0
    git("add", "-f", ".gitops", cwd=project)
    assert tracked(project, ".gitops") == 1
    assert tracked(project.parent.parent, ".gitops") == 0
