"""Checks of what an environment changes: what belongs together is changed together.

Mappings are merged, so that a half which is not written stays that of `pipeline.yaml`: a version would run another's
files, a GPU type would keep the count that was meant for another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from gitops.spec.documents import Finding
from gitops.spec.draft import Draft
from gitops.spec.images import unpins
from gitops.spec.problems import Path, dotted, listed


class Pair(NamedTuple):
    """A field, and those that have to be written beside it where an environment gives it another value."""

    changed: Path
    beside: tuple[Path, ...]


_DIGEST: Path = ("artifact", "digest")
_SOURCE: Path = ("build", "source")
PAIRS = (
    Pair(("version",), (_DIGEST, (*_SOURCE, "digest"))),
    Pair(_DIGEST, (("artifact", "uri"),)),
    Pair(("artifact", "format"), (_DIGEST,)),
    Pair(("artifact", "builtFor"), (_DIGEST,)),
    Pair((*_SOURCE, "digest"), ((*_SOURCE, "uri"),)),
    Pair((*_SOURCE, "format"), ((*_SOURCE, "digest"),)),
    Pair(("serve", "runtime"), (("serve", "image"), ("serve", "loadTime"))),
    Pair(("serve", "command"), (("serve", "args"),)),
    Pair(("serve", "gpu", "type"), (("serve", "gpu", "count"), ("serve", "parallelism"))),
    Pair(("serve", "replicas", "autoscaling", "metric"), (("serve", "replicas", "autoscaling", "target"),)),
)
"""What belongs together. An address alone may change: the digest proves that the same files lie elsewhere."""


def overrides(draft: Draft) -> Iterator[Finding]:
    """No environment keeps half of a pair, or leaves an image without the digest that it has elsewhere."""
    for name, environment in draft.environments.items():
        for model, change in environment.models.items():
            base = draft.written.get(model)
            if not isinstance(base, Mapping) or model in environment.exclude:
                continue
            for path, message, hint in (*_halves(base, change), *_unpinned(base, change)):
                yield Finding(("models", model, *path), message, hint, name)


_Wrong = tuple[Path, str, str]


def _halves(base: Mapping[str, Any], change: Mapping[str, Any]) -> Iterator[_Wrong]:
    for changed, beside in PAIRS:
        value = _at(change, changed)
        if value is _NOTHING or value is None or value == _at(base, changed):
            continue
        kept = [path for path in beside if _at(base, path) is not _NOTHING and _at(change, path) is _NOTHING]
        if kept:
            names = listed(f"`{dotted(path)}`" for path in kept)
            message = f"this is changed here, and {names} {'stays' if len(kept) == 1 else 'stay'} as in pipeline.yaml"
            yield changed, message, f"write {names} here too, even if the value is the same"


def _unpinned(base: Mapping[str, Any], change: Mapping[str, Any]) -> Iterator[_Wrong]:
    for key in ("image", "fetchImage"):
        path: Path = ("serve", key)
        if wrong := unpins(_at(base, path), _at(change, path)):
            yield path, *wrong


class _Nothing:
    pass


_NOTHING = _Nothing()


def _at(data: Any, path: Path) -> Any:
    """The value at the path, or None where it or a part above it was removed, or _NOTHING where nothing is said."""
    for key in path:
        if data is None:
            return None
        if not isinstance(data, Mapping) or key not in data:
            return _NOTHING
        data = data[key]
    return data
