"""Desired against stored files: what changes, what is left alone, and that doing it leaves nothing to do."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitops.plan.desired import Changes, blobs_to_read, changes, render_stale
from gitops.plan.observed import Entry
from gitops.plan.stored import Stored
from gitops.render.renderer import HEADER, Renderer
from gitops.render.templates import templates_of
from gitops.render.tree import blob_id, tree_id_of
from gitops.rollout.release import SpecSource, parse_release
from gitops.spec.load import load_spec
from gitops.spec.resolved import SourceFile, Spec
from gitops.values import UnitKey
from gitops.world.files import read_templates
from tests.support.project import ROOT

TEMPLATES = templates_of(read_templates(ROOT))
CHAT = UnitKey("dev", "chat")


def spec(models: Mapping[str, tuple[str, str]], environments: Collection[str] = ("dev",)) -> Spec:
    """Models by name, each with its version and the letter of its digest."""
    text = f"apiVersion: gitops/v1\nname: acme\npromotion: [{', '.join(environments)}]\nmodels:\n"
    for name, (version, letter) in models.items():
        text += f"""\
  {name}:
    version: {version}
    artifact: {{uri: s3://acme/{name}, digest: "sha256:{letter * 64}", format: onnx}}
    serve: {{runtime: custom, image: "acme.example/{name}:1", resources: {{cpu: 1, memory: 1Gi}}}}
    rollout: quick
"""
    text += "rollouts: {quick: {strategy: rolling}}\n"
    files = [
        SourceFile(
            f"environments/{name}.yaml",
            f"apiVersion: gitops/v1\nclusters: {{{name}-cluster: {{provider: embedded}}}}\n".encode(),
        )
        for name in environments
    ]
    return load_spec(SourceFile("pipeline.yaml", text.encode()), files)


@dataclass
class Tree:
    """A repository as a mapping of files; what `world.gather` reads from Git is derived from it."""

    files: dict[str, bytes] = field(default_factory=dict)

    def entry(self, path: str) -> Entry:
        return Entry("100644", "blob", blob_id(self.files[path]))

    def stored(self) -> Stored:
        releases, records = {}, {}
        directories: dict[str, dict[str, tuple[str, str]]] = {}
        loose = {}
        for path, data in self.files.items():
            parts = path.split("/", 4)
            if parts[0] == "releases":
                release = parse_release(data, path)
                releases[release.unit], records[release.unit] = release, blob_id(data)
            elif len(parts) == 5:
                directories.setdefault("/".join(parts[:4]), {})[parts[4]] = ("100644", blob_id(data))
            else:
                loose[path] = self.entry(path)
        trees = {path: tree_id_of(entries) for path, entries in directories.items()}
        return Stored("0" * 40 if self.files else None, releases, records, trees, loose)

    def plan(self, wanted_spec: Spec, foreign: Collection[str] = (), source: SpecSource | None = None) -> Changes:
        renderer, stored = Renderer(wanted_spec, TEMPLATES), self.stored()
        wanted = render_stale(wanted_spec, renderer, stored, {})
        within = set(wanted.directories)
        existing = dict(stored.loose) | {
            path: self.entry(path) for path in self.files if "/".join(path.split("/", 4)[:4]) in within
        }
        by_id = {blob_id(data): data for data in self.files.values()}
        contents = {name: by_id[name] for name in blobs_to_read(wanted, existing)}
        return changes(
            wanted_spec,
            stored,
            renderer,
            wanted,
            existing,
            contents,
            now="2026-01-01T00:00:00Z",
            source=source or SpecSource(),
            foreign_commits=foreign,
        )

    def apply(self, found: Changes) -> None:
        for change in found.files:
            assert (change.action == "create") == (change.path not in self.files), change.path
            if change.content is None:
                del self.files[change.path]
            else:
                self.files[change.path] = change.content


@pytest.fixture
def tree() -> Tree:
    made = Tree()
    made.apply(made.plan(spec({"chat": ("1.0.0", "a"), "rank": ("1.0.0", "b")})))
    return made


def units(found: Changes) -> set[str]:
    return {change.unit for change in found.files}


def test_what_was_applied_leaves_nothing_to_do(tree: Tree) -> None:
    found = tree.plan(spec({"chat": ("1.0.0", "a"), "rank": ("1.0.0", "b")}))
    assert (found.releases, found.files) == ((), ())


def test_one_edit_changes_one_unit(tree: Tree) -> None:
    found = tree.plan(spec({"chat": ("1.1.0", "c"), "rank": ("1.0.0", "b")}))
    assert units(found) == {"dev/chat"}
    (release,) = found.releases
    assert (release.action, release.previous, release.version) == ("update", "1.0.0", "1.1.0")
    deleted = {change.path for change in found.files if change.action == "delete"}
    assert deleted
    assert all("/chat/1.0.0/" in path for path in deleted)


def test_a_model_that_left_is_removed_with_its_record(tree: Tree) -> None:
    tree.apply(tree.plan(spec({"rank": ("1.0.0", "b")})))
    assert not [path for path in tree.files if "chat" in path]


def test_files_of_others_stay_and_cost_no_change(tree: Tree) -> None:
    tree.files["clusters/dev-cluster/dev/chat/NOTES.md"] = b"by hand\n"
    tree.files["clusters/dev-cluster/dev/extra.yaml"] = b"kind: ConfigMap\n"
    tree.files["clusters/dev-cluster/dev/chat/1.0.0/theirs.yaml"] = b"kind: Secret\n"
    assert tree.plan(spec({"chat": ("1.0.0", "a"), "rank": ("1.0.0", "b")})).files == ()
    tree.apply(tree.plan(spec({"rank": ("1.0.0", "b")})))
    left = {path for path in tree.files if "/chat/" in path or "extra" in path}
    assert left == {
        "clusters/dev-cluster/dev/chat/NOTES.md",
        "clusters/dev-cluster/dev/chat/1.0.0/theirs.yaml",
        "clusters/dev-cluster/dev/extra.yaml",
    }


def test_an_edit_by_hand_is_taken_back(tree: Tree) -> None:
    path = "clusters/dev-cluster/dev/chat/service.yaml"
    tree.files[path] += b"# by hand\n"
    found = tree.plan(spec({"chat": ("1.0.0", "a"), "rank": ("1.0.0", "b")}))
    (change,) = [change for change in found.files if change.path == path]
    assert change.action == "update"
    assert "-# by hand" in change.diff


def test_a_stale_file_of_ours_goes(tree: Tree) -> None:
    path = "clusters/dev-cluster/dev/chat/podmonitor.yaml"
    tree.files[path] = HEADER.encode() + b"kind: PodMonitor\n"
    found = tree.plan(spec({"chat": ("1.0.0", "a"), "rank": ("1.0.0", "b")}))
    assert ("delete", path) in [(change.action, change.path) for change in found.files]


def test_a_version_never_changes_its_artifact(tree: Tree) -> None:
    found = tree.plan(spec({"chat": ("1.0.0", "c"), "rank": ("1.0.0", "b")}))
    (refusal,) = found.refusals
    assert refusal.rule == "immutable-version"
    assert "dev/chat" in refusal.message


def test_a_newer_spec_commit_is_not_taken_back() -> None:
    tree, newer = Tree(), SpecSource("f" * 40)
    tree.apply(tree.plan(spec({"chat": ("2.0.0", "a")}), source=newer))
    found = tree.plan(spec({"chat": ("1.0.0", "b")}), foreign={newer.commit}, source=SpecSource("e" * 40))
    assert (found.releases, found.files) == ((), ())
    assert [entry.unit for entry in found.left_alone] == ["dev/chat"]
    found = tree.plan(spec({"other": ("1.0.0", "b")}), foreign={newer.commit}, source=SpecSource("e" * 40))
    assert units(found) == {"dev/other"}


versions = st.tuples(st.sampled_from(["1.0.0", "1.1.0", "2.0.0"]), st.just("a"))
specs = st.dictionaries(st.sampled_from(["chat", "rank", "embed"]), versions, min_size=1)


@given(st.lists(st.tuples(specs, st.sampled_from([("dev",), ("dev", "prod"), ("prod",)])), min_size=1, max_size=4))
@settings(max_examples=25, deadline=None)
def test_any_sequence_of_specs_converges(sequence: list[tuple[dict[str, tuple[str, str]], tuple[str, ...]]]) -> None:
    tree = Tree({"README.md": b"ours\n", "clusters/dev-cluster/dev/chat/NOTES.md": b"by hand\n"})
    for models, environments in sequence:
        wanted = spec(models, environments)
        tree.apply(tree.plan(wanted))
        again = tree.plan(wanted)
        assert (again.releases, again.files) == ((), ())
        fresh = Tree()
        fresh.apply(fresh.plan(wanted))
        manifests = {path for path in tree.files if path.startswith("clusters/") and not path.endswith(".md")}
        assert manifests == {path for path in fresh.files if path.startswith("clusters/")}
    assert tree.files["clusters/dev-cluster/dev/chat/NOTES.md"] == b"by hand\n"
