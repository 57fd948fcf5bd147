"""A lakehouse of each side: the base is built once for its commit, the change starts as a copy of it."""

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

# What an environment says of other lakehouses; a comparison is the same everywhere.
_ELSEWHERE = ("LAKEHOUSE_", "LAKE_URL", "SHOP_DATABASE_URL", "WAREHOUSE_DATABASE_URL", "AWS_", "DAGSTER_HOME", "DBT_")
_JUDGED = ("asset", "check_name", "date", "passed", "severity", "expected", "found", "detail")
_MANIFEST = Path("dbt_project", "target", "manifest.json")
# Earlier commits list their tables beside the contracts.
_CONTRACTS = """
import json
try:
    from orders_lakehouse.tables import TABLES
except ImportError:
    from orders_lakehouse.contracts.tables import TABLES
from orders_lakehouse.contracts.document import document
print(json.dumps({table.path: document(table) for table in TABLES}))
"""
# What a run does not judge, it does not name; so a line says which checks there are.
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
    """The base cannot be built, or dbt cannot read the project of a side."""


@dataclass(frozen=True)
class Build:
    """A lakehouse of a commit.

    Attributes:
        folder: Where its sources, its lake and Dagster's home are.
        warehouse: Name of its database.
        socket: Directory of the server's socket.
        ran: Whether it was made so far that it can be compared.
        checks: What each check said: asset, check, passed, severity, failed_dates.
        declared: Asset and name of every check that there is, whether or not it ran.
        errors: Messages of steps that failed for another reason than a check.
        seconds: How long it took, by part.
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
        """The files of its commit."""
        return self.folder / "source"

    @property
    def lake(self) -> Path:
        """Root of its Delta tables."""
        return self.folder / "lake"

    def url(self, database: str) -> str:
        """URL of a database."""
        return f"postgresql://postgres@/{database}?host={quote(self.socket, safe='/')}"

    def environment(self) -> dict[str, str]:
        """What its processes are told."""
        told = {name: value for name, value in os.environ.items() if not name.startswith(_ELSEWHERE)}
        return {
            **told,
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
        """The contracts of its tables, as plain data; none where the commit cannot tell."""
        done = self.python("-c", _CONTRACTS)
        return dict(json.loads(done.stdout)) if done.returncode == 0 else {}

    def manifest(self) -> dict[str, Any]:
        """Its dbt manifest."""
        return dict(json.loads((self.source / _MANIFEST).read_text()))

    def judged(self) -> pl.DataFrame:
        """What its checks found last: asset, check_name, date, passed, severity, expected, found, detail."""
        table = self.lake / "checks" / "results"
        if not table.exists():
            return pl.DataFrame(schema=CHECK_RESULTS.schema).select(*_JUDGED)
        results = pl.read_delta(str(table))
        subject = ["asset", "check_name", "date"]
        latest = results.sort("evaluated_at").unique(subject, keep="last", maintain_order=True)
        return latest.select(*_JUDGED).sort(subject)


def base_build(home: Path, commit: str, dates: tuple[date, date], say: Callable[[str], None]) -> Build:
    """The lakehouse of the base: everything, from the shop to the marts. It is kept for the next time.

    Raises:
        BuildError: It cannot be built, or a step failed. A check may fail: the change is to be seen beside it.
    """
    socket = embedded_server(home)
    name = f"{commit[:10]}-{beside_commit(PROJECT)}"
    build = Build(home / f"base-{name}", f"warehouse_{name}", socket)
    built = build.folder / "built.json"
    if built.exists():
        say(f"The base {commit[:10]} stands already.")
        return _with(build, json.loads(built.read_text()), {})
    for older in home.glob("base-*"):
        shutil.rmtree(older)
        _drop(build, f"warehouse_{older.name.removeprefix('base-')}")
    began = time.monotonic()
    _anew(build, "shop")
    load(build.url("shop"))
    loaded = time.monotonic()
    _anew(build, build.warehouse)
    build.source.mkdir(parents=True)
    unpack(PROJECT, commit, build.source)
    _parse(build)
    parsed = time.monotonic()
    say(f"Building the base {commit[:10]}, {dates[0]} to {dates[1]} ...")
    done = build.python("-c", _BACKFILL, "backfill", *(str(day) for day in dates), "--json")
    seconds = {"shop": loaded - began, "dbt parse": parsed - loaded, "run": time.monotonic() - parsed}
    if not done.stdout.startswith("{"):
        raise BuildError(f"the base {commit[:10]} cannot be built; its last words:\n{done.stderr[-4000:]}")
    backfill, _, declared = done.stdout.rstrip().rpartition("\n")
    told = {"runs": json.loads(backfill)["runs"], "declared": json.loads(declared)}
    found = _with(build, told, seconds)
    if found.errors:
        failed = "\n".join(f"  {step}: {message}" for step, message in found.errors.items())
        raise BuildError(f"the base {commit[:10]} cannot be built; what failed:\n{failed}")
    built.write_text(json.dumps(told))
    return found


def beside_commit(project: Path) -> str:
    """Digest of what a base is made of beside its commit, and what the working tree has: shop, dates, packages."""
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
    """The lakehouse of the change: a copy of the base, in which some layers are made anew and every check runs.

    Args:
        base: What it starts as.
        commit: The change.
        dates: First and last date.
        layers: What to make anew.
        dbt: Whether the change has another dbt project.
        say: Told what is done.
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
    what = f"Making {', '.join(layers)} anew" if layers else "Making nothing anew"
    say(f"{what}, and running every check ...")
    done = build.python("-m", "pr_checks.run", *(str(day) for day in dates), *layers)
    seconds = {"copy": copied - began, "dbt parse": parsed - copied, "run": time.monotonic() - parsed}
    if done.returncode:
        said = _last_words(done.stderr) or f"it ended with status {done.returncode} and no word"
        return replace(build, errors={"run": said}, seconds=seconds)
    return _with(build, json.loads(done.stdout), seconds)


def copy_lake(before: Path, after: Path, made: Sequence[str]) -> None:
    """Copy a lake but for what is made anew, and but for what was found of that.

    What stood there would hide what the change does not write any more: a capture adds what is missing, and nothing
    removes a table that is declared no longer.
    """
    left_out = {*places(made), *(["checks"] if "raw" in made else [])}
    for layer in before.iterdir():
        if layer.name not in left_out:
            shutil.copytree(layer, after / layer.name)
    results = after / "checks" / "results"
    if made and results.exists():
        DeltaTable(str(results)).delete(" OR ".join(f"asset LIKE '{place}/%'" for place in places(made)))


def copy_warehouse(base: Build, build: Build, made: Sequence[str]) -> None:
    """Begin the database of a lakehouse as a copy of the base's, but for the schemas that are made anew."""
    _anew(build, build.warehouse, template="template1" if "warehouse" in made else base.warehouse)
    if "marts" in made:
        with dbapi.connect(build.url(build.warehouse)) as connection, connection.cursor() as cursor:
            for schema in places(["marts"]):
                cursor.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')
            connection.commit()


def _with(build: Build, told: dict[str, Any], seconds: dict[str, float]) -> Build:
    """A lakehouse with what its runs told."""
    errors: dict[str, str] = {}
    for run in told["runs"]:
        failing = any(not check["passed"] and check["severity"] == "ERROR" for check in run["checks"])
        errors |= run["errors"]
        if not (run["success"] or run["errors"] or failing):
            log = build.folder / "logs" / f"{run['run_id']}.log"
            errors["run"] = f"it failed, and named neither a step nor a check; its log is {log}"
    return replace(
        build,
        ran=True,
        checks=[check for run in told["runs"] for check in run["checks"]],
        declared=[(asset, name) for asset, name in told["declared"]],
        errors=errors,
        seconds=seconds,
    )


def _drop(build: Build, database: str) -> None:
    with dbapi.connect(build.url("postgres"), autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')


def _anew(build: Build, database: str, template: str = "template1") -> None:
    _drop(build, database)
    with dbapi.connect(build.url("postgres"), autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(f'CREATE DATABASE "{database}" TEMPLATE "{template}"')


def _parse(build: Build) -> None:
    project = str(build.source / "dbt_project")
    options = ["--quiet", "--project-dir", project, "--profiles-dir", project]
    done = build.python("-m", "dbt.cli.main", "parse", *options)
    if done.returncode:
        raise BuildError(f"dbt cannot read the project: {_last_words(done.stdout + done.stderr)}")


def _last_words(text: str) -> str:
    """What a program ended with; of a traceback, the exception alone."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines[-1:] if "Traceback (most recent call last):" in lines else lines[-8:])
