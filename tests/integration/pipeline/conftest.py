"""Lakehouses that sensors follow."""

import pytest

from tests.support.daemon import Daemon
from tests.support.lakehouse import Lakehouse


@pytest.fixture
def followed(built: Lakehouse) -> tuple[Lakehouse, Daemon]:
    """Return a lakehouse whose sensors have seen every change."""
    daemon = Daemon(built)
    daemon.settle()
    return built, daemon
