"""Checks of `ci`: what may write shares no runner with what pull requests say."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gitops.spec.ci import Labels
from gitops.spec.documents import Finding
from gitops.spec.draft import Draft

_HOSTED = re.compile(r"(ubuntu|windows|macos)-[a-z0-9.-]+")


def runners(draft: Draft) -> Iterator[Finding]:
    """Jobs of pull requests and jobs that may write run on runners that no label of the one leads to the other."""
    ci = draft.pipeline.ci
    if ci is None:
        return
    trusted = {"gpu.registerRunner": ci.gpu.register_runner}
    if ci.write_runner is not None:
        trusted["writeRunner"] = ci.write_runner
    elif not is_hosted(ci.runner):
        message = "jobs that may write would run on this runner of yours, where pull requests run"
        yield Finding(("ci", "runner"), message, "add another for them, such as `writeRunner: [self-hosted, apply]`")
    for name, labels in trusted.items():
        for other, shared in {"runner": ci.runner, "gpu.runner": ci.gpu.runner}.items():
            if _may_be_one(labels, shared) and not is_hosted(labels):
                message = f"a runner with these labels may also be that of `ci.{other}`, where pull requests run"
                yield Finding(("ci", *name.split(".")), message, "give each a label that the other does not have")


def is_hosted(labels: Labels) -> bool:
    """Whether GitHub makes a new machine for each job on this runner."""
    return len(labels) == 1 and _HOSTED.fullmatch(labels[0]) is not None


def _may_be_one(one: Labels, other: Labels) -> bool:
    """A runner takes a job when it has all of the job's labels, so it also takes jobs that ask for fewer."""
    return set(one) <= set(other) or set(other) <= set(one)
