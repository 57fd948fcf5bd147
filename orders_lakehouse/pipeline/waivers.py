"""Apply the waivers in force to the lake: which stored rows they excuse, and which dates must be derived again."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import Enum

import narwhals as nw
import polars as pl

from orders_lakehouse.contracts.base import rules_of
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.contracts.waivers import KEY_SEPARATOR, Waiver, WaiversError, parse
from orders_lakehouse.delta.frames import rows_of
from orders_lakehouse.delta.log import find
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.pipeline.key_index import dates_of_keys
from orders_lakehouse.pipeline.quarantine import has_reason, quarantined
from orders_lakehouse.pipeline.stored_calendar import calendar_of
from orders_lakehouse.settings import PROJECT, Settings, settings
from orders_lakehouse.tables import CLEANSED, DIMENSIONS, WAIVABLE
from orders_lakehouse.transforms.split import (
    breaks_unwaived,
    key_of_row,
    reasons_of_stored,
    waived_by,
    waived_reasons,
)


class State(Enum):
    """State of a waiver."""

    IN_FORCE = "in force"
    EXPIRED = "expired"
    TO_REPLAY = "to replay"
    REJECTED_OTHERWISE = "rejected otherwise"
    STALE = "stale"


@dataclass(frozen=True)
class WaiverStatus:
    """A waiver and the rows of the lake that it names.

    Attributes:
        waiver: The waiver.
        state: `in force`: cleansed rows rely on it; `expired`: rows captured before its expiry rely on it, or a newer
            version is in quarantine again; `to replay`: its row is still in quarantine; `rejected otherwise`: its row
            is in quarantine for other reasons; `stale`: no row breaks the rule.
        rows: Number of cleansed rows that rely on it.
    """

    waiver: Waiver
    state: State
    rows: int


def configured_waivers(lake: Lake) -> tuple[Waiver, ...]:
    """Return the waivers in force, read at each call.

    Args:
        lake: The lake, whose calendar decides when they expire.

    Raises:
        WaiversError: The configured file does not exist, or has bad entries; the message names the entries.
    """
    path = settings().waivers
    if not path.exists() and path == Settings.model_fields["waivers"].default:
        return ()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WaiversError(f"the waivers in {path} cannot be read: {error}; LAKEHOUSE_WAIVERS names it") from error
    name = path.relative_to(PROJECT) if path.is_relative_to(PROJECT) else path
    return parse(text, str(name), lambda day: calendar_of(lake).begins_at(day), CLEANSED, WAIVABLE)


def excused(
    lake: Lake, table: Table, rows: pl.DataFrame, dates: tuple[date, date] | None, waivers: Sequence[Waiver]
) -> pl.DataFrame:
    """Return stored rows that break only waived rules, waived for the row itself or for a line that it is made of.

    Args:
        lake: The lake.
        table: A cleansed or curated table.
        rows: Its rows.
        dates: First and last date of the rows; None for all.
        waivers: The waivers in force.

    Returns:
        index (position among `rows`), row (key as text), date (null in a table without dates), rules (waived rules that
        the row breaks, comma-separated).
    """
    named = _made_of_waived(lake, table, rows.with_row_index("index"), dates, waivers)
    if table in CLEANSED:
        waived = waived_by(waivers, table)
    else:
        # A sum of values that may be negative may be negative, too. A missing value is never excused.
        values = [rule.reason for rule in rules_of(table.model) if not rule.reason.endswith("_missing")]
        waived = {reason: nw.lit(value=True) for reason in values}
    judged = nw.from_native(named.lazy()).select(
        "index",
        key_of_row(table).alias("row"),
        date=nw.col(table.partitioned_by) if table.partitioned_by else nw.lit(None).cast(nw.Date),
        rules=waived_reasons(table, waived),
        others=reasons_of_stored(table, waived),
    )
    return rows_of(judged.filter(nw.col("rules") != "", nw.col("others") == "").drop("others"))


def _made_of_waived(
    lake: Lake, table: Table, rows: pl.DataFrame, dates: tuple[date, date] | None, waivers: Sequence[Waiver]
) -> pl.DataFrame:
    """Return the rows that a waiver names, or that are made of an order line or an order that a waiver names."""
    if table in CLEANSED:
        keys = _keys(waivers, table)
        not_deleted = nw.from_native(rows.lazy()).filter(key_of_row(table).is_in(keys), ~nw.col("is_deleted"))
        return rows_of(not_deleted) if keys else rows.clear()
    made_of = _row_by_row(table)
    # Members of dimensions only add attributes, and curated contracts have no rules on these.
    named = {of: _keys(waivers, of) for of in made_of.upstream if of in CLEANSED and of not in DIMENSIONS}
    # The keys of a sum come from the rows that it sums: from a curated table that holds them, otherwise from cleansed.
    frames = [
        lake.scan(place, between=dates).filter(key_of_row(of).is_in(keys)).select(table.key)
        for of, keys in named.items()
        if keys
        for place in [made_of if set(of.key) <= set(made_of.columns) else of]
    ]
    return rows.join(rows_of(nw.concat(frames).unique()), on=list(table.key), how="semi") if frames else rows.clear()


def _row_by_row(table: Table) -> Table:
    """Return the curated table whose rows are cleansed rows: this table, or the one that it is made of."""
    return table if any(of in CLEANSED for of in table.upstream) else _row_by_row(table.upstream[0])


def _keys(waivers: Sequence[Waiver], table: Table) -> list[str]:
    return [waiver.key for waiver in waivers if waiver.table == table.name]


def waiver_statuses(lake: Lake, waivers: Sequence[Waiver], today: date) -> list[WaiverStatus]:
    """Return the status of each waiver.

    Args:
        lake: The lake.
        waivers: The waivers in force.
        today: Date that decides which waivers are called expired; no stored row depends on it.
    """
    by_waiver: dict[Waiver, WaiverStatus] = {}
    for table in CLEANSED:
        of_table = [waiver for waiver in waivers if waiver.table == table.name]
        if of_table:
            stored, rejected = _stored(lake, table, of_table), _rejected(lake, table, of_table)
            by_waiver |= {waiver: _status(waiver, stored, rejected, today) for waiver in of_table}
    return [by_waiver[waiver] for waiver in waivers]


def _status(waiver: Waiver, stored: pl.DataFrame, rejected: pl.DataFrame, today: date) -> WaiverStatus:
    rows = stored.filter(pl.col("key") == waiver.key, has_reason(waiver.rule)).height
    of_key = rejected.filter(key=waiver.key)
    with_reason = of_key.filter(has_reason(waiver.rule))
    covered = pl.col("captured_at") < waiver.until
    # A value that the rule removed comes back when the row is replayed.
    blanked = stored.filter(covered, pl.col("key") == waiver.key, has_reason(waiver.rule, "warnings"))
    if with_reason.filter(covered).height or blanked.height:
        state = State.TO_REPLAY
    elif rows:
        state = State.EXPIRED if waiver.expires < today else State.IN_FORCE
    elif with_reason.height:
        state = State.EXPIRED
    else:
        state = State.REJECTED_OTHERWISE if of_key.height else State.STALE
    return WaiverStatus(waiver, state, rows)


def _stored(lake: Lake, table: Table, waivers: Sequence[Waiver]) -> pl.DataFrame:
    """Return cleansed rows that waivers name: key, reasons (the waived ones), warnings, captured_at, date."""
    if find(lake, table) is None:
        instant = table.schema["captured_at"]
        text = dict.fromkeys(("key", "reasons", "warnings"), pl.String())
        return pl.DataFrame(schema={**text, "captured_at": instant, "date": pl.Date})
    key = key_of_row(table)
    rows = lake.scan(table).filter(key.is_in(_keys(waivers, table)))
    waived = waived_reasons(table, waived_by(waivers, table))
    date = nw.col(str(table.partitioned_by))
    return rows_of(rows.select(key.alias("key"), "warnings", "captured_at", reasons=waived, date=date))


def _rejected(lake: Lake, table: Table, waivers: Sequence[Waiver]) -> pl.DataFrame:
    """Return rows in quarantine that waivers name: key, reasons, captured_at."""
    key = key_of_row(table)
    rows = nw.from_native(quarantined(lake, table)).filter(key.is_in(_keys(waivers, table)))
    return rows_of(rows.select(key.alias("key"), "reasons", "captured_at"))


def dates_to_judge_again(lake: Lake, table: Table, waivers: Sequence[Waiver]) -> list[date]:
    """Return dates of a cleansed table that must be derived again though no row of them is in quarantine.

    Args:
        lake: The lake.
        table: A cleansed table.
        waivers: The waivers in force.

    Returns:
        In order: dates of stored rows that break an unwaived rule (a waiver was withdrawn, or the contract got
        stricter); of stored rows that lack a value which is waived now; and of rows that a waiver names and that are in
        neither table yet.
    """
    dates: set[date] = set()
    if find(lake, table) is not None:
        breaking = lake.scan(table).filter(breaks_unwaived(table, waived_by(waivers, table)))
        dates.update(rows_of(breaking.select(str(table.partitioned_by)).unique()).to_series())
    stored, rejected = _stored(lake, table, waivers), _rejected(lake, table, waivers)
    for waiver in (waiver for waiver in waivers if waiver.table == table.name):
        of_row = pl.col("key") == waiver.key, pl.col("captured_at") < waiver.until
        dates.update(stored.filter(*of_row, has_reason(waiver.rule, "warnings"))["date"])
    nowhere = set(_keys(waivers, table)) - {*stored["key"], *rejected["key"]}
    if nowhere:
        first_parts = [key.rsplit(KEY_SEPARATOR, len(table.key) - 1)[0] for key in nowhere]
        dates.update(dates_of_keys(lake, table, first_parts))
    return sorted(dates)
