"""The star schema from standard tools, for the comparison: dlt into Delta tables, then dbt on DuckDB.

`python bench/dlt_dbt.py FIRST LAST FILE` in the environment of `dlt_dbt_requirements.txt`, with the variables of a run.
dlt copies the rows that changed within the dates into `LAKE_URL`, with its fastest reader (connectorx). dbt, in
`dlt_dbt_project`, judges the rows, separates those that break a rule, and builds and tests the star schema in the file
`marts.duckdb` next to the lake. DuckDB's own reader of Delta is an extension to download, so DuckDB reads the Parquet
files that the log of each table names.

FILE then holds as JSON: `spans`, start and end of each stage in seconds since the epoch.

`python bench/dlt_dbt.py export FOLDER` writes the marts as Parquet files for the comparison.
"""

import csv
import json
import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock_time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit
from zoneinfo import ZoneInfo

_QUIET = {
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "RUNTIME__LOG_LEVEL": "ERROR",
    "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
}
_PROJECT = Path(__file__).with_name("dlt_dbt_project")
_CODES = _PROJECT.parents[1] / "orders_lakehouse" / "contracts" / "codes"
_TABLES = {
    "customers": "customer_id",
    "products": "product_id",
    "orders": "order_id",
    "order_items": ("order_id", "line_number"),
    "payments": "payment_id",
}
_MARTS = ("dim_customers", "dim_products", "dim_date", "dim_payment_methods", "fct_order_lines", "fct_orders")


def main() -> None:
    """Build everything, or export it."""
    lake = Path(os.environ["LAKE_URL"])
    os.environ.update({**_QUIET, "DUCKDB_PATH": str(lake.parent / "marts.duckdb")})
    if sys.argv[1] == "export":
        _export(Path(sys.argv[2]))
        return
    first, last = (date.fromisoformat(text) for text in sys.argv[1:3])
    began = time.time()
    _load(lake, first, last)
    loaded = time.time()
    _build(last)
    spans = {"dlt": (began, loaded), "dbt": (loaded, time.time())}
    Path(sys.argv[3]).write_text(json.dumps({"spans": spans}))


def _load(lake: Path, first: date, last: date) -> None:
    """Append the rows that changed within the dates to the Delta tables."""
    import dlt
    from dlt.sources.sql_database import sql_table

    url = urlsplit(os.environ["SHOP_DATABASE_URL"])
    # connectorx expects the directory of a socket in place of the host.
    host = quote(parse_qs(url.query)["host"][0], safe="") if "host=" in url.query else url.netloc.split("@")[-1]
    conn = f"postgresql://{url.netloc.split('@')[0]}@{host}{url.path}"
    begin, end = _midnight(first) if first > _start() else datetime(1, 1, 1, tzinfo=UTC), _midnight(last, days=1)
    tables = []
    for name, key in _TABLES.items():
        table = sql_table(
            f"postgresql+psycopg2://{os.environ['SHOP_DATABASE_URL'].partition('://')[2]}",
            table=name,
            schema="shop",
            backend="connectorx",
            backend_kwargs={"conn": conn, "return_type": "arrow_stream", "batch_size": 100_000},
            incremental=dlt.sources.incremental("updated_at", initial_value=begin, end_value=end, range_end="open"),
            primary_key=key,
            write_disposition="append",
        )
        tables.append(table.apply_hints(table_format="delta"))
    pipeline = dlt.pipeline(
        "shop",
        pipelines_dir=str(lake.parent / "dlt"),
        destination=dlt.destinations.filesystem(bucket_url=lake.as_uri()),
        dataset_name="raw",
    )
    pipeline.run([*tables, *_codes(last)], loader_file_format="parquet").raise_on_failed_jobs()


def _codes(last: date) -> Iterator[Any]:
    """Write further data for the rules and the calendar: currencies, countries, public holidays."""
    import dlt
    import holidays

    years = range(_start().year, last.year + 2)
    known = holidays.country_holidays(os.environ["LAKEHOUSE_HOLIDAYS_COUNTRY"], years=years)
    rows: dict[str, list[dict[str, object]]] = {
        "currencies": [{"code": row["code"]} for row in _listed("currencies")],
        "countries": [{"code": row["code"]} for row in _listed("countries")],
        "holidays": [{"date": day, "holiday_name": name} for day, name in known.items()],
    }
    for name, of_name in rows.items():
        yield dlt.resource(of_name, name=name, table_format="delta", write_disposition="replace")


def _listed(name: str) -> list[dict[str, str]]:
    """Return the rows of one of the lakehouse's lists of codes."""
    with (_CODES / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _start() -> date:
    return date.fromisoformat(os.environ["LAKEHOUSE_START_DATE"])


def _midnight(day: date, days: int = 0) -> datetime:
    zone = ZoneInfo(os.environ["LAKEHOUSE_TIMEZONE"])
    return datetime.combine(day + timedelta(days=days), clock_time(), zone).astimezone(UTC)


def _build(last: date) -> None:
    """Build and test the dbt project."""
    from dbt.cli.main import dbtRunner
    from deltalake import DeltaTable

    target = Path(os.environ["DUCKDB_PATH"]).parent / "dbt"
    for log in (Path(os.environ["LAKE_URL"]) / "raw").glob("*/_delta_log"):
        os.environ[f"RAW_FILES_{log.parent.name}"] = str(DeltaTable(log.parent).file_uris())
    variables = {
        "start": str(_start()),
        "last": str(last),
        "timezone": os.environ["LAKEHOUSE_TIMEZONE"],
        "aliases": {row["alias"]: row["code"] for row in _listed("aliases")},
        "minor_units": {row["code"]: int(row["minor_units"]) for row in _listed("currencies")},
    }
    folders = ["--project-dir", str(_PROJECT), "--profiles-dir", str(_PROJECT), "--target-path", str(target)]
    outcome = dbtRunner().invoke(["build", *folders, "--log-path", str(target), "--vars", json.dumps(variables)])
    if not outcome.success:
        raise SystemExit(f"dbt failed: {outcome.exception or 'see above'}")


def _export(folder: Path) -> None:
    import duckdb

    folder.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(os.environ["DUCKDB_PATH"], read_only=True) as connection:
        for mart in _MARTS:
            connection.execute(f"COPY marts.marts.{mart} TO '{folder / mart}.parquet' (FORMAT parquet)")


if __name__ == "__main__":
    main()
