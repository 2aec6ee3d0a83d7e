"""Keys: equal for equal inputs, different for any that counts."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops.stages.build.plan import canonical, key, steps
from tests.stages.build.projects import CONVERT, INT8, TRITON, parsed

TOOLS = {"torch": "2.15.0", "onnx": "1.23.2"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def shuffled(value: Any) -> Any:
    """Equal, with its keys in another order."""
    if isinstance(value, dict):
        return {name: shuffled(inner) for name, inner in reversed(value.items())}
    return [shuffled(inner) for inner in value] if isinstance(value, list) else value


@given(JSON)
def test_equal_values_give_equal_bytes(value: Any) -> None:
    assert canonical(value) == canonical(shuffled(value))


@given(JSON, JSON)
def test_other_values_give_other_bytes(one: Any, other: Any) -> None:
    assert (canonical(one) == canonical(other)) == (
        json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    )


def key_of(stage: dict[str, Any], **changes: Any) -> str:
    (step, *_) = steps(parsed(stage))
    asked: dict[str, Any] = {"given": "sha256:1", "files": {"code": "sha256:2"}, "tools": TOOLS, "facts": {}, **changes}
    return key(step, asked["given"], asked["files"], asked["tools"], asked["facts"])


@pytest.mark.parametrize(
    "changed",
    [
        key_of(CONVERT, given="sha256:3"),
        key_of(CONVERT, files={"code": "sha256:3"}),
        key_of(CONVERT, files={"code": "sha256:2", "samples": "sha256:2"}),
        key_of(CONVERT, tools={**TOOLS, "torch": "2.15.1"}),
        key_of({**CONVERT, "opset": 19}),
        key_of({**CONVERT, "outputs": ["logits"]}),
        key_of({**CONVERT, "tolerance": {"absolute": "1e-6"}}),
    ],
)
def test_whatever_counts_changes_the_key(changed: str) -> None:
    assert changed != key_of(CONVERT)


def test_limits_and_names_of_files_do_not() -> None:
    assert key_of({**CONVERT, "timeout": "5m"}) == key_of(CONVERT)
    assert key_of({**CONVERT, "code": "elsewhere"}) == key_of(CONVERT)


def test_facts_count_where_a_stage_uses_them() -> None:
    build = parsed(CONVERT, TRITON)
    convert, triton = steps(build)
    facts: list[dict[str, Any]] = [{"model": name, "signature": {"inputs": []}} for name in ("iris", "rose")]
    assert len({key(convert, "x", {}, {}, fact) for fact in facts}) == 1
    assert len({key(triton, "x", {}, {}, fact) for fact in facts}) == 2


def test_steps_say_what_they_take_and_give() -> None:
    convert, quantize, triton = steps(parsed(CONVERT, {**INT8, "timeout": "2m"}, TRITON))
    assert (convert.title, convert.takes, convert.gives) == ("1 convert", "pytorch", "onnx")
    assert "torch" in convert.tools
    assert (quantize.timeout, triton.timeout) == (120, 3600)
    assert quantize.files == {"labelled": "samples/iris.npz", "calibration": "samples/typical.npz"}
    assert "torch" not in quantize.tools
    assert triton.stage == "triton"
