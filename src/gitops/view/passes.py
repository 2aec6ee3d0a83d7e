"""Passes over the rollouts as lines, one an event: when, which unit, which version, how much traffic, what, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from gitops.rollout.events import Event
from gitops.rollout.machine import Decision
from gitops.rollout.observation import Observation
from gitops.rollout.policy import Policy
from gitops.rollout.state import ModelVersion, RolloutState
from gitops.rollout.verdicts import Result, Verdict
from gitops.values import UnitKey
from gitops.view.measured import in_short
from gitops.view.standing import answer, pause_end, phase_words, share, span
from gitops.view.terminal import Colour, Line, display_width, pad, paint, visible

_WIDTHS = (20, 5, 5, 9)
_SHARE = 2
"""The column that stands at the right."""


class Failure(Protocol):
    """What could not be done on a cluster."""

    @property
    def unit(self) -> str: ...
    @property
    def cluster(self) -> str: ...
    @property
    def message(self) -> str: ...


class Standing(Protocol):
    """Where a unit stood before the pass."""

    @property
    def policy(self) -> Policy: ...
    @property
    def state(self) -> RolloutState: ...
    @property
    def target(self) -> ModelVersion: ...


class Pass(Protocol):
    """What a view reads of a pass."""

    @property
    def now(self) -> int: ...
    @property
    def standings(self) -> Mapping[UnitKey, Standing]: ...
    @property
    def observations(self) -> Mapping[UnitKey, Observation]: ...
    @property
    def decisions(self) -> Mapping[UnitKey, Decision]: ...
    @property
    def blind(self) -> Mapping[str, str]: ...
    @property
    def left_alone(self) -> Mapping[UnitKey, str]: ...
    @property
    def settled(self) -> Mapping[UnitKey, tuple[str, ...]]: ...
    @property
    def failures(self) -> Sequence[Failure]: ...


class Entry(NamedTuple):
    """One line before it is aligned."""

    unit: str
    version: str
    share: str
    kind: str
    words: str
    colour: Colour = ""


def pass_text(done: Pass, *, holds: bool, color: bool = False) -> str:
    """A line for each decision (with `holds` also for units that stay where they are), and for each trouble."""
    entries = entries_of(done, lambda _unit, decision: holds or decision.event is not None)
    return paint(Columns().lines(done.now, entries), color=color)


class Wanted(Protocol):
    """Whether a decision is worth a line."""

    def __call__(self, unit: UnitKey, decision: Decision, /) -> bool: ...


class Columns:
    """Aligns lines; columns only ever grow, so that lines that come later stand below those before."""

    def __init__(self) -> None:
        self._widths = list(_WIDTHS)

    def lines(self, now: int, entries: Iterable[Entry]) -> list[Line]:
        """Lines of this moment."""
        found = [(one, [visible(text) for text in one[:4]]) for one in entries]
        for _, cells in found:
            self._widths = [max(old, display_width(cell)) for old, cell in zip(self._widths, cells, strict=True)]
        time = datetime.fromtimestamp(now, UTC).strftime("%H:%M:%S")
        return [Line(f"{time}  {self._row(cells)}{one.words}".rstrip(), one.colour) for one, cells in found]

    def _row(self, cells: Sequence[str]) -> str:
        pairs = enumerate(zip(cells, self._widths, strict=True))
        padded = (pad(cell, width, right=i == _SHARE) for i, (cell, width) in pairs)
        return "".join(f"{cell}  " for cell in padded)


# --- Words ---------------------------------------------------------------------------------------------------


def entries_of(done: Pass, wanted: Wanted) -> Iterator[Entry]:
    """Everything of a pass that has a line."""
    for unit, clusters in done.settled.items():
        yield Entry(str(unit), "", "", "settle", f"brought to where Git says on {', '.join(clusters)}")
    for unit, decision in done.decisions.items():
        if wanted(unit, decision):
            yield _entry(done, unit, decision)
    for unit, why in done.left_alone.items():
        yield Entry(str(unit), "", "", "left alone", why, "yellow")
    for cluster, why in done.blind.items():
        yield Entry(cluster, "", "", "not seen", why, "red")
    for failure in done.failures:
        yield Entry(failure.unit, "", "", "failed", f"{failure.cluster}: {failure.message}", "red")


_COLOURS: Mapping[str, Colour] = {"roll-back": "red", "pause": "yellow", "promote": "green"}


def _entry(done: Pass, unit: UnitKey, decision: Decision) -> Entry:
    here, event, seen = done.standings[unit], decision.event, done.observations.get(unit)
    candidate, results = decision.state.candidate, seen.results if seen else ()
    if event is None:
        version = candidate.version if candidate else here.target
        return Entry(str(unit), version.version, share(candidate), "hold", visible(_hold_words(done, unit, decision)))
    own = candidate if candidate and candidate.version == event.version else None
    shown = {"promote": "100 %", "roll-back": "0 %"}.get(event.kind, share(own))
    words = visible(event_words(unit, decision.state, event, here.policy, results))
    return Entry(str(unit), event.version.version, shown, event.kind, words, _COLOURS.get(event.kind, ""))


def _hold_words(done: Pass, unit: UnitKey, decision: Decision) -> str:
    """What it waits for, and what its gates say meanwhile."""
    candidate, here, seen = decision.state.candidate, done.standings[unit], done.observations.get(unit)
    if candidate is None:
        return decision.sentence.removeprefix(f"{here.target.words} ")
    words = phase_words(here.policy, candidate, done.now, decision.sentence)
    gates = in_short([one.sentence for one in seen.results]) if seen and candidate.load and not candidate.pause else ""
    return f"{words}; {gates}" if gates and gates not in words else words


def event_words(
    unit: UnitKey, state: RolloutState, event: Event, policy: Policy, results: Sequence[Result] = ()
) -> str:
    """Why, and what it means: what to know first comes first, what to do comes last. `state` is the one afterwards."""
    measured = in_short([one.sentence for one in results])
    reason = event.reason.removeprefix(f"{event.version.words} ")
    match event.kind:
        case "advance":
            return "; ".join(part for part in (measured, _rest(state)) if part)
        case "promote":
            warm = f", which stays warm for {span(event.until - event.at)}" if event.previous else ""
            said = f"replaces {event.previous or 'nothing'}{warm}"
            return f"{said}{f', promoted by {event.by}' if event.by else ''}{f'; {measured}' if measured else ''}"
        case "roll-back":
            return _roll_back(unit, state, event)
        case "pause" if state.candidate:
            return f"{event.reason}; {pause_end(policy, state.candidate)} ({answer('paused').format(unit)})"
        case "approve":
            about = event.version.digest, event.runs
            given = len({one.by for one in state.approvals if (one.digest, one.runs) == about})
            return f"{reason} ({given} of {policy.approvals})"
        case _:
            return reason


def _rest(state: RolloutState) -> str:
    if state.stable is None:
        return ""
    kept = state.traffic.stable
    return f"{state.stable.words} keeps {kept} %" if kept else f"{state.stable.words} stays ready without traffic"


def _roll_back(unit: UnitKey, state: RolloutState, event: Event) -> str:
    serves = f"{state.stable.words} serves all traffic" if state.stable else "nobody serves"
    retry = f"; {event.version.words} stays away until gitops retry {unit}" if event.rejects else ""
    waits = {"person": f"; {event.version.words} waits for gitops retry {unit}", "": ""}
    return f"{serves}; {event.reason}{retry or waits.get(event.waits, '; it starts again once it can be seen')}"


def outcome(rejected: Mapping[UnitKey, str], waiting: Mapping[UnitKey, str]) -> Iterator[str]:
    """How waiting for rollouts ended: what was rejected, what waits for whom, and what a person can do next."""
    for unit, why in rejected.items():
        yield visible(f"error: {unit}: {why}")
    for unit in list(rejected)[:1]:
        yield visible(f"  next: gitops history {unit} --full says what was measured")
        yield visible(f"  then: name a better version in the spec, or gitops retry {unit}")
    for unit, why in waiting.items():
        yield visible(f"{unit}: {why}")
    hints: dict[str, UnitKey] = {}
    for unit, why in waiting.items():
        hints.setdefault(answer(why), unit)
    yield from (visible(f"  next: {hint.format(unit)}") for hint, unit in hints.items() if hint)


# --- For programs --------------------------------------------------------------------------------------------


def pass_document(done: Pass) -> dict[str, object]:
    """The pass for programs."""
    return {
        "schema": "gitops/pass/v1",
        "time": datetime.fromtimestamp(done.now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "decisions": [_decision(done, unit, decision) for unit, decision in done.decisions.items()],
        "settled": {str(unit): list(clusters) for unit, clusters in done.settled.items()},
        "leftAlone": {str(unit): why for unit, why in done.left_alone.items()},
        "notSeen": dict(done.blind),
        "failures": [{"unit": f.unit, "cluster": f.cluster, "message": f.message} for f in done.failures],
    }


def _decision(done: Pass, unit: UnitKey, decision: Decision) -> dict[str, object]:
    candidate, seen = decision.state.candidate, done.observations.get(unit)
    return {
        "unit": str(unit),
        "decision": decision.kind,
        "sentence": decision.sentence,
        "evidence": list(decision.evidence),
        "stable": decision.state.stable.version if decision.state.stable else "",
        "candidate": candidate.version.version if candidate else "",
        "phase": decision.state.phase,
        "weight": candidate.weight if candidate else 0,
        "mirror": candidate.mirror if candidate else 0,
        "refused": decision.refused,
        "target": done.standings[unit].target.version,
        "step": candidate.step if candidate else 0,
        "wave": candidate.wave + 1 if candidate else 0,
        "ready": seen.ready if seen else None,
        "gates": [
            {
                "gate": result.gate,
                "verdict": result.status if isinstance(result, Verdict) else "query failed",
                "sentence": result.sentence,
            }
            for result in (seen.results if seen else ())
        ],
    }
