"""Key pairs for tests of signatures."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat


def save_key(folder: Path, name: str) -> Path:
    """Make a pair: NAME is the private key, NAME.pub the public one."""
    private = Ed25519PrivateKey.generate()
    place = folder / name
    place.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    place.with_suffix(".pub").write_bytes(private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
    return place
