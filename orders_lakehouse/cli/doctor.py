"""`lakehouse doctor`: what is wrong with the lakehouse, and the commands that mend it. It changes and starts nothing.

Each area is looked at by a function of its own. One that cannot be looked at is a finding, and keeps none of the others
from being looked at.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from pathlib import Path

import dagster as dg
import polars as pl
from rich.padding import Padding
from rich.text import Text

from orders_lakehouse.cli.formatting import console, program, show_json
from orders_lakehouse.cli.status import FAILED, MARKS, OK, WARNED
from orders_lakehouse.contracts.checks import RAW_MATCHES_SOURCE, VOLUME_AS_USUAL
from orders_lakehouse.delta.configured import configured_lake
from orders_lakehouse.delta.log import find
from orders_lakehouse.delta.lost_versions import Named, lost_rows, lost_versions, named_by_tables
from orders_lakehouse.delta.mending import Dates
from orders_lakehouse.delta.object_store import is_s3
from orders_lakehouse.delta.table_files import files_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.findings import ERROR, WARNING, Finding, Looked, Severity
from orders_lakehouse.instance.health import look_at_daemon, look_at_runs, named_by_dagster, standing_instance
from orders_lakehouse.machine.disks import disks, finding_of_room
from orders_lakehouse.pipeline.check_results import counted_in_raw, evaluations, in_force
from orders_lakehouse.pipeline.failing_requests import kept, kept_refused
from orders_lakehouse.pipeline.lake_health import dates_of, look_at_contents, look_at_tables
from orders_lakehouse.postgres.connections import Database, is_embedded
from orders_lakehouse.postgres.embedded import data_directory, embedded_server_runs
from orders_lakehouse.settings import settings
from orders_lakehouse.sources.postgres.health import look_at_shop
from orders_lakehouse.tables import TABLES
from orders_lakehouse.warehouse.copies import lake_schema
from orders_lakehouse.warehouse.health import look_at_warehouse, named_by_copies

_MARK = {ERROR: MARKS[FAILED], WARNING: MARKS[WARNED]}
# The comparison with the shop runs every night.
_COMPARED = timedelta(days=2)
_COMMAND = re.compile(r"\blakehouse (?=[a-z])")


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


Look = Callable[[Here], Looked]


def doctor(*, deep: bool = False, as_json: bool = False) -> bool:
    """Look at every area, and print what is well and what is not; returns whether nothing found is an error.

    Args:
        deep: Read the content of every file of the lake, too.
        as_json: Print one JSON object: `looked_at` (area, said), `findings` (area, severity, what, found, expected,
            to_do, commands), `errors` and `warnings` (how many).
    """
    # A host that does not answer at all is given up soon.
    os.environ.setdefault("PGCONNECT_TIMEOUT", "5")
    areas = {**AREAS, **({"contents": _contents} if deep else {})}
    here = Here()
    looked = {name: _looked(partial(look, here)) for name, look in areas.items()}
    found = [(name, finding) for name, of_area in looked.items() for finding in of_area.findings]
    counts = {severity: sum(one.severity == severity for _, one in found) for severity in (ERROR, WARNING)}
    if as_json:
        show_json(
            {
                "looked_at": [{"area": name, "said": of_area.said} for name, of_area in looked.items()],
                "findings": [{"area": name, **_as_called(finding)} for name, finding in found],
                "errors": counts[ERROR],
                "warnings": counts[WARNING],
            }
        )
    else:
        _show(looked, counts)
    return not counts[ERROR]


def _looked(look: Callable[[], Looked]) -> Looked:
    try:
        return look()
    except ExpectedError as error:
        return _not_looked_at(str(error), "As it says.")
    except Exception as error:  # noqa: BLE001 (whatever is wrong with it, the others are looked at)
        to_do = "It is not known what to do: report it, with the traceback of another command that meets it."
        return _not_looked_at(f"{type(error).__name__}: {error}", to_do)


def _not_looked_at(error: str, to_do: str) -> Looked:
    return Looked("it cannot be looked at", [Finding(ERROR, "the look itself", error, "an answer", to_do)])


def _lake(here: Here) -> Looked:
    return look_at_tables(here.lake, here.dates)


def _contents(here: Here) -> Looked:
    return look_at_contents(here.lake, here.dates)


def _versions(here: Here) -> Looked:
    """The lake beside what others remember of it. They are asked first: what is written meanwhile is there then."""
    asked: Mapping[str, Callable[[], Sequence[Named]]] = {
        "derived tables": lambda: list(named_by_tables(here.lake)),
        "the warehouse": _named_by_warehouse,
        "Dagster": _named_by_dagster,
    }
    named: list[Named] = []
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
        return Looked(f"nobody remembers one yet{without}")
    well = "every version that others remember is there" if not findings and not rows else "some are gone"
    return Looked(f"{len(named)} remembered of {tables} tables, {well}{without}", [*findings, *rows])


def _named_by_warehouse() -> Sequence[Named]:
    return () if _is_down("warehouse") else named_by_copies()


def _named_by_dagster() -> Sequence[Named]:
    with standing_instance() as instance:
        return () if instance is None else list(named_by_dagster(instance))


def _is_down(database: Database) -> bool:
    """Whether a database is the embedded server's, which does not run: a look does not start it."""
    return is_embedded(database) and not embedded_server_runs(settings().home)


def _database(database: Database, look: Callable[[], Looked], _: Here) -> Looked:
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
    return Looked("not looked at", [finding])


def _disk(here: Here) -> Looked:
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
    return Looked("; ".join(disk.in_words for disk in found), [finding for finding in judged if finding])


def _dagster(look: Callable[[dg.DagsterInstance], Looked], _: Here) -> Looked:
    with standing_instance() as instance:
        return Looked("nothing here yet: no run has made Dagster's home") if instance is None else look(instance)


def _sensors(_: Here) -> Looked:
    findings = [
        Finding(
            ERROR,
            one.sensor,
            f"asks in vain for {one.in_words}; the last one failed by: {one.error}",
            "a run that succeeds",
            "Once the cause is fixed, it gets through by itself; at once:",
            [f"lakehouse backfill {one.first} {one.last} --job {one.job}"],
        )
        for one in kept()
    ]
    findings += [
        Finding(ERROR, f"shop.{one.table}", one.in_words, "a table that is followed", "As it says.")
        for one in kept_refused()
    ]
    return Looked("what they ask for gets through" if not findings else "something is asked for in vain", findings)


def _checks(here: Here) -> Looked:
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
        return Looked("none has judged yet")
    unusual = " but what is unusual (`lakehouse checks --failed`)" if broken.height else ""
    return Looked(f"{judged} checks have judged, {'not all hold' if findings else f'all hold{unusual}'}", findings)


def _comparison(here: Here) -> Looked:
    rows = here.results
    captured = rows.filter(pl.col("check_name") == RAW_MATCHES_SOURCE)
    last = rows.filter(pl.col("check_name") == "agrees_with_shop")["evaluated_at"].max()
    if captured.is_empty():
        return Looked("nothing captured yet")
    if isinstance(last, datetime) and datetime.now(UTC) - last <= _COMPARED:
        return Looked(f"raw was compared with the shop at {last:%Y-%m-%d %H:%M} UTC")
    since = f"last compared at {last:%Y-%m-%d %H:%M} UTC" if isinstance(last, datetime) else "never compared"
    finding = Finding(
        WARNING,
        "raw beside the shop",
        since,
        f"a comparison every {_COMPARED.days} days at least",
        "Rows that were deleted in the shop, or changed without a new clock, are found by nothing else:",
        ["lakehouse reconcile"],
    )
    return Looked(since, [finding])


# What is looked at, in this order.
AREAS: Mapping[str, Look] = {
    "lake": _lake,
    "versions": _versions,
    "shop": partial(_database, "shop", look_at_shop),
    "warehouse": partial(_database, "warehouse", look_at_warehouse),
    "disk": _disk,
    "runs": partial(_dagster, look_at_runs),
    "daemon": partial(_dagster, look_at_daemon),
    "sensors": _sensors,
    "checks": _checks,
    "comparison": _comparison,
}


def _as_called(finding: Finding) -> dict[str, object]:
    return {**asdict(finding), "commands": [_called(command) for command in finding.commands]}


def _called(command: str) -> str:
    """A command as it can be called from here."""
    return _COMMAND.sub(f"{program()} ", command, count=1) if command.startswith("lakehouse ") else command


def _show(looked: Mapping[str, Looked], counts: Mapping[Severity, int]) -> None:
    terminal = console()
    width = max(map(len, looked))
    for name, of_area in looked.items():
        worst = ERROR if any(one.severity == ERROR for one in of_area.findings) else WARNING
        terminal.print(
            Text.from_markup(_MARK[worst] if of_area.findings else MARKS[OK]), Text(f"{name:<{width}} {of_area.said}")
        )
    for name, of_area in looked.items():
        for finding in of_area.findings:
            terminal.print()
            what = finding.what if finding.what.startswith(name) else f"{name}: {finding.what}"
            terminal.print(Text.from_markup(_MARK[finding.severity]), Text(what, style="bold"))
            said = [f"found: {finding.found}", f"expected: {finding.expected}", finding.to_do]
            terminal.print(Padding(Text("\n".join(said)), (0, 0, 0, 4), expand=False))
            for command in finding.commands:
                # Whole, however wide: it is there to be copied.
                terminal.print(Text(f"      {_called(command)}"), soft_wrap=True)
    errors, warnings = counts[ERROR], counts[WARNING]
    terminal.print()
    counted = f"{errors} error{'' if errors == 1 else 's'}, {warnings} warning{'' if warnings == 1 else 's'}"
    terminal.print(counted if errors + warnings else "Nothing is wrong.")
