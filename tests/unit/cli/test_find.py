"""`lakehouse find`: what has a text in its name, its description or its rules."""

import pytest
from click.testing import CliRunner

from orders_lakehouse.cli.dictionary_entries import entries
from orders_lakehouse.cli.find import FindError, command, find


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("FULFILMENT", "marts.fct_orders.fulfilment_state"),
        ("dim_warehouses", "marts.dim_warehouses"),
        ("ISO 4217", "cleansed.orders.currency"),
    ],
)
def test_text_is_found_in_names_descriptions_and_rules(text: str, path: str) -> None:
    assert path in [match.path for match in find(text, entries())]


def test_layers_come_in_the_order_of_the_flow() -> None:
    paths = [match.path for match in find("currency", entries())]
    assert paths.index("raw.orders.currency") < paths.index("cleansed.orders.currency")
    assert paths.index("cleansed.orders.currency") < paths.index("marts.fct_orders.currency")


def test_matches_are_printed_and_nothing_is_an_error() -> None:
    found = CliRunner().invoke(command, ["hours_to_ship"])
    assert found.exit_code == 0
    assert "marts.fct_orders.hours_to_ship" in found.output
    nothing = CliRunner().invoke(command, ["no such words"])
    assert isinstance(nothing.exception, FindError)
    assert "'no such words'" in str(nothing.exception)
