"""Whose a live object is, in words."""

from __future__ import annotations

from gitops.values import Owner


def whose(found: Owner, pipeline: str, cluster: str) -> str:
    """To whom the marks of an object say that it belongs, for the `pipeline` that calls this cluster `cluster`."""
    if found.pipeline not in ("", pipeline):
        return f"belongs to pipeline {found.pipeline}"
    if found.cluster not in ("", cluster):
        return f"belongs to the cluster name {found.cluster}: two names lead to one place"
    if found.repository:
        return f"belongs to another GitOps repository ({found.repository}) of a pipeline {pipeline}"
    if found.pipeline:
        return f"is not in the history of this GitOps repository, though it carries the label of pipeline {pipeline}"
    return f"exists already and carries no label of pipeline {pipeline}"
