"""The GitOps repository against real Git: directly on disk, and as a remote behind a cache."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import git as gitpython
import pytest
from ulid import ULID

from gitops.errors import GitopsError, Moved
from gitops.render.tree import blob_id
from gitops.world import effects
from gitops.world.git.commit import check_paths
from gitops.world.git.failure import explain, mask
from gitops.world.git.process import Git
from gitops.world.git.repository import GitRepository, open_repository

SOURCE = Path(__file__).parents[2] / "src"
FILES = {"a.yaml": b"a: 1\n", "clusters/c/dev/m/x.yaml": b"x: 1\n", "clusters/c/dev/m/y.yaml": b"y\0\xff"}

Open = Callable[..., GitRepository]


def sh(*arguments: str | Path, cwd: Path | None = None) -> str:
    return subprocess.run(arguments, cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


def report(line: str) -> None:
    """Shown by pytest -s."""
    sys.stdout.write(f"{line}\n")


def need(program: str) -> None:
    if shutil.which(program):
        return
    if os.environ.get("CI"):
        pytest.fail(f"{program} is not installed")
    pytest.skip(f"{program} is not installed")


@pytest.fixture(autouse=True)
def _nobodys_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The developer's own settings must not decide about these tests."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    for name in [name for name in os.environ if name.startswith(("GIT_AUTHOR", "GIT_COMMITTER"))] + ["EMAIL"]:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=["direct", "remote"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    return tmp_path / "repository.git"


@pytest.fixture
def opened(kind: str, tmp_path: Path, bare: Path) -> Open:
    def opener(**options: object) -> GitRepository:
        if kind == "remote" and not bare.exists():
            sh("git", "init", "-q", "--bare", "-b", "main", bare)
        url = bare.as_uri() if kind == "remote" else str(bare)
        options = {"state": tmp_path / "state", "project": tmp_path, "direct": kind == "direct"} | options
        return open_repository(url, "main", **options)  # type: ignore[arg-type]

    return opener


def contents(repository: GitRepository, commit: str | None) -> dict[str, bytes]:
    assert commit
    found = {path: entry.id for path, entry in repository.entries(commit).items() if entry.kind == "blob"}
    return dict(zip(found, repository.read(list(found.values())), strict=True))


def pending_refs(path: Path) -> str:
    return sh("git", "--git-dir", path, "for-each-ref", "refs/gitops")


# --- Reading and writing -------------------------------------------------------------------------------------


def test_first_commit_and_reading_it_back(opened: Open, bare: Path) -> None:
    repository = opened()
    assert repository.head() is None
    first = repository.commit(None, FILES, "first")
    assert opened().head() == first == sh("git", "--git-dir", bare, "rev-parse", "main")
    assert contents(repository, first) == FILES
    second = repository.commit(first, {"a.yaml": None, "b.yaml": b""}, "second")
    assert set(contents(repository, second)) == {*FILES, "b.yaml"} - {"a.yaml"}
    assert contents(repository, first) == FILES
    assert not pending_refs(bare)
    with gitpython.Repo(bare) as judge:
        assert [str(commit.message) for commit in judge.iter_commits("main")] == ["second\n", "first\n"]


def test_entries_below_a_prefix(opened: Open) -> None:
    repository = opened()
    commit = repository.commit(None, {**FILES, "clusters/c/dev/mm/z": b"z"}, "first")
    entries = repository.entries(commit, "clusters/c/dev/m")
    assert sorted(entries) == ["clusters/c/dev/m/x.yaml", "clusters/c/dev/m/y.yaml"]
    assert entries["clusters/c/dev/m/x.yaml"].id == blob_id(b"x: 1\n")
    children = repository.entries(commit, "clusters/c/dev", recursive=False)
    assert {path: entry.kind for path, entry in children.items()} == {
        "clusters/c/dev/m": "tree",
        "clusters/c/dev/mm": "tree",
    }
    assert repository.entries(commit, "absent") == repository.entries(commit, "a.yaml") == {}
    assert repository.entries(commit)["clusters/c/dev/m"] == children["clusters/c/dev/m"]


def test_plan_before_the_first_apply_creates_nothing(tmp_path: Path) -> None:
    repository = open_repository(".gitops/r.git", "main", state=tmp_path / ".gitops", project=tmp_path)
    assert repository.head() is None
    assert list(repository.log()) == []
    assert not (tmp_path / ".gitops").exists()
    repository.commit(None, FILES, "first")
    assert sh("git", "--git-dir", tmp_path / ".gitops/r.git", "symbolic-ref", "HEAD") == "refs/heads/main"
    reader = open_repository("absent.git", "main", state=tmp_path, project=tmp_path, create=False)
    with pytest.raises(GitopsError, match="no repository"):
        reader.commit(None, FILES, "first")


def test_moved(opened: Open, bare: Path) -> None:
    one, other = opened(), opened()
    first = one.commit(None, {"a": b"1"}, "first")
    with pytest.raises(Moved):
        other.commit(None, {"a": b"2"}, "another first")
    second = one.commit(first, {"a": b"3"}, "second")
    with pytest.raises(Moved):
        other.commit(first, {"a": b"4"}, "another second")
    with pytest.raises(Moved):
        other.commit(first, {"a": b"1"}, "no difference, but stale")
    # Set back by force: a plain fast-forward would bring the removed commit back.
    sh("git", "--git-dir", bare, "update-ref", "refs/heads/main", first)
    with pytest.raises(Moved):
        other.commit(second, {"a": b"5"}, "third")
    assert other.head() == first
    assert not pending_refs(bare)


def test_no_difference_is_no_commit(opened: Open) -> None:
    repository = opened()
    first = repository.commit(None, FILES, "first")
    assert repository.commit(first, {**FILES, "absent": None}, "same") == first
    assert len(list(repository.log())) == 1
    with pytest.raises(ValueError, match="at least one file"):
        repository.commit(None, {"absent": None}, "nothing")


def test_effects_are_told_after_the_branch_moved(opened: Open, bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    look = lambda what: told.append((what, sh("git", "--git-dir", bare, "rev-parse", "main")))  # noqa: E731
    monkeypatch.setattr(effects, "observers", [look])
    commit = opened().commit(None, FILES, "first")
    assert told == [(f"push {commit[:10]}", commit)]


@pytest.mark.parametrize(
    "path",
    [
        *("", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", "./a", "a\nb", "a\0b", "a\x7f"),
        *(".git/config", "a/.GIT/hooks/x", "a/.git. /x", "GIT~1/config", ".git::$INDEX_ALLOCATION/x"),
    ],
)
def test_paths_that_escape_are_refused(path: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a path"):
        check_paths({path: b""})
    with pytest.raises(ValueError, match="not a path"):
        check_paths({path: None})


def test_odd_but_lawful_names(opened: Open) -> None:
    odd = {
        name: name.encode()
        for name in ('say "hi"', "back\\slash", "Zürich/東京", "-rf", ":(glob)*", " x", ".gitignore")
    }
    repository = opened()
    first = repository.commit(None, odd, "first")
    assert contents(repository, first) == odd
    second = repository.commit(first, {'say "hi"': None, ":(glob)*": None}, "second")
    assert len(contents(repository, second)) == len(odd) - 2


@pytest.mark.parametrize("many", [False, True])
def test_what_is_not_ours_is_not_replaced(opened: Open, many: bool) -> None:
    repository = opened()
    more = {f"more/{number}": b"" for number in range(200 if many else 1)}
    first = repository.commit(None, {"foreign/file": b"1", "taken": b"2"}, "first")
    for changes in ({"foreign": b""}, {"foreign": None}, {"taken/below": b""}, {"taken/far/below": b""}):
        with pytest.raises(GitopsError, match="expected"):
            repository.commit(first, {**changes, **more}, "bad")
    second = repository.commit(first, {"taken/below": b"3", "taken": None, **more}, "makes room itself")
    assert contents(repository, second) == {"foreign/file": b"1", "taken/below": b"3", **more}
    with pytest.raises(ValueError, match="lies below"):
        repository.commit(second, {"x": b"", "x/y": b""}, "both")


# --- Who, and signed -----------------------------------------------------------------------------------------


def test_identity(opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = opened()
    head = repository.commit(None, {"a": b"1"}, "first")
    sh("git", "config", "--global", "user.name", "Ada <Lovelace>")
    sh("git", "config", "--global", "user.email", "ada@example.com")
    head = repository.commit(head, {"a": b"2"}, "second")
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Grace Hopper")
    repository.commit(head, {"a": b"3"}, "third")
    assert [commit.author for commit in repository.log()] == [
        "Grace Hopper <ada@example.com>",
        "Ada Lovelace <ada@example.com>",
        "gitops <gitops@localhost>",
    ]


def test_signed_commits_verify(opened: Open, bare: Path, tmp_path: Path) -> None:
    need("ssh-keygen")
    key = tmp_path / "key"
    sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
    signers = tmp_path / "signers"
    signers.write_text(f"* {key.with_suffix('.pub').read_text()}")
    repository = opened(signing_key=Path("key"))
    head = repository.commit(None, {"a": b"1"}, "first\n\nModel: m")
    head = repository.commit(head, {"a": b"2"}, "second\n\nbody\n\nModel: m\n")
    for commit in (head, f"{head}~1"):
        sh("git", "--git-dir", bare, "-c", f"gpg.ssh.allowedSignersFile={signers}", "verify-commit", commit)
    assert next(repository.log()).trailers == (("Model", "m"),)
    assert not pending_refs(bare)
    with pytest.raises(GitopsError, match="cannot be signed"):
        opened(signing_key=tmp_path / "absent").commit(head, {"a": b"3"}, "third")
    assert repository.head() == head
    assert not pending_refs(bare)


HOSTILE = """
[core]
	autocrlf = true
	hooksPath = {hooks}
	ignoreCase = true
	quotePath = true
	commentChar = R
	logAllRefUpdates = always
	pager = false
[commit]
	gpgSign = true
[tag]
	gpgSign = true
[push]
	gpgSign = true
	followTags = true
	default = nothing
[gpg]
	program = /bin/false
[init]
	defaultBranch = trunk
	templateDir = {hooks}
	defaultObjectFormat = sha256
[i18n]
	commitEncoding = ISO-8859-1
	logOutputEncoding = ISO-8859-1
[log]
	showSignature = true
	decorate = full
	date = relative
[color]
	ui = always
[protocol]
	allow = never
[protocol "file"]
	allow = never
[fetch]
	prune = true
	recurseSubmodules = true
[trailer]
	separators = "="
[grep]
	patternType = perl
[format]
	pretty = oneline
[gc]
	auto = 1
	pruneExpire = now
[user]
	useConfigOnly = true
"""


def test_hostile_settings(opened: Open, bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("pre-push", "reference-transaction", "pre-commit", "commit-msg", "post-commit", "pre-receive"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran-{name}\nexit 1\n")
        (hooks / name).chmod(0o755)
    repository = opened()
    first = repository.commit(None, {"README": b"1\r\n"}, "first")
    (tmp_path / "gitconfig").write_text(HOSTILE.format(hooks=hooks))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "elsewhere/index"))
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    files = {"readme": b"2\r\n", "Zürich": b"x"}
    if repository._git.directory == bare:
        second = repository.commit(first, files, "Zürich\n\nRelease: dev/m 1\nModel: m")
    else:
        # receive-pack at the other end is the server's own business, so there its settings are harmless ones.
        (tmp_path / "gitconfig").write_text(HOSTILE.format(hooks=hooks).replace("hooksPath", "nothing"))
        second = repository.commit(first, files, "Zürich\n\nRelease: dev/m 1\nModel: m")
    assert contents(repository, second) == {"README": b"1\r\n", **files}
    (found,) = repository.log(models=["m"])
    assert (found.subject, found.trailers) == ("Zürich", (("Release", "dev/m 1"), ("Model", "m")))
    assert not list(tmp_path.glob("ran-*"))
    fresh = open_repository("fresh.git", "main", state=tmp_path / "state", project=tmp_path)
    assert len(fresh.commit(None, FILES, "first")) == 40


# --- The log -------------------------------------------------------------------------------------------------


def test_log(opened: Open) -> None:
    repository = opened()
    head = repository.commit(None, {"f": b"0"}, "by hand")
    messages = [
        "release(dev/chat): 1\n\nFirst.\n\nModel: fake\n\nRollout: A\nModel: chat\nRelease: dev/chat 1",
        "release: 2 units\n\ndev\n  chat  1 to 2\n\nRollout: B\nRelease: dev/chat 2 1\nRelease: dev/chat-mini 2 1",
        "release(dev/chat-mini): 2\n\nModel: chat\nis only said here\n\nModel: chat-mini\nRelease: dev/chat-mini 2",
        "release(dev/chat): removed\n\nRemoved: dev/chat",
        "folded\n\nNote: one\n  two\nModel: c.at",
    ]
    for number, message in enumerate(messages):
        head = repository.commit(head, {"f": str(number + 1).encode()}, message)
    everything = list(repository.log())
    assert [commit.subject for commit in everything] == [text.split("\n")[0] for text in messages[::-1]] + ["by hand"]
    assert everything[0].trailers == (("Note", "one two"), ("Model", "c.at"))
    assert everything[4].body == "First.\n\nModel: fake"
    assert everything[1].body == everything[5].body == ""
    assert everything[5].trailers == ()
    assert everything[0].time.endswith("Z")
    assert list(repository.log(limit=2)) == everything[:2]
    assert list(repository.log(limit=0)) == []
    assert [everything.index(commit) for commit in repository.log(models=["chat"])] == [1, 3, 4]
    assert [everything.index(commit) for commit in repository.log(models=["chat"], limit=2)] == [1, 3]
    assert [everything.index(commit) for commit in repository.log(models=["chat", "chat-mini"])] == [1, 2, 3, 4]
    assert [everything.index(commit) for commit in repository.log(models=["c.at"])] == [0]
    assert list(repository.log(models=["absent"])) == []
    log = repository.log()
    next(log)
    log.close()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def long_history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / "r.git"
    sh("git", "init", "-q", "--bare", "-b", "main", path)
    parts = []
    for number in range(10_000):
        model = f"model-{number % 500}"
        version, previous = f"1.0.{number}", f"1.0.{number - 1}"
        message = (
            f"release(production/{model}): {version}\n\n{previous} to {version}, at once.\n\nRollout: 01J{number:08}\n"
            f"Model: {model}\nEnvironment: production\nVersion: {version}\nPrevious-Version: {previous}\nWeight: 100\n"
            f"Decision: release\nRelease: production/{model} 1.0.{number} 1.0.{number - 1}\nSpec-Commit: {number:040}\n"
        )
        text = message.encode()
        content = str(number).encode()
        parts.append(
            b"commit refs/heads/main\ncommitter a <a@b> %d +0000\ndata %d\n%s\n"
            % (1_700_000_000 + number, len(text), text)
            + b"M 100644 inline releases/production/%s.yaml\ndata %d\n%s\n" % (model.encode(), len(content), content)
        )
    subprocess.run(["git", "--git-dir", path, "fast-import", "--quiet"], input=b"".join(parts), check=True)
    return path


def test_a_models_history_among_ten_thousand_commits_is_quick(long_history: Path, tmp_path: Path) -> None:
    repository = open_repository(str(long_history), "main", state=tmp_path, project=tmp_path)
    before = os.times()
    found = list(repository.log(models=["model-7"]))
    spent = sum(os.times()[:4]) - sum(before[:4])
    assert len(found) == 20
    assert dict(found[0].trailers)["Version"] == "1.0.9507"
    report(f"\nlog of one model among 10,000 commits: {spent:.3f} s CPU")
    assert spent < 0.5, "0.1 s expected, with room for a busy machine"
    started = time.perf_counter()
    assert len(list(repository.log(limit=10))) == 10
    limited = time.perf_counter() - started
    started = time.perf_counter()
    assert len(list(repository.log())) == 10_000
    report(f"ten of them {limited:.3f} s, all {time.perf_counter() - started:.3f} s")


# --- Many at once, and killed --------------------------------------------------------------------------------

WORKER = """
import sys, time
from pathlib import Path
from gitops.errors import Moved
from gitops.world.git.repository import open_repository
url, home, direct, name, count = sys.argv[1:]
repository = open_repository(url, "main", state=Path(home) / "state", project=Path(home), direct=direct == "direct")
done = 0
while done < int(count):
    base = repository.head()
    try:
        repository.commit(base, {f"{name}/{done}.yaml": b"x" * 1000, f"{name}/last": b"%d" % done}, f"{name} {done}")
        done += 1
    except Moved:
        pass
"""


def start_worker(kind: str, bare: Path, home: Path, name: str, count: int) -> subprocess.Popen[bytes]:
    url = bare.as_uri() if kind == "remote" else str(bare)
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-c", WORKER, url, str(home), kind, name, str(count)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)


def test_eight_processes_lose_nothing(kind: str, opened: Open, bare: Path, tmp_path: Path) -> None:
    opened()
    workers = [start_worker(kind, bare, tmp_path, f"w{number}", 3) for number in range(8)]
    for worker in workers:
        _, complaint = worker.communicate(timeout=120)
        assert worker.returncode == 0, complaint.decode()
    repository = opened()
    assert len(contents(repository, repository.head())) == 8 * (3 + 1)
    assert len(list(repository.log())) == 24
    assert sh("git", "--git-dir", bare, "rev-list", "--count", "--min-parents=2", "main") == "0"
    assert not pending_refs(bare)
    sh("git", "--git-dir", bare, "fsck", "--strict")


def descendants(process: int) -> list[int]:
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    children = [child for child, parent in parents.items() if parent == process]
    return children + [one for child in children for one in descendants(child)]


def is_the_server(process: int) -> bool:
    """A killed server leaves its lock behind, and that is for its administrator to mend."""
    try:
        return b"receive-pack" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds child processes in /proc")
def test_killed_at_any_moment(kind: str, opened: Open, bare: Path, tmp_path: Path) -> None:
    chance = random.Random(7)
    repository = opened()
    head = repository.commit(None, FILES, "first")
    for attempt in range(8):
        worker = start_worker(kind, bare, tmp_path, f"k{attempt}", 10_000)
        time.sleep(0.3 + chance.random() * 0.25)
        doomed = [one for one in descendants(worker.pid) if attempt % 2 and not is_the_server(one)]
        for process in [worker.pid, *doomed]:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        worker.wait()
        assert worker.stderr
        worker.stderr.close()
        time.sleep(0.05)
        sh("git", "--git-dir", bare, "fsck", "--strict", "--connectivity-only")
        while True:
            try:
                head = repository.commit(repository.head(), {"survivor": str(attempt).encode()}, f"after {attempt}")
                break
            except Moved:
                continue
        assert contents(repository, head)["survivor"] == str(attempt).encode()
    assert FILES.items() <= contents(repository, head).items()


def test_leftovers_of_killed_processes_are_removed(opened: Open, bare: Path) -> None:
    repository = opened()
    head = repository.commit(None, FILES, "first")
    own = repository._git.directory
    assert own
    old = ULID.from_timestamp(time.time() - 7200)
    young = ULID()
    for name in (old, young):
        sh("git", "--git-dir", own, "update-ref", f"refs/gitops/pending/{name}", head)
    repository.commit(head, {"a.yaml": b"2"}, "second")
    assert pending_refs(own).endswith(str(young))
    assert str(old) not in pending_refs(own)


def test_a_lock_of_a_dead_process_is_removed(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = opened()
    head = repository.commit(None, FILES, "first")
    own = repository._git.directory
    assert own
    from gitops.world.git import process as git

    quick = tuple(option.replace("Timeout=10000", "Timeout=100") for option in git._OPTIONS)
    monkeypatch.setattr(git, "_OPTIONS", quick)
    lock = own / "refs/heads/main.lock"
    lock.touch()
    os.utime(lock, (time.time() - 60, time.time() - 60))
    head = repository.commit(head, {"a.yaml": b"2"}, "second")
    assert repository.head() == head
    assert not lock.exists() or own.name != "repository.git"


def test_every_lock_of_one_dead_process_is_removed(bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gitops.world.git import process as git

    quick = tuple(option.replace("Timeout=10000", "Timeout=100") for option in git._OPTIONS)
    monkeypatch.setattr(git, "_OPTIONS", quick)
    repository = open_repository(str(bare), "main", state=tmp_path, project=tmp_path)
    head = repository.commit(None, FILES, "first")
    for name in ("refs/heads/main.lock", "packed-refs.lock", "HEAD.lock"):
        (bare / name).touch()
        os.utime(bare / name, (time.time() - 60, time.time() - 60))
    head = repository.commit(head, {"a.yaml": b"2"}, "second")
    assert repository.head() == head


def test_a_living_lock_is_respected(bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gitops.world.git import process as git

    quick = tuple(option.replace("Timeout=10000", "Timeout=100") for option in git._OPTIONS)
    monkeypatch.setattr(git, "_OPTIONS", quick)
    repository = open_repository(str(bare), "main", state=tmp_path, project=tmp_path)
    head = repository.commit(None, FILES, "first")
    (bare / "refs/heads/main.lock").touch()
    with pytest.raises(GitopsError, match="holds a lock"):
        repository.commit(head, {"a.yaml": b"2"}, "second")
    assert repository.head() == head


def test_an_interruption_ends_git_and_leaves_nothing(opened: Open, bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = opened()
    head = repository.commit(None, FILES, "first")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(repository._origin), "publish", interrupt)
    with pytest.raises(KeyboardInterrupt):
        repository.commit(head, {"a.yaml": b"2"}, "second")
    monkeypatch.undo()
    assert not pending_refs(bare)
    assert repository._git.directory
    assert not pending_refs(repository._git.directory)
    assert repository.head() == head


# --- Remotes and their failures ------------------------------------------------------------------------------


@pytest.fixture
def remote(tmp_path: Path, bare: Path) -> GitRepository:
    sh("git", "init", "-q", "--bare", "-b", "main", bare)
    return open_repository(bare.as_uri(), "main", state=tmp_path / "state", project=tmp_path, direct=False)


def test_git_protocol(bare: Path, tmp_path: Path) -> None:
    sh("git", "init", "-q", "--bare", "-b", "main", bare)
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    options = ("--reuseaddr", "--export-all", "--enable=receive-pack", f"--base-path={tmp_path}", "--listen=127.0.0.1")
    daemon = subprocess.Popen(["git", "daemon", *options, f"--port={port}"], start_new_session=True)
    try:
        url = f"git://127.0.0.1:{port}/{bare.name}"
        repository = open_repository(url, "main", state=tmp_path / "state", project=tmp_path)
        for _ in range(100):
            try:
                assert repository.head() is None
                break
            except GitopsError:
                time.sleep(0.05)
        first = repository.commit(None, FILES, "first")
        other = open_repository(url, "main", state=tmp_path / "other", project=tmp_path)
        assert contents(other, other.head()) == FILES
        second = other.commit(first, {"a.yaml": None}, "second")
        with pytest.raises(Moved):
            repository.commit(first, {"a.yaml": b"3"}, "third")
        assert repository.head() == second
        absent = open_repository(url + "x", "main", state=tmp_path / "state", project=tmp_path)
        with pytest.raises(GitopsError, match="repository not found"):
            absent.head()
    finally:
        os.killpg(daemon.pid, signal.SIGTERM)
        daemon.wait()


def test_only_the_one_branch_is_fetched(remote: GitRepository, bare: Path, tmp_path: Path) -> None:
    first = remote.commit(None, FILES, "first")
    sh("git", "--git-dir", bare, "update-ref", "refs/heads/other", first)
    sh("git", "--git-dir", bare, "update-ref", "refs/tags/t", first)
    fresh = open_repository(bare.as_uri(), "main", state=tmp_path / "fresh", project=tmp_path, direct=False)
    assert fresh.head() == first
    assert fresh._git.directory
    refs = sh("git", "--git-dir", fresh._git.directory, "for-each-ref", "--format=%(refname)")
    assert refs == "refs/heads/main"
    assert open_repository(bare.as_uri(), "b", state=tmp_path, project=tmp_path, direct=False).head() is None


@pytest.mark.parametrize("damage", ["objects", "HEAD", "refs", "config", "everything"])
def test_a_damaged_cache_is_rebuilt(damage: str, bare: Path, tmp_path: Path, remote: GitRepository) -> None:
    notes: list[str] = []
    cached = open_repository(
        bare.as_uri(), "main", state=tmp_path / "state", project=tmp_path, direct=False, progress=notes.append
    )
    head = cached.commit(None, {f"f{number}": b"x%d" % number for number in range(5)}, "first")
    own = cached._git.directory
    assert own
    if damage == "objects":
        for thing in list((own / "objects").rglob("*")):
            if thing.is_file():
                thing.chmod(0o644)
                thing.write_bytes(b"")
    elif damage == "everything":
        shutil.rmtree(own)
    elif damage == "refs":
        (own / "refs/heads/main").write_text("garbage\n")
    else:
        (own / damage).write_text("[[[ garbage\n")
    assert cached.head() == head
    assert contents(cached, head)["f3"] == b"x3"
    second = cached.commit(head, {"f1": b"new"}, "second")
    assert cached.head() == second
    assert bool(notes) == (damage != "everything")
    assert not list(own.parent.glob("*broken*"))


def test_a_lock_at_the_server_is_an_error_and_no_endless_race(remote: GitRepository, bare: Path) -> None:
    head = remote.commit(None, FILES, "first")
    (bare / "refs/heads/main.lock").touch()
    with pytest.raises(GitopsError, match="cannot lock ref") as caught:
        remote.commit(head, {"a.yaml": b"2"}, "second")
    assert not isinstance(caught.value, Moved)
    (bare / "refs/heads/main.lock").unlink()
    assert remote.head() == head


def test_declined_by_a_hook(remote: GitRepository, bare: Path) -> None:
    hook = bare / "hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'GH006: Protected branch update failed for main.' >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(GitopsError, match=r"declined the push: GH006: Protected branch") as caught:
        remote.commit(None, FILES, "first")
    assert not isinstance(caught.value, Moved)
    assert remote.head() is None


def test_a_checkout_with_the_branch(tmp_path: Path) -> None:
    sh("git", "init", "-q", "-b", "main", tmp_path / "work")
    sh(
        "git",
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@b",
        "commit",
        "-q",
        "--allow-empty",
        "-m",
        "x",
        cwd=tmp_path / "work",
    )
    repository = open_repository("work", "main", state=tmp_path / "state", project=tmp_path)
    head = repository.head()
    assert head
    with pytest.raises(GitopsError, match="checked out"):
        repository.commit(head, FILES, "first")


def test_no_repository_there(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file").touch()
    repository = open_repository("folder", "main", state=tmp_path / "state", project=tmp_path)
    with pytest.raises(GitopsError, match="repository not found"):
        repository.head()
    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == ["file"]


def test_unreachable(tmp_path: Path) -> None:
    for url in ("https://user:s3cret@nowhere.invalid/x.git", "git@nowhere.invalid:x.git"):
        repository = open_repository(url, "main", state=tmp_path / "state", project=tmp_path)
        with pytest.raises(GitopsError) as caught:
            repository.head()
        assert "s3cret" not in str(caught.value)
        assert "nowhere.invalid" in caught.value.where
        assert caught.value.hint
        assert "\n" not in str(caught.value)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/x.git"
        with pytest.raises(GitopsError, match="cannot connect"):
            open_repository(url, "main", state=tmp_path / "state", project=tmp_path).head()


def test_a_silent_server_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        git = Git("the place")
        started = time.monotonic()
        with pytest.raises(GitopsError, match="did not finish within 1 s"):
            git.run("ls-remote", f"git://127.0.0.1:{silent.getsockname()[1]}/x", timeout=0.6)
        assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "url", ["", "-uxyz", "--upload-pack=touch x", "ext::sh -c date", "foo::bar", "gopher://x/y", "https://x/\ny"]
)
def test_urls_that_are_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(GitopsError, match="not a URL"):
        open_repository(url, "main", state=tmp_path, project=tmp_path)


@pytest.mark.parametrize(
    "branch", ["", "-x", "a..b", "a b", "x.lock", "a//b", "/a", "a/", ".a", "a/.b", "a~1", "@{u}", "a\n"]
)
def test_branches_that_are_refused(branch: str, tmp_path: Path) -> None:
    with pytest.raises(GitopsError, match="not a name for a branch"):
        open_repository("r.git", branch, state=tmp_path, project=tmp_path)


def test_which_way_is_taken(tmp_path: Path) -> None:
    sh("git", "init", "-q", "--bare", tmp_path / "bare.git")
    sh("git", "init", "-q", tmp_path / "work")
    ways = {
        "bare.git": True,
        "absent.git": True,
        f"file://{tmp_path}/bare.git": True,
        "work": False,
        "work/.git": False,
    }
    ways |= {"https://x/y": False, "git@x:y/bare.git": False, "ssh://x/y": False}
    for url, direct in ways.items():
        repository = open_repository(url, "main", state=tmp_path / "state", project=tmp_path)
        assert (type(repository._origin).__name__ == "LocalOrigin") == direct, url


def test_git_is_absent(bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitopsError, match="not installed"):
        open_repository(str(bare), "main", state=tmp_path, project=tmp_path).commit(None, FILES, "first")
    assert not bare.exists()


def test_git_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "git"
    fake.write_text(
        '#!/bin/sh\ncase "$*" in *version) echo git version 2.25.1;; '
        "*) echo 'error: unknown option x' >&2; exit 129;; esac\n"
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(GitopsError, match=r"Git 2.25 is too old — install Git 2.34"):
        Git("x").output("fetch")


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("https://user:pass@host/x.git", "https://***@host/x.git"),
        ("https://ghp_token@host/x.git", "https://***@host/x.git"),
        ("https://user:p@ss@host/x", "https://***@host/x"),
        ("https://user:pa/ss@host/x", "https://***@host/x"),
        ("https://host/a@b/c", "https://host/a@b/c"),
        ("https://host:8443/a@b/c", "https://host:8443/a@b/c"),
        ("ssh://git@host/x", "ssh://git@host/x"),
        ("ssh://git:pw@host/x", "ssh://git:***@host/x"),
        ("git@host:x.git", "git@host:x.git"),
        ("https://host/x?private_token=abc&y=1", "https://host/x?private_token=***&y=1"),
        ("unable to access 'https://u:p@host/x/': no", "unable to access 'https://***@host/x/': no"),
    ],
)
def test_masking(text: str, masked: str) -> None:
    assert mask(text) == masked


@pytest.mark.parametrize(
    ("stderr", "what"),
    [
        ("fatal: Authentication failed for 'https://u:p@h/x/'", "not allowed"),
        ("git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.", "not allowed"),
        ("fatal: could not read Username for 'https://h': terminal prompts disabled", "not allowed"),
        ("remote: Repository not found.\nfatal: repository 'https://h/x/' not found", "repository not found"),
        ("ssh: Could not resolve hostname h: Name or service not known", "host not found"),
        ("Host key verification failed.\nfatal: Could not read from remote", "not trusted"),
        ("error: file write error: No space left on device", "disk is full"),
        ("error: insufficient permission for adding an object", "no permission"),
        ("fatal: detected dubious ownership in repository at '/x'", "another user"),
        ("fatal: something\x1b[31m new", "git fetch failed: something"),
        ("", "git fetch failed: no message"),
    ],
)
def test_explanations(stderr: str, what: str) -> None:
    error = explain("fetch", stderr, "place")
    assert what in error.what
    assert "\x1b" not in str(error)
    assert "u:p@" not in str(error)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_permission_denied(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    repository = open_repository("locked/r.git", "main", state=tmp_path, project=tmp_path)
    with pytest.raises(GitopsError, match="no permission"):
        repository.commit(None, FILES, "first")


@pytest.mark.slow
def test_a_large_first_commit(opened: Open) -> None:
    lines = "\n".join(f"  key{number}: some value {number}" for number in range(35))
    files = {
        f"clusters/c{number % 3}/production/m{number // 24}/f{number}.yaml": f"name: m{number}\n{lines}\n".encode()
        for number in range(24_000)
    }
    repository = opened()
    started = time.perf_counter()
    head = repository.commit(None, files, "first")
    first = time.perf_counter() - started
    started = time.perf_counter()
    repository.commit(head, dict.fromkeys(list(files)[:8], b"changed"), "second")
    report(f"\n24,000 files: {first:.2f} s, 8 files: {time.perf_counter() - started:.3f} s")
    assert len(contents(repository, head)) == 24_000


def git_children() -> list[int]:
    """Our descendants that are git; servers of other tests may run in this process as well."""
    return [child for child in descendants(os.getpid()) if _program(child).startswith("git")]


def _program(process: int) -> str:
    try:
        return Path(f"/proc/{process}/comm").read_text()
    except OSError:
        return ""


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    yield
    if Path("/proc/self/stat").exists():
        deadline = time.monotonic() + 5
        while git_children() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not git_children()
