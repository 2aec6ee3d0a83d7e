"""Any story of edits, applies, looks and commands: after every commit records, files and history tell the same."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gitops.plan.settled import unsettled
from gitops.render.renderer import unit_directory
from gitops.rollout.audit import states_of
from gitops.rollout.observation import Command
from gitops.rollout.release import dump_release
from gitops.rollout.verdicts import Verdict
from gitops.spec.resolved import Spec
from gitops.values import UnitKey
from tests.plan.repository import Tree, write_spec

GATEWAY = {"name": "models", "namespace": "gateway"}
ISTIO = {**GATEWAY, "api": "istio"}
WAVES = {
    "clusters": {"eu": {"provider": "embedded"}, "us": {"provider": "embedded"}},
    "waves": [["eu"], ["us"]],
    "hotfix": "allowed",
}
CAREFUL = {
    "strategy": "canary",
    "steps": [{"weight": 10, "bake": "10m"}, {"weight": 60, "bake": "5m"}, {"weight": 100}],
    "gates": [{"metric": "error-rate", "pause": "1%", "rollback": "5%"}],
    "keepWarm": "30m",
}
ROLLOUTS: dict[str, dict[str, Any]] = {
    "careful": CAREFUL,
    "blue-green": {"strategy": "blue-green", "bake": "5m"},
    "rolling": {"strategy": "rolling"},
    "shadow": {"strategy": "shadow", "steps": [{"weight": 20, "bake": "5m"}, {"weight": 50}]},
}
LETTERS = {"1.0.0": "a", "1.1.0": "b", "1.2.0": "c"}

versions = st.sampled_from(sorted(LETTERS))
units = st.builds(UnitKey, st.sampled_from(["dev", "prod"]), st.sampled_from(["chat", "rank"]))
edits = st.tuples(
    st.just("edit"),
    st.fixed_dictionaries({"chat": versions}, optional={"rank": versions}),
    st.sampled_from([1, 3]),
    st.sampled_from(["a", "b"]),
)
looks = st.tuples(
    st.just("look"),
    units,
    st.sampled_from([0, 50, 100, 100, 100]),
    st.sampled_from(["pass", "pass", "pass", "warn", "fail", "no data"]),
)
KINDS = ("abort", "rollback", "pause", "retry", "resume", "promote")
commands = st.tuples(st.just("command"), units, st.sampled_from(KINDS), st.booleans())
waits = st.tuples(st.just("wait"), st.sampled_from([30, 700, 4000, 90_000]))
walks = st.tuples(st.just("walk"), units, st.integers(2, 12), st.sampled_from([25, 50, 100]))
actions = st.one_of(edits, st.just(("apply",)), looks, looks, walks, walks, commands, waits)


class Story:
    """A repository and the spec as it is now, which may not be applied yet."""

    def __init__(self, rollout: str) -> None:
        self.rollout, self.tree = rollout, Tree()
        self.spec = self.write({"chat": "1.0.0"}, 1, "a")
        self.told = 0

    def write(self, models: dict[str, str], replicas: int, owner: str) -> Spec:
        return write_spec(
            {name: (version, LETTERS[version]) for name, version in models.items()},
            # Only a gateway mirrors; without one replicas are the weights.
            {"dev": {"gateway": GATEWAY}, "prod": WAVES | ({"gateway": ISTIO} if self.rollout == "shadow" else {})},
            rollout=ROLLOUTS[self.rollout],
            serve={"replicas": {"min": replicas, "max": replicas}},
            routed=True,
            owner=owner,
        )

    def do(self, kind: str, *said: Any) -> None:
        self.tree.now += 1
        match kind:
            case "edit":
                self.spec = self.write(*said)
            case "wait":
                self.tree.now += said[0]
            case "apply":
                self.tree.release_spec(self.spec)
                self.settle()
            case "look":
                self.look(*said)
            case "walk":
                unit, passes, ready = said
                for _ in range(passes):
                    self.look(unit, ready, "pass")
                    self.check()
                    self.tree.now += 700
            case "command":
                unit, asked, hotfix = said
                self.look(unit, 100, "pass", commands=(Command(asked, "ada", hotfix=hotfix),))
        self.check()

    def settle(self) -> None:
        """What is released at once in dev may start in prod with the next apply; then nothing is left to do."""
        self.tree.release_spec(self.spec)
        again = self.tree.plan(self.spec)
        assert (again.releases, again.files, again.steps) == ((), (), ())

    def look(self, unit: UnitKey, ready: int, status: Any, **more: Any) -> None:
        if unit in self.spec.models and f"releases/{unit}.yaml" in self.tree.files:
            gates = [gate.key for gate in self.spec.pipeline.rollouts["quick"].gates]
            results = tuple(Verdict(gate, status, f"{gate}: {status}") for gate in gates)
            self.tree.look(self.spec, unit, ready=ready, results=results, **more)

    def check(self) -> None:
        stored, trees = self.tree.stored(), self.tree.trees()
        for unit, release in stored.releases.items():
            for cluster, tree in release.rendered.trees.items():
                assert tree == trees.get(unit_directory(cluster, unit), ""), f"{unit} on {cluster}"
            state = release.state
            running = {release.stable.version, *(one.version.version for one in state.kept)}
            running |= {state.candidate.version.version} if state.candidate else set()
            assert release.models.keys() == running
            if state.candidate and not state.candidate.scale:
                running.discard(state.candidate.version.version)
            for cluster in release.rendered.trees:
                assert self.rendered_versions(cluster, unit) == running
            assert dump_release(release) == self.tree.files[f"releases/{unit}.yaml"]
        for cluster in self.spec.clusters:
            assert list(unsettled(self.spec, stored.releases, cluster, self.tree.sighting(cluster))) == []
        told = states_of(self.tree.log)
        assert told == {unit: release.state for unit, release in stored.releases.items()}

    def rendered_versions(self, cluster: str, unit: UnitKey) -> set[str]:
        inside = f"{unit_directory(cluster, unit)}/"
        below = (path.removeprefix(inside).split("/") for path in self.tree.files if path.startswith(inside))
        return {parts[0] for parts in below if len(parts) > 1}


@given(st.sampled_from(sorted(ROLLOUTS)), st.lists(actions, min_size=3, max_size=25))
@settings(max_examples=60)
def test_every_story(rollout: str, told: list[tuple[Any, ...]]) -> None:
    story = Story(rollout)
    story.do("apply")
    for action in told:
        story.do(*action)
    story.do("apply")
