"""Which places of artifacts a spec may name: what the stores understand, and nothing that leads elsewhere."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from gitops.spec.azure import AzurePlace, azure_place
from gitops.spec.build import OutputUri, SourceUri
from gitops.spec.check_models import _ARCHIVE
from gitops.spec.fields import ArtifactUri
from gitops.stages.oci import _REFERENCE

URI: TypeAdapter[Any] = TypeAdapter(ArtifactUri)
SHA = "sha256:" + "5a" * 32

GOOD = [
    "s3://acme-models/support-chat/2.3.0",
    "gs://acme-models/support-chat/2.3.0/",
    "hf://Qwen/Qwen2.5-Coder-7B-Instruct@c03e6d3",
    "file://models/chat",
    "az://models/chat/1.0.0",
    "az://models",  # said better where the path is missed
    "az://models@acmestore.blob.core.windows.net/chat/model@2.onnx",
    "oci://registry.example.com/chat:1.0.0",
    "oci://registry.example.com:5000/acme/chat__8b/x-y.z:v1_2-3",
    f"oci://ghcr.io/acme/chat@{SHA}",
    f"oci://ghcr.io/acme/chat:1.0.0@{SHA}",
]
BAD = [
    "https://models/chat",
    "az://Models/chat",
    "az://-models/chat",
    "az://ab/chat",
    "az://models@acmestore.dfs.core.windows.net/chat",
    "az://models@acmestore.blob.core.windows.net.evil.example/chat",
    "az://models@evil.example/chat",
    "az://models@ACME.blob.core.windows.net/chat",
    "az://models/chat?sig=secret",
    "az://models/chat#x",
    "az://models/a b",
    "oci://registry.example.com/chat",
    "oci://registry.example.com",
    "oci://registry.example.com:1",
    "oci://-o/chat:1",
    "oci://.registry/chat:1",
    "oci://user@registry.example.com/chat:1",
    "oci://registry.example.com/-o:1",
    "oci://registry.example.com/a/../b:1",
    "oci://registry.example.com/a//b:1",
    "oci://registry.example.com/Chat:1",
    "oci://registry.example.com/chat:-1",
    "oci://registry.example.com/chat:.",
    "oci://registry.example.com/chat:1@sha256:5a",
    f"oci://registry.example.com/chat:1@{SHA}x",
    f"oci://registry.example.com/chat@{SHA}:1",
    "oci://registry.example.com:port/chat:1",
]


def accepted(uri: str) -> bool:
    try:
        URI.validate_python(uri)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("uri", GOOD)
def test_what_a_spec_may_name(uri: str) -> None:
    assert accepted(uri)
    assert bool(_REFERENCE.fullmatch(uri)) is uri.startswith("oci://")


@pytest.mark.parametrize("uri", BAD)
def test_what_it_may_not(uri: str) -> None:
    assert not accepted(uri)


@pytest.mark.parametrize("uri", GOOD)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\0", "\x1b[0m", " ", "\u202e", ";", "$(id)", "\\"])
def test_nothing_hides_at_the_end(uri: str, end: str) -> None:
    assert not accepted(uri + end)


def test_editors_go_by_the_same_pattern() -> None:
    pattern = URI.json_schema()["pattern"]
    assert [uri for uri in GOOD + BAD if re.search(pattern, uri)] == GOOD


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("az://models/chat/1.0", AzurePlace("models", "", "chat/1.0")),
        ("az://models", AzurePlace("models", "", "")),
        ("az://models@acmestore.blob.core.windows.net/chat/1.0/", AzurePlace("models", "acmestore", "chat/1.0/")),
        ("s3://models/chat", None),
    ],
)
def test_an_azure_uri_is_taken_apart(uri: str, place: AzurePlace | None) -> None:
    assert azure_place(uri) == place


def test_the_uri_names_the_account_before_the_environment_does() -> None:
    env = {"AZURE_STORAGE_ACCOUNT_NAME": "other"}
    there, none = azure_place("az://m@here.blob.core.windows.net/x", env), azure_place("az://m/x", env)
    assert there is not None
    assert none is not None
    assert (there.account, none.account) == ("here", "other")


def test_archives_are_those_that_the_download_unpacks() -> None:
    import mimetypes

    known = mimetypes.MimeTypes()
    endings = ["zip", "tar", "tgz", "taz", "tz", "tbz2", "txz", "tar.gz", "tar.Z", "tar.bz2", "tar.xz", "tar.br"]
    others = ["onnx", "safetensors", "pt", "gz", "json", "tar.zst", "0", "zip.d", "7z", "mar", "nemo"]
    for ending in [*endings, *others]:
        unpacked = known.guess_type(f"model.{ending}")[0] in ("application/x-tar", "application/zip")
        assert bool(_ARCHIVE.search(f"s3://models/model.{ending}")) is unpacked is (ending in endings), ending


@pytest.mark.parametrize("uri", GOOD)
def test_builds_read_what_may_be_served_and_write_it_but_to_registries(uri: str) -> None:
    assert TypeAdapter(SourceUri).validate_python(uri) == uri
    try:
        assert TypeAdapter(OutputUri).validate_python(uri) == uri
    except ValidationError:
        assert uri.startswith("oci://")
    else:
        assert not uri.startswith("oci://")
