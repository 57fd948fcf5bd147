"""The lake in AWS Glue: what other readers find there, that nothing changes in vain, and what is refused."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import dagster as dg
import pandera.polars as pa
import polars as pl
import pyarrow.parquet as pq
import pytest
from botocore.stub import Stubber

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.contracts.types import MONEY, MONEY_SUM, PRICE, QUANTITY, QUANTITY_SUM
from orders_lakehouse.curated.customer_profile import CUSTOMER_PROFILE
from orders_lakehouse.curated.daily_sales import DAILY_SALES, DailySales
from orders_lakehouse.delta import glue as catalog
from orders_lakehouse.delta import object_store
from orders_lakehouse.delta.glue import CatalogError, CatalogUnavailableError, definition, name_of, register
from orders_lakehouse.delta.maintenance import maintain_table
from orders_lakehouse.delta.object_store import LakeError
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.customers import RAW_CUSTOMERS
from orders_lakehouse.entities.orders import ORDERS
from orders_lakehouse.entities.products import RAW_PRODUCTS
from orders_lakehouse.errors import ExpectedError, TransientError
from orders_lakehouse.sources.postgres.versions import raw_type
from orders_lakehouse.tables import CHECK_RESULTS, QUARANTINE_OF, TABLES
from tests.support.protocol import assert_plain
from tests.support.rows import VALID, rows
from tests.support.s3 import client
from tests.support.terminal import Command

pytestmark = pytest.mark.usefixtures("clean_settings")


@pytest.fixture
def glue(s3_endpoint: str) -> Any:
    return client(s3_endpoint, "glue")


@pytest.fixture
def database(glue: Any) -> str:
    """A database of Glue that is empty."""
    name = f"orders_{uuid.uuid4().hex[:12]}"
    glue.create_database(DatabaseInput={"Name": name})
    return name


@pytest.fixture
def lake(bucket: str, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """In a bucket, with one table of a row; a few others are looked for."""
    looked_for = (RAW_CUSTOMERS, RAW_PRODUCTS, QUARANTINE_OF["customers"], DAILY_SALES, CUSTOMER_PROFILE)
    assert set(looked_for) < set(catalog.REGISTERED)
    monkeypatch.setattr(catalog, "REGISTERED", looked_for)
    made = Lake(f"{bucket}/some/lake", "UTC")
    made.append(DAILY_SALES, rows(DAILY_SALES, {}))
    return made


def found(glue: Any, database: str, table: Table = DAILY_SALES) -> dict[str, Any]:
    registered: dict[str, Any] = glue.get_table(DatabaseName=database, Name=name_of(table))["Table"]
    return registered


def versions(glue: Any, database: str) -> int:
    return len(glue.get_table_versions(DatabaseName=database, TableName=name_of(DAILY_SALES))["TableVersions"])


def test_table_is_registered_as_readers_of_delta_look_for_it(lake: Lake, glue: Any, database: str) -> None:
    assert register(lake, database) == {DAILY_SALES: "made"}
    told = found(glue, database)
    assert told["Name"] == "curated_daily_sales"
    assert told["Description"] == "One row per date and currency, over the lines of `curated/order_lines`."
    assert told["TableType"] == "EXTERNAL_TABLE"
    assert told["PartitionKeys"] == []
    assert told["Parameters"] == {
        "table_type": "DELTA",
        "spark.sql.sources.provider": "delta",
        "classification": "delta",
        "EXTERNAL": "TRUE",
        "lakehouse.partitioned_by": "order_date",
    }
    stored = told["StorageDescriptor"]
    assert stored["Location"] == stored["SerdeInfo"]["Parameters"]["path"] == f"{lake.url}/curated/daily_sales"
    assert [tuple(column.values()) for column in stored["Columns"]] == [
        ("order_date", "date", "Business date"),
        ("currency", "string", "Currency, ISO 4217"),
        ("orders", "bigint", "Orders with at least one valid line"),
        ("lines", "bigint", "Order lines"),
        ("units", "decimal(38,6)", "Units sold; in units"),
        ("gross", "decimal(38,4)", "Sum of total_price; in currency"),
        ("net", "decimal(38,4)", "Sum of total_price of orders neither cancelled nor returned; in currency"),
    ]


def test_every_table_is_registered_with_personal_columns_marked(lake: Lake, glue: Any, database: str) -> None:
    quarantined = QUARANTINE_OF[RAW_CUSTOMERS.name]
    for table in (RAW_CUSTOMERS, quarantined, CUSTOMER_PROFILE):
        lake.open(table)
    assert set(register(lake, database)) == {RAW_CUSTOMERS, quarantined, DAILY_SALES, CUSTOMER_PROFILE}
    for table in (RAW_CUSTOMERS, quarantined):
        told = found(glue, database, table)
        columns = {column["Name"]: column["Comment"] for column in told["StorageDescriptor"]["Columns"]}
        assert columns["email"] == "E-mail address; personal"
        assert told["Parameters"]["lakehouse.personal_columns"] == "full_name,email,date_of_birth,address,postal_code"
        assert [name for name, comment in columns.items() if comment.endswith("; personal")] == [
            *("full_name", "email", "date_of_birth", "address", "postal_code")
        ]
    assert not {name for name in found(glue, database, CUSTOMER_PROFILE)["Parameters"] if name.startswith("lakehouse")}


def test_second_registration_changes_nothing_even_with_new_rows(lake: Lake, glue: Any, database: str) -> None:
    register(lake, database)
    before = found(glue, database)
    lake.append(DAILY_SALES, rows(DAILY_SALES, {"currency": "USD"}))
    assert register(lake, database) == {DAILY_SALES: "as it was"}
    assert found(glue, database) == before
    assert versions(glue, database) == 1


class DailySalesSince3(DailySales):
    """One row per date and currency."""

    returned: pl.Int64 = pa.Field(nullable=True, description="Orders that came back")

    class Config(DailySales.Config):
        """The next contract."""

        metadata: ClassVar[dict[str, str]] = {"version": "3"}


def test_new_column_is_registered_and_foreign_settings_stay(
    lake: Lake, glue: Any, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(lake, database)
    known = found(glue, database)
    told = {name: known[name] for name in ("Name", "TableType", "PartitionKeys", "StorageDescriptor", "Description")}
    said = {**known["Parameters"], "team": "sales", "lakehouse.personal_columns": "of an older contract"}
    glue.update_table(DatabaseName=database, TableInput={**told, "Owner": "sales", "Parameters": said})

    newer = replace(DAILY_SALES, model=DailySalesSince3)
    monkeypatch.setattr(catalog, "REGISTERED", (newer,))
    monkeypatch.setitem(VALID, newer.path, {**VALID[newer.path], "returned": 1})
    lake.append(newer, rows(newer, {"currency": "USD"}))
    assert register(lake, database) == {newer: "changed"}

    told = found(glue, database)
    columns = told["StorageDescriptor"]["Columns"]
    assert columns[-1] == {"Name": "returned", "Type": "bigint", "Comment": "Orders that came back"}
    assert columns[:-1] == known["StorageDescriptor"]["Columns"]
    assert told["Parameters"] == {**known["Parameters"], "team": "sales"}
    assert told["Owner"] == "sales"
    assert register(lake, database) == {newer: "as it was"}


def test_extra_column_of_the_source_is_registered(lake: Lake, glue: Any, database: str) -> None:
    new = rows(RAW_PRODUCTS, {}).with_columns(weight=pl.lit(5, pl.Int64))
    lake.insert_new(RAW_PRODUCTS, new, ("product_id", "updated_at"))
    register(lake, database)
    assert found(glue, database, RAW_PRODUCTS)["StorageDescriptor"]["Columns"][-1] == {
        "Name": "weight",
        "Type": "bigint",
        "Comment": "Column of the source that the contract does not have",
    }


def test_empty_field_left_out_by_glue_is_no_change(lake: Lake, glue: Any, database: str) -> None:
    register(lake, database)
    handle = lake.find(DAILY_SALES)
    due = definition(DAILY_SALES, handle, lake.location(DAILY_SALES))
    assert due.pop("PartitionKeys") == []
    with Stubber(glue) as stubbed:
        # An update would ask for an answer that is not there.
        stubbed.add_response("get_table", {"Table": {**due, "DatabaseName": database, "VersionId": "1"}})
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(object_store, "client", lambda _service: glue)
            assert register(lake, database) == {DAILY_SALES: "as it was"}


def test_foreign_table_of_the_same_name_is_left_alone(lake: Lake, glue: Any, database: str) -> None:
    elsewhere = {"Name": "curated_daily_sales", "StorageDescriptor": {"Location": "s3://other/daily_sales/"}}
    glue.create_table(DatabaseName=database, TableInput=elsewhere)
    with pytest.raises(CatalogError) as raised:
        register(lake, database)
    assert f"curated_daily_sales in the Glue database {database} is registered at s3://other" in str(raised.value)
    assert f"expected {lake.url}/curated/daily_sales" in str(raised.value)
    assert versions(glue, database) == 1


def test_lake_on_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=rf"the lake is in {tmp_path}; .*Set LAKE_URL to s3://bucket/prefix"):
        register(Lake(str(tmp_path), "UTC"), "orders")


def test_without_credentials_the_error_is_that_of_the_storage(
    lake: Lake, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(LakeError, match="found no credentials"):
        register(lake, database)


def test_missing_database_is_named_with_its_create_command(lake: Lake) -> None:
    with pytest.raises(CatalogError, match="there is no database nowhere in AWS Glue in region eu-central-1") as raised:
        register(lake, "nowhere")
    assert str(raised.value).endswith("aws glue create-database --database-input Name=nowhere")


@pytest.mark.parametrize(
    ("code", "status", "expected", "said"),
    [
        (
            "AccessDeniedException",
            400,
            CatalogError,
            r"refuses GetTable in the database orders to access key AKID",
        ),
        ("AccessDeniedException", 400, CatalogError, r"no grant\. Expected the rights glue:GetTable, glue:CreateTable"),
        ("UnrecognizedClientException", 400, CatalogError, r"AWS does not accept the credentials \(Unrecogn"),
        (
            "ExpiredTokenException",
            400,
            CatalogUnavailableError,
            r"is unavailable for orders at the moment: ExpiredToken",
        ),
        ("ConcurrentModificationException", 400, CatalogUnavailableError, r"is unavailable for orders at the moment"),
        ("InternalServiceException", 500, CatalogUnavailableError, r"InternalServiceException no grant"),
    ],
)
def test_glue_errors_are_explained(
    lake: Lake,
    glue: Any,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    status: int,
    expected: type[ExpectedError],
    said: str,
) -> None:
    monkeypatch.setattr(object_store, "client", lambda _service: glue)
    with Stubber(glue) as stubbed:
        stubbed.add_client_error("get_table", code, "no grant", status)
        with pytest.raises(expected, match=said):
            register(lake, "orders")


def test_unreachable_catalog_may_be_tried_again(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_GLUE", "http://127.0.0.1:1")
    monkeypatch.setattr(object_store, "_RETRIES", 1)
    with pytest.raises(TransientError, match="AWS Glue in region eu-central-1 does not answer"):
        register(lake, "orders")


def test_command_prints_the_outcome_of_each_table(command: Command, lake: Lake, database: str) -> None:
    status, _, errors = command("register", LAKE_URL=lake.url)
    assert status == 1
    assert errors.startswith("Error: no database of AWS Glue is set; expected its name in LAKEHOUSE_GLUE_DATABASE.")
    status, said, _ = command("register", LAKE_URL=f"{lake.url}/empty", LAKEHOUSE_GLUE_DATABASE=database)
    assert (status, said) == (0, f"There is no table yet in {lake.url}/empty.\n")
    for outcome in ("made", "as it was"):
        status, said, _ = command("register", LAKE_URL=lake.url)
        assert status == 0
        assert said.splitlines()[-1].rstrip().split(maxsplit=2) == [
            "curated/daily_sales",
            "curated_daily_sales",
            outcome,
        ]


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch, database: str) -> Iterator[Callable[[Lake], dg.ExecuteInProcessResult]]:
    """Runs the job of the night on a lake."""
    from orders_lakehouse.defs.glue import register_tables_job
    from orders_lakehouse.settings import settings

    monkeypatch.setenv("LAKEHOUSE_GLUE_DATABASE", database)
    settings.cache_clear()
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with dg.DagsterInstance.ephemeral() as instance:
        yield lambda lake: register_tables_job.execute_in_process(
            quiet, instance, resources={"lake": lake}, raise_on_error=False
        )


def test_job_registers_and_says_how_many(
    job: Callable[[Lake], dg.ExecuteInProcessResult], lake: Lake, glue: Any, database: str, tmp_path: Path
) -> None:
    for outcome in ("made", "as_it_was"):
        result = job(lake)
        assert result.success
        (output,) = [event for event in result.all_events if event.is_successful_output]
        assert {name: value.value for name, value in output.step_output_data.metadata.items()} == {outcome: 1}
    assert found(glue, database)["Name"] == "curated_daily_sales"
    (failed,) = [event for event in job(Lake(str(tmp_path), "UTC")).all_events if event.is_step_failure]
    assert "AWS Glue registers only tables in S3" in str(failed.step_failure_data.user_failure_data)


# Athena's types of columns, and of those of partitions the only one there is.
DECIMALS = {f"decimal({digits},{scale})" for digits, scale in (MONEY, PRICE, QUANTITY, MONEY_SUM, QUANTITY_SUM)}
READ = {"string", "bigint", "int", "boolean", "date", "timestamp", *DECIMALS}


def test_every_table_needs_only_the_first_reader_protocol(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path), "UTC")
    assert set(TABLES) - set(catalog.REGISTERED) == {CHECK_RESULTS}
    for table in TABLES:
        handle = lake.open(table)
        assert_plain(lake, table)
        told = definition(table, handle, lake.location(table))
        columns = told["StorageDescriptor"]["Columns"]
        assert [column["Name"] for column in columns] == table.columns
        assert {column["Type"] for column in columns} <= READ
        assert table.partitioned_by is None or table.schema[table.partitioned_by] == pl.Date
        # What Glue takes.
        assert all(len(column["Comment"].encode()) < 256 and "\n" not in column["Comment"] for column in columns)
        assert len(told["Description"].encode()) <= 2048
        assert told["Name"] == told["Name"].lower()


def test_writes_and_maintenance_keep_protocol_and_utc_instants(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path), "UTC")
    for customer in ("c1", "c2"):
        beside = rows(RAW_CUSTOMERS, {"customer_id": customer}).with_columns(
            pl.lit(None, raw_type(written)).alias(written)
            for written in ("integer", "boolean", "timestamp without time zone", "timestamp with time zone", "uuid")
        )
        lake.insert_new(RAW_CUSTOMERS, beside, ("customer_id", "updated_at"))
    day = rows(ORDERS, {})["order_date"][0]
    lake.replace_dates([ORDERS], day, day, lambda _lake: [rows_of_frame(ORDERS)])
    for table in (RAW_CUSTOMERS, ORDERS):
        assert maintain_table(lake, table, 30) is not None
        assert_plain(lake, table)
    for file in tmp_path.rglob("*.parquet"):
        if "_delta_log" not in file.parts:
            instants = [field.type for field in pq.read_schema(file) if str(field.type).startswith("timestamp")]
            assert {str(kind) for kind in instants} == {"timestamp[us, tz=UTC]"}


def rows_of_frame(table: Table) -> Any:
    import narwhals as nw

    return nw.from_native(rows(table, {}).lazy())
