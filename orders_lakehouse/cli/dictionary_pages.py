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

Every table of the lake and every mart, column by column: meaning, type and unit, rules, origin and use. The page of
each asset in the UI says the same. In the terminal, `lakehouse dictionary cleansed.orders` describes the columns of a
table.
"""
_PERSONAL = """\
## Personal data

Columns that identify a person. Samples in the UI and results of checks mask them.

| Table | Columns |
| --- | --- |"""
_WRITTEN = "<!-- Written by `make docs` from the contracts and dbt's yml. -->\n"
_COPIES = """\
Copies of lake tables have the names of their columns and types of Postgres, without columns that dbt does not need.
Staging views on the copies rename some columns. The lineage of a mart leaves out copies and staging views.

A copy has no primary key: customers and products have a row for each version, and a moved order is on two dates for a
while. A list of keys has a primary key.

| Table | Copy of | Without | Index | List of keys |
| --- | --- | --- | --- | --- |"""
_HEADINGS = "| Column | Type | Null | Meaning and rules | Made from | Used by |\n| --- | --- | --- | --- | --- | --- |"


def pages() -> dict[str, str]:
    """Return the pages of docs/dictionary by file name: one for each layer, and README.md, which links them."""
    all_entries = entries()
    used_by = _used_by(all_entries)
    layers = {layer: list(group) for layer, group in groupby(all_entries, key=lambda entry: entry.layer)}
    by_layer = {f"{layer}.md": "\n".join(_page(layer, group, used_by)) for layer, group in layers.items()}
    return {"README.md": "\n".join(_index(layers)), **by_layer}


def _used_by(all_entries: Sequence[Entry]) -> dict[str, list[str]]:
    used_by: dict[str, list[str]] = {}
    for entry in all_entries:
        for column in entry.columns:
            for origin in column.origins:
                used_by.setdefault(origin, []).append(f"{entry.path}.{column.name}")
    return used_by


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


def _page(layer: str, of_layer: Sequence[Entry], used_by: Mapping[str, Sequence[str]]) -> Iterator[str]:
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
        yield "\n".join(f"- {fact}" for fact in _facts(entry, used_by)) + f"\n\n{_HEADINGS}"
        for column in entry.columns:
            yield _row(entry, column, used_by.get(f"{entry.path}.{column.name}", ()))
        yield ""
        if entry.rules:
            yield "Rules over several columns:\n"
            yield "\n".join(f"- {_rule(reason, demand)}" for reason, demand in entry.rules.items()) + "\n"
    yield _WRITTEN


def _facts(entry: Entry, used_by: Mapping[str, Sequence[str]]) -> Iterator[str]:
    versions = ", with a row for each version" if entry.partition == "captured_on" else ""
    yield f"Key: {keys_in_words(entry)}{versions}" + (f"; by date: `{entry.partition}`" if entry.partition else "")
    yield from declared(entry, _link)
    upstream = [origin for column in entry.columns for origin in column.origins]
    downstream = [other for column in entry.columns for other in used_by.get(f"{entry.path}.{column.name}", ())]
    for heading, columns in (("Made from", upstream), ("Used by", downstream)):
        tables = dict.fromkeys(column.rpartition(".")[0] for column in columns)
        if tables:
            yield f"{heading}: {', '.join(map(_link, tables))}"
    version = f", version {entry.version}" if entry.version else ""
    owners, code = ", ".join(document.OWNERS), entry.code.rpartition("/")[2]
    yield f"Owner: {owners}; described in [{code}]({_CODE}{entry.code}){version}"
    if entry.layer == "quarantine":
        (judged,) = [table for table in CLEANSED if QUARANTINE_OF[table.name].name == entry.name]
        yield f"Reasons: the rules of {_link(f'{judged.layer}.{judged.name}')}"


def _row(entry: Entry, column: Column, used_by: Sequence[str]) -> str:
    name = f'<a id="{entry.name}.{column.name}"></a>`{column.name}`' + ("<br>**personal**" if column.personal else "")
    meaning = [column.description, *(_rule(reason, demand) for reason, demand in column.rules.items())]
    cells = (
        name,
        f"`{column.type}`" + (f"<br>in {column.unit}" if column.unit else ""),
        "yes" if column.nullable else "no",
        "<br>".join(map(_cell, meaning)),
        _links(column.origins) or "made here",
        _links(used_by),
    )
    return f"| {' | '.join(cells)} |"


def _rule(reason: str, demand: str) -> str:
    return f"`{reason}`: {demand}"


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


def _links(columns: Sequence[str]) -> str:
    """Return links to columns, with a line for each table."""
    by_table: dict[str, list[str]] = {}
    for path in columns:
        table, _, column = path.rpartition(".")
        by_table.setdefault(table, []).append(_link(path, column))
    return "<br>".join(f"{table}: {', '.join(links)}" for table, links in by_table.items())


def _link(path: str, text: str | None = None) -> str:
    """Return a link to a table or column, for any page of the dictionary; tables of the shop link to its schema."""
    layer, _, name = path.partition(".")
    place = f"{layer}.md#{name}" if layer in LAYERS else f"{_CODE}orders_lakehouse/sample_shop/schema.sql"
    return f"[{text or path}]({place})"
