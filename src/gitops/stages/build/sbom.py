"""What is in an image, as CycloneDX 1.6 JSON: Python requirements and files with their digests.

The same content gives the same document: there is no time in it, and its serial number comes from the content.
Reference: https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gitops.errors import GitopsError

_PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==([^\s;\\]+)")
_PASSWORD = re.compile(r"://[^/\s]*@")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def requirements(text: str) -> list[tuple[str, str, tuple[str, ...]]]:
    """Name, version and SHA-256 digests of each requirement.

    Raises GitopsError for one that is not pinned, and for an address with a password: the file goes into the image.
    """
    if _PASSWORD.search(text):
        hint = "let pip have it from its configuration where the image is built"
        raise GitopsError("an address in the requirements has a user or a password", hint=hint)
    found = []
    for line in re.sub(r"\\\n", " ", text).splitlines():
        line = re.split(r"(^|\s)#", line, maxsplit=1)[0].strip()
        if not line or line.startswith("-"):
            continue
        match = _PINNED.match(line)
        if not match:
            raise GitopsError(f"{line.split()[0]!r} is not pinned", hint="write name==version; uv pip compile does")
        found.append((re.sub(r"[-_.]+", "-", match[1]).lower(), match[2], tuple(_HASH.findall(line))))
    return found


def document(
    model: str,
    version: str,
    packages: Iterable[tuple[str, str, Sequence[str]]],
    files: Mapping[str, str],
    about: Mapping[str, str],
) -> dict[str, Any]:
    """The bill of materials. `files` are hex digests by path, `about` is what is known of the source."""
    components = [_package(*package) for package in sorted(packages)]
    components += [
        {"type": "file", "name": path, "bom-ref": f"file:{path}", "hashes": [_sha256(digest)]}
        for path, digest in sorted(files.items())
    ]
    content = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {"type": "machine-learning-model", "bom-ref": "model", "name": model, "version": version},
            "properties": [
                {"name": f"gitops:{name}", "value": value} for name, value in sorted(about.items()) if value
            ],
        },
        "components": components,
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return {**content, "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, digest)}"}


def digests(directory: Path) -> dict[str, str]:
    """The SHA-256 of every file below, by its path there."""
    found = {}
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                found[path.relative_to(directory).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _package(name: str, version: str, hashes: Sequence[str]) -> dict[str, Any]:
    locator = f"pkg:pypi/{name}@{version}"
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": locator,
        "name": name,
        "version": version,
        "purl": locator,
    }
    # Several files of one release have a digest each, and only one of them is installed: with one, it is that.
    return {**component, "hashes": [_sha256(hashes[0])]} if len(hashes) == 1 else component


def _sha256(digest: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": digest}
