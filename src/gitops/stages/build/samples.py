"""Arrays to ask a model with: from files, or from a generator with a seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gitops.errors import GitopsError
from gitops.stages.build.task import tool

Arrays = dict[str, Any]
LABELS = "labels"


def load_arrays(path: Path) -> Arrays:
    """The arrays of a `.npz` or `.safetensors` file by name. Raises GitopsError for others, and for Python objects."""
    np = tool("numpy")
    try:
        if path.suffix == ".safetensors":
            return dict(tool("safetensors.numpy").load_file(path))
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
    except GitopsError:
        raise
    except Exception as error:  # each library has its own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise GitopsError(f"cannot be read: {reason}", where=str(path), hint="write it with numpy.savez") from error
    raise GitopsError("samples come from .npz or .safetensors", where=str(path), hint="write it with numpy.savez")


def random_arrays(inputs: Iterable[Mapping[str, Any]], seed: int, rows: int, below: int) -> Arrays:
    """Samples for inputs of a signature: normal numbers, whole ones in [0, below), booleans by a coin.

    Open sizes become `rows`. The same seed gives the same samples (numpy's PCG64).
    """
    np = tool("numpy")
    generator = np.random.Generator(np.random.PCG64(seed))
    arrays = {}
    for tensor in inputs:
        dtype = np.dtype(tensor["dtype"])
        shape = [size if isinstance(size, int) else rows for size in tensor["shape"]]
        if dtype.kind == "f":
            arrays[tensor["name"]] = generator.standard_normal(shape).astype(dtype)
        elif dtype.kind == "b":
            arrays[tensor["name"]] = generator.integers(0, 2, shape).astype(dtype)
        else:
            most = min(below, int(np.iinfo(dtype).max) + 1)
            arrays[tensor["name"]] = generator.integers(0, most, shape).astype(dtype)
    return arrays


def fitted(arrays: Arrays, inputs: Iterable[Mapping[str, Any]], where: str) -> Arrays:
    """The arrays that the inputs name, in their order. Raises GitopsError for a missing one or another type."""
    chosen = {}
    for tensor in inputs:
        name = tensor["name"]
        if name not in arrays:
            has = ", ".join(sorted(arrays)) or "nothing"
            raise GitopsError(f"there is no array {name!r}", where=where, hint=f"it has {has}; name them as the inputs")
        if str(arrays[name].dtype) != tensor["dtype"]:
            what = f"{name!r} is {arrays[name].dtype}, the model takes {tensor['dtype']}"
            raise GitopsError(what, where=where, hint=f"save it with .astype({tensor['dtype']!r})")
        if len(arrays[name].shape) != len(tensor["shape"]):
            what = f"{name!r} has the shape {list(arrays[name].shape)}, the model takes {tensor['shape']}"
            raise GitopsError(what, where=where, hint="the first dimension is the rows")
        chosen[name] = arrays[name]
    return chosen
