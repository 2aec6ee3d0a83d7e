"""Where a model's files come from: what the download container is told, and which buckets a cluster must reach."""

from __future__ import annotations

from gitops.spec.pipeline import SecretRef

FETCH_ENV_PREFIXES = ("AWS_", "GOOGLE_", "HF_", "S3_", "STORAGE_")
"""Variables of a model's `env` that the download reads too (credentials, endpoints)."""

_OFFLINE = frozenset({"HF_HUB_OFFLINE"})


def fetch_uri(uri: str) -> str:
    """An artifact's URI as KServe's storage initializer reads it: `hf://org/name@rev` becomes `hf://org/name:rev`.

    Reference: https://kserve.github.io/website/docs/model-serving/storage/providers/hf
    """
    if uri.startswith("hf://"):
        repository, _, revision = uri.partition("@")
        return f"{repository}:{revision}" if revision else repository
    return uri


def fetch_env(env: dict[str, str | SecretRef]) -> dict[str, str | SecretRef]:
    """The part of a model's environment that the download needs."""
    return {name: value for name, value in env.items() if name.startswith(FETCH_ENV_PREFIXES) and name not in _OFFLINE}


def is_remote(uri: str) -> bool:
    """Whether fetching it needs the network."""
    return not uri.startswith("file://")


def s3_bucket(uri: str) -> str | None:
    """The bucket of an `s3://` URI."""
    return uri.removeprefix("s3://").split("/")[0] if uri.startswith("s3://") else None
