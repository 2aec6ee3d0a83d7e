"""Fixtures for all tests."""

from tests.support.fixtures import control_plane, control_plane_binaries, fault_proxy, namespace

__all__ = ["control_plane", "control_plane_binaries", "fault_proxy", "namespace"]
