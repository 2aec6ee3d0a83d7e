"""Small frozen types that every part shares."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

Action = Literal["create", "update", "delete"]
"""What a plan does to a thing; a thing that stays as it is has no change at all."""

Manifest = Mapping[str, Any]
"""One Kubernetes object as plain data (never mutated)."""

API_GROUP = "gitops"
LABEL_PIPELINE = f"{API_GROUP}/pipeline"
LABEL_CLUSTER = f"{API_GROUP}/cluster"
"""Two names for one cluster never delete each other's objects: each looks at its own only."""
LABEL_REPOSITORY = f"{API_GROUP}/repository"
"""Which GitOps repository keeps the object: its name would not tell two pipelines of one name apart. It is put on
when an object is sent, because the first files are rendered before there is a repository to name."""
LABEL_ENVIRONMENT = f"{API_GROUP}/environment"
LABEL_MODEL = f"{API_GROUP}/model"
LABEL_VERSION = f"{API_GROUP}/version"
FIELD_MANAGER = "gitops"
"""Our name in `metadata.managedFields` before it became the owner's (`Owner.manager`): such an object may be any
pipeline's. What is not applied (leases, stamps) is still written under it."""


class UnitKey(NamedTuple):
    """A model in an environment: the thing that is released."""

    environment: str
    model: str

    def __str__(self) -> str:
        return f"{self.environment}/{self.model}"


@dataclass(frozen=True, order=True, slots=True)
class ObjectRef:
    """Names one object on one cluster. `namespace` is empty for cluster-scoped kinds."""

    api_version: str
    kind: str
    namespace: str
    name: str

    @classmethod
    def of(cls, manifest: Manifest) -> ObjectRef:
        """The reference of a manifest (which must have apiVersion, kind and metadata.name)."""
        metadata = manifest["metadata"]
        return cls(manifest["apiVersion"], manifest["kind"], metadata.get("namespace", ""), metadata["name"])

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


class Proof(NamedTuple):
    """A signature over an artifact's digest as it was found, so that it can be verified again at any time."""

    kind: Literal["detached", "statement", "sigstore"]
    """A `.sig` file, an in-toto statement's envelope, or a Sigstore bundle."""
    by: str
    """Who it was by when it was found, for the reader: a key's id or an identity. It proves nothing."""
    data: bytes


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose an object on a cluster is: a pipeline's, as one GitOps repository has it, under one name of the cluster.

    As marks that were found on an object, what is empty was not there. An owner without a repository (it has no
    commit yet) owns nothing.
    """

    pipeline: str
    repository: str
    cluster: str

    @property
    def manager(self) -> str:
        """Its name in `metadata.managedFields`: fields that other managers own are theirs.

        Two owners never have the same, so that the API server itself refuses to let one change the other's marks.
        """
        return f"{FIELD_MANAGER}-{self.pipeline}-{self.repository[:8]}"


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit as history shows it. `time` is RFC 3339; `trailers` keep their order and may repeat."""

    id: str
    time: str
    author: str
    subject: str
    body: str
    trailers: tuple[tuple[str, str], ...]


ACTING = "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
"""What changes how the text around it is shown, for a class of a pattern: line and paragraph separators, and marks of
direction, by which what a person reads is not what a program does (Unicode Technical Report 36, section 3.4)."""
_ACTING = re.compile(f"[{ACTING}]")


def without_acting(text: str) -> str:
    """JSON, or a text for people, with such characters written out as JSON and YAML escape them: `\\u202e`."""
    return text if text.isascii() else _ACTING.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def plain_json(data: bytes) -> bytes:
    """The same of encoded JSON, where they stand in strings alone."""
    return data if data.isascii() else without_acting(data.decode()).encode()


_USERINFO = re.compile(r"(?<![A-Za-z0-9+.-])((?!az:)[A-Za-z][A-Za-z0-9+.-]{0,20}://)[^/\"'<>]{1,500}@")


def without_userinfo(text: str) -> str:
    """The text without users and passwords of URLs; the container of an address at Azure is no user."""
    return _USERINFO.sub(r"\1…@", text) if "://" in text else text


_HALVES = re.compile("[\ud800-\udfff]")


def readable(text: str) -> str:
    """The text with U+FFFD for what is no character: Python puts half of a surrogate pair for a byte that is no UTF-8
    (in variables, arguments and names of files), and nothing can write that down again.
    """
    return _HALVES.sub("\N{REPLACEMENT CHARACTER}", text)


def person_key(name: str) -> str:
    """What two spellings of one address or login have in common: forges and mail know no upper and lower case."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).strip()


MAX_WORKLOAD_NAME = 52
"""A pod's name adds a hash of 11 characters to it and has to stay a label value of at most 63."""
_REVISION = "-R"
"""Capital, as no version of a spec has any: no version can pretend to be a revision of another."""


def revision_name(version: str, mark: str) -> str:
    """The name of a revision of a version: `2.4.0-R3f2a91`. It is a label value, as a version is."""
    return f"{version}{_REVISION}{mark}"


def base_version(name: str) -> str:
    """The version that a name is of: `2.4.0` for `2.4.0-R3f2a91`, and for `2.4.0` itself."""
    return name.partition(_REVISION)[0]


def version_in_words(name: str) -> str:
    """A version or one of its revisions, for people: `2.4.0 (revision 3f2a91)`."""
    version, _, mark = name.partition(_REVISION)
    return f"{version} (revision {mark})" if mark else version


def version_slug(version: str) -> str:
    """A version as part of a Kubernetes name: `2.3.0` gives `2-3-0`."""
    return version.replace(".", "-").replace("_", "-").lower()


def workload_name(model: str, version: str) -> str:
    """The name under which one version of a model runs: `support-chat-2-3-0`, and a revision of it
    `support-chat-2-3-0-r3f2a91`. A spec keeps versions short enough; a revision's name is cut before its mark.
    """
    name, plain = f"{model}-{version_slug(version)}", len(version_slug(base_version(version)))
    mark = version_slug(version)[plain:]
    return name if len(name) <= MAX_WORKLOAD_NAME or not mark else _cut(name, mark)


def _cut(name: str, mark: str) -> str:
    return name[: MAX_WORKLOAD_NAME - len(mark)].rstrip("-") + mark
