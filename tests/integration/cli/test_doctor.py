"""`lakehouse doctor`: what a lake has lost is told, with commands that mend it."""

import json
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orders_lakehouse.cli.doctor_areas import AREAS
from orders_lakehouse.entities.orders import ORDERS, RAW_ORDERS
from orders_lakehouse.runtime import adbc_pool
from tests.support.lakehouse import Lakehouse, changed, failures, lakehouse_like, ran
from tests.support.late_changes import ORDERED
from tests.support.terminal import Command

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("doctor")]

FIRST, LAST = "2017-01-01", "2017-01-10"


@pytest.fixture(scope="module")
def standing(
    late_shop: Lakehouse, tmp_path_factory: pytest.TempPathFactory, postgres_url_factory: Callable[..., str]
) -> Iterator[Lakehouse]:
    """The shop of late changes with one more of them, built to its marts. Not to be changed."""
    with lakehouse_like(late_shop, tmp_path_factory.mktemp("doctor"), postgres_url_factory) as made:
        changed(made, ORDERED)
        ran(made, FIRST, LAST)
        yield made


@pytest.fixture
def lakehouse(standing: Lakehouse, tmp_path: Path, postgres_url_factory: Callable[..., str]) -> Iterator[Lakehouse]:
    """A lakehouse like `standing`, of a test's own."""
    with lakehouse_like(standing, tmp_path, postgres_url_factory) as made:
        yield made


def looked(command: Command) -> tuple[int, dict[str, Any]]:
    status, output, errors = command("doctor", "--json")
    assert errors == ""
    return status, json.loads(output)


def done(lakehouse: Lakehouse, line: str) -> None:
    """Do what a command does."""
    match shlex.split(line):
        case ["lakehouse", "backfill", first, last, "--job", job]:
            result = lakehouse.run(first, last, job=job)
            assert result.success, failures(result)
        case ["lakehouse", "reconcile", *how]:
            result = lakehouse.run_job("reconcile_job", reconcile="apply" if how else "compare")
            assert result.success, failures(result)
        case ["lakehouse", "psql", "warehouse", "--", "-c", statement]:
            with adbc_pool.connect(lakehouse.warehouse_url) as connection, connection.cursor() as cursor:
                cursor.execute(statement)
                connection.commit()
        case ["rm", *_]:
            subprocess.run(shlex.split(line), check=True)
        case _:
            raise AssertionError(line)


def errors_of(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {finding["what"]: finding for finding in found["findings"] if finding["severity"] == "error"}


@pytest.mark.long
def test_losses_are_reported_and_repaired_by_the_named_commands(lakehouse: Lakehouse, command: Command) -> None:
    status, found = looked(command)
    assert (status, errors_of(found)) == (0, {})
    assert lakehouse.wrong_marts() == {}
    raw, cleansed = (Path(lakehouse.lake.location(table)) for table in (RAW_ORDERS, ORDERS))
    max(raw.glob("_delta_log/*.json")).unlink()
    lost = min(cleansed.glob("*/*.parquet"))
    lost.unlink()

    status, output, _ = command("doctor")
    assert status == 1
    status, found = looked(command)
    told = errors_of(found)
    assert (status, set(told), found["errors"]) == (1, {"raw/orders", "cleansed/orders"}, 2)
    assert told["cleansed/orders"]["found"] == f"{lost.relative_to(cleansed)} is missing"
    assert told["raw/orders"]["found"] == "its last version is 1; later ones are gone"
    assert re.match("the versions that readers remember: version 2 by cleansed/", told["raw/orders"]["expected"])
    commands = [line for finding in told.values() for line in finding["commands"]]
    assert all(line in output for line in commands)
    # What both findings ask for is done once, the last time.
    for line in [line for number, line in enumerate(commands) if line not in commands[number + 1 :]]:
        done(lakehouse, line)

    status, found = looked(command)
    assert (status, errors_of(found)) == (0, {})
    assert lakehouse.wrong_marts() == {}


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other place is named than LAKEHOUSE_HOME."""
    for name in ("SHOP_DATABASE_URL", "WAREHOUSE_DATABASE_URL", "LAKE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("nowhere")
def test_home_that_is_empty_stays_empty_and_nothing_is_started(command: Command, tmp_path: Path) -> None:
    status, found = looked(command)
    assert (status, found["errors"]) == (0, 0)
    assert [(one["what"], one["found"]) for one in found["findings"]] == [
        ("shop", "the embedded Postgres is not running"),
        ("warehouse", "the embedded Postgres is not running"),
    ]
    assert [one["area"] for one in found["looked_at"]] == list(AREAS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("nowhere")
def test_doctor_inspects_the_rest_when_one_part_is_unreadable(command: Command, tmp_path: Path) -> None:
    nobody = "postgresql://reader@127.0.0.1:1/shop"
    (tmp_path / "sensors").mkdir()
    (tmp_path / "sensors" / "touched_dates_sensor.json").write_text("{")
    status, output, _ = command("doctor", "--json", SHOP_DATABASE_URL=nobody)
    found = json.loads(output)
    assert status == 1
    told = {one["area"]: one["found"] for one in found["findings"] if one["severity"] == "error"}
    assert set(told) == {"shop", "sensors"}
    assert "the shop database (host=127.0.0.1 port=1 dbname=shop user=reader) cannot be reached" in told["shop"]
    assert told["sensors"].startswith("JSONDecodeError: ")
    assert len(found["looked_at"]) == len(AREAS)
