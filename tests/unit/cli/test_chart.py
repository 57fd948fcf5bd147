"""Revenue by month in the terminal."""

from datetime import date
from decimal import Decimal

import polars as pl
import pytest

from orders_lakehouse.cli.chart import revenue_by_month, show_revenue
from orders_lakehouse.curated.daily_sales import DAILY_SALES


def sales(*rows: tuple[str, str, str]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "order_date": date.fromisoformat(day),
                "currency": currency,
                "orders": 1,
                "lines": 1,
                "units": 1,
                "gross": Decimal("9999999.99"),
                "net": Decimal(net),
            }
            for day, currency, net in rows
        ],
        schema=DAILY_SALES.schema,
    )


def test_sales_are_summed_by_month_and_currency() -> None:
    found = revenue_by_month(
        sales(
            ("2017-02-28", "USD", "1.05"),
            ("2017-01-31", "USD", "1.10"),
            ("2017-02-01", "USD", "2.20"),
            ("2017-02-01", "EUR", "7.00"),
        )
    )
    assert found.rows() == [
        ("EUR", "2017-02", Decimal("7.00")),
        ("USD", "2017-01", Decimal("1.10")),
        ("USD", "2017-02", Decimal("3.25")),
    ]


def test_two_years_are_shown() -> None:
    days = [f"{year}-{month:02}-01" for year in (2016, 2017, 2018) for month in range(1, 13)]
    found = revenue_by_month(sales(*((day, "USD", "1.00") for day in days)))
    assert found["month"].to_list() == [day[:7] for day in days[12:]]


def test_each_currency_has_a_chart_of_its_revenue(capsys: pytest.CaptureFixture[str]) -> None:
    show_revenue(
        sales(
            ("2017-01-31", "USD", "1000000.00"),
            ("2017-02-01", "USD", "500000.00"),
            ("2017-03-01", "USD", "0.00"),
            ("2017-02-01", "EUR", "7.00"),
            ("2017-02-01", "JPY", "1500"),
        )
    )
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    euro, yen, dollar = (
        next(number for number, line in enumerate(lines) if f", {currency}," in line)
        for currency in ("EUR", "JPY", "USD")
    )
    assert lines[euro + 3] == "2017-02  " + "█" * 40 + "     7.00"
    assert lines[yen + 3] == "2017-02  " + "█" * 40 + "    1,500"
    assert lines[dollar + 3 :] == [
        "2017-01  " + "█" * 40 + "  1,000,000.00",
        "2017-02  " + "█" * 20 + " " * 20 + "    500,000.00",
        "2017-03  " + " " * 40 + "          0.00",
    ]
    assert max(map(len, lines)) <= 80


def test_no_sales_have_no_chart(capsys: pytest.CaptureFixture[str]) -> None:
    show_revenue(sales())
    assert capsys.readouterr().out == ""
