"""`gitops rbac`: what `gitops run` has to be allowed."""

from __future__ import annotations

import re
from pathlib import Path

from gitops.cli.console import OK, write
from gitops.cli.project import load
from gitops.errors import GitopsError

_LABEL = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")


def rbac(project: Path, cluster: str, account: str) -> int:
    """Print the roles and bindings of `gitops run` on a cluster."""
    from gitops.render.rbac import Account
    from gitops.render.rbac import rbac as rendered
    from gitops.spec.problems import suggestion

    spec = load(project)
    if cluster not in spec.clusters:
        hint = suggestion(cluster, spec.clusters, "cluster")
        raise GitopsError("there is no such cluster", where=cluster, hint=hint)
    namespace, _, name = account.partition("/")
    if not (_LABEL.fullmatch(namespace) and _LABEL.fullmatch(name)):
        raise GitopsError(f"{account!r} is not an account", where="--account", hint="write NAMESPACE/NAME")
    write(rendered(spec, cluster, Account(namespace, name)))
    return OK
