"""Metrics from a real Prometheus that scrapes servers whose behaviour is declared, and from servers that fail."""

import gc
import gzip
import math
import ssl
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import NormalDist
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs

import orjson
import pytest

from gitops.rollout import histograms
from gitops.rollout.measuring import Asked, assess
from gitops.rollout.pods import joined
from gitops.rollout.queries import QUANTILES, TRAFFIC, answerable, shape_of
from gitops.rollout.series import Answer, Question, Series, Unanswered
from gitops.rollout.statistics import Counts
from gitops.rollout.traffic import bounds_of
from gitops.rollout.verdicts import Verdict
from gitops.rollout.windows import measured, size
from gitops.spec.behaviour import Behaviour, trait_of
from gitops.spec.catalog import METRICS
from gitops.spec.pipeline import Gate
from gitops.values import UnitKey
from gitops.world.prometheus import PrometheusSource, client
from gitops.world.prometheus.matrix import looks_of
from tests.support.certificates import Authority
from tests.support.exporters import Exporter, ModelServers, with_levels
from tests.support.prometheus import Prometheus

pytestmark = pytest.mark.slow

LOOK, INTERVAL = 2, 0.5
RUNTIMES = ("vllm", "triton", "custom")
STABLE, CANDIDATE = "2.3.0", "2.4.0"
WEIGHTS = {STABLE: 75.0, CANDIDATE: 25.0}
NAMESPACE = "acme-production"
DECLARED: Mapping[tuple[str, str], Behaviour] = {
    (runtime, version): with_levels(
        runtime,
        requests_per_second=800,
        error_rate=4 if worse == 1 else 24,
        latency=0.6 * worse,
        queue_length=6 * worse,
        gpu_utilization=35 * worse,
        gpu_memory=40 * worse,
        prediction_accuracy=90 / worse,
        prediction_drift=0.05 * worse,
    )
    for runtime in RUNTIMES
    for version, worse in ((STABLE, 1), (CANDIDATE, 2))
}
ANSWERABLE = [(runtime, metric) for runtime in RUNTIMES for metric in METRICS if not answerable(metric, runtime)]


def about(runtime: str, metric: str, version: str, begin: int, look: int = LOOK, **more: Any) -> Question:
    unit = UnitKey("production", f"{runtime}-model")
    return Question(unit, NAMESPACE, version, runtime, metric, begin, look, **more)


def looks(answer: Answer) -> Series:
    assert isinstance(answer, Series), answer
    return answer


def reason(answer: Answer) -> str:
    assert isinstance(answer, Unanswered), answer
    return answer.reason


# --- A real Prometheus ---------------------------------------------------------------------------------------


class Watched:
    """Servers of every runtime in two versions, a Prometheus that scrapes them, and what it knew after a while."""

    def __init__(self, prometheus: Prometheus, servers: ModelServers) -> None:
        self.prometheus = prometheus
        self.source = PrometheusSource(prometheus.url, interval=INTERVAL)
        self.models: dict[str, Exporter] = {}
        for runtime in RUNTIMES:
            model = self.models[runtime] = servers.model(NAMESPACE, f"{runtime}-model", runtime)
            for version, weight in WEIGHTS.items():
                model.run(version, DECLARED[runtime, version], percent=weight, pods=2, gpus=2, node=f"gpu-{version}")
        spare = servers.model(NAMESPACE, "spare-model", "custom")
        for version in ("restarting", "bursting", "leaving"):
            spare.run(version, with_levels("custom", error_rate=0, requests_per_second=200))
        self.spare = spare
        # The DCGM exporter of one node is scraped with `honorLabels`, the other without.
        honored = f"/dcgm/gpu-{CANDIDATE}"
        prometheus.reload([replace(target, honor=target.path == honored) for target in servers.targets()])
        self.begin = (math.ceil(time.time() + INTERVAL) // LOOK + 1) * LOOK
        time.sleep(self.begin + 4 * LOOK + 2 * INTERVAL - time.time())
        self.now = self.begin + 4 * LOOK + 1
        questions = [about(*each, version, self.begin) for each in ANSWERABLE for version in WEIGHTS]
        self.answers = self.source.read(questions, self.now)

    def spared(self, metric: str, version: str, begin: int) -> Question:
        return Question(UnitKey("production", "spare-model"), NAMESPACE, version, "custom", metric, begin, LOOK)


@pytest.fixture(scope="module")
def watched(prometheus: Prometheus) -> Iterator[Watched]:
    with ModelServers.start() as servers:
        yield Watched(prometheus, servers)
    prometheus.reload([], wait=False)


REQUESTS = 1e6
"""So many that half a request, which stands for what was not seen, does not count."""


def expected(runtime: str, metric: str, version: str) -> float:
    """The declared value, as coarse as the buckets of the server's histogram are."""
    behaviour, trait = DECLARED[runtime, version], trait_of(metric, {})
    level = behaviour.level(trait)
    assert level is not None
    if metric == "tokens-per-second":
        return level * behaviour.levels["requests-per-second"] * (1 - behaviour.levels["error-rate"] / 100)
    if metric not in QUANTILES:
        return level
    times = NormalDist(math.log(level), behaviour.spread(trait))
    if runtime == "triton":
        return math.exp(times.inv_cdf(QUANTILES[metric]))
    buckets = {bound: REQUESTS * times.cdf(math.log(bound)) for bound in bounds_of(runtime, trait)}
    found = histograms.quantile({**buckets, math.inf: REQUESTS}, QUANTILES[metric])
    assert found is not None
    return found.value


def gate_at(metric: str, limit: float) -> Gate:
    unit = METRICS[metric].unit
    shown = f"{limit:.6f}{unit}"
    return Gate.model_validate({"metric": metric, "rollback": shown})


@pytest.mark.parametrize("version", WEIGHTS)
@pytest.mark.parametrize(("runtime", "metric"), ANSWERABLE)
def test_every_metric_has_the_declared_value(watched: Watched, runtime: str, metric: str, version: str) -> None:
    answer = looks(watched.answers[about(runtime, metric, version, watched.begin)])
    assert [look.end for look in answer.looks] == [watched.begin + LOOK * index for index in (1, 2, 3, 4)]
    assert answer.latest is not None
    value, share = expected(runtime, metric, version), WEIGHTS[version]
    over = [*(look.datum for look in answer.looks)]
    seen = measured(gate_at(metric, value), over).value
    # Of a quantile the few slowest requests decide.
    near = 0.12 if metric in QUANTILES else 0.06
    assert seen == pytest.approx(value * share / 100 if metric in TRAFFIC else value, rel=near)
    asked = Asked(watched.now, watched.begin, LOOK, weight=share, stable_weight=100 - share)
    worse, better = (0.4, 1.2) if METRICS[metric].worse == "higher" else (1.1, 0.9)
    for factor, status in ((worse, "fail"), (better, "pass")):
        verdict = assess(gate_at(metric, value * factor), answer, None, asked)
        assert isinstance(verdict, Verdict)
        assert verdict.status == status, verdict.sentence


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_versions_are_compared(watched: Watched, runtime: str) -> None:
    stable, candidate = (watched.answers[about(runtime, "error-rate", each, watched.begin)] for each in WEIGHTS)
    asked = Asked(watched.now, watched.begin, LOOK, weight=25, stable_weight=75)
    for limit, status in (("1.2x stable", "fail"), ("7x stable", "pass")):
        gate = Gate.model_validate({"metric": "error-rate", "rollback": limit})
        verdict = assess(gate, candidate, stable, asked)
        assert isinstance(verdict, Verdict)
        assert verdict.status == status, verdict.sentence


def test_no_request_is_counted_twice_and_none_is_lost(watched: Watched) -> None:
    """Looks tile: their sum is what the server counted meanwhile, as exactly as scrapes come at even intervals."""
    answer = looks(watched.answers[about("triton", "error-rate", STABLE, watched.begin)])
    total = sum(look.datum.requests for look in answer.looks if isinstance(look.datum, Counts))
    selector = f'{{namespace="{NAMESPACE}",gitops_model="triton-model",gitops_version="{STABLE}",reason!="CANCELED"}}'
    success, failure = (f"nv_inference_request_{part}{selector}" for part in ("success", "failure"))
    ends = (watched.begin, answer.looks[-1].end)
    counted = [watched.prometheus.value(f"sum({success}) + sum({failure})", end) for end in ends]
    assert counted[0]
    assert counted[1]
    assert total == pytest.approx(counted[1] - counted[0], rel=0.003)


@pytest.mark.parametrize(("runtime", "metric"), [each for each in ANSWERABLE if shape_of(each[1], each[0]) != "gauge"])
def test_requests_are_told_apart_by_pod(watched: Watched, runtime: str, metric: str) -> None:
    question = about(runtime, metric, STABLE, watched.begin)
    by_pod = replace(question, by_pod=True)
    answer = looks(watched.source.read([by_pod], watched.now)[by_pod])
    assert len(answer.pods) == 2
    whole = looks(watched.answers[question])
    for one in (answer, joined(answer.pods)):
        assert [look.end for look in one.looks] == [look.end for look in whole.looks]
        # A server may be scraped between two of its buckets: the highest one of each pod, or of their sum.
        apart, together = (sum(size(look.datum) for look in looks) for looks in (one.looks, whole.looks))
        assert apart == pytest.approx(together, rel=0.001)
    assert all(one.latest is not None for one in answer.pods.values())


def test_what_a_runtime_lacks_is_no_data_with_the_reason(watched: Watched) -> None:
    question = about("triton", "tokens-per-second", STABLE, watched.begin)
    assert reason(watched.source.read([question], watched.now)[question]) == answerable("tokens-per-second", "triton")


def test_a_version_that_nobody_scrapes_has_no_looks(watched: Watched) -> None:
    question = about("vllm", "error-rate", "9.9.9", watched.begin)
    assert watched.source.read([question], watched.now)[question] == Series()


def test_nothing_is_known_before_the_first_look_has_ended(watched: Watched) -> None:
    question = about("vllm", "error-rate", STABLE, watched.now - 1)
    assert watched.source.read([question], watched.now)[question] == Series()


OWN = 'sum(rate(http_requests_total{namespace="$namespace",gitops_model="$model",gitops_version="$version"}[2s]))'


def test_queries_of_the_users_own(watched: Watched) -> None:
    queries = {
        "number": OWN,
        "none": f"{OWN} > 1e9",
        "several": 'http_requests_total{gitops_model="$model"}',
        "scalar": "time() * 0 + 7",
        "constant": "vector(1) / 0",
        "wrong": "sum(rate(http_requests_total[2s])",
        "histogram": '"text"',
    }
    asked = {name: about("vllm", name, CANDIDATE, watched.begin, query=query) for name, query in queries.items()}
    answers = watched.source.read([*asked.values()], watched.now)
    found = {name: answers[question] for name, question in asked.items()}
    assert [look.datum for look in looks(found["number"]).looks] == pytest.approx([200] * 4, rel=0.05)
    assert looks(found["number"]).latest is None
    assert found["none"] == Series()
    assert [look.datum for look in looks(found["constant"]).looks] == [math.inf] * 4, "the worst there is, not no data"
    assert [look.datum for look in looks(found["scalar"]).looks] == [7.0] * 4
    assert "series where one number is wanted: aggregate with sum() or avg()" in reason(found["several"])
    assert "refused the query: " in reason(found["wrong"])
    assert "parse error" in reason(found["wrong"])
    assert reason(found["histogram"]).startswith(watched.prometheus.url)


def test_looks_beyond_what_one_answer_may_have(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prometheus itself refuses more than 11,000 points; with fewer to a stretch the answer is the same."""
    long_ago = about("vllm", "error-rate", STABLE, watched.now - 12_000, look=1)
    whole = looks(watched.source.read([long_ago], watched.now)[long_ago])
    question = about("vllm", "latency-p99", STABLE, watched.begin)
    monkeypatch.setattr("gitops.world.prometheus.source.MOST_POINTS", 3)
    split = watched.source.read([question], watched.now)[question]
    assert looks(split).looks[:4] == looks(watched.answers[question]).looks
    assert len(whole.looks) >= 8


def counts(answer: Answer) -> list[Counts]:
    return [look.datum for look in looks(answer).looks if isinstance(look.datum, Counts)]


def test_a_crash_a_burst_of_failures_and_a_pod_that_leaves(watched: Watched) -> None:
    spare, begin = watched.spare, math.ceil(time.time() / LOOK) * LOOK
    time.sleep(begin + LOOK - 0.2 - time.time())
    spare.set("bursting", with_levels("custom", error_rate=50, requests_per_second=4000))
    time.sleep(0.4)  # the end of a look and the beginning of the next
    spare.set("bursting", with_levels("custom", error_rate=0, requests_per_second=200))
    time.sleep(begin + LOOK * 1.4 - time.time())
    spare.restart("restarting")
    spare.stop("leaving")
    time.sleep(begin + 3 * LOOK + 2 * INTERVAL - time.time())
    questions = [watched.spared("error-rate", each, begin - LOOK) for each in ("restarting", "bursting", "leaving")]
    answers = watched.source.read(questions, begin + 3 * LOOK + 1)
    crashed, burst, gone = (counts(answers[question]) for question in questions)
    assert len(crashed) == len(burst) == 4
    # What a server counts between its last scrape and its crash is lost, and no more than that. A scrape on a busy
    # machine is answered later than Prometheus writes down: 40 requests are 0.2 s.
    assert [each.requests for each in crashed] == [
        pytest.approx(400, abs=40),
        pytest.approx(400, abs=40),
        pytest.approx(400 - 200 * INTERVAL / 2, abs=200 * INTERVAL / 2 + 40),
        pytest.approx(400, abs=40),
    ]
    # All that the server counted, also the first failures, whose counter was not there before.
    begun, ended = begin - LOOK, begin + 3 * LOOK
    counted = 'http_requests_total{gitops_version="bursting",handler="/predict",status="%s"}'
    bad, good, good_before = (
        watched.prometheus.value(counted % status, at) or 0 for status, at in ((503, ended), (200, ended), (200, begun))
    )
    assert bad > 500
    assert sum(each.bad for each in burst) == pytest.approx(bad, rel=0.01)
    assert sum(each.requests for each in burst) == pytest.approx(bad + good - good_before, rel=0.01)
    assert gone[0].requests == pytest.approx(400, abs=40)
    assert len(gone) <= 3


def test_prometheus_stops_and_comes_back(watched: Watched) -> None:
    question = about("vllm", "error-rate", STABLE, watched.begin)
    source = PrometheusSource(watched.prometheus.url, interval=INTERVAL, deadline=3)
    before = looks(source.read([question], watched.now)[question])
    watched.prometheus.stop()
    began = time.monotonic()
    down = source.read([question], watched.now)[question]
    assert reason(down) == f"{watched.prometheus.url}: the connection was refused"
    assert time.monotonic() - began < 10, "the deadline holds"
    watched.prometheus.start_again()
    after = looks(source.read([question], watched.now)[question])
    assert [look.end for look in after.looks] == [look.end for look in before.looks]
    # Prometheus adds series in any order: the last digit may differ.
    assert [size(look.datum) for look in after.looks] == pytest.approx([size(look.datum) for look in before.looks])


def test_prometheus_does_not_answer(watched: Watched) -> None:
    question = about("vllm", "error-rate", STABLE, watched.begin)
    source = PrometheusSource(watched.prometheus.url, interval=INTERVAL, deadline=1)
    watched.prometheus.pause()
    try:
        began = time.monotonic()
        assert "time" in reason(source.read([question], watched.now)[question])
        assert time.monotonic() - began < 2.5
    finally:
        watched.prometheus.resume()
    assert looks(source.read([question], watched.now)[question]).looks


# --- Servers that fail ---------------------------------------------------------------------------------------

Answering = Callable[["Asking"], tuple[int, Mapping[str, str], bytes]]
START = 1_700_000_040


class Asking:
    """One request to a scripted server."""

    def __init__(self, path: str, form: Mapping[str, str], headers: Mapping[str, str]) -> None:
        self.path, self.form, self.headers = path, form, headers

    @property
    def query(self) -> str:
        return self.form["query"]

    @property
    def ends(self) -> list[int]:
        """The moments that a range query asks about."""
        return [*range(int(self.form["start"]), int(self.form["end"]) + 1, int(self.form["step"]))]


class Scripted:
    """A server that answers as a function says."""

    def __init__(self, answering: Answering, context: ssl.SSLContext | None = None) -> None:
        self.answering = answering
        self.asked: list[Asking] = []
        self.busy = self.busiest = 0
        lock, script = Lock(), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                one = Asking(self.path, {name: found[0] for name, found in parse_qs(body).items()}, dict(self.headers))
                with lock:
                    script.asked.append(one)
                    script.busy += 1
                    script.busiest = max(script.busiest, script.busy)
                status, headers, content = script.answering(one)
                with lock:
                    script.busy -= 1
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                try:
                    self.write(content, float(headers.get("X-Drip", 0)))
                except OSError:
                    self.close_connection = True

            def write(self, content: bytes, pause: float) -> None:
                size = 1 if pause else max(1, len(content))
                for begin in range(0, len(content), size):
                    self.wfile.write(content[begin : begin + size])
                    time.sleep(pause)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        if context:
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self.place = f"127.0.0.1:{self._http.server_address[1]}"
        self.url = f"http{'s' if context else ''}://{self.place}"
        self._thread = Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


Script = Callable[..., Scripted]


@pytest.fixture
def scripted() -> Iterator[Script]:
    started: list[Scripted] = []

    def start(answering: Answering, context: ssl.SSLContext | None = None) -> Scripted:
        started.append(Scripted(answering, context))
        return started[-1]

    yield start
    for server in started:
        server.stop()


def done(result: Sequence[Any], form: str = "matrix", **more: Any) -> tuple[int, Mapping[str, str], bytes]:
    document = {"status": "success", "data": {"resultType": form, "result": result}, **more}
    return 200, {"Content-Type": "application/json"}, orjson.dumps(document)


def sevens(asking: Asking) -> tuple[int, Mapping[str, str], bytes]:
    """Seven, always, as the only series of the first version, or as a user's own number."""
    labels = {"namespace": NAMESPACE, "gitops_model": "vllm-model", "gitops_version": STABLE}
    if asking.path.endswith("/query"):
        return done([{"metric": labels, "value": [int(asking.form["time"]), "7"]}], "vector")
    return done([{"metric": labels, "values": [[end, "7"] for end in asking.ends]}])


QUEUE = about("vllm", "queue-length", STABLE, START, 60)
NOW = START + 10 * 60 + 20


def ask(server: Scripted, *questions: Question, **more: Any) -> list[Answer]:
    answers = PrometheusSource(server.url, **{"deadline": 3, **more}).read(questions or (QUEUE,), NOW)
    return [answers[question] for question in questions or (QUEUE,)]


def test_looks_lie_on_the_grid_and_begin_with_the_question(scripted: Script) -> None:
    server = scripted(sevens)
    early, late = (
        about("vllm", "queue-length", STABLE, START + 1, 60),
        about("vllm", "queue-length", STABLE, START + 200, 60),
    )
    answers = [looks(answer) for answer in ask(server, early, late)]
    first = (START + 1) // 60 * 60 + 120
    assert [look.end for look in answers[0].looks] == [*range(first, NOW, 60)]
    assert [look.end for look in answers[1].looks] == [*range(first + 180, NOW, 60)]
    assert answers[0].latest == answers[1].latest == 7.0
    ranged, instant = sorted(server.asked, key=lambda one: one.path, reverse=True)
    assert (ranged.path, ranged.form["step"], ranged.form["start"]) == ("/api/v1/query_range", "60", str(first))
    assert (instant.path, instant.form["time"]) == ("/api/v1/query", str(NOW))


def test_a_look_that_just_ended_is_not_asked_for_yet(scripted: Script) -> None:
    """Its last samples may still be on their way."""
    server = scripted(sevens)
    now = int(time.time())
    question = about("vllm", "queue-length", STABLE, now - 60, 1)
    looks(PrometheusSource(server.url, interval=15).read([question], now)[question])
    assert now - 6 <= int(server.asked[0].form["end"]) <= now - 4


def test_many_looks_are_asked_for_in_stretches(scripted: Script) -> None:
    server = scripted(sevens)
    question = about("vllm", "queue-length", STABLE, NOW - 25_000, 1)
    [answer] = ask(server, question)
    ends = [look.end for look in looks(answer).looks]
    assert ends == [*range(NOW - 24_999, NOW + 1)]
    ranges = [len(one.ends) for one in server.asked if one.path.endswith("query_range")]
    assert sorted(ranges) == [3_000, 11_000, 11_000]


def test_versions_share_a_query_and_quantiles_too(scripted: Script) -> None:
    server = scripted(lambda asking: done([]))
    names = ("latency-p50", "latency-p95", "latency-p99", "error-rate")
    questions = [about("vllm", name, version, START, 60) for name in names for version in WEIGHTS]
    assert {*ask(server, *questions)} == {Series()}
    assert len(server.asked) == 4
    assert server.busiest <= 4


def test_at_most_four_queries_at_once(scripted: Script) -> None:
    def slow(asking: Asking) -> tuple[int, Mapping[str, str], bytes]:
        time.sleep(0.05)
        return done([])

    server = scripted(slow)
    ask(server, *(about("vllm", f"own-{index}", STABLE, START, 60, query=f"vector({index})") for index in range(20)))
    assert server.busiest == 4
    assert len(server.asked) == 20


def test_looks_that_are_known_are_not_asked_for_again(scripted: Script) -> None:
    """But for the last one, and but for a version that was not asked about before, or an earlier begin."""
    server = scripted(sevens)
    source = PrometheusSource(server.url)
    stable = about("vllm", "queue-length", STABLE, START, 60)

    def asked_for(now: int, *questions: Question) -> list[int]:
        server.asked.clear()
        answers = source.read(questions, now)
        fresh = PrometheusSource(server.url).read(questions, now)
        assert answers == fresh
        return server.asked[0].ends

    assert asked_for(NOW, stable) == [*range(START + 60, NOW, 60)]
    assert asked_for(NOW + 60, stable) == [NOW - 20, NOW + 40]
    assert asked_for(NOW, stable) == [NOW - 20]
    later = replace(stable, begin=START + 300)
    assert asked_for(NOW + 60, later) == [NOW - 20, NOW + 40]
    assert asked_for(NOW + 60, stable) == [*range(START + 60, NOW + 60, 60)]
    both = (stable, replace(stable, version=CANDIDATE))
    assert asked_for(NOW + 60, *both) == [*range(START + 60, NOW + 60, 60)]
    assert asked_for(NOW + 60, stable) == [NOW + 40]
    assert asked_for(NOW + 60, about("vllm", "kv-cache-use", STABLE, START, 60)) != [NOW + 40]
    assert asked_for(NOW + 60, stable) == [*range(START + 60, NOW + 60, 60)]


def test_questions_by_pod_leave_what_is_known_of_versions(scripted: Script) -> None:
    server = scripted(sevens)
    source = PrometheusSource(server.url)
    errors = about("vllm", "error-rate", STABLE, START, 60)
    source.read([QUEUE], NOW)
    source.read([replace(errors, by_pod=True)], NOW)
    server.asked.clear()
    source.read([QUEUE], NOW)
    assert len(server.asked[0].ends) == 1


def test_a_failed_query_leaves_what_is_known(scripted: Script) -> None:
    statuses = iter([200, 200, 400])
    server = scripted(lambda asking: sevens(asking) if next(statuses, 200) == 200 else (400, {}, b""))
    source = PrometheusSource(server.url)
    first, failed, again = (source.read([QUEUE], NOW)[QUEUE] for _ in range(3))
    assert reason(failed)
    assert first == again
    assert looks(again).looks


def test_a_query_that_cannot_be_sent(scripted: Script) -> None:
    [answer] = ask(scripted(sevens), about("vllm", "own", STABLE, START, 60, query="\ud800"))
    assert "surrogates not allowed" in reason(answer)


def test_passing_faults_are_tried_again(scripted: Script) -> None:
    faults = iter([503, 429, 500])

    def answering(asking: Asking) -> tuple[int, Mapping[str, str], bytes]:
        status = next(faults, 200)
        return sevens(asking) if status == 200 else (status, {}, b"not now")

    server = scripted(answering)
    own = about("vllm", "own", STABLE, START, 60, query="x")
    assert looks(ask(server, own)[0]).looks
    assert len(server.asked) == 4


def failing(status: int, content: bytes = b"", **headers: str) -> Answering:
    return lambda asking: (status, headers, content)


ERROR = b'{"status":"error","errorType":"unavailable","error":"storage is\\n  not ready"}'


@pytest.mark.parametrize(
    ("answering", "said"),
    [
        (failing(503, ERROR), "cannot answer now: storage is not ready"),
        (failing(429, b"", **{"Retry-After": "3600"}), "cannot answer now: status 429"),
        (failing(200, b"<html>Log in"), "answered something that is not from Prometheus"),
        (failing(200, b'{"status":"success"}'), "answered something that is not from Prometheus"),
        (failing(200, b'{"status":"success","warnings":3}'), "answered something that is not from Prometheus"),
        (failing(200, b"[1]"), "answered something that is not from Prometheus"),
        (failing(422, b'{"status":"error","error":"too many samples"}'), "refused the query: too many samples"),
        (failing(404), "refused the query: status 404"),
        (failing(401), "does not let us in (status 401): set GITOPS_PROMETHEUS_TOKEN or GITOPS_PROMETHEUS_TOKEN_FILE"),
        (
            failing(302, b"", Location="https://me:secret@sso.example/?s=secret"),
            "redirects to https://sso.example: name",
        ),
        (failing(200, b"{}", **{"Content-Encoding": "gzip"}), ""),
        (failing(200, b"{}", **{"Content-Length": "100", "Connection": "close"}), ": the connection was dropped"),
        (lambda asking: done([], "string"), ": it gives a string where numbers over time are wanted"),
        (lambda asking: done([{"metric": {}, "histograms": []}]), ": it gives a series without values"),
        (lambda asking: done([{"metric": {}, "values": [[1]]}]), ": the answer is not of Prometheus' form"),
        (lambda asking: done([{"metric": [], "values": [[1, "x"]]}]), ": the answer is not of Prometheus' form"),
        (lambda asking: done([1]), ": the answer is not of Prometheus' form"),
        (lambda asking: done([], warnings=["store-1 is down"]), "answered in part only: store-1 is down"),
    ],
)
def test_failures_are_one_line_about_the_server(scripted: Script, answering: Answering, said: str) -> None:
    server = scripted(answering)
    [answer] = ask(server)
    assert reason(answer).startswith(server.url)
    assert said in reason(answer)
    assert "\n" not in reason(answer)
    assert "secret" not in reason(answer)


def test_a_hint_about_the_query_is_no_failure(scripted: Script) -> None:
    server = scripted(lambda asking: done([], warnings=['PromQL info: metric might not be a counter: "x"']))
    assert ask(server) == [Series()]


def test_only_the_questions_of_a_failed_query_are_unanswered(scripted: Script) -> None:
    def answering(asking: Asking) -> tuple[int, Mapping[str, str], bytes]:
        return (400, {}, b"{}") if "kv_cache" in asking.query or "own" in asking.query else sevens(asking)

    server = scripted(answering)
    more = [about("vllm", "kv-cache-use", version, START, 60) for version in WEIGHTS]
    own = about("vllm", "own", STABLE, START, 60, query="own")
    other = about("vllm", "other", STABLE, START, 60, query="other")
    first, *failed, answered = ask(server, QUEUE, *more, own, other)
    assert looks(first).looks
    assert looks(answered).looks
    assert all(reason(one).startswith(server.url) for one in failed)


@pytest.mark.parametrize("drip", ["slow to begin", "slow to end"])
def test_a_slow_server_costs_no_more_than_the_deadline(scripted: Script, drip: str) -> None:
    def answering(asking: Asking) -> tuple[int, Mapping[str, str], bytes]:
        if drip == "slow to begin":
            time.sleep(1.5)
            return sevens(asking)
        status, headers, content = sevens(asking)
        return status, {**headers, "X-Drip": "0.1"}, content

    began = time.monotonic()
    [answer] = ask(scripted(answering), deadline=0.6)
    assert "time" in reason(answer)
    assert time.monotonic() - began < 1.4


def test_an_answer_that_is_too_large(scripted: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that is small until it is unpacked."""
    monkeypatch.setattr(client, "MAX_BYTES", 2**20)
    packed = gzip.compress(b" " * 2**22)
    for answering in (failing(200, b" " * 2**22), failing(200, packed, **{"Content-Encoding": "gzip"})):
        assert "answered more than 1 MiB" in reason(ask(scripted(answering))[0])


def test_a_packed_answer(scripted: Script) -> None:
    def answering(asking: Asking) -> tuple[int, Mapping[str, str], bytes]:
        status, headers, content = sevens(asking)
        assert "gzip" in asking.headers["Accept-Encoding"]
        return status, {**headers, "Content-Encoding": "gzip"}, gzip.compress(content)

    server = scripted(answering)
    assert looks(ask(server)[0]).latest == 7.0


def test_credentials(scripted: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(url: str) -> str:
        answer = PrometheusSource(url, deadline=2).read([QUEUE], NOW)[QUEUE]
        assert reason(answer).startswith(server.url)
        assert "secret" not in reason(answer)
        return server.asked[-1].headers.get("Authorization", "")

    server = scripted(failing(403))
    assert told(server.url) == ""
    assert told(f"http://me:se%63ret@{server.place}/") == "Basic bWU6c2VjcmV0"
    file = tmp_path / "token"
    file.write_text("secret-in-file\n")
    monkeypatch.setenv("GITOPS_PROMETHEUS_TOKEN_FILE", str(file))
    assert told(server.url) == "Bearer secret-in-file"
    file.write_text("secret-exchanged")
    assert told(server.url) == "Bearer secret-exchanged"
    monkeypatch.setenv("GITOPS_PROMETHEUS_TOKEN", "secret-itself")
    assert told(server.url) == "Bearer secret-itself"


@pytest.mark.parametrize(
    ("token", "said"), [(None, "No such file"), (b"two\nsecrets", "more than one line"), (b"\xff", "not text")]
)
def test_a_token_that_cannot_be_used(
    scripted: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: bytes | None, said: str
) -> None:
    file = tmp_path / "token"
    if token is not None:
        file.write_bytes(token)
    monkeypatch.setenv("GITOPS_PROMETHEUS_TOKEN_FILE", str(file))
    server = scripted(sevens)
    [answer] = ask(server)
    assert "GITOPS_PROMETHEUS_TOKEN_FILE" in reason(answer)
    assert said in reason(answer)
    assert "secret" not in reason(answer)
    assert not server.asked


def test_the_authority_that_a_file_names(scripted: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority.create(tmp_path)
    files = authority.issue("prometheus")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    server = scripted(sevens, context)
    assert "TLS failed: " in reason(ask(server)[0])
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.files.certificate))
    assert looks(ask(server)[0]).looks
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "absent"))
    assert reason(ask(server)[0]) == f"SSL_CERT_FILE, {tmp_path / 'absent'}: No such file or directory"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://me:secret@127.0.0.1:1", "http://127.0.0.1:1: the connection was refused"),
        ("http://prometheus.invalid:9090", "http://prometheus.invalid:9090: its name cannot be resolved"),
        ("http://me:secret@[::1:9090", ""),
        ("http://127.0.0.1:99999", ""),
        ("nonsense", "nonsense is not a URL of http or https"),
    ],
)
def test_a_url_that_leads_nowhere(url: str, said: str) -> None:
    told = reason(PrometheusSource(url, deadline=1).read([QUEUE], NOW)[QUEUE])
    assert said in told
    assert "secret" not in told


# --- Answers -------------------------------------------------------------------------------------------------


def matrix(*series: tuple[Mapping[str, str], Sequence[tuple[int, str]]]) -> dict[str, Any]:
    labels = {"namespace": "n", "gitops_model": "m", "gitops_version": "v"}
    return {
        "resultType": "matrix",
        "result": [{"metric": {**labels, **more}, "values": [*map(list, values)]} for more, values in series],
    }


def only(found: Mapping[Any, list[Any]]) -> list[Any]:
    [found_looks] = found.values()
    return [(look.end, look.datum) for look in found_looks]


def test_buckets_are_sorted_and_never_fall() -> None:
    found = looks_of(
        "histogram",
        matrix(({"le": "+Inf"}, [(60, "9.9")]), ({"le": "10"}, [(60, "10")]), ({"le": "9"}, [(60, "4")])),
    )
    assert only(found) == [(60, {9.0: 4.0, 10.0: 10.0, math.inf: 10.0})]
    assert [*only(found)[0][1]] == [9.0, 10.0, math.inf]


def test_histograms_with_gaps_and_two_spellings() -> None:
    """One server writes `1`, another `1.0`; and no look is made up where the total is missing."""
    found = looks_of(
        "histogram",
        matrix(
            ({"le": "1"}, [(60, "1"), (120, "2"), (180, "NaN")]),
            ({"le": "1.0"}, [(60, "3"), (240, "1")]),
            ({"le": "+Inf"}, [(60, "5"), (120, "6"), (180, "7"), (300, "+Inf")]),
            ({}, [(60, "5")]),
        ),
    )
    assert only(found) == [(60, {1.0: 4.0, math.inf: 5.0}), (120, {1.0: 2.0, math.inf: 6.0}), (180, {math.inf: 7.0})]


def test_bad_requests_are_some_of_all() -> None:
    found = looks_of(
        "ratio",
        matrix(
            ({"gitops_part": "bad"}, [(120, "3"), (180, "8"), (240, "1")]),
            ({"gitops_part": "requests"}, [(60, "10"), (120, "10"), (180, "7"), (300, "NaN")]),
        ),
    )
    assert only(found) == [(60, Counts(10, 0)), (120, Counts(10, 3)), (180, Counts(7, 7))]


def test_a_gauge_may_be_infinite_but_is_a_number() -> None:
    found = looks_of("gauge", matrix(({}, [(60, "1"), (120, "NaN"), (180, "+Inf"), (240, "2")])))
    assert only(found) == [(60, 1.0), (180, math.inf), (240, 2.0)]


def test_a_thousand_models_are_read_quickly(scripted: Script, capsys: pytest.CaptureFixture[str]) -> None:
    """Two versions each, 15 buckets, 20 looks: prints what that costs; no test asserts a time."""
    bounds = [*(f"{0.01 * 2**index:g}" for index in range(14)), "+Inf"]
    look, begin = 60, START
    ends = [(begin // 60 + 1 + index) * 60 for index in range(20)]
    rows = {bound: [[end, f"{end % 977 + index * 10.5}"] for end in ends] for index, bound in enumerate(bounds)}
    labels = [
        {"namespace": NAMESPACE, "gitops_model": f"model-{model}", "gitops_version": version}
        for model in range(1000)
        for version in WEIGHTS
    ]
    answer = done([{"metric": {**one, "le": bound}, "values": rows[bound]} for one in labels for bound in bounds])
    server = scripted(lambda asking: answer if asking.path.endswith("query_range") else done([], "vector"))
    questions = [
        Question(
            UnitKey("production", one["gitops_model"]), NAMESPACE, one["gitops_version"], "vllm", metric, begin, look
        )
        for one in labels
        for metric in ("latency-p50", "latency-p99")
    ]
    source = PrometheusSource(server.url, deadline=60)
    began = time.process_time()
    answers = source.read(questions, ends[-1] + 20)
    spent = time.process_time() - began
    assert gc.isenabled()
    assert len(answers) == 4000
    assert all(len(looks(answer).looks) == 20 for answer in answers.values())
    with capsys.disabled():
        sys.stdout.write(
            f"\n1,000 models x 2 versions x 15 buckets x 20 looks, {len(answer[2]) / 1e6:.0f} MB: {spent:.2f} CPU s\n"
        )
