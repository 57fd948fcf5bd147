"""What a table's page shows: pictures that are whole and small, samples that name nobody, columns with their origin."""

import base64
import re
from datetime import date, timedelta
from typing import Any
from xml.etree import ElementTree

import dagster as dg
import polars as pl
import pytest

from orders_lakehouse.contracts.personal import masked
from orders_lakehouse.curated.daily_sales import DAILY_SALES
from orders_lakehouse.curated.order_lines import ORDER_LINES
from orders_lakehouse.defs.charts import Series, as_picture, bars_by_date, bars_by_name
from orders_lakehouse.defs.metadata import sample_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.encoding import BAD_BYTE
from orders_lakehouse.entities.customers import CUSTOMERS, RAW_CUSTOMERS
from tests.support.rows import at, rows

pytestmark = pytest.mark.xdist_group("definitions")

SVG = "{http://www.w3.org/2000/svg}"
FIRST = date(2017, 1, 1)


def _values(*values: int) -> pl.DataFrame:
    days = [FIRST + timedelta(days=number) for number in range(len(values))]
    return pl.DataFrame({"date": days, "value": values}, schema={"date": pl.Date, "value": pl.Int64})


def _bars(svg: str) -> list[str]:
    drawn = ElementTree.fromstring(svg).find(f"{SVG}path")  # noqa: S314 (our own)
    assert drawn is not None
    return [part for part in drawn.attrib["d"].split("M") if "v-" in part]


def _texts(svg: str) -> list[str | None]:
    return [text.text for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]  # noqa: S314 (our own)


def test_every_date_with_rows_has_a_bar() -> None:
    svg = bars_by_date([Series("rows", _values(3, 0, 6))], FIRST, FIRST + timedelta(days=3))
    heights = [float(bar.split("v-")[1]) for bar in _bars(svg)]
    assert len(heights) == 2
    assert heights[1] == 2 * heights[0]
    assert _texts(svg) == ["rows", "at most 6 a day", "2017-01-01", "2017-01-04"]


def test_date_outside_is_not_shown() -> None:
    assert len(_bars(bars_by_date([Series("rows", _values(1, 1, 1))], FIRST, FIRST))) == 1


@pytest.mark.parametrize("values", [(), (0,)], ids=["no rows", "nothing but zeros"])
def test_no_rows_draw_no_picture(values: tuple[int, ...]) -> None:
    svg = bars_by_date([Series("rows", _values(*values))], FIRST, FIRST)
    assert _bars(svg) == []
    assert "at most 0 a day" in _texts(svg)


def test_decades_fit_a_small_picture() -> None:
    many = Series("rows", _values(*range(1, 7306)))
    svg = bars_by_date([many, many], FIRST, FIRST + timedelta(days=7304))
    assert len(str(as_picture(svg, "Bars").value)) < 15_000
    assert "in 37 days" in svg


def test_titles_are_escaped_text() -> None:
    assert _texts(bars_by_date([Series("a < b & c", _values(1))], FIRST, FIRST))[0] == "a < b & c"


def test_names_stand_with_the_longest_bar_first() -> None:
    svg = bars_by_name(pl.DataFrame({"name": ["b", "<a>", "c"], "value": [2, 5, 2]}))
    assert _texts(svg) == ["<a>", "5", "b", "2", "c", "2"]


def test_picture_is_markdown_with_the_svg_in_it() -> None:
    shown = str(as_picture("<svg/>", "Nothing").value)
    assert shown == f"![Nothing](data:image/svg+xml;base64,{base64.b64encode(b'<svg/>').decode()})"


def test_personal_values_of_any_type_are_masked_but_not_nulls() -> None:
    people = pl.DataFrame({"born": [date(1980, 5, 4), None], "name": ["Ann", None], "city": ["Bern", None]})
    shown = masked(people, {"born", "name", "absent"})
    assert shown.to_dicts() == [
        {"born": "•••", "name": "•••", "city": "Bern"},
        {"born": None, "name": None, "city": None},
    ]


def test_sample_shows_no_personal_values() -> None:
    somebody = {
        "full_name": "Ann Other",
        "email": "ann@example.org",
        "address": "1 Main Street",
        "postal_code": "12345",
    }
    shown = sample_of(rows(CUSTOMERS, *[{**somebody, "customer_id": f"c{number}"} for number in range(20)]), CUSTOMERS)
    assert isinstance(shown, dg.TableMetadataValue)
    assert len(shown.records) == 8
    assert {str(record.data[name]) for record in shown.records for name in somebody} == {"•••"}
    assert shown.records[0].data["customer_id"] == "c0"


def _materialized(lake: Lake, *days: str) -> dict[str, Any]:
    from orders_lakehouse.defs.assets.curated import curated_assets

    (daily_sales,) = (asset for asset in curated_assets if asset.key.path[-1] == DAILY_SALES.name)

    tags = {"dagster/asset_partition_range_start": days[0], "dagster/asset_partition_range_end": days[-1]}
    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize([daily_sales], resources={"lake": lake}, instance=instance, tags=tags)
        events = done.asset_materializations_for_node("curated__daily_sales")
    return {str(event.partition): dict(event.metadata) for event in events}


def test_rich_metadata_is_stored_for_the_last_date_only(tmp_path: Any) -> None:
    import narwhals as nw

    lake = Lake(str(tmp_path / "lake"), "UTC")
    days = [FIRST, FIRST + timedelta(days=2)]
    lines = rows(ORDER_LINES, *({"order_id": str(day), "order_date": day} for day in days))
    lake.replace_dates([ORDER_LINES], days[0], days[1], lambda _: [nw.from_native(lines.lazy())])
    told = _materialized(lake, "2017-01-01", "2017-01-03")
    assert {day: metadata["dagster/partition_row_count"].value for day, metadata in told.items()} == {
        "2017-01-01": 1,
        "2017-01-02": 0,
        "2017-01-03": 1,
    }
    assert set(told["2017-01-01"]) == set(told["2017-01-02"]) == {"dagster/partition_row_count"}
    last = told["2017-01-03"]
    assert {"by_date", "sample", "duration", "delta_version", "size", "size_in_run", "rows_in_run"} <= set(last)
    # The page's "Row count" is that of the table.
    assert last["dagster/row_count"].value == last["rows_in_run"].value == 2
    assert re.fullmatch(r"\d[\d.]* k?B", last["size_in_run"].value)
    assert re.fullmatch(r"\d+\.\d s", last["duration"].value)


def test_quarantine_is_shown_whole_without_personal_values(tmp_path: Any) -> None:
    from orders_lakehouse.defs.assets.cleansed import cleansed_assets

    lake = Lake(str(tmp_path / "lake"), "UTC")
    days = [FIRST, FIRST + timedelta(days=1)]
    bad = {"email": f"nobody{BAD_BYTE}eb@example.org"}
    captured = [
        {**bad, "updated_at": at("2020-03-03 14:00"), "captured_on": days[0]},
        {**bad, "captured_on": days[1]},
    ]
    lake.append(RAW_CUSTOMERS, rows(RAW_CUSTOMERS, *captured))
    told: list[dict[str, Any]] = []
    # Each date in a run of its own: what is told is the whole table's all the same.
    for day in days:
        with dg.DagsterInstance.ephemeral() as instance:
            resources = {"lake": lake}
            done = dg.materialize([cleansed_assets[0]], resources=resources, instance=instance, partition_key=str(day))
            (event,) = done.asset_materializations_for_node("cleansed__customers")
        sample = event.metadata["quarantine_sample"]
        assert isinstance(sample, dg.TableMetadataValue)
        told.append(
            {name: value.value for name, value in event.metadata.items()} | {"quarantine_sample": sample.records}
        )
    first, last = told
    assert first["quarantined_by_reason"] == {"updated_at_in_future": 1, "text_not_utf8": 1}
    assert last["quarantined_by_reason"] == {"text_not_utf8": 1}
    by_reason = base64.b64decode(last["quarantine_by_reason"].partition("base64,")[2][:-1]).decode()
    assert _texts(by_reason) == ["text_not_utf8", "2", "updated_at_in_future", "1"]
    by_date = base64.b64decode(last["by_date"].partition("base64,")[2][:-1]).decode()
    assert "quarantine: text_not_utf8" in _texts(by_date)
    record, other = last["quarantine_sample"]
    assert [row.data["reasons"] for row in (record, other)] == [
        "text_not_utf8",
        "updated_at_in_future, text_not_utf8",
    ]
    assert list(record.data)[:3] == ["customer_id", "reasons", "captured_on"]
    assert (record.data["email"], record.data["full_name"]) == ("•••", "•••")
    assert "lakehouse quarantine replay --table customers" in last["quarantine_commands"]
    assert "nobody" not in str(told)
