"""Checks of rollout policies, by themselves and in the environments that use them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from gitops.spec.catalog import METRICS, Metric
from gitops.spec.documents import Finding
from gitops.spec.draft import Draft
from gitops.spec.environment import EmbeddedCluster, Environment
from gitops.spec.fields import Threshold, format_duration, format_threshold
from gitops.spec.problems import Path, listed, shorten
from gitops.spec.rollouts import BlueGreen, Canary, Gate, Rollout, Shadow, Step

PLACEHOLDERS = ("namespace", "model", "version")
"""What `$name` may stand for in a query; `$1` and a `$` that ends a regular expression are PromQL's own."""

_PLACEHOLDER = re.compile(r"\$(\{\w*\}?|[A-Za-z_]\w*)")
_UNIT_FORMS = {"s": "a time such as 800ms or 2s", "%": 'a percentage such as "1%"', "": "a plain number such as 40"}


def rollouts(draft: Draft) -> Iterator[Finding]:
    """Steps go up, of a canary to 100 %, and every gate has a metric and limits that make sense."""
    for name, rollout in draft.pipeline.rollouts.items():
        top: Path = ("rollouts", name)
        if isinstance(rollout, Canary | Shadow):
            yield from _growth(top, rollout.steps)
        if isinstance(rollout, Canary) and rollout.steps[-1].weight != 100:
            message = f"the last step has weight {rollout.steps[-1].weight}, not 100"
            yield Finding((*top, "steps", len(rollout.steps) - 1, "weight"), message, "add {weight: 100}")
        if isinstance(rollout, Canary) and rollout.holdback:
            yield from _held_back((*top, "holdback"), rollout)
        yield from _gates(top, rollout)


def _growth(top: Path, steps: tuple[Step, ...]) -> Iterator[Finding]:
    before = 0
    for index, step in enumerate(steps):
        if step.weight <= before:
            message = f"{step.weight} does not come after {before}"
            yield Finding((*top, "steps", index, "weight"), message, "weights go up from step to step")
        before = step.weight


def _held_back(place: Path, rollout: Canary) -> Iterator[Finding]:
    most = 100 - rollout.holdback
    if crossed := [step.weight for step in rollout.steps[:-1] if step.weight >= most]:
        message = f"stable keeps {rollout.holdback} %, and the step of {crossed[0]} % leaves it no more than that"
        yield Finding(place, message, f"make it smaller, or remove the step of {crossed[0]} %")


def _gates(top: Path, rollout: Rollout) -> Iterator[Finding]:
    taken: set[str] = set()
    for index, gate in enumerate(rollout.gates):
        place = (*top, "gates", index)
        if wrong := list(_source(place, gate)):
            yield from wrong
            continue
        if gate.key in taken:
            message = f"there is a gate on {gate.key} already"
            yield Finding((*place, "metric" if gate.metric else "name"), message, "join the two")
        taken.add(gate.key)
        yield from _limits(place, gate)


def _source(place: Path, gate: Gate) -> Iterator[Finding]:
    """A gate has either a built-in metric or a query with all that belongs to it."""
    own = {"name": gate.name, "query": gate.query, "unit": gate.unit, "worse": gate.worse}
    said = [key for key, value in own.items() if value is not None]
    if gate.metric and said:
        message = f"{gate.metric} is built in, and takes no {listed(f'`{key}`' for key in said)}"
        yield Finding((*place, said[0]), message, "that is for a query of your own; remove it, or `metric`")
    elif gate.metric:
        return
    elif not gate.name or not gate.query:
        message = "the query has no name" if gate.query else "the gate has no metric"
        yield Finding(place, message, "write `metric: error-rate`, or `name` and `query` for one of your own")
    elif gate.name in METRICS:
        yield Finding((*place, "name"), f"{gate.name} is the name of a built-in metric", "call the query otherwise")
    else:
        yield from _query((*place, "query"), gate.query)


def _query(place: Path, query: str) -> Iterator[Finding]:
    found = [match[0] for match in _PLACEHOLDER.finditer(query)]
    known = [f"${name}" for name in PLACEHOLDERS]
    for placeholder in dict.fromkeys(found):
        if placeholder not in known:
            message = f"{shorten(placeholder)} stands for nothing"
            yield Finding(place, message, f"a query may have {listed(known)}")
    if "$version" not in found:
        message = "the query does not ask for one version"
        yield Finding(place, message, "compare a label with $version, or candidate and stable would look the same")


def _limits(place: Path, gate: Gate) -> Iterator[Finding]:
    metric = gate.measure
    limits: tuple[tuple[Literal["pause", "rollback"], Threshold | None], ...] = (
        ("pause", gate.pause),
        ("rollback", gate.rollback),
    )
    wrong = False
    for name, limit in limits:
        if limit and (said := _limit(gate.key, metric, limit)):
            wrong = True
            yield Finding((*place, name), *said)
    if not gate.pause and not gate.rollback:
        yield Finding(place, "the gate has no limit", "give it `pause`, `rollback` or both")
    elif gate.pause and gate.rollback and not wrong and not _is_milder(metric, gate.pause, gate.rollback):
        pause, rollback = format_threshold(gate.pause), format_threshold(gate.rollback)
        message = f"pausing at {pause} is not milder than rolling back at {rollback}"
        worse = "higher" if metric.worse == "higher" else "lower"
        yield Finding((*place, "pause"), message, f"{worse} is worse for {gate.key}; pause has to come first")


def _limit(name: str, metric: Metric, limit: Threshold) -> tuple[str, str] | None:
    """What is wrong with one limit by itself."""
    shown = format_threshold(limit)
    if not limit.relative:
        if limit.unit == metric.unit:
            return None
        other = "" if metric.follows_load else ', or "1.1x stable"'
        return f"{shown} does not fit {name}", f"write {_UNIT_FORMS[metric.unit]}{other}"
    if metric.follows_load:
        message = f"{name} follows the load of a replica, which differs between stable and the new version"
        return message, f"write an absolute limit: {_UNIT_FORMS[metric.unit]}"
    if metric.worse == "higher" and limit.value <= 1:
        return f"{shown} would stop a version that is as good as stable", "use a factor above 1"
    if metric.worse == "lower" and limit.value >= 1:
        return f"{shown} would stop a version that is as good as stable", "use a factor below 1"
    return None


def _is_milder(metric: Metric, pause: Threshold, rollback: Threshold) -> bool:
    if pause.relative != rollback.relative:
        return True
    return pause.value < rollback.value if metric.worse == "higher" else pause.value > rollback.value


# --- Where rollouts are used -----------------------------------------------------------------------------------


def mirroring(draft: Draft) -> Iterator[Finding]:
    """Requests are mirrored by a route of a gateway: a shadow rollout needs both."""
    for unit, model in draft.models.items():
        if not isinstance(draft.pipeline.rollouts.get(model.rollout), Shadow):
            continue
        subject, name = draft.subject(unit), unit.environment
        if not model.route:
            hint = "give the model a `route`, or use a canary"
            yield subject.finding(("rollout",), "requests are mirrored on their route, and this has none", hint)
        if not draft.environments[name].gateway and name not in draft.damaged:
            hint = f"set gateway in {draft.files[name]}, or use a canary there"
            yield subject.finding(("rollout",), f"a gateway mirrors requests, and {name} has none", hint)


def holding_back(draft: Draft) -> Iterator[Finding]:
    """A sliver of the requests needs a gateway: where replicas are the weights, the least share is a whole pod's."""
    for unit, model in draft.models.items():
        rollout, name = draft.pipeline.rollouts.get(model.rollout), unit.environment
        if not isinstance(rollout, Canary | BlueGreen) or not rollout.holdback or name in draft.damaged:
            continue
        if not (model.route and draft.environments[name].gateway):
            message = f"holdback: {rollout.holdback} of {model.rollout} needs a route on a gateway, and this has none"
            hint = "without one replicas are the weights; use a rollout without `holdback`"
            yield draft.subject(unit).finding(("rollout",), message, hint)


def judgement(draft: Draft) -> Iterator[Finding]:
    """Gates can be judged wherever they hold: somebody keeps the metrics, and a window has enough of them."""
    used: dict[str, dict[str, str]] = {}
    for unit, model in draft.models.items():
        used.setdefault(unit.environment, {}).setdefault(model.rollout, unit.model)
    for name, environment in draft.environments.items():
        if name in draft.damaged:
            continue
        for policy, model_name in used.get(name, {}).items():
            rollout = draft.pipeline.rollouts.get(policy)
            if not rollout or not rollout.gates:
                continue
            if not _has_metrics(environment):
                message = f"nobody here can judge the gates of {policy}, which {model_name} is rolled out by"
                yield Finding(("monitoring",), message, "set monitoring.prometheus, or no gate ever passes", name)
                break
            yield from _windows(policy, rollout, name, environment)


def _has_metrics(environment: Environment) -> bool:
    """Embedded clusters bring simulated metrics along."""
    if environment.monitoring and environment.monitoring.prometheus:
        return True
    return all(isinstance(cluster, EmbeddedCluster) for cluster in environment.clusters.values())


def _windows(policy: str, rollout: Rollout, name: str, environment: Environment) -> Iterator[Finding]:
    """An increase needs two scrapes."""
    interval = environment.monitoring.interval if environment.monitoring else 0
    for index, gate in enumerate(rollout.gates):
        if gate.window < 2 * interval:
            window, pause = format_duration(gate.window), format_duration(interval)
            message = f"{window} is too short for {name}, where metrics are scraped every {pause}"
            place: Path = ("rollouts", policy, "gates", index, "window")
            yield Finding(place, message, "a window holds at least two scrapes")
