"""Who signed a commit, by keys that the caller names, and what the commits of a branch say in the order of descent."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from gitops.errors import GitopsError
from gitops.rollout.approvals import Said, Signature
from gitops.world.git.process import Git
from gitops.world.git.repository import GitRepository
from gitops.world.ports import Repository

_KEYGEN = "ssh-keygen"
_KEYGEN_SECONDS = 20
_FORMAT = "%H%x00%b%x00%(trailers:only,unfold)"

Signers = tuple[tuple[str, str], ...]
"""People with the OpenSSH public keys by which they sign."""


# --- What the commits say ------------------------------------------------------------------------------------


def decisions(repository: Repository, tip: str, models: Sequence[str]) -> tuple[Said, ...]:
    """The commits up to `tip` that decide something about these models, each before all of its ancestors.

    That order cannot be forged: with Git's default order, by time, a merge could bring an approval back before the
    commit that used it up.
    """
    git = _git(repository)
    return _decisions(str(git.directory), git.where, tip, tuple(sorted(models)))


@lru_cache(maxsize=4)
def _decisions(directory: str, where: str, tip: str, models: tuple[str, ...]) -> tuple[Said, ...]:
    named = "|".join(re.sub(r"([^A-Za-z0-9_-])", r"\\\1", model) for model in models)
    pattern = f"^(Model: ({named})$|Removed: [^ /]+/({named})$)"
    options = ("--topo-order", "-z", "--no-color", "--no-notes", "--no-show-signature", "--no-mailmap")
    out = Git(where, directory=Path(directory)).output(
        "log", *options, f"--format={_FORMAT}", "--extended-regexp", f"--grep={pattern}", tip, "--"
    )
    words = iter(out.decode(errors="replace").split("\0"))
    records = zip(words, words, words, strict=False)
    return tuple(Said(commit, body, _trailers(trailers)) for commit, body, trailers in records)


def _trailers(text: str) -> tuple[tuple[str, str], ...]:
    parts = (line.partition(":") for line in text.split("\n") if line)
    return tuple((key, value.strip()) for key, _, value in parts)


# --- Who signed ----------------------------------------------------------------------------------------------


def signature(repository: Repository, commit: str, signers: Mapping[str, str]) -> Signature:
    """Whose key of `signers` (people with their OpenSSH public keys) signed this commit, or why it proves nobody.

    Only SSH signatures count, and only these keys: neither the repository nor Git's configuration can add one. What
    was found is remembered while the process lives, since neither the commit nor the keys of the question change.
    """
    if shutil.which(_KEYGEN) is None:
        return Signature(flaw=f"cannot be verified: {_KEYGEN} is not installed here")
    git = _git(repository)
    return _signature(str(git.directory), git.where, commit, tuple(sorted(signers.items())))


@lru_cache(maxsize=4096)
def _signature(directory: str, where: str, commit: str, signers: Signers) -> Signature:
    with tempfile.NamedTemporaryFile("w", prefix="gitops-signers-", suffix=".txt") as file:
        file.writelines(f'{person} namespaces="git" {_plain(key)}\n' for person, key in signers)
        file.flush()
        settings = {
            "gpg.ssh.program": _KEYGEN,
            "gpg.ssh.allowedSignersFile": file.name,
            # A key ring may call anybody anything.
            "gpg.program": "false",
            "gpg.openpgp.program": "false",
            "gpg.x509.program": "false",
        }
        options = (word for name, value in settings.items() for word in ("-c", f"{name}={value}"))
        git = Git(where, directory=Path(directory))
        out = git.output(*options, "log", "--max-count=1", "--format=%G?%x00%GS%x00%GF", commit, "--")
    result, signer, mark = out.decode(errors="replace").rstrip("\n").split("\0")
    return _judged(result, signer, mark, dict(signers))


def _judged(result: str, signer: str, mark: str, signers: Mapping[str, str]) -> Signature:
    if result == "G" and signer in signers and mark == fingerprint(signers[signer]):
        return Signature(signer)
    # Git cannot tell an unsigned commit from a signature that its program does not verify.
    flaws = {"N": "is not signed by an SSH key", "U": "is signed by a key that approvals.signers does not have"}
    return Signature(flaw=flaws.get(result, "has no valid SSH signature"))


def fingerprint(key: str) -> str:
    """The fingerprint of an OpenSSH public key, as ssh-keygen and Git show it."""
    digest = hashlib.sha256(base64.b64decode(_plain(key).split(" ")[1])).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def public_key(path: Path) -> str:
    """The public key that belongs to a signing key: of the private key itself, or of a public key that an agent holds.

    Raises GitopsError when there is no such key, or when it cannot be read without asking.
    """
    text = _text_of(path)
    if _PUBLIC.match(text):
        return _plain(text)
    done = _derived(path)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise GitopsError(
            f"this key cannot be used ({said[-1] if said else 'no message'})",
            where=str(path),
            hint="it must be readable for you alone and have no passphrase; or name the public key of one in ssh-agent",
        )
    return _plain(done.stdout)


def _derived(path: Path) -> subprocess.CompletedProcess[str]:
    """What ssh-keygen says when asked for the public key of a private one."""
    try:
        return subprocess.run(
            [_KEYGEN, "-y", "-P", "", "-f", str(path)],
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_KEYGEN_SECONDS,
            env={**os.environ, "SSH_ASKPASS_REQUIRE": "never", "LC_ALL": "C"},
        )
    except FileNotFoundError as error:
        raise GitopsError(f"{_KEYGEN} is not installed", hint="signed approvals need OpenSSH 8.2 or newer") from error
    except subprocess.TimeoutExpired as error:
        raise GitopsError(f"{_KEYGEN} did not answer within {_KEYGEN_SECONDS} s", where=str(path)) from error


_PUBLIC = re.compile(r"(ssh|ecdsa|sk-ssh|sk-ecdsa)-[A-Za-z0-9@.-]+ [A-Za-z0-9+/]+={0,2}(\s|$)")


def _text_of(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError as error:
        said = (error.strerror or str(error)).lower()
        raise GitopsError(
            f"the signing key cannot be read: {said}", where=str(path), hint="repository.signing.sshKey names it"
        ) from error


def _plain(key: str) -> str:
    """A public key without its comment."""
    return " ".join(key.split()[:2])


def _git(repository: Repository) -> Git:
    """Git where the repository's objects are, for reading beside it."""
    assert isinstance(repository, GitRepository), "every repository is one of Git"
    return repository._git
