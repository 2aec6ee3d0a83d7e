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

    @property
    def passes(self) -> bool:
        """Every gate has a result, and every result is a pass."""
        return not (self.failed or self.warned or self.blind or self.missing or self.few)


def judge(gates: Sequence[str], results: Sequence[Result], tolerated: Sequence[str] = ()) -> Judgement:
    """Sort the results. Warnings of `tolerated` gates count as passes: a person accepted them."""
    seen = {one.gate for one in results}
    absent = tuple(Verdict(gate, "no data", f"{gate}: no data") for gate in gates if gate not in seen)
    failures = [one for one in results if isinstance(one, QueryFailure)]
    return Judgement(
        failed=_with(results, "fail"),
        warned=tuple(one for one in _with(results, "warn") if one.gate not in tolerated),
        blind=tuple(one for one in failures if one.outage),
        missing=(*_with(results, "no data"), *(one for one in failures if not one.outage), *absent),
        few=_with(results, "too few samples"),
    )


def sentences(results: Sequence[Result]) -> str:
    """The results for a reader, on one line."""
    return "; ".join(one.sentence for one in results)


def _with(results: Sequence[Result], status: str) -> tuple[Result, ...]:
    return tuple(one for one in results if isinstance(one, Verdict) and one.status == status)
