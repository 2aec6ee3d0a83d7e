"""Model servers that only have metrics: those of vLLM, Triton, a plain HTTP server and the DCGM exporter.

    with ModelServers.start() as servers:
        chat = servers.model("acme-production", "chat", "vllm")
        chat.run("2.3.0")
        chat.run("2.4.0", with_levels("vllm", error_rate=3), percent=10)
        prometheus.reload(servers.targets())

What a version does is a `Behaviour`; its counters grow with real time and without any chance, so that Prometheus ought
to find exactly what is declared. Labels that a PodMonitor sets are in `targets()`, not in what the servers say.
"""

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from statistics import NormalDist
from threading import Lock, Thread
from types import TracebackType
from typing import Self

from gitops.rollout.traffic import bounds_of
from gitops.spec.behaviour import Behaviour, healthy
from tests.support.prometheus import Target

GPU_MIB = 81_559
"""Of an H100, as DCGM counts it."""
PROBES_PER_SECOND = 2.0
"""What kubelet asks a plain server."""
_HISTOGRAMS = {
    "vllm": {
        "latency": "vllm:e2e_request_latency_seconds",
        "time-to-first-token": "vllm:time_to_first_token_seconds",
        "inter-token-latency": "vllm:inter_token_latency_seconds",
    },
    "custom": {"latency": "http_request_duration_seconds"},
}


def with_levels(runtime: str, **levels: float) -> Behaviour:
    """Servers of a runtime that are healthy but for these levels: `with_levels("vllm", error_rate=3)`."""
    usual = healthy(runtime)
    return replace(usual, levels={**usual.levels, **{name.replace("_", "-"): one for name, one in levels.items()}})


@dataclass
class _Pod:
    """One replica: what it counted since it started. `share` is its part of all traffic."""

    runtime: str
    labels: Mapping[str, str]
    node: str
    gpus: int
    behaviour: Behaviour
    share: float
    begun: float
    at: float
    totals: dict[tuple[str, float], float] = field(default_factory=dict)
    """By counter, or by trait and bucket: fractions of requests are counted as well, and shown rounded down."""

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.behaviour.levels.get("requests-per-second", 0.0) * self.share

    def advance(self, now: float) -> None:
        """Count what happened until now."""
        passed, self.at = now - self.at, now
        failing = (self._level("error-rate") or 0.0) / 100
        good = self.rate * (1 - failing) * passed
        each = self._level("tokens-per-request") or 0.0
        self._add("good", good)
        self._add("bad", self.rate * failing * passed)
        self._add("probes", PROBES_PER_SECOND * passed)
        self._add("tokens", good * each)
        for trait in _HISTOGRAMS.get(self.runtime, {}):
            # A plain server times failures as well, vLLM only what it finished; its tokens are timed one by one.
            timed = self.rate * passed if self.runtime == "custom" else good
            self._time(trait, timed * (max(0.0, each - 1) if trait == "inter-token-latency" else 1))

    def restart(self, now: float) -> None:
        """A new container in the same pod: counters begin again."""
        self.totals.clear()
        self.begun = self.at = now

    def text(self) -> str:
        """What the server answers to a scrape."""
        lines = {"vllm": self._vllm, "triton": self._triton, "custom": self._custom}[self.runtime]()
        return "\n".join([*lines, *self._predictions(), ""])

    def _level(self, trait: str) -> float | None:
        return self.behaviour.level(trait, self.at - self.begun)

    def _add(self, name: str, amount: float, bound: float = 0.0) -> None:
        self.totals[name, bound] = self.totals.get((name, bound), 0.0) + amount

    def _count(self, name: str, bound: float = 0.0) -> int:
        return math.floor(self.totals.get((name, bound), 0.0) + 1e-6)

    def _time(self, trait: str, requests: float) -> None:
        median = self._level(trait)
        if median is None:
            return
        times = NormalDist(math.log(max(median, 1e-9)), self.behaviour.spread(trait))
        for bound in bounds_of(self.runtime, trait):
            self._add(trait, requests * times.cdf(math.log(bound)), bound)
        self._add(trait, requests, math.inf)

    def _histogram(self, trait: str, name: str, *labels: str) -> Iterator[str]:
        yield f"# TYPE {name} histogram"
        for bound in (*bounds_of(self.runtime, trait), math.inf):
            le = "+Inf" if math.isinf(bound) else str(float(bound))
            yield _line(f"{name}_bucket", self._count(trait, bound), *labels, f'le="{le}"')
        yield _line(f"{name}_count", self._count(trait, math.inf), *labels)
        yield _line(f"{name}_sum", self._count(trait, math.inf) * (self._level(trait) or 0.0), *labels)

    def _vllm(self) -> Iterator[str]:
        labels = ('engine="0"', f'model_name="/models/{self.labels["gitops_model"]}"')
        for trait, name in _HISTOGRAMS["vllm"].items():
            yield from self._histogram(trait, name, *labels)
        yield _line("vllm:generation_tokens_total", self._count("tokens"), *labels)
        yield _line("vllm:num_requests_running", round(self.rate), *labels)
        yield _line("vllm:num_requests_waiting", self._level("queue-length") or 0.0, *labels)
        yield _line("vllm:kv_cache_usage_perc", (self._level("kv-cache-use") or 0.0) / 100, *labels)
        yield _line("vllm:request_success_total", self._count("good"), *labels, 'finished_reason="stop"')
        asked = ('handler="/v1/chat/completions"', 'method="POST"')
        yield _line("http_requests_total", self._count("good"), *asked, 'status="2xx"')
        if self._count("bad"):  # client libraries show a status when it happens first
            yield _line("http_requests_total", self._count("bad"), *asked, 'status="5xx"')

    def _triton(self) -> Iterator[str]:
        labels = (f'model="{self.labels["gitops_model"]}"', 'version="1"')
        yield _line("nv_inference_request_success", self._count("good"), *labels)
        yield _line("nv_inference_request_failure", self._count("bad"), *labels, 'reason="BACKEND"')
        yield _line("nv_inference_request_failure", self._count("bad") * 7, *labels, 'reason="CANCELED"')
        yield _line("nv_inference_count", self._count("good"), *labels)
        yield _line("nv_inference_exec_count", self._count("good"), *labels)
        yield _line("nv_inference_pending_request_count", self._level("queue-length") or 0.0, *labels)
        median, spread = self._level("latency") or 0.0, self.behaviour.spread("latency")
        for share in (0.5, 0.9, 0.95, 0.99, 0.999):
            time_us = median * math.exp(spread * NormalDist().inv_cdf(share)) * 1e6 if self.rate else math.nan
            yield _line("nv_inference_request_summary_us", time_us, *labels, f'quantile="{share:g}"')
        for index in range(self.gpus):
            gpu = f'gpu_uuid="GPU-{self.labels["pod"]}-{index}"'
            total = GPU_MIB * 2**20
            yield _line("nv_gpu_utilization", (self._level("gpu-utilization") or 0.0) / 100, gpu)
            yield _line("nv_gpu_memory_total_bytes", total, gpu)
            yield _line("nv_gpu_memory_used_bytes", total * (self._level("gpu-memory") or 0.0) / 100, gpu)

    def _custom(self) -> Iterator[str]:
        asked = ('handler="/predict"', 'method="POST"')
        yield from self._histogram("latency", "http_request_duration_seconds", *asked)
        yield _line("http_requests_total", self._count("good"), *asked, 'status="200"')
        if self._count("bad"):
            yield _line("http_requests_total", self._count("bad"), *asked, 'status="503"')
        probe = ('handler="/healthz"', 'method="GET"')
        yield _line("http_requests_total", self._count("probes"), *probe, 'status="200"')
        for bound in (*bounds_of("custom", "latency"), math.inf):
            le = "+Inf" if math.isinf(bound) else str(float(bound))
            yield _line("http_request_duration_seconds_bucket", self._count("probes"), *probe, f'le="{le}"')

    def _predictions(self) -> Iterator[str]:
        if (accuracy := self._level("prediction-accuracy")) is not None:
            yield _line("prediction_accuracy", accuracy / 100)
        if (drift := self._level("prediction-drift")) is not None:
            yield _line("prediction_drift", drift)

    def dcgm(self, first: int) -> Iterator[str]:
        """What the exporter of its node says about its GPUs, which are numbered from `first` there."""
        busy, full = self._level("gpu-utilization"), self._level("gpu-memory")
        if busy is None or full is None:
            return
        used = GPU_MIB * full / 100
        where = [f'{name}="{self.labels[name]}"' for name in ("namespace", "pod")]
        for index in range(first, first + self.gpus):
            gpu = (
                f'gpu="{index}"',
                f'UUID="GPU-{self.node}-{index}"',
                f'device="nvidia{index}"',
                f'Hostname="{self.node}"',
            )
            labels = (*gpu, 'modelName="NVIDIA H100 80GB HBM3"', 'container="server"', *where)
            yield _line("DCGM_FI_DEV_GPU_UTIL", round(busy), *labels)
            yield _line("DCGM_FI_DEV_FB_USED", round(used), *labels)
            yield _line("DCGM_FI_DEV_FB_FREE", round(GPU_MIB - used), *labels)
            yield _line("DCGM_FI_DEV_XID_ERRORS", 0, *labels)


def _line(name: str, value: float, *labels: str) -> str:
    return f"{name}{{{','.join(labels)}}} {value:.10g}"


class Exporter:
    """The servers of one model in one namespace."""

    def __init__(self, servers: "ModelServers", namespace: str, model: str, runtime: str) -> None:
        """Use `ModelServers.model`."""
        self._servers = servers
        self._place = (namespace, model)
        self._runtime = runtime

    def run(
        self,
        version: str,
        behaviour: Behaviour | None = None,
        *,
        percent: float = 100,
        pods: int = 1,
        gpus: int = 0,
        node: str = "gpu-0",
    ) -> None:
        """Start the pods of a version, with `gpus` each. They are scraped once Prometheus knows `targets()`."""
        with self._servers.counted() as now:
            for index in range(pods):
                self._servers.pods[self._path(version, index)] = _Pod(
                    self._runtime,
                    self._labels(version, index),
                    node,
                    gpus,
                    behaviour or healthy(self._runtime),
                    percent / 100 / pods,
                    now,
                    now,
                )

    def set(self, version: str, behaviour: Behaviour) -> None:
        """The version behaves like that from now on; its counters go on."""
        with self._servers.counted():
            for pod in self._pods(version):
                pod.behaviour = behaviour

    def share(self, version: str, percent: float) -> None:
        """So many percent of the model's requests go to the version from now on, spread evenly over its pods."""
        with self._servers.counted():
            pods = self._pods(version)
            for pod in pods:
                pod.share = percent / 100 / len(pods)

    def restart(self, version: str) -> None:
        """Its containers crash: counters begin at zero."""
        with self._servers.counted() as now:
            for pod in self._pods(version):
                pod.restart(now)

    def stop(self, version: str) -> None:
        """Its pods are gone: a scrape finds nothing."""
        with self._servers.counted():
            for path in [path for path in self._servers.pods if path.startswith(self._path(version, ""))]:
                del self._servers.pods[path]

    def _pods(self, version: str) -> list[_Pod]:
        found = [pod for path, pod in self._servers.pods.items() if path.startswith(self._path(version, ""))]
        assert found, f"version {version} does not run"
        return found

    def _path(self, version: str, index: int | str) -> str:
        return f"/{'/'.join(self._place)}/{version}/{index}"

    def _labels(self, version: str, index: int) -> dict[str, str]:
        namespace, model = self._place
        pod = f"{model}-{version.replace('.', '-')}-{index}"
        return {
            "job": f"{namespace}/{model}",
            "instance": f"{pod}:8000",
            "namespace": namespace,
            "pod": pod,
            "container": "server",
            "gitops_model": model,
            "gitops_version": version,
        }


class ModelServers:
    """All of them behind one port of loopback, told apart by path; and a DCGM exporter for each node."""

    def __init__(self) -> None:
        """Use `ModelServers.start`."""
        self.pods: dict[str, _Pod] = {}
        self._lock = Lock()
        self._http = _Server(self)
        self._thread = Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @classmethod
    def start(cls) -> Self:
        """No server yet."""
        servers = cls()
        servers._thread.start()
        return servers

    def __enter__(self) -> Self:
        """The servers themselves."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def stop(self) -> None:
        """Answer nothing any more."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def model(self, namespace: str, model: str, runtime: str) -> Exporter:
        """The servers of a model, none at first. `runtime` is vllm, triton or custom."""
        return Exporter(self, namespace, model, runtime)

    def clear(self) -> None:
        """Every pod is gone."""
        with self._lock:
            self.pods.clear()

    def targets(self) -> list[Target]:
        """What Prometheus is to scrape for the pods that run now."""
        with self._lock:
            pods = [Target(self._address, path, pod.labels) for path, pod in self.pods.items()]
            nodes = sorted({pod.node for pod in self.pods.values() if pod.gpus})
        return [*pods, *(self._node(node) for node in nodes)]

    def text(self, path: str) -> str | None:
        """What is at a path now."""
        with self.counted():
            if path.startswith("/dcgm/"):
                return "\n".join([*self._dcgm(path.removeprefix("/dcgm/")), ""])
            pod = self.pods.get(path)
            return pod.text() if pod else None

    def counted(self) -> "_Counted":
        """Alone with the pods, after they counted what happened until now."""
        return _Counted(self._lock, self.pods)

    @property
    def _address(self) -> str:
        return f"127.0.0.1:{self._http.server_address[1]}"

    def _node(self, node: str) -> Target:
        pod = f"nvidia-dcgm-exporter-{node}"
        labels = {"job": "nvidia-dcgm-exporter", "instance": f"{node}:9400", "namespace": "gpu-operator", "pod": pod}
        return Target(self._address, f"/dcgm/{node}", {**labels, "container": "exporter"})

    def _dcgm(self, node: str) -> Iterator[str]:
        first = 0
        for pod in self.pods.values():
            if pod.node == node:
                yield from pod.dcgm(first)
                first += pod.gpus


class _Counted:
    def __init__(self, lock: Lock, pods: Mapping[str, _Pod]) -> None:
        self._lock = lock
        self._pods = pods

    def __enter__(self) -> float:
        self._lock.acquire()
        now = time.monotonic()
        for pod in self._pods.values():
            pod.advance(now)
        return now

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, servers: ModelServers) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.servers = servers

    def handle_error(self, request: object, client_address: object) -> None:
        """A scrape that was given up is no failure of ours."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        text = self.server.servers.text(self.path)
        content = b"gone" if text is None else text.encode()
        self.send_response(404 if text is None else 200)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep quiet."""
