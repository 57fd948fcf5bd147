"""Sizes and numbers of runs as they are asked for."""

from contextlib import nullcontext
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench import __main__ as command


class Standing:
    """In place of a lakehouse with a shop."""

    settings = {"LAKEHOUSE_START_DATE": "2017-01-01"}  # noqa: RUF012 (nobody writes it)

    def __init__(self, copies: int) -> None:
        self.copies = copies

    def shop(self) -> tuple[date, dict[str, int]]:
        return date(2017, 12, 31), {}


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    published: list[dict[str, Any]] = []
    for name in ("publish", "publish_turns"):
        monkeypatch.setattr(command, name, lambda result, *_: published.append(result))
    return published


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, published: list[dict[str, Any]]) -> list[Any]:  # noqa: ARG001
    asked: list[Any] = []

    def measured(lakehouse: Standing, _source: str, copies: int, runs: int, rivals: object, *rest: object) -> Any:
        assert lakehouse.copies == copies
        asked.append((copies, runs, tuple(rivals), rest[-1]))  # type: ignore[call-overload]
        return {"copies": copies}

    monkeypatch.delenv("SHOP_DATABASE_URL", raising=False)
    monkeypatch.setattr(command, "prepared", lambda copies, _url: nullcontext(Standing(copies)))
    monkeypatch.setattr(command, "_measured", measured)
    monkeypatch.setattr(command, "in_turns", lambda lakehouses, *dates: {"of": list(lakehouses), "dates": dates[:2]})
    return asked


def run(tmp_path: Path, *arguments: str) -> Any:
    return CliRunner().invoke(command.bench, [*arguments, "--results", str(tmp_path)])


def test_sizes_are_measured_in_turn_and_constant_work_once(asked: list[Any], tmp_path: Path) -> None:
    done = run(tmp_path, "--copies", "1,5,20", "--runs", "3,2,1", "--rivals", "bare")
    assert done.exception is None, done.output
    assert asked == [(1, 3, ("bare",), 10), (5, 2, ("bare",), None), (20, 1, ("bare",), None)]


def test_sizes_take_turns_once_all_are_built(asked: list[Any], published: list[dict[str, Any]], tmp_path: Path) -> None:
    run(tmp_path, "--copies", "20,1,5")
    assert len(asked) == 3
    dates = (date(2017, 1, 1), date(2017, 12, 31))
    *sizes, turns = published
    assert sizes == [{"copies": 20}, {"copies": 1}, {"copies": 5}]
    assert (turns["of"], turns["dates"]) == ([1, 5, 20], dates)
    published.clear()
    run(tmp_path, "--copies", "5")
    assert published == [{"copies": 5}]


def test_one_number_of_runs_is_for_all_sizes(asked: list[Any], tmp_path: Path) -> None:
    run(tmp_path, "--copies", "1,5", "--runs", "2")
    assert asked == [(1, 2, ("bare", "dlt_dbt"), 10), (5, 2, ("bare", "dlt_dbt"), None)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--copies", "1,x"), "'1,x'; expected numbers from 1 on"),
        (("--copies", "0"), "'0'; expected numbers from 1 on"),
        (("--copies", "1,5", "--runs", "3,1,1"), "found 3 numbers of runs for 2 sizes"),
    ],
)
def test_impossible_arguments_are_refused(
    asked: list[Any], tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = run(tmp_path, *arguments)
    assert message in done.output + str(done.exception)
    assert asked == []


def test_shop_that_is_given_has_one_size(asked: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_DATABASE_URL", "postgresql://shop/shop")
    done = run(tmp_path, "--copies", "1,5")
    assert "for a shop that is given" in str(done.exception)
    assert asked == []
