"""Staging views are made where they are missing, or where the project's files have changed."""

import shutil
from pathlib import Path

import pytest

from orders_lakehouse.warehouse import views
from orders_lakehouse.warehouse.views import record_views, stale_views
from tests.support.copies import Warehouse

pytestmark = pytest.mark.usefixtures("clean_settings")

ORDERS, PAYMENTS = "stg_lake__orders", "stg_lake__payments"


def make(warehouse: Warehouse, name: str) -> None:
    warehouse.run(f"CREATE VIEW staging.{name} AS SELECT 1 AS of_view")
    warehouse.run(
        f"INSERT INTO lake.lakehouse_objects VALUES ('staging', '{name}', 'staging.{name}'::regclass) "
        "ON CONFLICT (schema_name, object_name) DO UPDATE SET object_id = excluded.object_id"
    )


def test_missing_and_changed_views_are_stale(
    warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stale_views([]) == []
    assert stale_views([PAYMENTS, ORDERS]) == [ORDERS, PAYMENTS]
    make(warehouse, ORDERS)
    # A view of an earlier version of the lakehouse is not recorded.
    assert stale_views([ORDERS]) == [ORDERS]
    record_views([ORDERS, PAYMENTS])
    assert stale_views([PAYMENTS, ORDERS]) == [PAYMENTS]
    make(warehouse, PAYMENTS)
    assert stale_views([PAYMENTS, ORDERS]) == []

    staging = tmp_path / "staging"
    shutil.copytree(views._STAGING, staging)
    monkeypatch.setattr(views, "_STAGING", staging)
    assert stale_views([PAYMENTS, ORDERS]) == []
    (staging / f"{ORDERS}.sql").write_text("select 1")
    assert stale_views([PAYMENTS, ORDERS]) == [ORDERS]
    monkeypatch.undo()
    warehouse.run(f"DROP VIEW staging.{PAYMENTS}")
    assert stale_views([PAYMENTS, ORDERS]) == [PAYMENTS]
    warehouse.run("DROP VIEW staging.stg_lake__orders; TRUNCATE lake.loaded")
