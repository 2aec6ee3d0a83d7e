"""Terraform's environment and CLI configuration file: ours, so that a machine's settings cannot change a plan."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from gitops.render.hcl import hcl

_KEPT = ("TF_TOKEN_", "TF_LOG", "TF_REGISTRY_", "TF_PLUGIN_MIRROR")


def process_environment(given: Mapping[str, str]) -> dict[str, str]:
    """`given` less the TF_ variables that add arguments, variables or workspaces, plus what automation needs."""
    kept = {name: value for name, value in given.items() if not name.startswith("TF_") or name.startswith(_KEPT)}
    return {**kept, "TF_IN_AUTOMATION": "1", "TF_INPUT": "0", "CHECKPOINT_DISABLE": "1"}


def cli_configuration(given: Mapping[str, str], *, locked: bool) -> str | Path:
    """The text of the CLI configuration to write, or the path of the user's own, which is used as it is.

    TF_PLUGIN_MIRROR names a directory that holds all providers. Without it the user's configuration counts, if it
    exists: it may name a company's mirror or hold credentials. Otherwise Terraform looks where it always does, and
    keeps what it downloads in our cache. `locked`: the files bring a dependency lock file.
    """
    if mirror := given.get("TF_PLUGIN_MIRROR"):
        path = hcl(str(Path(mirror).absolute()))
        return f"provider_installation {{\n  filesystem_mirror {{\n    path = {path}\n  }}\n}}\n"
    own = _users_file(given)
    if own is not None:
        return own
    lines = [f"plugin_cache_dir = {hcl(str(plugin_cache(given)))}"]
    if not locked:
        # Without a lock file Terraform would not trust the cache and download again for every root.
        lines.append("plugin_cache_may_break_dependency_lock_file = true")
    return "\n".join(lines) + "\n"


def plugin_cache(given: Mapping[str, str]) -> Path:
    """Where downloaded providers are kept."""
    base = given.get("XDG_CACHE_HOME")
    return (Path(base) if base else _home(given) / ".cache") / "gitops-models" / "terraform-plugins"


@contextmanager
def plugin_cache_lock(given: Mapping[str, str]) -> Iterator[None]:
    """One init at a time: Terraform's plugin cache is not made for concurrent writers."""
    cache = plugin_cache(given)
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _users_file(given: Mapping[str, str]) -> Path | None:
    named = given.get("TF_CLI_CONFIG_FILE")
    path = Path(named) if named else _home(given) / ".terraformrc"
    return path if path.is_file() else None


def _home(given: Mapping[str, str]) -> Path:
    return Path(given["HOME"]) if given.get("HOME") else Path.home()
