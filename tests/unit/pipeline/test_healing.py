"""How many rows may be gone at once, and which versions win over those that they follow."""

from datetime import date, datetime, timedelta

import narwhals as nw
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.entities.orders import RAW_ORDERS
from orders_lakehouse.pipeline.healing import held_back
from orders_lakehouse.pipeline.tombstones import at_known_clock
from orders_lakehouse.transforms.versions import current_versions
from tests.support.rows import at, on, rows

CALENDAR = Calendar(on("2017-01-01"), "UTC")
SEEN = at("2020-03-10 12:00")


def by_date(*counts: int) -> pl.DataFrame:
    dates = [date(2020, 3, 1) + timedelta(days=number) for number in range(len(counts))]
    found = pl.DataFrame({"date": dates, "rows": counts}, schema={"date": pl.Date, "rows": pl.Int64})
    return found.filter(pl.col("rows") > 0)


def held(standing: tuple[int, ...], gone: tuple[int, ...], limit: float = 0.05) -> list[tuple[int, int, int, bool]]:
    found = held_back(by_date(*standing), by_date(*gone), limit)
    return [(day.day, *rest) for day, *rest in found.select("date", "gone", "keys", "of_table").rows()]


def test_few_rows_are_deleted_and_a_large_share_is_held() -> None:
    assert held((100, 100), (5, 1)) == []
    assert held((100, 100), (5, 6)) == [(1, 11, 200, True), (2, 11, 200, True)]


def test_date_is_held_alone() -> None:
    assert held((1000, 20, 19), (0, 2, 19)) == [(2, 2, 20, False)]


def test_small_table_has_no_share_limit_but_is_never_emptied() -> None:
    assert held((10,), (9,)) == []
    assert held((10,), (10,)) == [(1, 10, 10, True)]
    assert held((1,), (1,)) == []


COUNTS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=8)


@given(counts=COUNTS, limit=st.floats(0, 1))
def test_no_more_than_the_limit_is_deleted(counts: list[tuple[int, int]], limit: float) -> None:
    standing = tuple(max(pair) for pair in counts)
    gone = tuple(min(pair) for pair in counts)
    found = held(standing, gone, limit)
    going = sum(gone) - sum(gone[day - 1] for day, *_ in found)
    assert [day for day, *_ in found if gone[day - 1] == 0] == []
    if sum(standing) >= 20:
        assert going <= limit * sum(standing)
    if sum(standing) > 1 and limit < 1:
        assert going < sum(standing)
    days = {day for day, *_ in found}
    for day, (stood, lost) in enumerate(zip(standing, gone, strict=True), start=1):
        assert stood < 20 or lost <= limit * stood or day in days


@given(counts=COUNTS)
def test_everything_within_the_limit_is_deleted(counts: list[tuple[int, int]]) -> None:
    assert held(tuple(max(pair) for pair in counts), tuple(min(pair) for pair in counts), 1) == []


INSTANTS = st.integers(-20 * 24, 40 * 24).map(lambda hours: SEEN + timedelta(hours=hours))


@given(
    versions=st.lists(st.tuples(INSTANTS, st.integers(1, 200)), min_size=1, max_size=5, unique_by=lambda one: one[1]),
)
def test_following_version_wins_for_any_clocks(versions: list[tuple[datetime, int]]) -> None:
    """A tombstone ends the version that counted, and no rule rejects its clock."""
    known = rows(
        RAW_ORDERS,
        *(
            {
                "updated_at": clock,
                "captured_at": SEEN - timedelta(hours=hours),
                "captured_on": min(clock, SEEN - timedelta(hours=hours)).date(),
                "status": f"captured {hours} hours before",
            }
            for clock, hours in versions
        ),
    )
    last = current(known)
    tombstone = at_known_clock(last, SEEN, CALENDAR).with_columns(deleted_at=pl.lit(SEEN))
    assert current(pl.concat([known, tombstone])).equals(tombstone)
    assert tombstone["updated_at"].item() <= SEEN + timedelta(hours=24)
    assert tombstone["status"].equals(last["status"])
    again = at_known_clock(tombstone, SEEN + timedelta(hours=1), CALENDAR).with_columns(status=pl.lit("back"))
    assert current(pl.concat([known, tombstone, again]))["status"].item() == "back"


def current(versions: pl.DataFrame) -> pl.DataFrame:
    frame: pl.LazyFrame = nw.to_native(current_versions(nw.from_native(versions.lazy()), RAW_ORDERS.key))
    return frame.select(versions.columns).collect()
