"""Random changes of a shop, as statements."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from orders_lakehouse.tables import RAW_OF

minutes = st.sampled_from([1, 20, 50, 300, 1500])
orders, customers = st.sampled_from(["o1", "o2", "o3", "ö4"]), st.sampled_from(["c1", "c2", "c3"])
products, payments = st.sampled_from(["p1", "p2", "p3"]), st.sampled_from(["y1", "y2", "y3"])
shipments, warehouses = st.sampled_from(["s1", "s2", "s3"]), st.sampled_from(["w1", "w2"])

# Currencies with two, no and three decimals, drawn separately for an order and its payments.
currency = st.sampled_from(["'EUR'", "'EUR'", "' eur '", "'JPY'", "'KWD'", "'EURO'", "null"])
# Amounts with decimals that some of the currencies allow, or none.
amounts = ["1", "2.50", "0.005", "1.0005"]
quantities = ["1", "2", "4", "1.5", "0.000001", "-1", "0.0000001", "'NaN'"]
# Business dates from before the first partition to after the clock.
instant = st.builds(
    lambda day, hour: f"'{datetime(2016, 12, 31, tzinfo=UTC) + timedelta(days=day, hours=hour)}'",
    st.integers(0, 12),
    st.sampled_from([0, 9, 23]),
)
# Instants of an order or a customer, some of them wrong in ways that keep the row.
happened = st.one_of(instant, st.sampled_from(["null", "null", "'infinity'", "'-infinity'", "'1899-12-31'"]))
maybe_deleted = st.sampled_from(["null", "null", "null", "{clock}"])


def text(*values: str) -> st.SearchStrategy[str]:
    return st.sampled_from([f"'{value}'" for value in values])


def upsert(table: str, key: dict[str, st.SearchStrategy[Any]], columns: dict[str, Any]) -> st.SearchStrategy[str]:
    """Return statements that insert or change a row; `{clock}` stands for its change clock."""

    def statement(values: dict[str, Any]) -> str:
        values = {**values, "updated_at": "{clock}"}
        changed = ", ".join(f"{name} = excluded.{name}" for name in values if name not in key)
        listed = ", ".join(str(value) for value in values.values())
        return (
            f"INSERT INTO shop.{table} ({', '.join(values)}) VALUES ({listed}) "
            f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changed}"
        )

    quoted = {name: keys.map(lambda value: f"'{value}'") for name, keys in key.items()}
    return st.fixed_dictionaries({**quoted, **columns, "deleted_at": maybe_deleted}).map(statement)


MUTATIONS = st.one_of(
    upsert(
        "orders",
        {"order_id": orders},
        {
            "customer_id": st.one_of(customers.map("'{}'".format), st.just("null")),
            "ordered_at": st.one_of(instant, instant, instant, st.just("null")),
            "status": text("placed", "paid", "delivered", "cancelled", "nonsense"),
            "currency": currency,
            "shipped_at": happened,
            "delivered_at": happened,
        },
    ),
    upsert(
        "order_items",
        {"order_id": st.one_of(orders, st.just("never")), "line_number": st.integers(1, 2)},
        {
            "product_id": st.one_of(products.map("'{}'".format), st.just("null")),
            "quantity": st.sampled_from(quantities),
            "unit_price": st.sampled_from(["1.0050", "2.5", "0.00000001", "-1", "null"]),
            "discount": st.sampled_from(["null", "0", *amounts]),
        },
    ),
    upsert(
        "payments",
        {"payment_id": payments},
        {
            "order_id": st.one_of(orders.map("'{}'".format), text("never"), st.just("null")),
            "method": text("card", "cash", "shells"),
            "amount": st.sampled_from([*amounts, "null"]),
            "currency": currency,
            "status": text("authorised", "captured", "refunded"),
            "paid_at": happened,
        },
    ),
    upsert(
        "customers",
        {"customer_id": customers},
        {
            "full_name": text("Ada", "Zoë", " Cleo "),
            "email": text("zoë@example.org", "nobody"),
            "registered_at": happened,
            "country_code": text("GB", "it", "XXX"),
        },
    ),
    upsert(
        "products",
        {"product_id": products},
        {
            "product_name": text("Käse", "Cup"),
            "unit_price": st.sampled_from(["1", "2.5", "-1", "0.000000001", "'NaN'", "null"]),
            "currency": currency,
        },
    ),
    # Late, in part, and with another order from one change to the next.
    upsert(
        "shipments",
        {"shipment_id": shipments},
        {
            "order_id": st.one_of(orders.map("'{}'".format), text("never"), st.just("null")),
            "warehouse_code": st.one_of(warehouses.map("'{}'".format), text("nowhere"), st.just("null")),
            "carrier": text("Northline", " Quickbird "),
            "shipped_at": happened,
            "delivered_at": happened,
            "cost": st.sampled_from([*amounts, "-1", "null"]),
            "currency": currency,
            "status": text("pending", "shipped", "delivered", "lost", "cancelled", "on its way"),
        },
    ),
    upsert(
        "shipment_items",
        {"shipment_id": shipments, "order_id": st.one_of(orders, st.just("never")), "line_number": st.integers(1, 2)},
        {"quantity": st.sampled_from(quantities)},
    ),
    upsert(
        "warehouses",
        {"code": warehouses},
        {"name": text("North", "Süd"), "city": text("Kiel", ""), "country_code": text("DE", "uk", "XXX")},
    ),
)

# Rows that the shop deletes without a mark, and marked rows that it purges.
DELETIONS = st.one_of(
    orders.map("orders WHERE order_id = '{}'".format),
    st.one_of(orders, st.just("never")).map("order_items WHERE order_id = '{}'".format),
    payments.map("payments WHERE payment_id = '{}'".format),
    customers.map("customers WHERE customer_id = '{}'".format),
    products.map("products WHERE product_id = '{}'".format),
    shipments.map("shipments WHERE shipment_id = '{}'".format),
    shipments.map("shipment_items WHERE shipment_id = '{}'".format),
    warehouses.map("warehouses WHERE code = '{}'".format),
    st.sampled_from([f"{table} WHERE deleted_at IS NOT NULL" for table in sorted(RAW_OF)]),
)
