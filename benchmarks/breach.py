"""From the moment at which Prometheus shows a critical breach to the weight at 0 in the cluster, all of it real."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import Figure, Setting


def measure(setting: Setting) -> Iterator[Figure]:
    """See the module. One rollout at 50 %, on a real API server and a real Prometheus."""
    from tests.cli.test_run import NEW, Stage, traffic
    from tests.support.controlplane import ControlPlane, Unavailable
    from tests.support.exporters import ModelServers
    from tests.support.fixtures import NODES
    from tests.support.prometheus import Prometheus

    directory = setting.directory
    try:
        plane = ControlPlane.start(directory / "plane", nodes=NODES)
    except Unavailable as error:
        yield Figure("breach", "skipped", 0, 0, note=str(error))
        return
    prometheus = Prometheus.start(directory / "prometheus", interval=0.5)
    with plane, prometheus, ModelServers.start() as servers:
        plane.install_crds()
        for number in range(setting.repeat):
            models = {"ranker": ("custom", "careful")}
            stage = Stage.new(directory / f"project{number}", plane, prometheus, servers, models)
            with stage:
                stage.release("ranker", traffic("custom"))
                os.environ["KUBECONFIG"] = str(plane.kubeconfig)
                found = _breach(stage, stage.project.path, servers, traffic("custom", error_rate=60.0), NEW)
            yield Figure("breach", f"run {number + 1}", found[1], found[0], 0, "2 s + a polling interval", found[2])
            servers.clear()


def _breach(stage, project: Path, servers, bad, new: str) -> tuple[float, float, str]:  # type: ignore[no-untyped-def]
    """Wall and CPU seconds of the pass that sees the breach, until the route is changed."""
    from gitops.engine.judging import Memory
    from gitops.engine.reconciling import reconcile
    from gitops.engine.session import Options, open_session

    memory = Memory()
    with open_session(Options(project)) as session:
        while not (stage.record("ranker").candidate and stage.record("ranker").candidate.weight == 50):
            reconcile(session, memory)
            time.sleep(0.3)
        servers.model(stage.namespace, "ranker", "custom").set(new, bad)
        while True:
            begun, cpu = time.monotonic(), time.process_time()
            done = reconcile(session, memory)
            (decision,) = done.decisions.values()
            if decision.kind == "roll-back":
                break
            time.sleep(0.1)
        wall, cpu = time.monotonic() - begun, time.process_time() - cpu
        live = stage.live()["ranker"]
        assert len(live) == 1, f"the candidate still has traffic: {live}"
        return wall, cpu, decision.sentence[:60]
