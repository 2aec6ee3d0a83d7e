"""AWS on loopback for Terraform: a moto server in a process of its own, with what moto lacks filled in.

moto serves EC2, IAM, S3, KMS, ECR, logs and STS; `eks_server` serves EKS. The process ends with its parent.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

REGION = "eu-west-1"

_OVERRIDE = """\
provider "aws" {
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_region_validation      = true
  s3_use_path_style           = true
  max_retries                 = 5
}
"""


class AwsServer:
    """A context manager around one server; every server starts empty."""

    def __init__(self, region: str = REGION) -> None:
        self.region = region
        self.url = ""
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> AwsServer:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.moto_aws", self.region],
            cwd=Path(__file__).resolve().parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "MOTO_IAM_LOAD_MANAGED_POLICIES": "true"},
            text=True,
        )
        assert self._process.stdout is not None
        port = self._process.stdout.readline().strip()
        if not port:
            raise RuntimeError("the moto server did not start; is moto[server] installed?")
        self.url = f"http://127.0.0.1:{port}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.communicate()

    @property
    def environment(self) -> dict[str, str]:
        """Variables that send Terraform, its provider and its S3 backend here, and nowhere else."""
        return {
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_SESSION_TOKEN": "",
            "AWS_PROFILE": "",
            "AWS_REGION": self.region,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL": self.url,
            "NO_PROXY": "127.0.0.1",
        }

    def override_tf(self) -> str:
        """Provider settings for an `*_override.tf` beside the rendered root, which never carries them itself."""
        return _OVERRIDE

    def client(self, service: str) -> Any:
        """A boto3 client, to look behind Terraform's back or to change things there."""
        import boto3

        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=self.region,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )


def _serve(region: str) -> None:
    """Serve on a free port, print it, and end when the parent closes our stdin."""
    import threading

    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server

    from tests.support.eks_server import EksServer

    _mend_launch_templates()
    moto, eks = DomainDispatcherApplication(create_backend_app), EksServer(region)

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if "/eks/aws4_request" in environ.get("HTTP_AUTHORIZATION", ""):
            return eks(environ, start_response)
        answer: Iterable[bytes] = moto(environ, start_response)
        return answer

    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=MotoRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    sys.stdin.read()


def _mend_launch_templates() -> None:
    """Two faults of moto that are differences in every plan.

    It echoes a template's own tags as part of what the template launches, and never shows a later change of them.
    """
    from moto.ec2.models import EC2Backend
    from moto.ec2.models.launch_templates import LaunchTemplate

    create = EC2Backend.create_launch_template

    def without_own_tags(self: Any, name: str, description: str, data: dict[str, Any], tags: Any) -> Any:
        specifications = data.get("TagSpecifications", [])
        kept = [entry for entry in specifications if entry["ResourceType"] != "launch-template"]
        return create(self, name, description, {**data, "TagSpecifications": kept}, tags)

    setattr(EC2Backend, create.__name__, without_own_tags)
    present_tags = property(LaunchTemplate.get_tags, lambda self, value: None)
    setattr(LaunchTemplate, "tags", present_tags)  # noqa: B010 the type checker knows it as an attribute


if __name__ == "__main__":
    _serve(sys.argv[1])
