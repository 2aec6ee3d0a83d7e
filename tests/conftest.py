"""Fixtures for all tests, and their order."""

import pytest
from hypothesis import HealthCheck, settings

from tests.support.fixtures import (
    control_plane,
    control_plane_binaries,
    fault_proxy,
    model_servers,
    namespace,
    prometheus,
)

__all__ = ["control_plane", "control_plane_binaries", "fault_proxy", "model_servers", "namespace", "prometheus"]

# How fast a machine is, and what else it does, decides no test.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: begun last, each would keep one process busy when all others are done."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
