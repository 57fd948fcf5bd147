"""Tables that another version of the program has written."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import narwhals as nw
import pandera.polars as pa
import polars as pl
import pytest
from deltalake import DeltaTable

from orders_lakehouse.contracts.base import Contract
from orders_lakehouse.contracts.curated import DailySales
from orders_lakehouse.contracts.tables import DAILY_SALES, RAW_PRODUCTS, Table
from orders_lakehouse.lake.delta import Lake, LakeError
from tests.unit.rows import on, rows

FIRST, SECOND = on("2020-03-01"), on("2020-03-02")


class WithReturns(DailySales):
    """Daily sales of the next version, which counts returns."""

    returns: int = pa.Field(nullable=True)

    class Config(Contract.Config):
        metadata = {"version": "2"}  # noqa: RUF012 (as in the contract)


class Retyped(DailySales):
    """Daily sales of a version that counts orders in another type."""

    orders: pl.Int32 = pa.Field()

    class Config(Contract.Config):
        metadata = {"version": "2"}  # noqa: RUF012 (as in the contract)


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


def test_a_newer_program_follows_an_older_table(lake: Lake) -> None:
    replace_date(lake, DAILY_SALES, FIRST, SALES)
    before = log_of(lake, DAILY_SALES)

    # Reading changes nothing.
    assert returns(lake) == {FIRST: None}
    assert log_of(lake, DAILY_SALES) == before

    replace_date(lake, NEWER, SECOND, RETURNS)
    assert returns(lake) == {FIRST: None, SECOND: 3}
    assert lake.open(NEWER).metadata().description == "timezone=UTC contract=2"
    assert lake.open(NEWER).metadata().id == DeltaTable(f"{lake.url}/{NEWER.path}", version=0).metadata().id


def test_a_merge_follows_an_older_table(lake: Lake) -> None:
    class Weighed(RAW_PRODUCTS.model):  # type: ignore[name-defined, misc]
        weight: int = pa.Field(nullable=True)

        class Config(Contract.Config):
            metadata = {"version": "2"}  # noqa: RUF012 (as in the contract)

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
def test_an_older_program_leaves_a_newer_table_alone(lake: Lake, use: Callable[[Lake], object]) -> None:
    replace_date(lake, NEWER, SECOND, RETURNS)
    before = log_of(lake, NEWER)
    with pytest.raises(LakeError, match=r"curated/daily_sales .*version 2 .* expects version 1 .*upgrade the program"):
        use(lake)
    assert log_of(lake, NEWER) == before
    assert returns(lake) == {SECOND: 3}


def test_an_older_program_that_is_overtaken_does_not_write(lake: Lake) -> None:
    replace_date(lake, DAILY_SALES, FIRST, SALES)

    def overtaken(_: Lake) -> list[nw.LazyFrame[pl.LazyFrame]]:
        if lake.open(NEWER).metadata().description != "timezone=UTC contract=2":
            replace_date(lake, NEWER, SECOND, RETURNS)
        return [nw.from_native(SALES.clear().lazy())]

    with pytest.raises(LakeError, match="upgrade the program"):
        lake.replace_dates([DAILY_SALES], FIRST, FIRST, overtaken)
    assert returns(lake) == {FIRST: None, SECOND: 3}


def test_a_table_without_a_version_is_of_the_first(lake: Lake) -> None:
    lake.open(DAILY_SALES).alter.set_table_description("timezone=UTC")
    before = log_of(lake, DAILY_SALES)
    replace_date(lake, DAILY_SALES, FIRST, SALES)
    assert len(log_of(lake, DAILY_SALES)) == len(before) + 1
    replace_date(lake, NEWER, SECOND, RETURNS)
    assert returns(lake) == {FIRST: None, SECOND: 3}


def test_a_column_that_changed_its_type_is_refused(lake: Lake) -> None:
    replace_date(lake, DAILY_SALES, FIRST, SALES)
    before = log_of(lake, DAILY_SALES)
    with pytest.raises(LakeError, match=r"does not fit version 2: orders: expected Int32, found Int64"):
        replace_date(lake, RETYPED, FIRST, SALES.cast({"orders": pl.Int32}))
    assert log_of(lake, DAILY_SALES) == before
