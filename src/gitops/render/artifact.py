"""Where a model's files come from: what the download container is told, and which buckets a cluster must reach."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from gitops.errors import GitopsError
from gitops.render.runtimes.base import MODELS_DIR
from gitops.spec.azure import ACCOUNT_VARIABLE, azure_place
from gitops.spec.images import RECORDED, fetched_by
from gitops.spec.pipeline import SecretRef

FETCH_ENV_PREFIXES = ("AWS_", "AZ_", "AZURE_", "GOOGLE_", "HF_", "S3_", "STORAGE_")
"""Variables of a model's `env` that the download reads too (credentials, endpoints)."""

_OFFLINE = frozenset({"HF_HUB_OFFLINE"})
_FILE = re.compile(r"[^/]\.[A-Za-z][A-Za-z0-9_]*$")


class Fetch(NamedTuple):
    """The container that downloads an artifact."""

    image: str
    args: tuple[str, ...]


def fetch(uri: str, env: Mapping[str, str | SecretRef], image: str | None = None) -> Fetch:
    """How an artifact gets into `MODELS_DIR`; `env` and `image` are those of the model. A spec that is loaded names an
    image for every model; a record may be older than that.

    Raises GitopsError for a container of Azure whose account nothing names.
    """
    image = image or RECORDED[fetched_by(uri)]
    if uri.startswith("oci://"):
        return Fetch(image, ("pull", "-o", MODELS_DIR, uri.removeprefix("oci://")))
    return Fetch(image, (_kserve_uri(uri, env), MODELS_DIR))


def _kserve_uri(uri: str, env: Mapping[str, str | SecretRef]) -> str:
    """An artifact's URI as KServe's storage initializer reads it.

    Reference: https://kserve.github.io/website/docs/model-serving/storage/overview
    """
    if uri.startswith("hf://"):
        repository, _, revision = uri.partition("@")
        return f"{repository}:{revision}" if revision else repository
    if place := azure_place(uri, env):
        if not place.account:
            hint = f"set serve.env.{ACCOUNT_VARIABLE}"
            raise GitopsError("nothing names the storage account of this container", where=uri, hint=hint)
        return f"https://{place.account}.blob.core.windows.net/{place.container}/{place.path}"
    # It takes a path in S3 for the beginning of names: chat/1.1 would bring chat/1.10 and chat/1.1.sig along.
    directory = uri.startswith("s3://") and not uri.endswith("/") and not _FILE.search(uri)
    return f"{uri}/" if directory else uri


def fetch_env(env: Mapping[str, str | SecretRef]) -> dict[str, str | SecretRef]:
    """The part of a model's environment that the download needs."""
    return {name: value for name, value in env.items() if name.startswith(FETCH_ENV_PREFIXES) and name not in _OFFLINE}


def is_remote(uri: str) -> bool:
    """Whether fetching it needs the network."""
    return not uri.startswith("file://")
