"""The tables of commands: each command is a module, and its sentence in the table is the one of its help."""

import click
import pytest

from orders_lakehouse.cli.main import cli
from orders_lakehouse.cli.quarantine import command as quarantine


@pytest.mark.parametrize(
    ("group", "name"),
    [pytest.param(group, name, id=name) for group in (cli, quarantine) for name in group.commands],
)
def test_sentence_of_the_table_is_the_first_one_of_the_help(group: click.Group, name: str) -> None:
    _, command, _ = group.resolve_command(click.Context(group), [name])
    assert command is not None
    assert command.name == name
    listed, whole = group.commands[name], 1000
    assert listed.get_short_help_str(whole) == command.get_short_help_str(whole)
