"""Who signed an approval, by keys that the caller names, and what a branch's commits say in the order of descent."""

from __future__ import annotations

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

NAMESPACE = "gitops-approval"
"""Of signatures over approvals: nothing else is signed in it, and a signature made for anything else is none here."""
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
    assert isinstance(repository, GitRepository), "every repository is one of Git"
    return _decisions(repository.objects(), tip, tuple(sorted(models)))


@lru_cache(maxsize=4)
def _decisions(git: Git, tip: str, models: tuple[str, ...]) -> tuple[Said, ...]:
    named = "|".join(re.sub(r"([^A-Za-z0-9_-])", r"\\\1", model) for model in models)
    pattern = f"^(Model: ({named})$|Removed: [^ /]+/({named})$)"
    options = ("--topo-order", "-z", "--no-color", "--no-notes", "--no-show-signature", "--no-mailmap")
    out = git.output("log", *options, f"--format={_FORMAT}", "--extended-regexp", f"--grep={pattern}", tip, "--")
    words = iter(out.decode(errors="replace").split("\0"))
    records = zip(words, words, words, strict=False)
    return tuple(Said(commit, body, _trailers(trailers)) for commit, body, trailers in records)


def _trailers(text: str) -> tuple[tuple[str, str], ...]:
    parts = (line.partition(":") for line in text.split("\n") if line)
    return tuple((key, value.strip()) for key, _, value in parts)


# --- Who signed ----------------------------------------------------------------------------------------------


def sign(words: str, key: Path) -> str:
    """A signature over these words by an SSH key (a private one without passphrase, or a public one of ssh-agent), in
    one line. Raises GitopsError for a key that cannot be used.
    """
    done = _keygen("-Y", "sign", "-q", "-n", NAMESPACE, "-f", str(key), data=words.encode())
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise GitopsError(
            f"the approval cannot be signed ({said[-1] if said else 'no message'})",
            where=str(key),
            hint="it must be an SSH key that ssh-keygen can use without asking",
        )
    lines = done.stdout.decode("ascii").split("\n")
    return "".join(line for line in lines if line and not line.startswith("-----"))


def signature(words: str, signed: str, signers: Mapping[str, str]) -> Signature:
    """Whose key of `signers` (people with their OpenSSH public keys) signed these words, or why it proves nobody.

    Only SSH signatures in our namespace count, and only these keys. What was found is remembered while the process
    lives, since nothing of the question changes.
    """
    if not signed:
        return Signature(flaw="carries no signed approval")
    if shutil.which(_KEYGEN) is None:
        return Signature(flaw=f"cannot be verified: {_KEYGEN} is not installed here")
    return _signature(words, signed, tuple(sorted(signers.items())))


@lru_cache(maxsize=4096)
def _signature(words: str, signed: str, signers: Signers) -> Signature:
    with tempfile.TemporaryDirectory(prefix="gitops-signers-") as folder:
        known, armored = Path(folder, "signers"), Path(folder, "signature")
        known.write_text("".join(f'{person} namespaces="{NAMESPACE}" {_plain(key)}\n' for person, key in signers))
        armored.write_text(f"-----BEGIN SSH SIGNATURE-----\n{_folded(signed)}\n-----END SSH SIGNATURE-----\n")
        whose = _keygen("-Y", "find-principals", "-s", str(armored), "-f", str(known))
        people = whose.stdout.decode(errors="replace").split("\n") if not whose.returncode else []
        for person in (name for name, _ in signers if name in people):
            verify = ("-Y", "verify", "-f", str(known), "-I", person, "-n", NAMESPACE, "-s", str(armored))
            if not _keygen(*verify, data=words.encode()).returncode:
                return Signature(person)
    if people:
        return Signature(flaw="is signed for something else")
    return Signature(flaw="is signed by a key that approvals.signers does not have")


def _folded(line: str) -> str:
    return "\n".join(line[at : at + 70] for at in range(0, len(line), 70))


def _keygen(*arguments: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Raises GitopsError when ssh-keygen is not there or does not answer; it is never let to ask for a passphrase."""
    try:
        return subprocess.run(
            [_KEYGEN, *arguments],
            check=False,
            capture_output=True,
            input=data,
            timeout=_KEYGEN_SECONDS,
            env={**os.environ, "SSH_ASKPASS_REQUIRE": "never", "LC_ALL": "C"},
        )
    except FileNotFoundError as error:
        raise GitopsError(f"{_KEYGEN} is not installed", hint="signed approvals need OpenSSH 8.2 or newer") from error
    except subprocess.TimeoutExpired as error:
        raise GitopsError(f"{_KEYGEN} did not answer within {_KEYGEN_SECONDS} s", where=arguments[-1]) from error


def public_key(path: Path) -> str:
    """The public key that belongs to a signing key: of the private key itself, or of a public key that an agent holds.

    Raises GitopsError when there is no such key, or when it cannot be read without asking.
    """
    text = _text_of(path)
    if _PUBLIC.match(text):
        return _plain(text)
    done = _keygen("-y", "-P", "", "-f", str(path))
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise GitopsError(
            f"this key cannot be used ({said[-1] if said else 'no message'})",
            where=str(path),
            hint="it must be readable for you alone and have no passphrase; or name the public key of one in ssh-agent",
        )
    return _plain(done.stdout.decode(errors="replace"))


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
