"""The second engine, on a real server of Spark Connect: the same tables, the same care, and what may go wrong."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import narwhals as nw
import polars as pl
import pytest

from orders_lakehouse.calendar import INSTANT
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.contracts.types import Frame
from orders_lakehouse.curated.customer_profile import CUSTOMER_PROFILE
from orders_lakehouse.curated.daily_sales import DAILY_SALES
from orders_lakehouse.delta.engines import spark, spark_session
from orders_lakehouse.delta.engines.spark import SPARK
from orders_lakehouse.delta.engines.spark_session import ClusterError, ClusterUnavailableError, session
from orders_lakehouse.delta.frames import rows_of
from orders_lakehouse.delta.object_store import LakeError
from orders_lakehouse.delta.table_files import files_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.encoding import BAD_BYTE
from orders_lakehouse.entities.orders import ORDERS
from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.sample_shop.edge_cases import edge_cases
from orders_lakehouse.settings import settings
from orders_lakehouse.transforms.columns import with_local_date
from orders_lakehouse.transforms.split import reasons, rejects
from tests.support.calendars import ZONES, calendar_in, moved
from tests.support.lakehouse import failures, lakehouse_on
from tests.support.late_changes import SHOP
from tests.support.protocol import assert_plain
from tests.support.rows import VALID, at, on, rows
from tests.support.spark import spark_server
from tests.support.spark_sales import DAYS, sales, there
from tests.support.terminal import Terminal

# One server for all of them.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("spark"), pytest.mark.either_engine]


@pytest.fixture
def on_spark(spark_endpoint: str, monkeypatch: pytest.MonkeyPatch, clean_settings: None) -> None:  # noqa: ARG001
    monkeypatch.setenv("LAKEHOUSE_ENGINE", "spark")
    monkeypatch.setenv("SPARK_REMOTE", spark_endpoint)
    settings.cache_clear()


@pytest.fixture(params=["disk", pytest.param("s3", marks=pytest.mark.thorough)])
def lake(request: pytest.FixtureRequest, tmp_path: Path, on_spark: None) -> Lake:  # noqa: ARG001
    where = str(tmp_path / "lake") if request.param == "disk" else request.getfixturevalue("bucket")
    return Lake(where, "UTC", engine=SPARK)


def stored(lake: Lake, table: Table) -> pl.DataFrame:
    return rows_of(lake.scan(table)).sort(table.key)


def staged(lake: Lake, table: Table) -> set[str]:
    """Files that the cluster has left in a table."""
    root = Path(lake.location(table))
    return {str(file.relative_to(root)) for file in root.glob("cluster-*/**/*.parquet")}


@pytest.mark.parametrize(
    ("place", "timezone"), [("disk", "Europe/Berlin"), pytest.param("s3", "UTC", marks=pytest.mark.thorough)]
)
@pytest.mark.long
def test_both_engines_make_the_same_tables(
    place: str,
    timezone: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    postgres_url_factory: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    on_spark: None,  # noqa: ARG001
) -> None:
    endpoint = request.getfixturevalue("s3_endpoint") if place == "s3" else None
    monkeypatch.setenv("LAKEHOUSE_TIMEZONE", timezone)
    with lakehouse_on(endpoint, tmp_path, postgres_url_factory) as on_cluster:
        on_cluster.shop(edge_cases())
        alone = replace(on_cluster, lake=Lake(on_cluster.lake.url, timezone))
        assert on_cluster.lake.engine is SPARK
        for result in (
            on_cluster.run("2017-01-01", "2017-01-09", select="group:raw"),
            on_cluster.run("2017-01-01", "2017-01-09", select="group:cleansed or group:curated"),
        ):
            assert result.success, failures(result)
        of_cluster = on_cluster.lake_tables()
        assert sum(frame.height for frame in of_cluster.values()) > 80
        # The whole lake was derived there; here nothing is left to change, and what would be is written anew.
        (lines,) = [files_of(on_cluster.lake.open(table), table) for table in (ORDERS,)]
        assert all(path.startswith("cluster-") for path in lines["path"])
        again = alone.run("2017-01-01", "2017-01-09", select="group:cleansed or group:curated")
        assert again.success, failures(again)
        for path, frame in alone.lake_tables().items():
            assert frame.schema == of_cluster[path].schema
            assert frame.equals(of_cluster[path]), path
        # By the other engine's own comparison, too: it found no date to write.
        assert files_of(on_cluster.lake.open(ORDERS), ORDERS).equals(lines)
        assert_plain(on_cluster.lake, ORDERS)


@pytest.mark.parametrize("timezone", ZONES)
def test_instant_has_the_date_of_the_calendar_on_the_cluster(timezone: str, on_spark: None) -> None:  # noqa: ARG001
    # Zone data that nobody has.
    calendar = moved(calendar_in(timezone), on("2011-12-28"), on("2012-01-02"), timedelta(hours=-3))
    edges = [calendar.begins_at(on("2011-12-20") + timedelta(days=more)) for more in range(20)]
    instants = [edge + timedelta(microseconds=more) for edge in edges for more in (-1, 0, 1)]
    instants += [at("1850-06-01 12:00"), at("1969-09-30 12:00"), at("2150-06-01 23:00")]
    values = pl.DataFrame({"x": pl.Series([*instants, None], dtype=INSTANT), "number": range(len(instants) + 1)})
    dated = rows_of(with_local_date(there(values), "made", "x", calendar)).sort("number")
    assert dated.columns == ["x", "number", "made"]
    assert dated["made"].to_list() == calendar.dates_of(values["x"]).to_list()


def test_invalid_utf8_is_found_on_the_cluster(lake: Lake) -> None:
    orders = [
        {"order_id": "fine \ufffd \\xeb"},
        {"order_id": f"{BAD_BYTE}eb"},
        {"customer_id": f"C{BAD_BYTE}EB".upper()},
    ]
    judged = there(rows(ORDERS, *orders))
    lake.open(ORDERS)
    found = rows_of(judged.filter(rejects(ORDERS, {})).with_columns(reasons=reasons(ORDERS, {})))
    assert found.sort("order_id").select("customer_id", "reasons").rows() == [
        (orders[2]["customer_id"], "text_not_utf8"),
        (VALID[ORDERS.path]["customer_id"], "text_not_utf8"),
    ]


def test_neighbours_of_a_written_date_survive(lake: Lake) -> None:
    lake.replace_dates([DAILY_SALES], DAYS[0], DAYS[5], lambda _: [there(sales(*DAYS))])
    before = files_of(lake.open(DAILY_SALES), DAILY_SALES)
    new = pl.concat([sales(DAYS[1]), sales(DAYS[3], orders=7)])
    (done,) = lake.replace_dates([DAILY_SALES], DAYS[1], DAYS[3], lambda _: [there(new)])
    assert done.changed.to_list() == [DAYS[2], DAYS[3]]
    assert sorted(done.by_date.rows()) == [(DAYS[1], 1), (DAYS[3], 1)]
    assert stored(lake, DAILY_SALES).select("order_date", "orders").rows() == [
        *((day, 1) for day in (DAYS[0], DAYS[1])),
        (DAYS[3], 7),
        *((day, 1) for day in (DAYS[4], DAYS[5])),
    ]
    after = files_of(lake.open(DAILY_SALES), DAILY_SALES)
    untouched = pl.col("date").is_in([DAYS[0], DAYS[1], DAYS[4], DAYS[5]])
    assert after.filter(untouched).sort("path").equals(before.filter(untouched).sort("path"))


def test_unchanged_dates_are_not_written(lake: Lake) -> None:
    for _ in range(2):
        (done,) = lake.replace_dates([DAILY_SALES], DAYS[0], DAYS[2], lambda _: [there(sales(*DAYS[:2]))])
    assert done.changed.is_empty()
    assert lake.open(DAILY_SALES).version() == 2
    (emptied,) = lake.replace_dates([DAILY_SALES], DAYS[0], DAYS[2], lambda _: [there(sales(DAYS[0])).head(0)])
    assert emptied.changed.to_list() == DAYS[:2]
    assert stored(lake, DAILY_SALES).is_empty()


def test_null_that_moves_to_another_column_is_a_change(lake: Lake) -> None:
    def orders(**fields: object) -> Frame:
        return there(rows(ORDERS, {"order_date": DAYS[0], **fields}))

    lake.replace_dates([ORDERS], DAYS[0], DAYS[0], lambda _: [orders(customer_id=None, status="c1")])
    (done,) = lake.replace_dates([ORDERS], DAYS[0], DAYS[0], lambda _: [orders(customer_id="c1", status=None)])
    assert done.changed.to_list() == DAYS[:1]


def test_table_without_dates_is_replaced_whole(lake: Lake) -> None:
    for customer in ("c1", "c2"):
        done = lake.replace_all(
            CUSTOMER_PROFILE, lambda _, name=customer: there(rows(CUSTOMER_PROFILE, {"customer_id": name}))
        )
        assert (done.rows, done.sample.height) == (1, 1)
    assert stored(lake, CUSTOMER_PROFILE)["customer_id"].to_list() == ["c2"]


def test_rows_of_other_dates_are_refused(lake: Lake) -> None:
    lake.replace_dates([DAILY_SALES], DAYS[0], DAYS[1], lambda _: [there(sales(*DAYS[:2]))])
    with pytest.raises(LakeError, match="of 2020-03-06, expected only rows of 2020-03-01 to 2020-03-02; nothing was"):
        lake.replace_dates([DAILY_SALES], DAYS[0], DAYS[1], lambda _: [there(sales(DAYS[0], DAYS[5], orders=9))])
    assert stored(lake, DAILY_SALES)["orders"].to_list() == [1, 1]


def test_unfit_rows_are_refused_before_spark_computes(lake: Lake) -> None:
    wrong = sales(DAYS[0]).with_columns(pl.col("orders").cast(pl.String)).drop("units")
    said = r"orders: expected Int64, found String; units: expected Decimal\(precision=38, scale=6\), found nothing"
    with pytest.raises(LakeError, match=said):
        lake.replace_dates([DAILY_SALES], DAYS[0], DAYS[0], lambda _: [there(wrong)])
    assert lake.open(DAILY_SALES).version() == 0


def test_overtaken_writer_derives_again(lake: Lake) -> None:
    alone, tries = Lake(lake.url, "UTC"), []

    def derive(_: Lake) -> list[Frame]:
        tries.append(1)
        if len(tries) == 1:
            # A run on one machine is faster.
            alone.replace_dates(
                [DAILY_SALES], DAYS[0], DAYS[0], lambda _: [nw.from_native(sales(DAYS[0], orders=2).lazy())]
            )
        return [there(sales(DAYS[0], orders=len(tries)))]

    lake.replace_dates([DAILY_SALES], DAYS[0], DAYS[0], derive)
    assert len(tries) == 2
    assert stored(lake, DAILY_SALES)["orders"].to_list() == [2]


def test_job_that_ends_before_its_commit_leaves_nothing(
    tmp_path: Path,
    on_spark: None,  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lake = Lake(str(tmp_path / "lake"), "UTC", engine=SPARK)
    lake.replace_dates([DAILY_SALES], DAYS[0], DAYS[0], lambda _: [there(sales(DAYS[0]))])
    before = staged(lake, DAILY_SALES)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device (os error 28)")

    with monkeypatch.context() as patched:
        patched.setattr(spark, "_changed", fail)
        with pytest.raises(OSError, match="No space"):
            lake.replace_dates([DAILY_SALES], DAYS[0], DAYS[0], lambda _: [there(sales(DAYS[0], orders=3))])
    assert staged(lake, DAILY_SALES) == before
    killed = subprocess.run([sys.executable, "-c", _KILLED, lake.url], check=False, timeout=100)
    assert killed.returncode == -signal.SIGKILL
    # Its files lie there, and no reader knows of them; care removes them as it does what any crash has left.
    assert len(staged(lake, DAILY_SALES)) == len(before) + 1
    assert stored(lake, DAILY_SALES)["orders"].to_list() == [1]
    assert lake.open(DAILY_SALES).version() == 1
    orphans = lake.open(DAILY_SALES).vacuum(0, dry_run=True, enforce_retention_duration=False, full=True)
    assert {*orphans} == staged(lake, DAILY_SALES) - before


def test_commit_whose_answer_is_lost_stands(
    tmp_path: Path,
    on_spark: None,  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lake, commit = Lake(str(tmp_path / "lake"), "UTC", engine=SPARK), spark._commit

    def commits_and_fails(*given: Any) -> None:
        commit(*given)
        raise OSError(110, "Connection timed out")

    with monkeypatch.context() as patched:
        patched.setattr(spark, "_commit", commits_and_fails)
        with pytest.raises(OSError, match="timed out"):
            lake.replace_dates([DAILY_SALES], DAYS[0], DAYS[0], lambda _: [there(sales(DAYS[0], orders=3))])
    assert stored(lake, DAILY_SALES)["orders"].to_list() == [3]
    (again,) = lake.replace_dates([DAILY_SALES], DAYS[0], DAYS[0], lambda _: [there(sales(DAYS[0], orders=3))])
    assert again.changed.is_empty()


_KILLED = """
import os, signal, sys
import narwhals as nw
from orders_lakehouse.curated.daily_sales import DAILY_SALES
from orders_lakehouse.delta.engines import spark as cluster
from orders_lakehouse.delta.tables import Lake
from tests.support.spark_sales import DAYS, sales, there
cluster._commit = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
lake = Lake(sys.argv[1], "UTC", engine=cluster.SPARK)
lake.replace_dates([DAILY_SALES], DAYS[0], DAYS[0], lambda _: [there(sales(DAYS[0], orders=5))])
"""


@pytest.fixture
def elsewhere(
    on_spark: None,  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[[str], None]]:
    """Points the settings at another endpoint; no request is tried again."""

    def point(remote: str) -> None:
        monkeypatch.setenv("SPARK_REMOTE", remote)
        settings.cache_clear()

    monkeypatch.setattr(spark_session, "_RETRIES", 0)
    yield point
    spark_session.forget()


def test_unreachable_server_is_reported(tmp_path: Path, elsewhere: Callable[[str], None]) -> None:
    elsewhere("sc://127.0.0.1:9/;token=s3cr3t")
    lake = Lake(str(tmp_path / "lake"), "UTC", engine=SPARK)
    with pytest.raises(
        ClusterUnavailableError, match=r"no server answers at sc://127\.0\.0\.1:9; expected a Spark"
    ) as said:
        lake.replace_dates([DAILY_SALES], DAYS[0], DAYS[0], lambda source: [source.scan(DAILY_SALES)])
    assert "s3cr3t" not in str(said.value)
    assert rows_of(lake.scan(DAILY_SALES)).is_empty()


@pytest.mark.thorough
def test_two_steps_of_a_run_at_once_share_the_cluster(terminal: Terminal, spark_endpoint: str) -> None:
    looked_at = terminal.inspect()
    looked_at.shop(SHOP)
    looked_at.oracle.look()
    done = terminal.run("backfill", "2017-01-01", "2017-01-09", LAKEHOUSE_ENGINE="spark", SPARK_REMOTE=spark_endpoint)
    assert done.returncode == 0, done.stderr
    assert looked_at.wrong_curated() == {}
    assert looked_at.wrong_marts() == {}


def test_restarted_server_is_used_after_one_failure(tmp_path: Path, elsewhere: Callable[[str], None]) -> None:
    lake = Lake(str(tmp_path / "lake"), "UTC", engine=SPARK)

    def derive() -> None:
        lake.replace_dates([DAILY_SALES], DAYS[0], DAYS[0], lambda source: [source.scan(DAILY_SALES)])

    with spark_server() as url:
        elsewhere(url)
        derive()
    with spark_server(port=int(url.rpartition(":")[2])):
        # It takes the old session for a new one, and knows nothing of its configuration.
        with pytest.raises(ClusterUnavailableError, match=r"its time zone is .*, expected UTC"):
            derive()
        derive()


@pytest.mark.usefixtures("on_spark")
def test_unsupported_operation_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="cannot read Delta tables"), spark_session.explain_cluster_errors():
        session().read.format("no_such_format").load(str(tmp_path)).collect()
    halves = there(sales(DAYS[0])).select(nw.col("orders").cast(nw.Float64) / 2)
    with pytest.raises(ClusterError, match="does not support an operation"):
        rows_of(halves)


def test_missing_client_is_reported(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspark.errors", None)
    with pytest.raises(ClusterError, match=r"client of Spark is not installed .* expected the extra `spark`"):
        lake.replace_dates([DAILY_SALES], DAYS[0], DAYS[0], lambda source: [source.scan(DAILY_SALES)])


def test_cluster_without_storage_access_is_reported(bucket: str, elsewhere: Callable[[str], None]) -> None:
    lake = Lake(bucket, "UTC", engine=SPARK)
    # It was started without AWS_ALLOW_HTTP.
    with spark_server() as url:
        elsewhere(url)
        with pytest.raises(ClusterError, match=r"cannot use the storage of the lake .* expected credentials"):
            lake.replace_dates([DAILY_SALES], DAYS[0], DAYS[0], lambda source: [source.scan(DAILY_SALES)])


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("[INVALID_HANDLE.SESSION_NOT_FOUND] The handle is invalid.", ClusterUnavailableError),
        ("Generic S3 error: Server returned non-2xx status code: 503 Service Unavailable", ClusterUnavailableError),
        ("[DATA_SOURCE_NOT_FOUND] Failed to find the data source: delta.", ClusterError),
        ("[UNSUPPORTED_FEATURE.SET_OPERATION] The feature is not supported", ClusterError),
        ("[TABLE_OR_VIEW_NOT_FOUND]", None),
    ],
)
@pytest.mark.usefixtures("on_spark")
def test_server_errors_are_recognized(said: str, expected: type[ExpectedError] | None) -> None:
    assert type(spark_session._explanation(said)) is (expected or type(None))
