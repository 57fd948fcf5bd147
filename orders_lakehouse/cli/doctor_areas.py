"""The areas that `lakehouse doctor` looks at, each by a function of its own. How findings are shown is in `doctor`."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from pathlib import Path

import dagster as dg
import polars as pl

from orders_lakehouse.contracts.checks import RAW_MATCHES_SOURCE, VOLUME_AS_USUAL
from orders_lakehouse.delta.configured import configured_lake
from orders_lakehouse.delta.log import find
from orders_lakehouse.delta.lost_versions import RememberedVersion, lost_rows, lost_versions, remembered_by_tables
from orders_lakehouse.delta.mending import Dates
from orders_lakehouse.delta.object_store import is_s3
from orders_lakehouse.delta.table_files import files_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.findings import ERROR, WARNING, Examination, Finding
from orders_lakehouse.instance.health import existing_instance, look_at_daemon, look_at_runs, named_by_dagster
from orders_lakehouse.machine.disks import disks, finding_of_room
from orders_lakehouse.pipeline.check_results import counted_in_raw, evaluations, in_force
from orders_lakehouse.pipeline.failing_requests import saved_failures, saved_refused
from orders_lakehouse.pipeline.lake_health import dates_of, look_at_contents, look_at_tables
from orders_lakehouse.postgres.connections import Database, is_embedded
from orders_lakehouse.postgres.embedded import embedded_server_runs
from orders_lakehouse.postgres.server_folders import data_directory
from orders_lakehouse.settings import settings
from orders_lakehouse.sources.registry import SOURCES
from orders_lakehouse.tables import TABLES
from orders_lakehouse.warehouse.copies import lake_schema
from orders_lakehouse.warehouse.health import examine_warehouse, remembered_by_copies

# The comparison with the shop runs every night.
_COMPARED = timedelta(days=2)


class Here:
    """What is looked at: opened once, by the first area that asks for it."""

    @cached_property
    def lake(self) -> Lake:
        """The lake of the settings."""
        return configured_lake()

    @cached_property
    def dates(self) -> Dates:
        """First and last date of the lake."""
        return dates_of(self.lake)

    @cached_property
    def results(self) -> pl.DataFrame:
        """Every evaluation of every check."""
        return evaluations(self.lake)


Look = Callable[[Here], Examination]


def _lake(here: Here) -> Examination:
    return look_at_tables(here.lake, here.dates)


def _contents(here: Here) -> Examination:
    return look_at_contents(here.lake, here.dates)


def _versions(here: Here) -> Examination:
    """The lake beside what others remember of it. They are asked first: what is written meanwhile is there then."""
    asked: Mapping[str, Callable[[], Sequence[RememberedVersion]]] = {
        "derived tables": lambda: list(remembered_by_tables(here.lake)),
        "the warehouse": _named_by_warehouse,
        "Dagster": _named_by_dagster,
    }
    named: list[RememberedVersion] = []
    silent = []
    for who, ask in asked.items():
        try:
            named += ask()
        except ExpectedError:
            silent.append(who)
    findings = lost_versions(here.lake, named, here.dates, lake_schema())
    without = f"; not asked: {', '.join(silent)}" if silent else ""
    known = {one.what for one in findings}
    rows = [one for one in lost_rows(here.lake, counted_in_raw(here.results), here.dates) if one.what not in known]
    tables = len({one.path for one in named})
    if not named and not rows:
        return Examination(f"nobody remembers one yet{without}")
    well = "every version that others remember is there" if not findings and not rows else "some are gone"
    return Examination(f"{len(named)} remembered of {tables} tables, {well}{without}", [*findings, *rows])


def _named_by_warehouse() -> Sequence[RememberedVersion]:
    return () if _is_down("warehouse") else remembered_by_copies()


def _named_by_dagster() -> Sequence[RememberedVersion]:
    with existing_instance() as instance:
        return () if instance is None else list(named_by_dagster(instance))


def _is_down(database: Database) -> bool:
    """Whether a database is the embedded server's, which does not run: a look does not start it."""
    return is_embedded(database) and not embedded_server_runs(settings().home)


def _database(database: Database, look: Callable[[], Examination], _: Here) -> Examination:
    if not _is_down(database):
        return look()
    finding = Finding(
        WARNING,
        database,
        "the embedded Postgres is not running",
        "a server that answers",
        "Whatever needs it starts it; to look at it now, start it:",
        [f"lakehouse url {database}"],
    )
    return Examination("not looked at", [finding])


def _disk(here: Here) -> Examination:
    lake, largest = here.lake, 0
    places = {"LAKEHOUSE_HOME": settings().home}
    if is_embedded("shop") or is_embedded("warehouse"):
        places["the embedded Postgres"] = data_directory(settings().home)
    if not is_s3(lake.url):
        places["the lake"] = Path(lake.url)
        for table in TABLES:
            try:
                handle = find(lake, table)
                largest = max(largest, 0 if handle is None else int(files_of(handle, table)["bytes"].sum()))
            except ExpectedError:
                # What is wrong with it is told of the lake.
                continue
    found = disks(places)
    judged = [finding_of_room(disk, largest if "the lake" in disk.used_for else 0) for disk in found]
    return Examination("; ".join(disk.in_words for disk in found), [finding for finding in judged if finding])


def _dagster(look: Callable[[dg.DagsterInstance], Examination], _: Here) -> Examination:
    with existing_instance() as instance:
        return Examination("nothing here yet: no run has made Dagster's home") if instance is None else look(instance)


def _sensors(_: Here) -> Examination:
    findings = [
        Finding(
            ERROR,
            one.sensor,
            f"asks in vain for {one.in_words}; the last one failed by: {one.error}",
            "a run that succeeds",
            "Once the cause is fixed, it gets through by itself; at once:",
            [f"lakehouse backfill {one.first} {one.last} --job {one.job}"],
        )
        for one in saved_failures()
    ]
    findings += [
        Finding(ERROR, f"shop.{one.table}", one.in_words, "a table that is followed", "As it says.")
        for one in saved_refused()
    ]
    return Examination("what they ask for gets through" if not findings else "something is asked for in vain", findings)


def _checks(here: Here) -> Examination:
    results = in_force(here.results)
    broken = results.filter(~pl.col("passed"))
    # What is unusual is for people to judge.
    failing = broken.filter(pl.col("check_name") != VOLUME_AS_USUAL)
    findings = []
    for severity, kind in (("ERROR", ERROR), ("WARN", WARNING)):
        rows = failing.filter(pl.col("severity") == severity)
        if rows.height:
            checks, dates = rows.select("asset", "check_name").n_unique(), rows["date"].n_unique()
            found = f"{checks} {'fail' if kind == ERROR else 'warn'}, on {dates} dates: "
            named = rows.select(pl.format("{} of {}", "check_name", "asset")).to_series().unique().sort()
            few = ", ".join(named.head(5)) + (f" and {named.len() - 5} more" if named.len() > 5 else "")
            to_do = "Each with what to do:"
            findings.append(
                Finding(kind, "checks", found + few, "checks that hold", to_do, ["lakehouse checks --failed"])
            )
    judged = results.select("asset", "check_name").n_unique() if results.height else 0
    if not judged:
        return Examination("none has judged yet")
    unusual = " but what is unusual (`lakehouse checks --failed`)" if broken.height else ""
    return Examination(f"{judged} checks have judged, {'not all hold' if findings else f'all hold{unusual}'}", findings)


def _comparison(here: Here) -> Examination:
    rows = here.results
    captured = rows.filter(pl.col("check_name") == RAW_MATCHES_SOURCE)
    last = rows.filter(pl.col("check_name") == "agrees_with_shop")["evaluated_at"].max()
    if captured.is_empty():
        return Examination("nothing captured yet")
    if isinstance(last, datetime) and datetime.now(UTC) - last <= _COMPARED:
        return Examination(f"raw was compared with the shop at {last:%Y-%m-%d %H:%M} UTC")
    since = f"last compared at {last:%Y-%m-%d %H:%M} UTC" if isinstance(last, datetime) else "never compared"
    finding = Finding(
        WARNING,
        "raw beside the shop",
        since,
        f"a comparison every {_COMPARED.days} days at least",
        "Rows that were deleted in the shop, or changed without a new clock, are found by nothing else:",
        ["lakehouse reconcile"],
    )
    return Examination(since, [finding])


# What is looked at, in this order.
AREAS: Mapping[str, Look] = {
    "lake": _lake,
    "versions": _versions,
    **{source.namespace: partial(_database, "shop", source.look) for source in SOURCES},
    "warehouse": partial(_database, "warehouse", examine_warehouse),
    "disk": _disk,
    "runs": partial(_dagster, look_at_runs),
    "daemon": partial(_dagster, look_at_daemon),
    "sensors": _sensors,
    "checks": _checks,
    "comparison": _comparison,
}
# What is looked at besides, when every file is to be read.
DEEP_AREAS: Mapping[str, Look] = {"contents": _contents}
