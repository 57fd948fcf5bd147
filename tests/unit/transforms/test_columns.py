"""Cleaning of single columns."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import narwhals as nw
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orders_lakehouse.calendar import FIRST, INSTANT, LAST
from orders_lakehouse.contracts.codes import COUNTRY_ALIASES
from orders_lakehouse.contracts.types import MONEY, PRICE, QUANTITY
from orders_lakehouse.transforms import columns as c
from tests.support.calendars import ZONES, calendar_in, moved
from tests.support.frames import Lazily, collected, on_polars
from tests.support.rows import at, on


def _cleaned(lazily: Lazily, values: list[Any], dtype: Any, expression: nw.Expr) -> list[Any]:
    frame = lazily(pl.DataFrame({"n": range(len(values)), "x": pl.Series(values, dtype=dtype)}))
    return collected(frame.with_columns(expression.alias("made"))).sort("n")["made"].to_list()


@pytest.mark.parametrize(
    ("clean", "found", "expected"),
    [
        (c.trimmed, " a b ", "a b"),
        (c.trimmed, "\t\n a\r\n", "a"),
        (c.trimmed, "   ", None),
        (c.trimmed, "", None),
        (c.trimmed, None, None),
        (c.trimmed, "Aé", "Aé"),
        (c.upper, " eur ", "EUR"),
        (c.upper, "", None),
        (c.upper, "ß", "SS"),
        (c.lower, " Ada@Example.ORG ", "ada@example.org"),
        (c.lower, " ", None),
        (c.key_or_null, " K1 ", " K1 "),
        (c.key_or_null, "k1", "k1"),
        (c.key_or_null, " \t", None),
        (c.key_or_null, "", None),
        (c.key_or_null, None, None),
    ],
)
def test_text_is_cleaned(
    lazily: Lazily,
    request: pytest.FixtureRequest,
    clean: Callable[[str], nw.Expr],
    found: str | None,
    expected: str | None,
) -> None:
    if found == "ß" and "duckdb" in request.node.callspec.id:
        pytest.skip("engines differ in the upper case of ß, which is in no code")
    assert _cleaned(lazily, [found], pl.String, clean("x")) == [expected]


@pytest.mark.parametrize("clean", [c.trimmed, c.upper, c.lower, c.key_or_null])
def test_cleaned_column_keeps_its_name(clean: Callable[[str], nw.Expr], lazily: Lazily) -> None:
    assert lazily(pl.DataFrame({"x": ["a"]})).select(clean("x")).collect_schema().names() == ["x"]


@given(st.lists(st.text(), min_size=1))
@settings(max_examples=40)
def test_trimming_is_idempotent_and_leaves_no_blank(texts: list[str]) -> None:
    once = _cleaned(on_polars, texts, pl.String, c.trimmed("x"))
    assert _cleaned(on_polars, once, pl.String, c.trimmed("x")) == once
    assert "" not in once
    assert _cleaned(on_polars, texts, pl.String, c.key_or_null("x")) == [
        text if kept is not None else None for text, kept in zip(texts, once, strict=True)
    ]


LONGER, OTHER = "too many decimals", "no number of the column"


def _read(lazily: Lazily, texts: list[str | None], kind: tuple[int, int]) -> list[Any]:
    """What `number` makes of texts: the number as text, LONGER, OTHER or None."""
    named = {Decimal(1).scaleb(-kind[1] - 1): LONGER, Decimal(10) ** (kind[0] - kind[1]): OTHER}
    found = _cleaned(lazily, texts, pl.String, c.number("x", kind))
    return [None if number is None else named.get(number) or str(number.quantize(_unit(kind))) for number in found]


def _unit(kind: tuple[int, int]) -> Decimal:
    return Decimal(1).scaleb(-kind[1])


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("1.0000", (18, 2), "1.00"),
        ("1.0000", (18, 4), "1.0000"),
        ("1.005", (18, 4), "1.0050"),
        ("1.005", (18, 2), LONGER),
        ("-0.005", (18, 2), LONGER),
        ("-0.005", (18, 4), "-0.0050"),
        ("-0.00", (18, 2), "0.00"),
        ("0", (18, 2), "0.00"),
        ("0.10000000000000000000000000000000000000000000000000000", (18, 2), "0.10"),
        ("0.00000000000000000000000000000000000000000000000000001", (18, 2), LONGER),
        ("9999999999999999.99", (18, 2), "9999999999999999.99"),
        ("-9999999999999999.99", (18, 2), "-9999999999999999.99"),
        ("10000000000000000", (18, 2), OTHER),
        ("99999999999999.9999", (18, 4), "99999999999999.9999"),
        ("100000000000000", (18, 4), OTHER),
        ("9999999999999999.99999999", (24, 8), "9999999999999999.99999999"),
        ("0.00000001", (24, 8), "1E-8"),
        ("0.000000001", (24, 8), LONGER),
        ("999999999999.999999", (18, 6), "999999999999.999999"),
        ("1.5", (18, 6), "1.500000"),
        ("1" * 60, (18, 2), OTHER),
        ("1e5", (18, 2), OTHER),
        ("nan", (18, 2), OTHER),
        ("NaN", (18, 2), OTHER),
        ("Infinity", (18, 2), OTHER),
        ("-Infinity", (18, 4), OTHER),
        ("", (18, 2), OTHER),
        ("-", (18, 2), OTHER),
        (".5", (18, 2), OTHER),
        ("+1", (18, 2), OTHER),
        ("1,5", (18, 2), OTHER),
        (" 1", (18, 2), OTHER),
        ("1\n", (18, 2), OTHER),
        ("\u0661", (18, 2), OTHER),
        ("0x1", (18, 2), OTHER),
        (None, (18, 2), None),
    ],
)
def test_number_as_text_is_read_exactly_or_marked(
    lazily: Lazily, text: str | None, kind: tuple[int, int], expected: str | None
) -> None:
    assert _read(lazily, [text], kind) == [expected]


def _exactly(text: str, kind: tuple[int, int]) -> str:
    matched = re.fullmatch(r"-?([0-9]+)(?:\.([0-9]*))?", text)
    if matched is None or len(matched[1]) > kind[0] - kind[1]:
        return OTHER
    value = Decimal(text)
    return str(value.quantize(_unit(kind))) if value == round(value, kind[1]) else LONGER


_NUMBER = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**19), max_value=10**19, places=6).map(
    lambda number: f"{number:f}"
)
_TRAILING = st.tuples(_NUMBER, st.integers(0, 30)).map(lambda pair: pair[0] + "0" * pair[1])
_ROUND = st.tuples(st.integers(-(10**17), 10**17), st.integers(0, 4)).map(lambda p: f"{Decimal(p[0]).scaleb(-p[1]):f}")


@given(
    st.lists(_TRAILING | _ROUND | st.text("0123456789.-+eE naif_\n", max_size=22), min_size=1, max_size=40),
    st.sampled_from([MONEY, PRICE, QUANTITY]),
)
@settings(max_examples=150)
def test_number_as_postgres_prints_it_is_read_exactly_or_marked(texts: list[str], kind: tuple[int, int]) -> None:
    expected = [_exactly(text, kind) for text in texts]
    assert [_plain(one) for one in _read(on_polars, [*texts], kind)] == [_plain(one) for one in expected]


def _plain(number: str) -> str:
    """A number as text, zero without a sign."""
    return number if number in (LONGER, OTHER) else str(abs(Decimal(number)) if not Decimal(number) else number)


@pytest.mark.parametrize(
    ("found", "expected"), [("UK", "GB"), (" uk ", "GB"), ("el", "GR"), ("gb", "GB"), ("UKR", "UKR"), ("", None)]
)
def test_alias_of_a_code_becomes_the_code(lazily: Lazily, found: str, expected: str | None) -> None:
    written = collected(lazily(pl.DataFrame({"x": [found]})).with_columns(c.upper("x")))["x"].to_list()
    assert _cleaned(lazily, [*written, None], pl.String, c.without_alias("x", COUNTRY_ALIASES)) == [expected, None]


@given(st.lists(st.dates(), min_size=1, max_size=50), st.dates())
@example([date.min, date.max, date(2000, 2, 29), date(1900, 3, 1), date(2100, 2, 28)], date.min)
@settings(max_examples=100)
def test_days_between_agrees_with_the_calendar_for_all_dates(days: list[date], until: date) -> None:
    assert _cleaned(on_polars, days, pl.Date, c.days_between("x", until)) == [(until - day).days for day in days]


def test_days_between_is_null_without_a_date(lazily: Lazily) -> None:
    assert _cleaned(lazily, [None], pl.Date, c.days_between("x", date(2020, 1, 1))) == [None]


def _dates(instants: list[datetime | None], timezone: str) -> list[date | None]:
    frame = nw.from_native(pl.LazyFrame({"x": pl.Series(instants, dtype=pl.Datetime("us", "UTC"))}))
    return collected(c.with_local_date(frame, "made", "x", calendar_in(timezone)))["made"].to_list()


@pytest.mark.parametrize(
    ("instant", "timezone", "expected"),
    [
        ("2020-03-28T22:59:59.999999+00:00", "Europe/Berlin", "2020-03-28"),
        ("2020-03-28T23:00:00+00:00", "Europe/Berlin", "2020-03-29"),
        ("2020-03-29T21:59:59.999999+00:00", "Europe/Berlin", "2020-03-29"),
        ("2020-03-29T22:00:00+00:00", "Europe/Berlin", "2020-03-30"),
        ("2020-10-25T22:59:59.999999+00:00", "Europe/Berlin", "2020-10-25"),
        ("2020-10-25T23:00:00+00:00", "Europe/Berlin", "2020-10-26"),
        # A midnight that does not exist.
        ("2018-11-04T02:59:59.999999+00:00", "America/Sao_Paulo", "2018-11-03"),
        ("2018-11-04T03:00:00+00:00", "America/Sao_Paulo", "2018-11-04"),
        # An hour before midnight that comes twice.
        ("2018-02-18T02:30:00+00:00", "America/Sao_Paulo", "2018-02-17"),
        ("2018-02-18T03:00:00+00:00", "America/Sao_Paulo", "2018-02-18"),
        # A day that was left out.
        ("2011-12-30T09:59:59+00:00", "Pacific/Apia", "2011-12-29"),
        ("2011-12-30T10:00:00+00:00", "Pacific/Apia", "2011-12-31"),
        ("2020-01-01T00:00:00+00:00", "UTC", "2020-01-01"),
        ("2020-01-01T00:00:00+00:00", "Asia/Kathmandu", "2020-01-01"),
        ("2019-12-31T18:15:00+00:00", "Asia/Kathmandu", "2020-01-01"),
    ],
)
def test_instant_has_the_date_of_the_clock_on_the_wall(instant: str, timezone: str, expected: str) -> None:
    assert _dates([at(instant), None], timezone) == [on(expected), None]


@given(
    st.lists(
        st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)).map(lambda naive: naive.replace(tzinfo=UTC)),  # noqa: DTZ001
        min_size=1,
        max_size=40,
    ),
    st.sampled_from(ZONES),
    st.dates(FIRST, LAST),
    st.integers(-100_000, 100_000),
)
@example([at("2011-12-30 10:00"), at("2011-12-31 09:59:59")], "Pacific/Apia", FIRST, 0)
@example([at("1969-10-01 11:59"), at("1969-09-30 12:00")], "Pacific/Kwajalein", FIRST, 0)
@settings(max_examples=60)
def test_every_instant_has_the_date_that_the_calendar_gives_it(
    instants: list[datetime], timezone: str, first: date, seconds: int
) -> None:
    calendar = moved(calendar_in(timezone), first, first + timedelta(days=100), timedelta(seconds=seconds))
    rows = pl.DataFrame({"x": pl.Series([*instants, None], dtype=INSTANT), "number": range(len(instants) + 1)})
    dated = collected(c.with_local_date(on_polars(rows), "made", "x", calendar)).sort("number")
    assert dated.columns == ["x", "number", "made"]
    assert dated["made"].to_list() == [*map(calendar.date_of, instants), None]


def test_dates_do_not_depend_on_the_order_of_instants() -> None:
    midnight = datetime(2020, 3, 29, tzinfo=ZoneInfo("Europe/Berlin"))
    hours = [midnight.astimezone(UTC) + timedelta(hours=hour) for hour in range(23)]
    assert set(_dates([*hours], "Europe/Berlin")) == {date(2020, 3, 29)}
    assert _dates([hours[-1] + timedelta(hours=1)], "Europe/Berlin") == [date(2020, 3, 30)]


def test_integer_that_does_not_fit_32_bits_is_null(lazily: Lazily) -> None:
    values = [0, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**63 - 1, None]
    assert _cleaned(lazily, values, pl.Int64, c.integer("x")) == [0, 2**31 - 1, None, -(2**31), None, None, None]
    assert collected(on_polars(pl.DataFrame({"x": [1]})).select(c.integer("x"))).schema == {"x": pl.Int32}
