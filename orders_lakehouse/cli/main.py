"""The `lakehouse` command. Heavy modules are imported by the command that needs them."""

import os
import sys
from collections.abc import Callable
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from orders_lakehouse.cli.plain_text import accept_every_character, safe_lines
from orders_lakehouse.dates import YEARS, YEARS_IN_WORDS
from orders_lakehouse.machine import environment
from orders_lakehouse.machine.private_files import keep_private
from orders_lakehouse.runtime.blocked_imports import collect_garbage_rarely
from orders_lakehouse.settings import PROJECT, SettingsError, settings

if TYPE_CHECKING:
    from orders_lakehouse.cli.quarantine import Format
    from orders_lakehouse.cli.query import Form


class _Date(click.DateTime):
    """A date that a lake may have."""

    def __init__(self) -> None:
        super().__init__(formats=["%Y-%m-%d"])

    def convert(self, value: object, parameter: click.Parameter | None, context: click.Context | None) -> datetime:
        """Read a date."""
        found: datetime = super().convert(value, parameter, context)
        if found.year not in YEARS:
            self.fail(f"{value!r} is no date of a lake; expected one of the years {YEARS_IN_WORDS}", parameter, context)
        return found


_DATE = _Date()


@click.group()
def cli() -> None:
    """The orders lakehouse: from a shop's Postgres to a tested star schema."""


@cli.command()
@click.argument("what", type=click.Choice(["shop", "warehouse", "lake"]))
def url(what: str) -> None:
    """Print the URL in force; an embedded server is started."""
    from orders_lakehouse.postgres.connections import shown_url

    click.echo(settings().lake_url if what == "lake" else shown_url("shop" if what == "shop" else "warehouse"))


@cli.command(context_settings={"ignore_unknown_options": True})
@click.argument("database", type=click.Choice(["shop", "warehouse"]))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- PSQL ARGUMENTS]")
def psql(database: str, arguments: tuple[str, ...]) -> None:
    """Open psql in the database in force; its password stands on no command line.

    \b
    lakehouse psql warehouse
    lakehouse psql warehouse -- -c "select count(*) from marts.fct_orders"

    An embedded server is started, and its own psql serves where none is installed.
    """  # noqa: D301 (the escape tells click to keep the lines)
    from orders_lakehouse.cli.psql import psql as become

    become("shop" if database == "shop" else "warehouse", arguments)


@cli.command()
@click.option("--write-docs", is_flag=True, help="Write docs/configuration.md anew instead.")
def config(write_docs: bool) -> None:
    """Print the settings in force; of a database, where it is."""
    from orders_lakehouse.cli import configuration

    configuration.write_page() if write_docs else configuration.show()


@cli.group()
def shop() -> None:
    """The embedded shop."""


@shop.command("load")
@click.option(
    "--copies",
    type=click.IntRange(1, 10_000),
    default=1,
    show_default=True,
    help="A shop so many times as big.",
)
def load_shop(copies: int) -> None:
    """Fill the embedded shop with the sample: a year of real orders. A shop that has orders stays as it is."""
    from orders_lakehouse.cli.demo import load_shop_if_embedded

    load_shop_if_embedded(copies)


@shop.command("simulate")
@click.option("--days", type=click.IntRange(1, 36_500), required=True, metavar="N", help="Days that go by in the shop.")
@click.option(
    "--speed",
    type=click.FloatRange(min=0, max=1_000_000),
    default=10,
    show_default=True,
    metavar="X",
    help="Days a minute; 0: no pause.",
)
@click.option("--seed", type=int, default=1, show_default=True, metavar="S", help="Another one draws other things.")
def simulate_shop(days: int, speed: float, seed: int) -> None:
    """Let days go by in the embedded shop, from its latest change on.

    Orders are placed, paid, shipped, cancelled and corrected, come before or after their lines, move to another date,
    are deleted and restored; customers move, register late and leave; prices change. While `make dev` runs, the sensors
    follow.
    """
    from orders_lakehouse.cli.demo import simulate

    simulate(days, speed, seed)


@cli.command()
@click.argument("first", type=_DATE, metavar="FIRST")
@click.argument("last", type=_DATE, metavar="LAST")
@click.option("--without", type=_DATE, multiple=True, metavar="DATE", help="Date to leave out; may be given again.")
@click.option("--job", default="refresh_all_job", show_default=True, help="Job to run.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON, and the progress to stderr.")
def backfill(first: datetime, last: datetime, without: tuple[datetime, ...], job: str, as_json: bool) -> None:
    """Run everything for the dates from FIRST to LAST.

    Dates are written 2017-03-01. It is one run, in this process; with --without, one for each stretch of dates that
    are left, up to the first that fails.
    """
    from orders_lakehouse.cli.backfill import backfill as run
    from orders_lakehouse.cli.backfill_request import Request

    left_out = frozenset(day.date() for day in without)
    run(Request(first.date(), last.date(), left_out, job), as_json=as_json)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(as_json: bool) -> None:
    """Show what each table holds, how fresh it is, and its checks.

    Rows, dates and versions come from the Delta logs; dates are those that have rows. The last change is told by its
    time, day or month, in UTC. A ~ stands before what Postgres estimates of a large fact. Before a table stands how its
    checks went: ✓ they hold, ! a warning, ✗ one failed. Below stand dates that a sensor asks for in vain, as every run
    fails, with the error and what to do.
    """
    from orders_lakehouse.cli.status import status as show

    show(as_json=as_json)


@cli.command()
@click.option("--deep", is_flag=True, help="Read the content of every file of the lake, too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(deep: bool, as_json: bool) -> None:
    """Look for what is wrong, and say which command mends it. Nothing is changed or started.

    Logs of the tables against their files, versions that others remember and that are gone, the shop and the warehouse
    with their clocks, disks, dead runs, a silent daemon, sensors, checks. Ends with status 1 when something found is an
    error; warnings alone end with 0.
    """
    from orders_lakehouse.cli.doctor import doctor as look

    if not look(deep=deep, as_json=as_json):
        raise SystemExit(1)


@cli.command()
@click.option("--failed", is_flag=True, help="Only what fails now, and what to do.")
@click.option("--date", "day", type=_DATE, metavar="D", help="Of one date.")
@click.option("--table", metavar="T", help="Of one table, such as cleansed.orders.")
@click.option("--check", metavar="NAME", help="Of one check, such as no_row_lost.")
@click.option("--history", is_flag=True, help="Every evaluation, run by run; without it, the latest of each date.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of records.")
def checks(
    failed: bool, day: datetime | None, table: str | None, check: str | None, history: bool, as_json: bool
) -> None:
    """Show what checks found, by date.

    A line for each table and check: how many dates were judged, the first and the last of them, when they were last
    judged (UTC), and below the dates that fail. For scripts, --failed ends with status 1 when something fails with
    severity ERROR (an unusual volume is left to people), or when nothing was judged.
    """
    from orders_lakehouse.cli.checks import Wanted
    from orders_lakehouse.cli.checks import checks as show

    holds = show(Wanted(day.date() if day else None, table, check, failed, history), as_json=as_json)
    if failed and not holds:
        raise SystemExit(1)


_LIMIT = click.option("--limit", type=click.IntRange(0, 2**31), metavar="N", help="Rows at most; 50 in a table.")
_JSON = click.option(
    "--json", "form", flag_value="json", help="Print a JSON list of records; decimals are strings, to stay exact."
)
_CSV = click.option("--csv", "form", flag_value="csv", help="Print CSV.")
_TABLE = click.option("--table", "form", flag_value="table", default=True, help="Print a table; the default.")


@cli.command()
@click.argument("query")
@_LIMIT
@_TABLE
@_JSON
@_CSV
def sql(query: str, limit: int | None, form: "Form") -> None:
    """Ask the Delta tables by their names, with the SQL of Polars.

    \b
    lakehouse sql "select * from cleansed.orders where order_date = '2017-03-01'"
    lakehouse sql "select currency, sum(net) as net from curated.daily_sales
                   group by currency"

    Text in JSON and CSV is whole; a table cuts long texts and leaves out columns that do not fit. Personal data is
    shown: whoever can run this can read the lake.
    """  # noqa: D301 (the escape tells click to keep the lines)
    from orders_lakehouse.cli.query import sql as ask

    ask(query, limit, form)


@cli.command()
@click.argument("table")
@click.option("--version", type=click.IntRange(0, 2**53), metavar="N", help="Version; the latest by default.")
@click.option("--as-of", metavar="T", help="The version at an instant: 2017-03-01T12:00:00Z; in UTC by default.")
@click.option("--date", "day", type=_DATE, metavar="DATE", help="One partition.")
@_LIMIT
@_TABLE
@_JSON
@_CSV
def read(
    table: str, version: int | None, as_of: str | None, day: datetime | None, limit: int | None, form: "Form"
) -> None:
    """Show rows of TABLE, as they are or as they were.

    TABLE is a name such as cleansed.orders; `lakehouse status` lists tables and versions. Personal data is shown:
    whoever can run this can read the lake.
    """
    from orders_lakehouse.cli.query import instant
    from orders_lakehouse.cli.query import read as show

    show(table, version, instant(as_of) if as_of else None, day.date() if day else None, limit, form)


@cli.group()
def quarantine() -> None:
    """Rows that break a rule: what is wrong with them, where they come from, and how they leave.

    Rows of the tables customers, products, orders, order_items and payments. See docs/quarantine.md.
    """


def _chosen(command: Callable[..., None]) -> Callable[..., None]:
    """Options that say which rows in quarantine are meant."""
    options = [
        click.option("--table", metavar="T", help="Of one table, such as order_items."),
        click.option("--reason", metavar="R", help="With one reason, such as quantity_not_positive."),
        click.option("--date", "day", type=_DATE, metavar="D", help="That would count at one date."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@quarantine.command("list")
@_chosen
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_quarantine(table: str | None, reason: str | None, day: datetime | None, as_json: bool) -> None:
    """Show rows in quarantine by table and reason, and the waivers.

    How many rows, the first and the last date at which they would count, since when (the oldest capture, in UTC), and
    what to do.
    """
    from orders_lakehouse.cli.quarantine import choose, list_reasons

    list_reasons(choose(table, reason, day.date() if day else None), as_json=as_json)


_UNMASKED = click.option("--unmasked", is_flag=True, help="Personal values as they are.")


@quarantine.command("show")
@click.argument("table")
@click.argument("key")
@_UNMASKED
def show_quarantined(table: str, key: str, unmasked: bool) -> None:
    """Show one row: why it was rejected, its values, where it is in the shop, its versions, and what to do.

    KEY is written as checks print it: "10442 / 3" for a line of an order.
    """
    from orders_lakehouse.cli.quarantine import show

    show(table, key, unmasked=unmasked)


@quarantine.command("export")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@_chosen
@click.option("--format", "form", type=click.Choice(["csv", "json", "parquet"]), default="csv", show_default=True)
@_UNMASKED
def export_quarantine(
    folder: Path, table: str | None, reason: str | None, day: datetime | None, form: "Format", unmasked: bool
) -> None:
    """Write rows in quarantine to files in FOLDER, one for each table, for the people who correct them."""
    from orders_lakehouse.cli.quarantine import choose, export

    export(choose(table, reason, day.date() if day else None), folder, form, unmasked=unmasked)


@quarantine.command("replay")
@_chosen
def replay_quarantine(table: str | None, reason: str | None, day: datetime | None) -> None:
    """Derive the dates of rows in quarantine anew, after a contract or a waiver has changed.

    Also those of rows that stand by a waiver that was withdrawn. Customers and products are run by the date of their
    capture, then the dates of the orders that name them. Prints how many rows there were before, and are after.
    """
    from orders_lakehouse.cli.quarantine import choose
    from orders_lakehouse.cli.replay import replay

    replay(choose(table, reason, day.date() if day else None))


@cli.command()
@click.option("--apply", "write", is_flag=True, help="Capture what was missed, and end the rows that are gone.")
@click.option("--allow", is_flag=True, help="With --apply: however many rows are gone at once.")
def reconcile(write: bool, allow: bool) -> None:
    """Compare every row of the shop with raw, and say which differ.

    What was deleted instead of marked, was committed too late to be seen, or has changed without a new updated_at; what
    changed since the last capture is left to the next one. With --apply, it is put right, and the dates that this
    touches are named. Ends with status 1 when something differs, or still does, for scripts.
    """
    from orders_lakehouse.cli.reconcile import reconcile as compare

    if not compare(apply=write, allow=allow):
        raise SystemExit(1)


@cli.command("contracts")
@click.option("--write", is_flag=True, help="Publish them, unless something is incompatible.")
def compare_contracts(write: bool) -> None:
    """Compare the contracts with those that were published, and with what reads them.

    A contract that changes what others rely on needs a new version; a column that dbt or a table downstream reads must
    be offered. Ends with status 1 when something is incompatible, or not published as it is.
    """
    from orders_lakehouse.cli.contracts import contracts

    if not contracts(write=write):
        raise SystemExit(1)


@cli.command("rebuild-key-dates")
def rebuild_key_dates() -> None:
    """Write the entries that raw/key_dates lacks, from raw.

    By this index a date finds its rows. Of use when it was damaged or lost; derive the dates anew afterwards.
    """
    from orders_lakehouse.delta.configured import configured_lake
    from orders_lakehouse.pipeline.key_index import rebuild_key_dates as rebuild
    from orders_lakehouse.pipeline.stored_calendar import calendar_of

    lake = configured_lake()
    added = rebuild(lake, calendar_of(lake))
    click.echo(f"{added:,} entries were missing, and are there now." if added else "No entry was missing.")


@cli.command("calendar")
@click.option("--apply", "write", is_flag=True, help="Write the calendar from the data installed here.")
def show_calendar(write: bool) -> None:
    """Show the calendar of the lake: midnights and holidays, and what newer data would change.

    The lake keeps those that it was made with, whatever is installed where. With --apply, it takes those of this
    machine, and the dates that have to be run again are named.
    """
    from orders_lakehouse.cli.calendar import calendar

    calendar(write=write)


@cli.command()
@click.argument("table")
@click.argument("day", type=_DATE, metavar="DATE")
def recapture(table: str, day: datetime) -> None:
    """Take a capture date of a raw table again from the shop, when a file of it is damaged.

    TABLE is a name such as orders. What can still be read of the date stays, and the shop's rows are added; what
    neither has any more is named by its key. Ends with the commands that derive what is touched. See docs/repair.md.
    """
    from orders_lakehouse.cli.recapture import recapture as take_again

    take_again(table, day.date())


@cli.command()
def migrate() -> None:
    """Bring the tables of a lake that an older version made up to the present contracts, once.

    Run it with nothing else at work. It writes tables anew whose columns have other types, each in one commit, and says
    which dates to derive afterwards. There is nothing to do where it says so.
    """
    from orders_lakehouse.cli.migrate import migrate as bring_up

    bring_up()


@cli.command()
@click.argument("table")
@click.option("--raw", is_flag=True, help="What was captured, too: what the shop has overwritten is lost for good.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def reset(table: str, raw: bool, yes: bool) -> None:
    """Start TABLE over, or all of them: remove what was derived, and say how to build it again.

    TABLE is a name such as orders, cleansed/orders, order_lines, fct_orders, or all. Names what goes, and asks. What is
    not the lakehouse's stays. Refuses while runs are at work, or a daemon may start some. See docs/operating.md.
    """
    from orders_lakehouse.cli.reset import reset as start_over

    start_over(table, raw=raw, yes=yes)


@cli.command()
@click.option(
    "--layer",
    type=click.Choice(["raw", "cleansed", "quarantine", "curated", "checks"]),
    help="The tables of one layer alone.",
)
def maintain(layer: str | None) -> None:
    """Care for the tables: few files, a short log, and no file that is not needed. No row changes.

    Shows what each table takes, before and after. Files of older versions stay for LAKEHOUSE_RETENTION_DAYS. Others may
    read and write meanwhile; a job for each layer does the same every night.
    """
    from orders_lakehouse.cli.maintain import maintain as care

    care(layer)


@cli.command()
@click.option("--dry-run", is_flag=True, help="Change nothing; say what would go.")
def prune(dry_run: bool) -> None:
    """Remove what older runs have left: events, logs, ticks, artifacts of dbt.

    The newest LAKEHOUSE_KEEP_RUNS runs keep everything. Of older ones the newest event of each asset and date and the
    newest evaluation of each check stay, so that no date turns to missing. Others may run meanwhile; a job does the
    same every night.
    """
    from orders_lakehouse.cli.prune import prune as remove

    remove(dry_run=dry_run)


@cli.command("register")
def register_tables() -> None:
    """Register the tables of a lake on S3 in AWS Glue, for Athena, Spark on EMR and Trino.

    In the database LAKEHOUSE_GLUE_DATABASE, as layer_table, with types, comments and personal columns. A table that is
    registered as it is stays untouched; a job does the same every night. See docs/catalog.md.
    """
    from orders_lakehouse.cli.register import register

    register()


@cli.command()
@click.argument("table", required=False)
@click.option("--write", is_flag=True, help="Write docs/dictionary anew instead.")
def dictionary(table: str | None, write: bool) -> None:
    """Say what each table holds; with TABLE, what its columns say.

    TABLE is a name such as cleansed.orders or marts.dim_date. Where columns come from and go to stands in
    docs/dictionary.
    """
    from orders_lakehouse.cli import dictionary as pages

    pages.write_pages() if write else pages.show(table)


@cli.command()
def demo() -> None:
    """Load the sample shop, build everything, show what came of it."""
    from orders_lakehouse.cli.demo import run_demo

    run_demo()


@cli.command()
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Port of the UI.")
def dev(port: int) -> None:
    """Start Dagster's UI and daemon for this lakehouse."""
    from orders_lakehouse.instance.home import prepare_instance

    prepare_instance()
    if find_spec("dagster_dg_cli") is None:
        raise click.ClickException("`dg` is not installed; install it with: pip install dagster-dg-cli")
    os.chdir(PROJECT)
    os.environ["VIRTUAL_ENV"] = sys.prefix
    programs = Path(sys.executable).parent
    os.environ["PATH"] = f"{programs}{os.pathsep}{os.environ.get('PATH', '')}"
    command = [sys.executable, "-m", "orders_lakehouse.runtime.webserver", "dev", "--port", str(port)]
    os.execve(sys.executable, command, environment.for_dagster())  # noqa: S606 (our own environment's program)


@cli.command()
def stop() -> None:
    """Stop the embedded Postgres server."""
    from orders_lakehouse.postgres.embedded import stop_embedded_server

    stopped = stop_embedded_server(settings().home)
    click.echo("The embedded Postgres is stopped." if stopped else "The embedded Postgres was not running.")


def main() -> None:
    """Entry point; expected failures end with their message and status 1."""
    from orders_lakehouse.errors import ExpectedError

    collect_garbage_rarely()
    keep_private()
    accept_every_character()
    try:
        cli(standalone_mode=True)
    except (ExpectedError, SettingsError) as error:
        _end(str(error))
    except OSError as error:
        if error.filename is None:
            raise
        # A folder that is a file, a name that is too long, a disk that is full: the environment's, not the code's.
        _end(f"{os.fsdecode(error.filename)}: {error.strerror}")


def _end(message: str) -> NoReturn:
    color = False if os.environ.get("NO_COLOR") else None
    click.secho(f"Error: {safe_lines(message)}", fg="red", err=True, color=color)
    raise SystemExit(1) from None
