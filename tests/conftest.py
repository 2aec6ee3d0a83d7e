"""Fixtures for all tests."""

from tests.support.fixtures import (
    control_plane,
    control_plane_binaries,
    fault_proxy,
    model_servers,
    namespace,
    prometheus,
)

__all__ = ["control_plane", "control_plane_binaries", "fault_proxy", "model_servers", "namespace", "prometheus"]
