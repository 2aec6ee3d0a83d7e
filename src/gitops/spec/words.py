"""What each pattern of the spec means, in words."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple, get_args, get_origin

from pydantic import StringConstraints

from gitops.spec import build, build_stages, ci, environment, fields, validation, validation_data
from gitops.spec.problems import Path
from gitops.spec.quantities import QUANTITY_PATTERN


class Words(NamedTuple):
    """`noun` completes "… is not", `form` says what it looks like."""

    noun: str
    form: str


def _pattern(alias: Any) -> str:
    assert get_origin(alias) is Annotated
    return next(str(c.pattern) for c in get_args(alias)[1:] if isinstance(c, StringConstraints) and c.pattern)


_BY_PATTERN = {
    _pattern(fields.Name): Words(
        "a name", "lower-case letters, digits and -, starting with a letter, at most 40 characters"
    ),
    _pattern(fields.KubernetesName): Words(
        "a Kubernetes name", "lower-case letters, digits and -, at most 63 characters"
    ),
    _pattern(fields.ObjectName): Words(
        "a Kubernetes name", "lower-case letters, digits, - and ., at most 253 characters"
    ),
    _pattern(fields.Version): Words(
        "a version", "lower-case letters, digits, . _ and -, at most 20 characters, such as 2.3.0"
    ),
    _pattern(fields.Digest): Words("a digest", "sha256: and 64 hexadecimal digits in lower case"),
    QUANTITY_PATTERN: Words("a quantity", "such as 500m, 1.5 or 64Gi"),
    _pattern(fields.Image): Words("an image", "registry/path:tag or registry/path@sha256:…, the path in lower case"),
    _pattern(fields.Hostname): Words("a host name", "a full name in lower case, such as chat.example.com"),
    _pattern(fields.EnvName): Words("the name of an environment variable", "letters, digits and _"),
    _pattern(fields.PodEnvName): Words("the name of an environment variable", "letters, digits, _ . and -"),
    _pattern(fields.ArtifactUri): Words(
        "an artifact",
        "s3://bucket/path, gs://bucket/path, az://container/path, hf://owner/name@revision, oci://registry/name:tag or "
        "file://path",
    ),
    _pattern(environment.AwsPoolName): Words(
        "the name of a node pool", "2 to 30 lower-case letters, digits and -, starting with a letter"
    ),
    _pattern(environment.BucketName): Words(
        "the name of a bucket", "lower-case letters, digits, . and -, 3 to 63 characters"
    ),
    _pattern(ci.GitlabUrl): Words("the URL of a GitLab", "such as https://gitlab.com, without a path"),
    _pattern(ci.GitlabPath): Words("the path of a project", "such as acme/models"),
    _pattern(ci.Hosted): Words("a runner that GitHub hosts", "such as ubuntu-24.04"),
    _pattern(ci.WheelUri): Words(
        "a wheel of gitops", "a path in this repository or an https:// URL that ends in gitops_models-VERSION-….whl"
    ),
    _pattern(environment.Cidr): Words("a network", "an IPv4 block such as 10.0.0.0/16"),
    _pattern(environment.Region): Words("an AWS region", "such as us-east-1"),
    _pattern(environment.LabelKey): Words("a label", "such as example.com/pool"),
    _pattern(environment.LabelValue): Words("the value of a label", "letters, digits, . _ and -"),
    _pattern(environment.Person): Words("a person", "an address or a login, such as alice@acme.example"),
    _pattern(environment.PublicKey): Words(
        "an OpenSSH public key", "the line of the .pub file, such as ssh-ed25519 AAAAC3…"
    ),
    _pattern(environment.Moment): Words(
        "a moment", 'an instant such as 2026-12-19T00:00:00Z, or with `days` a time such as "16:00"'
    ),
    _pattern(environment.Timezone): Words("a timezone", "an IANA name such as Europe/Berlin"),
    r"^(\d{1,9}(?:\.\d{1,9})?)(ms|s|m)$": Words("a duration", "such as 500ms or 2s"),
    r"^(\d{1,9}(?:\.\d{1,9})?)%$": Words("a percentage", "such as 0.1%"),
    _pattern(validation.ProjectFile): Words("a file of the project", "its path, such as validation/support-chat.yaml"),
    _pattern(validation.AnswerPath): Words("a place in an answer", "keys and positions, such as choices.0.text"),
    _pattern(validation_data.DataFile): Words(
        "a file of data", "its path in the project, or s3://, gs://, hf:// or file:// and the rest"
    ),
    _pattern(validation_data.Column): Words("a column", "its name as the file has it, without control characters"),
    _pattern(build_stages.Directory): Words("a directory of the project", "its path, such as training"),
    _pattern(build_stages.Tensor): Words("the name of a tensor or node", "letters, digits and _ . / : -"),
    _pattern(build_stages.Axis): Words("the name of a dimension", "lower-case letters, digits and _, such as batch"),
    _pattern(build.SourceUri): Words(
        "a checkpoint", "s3://bucket/path, gs://…, az://container/path, hf://…, oci://registry/name:tag or file://path"
    ),
    _pattern(build.OutputUri): Words("a place", "s3://bucket/path, gs://…, az://container/path, hf://… or file://path"),
    _pattern(ci.Label): Words("a runner's label", "letters, digits, . _ and -, such as gpu"),
}

_PATH = Words("a path", "starting with /, of letters, digits, / _ . and -")
_UUID = Words("a UUID", "such as 0f8fad5b-d9cb-469f-a165-70867728950e")
_WORDS = Words("words on one line", "a few of them, without control characters")
_BY_KEY = {
    "branch": Words("a branch", "letters, digits, . _ / and -, such as main"),
    "tensorrt": Words("a TensorRT version", "such as 10.7"),
    "key": Words("a key of a Secret", "letters, digits, . _ and -"),
    "cidr": Words("a network", "such as 10.0.0.0/8 or fd00::/8"),
    "args": Words("an option", "lower-case letters, digits and -, without leading dashes"),
    "health": _PATH,
    "metrics": _PATH,
    "path": _PATH,
    "owner": Words("an owner", "a team or an address, of letters, digits, spaces and . _ @ / + -"),
    "disk": Words("a disk size", "whole Gi from 10Gi to 99999Gi, such as 200Gi"),
    "instance": Words("an instance type", "such as m7i.large"),
    "prefix": Words("a prefix", "letters, digits and / _ . -"),
    "availabilityZones": Words("an availability zone", "such as us-east-1a"),
    "kubernetesVersion": Words("a Kubernetes version", "such as 1.33"),
    "administrators": Words("an IAM role or user", "such as arn:aws:iam::123456789012:role/platform"),
    "tags": Words("a tag", "letters, digits, spaces and _ . : / = + @ -"),
    "prometheus": Words("a URL", "such as http://prometheus.monitoring:9090"),
    "base": Words("an image by digest", "registry/path@sha256:…"),
    "note": _WORDS,
    "run": _WORDS,
    "identity": Words("somebody", "an e-mail address, or the URL of a workflow"),
    "issuer": Words("an issuer", "its URL, such as https://accounts.google.com"),
    "dataset": _WORDS,
    "notSecret": Words("the beginning of a digest", "sha256: and 12 digits, as the refusal names it"),
    "install": Words("a command", "one line of shell, without expressions of the CI system"),
    "serve": Words("a command", "one line of shell, without expressions of the CI system"),
    "project": _PATH,
    "python": Words("a Python", "a path of a program; in `ci` a version such as 3.12"),
    "terraform": Words("a Terraform version", "such as 1.11.4"),
    "kubeconfig": Words("the name of a variable or file", "letters, digits and _ . / -"),
    "applyEnvironment": Words("the name of a protected environment", "letters, digits, _ . and -"),
    "module": Words("a class", "package.module:Class, such as nets:Iris"),
    "arguments": Words("an argument", "letters, digits and _"),
    "role": Words("an AWS role", "such as arn:aws:iam::123456789012:role/gitops-apply"),
    "client": _UUID,
    "tenant": _UUID,
    "subscription": _UUID,
    "provider": Words(
        "a workload identity provider", "projects/…/locations/global/workloadIdentityPools/…/providers/…"
    ),
    "serviceAccount": Words("a service account", "such as gitops@acme.iam.gserviceaccount.com"),
    "endpoint": Words("a URL", "such as http://127.0.0.1:8000"),
    "image": Words("an image without a tag", "registry/path; the tag is the commit"),
    "scheme": Words("a quantization scheme", "such as W4A16"),
    "commit": Words("a commit", "7 to 64 hexadecimal digits"),
    "query": Words("a query", "PromQL on one line; `>-` joins several lines"),
    "reason": Words("a reason", "a few words on one line"),
}


def words_for(pattern: str, path: Path) -> Words | None:
    """The words for a pattern that the value at a path does not match."""
    if pattern in _BY_PATTERN:
        return _BY_PATTERN[pattern]
    return next((_BY_KEY[part] for part in reversed(path) if isinstance(part, str) and part in _BY_KEY), None)
