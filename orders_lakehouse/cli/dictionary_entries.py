"""The entries of the data dictionary: tables, marts and columns, from the contracts and from dbt.

`dictionary` shows entries on the terminal, and `dictionary_pages` in the docs.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orders_lakehouse.contracts import document, lineage
from orders_lakehouse.contracts.raw import LINEAGE
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.tables import RAW, TABLES
from orders_lakehouse.warehouse import models
from orders_lakehouse.warehouse.copies import COPIES

_CALENDAR = "source.orders_lakehouse.lake.calendar"
# Description of each layer, in the order of the dictionary.
LAYERS = {
    "raw": "Every version of every row of the shop, by the date on which it was captured.",
    "cleansed": "Current rows by business date (for customers and products all valid versions), typed and judged.",
    "quarantine": "Rows that break a rule, as captured, with every reason.",
    "curated": "Tables that analysts read from the lake.",
    "checks": "Results of checks, by date.",
    "warehouse": "Tables from which the star schema is built, in the warehouse's schema `lake`.",
    "marts": "The star schema, in the warehouse's schema `marts`.",
}


class DictionaryError(ExpectedError):
    """A table does not exist, or a column has no description."""


@dataclass(frozen=True)
class Column:
    """The entry of a column.

    Attributes:
        name: Its name.
        type: Type in Polars; in the warehouse, type in Postgres.
        nullable: Whether it may be null.
        description: Its description.
        unit: Its unit, if it has one.
        personal: Whether it identifies a person.
        rules: Description of each rule, by reason or test.
        origins: Columns that it is made from, as layer.table.column.
    """

    name: str
    type: str
    nullable: bool
    description: str
    unit: str | None
    personal: bool
    rules: Mapping[str, str]
    origins: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """The entry of a table or mart.

    Attributes:
        layer: Its layer.
        name: Name within the layer.
        description: Meaning of a row.
        keys: Lists of columns that identify a row; in raw, all versions of a row.
        partition: Date column by which it is written, if any.
        code: Path of the file that describes it, in the project.
        version: Version of its contract, if it has one.
        columns: Its columns.
        rules: Description of each rule over several columns, by reason or test.
        primary_key: Columns that the warehouse itself keeps unique, if any.
        indexes: Lists of columns of indexes besides the primary key.
        references: The referenced column, as layer.table.column, by column.
    """

    layer: str
    name: str
    description: str
    keys: Sequence[Sequence[str]]
    partition: str | None
    code: str
    version: str | None
    columns: Sequence[Column]
    rules: Mapping[str, str]
    primary_key: Sequence[str] = ()
    indexes: Sequence[Sequence[str]] = ()
    references: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Return layer and name, as in a query."""
        return f"{self.layer}.{self.name}"

    @property
    def row(self) -> str:
        """Return the meaning of a row: the first sentence of the description."""
        return self.description.partition(". ")[0].rstrip(".") + "."


def entries(parsed: models.Manifest | None = None) -> list[Entry]:
    """Return all tables of the lake, the calendar, and all marts, in the order of the layers.

    Args:
        parsed: dbt's manifest; by default that of the project.

    Raises:
        DictionaryError: A column has no type or no description.
    """
    manifest = models.manifest() if parsed is None else parsed
    marts = [_of_model(manifest, node_id) for node_id in (_CALENDAR, *models.models(manifest, "marts"))]
    all_entries = [*map(_of_table, TABLES), *marts]
    for entry in all_entries:
        for column in entry.columns:
            if not (column.type and column.description):
                raise DictionaryError(
                    f"{entry.path}.{column.name} has no {'description' if column.type else 'type'}; "
                    f"expected both of every column; add it in {entry.code}"
                )
    return sorted(all_entries, key=lambda entry: list(LAYERS).index(entry.layer))


def _of_table(table: Table) -> Entry:
    described, demanded = document.document(table), document.demands(table)
    origins = {
        column: tuple(f"{origin.table.layer}.{origin.table.name}.{origin.column}" for origin in of)
        for column, of in lineage.origins(table).items()
    }
    if table in RAW:
        origins = {name: (f"shop.{table.name}.{name}",) for name in table.columns if name not in LINEAGE}
        origins["captured_on"] = origins["updated_at"]
    return Entry(
        table.layer,
        table.name,
        described["description"],
        [described["key"]],
        described["partitioned_by"],
        f"{table.model.__module__.replace('.', '/')}.py",
        described["version"],
        # Types are shown without the names of arguments; Polars accepts them in this form, too.
        _columns(described, demanded, origins, lambda dtype: re.sub(r"\w+=", "", dtype)),
        demanded.get(None, {}),
    )


def _of_model(manifest: models.Manifest, node_id: str) -> Entry:
    node = models.node_of(manifest, node_id)
    described, demanded = models.document(manifest, node_id), models.demands(manifest, node_id)
    origins = {}
    if node["resource_type"] == "model":
        origins = {
            column: tuple(dict.fromkeys(_in_the_lake(manifest, *origin) for origin in of))
            for column, of in models.origins(manifest, node_id).items()
        }
    return Entry(
        "marts" if node["resource_type"] == "model" else "warehouse",
        node["name"],
        described["description"],
        described["keys"],
        "date_id" if described["by_date"] else None,
        f"dbt_project/{str(node['patch_path']).partition('://')[2] or node['original_file_path']}",
        None,
        _columns(described, demanded, origins, str),
        demanded.get(None, {}),
        described["primary_key"],
        described["indexes"],
        {column: f"marts.{other}" for column, other in described["references"].items()},
    )


def _in_the_lake(manifest: models.Manifest, node_id: str, column: str) -> str:
    """Return a mart's column; for a staging view or a copy, return the column that it shows."""
    node = models.node_of(manifest, node_id)
    if node["resource_type"] == "source":
        tables = {
            name: f"{copy.table.layer}.{copy.table.name}" for copy in COPIES for name in (copy.name, copy.keys) if name
        }
        return f"{tables.get(node['name'], 'warehouse.' + node['name'])}.{column}"
    if node["resource_type"] == "model" and models.layer_of(node) == "marts":
        return f"marts.{node['name']}.{column}"
    ((source, shown),) = models.origins(manifest, node_id)[column]
    return _in_the_lake(manifest, source, shown)


def _columns(
    described: Mapping[str, Any],
    demanded: Mapping[str | None, Mapping[str, str]],
    origins: Mapping[str, tuple[str, ...]],
    shorten: Callable[[str], str],
) -> list[Column]:
    return [
        Column(
            name,
            shorten(column["type"] or ""),
            column["nullable"],
            column["description"] or "",
            column["unit"],
            column["personal"],
            demanded.get(name, {}),
            origins.get(name, ()),
        )
        for name, column in described["columns"].items()
    ]


def keys_in_words(entry: Entry) -> str:
    """Return the columns that identify a row, in Markdown."""
    return " or ".join(map(_together, entry.keys))


def declared(entry: Entry, link: Callable[[str], str]) -> Iterator[str]:
    """Yield lines about the keys of a table in the warehouse: primary key, indexes, references."""
    if entry.primary_key:
        yield f"Primary key, kept by the warehouse: {_together(entry.primary_key)}"
    if entry.indexes:
        yield f"Index: {', '.join(map(_together, entry.indexes))}"
    if entry.references:
        pairs = (f"`{column}` to {link(other)}" for column, other in entry.references.items())
        yield f"Refers, as tests demand: {', '.join(pairs)}"


def _together(columns: Sequence[str]) -> str:
    return " + ".join(f"`{column}`" for column in columns)
