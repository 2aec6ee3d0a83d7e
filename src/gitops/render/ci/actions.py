"""The GitHub actions that a workflow may use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Action(NamedTuple):
    """A GitHub action, pinned by the commit that its release is."""

    commit: str
    version: str


ACTIONS: Mapping[str, Action] = {
    "actions/checkout": Action("de0fac2e4500dabe0009e67214ff5f5447ce83dd", "v6.0.2"),
    "actions/setup-python": Action("a309ff8b426b58ec0e2a45f0f869d46889d02405", "v6.2.0"),
    "actions/upload-artifact": Action("b7c566a772e6b6bfb58ed0dc250532a479d7789f", "v6.0.0"),
    "actions/download-artifact": Action("37930b1c2abaa49bbe596cd826c3c89aef350131", "v7.0.0"),
    "hashicorp/setup-terraform": Action("5e8dbf3c6d9deaf4193ca7a8fb23f2ac83bb6c85", "v4.0.0"),
    "aws-actions/configure-aws-credentials": Action("8df5847569e6427dd6c4fb1cf565c83acfa8afa7", "v6.0.0"),
    "google-github-actions/auth": Action("7c6bc770dae815cd3e89ee6cdf493a5fab2cc093", "v3.0.0"),
    "azure/login": Action("a457da9ea143d694b1b9c7c869ebb04ebe844ef5", "v2.3.0"),
}
"""Every action that a workflow may use."""
