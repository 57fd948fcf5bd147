"""Build a lakehouse for each side: the base once for its commit, the change as a copy of the base."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl
from adbc_driver_postgresql import dbapi
from deltalake import DeltaTable

from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.postgres.embedded import embedded_server
from orders_lakehouse.settings import PROJECT
from orders_lakehouse.tables import CHECK_RESULTS
from pr_checks.commits import unpack
from pr_checks.impact import places
from pr_checks.shop import load

# Prefixes of environment variables that configure other lakehouses, so that a comparison is the same everywhere.
_ELSEWHERE = ("LAKEHOUSE_", "LAKE_URL", "SHOP_DATABASE_URL", "WAREHOUSE_DATABASE_URL", "AWS_", "DAGSTER_HOME", "DBT_")
_JUDGED = ("asset", "check_name", "date", "passed", "severity", "expected", "found", "detail")
_MANIFEST = Path("dbt_project", "target", "manifest.json")
# Program that prints the contracts; earlier commits list their tables in the package of contracts.
_CONTRACTS = """
import json
try:
    from orders_lakehouse.tables import TABLES
except ImportError:
    from orders_lakehouse.contracts.tables import TABLES
from orders_lakehouse.contracts.document import document
print(json.dumps({table.path: document(table) for table in TABLES}))
"""
# Program that runs a backfill and then prints all checks, because a run names only those that it evaluates.
_BACKFILL = """
import json
from orders_lakehouse.cli.main import main
try:
    main()
except SystemExit:
    from orders_lakehouse.definitions import defs
    keys = defs.resolve_asset_graph().asset_check_keys
    print(json.dumps(sorted([key.asset_key.to_user_string(), key.name] for key in keys)))
"""


class BuildError(ExpectedError):
    """The base cannot be built, or dbt cannot parse the project of a side."""


@dataclass(frozen=True)
class Build:
    """A lakehouse of a commit.

    Attributes:
        folder: Folder of its sources, its lake and Dagster's home.
        warehouse: Name of its database.
        socket: Directory of the server's socket.
        ran: Whether it was built far enough to be compared.
        checks: Result of each check: asset, check, passed, severity, failed_dates.
        declared: Asset and name of every declared check, whether or not it ran.
        errors: Messages of steps that failed for another reason than a check.
        seconds: Duration by part.
    """

    folder: Path
    warehouse: str
    socket: str
    ran: bool = False
    checks: list[dict[str, Any]] = field(default_factory=list)
    declared: list[tuple[str, str]] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def source(self) -> Path:
        """Files of its commit."""
        return self.folder / "source"

    @property
    def lake(self) -> Path:
        """Root of its Delta tables."""
        return self.folder / "lake"

    def url(self, database: str) -> str:
        """Return the URL of a database."""
        return f"postgresql://postgres@/{database}?host={quote(self.socket, safe='/')}"

    def environment(self) -> dict[str, str]:
        """Return the environment of its processes."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_ELSEWHERE)}
        return {
            **inherited,
            "PYTHONPATH": str(self.source),
            "LAKEHOUSE_HOME": str(self.folder),
            "LAKE_URL": str(self.lake),
            "SHOP_DATABASE_URL": self.url("shop"),
            "WAREHOUSE_DATABASE_URL": self.url(self.warehouse),
            "DAGSTER_HOME": str(self.folder / "dagster"),
            "DAGSTER_DISABLE_TELEMETRY": "1",
        }

    def python(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run Python with the package of the commit."""
        return subprocess.run(  # noqa: S603 (our own command)
            [sys.executable, *arguments],
            cwd=self.source,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )

    def contracts(self) -> dict[str, Any]:
        """Return the contracts of its tables as plain data; empty if the commit cannot print them."""
        result = self.python("-c", _CONTRACTS)
        return dict(json.loads(result.stdout)) if result.returncode == 0 else {}

    def manifest(self) -> dict[str, Any]:
        """Return its dbt manifest."""
        return dict(json.loads((self.source / _MANIFEST).read_text()))

    def judged(self) -> pl.DataFrame:
        """Return the last results of its checks: asset, check_name, date, passed, severity, expected, found, detail."""
        table = self.lake / "checks" / "results"
        if not table.exists():
            return pl.DataFrame(schema=CHECK_RESULTS.schema).select(*_JUDGED)
        results = pl.read_delta(str(table))
        subject = ["asset", "check_name", "date"]
        latest = results.sort("evaluated_at").unique(subject, keep="last", maintain_order=True)
        return latest.select(*_JUDGED).sort(subject)


def base_build(home: Path, commit: str, dates: tuple[date, date], say: Callable[[str], None]) -> Build:
    """Build the lakehouse of the base, from the shop to the marts, and keep it for the next call.

    Raises:
        BuildError: It cannot be built, or a step failed. Checks may fail: the change is compared with them.
    """
    socket = embedded_server(home)
    name = f"{commit[:10]}-{digest_of_inputs(PROJECT)}"
    build = Build(home / f"base-{name}", f"warehouse_{name}", socket)
    built = build.folder / "built.json"
    if built.exists():
        say(f"The base {commit[:10]} has been built before.")
        return _with(build, json.loads(built.read_text()), {})
    for older in home.glob("base-*"):
        shutil.rmtree(older)
        _drop(build, f"warehouse_{older.name.removeprefix('base-')}")
    began = time.monotonic()
    _create(build, "shop")
    load(build.url("shop"))
    loaded = time.monotonic()
    _create(build, build.warehouse)
    build.source.mkdir(parents=True)
    unpack(PROJECT, commit, build.source)
    _parse(build)
    parsed = time.monotonic()
    say(f"Building the base {commit[:10]}, {dates[0]} to {dates[1]} ...")
    result = build.python("-c", _BACKFILL, "backfill", *(str(day) for day in dates), "--json")
    seconds = {"shop": loaded - began, "dbt parse": parsed - loaded, "run": time.monotonic() - parsed}
    if not result.stdout.startswith("{"):
        raise BuildError(f"the base {commit[:10]} cannot be built; its last output:\n{result.stderr[-4000:]}")
    backfill, _, declared = result.stdout.rstrip().rpartition("\n")
    outcome = {"runs": json.loads(backfill)["runs"], "declared": json.loads(declared)}
    finished = _with(build, outcome, seconds)
    if finished.errors:
        failed = "\n".join(f"  {step}: {message}" for step, message in finished.errors.items())
        raise BuildError(f"the base {commit[:10]} cannot be built; failed steps:\n{failed}")
    built.write_text(json.dumps(outcome))
    return finished


def digest_of_inputs(project: Path) -> str:
    """Return a digest of the inputs of a base other than its commit, from the working tree: shop, dates, packages."""
    shop = (
        file for file in (project / "orders_lakehouse" / "sample_shop").rglob("*") if "__pycache__" not in file.parts
    )
    digest = hashlib.sha256()
    for file in sorted([*shop, project / "pr_checks" / "shop.py", *project.glob("requirements*.txt")]):
        if file.is_file():
            digest.update(f"{file.relative_to(project)} {file.stat().st_size} ".encode() + file.read_bytes())
    return digest.hexdigest()[:8]


def change_build(
    base: Build, commit: str, dates: tuple[date, date], layers: Sequence[str], *, dbt: bool, say: Callable[[str], None]
) -> Build:
    """Build the lakehouse of the change: copy the base, build some layers again, and run every check.

    Args:
        base: The lakehouse to copy.
        commit: The change.
        dates: First and last date.
        layers: Layers to build again.
        dbt: Whether the change has another dbt project.
        say: Called with progress messages.
    """
    folder = base.folder.parent / "change"
    shutil.rmtree(folder, ignore_errors=True)
    build = Build(folder, "warehouse_change", base.socket)
    began = time.monotonic()
    build.source.mkdir(parents=True)
    unpack(PROJECT, commit, build.source)
    copy_lake(base.lake, build.lake, layers)
    copy_warehouse(base, build, layers)
    copied = time.monotonic()
    try:
        if dbt:
            _parse(build)
        else:
            shutil.copytree((base.source / _MANIFEST).parent, (build.source / _MANIFEST).parent)
    except BuildError as error:
        return replace(build, errors={"dbt parse": str(error)}, seconds={"copy": copied - began})
    parsed = time.monotonic()
    what = f"Building {', '.join(layers)} again" if layers else "Building nothing again"
    say(f"{what}, and running every check ...")
    result = build.python("-m", "pr_checks.run", *(str(day) for day in dates), *layers)
    seconds = {"copy": copied - began, "dbt parse": parsed - copied, "run": time.monotonic() - parsed}
    if result.returncode:
        message = _last_words(result.stderr) or f"it ended with status {result.returncode} and no message"
        return replace(build, errors={"run": message}, seconds=seconds)
    return _with(build, json.loads(result.stdout), seconds)


def copy_lake(before: Path, after: Path, made: Sequence[str]) -> None:
    """Copy a lake without the layers that are built again and without their check results.

    Old tables would hide what the change does not write any more: a capture only adds rows, and nothing removes a table
    that is no longer declared.
    """
    left_out = {*places(made), *(["checks"] if "raw" in made else [])}
    for layer in before.iterdir():
        if layer.name not in left_out:
            shutil.copytree(layer, after / layer.name)
    results = after / "checks" / "results"
    if made and results.exists():
        DeltaTable(str(results)).delete(" OR ".join(f"asset LIKE '{place}/%'" for place in places(made)))


def copy_warehouse(base: Build, build: Build, made: Sequence[str]) -> None:
    """Create the database of a lakehouse: empty if layers are built again, otherwise a copy of the base's."""
    _create(build, build.warehouse, template="template1" if made else base.warehouse)


def _with(build: Build, outcome: dict[str, Any], seconds: dict[str, float]) -> Build:
    """Return a lakehouse with the outcome of its runs."""
    errors: dict[str, str] = {}
    for run in outcome["runs"]:
        failing = any(not check["passed"] and check["severity"] == "ERROR" for check in run["checks"])
        errors |= run["errors"]
        if not (run["success"] or run["errors"] or failing):
            log = build.folder / "logs" / f"{run['run_id']}.log"
            errors["run"] = f"it failed without naming a step or a check; its log is {log}"
    return replace(
        build,
        ran=True,
        checks=[check for run in outcome["runs"] for check in run["checks"]],
        declared=[(asset, name) for asset, name in outcome["declared"]],
        errors=errors,
        seconds=seconds,
    )


def _drop(build: Build, database: str) -> None:
    with dbapi.connect(build.url("postgres"), autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')


def _create(build: Build, database: str, template: str = "template1") -> None:
    _drop(build, database)
    with dbapi.connect(build.url("postgres"), autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(f'CREATE DATABASE "{database}" TEMPLATE "{template}"')


def _parse(build: Build) -> None:
    project = str(build.source / "dbt_project")
    options = ["--quiet", "--project-dir", project, "--profiles-dir", project]
    result = build.python("-m", "dbt.cli.main", "parse", *options)
    if result.returncode:
        raise BuildError(f"dbt cannot parse the project: {_last_words(result.stdout + result.stderr)}")


def _last_words(text: str) -> str:
    """Return the last lines of a program's output; only the exception of a traceback."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines[-1:] if "Traceback (most recent call last):" in lines else lines[-8:])
