"""Access to a cluster that Terraform made: from its outputs, with a token (here a certificate) from `aws`."""

import base64
import json
import stat
from pathlib import Path

import pytest

from gitops.errors import GitopsError
from gitops.world.kubernetes.cluster import connect
from gitops.world.kubernetes.kubeconfig import write_eks_kubeconfig
from tests.support.controlplane import ControlPlane

CREDENTIAL = """\
#!/bin/sh
test "$*" = "eks get-token --cluster-name aws-production --region eu-west-1 --output json" || exit 3
cat {answer}
"""


def access(plane: ControlPlane) -> dict[str, str]:
    authority = plane.authority.files.certificate.read_bytes()
    return {
        "cluster_name": "aws-production",
        "cluster_endpoint": plane.url,
        "cluster_ca": base64.b64encode(authority).decode(),
        "region": "eu-west-1",
    }


@pytest.fixture
def aws_on_path(control_plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An `aws` that answers as `aws eks get-token` does, with a client certificate in the place of a token."""
    user = _user(control_plane)
    answer = tmp_path / "answer.json"
    status = {"clientCertificateData": user["certificate"], "clientKeyData": user["key"]}
    answer.write_text(
        json.dumps(
            {
                "kind": "ExecCredential",
                "apiVersion": "client.authentication.k8s.io/v1beta1",
                "spec": {},
                "status": status,
            }
        )
    )
    program = tmp_path / "bin" / "aws"
    program.parent.mkdir()
    program.write_text(CREDENTIAL.format(answer=answer))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    return program


def _user(plane: ControlPlane) -> dict[str, str]:
    import yaml

    config = yaml.safe_load(plane.kubeconfig_for("eks-user", ["system:masters"]).read_text())
    user = config["users"][0]["user"]
    return {
        "certificate": Path(user["client-certificate"]).read_text(),
        "key": Path(user["client-key"]).read_text(),
    }


@pytest.mark.controlplane
@pytest.mark.usefixtures("aws_on_path")
def test_the_outputs_lead_to_the_cluster(control_plane: ControlPlane, tmp_path: Path) -> None:
    path = write_eks_kubeconfig(tmp_path, "aws-production", access(control_plane))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    cluster = connect("aws-production", kubeconfig=path)
    try:
        assert cluster.compare([], {"gitops/pipeline": "none"}) == []
    finally:
        cluster.close()


@pytest.mark.controlplane
def test_without_the_aws_program_the_next_step_is_named(
    control_plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    path = write_eks_kubeconfig(tmp_path, "aws-production", access(control_plane))
    with pytest.raises(GitopsError) as error:
        connect("aws-production", kubeconfig=path).compare([], {"gitops/pipeline": "none"})
    assert "aws" in str(error.value)
