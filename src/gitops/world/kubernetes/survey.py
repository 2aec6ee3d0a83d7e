"""Which versions run and where their traffic goes: one list for each kind, read as plain data."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from gitops.values import LABEL_ENVIRONMENT, LABEL_MODEL, LABEL_VERSION, Owner
from gitops.world.kubernetes.api import Api, Live, concurrently
from gitops.world.kubernetes.kinds import KINDS, Kind
from gitops.world.kubernetes.ownership import marks_of
from gitops.world.kubernetes.readiness import is_overdue, readiness_of, ready_replicas
from gitops.world.ports import Place, Survey, Workload

Pages = Iterator[list[Live]]


def take_survey(api: Api, selector: Mapping[str, str], kinds: Collection[str], owner: Owner | None = None) -> Survey:
    """What the Cluster port's `survey` promises. Raises ValueError for a kind that no survey can read."""
    if unknown := set(kinds) - set(_READERS):
        raise ValueError(f"no survey reads {', '.join(sorted(unknown))}; it can read {', '.join(_READERS)}")

    def read(name: str) -> Survey:
        pages = api.pages(_kind(name), selector, wanted=False)
        return _READERS[name](api, ([live for live in page if not _is_of_another(live, owner)] for page in pages))

    parts = concurrently(read, list(kinds))
    workloads = [workload for part in parts for workload in part.workloads]
    return Survey(
        tuple(sorted(workloads, key=lambda workload: (workload.namespace, workload.name))),
        {place: weights for part in parts for place, weights in part.weights.items()},
        {place: mirrors for part in parts for place, mirrors in part.mirrors.items()},
        {place: labels for part in parts for place, labels in part.selectors.items()},
    )


def workload_of(live: Live) -> Workload | None:
    """A Deployment as a workload, or None for one without the labels of a version."""
    metadata = live["metadata"]
    labels = metadata.get("labels", {})
    environment, model, version = (labels.get(label) for label in (LABEL_ENVIRONMENT, LABEL_MODEL, LABEL_VERSION))
    if not (environment and model and version):
        return None
    replicas = live["spec"].get("replicas", 1)
    place = metadata["namespace"], metadata["name"]
    return Workload(environment, model, version, *place, replicas, ready_replicas(live))


# --- Gateway API (HTTPRoute, gateway.networking.k8s.io/v1) ---------------------------------------------------


def http_weights(live: Live) -> dict[str, int]:
    """The weight of each Service; one that is left out is 1. All our rules have the same backends."""
    refs = next((rule["backendRefs"] for rule in live["spec"].get("rules", ()) if rule.get("backendRefs")), ())
    return _sums((ref["name"], ref.get("weight", 1)) for ref in refs if _is_service(ref))


def http_mirrors(live: Live) -> dict[str, int]:
    """The percent of requests that are mirrored to each Service; a filter that does not say mirrors all."""
    return {
        mirror["backendRef"]["name"]: _http_percent(mirror)
        for rule in live["spec"].get("rules", ())
        for mirror in (each.get("requestMirror") for each in rule.get("filters", ()))
        if mirror and _is_service(mirror["backendRef"])
    }


def _is_service(ref: Mapping[str, Any]) -> bool:
    kind: str = ref.get("kind", "Service")
    return kind == "Service"


def _http_percent(mirror: Mapping[str, Any]) -> int:
    fraction = mirror.get("fraction")
    if fraction:
        return _whole(100 * fraction["numerator"] / fraction.get("denominator", 100))
    return int(mirror.get("percent", 100))


# --- Istio (VirtualService, networking.istio.io) -------------------------------------------------------------


def virtual_weights(live: Live) -> dict[str, int]:
    """The weight of each Service. As in Istio, one that is left out is 0, but the only destination gets all."""
    routes = next((rule["route"] for rule in live["spec"].get("http", ()) if rule.get("route")), ())
    alone = len(routes) == 1
    return _sums((_service(route["destination"]), route.get("weight") or int(alone)) for route in routes)


def virtual_mirrors(live: Live) -> dict[str, int]:
    """The percent of requests that are mirrored to each Service; a mirror that does not say gets all."""
    found = {}
    for rule in live["spec"].get("http", ()):
        mirrors = [(each["destination"], each.get("percentage")) for each in rule.get("mirrors", ())]
        if rule.get("mirror"):
            mirrors.append((rule["mirror"], rule.get("mirrorPercentage")))
        for destination, percentage in mirrors:
            # A number that is 0 is left out by writers of protocol buffers.
            found[_service(destination)] = 100 if percentage is None else _whole(percentage.get("value", 0))
    return found


def _service(destination: Mapping[str, Any]) -> str:
    """`chat.shop.svc.cluster.local`, or `chat` alone, is the Service chat."""
    host: str = destination["host"]
    return host.partition(".")[0]


# --- Lists ---------------------------------------------------------------------------------------------------


def _deployments(api: Api, pages: Pages) -> Survey:
    found: list[Workload] = []
    overdue: list[tuple[Workload, Live]] = []
    for live in _items(pages):
        workload = workload_of(live)
        if workload and is_overdue(live):
            overdue.append((workload, live))
        elif workload:
            found.append(workload)
    states = concurrently(lambda each: readiness_of(each[1], api.pods_of(each[1])), overdue)
    for (workload, _), state in zip(overdue, states, strict=True):
        found.append(workload._replace(failed=state.message if state.failed else ""))
    return Survey(tuple(found))


def _routes(weights: Callable[[Live], dict[str, int]], mirrors: Callable[[Live], dict[str, int]]) -> _Reader:
    def read(_api: Api, pages: Pages) -> Survey:
        found = [(_place(live), weights(live), mirrors(live)) for live in _items(pages)]
        return Survey(
            weights={place: shares for place, shares, _ in found}, mirrors={each[0]: each[2] for each in found}
        )

    return read


def _services(_api: Api, pages: Pages) -> Survey:
    return Survey(selectors={_place(live): live["spec"].get("selector", {}) for live in _items(pages)})


_Reader = Callable[[Api, Pages], Survey]
_READERS: Mapping[str, _Reader] = {
    "Deployment": _deployments,
    "HTTPRoute": _routes(http_weights, http_mirrors),
    "VirtualService": _routes(virtual_weights, virtual_mirrors),
    "Service": _services,
}


def _is_of_another(live: Live, owner: Owner | None) -> bool:
    """Whether another repository's pipeline of the same name runs it."""
    return owner is not None and marks_of(live).repository not in ("", owner.repository)


def _kind(name: str) -> Kind:
    return next(kind for kind in KINDS.values() if kind.name == name)


def _items(pages: Iterable[Sequence[Live]]) -> Iterator[Live]:
    for page in pages:
        yield from page


def _place(live: Live) -> Place:
    return live["metadata"]["namespace"], live["metadata"]["name"]


def _sums(shares: Iterable[tuple[str, int]]) -> dict[str, int]:
    """A Service may stand there twice, with two of its ports."""
    total: dict[str, int] = {}
    for name, share in shares:
        total[name] = total.get(name, 0) + share
    return total


def _whole(percent: float) -> int:
    """The nearest whole percent, but never none for a little."""
    return max(1, round(percent)) if percent > 0 else 0
