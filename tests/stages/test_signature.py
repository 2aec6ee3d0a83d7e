"""Signatures by plain keys, as OpenSSL and OpenSSH make them too, and the refusal of everything else."""

import base64
import json
import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("cryptography", reason="signatures are an extra: pip install cryptography")

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from gitops.errors import GitopsError
from gitops.stages.signature import (
    Identity,
    NotVerified,
    load_keys,
    pae,
    sign,
    sign_digest,
    verify_bundle,
    verify_digest,
    verify_envelope,
)

DIGEST = "sha256:" + "ab" * 32
KIND = "application/vnd.in-toto+json"
PAYLOAD = b'{"hello": 1}'


def write_pair(folder: Path, name: str, private: object, password: bytes = b"") -> tuple[Path, Path]:
    protection = BestAvailableEncryption(password) if password else NoEncryption()
    secret = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)  # type: ignore[attr-defined]
    public = private.public_key().public_bytes(  # type: ignore[attr-defined]
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )
    (folder / name).write_bytes(secret)
    (folder / f"{name}.pub").write_bytes(public)
    return folder / name, folder / f"{name}.pub"


KEYS = {"ed25519": ed25519.Ed25519PrivateKey.generate, "p256": lambda: ec.generate_private_key(ec.SECP256R1())}


@pytest.fixture(params=sorted(KEYS))
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    return write_pair(tmp_path, request.param, KEYS[request.param]())


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    return write_pair(tmp_path, "stranger", ed25519.Ed25519PrivateKey.generate())[1]


def test_the_encoding_is_that_of_the_specification() -> None:
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_an_envelope_verifies_and_nothing_near_it(pair: tuple[Path, Path], stranger: Path) -> None:
    private, public = pair
    envelope = sign(KIND, PAYLOAD, private)
    keys = load_keys([stranger, public])
    found = verify_envelope(envelope, keys, KIND)
    assert found == (PAYLOAD, keys[1].id)
    document = json.loads(envelope)
    assert document["signatures"][0]["keyid"] == keys[1].id
    lies = [
        {**document, "payload": base64.b64encode(b'{"hello": 2}').decode()},
        {**document, "payloadType": "text/plain"},
        {**document, "signatures": []},
        {**document, "signatures": {}},
        {**document, "signatures": [{"sig": "no base64!"}]},
        {**document, "signatures": ["x"]},
        {**document, "payload": 3},
        {"payload": document["payload"]},
    ]
    for lie in lies:
        with pytest.raises(NotVerified):
            verify_envelope(json.dumps(lie).encode(), keys, KIND)
    for keys in ((), load_keys([stranger])):
        with pytest.raises(NotVerified, match="no trusted key"):
            verify_envelope(envelope, keys, KIND)


def test_one_signature_of_several_is_enough(pair: tuple[Path, Path], stranger: Path) -> None:
    mine, other = json.loads(sign(KIND, PAYLOAD, pair[0])), json.loads(sign(KIND, PAYLOAD, stranger.with_suffix("")))
    both = {**mine, "signatures": [{**other["signatures"][0], "keyid": mine["signatures"][0]["keyid"]}]}
    with pytest.raises(NotVerified):  # a key id proves nothing
        verify_envelope(json.dumps(both).encode(), load_keys([pair[1]]), KIND)
    both["signatures"] += mine["signatures"]
    assert verify_envelope(json.dumps(both).encode(), load_keys([pair[1]]), KIND).payload == PAYLOAD


def test_a_detached_signature(pair: tuple[Path, Path], stranger: Path) -> None:
    signature = sign_digest(DIGEST, pair[0])
    keys = load_keys([pair[1]])
    assert verify_digest(DIGEST, signature, keys).signer == keys[0].id
    assert verify_digest(DIGEST, base64.b64decode(signature), keys).signer == keys[0].id
    for digest, made, trusted in (
        (DIGEST.replace("a", "c"), signature, keys),
        (DIGEST, signature, load_keys([stranger])),
        (DIGEST, b"", keys),
        (DIGEST, b"-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n", keys),
    ):
        with pytest.raises(NotVerified):
            verify_digest(digest, made, trusted)


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
def test_a_signature_by_openssl(pair: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "text").write_text(f"{DIGEST}\n")
    command = ["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", str(pair[0]), "-in", "text", "-out", "text.sig"]
    subprocess.run([*command, *(["-digest", "sha256"] if "p256" in pair[0].name else [])], cwd=tmp_path, check=True)
    assert verify_digest(DIGEST, (tmp_path / "text.sig").read_bytes(), load_keys([pair[1]]))


@pytest.fixture
def ssh_pair(tmp_path: Path) -> tuple[Path, Path]:
    if not shutil.which("ssh-keygen"):
        pytest.skip("ssh-keygen is not installed")
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ada@acme", "-f", str(tmp_path / "ssh")]
    subprocess.run(command, check=True)
    return tmp_path / "ssh", tmp_path / "ssh.pub"


def test_openssh_keys(ssh_pair: tuple[Path, Path], stranger: Path) -> None:
    keys = load_keys([ssh_pair[1]])
    shown = subprocess.run(["ssh-keygen", "-l", "-f", ssh_pair[1]], capture_output=True, text=True, check=True).stdout
    assert keys[0].id == shown.split()[1]
    assert verify_envelope(sign(KIND, PAYLOAD, ssh_pair[0]), keys, KIND).signer == keys[0].id


@pytest.mark.parametrize("hashed", ["sha512", "sha256"])
def test_a_signature_by_ssh_keygen(ssh_pair: tuple[Path, Path], stranger: Path, tmp_path: Path, hashed: str) -> None:
    for namespace in ("gitops", "file"):
        (tmp_path / namespace).write_text(f"{DIGEST}\n")
        command = ["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-O", f"hashalg={hashed}", "-f", ssh_pair[0]]
        subprocess.run([*command, str(tmp_path / namespace)], check=True, capture_output=True)
    signature, other = ((tmp_path / f"{name}.sig").read_bytes() for name in ("gitops", "file"))
    keys = load_keys([stranger, ssh_pair[1]])
    assert verify_digest(DIGEST, signature, keys).signer == keys[1].id
    with pytest.raises(NotVerified, match="for something else"):
        verify_digest(DIGEST, other, keys)
    with pytest.raises(NotVerified, match="no trusted key"):
        verify_digest(DIGEST.replace("a", "c"), signature, keys)
    with pytest.raises(NotVerified, match="no trusted key"):
        verify_digest(DIGEST, signature, load_keys([stranger]))
    body = base64.b64decode("".join(signature.decode().split()[3:-3]))
    for cut in range(0, len(body), 7):
        armored = base64.b64encode(body[:cut]).decode()
        with pytest.raises(NotVerified):
            verify_digest(
                DIGEST, f"-----BEGIN SSH SIGNATURE-----\n{armored}\n-----END SSH SIGNATURE-----".encode(), keys
            )


def test_several_keys_in_one_file(ssh_pair: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"# trusted\n{ssh_pair[1].read_text()}\n{ssh_pair[1].read_text()}")
    assert len(load_keys([tmp_path / "keys"])) == 2


def test_keys_that_are_not_used(tmp_path: Path) -> None:
    write_pair(tmp_path, "rsa", rsa.generate_private_key(65537, 2048))
    write_pair(tmp_path, "p384", ec.generate_private_key(ec.SECP384R1()))
    (tmp_path / "text.pub").write_text("no key at all")
    (tmp_path / "empty.pub").write_text("\n")
    (tmp_path / "large.pub").write_bytes(b"x" * 100_000)
    expected = {"rsa": "kind of key", "p384": "kind of key", "text": "no public key", "empty": "no key in it"}
    for name, said in {**expected, "large": "too large", "absent": "cannot be read"}.items():
        with pytest.raises(GitopsError, match=said) as caught:
            load_keys([tmp_path / f"{name}.pub"])
        assert caught.value.where.endswith(f"{name}.pub")
        assert caught.value.hint


def test_a_private_key_with_a_password(tmp_path: Path) -> None:
    private, public = write_pair(tmp_path, "key", ed25519.Ed25519PrivateKey.generate(), b"secret")
    assert verify_envelope(sign(KIND, PAYLOAD, private, b"secret"), load_keys([public]), KIND)
    for wrong in (None, b"wrong"):
        with pytest.raises(GitopsError, match="cannot be opened") as caught:
            sign(KIND, PAYLOAD, private, wrong)
        assert "wrong" not in str(caught.value)


def test_sigstore_bundles_that_do_not_hold() -> None:
    pytest.importorskip("sigstore", reason="sigstore is an extra: pip install sigstore")
    who = Identity("ada@acme.example", "https://accounts.example")
    for bundle in (b"", b"{}", b"[]", b'{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json"}'):
        with pytest.raises(NotVerified, match="Sigstore bundle does not hold"):
            verify_bundle(bundle, DIGEST, who)
