"""What the documentation shows, works: console blocks are run, links lead somewhere, tables name real things."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from gitops.cli.main import app
from gitops.spec.load import load_spec
from gitops.spec.resolved import SourceFile
from tests.support.project import ROOT, Project

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(path: Path, language: str) -> list[str]:
    return [body for kind, body in BLOCK.findall(path.read_text()) if kind == language]


def test_the_readme_session_runs_as_shown(tmp_path: Path) -> None:
    project = Project(tmp_path)
    (session,) = blocks(ROOT / "README.md", "console")
    for part in re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]:
        line, _, shown = part.partition("\n")
        program, command, *arguments = shlex.split(line)
        assert program == "gitops"
        if command == "init":
            done = project.init()
        else:
            done = project.gitops(command, *arguments, expect=2 if command == "plan" else 0)
        assert shown.strip() in done.out


def test_the_simulation_in_the_documentation_runs_as_shown(tmp_path: Path) -> None:
    (session,) = blocks(ROOT / "docs" / "rollouts.md", "console")
    line, _, shown = session.removeprefix("$ ").partition("\n")
    project = Project(tmp_path)
    project.init()
    assert shown.strip() in project.gitops(*shlex.split(line)[1:], expect=0).out


def test_the_readme_policy_is_a_good_one() -> None:
    policy = blocks(ROOT / "README.md", "yaml")[1]
    head, _, _ = (ROOT / "pipeline.yaml").read_text().partition("rollouts:\n")
    text = re.sub(r"rollout: \w+", "rollout: careful", head) + policy
    environments = [
        SourceFile(f"environments/{path.name}", re.sub(rb"rollout: quick", b"rollout: careful", path.read_bytes()))
        for path in sorted((ROOT / "environments").glob("*.yaml"))
    ]
    spec = load_spec(SourceFile("pipeline.yaml", text.encode()), environments)
    assert [gate.key for gate in spec.pipeline.rollouts["careful"].gates] == ["latency-p99", "error-rate", "refusals"]


def test_the_readme_model_is_the_examples_form() -> None:
    snippet = blocks(ROOT / "README.md", "yaml")[0]
    example = yaml.safe_load((ROOT / "pipeline.yaml").read_text())
    model = yaml.safe_load(snippet)["models"]["support-chat"]
    assert model["artifact"] == example["models"]["support-chat"]["artifact"]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_and_flags_exist(path: Path) -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    for command, rest in re.findall(r"`gitops ([a-z]+)([^`]*)`", path.read_text()):
        assert command in commands, f"{path.name} names gitops {command}"
        found, word = commands[command], rest.split(maxsplit=1)[:1]
        if word and word[0] in getattr(found, "commands", {}):
            found = found.commands[word[0]]
        known = {option for parameter in found.params for option in parameter.opts}
        for flag in re.findall(r"--[a-z-]+", rest):
            assert flag in known, f"{path.name}: gitops {command} has no {flag}"
