"""A rule stands once: what `rules_of` compiles and what Pandera itself does are the same verdicts."""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
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
from orders_lakehouse.contracts.base import Contract, Rule, contract_version, declared_at, polars_schema, rule, rules_of
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.encoding import BAD_BYTE
from orders_lakehouse.entities import payments
from orders_lakehouse.tables import CLEANSED, CURATED, RAW, TABLES
from tests.support.any_rows import any_rows, as_read, judged
from tests.support.frames import collected
from tests.support.judging import split
from tests.support.rows import VALID, at, on, rows

JUDGED = (*CLEANSED, *CURATED)
LATER = VALID["cleansed/orders"]["captured_at"] + timedelta(hours=24, microseconds=1)

# A byte that was no UTF-8, as it is captured.
BAD = f"{BAD_BYTE}eb"

_CLEANSED: Mapping[str, list[dict[str, Any]]] = {
    "is_deleted_missing": [{"is_deleted": None}],
    "versions_missing": [{"versions": None}],
    "versions_below_1": [{"versions": 0}],
    "candidates_missing": [{"candidates": None}],
    "key_not_unique": [{"candidates": 2}],
    "updated_at_missing": [{"updated_at": None}],
    "captured_on_missing": [{"captured_on": None}],
    "captured_at_missing": [{"captured_at": None}],
    "updated_at_in_future": [{"updated_at": LATER}],
}
_OF_ORDER: Mapping[str, list[dict[str, Any]]] = {
    **_CLEANSED,
    "order_date_missing": [{"order_date": None}],
    "order_state_missing": [{"order_state": None}],
    "order_state_not_in_list": [{"order_state": "lost"}],
    "order_unknown": [{"order_state": "unknown"}],
    "order_quarantined": [{"order_state": "quarantined"}],
    "order_before_start": [{"order_state": "before_start"}],
}
_CURRENCY: Mapping[str, list[dict[str, Any]]] = {
    "currency_missing": [{"currency": None}],
    "currency_not_iso_4217": [{"currency": "ZZZ"}, {"currency": "eur"}, {"currency": "EURO"}],
}
_UNSEEN = (" k1", "k1\n", "k\u200b1", "k\u00a01", "k\u00ad1", "k1\ufeff", "k\x001", "\u2003k1")


def unseen(column: str) -> dict[str, list[dict[str, Any]]]:
    """Keys with characters that nobody sees."""
    return {f"{column}_has_unseen_characters": [{column: key} for key in _UNSEEN]}


def beyond(column: str, scale: int, digits: int, **others: Any) -> dict[str, list[dict[str, Any]]]:
    """Numbers with more decimals or more digits than a column has, as `number` reads them."""
    return {
        f"{column}_too_precise": [{column: Decimal(1).scaleb(-scale - 1), **others}],
        f"{column}_out_of_range": [{column: Decimal(10) ** digits, **others}],
    }


# For each reason, what makes a valid row break that rule and no other; one change for each rule of that name.
BROKEN: Mapping[str, Mapping[str, list[dict[str, Any]]]] = {
    "cleansed/customers": {
        "text_not_utf8": [{"customer_id": BAD}, {"city": f"Z{BAD}".upper()}],
        **_CLEANSED,
        "customer_id_missing": [{"customer_id": None}, {"customer_id": " \t\n"}, {"customer_id": ""}],
        **unseen("customer_id"),
        "email_malformed": [
            {"email": text}
            for text in ("ada", "ada@example", "a b@example.org", "@example.org", "ada@.", "a@b@c.de", "a@b.c\n")
        ],
        "country_code_not_iso_3166": [{"country_code": "UK"}, {"country_code": "gb"}, {"country_code": "GBR"}],
        "registered_at_out_of_range": [{"registered_at": at("2020-03-03 12:00:00.000001")}],
        "date_of_birth_out_of_range": [
            {"date_of_birth": on("1899-12-31")},
            {"date_of_birth": on("2019-05-02")},
            {"date_of_birth": on("1899-12-31"), "registration_date": None},
        ],
    },
    "cleansed/products": {
        "text_not_utf8": [{"product_id": BAD}, {"category": f"Z{BAD}".upper()}],
        **_CLEANSED,
        "currency_not_iso_4217": _CURRENCY["currency_not_iso_4217"],
        "product_id_missing": [{"product_id": None}, {"product_id": "  "}],
        "unit_price_negative": [{"unit_price": Decimal("-0.01")}],
        "unit_price_without_currency": [{"currency": None}],
        **unseen("product_id"),
        **beyond("unit_price", 8, 16),
    },
    "cleansed/orders": {
        "text_not_utf8": [{"order_id": BAD}, {"customer_id": f"Z{BAD}".upper()}],
        **_CLEANSED,
        **_CURRENCY,
        "order_id_missing": [{"order_id": None}, {"order_id": " "}],
        "order_date_missing": [{"order_date": None}],
        "ordered_at_missing": [{"ordered_at": None}, {"ordered_at": None, "business_date": None}],
        "status_missing": [{"status": None}],
        "status_not_in_list": [{"status": "lost"}, {"status": "Paid"}],
        "ordered_at_in_future": [{"ordered_at": at("2020-03-03 12:00:00.000001")}],
        "ordered_before_start": [{"business_date": on("2020-03-01")}],
        "ordered_at_out_of_range": [{"business_date": on("2020-03-03")}],
        **unseen("order_id"),
        "shipped_at_out_of_range": [{"shipped_at": at("2020-03-03 12:00:00.000001")}, {"shipped_at": at("9999-12-31")}],
        "delivered_at_out_of_range": [{"delivered_at": at("9999-12-31")}],
        "shipped_before_ordered": [{"shipped_at": at("2020-03-02 09:59")}, {"shipped_at": at("0001-01-01")}],
        "delivered_before_shipped": [
            {"delivered_at": at("2020-03-02 09:59")},
            {"shipped_at": at("2020-03-02 11:00"), "delivered_at": at("2020-03-02 10:30")},
        ],
    },
    "cleansed/order_items": {
        "text_not_utf8": [{"order_id": BAD}, {"product_id": f"Z{BAD}".upper()}],
        **_OF_ORDER,
        "order_id_missing": [{"order_id": None}],
        "line_number_missing": [{"line_number": None}],
        "product_id_missing": [{"product_id": None}],
        "quantity_missing": [{"quantity": None}, {"quantity": None, "total_price": None}],
        "quantity_not_positive": [{"quantity": 0}, {"quantity": -1}],
        "unit_price_missing": [{"unit_price": None}, {"unit_price": None, "total_price": None}],
        "unit_price_negative": [{"unit_price": Decimal("-0.0001")}],
        "discount_missing": [{"discount": None}, {"discount": None, "total_price": None}],
        "discount_negative": [{"discount": Decimal("-0.01")}],
        "total_price_negative": [{"total_price": Decimal("-0.01")}],
        "total_price_out_of_range": [{"total_price": None}],
        **beyond("quantity", 6, 12),
        **beyond("unit_price", 8, 16),
        "discount_out_of_range": [{"discount": Decimal(10) ** 14}],
        "discount_too_precise": [
            {"discount": Decimal("0.005")},
            {"discount": Decimal("0.50"), "order_currency": "JPY"},
            {"discount": Decimal("0.0005"), "order_currency": "KWD"},
            {"discount": Decimal("0.00001"), "order_currency": "CLF"},
            {"discount": Decimal("0.00001"), "order_currency": None},
        ],
    },
    "cleansed/payments": {
        "text_not_utf8": [{"payment_id": BAD}, {"order_id": f"Z{BAD}".upper()}],
        **_OF_ORDER,
        **_CURRENCY,
        "payment_id_missing": [{"payment_id": None}, {"payment_id": " "}],
        "method_missing": [{"method": None}],
        "method_not_in_list": [{"method": "Card"}],
        "amount_missing": [{"amount": None}],
        "amount_negative": [{"amount": Decimal("-0.01")}],
        "amount_out_of_range": [{"amount": Decimal(10) ** 14}],
        "amount_too_precise": [
            {"amount": Decimal("6.505")},
            {"amount": Decimal("6.5"), "currency": "JPY", "order_currency": "JPY"},
            {"amount": Decimal("6.5005"), "currency": "KWD", "order_currency": "KWD"},
        ],
        "currency_not_of_order": [{"order_currency": "USD"}],
        "paid_at_out_of_range": [{"paid_at": at("2020-03-03 12:00:00.000001")}],
        **unseen("payment_id"),
        "status_missing": [{"status": None}],
        "status_not_in_list": [{"status": "paid"}],
    },
}

# On the very edge of a rule, and still valid.
EDGES: Mapping[str, list[dict[str, Any]]] = {
    "cleansed/customers": [
        {},
        {"updated_at": LATER - timedelta(microseconds=1)},
        {"registered_at": at("2020-03-03 12:00"), "registration_date": on("2020-03-03")},
        {"date_of_birth": on("1900-01-01")},
        {"date_of_birth": on("2019-05-01")},
        {"date_of_birth": on("2019-05-02"), "registration_date": None, "registered_at": None},
        dict.fromkeys(
            ("full_name", "email", "date_of_birth", "registered_at", "registration_date", "country_code", "city")
        ),
        {"customer_id": "c 1-é_ß"},
        {"country_code": "DD"},
        {"city": "\ufffd", "state": BAD_BYTE, "address": "\\xeb"},
    ],
    "cleansed/products": [
        {},
        {"unit_price": Decimal("0.00")},
        {"unit_price": Decimal("9999999999999999.99999999")},
        {"unit_price": None, "currency": None},
        {"product_name": None, "category": None},
    ],
    "cleansed/orders": [
        {},
        {"customer_id": None},
        {"ordered_at": at("2020-03-03 12:00")},
        {"currency": "HRK"},
        {"shipped_at": at("2020-03-02 10:00"), "delivered_at": at("2020-03-03 12:00")},
    ],
    "cleansed/order_items": [
        {},
        {"quantity": 1},
        {"unit_price": Decimal("0.0000"), "discount": Decimal("0.00"), "total_price": Decimal("0.00")},
        {"order_state": "deleted"},
        {"quantity": Decimal("0.000001"), "unit_price": Decimal("9999999999999999.99999999")},
        {"discount": Decimal("0.005"), "order_currency": "KWD"},
        {"discount": Decimal("1"), "order_currency": "JPY"},
        {"discount": Decimal("0.0005"), "order_currency": None},
    ],
    "cleansed/payments": [
        {},
        {"amount": Decimal("99999999999999.99")},
        {"amount": Decimal("0.00")},
        {"paid_at": None},
        {"order_id": None},
    ],
}


def _broken_rows() -> Iterator[Any]:
    for table in CLEANSED:
        for reason, changes in BROKEN[table.path].items():
            for number, change in enumerate(changes):
                yield pytest.param(
                    table,
                    reason,
                    change,
                    id=f"{table.name}-{reason}-{number}",
                )


@pytest.mark.parametrize(("table", "reason", "change"), _broken_rows())
def test_row_breaking_one_rule_has_only_that_reason(table: Table, reason: str, change: dict[str, Any]) -> None:
    (broken,) = {one.outcome: one for one in rules_of(table.model) if one.reason == reason}.values()
    good, bad = split(nw.from_native(judged(table, change).lazy()), table)
    if broken.outcome == "reject":
        assert collected(good).is_empty()
        assert collected(bad)["reasons"].to_list() == [reason]
        return
    assert collected(bad).is_empty()
    (kept,) = collected(good).to_dicts()
    assert reason in kept["warnings"].split(", ")
    for name, value in {**VALID[table.path], **change}.items():
        if name != "warnings":
            assert kept[name] == (None if name in broken.blanks else value) or len(kept["warnings"].split(", ")) > 1


@pytest.mark.parametrize("table", CLEANSED, ids=lambda table: table.name)
def test_every_cleansed_rule_has_a_broken_example(table: Table) -> None:
    for compiled in rules_of(table.model):
        changes = BROKEN[table.path].get(compiled.reason)
        assert changes, f"no row here breaks the rule {compiled.reason} of {table.path}"
        verdicts = _verdicts(compiled.valid, as_read(table, *changes))
        assert False in verdicts, f"no row here breaks {compiled.description!r} of {table.path}"
    assert set(BROKEN[table.path]) == {compiled.reason for compiled in rules_of(table.model)}


@pytest.mark.parametrize("table", CLEANSED, ids=lambda table: table.name)
def test_rows_on_the_edge_of_a_rule_are_valid(table: Table) -> None:
    edges = EDGES[table.path]
    good, bad = split(nw.from_native(judged(table, *edges).lazy()), table)
    assert collected(bad).select("reasons").is_empty()
    assert collected(good).equals(rows(table, *edges))


@pytest.mark.parametrize("table", CURATED, ids=lambda table: table.name)
def test_valid_curated_row_holds_its_contract(table: Table) -> None:
    assert _broken_by_pandera(table, rows(table, {})) == [set()]
    assert _broken_by_rules(table, rows(table, {})) == [set()]


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
    assert _broken_by_pandera(table, empty) == [set()]


@pytest.mark.parametrize("table", JUDGED, ids=lambda table: table.path)
@settings(max_examples=15)
@given(data=st.data())
def test_compiled_rules_and_pandera_give_the_same_verdicts(table: Table, data: st.DataObject) -> None:
    frame = rows(table, *data.draw(any_rows(table)))
    assert _broken_by_rules(table, frame) == _broken_by_pandera(table, frame)


def _verdicts(expression: nw.Expr, frame: pl.DataFrame) -> list[bool | None]:
    return collected(nw.from_native(frame.lazy()).select(expression.alias("valid")))["valid"].to_list()


def _stored(table: Table) -> list[Rule]:
    """The rules that stored rows hold: Pandera knows no other."""
    return [one for one in rules_of(table.model) if one.outcome != "warn"]


def _broken_by_rules(table: Table, frame: pl.DataFrame) -> list[set[int]]:
    """For each row, the positions of the rules that it breaks."""
    compiled = _stored(table)
    verdicts = [_verdicts(one.valid, frame) for one in compiled]
    return [{n for n, valid in enumerate(verdicts) if valid[row] is False} for row in range(frame.height)]


def _broken_by_pandera(table: Table, frame: pl.DataFrame) -> list[set[int]]:
    """The same, by Pandera. The order of the model is the order of `rules_of`."""
    schema = table.model.to_schema()
    positions: dict[tuple[str | None, int | None], int] = {}
    for name, column in schema.columns.items():
        for number in [*([] if column.nullable else [None]), *range(len(column.checks))]:
            positions[name, number] = len(positions)
    for number in range(len(schema.checks)):
        positions[None, number] = len(positions)
    assert len(positions) == len(_stored(table))
    broken: list[set[int]] = [set() for _ in range(frame.height)]
    try:
        table.model.validate(frame, lazy=True)
    except pandera.errors.SchemaErrors as errors:
        for case in errors.failure_cases.iter_rows(named=True):
            column = case["column"] if case["schema_context"] == "Column" else None
            broken[case["index"]].add(positions[column, case["check_number"]])
    return broken


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
    assert _broken_by_rules(table, frame) == _broken_by_pandera(table, frame)


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
    assert _broken_by_rules(table, frame) == _broken_by_pandera(table, frame) == [{0}, set()]


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
