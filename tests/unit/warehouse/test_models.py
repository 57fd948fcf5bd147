"""dbt's models as plain data: what their tests demand, and that columns are made of what their SQL reads."""

import copy
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
import pytest
from sqlglot.expressions import Table
from sqlglot.lineage import lineage

from orders_lakehouse.contracts.codes import CURRENCIES, USUAL_MINOR_UNITS, currencies_with
from orders_lakehouse.entities import customers, products
from orders_lakehouse.entities.base import Entity
from orders_lakehouse.settings import DBT_PROJECT
from orders_lakehouse.warehouse import models
from orders_lakehouse.warehouse.models import columns_of, demands, document, node_of, origins

PARSED = models.manifest()
MODELS = [*models.models(PARSED, "staging"), *models.models(PARSED, "marts")]
FACT = "model.orders_lakehouse.fct_order_lines"
CUSTOMERS = "model.orders_lakehouse.dim_customers"

# What a model's SQL is put together with; the fact as it is built for the first time.
_MACROS = "\n".join(path.read_text() for path in sorted((DBT_PROJECT / "macros").glob("*.sql")))
# dbt's own tag, which Jinja does not know.
_MACROS = re.sub(r"{% materialization .*?{%- endmaterialization %}", "", _MACROS, flags=re.DOTALL)
_AROUND: dict[str, Any] = {
    "ref": lambda name: f"made.{name}",
    "source": lambda _, name: f"given.{name}",
    "config": lambda **_: "",
    "is_incremental": lambda: False,
    "should_full_refresh": lambda: True,
    "var": lambda _: [],
    "execute": False,
    # Of a macro, Jinja alone makes text.
    "return": lambda value: value or "",
    "model": SimpleNamespace(resource_type="model"),
    # The variants for Postgres, and what dbt's own macros make there.
    "adapter": SimpleNamespace(dispatch=jinja2.pass_context(lambda context, name: context[f"postgres__{name}"])),
    "dbt": SimpleNamespace(hash="md5({})".format, concat=" || ".join),
}


@pytest.fixture
def parsed() -> dict[str, Any]:
    """A manifest to change."""
    return copy.deepcopy(dict(PARSED))


def _schema() -> dict[str, dict[str, dict[str, str]]]:
    schema: dict[str, dict[str, dict[str, str]]] = {"made": {}, "given": {}}
    for node_id in (*MODELS, *PARSED["sources"]):
        node = node_of(PARSED, node_id)
        given = "given" if node["resource_type"] == "source" else "made"
        schema[given][node["name"]] = dict.fromkeys(columns_of(PARSED, node_id), "text")
    return schema


def _read_by(node_id: str) -> dict[str, set[tuple[str, str]]]:
    """Each column of a model to the columns upstream that its SQL takes it from, conditions included."""
    node = node_of(PARSED, node_id)
    environment = jinja2.Environment(extensions=["jinja2.ext.do"])  # noqa: S701 (it makes SQL)
    sql = environment.from_string(_MACROS + node["raw_code"]).render(_AROUND)
    schema = _schema()
    return {
        column: {
            (part.source.name, part.name.rpartition(".")[2])
            for part in lineage(column, sql, schema=schema, dialect="postgres").walk()
            if not part.downstream and isinstance(part.source, Table)
        }
        for column in node["columns"]
    }


@pytest.mark.parametrize("node_id", MODELS, ids=lambda node_id: node_id.rpartition(".")[2])
def test_column_is_made_of_what_its_sql_reads(node_id: str) -> None:
    for column, read in _read_by(node_id).items():
        said = {(node_of(PARSED, source)["name"], other) for source, other in origins(PARSED, node_id)[column]}
        assert read <= said, f"{node_id}: {column} reads {read - said}; name them in the yml, as `from`"


def test_columns_read_by_sql_are_found_in_expressions_and_macros() -> None:
    payments = "stg_lake__payments"
    orders = _read_by("model.orders_lakehouse.fct_orders")
    of_order = ("stg_lake__orders", "currency")
    assert orders["paid_amount"] == {(payments, "amount"), (payments, "status"), (payments, "currency"), of_order}
    assert _read_by(CUSTOMERS)["valid_to"] == {
        ("stg_lake__customers", "updated_at"),
        # The window runs over the versions of a customer.
        ("stg_lake__customers", "customer_id"),
        ("orders_by_customer_id", "customer_id"),
    }


def test_missing_manifest_error_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "DBT_PROJECT", tmp_path / "dbt_project")
    with pytest.raises(models.ManifestError, match=r"found no dbt_project/target/manifest.json; .* run `make install`"):
        models.manifest.__wrapped__()


@pytest.mark.parametrize("table", [customers.ENTITY, products.ENTITY], ids=lambda table: table.name)
def test_members_differ_by_same_attributes_in_lake_and_mart(table: Entity) -> None:
    """And by nothing else: the dimension shows these, and whatever it has beside is made of key and clock."""
    dimension, staging = f"model.orders_lakehouse.dim_{table.name}", f"model.orders_lakehouse.stg_lake__{table.name}"
    named: list[list[str]] = []
    environment = jinja2.Environment(extensions=["jinja2.ext.do"])  # noqa: S701 (it makes SQL)
    environment.from_string(node_of(PARSED, dimension)["raw_code"]).render(
        **_AROUND, type_2_members=lambda *arguments: named.append(arguments[-1]), unknown_key=str
    )
    (attributes,) = named
    in_the_lake = {name: shown for name, ((_, shown),) in origins(PARSED, staging).items()}
    assert sorted(in_the_lake[name] for name in attributes) == sorted(table.attributes)
    shown = {column for of in origins(PARSED, dimension).values() for source, column in of if source == staging}
    assert shown - {*table.key, "updated_at"} == set(attributes)


def test_demands_of_tests_are_put_in_words() -> None:
    assert demands(PARSED, FACT) == {
        "order_status": {
            "accepted_values": "one of placed, paid, shipped, delivered, cancelled, returned (on the dates of a run)"
        },
        "order_id": {"relationships_by_date": "one of `fct_orders.order_id` (on the dates of a run)"},
        "date_id": {"relationships": "one of `dim_date.date_id` (on the dates of a run)"},
        "customer_key": {"relationships": "one of `dim_customers.customer_key` (on the dates of a run)"},
        "product_key": {"relationships": "one of `dim_products.product_key` (on the dates of a run)"},
        None: {
            "total_price_of_line": "`total_price = quantity * unit_price - discount`, rounded to the minor unit of "
            "`currency` (on the dates of a run)",
            "same_rows_by_date": "as many rows on each date as `stg_lake__order_lines` has (on the dates of a run)",
            "unique_combination": "`order_id`, `line_number` together, in no two rows (on the dates of a run)",
        },
    }
    assert demands(PARSED, CUSTOMERS)["customer_id"] == {"unique": "in no two rows (where `is_current`)"}


def test_keys_are_columns_unique_over_all_rows() -> None:
    assert document(PARSED, CUSTOMERS)["keys"] == [["customer_key"], ["customer_id", "valid_from"]]
    assert document(PARSED, FACT)["keys"] == [["order_id", "line_number"]]


def test_primary_keys_indexes_and_references_are_as_declared() -> None:
    told = {
        node_id.rpartition(".")[2]: [
            document(PARSED, node_id)[what] for what in ("primary_key", "indexes", "references")
        ]
        for node_id in models.models(PARSED, "marts")
    }
    assert told == {
        "dim_customers": [["customer_key"], [], {}],
        "dim_date": [["date_id"], [], {}],
        "dim_payment_methods": [["payment_method_key"], [], {}],
        "dim_products": [["product_key"], [], {}],
        "dim_warehouses": [["warehouse_key"], [], {}],
        "fct_order_lines": [
            [],
            [["date_id"]],
            {
                "customer_key": "dim_customers.customer_key",
                "date_id": "dim_date.date_id",
                "order_id": "fct_orders.order_id",
                "product_key": "dim_products.product_key",
            },
        ],
        "fct_orders": [
            [],
            [["date_id"]],
            {
                "customer_key": "dim_customers.customer_key",
                "date_id": "dim_date.date_id",
                "payment_method_key": "dim_payment_methods.payment_method_key",
            },
        ],
        "fct_shipment_lines": [
            [],
            [["date_id"]],
            {
                "date_id": "dim_date.date_id",
                "order_id": "fct_orders.order_id",
                "product_key": "dim_products.product_key",
                "warehouse_key": "dim_warehouses.warehouse_key",
            },
        ],
        "fct_shipments": [
            [],
            [["date_id"]],
            {
                "customer_key": "dim_customers.customer_key",
                "date_id": "dim_date.date_id",
                "order_id": "fct_orders.order_id",
                "warehouse_key": "dim_warehouses.warehouse_key",
            },
        ],
    }
    # What a fact refers to is the primary key of a dimension.
    for _, _, references in told.values():
        for target in references.values():
            model, _, column = target.partition(".")
            assert model == "fct_orders" or told[model][0] == [column]


def test_column_names_type_unit_and_reference() -> None:
    assert document(PARSED, FACT)["columns"]["discount"] == {
        "type": "numeric(18,4)",
        "nullable": False,
        "description": "Discount on the whole line, zero or more, in `currency`.",
        "unit": "currency",
        "personal": False,
    }
    assert document(PARSED, CUSTOMERS)["columns"]["address"]["personal"]


@pytest.mark.parametrize(
    ("meta", "said"),
    [
        # Both the lines and the dimension have it.
        ({}, r"fct_order_lines\.customer_id: found stg_lake__order_lines\.customer_id, dim_customers\.customer_id"),
        ({"from": ["stg_lake__order_lines.nobody"]}, r"found stg_lake__order_lines\.nobody upstream; expected `from`"),
        ({"from": ["stg_lake__orders.customer_id"]}, r"found stg_lake__orders\.customer_id upstream"),
    ],
    ids=["two have the name", "no such column", "not upstream"],
)
def test_origin_that_is_missing_or_not_there_is_refused(parsed: dict[str, Any], meta: Any, said: str) -> None:
    parsed["nodes"][FACT]["columns"]["customer_id"]["meta"] = meta
    with pytest.raises(ValueError, match=said):
        origins(parsed, FACT)


def test_column_without_upstream_origin_is_refused(parsed: dict[str, Any]) -> None:
    del parsed["nodes"][CUSTOMERS]["columns"]["valid_from"]["meta"]["from"]
    with pytest.raises(ValueError, match=r"dim_customers\.valid_from: found no column of that name upstream"):
        origins(parsed, CUSTOMERS)


def test_test_that_has_no_words_is_refused(parsed: dict[str, Any]) -> None:
    test = next(node for node in parsed["nodes"].values() if node.get("attached_node") == FACT)
    test["test_metadata"]["name"] = "looks_nice"
    with pytest.raises(NotImplementedError, match="'looks_nice' of fct_order_lines has no description"):
        demands(parsed, FACT)


@pytest.mark.parametrize("decimals", [0, 3, 4])
def test_warehouse_rounds_each_currency_as_the_lake_does(decimals: int) -> None:
    sql = (DBT_PROJECT / "macros" / "minor_units.sql").read_text()
    (listed,) = re.findall(rf"in \(([^)]*)\) then {decimals}\b", sql)
    assert re.findall(r"'(\w+)'", listed) == currencies_with(decimals)


def test_every_other_currency_of_the_warehouse_has_two_decimals() -> None:
    sql = (DBT_PROJECT / "macros" / "minor_units.sql").read_text()
    assert re.findall(r"(?:then|else) (\d+)", sql) == ["0", "3", "4", str(USUAL_MINOR_UNITS)]
    assert {currency.minor_units for currency in CURRENCIES.values()} == {0, 2, 3, 4}
