"""Tables that another version of the program has written."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import narwhals as nw
import pandera.polars as pa
import polars as pl
import pytest
from deltalake import DeltaTable

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.base import Contract
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.curated.daily_sales import DAILY_SALES, DailySales
from orders_lakehouse.delta import object_store, schema_evolution
from orders_lakehouse.delta.object_store import LakeError, StorageUnavailableError
from orders_lakehouse.delta.schema_evolution import Migrated
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.order_items import RAW_ORDER_ITEMS, RawOrderItems
from orders_lakehouse.entities.products import RAW_PRODUCTS
from orders_lakehouse.pipeline.affected_dates import affected_dates
from orders_lakehouse.tables import QUARANTINE_OF
from tests.support.rows import on, rows

FIRST, SECOND = on("2020-03-01"), on("2020-03-02")


class WithReturns(DailySales):
    """Daily sales of the next version, which counts returns."""

    returns: int = pa.Field(nullable=True)

    class Config(Contract.Config):
        metadata = {"version": "3"}  # noqa: RUF012 (as in the contract)


class Retyped(DailySales):
    """Daily sales of a version that counts orders in another type."""

    orders: pl.Int32 = pa.Field()

    class Config(Contract.Config):
        metadata = {"version": "3"}  # noqa: RUF012 (as in the contract)


NEWER, RETYPED = replace(DAILY_SALES, model=WithReturns), replace(DAILY_SALES, model=Retyped)
SALES = rows(DAILY_SALES, {"order_date": FIRST})
RETURNS = rows(DAILY_SALES, {"order_date": SECOND}).with_columns(returns=pl.lit(3, pl.Int64))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"), "UTC")


def replace_date(lake: Lake, table: Table, day: date, frame: pl.DataFrame) -> None:
    lake.replace_dates([table], day, day, lambda _: [nw.from_native(frame.lazy())])


def returns(lake: Lake) -> dict[date, int | None]:
    return dict(lake.scan(NEWER).to_native().collect().select("order_date", "returns").iter_rows())


def log_of(lake: Lake, table: Table) -> list[str]:
    return sorted(path.name for path in Path(lake.url, table.path, "_delta_log").glob("*.json"))


def test_newer_program_follows_an_older_table(lake: Lake) -> None:
    replace_date(lake, DAILY_SALES, FIRST, SALES)
    before = log_of(lake, DAILY_SALES)

    # Reading changes nothing.
    assert returns(lake) == {FIRST: None}
    assert log_of(lake, DAILY_SALES) == before

    replace_date(lake, NEWER, SECOND, RETURNS)
    assert returns(lake) == {FIRST: None, SECOND: 3}
    assert lake.open(NEWER).metadata().description == "timezone=UTC contract=3"
    assert lake.open(NEWER).metadata().id == DeltaTable(f"{lake.url}/{NEWER.path}", version=0).metadata().id


def test_merge_follows_an_older_table(lake: Lake) -> None:
    class Weighed(RAW_PRODUCTS.model):  # type: ignore[name-defined, misc]
        weight: int = pa.Field(nullable=True)

        class Config(Contract.Config):
            metadata = {"version": "3"}  # noqa: RUF012 (as in the contract)

    known = rows(RAW_PRODUCTS, {"product_id": "tea"})
    assert lake.insert_new(RAW_PRODUCTS, known, ["product_id", "updated_at"]) == 1
    weighed = replace(RAW_PRODUCTS, model=Weighed)
    same, other = (known.with_columns(weight=pl.lit(grams, pl.Int64)) for grams in (None, 250))

    assert lake.insert_new(weighed, same, ["product_id", "updated_at"]) == 0
    assert lake.insert_new(weighed, other, ["product_id", "updated_at"]) == 1


@pytest.mark.parametrize(
    "use",
    [
        lambda lake: lake.scan(DAILY_SALES),
        lambda lake: lake.latest_date(DAILY_SALES),
        lambda lake: lake.append(DAILY_SALES, SALES),
        lambda lake: replace_date(lake, DAILY_SALES, FIRST, SALES),
    ],
)
def test_older_program_leaves_a_newer_table_alone(lake: Lake, use: Callable[[Lake], object]) -> None:
    replace_date(lake, NEWER, SECOND, RETURNS)
    before = log_of(lake, NEWER)
    with pytest.raises(LakeError, match=r"curated/daily_sales .*version 3 .* expects version 2 .*upgrade the program"):
        use(lake)
    assert log_of(lake, NEWER) == before
    assert returns(lake) == {SECOND: 3}


def test_older_program_that_is_overtaken_does_not_write(lake: Lake) -> None:
    replace_date(lake, DAILY_SALES, FIRST, SALES)

    def overtaken(_: Lake) -> list[nw.LazyFrame[pl.LazyFrame]]:
        if lake.open(NEWER).metadata().description != "timezone=UTC contract=3":
            replace_date(lake, NEWER, SECOND, RETURNS)
        return [nw.from_native(SALES.clear().lazy())]

    with pytest.raises(LakeError, match="upgrade the program"):
        lake.replace_dates([DAILY_SALES], FIRST, FIRST, overtaken)
    assert returns(lake) == {FIRST: None, SECOND: 3}


def test_table_without_a_version_is_of_the_first(lake: Lake) -> None:
    lake.open(DAILY_SALES).alter.set_table_description("timezone=UTC")
    before = log_of(lake, DAILY_SALES)
    replace_date(lake, DAILY_SALES, FIRST, SALES)
    # It has all that the second one has, and gets its stamp with the first write.
    assert len(log_of(lake, DAILY_SALES)) == len(before) + 2
    assert lake.open(DAILY_SALES).metadata().description == "timezone=UTC contract=2"
    replace_date(lake, DAILY_SALES, SECOND, SALES.with_columns(order_date=SECOND))
    assert len(log_of(lake, DAILY_SALES)) == len(before) + 3
    replace_date(lake, NEWER, SECOND, RETURNS)
    assert returns(lake) == {FIRST: None, SECOND: 3}


def test_column_that_changed_its_type_is_refused(lake: Lake) -> None:
    replace_date(lake, DAILY_SALES, FIRST, SALES)
    before = log_of(lake, DAILY_SALES)
    with pytest.raises(
        LakeError, match=r"the types cannot be converted: orders: expected Int32, found Int64.* Set LAKE_URL"
    ):
        replace_date(lake, RETYPED, FIRST, SALES.cast({"orders": pl.Int32}))
    assert log_of(lake, DAILY_SALES) == before


class Narrow(RawOrderItems):
    """Lines as they were in version 1: with integers of 32 bits."""

    line_number: pl.Int32 = pa.Field(nullable=True)
    quantity: pl.Int32 = pa.Field(nullable=True)

    class Config(Contract.Config):
        metadata = {"version": "1"}  # noqa: RUF012 (as in the contract)


IDENTITY = ["order_id", "line_number", "updated_at"]
NARROW = replace(RAW_ORDER_ITEMS, model=Narrow)
OLD = pl.concat([rows(NARROW, {"line_number": number, "quantity": 2, "captured_on": FIRST}) for number in (1, 2)])
BIG = rows(RAW_ORDER_ITEMS, {"line_number": 3_000_000_000, "captured_on": SECOND})
REFUSED = (
    r"order_items was written under version 1 .* expects version 3: line_number: expected Int64, found Int32; "
    r"quantity: expected String, found Int32\. Nothing was read or written\. Run `lakehouse migrate`"
)
RETYPED_LINES = ["line_number Int32 → Int64", "quantity Int32 → String"]


def lines(lake: Lake) -> list[tuple[int, str]]:
    found = lake.scan(RAW_ORDER_ITEMS).to_native().collect()
    assert found.schema == RAW_ORDER_ITEMS.schema
    return sorted(found.select("line_number", "quantity").rows())


@pytest.mark.parametrize(
    "use",
    [
        lambda lake: lake.scan(RAW_ORDER_ITEMS),
        lambda lake: lake.latest_date(RAW_ORDER_ITEMS),
        lambda lake: lake.append(RAW_ORDER_ITEMS, BIG),
        lambda lake: lake.insert_new(RAW_ORDER_ITEMS, BIG, IDENTITY),
    ],
)
def test_table_of_other_types_is_refused_until_migrated(lake: Lake, use: Callable[[Lake], object]) -> None:
    lake.insert_new(NARROW, OLD, IDENTITY)
    before = log_of(lake, RAW_ORDER_ITEMS)
    with pytest.raises(LakeError, match=REFUSED):
        use(lake)
    assert log_of(lake, RAW_ORDER_ITEMS) == before


def test_types_that_changed_are_migrated_once(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_evolution, "_REWRITTEN", 1)
    other_date = OLD.with_columns(captured_on=pl.lit(SECOND)).head(1)
    lake.insert_new(NARROW, pl.concat([OLD, other_date]), IDENTITY)
    before = DeltaTable(lake.location(RAW_ORDER_ITEMS))

    assert lake.migrate(RAW_ORDER_ITEMS) == Migrated(RAW_ORDER_ITEMS, 1, RETYPED_LINES, [])
    assert lines(lake) == [(1, "2"), (1, "2"), (2, "2")]
    after = lake.find(RAW_ORDER_ITEMS)
    assert after.metadata().partition_columns == ["captured_on"]
    assert (after.metadata().id, after.metadata().description) == (before.metadata().id, "timezone=UTC contract=3")
    assert lake.migrate(RAW_ORDER_ITEMS) is None
    assert lake.find(RAW_ORDER_ITEMS).version() == after.version()

    # What is there already does not become another version.
    assert lake.insert_new(RAW_ORDER_ITEMS, pl.concat([OLD.select(BIG.columns).cast(BIG.schema), BIG]), IDENTITY) == 1
    assert lines(lake) == [(1, "2"), (1, "2"), (2, "2"), (3_000_000_000, "2")]
    # An earlier version is read as ever, and differs by the new row alone.
    since = {RAW_ORDER_ITEMS.path: before.version()}
    assert lines(lake.snapshot(since)) == [(1, "2"), (1, "2"), (2, "2")]
    assert affected_dates(lake, since, Calendar(FIRST, "UTC")) == [SECOND]
    with pytest.raises(LakeError, match="upgrade the program"):
        lake.insert_new(NARROW, OLD, IDENTITY)


def test_migration_beside_a_writer_loses_nothing(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.insert_new(NARROW, OLD, IDENTITY)
    late = [OLD.head(1).with_columns(line_number=pl.lit(3, pl.Int32))]
    scan = object_store.scan

    def overtaken(*arguments: Any) -> pl.LazyFrame:
        if late:
            lake.insert_new(NARROW, late.pop(), IDENTITY)
        return scan(*arguments)

    monkeypatch.setattr(object_store, "scan", overtaken)
    with pytest.raises(StorageUnavailableError, match=r"raw/order_items was written while it was migrated"):
        lake.migrate(RAW_ORDER_ITEMS)
    assert lake.migrate(RAW_ORDER_ITEMS) == Migrated(RAW_ORDER_ITEMS, 1, RETYPED_LINES, [])
    assert lines(lake) == [(1, "2"), (2, "2"), (3, "2")]


def test_quarantine_is_migrated_as_raw_is(lake: Lake) -> None:
    quarantine = QUARANTINE_OF["order_items"]
    verdict = [
        pl.col("captured_on").alias("order_date"),
        pl.lit("quantity_missing").alias("reasons"),
        pl.lit("1").alias("contract_version"),
        pl.lit(1, pl.Int64).alias("versions"),
    ]
    replace_date(lake, replace(quarantine, model=Narrow), FIRST, OLD.with_columns(verdict))
    with pytest.raises(LakeError, match=REFUSED):
        replace_date(lake, quarantine, SECOND, BIG.with_columns(verdict))
    assert lake.migrate(quarantine) == Migrated(quarantine, 1, RETYPED_LINES, [])
    replace_date(lake, quarantine, SECOND, BIG.with_columns(verdict))
    assert sorted(lake.scan(quarantine).to_native().collect()["line_number"]) == [1, 2, 3_000_000_000]
