"""Which dates a waiver of a rule that leaves a value out makes worth deriving again."""

from pathlib import Path

import narwhals as nw

from orders_lakehouse.contracts.waivers import Waiver
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.customers import CUSTOMERS
from orders_lakehouse.pipeline.waivers import State, dates_to_judge_again, waiver_statuses
from tests.support.rows import at, on, rows

DAY = on("2020-03-02")
RULE = "country_code_not_iso_3166"


def _waiver(key: str) -> Waiver:
    return Waiver("customers", RULE, key, "An embassy", "shop", on("2020-01-01"), DAY, at("2020-03-03 00:00"))


def _lake(folder: Path, **customer: str | None) -> Lake:
    lake = Lake(str(folder), "UTC")
    lake.replace_dates([CUSTOMERS], DAY, DAY, lambda _: [nw.from_native(rows(CUSTOMERS, customer).lazy())])
    return lake


def test_omitted_value_returns_once_its_rule_is_waived(tmp_path: Path) -> None:
    lake = _lake(tmp_path, country_code=None, warnings=RULE)
    assert dates_to_judge_again(lake, CUSTOMERS, [_waiver("c1")]) == [DAY]
    assert [standing.state for standing in waiver_statuses(lake, [_waiver("c1")], DAY)] == [State.TO_REPLAY]


def test_value_kept_by_a_waiver_goes_once_it_is_withdrawn(tmp_path: Path) -> None:
    lake = _lake(tmp_path, country_code="XX")
    assert dates_to_judge_again(lake, CUSTOMERS, [_waiver("c1")]) == []
    assert [standing.state for standing in waiver_statuses(lake, [_waiver("c1")], DAY)] == [State.IN_FORCE]
    assert dates_to_judge_again(lake, CUSTOMERS, []) == [DAY]


def test_row_without_the_warning_does_not_wait(tmp_path: Path) -> None:
    lake = _lake(tmp_path, warnings="email_malformed")
    assert dates_to_judge_again(lake, CUSTOMERS, [_waiver("c1")]) == []
