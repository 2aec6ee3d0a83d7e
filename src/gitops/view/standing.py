"""Where a rollout stands, in words: its steps, who answers requests, what it waits for and how long it may."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from gitops.rollout.phases import Stage
from gitops.rollout.policy import Policy
from gitops.rollout.state import Candidate, RolloutState, Traffic
from gitops.rollout.verdicts import QueryFailure, Result
from gitops.values import version_in_words


def span(seconds: float) -> str:
    """A length of time: `45s`, `8m 30s`, `42m`, `1h 05m`, `2d 3h`; more than ten minutes without seconds."""
    whole = max(0, int(seconds))
    minutes, rest = divmod(whole, 60)
    if minutes < 10:
        return " ".join([f"{minutes}m"] * bool(minutes) + [f"{rest}s"] * bool(rest or not minutes))
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes}m"
    days, hours = divmod(hours, 24)
    return f"{days}d {hours}h" if days else f"{hours}h {minutes:02}m"


# --- Steps and traffic ---------------------------------------------------------------------------------------


def ladder(policy: Policy, candidate: Candidate) -> str:
    """The steps of the present wave: `1 % ✓  10 % ✓  [50 %]  100 %`; the present weight stands in brackets."""
    load = candidate.load
    weights = {step.weight for step in policy.steps} or {100}
    words = [_rung(weight, load) for weight in sorted(weights | ({load} if load else set()))]
    mirrored = "  mirrored" if policy.strategy == "shadow" else ""
    return "  ".join(words) + mirrored + wave_words(policy, candidate, "  (", ")")


def _rung(weight: int, load: int) -> str:
    if weight == load:
        return f"[{weight} %]"
    return f"{weight} % ✓" if weight < load else f"{weight} %"


def step_words(policy: Policy, candidate: Candidate) -> str:
    """`step 2/4`; a rolling update has no steps, and before the first traffic there is none."""
    if not (policy.steps and candidate.step):
        return ""
    return f"step {candidate.step}/{len(policy.steps)}"


def wave_words(policy: Policy, candidate: Candidate, before: str = "", after: str = "") -> str:
    """`wave 2 of 3`, between `before` and `after`; nothing when all clusters go together."""
    waves = policy.waves
    return f"{before}wave {min(candidate.wave, waves - 1) + 1} of {waves}{after}" if waves > 1 else ""


def share(candidate: Candidate | None) -> str:
    """`10 %`, `10 % mirrored`."""
    if candidate is None:
        return ""
    return f"{candidate.mirror} % mirrored" if candidate.mirror else f"{candidate.weight} %"


class Share(NamedTuple):
    """A version with its percent of requests, answered and mirrored."""

    version: str
    weight: int
    mirror: int = 0


def shares(state: RolloutState, waves: int = 1) -> tuple[tuple[Share, ...], ...]:
    """For each wave who answers requests, the candidate first; versions without any are left out."""
    return tuple(tuple(_shares(state, traffic)) for traffic in state.weights(waves))


def _shares(state: RolloutState, traffic: Traffic) -> Iterator[Share]:
    if state.candidate and (traffic.candidate or traffic.mirror):
        yield Share(state.candidate.version.version, traffic.candidate, traffic.mirror)
    if state.stable and traffic.stable:
        yield Share(state.stable.version, traffic.stable)


def traffic_words(found: tuple[Share, ...]) -> str:
    """`2.4.0 10 %, 2.3.0 90 %`."""
    words = [
        f"{version_in_words(version)} {f'{weight} %' if weight else f'{mirror} % mirrored'}"
        for version, weight, mirror in found
    ]
    return ", ".join(words) or "nobody yet"


# --- Waits ---------------------------------------------------------------------------------------------------


def watched_until(policy: Policy, candidate: Candidate) -> int:
    """When the present weight has been watched long enough: a bake after the warm-up, or after the last pause."""
    settled = candidate.since + policy.settling
    if candidate.stage == "baking":
        settled = max(settled, candidate.entered)
    return settled + policy.bake(candidate.load)


def deadline(policy: Policy, candidate: Candidate) -> int | None:
    """When the present wait ends in a roll-back by itself; None when it does not, or when gates decide about it."""
    holds = policy.pause_outcome == "hold"
    latest = math.inf if holds else candidate.since + policy.step_limit(candidate.load)
    if candidate.pause:
        return None if holds else int(min(candidate.entered + policy.pause_timeout, latest))
    if candidate.stage == "baking":
        return None
    limit = policy.capacity_timeout if candidate.stage == "waiting-for-capacity" else policy.ready_timeout
    return int(min(candidate.entered + limit, latest))


def phase_words(policy: Policy, candidate: Candidate, now: int, detail: str = "") -> str:
    """What it does or waits for, and until when. `detail` is the machine's own sentence, where it held."""
    until = deadline(policy, candidate)
    otherwise = "" if until is None else f"rolls back in {span(until - now)} otherwise"
    if candidate.pause:
        return f"paused{f', {otherwise}' if otherwise else ''}: {candidate.pause.reason}"
    if candidate.stage == "baking" and not detail.startswith("frozen"):
        rest = watched_until(policy, candidate) - now
        return f"watched for {span(rest)} more" if rest > 0 else detail or "watched long enough"
    return "; ".join(words for words in (detail or _PLAIN[candidate.stage], otherwise) if words)


_PLAIN: Mapping[Stage, str] = {
    "waiting-for-capacity": "waits for room",
    "starting": "waits for ready capacity",
    "promoting": "waits for ready capacity for all traffic",
    "baking": "watched",
}


def pause_end(policy: Policy, candidate: Candidate) -> str:
    """How a pause ends, for somebody who has to decide whether to get up."""
    if candidate.pause is None:
        return ""
    goes_on = "waits for a person" if candidate.pause.for_a_person else "goes on by itself when that is over"
    until = deadline(policy, candidate)
    if until is None:
        return goes_on
    return f"{goes_on}, rolls back {span(until - candidate.entered)} after the pause began"


def answer(why: str) -> str:
    """What a person can do about it, with `{0}` for the unit; empty when there is nothing to do but wait."""
    known = {
        " waits for approval": "gitops approve {0}",
        "not approved yet": "gitops approve {0}, then gitops apply",
        " waits for a person to promote it": "gitops promote {0}",
        " waits for a person since it went back": "gitops retry {0}",
        " is not built": "gitops apply",
        " is not validated": "gitops apply",
        " no verified signature": "gitops models sign, then gitops apply",
        "paused": "gitops resume {0} or gitops abort {0}",
    }
    return next((command for words, command in known.items() if words in why), "")


# --- Gates ---------------------------------------------------------------------------------------------------

MARKS = {"pass": "✓", "warn": "!", "fail": "✗"}


def mark(result: Result) -> str:
    """One character for a gate's verdict; a dot where there is none yet."""
    return "·" if isinstance(result, QueryFailure) else MARKS.get(result.status, "·")


def gate_words(result: Result) -> str:
    """What a gate says, without its name and without the verdict that the mark shows."""
    text = result.sentence.removeprefix(result.gate).removeprefix(":").strip()
    return text if isinstance(result, QueryFailure) else text.removesuffix(f": {result.status}")
