"""`lakehouse read`: tables as they are and as they were."""

from datetime import UTC, datetime, timedelta

import pytest
from deltalake import DeltaTable

from orders_lakehouse.curated.customer_profile import CUSTOMER_PROFILE
from orders_lakehouse.curated.daily_sales import DAILY_SALES
from orders_lakehouse.delta.tables import Lake
from tests.support.printed import answer, lines_of, sales, write
from tests.support.terminal import Command


class TestRead:
    @pytest.fixture(autouse=True)
    def versions(self, lake: Lake) -> None:
        write(lake, DAILY_SALES, sales("2017-03-01", "0.10"))
        write(lake, DAILY_SALES, sales("2017-03-02", "0.20"))

    def nets(self, command: Command, *arguments: str) -> list[str]:
        return sorted(row["net"] for row in answer(command, "read", *arguments))

    @pytest.mark.parametrize("name", ["curated.daily_sales", "curated/daily_sales", "daily_sales"])
    def test_version_shows_the_table_as_it_was(self, command: Command, name: str) -> None:
        assert self.nets(command, name) == ["0.1000", "0.2000"]
        assert self.nets(command, name, "--version", "2") == ["0.1000", "0.2000"]
        assert self.nets(command, name, "--version", "1") == ["0.1000"]
        assert self.nets(command, name, "--version", "0") == []

    def test_instant_shows_the_table_as_of_then(self, command: Command, lake: Lake) -> None:
        commits = DeltaTable(f"{lake.url}/{DAILY_SALES.path}").history()
        first = next(commit["timestamp"] for commit in commits if commit["version"] == 1)
        then = datetime.fromtimestamp(first / 1000, UTC)
        assert self.nets(command, "daily_sales", "--as-of", then.isoformat()) == ["0.1000"]
        assert self.nets(command, "daily_sales", "--as-of", f"{then:%Y-%m-%dT%H:%M:%S.%f}") == ["0.1000"]
        assert self.nets(command, "daily_sales", "--as-of", "2999-01-01") == ["0.1000", "0.2000"]
        at_home = (then + timedelta(hours=2)).replace(tzinfo=None).isoformat() + "+02:00"
        assert self.nets(command, "daily_sales", "--as-of", at_home) == ["0.1000"]

    def test_date_shows_its_partition(self, command: Command) -> None:
        assert self.nets(command, "daily_sales", "--date", "2017-03-02") == ["0.2000"]
        assert self.nets(command, "daily_sales", "--date", "2017-03-03") == []

    def test_table_says_which_version_it_is(self, command: Command) -> None:
        _, output, _ = command("read", "daily_sales", "--version", "1")
        lines = lines_of(output)
        assert lines[0] == "curated/daily_sales, version 1"
        assert lines[3].endswith("0.1000")
        assert lines[4] == "1 row."

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["daily_sales", "--version", "3"], "curated/daily_sales has no version 3; its versions are 0 to 2"),
            (
                ["daily_sales", "--as-of", "2017-01-01"],
                "no version as of 2017-01-01T00:00:00Z; its first one, 0, is of",
            ),
            (["daily_sales", "--as-of", "yesterday"], "'yesterday' is no instant; expected ISO 8601"),
            (["daily_sales", "--as-of", "2017-01-01", "--version", "1"], "expected one of them"),
            (["orders"], "'orders' may be any of raw.orders, cleansed.orders, quarantine.orders"),
            (["sales"], "there is no table 'sales'.\nThe tables are\n  raw.  customers"),
            (["raw.orders"], "raw/orders does not exist yet"),
        ],
    )
    def test_missing_version_or_date_is_refused_with_existing_ones(
        self, command: Command, arguments: list[str], said: str
    ) -> None:
        status, output, errors = command("read", *arguments)
        assert (status, output) == (1, "")
        assert said in errors

    def test_table_without_dates_is_not_read_by_date(self, command: Command, lake: Lake) -> None:
        write(lake, CUSTOMER_PROFILE, {})
        status, _, errors = command("read", "customer_profile", "--date", "2017-03-01")
        assert (status, errors) == (1, "Error: curated/customer_profile has no dates; read it without --date\n")
