"""All gates together: what the results of one look mean for the rollout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gitops.rollout.verdicts import QueryFailure, Result, Verdict


@dataclass(frozen=True, slots=True)
class Judgement:
    """Results by what they ask for. A gate without any result is among `missing`, as having no data."""

    failed: tuple[Result, ...] = ()
    warned: tuple[Result, ...] = ()
    blind: tuple[Result, ...] = ()
    """Metrics outages: nobody can judge, whatever the model does."""
    missing: tuple[Result, ...] = ()
    few: tuple[Result, ...] = ()
    known: tuple[Result, ...] = ()
    """Without data, as a person knows who resumed the rollout: no reason to pause again, and no pass either."""
    held: tuple[Result, ...] = ()
    """Beyond a limit through no fault of the candidate: it waits at its weight, and nobody is rejected for it."""

    doubtful: tuple[Result, ...] = ()
    """Passes of values beyond a limit by what may be chance: enough to go on, not to be good again after a pause."""

    @property
    def passes(self) -> bool:
        """Every gate has a result, and every result is a pass."""
        stops = (self.failed, self.warned, self.blind, self.missing, self.few, self.known, self.held)
        return not any(stops)

    @property
    def acceptable(self) -> tuple[str, ...]:
        """What a person who resumes now accepts, as `Candidate.tolerated` keeps it."""
        unseen = (*self.blind, *self.missing, *self.known)
        beyond = (one.gate for one in (*self.warned, *self.held))
        return (*beyond, *map(_too_few, self.few), *dict.fromkeys(map(_no_data, unseen)))


def judge(gates: Sequence[str], results: Sequence[Result], tolerated: Sequence[str] = ()) -> Judgement:
    """Sort the results. What is `tolerated` a person accepted: warnings and too few samples count as passes then,
    while a gate without data still has to get some, however long that takes.
    """
    seen = {one.gate for one in results}
    absent = tuple(Verdict(gate, "no data", f"{gate}: no data") for gate in gates if gate not in seen)
    failures = [one for one in results if isinstance(one, QueryFailure)]
    missing = (*_with(results, "no data"), *(one for one in failures if not one.outage), *absent)
    known = tuple(one for one in (*missing, *failures) if _no_data(one) in tolerated)
    return Judgement(
        failed=_with(results, "fail"),
        warned=tuple(one for one in _with(results, "warn") if one.gate not in tolerated),
        blind=tuple(one for one in failures if one.outage and one not in known),
        missing=tuple(one for one in missing if one not in known),
        few=tuple(one for one in _with(results, "too few samples") if _too_few(one) not in tolerated),
        known=tuple(dict.fromkeys(known)),
        doubtful=tuple(one for one in _with(results, "pass") if isinstance(one, Verdict) and one.doubtful),
        held=tuple(one for one in _with(results, "hold") if one.gate not in tolerated),
    )


def sentences(results: Sequence[Result]) -> str:
    """The results for a reader, on one line."""
    return "; ".join(one.sentence for one in results)


def _no_data(result: Result) -> str:
    return f"{result.gate} (no data)"


def _too_few(result: Result) -> str:
    return f"{result.gate} (too few samples)"


def _with(results: Sequence[Result], status: str) -> tuple[Result, ...]:
    return tuple(one for one in results if isinstance(one, Verdict) and one.status == status)
