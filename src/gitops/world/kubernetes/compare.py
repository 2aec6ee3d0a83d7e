"""Comparing desired with live objects, as values: no request is made here.

The API server keeps, per field manager, which fields it set (`metadata.managedFields`, format FieldsV1: a tree
of `f:field`, `k:{list keys}`, `v:value` and `.` for the item itself). Another manager that changes a field
takes its entry away from us. So an object is unchanged when the fields that we own are exactly those that we
desire and hold the desired values; everything else is a question for a server-side dry run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple, TypeGuard

import orjson

from gitops.spec.secrets import masked_value
from gitops.values import Manifest
from gitops.world.kubernetes.structure import KEY_DEFAULTS, item_key, list_keys
from gitops.world.ports import FieldChange

MASK = "(masked)"
ABSENT: Any = None
Fields = dict[str, Any]
Path = tuple[str, ...]
Signature = frozenset[tuple[str, bytes, bytes]]

_IDENTITY = frozenset({"apiVersion", "kind", "metadata"})
_NAME = frozenset({"name", "namespace"})
_SERVER_METADATA = frozenset({"creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"})
_MASKED_IN_SECRETS = ("data", "stringData")
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_UNITS = {
    **{unit: Decimal(10) ** power for power, unit in ((-9, "n"), (-6, "u"), (-3, "m"))},
    **{unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", 1)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)},
}
_QUANTITY_MAPS = frozenset({"limits", "requests", "hard", "sizeLimit", "averageValue"})


class Change(NamedTuple):
    """A field that differs, its path in parts; parts in brackets name list items."""

    path: Path
    before: Any
    after: Any


# --- The fast answer -----------------------------------------------------------------------------------------


def is_unchanged(desired: Manifest, live: Manifest, owned: Fields) -> bool:
    """Whether we own exactly the desired fields, and they have the desired values. False means: unclear."""
    try:
        metadata = {key: value for key, value in desired["metadata"].items() if key not in _NAME}
        fields = owned.get("f:metadata", {})
        if (metadata or fields) and not _same_map(metadata, live["metadata"], fields):
            return False
        content = {key: value for key, value in desired.items() if key not in _IDENTITY}
        rest = {key: value for key, value in owned.items() if key != "f:metadata"}
        return _same_map(content, live, rest) if content or rest else True
    except (AttributeError, TypeError):  # a shape that we did not expect is as unclear as any other
        return False


def _same_map(desired: Mapping[str, Any], live: Mapping[str, Any], owned: Fields) -> bool:
    if len(owned) - ("." in owned) != len(desired):
        return False
    for key, value in desired.items():
        fields = owned.get("f:" + key)
        if fields is None or key not in live or not _same(key, value, live[key], fields):
            return False
    return True


def _same(key: str, desired: Any, live: Any, owned: Fields) -> bool:
    if not owned:
        return bool(desired == live) or (key in _QUANTITY_MAPS and _same_quantity(desired, live))
    if type(desired) is dict:
        if key in _QUANTITY_MAPS and _same_quantities(desired, live, owned):
            return True
        return _same_map(desired, live, owned)
    if type(desired) is list:
        return _same_list(desired, live, owned)
    return False


def _same_list(desired: list[Any], live: list[Any], owned: Fields) -> bool:
    """Whether a list whose items are owned one by one is as desired, in the desired order."""
    if len(owned) - ("." in owned) != len(desired):
        return False
    positions = []
    for owned_key, fields in owned.items():
        if owned_key == ".":
            continue
        wanted, there = _find(desired, owned_key), _find(live, owned_key)
        if wanted < 0 or there < 0:
            return False
        if owned_key[0] == "k" and not _same_map(desired[wanted], live[there], fields):
            return False
        positions.append((wanted, there))
    positions.sort()
    return all(before[1] < after[1] for before, after in pairwise(positions))


def _find(items: list[Any], owned_key: str) -> int:
    """Where the item named by `k:{…}` or `v:…` is, or -1."""
    wanted = _parse_key(owned_key)
    for index, item in enumerate(items):
        if type(wanted) is dict:
            if type(item) is dict and all(
                item.get(key, KEY_DEFAULTS.get(key)) == value for key, value in wanted.items()
            ):
                return index
        elif item == wanted:
            return index
    return -1


@lru_cache(maxsize=4096)
def _parse_key(owned_key: str) -> Any:
    return orjson.loads(owned_key[2:]) if owned_key[:2] in ("k:", "v:") else ABSENT


def _same_quantities(desired: dict[str, Any], live: Any, owned: Fields) -> bool:
    return len(owned) - ("." in owned) == len(desired) and all(
        "f:" + key in owned and key in live and (value == live[key] or _same_quantity(value, live[key]))
        for key, value in desired.items()
    )


def _same_quantity(left: object, right: object) -> bool:
    """Whether two resource quantities are equal: the server writes 0.5 as 500m and 1024Mi as 1Gi."""
    left, right = _quantity(left), _quantity(right)
    return left is not None and left == right


def _quantity(text: object) -> Decimal | None:
    number = str(text)
    for length in (2, 1):
        if factor := _UNITS.get(number[-length:]):
            number = number[:-length]
            break
    else:
        factor = Decimal(1)
    try:
        return Decimal(number) * factor
    except InvalidOperation:
        return None


# --- Why it is unclear ---------------------------------------------------------------------------------------


def unclear(desired: Manifest, live: Manifest, owned: Fields) -> Signature | None:
    """What keeps an object from counting as unchanged, if that is only values within fields that we own.

    A server completes what we leave out within an atomic value (a route's rules get weights and path matches)
    and rewrites some values. Objects with equal signatures differ in the same way: when a dry run shows for
    one that the server would not change it, that holds for all. None when the ownership itself differs.
    """
    found: list[Change] = []
    metadata = {key: value for key, value in desired["metadata"].items() if key not in _NAME}
    content = {key: value for key, value in desired.items() if key not in _IDENTITY}
    if metadata:
        content["metadata"] = metadata
    try:
        if not _collect((), content, live, owned, found):
            return None
    except (AttributeError, TypeError):
        return None
    return frozenset(
        (".".join(part for part in path if part[0] != "["), _canonical(before), _canonical(after))
        for path, before, after in found
    )


def _collect(path: Path, desired: Any, live: Any, owned: Fields, found: list[Change]) -> bool:
    if not owned:
        found.extend(_changes(path, live, desired))
        return True
    if len(owned) - ("." in owned) != len(desired):
        return False
    if type(desired) is dict:
        return all(
            "f:" + key in owned and key in live and _collect((*path, key), value, live[key], owned["f:" + key], found)
            for key, value in desired.items()
        )
    for owned_key, fields in owned.items():
        if owned_key == ".":
            continue
        wanted, there = _find(desired, owned_key), _find(live, owned_key)
        if wanted < 0 or there < 0:
            return False
        if not _collect((*path, f"[{there}]"), desired[wanted], live[there], fields, found):
            return False
    return True


def _canonical(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


# --- What differs --------------------------------------------------------------------------------------------


def changes(live: Manifest, result: Manifest, claims: Iterable[tuple[str, str]] = ()) -> tuple[FieldChange, ...]:
    """The fields in which the result of a dry run differs from the live object, without what the server keeps.

    `claims` are the (path, manager) pairs of the conflict that was forced. Values of secrets are masked.
    """
    claimed = list(claims)
    secret = live.get("kind") == "Secret"
    fields = []
    for change in _changes((), _content(live), _content(result)):
        path = format_path(change.path)
        manager = next((owner for claim, owner in claimed if _touches(claim, path)), "")
        if secret and _holds_secret(change.path):
            change = Change(change.path, *(value if value is ABSENT else MASK for value in change[1:]))
        name = _name_of(change.path)
        before, after = masked_value(name, change.before), masked_value(name, change.after)
        fields.append(FieldChange(path, before, after, manager))
    return tuple(fields)


def _name_of(path: Path) -> str:
    """What the value at the path is called: the value of a variable has the variable's name."""
    last = path[-2] if path[-1] == "value" and len(path) > 1 else path[-1]
    return last.strip("[]")


def format_path(path: Path) -> str:
    """`spec.containers[server].image`."""
    return "".join(part if part[0] == "[" else f".{part}" for part in path).removeprefix(".")


def _content(manifest: Manifest) -> dict[str, Any]:
    metadata = {key: value for key, value in manifest["metadata"].items() if key not in _SERVER_METADATA}
    return {**manifest, "metadata": metadata, "status": ABSENT}


def _changes(path: Path, before: Any, after: Any) -> Iterator[Change]:
    if before == after:
        return
    if type(before) is dict and type(after) is dict:
        for key in {**before, **after}:
            yield from _changes((*path, key), before.get(key, ABSENT), after.get(key, ABSENT))
    elif _is_items(before) and _is_items(after) and (named := _pair(path, before, after)):
        for name, left, right in named:
            yield from _changes((*path, name), left, right)
    else:
        yield Change(path, before, after)


def _pair(path: Path, before: list[Any], after: list[Any]) -> list[tuple[str, Any, Any]] | None:
    """The items of both lists side by side, or None when only their order differs."""
    field = next((part for part in reversed(path) if part[0] != "["), "")
    left, right = _by_name(field, before), _by_name(field, after)
    if left == right:
        return None
    return [(f"[{name}]", left.get(name, ABSENT), right.get(name, ABSENT)) for name in {**left, **right}]


def _by_name(field: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    keys = list_keys(field, items) or (("name",) if all("name" in item for item in items) else None)
    if keys:
        named = {",".join(str(value) for value in item_key(item, keys)): item for item in items}
        if len(named) == len(items):
            return named
    return {str(index): item for index, item in enumerate(items)}


def _is_items(value: Any) -> TypeGuard[list[dict[str, Any]]]:
    return type(value) is list and bool(value) and all(type(item) is dict for item in value)


def _touches(claim: str, path: str) -> bool:
    return claim == path or _within(path, claim) or _within(claim, path)


def _within(path: str, ancestor: str) -> bool:
    return path.startswith(ancestor) and path[len(ancestor) :][:1] in (".", "[")


def _holds_secret(path: Sequence[str]) -> bool:
    if path[0] in _MASKED_IN_SECRETS:
        return True
    return path[:2] == ("metadata", "annotations") and (len(path) == 2 or path[2] == _LAST_APPLIED)
