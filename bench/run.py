"""The measured lakehouse: it has its own folder, runs by its command, and is observed from outside."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from time import time
from typing import Any
from urllib.parse import quote

import polars as pl
from adbc_driver_postgresql import dbapi

from bench.changes import change_lines, settled_date
from bench.measure import DbtInvocation, Observed, numbers
from bench.processes import ObservedProcess, cpu_of_children, cpu_of_family, sampling
from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.postgres.embedded import embedded_server, remove_embedded_server
from orders_lakehouse.postgres.server_folders import data_directory
from orders_lakehouse.sample_shop.sample import load_sample_shop
from orders_lakehouse.settings import DEFAULT_START, PROJECT, Settings

# Environment of the runs. Events are timed in the run's process; run_results.json has the times of dbt's models.
_OBSERVABLE = {"LAKEHOUSE_EXECUTOR": "threads", "LAKEHOUSE_DBT_ARTIFACTS": "all"}
_TABLE_BYTES = """
    SELECT schemaname || '.' || tablename, pg_total_relation_size(format('%I.%I', schemaname, tablename)::regclass)
    FROM pg_tables
    WHERE schemaname NOT IN ('pg_catalog', 'information_schema')
"""
_SHOP = """
    SELECT (SELECT (least(max(ordered_at), now()) AT TIME ZONE '{timezone}')::date - 1 FROM shop.orders)::text,
        (SELECT count(*) FROM shop.customers), (SELECT count(*) FROM shop.products),
        (SELECT count(*) FROM shop.orders), (SELECT count(*) FROM shop.order_items),
        (SELECT count(*) FROM shop.payments)
"""


class BenchError(ExpectedError):
    """The benchmark cannot go on."""


@dataclass(frozen=True)
class Bench:
    """A lakehouse to measure.

    Attributes:
        home: Its own LAKEHOUSE_HOME.
        socket: Directory of the socket of its embedded server.
        shop_url: Database of the shop.
        start: First partition; that of the environment, if it names one.
        beside: Suffix for folder and database of a second lakehouse on the same server.
    """

    home: Path
    socket: str
    shop_url: str
    start: date | None = None
    beside: str = ""

    @property
    def folder(self) -> Path:
        """Return the folder of everything except the server; a second lakehouse has its own."""
        return self.home / f"home{self.beside}" if self.beside else self.home

    @property
    def warehouse_url(self) -> str:
        """Return the database of the warehouse."""
        return self.url(f"warehouse{self.beside}")

    def url(self, database: str) -> str:
        """Return the URL of a database of the embedded server."""
        return f"postgresql://postgres@/{database}?host={quote(self.socket, safe='/')}"

    @property
    def settings(self) -> dict[str, str]:
        """Return the settings of the runs except for paths: the defaults, or those of the environment; no `.env`."""
        names = {str(setting.validation_alias): setting.default for setting in Settings.model_fields.values()}
        defaults = {name: str(default) for name, default in names.items() if default is not None}
        # Paths are left out of results, because they belong to this machine; the environment may still set them.
        for name in ("LAKEHOUSE_HOME", "LAKEHOUSE_WAIVERS"):
            del defaults[name]
        defaults["LAKEHOUSE_START_DATE"] = str(DEFAULT_START)
        start = {} if self.start is None else {"LAKEHOUSE_START_DATE": str(self.start)}
        return {
            **defaults,
            **{name: os.environ[name] for name in defaults if os.environ.get(name)},
            **start,
            **_OBSERVABLE,
        }

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of the runs."""
        own = {
            "LAKEHOUSE_HOME": str(self.folder),
            "LAKE_URL": str(self.folder / "lake"),
            "DAGSTER_HOME": str(self.folder / "dagster"),
            "SHOP_DATABASE_URL": self.shop_url,
            "WAREHOUSE_DATABASE_URL": self.warehouse_url,
        }
        return {**os.environ, **self.settings, **own}

    def empty(self) -> None:
        """Remove lake, warehouse and Dagster's home, and let the server finish its pending writes."""
        for name in ("lake", "dagster", "dbt", "logs"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        self._empty_database(f"warehouse{self.beside}")

    def _empty_database(self, name: str) -> None:
        with dbapi.connect(self.url("postgres"), autocommit=True) as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            cursor.execute(f"CREATE DATABASE {name}")
            cursor.execute("CHECKPOINT")

    def backfill(self, first: date, last: date, command: str = "backfill") -> dict[str, Any]:
        """Run a range of dates in a separate process, and return its numbers; the command `unchecked` skips checks.

        Raises:
            BenchError: The run failed.
        """
        files, tables = set(self._log_files()), self._table_bytes()
        seen = self.home / "observed.json"
        arguments = [sys.executable, "-m", "bench.observed", str(seen), command, str(first), str(last)]
        process = self._process(arguments, self.environment)
        observed = json.loads(seen.read_text())
        of_run = numbers(
            Observed(
                span=process.span,
                events=observed["events"],
                stages=observed["stages"],
                dbt=_invocations(self.folder / "dbt", since=process.span[0]),
                memory=process.samples.run,
                postgres_memory=process.samples.postgres,
                lake_bytes=self._added_bytes(files),
                table_bytes={name: size - tables.get(name, 0) for name, size in self._table_bytes().items()},
            )
        )
        return {**of_run, **process.numbers}

    def rival(self, name: str, command: Sequence[str], first: date, last: date) -> dict[str, Any]:
        """Run a rival for a range of dates in a separate process, with its own lake and warehouse.

        Args:
            name: Name of the rival.
            command: Command to run; the dates and a file for its times are appended.
            first: First date.
            last: Last date.

        Returns:
            seconds, start_seconds (until its first stage), `stages` (seconds of each; they may overlap), and the
            numbers of `_process`.

        Raises:
            BenchError: The run failed.
        """
        home, environment = self.rival_home(name), self.rival_environment(name)
        shutil.rmtree(home, ignore_errors=True)
        (home / "lake").mkdir(parents=True)
        self._empty_database(name)
        times_file = home / "spans.json"
        process = self._process([*command, str(first), str(last), str(times_file)], environment)
        spans = json.loads(times_file.read_text())["spans"]
        started, ended = process.span
        return {
            "seconds": ended - started,
            "start_seconds": min(began for began, _ in spans.values()) - started,
            "peak_bytes": max((size for _, size in process.samples.run), default=None),
            "postgres_peak_bytes": max((size for _, size in process.samples.postgres), default=None),
            "stages": {stage: finished - began for stage, (began, finished) in spans.items()},
            **process.numbers,
        }

    def rival_home(self, name: str) -> Path:
        """Return the folder to which a rival writes; its lake is the folder `lake` in it."""
        return self.home / name

    def rival_environment(self, name: str) -> dict[str, str]:
        """Return the environment of a rival: that of a run, with its own lake and warehouse."""
        own = {"LAKE_URL": str(self.rival_home(name) / "lake"), "WAREHOUSE_DATABASE_URL": self.url(name)}
        return {**self.environment, **own}

    def _process(self, arguments: Sequence[str], environment: Mapping[str, str]) -> ObservedProcess:
        """Run a command to its end and observe it."""
        output = self.home / "output.txt"
        cpu, postgres_cpu = cpu_of_children(), cpu_of_family(self._postmaster())
        started = time()
        with output.open("w") as log:
            process = subprocess.Popen(  # noqa: S603 (our own command)
                arguments, cwd=PROJECT, env=environment, stdout=log, stderr=subprocess.STDOUT
            )
            with sampling(process.pid, self._postmaster()) as samples:
                status = process.wait()
            ended = time()
        if status:
            command = " ".join(arguments[1:])
            raise BenchError(f"{command} failed; the end of its output:\n{output.read_text()[-4000:]}")
        return ObservedProcess(
            (started, ended),
            samples,
            cpu_of_children() - cpu,
            cpu_of_family(self._postmaster()) - postgres_cpu,
        )

    def shop(self) -> tuple[date, dict[str, int]]:
        """Return the last complete date (before the shop's last order), and the rows of the shop's tables.

        Raises:
            BenchError: The shop cannot be read, or has no orders.
        """
        try:
            ((last, *counts),) = rows(self.shop_url, _SHOP.format(timezone=self.settings["LAKEHOUSE_TIMEZONE"]))
        except dbapi.Error as error:
            raise BenchError(f"the shop cannot be read: {error}") from None
        if last is None:
            raise BenchError("the shop has no orders")
        names = ("customers", "products", "orders", "order_items", "payments")
        return date.fromisoformat(last), dict(zip(names, counts, strict=True))

    def postgres_version(self) -> str:
        """Return the version of the embedded server."""
        ((version,),) = rows(self.url("postgres"), "SELECT current_setting('server_version')")
        return str(version).split()[0]

    def _log_files(self) -> Iterator[Path]:
        return (self.folder / "lake").glob("*/*/_delta_log/*.json")

    def _added_bytes(self, known: set[Path]) -> dict[str, int]:
        """Return the bytes of files that new commits have added, by layer; `known` are the earlier commits."""
        schema = {"add": pl.Struct({"size": pl.Int64})}
        added: dict[str, int] = {}
        for commit in set(self._log_files()) - known:
            layer = commit.parents[2].name
            sizes = pl.read_ndjson(commit, schema=schema)["add"].struct.field("size")
            added[layer] = added.get(layer, 0) + int(sizes.sum())
        return added

    def _table_bytes(self) -> dict[str, int]:
        return dict(rows(self.warehouse_url, _TABLE_BYTES))

    def _postmaster(self) -> int:
        return int((data_directory(self.home) / "postmaster.pid").read_text().split()[0])


@contextmanager
def prepared(copies: int, shop_url: str | None) -> Iterator[Bench]:
    """Make a lakehouse in a temporary folder, with the sample shop or a given one; remove it at the end."""
    with TemporaryDirectory(prefix="lakehouse-bench-") as folder:
        home = Path(folder) / "home"
        socket = embedded_server(home)
        try:
            bench = Bench(home, socket, shop_url or "")
            if shop_url is None:
                bench = Bench(home, socket, bench.url("shop"))
                load_sample_shop(bench.shop_url, copies=copies)
            yield bench
        finally:
            remove_embedded_server(home)


# Works of each run, and works that only the first size of a call does, because they do not show how cost grows.
WORKS = ("year", "one date", "unchanged", "changed lines", "unchecked")
# Works that change the shop.
CHANGING = ("changed lines",)
ONCE = ("unchanged", "unchecked")


@dataclass(frozen=True)
class Rivals:
    """The rivals with which the year is compared.

    Attributes:
        names: Names of the rivals.
        race: Runs a rival for a range of dates, and returns its numbers.
        require_equal: Checks that the rivals have made the same tables as the lakehouse.
    """

    names: Sequence[str]
    race: Callable[[Bench, str, date, date], dict[str, Any]]
    require_equal: Callable[[Bench, Sequence[str]], None]


def measure(
    bench: Bench,
    first: date,
    last: date,
    runs: int,
    say: Callable[[str], None],
    works: Sequence[str] = WORKS,
    rivals: Rivals | None = None,
) -> dict[str, dict[str, Any]]:
    """Do the works several times, each time from an empty lake and warehouse.

    Args:
        bench: The lakehouse.
        first: First date of the year.
        last: The single date that is run on top of the year.
        runs: Number of repetitions.
        say: Called with a line after each run.
        works: The works of `WORKS` to do.
        rivals: Rivals that run before each year, one after the other.

    Returns:
        For each work, and for each rival by its name, `from`, `to` (dates) and `runs`: a list of
        `bench.measure.numbers`, or of the numbers of `Bench.rival`.

    Raises:
        BenchError: A run failed, or a rival has made other tables.
    """
    year = (first, last - timedelta(days=1))
    settled = settled_date(first, last)
    ranges = {
        "year": year,
        "one date": (last, last),
        "unchanged": (first, last),
        "changed lines": (settled, settled),
        "unchecked": year,
    }
    names = rivals.names if rivals else ()
    measured: dict[str, dict[str, Any]] = {
        name: {"from": str(dates[0]), "to": str(dates[1]), "runs": []}
        for name, dates in ({work: ranges[work] for work in works} | dict.fromkeys(names, year)).items()
    }

    def note(name: str, done: dict[str, Any]) -> None:
        measured[name]["runs"].append(done)
        say(f"  run {number} of {runs}, {name}: {done['seconds']:.1f} s")

    for number in range(1, runs + 1):
        if "unchecked" in works:
            bench.empty()
            note("unchecked", bench.backfill(*year, command="unchecked"))
        if rivals:
            for name in names:
                note(name, rivals.race(bench, name, *year))
        bench.empty()
        for work in ("year", "one date", "unchanged", "changed lines"):
            if work in works:
                if work in CHANGING:
                    change_lines(bench.shop_url, settled, bench.settings["LAKEHOUSE_TIMEZONE"])
                note(work, bench.backfill(*ranges[work], command="backfill"))
            if work == "year" and rivals and number == 1:
                rivals.require_equal(bench, names)
    return measured


def in_turns(
    lakehouses: Mapping[int, Bench], first: date, last: date, turns: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Change lines of a date in several lakehouses and run that date, in turns, because a machine's speed varies.

    Args:
        lakehouses: Lakehouses by copies of the sample shop; each has built its year.
        first: First date of the shop.
        last: Last date of the shop.
        turns: Number of turns. Each has its own date, which no other measurement uses, if the range is long enough.
        say: Called with a line after each run.

    Returns:
        from, to (dates), and `runs`: by copies, a list of `bench.measure.numbers`.
    """
    before = settled_date(first, last) - timedelta(days=14)
    days = [max(first, before - timedelta(days=turn)) for turn in range(1, turns + 1)]
    runs: dict[str, list[dict[str, Any]]] = {str(copies): [] for copies in lakehouses}
    for day in days:
        for copies, lakehouse in lakehouses.items():
            change_lines(lakehouse.shop_url, day, lakehouse.settings["LAKEHOUSE_TIMEZONE"])
            run = lakehouse.backfill(day, day)
            runs[str(copies)].append(run)
            say(f"  in turns, changed lines of {day} at {copies} copies: {run['seconds']:.1f} s")
    return {"from": str(min(days)), "to": str(max(days)), "runs": runs}


def _invocations(folder: Path, since: float) -> list[DbtInvocation]:
    results = [path for path in folder.glob("*/run_results.json") if path.stat().st_mtime >= since]
    return [_invocation(json.loads(path.read_text())) for path in results]


def _invocation(results: Mapping[str, Any]) -> DbtInvocation:
    nodes: Sequence[Mapping[str, Any]] = results["results"]
    models = [node for node in nodes if node["unique_id"].startswith("model.")]
    timings = [timing for node in nodes for timing in node["timing"]]
    return DbtInvocation(
        started=_instant(results["metadata"]["invocation_started_at"]),
        working=(
            min(_instant(timing["started_at"]) for timing in timings),
            max(_instant(timing["completed_at"]) for timing in timings),
        ),
        rows=sum(max(0, node["adapter_response"].get("rows_affected", 0)) for node in models),
        relations=frozenset(
            ".".join(node["relation_name"].replace('"', "").split(".")[1:]) for node in models if node["relation_name"]
        ),
    )


def _instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query."""
    with dbapi.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())
