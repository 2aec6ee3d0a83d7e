"""Finding how a cluster differs from what is desired: a few lists, and dry runs for what they leave unclear."""

from __future__ import annotations

import gc
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import orjson

from gitops.values import LABEL_ENVIRONMENT, LABEL_MODEL, LABEL_REPOSITORY, Manifest, ObjectRef, Owner
from gitops.world.kubernetes.api import FEW, THREADS, Api, Live, concurrently
from gitops.world.kubernetes.compare import Signature, changes, is_unchanged, unclear
from gitops.world.kubernetes.errors import conflict_claims
from gitops.world.kubernetes.kinds import KINDS, Kind, kind_of
from gitops.world.kubernetes.ownership import (
    applied_fields,
    is_pipeline,
    manager_of,
    marked,
    marks_of,
    present_manager,
    title_of,
    unmarked,
)
from gitops.world.ports import Difference, DriftKind, FieldChange

LIST_THREADS = 4
_Desired = Mapping[ObjectRef, Manifest]
_Suspect = tuple[Manifest, Live]


def find_differences(
    api: Api, desired: Sequence[Manifest], selector: Mapping[str, str], owner: Owner | None
) -> list[Difference]:
    """What the Cluster port's `compare` promises, sorted by object."""
    by_kind: dict[Kind, dict[ObjectRef, Manifest]] = defaultdict(dict)
    for manifest in desired:
        ref = ObjectRef.of(manifest)
        by_kind[kind_of(ref.api_version, ref.kind)][ref] = marked(manifest, owner)
    kinds = [kind for kind in KINDS.values() if kind.pruned or kind in by_kind]
    with _collector_paused(), ThreadPoolExecutor(THREADS) as dry_runs:

        def differences(kind: Kind) -> list[Difference]:
            suspects = _Suspects(lambda suspect: _dry_run(api, *suspect, owner), dry_runs, owner)
            return _differences(api, kind, by_kind.get(kind, {}), selector, suspects)

        found = concurrently(differences, kinds, LIST_THREADS)
    return sorted((difference for some in found for difference in some), key=lambda difference: difference.ref)


def _differences(
    api: Api, kind: Kind, desired: _Desired, selector: Mapping[str, str], suspects: _Suspects
) -> list[Difference]:
    found: list[Difference] = []
    unseen = dict(desired)
    for page in api.pages(kind, selector, wanted=bool(desired)):
        for live in page:
            ref = _ref_of(kind, live)
            manifest = unseen.get(ref)
            if manifest is not None and not _is_leaving(live):
                del unseen[ref]
                suspects.consider(manifest, live)
            elif ref not in desired and suspects.may_be_ours(live) and not _goes_without_us(live):
                found.append(_surplus(ref, live))
        found += suspects.resolve()
    for live in _unlabelled(api, kind, list(unseen)):
        suspects.consider(unseen.pop(_ref_of(kind, live)), live)
    return found + suspects.resolve() + [Difference(ref, "missing") for ref in unseen]


def _unlabelled(api: Api, kind: Kind, refs: Sequence[ObjectRef]) -> list[Live]:
    """Those of the objects that exist after all: someone made them without our labels, or removed these."""
    by_namespace: dict[str, list[ObjectRef]] = defaultdict(list)
    for ref in refs:
        by_namespace[ref.namespace].append(ref)
    there: list[ObjectRef] = []
    for namespace, wanted in by_namespace.items():
        names = api.names(kind, namespace) if len(wanted) > FEW else {ref.name for ref in wanted}
        there += [ref for ref in wanted if ref.name in names]
    return [live for live in concurrently(api.get, there) if live and not _is_leaving(live)]


def _dry_run(api: Api, manifest: Manifest, live: Live, owner: Owner | None) -> Difference | None:
    """What applying would change, as the API server sees it."""
    ref, title = ObjectRef.of(manifest), title_of(live, owner)
    manager = manager_of(owner) if title == "foreign" else present_manager(live, owner)
    response = api.patch(manifest, ref, force=False, manager=manager, dry_run=True)
    claims = conflict_claims(response)
    if claims:
        response = api.patch(manifest, ref, force=True, manager=manager, dry_run=True)
    api.check(response, "patch", ref)
    others = [claim for claim in claims if title != "foreign" or not is_pipeline(claim[1])]
    fields = changes(live, orjson.loads(response.body), others)
    if title == "foreign":
        return Difference(ref, "foreign", fields, live["metadata"]["uid"], owner=marks_of(live))
    if not fields:
        return None
    kind: DriftKind = "taken-over" if claims else "changed"
    return Difference(ref, kind, fields, live["metadata"]["uid"], owner=None if title == "ours" else marks_of(live))


class _Suspects:
    """Objects that need a dry run, where one answers for all that are unclear in the same way."""

    def __init__(
        self, judge: Callable[[_Suspect], Difference | None], pool: ThreadPoolExecutor, owner: Owner | None
    ) -> None:
        self._judge = judge
        self._owner = owner
        self._pool = pool
        self._waiting: dict[Signature | None, list[_Suspect]] = defaultdict(list)
        self._harmless: set[Signature] = set()
        self._unmarked: list[Difference] = []

    def consider(self, desired: Manifest, live: Live) -> None:
        """Note the object, unless it is certainly, or like one before, as desired."""
        title = title_of(live, self._owner)
        owned = None if title == "foreign" else applied_fields(live, self._owner)
        if owned is not None and is_unchanged(desired, live, owned):
            return
        if owned is not None and title == "unproven" and is_unchanged(unmarked(desired), live, owned):
            self._unmarked.append(_without_mark(desired, live))
            return
        signature = unclear(desired, live, owned) if owned is not None else None
        if signature is None or signature not in self._harmless:
            self._waiting[signature].append((desired, live))

    def may_be_ours(self, live: Live) -> bool:
        """Whether an object that is not desired is one that we applied, as far as its marks show."""
        return title_of(live, self._owner) != "foreign" and applied_fields(live, self._owner) is not None

    def resolve(self) -> list[Difference]:
        """Judge the objects noted since the last call."""
        waiting, self._waiting = self._waiting, defaultdict(list)
        unique = waiting.pop(None, [])
        verdicts = list(self._pool.map(self._judge, [alike[0] for alike in waiting.values()]))
        for (signature, alike), verdict in zip(waiting.items(), verdicts, strict=True):
            if verdict is None and signature is not None:
                self._harmless.add(signature)
            else:
                unique += alike[1:]
        verdicts += self._pool.map(self._judge, unique)
        certain, self._unmarked = self._unmarked, []
        return [*certain, *(verdict for verdict in verdicts if verdict)]


def _without_mark(desired: Manifest, live: Live) -> Difference:
    """An object that was applied before objects were marked, and lacks nothing but the mark."""
    mark = desired["metadata"]["labels"][LABEL_REPOSITORY]
    field = FieldChange(f"metadata.labels.{LABEL_REPOSITORY}", None, mark)
    return Difference(ObjectRef.of(desired), "changed", (field,), live["metadata"]["uid"], owner=marks_of(live))


def _surplus(ref: ObjectRef, live: Live) -> Difference:
    labels = live["metadata"].get("labels", {})
    environment, model = labels.get(LABEL_ENVIRONMENT, ""), labels.get(LABEL_MODEL, "")
    unit = f"{environment}/{model}" if environment and model else ""
    return Difference(ref, "surplus", uid=live["metadata"]["uid"], unit=unit, owner=marks_of(live))


def _is_leaving(live: Live) -> bool:
    return bool(live["metadata"].get("deletionTimestamp"))


def _goes_without_us(live: Live) -> bool:
    """Whether it is being deleted, or a controller keeps it for its owner."""
    owners = live["metadata"].get("ownerReferences", ())
    return _is_leaving(live) or any(owner.get("controller") for owner in owners)


def _ref_of(kind: Kind, live: Live) -> ObjectRef:
    metadata = live["metadata"]
    return ObjectRef(kind.api_version, kind.name, metadata.get("namespace", ""), metadata["name"])


_pauses = threading.Lock()
_paused = 0
_was_enabled = True


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Without cyclic garbage collection, which would walk the many young dicts again and again."""
    global _paused, _was_enabled  # noqa: PLW0603 — the collector is a property of the process
    with _pauses:
        if _paused == 0:
            _was_enabled = gc.isenabled()
            gc.disable()
        _paused += 1
    try:
        yield
    finally:
        with _pauses:
            _paused -= 1
            if _paused == 0 and _was_enabled:
                gc.enable()
