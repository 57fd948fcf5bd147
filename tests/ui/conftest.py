"""A UI on a small shop, and a browser, for all tests of the session."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from adbc_driver_postgresql import dbapi

from orders_lakehouse.sample_shop.edge_cases import edge_cases
from tests.support.browser import Browser, BrowserError, browser, executable
from tests.support.lakehouse import SHOP_SCHEMA
from tests.support.ui import SHOP, LakehouseWithUI
from tests.support.webserver import webserver_on


@pytest.fixture(scope="session")
def lakehouse(
    tmp_path_factory: pytest.TempPathFactory, postgres_url_factory: Callable[[str], str]
) -> Iterator[LakehouseWithUI]:
    if executable() is None:
        pytest.skip("Chromium is not installed; on Debian: apt-get install chromium")
    home, shop, warehouse = (
        tmp_path_factory.mktemp("ui"),
        postgres_url_factory("shop"),
        postgres_url_factory("warehouse"),
    )
    own = {"LAKEHOUSE_HOME": str(home), "SHOP_DATABASE_URL": shop, "WAREHOUSE_DATABASE_URL": warehouse}
    with dbapi.connect(shop) as connection, connection.cursor() as cursor:
        cursor.executescript(SHOP_SCHEMA + edge_cases() + SHOP)
        connection.commit()
    with webserver_on(home, shop, warehouse, LAKEHOUSE_START_DATE="2017-01-01") as server:
        yield LakehouseWithUI(server, shop, {**os.environ, **own})


@pytest.fixture(scope="session")
def session_tab(lakehouse: LakehouseWithUI) -> Iterator[Browser]:
    with browser() as tab:
        tab.open(lakehouse.url, "Catalog")
        yield tab


@pytest.fixture
def tab(session_tab: Browser, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Browser]:
    """Provide a browser, and keep a picture of the page on which a test fails."""
    failed_before = request.session.testsfailed
    yield session_tab
    if request.session.testsfailed > failed_before:
        picture = tmp_path / f"{request.node.name}.png"
        with suppress(BrowserError):
            picture.write_bytes(session_tab.picture())
            print(f"The page at the failure: {picture}")
