"""`lakehouse status`: rows and dates of each table, its last change, and whether its checks hold."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from operator import itemgetter

import click
import polars as pl
from rich.markup import escape
from rich.padding import Padding
from rich.text import Text

from orders_lakehouse.cli.formatting import console, grid, program, show_json
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.delta.configured import configured_lake
from orders_lakehouse.delta.log import Extent, extent, find
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.pipeline.check_results import evaluations, in_force
from orders_lakehouse.pipeline.failing_requests import RepeatedFailure, saved_failures, saved_refused
from orders_lakehouse.postgres.connections import connect
from orders_lakehouse.postgres.embedded import embedded_server_runs
from orders_lakehouse.settings import settings
from orders_lakehouse.sources.base import RefusedTable
from orders_lakehouse.tables import CLEANSED, CURATED, QUARANTINE_OF, RAW
from orders_lakehouse.warehouse import models

# Largest number of rows of a fact that are counted; counting more would take longer than everything else.
_COUNTED_ROWS = 5_000_000
OK, FAILED, WARNED = "ok", "FAILED", "warned"
MARKS = {"": " ", OK: "[green]✓[/]", WARNED: "[yellow]![/]", FAILED: "[red]✗[/]"}


@dataclass(frozen=True)
class TableStatus:
    """The status of a table.

    Attributes:
        table: `<layer>/<name>`.
        rows: Number of rows.
        rows_are_estimated: Whether the number is Postgres's estimate, for a large fact.
        dates: Number of partitions that have rows; None where the table has no dates.
        first: First date that has rows.
        last: Last date that has rows.
        version: Version of the Delta table; None in Postgres.
        changed_at: Instant at which its rows were last written.
        quarantined: Number of rows in the quarantine of a cleansed table.
        worst_check: `ok`, or the worst of its latest check results; empty without checks.
    """

    table: str
    rows: int
    dates: int | None = None
    first: date | None = None
    last: date | None = None
    version: int | None = None
    changed_at: datetime | None = None
    quarantined: int | None = None
    worst_check: str = ""
    rows_are_estimated: bool = False


@dataclass(frozen=True)
class Status:
    """The status of all tables.

    Attributes:
        tables: The existing tables.
        marts_unknown: Reason why the status of the marts is unknown; None if it is known.
        asked_in_vain: Dates that sensors request repeatedly, because every run fails.
        refused_tables: Tables of the shop that sensors cannot read.
    """

    tables: list[TableStatus]
    marts_unknown: str | None = None
    asked_in_vain: Sequence[RepeatedFailure] = ()
    refused_tables: Sequence[RefusedTable] = ()


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(as_json: bool) -> None:
    """Show what each table holds, how fresh it is, and its checks.

    Rows, dates and versions come from the Delta logs; only dates with rows count. The last change is shown as a time, a
    day or a month, in UTC. A ~ marks an estimate by Postgres for a large fact. The sign before a table shows its
    checks: ✓ all hold, ! a warning, ✗ one failed. Below the table are dates whose runs fail repeatedly, with the error
    and the next step.
    """
    status(as_json=as_json)


def status(*, as_json: bool = False) -> None:
    """Print the status, as a table or as one JSON object."""
    current = look(configured_lake())
    if as_json:
        show_json(asdict(current))
    elif current.tables:
        show_tables(current)
    else:
        click.echo(f"Nothing here yet: no table in {settings().lake_url}; `make demo` or `make backfill` makes them.")
        if current.marts_unknown:
            click.echo(f"Marts: {current.marts_unknown}")
        _show_repeated_failures(current)


def look(lake: Lake) -> Status:
    """Return the status of all tables, from the logs of the lake, and from the warehouse if it can be reached."""
    results = in_force(evaluations(lake))
    tables = [table for layer in (RAW, CLEANSED, CURATED) for table in layer]
    in_lake = [_of_lake(lake, table, known, results) for table in tables if (known := _extent(lake, table))]
    try:
        unreachable = _warehouse_not_running()
        marts = [] if unreachable else list(_marts(results))
    except ExpectedError as error:
        return Status(in_lake, str(error), saved_failures(), saved_refused())
    return Status([*in_lake, *marts], unreachable, saved_failures(), saved_refused())


def _extent(lake: Lake, table: Table) -> Extent | None:
    handle = find(lake, table)
    return None if handle is None else extent(handle, table)


def _of_lake(lake: Lake, table: Table, known: Extent, results: pl.DataFrame) -> TableStatus:
    quarantine = _extent(lake, QUARANTINE_OF[table.name]) if table in CLEANSED else None
    return TableStatus(
        table.path,
        known.rows,
        known.dates,
        known.first,
        known.last,
        known.version,
        known.changed_at,
        quarantine.rows if quarantine else None,
        worst_check(results, table.path),
    )


def _warehouse_not_running() -> str | None:
    """Return a message if the warehouse is embedded and does not run, because `status` does not start it; else None."""
    if settings().warehouse_database_url is not None or embedded_server_runs(settings().home):
        return None
    return f"the embedded Postgres is not running; `{program()} url warehouse` starts it"


def _marts(results: pl.DataFrame) -> Iterator[TableStatus]:
    # A short timeout, for a host that does not answer at all.
    os.environ.setdefault("PGCONNECT_TIMEOUT", "5")
    schema = settings().marts_schema
    with connect("warehouse") as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, reltuples::bigint FROM pg_class "
            f"WHERE relnamespace = to_regnamespace('{schema}') AND relkind IN ('r', 'p', 'v', 'm')"
        )
        estimated = dict(cursor.fetchall())
        for name, is_fact in sorted(_models().items(), key=itemgetter(1, 0)):
            if name in estimated:
                is_large = is_fact and estimated[name] > _COUNTED_ROWS
                cursor.execute(_dates_of_fact(name) if is_large else _extent_of_mart(name, is_fact=is_fact))
                rows, dates, first, last = cursor.fetchall()[0]
                yield TableStatus(
                    f"marts/{name}",
                    estimated[name] if is_large else rows,
                    dates,
                    first,
                    last,
                    worst_check=worst_check(results, f"marts/{name}"),
                    rows_are_estimated=is_large,
                )


def _models() -> dict[str, bool]:
    """Return for each mart of dbt whether it is a fact, which has dates."""
    parsed = models.manifest()
    nodes = [models.node_of(parsed, node_id) for node_id in models.models(parsed, "marts")]
    return {node["name"]: models.is_by_date(node) for node in nodes}


def _dates_of_fact(fact: str) -> str:
    marts = settings().marts_schema
    # The query jumps from one date to the next with the index, and reads no row.
    return f"""
        WITH RECURSIVE dates AS (
          SELECT min(date_id) AS date_id FROM {marts}.{fact}
          UNION ALL
          SELECT (SELECT min(date_id) FROM {marts}.{fact} AS later WHERE later.date_id > dates.date_id)
          FROM dates WHERE date_id IS NOT NULL
        )
        SELECT
          NULL, count(date_id), to_date(min(date_id)::text, 'YYYYMMDD'), to_date(max(date_id)::text, 'YYYYMMDD')
        FROM dates
    """


def _extent_of_mart(mart: str, *, is_fact: bool) -> str:
    if not is_fact:
        return f"SELECT count(*), NULL, NULL, NULL FROM {settings().marts_schema}.{mart}"
    # Rows are grouped first, because counting distinct dates would sort all rows.
    return f"""
        WITH dates AS (SELECT date_id, count(*) AS rows FROM {settings().marts_schema}.{mart} GROUP BY 1)
        SELECT
          coalesce(sum(rows), 0)::bigint, count(*),
          to_date(min(date_id)::text, 'YYYYMMDD'), to_date(max(date_id)::text, 'YYYYMMDD')
        FROM dates
    """


def worst_check(results: pl.DataFrame, asset: str) -> str:
    """Return the worst of the latest results of an asset's checks.

    Args:
        results: asset, check_name, date (null without one), passed, severity (ERROR or WARN), one row for each check
            and date.
        asset: `<layer>/<name>`.

    Returns:
        `ok`; `FAILED` or `warned` with the check that failed on most dates; empty without checks.
    """
    mine = results.filter(asset=asset)
    broken = (
        mine.filter(~pl.col("passed"))
        .group_by("severity", "check_name")
        .agg(dates=pl.col("date").drop_nulls().n_unique())
        .sort("severity", "dates", "check_name", descending=[False, True, False])
    )
    if broken.is_empty():
        return OK if mine.height else ""
    severity, check, dates = broken.row(0)
    on = f" ({dates} date{'s' if dates > 1 else ''})" if dates else ""
    return f"{FAILED if severity == 'ERROR' else WARNED} {check}{on}"


def show_tables(current: Status) -> None:
    """Print the status of all tables, and below it each check that does not hold."""
    terminal = console()
    table = grid(dense=True)
    table.add_column("table", no_wrap=True)
    for heading in ("rows", "dates", "first", "last", "ver.", "last\nchange", "quaran-\ntined"):
        table.add_column(heading, justify="right", no_wrap=True)
    layer = ""
    for of_table in current.tables:
        if of_table.table.split("/")[0] != layer:
            if layer:
                table.add_section()
            layer = of_table.table.split("/")[0]
            table.add_row(f"[bold]{layer}[/]")
        table.add_row(*_cells(of_table))
    terminal.print(table)
    for of_table in current.tables:
        if of_table.worst_check not in ("", OK):
            terminal.print(f"{_mark(of_table)} {of_table.table}: {escape(of_table.worst_check)}")
    if current.marts_unknown:
        terminal.print(f"Marts: {escape(current.marts_unknown)}")
    _show_repeated_failures(current)


def _show_repeated_failures(current: Status) -> None:
    terminal = console()
    for refused in current.refused_tables:
        terminal.print(f"{MARKS[FAILED]} shop.{escape(refused.in_words)}")
    for failure in current.asked_in_vain:
        terminal.print(f"{MARKS[FAILED]} {failure.sensor} cannot get {escape(failure.in_words)}")
        terminal.print(Padding(Text(f"{failure.error}\n{failure.next_step(program())}"), (0, 0, 0, 4)))


def _cells(of_table: TableStatus) -> tuple[str, ...]:
    return (
        f"{_mark(of_table)} {of_table.table.split('/')[1]}",
        f"{'~' if of_table.rows_are_estimated else ''}{of_table.rows:,}",
        "" if of_table.dates is None else f"{of_table.dates:,}",
        str(of_table.first or ""),
        str(of_table.last or ""),
        "" if of_table.version is None else str(of_table.version),
        "" if of_table.changed_at is None else when(of_table.changed_at, datetime.now(UTC)),
        "" if of_table.quarantined is None else f"{of_table.quarantined:,}",
    )


def _mark(of_table: TableStatus) -> str:
    return MARKS[of_table.worst_check.split(" ")[0]]


def when(instant: datetime, now: datetime) -> str:
    """Return an instant in UTC in short form: the time of today, the day of this year, or the month of another year."""
    if instant.date() == now.date():
        return f"{instant:%H:%M}"
    return f"{instant:%m-%d}" if instant.year == now.year else f"{instant:%Y-%m}"
