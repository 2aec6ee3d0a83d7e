"""Parity: whether an environment is what training was, by fingerprints that both are taken from in the same way.

A fingerprint is a small document, YAML or JSON, whose items have the names that `parity.compare` uses:

```yaml
apiVersion: gitops/v1
kind: Fingerprint
tokenizer: {tokenizer.json: "sha256:…"}
chat-template: {default: "sha256:…"}
dtype: bfloat16
dependencies: {torch: "2.7.1", transformers: "4.53.0"}
image: registry.example/vllm@sha256:…
schema: {age: int64, country: string}
```
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

from gitops.errors import GitopsError
from gitops.spec.problems import shorten, suggestion
from gitops.spec.resolved import SourceFile
from gitops.spec.source import read_yaml
from gitops.spec.validation_data import Parity, ParityItem
from gitops.stages.data import Fetch, located
from gitops.stages.results import Check, GateResult
from gitops.stages.tables import schema_of

Fingerprint = Mapping[str, str | Mapping[str, str]]
"""What is known of an environment, by the items of `parity.compare`: a value, or values of parts by name."""

ITEMS: tuple[str, ...] = get_args(ParityItem)
_HEAD = MappingProxyType({"apiVersion": "gitops/v1", "kind": "Fingerprint"})
_MORE_IS_FINE = frozenset({"dependencies", "schema"})
"""An environment may have packages and columns that training had not; other parts have to be the same ones."""

MAX_BYTES = 1024**3
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
)
_PREPROCESSING_FILES = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")
_CONFIGURATION, _TEMPLATE, _OLD_TEMPLATE, _TEMPLATES = (
    "tokenizer_config.json",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates",
)
_PASSING = frozenset({"chat_template", "name_or_path", "_name_or_path", "_commit_hash", "tokenizer_file"})
"""Keys of a tokenizer's configuration that say where it came from, or are looked at by themselves."""
_DTYPES = MappingProxyType(
    {"half": "float16", "fp16": "float16", "bf16": "bfloat16", "float": "float32", "fp32": "float32"}
)


# --- the gate ---


def run_parity(
    parity: Parity, project: Path, current: Fingerprint | None = None, fetch: Fetch | None = None
) -> GateResult:
    """Compares an environment's fingerprint with the record.

    `current` is the environment's, used when the spec names none; `fetch` is asked for artifact URIs. Raises
    GitopsError when a fingerprint is missing or misshapen.
    """
    record = _named(parity.record, project, fetch)
    if parity.current:
        current = _named(parity.current, project, fetch)
    if current is None:
        hint = "write `current: …`, or take a fingerprint of the environment"
        raise GitopsError("there is nothing to compare with the record", where=parity.record, hint=hint)
    against = f"{parity.current or 'this environment'} against {parity.record}"
    return compare(record, current, parity.compare, parity.ignore, note=against)


def compare(
    record: Fingerprint, current: Fingerprint, items: Sequence[str] = (), ignore: Sequence[str] = (), note: str = ""
) -> GateResult:
    """A check for each item that is the same, and one for each part that is not.

    Without `items`, all of the record are compared. An item that one side lacks is a difference. `ignore` holds
    items or parts (`dependencies.setuptools`), in which `*` stands for any text.
    """
    compared = [item for item in ITEMS if item in (items or record) and not _ignored(item, ignore)]
    checks = [check for item in compared for check in _judge(item, record.get(item), current.get(item), ignore)]
    differences = sum(not check.passed for check in checks)
    figures = {"items": float(len(compared)), "differences": float(differences)}
    return GateResult("parity", tuple(checks), figures, note)


def _judge(
    item: str,
    record: str | Mapping[str, str] | None,
    current: str | Mapping[str, str] | None,
    ignore: Sequence[str],
) -> Iterator[Check]:
    if record is None or current is None:
        lacking = "the record" if record is None else "the environment"
        yield Check(item, False, "the same on both sides", f"nothing in {lacking}")
        return
    before, after = _parts(item, record), _parts(item, current)
    names = before if item in _MORE_IS_FINE else before | after
    different = [
        name for name in names if not _ignored(name, ignore) and not _same(item, before.get(name), after.get(name))
    ]
    for name in different:
        yield Check(name, False, _shown(before.get(name)), _shown(after.get(name)))
    if not different:
        yield Check(item, True, "as recorded", "the same")


def _parts(item: str, value: str | Mapping[str, str]) -> dict[str, str]:
    return {item: value} if isinstance(value, str) else {f"{item}.{name}": part for name, part in value.items()}


def _same(item: str, before: str | None, after: str | None) -> bool:
    if item == "image" and before and after and "@" in before and "@" in after:
        # The same image may come from a mirror.
        return before.rpartition("@")[2] == after.rpartition("@")[2]
    if item == "dtype" and before and after:
        return dtype_name(before) == dtype_name(after)
    return before == after


def _shown(value: str | None) -> str:
    if value is None:
        return "nothing"
    return f"{value[:19]}…" if re.fullmatch(r"sha256:[0-9a-f]{64}", value) else shorten(value, 100)


def _ignored(path: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def dtype_name(text: str) -> str:
    """One name for each type: `torch.float16`, `half` and `fp16` are `float16`."""
    name = text.removeprefix("torch.").lower()
    return _DTYPES.get(name, name)


# --- documents ---


def read_fingerprint(path: Path, where: str = "") -> Fingerprint:
    """The fingerprint in a YAML or JSON file. Raises GitopsError for anything else, with its place."""
    where = where or str(path)
    data = read_yaml(SourceFile(where, _bytes(path)))
    for key, value in _HEAD.items():
        if data.pop(key, None) != value:
            raise GitopsError("this is no fingerprint", where=where, hint=f"write `{key}: {value}`")
    for item in data:
        if item not in ITEMS:
            raise GitopsError(f"there is no item {shorten(item)}", where=where, hint=suggestion(item, ITEMS))
    return {item: _value(item, value, where) for item, value in data.items()}


def _value(item: str, value: Any, where: str) -> str | dict[str, str]:
    if isinstance(value, dict):
        return {str(name): _text(f"{item}.{name}", part, where) for name, part in value.items()}
    return _text(item, value, where)


def _text(path: str, value: Any, where: str) -> str:
    if isinstance(value, str):
        return value
    read = "a list" if isinstance(value, list) else "a mapping" if isinstance(value, dict) else f"{value}"
    raise GitopsError(f"{path} is read as {read}, but has to be text", where=where, hint='quote it, such as "2.10"')


def write_fingerprint(fingerprint: Fingerprint) -> str:
    """The YAML document that `read_fingerprint` reads; equal fingerprints give equal text."""
    lines = [f"{key}: {value}" for key, value in _HEAD.items()]
    for item in ITEMS:
        if isinstance(value := fingerprint.get(item), str):
            lines.append(f"{item}: {_quoted(value)}")
        elif value:
            lines += [f"{item}:", *(f"  {_quoted(name)}: {_quoted(part)}" for name, part in sorted(value.items()))]
    return "\n".join([*lines, ""])


def _quoted(text: str) -> str:
    # Always, because what YAML would read as a number depends on its version.
    return json.dumps(text, ensure_ascii=False)


def _named(name: str, project: Path, fetch: Fetch | None) -> Fingerprint:
    path = located(name, project, fetch)
    if path.is_dir():
        return fingerprint_of(path, within=None if "://" in name else project)
    return read_fingerprint(path, name)


# --- taking a fingerprint ---


def fingerprint_of(
    model: Path,
    *,
    requirements: Path | None = None,
    table: Path | None = None,
    preprocessing: Sequence[Path] = (),
    image: str = "",
    within: Path | None = None,
) -> Fingerprint:
    """What a model directory says, in the layout of Hugging Face's libraries; items that it does not say are absent.

    `requirements` are pinned packages (by default its `requirements.txt`), `table` is a file of data with the
    model's input columns, `preprocessing` are further files, such as code. With `within`, files that lie outside of
    that directory, by symbolic links, are refused. Raises GitopsError for files that cannot be read.
    """
    source = _Directory(model, within)
    pinned = requirements or source.find("requirements.txt")
    found: dict[str, str | Mapping[str, str]] = {
        "tokenizer": {name: source.digest(name) for name in _TOKENIZER_FILES if source.find(name)},
        "chat-template": {name: _digest(text.encode()) for name, text in _chat_templates(source).items()},
        "preprocessing": {name: source.digest(name) for name in _PREPROCESSING_FILES if source.find(name)}
        | {path.name: _digest(_bytes(path)) for path in preprocessing},
        "dtype": _dtype(source),
        "dependencies": read_requirements(pinned) if pinned else {},
        "image": image,
        "schema": schema_of(table) if table else {},
    }
    return {item: value for item, value in found.items() if value}


class _Directory:
    """A model's files."""

    def __init__(self, root: Path, within: Path | None) -> None:
        if not root.is_dir():
            raise GitopsError("this is no directory", where=str(root), hint="name the directory of a model")
        self.root, self._within = root, within and within.resolve()

    def find(self, name: str) -> Path | None:
        path = self.root / name
        if not path.is_file():
            return None
        if self._within and not path.resolve().is_relative_to(self._within):
            raise GitopsError("this lies outside of the project", where=str(path), hint="copy it instead of linking it")
        return path

    def mapping(self, name: str) -> dict[str, Any]:
        """A JSON file's mapping, empty without the file."""
        path = self.find(name)
        if not path:
            return {}
        try:
            data = json.loads(_bytes(path))
        except ValueError as error:
            hint = shorten(str(error), 100)
            raise GitopsError("this is not JSON", where=str(path), hint=hint) from None
        if not isinstance(data, dict):
            raise GitopsError("this is no JSON object", where=str(path), hint="save the model again")
        return data

    def digest(self, name: str) -> str:
        """Of a JSON file's content, however it is laid out; of other files' bytes."""
        if not name.endswith(".json"):
            return _digest(_bytes(self.root / name))
        data = self.mapping(name)
        if name == _CONFIGURATION:
            data = {key: value for key, value in data.items() if key not in _PASSING}
        return _digest(json.dumps(data, sort_keys=True, separators=(",", ":")).encode())


def _chat_templates(source: _Directory) -> dict[str, str]:
    """Templates by name. A file of its own goes before what a configuration says, as transformers loads them."""
    if path := source.find(_TEMPLATE):
        folder = source.root / _TEMPLATES
        more = sorted(folder.glob("*.jinja")) if folder.is_dir() else []
        named = {each.stem: each for each in more if source.find(f"{_TEMPLATES}/{each.name}")}
        return {name: _bytes(file).decode(errors="replace") for name, file in {"default": path, **named}.items()}
    said = source.mapping(_OLD_TEMPLATE).get("chat_template") or source.mapping(_CONFIGURATION).get("chat_template")
    if isinstance(said, list):
        return {str(each.get("name")): str(each.get("template")) for each in said if isinstance(each, dict)}
    return {"default": said} if isinstance(said, str) else {}


def _dtype(source: _Directory) -> str:
    """`dtype` of config.json (`torch_dtype` until transformers 4.55), of a text model inside where there is one."""
    config = source.mapping("config.json")
    inner = config.get("text_config")
    for said in (config, inner if isinstance(inner, dict) else {}):
        if isinstance(name := said.get("dtype") or said.get("torch_dtype"), str):
            return dtype_name(name)
    return ""


def read_requirements(path: Path) -> dict[str, str]:
    """Pinned packages of a pip requirements file or of `pip freeze`, by normalized name (PEP 503).

    What is not pinned by `==` keeps its specifier; credentials in URLs are left out, as are pip's options. Raises
    GitopsError for a file that includes others.
    """
    text = re.sub(r"\\\n", " ", _bytes(path).decode(errors="replace"))
    found: dict[str, str] = {}
    for line in text.splitlines():
        line = re.sub(r"(^|\s)#.*|\s--hash=\S+", "", line).strip()
        if line.startswith(("-r", "--requirement")):
            what = f"this includes {shorten(line)}"
            raise GitopsError(what, where=str(path), hint="give the output of `pip freeze`, which names everything")
        if editable := re.fullmatch(r"(?:-e|--editable)\s+(\S+?)#egg=([\w.-]+).*", line):
            line = f"{editable[2]} @ {editable[1]}"
        if match := re.fullmatch(r"([A-Za-z0-9][\w.-]*)\s*(?:\[[^]]*\])?\s*([^;]*).*", line):
            found[_normalized(match[1])] = _specifier(match[2].strip())
    return found


def _specifier(text: str) -> str:
    if pinned := re.fullmatch(r"={2,3}\s*([^\s,*]+)", text):
        return pinned[1]
    return re.sub(r"//[^/@\s]*@", "//", text.removeprefix("@").strip()) or "any"


def _normalized(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def installed_packages() -> dict[str, str]:
    """The packages of this Python, for a fingerprint of the environment that it runs in."""
    from importlib.metadata import distributions

    return {_normalized(each.metadata["Name"]): each.version for each in distributions()}


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise GitopsError(f"cannot be read: {error.strerror or error}", where=str(path), hint="check it") from None
    if len(data) > MAX_BYTES:
        raise GitopsError("larger than 1 GiB", where=str(path), hint="this is no tokenizer or configuration")
    return data


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
