"""A lake on disk, where the command looks for it."""

from pathlib import Path

import pytest

from orders_lakehouse.delta.tables import Lake


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"), "UTC")
