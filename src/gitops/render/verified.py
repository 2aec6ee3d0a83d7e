"""Whether a Deployment still refuses files of another digest than the artifact's, where its template is not ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gitops.errors import GitopsError
from gitops.values import Manifest

CONTAINER = "verify-model"


def check_verified(manifest: Manifest, context: Mapping[str, Any], where: str) -> None:
    """Raise GitopsError unless the pods' last init container checks what the server then reads, and only reads.

    `context` is what the Deployment was rendered from (`context.model_context`).
    """
    if not context["fetches"]:
        return
    try:
        problem = next(_problems(manifest["spec"]["template"]["spec"], context), "")
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        problem = f"the Deployment is incomplete or malformed ({type(error).__name__}: {error})"
    if problem:
        raise GitopsError(
            f"pods of this template would serve files that were not verified: {problem}",
            where=where,
            hint=f"keep the init container {CONTAINER} as it is in the template that comes with gitops",
        )


def _problems(pod: Mapping[str, Any], context: Mapping[str, Any]) -> Iterator[str]:
    last = pod["initContainers"][-1]
    if last["name"] != CONTAINER:
        yield f"the last init container is {last['name']}, not {CONTAINER}"
    expected = {
        "image": context["fetch_image"],
        "command": ["/bin/sh", "-c", context["verify_script"], CONTAINER],
        "args": context["verified"],
    }
    for field, value in expected.items():
        if last.get(field) != value:
            yield f"{CONTAINER} has another {field}"
    # PATH chooses the programs of the script; a restart policy would let the server start beside it.
    for field in ("env", "envFrom", "restartPolicy", "lifecycle"):
        if last.get(field):
            yield f"{CONTAINER} sets {field}"
    checked = _volume(last, context["models_dir"])
    if not any(_volume(one, context["models_path"]) == checked for one in pod["containers"]):
        yield f"no container serves the volume {checked}, which is the one that is checked"
    for container in pod["containers"]:
        for mount in container.get("volumeMounts", ()):
            if mount["name"] == checked and mount.get("readOnly") is not True:
                yield f"the container {container['name']} may write to the volume {checked}"


def _volume(container: Mapping[str, Any], path: str) -> str:
    """The name of the volume that is mounted at the path; empty where there is none."""
    mounts = container.get("volumeMounts", ())
    return next((str(mount["name"]) for mount in mounts if mount["mountPath"] == path and "subPath" not in mount), "")
