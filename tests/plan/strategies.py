"""Any plan at all, for properties that must hold of every one."""

from __future__ import annotations

from types import MappingProxyType

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from gitops.plan.model import (
    Base,
    ClusterInfrastructure,
    FileChange,
    LeftAlone,
    Making,
    ObjectChange,
    Outlook,
    Plan,
    PlannedStep,
    PoolUse,
    Refusal,
    ReleaseChange,
)
from gitops.plan.observed import FieldChange, ResourceChange
from gitops.values import ObjectRef, UnitKey

patient = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
"""For tests over whole plans: a busy machine is no failure."""

WORDS = ["<b>", "</details>", "-->", "```", "`", "|", "@ops", "#1", "https://x.y", "\n", "\x1b[2J", "&lt;", "[a](b)"]
hostile = st.lists(st.sampled_from([*WORDS, "a", " ", "/", "é東", "*", "_", "~~", "\\", "$"]), max_size=6).map("".join)
long = st.builds(lambda text, times: text * times, hostile, st.integers(1, 120))
text = st.one_of(st.text(max_size=12), hostile, long)

json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=5,
)
actions = st.sampled_from(["create", "update", "delete"])
units = st.builds(UnitKey, st.sampled_from(["dev", "production"]) | text, text)
unit_texts = units.map(str) | text
numbers = st.integers(0, 10**9)
prices = st.none() | st.floats(0, 1e9)


def many(item: st.SearchStrategy[object], size: int = 4) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(item, max_size=size).map(tuple)


bases = st.builds(
    Base,
    pipeline=text,
    head=st.none() | text,
    spec=text,
    engine=text,
    world=st.sampled_from(["real", "embedded"]),
    live=st.booleans(),
    spec_commit=text,
    spec_modified=st.booleans(),
)
releases = st.builds(ReleaseChange, units, actions, text, text, text, st.sampled_from(["", "start", "roll-back"]))
contents = st.none() | st.binary(max_size=20) | text.map(str.encode)
files = st.builds(FileChange, unit_texts, actions, text, contents, text)
steps = st.builds(
    PlannedStep, unit_texts, text, st.dictionaries(text, contents, max_size=3).map(MappingProxyType), st.booleans()
)
fields = st.builds(FieldChange, text, json, json, st.just("") | text)
objects = st.builds(
    ObjectChange,
    unit=unit_texts,
    cluster=text,
    environment=text,
    action=actions,
    ref=st.builds(ObjectRef, text, text, text, text),
    reason=st.sampled_from(["spec", "missing", "changed", "taken-over", "surplus"]),
    path=text,
    uid=text,
    fields=many(fields, 2),
)
lines = st.builds(
    ResourceChange,
    text,
    st.sampled_from(["create", "update", "delete", "replace", "read"]),
    st.booleans(),
    many(text, 2),
)
clusters = st.builds(ClusterInfrastructure, text, st.booleans(), many(lines), st.binary(max_size=20))
pools = st.builds(
    PoolUse, text, text, text, numbers, numbers, numbers, numbers, prices, prices, prices, st.none() | numbers
)

plans = st.builds(
    Plan,
    base=bases,
    releases=many(releases),
    files=many(files),
    objects=many(objects),
    infrastructure=many(clusters, 2),
    capacity=many(pools, 3),
    left_alone=many(st.builds(LeftAlone, text, text), 3),
    unreachable=many(st.builds(LeftAlone, text, text), 2),
    waiting=many(st.builds(LeftAlone, unit_texts, text), 3),
    steps=many(steps, 3),
    outlook=many(st.builds(Outlook, unit_texts, many(text, 3)), 3),
    warnings=many(text, 3),
    refusals=many(st.builds(Refusal, text, text, st.just("") | text, many(unit_texts, 2)), 3),
    message=text,
    seen=st.dictionaries(text, text, max_size=3).map(MappingProxyType),
    models=numbers,
    environments=many(st.sampled_from(["dev", "production"]) | text, 3),
    making=st.builds(Making, numbers, many(text, 3)),
)
