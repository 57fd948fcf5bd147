"""Draw small bar charts as SVG for a table's page. Pure functions of frames; a year of days fits into 10 kB."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from html import escape

import dagster as dg
import polars as pl

BLUE, RED, GREEN = "#4f43dd", "#d24235", "#009e73"
_WIDTH = 420
_PANEL, _BAR_AREA = 74, 46
_ROW = 20
# Maximum number of bars; in a longer range a bar covers several days.
_BARS = 200
_NAMES = 8
_TEXT = 'font-family="sans-serif" font-size="11" fill="#737373"'


@dataclass(frozen=True)
class Series:
    """Content of one panel of a chart.

    Attributes:
        title: Title, with the unit.
        values: date, value; a missing date counts as zero.
        colour: Colour of the bars.
    """

    title: str
    values: pl.DataFrame
    colour: str = BLUE


def bars_by_date(panels: Sequence[Series], first: date, last: date) -> str:
    """Draw panels of bars, one above the other, over the same dates.

    Args:
        panels: The panels.
        first: First date.
        last: Last date.

    Returns:
        SVG.
    """
    step = -(-((last - first).days + 1) // _BARS)
    drawn = [_panel(panel, number * _PANEL, first, last, step) for number, panel in enumerate(panels)]
    height = len(panels) * _PANEL + 14
    axis = f'<text y="{height - 3}" {_TEXT}>{first}</text>' + (
        f'<text x="{_WIDTH}" y="{height - 3}" text-anchor="end" {_TEXT}>{last}</text>' if last > first else ""
    )
    return _svg(height, "".join(drawn) + axis)


def _panel(panel: Series, top: int, first: date, last: date, step: int) -> str:
    days = pl.select(date=pl.date_range(first, last)).join(panel.values, on="date", how="left", maintain_order="left")
    bars = (
        days.group_by(bar=pl.int_range(pl.len()) // step, maintain_order=True)
        .agg(pl.col("value").cast(pl.Float64).sum())
        .with_columns(highest=pl.max_horizontal(pl.col("value").max(), 0.0))
    )
    highest = bars.item(0, "highest")
    width = _WIDTH / bars.height
    base = top + _PANEL - 8
    path = bars.filter(pl.col("value") > 0).select(
        pl.format(
            "M{} {}v-{}",
            ((pl.col("bar") + 0.5) * width).round(1),
            pl.lit(base),
            (pl.col("value") / pl.col("highest") * _BAR_AREA).round(1),
        ).str.join("")
    )
    most = f"at most {highest:,.0f} " + ("a day" if step == 1 else f"in {step} days")
    return (
        f'<text y="{top + 11}" {_TEXT}>{escape(panel.title)}</text>'
        f'<text x="{_WIDTH}" y="{top + 11}" text-anchor="end" {_TEXT}>{most}</text>'
        f'<path d="{path.item() or "M0 0"}" stroke="{panel.colour}" stroke-width="{min(width * 0.8, 24):.2f}"/>'
        f'<path d="M0 {base + 0.5}H{_WIDTH}" stroke="#a3a3a3"/>'
    )


def bars_by_name(values: pl.DataFrame, colour: str = BLUE) -> str:
    """Draw a bar for each name, the longest first, for the first few names.

    Args:
        values: name, value.
        colour: Colour of the bars.

    Returns:
        SVG.
    """
    rows = values.sort("value", "name", descending=[True, False]).head(_NAMES).with_row_index("row")
    label, room = 190, _WIDTH - 190 - 60
    y, length = pl.col("row") * _ROW, (pl.col("value") / pl.col("value").max() * room).round(1)
    name = pl.col("name").str.replace_many(["&", "<", ">"], ["&amp;", "&lt;", "&gt;"])
    count = pl.col("value").cast(pl.String)
    drawn = rows.select(
        pl.format(f'<text y="{{}}" {_TEXT}>{{}}</text>', y + 14, name)
        + pl.format(f'<rect x="{label}" y="{{}}" width="{{}}" height="12" fill="{colour}"/>', y + 4, length)
        + pl.format(f'<text x="{{}}" y="{{}}" {_TEXT}>{{}}</text>', length + label + 6, y + 14, count)
    ).to_series()
    return _svg(rows.height * _ROW + 4, "".join(drawn))


def _svg(height: int, content: str) -> str:
    size = f'width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{content}</svg>'


def as_picture(svg: str, description: str) -> dg.MetadataValue:
    """Return an SVG as metadata that Dagster's UI shows as a picture.

    Args:
        svg: The picture.
        description: Text for readers who do not see the picture.
    """
    encoded = base64.b64encode(svg.encode()).decode()
    return dg.MetadataValue.md(f"![{description}](data:image/svg+xml;base64,{encoded})")
