"""The shop as it is beside what the lake says it is.

Rows that are gone, were never captured, or changed without a word; lines whose total the shop works out otherwise.
"""

from collections.abc import Collection
from datetime import UTC, date, datetime

import narwhals as nw
import polars as pl

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.codes import CURRENCIES, USUAL_MINOR_UNITS
from orders_lakehouse.contracts.raw import LINEAGE, number_columns
from orders_lakehouse.contracts.tables import ORDER_ITEMS, RAW_ORDER_ITEMS, Table
from orders_lakehouse.contracts.types import MONEY_SUM
from orders_lakehouse.encoding import UTF8, decoded
from orders_lakehouse.lake.delta import Lake, rows_of
from orders_lakehouse.postgres import batches, connect
from orders_lakehouse.sources.shop import Window, as_bytes, clamped, codec_of_bytes, read_versions
from orders_lakehouse.sources.shop_changes import OVERLAP
from orders_lakehouse.sources.shop_columns import SCHEMA, columns_of, require_readable
from orders_lakehouse.transforms.versions import current_versions

GONE, MISSED, OTHERWISE = "gone from the shop", "never captured", "otherwise than captured"
_BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
# Lines that a date names.
_SAMPLE = 10
_SUM = pl.Decimal(*MONEY_SUM)
# Whatever the shop has, but for the last days of what a date can say.
_END_OF_TIME = date(9999, 12, 30)


def compare_with_shop(lake: Lake, table: Table, calendar: Calendar, captured: Collection[date]) -> pl.DataFrame:
    """Row by row, whether the shop holds what raw has as the current version. Everything is read, on both sides.

    What has changed since an hour before the newest clock in raw is left to the sensors, and rows without a key, which
    are not told apart, are left out.

    Args:
        lake: The lake.
        table: A raw table.
        calendar: First partition, and when dates begin.
        captured: Dates that have been captured; what the shop has on others is not expected in raw.

    Returns:
        date (capture date of what the shop has), rows (of the shop), found (of them, as raw has them), difference (null
        where there is none, else one of GONE, MISSED, OTHERWISE), keys (as text, of the rows that differ): a row for
        each date and kind.

    Raises:
        DatabaseError: The shop does not have the shape that raw needs.
        DatabaseUnavailableError: The shop cannot be reached.
    """
    raw = rows_of(nw.from_native(_hashed(nw.to_native(current_versions(lake.scan(table), table.key)), table)))
    batches = read_versions(table, Window(calendar.start, _END_OF_TIME, calendar))
    shop = pl.concat([_hashed(batch.rows.lazy(), table).collect() for batch in batches])
    # A clock that ran ahead tells of no time when the shop was looked at.
    newest: datetime | None = raw.select(pl.min_horizontal("updated_at", "captured_at").max()).item()
    both = shop.join(raw, on="key", how="full", suffix="_in_raw", coalesce=True, nulls_equal=True)
    # Transactions end in another order than their clocks say: the last hour is still the sensor's.
    in_time = pl.lit(value=True) if newest is None else pl.col("updated_at") <= pl.lit(newest - OVERLAP)
    same_clock = pl.col("updated_at") == pl.col("updated_at_in_raw").fill_null(pl.lit(_BEGINNING))
    expected = same_clock | (in_time & pl.col("captured_on").is_in(list(captured)))
    difference = (
        pl.when(pl.col("one").is_null())
        .then(pl.lit(GONE))
        .when(pl.col("one_in_raw").is_null())
        .then(pl.lit(MISSED))
        .when(pl.struct("one", "other") != pl.struct(one="one_in_raw", other="other_in_raw"))
        .then(pl.lit(OTHERWISE))
    )
    return (
        both.filter(pl.col("one").is_null() | expected)
        .with_columns(date=pl.coalesce("captured_on", "captured_on_in_raw"), difference=difference)
        .group_by("date", "difference")
        .agg(
            rows=pl.col("one").is_not_null().sum(),
            found=pl.col("difference").is_null().sum(),
            keys=pl.col("key").filter(pl.col("difference").is_not_null()).sort(),
        )
        .sort("date", "difference")
    )


def compare_totals_with_shop(lake: Lake) -> pl.DataFrame:
    """Whether the shop, by its own arithmetic, comes to the same total of each line of `cleansed/order_items`.

    Lines are compared whose version (key and updated_at) is the same on both sides: a shop that goes on changing is not
    wrong, nor is a line that is in quarantine.

    Args:
        lake: The lake.

    Returns:
        date (order_date), lines (that were compared), expected (sum of what the shop comes to, where that is a number),
        found (sum of total_price), differing (how many), sample (the first of them, with both totals): a row for each
        date that has lines.

    Raises:
        DatabaseError: The shop does not have the shape that raw needs.
        DatabaseUnavailableError: The shop cannot be reached.
    """
    version = [*ORDER_ITEMS.key, "updated_at"]
    standing = lake.scan(ORDER_ITEMS).filter(~nw.col("is_deleted"))
    decimals = {code: currency.minor_units for code, currency in CURRENCIES.items()}
    ours = rows_of(standing.select(*version, "order_date", "total_price", "order_currency")).with_columns(
        decimals=pl.col("order_currency").replace_strict(decimals, default=USUAL_MINOR_UNITS, return_dtype=pl.Int8)
    )
    # The shop rounds to the decimals of each currency that there is; those of the line's currency count.
    found_decimals = sorted(ours["decimals"].unique())
    in_shop = [pl.when(decimals=digits).then(pl.col(f"to_{digits}")) for digits in found_decimals]
    expected = pl.coalesce([*in_shop, pl.lit(None, pl.String)]).cast(_SUM, strict=False)
    found = pl.col("total_price").cast(_SUM)
    of_shop = expected.cast(pl.String).fill_null("none")
    said = pl.format("{} / {}: {}, not {}", "order_id", "line_number", of_shop, found)
    total = "quantity::numeric * unit_price::numeric - coalesce(discount::numeric, 0)"
    rounded = "".join(f", round({total}, {digits})::text AS to_{digits}" for digits in found_decimals)
    none: dict[str, pl.DataType | type[pl.DataType]] = {
        "date": pl.Date,
        "lines": pl.Int64,
        "expected": _SUM,
        "found": _SUM,
        "differing": pl.Int64,
        "sample": pl.List(pl.String),
    }
    parts = [pl.DataFrame(schema=none)]
    with connect("shop") as connection, connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION READ ONLY")
        require_readable(cursor, RAW_ORDER_ITEMS, columns_of(cursor, [RAW_ORDER_ITEMS])[RAW_ORDER_ITEMS.name])
        codec = codec_of_bytes(cursor)
        order_id = as_bytes("order_id::text") if codec else "order_id::text"
        # A null discount means none, as the contract says. Text, because a numeric of the shop may not be a number.
        cursor.execute(
            f"SELECT {order_id} AS order_id, line_number::bigint AS line_number, "
            f"{clamped('updated_at', 'instant')} AS updated_at{rounded} FROM {SCHEMA}.order_items"
        )
        for batch in batches(cursor):
            # A number that cleansed cannot hold is in quarantine.
            number = pl.col("line_number").cast(ours.schema["line_number"], strict=False)
            theirs = (
                decoded(pl.DataFrame(batch), codec or UTF8)
                .with_columns(number)
                .cast({"updated_at": ours.schema["updated_at"]})
            )
            both = ours.join(theirs, on=version)
            differs = found.ne_missing(expected)
            parts.append(
                both.group_by(date="order_date").agg(
                    lines=pl.len().cast(pl.Int64),
                    expected=expected.sum(),
                    found=found.sum(),
                    differing=differs.sum().cast(pl.Int64),
                    sample=said.filter(differs).sort().head(_SAMPLE),
                )
            )
    compared = (
        pl.concat(parts)
        .group_by("date")
        .agg(
            pl.col("lines", "expected", "found", "differing").sum(),
            sample=pl.col("sample").explode().sort().head(_SAMPLE),
        )
    )
    return compared.sort("date")


def _hashed(rows: pl.LazyFrame, table: Table) -> pl.LazyFrame:
    """Key (as text), one and other (hashes of the content), updated_at, captured_on, captured_at."""
    numbers = number_columns(table.model)
    content = pl.struct(
        _shortest(name) if name in numbers else pl.col(name) for name in table.columns if name not in LINEAGE
    )
    named = [pl.col(name).cast(pl.String).fill_null("") != "" for name in table.key]
    return rows.filter(named).select(
        key=pl.concat_str(pl.col(table.key).cast(pl.String), separator=" / ", ignore_nulls=True),
        one=content.hash(1),
        other=content.hash(2),
        updated_at="updated_at",
        captured_on="captured_on",
        captured_at="captured_at",
    )


def _shortest(number: str) -> pl.Expr:
    """Text of a number without zeros at its end: a source that gets more decimals has the same numbers."""
    text = pl.col(number)
    short = text.str.strip_chars_end("0").str.strip_chars_end(".")
    return pl.when(text.str.contains(".", literal=True)).then(short).otherwise(text).alias(number)
