"""The `lakehouse` command: what it prints, and how it refuses what it cannot do."""

from collections.abc import Callable
from pathlib import Path

import pytest

from orders_lakehouse.partitions import DAILY
from orders_lakehouse.postgres.embedded import remove_embedded_server
from tests.support.lakehouse import rows_of
from tests.support.terminal import Command, command_line

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("first", "last", "said"),
    [
        ("2016-12-31", "2017-01-02", "2016-12-31 is not a partition; expected dates from 2017-01-01"),
        ("2017-01-01", "2099-01-02", "2099-01-02 is not a partition; expected dates from 2017-01-01"),
        ("2017-01-03", "2017-01-02", "the range is empty: found 2017-01-03 to 2017-01-02"),
    ],
)
def test_range_that_cannot_be_run_is_refused(command: Command, first: str, last: str, said: str) -> None:
    status, _, errors = command("backfill", first, last)
    assert status == 1
    assert errors.startswith("Error: ")
    assert said in errors
    assert errors.count("\n") == 1


def test_refusal_names_the_last_partition(command: Command) -> None:
    _, _, errors = command("backfill", "2017-01-01", "2099-01-01")
    assert errors.rstrip().endswith(f"to {DAILY.get_last_partition_key()}")


def test_unknown_job_is_refused_with_the_jobs_there_are(command: Command) -> None:
    status, _, errors = command("backfill", "2017-01-01", "2017-01-02", "--job", "nonsense")
    assert status == 1
    assert "nonsense" in errors
    assert "refresh_all_job" in errors
    assert "__ASSET_JOB" not in errors


def test_start_date_that_is_yet_to_come_is_refused(tmp_path: Path) -> None:
    done = command_line(
        ["backfill", "2099-01-01", "2099-01-02"], LAKEHOUSE_HOME=str(tmp_path), LAKEHOUSE_START_DATE="2099-01-01"
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "LAKEHOUSE_START_DATE" in done.stderr


def test_invalid_date_is_a_usage_error(command: Command) -> None:
    status, _, errors = command("backfill", "2017-13-01", "2017-01-02")
    assert status == 2
    assert "'2017-13-01'" in errors


def test_usage_names_the_arguments(command: Command) -> None:
    _, output, _ = command("backfill", "--help")
    assert "FIRST [LAST]" in output


def test_urls_in_force_are_printed(command: Command, tmp_path: Path) -> None:
    given = {
        "SHOP_DATABASE_URL": f"postgresql://reader:{SECRET}@shop.example:5433/shop",
        "WAREHOUSE_DATABASE_URL": f"postgresql://dbt:{SECRET}@dwh.example/dwh",
    }
    # For psql: with the password.
    assert command("url", "shop", **given) == (0, given["SHOP_DATABASE_URL"] + "\n", "")
    assert command("url", "warehouse") == (0, given["WAREHOUSE_DATABASE_URL"] + "\n", "")
    assert command("url", "lake") == (0, f"{tmp_path}/lake\n", "")
    assert command("url", "lake", LAKE_URL="s3://bucket/prefix/") == (0, "s3://bucket/prefix\n", "")


def test_without_urls_the_embedded_server_starts_and_stops(tmp_path: Path) -> None:
    home = {"LAKEHOUSE_HOME": str(tmp_path)}
    try:
        url = command_line(["url", "warehouse"], **home)
        assert (url.returncode, url.stderr) == (0, "")
        assert rows_of(url.stdout.strip(), "SELECT current_database()") == [("warehouse",)]
    finally:
        stopped = command_line(["stop"], **home)
    assert stopped.stdout == "The embedded Postgres is stopped.\n"
    assert command_line(["stop"], **home).stdout == "The embedded Postgres was not running.\n"
    remove_embedded_server(tmp_path)


def test_dbt_by_hand_uses_the_warehouse_in_force(tmp_path: Path, postgres_url_factory: Callable[[str], str]) -> None:
    given = {"LAKEHOUSE_HOME": str(tmp_path), "WAREHOUSE_DATABASE_URL": postgres_url_factory("by_hand")}
    shown = command_line(["dbt", "show", "--quiet", "--inline", "select current_database() as here"], **given)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "by_hand" in shown.stdout
    assert command_line(["dbt", "nonsense"], **given).returncode == 2
    assert list(tmp_path.glob("dbt-by-hand/dbt.log"))


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"LAKEHOUSE_TIMEZONE": "Mars"}, "'Mars' is not an IANA time zone"),
        ({"LAKEHOUSE_STRAT_DATE": "2017-01-01"}, "unknown setting LAKEHOUSE_STRAT_DATE"),
        ({"LAKEHOUSE_START_DATE": "yesterday"}, "LAKEHOUSE_START_DATE"),
        ({"SHOP_DATABASE_URL": f"mysql://root:{SECRET}@shop/shop"}, "not a Postgres URL"),
    ],
)
def test_invalid_setting_is_refused(command: Command, environment: dict[str, str], said: str) -> None:
    status, output, errors = command("url", "lake", **environment)
    assert (status, output) == (1, "")
    assert errors.startswith("Error: the environment cannot be read:")
    assert said in errors
    assert SECRET not in errors


def test_dictionary_is_asked_by_the_name_of_a_table(command: Command) -> None:
    status, output, _ = command("dictionary", "marts.fct_orders")
    assert status == 0
    assert output.startswith("marts.fct_orders: One row per order")
    assert "hours_to_ship" in output
    status, _, errors = command("dictionary", "fct_nonsense")
    assert status == 1
    assert errors.startswith("Error: there is no table 'fct_nonsense'; expected one of ")


def test_prune_does_nothing_before_the_first_run(command: Command, tmp_path: Path) -> None:
    status, output, _ = command("prune", "--dry-run")
    assert status == 0
    assert "There is no history yet in" in output
    assert not (tmp_path / "dagster").exists()
