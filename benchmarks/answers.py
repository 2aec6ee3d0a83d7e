"""A server that answers range and instant queries like a Prometheus that knows every model of a project.

All versions are healthy and alike: nothing is to be decided. It prints its URL, and serves until it is terminated.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import orjson

from benchmarks.synthetic import BEGAN, NEXT
from gitops.rollout.queries import PART
from gitops.rollout.traffic import bounds_of
from gitops.spec.load import load_spec
from gitops.world.files import read_project

_NAMES = (("vllm", r"vllm:|http_requests_total"), ("triton", "nv_inference"), ("custom", "http_request"))
_REQUESTS = 600.0
"""Of each version in a look."""

Labels = dict[str, str]


class Handler(BaseHTTPRequestHandler):
    """`served` is (runtime, namespace, model, versions) of every unit; `queries` counts what was asked.

    Candidates have had requests since `begun` only.
    """

    begun = 0.0
    served: tuple[tuple[str, str, str, tuple[str, ...]], ...] = ()
    queries = 0
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer a query."""
        type(self).queries += 1
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        asked = {name: values[0] for name, values in parse_qs(body).items()}
        ranged = self.path.endswith("query_range")
        times = _times(asked) if ranged else [float(asked.get("time", 0))]
        young = [at for at in times if at >= self.begun]
        result = []
        for labels, text in self._series(asked["query"]):
            if ranged:
                seen = young if _is_candidate(labels) else times
                result.append({"metric": labels, "values": [[at, text] for at in seen]})
            else:
                result.append({"metric": labels, "value": [times[0], text]})
        data = {"resultType": "matrix" if ranged else "vector", "result": result}
        self._send(orjson.dumps({"status": "success", "data": data}))

    def do_GET(self) -> None:
        """How many queries there were."""
        self._send(str(type(self).queries).encode())

    def _series(self, query: str) -> Iterator[tuple[Labels, str]]:
        probed = "handler!~" in query
        runtime = "custom" if probed else next(name for name, pattern in _NAMES if re.search(pattern, query))
        namespaces = re.search(r'namespace=~"([^"]*)"', query)
        wanted = set(namespaces[1].replace("\\\\", "").split("|")) if namespaces else set()
        named = re.search(r'gitops_model=~"([^"]*)"', query)
        models = set(named[1].replace("\\\\", "").split("|")) if named else None
        for kind, namespace, model, versions in self.served:
            if kind == runtime and namespace in wanted and (models is None or model in models):
                for version in versions:
                    labels = {"namespace": namespace, "gitops_model": model, "gitops_version": version}
                    yield from _values(query, runtime, labels)

    def _send(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


def _is_candidate(labels: Labels) -> bool:
    return labels["gitops_version"].endswith(NEXT)


def _times(asked: dict[str, str]) -> list[float]:
    start, end, step = (float(asked[name].removesuffix("s")) for name in ("start", "end", "step"))
    return [start + number * step for number in range(int((end - start) / step) + 1)]


def _values(query: str, runtime: str, labels: Labels) -> Iterator[tuple[Labels, str]]:
    if PART in query:
        yield {**labels, PART: "requests"}, str(_REQUESTS)
        yield {**labels, PART: "bad"}, "0"
    elif "_bucket" in query:
        bounds = bounds_of(runtime, "latency")
        for number, bound in enumerate(bounds, 1):
            share = 1 - 0.5 ** (number * 12 / len(bounds))
            yield {**labels, "le": "+Inf" if bound == float("inf") else f"{bound:g}"}, f"{_REQUESTS * share:.6f}"
        yield {**labels, "le": "+Inf"}, str(_REQUESTS)
    else:
        yield labels, "0.4"


def main() -> None:
    """Serve."""
    project = read_project(Path(sys.argv[1]))
    spec = load_spec(project.pipeline, project.environments)
    Handler.served = tuple(
        (
            model.serve.runtime,
            spec.namespace(unit.environment),
            unit.model,
            (model.version.removesuffix(NEXT), model.version),
        )
        for unit, model in spec.models.items()
    )
    Handler.begun = time.time() - BEGAN
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
