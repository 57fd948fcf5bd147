"""The tables of commands: each command is a module, and its sentence in the table is the one of its help."""

from importlib import metadata

import click
import pytest
from click.testing import CliRunner

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


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_has_every_command_under_a_heading(option: str) -> None:
    lines = CliRunner().invoke(cli, [option]).output.splitlines()
    headings = [line for line in lines if line.endswith(":") and not line.startswith((" ", "Usage"))]
    assert len(headings) > 4
    listed = [line.split()[0] for line in lines[lines.index(headings[1]) :] if line.startswith("  ") and line[2] != " "]
    assert sorted(listed) == sorted(cli.commands)


def test_version_is_that_of_the_package() -> None:
    result = CliRunner().invoke(cli, ["--version"])
    assert result.exit_code == 0
    assert result.output.split()[-1] == metadata.version("orders-lakehouse")
