"""Pure: whether a saved tfplan was made from these files and nothing else, by what it holds of its own making.

A tfplan is a zip archive with a copy of the configuration that it was made from, and Terraform shows the variables.
Terraform evaluates both again when it applies the plan, and ends when something else comes of them than is planned.
"""

from __future__ import annotations

import io
import json
import posixpath
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

Files = Mapping[str, str | bytes]
Json = Mapping[str, Any]

_COPY = "tfconfig/m-"
_MODULES = "tfconfig/modules.json"
_LIMIT = 64 * 1024 * 1024


def foreign_part(saved: bytes, shown: Json, root: str, files: Files) -> str:
    """What of a saved tfplan is not from the root module `root` of these files, for a sentence; empty if all is.

    `shown` is the parsed output of `terraform show -json` for it.
    """
    try:
        copies = dict(_copies(saved, root))
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError, RuntimeError):
        return "the file itself, which is no saved tfplan,"
    for path, content in copies.items():
        if path not in files or _bytes(files[path]) != content:
            return path
    if not any(path.startswith(f"{root}/") for path in copies):
        return "its configuration"
    given = json.loads(_bytes(files.get(f"{root}/terraform.tfvars.json", b"{}")))
    defaults = shown.get("configuration", {}).get("root_module", {}).get("variables", {})
    for name, variable in shown.get("variables", {}).items():
        if variable.get("value") != given.get(name, defaults.get(name, {}).get("default")):
            return f"variable {name}"
    return ""


def _copies(saved: bytes, root: str) -> Iterator[tuple[str, bytes]]:
    """The configuration that it holds, by paths of the repository. Raises as zipfile does, KeyError and ValueError."""
    with zipfile.ZipFile(io.BytesIO(saved)) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > _LIMIT:
            raise ValueError("too large")
        directories = {module["Key"]: module["Dir"] for module in json.loads(archive.read(_MODULES))}
        for name in archive.namelist():
            if name.startswith(_COPY):
                key, _, file = name.removeprefix(_COPY).rpartition("/")
                yield posixpath.normpath(f"{root}/{directories[key]}/{file}"), archive.read(name)


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content
