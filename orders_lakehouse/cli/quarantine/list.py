"""`lakehouse quarantine list`: rows in quarantine by table and reason, and the state of waivers."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click
import polars as pl
from rich.text import Text

from orders_lakehouse.cli.formatting import console, grid, indented, program, safe, show_json
from orders_lakehouse.cli.quarantine.reasons import MEANING, WAIT, demand_of, to_do
from orders_lakehouse.cli.quarantine.selection import choose, selection_options, table_named
from orders_lakehouse.delta.configured import configured_lake
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.pipeline.quarantine import Chosen, by_reason, quarantined
from orders_lakehouse.pipeline.waivers import State, WaiverStatus, configured_waivers, waiver_statuses

_MEANING_OF_STATE = {
    State.IN_FORCE: "it lets rows pass",
    State.EXPIRED: "rows that were captured since are judged again",
    State.TO_REPLAY: "its row is still in quarantine: replay",
    State.REJECTED_OTHERWISE: "its row is in quarantine for other reasons",
    State.STALE: "no row breaks the rule: the entry can be removed",
}


@click.command("list")
@selection_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(table: str | None, reason: str | None, day: datetime | None, as_json: bool) -> None:
    """Show rows in quarantine by table and reason, and the waivers.

    Shows the number of rows, the first and the last date at which they would count, the oldest capture (in UTC), and
    the next step.
    """
    list_reasons(choose(table, reason, day.date() if day else None), as_json=as_json)


def list_reasons(chosen: Chosen, *, as_json: bool = False) -> None:
    """Print rows in quarantine by table and reason, and the state of waivers.

    Raises:
        WaiversError: The waivers cannot be used.
    """
    lake = configured_lake()
    counts = count(lake, chosen)
    names = {table.name for table in chosen.tables}
    waivers = [
        waiver for waiver in configured_waivers(lake) if waiver.table in names and chosen.reason in (None, waiver.rule)
    ]
    waived = waiver_statuses(lake, waivers, datetime.now(UTC).date())
    if as_json:
        show_json({"reasons": list(_records(counts)), "waivers": [_record(standing) for standing in waived]})
        return
    if counts.is_empty():
        click.echo("No selected row is in quarantine." if chosen != Chosen() else "Nothing is in quarantine.")
    else:
        _show_reasons(counts)
    _show_waivers(waived)


def count(lake: Lake, chosen: Chosen) -> pl.DataFrame:
    """Count rows in quarantine by table and reason.

    Returns:
        table, reason, rows, dates (their number), first, last, since (the oldest capture); ordered by table, then the
        most frequent reason first.
    """
    frames = [
        by_reason(quarantined(lake, table, chosen), table)
        .group_by("reason")
        .agg(
            rows=pl.col("rows").sum(),
            dates=pl.col("date").n_unique(),
            first=pl.col("date").min(),
            last=pl.col("date").max(),
            since=pl.col("captured_at").min(),
        )
        .sort("rows", "reason", descending=[True, False])
        .select(pl.lit(table.name).alias("table"), pl.all())
        for table in chosen.tables
    ]
    counts = pl.concat(frames)
    # Selected rows may have other reasons, too, which are left out here.
    return counts.filter(reason=chosen.reason) if chosen.reason else counts


def _records(counts: pl.DataFrame) -> Iterator[dict[str, Any]]:
    for row in counts.iter_rows(named=True):
        step = to_do(row["reason"])
        yield {
            **row,
            "by_itself": step == WAIT,
            "to_do": step,
            "demand": demand_of(table_named(row["table"]), row["reason"]),
        }


def _record(standing: WaiverStatus) -> dict[str, Any]:
    waiver = {name: value for name, value in asdict(standing.waiver).items() if name != "until"}
    return {**waiver, "state": standing.state.value, "rows": standing.rows}


def _show_reasons(counts: pl.DataFrame) -> None:
    terminal = console()
    shown = grid(dense=True)
    shown.add_column("table and reason", no_wrap=True)
    for heading in ("rows", "first", "last", "since"):
        shown.add_column(heading, justify="right", no_wrap=True)
    shown.add_column("to do")
    for (table,), of_table in counts.group_by("table", maintain_order=True):
        shown.add_row(f"[bold]{table}[/]")
        for row in of_table.iter_rows(named=True):
            dates = (str(day) for day in (row["first"], row["last"], row["since"].date()))
            shown.add_row(f"  {row['reason']}", f"{row['rows']:,}", *dates, to_do(row["reason"]))
    terminal.print(shown)
    terminal.print()
    for step in dict.fromkeys(map(to_do, counts["reason"])):
        terminal.print(f"{step}: {MEANING[step]}", style="dim")
    terminal.print(f"`{program()} quarantine show TABLE KEY` shows all details of a row.", style="dim")


def _show_waivers(waived: Sequence[WaiverStatus]) -> None:
    if not waived:
        return
    terminal = console()
    terminal.print("\n[bold]Waivers[/]")
    for standing in waived:
        waiver, state = standing.waiver, standing.state
        terminal.print(Text(safe(f"{waiver.table} {waiver.key}: {waiver.rule}")))
        terminal.print(indented(safe(f"{state.value}: {_MEANING_OF_STATE[state]}"), 2))
        terminal.print(indented(safe(f"until {waiver.expires}, {waiver.owner}: {waiver.reason}"), 2))
