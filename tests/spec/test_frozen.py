"""Models as they were released: JSON that gives back an equal model, whatever it holds."""

from __future__ import annotations

import json
import re
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops.errors import GitopsError
from gitops.spec.frozen import dump_model, load_model
from gitops.spec.lenient import read_leniently
from gitops.spec.load import load_spec
from gitops.spec.pipeline import Model, VllmServe
from tests.spec.conftest import sources

words = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=8)
names = words.map(lambda word: f"n{word}")
texts = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=20)
durations = st.integers(0, 30 * 24 * 3600).map(lambda seconds: f"{seconds}s")
scalars = st.one_of(
    texts, st.integers(-(10**17), 10**17), st.floats(allow_nan=False, allow_infinity=False), st.booleans()
)
gpus = st.fixed_dictionaries(
    {"type": st.sampled_from(("L4", "H100", "A100-80GB"))}, optional={"count": st.integers(1, 16)}
)
peers = st.one_of(
    st.fixed_dictionaries({"namespace": names}, optional={"ports": st.lists(st.integers(1, 65535), max_size=3)}),
    st.just({"cidr": "10.0.0.0/8"}),
)
variables = st.one_of(texts, st.fixed_dictionaries({"secret": names, "key": words}))
common: dict[str, Any] = {
    "pool": names,
    "resources": st.fixed_dictionaries(
        {}, optional={"cpu": st.one_of(st.integers(1, 99), st.just("500m")), "sharedMemory": st.just("8Gi")}
    ),
    "loadTime": durations,
    "replicas": st.fixed_dictionaries(
        {},
        optional={
            "min": st.integers(1, 9),
            "max": st.integers(1, 1000),
            "autoscaling": st.fixed_dictionaries({"metric": st.sampled_from(("cpu", "queue-length"))}),
        },
    ),
    "env": st.dictionaries(st.text(string.ascii_uppercase + "_", min_size=1, max_size=6), variables, max_size=3),
    "network": st.fixed_dictionaries({}, optional={"ingress": st.lists(peers, max_size=2)}),
}
serves = st.one_of(
    st.fixed_dictionaries(
        {"runtime": st.just("vllm"), "gpu": gpus},
        optional={
            **common,
            "parallelism": st.just({"tensor": 2}),
            "args": st.dictionaries(words.filter(lambda word: word[0].isalpha()), scalars, max_size=4),
        },
    ),
    st.fixed_dictionaries(
        {"runtime": st.just("triton"), "gpu": gpus},
        optional={**common, "maxBatchSize": st.integers(0, 4096), "instances": st.integers(1, 64)},
    ),
    st.fixed_dictionaries(
        {"runtime": st.just("custom"), "image": st.just("ghcr.io/acme/server:1.0")},
        optional={
            **common,
            "gpu": gpus,
            "command": st.lists(texts, max_size=3),
            "args": st.lists(texts, max_size=3),
            "health": st.just("/ready"),
        },
    ),
)
artifacts = st.fixed_dictionaries(
    {
        "uri": st.just("s3://models/chat/1.0.0"),
        "digest": st.integers(1, 16**64 - 1).map(lambda number: f"sha256:{number:064x}"),
        "format": st.sampled_from(("safetensors", "tensorrt", "onnx")),
    },
    optional={"builtFor": st.just({"gpu": "L4", "tensorrt": "10.7"})},
)
models = st.fixed_dictionaries(
    {"version": words, "artifact": artifacts, "serve": serves, "rollout": names},
    optional={
        "owner": names,
        "route": st.just({"hostnames": ["chat.example.com"], "path": "/v1"}),
        "expectedRequestsPerSecond": st.integers(1, 10**6) | st.floats(0.001, 1e6),
    },
).map(Model.model_validate)


def types(value: Any) -> Any:
    """The value with the type of every part: 1, 1.0 and True are equal, but no server takes them for the same."""
    if isinstance(value, dict):
        return {key: types(below) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [types(below) for below in value]
    return type(value), value


@given(models)
def test_what_is_loaded_equals_what_was_dumped(model: Model) -> None:
    text = dump_model(model)
    again = load_model(text)
    assert again == model
    assert types(again.model_dump()) == types(model.model_dump())
    assert list(again.serve.env) == list(model.serve.env)
    assert type(again.serve) is type(model.serve)
    assert dump_model(again) == text


@given(models)
def test_it_is_one_line_of_ascii_without_what_is_absent(model: Model) -> None:
    text = dump_model(model)
    assert text.isascii()
    assert text.isprintable()
    assert ": null" not in json.dumps(structure(json.loads(text)))


def structure(value: Any) -> Any:
    """Without texts, which may say anything."""
    if isinstance(value, dict):
        return {key: structure(below) for key, below in value.items()}
    if isinstance(value, list):
        return [structure(below) for below in value]
    return "" if isinstance(value, str) else value


def test_defaults_are_written_out(example: dict[str, bytes]) -> None:
    """Whoever changes a default must not change what was released."""
    spec = load_spec(*sources(example))
    data = json.loads(dump_model(spec.pipeline.models["fraud-scoring"]))
    assert data["serve"]["network"]["egress"] == []
    assert data["serve"]["instances"] == 1
    assert data["serve"]["loadTime"] == "45s"
    assert data["artifact"]["builtFor"] == {"gpu": "L4", "tensorrt": "10.7"}
    assert "route" not in data
    for model in spec.models.values():
        assert load_model(dump_model(model)) == model


def test_what_was_written_is_read_for_ever() -> None:
    """These bytes stand in repositories: they must stay readable."""
    text = (
        '{"version":"1.8.0","artifact":{"uri":"s3://acme-models/reranker/1.8.0","digest":"sha256:' + "3" * 64 + '",'
        '"format":"onnx"},"serve":{"image":"ghcr.io/acme/reranker:1.8.0","resources":{"cpu":"2","memory":"4Gi"},'
        '"loadTime":"30s","replicas":{"min":2,"max":6,"autoscaling":{"metric":"cpu","target":70}},'
        '"env":{"GREETING":"gr\\u00fc\\u00df","TOKEN":{"secret":"search","key":"token"}},'
        '"network":{"ingress":[],"egress":[]},"runtime":"custom","port":8000,"command":[],"args":["--workers","4"],'
        '"health":"/health","metrics":"/metrics"},"route":{"hostnames":["search.models.acme.example"],'
        '"path":"/rerank"},"rollout":"quick","owner":"search"}'
    )
    model = load_model(text)
    assert model.serve.load_time == 30
    assert model.serve.env["GREETING"] == "grüß"
    assert dump_model(model) == text


@pytest.mark.parametrize(
    ("text", "place"),
    [("", ""), ("{", ""), ("null", ""), ("[]", ""), ("{}", " at version"), ('"\ud800"', ""), ("[" * 100_000, "")],
)
def test_damage_is_reported(text: str, place: str) -> None:
    with pytest.raises(GitopsError) as caught:
        load_model(text)
    assert caught.value.what == f"a released model cannot be read{place}"
    assert caught.value.hint


def test_damage_names_the_place_and_shows_no_value(example: dict[str, bytes]) -> None:
    whole = dump_model(load_spec(*sources(example)).pipeline.models["support-chat"])
    with pytest.raises(GitopsError) as caught:
        load_model(whole.replace('"loadTime":"4m"', '"loadTime":"hunter2"'))
    assert "serve.loadTime" in caught.value.what
    assert "hunter2" not in str(caught.value)


@given(models, st.data())
def test_any_damage_is_one_error(model: Model, data: st.DataObject) -> None:
    text = dump_model(model)
    at = data.draw(st.integers(0, len(text) - 1))
    broken = text[:at] + data.draw(st.sampled_from(("", "{", '"', "\x00", "é", "9"))) + text[at + 1 :]
    assert "\n" not in said_about(broken)


def said_about(text: str) -> str:
    """Nothing where it can be read; anything but a GitopsError escapes."""
    try:
        load_model(text)
    except GitopsError as error:
        return str(error)
    return ""


OF_OLD = (
    '{"version":"1.0.0","artifact":{"uri":"s3://acme/chat","digest":"sha256:' + "a" * 64 + '","format":"safetensors"},'
    '"serve":{"image":"ghcr.io/Foo/bar:1","gpu":{"type":"L4","count":1},"resources":{"cpu":"2000m","memory":"12Gi"},'
    '"loadTime":"5m","replicas":{"min":1,"max":1,"autoscaling":{"metric":"cpu","target":80}},'
    '"env":{"TOKEN":{"secret":"my-secret","key":"-.-"}},'
    '"network":{"ingress":[{"namespace":"web","ports":[8000]}],"egress":[]},'
    '"runtime":"vllm","parallelism":{"tensor":1,"pipeline":1},"args":{"port":9000,"enforce-eager":true}},'
    '"route":{"hostnames":["chat.10"],"path":"/"},"rollout":"careful"}'
)
"""As version 9dcaf4e^ wrote it, with an image and a host that are illegal by now, and a quantity spelt otherwise."""


def test_what_an_earlier_version_released_is_read_as_it_was() -> None:
    model = load_model(OF_OLD)
    assert isinstance(model.serve, VllmServe)
    assert (model.serve.image, model.serve.load_time) == ("ghcr.io/Foo/bar:1", 300)
    assert model.serve.resources.cpu == "2"
    assert model.serve.network.ingress[0].protocol == "TCP"
    assert types(model.serve.args) == types({"port": 9000, "enforce-eager": True})
    assert load_model(dump_model(model)) == model
    legal = OF_OLD.replace("Foo", "foo").replace("chat.10", "chat.io").replace("-.-", "key")
    same = load_model(legal)
    assert dump_model(same) == dump_model(model).replace("Foo", "foo").replace("chat.10", "chat.io").replace(
        "-.-", "key"
    )


@given(models)
def test_reading_leniently_reads_what_is_valid_alike(model: Model) -> None:
    again = read_leniently(Model, json.loads(dump_model(model)))
    assert again == model
    assert types(again.model_dump()) == types(model.model_dump())


@pytest.mark.parametrize(
    ("before", "after", "place"),
    [
        ('"loadTime":"5m"', '"loadTime":"soon"', "serve.loadTime"),
        ('"cpu":"2000m"', '"cpu":{}', "serve.resources.cpu"),
        ('"version":"1.0.0",', "", "version"),
        ('"rollout"', '"walk":1,"rollout"', "walk"),
        ('"namespace":"web"', '"namespace":["web"]', "serve.network.ingress[0].namespace"),
        ('"min":1', '"min":true', "serve.replicas.min"),
    ],
)
def test_a_damaged_model_of_old_says_where(before: str, after: str, place: str) -> None:
    assert before in OF_OLD
    with pytest.raises(GitopsError, match=re.escape(f"cannot be read at {place} — ")):
        load_model(OF_OLD.replace(before, after))
