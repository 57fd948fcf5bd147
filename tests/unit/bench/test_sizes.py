"""How cost grows with size: the exponent, the table and the plot over stored results."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bench import sizes
from bench.__main__ import publish, publish_turns
from tests.support.bench_results import counted, result, rival, run

SVG = "{http://www.w3.org/2000/svg}"


def of_size(copies: int, seconds: float, *, date: float = 8.0, peak: int = 800_000_000) -> dict[str, Any]:
    """A result of the sample shop, whose year takes so many seconds of a stage and two of start."""
    told = result(seconds)
    runs = [{**counted(run(seconds)), "peak_bytes": peak}]
    told["work"]["year"]["runs"] = runs
    told["work"]["one date"] = {"from": "2017-12-31", "to": "2017-12-31", "runs": [counted(run(date))]}
    told["work"]["changed lines"] = {"from": "2017-12-03", "to": "2017-12-03", "runs": [counted(run(date / 4 + 1))]}
    told["rivals"] = {"bare": {"from": "2017-01-01", "to": "2017-12-30", "runs": [rival(seconds / 2)]}}
    return {**told, "name": f"sample-{copies}x", "copies": copies, "shop": {"order_items": 1_000_000 * copies}}


@pytest.mark.parametrize(
    ("points", "expected"),
    [([(1, 3), (10, 30)], 1.0), ([(1, 1), (4, 8)], 1.5), ([(1, 5), (7, 5), (9, 5)], 0.0)],
)
def test_exponent_is_the_slope_of_the_logarithms(points: list[tuple[float, float]], expected: float) -> None:
    assert sizes.exponent(points) == pytest.approx(expected)


def test_sizes_are_of_the_whole_sample_smallest_first() -> None:
    others = [{**of_size(3, 1), "name": name} for name in ("given", "sample-1x-2017-01-01-2017-01-05")]
    found = sizes.of_sizes([of_size(20, 1), *others, of_size(5, 1)])
    assert [one["name"] for one in found] == ["sample-5x", "sample-20x"]


def test_sizes_are_shown_with_their_exponents() -> None:
    page = sizes.markdown([of_size(1, 8.0), of_size(10, 98.0, date=12.0, peak=1_200_000_000)])
    assert "| 1 | 1,000,000 | 10.0 | 4.0 | 4.0 | 100,000 | 800 | 10.0 | 1.00 | 5.0 | 1.00 |" in page
    assert "| 10 | 10,000,000 | 100.0 | 49.0 | 4.0 | 100,000 | 1,200 | 14.0 | 1.40 | 6.0 | 1.20 |" in page
    assert "everything counted 1.00, seconds of work 1.09, net of starts and events 1.09, seconds of CPU 0.00." in page
    assert "Peak memory is 1.50 times as high at 10 times the size." in page
    assert "Not the same" not in page


def test_sizes_that_were_not_measured_alike_say_so() -> None:
    other = of_size(5, 40.0)
    other["machine"]["cores"], other["commit"] = 8, "def5678"
    page = sizes.markdown([of_size(1, 8.0), other])
    assert "sample-5x beside sample-1x: cores (was 2, is 8); commit (was abc1234, is def5678)." in page


def test_work_missing_from_the_smallest_size_has_no_ratio() -> None:
    older = of_size(1, 8.0)
    del older["work"]["changed lines"]
    page = sizes.markdown([older, of_size(10, 98.0)])
    assert "| 800 | 10.0 | 1.00 |  |  |" in page
    assert "| 800 | 10.0 | 1.00 | 5.0 |  |" in page


def test_changed_lines_in_turns_are_compared_turn_by_turn() -> None:
    # Each takes two seconds of start besides, and four of CPU.
    runs = {"1": [counted(run(8.0)), counted(run(18.0))], "10": [counted(run(9.0)), counted(run(28.0))]}
    turns = {"date": "2026-01-01", "commit": "abc", "from": "2017-12-01", "to": "2017-12-02", "runs": runs}
    page = sizes.markdown([of_size(1, 8.0), of_size(10, 98.0)], [turns])
    assert "### Changed lines of a date, in turns: dates from 2017-12-01 to 2017-12-02" in page
    assert "| 1 | 15.0 (10.0 to 20.0) | 1.00 (1.00 to 1.00) | 4.0 (4.0 to 4.0) |" in page
    assert "| 10 | 20.5 (11.0 to 30.0) | 1.30 (1.10 to 1.50) | 4.0 (4.0 to 4.0) |" in page
    assert "in turns" not in sizes.markdown([of_size(1, 8.0), of_size(10, 98.0)])


def test_results_without_cpu_have_no_cpu_exponent() -> None:
    older = of_size(1, 8.0)
    for measured in older["work"].values():
        for one in measured["runs"]:
            del one["cpu_seconds"]
    assert "seconds of CPU" not in sizes.markdown([older, of_size(5, 40.0)])


def test_plot_has_a_line_for_lakehouse_and_each_rival() -> None:
    drawn = ElementTree.fromstring(sizes.plot([of_size(1, 8.0), of_size(5, 48.0), of_size(20, 198.0)]))  # noqa: S314
    lines = drawn.findall(f"{SVG}polyline")
    assert len(lines) == 2
    (ours, bare) = ([tuple(map(float, point.split(","))) for point in line.attrib["points"].split()] for line in lines)
    assert [len(ours), len(bare)] == [3, 3]
    # To the right as the shop grows, upwards as it takes longer: SVG counts from the top.
    assert ours == sorted(ours)
    assert ours == sorted(ours, key=lambda point: -point[1])
    assert all(above[1] < below[1] for above, below in zip(ours, bare, strict=True))
    assert {"lakehouse", "bare script", "1.0 M", "20.0 M"} <= {text.text for text in drawn.findall(f"{SVG}text")}


def test_turn_measurements_are_stored_beside_the_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, later = (
        {"date": day, "commit": None, "from": day, "to": day, "runs": {"1": [counted(run(8))], "5": [counted(run(9))]}}
        for day in ("2017-12-01", "2017-12-02")
    )
    for told in (of_size(1, 8.0), of_size(5, 40.0)):
        publish(told, tmp_path, save=False)
    publish_turns(first, tmp_path, save=False)
    publish_turns(later, tmp_path, save=False)
    said = "in turns: dates from {0} to {0}"
    page = (tmp_path / "README.md").read_text()
    assert said.format("2017-12-01") in page
    assert said.format("2017-12-02") not in page
    assert said.format("2017-12-02") in capsys.readouterr().out
    publish_turns(later, tmp_path, save=True)
    publish(of_size(20, 160.0), tmp_path, save=False)
    assert said.format("2017-12-02") in (tmp_path / "README.md").read_text()


def test_page_shows_the_sizes_when_there_are_several(tmp_path: Path) -> None:
    publish(of_size(1, 8.0), tmp_path, save=False)
    assert not (tmp_path / "sizes.svg").exists()
    publish(of_size(5, 40.0), tmp_path, save=False)
    page = (tmp_path / "README.md").read_text()
    assert page.startswith("# Results\n\nWritten by `make bench`.\n\n## Sizes\n\n![")
    assert (tmp_path / "sizes.svg").read_text().startswith("<svg")
    assert {json.loads(path.read_text())["copies"] for path in tmp_path.glob("*.json")} == {1, 5}
