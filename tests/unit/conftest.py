"""The engines that transformations run on."""

import pytest

from tests.support.frames import ENGINES, Lazily, on_duckdb, on_polars


@pytest.fixture(scope="session", params=ENGINES)
def lazily(request: pytest.FixtureRequest) -> Lazily:
    """Return a function that makes lazy frames of the engine under test."""
    return on_polars if request.param == "polars" else on_duckdb()
