"""Write and read the lake's calendar, `raw/calendar`: it is written once, and defines every date and holiday.

New time zone data or holidays on this machine change nothing until somebody applies them (`apply_installed`).
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from threading import Lock

import narwhals as nw
import polars as pl
from deltalake import DeltaTable

from orders_lakehouse.calendar import FIRST, INSTANT, LAST, Calendar, installed_midnights, installed_zone_data
from orders_lakehouse.delta import object_store
from orders_lakehouse.delta.frames import rows_of
from orders_lakehouse.delta.log import find
from orders_lakehouse.delta.object_store import LakeError
from orders_lakehouse.delta.schema_evolution import as_contract
from orders_lakehouse.delta.table_files import files_of, state_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.base import ByOwnDate
from orders_lakehouse.entities.children import ORDERED_BEFORE_START
from orders_lakehouse.entities.registry import ENTITIES
from orders_lakehouse.errors import ExpectedError, TransientError
from orders_lakehouse.pipeline.key_index import rebuild_key_dates
from orders_lakehouse.settings import settings
from orders_lakehouse.tables import CALENDAR, ROOTS
from orders_lakehouse.transforms.columns import with_local_date

log = logging.getLogger(__name__)

# Prefix of a local date by the current calendar, next to the stored one; no column of ours begins so.
_BY_CALENDAR = "by_calendar__"
# Reasons of rows in quarantine that depend on a date.
_OUT_OF_RANGE = f"ordered_at_out_of_range|{ORDERED_BEFORE_START}"
# Number of calendars kept in memory, so that a process reads the midnights of each version once.
_REMEMBERED = 8
_known: dict[tuple[str, date, tuple[str, int]], Calendar] = {}
_lock = Lock()


class HolidaysError(ExpectedError):
    """The holidays of a country are not known."""


class CalendarChangedError(TransientError):
    """The calendar has changed during its use; a second try uses the new one."""


@dataclass(frozen=True)
class Changes:
    """Changes to the calendar that the data installed on this machine would make.

    Attributes:
        midnights: date, begins_at, becomes: a row for each date that would begin at another instant.
        holidays: date, holiday_name, becomes (null where there is no holiday): a row for each date that would differ.
    """

    midnights: pl.DataFrame
    holidays: pl.DataFrame


def calendar_of(lake: Lake) -> Calendar:
    """Return the calendar of a lake, which defines its dates.

    A lake without a calendar gets one, from the time zone data of this machine. A lake in UTC needs no midnights, so
    nothing is read.

    Raises:
        LakeError: The stored calendar is not whole, or was made for another time zone.
    """
    start = start_of(lake)
    if lake.timezone == "UTC":
        return Calendar(start, lake.timezone)
    with _lock:
        of = (lake.location(CALENDAR), start, state_of(lake.open(CALENDAR)))
        if of not in _known:
            handle = _written(lake)
            of = (*of[:2], state_of(handle))
            _known[of] = Calendar(start, lake.timezone, _midnights(_rows(handle, "date", "begins_at")))
            while len(_known) > _REMEMBERED:
                del _known[next(iter(_known))]
        return _known[of]


def start_of(lake: Lake) -> date:
    """Return the first partition of a lake; that of the settings, where the lake names none."""
    return lake.start or settings().start_date


def require_same(lake: Lake, calendar: Calendar) -> None:
    """Refuse to continue with a calendar that has been replaced since it was read: the index lacks its new dates.

    Raises:
        CalendarChangedError: Dates begin at other instants now.
    """
    if not calendar_of(lake).midnights.equals(calendar.midnights):
        raise CalendarChangedError(
            f"{CALENDAR.path} was replaced while rows were captured by the previous one; expected the same calendar "
            "for all of them. Run the same dates again."
        )


def days_with_holidays(lake: Lake, first: date, last: date) -> pl.DataFrame:
    """Return days and holidays as stored in the lake.

    The holidays of a year that has none yet are written, from the package installed on this machine. Their country is
    that of the stored holidays, or else that of the settings.

    Args:
        lake: The lake.
        first: First day.
        last: Last day.

    Returns:
        date, is_holiday, holiday_name (null on other days), holidays_country: one row for each day within the calendar.

    Raises:
        HolidaysError: The country's holidays are not known.
    """
    within = pl.col("date").is_between(first, last)
    days = stored(lake).filter(within)
    if days["is_holiday"].null_count():
        years = range(first.year, last.year + 1)
        country = country_of(lake)

        def extend(source: Lake) -> nw.LazyFrame[pl.LazyFrame]:
            rows = stored(source)
            unknown = rows.filter(pl.col("is_holiday").is_null(), pl.col("date").dt.year().is_in(list(years)))
            return nw.from_native(_with_holidays(rows, unknown["date"].dt.year().unique(), country).lazy())

        lake.replace_all(CALENDAR, extend)
        days = stored(lake).filter(within)
    return days.select("date", "is_holiday", "holiday_name", "holidays_country")


def country_of(lake: Lake) -> str:
    """Return the country whose holidays the lake has; that of the settings, where it has none."""
    countries = _countries(stored(lake))
    return countries[0] if countries else settings().holidays_country


def stored(lake: Lake) -> pl.DataFrame:
    """Return the rows of `raw/calendar`, ordered by date; the table is written where the lake has none."""
    return _rows(_written(lake))


def installed(timezone: str, country: str, years: Iterable[int]) -> pl.DataFrame:
    """Return rows of `raw/calendar` from the data installed on this machine.

    Args:
        timezone: IANA name.
        country: ISO 3166 alpha-2.
        years: Years with holidays; the holidays of other years are null.
    """
    rows = pl.DataFrame(
        {"date": pl.date_range(FIRST, LAST, eager=True), "begins_at": installed_midnights(timezone)}
    ).with_columns(
        zone_data=pl.lit(installed_zone_data(timezone)),
        is_holiday=pl.lit(None, pl.Boolean),
        **dict.fromkeys(("holiday_name", "holidays_country", "holidays_data"), pl.lit(None, pl.String)),
    )
    return _with_holidays(rows, pl.Series(list(years), dtype=pl.Int32), country)


def installed_holidays_data() -> str:
    """Return the version of the installed package of holidays."""
    from importlib.metadata import version

    return version("holidays")


def proposed(lake: Lake) -> pl.DataFrame:
    """Return rows of `raw/calendar` as they would be made now: the same years, the settings' country."""
    years = stored(lake).filter(pl.col("is_holiday").is_not_null())["date"].dt.year().unique()
    return installed(lake.timezone, settings().holidays_country, years)


def compare(before: pl.DataFrame, after: pl.DataFrame) -> Changes:
    """Return the differences between two calendars.

    Args:
        before: Rows of `raw/calendar`.
        after: Rows of `raw/calendar`.
    """
    both = before.join(after.rename({"begins_at": "becomes"}), on="date", suffix="_after")
    midnights = both.filter(pl.col("begins_at") != pl.col("becomes")).select("date", "begins_at", "becomes")
    holidays = both.filter(pl.col("holiday_name").ne_missing(pl.col("holiday_name_after")))
    return Changes(midnights, holidays.select("date", "holiday_name", becomes="holiday_name_after"))


def apply_installed(lake: Lake) -> Changes:
    """Replace the calendar by one from the data on this machine; `dates_to_run` returns the dates that it moves.

    The index gets the entries of moved orders before the calendar is written. So a crash leaves no order that its date
    does not find. It gets them again afterwards, for rows that were captured meanwhile.

    Raises:
        HolidaysError: The holidays of the country in the settings are not known.
    """
    before, after = stored(lake), proposed(lake)
    changes = compare(before, after)
    if changes.midnights.height:
        rebuild_key_dates(lake, Calendar(start_of(lake), lake.timezone, _midnights(after)))
    lake.replace_all(CALENDAR, lambda _: nw.from_native(after.lazy()))
    rebuild_key_dates(lake, calendar_of(lake))
    return changes


def dates_to_run(lake: Lake) -> list[date]:
    """Return dates of stored rows that have another date by the lake's calendar, because they were derived by another.

    Returns:
        In order: both dates of an order, and the partitions of rows with other local dates.
    """
    calendar, dates = calendar_of(lake), set[date]()
    reasons = nw.col("reasons").str
    for entity, table in ((root, table) for root in ROOTS for table in (root.cleansed, root.quarantine)):
        if find(lake, table) is None or not isinstance(entity.dating, ByOwnDate):
            continue
        rows = lake.scan(table).with_columns(stands_on="order_date")
        was_in_range = nw.lit(value=True) if table is entity.cleansed else ~reasons.contains(_OUT_OF_RANGE)
        dated = entity.dating.dated(rows, calendar).with_columns(was_in_range=was_in_range)
        is_in_range = nw.col("business_date") == nw.col("order_date")
        moved = (nw.col("stands_on") != nw.col("order_date")) | (is_in_range != nw.col("was_in_range"))
        for column in rows_of(dated.filter(moved).select("stands_on", "order_date").unique()):
            dates.update(column)
    for entity in ENTITIES:
        if entity.local_dates and find(lake, entity.cleansed) is None:
            continue
        for name, instant in entity.local_dates.items():
            dated = with_local_date(lake.scan(entity.cleansed), _BY_CALENDAR, instant, calendar)
            stale = dated.filter(nw.col(_BY_CALENDAR) != nw.col(name))
            dates.update(rows_of(stale.select(entity.partition).unique())[entity.partition])
    return sorted(dates)


def _written(lake: Lake) -> DeltaTable:
    """Return the table, open to read; a table without rows is written first."""
    handle = lake.open(CALENDAR)
    if files_of(handle, CALENDAR).is_empty():
        # A snapshot may be older than the calendar.
        live = Lake(lake.url, lake.timezone, lake.start)
        live.replace_all(CALENDAR, _first)
        handle = live.open(CALENDAR)
    return handle


def _first(source: Lake) -> nw.LazyFrame[pl.LazyFrame]:
    """Return the calendar as it is written first, or as another writer has just written it."""
    handle = source.open(CALENDAR)
    has_rows = not files_of(handle, CALENDAR).is_empty()
    rows = _rows(handle) if has_rows else installed(source.timezone, settings().holidays_country, ())
    return nw.from_native(rows.lazy())


def _rows(handle: DeltaTable, *columns: str) -> pl.DataFrame:
    """Return rows ordered by date, all columns or some. Both engines read them in this process."""
    frame = as_contract(nw.from_native(object_store.scan(handle)), handle, CALENDAR)
    return rows_of(frame.select(*columns) if columns else frame).sort("date")


def _midnights(rows: pl.DataFrame) -> pl.Series:
    """Return the midnights in rows of `raw/calendar`; a calendar that is not whole raises LakeError."""
    midnights = rows["begins_at"].cast(INSTANT)
    is_whole = rows["date"].equals(pl.date_range(FIRST, LAST, eager=True).alias("date"))
    if not is_whole or midnights.null_count() or not midnights.is_sorted():
        raise LakeError(
            f"{CALENDAR.path} is not whole: found {rows.height} rows, expected one for each date from {FIRST} to "
            f"{LAST}, with rising instants. `lakehouse read raw.calendar --version N` shows an older version; restore "
            "it, or remove the table to have it written from the time zone data of this machine."
        )
    return midnights


def _countries(rows: pl.DataFrame) -> list[str]:
    countries: list[str] = rows["holidays_country"].drop_nulls().unique(maintain_order=True).to_list()
    return countries


def _with_holidays(rows: pl.DataFrame, years: pl.Series, country: str) -> pl.DataFrame:
    """Return the rows of a calendar with the holidays of some years added."""
    if years.is_empty():
        return rows
    named = _holidays(country, tuple(sorted(years)))
    in_years = pl.col("date").dt.year().is_in(years.implode())
    columns = {
        "is_holiday": pl.col("named").is_not_null(),
        "holiday_name": pl.col("named"),
        "holidays_country": pl.lit(country),
        "holidays_data": pl.lit(installed_holidays_data()),
    }
    return (
        rows.join(named.rename({"holiday_name": "named"}), on="date", how="left", maintain_order="left")
        .with_columns(**{name: pl.when(in_years).then(value).otherwise(name) for name, value in columns.items()})
        .select(CALENDAR.columns)
    )


@lru_cache(maxsize=4)
def _holidays(country: str, years: tuple[int, ...]) -> pl.DataFrame:
    """Return the holidays of a country by the installed package: date, holiday_name."""
    import holidays

    try:
        known = holidays.country_holidays(country, years=years)
    except NotImplementedError:
        raise HolidaysError(
            f"LAKEHOUSE_HOLIDAYS_COUNTRY={country!r}: the holidays of that country are not known; expected one of "
            f"{', '.join(sorted(holidays.list_supported_countries()))}"
        ) from None
    named = {day: name for day, name in known.items() if day.year in set(years)}
    return pl.DataFrame(
        {"date": list(named), "holiday_name": list(named.values())}, schema={"date": pl.Date, "holiday_name": pl.String}
    )
