"""The load generator of `gitops check` beside wrk and hey, each on one core: what they say of the same endpoint.

nginx on another core answers plainly after a fixed time, at once, or with a stream of tokens. It, wrk and hey are
Debian's packages, taken apart in the user's cache; without them the topic is left out. As a program of its own
(`python -m benchmarks.load URL KIND CLIENTS SECONDS`) it puts our load on a URL and prints what came as JSON.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.harness import Figure, Setting, environment, run

PACKAGES = (
    "wrk",
    "hey",
    "nginx",
    "libnginx-mod-http-echo",
    "libluajit2-5.1-2",
    "libluajit-5.1-2",
    "libluajit-5.1-common",
)
SECONDS = 8
WARM_UP = 2
TOKENS, TOKEN_SECONDS = 20, 0.1
_LIBRARIES = Path("usr/lib/x86_64-linux-gnu")


class Case(NamedTuple):
    """What is asked: a path of the server, by so many clients."""

    what: str
    path: str
    clients: int
    takes: float = 0.0
    """Milliseconds that the server waits by itself: nobody can measure less."""


class Said(NamedTuple):
    """What a generator said: milliseconds, requests a second, and the CPU and wall seconds of its process."""

    tool: str
    p50: float
    p90: float
    p99: float
    rate: float
    cpu: float
    wall: float
    more: str = ""


CASES = (
    Case("1,000 clients, answers after 100 ms", "/plain100", 1000, 100),
    Case("1,000 clients, answers after 1 s", "/plain1000", 1000, 1000),
    Case("100 clients, answers after 20 ms", "/plain20", 100, 20),
    Case("16 clients, answers at once", "/now", 16),
    Case(
        f"1,000 streams of {TOKENS} tokens, one each {TOKEN_SECONDS * 1000:g} ms",
        "/stream",
        1000,
        (TOKENS - 1) * TOKEN_SECONDS * 1000,
    ),
)


def measure(setting: Setting) -> Iterator[Figure]:
    """See the module."""
    from tests.support.tools.debian import unpacked
    from tests.support.tools.tool import Unavailable

    try:
        programs = unpacked("load", PACKAGES, "it is for this benchmark only")
        programs.prepare(setting.report)
        tools = programs.path()
    except Unavailable as error:
        setting.report(f"load: left out, because {error}")
        return
    with _nginx(tools, setting.directory) as url:
        for case in CASES:
            rounds = [
                [asked(case, url) for asked in (_wrk(tools, setting), _hey(tools, setting), _ours(setting))]
                for _ in range(min(setting.repeat, 3))
            ]
            median = [_median([one[index] for one in rounds]) for index in range(3)]
            for said in median:
                yield _figure(case, said, median[0])


def _figure(case: Case, said: Said, wrk: Said) -> Figure:
    note = f"p50 {said.p50:.2f}, p90 {said.p90:.2f}, p99 {said.p99:.2f} ms, {said.rate:,.0f} requests/s"
    if case.takes:
        note += f"; the server's own {case.takes:g} ms {said.p50 / case.takes - 1:+.1%}"
    if said.tool != "gitops":
        return Figure("load", f"{case.what}: {said.tool}", said.cpu, said.wall, note=note)
    note += f"; against wrk p50 {said.p50 / wrk.p50 - 1:+.1%}, p99 {said.p99 / wrk.p99 - 1:+.1%}{said.more}"
    goal = "5 % of wrk" if case.takes else ""
    return Figure("load", f"{case.what}: gitops", said.cpu, said.wall, goal=goal, note=note)


def _median(runs: Sequence[Said]) -> Said:
    """The run whose p99 is in the middle."""
    middle = statistics.median_low([one.p99 for one in runs])
    return next(one for one in runs if one.p99 == middle)


# --- The generators ---


class _Tool:
    def __init__(self, tools: Path, setting: Setting) -> None:
        self.tools = tools
        self.setting = setting

    def output(self, *command: str) -> tuple[str, float, float]:
        """What it printed, and its CPU and wall seconds, on the first core."""
        libraries = {"LD_LIBRARY_PATH": str(self.tools / _LIBRARIES)}
        cost = run([*_core(0), *command], {**environment(self.setting.directory), **libraries})
        if cost.status:
            raise RuntimeError(f"{command[0]} ended with {cost.status}: {cost.output[-500:]}")
        return cost.output, cost.cpu, cost.wall


class _wrk(_Tool):  # noqa: N801
    def __call__(self, case: Case, url: str) -> Said:
        options = ("-t1", f"-c{case.clients}", f"-d{SECONDS}s", "--timeout", "30s", "--latency")
        text, cpu, wall = self.output(str(self.tools / "usr/bin/wrk"), *options, url + case.path)
        found = dict(re.findall(r"(50|90|99)%\s+([\d.]+\w+)", text))
        rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
        assert rate
        p50, p90, p99 = (_milliseconds(found[share]) for share in ("50", "90", "99"))
        return Said("wrk", p50, p90, p99, float(rate[1]), cpu, wall)


class _hey(_Tool):  # noqa: N801
    def __call__(self, case: Case, url: str) -> Said:
        options = ("-z", f"{SECONDS}s", "-c", str(case.clients), "-t", "30", "-cpus", "1")
        text, cpu, wall = self.output(str(self.tools / "usr/bin/hey"), *options, url + case.path)
        found = dict(re.findall(r"(50|90|99)% in ([\d.]+) secs", text))
        rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
        assert rate
        p50, p90, p99 = (float(found.get(share, "nan")) * 1000 for share in ("50", "90", "99"))
        return Said("hey", p50, p90, p99, float(rate[1]), cpu, wall)


class _ours(_Tool):  # noqa: N801
    def __init__(self, setting: Setting) -> None:
        super().__init__(setting.directory, setting)

    def __call__(self, case: Case, url: str) -> Said:
        command = (sys.executable, "-m", "benchmarks.load", url, case.path, str(case.clients), str(SECONDS))
        text, cpu, wall = self.output(*command)
        found = json.loads(text.splitlines()[-1])
        more = f"; own lag p99 {found['lag']:.2f} ms, {found['cpu']:.0%} of a core"
        if found["gap50"]:
            more += f"; between tokens p50 {found['gap50']:.2f}, p99 {found['gap99']:.2f} ms"
        return Said("gitops", found["p50"], found["p90"], found["p99"], found["rate"], cpu, wall, more)


def _milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(\w+)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}[unit]


def _core(number: int) -> list[str]:
    able = shutil.which("taskset") and (os.cpu_count() or 1) > 1
    return ["taskset", "-c", str(number)] if able else []


# --- The endpoint ---


@contextmanager
def _nginx(tools: Path, directory: Path) -> Iterator[str]:
    """One worker on the second core."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (directory / "nginx.conf").write_text(_configuration(tools, directory, port))
    command = [*_core(1), str(tools / "usr/sbin/nginx"), "-p", str(directory), "-c", str(directory / "nginx.conf")]
    with (directory / "nginx.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait(process, port, directory / "nginx.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(100):
        if process.poll() is not None:
            raise RuntimeError(f"nginx ended: {log.read_text()[-500:]}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("nginx does not answer")


def _configuration(tools: Path, directory: Path, port: int) -> str:
    token = '{"choices":[{"index":0,"delta":{"content":"word"},"finish_reason":null}]}'
    answer = 'default_type application/json; {} echo \'{{"answer": "yes"}}\';'
    plain = "\n".join(
        f"location = {path} {{ {answer.format(f'echo_sleep {seconds};' if seconds else '')} }}"
        for path, seconds in (("/plain20", 0.02), ("/plain100", 0.1), ("/plain1000", 1), ("/now", 0))
    )
    event = f"echo 'data: {token}\n'; echo_flush;"
    stream = f" echo_sleep {TOKEN_SECONDS}; ".join([event] * TOKENS)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = " ".join(f"{kind}_temp_path {directory / kind};" for kind in kinds)
    return f"""
load_module {tools / "usr/lib/nginx/modules/ngx_http_echo_module.so"};
daemon off; worker_processes 1; worker_rlimit_nofile 8192; pid {directory / "pid"}; error_log stderr;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 300s; {places}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    {plain}
    location = /stream {{ default_type text/event-stream; {stream} echo 'data: [DONE]\n'; }}
  }}
}}
"""


# --- Our load, as a program ---


def main() -> None:
    """Measure a URL."""
    from gitops.stages.endpoints import Target
    from gitops.stages.load import measure as put_load
    from gitops.stages.measured import Load
    from gitops.stages.protocols.base import Request
    from gitops.stages.protocols.openai import OpenAI
    from gitops.stages.protocols.plain import PlainJson

    url, path, clients, seconds = sys.argv[1:]
    stream = path == "/stream"
    target = Target(url, OpenAI("model") if stream else PlainJson(path), "model")
    load = Load(clients=int(clients), warm_up=WARM_UP, duration=float(seconds))
    found = put_load(target, [Request("GET", path)], load, stream=stream)
    if found.errors:
        raise SystemExit(f"errors: {dict(found.errors)} {found.examples}")
    shares = {f"p{share}": found.latency.quantile(share / 100) * 1000 for share in (50, 90, 99)}
    own = {"lag": found.lag.quantile(0.99) * 1000, "cpu": found.cpu, "rate": found.answered / load.duration}
    gaps = {f"gap{share}": found.gaps.quantile(share / 100) * 1000 for share in (50, 99)}
    print(json.dumps(shares | own | gaps))


if __name__ == "__main__":
    main()
