"""What `validate.data` and `validate.parity` of a model may say: gates on recorded data, and parity of environments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, NamedTuple

from pydantic import ConfigDict, Field, StringConstraints

from gitops.spec.fields import SpecModel

DataFile = Annotated[
    str,
    StringConstraints(
        pattern=r"^((s3|gs|hf|file)://[A-Za-z0-9][A-Za-z0-9._@:/+=-]*"
        r"|[A-Za-z0-9_][A-Za-z0-9._@+=-]*(/[A-Za-z0-9_][A-Za-z0-9._@+=-]*)*)$",
        max_length=1024,
    ),
    Field(examples=["validation/labelled.parquet"]),
]
"""A file of the project by its path, which cannot climb out of it, or an artifact's URI."""

Column = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f-\x9f]{1,200}$"), Field(examples=["label", "age"])]
"""A column as the file names it."""

Fraction = Annotated[float, Field(ge=0, le=1)]
Confidence = Annotated[float, Field(ge=0.5, le=0.9999)]
Rows = Annotated[int, Field(ge=1, le=1_000_000_000)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Scalar = str | int | float | bool

MetricOfPredictions = Literal[
    "accuracy",
    "balanced-accuracy",
    "f1",
    "precision",
    "recall",
    "roc-auc",
    "mean-absolute-error",
    "root-mean-squared-error",
    "r2",
]
LOWER_IS_BETTER = frozenset({"mean-absolute-error", "root-mean-squared-error"})
NUMERIC = frozenset({"mean-absolute-error", "root-mean-squared-error", "r2"})
"""Metrics of numbers; the others are about classes."""

FailWhen = Literal["estimate", "surely", "possibly"]
"""What has to be beyond a limit for a check to fail.

`estimate` is the measured value. `surely` is the whole confidence interval, so that chance alone fails nothing.
`possibly` is any part of the interval, so that nothing passes on too little data.
"""


class Accuracy(SpecModel):
    """How good recorded predictions are, against labels, and against an earlier version's predictions."""

    data: DataFile
    """A Parquet, CSV or JSON Lines file with a row for each case."""
    label: Column = "label"
    """The column with the right answers. Rows without one are left out."""
    prediction: Column = "prediction"
    """The column with the predictions; for `roc-auc`, with scores that are higher for the positive class."""
    metric: MetricOfPredictions = "accuracy"
    positive: Scalar | None = None
    """The class that `f1`, `precision`, `recall` and `roc-auc` are about; without it, the first three are means over
    all classes, and labels for `roc-auc` have to be 0 and 1, or false and true."""
    min: Number | None = None
    """The least value that passes."""
    max: Number | None = None
    """The greatest value that passes, for errors, where lower is better."""
    baseline: DataFile | None = None
    """A file with the same columns and another version's predictions."""
    max_drop: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """How much worse than the baseline it may be, in units of the metric."""
    confidence: Confidence = 0.95
    """Of the interval around the value: Wilson's for `accuracy`, a bootstrap for the others and for drops."""
    fail_when: FailWhen = "estimate"
    """`estimate`: the value is beyond the limit; `surely`: the whole interval is; `possibly`: any part of it is."""
    min_rows: Rows = 100
    """With fewer labelled rows the gate fails."""


class KolmogorovSmirnov(SpecModel):
    """A test that two samples of numbers come from one distribution. It finds drift when both limits are exceeded."""

    false_discovery_rate: Annotated[float, Field(gt=0, le=0.5)] = 0.01
    """Which share of the features that it reports may be false alarms (Benjamini and Hochberg's correction)."""
    min_distance: Fraction = 0.1
    """Differences of the distribution functions up to this one are too small to matter, however significant."""


class DriftLimits(SpecModel):
    """Limits of one feature, in place of the common ones."""

    max_psi: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """The greatest population stability index."""
    max_jensen_shannon: Fraction | None = None
    """The greatest Jensen-Shannon distance, from 0 (the same) to 1 (nothing in common)."""


class Drift(SpecModel):
    """How far the present data is from what the model was trained on."""

    reference: DataFile
    """What the model was trained on or accepted with."""
    current: DataFile
    """What it sees now."""
    features: Annotated[tuple[Column, ...], Field(max_length=10_000, strict=False)] = ()
    """Columns to compare; by default all of the reference that hold numbers, truth values or categories."""
    predictions: Column | None = None
    """The column with the model's predictions, compared like a feature."""
    bins: Annotated[int, Field(ge=2, le=100)] = 10
    """Intervals for numbers, with equal shares of the reference."""
    max_psi: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.2
    """The greatest population stability index. Rule of thumb: below 0.1 stable, above 0.2 another population."""
    max_jensen_shannon: Fraction | None = None
    """The greatest Jensen-Shannon distance, from 0 (the same) to 1 (nothing in common)."""
    ks: KolmogorovSmirnov | None = None
    """Also test numbers by Kolmogorov and Smirnov; `{}` takes its defaults."""
    per_feature: dict[Column, DriftLimits] = {}
    """Other limits for some features."""
    min_rows: Rows = 500
    """With fewer rows in either file the gate fails: chance alone moves the index by about 18/rows then."""


class BiasLimits(SpecModel):
    """The greatest difference between any two groups, as a fraction; what has no limit is only measured."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    demographic_parity: Fraction | None = None
    """Of the share with a positive prediction."""
    equal_opportunity: Fraction | None = None
    """Of the share found among the truly positive (true positive rate)."""
    false_positive_rate: Fraction | None = None
    """Of the share with a positive prediction among the truly negative."""
    accuracy: Fraction | None = None
    """Of the share of right predictions."""


class Bias(SpecModel):
    """Whether predictions treat groups alike."""

    data: DataFile
    """A Parquet, CSV or JSON Lines file with a row for each case."""
    group: Column
    """The column that says which group a row belongs to; rows without one form a group of their own."""
    label: Column = "label"
    prediction: Column = "prediction"
    positive: Scalar | None = None
    """Which label and prediction is positive; without it they have to be 0 and 1, or false and true."""
    max_difference: BiasLimits
    confidence: Confidence = 0.95
    """Of the interval around a difference, held over all pairs of groups together."""
    fail_when: FailWhen = "estimate"
    """`estimate`: the difference is beyond the limit; `surely`: its whole interval is; `possibly`: any part of it."""
    min_group: Rows = 50
    """A rate over fewer rows of a group is too small to be judged."""
    small_groups: Literal["leave-out", "fail"] = "leave-out"
    """What becomes of groups that are too small: they are named and not judged, or the gate fails."""


class DataGates(SpecModel):
    """Gates that look at recorded data and predictions."""

    accuracy: Accuracy | None = None
    drift: Drift | None = None
    bias: Bias | None = None


ParityItem = Literal["tokenizer", "chat-template", "preprocessing", "dtype", "dependencies", "image", "schema"]


class Parity(SpecModel):
    """Whether an environment is what training was, by the fingerprints of both."""

    record: DataFile
    """Training's (or another environment's) fingerprint, YAML or JSON, or a model directory to take it from."""
    current: DataFile | None = None
    """The fingerprint or model directory to compare; without it, the one that the runner takes of its environment."""
    compare: Annotated[tuple[ParityItem, ...], Field(max_length=7, strict=False)] = ()
    """What has to be recorded on both sides and be the same; by default all that the record holds."""
    ignore: Annotated[tuple[Column, ...], Field(max_length=1000, strict=False)] = ()
    """What may differ: an item, or a part of one such as `dependencies.setuptools` or `schema.updated_at`."""


class Contradiction(NamedTuple):
    """What cannot be meant, below `path` of DataGates."""

    path: tuple[str, ...]
    message: str
    hint: str


def contradictions(gates: DataGates) -> Iterator[Contradiction]:
    """What each field allows but the whole does not, in the order of the file."""
    if accuracy := gates.accuracy:
        yield from _of_accuracy(accuracy)
    if (drift := gates.drift) and drift.features:
        compared = {*drift.features, drift.predictions}
        for name in drift.per_feature:
            if name not in compared:
                hint = f"add {name} to `features`, or remove its limits"
                yield Contradiction(("drift", "perFeature", name), f"{name} is not among the features", hint)
    if (bias := gates.bias) and not any(limit is not None for _, limit in bias.max_difference):
        hint = "write for example `demographicParity: 0.1`"
        yield Contradiction(("bias", "maxDifference"), "there is no limit", hint)


def _of_accuracy(accuracy: Accuracy) -> Iterator[Contradiction]:
    lower = accuracy.metric in LOWER_IS_BETTER
    if accuracy.min is accuracy.max is accuracy.max_drop is None:
        hint = f"write `{'max' if lower else 'min'}`, or `baseline` and `maxDrop`"
        yield Contradiction(("accuracy",), "there is no limit", hint)
    if lower and accuracy.min is not None:
        yield Contradiction(("accuracy", "min"), f"of {accuracy.metric}, lower is better", "write `max`")
    if not lower and accuracy.max is not None:
        yield Contradiction(("accuracy", "max"), f"of {accuracy.metric}, higher is better", "write `min`")
    if (accuracy.baseline is None) != (accuracy.max_drop is None):
        said, other = ("maxDrop", "baseline") if accuracy.baseline is None else ("baseline", "maxDrop")
        yield Contradiction(("accuracy", said), f"`{said}` needs `{other}`", f"add `{other}`, or remove `{said}`")
    if accuracy.positive is not None and accuracy.metric not in ("f1", "precision", "recall", "roc-auc"):
        yield Contradiction(("accuracy", "positive"), f"{accuracy.metric} has no positive class", "remove it")
