"""`gitops diff` and a no-change `gitops apply` on a real control plane, beside `kubectl diff` of its own version."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.commit import commit_everything
from benchmarks.harness import Figure, Setting
from benchmarks.synthetic import write_project
from gitops.plan.objects import phase_of
from gitops.render.check import parse_manifest
from gitops.values import Owner
from gitops.world.kubernetes.cluster import connect

KUBECTL_OBJECTS = 500
"""`kubectl diff` takes many minutes for all of them; its time grows in proportion to their number."""
SETTLE_SECONDS = 20
_WRITES = "POST|PUT|PATCH|DELETE"


def measure(setting: Setting) -> Iterator[Figure]:
    """See the module."""
    from tests.support.controlplane import ControlPlane, Unavailable, binaries

    try:
        plane = ControlPlane.start(setting.directory / "plane")
    except Unavailable as error:
        yield Figure("live", "skipped", 0, 0, note=str(error))
        return
    with plane:
        plane.install_crds()
        project = setting.directory / "project"
        write_project(project, max(setting.objects // 8, 5), context=plane.context)
        committed = commit_everything(project)
        files = dict(sorted(committed.files.items()))
        manifests = {path: content for path, content in files.items() if path.startswith("clusters/")}
        setting.report(f"live: creating {len(manifests):,} objects")
        _create(plane.context, plane.kubeconfig, manifests, committed.owner)
        time.sleep(SETTLE_SECONDS)
        os.environ["KUBECONFIG"] = str(plane.kubeconfig)
        try:
            yield from _ours(setting, project, len(manifests))
            yield from _writes(setting, project, plane)
            some = dict(list(manifests.items())[:KUBECTL_OBJECTS])
            yield from _kubectl(setting, binaries().path("kubectl"), some, len(manifests))
        finally:
            del os.environ["KUBECONFIG"]


def _create(context: str, kubeconfig: Path, files: dict[str, bytes], owner: Owner) -> None:
    """Server-side apply as apply does it, but without waiting for any model to become ready."""
    manifests = [parse_manifest(content, path) for path, content in files.items()]
    cluster = connect(context, kubeconfig=kubeconfig, owner=lambda: owner)
    with ThreadPoolExecutor(8) as pool:
        for phase in sorted({phase_of(manifest) for manifest in manifests}):
            list(pool.map(cluster.apply, [manifest for manifest in manifests if phase_of(manifest) == phase]))
    cluster.close()


def _ours(setting: Setting, project: Path, count: int) -> Iterator[Figure]:
    diff = setting.gitops("diff", project=project, repeat=2)
    note = f"{count:,} objects, nothing changed"
    yield Figure("live", "gitops diff", diff.cpu, diff.wall, diff.memory, "a tenth of kubectl diff", note)
    apply = setting.gitops("apply", "--yes", project=project, repeat=2)
    yield Figure("live", "gitops apply", apply.cpu, apply.wall, apply.memory, "no longer than diff", note)


def _writes(setting: Setting, project: Path, plane: object) -> Iterator[Figure]:
    """Once more through a proxy that counts: only reads and dry runs may pass."""
    from tests.support.controlplane import ControlPlane
    from tests.support.faultproxy import FaultProxy

    assert isinstance(plane, ControlPlane)
    with FaultProxy.start(plane) as proxy:
        kubeconfig = proxy.write_kubeconfig(setting.directory / "proxied")
        kubeconfig.write_text(kubeconfig.read_text().replace(proxy.context, plane.context))
        os.environ["KUBECONFIG"] = str(kubeconfig)
        cost = setting.gitops("apply", "--yes", project=project, repeat=1)
        seen = proxy.requests
        writes = [r for r in seen if r.method in _WRITES.split("|") and "dryRun" not in r.query]
        dry = sum("dryRun" in r.query for r in seen)
        note = f"{len(seen)} requests, {dry} dry runs, {len(writes)} writes"
        yield Figure("live", "gitops apply, requests counted", cost.cpu, cost.wall, goal="no write", note=note)
    os.environ["KUBECONFIG"] = str(plane.kubeconfig)


def _kubectl(setting: Setting, program: Path, files: dict[str, bytes], count: int) -> Iterator[Figure]:
    folder = setting.directory / "manifests"
    folder.mkdir()
    for number, content in enumerate(files.values()):
        (folder / f"{number}.yaml").write_bytes(content)
    command = [str(program), "diff", "--server-side", "--field-manager=gitops", "-f", str(folder)]
    cost = setting.best(command, repeat=1)
    note = f"{len(files):,} objects; {cost.wall * count / len(files):.0f} s for {count:,} at that pace (extrapolated)"
    yield Figure("live", "peer: kubectl diff --server-side", cost.cpu, cost.wall, cost.memory, note=note)
