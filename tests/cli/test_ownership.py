"""Nobody's property is touched: two projects that meet on one cluster."""

import shutil
from pathlib import Path

from tests.cli.small import live, small_project
from tests.support.project import Project

NAMESPACE = "acme-dev"
MODELS = ["chat-1-0-0", "search-2-0-0"]


def neighbour(first: Project, path: Path) -> Project:
    """A project of the same name on the same cluster, which has a GitOps repository of its own."""
    shutil.copytree(first.path, path)
    shutil.rmtree(path / ".gitops" / "repository.git")
    return Project(path)


def test_a_namesake_touches_nothing_until_it_is_told_to(tmp_path: Path) -> None:
    first = small_project(tmp_path / "first", production=False)
    first.gitops("apply", "--yes")
    second = neighbour(first, tmp_path / "second")
    second.edit("pipeline.yaml", "  search:", "  lookup:")

    refused = second.gitops("apply", "--yes", expect=1)
    assert "belongs to another GitOps repository" in refused.out
    assert "--adopt" in refused.err
    with live(second, "local", embedded=False) as cluster:
        assert cluster.names("Deployment", NAMESPACE) == MODELS

    # What is taken over is what the spec names. What else the first one has stays its own.
    second.gitops("apply", "--yes", "--adopt")
    with live(second, "local", embedded=False) as cluster:
        assert cluster.names("Deployment", NAMESPACE) == ["chat-1-0-0", "lookup-2-0-0", "search-2-0-0"]
    second.gitops("plan", expect=0)


def test_what_git_never_had_stays(tmp_path: Path) -> None:
    """A branch that was set back: the cluster has a model of which the history knows nothing any more."""
    project = small_project(tmp_path / "acme", production=False)
    text = (project.path / "pipeline.yaml").read_text()
    head, search = text[: text.index("  search:")], text[text.index("  search:") :]
    (project.path / "pipeline.yaml").write_text(head)
    project.gitops("apply", "--yes")
    shutil.copytree(project.path / ".gitops" / "repository.git", tmp_path / "before")
    (project.path / "pipeline.yaml").write_text(head + search)
    project.gitops("apply", "--yes")
    shutil.rmtree(project.path / ".gitops" / "repository.git")
    shutil.copytree(tmp_path / "before", project.path / ".gitops" / "repository.git")
    (project.path / "pipeline.yaml").write_text(head)

    refused = project.gitops("apply", "--yes", expect=1)
    assert "Deployment acme-dev/search-2-0-0" in refused.out
    assert "the history of this GitOps repository never had it" in " ".join(refused.out.split())
    with live(project, "local", embedded=False) as cluster:
        assert cluster.names("Deployment", NAMESPACE) == MODELS
    project.gitops("apply", "--yes", "--allow-deletions")
    with live(project, "local", embedded=False) as cluster:
        assert cluster.names("Deployment", NAMESPACE) == MODELS[:1]
