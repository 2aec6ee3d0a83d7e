"""A real Prometheus on loopback, from Debian's package: taken apart in the user's cache, installed nowhere.

with Prometheus.start(tmp_path, [Target("127.0.0.1:9000", "/metrics", {"namespace": "acme"})], interval=0.5) as prom:
    prom.value('up{namespace="acme"}')
"""

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.support.controlplane import _free_ports
from tests.support.guard import start_guard
from tests.support.tools.debian import PROMETHEUS

_START_SECONDS = 30
_PORT_CLASHES = 4


class Failed(Exception):
    """Prometheus did not do as asked in time; the message carries the end of its log."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is scraped: `labels` are those that a PodMonitor sets, `instance` and `job` among them.

    `honor` is `honorLabels`: labels of the target's own win over these instead of becoming `exported_…`.
    """

    address: str
    path: str = "/metrics"
    labels: Mapping[str, str] = field(default_factory=dict)
    honor: bool = False


class Prometheus:
    """One running Prometheus; it ends with `stop()`, or with the Python process."""

    def __init__(self, directory: Path, interval: float) -> None:
        """Use `Prometheus.start`."""
        self.directory = directory
        self.interval = interval
        self._binary = PROMETHEUS.path()
        [self._port] = _free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @classmethod
    def start(cls, directory: Path, targets: Sequence[Target] = (), interval: float = 1.0) -> Self:
        """A Prometheus that scrapes every `interval` seconds, ready to be asked; its data and log are in `directory`.

        Raises Unavailable when there is no binary, Failed when it does not come up.
        """
        directory.mkdir(parents=True, exist_ok=True)
        for attempt in range(_PORT_CLASHES):
            server = cls(directory, interval)
            server._configure(targets)
            try:
                server.start_again()
            except Failed as failed:
                if attempt + 1 == _PORT_CLASHES or "address already in use" not in str(failed):
                    raise
            else:
                return server
        raise AssertionError("unreachable")

    def __enter__(self) -> Self:
        """The server itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    @property
    def url(self) -> str:
        """Where it listens: http://127.0.0.1:port."""
        return f"http://127.0.0.1:{self._port}"

    def start_again(self) -> None:
        """Start it after `stop()`, on the same port, with its data and its last targets."""
        assert self._process is None, "it runs"
        self._guard = start_guard()
        with (self.directory / "prometheus.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._binary,
                    f"--config.file={self.directory / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self.directory / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                    "--web.enable-lifecycle",
                    "--storage.tsdb.wal-compression",
                    "--log.level=warn",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                process_group=self._guard.pid,
            )
        try:
            self.wait(lambda: self._answers("/-/ready"), "it to be ready", _START_SECONDS)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it at once; what it scraped stays. Harmless when done before."""
        if self._process:
            self._process.terminate()
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._guard:
            os.killpg(self._guard.pid, signal.SIGKILL)
            self._guard.communicate()
            self._guard = None

    def pause(self) -> None:
        """It takes connections, and answers nothing until `resume()`."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Answer again."""
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def reload(self, targets: Sequence[Target], *, wait: bool = True) -> None:
        """Scrape these from now on; with `wait`, return when each has been scraped."""
        self._configure(targets)
        request = urllib.request.Request(f"{self.url}/-/reload", method="POST")
        with _open(request, 10):
            pass
        if wait:
            wanted = {(target.address, target.path) for target in targets}
            self.wait(lambda: wanted <= self._scraped(), f"{len(wanted)} targets to be scraped", _START_SECONDS)

    def query(self, query: str, at: float | None = None) -> list[dict[str, Any]]:
        """The series of an instant query: `metric` and `value`."""
        form = {"query": query, **({} if at is None else {"time": str(at)})}
        with _open(f"{self.url}/api/v1/query?{urllib.parse.urlencode(form)}", 10) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return found

    def value(self, query: str, at: float | None = None) -> float | None:
        """The value of the first series; None without any."""
        found = self.query(query, at)
        return float(found[0]["value"][1]) if found else None

    def wait(self, done: Callable[[], bool], what: str, seconds: float = 30) -> None:
        """Poll until `done`. Raises Failed when the process ends, or after so many seconds."""
        deadline = time.monotonic() + seconds
        while not done():
            if self._process and self._process.poll() is not None:
                raise Failed(f"prometheus ended with {self._process.returncode}: {self._log()}")
            if time.monotonic() > deadline:
                raise Failed(f"waited {seconds:.0f} s for {what}: {self._log()}")
            time.sleep(0.05)

    def _configure(self, targets: Sequence[Target]) -> None:
        every = f"{round(self.interval * 1000)}ms"
        jobs = [
            {
                "job_name": name,
                "honor_labels": honor,
                "static_configs": [
                    {"targets": [target.address], "labels": {"__metrics_path__": target.path, **target.labels}}
                    for target in targets
                    if target.honor is honor
                ],
            }
            for name, honor in (("pods", False), ("honored", True))
        ]
        # An answer that takes longer than the interval is not worth waiting for.
        document = {"global": {"scrape_interval": every, "scrape_timeout": every}, "scrape_configs": jobs}
        path = self.directory / "prometheus.yml"
        path.with_suffix(".new").write_text(yaml.safe_dump(document))
        path.with_suffix(".new").rename(path)

    def _scraped(self) -> set[tuple[str, str]]:
        with _open(f"{self.url}/api/v1/targets?state=active", 10) as answer:
            active = json.load(answer)["data"]["activeTargets"]
        return {
            (one["discoveredLabels"]["__address__"], one["discoveredLabels"]["__metrics_path__"])
            for one in active
            if one["health"] != "unknown"
        }

    def _answers(self, path: str) -> bool:
        try:
            with _open(f"{self.url}{path}", 5):
                return True
        except OSError:
            return False

    def _log(self) -> str:
        log = (self.directory / "prometheus.log").read_text(errors="replace")
        return " | ".join(log.strip().splitlines()[-5:]) or "its log is empty"


def _open(request: str | urllib.request.Request, seconds: float) -> Any:
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=seconds)
