"""What a chain of commits changes, on plain values: part of a tree has to tell as much as all of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from gitops.errors import GitopsError
from gitops.render.tree import blob_id
from gitops.world.git.changes import Files, are_nested, chain, check_paths, differing, with_parents
from gitops.world.ports import Entry

Contents = dict[str, bytes]
PATHS = ["a", "a/b", "a/b/c", "a/d", "e/f", "e/g", "h"]


def tree_of(files: Mapping[str, bytes], algorithm: str = "sha1") -> dict[str, Entry]:
    directories = {step for step in with_parents(files) if step not in files}
    trees = {path: Entry("040000", "tree", blob_id(path.encode(), algorithm=algorithm)) for path in directories}
    blobs = {path: Entry("100644", "blob", blob_id(data, algorithm=algorithm)) for path, data in files.items()}
    return trees | blobs


def one_by_one(files: Contents, commits: Sequence[Files]) -> list[Files]:
    """The plain way: look at the whole tree again before each commit."""
    found = []
    for changes in commits:
        found.append(differing(changes, tree_of(files), ""))
        files = {path: data for path, data in {**files, **found[-1]}.items() if data is not None}
    return found


def outcome(work: Callable[[], list[Files]]) -> list[Files] | str:
    try:
        return work()
    except GitopsError as refusal:
        return refusal.what


@st.composite
def files(draw: st.DrawFn) -> Contents:
    """Files of which none lies below another."""
    chosen: Contents = {}
    for path in draw(st.permutations(PATHS)):
        if draw(st.booleans()) and not are_nested([*chosen, path]):
            chosen[path] = draw(st.sampled_from([b"1", b"2"]))
    return chosen


changes = st.dictionaries(st.sampled_from(PATHS), st.sampled_from([None, b"1", b"2"]), max_size=4)


@given(files(), st.lists(changes, min_size=1, max_size=5), st.sampled_from(["sha1", "sha256"]))
def test_a_chain_is_what_its_commits_are_one_by_one(
    present: Contents, commits: list[dict[str, bytes | None]], algorithm: str
) -> None:
    for wanted in commits:
        try:
            check_paths(wanted)
        except ValueError:
            return
    tree = tree_of(present, algorithm)
    asked = {path for wanted in commits for path in wanted}
    if not are_nested(asked):
        seen = set(with_parents(asked))
        tree = {path: entry for path, entry in tree.items() if path in seen}
    assert outcome(lambda: chain(commits, tree, "")) == outcome(lambda: one_by_one(present, commits))


def test_nested() -> None:
    assert are_nested(["a/b", "c", "a"])
    assert are_nested(["a", "a/b/c"])
    assert not are_nested(["a/b", "a/c", "ab"])
