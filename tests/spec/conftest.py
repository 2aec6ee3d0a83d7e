from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gitops.spec.resolved import SourceFile
from tests.spec.loader import ROOT, Loader

BASE = Path(__file__).parent / "corpus/base"


@pytest.fixture(scope="session")
def loader() -> Iterator[Loader]:
    child = Loader()
    yield child
    child.close()


@pytest.fixture(scope="session")
def base() -> dict[str, bytes]:
    """The small spec that corpus cases break."""
    return read_tree(BASE)


@pytest.fixture(scope="session")
def example() -> dict[str, bytes]:
    """The committed example."""
    paths = [ROOT / "pipeline.yaml", *sorted((ROOT / "environments").glob("*.yaml"))]
    return {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in paths}


def read_tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*.y*ml"))}


def sources(files: dict[str, bytes]) -> tuple[SourceFile, list[SourceFile]]:
    """The arguments of load_spec."""
    rest = [SourceFile(name, data) for name, data in files.items() if name != "pipeline.yaml"]
    return SourceFile("pipeline.yaml", files["pipeline.yaml"]), rest
