"""The content digest is what coreutils give, in little memory, and refuses what they would pass over in silence."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitops.errors import GitopsError
from gitops.stages import digest
from gitops.stages.digest import Digested, FileDigest, combined, digest_path
from tests.support.project import ROOT

COREUTILS = r"find . -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0 sha256sum -- | sha256sum"


def by_coreutils(path: Path) -> str:
    if path.is_file():
        done = subprocess.run(["sha256sum", path.name], cwd=path.parent, capture_output=True, text=True, check=True)
    else:
        done = subprocess.run(["sh", "-c", COREUTILS], cwd=path, capture_output=True, text=True, check=True)
    return "sha256:" + done.stdout.split()[0]


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


MODEL = {"config.json": b"{}", "a/b": b"1", "a.b": b"2", "a-b/c": b"", "Ä/é 1": b"x" * 3_000_000, "-v": b"v", " ": b"s"}


def aged(root: Path) -> Path:
    """As files are that nobody has written for a while."""
    for path in root.rglob("*"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    return root


def test_a_directory_as_coreutils_digest_it(tmp_path: Path) -> None:
    root = write(tmp_path, MODEL)
    (root / "empty").mkdir()
    found = digest_path(root)
    assert found.digest == by_coreutils(root)
    assert found.size == sum(map(len, MODEL.values()))
    assert [file.path for file in found.files] == sorted(MODEL, key=str.encode)
    assert combined(reversed(found.files)) == found
    assert all(digest_path(root, threads=threads) == found for threads in (1, 3))


def test_a_file_as_coreutils_digest_it(tmp_path: Path) -> None:
    path = write(tmp_path, {"model.onnx": os.urandom(2_500_000)}) / "model.onnx"
    found = digest_path(path)
    assert found.digest == by_coreutils(path)
    assert found == Digested(found.digest, 2_500_000, (FileDigest("model.onnx", found.digest[7:], 2_500_000),), False)
    link = tmp_path / "link"
    link.symlink_to(path)
    assert digest_path(link).digest == found.digest


NAMES = st.text(st.characters(exclude_characters="/\\\0", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12)


@settings(max_examples=15)
@given(st.dictionaries(st.tuples(NAMES, NAMES), st.binary(max_size=20), min_size=1, max_size=6))
def test_any_names(tmp_path_factory: pytest.TempPathFactory, files: dict[tuple[str, str], bytes]) -> None:
    usable = {f"{a}/{b}": content for (a, b), content in files.items() if not {a, b} & {".", ".."}}
    if usable:
        root = write(tmp_path_factory.mktemp("names"), usable)
        assert digest_path(root).digest == by_coreutils(root)


def test_progress_reaches_the_total(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    found = digest_path(write(tmp_path, MODEL), progress=lambda done, total: told.append((done, total)))
    assert told[0] == (0, found.size)
    assert told[-1] == (found.size, found.size)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


@pytest.mark.parametrize(
    ("name", "said"),
    [("new\nline", "plain UTF-8"), ("back\\slash", "plain UTF-8"), (os.fsdecode(b"\xff"), "plain UTF-8")],
)
def test_names_that_cannot_be_written_down(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(GitopsError, match=said):
        digest_path(write(tmp_path, {name: b""}))


def test_links_sockets_and_pipes_are_refused(tmp_path: Path) -> None:
    root = write(tmp_path / "m", {"a": b"1"})
    (root / "inside").symlink_to("a")
    with pytest.raises(GitopsError, match="symbolic link") as caught:
        digest_path(root)
    assert caught.value.where.endswith("/m/inside")
    assert "cp -rL" in caught.value.hint
    (root / "inside").unlink()
    os.mkfifo(root / "pipe")
    with pytest.raises(GitopsError, match="neither a file nor a directory"):
        digest_path(root)
    (root / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(root / "s"))
        with pytest.raises(GitopsError, match="neither a file nor a directory"):
            digest_path(root)


def test_nothing_to_digest(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(GitopsError, match="no files"):
        digest_path(tmp_path)
    with pytest.raises(GitopsError, match="no such file"):
        digest_path(tmp_path / "absent")


def test_stored_names_that_contradict_one_another() -> None:
    one = FileDigest("a", "0" * 64, 0)
    for other in ("a", "a/b", "../a", "/a", "b//c", "./b"):
        with pytest.raises(GitopsError):
            combined([one, one._replace(path=other)])


@pytest.mark.parametrize("change", ["grow", "shrink", "touch", "add", "remove"])
def test_what_changes_while_it_is_read(tmp_path: Path, change: str) -> None:
    root = aged(write(tmp_path, {"a": b"x" * 3_000_000, "b": b"1"}))

    def interfere(done: int, total: int) -> None:
        if done >= 1_000_000 and not state:
            state.append(change)
            {
                "grow": lambda: os.truncate(root / "a", 3_000_010),
                "shrink": lambda: os.truncate(root / "a", 2_500_000),
                "touch": lambda: os.utime(root / "a"),
                "add": lambda: (root / "c").write_bytes(b""),
                "remove": (root / "b").unlink,
            }[change]()

    state: list[str] = []
    with pytest.raises(GitopsError, match=r"changed while it was read|no such file"):
        digest_path(root, progress=interfere, threads=1)
    assert state == [change]


class Interrupted(BaseException):
    pass


def interrupted(root: Path, cache: Path, after: int) -> None:
    def stop(done: int, total: int) -> None:
        if done >= after:
            raise Interrupted

    with pytest.raises(Interrupted):
        digest_path(root, cache=cache, progress=stop, threads=1)


def bytes_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    read: list[str] = []
    original = digest._Reading._read
    monkeypatch.setattr(digest._Reading, "_read", lambda self, file: (read.append(file.path), original(self, file))[1])
    return read


def test_an_interrupted_digest_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = aged(write(tmp_path / "m", {"a": b"a" * 4_000_000, "b": b"b" * 3_000_000, "c": b"c" * 2_000_000}))
    cache = tmp_path / "cache" / "digest.json"
    interrupted(root, cache, 8_000_000)
    assert set(json.loads(cache.read_bytes())["files"]) == {"a", "b"}
    read = bytes_read(monkeypatch)
    (root / "b").write_bytes(b"B" * 3_000_000)
    found = digest_path(root, cache=cache)
    assert sorted(read) == ["b", "c"]
    assert found.digest == by_coreutils(root)
    assert not cache.exists()
    read.clear()
    digest_path(root, cache=cache)
    assert sorted(read) == ["a", "b", "c"]


def test_what_was_written_just_now_is_not_remembered(tmp_path: Path) -> None:
    root = write(tmp_path / "m", {"a": b"a" * 4_000_000, "b": b"b" * 3_000_000})
    interrupted(root, tmp_path / "cache", 5_000_000)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"format": "gitops-digest-1", "root": "/", "files": {"a": [1]}}']
)
def test_a_damaged_cache_is_ignored(tmp_path: Path, content: bytes) -> None:
    root = write(tmp_path / "m", {"a": b"1"})
    (tmp_path / "cache").write_bytes(content)
    assert digest_path(root, cache=tmp_path / "cache").digest == by_coreutils(root)


def test_a_cache_of_another_directory_is_ignored(tmp_path: Path) -> None:
    root = aged(write(tmp_path / "m", {"a": b"a" * 4_000_000, "b": b"b" * 3_000_000}))
    interrupted(root, tmp_path / "cache", 5_000_000)
    text = (tmp_path / "cache").read_text().replace(str(root), "/elsewhere")
    (tmp_path / "cache").write_text(text.replace("a", "f"))
    assert digest_path(root, cache=tmp_path / "cache").digest == by_coreutils(root)


def test_memory_stays_small_whatever_the_size(tmp_path: Path) -> None:
    for name in "abcd":
        with (tmp_path / name).open("wb") as file:
            file.truncate(150_000_000)
    code = (
        "import resource, sys; from pathlib import Path; from gitops.stages.digest import digest_path;"
        "print(digest_path(Path(sys.argv[1]), threads=4).size, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    # A small process starts it: Linux counts the memory of whoever starts a process as its own.
    launch = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)"
    command = [sys.executable, "-I", "-S", "-c", launch, sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT / "src")})
    size, kib = map(int, done.stdout.split())
    assert size == 600_000_000
    assert kib * 1024 < 100_000_000


def test_a_pipe_that_takes_a_files_place_is_not_waited_for(tmp_path: Path) -> None:
    root = write(tmp_path, {"a": b"x" * 2_000_000, "b": b"1"})

    def swap(done: int, total: int) -> None:
        if done >= 1_000_000 and (root / "b").is_file():
            (root / "b").unlink()
            os.mkfifo(root / "b")

    start = time.monotonic()
    with pytest.raises(GitopsError, match="changed while it was read"):
        digest_path(root, progress=swap, threads=1)
    assert time.monotonic() - start < 5
