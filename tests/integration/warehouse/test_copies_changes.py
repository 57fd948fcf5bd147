"""Copies of lake tables in a real Postgres: of what changed in the lake, the copy takes over just that."""

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.curated.order_lines import ORDER_LINES
from orders_lakehouse.delta.maintenance import maintain_table
from orders_lakehouse.entities.customers import CUSTOMERS
from orders_lakehouse.entities.orders import ORDERS
from orders_lakehouse.entities.payments import PAYMENTS
from orders_lakehouse.entities.products import PRODUCTS
from orders_lakehouse.warehouse import replace_rows as loading
from orders_lakehouse.warehouse.load import load
from tests.support.copies import COPY, DAYS, Warehouse, line, load_lines
from tests.support.rows import at, rows

CAPTURED = {"captured_on", "captured_at"}

pytestmark = pytest.mark.usefixtures("clean_settings")


def test_only_dates_that_changed_are_replaced(warehouse: Warehouse) -> None:
    warehouse.lines(*DAYS)
    load_lines(warehouse)
    before = dict(warehouse.query("SELECT order_date, ctid::text || xmin::text FROM lake.order_lines"))
    warehouse.write(ORDER_LINES, DAYS[1], DAYS[2], line(DAYS[1], 7), line(DAYS[2], 8))
    done = load_lines(warehouse)
    assert (done.rows, done.dates) == (2, 2)
    assert warehouse.copied() == {day: [{DAYS[1]: 7, DAYS[2]: 8}.get(day, 2)] for day in DAYS}
    after = dict(warehouse.query("SELECT order_date, ctid::text || xmin::text FROM lake.order_lines"))
    assert {day for day in DAYS if after[day] == before[day]} == {DAYS[0], DAYS[3], DAYS[4]}


def _many(**of_first: Any) -> list[dict[str, Any]]:
    """Ten lines of an order on the first date."""
    return [{**line(DAYS[0]), "line_number": at, **(of_first if at == 1 else {})} for at in range(1, 11)]


def _written(warehouse: Warehouse) -> dict[int, str]:
    """By which transaction each line was written, and where it stands."""
    return dict(warehouse.query("SELECT line_number, ctid::text || xmin::text FROM lake.order_lines"))


def test_date_with_few_changes_replaces_changed_rows_only(warehouse: Warehouse) -> None:
    warehouse.write(ORDER_LINES, DAYS[0], DAYS[0], *_many())
    load_lines(warehouse)
    before = _written(warehouse)
    warehouse.write(ORDER_LINES, DAYS[0], DAYS[0], *_many(quantity=9, product_id="new")[:-1])
    done = load_lines(warehouse)
    assert (done.rows, done.dates) == (1, 1)
    after = _written(warehouse)
    assert {line for line in after if after[line] == before[line]} == set(range(2, 10))
    assert warehouse.copied() == {DAYS[0]: [2] * 8 + [9]}
    listed, standing = warehouse.keys("order_lines", "product_id")
    assert listed == standing
    assert listed["new"] == 1


def test_column_not_in_the_copy_is_no_change(warehouse: Warehouse) -> None:
    warehouse.write(ORDER_LINES, DAYS[0], DAYS[0], *_many())
    load_lines(warehouse)
    before = _written(warehouse)
    warehouse.write(ORDER_LINES, DAYS[0], DAYS[0], *_many(customer_city="Bath"))
    done = load_lines(warehouse)
    assert (done.rows, done.dates) == (0, 1)
    assert _written(warehouse) == before


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM lake.order_lines WHERE line_number > 7",
        "INSERT INTO lake.order_lines SELECT * FROM lake.order_lines WHERE line_number = 3",
        # As many rows, on other dates.
        "UPDATE lake.order_lines SET order_date = order_date + 1 WHERE line_number = 3",
    ],
)
def test_copy_unlike_its_record_is_loaded_whole(warehouse: Warehouse, damage: str) -> None:
    others = [{**line, "order_date": DAYS[1]} for line in _many()]
    warehouse.write(ORDER_LINES, DAYS[0], DAYS[1], *_many(), *others)
    load_lines(warehouse)
    warehouse.run(damage)
    changed = [{**line, "order_date": DAYS[1]} for line in _many(quantity=9)]
    warehouse.write(ORDER_LINES, DAYS[0], DAYS[1], *_many(quantity=9), *changed)
    done = load_lines(warehouse)
    assert (done.rows, done.dates) == (20, None)
    assert warehouse.copied() == dict.fromkeys(DAYS[:2], [2] * 9 + [9])
    listed, standing = warehouse.keys("order_lines", "product_id")
    assert listed == standing


def test_one_date_is_replaced_whole_and_another_by_row(warehouse: Warehouse) -> None:
    def write(first: int, second: dict[str, Any]) -> None:
        others = [{**line, "order_date": DAYS[1]} for line in _many(**second)]
        warehouse.write(ORDER_LINES, DAYS[0], DAYS[1], *({**line, "quantity": first} for line in _many()), *others)
        done.append(load_lines(warehouse).rows)

    done: list[int] = []
    write(2, {})
    write(3, {"quantity": 9})
    assert done == [20, 11]
    assert warehouse.copied() == {DAYS[0]: [3] * 10, DAYS[1]: [2] * 9 + [9]}


def test_rows_that_stand_more_than_once_are_as_many_in_the_copy(warehouse: Warehouse) -> None:
    one, other = line(DAYS[0], 2), line(DAYS[0], 7)
    for lines, expected in (([one, one, other], [2, 2, 7]), ([one, other, other], [2, 7, 7]), ([one, other], [2, 7])):
        warehouse.write(ORDER_LINES, DAYS[0], DAYS[0], *lines)
        load_lines(warehouse)
        assert warehouse.copied() == {DAYS[0]: expected}


@pytest.mark.parametrize("table", [CUSTOMERS, PRODUCTS, ORDERS, PAYMENTS], ids=lambda table: table.name)
def test_every_copy_follows_rows_that_change(warehouse: Warehouse, table: Table) -> None:
    partition, key = str(table.partitioned_by), table.key[0]
    given = [{key: f"k{number}", partition: DAYS[0], "versions": 1} for number in range(10)]
    if table in (CUSTOMERS, PRODUCTS):
        # Two versions of a key on a date.
        given.append({**given[0], "updated_at": at("2020-03-01T09:00")})
    for last in (given, given[:-1], [*given[1:], {**given[0], key: "new"}]):
        warehouse.write(table, DAYS[0], DAYS[0], *last)
        load(warehouse.lake, COPY[table.name])
        expected = sorted(str(row[key]) for row in last)
        assert [found for (found,) in warehouse.query(f"SELECT {key} FROM lake.{table.name} ORDER BY 1")] == expected


@pytest.mark.parametrize("table", [CUSTOMERS, PRODUCTS], ids=lambda table: table.name)
def test_deleted_row_may_lack_all_but_capture_and_may_change(warehouse: Warehouse, table: Table) -> None:
    key = table.key[0]
    lacking = dict.fromkeys(name for name in table.columns if name not in {"is_deleted", "versions", *CAPTURED})
    given = [{key: f"k{number}", "captured_on": DAYS[0]} for number in range(10)]
    nameless = {**lacking, "captured_on": DAYS[0], "is_deleted": True}
    named = {**nameless, key: "gone"}
    replaced = []
    for last in (given, [*given, named], [*given, named, nameless], [*given, nameless], given):
        warehouse.write(table, DAYS[0], DAYS[0], *last)

        replaced.append(load(warehouse.lake, COPY[table.name]).dates)
        expected = sorted((str(row[key]), row.get("is_deleted", False)) for row in last)
        found = warehouse.query(f"SELECT coalesce({key}, 'None'), is_deleted FROM lake.{table.name} ORDER BY 1")
        assert found == expected
    # Whole is what somebody else had changed.
    assert replaced == [None, 1, 1, 1, 1]


def test_whole_dates_are_replaced_without_the_version_before(warehouse: Warehouse) -> None:
    warehouse.write(ORDER_LINES, DAYS[0], DAYS[2], *_many(), line(DAYS[1]), line(DAYS[2]))
    load_lines(warehouse)
    warehouse.write(ORDER_LINES, DAYS[0], DAYS[1], *_many(quantity=9))
    location = warehouse.lake.location(ORDER_LINES)
    DeltaTable(location).vacuum(0, enforce_retention_duration=False, dry_run=False)
    done = load_lines(warehouse)
    assert (done.rows, done.dates) == (10, 2)
    assert warehouse.copied() == {DAYS[0]: [2] * 9 + [9], DAYS[2]: [2]}


# Lines of two dates, by date and number: what they are.
LINES = st.dictionaries(
    st.tuples(st.sampled_from(DAYS[:2]), st.integers(1, 6)),
    st.tuples(st.sampled_from([Decimal(1), Decimal("1.000001")]), st.sampled_from("ab")),
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(states=st.lists(LINES, min_size=2, max_size=4), few=st.sampled_from([0, 0.5, 1]), chunk=st.sampled_from([1, 99]))
def test_copy_equals_its_table_after_any_history(
    warehouse: Warehouse, states: list[dict[tuple[date, int], tuple[Decimal, str]]], few: float, chunk: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "_FEW", few)
        patch.setattr(loading, "_CHUNK_ROWS", chunk)
        for state in states:
            lines = [
                {"order_id": "o", "line_number": at, "order_date": day, "quantity": quantity, "product_id": product}
                for (day, at), (quantity, product) in state.items()
            ]
            warehouse.write(ORDER_LINES, DAYS[0], DAYS[1], *lines)
            load_lines(warehouse)
            copied = warehouse.query("SELECT order_date, line_number, quantity, product_id FROM lake.order_lines")
            found = [(day, at, Decimal(quantity), product) for day, at, quantity, product in copied]
            assert sorted(found) == sorted((*key, *value) for key, value in state.items())
            listed, standing = warehouse.keys("order_lines", "product_id")
            assert listed == standing


def test_changes_of_several_versions_are_loaded_at_once(warehouse: Warehouse) -> None:
    warehouse.lines(*DAYS)
    load_lines(warehouse)
    for quantity in (3, 4, 5):
        warehouse.write(ORDER_LINES, DAYS[0], DAYS[0], line(DAYS[0], quantity))
        warehouse.write(ORDER_LINES, DAYS[quantity - 2], DAYS[quantity - 2])
    done = load_lines(warehouse)
    assert (done.rows, done.dates) == (1, 4)
    assert warehouse.copied() == {DAYS[0]: [5], DAYS[4]: [2]}


@pytest.mark.parametrize("size", [1, 400_000])
def test_keys_of_a_copy_are_listed_with_their_rows(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(loading, "_CHUNK_ROWS", size)

    def write(*given: tuple[date, str]) -> None:
        lines = [{"order_id": "o", "line_number": at, "order_date": day, "product_id": key}
                 for at, (day, key) in enumerate(given)]  # fmt: skip
        warehouse.write(ORDER_LINES, DAYS[0], DAYS[-1], *lines)
        load_lines(warehouse)

    write((DAYS[0], "tea"), (DAYS[0], "tea"), (DAYS[1], "tea"), (DAYS[1], "jam"), (DAYS[2], "milk"))
    listed, standing = warehouse.keys("order_lines", "product_id")
    assert listed == standing == {"tea": 3, "jam": 1, "milk": 1}
    # A date loses a key that stands on another one, and one that stands nowhere else; one is new.
    write((DAYS[0], "tea"), (DAYS[1], "bread"), (DAYS[2], "milk"))
    listed, standing = warehouse.keys("order_lines", "product_id")
    assert listed == standing == {"tea": 1, "bread": 1, "milk": 1}
    write()
    assert warehouse.keys("order_lines", "product_id") == ({}, {})


def test_guests_and_deleted_orders_are_not_among_the_keys(warehouse: Warehouse) -> None:
    named = [{"order_id": f"o{at}", "customer_id": key} for at, key in enumerate(["ada", "ada", None])]
    gone = {"order_id": "gone", "customer_id": "bob", "is_deleted": True}
    warehouse.write(ORDERS, DAYS[0], DAYS[0], *({"order_date": DAYS[0], **one} for one in (*named, gone)))
    load(warehouse.lake, COPY["orders"])
    assert warehouse.keys("orders", "customer_id") == ({"ada": 2}, {"ada": 2})


def test_emptied_date_vanishes_and_can_come_back(warehouse: Warehouse) -> None:
    warehouse.lines(*DAYS)
    load_lines(warehouse)
    warehouse.write(ORDER_LINES, DAYS[2], DAYS[2])
    assert (load_lines(warehouse).rows, warehouse.copied().get(DAYS[2])) == (0, None)
    warehouse.write(ORDER_LINES, DAYS[2], DAYS[2], line(DAYS[2], 9))
    assert (load_lines(warehouse).rows, warehouse.copied()[DAYS[2]]) == (1, [9])


def test_version_no_longer_kept_leads_to_a_whole_load(warehouse: Warehouse) -> None:
    warehouse.lines(*DAYS)
    load_lines(warehouse)
    warehouse.lines(*DAYS, quantity=9)
    handle = warehouse.lake.open(ORDER_LINES)
    handle.create_checkpoint()
    for version in range(handle.version()):
        Path(warehouse.lake.url, ORDER_LINES.path, "_delta_log", f"{version:020}.json").unlink()
    done = load_lines(warehouse)
    assert (done.rows, done.dates) == (5, None)
    assert warehouse.copied() == {day: [9] for day in DAYS}


def test_maintenance_is_no_change(warehouse: Warehouse) -> None:
    def add(day: date, quantity: int) -> None:
        warehouse.lake.append(ORDER_LINES, rows(ORDER_LINES, line(day, quantity)))

    warehouse.lines(*DAYS)
    add(DAYS[0], 3)
    load_lines(warehouse)
    assert _cared_for(warehouse) == 1
    done = load_lines(warehouse)
    assert (done.rows, done.dates, done.version) == (0, 0, warehouse.lake.find(ORDER_LINES).version())
    # Care between changes hides none of them, and adds none.
    add(DAYS[1], 4)
    assert _cared_for(warehouse) == 1
    add(DAYS[2], 5)
    add(DAYS[3], 6)
    assert _cared_for(warehouse) == 2
    done = load_lines(warehouse)
    assert (done.rows, done.dates) == (6, 3)
    assert warehouse.copied() == dict(zip(DAYS, [[2, 3], [2, 4], [2, 5], [2, 6], [2]], strict=True))


def _cared_for(warehouse: Warehouse) -> int:
    done = maintain_table(warehouse.lake, ORDER_LINES, 30)
    return done.compacted if done else 0


def test_files_that_were_only_rewritten_leave_the_copy_as_it_is(warehouse: Warehouse) -> None:
    warehouse.lines(*DAYS)
    warehouse.lake.append(ORDER_LINES, rows(ORDER_LINES, line(DAYS[0], 3)))
    load_lines(warehouse)
    before = warehouse.copied()
    DeltaTable(f"{warehouse.lake.url}/{ORDER_LINES.path}").optimize.compact()
    load_lines(warehouse)
    assert warehouse.copied() == before == {DAYS[0]: [2, 3], **{day: [2] for day in DAYS[1:]}}
