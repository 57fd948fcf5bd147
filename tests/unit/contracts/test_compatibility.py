"""What a change of the contracts breaks, and that the contracts as they stand break nothing that was published."""

import copy
from typing import Any

import pytest

from orders_lakehouse.cli.contracts import published
from orders_lakehouse.contracts.compatibility import breaking_changes, broken_consumers, incompatible
from orders_lakehouse.contracts.document import documents
from orders_lakehouse.tables import TABLES
from orders_lakehouse.warehouse.copies import COPIES
from orders_lakehouse.warehouse.dbt_sources import columns_read_by_dbt

BEFORE = documents(TABLES)
ORDERS = "cleansed/orders"
NEXT = str(int(BEFORE[ORDERS]["version"]) + 1)


@pytest.fixture
def now() -> dict[str, Any]:
    """The contracts, to change them."""
    return copy.deepcopy(BEFORE)


def test_contracts_are_compatible_with_the_published_ones() -> None:
    assert [
        str(finding) for finding in incompatible(published(), documents(TABLES), columns_read_by_dbt(), TABLES)
    ] == []


def test_published_contracts_are_those_of_the_program() -> None:
    before, now = published(), documents(TABLES)
    stale = [path for path in {*before, *now} if before.get(path) != now.get(path)]
    assert stale == [], "publish them: lakehouse contracts --write"


class TestBreakingChanges:
    def test_additions_break_no_reader(self, now: dict[str, Any]) -> None:
        now[ORDERS]["columns"]["channel"] = {**now[ORDERS]["columns"]["shipped_at"], "type": "String"}
        now[ORDERS]["columns"]["status"] |= {"description": "Other words", "personal": True}
        now["curated/weekly_sales"] = now["curated/daily_sales"]
        assert breaking_changes(BEFORE, now) == []

    @pytest.mark.parametrize(
        ("path", "value", "told"),
        [
            (["columns", "status"], None, "column status was String, is gone"),
            (["columns", "status", "type"], "Int64", "type of column status was String, is Int64"),
            (["columns", "status", "nullable"], True, "column status was never null, is null at times"),
            (["columns", "status", "unit"], "cents", "unit of column status was None, is cents"),
            (["key"], ["order_id", "status"], "key was ['order_id'], is ['order_id', 'status']"),
            (["partitioned_by"], "captured_on", "partitioned_by was order_date, is captured_on"),
            (
                ["codes", "currency", "HRK"],
                None,
                "code HRK of currency was 2 decimals from 1994-05-30 to 2023-01-14, is not listed",
            ),
            (["codes", "currency", "KWD"], "2 decimals", "code KWD of currency was 3 decimals, is 2 decimals"),
            (["codes", "currency", "ZZZ"], "2 decimals", "code ZZZ of currency was not listed, is 2 decimals"),
        ],
    )
    def test_changes_readers_rely_on_need_a_new_version(
        self, now: dict[str, Any], path: list[str], value: Any, told: str
    ) -> None:
        *parents, last = path
        place = now[ORDERS]
        for name in parents:
            place = place[name]
        place[last] = value
        if value is None:
            del place[last]
        (change,) = breaking_changes(BEFORE, now)
        assert str(change) == f"{ORDERS}: {told}; raise the version of its contract to {NEXT}, or undo the change"
        assert change.breaks_shape == (path[0] != "codes")

        now[ORDERS]["version"] = NEXT
        assert breaking_changes(BEFORE, now) == []

    def test_column_that_is_renamed_is_gone(self, now: dict[str, Any]) -> None:
        now[ORDERS]["columns"]["state"] = now[ORDERS]["columns"].pop("status")
        assert [change.what for change in breaking_changes(BEFORE, now)] == ["column status"]

    def test_changed_rule_needs_a_version_and_breaks_no_reader(self, now: dict[str, Any]) -> None:
        rules = now[ORDERS]["rules"]
        rules |= {"status_not_in_list": "status is one of paid", "customer_id_missing": "customer_id is present"}
        del rules["ordered_at_in_future"]
        found = breaking_changes(BEFORE, now)
        assert [(change.what, change.breaks_shape) for change in found] == [
            ("rule status_not_in_list", False),
            ("rule ordered_at_in_future", False),
            ("rule customer_id_missing", False),
        ]
        assert (found[1].now, found[2].before, found[2].now) == ("no rule", "no rule", "customer_id is present")

    def test_version_that_goes_back_is_reported(self, now: dict[str, Any]) -> None:
        before = {**BEFORE, ORDERS: {**BEFORE[ORDERS], "version": "10"}}
        now[ORDERS]["version"] = "9"
        assert [str(change) for change in breaking_changes(before, now)] == [
            f"{ORDERS}: version was 10, is 9; versions only go up: raise it above the published one",
        ]


class TestBrokenConsumers:
    def test_removed_column_is_reported_with_all_readers(self, now: dict[str, Any]) -> None:
        # That of cleansed/products is another one, though it has the name.
        del now[ORDERS]["columns"]["currency"]
        now[ORDERS]["version"] = NEXT
        assert [str(finding) for finding in broken_consumers(BEFORE, now, columns_read_by_dbt(), TABLES)] == [
            "cleansed/orders has no column currency; dbt source lake.orders, cleansed/order_items, cleansed/payments, "
            "cleansed/shipments, cleansed/shipment_items and curated/order_lines need it"
        ]

    def test_column_renamed_downstream_is_needed(self, now: dict[str, Any]) -> None:
        del now["cleansed/customers"]["columns"]["full_name"]
        assert [str(finding) for finding in broken_consumers(BEFORE, now, {}, TABLES)] == [
            "cleansed/customers has no column full_name; curated/order_lines needs it"
        ]

    def test_reader_that_drops_the_column_does_not_need_it(self, now: dict[str, Any]) -> None:
        del now[ORDERS]["columns"]["shipped_at"]
        assert broken_consumers(BEFORE, now, {}, TABLES) == []
        for path in ("quarantine/orders", "raw/orders"):
            del now[path]["columns"]["shipped_at"]
        assert broken_consumers(BEFORE, now, {}, TABLES) == []

    def test_new_column_without_origin_is_reported_with_candidates(self, now: dict[str, Any]) -> None:
        for path in ("cleansed/payments", "curated/daily_sales"):
            now[path]["columns"]["fee"] = BEFORE["cleansed/payments"]["columns"]["amount"]
        assert [str(finding) for finding in broken_consumers(BEFORE, now, {}, TABLES)] == [
            "raw/payments or cleansed/orders has no column fee; cleansed/payments needs it",
            "curated/order_lines has no column fee; curated/daily_sales needs it",
        ]

    def test_table_that_is_gone_offers_nothing(self, now: dict[str, Any]) -> None:
        del now["curated/order_lines"]
        found = broken_consumers(BEFORE, now, {"a report": {"curated/order_lines": ["currency"]}}, TABLES)
        assert {finding.table for finding in found} == {"curated/order_lines"}
        assert found[0].consumers == ("a report", "curated/daily_sales", "curated/customer_profile")
        assert incompatible(BEFORE, now, {}, TABLES) == broken_consumers(BEFORE, now, {}, TABLES)

    def test_removed_table_without_readers_breaks_nothing(self, now: dict[str, Any]) -> None:
        del now["curated/daily_sales"]
        assert incompatible(BEFORE, now, columns_read_by_dbt(), TABLES) == []


def test_dbt_names_the_columns_of_its_copies_and_no_others() -> None:
    named = {path: sorted(columns) for tables in columns_read_by_dbt().values() for path, columns in tables.items()}
    assert named == {copy.table.path: sorted(copy.types) for copy in COPIES}
