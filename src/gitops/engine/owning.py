"""Whether Git shows that a live object is ours, where its own marks do not say enough."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

from gitops.engine.session import Session
from gitops.errors import GitopsError
from gitops.plan.stored import CLUSTERS
from gitops.render.check import files_of_kind, parse_manifest
from gitops.render.renderer import is_rendered
from gitops.values import ObjectRef
from gitops.world.ports import Difference


def settled_by_git(
    session: Session, head: str | None, cluster: str, found: Sequence[Difference], at_head: Collection[ObjectRef]
) -> list[Difference]:
    """The differences, without an `owner` where the history of `head` shows that the object is ours.

    `at_head` are the desired objects that `head` has. What is desired, carries no repository's mark and was never in
    Git is somebody else's.
    """
    doubtful = [one for one in found if one.owner and one.kind != "foreign" and one.ref not in at_head]
    ours = {*at_head, *_in_history(session, head, cluster, doubtful)}
    return [_settled(one, one.ref in ours) for one in found]


def _settled(one: Difference, ours: bool) -> Difference:
    if one.owner is None or one.kind == "foreign":
        return one
    if ours:
        return replace(one, owner=None)
    return one if one.kind == "surplus" else replace(one, kind="foreign")


def _in_history(
    session: Session, head: str | None, cluster: str, doubtful: Sequence[Difference]
) -> Iterator[ObjectRef]:
    """Those that a commit has described for this cluster."""
    if head is None or not doubtful:
        return
    repository = session.world.repository()
    directories = dict.fromkeys(f"{CLUSTERS}/{cluster}/{one.unit}".rstrip("/") for one in doubtful)
    names = {name for one in doubtful for name in files_of_kind(one.ref.kind)}
    past = repository.past(head, list(directories))
    ids = list(dict.fromkeys(id_ for path, some in past.items() if path.rpartition("/")[2] in names for id_ in some))
    for content in repository.read(ids):
        # What is no manifest any more, or was damaged by hand, describes nothing.
        with suppress(GitopsError):
            if is_rendered(content):
                yield ObjectRef.of(parse_manifest(content, cluster))
