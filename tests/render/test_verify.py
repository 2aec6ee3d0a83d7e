"""The script that refuses what is not the artifact, really run: by dash with coreutils, and by busybox with its own."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gitops.render.templates import Compiled
from gitops.stages.digest import FileDigest, combined, digest_path
from tests.render.specs import project_templates
from tests.support.actionlint import shellcheck
from tests.support.tools.debian import BUSYBOX
from tests.support.tools.tool import Unavailable, skip

SCRIPT = Compiled(project_templates().sources).render("kubernetes/version/verify-model.sh.j2", {})
APPLETS = ("find", "sed", "sha256sum", "sort", "tr", "true", "wc", "xargs")
OTHER = "sha256:" + "0" * 64
URI = "s3://acme-models/chat/1.2.0"

Verify = Callable[..., "subprocess.CompletedProcess[str]"]
Tree = Mapping[str, bytes]

TREES: dict[str, Tree] = {
    "several": {"config.json": b"{}", "model-1.safetensors": b"a" * 70_000, "model-2.safetensors": b""},
    "nested": {"a/b/c/d": b"1", "a/b/c/e": b"", "a/b.txt": b"2", "a-b": b"3"},
    "single": {"model.onnx": b"weights"},
    "single below": {"1/model.onnx": b"weights"},
    "spaces": {" leading": b"1", "trailing ": b"2", "a  b": b"3", "a b/c d": b"4"},
    "dashes": {"-": b"1", "--": b"2", "-n/-e": b"3", "-rf": b"4"},
    "dots": {".hidden": b"1", "..data": b"2", "a..b/...": b"3", ".gitattributes": b"4"},
    "unicode": {"Zoë": b"1", "模型/权重.bin": b"2", "\N{SNOWMAN}": b"3", "z": b"4", "é": b"5"},
    "signs": {
        "a'b": b"1",
        'a"b': b"2",
        "$HOME": b"3",
        "`id`": b"4",
        "a*b": b"5",
        "[a]": b"6",
        "%s": b"7",
        "#;&|": b"8",
    },
    "order": {"B": b"1", "a": b"2", "b": b"3", "_": b"4", "10": b"5", "9": b"6", "a.b": b"7", "A/1": b"8"},
    "like leftovers": {".sig": b"1", ".cache/huggingface/x": b"2", "a/.sig": b"3", "model.sig": b"4"},
}
LEFT_BEHIND: dict[str, Tree] = {
    "hf://acme/chat@v1": {
        ".cache/huggingface/.gitignore": b"*",
        ".cache/huggingface/CACHEDIR.TAG": b"Signature",
        ".cache/huggingface/download/config.json.metadata": b"1",
        ".cache/huggingface/download/a/b.lock": b"",
    },
    "az://models/chat": {".intoto.jsonl": b"{}", ".sig": b"x", ".sigstore.json": b"{}"},
}


def write(root: Path, files: Tree) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def content_digest(files: Tree) -> str:
    listed = (FileDigest(name, hashlib.sha256(data).hexdigest(), len(data)) for name, data in files.items())
    return combined(listed).digest


def shell_of(kind: str, tools: Path) -> tuple[list[str], str]:
    """What starts the script, and its PATH."""
    if kind == "dash":
        return [shutil.which("dash") or "/bin/sh"], os.environ["PATH"]
    busybox = BUSYBOX.path_or_skip()
    for applet in APPLETS:
        (tools / applet).symlink_to(busybox)
    return [str(busybox), "sh"], str(tools)


@pytest.fixture(params=["dash", "busybox"], scope="module")
def verify(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Verify:
    shell, path = shell_of(request.param, tmp_path_factory.mktemp("tools"))

    def run(directory: Path, digest: str, uri: str = URI) -> subprocess.CompletedProcess[str]:
        arguments = ["-c", SCRIPT, "verify-model", str(directory), digest, uri, "chat"]
        return subprocess.run([*shell, *arguments], capture_output=True, text=True, timeout=60, env={"PATH": path})

    return run


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("tree", TREES)
def test_the_artifact_is_accepted_by_its_digest(verify: Verify, tmp_path: Path, tree: str) -> None:
    root = write(tmp_path / "models", TREES[tree])
    (root / "empty" / "below").mkdir(parents=True)
    digest = digest_path(root).digest
    assert digest == content_digest(TREES[tree])
    done = verify(root, digest)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"the files from {URI} have digest {digest}\n"
    refusal(verify(root, OTHER))


@pytest.mark.parametrize("left", LEFT_BEHIND)
@pytest.mark.parametrize("tree", ["several", "single", "single below"])
def test_what_the_download_leaves_is_no_part_of_it(verify: Verify, tmp_path: Path, tree: str, left: str) -> None:
    root = write(tmp_path / "models", {**TREES[tree], **LEFT_BEHIND[left]})
    assert verify(root, content_digest(TREES[tree]), left).returncode == 0
    assert verify(root, digest_path(root).digest, left).returncode == 0
    write(root, {".cache/other": b"1"})
    refused(verify(root, content_digest(TREES[tree]), left), left)


@pytest.mark.parametrize("left", LEFT_BEHIND)
def test_where_no_download_leaves_it_it_is_part_of_the_model(verify: Verify, tmp_path: Path, left: str) -> None:
    """A server that reads what lies below .cache/huggingface read what no digest held, from every place."""
    root = write(tmp_path / "models", {**TREES["several"], **LEFT_BEHIND[left]})
    others = {"hf://acme/chat@v1", "file://models/chat", "oci://registry.acme.ai/chat:1", "s3://acme/chat"} - {left}
    for uri in others - ({"s3://acme/chat"} if left.startswith("az") else set()):
        refused(verify(root, content_digest(TREES["several"]), uri), uri)
        assert verify(root, digest_path(root).digest, uri).returncode == 0


def refused(done: subprocess.CompletedProcess[str], uri: str) -> None:
    assert refusal(done).startswith(f"the files from {uri} have digest ")


@pytest.mark.parametrize("uri", [URI, *LEFT_BEHIND])
def test_a_single_file_is_accepted_by_its_own_digest(verify: Verify, tmp_path: Path, uri: str) -> None:
    root = write(tmp_path / "models", {**TREES["single"], **LEFT_BEHIND.get(uri, {})})
    own = "sha256:" + hashlib.sha256(b"weights").hexdigest()
    assert verify(root, own, uri).returncode == 0
    write(root, {"second": b""})
    refusal(verify(root, own, uri))


def changed(root: Path) -> None:
    (root / "model-1.safetensors").write_bytes(b"a" * 69_999 + b"b")


def renamed(root: Path) -> None:
    (root / "config.json").rename(root / "config.jsom")


def moved(root: Path) -> None:
    (root / "1").mkdir()
    (root / "config.json").rename(root / "1" / "config.json")


def removed(root: Path) -> None:
    (root / "model-2.safetensors").unlink()


def added(root: Path) -> None:
    (root / "extra").write_bytes(b"")


def emptied(root: Path) -> None:
    shutil.rmtree(root)
    root.mkdir()


@pytest.mark.parametrize("change", [changed, renamed, moved, removed, added, emptied])
def test_other_files_are_refused_in_one_line(verify: Verify, tmp_path: Path, change: Callable[[Path], None]) -> None:
    root = write(tmp_path / "models", TREES["several"])
    digest = digest_path(root).digest
    change(root)
    line = refusal(verify(root, digest))
    assert line.startswith(f"the files from {URI} ")
    assert line.endswith(f", expected {digest}; run: gitops models verify chat")
    if change is not emptied:
        assert f"have digest {digest_path(root).digest} (files: " in line


def test_a_link_is_refused(verify: Verify, tmp_path: Path) -> None:
    root = write(tmp_path / "models", TREES["several"])
    digest = digest_path(root).digest
    (root / "more.safetensors").symlink_to("model-1.safetensors")
    assert "have a link or a device among them" in refusal(verify(root, digest))


def test_no_directory_at_all_is_refused(verify: Verify, tmp_path: Path) -> None:
    assert "are not there" in refusal(verify(tmp_path / "absent", OTHER))


def test_a_line_break_in_a_name_makes_no_second_file(verify: Verify, tmp_path: Path) -> None:
    """busybox writes such a name as it is: one file would be listed like the two that the digest is of."""
    digest = content_digest({"a": b"1", "b": b"2"})
    root = write(tmp_path / "models", {f"a\n{hashlib.sha256(b'2').hexdigest()}  b": b"1"})
    refusal(verify(root, digest))
    refusal(verify(write(tmp_path / "other", {"a": b"1", "b": b"2", "c\\d": b""}), digest))


def test_the_order_is_that_of_the_names_and_not_of_who_is_done_first(verify: Verify, tmp_path: Path) -> None:
    sizes = [400_000 if number % 7 == 0 else number for number in range(60)]
    root = write(tmp_path / "models", {f"part-{number}": b"x" * size for number, size in enumerate(sizes)})
    assert verify(root, digest_path(root).digest).returncode == 0


def with_a_tool(tmp_path: Path, name: str, when: str) -> subprocess.CompletedProcess[str]:
    """The script on the artifact itself, with a tool that fails when locale and arguments are like this."""
    (tmp_path / "tools").mkdir()
    tool = tmp_path / "tools" / name
    tool.write_text(f'#!/bin/sh\ncase "$LC_ALL $*" in {when}) exit 1 ;; esac\nexec {shutil.which(name)} "$@"\n')
    tool.chmod(0o755)
    root = write(tmp_path / "models", TREES["several"])
    command = ["/bin/sh", "-c", SCRIPT, "verify-model", str(root), digest_path(root).digest, URI, "chat"]
    path = f"{tool.parent}:{os.environ['PATH']}"
    return subprocess.run(command, capture_output=True, text=True, env={"PATH": path}, timeout=60)


def test_some_busybox_have_no_parallel_processes(tmp_path: Path) -> None:
    assert with_a_tool(tmp_path, "xargs", "*-P*").returncode == 0


def test_names_are_sorted_by_their_bytes_whatever_the_image_speaks(tmp_path: Path) -> None:
    assert with_a_tool(tmp_path, "sort", "[!C]*").returncode == 0


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert "cannot all be read" in refusal(with_a_tool(tmp_path, "sha256sum", "*config.json"))


NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/\\"), min_size=1, max_size=6)
PATHS = st.lists(NAMES.filter(lambda name: name not in (".", "..")), min_size=1, max_size=3).map("/".join)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(PATHS, st.binary(max_size=20), min_size=1, max_size=6), st.data())
def test_any_small_tree(verify: Verify, files: dict[str, bytes], data: st.DataObject) -> None:
    fitting = {name: files[name] for name in files if not any(other.startswith(f"{name}/") for other in files)}
    with tempfile.TemporaryDirectory() as directory:
        root = write(Path(directory) / "models", fitting)
        digest = digest_path(root).digest
        assert verify(root, digest).returncode == 0
        victim = root / data.draw(st.sampled_from(sorted(fitting)))
        victim.write_bytes(victim.read_bytes() + b"\0")
        assert verify(root, digest).returncode == 1


def test_kubernetes_leaves_the_script_as_it_is() -> None:
    """It replaces `$$`, and `$(NAME)` where there is such a variable, in commands and arguments."""
    assert re.findall(r"\$\$|\$\([A-Za-z_][A-Za-z0-9_.-]*\)", SCRIPT) == []


def test_shellcheck_has_nothing_to_say() -> None:
    try:
        command = [shellcheck(), "--shell=sh", "-"]
    except Unavailable as absent:
        skip(absent)
    done = subprocess.run(command, input=SCRIPT, capture_output=True, text=True, timeout=60)
    assert done.stdout == ""
