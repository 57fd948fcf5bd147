"""A rule stands once: what `rules_of` compiles and what Pandera itself does are the same verdicts."""

from collections import Counter
from pathlib import Path
from typing import Any

import narwhals as nw
import pandera.errors
import pandera.polars as pa
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orders_lakehouse.contracts import cleansed
from orders_lakehouse.contracts.base import Contract, contract_version, declared_at, polars_schema, rule, rules_of
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.entities import payments
from orders_lakehouse.tables import CLEANSED, CURATED, RAW, TABLES
from tests.support.any_rows import LATER, any_rows, judged
from tests.support.frames import collected
from tests.support.judging import split
from tests.support.rows import rows
from tests.support.verdicts import broken_by_pandera, broken_by_rules

JUDGED = (*CLEANSED, *CURATED)


def test_every_reason_is_named_once_in_the_order_of_the_contract() -> None:
    orders = {table.name: table for table in CLEANSED}["orders"]
    change = {"order_id": None, "status": "lost", "currency": None, "versions": 0, "updated_at": LATER}
    _, bad = split(nw.from_native(judged(orders, change).lazy()), orders)
    assert collected(bad)["reasons"].to_list() == [
        "versions_below_1, order_id_missing, status_not_in_list, currency_missing, updated_at_in_future"
    ]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.path)
def test_every_rule_of_every_contract_compiles_and_runs(table: Table) -> None:
    compiled = rules_of(table.model)
    assert len(compiled) >= len([c for c in table.model.to_schema().columns.values() if not c.nullable])
    frame = nw.from_native(pl.DataFrame(schema=polars_schema(table.model)).lazy())
    verdicts = collected(frame.select(one.valid.alias(str(number)) for number, one in enumerate(compiled)))
    assert set(verdicts.dtypes) <= {pl.Boolean}
    for one in compiled:
        assert one.description.strip()
        assert not set("{}") & set(one.reason), one.reason
        assert one.reason == one.reason.strip().lower()
        assert ", " not in one.reason


@pytest.mark.parametrize("table", RAW, ids=lambda table: table.name)
def test_raw_takes_a_row_of_nothing_but_lineage(table: Table) -> None:
    lineage = {"captured_on", "captured_at", "run_id", "source", "change", "sequence", "namespace"}
    empty = rows(table, {name: None for name in table.columns if name not in lineage})
    assert broken_by_pandera(table, empty) == [set()]


@pytest.mark.parametrize("table", JUDGED, ids=lambda table: table.path)
@settings(max_examples=15)
@given(data=st.data())
def test_compiled_rules_and_pandera_give_the_same_verdicts(table: Table, data: st.DataObject) -> None:
    frame = rows(table, *data.draw(any_rows(table)))
    assert broken_by_rules(table, frame) == broken_by_pandera(table, frame)


@pytest.mark.parametrize("table", [table for table in CLEANSED if table.name != "customers"], ids=lambda t: t.name)
def test_pandera_calls_an_inherited_rule_by_its_name(table: Table) -> None:
    # The model that is built first takes the name away from its siblings.
    for first in CLEANSED:
        first.model.to_schema()
    assert "updated_at_in_future" in [check.name for check in table.model.to_schema().checks]


def test_pandera_calls_a_rule_over_several_columns_by_its_name() -> None:
    class Named(Contract):
        a: pl.Int64 = pa.Field(nullable=True)
        b: pl.Int64 = pa.Field(nullable=True)

        @rule
        def a_above_b(cls) -> nw.Expr:
            """A is at most b,
            whatever they are."""
            return nw.col("a") <= nw.col("b")

    assert [check.name for check in Named.to_schema().checks] == ["a_above_b"]
    assert [(one.reason, one.description) for one in rules_of(Named)] == [
        ("a_above_b", "A is at most b, whatever they are.")
    ]
    frame = pl.DataFrame({"a": [1, 2, None], "b": [1, 1, 1]})
    with pytest.raises(pandera.errors.SchemaErrors) as raised:
        Named.validate(frame, lazy=True)
    assert raised.value.failure_cases.select("check", "index").rows() == [("a_above_b", 1)]


class EveryCheck(Contract):
    above: pl.Int64 = pa.Field(gt=3, nullable=True)
    at_least: pl.Int64 = pa.Field(ge=3, nullable=True)
    at_most: pl.Int64 = pa.Field(le=3, nullable=True)
    between: pl.Int64 = pa.Field(ge=1, le=3, nullable=True)
    listed: pl.String = pa.Field(isin=["a", "b"], nullable=True)
    formed: pl.String = pa.Field(str_matches="^a+$", nullable=True)
    named: pl.String = pa.Field(isin=["a"], nullable=True, metadata={"reason": "odd", "demand": "the letter a"})


def test_reasons_and_descriptions_follow_from_the_checks() -> None:
    assert [(one.reason, one.description) for one in rules_of(EveryCheck)] == [
        ("above_not_above_3", "above is greater than 3"),
        ("at_least_below_3", "at_least is at least 3"),
        ("at_most_above_3", "at_most is at most 3"),
        ("between_below_1", "between is at least 1"),
        ("between_above_3", "between is at most 3"),
        ("listed_not_in_list", "listed is one of a, b"),
        ("formed_malformed", "formed is of the form ^a+$"),
        ("odd", "named is the letter a"),
    ]


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                **{name: st.none() | st.integers(-1, 5) for name in ("above", "at_least", "at_most", "between")},
                **{
                    name: st.none() | st.sampled_from(["", "a", "aa", "b", "ba", "ab", "a\n"])
                    for name in ("listed", "formed", "named")
                },
            }
        ),
        min_size=1,
        max_size=10,
    )
)
@settings(max_examples=40)
def test_every_kind_of_check_reads_as_pandera_reads_it(given_rows: list[dict[str, Any]]) -> None:
    table = Table("test", "every_check", EveryCheck, ("above",))
    frame = pl.DataFrame(given_rows, schema=table.schema)
    assert broken_by_rules(table, frame) == broken_by_pandera(table, frame)


@pytest.mark.parametrize(
    "field",
    [
        {"lt": 3},
        {"eq": 3},
        {"ne": 3},
        {"notin": [3]},
        {"in_range": {"min_value": 1, "max_value": 3}},
    ],
    ids=lambda field: next(iter(field)),
)
def test_check_without_an_expression_is_refused_by_name(field: dict[str, Any]) -> None:
    class Refused(Contract):
        size: pl.Int64 = pa.Field(**field)

    with pytest.raises(NotImplementedError, match=r"check .* on column 'size' has no expression; use one of .*isin"):
        rules_of(Refused)


def test_check_written_as_a_function_is_refused_by_name() -> None:
    class Refused(Contract):
        size: pl.Int64

        @pa.check("size")
        def even(cls, data: Any) -> Any:
            return data.lazyframe.select(pl.col(data.key) % 2 == 0)

    with pytest.raises(NotImplementedError, match="'even' on column 'size'"):
        rules_of(Refused)


def test_check_over_several_columns_that_is_no_rule_is_refused() -> None:
    class Refused(Contract):
        size: pl.Int64

        @pa.dataframe_check
        def even(cls, data: Any) -> Any:
            return data.lazyframe.select(pl.col("size") % 2 == 0)

    with pytest.raises(NotImplementedError, match="even"):
        rules_of(Refused)


def test_column_beside_the_contract_is_an_error() -> None:
    orders = {table.name: table for table in CLEANSED}["orders"]
    with pytest.raises(pandera.errors.SchemaErrors, match="surplus"):
        orders.model.validate(rows(orders, {}).with_columns(surplus=1), lazy=True)


@pytest.mark.parametrize(
    ("column", "dtype"), [("versions", pl.Int32), ("updated_at", pl.Datetime("us", None)), ("status", pl.Categorical)]
)
def test_column_of_another_type_is_an_error(column: str, dtype: pl.DataType) -> None:
    orders = {table.name: table for table in CLEANSED}["orders"]
    frame = rows(orders, {})
    other = frame[column].dt.replace_time_zone(None) if column == "updated_at" else frame[column].cast(dtype)
    with pytest.raises(pandera.errors.SchemaErrors, match=column):
        orders.model.validate(frame.with_columns(other), lazy=True)


def test_columns_of_a_contract_come_before_those_of_its_bases() -> None:
    payments = {table.name: table for table in CLEANSED}["payments"]
    assert list(polars_schema(payments.model).items()) == [
        ("payment_id", pl.String),
        ("order_id", pl.String),
        ("method", pl.String),
        ("amount", pl.Decimal(18, 4)),
        ("currency", pl.String),
        ("status", pl.String),
        ("paid_at", pl.Datetime("us", "UTC")),
        ("order_date", pl.Date),
        ("order_state", pl.String),
        ("order_currency", pl.String),
        ("is_deleted", pl.Boolean),
        ("versions", pl.Int64),
        ("candidates", pl.Int64),
        ("warnings", pl.String),
        ("updated_at", pl.Datetime("us", "UTC")),
        ("captured_on", pl.Date),
        ("captured_at", pl.Datetime("us", "UTC")),
    ]


def test_rule_is_inherited_once_and_can_be_replaced() -> None:
    class Base(Contract):
        size: pl.Int64 = pa.Field(nullable=True)

        @rule
        def size_wrong(cls) -> nw.Expr:
            """Size is at least 1."""
            return nw.col("size") >= 1

    class Narrower(Base):
        @rule
        def size_wrong(cls) -> nw.Expr:
            """Size is at least 2."""
            return nw.col("size") >= 2

    assert [(one.reason, one.description) for one in rules_of(Narrower)] == [("size_wrong", "Size is at least 2.")]
    table = Table("test", "narrower", Narrower, ("size",))
    frame = pl.DataFrame({"size": [1, 2]})
    assert broken_by_rules(table, frame) == broken_by_pandera(table, frame) == [{0}, set()]


def test_quarantined_row_names_the_rejecting_contract_version() -> None:
    class Second(Contract):
        class Config:
            metadata = {"version": "2"}  # noqa: RUF012 (Pandera's own form)

    assert contract_version(Second) == "2"
    orders = {table.name: table for table in CLEANSED}["orders"]
    _, bad = split(nw.from_native(judged(orders, {"status": None}).lazy()), orders)
    assert collected(bad)["contract_version"].to_list() == [contract_version(orders.model)]


def test_every_reason_stands_for_one_demand() -> None:
    """Two rules share a reason only when they say the same of the same column."""
    for table in JUDGED:
        shared = {reason for reason, count in Counter(one.reason for one in rules_of(table.model)).items() if count > 1}
        assert all(reason.endswith("_missing") for reason in shared), (table.path, shared)


def test_contract_says_where_its_columns_are_declared() -> None:
    for module, column, text in (
        (payments, "amount", "    amount: "),
        (cleansed, "captured_on", "    captured_on: "),
        (payments, None, "class Payments("),
    ):
        file, _, line = declared_at(payments.Payments, column).partition(":")
        assert file == f"{module.__name__.replace('.', '/')}.py"
        lines = Path(str(module.__file__)).read_text().splitlines()
        assert lines[int(line) - 1].startswith(text)
    with pytest.raises(LookupError, match="Payments has no column none"):
        declared_at(payments.Payments, "none")
