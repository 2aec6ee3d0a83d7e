"""Read what a plan is computed from: first what Git holds in outline, then only the files that may change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from gitops.errors import GitopsError
from gitops.plan.desired import Wanted, blobs_to_read
from gitops.plan.model import FileChange
from gitops.plan.observed import Entry
from gitops.plan.records import absent_paths, candidates, read_absent, read_records
from gitops.plan.registered import Registrations, VersionKey
from gitops.plan.stored import CLUSTERS, RELEASES, TERRAFORM, Stored
from gitops.rollout.absent import APPROVALS, REMOVED
from gitops.rollout.registration import Registration, parse_registration, registration_path
from gitops.world.ports import Repository

_MANY_DIRECTORIES = 12
"""From here on one listing of everything is cheaper than one Git process for each directory."""


def read_stored(repository: Repository, known: Stored | None = None) -> Stored:
    """The repository's outline at its present head; `known` itself when that is still the head."""
    head = repository.head()
    if head is None:
        return Stored(None)
    if known is not None and known.head == head:
        return known
    entries = repository.entries(head, RELEASES, TERRAFORM, REMOVED, APPROVALS)
    found = candidates(entries)
    texts = repository.read([entry.id for entry in found.entries.values()])
    records = read_records(dict(zip(found.entries, texts, strict=True)))
    kept = absent_paths(entries)
    absent = read_absent(dict(zip(kept, repository.read([entry.id for entry in kept.values()]), strict=True)))
    directories: dict[str, str] = {}
    loose = {path: entry for path, entry in _files(entries).items() if path.startswith(f"{TERRAFORM}/")}
    for path, entry in _units(repository, head).items():
        if entry.kind == "tree":
            directories[path] = entry.id
        else:
            loose[path] = entry
    return Stored(
        head,
        MappingProxyType(records.releases),
        MappingProxyType({unit: found.entries[unit].id for unit in records.releases}),
        MappingProxyType(directories),
        MappingProxyType(loose),
        MappingProxyType({**absent.damaged, **found.damaged, **records.damaged}),
        MappingProxyType(absent.removed),
        MappingProxyType(absent.consents),
    )


def read_registrations(
    repository: Repository, head: str | None, asked: Iterable[VersionKey]
) -> tuple[Registrations, dict[VersionKey, str]]:
    """Those of these versions that are registered at a commit, and why the registrations of others cannot be read."""
    paths = {registration_path(*key): key for key in asked}
    if head is None or not paths:
        return {}, {}
    directories = {path.rpartition("/")[0] for path in paths}
    entries = {path: entry for path, entry in repository.entries(head, *sorted(directories)).items() if path in paths}
    files = {path: entry for path, entry in entries.items() if entry.kind == "blob"}
    known: dict[VersionKey, Registration] = {}
    damaged = {paths[path]: f"{path} is no file" for path in entries if path not in files}
    for path, text in zip(files, repository.read([entry.id for entry in files.values()]), strict=True):
        try:
            one = parse_registration(text, path)
        except GitopsError as error:
            damaged[paths[path]] = str(error)
            continue
        if paths[path] == (one.model, one.version):
            known[paths[path]] = one
        else:
            damaged[paths[path]] = f"{path} holds the registration of {one.model} {one.version}"
    return known, damaged


def read_existing(
    repository: Repository, stored: Stored, wanted: Wanted, *, loose: bool = True
) -> tuple[dict[str, Entry], dict[str, bytes]]:
    """The files that the repository has where something may change, and the texts that comparing them needs.

    Without `loose` only what lies in units' directories counts.
    """
    if stored.head is None:
        return {}, {}
    existing = dict(stored.loose) if loose else {}
    if len(wanted.directories) > _MANY_DIRECTORIES:
        within = set(wanted.directories)
        everything = repository.entries(stored.head, CLUSTERS)
        existing |= {p: e for p, e in _files(everything).items() if "/".join(p.split("/", 4)[:4]) in within}
    else:
        for directory in wanted.directories:
            existing |= _files(repository.entries(stored.head, directory))
    ids = blobs_to_read(wanted, existing)
    return existing, dict(zip(ids, repository.read(ids), strict=True))


def read_cluster_files(
    repository: Repository, head: str | None, cluster: str, changed: Iterable[FileChange]
) -> dict[str, bytes]:
    """Every file for one cluster as it will be once `changed` is committed."""
    prefix = f"{CLUSTERS}/{cluster}"
    files: dict[str, bytes] = {}
    overlay = {change.path: change.content for change in changed if change.path.startswith(prefix + "/")}
    if head is not None:
        entries = {p: e for p, e in repository.entries(head, prefix).items() if e.kind == "blob" and p not in overlay}
        files = dict(zip(entries, repository.read([e.id for e in entries.values()]), strict=True))
    files.update({path: content for path, content in overlay.items() if content is not None})
    return files


def read_files(repository: Repository, commit: str | None, paths: Sequence[str]) -> dict[str, bytes]:
    """The files at that commit that have one of these paths, or lie below one of them."""
    if commit is None or not paths:
        return {}
    wanted, below = frozenset(paths), tuple(f"{path}/" for path in paths)
    directories = dict.fromkeys(path.rpartition("/")[0] if path.endswith(".yaml") else path for path in paths)
    if len(directories) > _MANY_DIRECTORIES:
        directories = {"/".join(next(iter(directories)).split("/")[:2]): None}
    found = _files(repository.entries(commit, *directories))
    chosen = {path: entry for path, entry in found.items() if path in wanted or path.startswith(below)}
    return dict(zip(chosen, repository.read([entry.id for entry in chosen.values()]), strict=True))


def _files(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Everything but the directories themselves."""
    return {path: entry for path, entry in entries.items() if entry.kind != "tree"}


def _units(repository: Repository, head: str) -> dict[str, Entry]:
    """What lies in `clusters/<cluster>/<environment>/`, one Git process for each level."""
    level = {CLUSTERS: Entry("040000", "tree", "")}
    for _ in ("clusters", "environments", "units"):
        trees = [path for path, entry in level.items() if entry.kind == "tree"]
        level = repository.entries(head, *trees, recursive=False) if trees else {}
    return level
