from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from gitops.spec.environment import Cluster, Environment
from gitops.spec.pipeline import Serve
from gitops.spec.placement import choose_pool, is_managed, pods_of, pools

CLUSTER: TypeAdapter[Any] = TypeAdapter(Cluster)
SERVE: TypeAdapter[Any] = TypeAdapter(Serve)

AWS = CLUSTER.validate_python(
    {
        "provider": "aws",
        "region": "us-east-1",
        "availabilityZones": ["us-east-1a", "us-east-1b"],
        "nodePools": {
            "new": {"instance": "p9.48xlarge", "max": 1},
            "one": {"instance": "p5.4xlarge", "max": 4},
            "eight": {"instance": "p5.48xlarge", "max": 2, "selector": {"a": "b"}},
            "own": {"instance": "p9.48xlarge", "gpu": {"type": "B200", "count": 4}, "max": 1},
        },
    }
)


def serve(**more: Any) -> Any:
    return SERVE.validate_python({"runtime": "vllm", **more})


def test_pools_know_their_gpus() -> None:
    found = pools(AWS)
    assert list(found) == ["one", "eight", "own"]
    assert (found["eight"].gpus, found["eight"].gpu_type, found["eight"].capacity) == (8, "H100", 16)
    assert found["eight"].slots(3) == 4
    assert found["eight"].selector == {"a": "b"}
    assert found["one"].selector == {"gitops/pool": "one"}
    assert found["own"].gpu_type == "B200"
    assert is_managed(AWS)


def test_the_first_pool_that_fits() -> None:
    found = pools(AWS)
    assert choose_pool(serve(gpu={"type": "H100"}), found) is found["one"]
    assert choose_pool(serve(gpu={"type": "H100", "count": 4}), found) is found["eight"]
    assert choose_pool(serve(gpu={"type": "L4"}), found) is None


def test_a_named_pool_has_to_fit() -> None:
    found = pools(AWS)
    assert choose_pool(serve(gpu={"type": "H100"}, pool="eight"), found) is found["eight"]
    assert choose_pool(serve(gpu={"type": "H100", "count": 2}, pool="one"), found) is None
    assert choose_pool(serve(gpu={"type": "H100"}, pool="none"), found) is None


def test_no_gpu_no_pool() -> None:
    assert choose_pool(SERVE.validate_python({"runtime": "custom", "image": "a:1"}), pools(AWS)) is None


def test_the_narrower_adds_to_the_wider() -> None:
    said = {"tolerations": [{"key": "spot"}], "nodeSelector": {"zone": "a"}, "runtimeClass": "runc"}
    pool = {"gpu": {"type": "L4"}, "max": 1, "runtimeClass": "nvidia", "tolerations": [{"key": "gpu", "value": "l4"}]}
    cluster = {"provider": "existing", "context": "x", "nodePools": {"l4": pool}, "pods": said}
    environment = TypeAdapter(Environment).validate_python(
        {"apiVersion": "gitops/v1", "clusters": {"x": cluster}, "pods": {"imagePullSecrets": ["ours"], **said}}
    )
    settings = environment.clusters["x"]
    more = {"imagePullSecrets": ["theirs", "ours"], "nodeSelector": {"disk": "nvme", "zone": "b"}}
    gpu, cpu = serve(gpu={"type": "L4"}, pods=more), SERVE.validate_python({"runtime": "custom", "image": "a:1"})

    found = pods_of(environment, settings, choose_pool(gpu, pools(settings)), gpu)
    assert found.image_pull_secrets == ("ours", "theirs")
    assert found.runtime_class == "nvidia"
    assert [one.key for one in found.tolerations] == ["spot", "gpu"]
    assert found.node_selector == {"zone": "b", "disk": "nvme", "gitops/pool": "l4"}
    assert pods_of(environment, settings, None, cpu).runtime_class == "runc"
    assert pods_of(None, AWS, None, None).node_selector == {}
