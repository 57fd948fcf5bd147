"""Compare the shop with raw, row by row.

The comparison finds rows that are gone, came back, were never captured, or changed without a new clock; and lines for
which the shop computes another total. `healing.py` acts on the differences.
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

GONE, MISSED, DIFFERENT = "gone from the shop", "never captured", "different from raw"
RETURNED = "back in the shop"
_BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
# Number of lines listed for a date.
_SAMPLE = 10
_SUM = pl.Decimal(*MONEY_SUM)
# Last capture date of the comparison: everything that the shop has, up to the last days that a date can hold.
_END_OF_TIME = date(9999, 12, 30)
# Maximum raw rows compared at once; a larger table is compared in parts, by a hash of the key.
_ROWS_AT_ONCE = 1_000_000
_IN_RAW = " in raw"
# Name of a row whose key is blank.
_BLANK = "(no key)"


@dataclass(frozen=True)
class Compared:
    """Result of the comparison of the shop with raw, row by row.

    Attributes:
        rows: Number of rows of the shop that were compared.
        differing: The key, as raw has it where raw has the row; date (the shop's capture date, or raw's if the shop
            lacks the row); difference (GONE, RETURNED, MISSED or DIFFERENT); name (the key as text); went_back (whether
            the shop's clock is older than raw's); and updated_at, captured_on, captured_at of raw's current version,
            null where it has none.
        agreeing: date, rows: rows of the shop that are the same in raw.
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
        """Return a row for each date and kind of difference, and one for the rows that agree.

        Columns: date, rows (of the shop), found (those of them that are the same in raw), difference (null where there
        is none), keys (as text, of the rows that differ).
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
        counts = pl.concat([agreeing, differing.select(agreeing.columns)])
        return counts.select("date", "rows", "found", "difference", "keys").sort("date", "difference")


def compare_with_shop(lake: Lake, table: Table, calendar: Calendar, captured: Collection[date]) -> Compared:
    """Compare every row of the shop with the current version in raw. Both sides are read in full.

    Raw is read first, then the shop in one snapshot, so a row in raw that the shop lacks is gone. Rows that raw has as
    deleted are no difference. Changes since an hour before the newest clock in raw are left to the sensors. Rows
    without a key count as one row, which is gone once the shop has none.

    Args:
        lake: The lake.
        table: A raw table.
        calendar: First partition, and when dates begin.
        captured: Dates that have been captured; rows of the shop on other dates are not expected in raw.

    Returns:
        The differences, and the numbers of rows compared.

    Raises:
        DatabaseError: The shop does not have the shape that raw needs.
        DatabaseUnavailableError: The shop cannot be reached.
    """
    lake.open(table)
    raw = lake.snapshot()
    raw.open(table)
    newest: datetime | None = rows_of(
        # A clock ahead of its capture does not show how recent raw is.
        raw.scan(table).select(nw.min_horizontal("updated_at", "captured_at").max())
    ).item()
    with _shop_parts(table, calendar, row_count(raw, table)) as (parts, seen_at):
        compared = [
            _compare_part(
                _raw_part(raw, table, number, len(parts)),
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
def _shop_parts(
    table: Table, calendar: Calendar, rows_in_raw: int
) -> Iterator[tuple[Sequence[pl.LazyFrame], datetime]]:
    """Yield the shop's rows, hashed, in parts that fit into memory (several are on disk), and the shop's now()."""
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
                hashed.filter(_in_part(table, part, count)).write_parquet(Path(folder, f"{part}-{number}.parquet"))
        yield [pl.scan_parquet(Path(folder, f"{part}-*.parquet")) for part in range(count)], first.shape.seen_at


def _raw_part(raw: Lake, table: Table, part: int, count: int) -> pl.DataFrame:
    """Return the current versions of a part of raw, hashed."""
    versions: pl.LazyFrame = nw.to_native(raw.scan(table))
    if count > 1:
        versions = versions.filter(_in_part(table, part, count))
    current = nw.to_native(current_versions(nw.from_native(versions), table.key))
    return rows_of(nw.from_native(_hashed(current, table)))


def _in_part(table: Table, part: int, count: int) -> pl.Expr:
    key = pl.concat_str((_joined(name, table).cast(pl.String).fill_null("") for name in table.key), separator="/")
    return key.hash() % count == part


def _compare_part(
    raw: pl.DataFrame, shop: pl.DataFrame, table: Table, until: datetime | None, captured: Collection[date]
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Return the frames `differing`, `agreeing` and `standing` of `Compared` for a part of the rows.

    Args:
        raw: Current versions, hashed.
        shop: Rows of the shop, hashed.
        table: The raw table.
        until: Later clocks are left to the sensors, unless raw has them; None where raw has no clocks.
        captured: Dates that have been captured.
    """
    shop = shop.with_columns(is_alone=pl.len().over(table.key) == 1)
    both = shop.join(raw, on=list(table.key), how="full", suffix=_IN_RAW, coalesce=True, nulls_equal=True)
    clock, known = pl.col("updated_at"), pl.col(f"updated_at{_IN_RAW}")
    is_in_shop, is_in_raw = pl.col("hash_1").is_not_null(), pl.col(f"hash_1{_IN_RAW}").is_not_null()
    by_reconciliation = (pl.col(f"change{_IN_RAW}") == BY_RECONCILIATION).fill_null(value=False)
    is_deleted = pl.col(f"is_deleted{_IN_RAW}").fill_null(value=False)
    ours, theirs = ([pl.col(f"effective_at{of}"), pl.col(f"updated_at{of}")] for of in (_IN_RAW, ""))
    is_older = (theirs[0] < ours[0]) | ((theirs[0] == ours[0]) & (theirs[1] < ours[1]))
    # Rows that share a key have several clocks; an older one among them has not gone back.
    went_back = (is_older & pl.col("is_alone")).fill_null(value=False)
    # A transaction may commit after others with later clocks, so the last hour is left to the sensors.
    in_time = pl.lit(value=True) if until is None else clock <= pl.lit(until)
    same_clock = clock == known.fill_null(pl.lit(_BEGINNING))
    expected = same_clock | went_back | (in_time & pl.col("captured_on").is_in(list(captured)))
    is_same = (
        (pl.col("hash_1") == pl.col(f"hash_1{_IN_RAW}"))
        & (pl.col("hash_2") == pl.col(f"hash_2{_IN_RAW}"))
        # A clock that only went back is no change.
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
        .otherwise(pl.lit(DIFFERENT))
    )
    judged = both.with_columns(
        date=pl.coalesce("captured_on", f"captured_on{_IN_RAW}"), difference=difference, went_back=went_back
    )
    as_in_raw = [pl.when(is_in_raw).then(f"{name} as is{_IN_RAW}").otherwise(name).alias(name) for name in table.key]
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
    """Compare the total of each row of a cleansed table with the total that the shop computes.

    Only rows with the same version (key and updated_at) on both sides are compared: changes in the shop since the
    capture, and rows in quarantine, are no errors.

    Args:
        lake: The lake.
        entity: The entity, which counts by business date.
        total: The amount.

    Returns:
        date (order_date), lines (compared), expected (sum of the shop's totals, where they are numbers), found (sum of
        the lake's totals), differing (number of lines), sample (the first of them, with both totals): a row for each
        date that has lines.

    Raises:
        DatabaseError: The shop does not have the shape that raw needs.
        DatabaseUnavailableError: The shop cannot be reached.
    """
    version = [*entity.key, "updated_at"]
    not_deleted = lake.scan(entity.cleansed).filter(~nw.col("is_deleted"))
    decimals = {code: currency.minor_units for code, currency in CURRENCIES.items()}
    ours = rows_of(not_deleted.select(*version, "order_date", total.column, total.currency)).with_columns(
        decimals=pl.col(total.currency).replace_strict(decimals, default=USUAL_MINOR_UNITS, return_dtype=pl.Int8)
    )
    # The shop rounds once for each number of decimals among the currencies; the row's currency selects the result.
    decimals_in_use = sorted(ours["decimals"].unique())
    in_shop = [pl.when(decimals=digits).then(pl.col(f"to_{digits}")) for digits in decimals_in_use]
    expected = pl.coalesce([*in_shop, pl.lit(None, pl.String)]).cast(_SUM, strict=False)
    found = pl.col(total.column).cast(_SUM)
    of_shop = expected.cast(pl.String).fill_null("none")
    key = pl.concat_str((pl.col(name).cast(pl.String) for name in entity.key), separator=KEY_SEPARATOR)
    difference = pl.format("{}: {}, not {}", key, of_shop, found)
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        "date": pl.Date,
        "lines": pl.Int64,
        "expected": _SUM,
        "found": _SUM,
        "differing": pl.Int64,
        "sample": pl.List(pl.String),
    }
    parts = [pl.DataFrame(schema=schema)]
    for theirs in (rows for source in sources_of(entity) for rows in source.totals(entity, total, decimals_in_use)):
        # A key that cleansed cannot hold is in quarantine, and becomes null here.
        same_types = (pl.col(name).cast(ours.schema[name], strict=False) for name in entity.key)
        both = ours.join(theirs.with_columns(same_types), on=version)
        differs = found.ne_missing(expected)
        parts.append(
            both.group_by(date="order_date").agg(
                lines=pl.len().cast(pl.Int64),
                expected=expected.sum(),
                found=found.sum(),
                differing=differs.sum().cast(pl.Int64),
                sample=difference.filter(differs).sort().head(_SAMPLE),
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
    """Return the key (a missing text is blank), the unchanged key, its name, hashes of the content, and the clocks.

    The hashes hash_1 and hash_2 cover all columns except the key, the clock and the lineage.
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
        *(pl.col(name).alias(f"{name} as is") for name in table.key),
        name=pl.when(text == "").then(pl.lit(_BLANK)).otherwise(text),
        is_named=pl.all_horizontal(named),
        hash_1=content.hash(1),
        hash_2=content.hash(2),
        updated_at=clock,
        # The same rule as in `transforms.versions.effective_at`.
        effective_at=pl.when(clock > captured.dt.offset_by(f"{AHEAD_HOURS}h")).then(captured).otherwise(clock),
        captured_on="captured_on",
        captured_at="captured_at",
        is_deleted=pl.col("deleted_at").is_not_null(),
        change="change",
    )


def _joined(name: str, table: Table) -> pl.Expr:
    """Return a part of the key for joins; a missing text is blank, as in the shop, where raw may have null."""
    return pl.col(name).fill_null("") if table.schema[name] == pl.String else pl.col(name)


def _shortest(number: str) -> pl.Expr:
    """Return the text of a number without zeros at its end: a source that adds decimals keeps the same numbers."""
    text = pl.col(number)
    short = text.str.strip_chars_end("0").str.strip_chars_end(".")
    return pl.when(text.str.contains(".", literal=True)).then(short).otherwise(text).alias(number)
