"""Dates on the command line, written or in words."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import click
import pytest
from click.testing import CliRunner

from orders_lakehouse.cli.parameters import DATE, today


@click.command()
@click.argument("day", type=DATE)
def shown(day: datetime) -> None:
    click.echo(day.isoformat())


def show(day: str) -> str:
    return CliRunner().invoke(shown, [day]).output.strip()


@pytest.mark.usefixtures("clean_settings")
@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_words_are_dates_of_the_zone(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEHOUSE_TIMEZONE", zone)
    midnight = today()
    assert midnight.date() == datetime.now(ZoneInfo(zone)).date()
    assert (midnight.hour, midnight.minute, midnight.second, midnight.tzinfo) == (0, 0, 0, None)
    assert show("today") == midnight.isoformat()
    assert show("yesterday") == (midnight - timedelta(days=1)).isoformat()


def test_written_date_is_read_and_other_words_are_refused() -> None:
    assert show("2017-03-01") == "2017-03-01T00:00:00"
    assert "'tomorrow' does not match the format '%Y-%m-%d'" in show("tomorrow")
