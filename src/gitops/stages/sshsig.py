"""Signatures as `ssh-keygen -Y sign` makes them. Reference: OpenSSH, PROTOCOL.sshsig."""

from __future__ import annotations

import base64
import hashlib
import struct

from gitops.errors import GitopsError

NAMESPACE = "gitops"
"""What `ssh-keygen -Y sign -n` has to be given: a signature for something else never counts here."""
BEGIN, END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"


class NotVerified(GitopsError):
    """Nobody who is trusted has signed this, or what was signed is something else."""


def opened(armored: bytes, message: bytes, where: str) -> tuple[str, bytes, bytes]:
    """The signer's public key as a line of OpenSSH, the raw signature, and the bytes that it is over.

    Raises NotVerified for anything but an Ed25519 signature in our namespace.
    """
    try:
        lines = armored.decode("ascii").split()
        text = " ".join(lines)
        inner = text.removeprefix(BEGIN).removesuffix(END)
        blob = base64.b64decode(inner.replace(" ", ""), validate=True)
        if blob[:6] != b"SSHSIG" or struct.unpack_from(">I", blob, 6)[0] != 1:
            raise ValueError("another version")
        public, namespace, _, hashed, signature = _strings(blob[10:], 5)
        kind, raw = _strings(signature, 2)
    except (ValueError, struct.error):
        raise NotVerified("this is no OpenSSH signature", where=where, hint="sign it again") from None
    if namespace != NAMESPACE.encode() or kind != b"ssh-ed25519" or hashed not in (b"sha256", b"sha512"):
        hint = f"sign it with: ssh-keygen -Y sign -n {NAMESPACE} -f KEY"
        raise NotVerified("the OpenSSH signature is for something else", where=where, hint=hint)
    digest = hashlib.new(hashed.decode(), message).digest()
    parts = (NAMESPACE.encode(), b"", hashed, digest)
    return (
        f"ssh-ed25519 {base64.b64encode(public).decode()}",
        raw,
        b"SSHSIG" + b"".join(struct.pack(">I", len(p)) + p for p in parts),
    )


def _strings(blob: bytes, count: int) -> list[bytes]:
    """So many strings, each with its length before it, and nothing after them."""
    found, at = [], 0
    for _ in range(count):
        (length,) = struct.unpack_from(">I", blob, at)
        if len(blob) < at + 4 + length:
            raise ValueError("it ends too early")
        found.append(blob[at + 4 : at + 4 + length])
        at += 4 + length
    if at != len(blob):
        raise ValueError("something comes after it")
    return found
