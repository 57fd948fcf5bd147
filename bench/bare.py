"""The tables of the pipeline from a bare script, as fast as possible: Polars, ADBC and SQL, for the comparison.

`python -m bench.bare FIRST LAST FILE`, in the environment of a run, fills an empty lake and an empty warehouse with the
tables that a backfill of these dates makes: raw, cleansed, quarantine and curated as Delta tables with the same
partitions, the copies in the warehouse, and the star schema. It has no orchestrator and no checks, it cannot run twice,
and a crash leaves partial tables. It assumes what only a bare script may: the shop has our schema.sql, and each row is
read once.

It makes one pass: lines stream in while earlier ones are cleansed, written and copied, and nothing is read back. It
imports only the lists of codes from the package, and implements the rules itself, so that equal tables confirm both. It
does not handle text that is not UTF-8, because a shop that knows its encoding has none.

FILE then holds as JSON: `spans`, start and end of each stage in seconds since the epoch (they overlap), and `lines`,
the number of lines read from the shop.
"""

import json
import os
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock_time
from pathlib import Path
from queue import Queue
from zoneinfo import ZoneInfo

import holidays
import polars as pl
from adbc_driver_postgresql import dbapi
from deltalake import DeltaTable
from deltalake.transaction import AddAction, RemoveAction

# Number of lines in work at once; as many again are read ahead, and as many are being written.
_CHUNK_ROWS = 500_000
_WRITERS = 8
# Number of concurrent statements; on two cores, two are faster than one with parallel workers.
_SESSION = ("work_mem = '256MB'", "maintenance_work_mem = '256MB'", "max_parallel_workers_per_gather = 0")
_INSTANT = pl.Datetime("us", "UTC")
_MONEY, _PRICE, _QUANTITY = pl.Decimal(18, 4), pl.Decimal(24, 8), pl.Decimal(18, 6)
_MONEY_SUM, _QUANTITY_SUM = pl.Decimal(38, 4), pl.Decimal(38, 6)
_CODES = Path(__file__).parents[1] / "orders_lakehouse" / "contracts" / "codes"
_MINOR_UNITS = dict(pl.read_csv(_CODES / "currencies.csv").select("code", "minor_units").iter_rows())
_COUNTRIES = pl.read_csv(_CODES / "countries.csv")["code"].to_list()
_ALIASES = dict(pl.read_csv(_CODES / "aliases.csv").select("alias", "code").iter_rows())
_CURRENCIES = list(_MINOR_UNITS)
_ORDER_STATUSES = ["placed", "paid", "shipped", "delivered", "cancelled", "returned"]
_PAYMENT_STATUSES = ["authorised", "captured", "refunded", "failed"]
_METHODS = ["card", "paypal", "voucher", "transfer", "cash", "other"]
_REVERSED = ["cancelled", "returned"]
# Limits of a total price and of its parts; values beyond them are out of range.
_LARGEST, _LARGEST_PRICE, _LARGEST_QUANTITY = 9.9e13, 9.9e15, 9.99e11
# Invisible characters around and within a key.
_UNSEEN = r"^\s|\s$|[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]|[\x{00A0}\x{1680}\x{2000}-\x{200A}\x{202F}\x{205F}\x{3000}]"


def _clamped(column: str, kind: str = "timestamptz") -> str:
    """Return SQL for an instant or a date of the shop, limited to years that other systems have."""
    earliest, latest = f"'0001-01-01'::{kind}", f"'9999-12-31'::{kind}"
    return (
        f"CASE WHEN {column} < {earliest} THEN {earliest} WHEN {column} > {latest} THEN {latest} ELSE {column} END "
        f"AS {column}"
    )


# SQL to read the shop: keys are never null, numbers are text.
_READ = {
    "customers": "coalesce(customer_id, '') AS customer_id, full_name, email, "
    f"{_clamped('date_of_birth', 'date')}, {_clamped('registered_at')}, address, city, state, "
    "postal_code, country_code",
    "products": "coalesce(product_id, '') AS product_id, product_name, category, manufacturer, "
    "unit_price::text AS unit_price, currency",
    "orders": f"coalesce(order_id, '') AS order_id, customer_id, {_clamped('ordered_at')}, status, currency, "
    f"{_clamped('shipped_at')}, {_clamped('delivered_at')}",
    "order_items": "coalesce(order_id, '') AS order_id, line_number::bigint AS line_number, product_id, "
    "quantity::text AS quantity, unit_price::text AS unit_price, discount::text AS discount",
    "payments": "coalesce(payment_id, '') AS payment_id, order_id, method, amount::text AS amount, currency, status, "
    f"{_clamped('paid_at')}",
}
# Last columns of every cleansed table.
# Versions of the contracts that reject rows, where they are not 3.
_CONTRACT = {"customers": "2", "products": "2"}
_KEPT = ("is_deleted", "versions", "candidates", "warnings", "updated_at", "captured_on", "captured_at")
_CLEANSED = {
    "customers": "customer_id full_name email date_of_birth registered_at registration_date address city state "
    "postal_code country_code",
    "products": "product_id product_name category manufacturer unit_price currency",
    "orders": "order_id order_date customer_id ordered_at business_date status currency shipped_at delivered_at",
    "order_items": "order_id line_number product_id quantity unit_price discount total_price order_date order_state "
    "order_currency",
    "payments": "payment_id order_id method amount currency status paid_at order_date order_state order_currency",
}
_COPIES = {
    "customers": "customer_id text, full_name text, email text, date_of_birth date, registered_at timestamptz, "
    "registration_date date, address text, city text, state text, postal_code text, country_code text, "
    "is_deleted boolean, updated_at timestamptz, captured_on date, captured_at timestamptz",
    "products": "product_id text, product_name text, category text, manufacturer text, unit_price numeric(24,8), "
    "currency text, is_deleted boolean, updated_at timestamptz, captured_on date, captured_at timestamptz",
    "orders": "order_id text, order_date date, customer_id text, ordered_at timestamptz, status text, currency text, "
    "shipped_at timestamptz, delivered_at timestamptz, updated_at timestamptz",
    "payments": "payment_id text, order_id text, method text, amount numeric(18,4), currency text, status text, "
    "paid_at timestamptz, order_date date",
    "order_lines": "order_id text, line_number integer, order_date date, ordered_at timestamptz, order_status text, "
    "customer_id text, product_id text, quantity numeric(18,6), unit_price numeric(24,8), discount numeric(18,4), "
    "total_price numeric(18,4), currency text",
    "calendar": "date date, is_holiday boolean, holiday_name text",
}
_OF_ORDER_LINE = (
    "order_id line_number order_date ordered_at order_status customer_id customer_name customer_city "
    "customer_country_code product_id product_name category manufacturer quantity unit_price discount total_price "
    "currency"
)


@dataclass(frozen=True)
class Job:
    """The inputs and outputs of the script.

    Attributes:
        first: First date.
        last: Last date.
        start: First partition; earlier changes are captured on it.
        timezone: Time zone of dates.
        country: Country of the holidays in the calendar.
        lake: Directory of the Delta tables.
        shop: URL of the shop.
        warehouse: URL of the warehouse.
        pool: Threads that write.
        appends: Pending writes to the lake.
        copies: Pending copies to the warehouse.
        spans: Start and end of each stage; they overlap.
    """

    first: date
    last: date
    start: date
    timezone: str
    country: str
    lake: Path
    shop: str
    warehouse: str
    pool: ThreadPoolExecutor
    appends: list[Future[None]] = field(default_factory=list)
    copies: list[Future[None]] = field(default_factory=list)
    spans: dict[str, tuple[float, float]] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure the time of a stage."""
        began = time.time()
        yield
        self.spans[name] = (began, time.time())

    def append(self, path: str, rows: pl.DataFrame, partition: str | None) -> None:
        """Append to a Delta table in the background."""
        self.appends.append(self.pool.submit(_append, self.lake / path, rows, partition))

    def copy(self, name: str, rows: pl.DataFrame) -> None:
        """Append to a copy in the warehouse in the background."""
        self.copies.append(self.pool.submit(_copy, self, name, rows))


def main() -> None:
    """Build everything."""
    with ThreadPoolExecutor(_WRITERS) as pool:
        job = Job(
            date.fromisoformat(sys.argv[1]),
            date.fromisoformat(sys.argv[2]),
            date.fromisoformat(os.environ["LAKEHOUSE_START_DATE"]),
            os.environ["LAKEHOUSE_TIMEZONE"],
            os.environ["LAKEHOUSE_HOLIDAYS_COUNTRY"],
            Path(os.environ["LAKE_URL"]),
            os.environ["SHOP_DATABASE_URL"],
            os.environ["WAREHOUSE_DATABASE_URL"],
            pool,
        )
        lines = build(job)
    Path(sys.argv[3]).write_text(json.dumps({"spans": job.spans, "lines": lines}))


def build(job: Job) -> int:
    """Make all tables, and return how many lines of the shop were read."""
    with job.stage("lake"):
        with job.stage("copies"):
            tables = [f"CREATE UNLOGGED TABLE lake.{name} ({columns})" for name, columns in _COPIES.items()]
            _execute(job, "CREATE SCHEMA lake", "CREATE SCHEMA marts", *tables)
            chunks = _streamed(job, "order_items")
            names = [name for name in _READ if name != "order_items"]
            raw = dict(zip(names, job.pool.map(lambda name: pl.concat(_read(job, name)), names), strict=True))
            for name, rows in raw.items():
                job.append(f"raw/{name}", rows, "captured_on")
            orders, states = _orders(job, raw["orders"])
            customers, products = _customers(job, raw["customers"]), _products(job, raw["products"])
            _payments(job, raw["payments"], states)
            job.copy("calendar", _calendar(job, orders))
            lines = _lines(job, chunks, orders, states, customers, products)
            _wait(job.copies)
        # Files of the last lines may still be in writing.
        with job.stage("marts"):
            small = job.pool.submit(_execute, job, *_DIM_CUSTOMERS, *_DIM_DATE, *_DIM_PAYMENT_METHODS)
            dim_products = job.pool.submit(_execute, job, *_DIM_PRODUCTS)
            _wait([small])
            fct_orders = job.pool.submit(_execute, job, *_FCT_ORDERS)
            _wait([dim_products])
            _execute(job, *_FCT_ORDER_LINES)
            _wait([fct_orders])
        _wait(job.appends)
    return lines


def _wait(work: list[Future[None]]) -> None:
    """Wait until all work is done, and raise its errors."""
    while work:
        work.pop().result()


# --- reading the shop


def _streamed(job: Job, table: str) -> "Queue[pl.DataFrame | Exception | None]":
    """Read the rows of a table ahead, in chunks; None marks the end, an exception a failure."""
    chunks: Queue[pl.DataFrame | Exception | None] = Queue(maxsize=1)

    def read() -> None:
        try:
            for chunk in _read(job, table):
                chunks.put(chunk)
            chunks.put(None)
        except Exception as error:  # noqa: BLE001 (raised where the chunks are taken)
            chunks.put(error)

    threading.Thread(target=read, name=table, daemon=True).start()
    return chunks


def _read(job: Job, table: str) -> Iterator[pl.DataFrame]:
    """Yield the rows of a table whose clock lies in the dates, with raw's columns; at least one chunk."""
    zone = ZoneInfo(job.timezone)
    with dbapi.connect(job.shop) as connection, connection.cursor() as cursor:
        cursor.execute("SET TIME ZONE 'UTC'")
        cursor.execute("SELECT now()")
        ((now,),) = cursor.fetchall()
        latest, today = now + timedelta(days=1), now.astimezone(zone).date()
        where = f"updated_at < '{_midnight(job.last + timedelta(days=1), zone)}' AND updated_at <= '{latest}'"
        if job.first > job.start:
            where += f" AND updated_at >= '{_midnight(job.first, zone)}'"
        if job.first <= today <= job.last:
            where = f"({where}) OR updated_at > '{latest}'"
        # Rows are ordered by the clock, so that a chunk has few partitions.
        columns = f"{_READ[table]}, updated_at, deleted_at"
        cursor.execute(f"SELECT {columns} FROM shop.{table} WHERE {where} ORDER BY updated_at")
        changed_on = pl.col("updated_at").dt.convert_time_zone(job.timezone).dt.date()
        is_ahead = pl.col("updated_at") > latest
        lineage = {
            "captured_on": pl.when(is_ahead).then(today).otherwise(pl.max_horizontal(changed_on, pl.lit(job.start))),
            "captured_at": pl.lit(now, _INSTANT),
            "run_id": pl.lit("bare"),
            "source": pl.lit("shop"),
            "change": pl.lit("clock"),
            "sequence": pl.lit(0, pl.Int64),
            "namespace": pl.lit("shop"),
        }
        for chunk in _chunks(cursor):
            yield chunk.with_columns(pl.selectors.datetime().cast(_INSTANT)).with_columns(**lineage)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, clock_time(), zone).astimezone(UTC)


def _chunks(cursor: dbapi.Cursor) -> Iterator[pl.DataFrame]:
    pending: list[pl.DataFrame] = []
    size, yielded = 0, False
    for batch in cursor.fetch_record_batch():
        pending.append(pl.DataFrame(batch))
        size += batch.num_rows
        if size >= _CHUNK_ROWS:
            yield pl.concat(pending)
            pending, size, yielded = [], 0, True
    if pending or not yielded:
        yield pl.concat(pending)


# --- cleansing


def _trimmed(column: str) -> pl.Expr:
    text = pl.col(column).str.strip_chars()
    return pl.when(text != "").then(text)


def _key(column: str) -> pl.Expr:
    return pl.when(pl.col(column).str.strip_chars() != "").then(pl.col(column))


def _code(column: str) -> pl.Expr:
    return _trimmed(column).str.to_uppercase().replace(_ALIASES)


def _number(column: str, dtype: pl.Decimal) -> pl.Expr:
    """Return a number of a raw column, null where it does not fit; `_longer_columns` goes with it."""
    return pl.when(~pl.col(f"longer {column}")).then(pl.col(column).cast(dtype, strict=False))


def _longer_columns(dtypes: Mapping[str, pl.Decimal]) -> list[pl.Expr]:
    """Return whether a number of a raw column fits except for its decimals, as `longer` and the column's name."""
    columns = []
    for column, dtype in dtypes.items():
        digits, scale = (dtype.precision or 0) - dtype.scale, dtype.scale
        pattern = rf"^-?[0-9]{{1,{digits}}}\.[0-9]{{{scale}}}[0-9]*[1-9]$"

        def judged(text: pl.Series, pattern: str = pattern, shortest: int = scale + 2) -> pl.Series:
            # Usually no text of a chunk is long enough; comparing lengths is cheap, searching is not.
            if int(text.str.len_bytes().max() or 0) <= shortest:  # type: ignore[arg-type]
                return pl.repeat(value=False, n=len(text), eager=True)
            return text.str.contains(pattern).fill_null(value=False)

        is_longer = pl.col(column).map_batches(judged, return_dtype=pl.Boolean, is_elementwise=True)
        columns.append(is_longer.alias(f"longer {column}"))
    return columns


def _readable(column: str) -> dict[str, pl.Expr]:
    """Return the rules that a number can be read."""
    is_longer = pl.col(f"longer {column}")
    return {
        f"{column}_out_of_range": pl.col(column).is_not_null() | pl.col(f"raw {column}").is_null() | is_longer,
        f"{column}_too_precise": ~is_longer,
    }


def _has_happened(column: str) -> pl.Expr:
    return (pl.col(column) >= datetime(1900, 1, 1, tzinfo=UTC)) & (
        pl.col(column) <= pl.col("updated_at") + pl.duration(days=1)
    )


def _no_unseen_characters(key: str) -> dict[str, tuple[pl.Expr, tuple[str, ...]]]:
    return {f"{key}_has_unseen_characters": (~pl.col(key).str.contains(_UNSEEN), ())}


def _step(currency: str) -> pl.Expr:
    """Return the minor unit of a currency, in ten-thousandths; for an unknown currency, the most common one."""
    units = {code: 10 ** (4 - decimals) for code, decimals in _MINOR_UNITS.items() if decimals != 2}
    return pl.col(currency).replace_strict(units, default=100, return_dtype=pl.Int64)


def _units(column: str) -> pl.Expr:
    """Return a decimal as the integer number of its smallest units."""
    return pl.col(column).to_physical()


def _integer(column: str) -> pl.Expr:
    return pl.col(column).cast(pl.Int32, strict=False)


def _present(*columns: str) -> dict[str, pl.Expr]:
    return {f"{column}_missing": pl.col(column).is_not_null() for column in columns}


def _split(
    rows: pl.LazyFrame,
    name: str,
    original: Sequence[str],
    changed: Mapping[str, pl.Expr],
    made: Mapping[str, pl.Expr],
    rules: Mapping[str, pl.Expr],
    softer: Mapping[str, tuple[pl.Expr, tuple[str, ...]]],
) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    """Return the rows that hold the rules, and the original rows of the others with their reasons.

    Args:
        rows: Raw rows, with the columns that they need from their order.
        name: Name of the table.
        original: The raw table's columns.
        changed: Columns whose values change.
        made: Columns made from these.
        rules: Condition that must hold, by reason; null holds.
        softer: Condition that should hold, by reason, and the columns that become null where it does not.
    """
    kept = [*_CLEANSED[name].split(), *_KEPT]
    ahead = {"updated_at_in_future": pl.col("updated_at") <= pl.col("captured_at") + pl.duration(days=1)}
    broken = {reason: ~holds.fill_null(value=True) for reason, holds in {**rules, **ahead}.items()}
    is_rejected = (pl.any_horizontal(*broken.values()) & ~pl.col("is_deleted")) | broken["updated_at_in_future"]
    judged = (
        rows.with_columns(
            *(pl.col(column).alias(f"raw {column}") for column in changed),
            is_deleted=pl.col("deleted_at").is_not_null(),
            versions=pl.lit(1, pl.Int64),
            candidates=pl.lit(1, pl.Int64),
        )
        .with_columns(**changed)
        .with_columns(**made)
        .with_columns(is_rejected=is_rejected)
    )
    reasons = (pl.when(breaks).then(pl.lit(reason)) for reason, breaks in broken.items())
    quarantined = judged.filter("is_rejected").select(
        *(pl.col(f"raw {column}").alias(column) if column in changed else column for column in original),
        *(["order_date"] if "order_date" in kept else []),
        reasons=pl.concat_str(*reasons, separator=", ", ignore_nulls=True),
        contract_version=pl.lit(_CONTRACT.get(name, "3")),
        versions="versions",
    )
    return _softened(judged.filter(~pl.col("is_rejected")), softer).select(kept), quarantined


def _softened(rows: pl.LazyFrame, softer: Mapping[str, tuple[pl.Expr, tuple[str, ...]]]) -> pl.LazyFrame:
    """Return rows with their warnings, and with null in the columns concerned."""
    if not softer:
        return rows.with_columns(warnings=pl.lit(None, pl.String))
    blanked: dict[str, list[str]] = {}
    for reason, (_, columns) in softer.items():
        for column in columns:
            blanked.setdefault(column, []).append(f"breaks {reason}")
    texts = (pl.when(f"breaks {reason}").then(pl.lit(reason)) for reason in softer)
    warnings = pl.concat_str(*texts, separator=", ", ignore_nulls=True)
    is_kept = ~pl.col("is_deleted")
    return rows.with_columns(
        (~holds.fill_null(value=True) & is_kept).alias(f"breaks {reason}") for reason, (holds, _) in softer.items()
    ).with_columns(
        *(pl.when(~pl.any_horizontal(broken)).then(column).alias(column) for column, broken in blanked.items()),
        warnings=pl.when(warnings != "").then(warnings),
    )


def _customers(job: Job, raw: pl.DataFrame) -> pl.DataFrame:
    registered, born = pl.col("registration_date"), pl.col("date_of_birth")
    split = _split(
        raw.lazy(),
        "customers",
        raw.columns,
        {name: _trimmed(name) for name in ("full_name", "address", "city", "state", "postal_code")}
        | {"email": _trimmed("email").str.to_lowercase(), "country_code": _code("country_code")},
        {"registration_date": pl.col("registered_at").dt.convert_time_zone(job.timezone).dt.date()},
        {
            "customer_id_missing": pl.col("customer_id").str.strip_chars() != "",
        },
        {
            "email_malformed": (pl.col("email").str.contains(r"^[^@\s]+@[^@\s]+\.[^@\s]+$"), ("email",)),
            "country_code_not_iso_3166": (pl.col("country_code").is_in(_COUNTRIES), ("country_code",)),
            **_no_unseen_characters("customer_id"),
            "registered_at_out_of_range": (_has_happened("registered_at"), ("registered_at", "registration_date")),
            "date_of_birth_out_of_range": (
                (born >= date(1900, 1, 1)) & (registered.is_null() | (born <= registered)),
                ("date_of_birth",),
            ),
        },
    )
    return _written(job, "customers", *pl.collect_all(split))


def _products(job: Job, raw: pl.DataFrame) -> pl.DataFrame:
    split = _split(
        raw.lazy().with_columns(_longer_columns({"unit_price": _PRICE})),
        "products",
        raw.columns,
        {name: _trimmed(name) for name in ("product_name", "category", "manufacturer")}
        | {"currency": _code("currency"), "unit_price": _number("unit_price", _PRICE)},
        {},
        {
            "product_id_missing": pl.col("product_id").str.strip_chars() != "",
        },
        {
            "unit_price_negative": (pl.col("unit_price") >= 0, ("unit_price",)),
            "currency_not_iso_4217": (pl.col("currency").is_in(_CURRENCIES), ("currency", "unit_price")),
            **_no_unseen_characters("product_id"),
            **{rule: (holds, ("unit_price",)) for rule, holds in _readable("unit_price").items()},
            "unit_price_without_currency": (
                pl.col("raw unit_price").is_null() | pl.col("currency").is_not_null(),
                ("unit_price",),
            ),
        },
    )
    return _written(job, "products", *pl.collect_all(split))


def _orders(job: Job, raw: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return cleansed orders, and the state of each order: order_id, order_date, order_state, order_currency, step."""
    business, captured = pl.col("business_date"), pl.col("captured_on")
    ordered, shipped, delivered = (pl.col(name) for name in ("ordered_at", "shipped_at", "delivered_at"))
    in_range = (business >= job.start) & (business <= captured.dt.offset_by("1d"))
    dated = (
        raw.lazy()
        .with_columns(business_date=pl.col("ordered_at").dt.convert_time_zone(job.timezone).dt.date())
        .with_columns(order_date=pl.when(in_range).then(business).otherwise(captured))
    )
    good, bad = _split(
        dated.filter(pl.col("order_date").is_between(job.first, job.last)),
        "orders",
        raw.columns,
        {
            "customer_id": _key("customer_id"),
            "status": _trimmed("status"),
            "currency": _code("currency"),
        },
        {},
        {
            "order_id_missing": pl.col("order_id").str.strip_chars() != "",
            **_present("ordered_at", "status"),
            "status_not_in_list": pl.col("status").is_in(_ORDER_STATUSES),
            **_present("currency"),
            "currency_not_iso_4217": pl.col("currency").is_in(_CURRENCIES),
            "ordered_at_in_future": pl.col("ordered_at") <= pl.col("updated_at") + pl.duration(days=1),
            "ordered_before_start": business >= pl.col("order_date"),
            "ordered_at_out_of_range": business <= pl.col("order_date"),
        },
        {
            **_no_unseen_characters("order_id"),
            "shipped_at_out_of_range": (_has_happened("shipped_at"), ("shipped_at",)),
            "delivered_at_out_of_range": (_has_happened("delivered_at"), ("delivered_at",)),
            "shipped_before_ordered": (shipped >= ordered, ()),
            "delivered_before_shipped": (
                (shipped.is_null() | (delivered >= shipped)) & (ordered.is_null() | (delivered >= ordered)),
                (),
            ),
        },
    )
    elsewhere = dated.filter(~pl.col("order_date").is_between(job.first, job.last))
    orders, rejected, others = pl.collect_all([good, bad, elsewhere])
    state = pl.when("is_deleted").then(pl.lit("deleted")).otherwise(pl.lit("valid"))
    is_before = pl.col("reasons").str.contains("ordered_before_start", literal=True)
    left_out = pl.when(is_before).then(pl.lit("before_start")).otherwise(pl.lit("quarantined"))
    states = [
        orders.select("order_id", "order_date", order_state=state, order_currency="currency"),
        rejected.select("order_id", "order_date", order_state=left_out, order_currency=_code("currency")),
        # Lines count at the date of their order, which is not among these dates.
        others.select("order_id", "order_date", order_state=pl.lit("valid"), order_currency="currency"),
    ]
    stepped = pl.concat(states).with_columns(step=_step("order_currency"))
    return _written(job, "orders", orders, rejected), stepped


def _of_orders(job: Job, rows: pl.DataFrame, states: pl.DataFrame) -> pl.LazyFrame:
    """Return lines or payments of the dates, with order_date, order_state, order_currency and step."""
    joined = rows.lazy().join(states.lazy(), on="order_id", how="left", maintain_order="left")
    return joined.with_columns(
        pl.col("order_state").fill_null("unknown"), pl.coalesce("order_date", "captured_on").alias("order_date")
    ).filter(pl.col("order_date").is_between(job.first, job.last))


_OF_ORDER = {
    "order_unknown": pl.col("order_state") != "unknown",
    "order_quarantined": pl.col("order_state") != "quarantined",
    "order_before_start": pl.col("order_state") != "before_start",
}
_DELETED = {"is_deleted": pl.col("is_deleted") | (pl.col("order_state") == "deleted")}


def _is_whole(amount: str, currency: str, step: pl.Expr) -> pl.Expr:
    """Return whether an amount has no more decimals than its currency; without a currency, any number is allowed."""
    return pl.col(currency).is_null() | (_units(amount) % step == 0).fill_null(value=True)


def _payments(job: Job, raw: pl.DataFrame, states: pl.DataFrame) -> None:
    readable = _readable("amount")
    split = _split(
        _of_orders(job, raw, states).with_columns(_longer_columns({"amount": _MONEY})),
        "payments",
        raw.columns,
        {
            "order_id": _key("order_id"),
            "method": _trimmed("method"),
            "status": _trimmed("status"),
            "currency": _code("currency"),
            "amount": _number("amount", _MONEY),
        },
        _DELETED,
        {
            "payment_id_missing": pl.col("payment_id").str.strip_chars() != "",
            **_present("method"),
            "method_not_in_list": pl.col("method").is_in(_METHODS),
            "amount_missing": pl.col("raw amount").is_not_null(),
            "amount_negative": pl.col("amount") >= 0,
            **_present("currency"),
            "currency_not_iso_4217": pl.col("currency").is_in(_CURRENCIES),
            **_present("status"),
            "status_not_in_list": pl.col("status").is_in(_PAYMENT_STATUSES),
            "amount_out_of_range": readable["amount_out_of_range"],
            "amount_too_precise": readable["amount_too_precise"] & _is_whole("amount", "currency", _step("currency")),
            **_OF_ORDER,
        },
        {
            **_no_unseen_characters("payment_id"),
            "currency_not_of_order": (pl.col("currency") == pl.col("order_currency"), ()),
            "paid_at_out_of_range": (_has_happened("paid_at"), ("paid_at",)),
        },
    )
    _written(job, "payments", *pl.collect_all(split))


def _total_price() -> pl.Expr:
    """Return quantity * unit_price - discount, rounded half away from zero to the minor unit, with 14 decimals."""
    sizes = (pl.col(name).cast(pl.Float64).abs() for name in ("quantity", "unit_price", "discount"))
    quantity, price, discount = sizes
    fits = (
        (quantity * price < _LARGEST)
        & (discount < _LARGEST)
        & (price < _LARGEST_PRICE)
        & (quantity < _LARGEST_QUANTITY)
    )
    ten_thousandth = pl.lit(10**10, pl.Int128)
    step = pl.col("step").fill_null(100).cast(pl.Int128)
    exact = pl.when(fits).then(_units("quantity") * _units("unit_price") - _units("discount") * ten_thousandth)
    steps = (exact.abs() + step * (ten_thousandth // 2)) // (step * ten_thousandth) * exact.sign()
    total = ((steps * step).cast(pl.Decimal(22, 4)) / 10_000).cast(_MONEY, strict=False)
    return pl.when(total.cast(pl.Float64).abs() < _LARGEST).then(total)


def _cleansed_lines(job: Job, raw: pl.DataFrame, states: pl.DataFrame) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    parts_missing = pl.any_horizontal(pl.col("quantity", "unit_price", "discount").is_null())
    discount = pl.when(pl.col("discount").is_not_null()).then(_number("discount", _MONEY)).otherwise(pl.lit(0, _MONEY))
    readable = {
        reason: holds for name in ("quantity", "unit_price", "discount") for reason, holds in _readable(name).items()
    }
    readable["discount_too_precise"] &= _is_whole("discount", "order_currency", pl.col("step"))
    return _split(
        _of_orders(job, raw, states).with_columns(
            _longer_columns({"quantity": _QUANTITY, "unit_price": _PRICE, "discount": _MONEY})
        ),
        "order_items",
        raw.columns,
        {
            "line_number": _integer("line_number"),
            "product_id": _key("product_id"),
            "quantity": _number("quantity", _QUANTITY),
            "unit_price": _number("unit_price", _PRICE),
            "discount": discount,
        },
        {"total_price": _total_price(), **_DELETED},
        {
            **_present("line_number", "product_id"),
            "quantity_missing": pl.col("raw quantity").is_not_null(),
            "quantity_not_positive": pl.col("quantity") > 0,
            "unit_price_missing": pl.col("raw unit_price").is_not_null(),
            "unit_price_negative": pl.col("unit_price") >= 0,
            "discount_negative": pl.col("discount") >= 0,
            "total_price_negative": pl.col("total_price") >= 0,
            **readable,
            "total_price_out_of_range": parts_missing | pl.col("total_price").is_not_null(),
            **_OF_ORDER,
        },
        {},
    )


# --- lines, and what is made of them


def _lines(
    job: Job,
    chunks: "Queue[pl.DataFrame | Exception | None]",
    orders: pl.DataFrame,
    states: pl.DataFrame,
    customers: pl.DataFrame,
    products: pl.DataFrame,
) -> int:
    """Make lines, from the shop to curated and the copy, and the tables that sum them; return the number of lines."""
    # One version of each customer and product is known: it is valid from the beginning of time.
    customer = customers.lazy().select(
        "customer_id", customer_name="full_name", customer_city="city", customer_country_code="country_code"
    )
    columns = ("order_id", "ordered_at", "customer_id", "currency")
    placed = orders.lazy().filter(~pl.col("is_deleted")).select(*columns, order_status="status")
    placed = placed.join(customer, on="customer_id", how="left").collect().lazy()
    product = products.lazy().select("product_id", "product_name", "category", "manufacturer")
    by_order: list[pl.DataFrame] = []
    count = 0
    while (raw := chunks.get()) is not None:
        if isinstance(raw, Exception):
            raise raw
        count += raw.height
        good, bad = _cleansed_lines(job, raw, states)
        lines = (
            good.filter(~pl.col("is_deleted"))
            .join(placed, on="order_id", maintain_order="left")
            .join(product, on="product_id", how="left", maintain_order="left")
            .select(_OF_ORDER_LINE.split())
        )
        of_order = pl.col("order_date", "currency", "customer_id", "order_status").first()
        sums = (
            pl.len().cast(pl.Int64).alias("lines"),
            pl.col("quantity").cast(_QUANTITY_SUM).sum().alias("units"),
            pl.col("total_price").cast(_MONEY_SUM).sum(),
        )
        cleansed, rejected, curated, summed = pl.collect_all(
            [good, bad, lines, lines.group_by("order_id").agg(of_order, *sums)]
        )
        by_order.append(summed)
        # The write of the previous chunk must end first, because two concurrent commits to a table conflict.
        _wait(job.appends)
        _wait(job.copies)
        job.append("raw/order_items", raw, "captured_on")
        job.append("quarantine/order_items", rejected, "order_date")
        job.append("cleansed/order_items", cleansed, "order_date")
        job.append("curated/order_lines", curated, "order_date")
        job.copy("order_lines", curated)
    _summed(job, pl.concat(by_order))
    return count


def _summed(job: Job, by_order: pl.DataFrame) -> None:
    """Return sales by date and purchases by customer, from sums over the lines of each order, or of parts of one."""
    of_order = pl.col("order_date", "currency", "customer_id", "order_status").first()
    whole = by_order.lazy().group_by("order_id").agg(of_order, pl.col("lines", "units", "total_price").sum())
    kept = ~pl.col("order_status").is_in(_REVERSED)
    price = pl.col("total_price")
    sales = whole.group_by("order_date", "currency").agg(
        orders=pl.len().cast(pl.Int64),
        lines=pl.col("lines").sum(),
        units=pl.col("units").sum().cast(_QUANTITY_SUM),
        gross=price.sum().cast(_MONEY_SUM),
        net=price.filter(kept).sum().cast(_MONEY_SUM),
    )
    day, recency = pl.col("order_date"), pl.col("recency_days")
    bought = (
        whole.filter(kept, pl.col("customer_id").is_not_null())
        .group_by("customer_id", "currency")
        .agg(
            orders=pl.len().cast(pl.Int64),
            units=pl.col("units").sum().cast(_QUANTITY_SUM),
            spend=price.sum().cast(_MONEY_SUM),
            first_order_on=day.min(),
            last_order_on=day.max(),
        )
        .with_columns(recency_days=(pl.lit(by_order["order_date"].max()) - pl.col("last_order_on")).dt.total_days())
        .with_columns(
            segment=pl.when(recency > 180)
            .then(pl.lit("dormant"))
            .when(recency > 90)
            .then(pl.lit("at_risk"))
            .when(pl.col("orders") >= 50)
            .then(pl.lit("champion"))
            .when(pl.col("orders") >= 10)
            .then(pl.lit("loyal"))
            .otherwise(pl.lit("recent"))
        )
    )
    daily, profile = pl.collect_all([sales, bought])
    job.append("curated/daily_sales", daily, "order_date")
    job.append("curated/customer_profile", profile, None)


# --- writing


def _written(job: Job, name: str, good: pl.DataFrame, bad: pl.DataFrame) -> pl.DataFrame:
    """Write a cleansed table, its quarantine and its copy; return the rows."""
    partition = "order_date" if "order_date" in good.columns else "captured_on"
    job.append(f"quarantine/{name}", bad, partition)
    job.append(f"cleansed/{name}", good, partition)
    job.copy(name, good)
    return good


def _append(location: Path, rows: pl.DataFrame, partition: str | None) -> None:
    """Append to a Delta table, which is created if necessary."""
    # Polars writes the files, because that takes half as long as delta-rs does; delta-rs commits them.
    schema, by = rows.clear().to_arrow().schema, [partition] if partition else []
    table = DeltaTable.create(location, schema, mode="ignore", partition_by=by)
    if rows.is_empty():
        return
    folder = location / uuid.uuid4().hex
    if partition:
        target = pl.PartitionBy(folder, key=partition, include_key=False)
        rows.lazy().sink_parquet(target, compression="snappy", mkdir=True)
        counts = dict(rows.group_by(partition).len().iter_rows())
    else:
        rows.lazy().sink_parquet(folder / "0.parquet", compression="snappy", mkdir=True)
        counts = {None: rows.height}
    actions: list[AddAction | RemoveAction] = []
    for file in folder.rglob("*.parquet"):
        day = file.parent.name.partition("=")[2] if partition else None
        count = counts[date.fromisoformat(day) if day else None]
        values, stats = {partition: day} if partition else {}, json.dumps({"numRecords": count})
        name, size = str(file.relative_to(location)), file.stat().st_size
        actions.append(AddAction(name, size, values, int(time.time() * 1000), data_change=True, stats=stats))
    table.create_write_transaction(actions, "append", schema, by or None)


def _copy(job: Job, name: str, rows: pl.DataFrame) -> None:
    """Append to a copy in the warehouse; deleted rows are left out, except for dimensions."""
    columns = [column.split()[0] for column in _COPIES[name].split(", ")]
    if "is_deleted" in rows.columns and "is_deleted" not in columns:
        rows = rows.filter(~pl.col("is_deleted"))
    if rows.height:
        with dbapi.connect(job.warehouse, autocommit=True) as connection, connection.cursor() as cursor:
            cursor.adbc_ingest(name, rows.select(columns).to_arrow(), mode="append", db_schema_name="lake")


def _calendar(job: Job, orders: pl.DataFrame) -> pl.DataFrame:
    latest = orders["order_date"].max()
    last = date((latest if isinstance(latest, date) else job.start).year + 1, 12, 31)
    known = holidays.country_holidays(job.country, years=range(job.start.year, last.year + 1))
    days = pl.DataFrame({"date": pl.date_range(job.start, last, eager=True)})
    schema = {"date": pl.Date, "holiday_name": pl.String}
    named = pl.DataFrame({"date": list(known.keys()), "holiday_name": list(known.values())}, schema=schema)
    is_holiday = pl.col("holiday_name").is_not_null()
    return days.join(named, on="date", how="left", maintain_order="left").with_columns(is_holiday=is_holiday)


def _execute(job: Job, *statements: str) -> None:
    with dbapi.connect(job.warehouse) as connection, connection.cursor() as cursor:
        for setting in _SESSION:
            cursor.execute(f"SET {setting}")
        for statement in statements:
            cursor.execute(statement)
        connection.commit()


# --- the star schema


def _members(copy: str, named: str, key: str, surrogate: str, columns: str) -> str:
    """Return the single version of each row, which is always valid; inferred members, and the unknown member."""
    return f"""
        SELECT
            CASE WHEN {key} IS NULL THEN repeat('0', 32) ELSE md5({key} || '|1900-01-01T00:00:00.000000') END
                AS {surrogate},
            {key}, {columns}, '1900-01-01 00:00:00+00'::timestamptz AS valid_from,
            '9999-12-31 00:00:00+00'::timestamptz AS valid_to, true AS is_current,
            coalesce(is_deleted, false) AS is_deleted, {key} IS NOT NULL AND updated_at IS NULL AS is_inferred
        FROM lake.{copy}
        FULL JOIN (SELECT DISTINCT {key} FROM lake.{named} UNION SELECT NULL) AS named USING ({key})
    """


def _not_null(table: str, *columns: str) -> str:
    return f"ALTER TABLE marts.{table} " + ", ".join(f"ALTER {column} SET NOT NULL" for column in columns)


_VALIDITY = ("valid_from", "valid_to", "is_current", "is_deleted", "is_inferred")
_OF_LINE = ("quantity", "unit_price", "discount", "total_price", "currency", "order_status", "ordered_at")
_OF_ORDERS = ("total_price", "paid_amount", "currency", "status", "ordered_at")
_DIM_CUSTOMERS = (
    "ANALYZE lake.customers",
    "ANALYZE lake.orders",
    "CREATE TABLE marts.dim_customers AS "
    + _members(
        "customers",
        "orders",
        "customer_id",
        "customer_key",
        "CASE WHEN customer_id IS NULL THEN 'Unknown' ELSE full_name END AS customer_name, email AS customer_email, "
        "date_of_birth, registration_date, address, city, state, postal_code, country_code",
    ),
    "ALTER TABLE marts.dim_customers ADD PRIMARY KEY (customer_key)",
    _not_null("dim_customers", *_VALIDITY),
    "ANALYZE marts.dim_customers",
)
_DIM_PRODUCTS = (
    "ANALYZE lake.products",
    "ANALYZE lake.order_lines",
    "ANALYZE lake.payments",
    "CREATE TABLE marts.dim_products AS "
    + _members(
        "products",
        "order_lines",
        "product_id",
        "product_key",
        "CASE WHEN product_id IS NULL THEN 'Unknown' ELSE product_name END AS product_name, category, manufacturer, "
        "unit_price, currency",
    ),
    "ALTER TABLE marts.dim_products ADD PRIMARY KEY (product_key)",
    _not_null("dim_products", *_VALIDITY),
    "ANALYZE marts.dim_products",
)
_DIM_DATE = (
    """
    CREATE TABLE marts.dim_date AS
    SELECT
        to_char(date, 'YYYYMMDD')::integer AS date_id, date,
        extract(day FROM date)::integer AS day, extract(month FROM date)::integer AS month,
        extract(year FROM date)::integer AS year, extract(isodow FROM date)::integer AS weekday,
        extract(isodow FROM date) >= 6 AS is_weekend, is_holiday,
        extract(quarter FROM date)::integer AS quarter, extract(week FROM date)::integer AS iso_week,
        extract(isoyear FROM date)::integer AS iso_year, to_char(date, 'IYYY"-W"IW') AS year_week,
        to_char(date, 'YYYY-MM') AS year_month, to_char(date, 'FMMonth') AS month_name,
        date_trunc('month', date::timestamp)::date AS first_day_of_month,
        (date_trunc('month', date::timestamp) + interval '1 month - 1 day')::date AS last_day_of_month, holiday_name
    FROM lake.calendar
    """,
    "ALTER TABLE marts.dim_date ADD PRIMARY KEY (date_id)",
    _not_null("dim_date", "date", "is_holiday"),
    "ANALYZE marts.dim_date",
)
_DIM_PAYMENT_METHODS = (
    "CREATE TABLE marts.dim_payment_methods AS SELECT md5(method) AS payment_method_key, method "
    f"FROM unnest(ARRAY{_METHODS}) AS method UNION ALL SELECT repeat('0', 32), 'unknown'",
    "ALTER TABLE marts.dim_payment_methods ADD PRIMARY KEY (payment_method_key)",
    _not_null("dim_payment_methods", "method"),
)
_VALID = "{0}.ordered_at >= {1}.valid_from AND {0}.ordered_at < {1}.valid_to"
_CUSTOMER_KEY = "CASE WHEN {0}.customer_id IS NULL THEN repeat('0', 32) ELSE customers.customer_key END AS customer_key"
_FCT_ORDER_LINES = (
    f"""
    CREATE TABLE marts.fct_order_lines AS
    SELECT
        order_id, line_number, date_id, {_CUSTOMER_KEY.format("lines")}, product_key, lines.customer_id,
        lines.product_id, quantity, lines.unit_price, discount, total_price, lines.currency, order_status, ordered_at
    FROM lake.order_lines AS lines
    LEFT JOIN marts.dim_date AS dates ON dates.date = lines.order_date
    LEFT JOIN marts.dim_customers AS customers
        ON customers.customer_id = lines.customer_id AND {_VALID.format("lines", "customers")}
    LEFT JOIN marts.dim_products AS products
        ON products.product_id = lines.product_id AND {_VALID.format("lines", "products")}
    """,
    _not_null(
        "fct_order_lines", "order_id", "line_number", "date_id", "customer_key", "product_key", "product_id", *_OF_LINE
    ),
    "CREATE INDEX ON marts.fct_order_lines (date_id)",
)
_FCT_ORDERS = (
    f"""
    CREATE TABLE marts.fct_orders AS
    WITH payments AS (
        SELECT payments.*, payments.currency = orders.currency AS is_of_order
        FROM lake.payments AS payments JOIN lake.orders AS orders USING (order_id)
    )
    SELECT
        orders.order_id, date_id, {_CUSTOMER_KEY.format("orders")}, payment_method_key,
        coalesce(lines, 0)::integer AS lines, coalesce(units, 0)::numeric(38, 6) AS units,
        coalesce(total_price, 0)::numeric(38, 4) AS total_price,
        coalesce(paid_amount, 0)::numeric(38, 4) AS paid_amount,
        coalesce(payments_in_other_currencies, 0)::integer AS payments_in_other_currencies,
        currency, status, ordered_at, shipped_at AS order_shipped_at, delivered_at AS order_delivered_at
    FROM lake.orders AS orders
    LEFT JOIN (
        SELECT order_id, count(*) AS lines, sum(quantity) AS units, sum(total_price) AS total_price
        FROM lake.order_lines GROUP BY order_id
    ) AS of_lines ON of_lines.order_id = orders.order_id
    LEFT JOIN (
        SELECT order_id, sum(CASE WHEN NOT is_of_order THEN 0 WHEN status = 'captured' THEN amount
            WHEN status = 'refunded' THEN -amount ELSE 0 END) AS paid_amount,
            count(*) FILTER (WHERE NOT is_of_order AND status IN ('captured', 'refunded'))
                AS payments_in_other_currencies
        FROM payments GROUP BY order_id
    ) AS paid ON paid.order_id = orders.order_id
    LEFT JOIN (
        SELECT DISTINCT ON (order_id) order_id, method FROM payments WHERE status = 'captured'
        ORDER BY order_id, is_of_order DESC, amount DESC, payment_id COLLATE "C"
    ) AS main_methods ON main_methods.order_id = orders.order_id
    LEFT JOIN marts.dim_date AS dates ON dates.date = orders.order_date
    LEFT JOIN marts.dim_customers AS customers
        ON customers.customer_id = orders.customer_id AND {_VALID.format("orders", "customers")}
    LEFT JOIN marts.dim_payment_methods AS methods ON methods.method = coalesce(main_methods.method, 'unknown')
    """,
    _not_null("fct_orders", "order_id", "date_id", "customer_key", "payment_method_key", "lines", "units", *_OF_ORDERS),
    "CREATE INDEX ON marts.fct_orders (date_id)",
)


if __name__ == "__main__":
    main()
