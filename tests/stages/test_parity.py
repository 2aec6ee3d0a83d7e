"""Parity: what a fingerprint takes from a model directory, and which differences count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops.errors import GitopsError
from gitops.spec.validation_data import Parity
from gitops.stages.parity import (
    ITEMS,
    compare,
    dtype_name,
    fingerprint_of,
    installed_packages,
    read_fingerprint,
    read_requirements,
    run_parity,
    write_fingerprint,
)
from gitops.stages.results import GateResult

RECORD: dict[str, Any] = {
    "tokenizer": {"tokenizer.json": "sha256:" + "a" * 64},
    "chat-template": {"default": "sha256:" + "b" * 64},
    "dtype": "bfloat16",
    "dependencies": {"torch": "2.7.1", "setuptools": "70"},
    "image": "registry.example/vllm@sha256:" + "c" * 64,
    "schema": {"age": "int64"},
}


def sentences(result: GateResult) -> list[str]:
    return [check.sentence for check in result.failed]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    files: dict[str, Any] = {
        "tokenizer.json": {"model": {"vocab": {"a": 0, "b": 1}}},
        "tokenizer_config.json": {
            "chat_template": "{{ messages }}",
            "name_or_path": "/x",
            "eos_token": "</s>",
            "bos": 1,
        },
        "config.json": {"torch_dtype": "bfloat16", "architectures": ["LlamaForCausalLM"]},
        "preprocessor_config.json": {"size": 224},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    (folder / "merges.txt").write_text("a b\n")
    (folder / "requirements.txt").write_text("torch==2.7.1\n")
    (folder / "rows.csv").write_text("age,country\n30,DE\n")
    return folder


# --- taking a fingerprint ---


def test_a_model_directory_says_what_it_is(model: Path) -> None:
    found = fingerprint_of(model, table=model / "rows.csv", image="vllm:1", preprocessing=[model / "merges.txt"])
    assert list(found) == list(ITEMS)
    assert set(found["tokenizer"]) == {"tokenizer.json", "tokenizer_config.json", "merges.txt"}
    assert set(found["preprocessing"]) == {"preprocessor_config.json", "merges.txt"}
    assert set(found["chat-template"]) == {"default"}
    assert found["dtype"] == "bfloat16"
    assert found["dependencies"] == {"torch": "2.7.1"}
    assert found["schema"] == {"age": "int64", "country": "string"}
    assert found["image"] == "vllm:1"


def test_layout_and_origin_of_a_file_do_not_matter_but_content_does(model: Path) -> None:
    before = fingerprint_of(model)
    path = model / "tokenizer_config.json"
    moved = {"bos": 1, "eos_token": "</s>", "name_or_path": "/elsewhere", "chat_template": "{{ messages }}"}
    path.write_text(json.dumps(moved, indent=4))
    assert fingerprint_of(model) == before
    path.write_text(json.dumps(moved | {"eos_token": "<eos>"}))
    after = fingerprint_of(model)
    assert sentences(compare(before, after))[0].startswith("tokenizer.tokenizer_config.json: expected sha256:")
    assert after["chat-template"] == before["chat-template"]


def test_a_changed_template_is_a_changed_template_only(model: Path) -> None:
    before = fingerprint_of(model)
    path = model / "tokenizer_config.json"
    path.write_text(path.read_text().replace("{{ messages }}", "{{ messages }} "))
    (check,) = compare(before, fingerprint_of(model)).failed
    assert check.name == "chat-template.default"


def test_where_chat_templates_are_found(model: Path) -> None:
    """A file of its own first, then a processor's, then the tokenizer's configuration; equal text is equal."""
    said = fingerprint_of(model)["chat-template"]
    (model / "chat_template.jinja").write_text("{{ messages }}")
    assert fingerprint_of(model)["chat-template"] == said
    (model / "additional_chat_templates").mkdir()
    (model / "additional_chat_templates" / "tools.jinja").write_text("{{ tools }}")
    both = fingerprint_of(model)["chat-template"]
    assert set(both) == {"default", "tools"}
    for file in (model / "chat_template.jinja", model / "additional_chat_templates/tools.jinja"):
        file.unlink()
    listed = [{"name": "default", "template": "{{ messages }}"}, {"name": "tools", "template": "{{ tools }}"}]
    (model / "tokenizer_config.json").write_text(json.dumps({"chat_template": listed}))
    assert fingerprint_of(model)["chat-template"] == both
    (model / "chat_template.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    assert fingerprint_of(model)["chat-template"] == said


@pytest.mark.parametrize(
    ("config", "dtype"),
    [
        ({"dtype": "float16"}, "float16"),
        ({"torch_dtype": "torch.bfloat16"}, "bfloat16"),
        ({"text_config": {"dtype": "bfloat16"}}, "bfloat16"),
        ({"torch_dtype": None}, None),
        ({}, None),
    ],
)
def test_where_the_type_is_found(tmp_path: Path, config: dict[str, Any], dtype: str | None) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert fingerprint_of(tmp_path).get("dtype") == dtype


@pytest.mark.parametrize(("said", "name"), [("half", "float16"), ("torch.float", "float32"), ("fp8", "fp8")])
def test_types_have_one_name(said: str, name: str) -> None:
    assert dtype_name(said) == name


def test_requirements_are_read_as_pip_writes_them(tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    path.write_text(
        "# comment\n--index-url https://x\n\nTorch == 2.7.1 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
        "uvicorn[standard]==0.30 ; python_version < '4'  # why\nzope.interface>=5,<6\nplain\n"
        "own @ https://user:token@host/own.whl\n-e git+https://t0ken@host/tool.git@abc#egg=My_Tool\n"
    )
    assert read_requirements(path) == {
        "torch": "2.7.1",
        "uvicorn": "0.30",
        "zope-interface": ">=5,<6",
        "plain": "any",
        "own": "https://host/own.whl",
        "my-tool": "git+https://host/tool.git@abc",
    }
    path.write_text("-r other.txt\n")
    with pytest.raises(GitopsError, match=r"this includes -r other\.txt — give the output of `pip freeze`"):
        read_requirements(path)


def test_the_packages_of_this_python() -> None:
    found = installed_packages()
    assert found["pydantic"][0].isdigit()
    assert all(name == name.lower() and "_" not in name for name in found)


def test_broken_files_are_named(model: Path) -> None:
    (model / "config.json").write_text("{")
    with pytest.raises(GitopsError, match=r"config\.json: this is not JSON"):
        fingerprint_of(model)
    (model / "config.json").write_text("[]")
    with pytest.raises(GitopsError, match=r"config\.json: this is no JSON object"):
        fingerprint_of(model)
    with pytest.raises(GitopsError, match="this is no directory"):
        fingerprint_of(model / "config.json")


# --- documents ---

texts = st.sampled_from(["2.10", "0E0", "yes", "~", "a: b", "#"]) | st.text(
    st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=12
)


@given(
    st.dictionaries(
        st.sampled_from(ITEMS), st.one_of(texts, st.dictionaries(texts, texts, min_size=1, max_size=4)), max_size=7
    )
)
def test_a_written_fingerprint_is_read_again(tmp_path_factory: pytest.TempPathFactory, found: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("written") / "fingerprint.yaml"
    path.write_text(write_fingerprint(found))
    assert read_fingerprint(path) == found
    path.write_text(json.dumps({"apiVersion": "gitops/v1", "kind": "Fingerprint", **found}, ensure_ascii=False))
    assert read_fingerprint(path) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dtype: float16\n", "this is no fingerprint — write `apiVersion: gitops/v1`"),
        ("apiVersion: gitops/v1\nkind: Other\n", "this is no fingerprint — write `kind: Fingerprint`"),
        ("tokeniser: {}\n", "there is no item tokeniser — did you mean tokenizer?"),
        ("dependencies: {torch: 2.10}\n", "dependencies.torch is read as 2.1, but has to be text — quote it"),
        ("schema: [age]\n", "schema is read as a list, but has to be text"),
        ("schema: {age: }\n", "schema.age is read as None, but has to be text"),
    ],
)
def test_a_misshapen_fingerprint(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "f.yaml"
    path.write_text(
        text if "Version" in text or "float16" in text else f"apiVersion: gitops/v1\nkind: Fingerprint\n{text}"
    )
    with pytest.raises(GitopsError) as raised:
        read_fingerprint(path, "f.yaml")
    assert str(raised.value).startswith(f"f.yaml: {message}")


# --- comparing ---


def test_the_same_is_the_same() -> None:
    result = compare(RECORD, RECORD)
    assert result.passed
    assert [check.name for check in result.checks] == [item for item in ITEMS if item in RECORD]
    assert dict(result.figures) == {"items": 6, "differences": 0}


def test_every_difference_is_told() -> None:
    current = RECORD | {
        "tokenizer": {"tokenizer.json": "sha256:" + "f" * 64, "added_tokens.json": "sha256:" + "e" * 64},
        "dtype": "half",
        "dependencies": {"torch": "2.6.0", "vllm": "0.9"},
        "schema": {"age": "double", "more": "string"},
        "image": "registry.example/vllm:latest",
    }
    said = sentences(compare(RECORD, current))
    assert said == [
        "tokenizer.tokenizer.json: expected sha256:aaaaaaaaaaaa…, got sha256:ffffffffffff…",
        "tokenizer.added_tokens.json: expected nothing, got sha256:eeeeeeeeeeee…",
        "dtype: expected bfloat16, got half",
        "dependencies.torch: expected 2.7.1, got 2.6.0",
        "dependencies.setuptools: expected 70, got nothing",
        f"image: expected {RECORD['image']}, got registry.example/vllm:latest",
        "schema.age: expected int64, got double",
    ]


def test_what_may_differ_is_left_out() -> None:
    current = RECORD | {"dependencies": {"torch": "2.7.1", "setuptools": "80"}, "dtype": "float16"}
    assert compare(RECORD, current, ignore=["dependencies.setup*", "dtype"]).passed
    assert not compare(RECORD, current, ignore=["dependencies.setup*"]).passed
    assert compare(RECORD, current, items=["tokenizer", "image"]).passed


def test_an_image_from_a_mirror_is_the_same() -> None:
    mirrored = RECORD | {"image": RECORD["image"].replace("registry.example", "mirror.example")}
    assert compare(RECORD, mirrored).passed
    other = RECORD | {"image": RECORD["image"].replace("c" * 64, "d" * 64)}
    assert not compare(RECORD, other).passed


def test_types_are_the_same_by_any_name() -> None:
    assert compare({"dtype": "torch.bfloat16"}, {"dtype": "bf16"}).passed


def test_what_one_side_lacks_is_a_difference() -> None:
    without = {item: value for item, value in RECORD.items() if item != "tokenizer"}
    assert sentences(compare(RECORD, without)) == [
        "tokenizer: expected the same on both sides, got nothing in the environment"
    ]
    assert compare(without, RECORD).passed, "the record says what is compared"
    assert sentences(compare(without, RECORD, ["tokenizer"])) == [
        "tokenizer: expected the same on both sides, got nothing in the record"
    ]
    assert not compare({}, RECORD).passed, "a record of nothing is no proof"


# --- the gate ---


def test_a_record_against_a_model_directory(model: Path) -> None:
    project = model.parent
    (project / "record.yaml").write_text(write_fingerprint(fingerprint_of(model)))
    parity = Parity.model_validate({"record": "record.yaml", "current": "model"})
    result = run_parity(parity, project)
    assert result.passed
    assert result.note == "model against record.yaml"
    (model / "merges.txt").write_text("b a\n")
    assert [check.name for check in run_parity(parity, project).failed] == ["tokenizer.merges.txt"]


def test_the_runners_own_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "record.yaml").write_text(write_fingerprint(RECORD))
    parity = Parity.model_validate({"record": "record.yaml", "compare": ["dtype"]})
    assert run_parity(parity, tmp_path, {"dtype": "bfloat16"}).passed
    with pytest.raises(GitopsError, match=r"record\.yaml: there is nothing to compare with the record"):
        run_parity(parity, tmp_path)


def test_a_model_directory_cannot_link_out_of_the_project(model: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    model.rename(project / "model")
    (tmp_path / "secret").write_text("{}")
    (project / "model/tokenizer.json").unlink()
    (project / "model/tokenizer.json").symlink_to(tmp_path / "secret")
    with pytest.raises(GitopsError, match=r"tokenizer\.json: this lies outside of the project"):
        run_parity(Parity(record="model"), project, RECORD)
    assert "tokenizer" in fingerprint_of(project / "model"), "a person may link what they like"


def test_a_missing_record(tmp_path: Path) -> None:
    with pytest.raises(GitopsError, match=r"training/chat\.yaml: not found"):
        run_parity(Parity(record="training/chat.yaml"), tmp_path, RECORD)
