"""The events that rules choose from, made from one decision's material."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gitops.rollout.course import Case, Course
from gitops.rollout.endings import BACK, BackCause, PauseCause
from gitops.rollout.events import Event, one_line
from gitops.rollout.load import load_words
from gitops.rollout.phases import Kind, Stage
from gitops.rollout.state import UNSIGNED, Candidate, Consent, Kept, ModelVersion


@dataclass(frozen=True, slots=True)
class Underway(Course):
    """A case with a rollout under way, and what can be done about it."""

    def wait(self) -> Event:
        """Stay at this weight until there is room."""
        return self._event("wait", f"no room to carry {self.ahead} yet{self.line}")

    def scale(self, *, promoting: bool = False, by: str = "") -> Event:
        """Render the candidate large enough for the next weight."""
        scales = self.sized(self.everywhere if promoting else self.wanted)
        whole = promoting or self.policy.strategy == "rolling"
        reason = f"get ready to carry {'all traffic' if whole else self.ahead}"
        stage: Stage = "promoting" if promoting else "starting"
        return self._event("scale", reason, stage=stage, by=by, load=self.load, **_sizes(scales))

    def advance(self) -> Event:
        """The next weight. Mirrored requests reach the candidate, but the share that it answers never shrinks."""
        goal, shadow = self.goal, self.policy.strategy == "shadow"
        same = goal.wave == self.wave
        mirrored = "of requests mirrored" if shadow else "of traffic"
        answered = self.candidate.weight if same else 0
        return self._event(
            "advance",
            f"{self.candidate.version.words} gets {goal.load} % {mirrored}{self.place(goal.wave)}",
            wave=goal.wave,
            step=self.candidate.step + 1 if same else 1,
            weight=answered if shadow else goal.load,
            mirror=goal.load if shadow else 0,
            load=self.load,
            **_sizes(self.sized(self.wanted)),
        )

    def promote(self, by: str = "") -> Event:
        """The candidate becomes stable; the version before stays warm."""
        kept_warm = max(self.policy.keep_warm, self.policy.drain)
        return self._event(
            "promote",
            f"{self.candidate.version.words} replaces {self.stable}",
            weight=100,
            mirror=0,
            wave=self.waves - 1,
            scale=100,
            scales=(),
            by=by,
            drained=self.seen.now + self.policy.drain,
            until=self.seen.now + kept_warm,
            load=self.load,
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

    def roll_back(self, reason: str, by: str = "", *, cause: BackCause = "person") -> Event:
        """All traffic to stable, whatever capacity it has."""
        return roll_back(self, self.candidate.version, self.state.stable, reason, by, cause=cause)

    def _event(self, kind: Kind, reason: str, **fields: object) -> Event:
        candidate = self.candidate
        given: dict[str, object] = {"step": candidate.step, "weight": candidate.weight, "mirror": candidate.mirror}
        given |= {"scale": candidate.scale, "scales": candidate.scales, "steps": len(self.policy.steps)}
        given |= {"wave": self.wave, "waves": self.waves, **fields}
        if kind in ("scale", "resume") and fields.get("by"):
            given["despite"] = self.known
        return _event(self, kind, candidate.version, reason, **given)


def newcomer(case: Case) -> Underway:
    """The same case with a candidate for the version that the spec names, which has nothing yet."""
    now = case.seen.now
    candidate = Candidate(case.seen.target, "starting", scale=0, started=now, since=now, entered=now)
    return Underway(case.policy, replace(case.state, candidate=candidate), case.seen, candidate)


def start(case: Case, by: str = "", *, hotfix: bool = False) -> Event:
    """A candidate for the version that the spec names; `by` asked for it."""
    one = newcomer(case)
    reason = f"{case.seen.target.words} to replace {case.stable}" if case.state.stable else "first deployment"
    return _event(
        case,
        "start",
        case.seen.target,
        reason + _wanted_by(case, by, hotfix) + ("" if case.seen.room else case.line),
        runs=case.seen.runs,
        stage="starting" if case.seen.room else "waiting-for-capacity",
        waves=case.waves,
        clusters=case.policy.clusters,
        hotfix=hotfix,
        by=by,
        despite=case.known if by else (),
        # Without room nothing is rendered: pods that cannot run would stand in the way of others.
        **(_sizes(one.sized(one.wanted)) | {"load": case.load} if case.seen.room else {}),
    )


def _wanted_by(case: Case, by: str, hotfix: bool) -> str:
    """Who started it, and past what a hotfix went: what an audit asks first."""
    if not hotfix:
        return f", started by {by}" if by else ""
    past = "; ".join(one for one in (case.seen.entry, case.seen.freeze and f"frozen: {case.seen.freeze}") if one)
    return f", a hotfix by {by or 'somebody'}{f' in spite of: {past}' if past else ''}"


def roll_back(
    case: Case,
    leaving: ModelVersion,
    to: ModelVersion | None,
    reason: str,
    by: str = "",
    *,
    cause: BackCause = "person",
) -> Event:
    """All traffic from `leaving` to `to`; the pods of what lost it stay until its requests are over.

    Only what the spec names is rejected, or waits: another version would not come back anyway. What a person leaves is
    rejected whatever the spec names, since it may be on its way in a later environment. Under another name it is the
    artifact that is rejected, however it is run.
    """
    over, target = case.seen.now + case.policy.drain, case.seen.target
    named = leaving == target or (leaving.digest == target.digest and not leaving.same_version(target))
    ending = BACK[cause]
    rejects = ending.outcome == "rejected" and (named or cause == "person")
    waits = ending.waits if named else ""
    runs = case.seen.runs if rejects and leaving == target else ""
    fields = {"by": by, "rejects": rejects, "runs": runs, "waits": waits, "drained": over, "until": over}
    fields |= {"load": case.load}
    return _event(case, "roll-back", leaving, reason, **fields, previous=to.version if to else "")


def retire(case: Case, kept: Kept, reason: str) -> Event:
    """Remove the pods of a version without traffic."""
    return _event(case, "retire", kept.version, reason)


def size(case: Case) -> Event:
    """Size every version for the load that there is now."""
    version = case.state.candidate.version if case.state.candidate else case.state.stable
    assert version is not None, "somebody has the load"
    reason = f"it takes {load_words(case.load)} of the declared replicas to carry all traffic"
    return _event(case, "size", version, reason, load=case.load)


def settle(case: Case, kind: Kind, reason: str, by: str = "", consent: Consent = UNSIGNED) -> Event:
    """Something about the version that the spec names, with no rollout under way: retry, approve, clear."""
    return _event(case, kind, case.seen.target, reason, by=by, runs=case.seen.runs, consent=consent)


def _sizes(scales: tuple[int, ...]) -> dict[str, object]:
    """Several waves are told one by one; with a single one the largest number says it all."""
    return {"scale": max(scales), "scales": scales if len(scales) > 1 else ()}


def _event(case: Case, kind: Kind, version: ModelVersion, reason: str, **fields: object) -> Event:
    previous = case.state.stable.version if case.state.stable else ""
    given = {"previous": previous} | fields | {"by": one_line(str(fields.get("by", "")))}
    return Event(kind, case.seen.now, version, reason=one_line(reason), **given)  # type: ignore[arg-type]
