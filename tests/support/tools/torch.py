"""A virtual environment of its own for torch, ONNX and TensorFlow: made once from `requirements/build.txt`."""

from __future__ import annotations

import hashlib
import platform
import shutil
import sys
import venv
from pathlib import Path

from tests.support.tools.tool import Tool, Unavailable, cache, last_line, run

REQUIREMENTS = Path(__file__).resolve().parents[3] / "requirements" / "build.txt"
UNUSED = ("nvidia/cudnn/lib/libcudnn_*", "nvidia/nvshmem/lib/*.bc", "nvidia/nvshmem/lib/*.a")
"""A gigabyte that torch loads on a GPU only. What it links against stays: without that it is not imported at all."""


def _find() -> Path | None:
    target = _kept()
    return target / "bin" / "python" if (target / "complete").exists() else None


def _kept() -> Path:
    about = f"{sys.version_info[:2]} {platform.machine()} {UNUSED}".encode()
    return cache() / f"build-{hashlib.sha256(about + REQUIREMENTS.read_bytes()).hexdigest()[:16]}"


def _install() -> None:
    target = _kept()
    shutil.rmtree(target, ignore_errors=True)
    uv = shutil.which("uv")
    venv.create(target, with_pip=uv is None, symlinks=True)
    python = str(target / "bin" / "python")
    installer = (
        [uv, "pip", "install", "--python", python, "--compile-bytecode"] if uv else [python, "-m", "pip", "install"]
    )
    done = run([*installer, "--quiet", "--no-deps", "--require-hashes", "--requirement", str(REQUIREMENTS)])
    if done.returncode:
        shutil.rmtree(target, ignore_errors=True)
        said = last_line(done.stderr)
        raise Unavailable(f"the build tools could not be installed: {said}; make PyPI reachable, and 7 GB free")
    (packages,) = (target / "lib").glob("python*/site-packages")
    for pattern in UNUSED:
        for path in packages.glob(pattern):
            path.unlink()
    (target / "complete").touch()


BUILD_PYTHON = Tool("build tools", "installing torch, ONNX and TensorFlow, some minutes and 5 GB", _find, _install)
"""Its path is the Python that has the tools of the build stages."""
