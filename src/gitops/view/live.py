"""The live view of `gitops apply --wait` and `gitops run`: a block for each rollout under way, then the last events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from gitops.rollout.machine import Decision
from gitops.rollout.observation import Observation
from gitops.rollout.policy import Policy
from gitops.rollout.state import Candidate, RolloutState
from gitops.rollout.verdicts import Result, Verdict
from gitops.values import UnitKey
from gitops.view.passes import Pass
from gitops.view.standing import (
    Share,
    gate_words,
    ladder,
    mark,
    phase_words,
    shares,
    traffic_words,
    wave_words,
)
from gitops.view.terminal import Colour, Line, display_width, fitted, pad, visible
from gitops.view.wording import count

EVENTS_SHOWN = 5
"""So many of the last events stand below the rollouts; older ones have scrolled away above."""

_BAR = 20
_LABEL = 9
_NARROW = 60


class Size(NamedTuple):
    """Of the terminal, in columns and lines."""

    width: int
    height: int


def frame(done: Pass | None, events: Sequence[Line], size: Size, now: int, status: str = "") -> list[Line]:
    """What the terminal shows, never wider nor higher than it is, the last line of the terminal left free.

    `now` is the present moment on the clock of the pass, so that what is left goes down between two passes; `status`
    says what is being done at this moment. When it is too high, gates that pass go first, then everything but a line
    for each rollout, then whole rollouts.
    """
    if done is None:
        head = [Line("Waiting for the first pass", "bold")]
        return _fit([*head, *_below(events[-EVENTS_SHOWN:], status)], size)
    blocks = [_Block.of(done, unit, decision) for unit, decision in done.decisions.items()]
    rollouts = [block for block in blocks if block is not None]
    top, bottom = _head(done, rollouts, now), _below(events[-EVENTS_SHOWN:], status)
    forms: tuple[Callable[[_Block], list[Line]], ...] = (
        lambda block: [Line(), *block.full(now, size.width)],
        lambda block: [Line(), *block.full(now, size.width, passing=False)],
        lambda block: [block.line(now)],
    )
    room = size.height - 1
    for form in forms:
        shown = [*top, *(line for block in rollouts for line in form(block)), *_idle(done), *bottom]
        if len(shown) <= room:
            return _fit(shown, size)
    return _fit(_cut(top, [block.line(now) for block in rollouts], bottom, room), size)


def _fit(lines: Sequence[Line], size: Size) -> list[Line]:
    # The last column stays free: some terminals wrap when it is written.
    return [Line(fitted(visible(line.text), size.width - 1), line.colour) for line in lines[: max(size.height - 1, 1)]]


def _cut(top: list[Line], lines: list[Line], bottom: list[Line], room: int) -> list[Line]:
    """As many rollouts as there is room for; events give way first."""
    for rest in (bottom, bottom[-2:], []):
        left = room - len(top) - len(rest)
        if left >= len(lines):
            return [*top, *lines, *rest]
    shown = max(left - 1, 0)
    return [*top, *lines[:shown], Line(f"… and {len(lines) - shown} more")]


# --- Above and below -----------------------------------------------------------------------------------------


def _head(done: Pass, rollouts: Sequence[_Block], now: int) -> list[Line]:
    time = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    words = f"{count(len(rollouts), 'rollout')} under way" if rollouts else "No rollout is under way"
    trouble = [Line(f"! {cluster} cannot be seen: {why}", "red") for cluster, why in done.blind.items()]
    trouble += [Line(f"! {one.unit} on {one.cluster}: {one.message}", "red") for one in done.failures]
    return [Line(f"{time}   {words}", "bold"), *trouble]


def _idle(done: Pass) -> list[Line]:
    """What has not started, and why not."""
    waits = [
        (f"{unit}", decision.sentence)
        for unit, decision in done.decisions.items()
        if decision.state.candidate is None and done.standings[unit].target != decision.state.stable
    ]
    waits += [(f"{unit}", why) for unit, why in done.left_alone.items()]
    if not waits:
        return []
    width = max(display_width(visible(unit)) for unit, _ in waits)
    return [Line(), Line("Waiting", "bold"), *(Line(f"  {pad(visible(unit), width)}  {why}") for unit, why in waits)]


def _below(events: Sequence[Line], status: str) -> list[Line]:
    found = [Line(), Line("Last events", "bold"), *(Line(f"  {text}", colour) for text, colour in events)]
    return [*(found if events else []), *([Line(), Line(f"… {status}")] if status else [])]


# --- One rollout ---------------------------------------------------------------------------------------------


class _Block(NamedTuple):
    """One rollout under way, with all that its lines are made from."""

    unit: UnitKey
    policy: Policy
    state: RolloutState
    candidate: Candidate
    decision: Decision
    seen: Observation | None

    @classmethod
    def of(cls, done: Pass, unit: UnitKey, decision: Decision) -> _Block | None:
        candidate = decision.state.candidate
        if candidate is None:
            return None
        policy = done.standings[unit].policy
        return cls(unit, policy, decision.state, candidate, decision, done.observations.get(unit))

    def full(self, now: int, width: int, *, passing: bool = True) -> list[Line]:
        """All that is known; without `passing` only the gates that do not pass."""
        rows = [
            ("steps", ladder(self.policy, self.candidate)),
            ("traffic", self._traffic(width)),
            ("now", self._phase(now)),
            ("ready", self._ready()),
        ]
        head = Line(f"{self._name()}  {self.policy.strategy}", self._colour or "bold")
        texts = (Line(f"  {pad(label, _LABEL)}{text}") for label, text in rows if text)
        return [head, *texts, *self._gates(passing=passing)]

    def line(self, now: int) -> Line:
        """The same in one line."""
        at = ladder(self.policy, self.candidate)
        return Line(f"{self._name()}  {at}  {self._phase(now)}", self._colour)

    def _name(self) -> str:
        stable = self.state.stable.words if self.state.stable else "nothing"
        return f"{self.unit}  {stable} → {self.candidate.version.words}"

    @property
    def _colour(self) -> Colour:
        return "yellow" if self.candidate.pause else ""

    def _traffic(self, width: int) -> str:
        found = shares(self.state, self.policy.waves)
        present = found[min(self.candidate.wave, len(found) - 1)]
        words = traffic_words(present)
        if width < _NARROW:
            return words
        return f"{_bar(present, self.candidate.version.version)}  {words}"

    def _phase(self, now: int) -> str:
        detail = "" if self.decision.event else self.decision.sentence
        return phase_words(self.policy, self.candidate, now, detail)

    def _ready(self) -> str:
        """Percent of all traffic that both can carry; it is not known until somebody has looked."""
        if self.seen is None:
            return ""
        stable = self.state.stable.words if self.state.stable else ""
        pairs = ((self.candidate.version.words, self.seen.ready), (stable, self.seen.stable_ready))
        known = [f"{version} for {ready} %" for version, ready in pairs if version and ready is not None]
        place = wave_words(self.policy, self.candidate, " in ")
        return f"{', '.join(known)} of all traffic{place}" if known else ""

    def _gates(self, *, passing: bool) -> list[Line]:
        """What the gates say at the present weight: after a step nobody has asked them yet."""
        results = self.seen.results if self.seen and self.candidate.load and not self.decision.event else ()
        shown = [one for one in results if passing or mark(one) != "✓"]
        names = [visible(one.gate) for one in shown]
        width = max(map(display_width, names), default=0)
        return [
            Line(f"  {mark(one)} {pad(name, width)}  {gate_words(one)}", _gate_colour(one))
            for one, name in zip(shown, names, strict=True)
        ]


def _bar(found: Sequence[Share], candidate: str) -> str:
    """The candidate's part of all requests, answered or mirrored; never empty and never full without reason."""
    percent = next((max(one.weight, one.mirror) for one in found if one.version == candidate), 0)
    filled = min(max(percent * _BAR // 100, 1), _BAR) if percent else 0
    return "█" * filled + "░" * (_BAR - filled)


def _gate_colour(result: Result) -> Colour:
    if not isinstance(result, Verdict):
        return "yellow"
    return {"pass": "green", "warn": "yellow", "fail": "red"}.get(result.status, "")  # type: ignore[return-value]
