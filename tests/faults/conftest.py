"""The user at a run root of the system tests."""

from tests.system.conftest import bench, own_checkout

__all__ = ["bench", "own_checkout"]
