"""Cut a range of dates of a cleansed table into batches that fit into memory."""

from datetime import date

import narwhals as nw
import polars as pl

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.delta.batches import Batch, cut
from orders_lakehouse.delta.frames import rows_of
from orders_lakehouse.delta.row_widths import counted_rows
from orders_lakehouse.delta.table_files import files_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.pipeline.key_index import root_of
from orders_lakehouse.tables import KEY_DATES, entity_of


def batches_by_versions(lake: Lake, table: Table, first: date, last: date) -> list[Batch]:
    """Cut a range into batches by the number of raw versions that each date of a cleansed table is derived from.

    Rows that count at the date of their order are estimated: every order is assumed to have the same number of lines.
    """
    if not lake.engine.needs_batches:
        return [Batch((first, last))]
    return cut(_counted_versions(lake, table, first, last), first, last)


def _counted_versions(lake: Lake, table: Table, first: date, last: date) -> dict[date, int]:
    entity = entity_of(table)
    raw, root = entity.raw, root_of(entity).raw
    counted = counted_rows(lake.open(raw), raw, within=pl.col("date").is_between(first, last))
    rows = dict(counted.select("date", "counted").iter_rows())
    if entity.is_dimension:
        return rows
    entries = rows_of(
        lake.scan(KEY_DATES)
        .filter(nw.col("table_name") == root.name)
        .filter(nw.col("order_date").is_between(nw.lit(first), nw.lit(last)))
        .group_by("order_date")
        .agg(nw.len())
    )
    orders, versions = (_rows_of_log(lake, table) for table in (root, raw))
    # Versions captured on other dates are assumed to be as wide as those captured within the range.
    stored, wide = (int(counted[name].sum()) for name in ("rows", "counted"))
    versions_per_order = versions / max(orders, 1) * (wide / stored if stored else 1)
    placed = {day: round(count * versions_per_order) for day, count in entries.iter_rows()}
    return {day: max(rows.get(day, 0), placed.get(day, 0)) for day in {*rows, *placed}}


def _rows_of_log(lake: Lake, table: Table) -> int:
    return int(files_of(lake.open(table), table)["rows"].sum())
