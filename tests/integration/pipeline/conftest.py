"""Lakehouses that sensors follow."""

import pytest

from tests.support.daemon import Daemon
from tests.support.lakehouse import Lakehouse


@pytest.fixture
def followed(built: Lakehouse) -> tuple[Lakehouse, Daemon]:
    """A lakehouse whose sensors have seen all that there is."""
    daemon = Daemon(built)
    daemon.settle()
    return built, daemon
