"""A table, or all of them, is started over: what goes and what stays, and that what is built again is what was."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.remote_origin import InProcessCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, InstigatorType, SensorInstigatorData
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._daemon.types import DaemonHeartbeat
from polars.testing import assert_frame_equal

from orders_lakehouse.cli.reset import ResetError, reset
from orders_lakehouse.delta import object_store, table_cache
from orders_lakehouse.delta.log import find
from orders_lakehouse.delta.object_store import LakeError
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.orders import ORDERS, RAW_ORDERS
from orders_lakehouse.instance.home import AtWorkError, prepare_instance
from orders_lakehouse.pipeline import reset as lake_reset
from orders_lakehouse.pipeline.check_results import evaluations
from orders_lakehouse.settings import settings
from orders_lakehouse.tables import CLEANSED, CURATED, KEY_DATES, QUARANTINE
from tests.support.lakehouse import Lakehouse, changed, failures, lakehouse_on, ran
from tests.support.late_changes import CHANGES, FIRST, LAST, SHOP
from tests.support.rows import rows
from tests.support.s3 import environment, new_bucket

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("reset"), pytest.mark.long]

THEIRS = """
CREATE ROLE analyst_of_reset;
CREATE VIEW public.theirs AS SELECT order_id FROM marts.fct_orders;
CREATE TABLE marts.notes AS SELECT 'of others' AS note;
GRANT SELECT ON marts.dim_products TO analyst_of_reset;
"""
OURS = "SELECT schema_name || '.' || object_name FROM lake.lakehouse_objects ORDER BY 1"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, postgres_url_factory: Callable[..., str]) -> Iterator[Lakehouse]:
    home = tmp_path_factory.mktemp("lakehouse")
    with pytest.MonkeyPatch.context() as monkeypatch, lakehouse_on(None, home, postgres_url_factory) as made:
        monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
        settings.cache_clear()
        prepare_instance()
        with dg.DagsterInstance.get() as instance:
            made.instance = instance
            changed(made, SHOP)
            ran(made, FIRST, LAST, select="group:raw")
            changed(made, CHANGES)
            ran(made, FIRST, LAST)
            made.warehouse(THEIRS)
            yield made
            made.warehouse("DROP VIEW public.theirs; DROP OWNED BY analyst_of_reset; DROP ROLE analyst_of_reset")
    settings.cache_clear()


def build_again(lakehouse: Lakehouse, said: str) -> None:
    """Run the commands that a reset has printed."""
    commands = [line.split() for line in said.split("Build it again:\n")[1].splitlines()]
    assert commands
    for _, _, first, last, *job in commands:
        result = lakehouse.run(first, last, **({"job": job[1]} if job else {}))
        assert result.success, failures(result)


def stands(lakehouse: Lakehouse) -> set[str]:
    tables = {table.path for table in (*CLEANSED, *QUARANTINE, *CURATED) if find(lakehouse.lake, table) is not None}
    return tables | {name for (name,) in lakehouse.warehouse_rows(OURS)}


def materialized(lakehouse: Lakehouse, *key: str) -> int:
    assert lakehouse.instance is not None
    return len(lakehouse.instance.get_materialized_partitions(dg.AssetKey(key)))


def remember(lakehouse: Lakehouse, sensor: str) -> dg.DagsterInstance:
    """A sensor that has looked once."""
    assert lakehouse.instance is not None
    origin = InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="orders_lakehouse.definitions"))
    of_sensor = RemoteInstigatorOrigin(RemoteRepositoryOrigin(origin, "__repository__"), sensor)
    state = InstigatorState(
        of_sensor, InstigatorType.SENSOR, InstigatorStatus.RUNNING, SensorInstigatorData(cursor="as it was")
    )
    lakehouse.instance.add_instigator_state(state)
    return lakehouse.instance


def cursors(instance: dg.DagsterInstance) -> list[str | None]:
    states = instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
    return [state.instigator_data.cursor for state in states]


def test_all_but_raw_is_built_again_as_it_was(
    built: Lakehouse, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, raw, marts = built.lake_tables(), built.raw_tables(), built.mart_checksums()
    assert built.warehouse_rows("SELECT count(*) > 0 FROM public.theirs") == [(True,)]
    assert materialized(built, "cleansed", "orders") == materialized(built, "marts", "fct_orders") == 10
    instance = remember(built, "touched_dates_sensor")

    # The first attempt is killed half way.
    with monkeypatch.context() as patch:
        patch.setattr(lake_reset, "remove", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            reset("all", raw=False, yes=True)
    capsys.readouterr()
    reset("all", raw=False, yes=True)
    said = capsys.readouterr().out
    assert "cleansed/orders" in said
    assert "Captured rows (raw) and objects of others stay" in said
    # A view and a grant of others stay, and what they are on is emptied.
    assert stands(built) == {"marts.dim_products", "marts.fct_orders"}
    assert built.warehouse_rows("SELECT count(*) FROM public.theirs") == [(0,)]
    assert built.warehouse_rows("SELECT note FROM marts.notes") == [("of others",)]
    assert materialized(built, "cleansed", "orders") == materialized(built, "marts", "fct_orders") == 0
    assert materialized(built, "raw", "orders") == 10
    assert cursors(instance) == [None]
    assert {asset.split("/")[0] for asset in evaluations(built.lake)["asset"]} == {"raw"}

    build_again(built, said)
    assert {name: frame.equals(raw[name]) for name, frame in built.raw_tables().items()} == dict.fromkeys(raw, True)
    for name, frame in built.lake_tables().items():
        assert_frame_equal(frame, lake[name])
    assert built.mart_checksums() == marts
    assert built.warehouse_rows("SELECT count(*) > 0 FROM public.theirs") == [(True,)]
    assert built.warehouse_rows("SELECT has_table_privilege('analyst_of_reset', 'marts.dim_products', 'SELECT')") == [
        (True,)
    ]


def test_single_tables_are_built_again_as_they_were(built: Lakehouse, capsys: pytest.CaptureFixture[str]) -> None:
    lake, marts = built.lake_tables(), built.mart_checksums()
    before = stands(built)
    said = []
    for name in ("fct_order_lines", "daily_sales", "cleansed/customers", "orders"):
        reset(name, raw=False, yes=True)
        said.append(capsys.readouterr().out)
    assert before - stands(built) == {
        *("marts.fct_order_lines", "marts.dim_customers", "curated/daily_sales", "cleansed/orders"),
        *("cleansed/customers", "quarantine/customers", "quarantine/orders"),
        *("lake.customers", "lake.orders", "lake.orders_by_customer_id"),
        *("staging.stg_lake__customers", "staging.stg_lake__orders"),
    }
    build_again(built, said[-1])
    for name, frame in built.lake_tables().items():
        assert_frame_equal(frame, lake[name])
    assert built.mart_checksums() == marts


def test_raw_is_removed_on_request(built: Lakehouse, capsys: pytest.CaptureFixture[str]) -> None:
    index = built.lake_rows(KEY_DATES)
    versions = built.lake_rows(RAW_ORDERS)
    reset("orders", raw=True, yes=True)
    said = capsys.readouterr().out
    overwritten = versions.height - versions["order_id"].n_unique()
    assert overwritten > 0
    assert f"Lost for good with raw/orders, because only the lake has them: {overwritten} versions" in said
    assert find(built.lake, RAW_ORDERS) is None
    kept = built.lake_rows(KEY_DATES)
    assert_frame_equal(kept, index.filter(index["table_name"] != "orders"))

    build_again(built, said)
    assert built.lake_rows(RAW_ORDERS)["order_id"].is_unique().all()
    assert built.wrong_marts() == {}


def test_reset_refuses_while_runs_work_or_without_consent(built: Lakehouse) -> None:
    instance = built.instance
    assert instance is not None
    before = stands(built)
    with pytest.raises(ResetError, match="found no terminal to ask on; expected --yes"):
        reset("all", raw=False, yes=False)
    for name, raw, said in (
        ("nonsense", False, "found nonsense; expected one of customers, products"),
        ("raw/orders", False, "are removed only with --raw"),
        ("fct_orders", True, "expected a table that is captured"),
    ):
        with pytest.raises(ResetError, match=said):
            reset(name, raw=raw, yes=True)
    run = instance.create_run_for_job(built.definitions.resolve_job_def("refresh_raw_job"))
    instance.report_dagster_event(dg.DagsterEvent("PIPELINE_START", job_name=run.job_name, message=""), run.run_id)
    with pytest.raises(AtWorkError, match=f"1 runs that are queued or active: {run.run_id}"):
        reset("all", raw=False, yes=True)
    instance.report_run_failed(run)
    now = datetime.now(UTC).timestamp()
    for silent, refusal in ((5, AtWorkError), (95, ResetError)):
        instance.add_daemon_heartbeat(DaemonHeartbeat(now - silent, "SENSOR", "of the test", []))
        with pytest.raises(refusal):
            reset("all", raw=False, yes=False)
    assert stands(built) == before


@pytest.mark.parametrize("place", ["disk", "s3"])
def test_table_goes_with_all_of_its_files(
    place: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = str(tmp_path)
    if place == "s3":
        endpoint = request.getfixturevalue("s3_endpoint")
        for name, value in environment(endpoint).items():
            monkeypatch.setenv(name, value)
        url = new_bucket(endpoint)
    lake = Lake(url, "UTC")
    for table in (ORDERS, RAW_ORDERS):
        lake.append(table, rows(table, {}))
    lake_reset.remove(lake, ORDERS)
    lake_reset.remove(lake, ORDERS)
    assert find(lake, ORDERS) is None
    assert lake_reset.rows_in(lake, ORDERS) is None
    assert lake_reset.rows_in(lake, RAW_ORDERS) == 1
    # A damaged table goes like any other.
    object_store.files_at(lake.location(RAW_ORDERS)).delete_file("_delta_log/00000000000000000000.json")
    monkeypatch.setattr(table_cache, "_latest", {})
    with pytest.raises(LakeError):
        lake_reset.rows_in(lake, RAW_ORDERS)
    assert lake_reset.known_dates(lake) is None
    lake_reset.remove(lake, RAW_ORDERS)
    assert find(lake, RAW_ORDERS) is None
    lake.append(ORDERS, rows(ORDERS, {}))
    assert lake_reset.rows_in(lake, ORDERS) == 1
