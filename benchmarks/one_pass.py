"""One reconcile pass against answers that `benchmarks.rollouts` wrote down, cold: a process of its own."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from urllib.request import urlopen

import orjson

from gitops.engine.reconciling import reconcile
from gitops.engine.session import Options, Session, open_session
from gitops.world.kubernetes.cluster import KubernetesCluster
from gitops.world.kubernetes.transport import NO_QUERY, Response, RetryPolicy
from gitops.world.prometheus import PrometheusSource


class Written:
    """An API server's answers, read from files as they would be read from a connection."""

    def __init__(self, directory: Path, cluster: str, counted: Counter[str]) -> None:
        self._directory, self._cluster, self._counted = directory, cluster, counted

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] = NO_QUERY,
        body: bytes | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Response:
        """Lists and stamps; nothing is written in a pass that decides nothing."""
        del query, body, content_type, accept
        if method != "GET":
            raise RuntimeError(f"{method} {path}: this pass was to change nothing")
        parts = path.split("/")
        stamps = "configmaps" in parts
        name = f"{self._cluster}.{parts[-3]}.stamps" if stamps else f"{self._cluster}.{parts[-1]}"
        content = (self._directory / name).read_bytes()
        self._counted["lists"] += not stamps
        self._counted["bytes"] += len(content)
        return Response(200, {}, content)

    def close(self) -> None:
        """Nothing is open."""


def main() -> None:
    """Make the pass, and say as JSON what it read and decided."""
    gc.disable()
    project, answers = Path(sys.argv[1]), Path(sys.argv[2])
    counted: Counter[str] = Counter()
    url = (answers / "prometheus").read_text()
    with open_session(Options(project)) as session:
        _connect(session, answers, url, counted)
        before = _asked(url)
        done = reconcile(session)
        counted["queries"] = _asked(url) - before
    said = Counter(decision.kind for decision in done.decisions.values())
    assert not done.settled, f"{len(done.settled)} units astray: the answers do not fit the repository"
    document = {
        "lists": counted["lists"],
        "queries": counted["queries"],
        "megabytes": counted["bytes"] / 1e6,
        "decisions": ", ".join(f"{count} {kind}" for kind, count in said.items()),
    }
    print(orjson.dumps(document).decode())


def _asked(url: str) -> int:
    """How many queries the server has had."""
    with urlopen(url) as answer:  # a server of the benchmark's own
        return int(answer.read())


def _connect(session: Session, answers: Path, url: str, counted: Counter[str]) -> None:
    world = session.world
    for name in session.spec.clusters:
        cluster = KubernetesCluster(Written(answers, name, counted), name=name, retry=RetryPolicy(attempts=1))
        world._clusters[name] = cluster  # the benchmark stands in for the world
    for name in session.spec.environments:
        world._metrics[name] = PrometheusSource(url, interval=15)


if __name__ == "__main__":
    main()
