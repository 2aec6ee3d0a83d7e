"""Editing `pipeline.yaml` changes the values that were asked for, and not one byte more."""

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitops.errors import GitopsError
from gitops.spec.editing import edit, set_version
from gitops.spec.problems import SpecError
from gitops.spec.resolved import SourceFile
from gitops.spec.source import read_yaml
from tests.support.project import ROOT

DIGEST = "sha256:" + "ab" * 32


def data_of(text: bytes) -> dict[str, Any]:
    return read_yaml(SourceFile("pipeline.yaml", text))


def test_the_example_changes_in_three_lines() -> None:
    before = (ROOT / "pipeline.yaml").read_bytes()
    uri = "s3://acme-models/support-chat/2.4.0"
    after = set_version(before, "support-chat", {"version": "2.4.0", "uri": uri, "digest": DIGEST})
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    assert len(old) == len(new)
    changed = [(a.strip(), b.strip()) for a, b in zip(old, new, strict=True) if a != b]
    assert [b for _, b in changed] == [b"version: 2.4.0", f"uri: {uri}".encode(), f"digest: {DIGEST}".encode()]
    assert changed[0][0] == b"version: 2.3.0"


@pytest.mark.parametrize(
    ("before", "changes", "after"),
    [
        ("    version: 1.0   # pinned\n", {"version": "2.0"}, '    version: "2.0"   # pinned\n'),
        ("    version: '1.0.0'\n", {"version": "2.0.0"}, "    version: '2.0.0'\n"),
        ('    "version": "1.0.0"\r\n', {"version": "2.0.0"}, '    "version": "2.0.0"\r\n'),
        ("    version:\n", {"version": "2.0.0"}, "    version: 2.0.0\n"),
        ("    version: # none yet\n", {"version": "2.0.0"}, "    version: 2.0.0 # none yet\n"),
        ("    version: 1.0.0", {"version": "1e3"}, '    version: "1e3"'),
        (
            "    artifact: {uri: file://a, digest: x}  # é😀\n",
            {"uri": "s3://b/c", "format": "onnx"},
            "    artifact: {uri: s3://b/c, digest: x, format: onnx}  # é😀\n",
        ),
        (
            "    artifact: {\n      uri: a, # c\n    }\n",
            {"digest": "d"},
            "    artifact: {\n      uri: a, digest: d, # c\n    }\n",
        ),
        ("    artifact: {}\n", {"digest": "d"}, "    artifact: {digest: d}\n"),
        (
            "    artifact:\n       uri: a # c\n       format: onnx\n",
            {"digest": "d"},
            "    artifact:\n       uri: a # c\n       digest: d\n       format: onnx\n",
        ),
        (
            "    version: 1.0.0",
            {"uri": "a", "digest": "d"},
            "    version: 1.0.0\n    artifact:\n      uri: a\n      digest: d",
        ),
        (
            "    note: |\n      text\n\n    serve:\n        gpu: {a: 1}\n",
            {"version": "1.0.0", "uri": "a"},
            "    note: |\n      text\n\n    serve:\n        gpu: {a: 1}\n"
            "    version: 1.0.0\n    artifact:\n        uri: a\n",
        ),
        ("    note: |\n      text\n", {"version": "1.0.0"}, "    note: |\n      text\n    version: 1.0.0\n"),
    ],
)
def test_edits(before: str, changes: dict[str, str], after: str) -> None:
    newline = "\r\n" if "\r\n" in before else "\n"
    head = f"# top{newline}models:{newline}  chat:{newline}"
    assert set_version((head + before).encode(), "chat", changes).decode() == head + after


def test_a_model_in_flow_style() -> None:
    text = b"models: {chat: {version: 1.0.0}, other: {version: 1.0.0}}\n"
    after = set_version(text, "chat", {"version": "1.1.0", "uri": "a:b", "digest": "d"})
    assert after == b"models: {chat: {version: 1.1.0, artifact: {uri: a:b, digest: d}}, other: {version: 1.0.0}}\n"


def test_the_byte_order_mark_stays() -> None:
    text = b"\xef\xbb\xbfmodels:\n  chat:\n    version: 1.0.0\n"
    assert set_version(text, "chat", {"version": "1.1.0"}) == text.replace(b"1.0.0", b"1.1.0")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("    version: |\n      1.0.0\n", "written as a block of text"),
        ("    version: [1]\n", "not a single value"),
        ("    artifact: none\n    version: 1.0.0\n", "artifact is not a mapping"),
        ("    artifact:\n    version: 1.0.0\n", "artifact is not a mapping"),
        ("    ? artifact\n    : uri: x\n    ? version\n    : 1.0.0\n", "cannot be edited|line of its own"),
        ("    {version}\n", "key without a value"),
    ],
)
def test_what_cannot_be_edited_is_refused(body: str, said: str) -> None:
    text = f"models:\n  chat:\n{body}".encode()
    with pytest.raises(GitopsError, match=said) as caught:
        set_version(text, "chat", {"version": "2.0.0", "digest": "d"})
    assert caught.value.hint


@pytest.mark.parametrize(
    "body",
    ["    version: &v 1.0.0\n", "    <<: {version: 1}\n", "    version: !!str 1\n", "    a: &x 1\n    version: *x\n"],
)
def test_anchors_aliases_merge_keys_and_tags_are_refused_with_their_place(body: str) -> None:
    with pytest.raises(SpecError) as caught:
        set_version(f"models:\n  chat:\n{body}".encode(), "chat", {"version": "2.0.0"})
    assert all(problem.line >= 3 and "not allowed" in problem.message for problem in caught.value.problems)


def test_an_unknown_model_is_named() -> None:
    with pytest.raises(GitopsError, match="there is no model caht") as caught:
        set_version(b"models:\n  chat: {version: 1}\n", "caht", {"version": "2.0.0"})
    assert "did you mean chat?" in caught.value.hint


def test_a_value_of_several_lines_is_refused() -> None:
    with pytest.raises(GitopsError, match="not one line"):
        set_version(b"models:\n  chat: {version: 1}\n", "chat", {"version": "2\n3"})


# --- For any document ----------------------------------------------------------------------------------------

WORDS = st.text("abc019.-:/# '\"\\{},é", min_size=0, max_size=8)
KEYS = ("note", "serve", "owner", "rollout", "x y")
INDENTS = st.integers(1, 5)


@st.composite
def scalar(draw: st.DrawFn, value: str | None = None) -> str:
    """Some text as YAML, in some style."""
    value = draw(WORDS) if value is None else value
    if draw(st.booleans()):
        return "'" + value.replace("'", "''") + "'"
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


@st.composite
def old(draw: st.DrawFn) -> str:
    return draw(st.one_of(scalar(), st.sampled_from(["1.0.0", "2", "s3://a/b", "true", "x y", "~"])))


@st.composite
def flow(draw: st.DrawFn, keys: tuple[str, ...]) -> str:
    chosen = draw(st.lists(st.sampled_from(keys), unique=True))
    gap = draw(st.sampled_from(["", " ", "\n          "]))
    comma = draw(st.sampled_from(["", ","])) if chosen else ""
    return "{" + ",".join(f"{gap}{key}: {draw(old())}" for key in chosen) + comma + gap + "}"


@st.composite
def block(draw: st.DrawFn, keys: tuple[str, ...], indent: int, depth: int = 0) -> list[str]:
    lines = []
    for key in draw(st.lists(st.sampled_from(keys), unique=True, min_size=1)):
        pad, comment = " " * indent, draw(st.sampled_from(["", "  # why", " #"]))
        if draw(st.integers(0, 3)) == 0:
            lines.append(draw(st.sampled_from(["", "# a remark", f"{pad}# another"])))
        if key == "artifact" and draw(st.booleans()):
            deeper = indent + draw(INDENTS)
            lines += [f"{pad}artifact:{comment}", *draw(block(("uri", "digest", "format", "x y"), deeper, 1))]
        elif key == "artifact":
            lines.append(f"{pad}artifact: {draw(flow(('uri', 'digest', 'format')))}{comment}")
        elif key in ("note", "serve") and draw(st.booleans()):
            style = draw(st.sampled_from(["|", ">", "|-", "|+", ">+"]))
            lines += [f"{pad}{key}: {style}", f"{pad}  words # no comment", *draw(st.sampled_from([[], ["", ""]]))]
        elif key == "serve":
            lines += [f"{pad}{key}:{comment}", f"{pad}- one", f"{pad}- {{two: [3, 4]}}"]
        else:
            lines.append(f"{pad}{key}: {draw(old())}{comment}")
    return lines


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    outer = draw(INDENTS)
    lines = ["# a pipeline", "name: acme", "models:"]
    names = draw(st.permutations(["chat", "other", "third"]))
    for name in names:
        lines.append(f"{' ' * outer}{name}:")
        lines += draw(block(("version", "artifact", *KEYS), outer + draw(INDENTS)))
    lines += draw(st.sampled_from([[], ["rollouts: {}"], ["", "# the end"]]))
    text = newline.join(lines) + draw(st.sampled_from(["", newline]))
    return draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + text.encode()


CHANGES = st.dictionaries(
    st.sampled_from(["version", "uri", "digest", "format"]),
    st.one_of(WORDS, st.sampled_from(["1.0.0", "2.0", "no", "0x1", "s3://b/c@d", DIGEST, "1:30", "-"])),
    min_size=1,
)


@settings(max_examples=100)
@given(documents(), CHANGES)
def test_the_data_changes_as_asked_and_every_other_line_stays(text: bytes, changes: dict[str, str]) -> None:
    expected = copy.deepcopy(data_of(text))
    model = expected["models"]["chat"]
    try:
        after = set_version(text, "chat", changes)
    except GitopsError as error:
        # Only an artifact that is no mapping is refused, and a block of text at the very end that would gain a newline.
        nothing_to_add_to = not isinstance(model.get("artifact", {}), dict)
        assert nothing_to_add_to or ("something else" in error.what and not text.endswith(b"\n"))  # noqa: PT017
        return
    for key, value in changes.items():
        (model if key == "version" else model.setdefault("artifact", {}))[key] = value
    assert data_of(after) == expected
    old_lines, new_lines = text.splitlines(keepends=True), after.splitlines(keepends=True)
    assert len(new_lines) - len(old_lines) <= len(changes) + 1
    # The line to which a flow entry or a last newline was added counts as changed too.
    assert len(old_lines) - _kept(old_lines, new_lines) <= len(changes) + 1
    assert edit(after, {}) == after
    assert set_version(after, "chat", changes) == after


def _kept(old_lines: list[bytes], new_lines: list[bytes]) -> int:
    """The length of the longest common subsequence: how many old lines are still there, byte for byte."""
    row = [0] * (len(new_lines) + 1)
    for line in old_lines:
        above, row = row, [0]
        for at, other in enumerate(new_lines):
            row.append(above[at] + 1 if line == other else max(row[at], above[at + 1]))
    return row[-1]
