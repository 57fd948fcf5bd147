"""`make pr-checks BASE=main`, or `python -m pr_checks --help`."""

import fcntl
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import polars as pl

from orders_lakehouse.contracts.compatibility import incompatible
from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.postgres.embedded import stop_embedded_server
from orders_lakehouse.runtime import adbc_pool
from orders_lakehouse.settings import PROJECT
from orders_lakehouse.tables import TABLES, VOLUMES
from orders_lakehouse.warehouse.dbt_sources import columns_read_by_dbt
from pr_checks import impact
from pr_checks.build import Build, base_build, change_build
from pr_checks.commits import Sides, sides
from pr_checks.contracts import differences
from pr_checks.difference import Difference, compare, restated
from pr_checks.report import Findings, markdown
from pr_checks.shop import FIRST, LAST

_HOME = PROJECT / ".lakehouse" / "pr-checks"
# Tables that are not compared, because the report has a section on checks.
_NOT_COMPARED = {"checks/results"}
_MARTS = """
    SELECT table_name, column_name, CASE WHEN data_type = 'numeric' THEN coalesce(numeric_scale, 6) END
    FROM information_schema.columns
    WHERE table_schema = 'marts'
    ORDER BY table_name, ordinal_position
"""


@click.command()
@click.option("--base", default="main", show_default=True, help="Branch or commit that the change will be merged into.")
@click.option("--report", type=click.Path(path_type=Path), default=_HOME / "report.md", help="File of the report.")
@click.option("--home", type=click.Path(path_type=Path), default=_HOME, help="Folder of both lakehouses.")
def pr_checks(base: str, report: Path, home: Path) -> int:
    """Show which rows of which tables a change changes, and whether every check holds.

    The base is built once for its commit, on two weeks of the sample shop. The change starts as a copy of it, and only
    the layers that it reaches are built again. Status 1: a check fails or a contract breaks its consumers; changed data
    is no failure. Status 2: nothing was judged.
    """
    began = time.monotonic()
    both = sides(PROJECT, base)
    home.mkdir(parents=True, exist_ok=True)
    with _alone(home):
        try:
            findings = _compare(both, home.resolve())
        finally:
            stop_embedded_server(home.resolve())
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(markdown(findings))
    click.echo(f"\n{markdown(findings)}\n{time.monotonic() - began:.0f} s in total. Report: {report}")
    return 0 if findings.holds else 1


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Wait for other calls in the same folder, because their lakehouses and databases have the same names."""
    with (home / "pr_checks.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            click.echo(f"Another call works in {home}; waiting for it ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _compare(both: Sides, home: Path) -> Findings:
    dates = (FIRST, LAST)
    base = base_build(home, both.base, dates, click.echo)
    reached = impact.reached_layers(both.changed)
    made = impact.from_first(reached)
    dbt = any(file.startswith("dbt_project/") for file in both.changed)
    change = change_build(base, both.change, dates, made, dbt=dbt, say=click.echo)
    click.echo("Comparing ...")
    began = time.monotonic()
    documents = base.contracts(), change.contracts()
    models, following = impact.changed_models(base.manifest(), change.manifest()) if change.ran else (None, [])
    return Findings(
        base=both.base,
        change=both.label,
        dates=dates,
        reached=reached,
        made=made,
        untracked=both.untracked,
        declared_before=base.declared,
        declared=change.declared,
        checks_before=base.checks,
        checks=change.checks,
        judged=change.judged(),
        errors=change.errors,
        tables=[*_lake(base, change, documents), *_marts(base, change)] if change.ran else None,
        contracts=differences(*documents) if all(documents) else None,
        breaks=[str(problem) for problem in incompatible(*documents, columns_read_by_dbt(), TABLES)]
        if all(documents)
        else [],
        restated=_net_sales(base, change),
        models=models,
        following=following,
        seconds={
            **{f"base: {name}": seconds for name, seconds in base.seconds.items()},
            **{f"change: {name}": seconds for name, seconds in change.seconds.items()},
            "comparison": time.monotonic() - began,
        },
    )


def _lake(base: Build, change: Build, documents: tuple[dict[str, Any], dict[str, Any]]) -> list[Difference]:
    paths = sorted(
        {
            f"{log.parent.parent.name}/{log.parent.name}"
            for side in (base, change)
            for log in side.lake.glob("*/*/_delta_log")
        }
    )
    return [
        compare(
            path, _delta(base, path), _delta(change, path), _key(path, documents[1].get(path) or documents[0].get(path))
        )
        for path in paths
        if path not in _NOT_COMPARED
    ]


def _net_sales(base: Build, change: Build) -> pl.DataFrame:
    """Compare the shop's daily numbers; see `restated`."""
    curated, volume = VOLUMES[0]
    before, after = (_delta(side, curated.table.path) for side in (base, change))
    return restated(before, after, volume.by, volume.measures[-1])


def _delta(side: Build, path: str) -> pl.DataFrame:
    location = side.lake / path
    return pl.read_delta(str(location)) if location.exists() else pl.DataFrame()


def _key(path: str, document: dict[str, Any] | None) -> list[str]:
    """Return the columns that identify rows of a lake table; tables of versions include the clock."""
    if document is None:
        return []
    versions = path.startswith(("raw/", "cleansed/", "quarantine/"))
    return [*document["key"], *(["updated_at"] if versions and "updated_at" in document["columns"] else [])]


def _marts(base: Build, change: Build) -> list[Difference]:
    keys = {**_mart_keys(base.manifest()), **_mart_keys(change.manifest())}
    before, after = _relations(base), _relations(change)
    empty = pl.DataFrame()
    return [
        compare(f"marts/{name}", before.get(name, empty), after.get(name, empty), keys.get(name, ()))
        for name in sorted({*before, *after})
    ]


def _relations(side: Build) -> dict[str, pl.DataFrame]:
    with adbc_pool.connect(side.url(side.warehouse)) as connection, connection.cursor() as cursor:
        cursor.execute(_MARTS)
        columns: dict[str, dict[str, int | None]] = {}
        for name, column, scale in cursor.fetchall():
            columns.setdefault(name, {})[column] = scale
        tables = {}
        for name, scales in columns.items():
            # Arrow has no type for a numeric without a scale, so it is read as text, which is exact.
            listed = [f'"{column}"' + ("" if scale is None else "::text") for column, scale in scales.items()]
            cursor.execute(f'SELECT {", ".join(listed)} FROM marts."{name}"')
            exact = {column: pl.Decimal(38, scale) for column, scale in scales.items() if scale is not None}
            tables[name] = pl.DataFrame(cursor.fetch_arrow_table()).cast(exact)  # type: ignore[arg-type]
    return tables


def _mart_keys(manifest: dict[str, Any]) -> dict[str, list[str]]:
    """Return the columns that dbt tests to be unique, by model."""
    keys: dict[str, list[str]] = {}
    for node in manifest["nodes"].values():
        test = node.get("test_metadata") or {}
        if test.get("name") in ("unique", "unique_combination"):
            name = node["attached_node"].rsplit(".", maxsplit=1)[-1]
            keys.setdefault(name, test["kwargs"].get("columns") or [node["column_name"]])
    return keys


def main() -> None:
    """Run the command. Everything that is no verdict ends with status 2, including errors of this program."""
    status = 2
    try:
        status = pr_checks(standalone_mode=False)
    except click.ClickException as error:
        error.show()
    except ExpectedError as error:
        click.secho(f"Error: {error}", fg="red", err=True)
    except (Exception, click.Abort):  # noqa: BLE001 (the traceback is printed; Python would end with 1, which means a verdict)
        traceback.print_exc()
    sys.exit(status)


if __name__ == "__main__":
    main()
