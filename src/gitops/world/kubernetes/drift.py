"""Finding how a cluster differs from what is desired: a few lists, and dry runs for what they leave unclear."""

from __future__ import annotations

import gc
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import orjson

from gitops.values import LABEL_ENVIRONMENT, LABEL_MODEL, Manifest, ObjectRef
from gitops.world.kubernetes.api import FEW, THREADS, Api, Live, concurrently
from gitops.world.kubernetes.compare import Signature, changes, is_unchanged, our_fields, unclear
from gitops.world.kubernetes.errors import conflict_claims
from gitops.world.kubernetes.kinds import KINDS, Kind, kind_of
from gitops.world.ports import Difference

LIST_THREADS = 4
_Desired = Mapping[ObjectRef, Manifest]
_Suspect = tuple[Manifest, Live]


def find_differences(api: Api, desired: Sequence[Manifest], selector: Mapping[str, str]) -> list[Difference]:
    """What the Cluster port's `compare` promises, sorted by object."""
    by_kind: dict[Kind, dict[ObjectRef, Manifest]] = defaultdict(dict)
    for manifest in desired:
        ref = ObjectRef.of(manifest)
        by_kind[kind_of(ref.api_version, ref.kind)][ref] = manifest
    kinds = [kind for kind in KINDS.values() if kind.pruned or kind in by_kind]
    with _collector_paused(), ThreadPoolExecutor(THREADS) as dry_runs:

        def differences(kind: Kind) -> list[Difference]:
            suspects = _Suspects(lambda suspect: _dry_run(api, *suspect), dry_runs)
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
            elif ref not in desired and our_fields(live) is not None and not _goes_without_us(live):
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


def _dry_run(api: Api, manifest: Manifest, live: Live) -> Difference | None:
    """What applying would change, as the API server sees it."""
    ref = ObjectRef.of(manifest)
    response = api.patch(manifest, ref, force=False, dry_run=True)
    claims = conflict_claims(response)
    if claims:
        response = api.patch(manifest, ref, force=True, dry_run=True)
    api.check(response, "patch", ref)
    fields = changes(live, orjson.loads(response.body), claims)
    if not fields:
        return None
    return Difference(ref, "taken-over" if claims else "changed", fields, live["metadata"]["uid"])


class _Suspects:
    """Objects that need a dry run, where one answers for all that are unclear in the same way."""

    def __init__(self, judge: Callable[[_Suspect], Difference | None], pool: ThreadPoolExecutor) -> None:
        self._judge = judge
        self._pool = pool
        self._waiting: dict[Signature | None, list[_Suspect]] = defaultdict(list)
        self._harmless: set[Signature] = set()

    def consider(self, desired: Manifest, live: Live) -> None:
        """Note the object, unless it is certainly, or like one before, as desired."""
        owned = our_fields(live)
        if owned is not None and is_unchanged(desired, live, owned):
            return
        signature = unclear(desired, live, owned) if owned is not None else None
        if signature is None or signature not in self._harmless:
            self._waiting[signature].append((desired, live))

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
        return [verdict for verdict in verdicts if verdict]


def _surplus(ref: ObjectRef, live: Live) -> Difference:
    labels = live["metadata"].get("labels", {})
    environment, model = labels.get(LABEL_ENVIRONMENT, ""), labels.get(LABEL_MODEL, "")
    unit = f"{environment}/{model}" if environment and model else ""
    return Difference(ref, "surplus", uid=live["metadata"]["uid"], unit=unit)


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
