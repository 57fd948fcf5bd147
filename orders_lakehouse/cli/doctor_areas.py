"""The areas that `lakehouse doctor` examines, with a function for each. `doctor` shows the findings."""

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

# Longest time since the last comparison with the shop, which runs every night.
_COMPARED = timedelta(days=2)


class Here:
    """The lake and its results, which the first area that needs them opens."""

    @cached_property
    def lake(self) -> Lake:
        """Return the lake of the settings."""
        return configured_lake()

    @cached_property
    def dates(self) -> Dates:
        """Return the first and last date of the lake."""
        return dates_of(self.lake)

    @cached_property
    def results(self) -> pl.DataFrame:
        """Return every evaluation of every check."""
        return evaluations(self.lake)


Look = Callable[[Here], Examination]


def _lake(here: Here) -> Examination:
    return look_at_tables(here.lake, here.dates)


def _contents(here: Here) -> Examination:
    return look_at_contents(here.lake, here.dates)


def _versions(here: Here) -> Examination:
    """Compare the lake with the versions that readers remember. Readers are asked first, because writers go on."""
    readers: Mapping[str, Callable[[], Sequence[RememberedVersion]]] = {
        "derived tables": lambda: list(remembered_by_tables(here.lake)),
        "the warehouse": _remembered_by_warehouse,
        "Dagster": _remembered_by_dagster,
    }
    versions: list[RememberedVersion] = []
    silent = []
    for name, ask in readers.items():
        try:
            versions += ask()
        except ExpectedError:
            silent.append(name)
    findings = lost_versions(here.lake, versions, here.dates, lake_schema())
    without = f"; no answer from: {', '.join(silent)}" if silent else ""
    known = {finding.what for finding in findings}
    all_lost = lost_rows(here.lake, counted_in_raw(here.results), here.dates)
    rows = [finding for finding in all_lost if finding.what not in known]
    tables = len({version.path for version in versions})
    if not versions and not rows:
        return Examination(f"no reader remembers one yet{without}")
    state = "every version that readers remember exists" if not findings and not rows else "some are lost"
    return Examination(f"{len(versions)} remembered of {tables} tables, {state}{without}", [*findings, *rows])


def _remembered_by_warehouse() -> Sequence[RememberedVersion]:
    return () if _is_down("warehouse") else remembered_by_copies()


def _remembered_by_dagster() -> Sequence[RememberedVersion]:
    with existing_instance() as instance:
        return () if instance is None else list(named_by_dagster(instance))


def _is_down(database: Database) -> bool:
    """Return whether a database belongs to the embedded server and this does not run; it is not started here."""
    return is_embedded(database) and not embedded_server_runs(settings().home)


def _database(database: Database, look: Callable[[], Examination], _: Here) -> Examination:
    if not _is_down(database):
        return look()
    finding = Finding(
        WARNING,
        database,
        "the embedded Postgres is not running",
        "a server that answers",
        "Programs that need it start it. To examine it now, start it:",
        [f"lakehouse url {database}"],
    )
    return Examination("not examined", [finding])


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
                # The area `lake` reports this error.
                continue
    used = disks(places)
    findings = [finding_of_room(disk, largest if "the lake" in disk.used_for else 0) for disk in used]
    return Examination("; ".join(disk.in_words for disk in used), [finding for finding in findings if finding])


def _dagster(look: Callable[[dg.DagsterInstance], Examination], _: Here) -> Examination:
    with existing_instance() as instance:
        return Examination("nothing here yet: no run has made Dagster's home") if instance is None else look(instance)


def _sensors(_: Here) -> Examination:
    findings = [
        Finding(
            ERROR,
            failure.sensor,
            f"every run for {failure.in_words} fails; the last one with: {failure.error}",
            "a run that succeeds",
            "Once the cause is fixed, the next request succeeds by itself. To run it now:",
            [f"lakehouse backfill {failure.first} {failure.last} --job {failure.job}"],
        )
        for failure in saved_failures()
    ]
    findings += [
        Finding(ERROR, f"shop.{refused.table}", refused.in_words, "a table that is followed", "Follow the message.")
        for refused in saved_refused()
    ]
    return Examination("their requests succeed" if not findings else "a request fails repeatedly", findings)


def _checks(here: Here) -> Examination:
    results = in_force(here.results)
    broken = results.filter(~pl.col("passed"))
    # An unusual volume is left out, because people must judge it.
    failing = broken.filter(pl.col("check_name") != VOLUME_AS_USUAL)
    findings = []
    show = "lakehouse checks --failed"
    for severity, kind, command in (("ERROR", ERROR, show), ("WARN", WARNING, f"{show} --warnings")):
        rows = failing.filter(pl.col("severity") == severity)
        if rows.height:
            checks, dates = rows.select("asset", "check_name").n_unique(), rows["date"].n_unique()
            found = f"{checks} {'fail' if kind == ERROR else 'warn'}, on {dates} dates: "
            named = rows.select(pl.format("{} of {}", "check_name", "asset")).to_series().unique().sort()
            few = ", ".join(named.head(5)) + (f" and {named.len() - 5} more" if named.len() > 5 else "")
            to_do = "This command shows each with its next step:"
            findings.append(Finding(kind, "checks", found + few, "checks that hold", to_do, [command]))
    judged = results.select("asset", "check_name").n_unique() if results.height else 0
    if not judged:
        return Examination("none has judged yet")
    unusual = f" except unusual volumes (`{show} --warnings`)" if broken.height else ""
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
        "raw compared with the shop",
        since,
        f"a comparison every {_COMPARED.days} days at least",
        "Only the comparison finds rows that were deleted in the shop, or changed without a new clock:",
        ["lakehouse reconcile"],
    )
    return Examination(since, [finding])


# Areas in the order in which they are examined.
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
# Further areas for `--deep`, which reads every file.
DEEP_AREAS: Mapping[str, Look] = {"contents": _contents}
