"""What torch.export.save wrote, looked at before torch is: nothing that is unpickled or compiled goes through.

torch.export.load unpickles whatever the configuration of the weights says it should, loads compiled libraries that lie
in the archive, and reads sizes as Python expressions (torch/export/pt2_archive/_package.py and
torch/_export/serde/serialize.py of 2.15). The first two are refused here for everybody. The third is why the format
needs `trustedCode` all the same.
"""

from __future__ import annotations

import io
import json
import pickletools
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

from gitops.errors import GitopsError

_AGAIN = "write it by torch.export.save from a program of plain tensors, with torch 2.9 or newer"
_MOST_JSON = 256 * 1024 * 1024
_MOST_SAMPLES = 1024 * 1024 * 1024
_ABOUT = r"archive_format|archive_version|byteorder|version|\.data/(version|serialization_id)|\.format_version"
_KNOWN = re.compile(
    rf"(?P<root>[^/]+)/({_ABOUT}|\.storage_alignment|(?P<program>models/model\.json)"
    r"|(?P<config>data/(weights/model_weights|constants/model_constants)_config\.json)"
    r"|data/weights/weight_\d+|data/constants/tensor_\d+|(?P<samples>data/sample_inputs/model\.pt))"
)
_EXTRA = re.compile(r"[^/]+/extra/.*")
_CALLED = re.compile(
    r"torch\._utils _rebuild_(tensor_v2|parameter)|collections OrderedDict"
    r"|torch (\w+Storage|Size|device|(b?float|u?int|complex|q?u?int)\d+|bool)"
)
"""What the pickle of tensors and plain containers names: `module name`."""


def checked(path: Path, scratch: Path) -> Path:
    """A copy below `scratch` of the parts of a `.pt2` that are tensors and text; what torch is given is this copy.

    Archives that two readers could read in two ways have one meaning in it. Raises GitopsError for parts that hold
    pickles or compiled code.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check(archive, str(path))
            return _copied(archive, scratch / "checked.pt2")
    except (zipfile.BadZipFile, NotImplementedError, OSError, EOFError) as error:
        raise GitopsError(f"this is no archive of torch.export.save: {error}", where=str(path), hint=_AGAIN) from error


def _check(archive: zipfile.ZipFile, where: str) -> None:
    names = [entry.filename for entry in archive.infolist()]
    roots, seen = set(), set()
    for entry in archive.infolist():
        name = entry.filename
        if _EXTRA.fullmatch(name):
            continue
        match = _KNOWN.fullmatch(name)
        if not match:
            what = f"{name!r} is neither a tensor nor text: loading it could run the code in it"
            raise GitopsError(what, where=where, hint=_AGAIN)
        if name in seen:
            raise GitopsError(f"{name!r} is in it twice", where=where, hint=_AGAIN)
        seen.add(name)
        roots.add(match["root"])
        if match["config"]:
            _check_config(_read(archive, entry, _MOST_JSON, where), name, where)
        elif match["samples"]:
            _check_samples(_read(archive, entry, _MOST_SAMPLES, where), name, where)
    if len(roots) != 1 or not any(name.endswith("/models/model.json") for name in names):
        raise GitopsError("this is no archive of torch.export.save", where=where, hint=_AGAIN)


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int, where: str) -> bytes:
    with archive.open(entry) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise GitopsError(f"{entry.filename!r} is larger than {most} bytes", where=where, hint=_AGAIN)
    return data


def _check_config(data: bytes, name: str, where: str) -> None:
    try:
        entries = json.loads(data)["config"]
        plain = all(entry["use_pickle"] is False and _is_tensor(entry["path_name"]) for entry in entries.values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        plain = False
    if not plain:
        what = f"{name!r} says that a part is pickled, and unpickling runs the code in it"
        raise GitopsError(what, where=where, hint=_AGAIN)


def _is_tensor(name: str) -> bool:
    return re.fullmatch(r"(weight|tensor)_\d+", name) is not None


def _check_samples(data: bytes, name: str, where: str) -> None:
    """The inputs that the program was traced with are always pickled: this has to name nothing but tensors."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as inner:
            pickles = [entry for entry in inner.namelist() if entry.rpartition("/")[2] == "data.pkl"]
            called = next(_foreign(inner.read(pickles[0])), "") if len(pickles) == 1 else "no or several pickles"
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError):
        called = "something that is no archive"
    if called:
        what = f"{name!r} holds more than tensors ({called}): loading it could run the code in it"
        raise GitopsError(what, where=where, hint="export it with tensors alone as arguments")


def _foreign(pickle: bytes) -> Iterator[str]:
    """What a pickle calls or looks up that is not part of a tensor. Raises ValueError for what is no pickle."""
    for operation, argument, _ in pickletools.genops(pickle):
        if operation.name == "GLOBAL":
            if not _CALLED.fullmatch(str(argument)):
                yield str(argument)
        elif operation.name in ("STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "BUILD"):
            yield operation.name


def _copied(archive: zipfile.ZipFile, target: Path) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as copy:
        for entry in archive.infolist():
            if _KNOWN.fullmatch(entry.filename):
                with archive.open(entry) as source, copy.open(entry.filename, "w", force_zip64=True) as made:
                    shutil.copyfileobj(source, made, 1 << 20)
    return target
