"""Checks of one model by itself, and of the repository."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator

from gitops.spec.azure import ACCOUNT_VARIABLE, azure_place
from gitops.spec.build import contradictions as build_contradictions
from gitops.spec.check_options import triton_options, vllm_options
from gitops.spec.documents import Finding
from gitops.spec.draft import Draft, Subject
from gitops.spec.images import moving
from gitops.spec.pipeline import NetworkPlace, VllmServe
from gitops.spec.problems import Path, listed, shorten
from gitops.spec.unbuilt import UNBUILT
from gitops.spec.validation import contradictions as validation_contradictions

FORMATS = {
    "vllm": ("safetensors", "pytorch"),
    "triton": ("onnx", "tensorrt", "triton", "pytorch", "savedmodel"),
    "custom": ("safetensors", "pytorch", "onnx", "tensorrt", "savedmodel"),
}
"""Which artifact formats a runtime loads."""
_ONE_MODEL = ("onnx", "tensorrt")
"""The formats that Triton gets a model repository made for; others are a whole one."""

_HUGGING_FACE = re.compile(r"hf://[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*@[A-Za-z0-9._-]+")
_BUCKET_URI = re.compile(r"(s3|gs|az)://[^/]+/[^/].*")
_ARCHIVE = re.compile(r"\.(zip|tar(\.(gz|z|bz2|xz|br))?|tgz|taz|tz|tbz2|txz)$", re.IGNORECASE)
"""What KServe's storage initializer unpacks: what Python's mimetypes takes for zip or tar."""
_NO_BRANCH = re.compile(r"\.\.|//|/\.|\.(?=/)|(/|\.lock|\.)$|\.lock(?=/)")
"""What `git check-ref-format` refuses beside the characters that the field does not have."""
_URL_SCHEMES = ("https", "http", "ssh", "git", "file")


def models(draft: Draft) -> Iterator[Finding]:
    """Everything in the table below, for every distinct model."""
    for subject in draft.subjects():
        for check in _MODEL_CHECKS:
            yield from check(subject)


def _parallelism(subject: Subject) -> Iterator[Finding]:
    serve = subject.model.serve
    if not isinstance(serve, VllmServe):
        return
    tensor, pipeline, count = serve.parallelism.tensor, serve.parallelism.pipeline, serve.gpu.count
    if tensor * pipeline == count:
        return
    product = f"tensor {tensor} x pipeline {pipeline} = {tensor * pipeline}" if pipeline > 1 else f"tensor {tensor}"
    message = f"{product} does not match `gpu.count` {count}"
    parallelism: Path = ("serve", "parallelism")
    yield subject.finding(parallelism, message, "the product has to equal gpu.count", (("serve", "gpu", "count"),))


def _replicas(subject: Subject) -> Iterator[Finding]:
    replicas = subject.model.serve.replicas
    if replicas.min > replicas.max:
        message = f"min {replicas.min} is more than max {replicas.max}"
        yield subject.finding(("serve", "replicas", "min"), message, "", (("serve", "replicas", "max"),))


def _format(subject: Subject) -> Iterator[Finding]:
    runtime, artifact = subject.model.serve.runtime, subject.model.artifact
    if artifact.format not in FORMATS[runtime]:
        message = f"{runtime} does not load {artifact.format}"
        hint = f"it loads {listed(FORMATS[runtime], 'or')}"
        yield subject.finding(("artifact", "format"), message, hint, (("serve", "runtime"),))
    elif runtime == "triton" and artifact.format not in _ONE_MODEL and artifact.uri.startswith("hf://"):
        # Triton takes every directory of its repository for a model, those with a dot too, and ends at the first bad.
        message = "a download from the hub has a directory .cache in it, which Triton takes for a model"
        hint = "copy the model repository to s3://, gs://, az:// or oci://"
        yield subject.finding(("artifact", "uri"), message, hint)


def _engine(subject: Subject) -> Iterator[Finding]:
    artifact, gpu = subject.model.artifact, subject.model.serve.gpu
    if artifact.format != "tensorrt" and not (artifact.format == "triton" and artifact.built_for):
        if artifact.built_for:
            message = f"`builtFor` means nothing for {artifact.format}"
            yield subject.finding(("artifact", "builtFor"), message, "it is for `format: tensorrt`; remove it")
    elif not artifact.built_for:
        message = "a TensorRT engine needs `builtFor`"
        hint = "say {gpu: …, tensorrt: …}; an engine runs only on the GPU type and TensorRT that built it"
        yield subject.finding(("artifact", "format"), message, hint)
    elif not gpu:
        yield subject.finding(("artifact", "builtFor"), "a TensorRT engine needs a GPU", "set serve.gpu")
    elif artifact.built_for.gpu != gpu.type:
        message = f"the engine was built for {artifact.built_for.gpu}, but `serve.gpu.type` is {gpu.type}"
        hint = "build an engine for that GPU, or serve it on the other"
        yield subject.finding(("artifact", "builtFor", "gpu"), message, hint, (("serve", "gpu", "type"),))


def _uri(subject: Subject) -> Iterator[Finding]:
    uri = subject.model.artifact.uri
    place: Path = ("artifact", "uri")
    scheme, _, rest = uri.partition("://")
    if _escapes(rest):
        yield subject.finding(place, "the path must not go up with `..`", "write the path out")
    elif scheme == "hf" and not _HUGGING_FACE.fullmatch(uri):
        hint = "write hf://owner/name@revision; the revision pins what is downloaded"
        yield subject.finding(place, "this is not a Hugging Face model at a revision", hint)
    elif scheme in ("s3", "gs", "az") and not _BUCKET_URI.fullmatch(uri):
        where = "container" if scheme == "az" else "bucket"
        yield subject.finding(place, f"the path in the {where} is missing", f"write {scheme}://{where}/path")
    elif scheme in ("s3", "gs", "az") and _ARCHIVE.search(uri):
        message = "an archive is unpacked when it is fetched, and its digest is not that of the files in it"
        yield subject.finding(place, message, "publish its files in its place, and name their directory")
    elif scheme == "az":
        yield from _account(subject)


def _account(subject: Subject) -> Iterator[Finding]:
    uri, env = subject.model.artifact.uri, subject.model.serve.env
    place, named = azure_place(uri, env), env.get(ACCOUNT_VARIABLE)
    if place is None or place.account:
        return
    variable: Path = ("serve", "env", ACCOUNT_VARIABLE)
    if named is None:
        whole = f"az://{place.container}@ACCOUNT.blob.core.windows.net/{place.path}"
        message = "nothing names the storage account of this container"
        yield subject.finding(("artifact", "uri"), message, f"write {whole}, or set serve.env.{ACCOUNT_VARIABLE}")
    elif isinstance(named, str):
        message = f'"{shorten(named)}" is not the name of a storage account'
        yield subject.finding(variable, message, "it has 3 to 24 lower-case letters and digits")
    else:
        message = "the storage account is part of what is rendered, and cannot come from a Secret"
        yield subject.finding(variable, message, "write its name here; a Secret is for its key")


def _image(subject: Subject) -> Iterator[Finding]:
    serve = subject.model.serve
    for key, image in (("image", serve.image), ("fetchImage", serve.fetch_image)):
        if image and (wrong := moving(image)):
            yield subject.finding(("serve", key), *wrong)


def _pool(subject: Subject) -> Iterator[Finding]:
    serve = subject.model.serve
    if serve.pool and not serve.gpu:
        message = "pools have GPUs, but this model asks for none"
        yield subject.finding(("serve", "pool"), message, "set serve.gpu, or remove `pool`")


def _route(subject: Subject) -> Iterator[Finding]:
    """What the Gateway API refuses in a path: empty parts, and those that stay or go up."""
    route = subject.model.route
    if route and ("//" in route.path or {".", ".."} & set(route.path.split("/"))):
        message = "a gateway takes no path with //, /./ or /../ in it"
        yield subject.finding(("route", "path"), message, "write the path out")


def _peers(subject: Subject) -> Iterator[Finding]:
    network = subject.model.serve.network
    for direction, peers in (("ingress", network.ingress), ("egress", network.egress)):
        for index, peer in enumerate(peers):
            place: Path = ("serve", "network", direction, index)
            for path, message, hint in wrong_place(peer):
                yield subject.finding((*place, *path), message, hint)
            if peer.protocol != "TCP" and not peer.ports:
                hint = "name `ports`; without any, every protocol is let through"
                yield subject.finding((*place, "protocol"), "a protocol belongs to ports", hint)


def wrong_place(where: NetworkPlace) -> Iterator[tuple[Path, str, str]]:
    """What is wrong with a place on the network, with the path in it."""
    if (where.namespace is None) == (where.cidr is None):
        said = "neither" if where.cidr is None else "both"
        yield (), f"a peer has a namespace or a cidr, this one has {said}", "write {namespace: …} or {cidr: …}"
    elif where.cidr is not None and (wrong := wrong_network(where.cidr)):
        yield (("cidr",), *wrong)


def _build(subject: Subject) -> Iterator[Finding]:
    model = subject.model
    if model.build is None:
        if model.artifact.digest == UNBUILT:
            yield subject.finding(("artifact", "digest"), "this is the digest of nothing", "gitops models add finds it")
        return
    if model.artifact.digest != UNBUILT:
        hint = "remove it; Git keeps the digest of what was built"
        yield subject.finding(("artifact",), "with `build` the artifact is what the build makes", hint, (("build",),))
    for path, message, hint in build_contradictions(model.build):
        yield subject.finding(("build", *map(_step, path)), message, hint)


def _validation(subject: Subject) -> Iterator[Finding]:
    if subject.model.validation is not None:
        for path, message, hint in validation_contradictions(subject.model.validation):
            yield subject.finding(("validate", *map(_step, path)), message, hint)


def _step(part: str) -> str | int:
    """Positions in lists are numbers in a path."""
    return int(part) if part.isdigit() else part


_MODEL_CHECKS: tuple[Callable[[Subject], Iterator[Finding]], ...] = (
    _parallelism,
    _replicas,
    _format,
    _engine,
    _uri,
    _image,
    vllm_options,
    triton_options,
    _pool,
    _route,
    _peers,
    _build,
    _validation,
)


def wrong_network(text: str) -> tuple[str, str] | None:
    """What is wrong with a CIDR block, and how to write it; None if nothing is."""
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return f"{text} is not a network", "such as 10.0.0.0/8"
    if ipaddress.ip_address(text.partition("/")[0]) != network.network_address:
        return f"{text} is an address inside a network", f"write {network}"
    return None


def _escapes(path: str) -> bool:
    return ".." in path.split("/")


def repository(draft: Draft) -> Iterator[Finding]:
    """The repository's URL is one that Git reads without running anything."""
    url, signing = draft.pipeline.repository.url, draft.pipeline.repository.signing
    if wrong := wrong_url(url):
        yield Finding(("repository", "url"), *wrong)
    if match := _NO_BRANCH.search(draft.pipeline.repository.branch):
        yield Finding(("repository", "branch"), f"a branch cannot have `{match[0]}` there", "such as main")
    if signing and (_escapes(signing.ssh_key) or signing.ssh_key.startswith("-") or "\n" in signing.ssh_key):
        message = "this is not the path of a key"
        hint = "write it without `..`, such as ~/.ssh/gitops_ed25519"
        yield Finding(("repository", "signing", "sshKey"), message, hint)


def wrong_url(url: str) -> tuple[str, str] | None:
    """What is wrong with a repository's URL, and what to write; None if nothing is. Never shows the URL."""
    scheme, separator, rest = url.partition("://")
    host = rest.partition("/")[0]
    if url.startswith("-") or (separator and host.rpartition("@")[2].startswith("-")):
        return "a URL that starts with - would be an option of git", ""
    if "::" in url.partition("/")[0]:
        return "remote helpers (`ext::` and others) run programs and are not allowed", "use https, ssh or a path"
    if any(c.isspace() or not c.isprintable() for c in url):
        return "a URL has no spaces, line breaks or control characters", ""
    if separator and scheme not in _URL_SCHEMES:
        return "this kind of URL is not supported", f"use {listed(_URL_SCHEMES, 'or')}, or a path"
    if _escapes(rest if separator else url.rpartition(":")[2]):
        return "the path must not go up with `..`", "write the path out"
    return None
