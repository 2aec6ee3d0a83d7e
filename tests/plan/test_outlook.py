"""What a plan says of rollouts before they run, in its own words."""

from __future__ import annotations

from typing import Any

from gitops.plan.outlook import outlooks, span, unanswerable
from gitops.plan.rehearsal import rehearse
from gitops.plan.rollouts import courses
from gitops.plan.room import Pools
from gitops.plan.visibility import Traffic
from gitops.spec.resolved import Spec
from gitops.values import UnitKey
from tests.plan.repository import CHAT, LATER, Tree, write_spec

GATEWAY = {"gateway": {"name": "models", "namespace": "gateway"}}
ISTIO: dict[str, Any] = {"gateway": {"name": "models", "namespace": "gateway", "api": "istio"}}
ERRORS = {"metric": "error-rate", "rollback": "1%"}
CAREFUL: dict[str, Any] = {
    "strategy": "canary",
    "steps": [{"weight": 1, "bake": "15m"}, {"weight": 10, "bake": "15m"}, {"weight": 100, "bake": "1h"}],
    "gates": [ERRORS],
}


def spec(
    version: tuple[str, str], rollout: dict[str, Any] | None = None, replicas: int = 4, gpu: bool = False, **said: Any
) -> Spec:
    """What is said more belongs to the model (`expectedRequestsPerSecond`) or to its environment."""
    model = {"expectedRequestsPerSecond": said.pop("rate")} if "rate" in said else {}
    serve: dict[str, Any] = {"replicas": {"min": replicas, "max": replicas}, "loadTime": "4m"}
    serve |= {"gpu": {"type": "H100", "count": 4}} if gpu else {}
    environment = GATEWAY | said if "gateway" not in said else said
    return write_spec(
        {"chat": version}, {"dev": environment}, rollout=rollout or CAREFUL, serve=serve, routed=True, **model
    )


def lines(old: Spec, new: Spec, traffic: Traffic | None = None, unit: UnitKey = CHAT) -> list[str]:
    """The outlook of a rollout that starts now."""
    tree, pools = Tree(), Pools(new)
    tree.release_spec(old)
    ahead = {one: rehearse(pools, there, tree.now) for one, there in courses(new, tree.stored(), tree.now).items()}
    found = {one.unit: one.lines for one in outlooks(new, pools, ahead, {unit: traffic} if traffic else {}, tree.now)}
    return list(found.get(str(unit), ()))


def starting(traffic: Traffic | None = None, **said: Any) -> list[str]:
    return lines(spec(("1.0.0", "a"), **said), spec(("2.0.0", "b"), **said), traffic)


def of(found: list[str], beginning: str) -> str:
    (line,) = [line for line in found if line.startswith(beginning)]
    return line


# --- Traffic -------------------------------------------------------------------------------------------------


def test_what_so_few_requests_cannot_show() -> None:
    found = starting(rate=3)
    assert of(found, "traffic:") == "traffic: 3 requests/s as expectedRequestsPerSecond says"
    assert of(found, "step 1 ") == (
        "step 1 (1 %): 1 % of 3 requests/s for 15m is 27 requests: cannot see an error rate under 51 % (its limit is "
        "1 %); 54 of the 100 that gates need come within 30m: then it pauses (tooFewSamples)"
    )
    assert of(found, "step 2 ") == (
        "step 2 (10 %): 10 % of 3 requests/s for 15m is 270 requests: cannot see an error rate under 7.7 % (its limit "
        "is 1 %)"
    )
    assert "cannot see an error rate under 1.7 %" in of(found, "step 3 ")


def test_what_is_measured_counts_more_than_what_is_declared() -> None:
    found = starting(Traffic(300.0, measured=True, errors=0.001), rate=3)
    assert of(found, "traffic:") == "traffic: 300 requests/s over the last hour, 0.1 % of them errors"
    assert "2,700 requests: cannot see an error rate under 2.4 %" in of(found, "step 1 ")


def test_what_was_measured_in_vain_is_declared_still() -> None:
    assert of(starting(Traffic(), rate=3), "traffic:").startswith("traffic: 3 requests/s as")


def test_without_any_traffic_known_it_says_how_much_would_do() -> None:
    found = starting()
    assert of(found, "traffic:").startswith("traffic: not known; declare expectedRequestsPerSecond")
    assert of(found, "step 1 ") == (
        "step 1 (1 %) for 15m: its gates have their 100 requests at 11.1 requests/s, errors of twice their limit are "
        "found from 612 requests/s on"
    )


def test_the_declared_outcome_of_too_few_requests() -> None:
    for then, words in (("roll-back", "it rolls back"), ("advance", "it goes on unjudged")):
        rollout = CAREFUL | {"tooFewSamples": {"minimum": 60, "after": "20m", "then": then}}
        said = of(starting(rollout=rollout, rate=3), "step 1 ")
        assert said.endswith(f"; 36 of the 60 that gates need come within 20m: then {words} (tooFewSamples)")
    late = starting(rollout=CAREFUL | {"tooFewSamples": {"minimum": 50}}, rate=3)
    assert of(late, "step 1 ").endswith("; waits 12m47s longer for the 50 that gates need")


def test_waiting_for_requests_takes_its_time() -> None:
    enough, late = starting(rate=300), starting(rollout=CAREFUL | {"tooFewSamples": {"minimum": 50}}, rate=3)
    # 4m to load for 1 %, 4m more for everything, three warm-ups.
    assert "in about 1h41m if" in enough[0]
    assert "in about 1h54m if" in late[0]


def test_gates_that_do_not_count_requests_need_none() -> None:
    gates = [{"metric": "gpu-memory", "rollback": "98%"}]
    found = starting(rollout=CAREFUL | {"gates": gates})
    assert not [line for line in found if line.startswith(("traffic", "step"))]
    found = starting(rollout=CAREFUL | {"gates": []})
    assert "nothing judges it: its policy has no gates" in found


# --- Weights -------------------------------------------------------------------------------------------------


def test_a_gateway_splits_exactly() -> None:
    assert "weights are exact: an HTTPRoute splits requests at random" in starting()
    assert "weights are exact: a VirtualService splits requests at random" in starting(**ISTIO)
    assert not [line for line in starting(rollout={"strategy": "blue-green"}) if line.startswith("weights")]


def test_without_a_gateway_replicas_are_the_weights() -> None:
    found = starting(gateway=None, replicas=3, rate=3)
    assert of(found, "without") == (
        "without a gateway replicas are the weights: 1 % and 10 % become 25 % (1 of 4 replicas)"
    )
    # That is what the step really sees.
    assert of(found, "step 1 ").startswith("step 1 (1 %): 25 % of 3 requests/s for 15m is 675 requests: ")


def test_a_rolling_update_follows_ready_replicas() -> None:
    found = starting(rollout={"strategy": "rolling", "stride": 20})
    assert "its weight follows ready replicas, by 20 % or more at a time" in found


def test_copies_of_requests_are_no_answers() -> None:
    shadow = {"strategy": "shadow", "steps": [{"weight": 20, "bake": "10m"}], "gates": [ERRORS]}
    assert of(starting(rollout=shadow, rate=3), "step 1 ").startswith(
        "step 1 (20 % mirrored): 20 % of 3 requests/s for"
    )


def test_waves_share_the_traffic() -> None:
    clusters = {name: {"provider": "embedded"} for name in "abcd"}
    found = starting(clusters=clusters, waves=[["a"], ["b", "c", "d"]], rate=300)
    # 1 % of a quarter.
    assert of(found, "wave 1 step 1 ").startswith(
        "wave 1 step 1 (1 %): 0.25 % of 300 requests/s for 15m is 675 requests"
    )
    assert "later waves see more: the version then answers everything in the clusters before them" in found
    assert "and 2 waves if nothing goes wrong" in found[0]
    assert "on each cluster" in of(found, "replicas")


# --- Time and sizes ------------------------------------------------------------------------------------------


def test_how_long_it_takes() -> None:
    assert starting(rate=300)[0] == (
        "2.0.0 replaces 1.0.0 in about 1h41m if nothing goes wrong (at most 4 days); 1.0.0 stays warm for 1h after that"
    )
    hold = CAREFUL | {"afterPauseTimeout": "hold", "keepWarm": "10m"}
    assert "(a pause may last for ever); 1.0.0 stays warm for 10m" in starting(rollout=hold)[0]


def test_a_freeze_that_begins_on_the_way() -> None:
    fair = {"reason": "fair", "from": "2026-01-01T00:30:00Z", "until": "2026-01-02T00:00:00Z"}
    assert of(starting(freeze=[fair]), "a freeze") == (
        "a freeze begins before it is over, and would hold it at 10 %: fair, until Fri 2026-01-02 00:00 UTC"
    )
    assert not [line for line in starting() if line.startswith("a freeze")]


def test_a_freeze_that_is_longer_than_a_step_may_take() -> None:
    fair = {"reason": "fair", "from": "2026-01-01T00:20:00Z", "until": "2026-01-08T00:00:00Z"}
    assert of(starting(freeze=[fair]), "a freeze").endswith(
        "; that is longer than a step may take (26h16m), so it is rolled back then and starts again"
    )
    patient = {**CAREFUL, "afterPauseTimeout": "hold"}
    assert "longer" not in of(starting(freeze=[fair], rollout=patient), "a freeze")


def test_replicas_and_gpus_of_each_step() -> None:
    pools = {"h100": {"gpu": {"type": "H100", "count": 8}, "max": 9, "hourlyPrice": 50}}
    clusters = {"here": {"provider": "embedded", "nodePools": pools}}
    found = starting(gpu=True, replicas=2, clusters=clusters)
    assert of(found, "replicas") == "replicas: 1 for step 1 (1 %), 2 for step 3 (100 %), beside 2 of 1.0.0"
    assert of(found, "here/h100") == (
        "here/h100: 8 H100 now, 12 for step 1 (1 %), 16 for step 3 (100 %), 8 when 1.0.0 goes; $50.00/h now, "
        "$100.00/h at most"
    )


def test_pools_that_fare_alike_share_a_line() -> None:
    pools = {"h100": {"gpu": {"type": "H100", "count": 8}, "max": 9}}
    clusters = {name: {"provider": "embedded", "nodePools": pools} for name in "ab"}
    found = starting(gpu=True, replicas=2, clusters=clusters)
    assert of(found, "a/h100 and b/h100: ").endswith("8 when 1.0.0 goes")


def test_one_that_waits_has_an_outlook_too() -> None:
    both = {"dev": GATEWAY, "prod": GATEWAY}
    old, new = (write_spec({"chat": version}, both, rollout=CAREFUL) for version in (("1.0.0", "a"), ("2.0.0", "b")))
    (first, *_) = lines(old, new, unit=LATER)
    assert first.startswith("once it starts: 2.0.0 replaces 1.0.0 in about ")


def test_what_does_not_move_has_none() -> None:
    same = spec(("1.0.0", "a"))
    assert lines(same, same) == []
    assert lines(same, spec(("1.0.0", "a"), replicas=5)) == []


def test_spans_for_people() -> None:
    assert [span(seconds) for seconds in (45, 599, 3601, 8330, 86_400, 200_000)] == [
        "45s",
        "9m59s",
        "1h",
        "2h19m",
        "24h",
        "2 days",
    ]


# --- Gates that nobody answers -------------------------------------------------------------------------------


def test_a_gate_that_the_runtime_cannot_answer() -> None:
    gates = [ERRORS, {"metric": "time-to-first-token-p99", "rollback": "2s"}]
    rollout = CAREFUL | {"gates": gates, "noData": {"after": "5m", "then": "roll-back"}}
    tree, new = Tree(), spec(("2.0.0", "b"), rollout)
    tree.release_spec(spec(("1.0.0", "a"), rollout))
    pools = Pools(new)
    ahead = {one: rehearse(pools, there, tree.now) for one, there in courses(new, tree.stored(), tree.now).items()}
    assert list(unanswerable(new, ahead)) == [
        "dev/chat: a gate of quick never passes, and after 5m without data it rolls back: custom cannot answer "
        "time-to-first-token-p99: it does not measure the time to the first token; only vllm has it: write a gate with "
        "`name` and `query` of your own"
    ]
    assert list(unanswerable(new, {})) == []
