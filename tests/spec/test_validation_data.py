"""What `validate.data` and `validate.parity` may say."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from gitops.spec.validation_data import (
    LOWER_IS_BETTER,
    NUMERIC,
    Accuracy,
    DataFile,
    DataGates,
    MetricOfPredictions,
    Parity,
    contradictions,
)

PATHS = TypeAdapter[str](DataFile)
MINIMAL: dict[str, Any] = {
    "accuracy": {"data": "labelled.csv", "min": 0.9},
    "drift": {"reference": "a.parquet", "current": "b.parquet"},
    "bias": {"data": "labelled.csv", "group": "region", "maxDifference": {"equalOpportunity": 0.1}},
}


def said(**changes: dict[str, Any]) -> list[tuple[str, str]]:
    """The contradictions of the minimal gates with some keys changed; None removes one."""
    merged = {name: {**MINIMAL[name], **changes.get(name, {})} for name in MINIMAL}
    gates = {name: {key: v for key, v in gate.items() if v is not None} for name, gate in merged.items()}
    return [(".".join(each.path), each.message) for each in contradictions(DataGates.model_validate(gates))]


@pytest.mark.parametrize("path", ["a.csv", "a/b-1_2.x/c.parquet", "_a", "s3://acme/x/y.parquet", "hf://o/n@main"])
def test_paths_of_the_project_and_artifacts(path: str) -> None:
    assert PATHS.validate_python(path) == path


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../a", "a/../b", "a//b", "./a", ".env", "a/.git/x", "http://x", "a\n"]
)
def test_other_paths_are_refused(path: str) -> None:
    with pytest.raises(ValidationError):
        PATHS.validate_python(path)


def test_the_shortest_gates_are_complete() -> None:
    assert said() == []
    gates = DataGates.model_validate(MINIMAL)
    assert gates.drift
    assert gates.drift.ks is None
    assert DataGates.model_validate({}) == DataGates()


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        ({"accuracy": {"min": None}}, "accuracy", "there is no limit"),
        ({"accuracy": {"metric": "r2", "max": 1.0}}, "accuracy.max", "of r2, higher is better"),
        ({"accuracy": {"metric": "mean-absolute-error"}}, "accuracy.min", "of mean-absolute-error, lower is better"),
        ({"accuracy": {"maxDrop": 0.1}}, "accuracy.maxDrop", "`maxDrop` needs `baseline`"),
        ({"accuracy": {"baseline": "b.csv"}}, "accuracy.baseline", "`baseline` needs `maxDrop`"),
        ({"accuracy": {"positive": 1}}, "accuracy.positive", "accuracy has no positive class"),
        (
            {"drift": {"features": ["age"], "perFeature": {"agee": {"maxPsi": 1}}}},
            "drift.perFeature.agee",
            "agee is not among the features",
        ),
        ({"bias": {"maxDifference": {}}}, "bias.maxDifference", "there is no limit"),
    ],
)
def test_contradictions(changes: dict[str, Any], path: str, message: str) -> None:
    assert said(**changes) == [(path, message)]


def test_limits_of_features_that_are_not_named_one_by_one_are_fine() -> None:
    assert said(drift={"perFeature": {"age": {"maxPsi": 1}}}) == []
    assert said(drift={"features": ["age"], "predictions": "score", "perFeature": {"score": {"maxPsi": 1}}}) == []


@pytest.mark.parametrize(
    "gates",
    [
        {"accuracy": {"data": "a.csv", "min": float("nan")}},
        {"accuracy": {"data": "a.csv", "confidence": 1.0}},
        {"accuracy": {"data": "a.csv", "metric": "acc"}},
        {"accuracy": {"data": "a.csv", "minRows": 0}},
        {"drift": {"reference": "a", "current": "b", "maxPsi": 0}},
        {"drift": {"reference": "a", "current": "b", "maxJensenShannon": 1.1}},
        {"drift": {"reference": "a", "current": "b", "bins": 1}},
        {"bias": {"data": "a", "group": "g", "maxDifference": {"parity": 0.1}}},
        {"bias": {"data": "a", "group": "a\nb", "maxDifference": {"accuracy": 0.1}}},
    ],
)
def test_values_that_mean_nothing_are_refused(gates: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DataGates.model_validate(gates)


@pytest.mark.parametrize("positive", [1, True, "refund", 1.5])
def test_a_class_keeps_its_type_through_the_record_of_a_release(positive: object) -> None:
    """Models are stored as JSON when they are released; see gitops.spec.frozen."""
    accuracy = Accuracy.model_validate({"data": "a.csv", "positive": positive})
    again = Accuracy.model_validate_json(accuracy.model_dump_json(exclude_none=True))
    assert again == accuracy
    assert type(again.positive) is type(positive)


def test_metrics_are_known_by_kind() -> None:
    known = set(MetricOfPredictions.__args__)  # type: ignore[attr-defined]
    assert LOWER_IS_BETTER < NUMERIC < known


def test_parity_compares_known_items() -> None:
    assert Parity.model_validate({"record": "training/chat.yaml", "compare": ["tokenizer", "chat-template"]})
    with pytest.raises(ValidationError):
        Parity.model_validate({"record": "training/chat.yaml", "compare": ["tokeniser"]})
