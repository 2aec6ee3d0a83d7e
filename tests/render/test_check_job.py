"""Gates as Kubernetes Jobs: rendered, within the restricted standard, let through to the model, and to nothing else."""

import ipaddress
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest
import yaml

from gitops.errors import GitopsError
from gitops.render.check_job import Asked, check_job, endpoint_of
from gitops.render.live import Live
from gitops.render.pod_security import violations
from gitops.render.renderer import Renderer
from gitops.spec.build import BuildJob
from gitops.spec.pipeline import Model
from gitops.spec.resolved import Spec
from gitops.spec.validation import CheckJob, Validation, contradictions
from gitops.values import UnitKey
from tests.render.specs import project_templates, small
from tests.support.controlplane import ControlPlane, Failed

UNIT = UnitKey("dev", "chat")
IMAGE = "registry.acme.ai/checker@sha256:" + "1" * 64
KEPT = {"gitops/pipeline", "gitops/cluster", "gitops/environment", "gitops/model", "gitops/version"}
Manifest = dict[str, Any]


def a_spec(environment: dict[str, Any] | None = None, **job: Any) -> Spec:
    validate = {"golden": "validation/chat.yaml", "job": {"image": IMAGE, **job}}
    return small(model={"validate": validate}, environment=environment)


def rendered(spec: Spec, asked: Asked | None = None) -> list[Manifest]:
    manifests = check_job(spec, project_templates(), UNIT, asked or Asked())
    return list(yaml.safe_load_all(manifests))


def the_job(spec: Spec, asked: Asked | None = None) -> Manifest:
    (job,) = [one for one in rendered(spec, asked) if one["kind"] == "Job"]
    return job


def arguments(spec: Spec, asked: Asked | None = None) -> list[str]:
    found: list[str] = the_job(spec, asked)["spec"]["template"]["spec"]["containers"][0]["args"]
    return found


# --- The Job -------------------------------------------------------------------------------------------------


def test_the_same_command_runs_in_a_pod_that_may_do_little() -> None:
    job = the_job(a_spec(queue="checks", retries=1, keep="1h", timeout="2h", cpu="2000m", memory="4096Mi", disk="1Gi"))
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert job["metadata"]["namespace"] == "acme-dev"
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "checks"
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"], spec["ttlSecondsAfterFinished"]) == (1, 7200, 3600)
    said_no, disrupted = spec["podFailurePolicy"]["rules"]
    assert said_no["action"] == "FailJob"
    assert said_no["onExitCodes"] == {"containerName": container["name"], "operator": "In", "values": [2]}
    assert (disrupted["action"], disrupted["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")
    assert list(violations(pod)) == []
    assert pod["automountServiceAccountToken"] is False
    assert "nodeSelector" not in pod
    assert "tolerations" not in pod
    assert container["image"] == IMAGE
    assert container["command"] == ["gitops"]
    assert container["args"] == [
        "check",
        "dev/chat",
        "--project=/project",
        "--endpoint=http://chat-1-2-0.acme-dev.svc:80",
        "--wait=0s",
        "--format=json",
        "--output=/work",
    ]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    assert mounts == {"work": "/work", "tmp": "/tmp"}
    assert {"name": "work", "emptyDir": {"sizeLimit": "1Gi"}} in pod["volumes"]
    assert container["env"] == [{"name": "HOME", "value": "/tmp"}]
    assert container["resources"] == {
        "requests": {"cpu": "2", "memory": "4Gi", "ephemeral-storage": "1Gi"},
        "limits": {"memory": "4Gi"},
    }


def test_it_runs_as_the_environment_lets_pods_run() -> None:
    pods = {"imagePullSecrets": ["registry"], "nodeSelector": {"pool": "checks"}, "tolerations": [{"key": "checks"}]}
    pod = the_job(a_spec({"pods": pods}))["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["nodeSelector"] == {"pool": "checks"}
    assert pod["tolerations"] == [{"key": "checks", "operator": "Exists"}]


def test_it_looks_up_names_where_the_clusters_do() -> None:
    clusters = {
        "one": {"provider": "existing", "context": "one", "dns": [{"cidr": "169.254.20.10/32"}]},
        "two": {"provider": "existing", "context": "two", "dns": [{"namespace": "dns", "port": 5353}]},
        "three": {"provider": "existing", "context": "three"},
    }
    for one in clusters.values():
        one["nodePools"] = {"l4": {"gpu": {"type": "L4"}, "max": 9}}
    policies = [one for one in rendered(a_spec({"clusters": clusters})) if one["kind"] == "NetworkPolicy"]
    (egress,) = [one["spec"]["egress"] for one in policies if "egress" in one["spec"]]
    named = [({port["port"] for port in rule["ports"]}, len(rule["to"])) for rule in egress]
    assert named[:2] == [({53}, 2), ({5353}, 1)]


def test_options_are_passed_on() -> None:
    asked = Asked("https://models.acme.ai/chat", ("golden", "benchmark"), "5m", 7.5)
    assert arguments(a_spec(project="/src"), asked)[2:] == [
        "--project=/src",
        "--endpoint=https://models.acme.ai/chat",
        "--wait=5m",
        "--only=golden",
        "--only=benchmark",
        "--tolerance=7.5",
        "--format=json",
        "--output=/work",
    ]


def test_secrets_come_by_reference() -> None:
    env = {"CHAT_API_KEY": {"secret": "chat", "key": "token"}, "PLAIN": "1"}
    job = the_job(a_spec(env=env))
    assert job["spec"]["template"]["spec"]["containers"][0]["env"][1:] == [
        {"name": "CHAT_API_KEY", "valueFrom": {"secretKeyRef": {"name": "chat", "key": "token"}}},
        {"name": "PLAIN", "value": "1"},
    ]


def test_nothing_is_taken_for_something_that_git_keeps_or_that_serves() -> None:
    """Neither by a prune, nor by the Services and budgets of the model, which select pods by these labels."""
    manifests = rendered(a_spec())
    labels = [one["metadata"]["labels"] for one in manifests]
    labels.append(the_job(a_spec())["spec"]["template"]["metadata"]["labels"])
    assert len(labels) == 4
    assert not any(KEPT & found.keys() for found in labels)


def test_another_check_has_another_name() -> None:
    spec = a_spec()
    names = {
        the_job(one, asked)["metadata"]["name"]
        for one, asked in (
            (spec, Asked()),
            (spec, Asked(only=("golden",))),
            (spec, Asked(wait="1m")),
            (a_spec(memory="1Gi"), Asked()),
            (small(model={"validate": {"job": {"image": IMAGE}}}), Asked()),
            (small(model={"version": "1.3.0", "validate": {"job": {"image": IMAGE}}}), Asked()),
        )
    }
    assert len(names) == 6
    assert all(name.startswith("check-dev-chat-1-") and len(name) <= 63 for name in names)
    assert the_job(spec)["metadata"]["name"] == the_job(a_spec())["metadata"]["name"]


def test_without_job_there_is_none() -> None:
    for validate in (None, {"golden": "validation/chat.yaml"}):
        with pytest.raises(GitopsError, match=r"models\.chat\.validate.*do not say how.*`validate: \{job: \{image"):
            check_job(small(model={"validate": validate}), project_templates(), UNIT, Asked())


def test_a_check_and_a_build_say_their_job_in_the_same_words() -> None:
    said = {"image": IMAGE, "project": "/src", "queue": "q", "serviceAccount": "s", "cpu": "1", "memory": "1Gi"}
    said |= {"disk": "1Gi", "env": {"A": "1"}, "timeout": "1h", "retries": 0, "keep": "1h", "namespace": "n"}
    for kind in (BuildJob, CheckJob):
        assert {field.alias for field in kind.model_fields.values()} >= said.keys()
        assert kind.model_validate(said).model_dump(mode="json", exclude_unset=True) == said
    least = {"image": IMAGE, "namespace": "n"}
    check, build = (kind.model_validate(least).model_dump() for kind in (CheckJob, BuildJob))
    assert check == {name: build[name] for name in check}


def test_the_endpoints_key_has_to_come_from_a_secret() -> None:
    endpoint = {"protocol": "openai-chat", "apiKeyEnv": "KEY"}
    for env, said in (
        ({}, ["the Job has to get the endpoint's key `KEY` from a Secret"]),
        ({"KEY": "written-out"}, ["the Job has to get the endpoint's key `KEY` from a Secret"]),
        ({"KEY": {"secret": "chat", "key": "token"}}, []),
    ):
        validation = Validation.model_validate({"endpoint": endpoint, "job": {"image": IMAGE, "env": env}})
        assert [found.message for found in contradictions(validation)] == said


# --- What it asks, and whom it reaches -----------------------------------------------------------------------


class Pod(NamedTuple):
    """As network policies see one."""

    namespace: str
    labels: Mapping[str, str]


def selected(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    return selector is None or (selector.get("matchLabels") or {}).items() <= labels.items()


def met(peer: Manifest, pod: Pod, policy: Manifest) -> bool:
    """Without a namespace selector a peer is in the policy's own namespace. Address blocks are for outsiders."""
    if "ipBlock" in peer:
        return False
    if "namespaceSelector" not in peer and pod.namespace != policy["metadata"]["namespace"]:
        return False
    home = {"kubernetes.io/metadata.name": pod.namespace}
    return selected(peer.get("namespaceSelector"), home) and selected(peer.get("podSelector"), pod.labels)


def allowed(policies: list[Manifest], direction: str, pod: Pod, other: Pod, port: int) -> bool:
    """Whether the pod's side agrees: nothing selects it, or one of those that do names the other and the port.

    https://kubernetes.io/docs/concepts/services-networking/network-policies/#the-two-sorts-of-pod-isolation
    """
    side, key = ("egress", "to") if direction == "Egress" else ("ingress", "from")
    mine = [
        one
        for one in policies
        if one["metadata"]["namespace"] == pod.namespace
        and selected(one["spec"]["podSelector"], pod.labels)
        and direction in one["spec"]["policyTypes"]
    ]
    return not mine or any(
        (not rule.get("ports") or any(p["port"] == port and p["protocol"] == "TCP" for p in rule["ports"]))
        and any(met(peer, other, policy) for peer in rule[key])
        for policy in mine
        for rule in policy["spec"].get(side, ())
    )


def reaches(policies: list[Manifest], pod: Pod, other: Pod, port: int) -> bool:
    return allowed(policies, "Egress", pod, other, port) and allowed(policies, "Ingress", other, pod, port)


def kept_in_git(spec: Spec, unit: UnitKey = UNIT, lives: tuple[Live, ...] | None = None) -> Iterator[Manifest]:
    renderer = Renderer(spec, project_templates())
    for path, data in {**renderer.base(unit.environment), **renderer.unit(unit, lives)}.items():
        if path.endswith(".yaml"):
            yield yaml.safe_load(data)


def policies_in(manifests: list[Manifest]) -> list[Manifest]:
    return [one for one in manifests if one["kind"] == "NetworkPolicy"]


def pod_of(manifest: Manifest) -> Pod:
    return Pod(manifest["metadata"]["namespace"], manifest["spec"]["template"]["metadata"]["labels"])


@pytest.mark.parametrize("namespace", [None, "checks"])
def test_the_pod_reaches_the_model_and_nothing_else(namespace: str | None) -> None:
    spec = a_spec(**({"namespace": namespace} if namespace else {}))
    git, manifests = list(kept_in_git(spec)), rendered(spec)
    (server,) = [one for one in git if one["kind"] == "Deployment"]
    (port,) = [one["containerPort"] for one in server["spec"]["template"]["spec"]["containers"][0]["ports"]]
    check, model = pod_of(the_job(spec)), pod_of(server)
    assert check.namespace == (namespace or "acme-dev")
    both = policies_in([*git, *manifests])
    assert reaches(both, check, model, port)
    assert reaches(both, check, Pod("kube-system", {"k8s-app": "kube-dns"}), 53)

    # What Git keeps alone lets nobody through, and what comes with the Job opens nothing for others.
    assert not reaches(policies_in(git), check, model, port)
    passer = Pod(check.namespace, {"app": "passer-by"})
    assert not reaches(both, passer, model, port)
    assert not allowed(both, "Ingress", model, Pod("elsewhere", check.labels), port)
    assert not reaches(both, check, model, port + 1)
    other = Pod(model.namespace, {**model.labels, "gitops/model": "other"})
    assert not reaches(both, check, other, port)
    assert not allowed(both, "Ingress", check, passer, port)
    assert not reaches(both, check, Pod("default", {"component": "apiserver"}), 443)


def test_it_asks_the_version_of_the_spec_and_no_other() -> None:
    """During a rollout the model's own Service answers with stable."""
    spec = a_spec()
    stable: Model = spec.models[UNIT].model_copy(update={"version": "1.1.0"})
    git = list(kept_in_git(spec, lives=(Live(stable, 90), Live(spec.models[UNIT], 10))))
    service, namespace = endpoint_of(spec, UNIT).removeprefix("http://").removesuffix(".svc:80").split(".")
    (asked,) = [one for one in git if one["kind"] == "Service" and one["metadata"]["name"] == service]
    answering = [
        one["metadata"]["name"]
        for one in git
        if one["kind"] == "Deployment" and selected({"matchLabels": asked["spec"]["selector"]}, pod_of(one).labels)
    ]
    assert answering == ["chat-1-2-0"]
    assert (asked["metadata"]["namespace"], asked["spec"]["ports"][0]["port"]) == (namespace, 80)
    (models_own,) = [one for one in git if one["kind"] == "Service" and one["metadata"]["name"] == "chat"]
    assert models_own["spec"]["selector"]["gitops/version"] == "1.1.0"


def test_environments_that_share_a_namespace_keep_their_rules_apart() -> None:
    policies = policies_in(rendered(a_spec(namespace="checks")))
    assert [one["metadata"]["name"] for one in policies] == ["check.dev.chat.ingress", "check.dev.chat.egress"]
    (egress,) = [one for one in policies if one["metadata"]["namespace"] == "checks"]
    assert egress["spec"]["podSelector"]["matchLabels"] == {"gitops/check": "chat", "gitops/check-environment": "dev"}


@pytest.mark.parametrize("url", ["http://chat.acme-dev.svc", "http://chat.acme-dev.svc.cluster.local:80/v1"])
def test_the_models_own_service_may_be_asked(url: str) -> None:
    spec = a_spec()
    both = policies_in([*kept_in_git(spec), *rendered(spec, Asked(url))])
    model = Pod("acme-dev", {"gitops/model": "chat"})
    assert reaches(both, pod_of(the_job(spec)), model, 8000)


def test_a_service_of_another_namespace() -> None:
    spec = a_spec()
    manifests = rendered(spec, Asked("http://gateway.gateways.svc/chat"))
    both = policies_in([*kept_in_git(spec), *manifests])
    check = pod_of(the_job(spec))
    assert reaches(both, check, Pod("gateways", {"app": "gateway"}), 8443)
    # Nothing is opened that the check does not need.
    assert not reaches(both, check, Pod("acme-dev", {"gitops/model": "chat"}), 8000)
    assert len(manifests) == 2


def test_an_address_outside_of_the_cluster() -> None:
    asked = Asked("https://models.acme.ai:8443/chat", others=("https://embeddings.acme.ai", "https://other.acme.ai"))
    _names, *rules = policies_in(rendered(a_spec(), asked))[0]["spec"]["egress"]
    assert [[port["port"] for port in rule["ports"]] for rule in rules] == [[8443], [443]]
    for rule in rules:
        (peer,) = rule["to"]
        (excepted,) = map(ipaddress.ip_network, peer["ipBlock"]["except"])
        assert ipaddress.ip_address("169.254.169.254") in excepted


@pytest.mark.parametrize("url", ["http://localhost:8000", "http://127.0.0.1:8000", "http://[::1]:8000"])
def test_loopback_is_the_pod_itself(url: str) -> None:
    for asked in (Asked(url), Asked(others=(url,))):
        with pytest.raises(GitopsError, match="the Job's own pod"):
            rendered(a_spec(), asked)


# --- An API server -------------------------------------------------------------------------------------------


@pytest.mark.controlplane
def test_an_api_server_takes_it_whole(control_plane: ControlPlane, namespace: str) -> None:
    spec = a_spec({"namespace": namespace}, queue="checks", env={"KEY": {"secret": "chat", "key": "token"}})
    manifests = rendered(spec, Asked(only=("golden",), tolerance=5.0, others=("https://embeddings.acme.ai",)))
    command = ("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-", "-o", "json")
    whole = {"apiVersion": "v1", "kind": "List", "items": manifests}
    taken = json.loads(control_plane.kubectl(*command, stdin=json.dumps(whole)))["items"]
    assert [one["kind"] for one in taken] == ["NetworkPolicy", "NetworkPolicy", "Job"]
    assert [one["spec"] for one in taken[:2]] == [one["spec"] for one in manifests[:2]]
    assert taken[2]["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [2]
    template = manifests[2]["spec"]["template"]
    # The namespace of an environment enforces the restricted standard: the pod itself has to pass, too.
    pod = {"apiVersion": "v1", "kind": "Pod", "spec": template["spec"]}
    pod["metadata"] = {**template["metadata"], "name": "probe", "namespace": namespace}
    control_plane.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    control_plane.kubectl(*command, stdin=json.dumps(pod))
    template["spec"]["securityContext"]["runAsNonRoot"] = False
    with pytest.raises(Failed, match="restricted"):
        control_plane.kubectl(*command, stdin=json.dumps(pod))
