"""Where the branch truly lives: a bare repository on this disk, or one elsewhere that we know through a cache."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import Protocol

from ulid import ULID

from gitops.errors import GitopsError, Moved
from gitops.world.effects import happened
from gitops.world.git.credentials import access
from gitops.world.git.failure import Damaged, explain, mask
from gitops.world.git.process import ISOLATED, NETWORK_SECONDS, Git, Result, from_os_error
from gitops.world.ports import Progress

PENDING = "refs/gitops/pending/"
"""Private refs that keep a commit's objects alive until the branch has them."""


class Origin(Protocol):
    """Holds the branch. `git` is the repository on disk in which objects are read and written."""

    git: Git

    def exists(self) -> bool:
        """Whether that repository is there, so that objects can be read from it."""

    def head(self) -> str | None:
        """The branch's commit now, its objects at hand."""

    def prepare(self) -> None:
        """See to it that objects can be written."""

    def publish(self, base: str | None, commit: str, pending: str) -> None:
        """Move the branch from `base` to `commit`, drop the ref `pending`. Raises Moved when it is elsewhere."""

    def rebuild(self) -> bool:
        """Start afresh after damage; False where that would lose something."""


def new_pending() -> str:
    """A name for a private ref that no other process has."""
    return f"{PENDING}{ULID()}"


def looks_like_repository(path: Path) -> bool:
    """Whether this is a Git directory (not a checkout with one in it)."""
    return (path / "HEAD").is_file() and (path / "objects").is_dir() and (path / "refs").is_dir()


def create_bare(path: Path, branch: str, where: str) -> None:
    """Create an empty bare repository in one step: it is there whole or not at all. Another process may be first."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise from_os_error(error, where) from error
    try:
        Git(where, directory=temporary).output(
            "init", "--quiet", "--bare", "--template=", "--object-format=sha1", f"--initial-branch={branch}"
        )
        temporary.chmod(0o777 & ~_umask())
        temporary.rename(path)
    except OSError as error:
        if not looks_like_repository(path):
            raise from_os_error(error, where) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


class LocalOrigin:
    """A bare repository on this disk, written directly: the branch moves by compare-and-swap."""

    def __init__(self, path: Path, branch: str, where: str, *, create: bool) -> None:
        self.git = Git(where, directory=path, variables=ISOLATED)
        self._path, self._branch, self._where, self._create = path, branch, where, create

    def exists(self) -> bool:
        return looks_like_repository(self._path)

    def head(self) -> str | None:
        if not self.exists():
            return None
        # Not peeled (^{commit}): a commit that is missing would make the branch look absent, and all of it new.
        return self.git.line("rev-parse", "--verify", "--quiet", f"refs/heads/{self._branch}") or None

    def prepare(self) -> None:
        if self.exists():
            return
        if not self._create:
            raise GitopsError("there is no repository here", where=self._where)
        create_bare(self._path, self._branch, self._where)

    def publish(self, base: str | None, commit: str, pending: str) -> None:
        branch = f"refs/heads/{self._branch}"
        move = f"update {branch} {commit} {base}" if base else f"create {branch} {commit}"
        result = self.git.run("update-ref", "--stdin", data=f"{move}\ndelete {pending}\n".encode())
        if result.status:
            raise self._refusal(base, result)
        happened(f"push {commit[:10]}")

    def rebuild(self) -> bool:
        return False

    def _refusal(self, base: str | None, result: Result) -> GitopsError:
        if re.search(r"is at [0-9a-f]+ but expected|reference already exists|unable to resolve reference", result.err):
            return moved(self._where, self._branch)
        if self.head() != base:
            return moved(self._where, self._branch)
        return self.git.failure("update-ref", result)


def moved(where: str, branch: str) -> Moved:
    return Moved(f"the branch {branch} moved meanwhile", where=where, hint="run again: it starts from the new state")


_RACE = re.compile(r"stale info|fetch first|non-fast-forward|reference already exists")
_BUSY = re.compile(r"cannot lock|failed to (lock|update ref)", re.IGNORECASE)
_PAUSES = (0.2, 0.5, 1.0)
"""Seconds between attempts while another push holds the branch's lock at the server."""


class RemoteOrigin:
    """A repository elsewhere. Its branch is fetched into a bare cache, where commits are made and pushed from.

    The cache can be deleted at any time. Several processes may use it at once: objects only ever get added, private
    refs have names of their own, and the cache's own branch is a hint that nobody relies on.
    """

    def __init__(self, url: str, branch: str, cache: Path, progress: Progress) -> None:
        where = mask(url)
        url, settings, variables = access(url)
        digest = hashlib.sha256(f"{url}\n{branch}".encode()).hexdigest()[:24]
        self._path = cache / f"{digest}.git"
        self._url, self._branch, self._where, self._progress = url, branch, where, progress
        self._ref = f"refs/heads/{branch}"
        git = Git(where, directory=self._path, variables={**_ssh_variables(url, self._path), **variables})
        self.git = git.configured(settings)

    def exists(self) -> bool:
        return looks_like_repository(self._path)

    def head(self) -> str | None:
        self.prepare()
        tip = self._advertised()
        if tip is None or tip == self._known(self._ref):
            return tip
        return self._fetch()

    def prepare(self) -> None:
        if not self.exists():
            create_bare(self._path, self._branch, str(self._path))

    def publish(self, base: str | None, commit: str, pending: str) -> None:
        for pause in (*_PAUSES, None):
            failure = self._push(base, commit)
            # A lost connection leaves open whether the push arrived: only the branch itself can tell.
            if failure is None or self._arrived(base, commit, failure):
                break
            if pause is None or not _BUSY.search(failure.what):
                raise failure
            time.sleep(pause)
        happened(f"push {commit[:10]}")
        self._remember(commit, pending)

    def rebuild(self) -> bool:
        broken = self._path.with_name(f"{self._path.name}.broken-{ULID()}")
        self._progress(f"{self._where}: the cache was damaged and is fetched again")
        try:
            self._path.rename(broken)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise from_os_error(error, str(self._path)) from error
        shutil.rmtree(broken, ignore_errors=True)
        return True

    def _advertised(self) -> str | None:
        listed = self._network("ls-remote", "--quiet", "--", self._url, self._ref).decode()
        for line in listed.splitlines():
            identifier, _, name = line.partition("\t")
            if name == self._ref:
                return identifier
        return None

    def _known(self, ref: str) -> str:
        result = self.git.run("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
        if result.status and result.err.strip():
            failure = self.git.failure("rev-parse", result)
            raise Damaged(failure.what, where=failure.where)
        return result.out.decode().strip()

    def _fetch(self) -> str | None:
        pending = new_pending()
        options = ("--no-tags", "--no-write-fetch-head", "--no-auto-gc", "--no-prune", "--no-recurse-submodules")
        arguments = ("fetch", "--quiet", *options, "--", self._url, f"+{self._ref}:{pending}")
        result = self.git.run(*arguments, timeout=NETWORK_SECONDS)
        if result.status and "couldn't find remote ref" in result.err:
            return None
        if result.status:
            raise self.git.failure("fetch", result)
        tip = self._known(pending)
        if not tip:
            raise Damaged("the fetched commit is not there", where=self._where)
        self._remember(tip, pending)
        return tip

    def _remember(self, tip: str, pending: str) -> None:
        """Keep `tip` as the cache's branch. When that fails, the next head() just fetches again."""
        self.git.run("update-ref", "--stdin", data=f"update {self._ref} {tip}\ndelete {pending}\n".encode())

    def _push(self, base: str | None, commit: str) -> GitopsError | None:
        # The lease makes it a compare-and-swap also where the branch was set back to an ancestor of `base`.
        lease = f"--force-with-lease={self._ref}:{base or ''}"
        options = ("--no-verify", "--no-signed", "--no-follow-tags", "--recurse-submodules=no", "--no-progress")
        push = ("push", "--porcelain", *options, lease, "--", self._url, f"{commit}:{self._ref}")
        try:
            result = self.git.run(*push, timeout=NETWORK_SECONDS)
        except GitopsError as error:
            return error
        if not result.status:
            return None
        reason = _with_reason(result)
        return moved(self._where, self._branch) if _RACE.search(reason) else explain("push", reason, self._where)

    def _arrived(self, base: str | None, commit: str, failure: GitopsError) -> bool:
        """Whether the branch has the commit in spite of a failed push. Raises Moved when it has something else."""
        try:
            tip = self._advertised()
        except GitopsError:
            return False
        if tip == commit:
            return True
        if tip != base:
            raise moved(self._where, self._branch) from failure
        return False

    def _network(self, *arguments: str) -> bytes:
        return self.git.output(*arguments, timeout=NETWORK_SECONDS / 5)


def _with_reason(result: Result) -> str:
    reasons = [line[2:] for line in result.out.decode(errors="replace").splitlines() if line.startswith("!\t")]
    return "\n".join([result.err, *reasons])


def _ssh_variables(url: str, directory: Path) -> dict[str, str]:
    """Make ssh fail instead of asking, unless the user chose their own ssh command."""
    if url.startswith(("http://", "https://", "git://", "file://", "/")):
        return {}
    if os.environ.get("GIT_SSH_COMMAND") or os.environ.get("GIT_SSH"):
        return {}
    if Git(mask(url), directory=directory).run("config", "--get", "core.sshCommand").out.strip():
        return {}
    return {"GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o ConnectTimeout=20"}
