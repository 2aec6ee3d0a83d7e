"""What a plan says of rollouts before they run: how long, by which weights, what gates could see, which GPUs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from gitops.plan.capacity import Ahead
from gitops.plan.exposure import OUTCOMES, Exposure
from gitops.plan.model import Outlook
from gitops.plan.rehearsal import Moment, Rehearsal, step_words
from gitops.plan.room import Place, Pools
from gitops.plan.visibility import Traffic
from gitops.rollout.queries import answerable
from gitops.spec.fields import format_duration
from gitops.spec.problems import listed
from gitops.spec.promotion import frozen, frozen_until
from gitops.spec.resolved import Spec
from gitops.values import UnitKey, version_in_words

_ROUTERS = {"gateway-api": "an HTTPRoute", "istio": "a VirtualService"}
_MANY = 6
"""More changes of size than that are not told one by one."""


def outlooks(
    spec: Spec, pools: Pools, ahead: Ahead, measured: Mapping[UnitKey, Traffic], now: int
) -> tuple[Outlook, ...]:
    """One for each unit whose rollout starts, now or once it may. `now` is in seconds of the epoch."""
    found = []
    for unit, rehearsal in ahead.items():
        if rehearsal.begins:
            rollout = spec.pipeline.rollouts[rehearsal.target.rollout]
            traffic = known_traffic(rehearsal, measured.get(unit))
            exposure = Exposure(rehearsal, rollout, pools.routed(unit), traffic)
            found.append(Outlook(str(unit), tuple(_lines(pools, exposure, now))))
    return tuple(found)


def known_traffic(rehearsal: Rehearsal, measured: Traffic | None) -> Traffic:
    """What was measured, else what the model declares."""
    if measured and measured.rate is not None:
        return measured
    return (measured or Traffic())._replace(rate=rehearsal.target.expected_requests_per_second)


def unanswerable(spec: Spec, ahead: Ahead) -> Iterator[str]:
    """A sentence for each gate that a runtime cannot answer: it never passes."""
    asked: dict[tuple[str, str], list[UnitKey]] = {}
    for unit, rehearsal in ahead.items():
        if rehearsal.begins:
            asked.setdefault((rehearsal.target.rollout, rehearsal.target.serve.runtime), []).append(unit)
    for (name, runtime), units in asked.items():
        rollout = spec.pipeline.rollouts[name]
        for gate in rollout.gates:
            if gate.metric and (why := answerable(gate.metric, runtime)):
                after = f"after {format_duration(rollout.no_data.after)} without data {OUTCOMES[rollout.no_data.then]}"
                yield f"{_some(units)}: a gate of {name} never passes, and {after}: {why}"


def _some(units: Sequence[UnitKey]) -> str:
    return listed(map(str, units), limit=3)


def _lines(pools: Pools, exposure: Exposure, now: int) -> Iterator[str]:
    yield _duration(exposure)
    yield from _freeze(exposure.ahead, now)
    yield from _weights(exposure)
    yield from exposure.lines()
    yield from _replicas(exposure)
    yield from _gpus(pools, exposure.ahead)


# --- Time ----------------------------------------------------------------------------------------------------


def _duration(exposure: Exposure) -> str:
    ahead, rollout = exposure.ahead, exposure.rollout
    policy, stable = ahead.standing.policy, version_in_words(ahead.standing.release.stable.version)
    target, once = version_in_words(ahead.target.version), "" if ahead.starts else "once it starts: "
    if end := ahead.end:
        return f"{once}{target} cannot replace {stable}: after {span(end.at)} it is rolled back, {end.event.reason}"
    expected = ahead.duration + sum(exposure.late(moment) for moment in ahead.advances())
    waves = f" and {policy.waves} waves" if policy.waves > 1 else ""
    longest = "a pause may last for ever" if policy.pause_outcome == "hold" else f"at most {span(policy.longest)}"
    kept = span(max(rollout.keep_warm, rollout.drain))
    return (
        f"{once}{target} replaces {stable} in about "
        f"{span(expected)}{waves} if nothing goes wrong ({longest}); {stable} stays warm for {kept} after that"
    )


def _freeze(ahead: Rehearsal, now: int) -> Iterator[str]:
    """A freeze that begins on the way."""
    load = 0
    for moment in ahead.moments if ahead.starts else ():
        if moment.event.kind in ("advance", "promote"):
            if why := frozen(ahead.standing.environment, now + moment.at):
                beyond = _too_long(ahead, now, moment)
                yield f"a freeze begins before it is over, and would hold it at {load} %: {why}{beyond}"
                return
            load = moment.event.mirror or moment.event.weight


def _too_long(ahead: Rehearsal, now: int, moment: Moment) -> str:
    """What becomes of a version that a freeze holds for longer than a step may take."""
    policy, since = ahead.standing.policy, 0
    limit = policy.step_limit(0)
    for before in ahead.moments[: ahead.moments.index(moment)]:
        if before.event.kind in ("start", "advance"):
            since, limit = before.at, policy.step_limit(max(before.event.weight, before.event.mirror))
    end = frozen_until(ahead.standing.environment, now + moment.at)
    if policy.pause_outcome == "hold" or end is None or end - now - since < limit:
        return ""
    return f"; that is longer than a step may take ({span(limit)}), so it is rolled back then and starts again"


def span(seconds: int) -> str:
    """A time for people, with no more than two units: `2h18m`, `5 days`."""
    if seconds >= 2 * 86_400:
        return f"{seconds / 86_400:.0f} days"
    return format_duration(round(seconds / 60) * 60 if seconds >= 600 else seconds)


# --- Weights -------------------------------------------------------------------------------------------------


def _weights(exposure: Exposure) -> Iterator[str]:
    environment, advances = exposure.ahead.standing.environment, list(exposure.ahead.advances(0))
    if exposure.rollout.strategy == "rolling":
        yield f"its weight follows ready replicas, by {exposure.rollout.stride} % or more at a time"
    elif exposure.routed and environment.gateway and exposure.rollout.strategy != "blue-green":
        yield f"weights are exact: {_ROUTERS[environment.gateway.api]} splits requests at random"
    if exposure.routed:
        return
    real: dict[tuple[int, int], list[int]] = {}
    for moment in advances:
        if moment.event.weight < 100:
            sizes = exposure.replicas(moment)
            real.setdefault((sizes[1], sum(sizes)), []).append(moment.event.weight)
    shares = (
        f"{listed(f'{weight} %' for weight in weights)} {'becomes' if len(weights) == 1 else 'become'} "
        f"{100 * mine / whole:.0f} % ({mine} of {whole} replicas)"
        for (mine, whole), weights in real.items()
    )
    if real:
        yield f"without a {'route' if environment.gateway else 'gateway'} replicas are the weights: {', '.join(shares)}"


# --- Sizes ---------------------------------------------------------------------------------------------------


def _replicas(exposure: Exposure) -> Iterator[str]:
    """How many replicas the new version has from which step on, in the first wave."""
    ahead, told, before = exposure.ahead, list[str](), 0
    for moment in ahead.advances(0):
        mine = exposure.replicas(moment)[1]
        if mine != before:
            told.append(f"{mine} for {step_words(moment)}")
            before = mine
    if told:
        stable = ahead.standing.release.stable
        on = " on each cluster" if len(ahead.standing.environment.clusters) > 1 else ""
        yield f"replicas{on}: {', '.join(told)}, beside {stable.replicas} of {version_in_words(stable.version)}"


def _gpus(pools: Pools, ahead: Rehearsal) -> Iterator[str]:
    """GPUs and money from now to the end, by pool; pools for which it is the same share a line."""
    same: dict[str, list[str]] = {}
    for place in dict.fromkeys(place for moment in ahead.moments for place in moment.gpus):
        same.setdefault(_on_pool(pools, ahead, place), []).append("/".join(place))
    for said, places in same.items():
        yield f"{listed(places)}: {said}"


def _on_pool(pools: Pools, ahead: Rehearsal, place: Place) -> str:
    pool = pools.by_cluster[place[0]][place[1]]
    now = pools.recorded(ahead.standing.release).get(place, 0)
    sizes = [moment.gpus.get(place, 0) for moment in ahead.moments]
    most, last, told = max(now, *sizes), sizes[-1], [f"{now} {pool.gpu_type} now"]
    for number, (before, gpus) in enumerate(pairwise([now, *sizes])):
        event = ahead.moments[number].event
        if gpus != before:
            gone = event.kind in ("retire", "promote")
            told.append(f"{gpus} when {event.version.version} goes" if gone else f"{gpus} for {ahead.goal(number)}")
    if len(told) > _MANY:
        told = [told[0], f"{most} at most", f"{last} in the end"]
    if pool.hourly_price is None:
        return ", ".join(told)
    each = pool.hourly_price / pool.gpus
    return f"{', '.join(told)}; ${now * each:,.2f}/h now, ${most * each:,.2f}/h at most"
