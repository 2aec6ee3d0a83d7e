"""Archives of torch.export that hold more than tensors, without torch."""

import io
import json
import pickle
import zipfile
from pathlib import Path

import pytest

from gitops.errors import GitopsError
from gitops.stages.build.pt2 import checked

# What torch.save writes for one tensor, by protocol 2 (torch 2.15).
TENSOR = (
    b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nq\x00((X\x07\x00\x00\x00storageq\x01ctorch\nFloatStorage\nq\x02"
    b"X\x01\x00\x00\x000q\x03X\x03\x00\x00\x00cpuq\x04K\x08tq\x05QK\x00K\x02\x85q\x06K\x01\x85q\x07\x89"
    b"ccollections\nOrderedDict\nq\x08)Rq\ttq\nRq\x0b."
)


def config(**changes: object) -> bytes:
    entry = {"path_name": "weight_0", "is_param": True, "use_pickle": False, "tensor_meta": {}, **changes}
    return json.dumps({"config": {"l.weight": entry}}).encode()


def samples(content: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/data/0", b"\0" * 8)
    return data.getvalue()


PARTS = {
    "m/archive_format": b"pt2",
    "m/archive_version": b"0",
    "m/models/model.json": b"{}",
    "m/data/weights/weight_0": b"\0" * 48,
    "m/data/weights/model_weights_config.json": config(),
    "m/data/constants/model_constants_config.json": b'{"config": {}}',
    "m/data/sample_inputs/model.pt": samples(TENSOR),
    "m/.data/version": b"6",
    "m/extra/notes.txt": b"from run 81",
}


def archive(path: Path, parts: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in parts.items():
            made.writestr(name, content)
    return path


def test_tensors_and_text_go_through_as_a_copy_without_extras(tmp_path: Path) -> None:
    copy = checked(archive(tmp_path / "m.pt2", PARTS), tmp_path)
    with zipfile.ZipFile(copy) as found:
        assert {name: found.read(name) for name in found.namelist()} == {
            name: content for name, content in PARTS.items() if "/extra/" not in name
        }
        assert {entry.compress_type for entry in found.infolist()} == {zipfile.ZIP_STORED}


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("print('ran')",)


WEIGHTS, SAMPLES = "m/data/weights/model_weights_config.json", "m/data/sample_inputs/model.pt"
CONSTANTS = "m/data/constants/model_constants_config.json"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({WEIGHTS: config(use_pickle=True)}, "a part is pickled"),
        ({WEIGHTS: config(use_pickle=1)}, "a part is pickled"),
        ({WEIGHTS: b"{}"}, "a part is pickled"),
        ({CONSTANTS: config(path_name="tensor_0", use_pickle=True)}, "a part is pickled"),
        ({CONSTANTS: config(path_name="opaque_obj_0")}, "a part is pickled"),
        ({CONSTANTS: config(path_name="../weights/weight_0")}, "a part is pickled"),
        ({"m/data/constants/custom_obj_0": b"x"}, "neither a tensor nor text"),
        ({"m/data/constants/opaque_obj_0": pickle.dumps(Evil())}, "neither a tensor nor text"),
        ({"m/data/weights/model.pt": pickle.dumps(Evil())}, "neither a tensor nor text"),
        ({"m/data/constants/model.pt": pickle.dumps(Evil())}, "neither a tensor nor text"),
        ({"m/data/aotinductor/model/model.so": b"\x7fELF"}, "neither a tensor nor text"),
        ({"m/models/other.json": b"{}"}, "neither a tensor nor text"),
        ({"serialized_state_dict.pt": pickle.dumps(Evil())}, "neither a tensor nor text"),
        ({SAMPLES: samples(pickle.dumps(Evil(), 2))}, "holds more than tensors"),
        ({SAMPLES: samples(pickle.dumps(Evil(), 4))}, "holds more than tensors"),
        ({SAMPLES: samples(TENSOR.replace(b"ctorch\nFloatStorage", b"ctorch\nload"))}, "holds more than tensors"),
        ({SAMPLES: pickle.dumps(Evil())}, "something that is no archive"),
        ({SAMPLES: samples(b"no pickle")}, "something that is no archive"),
        ({"n/data/weights/weight_1": b""}, "this is no archive of torch.export.save"),
    ],
)
def test_what_would_be_unpickled_or_loaded_is_refused(tmp_path: Path, changes: dict[str, bytes], words: str) -> None:
    with pytest.raises(GitopsError, match=words) as caught:
        checked(archive(tmp_path / "m.pt2", {**PARTS, **changes}), tmp_path)
    assert "torch.export.save" in caught.value.hint or "tensors alone" in caught.value.hint
    assert not (tmp_path / "checked.pt2").exists()


def test_two_parts_of_one_name_have_no_single_meaning(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.pt2", PARTS)
    with zipfile.ZipFile(path, "a") as made, pytest.warns(UserWarning, match="Duplicate name"):
        made.writestr(WEIGHTS, config())
    with pytest.raises(GitopsError, match="is in it twice"):
        checked(path, tmp_path)


def test_what_is_no_archive_is_said(tmp_path: Path) -> None:
    (tmp_path / "m.pt2").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(GitopsError, match=r"this is no archive of torch\.export\.save"):
        checked(tmp_path / "m.pt2", tmp_path)
