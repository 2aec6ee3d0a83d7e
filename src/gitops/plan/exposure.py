"""How many requests a new version gets at each step of its rollout, and what its gates could see in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gitops.plan.rehearsal import Moment, Rehearsal, step_words
from gitops.plan.visibility import Traffic, blind_spot, counts, needed, percent
from gitops.render.live import lives_in, replicas_of
from gitops.rollout.horizon import FIRST
from gitops.rollout.measuring import ALPHA, Levels, levels
from gitops.rollout.power import Watch
from gitops.rollout.series import look_of
from gitops.spec.fields import format_duration
from gitops.spec.rollouts import Gate, Rollout

OUTCOMES = {"pause": "it pauses", "roll-back": "it rolls back", "advance": "it goes on unjudged"}


@dataclass(frozen=True, slots=True)
class Exposure:
    """One unit's rollout with what is known of its traffic."""

    ahead: Rehearsal
    rollout: Rollout
    routed: bool
    """A gateway splits the traffic; otherwise replicas are the weights."""
    traffic: Traffic

    def lines(self) -> Iterator[str]:
        """What the traffic is, and a line for each step that has something to say; those of the first wave."""
        if not self.rollout.gates:
            yield "nothing judges it: its policy has no gates"
        if not self._counting:
            return
        if self.traffic.rate is None:
            yield "traffic: not known; declare expectedRequestsPerSecond, or plan where metrics can be read"
            lines = map(self._wish, self.ahead.advances(0))
        else:
            yield f"traffic: {self.traffic.rate:.3g} requests/s {self._source}"
            lines = map(self._step, self.ahead.advances(0))
        yield from filter(None, lines)
        if self.ahead.standing.policy.waves > 1:
            yield "later waves see more: the version then answers everything in the clusters before them"

    def late(self, moment: Moment) -> int:
        """Seconds after its bake until a step has the requests that its gates need."""
        few, each = self.rollout.too_few_samples, (self.traffic.rate or 0.0) * self.share(moment)
        if not self._counting or each <= 0:
            return 0
        return max(0, round(min(few.minimum / each, few.after)) - self.bake(moment))

    def bake(self, moment: Moment) -> int:
        """Seconds for which the step is watched."""
        return self.ahead.standing.policy.bake(moment.event.mirror or moment.event.weight)

    def share(self, moment: Moment) -> float:
        """The part of the unit's requests that reaches the version, as if every cluster had as many."""
        clusters = [name for wave in self.ahead.standing.waves for name in wave]
        return sum(self._share_on(moment, cluster) for cluster in clusters) / len(clusters)

    def replicas(self, moment: Moment) -> tuple[int, ...]:
        """Of stable, of the version and of what is kept, on a cluster of the moment's wave."""
        waves = self.ahead.standing.waves
        cluster = next(name for wave in (waves[moment.event.wave], *waves) for name in wave)
        return replicas_of(lives_in(cluster, moment.lives, moment.waves), routed=self.routed)

    def _share_on(self, moment: Moment, cluster: str) -> float:
        here = lives_in(cluster, moment.lives, moment.waves)
        if self.routed or not 0 < here[1].weight < 100:
            return max(here[1].weight, here[1].mirror) / 100
        sizes = replicas_of(here, routed=False)
        return sizes[1] / sum(sizes)

    @property
    def _runtime(self) -> str:
        return self.ahead.target.serve.runtime

    @property
    def _counting(self) -> list[Gate]:
        """The gates that go by requests. A rolling update follows ready replicas: none of its steps is watched."""
        watched = self.rollout.gates if self.rollout.strategy != "rolling" else ()
        return [gate for gate in watched if counts(gate, self._runtime)]

    @property
    def _levels(self) -> Levels:
        policy = self.ahead.standing.policy
        return levels(ALPHA, len(policy.gates), len(policy.steps), policy.waves)

    @property
    def _source(self) -> str:
        if not self.traffic.measured:
            return "as expectedRequestsPerSecond says"
        errors = self.traffic.errors
        return "over the last hour" + (f", {percent(errors)} of them errors" if errors is not None else "")

    # --- Steps -----------------------------------------------------------------------------------------------

    def _step(self, moment: Moment) -> str:
        bake, share, rate = self.bake(moment), self.share(moment), self.traffic.rate or 0.0
        requests = int(rate * share * bake)
        watch = self._watch(moment, rate)
        spots = (blind_spot(gate, self._runtime, watch, self.traffic) for gate in self._counting)
        blind = list(filter(None, spots)) if bake else []
        said = [*([f"cannot see {_either(blind)}"] if blind else []), *self._few(moment, rate * share)]
        if not said:
            return ""
        watched = f"{percent(share)} of {rate:.3g} requests/s for {format_duration(bake)} is {requests:,}"
        return f"{step_words(moment)}: {watched} request{'' if requests == 1 else 's'}: {'; '.join(said)}"

    def _watch(self, moment: Moment, rate: float) -> Watch:
        """The step as its gates see it, with so many requests a second to all versions."""
        bake, share, mirrored = self.bake(moment), self.share(moment), moment.event.mirror > 0
        whole, monitoring = rate * bake, self.ahead.standing.environment.monitoring
        stable = whole if mirrored else whole * (1 - share)
        look = look_of(monitoring.interval if monitoring else 15, bake)
        return Watch(
            candidate=int(whole * share),
            stable=int(stable),
            before=int(stable or whole / 2),
            looks=max(1, bake // look),
            look=look,
            alpha=FIRST * self._levels.each,
            together=FIRST * self._levels.together,
            samples=self.rollout.too_few_samples.minimum,
        )

    def _few(self, moment: Moment, each: float) -> Iterator[str]:
        """What becomes of a step that has too few requests for its gates."""
        few = self.rollout.too_few_samples
        if each * few.after < few.minimum:
            yield (
                f"{int(each * few.after):,} of the {few.minimum:,} that gates need come within "
                f"{format_duration(few.after)}: then {OUTCOMES[few.then]} (tooFewSamples)"
            )
        elif late := self.late(moment):
            yield f"waits {format_duration(late)} longer for the {few.minimum:,} that gates need"

    def _wish(self, moment: Moment) -> str:
        """What the traffic would have to be."""
        watched, least = self.bake(moment) * self.share(moment), self.rollout.too_few_samples.minimum
        if not watched:
            return ""
        said = [f"its gates have their {least:,} requests at {least / watched:.3g} requests/s"]
        step = self._watch(moment, 1000.0)
        wanted = (needed(gate, self._runtime, self.traffic.errors or 0.0, step) for gate in self._counting)
        said += [
            f"errors of twice their limit are found from {one / watched:.3g} requests/s on" for one in wanted if one
        ]
        return f"{step_words(moment)} for {format_duration(self.bake(moment))}: {', '.join(said)}"


def _either(parts: Sequence[str]) -> str:
    return ", ".join(parts[:-1]) + (" or " if parts[1:] else "") + parts[-1]
