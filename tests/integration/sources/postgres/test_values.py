"""Values of the shop, as they are read."""

from datetime import UTC, datetime

import pytest

from orders_lakehouse.entities.customers import RAW_CUSTOMERS
from orders_lakehouse.entities.orders import RAW_ORDERS
from orders_lakehouse.entities.payments import RAW_PAYMENTS
from tests.support.postgres_source import DAY, UTC_FROM_2017, Shop, read
from tests.support.rows import at, on

pytestmark = pytest.mark.usefixtures("clean_settings")


class TestValues:
    def test_infinity_and_years_beyond_count_as_the_ends_of_time(self, shop: Shop) -> None:
        shop.run("""
            INSERT INTO shop.customers (customer_id, date_of_birth, registered_at, updated_at) VALUES
              ('a', '-infinity', '-infinity', '2020-03-02'),
              ('b', 'infinity', 'infinity', '2020-03-02'),
              ('c', '4713-01-01 BC', '4713-01-01 BC', '2020-03-02'),
              ('d', '5874897-01-01', '294276-01-01', '2020-03-02'),
              ('e', '0001-01-01', '9999-12-31 00:00+00', '2020-03-02'),
              ('f', null, null, '2020-03-02')
        """)
        frame = read(RAW_CUSTOMERS, DAY).sort("customer_id")
        first, last = on("0001-01-01"), on("9999-12-31")
        assert frame["date_of_birth"].to_list() == [first, last, first, last, first, None]
        earliest, latest = at("0001-01-01 00:00"), at("9999-12-31 00:00")
        assert frame["registered_at"].to_list() == [earliest, latest, earliest, latest, latest, None]

    def test_infinite_change_clock_is_captured(self, shop: Shop) -> None:
        shop.order("never", "'-infinity'")
        shop.order("always", "'infinity'")
        start, today = UTC_FROM_2017.start, datetime.now(UTC).date()
        found = read(RAW_ORDERS, start, today).sort("order_id").select("order_id", "captured_on", "updated_at").rows()
        assert found == [
            ("always", today, at("9999-12-31 00:00")),
            ("never", start, at("0001-01-01 00:00")),
        ]

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("'NaN'", "NaN"),
            ("'Infinity'", "Infinity"),
            ("1.10", "1.10"),
            ("-0.00", "0.00"),
            ("1e20", "100000000000000000000"),
            ("0.12345678901234567890123456789", "0.12345678901234567890123456789"),
            ("null", None),
        ],
    )
    def test_number_keeps_every_digit(self, shop: Shop, value: str, expected: str | None) -> None:
        shop.run("ALTER TABLE shop.payments ALTER amount TYPE numeric")
        shop.run(f"INSERT INTO shop.payments (payment_id, amount, updated_at) VALUES ('y', {value}, '2020-03-02')")
        assert read(RAW_PAYMENTS, DAY)["amount"].to_list() == [expected]

    def test_text_comes_as_it_is(self, shop: Shop) -> None:
        shop.order(" Ö''1 \n", "'2020-03-02'", status="''", currency="' eur'", customer_id="E'\\u2028'")
        (row,) = read(RAW_ORDERS, DAY).to_dicts()
        assert row["order_id"] == " Ö'1 \n"
        assert (row["status"], row["currency"], row["customer_id"]) == ("", " eur", "\u2028")

    def test_deleted_rows_are_read_like_any_other(self, shop: Shop) -> None:
        shop.order("gone", "'2020-03-02 12:00+00'", deleted_at="'2020-03-02 11:00+00'")
        assert read(RAW_ORDERS, DAY)["deleted_at"].to_list() == [at("2020-03-02 11:00")]
