"""A group of commands that imports the module of a command when the command is called.

The group knows the name and one sentence of help of each command, which is enough for a list of commands.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click


class LazyGroup(click.Group):
    """A group with a module for each command, named as the command is; its click command is called `command`."""

    def __init__(self, *, package: str, table: Mapping[str, str], **attributes: Any) -> None:
        """Take the commands of a group from a table.

        Args:
            package: Package in which the modules are.
            table: Name of each command to the first sentence of its help.
            attributes: Arguments of `click.Group`.
        """
        super().__init__(
            commands=[click.Command(name, help=sentence) for name, sentence in table.items()], **attributes
        )
        self._package = package

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command in the arguments, and import it."""
        name, command, left = super().resolve_command(ctx, args)
        if name is not None:
            command = import_module(f"{self._package}.{name.replace('-', '_')}").command
        return name, command, left
