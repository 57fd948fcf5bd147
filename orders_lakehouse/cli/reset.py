"""`lakehouse reset`: start a table or all tables over, and show how to build them again."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import click
import dagster as dg

from orders_lakehouse.cli.backfill_request import DEFAULT_JOB, FROM_RAW, Request, command_line
from orders_lakehouse.cli.formatting import console, grid
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.delta.configured import configured_lake
from orders_lakehouse.delta.object_store import LakeError
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.instance.home import forget, prepare_instance, require_rest
from orders_lakehouse.pipeline import reset as lake_reset
from orders_lakehouse.pipeline.failing_requests import SENSORS
from orders_lakehouse.settings import settings
from orders_lakehouse.tables import (
    CALENDAR,
    CHECK_RESULTS,
    CLEANSED,
    CURATED,
    DIMENSIONS,
    KEY_DATES,
    QUARANTINE,
    QUARANTINE_OF,
    RAW,
    RAW_OF,
    SOURCE_COLUMNS,
    dimension_of,
)
from orders_lakehouse.warehouse import models
from orders_lakehouse.warehouse import reset as warehouse_reset
from orders_lakehouse.warehouse.copies import COPIES, Copy, lake_schema
from orders_lakehouse.warehouse.ownership import second_half_table
from orders_lakehouse.warehouse.reset import ResetObject

ALL = "all"


class ResetError(ExpectedError):
    """The requested table cannot be started over."""


@dataclass(frozen=True)
class _Chosen:
    """The tables to remove.

    Attributes:
        tables: Tables of the lake.
        copies: Copies in the warehouse.
        marts: Names of dimensions and facts.
        everything: Whether all objects of the lakehouse in the warehouse are removed.
    """

    tables: Sequence[Table] = ()
    copies: Sequence[Copy] = ()
    marts: Sequence[str] = ()
    everything: bool = False

    @property
    def captured(self) -> list[Table]:
        """Return the captured raw tables among them."""
        return [table for table in self.tables if table in RAW]

    @property
    def relations(self) -> set[tuple[str, str]] | None:
        """Return schema and name of the objects to remove from the warehouse; None: all objects of the lakehouse."""
        if self.everything:
            return None
        of_copies = {
            name for copy in self.copies for name in (copy.name, copy.keys, second_half_table(copy.name)) if name
        }
        schema = settings().marts_schema
        return {(lake_schema(), name) for name in of_copies} | {(schema, name) for name in self.marts}

    @property
    def assets(self) -> list[str]:
        """Return the names of the assets that Dagster forgets, as layer/name."""
        tables = [table.path for table in self.tables if table.layer in ("raw", "cleansed", "curated")]
        return [*tables, *(f"marts/{name}" for name in self.marts)]

    @property
    def jobs(self) -> Sequence[str]:
        """Return the jobs that build the tables again, in order."""
        layers = {table.layer for table in self.tables}
        if self.captured:
            return (DEFAULT_JOB,)
        if "cleansed" in layers:
            return FROM_RAW
        return FROM_RAW[1:] if "curated" in layers else FROM_RAW[2:] if self.copies or self.marts else ()


@click.command("reset")
@click.argument("table")
@click.option(
    "--raw", is_flag=True, help="Remove captured rows, too; versions that the shop has overwritten are lost for good."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
def command(table: str, raw: bool, yes: bool) -> None:
    """Start TABLE over, or all tables: remove what was derived, and show how to build it again.

    TABLE is a name such as orders, cleansed/orders, order_lines, fct_orders, or all. The command lists what it removes,
    and asks. Objects of others stay. It refuses while runs are active, or while a daemon may start some. See
    docs/operating.md.
    """
    reset(table, raw=raw, yes=yes)


def reset(name: str, *, raw: bool, yes: bool) -> None:
    """Start a table or all tables over: list what is removed, ask, remove it, and show how to build it again.

    Args:
        name: Name of a table, with or without its layer, or `all`.
        raw: Whether captured rows are removed, too.
        yes: Do not ask.

    Raises:
        AtWorkError: Runs are active, or a daemon may start some.
        DatabaseError: Objects of others in the warehouse prevent it.
        DatabaseUnavailableError: The warehouse cannot be reached.
        LakeError: The storage of the lake cannot be used.
        ResetError: The table does not exist, the answer is no, or there is no terminal to ask on.
    """
    chosen, lake = _choose(name, raw=raw), configured_lake()
    prepare_instance()
    with dg.DagsterInstance.get() as instance:
        require_rest(instance)
        dates = lake_reset.known_dates(lake)
        in_warehouse = [] if chosen.relations == set() else warehouse_reset.objects_to_reset(chosen.relations)
        _show(lake, chosen, in_warehouse)
        _ask(yes=yes)
        # The warehouse comes first, because it may refuse, and then nothing has changed.
        require_rest(instance)
        if chosen.relations != set():
            warehouse_reset.reset(chosen.relations, chosen.copies)
        forget(instance, [dg.AssetKey(asset.split("/")) for asset in chosen.assets], list(SENSORS))
        _remove(lake, chosen)
    click.echo("Removed.")
    if chosen.jobs and dates is not None:
        # The first capture date holds all earlier changes, too.
        first = settings().start_date if chosen.captured else dates[0]
        click.echo("Build it again:")
        for job in chosen.jobs:
            click.echo(f"  {command_line(Request(first, dates[1], job=job))}")


def _remove(lake: Lake, chosen: _Chosen) -> None:
    for table in chosen.tables:
        lake_reset.remove(lake, table)
    # Rows are removed first: an index entry without its version is harmless, but no date finds a version without entry.
    if KEY_DATES not in chosen.tables and chosen.captured:
        lake_reset.forget_captures(lake, chosen.captured)
    if CHECK_RESULTS not in chosen.tables:
        lake_reset.forget_results(lake, chosen.assets)


def _choose(name: str, *, raw: bool) -> _Chosen:
    """Return the tables to remove for a name.

    Raises:
        ResetError: The table does not exist, or it is captured and `raw` is not set.
    """
    if name == ALL:
        own = (*RAW, KEY_DATES, SOURCE_COLUMNS, CALENDAR, CHECK_RESULTS) if raw else ()
        return _Chosen((*own, *QUARANTINE, *CLEANSED, *CURATED), COPIES, _names_of("marts"), everything=True)
    layer, _, plain = name.replace(".", "/").rpartition("/")
    if layer == "raw" and not raw:
        raise ResetError(
            f"found {name}; captured rows are removed only with --raw, because the shop has overwritten some of them"
        )
    cleansed = {table.name: table for table in CLEANSED}
    if plain in cleansed and layer in ("", "raw", "cleansed", "quarantine"):
        table = cleansed[plain]
        tables = (*([RAW_OF[plain]] if raw else []), QUARANTINE_OF[plain], table)
        return _Chosen(tables, _copies_of(table), [dimension_of(table)] if table in DIMENSIONS else [])
    if raw:
        raise ResetError(f"found {name} with --raw; expected a table that is captured: {', '.join(RAW_OF)}, or {ALL}")
    curated = {table.name: table for table in CURATED}
    if plain in curated and layer in ("", "curated"):
        return _Chosen((curated[plain],), _copies_of(curated[plain]))
    copies = {copy.name: copy for copy in COPIES}
    if plain in copies and layer in ("warehouse", lake_schema()):
        return _Chosen(copies=(copies[plain],))
    if plain in _names_of("marts") and layer in ("", "marts", settings().marts_schema):
        return _Chosen(marts=(plain,))
    if name.replace(".", "/") == CHECK_RESULTS.path:
        return _Chosen((CHECK_RESULTS,))
    names = ", ".join([*cleansed, *curated, *_names_of("marts"), CHECK_RESULTS.path, ALL])
    raise ResetError(f"found {name}; expected one of {names}")


def _copies_of(table: Table) -> list[Copy]:
    return [copy for copy in COPIES if copy.table is table]


def _names_of(layer: str) -> list[str]:
    parsed = models.manifest()
    return [str(models.node_of(parsed, node)["name"]) for node in models.models(parsed, layer)]


def _show(lake: Lake, chosen: _Chosen, in_warehouse: Sequence[ResetObject]) -> None:
    """Print what is removed and what stays."""
    click.echo(f"This starts over, in {lake.url} and in the warehouse. It removes:")
    table = grid()
    table.add_column("table", no_wrap=True)
    table.add_column("rows", justify="right", no_wrap=True)
    for lake_table in chosen.tables:
        table.add_row(lake_table.path, _rows(lake, lake_table))
    for obj in in_warehouse:
        table.add_row(obj.relation, "a view" if obj.rows is None else f"{obj.rows:,}")
    console().print(table)
    click.echo("It also removes their check results, their dates in Dagster, and the cursors of the sensors.")
    _lines(
        f"{obj.relation} {'is emptied' if obj.rows is not None else 'stays'}, because others rely on it: "
        f"{', '.join(obj.held_by)}"
        for obj in in_warehouse
        if obj.held_by
    )
    for raw in chosen.captured:
        lost = lake_reset.overwritten(lake, raw)
        if lost is not None:
            click.echo(
                f"Lost for good with {raw.path}, because only the lake has them: {lost.versions:,} versions that the "
                f"shop has overwritten, and {lost.gone:,} rows that it has deleted."
            )
    if not chosen.captured:
        click.echo(
            "Captured rows (raw) and objects of others stay. Tables made from these tables do not change until their "
            "dates are built again."
        )
    elif not chosen.everything:
        click.echo("Everything else stays. Tables made from these tables are right again once their dates are built.")


def _rows(lake: Lake, table: Table) -> str:
    try:
        rows = lake_reset.rows_in(lake, table)
    except LakeError:
        return "damaged"
    return "not made" if rows is None else f"{rows:,}"


def _ask(*, yes: bool) -> None:
    """Ask whether to go on.

    Raises:
        ResetError: There is no terminal to ask on, or the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise ResetError("found no terminal to ask on; expected --yes. Nothing was changed.")
    if not click.confirm("Go on?"):
        raise ResetError("nothing was changed")


def _lines(texts: Iterable[str]) -> None:
    for text in texts:
        click.echo(f"  {text}")
