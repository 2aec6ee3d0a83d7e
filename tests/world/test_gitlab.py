"""Whose word a job token of GitLab is."""

from __future__ import annotations

import json
import time

import pytest

from gitops.errors import GitopsError
from gitops.world.gitlab import verified
from tests.support.gitlab import Instance, encoded, served

GITLAB, OTHER = Instance(), Instance()


def claims(token: str, keys: bytes = b"", audience: str = "gitops-acme") -> dict[str, object]:
    return dict(verified(token, GITLAB.url, audience, time.time(), lambda _: keys or GITLAB.keys))


def test_what_the_instance_has_signed_is_known() -> None:
    assert claims(GITLAB.token())["user_login"] == "ann"
    assert claims(GITLAB.token(aud=["gitops-acme"]))["job_id"] == "4711"


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("", "no signed token"),
        ("a.b.c", "no signed token"),
        (OTHER.token(), "has signed it"),
        (GITLAB.token(header={"kid": "k2"}), "has signed it"),
        (GITLAB.token(header={"alg": "none"}), "RS256"),
        (GITLAB.token(header={"alg": "HS256"}), "RS256"),
        (GITLAB.token(iss="https://evil.example"), "is from https://evil.example"),
        (GITLAB.token(aud="gitops-other"), "not meant for"),
        (GITLAB.token(exp=1), "time is over"),
        (GITLAB.token(exp="never"), "time is over"),
        (GITLAB.token(nbf=2**40), "time is over"),
    ],
)
def test_any_other_token_proves_nothing(token: str, why: str) -> None:
    with pytest.raises(GitopsError, match=why) as refused:
        claims(token)
    assert refused.value.hint


def test_what_was_signed_cannot_be_changed() -> None:
    header, _, signature = GITLAB.token().split(".")
    changed = encoded(json.dumps({"iss": GITLAB.url, "aud": "gitops-acme", "user_login": "bob"}).encode())
    with pytest.raises(GitopsError, match="has signed it"):
        claims(f"{header}.{changed}.{signature}")
    with pytest.raises(GitopsError, match="has signed it"):
        claims(f"{header}.{GITLAB.token().split('.')[1]}.{signature[:-8]}")


@pytest.mark.parametrize(
    "keys", [b"x", b"[]", b'{"keys": 1}', b'{"keys": [{}]}', b'{"keys": [{"kty": "RSA", "kid": "k1"}]}']
)
def test_keys_that_are_none_verify_nothing(keys: bytes) -> None:
    with pytest.raises(GitopsError):
        claims(GITLAB.token(), keys)


def test_keys_come_from_the_instance_itself() -> None:
    with served() as instance:
        assert verified(instance.token(), instance.url, "gitops-acme", time.time())["user_login"] == "ann"
        with pytest.raises(GitopsError, match="404"):
            verified(instance.token(), f"{instance.url}/elsewhere", "gitops-acme", time.time())
    with pytest.raises(GitopsError, match="cannot be had"):
        verified(instance.token(), instance.url, "gitops-acme", time.time())
