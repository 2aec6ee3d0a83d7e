"""Secrets that are written out in the files of a spec: every text in them, keys included."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from gitops.spec.documents import Documents, Finding
from gitops.spec.problems import Path, Problem
from gitops.spec.secrets import concealing, named_items, secret_in

_REFUSED_WITH_A_FIELD = ("api-key", "hf-token")
"""Options that are refused whatever their value, with the field that takes their place."""

_SHORTEST_KEY = 12
"""Keys of mappings are looked at for shapes alone, and none is shorter."""


@dataclass(frozen=True, slots=True)
class Written:
    """A text that looks like a secret, and what is said about it."""

    value: str
    finding: Finding | None


def secrets(documents: Documents) -> list[Written]:
    """Every text of all files that looks like a secret, without those that `notSecret` of pipeline.yaml names."""
    declared = _declared(documents.pipeline.data) if documents.pipeline else frozenset()
    found: list[Written] = []
    files = [(None, documents.pipeline), *documents.environments.items()]
    for environment, document in files:
        for path, key, value, is_key in _texts((), "", document.data) if document else ():
            kind = secret_in(key, value)
            if kind and (digest := digest_of(value)) not in declared:
                wanted = is_key or path[-2:] not in {("args", name) for name in _REFUSED_WITH_A_FIELD}
                finding = _finding(path, kind, digest, environment, is_key) if wanted else None
                found.append(Written(value, finding))
    return found


def problems_without_values(documents: Documents, others: list[Problem], found: list[Written]) -> list[Problem]:
    """The other problems with what they repeat of the secrets masked, and one for each secret."""
    if not found:
        return others
    conceal = concealing(written.value for written in found)
    masked = [
        replace(other, path=conceal(other.path), message=conceal(other.message), hint=conceal(other.hint))
        for other in others
    ]
    own = documents.problems(written.finding for written in found if written.finding)
    return masked + [replace(problem, path=conceal(problem.path)) for problem in own]


def digest_of(value: str) -> str:
    """How `notSecret` names a text: of another text, a later one included, it says nothing."""
    return f"sha256:{hashlib.sha256(value.encode(errors='surrogatepass')).hexdigest()[:12]}"


def _declared(data: dict[str, Any]) -> frozenset[str]:
    said = data.get("notSecret")
    return frozenset(text for text in said if isinstance(text, str)) if isinstance(said, list) else frozenset()


def _texts(path: Path, key: str, data: Any) -> Iterator[tuple[Path, str, str, bool]]:
    """Path, name and text of everything below, and whether it is a key. Files nest at most 50 levels deep."""
    if isinstance(data, str):
        yield path, key, data, False
    elif isinstance(data, dict):
        for name, value in data.items():
            if isinstance(name, str):
                if len(name) >= _SHORTEST_KEY:
                    yield (*path, name), "", name, True
                yield from _texts((*path, name), name, value)
    elif isinstance(data, list):
        for index, (name, item) in enumerate(named_items(key, data)):
            yield from _texts((*path, index), name, item)


def _finding(path: Path, kind: str, digest: str, environment: str | None, is_key: bool) -> Finding:
    message = f"this looks like a secret written out: {kind}"
    instead = "remove it and revoke it"
    if not is_key and path[-2:-1] == ("env",):
        instead = f"{path[-1]}: {{secret: <name of a Secret>, key: <its key>}}"
    elif path == ("repository", "url"):
        instead = "leave it to a credential helper or the environment"
    hint = f"{instead}; for a false alarm add {digest} to `notSecret` in pipeline.yaml"
    return Finding(path, message, hint, environment, at="key" if is_key else "value")
