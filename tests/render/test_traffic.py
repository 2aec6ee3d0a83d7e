"""Several versions side by side: who answers, who is selected, scraped and sized, beyond the golden trees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pytest
import yaml

from gitops.errors import GitopsError
from gitops.render.live import Live, Share, Waves
from gitops.render.renderer import Renderer
from gitops.render.traffic import path_matches
from gitops.spec.pipeline import Model
from gitops.spec.resolved import Spec
from gitops.values import UnitKey
from tests.render.specs import project_templates, small

UNIT = UnitKey("dev", "chat")
TEMPLATES = project_templates()
UNROUTED: dict[str, Any] = {"environment": {"gateway": None}}
ISTIO: dict[str, Any] = {"environment": {"gateway": {"api": "istio"}}}
CUSTOM = {"runtime": "custom", "image": "ghcr.io/acme/x:1", "replicas": {"min": 4, "max": 4}}
TWO: dict[str, Any] = {"environment": {"clusters": {"two": {"provider": "existing", "context": "two"}}}}


def frozen(spec: Spec, **changes: Any) -> Model:
    """A version of the unit's model as a release record has it: from JSON, and other than the spec's."""
    raw = spec.models[UNIT].model_dump(mode="json", by_alias=True)
    return Model.model_validate_json(orjson.dumps({**raw, **changes}))


def rendered(spec: Spec, lives: Sequence[Live], waves: Waves | None = None) -> dict[str, dict[str, Any]]:
    """Manifests by their path below the unit's directory on the first cluster."""
    files = Renderer(spec, TEMPLATES).unit(UNIT, lives, waves)
    return {
        path.removeprefix("clusters/one/dev/chat/"): yaml.safe_load(data)
        for path, data in files.items()
        if path.startswith("clusters/one/")
    }


def three(spec: Spec, weight: int, mirror: int = 0) -> list[Live]:
    """1.1.0 is stable, the spec's 1.2.0 the candidate, 0.9 is kept."""
    return [
        Live(frozen(spec, version="1.1.0"), 100 - weight),
        Live(spec.models[UNIT], weight, mirror, max(weight, mirror)),
        Live(frozen(spec, version="0.9"), 0),
    ]


def backends(route: dict[str, Any]) -> list[tuple[str, int]]:
    (rule,) = route["spec"]["rules"]
    return [(backend["name"], backend["weight"]) for backend in rule["backendRefs"]]


# --- Routes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        (0, [("chat-1-1-0", 100)]),
        (10, [("chat-1-1-0", 90), ("chat-1-2-0", 10)]),
        (100, [("chat-1-1-0", 0), ("chat-1-2-0", 100)]),
    ],
)
def test_a_route_names_stable_and_whoever_answers(weight: int, expected: list[tuple[str, int]]) -> None:
    spec = small()
    assert backends(rendered(spec, three(spec, weight))["httproute.yaml"]) == expected


def test_a_lone_version_without_traffic_is_still_the_routes_backend() -> None:
    spec = small()
    assert backends(rendered(spec, [Live(spec.models[UNIT], 0)])["httproute.yaml"]) == [("chat-1-2-0", 0)]


def test_a_mirror_is_no_backend() -> None:
    spec = small()
    route = rendered(spec, three(spec, 0, mirror=20))["httproute.yaml"]
    assert backends(route) == [("chat-1-1-0", 100)]
    (filter_,) = route["spec"]["rules"][0]["filters"]
    assert (filter_["requestMirror"]["backendRef"]["name"], filter_["requestMirror"]["percent"]) == ("chat-1-2-0", 20)


def test_istio_splits_and_mirrors_too() -> None:
    spec = small(**ISTIO)
    files = rendered(spec, three(spec, 10, mirror=5))
    assert "httproute.yaml" not in files
    (rule,) = files["virtualservice.yaml"]["spec"]["http"]
    assert [(one["destination"]["host"], one["weight"]) for one in rule["route"]] == [
        ("chat-1-1-0", 90),
        ("chat-1-2-0", 10),
    ]
    (mirror,) = rule["mirrors"]
    assert (mirror["destination"]["host"], mirror["percentage"]["value"]) == ("chat-1-2-0", 5)


@pytest.mark.parametrize(
    ("path", "matches"),
    [
        ("/", [{"prefix": "/"}]),
        ("/chat", [{"exact": "/chat"}, {"prefix": "/chat/"}]),
        ("/v1/chat/", [{"exact": "/v1/chat"}, {"prefix": "/v1/chat/"}]),
    ],
)
def test_istio_matches_whole_path_elements(path: str, matches: list[dict[str, str]]) -> None:
    assert path_matches(path) == matches


@pytest.mark.parametrize("parts", [UNROUTED, {"model": {"route": None}}])
def test_without_gateway_or_route_there_is_no_router(parts: dict[str, Any]) -> None:
    spec = small(**parts)
    assert not {"httproute.yaml", "virtualservice.yaml"} & rendered(spec, three(spec, 10)).keys()


# --- The model's own Service ---------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [0, 10, 100])
@pytest.mark.parametrize("parts", [{}, ISTIO])
def test_behind_a_gateway_the_models_service_stays_with_stable(parts: dict[str, Any], weight: int) -> None:
    spec = small(**parts)
    service = rendered(spec, three(spec, weight))["service.yaml"]
    assert service["spec"]["selector"] == {"gitops/model": "chat", "gitops/version": "1.1.0"}


@pytest.mark.parametrize(
    ("weight", "version", "replicas"),
    [(0, "1.1.0", (4, 1, 4)), (20, None, (4, 1, 0)), (50, None, (4, 4, 0)), (100, "1.2.0", (4, 4, 4))],
)
def test_without_a_gateway_the_service_selects_all_who_share_traffic(
    weight: int, version: str | None, replicas: tuple[int, int, int]
) -> None:
    spec = small(model={"serve": CUSTOM}, **UNROUTED)
    lives = three(spec, weight)
    lives[1] = lives[1]._replace(scale=max(weight, 20))
    files = rendered(spec, lives)
    selector = {"gitops/model": "chat"} | ({"gitops/version": version} if version else {})
    assert files["service.yaml"]["spec"]["selector"] == selector
    names = ("1.1.0", "1.2.0", "0.9")
    assert tuple(files[f"{name}/deployment.yaml"]["spec"]["replicas"] for name in names) == replicas


def test_every_deployment_selects_its_own_pods_while_the_service_selects_all() -> None:
    spec = small(**UNROUTED)
    files = rendered(spec, three(spec, 10))
    for name in ("1.1.0", "1.2.0", "0.9"):
        selector = {"gitops/model": "chat", "gitops/version": name}
        assert files[f"{name}/deployment.yaml"]["spec"]["selector"]["matchLabels"] == selector
        assert files[f"{name}/service.yaml"]["spec"]["selector"] == selector


# --- Sizes ---------------------------------------------------------------------------------------------------


def test_an_autoscaler_starts_at_the_scale_and_ends_where_it_always_does() -> None:
    scaled = {"min": 8, "max": 20, "autoscaling": {"metric": "cpu", "target": 80}}
    spec = small(model={"serve": {"replicas": scaled}})
    stable, candidate, kept = three(spec, 10)
    files = rendered(spec, [stable, candidate._replace(scale=30), kept._replace(scale=0)])
    bounds = files["1.2.0/autoscaler.yaml"]["spec"]
    assert (bounds["minReplicas"], bounds["maxReplicas"]) == (3, 20)
    assert "replicas" not in files["1.2.0/deployment.yaml"]["spec"]
    assert "0.9/autoscaler.yaml" not in files
    assert files["0.9/deployment.yaml"]["spec"]["replicas"] == 0


def test_clusters_may_differ_in_everything() -> None:
    spec = small(model={"serve": CUSTOM}, **TWO)
    lives = three(spec, 0, mirror=50)
    files = Renderer(spec, TEMPLATES).unit(UNIT, lives, {"two": (100, Share(0, 0, 0), 0)})
    routes = {name: yaml.safe_load(files[f"clusters/{name}/dev/chat/httproute.yaml"]) for name in ("one", "two")}
    assert ["filters" in route["spec"]["rules"][0] for route in routes.values()] == [True, False]
    sizes = {
        name: yaml.safe_load(files[f"clusters/{name}/dev/chat/1.2.0/deployment.yaml"])["spec"]["replicas"]
        for name in ("one", "two")
    }
    assert sizes == {"one": 2, "two": 0}


# --- What belongs to whom ------------------------------------------------------------------------------------


def test_a_frozen_version_keeps_its_own_server_and_takes_the_rest_from_the_spec() -> None:
    spec = small(
        model={
            "owner": "Now",
            "route": {"path": "/now"},
            "serve": {"network": {"ingress": [{"namespace": "now"}]}},
        }
    )
    serve = {**CUSTOM, "port": 9000, "network": {"ingress": [{"namespace": "then"}]}}
    route = {"hostnames": ["then.example.com"], "path": "/then"}
    old = frozen(spec, version="1.1.0", serve=serve, owner="Then", route=route)
    files = rendered(spec, [Live(old, 100), Live(spec.models[UNIT], 0)])
    deployment = files["1.1.0/deployment.yaml"]
    assert deployment["metadata"]["annotations"] == {"gitops/owner": "Now"}
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "ghcr.io/acme/x:1"
    assert files["httproute.yaml"]["spec"]["hostnames"] == ["chat.example.com"]
    assert files["httproute.yaml"]["spec"]["rules"][0]["matches"][0]["path"]["value"] == "/now"
    policy = orjson.dumps(files["networkpolicy.yaml"])
    assert b'"now"' in policy
    assert b"then" not in policy


def test_everybody_may_be_reached_and_fetch() -> None:
    spec = small(model={"artifact": {"uri": "file://models/chat"}})
    old = frozen(spec, version="1.1.0", serve={**CUSTOM, "port": 9000})
    remote = frozen(spec, version="1.0.0", artifact={**old.artifact.model_dump(mode="json"), "uri": "s3://a/b"})
    policy = rendered(spec, [Live(old, 100), Live(spec.models[UNIT], 0), Live(remote, 0)])["networkpolicy.yaml"]
    gateway, prometheus = policy["spec"]["ingress"]
    assert [port["port"] for port in gateway["ports"]] == [9000, 8000]
    assert [port["port"] for port in prometheus["ports"]] == [9000, 8000]
    assert 443 in [port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]]


def test_metrics_are_read_from_each_version_where_it_has_them() -> None:
    spec = small(environment={"monitoring": {"interval": "1m"}})
    old = frozen(spec, version="1.1.0", serve={**CUSTOM, "metrics": "/prometheus"})
    kept = frozen(spec, version="0.9", serve={**CUSTOM, "metrics": "/prometheus"})
    monitor = rendered(spec, [Live(old, 100), Live(spec.models[UNIT], 0), Live(kept, 0)])["podmonitor.yaml"]
    first, second = monitor["spec"]["podMetricsEndpoints"]
    assert (first["path"], second["path"]) == ("/prometheus", "/metrics")
    assert (first["interval"], second["interval"]) == ("60s", "60s")
    assert [one["relabelings"][0]["regex"] for one in (first, second)] == [r"1\.1\.0|0\.9", r"1\.2\.0"]


def test_versions_that_agree_share_one_endpoint() -> None:
    spec = small()
    monitor = rendered(spec, three(spec, 10))["podmonitor.yaml"]
    assert monitor["spec"]["podMetricsEndpoints"] == [{"port": "http", "path": "/metrics", "interval": "15s"}]


def test_two_versions_under_one_name_are_refused() -> None:
    spec = small()
    for version in ("1_2.0", "1.2.0"):
        lives = [Live(frozen(spec, version=version), 100), Live(spec.models[UNIT], 0)]
        with pytest.raises(GitopsError, match=r"versions .* and 1\.2\.0 would both run as chat-1-2-0"):
            Renderer(spec, TEMPLATES).unit(UNIT, lives)


def test_nothing_that_runs_needs_no_files() -> None:
    assert Renderer(small(), TEMPLATES).unit(UNIT, []) == {}


# --- Inputs --------------------------------------------------------------------------------------------------


def test_the_specs_version_alone_is_the_default() -> None:
    spec = small()
    renderer, alone = Renderer(spec, TEMPLATES), [Live(spec.models[UNIT], 100)]
    assert renderer.inputs(UNIT) == renderer.inputs(UNIT, alone) == renderer.inputs(UNIT, alone, {"one": (100,)})
    assert renderer.inputs(UNIT) == renderer.inputs(UNIT, [Live(frozen(spec), 100)])
    assert renderer.unit(UNIT) == renderer.unit(UNIT, [Live(frozen(spec), 100)])


OTHERWISE: dict[str, dict[str, Any]] = {
    "weight": {"weight": 20},
    "mirror": {"mirror": 5},
    "scale": {"scale": 80},
    "argument": {"serve": {"args": {"seed": 1}}},
    "artifact": {"artifact": {"uri": "s3://models/other"}},
    "wave": {"waves": {"one": (100, 0, 0)}},
    "wave's scale": {"waves": {"one": (90, Share(10, 0, 90), 0)}},
}


@pytest.mark.parametrize("change", OTHERWISE)
def test_what_changes_files_changes_the_digest(change: str) -> None:
    spec = small(model={"serve": {"replicas": {"min": 10, "max": 20}}})
    renderer, parts = Renderer(spec, TEMPLATES), dict(OTHERWISE[change])
    before = three(spec, 10)
    raw = spec.models[UNIT].model_dump(mode="json", by_alias=True)
    candidate = frozen(spec, **{key: {**raw[key], **parts.pop(key)} for key in ("serve", "artifact") if key in parts})
    waves = parts.pop("waves", None)
    weight = parts.get("weight", 10)
    after = [before[0]._replace(weight=100 - weight), before[1]._replace(model=candidate, **parts), before[2]]
    assert renderer.unit(UNIT, before) != renderer.unit(UNIT, after, waves)
    assert renderer.inputs(UNIT, before) != renderer.inputs(UNIT, after, waves)


def test_what_changes_no_file_keeps_the_digest() -> None:
    spec = small()
    renderer, lives = Renderer(spec, TEMPLATES), three(spec, 10)
    network = {
        **lives[0].model.serve.model_dump(mode="json", by_alias=True),
        "network": {"egress": [{"namespace": "x"}]},
    }
    others = [lives[0]._replace(model=frozen(spec, version="1.1.0", owner="x", route=None, serve=network)), *lives[1:]]
    waves: Waves = {"one": (90, 10, 0), "elsewhere": (1,)}
    assert renderer.unit(UNIT, lives) == renderer.unit(UNIT, others, waves)
    assert renderer.inputs(UNIT, lives) == renderer.inputs(UNIT, others, waves)


def test_the_order_of_versions_counts() -> None:
    spec = small()
    renderer, lives = Renderer(spec, TEMPLATES), three(spec, 50)
    assert renderer.inputs(UNIT, lives) != renderer.inputs(UNIT, [lives[1], lives[0], lives[2]])


def test_a_model_that_is_gone_lends_its_digest_to_no_other() -> None:
    """Digests are kept by identity, and Python reuses the addresses of what is gone."""
    spec = small()
    renderer = Renderer(spec, TEMPLATES)
    seen = {renderer.inputs(UNIT, [Live(frozen(spec, version=str(number)), 100)]) for number in range(100)}
    assert len(seen) == 100
