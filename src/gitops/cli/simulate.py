"""`gitops simulate`: what a rollout policy would do about a fault, in no time and without touching anything."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import orjson

from gitops.cli.console import OK, colored, note, write
from gitops.cli.project import load, unit_of
from gitops.errors import GitopsError
from gitops.rollout.policy import policy_of
from gitops.rollout.series import Question, look_of
from gitops.rollout.simulation import Recorded, Simulated, Trial, simulate
from gitops.rollout.timeline import Repeated, Timeline
from gitops.spec.behaviour import (
    Behaviour,
    Fault,
    Misshapen,
    Span,
    fits,
    known_traits,
    parse_change,
    parse_growth,
    trait_of,
)
from gitops.spec.fields import parse_duration
from gitops.spec.resolved import Spec
from gitops.spec.simulation import load_simulation
from gitops.view.simulation import (
    Heading,
    fault_words,
    outage_words,
    repeated_document,
    repeated_text,
    timeline_document,
    timeline_text,
)
from gitops.world.files import read_simulation

STABLE = "stable"
"""What the running version is called where nobody names it."""
_FORM = "such as latency=1.3x,from=5m, errors=2%, leak=gpu-memory:5%/h or outage=metrics,from=10m,until=25m"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options of the command, as they were written."""

    unit: str
    faults: Sequence[str] = ()
    requests_per_second: float | None = None
    repeat: int = 1
    seed: int | None = None
    data: Path | None = None
    prometheus: str = ""
    begin: str = ""
    end: str = ""
    stable: str = ""
    candidate: str = ""
    form: str = "text"


def run(project: Path, wanted: Wanted) -> int:
    """Simulate, and print how it goes. A rollout that is rolled back is a success of the simulation."""
    spec = load(project)
    trial = _trial(spec, wanted)
    _check(wanted)
    if wanted.data or wanted.prometheus:
        heading, timelines = _played(spec, trial, wanted)
    else:
        heading, timelines = _simulated(spec, trial, wanted, project)
    _print(heading, timelines, wanted.form)
    return OK


# --- What is asked -------------------------------------------------------------------------------------------


def _trial(spec: Spec, wanted: Wanted) -> Trial:
    unit = unit_of(spec, wanted.unit)
    model, settings = spec.models[unit], spec.environments[unit.environment]
    rollout = spec.pipeline.rollouts[model.rollout]
    stable, candidate = wanted.stable or STABLE, wanted.candidate or model.version
    if stable == candidate:
        raise GitopsError("stable and candidate are the same version", where=stable, hint="name another --candidate")
    return Trial(
        unit=unit,
        policy=policy_of(rollout, settings, model.serve.load_time),
        gates=rollout.gates,
        stable=stable,
        candidate=candidate,
        runtime=model.serve.runtime,
        namespace=spec.namespace(unit.environment),
        load_time=model.serve.load_time,
        interval=settings.monitoring.interval if settings.monitoring else 15,
    )


def _check(wanted: Wanted) -> None:
    """Options that contradict one another."""
    if wanted.data and wanted.prometheus:
        raise GitopsError("--data and --prometheus are two sources", hint="name one of them")
    if not (wanted.data or wanted.prometheus):
        if wanted.begin or wanted.end:
            raise GitopsError("--from and --to belong to --prometheus", hint="or name a fault's own times, from=5m")
        return
    simulated = (("--fault", wanted.faults), ("--requests-per-second", wanted.requests_per_second is not None))
    for flag, given in (*simulated, ("--repeat", wanted.repeat > 1), ("--seed", wanted.seed is not None)):
        if given:
            raise GitopsError(f"{flag} is for simulated traffic", hint="leave it out: recorded data are as they are")


def parse_fault(text: str, own: Mapping[str, float]) -> Fault | Span:
    """One `--fault`; a Span is an outage of the metrics. Raises GitopsError that says what is valid."""
    where = f"--fault {text}"
    first, *rest = text.split(",")
    name, _, value = first.partition("=")
    span = _span(rest, where)
    if name == "outage":
        if value != "metrics":
            raise GitopsError(f"there is no outage of {value or 'nothing'}", where=where, hint="write outage=metrics")
        return span
    if name == "leak":
        name, _, value = value.partition(":")
        value = f"+{value.removeprefix('+')}"
    trait = trait_of(name, own)
    if not trait:
        raise GitopsError(f"{name or 'nothing'} is not known", where=where, hint=known_traits(name, own))
    try:
        change = parse_growth(value) if value.startswith("+") else parse_change(value)
    except Misshapen as error:
        raise GitopsError(f"{value or 'nothing'} is not {error.noun}", where=where, hint=error.form) from None
    if misfit := fits(trait, change):
        raise GitopsError(f"{change} does not fit: {misfit}", where=where, hint=f"write it {_FORM}")
    return Fault(trait, change, span)


def _span(parts: Sequence[str], where: str) -> Span:
    found: dict[str, int] = {}
    for part in parts:
        key, _, value = part.partition("=")
        if key not in ("from", "until") or key in found:
            wrong = f"{key} is there twice" if key in found else f"{key or 'nothing'} is not known"
            raise GitopsError(wrong, where=where, hint="a fault may have from=5m and until=20m")
        try:
            seconds = parse_duration(value)
        except ValueError:
            hint = "write it like 90s, 15m or 1h30m"
            raise GitopsError(f"{value or 'nothing'} is not a duration", where=where, hint=hint) from None
        assert isinstance(seconds, int)
        found[key] = seconds
    span = Span(found.get("from", 0), found.get("until"))
    if span.ends is not None and span.ends <= span.begins:
        raise GitopsError("it ends before it begins", where=where, hint="both count from the first request")
    return span


# --- Simulated servers ---------------------------------------------------------------------------------------


def _simulated(spec: Spec, trial: Trial, wanted: Wanted, project: Path) -> tuple[Heading, list[Timeline]]:
    simulation = load_simulation(read_simulation(project), spec)
    behaviours = {
        version: _loaded(simulation.behaviour(trial.unit, version, trial.runtime), wanted)
        for version in (trial.stable, trial.candidate)
    }
    own = {name: level for name, level in behaviours[trial.stable].levels.items() if not trait_of(name, {})}
    wrong = [parse_fault(text, own) for text in wanted.faults]
    faults = tuple(one for one in wrong if isinstance(one, Fault))
    outages = tuple(one for one in wrong if isinstance(one, Span))
    candidate = behaviours[trial.candidate].with_faults(faults, outages)
    behaviours[trial.candidate] = candidate
    first = simulation.seed if wanted.seed is None else wanted.seed
    seeds = tuple(range(first, first + wanted.repeat))
    words = (*map(fault_words, candidate.faults), *map(outage_words, candidate.outages))
    traffic = f"{candidate.levels['requests-per-second']:g} requests/s"
    timelines = []
    for seed in seeds:
        timelines.append(simulate(trial, Simulated(trial.unit, behaviours, seed)))
        if len(timelines) % 50 == 0 and sys.stderr.isatty():
            note(f"{len(timelines)} of {len(seeds)} rollouts simulated")
    return _heading(spec, trial, traffic, words, seeds), timelines


def _loaded(behaviour: Behaviour, wanted: Wanted) -> Behaviour:
    if wanted.requests_per_second is None:
        return behaviour
    return replace(behaviour, levels={**behaviour.levels, "requests-per-second": wanted.requests_per_second})


def _heading(spec: Spec, trial: Trial, traffic: str, faults: tuple[str, ...], seeds: tuple[int, ...]) -> Heading:
    policy = spec.models[trial.unit].rollout
    return Heading(str(trial.unit), policy, trial.stable, trial.candidate, traffic, faults, seeds)


# --- Recorded data -------------------------------------------------------------------------------------------


def _played(spec: Spec, trial: Trial, wanted: Wanted) -> tuple[Heading, list[Timeline]]:
    from gitops.world.recorded import read_recording

    if wanted.data:
        recorded, source = read_recording(wanted.data, trial.stable, trial.candidate), str(wanted.data)
    else:
        recorded, source = _asked(trial, wanted), wanted.prometheus
    span = recorded.span(trial.candidate)
    if span is None:
        raise GitopsError("nothing is recorded of the candidate", where=source, hint="choose another time or version")
    # It is ready at once, so that its first look is the first one that was recorded of it.
    begin, end = span[0] - trial.every, span[1]
    trial = replace(trial, look=recorded.length, load_time=0)
    heading = _heading(spec, trial, f"recorded in {source}", (), (0,))
    return heading, [simulate(trial, recorded, begin=begin, until=end)]


def _asked(trial: Trial, wanted: Wanted) -> Recorded:
    if not (wanted.stable and wanted.candidate):
        hint = "add --stable VERSION and --candidate VERSION"
        raise GitopsError("Prometheus has to know which versions to compare", hint=hint)
    begin, end = (_instant(flag, text) for flag, text in (("--from", wanted.begin), ("--to", wanted.end)))
    look = look_of(trial.interval, 0)
    if not trial.gates:
        raise GitopsError("this policy has no gates", where=str(trial.unit), hint="there is nothing to compare")
    if end - begin < look:
        raise GitopsError("--to is not after --from", hint=f"the shortest look is {look} s")
    questions = [
        Question(trial.unit, trial.namespace, version, trial.runtime, gate.key, begin, look, gate.query or "")
        for version in (trial.stable, trial.candidate)
        for gate in trial.gates
    ]
    from gitops.world.prometheus import PrometheusSource
    from gitops.world.recorded import record

    return record(PrometheusSource(wanted.prometheus, interval=trial.interval), questions, end)


def _instant(flag: str, text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError
    except ValueError:
        hint = "write it like 2026-03-01T12:00:00Z"
        raise GitopsError(f"{text or 'nothing'} is not an instant", where=flag, hint=hint) from None
    return int(moment.timestamp())


# --- Output --------------------------------------------------------------------------------------------------


def _print(heading: Heading, timelines: Sequence[Timeline], form: str) -> None:
    many = len(timelines) > 1
    if form == "json":
        repeated, one = repeated_document, timeline_document
        document = repeated(heading, Repeated(tuple(timelines))) if many else one(heading, timelines[0])
        write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
        return
    color = colored(sys.stdout.isatty())
    if many:
        write(repeated_text(heading, Repeated(tuple(timelines)), color=color))
        return
    width = max(shutil.get_terminal_size((100, 24)).columns, 60)
    write(timeline_text(heading, timelines[0], width=width, color=color))
