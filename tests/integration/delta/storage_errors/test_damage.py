"""Files that are not what was written."""

import os
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.curated.daily_sales import DAILY_SALES
from orders_lakehouse.delta import object_store, table_cache
from orders_lakehouse.delta.corruption import readable_rows
from orders_lakehouse.delta.frames import rows_of
from orders_lakehouse.delta.object_store import LakeError, bucket_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.orders import RAW_ORDERS
from orders_lakehouse.pipeline.recapture import recapture
from orders_lakehouse.tables import KEY_DATES, SOURCE_COLUMNS
from tests.support.rows import on, rows
from tests.support.s3 import client
from tests.support.two_dates import FIRST, LATER, insert, replace, sales, stored


class TestADamagedTable:
    """On disk and in a bucket: a file that is not what was written."""

    @pytest.fixture(params=["disk", "s3"])
    def plain(self, request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
        url = str(tmp_path) if request.param == "disk" else f"{request.getfixturevalue('bucket')}/lake"
        made = Lake(url, "UTC")
        replace(made, orders=1)
        insert(made)
        return made

    @staticmethod
    def change(lake: Lake, path: str, change: Callable[[bytes], bytes] | None) -> None:
        if not object_store.is_s3(lake.url):
            file = Path(lake.url, path)
            file.unlink() if change is None else file.write_bytes(change(file.read_bytes()))
            return
        s3, place = client(os.environ["AWS_ENDPOINT_URL"]), {"Bucket": bucket_of(lake.url), "Key": f"lake/{path}"}
        if change is None:
            s3.delete_object(**place)
        else:
            s3.put_object(**place, Body=change(s3.get_object(**place)["Body"].read()))

    @staticmethod
    def a_file(lake: Lake, table: Table) -> str:
        return f"{table.path}/{lake.open(table).get_add_actions(flatten=True)['path'][0].as_py()}"

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda content: b"x" * len(content), "is no readable Parquet file"),
            (lambda content: content[:20] + b"\xff" * 60 + content[80:], "is no readable Parquet file"),
            (lambda content: content[: len(content) // 2], r"has [\d,]+ bytes, expected [\d,]+"),
            (lambda _content: b"", r"has 0 bytes, expected [\d,]+"),
            (None, "is missing"),
        ],
        ids=["garbage", "flipped", "cut off", "empty", "gone"],
    )
    def test_damaged_data_file_is_named_with_next_step(
        self, plain: Lake, change: Callable[[bytes], bytes] | None, said: str
    ) -> None:
        derived, raw = self.a_file(plain, DAILY_SALES), self.a_file(plain, RAW_ORDERS)
        for path in (derived, raw):
            self.change(plain, path, change)

        with pytest.raises(LakeError, match=f"curated/daily_sales is damaged: its file .*{said}") as raised:
            stored(plain)
        assert derived.rpartition("/")[2] in str(raised.value)
        assert "`lakehouse reset daily_sales`" in str(raised.value)

        for use in (lambda: insert(plain), lambda: rows_of(plain.scan(RAW_ORDERS))):
            with pytest.raises(LakeError, match=f"raw/orders is damaged: its file .*{said}") as raised:
                use()
            assert raw.rpartition("/")[2] in str(raised.value)
            assert "Only raw has versions" in str(raised.value)
            assert "If there is none, run `lakehouse recapture orders 2020-03-02`" in str(raised.value)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda content: content[: len(content) // 2], "is no readable Parquet file"),
            (None, "is missing"),
        ],
        ids=["cut off", "gone"],
    )
    def test_raw_date_is_recaptured_on_any_storage(
        self, plain: Lake, change: Callable[[bytes], bytes] | None, said: str
    ) -> None:
        path = self.a_file(plain, RAW_ORDERS)
        self.change(plain, path, change)
        of_shop, none = rows(RAW_ORDERS, {"order_id": "o3"}), pl.DataFrame()
        done = recapture(plain, RAW_ORDERS, on("2020-03-02"), of_shop, none, Calendar(on("2017-01-01"), "UTC"))
        (wrong,) = done.wrong
        assert wrong.startswith(f"{path.removeprefix('raw/orders/')} {said}")
        assert (done.before, done.kept.height, done.taken.height) == (2, 0, 1)
        assert rows_of(plain.scan(RAW_ORDERS))["order_id"].to_list() == ["o3"]

    @pytest.mark.parametrize(
        "change",
        [lambda _content: b"not json", lambda content: content[: len(content) // 2]],
        ids=["garbage", "cut off"],
    )
    def test_damaged_last_commit_is_named_and_removable(self, plain: Lake, change: Callable[[bytes], bytes]) -> None:
        replace(plain, orders=2)
        last = f"{DAILY_SALES.path}/_delta_log/{2:020}.json"
        self.change(plain, last, change)
        for use in (lambda: stored(plain), lambda: replace(plain, orders=3)):
            with pytest.raises(LakeError, match=f"curated/daily_sales is damaged: the file .*{2:020}.json") as raised:
                use()
            assert f"remove {plain.url}/{last}: the table then has its state before" in str(raised.value)

        self.change(plain, last, None)
        assert stored(plain) == [1, 1]
        replace(plain, orders=2)
        assert stored(plain) == [2, 2]

    def test_damaged_first_commit_cannot_be_removed(self, plain: Lake) -> None:
        self.change(plain, f"{DAILY_SALES.path}/_delta_log/{0:020}.json", lambda _content: b"{")
        # As another process finds it, which remembers nothing.
        table_cache._handles.clear()
        with pytest.raises(LakeError, match=f"{0:020}.json of its log cannot be read.*`lakehouse reset daily_sales`"):
            stored(plain)

    def test_empty_last_commit_is_an_error_not_an_empty_change(self, tmp_path: Path) -> None:
        lake = Lake(str(tmp_path), "UTC")
        replace(lake, orders=1)
        self.change(lake, f"{DAILY_SALES.path}/_delta_log/{1:020}.json", lambda _content: b"")
        with pytest.raises(LakeError, match=f"{1:020}.json of its log is empty. It is the last commit."):
            stored(lake)


def test_other_row_groups_of_a_damaged_file_are_read(tmp_path: Path) -> None:
    place = tmp_path / "rows.parquet"
    sales(FIRST, LATER, LATER).write_parquet(place, row_group_size=1, compression="uncompressed")
    whole, wrong = readable_rows(fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()), place.name)
    assert (whole.height, wrong) == (3, None)
    assert whole.equals(sales(FIRST, LATER, LATER))

    second = pq.ParquetFile(place).metadata.row_group(1).column(0)
    begin = min(second.dictionary_page_offset or second.data_page_offset, second.data_page_offset)
    content = bytearray(place.read_bytes())
    content[begin : begin + second.total_compressed_size] = b"\xff" * second.total_compressed_size
    place.write_bytes(content)
    rest, wrong = readable_rows(fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()), place.name)
    assert rest.height == 2
    assert "is no readable Parquet file" in str(wrong)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (KEY_DATES, "run `lakehouse rebuild-key-dates`"),
        (SOURCE_COLUMNS, "each capture then records the present columns"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_raw_table_without_dates_has_its_own_remedy(tmp_path: Path, table: Table, said: str) -> None:
    lake = Lake(str(tmp_path / "lake"), "UTC")
    lake.append(table, pl.DataFrame([[None] * len(table.schema)], schema=table.schema, orient="row"))
    (path,) = lake.open(table).get_add_actions(flatten=True)["path"].to_pylist()
    Path(lake.location(table), path).unlink()
    with pytest.raises(LakeError, match=f"{table.path} is damaged: its file .* is missing.*{said}"):
        rows_of(lake.scan(table))
