"""Fixtures for all tests, and their order."""

import pytest

from tests.support.fixtures import (
    control_plane,
    control_plane_binaries,
    fault_proxy,
    model_servers,
    namespace,
    prometheus,
)

__all__ = ["control_plane", "control_plane_binaries", "fault_proxy", "model_servers", "namespace", "prometheus"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: begun last, each would keep one process busy when all others are done."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
