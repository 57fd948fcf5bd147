"""`lakehouse checks`: the results of checks by date, and how to run a failed date again."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import click
import polars as pl
from rich.text import Text

from orders_lakehouse.cli.backfill_request import Request, command_line
from orders_lakehouse.cli.formatting import console, grid, indented, program
from orders_lakehouse.cli.parameters import DATE
from orders_lakehouse.cli.status import FAILED, MARKS, OK, WARNED, when
from orders_lakehouse.contracts.checks import VOLUME_AS_USUAL
from orders_lakehouse.dates import in_words, newest_in_words
from orders_lakehouse.delta.configured import configured_lake
from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.pipeline.check_results import evaluations, in_force
from orders_lakehouse.pipeline.next_steps import next_steps
from orders_lakehouse.settings import settings

_WHOLE = "the table as a whole"
_CHECK = ["asset", "check_name"]
_TEXTS = ["expected", "found", "detail"]
_LAYERS = ["raw", "cleansed", "curated", "staging", "marts"]


class ChecksError(ExpectedError):
    """The requested results cannot be shown."""


@dataclass(frozen=True)
class Selection:
    """The results to show.

    Attributes:
        day: Only results of one date.
        table: Only results of one table: `layer/name`, `layer.name` or a name.
        check: Only results of one check.
        failed: Only results that fail now.
        warnings: With `failed`: warnings, too.
        history: Every evaluation, not only the latest of a date.
    """

    day: date | None = None
    table: str | None = None
    check: str | None = None
    failed: bool = False
    warnings: bool = False
    history: bool = False

    @property
    def is_narrow(self) -> bool:
        """Return whether a date, a table or a check is chosen, so that details of each failure fit."""
        return any((self.day, self.table, self.check))


@click.command("checks")
@click.option("--failed", is_flag=True, help="Only checks that fail now, with the next step.")
@click.option("--warnings", is_flag=True, help="With --failed: checks that warn, too.")
@click.option("--date", "day", type=DATE, metavar="D", help="Only results of one date.")
@click.option("--table", metavar="T", help="Only results of one table, such as cleansed.orders.")
@click.option("--check", metavar="NAME", help="Only results of one check, such as no_row_lost.")
@click.option("--history", is_flag=True, help="Every evaluation, run by run; without it, the latest of each date.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of records.")
def command(
    failed: bool,
    warnings: bool,
    day: datetime | None,
    table: str | None,
    check: str | None,
    history: bool,
    as_json: bool,
) -> None:
    """Show the results of checks, by date.

    Shows a line for each table and check: the number of judged dates, the first and the last of them, and the last
    evaluation (UTC). Failing dates follow below. With --failed, a line for each check has the dates and what was found
    last; a date, a table or a check shows all details. For scripts, --failed ends with status 1 if a check
    fails with severity ERROR, or if nothing was judged. An unusual volume does not count, because people must judge it.
    """
    wanted = Selection(day.date() if day else None, table, check, failed, warnings, history)
    holds = checks(wanted, as_json=as_json)
    if failed and not holds:
        raise SystemExit(1)


def checks(wanted: Selection, *, as_json: bool = False) -> bool:
    """Print results of checks, as tables or as a JSON list of records.

    Args:
        wanted: The results to show.
        as_json: Print the records of `checks/results` unchanged.

    Returns:
        Whether no shown check fails. Warnings do not count, nor does an unusual volume, which people must judge.

    Raises:
        ChecksError: Options exclude each other, there is no such table or check, or no check has judged the selection.
    """
    if wanted.failed and wanted.history:
        raise ChecksError("found --failed and --history; expected one of them: what fails now, or all that was found")
    results = select(evaluations(configured_lake()), wanted)
    if as_json:
        click.echo(results.write_json())
    elif results.is_empty():
        click.echo(_nothing(wanted))
    elif wanted.history:
        _show_history(results)
    elif wanted.failed and wanted.is_narrow:
        _show_failures(results)
        _show_next_steps(results)
    elif wanted.failed:
        _show_in_brief(results, warnings=wanted.warnings)
    elif wanted.day:
        _show_date(results)
    else:
        _show_summary(results)
    failing = ~pl.col("passed") & (pl.col("severity") == "ERROR") & (pl.col("check_name") != VOLUME_AS_USUAL)
    return results.filter(failing).is_empty()


def select(rows: pl.DataFrame, wanted: Selection) -> pl.DataFrame:
    """Select evaluations.

    Args:
        rows: Columns of `checks/results`.
        wanted: The selection.

    Returns:
        The same columns, ordered by layer, asset, check_name, date, evaluated_at.

    Raises:
        ChecksError: No result has the table or check; or with `failed`, no check has judged the selection.
    """
    if rows.is_empty() and wanted != Selection():
        raise ChecksError(
            f"no check has judged anything in {settings().lake_url} yet; expected the lake that runs write to "
            f"(LAKE_URL, LAKEHOUSE_HOME). If it is this one, run first: {program()} backfill FIRST LAST"
        )
    if not wanted.history:
        rows = in_force(rows)
    if wanted.table is not None:
        path = wanted.table.replace(".", "/")
        rows = _named(rows, "asset", (pl.col("asset") == path) | pl.col("asset").str.ends_with(f"/{path}"), path)
    if wanted.check is not None:
        rows = _named(rows, "check_name", pl.col("check_name") == wanted.check, wanted.check)
    if wanted.day is not None:
        rows = rows.filter(pl.col("date") == wanted.day)
    if wanted.failed:
        if rows.is_empty() and wanted.day is not None:
            raise ChecksError(
                f"no check of the selection has judged {wanted.day} in {settings().lake_url}. A run judges it: "
                f"{command_line(Request(wanted.day, wanted.day))}"
            )
        rows = rows.filter(~pl.col("passed"))
    layer = pl.col("asset").str.split("/").list.first()
    flow = layer.replace_strict(_LAYERS, range(len(_LAYERS)), default=len(_LAYERS))
    return rows.sort(flow, *_CHECK, "date", "evaluated_at")


def _named(rows: pl.DataFrame, column: str, is_named: pl.Expr, name: str) -> pl.DataFrame:
    matches = rows.filter(is_named)
    if matches.is_empty() and not rows.is_empty():
        raise ChecksError(
            f"no check result of {name!r}; there are results of {', '.join(rows[column].unique().sort())}"
        )
    return matches


def _nothing(wanted: Selection) -> str:
    if wanted.failed:
        return "No check fails."
    return "No check result of that date." if wanted.day else "No check result yet; `make backfill` makes some."


def _show_summary(results: pl.DataFrame) -> None:
    """Print a line for each table and check, then the dates on which checks do not hold."""
    terminal = console()
    table = grid(dense=True)
    table.add_column(no_wrap=True)
    table.add_column("table and check", overflow="fold")
    for heading in ("dates", "first", "last", "judged"):
        table.add_column(heading, justify="right", no_wrap=True)
    broken = []
    shown = ""
    for (asset, check), of_check in _by(results, _CHECK):
        if asset != shown:
            table.add_row("", f"[bold]{asset}[/]")
            shown = asset
        days = of_check["date"].drop_nulls()
        table.add_row(
            _mark(of_check),
            Text(check),
            f"{len(days):,}" if len(days) else "",
            str(days.min() or ""),
            str(days.max() or ""),
            _when(of_check),
        )
        if not of_check["passed"].all():
            broken.append((asset, check, of_check.filter(~pl.col("passed"))))
    terminal.print(table)
    for asset, check, failing in broken:
        words = in_words(failing["date"].drop_nulls()) or _WHOLE
        terminal.print(Text.from_markup(f"{_mark(failing)} ").append(f"{asset} {check}: {words}"))
    if broken:
        has_error = "ERROR" in results.filter(~pl.col("passed"))["severity"]
        show = f"{program()} checks --failed{'' if has_error else ' --warnings'}"
        terminal.print(f"\n`{show}` shows what was found, and what to do.", style="dim")


def _show_date(results: pl.DataFrame) -> None:
    """Print the result of each check of a date, then details of failures."""
    table = grid(dense=True)
    table.add_column(no_wrap=True)
    table.add_column("table and check", overflow="fold")
    table.add_column("found", overflow="fold")
    table.add_column("judged", justify="right", no_wrap=True)
    for (asset,), of_asset in _by(results, ["asset"]):
        table.add_row("", f"[bold]{asset}[/]")
        for (check,), row in _by(of_asset, ["check_name"]):
            table.add_row(_mark(row), Text(check), Text(row["found"].item() or ""), _when(row))
    console().print(table)
    failing = results.filter(~pl.col("passed"))
    if failing.height:
        console().print()
        _show_failures(failing)
        _show_next_steps(failing)


def _show_failures(failing: pl.DataFrame) -> None:
    """Print each failing check with what was expected and found; dates with the same result share an entry."""
    terminal = console()
    for (asset, check), of_check in _by(failing, _CHECK):
        terminal.print(Text.from_markup(f"{_mark(of_check)} ").append(f"{asset} {check}", style="bold"))
        for texts, rows in _by(of_check, _TEXTS):
            terminal.print(indented(in_words(rows["date"].drop_nulls()) or _WHOLE, 2))
            for name, text in zip(_TEXTS, texts, strict=True):
                if text is not None:
                    terminal.print(indented(f"{name:<9} {text}", 4))


def _show_in_brief(failing: pl.DataFrame, *, warnings: bool) -> None:
    """Print a line for each failing check: errors first, those with the newest dates first."""
    terminal = console()
    is_error = pl.col("severity") == "ERROR"
    by_check = failing.group_by(_CHECK).agg(newest=pl.col("date").max(), is_error=is_error.any())
    ordered = by_check.sort("is_error", "newest", *_CHECK, descending=[True, True, False, False], nulls_last=True)
    shown = ordered if warnings else ordered.filter("is_error")
    for asset, check, newest, _ in shown.iter_rows():
        of_check = failing.filter(asset=asset, check_name=check)
        last = of_check.filter(pl.col("date").eq_missing(pl.lit(newest, pl.Date))).row(0, named=True)
        dates = newest_in_words(of_check["date"].drop_nulls()) or _WHOLE
        line = f"{asset} {check}: {dates}"
        terminal.print(Text.from_markup(f"{_mark(of_check)} ").append(line, style="bold"))
        if last["found"]:
            terminal.print(indented(f"{last['found']} (expected {last['expected']})", 2))
    left_out = ordered.height - shown.height
    if shown.height:
        terminal.print(f"\nDetails of a check: {program()} checks --failed --check NAME", style="dim")
        _show_next_steps(failing.join(shown.select(_CHECK), on=_CHECK, how="semi"))
    else:
        terminal.print("No check fails.")
    if left_out:
        checks_warn = "1 check warns" if left_out == 1 else f"{left_out} checks warn"
        terminal.print(f"\n{checks_warn}: {program()} checks --failed --warnings", style="dim")


def _show_next_steps(failing: pl.DataFrame) -> None:
    for step in next_steps(failing, program()):
        click.echo(f"\n{step}")


def _show_history(results: pl.DataFrame) -> None:
    """Print a line for each run that judged a check, the oldest first."""
    terminal = console()
    for (asset, check), of_check in _by(results, _CHECK):
        terminal.print(Text(f"{asset} {check}", style="bold"))
        for (run,), of_run in _by(of_check.sort("evaluated_at"), ["run_id"]):
            days, failing = of_run["date"].drop_nulls(), of_run.filter(~pl.col("passed"))
            terminal.print(
                Text.from_markup(f"{_mark(of_run)} {_last(of_run):%Y-%m-%d %H:%M}Z  run {run[:8]}  ")
                + Text(in_words(days) or _WHOLE)
            )
            if failing.height and len(days):
                terminal.print(indented(f"fails on {in_words(failing['date'])}", 4))


def _by(rows: pl.DataFrame, columns: list[str]) -> Iterable[tuple[tuple[Any, ...], pl.DataFrame]]:
    return rows.group_by(columns, maintain_order=True)


def _mark(rows: pl.DataFrame) -> str:
    if rows["passed"].all():
        return MARKS[OK]
    return MARKS[FAILED if "ERROR" in rows.filter(~pl.col("passed"))["severity"].to_list() else WARNED]


def _last(rows: pl.DataFrame) -> datetime:
    last = rows["evaluated_at"].max()
    assert isinstance(last, datetime)  # noqa: S101 (a group has rows, and the contract forbids nulls)
    return last


def _when(rows: pl.DataFrame) -> str:
    return when(_last(rows), datetime.now(UTC))
