"""The repository of a pipeline without reading all of its spec, for commands that only read history."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.events import (
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from gitops.spec.problems import Problem, SpecError
from gitops.spec.resolved import SourceFile
from gitops.spec.source import Irregular, decode, event_reader, scalar_value

_LOOKED_FOR = {"name", "repository"}


@dataclass(frozen=True, slots=True)
class Repository:
    """What `pipeline.yaml` says about the GitOps repository; `ssh_key` is None where commits are not signed."""

    url: str = ".gitops/repository.git"
    branch: str = "main"
    ssh_key: str | None = None


def repository_of(pipeline: SourceFile) -> tuple[str, Repository]:
    """The pipeline's name and its repository; SpecError if they cannot be read.

    Stops at the first models when both were found before, and neither checks the rest nor these values: what
    writes loads the spec.
    """
    try:
        found = _top_entries(event_reader(decode(pipeline)))
    except (Irregular, yaml.YAMLError):
        found = {}
    name, block = found.get("name"), found.get("repository", {})
    signing = block.get("signing", {}) if isinstance(block, dict) else None
    if not isinstance(name, str) or not isinstance(block, dict) or not isinstance(signing, dict):
        message = "the pipeline's name and repository cannot be read"
        raise SpecError([Problem(pipeline.path, 1, 1, "", message, "`gitops validate` says why")])
    texts = {"url": block.get("url"), "branch": block.get("branch"), "ssh_key": signing.get("sshKey")}
    return name, Repository(**{key: text for key, text in texts.items() if isinstance(text, str)})


def _top_entries(next_event: Callable[[], Event]) -> dict[str, Any]:
    """Those entries at the top that are looked for, reading no further than the last of them."""
    found: dict[str, Any] = {}
    if not isinstance(next_event(), DocumentStartEvent) or not isinstance(next_event(), MappingStartEvent):
        raise Irregular
    while found.keys() != _LOOKED_FOR and isinstance(key := next_event(), ScalarEvent):
        value = _value(next_event, next_event(), keep=key.value in _LOOKED_FOR)
        if key.value in _LOOKED_FOR:
            found[key.value] = value
    return found


def _value(next_event: Callable[[], Event], event: Event, *, keep: bool) -> Any:
    """The value that starts with the event: small mappings as they are, lists as None; skipped unless kept."""
    if isinstance(event, ScalarEvent):
        return scalar_value(event) if keep else None
    if keep and isinstance(event, MappingStartEvent):
        result: dict[str, Any] = {}
        while isinstance(key := next_event(), ScalarEvent):
            result[key.value] = _value(next_event, next_event(), keep=True)
        return result
    depth = 1 if isinstance(event, MappingStartEvent | SequenceStartEvent) else 0
    while depth:
        event = next_event()
        depth += isinstance(event, MappingStartEvent | SequenceStartEvent)
        depth -= isinstance(event, MappingEndEvent | SequenceEndEvent)
    return None
