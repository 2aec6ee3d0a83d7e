"""The directory Terraform works in: the root module and its modules as files, and what belongs to this driver."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from gitops.world.terraform.diagnostics import TerraformError

Files = Mapping[str, str | bytes]

_DECIDES_INIT = re.compile(rb"^\s*(backend|cloud|module|required_\w+|source)\b", re.MULTILINE)


class Workdir:
    """`directory` mirrors the repository's `terraform/`; `root` names the root module in it.

    Terraform's own files (`.terraform`, a local state) lie beside the root's and are never touched. Several roots
    can share a directory as long as they agree about the modules.
    """

    def __init__(self, directory: Path, root: str) -> None:
        self.directory = directory.absolute()
        self.name = _checked(root)
        self.root = self.directory / self.name
        self.private = self.root / ".gitops"

    def write(self, files: Files) -> None:
        """Make the files on disk equal to `files`: write what differs, remove what an earlier call wrote."""
        if not any(_below(path, self.name) for path in files):
            raise TerraformError("there is no Terraform root module to work on", where=self.name)
        written = self._written()
        for path in files:
            _checked(path)
        # Noted before anything is written, so that a crash leaves nothing behind that nobody removes.
        self._note({*written, *files})
        for path, content in files.items():
            _write(self.directory / path, _bytes(content))
        for path in written - set(files):
            (self.directory / path).unlink(missing_ok=True)
        self._note(set(files))

    def _written(self) -> set[str]:
        try:
            return {_checked(path) for path in json.loads((self.private / "files.json").read_text("utf-8"))}
        except (FileNotFoundError, ValueError):
            return set()

    def _note(self, paths: set[str]) -> None:
        _write(self.private / "files.json", json.dumps(sorted(paths)).encode())

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep every other process of ours out of this root meanwhile; TerraformError when one is in it."""
        self.private.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.private / "lock").open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise TerraformError(
                    "another gitops process is working here", where=str(self.root), hint="wait until it ends"
                ) from None
            yield

    @contextmanager
    def tfplan(self, content: bytes = b"") -> Iterator[Path]:
        """A private file (mode 0600) for a saved plan, which can hold secrets; gone afterwards."""
        descriptor, name = tempfile.mkstemp(prefix="tfplan-", dir=self.private)
        try:
            with os.fdopen(descriptor, "wb") as handle:
                handle.write(content)
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)

    def init_key(self, files: Files, *more: str) -> str:
        """A digest of everything that makes `terraform init` necessary when it changes."""
        digest = hashlib.sha256("\0".join(more).encode())
        for path in sorted(files):
            content = _bytes(files[path])
            code = path.endswith((".tf", ".tf.json")) and _DECIDES_INIT.search(content)
            if code or path.endswith(".lock.hcl"):
                digest.update(path.encode() + b"\0" + hashlib.sha256(content).digest())
        return digest.hexdigest()

    def initialised(self, key: str) -> bool:
        """Whether `mark_initialised` was called with this key, and `.terraform` is still there."""
        try:
            return self._marker.read_text("utf-8") == key
        except FileNotFoundError:
            return False

    def mark_initialised(self, key: str | None) -> None:
        """Remember a successful init; None forgets it."""
        if key is None:
            self._marker.unlink(missing_ok=True)
        else:
            _write(self._marker, key.encode())

    @property
    def _marker(self) -> Path:
        return self.root / ".terraform" / "gitops-init"


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


def _below(path: str, folder: str) -> bool:
    return path.startswith(f"{folder}/")


def _checked(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or "\0" in path:
        raise TerraformError(f"{path!r} is not a path inside the repository")
    return path


def _write(path: Path, content: bytes) -> None:
    """Write through a temporary file, and only what differs; private, as tfvars and markers need no readers."""
    try:
        if path.read_bytes() == content:
            return
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=".writing-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(content)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
