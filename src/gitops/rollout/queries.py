"""PromQL: what Prometheus is asked for each built-in metric and runtime, for all versions at once.

Our PodMonitor puts `gitops_model` and `gitops_version` on every series of a pod, and `namespace` and `pod` are there
anyway. One query answers for every version: its result is grouped by `LABELS`, and by `le` for a histogram or by
`PART` for a ratio; where pods are to be told apart, by `POD` as well.

Counters. A look is `rate(x[look + interval]) * look`, where `interval` is the scrape interval. Prometheus sees only
the samples inside its window and extrapolates to its edges. A window that is one interval longer than the look holds
the last sample before the look and every one in it, so the extrapolated rate times the look is exactly the difference
of these samples: looks tile without a gap, and no request is counted that was not seen (`increase(x[look])` would
stretch 45 s of a minute's counts to 60). With missed scrapes it is an extrapolation again. A restarted pod's counter
begins at zero, which `rate` knows. Requests of up to one interval before a look belong to it.

A counter that appears with its first error (client libraries create a status label then) has nothing before it, so
`rate` misses that error: where the pod itself was scraped at the beginning of the look, all of it is counted.

Vector matching uses `job` and `instance`, which every series has. A namespace that several clusters share in one
Prometheus is one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from gitops.rollout.series import Shape

LABELS = ("namespace", "gitops_model", "gitops_version")
POD = "pod"
PART = "gitops_part"
"""Label of a ratio's two numbers: `requests` and `bad`."""
QUANTILES = {
    "latency-p50": 0.5,
    "latency-p95": 0.95,
    "latency-p99": 0.99,
    "time-to-first-token-p99": 0.99,
    "inter-token-latency-p99": 0.99,
}
TRAFFIC = ("requests-per-second", "tokens-per-second")
"""Metrics that grow with the share of traffic: whoever compares two versions divides by it."""
_BY = ", ".join(LABELS)
_MOST_MODELS = 2000


class Scope(NamedTuple):
    """What a query covers: label matchers (see `matching`), and the lengths of a look and of the scrape interval.

    `by_pod` holds for metrics that count requests.
    """

    matching: str
    look: float
    interval: float
    by_pod: bool = False

    @property
    def by(self) -> str:
        """The labels that tell apart whose numbers they are."""
        return ", ".join((*LABELS, POD) if self.by_pod else LABELS)

    def sum(self, expression: str, *more: str) -> str:
        """Everything of one version, or of one pod, together."""
        return f"sum by ({', '.join((self.by, *more))}) ({expression})"

    def rate(self, series: str, *more: str) -> str:
        """Increments of a counter a second, as the module's text says."""
        return f"rate({self.select(series, *more)}[{duration(self.look + self.interval)}])"

    def mean(self, series: str, *more: str) -> str:
        """A gauge's mean over the look."""
        return f"avg_over_time({self.select(series, *more)}[{duration(self.look)}])"

    def select(self, series: str, *more: str) -> str:
        """A selector."""
        return f"{series}{{{','.join((self.matching, *more))}}}"


_Write = Callable[[Scope], str]


def matching(namespaces: Collection[str], models: Collection[str]) -> str:
    """Label matchers for these; more than two thousand models are asked for without naming them."""
    parts = ['gitops_version!=""', _any_of("namespace", namespaces)]
    return ",".join([*parts, _any_of("gitops_model", models) if len(models) <= _MOST_MODELS else 'gitops_model!=""'])


def promql(metric: str, runtime: str, scope: Scope) -> str:
    """The query for a built-in metric of all versions that a runtime serves. KeyError for one not `answerable`."""
    return _QUERIES[runtime, metric](scope)


def shape_of(metric: str, runtime: str) -> Shape:
    """How the metric is counted; Triton's quantiles and every user's own query are gauges."""
    if metric == "error-rate":
        return "ratio"
    return "histogram" if metric in QUANTILES and runtime != "triton" else "gauge"


def answerable(metric: str, runtime: str) -> str:
    """Why a runtime cannot answer a built-in metric, and what to do instead; empty when it can."""
    if (runtime, metric) in _QUERIES:
        return ""
    why = _UNANSWERABLE.get(metric, "it has no such metric")
    others = ", ".join(name for name in ("vllm", "triton", "custom") if (name, metric) in _QUERIES)
    known = f"only {others} has it: " if others else ""
    return f"{runtime} cannot answer {metric}: {why}; {known}write a gate with `name` and `query` of your own"


def filled(query: str, namespace: str, model: str, version: str) -> str:
    """A user's query with `$namespace`, `$model` and `$version` put in, as content of a PromQL string."""
    values = {"namespace": namespace, "model": model, "version": version}
    return re.sub(r"\$(namespace|model|version)\b", lambda found: escaped(values[found[1]]), query)


def escaped(text: str) -> str:
    """Text as the content of a double-quoted PromQL string."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def duration(seconds: float) -> str:
    """A PromQL duration, in milliseconds where it has to be."""
    milliseconds = round(seconds * 1000)
    return f"{milliseconds}ms" if milliseconds % 1000 else f"{milliseconds // 1000}s"


def _any_of(label: str, values: Collection[str]) -> str:
    """Prometheus looks alternatives of plain words up one by one, without running a regular expression."""
    literal = (re.sub(r"([.+*?()|\[\]{}^$\\])", r"\\\1", value) for value in sorted(values))
    return f'{label}=~"{"|".join(map(escaped, literal))}"'


# --- Parts ---------------------------------------------------------------------------------------------------

_NO_PROBES = tuple(
    f'{label}!~"/(metrics|health|healthz|livez|readyz|live|ready|ping)"' for label in ("handler", "path", "route")
)
"""Without what kubelet and Prometheus ask themselves: at 1 % of traffic it would be most of the requests. vLLM does
not count these."""


def _counted(scope: Scope, *rates: str) -> str:
    """Increments over the look of series of which each pod has one or the other."""
    return f"{scope.sum(' or '.join(rates))} * {scope.look:g}"


def _ratio(requests: str, bad: str) -> str:
    named = (
        f'label_replace({part}, "{PART}", "{name}", "", "")' for name, part in (("requests", requests), ("bad", bad))
    )
    return " or ".join(named)


def _with_first(scope: Scope, series: str, *more: str) -> str:
    """A rate that misses nothing of a counter which appears within the look."""
    selected, before = scope.select(series, *more), f"offset {duration(scope.look)}"
    born = f"({selected} unless {selected} {before} and on (job, instance) {scope.select('up')} {before} == 1)"
    return f"({born} / {scope.look:g} or {scope.rate(series, *more)})"


def _http_errors(labels: tuple[str, ...], *more: str) -> _Write:
    """Responses with a status of 5xx, under whichever label a library writes it: `5xx` or `503`."""

    def write(scope: Scope) -> str:
        bad = (_with_first(scope, "http_requests_total", f'{label}=~"5.."', *more) for label in labels)
        return _ratio(_counted(scope, _with_first(scope, "http_requests_total", *more)), _counted(scope, *bad))

    return write


def _histogram(series: str, *more: str) -> _Write:
    return lambda scope: f"{scope.sum(scope.rate(f'{series}_bucket', *more), 'le')} * {scope.look:g}"


def _between_tokens(scope: Scope) -> str:
    """Every request has a weight of one, whatever its tokens: those of one request are slow together."""
    names = ("vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds")  # the second in older servers
    tokens = " or ".join(scope.rate(f"{name}_bucket") for name in names)
    spoken = scope.sum(" or ".join(scope.rate(f"{name}_count") for name in names))
    requests = scope.sum(scope.rate("vllm:e2e_request_latency_seconds_count"))
    weight = f"({requests} / ({spoken} > 0) * {scope.look:g} or {spoken} * 0)"
    return f"{scope.sum(tokens, 'le')} * on ({scope.by}) group_left () {weight}"


def _rate_of(series: str, *more: str) -> _Write:
    return lambda scope: scope.sum(scope.rate(series, *more))


def _a_replica(series: str) -> _Write:
    """The mean over replicas of what all engines of one have."""
    return lambda scope: f"avg by ({_BY}) ({scope.sum(scope.mean(series), 'job', 'instance')})"


def _kv_cache(scope: Scope) -> str:
    names = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")  # the second in older servers
    return f"100 * avg by ({_BY}) ({' or '.join(scope.mean(name) for name in names)})"


def _summary(quantile: str) -> _Write:
    """The mean over replicas, each by its slowest model (of an ensemble, the ensemble).

    The server's own window slides over the last minute. Without requests in it the quantile is NaN, which the
    comparison drops.
    """

    def write(scope: Scope) -> str:
        one = scope.select("nv_inference_request_summary_us", f'quantile="{quantile}"')
        return f"avg by ({_BY}) (max by ({_BY}, job, instance) ({one} >= 0)) / 1e6"

    return write


def _triton_errors(scope: Scope) -> str:
    """A request that the client cancelled is nobody's failure. Older servers give no reason."""
    failed, answered = (_counted(scope, rate) for rate in _triton_requests(scope))
    return _ratio(f"({answered} + {failed})", failed)


def _triton_requests(scope: Scope) -> tuple[str, str]:
    failed = scope.rate("nv_inference_request_failure", 'reason!="CANCELED"')
    return failed, scope.rate("nv_inference_request_success")


def _gpu(aggregate: str, template: str) -> _Write:
    """What the DCGM exporter says of the GPUs that our pods hold.

    It names the pod that holds a GPU (DCGM_EXPORTER_KUBERNETES=true, as the GPU Operator sets it), under `namespace`
    and `pod` if it is scraped with `honorLabels`, else under `exported_namespace` and `exported_pod`: both are read.
    It does not know our labels (its own pod labels are off by default, and kube-state-metrics keeps none that it was
    not told to), so the version comes from `up`, which Prometheus makes with the labels of our PodMonitor for each
    pod that it scrapes. Without the exporter, or without pods in its labels, there is no data.
    """

    def write(scope: Scope) -> str:
        seen = " or ".join(_of_pods(template, scope, exported) for exported in (True, False))
        pods = f"group by (namespace, pod, gitops_model, gitops_version) ({scope.select('up')})"
        joined = f"({seen}) * on (namespace, pod) group_left (gitops_model, gitops_version) {pods}"
        return f"{aggregate} by ({_BY}) ({joined})"

    return write


def _of_pods(template: str, scope: Scope, exported: bool) -> str:
    where = 'exported_pod!=""' if exported else 'exported_pod="",pod!=""'
    value = template.format(where=where, look=duration(scope.look))
    for label in ("namespace", "pod") if exported else ():
        value = f'label_replace({value}, "{label}", "$1", "exported_{label}", "(.+)")'
    return value


def _first(*writes: _Write) -> _Write:
    return lambda scope: " or ".join(f"({write(scope)})" for write in writes)


_BUSY = "avg_over_time(DCGM_FI_DEV_GPU_UTIL{{{where}}}[{look}])"
_USED, _FREE = (f"avg_over_time(DCGM_FI_DEV_FB_{name}{{{{{{where}}}}}}[{{look}}])" for name in ("USED", "FREE"))
_DCGM: Mapping[str, _Write] = {
    "gpu-utilization": _gpu("avg", _BUSY),
    # The fullest GPU is the one that runs out.
    "gpu-memory": _gpu("max", f"(100 * {_USED} / ({_USED} + {_FREE}))"),
}
_TRITON_GPU: Mapping[str, _Write] = {
    "gpu-utilization": lambda scope: f"100 * avg by ({_BY}) ({scope.mean('nv_gpu_utilization')})",
    "gpu-memory": lambda scope: (
        f"100 * max by ({_BY}) ({scope.mean('nv_gpu_memory_used_bytes')} / {scope.mean('nv_gpu_memory_total_bytes')})"
    ),
}
_EVERYWHERE: Mapping[str, _Write] = {
    **_DCGM,
    # Whoever compares predictions with the truth exports these, with the three labels: the server itself or a job.
    "prediction-accuracy": lambda scope: f"100 * avg by ({_BY}) ({scope.mean('prediction_accuracy')})",
    "prediction-drift": lambda scope: f"avg by ({_BY}) ({scope.mean('prediction_drift')})",
}
_VLLM: Mapping[str, _Write] = {
    **{name: _histogram("vllm:e2e_request_latency_seconds") for name in QUANTILES if name.startswith("latency")},
    "time-to-first-token-p99": _histogram("vllm:time_to_first_token_seconds"),
    "inter-token-latency-p99": _between_tokens,
    "requests-per-second": _rate_of("http_requests_total"),
    "tokens-per-second": _rate_of("vllm:generation_tokens_total"),
    "error-rate": _http_errors(("status",)),
    "queue-length": _a_replica("vllm:num_requests_waiting"),
    "kv-cache-use": _kv_cache,
}
_TRITON: Mapping[str, _Write] = {
    **{name: _summary(f"{at:g}") for name, at in QUANTILES.items() if name.startswith("latency")},
    "requests-per-second": lambda scope: " + ".join(map(scope.sum, _triton_requests(scope))),
    "error-rate": _triton_errors,
    "queue-length": _a_replica("nv_inference_pending_request_count"),
    **{name: _first(own, _DCGM[name]) for name, own in _TRITON_GPU.items()},
}
_CUSTOM: Mapping[str, _Write] = {
    **{
        name: _histogram("http_request_duration_seconds", *_NO_PROBES)
        for name in QUANTILES
        if name.startswith("latency")
    },
    "requests-per-second": _rate_of("http_requests_total", *_NO_PROBES),
    "error-rate": _http_errors(("status", "code"), *_NO_PROBES),
}
_QUERIES: Mapping[tuple[str, str], _Write] = {
    (runtime, metric): write
    for runtime, own in (("vllm", _VLLM), ("triton", _TRITON), ("custom", _CUSTOM))
    for metric, write in {**_EVERYWHERE, **own}.items()
}
_UNANSWERABLE = {
    "time-to-first-token-p99": "it does not measure the time to the first token",
    "inter-token-latency-p99": "it does not measure the time between tokens",
    "tokens-per-second": "it does not count tokens",
    "queue-length": "it has no queue that it tells of",
    "kv-cache-use": "it has no KV cache that it tells of",
}
