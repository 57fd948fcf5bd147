"""`lakehouse dictionary`: what each table and column is; the pages of docs/dictionary, from the contracts and dbt."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import click
from rich.text import Text

from orders_lakehouse.cli.formatting import console, grid
from orders_lakehouse.contracts import document, lineage
from orders_lakehouse.contracts.raw import LINEAGE
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.settings import PROJECT
from orders_lakehouse.tables import CLEANSED, QUARANTINE_OF, RAW, TABLES
from orders_lakehouse.warehouse import models
from orders_lakehouse.warehouse.copies import COPIES

PAGES = PROJECT / "docs" / "dictionary"
_CODE = "../../"
_CALENDAR = "source.orders_lakehouse.lake.calendar"
_LAYERS = {
    "raw": "Every version of every row of the shop, by the date on which it was captured.",
    "cleansed": "Current rows by business date (of customers and products all valid versions), typed and judged.",
    "quarantine": "Rows that break a rule, as they came, with every reason.",
    "curated": "What analysts read from the lake.",
    "checks": "What the checks found, by date.",
    "warehouse": "What the star schema is built from, in the warehouse's schema `lake`.",
    "marts": "The star schema, in the warehouse's schema `marts`.",
}


class DictionaryError(ExpectedError):
    """There is no such table, or a column is not described."""


@dataclass(frozen=True)
class Column:
    """A column as it is shown.

    Attributes:
        name: Its name.
        type: As Polars calls it; in the warehouse, as Postgres does.
        nullable: Whether it may be null.
        description: What it says.
        unit: In what it counts, if told.
        personal: Whether it says who somebody is.
        rules: Reason, or test, to what is demanded.
        origins: Columns that it is made of, as layer.table.column.
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
    """A table or mart as it is shown.

    Attributes:
        layer: Its layer.
        name: Name within the layer.
        description: What a row is.
        keys: Each a list of columns that identify a row (a row's history, in raw).
        partition: Column by whose dates it is written, if any.
        code: Where it is described, a path in the project.
        version: Of its contract, if it has one.
        columns: Its columns.
        rules: What several columns are judged by: reason, or test, to what is demanded.
        primary_key: Columns that the warehouse itself keeps unique, if any.
        indexes: Each a list of columns, beside the primary key.
        references: Column to the column that it refers to, as layer.table.column.
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
        """Layer and name, as a query says them."""
        return f"{self.layer}.{self.name}"

    @property
    def row(self) -> str:
        """What a row is: the first sentence of the description."""
        return self.description.partition(". ")[0].rstrip(".") + "."


@click.command("dictionary")
@click.argument("table", required=False)
@click.option("--write", is_flag=True, help="Write docs/dictionary anew instead.")
def command(table: str | None, write: bool) -> None:
    """Say what each table holds; with TABLE, what its columns say.

    TABLE is a name such as cleansed.orders or marts.dim_date. Where columns come from and go to stands in
    docs/dictionary.
    """
    write_pages() if write else show(table)


def entries(parsed: models.Manifest | None = None) -> list[Entry]:
    """Every table of the lake, the calendar, and every mart, in the order of the layers.

    Args:
        parsed: dbt's manifest; by default that of the project.

    Raises:
        DictionaryError: A column has no type or no description.
    """
    manifest = models.manifest() if parsed is None else parsed
    marts = [_of_model(manifest, node_id) for node_id in (_CALENDAR, *models.models(manifest, "marts"))]
    found = [*map(_of_table, TABLES), *marts]
    for entry in found:
        for column in entry.columns:
            if not (column.type and column.description):
                raise DictionaryError(
                    f"{entry.path}.{column.name} has no {'description' if column.type else 'type'}; "
                    f"expected both of every column; add it in {entry.code}"
                )
    return sorted(found, key=lambda entry: list(_LAYERS).index(entry.layer))


def show(name: str | None) -> None:
    """Print every table and what it holds; of one table, its columns.

    Args:
        name: The table, such as cleansed.orders or marts.dim_date; None for all.

    Raises:
        DictionaryError: There is no such table.
    """
    found = entries()
    table = grid(dense=True)
    if name is None:
        for heading in ("table", "what it holds"):
            table.add_column(heading, no_wrap=heading == "table")
        for entry in found:
            table.add_row(entry.path, Text(entry.row))
    else:
        (entry,) = [entry for entry in found if entry.path == name.replace("/", ".")] or _unknown(name, found)
        console().print(Text(f"{entry.path}: {entry.description}\n"))
        for fact in (f"Key: {_keys(entry)}", *_declared(entry, lambda path: path)):
            console().print(Text(f"{fact}".replace("`", "")))
        console().print()
        for heading in ("column", "type", "what it says"):
            table.add_column(heading, no_wrap=heading == "column")
        for column in entry.columns:
            kind = column.type if column.nullable else f"{column.type}, not null"
            demanded = [demand for demand in column.rules.values() if demand != "present"]
            unit = [f"in {column.unit}"] if column.unit else []
            personal = ["personal"] if column.personal else []
            table.add_row(column.name, Text(kind), Text("; ".join([column.description, *unit, *demanded, *personal])))
    console().print(table)


def pages() -> dict[str, str]:
    """The pages of docs/dictionary, by file name: one for each layer, and README.md, which leads to them."""
    found = entries()
    goes_to = _goes_to(found)
    layers = {layer: list(of) for layer, of in groupby(found, key=lambda entry: entry.layer)}
    written = {f"{layer}.md": "\n".join(_page(layer, of, goes_to)) for layer, of in layers.items()}
    return {"README.md": "\n".join(_index(layers)), **written}


def write_pages() -> None:
    """Write docs/dictionary anew."""
    PAGES.mkdir(exist_ok=True)
    written = pages()
    for path in PAGES.glob("*.md"):
        if path.name not in written:
            path.unlink()
    for name, text in written.items():
        (PAGES / name).write_text(text)
    click.echo(f"Wrote {len(written)} pages in {PAGES.relative_to(PROJECT)}.")


def _unknown(name: str, found: Sequence[Entry]) -> list[Entry]:
    raise DictionaryError(f"there is no table {name!r}; expected one of {', '.join(entry.path for entry in found)}")


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
        # Without the names of its arguments a type is as short, and still what Polars takes.
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
    """A mart's column; of a staging view or a copy, the column that it shows."""
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


def _goes_to(found: Sequence[Entry]) -> dict[str, list[str]]:
    goes_to: dict[str, list[str]] = {}
    for entry in found:
        for column in entry.columns:
            for origin in column.origins:
                goes_to.setdefault(origin, []).append(f"{entry.path}.{column.name}")
    return goes_to


_README = """\
# Data dictionary

Every table of the lake and every mart, column by column: what it says, its type and unit, what is demanded of it, what
it is made of and where it goes. The page of each asset in the UI says the same; in the terminal,
`lakehouse dictionary cleansed.orders` says what the columns of a table are.
"""
_PERSONAL = """\
## Personal data

Columns that say who somebody is. Samples in the UI and results of checks mask them.

| Table | Columns |
| --- | --- |"""
_WRITTEN = "<!-- Written by `make docs` from the contracts and dbt's yml. -->\n"
_COPIES = """\
Copies of lake tables have their columns' names, types of Postgres, and leave out what dbt does not need. Staging views
over them give some columns another name; in the lineage of a mart, both are passed over.

A copy has no primary key: customers and products have a row for each version, and an order that moves stands on two
dates for a while. A list of keys beside a copy has one.

| Table | Copy of | Without | Index | List of keys beside it |
| --- | --- | --- | --- | --- |"""
_HEADINGS = "| Column | Type | Null | What it says | Made of | Goes to |\n| --- | --- | --- | --- | --- | --- |"


def _index(layers: Mapping[str, Sequence[Entry]]) -> Iterator[str]:
    yield _README
    for layer, of_layer in layers.items():
        yield f"## [{layer}]({layer}.md)\n\n{_LAYERS[layer]}\n"
        yield "| Table | What it holds | Key | By date |\n| --- | --- | --- | --- |"
        for entry in of_layer:
            partition = f"`{entry.partition}`" if entry.partition else ""
            yield f"| {_link(entry.path, entry.name)} | {_cell(entry.row)} | {_keys(entry)} | {partition} |"
        yield ""
    yield _PERSONAL
    for entry in (entry for of_layer in layers.values() for entry in of_layer):
        personal = [_link(f"{entry.path}.{column.name}", column.name) for column in entry.columns if column.personal]
        if personal:
            yield f"| {_link(entry.path)} | {', '.join(personal)} |"
    yield f"\n{_WRITTEN}"


def _page(layer: str, of_layer: Sequence[Entry], goes_to: Mapping[str, Sequence[str]]) -> Iterator[str]:
    yield f"# {layer}\n\n{_LAYERS[layer]}\n"
    yield " · ".join(["[All layers](README.md)", *(_link(entry.path, entry.name) for entry in of_layer)]) + "\n"
    if layer == "warehouse":
        yield _COPIES
        for copy in COPIES:
            without = ", ".join(f"`{name}`" for name in copy.table.columns if name in copy.without)
            keys = f"`lake.{copy.keys}`, primary key `{copy.counted}`" if copy.keys else ""
            source = _link(f"{copy.table.layer}.{copy.table.name}")
            yield f"| `lake.{copy.name}` | {source} | {without} | `{copy.partition}` | {keys} |"
        yield ""
    for entry in of_layer:
        yield f"## {entry.name}\n\n{entry.description}\n"
        yield "\n".join(f"- {fact}" for fact in _facts(entry, goes_to)) + f"\n\n{_HEADINGS}"
        for column in entry.columns:
            yield _row(entry, column, goes_to.get(f"{entry.path}.{column.name}", ()))
        yield ""
        if entry.rules:
            yield "Rules over several columns:\n"
            yield "\n".join(f"- {_rule(reason, demand)}" for reason, demand in entry.rules.items()) + "\n"
    yield _WRITTEN


def _facts(entry: Entry, goes_to: Mapping[str, Sequence[str]]) -> Iterator[str]:
    versions = ", of which each version is a row" if entry.partition == "captured_on" else ""
    yield f"Key: {_keys(entry)}{versions}" + (f"; by date: `{entry.partition}`" if entry.partition else "")
    yield from _declared(entry, _link)
    upstream = [origin for column in entry.columns for origin in column.origins]
    downstream = [other for column in entry.columns for other in goes_to.get(f"{entry.path}.{column.name}", ())]
    for said, columns in (("Made of", upstream), ("Goes to", downstream)):
        tables = dict.fromkeys(column.rpartition(".")[0] for column in columns)
        if tables:
            yield f"{said}: {', '.join(map(_link, tables))}"
    version = f", version {entry.version}" if entry.version else ""
    owners, code = ", ".join(document.OWNERS), entry.code.rpartition("/")[2]
    yield f"Owner: {owners}; described in [{code}]({_CODE}{entry.code}){version}"
    if entry.layer == "quarantine":
        (judged,) = [table for table in CLEANSED if QUARANTINE_OF[table.name].name == entry.name]
        yield f"Reasons: the rules of {_link(f'{judged.layer}.{judged.name}')}"


def _keys(entry: Entry) -> str:
    return " or ".join(map(_together, entry.keys))


def _declared(entry: Entry, link: Callable[[str], str]) -> Iterator[str]:
    """What the warehouse is told of a table's keys: primary key, indexes, and the columns that others are one of."""
    if entry.primary_key:
        yield f"Primary key, kept by the warehouse: {_together(entry.primary_key)}"
    if entry.indexes:
        yield f"Index: {', '.join(map(_together, entry.indexes))}"
    if entry.references:
        pairs = (f"`{column}` to {link(other)}" for column, other in entry.references.items())
        yield f"Refers, as tests demand: {', '.join(pairs)}"


def _together(columns: Sequence[str]) -> str:
    return " + ".join(f"`{column}`" for column in columns)


def _row(entry: Entry, column: Column, goes_to: Sequence[str]) -> str:
    name = f'<a id="{entry.name}.{column.name}"></a>`{column.name}`' + ("<br>**personal**" if column.personal else "")
    said = [column.description, *(_rule(reason, demand) for reason, demand in column.rules.items())]
    cells = (
        name,
        f"`{column.type}`" + (f"<br>in {column.unit}" if column.unit else ""),
        "yes" if column.nullable else "no",
        "<br>".join(map(_cell, said)),
        _links(column.origins) or "made here",
        _links(goes_to),
    )
    return f"| {' | '.join(cells)} |"


def _rule(reason: str, demand: str) -> str:
    return f"`{reason}`: {demand}"


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


def _links(columns: Sequence[str]) -> str:
    """Columns, a line for each table."""
    by_table: dict[str, list[str]] = {}
    for path in columns:
        table, _, column = path.rpartition(".")
        by_table.setdefault(table, []).append(_link(path, column))
    return "<br>".join(f"{table}: {', '.join(links)}" for table, links in by_table.items())


def _link(path: str, text: str | None = None) -> str:
    """A link to a table or column, from any page of the dictionary; the shop's tables stand in its schema."""
    layer, _, name = path.partition(".")
    place = f"{layer}.md#{name}" if layer in _LAYERS else f"{_CODE}orders_lakehouse/sample_shop/schema.sql"
    return f"[{text or path}]({place})"
