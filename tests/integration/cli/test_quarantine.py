"""What the terminal shows of rows in quarantine: reasons, single rows, files for those who correct them."""

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import write_deltalake

from orders_lakehouse.cli.backfill_request import CAPTURE_JOB, DERIVE_JOB
from orders_lakehouse.contracts.personal import MASK
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.customers import CUSTOMERS, RAW_CUSTOMERS
from orders_lakehouse.entities.order_items import ORDER_ITEMS, RAW_ORDER_ITEMS
from orders_lakehouse.entities.orders import ORDERS, RAW_ORDERS
from orders_lakehouse.instance.outcome import CheckOutcome, Outcome
from orders_lakehouse.pipeline.check_results import record
from orders_lakehouse.pipeline.waivers import configured_waivers, dates_to_judge_again
from orders_lakehouse.tables import CHECK_RESULTS, KEY_DATES, QUARANTINE_OF, RAW_OF
from tests.support.printed import write
from tests.support.rows import VALID, at, on
from tests.support.terminal import Command

SECRETS = ("Ada Lovelace", "nobody at nowhere")
VERDICT = {"order_date": on("2020-03-01"), "contract_version": "1", "versions": 1}


def reject(lake: Lake, table: Table, *values: dict[str, Any]) -> None:
    quarantine = QUARANTINE_OF[table.name]
    rejected = [{**VALID[RAW_OF[table.name].path], **VERDICT, **row} for row in values]
    there = [{name: row[name] for name in quarantine.columns} for row in rejected]
    write_deltalake(lake.open(quarantine), pl.DataFrame(there, schema=quarantine.schema), mode="append")


@pytest.fixture(autouse=True)
def some_rows(lake: Lake) -> None:
    line = {"order_id": "o'1", "unit_price": "-3.5000", "reasons": "unit_price_negative, total_price_negative"}
    reject(
        lake,
        ORDER_ITEMS,
        {**line, "line_number": 1},
        {**line, "line_number": 2, "captured_at": at("2020-03-01 07:00"), "order_date": on("2020-03-04")},
        {"line_number": 3, "reasons": "order_unknown", "order_id": "o3"},
    )
    reject(lake, CUSTOMERS, {"email": SECRETS[1], "reasons": "email_malformed"})
    write(lake, RAW_ORDER_ITEMS, {"order_id": "o'1", "quantity": "9"}, {"order_id": "o'1", "unit_price": "-3.5000"})
    entry = {"table_name": "order_items", "key": "o'1", "order_id": "o'1", "order_date": None}
    index = pl.DataFrame([{**entry, "captured_on": on("2020-03-02")}], schema=KEY_DATES.schema)
    write_deltalake(lake.open(KEY_DATES), index, mode="append")


def lines_of(command: Command, *arguments: str) -> list[str]:
    status, output, errors = command("quarantine", *arguments)
    assert (status, errors) == (0, "")
    return [line.rstrip() for line in output.splitlines()]


def test_reasons_are_listed_with_since_when_and_what_to_do(command: Command) -> None:
    told = lines_of(command, "list")
    assert max(map(len, told)) <= 80
    lines = [line.split() for line in told]
    assert ["unit_price_negative", "2", "2020-03-01", "2020-03-04", "2020-03-01", "fix,", "waive"] in lines
    assert ["order_unknown", "1", "2020-03-01", "2020-03-01", "2020-03-02", "wait"] in lines


def test_list_has_a_json_form(command: Command) -> None:
    status, output, _ = command("quarantine", "list", "--json", "--reason", "order_unknown")
    assert status == 0
    assert json.loads(output) == {
        "reasons": [
            {
                "table": "order_items",
                "reason": "order_unknown",
                "rows": 1,
                "dates": 1,
                "first": "2020-03-01",
                "last": "2020-03-01",
                "since": "2020-03-02T13:00:00+00:00",
                "demand": "The order has been captured",
                "to_do": "wait",
                "by_itself": True,
            }
        ],
        "waivers": [],
    }


@pytest.mark.parametrize(
    ("filters", "rows"),
    [
        (["--table", "order_items"], [2, 2, 1]),
        (["--table", "quarantine.customers"], [1]),
        (["--date", "2020-03-04"], [1, 1]),
        (["--date", "2020-03-04", "--reason", "unit_price_negative"], [1]),
        (["--table", "orders"], []),
    ],
)
def test_list_filters_select_rows(command: Command, filters: list[str], rows: list[int]) -> None:
    _, output, _ = command("quarantine", "list", "--json", *filters)
    assert [row["rows"] for row in json.loads(output)["reasons"]] == rows


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["list", "--table", "order_lines"], "no table 'order_lines' with a quarantine; the tables are customers"),
        (["list", "--reason", "odd"], "there is no reason 'odd'; the reasons are amount_missing"),
        (["show", "orders", "o9"], "'o9' is neither in quarantine/orders nor in cleansed/orders; expected order_id"),
        (["show", "orders", "o1"], "'o1' is not in quarantine: it is in cleansed/orders on 2020-03-02"),
        (["export", ".", "--table", "orders"], "no selected row is in quarantine"),
    ],
)
def test_unknown_argument_is_refused(command: Command, lake: Lake, arguments: list[str], said: str) -> None:
    write(lake, ORDERS, {})
    status, output, errors = command("quarantine", *arguments)
    assert (status, output) == (1, "")
    assert said in errors


def test_row_is_shown_with_values_history_place_and_next_step(command: Command) -> None:
    lines = lines_of(command, "show", "order_items", "o'1 / 1")
    assert lines[:6] == [
        "order_items o'1 / 1, 2020-03-01, rejected by version 1 of its contract",
        "  unit_price_negative: unit_price is at least 0",
        "    unit_price is '-3.5000'",
        "  total_price_negative: total_price is at least 0",
        "    quantity is '2'",
        "    unit_price is '-3.5000'",
    ]
    assert "  SELECT * FROM shop.order_items WHERE order_id = 'o''1' AND line_number = 1;" in lines
    history = lines.index("In raw: 2 versions")
    assert lines[history + 1].split() == ["updated_at", "captured_at", "quantity", "unit_price"]
    assert any(line.endswith("backfill 2020-03-01 2020-03-01 --job derive_dates_job") for line in lines)
    assert 'key = "o\'1 / 1"' in lines


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("order_quarantined", ["Why the order is left out:", "quarantine show orders 'o 3'"]),
        ("order_before_start", ["Why the order is left out:", "quarantine show orders 'o 3'"]),
    ],
)
def test_row_waiting_for_its_order_is_advised_to_wait(
    command: Command, lake: Lake, reason: str, said: list[str]
) -> None:
    reject(lake, ORDER_ITEMS, {"line_number": 4, "reasons": reason, "order_id": "o 3"})
    lines = lines_of(command, "show", "order_items", "o 3 / 4")
    begin = lines.index("It needs no correction itself: it returns with its order, o 3.")
    assert [line.strip().partition("lakehouse ")[2] or line for line in lines[begin + 1 :]] == said
    assert not any("backfill" in line for line in lines)


def test_personal_values_are_shown_when_asked_for(command: Command, lake: Lake) -> None:
    write(lake, RAW_CUSTOMERS, {"email": SECRETS[1]}, {"email": "a@example.org"})
    told = "\n".join(lines_of(command, "show", "customers", "c1"))
    assert f"email is '{MASK}'" in told
    assert not any(secret in told for secret in (*SECRETS, "a@example.org"))
    told = "\n".join(lines_of(command, "show", "customers", "c1", "--unmasked"))
    assert all(secret in told for secret in (*SECRETS, "a@example.org"))


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_rows_are_exported_with_their_demands(command: Command, tmp_path: Path, form: str) -> None:
    folder = tmp_path / "to fix"
    told = lines_of(command, "export", str(folder), "--format", form)
    assert [line.rpartition("/")[2] for line in told] == [f"customers.{form}: 1 row", f"order_items.{form}: 3 rows"]
    read = {"csv": pl.read_csv, "json": pl.read_json, "parquet": pl.read_parquet}[form]
    found = read(folder / f"order_items.{form}").to_dicts()
    assert [(row["order_id"], row["line_number"]) for row in found] == [("o'1", 1), ("o3", 3), ("o'1", 2)]
    assert found[0]["demanded"] == "unit_price is at least 0; total_price is at least 0"
    assert float(found[0]["unit_price"]) == -3.5
    (customer,) = read(folder / f"customers.{form}").to_dicts()
    assert (customer["full_name"], customer["email"], customer["city"]) == (MASK, MASK, "London")


WAIVERS = """
[[waiver]]
table = "order_items"
rule = "{rule}"
key = "{key}"
reason = "Goodwill"
owner = "shop"
granted = 2019-09-01
expires = {expires}
"""


@pytest.mark.parametrize(
    ("rule", "key", "expires", "state", "rows", "judged_otherwise"),
    [
        ("discount_negative", "o4 / 1", "2020-03-02", "expired", 1, []),
        ("discount_negative", "o4 / 1", "2020-03-01", "stale", 0, ["2020-03-02"]),
        ("quantity_not_positive", "o4 / 1", "2020-03-02", "stale", 0, ["2020-03-02"]),
        ("unit_price_negative", "o'1 / 1", "2020-03-02", "to replay", 0, ["2020-03-02"]),
        ("unit_price_negative", "o'1 / 1", "2020-03-01", "expired", 0, ["2020-03-02"]),
        ("discount_negative", "o'1 / 1", "2020-03-02", "rejected otherwise", 0, ["2020-03-02"]),
        # Captured, and not derived yet: found by the index.
        ("discount_negative", "o5 / 1", "2020-03-02", "stale", 0, ["2020-02-29", "2020-03-02"]),
    ],
)
def test_waivers_are_listed_with_the_rows_they_match(
    command: Command,
    lake: Lake,
    tmp_path: Path,
    rule: str,
    key: str,
    expires: str,
    state: str,
    rows: int,
    judged_otherwise: list[str],
) -> None:
    path = tmp_path / "ours.toml"
    path.write_text(WAIVERS.format(rule=rule, key=key, expires=expires))
    discount = {"discount": Decimal("-1.00")}
    write(lake, ORDER_ITEMS, {"order_id": "o4", **discount}, {"order_id": "o5", "line_number": 2})
    write(lake, RAW_ORDERS)
    dated = {"captured_on": on("2020-03-02"), "key": "o5", "order_id": "o5"}
    index = [
        {**dated, "table_name": "orders", "order_date": on("2020-02-29")},
        {**dated, "table_name": "order_items", "order_date": None},
    ]
    write_deltalake(lake.open(KEY_DATES), pl.DataFrame(index, schema=KEY_DATES.schema), mode="append")
    status, output, _ = command("quarantine", "list", "--json", LAKEHOUSE_WAIVERS=str(path))
    (found,) = json.loads(output)["waivers"]
    assert (status, found["state"], found["rows"], found["owner"]) == (0, state, rows, "shop")
    dates = dates_to_judge_again(lake, ORDER_ITEMS, configured_waivers(lake))
    assert dates == [date.fromisoformat(day) for day in judged_otherwise]
    lines = lines_of(command, "list")
    assert f"order_items {key}: {rule}" in lines
    assert f"  until {expires}, shop: Goodwill" in lines


def test_requested_waiver_file_must_exist(command: Command, tmp_path: Path) -> None:
    status, _, errors = command("quarantine", "list", LAKEHOUSE_WAIVERS=str(tmp_path / "none.toml"))
    assert status == 1
    assert "none.toml cannot be read" in errors


def test_replay_runs_bad_dates_last_and_continues_after_failure(
    command: Command, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = {"passed": False, "severity": "ERROR", "run_id": "before", "evaluated_at": at("2020-03-05 00:00")}
    bad = {**judged, "asset": "cleansed/order_items", "check_name": "rejected_share", "date": on("2020-03-01")}
    # It is unusual, and stops nothing.
    unusual = {**judged, "asset": "curated/daily_sales", "check_name": "volume_as_usual", "date": on("2020-03-04")}
    record(lake, pl.DataFrame([bad, unusual], schema=CHECK_RESULTS.schema))
    ran = []

    def run_span(job: str, first: date, last: date, _: object) -> Outcome:
        ran.append((job, f"{first:%m-%d}", f"{last:%m-%d}"))
        if job == CAPTURE_JOB:
            return Outcome("r1", errors={"raw__orders": "the shop is closed"})
        broken = {("cleansed/order_items", "rejected_share"): CheckOutcome(False, "ERROR", ("2020-03-01",))}
        is_broken = first <= on("2020-03-01") <= last
        return Outcome("r2", success=not is_broken, checks=broken if is_broken else {})

    monkeypatch.setattr("orders_lakehouse.cli.quarantine.replay.run_span", run_span)
    status, output, errors = command("quarantine", "replay")
    assert ran == [(CAPTURE_JOB, "03-02", "03-02"), (DERIVE_JOB, "03-04", "03-04"), (DERIVE_JOB, "03-01", "03-01")]
    assert "Rows in quarantine" in output
    assert status == 1
    assert errors.splitlines() == [
        "Error: 2 of 3 runs failed.",
        "  capture_changes_job for 2020-03-02, run r1",
        "    raw/orders: the shop is closed",
        "  derive_dates_job for 2020-03-01, run r2",
        "    check rejected_share on cleansed/order_items failed for 1 date: 2020-03-01",
        "`make dev` shows the details of a run; once the cause is fixed, replay again.",
    ]


def test_empty_lake_stays_empty(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = tmp_path / "empty"
    monkeypatch.setenv("LAKE_URL", str(empty))
    assert lines_of(command, "list") == ["Nothing is in quarantine."]
    assert lines_of(command, "replay") == [
        "No such row is in quarantine, and no waiver changes a date: nothing to derive."
    ]
    assert not empty.exists()
