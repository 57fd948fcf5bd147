"""The catalog: tables of the lake in AWS Glue, where Athena, Spark on EMR and Trino find them. No row is written.

These readers learn from the catalog that a table is Delta and where it is stored; the log tells the rest. A table is
registered with its stored columns, because Lake Formation and views of Athena need them. Comments come from the
contract.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

from deltalake import DeltaTable
from deltalake.schema import Field

from orders_lakehouse.contracts.document import document
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.delta import object_store
from orders_lakehouse.delta.log import find
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.errors import ExpectedError, TransientError
from orders_lakehouse.tables import TABLES

Outcome = Literal["made", "changed", "as it was"]

# Tables to register. Results of checks are left out: people read them with `lakehouse checks`.
REGISTERED = tuple(table for table in TABLES if table.layer != "checks")
_RIGHTS = ("glue:GetTable", "glue:CreateTable", "glue:UpdateTable")
# Hive's names of types, by Delta's names, where they differ.
_HIVE = {"long": "bigint", "integer": "int", "short": "smallint", "byte": "tinyint"}
# Formats with which Spark registers a Delta table. A reader that does not know Delta fails on them, instead of reading
# rows that the log has removed from the table.
_FORMAT = {
    "InputFormat": "org.apache.hadoop.mapred.SequenceFileInputFormat",
    "OutputFormat": "org.apache.hadoop.hive.ql.io.HiveSequenceFileOutputFormat",
}
_SERDE = "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe"
# Parameters that mark a Delta table: Athena reads either of the first two, Spark and Trino read the second.
_DELTA = {"table_type": "DELTA", "spark.sql.sources.provider": "delta", "classification": "delta", "EXTERNAL": "TRUE"}
_PARTITIONED_BY, _PERSONAL = "lakehouse.partitioned_by", "lakehouse.personal_columns"

_DENIED = {"AccessDeniedException", "AccessDenied", "UnauthorizedOperation"}
_WRONG_KEYS = {"UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException"}
# Error codes that pass: another process registers at this moment, or the keys of a role have just expired.
_PASSING = {
    "AlreadyExistsException",
    "ConcurrentModificationException",
    "ExpiredTokenException",
    "OperationTimeoutException",
    "ThrottlingException",
}


class CatalogError(ExpectedError):
    """The catalog cannot be used; trying again does not help."""


class CatalogUnavailableError(TransientError):
    """The catalog is unavailable at the moment; trying again may help."""


def name_of(table: Table) -> str:
    """Return the name of a table in the catalog: `<layer>_<table>`."""
    return f"{table.layer}_{table.name}"


def register(lake: Lake, database: str | None) -> dict[Table, Outcome]:
    """Register the tables of the lake in a database of AWS Glue; a table that is up to date there stays untouched.

    Args:
        lake: The lake, in a bucket.
        database: Name of the database, which exists.

    Returns:
        For each table whether it was made, changed or left as it was. Tables that do not exist yet are left out.

    Raises:
        CatalogError: No database is set, or it does not exist; the lake is not in a bucket; a right is missing; the
            name is registered for another table.
        CatalogUnavailableError: Glue does not answer.
        LakeError: There are no credentials, or a table cannot be opened.
        StorageUnavailableError: The storage does not answer.
    """
    if not database:
        raise CatalogError(
            "no database of AWS Glue is set; expected its name in LAKEHOUSE_GLUE_DATABASE. Set it in the environment "
            "or in .env."
        )
    if not object_store.is_s3(lake.url):
        raise CatalogError(
            f"the lake is in {lake.url}; AWS Glue registers only tables in S3. Set LAKE_URL to s3://bucket/prefix."
        )
    glue = object_store.client("glue")
    opened = {table: find(lake, table) for table in REGISTERED}
    with _explain_catalog_errors(database):
        return {
            table: _register(glue, database, definition(table, handle, lake.location(table)))
            for table, handle in opened.items()
            if handle is not None
        }


def definition(table: Table, handle: DeltaTable, location: str) -> dict[str, Any]:
    """Return the `TableInput` of a table for Glue, with the stored columns in their order.

    Delta manages partitions itself: Glue has the partition column as an ordinary column and knows no partitions.
    """
    described = document(table)
    personal = [name for name, column in described["columns"].items() if column["personal"]]
    return {
        "Name": name_of(table),
        "Description": described["description"],
        "TableType": "EXTERNAL_TABLE",
        "PartitionKeys": [],
        "Parameters": {
            **_DELTA,
            **({_PARTITIONED_BY: table.partitioned_by} if table.partitioned_by else {}),
            **({_PERSONAL: ",".join(personal)} if personal else {}),
        },
        "StorageDescriptor": {
            **_FORMAT,
            "Columns": [_column(field, described["columns"].get(field.name)) for field in handle.schema().fields],
            "Location": location,
            # Spark and Trino look for the path here.
            "SerdeInfo": {
                "SerializationLibrary": _SERDE,
                "Parameters": {"serialization.format": "1", "path": location},
            },
        },
    }


def _column(field: Field, described: Mapping[str, Any] | None) -> dict[str, str]:
    delta = str(field.type.type)
    if described is None:
        comment = "Column of the source that the contract does not have"
    else:
        unit = [f"in {described['unit']}"] if described["unit"] else []
        comment = "; ".join([described["description"], *unit, *(["personal"] if described["personal"] else [])])
    return {"Name": field.name, "Type": _HIVE.get(delta, delta), "Comment": comment}


def _register(glue: Any, database: str, wanted: dict[str, Any]) -> Outcome:
    try:
        current = glue.get_table(DatabaseName=database, Name=wanted["Name"])["Table"]
    except glue.exceptions.EntityNotFoundException:
        # The table or the database is missing; if it is the database, the next request fails with the same error.
        glue.create_table(DatabaseName=database, TableInput=wanted)
        return "made"
    location = wanted["StorageDescriptor"]["Location"]
    current_location = current.get("StorageDescriptor", {}).get("Location", "").rstrip("/")
    if current_location != location:
        raise CatalogError(
            f"{wanted['Name']} in the Glue database {database} is registered at {current_location or 'no location'}; "
            f"expected {location}. Was it made by somebody else, or for another lake? Set LAKEHOUSE_GLUE_DATABASE to a "
            "database of this lake's own, or delete the table there, which deletes no data."
        )
    merged = _merged(current, wanted)
    # Glue may leave out empty values.
    if all(current.get(name, type(value)()) == value for name, value in merged.items()):
        return "as it was"
    glue.update_table(DatabaseName=database, TableInput=merged)
    return "changed"


def _merged(current: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the wanted definition plus parameters that others have set, because an update drops missing ones."""
    ours = (_PARTITIONED_BY, _PERSONAL)
    others = {name: value for name, value in current.get("Parameters", {}).items() if name not in ours}
    return {
        **{name: current[name] for name in ("Owner", "Retention") if name in current},
        **wanted,
        "Parameters": {**others, **wanted["Parameters"]},
        "StorageDescriptor": {**current["StorageDescriptor"], **wanted["StorageDescriptor"]},
    }


@contextmanager
def _explain_catalog_errors(database: str) -> Iterator[None]:
    """Raise failures of the catalog as errors of this package; unknown failures pass unchanged."""
    from botocore.exceptions import ClientError, HTTPClientError
    from botocore.exceptions import ConnectionError as NoConnectionError

    try:
        yield
    except (NoConnectionError, HTTPClientError) as error:
        raise CatalogUnavailableError(f"AWS Glue in region {object_store.region()} does not answer: {error}") from error
    except ClientError as error:
        explained = _explanation(error, database)
        if explained is None:
            raise
        raise explained from error


def _explanation(error: Any, database: str) -> ExpectedError | None:
    code, message = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
    status = error.response["ResponseMetadata"].get("HTTPStatusCode", 0)
    if code == "EntityNotFoundException":
        return CatalogError(
            f"there is no database {database} in AWS Glue in region {object_store.region()}; expected the one that "
            "LAKEHOUSE_GLUE_DATABASE names. Correct it, or AWS_REGION, or make it: "
            f"aws glue create-database --database-input Name={database}"
        )
    if code in _DENIED:
        return CatalogError(
            f"AWS Glue refuses {error.operation_name} in the database {database} to {object_store.identity()}: "
            f"{message}. Expected the rights {', '.join(_RIGHTS)} (docs/catalog.md), and grants of Lake Formation "
            "where it is active."
        )
    if code in _WRONG_KEYS:
        return CatalogError(
            f"AWS does not accept the credentials ({code}): {object_store.identity()}. Expected a valid key."
        )
    if code in _PASSING or status >= 500:
        return CatalogUnavailableError(
            f"AWS Glue is unavailable for {database} at the moment: {code} {message}".rstrip()
        )
    return None
