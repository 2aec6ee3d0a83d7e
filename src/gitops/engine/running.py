"""`gitops run`: passes for as long as the process lives, by one leader at a time."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from gitops.engine.judging import Memory
from gitops.engine.reconciling import Pass, reconcile
from gitops.engine.session import Options, Session, open_anyway, told
from gitops.errors import GitopsError
from gitops.world.exporter import Exporter, serve
from gitops.world.files import read_project

LEASE_SECONDS = 15
RENEW_SECONDS = 5.0

Report = Callable[[Pass], None]


@dataclass(frozen=True)
class Settings:
    """How a `run` runs. `interval` is in seconds, `listen` is `host:port` for /metrics (empty: none).

    `lease` is the name of the cluster that keeps the lease; empty for the first one of the first environment.
    """

    interval: float
    listen: str
    lease: str
    holder: str


def keep_running(options: Options, settings: Settings, stopped: Callable[[], bool], report: Report) -> None:
    """Make passes until `stopped` says so; the pass under way is finished first.

    Each pass reads the spec when its files have changed. While it is broken, passes go on by the last valid one and
    start nothing; that is said and shown. Raises GitopsError at the start when there is no valid one at all.
    """
    memory, exporter = Memory(), Exporter()
    with serve(exporter, settings.listen), _Sessions(options) as sessions:
        leader = _Leader(settings)
        sessions.current()
        try:
            while not stopped():
                began = time.monotonic()
                _turn(sessions, leader, memory, exporter, report)
                clock = sessions.last.world.clock
                _wait(clock.sleep, settings.interval - (time.monotonic() - began), leader, sessions, stopped)
        finally:
            leader.leave(sessions)


def _turn(sessions: _Sessions, leader: _Leader, memory: Memory, exporter: Exporter, report: Report) -> None:
    """One pass, if this process leads. Whatever fails passes: the next turn tries again."""
    began = time.monotonic()
    try:
        session = sessions.current()
        exporter.valid(session.broken is None)
        exporter.lead(_may_lead(leader, session))
        if not leader.led:
            return
        gc.disable()  # a pass reads much; cycles are collected once it is over
        done = reconcile(session, memory)
    except GitopsError as error:
        exporter.fail()
        sessions.last.options.progress(f"this pass failed: {error}")
        return
    finally:
        gc.enable()
    exporter.passed(done, time.monotonic() - began)
    report(done)


def _may_lead(leader: _Leader, session: Session) -> bool:
    """Whether this process makes the pass. Without the cluster that keeps the lease all do: Git orders what they push,
    and rollouts on other clusters must not wait for that one."""
    try:
        return leader.leads(session)
    except GitopsError as error:
        session.options.progress(f"the lease cannot be had, this pass is made without it: {error}")
        leader.led = True
        return True


def _wait(
    sleep: Callable[[float], None],
    seconds: float,
    leader: _Leader,
    sessions: _Sessions,
    stopped: Callable[[], bool],
) -> None:
    """Sleep, and keep the lease meanwhile."""
    left = max(seconds, 0.05)
    while left > 0 and not stopped():
        part = min(left, RENEW_SECONDS)
        sleep(part)
        left -= part
        if left > 0 and leader.led:
            try:
                leader.leads(sessions.last)
            except GitopsError as error:
                sessions.last.options.progress(f"the lease cannot be renewed: {error}")


class _Sessions:
    """The session for the spec as it is now, or the last valid one; a new one only when its files have changed."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._read: object = None
        self._head: str | None = None
        self.last: Session

    def __enter__(self) -> _Sessions:
        return self

    def __exit__(self, *_: object) -> None:
        if self._read is not None:
            self.last.world.close()

    def current(self) -> Session:
        """Raises GitopsError when no spec can be read, and none was; `last` stays what it was."""
        found = self._files()
        if found != self._read or self._may_be_registered():
            before = self.last if self._read is not None else None
            session = open_anyway(self._options, before)
            if session.broken:
                session.options.progress(told(session.broken))
            if before is not None and before.world is not session.world:
                before.world.close()
            self.last, self._read = session, found
            self._head = session.world.stored().head if session.registered.missing else None
        return self.last

    def _files(self) -> object:
        """The project as it is, or what is wrong with it: something to compare."""
        try:
            return read_project(self._options.project)
        except GitopsError as error:
            return str(error)

    def _may_be_registered(self) -> bool:
        """Whether a version that had to be registered may be so by now: that changes what the spec means."""
        return bool(self.last.registered.missing) and self.last.world.stored().head != self._head


class _Leader:
    """Leadership by a lease on one cluster."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.led = False

    def leads(self, session: Session) -> bool:
        """Take or renew the lease. A lease that cannot be asked for is not held."""
        self.led = False
        cluster, namespace, name = _place(session, self._settings.lease)
        self.led = session.cluster(cluster).lease(namespace, name, self._settings.holder, LEASE_SECONDS)
        return self.led

    def leave(self, sessions: _Sessions) -> None:
        """Give it up, so that another takes over at once."""
        if self.led:
            cluster, namespace, name = _place(sessions.last, self._settings.lease)
            with suppress(GitopsError):
                sessions.last.cluster(cluster).release(namespace, name, self._settings.holder)


def _place(session: Session, cluster: str) -> tuple[str, str, str]:
    """The cluster, namespace and name of the lease."""
    spec = session.spec
    if cluster and cluster not in spec.clusters:
        raise GitopsError(f"no cluster {cluster}", where="--lease", hint=f"one of: {', '.join(spec.clusters)}")
    chosen = cluster or next(iter(next(iter(spec.environments.values())).clusters))
    environment = spec.cluster_environments[chosen][0]
    return chosen, spec.namespace(environment), f"gitops-{spec.pipeline.name}"
