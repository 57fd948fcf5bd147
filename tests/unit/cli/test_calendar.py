"""What `lakehouse calendar` prints."""

from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import narwhals as nw
import polars as pl
import pytest

from orders_lakehouse.cli.calendar import calendar
from orders_lakehouse.delta.configured import configured_lake
from orders_lakehouse.pipeline.stored_calendar import days_with_holidays, installed, stored
from orders_lakehouse.settings import settings
from orders_lakehouse.tables import CALENDAR
from tests.support.calendars import calendar_in, moved
from tests.support.rows import on

ZONE = "America/Vancouver"
WAIVER = """
[[waiver]]
table = "order_items"
rule = "discount_negative"
key = "o / 1"
reason = "Goodwill"
owner = "shop"
granted = 2026-11-01
expires = 2026-12-24
"""


@pytest.fixture(autouse=True)
def in_vancouver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_settings: None) -> None:  # noqa: ARG001
    monkeypatch.setattr("orders_lakehouse.cli.calendar.program", lambda: "lakehouse")
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    monkeypatch.setenv("LAKEHOUSE_TIMEZONE", ZONE)
    settings.cache_clear()


def printed(capsys: pytest.CaptureFixture[str], *, write: bool = False) -> list[str]:
    calendar(write=write)
    return capsys.readouterr().out.splitlines()


def test_lake_with_installed_data_is_reported_as_current(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys)
    assert lines[0] == "Zone      America/Vancouver, from 1900-01-01 to 2100-12-31"
    assert lines[2:4] == [
        "Holidays  US, no year yet; LAKEHOUSE_HOLIDAYS_COUNTRY is US",
        f"          data: none yet; installed: {version('holidays')}",
    ]
    assert lines[4:] == ["Every date begins at the same instant in both, and has the same holiday."]
    days_with_holidays(configured_lake(), on("2017-01-01"), on("2018-01-01"))
    assert printed(capsys)[2].startswith("Holidays  US, 2017 to 2018; ")


def test_changes_are_shown_and_then_applied(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "waivers.toml").write_text(WAIVER)
    monkeypatch.setenv("LAKEHOUSE_WAIVERS", str(tmp_path / "waivers.toml"))
    settings.cache_clear()
    lake = configured_lake()
    other = moved(calendar_in(ZONE), on("2026-11-02"), on("2027-03-14"), timedelta(hours=-1))
    days = installed(ZONE, "GB", (2026,)).with_columns(begins_at=other.midnights, zone_data=pl.lit("2026x"))
    lake.replace_all(CALENDAR, lambda _: nw.from_native(days.lazy()))
    lines = printed(capsys)
    assert lines[1].startswith("          data: 2026x; installed: ")
    assert lines[2] == "Holidays  GB, 2026 to 2026; LAKEHOUSE_HOLIDAYS_COUNTRY is US"
    assert lines[4:6] == [
        "133 dates begin at another instant:",
        "  2026-11-02: 2026-11-02 07:00:00 UTC → 2026-11-02 08:00:00 UTC",
    ]
    assert lines[15] == "  and 123 more, up to 2027-03-14"
    assert "  2026-07-04: none → Independence Day" in lines
    expire = "Waivers expire at another instant, too: `lakehouse quarantine replay` derives what that changes."
    assert lines[-2:] == [expire, "`lakehouse calendar --apply` writes that, and names the dates to run again."]
    assert stored(lake).equals(days)
    applied = printed(capsys, write=True)
    assert applied[4:-1] == lines[4:-1]
    assert applied[-1] == "No order and no customer has another date; dim_date follows with the next run of any date."
    assert printed(capsys)[4:] == ["Every date begins at the same instant in both, and has the same holiday."]
