"""A damaged file of raw: whoever meets it is told the way out, and the way out leads back to a lake that is whole."""

from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.delta.table_files import files_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.encoding import BAD_BYTE
from orders_lakehouse.entities.customers import CUSTOMERS, RAW_CUSTOMERS
from orders_lakehouse.entities.order_items import ORDER_ITEMS, RAW_ORDER_ITEMS
from orders_lakehouse.entities.orders import ORDERS, RAW_ORDERS
from orders_lakehouse.entities.payments import RAW_PAYMENTS
from orders_lakehouse.pipeline import recapture as module
from orders_lakehouse.pipeline.recapture import recapture
from orders_lakehouse.pipeline.row_accounting import accounts
from tests.support.lakehouse import Lakehouse, failures, lakehouse_like, lakehouse_on
from tests.support.rows import at, on, rows
from tests.support.terminal import Command

pytestmark = [pytest.mark.xdist_group("recapture"), pytest.mark.long]

DAY, LATER = "2017-01-02", "2017-01-03"
IN_THE_LAKE = "group:raw or group:cleansed"
LINES = "order_items (order_id, line_number, product_id, quantity, unit_price, discount, updated_at)"
PAYMENTS = "payments (payment_id, order_id, method, amount, currency, status, updated_at)"


def placed(number: int, at: str) -> str:
    """An order with a line, a payment and a customer of its own, all of them changed at an instant."""
    return f"""
        INSERT INTO shop.customers (customer_id, full_name, updated_at) VALUES ('c{number}', 'Ada', '{at}');
        INSERT INTO shop.orders (order_id, customer_id, ordered_at, status, currency, updated_at)
            VALUES ('o{number}', 'c{number}', '2017-01-0{number}', 'paid', 'EUR', '{at}');
        INSERT INTO shop.{LINES} VALUES ('o{number}', 1, 'p1', 1, 3, 0, '{at}');
        INSERT INTO shop.{PAYMENTS} VALUES ('y{number}', 'o{number}', 'card', 3, 'EUR', 'captured', '{at}');
    """


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory, postgres_url_factory: Callable[..., str]) -> Iterator[Lakehouse]:
    """Two files for a date: one of the rows 1 and 2, one of row 3; and row 1 has changed since. Not to be changed."""
    with lakehouse_on(None, tmp_path_factory.mktemp("standing"), postgres_url_factory) as made:
        for change in (placed(1, f"{DAY} 10:00") + placed(2, f"{DAY} 11:00"), placed(3, f"{DAY} 12:00")):
            made.shop(change)
            assert failures(made.run(DAY, select="group:raw")) == []
        for table in ("customers", "orders", "order_items", "payments"):
            key = {"customers": "customer_id = 'c1'", "payments": "payment_id = 'y1'"}.get(table, "order_id = 'o1'")
            made.shop(f"UPDATE shop.{table} SET updated_at = '{LATER} 10:00' WHERE {key}")
        assert failures(made.run("2017-01-01", LATER, select=IN_THE_LAKE)) == []
        yield made


@pytest.fixture
def lakehouse(standing: Lakehouse, tmp_path: Path, postgres_url_factory: Callable[..., str]) -> Iterator[Lakehouse]:
    """A lakehouse like `standing`, of a test's own."""
    with lakehouse_like(standing, tmp_path, postgres_url_factory) as made:
        yield made


def file_with(lakehouse: Lakehouse, table: Table, key: str) -> Path:
    """The file of the date in which a key lies."""
    files = files_of(lakehouse.lake.open(table), table).filter(pl.col("date") == on(DAY))["path"]
    for path in files:
        place = Path(lakehouse.lake.location(table), path)
        if key in pq.ParquetFile(place).read()[table.key[0]].to_pylist():
            return place
    raise AssertionError(f"no file of {table.path} has {key}")


def cut_off(place: Path) -> None:
    place.write_bytes(place.read_bytes()[: place.stat().st_size // 2])


DAMAGES = pytest.mark.parametrize(
    ("damage", "said"), [(cut_off, "bytes, expected"), pytest.param(Path.unlink, "is missing", marks=pytest.mark.long)]
)


@DAMAGES
def test_run_names_commands_that_restore_the_lake(
    lakehouse: Lakehouse, command: Command, damage: Callable[[Path], None], said: str
) -> None:
    broken = file_with(lakehouse, RAW_ORDERS, "o1")
    damage(broken)
    for select in ("group:raw", "group:cleansed"):
        (found, *_) = [failure for failure in failures(lakehouse.run(DAY, select=select)) if "damaged" in failure]
        assert f"raw/orders is damaged: its file captured_on={DAY}/{broken.name}" in found
        assert said in found
        assert f"run `lakehouse recapture orders {DAY}`" in found

    status, out, err = command("recapture", "orders", DAY)
    assert (status, err) == (0, "")
    assert broken.name in out
    assert "Its files held 3 rows: 1 could be read and stay, 1 were captured from the shop." in out
    assert "Versions of 1 keys are lost; neither the shop nor a file has them any more:\n  o1\n" in out
    assert f"backfill {DAY} {DAY} --job capture_changes_job" in out
    assert "backfill 2017-01-01 2017-01-03 --job derive_dates_job" in out
    assert lakehouse.lake_rows(RAW_ORDERS).select("order_id", "captured_on").rows() == [
        ("o1", on(LATER)),
        ("o2", on(DAY)),
        ("o3", on(DAY)),
    ]

    assert failures(lakehouse.run("2017-01-01", LATER, select=IN_THE_LAKE)) == []
    found = lakehouse.lake_rows(ORDERS)
    assert dict(found.select("order_id", "versions").iter_rows()) == {"o1": 1, "o2": 1, "o3": 1}
    assert accounts(lakehouse.lake, ORDERS).missing == 0


@pytest.mark.parametrize(
    ("table", "key", "lost"),
    [(RAW_CUSTOMERS, "c1", "c1"), (RAW_ORDER_ITEMS, "o1", "o1"), (RAW_PAYMENTS, "y1", "y1")],
    ids=lambda value: getattr(value, "name", value),
)
def test_every_table_names_losses_and_dates_to_derive(
    lakehouse: Lakehouse, command: Command, table: Table, key: str, lost: str
) -> None:
    file_with(lakehouse, table, key).unlink()
    status, out, _ = command("recapture", table.path, DAY)
    assert status == 0
    assert f"any more:\n  {lost}\n" in out
    assert "backfill 2017-01-01 2017-01-03 --job derive_dates_job" in out
    assert failures(lakehouse.run("2017-01-01", LATER, select=IN_THE_LAKE)) == []
    for cleansed in (CUSTOMERS, ORDER_ITEMS):
        assert accounts(lakehouse.lake, cleansed).missing == 0


def test_row_known_only_to_cleansed_is_named_by_its_whole_key(lakehouse: Lakehouse, command: Command) -> None:
    lakehouse.shop(f"INSERT INTO shop.{LINES} VALUES ('o3', 2, 'p1', 1, 3, 0, '{DAY} 12:30')")
    assert failures(lakehouse.run("2017-01-01", LATER, select=IN_THE_LAKE)) == []
    # Deleted there rather than marked.
    lakehouse.shop("DELETE FROM shop.order_items WHERE line_number = 2")
    newest = max(Path(lakehouse.lake.location(RAW_ORDER_ITEMS)).glob("**/*.parquet"), key=lambda at: at.stat().st_mtime)
    newest.unlink()
    _, out, _ = command("recapture", "raw.order_items", DAY)
    assert "Versions of 1 keys are lost; neither the shop nor a file has them any more:\n  o3 / 2\n" in out


def invalid(table: Table, **given: object) -> pa.Table:
    """A row whose state is the byte eb, as a capture from a shop in LATIN1 once wrote it."""
    row = rows(table, given).to_arrow()
    offsets = pa.py_buffer((0).to_bytes(8, "little") + (1).to_bytes(8, "little"))
    text = pa.Array.from_buffers(pa.large_string(), 1, [None, offsets, pa.py_buffer(b"\xeb")])
    return row.set_column(row.column_names.index("status"), "status", text)


def test_text_that_is_no_utf8_is_kept_and_marked(lakehouse: Lakehouse, command: Command) -> None:
    captured = {"captured_on": on(DAY), "captured_at": at(f"{DAY} 13:30"), "updated_at": at(f"{DAY} 13:00")}
    poisoned = invalid(RAW_ORDERS, order_id="o4", ordered_at=at("2017-01-01 10:00"), **captured)
    write_deltalake(lakehouse.lake.location(RAW_ORDERS), poisoned, mode="append")
    (found, *_) = [failure for failure in failures(lakehouse.run(DAY, select="group:raw")) if "damaged" in failure]
    assert "holds text that is no UTF-8" in found
    assert f"run `lakehouse recapture orders {DAY}`" in found

    _, out, _ = command("recapture", "orders", DAY)
    assert "Its files held 4 rows: 4 could be read and stay, 0 were captured from the shop.\n\nNo key is lost." in out
    statuses = dict(lakehouse.lake_rows(RAW_ORDERS).select("order_id", "status").iter_rows())
    assert statuses["o4"] == f"{BAD_BYTE}eb"
    assert failures(lakehouse.run(DAY, select="group:raw")) == []


def test_intact_date_stays_as_it_is(lakehouse: Lakehouse, command: Command) -> None:
    before = lakehouse.lake.open(RAW_ORDERS).version()
    status, out, _ = command("recapture", "orders", DAY)
    assert (status, out) == (0, f"raw/orders on {DAY}: every file is whole. 0 rows of the shop were added.\n")
    assert lakehouse.lake.open(RAW_ORDERS).version() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("cleansed.orders", DAY),
            "found 'cleansed.orders'; expected a table that is captured from the shop: customers,",
        ),
        (("key_dates", DAY), "lakehouse rebuild-key-dates"),
        (("orders", "2016-12-31"), "2016-12-31 is before the first capture date, 2017-01-01"),
    ],
)
def test_unrecoverable_rows_are_reported(
    lakehouse: Lakehouse, command: Command, arguments: tuple[str, str], said: str
) -> None:
    assert lakehouse.lake.open(RAW_ORDERS).version() > 0
    status, _, err = command("recapture", *arguments)
    assert status == 1
    assert said in err


class TestInTheLake:
    """One commit that replaces a date, beside others who write."""

    CALENDAR = Calendar(on("2017-01-01"), "UTC")
    IDENTITY = ("order_id", "updated_at")

    @pytest.fixture
    def lake(self, tmp_path: Path) -> Lake:
        made = Lake(str(tmp_path / "lake"), "UTC")
        for days in (("2020-03-02", "2020-03-03"), ("2020-03-02",)):
            given = ({"order_id": f"o{len(days)}", "captured_on": on(day)} for day in days)
            made.insert_new(RAW_ORDERS, rows(RAW_ORDERS, *given), self.IDENTITY)
        return made

    @staticmethod
    def stored(lake: Lake) -> list[tuple[str, str]]:
        found = pl.DataFrame(lake.scan(RAW_ORDERS).to_native().collect())
        return sorted(found.select("order_id", pl.col("captured_on").cast(pl.String)).iter_rows())

    def again(self, lake: Lake, *given: str) -> module.Recaptured:
        of_shop = rows(RAW_ORDERS, *({"order_id": key} for key in given)) if given else rows(RAW_ORDERS, {}).clear()
        extras = pl.DataFrame({"gift": ["yes"] * len(given)}, schema={"gift": pl.String})
        return recapture(lake, RAW_ORDERS, on("2020-03-02"), of_shop, extras, self.CALENDAR)

    def test_recapture_keeps_other_dates_and_extra_columns(self, lake: Lake) -> None:
        (path, *_) = files_of(lake.open(RAW_ORDERS), RAW_ORDERS).filter(pl.col("date") == on("2020-03-02"))["path"]
        Path(lake.location(RAW_ORDERS), path).unlink()
        version = lake.open(RAW_ORDERS).version()
        done = self.again(lake, "o9")
        assert (done.before, done.kept.height, done.taken.height) == (2, 1, 1)
        assert ("o9", "2020-03-02") in self.stored(lake)
        assert ("o2", "2020-03-03") in self.stored(lake)
        assert len(self.stored(lake)) == 3
        assert pl.scan_delta(lake.location(RAW_ORDERS)).collect()["gift"].drop_nulls().to_list() == ["yes"]
        # A column that comes, and the date.
        assert lake.open(RAW_ORDERS).version() == version + 2

    def test_date_without_remaining_rows_is_empty(self, lake: Lake) -> None:
        for path in files_of(lake.open(RAW_ORDERS), RAW_ORDERS).filter(pl.col("date") == on("2020-03-02"))["path"]:
            Path(lake.location(RAW_ORDERS), path).write_bytes(b"")
        done = self.again(lake)
        assert (done.before, done.kept.height, done.taken.height) == (2, 0, 0)
        assert self.stored(lake) == [("o2", "2020-03-03")]

    def test_concurrent_capture_is_not_lost(self, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
        paths = files_of(lake.open(RAW_ORDERS), RAW_ORDERS).filter(pl.col("date") == on("2020-03-02"))["path"]
        Path(lake.location(RAW_ORDERS), paths[0]).unlink()
        attempts: list[str] = []

        def files_at(location: str) -> object:
            attempts.append(location)
            if len(attempts) == 1:
                # Whoever does not look at what is damaged may add to the date.
                row = rows(RAW_ORDERS, {"order_id": "meanwhile"}).to_arrow()
                write_deltalake(lake.location(RAW_ORDERS), row, mode="append", schema_mode="merge")
            return original(location)

        original = module.files_at
        monkeypatch.setattr(module, "files_at", files_at)
        self.again(lake, "o9")
        assert len(attempts) == 2
        assert {("meanwhile", "2020-03-02"), ("o9", "2020-03-02")} <= set(self.stored(lake))
