"""Signatures by plain keys and by Sigstore: over a DSSE envelope, or over an artifact's digest.

Keys are Ed25519 or ECDSA on P-256: public ones as PEM or as a line of OpenSSH (Ed25519), private ones as PEM or
OpenSSH files. DSSE signs PAE(type, payload); of several signatures one by a trusted key is enough. A detached
signature (`<uri>.sig`) signs the digest as it is written in `pipeline.yaml` and one newline, as raw bytes or base64, so
that `printf 'sha256:…\\n' | openssl pkeyutl -sign -rawin` makes one; or it is what `ssh-keygen -Y sign -n gitops` makes
of the same text. References: DSSE protocol 1.0.2, OpenSSH PROTOCOL.sshsig.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from gitops.errors import GitopsError
from gitops.stages import sshsig
from gitops.stages.sshsig import NotVerified as NotVerified
from gitops.stages.stores import need, said

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SUFFIX = ".sig"
BUNDLE_SUFFIX = ".sigstore.json"
MAX_KEY = 64 * 1024
MAX_SIGNATURES = 100


@dataclass(frozen=True, slots=True)
class Key:
    """A public key that is trusted. `id` is `SHA256:…` as `ssh-keygen -l` shows Ed25519 keys, hex of its DER else."""

    id: str
    public: Ed25519PublicKey | EllipticCurvePublicKey

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether the signature over the message is by this key."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            if isinstance(self.public, Ed25519PublicKey):
                self.public.verify(signature, message)
            else:
                self.public.verify(signature, message, _ecdsa())
        except InvalidSignature:
            return False
        return True


class Verified(NamedTuple):
    """What was signed, and by which of the trusted keys (or by which identity)."""

    payload: bytes
    signer: str


class Identity(NamedTuple):
    """Whose Sigstore certificates are trusted: an e-mail address or a workflow's URL, and the issuer that said so."""

    identity: str
    issuer: str


def load_keys(paths: Iterable[Path]) -> tuple[Key, ...]:
    """The public keys of files; one may hold several OpenSSH lines. Raises GitopsError for what is no such key."""
    need("cryptography", "sign", "verifying a signature")
    return tuple(key for path in paths for key in _keys(_read(path), str(path)))


def pae(kind: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding, which is what is signed."""
    name = kind.encode()
    return b"DSSEv1 %d %s %d %s" % (len(name), name, len(payload), payload)


class SigningKey(NamedTuple):
    """A private key: a file, or what is in it; and its password if it has one."""

    key: Path | bytes | None
    password: bytes | None = None


def signing_key() -> SigningKey:
    """The key with which what is built here is signed: GITOPS_SIGNING_KEY is a file or a key, and may not be there."""
    named, password = os.environ.get("GITOPS_SIGNING_KEY", ""), os.environ.get("GITOPS_SIGNING_PASSWORD", "")
    key = os.fsencode(named) if named.lstrip().startswith("-----BEGIN") else Path(named) if named else None
    return SigningKey(key, os.fsencode(password) or None)


def sign(kind: str, payload: bytes, key: Path | bytes, password: bytes | None = None) -> bytes:
    """A DSSE envelope in one line. Raises GitopsError for a key that cannot be used."""
    private, name = _private(key, password)
    signature = {"keyid": name, "sig": _base64(_signed(private, pae(kind, payload)))}
    envelope = {"payloadType": kind, "payload": _base64(payload), "signatures": [signature]}
    return json.dumps(envelope, separators=(",", ":")).encode()


def sign_digest(digest: str, key: Path | bytes, password: bytes | None = None) -> bytes:
    """The detached signature over a content digest, for `<uri>.sig`."""
    private, _ = _private(key, password)
    return _base64(_signed(private, _message(digest))).encode() + b"\n"


def verify_envelope(envelope: bytes, keys: Sequence[Key], kind: str, where: str = "") -> Verified:
    """The payload of a DSSE envelope that one of the keys has signed; NotVerified for any other.

    Key ids in the envelope are hints that nobody vouches for: every key is tried.
    """
    document = _envelope(envelope, where)
    if document["payloadType"] != kind:
        raise NotVerified(f"it holds something else than {kind}", where=where, hint="sign it again")
    payload = _unbase64(document["payload"], where)
    message = pae(kind, payload)
    for entry in document["signatures"][:MAX_SIGNATURES]:
        signature = _unbase64(entry.get("sig") if isinstance(entry, dict) else None, where)
        for key in keys:
            if key.verifies(signature, message):
                return Verified(payload, key.id)
    raise _nobody(where)


def verify_digest(digest: str, signature: bytes, keys: Sequence[Key], where: str = "") -> Verified:
    """Checks a detached signature over a content digest: raw, base64, or OpenSSH's; NotVerified when it is none."""
    message = _message(digest)
    if signature.lstrip().startswith(sshsig.BEGIN.encode()):
        signer, raw, message = sshsig.opened(signature, message, where)
        keys = [key for key in keys if _openssh_line(key.public) == signer]
        candidates = [raw]
    else:
        candidates = [signature]
        with suppress(ValueError):
            candidates.append(base64.b64decode(b"".join(signature.split()), validate=True))
    for key in keys:
        if any(key.verifies(candidate, message) for candidate in candidates):
            return Verified(digest.encode(), key.id)
    raise _nobody(where)


def verify_bundle(
    bundle: bytes,
    digest: str,
    who: Identity,
    where: str = "",
    *,
    environment: Literal["production", "staging"] = "production",
) -> Verified:
    """Checks a Sigstore bundle without asking anybody, against the trusted root that the package brings.

    A bundle with a message signature is over the bytes whose SHA-256 the digest is (a file, or the list of files of a
    directory); one with an envelope is over a statement, which is given back for its subject to be compared. Raises
    NotVerified, and GitopsError where the package is missing.
    """
    need("sigstore", "sigstore", "verifying a Sigstore bundle")
    from sigstore.errors import Error, VerificationError
    from sigstore.hashes import Hashed
    from sigstore.models import Bundle, ClientTrustConfig, InvalidBundle
    from sigstore.verify import Verifier, policy
    from sigstore_models.common.v1 import HashAlgorithm

    rule = policy.Identity(identity=who.identity, issuer=who.issuer)
    try:
        parsed = Bundle.from_json(bundle)
        config = getattr(ClientTrustConfig, environment)(offline=True)
        verifier = Verifier(trusted_root=config.trusted_root)
        if parsed._inner.message_signature is None:
            return Verified(verifier.verify_dsse(parsed, rule)[1], who.identity)
        hashed = Hashed(algorithm=HashAlgorithm.SHA2_256, digest=bytes.fromhex(digest.removeprefix("sha256:")))
        verifier.verify_artifact(hashed, parsed, rule)
    except (InvalidBundle, VerificationError, ValueError) as error:
        raise NotVerified(f"the Sigstore bundle does not hold: {said(error)}", where=where, hint=_WHO) from error
    except Error as error:
        raise GitopsError(f"Sigstore's root of trust cannot be read: {said(error)}", hint="install it anew") from error
    return Verified(digest.encode(), who.identity)


_WHO = "check the identity and the issuer, or sign it again"


def _nobody(where: str) -> NotVerified:
    return NotVerified("no trusted key has signed this", where=where, hint="check the keys, or sign it again")


def _message(digest: str) -> bytes:
    return f"{digest}\n".encode()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unbase64(value: Any, where: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError):
        raise NotVerified("it is not base64", where=where, hint="sign it again") from None


def _envelope(data: bytes, where: str) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or not {"payload", "payloadType", "signatures"} <= document.keys():
        raise NotVerified("this is no signed envelope", where=where, hint="sign it")
    if not isinstance(document["signatures"], list):
        raise NotVerified("its signatures are no list", where=where, hint="sign it again")
    return document


# --- Keys ----------------------------------------------------------------------------------------------------


def _read(path: Path) -> bytes:
    try:
        with path.expanduser().open("rb") as file:
            data = file.read(MAX_KEY + 1)
    except OSError as error:
        raise GitopsError(f"cannot be read: {error.strerror}", where=str(path), hint="check the path") from error
    if len(data) > MAX_KEY:
        raise GitopsError("too large for a key", where=str(path), hint="name a file with a public key")
    return data


def _keys(data: bytes, where: str) -> Iterable[Key]:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key, load_ssh_public_key

    lines = [line for line in data.splitlines() if line.strip() and not line.lstrip().startswith(b"#")]
    try:
        if data.lstrip().startswith(b"-----"):
            yield _key(load_pem_public_key(data), where)
        else:
            yield from (_key(load_ssh_public_key(line), where) for line in lines)
    except GitopsError:
        raise
    except Exception as error:  # cryptography has errors of its own for keys of other kinds
        hint = "name a file with a public key: PEM, or a line that begins with ssh-ed25519"
        raise GitopsError("this is no public key", where=where, hint=hint) from error
    if not lines:
        raise GitopsError("there is no key in it", where=where, hint=_KINDS)


_KINDS = "use an Ed25519 key or an ECDSA key on P-256"


def _key(public: Any, where: str) -> Key:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    if isinstance(public, Ed25519PublicKey):
        blob = base64.b64decode(_openssh_line(public).split()[1])
        return Key("SHA256:" + _base64(hashlib.sha256(blob).digest()).rstrip("="), public)
    if isinstance(public, EllipticCurvePublicKey) and isinstance(public.curve, SECP256R1):
        der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return Key(hashlib.sha256(der).hexdigest(), public)
    raise GitopsError("this kind of key is not used", where=where, hint=_KINDS)


def _ecdsa() -> Any:
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256

    return ECDSA(SHA256())


def _private(key: Path | bytes, password: bytes | None) -> tuple[Ed25519PrivateKey | EllipticCurvePrivateKey, str]:
    need("cryptography", "sign", "signing")
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key

    data, where = (key, "GITOPS_SIGNING_KEY") if isinstance(key, bytes) else (_read(key), str(key))
    load = load_ssh_private_key if b"OPENSSH PRIVATE KEY" in data else load_pem_private_key
    try:
        private: Any = load(data, password)
    except (ValueError, TypeError) as error:
        hint = "name a private key, PEM or OpenSSH, and give its password if it has one"
        raise GitopsError("this private key cannot be opened", where=where, hint=hint) from error
    return private, _key(private.public_key(), where).id


def _signed(private: Ed25519PrivateKey | EllipticCurvePrivateKey, message: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if isinstance(private, Ed25519PrivateKey):
        return private.sign(message)
    signature: bytes = private.sign(message, _ecdsa())
    return signature


def _openssh_line(public: Ed25519PublicKey | EllipticCurvePublicKey) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
