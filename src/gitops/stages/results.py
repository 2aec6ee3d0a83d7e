"""What a validation gate found: the same value from a laptop, a runner and a Job."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

SHOWN = 5
"""Failed checks of one gate that a summary tells."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    """Which case, feature or figure, such as `refund-policy` or `latency-p99`."""
    passed: bool
    expected: str = ""
    got: str = ""

    @property
    def sentence(self) -> str:
        """`refund-policy: expected the keyword "14 days", got "We do not…"`."""
        told = [f"expected {self.expected}" if self.expected else "", f"got {self.got}" if self.got else ""]
        said = ", ".join(part for part in told if part)
        return f"{self.name}: {said}" if said else self.name


@dataclass(frozen=True, slots=True)
class GateResult:
    """What one gate found. It passes when all of its checks do; a gate without checks found nothing to judge."""

    gate: str
    checks: tuple[Check, ...]
    figures: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """What was measured, by name; the unit is part of the name: `latency-p99-seconds`."""
    note: str = ""
    """What a reader should know besides, such as the endpoint and the settings."""

    @property
    def passed(self) -> bool:
        """Whether everything that was looked at is as it should be, and something was."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that did not pass."""
        return tuple(check for check in self.checks if not check.passed)


def report_json(results: Sequence[GateResult]) -> dict[str, Any]:
    """The full report, as plain JSON values."""
    return {
        "apiVersion": "gitops/v1",
        "kind": "ValidationReport",
        "passed": all(result.passed for result in results),
        "gates": [
            {
                "gate": result.gate,
                "passed": result.passed,
                "note": result.note,
                "figures": dict(result.figures),
                "checks": [
                    {"name": check.name, "passed": check.passed, "expected": check.expected, "got": check.got}
                    for check in result.checks
                ],
            }
            for result in results
        ],
    }


def summary(results: Iterable[GateResult]) -> tuple[str, ...]:
    """One line for each gate, and below it what failed, for people and for commit messages."""
    return tuple(line for result in results for line in _lines(result))


def _lines(result: GateResult) -> Iterable[str]:
    passed = sum(check.passed for check in result.checks)
    word = "pass" if result.passed else "fail" if result.checks else "nothing was checked"
    yield f"{result.gate}: {word} ({passed} of {len(result.checks)})"
    yield from (f"  {check.sentence}" for check in result.failed[:SHOWN])
    if (more := len(result.failed) - SHOWN) > 0:
        yield f"  and {more} more"
