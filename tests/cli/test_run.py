"""`gitops run` on real parts: an API server with running pods, a Prometheus that scrapes model servers, and Git.

A small gateway gives each version the share of requests that its live route says. Meanwhile the process that drives the
rollouts is killed again and again, and the API server and Prometheus go away and come back.
"""

from __future__ import annotations

import math
import os
import random
import re
import resource
import signal
import socket
import subprocess
import threading
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest

from gitops.rollout.audit import states_of
from gitops.rollout.release import Release
from gitops.spec.behaviour import Behaviour
from gitops.values import workload_name
from tests.cli.consistency import check_files, log_of, records_at, spec_of
from tests.support.controlplane import ControlPlane
from tests.support.exporters import ModelServers, with_levels
from tests.support.project import Project, run_git
from tests.support.prometheus import Prometheus

pytestmark = pytest.mark.slow

PIPELINE = """\
apiVersion: gitops/v1
name: {name}
repository: {{url: gitops.git}}
promotion: [production]
rollouts:
  careful:
    strategy: canary
    steps: [{{weight: 10, bake: 4s}}, {{weight: 50, bake: 4s}}, {{weight: 100, bake: 4s}}]
    warmUp: 1s
    keepWarm: 1h
    drain: 1s
    tooFewSamples: {{minimum: 20}}
    gates:
      - {{metric: error-rate, pause: "1%", rollback: "2%"}}
      - {{metric: latency-p99, rollback: 1.5x stable}}
  switch:
    strategy: blue-green
    bake: 6s
    warmUp: 1s
    keepWarm: 1h
    drain: 1s
    tooFewSamples: {{minimum: 20}}
    gates:
      - {{metric: error-rate, pause: "1%", rollback: "2%"}}
      - {{metric: latency-p99, rollback: 1.5x stable}}
models:
{models}"""
MODEL = """\
  {model}:
    version: 1.0.0
    artifact:
      uri: s3://acme-models/{model}/1.0.0
      digest: "sha256:{digest}"
      format: {format}
    serve: {serve}
    route: {{hostnames: [{model}.acme.example]}}
    rollout: {rollout}
"""
ENVIRONMENT = """\
apiVersion: gitops/v1
namespace: {namespace}
clusters:
  main:
    provider: existing
    context: {context}
    nodePools:
      h100: {{gpu: {{type: H100, count: 8}}, max: 2, selector: {{nvidia.com/gpu.product: NVIDIA-H100-80GB-HBM3}}}}
gateway: {{name: models, namespace: gateway}}
monitoring: {{prometheus: "{prometheus}", interval: 1s}}
"""
SERVE = {
    "vllm": ("{runtime: vllm, gpu: {type: H100}, replicas: {min: 2, max: 2}, loadTime: 20s}", "safetensors"),
    "triton": ("{runtime: triton, gpu: {type: H100}, replicas: {min: 1, max: 1}, loadTime: 20s}", "onnx"),
    "custom": ("{runtime: custom, image: 'registry.acme.example/m:1', resources: {cpu: 1, memory: 1Gi}}", "onnx"),
}
OLD, NEW = "1.0.0", "1.1.0"
SECONDS = 600
Shares = dict[str, int]


@dataclass
class Stage:
    """A pipeline of one environment on the real control plane, with traffic that follows the live routes."""

    project: Project
    plane: ControlPlane
    prometheus: Prometheus
    servers: ModelServers
    namespace: str
    runtimes: dict[str, str]
    seen: dict[str, list[Shares]] = field(default_factory=dict)
    """Every split of the traffic that was ever live, by model."""
    _over: threading.Event = field(default_factory=threading.Event)
    _gateway: threading.Thread | None = None

    @classmethod
    def new(
        cls,
        path: Path,
        plane: ControlPlane,
        prometheus: Prometheus,
        servers: ModelServers,
        models: dict[str, tuple[str, str]],
    ) -> Self:
        """Models by name, each with its runtime and rollout policy, released in version 1.0.0."""
        name = f"r{uuid.uuid4().hex[:8]}"
        namespace = f"{name}-production"
        text = "".join(
            MODEL.format(
                model=model, digest="a" * 64, serve=SERVE[runtime][0], format=SERVE[runtime][1], rollout=rollout
            )
            for model, (runtime, rollout) in models.items()
        )
        (path / "environments").mkdir(parents=True)
        (path / "pipeline.yaml").write_text(PIPELINE.format(name=name, models=text))
        values = {"namespace": namespace, "context": plane.context, "prometheus": prometheus.url}
        (path / "environments" / "production.yaml").write_text(ENVIRONMENT.format(**values))
        project = Project(path, {"KUBECONFIG": str(plane.kubeconfig)})
        runtimes = {model: runtime for model, (runtime, _) in models.items()}
        return cls(project, plane, prometheus, servers, namespace, runtimes)

    def __enter__(self) -> Self:
        for model, runtime in self.runtimes.items():
            self.servers.model(self.namespace, model, runtime).run(OLD, traffic(runtime))
        self.prometheus.reload(self.servers.targets())
        self.project.gitops("apply", "--yes")
        self._gateway = threading.Thread(target=self._follow, daemon=True)
        self._gateway.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._gateway:
            self._gateway.join(timeout=20)
        self.plane.kubectl("delete", "--wait=false", "namespace", self.namespace)

    def release(self, model: str, behaviour: Behaviour) -> None:
        """Edit the model's version, and let servers of the new one run."""
        self.servers.model(self.namespace, model, self.runtimes[model]).run(NEW, behaviour, percent=0)
        self.prometheus.reload(self.servers.targets())
        pipeline = self.project.path / "pipeline.yaml"
        head, found, rest = pipeline.read_text().partition(f"\n  {model}:\n")
        assert found
        rest = rest.replace(OLD, NEW, 1).replace(f"{model}/{OLD}", f"{model}/{NEW}", 1).replace("a" * 64, "b" * 64, 1)
        temporary = pipeline.with_suffix(".new")
        temporary.write_text(head + found + rest)
        temporary.rename(pipeline)

    def _follow(self) -> None:
        """The gateway: requests go where the live routes say, whatever Git thinks."""
        while not self._over.wait(0.1):
            with suppress(OSError, ValueError):
                for model, shares in self.live().items():
                    kept = self.seen.setdefault(model, [])
                    if not kept or kept[-1] != shares:
                        kept.append(shares)
                    exporter = self.servers.model(self.namespace, model, self.runtimes[model])
                    for version in (OLD, NEW):
                        with suppress(AssertionError):  # it does not run yet
                            exporter.share(version, shares.get(workload_name(model, version), 0))

    def live(self) -> dict[str, Shares]:
        """The split of each model's traffic, as the API server has it."""
        path = f"/apis/gateway.networking.k8s.io/v1/namespaces/{self.namespace}/httproutes"
        found = {}
        for item in self.plane.request("GET", path)["items"]:
            refs = item["spec"]["rules"][0]["backendRefs"]
            found[item["metadata"]["name"]] = {ref["name"]: ref["weight"] for ref in refs if ref["weight"]}
        return found

    # --- Git -----------------------------------------------------------------------------------------------------

    @property
    def repository(self) -> Path:
        return self.project.path / "gitops.git"

    def record(self, model: str) -> Release:
        """The model's release record now."""
        return next(release for release in records_at(self.repository, "main") if release.unit.model == model)

    def named(self, model: str) -> list[Shares]:
        """Every split of the model's traffic that a commit names, oldest first."""
        path = f"clusters/main/production/{model}/httproute.yaml"
        found = []
        for commit in run_git(self.repository, "log", "--reverse", "--format=%H", "main", "--", path).split():
            text = run_git(self.repository, "show", f"{commit}:{path}")
            pairs = re.findall(r"name: (\S+)\n\s+port: \d+\n\s+weight: (\d+)", text)
            found.append({name: int(weight) for name, weight in pairs if int(weight)})
        return found

    def wait(self, done: Any, what: str, seconds: float = SECONDS) -> None:
        """Until `done()`; fails with the log when that takes too long."""
        until = time.monotonic() + seconds
        while not done():
            if time.monotonic() > until:
                log = run_git(self.repository, "log", "--format=%h %s%n%b", "-8", "main")
                pytest.fail(f"after {seconds:.0f} s not yet: {what}\n{log}")
            time.sleep(0.2)

    def check(self) -> None:
        """Git, live objects and what was ever live agree."""
        commits = log_of(self.repository)
        releases = records_at(self.repository, "main")
        assert states_of(commits) == {release.unit: release.state for release in releases}
        spec = spec_of(self.project)
        for release in releases:
            check_files(self.repository, release, spec, self.project)
        for model, shares in self.live().items():
            named = self.named(model)
            assert shares == named[-1], f"{model}: live is not what Git says"
            strange = [one for one in self.seen[model] if one not in named]
            assert not strange, f"{model}: weights that Git never named"
        self.project.gitops("diff", expect=0)


def traffic(runtime: str, **levels: float) -> Behaviour:
    """Sixty requests a second, by default without an error."""
    return with_levels(runtime, requests_per_second=60, **{"error_rate": 0.0, **levels})


@dataclass
class Driver:
    """`gitops run` as a process that somebody keeps killing."""

    project: Project
    seed: int
    kills: int = 0
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    faults: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        assert self._thread
        self._thread.join(timeout=60)

    def _keep(self) -> None:
        dice, work = random.Random(self.seed), self._work()
        while not self._over.is_set():
            with start_run(self.project, "--identity", "driver") as process:
                # Some die while they start, most in the middle of a pass, some after several.
                lifetime = work * dice.uniform(0.3, 1.2)
                while worked(process.pid) < lifetime and not self._over.wait(0.02):
                    pass
                ended = self._over.is_set()
                process.send_signal(signal.SIGTERM if ended else signal.SIGKILL)
                self.kills += not ended
                _, errors = process.communicate(timeout=60)
            if "Traceback" in errors or "bug in gitops" in errors:
                self.faults.append(errors)

    def _work(self) -> float:
        """What it takes to look once. Lives are measured by that, in seconds of the processor: on a machine that is
        busy with other things they get no further within a second than it lets them.
        """
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = self.project.command("status")
        subprocess.run(command, env=self.project.environment(), capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def worked(process: int) -> float:
    """The seconds of a processor that a running process has had; endless when it is over."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return math.inf
    return math.inf if fields[0] == "Z" else sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def start_run(project: Project, *more: str) -> subprocess.Popen[str]:
    """A process that makes a pass three times a second."""
    command = project.command("run", "--interval", "0.3", *more)
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=project.environment()
    )


@pytest.fixture(autouse=True)
def _prometheus_is_given_back(prometheus: Prometheus) -> Iterator[None]:
    yield
    prometheus.reload((), wait=False)


def test_rollouts_survive_kills_and_outages(
    tmp_path: Path, control_plane: ControlPlane, prometheus: Prometheus, model_servers: ModelServers
) -> None:
    """A full canary, an automatic rollback and a blue-green at once, while everything goes away at times."""
    models = {"chat": ("vllm", "careful"), "ranker": ("custom", "careful"), "vision": ("triton", "switch")}
    stage = Stage.new(tmp_path / "project", control_plane, prometheus, model_servers, models)
    with stage:
        with Driver(stage.project, seed=1) as driver:
            stage.release("chat", traffic("vllm"))
            stage.release("vision", traffic("triton"))
            stage.release("ranker", traffic("custom", error_rate=8.0))
            stage.wait(lambda: stage.record("chat").candidate, "the canary has started")
            control_plane.kill_apiserver()
            time.sleep(3)
            control_plane.start_apiserver()
            stage.wait(lambda: stage.record("chat").candidate or stage.record("ranker").rejected, "it goes on")
            prometheus.stop()
            time.sleep(3)
            prometheus.start_again()
            stage.wait(lambda: stage.record("ranker").rejected, "the bad version is rejected")
            stage.wait(lambda: stage.record("chat").stable.version == NEW, "the canary has arrived")
            stage.wait(lambda: stage.record("vision").stable.version == NEW, "the blue-green has arrived")
            # The last process may have died between its push and its delivery.
            stage.wait(
                lambda: all(stage.live()[model] == stage.named(model)[-1] for model in models), "live follows Git"
            )
        assert not driver.faults, driver.faults[0]
        assert driver.kills >= 5
        stage.project.gitops("reconcile", expect=0)
        ranker = stage.record("ranker")
        assert ranker.stable.version == OLD
        assert max(shares.get(workload_name("ranker", NEW), 0) for shares in stage.named("ranker")) <= 50
        weights = [shares.get(workload_name("chat", NEW), 0) for shares in stage.named("chat")]
        assert list(dict.fromkeys(weights)) == [0, 10, 50, 100]
        assert weights == sorted(weights)
        stage.check()


def test_one_of_two_leads_and_the_other_takes_over(
    tmp_path: Path, control_plane: ControlPlane, prometheus: Prometheus, model_servers: ModelServers
) -> None:
    """Two processes: one leads by the lease; SIGTERM hands over at once; /metrics tell who it is."""
    stage = Stage.new(tmp_path / "project", control_plane, prometheus, model_servers, {"ranker": ("custom", "careful")})
    ports = (free_port(), free_port())
    with stage:
        first = start_run(stage.project, "--listen", f"127.0.0.1:{ports[0]}")
        stage.wait(lambda: metric(ports[0], "gitops_leader") == 1, "the first leads")
        with start_run(stage.project, "--listen", f"127.0.0.1:{ports[1]}") as second:
            stage.wait(lambda: metric(ports[1], "gitops_leader") == 0, "the second waits")
            stage.release("ranker", traffic("custom"))
            stage.wait(lambda: stage.record("ranker").candidate, "a rollout is under way")
            first.send_signal(signal.SIGTERM)
            _, errors = first.communicate(timeout=60)
            assert first.returncode == 0, errors
            stage.wait(lambda: metric(ports[1], "gitops_leader") == 1, "the second takes over", 30)
            stage.wait(lambda: stage.record("ranker").stable.version == NEW, "and goes on")
            assert metric(ports[1], 'gitops_passes_total{result="ok"}') > 3
            second.send_signal(signal.SIGTERM)
            assert second.wait(60) == 0
        stage.check()


def test_the_printed_permissions_are_enough(
    tmp_path: Path, control_plane: ControlPlane, prometheus: Prometheus, model_servers: ModelServers
) -> None:
    """With what `gitops rbac` prints and nothing else, a rollout starts, goes on and is delivered."""
    account = f"runner-{uuid.uuid4().hex[:6]}"
    models = {"ranker": ("custom", "careful")}
    stage = Stage.new(tmp_path / "project", control_plane, prometheus, model_servers, models)
    with stage:
        roles = stage.project.gitops("rbac", "main", "--account", f"gitops/{account}").out
        control_plane.kubectl("apply", "-f", "-", stdin=roles)
        allowed = control_plane.kubeconfig_for(f"system:serviceaccount:gitops:{account}", ["system:serviceaccounts"])
        with start_run(Project(stage.project.path, {"KUBECONFIG": str(allowed)})) as process:
            stage.release("ranker", traffic("custom"))
            stage.wait(lambda: stage.record("ranker").stable.version == NEW, "it arrives")
            process.send_signal(signal.SIGTERM)
            out, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert "cannot" not in errors, errors
        assert "not allowed" not in errors, errors
        assert "Traceback" not in out + errors
        stage.check()


def metric(port: int, name: str) -> float | None:
    """One value of a process' own metrics; None while it does not answer or has none."""
    with suppress(OSError):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as answer:
            text = answer.read().decode()
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else None
    return None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
