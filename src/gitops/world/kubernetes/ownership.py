"""Whose an object is, by the marks that it carries, and what is ours in its record of field managers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from gitops.values import FIELD_MANAGER, LABEL_CLUSTER, LABEL_PIPELINE, LABEL_REPOSITORY, Manifest, Owner

Title = Literal["ours", "unproven", "foreign"]
"""`unproven`: a pipeline of this name applied it before objects said of which repository; only Git can tell."""
Entries = list[dict[str, Any]]

_SINCE_PIPELINES = f"{FIELD_MANAGER}-"


def marks_of(live: Manifest) -> Owner:
    """What an object says of its owner."""
    labels = live["metadata"].get("labels") or {}
    return Owner(labels.get(LABEL_PIPELINE, ""), labels.get(LABEL_REPOSITORY, ""), labels.get(LABEL_CLUSTER, ""))


def labels_of(owner: Owner) -> dict[str, str]:
    """The marks that an owner puts on what is not rendered: notes and leases."""
    return {LABEL_PIPELINE: owner.pipeline, LABEL_REPOSITORY: owner.repository, LABEL_CLUSTER: owner.cluster}


def contradicts(live: Manifest, owner: Owner | None) -> bool:
    """Whether an object carries a mark of somebody else; without any, it is nobody's."""
    if owner is None:
        return False
    found = marks_of(live)
    pairs = zip((found.pipeline, found.repository, found.cluster), labels_of(owner).values(), strict=True)
    return any(mark not in ("", ours) for mark, ours in pairs)


def title_of(live: Manifest, owner: Owner | None) -> Title:
    """Whether an object is `owner`'s. Without an owner (for reading) everything counts as ours."""
    if owner is None:
        return "ours"
    found = marks_of(live)
    contradicts = found.pipeline not in ("", owner.pipeline) or found.cluster not in ("", owner.cluster)
    if contradicts or not owner.repository or found.repository not in ("", owner.repository):
        return "foreign"
    if found.repository or _entry(live, owner.manager):
        return "ours"
    return "unproven" if _entry(live, FIELD_MANAGER) else "foreign"


def marked(manifest: Manifest, owner: Owner | None) -> Manifest:
    """The manifest as it is sent: with the mark of the repository."""
    if owner is None or not owner.repository:
        return manifest
    metadata = manifest["metadata"]
    labels = {**metadata.get("labels", {}), LABEL_REPOSITORY: owner.repository}
    return {**manifest, "metadata": {**metadata, "labels": labels}}


def unmarked(manifest: Manifest) -> Manifest:
    """The reverse: as it lies in Git."""
    metadata = manifest["metadata"]
    labels = {key: value for key, value in metadata["labels"].items() if key != LABEL_REPOSITORY}
    return {**manifest, "metadata": {**metadata, "labels": labels}}


def applied_fields(live: Manifest, owner: Owner | None) -> dict[str, Any] | None:
    """The fields that the pipeline's applies own, under its present name or the former one; None when it has none."""
    if (entry := _entry(live, manager_of(owner))) is None:
        entry = _entry(live, FIELD_MANAGER)
    return None if entry is None else entry.get("fieldsV1") or {}


def manager_of(owner: Owner | None) -> str:
    """The field manager that acts for an owner."""
    return owner.manager if owner else FIELD_MANAGER


def present_manager(live: Manifest, owner: Owner | None) -> str:
    """The manager under which the pipeline's fields of an object are kept now: what a dry run has to act as."""
    ours = manager_of(owner)
    return FIELD_MANAGER if _entry(live, ours) is None and _entry(live, FIELD_MANAGER) is not None else ours


def taken_over(live: Manifest, owner: Owner | None, *, adopt: bool) -> Entries | None:
    """`managedFields` in which the pipeline's former name is its present one, or None when there is nothing to rename.

    With `adopt` the applies of other pipelines become this one's as well: a field that it does not set then goes, as
    it would had the pipeline set it itself.
    """
    ours = manager_of(owner)
    entries: Entries = live["metadata"].get("managedFields") or []
    heirs = [entry for entry in entries if _is_apply(entry) and _inherits(entry["manager"], ours, adopt)]
    if not heirs:
        return None
    kept = [entry for entry in entries if entry not in heirs and not (_is_apply(entry) and entry["manager"] == ours)]
    own = [entry for entry in entries if _is_apply(entry) and entry["manager"] == ours]
    fields: dict[str, Any] = {}
    for entry in (*own, *heirs):
        fields = _union(fields, entry.get("fieldsV1") or {})
    return [*kept, {**(own or heirs)[0], "manager": ours, "fieldsV1": fields}]


def is_pipeline(manager: str) -> bool:
    """Whether a field manager is a pipeline of this kind, ours or another."""
    return manager == FIELD_MANAGER or manager.startswith(_SINCE_PIPELINES)


def _inherits(manager: str, ours: str, adopt: bool) -> bool:
    return manager != ours and (manager == FIELD_MANAGER or (adopt and is_pipeline(manager)))


def _is_apply(entry: Mapping[str, Any]) -> bool:
    return entry["operation"] == "Apply" and not entry.get("subresource")


def _entry(live: Manifest, manager: str) -> Mapping[str, Any] | None:
    entries: Iterable[Mapping[str, Any]] = live["metadata"].get("managedFields") or ()
    return next((entry for entry in entries if _is_apply(entry) and entry["manager"] == manager), None)


def _union(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    """Both trees of fields. One that ends at a field (an empty one) owns the whole of it."""
    merged = dict(left)
    for key, fields in right.items():
        known = merged.get(key)
        merged[key] = fields if known is None else _union(known, fields) if known and fields else {}
    return merged
