"""Our own metrics, for Prometheus to scrape: how passes go, and where every rollout stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from gitops.errors import GitopsError
from gitops.rollout.machine import Decision
from gitops.values import UnitKey


class Pass(Protocol):
    """What is counted of a pass."""

    @property
    def decisions(self) -> Mapping[UnitKey, Decision]: ...
    @property
    def blind(self) -> Mapping[str, str]: ...
    @property
    def settled(self) -> Mapping[UnitKey, tuple[str, ...]]: ...
    @property
    def failures(self) -> Sequence[object]: ...


class Exporter:
    """The metrics of this process. Names follow Prometheus' conventions; times are seconds, shares 0 to 1."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry = CollectorRegistry()
        unit = ("environment", "model")
        self._leader = Gauge("gitops_leader", "1 while this process leads", registry=self.registry)
        self._passes = Counter("gitops_passes", "Passes over all rollouts", ("result",), registry=self.registry)
        self._seconds = Histogram("gitops_pass_duration_seconds", "How long a pass took", registry=self.registry)
        self._time = Gauge("gitops_last_pass_timestamp_seconds", "When the last pass ended", registry=self.registry)
        self._decisions = Counter(
            "gitops_decisions", "Decisions that became commits", ("decision", *unit), registry=self.registry
        )
        self._weight = Gauge("gitops_candidate_weight_ratio", "Traffic of the candidate", unit, registry=self.registry)
        self._phase = Gauge(
            "gitops_rollout_phase", "1 for the phase that a rollout is in", ("phase", *unit), registry=self.registry
        )
        self._failures = Counter("gitops_delivery_failures", "What clusters refused", registry=self.registry)
        self._blind = Gauge("gitops_unreachable_clusters", "Clusters that could not be asked", registry=self.registry)
        self._valid = Gauge(
            "gitops_spec_valid", "0 while an earlier spec stands in for a broken one", registry=self.registry
        )
        self._settled = Counter("gitops_settled", "Units brought back to where Git says", registry=self.registry)

    def lead(self, leads: bool) -> None:
        """Say whether this process leads."""
        self._leader.set(leads)

    def valid(self, valid: bool) -> None:
        """Say whether the present spec can be read."""
        self._valid.set(valid)

    def fail(self) -> None:
        """Count a pass that could not be made."""
        self._passes.labels("error").inc()

    def passed(self, done: Pass, seconds: float) -> None:
        """Count a pass, and show where its rollouts stand."""
        self._passes.labels("ok").inc()
        self._seconds.observe(seconds)
        self._time.set_to_current_time()
        self._failures.inc(len(done.failures))
        self._blind.set(len(done.blind))
        self._settled.inc(len(done.settled))
        # What is not under way any more must not stay to be seen as it was.
        self._weight.clear()
        self._phase.clear()
        for unit, decision in done.decisions.items():
            if decision.event:
                self._decisions.labels(decision.kind, *unit).inc()
            candidate = decision.state.candidate
            self._weight.labels(*unit).set(candidate.weight / 100 if candidate else 0)
            self._phase.labels(decision.state.phase, *unit).set(1)


@contextmanager
def serve(exporter: Exporter, listen: str) -> Iterator[None]:
    """Answer `GET /metrics` on `host:port` meanwhile; nothing when `listen` is empty. Raises GitopsError."""
    if not listen:
        yield
        return
    from prometheus_client import start_http_server

    host, _, port = listen.rpartition(":")
    try:
        server, thread = start_http_server(int(port), host or "127.0.0.1", exporter.registry)
    except (OSError, ValueError, OverflowError) as error:
        hint = "use HOST:PORT with a free port, such as 0.0.0.0:9090"
        raise GitopsError(f"cannot listen for /metrics ({error})", where=f"--listen {listen}", hint=hint) from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
