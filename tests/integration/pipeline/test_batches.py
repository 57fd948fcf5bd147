"""Wide rows and large dates: what is in memory at once is bounded, and what cannot be bounded says what it needs."""

import io
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from orders_lakehouse import definitions
from orders_lakehouse.calendar import Calendar
from orders_lakehouse.cli.backfill import run_span
from orders_lakehouse.defs.assets.cleansed import cleansed_assets
from orders_lakehouse.defs.metadata import key_of
from orders_lakehouse.delta import batches, commits, row_widths, writer
from orders_lakehouse.delta.batches import Batch
from orders_lakehouse.delta.row_widths import counted_rows
from orders_lakehouse.delta.table_files import files_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.customers import CUSTOMERS, RAW_CUSTOMERS
from orders_lakehouse.entities.orders import ORDERS, RAW_ORDERS
from orders_lakehouse.pipeline.batches import batches_by_versions
from orders_lakehouse.pipeline.capture import capture
from orders_lakehouse.warehouse import replace_rows as loading
from orders_lakehouse.warehouse.load import load
from tests.support.copies import COPY, Warehouse, line
from tests.support.rows import at, on, rows
from tests.support.terminal import Terminal

DAY = on("2020-03-02")
NEXT = DAY + timedelta(days=1)
UTC_FROM_2017 = Calendar(on("2017-01-01"), "UTC")
IDENTITY = ("order_id", "updated_at")

pytestmark = pytest.mark.usefixtures("clean_settings")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"), "UTC")


def wide(number: int, width: int = 30_000) -> str:
    return f"{number:09}" * (width // 9)


class TestWhatDatesCountFor:
    def test_wide_row_counts_as_several_and_unread_columns_as_none(self, lake: Lake) -> None:
        few = [{"customer_id": f"c{number}", "address": wide(number)} for number in range(20)]
        lake.insert_new(RAW_CUSTOMERS, rows(RAW_CUSTOMERS, *few), ("customer_id", "updated_at"))
        ordinary = [{"customer_id": f"d{number}", "captured_on": NEXT} for number in range(20)]
        lake.insert_new(RAW_CUSTOMERS, rows(RAW_CUSTOMERS, *ordinary), ("customer_id", "updated_at"))
        orders = rows(RAW_ORDERS, *({"order_id": f"o{number}"} for number in range(20)))
        notes = pl.DataFrame({"note": [wide(number) for number in range(20)]})
        capture(lake, RAW_ORDERS, orders, UTC_FROM_2017, notes)

        found = counted_rows(lake.open(RAW_CUSTOMERS), RAW_CUSTOMERS)
        assert found.select("date", "rows").rows() == [(DAY, 20), (NEXT, 20)]
        assert 20 * 50 < found["counted"][0] < 20 * 100
        assert found["counted"][1] == 20
        without = counted_rows(lake.open(RAW_CUSTOMERS), RAW_CUSTOMERS, ["customer_id", "full_name"])
        assert without["counted"].to_list() == [20, 20]
        assert counted_rows(lake.open(RAW_ORDERS), RAW_ORDERS)["counted"].to_list() == [20]

    def test_ordinary_rows_are_counted_from_the_log_alone(self, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
        orders = rows(RAW_ORDERS, *({"order_id": f"o{number}"} for number in range(1_000)))
        lake.insert_new(RAW_ORDERS, orders, IDENTITY)
        monkeypatch.setattr(row_widths, "_bytes_of_file", lambda *_, **__: pytest.fail("a footer was read"))
        assert counted_rows(lake.open(RAW_ORDERS), RAW_ORDERS)["counted"].to_list() == [1_000]

    def test_missing_file_counts_its_rows(self, lake: Lake) -> None:
        lake.insert_new(RAW_CUSTOMERS, rows(RAW_CUSTOMERS, {"address": wide(1)}), ("customer_id", "updated_at"))
        (file,) = Path(lake.url, "raw/customers").rglob("*.parquet")
        file.unlink()
        assert counted_rows(lake.open(RAW_CUSTOMERS), RAW_CUSTOMERS)["counted"].to_list() == [1]

    def test_dates_with_wide_rows_are_separate_batches(self, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(batches, "_MOST_ROWS", 1_000)
        days = [DAY + timedelta(days=number) for number in range(4)]
        for number, day in enumerate(days):
            some = [
                {"customer_id": f"c{one}", "captured_on": day, "address": wide(one) if number == 1 else "Street 1"}
                for one in range(20)
            ]
            lake.insert_new(RAW_CUSTOMERS, rows(RAW_CUSTOMERS, *some), ("customer_id", "updated_at"))
        found = batches_by_versions(lake, CUSTOMERS, DAY, days[-1])
        assert [portion.span for portion in found] == [(DAY, DAY), (NEXT, NEXT), (days[2], days[3])]
        assert [portion.counted for portion in found if portion.span != (NEXT, NEXT)] == [20, 40]


class TestInserting:
    def test_large_date_is_scanned_without_holding_its_rows(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The same comes out, whether all rows of the dates are compared or those alike alone."""
        changes: list[list[dict[str, Any]]] = [
            [{"order_id": f"o{number}"} for number in range(5)],
            [{"order_id": "o1"}, {"order_id": "new"}],
            [{"order_id": "o2", "status": "shipped", "captured_at": at("2020-03-03 00:00")}],
            # As it was before, and twice at once.
            [{"order_id": "o2", "captured_at": at("2020-03-04 00:00")}],
            [{"order_id": "o3", "captured_at": at("2020-03-05 00:00")}] * 2,
            [{"order_id": None}, {"order_id": "o4", "captured_on": NEXT}],
            [{"order_id": None}, {"order_id": "o4", "captured_on": NEXT}],
        ]
        found = []
        for far_more in (1_000, 0):
            lake = Lake(str(tmp_path / str(far_more)), "UTC")
            monkeypatch.setattr(writer, "_FAR_MORE", far_more)
            new = []
            for change in changes:
                frame = rows(RAW_ORDERS, *change)
                new.append(lake.insert_new(RAW_ORDERS, frame, IDENTITY))
                assert lake.present(RAW_ORDERS, frame, IDENTITY).equals(frame)
            stored = lake.scan(RAW_ORDERS).to_native().collect()
            found.append((new, stored.sort("captured_on", "order_id", "captured_at").rows()))
        assert found[0] == found[1]
        assert found[0][0] == [5, 1, 1, 1, 2, 2, 0]

    def test_many_rows_are_written_piece_by_piece(self, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(commits, "_IN_PIECES", 4)
        monkeypatch.setattr(commits, "_PIECE_ROWS", 3)
        frame = rows(RAW_ORDERS, *({"order_id": f"o{number}", "status": None} for number in range(10)))
        assert lake.insert_new(RAW_ORDERS, frame, IDENTITY) == 10
        stored = lake.scan(RAW_ORDERS).to_native().collect()
        assert stored.sort("order_id").equals(frame.sort("order_id"))
        assert files_of(lake.open(RAW_ORDERS), RAW_ORDERS)["rows"].to_list() == [10]


def test_large_date_is_copied_to_the_warehouse_piece_by_piece(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "row_limit", lambda _: 3)
    ingested = []
    ingest = loading.ingest

    def counted(cursor: Any, target: str, given: pl.DataFrame, *more: Any, **how: Any) -> None:
        ingested.append((target, given.height))
        ingest(cursor, target, given, *more, **how)

    monkeypatch.setattr(loading, "ingest", counted)
    copy = COPY["order_lines"]
    many = [{**line(DAY), "order_id": f"o{number}", "product_id": f"p{number % 2}"} for number in range(10)]
    warehouse.write(copy.table, DAY, NEXT, *many, line(NEXT))
    assert load(warehouse.lake, copy).rows == 11
    assert warehouse.query("SELECT count(*), count(DISTINCT order_id) FROM lake.order_lines")[0][0] == 11
    assert max(height for target, height in ingested if target != "changed_keys") <= 3
    listed, standing = warehouse.keys("order_lines", "product_id")
    assert listed == standing


def test_backfill_announces_the_memory_of_a_date(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    monkeypatch.setenv("LAKEHOUSE_MEMORY_GB", "1")
    monkeypatch.setattr(batches, "_ALONE_BYTES", 1_000_000_000)
    orders = [{"order_id": f"o{number}", "ordered_at": at("2020-03-02 09:00")} for number in range(3)]
    capture(lake, RAW_ORDERS, rows(RAW_ORDERS, *orders), UTC_FROM_2017)
    (asset,) = [made for made in cleansed_assets if made.key == key_of(ORDERS)]
    job = dg.define_asset_job("cleanse_job", selection=dg.AssetSelection.assets(asset))
    defs = dg.Definitions(assets=[asset], jobs=[job], resources={"lake": lake})
    monkeypatch.setattr(definitions, "defs", defs)
    out = io.StringIO()
    assert run_span("cleanse_job", DAY, NEXT, out).success
    told = out.getvalue().splitlines()
    (number,) = [number for number, said in enumerate(told) if "LAKEHOUSE_MEMORY_GB" in said]
    assert (
        "2020-03-02 has 3 rows of raw/orders: to derive cleansed/orders from them takes about 3.7 GB, and "
        "LAKEHOUSE_MEMORY_GB allows 1.0. A date is not divided, so the run goes on and takes this memory."
    ) in told[number]
    assert "LAKEHOUSE_MEMORY_GB=4" in told[number]
    assert told[number + 1].split()[0] == "cleansed/orders"


def test_largest_of_several_dates_is_named(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEHOUSE_MEMORY_GB", "1")
    lake.insert_new(RAW_ORDERS, rows(RAW_ORDERS, {"captured_on": NEXT}), IDENTITY)
    found = [Batch((day, day), counted) for day, counted in ((DAY, 500_000), (NEXT, 2_000_000))]
    said = batches.memory_warning(lake, ORDERS, RAW_ORDERS, found)
    assert said is not None
    assert said.startswith(f"{NEXT} has 1 rows of raw/orders: to derive cleansed/orders from them takes about 2.1 GB")
    assert "1 other dates need more than that, too." in said
    assert batches.memory_warning(lake, ORDERS, RAW_ORDERS, [Batch((DAY, NEXT), 300_000)]) is None


_WIDE_SHOP = """
    ALTER TABLE shop.orders ADD note text;
    INSERT INTO shop.customers (customer_id, full_name, country_code, updated_at)
    SELECT 'c' || n, 'Name ' || n, 'DE', '2017-01-01' FROM generate_series(1, 1000) AS n;
    INSERT INTO shop.products (product_id, product_name, category, unit_price, currency, updated_at)
    SELECT 'p' || n, 'Product ' || n, 'Food', 9.99, 'EUR', '2017-01-01' FROM generate_series(1, 100) AS n;
    INSERT INTO shop.orders (order_id, customer_id, ordered_at, status, currency, updated_at, note)
    SELECT 'o' || n, 'c' || 1 + n % 1000, at, 'paid', 'EUR', at, repeat(md5(n::text), 900)
    FROM generate_series(1, 20000) AS n, LATERAL (
        SELECT timestamptz '2017-01-01 09:00+00' + n % 20 * interval '1 day' AS at
    ) AS placed;
    INSERT INTO shop.order_items
    SELECT order_id, line, 'p' || line, 1, 9.99, 0, updated_at, NULL FROM shop.orders, generate_series(1, 3) AS line;
"""


@pytest.mark.thorough
def test_wide_orders_take_no_more_memory_than_they_may(terminal: Terminal) -> None:
    terminal.inspect().shop(_WIDE_SHOP)
    process = terminal.start(
        "backfill", "2017-01-01", "2017-01-20", log=terminal.home.parent / "log", LAKEHOUSE_MEMORY_GB="1"
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, (terminal.home.parent / "log").read_text()
    # 20,000 notes of 28.8 kB are 0.58 GB; all of them at once took 1.14 GB.
    assert used.ru_maxrss * 1024 < 900_000_000
    assert terminal.inspect().lake_rows(ORDERS).height == 20_000
