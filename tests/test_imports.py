"""The packages may import each other in one direction only, and the command line starts light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "gitops"

MAY_IMPORT = {
    "errors": set(),
    "values": set(),
    "spec": {"errors", "values"},
    "render": {"errors", "values", "spec"},
    "rollout": {"errors", "values", "spec"},
    "plan": {"errors", "values", "spec", "render", "rollout"},
    "view": {"errors", "values", "spec", "rollout", "plan"},
    "stages": {"errors", "values", "spec"},
    "world": {"errors", "values", "spec", "render", "rollout", "plan"},
    "engine": {"errors", "values", "spec", "render", "rollout", "plan", "view", "world", "stages"},
    "cli": {"errors", "values", "spec", "render", "rollout", "plan", "view", "world", "engine", "stages"},
    "__main__": {"cli"},
}
"""Which packages a package may import; `rollout` and `render` know nothing of each other or of the world."""

PURE = ("spec", "render", "rollout", "plan", "view")
TOUCHES_THE_WORLD = {"subprocess", "socket", "kubernetes", "git", "python_terraform", "sqlite3", "tempfile", "urllib3"}


def package_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Every module that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
    return found


FILES = sorted(path for path in SOURCE.rglob("*.py") if path.name != "__init__.py" or path.parent != SOURCE)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_inwards(path: Path) -> None:
    package = package_of(path)
    ours = {name.split(".")[1] for name in imported(path) if name.startswith("gitops.")}
    assert ours - {package} <= MAY_IMPORT[package]


@pytest.mark.parametrize("path", [p for p in FILES if package_of(p) in PURE], ids=lambda p: str(p.relative_to(SOURCE)))
def test_pure_packages_do_not_touch_the_world(path: Path) -> None:
    assert not {name.split(".")[0] for name in imported(path)} & TOUCHES_THE_WORLD


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import gitops.cli.main", {"pydantic", "kubernetes", "git", "jinja2", "rich", "python_terraform", "yaml"}),
        (
            "import gitops.cli.commands, gitops.engine.applying",
            {"kubernetes", "git", "jinja2", "python_terraform", "rich"},
        ),
        ("import gitops.cli.history, gitops.world.chronicle", {"pydantic", "kubernetes", "jinja2"}),
    ],
)
def test_heavy_libraries_are_imported_late(statement: str, absent: set[str]) -> None:
    code = f"{statement}; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=SOURCE.parent, check=True)
    assert not absent & {name.split(".")[0] for name in done.stdout.split()}
