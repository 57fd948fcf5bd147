"""The pages of docs/dictionary, in Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from orders_lakehouse.cli.dictionary_entries import LAYERS, Column, Entry, declared, entries, keys_in_words
from orders_lakehouse.contracts import document
from orders_lakehouse.tables import CLEANSED, QUARANTINE_OF
from orders_lakehouse.warehouse.copies import COPIES

_CODE = "../../"
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


def pages() -> dict[str, str]:
    """The pages of docs/dictionary, by file name: one for each layer, and README.md, which leads to them."""
    found = entries()
    goes_to = _goes_to(found)
    layers = {layer: list(of) for layer, of in groupby(found, key=lambda entry: entry.layer)}
    written = {f"{layer}.md": "\n".join(_page(layer, of, goes_to)) for layer, of in layers.items()}
    return {"README.md": "\n".join(_index(layers)), **written}


def _goes_to(found: Sequence[Entry]) -> dict[str, list[str]]:
    goes_to: dict[str, list[str]] = {}
    for entry in found:
        for column in entry.columns:
            for origin in column.origins:
                goes_to.setdefault(origin, []).append(f"{entry.path}.{column.name}")
    return goes_to


def _index(layers: Mapping[str, Sequence[Entry]]) -> Iterator[str]:
    yield _README
    for layer, of_layer in layers.items():
        yield f"## [{layer}]({layer}.md)\n\n{LAYERS[layer]}\n"
        yield "| Table | What it holds | Key | By date |\n| --- | --- | --- | --- |"
        for entry in of_layer:
            partition = f"`{entry.partition}`" if entry.partition else ""
            yield f"| {_link(entry.path, entry.name)} | {_cell(entry.row)} | {keys_in_words(entry)} | {partition} |"
        yield ""
    yield _PERSONAL
    for entry in (entry for of_layer in layers.values() for entry in of_layer):
        personal = [_link(f"{entry.path}.{column.name}", column.name) for column in entry.columns if column.personal]
        if personal:
            yield f"| {_link(entry.path)} | {', '.join(personal)} |"
    yield f"\n{_WRITTEN}"


def _page(layer: str, of_layer: Sequence[Entry], goes_to: Mapping[str, Sequence[str]]) -> Iterator[str]:
    yield f"# {layer}\n\n{LAYERS[layer]}\n"
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
    yield f"Key: {keys_in_words(entry)}{versions}" + (f"; by date: `{entry.partition}`" if entry.partition else "")
    yield from declared(entry, _link)
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
    place = f"{layer}.md#{name}" if layer in LAYERS else f"{_CODE}orders_lakehouse/sample_shop/schema.sql"
    return f"[{text or path}]({place})"
