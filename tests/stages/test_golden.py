"""The gates `loads` and `golden`, and the file of cases."""

import re
from pathlib import Path
from typing import Any

import pytest

from gitops.errors import GitopsError
from gitops.spec.problems import SpecError
from gitops.spec.resolved import SourceFile
from gitops.stages.endpoints import Target
from gitops.stages.expectations import cosine, is_close, misses
from gitops.stages.golden import json_type, run_golden, run_loads
from gitops.stages.golden_file import Close, Expectations, GoldenFile, load_golden, pattern_found
from gitops.stages.protocols.base import Content, Tensor
from gitops.stages.protocols.openai import OpenAI
from gitops.stages.protocols.plain import PlainJson
from gitops.stages.protocols.triton import Triton
from tests.stages.endpoint import MODEL, Server

ROOT = Path(__file__).parents[2]


def golden(text: str) -> GoldenFile:
    return load_golden(SourceFile("validation/cases.yaml", f"apiVersion: gitops/v1\n{text}".encode()))


def target(server: Server, dialect: Any = None) -> Target:
    return Target(server.url, dialect or OpenAI(MODEL), MODEL, timeout=20)


def found(expect: dict[str, Any], content: Content) -> list[str]:
    said = Expectations.model_validate(expect)
    return [f"{miss.expected} / {miss.got}" for miss in misses(said, content)]


TEXT = Content(text="You may return it within 14 Days.")
JSON = Content(text='{"label": "spam", "score": 0.9, "tags": ["a", "b"]}')


@pytest.mark.parametrize(
    ("expect", "content"),
    [
        ({"contains": ["14 days", "RETURN"], "forbids": ["never"]}, TEXT),
        ({"contains": ["14 Days"], "forbids": ["14 days"], "ignoreCase": False}, TEXT),
        ({"matches": r"\d+ Days"}, TEXT),
        ({"equals": " You may return it within 14 Days.\n"}, TEXT),
        ({"equals": {"tags": ["a", "b"], "score": 0.9, "label": "spam"}}, JSON),
        ({"schema": {"type": "object", "properties": {"score": {"maximum": 1}}, "required": ["label"]}}, JSON),
        ({"schema": {"patternProperties": {"^(label|tags)$": True}, "additionalProperties": {"type": "number"}}}, JSON),
        ({"schema": {"$ref": "#/$defs/scored", "$defs": {"scored": {"required": ["score"]}}}}, JSON),
        ({"schema": {"$id": "http://acme.ai/a.json", "$ref": "b.json", "$defs": {"b": {"$id": "b.json"}}}}, JSON),
        ({"close": {"score": {"to": 0.9001, "absolute": 0.001}}}, JSON),
        ({"close": {"answer": {"to": [1, 2]}}}, Content(document=[1.0, 2.0])),
        (
            {"close": {"OUT": {"to": [[1, 2]], "relative": 0.01}}},
            Content(tensors={"OUT": Tensor("F", (1, 2), (1.005, 2))}),
        ),
        ({"equals": None}, Content(text="null")),
    ],
)
def test_what_is_as_expected(expect: dict[str, Any], content: Content) -> None:
    assert found(expect, content) == []


@pytest.mark.parametrize(
    ("expect", "content", "said"),
    [
        ({"contains": ["30 days"]}, TEXT, '"30 days" / "You may return it within 14 Days."'),
        ({"forbids": ["RETURN"]}, TEXT, 'nothing like "RETURN"'),
        ({"matches": "^14"}, TEXT, "a match of ^14"),
        ({"equals": "no"}, TEXT, '"no" / "You may'),
        ({"equals": {"label": 1}}, Content(document={"label": True}), '{"label":1} / {"label":true}'),
        ({"equals": [1]}, TEXT, '[1] / "You may'),
        ({"schema": {"required": ["id"]}}, JSON, "'id' is a required property"),
        ({"schema": {"properties": {"score": {"maximum": 0.5}}}}, JSON, "score: 0.9 is greater than the maximum"),
        ({"schema": {"properties": {"label": {"pattern": "^ham"}}}}, JSON, "label: 'spam' does not match '^ham'"),
        ({"schema": {"patternProperties": {"^la": False}}}, JSON, "False schema does not allow 'spam'"),
        ({"schema": {"additionalProperties": False, "properties": {"label": {}, "tags": {}}}}, JSON, "'score' was not"),
        ({"schema": {"type": "object"}}, TEXT, 'JSON / "You may'),
        ({"close": {"score": {"to": 1}}}, JSON, "0.9 for 1; it is off"),
        ({"close": {"label": {"to": 1}}}, JSON, "spam, which is no number"),
        ({"close": {"tags": {"to": [1, 2, 3]}}}, Content(document={"tags": [1, 2]}), "the shape [2]"),
        ({"close": {"x": {"to": 1}}}, JSON, "there is no x in"),
        ({"close": {"x": {"to": 1}}}, Content(tensors={"OUT": Tensor("F", (1,), (1,))}), "no output x, only OUT"),
        ({"contains": ["x"]}, Content(), "an empty answer"),
    ],
)
def test_what_is_not_is_told(expect: dict[str, Any], content: Content, said: str) -> None:
    [miss] = found(expect, content)
    assert said in miss


def test_a_keyword_far_behind_is_shown_where_it_is() -> None:
    [miss] = found({"forbids": ["secret"]}, Content(text="blah " * 200 + "the secret is out"))
    assert "the secret is out" in miss


@pytest.mark.parametrize(
    ("got", "wanted", "good"),
    [(1.0, 1.0, True), (1.0099, 1.0, True), (1.02, 1.0, False), (float("nan"), 1.0, False), (float("inf"), 1.0, False)],
)
def test_closeness(got: float, wanted: float, good: bool) -> None:
    assert is_close(got, wanted, Close(to=1, relative=0.01)) is good


def test_cosines() -> None:
    assert cosine([1, 0], [0, 1]) == 0
    assert cosine([1, 2], [2, 4]) == pytest.approx(1)
    assert cosine([0, 0], [1, 1]) == 0


def test_patterns_cannot_take_for_ever() -> None:
    # Python's own engine would need longer than the universe has existed for it.
    assert not pattern_found("^(a+)+$", "a" * 100_000 + "!")
    endless = {"schema": {"pattern": "^(a+)+$"}}
    assert found(endless, Content(document="a" * 50_000 + "!"))


# --- the file ---


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cases: {}", "cases: this is empty"),
        ("cases: {one: {expect: {contains: [x]}}}", "cases.one: nothing is asked"),
        ("cases: {one: {prompt: x, messages: [{role: user}]}}", "a prompt or messages"),
        ("cases: {one: {promt: x}}", "unknown key — did you mean prompt?"),
        ("cases: {-: {prompt: x}}", '"-" is not a name'),
        ("cases: {one: {prompt: x, expect: {matches: '(?=a)'}}}", "this is no regular expression"),
        ("cases: {one: {prompt: x, expect: {schema: {type: thing}}}}", "this is no JSON Schema"),
        ("cases: {one: {prompt: x, expect: {schema: {$ref: 'http://127.0.0.1:1/x.json'}}}}", "nothing is fetched"),
        ("cases: {one: {prompt: x, expect: {schema: {$ref: other.json}}}}", "other.json is not in it"),
        ("cases: {one: {prompt: x, expect: {schema: {items: {$ref: '#/$defs/absent'}}}}}", "absent is not in it"),
        ("cases: {one: {prompt: x, expect: {schema: {allOf: [{$dynamicRef: '#nowhere'}]}}}}", "#nowhere is not in it"),
        ("cases: {one: {prompt: x, expect: {schema: {pattern: '(?=a)'}}}}", "this is no JSON Schema: (?=a): invalid"),
        (
            "cases: {one: {prompt: x, expect: {similar: {to: y, atLeast: 0.9}}}}",
            "nothing is there to ask for embeddings",
        ),
        ("cases: {one: {prompt: x, expect: {close: {a: {to: [1, b]}}}}}", "neither a number nor a list of numbers"),
        ("mustPass: lots\ncases: {one: {prompt: x}}", "not a threshold"),
        ("cases: {one: &a {prompt: x}, two: *a}", "anchor"),
        ("cases: {one: {prompt: x}, one: {prompt: y}}", "twice"),
    ],
)
def test_a_file_that_is_wrong_says_where(text: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        golden(text)
    assert said in str(caught.value)
    assert re.match(r"validation/cases\.yaml:\d+:\d+: ", str(caught.value))


def test_settings_repeat_and_a_case_has_its_own() -> None:
    file = golden(
        "settings: {maxTokens: 9}\ncases: {a: {prompt: x}, b: {prompt: y, settings: {temperature: 1, seed: 3}}}"
    )
    a, b = (file.question(case).settings for case in file.cases.values())
    assert (a.temperature, a.top_p, a.seed, a.max_tokens, a.stream) == (0, 1, 0, 9, False)
    assert (b.temperature, b.seed, b.max_tokens) == (1, 3, 9)


def test_the_example_of_the_documentation() -> None:
    [example] = re.findall(r"^```yaml\n(apiVersion.*?)^```", (ROOT / "docs/validation.md").read_text(), re.M | re.S)
    file = load_golden(SourceFile("docs/validation.md", example.encode()))
    answers = {
        "return an order": "You can return it within 14 days.",
        "Classify": '{"category": "billing", "urgent": true}',
        "order number": "Your order number is A-123456.",
        "greeting": "Good morning, how are you today my dear friend?",
    }
    with Server(answers=answers) as server:
        assert file.embeddings
        embeddings = file.embeddings.model_copy(update={"url": server.url, "api_key_env": None})
        result = run_golden(target(server), file.model_copy(update={"embeddings": embeddings}))
    assert result.passed, result.failed
    assert len(result.checks) == len(file.cases) >= 4


# --- golden ---


CASES = """
cases:
  good: {prompt: the capital, expect: {contains: [Paris]}}
  bad: {prompt: the river, expect: {contains: [Seine], forbids: [Thames]}}
"""


@pytest.mark.parametrize("settings", ["", "settings: {stream: true}", "concurrency: 2"])
def test_a_failed_case_says_what_came(settings: str) -> None:
    with Server(answers={"capital": "Paris.", "river": "The Thames."}) as server:
        result = run_golden(target(server), golden(settings + CASES))
    assert not result.passed
    [bad] = result.failed
    assert bad.sentence == 'bad: expected "Seine"; nothing like "Thames", got "The Thames."'
    assert result.figures["passed-percent"] == 50


def test_a_share_of_the_cases_is_enough() -> None:
    with Server(answers={"capital": "Paris."}) as server:
        enough = run_golden(target(server), golden("mustPass: 50%" + CASES))
        too_few = run_golden(target(server), golden("mustPass: 51%" + CASES))
    assert enough.passed
    assert 'bad: expected "Seine"' in enough.note
    assert not too_few.passed
    assert too_few.failed[0].sentence == "cases that pass: expected at least 51%, got 50% (1 of 2)"


@pytest.mark.parametrize(("fault", "said"), [("500", "status 500: {"), ("close", "closed"), ("not-json", "malformed")])
def test_cases_without_an_answer_fail(fault: str, said: str) -> None:
    with Server(fault=fault) as server:
        result = run_golden(target(server), golden(CASES))
    assert [check.passed for check in result.checks] == [False, False]
    assert said in result.checks[0].got


def test_tensors_and_plain_json() -> None:
    with Server(answers={"free money": "spam"}) as server:
        tensors = golden("cases: {one: {inputs: {IN: [[1, 2]]}, expect: {close: {OUT: {to: [[2, 4]]}}}}}")
        assert run_golden(target(server, Triton(MODEL)), tensors).passed
        plain = PlainJson("/predict", body={"text": "{prompt}"}, answer_path="result.0")
        file = golden("cases: {one: {prompt: free money, expect: {equals: {label: spam, score: 0.75}}}}")
        assert run_golden(target(server, plain), file).passed


def test_similarity_by_embeddings() -> None:
    with Server(answers={"first": "hello dear friend", "second": "zzz"}) as server:
        text = f"""
embeddings: {{url: "{server.url}", model: minilm}}
cases:
  near: {{prompt: first, expect: {{similar: {{to: dear hello friend, atLeast: 0.99}}}}}}
  far: {{prompt: second, expect: {{similar: {{to: dear hello friend, atLeast: 0.5}}}}}}
"""
        result = run_golden(target(server), golden(text))
    assert [check.passed for check in result.checks] == [True, False]
    assert "0.000 for" in result.checks[1].got


def test_no_embeddings_is_no_verdict() -> None:
    with Server(answers={"first": "x"}) as server, Server() as nobody:
        nobody.fault = "500"
        text = f"""
embeddings: {{url: "{nobody.url}", model: minilm}}
cases: {{near: {{prompt: first, expect: {{similar: {{to: x, atLeast: 1}}}}}}}}
"""
        with pytest.raises(GitopsError, match="no embeddings come: status 500"):
            run_golden(target(server), golden(text))


# --- loads ---


def test_a_model_that_loads() -> None:
    declared = "signature: {inputs: {IN: {type: FP32, shape: [-1, 2]}}, outputs: {OUT: {type: FP32}}}" + CASES
    with Server() as server:
        assert run_loads(target(server)).passed
        assert run_loads(target(server, Triton(MODEL)), golden(declared)).passed


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ("inputs: {IN: {type: FP64}}", "input IN: expected FP64, got FP32 [-1, 2]"),
        ("inputs: {IN: {type: FP32, shape: [-1, 3]}}", "input IN: expected FP32 [-1, 3], got FP32 [-1, 2]"),
        ("outputs: {PROBS: {type: FP32}}", "output PROBS: expected FP32, got OUT"),
    ],
)
def test_a_model_of_other_types(declared: str, said: str) -> None:
    with Server() as server:
        result = run_loads(target(server, Triton(MODEL)), golden(f"signature: {{{declared}}}" + CASES))
    assert [check.sentence for check in result.failed] == [said]


def test_a_model_that_does_not_load() -> None:
    with Server(healthy=False) as server:
        result = run_loads(target(server))
    assert [check.sentence for check in result.failed] == [
        'ready: expected a ready model, got status 503: {"error": "still loading"}'
    ]


def test_another_model_than_declared() -> None:
    with Server(models=("other", "third")) as server:
        result = run_loads(target(server))
    assert [check.sentence for check in result.failed] == [
        f"describes itself: expected the model {MODEL}, got it serves other and third"
    ]


def test_plain_json_is_known_by_an_answer() -> None:
    plain = PlainJson("/predict", body={"text": "{prompt}"}, answer_path="result.0.score")
    file = golden("signature: {outputs: {answer: {type: number, shape: []}}}" + CASES)
    with Server() as server:
        assert run_loads(target(server, plain), file).passed
        with pytest.raises(GitopsError, match="nothing tells whether this endpoint is ready"):
            run_loads(target(server, plain))
    assert json_type([[1, 2.5]]) == ("number", (1, 2))
    assert json_type(["a", 1])[0] == "mixed"
    assert json_type({"a": 1})[0] == "object"
