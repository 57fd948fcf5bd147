"""A lake on disk, or in a bucket."""

from pathlib import Path

import pytest

from orders_lakehouse.delta.tables import Lake


@pytest.fixture
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    """Return a lake on disk, or in a bucket if the test's parameter says so."""
    is_on_s3 = getattr(request, "param", "disk") == "s3"
    return Lake(request.getfixturevalue("bucket") if is_on_s3 else str(tmp_path / "lake"), "UTC")
