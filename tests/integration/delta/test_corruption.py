"""What is wrong with tables of a lake: with their logs, their files, and versions that somebody remembers."""

import shlex
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import narwhals as nw
import polars as pl
import pytest
from deltalake import DeltaTable

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.curated.daily_sales import DAILY_SALES
from orders_lakehouse.curated.order_lines import ORDER_LINES
from orders_lakehouse.dates import days
from orders_lakehouse.delta import lost_versions as module
from orders_lakehouse.delta import table_cache
from orders_lakehouse.delta.log import find
from orders_lakehouse.delta.lost_versions import RememberedVersion, lost_rows, lost_versions, remembered_by_tables
from orders_lakehouse.delta.object_store import LakeError
from orders_lakehouse.delta.table_files import files_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.orders import RAW_ORDERS
from orders_lakehouse.findings import Finding
from orders_lakehouse.pipeline.lake_health import look_at_contents, look_at_tables
from tests.support.rows import on, rows
from tests.support.s3 import client

FIRST, LAST = on("2020-03-01"), on("2020-03-04")
DATES = (FIRST, LAST)
IDENTITY = ("order_id", "updated_at")


def captured(lake: Lake, *order_ids: str) -> None:
    """A commit for each order."""
    for order_id in order_ids:
        lake.insert_new(RAW_ORDERS, rows(RAW_ORDERS, {"order_id": order_id}), IDENTITY)


def summed(lake: Lake, orders: int, last: str = "2020-03-04") -> None:
    """Daily sales of all dates, made of what raw has."""

    def derive(source: Lake) -> list[nw.LazyFrame[pl.LazyFrame]]:
        source.scan(RAW_ORDERS)
        sales = rows(DAILY_SALES, *({"order_date": day, "orders": orders} for day in days(FIRST, on(last))))
        return [nw.from_native(sales.lazy())]

    lake.replace_dates([DAILY_SALES], FIRST, on(last), derive)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Raw with four orders, a commit for each of versions 1 to 4, and what was made of it."""
    made = Lake(str(tmp_path / "lake"), "UTC")
    captured(made, "o1", "o2", "o3", "o4")
    summed(made, 1)
    return made


def forget() -> None:
    """Open tables anew, as another process does."""
    table_cache._handles.clear()
    table_cache._latest.clear()


def commit(lake: Lake, version: int, table: Table = RAW_ORDERS) -> Path:
    return Path(lake.location(table), "_delta_log", f"{version:020}.json")


def looked(lake: Lake) -> list[Finding]:
    forget()
    return list(look_at_tables(lake, DATES).findings)


def remembered(lake: Lake, *others: RememberedVersion) -> list[Finding]:
    return lost_versions(lake, [*remembered_by_tables(lake), *others], DATES, "lake")


def with_shell(finding: Finding) -> None:
    """Do what is advised, as far as it is no command of the lakehouse."""
    for line in finding.commands:
        if not line.startswith("lakehouse "):
            subprocess.run(shlex.split(line), check=True)


def test_intact_lake_has_no_findings(lake: Lake) -> None:
    found = look_at_tables(lake, DATES)
    assert (found.summary, found.findings) == (f"2 tables in {lake.url}, logs and 8 files agree", [])
    assert remembered(lake) == []
    assert look_at_contents(lake, DATES).findings == []


EMPTY = pytest.param(lambda path: path.write_bytes(b""), id="empty")
GARBAGE = pytest.param(lambda path: path.write_text("{]"), id="garbage")
GONE = pytest.param(Path.unlink, id="gone")


@pytest.mark.parametrize("damage", [EMPTY, GARBAGE, GONE])
def test_log_with_a_hole_is_cut_before_it(lake: Lake, damage: Callable[[Path], None]) -> None:
    damage(commit(lake, 3))
    (found,) = looked(lake)
    assert (found.severity, found.what) == ("error", "raw/orders")
    assert found.found == "commits are missing, empty or cannot be read: 3; the last one is 4"
    assert "the table returns to version 2" in found.to_do
    assert found.commands[1:] == [
        "lakehouse backfill 2020-03-01 2020-03-04 --job capture_changes_job",
        "lakehouse reconcile --apply",
        "lakehouse backfill 2020-03-01 2020-03-04 --job derive_dates_job",
        "lakehouse reconcile",
    ]
    with_shell(found)
    assert looked(lake) == []
    assert lake.open(RAW_ORDERS).version() == 2


def test_reading_a_log_with_a_hole_names_the_missing_file(lake: Lake) -> None:
    commit(lake, 3).unlink()
    forget()
    with pytest.raises(LakeError, match=r"_delta_log/0{19}3\.json of its log is missing"):
        lake.find(RAW_ORDERS)


def test_hole_before_checkpoint_affects_older_versions_only(lake: Lake) -> None:
    DeltaTable(lake.location(RAW_ORDERS)).create_checkpoint()
    commit(lake, 2).unlink()
    (found,) = looked(lake)
    assert (found.severity, found.found) == ("warning", "commits are missing or empty: 2")


def test_checkpoint_that_is_gone_is_not_looked_for_any_more(lake: Lake) -> None:
    location = Path(lake.location(RAW_ORDERS))
    DeltaTable(location).create_checkpoint()
    (checkpoint,) = location.glob("_delta_log/*.checkpoint.parquet")
    checkpoint.unlink()
    forget()
    with pytest.raises(LakeError, match="names a checkpoint of version 4 that is missing"):
        lake.find(RAW_ORDERS)
    (found,) = looked(lake)
    assert found.found == "no checkpoint of version 4, which _delta_log/_last_checkpoint names"
    with_shell(found)
    assert looked(lake) == []
    assert lake.open(RAW_ORDERS).version() == 4


def test_differing_files_are_named(lake: Lake) -> None:
    sales, orders = (Path(lake.location(table)) for table in (DAILY_SALES, RAW_ORDERS))
    cut, gone = min(sales.glob("*/*.parquet")), min(orders.glob("*/*.parquet"))
    cut.write_bytes(cut.read_bytes()[:-1])
    gone.unlink()
    of_raw, of_sales = looked(lake)
    assert of_raw.found == f"{gone.relative_to(orders)} is missing"
    assert of_raw.commands[0] == "lakehouse recapture orders 2020-03-02"
    size = cut.stat().st_size
    assert of_sales.found == f"{cut.relative_to(sales)} has {size:,} bytes, expected {size + 1:,}"
    with_shell(of_sales)
    assert [finding.what for finding in looked(lake)] == ["raw/orders"]
    assert of_sales.commands[1:] == ["lakehouse backfill 2020-03-01 2020-03-04 --job derive_dates_job"]


def test_content_is_read_on_request(lake: Lake) -> None:
    path = min(Path(lake.location(DAILY_SALES)).glob("*/*.parquet"))
    path.write_bytes(bytes(path.stat().st_size))
    assert looked(lake) == []
    (found,) = look_at_contents(lake, DATES).findings
    assert (found.what, f"{path.name} is no readable Parquet file" in found.found) == ("curated/daily_sales", True)


def test_missing_objects_of_a_bucket_are_found(bucket: str, s3_endpoint: str) -> None:
    lake = Lake(f"{bucket}/some/lake", "UTC")
    captured(lake, "o1", "o2")
    assert looked(lake) == []
    lost = files_of(lake.open(RAW_ORDERS), RAW_ORDERS)["path"][0]
    client(s3_endpoint).delete_object(Bucket=bucket.removeprefix("s3://"), Key=f"some/lake/raw/orders/{lost}")
    (found,) = looked(lake)
    assert found.found == f"{lost} is missing"


def test_tables_made_of_lost_commits_are_reported(lake: Lake) -> None:
    commit(lake, 4).unlink()
    (found,) = remembered(lake)
    assert (found.severity, found.what) == ("error", "raw/orders")
    assert found.found == "its last version is 3; later ones are gone"
    assert found.expected.startswith("the versions that readers remember: version 4 by curated/daily_sales at ")


def test_reused_versions_are_reported_until_tables_are_rebuilt(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SKEW", timedelta(0))
    commit(lake, 4).unlink()
    captured(lake, "o5")
    (found,) = remembered(lake)
    assert found.found.startswith("it has lost versions and was written to since")
    # One date is not enough: the others show what is gone.
    summed(lake, 1, last="2020-03-01")
    assert remembered(lake) != []
    summed(lake, 1)
    assert remembered(lake) == []


def test_copy_that_holds_a_lost_version_is_loaded_whole(lake: Lake) -> None:
    handle = find(lake, DAILY_SALES)
    assert handle is not None
    copied = RememberedVersion(
        "the copy", datetime.now(UTC), DAILY_SALES.path, 1, str(handle.metadata().id), copy="daily_sales"
    )
    assert remembered(lake, copied) == []
    commit(lake, 1, DAILY_SALES).unlink()
    (found,) = remembered(lake, copied)
    assert found.commands == [
        "lakehouse psql warehouse -- -c \"delete from lake.loaded where table_name = 'daily_sales'\"",
        "lakehouse backfill 2020-03-01 2020-03-04 --job derive_dates_job",
    ]


def test_remembered_version_is_forgotten_with_the_next_commit(lake: Lake) -> None:
    told = RememberedVersion("run some", datetime.now(UTC), RAW_ORDERS.path, 9)
    assert [finding.what for finding in remembered(lake, told)] == ["raw/orders"]
    captured(lake, "o5")
    assert remembered(lake, told) == []


def test_missing_table_is_reported(lake: Lake) -> None:
    shutil.rmtree(lake.location(RAW_ORDERS))
    (found,) = remembered(lake)
    assert found.found == "there is no such table"


def test_sums_are_made_of_all_lines_again(lake: Lake) -> None:
    (found,) = lost_versions(lake, [RememberedVersion("run", datetime.now(UTC), ORDER_LINES.path, 1)], DATES, "lake")
    assert found.commands[0] == f"rm -r {lake.url}/curated/customer_profile"


@pytest.mark.parametrize(
    ("day", "counted", "found"),
    [
        ("2020-03-02", 4, []),
        ("2020-03-02", 5, ["4 rows on 2020-03-02"]),
        # The lake was made to begin earlier since, and rows of what was its first date moved.
        ("2020-03-03", 4, []),
        ("2020-03-03", 5, ["0 rows on 2020-03-03"]),
    ],
)
def test_raw_never_has_fewer_rows_than_were_counted(lake: Lake, day: str, counted: int, found: list[str]) -> None:
    checked = pl.DataFrame({"asset": ["raw/orders"], "date": [on(day)], "rows": [counted]})
    assert [one.found for one in lost_rows(lake, checked, DATES)] == found
