"""What of S3 the models of a cluster may read, by what the spec knows of their artifacts."""

from __future__ import annotations

import pytest

from gitops.render.terraform import _artifact_place
from gitops.values import UnitKey
from tests.render.specs import DIGEST, small


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("s3://acme-models/chat/1.2.0", "acme-models/<model>/"),
        ("s3://acme-models/chat/1.2.0/model.onnx", "acme-models/<model>/"),
        ("s3://acme-models/teams/a/chat/1.2.0/", "acme-models/teams/a/<model>/"),
        ("s3://acme-models/chat", "acme-models/<model>/"),
        ("s3://acme-models/chat-bot/1.2.0", "acme-models/chat-bot/"),
        ("s3://acme-models/run-81/model.onnx", "acme-models/run-81/"),
        ("s3://acme-chat/1.2.0", "acme-chat/"),
        ("hf://acme/chat@main", ""),
        ("oci://registry.acme.example/chat:1.2.0", ""),
    ],
)
def test_the_place_of_all_versions(uri: str, place: str) -> None:
    spec = small(model={"artifact": {"uri": uri, "digest": DIGEST, "format": "safetensors"}})
    assert _artifact_place(spec, UnitKey("dev", "chat")) == place
