"""The shop as it is beside what the lake says it is.

Rows that are gone, came back, were never captured, or changed without a word; lines whose total the shop works out
otherwise. What is done about them stands in `healing.py`.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import narwhals as nw
import polars as pl

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.codes import CURRENCIES, USUAL_MINOR_UNITS
from orders_lakehouse.contracts.raw import AHEAD_HOURS, BY_RECONCILIATION, LINEAGE, number_columns
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.contracts.types import MONEY_SUM
from orders_lakehouse.contracts.waivers import KEY_SEPARATOR
from orders_lakehouse.delta.frames import rows_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.base import Entity, SourceTotal
from orders_lakehouse.pipeline.row_accounting import row_count
from orders_lakehouse.pipeline.tombstones import KNOWN
from orders_lakehouse.sources.base import OVERLAP, Window
from orders_lakehouse.sources.registry import sources_of
from orders_lakehouse.tables import entity_of
from orders_lakehouse.transforms.versions import current_versions

GONE, MISSED, OTHERWISE = "gone from the shop", "never captured", "otherwise than captured"
RETURNED = "back in the shop"
_BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
# Lines that a date names.
_SAMPLE = 10
_SUM = pl.Decimal(*MONEY_SUM)
# Whatever the shop has, but for the last days of what a date can say.
_END_OF_TIME = date(9999, 12, 30)
# Rows of raw that are compared at once; a table with more is compared in parts, by a hash of the key.
_ROWS_AT_ONCE = 1_000_000
_IN_RAW = " in raw"
# How a row is named whose key is blank.
_BLANK = "(no key)"


@dataclass(frozen=True)
class Compared:
    """The shop beside raw, row by row.

    Attributes:
        rows: Rows of the shop that were compared.
        differing: The key, as raw has it where raw has the row; date (capture date of what the shop has, else of what
            raw has), difference (GONE, RETURNED, MISSED or OTHERWISE), name (the key as text), went_back (whether the
            shop's clock is older than the one that raw knows), and updated_at, captured_on, captured_at of raw's
            current version, null where it has none.
        agreeing: date, rows: rows of the shop that raw has as they are.
        standing: date (of capture), rows: rows of raw that are not deleted.
        seen_at: The shop's now() of the comparison.
    """

    rows: int
    differing: pl.DataFrame
    agreeing: pl.DataFrame
    standing: pl.DataFrame
    seen_at: datetime

    @property
    def by_date(self) -> pl.DataFrame:
        """A row for each date and kind of difference, and one for the rows that agree.

        Columns: date, rows (of the shop), found (of them, as raw has them), difference (null where there is none), keys
        (as text, of the rows that differ).
        """
        is_in_shop = (pl.col("difference") != GONE).sum().cast(pl.Int64)
        differing = self.differing.group_by("date", "difference").agg(
            rows=is_in_shop, found=pl.lit(0, pl.Int64), keys=pl.col("name").sort()
        )
        agreeing = self.agreeing.select(
            "date",
            difference=pl.lit(None, pl.String),
            rows="rows",
            found="rows",
            keys=pl.lit([], pl.List(pl.String)),
        )
        found = pl.concat([agreeing, differing.select(agreeing.columns)])
        return found.select("date", "rows", "found", "difference", "keys").sort("date", "difference")


def compare_with_shop(lake: Lake, table: Table, calendar: Calendar, captured: Collection[date]) -> Compared:
    """Row by row, whether the shop holds what raw has as the current version. Everything is read, on both sides.

    Raw is looked at first, the shop in one snapshot after it: a row that raw has and the shop has not is gone. One that
    raw has as deleted already is no news. What has changed since an hour before the newest clock in raw is left to the
    sensors. Rows without a key are not told apart; the last of them is gone when the shop has none any more.

    Args:
        lake: The lake.
        table: A raw table.
        calendar: First partition, and when dates begin.
        captured: Dates that have been captured; what the shop has on others is not expected in raw.

    Returns:
        What differs, and how much there was.

    Raises:
        DatabaseError: The shop does not have the shape that raw needs.
        DatabaseUnavailableError: The shop cannot be reached.
    """
    lake.open(table)
    raw = lake.snapshot()
    raw.open(table)
    newest: datetime | None = rows_of(
        # A clock that ran ahead tells of no time when the shop was looked at.
        raw.scan(table).select(nw.min_horizontal("updated_at", "captured_at").max())
    ).item()
    with _of_shop(table, calendar, row_count(raw, table)) as (parts, seen_at):
        compared = [
            _compared(
                _of_raw(raw, table, number, len(parts)),
                part.collect(),
                table,
                None if newest is None else newest - OVERLAP,
                captured,
            )
            for number, part in enumerate(parts)
        ]
    differing, agreeing, standing = (pl.concat(frames) for frames in zip(*compared, strict=True))
    agreeing, standing = (of.group_by("date").agg(pl.col("rows").sum()).sort("date") for of in (agreeing, standing))
    in_shop = differing.filter(pl.col("difference") != GONE).height
    return Compared(in_shop + int(agreeing["rows"].sum()), differing, agreeing, standing, seen_at)


@contextmanager
def _of_shop(table: Table, calendar: Calendar, rows_in_raw: int) -> Iterator[tuple[Sequence[pl.LazyFrame], datetime]]:
    """The shop's rows, hashed, in parts that fit into memory, and the shop's now(); on disk where there are several."""
    window = Window(calendar.start, _END_OF_TIME, calendar)
    read = chain.from_iterable(source.read_versions(table, window) for source in sources_of(entity_of(table)))
    first = next(read)
    count = 1 + max(rows_in_raw, first.in_window) // _ROWS_AT_ONCE
    if count == 1:
        whole = [_hashed(batch.rows.lazy(), table).collect() for batch in (first, *read)]
        yield [pl.concat(whole).lazy()], first.shape.seen_at
        return
    with TemporaryDirectory(prefix="lakehouse-reconcile-") as folder:
        for number, batch in enumerate((first, *read)):
            hashed = _hashed(batch.rows.lazy(), table).collect()
            for part in range(count):
                hashed.filter(_is_of_part(table, part, count)).write_parquet(Path(folder, f"{part}-{number}.parquet"))
        yield [pl.scan_parquet(Path(folder, f"{part}-*.parquet")) for part in range(count)], first.shape.seen_at


def _of_raw(raw: Lake, table: Table, part: int, count: int) -> pl.DataFrame:
    """The current versions of a part of raw, hashed."""
    versions: pl.LazyFrame = nw.to_native(raw.scan(table))
    if count > 1:
        versions = versions.filter(_is_of_part(table, part, count))
    current = nw.to_native(current_versions(nw.from_native(versions), table.key))
    return rows_of(nw.from_native(_hashed(current, table)))


def _is_of_part(table: Table, part: int, count: int) -> pl.Expr:
    key = pl.concat_str((_joined(name, table).cast(pl.String).fill_null("") for name in table.key), separator="/")
    return key.hash() % count == part


def _compared(
    raw: pl.DataFrame, shop: pl.DataFrame, table: Table, until: datetime | None, captured: Collection[date]
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Of a part of the rows: what `Compared` calls differing, agreeing and standing.

    Args:
        raw: Current versions, hashed.
        shop: Rows of the shop, hashed.
        table: The raw table.
        until: Clocks after it are left to the sensors, unless raw has them; None: there are none.
        captured: Dates that have been captured.
    """
    shop = shop.with_columns(is_alone=pl.len().over(table.key) == 1)
    both = shop.join(raw, on=list(table.key), how="full", suffix=_IN_RAW, coalesce=True, nulls_equal=True)
    clock, known = pl.col("updated_at"), pl.col(f"updated_at{_IN_RAW}")
    is_in_shop, is_in_raw = pl.col("one").is_not_null(), pl.col(f"one{_IN_RAW}").is_not_null()
    by_reconciliation = (pl.col(f"change{_IN_RAW}") == BY_RECONCILIATION).fill_null(value=False)
    is_deleted = pl.col(f"is_deleted{_IN_RAW}").fill_null(value=False)
    ours, theirs = ([pl.col(f"effective_at{of}"), pl.col(f"updated_at{of}")] for of in (_IN_RAW, ""))
    is_older = (theirs[0] < ours[0]) | ((theirs[0] == ours[0]) & (theirs[1] < ours[1]))
    # Of rows that share a key, the one with the older clock has not gone back.
    went_back = (is_older & pl.col("is_alone")).fill_null(value=False)
    # Transactions end in another order than their clocks say: the last hour is still the sensor's.
    in_time = pl.lit(value=True) if until is None else clock <= pl.lit(until)
    same_clock = clock == known.fill_null(pl.lit(_BEGINNING))
    expected = same_clock | went_back | (in_time & pl.col("captured_on").is_in(list(captured)))
    is_same = (
        (pl.col("one") == pl.col(f"one{_IN_RAW}"))
        & (pl.col("other") == pl.col(f"other{_IN_RAW}"))
        # A clock that went back alone is no change.
        & (same_clock | went_back)
    )
    difference = (
        pl.when(~is_in_shop & ~is_deleted)
        .then(pl.lit(GONE))
        .when(~is_in_shop | ~pl.col("is_named") | ~expected)
        .then(None)
        .when(~is_in_raw)
        .then(pl.lit(MISSED))
        .when(is_same)
        .then(None)
        .when(by_reconciliation & is_deleted)
        .then(pl.lit(RETURNED))
        .otherwise(pl.lit(OTHERWISE))
    )
    judged = both.with_columns(
        date=pl.coalesce("captured_on", f"captured_on{_IN_RAW}"), difference=difference, went_back=went_back
    )
    as_in_raw = [pl.when(is_in_raw).then(f"{name} as it is{_IN_RAW}").otherwise(name).alias(name) for name in table.key]
    differing = judged.filter(pl.col("difference").is_not_null()).select(
        *as_in_raw,
        "date",
        "difference",
        "went_back",
        name=pl.coalesce("name", f"name{_IN_RAW}"),
        **{name: f"{name}{_IN_RAW}" for name in KNOWN},
    )
    compared = judged.filter(pl.col("difference").is_null(), is_in_shop, pl.col("is_named"), expected)
    agreeing = compared.group_by("date").agg(rows=pl.len().cast(pl.Int64))
    standing = raw.filter(~pl.col("is_deleted")).group_by(date="captured_on").agg(rows=pl.len().cast(pl.Int64))
    return differing, agreeing, standing


def compare_totals_with_shop(lake: Lake, entity: Entity, total: SourceTotal) -> pl.DataFrame:
    """Whether the shop, by its own arithmetic, comes to the same total of each row of a cleansed table.

    Lines are compared whose version (key and updated_at) is the same on both sides: a shop that goes on changing is not
    wrong, nor is a line that is in quarantine.

    Args:
        lake: The lake.
        entity: The entity, which counts by business date.
        total: The amount.

    Returns:
        date (order_date), lines (that were compared), expected (sum of what the shop comes to, where that is a number),
        found (sum of the amount), differing (how many), sample (the first of them, with both totals): a row for each
        date that has lines.

    Raises:
        DatabaseError: The shop does not have the shape that raw needs.
        DatabaseUnavailableError: The shop cannot be reached.
    """
    version = [*entity.key, "updated_at"]
    standing = lake.scan(entity.cleansed).filter(~nw.col("is_deleted"))
    decimals = {code: currency.minor_units for code, currency in CURRENCIES.items()}
    ours = rows_of(standing.select(*version, "order_date", total.column, total.currency)).with_columns(
        decimals=pl.col(total.currency).replace_strict(decimals, default=USUAL_MINOR_UNITS, return_dtype=pl.Int8)
    )
    # The shop rounds to the decimals of each currency that there is; those of the row's currency count.
    found_decimals = sorted(ours["decimals"].unique())
    in_shop = [pl.when(decimals=digits).then(pl.col(f"to_{digits}")) for digits in found_decimals]
    expected = pl.coalesce([*in_shop, pl.lit(None, pl.String)]).cast(_SUM, strict=False)
    found = pl.col(total.column).cast(_SUM)
    of_shop = expected.cast(pl.String).fill_null("none")
    key = pl.concat_str((pl.col(name).cast(pl.String) for name in entity.key), separator=KEY_SEPARATOR)
    said = pl.format("{}: {}, not {}", key, of_shop, found)
    none: dict[str, pl.DataType | type[pl.DataType]] = {
        "date": pl.Date,
        "lines": pl.Int64,
        "expected": _SUM,
        "found": _SUM,
        "differing": pl.Int64,
        "sample": pl.List(pl.String),
    }
    parts = [pl.DataFrame(schema=none)]
    for theirs in (rows for source in sources_of(entity) for rows in source.totals(entity, total, found_decimals)):
        # A number that cleansed cannot hold is in quarantine.
        same_types = (pl.col(name).cast(ours.schema[name], strict=False) for name in entity.key)
        both = ours.join(theirs.with_columns(same_types), on=version)
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
    """The key (a text that is missing is blank) and the key as it is, its name, hashes of the content, and the clocks.

    The hashes, one and other, are of all but the key, the clock and the lineage.
    """
    numbers = number_columns(table.model)
    content = pl.struct(
        _shortest(name) if name in numbers else pl.col(name)
        for name in table.columns
        if name not in (*LINEAGE, *table.key, "updated_at")
    )
    named = [pl.col(name).cast(pl.String).fill_null("") != "" for name in table.key]
    text = pl.concat_str(pl.col(table.key).cast(pl.String), separator=KEY_SEPARATOR, ignore_nulls=True)
    clock, captured = pl.col("updated_at"), pl.col("captured_at")
    return rows.select(
        *(_joined(name, table) for name in table.key),
        *(pl.col(name).alias(f"{name} as it is") for name in table.key),
        name=pl.when(text == "").then(pl.lit(_BLANK)).otherwise(text),
        is_named=pl.all_horizontal(named),
        one=content.hash(1),
        other=content.hash(2),
        updated_at=clock,
        # As `transforms.versions.effective_at`.
        effective_at=pl.when(clock > captured.dt.offset_by(f"{AHEAD_HOURS}h")).then(captured).otherwise(clock),
        captured_on="captured_on",
        captured_at="captured_at",
        is_deleted=pl.col("deleted_at").is_not_null(),
        change="change",
    )


def _joined(name: str, table: Table) -> pl.Expr:
    """A part of the key; the shop's rows without one have a blank text, where raw may have nothing."""
    return pl.col(name).fill_null("") if table.schema[name] == pl.String else pl.col(name)


def _shortest(number: str) -> pl.Expr:
    """Text of a number without zeros at its end: a source that gets more decimals has the same numbers."""
    text = pl.col(number)
    short = text.str.strip_chars_end("0").str.strip_chars_end(".")
    return pl.when(text.str.contains(".", literal=True)).then(short).otherwise(text).alias(number)
