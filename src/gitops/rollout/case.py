"""One decision's material, and the events that rules choose from: policy, state and observation side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from gitops.rollout.events import Event, one_line
from gitops.rollout.judgement import Judgement, judge
from gitops.rollout.observation import Observation
from gitops.rollout.phases import Kind
from gitops.rollout.policy import Policy
from gitops.rollout.state import Candidate, Kept, ModelVersion, PauseCause, RolloutState


class Goal(NamedTuple):
    """What the rollout goes for next: a percentage of requests. Reaching the last one promotes the candidate."""

    load: int
    last: bool


@dataclass(frozen=True, slots=True)
class Case:
    """Everything that a rule looks at."""

    policy: Policy
    state: RolloutState
    seen: Observation

    def elapsed(self, since: int) -> int:
        """Seconds since then; none when the clock stepped back."""
        return max(0, self.seen.now - since)

    @property
    def stable(self) -> str:
        """Stable's version for a sentence."""
        return self.state.stable.version if self.state.stable else "nothing"


@dataclass(frozen=True, slots=True)
class Underway(Case):
    """A case with a rollout under way."""

    candidate: Candidate

    @property
    def judgement(self) -> Judgement:
        """What the gates say; nothing before the first request reaches the candidate."""
        if self.candidate.load == 0:
            return Judgement()
        return judge(self.policy.gates, self.seen.results, self.candidate.tolerated)

    @property
    def ready(self) -> int:
        """Percentage of traffic that the candidate is known to be able to carry."""
        return -1 if self.seen.ready is None else self.seen.ready

    @property
    def goal(self) -> Goal:
        """The next weight by weight, not by index: the policy may have changed since the last one."""
        if self.state.stable is None or self.candidate.stage == "promoting":
            return Goal(100, last=True)
        if self.policy.strategy == "rolling":
            return self._rolling_goal()
        reached = self.candidate.mirror if self.policy.strategy == "shadow" else self.candidate.weight
        ahead = [min(step.weight, 100) for step in self.policy.steps if min(step.weight, 100) > reached]
        return Goal(min(ahead), last=False) if ahead else Goal(100, last=True)

    def _rolling_goal(self) -> Goal:
        weight = self.candidate.weight
        least = min(100, weight + max(1, self.policy.stride))
        return Goal(min(100, max(least, self.ready)), last=False) if weight < 100 else Goal(100, last=True)

    # --- Events ----------------------------------------------------------------------------------------------

    def wait(self) -> Event:
        """Stay at this weight until the cluster has room."""
        return self._event("wait", f"no room to carry {self.goal.load} % yet")

    def scale(self, *, promoting: bool = False, by: str = "") -> Event:
        """Render the candidate large enough for the next weight."""
        wanted = 100 if promoting or self.policy.strategy == "rolling" else self.goal.load
        return self._event(
            "scale",
            f"get ready to carry {wanted} %",
            stage="promoting" if promoting else "starting",
            scale=max(self.candidate.scale, wanted),
            by=by,
        )

    def advance(self) -> Event:
        """The next weight. Mirrored requests reach the candidate, but the share that it answers never shrinks."""
        load, shadow = self.goal.load, self.policy.strategy == "shadow"
        mirrored = "of requests mirrored" if shadow else "of traffic"
        return self._event(
            "advance",
            f"{self.candidate.version.version} gets {load} % {mirrored}",
            step=self.candidate.step + 1,
            weight=self.candidate.weight if shadow else load,
            mirror=load if shadow else 0,
            scale=max(self.candidate.scale, load),
        )

    def promote(self, by: str = "") -> Event:
        """The candidate becomes stable; the version before stays warm."""
        kept_warm = max(self.policy.keep_warm, self.policy.drain)
        return self._event(
            "promote",
            f"{self.candidate.version.version} replaces {self.stable}",
            weight=100,
            mirror=0,
            scale=100,
            by=by,
            drained=self.seen.now + self.policy.drain,
            until=self.seen.now + kept_warm,
        )

    def pause(self, cause: PauseCause, reason: str, by: str = "") -> Event:
        """Stop at the present weight."""
        return self._event("pause", reason, cause=cause, by=by)

    def resume(self, reason: str, by: str = "", tolerates: tuple[str, ...] = ()) -> Event:
        """Go on at the present weight; whoever answers requests is watched for a full bake again."""
        stage = self.candidate.stage
        watched = self.candidate.load > 0 and stage != "promoting"
        accepted = tuple(dict.fromkeys((*self.candidate.tolerated, *tolerates)))
        return self._event("resume", reason, stage="baking" if watched else stage, by=by, tolerates=accepted)

    def roll_back(self, reason: str, by: str = "", *, rejects: bool = True) -> Event:
        """All traffic to stable, whatever capacity it has."""
        return roll_back(self, self.candidate.version, self.state.stable, reason, by, rejects=rejects)

    def _event(self, kind: Kind, reason: str, **fields: object) -> Event:
        candidate = self.candidate
        given: dict[str, object] = {"step": candidate.step, "weight": candidate.weight, "mirror": candidate.mirror}
        given |= {"scale": candidate.scale, "steps": len(self.policy.steps), **fields}
        return _event(self, kind, candidate.version, reason, **given)


def start(case: Case) -> Event:
    """A candidate for the version that the spec names."""
    wanted = Underway(case.policy, case.state, case.seen, _newcomer(case)).scale().scale
    return _event(
        case,
        "start",
        case.seen.target,
        f"{case.seen.target.version} to replace {case.stable}" if case.state.stable else "first deployment",
        stage="starting" if case.seen.room else "waiting-for-capacity",
        # Without room nothing is rendered: pods that cannot run would stand in the way of others.
        scale=wanted if case.seen.room else 0,
    )


def roll_back(
    case: Case, leaving: ModelVersion, to: ModelVersion | None, reason: str, by: str = "", *, rejects: bool = True
) -> Event:
    """All traffic from `leaving` to `to`; the pods of what lost it stay until its requests are over.

    Only what the spec names is rejected: another version would not come back anyway.
    """
    over = case.seen.now + case.policy.drain
    rejects = rejects and leaving.digest == case.seen.target.digest
    fields = {"by": by, "rejects": rejects, "drained": over, "until": over}
    return _event(case, "roll-back", leaving, reason, **fields, previous=to.version if to else "")


def retire(case: Case, kept: Kept, reason: str) -> Event:
    """Remove the pods of a version without traffic."""
    return _event(case, "retire", kept.version, reason)


def settle(case: Case, kind: Kind, reason: str, by: str = "") -> Event:
    """Something about the version that the spec names, with no rollout under way: retry, approve, clear."""
    return _event(case, kind, case.seen.target, reason, by=by)


def _newcomer(case: Case) -> Candidate:
    now = case.seen.now
    return Candidate(case.seen.target, "starting", scale=0, started=now, since=now, entered=now)


def _event(case: Case, kind: Kind, version: ModelVersion, reason: str, **fields: object) -> Event:
    previous = case.state.stable.version if case.state.stable else ""
    given = {"previous": previous} | fields | {"by": one_line(str(fields.get("by", "")))}
    return Event(kind, case.seen.now, version, reason=one_line(reason), **given)  # type: ignore[arg-type]
