"""A lake on disk and one in a bucket."""

from pathlib import Path

import pytest

from orders_lakehouse.delta.tables import Lake


@pytest.fixture(params=["disk", "s3"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake") if request.param == "disk" else request.getfixturevalue("bucket"), "UTC")
