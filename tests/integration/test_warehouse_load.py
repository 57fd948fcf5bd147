"""Copies of lake tables in a real Postgres: only what changed is loaded, and whatever happened, the copy is right."""

import dataclasses
import itertools
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import narwhals as nw
import polars as pl
import pytest
from adbc_driver_postgresql import dbapi
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orders_lakehouse.contracts.tables import CUSTOMERS, ORDER_LINES, ORDERS, PAYMENTS, PRODUCTS, Table
from orders_lakehouse.lake.care import care_for
from orders_lakehouse.lake.delta import Lake
from orders_lakehouse.postgres import DatabaseError, DatabaseUnavailableError
from orders_lakehouse.warehouse import load as loading
from orders_lakehouse.warehouse.calendar import calendar_days, load_calendar
from orders_lakehouse.warehouse.copies import COPIES, Copy
from orders_lakehouse.warehouse.facts import unbuilt_dates
from orders_lakehouse.warehouse.load import Loaded, load, load_lost, loaded_versions
from tests.unit.rows import at, on, rows

pytestmark = pytest.mark.usefixtures("clean_settings")

COPY = {copy.name: copy for copy in COPIES}
DAYS = [on("2020-03-01") + timedelta(days=more) for more in range(5)]


@dataclass(frozen=True)
class Warehouse:
    """A warehouse, and the lake that it is loaded from."""

    url: str
    lake: Lake

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with dbapi.connect(self.url) as connection, connection.cursor() as cursor:
            cursor.execute("SET TIME ZONE 'UTC'")
            cursor.execute(statement)
            return list(cursor.fetchall())

    def run(self, script: str) -> None:
        with dbapi.connect(self.url) as connection, connection.cursor() as cursor:
            cursor.executescript(script)
            connection.commit()

    def write(self, table: Table, first: date, last: date, *given: Mapping[str, Any]) -> None:
        frame = rows(table, *given)
        self.lake.replace_dates([table], first, last, lambda _: [nw.from_native(frame.lazy())])

    def lines(self, *days: date, quantity: int = 2) -> None:
        """Replace all days by one order line on each of some."""
        self.write(ORDER_LINES, DAYS[0], DAYS[-1], *(_line(day, quantity) for day in days))

    def copied(self) -> dict[date, list[int]]:
        """Quantities in the copy of the order lines, by date."""
        found = self.query(
            "SELECT order_date, array_to_string(array_agg(quantity ORDER BY quantity), ',') "
            "FROM lake.order_lines GROUP BY 1"
        )
        return {day: [int(part) for part in parts.split(",")] for day, parts in found}


def _line(day: date, quantity: int = 2) -> dict[str, Any]:
    return {"order_id": f"o{day}", "order_date": day, "quantity": quantity}


@pytest.fixture(scope="module")
def database(postgres_url_factory: Callable[[str], str]) -> str:
    return postgres_url_factory("copies")


@pytest.fixture
def warehouse(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    monkeypatch.setenv("WAREHOUSE_DATABASE_URL", database)
    made = Warehouse(database, Lake(str(tmp_path / "lake"), "UTC"))
    made.run("DROP SCHEMA IF EXISTS lake CASCADE")
    return made


def _load(warehouse: Warehouse) -> Loaded:
    return load(warehouse.lake, COPY["order_lines"])


@pytest.mark.parametrize("copy", COPIES, ids=lambda copy: copy.name)
def test_the_first_load_copies_every_row_with_its_values(warehouse: Warehouse, copy: Copy) -> None:
    partition = str(copy.table.partitioned_by)
    nullable = [name for name, kind in copy.columns.items() if not kind.endswith("NOT NULL")]
    given = [{copy.table.key[0]: f"k{number}", partition: day} for number, day in enumerate(DAYS)]
    given.append({copy.table.key[0]: "nothing", partition: DAYS[0], **dict.fromkeys(nullable)})
    warehouse.write(copy.table, DAYS[0], DAYS[-1], *given)
    done = load(warehouse.lake, copy)
    assert (done.rows, done.dates) == (6, None)
    assert done.version == warehouse.lake.open(copy.table).version()
    expected = warehouse.lake.scan(copy.table).to_native().collect().select(list(copy.types))
    with dbapi.connect(warehouse.url) as connection, connection.cursor() as cursor:
        decimals = {name for name, dtype in expected.schema.items() if isinstance(dtype, pl.Decimal)}
        names = ", ".join(f"{name}::text AS {name}" if name in decimals else name for name in expected.columns)
        cursor.execute("SET TIME ZONE 'UTC'")
        cursor.execute(f"SELECT {names} FROM lake.{copy.name}")
        found = pl.DataFrame(cursor.fetch_arrow_table()).cast(dict(expected.schema))
    assert found.sort(copy.table.key).equals(expected.sort(copy.table.key))


def test_tombstones_of_orders_are_left_out_and_those_of_dimensions_are_copied(warehouse: Warehouse) -> None:
    for name in ("orders", "payments", "customers", "products"):
        table = COPY[name].table
        day = {str(table.partitioned_by): DAYS[0]}
        warehouse.write(table, DAYS[0], DAYS[0], day, {**day, table.key[0]: "gone", "is_deleted": True})
        expected = 2 if name in ("customers", "products") else 1
        assert load(warehouse.lake, COPY[name]).rows == expected
        assert warehouse.query(f"SELECT count(*) FROM lake.{name}") == [(expected,)]


def test_a_second_load_copies_nothing(warehouse: Warehouse) -> None:
    warehouse.lines(*DAYS)
    first = _load(warehouse)
    assert _load(warehouse) == Loaded(rows=0, dates=0, version=first.version)
    assert warehouse.copied() == {day: [2] for day in DAYS}


def test_only_dates_that_changed_are_replaced(warehouse: Warehouse) -> None:
    warehouse.lines(*DAYS)
    _load(warehouse)
    before = dict(warehouse.query("SELECT order_date, ctid::text || xmin::text FROM lake.order_lines"))
    warehouse.write(ORDER_LINES, DAYS[1], DAYS[2], _line(DAYS[1], 7), _line(DAYS[2], 8))
    done = _load(warehouse)
    assert (done.rows, done.dates) == (2, 2)
    assert warehouse.copied() == {day: [{DAYS[1]: 7, DAYS[2]: 8}.get(day, 2)] for day in DAYS}
    after = dict(warehouse.query("SELECT order_date, ctid::text || xmin::text FROM lake.order_lines"))
    assert {day for day in DAYS if after[day] == before[day]} == {DAYS[0], DAYS[3], DAYS[4]}


def _many(**of_first: Any) -> list[dict[str, Any]]:
    """Ten lines of an order on the first date."""
    return [{**_line(DAYS[0]), "line_number": at, **(of_first if at == 1 else {})} for at in range(1, 11)]


def _written(warehouse: Warehouse) -> dict[int, str]:
    """By which transaction each line was written, and where it stands."""
    return dict(warehouse.query("SELECT line_number, ctid::text || xmin::text FROM lake.order_lines"))


def test_of_a_date_with_few_changes_only_the_rows_that_changed_are_replaced(warehouse: Warehouse) -> None:
    warehouse.write(ORDER_LINES, DAYS[0], DAYS[0], *_many())
    _load(warehouse)
    before = _written(warehouse)
    warehouse.write(ORDER_LINES, DAYS[0], DAYS[0], *_many(quantity=9, product_id="new")[:-1])
    done = _load(warehouse)
    assert (done.rows, done.dates) == (1, 1)
    after = _written(warehouse)
    assert {line for line in after if after[line] == before[line]} == set(range(2, 10))
    assert warehouse.copied() == {DAYS[0]: [2] * 8 + [9]}
    listed, standing = _keys(warehouse, "order_lines", "product_id")
    assert listed == standing
    assert listed["new"] == 1


def test_what_the_copy_does_not_have_is_no_change_of_it(warehouse: Warehouse) -> None:
    warehouse.write(ORDER_LINES, DAYS[0], DAYS[0], *_many())
    _load(warehouse)
    before = _written(warehouse)
    warehouse.write(ORDER_LINES, DAYS[0], DAYS[0], *_many(customer_city="Bath"))
    done = _load(warehouse)
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
def test_a_copy_that_was_not_what_it_remembered_is_loaded_whole(warehouse: Warehouse, damage: str) -> None:
    others = [{**line, "order_date": DAYS[1]} for line in _many()]
    warehouse.write(ORDER_LINES, DAYS[0], DAYS[1], *_many(), *others)
    _load(warehouse)
    warehouse.run(damage)
    changed = [{**line, "order_date": DAYS[1]} for line in _many(quantity=9)]
    warehouse.write(ORDER_LINES, DAYS[0], DAYS[1], *_many(quantity=9), *changed)
    done = _load(warehouse)
    assert (done.rows, done.dates) == (20, None)
    assert warehouse.copied() == dict.fromkeys(DAYS[:2], [2] * 9 + [9])
    listed, standing = _keys(warehouse, "order_lines", "product_id")
    assert listed == standing


def test_one_date_is_replaced_as_a_whole_and_another_one_row_by_row(warehouse: Warehouse) -> None:
    def write(first: int, second: dict[str, Any]) -> None:
        others = [{**line, "order_date": DAYS[1]} for line in _many(**second)]
        warehouse.write(ORDER_LINES, DAYS[0], DAYS[1], *({**line, "quantity": first} for line in _many()), *others)
        done.append(_load(warehouse).rows)

    done: list[int] = []
    write(2, {})
    write(3, {"quantity": 9})
    assert done == [20, 11]
    assert warehouse.copied() == {DAYS[0]: [3] * 10, DAYS[1]: [2] * 9 + [9]}


def test_rows_that_stand_more_than_once_are_as_many_in_the_copy(warehouse: Warehouse) -> None:
    one, other = _line(DAYS[0], 2), _line(DAYS[0], 7)
    for lines, expected in (([one, one, other], [2, 2, 7]), ([one, other, other], [2, 7, 7]), ([one, other], [2, 7])):
        warehouse.write(ORDER_LINES, DAYS[0], DAYS[0], *lines)
        _load(warehouse)
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


def test_where_the_version_before_cannot_be_read_whole_dates_are_replaced(warehouse: Warehouse) -> None:
    warehouse.write(ORDER_LINES, DAYS[0], DAYS[2], *_many(), _line(DAYS[1]), _line(DAYS[2]))
    _load(warehouse)
    warehouse.write(ORDER_LINES, DAYS[0], DAYS[1], *_many(quantity=9))
    location = warehouse.lake.location(ORDER_LINES)
    DeltaTable(location).vacuum(0, enforce_retention_duration=False, dry_run=False)
    done = _load(warehouse)
    assert (done.rows, done.dates) == (10, 2)
    assert warehouse.copied() == {DAYS[0]: [2] * 9 + [9], DAYS[2]: [2]}


# Lines of two dates, by date and number: what they are.
LINES = st.dictionaries(
    st.tuples(st.sampled_from(DAYS[:2]), st.integers(1, 6)), st.tuples(st.integers(1, 2), st.sampled_from("ab"))
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(states=st.lists(LINES, min_size=2, max_size=4), few=st.sampled_from([0, 0.5, 1]), chunk=st.sampled_from([1, 99]))
def test_a_copy_is_what_its_table_is_however_it_came_about(
    warehouse: Warehouse, states: list[dict[tuple[date, int], tuple[int, str]]], few: float, chunk: int
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
            _load(warehouse)
            found = warehouse.query("SELECT order_date, line_number, quantity, product_id FROM lake.order_lines")
            assert sorted(found) == sorted((*key, *value) for key, value in state.items())
            listed, standing = _keys(warehouse, "order_lines", "product_id")
            assert listed == standing


def test_changes_of_several_versions_are_made_up_for_at_once(warehouse: Warehouse) -> None:
    warehouse.lines(*DAYS)
    _load(warehouse)
    for quantity in (3, 4, 5):
        warehouse.write(ORDER_LINES, DAYS[0], DAYS[0], _line(DAYS[0], quantity))
        warehouse.write(ORDER_LINES, DAYS[quantity - 2], DAYS[quantity - 2])
    done = _load(warehouse)
    assert (done.rows, done.dates) == (1, 4)
    assert warehouse.copied() == {DAYS[0]: [5], DAYS[4]: [2]}


def _keys(warehouse: Warehouse, name: str, key: str) -> tuple[dict[str, int], dict[str, int]]:
    """Keys and the numbers of their rows: as they are listed beside a copy, and as they stand in it."""
    listed = warehouse.query(f"SELECT {key}, rows FROM lake.{name}_by_{key}")
    standing = warehouse.query(f"SELECT {key}, count(*) FROM lake.{name} WHERE {key} IS NOT NULL GROUP BY 1")
    return dict(listed), dict(standing)


@pytest.mark.parametrize("size", [1, 400_000])
def test_the_keys_of_a_copy_are_listed_with_their_rows(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(loading, "_CHUNK_ROWS", size)

    def write(*given: tuple[date, str]) -> None:
        lines = [{"order_id": "o", "line_number": at, "order_date": day, "product_id": key}
                 for at, (day, key) in enumerate(given)]  # fmt: skip
        warehouse.write(ORDER_LINES, DAYS[0], DAYS[-1], *lines)
        _load(warehouse)

    write((DAYS[0], "tea"), (DAYS[0], "tea"), (DAYS[1], "tea"), (DAYS[1], "jam"), (DAYS[2], "milk"))
    listed, standing = _keys(warehouse, "order_lines", "product_id")
    assert listed == standing == {"tea": 3, "jam": 1, "milk": 1}
    # A date loses a key that stands on another one, and one that stands nowhere else; one is new.
    write((DAYS[0], "tea"), (DAYS[1], "bread"), (DAYS[2], "milk"))
    listed, standing = _keys(warehouse, "order_lines", "product_id")
    assert listed == standing == {"tea": 1, "bread": 1, "milk": 1}
    write()
    assert _keys(warehouse, "order_lines", "product_id") == ({}, {})


def test_guests_and_deleted_orders_are_not_among_the_keys(warehouse: Warehouse) -> None:
    named = [{"order_id": f"o{at}", "customer_id": key} for at, key in enumerate(["ada", "ada", None])]
    gone = {"order_id": "gone", "customer_id": "bob", "is_deleted": True}
    warehouse.write(ORDERS, DAYS[0], DAYS[0], *({"order_date": DAYS[0], **one} for one in (*named, gone)))
    load(warehouse.lake, COPY["orders"])
    assert _keys(warehouse, "orders", "customer_id") == ({"ada": 2}, {"ada": 2})


@pytest.mark.parametrize("missing", ["lake.order_lines_by_product_id", "lake.order_lines"])
def test_a_copy_of_which_a_table_is_missing_is_loaded_whole(warehouse: Warehouse, missing: str) -> None:
    warehouse.lines(*DAYS)
    _load(warehouse)
    warehouse.run(f"DROP TABLE {missing} CASCADE")
    done = _load(warehouse)
    assert (done.rows, done.dates) == (5, None)
    listed, standing = _keys(warehouse, "order_lines", "product_id")
    assert listed == standing
    assert sum(listed.values()) == 5


def test_a_copy_of_payments_refuses_one_without_an_order(warehouse: Warehouse) -> None:
    warehouse.write(PAYMENTS, DAYS[0], DAYS[0], {"payment_id": "p", "order_date": DAYS[0], "order_id": None})
    with pytest.raises(DatabaseError, match='null value in column "order_id"'):
        load(warehouse.lake, COPY["payments"])


def test_a_copy_refuses_nulls_where_its_contract_does(warehouse: Warehouse) -> None:
    warehouse.lines(*DAYS)
    before = _load(warehouse)
    warehouse.write(ORDER_LINES, DAYS[0], DAYS[0], {**_line(DAYS[0]), "total_price": None})
    with pytest.raises(DatabaseError, match='null value in column "total_price"'):
        _load(warehouse)
    assert loaded_versions() == {"order_lines": before.version}
    assert warehouse.copied() == {day: [2] for day in DAYS}


def test_a_copy_is_indexed_by_date_and_known_to_the_planner(warehouse: Warehouse) -> None:
    warehouse.lines(*DAYS)
    _load(warehouse)
    assert warehouse.query("SELECT indexname FROM pg_indexes WHERE tablename = 'order_lines'") == [
        ("order_lines_order_date",)
    ]
    assert warehouse.query("SELECT reltuples::int FROM pg_class WHERE oid = 'lake.order_lines'::regclass") == [(5,)]


def test_an_emptied_date_vanishes_and_can_come_back(warehouse: Warehouse) -> None:
    warehouse.lines(*DAYS)
    _load(warehouse)
    warehouse.write(ORDER_LINES, DAYS[2], DAYS[2])
    assert (_load(warehouse).rows, warehouse.copied().get(DAYS[2])) == (0, None)
    warehouse.write(ORDER_LINES, DAYS[2], DAYS[2], _line(DAYS[2], 9))
    assert (_load(warehouse).rows, warehouse.copied()[DAYS[2]]) == (1, [9])


def test_a_table_without_rows_is_loaded_as_such(warehouse: Warehouse) -> None:
    done = _load(warehouse)
    assert (done.rows, done.dates) == (0, None)
    assert warehouse.query("SELECT count(*) FROM lake.order_lines") == [(0,)]
    assert _load(warehouse).dates == 0


def test_a_lake_table_that_was_made_anew_is_loaded_whole(warehouse: Warehouse) -> None:
    warehouse.lines(*DAYS)
    before = _load(warehouse)
    shutil.rmtree(f"{warehouse.lake.url}/{ORDER_LINES.path}")
    warehouse.lines(DAYS[1], quantity=9)
    assert warehouse.lake.open(ORDER_LINES).version() == before.version
    done = _load(warehouse)
    assert (done.rows, done.dates) == (1, None)
    assert warehouse.copied() == {DAYS[1]: [9]}


def test_a_lake_table_that_was_set_back_is_loaded_whole(warehouse: Warehouse, tmp_path: Path) -> None:
    path = f"{warehouse.lake.url}/{ORDER_LINES.path}"
    warehouse.lines(*DAYS)
    shutil.copytree(path, tmp_path / "backup")
    warehouse.lines(*DAYS, quantity=9)
    _load(warehouse)
    shutil.rmtree(path)
    shutil.copytree(tmp_path / "backup", path)
    done = _load(warehouse)
    assert (done.rows, done.dates) == (5, None)
    assert warehouse.copied() == {day: [2] for day in DAYS}


def test_a_version_that_is_not_kept_any_more_is_made_up_for_by_a_whole_load(warehouse: Warehouse) -> None:
    warehouse.lines(*DAYS)
    _load(warehouse)
    warehouse.lines(*DAYS, quantity=9)
    handle = warehouse.lake.open(ORDER_LINES)
    handle.create_checkpoint()
    for version in range(handle.version()):
        Path(warehouse.lake.url, ORDER_LINES.path, "_delta_log", f"{version:020}.json").unlink()
    done = _load(warehouse)
    assert (done.rows, done.dates) == (5, None)
    assert warehouse.copied() == {day: [9] for day in DAYS}


def test_to_care_for_a_table_is_no_change_of_it(warehouse: Warehouse) -> None:
    def add(day: date, quantity: int) -> None:
        warehouse.lake.append(ORDER_LINES, rows(ORDER_LINES, _line(day, quantity)))

    warehouse.lines(*DAYS)
    add(DAYS[0], 3)
    _load(warehouse)
    assert _cared_for(warehouse) == 1
    done = _load(warehouse)
    assert (done.rows, done.dates, done.version) == (0, 0, warehouse.lake.find(ORDER_LINES).version())
    # Care between changes hides none of them, and adds none.
    add(DAYS[1], 4)
    assert _cared_for(warehouse) == 1
    add(DAYS[2], 5)
    add(DAYS[3], 6)
    assert _cared_for(warehouse) == 2
    done = _load(warehouse)
    assert (done.rows, done.dates) == (6, 3)
    assert warehouse.copied() == dict(zip(DAYS, [[2, 3], [2, 4], [2, 5], [2, 6], [2]], strict=True))


def _cared_for(warehouse: Warehouse) -> int:
    done = care_for(warehouse.lake, ORDER_LINES, 30)
    return done.compacted if done else 0


def test_files_that_were_only_rewritten_leave_the_copy_as_it_is(warehouse: Warehouse) -> None:
    warehouse.lines(*DAYS)
    warehouse.lake.append(ORDER_LINES, rows(ORDER_LINES, _line(DAYS[0], 3)))
    _load(warehouse)
    before = warehouse.copied()
    DeltaTable(f"{warehouse.lake.url}/{ORDER_LINES.path}").optimize.compact()
    _load(warehouse)
    assert warehouse.copied() == before == {DAYS[0]: [2, 3], **{day: [2] for day in DAYS[1:]}}


@pytest.mark.parametrize("emptied", ["lake.loaded", "lake.loaded, lake.order_lines"])
def test_copies_that_a_crash_has_emptied_are_loaded_whole(warehouse: Warehouse, emptied: str) -> None:
    warehouse.lines(*DAYS)
    _load(warehouse)
    warehouse.run(f"TRUNCATE {emptied}")
    done = _load(warehouse)
    assert (done.rows, done.dates) == (5, None)
    assert warehouse.copied() == {day: [2] for day in DAYS}


def test_a_copy_of_another_shape_is_made_anew(warehouse: Warehouse) -> None:
    warehouse.lines(*DAYS)
    wider = COPY["order_lines"]
    narrower = dataclasses.replace(wider, without=wider.without | {"discount"})
    for copy in (narrower, wider, narrower):
        done = load(warehouse.lake, copy)
        assert (done.rows, done.dates) == (5, None)
        (found,) = warehouse.query(
            "SELECT string_agg(column_name, ',' ORDER BY ordinal_position) FROM information_schema.columns "
            "WHERE table_schema = 'lake' AND table_name = 'order_lines'"
        )
        assert found[0].split(",") == list(copy.types)


def test_a_copy_of_another_shape_is_made_anew_after_a_crash(warehouse: Warehouse) -> None:
    warehouse.lines(*DAYS)
    wider = COPY["order_lines"]
    load(warehouse.lake, dataclasses.replace(wider, without=wider.without | {"discount"}))
    warehouse.run("TRUNCATE lake.loaded, lake.order_lines")
    assert load(warehouse.lake, wider).rows == 5


def test_a_load_that_fails_half_way_changes_nothing_and_is_made_up_for(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse.lines(*DAYS)
    before = _load(warehouse)
    warehouse.lines(*DAYS, quantity=9)
    monkeypatch.setattr(loading, "_CHUNK_ROWS", 2)
    with _failing(monkeypatch, at=2), pytest.raises(ZeroDivisionError):
        _load(warehouse)
    assert warehouse.copied() == {day: [2] for day in DAYS}
    assert loaded_versions() == {"order_lines": before.version}
    assert _load(warehouse).rows == 5
    assert warehouse.copied() == {day: [9] for day in DAYS}


@contextmanager
def _failing(monkeypatch: pytest.MonkeyPatch, at: int) -> Iterator[None]:
    """A load fails at one of its chunks."""
    read, calls = loading.rows_of, itertools.count(1)

    def fail(frame: Any) -> pl.DataFrame:
        if next(calls) == at:
            raise ZeroDivisionError
        return read(frame)

    with monkeypatch.context() as patched:
        patched.setattr(loading, "rows_of", fail)
        yield


@pytest.mark.parametrize("at", [1, 2, 3, 4, 5])
def test_a_whole_load_that_fails_in_either_half_leaves_nothing_and_is_made_up_for(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    warehouse.lines(*DAYS)
    monkeypatch.setattr(loading, "_CHUNK_ROWS", 1)
    with _failing(monkeypatch, at), pytest.raises(ZeroDivisionError):
        _load(warehouse)
    assert warehouse.copied() == {}
    assert loaded_versions() == {}
    assert _load(warehouse).rows == 5
    assert warehouse.copied() == {day: [2] for day in DAYS}
    assert warehouse.query("SELECT to_regclass('lake.order_lines_beside')::text") == [(None,)]


@pytest.mark.parametrize("size", [1, 2, 4, 5])
def test_a_load_in_several_chunks_copies_the_same(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(loading, "_CHUNK_ROWS", size)
    warehouse.lines(*DAYS)
    assert _load(warehouse).rows == 5
    assert warehouse.copied() == {day: [2] for day in DAYS}


def _at_once(*work: Callable[[], Any]) -> list[Any]:
    start = threading.Barrier(len(work))
    results: list[Any] = [None] * len(work)

    def run(number: int) -> None:
        start.wait()
        try:
            results[number] = work[number]()
        except Exception as error:  # noqa: BLE001 (handed to the test)
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


def test_loads_of_one_table_at_once_copy_each_row_once(warehouse: Warehouse) -> None:
    warehouse.lines(*DAYS)
    done = _at_once(*(lambda: _load(warehouse) for _ in range(4)))
    assert sorted(one.rows for one in done) == [0, 0, 0, 5], done
    assert warehouse.copied() == {day: [2] for day in DAYS}


def test_loads_of_all_tables_at_once_make_the_schema_once(warehouse: Warehouse) -> None:
    for copy in COPIES:
        warehouse.write(copy.table, DAYS[0], DAYS[0], {str(copy.table.partitioned_by): DAYS[0]})
    done = _at_once(
        *(lambda copy=copy: load(warehouse.lake, copy) for copy in COPIES),
        lambda: load_calendar(calendar_days(DAYS[0], DAYS[-1], "US")),
    )
    assert [one.rows for one in done[:-1]] == [1] * len(COPIES), done
    assert done[-1] is None
    assert warehouse.query("SELECT count(*) FROM lake.calendar") == [(5,)]


def test_loads_while_the_lake_changes_end_with_the_latest_rows(warehouse: Warehouse) -> None:
    warehouse.lines(*DAYS, quantity=1)

    def change_and_load(number: int) -> int:
        rows_copied = 0
        for quantity in range(2, 6):
            warehouse.write(ORDER_LINES, DAYS[number], DAYS[number], _line(DAYS[number], quantity))
            rows_copied += _load(warehouse).rows
        return rows_copied

    done = _at_once(*(lambda number=number: change_and_load(number) for number in range(3)))
    assert all(isinstance(one, int) for one in done), done
    assert warehouse.copied() == {day: [5 if number < 3 else 1] for number, day in enumerate(DAYS)}
    assert _load(warehouse).rows == 0


def test_what_was_loaded_is_remembered_by_table(warehouse: Warehouse) -> None:
    assert loaded_versions() == {}
    warehouse.lines(*DAYS)
    done = _load(warehouse)
    load(warehouse.lake, COPY["orders"])
    assert loaded_versions() == {"order_lines": done.version, "orders": 0}


def test_what_a_crash_has_emptied_is_loaded_before_anything_is_made_of_it(warehouse: Warehouse) -> None:
    warehouse.lines(*DAYS)
    load(warehouse.lake, COPY["orders"])
    assert load_lost(warehouse.lake) == [copy.name for copy in COPIES if copy.name != "orders"]
    assert warehouse.query("SELECT count(*) FROM lake.order_lines") == [(len(DAYS),)]
    assert load_lost(warehouse.lake) == []
    warehouse.run("TRUNCATE lake.order_lines, lake.loaded")
    assert load_lost(warehouse.lake) == [copy.name for copy in COPIES]
    assert warehouse.query("SELECT count(*) FROM lake.order_lines") == [(len(DAYS),)]


def test_the_ends_of_time_can_be_copied(warehouse: Warehouse) -> None:
    table = COPY["customers"].table
    ends = {"registered_at": at("0001-01-01 00:00"), "registration_date": on("0001-01-01")}
    warehouse.write(table, DAYS[0], DAYS[0], {"captured_on": DAYS[0], "date_of_birth": on("9999-12-31"), **ends})
    # West of Greenwich the first instant of all has a date before the first of Python's.
    before_the_first = pl.col("registration_date").dt.offset_by("-1d")
    frame = rows(table, {"captured_on": DAYS[1], **ends}).with_columns(before_the_first)
    warehouse.lake.replace_dates([table], DAYS[1], DAYS[1], lambda _: [nw.from_native(frame.lazy())])
    assert load(warehouse.lake, COPY["customers"]).rows == 2
    found = warehouse.query("SELECT registration_date::text, date_of_birth::text FROM lake.customers ORDER BY 1")
    assert found == [("0001-01-01", "9999-12-31"), ("0001-12-31 BC", "1990-12-10")]


def test_a_warehouse_that_does_not_answer_may_answer_later(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAREHOUSE_DATABASE_URL", "postgresql://dbt:s3cr3t@127.0.0.1:1/warehouse")
    from orders_lakehouse.settings import settings

    settings.cache_clear()
    with pytest.raises(DatabaseUnavailableError, match="WAREHOUSE_DATABASE_URL") as raised:
        load(warehouse.lake, COPY["orders"])
    assert "s3cr3t" not in str(raised.value)


def test_the_calendar_is_replaced(warehouse: Warehouse) -> None:
    load_calendar(calendar_days(DAYS[0], DAYS[-1], "US"))
    load_calendar(calendar_days(on("2020-07-04"), on("2020-07-05"), "US"))
    found = warehouse.query("SELECT date, is_holiday, holiday_name FROM lake.calendar ORDER BY 1")
    assert found == [(on("2020-07-04"), True, "Independence Day"), (on("2020-07-05"), False, None)]


def test_every_copy_leaves_out_only_columns_that_its_table_has() -> None:
    for copy in COPIES:
        assert copy.without <= set(copy.table.columns), copy.name
        assert copy.partition in copy.types
        assert set(copy.table.key) <= set(copy.types)
    assert COPY["orders"].table is ORDERS


def test_dates_whose_facts_have_other_lines_than_curated_are_unbuilt(warehouse: Warehouse) -> None:
    warehouse.run("DROP SCHEMA IF EXISTS marts CASCADE")
    assert unbuilt_dates(warehouse.lake) == set()
    warehouse.lines(DAYS[0], DAYS[1])
    warehouse.write(ORDERS, DAYS[2], DAYS[2], {"order_date": DAYS[2]})
    # Before anybody has built them: whatever dates are cleansed.
    assert unbuilt_dates(warehouse.lake) == {DAYS[2]}
    facts = (
        f"SELECT to_char(day, 'YYYYMMDD')::int AS date_id FROM (VALUES (DATE '{DAYS[0]}'), ('{DAYS[2]}')) AS of (day)"
    )
    warehouse.run(f"CREATE SCHEMA marts; CREATE TABLE marts.fct_order_lines AS {facts}")
    assert unbuilt_dates(warehouse.lake) == {DAYS[1], DAYS[2]}
    warehouse.lines(DAYS[0], DAYS[2])
    assert unbuilt_dates(warehouse.lake) == set()
    warehouse.run("DROP SCHEMA marts CASCADE")
