from __future__ import annotations

import subprocess
import sys

import pytest

from gitops.spec.peek import Repository, repository_of
from gitops.spec.problems import SpecError
from gitops.spec.resolved import SourceFile
from tests.spec.loader import ROOT


def peek(text: str) -> tuple[str, Repository]:
    return repository_of(SourceFile("pipeline.yaml", text.encode()))


def test_the_example(example: dict[str, bytes]) -> None:
    data = example["pipeline.yaml"]
    assert repository_of(SourceFile("pipeline.yaml", data)) == ("acme-inference", Repository())


def test_reads_no_further_than_needed() -> None:
    text = "name: a\nrepository: {url: 'https://example.com/a.git', branch: live, signing: {sshKey: ~/.ssh/k}}\n[[["
    assert peek(text) == ("a", Repository("https://example.com/a.git", "live", "~/.ssh/k"))


def test_skips_what_comes_before() -> None:
    assert peek("models: {a: {b: [1, {c: 2}]}}\nname: a\n") == ("a", Repository())


@pytest.mark.parametrize(
    "text", ["", "[a]", "name: 1\n", "repository: {}\n", "name: a\nrepository: x\n", "name: [", "? [a]\n: b\nname: a\n"]
)
def test_refuses_what_has_none(text: str) -> None:
    with pytest.raises(SpecError, match="gitops validate"):
        peek(text)


def test_needs_no_pydantic() -> None:
    code = "import sys, gitops.spec.peek; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT / "src")}).returncode == 0
