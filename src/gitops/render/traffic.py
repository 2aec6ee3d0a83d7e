"""Who answers requests to a model on one cluster: what the files that belong to no single version say of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gitops.render.live import Live, is_shared
from gitops.render.yaml_text import Block
from gitops.values import LABEL_MODEL


def traffic_context(lives: Sequence[Live], facts: Sequence[Mapping[str, Any]], *, routed: bool) -> dict[str, Any]:
    """What the model's own files say of its versions. `facts` are those of `context.model_context`, one for each
    live; `routed` says whether a gateway splits the traffic.
    """
    return {
        "backends": list(_backends(lives, facts)),
        "mirrors": [
            {"name": fact["workload"], "percent": live.mirror}
            for live, fact in zip(lives, facts, strict=True)
            if live.mirror > 0
        ],
        "selector": _selector(lives, facts, routed=routed),
        "http_ports": _distinct(fact["http_port"] for fact in facts),
        "metrics_ports": _distinct(fact["metrics_port"] for fact in facts),
        "metrics_endpoints": _endpoints(facts),
        "fetches": any(fact["fetches"] for fact in facts),
    }


def path_matches(path: str) -> list[dict[str, str]]:
    """Istio's matches for whole path elements, as the Gateway API has them: `/chat` is not `/chats`.

    Istio compares prefixes letter by letter, so a path takes two matches, itself and everything below it.
    """
    bare = path.rstrip("/")
    return [{"exact": bare}, {"prefix": f"{bare}/"}] if bare else [{"prefix": "/"}]


def _backends(lives: Sequence[Live], facts: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Stable always, so that a route never lacks a backend; others where they answer requests."""
    for index, (live, fact) in enumerate(zip(lives, facts, strict=True)):
        if index == 0 or live.weight > 0:
            yield {"name": fact["workload"], "weight": live.weight}


def _selector(lives: Sequence[Live], facts: Sequence[Mapping[str, Any]], *, routed: bool) -> Block:
    """Whom the model's own Service selects: with a gateway stable, for clients that bypass it until a promotion."""
    if routed:
        return _own(facts[0])
    if is_shared(lives):
        return Block({LABEL_MODEL: facts[0]["model"]})
    return _own(next((fact for live, fact in zip(lives, facts, strict=True) if live.weight > 0), facts[0]))


def _own(fact: Mapping[str, Any]) -> Block:
    selector: Block = fact["selector"]
    return selector


def _endpoints(facts: Sequence[Mapping[str, Any]]) -> list[dict[str, str | None]]:
    """Where metrics are read: once where all versions agree, else from each version's own place only."""
    versions: dict[tuple[str, str], list[str]] = {}
    for fact in facts:
        versions.setdefault((fact["metrics_port_name"], fact["metrics_path"]), []).append(fact["version"])
    alone = len(versions) == 1
    return [
        {"port": port, "path": path, "versions": None if alone else _either(names)}
        for (port, path), names in versions.items()
    ]


def _either(versions: Sequence[str]) -> str:
    """A regular expression (RE2, anchored by Prometheus) for exactly these versions."""
    return "|".join(version.replace(".", r"\.") for version in versions)


def _distinct(ports: Iterator[int]) -> list[int]:
    return list(dict.fromkeys(ports))
