"""`gitops simulate`: a rollout as a timeline, or many as a summary; for people and for programs."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import quantiles

from gitops.rollout.timeline import Moment, Repeated, Timeline
from gitops.spec.behaviour import Fault, Span
from gitops.spec.fields import format_duration
from gitops.view.terminal import Colour, Line, pad, paint

_COLOURS: dict[str, Colour] = {
    "pause": "yellow",
    "paused": "yellow",
    "unfinished": "yellow",
    "roll-back": "red",
    "rolled back": "red",
    "promote": "green",
    "promoted": "green",
}
_LEAST_WORDS = 30
"""Columns that are left for words, however narrow the terminal."""


@dataclass(frozen=True, slots=True)
class Heading:
    """What was simulated."""

    unit: str
    policy: str
    stable: str
    candidate: str
    traffic: str
    """Where the traffic comes from, such as `60 requests/s`."""
    faults: tuple[str, ...]
    seeds: tuple[int, ...]
    """One for each rollout."""


def fault_words(fault: Fault) -> str:
    """`latency x1.3 from 5m`; times count from the candidate's first request."""
    return f"{fault.trait} {fault.change}{_span_words(fault.span)}"


def outage_words(span: Span) -> str:
    """`no metrics from 10m until 25m`"""
    return f"no metrics{_span_words(span)}"


def _span_words(span: Span) -> str:
    begins = f" from {format_duration(span.begins)}" if span.begins else ""
    return begins + (f" until {format_duration(span.ends)}" if span.ends is not None else "")


# --- For people ----------------------------------------------------------------------------------------------


def timeline_text(heading: Heading, timeline: Timeline, *, width: int = 100, color: bool = False) -> str:
    """A line for each decision, longer sentences folded below themselves, and the end."""
    lines = [*_head(heading), Line(), *_moments(timeline.moments, width), Line(), *_end(timeline, width)]
    return paint(lines, color=color)


def repeated_text(heading: Heading, repeated: Repeated, *, color: bool = False) -> str:
    """How the rollouts ended, and how soon a fault was found."""
    return paint([*_head(heading), Line(), *_counts(heading, repeated), *_detection(repeated)], color=color)


def _head(heading: Heading) -> Iterator[Line]:
    yield Line(f"{heading.unit}: {heading.candidate} by the policy {heading.policy}", "bold")
    faults = f"wrong with {heading.candidate}: {'; '.join(heading.faults)}" if heading.faults else "nothing is wrong"
    yield Line(f"{heading.traffic}, {faults}")
    if any(" from " in fault or " until " in fault for fault in heading.faults):
        yield Line("(its times count from its first request)")


def _moments(moments: Sequence[Moment], width: int) -> Iterator[Line]:
    cells = [("TIME", "TRAFFIC", "DECISION"), *((_time(one), _traffic(one), one.kind) for one in moments)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    sentences = ["WHY", *(one.sentence for one in moments)]
    for (time, traffic, kind), sentence in zip(cells, sentences, strict=True):
        front = f"{pad(time, widths[0], right=True)}  {pad(traffic, widths[1], right=True)}  {pad(kind, widths[2])}  "
        for index, words in enumerate(_folded(sentence, width - len(front))):
            yield Line((front if not index else " " * len(front)) + words, _COLOURS.get(kind, ""))


def _folded(sentence: str, room: int) -> list[str]:
    """A sentence of several parts has each on a line of its own, and none is wider than the room."""
    return [line for part in sentence.split("; ") for line in _wrapped(part, room, indent="  ")] or [""]


def _wrapped(text: str, room: int, indent: str = "") -> list[str]:
    """Lines no wider than the room; a percent sign stays with its number."""
    lines = textwrap.wrap(text.replace(" %", "\N{NO-BREAK SPACE}%"), max(room, _LEAST_WORDS), subsequent_indent=indent)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]


def _time(moment: Moment) -> str:
    return format_duration(moment.at)


def _traffic(moment: Moment) -> str:
    shown = f"{moment.mirror} % mirrored" if moment.mirror else f"{moment.weight} %"
    return f"wave {moment.wave + 1}, {shown}" if moment.wave else shown


def _end(timeline: Timeline, width: int) -> Iterator[Line]:
    colour = _COLOURS[timeline.outcome]
    yield from (Line(line, colour) for line in _wrapped(ending(timeline), width))
    if timeline.onset is not None:
        yield Line(_found(timeline))


def ending(timeline: Timeline) -> str:
    """How it ended, in one sentence."""
    after, at = format_duration(timeline.seconds), f"at {timeline.load} %"
    if timeline.outcome == "promoted":
        return f"Promoted after {after}."
    words = {"rolled back": "Rolled back", "paused": "Still paused, until somebody decides,"}
    return f"{words.get(timeline.outcome, 'Not over')} after {after} {at}: {timeline.sentence}"


def _found(timeline: Timeline) -> str:
    if timeline.detected is not None:
        return f"It was first stopped {format_duration(timeline.detected)} after the fault began."
    return "The fault was not found." if timeline.stopped is None else "It was stopped before the fault began."


def _counts(heading: Heading, repeated: Repeated) -> Iterator[Line]:
    total = len(repeated.timelines)
    yield Line(f"{total} rollouts with other luck (--seed {heading.seeds[0]} to {heading.seeds[-1]}):")
    found = Counter(one.outcome for one in repeated.timelines)
    widest = max(map(len, found))
    for outcome, count in found.most_common():
        seed = next(seed for seed, one in zip(heading.seeds, repeated.timelines, strict=True) if one.outcome == outcome)
        loads = Counter(one.load for one in repeated.ended(outcome))
        where = ", ".join(f"at {load} %: {times}" for load, times in sorted(loads.items()))
        notes = f"such as --seed {seed}" if outcome == "promoted" else f"{where}; such as --seed {seed}"
        yield Line(
            f"  {pad(outcome, widest)}  {pad(str(count), len(str(total)), right=True)}  ({notes})", _COLOURS[outcome]
        )


def _detection(repeated: Repeated) -> Iterator[Line]:
    if any(one.onset is not None for one in repeated.timelines):
        found = [one.detected for one in repeated.timelines if one.detected is not None]
        yield Line(_detected(found, len(repeated.timelines)))
    if repeated.early:
        verb = "was" if repeated.early == 1 else "were"
        yield Line(f"{repeated.early} {verb} stopped while nothing was wrong.")


def _detected(found: Sequence[int], total: int) -> str:
    if not found:
        return "The fault was never found."
    low, middle, high = quantiles(found, n=4, method="inclusive") if len(found) > 1 else (found[0],) * 3
    shown = [format_duration(round(one / 60) * 60) for one in (low, middle, high)]
    half = f" (half of them after {shown[0]} to {shown[2]})" if shown[0] != shown[2] else ""
    return f"The fault was found in {len(found)} of {total}, {shown[1]} after it began in the median{half}."


# --- For programs --------------------------------------------------------------------------------------------


def timeline_document(heading: Heading, timeline: Timeline) -> dict[str, object]:
    """One rollout; times in seconds, from when it was due."""
    return {
        **_document(heading),
        **_result(timeline),
        "sentence": timeline.sentence,
        "events": [
            {
                "at": one.at,
                "decision": one.kind,
                "weight": one.weight,
                "mirror": one.mirror,
                "wave": one.wave,
                "sentence": one.sentence,
                "evidence": list(one.evidence),
            }
            for one in timeline.moments
        ],
    }


def repeated_document(heading: Heading, repeated: Repeated) -> dict[str, object]:
    """Many rollouts: how they ended, and each in short."""
    outcomes = Counter(one.outcome for one in repeated.timelines)
    rollouts = [{"seed": seed, **_result(one)} for seed, one in zip(heading.seeds, repeated.timelines, strict=True)]
    return {
        **_document(heading),
        "outcomes": dict(outcomes.most_common()),
        "stoppedWithoutFault": repeated.early,
        "medianDetectionSeconds": repeated.detection,
        "rollouts": rollouts,
    }


def _document(heading: Heading) -> dict[str, object]:
    return {
        "schema": "gitops/simulation/v1",
        "unit": heading.unit,
        "policy": heading.policy,
        "stable": heading.stable,
        "candidate": heading.candidate,
        "traffic": heading.traffic,
        "faults": list(heading.faults),
    }


def _result(timeline: Timeline) -> dict[str, object]:
    return {
        "outcome": timeline.outcome,
        "seconds": timeline.seconds,
        "load": timeline.load,
        "faultBegan": timeline.onset,
        "stopped": timeline.stopped,
        "detectedAfter": timeline.detected,
    }
