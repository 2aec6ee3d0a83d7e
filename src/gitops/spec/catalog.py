"""Facts about GPUs, instance types and metrics that the spec is checked against. Data only.

Instance figures are AWS's published accelerated-computing instance specifications. Prices are not here: they
differ by region and contract, so a pool declares its own `hourlyPrice`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple


class Instance(NamedTuple):
    """What one node of an instance type has."""

    gpu: str
    gpus: int
    cpus: int
    memory_gib: int


GPU_TYPES = ("T4", "A10G", "L4", "L40S", "A100", "A100-80GB", "H100", "H200", "B200")

GPU_MEMORY_GIB = {
    "T4": 16,
    "A10G": 24,
    "L4": 24,
    "L40S": 48,
    "A100": 40,
    "A100-80GB": 80,
    "H100": 80,
    "H200": 141,
    "B200": 180,
}

AWS_INSTANCES: dict[str, Instance] = {
    "g4dn.xlarge": Instance("T4", 1, 4, 16),
    "g4dn.2xlarge": Instance("T4", 1, 8, 32),
    "g4dn.12xlarge": Instance("T4", 4, 48, 192),
    "g5.xlarge": Instance("A10G", 1, 4, 16),
    "g5.2xlarge": Instance("A10G", 1, 8, 32),
    "g5.4xlarge": Instance("A10G", 1, 16, 64),
    "g5.12xlarge": Instance("A10G", 4, 48, 192),
    "g5.48xlarge": Instance("A10G", 8, 192, 768),
    "g6.xlarge": Instance("L4", 1, 4, 16),
    "g6.2xlarge": Instance("L4", 1, 8, 32),
    "g6.4xlarge": Instance("L4", 1, 16, 64),
    "g6.12xlarge": Instance("L4", 4, 48, 192),
    "g6.48xlarge": Instance("L4", 8, 192, 768),
    "g6e.xlarge": Instance("L40S", 1, 4, 32),
    "g6e.2xlarge": Instance("L40S", 1, 8, 64),
    "g6e.4xlarge": Instance("L40S", 1, 16, 128),
    "g6e.12xlarge": Instance("L40S", 4, 48, 384),
    "g6e.48xlarge": Instance("L40S", 8, 192, 1536),
    "p4d.24xlarge": Instance("A100", 8, 96, 1152),
    "p4de.24xlarge": Instance("A100-80GB", 8, 96, 1152),
    "p5.4xlarge": Instance("H100", 1, 16, 256),
    "p5.48xlarge": Instance("H100", 8, 192, 2048),
    "p5e.48xlarge": Instance("H200", 8, 192, 2048),
    "p5en.48xlarge": Instance("H200", 8, 192, 2048),
    "p6-b200.48xlarge": Instance("B200", 8, 192, 2048),
}


class Metric(NamedTuple):
    """A metric: the unit of its thresholds and which direction is worse."""

    unit: Literal["s", "%", ""]
    worse: Literal["higher", "lower"]
    follows_load: bool = False
    """It grows with the requests that a replica gets, which differ between two versions in a rollout: stable keeps all
    its replicas while it loses traffic, and the candidate is sized to its share. The same version reads 1.5x itself."""


METRICS: dict[str, Metric] = {
    "latency-p50": Metric("s", "higher"),
    "latency-p95": Metric("s", "higher"),
    "latency-p99": Metric("s", "higher"),
    "time-to-first-token-p99": Metric("s", "higher"),
    "inter-token-latency-p99": Metric("s", "higher"),
    "requests-per-second": Metric("", "lower"),
    "tokens-per-second": Metric("", "lower"),
    "error-rate": Metric("%", "higher"),
    "queue-length": Metric("", "higher", follows_load=True),
    "kv-cache-use": Metric("%", "higher", follows_load=True),
    "gpu-utilization": Metric("%", "higher", follows_load=True),
    "gpu-memory": Metric("%", "higher"),
    "prediction-accuracy": Metric("%", "lower"),
    "prediction-drift": Metric("", "higher"),
}
