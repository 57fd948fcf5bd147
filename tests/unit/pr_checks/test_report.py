"""The report of a pull request."""

from dataclasses import replace
from datetime import date

import polars as pl
import pytest

from pr_checks.contracts import differences
from pr_checks.difference import compare, moved, restated
from pr_checks.report import markdown
from tests.support.findings import CHECK, HOLDS, JUDGED, LINES, NOTHING, SALES


def test_change_without_effect_has_a_short_report() -> None:
    said = markdown(NOTHING)
    assert NOTHING.holds
    assert "**✅ 1 check: none fails. No table differs.**" in said
    assert "**Net sales are the same on every date.**" in said
    assert "1 table compared, 2 rows: no difference." in said
    assert "`fedcba9876` against `0123456789`, on the sample shop from 2017-01-01 to 2017-01-31." in said
    assert "nothing was built again" in said
    for absent in ("## Failures", "Quarantine", "<details>"):
        assert absent not in said


def test_changed_data_is_reported_and_no_failure() -> None:
    after = pl.DataFrame({"order_id": ["o1", "o3"], "total_price": [1, 5]}).with_columns(
        total_price=pl.when(order_id="o1").then(7).otherwise("total_price")
    )
    found = replace(
        NOTHING,
        reached={"curated": ["orders_lakehouse/curated/order_lines.py"]},
        made=("curated", "warehouse", "marts"),
        tables=[compare("curated/order_lines", LINES, after, ["order_id"])],
    )
    said = markdown(found)
    assert found.holds
    assert "1 of 1 table differs, in 3 rows." in said
    assert "- **curated** by `orders_lakehouse/curated/order_lines.py`" in said
    assert "| `curated/order_lines` | 2 | 2 | 1 | 1 | 1 |" in said
    assert "| o1 | total_price | 1 | 7 |" in said
    assert "| `total_price` | 3 | 12 |" in said


def test_failed_check_reports_place_finding_and_age() -> None:
    fails = {**HOLDS, "passed": False}
    found = {"asset": "cleansed/orders", "check_name": "orders_contract", "passed": False, "severity": "ERROR"}
    judged = pl.DataFrame(
        [
            {
                **found,
                "date": date(2017, 1, day),
                "expected": "no row breaks a rule",
                "found": "1 | 2 rows",
                "detail": None,
            }
            for day in range(1, 9)
        ],
        schema=JUDGED,
    )
    said = replace(NOTHING, checks=[fails], judged=judged)
    assert not said.holds
    (line,) = (line for line in markdown(said).splitlines() if "orders_contract" in line)
    dates = ", ".join(f"2017-01-0{day}" for day in range(1, 6))
    assert line == (
        f"| `cleansed/orders` orders_contract | ❌ | {dates} and 3 more | no row breaks a rule | 1 \\| 2 rows | held |"
    )
    warned = replace(NOTHING, checks=[{**fails, "severity": "WARN"}], judged=judged)
    assert warned.holds
    assert "0 hold, 1 warn, 0 fail." in markdown(warned)


def test_failed_step_and_broken_contract_are_failures() -> None:
    failed = replace(NOTHING, errors={"facts": "dbt failed:\nno such column"}, checks=[], made=("cleansed",))
    assert not failed.holds
    assert "- step `facts`: dbt failed: no such column" in markdown(failed)
    assert "Without a result: `cleansed/orders` orders_contract" in markdown(failed)
    broken = replace(NOTHING, breaks=["cleansed/orders has no column currency; dbt needs it"])
    assert not broken.holds
    assert "❌ 1 break of contracts." in markdown(broken)


def test_rows_that_change_sides_are_counted_by_reason() -> None:
    before = pl.DataFrame({"order_id": ["a", "b", "c"], "reasons": ["late, odd", "odd", "late"]})
    after = pl.DataFrame({"order_id": ["a", "c", "d"], "reasons": ["odd", "late, blank", "blank"]})
    found = compare("quarantine/orders", before, after, ["order_id"])
    assert sorted(moved([found]).rows()) == [
        ("orders", "blank", "c", "a reason, too"),
        ("orders", "blank", "d", "rejected now"),
        ("orders", "late", "a", "no longer a reason"),
        ("orders", "odd", "b", "passes now"),
    ]
    assert "| passes now | `orders` | `odd` | 1 | b |" in markdown(replace(NOTHING, tables=[found]))


def test_removed_or_unrun_check_is_reported() -> None:
    known = [
        CHECK,
        ("cleansed/orders", "stands_once"),
        ("raw/orders", "agrees_with_shop"),
        ("raw/orders", "raw_matches_source"),
        ("staging/stg_lake__orders", "not_null_stg_lake__orders_order_id"),
    ]
    said = markdown(replace(NOTHING, declared_before=known, declared=known[:1] + known[2:4]))
    gone = "`cleansed/orders` stands_once, `staging/stg_lake__orders` not_null_stg_lake__orders_order_id"
    assert f"Gone: {gone}.\n" in said
    # What a capture says of itself is not missed without one.
    assert "Without a result: `raw/orders` agrees_with_shop.\n" in said
    anew = markdown(replace(NOTHING, declared=known[:4], made=("raw",), reached={"raw": ["a.py"]}))
    assert "Without a result: `cleansed/orders` stands_once, `raw/orders` agrees_with_shop, `raw/orders` raw_m" in anew


def test_change_that_failed_to_build_has_no_data_report() -> None:
    said = markdown(
        replace(
            NOTHING,
            reached={"marts": ["dbt_project/models/marts/dim_date.sql"]},
            made=("marts",),
            checks=[],
            declared=[],
            errors={"dbt parse": "no such macro"},
            tables=None,
            contracts=None,
            models=None,
        )
    )
    assert "**❌ 1 step failed. Nothing was compared.**" in said
    assert "Nothing was built that could be compared." in said
    assert "- step `dbt parse`: no such macro" in said
    assert "The contracts of one side cannot be read" in said
    for absent in (
        "## Tables",
        "## Quarantine",
        "## dbt models",
        "the same",
        "No table",
        "Built again",
        "Gone",
        "Without",
    ):
        assert absent not in said


def test_table_not_built_after_a_failure_is_not_called_empty() -> None:
    rejected = pl.DataFrame({"order_id": ["a"], "reasons": ["late"]})
    tables = [
        compare("curated/order_lines", LINES, LINES, ["order_id"]),
        compare("marts/fct_order_lines", LINES, pl.DataFrame(), ["order_id"]),
        compare("quarantine/orders", rejected, rejected.clear(), ["order_id"]),
    ]
    failed = markdown(replace(NOTHING, tables=tables, errors={"facts": "dbt failed"}))
    assert "❌ 1 step failed. No table differs." in failed
    assert "not built or because the change empties them: `marts/fct_order_lines`, `quarantine/orders`." in failed
    assert "1 table compared, 2 rows: no difference." in failed
    assert "## Quarantine" not in failed
    meant = markdown(replace(NOTHING, tables=tables))
    assert "2 of 3 tables differ, in 3 rows." in meant
    assert "| passes now | `orders` | `late` | 1 | a |" in meant


def test_some_of_many_untracked_files_are_named() -> None:
    said = markdown(replace(NOTHING, untracked=[f"{number}.csv" for number in range(900)]))
    assert "left out: 0.csv, 1.csv, 2.csv, 3.csv, 4.csv and 895 more.\n" in said


def test_contracts_are_compared_in_words() -> None:
    column = {"type": "String", "nullable": True, "description": "Key", "unit": None, "personal": False}
    before = {
        "version": "1",
        "key": ["order_id"],
        "partitioned_by": None,
        "columns": {"order_id": column, "status": column},
        "rules": {"late": "not late", "odd": "not odd"},
    }
    after = {
        **before,
        "version": "2",
        "columns": {"order_id": {**column, "nullable": False}, "state": column},
        "rules": {"late": "not later"},
    }
    assert differences({"t": before}, {"t": before}) == []
    assert differences({"t": before, "gone": before}, {"t": after, "new": after}) == [
        "`new` is new.",
        "`gone` is gone.",
        "`t`: version 1 → 2.",
        "`t`: column `order_id`: may be null → not null.",
        "`t`: column `status` is gone (String, may be null: Key).",
        "`t`: column `state` is new (String, may be null: Key).",
        "`t`: rule `late`: not late → not later.",
        "`t`: rule `odd` is gone (not odd).",
    ]


@pytest.mark.parametrize(
    ("facets", "told"),
    [
        ({"unit": "currency"}, "unit none → currency"),
        ({"personal": True}, "not personal → personal"),
        ({"type": "Int64", "description": "Number"}, "type String → Int64; description Key → Number"),
    ],
)
def test_changed_column_of_a_contract_shows_only_differences(facets: dict[str, object], told: str) -> None:
    column = {"type": "String", "nullable": True, "description": "Key", "unit": None, "personal": False}
    table = {"version": "1", "key": [], "partitioned_by": None, "rules": {}}
    before, after = ({**table, "columns": {"order_id": of}} for of in (column, {**column, **facets}))
    assert differences({"t": before}, {"t": after}) == [f"`t`: column `order_id`: {told}."]


def test_headline_says_on_how_many_dates_net_sales_change() -> None:
    after = SALES.with_columns(
        net=pl.when(currency="USD", net=300).then(pl.lit("300.24")).otherwise("net").cast(pl.Decimal(38, 2))
    )
    said = markdown(replace(NOTHING, restated=restated(SALES, after, "currency", "net")))
    headline, verdict = said.splitlines()[2:5:2]
    assert headline == "**Net sales are restated on 1 of 2 dates, +0.06 % (+0.24) in USD**"
    assert verdict.startswith("**✅ 1 check")
    without = restated(SALES, pl.DataFrame(), "currency", "net")
    assert without.select("currency", "dates", "changed", "before").rows() == [("EUR", 1, 1, 5), ("USD", 2, 2, 400)]


def test_failure_of_the_base_is_no_finding_of_the_change() -> None:
    fails = {**HOLDS, "passed": False}
    said = markdown(replace(NOTHING, checks=[fails], checks_before=[fails]))
    assert "In the base, too: `cleansed/orders` orders_contract." in said
    warned = {**fails, "severity": "WARN"}
    assert "| warned |" in markdown(replace(NOTHING, checks=[fails], checks_before=[warned]))


def test_largest_changes_are_shown_first() -> None:
    rows = pl.DataFrame({"order_id": [f"o{number}" for number in range(20)], "total_price": [100] * 20})
    after = rows.with_columns(total_price=pl.when(order_id="o19").then(900).otherwise(pl.col("total_price") + 1))
    said = markdown(replace(NOTHING, tables=[compare("curated/order_lines", rows, after, ["order_id"])]))
    cells = [line for line in said.splitlines() if "| total_price |" in line]
    assert cells[0] == "| o19 | total_price | 100 | 900 |"
