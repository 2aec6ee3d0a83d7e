"""A kubeconfig for an EKS cluster that Terraform made, from the root's outputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import orjson

from gitops.world.files import write_atomically


def eks_kubeconfig(name: str, access: Mapping[str, str]) -> bytes:
    """JSON (which is YAML) for one context named `name`; tokens come from `aws eks get-token` when they are needed.

    `access` has cluster_name, cluster_endpoint, cluster_ca (base64) and region. No credential is in it.
    """
    arguments = ["eks", "get-token", "--cluster-name", access["cluster_name"], "--region", access["region"]]
    command = {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "command": "aws",
        "args": [*arguments, "--output", "json"],
        "interactiveMode": "Never",
        "installHint": "install the AWS CLI, or give the cluster a kubeconfig context",
    }
    server = {"server": access["cluster_endpoint"], "certificate-authority-data": access["cluster_ca"]}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": server}],
        "users": [{"name": name, "user": {"exec": command}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2)


def write_eks_kubeconfig(folder: Path, name: str, access: Mapping[str, str]) -> Path:
    """Write it below `folder`, readable by the owner only; its path."""
    path = folder / f"{name}.kubeconfig"
    write_atomically(path, eks_kubeconfig(name, access), mode=0o600)
    return path
