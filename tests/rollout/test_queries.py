"""What Prometheus is asked; tests/world/test_prometheus.py runs the queries on a real one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops.rollout.queries import (
    LABELS,
    PART,
    POD,
    QUANTILES,
    Scope,
    answerable,
    duration,
    escaped,
    filled,
    matching,
    promql,
    shape_of,
)
from gitops.spec.catalog import METRICS

RUNTIMES = ("vllm", "triton", "custom")
SCOPE = Scope(matching({"acme-production"}, {"chat", "ranker"}), 60, 15)
EVERY = [(metric, runtime) for metric in METRICS for runtime in RUNTIMES]


@pytest.mark.parametrize(("metric", "runtime"), EVERY)
def test_every_metric_has_a_query_or_a_reason(metric: str, runtime: str) -> None:
    reason = answerable(metric, runtime)
    if reason:
        assert reason.startswith(f"{runtime} cannot answer {metric}: ")
        assert reason.endswith("write a gate with `name` and `query` of your own")
        with pytest.raises(KeyError):
            promql(metric, runtime, SCOPE)
    else:
        query = promql(metric, runtime, SCOPE)
        assert f"by ({', '.join(LABELS)}" in query
        assert ("le)" in query) == (shape_of(metric, runtime) == "histogram")
        assert (PART in query) == (shape_of(metric, runtime) == "ratio")
        assert query.count("(") == query.count(")")
        assert query.count("{") == query.count("}")
        assert "{{" not in query


@pytest.mark.parametrize(("metric", "runtime"), EVERY)
def test_requests_can_be_told_apart_by_pod(metric: str, runtime: str) -> None:
    if answerable(metric, runtime) or shape_of(metric, runtime) == "gauge":
        return
    query = promql(metric, runtime, SCOPE._replace(by_pod=True))
    assert query.replace(f"{', '.join(LABELS)}, {POD}", ", ".join(LABELS)) == promql(metric, runtime, SCOPE)
    assert query.count(f"by ({', '.join(LABELS)}, {POD}") == query.count("sum by (")


def test_what_runtimes_cannot_answer() -> None:
    missing = {(metric, runtime) for metric, runtime in EVERY if answerable(metric, runtime)}
    tokens = {"time-to-first-token-p99", "inter-token-latency-p99", "tokens-per-second", "kv-cache-use"}
    expected = {(metric, runtime) for metric in tokens for runtime in ("triton", "custom")}
    assert missing == expected | {("queue-length", "custom")}
    assert "only vllm has it" in answerable("tokens-per-second", "triton")


def test_a_counters_window_is_one_scrape_longer_than_the_look() -> None:
    """Five samples of 15 s span a minute."""
    query = promql("latency-p99", "vllm", SCOPE)
    assert query == (
        "sum by (namespace, gitops_model, gitops_version, le) (rate(vllm:e2e_request_latency_seconds_bucket"
        '{gitops_version!="",namespace=~"acme-production",gitops_model=~"chat|ranker"}[75s])) * 60'
    )


def test_vllm_errors_are_responses_with_5xx() -> None:
    query = promql("error-rate", "vllm", SCOPE)
    assert 'http_requests_total{gitops_version!=""' in query
    assert 'status=~"5.."' in query
    assert 'code=~"5.."' not in query
    assert 'code=~"5.."' in promql("error-rate", "custom", SCOPE)


@pytest.mark.parametrize("name", ["latency-p50", "latency-p95", "latency-p99", "error-rate", "requests-per-second"])
def test_probes_of_plain_servers_are_no_requests(name: str) -> None:
    assert 'handler!~"/(metrics|health' in promql(name, "custom", SCOPE)


def test_latencies_of_one_runtime_share_a_query() -> None:
    assert len({promql(name, "vllm", SCOPE) for name in QUANTILES if name.startswith("latency")}) == 1


def test_tokens_count_as_the_requests_that_they_belong_to() -> None:
    query = promql("inter-token-latency-p99", "vllm", SCOPE)
    assert "* on (namespace, gitops_model, gitops_version) group_left () (sum by" in query, "a list, then the operand"
    assert "vllm:e2e_request_latency_seconds_count" in query


@pytest.mark.parametrize("name", ["error-rate", "requests-per-second"])
def test_cancelled_requests_are_not_tritons_failures(name: str) -> None:
    assert 'reason!="CANCELED"' in promql(name, "triton", SCOPE)


def test_matchers_name_few_models_and_not_many() -> None:
    assert matching({"b", "a"}, {"x"}) == 'gitops_version!="",namespace=~"a|b",gitops_model=~"x"'
    assert matching({"a.b"}, {"x"}).startswith('gitops_version!="",namespace=~"a\\\\.b"')
    many = matching({"a"}, {f"m{number}" for number in range(5000)})
    assert many == 'gitops_version!="",namespace=~"a",gitops_model!=""'


def test_a_users_query_is_filled() -> None:
    query = 'sum(rate(bad{namespace="$namespace",m="$model",v="$version"}[5m])) > $versions and $model$version'
    assert filled(query, "prod", "chat", "2.3.0") == (
        'sum(rate(bad{namespace="prod",m="chat",v="2.3.0"}[5m])) > $versions and chat2.3.0'
    )
    assert filled('{m="$model"}', "n", 'a"b\\c\n', "v") == '{m="a\\"b\\\\c\\n"}'


def test_a_value_that_names_another_is_not_filled_again() -> None:
    assert filled("$model", "n", "$version", "v") == "$version"


@given(st.text())
def test_escaped_text_never_ends_its_string(text: str) -> None:
    assert re.fullmatch(r'(?:[^"\\\n]|\\["\\n])*', escaped(text))


@pytest.mark.parametrize(("seconds", "shown"), [(60, "60s"), (75.0, "75s"), (0.25, "250ms"), (2.25, "2250ms")])
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
