"""A run's seconds are cut into parts that add up, each in the stage where it was spent."""

from typing import Any

import pytest

from bench.measure import DbtInvocation, Observed, numbers

START = 1_000.0
STAGES = {"raw__orders": "raw", "cleansed__orders": "cleansed", "marts": "marts", "orders_contract": "checks"}
PARTS = ("start_seconds", "event_seconds", "dbt_seconds", "work_seconds", "rest_seconds")


def event(
    at: float, took: float, kind: str, step: str | None = None, step_took: float | None = None, rows: int = 0
) -> Any:
    return [START + at, took, kind, step, step_took, rows]


def observed(**changes: Any) -> Observed:
    """Half a second of events before the first step at 10 s, raw for 4 s, cleansed for 5 s, the end at 30 s."""
    seen: dict[str, Any] = {
        "span": (START, START + 30),
        "events": [
            event(9, 0.5, "ASSET_MATERIALIZATION_PLANNED", "raw__orders"),
            event(12, 1, "ASSET_MATERIALIZATION", "raw__orders", rows=7),
            event(13, 0.5, "ASSET_MATERIALIZATION", "raw__orders", rows=3),
            event(14, 0.25, "STEP_SUCCESS", "raw__orders", 4.0),
            event(20, 0.25, "STEP_SUCCESS", "cleansed__orders", 5.0),
        ],
        "stages": STAGES,
    }
    return Observed(**{**seen, **changes})


def test_parts_add_up_to_the_whole() -> None:
    found = numbers(observed())
    assert found["seconds"] == 30
    assert found["start_seconds"] == pytest.approx(9.5)
    assert found["event_seconds"] == pytest.approx(2.5)
    assert found["dbt_seconds"] == 0
    assert found["work_seconds"] == pytest.approx(7.5)
    assert sum(found[part] for part in PARTS) == pytest.approx(30)
    assert found["events"] == 5


def test_stage_works_while_it_stores_no_events() -> None:
    raw = numbers(observed())["stages"]["raw"]
    assert (raw["seconds"], raw["event_seconds"], raw["work_seconds"]) == pytest.approx((4, 1.5, 2.5))
    assert raw["rows"] == 10


def test_stages_are_in_defined_order_and_an_unrun_one_is_empty() -> None:
    stages = numbers(observed())["stages"]
    assert list(stages) == ["raw", "cleansed", "marts", "checks"]
    assert stages["checks"]["seconds"] == 0
    assert stages["checks"]["peak_bytes"] is None


def test_dbt_time_runs_from_first_model_to_last_test() -> None:
    events = [
        event(4, 0.5, "LOG", "marts"),
        event(7, 1, "ASSET_MATERIALIZATION", "marts"),
        event(9.5, 1, "ASSET_MATERIALIZATION", "marts"),
        event(12, 0, "STEP_SUCCESS", "marts", 10.0),
    ]
    dbt = DbtInvocation(START + 3, (START + 6, START + 10), rows=9, relations=frozenset({"marts.fct_orders"}))
    found = numbers(
        observed(
            events=events,
            dbt=[dbt],
            table_bytes={"marts.fct_orders": 50, "lake.orders": 7},
        )
    )
    marts = found["stages"]["marts"]
    assert marts["work_seconds"] == pytest.approx(4)
    assert marts["event_seconds"] == pytest.approx(0.5 + 0.5)
    assert marts["dbt_seconds"] == pytest.approx(10 - 4 - 1)
    assert (marts["rows"], marts["bytes"]) == (9, 57)
    assert sum(found[part] for part in PARTS) == pytest.approx(30)


def test_steps_that_are_at_work_at_once_share_the_time() -> None:
    events = [
        event(12, 1, "ASSET_MATERIALIZATION", "raw__orders"),
        event(15, 1, "ASSET_MATERIALIZATION", "cleansed__orders"),
        # Its storing is a part of the time of the step that is still at work.
        event(16, 1, "STEP_SUCCESS", "raw__orders", 6.0),
        event(20, 0, "STEP_SUCCESS", "cleansed__orders", 6.0),
    ]
    found = numbers(observed(events=events))
    raw, cleansed = found["stages"]["raw"], found["stages"]["cleansed"]
    # raw from 10 to 16, cleansed from 14 to 20.
    assert (raw["seconds"], cleansed["seconds"]) == pytest.approx((5, 5))
    assert (raw["event_seconds"], cleansed["event_seconds"]) == pytest.approx((1, 0.5))
    assert found["event_seconds"] == pytest.approx(1.5)
    assert (found["start_seconds"], found["rest_seconds"]) == pytest.approx((10, 10))
    assert sum(found[part] for part in PARTS) == pytest.approx(30)


def test_bytes_belong_to_the_stage_that_writes_the_layer() -> None:
    stages = numbers(observed(lake_bytes={"raw": 10, "cleansed": 20, "quarantine": 5}))["stages"]
    assert (stages["raw"]["bytes"], stages["cleansed"]["bytes"]) == (10, 25)


def test_peak_of_a_stage_is_that_of_its_steps() -> None:
    memory = [(START + at, size) for at, size in ((5, 1), (11, 40), (13, 30), (14.5, 99), (17, 60))]
    found = numbers(observed(memory=memory, postgres_memory=[(START + 1, 7)]))
    assert found["stages"]["raw"]["peak_bytes"] == 40
    assert found["stages"]["cleansed"]["peak_bytes"] == 60
    assert found["peak_bytes"] == 99
    assert found["postgres_peak_bytes"] == 7


def test_run_without_steps_is_all_start() -> None:
    found = numbers(observed(events=[]))
    assert found["start_seconds"] == 30
    assert found["rest_seconds"] == 0
