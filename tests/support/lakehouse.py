"""A whole lakehouse on real Postgres and Delta, with a small shop that tests write to."""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.defs import resources as dbt_resource
from orders_lakehouse.defs.reconciliation import UPKEEP
from orders_lakehouse.delta.configured import configured_lake
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.instance.outcome import cause_of
from orders_lakehouse.pipeline.row_accounting import accounts
from orders_lakehouse.runtime import adbc_pool
from orders_lakehouse.settings import settings
from orders_lakehouse.tables import CLEANSED, CURATED, QUARANTINE, RAW
from tests.support.oracle import CURATED_COLUMNS, Differences, Oracle, compare
from tests.support.s3 import environment, new_bucket
from tests.support.shared_dbt import shared_dbt

SHOP_SCHEMA = resources.files("orders_lakehouse.sample_shop").joinpath("schema.sql").read_text()
# The schema with numbers of any size and scale, as other shops have them.
EXACT_SHOP = re.sub(r"numeric\(\d+, \d\)", "numeric", SHOP_SCHEMA).replace(
    "quantity       integer", "quantity       numeric"
)
FACTS = ("fct_orders", "fct_order_lines", "fct_shipments", "fct_shipment_lines")
MARTS = ("dim_customers", "dim_products", "dim_warehouses", "dim_date", "dim_payment_methods", *FACTS)


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
        """The expected content of the marts."""
        return Oracle(self.shop_url)

    def shop(self, script: str) -> None:
        """Run statements in the shop, and commit."""
        with adbc_pool.connect(self.shop_url) as connection, connection.cursor() as cursor:
            cursor.executescript(script)
            connection.commit()

    def wrong_marts(self) -> dict[str, Differences]:
        """Return the marts that differ from the oracle, with the different rows."""
        return self.oracle.differences(self.warehouse_rows)

    def wrong_curated(self) -> dict[str, Differences]:
        """Return the curated tables that differ from the oracle, with the different rows."""
        found = {}
        for table in CURATED:
            columns = CURATED_COLUMNS[table.name]
            rows = self.lake_rows(table).select(pl.col(columns).cast(pl.String)).rows()
            view = {"order_lines": "fct_order_lines"}.get(table.name, table.name)
            found[table.name] = compare(self.oracle.rows(view, ", ".join(f"{name}::text" for name in columns)), rows)
        return {table: differing for table, differing in found.items() if differing is not None}

    @contextmanager
    def copy_of_raw(self, home: Path, warehouse_url: str) -> Iterator["Lakehouse"]:
        """Provide a lakehouse with the same shop and raw tables, and no derived tables."""
        copy = self.copy_of_lake(home, "raw")
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setenv("WAREHOUSE_DATABASE_URL", warehouse_url)
            settings.cache_clear()
            yield replace(copy, warehouse_url=warehouse_url)
        settings.cache_clear()

    def copy_of_lake(self, home: Path, layer: str = "") -> "Lakehouse":
        """Return a lakehouse with the same databases and a copy of the lake on disk, or of one layer."""
        shutil.copytree(Path(self.lake.url) / layer, home / "lake" / layer)
        return replace(self, lake=replace(self.lake, url=str(home / "lake")))

    def warehouse(self, script: str) -> None:
        """Run statements in the warehouse, and commit."""
        with adbc_pool.connect(self.warehouse_url) as connection, connection.cursor() as cursor:
            cursor.executescript(script)
            connection.commit()

    def shop_rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query in the shop."""
        return rows_of(self.shop_url, query)

    def warehouse_rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query in the warehouse."""
        return rows_of(self.warehouse_url, query)

    @cached_property
    def definitions(self) -> dg.Definitions:
        """The definitions of the package, on this lake."""
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
        """Run a job for a range of dates, or the part of it that an asset selection such as `group:raw` names."""
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
        """Run a job without dates; tags are given without their prefix `lakehouse/`."""
        run_config = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        definition = self.definitions.resolve_job_def(job)
        return definition.execute_in_process(
            instance=self.instance,
            raise_on_error=False,
            run_config=run_config,
            tags={f"lakehouse/{name}": value for name, value in tags.items()},
        )

    def lake_rows(self, table: Table) -> pl.DataFrame:
        """Return all rows of a lake table, sorted by its key."""
        frame: pl.DataFrame = self.lake.scan(table).to_native().collect()
        return frame.sort(*table.key, *[name for name in frame.columns if name not in table.key])

    def lake_tables(self) -> dict[str, pl.DataFrame]:
        """Return every derived table without the lineage columns, which differ between runs."""
        return {
            table.path: self.lake_rows(table).drop("captured_at", "run_id", strict=False)
            for table in (*CLEANSED, *QUARANTINE, *CURATED)
        }

    def raw_tables(self) -> dict[str, pl.DataFrame]:
        """Return every raw table."""
        return {table.path: self.lake_rows(table) for table in RAW}

    def mart_checksums(self) -> dict[str, tuple[int, str]]:
        """Return the number of rows and a checksum of each mart, for any order of rows."""
        return {
            mart: self.warehouse_rows(
                f"SELECT count(*), coalesce(sum(hashtextextended(t::text, 0))::text, '') FROM marts.{mart} AS t"
            )[0]
            for mart in MARTS
        }


def rows_of(url: str, query: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query, with instants in UTC."""
    with adbc_pool.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SET TIME ZONE 'UTC'")
        cursor.execute(query)
        return list(cursor.fetchall())


@contextmanager
def lakehouse_on(
    endpoint: str | None, home: Path, make_url: Callable[..., str], shop: str = "", warehouse: str = ""
) -> Iterator[Lakehouse]:
    """Provide a lakehouse on an empty shop or a copy of `shop`, with its lake on disk or in a bucket.

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
        # A run starts a dbt process of its own; runs of tests share one.
        monkeypatch.setattr(dbt_resource, "KeptDbt", shared_dbt)
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
    """Provide a lakehouse on copies of the databases and the lake of another one, which stays as it is."""
    shutil.copytree(standing.lake.url, home / "lake")
    with lakehouse_on(None, home, make_url, standing.shop_url, standing.warehouse_url) as made:
        yield made


def day(text: str) -> date:
    """Return a date."""
    return date.fromisoformat(text)


def failures(result: dg.ExecuteInProcessResult) -> list[str]:
    """Return the failed steps and checks of a run."""
    found = []
    for event in result.all_events:
        if event.is_step_failure:
            found.append(f"{event.step_key}: {cause_of(event.step_failure_data)}")
        elif event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            if not check.passed:
                found.append(f"check {check.check_name} on {check.asset_key.to_user_string()}: {check.metadata}")
    return found


def changed(lakehouse: Lakehouse, script: str) -> None:
    lakehouse.shop(script)
    lakehouse.oracle.look()


def ran(lakehouse: Lakehouse, first: str, last: str | None = None, select: str | None = None) -> None:
    result = lakehouse.run(first, last, select=select)
    assert result.success, (first, last, select, failures(result))


def not_accounted_for(lakehouse: Lakehouse) -> dict[str, int]:
    missing = {table.name: accounts(lakehouse.lake, table).missing for table in CLEANSED}
    return {name: count for name, count in missing.items() if count}


def assert_same_lake(left: Lakehouse, right: Lakehouse) -> None:
    expected = right.lake_tables()
    for path, rows in left.lake_tables().items():
        assert_frame_equal(rows, expected[path], check_exact=True)
