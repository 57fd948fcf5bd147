"""Medians, verdicts, and the Markdown of a result and of a comparison."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import publish
from bench.report import Spread, comparison, markdown, verdict
from tests.support.bench_results import counted, result, rival, run


@pytest.mark.parametrize(
    ("values", "expected"),
    [([3.0, 1.0, 2.0], (2.0, 1.0, 3.0)), ([4.0, 1.0], (2.5, 1.0, 4.0)), ([5.0], (5.0, 5.0, 5.0))],
)
def test_median_stands_between_the_lowest_and_the_highest(
    values: list[float], expected: tuple[float, float, float]
) -> None:
    spread = Spread.of(values)
    assert (spread.median, spread.low, spread.high) == expected


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ([10, 10.5, 11], [10.1, 11, 11.4], ""),
        ([10, 10.5, 11], [12.5, 13, 14], "slower"),
        ([10, 10.5, 14], [12.5, 13, 14], "slower?"),
        ([12.5, 13, 14], [10, 10.5, 11], "faster"),
        ([12.5, 13, 14], [10, 10.5, 12.7], "faster?"),
        ([10], [20], "slower?"),
        ([0, 0, 0], [0, 0, 0], ""),
    ],
)
def test_verdict_is_sure_only_when_the_runs_lie_apart(before: list[float], now: list[float], expected: str) -> None:
    assert verdict(Spread.of(before), Spread.of(now)) == expected


def test_result_shows_medians_spread_and_rates_by_work() -> None:
    text = markdown(result(4.0, 3.0, 8.0))
    assert "## sample-1x" in text
    assert "median of 3 runs" in text
    assert "Fast, 2 cores, 8 GiB, Linux 6. Python 3.11.7, polars 2.1.0." in text
    assert "### year: 2017-01-01 to 2017-12-30" in text
    assert "| raw | 4.0 (3.0 to 8.0) | 2.0 | 2.0 | 0.0 | 3,000 | 1,500 | 2.5 | 700 |" in text
    assert "| checks | 0.0 | 0.0 | 0.0 | 0.0 | 0 |  | 0.0 | 0 |" in text
    assert "| Dagster's events | 2.0 (1.5 to 4.0) | 33 % |" in text
    assert "| in all | 6.0 (5.0 to 10.0) |  |" in text
    assert "1,234 events. Peak memory: the run's processes 800 MB (800 to 800), Postgres 90 MB." in text


def test_comparison_shows_the_ratio_of_each_stage() -> None:
    text = comparison(result(4.0, 3.9, 4.1), result(6.0, 5.9, 6.1))
    assert "against 2026-01-02, commit abc1234" in text
    assert "Not the same" not in text
    assert "| raw | 4.0 (3.9 to 4.1) | 6.0 (5.9 to 6.1) | 1.50 | slower |" in text
    assert "| checks | 0.0 | 0.0 |  |  |" in text
    assert "| in all | 6.0 (5.9 to 6.1) | 8.0 (7.9 to 8.1) | 1.33 | slower |" in text


def test_comparison_names_differing_conditions() -> None:
    now = copy.deepcopy(result(4.0))
    now["machine"]["cores"] = 8
    now["versions"]["polars"] = "2.2.0"
    now["work"]["year"]["to"] = "2017-06-30"
    text = comparison(result(4.0), now)
    assert (
        "Not the same: cores (was 2, is 8); polars (was 2.1.0, is 2.2.0); "
        "dates of year (was 2017-01-01 to 2017-12-30, is 2017-01-01 to 2017-06-30)." in text
    )


def test_new_stage_has_no_comparison() -> None:
    before = result(4.0)
    del before["work"]["year"]["runs"][0]["stages"]["checks"]
    assert "| checks |  | 0.0 |  | new |" in comparison(before, result(4.0))


def test_first_result_is_stored_and_later_one_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = result(4.0, 3.9, 4.1), result(6.0, 5.9, 6.1)
    stored, page = tmp_path / "sample-1x.json", tmp_path / "README.md"

    publish(first, tmp_path, save=False)
    assert "against" not in capsys.readouterr().out
    assert json.loads(stored.read_text()) == first
    publish(second, tmp_path, save=False)
    assert "| 1.50 | slower |" in capsys.readouterr().out
    assert json.loads(stored.read_text()) == first
    publish(second, tmp_path, save=True)
    assert "| 1.50 | slower |" in capsys.readouterr().out
    assert json.loads(stored.read_text()) == second
    assert "## Sizes" not in page.read_text()
    publish({**first, "name": "given"}, tmp_path, save=False)
    assert [line for line in page.read_text().splitlines() if line.startswith("## ")] == ["## given", "## sample-1x"]


def test_outside_observations_are_shown_where_present() -> None:
    told = result(4.0)
    assert "CPU" not in markdown(told)
    told["work"]["year"]["runs"] = [counted(run) for run in told["work"]["year"]["runs"]]
    assert (
        "Postgres 90 MB. Proportional, 600 MB. 3.0 s of CPU, and 1.0 s in Postgres. 2 MB written. "
        "67 % of the time outside of the work." in markdown(told)
    )


def beside_rivals(ours: float, theirs: float) -> dict[str, Any]:
    told = result(ours, ours + 2)
    year = told["work"]["year"]
    year["runs"] = [counted(run) for run in year["runs"]]
    runs = [rival(theirs, start=0.5), rival(theirs, start=0.5)]
    told["rivals"] = {"bare": {"from": year["from"], "to": year["to"], "runs": runs}}
    return told


def test_year_is_shown_beside_its_rivals() -> None:
    page = markdown(beside_rivals(4.0, 2.0))
    # Of the runs, 6 and 8 s in all; of these 2 s of start, and half of the stage's seconds are events.
    assert "| lakehouse | 7.0 (6.0 to 8.0) | 2.5 (2.0 to 3.0) | 4.0 | 800 |  |  |  |" in page
    assert "| bare script | 2.0 | 1.5 | 2.0 | 400 | 3.50 | 1.67 | 2.00 |" in page
    assert "bare script: lake 1.5 s." in page
    assert "rivals" not in markdown(result(4.0))


def test_year_that_falls_behind_its_rival_is_marked() -> None:
    text = comparison(beside_rivals(4.0, 4.0), beside_rivals(8.0, 4.0))
    assert "### beside bare script: the year took 1.75 times as long, takes 2.75 slower" in text
    assert "### beside" not in comparison(result(4.0), beside_rivals(8.0, 4.0))


def test_skewed_shop_is_shown_by_line_and_compared() -> None:
    skewed = {"date": "2017-11-24", "times": 50, "order_lines": 20_000, "order_lines_of_date": 9_000}
    told = {**result(4.0), "skewed": {**skewed, "runs": [run(10.0)]}}
    page = markdown(told)
    assert "### skewed: 50 times the orders on 2017-11-24" in page
    assert "The date has 9,000 lines." in page
    assert "| even | 10,000 | 6.0 | 600.0 | 200.0 | 800 |" in page
    assert "| skewed | 20,000 | 12.0 | 600.0 | 250.0 | 800 |" in page
    slower = {**result(4.0), "skewed": {**skewed, "runs": [run(20.0)]}}
    assert "### skewed\n" in comparison(told, slower)
    assert "| in all | 12.0 | 22.0 | 1.83 | slower? |" in comparison(told, slower)


def test_delay_of_the_daemon_is_shown_and_compared() -> None:
    followed = {**result(10.0), "follow_seconds": [40.0, 44.0, 48.0]}
    assert "with the daemon: 44.0 (40.0 to 48.0) s." in markdown(followed)
    assert "follow" not in markdown(result(10.0))
    slower = {**result(10.0), "follow_seconds": [60.0, 62.0, 64.0]}
    assert "### follow: before 44.0 (40.0 to 48.0) s, now 62.0 (60.0 to 64.0) s, ratio 1.41 slower" in comparison(
        followed, slower
    )
    assert "### follow" not in comparison(result(10.0), slower)


def test_cost_of_checks_is_shown() -> None:
    both = result(23.0)
    both["work"]["unchecked"] = {**both["work"]["year"], "runs": [run(18.0)]}
    assert "The year with all checks 25.0 s, without 20.0 s: +25 %." in markdown(both)
    assert "### checks" not in markdown(result(23.0))


def test_empty_dates_are_compared_beside_their_absence() -> None:
    works = {
        "own dates": {"from": "2025-01-01", "to": "2026-12-01", "partitions": 700, "runs": [run(8.0)]},
        "empty dates before": {"from": "1999-07-16", "to": "2026-12-01", "partitions": 10_000, "runs": [run(10.0)]},
    }
    told = {**result(10.0), "empty_dates": works}
    assert "empty dates before: 1999-07-16 to 2026-12-01, 10,000 partitions." in markdown(told)
    assert "### empty dates: their ratio was 1.20, is 1.20" in comparison(told, told)


def test_changed_date_is_compared_for_short_and_long_history() -> None:
    dates = {"from": "2017-01-01", "to": "2017-12-31", "order_lines": 1_000}
    histories = {
        "short": {**dates, "runs": [run(8.0)]},
        "long": {**dates, "from": "2008-01-13", "order_lines": 10_000, "runs": [run(10.0)]},
    }
    told = {**result(10.0), "history": histories}
    said = markdown(told)
    assert "short: 2017-01-01 to 2017-12-31, 1,000 lines" in said
    assert "| in all | 10.0 | 12.0 | 1.20 | slower? |" in said
    worse = {**told, "history": {**histories, "long": {**histories["long"], "runs": [run(13.0)]}}}
    assert "### history: the long one's ratio was 1.20, is 1.50" in comparison(told, worse)
    assert "### history" not in markdown(result(10.0))
