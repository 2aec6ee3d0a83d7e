"""A virtual environment of its own for torch, ONNX and TensorFlow: made once from `requirements/build.txt`."""

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.binaries import Unavailable

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements" / "build.txt"
UNUSED = ("nvidia/cudnn/lib/libcudnn_*", "nvidia/nvshmem/lib/*.bc", "nvidia/nvshmem/lib/*.a")
"""A gigabyte that torch loads on a GPU only. What it links against stays: without that it is not imported at all."""


def build_python() -> Path:
    """The Python that has the tools of the build stages, set up if need be.

    That takes two minutes and 5 GB; several processes that ask at the same time do it once. Raises Unavailable when
    they cannot be installed.
    """
    target = _cache() / f"build-{_digest()}"
    if not (target / "complete").exists():
        with _locked(_cache() / "build-tools.lock"):
            if not (target / "complete").exists():
                _install(target)
    return target / "bin" / "python"


def build_python_or_skip() -> Path:
    """The same for a fixture: what cannot be had is an error in CI, and a skip with the reason elsewhere."""
    try:
        return build_python()
    except Unavailable as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))


def _cache() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    directory = Path(root) / "gitops-models"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _digest() -> str:
    about = f"{sys.version_info[:2]} {platform.machine()} {UNUSED}".encode()
    return hashlib.sha256(about + REQUIREMENTS.read_bytes()).hexdigest()[:16]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    uv = shutil.which("uv")
    venv.create(target, with_pip=uv is None, symlinks=True)
    python = str(target / "bin" / "python")
    installer = (
        [uv, "pip", "install", "--python", python, "--compile-bytecode"] if uv else [python, "-m", "pip", "install"]
    )
    options = ["--quiet", "--no-deps", "--require-hashes", "--requirement", str(REQUIREMENTS)]
    done = subprocess.run([*installer, *options], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or "no output").splitlines()[-1]
        shutil.rmtree(target, ignore_errors=True)
        raise Unavailable(f"the build tools could not be installed: {last}; make PyPI reachable, and 7 GB free")
    (packages,) = (target / "lib").glob("python*/site-packages")
    for pattern in UNUSED:
        for path in packages.glob(pattern):
            path.unlink()
    (target / "complete").touch()
