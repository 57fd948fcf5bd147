"""A lakehouse of each side: the base is built once for its commit, the change starts as a copy of it."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl
from adbc_driver_postgresql import dbapi

from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.postgres import embedded_server
from orders_lakehouse.settings import PROJECT
from pr_checks.commits import unpack
from pr_checks.shop import load

# What an environment says of other lakehouses; a comparison is the same everywhere.
_ELSEWHERE = ("LAKEHOUSE_", "LAKE_URL", "SHOP_DATABASE_URL", "WAREHOUSE_DATABASE_URL", "AWS_", "DAGSTER_HOME", "DBT_")
_MANIFEST = Path("dbt_project", "target", "manifest.json")
_CONTRACTS = "import json; from orders_lakehouse.contracts.document import documents; print(json.dumps(documents()))"
_BACKFILL = "from orders_lakehouse.cli import main; main()"


class BuildError(ExpectedError):
    """The base cannot be built: there is nothing to compare with."""


@dataclass(frozen=True)
class Build:
    """A lakehouse of a commit.

    Attributes:
        folder: Where its sources, its lake and Dagster's home are.
        warehouse: Name of its database.
        socket: Directory of the server's socket.
        checks: What each check said: asset, check, passed, severity, failed_dates.
        errors: Messages of steps that failed for another reason than a check.
        seconds: How long it took, by part.
    """

    folder: Path
    warehouse: str
    socket: str
    checks: list[dict[str, Any]] = field(default_factory=list)
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

    @property
    def parsed(self) -> bool:
        """Whether dbt could read its project."""
        return (self.source / _MANIFEST).exists()

    def contracts(self) -> dict[str, Any]:
        """The contracts of its tables, as plain data; none where the commit cannot tell."""
        done = self.python("-c", _CONTRACTS)
        return dict(json.loads(done.stdout)) if done.returncode == 0 else {}

    def manifest(self) -> dict[str, Any]:
        """Its dbt manifest."""
        return dict(json.loads((self.source / _MANIFEST).read_text()))

    def judged(self) -> pl.DataFrame:
        """What its checks found last: asset, check_name, date, passed, severity, expected, found, detail."""
        results = pl.read_delta(str(self.lake / "checks" / "results"))
        subject = ["asset", "check_name", "date"]
        latest = results.sort("evaluated_at").unique(subject, keep="last", maintain_order=True)
        return latest.select(*subject, "passed", "severity", "expected", "found", "detail").sort(subject)


def base_build(home: Path, commit: str, dates: tuple[date, date], say: Callable[[str], None]) -> Build:
    """The lakehouse of the base: everything, from the shop to the marts. It is kept for the next time.

    Raises:
        BuildError: It cannot be built.
    """
    socket = embedded_server(home)
    build = Build(home / f"base-{commit[:10]}", f"warehouse_{commit[:10]}", socket)
    built = build.folder / "built.json"
    if built.exists():
        say(f"The base {commit[:10]} stands already.")
        return _with(build, json.loads(built.read_text()), {})
    for older in home.glob("base-*"):
        shutil.rmtree(older)
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
    (run,) = json.loads(done.stdout)["runs"]
    built.write_text(json.dumps(run))
    return _with(build, run, seconds)


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
    shutil.copytree(base.lake, build.lake)
    _anew(build, build.warehouse, template=base.warehouse)
    copied = time.monotonic()
    try:
        if dbt:
            _parse(build)
        else:
            shutil.copytree((base.source / _MANIFEST).parent, (build.source / _MANIFEST).parent)
    except BuildError as error:
        return _with(build, {"checks": [], "errors": {"dbt parse": str(error)}}, {"copy": copied - began})
    parsed = time.monotonic()
    what = f"Making {', '.join(layers)} anew" if layers else "Making nothing anew"
    say(f"{what}, and running every check ...")
    done = build.python("-m", "pr_checks.run", *(str(day) for day in dates), *layers)
    seconds = {"copy": copied - began, "dbt parse": parsed - copied, "run": time.monotonic() - parsed}
    if done.returncode:
        return _with(build, {"checks": [], "errors": {"run": _last_words(done.stderr)}}, seconds)
    return _with(build, json.loads(done.stdout), seconds)


def _with(build: Build, run: dict[str, Any], seconds: dict[str, float]) -> Build:
    return Build(build.folder, build.warehouse, build.socket, run["checks"], run["errors"], seconds)


def _anew(build: Build, database: str, template: str = "template1") -> None:
    with dbapi.connect(build.url("postgres"), autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')
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
