"""A whole lakehouse on real Postgres and Delta, with a small shop that tests write to."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from orders_lakehouse.cli import main as cli
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.defs.reconciliation import UPKEEP
from orders_lakehouse.delta.configured import configured_lake
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.instance.outcome import cause_of
from orders_lakehouse.runtime import adbc_pool
from orders_lakehouse.settings import settings
from orders_lakehouse.tables import CLEANSED, CURATED, QUARANTINE, RAW
from tests.support.copies import Warehouse
from tests.support.oracle import CURATED_COLUMNS, Differences, Oracle, compare
from tests.support.s3 import environment, new_bucket

SHOP_SCHEMA = resources.files("orders_lakehouse.sample_shop").joinpath("schema.sql").read_text()
# The same with numbers of any size and any number of decimals, as shops have them.
EXACT_SHOP = re.sub(r"numeric\(\d+, \d\)", "numeric", SHOP_SCHEMA).replace(
    "quantity       integer", "quantity       numeric"
)
FACTS = ("fct_orders", "fct_order_lines")
# The command of the environment that runs the tests.
LAKEHOUSE = str(Path(sys.executable).with_name("lakehouse"))
# Arguments and environment to exit status, output and errors.
Command = Callable[..., tuple[int, str, str]]
MARTS = ("dim_customers", "dim_products", "dim_date", "dim_payment_methods", *FACTS)


@dataclass
class Lakehouse:
    """A lakehouse under test.

    Attributes:
        shop_url: Database of the shop.
        warehouse_url: Database of the warehouse.
        lake: Its lake.
        instance: Dagster's instance, which runs need.
    """

    shop_url: str
    warehouse_url: str
    lake: Lake
    instance: dg.DagsterInstance | None

    @property
    def oracle(self) -> Oracle:
        """What the marts ought to show."""
        return Oracle(self.shop_url)

    def shop(self, script: str) -> None:
        """Run statements in the shop, and commit."""
        with adbc_pool.connect(self.shop_url) as connection, connection.cursor() as cursor:
            cursor.executescript(script)
            connection.commit()

    def wrong_marts(self) -> dict[str, Differences]:
        """Marts that differ from the oracle, with the rows that differ."""
        return self.oracle.differences(self.warehouse_rows)

    def wrong_curated(self) -> dict[str, Differences]:
        """Curated tables that differ from the oracle, with the rows that differ."""
        found = {}
        for table in CURATED:
            columns = CURATED_COLUMNS[table.name]
            rows = self.lake_rows(table).select(pl.col(columns).cast(pl.String)).rows()
            view = {"order_lines": "fct_order_lines"}.get(table.name, table.name)
            found[table.name] = compare(self.oracle.rows(view, ", ".join(f"{name}::text" for name in columns)), rows)
        return {table: differing for table, differing in found.items() if differing is not None}

    @contextmanager
    def copy_of_raw(self, home: Path, warehouse_url: str) -> Iterator["Lakehouse"]:
        """A lakehouse with the same shop and the same raw tables, and with nothing derived from them yet."""
        copy = self.copy_of_lake(home, "raw")
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setenv("WAREHOUSE_DATABASE_URL", warehouse_url)
            settings.cache_clear()
            yield replace(copy, warehouse_url=warehouse_url)
        settings.cache_clear()

    def copy_of_lake(self, home: Path, layer: str = "") -> "Lakehouse":
        """A lakehouse with the same databases and a copy of the lake on disk, or of one layer of it."""
        shutil.copytree(Path(self.lake.url) / layer, home / "lake" / layer)
        return replace(self, lake=replace(self.lake, url=str(home / "lake")))

    def warehouse(self, script: str) -> None:
        """Run statements in the warehouse, and commit."""
        with adbc_pool.connect(self.warehouse_url) as connection, connection.cursor() as cursor:
            cursor.executescript(script)
            connection.commit()

    def shop_rows(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of a query over the shop."""
        return rows_of(self.shop_url, query)

    def warehouse_rows(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of a query over the warehouse."""
        return rows_of(self.warehouse_url, query)

    @cached_property
    def definitions(self) -> dg.Definitions:
        """What the package declares, on this lake."""
        from orders_lakehouse.definitions import defs

        return dg.Definitions(
            assets=defs.assets,
            asset_checks=defs.asset_checks,
            jobs=defs.jobs,
            resources={**(defs.resources or {}), "lake": self.lake},
            executor=defs.executor,
        )

    def run(
        self,
        first: str,
        last: str | None = None,
        *,
        job: str = "refresh_all_job",
        select: str | None = None,
        run_key: str | None = None,
    ) -> dg.ExecuteInProcessResult:
        """Run a job (or a part of it, by an asset selection such as `group:raw`) for a range of dates."""
        definition = self.definitions.resolve_job_def(job)
        if select is not None:
            graph = self.definitions.resolve_asset_graph()
            chosen = dg.AssetSelection.from_string(select) - UPKEEP
            definition = definition.get_subset(
                asset_selection=chosen.resolve(graph), asset_check_selection=chosen.resolve_checks(graph)
            )
        return definition.execute_in_process(
            instance=self.instance,
            raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            tags={
                "dagster/asset_partition_range_start": first,
                "dagster/asset_partition_range_end": last or first,
                **({"dagster/run_key": run_key} if run_key else {}),
            },
        )

    def run_job(self, job: str, **tags: str) -> dg.ExecuteInProcessResult:
        """Run a job that knows no dates; a tag of the run is named without its `lakehouse/`."""
        run_config = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        definition = self.definitions.resolve_job_def(job)
        return definition.execute_in_process(
            instance=self.instance,
            raise_on_error=False,
            run_config=run_config,
            tags={f"lakehouse/{name}": value for name, value in tags.items()},
        )

    def lake_rows(self, table: Table) -> pl.DataFrame:
        """All rows of a lake table, in the order of its key."""
        frame: pl.DataFrame = self.lake.scan(table).to_native().collect()
        return frame.sort(*table.key, *[name for name in frame.columns if name not in table.key])

    def lake_tables(self) -> dict[str, pl.DataFrame]:
        """Every lake table but raw, without the lineage that says when rather than what."""
        return {
            table.path: self.lake_rows(table).drop("captured_at", "run_id", strict=False)
            for table in (*CLEANSED, *QUARANTINE, *CURATED)
        }

    def raw_tables(self) -> dict[str, pl.DataFrame]:
        """Every raw table, whole."""
        return {table.path: self.lake_rows(table) for table in RAW}

    def mart_checksums(self) -> dict[str, tuple[int, str]]:
        """Rows and an order-independent checksum of each mart."""
        return {
            mart: self.warehouse_rows(
                f"SELECT count(*), coalesce(sum(hashtextextended(t::text, 0))::text, '') FROM marts.{mart} AS t"
            )[0]
            for mart in MARTS
        }


def rows_of(url: str, query: str) -> list[tuple[Any, ...]]:
    """Rows of a query, in UTC."""
    with adbc_pool.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SET TIME ZONE 'UTC'")
        cursor.execute(query)
        return list(cursor.fetchall())


@contextmanager
def lakehouse_on(
    endpoint: str | None, home: Path, make_url: Callable[..., str], shop: str = "", warehouse: str = ""
) -> Iterator[Lakehouse]:
    """A lakehouse on an empty shop, or a copy of `shop`; its lake is on disk, or in a bucket of the S3 server.

    Its warehouse is empty, or a copy of `warehouse`.
    """
    shop_url = make_url("shop", shop) if shop else make_url("shop")
    warehouse_url = make_url("warehouse", warehouse) if warehouse else make_url("warehouse")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("LAKEHOUSE_HOME", str(home))
        monkeypatch.setenv("SHOP_DATABASE_URL", shop_url)
        monkeypatch.setenv("WAREHOUSE_DATABASE_URL", warehouse_url)
        for name, value in environment(endpoint).items() if endpoint else ():
            monkeypatch.setenv(name, value)
        lake_url = new_bucket(endpoint) if endpoint else str(home / "lake")
        monkeypatch.setenv("LAKE_URL", lake_url)
        settings.cache_clear()
        with dg.DagsterInstance.ephemeral(str(home)) as instance:
            made = Lakehouse(shop_url, warehouse_url, configured_lake(), instance)
            if not shop:
                made.shop(EXACT_SHOP)
                made.oracle.install()
            yield made
    settings.cache_clear()


@contextmanager
def lakehouse_like(standing: Lakehouse, home: Path, make_url: Callable[..., str]) -> Iterator[Lakehouse]:
    """A lakehouse on copies of the databases and the lake of one on disk that is not to be changed."""
    shutil.copytree(standing.lake.url, home / "lake")
    with lakehouse_on(None, home, make_url, standing.shop_url, standing.warehouse_url) as made:
        yield made


@pytest.fixture
def lakehouse(
    request: pytest.FixtureRequest, tmp_path: Path, postgres_url_factory: Callable[[str], str]
) -> Iterator[Lakehouse]:
    """An empty lakehouse on an empty shop of the right schema; partitions start on 2017-01-01, dates are UTC.

    On disk, or where a test's parameter says: disk or s3.
    """
    endpoint = request.getfixturevalue("s3_endpoint") if getattr(request, "param", "disk") == "s3" else None
    with lakehouse_on(endpoint, tmp_path, postgres_url_factory) as made:
        yield made


@pytest.fixture(scope="module")
def shared_lakehouse(
    tmp_path_factory: pytest.TempPathFactory, postgres_url_factory: Callable[[str], str]
) -> Iterator[Lakehouse]:
    """A lakehouse like `lakehouse` that the tests of a module share; give them one xdist_group."""
    with lakehouse_on(None, tmp_path_factory.mktemp("lakehouse"), postgres_url_factory) as made:
        yield made


@pytest.fixture(scope="session")
def late_shop(tmp_path_factory: pytest.TempPathFactory, postgres_url_factory: Callable[[str], str]) -> Lakehouse:
    """The shop of late changes before they come, its ten dates captured and curated; not to be changed."""
    from tests.integration.pipeline.test_late_changes import IN_THE_LAKE, SHOP, changed, ran

    deleted = "('left behind', 1, 'px', 1, 3, 0, '2017-01-04', '2017-01-04')"
    with lakehouse_on(None, tmp_path_factory.mktemp("late_shop"), postgres_url_factory) as made:
        changed(made, f"{SHOP}; INSERT INTO shop.order_items VALUES {deleted}")
        ran(made, "2017-01-01", "2017-01-10", select=IN_THE_LAKE)
        assert made.wrong_curated() == {}
        return made


@pytest.fixture
def built(late_shop: Lakehouse, tmp_path: Path, postgres_url_factory: Callable[..., str]) -> Iterator[Lakehouse]:
    """A lakehouse like `late_shop`, of a test's own."""
    with lakehouse_like(late_shop, tmp_path, postgres_url_factory) as made:
        yield made


@pytest.fixture(scope="module")
def copies_url(postgres_url_factory: Callable[[str], str]) -> str:
    """A database for `warehouse`, of the tests of a module."""
    return postgres_url_factory("copies")


@pytest.fixture
def warehouse(copies_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    """A warehouse without copies, beside an empty lake."""
    monkeypatch.setenv("WAREHOUSE_DATABASE_URL", copies_url)
    made = Warehouse(copies_url, Lake(str(tmp_path / "lake"), "UTC"))
    made.run("DROP SCHEMA IF EXISTS lake CASCADE")
    return made


def day(text: str) -> date:
    """A date, shorter."""
    return date.fromisoformat(text)


def failures(result: dg.ExecuteInProcessResult) -> list[str]:
    """What went wrong in a run: steps that failed, and checks that did not pass."""
    found = []
    for event in result.all_events:
        if event.is_step_failure:
            found.append(f"{event.step_key}: {cause_of(event.step_failure_data)}")
        elif event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            if not check.passed:
                found.append(f"check {check.check_name} on {check.asset_key.to_user_string()}: {check.metadata}")
    return found


def command_line(arguments: list[str], *, seconds: float = 300, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the `lakehouse` command to its end, as a person would."""
    return subprocess.run(
        [LAKEHOUSE, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


@dataclass
class Terminal:
    """A lakehouse that is used by its command.

    Attributes:
        home: LAKEHOUSE_HOME.
        shop_url: Database of the shop.
        warehouse_url: Database of the warehouse.
    """

    home: Path
    shop_url: str
    warehouse_url: str
    started: list["subprocess.Popen[str]"] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """What the command is told by its environment."""
        return {
            "LAKEHOUSE_HOME": str(self.home),
            "SHOP_DATABASE_URL": self.shop_url,
            "WAREHOUSE_DATABASE_URL": self.warehouse_url,
        }

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        return command_line([*arguments], **{**self.environment, **environment})

    def start(self, *arguments: str, log: Path | None = None, **environment: str) -> "subprocess.Popen[str]":
        """Start the command in a process group of its own; it prints to stdout and stderr, or to a log."""
        with log.open("w") if log else nullcontext(subprocess.PIPE) as out:
            process = subprocess.Popen(
                [LAKEHOUSE, *arguments],
                env={**os.environ, **self.environment, **environment},
                stdout=out,
                stderr=subprocess.STDOUT if log else subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def inspect(self) -> Lakehouse:
        """The same lakehouse, to look at."""
        return Lakehouse(self.shop_url, self.warehouse_url, Lake(str(self.home / "lake"), "UTC"), None)


@pytest.fixture
def terminal(tmp_path: Path, postgres_url_factory: Callable[[str], str]) -> Iterator[Terminal]:
    """A lakehouse on an empty shop, to be used by its command; what was started is ended with the test."""
    made = Terminal(tmp_path / "home", postgres_url_factory("shop"), postgres_url_factory("warehouse"))
    inspected = made.inspect()
    inspected.shop(SHOP_SCHEMA)
    inspected.oracle.install()
    yield made
    for process in made.started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def command(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    clean_settings: None,  # noqa: ARG001 (restores the settings afterwards)
) -> Command:
    """Runs the command in this process, in a home of its own and 80 columns: exit status, output, errors."""
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: str, **environment: str) -> tuple[int, str, str]:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        settings.cache_clear()
        monkeypatch.setattr(sys, "argv", ["lakehouse", *arguments])
        capsys.readouterr()
        umask = os.umask(0o022)
        try:
            with pytest.raises(SystemExit) as exit_:
                cli.main()
        finally:
            os.umask(umask)
        captured = capsys.readouterr()
        return int(exit_.value.code or 0), captured.out, captured.err

    return run
