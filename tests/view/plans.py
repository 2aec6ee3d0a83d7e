"""Plans as users meet them, for every view's tests."""

from __future__ import annotations

import dataclasses
from types import MappingProxyType
from typing import Literal

from gitops.plan.model import (
    Base,
    ClusterInfrastructure,
    FileChange,
    LeftAlone,
    ObjectChange,
    Outlook,
    Plan,
    PlannedStep,
    PoolUse,
    Reason,
    Refusal,
    ReleaseChange,
)
from gitops.plan.observed import FieldChange, ResourceChange
from gitops.values import Action, ObjectRef, UnitKey

ENVIRONMENTS = ("dev", "staging", "production")
CAREFUL = "careful (canary 1 % → 10 % → 50 % → 100 %)"
OLD = "sha256:" + "1" * 64
NEW = "sha256:" + "2" * 64


def base(*, world: Literal["real", "embedded"] = "real", live: bool = True) -> Base:
    return Base(
        pipeline="acme-inference",
        head="8d3e2f1c0a9b8d3e2f1c0a9b8d3e2f1c0a9b8d3e",
        spec="sha256:" + "a" * 64,
        engine="sha256:" + "b" * 64,
        world=world,
        live=live,
        spec_commit="4f2c1a97d3b54f2c1a97d3b54f2c1a97d3b54f2c",
    )


def file(unit: str, action: Action, name: str, diff: str = "") -> FileChange:
    environment, _, model = unit.partition("/")
    path = f"clusters/aws-{environment}/{environment}/{model}/{name}"
    return FileChange(unit, action, path, None if action == "delete" else b"kind: Thing\nspec: {}\n", diff)


def change(
    unit: str, action: Action, kind: str, name: str, reason: Reason = "spec", fields: tuple[FieldChange, ...] = ()
) -> ObjectChange:
    environment = unit.partition("/")[0]
    return ObjectChange(
        unit=unit,
        cluster=f"aws-{environment}",
        environment=environment,
        action=action,
        ref=ObjectRef("apps/v1" if kind == "Deployment" else "v1", kind, f"acme-{environment}", name),
        reason=reason,
        path="" if action == "delete" else f"clusters/aws-{environment}/{unit}/{kind.lower()}.yaml",
        uid="" if action == "create" else "0b5c4f0e",
        fields=fields,
    )


DIFF = """--- a/route.yaml
+++ b/route.yaml
@@ -4,3 +4,3 @@
   backendRefs:
-  - name: support-chat-2-2-0
+  - name: support-chat-2-3-0
     weight: 100
"""


def bump() -> Plan:
    """A new version of one model reaches production; nothing else."""
    unit = "production/support-chat"
    return Plan(
        base=base(),
        releases=(ReleaseChange(UnitKey("production", "support-chat"), "update", "2.3.0", "2.2.0", CAREFUL, "start"),),
        files=(
            file(unit, "create", "support-chat-2-3-0/deployment.yaml"),
            file(unit, "create", "support-chat-2-3-0/service.yaml"),
            file(unit, "update", "route.yaml", DIFF),
            file(unit, "delete", "support-chat-2-2-0/deployment.yaml"),
        ),
        steps=(PlannedStep(unit, "rollout(production/support-chat): start 2.3.0 beside 2.2.0\n", {}),),
        outlook=(
            Outlook(
                unit,
                (
                    "takes 2h 04m when nothing goes wrong",
                    "latency-p99 sees +50 % within 15m at 1 %, and +10 % only from 50 % on",
                ),
            ),
        ),
        objects=(
            change(unit, "create", "Deployment", "support-chat-2-3-0"),
            change(unit, "create", "Service", "support-chat-2-3-0"),
            change(
                unit,
                "update",
                "HTTPRoute",
                "support-chat",
                fields=(
                    FieldChange("spec.rules[0].backendRefs[0].name", "support-chat-2-2-0", "support-chat-2-3-0"),
                    FieldChange(
                        "metadata.annotations.image",
                        f"registry.acme.example/models/support-chat@{OLD}",
                        f"registry.acme.example/models/support-chat@{NEW}",
                    ),
                ),
            ),
            change(unit, "delete", "Deployment", "support-chat-2-2-0", "surplus"),
        ),
        capacity=(
            PoolUse("aws-production", "h100", "H100", 16, 16, 24, 16, 98.32, 98.32, 147.48),
            PoolUse("aws-production", "l4", "L4", 4, 4, 4, 8, None, None, None),
        ),
        warnings=("production/support-chat: the old version's pods stay warm for 30 minutes",),
        message="release(production/support-chat): 2.3.0",
        seen=MappingProxyType({unit: "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"}),
        models=2,
        environments=ENVIRONMENTS,
    )


def drift() -> Plan:
    """Git matches the spec, but somebody changed a cluster and the cloud by hand."""
    return Plan(
        base=base(),
        objects=(
            change(
                "staging/support-chat",
                "update",
                "Deployment",
                "support-chat-2-2-0",
                "taken-over",
                (
                    FieldChange("spec.replicas", 5, 3, "kubectl-edit"),
                    FieldChange("spec.paused", True, None, "kubectl-edit"),
                ),
            ),
            change("staging/support-chat", "create", "Service", "support-chat-2-2-0", "missing"),
            change(
                "production/embedder",
                "update",
                "ConfigMap",
                "embedder",
                "changed",
                (FieldChange("data.args", "--a", "--b"),),
            ),
            change("production/retired", "delete", "Deployment", "retired-1-0-0", "surplus"),
        ),
        infrastructure=(
            ClusterInfrastructure(
                "aws-production",
                exists=True,
                resources=(
                    ResourceChange("module.gpu.aws_eks_node_group.h100", "update", True, ("scaling_config",)),
                    ResourceChange("module.gpu.aws_launch_template.h100", "replace", False, ("image_id", "tags")),
                    ResourceChange("module.gpu.data.aws_ami.gpu", "read"),
                ),
                saved=b"PK\x03\x04\xff",
            ),
            ClusterInfrastructure("aws-staging", exists=True, resources=()),
        ),
        models=3,
        environments=ENVIRONMENTS,
    )


def first() -> Plan:
    """The first apply ever, in the embedded world, with a cluster of 80 resources to make."""
    units = [UnitKey(environment, model) for environment in ("dev", "staging") for model in ("chat", "embedder")]
    return Plan(
        base=dataclasses.replace(base(world="embedded"), head=None, spec_commit=""),
        releases=tuple(ReleaseChange(unit, "create", "1.0.0", "", "all at once (rolling)") for unit in units),
        files=tuple(file(str(unit), "create", name) for unit in units for name in ("a.yaml", "b.yaml")),
        objects=tuple(change(str(unit), "create", "Deployment", f"{unit.model}-1-0-0") for unit in units),
        infrastructure=(
            ClusterInfrastructure(
                "aws-dev",
                exists=False,
                resources=tuple(ResourceChange(f"aws_thing.number[{i}]", "create") for i in range(80)),
            ),
        ),
        message="release: 4 units",
        seen=MappingProxyType({str(unit): "" for unit in units}),
        models=2,
        environments=("dev", "staging"),
    )


def offline() -> Plan:
    """Only Git was looked at; a configuration changes and one unit waits for another environment."""
    return Plan(
        base=dataclasses.replace(base(live=False), spec_modified=True),
        releases=(ReleaseChange(UnitKey("dev", "support-chat"), "update", "2.3.0", "2.3.0", CAREFUL),),
        files=(file("dev/support-chat", "update", "config.yaml", "@@ -1 +1 @@\n-a: 1\n+a: 2\n"),),
        left_alone=(LeftAlone("production/support-chat", "2.3.0 is not verified in staging, which still runs 2.2.0"),),
        models=1,
        environments=ENVIRONMENTS,
    )


def rollouts() -> Plan:
    """Everything that may become of releases at once: one starts, one goes back, others wait."""
    unit = UnitKey
    return Plan(
        base=base(),
        releases=(
            ReleaseChange(unit("dev", "support-chat"), "update", "2.4.0", "2.3.0", CAREFUL, "start"),
            ReleaseChange(unit("dev", "summarizer"), "create", "1.0.0", "", CAREFUL),
            ReleaseChange(unit("staging", "embedder"), "update", "1.1.0", "1.0.0", CAREFUL, "roll-back"),
            ReleaseChange(unit("production", "embedder"), "update", "1.0.0", "1.0.0", CAREFUL),
            ReleaseChange(unit("production", "reranker"), "update", "3.1.0", "3.0.0", CAREFUL, "clear"),
            ReleaseChange(unit("production", "retired"), "delete", "1.0.0", "1.0.0", ""),
        ),
        files=(file("dev/support-chat", "create", "support-chat-2-4-0/deployment.yaml"),),
        objects=(change("dev/support-chat", "create", "Deployment", "support-chat-2-4-0"),),
        waiting=(
            LeftAlone("staging/support-chat", "2.4.0 waits: not verified in dev yet"),
            LeftAlone("production/support-chat", "2.4.0 waits for approval: 1 of 2 (alice@acme.example)"),
        ),
        steps=(
            PlannedStep("dev/support-chat", "rollout(dev/support-chat): start 2.4.0 beside 2.3.0\n", {}),
            PlannedStep("staging/embedder", "rollout(staging/embedder): roll back 1.1.0 to 1.0.0\n", {}, True),
        ),
        outlook=(
            Outlook("dev/support-chat", ("takes 11m when nothing goes wrong", "error-rate sees 2 % within 10m")),
            Outlook(
                "production/support-chat",
                (
                    "takes 2h 04m when nothing goes wrong, once it may start",
                    "needs 3 more L4 from 50 % on; pool l4 of aws-production has 4 left at its largest",
                ),
            ),
        ),
        models=6,
        environments=ENVIRONMENTS,
    )


def refused() -> Plan:
    """A model disappears from the spec, and a safety rule asks whether that is meant."""
    return Plan(
        base=base(),
        releases=(ReleaseChange(UnitKey("production", "retired"), "delete", "", "1.0.0", "careful"),),
        files=(file("production/retired", "delete", "deployment.yaml"),),
        objects=(change("production/retired", "delete", "Deployment", "retired-1-0-0"),),
        refusals=(
            Refusal(
                "deletes-production",
                "production/retired serves traffic (412 requests in the last hour) and this plan deletes it",
                "--allow-delete production/retired",
            ),
            Refusal("stale-lock", "terraform/aws-production is locked by @ops since 02:10"),
        ),
        models=1,
        environments=ENVIRONMENTS,
    )


def nothing() -> Plan:
    """Everything is as it should be."""
    return Plan(base=base(), models=2, environments=ENVIRONMENTS)


def hostile() -> Plan:
    """Every text that somebody else controls tries to break out."""
    evil = "x|`</code></details>--><script>@everyone</script>\n# big\n```\n[a](javascript:b)\x1b[2J\u202e"
    unit = UnitKey(evil, evil)
    return Plan(
        base=dataclasses.replace(base(), pipeline=evil, spec_commit=evil, head=evil),
        releases=(ReleaseChange(unit, "update", evil, "1", evil, "start"),),
        waiting=(LeftAlone(evil, evil),),
        steps=(PlannedStep(str(unit), evil, {}),),
        outlook=(Outlook(str(unit), (evil,)), Outlook(evil, (evil,))),
        files=(FileChange(str(unit), "update", evil, b"\xff", f"+{evil}\n````\n+</details>\n"),),
        objects=(
            ObjectChange(
                str(unit),
                evil,
                evil,
                "update",
                ObjectRef("v1", "Kind", evil, evil),
                "taken-over",
                fields=(FieldChange(evil, evil, [evil], evil),),
            ),
        ),
        infrastructure=(ClusterInfrastructure(evil, True, (ResourceChange(evil, "update", True, (evil,)),)),),
        capacity=(PoolUse(evil, evil, evil, 1, 2, 3, 2, None, 1.0, 2.0),),
        left_alone=(LeftAlone(evil, evil),),
        warnings=(evil,),
        unreachable=(LeftAlone(evil, evil),),
        refusals=(Refusal(evil, evil, evil),),
        message=evil,
        models=1,
        environments=(evil,),
    )


def large(models: int = 1000) -> Plan:
    """A first apply of many models in three environments: eight files and objects each, every one with a diff."""
    units = [UnitKey(environment, f"model-{i}") for environment in ENVIRONMENTS for i in range(models)]
    fields = (FieldChange("spec.replicas", 1, 2),)
    return Plan(
        base=base(),
        releases=tuple(ReleaseChange(unit, "update", "1.1.0", "1.0.0", CAREFUL) for unit in units),
        files=tuple(file(str(unit), "update", f"{i}.yaml", DIFF) for unit in units for i in range(8)),
        objects=tuple(
            change(str(unit), "update", "Thing", f"{unit.model}-{i}", fields=fields) for unit in units for i in range(8)
        ),
        models=models,
        environments=ENVIRONMENTS,
    )


NAMED = {plan.__name__: plan for plan in (bump, drift, first, offline, rollouts, refused, nothing)}
