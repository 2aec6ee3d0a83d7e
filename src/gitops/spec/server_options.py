"""What a runtime's server may be told: which of vLLM's options are not the user's to set, and which values fit."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from pydantic import JsonValue

from gitops.spec.parts import OptionValue, Scalar
from gitops.spec.problems import listed, shorten, suggestion
from gitops.spec.vllm_options import CHOICES, DIGEST, FORMER, IMAGE, OPTIONS, VERSION

Wrong = tuple[str, str]
"""What is wrong with an option, and what to write."""


class Ours(NamedTuple):
    """Why an option of the server is not the user's to set, and the field that says it instead."""

    reason: str
    hint: str


_ADDRESS = Ours("the Service and the probes expect the server where rendering puts it", "remove it")
_ONE_SERVER = Ours("every replica is a server of its own", "remove it; set `serve.replicas`")
_GPUS = Ours("a replica has the GPUs that the spec says", "remove it; set `serve.gpu` and `serve.parallelism`")
_PLAIN = Ours("the probes and Prometheus speak plain HTTP to the server", "remove it; end TLS at the gateway")
_TLS = ("ssl-keyfile", "ssl-certfile", "ssl-ca-certs", "ssl-cert-reqs", "ssl-ciphers", "enable-ssl-refresh")
OURS = {
    "model": Ours("the server gets the model's artifact", "remove it; set `artifact.uri`"),
    "revision": Ours(
        "the server gets the model's artifact", "remove it; set `artifact.uri` to hf://owner/name@revision"
    ),
    "served-model-name": Ours(
        "the server answers to the model's name", "remove it; the key under `models` is the name"
    ),
    "config": Ours("a file of options would say again what rendering sets", "remove it; write the options here"),
    "api-key": Ours("a key does not belong in Git", "remove it; set `serve.env.VLLM_API_KEY: {secret: …, key: …}`"),
    "hf-token": Ours("a token does not belong in Git", "remove it; set `serve.env.HF_TOKEN: {secret: …, key: …}`"),
    **dict.fromkeys(("host", "port", "uds"), _ADDRESS),
    **dict.fromkeys((name for name in OPTIONS if name.startswith("data-parallel-")), _ONE_SERVER),
    **dict.fromkeys(("headless", "nnodes", "node-rank", "master-addr", "master-port"), _ONE_SERVER),
    **dict.fromkeys(("device-ids", "prefill-context-parallel-size"), _GPUS),
    "grpc": Ours("the probes, Prometheus and the gateway speak HTTP to the server", "remove it"),
    **dict.fromkeys(_TLS, _PLAIN),
}
"""Options of vLLM that rendering sets, or that would take a replica away from its Service, its probes or its GPUs."""

_BOOLEAN_WORDS = ("yes", "no", "on", "off", "true", "false")
_INTEGER = re.compile(r"[+-]?\d+")
_SIZE = re.compile(r"\d+(\.\d+)?[kmgt]|\d+[KMGT]|\d+")
_LENGTH = re.compile(rf"{_SIZE.pattern}|-1|(?i:auto)")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


def is_known(image: str | None) -> bool:
    """Whether the image has the version whose options are known, by name or, from a mirror, by digest; None is the
    default. Any other may have more, fewer or others.
    """
    name, _, digest = (image or f"{IMAGE}:v{VERSION}").partition("@")
    return digest == DIGEST or name.removeprefix("docker.io/") == f"{IMAGE}:v{VERSION}"


def taken(name: str) -> Wrong | None:
    """Why the option is not the user's to set, if it is not."""
    if ours := OURS.get(name.removeprefix("no-")):
        return f"{ours.reason}, so vLLM's `{name}` cannot be set here", ours.hint
    return None


def wrong_value(name: str, value: OptionValue, *, known: bool) -> Wrong | None:
    """What is wrong with an option and its value; of a version that is not known, only what holds for any."""
    if isinstance(value, list | dict):
        return _wrong_many(name, value, known=known)
    return _wrong(name, value) if known else _wrong_word(name, value)


def _wrong_many(name: str, value: list[JsonValue] | dict[str, JsonValue], *, known: bool) -> Wrong | None:
    """What is wrong with a list or a map: which of them an option takes, and how, only its kind can say."""
    kind = OPTIONS.get(name) or (None if known else FORMER.get(name))
    if kind is None:
        if known:
            return _unknown(name)
        if isinstance(value, dict):
            return None
        return f"how `{name}` takes a list is not known here", "write it as one text, as the server reads it"
    noun = "list" if isinstance(value, list) else "map"
    if kind in _JSON or kind == "text-or-json":
        fits = isinstance(value, _JSON.get(kind, dict))
    else:
        fits = kind in _WORDS and isinstance(value, list) and bool(value) and all(_is_word(kind, one) for one in value)
    if fits:
        return None
    if kind in _WORDS and isinstance(value, list):
        return f"this list is not a value for vLLM's `{name}`", _WORDS[kind]
    return f"a {noun} is not a value for vLLM's `{name}`", _FORMS.get(kind) or listed(CHOICES[name], "or")


def _is_word(kind: str, one: JsonValue) -> bool:
    """Whether a list of that kind may hold it. What begins with a dash would be taken for the next option."""
    if kind == "integers":
        return isinstance(one, int) and not isinstance(one, bool) and one >= 0
    if isinstance(one, dict):
        return kind == "texts"
    return isinstance(one, str) and one != "" and not one.startswith("-")


_WORDS = {
    "texts": "write a list of texts, or of maps such as {name: …, path: …}; none is empty or begins with a dash",
    "integers": "write a list of whole numbers",
    "repeated": "write a list of texts; none is empty or begins with a dash",
}
"""Kinds of options that take several words."""


def _wrong_word(name: str, value: Scalar) -> Wrong | None:
    """What holds for a flag in any version."""
    if OPTIONS.get(name) == "flag" and str(value).lower() in _BOOLEAN_WORDS and not isinstance(value, bool):
        return f'"{value}" is text, and `{name}` is a flag of vLLM', "write true or false, without quotes"
    return None


def _wrong(name: str, value: Scalar) -> Wrong | None:
    kind = OPTIONS.get(name)
    if kind is None:
        return _unknown(name)
    if isinstance(value, bool):
        return _wrong_boolean(name, kind, value)
    shown = f'"{shorten(value)}"' if isinstance(value, str) else str(value)
    text = str(value)
    if kind in ("flag", "switch"):
        return f"{shown} is not a value for `{name}`, which is a flag of vLLM", _FORMS[kind]
    if kind == "choice":
        return None if text in (*CHOICES[name], "None") else (f"{shown} is not known", suggestion(text, CHOICES[name]))
    if text == "None" or _fits(kind, text):
        return None
    return f"{shown} is not a value for vLLM's `{name}`", _FORMS[kind]


def _unknown(name: str) -> Wrong:
    if OPTIONS.get(name.removeprefix("no-")) == "flag":
        return f"`{name}` is written as `{name.removeprefix('no-')}: false`", "change it"
    near = suggestion(name, OPTIONS).partition("valid:")[0]
    hint = f"{near}its options: vllm serve --help" if near else "its options: vllm serve --help"
    return f"vLLM {VERSION} has no option `{name}`", hint


def _wrong_boolean(name: str, kind: str, value: bool) -> Wrong | None:
    if kind == "flag" or (kind in ("switch", "token") and value):
        return None
    if kind == "switch":
        return f"vLLM has no `--no-{name}`", "remove it; that is the default"
    shown = "true" if value else "false"
    return f"{shown} is not a value for vLLM's `{name}`", _FORMS[kind] if kind in _FORMS else listed(
        CHOICES[name], "or"
    )


def _fits(kind: str, text: str) -> bool:
    if kind in _PATTERNS:
        return bool(_PATTERNS[kind].fullmatch(text))
    if kind in _JSON:
        return isinstance(_parsed(text), _JSON[kind])
    return not (kind == "text-or-json" and text.lstrip().startswith("{")) or isinstance(_parsed(text), dict)


_PATTERNS = {"integer": _INTEGER, "integers": _INTEGER, "size": _SIZE, "length": _LENGTH, "number": _NUMBER}
_JSON: dict[str, type] = {"json": dict, "json-list": list}
_FORMS = {
    "flag": "write true or false",
    "switch": "write true, or remove it",
    "integer": "write a whole number",
    "integers": "write a whole number, or a list",
    "size": "write a whole number, or one such as 8k (8000) or 8K (8192)",
    "length": "write a whole number, one such as 8k (8000) or 8K (8192), or auto",
    "number": "write a number",
    "text": "write text",
    "texts": "write text, or a list",
    "repeated": "write text, or a list of texts",
    "token": "write text",
    "json": """write a map, or a JSON object in quotes, such as '{"key": 1}'""",
    "json-list": """write a list, or a JSON list in quotes, such as '["*"]'""",
    "text-or-json": """write text, a map, or a JSON object in quotes, such as '{"key": 1}'""",
}


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
