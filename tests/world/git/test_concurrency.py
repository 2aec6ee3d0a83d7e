"""Many processes at once, and killed ones."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ulid import ULID

from gitops.errors import GitopsError, Moved
from gitops.world.git.repository import open_repository
from tests.world.git.repositories import FILES, Open, contents, descendants, pending_refs, sh

SOURCE = Path(__file__).parents[3] / "src"
CHAIN = 5
WORKER = """
import sys, time
from pathlib import Path
from gitops.errors import Moved
from gitops.world.git.repository import open_repository
url, home, direct, name, count, length = sys.argv[1:]
repository = open_repository(url, "main", state=Path(home) / "state", project=Path(home), direct=direct == "direct")
done = 0
while done < int(count):
    base = repository.head()
    try:
        steps = range(done, done + int(length))
        files = ({f"{name}/{step}.yaml": b"x" * 1000, f"{name}/last": b"%d" % step} for step in steps)
        repository.commit_all(base, [(some, f"{name} {step}") for step, some in zip(steps, files)])
        done += int(length)
    except Moved:
        pass
"""


def start_worker(kind: str, bare: Path, home: Path, name: str, count: int, length: int = 1) -> subprocess.Popen[bytes]:
    """A process that makes so many commits, in chains of that length."""
    url = bare.as_uri() if kind == "remote" else str(bare)
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-c", WORKER, url, str(home), kind, name, str(count), str(length)]
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


def chains(bare: Path) -> list[tuple[str, list[int]]]:
    """Who wrote, oldest first, with the numbers of the commits that follow each other."""
    lines = sh("git", "--git-dir", bare, "log", "--reverse", "--format=%s", "main").splitlines()
    return [
        (name, [int(line.split()[1]) for line in group])
        for name, group in itertools.groupby(lines, key=lambda line: line.split()[0])
    ]


def test_chains_of_two_processes_lose_nothing_and_do_not_mix(
    kind: str, opened: Open, bare: Path, tmp_path: Path
) -> None:
    opened()
    workers = [start_worker(kind, bare, tmp_path, name, 60, length=6) for name in ("one", "two")]
    for worker in workers:
        _, complaint = worker.communicate(timeout=120)
        assert worker.returncode == 0, complaint.decode()
    found = chains(bare)
    assert sorted(number for name, numbers in found if name == "one" for number in numbers) == list(range(60))
    assert sorted(number for name, numbers in found if name == "two" for number in numbers) == list(range(60))
    assert all(numbers[0] % 6 == 0 and len(numbers) % 6 == 0 for _, numbers in found)
    assert sh("git", "--git-dir", bare, "rev-list", "--count", "--min-parents=2", "main") == "0"
    assert len(contents(opened(), opened().head())) == 2 * (60 + 1)
    sh("git", "--git-dir", bare, "fsck", "--strict")


def is_the_server(process: int) -> bool:
    """A killed server leaves its lock behind, and that is for its administrator to mend."""
    try:
        return b"receive-pack" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False


def check_whole(bare: Path) -> None:
    """Nothing that is named is missing, at the latest when a server that was left alone has ended."""
    deadline = time.monotonic() + 10
    while True:
        try:
            sh("git", "--git-dir", bare, "fsck", "--strict", "--connectivity-only")
            return
        except subprocess.CalledProcessError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds child processes in /proc")
def test_killed_at_any_moment(kind: str, opened: Open, bare: Path, tmp_path: Path) -> None:
    chance = random.Random(7)
    repository = opened()
    head = repository.commit(None, FILES, "first 0")
    for attempt in range(8):
        worker = start_worker(kind, bare, tmp_path, f"k{attempt}", 10_000, length=CHAIN)
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
        check_whole(bare)
        while True:
            try:
                head = repository.commit(repository.head(), {"survivor": str(attempt).encode()}, f"after {attempt}")
                break
            except Moved:
                continue
        assert contents(repository, head)["survivor"] == str(attempt).encode()
    assert FILES.items() <= contents(repository, head).items()
    written = [len(numbers) for name, numbers in chains(bare) if name.startswith("k")]
    assert not any(number % CHAIN for number in written)


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
