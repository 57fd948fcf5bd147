"""Tests of the checks: something is wrong for each of them, and it says so. A check that never fails fails here.

A lakehouse is built whole, and holds; then mutations are applied to what stands, all of them at once, and every check
is run once. Mutations of one kind have a date of their own where their check judges dates, so that it is known to have
failed of what was made for it. Mutations of what dbt tests are generated from the manifest.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import dagster as dg
import polars as pl
import pytest
from adbc_driver_postgresql import dbapi
from deltalake import write_deltalake

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.base import rules_of
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.curated.daily_sales import DAILY_SALES
from orders_lakehouse.curated.order_lines import ORDER_LINES
from orders_lakehouse.defs.assets import raw
from orders_lakehouse.defs.reconciliation import COMPARE, RECONCILE_TAG
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.customers import CUSTOMERS, RAW_CUSTOMERS
from orders_lakehouse.entities.order_items import ORDER_ITEMS
from orders_lakehouse.entities.orders import ORDERS, RAW_ORDERS
from orders_lakehouse.entities.payments import PAYMENTS
from orders_lakehouse.entities.products import PRODUCTS
from orders_lakehouse.entities.shipment_items import SHIPMENT_ITEMS
from orders_lakehouse.entities.shipments import SHIPMENTS
from orders_lakehouse.entities.warehouses import WAREHOUSES
from orders_lakehouse.partitions import DAILY
from orders_lakehouse.pipeline.capture import Captured, capture
from orders_lakehouse.pipeline.check_results import latest
from orders_lakehouse.sample_shop.edge_cases import edge_cases
from orders_lakehouse.settings import PROJECT
from orders_lakehouse.tables import CLEANSED, CURATED, KEY_DATES, QUARANTINE_OF, RAW
from orders_lakehouse.warehouse.models import manifest
from pr_checks.run import selections
from tests.support.broken_rules import breaking
from tests.support.lakehouse import Lakehouse, failures, lakehouse_on
from tests.support.rows import on, rows

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("every_check"), pytest.mark.either_engine]

# The edge cases have orders until the 9th of January. What is beyond is made up here.
FIRST, BUILT, LAST = "2017-01-01", "2017-01-09", "2017-02-28"

# Checks that fail for their own job or asset alone, and the test in which they do.
_UPKEEP = "pipeline/test_reconciliation.py"
_BROKEN = "warehouse/test_broken_dimensions.py"
OTHERWISE = {
    "gets_through": f"{_BROKEN}::test_run_goes_on_without_a_captured_table_or_loaded_copy",
    "losses_are_few": "pipeline/test_losses.py::test_shop_with_unknown_status_words_is_told_which",
    "no_warnings": "pipeline/test_pipeline.py::test_warnings_are_reported_by_a_check",
    "sensors_get_through": "defs/test_failing_requests.py::test_dates_requested_in_vain_are_reported",
    "repair_changes_nothing": f"{_UPKEEP}::test_repair_changes_only_underived_dates",
}


@dataclass(frozen=True)
class Mutation:
    """Something that is wrong.

    Attributes:
        check: Asset (layer/name) and name of the check that it is made for.
        on: Date on which the check must fail (ISO 8601); None where it judges its table as a whole.
        how: Makes it so, of a lakehouse and what is given.
        given: Arguments of `how`.
    """

    check: tuple[str, str]
    on: str | None
    how: Callable[..., None]
    given: tuple[Any, ...]


def appended(lakehouse: Lakehouse, table: Table, stored: pl.DataFrame) -> None:
    write_deltalake(lakehouse.lake.open(table), stored.select(table.columns), mode="append")


def lost(lakehouse: Lakehouse, table: Table, predicate: str) -> None:
    lakehouse.lake.find(table).delete(predicate)


def left_behind(lakehouse: Lakehouse, table: Table, date: str) -> None:
    """The rows of an order stand on another date too, on which it once counted."""
    of_order = lakehouse.lake_rows(table).filter(pl.col("order_id") == "o1")
    appended(lakehouse, table, of_order.with_columns(order_date=on(date)))


def rejected(lakehouse: Lakehouse, table: Table, date: str) -> None:
    """A load of which nothing is fit to be used."""
    quarantine = QUARANTINE_OF[table.name]
    own = lakehouse.lake_rows(quarantine).filter(~pl.col("reasons").str.contains("order_|before_start")).head(1)
    on_date = own.with_columns(pl.lit(on(date)).alias(str(quarantine.partitioned_by)))
    appended(lakehouse, quarantine, pl.concat([on_date] * 30))


def not_shown(lakehouse: Lakehouse, order_id: str) -> None:
    """An order that was captured in 2020, with a line that no later layer has."""
    for table in (ORDERS, ORDER_ITEMS):
        appended(lakehouse, table, rows(table, {"order_id": order_id, "order_date": on("2017-02-07")}))


def in_warehouse(lakehouse: Lakehouse, script: str) -> None:
    with dbapi.connect(lakehouse.warehouse_url) as connection, connection.cursor() as cursor:
        cursor.executescript(script)
        connection.commit()


def without_constraints(relation: str) -> str:
    """A plain table in place of a model that was built, which stays under the name `<relation>_built`."""
    schema, name = relation.split(".")
    return (
        f"ALTER TABLE {relation} RENAME TO {name}_built; CREATE TABLE {relation} AS SELECT * FROM {relation}_built; "
        f"UPDATE lake.lakehouse_objects SET object_id = '{relation}'::regclass "
        f"WHERE (schema_name, object_name) = ('{schema}', '{name}');"
    )


def one_more(relation: str, changes: Mapping[str, Any], where: str = "true") -> str:
    """A row of a model once more, with other values: what is wrong with one is nothing to the other rows."""
    values = json.dumps(changes).replace("'", "''")
    return (
        f"INSERT INTO {relation} SELECT (jsonb_populate_record(built, '{values}')).* "
        f"FROM {relation}_built AS built WHERE {where} LIMIT 1;"
    )


# A date of the run; `failed` takes it away.
NOT_IN_DIM_DATE = 20170203
# What breaks an expression of the dbt test `holds`.
UNTRUE = {
    "valid_from < valid_to": {"valid_to": "1900-01-01 00:00:00+00"},
    "shipment_status <> 'unknown'": {"shipment_status": "unknown"},
    "units_shipped is null or units_shipped <= units": {"units_shipped": 10**12},
    **{
        f"shipments = 0 or order_{name} is null or order_{name} between {name} - interval '24 hours' and {name} + "
        "interval '24 hours'": {"shipments": 1, f"order_{name}": "2017-01-02 00:00:00+00", name: None}
        for name in ("shipped_at", "delivered_at")
    },
}


def broken_row(test: Mapping[str, Any]) -> dict[str, Any]:
    """What to change of a row of a model so that a dbt test, a node of the manifest, selects it."""
    kind, column, arguments = test["test_metadata"]["name"], test["column_name"], test["test_metadata"]["kwargs"]
    if kind == "not_null":
        return {column: None}
    if kind in ("unique", "unique_combination", "same_rows_by_date"):
        # The row as it is, twice.
        return {}
    if kind == "accepted_values":
        return {column: "no such value" if arguments.get("quote", True) else -1}
    if kind in ("relationships", "relationships_by_date"):
        return {column: NOT_IN_DIM_DATE if column == "date_id" else "no such member"}
    if kind == "total_price_of_line":
        return {"total_price": 0.07}
    if kind == "holds" and arguments["expression"] in UNTRUE:
        return UNTRUE[arguments["expression"]]
    raise AssertionError(f"{test['name']}: no row is known that fails it; say in broken_row or UNTRUE what does")


def of_dbt_tests() -> list[Mutation]:
    nodes = manifest()["nodes"]
    mutations = []
    for test in nodes.values():
        if test["resource_type"] != "test":
            continue
        model = nodes[test["attached_node"]]
        where = (test["config"]["where"] or "true").replace("__run_dates__", "true")
        if test["column_name"]:
            where += f" AND {test['column_name']} IS NOT NULL"
        dated = "partitioned" in model["tags"]
        on_first = {"date_id": int(FIRST.replace("-", ""))} if dated else {}
        script = one_more(f"{model['schema']}.{model['name']}", {**on_first, **broken_row(test)}, where)
        check = (f"{model['schema']}/{model['name']}", test["name"])
        mutations.append(Mutation(check, FIRST if dated else None, in_warehouse, (script,)))
    return mutations


def broken(table: Table) -> pl.DataFrame:
    """A row that breaks the last rule of its contract, on the first of February."""
    date = {table.partitioned_by: on("2017-02-01")} if table.partitioned_by else {}
    return rows(table, {**breaking(table, rules_of(table.model)[-1]), **date})


def shifted(table: Table, **otherwise: str) -> pl.DataFrame:
    """Rows of the tenth of February that are all alike, and of the eleventh that are all otherwise."""
    usual, unusual = {"order_date": on("2017-02-10")}, {"order_date": on("2017-02-11"), **otherwise}
    return pl.concat([rows(table, usual, unusual)] * 300)


# Rows of the edge cases, and the date at which they count: in the lake, and by their capture.
LOST = {
    CUSTOMERS: ("customer_id = 'c2'", "2017-01-02"),
    PRODUCTS: ("product_id = 'p2'", "2017-01-04"),
    ORDERS: ("order_id = 'o2'", "2017-01-03"),
    ORDER_ITEMS: ("order_id = 'o1' AND line_number = 2", "2017-01-02"),
    PAYMENTS: ("payment_id = 'y5'", "2017-01-02"),
    WAREHOUSES: ("code = 'W2'", "2017-01-02"),
    SHIPMENTS: ("shipment_id = 's3'", "2017-01-03"),
    SHIPMENT_ITEMS: ("order_id = 'o1' AND line_number = 1", "2017-01-02"),
}
GONE = {
    "customers": ("customer_id = 'c2'", "2017-01-02"),
    "products": ("product_id = 'p2'", "2017-01-04"),
    "orders": ("order_id = 'o5'", "2017-01-04"),
    "order_items": ("order_id = 'o5'", "2017-01-04"),
    "payments": ("payment_id = 'y5'", "2017-01-06"),
    "warehouses": ("code = 'W2'", "2017-01-02"),
    "shipments": ("shipment_id = 's7'", "2017-01-05"),
    "shipment_items": ("shipment_id = 's7'", "2017-01-05"),
}
# What raw knows of the order that `left_behind` copies.
ONCE_COUNTED = {
    "table_name": "orders",
    "key": "o1",
    "order_id": "o1",
    "captured_on": on("2017-01-04"),
    "order_date": on("2017-02-08"),
}
# Newer than everything in raw, a day apart.
NEWER = "INSERT INTO shop.orders (order_id, updated_at) VALUES ('late', '2017-02-01'), ('last', '2017-02-02')"
OTHER_TOTAL = "UPDATE shop.order_items SET quantity = 99 WHERE order_id = 'o3'"


def of_the_lake() -> list[Mutation]:
    """Rows of Delta tables. Those of an order are copied before any of them is lost."""
    made = [
        Mutation((table.path, "stands_once"), "2017-02-08", left_behind, (table, "2017-02-08"))
        for table in (ORDERS, ORDER_ITEMS, PAYMENTS, SHIPMENTS, SHIPMENT_ITEMS)
    ]
    for table, (predicate, date) in LOST.items():
        made.append(Mutation((table.path, "no_row_lost"), date, lost, (table, predicate)))
        made.append(Mutation((table.path, "rejected_share"), "2017-02-05", rejected, (table, "2017-02-05")))
    for table in (*CLEANSED, *CURATED):
        first = "2017-02-01" if table.partitioned_by else None
        made.append(Mutation((table.path, f"{table.name}_contract"), first, appended, (table, broken(table))))
    unheard_of = rows(ORDER_LINES, {"order_date": on("2017-02-06")})
    made.append(Mutation((ORDER_LINES.path, "total_price_matches"), "2017-02-06", appended, (ORDER_LINES, unheard_of)))
    # As much on four Thursdays, and nothing on the fifth.
    thursdays = [{"order_date": on("2017-02-09") - timedelta(weeks=weeks)} for weeks in range(1, 5)]
    usual = (DAILY_SALES, rows(DAILY_SALES, *thursdays))
    made.append(Mutation((DAILY_SALES.path, "volume_as_usual"), "2017-02-09", appended, usual))
    for table, column, value in (
        (ORDER_LINES, "category", "Toys"),
        (PAYMENTS, "method", "cash"),
        (ORDERS, "status", "cancelled"),
    ):
        mix = (table, shifted(table, **{column: value}))
        made.append(Mutation((table.path, f"{column}_mix_as_usual"), "2017-02-11", appended, mix))
    not_cleansed = (RAW_CUSTOMERS, rows(RAW_CUSTOMERS, {"customer_id": "not cleansed"}))
    made.append(Mutation((ORDERS.path, "keeps_up"), None, appended, not_cleansed))
    for asset in (ORDER_LINES.path, "marts/fct_order_lines"):
        made.append(Mutation((asset, "keeps_up"), None, not_shown, (f"not in {asset}",)))
    return made


def of_the_shop() -> list[Mutation]:
    return [
        *(
            Mutation(
                (f"raw/{table}", "agrees_with_shop"), date, Lakehouse.shop, (f"DELETE FROM shop.{table} WHERE {row}",)
            )
            for table, (row, date) in GONE.items()
        ),
        Mutation((ORDER_ITEMS.path, "total_price_as_in_shop"), "2017-01-03", Lakehouse.shop, (OTHER_TOTAL,)),
        Mutation((RAW_ORDERS.path, "keeps_up"), None, Lakehouse.shop, (NEWER,)),
    ]


def of_the_fact() -> list[Mutation]:
    check = ("marts/fct_order_lines", "total_price_matches")
    more = one_more("marts.fct_order_lines", {"date_id": 20170206})
    return [Mutation(check, "2017-02-06", in_warehouse, (more,))]


def mutations() -> list[Mutation]:
    """All of them, in the order in which they are applied."""
    return [*of_the_lake(), *of_the_shop(), *of_the_fact(), *of_dbt_tests()]


def forgetful(lake: Lake, table: Table, read: pl.DataFrame, calendar: Calendar, extras: pl.DataFrame) -> Captured:
    """A capture that loses a row."""
    return capture(lake, table, read.slice(1), calendar, extras.slice(1))


def all_checks(lakehouse: Lakehouse) -> None:
    """Run every check that can run without its asset, on all dates.

    dbt does not test what lies below a model of which a test failed: dimensions and facts take turns.
    """
    (selected,) = selections(())
    job = dg.define_asset_job("all_checks", selection=selected, partitions_def=DAILY)
    definitions = dg.Definitions.merge(lakehouse.definitions, dg.Definitions(jobs=[job]))
    graph = definitions.resolve_asset_graph()
    turns: dict[tuple[bool, bool], set[dg.AssetCheckKey]] = {}
    for check in job.selection.resolve_checks(graph):
        asset = graph.get(check.asset_key)
        is_fact = asset.key.path[-1].startswith("fct_")
        turns.setdefault((asset.group_name == "marts", is_fact), set()).add(check)
    for checks in turns.values():
        definitions.resolve_job_def(job.name).get_subset(asset_check_selection=checks).execute_in_process(
            instance=lakehouse.instance,
            raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            tags={
                "dagster/asset_partition_range_start": FIRST,
                "dagster/asset_partition_range_end": LAST,
                # What is put right does not fail.
                RECONCILE_TAG: COMPARE,
            },
        )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, postgres_url_factory: Callable[[str], str]) -> Iterator[Lakehouse]:
    with lakehouse_on(None, tmp_path_factory.mktemp("lakehouse"), postgres_url_factory) as lakehouse:
        lakehouse.shop(edge_cases())
        # What a clock that runs ahead is captured as of: so no date of the run is the shop's running one.
        ((today,),) = lakehouse.shop_rows("SELECT now()::date::text")
        for result in (
            lakehouse.run(today, select="group:raw"),
            lakehouse.run(FIRST, BUILT),
            *(lakehouse.run_job(job) for job in ("reconcile_job", "freshness_job")),
        ):
            # Some of the edge cases stand with a warning.
            assert [failure for failure in failures(result) if "check no_warnings" not in failure] == []
        yield lakehouse


Failed = set[tuple[str, str, str | None]]


@pytest.fixture(scope="module")
def failed(built: Lakehouse) -> Failed:
    """What fails of the mutations: asset, check, and date (None: the table as a whole)."""
    models = {
        f"{node['schema']}.{node['name']}" for node in manifest()["nodes"].values() if node["resource_type"] == "model"
    }
    in_warehouse(built, "".join(without_constraints(model) for model in sorted(models)))
    in_warehouse(built, f"DELETE FROM marts.dim_date WHERE date_id = {NOT_IN_DIM_DATE}")
    appended(built, KEY_DATES, pl.DataFrame([ONCE_COUNTED], schema=KEY_DATES.schema))
    for mutation in mutations():
        mutation.how(built, *mutation.given)
    all_checks(built)
    # What only a capture can tell, as it reads the shop.
    for table in RAW:
        built.shop(f"ALTER TABLE shop.{table.name} ADD COLUMN gift text")
        built.shop(f"""
            ALTER TABLE shop.{table.name} RENAME TO {table.name}_once;
            CREATE VIEW shop.{table.name} AS SELECT * FROM shop.{table.name}_once
                UNION ALL (SELECT * FROM shop.{table.name}_once ORDER BY updated_at LIMIT 1);
        """)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(raw, "capture", forgetful)
        built.run(FIRST, BUILT, select="group:raw")
    found = latest(built.lake).filter(~pl.col("passed")).select("asset", "check_name", pl.col("date").cast(pl.String))
    return set(found.iter_rows())


def test_each_mutation_fails_the_check_it_is_made_for(failed: Failed) -> None:
    made_for = {(*mutation.check, mutation.on) for mutation in mutations()}
    unnoticed = sorted(made_for - failed, key=str)
    assert not unnoticed, (
        f"something is wrong for these checks (asset, name, date), and they do not say so: {unnoticed}"
    )


def test_every_check_fails_for_some_mutation(built: Lakehouse, failed: Failed) -> None:
    keys = built.definitions.resolve_asset_graph().asset_check_keys
    checks = {(key.asset_key.to_user_string(), key.name) for key in keys if key.name not in OTHERWISE}
    never = checks - {(asset, check) for asset, check, _ in failed}
    assert not never, (
        f"nothing makes these checks fail: {sorted(never)}. Add a mutation that does to `mutations`, or, for what only "
        "its own job can tell, the test in which it fails to OTHERWISE"
    )


def test_fact_test_that_selects_dates_fails_on_these_alone(failed: Failed) -> None:
    wrong = {mutation.on for mutation in mutations() if mutation.check[1] == "fct_order_lines_total_price"}
    failing = {day for asset, check, day in failed if check == "fct_order_lines_total_price"}
    assert wrong <= failing
    dates = pl.date_range(on(FIRST), on(LAST), eager=True).cast(pl.String).to_list()
    assert failing < set(dates)


@pytest.mark.parametrize("test", OTHERWISE.values())
def test_check_failing_elsewhere_has_a_test_there(test: str) -> None:
    path, _, name = test.partition("::")
    assert f"def {name}(" in PROJECT.joinpath("tests", "integration", path).read_text()
