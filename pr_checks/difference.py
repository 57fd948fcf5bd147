"""Compare two states of a table: rows by key, cells by column, totals, quarantine. Pure functions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import polars as pl

# Columns that record who wrote a row, and when; they are not compared.
LINEAGE = ("run_id", "captured_at", "seen_at")
_CELLS = {"column": pl.String, "before": pl.String, "after": pl.String}


@dataclass(frozen=True)
class Difference:
    """Two states of a table.

    Attributes:
        table: Layer and name.
        key: Columns that identify rows.
        before: Number of rows of the base.
        after: Number of rows of the change.
        added: Rows whose key is new, the table's columns.
        removed: Rows whose key is gone, the table's columns.
        cells: key (text), column, before, after (text): a row for each differing cell of a row on both sides.
        columns: Type before and after of each column that is new, gone, or of another type; None where it is missing.
        totals: Sums before and after, as text, of each numeric column whose sum differs.
    """

    table: str
    key: tuple[str, ...]
    before: int
    after: int
    added: pl.DataFrame
    removed: pl.DataFrame
    cells: pl.DataFrame
    columns: dict[str, tuple[str | None, str | None]] = field(default_factory=dict)
    totals: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def changed(self) -> int:
        """Number of rows on both sides with a differing cell."""
        return self.cells["key"].n_unique()

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not (self.added.height or self.removed.height or self.cells.height or self.columns)


def compare(table: str, before: pl.DataFrame, after: pl.DataFrame, key: Sequence[str]) -> Difference:
    """Compare two states of a table.

    Args:
        table: Layer and name.
        before: Rows of the base.
        after: Rows of the change.
        key: Columns that identify rows. If they do not, or a side lacks one of them, whole rows are compared. A side
            without columns has no such table, and is not considered for the key.
    """
    before, after = (rows.drop(LINEAGE, strict=False) for rows in (before, after))
    key = [name for name in key if name not in LINEAGE]
    shared = [name for name in before.columns if name in after.columns]
    columns = {
        name: (_type(before, name), _type(after, name))
        for name in dict.fromkeys([*before.columns, *after.columns])
        if _type(before, name) != _type(after, name)
    }
    # Columns whose type changed are compared as text.
    retyped = [pl.col(name).cast(pl.String) for name in columns if name in shared]
    left, right = before.with_columns(retyped), after.with_columns(retyped)
    existing = [rows for rows in (left, right) if rows.columns]
    whole = shared or left.columns or right.columns
    identity = tuple(key if all(_is_key(rows, key) for rows in existing) else whole)
    gone, new = _without(left, right, identity), _without(right, left, identity)
    return Difference(
        table,
        identity,
        before.height,
        after.height,
        added=new,
        removed=gone,
        cells=_cells(left, right, identity, [name for name in shared if name not in identity]),
        columns=columns,
        totals=_totals(before, after, [name for name in shared if name not in key and not name.endswith("_id")]),
    )


def moved(tables: Iterable[Difference]) -> pl.DataFrame:
    """Return rows that entered or left quarantine, by reason, and those that stay with other reasons.

    Args:
        tables: Differences of all tables.

    Returns:
        table, reason, key, side: `passes now` or `rejected now`; for rows rejected on both sides, `no longer a reason`
        or `a reason, too`.
    """
    frames = [pl.DataFrame(schema=dict.fromkeys(("table", "reason", "key", "side"), pl.String))]
    for table in tables:
        if not table.table.startswith("quarantine/"):
            continue
        reasons = table.cells.filter(pl.col("column") == "reasons").with_columns(
            pl.col("before", "after").str.split(", ")
        )
        sides = {
            "passes now": _rejected(table.removed, table.key),
            "rejected now": _rejected(table.added, table.key),
            "no longer a reason": reasons.select("key", reason=pl.col("before").list.set_difference("after")),
            "a reason, too": reasons.select("key", reason=pl.col("after").list.set_difference("before")),
        }
        name = table.table.removeprefix("quarantine/")
        frames += [
            rows.explode("reason")
            .drop_nulls("reason")
            .select(pl.lit(name).alias("table"), "reason", "key", pl.lit(side).alias("side"))
            for side, rows in sides.items()
        ]
    return pl.concat(frames)


def restated(before: pl.DataFrame, after: pl.DataFrame, by: str, measure: str) -> pl.DataFrame:
    """Compare a reported number of each date.

    Args:
        before: Rows of the base: order_date, the group, the measure. A side without these columns has no rows.
        after: Rows of the change.
        by: Column of groups that are never added to one another.
        measure: The number.

    Returns:
        The group, dates (number of dates on either side), changed (number of dates whose number differs), before, after
        (sums): a row for each group, the largest first.
    """
    key = ["order_date", by]
    empty = pl.DataFrame(schema={"order_date": pl.Date, by: pl.String, measure: pl.Decimal(38, 4)})
    sides = [
        (rows if {*key, measure} <= {*rows.columns} else empty).group_by(key).agg(pl.col(measure).sum().alias(side))
        for side, rows in (("before", before), ("after", after))
    ]
    both = sides[0].join(sides[1], on=key, how="full", coalesce=True)
    return (
        both.group_by(by)
        .agg(
            pl.len().alias("dates"),
            pl.col("before").ne_missing(pl.col("after")).sum().alias("changed"),
            pl.col("before", "after").sum(),
        )
        .sort("after", by, descending=[True, False])
    )


def _type(rows: pl.DataFrame, name: str) -> str | None:
    return str(rows.schema[name]) if name in rows.columns else None


def _is_key(rows: pl.DataFrame, key: Sequence[str]) -> bool:
    return bool(key) and set(key) <= set(rows.columns) and not rows.select(key).is_duplicated().any()


def _without(rows: pl.DataFrame, others: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """Return rows that the others lack; of repeated rows, as many as are surplus."""
    if not set(key) <= {*rows.columns} & {*others.columns}:
        return rows
    numbered = [frame.with_columns(pl.int_range(pl.len()).over(key).alias("nth")) for frame in (rows, others)]
    return numbered[0].join(numbered[1], on=[*key, "nth"], how="anti", nulls_equal=True).drop("nth")


def _cells(before: pl.DataFrame, after: pl.DataFrame, key: Sequence[str], columns: Sequence[str]) -> pl.DataFrame:
    if not columns:
        return pl.DataFrame(schema={"key": pl.String, **_CELLS})
    both = before.join(after, on=list(key), how="inner", nulls_equal=True, suffix=":after")
    different = [
        both.filter(pl.col(name).ne_missing(pl.col(f"{name}:after"))).select(
            key=_as_text(key),
            column=pl.lit(name),
            before=pl.col(name).cast(pl.String),
            after=pl.col(f"{name}:after").cast(pl.String),
        )
        for name in columns
    ]
    return pl.concat(different).sort("key", "column")


def _totals(before: pl.DataFrame, after: pl.DataFrame, shared: Sequence[str]) -> dict[str, tuple[str, str]]:
    numeric = [name for name in shared if before.schema[name].is_numeric() and after.schema[name].is_numeric()]
    # Integers are widened first, because a sum of 32-bit integers has 32 bits.
    wide = pl.selectors.integer().cast(pl.Int64)
    sums = [rows.select(numeric).with_columns(wide).sum().row(0) if numeric else () for rows in (before, after)]
    return {name: (str(was), str(now)) for name, was, now in zip(numeric, *sums, strict=True) if was != now}


def _rejected(rows: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """Return keys (text) and reasons (list) of quarantined rows; none for a side without such a table."""
    if not {"reasons", *key} <= {*rows.columns}:
        return pl.DataFrame(schema={"key": pl.String, "reason": pl.List(pl.String)})
    return rows.select(
        key=_as_text([name for name in key if name != "updated_at"]), reason=pl.col("reasons").str.split(", ")
    )


def _as_text(key: Sequence[str]) -> pl.Expr:
    return pl.concat_str([pl.col(name).cast(pl.String).fill_null("null") for name in key], separator=" / ")
