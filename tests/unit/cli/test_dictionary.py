"""The pages of the dictionary: they are fresh and whole, their links lead somewhere, and gaps are noticed."""

import copy
import re
from dataclasses import replace

import pandera.polars as pa
import polars as pl
import pytest

from orders_lakehouse import tables
from orders_lakehouse.cli import dictionary, dictionary_entries, dictionary_pages
from orders_lakehouse.cli.dictionary_entries import DictionaryError, entries
from orders_lakehouse.contracts.base import Contract
from orders_lakehouse.entities.orders import ORDERS
from orders_lakehouse.settings import PROJECT
from orders_lakehouse.warehouse import models

_DIM_DATE = "model.orders_lakehouse.dim_date"
_LINK = re.compile(r"\]\(([^)]+)\)")


def test_docs_pages_equal_contracts_and_dbt() -> None:
    stored = {path.name: path.read_text() for path in dictionary.PAGES.iterdir()}
    assert stored == dictionary_pages.pages(), "run `make docs`"


def test_every_column_is_on_the_page_of_its_layer() -> None:
    expected = {(table.layer, f"{table.name}.{column}") for table in tables.TABLES for column in table.columns}
    for node in models.manifest()["nodes"].values():
        if node["resource_type"] == "model" and node["schema"] == "marts":
            expected |= {("marts", f"{node['name']}.{column}") for column in node["columns"]}
    found = [
        (name.removesuffix(".md"), anchor)
        for name, page in dictionary_pages.pages().items()
        for anchor in re.findall(r'<a id="([^"]+)">', page)
    ]
    assert len(found) == len(set(found))
    assert {one for one in found if one[0] != "warehouse"} == expected


def test_every_link_leads_to_a_table_a_column_or_a_file() -> None:
    pages = dictionary_pages.pages()
    places = {
        f"{name}#{anchor}"
        for name, page in pages.items()
        for anchor in [*re.findall(r'<a id="([^"]+)">', page), *re.findall(r"^## (\w+)$", page, re.MULTILINE)]
    }
    for page in pages.values():
        links = set(_LINK.findall(page))
        assert [link for link in links if "#" in link and link not in places] == []
        files = [dictionary.PAGES / link for link in links if "#" not in link and link not in pages]
        assert [file for file in files if not file.is_file()] == []
        assert str(PROJECT) not in page


def test_column_entry_has_meaning_origin_and_readers() -> None:
    pages = dictionary_pages.pages()
    row = next(line for line in pages["cleansed.md"].splitlines() if 'id="order_items.quantity"' in line)
    assert row == (
        '| <a id="order_items.quantity"></a>`quantity` | `Decimal(18, 6)`<br>in units | no | '
        "Units sold<br>`quantity_missing`: present<br>`quantity_not_positive`: greater than 0 | "
        "raw.order_items: [quantity](raw.md#order_items.quantity) | "
        "curated.order_lines: [quantity](curated.md#order_lines.quantity) |"
    )
    # A mart's column names the lake's, whatever a staging view calls it on the way.
    row = next(line for line in pages["marts.md"].splitlines() if 'id="dim_customers.customer_email"' in line)
    assert "**personal**" in row
    assert "| cleansed.customers: [email](cleansed.md#customers.email) |" in row


def test_mart_entry_has_primary_key_indexes_and_references() -> None:
    page = dictionary_pages.pages()["marts.md"]
    facts = {
        name: text.partition("| Column |")[0] for name, _, text in (part.partition("\n") for part in page.split("## "))
    }
    assert "- Primary key, kept by the warehouse: `date_id`\n" in facts["dim_date"]
    assert "- Index: `date_id`\n" in facts["fct_orders"]
    reference = "`payment_method_key` to [marts.dim_payment_methods.payment_method_key]"
    assert f"{reference}(marts.md#dim_payment_methods.payment_method_key)" in facts["fct_orders"]


def test_columns_made_of_personal_data_are_personal() -> None:
    columns = {f"{entry.path}.{column.name}": column for entry in entries() for column in entry.columns}
    made = {name: [one for one in column.origins if one in columns] for name, column in columns.items()}
    differing = [
        name
        for name, origins in made.items()
        if origins and columns[name].personal != any(columns[origin].personal for origin in origins)
    ]
    assert differing == []


def test_every_decimal_has_a_unit() -> None:
    decimals = [
        (entry.path, column.name, column.unit)
        for entry in entries()
        for column in entry.columns
        if column.type.lower().startswith(("decimal", "numeric"))
    ]
    assert len(decimals) > 10
    assert [one for one in decimals if not one[2]] == []


@pytest.mark.parametrize(("key", "said"), [("description", "description"), ("data_type", "type")])
def test_column_of_a_mart_that_says_nothing_is_refused(key: str, said: str) -> None:
    parsed = copy.deepcopy(dict(models.manifest()))
    parsed["nodes"][_DIM_DATE]["columns"]["month"][key] = ""
    with pytest.raises(DictionaryError, match=rf"marts\.dim_date\.month has no {said}.*marts/dim_date\.yml"):
        entries(parsed)


def test_column_of_a_table_that_says_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(Contract):
        """Says nothing."""

        order_id: pl.String = pa.Field(description="Key")
        status: pl.String

    silent = replace(ORDERS, model=Silent)
    monkeypatch.setattr(dictionary_entries, "TABLES", [silent])
    with pytest.raises(DictionaryError, match=r"cleansed\.orders\.status has no description"):
        entries()


def test_terminal_shows_all_tables_or_the_columns_of_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    dictionary.show(None)
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line and line[0].isalpha()]
    assert {entry.path for entry in entries()} <= set(listed)
    dictionary.show("cleansed/order_items")
    shown = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert "Decimal(18, 6), not null" in shown["quantity"]
    assert "Units sold; in units; greater than 0" in shown["quantity"]
    dictionary.show("marts.fct_orders")
    said = " ".join(capsys.readouterr().out.split())
    assert "Key: order_id Index: date_id Refers, as tests demand: " in said
    assert "date_id to marts.dim_date.date_id" in said
    with pytest.raises(DictionaryError, match=r"no table 'nonsense'; expected one of raw\.customers"):
        dictionary.show("nonsense")
