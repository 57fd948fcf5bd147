"""The catalog: tables of the lake in AWS Glue, where Athena, Spark on EMR and Trino look for them. No row is written.

Such readers take from the catalog that a table is Delta and where it lies, and the rest from the table's own log. So a
table is registered as it is stored, which Lake Formation and Athena's views rely on; comments come from its contract.
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

# What the checks found is read with `lakehouse checks`.
REGISTERED = tuple(table for table in TABLES if table.layer != "checks")
_RIGHTS = ("glue:GetTable", "glue:CreateTable", "glue:UpdateTable")
# Hive's names of what Delta calls otherwise.
_HIVE = {"long": "bigint", "integer": "int", "short": "smallint", "byte": "tinyint"}
# As Spark registers a Delta table. Whoever does not know Delta finds no such files and fails, instead of reading rows
# that the log has taken out of the table.
_FORMAT = {
    "InputFormat": "org.apache.hadoop.mapred.SequenceFileInputFormat",
    "OutputFormat": "org.apache.hadoop.hive.ql.io.HiveSequenceFileOutputFormat",
}
_SERDE = "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe"
# By which readers know a Delta table: Athena by either of the first two, Spark and Trino by the second.
_DELTA = {"table_type": "DELTA", "spark.sql.sources.provider": "delta", "classification": "delta", "EXTERNAL": "TRUE"}
_PARTITIONED_BY, _PERSONAL = "lakehouse.partitioned_by", "lakehouse.personal_columns"

_DENIED = {"AccessDeniedException", "AccessDenied", "UnauthorizedOperation"}
_WRONG_KEYS = {"UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException"}
# Somebody else registers at this moment, or the keys of a role have just ended.
_PASSING = {
    "AlreadyExistsException",
    "ConcurrentModificationException",
    "ExpiredTokenException",
    "OperationTimeoutException",
    "ThrottlingException",
}


class CatalogError(ExpectedError):
    """The catalog cannot be used as it is; trying again does not help."""


class CatalogUnavailableError(TransientError):
    """The catalog does not serve at the moment; trying again may help."""


def name_of(table: Table) -> str:
    """How a table is called in the catalog: `<layer>_<table>`."""
    return f"{table.layer}_{table.name}"


def register(lake: Lake, database: str | None) -> dict[Table, Outcome]:
    """Make the tables of the lake known in a database of AWS Glue; a table that is known as it is stays untouched.

    Args:
        lake: The lake, in a bucket.
        database: Name of the database, which exists.

    Returns:
        By table, whether it was made, changed or left as it was; nothing of tables that nobody has written yet.

    Raises:
        CatalogError: No database is set, or there is none of this name; the lake is not in a bucket; a right is
            missing; a table of the name is there and is another one.
        CatalogUnavailableError: Glue does not answer, or not at the moment.
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
            f"the lake lies in {lake.url}; AWS Glue registers tables in S3 alone. Set LAKE_URL to s3://bucket/prefix."
        )
    glue = object_store.client("glue")
    opened = {table: find(lake, table) for table in REGISTERED}
    with _catalog_trouble(database):
        return {
            table: _register(glue, database, definition(table, handle, lake.location(table)))
            for table, handle in opened.items()
            if handle is not None
        }


def definition(table: Table, handle: DeltaTable, location: str) -> dict[str, Any]:
    """A table as Glue takes it (a `TableInput`): its columns are those that are stored, in their order.

    Partitions are Delta's own affair: a partition column is a column among others, and Glue knows of no partitions.
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


def _register(glue: Any, database: str, due: dict[str, Any]) -> Outcome:
    try:
        found = glue.get_table(DatabaseName=database, Name=due["Name"])["Table"]
    except glue.exceptions.EntityNotFoundException:
        # Of the table or of the database; of the latter, the next request says so again.
        glue.create_table(DatabaseName=database, TableInput=due)
        return "made"
    location = due["StorageDescriptor"]["Location"]
    standing = found.get("StorageDescriptor", {}).get("Location", "").rstrip("/")
    if standing != location:
        raise CatalogError(
            f"{due['Name']} in the Glue database {database} is registered at {standing or 'no location'}; expected "
            f"{location}. Was it made by somebody else, or for another lake? Set LAKEHOUSE_GLUE_DATABASE to a database "
            "of this lake's own, or delete the table there, which deletes no data."
        )
    merged = _merged(found, due)
    # What is empty, Glue may leave out.
    if all(found.get(name, type(value)()) == value for name, value in merged.items()):
        return "as it was"
    glue.update_table(DatabaseName=database, TableInput=merged)
    return "changed"


def _merged(found: Mapping[str, Any], due: Mapping[str, Any]) -> dict[str, Any]:
    """A table as it is to be, with what others have said of it; an update would drop what it does not mention."""
    ours = (_PARTITIONED_BY, _PERSONAL)
    others = {name: value for name, value in found.get("Parameters", {}).items() if name not in ours}
    return {
        **{name: found[name] for name in ("Owner", "Retention") if name in found},
        **due,
        "Parameters": {**others, **due["Parameters"]},
        "StorageDescriptor": {**found["StorageDescriptor"], **due["StorageDescriptor"]},
    }


@contextmanager
def _catalog_trouble(database: str) -> Iterator[None]:
    """Say what went wrong with the catalog; what is not known raises as it is."""
    from botocore.exceptions import ClientError, HTTPClientError
    from botocore.exceptions import ConnectionError as NoConnectionError

    try:
        yield
    except (NoConnectionError, HTTPClientError) as error:
        raise CatalogUnavailableError(f"AWS Glue in region {object_store.region()} does not answer: {error}") from error
    except ClientError as error:
        meant = _meaning(error, database)
        if meant is None:
            raise
        raise meant from error


def _meaning(error: Any, database: str) -> ExpectedError | None:
    code, told = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
    status = error.response["ResponseMetadata"].get("HTTPStatusCode", 0)
    if code == "EntityNotFoundException":
        return CatalogError(
            f"there is no database {database} in AWS Glue in region {object_store.region()}; expected the one that "
            "LAKEHOUSE_GLUE_DATABASE names. Correct it, or AWS_REGION, or make it: "
            f"aws glue create-database --database-input Name={database}"
        )
    if code in _DENIED:
        return CatalogError(
            f"AWS Glue refuses {error.operation_name} in the database {database} to {object_store.identity()}: {told}. "
            f"Expected the rights {', '.join(_RIGHTS)} (docs/catalog.md); where Lake Formation is in force, also its "
            "grants."
        )
    if code in _WRONG_KEYS:
        return CatalogError(
            f"AWS does not accept the credentials ({code}): {object_store.identity()}. Expected a valid key."
        )
    if code in _PASSING or status >= 500:
        return CatalogUnavailableError(f"AWS Glue does not serve {database} at the moment: {code} {told}".rstrip())
    return None
