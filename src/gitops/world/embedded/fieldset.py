"""Server-side apply: who owns which field, and what an apply or an update makes of an object.

After sigs.k8s.io/structured-merge-diff (merge/update.go, typed/compare.go, typed/tofieldset.go), which the real
API server uses, cut down to one API version per kind. A set of fields is a set of paths; a path is a tuple of
FieldsV1 elements: `f:name`, `k:{"name":"server"}`, `v:"value"`. A path that ends at a list item says that the
item itself is owned (`.` in FieldsV1); one that ends at a field, that its whole value is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gitops.world.kubernetes.structure import ATOMIC_AT_TOP, ATOMIC_ITEMS, ATOMIC_MAPS, SETS, item_key, list_keys

Path = tuple[str, ...]
Paths = frozenset[Path]
Managers = dict[str, Paths]
Manifest = dict[str, Any]

_EMPTY: Paths = frozenset()
_UNTRACKED = frozenset(
    {
        *((f"f:{field}",) for field in ("apiVersion", "kind", "status")),
        *(
            ("f:metadata", f"f:{field}")
            for field in (
                "name",
                "namespace",
                "creationTimestamp",
                "deletionTimestamp",
                "generation",
                "managedFields",
                "resourceVersion",
                "selfLink",
                "uid",
            )
        ),
    }
)


class _Absent:
    """Stands for no value, which is not the same as null."""


_ABSENT = _Absent()


@dataclass(frozen=True, slots=True)
class Comparison:
    """Which fields changed from one object to another."""

    added: Paths
    modified: Paths
    removed: Paths


@dataclass(frozen=True, slots=True)
class Applied:
    """The object after an apply, who owns what then, and what of it others had owned with other values."""

    manifest: Manifest
    managers: Managers
    conflicts: Managers


def fields_of(manifest: Mapping[str, Any]) -> Paths:
    """Every field that a manifest sets, in the sense of ownership."""
    return frozenset(path for path in _leaves((), manifest) if not _is_untracked(path))


def apply(live: Manifest, config: Manifest, managers: Managers, manager: str) -> Applied:
    """Merge `config`, take over what it sets, and drop what `manager` set before and no one sets now.

    `managers` maps each owner to its fields; conflicts are reported, and taken over in the result.
    """
    owned = fields_of(config)
    before = managers.get(manager, _EMPTY)
    others = {name: paths for name, paths in managers.items() if name != manager}
    result = _merge((), live, config)
    kept = owned.union(*others.values())
    result = _prune(result, before - kept, _closure(kept))
    comparison = compare(live, result)
    changed = comparison.added | comparison.modified
    conflicts = {name: clash for name, paths in others.items() if (clash := paths & changed)}
    after = _without(others, changed | comparison.removed)
    if owned:
        after[manager] = owned
    return Applied(result, after, conflicts)


def update(live: Manifest, new: Manifest, managers: Managers, manager: str) -> Managers:
    """Who owns what after `manager` replaced `live` by `new`: whoever changes a field owns it alone."""
    comparison = compare(live, new)
    changed = comparison.added | comparison.modified
    after = _without({name: paths for name, paths in managers.items() if name != manager}, changed | comparison.removed)
    mine = (managers.get(manager, _EMPTY) - comparison.removed) | changed
    if mine:
        after[manager] = mine
    return after


def compare(old: Manifest, new: Manifest) -> Comparison:
    """The tracked fields that differ."""
    added: set[Path] = set()
    modified: set[Path] = set()
    removed: set[Path] = set()
    _compare((), old, new, added, modified, removed)
    tracked = (
        frozenset(path for path in paths if path and not _is_untracked(path)) for paths in (added, modified, removed)
    )
    return Comparison(*tracked)


def to_fields_v1(paths: Paths) -> dict[str, Any]:
    """The tree that the API shows in managedFields."""
    tree: dict[str, Any] = {}
    for path in sorted(paths):
        node = tree
        for element in path:
            node = node.setdefault(element, {})
        node["."] = {}
    return _without_leaf_marks(tree)


def from_fields_v1(tree: Mapping[str, Any]) -> Paths:
    """The reverse of to_fields_v1."""
    return frozenset(_paths_of((), tree))


def display(path: Path) -> str:
    """A path as the API server's messages show it: `.spec.containers[name="server"].image`."""
    text = ""
    for element in path:
        kind, value = element[:2], element[2:]
        if kind == "f:":
            text += f".{value}"
        elif kind == "v:":
            text += f"[={value}]"
        else:
            keys = orjson.loads(value)
            text += f"[{','.join(f'{key}={orjson.dumps(item).decode()}' for key, item in keys.items())}]"
    return text


# --- Walking -------------------------------------------------------------------------------------------------


def _children(path: Path, value: Any) -> list[tuple[str, Any]] | None:
    """The parts of a value that are owned one by one, or None when it is owned as a whole."""
    field = path[-1][2:] if path and path[-1][0] == "f" else ""
    if isinstance(value, dict):
        within = path[-2][2:] if len(path) > 1 else ""
        atomic = field in ATOMIC_MAPS or (not field and within in ATOMIC_ITEMS)
        return None if atomic else [(f"f:{key}", item) for key, item in value.items()]
    if not isinstance(value, list) or (len(path) == 1 and field in ATOMIC_AT_TOP):
        return None
    if field in SETS:
        return [(f"v:{orjson.dumps(item).decode()}", item) for item in value]
    keys = list_keys(field, value)
    return None if keys is None else [(_key_element(keys, item), item) for item in value]


def _key_element(keys: tuple[str, ...], item: Mapping[str, Any]) -> str:
    named = dict(zip(keys, item_key(item, keys), strict=True))
    return "k:" + orjson.dumps(named, option=orjson.OPT_SORT_KEYS).decode()


def _leaves(path: Path, value: Any) -> Iterator[Path]:
    children = _children(path, value)
    if not children:
        if path and (children is None or value != []):  # an empty list of keyed items sets nothing
            yield path
        return
    if path and path[-1][0] == "k":
        yield path
    for element, item in children:
        yield from _leaves((*path, element), item)


def _compare(path: Path, old: Any, new: Any, added: set[Path], modified: set[Path], removed: set[Path]) -> None:
    before = [] if old is _ABSENT else _children(path, old)
    after = [] if new is _ABSENT else _children(path, new)
    if old is _ABSENT:
        added.add(path)
    elif new is _ABSENT:
        removed.add(path)
    if before is None or after is None or not (before or after):
        if old is not _ABSENT and new is not _ABSENT and old != new:
            modified.add(path)
        return
    left, right = dict(before), dict(after)
    for element in {**left, **right}:
        _compare((*path, element), left.get(element, _ABSENT), right.get(element, _ABSENT), added, modified, removed)


def _merge(path: Path, live: Any, config: Any) -> Any:
    """`config` over `live`; items of keyed lists that live alone has keep their place."""
    before, after = _children(path, live), _children(path, config)
    if before is None or after is None or type(live) is not type(config):
        return config
    if isinstance(config, dict):
        merged = dict(live)
        for key, value in config.items():
            merged[key] = _merge((*path, f"f:{key}"), live[key], value) if key in live else value
        return merged
    return _merge_items(path, dict(before), dict(after))


def _merge_items(path: Path, before: dict[str, Any], after: dict[str, Any]) -> list[Any]:
    """The items of both lists: those of `after` in its order, each foreign one before what followed it."""
    merged: dict[str, Any] = {}
    waiting = [(name, _merge((*path, name), before.get(name), item)) for name, item in after.items()]
    for name, item in before.items():
        if name not in after:
            merged[name] = item
        elif name not in merged:
            position = [waited for waited, _ in waiting].index(name) + 1
            merged.update(waiting[:position])
            del waiting[:position]
    merged.update(waiting)
    return list(merged.values())


def _prune(value: Manifest, dropped: Paths, kept: Paths) -> Manifest:
    """Remove dropped fields, and with them every structure in which nobody sets anything any more."""
    gone = _closure(dropped) - kept - {("f:metadata",), ("f:spec",)}
    tops = {path for path in gone if path[:-1] not in gone}
    result: Manifest = value
    for path in tops:
        result = _removed(path, (), result)
    return result


def _removed(path: Path, at: Path, value: Any) -> Any:
    """A copy of `value` without what lies at `path` below `at`."""
    element = path[len(at)]
    last = len(at) + 1 == len(path)
    if isinstance(value, dict):
        key = element[2:]
        if key not in value:
            return value
        rest = {name: item for name, item in value.items() if name != key}
        if last:
            return rest
        return {**value, key: _removed(path, (*at, element), value[key])}
    children = _children(at, value) if isinstance(value, list) else None
    if children is None:
        return value
    return [
        _removed(path, (*at, element), item) if name == element and not last else item
        for name, item in children
        if name != element or not last
    ]


def _closure(paths: Paths) -> Paths:
    """The paths and every path above them."""
    return frozenset(path[:length] for path in paths for length in range(1, len(path) + 1))


def _without(managers: Managers, lost: Paths) -> Managers:
    return {name: left for name, paths in managers.items() if (left := paths - lost)}


def _is_untracked(path: Path) -> bool:
    return path in (("f:metadata",), ("f:spec",)) or path[:1] in _UNTRACKED or path[:2] in _UNTRACKED


def _without_leaf_marks(tree: dict[str, Any]) -> dict[str, Any]:
    if set(tree) == {"."}:
        return {}
    return {key: value if key == "." else _without_leaf_marks(value) for key, value in tree.items()}


def _paths_of(path: Path, tree: Mapping[str, Any]) -> Iterator[Path]:
    if not tree and path:
        yield path
    for key, value in tree.items():
        if key == ".":
            yield path
        else:
            yield from _paths_of((*path, key), value)
