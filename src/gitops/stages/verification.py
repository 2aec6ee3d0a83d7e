"""Whether an artifact is what the spec says, what its statement says, and what somebody who is trusted has signed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gitops.errors import GitopsError
from gitops.spec.problems import listed
from gitops.spec.signatures import Signatures
from gitops.stages import provenance, signature
from gitops.stages.artifacts import digest_of, read_beside
from gitops.stages.digest import Digested, Progress
from gitops.stages.results import Check, GateResult
from gitops.values import Proof

FILES_TOLD = 100
"""Files that differ and are told one by one; of further ones only the number."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose signatures count. With keys or an identity, one by each has to be there."""

    keys: tuple[signature.Key, ...] = ()
    identity: signature.Identity | None = None


@dataclass(slots=True)
class _Findings:
    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, passed: bool, expected: str, got: str) -> None:
        self.checks.append(Check(name, passed, expected, got))


def verify(
    name: str,
    uri: str,
    digest: str,
    *,
    project: Path,
    trust: Trust | None = None,
    progress: Progress | None = None,
    cache: Path | None = None,
) -> GateResult:
    """Reads the whole artifact of a model and what lies beside it. Raises GitopsError when it cannot be read."""
    found = digest_of(uri, project=project, progress=progress, cache=cache)
    findings = _Findings()
    findings.add("digest", found.digest == digest, digest, found.digest)
    by = trust or Trust()
    signed = _provenance(findings, found, digest, uri, project, by)
    signed |= _detached(findings, digest, uri, project, by)
    if by.keys and not signed:
        findings.add("signature", False, "one by a trusted key", "none")
    _sigstore(findings, digest, uri, project, by)
    figures = {"size-bytes": float(found.size), "files": float(len(found.files))}
    return GateResult(name, tuple(findings.checks), figures, "; ".join((uri, *findings.notes)))


def _provenance(found: _Findings, read: Digested, digest: str, uri: str, project: Path, trust: Trust) -> bool:
    """Whether a signature was there to be checked."""
    data = read_beside(uri, provenance.SUFFIX, project=project)
    if data is None:
        found.notes.append("no provenance")
        return False
    where = f"{uri.rstrip('/')}{provenance.SUFFIX}"
    try:
        statements = provenance.read(data, where)
    except GitopsError as error:
        found.add("provenance", False, f"a statement about {digest}", error.what)
        return False
    about = [one for one in statements if one.content == digest]
    others = listed(dict.fromkeys(one.content for one in statements)) or "none"
    found.add("provenance", bool(about), f"a statement about {digest}", others if not about else "one")
    for differs in _differences(about[-1].files, read) if about else ():
        found.checks.append(differs)
    lines = [one.line for one in about if one.line is not None]
    if not trust.keys:
        found.notes.extend(["the statement's signature was not checked: no key was named"] if lines else [])
        return False
    if not lines:
        return False
    _signed(found, "provenance signature", lines, trust.keys, where)
    return True


def _signed(found: _Findings, name: str, lines: Sequence[bytes], keys: Sequence[signature.Key], where: str) -> None:
    said = ""
    for line in lines:
        try:
            signer = signature.verify_envelope(line, keys, provenance.PAYLOAD, where).signer
        except signature.NotVerified as error:
            said = error.what
            continue
        found.add(name, True, "one by a trusted key", signer)
        return
    found.add(name, False, "one by a trusted key", said)


def _differences(told: Mapping[str, str], read: Digested) -> Iterator[Check]:
    """A failed check for each file that is not as a statement lists it."""
    if not told or not read.directory:
        return
    there = {file.path: file.sha256 for file in read.files}
    names = sorted(name for name in told.keys() | there.keys() if told.get(name) != there.get(name))
    for name in names[:FILES_TOLD]:
        yield Check(f"file {name}", False, _shown(told.get(name)), _shown(there.get(name)))
    if len(names) > FILES_TOLD:
        more = len(names) - FILES_TOLD
        yield Check("files", False, "as the statement lists them", f"{more} more that differ")


def _shown(digest: str | None) -> str:
    return f"sha256:{digest}" if digest else "no such file"


def _detached(found: _Findings, digest: str, uri: str, project: Path, trust: Trust) -> bool:
    data = read_beside(uri, signature.SUFFIX, project=project)
    if data is None:
        return False
    if not trust.keys:
        found.notes.append("the signature was not checked: no key was named")
        return False
    try:
        signer = signature.verify_digest(digest, data, trust.keys, f"{uri}{signature.SUFFIX}").signer
        found.add("signature", True, "one by a trusted key", signer)
    except signature.NotVerified as error:
        found.add("signature", False, "one by a trusted key", error.what)
    return True


def _sigstore(found: _Findings, digest: str, uri: str, project: Path, trust: Trust) -> None:
    data = read_beside(uri, signature.BUNDLE_SUFFIX, project=project)
    who = trust.identity
    if who is None:
        found.notes.extend(["the Sigstore bundle was not checked: no identity was named"] if data else [])
        return
    wanted = f"one by {who.identity}"
    if data is None:
        found.add("sigstore", False, wanted, "none")
        return
    try:
        payload = signature.verify_bundle(data, digest, who, f"{uri}{signature.BUNDLE_SUFFIX}").payload
        about = payload == digest.encode() or any(one.content == digest for one in provenance.read(payload))
        found.add("sigstore", about, wanted, who.identity if about else "one over something else")
    except signature.NotVerified as error:
        found.add("sigstore", False, wanted, error.what)


def found_proofs(uri: str, digest: str, trust: Trust, project: Path) -> tuple[Proof, ...]:
    """The signatures over a digest that lie beside the artifact, of which nothing else is read.

    One by a key, then one by an identity, as far as trust names them. Raises NotVerified where one of the two is
    missing, GitopsError when the store does not answer.
    """
    proofs = []
    if trust.keys:
        proofs.append(_proof_by_key(uri, digest, trust.keys, project))
    if trust.identity:
        findings = _Findings()
        _sigstore(findings, digest, uri, project, trust)
        wrong = next((check for check in findings.checks if not check.passed), None)
        if wrong:
            hint = f"sign it as {trust.identity.identity}, then run the same command again"
            raise signature.NotVerified(f"its Sigstore bundle: {wrong.got}", where=uri, hint=hint)
        bundle = read_beside(uri, signature.BUNDLE_SUFFIX, project=project) or b""
        proofs.append(Proof("sigstore", trust.identity.identity, bundle))
    return tuple(proofs)


def flaw_of(proofs: Sequence[Proof], digest: str, trust: Trust) -> str:
    """Why these signatures are not what the trust asks for over this digest, for a sentence; empty if they are.

    Nothing is read and nobody is asked: the signatures are verified anew, and what they call their signer is nothing.
    """
    said = ""
    for wanted, kinds in ((bool(trust.keys), ("detached", "statement")), (trust.identity is not None, ("sigstore",))):
        flaws = [_flaw(one, digest, trust) for one in proofs if one.kind in kinds] if wanted else [""]
        if all(flaws):
            said = said or (flaws[0] if flaws else f"no signature of the kind {listed(kinds, 'or')} is recorded")
    return said


def _flaw(proof: Proof, digest: str, trust: Trust) -> str:
    try:
        if proof.kind == "detached":
            signature.verify_digest(digest, proof.data, trust.keys)
            return ""
        if proof.kind == "statement":
            payload = signature.verify_envelope(proof.data, trust.keys, provenance.PAYLOAD).payload
        else:
            assert trust.identity is not None
            payload = signature.verify_bundle(proof.data, digest, trust.identity).payload
        about = payload == digest.encode() or any(one.content == digest for one in provenance.read(payload))
        return "" if about else "the recorded signature is over something else"
    except GitopsError as error:
        return error.what


def _proof_by_key(uri: str, digest: str, keys: Sequence[signature.Key], project: Path) -> Proof:
    found: list[str] = []
    detached = read_beside(uri, signature.SUFFIX, project=project)
    if detached is not None:
        try:
            signer = signature.verify_digest(digest, detached, keys, f"{uri}{signature.SUFFIX}").signer
            return Proof("detached", signer, detached)
        except signature.NotVerified as error:
            found.append(f"{signature.SUFFIX}: {error.what}")
    statements = read_beside(uri, provenance.SUFFIX, project=project)
    where = f"{uri}{provenance.SUFFIX}"
    for one in provenance.read(statements, where) if statements else ():
        if one.content == digest and one.line is not None:
            try:
                signer = signature.verify_envelope(one.line, keys, provenance.PAYLOAD, where).signer
                return Proof("statement", signer, one.line)
            except signature.NotVerified as error:
                found.append(f"{provenance.SUFFIX}: {error.what}")
    what = "; ".join(dict.fromkeys(found)) or "no signature lies beside it"
    hint = "sign it (gitops models sign MODEL --key KEY), then run the same command again"
    raise signature.NotVerified(what, where=uri, hint=hint)


def policy_trust(policy: Signatures, project: Path) -> Trust:
    """The trust that a spec names. Raises GitopsError for a file that holds no public key."""
    keys = signature.load_keys(project / name for name in policy.keys) if policy.keys else ()
    who = policy.sigstore
    return Trust(keys, signature.Identity(who.identity, who.issuer) if who else None)


def told(uri: str, digest: str, project: Path) -> tuple[str, ...]:
    """What the statement about an artifact says, in lines; none where there is none. Nothing is verified here.

    Raises GitopsError when the store does not answer or the statement is misshapen.
    """
    data = read_beside(uri, provenance.SUFFIX, project=project)
    about = [one for one in provenance.read(data, uri) if one.content == digest] if data else []
    return provenance.summary(about[-1].statement) if about else ()


def trusted(keys: Sequence[Path], identity: str, issuer: str) -> Trust:
    """The trust that options of a command line name; GitopsError where they name half of it."""
    if bool(identity) != bool(issuer):
        raise GitopsError(
            "an identity and its issuer belong together",
            hint="give both --certificate-identity and --certificate-oidc-issuer",
        )
    who = signature.Identity(identity, issuer) if identity else None
    return Trust(signature.load_keys(keys) if keys else (), who)
