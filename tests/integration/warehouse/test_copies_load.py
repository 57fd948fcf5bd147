"""Copies of lake tables in a real Postgres: whatever happened, the copy is what its table is."""

import dataclasses
import itertools
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import narwhals as nw
import polars as pl
import pytest
from adbc_driver_postgresql import dbapi

from orders_lakehouse.curated.order_lines import ORDER_LINES
from orders_lakehouse.entities.orders import ORDERS
from orders_lakehouse.entities.payments import PAYMENTS
from orders_lakehouse.pipeline.stored_calendar import days_with_holidays
from orders_lakehouse.postgres.connections import DatabaseError, DatabaseUnavailableError
from orders_lakehouse.warehouse import replace_rows as loading
from orders_lakehouse.warehouse.calendar import load_calendar
from orders_lakehouse.warehouse.copies import COPIES, Copy
from orders_lakehouse.warehouse.facts import unbuilt_dates
from orders_lakehouse.warehouse.load import Loaded, load, load_all, loaded_versions
from tests.support.copies import COPY, DAYS, Warehouse, line, load_lines
from tests.support.rows import at, on, rows

pytestmark = pytest.mark.usefixtures("clean_settings")


@pytest.mark.parametrize("copy", COPIES, ids=lambda copy: copy.name)
def test_first_load_copies_every_row_with_its_values(warehouse: Warehouse, copy: Copy) -> None:
    partition = str(copy.table.partitioned_by)
    nullable = [name for name, kind in copy.columns.items() if not kind.endswith("NOT NULL")]
    given = [{copy.table.key[0]: f"k{number}", partition: day} for number, day in enumerate(DAYS)]
    given.append({copy.table.key[0]: "nothing", partition: DAYS[0], **dict.fromkeys(nullable)})
    warehouse.write(copy.table, DAYS[0], DAYS[-1], *given)
    done = load(warehouse.lake, copy)
    assert (done.rows, done.dates) == (6, None)
    assert done.version == warehouse.lake.open(copy.table).version()
    expected = warehouse.lake.scan(copy.table).to_native().collect().select(list(copy.types))
    with dbapi.connect(warehouse.url) as connection, connection.cursor() as cursor:
        decimals = {name for name, dtype in expected.schema.items() if isinstance(dtype, pl.Decimal)}
        names = ", ".join(f"{name}::text AS {name}" if name in decimals else name for name in expected.columns)
        cursor.execute("SET TIME ZONE 'UTC'")
        cursor.execute(f"SELECT {names} FROM lake.{copy.name}")
        found = pl.DataFrame(cursor.fetch_arrow_table()).cast(dict(expected.schema))
    assert found.sort(copy.table.key).equals(expected.sort(copy.table.key))


def test_tombstones_are_copied_for_dimensions_only(warehouse: Warehouse) -> None:
    for name in ("orders", "payments", "customers", "products"):
        table = COPY[name].table
        day = {str(table.partitioned_by): DAYS[0]}
        warehouse.write(table, DAYS[0], DAYS[0], day, {**day, table.key[0]: "gone", "is_deleted": True})
        expected = 2 if name in ("customers", "products") else 1
        assert load(warehouse.lake, COPY[name]).rows == expected
        assert warehouse.query(f"SELECT count(*) FROM lake.{name}") == [(expected,)]


def test_second_load_copies_nothing(warehouse: Warehouse) -> None:
    warehouse.lines(*DAYS)
    first = load_lines(warehouse)
    assert load_lines(warehouse) == Loaded(rows=0, dates=0, version=first.version)
    assert warehouse.copied() == {day: [2] for day in DAYS}


@pytest.mark.parametrize("missing", ["lake.order_lines_by_product_id", "lake.order_lines"])
def test_copy_with_a_missing_table_is_loaded_whole(warehouse: Warehouse, missing: str) -> None:
    warehouse.lines(*DAYS)
    load_lines(warehouse)
    warehouse.run(f"DROP TABLE {missing} CASCADE")
    done = load_lines(warehouse)
    assert (done.rows, done.dates) == (5, None)
    listed, standing = warehouse.keys("order_lines", "product_id")
    assert listed == standing
    assert sum(listed.values()) == 5


def test_copy_of_payments_refuses_one_without_an_order(warehouse: Warehouse) -> None:
    warehouse.write(PAYMENTS, DAYS[0], DAYS[0], {"payment_id": "p", "order_date": DAYS[0], "order_id": None})
    with pytest.raises(DatabaseError, match='null value in column "order_id"'):
        load(warehouse.lake, COPY["payments"])


def test_copy_refuses_nulls_where_its_contract_does(warehouse: Warehouse) -> None:
    warehouse.lines(*DAYS)
    before = load_lines(warehouse)
    warehouse.write(ORDER_LINES, DAYS[0], DAYS[0], {**line(DAYS[0]), "total_price": None})
    with pytest.raises(DatabaseError, match='null value in column "total_price"'):
        load_lines(warehouse)
    assert loaded_versions() == {"order_lines": before.version}
    assert warehouse.copied() == {day: [2] for day in DAYS}


def test_copy_is_indexed_by_date_and_known_to_the_planner(warehouse: Warehouse) -> None:
    warehouse.lines(*DAYS)
    load_lines(warehouse)
    assert warehouse.query("SELECT indexname FROM pg_indexes WHERE tablename = 'order_lines'") == [
        ("order_lines_order_date",)
    ]
    assert warehouse.query("SELECT reltuples::int FROM pg_class WHERE oid = 'lake.order_lines'::regclass") == [(5,)]


def test_table_without_rows_is_loaded_as_such(warehouse: Warehouse) -> None:
    done = load_lines(warehouse)
    assert (done.rows, done.dates) == (0, None)
    assert warehouse.query("SELECT count(*) FROM lake.order_lines") == [(0,)]
    assert load_lines(warehouse).dates == 0


def test_lake_table_that_was_made_anew_is_loaded_whole(warehouse: Warehouse) -> None:
    warehouse.lines(*DAYS)
    before = load_lines(warehouse)
    shutil.rmtree(f"{warehouse.lake.url}/{ORDER_LINES.path}")
    warehouse.lines(DAYS[1], quantity=9)
    assert warehouse.lake.open(ORDER_LINES).version() == before.version
    done = load_lines(warehouse)
    assert (done.rows, done.dates) == (1, None)
    assert warehouse.copied() == {DAYS[1]: [9]}


def test_lake_table_that_was_set_back_is_loaded_whole(warehouse: Warehouse, tmp_path: Path) -> None:
    path = f"{warehouse.lake.url}/{ORDER_LINES.path}"
    warehouse.lines(*DAYS)
    shutil.copytree(path, tmp_path / "backup")
    warehouse.lines(*DAYS, quantity=9)
    load_lines(warehouse)
    shutil.rmtree(path)
    shutil.copytree(tmp_path / "backup", path)
    done = load_lines(warehouse)
    assert (done.rows, done.dates) == (5, None)
    assert warehouse.copied() == {day: [2] for day in DAYS}


@pytest.mark.parametrize("emptied", ["lake.loaded", "lake.loaded, lake.order_lines"])
def test_copies_that_a_crash_has_emptied_are_loaded_whole(warehouse: Warehouse, emptied: str) -> None:
    warehouse.lines(*DAYS)
    load_lines(warehouse)
    warehouse.run(f"TRUNCATE {emptied}")
    done = load_lines(warehouse)
    assert (done.rows, done.dates) == (5, None)
    assert warehouse.copied() == {day: [2] for day in DAYS}


def test_copy_of_another_shape_is_made_anew(warehouse: Warehouse) -> None:
    warehouse.lines(*DAYS)
    wider = COPY["order_lines"]
    narrower = dataclasses.replace(wider, without=wider.without | {"discount"})
    for copy in (narrower, wider, narrower):
        done = load(warehouse.lake, copy)
        assert (done.rows, done.dates) == (5, None)
        (found,) = warehouse.query(
            "SELECT string_agg(column_name, ',' ORDER BY ordinal_position) FROM information_schema.columns "
            "WHERE table_schema = 'lake' AND table_name = 'order_lines'"
        )
        assert found[0].split(",") == list(copy.types)


def test_copy_of_another_shape_is_made_anew_after_a_crash(warehouse: Warehouse) -> None:
    warehouse.lines(*DAYS)
    wider = COPY["order_lines"]
    load(warehouse.lake, dataclasses.replace(wider, without=wider.without | {"discount"}))
    warehouse.run("TRUNCATE lake.loaded, lake.order_lines")
    assert load(warehouse.lake, wider).rows == 5


def test_failed_load_changes_nothing_and_is_caught_up(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    warehouse.lines(*DAYS)
    before = load_lines(warehouse)
    warehouse.lines(*DAYS, quantity=9)
    monkeypatch.setattr(loading, "_CHUNK_ROWS", 2)
    with _failing(monkeypatch, at=2), pytest.raises(ZeroDivisionError):
        load_lines(warehouse)
    assert warehouse.copied() == {day: [2] for day in DAYS}
    assert loaded_versions() == {"order_lines": before.version}
    assert load_lines(warehouse).rows == 5
    assert warehouse.copied() == {day: [9] for day in DAYS}


@contextmanager
def _failing(monkeypatch: pytest.MonkeyPatch, at: int) -> Iterator[None]:
    """A load fails at one of its chunks."""
    read, calls = loading.rows_of, itertools.count(1)

    def fail(frame: Any) -> pl.DataFrame:
        if next(calls) == at:
            raise ZeroDivisionError
        return read(frame)

    with monkeypatch.context() as patched:
        patched.setattr(loading, "rows_of", fail)
        yield


@pytest.mark.parametrize("at", [1, 2, 3, 4, 5])
def test_failed_whole_load_leaves_nothing_and_is_caught_up(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    warehouse.lines(*DAYS)
    monkeypatch.setattr(loading, "_CHUNK_ROWS", 1)
    with _failing(monkeypatch, at), pytest.raises(ZeroDivisionError):
        load_lines(warehouse)
    assert warehouse.copied() == {}
    assert loaded_versions() == {}
    assert load_lines(warehouse).rows == 5
    assert warehouse.copied() == {day: [2] for day in DAYS}
    assert warehouse.query("SELECT to_regclass('lake.order_lines_beside')::text") == [(None,)]


@pytest.mark.parametrize("size", [1, 2, 4, 5])
def test_load_in_several_chunks_copies_the_same(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(loading, "_CHUNK_ROWS", size)
    warehouse.lines(*DAYS)
    assert load_lines(warehouse).rows == 5
    assert warehouse.copied() == {day: [2] for day in DAYS}


def _at_once(*work: Callable[[], Any]) -> list[Any]:
    start = threading.Barrier(len(work))
    results: list[Any] = [None] * len(work)

    def run(number: int) -> None:
        start.wait()
        try:
            results[number] = work[number]()
        except Exception as error:  # noqa: BLE001 (handed to the test)
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


def test_loads_of_one_table_at_once_copy_each_row_once(warehouse: Warehouse) -> None:
    warehouse.lines(*DAYS)
    done = _at_once(*(lambda: load_lines(warehouse) for _ in range(4)))
    assert sorted(one.rows for one in done) == [0, 0, 0, 5], done
    assert warehouse.copied() == {day: [2] for day in DAYS}


def test_loads_of_all_tables_at_once_make_the_schema_once(warehouse: Warehouse) -> None:
    for copy in COPIES:
        warehouse.write(copy.table, DAYS[0], DAYS[0], {str(copy.table.partitioned_by): DAYS[0]})
    done = _at_once(
        *(lambda copy=copy: load(warehouse.lake, copy) for copy in COPIES),
        lambda: load_calendar(days_with_holidays(warehouse.lake, DAYS[0], DAYS[-1])),
    )
    assert [one.rows for one in done[:-1]] == [1] * len(COPIES), done
    assert done[-1] is None
    assert warehouse.query("SELECT count(*) FROM lake.calendar") == [(5,)]


def test_loads_while_the_lake_changes_end_with_the_latest_rows(warehouse: Warehouse) -> None:
    warehouse.lines(*DAYS, quantity=1)

    def change_and_load(number: int) -> int:
        rows_copied = 0
        for quantity in range(2, 6):
            warehouse.write(ORDER_LINES, DAYS[number], DAYS[number], line(DAYS[number], quantity))
            rows_copied += load_lines(warehouse).rows
        return rows_copied

    done = _at_once(*(lambda number=number: change_and_load(number) for number in range(3)))
    assert all(isinstance(one, int) for one in done), done
    assert warehouse.copied() == {day: [5 if number < 3 else 1] for number, day in enumerate(DAYS)}
    assert load_lines(warehouse).rows == 0


def test_loaded_versions_are_remembered_by_table(warehouse: Warehouse) -> None:
    assert loaded_versions() == {}
    warehouse.lines(*DAYS)
    done = load_lines(warehouse)
    load(warehouse.lake, COPY["orders"])
    assert loaded_versions() == {"order_lines": done.version, "orders": 0}


def test_table_emptied_by_a_crash_is_loaded_again(warehouse: Warehouse) -> None:
    warehouse.lines(*DAYS)
    rows_loaded = load_lines(warehouse).rows
    assert load_lines(warehouse).rows == 0
    warehouse.run("TRUNCATE lake.order_lines, lake.loaded")
    assert load_lines(warehouse).rows == rows_loaded


def test_copies_are_loaded_although_one_is_refused(warehouse: Warehouse) -> None:
    load(warehouse.lake, COPY["orders"])
    warehouse.run("ALTER TABLE lake.orders ADD CONSTRAINT of_others CHECK (false)")
    warehouse.lines(*DAYS)
    warehouse.write(ORDERS, DAYS[0], DAYS[0], {"order_date": DAYS[0]})
    copies = [COPY["order_lines"], COPY["orders"], COPY["payments"]]
    outcomes = dict(load_all(warehouse.lake, copies))
    assert list(outcomes) == copies
    assert isinstance(outcomes[COPY["orders"]], DatabaseError)
    assert loaded_versions() == {"orders": 0, "order_lines": 1, "payments": 0}


def test_ends_of_time_can_be_copied(warehouse: Warehouse) -> None:
    table = COPY["customers"].table
    ends = {"registered_at": at("0001-01-01 00:00"), "registration_date": on("0001-01-01")}
    warehouse.write(table, DAYS[0], DAYS[0], {"captured_on": DAYS[0], "date_of_birth": on("9999-12-31"), **ends})
    # West of Greenwich the first instant of all has a date before the first of Python's.
    before_the_first = pl.col("registration_date").dt.offset_by("-1d")
    frame = rows(table, {"captured_on": DAYS[1], **ends}).with_columns(before_the_first)
    warehouse.lake.replace_dates([table], DAYS[1], DAYS[1], lambda _: [nw.from_native(frame.lazy())])
    assert load(warehouse.lake, COPY["customers"]).rows == 2
    found = warehouse.query("SELECT registration_date::text, date_of_birth::text FROM lake.customers ORDER BY 1")
    assert found == [("0001-01-01", "9999-12-31"), ("0001-12-31 BC", "1990-12-10")]


def test_silent_warehouse_may_be_tried_again(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAREHOUSE_DATABASE_URL", "postgresql://dbt:s3cr3t@127.0.0.1:1/warehouse")
    from orders_lakehouse.settings import settings

    settings.cache_clear()
    with pytest.raises(DatabaseUnavailableError, match="WAREHOUSE_DATABASE_URL") as raised:
        load(warehouse.lake, COPY["orders"])
    assert "s3cr3t" not in str(raised.value)


def test_calendar_is_replaced(warehouse: Warehouse) -> None:
    load_calendar(days_with_holidays(warehouse.lake, DAYS[0], DAYS[-1]))
    load_calendar(days_with_holidays(warehouse.lake, on("2020-07-04"), on("2020-07-05")))
    found = warehouse.query("SELECT date, is_holiday, holiday_name FROM lake.calendar ORDER BY 1")
    assert found == [(on("2020-07-04"), True, "Independence Day"), (on("2020-07-05"), False, None)]


def test_every_copy_leaves_out_only_columns_that_its_table_has() -> None:
    for copy in COPIES:
        assert copy.without <= set(copy.table.columns), copy.name
        assert copy.partition in copy.types
        assert set(copy.table.key) <= set(copy.types)
    assert COPY["orders"].table is ORDERS


def test_dates_with_other_lines_than_curated_are_unbuilt(warehouse: Warehouse) -> None:
    warehouse.run("DROP SCHEMA IF EXISTS marts CASCADE")
    assert unbuilt_dates(warehouse.lake) == set()
    warehouse.lines(DAYS[0], DAYS[1])
    warehouse.write(ORDERS, DAYS[2], DAYS[2], {"order_date": DAYS[2]})
    # Before anybody has built them: whatever dates are cleansed.
    assert unbuilt_dates(warehouse.lake) == {DAYS[2]}
    facts = (
        f"SELECT to_char(day, 'YYYYMMDD')::int AS date_id FROM (VALUES (DATE '{DAYS[0]}'), ('{DAYS[2]}')) AS of (day)"
    )
    warehouse.run(f"CREATE SCHEMA marts; CREATE TABLE marts.fct_order_lines AS {facts}")
    assert unbuilt_dates(warehouse.lake) == {DAYS[1], DAYS[2]}
    warehouse.lines(DAYS[0], DAYS[2])
    assert unbuilt_dates(warehouse.lake) == set()
    warehouse.run("DROP SCHEMA marts CASCADE")
