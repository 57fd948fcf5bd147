"""Windows that are read in batches."""

from datetime import timedelta

import polars as pl
import pytest

from orders_lakehouse.entities.products import RAW_PRODUCTS
from orders_lakehouse.sources import batches
from orders_lakehouse.sources.base import Batch, Window
from orders_lakehouse.sources.postgres import versions as source
from orders_lakehouse.sources.postgres.versions import read_versions
from tests.support.postgres_source import DAY, UTC_FROM_2017, Shop
from tests.support.rows import on

pytestmark = pytest.mark.usefixtures("clean_settings")


class TestBatches:
    @pytest.fixture
    def large(self, shop: Shop) -> Shop:
        # The driver hands over at least 16 MB at a time.
        shop.run("""
            INSERT INTO shop.products (product_id, product_name, updated_at)
            SELECT n, repeat('x', 1000), timestamptz '2020-03-02' + n % 500 * interval '1 minute'
            FROM generate_series(1, 40000) AS n
        """)
        return shop

    @pytest.mark.usefixtures("large")
    def test_large_window_comes_in_batches_with_the_same_rows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        window = Window(DAY, DAY, UTC_FROM_2017)
        (whole,) = read_versions(RAW_PRODUCTS, window)
        monkeypatch.setattr(source, "BATCH_ROWS", 1000)
        found = list(read_versions(RAW_PRODUCTS, window))
        assert len(found) > 1
        assert all(batch.rows.height >= 1000 for batch in found[:-1])
        assert {batch.in_window for batch in found} == {whole.in_window} == {40_000}
        joined = pl.concat([batch.rows for batch in found])
        assert joined.drop("captured_at").sort("product_id").equals(whole.rows.drop("captured_at").sort("product_id"))

    def test_batches_follow_the_dates_and_share_none(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        shop.run("""
            INSERT INTO shop.products (product_id, updated_at)
            SELECT n, timestamptz '2020-03-02' + n % 3 * interval '1 day' FROM generate_series(1, 300) AS n
        """)
        days = [DAY + number * timedelta(days=1) for number in range(3)]
        for rows, expected in ((150, [days[:1], days[1:2], days[2:]]), (200, [days[:2], days[2:]]), (300, [days])):
            monkeypatch.setattr(source, "BATCH_ROWS", rows)
            found = read_versions(RAW_PRODUCTS, Window(DAY, on("2020-12-31"), UTC_FROM_2017))
            assert [batch.rows["captured_on"].unique().sort().to_list() for batch in found] == expected

    def test_wide_rows_come_in_batches_of_bounded_bytes(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        shop.run("""
            ALTER TABLE shop.products ADD note text;
            INSERT INTO shop.products (product_id, updated_at, note)
            SELECT n, timestamptz '2020-03-02' + n % 4 * interval '1 day', repeat(md5(n::text), 900)
            FROM generate_series(1, 400) AS n
        """)
        monkeypatch.setattr(batches, "_FIRST_ROWS", 100)
        monkeypatch.setattr(source, "batch_bytes", lambda: 4_000_000)
        found = list(read_versions(RAW_PRODUCTS, Window(DAY, on("2020-12-31"), UTC_FROM_2017)))
        days = [DAY + number * timedelta(days=1) for number in range(4)]
        assert [batch.rows["captured_on"].unique().to_list() for batch in found] == [[day] for day in days]
        assert [batch.extras["note"].str.len_bytes().sum() for batch in found] == [100 * 28_800] * 4

    def test_write_between_two_batches_is_not_read(self, large: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(source, "BATCH_ROWS", 1000)
        reader = read_versions(RAW_PRODUCTS, Window(DAY, DAY, UTC_FROM_2017))
        found: list[Batch] = [next(reader)]
        large.run("""
            UPDATE shop.products SET product_name = 'changed';
            INSERT INTO shop.products (product_id, updated_at) VALUES ('late', '2020-03-02');
        """)
        found += reader
        frame = pl.concat([batch.rows for batch in found])
        assert frame.height == found[0].in_window == 40_000
        assert "changed" not in frame["product_name"]
        assert frame["captured_at"].n_unique() == 1
